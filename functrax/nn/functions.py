"""Activations, and other functions that layers are made of."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, bind
from functrax.numpy.arithmetic import choose
from functrax.numpy.functions import tanh as tanh
from functrax.numpy.joining import split
from functrax.numpy.operands import (
    align,
    array_operand,
    cast,
    inexact,
    number,
    operand,
    promote,
    strong,
    to_array,
)
from functrax.numpy.pairs import logaddexp
from functrax.numpy.selection import clip
from functrax.primitives import elementwise as lax
from functrax.primitives.rules import broadcast_to, scalar
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
        x: array of real numbers; booleans become integers.

    Returns:
        An array of the same shape and dtype.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> functrax.nn.relu(jnp.array([-1.0, 2.0]))
        Array([0., 2.], dtype=float32)
    """
    return _relu(_real("relu", operand(x, "relu")))


def _real(call: str, x: Value) -> Value:
    """Refuse complex numbers, which have no order; booleans become weak integers."""
    dtype = x.aval.dtype
    if dtypes.is_complex(dtype):
        fix = "Apply it to `.real` and `.imag`."
        raise errors.DtypeError(call, "real numbers", repr(x.aval), fix=fix)
    return cast(x, dtypes.int_dtype(), True) if dtypes.is_bool(dtype) else x


def _beside(call: str, x: Any, constant: float) -> Value:
    """Return real numbers in the dtype that they and a Python float promote to."""
    return _real(call, promote(call, x, constant)[0])


def relu6(x: Any) -> Array:
    """Return ``min(max(x, 0), 6)``; the derivative at 0 and 6 is 0.

    Args:
        x: array of real numbers; integers become floats.

    Returns:
        A floating array of the same shape.

    Raises:
        DtypeError: for complex numbers.
    """
    return _relu6(_beside("relu6", x, 6.0))


@fuse
def _relu6(x: Value) -> Value:
    six = number(6.0, x.aval.dtype)
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
    x, slope = promote("leaky_relu", x, negative_slope)
    return _leaky_relu(*align("leaky_relu", _real("leaky_relu", x), slope))


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
    x, alpha = promote("elu", x, alpha, to_float=True)
    return _elu(*align("elu", _real("elu", x), alpha))


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
    return _selu(_real("selu", inexact(x, "selu")))


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
    x, alpha = promote("celu", x, alpha, to_float=True)
    return _celu(*align("celu", _real("celu", x), alpha))


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
        >>> functrax.nn.gelu(jnp.array([0.0, 1.0])).round(3)
        Array([0.   , 0.841], dtype=float32)
    """
    return _gelu(strong(inexact(x, "gelu")), approximate=bool(approximate))


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
    return _hard_sigmoid(_beside("hard_sigmoid", x, 3.0))


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
    return _hard_silu(_beside("hard_silu", x, 3.0))


hard_swish = hard_silu


@fuse
def _hard_tanh(x: Value) -> Value:
    one = number(1, x.aval.dtype)
    if not dtypes.is_unsigned(x.aval.dtype):
        minus = number(-1, x.aval.dtype)
        x = choose(lax.lt(x, minus), minus, x)
    return choose(lax.gt(x, one), one, x)


def hard_tanh(x: Any) -> Array:
    """Limit x to -1 and 1.

    Args:
        x: array.

    Returns:
        An array of the same shape and dtype.
    """
    return _hard_tanh(_real("hard_tanh", operand(x, "hard_tanh")))


@fuse
def _soft_sign(x: Value) -> Value:
    size = lax.abs(x)
    return lax.div(x, cast(lax.add(size, number(1, size.aval.dtype)), x.aval.dtype))


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
    return _sparse_plus(_beside("sparse_plus", x, 1.0))


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
    return _sparse_sigmoid(_beside("sparse_sigmoid", x, 1.0))


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
    return _log1mexp(_real("log1mexp", inexact(x, "log1mexp")))


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
