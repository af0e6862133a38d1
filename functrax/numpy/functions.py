"""Functions of one number: exponentials, trigonometry, rounding, parts of complex numbers."""

import math
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value, bind
from functrax.numpy.arithmetic import choose
from functrax.numpy.operands import cast, inexact, number, numeric, refuse_out, strong, to_array
from functrax.numpy.ufunc import INEXACT, NUMBERS, unary
from functrax.primitives import elementwise as lax
from functrax.primitives import rounding
from functrax.primitives.rules import scalar, zeros
from functrax.transforms.fuse import fuse

_FLOATS = frozenset(dtypes.FLOATS)
_function = partial(
    unary,
    direct=INEXACT,
    to_float=True,
    kinds="; integers become floats",
    returns="An array of the same shape and of floating or complex dtype.",
)


# ---- exponentials and logarithms

exp = _function(
    "exp",
    lax.exp_p,
    "Return e to the power x.",
    example=("exp(1.0)", "Array(2.7182817, dtype=float32, weak_type=True)"),
)
exp2 = _function(
    "exp2",
    lax.exp2_p,
    "Return 2 to the power x.",
    example=("exp2(3.0)", "Array(8., dtype=float32, weak_type=True)"),
)
expm1 = _function("expm1", lax.expm1_p, "Return ``exp(x) - 1``, precisely for small x.")
log = _function(
    "log",
    lax.log_p,
    "Return the natural logarithm; -inf for 0 and NaN for negative numbers.",
    example=("log(1.0)", "Array(0., dtype=float32, weak_type=True)"),
)
log1p = _function("log1p", lax.log1p_p, "Return ``log(1 + x)``, precisely for small x.")
sqrt = _function(
    "sqrt",
    lax.sqrt_p,
    "Return the square root; NaN for negative numbers.",
    example=("sqrt(jnp.arange(3))", "Array([0.       , 1.       , 1.4142135], dtype=float32)"),
)
cbrt = _function("cbrt", lax.cbrt_p, "Return the cube root.")


@fuse
def _scaled_log(x: Value, *, base: float) -> Value:
    logarithm = lax.log(x)
    if dtypes.is_complex(x.aval.dtype):  # complex division makes NaN of infinities
        real, imag = lax.real(logarithm), lax.imag(logarithm)
        scale = number(math.log(base), real.aval.dtype)
        return lax.complex(lax.div(real, scale), lax.div(imag, scale))
    return lax.div(logarithm, number(math.log(base), x.aval.dtype))


def log2(x: Any, /) -> Array:
    """Return the logarithm with base 2.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        An array of the same shape and of floating or complex dtype.
    """
    return _scaled_log(strong(inexact(x, "log2")), base=2.0)


def log10(x: Any, /) -> Array:
    """Return the logarithm with base 10.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        An array of the same shape and of floating or complex dtype.
    """
    return _scaled_log(inexact(x, "log10"), base=10.0)


# ---- trigonometry

sin = _function(
    "sin",
    lax.sin_p,
    "Return the sine of angles in radians.",
    example=("sin(0.0)", "Array(0., dtype=float32, weak_type=True)"),
)
cos = _function(
    "cos",
    lax.cos_p,
    "Return the cosine of angles in radians.",
    example=("cos(0.0)", "Array(1., dtype=float32, weak_type=True)"),
)
tan = _function("tan", lax.tan_p, "Return the tangent of angles in radians.")
arcsin = asin = _function("arcsin", lax.asin_p, "Return the inverse sine, from -pi/2 to pi/2.")
arccos = acos = _function("arccos", lax.acos_p, "Return the inverse cosine, from 0 to pi.")
arctan = atan = _function("arctan", lax.atan_p, "Return the inverse tangent, from -pi/2 to pi/2.")
sinh = _function("sinh", lax.sinh_p, "Return the hyperbolic sine.")
cosh = _function("cosh", lax.cosh_p, "Return the hyperbolic cosine.")
tanh = _function(
    "tanh",
    lax.tanh_p,
    "Return the hyperbolic tangent.",
    example=("tanh(0.0)", "Array(0., dtype=float32, weak_type=True)"),
)
arcsinh = asinh = _function("arcsinh", lax.asinh_p, "Return the inverse hyperbolic sine.")
arccosh = acosh = _function("arccosh", lax.acosh_p, "Return the inverse hyperbolic cosine.")
arctanh = atanh = _function("arctanh", lax.atanh_p, "Return the inverse hyperbolic tangent.")


