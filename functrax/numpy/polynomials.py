"""Polynomials by their coefficients, highest power first."""

from typing import Any

from functrax import errors
from functrax.core.arguments import integer
from functrax.core.trace import Array
from functrax.numpy.creation import array, zeros_like
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import atleast_1d
from functrax.numpy.operands import array_operand, inexact, operand, promote, strong, to_array
from functrax.numpy.padding import pad
from functrax.numpy.places import trim_zeros
from functrax.numpy.ranges import arange
from functrax.numpy.signals import convolve


def polyval(p: Any, x: Any, *, unroll: int = 16) -> Array:
    """Return the values of a polynomial, by Horner's rule.

    Args:
        p: vector of coefficients, or an array whose first axis they are.
        x: array of places.
        unroll: has no effect.

    Returns:
        An array of x's shape.

    Example:
        >>> jnp.polyval(jnp.array([1, 0, 2]), 3)
        Array(11, dtype=int32)
    """
    known = operand(p, "polyval").aval.weak_type
    p, x = (to_array(v) for v in promote("polyval", p, x))
    x = x if known else to_array(strong(x))
    value = zeros_like(x) + zeros_like(p[0]) if p.aval.size else zeros_like(x)
    for coefficient in p:
        value = value * x + coefficient
    return value


def _added(call: str, a1: Any, a2: Any, sign: int) -> Array:
    a1, a2 = (atleast_1d(to_array(v)) for v in promote(call, a1, a2))
    size = max(a1.aval.size, a2.aval.size)
    a1, a2 = (pad(v, (size - v.aval.size, 0)) for v in (a1, a2))
    return a1 + a2 if sign > 0 else a1 - a2


def polyadd(a1: Any, a2: Any) -> Array:
    """Add two polynomials.

    Args:
        a1: vector of coefficients.
        a2: vector of coefficients.

    Returns:
        A vector of coefficients.
    """
    return _added("polyadd", a1, a2, 1)


def polysub(a1: Any, a2: Any) -> Array:
    """Subtract two polynomials.

    Args:
        a1: vector of coefficients.
        a2: vector of coefficients.

    Returns:
        A vector of coefficients.
    """
    return _added("polysub", a1, a2, -1)


def polymul(a1: Any, a2: Any, *, trim_leading_zeros: bool = False) -> Array:
    """Multiply two polynomials.

    Args:
        a1: vector of coefficients.
        a2: vector of coefficients.
        trim_leading_zeros: bool, whether to leave out leading zeros of both, which must be known.

    Returns:
        A vector of coefficients.

    Raises:
        TracerArrayError: with `trim_leading_zeros`, if a coefficient is traced.
    """
    factors: list[Any] = [atleast_1d(array_operand(x, "polymul")) for x in (a1, a2)]
    if trim_leading_zeros:
        # Of zeros alone one is left.
        factors = [concatenate([trim_zeros(x[:-1], "f"), x[-1:]]) for x in factors]
    return convolve(*factors)


def polyder(p: Any, m: int = 1) -> Array:
    """Return the derivative of a polynomial.

    Args:
        p: vector of coefficients; integers become floats.
        m: int, how often it is taken.

    Returns:
        A vector of coefficients.
    """
    p = to_array(inexact(p, "polyder"))
    m = integer("polyder", "m", m)
    if m < 0:
        raise errors.ArgumentError("polyder", "m >= 0", str(m))
    for _ in range(m):
        p = p[:-1] * arange(p.aval.size - 1, 0, -1, dtype=p.dtype)
    return p


def polyint(p: Any, m: int = 1, k: Any = None) -> Array:
    """Return the integral of a polynomial.

    Args:
        p: vector of coefficients; integers become floats.
        m: int, how often it is taken.
        k: number or one per integral, the constants; 0 if None.

    Returns:
        A vector of coefficients.
    """
    m = integer("polyint", "m", m)
    if m < 0:
        raise errors.ArgumentError("polyint", "m >= 0", str(m))
    constants = atleast_1d(array([0] * m if k is None else k))
    if m and constants.aval.size not in (1, m):
        raise errors.ShapeError("polyint", f"one constant, or {m}", repr(constants.aval))
    (p, constants) = (to_array(v) for v in promote("polyint", p, constants, to_float=True))
    for i in range(m):
        powers = arange(p.aval.size, 0, -1, dtype=p.dtype)
        constant = constants[i if constants.aval.size > 1 else 0]
        p = concatenate([p / powers, constant.reshape(1)])
    return p
