"""Index tricks, and editing arrays at fixed places."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, listed
from functrax.core.trace import Array, Tracer, describe
from functrax.numpy.at import IndexUpdateHelper
from functrax.numpy.creation import array, in_dtype, zeros_like
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import atleast_2d, moveaxis, ravel
from functrax.numpy.operands import (
    array_operand,
    broadcast_shapes,
    promote,
    shape_of,
    strong,
    to_array,
)
from functrax.numpy.search import nonzero
from functrax.numpy.selection import select
from functrax.numpy.taking import take
from functrax.primitives.convert import convert
from functrax.primitives.rules import broadcast_to
from functrax.primitives.shape import canonical_axes, canonical_axis

#: ``s_[1:2, ...]`` is the index itself; `index_exp` always as a tuple.
s_ = np.s_
index_exp = np.index_exp


class Grid:
    """The maker of `mgrid` and `ogrid`: ``mgrid[0:3, 0:1:5j]``, with a complex step for a number
    of points.
    """

    def __init__(self, sparse: bool) -> None:
        """Choose whether the arrays keep size 1 along the other axes."""
        self.maker: Any = np.ogrid if sparse else np.mgrid

    def __getitem__(self, index: Any) -> Any:
        """Return the coordinates of the grid that slices describe."""
        made = self.maker[index]
        if isinstance(made, tuple | list):
            return [array(part) for part in made]
        return array(made)


mgrid = Grid(sparse=False)
ogrid = Grid(sparse=True)


class Joiner:
    """The maker of `r_` and `c_`: ``r_[0:3, 5, x]`` joins ranges, numbers and arrays.

    A text in front says how, as in NumPy: ``r_["axis,ndmin,place", ...]`` joins along an axis parts
    that have at least ``ndmin`` axes; those that a part lacks come after its own if ``place`` is 0,
    before them if it is -1. ``"r"`` and ``"c"`` make a matrix, of a vector as a row or a column.
    """

    def __init__(self, name: str, axis: int, ndmin: int, place: int) -> None:
        """Choose what is done without a directive."""
        self.name = name
        self.plain = axis, ndmin, place

    def __getitem__(self, index: Any) -> Array:
        """Join the parts of the index.

        Raises:
            ArgumentError: if a directive is none, or not in front.
            BoundsError: if an axis lies outside of the parts.
            ShapeError: if the parts do not fit.
        """
        parts = list(index) if isinstance(index, tuple) else [index]
        directive = parts.pop(0) if parts and isinstance(parts[0], str) else None
        for part in parts:
            if isinstance(part, str):
                raise self._not_a_directive(part)
        if directive is None:
            return self._join(parts, *self.plain)
        if directive not in ("r", "c"):
            return self._join(parts, *self._read(directive))
        joined = self._join(parts, *self.plain)
        if joined.ndim > 2:
            raise errors.ShapeError(self.name, "vectors or matrices", f"shape {joined.shape}")
        is_column = directive == "c" and joined.ndim == 1
        return joined.reshape(-1, 1) if is_column else atleast_2d(joined)

    def _read(self, directive: str) -> tuple[int, ...]:
        """Return the three numbers of a directive; those that it lacks are the usual ones."""
        try:
            numbers = tuple(int(text) for text in directive.split(","))
        except ValueError:
            numbers = ()
        if not 1 <= len(numbers) <= 3:
            raise self._not_a_directive(directive)
        return numbers + self.plain[len(numbers) :]

    def _not_a_directive(self, text: str) -> errors.ArgumentError:
        expected = "'r', 'c', or up to three integers such as '0,2,0', and no text after it"
        return errors.ArgumentError(self.name, expected, repr(text))

    def _join(self, parts: list[Any], axis: int, ndmin: int, place: int) -> Array:
        return concatenate([self._part(part, ndmin, place) for part in parts], axis)

    def _part(self, part: Any, ndmin: int, place: int) -> Array:
        made = array(np.r_[part]) if isinstance(part, slice) else array(part, copy=False)
        missing = max(ndmin, 1) - made.ndim
        if missing <= 0:
            return made
        before = canonical_axis(self.name, place, missing + 1)
        return made.reshape((1,) * before + made.shape + (1,) * (missing - before))


r_ = Joiner("r_", 0, 1, -1)
c_ = Joiner("c_", -1, 2, 0)


def ix_(*args: Any) -> tuple[Array, ...]:
    """Return index arrays for all combinations of indices along each axis.

    Args:
        *args: vectors of integers, or of booleans.

    Returns:
        A tuple of arrays, each with one axis larger than 1.
    """
    vectors = [array_operand(x, "ix_") for x in args]
    if any(x.aval.ndim != 1 for x in vectors):
        raise errors.ShapeError("ix_", "vectors", ", ".join(str(x.aval.shape) for x in vectors))
    vectors = [nonzero(x)[0] if dtypes.is_bool(x.aval.dtype) else x for x in vectors]
    count = len(vectors)
    return tuple(
        x.reshape((1,) * i + (x.aval.size,) + (1,) * (count - i - 1)) for i, x in enumerate(vectors)
    )


def _matrix_shape(call: str, arr: Any) -> tuple[int, int]:
    shape = array_operand(arr, call).aval.shape
    if len(shape) != 2:
        raise errors.ShapeError(call, "a matrix", f"shape {shape}")
    return shape


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """Return the indices of a matrix's elements on and below a diagonal.

    Args:
        arr: matrix.
        k: int, which diagonal.

    Returns:
        ``(rows, columns)``, vectors of integers.
    """
    rows, columns = _matrix_shape("tril_indices_from", arr)
    found = np.tril_indices(rows, integer("tril_indices_from", "k", k), columns)
    return array(found[0]), array(found[1])


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """Return the indices of a matrix's elements on and above a diagonal.

    Args:
        arr: matrix.
        k: int, which diagonal.

    Returns:
        ``(rows, columns)``, vectors of integers.
    """
    rows, columns = _matrix_shape("triu_indices_from", arr)
    found = np.triu_indices(rows, integer("triu_indices_from", "k", k), columns)
    return array(found[0]), array(found[1])


def diag_indices_from(arr: Any) -> tuple[Array, ...]:
    """Return the indices of the main diagonal.

    Args:
        arr: array of equal sizes, of at least two axes.

    Returns:
        A tuple of vectors of integers.

    Raises:
        ShapeError: if the sizes differ.
    """
    shape = array_operand(arr, "diag_indices_from").aval.shape
    if len(shape) < 2 or len(set(shape)) != 1:
        raise errors.ShapeError(
            "diag_indices_from", "equal sizes of two or more axes", f"shape {shape}"
        )
    return (array(np.arange(shape[0])),) * len(shape)


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Array:
    """Return an array with other values on its main diagonal.

    Args:
        a: array of at least two axes, of equal sizes if more.
        val: number, or vector that is repeated as needed.
        wrap: must be False.
        inplace: must be False: arrays are immutable.

    Returns:
        An array of the same shape.

    Raises:
        ArgumentError: unless ``inplace=False``.
    """
    if inplace or wrap:
        raise errors.ArgumentError(
            "fill_diagonal", "inplace=False and wrap=False", f"inplace={inplace}, wrap={wrap}",
            fix="Arrays are immutable: use the result.",
        )  # fmt: skip
    x = array_operand(a, "fill_diagonal")
    shape = x.aval.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) != 1):
        raise errors.ShapeError("fill_diagonal", "a matrix, or equal sizes", f"shape {shape}")
    places = np.arange(min(shape))
    values = ravel(in_dtype(val, x.aval.dtype, "fill_diagonal"))
    if values.size != 1:
        values = take(values, array(places % values.size))
    return IndexUpdateHelper(x)[(places,) * len(shape)].set(values)


def _known_places(call: str, obj: Any, size: int) -> np.ndarray[Any, Any]:
    if isinstance(obj, list | tuple):
        obj = array(obj)
    if isinstance(obj, Tracer) and obj.concrete() is None:
        raise errors.TracerArrayError(call, "known places", describe(obj))
    if isinstance(obj, slice):
        return np.arange(size)[obj]
    return np.asarray(obj)


def _integer_places(call: str, obj: Any, size: int) -> np.ndarray[Any, Any]:
    """Return places that must be known integers, one or an array of them.

    Raises:
        DtypeError: if they are something else.
    """
    places = _known_places(call, obj, size)
    if not places.size:
        return places.astype(int)
    if places.dtype.kind not in "iu":
        raise errors.DtypeError(call, "places that are integers", describe(obj))
    return places


def delete(
    arr: Any, obj: Any, axis: int | None = None, *, assume_unique_indices: bool = False
) -> Array:
    """Return an array without some places along an axis.

    Args:
        arr: array.
        obj: int, slice, or array of integers or booleans: the places, which must be known.
        axis: int; None deletes from the elements of the whole array, row by row.
        assume_unique_indices: has no effect.

    Returns:
        An array.

    Raises:
        BoundsError: if a place is out of range.
        ShapeError: if booleans are not as many as there are places.
    """
    x = array_operand(arr, "delete")
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis("delete", axis, x.aval.ndim)
    size = x.aval.shape[axis]
    places = _known_places("delete", obj, size)
    if places.dtype.kind == "b" and places.shape not in ((), (size,)):
        raise errors.ShapeError("delete", f"a vector of {size} booleans", f"shape {places.shape}")
    try:
        kept = np.delete(np.arange(size), places)
    except IndexError as error:
        raise errors.BoundsError(
            "delete", f"places along an axis of size {size}", str(error)
        ) from None
    return take(x, array(kept), axis, mode="promise_in_bounds")


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Array:
    """Return an array with values put in before some places along an axis.

    Args:
        arr: array.
        obj: int, slice, or array of integers: the places, which must be known.
        values: array that broadcasts to what is put in.
        axis: int; None inserts into the elements of the whole array, row by row.

    Returns:
        An array.

    Raises:
        BoundsError: if a place is out of range.
        DtypeError: if the places are not integers.
        ShapeError: if the places are not a vector, or the values do not fit them.

    Example:
        >>> jnp.insert(jnp.arange(3), 1, jnp.array([7, 8]))
        Array([0, 7, 8, 1, 2], dtype=int32)
    """
    x = array_operand(arr, "insert")
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis("insert", axis, x.aval.ndim)
    size = x.aval.shape[axis]
    places = _integer_places("insert", obj, size)
    if places.ndim > 1:
        raise errors.ShapeError("insert", "a place, or a vector of them", f"shape {places.shape}")
    if ((places < -size) | (places > size)).any():
        raise errors.BoundsError("insert", f"places from {-size} to {size}", str(places))
    new = to_array(in_dtype(values, x.aval.dtype, "insert"))
    new = convert(new, x.aval.dtype, x.aval.weak_type)
    new = new.reshape((1,) * (x.ndim - new.ndim) + new.shape)
    if not places.ndim and new.ndim == x.ndim:
        new = moveaxis(new, 0, axis)
    alone = places.size == 1  # any number of values goes before it
    count = new.shape[axis] if alone else len(places)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if broadcast_shapes("insert", [new.shape, shape]) != shape:
        raise errors.ShapeError("insert", f"values that broadcast to {shape}", repr(new.aval))
    new = broadcast_to(new, shape)
    places = np.where(places < 0, places + size, places)
    places = np.repeat(places, count) if alone else places
    order = np.argsort(places, kind="stable")
    targets = np.empty(len(places), int)
    targets[order] = places[order] + np.arange(len(places))
    picks = np.zeros(size + count, int)
    old = np.ones(size + count, bool)
    old[targets] = False
    picks[old], picks[targets] = np.arange(size), size + np.arange(count)
    return take(concatenate([x, new], axis), array(picks), axis, mode="promise_in_bounds")


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Array:
    """Choose elementwise among arrays by number.

    Args:
        a: array of integers.
        choices: sequence of arrays; shapes broadcast.
        out: must be None.
        mode: "wrap" or "clip" for numbers outside; "raise" checks, and needs known values.

    Returns:
        An array of the common shape.

    Raises:
        ArgumentError: with "raise", if a number is outside.
    """
    if out is not None or mode not in ("raise", "wrap", "clip"):
        raise errors.ArgumentError("choose", "out=None and a known mode", f"mode={mode!r}")
    x, choices = array_operand(a, "choose"), listed("choose", "choices", choices)
    count = len(choices)
    if mode == "raise":
        known = _known_places("choose", x, 0)
        if known.size and (known.min() < 0 or known.max() >= count):
            raise errors.ArgumentError("choose", f"numbers from 0 to {count - 1}", str(known))
    x = x % count if mode == "wrap" else x.clip(0, count - 1)
    places = [x == i for i in range(count)]
    if not choices:
        return select(places, choices)
    values = [to_array(strong(v)) for v in promote("choose", *choices)]
    return select(places, values, zeros_like(values[0], shape=()))


def put_along_axis(
    arr: Any, indices: Any, values: Any, axis: int | None, inplace: bool = True, *, mode: Any = None
) -> Array:
    """Return an array with values put in by index along an axis; the counterpart of
    `take_along_axis`.

    Args:
        arr: array.
        indices: array of integers of as many axes; the other axes broadcast.
        values: array that broadcasts to the indices.
        axis: int; None puts into the elements of the whole array, row by row.
        inplace: must be False: arrays are immutable.
        mode: as in ``x.at[...].set``.

    Returns:
        An array of the same shape.

    Raises:
        ArgumentError: unless ``inplace=False``.
    """
    if inplace:
        raise errors.ArgumentError("put_along_axis", "inplace=False", "inplace=True")
    x, places = array_operand(arr, "put_along_axis"), array_operand(indices, "put_along_axis")
    if axis is None:
        return put_along_axis(ravel(x), places, values, 0, False, mode=mode).reshape(x.shape)
    axis = canonical_axis("put_along_axis", axis, x.aval.ndim)
    index: list[Any] = []
    for i, size in enumerate(x.shape):
        row = np.arange(size).reshape([-1 if k == i else 1 for k in range(x.ndim)])
        index.append(places if i == axis else row)
    return IndexUpdateHelper(x)[tuple(index)].set(values, mode=mode)


def resize(a: Any, new_shape: Any) -> Array:
    """Repeat an array's elements, or cut them off, to fill a shape.

    Args:
        a: array.
        new_shape: int or sequence of ints.

    Returns:
        An array of that shape.

    Raises:
        ArgumentError: if the shape is not of non-negative integers.
    """
    x = ravel(array_operand(a, "resize"))
    shape = shape_of("resize", new_shape)
    size = int(np.prod(shape, dtype=np.int64))
    if not x.size:
        return array(np.zeros(shape), x.dtype)
    copies = -(-size // x.size)
    return concatenate([x] * copies)[:size].reshape(shape) if size else x[:0].reshape(shape)


def trim_zeros(filt: Any, trim: str = "fb", axis: int | Sequence[int] | None = None) -> Array:
    """Cut off the ends of axes at which all is zero; the values must be known.

    Args:
        filt: array.
        trim: "f" for the front, "b" for the back, "fb" for both.
        axis: int or ints, the axes to cut; all of them if None.

    Returns:
        An array, of no elements if there are zeros alone.

    Raises:
        TracerArrayError: for a traced array.
        ArgumentError: for another `trim`.

    Example:
        >>> jnp.trim_zeros(jnp.array([0, 1, 0, 2, 0]))
        Array([1, 0, 2], dtype=int32)
    """
    x = array_operand(filt, "trim_zeros")
    ends = trim.lower() if isinstance(trim, str) else ""
    if ends not in ("f", "b", "fb", "bf"):
        raise errors.ArgumentError("trim_zeros", "trim='f', 'b' or 'fb'", describe(trim))
    where = np.atleast_1d(_known_places("trim_zeros", x, 0)).nonzero()
    found = where[0].size > 0
    kept, ndim = [slice(None)] * x.aval.ndim, x.aval.ndim
    axes = range(ndim) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    for i in canonical_axes("trim_zeros", axes, ndim):
        low = int(where[i].min()) if found and "f" in ends else 0
        high = int(where[i].max()) + 1 if found and "b" in ends else x.aval.shape[i]
        kept[i] = slice(low, high) if found else slice(0)
    return x[tuple(kept)]
