"""What an index means: NumPy's rules, as a plan that depends on shapes only, not on values.

An index like ``x[2, :, ids]`` is read in two steps. `read_index` splits it into its *structure*,
hashable and free of arrays, and the arrays. `plan_for` turns structure and shape into a `Plan` and
the *places* along its axes: integers that are known now or at run time. Indices that differ only in
places have the same plan, so that one compiled program serves ``x[0]``, ``x[1]`` and all the rest.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core.trace import Value, as_value
from functrax.numpy.index_reading import Part

NEW_AXIS = -1
BLOCK = -2


class Mode(NamedTuple):
    """How an index treats places outside of the array, and negative ones.

    Attributes:
        name: None (fixed places must exist), "clip", "fill" (read another value, or write
            nothing) or "promise_in_bounds".
        wraps: whether negative places count from the end.
        writes: whether the index is written to.
    """

    name: str | None = None
    wraps: bool = True
    writes: bool = False


READ = Mode()


class Axis(NamedTuple):
    """What an index does along one axis of the array.

    Attributes:
        size: the size of the axis.
        kind: "slice", "scalar" (one place; the axis is dropped) or "point" (places of the block).
        taken: how many elements a slice takes.
        step: the slice's step, not 0.
        placed: whether the place is an operand; else it is 0.
        wraps: whether that operand may be negative and then counts from the end.
        guarded: whether that operand may lie outside of the axis.
    """

    size: int
    kind: str
    taken: int
    step: int = 1
    placed: bool = False
    wraps: bool = False
    guarded: bool = False

    @property
    def span(self) -> int:
        """The distance from the first to the last element taken, plus one."""
        return (self.taken - 1) * abs(self.step) + 1 if self.taken else 0


class Plan:
    """The meaning of an index for one shape; equal plans are one object.

    Attributes:
        axes: one entry per axis of the array.
        layout: the axes of the result, in order: an axis of the array, `NEW_AXIS` or `BLOCK`.
        block: the common shape of the index arrays, or None if there are none.
        unique: whether no two places are the same.
        ordered: whether the places are in ascending order.
        checked: whether all places are known to exist.
        shape: the shape of the result.
    """

    __slots__ = ("axes", "block", "checked", "layout", "ordered", "shape", "unique")

    def __init__(
        self,
        axes: tuple[Axis, ...],
        layout: tuple[int, ...],
        block: tuple[int, ...] | None,
        unique: bool,
        ordered: bool,
    ) -> None:
        """Derive the rest."""
        self.axes = axes
        self.layout = layout
        self.block = block
        self.unique = unique
        self.ordered = ordered
        self.checked = not any(axis.guarded for axis in axes)
        shape: list[int] = []
        for entry in layout:
            shape.extend(
                (block or ()) if entry == BLOCK else (1,) if entry < 0 else (axes[entry].taken,)
            )
        self.shape = tuple(shape)

    @property
    def size(self) -> int:
        """The number of elements of the result."""
        return int(np.prod(self.shape, dtype=np.int64))


# Planning ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8192)
def plan_for(
    parts: tuple[Part, ...], shape: tuple[int, ...], mode: Mode, call: str
) -> tuple[Plan, tuple[int | None, ...]]:
    """Return the plan of an index for a shape, and where the places come from.

    Args:
        parts: the structure that `read_index` returned.
        shape: of the array.
        mode: how places outside of the array are treated.
        call: the user's function, for messages.

    Returns:
        The plan; and per place of the plan its fixed value, or None to take the next array that
        `read_index` found.

    Raises:
        BoundsError: if there are too many entries, or a fixed place does not exist.
        ShapeError: if the index arrays do not have a common shape.
    """
    parts = _with_rest(parts, shape, call)
    advanced = any(part[0] in ("array", "mask", "flag") for part in parts)
    advanced = advanced or (mode.name == "fill" and any(p[0] == "scalar" for p in parts))
    if mode.name == "fill" and not mode.writes and not advanced:
        advanced = _leaves(parts, shape, mode)
    reader = _Reader(shape, mode, call, advanced)
    for part in parts:
        reader.read(part)
    return reader.finish(parts), tuple(reader.places)


def _consumed(part: Part) -> int:
    if part[0] == "mask":
        return len(part[1])
    return 0 if part[0] in ("new", "rest", "flag") else 1


def _with_rest(parts: tuple[Part, ...], shape: tuple[int, ...], call: str) -> tuple[Part, ...]:
    """Replace the ellipsis, or complete the end, by full slices, behind a mark that separates."""
    count = sum(map(_consumed, parts))
    rests = [position for position, part in enumerate(parts) if part[0] == "rest"]
    if count > len(shape):
        raise errors.BoundsError(
            call, f"at most {len(shape)} indices for an array of shape {shape}", f"{count}"
        )
    if len(rests) > 1:
        raise errors.BoundsError(call, "at most one ellipsis (...)", f"{len(rests)}")
    full = (("slice", None, None, None),) * (len(shape) - count)
    if not rests:
        return parts + full
    return (*parts[: rests[0] + 1], *full, *parts[rests[0] + 1 :])


def _leaves(parts: Sequence[Part], shape: tuple[int, ...], mode: Mode) -> bool:
    """Tell whether a fixed place lies outside of the array."""
    axis = 0
    for part in parts:
        if part[0] == "int":
            low = -shape[axis] if mode.wraps else 0
            if not low <= part[1] < shape[axis]:
                return True
        axis += _consumed(part)
    return False


class _Reader:
    """Goes through the entries of an index from left to right."""

    def __init__(self, shape: tuple[int, ...], mode: Mode, call: str, advanced: bool) -> None:
        self.shape = shape
        self.mode = mode
        self.call = call
        self.advanced = advanced
        self.axes: list[Axis] = []
        self.layout: list[int] = []
        self.places: list[int | None] = []
        self.blocks: list[tuple[int, ...]] = []
        self.separated: bool | None = None  # None: no index array yet
        self.joined = True

    def read(self, part: Part) -> None:
        """Add one entry."""
        kind = part[0]
        if kind == "slice":
            self._slice(part)
        elif kind == "new":
            self.layout.append(NEW_AXIS)
        elif self.advanced and kind != "rest":
            self._point(part)
            return
        elif kind != "rest":
            self._scalar(part, "scalar")
        if self.separated is not None:
            self.separated = True

    def _slice(self, part: Part) -> None:
        number = len(self.axes)
        size = self.shape[number]
        taken = range(*slice(*part[1:]).indices(size))
        count, step = len(taken), taken.step
        if count <= 1:
            step = 1
        low = min(taken[0], taken[-1]) if count else 0
        axis = Axis(size, "slice", count, step)
        placed = axis.span < size and count > 0
        self.axes.append(axis._replace(placed=placed))
        if placed:
            self.places.append(low)
        self.layout.append(number)

    def _scalar(self, part: Part, kind: str) -> None:
        size = self.shape[len(self.axes)]
        if part[0] == "scalar":
            if kind == "scalar":
                self._check_not_empty(len(self.axes), size)
            axis = Axis(size, kind, 1, 1, True, self.mode.wraps, True)
            self.places.append(None)
        else:
            place, guarded = self._fixed(part[1], size)
            # The only place of an axis needs no operand, except as a column of the block.
            placed = size != 1 or guarded or kind == "point"
            axis = Axis(size, kind, 1, 1, placed, False, guarded)
            if axis.placed:
                self.places.append(place)
        self.axes.append(axis)

    def _fixed(self, place: int, size: int) -> tuple[int, bool]:
        """Return a fixed place counted from the start, and whether it may lie outside."""
        name, number = self.mode.name, len(self.axes)
        wrapped = place + size if place < 0 and self.mode.wraps else place
        if 0 <= wrapped < size:
            return wrapped, False
        if not size and name is not None:
            self._check_not_empty(number, size)
        if name is None:
            raise errors.BoundsError(
                self.call,
                f"an index from {-size} to {size - 1} into axis {number} of an array of shape "
                f"{self.shape}"
                if size
                else f"no index into axis {number}, which is empty, of shape {self.shape}",
                f"{place}",
                fix='Use `x.at[i]` with mode="clip", "fill" or "drop" to allow places outside.',
            )
        if name == "fill":
            limit = 2**31 - 1
            return min(max(wrapped, -limit), limit), True
        return min(max(wrapped, 0), size - 1), False

    def _check_not_empty(self, number: int, size: int) -> None:
        """Refuse places in an axis without any: nothing is there to read, but writes are dropped.

        Raises:
            BoundsError: for a read that does not say what stands outside.
        """
        if not size and not self.mode.writes and self.mode.name != "fill":
            raise errors.BoundsError(
                self.call, f"no index into axis {number}, which is empty, of shape {self.shape}"
            )

    def _point(self, part: Part) -> None:
        """Add an entry that belongs to the block of index arrays."""
        if self.separated is None:
            self.layout.append(BLOCK)
            self.separated = False
        elif self.separated:
            self.joined = False
        kind = part[0]
        if kind in ("int", "scalar"):
            self._scalar(part, "point")
            return
        if kind == "flag":
            self.blocks.append((1,) if part[1] else (0,))
            return
        if kind == "mask":
            self._mask(part)
            return
        self.blocks.append(part[1])
        size = self.shape[len(self.axes)]
        known = part[2]
        explicit = self.mode.name is not None
        guarded = explicit or not known
        self.axes.append(Axis(size, "point", 1, 1, True, self.mode.wraps and not known, guarded))
        self.places.append(None)

    def _mask(self, part: Part) -> None:
        first = len(self.axes)
        expected = self.shape[first : first + len(part[1])]
        if part[1] != expected:
            raise errors.BoundsError(
                self.call,
                f"a boolean index of shape {expected} for axis {first} of an array of shape "
                f"{self.shape}",
                f"one of shape {part[1]}",
            )
        self.blocks.append((part[2],))
        for size in expected:
            self.axes.append(Axis(size, "point", 1, 1, True))
            self.places.append(None)

    def finish(self, parts: Sequence[Part]) -> Plan:
        """Return the plan."""
        if not self.advanced:
            return _interned(tuple(self.axes), tuple(self.layout), None, True, True)
        try:
            block = np.broadcast_shapes(*self.blocks)
        except ValueError:
            shapes = " and ".join(map(str, self.blocks))
            raise errors.ShapeError(
                self.call, "index arrays of one shape (after broadcasting)", f"shapes {shapes}"
            ) from None
        if 0 not in block:
            for number, axis in enumerate(self.axes):
                if axis.kind == "point":
                    self._check_not_empty(number, axis.size)
        layout = self.layout
        if not self.joined:
            layout = [BLOCK, *(entry for entry in layout if entry != BLOCK)]
        if block == (1,) and not any(axis.kind == "point" for axis in self.axes):
            block, layout = None, [NEW_AXIS if entry == BLOCK else entry for entry in layout]
        one_mask = sum(part[0] in ("mask", "array") for part in parts) == 1
        from_mask = one_mask and any(part[0] == "mask" for part in parts)
        unique = from_mask or not any(part[0] in ("mask", "array") for part in parts)
        points = all(axis.kind == "point" or axis.step == 1 for axis in self.axes)
        return _interned(tuple(self.axes), tuple(layout), block, unique, unique and points)


_plans: dict[Any, Plan] = {}


def _interned(*fields: Any) -> Plan:
    found = _plans.get(fields)
    if found is None:
        found = _plans.setdefault(fields, Plan(*fields))
    return found


def merge_places(
    fixed: Sequence[int | None], found: Sequence[Any], plan: Plan, mode: Mode, call: str
) -> Sequence[Any]:
    """Return the places of a plan: fixed ones, and the arrays and traced scalars of the index.

    NumPy arrays are checked and counted from the start here, on the host.

    Raises:
        BoundsError: if a NumPy array holds a place that does not exist.
    """
    if not found:
        return fixed
    given = iter(found)
    placed = [number for number, axis in enumerate(plan.axes) if axis.placed]
    return [
        _on_host(next(given), plan.axes[number], number, mode, call) if place is None else place
        for number, place in zip(placed, fixed, strict=True)
    ]


def _on_host(place: Any, axis: Axis, number: int, mode: Mode, call: str) -> Value:
    if not isinstance(place, np.ndarray):
        return place
    wide = place.astype(np.int64)
    if mode.wraps:
        wide = np.where(wide < 0, wide + axis.size, wide)
    if mode.name is None and wide.size and not (wide.min() >= 0 and wide.max() < axis.size):
        worst = place[(wide < 0) | (wide >= axis.size)].flat[0]
        raise errors.BoundsError(
            call,
            f"indices from {-axis.size} to {axis.size - 1} into axis {number}",
            f"{worst}",
            fix="Pass `mode=` to `x.at[...]` to allow places outside.",
        )
    limit = 2**31 - 1
    return as_value(np.clip(wide, -limit, limit).astype(np.int32), call)
