"""Softmax and its relatives, standardization, and one-hot coding."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy import reductions, statistics
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import array
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    align,
    array_operand,
    broadcast_shapes,
    cast,
    inexact,
    number,
    promote,
)
from functrax.numpy.ranges import iota
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.numpy.statistics import mean as mean_over
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.primitives.convert import convert, stop_gradient
from functrax.primitives.reduce import reduce_max
from functrax.primitives.rules import broadcast_to, expand_axis, scalar
from functrax.primitives.shape import canonical_axis
from functrax.scipy.special import logsumexp
from functrax.transforms.fuse import fuse

# ---- normalization


def _top(x: Value, mask: Value | None, axes: tuple[int, ...]) -> Value:
    """Return the largest element, kept as axes of size 1, as a constant of derivatives."""
    x = stop_gradient(x)
    if mask is not None:
        x = choose(mask, x, number(-math.inf, x.aval.dtype))
    if not all(x.aval.shape[axis] for axis in axes):
        return with_axes(reductions.max(x, axes, initial=-math.inf), axes)
    return with_axes(reduce_max(x, axes), axes)


def _aligned(x: Value, mask: Value | None) -> tuple[Value, Value | None]:
    """Stretch array and mask to one shape."""
    if mask is None:
        return x, None
    pair = align("softmax", x, mask)
    shape = broadcast_shapes("softmax", [value.aval.shape for value in pair])
    return broadcast_to(pair[0], shape), broadcast_to(pair[1], shape)


def _kept(x: Value, mask: Value | None) -> Value:
    """Put zeros where elements do not count: NaN or infinite, they would spoil what does."""
    return x if mask is None else choose(mask, x, number(0, x.aval.dtype))


def _powers(x: Value, mask: Value | None, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """Return x less the largest element, and what exp makes of it."""
    shifted = _kept(lax.sub(x, _top(x, mask, axes)), mask)
    return shifted, _kept(lax.exp(shifted), mask)


@fuse
def _softmax(x: Value, mask: Value | None, *, axes: tuple[int, ...]) -> Value:
    x, mask = _aligned(x, mask)
    _, powers = _powers(x, mask, axes)
    return _kept(lax.div(powers, reductions.sum(powers, axes, keepdims=True)), mask)


def softmax(x: Any, axis: Any = -1, where: Any = None) -> Array:
    """Return ``exp(x) / sum(exp(x))`` over axes, without overflow.

    Args:
        x: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        where: booleans that broadcast to the array: which elements count; the others become 0.

    Returns:
        A floating array of the same shape.

    Example:
        >>> functrax.nn.softmax(jnp.array([1.0, 1.0]))
        Array([0.5, 0.5], dtype=float32)
    """
    x = inexact(x, "softmax")
    mask = None if where is None else to_bool(where, "softmax")
    return _softmax(x, mask, axes=_axes("softmax", axis, x, mask))


def _axes(call: str, axis: Any, x: Value, mask: Value | None) -> tuple[int, ...]:
    """Count axes in the shape that array and mask broadcast to."""
    return axes_or_all(call, axis, max(v.aval.ndim for v in (x, mask) if v is not None))


@fuse
def _log_softmax(x: Value, mask: Value | None, *, axes: tuple[int, ...]) -> Value:
    x, mask = _aligned(x, mask)
    shifted, powers = _powers(x, mask, axes)
    result = lax.sub(shifted, lax.log(reductions.sum(powers, axes, keepdims=True)))
    return result if mask is None else choose(mask, result, number(-math.inf, result.aval.dtype))


def log_softmax(x: Any, axis: Any = -1, where: Any = None) -> Array:
    """Return the logarithm of `softmax`, precisely where it is small.

    Args:
        x: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        where: booleans that broadcast to the array: which elements count; the others become -inf.

    Returns:
        A floating array of the same shape.
    """
    x = inexact(x, "log_softmax")
    mask = None if where is None else to_bool(where, "log_softmax")
    return _log_softmax(x, mask, axes=_axes("log_softmax", axis, x, mask))


def logmeanexp(x: Any, axis: Any = None, where: Any = None, keepdims: bool = False) -> Array:
    """Return ``log(mean(exp(x)))`` over axes without overflow.

    Args:
        x: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        where: booleans that broadcast to the array: which elements count.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        A floating array without the axes.
    """
    x = array_operand(x, "logmeanexp")
    total = logsumexp(x, axis, where=where, keepdims=keepdims)
    if where is None:
        axes = axes_or_all("logmeanexp", axis, x.aval.ndim)
        count = math.prod(x.aval.shape[i] for i in axes)
        return lax.sub(total, scalar(math.log(count) if count else -math.inf, total.aval.dtype))
    mask = broadcast_to(to_bool(where, "logmeanexp"), x.aval.shape)
    counted = reductions.sum(cast(mask, total.aval.dtype), axis, keepdims=keepdims)
    return lax.sub(total, lax.log(counted))


@fuse
def _standardize(
    x: Value, mean: Value | None, variance: Value | None, epsilon: Value, mask: Value | None,
    *, axes: tuple[int, ...], stable: bool,
) -> Value:  # fmt: skip
    if mean is None:
        mean = mean_over(x, axes, keepdims=True, where=mask)
    if variance is None and stable:
        variance = statistics.var(x, axes, keepdims=True, where=mask)
    elif variance is None:
        squares = mean_over(lax.square(x), axes, keepdims=True, where=mask)
        difference = lax.sub(*_alike(squares, lax.square(mean)))
        variance = extreme.max(difference, number(0, difference.aval.dtype))
    root = lax.rsqrt(lax.add(*_alike(variance, epsilon)))
    return lax.mul(*_alike(lax.sub(*_alike(x, mean)), root))


def _alike(x: Value, y: Value) -> list[Value]:
    """Return two values of one dtype, with axes that line up."""
    return align("standardize", *promote("standardize", x, y))


def standardize(
    x: Any, axis: Any = -1, mean: Any = None, variance: Any = None, epsilon: Any = 1e-5,
    where: Any = None, *, algorithm: str = "fast",
) -> Array:  # fmt: skip
    """Subtract the mean over axes and divide by the standard deviation.

    Args:
        x: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        mean: array, if it is known already.
        variance: array, if it is known already.
        epsilon: number that is added to the variance.
        where: booleans that broadcast to the array: which elements the statistics are of.
        algorithm: "fast" for the variance as mean of squares less square of mean, "stable" for the
            mean of squared distances.

    Returns:
        A floating array of the same shape.

    Raises:
        ArgumentError: for another algorithm.
    """
    if algorithm not in ("fast", "stable"):
        raise errors.ArgumentError("standardize", "algorithm='fast' or 'stable'", repr(algorithm))
    x = inexact(x, "standardize")
    given = [None if v is None else inexact(v, "standardize") for v in (mean, variance, epsilon)]
    mask = None if where is None else to_bool(where, "standardize")
    axes = axes_or_all("standardize", axis, x.aval.ndim)
    return _standardize(x, *given, mask, axes=axes, stable=algorithm == "stable")


# ---- classes


@fuse
def _one_hot(x: Value, *, num_classes: int, dtype: Any, axis: int) -> Value:
    rank = x.aval.ndim + 1
    shape = tuple(num_classes if i == axis else 1 for i in range(rank))
    classes = iota(x.aval.dtype, shape, axis)
    return convert(lax.eq(expand_axis(x, axis), classes), dtype)


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Array:
    """Return a vector with a 1 at the place of each class, and 0 elsewhere.

    Args:
        x: array or nested lists of class numbers; those outside of 0 to num_classes - 1 become
            zeros.
        num_classes: int.
        dtype: the dtype; the default float if None.
        axis: the place of the new axis in the result.

    Returns:
        An array of one more axis.

    Raises:
        ArgumentError: if `num_classes` is not an integer of at least 0.

    Example:
        >>> functrax.nn.one_hot(jnp.array([0, 2]), 3)
        Array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    x = array(x, copy=False)
    found = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, "one_hot")
    axis = canonical_axis("one_hot", axis, x.aval.ndim + 1)
    count = integer("one_hot", "num_classes", num_classes)
    if count < 0:
        raise errors.ArgumentError("one_hot", "num_classes >= 0", str(count))
    return _one_hot(x, num_classes=count, dtype=found, axis=axis)
