"""Operations on shapes and integers as NumPy does them, for `key_reuse`: they move keys about, or
compute the index of one.

A move takes an array of each operand (None for one of which nothing is known), the known values of
all operands, and the equation's params, and returns an array, or None.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]


def _moves(function: Callable[..., Numbers]) -> Any:
    """Make a rule of an operation on one array."""

    def move(arrays: list[Any], known: list[Any], params: dict[str, Any]) -> Numbers | None:
        return None if arrays[0] is None else function(arrays[0], **params)

    return move


def _slice(x: Numbers, start_indices: Any, limit_indices: Any, strides: Any) -> Numbers:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _broadcast(x: Numbers, shape: Any, broadcast_dimensions: Any) -> Numbers:
    sizes = [1] * len(shape)
    for dimension, size in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[dimension] = size
    return np.broadcast_to(x.reshape(sizes), shape)


def _concatenate(arrays: list[Any], known: list[Any], params: Any) -> Numbers | None:
    if any(x is None for x in arrays):
        return None
    return np.concatenate(arrays, params["dimension"])


def _select(arrays: list[Any], known: list[Any], params: Any) -> Numbers | None:
    which, cases = known[0], arrays[1:]
    if any(x is None for x in cases):
        return None
    if which is not None:
        which = np.broadcast_to(np.asarray(which).astype(np.int64), cases[0].shape)
        return np.choose(np.clip(which, 0, len(cases) - 1), cases)
    return cases[0] if all(np.array_equal(x, cases[0]) for x in cases) else None


def _dynamic_slice(arrays: list[Any], known: list[Any], params: Any) -> Numbers | None:
    x, starts, sizes = arrays[0], known[1:], params["slice_sizes"]
    if x is None or any(start is None for start in starts):
        return None
    firsts = [
        min(max(int(start), 0), whole - size)
        for start, whole, size in zip(starts, x.shape, sizes, strict=True)
    ]
    return x[tuple(slice(first, first + size) for first, size in zip(firsts, sizes, strict=True))]


def _gather(arrays: list[Any], known: list[Any], params: Any) -> Numbers | None:
    x, indices, numbers = arrays[0], known[1], params["dimension_numbers"]
    if x is None or indices is None:
        return None
    sizes = params["slice_sizes"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    batch = indices.shape[:-1]
    piece = [size for axis, size in enumerate(sizes) if axis not in gone]
    found = np.empty((*batch, *piece), np.int64)
    for place in np.ndindex(*batch):
        start = [0] * x.ndim
        for axis, index in zip(numbers.start_index_map, indices[place], strict=True):
            start[axis] = int(index)
        batching = zip(
            numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True
        )
        for axis, own in batching:
            start[axis] = place[own]
        if any(not 0 <= a <= n - size for a, n, size in zip(start, x.shape, sizes, strict=True)):
            return None
        part = x[tuple(slice(a, a + size) for a, size in zip(start, sizes, strict=True))]
        found[place] = part.reshape(piece)
    return np.moveaxis(found, range(len(batch), found.ndim), numbers.offset_dims)


MOVES: dict[str, Any] = {
    "slice": _moves(_slice),
    "squeeze": _moves(lambda x, dimensions: np.squeeze(x, tuple(dimensions))),
    "reshape": _moves(lambda x, new_sizes: x.reshape(new_sizes)),
    "transpose": _moves(lambda x, permutation: x.transpose(permutation)),
    "rev": _moves(lambda x, dimensions: np.flip(x, tuple(dimensions))),
    "broadcast_in_dim": _moves(_broadcast),
    "concatenate": _concatenate,
    "select_n": _select,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
}

ARITHMETIC: dict[str, Any] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "convert_element_type": lambda x, **_: x,
    "iota": lambda shape, dimension, **_: np.indices(shape)[dimension],
}
