"""Joining and cutting arrays: concatenate and split, and pad."""

import itertools
from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core.arguments import integer, integers, listed
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.rules import (
    Dim,
    Tangent,
    declare_linear,
    full,
    is_linear,
    matched,
    move_batch_axis,
    sum_axes,
    zeros,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis

# concatenate ------------------------------------------------------------------------------------


def concatenate(operands: Any, dimension: int) -> Value:
    """Join arrays along an axis.

    Args:
        operands: sequence of arrays of one dtype, equal in all sizes but that of the axis; an array
            stands for the sequence of its rows.
        dimension: the axis, counted from the first.

    Returns:
        An array whose size along the axis is the sum of theirs.

    Raises:
        ArgumentError: for an empty sequence.
        ShapeError, DtypeError: if the operands do not fit together.

    Source: StableHLO specification, "concatenate".
    """
    arrays = listed("concatenate", "operands", operands)
    values = [as_value(x, "concatenate") for x in arrays]
    if not values:
        raise errors.ArgumentError("concatenate", "at least one array", "an empty sequence")
    dimension = integer("concatenate", "dimension", dimension)
    if len(values) == 1 and 0 <= dimension < values[0].aval.ndim:
        return values[0]
    return bind(concatenate_p, *values, dimension=dimension)[0]


def _concatenate_abstract(*operands: ShapedArray, dimension: int) -> tuple[ShapedArray]:
    first = operands[0]
    if not 0 <= dimension < first.ndim:
        raise errors.BoundsError(
            "concatenate", f"an axis of arrays of {first.ndim} axes", f"dimension {dimension}"
        )
    shapes = {(*x.shape[:dimension], *x.shape[dimension + 1 :]) for x in operands}
    if len(shapes) > 1 or any(x.ndim != first.ndim for x in operands):
        raise errors.ShapeError(
            "concatenate",
            f"arrays equal in all sizes but that of axis {dimension}",
            short_types(operands),
            fix="Reshape or broadcast them to fit.",
        )
    if any(x.dtype != first.dtype for x in operands):
        raise errors.DtypeError(
            "concatenate",
            "arrays of one dtype",
            short_types(operands),
            fix="Convert them with `.astype(...)`.",
        )
    shape = list(first.shape)
    shape[dimension] = sum(x.shape[dimension] for x in operands)
    weak = all(x.weak_type for x in operands)
    varying = frozenset[str]().union(*(x.varying for x in operands))
    return (ShapedArray(tuple(shape), first.dtype, weak, varying),)


def _concatenate_transpose(
    cotangents: Sequence[Value], *operands: Any, dimension: int
) -> list[Value | None]:
    """Cut the cotangent where the operands were joined."""
    sizes = tuple(x.aval.shape[dimension] for x in operands)
    parts = bind(split_p, cotangents[0], sizes=sizes, axis=dimension)
    return [part if is_linear(x) else None for part, x in zip(parts, operands, strict=True)]


def _concatenate_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, dimension: int
) -> Any:
    destination: Any = next(dim for dim in dims if dim is not None)
    values = [
        move_batch_axis(axis, x, dim, destination) for x, dim in zip(operands, dims, strict=True)
    ]
    moved = dimension + (destination <= dimension)
    return bind(concatenate_p, *values, dimension=moved), [destination]


def _concatenate_lower(b: Any, *operands: Any, dimension: int) -> Any:
    if len(operands) == 1:
        return operands[0]
    return b.concatenate(operands, b.out_types[0], dimension)


concatenate_p = declare_linear(
    "concatenate",
    abstract_eval=_concatenate_abstract,
    transpose=_concatenate_transpose,
    batch=_concatenate_batch,
    lower=_concatenate_lower,
)

# split ------------------------------------------------------------------------------------------


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Value]:
    """Cut an array into consecutive parts along an axis.

    Args:
        operand: array.
        sizes: the size of each part along the axis; their sum is the array's.
        axis: the axis; negative ones count from the end.

    Returns:
        A list with one array for each size.

    Raises:
        ShapeError: if the sizes do not add up.
        BoundsError: if the axis is out of range.
    """
    operand = as_value(operand, "split")
    axis = canonical_axis("split", axis, operand.aval.ndim)
    return list(bind(split_p, operand, sizes=integers("split", "sizes", sizes), axis=axis))


def _split_abstract(
    operand: ShapedArray, *, sizes: tuple[int, ...], axis: int
) -> tuple[ShapedArray, ...]:
    if sum(sizes) != operand.shape[axis] or any(size < 0 for size in sizes):
        raise errors.ShapeError(
            "split",
            f"sizes that add up to the {operand.shape[axis]} of axis {axis}",
            f"{sizes} for an array of shape {operand.shape}",
        )
    before, after = operand.shape[:axis], operand.shape[axis + 1 :]
    return tuple(operand.update(shape=(*before, size, *after)) for size in sizes)


def _split_transpose(
    cotangents: Sequence[Tangent], operand: Any, *, sizes: tuple[int, ...], axis: int
) -> list[Value]:
    """Join the cotangents of the parts."""
    types = _split_abstract(operand.aval, sizes=sizes, axis=axis)
    parts = [zeros(t) if ct is None else ct for ct, t in zip(cotangents, types, strict=True)]
    return [concatenate(parts, axis)]


def _split_batch(
    batch: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, sizes: Any, axis: int
) -> Any:
    dim: Any = dims[0]
    moved = axis + (dim <= axis)
    return bind(split_p, operands[0], sizes=sizes, axis=moved), [dim] * len(sizes)


