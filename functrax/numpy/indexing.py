"""Reading by index: ``x[...]`` and ``x.at[...].get()``, and iteration.

Eager calls run one compiled program per index structure and array type: the places themselves are
operands. Fixed places in a program that is being traced stay fixed, as slices.
"""

import builtins
import functools
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.primitive import registry
from functrax.core.trace import Value, bind, state
from functrax.numpy.index_plan import (
    BLOCK,
    NEW_AXIS,
    READ,
    Mode,
    Plan,
    merge_places,
    plan_for,
)
from functrax.numpy.index_reading import read_index
from functrax.primitives.check import check_bounds
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add, mul
from functrax.primitives.gather import (
    GatherDimensionNumbers,
    GatherScatterMode,
    fill_for,
    gather,
)
from functrax.primitives.rules import broadcast_to, full, reshape, scalar
from functrax.primitives.shape import expand_dims, rev, squeeze
from functrax.primitives.slice import as_indices, dynamic_slice, from_start, slice, start_values
from functrax.runtime.array import DeviceArray, device_array, put_numpy
from functrax.runtime.devices import Device
from functrax.runtime.dispatch import literal_array
from functrax.runtime.partitioned import row_on_one_device
from functrax.transforms.fuse import fuse
from functrax.transforms.stage import StageTrace

Dims = tuple[int, ...]
ROWS = 64  # rows that one program returns while an array is iterated over


class Promises(NamedTuple):
    """What the user says about the places, and what is read outside of the array."""

    sorted: bool = False
    unique: bool = False
    fill_value: Any = None


NOTHING_PROMISED = Promises()


# Reading ----------------------------------------------------------------------------------------


def getitem(
    x: Any,
    index: Any,
    mode: Mode = READ,
    promises: Promises = NOTHING_PROMISED,
    call: str = "getitem",
) -> Value:
    """Return part of an array by NumPy's indexing rules.

    Args:
        x: array of any dtype.
        index: integers, slices, None, ``...``, integer or boolean arrays, or a tuple of them.
        mode: what happens to places outside of the array.
        promises: what is known about the places.
        call: the user's function, for messages.

    Returns:
        An array; of places outside that are known only at run time, the nearest one inside.

    Raises:
        BoundsError: for a fixed place outside of the array, or too many indices.
        ArgumentError, DtypeError: for things that are not an index.
        TracerIndexError: for a traced mask or slice bound.

    Source: NumPy user guide, "Indexing on ndarrays".
    """
    if type(index) is int and mode is READ:
        shape = x.aval.shape
        if shape and -shape[0] <= index < shape[0]:
            plan, fixed = _row_plan(shape)
            if fixed:
                index = index if index >= 0 else index + shape[0]
                if state.trace is None and type(x) is DeviceArray and type(x.device) is not Device:
                    row = row_on_one_device(x, index)
                    if row is not None:  # nobody placed it there: it may go elsewhere
                        row = squeeze(row, (0,))
                        return device_array(row.aval, row.buffer, row.device)
                return _run(x, plan, [index], mode, promises)
    if type(index) is builtins.slice and mode is READ:
        start, stop, step = index.start, index.stop, index.step
        if type(start) in _BOUND and type(stop) in _BOUND and type(step) in _BOUND:
            plan, places = _slice_plan(x.aval.shape, call, start, stop, step)
            return _run(x, plan, places, mode, promises)
    parts, found = read_index(index, call)
    plan, fixed = plan_for(parts, x.aval.shape, mode, call)
    return _run(x, plan, merge_places(fixed, found, plan, mode, call), mode, promises)


_BOUND = (int, NoneType)


@functools.lru_cache(maxsize=8192)
def _row_plan(shape: Dims) -> tuple[Plan, tuple[int | None, ...]]:
    return plan_for((("int", 0),), shape, READ, "getitem")


@functools.lru_cache(maxsize=8192)
def _slice_plan(shape: Dims, call: str, *bounds: int | None) -> tuple[Plan, tuple[Any, ...]]:
    parts, _ = read_index(builtins.slice(*bounds), call)
    return plan_for(parts, shape, READ, call)


def _run(x: Any, plan: Plan, places: Sequence[Any], mode: Mode, promises: Promises) -> Value:
    operands = as_operands(x, places)
    if mode is READ and promises is NOTHING_PROMISED:
        return _take(x, *operands, plan=plan)
    return _take(x, *operands, plan=plan, mode=mode, promises=promises)


def as_operands(x: Any, places: Sequence[Any]) -> Sequence[Any]:
    """Return places as operands where a program would otherwise be compiled for each of them."""
    if state.trace is None:
        if type(x) is not DeviceArray:
            return [scalar(p, "int32") if type(p) is int else p for p in places]
        device = x.device
        return [literal_array(_place(p), device) if type(p) is int else p for p in places]
    trace = state.trace
    while trace is not None:
        if type(trace) is StageTrace:
            return places
        trace = trace.parent
    return [_place(p) if type(p) is int else p for p in places]


