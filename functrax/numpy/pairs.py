"""Functions of two numbers: logarithms of sums, hypotenuses, extremes that skip NaN, signs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy.arithmetic import choose, is_weak, is_zero, promote_strictly, remainder_of
from functrax.numpy.derivatives import with_derivatives
from functrax.numpy.logic import greater, less, sign_bit
from functrax.numpy.operands import align, number, promote, strong
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.transforms.fuse import fuse

# ---- logarithms of sums, hypotenuses and the like


@fuse
def _logaddexp(x1: Value, x2: Value, *, base: float) -> Value:
    """Log(exp x1 + exp x2); base 1 means e."""
    if dtypes.is_complex(x1.aval.dtype):
        return _logaddexp_complex(x1, x2, base)
    return _LOGADDEXP[base](x1, x2)


def _share(base: float, x1: Value, x2: Value) -> Value:
    """The derivative in x1: 1 / (1 + exp(x2 - x1))."""
    return lax.logistic(lax.mul(lax.sub(x1, x2), number(base, x1.aval.dtype)))


def _logaddexp_real(base: float, x1: Value, x2: Value) -> Value:
    """Compute max + log1p(exp(-|x1 - x2|)), also for infinities."""
    dtype = x1.aval.dtype
    apart = lax.sub(x1, x2)
    shrunk = lax.neg(lax.abs(apart))
    if base == 1.0:
        rest = lax.log1p(lax.exp(shrunk))
    else:
        rest = lax.div(lax.log1p(lax.exp2(shrunk)), number(base, dtype))
    return choose(lax.ne(apart, apart), lax.add(x1, x2), lax.add(extreme.max(x1, x2), rest))


def _with_shares(name: str, base: float) -> Callable[..., Value]:
    """Give the derivatives, because |x1 - x2| has no second one at 0."""
    shares = partial(_share, base), lambda x1, x2: _share(base, x2, x1)
    return with_derivatives(name, partial(_logaddexp_real, base), *shares)


_LOGADDEXP = {
    1.0: _with_shares("logaddexp", 1.0),
    math.log(2): _with_shares("logaddexp2", math.log(2)),
}


def _logaddexp_complex(x1: Value, x2: Value, base: float) -> Value:
    """The same around the number with the larger real part; the angle is brought to (-pi, pi]."""
    real = dtypes.to_real(x1.aval.dtype)
    scale = number(base, x1.aval.dtype)
    larger = lax.ge(lax.real(x1), lax.real(x2))
    high, low = choose(larger, x1, x2), choose(larger, x2, x1)
    rest = lax.log1p(lax.exp(lax.mul(lax.sub(low, high), scale)))
    total = lax.add(high, lax.div(rest, scale))
    turn = number(2 * math.pi / base, real)
    half = number(math.pi / base, real)
    angle = lax.sub(half, remainder_of(lax.sub(half, lax.imag(total)), turn))
    return lax.complex(lax.real(total), angle)


def logaddexp(x1: Any, x2: Any, /) -> Array:
    """Return ``log(exp(x1) + exp(x2))`` without overflow.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    return _log_of_sum("logaddexp", x1, x2, 1.0)


def logaddexp2(x1: Any, x2: Any, /) -> Array:
    """Return ``log2(2**x1 + 2**x2)`` without overflow.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    return _log_of_sum("logaddexp2", x1, x2, math.log(2.0))


def _log_of_sum(call: str, x1: Any, x2: Any, base: float) -> Array:
    values = promote_strictly(call, x1, x2, to_float=True)
    if base == 1.0 and not dtypes.is_complex(values[0].aval.dtype):
        values = promote(call, x1, x2, to_float=True)
    x1, x2 = align(call, *values)
    return _logaddexp(x1, x2, base=base)


@fuse
def _hypot(x1: Value, x2: Value) -> Value:
    x1, x2 = lax.abs(x1), lax.abs(x2)
    high, low = extreme.max(x1, x2), extreme.min(x1, x2)
    zero = is_zero(high)
    ratio = lax.div(low, choose(zero, number(1, high.aval.dtype), high))
    length = lax.mul(high, lax.sqrt(lax.add(number(1, high.aval.dtype), lax.square(ratio))))
    infinity = number(math.inf, high.aval.dtype)
    length = choose(zero, high, length)
    return choose(lax.bitwise_or(lax.eq(x1, infinity), lax.eq(x2, infinity)), infinity, length)


def hypot(x1: Any, x2: Any, /) -> Array:
    """Return the hypotenuse ``sqrt(x1**2 + x2**2)`` without overflow.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.

    Raises:
        DtypeError: for complex numbers.
    """
    return _hypot(*_real_pair("hypot", x1, x2))


def _real_pair(call: str, x1: Any, x2: Any, rule: Any = promote_strictly) -> list[Value]:
    """Promote two operands to a real floating dtype."""
    x1, x2 = align(call, *rule(call, x1, x2, to_float=True))
    if dtypes.is_complex(x1.aval.dtype):
        raise errors.DtypeError(call, "real numbers", f"{x1.aval!r} and {x2.aval!r}")
    return [x1, x2]


@fuse
def _ignoring_nan(x1: Value, x2: Value, *, largest: bool) -> Value:
    first = (greater if largest else less)(x1, x2)
    return choose(lax.bitwise_or(first, lax.ne(x2, x2)), x1, x2)


def fmax(x1: Any, x2: Any) -> Array:
    """Return the larger one elementwise, or the one that is not NaN.

    Args:
        x1: array or number.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.
    """
    return _ignoring_nan(*align("fmax", *promote("fmax", x1, x2)), largest=True)


def fmin(x1: Any, x2: Any) -> Array:
    """Return the smaller one elementwise, or the one that is not NaN.

    Args:
        x1: array or number.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.
    """
    return _ignoring_nan(*align("fmin", *promote("fmin", x1, x2)), largest=False)


@fuse
def _heaviside(x1: Value, x2: Value) -> Value:
    zero = number(0, x1.aval.dtype)
    step = choose(lax.lt(x1, zero), zero, number(1, x1.aval.dtype))
    result = choose(lax.eq(x1, zero), x2, step)
    return choose(lax.ne(x1, x1), x1, result)


def heaviside(x1: Any, x2: Any, /) -> Array:
    """Return 0 where x1 is negative, 1 where it is positive, and x2 where it is 0.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    known = is_weak(x1, "heaviside")
    x1, x2 = _real_pair("heaviside", x1, x2, promote)
    return _heaviside(x1 if known else strong(x1), x2)


def copysign(x1: Any, x2: Any, /) -> Array:
    """Return x1 with the sign of x2, also that of zeros.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x1, x2 = align("copysign", *promote("copysign", x1, x2, to_float=True))
    return _copysign(x1 if x2.aval.weak_type else strong(x1), x2)


@fuse
def _copysign(x1: Value, x2: Value) -> Value:
    size = lax.abs(x1)
    return choose(sign_bit(x2), lax.neg(size), size)
