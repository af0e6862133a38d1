"""Samplers of the normal distribution and of what is made of it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.primitives.clamp import clamp
from functrax.primitives.convert import convert, stop_gradient
from functrax.primitives.elementwise import (
    add,
    complex,
    div,
    erf,
    erf_inv,
    exp,
    le,
    log,
    mul,
    nextafter,
    sqrt,
    square,
    sub,
)
from functrax.primitives.reduce import reduce_sum
from functrax.primitives.select import select_n
from functrax.random.arguments import (
    check_narrow,
    common_shape,
    constant,
    float_dtype,
    given,
    parameter,
    shape_of,
    single_key,
    split_in,
    spread,
)
from functrax.random.sampling_basic import check_uniform, rademacher, uniform
from functrax.transforms.fuse import fuse

# normal -------------------------------------------------------------------------------------------


def normal(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the standard normal distribution.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: a floating or complex dtype; the default one (float32) if None. The parts of complex
            numbers have variance 1/2 each.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one.
        DtypeError: if the dtype is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> normal(key(0), (3,))
        Array([ 1.6226422 ,  2.0252647 , -0.43359444], dtype=float32)
    """
    key = single_key("normal", key)
    dtype = float_dtype("normal", dtype, complex_too=True)
    check_uniform(dtypes.to_real(dtype), "normal")
    return _normal(key, shape=shape_of("normal", shape), dtype=dtype)


