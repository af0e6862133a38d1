"""Binary exponents, `frexp` and `ldexp`, and common divisors and multiples, `gcd` and `lcm`."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy.arithmetic import choose, promote_strictly
from functrax.numpy.operands import (
    align,
    cast,
    inexact,
    number,
    numeric,
    to_array,
)
from functrax.numpy.reductions import any as any_of
from functrax.primitives import elementwise as lax
from functrax.primitives.clamp import clamp
from functrax.primitives.convert import bitcast_convert_type, stop_gradient
from functrax.primitives.rules import broadcast_shape, broadcast_to, scalar
from functrax.transforms.control.while_loop import while_loop
from functrax.transforms.fuse import fuse

# ---- exponents


def frexp(x: Any, /) -> tuple[Array, Array]:
    """Split numbers into a mantissa, at least 1/2 and less than 1 in size, and a power of two.

    Args:
        x: real array or number; integers become floats.

    Returns:
        ``(mantissa, exponent)`` of x's shape with ``x == mantissa * 2**exponent``: floats, and
        int32. Zeros, infinities and NaN are their own mantissa, with exponent 0.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.frexp(jnp.array([1.0, -6.0]))
        (Array([ 0.5 , -0.75], dtype=float32), Array([1, 3], dtype=int32))
    """
    x = inexact(x, "frexp")
    _check_real("frexp", x)
    mantissa, exponent = _frexp(x)
    return to_array(mantissa), to_array(exponent)


def ldexp(x1: Any, x2: Any, /) -> Array:
    """Return x1 * 2**x2, the inverse of `frexp`; nothing between overflows.

    Args:
        x1: real array or number; integers become floats.
        x2: array of integers, or an integer; shapes broadcast.

    Returns:
        A floating array of the common shape.

    Raises:
        DtypeError: if `x1` is complex, or `x2` not of integers.

    Example:
        >>> jnp.ldexp(jnp.array([0.5, -0.75]), jnp.array([1, 3]))
        Array([ 1., -6.], dtype=float32)
    """
    x, power = inexact(x1, "ldexp"), numeric(x2, "ldexp")
    _check_real("ldexp", x)
    if dtypes.is_inexact(power.aval.dtype):
        raise errors.DtypeError("ldexp", "integers as x2", repr(power.aval))
    return to_array(_ldexp(*align("ldexp", x, power)))


def _check_real(call: str, x: Value) -> None:
    if dtypes.is_complex(x.aval.dtype):
        raise errors.DtypeError(call, "real numbers", repr(x.aval))


def _compute_type(x: Value) -> Any:
    """Return the dtype to compute in: float32 holds the exponents of smaller floats."""
    return dtypes.float64 if x.aval.dtype == dtypes.float64 else dtypes.float32


def _power_of_two(exponent: Value, dtype: Any) -> Value:
    """Return 2**exponent, exactly, for exponents of normal numbers."""
    info = dtypes.finfo(dtype)
    bits = dtypes.int64 if dtype == dtypes.float64 else dtypes.int32
    biased = lax.add(cast(exponent, bits), number(1 - int(info.minexp), bits))
    shifted = lax.shift_left(biased, number(int(info.nmant), bits))
    return bitcast_convert_type(shifted, dtype)


def _halves(exponent: Value) -> tuple[Value, Value]:
    """Split an exponent in two, each of which is that of a normal number."""
    half = lax.shift_right_arithmetic(exponent, number(1, dtypes.int32))
    return half, lax.sub(exponent, half)


def _scaled(x: Value, exponent: Value) -> Value:
    for half in _halves(exponent):
        x = lax.mul(x, _power_of_two(half, x.aval.dtype))
    return x


@fuse
def _frexp(x: Value) -> tuple[Value, Value]:
    """Scale by a power of two, which is the derivative as well.

    Numbers below the normal ones are read as integers: many devices take them for zeros.
    """
    aval = x.aval
    y = cast(x, _compute_type(x))
    dtype, info = y.aval.dtype, dtypes.finfo(y.aval.dtype)
    bits = dtypes.int64 if dtype == dtypes.float64 else dtypes.int32
    digits, low = int(info.nmant), int(info.minexp)
    stored = bitcast_convert_type(stop_gradient(y), bits)
    rest = lax.bitwise_and(stored, number(2**digits - 1, bits))
    size = lax.bitwise_and(stored, number(2 ** (info.bits - 1) - 1, bits))
    field = lax.shift_right_logical(size, number(digits, bits))
    is_small = lax.lt(size, number(2**digits, bits))
    whole = cast(rest, dtype)
    lifted = choose(lax.lt(stored, number(0, bits)), lax.neg(whole), whole)
    normal_field = lax.shift_right_logical(bitcast_convert_type(whole, bits), number(digits, bits))
    special = lax.bitwise_or(
        lax.eq(size, number(0, bits)),
        lax.eq(field, number(2 ** (info.bits - 1 - digits) - 1, bits)),
    )
    biased = choose(is_small, normal_field, field)
    power = cast(lax.add(biased, number(low, bits)), dtypes.int32)
    power = choose(special, scalar(0, dtypes.int32), power)
    shift = choose(lax.bitwise_and(is_small, lax.bitwise_not(special)),
                   scalar(low - digits, dtypes.int32), scalar(0, dtypes.int32))  # fmt: skip
    mantissa = _scaled(choose(lax.eq(shift, scalar(0, dtypes.int32)), y, lifted), lax.neg(power))
    return cast(mantissa, aval.dtype, aval.weak_type), lax.add(power, shift)


@fuse
def _ldexp(x: Value, power: Value) -> Value:
    """Add exponents; both halves of the sum are powers that the dtype holds."""
    aval = x.aval
    mantissa, exponent = _frexp(cast(x, _compute_type(x)))
    dtype = mantissa.aval.dtype
    most = 2 * int(dtypes.finfo(dtype).maxexp) + 2 * int(dtypes.finfo(dtype).nmant)
    total = lax.add(exponent, _limited(power, most))
    edge = 2 * int(dtypes.finfo(dtype).maxexp) - 4
    total = clamp(scalar(-edge, dtypes.int32), total, scalar(edge, dtypes.int32))
    return cast(_scaled(mantissa, total), aval.dtype, aval.weak_type)


def _limited(power: Value, most: int) -> Value:
    """Return an exponent as int32; beyond `most` they all give infinity, or zero."""
    dtype = power.aval.dtype
    if dtypes.is_bool(dtype) or dtype.itemsize < 4:
        return cast(power, dtypes.int32)
    low = 0 if dtypes.is_unsigned(dtype) else -most
    return cast(clamp(scalar(low, dtype), power, scalar(most, dtype)), dtypes.int32)


# ---- divisors


def gcd(x1: Any, x2: Any) -> Array:
    """Return the greatest common divisors of integers; that of 0 and x is abs(x).

    Args:
        x1: array of integers, or an integer.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: for other numbers than integers.

    Example:
        >>> jnp.gcd(jnp.array([12, 18, 24]), jnp.array([5, 10, 15]))
        Array([1, 2, 3], dtype=int32)

    Source: Euclid, Elements, book VII, proposition 2.
    """
    return to_array(_gcd(*_integers("gcd", x1, x2)))


def lcm(x1: Any, x2: Any) -> Array:
    """Return the least common multiples of integers; 0 if one of them is 0.

    Args:
        x1: array of integers, or an integer.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: for other numbers than integers.

    Example:
        >>> jnp.lcm(jnp.array([12, 18, 24]), jnp.array([5, 10, 15]))
        Array([ 60,  90, 120], dtype=int32)
    """
    return to_array(_lcm(*_integers("lcm", x1, x2)))


def _integers(call: str, x1: Any, x2: Any) -> list[Value]:
    values = promote_strictly(call, x1, x2)
    for x in values:
        if not dtypes.is_integer(x.aval.dtype):
            raise errors.DtypeError(call, "integers", repr(x.aval))
    values = align(call, *values)
    shape = broadcast_shape(call, [x.aval for x in values])
    return [broadcast_to(x, shape) for x in values]


def _size(x: Value) -> Value:
    return x if dtypes.is_unsigned(x.aval.dtype) else lax.abs(x)


@fuse
def _gcd(x1: Value, x2: Value) -> Value:
    """Divide with remainder until nothing remains."""
    zero = number(0, x1.aval.dtype)

    def running(pair: tuple[Value, Value]) -> Value:
        return any_of(lax.ne(pair[1], zero))

    def step(pair: tuple[Value, Value]) -> tuple[Value, Value]:
        x, y = pair
        done = lax.eq(y, zero)
        rest = lax.rem(x, choose(done, number(1, y.aval.dtype), y))
        return choose(done, x, y), choose(done, y, rest)

    return while_loop(running, step, (_size(x1), _size(x2)))[0]


@fuse
def _lcm(x1: Value, x2: Value) -> Value:
    zero, one = (number(n, x1.aval.dtype) for n in (0, 1))
    divisor = _gcd(x1, x2)
    nothing = lax.eq(divisor, zero)
    parts = lax.div(_size(x2), choose(nothing, one, divisor))
    return lax.mul(_size(x1), parts)
