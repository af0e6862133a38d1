"""Gather: slices of one shape, from many places of an array at once; scatter_add is its adjoint."""

import enum
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integers, listed
from functrax.core.params import param_type
from functrax.core.primitive import BatchAxis, declare, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, exact, short_types
from functrax.primitives.check import check_vectors
from functrax.primitives.rules import (
    Dim,
    Tangent,
    has_tangent,
    is_linear,
    move_batch_axis,
    zeros,
)

Dims = tuple[int, ...]


N = TypeVar("N", bound="GatherDimensionNumbers | ScatterDimensionNumbers")


@param_type
class GatherDimensionNumbers(NamedTuple):
    """Which axes of operand, indices and result of a gather belong together.

    The last axis of the indices holds the index vectors; its other axes are the batch axes.

    Attributes:
        offset_dims: the axes of the result that run over a slice; the others are batch axes.
        collapsed_slice_dims: axes of the operand with slice size 1 that the result lacks.
        start_index_map: for each entry of an index vector, the axis of the operand it counts along.
        operand_batching_dims: axes of the operand that run along with axes of the indices.
        start_indices_batching_dims: those axes of the indices, in the same order.

    Source: StableHLO specification, "gather".
    """

    offset_dims: Dims
    collapsed_slice_dims: Dims
    start_index_map: Dims
    operand_batching_dims: Dims = ()
    start_indices_batching_dims: Dims = ()

    @classmethod
    def windows(cls, rank: int, mapped: bool) -> "GatherDimensionNumbers":
        """Return the numbers for one slice per index vector (and per leading operand index)."""
        batch = (0,) if mapped else ()
        axes = tuple(range(mapped, rank + mapped))
        return cls(tuple(range(1, rank + 1)), (), axes, batch, batch)


@param_type
class ScatterDimensionNumbers(NamedTuple):
    """Which axes of operand, indices and updates of a scatter belong together.

    Attributes:
        update_window_dims: axes of the updates that run over a slice; the others are batch axes.
        inserted_window_dims: axes of the operand with slice size 1 that the updates lack.
        scatter_dims_to_operand_dims: for each entry of an index vector, its axis of the operand.
        operand_batching_dims: axes of the operand that run along with axes of the indices.
        scatter_indices_batching_dims: those axes of the indices, in the same order.

    Source: StableHLO specification, "scatter".
    """

    update_window_dims: Dims
    inserted_window_dims: Dims
    scatter_dims_to_operand_dims: Dims
    operand_batching_dims: Dims = ()
    scatter_indices_batching_dims: Dims = ()

    @classmethod
    def windows(cls, rank: int) -> "ScatterDimensionNumbers":
        """Return the numbers for one whole slice per index vector and leading operand index."""
        window = tuple(range(1, rank + 1))
        return cls(window, (), window, (0,), (0,))


@param_type
class GatherScatterMode(enum.Enum):
    """What happens to slices that do not lie within the array.

    CLIP moves them inside. FILL_OR_DROP reads the fill value and writes nothing. PROMISE_IN_BOUNDS
    says that there are none: where the promise is broken, reads move inside and writes are dropped.
    """

    CLIP = 1
    FILL_OR_DROP = 2
    PROMISE_IN_BOUNDS = 3

    @classmethod
    def from_any(cls, mode: "str | GatherScatterMode | None") -> "GatherScatterMode":
        """Return the mode that a name stands for; None is "fill".

        Raises:
            ArgumentError: if there is no such mode.
        """
        if isinstance(mode, cls):
            return mode
        found = _MODES.get(mode) if mode is None or isinstance(mode, str) else None
        if found is None:
            names = ", ".join(repr(name) for name in _MODES if name)
            raise errors.ArgumentError("gather", f"a mode among {names}", repr(mode))
        return found


_MODES: dict[str | None, GatherScatterMode] = {
    None: GatherScatterMode.FILL_OR_DROP,
    "fill": GatherScatterMode.FILL_OR_DROP,
    "drop": GatherScatterMode.FILL_OR_DROP,
    "clip": GatherScatterMode.CLIP,
    "promise_in_bounds": GatherScatterMode.PROMISE_IN_BOUNDS,
}


def numbers_of(call: str, kind: type[N], given: Any) -> N:
    """Return dimension numbers as tuples of ints.

    Raises:
        ArgumentError: if they are not such.
    """
    parts = listed(call, "dimension_numbers", given)
    if not 3 <= len(parts) <= 5:
        raise errors.ArgumentError(call, f"dimension_numbers as {kind.__name__}", repr(given))
    return kind(*[integers(call, "dimension_numbers", part) for part in parts])


