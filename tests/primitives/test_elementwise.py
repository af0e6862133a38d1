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
