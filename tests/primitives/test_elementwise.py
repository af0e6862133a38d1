"""Elementwise operations where the compiler of XLA alone is not to be trusted."""

import numpy as np
import pytest

import functrax
from functrax import lax
from functrax import numpy as jnp


@pytest.mark.parametrize("dtype", ["int4", "int8", "uint8", "int32", "uint32"])
@pytest.mark.parametrize("operation", [lax.div, lax.rem])
def test_constant_division_by_zero(operation, dtype):
    """XLA's constant folding ends the process with a division error, in JAX too."""
    ones = jnp.full((3,), -1 if dtype.startswith("i") else 2 ** int(dtype[4:]) - 1, dtype)
    five = jnp.full((3,), 5, dtype)
    expected = np.asarray(ones if operation is lax.div else five)
    zero = np.zeros((3,), five.dtype)
    programs = (
        functrax.jit(lambda: operation(jnp.full((3,), 5, dtype), jnp.zeros((3,), dtype))),
        functrax.jit(lambda: operation(jnp.full((3,), 5, dtype), lax.full((), 0, dtype))),
        functrax.jit(lambda x=zero: operation(x - x + five[0], x - x)),
        lambda: operation(five, zero),
    )
    for program in programs:
        np.testing.assert_array_equal(np.asarray(program()), expected)


def test_only_divisors_that_may_be_zero_are_tested():
    x = jnp.arange(3)
    number = functrax.jit(lambda x: lax.rem(lax.div(x, 3), 5)).lower(x).as_text()
    other = functrax.jit(lambda x: lax.rem(lax.div(x, x), x)).lower(x).as_text()
    assert "stablehlo.divide" in number
    assert "stablehlo.select" not in number
    assert "stablehlo.select" in other


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_circular_functions_of_imaginary_numbers(name):
    parts = [0.0, -0.0, 1.0, -2.0, 100.0, -100.0, np.inf, -np.inf]
    x = np.array([complex(real, imag) for real in (0.0, -0.0) for imag in parts], np.complex64)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    found = np.asarray(getattr(lax, name)(x))
    for part in (np.real, np.imag):
        np.testing.assert_allclose(part(found), part(expected), rtol=1e-6)
        np.testing.assert_array_equal(np.signbit(part(found)), np.signbit(part(expected)))


def test_complex_numbers_are_clamped_by_real_then_imaginary_part():
    low, high = np.complex64(1 + 3j), np.complex64(2 + 5j)
    x = np.array([1 + 2j, 1 + 4j, 3 - 1j, 2 + 4j, 2 + 6j, -9], np.complex64)
    wanted = np.minimum(np.maximum(x, low), high)
    np.testing.assert_array_equal(lax.clamp(low, x, high), wanted)
    np.testing.assert_array_equal(functrax.vmap(lambda x: lax.clamp(low, x, high))(x), wanted)
    np.testing.assert_array_equal(lax.clamp(high, x, low), np.full(6, low))
    _, tangent = functrax.jvp(lambda x: lax.clamp(low, x, high), (x,), (np.ones_like(x),))
    np.testing.assert_array_equal(tangent, wanted == x)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_cases_are_picked_by_any_integers(dtype):
    """What is too large picks the last case, and what is negative the first."""
    cases = [np.full(4, k, np.float32) for k in range(300)]
    for count in (1, 2, 3, 300):
        which = jnp.asarray(np.array([0, 1, 2, np.iinfo(dtype).max], dtype), dtype)
        wanted = [min(int(k), count - 1) for k in np.asarray(which)]
        np.testing.assert_array_equal(lax.select_n(which, *cases[:count]), wanted)
        least = jnp.full(4, np.iinfo(dtype).min, dtype)
        np.testing.assert_array_equal(lax.select_n(least, *cases[:count]), np.zeros(4))
