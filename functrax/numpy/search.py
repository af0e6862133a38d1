"""Where elements are: nonzero and its kin, whose results' shapes depend on values."""

import math
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, integers, listed
from functrax.core.trace import Array, Tracer, Value, describe
from functrax.numpy.at import IndexUpdateHelper
from functrax.numpy.creation import array, full
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    array_operand,
    broadcast_shapes,
    known_real,
    number,
    shape_of,
)
from functrax.numpy.ranges import iota
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.primitives.cumulative import cumsum
from functrax.primitives.rules import broadcast_to, reshape, scalar
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis
from functrax.transforms.fuse import fuse


def host_value(call: str, x: Any, why: str) -> np.ndarray[Any, Any]:
    """Return an array's value, for functions whose result's shape depends on it.

    Raises:
        TracerArrayError: if it is traced and not known.
    """
    x = array_operand(x, call)
    found = x.concrete() if isinstance(x, Tracer) else x
    if found is None:
        raise errors.TracerArrayError(call, "a concrete array", describe(x), fix=why)
    return np.asarray(found)


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """Return the indices of the elements that are not 0.

    Args:
        a: array of at least one axis.
        size: int, how many indices to return: the first ones, filled up at the end. Needed where
            the array is traced, since shapes are known then.
        fill_value: int, or one per axis, that fills up; 0 by default.

    Returns:
        A tuple of vectors of integers, one per axis.

    Raises:
        TracerArrayError: for a traced array without `size`.
        ShapeError: for an array without axes.

    Example:
        >>> jnp.nonzero(jnp.array([0, 5, 7]))
        (Array([1, 2], dtype=int32),)
        >>> jnp.nonzero(jnp.array([0, 5, 7]), size=3, fill_value=-1)
        (Array([ 1,  2, -1], dtype=int32),)
    """
    x = array_operand(a, "nonzero")
    rank = x.aval.ndim
    if not rank:
        raise errors.ShapeError(
            "nonzero", "an array of at least one axis", repr(x.aval), fix="Use `atleast_1d(x)`."
        )
    if size is None:
        value = host_value("nonzero", x, "Give `size`, so that the shape is known.")
        return tuple(array(row.astype(dtypes.int_dtype())) for row in np.nonzero(value))
    fills = fill_value if isinstance(fill_value, tuple) else (fill_value,) * rank
    if len(fills) != rank:
        raise errors.ArgumentError("nonzero", f"a fill value, or {rank}", repr(fill_value))
    filled = tuple(0 if fill is None else _filler(fill) for fill in fills)
    return tuple(
        _nonzero(to_bool(x, "nonzero"), size=integer("nonzero", "size", size), fills=filled)
    )


def _filler(value: Any) -> int:
    """Return what fills up indices; floats lose their fraction."""
    if not isinstance(value, int | np.integer):
        value = known_real("nonzero", "fill_value", value)
        if not math.isfinite(value):
            raise errors.ArgumentError("nonzero", "a finite fill_value", repr(value))
    dtypes.check_fits(int(value), dtypes.int_dtype(), "nonzero")
    return int(value)


@fuse
def _nonzero(mask: Value, *, size: int, fills: tuple[int, ...]) -> list[Value]:
    """Write the number of each chosen element at its place in the row; the rest falls outside."""
    index, shape = dtypes.int_dtype(), mask.aval.shape
    count = mask.aval.size
    flat = reshape(mask, (count,))
    place = lax.sub(cumsum(flat.astype(index)), number(1, index))
    place = select_n(flat, broadcast_to(scalar(size, index), (count,)), place)
    empty = full((size,), count, index)
    found = IndexUpdateHelper(empty)[place].set(iota(index, (count,)), mode="drop")
    missing = lax.eq(found, number(count, index))
    parts = _unravel(found, shape)
    return [
        select_n(missing, part, broadcast_to(scalar(fill, index), (size,)))
        for part, fill in zip(parts, fills, strict=True)
    ]


def _unravel(indices: Value, shape: tuple[int, ...]) -> list[Value]:
    """Return the index along each axis of flat indices that are not negative."""
    dtype = indices.aval.dtype
    parts: list[Value] = []
    for size in reversed(shape):
        parts.append(lax.rem(indices, number(max(size, 1), dtype)))
        indices = lax.div(indices, number(max(size, 1), dtype))
    return parts[::-1]


def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """Return the indices of the elements that are not 0, counted row by row; see `nonzero`.

    Args:
        a: array.
        size: int, how many indices to return.
        fill_value: int that fills up.

    Returns:
        A vector of integers.
    """
    x = array_operand(a, "flatnonzero")
    return nonzero(reshape(x, (x.aval.size,)), size=size, fill_value=fill_value)[0]


def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """Return the indices of the elements that are not 0, one row each; see `nonzero`.

    Args:
        a: array.
        size: int, how many indices to return.
        fill_value: int, or one per axis, that fills up.

    Returns:
        An array of integers of shape (count, a.ndim).
    """
    x = array_operand(a, "argwhere")
    if not x.aval.ndim:
        found = nonzero(reshape(x, (1,)), size=size, fill_value=fill_value)[0]
        return array(np.zeros((found.aval.size, 0)), dtypes.int_dtype())
    rows = nonzero(x, size=size, fill_value=fill_value)
    return array([*rows]).T


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Array:
    """Return the elements where a condition is true.

    Args:
        condition: array of booleans, or numbers, of arr's number of elements.
        arr: array.
        size: int, how many elements to return; needed where the condition is traced.
        fill_value: number that fills up.

    Returns:
        A vector.
    """
    mask = array_operand(condition, "extract")
    return compress(reshape(mask, (mask.aval.size,)), arr, size=size, fill_value=fill_value)


