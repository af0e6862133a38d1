"""Elementwise arithmetic and functions: one table row per primitive.

A row gives the dtype kinds it takes, the derivative in each operand as ``(tangent, result,
*operands) -> tangent``, and for linear ones how a cotangent is pulled back. ``t`` is a tangent or
cotangent, ``r`` the result.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE
from functrax.core.trace import Value, as_value, bind
from functrax.primitives.compare import bitwise_and as bitwise_and
from functrax.primitives.compare import bitwise_not as bitwise_not
from functrax.primitives.compare import bitwise_or as bitwise_or
from functrax.primitives.compare import bitwise_xor as bitwise_xor
from functrax.primitives.compare import clz as clz
from functrax.primitives.compare import eq as eq
from functrax.primitives.compare import ge as ge
from functrax.primitives.compare import gt as gt
from functrax.primitives.compare import le as le
from functrax.primitives.compare import lt as lt
from functrax.primitives.compare import ne as ne
from functrax.primitives.compare import population_count as population_count
from functrax.primitives.compare import shift_left as shift_left
from functrax.primitives.compare import shift_right_arithmetic as shift_right_arithmetic
from functrax.primitives.compare import shift_right_logical as shift_right_logical
from functrax.primitives.elementwise_lowering import (
    lower_circular,
    lower_conj,
    lower_division,
    lower_exp2,
    lower_sign,
)
from functrax.primitives.exponents import check_exponent as check_exponent
from functrax.primitives.exponents import power_operands
from functrax.primitives.rounding import ceil as ceil
from functrax.primitives.rounding import ceil_p as ceil_p
from functrax.primitives.rounding import floor as floor
from functrax.primitives.rounding import floor_p as floor_p
from functrax.primitives.rounding import is_finite as is_finite
from functrax.primitives.rounding import is_finite_p as is_finite_p
from functrax.primitives.rounding import round as round
from functrax.primitives.rounding import round_p as round_p
from functrax.primitives.rules import (
    binary,
    broadcast_to,
    declare_elementwise,
    full,
    known,
    scalar,
    unary,
)
from functrax.primitives.select import select_n

FLOAT = "f"
INEXACT = "fc"
NUMBER = "iufc"
REAL = "iuf"
ORDERED = "biuf"
INTEGER = "iu"
BITS = "biu"
ANY = "biufc"

_two_over_sqrt_pi = 2 / math.sqrt(math.pi)


def _like(x: Value, value: Any) -> Value:
    """A constant beside x: of its dtype, and weak if it is."""
    return scalar(value, x.aval.dtype, x.aval.weak_type)


def _to_complex(dtype: Any) -> np.dtype[Any]:
    return np.result_type(dtype, np.complex64)


def _to_real(dtype: Any) -> Any:
    return dtypes.to_real(dtype) if dtypes.is_complex(dtype) else dtype


# Linear operations --------------------------------------------------------------------------------

neg_p = declare_elementwise(
    "neg", "negate", NUMBER, (lambda t, r, x: neg(t),), pulls=(lambda t, x: neg(t),)
)
add_p = declare_elementwise(
    "add",
    "add",
    NUMBER,
    (lambda t, r, x, y: t, lambda t, r, x, y: t),
    pulls=(lambda t, x, y: t, lambda t, x, y: t),
)
sub_p = declare_elementwise(
    "sub",
    "subtract",
    NUMBER,
    (lambda t, r, x, y: t, lambda t, r, x, y: neg(t)),
    pulls=(lambda t, x, y: t, lambda t, x, y: neg(t)),
)
mul_p = declare_elementwise(
    "mul",
    "multiply",
    NUMBER,
    (lambda t, r, x, y: mul(t, y), lambda t, r, x, y: mul(x, t)),
    pulls=(lambda t, x, y: mul(t, known(y)), lambda t, x, y: mul(known(x), t)),
)


def _div_along_y(t: Value, r: Value, x: Value, y: Value) -> Value:
    """d x/y / dy = -r/y. Of a small y, as in softmax, reverse mode keeps r, which there is."""
    return mul(div(neg(t), y), r) if y.aval.size < r.aval.size else mul(neg(t), div(r, y))


div_p = declare_elementwise(
    "div",
    partial(lower_division, "divide"),
    NUMBER,
    (lambda t, r, x, y: div(t, y), _div_along_y),
    pulls=(lambda t, x, y: div(t, known(y)), lambda t, x, y: known(y)),
)
real_p = declare_elementwise(
    "real",
    "real",
    "c",
    (lambda t, r, x: real(t),),
    result=dtypes.to_real,
    pulls=(lambda t, x: complex(t, _like(t, 0)),),
)
imag_p = declare_elementwise(
    "imag",
    "imag",
    "c",
    (lambda t, r, x: imag(t),),
    result=dtypes.to_real,
    pulls=(lambda t, x: complex(broadcast_to(_like(t, 0), t.aval.shape), neg(t)),),
)
complex_p = declare_elementwise(
    "complex",
    "complex",
    "f",
    (lambda t, r, x, y: complex(t, _like(t, 0)), lambda t, r, x, y: complex(_like(t, 0), t)),
    result=_to_complex,
    pulls=(lambda t, x, y: real(t), lambda t, x, y: neg(imag(t))),
)
conj_p = declare_elementwise(
    "conj", lower_conj, "c", (lambda t, r, x: conj(t),), pulls=(lambda t, x: conj(t),)
)

# Functions of one number --------------------------------------------------------------------------

exp_p = declare_elementwise(
    "exp", "exponential", INEXACT, (lambda t, r, x: mul(t, r),), pulls=NOT_LINEAR
)
expm1_p = declare_elementwise(
    "expm1",
    "exponential_minus_one",
    INEXACT,
    (lambda t, r, x: mul(t, add(r, _like(r, 1))),),
    pulls=NOT_LINEAR,
)
log_p = declare_elementwise("log", "log", INEXACT, (lambda t, r, x: div(t, x),), pulls=NOT_LINEAR)
log1p_p = declare_elementwise(
    "log1p",
    "log_plus_one",
    INEXACT,
    (lambda t, r, x: div(t, add(x, _like(x, 1))),),
    pulls=NOT_LINEAR,
)
exp2_p = declare_elementwise(
    "exp2",
    lower_exp2,
    INEXACT,
    (lambda t, r, x: mul(t, mul(r, _like(r, math.log(2.0)))),),
    pulls=NOT_LINEAR,
)
sin_p = declare_elementwise(
    "sin",
    partial(lower_circular, "sine"),
    INEXACT,
    (lambda t, r, x: mul(t, cos(x)),),
    pulls=NOT_LINEAR,
)
cos_p = declare_elementwise(
    "cos",
    partial(lower_circular, "cosine"),
    INEXACT,
    (lambda t, r, x: neg(mul(t, sin(x))),),
    pulls=NOT_LINEAR,
)
tan_p = declare_elementwise(
    "tan", "tan", INEXACT, (lambda t, r, x: mul(t, add(_like(r, 1), square(r))),), pulls=NOT_LINEAR
)
asin_p = declare_elementwise(
    "asin",
    "chlo.asin",
    INEXACT,
    (lambda t, r, x: mul(t, rsqrt(sub(_like(x, 1), square(x)))),),
    pulls=NOT_LINEAR,
)
acos_p = declare_elementwise(
    "acos",
    "chlo.acos",
    INEXACT,
    (lambda t, r, x: mul(t, neg(rsqrt(sub(_like(x, 1), square(x))))),),
    pulls=NOT_LINEAR,
)
atan_p = declare_elementwise(
    "atan",
    "chlo.atan",
    INEXACT,
    (lambda t, r, x: div(t, add(_like(x, 1), square(x))),),
    pulls=NOT_LINEAR,
)
sinh_p = declare_elementwise(
    "sinh", "chlo.sinh", INEXACT, (lambda t, r, x: mul(t, cosh(x)),), pulls=NOT_LINEAR
)
cosh_p = declare_elementwise(
    "cosh", "chlo.cosh", INEXACT, (lambda t, r, x: mul(t, sinh(x)),), pulls=NOT_LINEAR
)
tanh_p = declare_elementwise(
    "tanh",
    "tanh",
    INEXACT,
    (lambda t, r, x: mul(t, sub(_like(r, 1), square(r))),),
    pulls=NOT_LINEAR,
)
asinh_p = declare_elementwise(
    "asinh",
    "chlo.asinh",
    INEXACT,
    (lambda t, r, x: mul(t, rsqrt(add(square(x), _like(x, 1)))),),
    pulls=NOT_LINEAR,
)
acosh_p = declare_elementwise(
    "acosh",
    "chlo.acosh",
    INEXACT,
    # Two roots instead of sqrt(x**2 - 1): right on the complex plane's branch cut too.
    (lambda t, r, x: mul(t, mul(rsqrt(sub(x, _like(x, 1))), rsqrt(add(x, _like(x, 1))))),),
    pulls=NOT_LINEAR,
)
atanh_p = declare_elementwise(
    "atanh",
    "chlo.atanh",
    INEXACT,
    (lambda t, r, x: div(t, sub(_like(x, 1), square(x))),),
    pulls=NOT_LINEAR,
)
logistic_p = declare_elementwise(
    "logistic",
    "logistic",
    INEXACT,
    (lambda t, r, x: mul(t, mul(r, sub(_like(r, 1), r))),),
    pulls=NOT_LINEAR,
)
sqrt_p = declare_elementwise(
    "sqrt", "sqrt", INEXACT, (lambda t, r, x: mul(t, div(_like(r, 0.5), r)),), pulls=NOT_LINEAR
)
rsqrt_p = declare_elementwise(
    "rsqrt",
    "rsqrt",
    INEXACT,
    (lambda t, r, x: mul(t, mul(_like(r, -0.5), div(r, x))),),
    pulls=NOT_LINEAR,
)
cbrt_p = declare_elementwise(
    "cbrt",
    "cbrt",
    FLOAT,
    (lambda t, r, x: mul(t, mul(_like(r, 1 / 3), integer_pow(r, -2))),),
    pulls=NOT_LINEAR,
)


def _square_lower(b: Any, x: Any) -> Any:
    return b.op("stablehlo.multiply", (x, x), b.out_types[0])


square_p = declare_elementwise(
    "square",
    _square_lower,
    NUMBER,
    # Not 2x, which reverse mode would keep beside x.
    (lambda t, r, x: mul(mul(t, _like(t, 2)), x),),
    pulls=NOT_LINEAR,
)
erf_p = declare_elementwise(
    "erf",
    "chlo.erf",
    FLOAT,
    (lambda t, r, x: mul(_like(x, _two_over_sqrt_pi), mul(t, exp(neg(square(x))))),),
    pulls=NOT_LINEAR,
)
erfc_p = declare_elementwise(
    "erfc",
    "chlo.erfc",
    FLOAT,
    (lambda t, r, x: mul(_like(x, -_two_over_sqrt_pi), mul(t, exp(neg(square(x))))),),
    pulls=NOT_LINEAR,
)
erf_inv_p = declare_elementwise(
    "erf_inv",
    "chlo.erf_inv",
    FLOAT,
    (lambda t, r, x: mul(_like(x, math.sqrt(math.pi) / 2), mul(t, exp(square(r)))),),
    pulls=NOT_LINEAR,
)


def _abs_tangent(t: Value, r: Value, x: Value) -> Value:
    """d |x| = dx or -dx, dx at 0 as in JAX; for complex x, Re(conj(sign x) dx)."""
    if dtypes.is_complex(x.aval.dtype):
        return real(mul(conj(sign(x)), t))
    return select_n(ge(x, _like(x, 0)), neg(t), t)


def _abs_lower(b: Any, x: Any) -> Any:
    return x if dtypes.is_unsigned(b.in_types[0].dtype) else b.elementwise("abs", (x,))


abs_p = declare_elementwise(
    "abs", _abs_lower, NUMBER, (_abs_tangent,), result=_to_real, pulls=NOT_LINEAR
)


def _sign_tangent(t: Value, r: Value, x: Value) -> Value | None:
    """The derivative of x/|x| for complex x, (dx - r Re(conj(r) dx)) / |x|; zero for real x."""
    if not dtypes.is_complex(x.aval.dtype):
        return None
    along = real(mul(conj(r), t))
    return div(sub(t, mul(r, complex(along, _like(along, 0)))), complex(abs(x), _like(along, 0)))


sign_p = declare_elementwise("sign", lower_sign, NUMBER, (_sign_tangent,), pulls=NOT_LINEAR)

# Powers -------------------------------------------------------------------------------------------


def _integer_pow_tangent(t: Value, r: Value, x: Value, *, y: int) -> Value:
    """d x**y = y x**(y-1) dx."""
    if y == 0:
        return full(x.aval.shape, 0, x.aval.dtype)
    return mul(t, mul(_like(x, y), integer_pow(x, y - 1)))


def _integer_pow_lower(b: Any, x: Any, *, y: int) -> Any:
    """Square and multiply: about 2 log2(y) multiplications."""
    kind = b.out_types[0]
    if y == 0:
        return b.full(1, kind)
    exponent, result = abs_int(y), None
    while exponent:
        if exponent & 1:
            result = x if result is None else b.op("stablehlo.multiply", (result, x), kind)
        exponent >>= 1
        if exponent:
            x = b.op("stablehlo.multiply", (x, x), kind)
    return result if y > 0 else b.op("stablehlo.divide", (b.full(1, kind), result), kind)


def abs_int(value: int) -> int:
    """The builtin abs, which this module's abs hides."""
    return -value if value < 0 else value


