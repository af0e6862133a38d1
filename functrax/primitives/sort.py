"""Sorting: sort by one or more keys, the sorting permutation, and the largest elements."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.arguments import integer
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, Primitive, declare
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives import ordering
from functrax.primitives.gather import GatherDimensionNumbers, GatherScatterMode, gather
from functrax.primitives.rules import (
    Dim,
    Tangent,
    check_kind,
    expand_axis,
    has_tangent,
    move_batch_axis,
    zeros,
)
from functrax.primitives.shape import canonical_axis

# The functions ----------------------------------------------------------------------------------


def sort(
    operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1
) -> Value | tuple[Value, ...]:
    """Sort an array along an axis, or several arrays by the first of them.

    Args:
        operand: array of numbers or booleans, or a sequence of arrays of one shape.
        dimension: the axis; negative ones count from the end.
        is_stable: whether equal elements keep their order.
        num_keys: how many of the arrays are compared, the first one first.

    Returns:
        The array in ascending order, or the tuple of arrays, all permuted alike. NaN comes last;
        -0.0 and 0.0 are equal; complex numbers compare by real part, then imaginary part.

    Raises:
        ShapeError: if the arrays differ in shape.
        ArgumentError: if there are fewer arrays than keys.

    Source: StableHLO specification, "sort".
    """
    several = isinstance(operand, tuple | list)
    values = [as_value(x, "sort") for x in (operand if several else (operand,))]
    results = bind(sort_p, *values, **_order("sort", values, dimension, is_stable, num_keys))
    return tuple(results) if several else results[0]


def sort_key_val(
    keys: Any, values: Any, dimension: int = -1, is_stable: bool = True
) -> tuple[Value, Value]:
    """Sort keys along an axis, and permute values alike.

    Args:
        keys: array of numbers or booleans.
        values: array of the same shape.
        dimension: the axis; negative ones count from the end.
        is_stable: whether the values of equal keys keep their order.

    Returns:
        The sorted keys and the permuted values.
    """
    results: Any = sort((keys, values), dimension, is_stable, 1)
    return results


def argsort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Value:
    """Return the permutation that `sort` applies.

    Args:
        operand: array of numbers or booleans, or a sequence of `num_keys` arrays of one shape.
        dimension: the axis; negative ones count from the end.
        is_stable: whether equal elements keep their order.
        num_keys: how many arrays are compared.

    Returns:
        An int32 array of the same shape: positions along the axis.

    Raises:
        ShapeError: if the arrays differ in shape.
    """
    values = [as_value(x, "argsort") for x in _listed(operand)]
    params = _order("argsort", values, dimension, is_stable, num_keys)
    return bind(argsort_p, *values, **params)[0]


def top_k(operand: Any, k: int, *, axis: int = -1, is_stable: bool = True) -> list[Value]:
    """Return the k largest elements along an axis, and where they are.

    Args:
        operand: array of real numbers or booleans.
        k: how many.
        axis: the axis; negative ones count from the end.
        is_stable: has no effect: of equal elements the first comes first.

    Returns:
        The elements in descending order, of the operand's dtype, and their int32 positions; of
        equal elements the first. NaN counts as larger than infinity.

    Raises:
        ArgumentError: if k is negative or larger than the axis.
        DtypeError: for complex numbers.

    Source: StableHLO (CHLO) specification, "top_k".
    """
    operand = as_value(operand, "top_k")
    axis = canonical_axis("top_k", axis, operand.aval.ndim)
    return list(bind(top_k_p, operand, k=integer("top_k", "k", k), axis=axis))


def _listed(operand: Any) -> Sequence[Any]:
    return operand if isinstance(operand, tuple | list) else (operand,)


def _order(
    call: str, values: Sequence[Value], dimension: int, is_stable: bool, num_keys: int
) -> dict[str, Any]:
    """Return the parameters of a sort."""
    num_keys = integer(call, "num_keys", num_keys)
    if not 1 <= num_keys <= len(values):
        raise errors.ArgumentError(
            call, "num_keys from 1 to the number of arrays", f"{num_keys} for {len(values)} arrays"
        )
    axis = canonical_axis(call, dimension, values[0].aval.ndim)
    return {"dimension": axis, "is_stable": bool(is_stable), "num_keys": num_keys}


# Types and mapping ------------------------------------------------------------------------------


def _check(call: str, operands: Sequence[ShapedArray], num_keys: int) -> frozenset[str]:
    """Check dtypes and shapes, and return the axes along which the results vary."""
    for aval in operands[:num_keys]:
        check_kind(call, aval, "biufc")
    if any(aval.shape != operands[0].shape for aval in operands):
        raise errors.ShapeError(call, "arrays of one shape", short_types(operands))
    return frozenset[str]().union(*(aval.varying for aval in operands))


def _sort_abstract(
    *operands: ShapedArray, dimension: int, is_stable: bool, num_keys: int
) -> tuple[ShapedArray, ...]:
    varying = _check("sort", operands, num_keys)
    return tuple(aval.update(varying=varying) for aval in operands)


def _argsort_abstract(
    *operands: ShapedArray, dimension: int, is_stable: bool, num_keys: int
) -> tuple[ShapedArray]:
    varying = _check("argsort", operands, num_keys)
    return (ShapedArray(operands[0].shape, np.dtype(np.int32), False, varying),)


def _batched(
    primitive: Primitive,
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    dimension: int,
    **params: Any,
) -> Any:
    """Sort every slice along the mapped axis: align it in all operands."""
    dim: Any = next(d for d in dims if d is not None)
    values = [move_batch_axis(axis, x, d, dim) for x, d in zip(operands, dims, strict=True)]
    results = bind(primitive, *values, dimension=dimension + (dim <= dimension), **params)
    return results, [dim] * len(results)


def take_along(x: Value, indices: Value, axis: int) -> Value:
    """Pick elements of x along one axis, at places that are valid and distinct."""
    if indices.aval.size == 0:
        return zeros(x.aval.update(shape=indices.aval.shape))
    rest = tuple(k for k in range(x.aval.ndim) if k != axis)
    return gather(
        x,
        expand_axis(indices, x.aval.ndim),
        GatherDimensionNumbers((), (axis,), (axis,), rest, rest),
        (1,) * x.aval.ndim,
        unique_indices=True,
        mode=GatherScatterMode.PROMISE_IN_BOUNDS,
    )


# sort -------------------------------------------------------------------------------------------


def _sort_jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, num_keys: int, **params: Any
) -> Any:
    """D sort(x) = dx, permuted as x is."""
    keys = primals[:num_keys]
    (order,) = bind(argsort_p, *keys, num_keys=num_keys, **params)
    axis = params["dimension"]
    results = [take_along(x, order, axis) for x in primals]
    return results, [None if t is None else take_along(t, order, axis) for t in tangents]


def _sort_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    return _batched(sort_p, axis, operands, dims, **params)


def _sort_lower(
    b: Any, *operands: Any, dimension: int, is_stable: bool, num_keys: int
) -> list[Any]:
    if b.out_types[0].size == 0:
        return list(operands)
    if ordering.sorts_by_integers(b.platform, b.in_types[:num_keys]):
        if len(operands) == 1:
            return [ordering.sorted_values(b, operands[0], b.in_types[0], dimension)]
        if ordering.packs(b.in_types[:num_keys]):
            order = ordering.packed_order(b, operands[0], b.in_types[0], dimension)
            pairs = zip(operands, b.in_types, strict=True)
            return [ordering.picked(b, x, aval, order, aval, dimension) for x, aval in pairs]
    return ordering.compared(b, operands, b.in_types, dimension, is_stable, num_keys)


sort_p = declare(
    "sort",
    abstract_eval=_sort_abstract,
    jvp=_sort_jvp,
    transpose=NOT_LINEAR,
    batch=_sort_batch,
    lower=_sort_lower,
)

# argsort ----------------------------------------------------------------------------------------


def _argsort_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    return _batched(argsort_p, axis, operands, dims, **params)


def _argsort_lower(b: Any, *operands: Any, dimension: int, is_stable: bool, num_keys: int) -> Any:
    out, keys = b.out_types[0], b.in_types[:num_keys]
    if out.size == 0:
        return b.full(0, out)
    if ordering.sorts_by_integers(b.platform, keys) and ordering.packs(keys):
        return ordering.packed_order(b, operands[0], keys[0], dimension)
    values = [*operands[:num_keys], b.iota(out, dimension)]
    return ordering.compared(b, values, [*keys, out], dimension, is_stable, num_keys)[-1]


argsort_p = declare(
    "argsort",
    abstract_eval=_argsort_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_argsort_batch,
    lower=_argsort_lower,
)

# top_k ------------------------------------------------------------------------------------------


def _top_k_abstract(operand: ShapedArray, *, k: int, axis: int) -> tuple[ShapedArray, ...]:
    check_kind("top_k", operand, "biuf")
    if not 0 <= k <= operand.shape[axis]:
        raise errors.ArgumentError(
            "top_k", f"k from 0 to the size of axis {axis}", f"k={k} for {operand!r}"
        )
    values = operand.update(shape=(*operand.shape[:axis], k, *operand.shape[axis + 1 :]))
    return values, ShapedArray(values.shape, np.dtype(np.int32), False, operand.varying)


def _top_k_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], *, k: int, axis: int) -> Any:
    """D top_k(x) = dx where the largest elements are."""
    values, indices = bind(top_k_p, primals[0], k=k, axis=axis)
    tangent = tangents[0]
    if tangent is None or not has_tangent(values.aval):
        return [values, indices], [None, None]
    return [values, indices], [take_along(tangent, indices, axis), None]


def _top_k_batch(
    batch: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, k: int, axis: int
) -> Any:
    dim: Any = dims[0]
    return bind(top_k_p, operands[0], k=k, axis=axis + (dim <= axis)), [dim, dim]


def _top_k_lower(b: Any, x: Any, *, k: int, axis: int) -> list[Any]:
    aval, (values, indices) = b.in_types[0], b.out_types
    if values.size == 0:
        return [b.full(0, values), b.full(0, indices)]
    few = aval.dtype == np.float32 and 8 * k <= aval.shape[axis]  # XLA has a kernel for these
    if not few and ordering.sorts_by_integers(b.platform, [aval]) and ordering.packs([aval]):
        order = ordering.packed_order(b, x, aval, axis, descending=True)
        order = ordering.leading(b, order, indices, axis)
        return [ordering.picked(b, x, aval, order, values, axis), order]
    return ordering.write_top_k(b, x, aval, k, axis)


top_k_p = declare(
    "top_k",
    abstract_eval=_top_k_abstract,
    jvp=_top_k_jvp,
    transpose=NOT_LINEAR,
    batch=_top_k_batch,
    lower=_top_k_lower,
)
