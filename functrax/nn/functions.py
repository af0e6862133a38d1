"""Activations, and other functions that layers are made of."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, bind
from functrax.numpy import reductions, statistics
from functrax.numpy.arithmetic import choose, logaddexp
from functrax.numpy.functions import tanh as tanh
from functrax.numpy.joining import split
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    align,
    array_operand,
    broadcast_shapes,
    cast,
    inexact,
    number,
    operand,
    promote,
    to_array,
)
from functrax.numpy.ranges import iota
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.numpy.selection import clip
from functrax.numpy.statistics import mean as mean_over
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert, stop_gradient
from functrax.primitives.reduce import reduce_max
from functrax.primitives.rules import broadcast_to, expand_axis, scalar
from functrax.primitives.select import select_n_p
from functrax.primitives.shape import canonical_axis
from functrax.scipy.special import logsumexp as logsumexp
from functrax.transforms.fuse import fuse

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def identity(x: Any) -> Array:
    """Return the array itself.

    Args:
        x: array.

    Returns:
        The same array.
    """
    return array_operand(x, "identity")


def _where_positive(x: Value, yes: Value, no: Value) -> Value:
    return choose(lax.gt(x, number(0, x.aval.dtype)), yes, no)


# ---- rectifiers


@fuse
def _relu(x: Value) -> Value:
    # The comparison is false for NaN, which stays, and true for 0, where the derivative is then 0.
    zero = number(0, x.aval.dtype)
    rest = broadcast_to(scalar(0, x.aval.dtype) if not x.aval.weak_type else zero, x.aval.shape)
    return bind(select_n_p, lax.le(x, zero), x, rest)[0]


def relu(x: Any) -> Array:
    """Return ``max(x, 0)``; the derivative at 0 is 0.

    Args:
        x: array.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> functrax.nn.relu(jnp.array([-1.0, 2.0]))
        Array([0., 2.], dtype=float32)
    """
    return _relu(operand(x, "relu"))


def relu6(x: Any) -> Array:
    """Return ``min(max(x, 0), 6)``; the derivative at 0 and 6 is 0.

    Args:
        x: array.

    Returns:
        An array of the same shape and dtype.
    """
    return _relu6(operand(x, "relu6"))


@fuse
def _relu6(x: Value) -> Value:
    six = number(6, x.aval.dtype)
    return choose(lax.ge(x, six), six, _relu(x))


@fuse
def _leaky_relu(x: Value, slope: Value) -> Value:
    return choose(lax.ge(x, number(0, x.aval.dtype)), x, lax.mul(x, slope))


def leaky_relu(x: Any, negative_slope: Any = 1e-2) -> Array:
    """Return x where it is positive, and ``negative_slope * x`` elsewhere.

    Args:
        x: array.
        negative_slope: number or array.

    Returns:
        A floating array of the same shape.
    """
    return _leaky_relu(*align("leaky_relu", *promote("leaky_relu", x, negative_slope)))


@fuse
def _elu(x: Value, alpha: Value) -> Value:
    safe = _where_positive(x, number(0, x.aval.dtype), x)
    return _where_positive(x, x, lax.mul(alpha, lax.expm1(safe)))


def elu(x: Any, alpha: Any = 1.0) -> Array:
    """Return x where it is positive, and ``alpha * (exp(x) - 1)`` elsewhere.

    Args:
        x: array.
        alpha: number or array.

    Returns:
        A floating array of the same shape.
    """
    return _elu(*align("elu", *promote("elu", x, alpha, to_float=True)))


@fuse
def _selu(x: Value) -> Value:
    dtype = x.aval.dtype
    return lax.mul(number(_SELU_SCALE, dtype), _elu(x, number(_SELU_ALPHA, dtype)))


def selu(x: Any) -> Array:
    """Return ``1.0507 * elu(x, 1.6733)``, which keeps means at 0 and variances at 1.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.

    Source: Klambauer et al., Self-Normalizing Neural Networks (2017).
    """
    return _selu(inexact(x, "selu"))


@fuse
def _celu(x: Value, alpha: Value) -> Value:
    safe = lax.div(_where_positive(x, number(0, x.aval.dtype), x), alpha)
    return _where_positive(x, x, lax.mul(alpha, lax.expm1(safe)))


def celu(x: Any, alpha: Any = 1.0) -> Array:
    """Return x where it is positive, and ``alpha * (exp(x / alpha) - 1)`` elsewhere.

    Args:
        x: array.
        alpha: number or array.

    Returns:
        A floating array of the same shape.
    """
    return _celu(*align("celu", *promote("celu", x, alpha, to_float=True)))


@fuse
def _gelu(x: Value, *, approximate: bool) -> Value:
    dtype = x.aval.dtype
    if approximate:
        cubic = lax.mul(number(0.044715, dtype), lax.integer_pow(x, 3))
        inner = lax.mul(number(math.sqrt(2 / math.pi), dtype), lax.add(x, cubic))
        share = lax.mul(number(0.5, dtype), lax.add(number(1, dtype), lax.tanh(inner)))
        return lax.mul(x, share)
    tail = lax.erfc(lax.mul(lax.neg(x), number(math.sqrt(0.5), dtype)))
    return lax.mul(lax.mul(number(0.5, dtype), x), tail)


def gelu(x: Any, approximate: bool = True) -> Array:
    """Return x times the probability that a standard normal number is below it.

    Args:
        x: array.
        approximate: bool, whether by tanh instead of the error function.

    Returns:
        A floating array of the same shape.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2.

    Example:
        >>> functrax.nn.gelu(jnp.array([0.0, 1.0]))
        Array([0.       , 0.8411919], dtype=float32)
    """
    return _gelu(inexact(x, "gelu"), approximate=bool(approximate))


# ---- sigmoids


def sigmoid(x: Any) -> Array:
    """Return ``1 / (1 + exp(-x))``.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.

    Example:
        >>> functrax.nn.sigmoid(jnp.array([0.0]))
        Array([0.5], dtype=float32)
    """
    return bind(lax.logistic_p, inexact(x, "sigmoid"))[0]


@fuse
def _silu(x: Value) -> Value:
    return lax.mul(x, lax.logistic(x))


def silu(x: Any) -> Array:
    """Return ``x * sigmoid(x)``, also called swish.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _silu(inexact(x, "silu"))