integer_pow_p = declare_elementwise(
    "integer_pow", _integer_pow_lower, NUMBER, (_integer_pow_tangent,), pulls=NOT_LINEAR
)


def _pow_base_tangent(t: Value, r: Value, x: Value, y: Value) -> Value:
    """d x**y / dx = y x**(y-1), and 0 where y is 0 (also at x = 0)."""
    one = _like(y, 1)
    safe = select_n(eq(y, _like(y, 0)), y, full(y.aval.shape, 1, y.aval.dtype))
    return mul(t, mul(y, pow(x, sub(safe, one))))


def _pow_exponent_tangent(t: Value, r: Value, x: Value, y: Value) -> Value:
    """d x**y / dy = x**y log x, and 0 where x is 0."""
    safe = select_n(eq(x, _like(x, 0)), x, full(x.aval.shape, 1, x.aval.dtype))
    return mul(t, mul(log(safe), r))


pow_p = declare_elementwise(
    "pow", "power", NUMBER, (_pow_base_tangent, _pow_exponent_tangent), pulls=NOT_LINEAR
)

# Functions of two numbers -------------------------------------------------------------------------


def _atan2_part(t: Value, other: Value, x: Value, y: Value) -> Value:
    return mul(t, div(other, add(square(x), square(y))))


atan2_p = declare_elementwise(
    "atan2",
    "atan2",
    INEXACT,
    (lambda t, r, x, y: _atan2_part(t, y, x, y), lambda t, r, x, y: _atan2_part(t, neg(x), x, y)),
    pulls=NOT_LINEAR,
)
rem_p = declare_elementwise(
    "rem",
    partial(lower_division, "remainder"),
    REAL,
    (lambda t, r, x, y: t, lambda t, r, x, y: mul(neg(t), _truncate(div(x, y)))),
    pulls=NOT_LINEAR,
)
nextafter_p = declare_elementwise(
    "nextafter", "chlo.next_after", FLOAT, ZERO_DERIVATIVE, pulls=NOT_LINEAR, operands=2
)


