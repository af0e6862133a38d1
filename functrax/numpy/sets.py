"""Sets of numbers: unique elements, membership, counts."""

from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy.arithmetic import choose
from functrax.numpy.at import IndexUpdateHelper, plain
from functrax.numpy.creation import array, full, in_dtype, zeros
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import ravel
from functrax.numpy.operands import array_operand, cast, number, promote, shape_of, to_array
from functrax.numpy.ranges import iota
from functrax.numpy.reductions import any as any_of
from functrax.numpy.search import host_value
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert
from functrax.primitives.cumulative import cumsum
from functrax.primitives.rules import broadcast_to, reshape, scalar
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis
from functrax.primitives.slice_along import slice_in_dim
from functrax.primitives.sort import sort as sort_operands
from functrax.transforms.fuse import fuse


class UniqueAll(NamedTuple):
    """Unique values, the index where each comes first, the index of each element's, and counts."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Unique values, and how often each comes."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Unique values, and for each element the index of its value."""

    values: Array
    inverse_indices: Array


def unique(
    ar: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, *, equal_nan: bool = True, size: int | None = None,
    fill_value: Any = None, sorted: bool = True,
) -> Any:  # fmt: skip
    """Return the different elements of an array, in ascending order.

    Args:
        ar: array.
        return_index: bool, whether to return where each comes first.
        return_inverse: bool, whether to return for each element the index of its value.
        return_counts: bool, whether to return how often each comes.
        axis: int, to compare slices along the axis; needs known values. None compares elements.
        equal_nan: bool, whether NaN equals NaN.
        size: int, how many values to return: the first ones, filled up at the end. Needed where the
            array is traced, since shapes are known then.
        fill_value: number that fills up; the least element by default.
        sorted: has no effect.

    Returns:
        An array, or a tuple of it and what else is asked for.

    Raises:
        TracerArrayError: for a traced array without `size`, or with `axis`.

    Example:
        >>> jnp.unique(jnp.array([3, 1, 3]))
        Array([1, 3], dtype=int32)
    """
    x = array_operand(ar, "unique")
    wanted = (True, return_index, return_inverse, return_counts)
    if size is None or axis is not None:
        found = _unique_known(x, axis, equal_nan, size, fill_value)
    else:
        filler = None if fill_value is None else in_dtype(fill_value, x.aval.dtype, "unique")
        found = _unique(
            ravel(x), filler, size=integer("unique", "size", size), equal_nan=bool(equal_nan)
        )
        found[2] = reshape(found[2], x.aval.shape)
    chosen = tuple(part for part, want in zip(found, wanted, strict=True) if want)
    return chosen if len(chosen) > 1 else chosen[0]  # pyright: ignore[reportGeneralTypeIssues]


def _unique_known(x: Array, axis: Any, equal_nan: bool, size: Any, fill_value: Any) -> list[Array]:
    why = (
        "Give `size`, so that the shape is known." if axis is None else "`axis` needs known values."
    )
    axis = None if axis is None else canonical_axis("unique", axis, x.aval.ndim)
    known = _comparable(host_value("unique", x, why))
    values, *places = np.unique(known, True, True, True, axis=axis, equal_nan=bool(equal_nan))
    if size is not None:
        values, places[0], places[2] = _resized(
            values,
            places[0],
            places[2],
            axis,  # pyright: ignore[reportArgumentType]
            _checked_size("unique", size),
            _filler("unique", fill_value, x.aval.dtype),
        )
    index = dtypes.int_dtype()
    values = convert(array(values, x.aval.dtype), x.aval.dtype, x.aval.weak_type)
    return [values, *(array(place.astype(index)) for place in places)]


def _filler(call: str, fill_value: Any, dtype: Any) -> Any:
    """Return what fills up known values of a dtype, as a Python number."""
    return None if fill_value is None else plain(to_array(in_dtype(fill_value, dtype, call)))