swish = silu


@fuse
def _log_sigmoid(x: Value) -> Value:
    return lax.neg(_softplus(lax.neg(x)))


def log_sigmoid(x: Any) -> Array:
    """Return ``log(sigmoid(x))``, precisely where it is small.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _log_sigmoid(inexact(x, "log_sigmoid"))


def hard_sigmoid(x: Any) -> Array:
    """Return ``relu6(x + 3) / 6``.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _hard_sigmoid(inexact(x, "hard_sigmoid"))


@fuse
def _hard_sigmoid(x: Value) -> Value:
    return lax.div(_relu6(lax.add(x, number(3, x.aval.dtype))), number(6, x.aval.dtype))


@fuse
def _hard_silu(x: Value) -> Value:
    return lax.mul(x, _hard_sigmoid(x))


def hard_silu(x: Any) -> Array:
    """Return ``x * hard_sigmoid(x)``, also called hard swish.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _hard_silu(inexact(x, "hard_silu"))


hard_swish = hard_silu


@fuse
def _hard_tanh(x: Value) -> Value:
    one = number(1, x.aval.dtype)
    minus = number(-1, x.aval.dtype)
    return choose(lax.gt(x, one), one, choose(lax.lt(x, minus), minus, x))


def hard_tanh(x: Any) -> Array:
    """Limit x to -1 and 1.

    Args:
        x: array.

    Returns:
        An array of the same shape and dtype.
    """
    return _hard_tanh(operand(x, "hard_tanh"))


@fuse
def _soft_sign(x: Value) -> Value:
    return lax.div(x, lax.add(lax.abs(x), number(1, x.aval.dtype)))


def soft_sign(x: Any) -> Array:
    """Return ``x / (|x| + 1)``.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _soft_sign(inexact(x, "soft_sign"))


def _softplus(x: Value) -> Value:
    return logaddexp(x, number(0.0, x.aval.dtype))


def softplus(x: Any) -> Array:
    """Return ``log(1 + exp(x))`` without overflow.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _softplus(inexact(x, "softplus"))


@fuse
def _squareplus(x: Value, b: Value) -> Value:
    return lax.mul(lax.add(x, lax.sqrt(lax.add(lax.square(x), b))), number(0.5, x.aval.dtype))


def squareplus(x: Any, b: Any = 4) -> Array:
    """Return ``(x + sqrt(x**2 + b)) / 2``.

    Args:
        x: array.
        b: number or array: how smooth it is.

    Returns:
        A floating array of the same shape.
    """
    return _squareplus(*align("squareplus", *promote("squareplus", x, b, to_float=True)))


@fuse
def _mish(x: Value) -> Value:
    return lax.mul(x, lax.tanh(_softplus(x)))


def mish(x: Any) -> Array:
    """Return ``x * tanh(softplus(x))``.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.

    Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function (2019).
    """
    return _mish(inexact(x, "mish"))


@fuse
def _sparse_plus(x: Value) -> Value:
    dtype = x.aval.dtype
    one = number(1, dtype)
    middle = lax.mul(number(0.25, dtype), lax.square(lax.add(x, one)))
    low = lax.le(x, number(-1, dtype))
    return choose(low, number(0, dtype), choose(lax.ge(x, one), x, middle))


def sparse_plus(x: Any) -> Array:
    """Return 0 up to -1, x from 1 on, and ``(x + 1)**2 / 4`` between.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _sparse_plus(inexact(x, "sparse_plus"))


