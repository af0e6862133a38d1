"""Linear algebra: norms and products (``jax.numpy.linalg``)."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, listed
from functrax.core.trace import Array, Value
from functrax.numpy import reductions
from functrax.numpy.einsum import einsum
from functrax.numpy.linear import cross, matmul, outer, tensordot, vecdot
from functrax.numpy.manipulation import axes_of, broadcast_to, matrix_transpose
from functrax.numpy.matrices import diagonal as _diagonal
from functrax.numpy.matrices import eye
from functrax.numpy.matrices import trace as _trace
from functrax.numpy.operands import array_operand, cast, inexact, known_real, number
from functrax.primitives import elementwise as lax
from functrax.transforms.fuse import fuse

__all__ = [
    "cross",
    "diagonal",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


def __dir__() -> list[str]:
    return __all__


_VECTOR = "2, a number, infinity, -infinity or 0"
_MATRIX = "'fro', 1, -1, infinity or -infinity"


def _magnitudes(x: Value) -> Value:
    return lax.abs(x)


def _squares(x: Value) -> Value:
    """Return |x|**2, with a derivative at 0."""
    if dtypes.is_complex(x.aval.dtype):
        return lax.add(lax.square(lax.real(x)), lax.square(lax.imag(x)))
    return lax.mul(x, x)


@fuse
def _vector_norm(x: Value, *, order: float, axes: tuple[int, ...], keepdims: bool) -> Value:
    real = dtypes.to_real(x.aval.dtype)
    if order == 2:
        return lax.sqrt(reductions.sum(_squares(x), axes, keepdims=keepdims))
    size = _magnitudes(x)
    if order == math.inf:
        return reductions.max(size, axes, keepdims=keepdims, initial=0)
    if order == -math.inf:
        return reductions.min(size, axes, keepdims=keepdims)
    if order == 0:
        counted = cast(lax.ne(x, number(0, x.aval.dtype)), real)
        return reductions.sum(counted, axes, keepdims=keepdims)
    if order == 1:
        return reductions.sum(size, axes, keepdims=keepdims)
    total = reductions.sum(lax.pow(size, number(float(order), real)), axes, keepdims=keepdims)
    return lax.pow(total, number(1 / order, real))


@fuse
def _matrix_norm(x: Value, *, order: Any, axes: tuple[int, int], keepdims: bool) -> Value:
    if order == "fro":
        return lax.sqrt(reductions.sum(_squares(x), axes, keepdims=keepdims))
    summed, compared = axes if abs(order) == 1 else axes[::-1]
    sums = reductions.sum(_magnitudes(x), summed, keepdims=True)
    extreme = reductions.max if order > 0 else reductions.min
    found = extreme(sums, compared, keepdims=True)
    return found if keepdims else found.squeeze(axes)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """Return the norm of vectors or matrices.

    Args:
        x: array; integers become floats.
        ord: which norm. None is the square root of the sum of squares. For vectors a number p, for
            the p-th root of the sum of p-th powers, infinity, -infinity or 0; for matrices "fro",
            1,
            -1, infinity or -infinity.
        axis: int for vectors, a pair for matrices; None takes the whole array.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        A real array without the axes.

    Raises:
        ArgumentError: for another norm; those of singular values are not there yet.
        ShapeError: for an array of too many axes.

    Example:
        >>> jnp.linalg.norm(jnp.array([3.0, 4.0]))
        Array(5., dtype=float32)
    """
    x = inexact(x, "norm")
    rank = x.aval.ndim
    if axis is None and ord is None:
        return _vector_norm(x, order=2, axes=tuple(range(rank)), keepdims=bool(keepdims))
    if axis is None:
        if rank not in (1, 2):
            raise errors.ShapeError("norm", "a vector or a matrix, or an axis", repr(x.aval))
        axes: tuple[int, ...] = tuple(range(rank))
    elif hasattr(axis, "__index__"):
        axes = axes_of("norm", axis, rank)
    else:
        axes = tuple(axes_of("norm", a, rank)[0] for a in listed("norm", "axis", axis))
    if len(axes) == 1:
        return vector_norm(x, ord=2 if ord is None else ord, axis=axes, keepdims=keepdims)
    if len(axes) != 2:
        raise errors.ArgumentError("norm", "an axis or a pair of axes", repr(axis))
    return _checked_matrix_norm("norm", x, "fro" if ord is None else ord, axes, keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """Return the norm of vectors along axes.

    Args:
        x: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        keepdims: bool, whether the axes stay, of size 1.
        ord: a number p, for the p-th root of the sum of p-th powers, infinity, -infinity or 0.

    Returns:
        A real array without the axes.

    Raises:
        ArgumentError: for another norm.
    """
    x = inexact(x, "vector_norm")
    if isinstance(ord, str) or ord is None:
        raise errors.ArgumentError("vector_norm", f"ord={_VECTOR}", repr(ord))
    axes = reductions.axes_or_all("vector_norm", axis, x.aval.ndim)
    order = known_real("vector_norm", "ord", ord)
    return _vector_norm(x, order=order, axes=axes, keepdims=bool(keepdims))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Return the norm of matrices along the last two axes.

    Args:
        x: array of at least two axes; integers become floats.
        keepdims: bool, whether the axes stay, of size 1.
        ord: "fro", 1, -1, infinity or -infinity.

    Returns:
        A real array without the axes.

    Raises:
        ArgumentError: for another norm.
    """
    x = inexact(x, "matrix_norm")
    if x.aval.ndim < 2:
        raise errors.ShapeError("matrix_norm", "an array of two or more axes", repr(x.aval))
    axes = (x.aval.ndim - 2, x.aval.ndim - 1)
    return _checked_matrix_norm("matrix_norm", x, ord, axes, keepdims)


