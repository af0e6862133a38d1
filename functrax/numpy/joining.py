"""Joining, cutting and repeating arrays."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy.creation import array
from functrax.numpy.manipulation import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    one_or_several,
    ravel,
    reshaped,
)
from functrax.numpy.operands import array_operand, promote, to_array
from functrax.primitives import join as lax
from functrax.primitives.convert import convert
from functrax.primitives.rules import expand_axis, reshape
from functrax.primitives.shape import broadcast_in_dim, canonical_axis
from functrax.primitives.slice_along import slice_in_dim
from functrax.transforms.fuse import fuse

# ---- joining


def concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Array:
    """Join arrays along an axis that they have.

    Args:
        arrays: sequence of arrays, equal in all sizes but that of the axis; dtypes are promoted.
        axis: int; None joins their elements along one axis.
        dtype: the result's dtype.

    Returns:
        An array whose size along the axis is the sum of theirs.

    Raises:
        ArgumentError: for an empty sequence.
        ShapeError: if the shapes do not fit together.

    Example:
        >>> jnp.concatenate([jnp.arange(2), jnp.arange(3)])
        Array([0, 1, 0, 1, 2], dtype=int32)
    """
    values = _members("concatenate", arrays, dtype)
    if axis is None:
        values, axis = [ravel(x) for x in values], 0
    if not values[0].aval.ndim:
        raise errors.ShapeError(
            "concatenate",
            "arrays of at least one axis",
            ", ".join(str(x.aval.shape) for x in values),
            fix="Use `jnp.stack` to join numbers.",
        )
    return lax.concatenate(values, canonical_axis("concatenate", axis, values[0].aval.ndim))


def concat(arrays: Any, /, *, axis: int | None = 0) -> Array:
    """Join arrays along an axis that they have: `concatenate`, by the array API standard's name.

    Args:
        arrays: sequence of arrays.
        axis: int; None joins their elements along one axis.

    Returns:
        An array.
    """
    return concatenate(arrays, axis)


def _members(call: str, arrays: Any, dtype: Any = None) -> list[Array]:
    """Return a sequence of arrays, brought to one dtype."""
    if isinstance(arrays, Array | np.ndarray):
        if not arrays.shape:
            raise errors.ArgumentError(call, "a sequence of arrays", repr(arrays))
        arrays = list(array_operand(arrays, call))
    elif not isinstance(arrays, Sequence):
        try:
            arrays = list(arrays)
        except TypeError:
            raise errors.ArgumentError(call, "a sequence of arrays", repr(arrays)) from None
    if not arrays:
        raise errors.ArgumentError(call, "at least one array", "an empty sequence")
    arrays = [array(x) if isinstance(x, list | tuple) else x for x in arrays]
    if dtype is not None:
        dtype = dtypes.canonicalize(dtype, call)
        return [to_array(convert(array(x, copy=False), dtype)) for x in arrays]
    return [to_array(x) for x in promote(call, *arrays)]


def stack(arrays: Any, axis: int = 0, out: None = None, dtype: Any = None) -> Array:
    """Join arrays of one shape along a new axis.

    Args:
        arrays: sequence of arrays; dtypes are promoted.
        axis: the place of the new axis in the result.
        out: must be None.
        dtype: the result's dtype.

    Returns:
        An array of one more axis.

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> jnp.stack([jnp.arange(2), jnp.arange(2)], axis=1)
        Array([[0, 0],
               [1, 1]], dtype=int32)
    """
    values = _members("stack", arrays, dtype)
    first = values[0].aval
    if any(x.aval.shape != first.shape for x in values):
        shapes = ", ".join(str(x.aval.shape) for x in values)
        raise errors.ShapeError("stack", "arrays of one shape", shapes)
    axis = canonical_axis("stack", axis, first.ndim + 1)
    return _stack(*values, axis=axis)


@fuse
def _stack(*values: Value, axis: int) -> Value:
    first = values[0].aval
    if axis == first.ndim:
        return lax.concatenate([expand_axis(x, axis) for x in values], axis)
    # Along the axis behind the new one the arrays lie one after the other already.
    shape = (*first.shape[:axis], len(values), *first.shape[axis:])
    return reshape(lax.concatenate(values, axis), shape)


def vstack(tup: Any, dtype: Any = None) -> Array:
    """Join arrays along the first axis; vectors are rows.

    Args:
        tup: sequence of arrays.
        dtype: the result's dtype.

    Returns:
        An array of at least two axes.
    """
    return concatenate([atleast_2d(x) for x in _members("vstack", tup, dtype)], 0)


def hstack(tup: Any, dtype: Any = None) -> Array:
    """Join arrays along the second axis, or vectors along their only one.

    Args:
        tup: sequence of arrays.
        dtype: the result's dtype.

    Returns:
        An array of at least one axis.
    """
    values = [atleast_1d(x) for x in _members("hstack", tup, dtype)]
    return concatenate(values, 0 if values[0].aval.ndim == 1 else 1)


def dstack(tup: Any, dtype: Any = None) -> Array:
    """Join arrays along the third axis.

    Args:
        tup: sequence of arrays.
        dtype: the result's dtype.

    Returns:
        An array of at least three axes.
    """
    return concatenate([atleast_3d(x) for x in _members("dstack", tup, dtype)], 2)


def column_stack(tup: Any) -> Array:
    """Join vectors as the columns of a matrix.

    Args:
        tup: sequence of arrays of one or two axes.

    Returns:
        An array of two axes.
    """
    values = [
        expand_axis(x, 1) if x.aval.ndim == 1 else atleast_2d(x)
        for x in _members("column_stack", tup)
    ]
    return concatenate(values, 1)


def block(arrays: Any) -> Array:
    """Join nested lists of blocks: the innermost lists along the last axis, the next ones along the
    one before.

    Args:
        arrays: array, or nested lists of arrays.

    Returns:
        An array.

    Raises:
        ArgumentError: if a list is empty.
    """
    rank = 0

    def depth(x: Any) -> int:
        if isinstance(x, list) and not x:
            raise errors.ArgumentError("block", "lists of at least one block", "[]")
        return 1 + max(map(depth, x)) if isinstance(x, list) else 0

    def joined(x: Any, level: int) -> Array:
        if not isinstance(x, list):
            value = array_operand(x, "block")
            return reshaped(value, (1,) * (rank - value.aval.ndim) + value.aval.shape)
        return concatenate([joined(item, level - 1) for item in x], -level)

    levels = depth(arrays)
    rank = max(levels, *(array_operand(x, "block").aval.ndim for x in _flat(arrays)), 0)
    return joined(arrays, levels)


def _flat(x: Any) -> list[Any]:
    return [leaf for item in x for leaf in _flat(item)] if isinstance(x, list) else [x]


def append(arr: Any, values: Any, axis: int | None = None) -> Array:
    """Join values to the end of an array.

    Args:
        arr: array.
        values: array.
        axis: int; None joins the elements of both along one axis.

    Returns:
        An array.
    """
    return concatenate([arr, values], axis)


# ---- cutting


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Cut an array along an axis.

    Args:
        ary: array.
        indices_or_sections: int, a number of equal parts; or the positions to cut at, ascending.
        axis: int.

    Returns:
        A list of arrays.

    Raises:
        ShapeError: if the size does not divide into equal parts.

    Example:
        >>> jnp.split(jnp.arange(4), 2)
        [Array([0, 1], dtype=int32), Array([2, 3], dtype=int32)]
    """
    return _split("split", ary, indices_or_sections, axis, equal=True)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Cut an array along an axis into parts that need not be equal.

    Args:
        ary: array.
        indices_or_sections: int, a number of parts, of which the first may be longer by one; or the
            positions to cut at.
        axis: int.

    Returns:
        A list of arrays.
    """
    return _split("array_split", ary, indices_or_sections, axis, equal=False)


def _split(call: str, ary: Any, where: Any, axis: int, equal: bool) -> list[Array]:
    x = array_operand(ary, call)
    axis = canonical_axis(call, axis, x.aval.ndim)
    size = x.aval.shape[axis]
    given = one_or_several(where)
    if len(given) == 1 and given[0] is where:
        parts = integer(call, "indices_or_sections", where)
        if parts < 1 or (equal and size % parts):
            raise errors.ShapeError(
                call, f"a size that divides into {parts} equal parts", f"size {size} of axis {axis}"
            )
        short, longer = divmod(size, parts)
        sizes = [short + 1] * longer + [short] * (parts - longer)
        return list(lax.split(x, sizes, axis)) if parts > 1 else [x]
    cuts = [0, *(_clipped(integer(call, "indices", cut), size) for cut in given), size]
    if any(low > high for low, high in itertools.pairwise(cuts)):
        return [
            slice_in_dim(x, low, max(low, high), axis=axis)
            for low, high in itertools.pairwise(cuts)
        ]
    sizes = [high - low for low, high in itertools.pairwise(cuts)]
    return list(lax.split(x, sizes, axis)) if len(sizes) > 1 else [x]


def _clipped(cut: int, size: int) -> int:
    return min(max(cut + size if cut < 0 else cut, 0), size)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Cut an array along axis 0; see `split`.

    Args:
        ary: array.
        indices_or_sections: number of parts, or positions.

    Returns:
        A list of arrays.
    """
    return split(ary, indices_or_sections, 0)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Cut an array along axis 1, or a vector along its only one; see `split`.

    Args:
        ary: array.
        indices_or_sections: number of parts, or positions.

    Returns:
        A list of arrays.
    """
    x = array_operand(ary, "hsplit")
    return split(x, indices_or_sections, 0 if x.aval.ndim == 1 else 1)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Cut an array along axis 2; see `split`.

    Args:
        ary: array.
        indices_or_sections: number of parts, or positions.

    Returns:
        A list of arrays.
    """
    return split(ary, indices_or_sections, 2)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Take an array apart along an axis, which goes away.

    Args:
        x: array of at least one axis.
        axis: int.

    Returns:
        A tuple of arrays.
    """
    x = array_operand(x, "unstack")
    axis = canonical_axis("unstack", axis, x.aval.ndim)
    shape = (*x.aval.shape[:axis], *x.aval.shape[axis + 1 :])
    size = x.aval.shape[axis]
    if not size:
        return ()
    return tuple(reshape(part, shape) for part in lax.split(x, (1,) * size, axis))


# ---- repeating


@fuse
def _tile(x: Value, *, reps: tuple[int, ...]) -> Value:
    shape = x.aval.shape
    repeated = [axis for axis, count in enumerate(reps) if count != 1]
    if len(repeated) == 1 and 0 < reps[repeated[0]] <= 8:
        return lax.concatenate([x] * reps[repeated[0]], repeated[0])
    between = tuple(size for pair in zip(reps, shape, strict=True) for size in pair)
    wide = broadcast_in_dim(x, between, tuple(range(1, 2 * len(shape), 2)))
    return reshape(wide, tuple(count * size for count, size in zip(reps, shape, strict=True)))


def tile(A: Any, reps: Any) -> Array:
    """Repeat an array as a whole.

    Args:
        A: array.
        reps: int or sequence of ints, how often along each axis; missing ones in front are 1.

    Returns:
        An array.

    Example:
        >>> jnp.tile(jnp.arange(2), 2)
        Array([0, 1, 0, 1], dtype=int32)
    """
    x = array_operand(A, "tile")
    counts = tuple(integer("tile", "reps", count) for count in one_or_several(reps))
    rank = max(len(counts), x.aval.ndim)
    counts = (1,) * (rank - len(counts)) + counts
    x = reshaped(x, (1,) * (rank - x.aval.ndim) + x.aval.shape)
    return x if all(count == 1 for count in counts) else _tile(x, reps=counts)
