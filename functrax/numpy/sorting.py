"""Sorting, and searching in sorted arrays."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import listed
from functrax.core.trace import Array, Value
from functrax.core.types import short_types
from functrax.numpy import reductions
from functrax.numpy.logic import greater, less, less_equal
from functrax.numpy.manipulation import ravel
from functrax.numpy.operands import array_operand, cast, number, promote, to_array
from functrax.numpy.ranges import iota
from functrax.numpy.taking import take
from functrax.primitives import elementwise as lax
from functrax.primitives import sort as sorts
from functrax.primitives.rules import broadcast_to, expand_axis, reshape, scalar
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis, rev
from functrax.transforms.fuse import fuse


def _prepared(call: str, a: Any, axis: int | None, kind: Any, order: Any) -> tuple[Array, int]:
    if order is not None:
        raise errors.ArgumentError(call, "order=None", repr(order))
    if kind not in (None, "stable", "quicksort", "mergesort", "heapsort"):
        raise errors.ArgumentError(call, "kind=None or the name of an algorithm", repr(kind))
    x = array_operand(a, call)
    if axis is None:
        return ravel(x), 0
    return x, canonical_axis(call, axis, x.aval.ndim)


@fuse
def _sort(x: Value, *, axis: int, stable: bool, descending: bool) -> Value:
    made = sorts.sort(x, axis, stable)
    return rev(made, (axis,)) if descending else made


def sort(
    a: Any, axis: int | None = -1, *, kind: None = None, order: None = None, stable: bool = True,
    descending: bool = False,
) -> Array:  # fmt: skip
    """Sort along an axis; NaN comes last.

    Args:
        a: array.
        axis: int; None sorts the elements of the whole array.
        kind: has no effect.
        order: must be None.
        stable: bool, whether equal elements keep their order.
        descending: bool, whether the largest come first.

    Returns:
        An array of the same shape, or a vector.

    Example:
        >>> jnp.sort(jnp.array([3, 1, 2]))
        Array([1, 2, 3], dtype=int32)
    """
    x, axis = _prepared("sort", a, axis, kind, order)
    return _sort(x, axis=axis, stable=bool(stable), descending=bool(descending))


@fuse
def _argsort(x: Value, *, axis: int, stable: bool, descending: bool) -> Value:
    """Sort indices; descending ones of the reversed array, so that equal elements keep their
    order.
    """
    if not descending:
        return sorts.argsort(x, axis, stable)
    found = rev(sorts.argsort(rev(x, (axis,)), axis, stable), (axis,))
    return lax.sub(number(x.aval.shape[axis] - 1, found.aval.dtype), found)


def argsort(
    a: Any, axis: int | None = -1, *, kind: None = None, order: None = None, stable: bool = True,
    descending: bool = False, dtype: Any = None,
) -> Array:  # fmt: skip
    """Return the indices that sort along an axis; NaN comes last.

    Args:
        a: array.
        axis: int; None sorts the elements of the whole array.
        kind: has no effect.
        order: must be None.
        stable: bool, whether equal elements keep their order.
        descending: bool, whether the largest come first.
        dtype: the dtype of the result; int32, or int64 under `enable_x64`, if None.

    Returns:
        An array of integers of the same shape, or a vector.

    Example:
        >>> jnp.argsort(jnp.array([3, 1, 2]))
        Array([1, 2, 0], dtype=int32)
    """
    x, axis = _prepared("argsort", a, axis, kind, order)
    found = _argsort(x, axis=axis, stable=bool(stable), descending=bool(descending))
    wanted = dtypes.int_dtype() if dtype is None else dtypes.canonicalize(dtype, "argsort")
    return to_array(cast(found, wanted))


def lexsort(keys: Any, axis: int = -1) -> Array:
    """Return the indices that sort by several keys, the last one first.

    Args:
        keys: sequence of arrays of one shape.
        axis: int.

    Returns:
        An array of integers of that shape.

    Raises:
        ArgumentError: for no keys.
    """
    values = [array_operand(key, "lexsort") for key in listed("lexsort", "keys", keys)]
    if not values:
        raise errors.ArgumentError("lexsort", "at least one key", "an empty sequence")
    first = values[0].aval
    if any(x.aval.shape != first.shape for x in values):
        raise errors.ShapeError(
            "lexsort", "keys of one shape", short_types([x.aval for x in values])
        )
    if not first.ndim:
        return to_array(scalar(0, dtypes.int_dtype()))
    axis = canonical_axis("lexsort", axis, first.ndim)
    places = iota(dtypes.int_dtype(), first.shape, axis)
    return sorts.sort((*values[::-1], places), axis, True, len(values))[-1]


def partition(a: Any, kth: int, axis: int = -1) -> Array:
    """Arrange so that the element at a place is the one a sort would put there: smaller ones before
    it.

    Args:
        a: array.
        kth: int, the place.
        axis: int.

    Returns:
        An array of the same shape; in fact sorted.
    """
    x = array_operand(a, "partition")
    axis = canonical_axis("partition", axis, x.aval.ndim)
    canonical_axis("partition", kth, x.aval.shape[axis])
    return sort(x, axis)


def argpartition(a: Any, kth: int, axis: int = -1) -> Array:
    """Return indices for which the element at a place is the one a sort would put there.

    Args:
        a: array.
        kth: int, the place.
        axis: int.

    Returns:
        An array of the same shape, of dtype int32.
    """
    x = array_operand(a, "argpartition")
    axis = canonical_axis("argpartition", axis, x.aval.ndim)
    canonical_axis("argpartition", kth, x.aval.shape[axis])
    return argsort(x, axis, dtype="int32")


def sort_complex(a: Any) -> Array:
    """Sort by real part, then imaginary part, and return complex numbers.

    Args:
        a: array of at least one axis, sorted along the last one.

    Returns:
        A complex array.
    """
    x = sort(a)
    return x.astype(dtypes.to_complex(x.dtype))


# ---- searching


def searchsorted(
    a: Any, v: Any, side: str = "left", sorter: Any = None, *, method: str = "scan"
) -> Array:
    """Return where elements would have to be put in to keep an array sorted.

    Args:
        a: sorted vector.
        v: array of elements.
        side: "left" for the first such place, "right" for the last.
        sorter: vector of integers that sorts `a`.
        method: "scan", "scan_unrolled" or "sort" for a binary search, "compare_all" to compare each
            element with each.

    Returns:
        An array of v's shape, of dtype int32.

    Raises:
        ShapeError: if `a` is not a vector.

    Example:
        >>> jnp.searchsorted(jnp.array([1, 3, 5]), jnp.array([0, 3, 4]))
        Array([0, 1, 2], dtype=int32)
    """
    if side not in ("left", "right") or method not in (
        "scan",
        "scan_unrolled",
        "sort",
        "compare_all",
    ):
        raise errors.ArgumentError(
            "searchsorted",
            "side='left' or 'right', and a known method",
            f"side={side!r}, method={method!r}",
        )
    a, v = (to_array(x) for x in promote("searchsorted", a, v))
    if a.aval.ndim != 1:
        raise errors.ShapeError("searchsorted", "a sorted vector", repr(a.aval))
    if sorter is not None:
        a = take(a, sorter, 0)
    small = a.aval.size * max(v.aval.size, 1) <= 4096
    return _search(a, v, left=side == "left", compare_all=small or method == "compare_all")


def _before(a: Value, v: Value, left: bool) -> Value:
    """Tell where elements of the array stand before the searched ones; NaN is the greatest, and
    complex numbers are ordered by their real parts first.
    """
    before = less(a, v) if left else less_equal(a, v)
    if not dtypes.is_inexact(a.aval.dtype):
        return before
    missing = lax.ne(v, v)
    if left:
        missing = lax.bitwise_and(missing, lax.eq(a, a))
    return lax.bitwise_or(before, missing)


@fuse
def _search(a: Value, v: Value, *, left: bool, compare_all: bool) -> Value:
    size, shape = a.aval.size, v.aval.shape
    index = dtypes.int32 if size < 2**31 else dtypes.int64
    if compare_all:
        row = reshape(a, (size,) + (1,) * len(shape))
        return reductions.sum(_before(row, expand_axis(v, 0), left), 0, dtype=index)
    low = broadcast_to(scalar(0, index), shape)
    high = broadcast_to(scalar(size, index), shape)
    for _ in range(size.bit_length()):
        middle = lax.shift_right_logical(lax.add(low, high), number(1, index))
        before = _before(take(a, middle, 0, mode="clip"), v, left)
        before = lax.bitwise_and(before, lax.lt(low, high))
        low = select_n(before, low, lax.add(middle, number(1, index)))
        high = select_n(before, middle, high)
    return low


def digitize(x: Any, bins: Any, right: bool = False, *, method: str | None = None) -> Array:
    """Return in which bin elements lie.

    Args:
        x: array.
        bins: vector of limits, ascending or descending.
        right: bool, whether a limit belongs to the bin below it.
        method: as in `searchsorted`.

    Returns:
        An array of x's shape, of dtype int32: 0 below the first limit, n above the last.
    """
    bins, x = (to_array(v) for v in promote("digitize", bins, x))
    if bins.aval.ndim != 1:
        raise errors.ShapeError("digitize", "a vector of limits", repr(bins.aval))
    side = "left" if right else "right"
    chosen = method or "scan"
    ascending = searchsorted(bins, x, side, method=chosen)
    if bins.aval.size < 2:
        return ascending
    count = number(bins.aval.size, ascending.aval.dtype)
    descending = lax.sub(count, searchsorted(rev(bins, (0,)), x, side, method=chosen))
    falls = broadcast_to(greater(bins[0], bins[-1]), x.aval.shape)
    return select_n(falls, ascending, descending)
