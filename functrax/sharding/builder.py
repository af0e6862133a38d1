"""Grids of devices that fit the network between them.

TPUs of a slice stand in a grid of up to three dimensions, each device linked to its neighbours. An
axis of a mesh is best laid along whole dimensions of that grid: as a ring, each position one hop
from the next. Slices and hosts are linked more slowly, so the outermost axes go across them.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.sharding.mesh import NDArray

# The ways to lay out eight and more axes are too many to look at: 0.8 s for so many of them.
_MOST_WAYS = 20_000


class Piece(NamedTuple):
    """The part of one physical dimension that an axis runs along.

    Attributes:
        dim: which dimension.
        size: the number of positions.
        stride: the distance between them.
    """

    dim: int
    size: int
    stride: int


class Torus(NamedTuple):
    """The devices of one slice as they stand.

    Attributes:
        devices: in a grid; its last dimension are the cores of one chip.
        wraps: for each dimension whether its last position is linked to its first.
    """

    devices: NDArray
    wraps: tuple[bool, ...]

    def distance(self, dim: int, one: int, other: int) -> int:
        """Return the number of hops between two positions along a dimension."""
        if dim == self.devices.ndim - 1:
            return 0  # the same chip
        direct = abs(one - other)
        return min(direct, self.devices.shape[dim] - direct) if self.wraps[dim] else direct


def device_grid(
    shape: Sequence[int],
    devices: Sequence[Any],
    call: str,
    *,
    may_split: bool = True,
    contiguous: bool = False,
) -> NDArray:
    """Return devices in a grid of a shape, neighbours close to each other.

    Args:
        shape: its product is the number of devices.
        devices: those with `coords` (TPUs) are placed by them, the others stay in order, those of
            one process side by side.
        call: the user's function, for messages.
        may_split: whether two axes may share a physical dimension.
        contiguous: whether the devices of each process must form a box.

    Raises:
        ArgumentError: if it cannot be done without sharing a dimension, or with such boxes.
    """
    shape = tuple(shape)
    slices = _groups(devices, "slice_index")
    if len(slices) > 1 and (outer := _outermost(shape, len(slices))) is not None:
        inner = [size // n for size, n in zip(shape, outer, strict=True)]
        options = {"may_split": may_split, "contiguous": contiguous}
        return blocks(outer, [device_grid(inner, part, call, **options) for part in slices])
    torus = _torus(devices)
    if torus is None:
        order = [d for part in _groups(devices, "process_index") for d in part]
        found: Iterator[NDArray] = iter([_array(order, shape)])
    else:
        found = _placements(torus, shape, may_split)
    for grid in found:
        if not contiguous or _has_boxes(grid):
            return grid
    standing = "no grid" if torus is None else "x".join(map(str, torus.devices.shape[:-1]))
    split = ("axes are products of whole dimensions", "allow_split_physical_axes=True")
    boxes = ("grid holds the devices of each process as a box", "contiguous_submeshes=False")
    asked = [*([] if may_split else [split]), *([boxes] if contiguous else [])]
    raise errors.ArgumentError(
        call,
        f"a shape whose {' and whose '.join(what for what, _ in asked)}",
        f"{shape} for devices that stand as {standing}",
        fix=f"Pass {' or '.join(cure for _, cure in asked)}.",
    )


def blocks(outer: Sequence[int], parts: Sequence[NDArray]) -> NDArray:
    """Return grids side by side: a grid of grids, made one."""
    shape = [n * size for n, size in zip(outer, parts[0].shape, strict=True)]
    stacked = np.empty((len(parts), *parts[0].shape), dtype=object)
    for i, part in enumerate(parts):
        stacked[i] = part
    ndim = len(shape)
    order = [axis for i in range(ndim) for axis in (i, ndim + i)]
    return stacked.reshape(*outer, *parts[0].shape).transpose(order).reshape(shape)


def groups_of(devices: Sequence[Any], attribute: str) -> dict[int, list[Any]]:
    """Return devices by the slice or process that they belong to, in the order they come."""
    found: dict[int, list[Any]] = {}
    for device in devices:
        found.setdefault(getattr(device, attribute, 0) or 0, []).append(device)
    return found


def _groups(devices: Sequence[Any], attribute: str) -> list[list[Any]]:
    return list(groups_of(devices, attribute).values())


def _outermost(shape: Sequence[int], count: int) -> list[int] | None:
    """Return how often each axis is divided so that slices lie along the outermost ones."""
    found = []
    for size in shape:
        found.append(math.gcd(size, count))
        count //= found[-1]
    return found if count == 1 else None


def _array(devices: Sequence[Any], shape: Sequence[int]) -> NDArray:
    found = np.empty(len(devices), dtype=object)
    found[:] = devices
    return found.reshape(shape)


def _has_boxes(grid: NDArray) -> bool:
    owners = np.vectorize(lambda device: device.process_index, otypes=[int])(grid)
    for process in np.unique(owners):
        mine = owners == process
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mine))
        if not mine[box].all():
            return False
    return True


# Where they stand ---------------------------------------------------------------------------------


def _torus(devices: Sequence[Any]) -> Torus | None:
    """Return the devices as they stand; None if they do not say it, or leave gaps."""
    if not devices or getattr(devices[0], "coords", None) is None:
        return None
    places = np.array([(*d.coords, getattr(d, "core_on_chip", 0) or 0) for d in devices])
    places -= places.min(axis=0)
    sizes = tuple(int(size) for size in places.max(axis=0) + 1)
    if math.prod(sizes) != len(devices) or len(set(map(tuple, places.tolist()))) != len(devices):
        return None
    grid = np.empty(sizes, dtype=object)
    for place, device in zip(places.tolist(), devices, strict=True):
        grid[tuple(place)] = device
    kind = getattr(devices[0], "device_kind", "")
    return Torus(grid, tuple(_wraps(kind, size) for size in sizes))


def _wraps(kind: str, size: int) -> bool:
    """Whether a dimension of a slice is closed to a ring: v5e and v6e at the size of a pod, v4 and
    later three-dimensional slices where they are made of whole cubes of 4x4x4.
    """
    if "lite" in kind or kind.endswith(("v5e", "v6e")):
        return size == 16
    return size % 4 == 0 and not kind.endswith(("v2", "v3"))


# Laying axes along dimensions ---------------------------------------------------------------------


def _placements(torus: Torus, shape: tuple[int, ...], may_split: bool) -> Iterator[NDArray]:
    """Yield grids, the best first: few shared dimensions, then few hops, then few of them along the
    largest axes.
    """
    by_count: dict[int, list[list[tuple[int, ...]]]] = {}
    for split in _divisions(torus.devices.shape, shape):
        shared = sum(_sharers(row) for row in split[:-1])  # sharing a chip's cores costs nothing
        by_count.setdefault(shared, []).append(split)
    largest = sorted(range(len(shape)), key=lambda i: (-shape[i], -i))
    costs: dict[tuple[Piece, ...], int] = {}
    for count in sorted(by_count) if may_split else by_count.keys() & {0}:
        ranked: list[tuple[tuple[int, ...], list[tuple[Piece, ...]]]] = []
        ways = (pieces for split in by_count[count] for pieces in _ordered(split, torus))
        for pieces in itertools.islice(ways, _MOST_WAYS):
            hops = [_cached(costs, torus, piece) for piece in pieces]
            ranked.append(((sum(hops), *[hops[i] for i in largest]), pieces))
        for _, pieces in sorted(ranked, key=lambda row: row[0]):
            yield _laid(torus, shape, pieces)


def _cached(costs: dict[tuple[Piece, ...], int], torus: Torus, axis: tuple[Piece, ...]) -> int:
    if axis not in costs:
        costs[axis] = _hops(torus, axis)
    return costs[axis]


def _sharers(row: Sequence[int]) -> int:
    return max(0, sum(size > 1 for size in row) - 1)


def _divisions(dims: Sequence[int], shape: Sequence[int]) -> Iterator[list[tuple[int, ...]]]:
    """Yield, for each dimension, how many of its positions each axis takes, in all ways."""
    if not dims:
        if all(size == 1 for size in shape):
            yield []
        return
    for row in _products(dims[0], shape):
        rest = [size // taken for size, taken in zip(shape, row, strict=True)]
        for others in _divisions(dims[1:], rest):
            yield [row, *others]


def _products(total: int, limits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield numbers whose product is `total`, each a divisor of its limit."""
    if not limits:
        if total == 1:
            yield ()
        return
    common = math.gcd(total, limits[0])
    for taken in range(1, common + 1):
        if common % taken == 0:
            for rest in _products(total // taken, limits[1:]):
                yield (taken, *rest)


def _ordered(split: list[tuple[int, ...]], torus: Torus) -> Iterator[list[tuple[Piece, ...]]]:
    """Yield the pieces of each axis, for each order of the axes that share a dimension."""
    orders = [
        list(itertools.permutations([axis for axis, size in enumerate(row) if size > 1]))
        for row in split
    ]
    for chosen in itertools.product(*orders):
        pieces: list[list[Piece]] = [[] for _ in split[0]]
        for dim, order in enumerate(chosen):
            stride = torus.devices.shape[dim]
            for axis in order:
                stride //= split[dim][axis]
                pieces[axis].append(Piece(dim, split[dim][axis], stride))
        yield [tuple(axis) for axis in pieces]


def _hops(torus: Torus, axis: Sequence[Piece]) -> int:
    """Return the hops around the ring of an axis."""
    ring = _order(torus, axis)
    return sum(
        torus.distance(piece.dim, a * piece.stride, b * piece.stride)
        for one, other in zip(ring, [*ring[1:], ring[0]], strict=True)
        for piece, a, b in zip(axis, one, other, strict=True)
    )


def _order(torus: Torus, axis: Sequence[Piece]) -> list[tuple[int, ...]]:
    """Return the positions of an axis: a ring of chips, the cores of each side by side."""
    last = torus.devices.ndim - 1
    chips = _ring([piece.size for piece in axis if piece.dim != last])
    cores = _path([piece.size for piece in axis if piece.dim == last])
    return [(*chip, *core) for chip in chips for core in cores]


def _ring(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the positions of a grid, each one step from the one before, and the last from the
    first if the grid has such an order (some size is even, and there are two dimensions).
    """
    if len(sizes) < 2:
        return [(i,) for i in range(sizes[0])] if sizes else [()]
    path = _path(sizes[1:])
    if len(path) == 1:
        return [(i, *path[0]) for i in range(sizes[0])]
    rows, columns = sizes[0], len(path)
    if rows % 2 == 0:
        return [(i, *path[j]) for i, j in _loop(rows, columns)]
    if columns % 2 == 0:
        return [(i, *path[j]) for j, i in _loop(columns, rows)]
    return _path(sizes)


def _path(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the positions of a grid, each one step from the one before."""
    if not sizes:
        return [()]
    inner = _path(sizes[1:])
    return [(i, *rest) for i in range(sizes[0]) for rest in (inner if i % 2 == 0 else inner[::-1])]


def _loop(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return a closed way through an even number of rows: back and forth through all columns but
    the first, and home along that one.
    """
    if columns == 1:
        return [(i, 0) for i in range(rows)]
    ahead = range(1, columns)
    there = [(i, j) for i in range(rows) for j in (ahead if i % 2 == 0 else reversed(ahead))]
    return there + [(i, 0) for i in reversed(range(rows))]


def _laid(torus: Torus, shape: tuple[int, ...], pieces: Sequence[tuple[Piece, ...]]) -> NDArray:
    grid = np.empty(shape, dtype=object)
    rings = [_order(torus, axis) for axis in pieces]
    for place in np.ndindex(*shape):
        at = [0] * torus.devices.ndim
        for axis, ring, position in zip(pieces, rings, place, strict=True):
            for piece, step in zip(axis, ring[position], strict=True):
                at[piece.dim] += step * piece.stride
        grid[place] = torus.devices[tuple(at)]
    return grid