def gather(
    operand: Any,
    start_indices: Any,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    *,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    mode: str | GatherScatterMode | None = None,
    fill_value: Any = None,
) -> Value:
    """Take slices of one shape from many places of an array.

    Args:
        operand: array of any dtype.
        start_indices: integer array; its last axis holds the places.
        dimension_numbers: which axes belong together.
        slice_sizes: the shape of a slice, for every axis of the operand.
        unique_indices: whether no place repeats (a promise, for speed).
        indices_are_sorted: whether the places are in ascending order (a promise, for speed).
        mode: what is read outside of the array: "fill" (the default), "clip" or
            "promise_in_bounds".
        fill_value: a Python scalar for "fill"; by default NaN, or the least signed or the greatest
            unsigned integer, or True.

    Returns:
        An array of the slices: batch axes of the indices, and offset axes.

    Raises:
        ShapeError, DtypeError, ArgumentError: if the parts do not fit.

    Source: StableHLO specification, "gather".
    """
    operand, indices = as_value(operand, "gather"), as_value(start_indices, "gather")
    parsed = GatherScatterMode.from_any(mode)
    filling, dtype = parsed is GatherScatterMode.FILL_OR_DROP, operand.aval.dtype
    numbers = numbers_of("gather", GatherDimensionNumbers, dimension_numbers)
    sizes = integers("gather", "slice_sizes", slice_sizes)
    results = bind(
        gather_p,
        operand,
        indices,
        dimension_numbers=numbers,
        slice_sizes=sizes,
        unique_indices=bool(unique_indices),
        indices_are_sorted=bool(indices_are_sorted),
        mode=parsed,
        fill_value=None if not filling or fill_value is None else fill_for(dtype, fill_value),
    )
    if mode is None or parsed is GatherScatterMode.PROMISE_IN_BOUNDS:
        check_vectors("gather", indices, numbers.start_index_map, operand.aval.shape, sizes)
    return results[0]


def fill_for(dtype: Any, value: Any, call: str = "gather") -> Any:
    """Return the Python scalar that is read outside of an array: `value`, or the dtype's own.

    Raises:
        DtypeError: if the value is not a number of that kind.
        IntegerOverflowError: if it does not fit.
        ArgumentError: if NaN or an infinity would be an integer.
    """
    if value is None:
        if dtypes.is_inexact(dtype):
            return float("nan")
        if dtypes.is_bool(dtype):
            return True
        info = dtypes.iinfo(dtype)
        return int(info.max if dtypes.is_unsigned(dtype) else info.min)
    scalar = np.asarray(value)
    if scalar.shape:
        raise errors.ShapeError(call, "a scalar fill_value", f"one of shape {scalar.shape}")
    if scalar.dtype not in dtypes.NUMBERS:
        raise errors.DtypeError(call, "a number as fill_value", repr(value))
    number = scalar.item()
    if isinstance(number, complex):
        if not dtypes.is_complex(dtype):
            raise errors.DtypeError(call, f"a fill_value for {dtype.name}", repr(number))
    elif dtypes.is_integer(dtype):
        if not math.isfinite(number):
            raise errors.ArgumentError(call, "a finite fill_value for integers", repr(number))
        dtypes.check_fits(number, dtype, call)
    return exact(scalar.astype(dtype).item())


def _gather_abstract(
    operand: ShapedArray,
    indices: ShapedArray,
    *,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Dims,
    **_: Any,
) -> tuple[ShapedArray]:
    if not dtypes.is_integer(indices.dtype) or not indices.ndim:
        raise errors.DtypeError("gather", "an integer array of index vectors", f"{indices!r}")
    check_numbers("gather", operand, indices, dimension_numbers)
    if len(slice_sizes) != operand.ndim or any(
        not 0 <= size <= total for size, total in zip(slice_sizes, operand.shape, strict=True)
    ):
        raise errors.ShapeError(
            "gather", f"slice_sizes within the shape of {operand!r}", f"{slice_sizes}"
        )
    dropped = {*dimension_numbers.collapsed_slice_dims, *dimension_numbers.operand_batching_dims}
    if any(slice_sizes[axis] > 1 for axis in dropped):
        raise errors.ShapeError(
            "gather",
            f"slice size 1 in the axes {sorted(dropped)}, which are dropped",
            f"{slice_sizes}",
        )
    window = [size for axis, size in enumerate(slice_sizes) if axis not in dropped]
    offset_dims = dimension_numbers.offset_dims
    rank = indices.ndim - 1 + len(offset_dims)
    if len(offset_dims) != len(window) or any(not 0 <= axis < rank for axis in offset_dims):
        raise errors.ShapeError(
            "gather",
            f"{len(window)} offset_dims within the {rank} axes of the result",
            f"{offset_dims}",
        )
    batch = iter(indices.shape[:-1])
    offset = iter(window)
    shape = tuple(next(offset if axis in offset_dims else batch) for axis in range(rank))
    return (operand.update(shape=shape, varying=operand.varying | indices.varying),)


