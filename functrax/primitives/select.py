"""Elementwise choice."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import BatchAxis, declare, registry
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.rules import (
    Dim,
    Tangent,
    is_linear,
    matched,
    move_axis,
    move_batch_axis,
    zeros,
)


def select_n(which: Any, *cases: Any) -> Value:
    """Pick elementwise among cases.

    Args:
        which: boolean (False picks case 0, True case 1) or integer array; the shape of the cases,
            or a scalar. What is less than 0 picks the first case, what is too large the last.
        *cases: arrays of one shape and dtype.

    Returns:
        An array of the cases' shape and dtype.

    Raises:
        ShapeError, DtypeError: if the cases differ or `which` does not fit.
        ArgumentError: if there are no cases.
    """
    if not cases:
        raise errors.ArgumentError("select_n", "at least one case", "none")
    return bind(select_n_p, *matched("select_n", which)[:1], *matched("select_n", *cases))[0]


def _abstract_eval(which: ShapedArray, *cases: ShapedArray) -> tuple[ShapedArray]:
    first = cases[0]
    if any(case.shape != first.shape for case in cases) or which.shape not in ((), first.shape):
        raise errors.ShapeError(
            "select_n",
            "cases of one shape, and a predicate of that shape or scalar",
            short_types((which, *cases)),
        )
    if any(case.dtype != first.dtype for case in cases):
        raise errors.DtypeError("select_n", "cases of one dtype", short_types(cases))
    if not (which.dtype == bool and len(cases) <= 2) and not dtypes.is_integer(which.dtype):
        expected = "a boolean predicate, or integers with more than two cases"
        raise errors.DtypeError("select_n", expected, repr(which))
    varying = which.varying.union(*(case.varying for case in cases))
    return (first.update(weak_type=all(case.weak_type for case in cases), varying=varying),)


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent]) -> Any:
    """D select(w, x...) = select(w, dx...)."""
    which, *cases = primals
    results = bind(select_n_p, *primals)
    if all(tangent is None for tangent in tangents[1:]):
        return results, [None]
    filled = [zeros(x.aval) if t is None else t for x, t in zip(cases, tangents[1:], strict=True)]
    return results, bind(select_n_p, which, *filled)


def _transpose(cotangents: Sequence[Value], which: Value, *cases: Any) -> list[Tangent]:
    """Send the cotangent to the case that was picked, zero to the others."""
    (cotangent,) = cotangents
    nothing = zeros(cotangent.aval)
    return [None] + [
        bind(select_n_p, which, *(cotangent if i == j else nothing for j in range(len(cases))))[0]
        if is_linear(case)
        else None
        for i, case in enumerate(cases)
    ]


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    which, *cases = operands
    scalar_which = not which.aval.shape or (dims[0] is not None and which.aval.ndim == 1)
    case_dims = set(dims[1:])
    if dims[0] is None and scalar_which and len(case_dims) == 1:
        return bind(select_n_p, *operands), [case_dims.pop()]
    if case_dims == {dims[0]} and (not scalar_which or cases[0].aval.ndim == 1):
        return bind(select_n_p, *operands), [dims[0]]
    cases = [move_batch_axis(axis, x, d) for x, d in zip(cases, dims[1:], strict=True)]
    shape = cases[0].aval.shape
    if dims[0] is not None and scalar_which and len(shape) > 1:
        which = bind(registry["broadcast_in_dim"], which, shape=shape, broadcast_dimensions=(0,))[0]
    elif dims[0] is not None:
        which = move_axis(which, dims[0], 0) if dims[0] else which
    elif not scalar_which:
        which = move_batch_axis(axis, which, None)
    return bind(select_n_p, which, *cases), [0]


def _lower(b: Any, which: Any, *cases: Any) -> Any:
    out = b.out_types[0]
    which_type = b.in_types[0]
    if len(cases) == 1:
        return cases[0]
    if which_type.dtype == bool:
        return b.select(which, cases[1], cases[0], out)  # a scalar predicate needs no broadcast
    which = b.stretch(which, which_type, out.shape)
    index_type = which_type.update(shape=out.shape)
    result = cases[0]
    for number, case in enumerate(cases[1 : dtypes.iinfo(which_type.dtype).max + 1], 1):
        picked = b.compare("GE", which, b.full(number, index_type), index_type)
        result = b.select(picked, case, result, out)
    return result


select_n_p = declare(
    "select_n",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
)
