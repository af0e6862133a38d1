"""Vectorization: every value may carry one extra axis, and operations are rewritten to map over
it.
"""

import functools
import types
from collections.abc import Iterable, Sequence
from typing import Any

from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.leaks import check_leaks
from functrax.core.primitive import BatchAxis, Primitive, Refusal, abstract_eval, missing_rule
from functrax.core.source import current_source
from functrax.core.trace import NamedAxis, Trace, Tracer, Value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.keys import random_bits_p
from functrax.primitives.rules import NOT_MAPPED, Dim, move_batch_axis
from functrax.transforms.key_reuse import uses_keys
from functrax.transforms.stage import stage_open


class BatchTracer(Tracer):
    """A value with a mapped axis that the traced function does not see."""

    __slots__ = ("dim", "source", "value")

    def __init__(self, trace: "BatchTrace", value: Value, dim: int) -> None:
        """Hide axis `dim` of `value`."""
        self.owner = trace
        self.value = value
        self.dim = dim
        self.aval = unmapped_type(value.aval, dim)
        if trace.axis.exact:
            self.aval = self.aval.update(varying=self.aval.varying | {trace.axis.name})
        self.source = None if isinstance(value, Tracer) else current_source("")

    def origin(self) -> str:
        """Return where the mapped value was made."""
        if isinstance(self.value, Tracer):
            return self.value.origin()
        return str(self.source) if self.source else ""


def unmapped_type(aval: ShapedArray, dim: int) -> ShapedArray:
    """Return the type without one axis."""
    shape = aval.shape
    return ShapedArray(shape[:dim] + shape[dim + 1 :], aval.dtype, aval.weak_type, aval.varying)


def mapped_type(aval: ShapedArray, dim: int, size: int) -> ShapedArray:
    """Return the type with one more axis."""
    shape = aval.shape
    return ShapedArray((*shape[:dim], size, *shape[dim:]), aval.dtype, aval.weak_type, aval.varying)


class LiveAxis(BatchAxis):
    """A mapped axis with the trace that is mapping over it.

    The rules of calls of Python functions get it: what such a function closes over may be mapped,
    so it has to run under the same trace again, not under another one for the same axis.
    """

    trace: "BatchTrace"


class BatchTrace(Trace):
    """Rewrites operations on mapped values by their batch rule."""

    __slots__ = ("axis", "name")

    def __init__(self, parent: Trace | None, axis: BatchAxis, name: str = "vmap") -> None:
        """Map over `axis`; run the rewritten operations in `parent`."""
        super().__init__(parent)
        self.axis = axis
        self.name = name

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Any:
        """Apply the batch rule, unless no operand is mapped and the operation does not name this
        axis.
        """
        values: list[Value] = []
        dims: list[Dim] = []
        mapped = False
        for operand in operands:
            if type(operand) is BatchTracer and operand.owner is self:
                values.append(operand.value)
                dims.append(operand.dim)
                mapped = True
            else:
                values.append(operand)
                dims.append(NOT_MAPPED)
        axis = self.axis
        if not mapped and axis.name is not None and primitive.axis_names is not None:
            mapped = axis.name in primitive.axis_names(params)
        if primitive.evaluate is not None and "function" in params:
            axis = LiveAxis(*axis)
            axis.trace = self
            mapped = mapped or _holds_tracer(params, self)
        if not mapped and self.parent is not None:
            # Every lane uses the same key: written down for transforms/key_reuse.py.
            if primitive is random_bits_p:
                params = {**params, "lanes": params.get("lanes", 1) * axis.size}
            elif primitive.name in ("jit", "checkpoint"):
                mapped = uses_keys(params["jaxpr"])
        state.trace = self.parent
        try:
            if not mapped:
                return bind(primitive, *values, **params)
            if type(primitive.batch) is Refusal:
                raise missing_rule(primitive, self.name, "batch")
            if primitive.partial is None and primitive.stage is None:
                # What an operation takes does not depend on the mapping, and its errors show the
                # types that the user sees: those of one lane.
                abstract_eval(primitive, tuple([x.aval for x in operands]), params)
            results, out_dims = primitive.batch(axis, values, dims, **params)
        finally:
            state.trace = self
        return [
            result if dim is None else BatchTracer(self, result, dim)
            for result, dim in zip(results, out_dims, strict=True)
        ]