def check_numbers(call: str, operand: ShapedArray, indices: ShapedArray, numbers: Any) -> None:
    """Check what the dimension numbers of gather and scatter have in common.

    Raises:
        ShapeError: saying what does not fit.
    """
    window, dropped, index_map, operand_batch, indices_batch = numbers
    groups = (window, dropped, operand_batch)
    good = (
        all(list(axes) == sorted(set(axes)) for axes in groups)
        and not set(dropped) & set(operand_batch)
        and not set(index_map) & set(operand_batch)
        and all(0 <= axis < operand.ndim for axis in (*dropped, *operand_batch, *index_map))
        and all(0 <= axis < indices.ndim - 1 for axis in indices_batch)
        and len(operand_batch) == len(indices_batch)
    )
    if not good:
        raise errors.ShapeError(
            call,
            "dimension_numbers of distinct axes in ascending order, within the arrays",
            f"{numbers} for {short_types((operand, indices))}",
        )
    pairs = zip(operand_batch, indices_batch, strict=True)
    if len(index_map) != indices.shape[-1] or any(
        operand.shape[a] != indices.shape[b] for a, b in pairs
    ):
        raise errors.ShapeError(
            call,
            f"index vectors of {len(index_map)} entries, and batching axes of equal sizes",
            f"{short_types((operand, indices))} with {numbers}",
        )


def _gather_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """D gather(x, i) = gather(dx, i), with zeros outside of the array."""
    results = bind(gather_p, *primals, **params)
    if tangents[0] is None or not has_tangent(primals[0].aval):
        return results, [None]
    if params["mode"] is GatherScatterMode.FILL_OR_DROP:
        params = params | {"fill_value": 0}
    return results, bind(gather_p, tangents[0], primals[1], **params)


def _gather_transpose(
    cotangents: Sequence[Value],
    operand: Any,
    indices: Value,
    *,
    dimension_numbers: GatherDimensionNumbers,
    unique_indices: bool,
    indices_are_sorted: bool,
    mode: GatherScatterMode,
    **_: Any,
) -> list[Value | None]:
    """Add the cotangents up where they were read: scatter_add into zeros."""
    if not is_linear(operand):
        return [None, None]
    results = bind(
        registry["scatter_add"],
        zeros(operand.aval),
        indices,
        cotangents[0],
        dimension_numbers=ScatterDimensionNumbers(*dimension_numbers),
        indices_are_sorted=indices_are_sorted,
        unique_indices=unique_indices,
        mode=mode,
    )
    return [results[0], None]


def _gather_batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Dims,
    **params: Any,
) -> Any:
    """Map the operand as one more slice axis, the indices as one more batch axis, both together."""
    operand, indices = operands
    dim, index_dim = dims
    if index_dim is None and dim is not None:
        numbers, out_dim = _with_slice_axis(dimension_numbers, dim)
        size = operand.aval.shape[dim]
        sizes = (*slice_sizes[:dim], size, *slice_sizes[dim:])
    else:
        indices = move_batch_axis(axis, indices, index_dim)
        offset, dropped, index_map, operand_batch, indices_batch = dimension_numbers
        offset, indices_batch = _shift(offset, 0), _shift(indices_batch, 0)
        sizes, out_dim = slice_sizes, 0
        if dim is not None:
            operand = move_batch_axis(axis, operand, dim)
            dropped, index_map = _shift(dropped, 0), _shift(index_map, 0)
            operand_batch = (0, *_shift(operand_batch, 0))
            indices_batch = (0, *indices_batch)
            sizes = (min(axis.size, 1), *sizes)
        numbers = GatherDimensionNumbers(offset, dropped, index_map, operand_batch, indices_batch)
    results = bind(
        gather_p, operand, indices, dimension_numbers=numbers, slice_sizes=sizes, **params
    )
    return results, [out_dim]