def _truncate(x: Value) -> Value:
    return mul(sign(x), floor(abs(x)))


# The functions ------------------------------------------------------------------------------------

neg = unary(neg_p, "Negate.")
real = unary(real_p, "Return the real part of complex numbers.")
imag = unary(imag_p, "Return the imaginary part of complex numbers.")
conj_complex = unary(conj_p, "Return the conjugate of complex numbers.")
exp = unary(exp_p, "Compute e to the power x.")
exp2 = unary(exp2_p, "Compute 2 to the power x.")
expm1 = unary(expm1_p, "Compute exp(x) - 1, exactly near 0.")
log = unary(log_p, "Compute the natural logarithm.")
log1p = unary(log1p_p, "Compute log(1 + x), exactly near 0.")
sin = unary(sin_p, "Compute the sine of an angle in radians.")
cos = unary(cos_p, "Compute the cosine of an angle in radians.")
tan = unary(tan_p, "Compute the tangent of an angle in radians.")
asin = unary(asin_p, "Compute the inverse sine, in radians.")
acos = unary(acos_p, "Compute the inverse cosine, in radians.")
atan = unary(atan_p, "Compute the inverse tangent, in radians.")
sinh = unary(sinh_p, "Compute the hyperbolic sine.")
cosh = unary(cosh_p, "Compute the hyperbolic cosine.")
tanh = unary(tanh_p, "Compute the hyperbolic tangent.")
asinh = unary(asinh_p, "Compute the inverse hyperbolic sine.")
acosh = unary(acosh_p, "Compute the inverse hyperbolic cosine.")
atanh = unary(atanh_p, "Compute the inverse hyperbolic tangent.")
logistic = unary(logistic_p, "Compute 1 / (1 + exp(-x)).")
sqrt = unary(sqrt_p, "Compute the square root.")
rsqrt = unary(rsqrt_p, "Compute 1 / sqrt(x).")
cbrt = unary(cbrt_p, "Compute the real cube root.")
square = unary(square_p, "Compute x * x.")
erf = unary(erf_p, "Compute the error function.")
erfc = unary(erfc_p, "Compute 1 - erf(x), exactly for large x.")
erf_inv = unary(erf_inv_p, "Compute the inverse of the error function.")
abs = unary(abs_p, "Compute the absolute value, or the modulus of complex numbers.")
sign = unary(sign_p, "Compute the sign: -1, 0 or 1, or x / |x| for complex numbers.")