def batch_flat(
    function: Any,
    axis: BatchAxis,
    values: Sequence[Value],
    dims: Sequence[Dim],
    *,
    name: str = "vmap",
) -> tuple[list[Value], list[Dim]]:
    """Run a function of flat values with some of them mapped.

    Args:
        function: takes values, returns a sequence of values.
        axis: the size and name of the mapped axis.
        values: the arguments, mapped axes included.
        dims: the mapped axis of each, or None.
        name: the user's transform, for messages.

    Returns:
        The results and their mapped axes.
    """
    saved, saved_axes = state.trace, state.axes
    trace = axis.trace if isinstance(axis, LiveAxis) else BatchTrace(saved, axis, name)
    around, ended = trace.parent, trace.ended or not isinstance(axis, LiveAxis)
    trace.parent, trace.ended = saved, False  # a pullback runs when `vmap` has returned already
    arguments = [
        value if dim is None else BatchTracer(trace, value, dim)
        for value, dim in zip(values, dims, strict=True)
    ]
    state.trace = trace
    if axis.name is not None:
        state.axes = (*saved_axes, NamedAxis(axis.name, axis.size, axis.exact))
    try:
        results = function(*arguments)
    finally:
        state.trace, state.axes = saved, saved_axes
        trace.parent, trace.ended = around, ended
    out: list[tuple[Value, Dim]] = [
        (r.value, r.dim) if type(r) is BatchTracer and r.owner is trace else (r, NOT_MAPPED)
        for r in results
    ]
    if config.check_tracer_leaks and not isinstance(axis, LiveAxis):
        held: list[Trace] = [trace]
        del trace, arguments, results
        check_leaks(held)
    return [value for value, _ in out], [dim for _, dim in out]


def _holds_tracer(value: Any, trace: BatchTrace, limit: int = 1000) -> bool:
    """Tell whether functions close over, or containers hold, a tracer of a trace."""
    pending, seen = [value], set[int]()
    while pending and len(seen) < limit:
        x = pending.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Tracer) and x.owner is trace:
            return True
        pending += _parts(x)
    return False


def _parts(x: Any) -> Iterable[Any]:
    """Return what a value holds: the captured values of a function, the fields of an object."""
    if isinstance(x, types.FunctionType):
        cells = [cell.cell_contents for cell in x.__closure__ or () if cell != _EMPTY]
        return [*cells, *(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values()]
    if isinstance(x, functools.partial):
        return [x.func, *x.args, *x.keywords.values()]
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, dict):
        return x.values()
    if isinstance(x, list | tuple | set | frozenset):
        return x
    if isinstance(x, type | types.ModuleType):
        return ()
    names = getattr(type(x), "__slots__", ())  # "__weakref__" raises for objects of jaxlib
    slots = [getattr(x, name, None) for name in names if not name.startswith("__")]
    return [*slots, *getattr(x, "__dict__", {}).values()]


_EMPTY = types.CellType()


@program_cache
def batch_jaxpr(
    jaxpr: Jaxpr, axis: BatchAxis, dims: tuple[Dim, ...], out_mapped: tuple[bool, ...] | None = None
) -> tuple[Jaxpr, list[Value], tuple[Dim, ...]]:
    """Map a program over an axis.

    Args:
        jaxpr: without constvars.
        axis: the mapped axis.
        dims: the mapped axis of each argument, or None.
        out_mapped: which results must be mapped (at axis 0), even if they do not depend on the
            axis; None leaves it open.

    Returns:
        The program ``(consts, args) -> results``, its consts, and the mapped axis of each result.
    """
    out_dims: list[Dim] = []

    def mapped(*values: Value) -> list[Value]:
        results, dims_out = batch_flat(
            lambda *args: eval_jaxpr(jaxpr, (), *args), axis, values, dims
        )
        if out_mapped is not None:
            results = [
                move_batch_axis(axis, r, d, 0) if wanted or d is not None else r
                for r, d, wanted in zip(results, dims_out, out_mapped, strict=True)
            ]
            dims_out = [
                0 if wanted or d is not None else None
                for d, wanted in zip(dims_out, out_mapped, strict=True)
            ]
        out_dims.extend(dims_out)
        return results

    in_avals = [
        v.aval if dim is None else mapped_type(v.aval, dim, axis.size)
        for v, dim in zip(jaxpr.invars, dims, strict=True)
    ]
    if axis.exact:
        in_avals = [aval.update(varying=aval.varying - {axis.name}) for aval in in_avals]
    result, consts = stage_open(mapped, in_avals, name=jaxpr.name)
    return result, consts, tuple(out_dims)
