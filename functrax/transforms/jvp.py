"""Forward mode: every value is a pair of primal and tangent.

A tangent is None where it is zero, so constants cost nothing, and integer values, whose tangents
carry no information, never have one.
"""

from collections.abc import Sequence
from typing import Any

from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.leaks import check_leaks
from functrax.core.primitive import ZERO_DERIVATIVE, Primitive, Refusal, missing_rule
from functrax.core.trace import Array, Trace, Tracer, Value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import tangent_type, zeros
from functrax.transforms.stage import stage_open

Tangent = Value | None


class JVPTracer(Tracer):
    """A primal value with its tangent."""

    __slots__ = ("primal", "tangent")

    def __init__(self, trace: "JVPTrace", primal: Value, tangent: Value) -> None:
        """Pair the two; the tangent is not zero."""
        self.owner = trace
        self.aval = primal.aval
        self.primal = primal
        self.tangent = tangent

    def concrete(self) -> Array | None:
        """Return the primal's concrete array, if it has one."""
        primal = self.primal
        return primal.concrete() if isinstance(primal, Tracer) else primal

    def origin(self) -> str:
        """Return where the primal was made, if that is known."""
        if isinstance(self.primal, Tracer):
            return self.primal.origin()
        if not isinstance(self.tangent, Tracer):
            return ""
        # The tangent was recorded at the same line, by an operation of the primal's derivative.
        return self.tangent.origin().partition(" by ")[0]


class JVPTrace(Trace):
    """Pushes tangents forward through each operation by its jvp rule."""

    __slots__ = ("name",)

    def __init__(self, parent: Trace | None, name: str = "jvp") -> None:
        """Compute primals and tangents in `parent`."""
        super().__init__(parent)
        self.name = name

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Any:
        """Apply the jvp rule, unless no operand has a tangent."""
        primals: list[Value] = []
        tangents: list[Tangent] = []
        active = False
        for operand in operands:
            if type(operand) is JVPTracer and operand.owner is self:
                primals.append(operand.primal)
                tangents.append(operand.tangent)
                active = True
            else:
                primals.append(operand)
                tangents.append(None)
        state.trace = self.parent
        try:
            if not active or primitive.jvp is ZERO_DERIVATIVE:
                return bind(primitive, *primals, **params)
            if type(primitive.jvp) is Refusal:
                raise missing_rule(primitive, self.name, "jvp")
            results, out_tangents = primitive.jvp(primals, tangents, **params)
        finally:
            state.trace = self
        return [
            result if tangent is None else JVPTracer(self, result, tangent)
            for result, tangent in zip(results, out_tangents, strict=True)
        ]


def jvp_flat(
    function: Any,
    primals: Sequence[Value],
    tangents: Sequence[Tangent],
    *,
    name: str = "jvp",
    parent: Any = None,
) -> tuple[list[Value], list[Tangent]]:
    """Run a function of flat values on pairs.

    Args:
        function: takes values, returns a sequence of values.
        primals: the arguments.
        tangents: their tangents, None for zero.
        name: the user's transform, for messages.
        parent: the trace that computes primals and tangents; the current one by default.

    Returns:
        The results and their tangents (None for zero).
    """
    saved = state.trace
    trace = JVPTrace(parent if parent is not None else saved, name)
    arguments = [
        primal if tangent is None else JVPTracer(trace, primal, tangent)
        for primal, tangent in zip(primals, tangents, strict=True)
    ]
    state.trace = trace
    try:
        results = function(*arguments)
    finally:
        state.trace = saved
        trace.ended = True
    pairs = [split(trace, result) for result in results]
    if config.check_tracer_leaks:
        held: list[Trace] = [trace]
        del trace, arguments, results
        check_leaks(held)
    return [primal for primal, _ in pairs], [tangent for _, tangent in pairs]


def split(trace: JVPTrace, value: Value) -> tuple[Value, Tangent]:
    """Return primal and tangent of a value of this trace; other values have a zero tangent."""
    if type(value) is JVPTracer and value.owner is trace:
        return value.primal, value.tangent
    return value, None


@program_cache
def jvp_jaxpr(
    jaxpr: Jaxpr, nonzero: tuple[bool, ...], instantiate: tuple[bool, ...] | None = None
) -> tuple[Jaxpr, list[Value], tuple[bool, ...]]:
    """Transform a program by forward mode.

    Args:
        jaxpr: without constvars.
        nonzero: which arguments have a tangent.
        instantiate: which results must have a tangent even if it is zero; None asks for none.

    Returns:
        The program ``(consts, primals, nonzero tangents) -> (primals_out, nonzero tangents_out)``,
        the consts, and which results have a tangent.
    """
    out_nonzero: list[bool] = []

    def pushed(*values: Value) -> list[Value]:
        primals = values[: len(jaxpr.invars)]
        given = iter(values[len(jaxpr.invars) :])
        tangents = [next(given) if has else None for has in nonzero]
        results, tangents_out = jvp_flat(
            lambda *args: eval_jaxpr(jaxpr, (), *args), primals, tangents
        )
        if instantiate is not None:
            tangents_out = [
                zeros(tangent_type(result.aval)) if tangent is None and wanted else tangent
                for result, tangent, wanted in zip(results, tangents_out, instantiate, strict=True)
            ]
        out_nonzero.extend(tangent is not None for tangent in tangents_out)
        return [*results, *(tangent for tangent in tangents_out if tangent is not None)]

    tangent_avals = [
        tangent_type(v.aval) for v, has in zip(jaxpr.invars, nonzero, strict=True) if has
    ]
    in_avals: list[ShapedArray] = [*jaxpr.in_avals, *tangent_avals]
    result, consts = stage_open(pushed, in_avals, name=jaxpr.name)
    return result, consts, tuple(out_nonzero)