def _times(x: Any, factor: float, call: str) -> Array:
    x = inexact(x, call)
    return lax.mul(x, number(factor, x.aval.dtype))


def deg2rad(x: Any, /) -> Array:
    """Convert degrees to radians.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _times(x, math.pi / 180, "deg2rad")


def rad2deg(x: Any, /) -> Array:
    """Convert radians to degrees.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        A floating array of the same shape.
    """
    return _times(x, 180 / math.pi, "rad2deg")


radians, degrees = deg2rad, rad2deg


@fuse
def _sinc(x: Value) -> Value:
    zero = lax.eq(x, number(0, x.aval.dtype))
    pi = number(math.pi, x.aval.dtype)
    angle = lax.mul(pi, x)
    safe = choose(zero, number(1, x.aval.dtype), angle)
    # 1 - angle**2/6 at 0 keeps the first and second derivative.
    near = lax.sub(number(1, x.aval.dtype), lax.mul(lax.square(angle), number(1 / 6, x.aval.dtype)))
    return choose(zero, near, lax.div(_sin_pi(x, safe), safe))


def _sin_pi(x: Value, angle: Value) -> Value:
    """Compute sin(pi x), which is exactly 0 at the integers: pi is not pi in floating point."""
    if dtypes.is_complex(x.aval.dtype):
        return lax.sin(angle)
    half = number(0.5, x.aval.dtype)
    whole = rounding.round(x, 1)
    halves = lax.mul(whole, half)
    odd = lax.ne(halves, lax.floor(halves))
    rest = lax.sin(lax.mul(number(math.pi, x.aval.dtype), lax.sub(x, whole)))
    return choose(odd, lax.neg(rest), rest)


def sinc(x: Any, /) -> Array:
    """Return ``sin(pi x) / (pi x)``, and 1 at 0.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        An array of the same shape and of floating or complex dtype.
    """
    return _sinc(inexact(x, "sinc"))


# ---- signs and rounding

abs = absolute = unary(
    "abs",
    lax.abs_p,
    "Return the absolute value; of complex numbers the modulus, which is real.",
    direct=NUMBERS - frozenset(dtypes.UNSIGNED),
    otherwise=to_array,
    example=("abs(jnp.array([-1, 2]))", "Array([1, 2], dtype=int32)"),
)
fabs = unary(
    "fabs",
    lax.abs_p,
    "Return the absolute value of real numbers, as a float.",
    direct=_FLOATS,
    to_float=True,
    otherwise=lambda x: _refuse_complex("fabs", x),
    kinds="; integers become floats",
)
sign = unary(
    "sign",
    lax.sign_p,
    "Return -1, 0 or 1; for complex numbers ``x / abs(x)``.",
    direct=NUMBERS,
    example=("sign(jnp.array([-2, 0, 3]))", "Array([-1,  0,  1], dtype=int32)"),
)
square = unary(
    "square",
    lax.square_p,
    "Return ``x * x``.",
    direct=NUMBERS,
    otherwise=lambda x: bind(lax.square_p, cast(x, dtypes.int_dtype()))[0],
    example=("square(jnp.arange(3))", "Array([0, 1, 4], dtype=int32)"),
)


def reciprocal(x: Any, /) -> Array:
    """Return ``1 / x``.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        An array of the same shape and of floating or complex dtype.
    """
    return bind(lax.integer_pow_p, inexact(x, "reciprocal"), y=-1)[0]


floor = unary(
    "floor",
    lax.floor_p,
    "Round down to a whole number.",
    direct=_FLOATS,
    otherwise=lambda x: _whole("floor", x),
    example=("floor(1.5)", "Array(1., dtype=float32, weak_type=True)"),
)
ceil = unary(
    "ceil",
    lax.ceil_p,
    "Round up to a whole number.",
    direct=_FLOATS,
    otherwise=lambda x: _whole("ceil", x),
    example=("ceil(1.5)", "Array(2., dtype=float32, weak_type=True)"),
)


def _whole(call: str, x: Value) -> Value:
    """Return integers and booleans as they are."""
    return _refuse_complex(call, x) if dtypes.is_complex(x.aval.dtype) else to_array(x)


def _refuse_complex(call: str, x: Value) -> Any:
    raise errors.DtypeError(call, "real numbers", repr(x.aval), fix="Take `.real` or `abs` first.")


@fuse
def _trunc(x: Value) -> Value:
    negative = lax.lt(x, number(0, x.aval.dtype))
    return choose(negative, lax.ceil(x), lax.floor(x))


def trunc(x: Any) -> Array:
    """Round toward zero to a whole number.

    Args:
        x: array of any shape, or a number.

    Returns:
        An array of the same shape and dtype.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.trunc(jnp.array([-1.5, 1.5]))
        Array([-1.,  1.], dtype=float32)
    """
    x = numeric(x, "trunc")
    return _trunc(x) if dtypes.is_floating(x.aval.dtype) else _whole("trunc", x)


fix = trunc


def rint(x: Any, /) -> Array:
    """Round to the nearest whole number, ties to the even one.

    Args:
        x: array of any shape, or a number; integers become floats.

    Returns:
        A floating array of the same shape, complex for complex numbers.
    """
    return round(inexact(x, "rint"))


def positive(x: Any, /) -> Array:
    """Return ``+x``: the numbers themselves.

    Args:
        x: array of any shape, or a number.

    Returns:
        An array of the same shape and dtype.
    """
    return to_array(numeric(x, "positive"))


@fuse
def _round(x: Value, *, decimals: int) -> Value:
    if dtypes.is_complex(x.aval.dtype):
        parts = (_round(part(x), decimals=decimals) for part in (lax.real, lax.imag))
        return lax.complex(*parts)
    if decimals == 0:
        return lax.round(x, 1)
    dtype = x.aval.dtype
    # float16 does not hold 10**5
    wide = cast(x, dtypes.float32) if dtype.itemsize < 4 else x
    factor = number(10.0 ** (decimals if decimals > 0 else -decimals), wide.aval.dtype)
    if decimals > 0:
        return cast(lax.div(lax.round(lax.mul(wide, factor), 1), factor), dtype)
    return cast(lax.mul(lax.round(lax.div(wide, factor), 1), factor), dtype)


def round(a: Any, decimals: int = 0, out: None = None) -> Array:
    """Round to a number of decimals, ties to the even digit.

    Args:
        a: array of any shape, or a number.
        decimals: int, how many digits after the point to keep; negative ones count before it.
        out: must be None.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> jnp.round(jnp.array([0.5, 1.5, 2.345]), 2)
        Array([0.5 , 1.5 , 2.34], dtype=float32)
    """
    refuse_out("round", out)
    decimals = integer("round", "decimals", decimals)
    x = numeric(a, "round")
    if dtypes.is_inexact(x.aval.dtype):
        return _round(x, decimals=decimals)
    if decimals < 0:
        raise errors.ArgumentError(
            "round", "decimals >= 0 for integers", str(decimals), fix="Convert to a float first."
        )
    return to_array(x)


around = round


# ---- complex numbers

conjugate = conj = unary(
    "conj",
    lax.conj_p,
    "Return the complex conjugate.",
    direct=frozenset(dtypes.COMPLEXES),
    otherwise=to_array,
    example=("conj(1 + 2j)", "Array(1.-2.j, dtype=complex64, weak_type=True)"),
)
real = unary(
    "real",
    lax.real_p,
    "Return the real part.",
    direct=frozenset(dtypes.COMPLEXES),
    otherwise=to_array,
    returns="An array of the same shape and of real dtype.",
    example=("real(jnp.array(1 + 2j))", "Array(1., dtype=float32, weak_type=True)"),
)


def _zeros_like(x: Value) -> Array:
    return to_array(zeros(x.aval))


imag = unary(
    "imag",
    lax.imag_p,
    "Return the imaginary part; zeros for real numbers.",
    direct=frozenset(dtypes.COMPLEXES),
    otherwise=_zeros_like,
    returns="An array of the same shape and of real dtype.",
)


@fuse
def _angle(z: Value, *, degrees: bool) -> Value:
    if dtypes.is_complex(z.aval.dtype):
        angle = lax.atan2(lax.imag(z), lax.real(z))
    else:
        angle = lax.atan2(scalar(0, z.aval.dtype), z)
    return lax.mul(angle, number(180 / math.pi, angle.aval.dtype)) if degrees else angle


def angle(z: Any, deg: bool = False) -> Array:
    """Return the angle of complex numbers.

    Args:
        z: array of any shape, or a number; integers become floats.
        deg: bool, whether in degrees instead of radians.

    Returns:
        A floating array of the same shape, from -pi to pi.
    """
    return _angle(inexact(z, "angle"), degrees=bool(deg))