@fuse
def _normal(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    if not dtypes.is_complex(dtype):
        return _normal_real(key, shape, dtype)
    parts = [_normal_real(part, shape, dtypes.to_real(dtype)) for part in split_in(key)]
    return div(complex(*parts), constant(math.sqrt(2), dtype))


def _normal_real(key: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    """sqrt(2) erf^-1(u) for u uniform in (-1, 1)."""
    low = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
    u = uniform(key, shape, dtype, constant(low, dtype), constant(1, dtype))
    return mul(constant(math.sqrt(2), dtype), erf_inv(u))


def lognormal(
    key: Any,
    sigma: Any = 1.0,
    shape: Any = None,
    dtype: Any = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw numbers whose logarithm is normally distributed.

    Args:
        key: a PRNG key, typed or raw.
        sigma: the standard deviation of the logarithm: a number, or an array that broadcasts to
            `shape`.
        shape: the shape to draw; that of `sigma` if None.
        dtype: a floating or complex dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `sigma` does not fit it.
        DtypeError: if the dtype is neither floating nor complex, or narrower than that of `sigma`.

    Example:
        >>> from functrax.random import key
        >>> lognormal(key(0), 0.5)
        Array(2.2508795, dtype=float32)
    """
    key = single_key("lognormal", key)
    dtype = float_dtype("lognormal", dtype, complex_too=True)
    (deviation,) = given("lognormal", dtype, sigma=sigma)
    check_narrow("lognormal", dtype, sigma)
    shape = common_shape("lognormal", shape, deviation)
    return _lognormal(key, deviation, shape=shape, dtype=dtype)


@fuse
def _lognormal(key: Value, sigma: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """exp(sigma n) for n normal."""
    return exp(mul(normal(key, shape, dtype), spread(parameter(sigma, dtype), shape)))


def truncated_normal(
    key: Any,
    lower: Any,
    upper: Any,
    shape: Any = None,
    dtype: Any = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw from the standard normal distribution, confined to an interval.

    Args:
        key: a PRNG key, typed or raw.
        lower: the lower end: a number, or an array that broadcasts to `shape`.
        upper: the upper end, likewise.
        shape: the shape to draw; the common one of the ends if None.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype, strictly between the ends.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the ends do not fit it.
        DtypeError: if the dtype is not floating.

    Example:
        >>> from functrax.random import key
        >>> truncated_normal(key(0), -2, 2, (2,))
        Array([1.4559592, 1.7147487], dtype=float32)
    """
    key = single_key("truncated_normal", key)
    dtype = check_uniform(float_dtype("truncated_normal", dtype), "truncated_normal")
    ends = given("truncated_normal", dtype, lower=lower, upper=upper)
    shape = common_shape("truncated_normal", shape, *ends)
    return _truncated_normal(key, *ends, shape=shape, dtype=dtype)


@fuse
def _truncated_normal(
    key: Value, lower: Any, upper: Any, *, shape: tuple[int, ...], dtype: Any
) -> Value:
    """sqrt(2) erf^-1(u) for u uniform between the erf of the ends, clipped against rounding."""
    root = constant(math.sqrt(2), dtype)
    lower, upper = parameter(lower, dtype), parameter(upper, dtype)
    u = uniform(key, shape, dtype, erf(div(lower, root)), erf(div(upper, root)))
    low = nextafter(stop_gradient(lower), constant(math.inf, dtype))
    high = nextafter(stop_gradient(upper), constant(-math.inf, dtype))
    return clamp(spread(low, shape), mul(root, erf_inv(u)), spread(high, shape))


# What is made of several normal numbers -----------------------------------------------------------


def maxwell(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw lengths of normally distributed vectors in three dimensions.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one.
        DtypeError: if the dtype is not floating.

    Example:
        >>> from functrax.random import key
        >>> maxwell(key(0))
        Array(2.6310966, dtype=float32)
    """
    key = single_key("maxwell", key)
    dtype = float_dtype("maxwell", dtype)
    return _maxwell(key, shape=shape_of("maxwell", shape), dtype=dtype)


@fuse
def _maxwell(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """|n| for n normal in three dimensions."""
    n = normal(key, (*shape, 3), dtype)
    wide = dtypes.float32 if dtypes.finfo(dtype).bits < 32 else dtype  # half precision sums badly
    return sqrt(convert(reduce_sum(convert(mul(n, n), wide), (len(shape),)), dtype))


def double_sided_maxwell(
    key: Any, loc: Any, scale: Any, shape: Sequence[int] = (), dtype: Any = None
) -> Array:
    """Draw from the Maxwell distribution with a random sign, scaled and shifted.

    Args:
        key: a PRNG key, typed or raw.
        loc: the centre: a number or array.
        scale: the factor: a number or array.
        shape: the shape to draw for each element of the common shape s of `loc` and `scale`; () is
            taken as s itself.
        dtype: a floating dtype; the default one (float32) if None.

    Returns:
        An array of shape (*shape, *s) and that dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the parameters do not fit.
        DtypeError: if the dtype is not floating.

    Example:
        >>> from functrax.random import key
        >>> double_sided_maxwell(key(0), 0.0, 1.0)
        Array(1.5457209, dtype=float32)
    """
    key = single_key("double_sided_maxwell", key)
    dtype = float_dtype("double_sided_maxwell", dtype)
    loc, scale = given("double_sided_maxwell", dtype, loc=loc, scale=scale)
    inner = common_shape("double_sided_maxwell", None, loc, scale)
    outer = shape_of("double_sided_maxwell", shape) or inner
    return _double_sided_maxwell(key, loc, scale, shape=(*outer, *inner), dtype=dtype)


@fuse
def _double_sided_maxwell(
    key: Value, loc: Any, scale: Any, *, shape: tuple[int, ...], dtype: Any
) -> Value:
    """loc + scale s m for m from the Maxwell distribution and s = 1 or -1."""
    first, second = split_in(key)
    drawn = mul(rademacher(second, shape, dtype), maxwell(first, shape, dtype))
    loc, scale = (spread(parameter(x, dtype), shape) for x in (loc, scale))
    return add(mul(drawn, scale), loc)


def rayleigh(
    key: Any, scale: Any, shape: Any = None, dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw lengths of normally distributed vectors in two dimensions.

    Args:
        key: a PRNG key, typed or raw.
        scale: the standard deviation of each component: a number, or an array that broadcasts to
            `shape`.
        shape: the shape to draw; that of `scale` if None.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `scale` does not fit it.
        DtypeError: if the dtype is not floating, or narrower than that of `scale`.

    Example:
        >>> from functrax.random import key
        >>> rayleigh(key(0), 1.0)
        Array(0.32787833, dtype=float32)
    """
    key = single_key("rayleigh", key)
    dtype = float_dtype("rayleigh", dtype)
    (factor,) = given("rayleigh", dtype, scale=scale)
    check_narrow("rayleigh", dtype, scale)
    shape = common_shape("rayleigh", shape, factor)
    return _rayleigh(key, factor, shape=shape, dtype=dtype)


@fuse
def _rayleigh(key: Value, scale: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """scale sqrt(-2 log u) for u uniform."""
    root = sqrt(mul(log(uniform(key, shape, dtype)), constant(-2, dtype)))
    return mul(spread(parameter(scale, dtype), shape), root)


def wald(
    key: Any, mean: Any, shape: Any = None, dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the Wald (inverse Gaussian) distribution with scale 1.

    Args:
        key: a PRNG key, typed or raw.
        mean: a positive number, or an array that broadcasts to `shape`.
        shape: the shape to draw; that of `mean` if None.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `mean` does not fit it.
        DtypeError: if the dtype is not floating, or narrower than that of `mean`.

    Example:
        >>> from functrax.random import key
        >>> print(f"{wald(key(0), 1.0):.4f}")
        0.3806

    Source: Michael, Schucany, Haas, "Generating random variates using transformations with multiple
        roots" (The American Statistician, 1976).
    """
    key = single_key("wald", key)
    dtype = float_dtype("wald", dtype)
    (centre,) = given("wald", dtype, mean=mean)
    check_narrow("wald", dtype, mean)
    shape = common_shape("wald", shape, centre)
    return _wald(key, centre, shape=shape, dtype=dtype)


@fuse
def _wald(key: Value, mean: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """The lesser root x of (x - m)**2 = m**2 x n**2; m**2 / x with probability x / (m + x)."""
    first, second = split_in(key)
    m = spread(parameter(mean, dtype), shape)
    y = square(normal(first, shape, dtype))
    u = uniform(second, shape, dtype)
    m2 = square(m)
    root = sqrt(add(mul(mul(constant(4, dtype), m), y), mul(m2, square(y))))
    two = constant(2, dtype)
    x = sub(add(m, div(mul(m2, y), two)), mul(div(m, two), root))
    return select_n(le(u, div(m, add(m, x))), div(m2, x), x)