add = binary(add_p, "Add.")
sub = binary(sub_p, "Subtract y from x.")
mul = binary(mul_p, "Multiply.")
div = binary(div_p, "Divide x by y; integers round towards zero.")
rem = binary(rem_p, "Compute the remainder of x / y, with the sign of x.")
atan2 = binary(atan2_p, "Compute the angle of the point (y, x), in radians.")
nextafter = binary(nextafter_p, "Return the next representable value after x towards y.")
complex = binary(complex_p, "Make complex numbers of real and imaginary parts.")


def conj(x: Value) -> Value:
    """Return the complex conjugate; a real value is its own."""
    x = as_value(x, "conj")
    return conj_complex(x) if dtypes.is_complex(x.aval.dtype) else x


def integer_pow(x: Any, y: int) -> Value:
    """Raise to a fixed integer power.

    Raises:
        ArgumentError: for integers and a negative power.
    """
    value = as_value(x, "integer_pow")
    power = integer("integer_pow", "y", y)
    check_exponent("integer_pow", value.aval.dtype, power)
    return value if power == 1 else bind(integer_pow_p, value, y=power)[0]


def pow(x: Any, y: Any) -> Value:
    """Raise to a power.

    Args:
        x: array of floating or complex dtype and any shape, or a Python number
        y: the same, of one shape (or a scalar) and one dtype with x; or integers

    Returns:
        An array of the common shape.

    Raises:
        ShapeError, DtypeError: if the operands do not fit; of integers, see `integer_pow`.
    """
    return bind(pow_p, *power_operands(x, y))[0]