@fuse
def _sparse_sigmoid(x: Value) -> Value:
    half, one = number(0.5, x.aval.dtype), number(1, x.aval.dtype)
    return lax.mul(half, clip(lax.add(x, one), 0.0, 2.0))


def sparse_sigmoid(x: Any) -> Array:
    """Return 0 up to -1, 1 from 1 on, and ``(x + 1) / 2`` between.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _sparse_sigmoid(inexact(x, "sparse_sigmoid"))


@fuse
def _log1mexp(x: Value) -> Value:
    """Use expm1 where exp(-x) is close to 1, log1p where it is small."""
    near = lax.lt(x, number(math.log(2.0), x.aval.dtype))
    one = number(1, x.aval.dtype)
    return choose(
        near,
        lax.log(lax.neg(lax.expm1(lax.neg(choose(near, x, one))))),
        lax.log1p(lax.neg(lax.exp(lax.neg(choose(near, one, x))))),
    )


def log1mexp(x: Any) -> Array:
    """Return ``log(1 - exp(-x))`` for positive x.

    Args:
        x: array.

    Returns:
        A floating array of the same shape.
    """
    return _log1mexp(inexact(x, "log1mexp"))


@fuse
def _glu(x: Value, *, axis: int) -> Value:
    value, gate = split(to_array(x), 2, axis)
    return lax.mul(value, lax.logistic(gate))


def glu(x: Any, axis: int = -1) -> Array:
    """Return one half of the array, gated by the other: ``a * sigmoid(b)``.

    Args:
        x: array with an even size along the axis.
        axis: int.

    Returns:
        An array of half the size along the axis.

    Raises:
        ShapeError: if the size is odd.
    """
    x = inexact(x, "glu")
    axis = canonical_axis("glu", axis, x.aval.ndim)
    if x.aval.shape[axis] % 2:
        raise errors.ShapeError("glu", f"an even size of axis {axis}", repr(x.aval))
    return _glu(x, axis=axis)


# ---- normalization


def _top(x: Value, mask: Value | None, axes: tuple[int, ...]) -> Value:
    """Return the largest element, kept as axes of size 1, as a constant of derivatives."""
    x = stop_gradient(x)
    if mask is not None:
        x = choose(mask, x, number(-math.inf, x.aval.dtype))
    if not all(x.aval.shape[axis] for axis in axes):
        return with_axes(reductions.max(x, axes, initial=-math.inf), axes)
    return with_axes(reduce_max(x, axes), axes)


def _shifted(x: Value, mask: Value | None, axes: tuple[int, ...]) -> tuple[Value, Value | None]:
    if mask is not None:
        x, mask = align("softmax", x, mask)
        shape = broadcast_shapes("softmax", [x.aval.shape, mask.aval.shape])
        x, mask = broadcast_to(x, shape), broadcast_to(mask, shape)
    return lax.sub(x, _top(x, mask, axes)), mask


@fuse
def _softmax(x: Value, mask: Value | None, *, axes: tuple[int, ...]) -> Value:
    shifted, mask = _shifted(x, mask, axes)
    powers = lax.exp(shifted)
    if mask is not None:
        powers = choose(mask, powers, number(0, powers.aval.dtype))
    result = lax.div(powers, reductions.sum(powers, axes, keepdims=True))
    return result if mask is None else choose(mask, result, number(0, result.aval.dtype))


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
    return _softmax(x, mask, axes=axes_or_all("softmax", axis, x.aval.ndim))


@fuse
def _log_softmax(x: Value, mask: Value | None, *, axes: tuple[int, ...]) -> Value:
    shifted, mask = _shifted(x, mask, axes)
    powers = lax.exp(shifted)
    if mask is not None:
        powers = choose(mask, powers, number(0, powers.aval.dtype))
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
    return _log_softmax(x, mask, axes=axes_or_all("log_softmax", axis, x.aval.ndim))


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
        variance = lax.max(lax.sub(squares, lax.square(mean)), number(0, squares.aval.dtype))
    x, mean = align("standardize", *promote("standardize", x, mean))
    root = lax.rsqrt(lax.add(*align("standardize", *promote("standardize", variance, epsilon))))
    return lax.mul(*align("standardize", *promote("standardize", lax.sub(x, mean), root)))


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
    given = [None if v is None else operand(v, "standardize") for v in (mean, variance, epsilon)]
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
        x: array of class numbers; those outside of 0 to num_classes - 1 become zeros.
        num_classes: int.
        dtype: the dtype; the default float if None.
        axis: the place of the new axis in the result.

    Returns:
        An array of one more axis.

    Example:
        >>> functrax.nn.one_hot(jnp.array([0, 2]), 3)
        Array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    x = array_operand(x, "one_hot")
    found = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, "one_hot")
    axis = canonical_axis("one_hot", axis, x.aval.ndim + 1)
    return _one_hot(x, num_classes=num_classes.__index__(), dtype=found, axis=axis)
