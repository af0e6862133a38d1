"""Staging: run a Python function on tracers and write down its equations as a jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.check import check_jaxpr
from functrax.core.collector import collector_paused
from functrax.core.config import config
from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var
from functrax.core.leaks import check_leaks
from functrax.core.primitive import Primitive, abstract_eval
from functrax.core.source import current_source
from functrax.core.trace import Trace, Tracer, Value, current, leaked, state, vary
from functrax.core.types import Literal, ShapedArray


class StageTracer(Tracer):
    """A traced value: a variable of the program being written."""

    __slots__ = ("variable",)

    def __init__(self, trace: "StageTrace", aval: ShapedArray, var: Var) -> None:
        """Stand for `var`."""
        self.owner = trace
        self.aval = aval
        self.variable = var

    def origin(self) -> str:
        """Return the line of the equation that made the value, or the argument's name."""
        trace: Any = self.owner
        for eqn in trace.eqns:
            if self.variable in eqn.outvars:
                return f"{eqn.source} by {eqn.primitive.name}" if eqn.source else ""
        for var, name in zip(trace.invars, trace.argument_names(), strict=False):
            if var is self.variable:
                return f"the call of {trace.function_name}, argument {name}"
        return ""


class StageTrace(Trace):
    """Writes every operation down as an equation.

    Args:
        parent: the trace around this one.
        name: the user's transform, for messages.
    """

    __slots__ = (
        "argument_names",
        "constants",
        "diverging",
        "eqns",
        "function_name",
        "invars",
        "name",
    )

    def __init__(self, parent: Trace | None, name: str = "jit") -> None:
        """Start an empty program."""
        super().__init__(parent)
        self.name = name
        self.eqns: list[Equation] = []
        self.invars: list[Var] = []
        self.constants: dict[int, tuple[Var, Value]] = {}
        self.argument_names: Callable[[], Sequence[str]] = list
        self.function_name = ""
        self.diverging = frozenset([axis.name for axis in state.axes if axis.diverging])

    def argument(self, aval: ShapedArray) -> StageTracer:
        """Add an argument to the program and return its tracer."""
        var = Var(aval)
        self.invars.append(var)
        return StageTracer(self, aval, var)

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Any:
        """Append an equation and return the tracers of its results."""
        if primitive.stage is not None:
            return primitive.stage(self, operands, params)
        if self.diverging:
            operands = tuple([self.varied(x, primitive) for x in operands])
            if primitive.name == "pvary" and operands[0].aval.varying.issuperset(params["axes"]):
                return operands
        return self.record(primitive, operands, params)

    def record(
        self, primitive: Primitive, operands: Sequence[Value], params: dict[str, Any]
    ) -> list["StageTracer"]:
        """Write the equation whatever the primitive is."""
        invars: list[Atom] = []
        types: list[ShapedArray] = []
        for operand in operands:
            if type(operand) is StageTracer and operand.owner is self:
                invars.append(operand.variable)
            elif type(operand) is Literal:
                invars.append(operand)
            else:
                invars.append(self.capture(operand))
            types.append(operand.aval)
        outvars = [Var(aval) for aval in abstract_eval(primitive, tuple(types), params)]
        source = state.source or current_source(state.scope)
        self.eqns.append(Equation(primitive, invars, outvars, params, source))
        return [StageTracer(self, var.aval, var) for var in outvars]

    def varied(self, value: Value, primitive: Primitive) -> Value:
        """Let a value from outside vary, outside, along the axes along which devices go different
        ways here: the sum of its gradients, for which they wait for each other, is taken there.
        """
        missing = self.diverging - value.aval.varying
        is_own = type(value) is StageTracer and value.owner is self
        if not missing or is_own or type(value) is Literal:
            return value
        if primitive.axis_names is not None and primitive.name != "pvary":
            return value  # the types of programs inside are fixed
        if isinstance(value, Tracer) and not self.sees(value):
            return value
        with current(self.parent):
            return vary(value, missing)

    def capture(self, value: Value) -> Var:
        """Return the variable for a value from outside: a constant of the program."""
        found = self.constants.get(id(value))
        if found is None:
            if isinstance(value, Tracer) and not self.sees(value):
                raise leaked(value)
            found = self.constants[id(value)] = (Var(value.aval), value)
        return found[0]

    def sees(self, tracer: Tracer) -> bool:
        """Tell whether a tracer belongs to a trace around this one, which is still running."""
        trace = self.parent
        while trace is not None and trace is not tracer.owner:
            trace = trace.parent
        return trace is not None and not trace.ended

    def atom(self, value: Value) -> Atom:
        """Return the variable or literal that stands for a value."""
        if type(value) is StageTracer and value.owner is self:
            return value.variable
        return value if type(value) is Literal else self.capture(value)

    def finish(self, results: Sequence[Value]) -> tuple[Jaxpr, list[Value]]:
        """Close the program and return it, with the captured values that its constvars stand
        for.
        """
        outvars = [self.atom(result) for result in results]
        constvars = [var for var, _ in self.constants.values()]
        consts = [value for _, value in self.constants.values()]
        jaxpr = Jaxpr(constvars, self.invars, outvars, self.eqns, self.function_name)
        self.ended = True
        if config.enable_checks:
            check_jaxpr(jaxpr)
        return jaxpr, consts


def stage(
    function: Callable[..., Sequence[Value]],
    in_avals: Sequence[ShapedArray],
    *,
    transform: str = "jit",
    name: str = "",
    argument_names: Callable[[], Sequence[str]] = list,
) -> tuple[Jaxpr, list[Value]]:
    """Trace a function of flat arguments into a jaxpr.

    Args:
        function: takes one value per type and returns a sequence of values.
        in_avals: the argument types.
        transform: the user's transform, for messages.
        name: the traced function's name.
        argument_names: gives one name per argument, for messages.

    Returns:
        The jaxpr and the values of its constvars: arrays, or tracers of enclosing traces.
    """
    trace = StageTrace(state.trace, transform)
    trace.function_name = name
    trace.argument_names = argument_names
    arguments = [trace.argument(aval) for aval in in_avals]
    saved = state.trace, state.source
    state.trace, state.source = trace, None
    try:
        with collector_paused():
            program = trace.finish(function(*arguments))
    finally:
        trace.ended = True
        state.trace, state.source = saved
    if config.check_tracer_leaks:  # not after an error, whose traceback holds tracers
        held = [trace]
        del trace, arguments
        check_leaks(held)
    return program


def closed_as_open(jaxpr: Jaxpr) -> Jaxpr:
    """Return the jaxpr with its constvars as leading arguments: the form of programs inside
    equations.
    """
    if not jaxpr.constvars:
        return jaxpr
    return Jaxpr((), (*jaxpr.constvars, *jaxpr.invars), jaxpr.outvars, jaxpr.eqns, jaxpr.name)


def stage_open(
    function: Callable[..., Sequence[Value]], in_avals: Sequence[ShapedArray], **options: Any
) -> tuple[Jaxpr, list[Value]]:
    """Trace like `stage`; the captured values are leading arguments of the jaxpr."""
    jaxpr, consts = stage(function, in_avals, **options)
    return closed_as_open(jaxpr), consts
