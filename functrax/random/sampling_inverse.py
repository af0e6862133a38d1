"""Samplers that map uniform numbers through a closed formula."""

import math
from collections.abc import Sequence
from typing import Any

from functrax.core import dtypes
from functrax.core.trace import Array, Value, as_value
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import (
    abs,
    add,
    div,
    eq,
    exp,
    floor,
    log,
    log1p,
    lt,
    mul,
    neg,
    pow,
    sign,
    sqrt,
    sub,
    tan,
)
from functrax.random.arguments import (
    check_narrow,
    common_shape,
    constant,
    float_dtype,
    given,
    int_dtype,
    parameter,
    shape_of,
    single_key,
    spread,
    where,
)
from functrax.random.sampling_basic import uniform
from functrax.transforms.fuse import fuse

# exponential --------------------------------------------------------------------------------------


def exponential(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the exponential distribution with rate 1.

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
        >>> exponential(key(0), (2,))
        Array([2.950128 , 3.8434246], dtype=float32)
    """
    key = single_key("exponential", key)
    dtype = float_dtype("exponential", dtype)
    return _exponential(key, shape=shape_of("exponential", shape), dtype=dtype)


@fuse
def _exponential(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """-log(1 - u) for u uniform in [0, 1)."""
    return neg(log1p(neg(uniform(key, shape, dtype))))


# laplace ------------------------------------------------------------------------------------------


def laplace(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the Laplace distribution with scale 1.

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
        >>> laplace(key(0), (2,))
        Array([-2.2569816, -3.1502788], dtype=float32)
    """
    key = single_key("laplace", key)
    dtype = float_dtype("laplace", dtype)
    return _laplace(key, shape=shape_of("laplace", shape), dtype=dtype)


@fuse
def _laplace(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """sign(u) log(1 - |u|) for u uniform in (-1, 1)."""
    low = constant(-1.0 + dtypes.finfo(dtype).epsneg, dtype)
    u = uniform(key, shape, dtype, low, constant(1, dtype))
    return mul(sign(u), log1p(neg(abs(u))))


# logistic -----------------------------------------------------------------------------------------


def logistic(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the logistic distribution with scale 1.

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
        >>> logistic(key(0), (2,))
        Array([2.896376 , 3.8217716], dtype=float32)
    """
    key = single_key("logistic", key)
    dtype = float_dtype("logistic", dtype)
    return _logistic(key, shape=shape_of("logistic", shape), dtype=dtype)


@fuse
def _logistic(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """log(u / (1 - u)) for u uniform in (0, 1)."""
    low = constant(dtypes.finfo(dtype).tiny, dtype)
    u = uniform(key, shape, dtype, low, constant(1, dtype))
    return sub(log(u), log1p(neg(u)))


# cauchy -------------------------------------------------------------------------------------------


def cauchy(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the Cauchy distribution with scale 1.

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
        >>> cauchy(key(0), (2,))
        Array([ 6.0274944, 14.837895 ], dtype=float32)
    """
    key = single_key("cauchy", key)
    dtype = float_dtype("cauchy", dtype)
    return _cauchy(key, shape=shape_of("cauchy", shape), dtype=dtype)


@fuse
def _cauchy(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """tan(pi (u - 1/2)) for u uniform in (0, 1)."""
    low = constant(dtypes.finfo(dtype).eps, dtype)
    u = uniform(key, shape, dtype, low, constant(1, dtype))
    return tan(mul(constant(math.pi, dtype), sub(u, constant(0.5, dtype))))


# pareto -------------------------------------------------------------------------------------------


def pareto(
    key: Any, b: Any, shape: Any = None, dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw from the Pareto distribution with minimum 1.

    Args:
        key: a PRNG key, typed or raw.
        b: the exponent: a positive number, or an array that broadcasts to `shape`.
        shape: the shape to draw; that of `b` if None.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `b` does not fit it.
        DtypeError: if the dtype is not floating, or narrower than that of `b`.

    Example:
        >>> from functrax.random import key
        >>> pareto(key(0), 2.0)
        Array(4.371316, dtype=float32)
    """
    key = single_key("pareto", key)
    dtype = float_dtype("pareto", dtype)
    (exponent,) = given("pareto", dtype, b=b)
    check_narrow("pareto", dtype, b)
    shape = common_shape("pareto", shape, exponent)
    return _pareto(key, exponent, shape=shape, dtype=dtype)


@fuse
def _pareto(key: Value, b: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """exp(e / b) for e from the exponential distribution."""
    e = exponential(key, shape, dtype)
    return exp(div(e, spread(parameter(b, dtype), shape)))


# weibull_min --------------------------------------------------------------------------------------


def weibull_min(
    key: Any, scale: Any, concentration: Any, shape: Sequence[int] = (), dtype: Any = None
) -> Array:
    """Draw from the Weibull distribution.

    Args:
        key: a PRNG key, typed or raw.
        scale: a positive number or array.
        concentration: the exponent: a positive number or array.
        shape: the shape to draw.
        dtype: a floating dtype; the default one (float32) if None.

    Returns:
        An array of that dtype, and of the common shape of `shape` and the parameters.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the parameters do not fit it.
        DtypeError: if the dtype is not floating.

    Example:
        >>> from functrax.random import key
        >>> weibull_min(key(0), 1.0, 2.0)
        Array(1.7175937, dtype=float32)
    """
    key = single_key("weibull_min", key)
    dtype = float_dtype("weibull_min", dtype)
    shape = shape_of("weibull_min", shape)
    parameters = given("weibull_min", dtype, scale=scale, concentration=concentration)
    scale, concentration = parameters
    whole = common_shape("weibull_min", shape, *parameters, stretches=True)
    return _weibull_min(key, scale, concentration, shape=shape, whole=whole, dtype=dtype)


@fuse
def _weibull_min(
    key: Value,
    scale: Any,
    concentration: Any,
    *,
    shape: tuple[int, ...],
    whole: tuple[int, ...],
    dtype: Any,
) -> Value:
    """scale (-log(1 - u))**(1 / concentration) for u uniform."""
    u = uniform(key, shape, dtype)
    power = div(constant(1, dtype), parameter(concentration, dtype))
    drawn = pow(spread(neg(log1p(neg(u))), whole), spread(power, whole))
    return mul(drawn, spread(parameter(scale, dtype), whole))


# triangular ---------------------------------------------------------------------------------------


def triangular(
    key: Any,
    left: Any,
    mode: Any,
    right: Any,
    shape: Any = None,
    dtype: Any = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw from the triangular distribution.

    Args:
        key: a PRNG key, typed or raw.
        left: the lower end: a number, or an array that broadcasts to `shape`.
        mode: where the density has its peak, likewise; between the ends.
        right: the upper end, likewise; above the lower one.
        shape: the shape to draw; the common one of the parameters if None.
        dtype: a floating dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the parameters do not fit it.
        DtypeError: if the dtype is not floating, or narrower than that of a parameter.

    Example:
        >>> from functrax.random import key
        >>> triangular(key(0), 0.0, 0.5, 1.0)
        Array(0.8382394, dtype=float32)
    """
    key = single_key("triangular", key)
    dtype = float_dtype("triangular", dtype)
    corners = given("triangular", dtype, left=left, mode=mode, right=right)
    check_narrow("triangular", dtype, left, mode, right)
    shape = common_shape("triangular", shape, *corners)
    return _triangular(key, *corners, shape=shape, dtype=dtype)


@fuse
def _triangular(
    key: Value, left: Any, mode: Any, right: Any, *, shape: tuple[int, ...], dtype: Any
) -> Value:
    """The inverse of the distribution function, a piece for each side of the peak."""
    a, m, b = (spread(parameter(x, dtype), shape) for x in (left, mode, right))
    u = uniform(key, shape, dtype)
    rising = add(a, sqrt(mul(mul(u, sub(b, a)), sub(m, a))))
    rest = sub(constant(1, dtype), u)
    falling = sub(b, sqrt(mul(mul(rest, sub(b, a)), sub(b, m))))
    return where(lt(u, div(sub(m, a), sub(b, a))), rising, falling)


# geometric ----------------------------------------------------------------------------------------


def geometric(
    key: Any, p: Any, shape: Any = None, dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw how many trials it takes to succeed once.

    Args:
        key: a PRNG key, typed or raw.
        p: the probability of success: a number, or an array that broadcasts to `shape`.
        shape: the shape to draw; that of `p` if None.
        dtype: an integer dtype; the default one (int32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype, at least 1.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `p` does not fit it.
        DtypeError: if the dtype is not an integer one.

    Example:
        >>> from functrax.random import key
        >>> geometric(key(0), 0.25)
        Array(1, dtype=int32)
    """
    key = single_key("geometric", key)
    dtype = int_dtype("geometric", dtype)
    (p,) = given("geometric", None, p=p)
    shape = common_shape("geometric", shape, p)
    return _geometric(key, p, shape=shape, dtype=dtype)


@fuse
def _geometric(key: Value, p: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """floor(log u / log(1 - p)) + 1 for u uniform in (0, 1]."""
    p = as_value(p, "geometric")
    p = convert(p, dtypes.to_inexact(p.aval.dtype))
    one = constant(1, p.aval.dtype)
    u = uniform(key, shape, p.aval.dtype)
    u = where(eq(u, constant(0, p.aval.dtype)), spread(one, shape), u)
    trials = div(log(u), spread(log1p(neg(p)), shape))
    return convert(add(floor(trials), one), dtype)
