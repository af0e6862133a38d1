"""Special functions."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy import reductions
from functrax.numpy.arithmetic import choose
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import align, cast, inexact, number, promote, to_array
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import stop_gradient
from functrax.primitives.reduce import reduce_max
from functrax.transforms.fuse import fuse

# ---- errors and odds


def _real(call: str, x: Any) -> Value:
    x = inexact(x, call)
    if dtypes.is_complex(x.aval.dtype):
        raise errors.DtypeError(call, "real numbers", repr(x.aval))
    return x


def erf(x: Any) -> Array:
    """Return the error function, ``2/sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x.

    Args:
        x: array of real numbers; integers become floats.

    Returns:
        A floating array of the same shape.

    Example:
        >>> functrax.scipy.special.erf(0.0)
        Array(0., dtype=float32, weak_type=True)
    """
    return lax.erf(_real("erf", x))


def erfc(x: Any) -> Array:
    """Return ``1 - erf(x)``, precisely for large x.

    Args:
        x: array of real numbers; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return lax.erfc(_real("erfc", x))


def erfinv(x: Any) -> Array:
    """Return the inverse of the error function.

    Args:
        x: array of real numbers from -1 to 1; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return lax.erf_inv(_real("erfinv", x))


def expit(x: Any) -> Array:
    """Return the logistic function ``1 / (1 + exp(-x))``.

    Args:
        x: array; integers become floats.

    Returns:
        A floating or complex array of the same shape.

    Example:
        >>> functrax.scipy.special.expit(0.0)
        Array(0.5, dtype=float32, weak_type=True)
    """
    return lax.logistic(inexact(x, "expit"))


@fuse
def _logit(x: Value) -> Value:
    return lax.log(lax.div(x, lax.sub(number(1, x.aval.dtype), x)))


def logit(x: Any) -> Array:
    """Return ``log(x / (1 - x))``, the inverse of `expit`.

    Args:
        x: array of numbers from 0 to 1; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _logit(inexact(x, "logit"))


# ---- entropies


@fuse
def _product(x: Value, y: Value, *, shifted: bool) -> Value:
    """Return x log y, or x log(1 + y), and 0 where x is 0 and the logarithm is not finite."""
    logarithm = lax.log1p if shifted else lax.log
    zero = lax.eq(x, number(0, x.aval.dtype))
    finite = lax.is_finite(lax.abs(logarithm(y)))
    harmless = number(0 if shifted else 1, y.aval.dtype)
    safe = choose(lax.bitwise_and(zero, lax.bitwise_not(finite)), harmless, y)
    return lax.mul(x, logarithm(safe))


def xlogy(x: Any, y: Any) -> Array:
    """Return ``x * log(y)``, and 0 where x is 0.

    Args:
        x: array; integers become floats.
        y: array; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x, y = align("xlogy", *promote("xlogy", x, y, to_float=True))
    return _product(x, y, shifted=False)


def xlog1py(x: Any, y: Any) -> Array:
    """Return ``x * log(1 + y)``, and 0 where x is 0.

    Args:
        x: array; integers become floats.
        y: array; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x, y = align("xlog1py", *promote("xlog1py", x, y, to_float=True))
    return _product(x, y, shifted=True)


@fuse
def _entr(x: Value) -> Value:
    negative = lax.lt(x, number(0, x.aval.dtype))
    return choose(negative, number(-math.inf, x.aval.dtype), lax.neg(_product(x, x, shifted=False)))


