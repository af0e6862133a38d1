"""Taking elements by index along an axis, repeating, and differences."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.config import config
from functrax.core.trace import Array, Value, describe
from functrax.numpy.at import IndexUpdateHelper, plain
from functrax.numpy.creation import in_dtype, zeros
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import ravel
from functrax.numpy.operands import array_operand, broadcast_shapes, cast, number, two_operands
from functrax.numpy.search import host_value
from functrax.primitives import elementwise as lax
from functrax.primitives.check import check_bounds
from functrax.primitives.cumulative import cumsum as running_sum
from functrax.primitives.gather import GatherDimensionNumbers, gather
from functrax.primitives.rules import broadcast_to, expand_axis, full, reshape
from functrax.primitives.shape import broadcast_in_dim, canonical_axis
from functrax.primitives.slice import from_start
from functrax.primitives.slice_along import slice_in_dim
from functrax.transforms.fuse import fuse

_MODES = (None, "fill", "clip", "wrap", "promise_in_bounds")


def _integers(call: str, indices: Any) -> Array:
    places = array_operand(indices, call)
    if not dtypes.is_integer(places.aval.dtype):
        raise errors.DtypeError(call, "integer indices", describe(places))
    return places


def _around(places: Value, size: int) -> Value:
    """Bring indices into an axis by whole turns; narrow dtypes need not hold its size."""
    return (places if places.aval.dtype.itemsize >= 4 else cast(places, dtypes.int32)) % size


def _check_mode(call: str, mode: Any) -> None:
    if mode not in _MODES:
        names = ", ".join(map(repr, _MODES))
        raise errors.ArgumentError(call, f"a mode among {names}", repr(mode))


def _check_places(call: str, places: Any, axis: int, size: int, wraps: bool) -> None:
    """Check places that are known only at run time, if `debug_index` says so."""
    if config.debug_index:
        starts = from_start(call, places, size) if wraps else places
        check_bounds(call, starts, axis, size, given=places)


def _check_not_empty(call: str, x: Array, places: Array, axis: int, mode: Any) -> None:
    """Raise if elements of an empty axis are asked for, unless "fill" says what they are."""
    if mode != "fill" and not x.aval.shape[axis] and places.aval.size:
        expected = f"no index into axis {axis}, which is empty, of shape {x.aval.shape}"
        raise errors.BoundsError(call, expected)


def take(
    a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str | None = None,
    unique_indices: bool = False, indices_are_sorted: bool = False, fill_value: Any = None,
) -> Array:  # fmt: skip
    """Take elements by index along an axis.

    Args:
        a: array.
        indices: array of integers; negative ones count from the end, except with "clip".
        axis: int; None takes from the elements of the whole array, row by row.
        out: must be None.
        mode: what is read outside of the array: "fill" (the default: `fill_value`), "clip" (the
            nearest element), "wrap" (around), "promise_in_bounds" (nothing is checked).
        unique_indices: bool, a promise that no index repeats.
        indices_are_sorted: bool, a promise that they ascend.
        fill_value: NaN by default; for integers the least or, unsigned, the greatest number.

    Returns:
        An array with the axes of `indices` in place of the axis.

    Raises:
        DtypeError: if the indices are not integers.
        BoundsError: if the axis is empty, and indices are not, except with mode "fill".

    Example:
        >>> jnp.take(jnp.array([10, 20, 30]), jnp.array([2, 0]))
        Array([30, 10], dtype=int32)
    """
    if out is not None:
        raise errors.ArgumentError("take", "out=None", errors.type_name(out))
    _check_mode("take", mode)
    x, places = array_operand(a, "take"), _integers("take", indices)
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis("take", axis, x.aval.ndim)
    _check_not_empty("take", x, places, axis, mode)
    if mode is None:
        _check_places("take", places, axis, x.aval.shape[axis], True)
    if mode == "wrap":
        places, mode = _around(places, x.aval.shape[axis]), "promise_in_bounds"
    return IndexUpdateHelper(x)[(slice(None),) * axis + (places,)].get(
        mode=mode or "fill",
        fill_value=fill_value,
        unique_indices=unique_indices,
        indices_are_sorted=indices_are_sorted,
        wrap_negative_indices=mode != "clip",
    )


def take_along_axis(
    arr: Any, indices: Any, axis: int | None = -1, mode: str | None = None, fill_value: Any = None,
    *, wrap_negative_indices: bool | None = None,
) -> Array:  # fmt: skip
    """Take elements by index along an axis, with an own index for each place of the other axes.

    Args:
        arr: array.
        indices: array of integers of as many axes; the other axes broadcast. Negative ones count
            from the end.
        axis: int; None takes from the elements of the whole array, row by row.
        mode: as in `take`.
        fill_value: as in `take`.
        wrap_negative_indices: bool, whether negative ones count from the end; None means True.

    Returns:
        An array of the broadcast shape, with the size of `indices` along the axis.

    Raises:
        ShapeError: if the numbers of axes differ, or shapes do not broadcast.
        DtypeError: if the indices are not integers.
        BoundsError: if the axis is empty, and indices are not.

    Example:
        >>> x = jnp.array([[3, 1], [2, 4]])
        >>> jnp.take_along_axis(x, jnp.array([[1], [0]]), axis=1)
        Array([[1],
               [2]], dtype=int32)
    """
    _check_mode("take_along_axis", mode)
    x, places = array_operand(arr, "take_along_axis"), _integers("take_along_axis", indices)
    if axis is None:
        if places.aval.ndim != 1:
            raise errors.ShapeError("take_along_axis", "a vector of indices", repr(places.aval))
        x, axis = ravel(x), 0
    rank = x.aval.ndim
    if places.aval.ndim != rank:
        raise errors.ShapeError(
            "take_along_axis",
            "as many axes of the indices as of the array",
            f"{places.aval!r} for {x.aval!r}",
        )
    axis = canonical_axis("take_along_axis", axis, rank)
    _check_not_empty("take_along_axis", x, places, axis, None)
    filler = plain(fill_value)
    wraps = wrap_negative_indices is None or bool(wrap_negative_indices)
    if mode is None:
        _check_places("take_along_axis", places, axis, x.aval.shape[axis], wraps)
    return _take_along(x, places, axis=axis, mode=mode or "fill", fill_value=filler, wraps=wraps)


@fuse
def _take_along(
    x: Value, places: Value, *, axis: int, mode: str, fill_value: Any, wraps: bool
) -> Value:
    size = x.aval.shape[axis]
    rest = [
        broadcast_shapes("take_along_axis", [(*s.aval.shape[:axis], 1, *s.aval.shape[axis + 1 :])])
        for s in (x, places)
    ]
    common = broadcast_shapes("take_along_axis", rest)
    x = broadcast_to(x, (*common[:axis], size, *common[axis + 1 :]))
    places = broadcast_to(places, (*common[:axis], places.aval.shape[axis], *common[axis + 1 :]))
    if not places.aval.size:
        return full(places.aval.shape, 0, x.aval.dtype)
    if mode == "wrap":
        places, mode = _around(places, size), "promise_in_bounds"
    elif wraps:
        places = from_start("take_along_axis", places, size)
    others = tuple(i for i in range(x.aval.ndim) if i != axis)
    numbers = GatherDimensionNumbers((), (axis,), (axis,), others, others)
    return gather(
        x,
        expand_axis(places, x.aval.ndim),
        numbers,
        (1,) * x.aval.ndim,
        mode=mode,
        fill_value=fill_value,
    )


# ---- repeating


def repeat(
    a: Any, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Repeat each element along an axis.

    Args:
        a: array.
        repeats: int, or one per element of the axis.
        axis: int; None repeats the elements of the whole array, row by row.
        total_repeat_length: int, the size of the result along the axis; needed if `repeats` is
            traced. What is missing repeats the last element, what is too much is cut off.
        out_sharding: must be None.

    Returns:
        An array.

    Raises:
        TracerArrayError: for traced `repeats` without `total_repeat_length`.
        ShapeError: if the number of repeats does not fit.
        ArgumentError: if one is negative.

    Example:
        >>> jnp.repeat(jnp.array([1, 2]), 2)
        Array([1, 1, 2, 2], dtype=int32)
    """
    x = array_operand(a, "repeat")
    if axis is None or not x.aval.ndim:  # a number is a vector of one, as for NumPy
        x, axis = ravel(x), 0 if axis is None else axis
    axis = canonical_axis("repeat", axis, x.aval.ndim)
    size = x.aval.shape[axis]
    if isinstance(repeats, int | np.integer) and total_repeat_length is None:
        _check_repeats(repeats)
        return _repeat_each(x, count=int(repeats), axis=axis)
    counts = _integers("repeat", repeats)
    if counts.aval.shape not in ((), (1,), (size,)):
        raise errors.ShapeError("repeat", f"one count, or {size}", repr(counts.aval))
    if total_repeat_length is None:
        known = host_value(
            "repeat", counts, "Give `total_repeat_length`, so that the shape is known."
        )
        _check_repeats(known)
        return take(x, np.repeat(np.arange(size), known), axis, mode="promise_in_bounds")
    return _repeat_counted(
        x,
        broadcast_to(reshape(counts, (counts.aval.size,)), (size,)),
        total=integer("repeat", "total_repeat_length", total_repeat_length),
        axis=axis,
    )


