"""Arithmetic of two arrays, and powers."""

import math
import operator
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, bind
from functrax.numpy.operands import align, cast, inexact, mixes, number, operand, promote, to_array
from functrax.numpy.ufunc import INEXACT, NUMBERS, Operation, unary
from functrax.primitives import compare
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import bitcast_convert_type
from functrax.primitives.rules import broadcast_to
from functrax.primitives.select import select_n
from functrax.transforms.fuse import fuse

# ---- the four operations


def _bool_as(primitive: Any) -> Any:
    """Return what stands for a primitive on booleans."""
    return lambda x, y: bind(primitive, x, y)[0]


ADD = Operation(
    "add",
    lax.add_p,
    "Add elementwise; booleans are combined by *or*.",
    direct=NUMBERS,
    otherwise=_bool_as(compare.or_p),
    example=("add(jnp.arange(3), 10)", "Array([10, 11, 12], dtype=int32)"),
)
SUBTRACT = Operation(
    "subtract",
    lax.sub_p,
    "Subtract elementwise.",
    direct=NUMBERS,
    example=("subtract(jnp.arange(3), 1)", "Array([-1,  0,  1], dtype=int32)"),
)
MULTIPLY = Operation(
    "multiply",
    lax.mul_p,
    "Multiply elementwise; booleans are combined by *and*.",
    direct=NUMBERS,
    otherwise=_bool_as(compare.and_p),
    example=("multiply(jnp.arange(3), 2)", "Array([0, 2, 4], dtype=int32)"),
)
TRUE_DIVIDE = Operation(
    "true_divide",
    lax.div_p,
    "Divide elementwise; integers become floats.",
    direct=INEXACT,
    to_float=True,
    example=(
        "true_divide(jnp.arange(3), 2)",
        "Array([0. , 0.5, 1. ], dtype=float32, weak_type=True)",
    ),
)
MAXIMUM = Operation(
    "maximum",
    lax.max_p,
    "Return the larger one elementwise; NaN if either is NaN.",
    example=("maximum(jnp.arange(3), 1)", "Array([1, 1, 2], dtype=int32)"),
)
MINIMUM = Operation(
    "minimum",
    lax.min_p,
    "Return the smaller one elementwise; NaN if either is NaN.",
    example=("minimum(jnp.arange(3), 1)", "Array([0, 1, 1], dtype=int32)"),
)
ARCTAN2 = Operation(
    "arctan2",
    lax.atan2_p,
    "Return the angle of the point (x2, x1), in radians from -pi to pi.",
    direct=INEXACT,
    to_float=True,
    example=("arctan2(1.0, 1.0)", "Array(0.7853982, dtype=float32, weak_type=True)"),
)
NEXTAFTER = Operation(
    "nextafter",
    lax.nextafter_p,
    "Return the next number after x1 in the direction of x2.",
    direct=INEXACT,
    to_float=True,
)

add = ADD.function
subtract = SUBTRACT.function
multiply = MULTIPLY.function
true_divide = divide = TRUE_DIVIDE.function
maximum = MAXIMUM.function
minimum = MINIMUM.function
arctan2 = atan2 = ARCTAN2.function
nextafter = NEXTAFTER.function
negative = unary(
    "negative",
    lax.neg_p,
    "Negate elementwise.",
    direct=NUMBERS,
    example=("negative(jnp.arange(3))", "Array([ 0, -1, -2], dtype=int32)"),
)


def _is_zero(x: Value) -> Value:
    return lax.eq(x, number(0, x.aval.dtype))


def _floor_divide(x1: Value, x2: Value) -> Value:
    if dtypes.is_inexact(x1.aval.dtype):
        return _floor_divide_floats(x1, x2)
    if dtypes.is_unsigned(x1.aval.dtype):
        return lax.div(x1, x2)
    # Division truncates: one less where it rounded up, which is where the signs differ and it is
    # not exact.
    quotient = lax.div(x1, x2)
    one = number(1, x1.aval.dtype)
    rest = lax.ne(lax.rem(x1, x2), number(0, x1.aval.dtype))
    differ = lax.bitwise_and(lax.ne(lax.sign(x1), lax.sign(x2)), rest)
    return choose(differ, lax.sub(quotient, one), quotient)


def _floor_divide_floats(x1: Value, x2: Value) -> Value:
    """Divide what is left without the remainder, so that the result is exact."""
    rest = lax.rem(x1, x2)
    quotient = lax.div(choose(_is_zero(x2), x1, lax.sub(x1, rest)), x2)
    differ = lax.bitwise_and(
        lax.ne(rest, number(0, rest.aval.dtype)), lax.ne(lax.sign(x2), lax.sign(rest))
    )
    lower = lax.sub(quotient, number(1, quotient.aval.dtype))
    return lax.round(choose(differ, lower, quotient))


