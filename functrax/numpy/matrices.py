"""Matrices by their pattern, and parts of matrices: diagonals and triangles."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import array, placed
from functrax.numpy.manipulation import moveaxis
from functrax.numpy.operands import array_operand, number, shape_of, strong
from functrax.numpy.ranges import iota
from functrax.numpy.reductions import sum
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert
from functrax.primitives.join import concatenate, pad
from functrax.primitives.reduce import reduce_or, reduce_sum
from functrax.primitives.rules import broadcast_to, expand_axis, full
from functrax.primitives.select import select_n
from functrax.primitives.slice import slice as cut
from functrax.transforms.fuse import fuse


def _size(call: str, value: Any) -> int:
    return shape_of(call, (value,))[0]


@fuse
def _eye(*, rows: int, columns: int, k: int, dtype: Any) -> Value:
    row, column = (iota(dtypes.int32, (rows, columns), axis) for axis in (0, 1))
    if k:
        row = lax.add(row, number(k, dtypes.int32))
    return convert(lax.eq(row, column), dtype)


def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = None, *, device: Any = None) -> Array:
    """Return a matrix with ones on a diagonal.

    Args:
        N: int, the number of rows.
        M: int, the number of columns; as many as rows if None.
        k: int, which diagonal; positive above the main one.
        dtype: the dtype; the default float if None.
        device: where to put it.

    Returns:
        An array of shape (N, M).

    Example:
        >>> jnp.eye(2)
        Array([[1., 0.],
               [0., 1.]], dtype=float32)
    """
    dtype = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, "eye")
    rows = _size("eye", N)
    columns = rows if M is None else _size("eye", M)
    made = _eye(rows=rows, columns=columns, k=integer("eye", "k", k), dtype=dtype)
    return made if device is None else placed("eye", made, device)


def identity(n: Any, dtype: Any = None) -> Array:
    """Return the unit matrix.

    Args:
        n: int, the number of rows and columns.
        dtype: the dtype; the default float if None.

    Returns:
        An array of shape (n, n).
    """
    return eye(n, dtype=dtype)


def _below(shape: tuple[int, ...], k: int) -> Value:
    """Tell where a matrix's column is at most its row plus k."""
    rows, columns = shape[-2:]
    row, column = (iota(dtypes.int32, (rows, columns), axis) for axis in (0, 1))
    if k:
        row = lax.add(row, number(k, dtypes.int32))
    return broadcast_to(lax.ge(row, column), shape)


@fuse
def _tri(*, rows: int, columns: int, k: int, dtype: Any) -> Value:
    return convert(_below((rows, columns), k), dtype)


def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Array:
    """Return a matrix with ones on and below a diagonal.

    Args:
        N: int, the number of rows.
        M: int, the number of columns; as many as rows if None.
        k: int, which diagonal; positive above the main one.
        dtype: the dtype; the default float if None.

    Returns:
        An array of shape (N, M).
    """
    dtype = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, "tri")
    rows = _size("tri", N)
    columns = rows if M is None else _size("tri", M)
    return _tri(rows=rows, columns=columns, k=integer("tri", "k", k), dtype=dtype)


@fuse
def _triangle(m: Value, *, k: int, lower: bool) -> Value:
    below = _below(m.aval.shape, k if lower else k - 1)
    zero = broadcast_to(number(0, m.aval.dtype), m.aval.shape)
    return select_n(below, zero, m) if lower else select_n(below, m, zero)


def _matrix(call: str, m: Any) -> Array:
    m = array_operand(m, call)
    if m.aval.ndim < 2:
        raise errors.ShapeError(call, "an array of two or more axes", repr(m.aval))
    return m


def tril(m: Any, k: int = 0) -> Array:
    """Keep the elements on and below a diagonal; the rest become 0.

    Args:
        m: array of at least two axes.
        k: int, which diagonal; positive above the main one.

    Returns:
        An array of the same shape.

    Example:
        >>> jnp.tril(jnp.ones((2, 2)))
        Array([[1., 0.],
               [1., 1.]], dtype=float32)
    """
    return _triangle(_matrix("tril", m), k=integer("tril", "k", k), lower=True)


def triu(m: Any, k: int = 0) -> Array:
    """Keep the elements on and above a diagonal; the rest become 0.

    Args:
        m: array of at least two axes.
        k: int, which diagonal; positive above the main one.

    Returns:
        An array of the same shape.
    """
    return _triangle(_matrix("triu", m), k=integer("triu", "k", k), lower=False)


# ---- diagonals


@fuse
def _diagonal(a: Value, *, offset: int) -> Value:
    """Mask what is off the diagonal, sum it away, and cut to length."""
    rows, columns = a.aval.shape[-2:]
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    row, column = (iota(dtypes.int32, (rows, columns), axis) for axis in (0, 1))
    if offset:
        row = lax.add(row, number(offset, dtypes.int32))
    on = broadcast_to(lax.eq(row, column), a.aval.shape)
    if dtypes.is_bool(a.aval.dtype):
        line = reduce_or(lax.bitwise_and(on, a), (a.aval.ndim - 1,))
    else:
        line = reduce_sum(select_n(on, full(a.aval.shape, 0, a.aval.dtype), a), (a.aval.ndim - 1,))
    start = max(0, -offset)
    if length == rows:
        return line
    lead = line.aval.shape[:-1]
    return cut(line, (*(0,) * len(lead), start), (*lead, start + length))


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """Return the elements on a diagonal.

    Args:
        a: array of at least two axes.
        offset: int, which diagonal; positive above the main one.
        axis1: the axis of rows.
        axis2: the axis of columns.

    Returns:
        An array without the two axes and with the diagonal as its last one.
    """
    a = _matrix("diagonal", a)
    if a.aval.ndim > 2 or (axis1, axis2) != (0, 1):
        a = moveaxis(a, (axis1, axis2), (-2, -1))
    return _diagonal(a, offset=integer("diagonal", "offset", offset))