def compress(
    condition: Any, a: Any, axis: int | None = None, *, size: int | None = None,
    fill_value: Any = 0, out: None = None,
) -> Array:  # fmt: skip
    """Return the slices along an axis where a condition is true.

    Args:
        condition: vector of booleans, or numbers; one that ends early is False there.
        a: array.
        axis: int; None chooses among the elements of the whole array, row by row.
        size: int, how many slices to return; needed where the condition is traced.
        fill_value: number that fills up.
        out: must be None.

    Returns:
        An array.

    Raises:
        TracerArrayError: for a traced condition without `size`.
        BoundsError: without `size`, if the condition is true behind the end of the axis.
        ShapeError: if it is not a vector.
    """
    if out is not None:
        raise errors.ArgumentError("compress", "out=None", errors.type_name(out))
    x, mask = array_operand(a, "compress"), array_operand(condition, "compress")
    if mask.aval.ndim != 1:
        raise errors.ShapeError("compress", "a vector as `condition`", repr(mask.aval))
    if axis is None:
        x, axis = reshape(x, (x.aval.size,)), 0
    axis = canonical_axis("compress", axis, x.aval.ndim)
    if size is None and mask.aval.size > x.aval.shape[axis]:
        _check_end(mask, axis, x.aval.shape[axis])
    places = flatnonzero(mask, size=size, fill_value=x.aval.shape[axis])
    index = (slice(None),) * axis + (places,)
    return IndexUpdateHelper(x)[index].get(mode="fill", fill_value=fill_value)


def _check_end(mask: Array, axis: int, size: int) -> None:
    """Raise if a condition is true behind the end of an axis."""
    known = host_value("compress", mask, "Give `size`, so that the shape is known.")
    beyond = np.flatnonzero(known[size:])
    if beyond.size:
        expected = f"a condition that is false behind the end of axis {axis}, of size {size}"
        raise errors.BoundsError("compress", expected, f"a true one at {size + beyond[0]}")


def unravel_index(indices: Any, shape: Any) -> tuple[Array, ...]:
    """Return the index along each axis of indices counted row by row.

    Args:
        indices: array of integers; those outside are brought to the nearest end.
        shape: int or sequence of ints.

    Returns:
        A tuple of arrays of integers, one per axis.
    """
    x = array_operand(indices, "unravel_index")
    if not dtypes.is_integer(x.aval.dtype):
        raise errors.DtypeError("unravel_index", "integer indices", repr(x.aval))
    sizes = shape_of("unravel_index", shape)
    return tuple(_unravel_clipped(x, shape=sizes))


@fuse
def _unravel_clipped(x: Value, *, shape: tuple[int, ...]) -> list[Value]:
    total = int(np.prod(shape, dtype=np.int64))
    dtype = x.aval.dtype
    negative = lax.lt(x, number(0, dtype))
    x = select_n(negative, x, lax.add(x, number(total, dtype)))
    x = extreme.max(extreme.min(x, number(total - 1, dtype)), number(0, dtype))
    return _unravel(x, shape)


def ravel_multi_index(
    multi_index: Any, dims: Any, mode: str = "raise", order: str = "C", *, dtype: Any = None
) -> Array:
    """Return indices along each axis as indices counted row by row.

    Args:
        multi_index: sequence of arrays of integers, one per axis.
        dims: the shape.
        mode: "clip" or "wrap" for what lies outside; "raise" checks, and needs known values.
        order: "C" for the last axis changing fastest, "F" for the first.
        dtype: the integer dtype to count in; by default that of the indices, or a wider one, if it
            does not hold the number of the last element.

    Returns:
        An array of integers.

    Raises:
        BoundsError: with "raise", if an index lies outside.
        IntegerOverflowError: if the dtype does not hold the number of the last element.
        ArgumentError: for another mode or order.
    """
    call = "ravel_multi_index"
    values = [array_operand(x, call) for x in listed(call, "multi_index", multi_index)]
    sizes = [*integers(call, "dims", dims)]
    if (
        mode not in ("raise", "clip", "wrap")
        or order not in ("C", "F")
        or len(values) != len(sizes)
    ):
        raise errors.ArgumentError(
            "ravel_multi_index", "a known mode and order, and one array per axis",
            f"mode={mode!r}, order={order!r}, {len(values)} arrays for {len(sizes)} axes",
        )  # fmt: skip
    broadcast_shapes("ravel_multi_index", [x.aval.shape for x in values])
    last = max(math.prod(sizes), 1) - 1
    most = max(sizes, default=0) if dtype is not None else max(last, *sizes, 0)
    total: Any = 0
    for x, size in (
        zip(values, sizes, strict=True)
        if order == "C"
        else zip(values[::-1], sizes[::-1], strict=True)
    ):
        if mode == "raise":
            known = host_value("ravel_multi_index", x, "Give mode='clip' or 'wrap'.")
            if known.size and (known.min() < 0 or known.max() >= size):
                raise errors.BoundsError(
                    "ravel_multi_index", f"indices from 0 to {size - 1}", str(known)
                )
        if most > dtypes.iinfo(x.aval.dtype).max:  # an index of a narrow dtype
            x = x.astype(dtypes.int32 if most < 2**31 else dtypes.int64)
        x = x % size if mode == "wrap" else x.clip(0, size - 1)
        x = x if dtype is None else x.astype(dtype)
        total = total * size + x
    if sizes:
        dtypes.check_fits(last, total.aval.dtype, call)
    return total
