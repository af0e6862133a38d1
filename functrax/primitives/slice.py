"""Parts of arrays: slice at fixed places, dynamic_slice and its update at runtime ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integers, listed
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import Literal, ShapedArray, short_types
from functrax.primitives.check import check_bounds
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add, lt
from functrax.primitives.extreme import min_p
from functrax.primitives.gather import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
)
from functrax.primitives.rules import (
    Dim,
    declare_linear,
    is_linear,
    matched,
    move_batch_axis,
    reshape,
    scalar,
    zeros,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import squeeze

# slice ------------------------------------------------------------------------------------------


def slice(
    operand: Any,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None = None,
) -> Value:
    """Take every stride-th element between two fixed corners of an array.

    Args:
        operand: array of any dtype.
        start_indices: for each axis, the first index taken; within [0, size].
        limit_indices: for each axis, the index to stop before; within [start, size].
        strides: for each axis, the distance between indices taken, at least 1; 1 by default.

    Returns:
        An array of shape ``ceil((limit - start) / stride)``.

    Raises:
        BoundsError: if a corner lies outside of the array.
        ArgumentError: if the sequences do not have one entry per axis, or a stride is not positive.

    Source: StableHLO specification, "slice".
    """
    operand = as_value(operand, "slice")
    start = integers("slice", "start_indices", start_indices)
    limit = integers("slice", "limit_indices", limit_indices)
    steps = (1,) * len(start) if strides is None else integers("slice", "strides", strides)
    if start == (0,) * len(start) and limit == operand.aval.shape and steps == (1,) * len(start):
        return operand
    return bind(slice_p, operand, start_indices=start, limit_indices=limit, strides=steps)[0]


def _slice_abstract(
    operand: ShapedArray, *, start_indices: Any, limit_indices: Any, strides: Any
) -> tuple[ShapedArray]:
    rank = operand.ndim
    if not len(start_indices) == len(limit_indices) == len(strides) == rank:
        raise errors.ArgumentError(
            "slice",
            f"start_indices, limit_indices and strides of {rank} entries for {operand!r}",
            f"{start_indices}, {limit_indices} and {strides}",
        )
    corners = zip(start_indices, limit_indices, operand.shape, strict=True)
    if any(not 0 <= start <= limit <= size for start, limit, size in corners):
        raise errors.BoundsError(
            "slice",
            f"0 <= start <= limit <= size in each axis of {operand!r}",
            f"start_indices={start_indices}, limit_indices={limit_indices}",
        )
    if any(stride < 1 for stride in strides):
        raise errors.ArgumentError(
            "slice", "strides of at least 1", f"{strides}", fix="Use `rev` to go backwards."
        )
    steps = zip(start_indices, limit_indices, strides, strict=True)
    return (operand.update(shape=tuple(-((start - stop) // step) for start, stop, step in steps)),)


def _slice_transpose(
    cotangents: Sequence[Value],
    operand: Any,
    *,
    start_indices: Any,
    limit_indices: Any,
    strides: Any,
) -> list[Value]:
    """Put the cotangent back among zeros: pad by start, stride - 1 and what was left over."""
    (ct,) = cotangents
    sizes = zip(ct.aval.shape, operand.aval.shape, start_indices, strides, strict=True)
    config = tuple(
        (start, total - start - (taken and (taken - 1) * stride + 1), stride - 1)
        for taken, total, start, stride in sizes
    )
    return bind(registry["pad"], ct, scalar(0, ct.aval.dtype), padding_config=config)


def _slice_batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    start_indices: Any,
    limit_indices: Any,
    strides: Any,
) -> Any:
    dim: Any = dims[0]
    results = bind(
        slice_p,
        operands[0],
        start_indices=_insert(start_indices, dim, 0),
        limit_indices=_insert(limit_indices, dim, operands[0].aval.shape[dim]),
        strides=_insert(strides, dim, 1),
    )
    return results, [dim]


def _insert(sequence: Sequence[Any], position: int, item: Any) -> tuple[Any, ...]:
    return (*sequence[:position], item, *sequence[position:])


def _slice_lower(
    b: Any,
    x: Any,
    *,
    start_indices: tuple[int, ...],
    limit_indices: tuple[int, ...],
    strides: tuple[int, ...],
) -> Any:
    return b.slice(x, b.out_types[0], start_indices, limit_indices, strides)


slice_p = declare_linear(
    "slice",
    abstract_eval=_slice_abstract,
    transpose=_slice_transpose,
    batch=_slice_batch,
    lower=_slice_lower,
)

# dynamic_slice ----------------------------------------------------------------------------------


def dynamic_slice(
    operand: Any,
    start_indices: Any,
    slice_sizes: Sequence[int],
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Value:
    """Take a block of fixed shape at a place that is known only at run time.

    Args:
        operand: array of any dtype.
        start_indices: one integer scalar per axis, or a 1-d integer array of them. They are moved
            (clamped) so that the block lies within the array.
        slice_sizes: the block's shape.
        allow_negative_indices: whether negative indices count from the end; per axis, or for all.

    Returns:
        An array of shape `slice_sizes`.

    Raises:
        ShapeError: if the block does not fit the array or the indices are not one per axis.

    Source: StableHLO specification, "dynamic_slice".
    """
    operand = as_value(operand, "dynamic_slice")
    sizes = integers("dynamic_slice", "slice_sizes", slice_sizes)
    shape = operand.aval.shape
    starts = start_values("dynamic_slice", shape, start_indices, allow_negative_indices, sizes)
    return bind(dynamic_slice_p, operand, *starts, slice_sizes=sizes)[0]


def start_values(
    call: str,
    shape: Sequence[int],
    start_indices: Any,
    allow_negative: bool | Sequence[bool],
    sizes: Sequence[int] | None = None,
) -> list[Value]:
    """Return start indices as scalars of one integer dtype, negative ones counted from the end.

    With the sizes of the block, `debug_index` checks them.

    Raises:
        ShapeError: if there is not one per axis.
        DtypeError: if they are not integers.
    """
    items = _unpacked(call, start_indices)
    if len(items) != len(shape):
        raise errors.ShapeError(
            call,
            f"one start index for each of the {len(shape)} axes",
            f"{len(items)} for an array of shape {tuple(shape)}",
        )
    if isinstance(allow_negative, bool):
        allow_negative = [allow_negative] * len(items)
    allow_negative = listed(call, "allow_negative_indices", allow_negative)
    if len(allow_negative) != len(items):
        expected = f"one bool for allow_negative_indices, or {len(items)}"
        raise errors.ArgumentError(call, expected, f"{len(allow_negative)}")
    triples = zip(items, shape, allow_negative, strict=True)
    starts = [from_start(call, i, size) if wrap else _integer(call, i) for i, size, wrap in triples]
    for axis, (start, size) in enumerate(zip(starts, sizes or (), strict=False)):
        given = _integer(call, items[axis])
        check_bounds(call, start, axis, shape[axis], size, given)
    return as_indices(starts)


def as_indices(indices: Sequence[Value]) -> list[Value]:
    """Return indices in one dtype of at least 32 bits that holds them all: never is one that is too
    large taken for a negative one.
    """
    kinds = {i.aval.dtype for i in indices if type(i) is not Literal}
    numbers = [i.value for i in indices if type(i) is Literal]
    large = any(kind.itemsize == 8 or kind == dtypes.uint32 for kind in kinds)
    candidates = [dtypes.int64] if large else [dtypes.int32, dtypes.int64]
    if len(kinds) == 1:
        candidates = [*(kind for kind in kinds if kind.itemsize >= 4), *candidates]
    dtype = next(dtype for dtype in candidates if _holds(dtype, numbers))
    return [_index_in(i, dtype) for i in indices]


def _holds(dtype: Any, numbers: Sequence[int]) -> bool:
    limits = dtypes.iinfo(dtype)
    return all(limits.min <= number <= limits.max for number in numbers)


def _index_in(index: Value, dtype: Any) -> Value:
    """Convert an index; what int64 does not hold becomes its greatest number, outside as well."""
    own = index.aval.dtype
    if own == dtype:
        return index
    if type(index) is Literal:
        return scalar(index.value, dtype)
    if own == dtypes.uint64:
        (index,) = bind(min_p, index, scalar(dtypes.iinfo(dtypes.int64).max, own))
    return convert(index, dtype)


def _unpacked(call: str, indices: Any) -> list[Any]:
    if not hasattr(indices, "shape"):
        return listed(call, "start_indices", indices)
    vector = as_value(indices, call)
    if vector.aval.ndim != 1:
        raise errors.ShapeError(call, "start indices along one axis", f"{vector.aval!r}")
    return [squeeze(slice(vector, (i,), (i + 1,)), (0,)) for i in range(vector.aval.shape[0])]


def _integer(call: str, index: Any) -> Value:
    if isinstance(index, int | np.integer):
        return scalar(int(index), dtypes.int32 if abs(index) < 2**31 else dtypes.int64)
    value = as_value(index, call)
    if value.aval.shape or not dtypes.is_integer(value.aval.dtype):
        raise errors.DtypeError(call, "integer scalars as start indices", f"{value.aval!r}")
    return value


def from_start(call: str, index: Any, size: int) -> Value:
    """Count a negative index (an integer scalar or array) from the end: i + size where i < 0."""
    if isinstance(index, int | np.integer):
        index = int(index)
        return _integer(call, index + size if index < 0 else index)
    value = as_value(index, call)
    if not dtypes.is_integer(value.aval.dtype):
        raise errors.DtypeError(call, "integer indices", f"{value.aval!r}")
    if value.aval.dtype.itemsize < 4:
        value = convert(value, dtypes.int32)
    if dtypes.is_unsigned(value.aval.dtype):
        return value
    offset = scalar(size, value.aval.dtype)
    return select_n(lt(value, scalar(0, value.aval.dtype)), value, add(value, offset))


def _check_starts(call: str, starts: Sequence[ShapedArray], rank: int) -> None:
    good = len(starts) == rank and all(
        not i.shape and dtypes.is_integer(i.dtype) and i.dtype == starts[0].dtype for i in starts
    )
    if not good:
        raise errors.ShapeError(
            call, f"{rank} start indices, integer scalars of one dtype", short_types(starts)
        )


def _dynamic_slice_abstract(
    operand: ShapedArray, *starts: ShapedArray, slice_sizes: tuple[int, ...]
) -> tuple[ShapedArray]:
    _check_starts("dynamic_slice", starts, operand.ndim)
    if len(slice_sizes) != operand.ndim or any(
        not 0 <= size <= total for size, total in zip(slice_sizes, operand.shape, strict=True)
    ):
        raise errors.ShapeError(
            "dynamic_slice", f"slice_sizes within the shape of {operand!r}", f"{slice_sizes}"
        )
    varying = operand.varying.union(*(i.varying for i in starts))
    return (operand.update(shape=slice_sizes, varying=varying),)


def _dynamic_slice_transpose(
    cotangents: Sequence[Value], operand: Any, *starts: Value, slice_sizes: Any
) -> list[Value | None]:
    """Write the cotangent into zeros, where the block was taken."""
    if not is_linear(operand):
        return [None] * (1 + len(starts))
    nothing = zeros(operand.aval)
    pulled = bind(registry["dynamic_update_slice"], nothing, cotangents[0], *starts)[0]
    return [pulled, *[None] * len(starts)]


def _dynamic_slice_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, slice_sizes: Any
) -> Any:
    operand, *starts = operands
    dim = dims[0]
    if all(d is None for d in dims[1:]) and dim is not None:
        zero = scalar(0, starts[0].aval.dtype if starts else dtypes.int32)
        sizes = _insert(slice_sizes, dim, operand.aval.shape[dim])
        return bind(dynamic_slice_p, operand, *_insert(starts, dim, zero), slice_sizes=sizes), [dim]
    numbers, sizes = GatherDimensionNumbers.windows(len(slice_sizes), dim is not None), slice_sizes
    if dim is not None:
        operand, sizes = move_batch_axis(axis, operand, dim), (min(axis.size, 1), *slice_sizes)
    results = bind(
        registry["gather"],
        operand,
        _stacked(axis, starts, dims[1:]),
        dimension_numbers=numbers,
        slice_sizes=sizes,
        unique_indices=False,
        indices_are_sorted=False,
        mode=GatherScatterMode.CLIP,
        fill_value=None,
    )
    return results, [0]


def _stacked(axis: BatchAxis, starts: Sequence[Value], dims: Sequence[Dim]) -> Value:
    """Return start indices of which some are mapped as one array of shape (axis.size, rank)."""
    columns = [
        reshape(move_batch_axis(axis, i, d), (axis.size, 1))
        for i, d in zip(starts, dims, strict=True)
    ]
    if len(columns) == 1:
        return columns[0]
    return bind(registry["concatenate"], *columns, dimension=1)[0]


def _dynamic_slice_lower(b: Any, x: Any, *starts: Any, slice_sizes: Any) -> Any:
    return b.dynamic_slice(x, starts, b.out_types[0])


dynamic_slice_p = declare_linear(
    "dynamic_slice",
    positions=(0,),
    abstract_eval=_dynamic_slice_abstract,
    transpose=_dynamic_slice_transpose,
    batch=_dynamic_slice_batch,
    lower=_dynamic_slice_lower,
)

# dynamic_update_slice ---------------------------------------------------------------------------


def dynamic_update_slice(
    operand: Any,
    update: Any,
    start_indices: Any,
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Value:
    """Return an array with a block of it replaced, at a place known only at run time.

    Args:
        operand: array of any dtype.
        update: array of the same rank and dtype, nowhere larger.
        start_indices: one integer scalar per axis, or a 1-d integer array of them. They are moved
            (clamped) so that the block lies within the array.
        allow_negative_indices: whether negative indices count from the end; per axis, or for all.

    Returns:
        An array of the operand's shape.

    Raises:
        ShapeError: if the block does not fit the array or the indices are not one per axis.
        DtypeError: if the dtypes differ.

    Source: StableHLO specification, "dynamic_update_slice".
    """
    operand, update = matched("dynamic_update_slice", operand, update)
    shape = operand.aval.shape
    starts = start_values(
        "dynamic_update_slice", shape, start_indices, allow_negative_indices, update.aval.shape
    )
    return bind(dynamic_update_slice_p, operand, update, *starts)[0]


def _dynamic_update_slice_abstract(
    operand: ShapedArray, update: ShapedArray, *starts: ShapedArray
) -> tuple[ShapedArray]:
    call = "dynamic_update_slice"
    _check_starts(call, starts, operand.ndim)
    if operand.dtype != update.dtype:
        raise errors.DtypeError(
            call,
            "an array and an update of one dtype",
            short_types((operand, update)),
            fix="Convert the update with `.astype(...)`.",
        )
    if operand.ndim != update.ndim or any(
        small > large for small, large in zip(update.shape, operand.shape, strict=True)
    ):
        raise errors.ShapeError(
            call, "an update that fits into the array", short_types((operand, update))
        )
    varying = operand.varying.union(update.varying, *(i.varying for i in starts))
    return (operand.update(weak_type=operand.weak_type and update.weak_type, varying=varying),)


def _dynamic_update_slice_transpose(
    cotangents: Sequence[Value], operand: Any, update: Any, *starts: Value
) -> list[Value | None]:
    """Send the block to the update, and the rest, with zeros in its place, to the operand."""
    (ct,) = cotangents
    kept: Value | None = None
    taken: Value | None = None
    if is_linear(operand):
        kept = bind(dynamic_update_slice_p, ct, zeros(update.aval), *starts)[0]
    if is_linear(update):
        taken = bind(dynamic_slice_p, ct, *starts, slice_sizes=update.aval.shape)[0]
    return [kept, taken, *[None] * len(starts)]


def _dynamic_update_slice_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]
) -> Any:
    operand, update, *starts = operands
    dim = dims[0] if dims[0] is not None else 0
    operand = move_batch_axis(axis, operand, dims[0], dim)
    if all(d is None for d in dims[2:]):
        update = move_batch_axis(axis, update, dims[1], dim)
        zero = scalar(0, starts[0].aval.dtype if starts else dtypes.int32)
        results = bind(dynamic_update_slice_p, operand, update, *_insert(starts, dim, zero))
        return results, [dim]
    results = bind(
        registry["scatter"],
        move_batch_axis(axis, operand, dim),
        _stacked(axis, starts, dims[2:]),
        move_batch_axis(axis, update, dims[1]),
        dimension_numbers=ScatterDimensionNumbers.windows(len(starts)),
        indices_are_sorted=True,
        unique_indices=True,
        mode=GatherScatterMode.CLIP,
    )
    return results, [0]


def _dynamic_update_slice_lower(b: Any, x: Any, update: Any, *starts: Any) -> Any:
    return b.dynamic_update_slice(x, update, starts, b.out_types[0])


dynamic_update_slice_p = declare_linear(
    "dynamic_update_slice",
    positions=(0, 1),
    abstract_eval=_dynamic_update_slice_abstract,
    transpose=_dynamic_update_slice_transpose,
    batch=_dynamic_update_slice_batch,
    lower=_dynamic_update_slice_lower,
)
