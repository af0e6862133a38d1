"""Initializers of one distribution, whatever the shape."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from functrax import errors, random
from functrax import numpy as jnp
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.primitives.elementwise import erf_inv, mul
from functrax.random.arguments import given, parameter, shape_of
from functrax.transforms.fuse import fuse


@runtime_checkable
class Initializer(Protocol):
    """A function that makes an array of initial values."""

    def __call__(
        self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
    ) -> Array:
        """Make an array.

        Args:
            key: a PRNG key.
            shape: the array's shape.
            dtype: its dtype; by default the one given to the initializer's maker, or float32.
            out_sharding: not used yet; None.

        Returns:
            An array of that shape and dtype.
        """
        raise NotImplementedError


def initializer(
    call: str, dtype: Any, draw: Callable[[Any, tuple[int, ...], Any], Array]
) -> Initializer:
    """Return an initializer that draws from a distribution in any inexact dtype."""

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype, out_sharding: Any = None) -> Array:
        wanted = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, call)
        if not dtypes.is_inexact(wanted):
            name = dtypes.short_name(wanted)
            raise errors.DtypeError(call, "a floating or complex dtype", name)
        return draw(key, shape_of(call, shape), wanted)

    return init


# Constants ----------------------------------------------------------------------------------------


def zeros(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> Array:
    """Make zeros.

    Args:
        key: not used.
        shape: the array's shape.
        dtype: its dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        ArgumentError, DtypeError: if shape or dtype are not ones.

    Example:
        >>> zeros(None, (3,))
        Array([0., 0., 0.], dtype=float32)
    """
    return jnp.zeros(shape, dtype)


def ones(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> Array:
    """Make ones.

    Args:
        key: not used.
        shape: the array's shape.
        dtype: its dtype; the default one (float32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        ArgumentError, DtypeError: if shape or dtype are not ones.

    Example:
        >>> ones(None, (3,))
        Array([1., 1., 1.], dtype=float32)
    """
    return jnp.ones(shape, dtype)


def constant(value: Any, dtype: Any = None) -> Initializer:
    """Return an initializer that repeats a value.

    Args:
        value: a number, or an array that broadcasts to the shape.
        dtype: the initializer's default dtype; float32 if None.

    Returns:
        An initializer.

    Raises:
        ArgumentError, DtypeError: when it is called, if the value does not fit shape and dtype.

    Example:
        >>> constant(-7)(None, (2,))
        Array([-7., -7.], dtype=float32)
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype, out_sharding: Any = None) -> Array:
        return jnp.full(shape, value, dtypes.float_dtype() if dtype is None else dtype)

    return init


# Distributions ------------------------------------------------------------------------------------


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Return an initializer that draws uniformly from [0, scale).

    Args:
        scale: a number, or an array of shape ().
        dtype: the initializer's default dtype; float32 if None.

    Returns:
        An initializer.

    Raises:
        DtypeError: when it is called with a dtype that is not floating.
        ArgumentError: when it is called, if a parameter is not a number or an array.

    Example:
        >>> from functrax.random import key
        >>> uniform(10.0)(key(0), (2,))
        Array([9.47667 , 9.785799], dtype=float32)
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        (factor,) = given("uniform", dtype, scale=scale)
        return _uniform(key, factor, shape=shape, dtype=dtype)

    return initializer("uniform", dtype, draw)


@fuse
def _uniform(key: Value, scale: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    return mul(random.uniform(key, shape, dtype), parameter(scale, dtype))


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Return an initializer that draws from a normal distribution around 0.

    Args:
        stddev: the standard deviation: a number, or an array of shape ().
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        DtypeError: when it is called with a dtype that is neither floating nor complex.
        ArgumentError: when it is called, if a parameter is not a number or an array.

    Example:
        >>> from functrax.random import key
        >>> normal(5.0)(key(0), (2,))
        Array([ 8.113211, 10.126324], dtype=float32)
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        (factor,) = given("normal", dtype, stddev=stddev)
        return scaled_normal(key, factor, shape=shape, dtype=dtype)

    return initializer("normal", dtype, draw)


@fuse
def scaled_normal(key: Value, stddev: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """(sqrt(2) s) erf^-1(u) for u uniform in (-1, 1): one factor rounds once."""
    stddev = parameter(stddev, dtype)
    if dtypes.is_complex(dtype):
        return mul(random.normal(key, shape, dtype), stddev)
    low = np.nextafter(np.array(-1, dtype), np.array(0, dtype)).item()
    u = random.uniform(key, shape, dtype, low, 1.0)
    return mul(mul(parameter(math.sqrt(2), dtype), stddev), erf_inv(u))


def truncated_normal(
    stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0
) -> Initializer:
    """Return an initializer that draws from a normal distribution confined to an interval.

    Args:
        stddev: the standard deviation of the distribution before it is confined.
        dtype: the initializer's default dtype; float32 if None.
        lower: the lower end, in standard deviations.
        upper: the upper end, likewise.

    Returns:
        An initializer.

    Raises:
        DtypeError: when it is called with a dtype that is not floating.
        ArgumentError: when it is called, if a parameter is not a number or an array.

    Example:
        >>> from functrax.random import key
        >>> truncated_normal(5.0)(key(0), (2,))
        Array([7.279796, 8.573744], dtype=float32)
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        limits = given("truncated_normal", dtype, stddev=stddev, lower=lower, upper=upper)
        return _truncated_normal(key, *limits, shape=shape, dtype=dtype)

    return initializer("truncated_normal", dtype, draw)


@fuse
def _truncated_normal(
    key: Value, stddev: Any, lower: Any, upper: Any, *, shape: tuple[int, ...], dtype: Any
) -> Value:
    drawn = random.truncated_normal(key, lower, upper, shape, dtype)
    return mul(drawn, parameter(stddev, dtype))