def _split_lower(b: Any, x: Any, *, sizes: tuple[int, ...], axis: int) -> list[Any]:
    rank = b.in_types[0].ndim
    parts: list[Any] = []
    for stop, out in zip(itertools.accumulate(sizes), b.out_types, strict=True):
        start, limit = [0] * rank, list(out.shape)
        start[axis], limit[axis] = stop - out.shape[axis], stop
        parts.append(b.slice(x, out, start, limit, (1,) * rank))
    return parts


split_p = declare_linear(
    "split",
    abstract_eval=_split_abstract,
    transpose=_split_transpose,
    batch=_split_batch,
    lower=_split_lower,
)

# pad --------------------------------------------------------------------------------------------


def pad(operand: Any, padding_value: Any, padding_config: Sequence[Sequence[int]]) -> Value:
    """Add elements at the edges of an array and between its elements, or cut the edges off.

    Args:
        operand: array.
        padding_value: scalar of the same dtype, which the added elements get.
        padding_config: for each axis ``(low, high, interior)``: how many elements to add before,
            after, and between each two neighbours. Negative low and high remove elements (after
            the interior ones were added).

    Returns:
        An array of the sizes that result.

    Raises:
        ShapeError: if the numbers do not fit the array.
        DtypeError: if the dtypes differ.

    Source: StableHLO specification, "pad".
    """
    operand, padding_value = matched("pad", operand, padding_value)
    rows = listed("pad", "padding_config", padding_config)
    config = tuple(integers("pad", "padding_config", counts) for counts in rows)
    if len(config) == operand.aval.ndim and all(counts == (0, 0, 0) for counts in config):
        return operand
    return bind(pad_p, operand, padding_value, padding_config=config)[0]


def padded_size(size: int, low: int, high: int, interior: int) -> int:
    """Return the size of an axis after padding; negative if more is cut off than there is."""
    return low + high + size + max(size - 1, 0) * interior


def _pad_abstract(
    operand: ShapedArray,
    padding_value: ShapedArray,
    *,
    padding_config: tuple[tuple[int, int, int], ...],
) -> tuple[ShapedArray]:
    if operand.dtype != padding_value.dtype:
        raise errors.DtypeError(
            "pad",
            "an array and a padding value of one dtype",
            short_types((operand, padding_value)),
            fix="Convert the padding value with `.astype(...)`.",
        )
    fits = len(padding_config) == operand.ndim and all(len(c) == 3 for c in padding_config)
    shape: tuple[int, ...] = ()
    if fits:
        pairs = zip(operand.shape, padding_config, strict=True)
        shape = tuple(padded_size(size, *counts) for size, counts in pairs)
        fits = min(shape, default=0) >= 0 and all(c[2] >= 0 for c in padding_config)
    if padding_value.shape or not fits:
        raise errors.ShapeError(
            "pad",
            "a scalar padding value, and (low, high, interior) for each axis with interior >= 0 "
            "and sizes >= 0 as a result",
            f"{short_types((operand, padding_value))} with padding_config={padding_config}",
        )
    weak = operand.weak_type and padding_value.weak_type
    varying = operand.varying | padding_value.varying
    return (ShapedArray(shape, operand.dtype, weak, varying),)


def _pad_transpose(
    cotangents: Sequence[Value], operand: Any, padding_value: Any, *, padding_config: Any
) -> list[Value | None]:
    """Cut out what came from the operand; the padding value gets the sum of the rest."""
    (ct,) = cotangents
    inner = unpad(ct, operand.aval.shape, padding_config)
    rest: Tangent = None
    if is_linear(padding_value):
        total = sum_axes(ct, range(ct.aval.ndim))
        rest = bind(registry["sub"], total, sum_axes(inner, range(inner.aval.ndim)))[0]
    return [inner if is_linear(operand) else None, rest]


def unpad(x: Value, shape: tuple[int, ...], padding_config: Any) -> Value:
    """Return the elements of a padded array that came from one of `shape`; 0 where it was cut."""
    cut = tuple((-low, -high, 0) for low, high, _ in padding_config)
    zero = full((), 0, x.aval.dtype)
    if any(counts != (0, 0, 0) for counts in cut):
        x = bind(pad_p, x, zero, padding_config=cut)[0]
    if x.aval.shape == shape:
        return x
    strides = tuple(interior + 1 for _, _, interior in padding_config)
    limits = x.aval.shape
    starts = (0,) * len(limits)
    return bind(registry["slice"], x, start_indices=starts, limit_indices=limits, strides=strides)[
        0
    ]


def _pad_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, padding_config: Any
) -> Any:
    x, value = operands
    dim = 0 if dims[0] is None else dims[0]
    config = (*padding_config[:dim], (0, 0, 0), *padding_config[dim:])
    if dims[1] is None:
        return bind(pad_p, x, value, padding_config=config), [dim]
    x = move_batch_axis(axis, x, dims[0], dim)
    zero = full((), 0, x.aval.dtype)
    inside = pad(full(x.aval.shape, True, bool), False, config)
    padded = pad(x, zero, config)
    shape = padded.aval.shape
    values = bind(registry["broadcast_in_dim"], value, shape=shape, broadcast_dimensions=(dim,))[0]
    return [select_n(inside, values, padded)], [dim]


def _pad_lower(b: Any, x: Any, padding_value: Any, *, padding_config: Any) -> Any:
    low, high, interior = zip(*padding_config, strict=True) if padding_config else ((), (), ())
    return b.pad(x, padding_value, b.out_types[0], low, high, interior)


pad_p = declare_linear(
    "pad",
    abstract_eval=_pad_abstract,
    transpose=_pad_transpose,
    batch=_pad_batch,
    lower=_pad_lower,
)