def _comparable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Widen bfloat16 and floats of 8 bits, which NumPy does not sort beside a NaN."""
    small = dtypes.is_floating(values.dtype) and values.dtype.kind != "f"
    return values.astype(np.float32) if small else values


def _resized(
    values: Any, first: Any, counts: Any, axis: int, size: int, fill_value: Any
) -> tuple[Any, Any, Any]:
    """Cut known results to a size, or fill them up."""
    values, missing = np.moveaxis(values, axis, 0), size - len(first)
    if missing <= 0:
        return np.moveaxis(values[:size], 0, axis), first[:size], counts[:size]
    filler = values[:1] if fill_value is None else np.full_like(values[:1], fill_value)
    values = np.concatenate([values, np.repeat(filler, missing, 0)])
    first = np.concatenate([first, np.repeat(first[:1], missing)])
    return np.moveaxis(values, 0, axis), first, np.pad(counts, (0, missing))


@fuse
def _unique(x: Value, filler: Value | None, *, size: int, equal_nan: bool) -> list[Value]:
    """Sort, mark where a new value begins, and write each at its place in the row."""
    count, index = x.aval.size, dtypes.int_dtype()
    if not count:
        value = filler if filler is not None else scalar(0, x.aval.dtype)
        row = zeros((size,), index)
        return [broadcast_to(value, (size,)), row, zeros((0,), index), row]
    ordered, order = sort_operands((x, iota(index, (count,))), 0, True)
    before, behind = (slice_in_dim(ordered, i, count - 1 + i) for i in (0, 1))
    new = lax.ne(before, behind)
    if equal_nan and dtypes.is_inexact(x.aval.dtype):
        same = lax.bitwise_and(lax.ne(before, before), lax.ne(behind, behind))
        new = lax.bitwise_and(new, lax.bitwise_not(same))
    new = concatenate([broadcast_to(scalar(True, dtypes.bool_), (1,)), new])
    rank = lax.sub(cumsum(cast(new, index)), number(1, index))
    place = select_n(new, broadcast_to(scalar(size, index), (count,)), rank)
    default = broadcast_to(ordered[0] if filler is None else filler, (size,))
    values = IndexUpdateHelper(default)[place].set(ordered, mode="drop")
    first = IndexUpdateHelper(broadcast_to(order[0], (size,)))[place].set(order, mode="drop")
    counts = IndexUpdateHelper(zeros((size,), index))[rank].add(1, mode="drop")
    inverse = IndexUpdateHelper(full((count,), 0, index))[order].set(rank, unique_indices=True)
    return [values, first, inverse, counts]


def unique_values(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Array:
    """Return the different elements of an array; see `unique`.

    Args:
        x: array.
        size: int, how many values to return.
        fill_value: number that fills up.

    Returns:
        A vector; NaN counts as different from NaN.
    """
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


def unique_counts(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """Return the different elements of an array and how often each comes; see `unique`.

    Args:
        x: array.
        size: int, how many values to return.
        fill_value: number that fills up.

    Returns:
        A `UniqueCounts`.
    """
    found = unique(x, return_counts=True, equal_nan=False, size=size, fill_value=fill_value)
    return UniqueCounts(*found)


def unique_inverse(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueInverse:
    """Return the different elements of an array and for each element the index of its value.

    Args:
        x: array.
        size: int, how many values to return.
        fill_value: number that fills up.

    Returns:
        A `UniqueInverse`.
    """
    found = unique(x, return_inverse=True, equal_nan=False, size=size, fill_value=fill_value)
    return UniqueInverse(*found)


def unique_all(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """Return all that `unique` can.

    Args:
        x: array.
        size: int, how many values to return.
        fill_value: number that fills up.

    Returns:
        A `UniqueAll`.
    """
    return UniqueAll(
        *unique(x, True, True, True, equal_nan=False, size=size, fill_value=fill_value)
    )


# ---- membership


def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *,
    method: str = "auto",
) -> Array:  # fmt: skip
    """Tell elementwise which elements are among others.

    Args:
        element: array.
        test_elements: array.
        assume_unique: has no effect.
        invert: bool, whether to tell which are not.
        method: has no effect: elements are compared each with each.

    Returns:
        An array of booleans of element's shape.

    Example:
        >>> jnp.isin(jnp.arange(4), jnp.array([1, 3]))
        Array([False,  True, False,  True], dtype=bool)
    """
    x, others = (to_array(v) for v in promote("isin", element, test_elements))
    same = lax.eq(
        reshape(x, (*x.aval.shape, 1)), reshape(others, (1,) * x.aval.ndim + (others.aval.size,))
    )
    found = any_of(same, -1)
    return lax.bitwise_not(found) if invert else found


def _checked_size(call: str, size: Any) -> int:
    """Return a size argument.

    Raises:
        ArgumentError: if it is not an integer, or negative.
    """
    return shape_of(call, integer(call, "size", size))[0]


def _chosen(
    values: np.ndarray[Any, Any], dtype: np.dtype[Any], size: int | None, fill_value: Any
) -> Array:
    """Return known values, cut to a size or filled up."""
    if size is not None:
        size = _checked_size("set", size)
        filler = _filler("set", fill_value, dtype)
        if filler is None:
            filler = values[0] if len(values) else 0
        values = np.concatenate(
            [values, np.full(max(size - len(values), 0), filler, values.dtype)]
        )[:size]
    return array(values, dtype)


def _known_pair(
    call: str, x: Any, y: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.dtype[Any]]:
    """Return two arrays' values to compare, and the dtype that they promote to."""
    x, y = (host_value(call, to_array(v), "Sets need known values.") for v in promote(call, x, y))
    return _comparable(x), _comparable(y), x.dtype


