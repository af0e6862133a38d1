"""Special functions."""

import math
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy import reductions
from functrax.numpy.arithmetic import choose
from functrax.numpy.derivatives import with_derivatives
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    align,
    broadcast_shapes,
    cast,
    inexact,
    number,
    promote,
    to_array,
)
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import stop_gradient
from functrax.primitives.reduce import reduce_max
from functrax.transforms.fuse import fuse

__all__ = [
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "logit",
    "logsumexp",
    "ndtr",
    "ndtri",
    "xlog1py",
    "xlogy",
]


def __dir__() -> list[str]:
    return __all__


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


def _complement(x: Value) -> Value:
    return lax.sub(number(1, x.aval.dtype), x)


_logit = fuse(
    with_derivatives(
        "logit",
        lambda x: lax.log(lax.div(x, _complement(x))),
        lambda x: lax.integer_pow(lax.mul(x, _complement(x)), -1),
    )
)


def logit(x: Any) -> Array:
    """Return ``log(x / (1 - x))``, the inverse of `expit`.

    Args:
        x: array of numbers from 0 to 1; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _logit(inexact(x, "logit"))


# ---- entropies


def _product(logarithm: Any, x: Value, y: Value) -> Value:
    """Return x log y, or x log(1 + y), and 0 where x is 0 and y is a number."""
    zero = number(0, x.aval.dtype)
    counts = lax.bitwise_or(lax.ne(x, zero), lax.ne(y, y))
    return choose(counts, lax.mul(x, logarithm(y)), zero)


_xlogy = fuse(
    with_derivatives("xlogy", partial(_product, lax.log), lambda x, y: lax.log(y), lax.div)
)
_xlog1py = fuse(
    with_derivatives(
        "xlog1py",
        partial(_product, lax.log1p),
        lambda x, y: lax.log1p(y),
        lambda x, y: lax.div(x, lax.add(y, number(1, y.aval.dtype))),
    )
)


def xlogy(x: Any, y: Any) -> Array:
    """Return ``x * log(y)``, and 0 where x is 0.

    Args:
        x: array; integers become floats.
        y: array; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x, y = align("xlogy", *promote("xlogy", x, y, to_float=True))
    return _xlogy(x, y)


def xlog1py(x: Any, y: Any) -> Array:
    """Return ``x * log(1 + y)``, and 0 where x is 0.

    Args:
        x: array; integers become floats.
        y: array; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x, y = align("xlog1py", *promote("xlog1py", x, y, to_float=True))
    return _xlog1py(x, y)


def _entropy(x: Value) -> Value:
    negative = lax.lt(x, number(0, x.aval.dtype))
    return choose(negative, number(-math.inf, x.aval.dtype), lax.neg(_xlogy(x, x)))


_entr = fuse(
    with_derivatives(
        "entr", _entropy, lambda x: lax.neg(lax.add(lax.log(x), number(1, x.aval.dtype)))
    )
)


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


# Coefficients of P and Q, from the highest power: near the middle by the square of p - 1/2, in the
# tails by 1/z for z = sqrt(-2 log p) below 8 and above.
_MIDDLE = (
    (-59.963350101410789, 98.001075418599967, -56.676285746907029, 13.931260938727968,
     -1.2391658386738126),
    (1.0, 1.9544885833814176, 4.6762791289888153, 86.360242139089059, -225.46268785411937,
     200.26021238006066, -82.037225616833334, 15.905622512621169, -1.1833162112133),
)  # fmt: skip
_TAIL = (
    (4.0554489230596242, 31.525109459989387, 57.162819224642129, 44.080507389320083,
     14.684956192885802, 2.1866330685079025, -0.14025607917135449, -0.035042462682784818,
     -0.00085745678515468545),
    (1.0, 15.779988325646676, 45.390763512887922, 41.317203825467203, 15.042538569290751,
     2.5046494620830942, -0.14218292285478779, -0.03808064076915783, -0.00093325948089545743),
)  # fmt: skip
_FAR_TAIL = (
    (3.2377489177694603, 6.9152288906898421, 3.9388102529247444, 1.3330346081580755,
     0.20148538954917908, 0.012371663481782002, 0.0003015815535082354, 2.6580697468673757e-06,
     6.2397453918498332e-09),
    (1.0, 6.0242703936474202, 3.6798356385616086, 1.3770209948908133, 0.21623699359449664,
     0.013420400608854319, 0.00032801446468212774, 2.8924786474538068e-06,
     6.7901940800998126e-09),
)  # fmt: skip


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Value) -> Value:
    """Return P(x) / Q(x)."""

    def polynomial(row: tuple[float, ...]) -> Value:
        total: Value = number(row[0], x.aval.dtype)
        for coefficient in row[1:]:
            total = lax.add(lax.mul(total, x), number(coefficient, x.aval.dtype))
        return total

    return lax.div(*map(polynomial, coefficients))


def _quantile(p: Value) -> Value:
    """Invert the distribution function, the smaller of p and 1 - p deciding in the tails."""
    dtype = p.aval.dtype
    zero, half, one = (number(x, dtype) for x in (0, 0.5, 1))
    tail = choose(lax.gt(p, half), lax.sub(one, p), p)
    inside = lax.gt(tail, number(math.exp(-2), dtype))
    middle = lax.sub(p, half)
    square = lax.square(middle)
    near = lax.add(middle, lax.mul(lax.mul(middle, square), _ratio(_MIDDLE, square)))
    near = lax.mul(near, number(math.sqrt(2 * math.pi), dtype))
    ends = lax.eq(tail, zero)
    z = lax.sqrt(lax.mul(number(-2, dtype), lax.log(choose(ends, half, tail))))
    inverse = lax.div(one, z)
    far = lax.ge(z, number(8, dtype))
    correction = lax.mul(choose(far, _ratio(_FAR_TAIL, inverse), _ratio(_TAIL, inverse)), inverse)
    size = lax.sub(lax.sub(z, lax.mul(lax.log(z), inverse)), correction)
    size = choose(ends, number(math.inf, dtype), size)
    outside = choose(lax.gt(p, half), size, lax.neg(size))
    return choose(inside, near, outside)


def _ndtri_slope(p: Value) -> Value:
    x = _ndtri(p)
    power = lax.exp(lax.mul(number(0.5, x.aval.dtype), lax.square(x)))
    return lax.mul(number(math.sqrt(2 * math.pi), x.aval.dtype), power)


_quantile_of = with_derivatives("ndtri", _quantile, _ndtri_slope)


@fuse
def _ndtri(p: Value) -> Value:
    wide = cast(p, dtypes.float32) if p.aval.dtype.itemsize < 4 else p
    return cast(_quantile_of(wide), p.aval.dtype)


def ndtri(p: Any) -> Array:
    """Return the inverse of `ndtr`: the quantiles of the standard normal distribution.

    Args:
        p: array of numbers from 0 to 1; integers become floats.

    Returns:
        A floating array of the same shape.

    Example:
        >>> functrax.scipy.special.ndtri(0.5)
        Array(0., dtype=float32, weak_type=True)

    Source: the Cephes library, ndtri.c.
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
    given = [x.aval for x in (*values, mask) if x is not None]
    rank = len(broadcast_shapes("logsumexp", [aval.shape for aval in given]))
    result, sign = _logsumexp(
        *values, mask, axes=axes_or_all("logsumexp", axis, rank), keepdims=bool(keepdims),
        signed=bool(return_sign),
    )  # fmt: skip
    return (result, sign) if return_sign else result
