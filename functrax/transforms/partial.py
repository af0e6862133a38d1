"""Partial evaluation: compute what is known now, write down what is not.

Linearization is forward mode over this trace: primals are known and run in the parent; tangents are
unknown, and every operation on them is recorded. What the record captured from the known side are
the residuals.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.leaks import check_leaks
from functrax.core.primitive import Primitive
from functrax.core.source import Derived
from functrax.core.trace import Trace, Value, bind, current, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import tangent_type
from functrax.transforms.jvp import JVPTrace, JVPTracer, Tangent, split
from functrax.transforms.stage import StageTrace, StageTracer, closed_as_open, stage_open


class RecordTrace(StageTrace):
    """Runs operations on known values in the parent, and records those that touch an unknown
    one.
    """

    __slots__ = ()

    def record(
        self, primitive: Primitive, operands: Sequence[Value], params: dict[str, Any]
    ) -> list[StageTracer]:
        """Write the equation; what a call in the linear part computes is not computed first."""
        results = StageTrace.record(self, primitive, operands, params)
        if primitive.partial is not None or primitive.stage is not None:
            eqn = self.eqns[-1]
            eqn.source = None if eqn.source is None else Derived(*eqn.source)
        return results

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Any:
        """Record the operation if an operand is unknown."""
        for operand in operands:
            if type(operand) is StageTracer and operand.owner is self:
                break
        else:
            state.trace = self.parent
            try:
                return bind(primitive, *operands, **params)
            finally:
                state.trace = self
        if primitive.partial is None:
            if primitive.stage is None and not self.diverging:  # what comes next, without frames
                return StageTrace.record(self, primitive, operands, params)
            return super().process(primitive, operands, params)
        unknown = [type(operand) is StageTracer and operand.owner is self for operand in operands]
        if all(unknown):
            return super().process(primitive, operands, params)
        return primitive.partial(self, operands, unknown, params)


def linearize_flat(
    function: Callable[..., Sequence[Value]],
    primals: Sequence[Value],
    active: Sequence[bool],
    *,
    name: str,
    function_name: str = "",
    argument_names: Callable[[], Sequence[str]] = list,
) -> tuple[list[Value], Jaxpr, list[Value], list[bool]]:
    """Evaluate a function of flat values and record its derivative at that point.

    Args:
        function: takes values, returns a sequence of values.
        primals: where to evaluate.
        active: which arguments to differentiate.
        name: the user's transform, for messages.
        function_name: the user's function, for messages.
        argument_names: gives what the user calls each argument, for messages.

    Returns:
        The results; the linear program ``tangents of active arguments -> tangents of results``,
        with residuals as its constvars; the residuals; and for each result whether the program
        returns a tangent for it (else it is zero).
    """
    saved, saved_source = state.trace, state.source
    record = RecordTrace(saved, name)
    record.function_name = function_name
    record.argument_names = lambda: list(itertools.compress(argument_names(), active))
    trace = JVPTrace(record, name)
    arguments: list[Value] = [
        JVPTracer(trace, primal, record.argument(tangent_type(primal.aval)))
        if is_active
        else primal
        for primal, is_active in zip(primals, active, strict=True)
    ]
    state.trace = trace
    try:
        results = function(*arguments)
    finally:
        state.trace = saved
        state.source = saved_source
        trace.ended = True
    pairs = [split(trace, result) for result in results]
    tangents: list[Tangent] = [tangent for _, tangent in pairs]
    jaxpr, residuals = record.finish([tangent for tangent in tangents if tangent is not None])
    if config.check_tracer_leaks:
        held: list[Trace] = [trace]
        del trace, arguments, results
        check_leaks(held)
    return (
        [primal for primal, _ in pairs],
        jaxpr,
        residuals,
        [tangent is not None for tangent in tangents],
    )


@program_cache
def partial_eval_jaxpr(
    jaxpr: Jaxpr, unknown: tuple[bool, ...], recorded: tuple[bool, ...] | None = None
) -> tuple[Jaxpr, list[Value], Jaxpr, tuple[bool, ...], tuple[int | None, ...]]:
    """Split a program into what the known arguments determine and the rest.

    Args:
        jaxpr: without constvars.
        unknown: which arguments are not known.
        recorded: which results the rest must give even if they are known.

    Returns:
        The known program ``(consts, known args) -> (known results, residuals)`` with its consts;
        the unknown program ``(residuals, unknown args) -> unknown results``; which results are
        unknown; and for each residual the index of the known argument that it is, or None where the
        known program returns it.
    """
    split_off: list[Any] = []
    known_avals = [
        v.aval for v, is_unknown in zip(jaxpr.invars, unknown, strict=True) if not is_unknown
    ]

    def run_known(*known: Value) -> list[Value]:
        record = RecordTrace(state.trace, "partial")
        given = iter(known)
        arguments = [
            record.argument(v.aval) if is_unknown else next(given)
            for v, is_unknown in zip(jaxpr.invars, unknown, strict=True)
        ]
        saved = state.trace
        state.trace = record
        try:
            results = eval_jaxpr(jaxpr, (), *arguments)
        finally:
            state.trace = saved
        out_unknown = [type(r) is StageTracer and r.owner is record for r in results]
        if recorded is not None:
            out_unknown = [u or r for u, r in zip(out_unknown, recorded, strict=True)]
        rest, residuals = record.finish([r for r, u in zip(results, out_unknown, strict=True) if u])
        positions = {id(value): index for index, value in enumerate(known)}
        forwarded = tuple(positions.get(id(residual)) for residual in residuals)
        split_off.extend((closed_as_open(rest), tuple(out_unknown), forwarded))
        computed = [r for r, index in zip(residuals, forwarded, strict=True) if index is None]
        return [*(r for r, u in zip(results, out_unknown, strict=True) if not u), *computed]

    known_jaxpr, consts = stage_open(run_known, known_avals, name=jaxpr.name)
    rest, out_unknown, forwarded = split_off
    return known_jaxpr, consts, rest, out_unknown, forwarded


def record_flat(
    function: Callable[..., Sequence[Value]], avals: Sequence[ShapedArray], *, name: str
) -> tuple[Jaxpr, list[Value], list[Value]]:
    """Record what a function does to unknown arguments; the rest is computed.

    Args:
        function: takes values, returns a sequence of values.
        avals: the types of the arguments.
        name: the user's transform, for messages.

    Returns:
        The program, with residuals as its constvars; the residuals; and the function's results.
    """
    record = RecordTrace(state.trace, name)
    arguments = [record.argument(aval) for aval in avals]
    with current(record):
        results = list(function(*arguments))
    jaxpr, residuals = record.finish(results)
    return jaxpr, residuals, results