def _shift(axes: Dims, dim: int) -> Dims:
    """Renumber axes after one was inserted at `dim`."""
    return tuple(axis + (axis >= dim) for axis in axes)


def _with_slice_axis(
    numbers: GatherDimensionNumbers, dim: int
) -> tuple[GatherDimensionNumbers, int]:
    """Return the numbers with axis `dim` of the operand taken whole, and the result's axis."""
    offset, dropped, index_map, operand_batch, indices_batch = numbers
    dropped, index_map = _shift(dropped, dim), _shift(index_map, dim)
    operand_batch = _shift(operand_batch, dim)
    before = sum(axis not in dropped and axis not in operand_batch for axis in range(dim))
    after_batch = offset[before - 1] + 1 if before else 0
    place = offset[before] if before < len(offset) else after_batch
    offset = (*offset[:before], place, *(axis + 1 for axis in offset[before:]))
    return (
        GatherDimensionNumbers(offset, dropped, index_map, operand_batch, indices_batch),
        place,
    )


def _gather_lower(
    b: Any,
    x: Any,
    indices: Any,
    *,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Dims,
    unique_indices: bool,
    indices_are_sorted: bool,
    mode: GatherScatterMode,
    fill_value: bool | int | float | complex | np.generic | None,
) -> Any:
    operand, index_type = b.in_types
    out = b.out_types[0]
    if out.size == 0:
        return b.full(0, out)
    indices, index_type = widened(b, indices, index_type)
    result = b.gather(
        x,
        indices,
        out,
        offset_dims=dimension_numbers.offset_dims,
        collapsed_slice_dims=dimension_numbers.collapsed_slice_dims,
        operand_batching_dims=dimension_numbers.operand_batching_dims,
        start_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
        start_index_map=dimension_numbers.start_index_map,
        index_vector_dim=index_type.ndim - 1,
        slice_sizes=slice_sizes,
        indices_are_sorted=indices_are_sorted,
    )
    if mode is not GatherScatterMode.FILL_OR_DROP or not dimension_numbers.start_index_map:
        return result  # XLA moves slices inside by itself
    limits = [operand.shape[a] - slice_sizes[a] for a in dimension_numbers.start_index_map]
    inside = within(b, indices, index_type, limits)
    batch = [axis for axis in range(out.ndim) if axis not in dimension_numbers.offset_dims]
    inside = b.broadcast(inside, out.update(dtype=np.dtype(bool)), batch)
    return b.select(inside, result, b.full(fill_for(out.dtype, fill_value), out), out)


def widened(b: Any, indices: Any, index_type: ShapedArray) -> tuple[Any, ShapedArray]:
    """Convert indices of less than 32 bits, in which the bounds might not fit."""
    if index_type.dtype.itemsize >= 4:
        return indices, index_type
    wide = index_type.update(dtype=dtypes.int32)
    return b.convert(indices, wide), wide


def within(b: Any, indices: Any, index_type: ShapedArray, limits: Sequence[int]) -> Any:
    """Tell for each index vector whether 0 <= index <= limit in every entry."""
    flags = index_type.update(dtype=np.dtype(bool))
    last = index_type.ndim - 1
    largest = dtypes.iinfo(index_type.dtype).max
    bounds = b.constant([min(limit, largest) for limit in limits], index_type.dtype)
    low = b.compare("GE", indices, b.full(0, index_type), index_type)
    high = b.compare("LE", indices, b.broadcast(bounds, index_type, (last,)), index_type)
    both = b.op("stablehlo.and", (low, high), flags)
    out = flags.update(shape=flags.shape[:-1])
    if flags.shape[-1] == 1:
        return b.reshape(both, out)
    scalar = ShapedArray((), np.dtype(bool))
    true = b.constant(True, bool)
    combine = lambda p, q: [b.op("stablehlo.and", (p, q), scalar)]  # noqa: E731
    return b.reduce((both,), (true,), (out,), (last,), combine)[0]


gather_p = declare(
    "gather",
    abstract_eval=_gather_abstract,
    jvp=_gather_jvp,
    transpose=_gather_transpose,
    batch=_gather_batch,
    lower=_gather_lower,
)