def entr(x: Any) -> Array:
    """Return ``-x * log(x)``: 0 where x is 0, -inf where it is negative.

    Args:
        x: array; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _entr(_real("entr", x))


# ---- the normal distribution


@fuse
def _ndtr(x: Value) -> Value:
    """Use erfc on the side where the result is small."""
    dtype = x.aval.dtype
    scaled = lax.mul(x, number(math.sqrt(0.5), dtype))
    size = lax.abs(scaled)
    near = lax.add(number(1, dtype), lax.erf(scaled))
    tail = lax.erfc(size)
    far = choose(lax.gt(scaled, number(0, dtype)), lax.sub(number(2, dtype), tail), tail)
    inside = lax.lt(size, number(math.sqrt(0.5), dtype))
    return lax.mul(number(0.5, dtype), choose(inside, near, far))


def ndtr(x: Any) -> Array:
    """Return the cumulative distribution function of the standard normal distribution.

    Args:
        x: array of real numbers; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _ndtr(_real("ndtr", x))


@fuse
def _ndtri(p: Value) -> Value:
    dtype = p.aval.dtype
    two_p = lax.sub(lax.mul(number(2, dtype), p), number(1, dtype))
    return lax.mul(number(math.sqrt(2), dtype), lax.erf_inv(two_p))


def ndtri(p: Any) -> Array:
    """Return the inverse of `ndtr`: the quantiles of the standard normal distribution.

    Args:
        p: array of numbers from 0 to 1; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _ndtri(_real("ndtri", p))


# ---- sums of exponentials


@fuse
def _logsumexp(
    a: Value,
    b: Value | None,
    mask: Value | None,
    *,
    axes: tuple[int, ...],
    keepdims: bool,
    signed: bool,
) -> Any:
    """Log |sum b exp a|, with the largest exponent taken out; also the sign of the sum."""
    dtype = a.aval.dtype
    lowest = number(-math.inf, dtypes.to_real(dtype))
    if mask is not None:
        kept, a = align("logsumexp", mask, a)
        a = choose(kept, a, number(-math.inf, dtype))
    if b is not None:
        a, b = align("logsumexp", a, b)
        a = choose(lax.ne(b, number(0, dtype)), a, number(-math.inf, dtype))
    parts = stop_gradient(lax.real(a) if dtypes.is_complex(dtype) else a)
    if parts.aval.size or not axes:
        top = reduce_max(parts, axes)
    else:
        top = to_array(reductions.max(parts, axes, initial=lowest))
    top = choose(lax.is_finite(top), top, number(0, top.aval.dtype))
    shifted = lax.exp(lax.sub(a, cast(with_axes(top, axes), dtype)))
    if b is not None:
        shifted = lax.mul(b, shifted)
    total = reductions.sum(shifted, axes, dtype=dtype)
    sign = None
    if signed or dtypes.is_complex(dtype):
        sign = lax.sign(total)
    if signed:
        total = lax.abs(total)
    result = lax.add(lax.log(total), cast(top, total.aval.dtype))
    if keepdims:
        result, sign = (None if x is None else with_axes(x, axes) for x in (result, sign))
    return result, sign if signed else None


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False,
    where: Any = None,
) -> Any:  # fmt: skip
    """Return ``log(sum(b * exp(a)))`` over axes without overflow.

    Args:
        a: array; integers become floats.
        axis: int or sequence of ints; all axes if None.
        b: array of factors, of any sign; 1 if None.
        keepdims: bool, whether the axes stay, of size 1.
        return_sign: bool, whether to return the logarithm of the absolute value, and the sign.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        A floating array without the axes, -inf for an empty sum, NaN for a negative one; or
        ``(array, sign)``.

    Example:
        >>> functrax.scipy.special.logsumexp(jnp.array([1000.0, -jnp.inf]))
        Array(1000., dtype=float32)
    """
    if b is None:
        values = [inexact(a, "logsumexp"), None]
    else:
        values = promote("logsumexp", a, b, to_float=True)
    mask = None if where is None else to_bool(where, "logsumexp")
    rank = max(x.aval.ndim for x in (*values, mask) if x is not None)
    result, sign = _logsumexp(
        *values, mask, axes=axes_or_all("logsumexp", axis, rank), keepdims=bool(keepdims),
        signed=bool(return_sign),
    )  # fmt: skip
    return (result, sign) if return_sign else result