def _check_repeats(counts: Any) -> None:
    least = np.min(counts, initial=0)
    if least < 0:
        raise errors.ArgumentError("repeat", "repeats >= 0", f"{least}")


@fuse
def _repeat_each(x: Value, *, count: int, axis: int) -> Value:
    shape = x.aval.shape
    dims = (*range(axis + 1), *range(axis + 2, len(shape) + 1))
    wide = broadcast_in_dim(x, (*shape[: axis + 1], count, *shape[axis + 1 :]), dims)
    return reshape(wide, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


@fuse
def _repeat_counted(x: Value, counts: Value, *, total: int, axis: int) -> Value:
    """Mark where each element begins, and count the marks."""
    starts = lax.sub(running_sum(counts), counts)
    marks = IndexUpdateHelper(zeros(total, counts.aval.dtype))[starts].add(1, mode="drop")
    places = lax.sub(running_sum(marks), number(1, marks.aval.dtype))
    return take(x, places, axis, mode="clip")


# ---- differences


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Return the differences of neighbours along an axis.

    Args:
        a: array.
        n: int, how often differences are taken.
        axis: int.
        prepend: number or array put in front before.
        append: number or array put behind before.

    Returns:
        An array, smaller by n along the axis; booleans where `a` is boolean.

    Raises:
        ArgumentError: for a negative n.
        ShapeError: for an array without axes.

    Example:
        >>> jnp.diff(jnp.array([1, 4, 9]))
        Array([3, 5], dtype=int32)
    """
    x = array_operand(a, "diff")
    n = integer("diff", "n", n)
    if n < 0:
        raise errors.ArgumentError("diff", "n >= 0", str(n))
    if not x.aval.ndim:
        raise errors.ShapeError("diff", "an array of at least one axis", repr(x.aval))
    axis = canonical_axis("diff", axis, x.aval.ndim)
    if n == 0:
        return x
    ends: list[Any] = []
    for end in (prepend, append):
        if end is not None:
            end = two_operands("diff", x, end)[1]
            one = (*x.aval.shape[:axis], 1, *x.aval.shape[axis + 1 :])
            end = end if end.aval.ndim else broadcast_to(end, one)
        ends.append(end)
    parts = [part for part in (ends[0], x, ends[1]) if part is not None]
    x = concatenate(parts, axis) if len(parts) > 1 else x
    return _diff(x, n=n, axis=axis)


@fuse
def _diff(x: Value, *, n: int, axis: int) -> Value:
    subtract = lax.ne if dtypes.is_bool(x.aval.dtype) else lax.sub
    for _ in range(n):
        size = x.aval.shape[axis]
        x = subtract(
            slice_in_dim(x, min(1, size), size, axis=axis),
            slice_in_dim(x, 0, max(size - 1, 0), axis=axis),
        )
    return x


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    """Return the differences of neighbours among all elements.

    Args:
        ary: array.
        to_end: numbers put behind.
        to_begin: numbers put in front.

    Returns:
        A vector.
    """
    found = diff(ravel(ary))
    ends = [
        None if e is None else ravel(in_dtype(e, found.aval.dtype, "ediff1d"))
        for e in (to_begin, to_end)
    ]
    parts = [part for part in (ends[0], found, ends[1]) if part is not None]
    return concatenate(parts) if len(parts) > 1 else found