@fuse
def _diag(v: Value, *, k: int) -> Value:
    size = v.aval.shape[0] + (k if k > 0 else -k)
    zero = number(0, v.aval.dtype)
    line = pad(v, zero, ((max(0, k), max(0, -k), 0),))
    row, column = (iota(dtypes.int32, (size, size), axis) for axis in (0, 1))
    if k:
        row = lax.add(row, number(k, dtypes.int32))
    return choose(lax.eq(row, column), broadcast_to(expand_axis(line, 0), (size, size)), zero)


def diag(v: Any, k: int = 0) -> Array:
    """Make a matrix of its diagonal, or return the diagonal of a matrix.

    Args:
        v: array of one or two axes.
        k: int, which diagonal; positive above the main one.

    Returns:
        An array of two axes for a vector, of one for a matrix.

    Raises:
        ShapeError: for another number of axes.

    Example:
        >>> jnp.diag(jnp.arange(2))
        Array([[0, 0],
               [0, 1]], dtype=int32)
    """
    v = array_operand(v, "diag")
    if v.aval.ndim == 1:
        return _diag(v, k=integer("diag", "k", k))
    if v.aval.ndim != 2:
        raise errors.ShapeError("diag", "an array of one or two axes", repr(v.aval))
    return diagonal(v, k)


def diagflat(v: Any, k: int = 0) -> Array:
    """Make a matrix with the elements of an array on a diagonal.

    Args:
        v: array.
        k: int, which diagonal; positive above the main one.

    Returns:
        An array of two axes.
    """
    v = strong(array_operand(v, "diagflat"))
    return diag(v.reshape((v.aval.size,)), k)


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Array:
    """Sum along a diagonal.

    Args:
        a: array of at least two axes.
        offset: int, which diagonal; positive above the main one.
        axis1: the axis of rows.
        axis2: the axis of columns.
        dtype: the dtype to sum in and return.
        out: must be None.

    Returns:
        An array without the two axes.

    Example:
        >>> jnp.trace(jnp.eye(3))
        Array(3., dtype=float32)
    """
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype, out)


# ---- indices of triangles: known when traced


def tril_indices(n: Any, k: int = 0, m: Any = None) -> tuple[Array, Array]:
    """Return the indices of the elements on and below a diagonal.

    Args:
        n: int, the number of rows.
        k: int, which diagonal.
        m: int, the number of columns; as many as rows if None.

    Returns:
        ``(rows, columns)``, vectors of integers.
    """
    call = "tril_indices"
    size, width = _size(call, n), _size(call, n if m is None else m)
    rows, columns = np.tril_indices(size, integer(call, "k", k), width)
    return array(rows), array(columns)


def triu_indices(n: Any, k: int = 0, m: Any = None) -> tuple[Array, Array]:
    """Return the indices of the elements on and above a diagonal.

    Args:
        n: int, the number of rows.
        k: int, which diagonal.
        m: int, the number of columns; as many as rows if None.

    Returns:
        ``(rows, columns)``, vectors of integers.
    """
    call = "triu_indices"
    size, width = _size(call, n), _size(call, n if m is None else m)
    rows, columns = np.triu_indices(size, integer(call, "k", k), width)
    return array(rows), array(columns)


def diag_indices(n: Any, ndim: int = 2) -> tuple[Array, ...]:
    """Return the indices of the main diagonal.

    Args:
        n: int, the size of each axis.
        ndim: int, the number of axes.

    Returns:
        A tuple of `ndim` vectors of integers.
    """
    line = iota(dtypes.int_dtype(), (_size("diag_indices", n),))
    return (line,) * integer("diag_indices", "ndim", ndim)


@fuse
def _vander(x: Value, *, columns: int, increasing: bool) -> Value:
    powers = [lax.integer_pow(x, n) for n in range(columns)]
    order = powers if increasing else powers[::-1]
    return concatenate([expand_axis(p, 1) for p in order], 1)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Array:
    """Return the matrix of powers of numbers.

    Args:
        x: vector.
        N: int, the number of columns; as many as numbers if None.
        increasing: bool, whether the powers increase from left to right.

    Returns:
        An array of shape (x.size, N).

    Raises:
        ShapeError: if `x` is not a vector.
    """
    x = strong(array_operand(x, "vander"))
    if x.aval.ndim != 1:
        raise errors.ShapeError("vander", "a vector", repr(x.aval))
    columns = x.aval.size if N is None else _size("vander", N)
    if not columns:
        return array(np.zeros((x.aval.size, 0), x.aval.dtype), x.aval.dtype)
    return _vander(x, columns=columns, increasing=bool(increasing))
