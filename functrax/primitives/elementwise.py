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
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE
from functrax.core.trace import Value
from functrax.primitives.rules import (
    binary,
    broadcast_to,
    declare_elementwise,
    full,
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
    return scalar(value, x.aval.dtype)


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
    pulls=(lambda t, x, y: mul(t, y), lambda t, x, y: mul(x, t)),
)
div_p = declare_elementwise(
    "div",
    "divide",
    NUMBER,
    (lambda t, r, x, y: div(t, y), lambda t, r, x, y: mul(neg(t), div(r, y))),
    pulls=(lambda t, x, y: div(t, y), lambda t, x, y: None),
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


def _conj_lower(b: Any, x: Any) -> Any:
    real_type = b.out_types[0].update(dtype=dtypes.to_real(b.out_types[0].dtype))
    real_part = b.op("stablehlo.real", (x,), real_type)
    imaginary = b.op("stablehlo.negate", (b.op("stablehlo.imag", (x,), real_type),), real_type)
    return b.op("stablehlo.complex", (real_part, imaginary), b.out_types[0])


conj_p = declare_elementwise(
    "conj", _conj_lower, "c", (lambda t, r, x: conj(t),), pulls=(lambda t, x: conj(t),)
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


def _exp2_lower(b: Any, x: Any) -> Any:
    scaled = b.op("stablehlo.multiply", (x, b.full(math.log(2.0), b.out_types[0])), b.out_types[0])
    return b.op("stablehlo.exponential", (scaled,), b.out_types[0])


exp2_p = declare_elementwise(
    "exp2",
    _exp2_lower,
    INEXACT,
    (lambda t, r, x: mul(t, mul(r, _like(r, math.log(2.0)))),),
    pulls=NOT_LINEAR,
)
sin_p = declare_elementwise(
    "sin", "sine", INEXACT, (lambda t, r, x: mul(t, cos(x)),), pulls=NOT_LINEAR
)
cos_p = declare_elementwise(
    "cos", "cosine", INEXACT, (lambda t, r, x: neg(mul(t, sin(x))),), pulls=NOT_LINEAR
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
    (lambda t, r, x: mul(t, div(_like(r, 1 / 3), square(r))),),
    pulls=NOT_LINEAR,
)


def _square_lower(b: Any, x: Any) -> Any:
    return b.op("stablehlo.multiply", (x, x), b.out_types[0])


square_p = declare_elementwise(
    "square",
    _square_lower,
    NUMBER,
    (lambda t, r, x: mul(t, mul(_like(x, 2), x)),),
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
    """d |x| = sign(x) dx; for complex x, Re(conj(sign x) dx)."""
    if dtypes.is_complex(x.aval.dtype):
        return real(mul(conj(sign(x)), t))
    return mul(t, sign(x))


abs_p = declare_elementwise(
    "abs", "abs", NUMBER, (_abs_tangent,), result=_to_real, pulls=NOT_LINEAR
)


def _sign_tangent(t: Value, r: Value, x: Value) -> Value | None:
    """The derivative of x/|x| for complex x, (dx - r Re(conj(r) dx)) / |x|; zero for real x."""
    if not dtypes.is_complex(x.aval.dtype):
        return None
    along = real(mul(conj(r), t))
    return div(sub(t, mul(r, complex(along, _like(along, 0)))), complex(abs(x), _like(along, 0)))


def _sign_lower(b: Any, x: Any) -> Any:
    if not dtypes.is_unsigned(b.in_types[0].dtype):
        return b.elementwise("sign", (x,))
    nonzero = b.compare("NE", x, b.full(0, b.in_types[0]), b.in_types[0])
    return b.convert(nonzero, b.out_types[0])


sign_p = declare_elementwise("sign", _sign_lower, NUMBER, (_sign_tangent,), pulls=NOT_LINEAR)

# Piecewise constant functions ---------------------------------------------------------------------

floor_p = declare_elementwise("floor", "floor", FLOAT, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
ceil_p = declare_elementwise("ceil", "ceil", FLOAT, ZERO_DERIVATIVE, pulls=NOT_LINEAR)


def _round_lower(b: Any, x: Any, *, rounding_method: int) -> Any:
    return b.elementwise(
        "round_nearest_even" if rounding_method == 1 else "round_nearest_afz", (x,)
    )


round_p = declare_elementwise("round", _round_lower, FLOAT, ZERO_DERIVATIVE, pulls=NOT_LINEAR)


def to_bool(_: Any) -> np.dtype[Any]:
    """The result dtype of predicates."""
    return np.dtype(bool)


is_finite_p = declare_elementwise(
    "is_finite", "is_finite", FLOAT, ZERO_DERIVATIVE, result=to_bool, pulls=NOT_LINEAR
)

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
    "remainder",
    REAL,
    (lambda t, r, x, y: t, lambda t, r, x, y: mul(neg(t), _truncate(div(x, y)))),
    pulls=NOT_LINEAR,
)
nextafter_p = declare_elementwise(
    "nextafter", "chlo.next_after", FLOAT, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)


def _truncate(x: Value) -> Value:
    return mul(sign(x), floor(abs(x)))


def _extreme_share(t: Value, r: Value, chosen: Value, other: Value) -> Value:
    """The derivative of max or min in one operand: 1 where it is chosen, 1/2 at ties."""
    share = select_n(
        eq(chosen, r), full(r.aval.shape, 0, r.aval.dtype), full(r.aval.shape, 1, r.aval.dtype)
    )
    half = full(r.aval.shape, 0.5, r.aval.dtype)
    return mul(t, select_n(eq(chosen, other), share, half))


_EXTREME = (
    lambda t, r, x, y: _extreme_share(t, r, x, y),
    lambda t, r, x, y: _extreme_share(t, r, y, x),
)
max_p = declare_elementwise("max", "maximum", ANY, _EXTREME, pulls=NOT_LINEAR)
min_p = declare_elementwise("min", "minimum", ANY, _EXTREME, pulls=NOT_LINEAR)

# Bits ---------------------------------------------------------------------------------------------

not_p = declare_elementwise("not", "not", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
and_p = declare_elementwise("and", "and", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
or_p = declare_elementwise("or", "or", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
xor_p = declare_elementwise("xor", "xor", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
shift_left_p = declare_elementwise(
    "shift_left", "shift_left", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)
shift_right_arithmetic_p = declare_elementwise(
    "shift_right_arithmetic", "shift_right_arithmetic", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)
shift_right_logical_p = declare_elementwise(
    "shift_right_logical", "shift_right_logical", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)
population_count_p = declare_elementwise(
    "population_count", "popcnt", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)
clz_p = declare_elementwise(
    "clz", "count_leading_zeros", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)

# Comparisons --------------------------------------------------------------------------------------


def _compare_lower(direction: str, b: Any, x: Any, y: Any) -> Any:
    shape = b.out_types[0].shape
    x, y = (b.stretch(v, aval, shape) for v, aval in zip((x, y), b.in_types, strict=True))
    return b.compare(direction, x, y, b.in_types[0].update(shape=shape))


def _declare_compare(name: str, kinds: str) -> Any:
    lower = partial(_compare_lower, name.upper())
    return declare_elementwise(
        name, lower, kinds, ZERO_DERIVATIVE, result=to_bool, pulls=NOT_LINEAR
    )


eq_p = _declare_compare("eq", ANY)
ne_p = _declare_compare("ne", ANY)
lt_p = _declare_compare("lt", ORDERED)
le_p = _declare_compare("le", ORDERED)
gt_p = _declare_compare("gt", ORDERED)
ge_p = _declare_compare("ge", ORDERED)

# The functions ------------------------------------------------------------------------------------

neg = partial(unary, neg_p)
real = partial(unary, real_p)
imag = partial(unary, imag_p)
conj_complex = partial(unary, conj_p)
exp = partial(unary, exp_p)
exp2 = partial(unary, exp2_p)
expm1 = partial(unary, expm1_p)
log = partial(unary, log_p)
log1p = partial(unary, log1p_p)
sin = partial(unary, sin_p)
cos = partial(unary, cos_p)
tan = partial(unary, tan_p)
asin = partial(unary, asin_p)
acos = partial(unary, acos_p)
atan = partial(unary, atan_p)
sinh = partial(unary, sinh_p)
cosh = partial(unary, cosh_p)
tanh = partial(unary, tanh_p)
asinh = partial(unary, asinh_p)
acosh = partial(unary, acosh_p)
atanh = partial(unary, atanh_p)
logistic = partial(unary, logistic_p)
sqrt = partial(unary, sqrt_p)
rsqrt = partial(unary, rsqrt_p)
cbrt = partial(unary, cbrt_p)
square = partial(unary, square_p)
erf = partial(unary, erf_p)
erfc = partial(unary, erfc_p)
erf_inv = partial(unary, erf_inv_p)
abs = partial(unary, abs_p)
sign = partial(unary, sign_p)
floor = partial(unary, floor_p)
ceil = partial(unary, ceil_p)
is_finite = partial(unary, is_finite_p)
bitwise_not = partial(unary, not_p)
population_count = partial(unary, population_count_p)
clz = partial(unary, clz_p)

add = partial(binary, add_p)
sub = partial(binary, sub_p)
mul = partial(binary, mul_p)
div = partial(binary, div_p)
rem = partial(binary, rem_p)
max = partial(binary, max_p)
min = partial(binary, min_p)
pow = partial(binary, pow_p)
atan2 = partial(binary, atan2_p)
nextafter = partial(binary, nextafter_p)
complex = partial(binary, complex_p)
bitwise_and = partial(binary, and_p)
bitwise_or = partial(binary, or_p)
bitwise_xor = partial(binary, xor_p)
shift_left = partial(binary, shift_left_p)
shift_right_arithmetic = partial(binary, shift_right_arithmetic_p)
shift_right_logical = partial(binary, shift_right_logical_p)
eq = partial(binary, eq_p)
ne = partial(binary, ne_p)
lt = partial(binary, lt_p)
le = partial(binary, le_p)
gt = partial(binary, gt_p)
ge = partial(binary, ge_p)


def conj(x: Value) -> Value:
    """Return the complex conjugate; a real value is its own."""
    return conj_complex(x) if dtypes.is_complex(x.aval.dtype) else x


def round(x: Any, rounding_method: int = 0) -> Value:
    """Round to the nearest integer; ties go away from zero (0) or to even (1)."""
    return unary(round_p, x, rounding_method=int(rounding_method))


def integer_pow(x: Any, y: int) -> Value:
    """Raise to a fixed integer power."""
    return x if y == 1 and hasattr(x, "aval") else unary(integer_pow_p, x, y=int(y))