def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """Return the elements of either array, each once, in ascending order.

    Args:
        ar1: array.
        ar2: array.
        size: int, how many values to return; needed where an array is traced.
        fill_value: number that fills up; the least element by default.

    Returns:
        A vector.
    """
    both = concatenate([ravel(x) for x in (ar1, ar2)])
    return unique(both, size=size, fill_value=fill_value)


def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False, *,
    size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    """Return the elements of both arrays, each once, in ascending order; needs known values.

    Args:
        ar1: array.
        ar2: array.
        assume_unique: bool, a promise that no element comes twice in one array.
        return_indices: bool, whether to return where each comes first in either array.
        size: int, how many values to return.
        fill_value: number that fills up; the least element by default. Indices are filled up with
            the number of elements of the array.

    Returns:
        A vector, or a tuple of it and two vectors of indices.
    """
    x, y, dtype = _known_pair("intersect1d", ar1, ar2)
    if return_indices:
        values, *places = np.intersect1d(x, y, bool(assume_unique), True)
        index = dtypes.int_dtype()
        found = [_chosen(p, index, size, a.size) for p, a in zip(places, (x, y), strict=True)]
        return (_chosen(values, dtype, size, fill_value), *found)
    return _chosen(np.intersect1d(x, y, bool(assume_unique)), dtype, size, fill_value)


def setdiff1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
    fill_value: Any = None,
) -> Array:  # fmt: skip
    """Return the elements of the first array that are not in the other; needs known values.

    Args:
        ar1: array.
        ar2: array.
        assume_unique: bool, a promise that no element comes twice in one array.
        size: int, how many values to return.
        fill_value: number that fills up; the least element by default.

    Returns:
        A vector.
    """
    x, y, _ = _known_pair("setdiff1d", ar1, ar2)
    dtype = array_operand(ar1, "setdiff1d").aval.dtype
    return _chosen(np.setdiff1d(x, y, bool(assume_unique)), dtype, size, fill_value)


def setxor1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
    fill_value: Any = None,
) -> Array:  # fmt: skip
    """Return the elements of exactly one of two arrays; needs known values.

    Args:
        ar1: array.
        ar2: array.
        assume_unique: bool, a promise that no element comes twice in one array.
        size: int, how many values to return.
        fill_value: number that fills up; the least element by default.

    Returns:
        A vector.
    """
    x, y, dtype = _known_pair("setxor1d", ar1, ar2)
    return _chosen(np.setxor1d(x, y, bool(assume_unique)), dtype, size, fill_value)


# ---- counting


def bincount(
    x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None
) -> Array:
    """Count how often each non-negative integer comes.

    Args:
        x: vector of integers; negative ones count as 0.
        weights: vector of what each counts; 1 if None.
        minlength: int, the least number of counts to return.
        length: int, how many counts to return; needed where `x` is traced.

    Returns:
        A vector of counts, of the weights' dtype or integers.

    Raises:
        TracerArrayError: for a traced array without `length`.
        DtypeError: if `x` is not of integers.
    """
    x = array_operand(x, "bincount")
    if dtypes.is_bool(x.aval.dtype):
        x = cast(x, dtypes.int_dtype())
    if not dtypes.is_integer(x.aval.dtype) or x.aval.ndim != 1:
        raise errors.DtypeError("bincount", "a vector of integers", repr(x.aval))
    if length is None:
        known = host_value("bincount", x, "Give `length`, so that the shape is known.")
        least = integer("bincount", "minlength", minlength)
        length = max(int(known.max()) + 1 if known.size else 0, least)
    each = None if weights is None else array_operand(weights, "bincount")
    return _bincount(x, each, length=integer("bincount", "length", length))


@fuse
def _bincount(x: Value, weights: Value | None, *, length: int) -> Value:
    dtype = dtypes.int_dtype() if weights is None else weights.aval.dtype
    places = choose(lax.lt(x, number(0, x.aval.dtype)), number(0, x.aval.dtype), x)
    amount: Any = 1 if weights is None else weights
    return IndexUpdateHelper(zeros((length,), dtype))[places].add(amount, mode="drop")
