"""Arithmetic of two arrays, and powers."""

import operator
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, bind, describe
from functrax.core.types import Literal
from functrax.numpy.operands import (
    align,
    broadcast_shapes,
    cast,
    inexact,
    is_python_scalar,
    mixes,
    number,
    operand,
    promote,
    strong,
    to_array,
)
from functrax.numpy.ufunc import INEXACT, NUMBERS, Operation, unary
from functrax.primitives import compare, extreme
from functrax.primitives import elementwise as lax
from functrax.primitives.rules import broadcast_to
from functrax.primitives.select import select_n
from functrax.runtime.array import DeviceArray
from functrax.transforms.fuse import fuse

# ---- the four operations


def promote_strictly(call: str, x1: Any, x2: Any, to_float: bool = False) -> list[Value]:
    """Promote two operands so that the result is weak only if both are: what a Python float makes
    of an array of integers is not.
    """
    values = promote(call, x1, x2, to_float=to_float)
    if all(x.aval.weak_type for x in values) and not (is_weak(x1, call) and is_weak(x2, call)):
        values[0] = strong(values[0])
    return values


def is_weak(x: Any, call: str) -> bool:
    """Tell whether an operand, as a user gave it, yields in promotion."""
    return is_python_scalar(x) or operand(x, call).aval.weak_type


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
        "Array([0. , 0.5, 1. ], dtype=float32)",
    ),
)
MAXIMUM = Operation(
    "maximum",
    extreme.max_p,
    "Return the larger one elementwise; NaN if either is NaN.",
    example=("maximum(jnp.arange(3), 1)", "Array([1, 1, 2], dtype=int32)"),
)
MINIMUM = Operation(
    "minimum",
    extreme.min_p,
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


def is_zero(x: Value) -> Value:
    """Tell which elements are zero."""
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
    quotient = lax.div(choose(is_zero(x2), x1, lax.sub(x1, rest)), x2)
    differ = lax.bitwise_and(
        lax.ne(rest, number(0, rest.aval.dtype)), lax.ne(lax.sign(x2), lax.sign(rest))
    )
    lower = lax.sub(quotient, number(1, quotient.aval.dtype))
    return lax.round(choose(differ, lower, quotient))


def choose(condition: Value, yes: Value, no: Value) -> Value:
    """Select elementwise, stretching what is too small."""
    shapes = condition.aval.shape, yes.aval.shape, no.aval.shape
    shape = broadcast_shapes("where", shapes)
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
        x2 = choose(is_zero(x2), number(1, x2.aval.dtype), x2)
    return bind(lax.rem_p, x1, x2)[0]


_fused_rest = fuse(_rest)


@fuse
def remainder_of(x1: Value, x2: Value) -> Value:
    """Compute the remainder with the sign of the divisor, of promoted operands."""
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
    return remainder_of(x1, x2)


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
        ArgumentError: for integers raised to a negative integer, where that is one known number.

    Example:
        >>> jnp.power(jnp.arange(4), 2)
        Array([0, 1, 4, 9], dtype=int32)
    """
    if isinstance(x2, int | np.integer) and not isinstance(x2, bool):
        return _integer_power(x1, operator.index(x2))
    kind = dtypes.float32 if is_python_scalar(x2) else operand(x2, "power").aval.dtype
    # As in JAX, an array of integers as the exponent makes the result strong.
    whole = dtypes.is_integer(kind)
    x1, x2 = align("power", *(promote_strictly if whole else promote)("power", x1, x2))
    if not (dtypes.is_inexact(kind) or dtypes.is_inexact(x1.aval.dtype)):
        x1 = strong(x1)
    if dtypes.is_bool(x1.aval.dtype):
        x1, x2 = (cast(x, dtypes.int_dtype()) for x in (x1, x2))
    if not x2.aval.shape and dtypes.is_integer(x2.aval.dtype):
        known = x2.value if type(x2) is Literal else x2.item() if type(x2) is DeviceArray else 0
        lax.check_exponent("power", x2.aval.dtype, known)
    return bind(lax.pow_p, x1, x2)[0]


def _integer_power(x: Any, exponent: int) -> Array:
    x = operand(x, "power")
    dtype = x.aval.dtype
    if dtypes.is_bool(dtype):
        dtype = dtypes.int_dtype()
        x = cast(x, dtype)
    lax.check_exponent("power", dtype, exponent)
    if exponent == 2:
        return bind(lax.square_p, x)[0]
    if exponent == 1:
        return to_array(x)
    return bind(lax.integer_pow_p, x, y=exponent)[0]


#: JAX's name, from the array API standard.
pow = power


def power_operator(self: Any, other: Any, modulo: Any = None) -> Any:
    """Return ``self ** other``; refuse the third argument that Python's `pow` takes."""
    if modulo is not None:
        expected = "two arguments: arrays have no power modulo a number"
        got = f"{describe(modulo)} as the third"
        raise errors.ArgumentError("pow", expected, got, fix="Write `x**y % z`.")
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