def _checked_matrix_norm(call: str, x: Value, order: Any, axes: Any, keepdims: bool) -> Array:
    if order not in ("fro", 1, -1, math.inf, -math.inf):
        raise errors.ArgumentError(
            call,
            f"ord={_MATRIX} for matrices",
            repr(order),
            fix="Norms of singular values need `svd`.",
        )
    order = order if order == "fro" else float(order)
    return _matrix_norm(x, order=order, axes=tuple(axes), keepdims=bool(keepdims))


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Return the diagonals of matrices along the last two axes.

    Args:
        x: array of at least two axes.
        offset: int, which diagonal; positive above the main one.

    Returns:
        An array with the diagonal as its last axis.
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sum along the diagonals of matrices along the last two axes.

    Args:
        x: array of at least two axes.
        offset: int, which diagonal; positive above the main one.
        dtype: the dtype to sum in and return.

    Returns:
        An array without the two axes.
    """
    return _trace(x, offset, -2, -1, dtype)


def matrix_power(a: Any, n: int) -> Array:
    """Multiply square matrices with themselves.

    Args:
        a: array of shape (..., m, m).
        n: int, how often; 0 gives unit matrices.

    Returns:
        An array of the same shape.

    Raises:
        ShapeError: if the matrices are not square.
        ArgumentError: for a negative n.
    """
    x = array_operand(a, "matrix_power")
    if x.aval.ndim < 2 or x.aval.shape[-1] != x.aval.shape[-2]:
        raise errors.ShapeError("matrix_power", "square matrices", repr(x.aval))
    n = integer("matrix_power", "n", n)
    if n < 0:
        raise errors.ArgumentError("matrix_power", "n >= 0", str(n), fix="It would need `inv`.")
    if n == 0:
        unit = eye(x.aval.shape[-1], dtype=x.aval.dtype)
        return broadcast_to(unit, x.aval.shape)
    result = None
    while n:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return result if result is not None else x


def multi_dot(arrays: Any, *, precision: Any = None) -> Array:
    """Multiply several matrices in the order that takes the fewest operations.

    Args:
        arrays: sequence of matrices; the first and the last one may be vectors.
        precision: as in `matmul`.

    Returns:
        A matrix, a vector or a number.

    Raises:
        ArgumentError: for fewer than two arrays.
    """
    values = [array_operand(x, "multi_dot") for x in listed("multi_dot", "arrays", arrays)]
    if len(values) < 2:
        raise errors.ArgumentError("multi_dot", "at least two arrays", str(len(values)))
    letters = iter(range(len(values) + 1))
    current = next(letters)
    terms: list[Any] = []
    output: list[int] = []
    for i, x in enumerate(values):
        following = next(letters)
        axes = [current, following] if x.aval.ndim == 2 else [following if i == 0 else current]
        if i == 0 and x.aval.ndim == 2:
            output.append(current)
        if i == len(values) - 1 and x.aval.ndim == 2:
            output.append(following)
        terms += [x, axes]
        current = following
    return einsum(*terms, output, optimize="optimal", precision=precision)