@functools.lru_cache(maxsize=4096)
def _place(place: int) -> Any:
    return scalar(place, "int32" if abs(place) < 2**31 else "int64")


@fuse
def _take(
    x: Any, *places: Any, plan: Plan, mode: Mode = READ, promises: Promises = NOTHING_PROMISED
) -> Value:
    """Read what a plan says at the places."""
    if plan.size == 0:
        return _empty(x, plan.shape)
    if 0 in x.aval.shape:  # all places lie outside
        filler = fill_for(x.aval.dtype, promises.fill_value)
        return full(plan.shape, filler, x.aval.dtype)
    starts = starts_of(plan, places)
    check_places("getitem", plan, places, starts, mode)
    if plan.block is None:
        return _shaped(_turned(read_box(x, starts, plan), plan), plan)
    indices, numbers, sizes = gather_parts(plan, starts)
    read = gather(
        x,
        indices,
        numbers,
        sizes,
        unique_indices=plan.unique or promises.unique,
        indices_are_sorted=plan.ordered or promises.sorted,
        mode=_gather_mode(plan, mode),
        fill_value=promises.fill_value,
    )
    return reshape(read, plan.shape)


def _gather_mode(plan: Plan, mode: Mode) -> GatherScatterMode:
    if plan.checked or mode.name == "promise_in_bounds":
        return GatherScatterMode.PROMISE_IN_BOUNDS
    return GatherScatterMode.FILL_OR_DROP if mode.name == "fill" else GatherScatterMode.CLIP


def _empty(x: Any, shape: Dims) -> Value:
    """Return an array without elements, of any dtype, that still depends on x."""
    flat = reshape(x, (x.aval.size,))
    return reshape(slice(flat, (0,), (0,)), shape)


def starts_of(plan: Plan, places: Sequence[Any]) -> list[Any]:
    """Return the place along each axis, 0 where the plan has none, counted from the start."""
    given = iter(places)
    starts: list[Any] = []
    for axis in plan.axes:
        start = next(given) if axis.placed else 0
        starts.append(from_start("getitem", start, axis.size) if axis.wraps else start)
    return starts


def check_places(
    call: str, plan: Plan, places: Sequence[Any], starts: Sequence[Any], mode: Mode
) -> None:
    """Check places that are known only at run time, if `debug_index` says so and `mode` does not
    say what happens outside of the array.
    """
    if not config.debug_index or mode.name not in (None, "promise_in_bounds"):
        return
    given = iter(places)
    for number, (axis, start) in enumerate(zip(plan.axes, starts, strict=True)):
        place = next(given) if axis.placed else None
        if axis.guarded:
            check_bounds(call, start, number, axis.size, given=place)


# Boxes: integers and slices ---------------------------------------------------------------------


def read_box(x: Any, starts: Sequence[Any], plan: Plan, strided: bool = True) -> Value:
    """Take the elements of slices and integers, in ascending order, with all axes of x."""
    spans = [axis.span for axis in plan.axes]
    steps = [abs(axis.step) if strided else 1 for axis in plan.axes]
    if all(type(start) is int for start in starts):
        limits = [start + span for start, span in zip(starts, spans, strict=True)]
        return slice(x, starts, limits, steps)
    values = start_values("getitem", x.aval.shape, starts, False)
    (box,) = bind(registry["dynamic_slice"], x, *values, slice_sizes=tuple(spans))
    return slice(box, [0] * len(spans), spans, steps)


def _turned(box: Value, plan: Plan) -> Value:
    return rev(box, [number for number, axis in enumerate(plan.axes) if axis.step < 0])


def _shaped(box: Value, plan: Plan) -> Value:
    """Drop the axes of integers and insert those of None."""
    dropped = [number for number, axis in enumerate(plan.axes) if axis.kind == "scalar"]
    added = [place for place, entry in enumerate(plan.layout) if entry == NEW_AXIS]
    if dropped and added:
        return reshape(box, plan.shape)
    return expand_dims(box, added) if added else squeeze(box, dropped)


# Blocks: integer arrays -------------------------------------------------------------------------


class BlockNumbers(NamedTuple):
    """How an index with arrays becomes one gather or scatter.

    Attributes:
        batch: the shape over which index vectors run: the block, and slices with a step.
        counted: the axes that index vectors have an entry for.
        spread: for each of them, the axes of `batch` that its places run along.
        offsets: the axes of the result (without new ones) that run over whole slices.
        sizes: the slice sizes.
        shape: the shape of the result without new axes.
    """

    batch: Dims
    counted: Dims
    spread: tuple[Dims, ...]
    offsets: Dims
    sizes: Dims
    shape: Dims