def choose(condition: Value, yes: Value, no: Value) -> Value:
    """Select elementwise, stretching what is too small."""
    shape = np.broadcast_shapes(condition.aval.shape, yes.aval.shape, no.aval.shape)
    condition = condition if not condition.aval.shape else broadcast_to(condition, shape)
    return select_n(condition, broadcast_to(no, shape), broadcast_to(yes, shape))


@fuse
def _floor_divide_fused(x1: Value, x2: Value) -> Value:
    return _floor_divide(x1, x2)


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """Divide elementwise and round down.

    Args:
        x1: array or number, of any dtype but complex.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.floor_divide(jnp.array([-3, 3]), 2)
        Array([-2,  1], dtype=int32)
    """
    x1, x2 = _whole("floor_divide", x1, x2)
    return _floor_divide_fused(x1, x2)


def _whole(call: str, x1: Any, x2: Any) -> list[Value]:
    """Promote the operands of a division with remainder; booleans become integers."""
    x1, x2 = promote(call, x1, x2)
    if dtypes.is_complex(x1.aval.dtype):
        raise errors.DtypeError(call, "real numbers", f"{x1.aval!r} and {x2.aval!r}")
    if dtypes.is_bool(x1.aval.dtype):
        x1, x2 = (cast(x, dtypes.int_dtype()) for x in (x1, x2))
    return align(call, x1, x2)


def _rest(x1: Value, x2: Value) -> Value:
    """Return what division leaves; nothing is left of integers divided by 0, as in NumPy."""
    known = getattr(x2, "value", 0)
    if dtypes.is_integer(x2.aval.dtype) and known == 0:
        x2 = choose(_is_zero(x2), number(1, x2.aval.dtype), x2)
    return bind(lax.rem_p, x1, x2)[0]


_fused_rest = fuse(_rest)


@fuse
def _remainder(x1: Value, x2: Value) -> Value:
    rest = _rest(x1, x2)
    if dtypes.is_unsigned(x1.aval.dtype):
        return rest
    zero = number(0, rest.aval.dtype)
    differ = lax.ne(lax.lt(rest, zero), lax.lt(x2, zero))
    return choose(lax.bitwise_and(differ, lax.ne(rest, zero)), lax.add(rest, x2), rest)


def remainder(x1: Any, x2: Any, /) -> Array:
    """Return the remainder of a division elementwise, with the sign of the divisor.

    Args:
        x1: array or number, of any dtype but complex.
        x2: the divisor; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.remainder(jnp.array([-3, 3]), 2)
        Array([1, 1], dtype=int32)
    """
    x1, x2 = _whole("remainder", x1, x2)
    return _remainder(x1, x2)


mod = remainder


def fmod(x1: Any, x2: Any, /) -> Array:
    """Return the remainder of a division elementwise, with the sign of the dividend.

    Args:
        x1: array or number, of any dtype but complex.
        x2: the divisor; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: for complex numbers.
    """
    return _fused_rest(*_whole("fmod", x1, x2))


def divmod(x1: Any, x2: Any, /) -> tuple[Array, Array]:
    """Return quotient and remainder: ``(x1 // x2, x1 % x2)``.

    Args:
        x1: array or number, of any dtype but complex.
        x2: the divisor; dtypes are promoted and shapes broadcast.

    Returns:
        Two arrays of the common shape and dtype.
    """
    return floor_divide(x1, x2), remainder(x1, x2)


def modf(x: Any, /, out: None = None) -> tuple[Array, Array]:
    """Split numbers into fraction and whole part, both with the sign of the number.

    Args:
        x: array or number.
        out: must be None.

    Returns:
        ``(fraction, whole)``, floating arrays of x's shape.
    """
    x = inexact(x, "modf")
    whole = choose(
        lax.ge(x, number(0, x.aval.dtype)), bind(lax.floor_p, x)[0], bind(lax.ceil_p, x)[0]
    )
    return lax.sub(x, whole), whole


# ---- powers


def power(x1: Any, x2: Any, /) -> Array:
    """Raise to a power elementwise.

    A Python integer as the exponent means repeated multiplication, exact in every dtype.

    Args:
        x1: array or number, the base.
        x2: array or number, the exponent; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape.

    Raises:
        ArgumentError: for integers raised to a negative Python integer.

    Example:
        >>> jnp.power(jnp.arange(4), 2)
        Array([0, 1, 4, 9], dtype=int32)
    """
    if isinstance(x2, int | np.integer) and not isinstance(x2, bool):
        return _integer_power(x1, operator.index(x2))
    x1, x2 = align("power", *promote("power", x1, x2))
    if dtypes.is_bool(x1.aval.dtype):
        x1, x2 = (cast(x, dtypes.int_dtype()) for x in (x1, x2))
    return bind(lax.pow_p, x1, x2)[0]