@functools.lru_cache(maxsize=4096)
def block_numbers(plan: Plan) -> BlockNumbers:
    """Return how a plan with a block becomes one gather or scatter."""
    batch: list[int] = []
    along: dict[int, Dims] = {}
    offsets: list[int] = []
    shape: list[int] = []
    block = plan.block or ()
    for entry in plan.layout:
        if entry == BLOCK:
            along[BLOCK] = tuple(range(len(batch), len(batch) + len(block)))
            batch.extend(block)
            shape.extend(block)
        elif entry != NEW_AXIS:
            axis = plan.axes[entry]
            if axis.step == 1:
                offsets.append(len(shape))
                along[entry] = ()
            else:
                along[entry] = (len(batch),)
                batch.append(axis.taken)
            shape.append(axis.taken)
    counted = tuple(n for n, axis in enumerate(plan.axes) if axis.placed or axis.step != 1)
    spread = tuple(along[BLOCK if plan.axes[n].kind == "point" else n] for n in counted)
    sizes = tuple(a.span if a.kind == "slice" and a.step == 1 else 1 for a in plan.axes)
    return BlockNumbers(tuple(batch), counted, spread, tuple(offsets), sizes, tuple(shape))


def gather_parts(plan: Plan, starts: Sequence[Any]) -> tuple[Value, GatherDimensionNumbers, Dims]:
    """Return index vectors, dimension numbers and slice sizes for a plan with a block."""
    numbers = block_numbers(plan)
    columns = as_indices([_places_along(plan, n, starts[n]) for n in numbers.counted])
    batch = numbers.batch
    spread = [
        bind(
            registry["broadcast_in_dim"],
            _stretched(c, along, batch),
            shape=(*batch, 1),
            broadcast_dimensions=along[len(along) - c.aval.ndim :],
        )[0]
        for c, along in zip(columns, numbers.spread, strict=True)
    ]
    joined = spread[0]
    if len(spread) > 1:
        joined = bind(registry["concatenate"], *spread, dimension=len(batch))[0]
    collapsed = tuple(n for n, a in enumerate(plan.axes) if a.kind == "point" or a.step != 1)
    return (
        joined,
        GatherDimensionNumbers(numbers.offsets, collapsed, numbers.counted),
        numbers.sizes,
    )


def _stretched(column: Value, along: Dims, batch: Dims) -> Value:
    """Broadcast the axes of size 1 of index arrays to the block."""
    own = along[len(along) - column.aval.ndim :]
    return broadcast_to(column, tuple(batch[axis] for axis in own))


def _places_along(plan: Plan, number: int, start: Any) -> Value:
    """Return the places along one axis: those of the block, of a stepped slice, or a start."""
    axis = plan.axes[number]
    first = scalar(start, "int32") if type(start) is int else start
    if first.aval.dtype.itemsize < 4:
        first = convert(first, "int32")
    if axis.kind == "point" or axis.step == 1:
        return first
    dtype = first.aval.dtype
    steps = bind(registry["iota"], dtype=dtype, shape=(axis.taken,), dimension=0)[0]
    offset = scalar(axis.span - 1 if axis.step < 0 else 0, dtype)
    return add(mul(steps, scalar(axis.step, dtype)), add(first, offset))


# Iteration --------------------------------------------------------------------------------------


def iterate(x: Any) -> Iterator[Value]:
    """Yield the rows of an array: ``iter(x)``.

    Args:
        x: array of at least one axis.

    Returns:
        An iterator over ``x[0], x[1], ...``; concrete rows are read from the CPU's memory, and
        computed some at a time elsewhere.

    Raises:
        ShapeError: for an array without axes.
    """
    shape = x.aval.shape
    if not shape:
        raise errors.ShapeError("iter", "an array with at least one axis", f"{x.aval!r}")
    if state.trace is not None:
        return iter(_rows_at_once(x, shape[0]))
    if type(x) is DeviceArray and type(x.device) is not Device:
        return (x[row] for row in range(shape[0]))
    if (
        type(x) is DeviceArray
        and x.device.platform == "cpu"
        and not dtypes.is_extended(x.aval.dtype)
    ):
        return _iterate_memory(x)
    return _iterate_chunks(x, shape[0])


def _iterate_memory(x: DeviceArray) -> Iterator[Value]:
    """Copy row by row: a program would be compiled for each shape, in a second."""
    row = x.aval.update(shape=x.aval.shape[1:])
    for values in x.numpy():
        yield put_numpy(np.asarray(values), row, x.device, x.committed)


def _iterate_chunks(x: Any, size: int) -> Iterator[Value]:
    chunks = -(-size // ROWS)
    count = -(-size // max(chunks, 1))
    for start in range(0, size, max(count, 1)):
        place = min(start, size - count)
        rows = _rows(x, *as_operands(x, [place]), count=count)
        yield from rows[start - place :]


@fuse
def _rows(x: Any, start: Any, *, count: int) -> list[Value]:
    starts = [start, *[0] * (x.aval.ndim - 1)]
    chunk = dynamic_slice(x, starts, (count, *x.aval.shape[1:]), allow_negative_indices=False)
    return _rows_at_once(chunk, count)


def _rows_at_once(x: Value, size: int) -> list[Value]:
    """Cut an array into its rows by one operation, whose transpose is one too."""
    if size == 0:
        return []
    parts = [x] if size == 1 else bind(registry["split"], x, sizes=(1,) * size, axis=0)
    return [squeeze(part, (0,)) for part in parts]