def _integer_power(x: Any, exponent: int) -> Array:
    x = operand(x, "power")
    dtype = x.aval.dtype
    if dtypes.is_bool(dtype):
        dtype = dtypes.int_dtype()
        x = cast(x, dtype)
    if exponent < 0 and dtypes.is_integer(dtype):
        raise errors.ArgumentError(
            "power",
            "a non-negative exponent for integers",
            str(exponent),
            fix="Convert the base to a float with `.astype(float)`.",
        )
    if exponent == 2:
        return bind(lax.square_p, x)[0]
    if exponent == 1:
        return to_array(x)
    return bind(lax.integer_pow_p, x, y=exponent)[0]


#: JAX's name, from the array API standard.
pow = power


def power_operator(self: Any, other: Any) -> Any:
    """Return ``self ** other``."""
    if type(other) is int:
        return _integer_power(self, other)
    if mixes(other):
        return power(self, other)
    return NotImplemented


def float_power(x1: Any, x2: Any, /) -> Array:
    """Raise to a power elementwise, in floating point.

    Args:
        x1: array or number, the base; integers become floats.
        x2: array or number, the exponent; dtypes are promoted and shapes broadcast.

    Returns:
        A floating or complex array of the common shape.
    """
    x1, x2 = align("float_power", *promote("float_power", x1, x2, to_float=True))
    return bind(lax.pow_p, x1, x2)[0]


# ---- logarithms of sums, hypotenuses and the like


@fuse
def _logaddexp(x1: Value, x2: Value, *, base: float) -> Value:
    """Log(exp x1 + exp x2) = max + log1p(exp(-|x1 - x2|)), also for infinities; base 1 means e."""
    dtype = x1.aval.dtype
    if dtypes.is_complex(dtype):
        return _logaddexp_complex(x1, x2, base)
    apart = lax.sub(x1, x2)
    shrunk = lax.neg(lax.abs(apart))
    if base == 1.0:
        rest = lax.log1p(lax.exp(shrunk))
    else:
        rest = lax.div(lax.log1p(lax.exp2(shrunk)), number(base, dtype))
    return choose(lax.ne(apart, apart), lax.add(x1, x2), lax.add(lax.max(x1, x2), rest))


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
    angle = lax.sub(half, _remainder(lax.sub(half, lax.imag(total)), turn))
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
    x1, x2 = align(call, *promote(call, x1, x2, to_float=True))
    return _logaddexp(x1, x2, base=base)


@fuse
def _hypot(x1: Value, x2: Value) -> Value:
    x1, x2 = lax.abs(x1), lax.abs(x2)
    high, low = lax.max(x1, x2), lax.min(x1, x2)
    zero = _is_zero(high)
    ratio = lax.div(low, choose(zero, number(1, high.aval.dtype), high))
    length = lax.mul(high, lax.sqrt(lax.add(number(1, high.aval.dtype), lax.square(ratio))))
    infinite = lax.eq(high, number(float("inf"), high.aval.dtype))
    return choose(lax.bitwise_or(zero, infinite), high, length)


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
    x1, x2 = align("hypot", *promote("hypot", x1, x2, to_float=True))
    if dtypes.is_complex(x1.aval.dtype):
        raise errors.DtypeError("hypot", "real numbers", f"{x1.aval!r} and {x2.aval!r}")
    return _hypot(x1, x2)


@fuse
def _ignoring_nan(x1: Value, x2: Value, *, largest: bool) -> Value:
    pick = (lax.max if largest else lax.min)(x1, x2)
    pick = choose(lax.ne(x1, x1), x2, pick)
    return choose(lax.ne(x2, x2), x1, pick)


def fmax(x1: Any, x2: Any, /) -> Array:
    """Return the larger one elementwise, or the one that is not NaN.

    Args:
        x1: array or number.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        An array of the common shape and dtype.
    """
    return _ignoring_nan(*align("fmax", *promote("fmax", x1, x2)), largest=True)


def fmin(x1: Any, x2: Any, /) -> Array:
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
    return _heaviside(*align("heaviside", *promote("heaviside", x1, x2, to_float=True)))


def copysign(x1: Any, x2: Any, /) -> Array:
    """Return x1 with the sign of x2, also that of zeros.

    Args:
        x1: array or number; integers become floats.
        x2: the same; dtypes are promoted and shapes broadcast.

    Returns:
        A floating array of the common shape.
    """
    x1, x2 = align("copysign", *promote("copysign", x1, x2, to_float=True))
    return _copysign(x1, x2)


@fuse
def _copysign(x1: Value, x2: Value) -> Value:
    size = lax.abs(x1)
    return choose(sign_bit(x2), lax.neg(size), size)


def sign_bit(x: Value) -> Value:
    """Tell where numbers are negative, -0.0 and negative NaN included."""
    dtype = x.aval.dtype
    if dtypes.is_floating(dtype):
        x = bitcast_convert_type(x, f"int{8 * dtype.itemsize}")
    return lax.lt(x, number(0, x.aval.dtype))
