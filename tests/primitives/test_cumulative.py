"""Cumulative operations: ways to write them, accuracy, zeros and ties in derivatives."""

import numpy as np
import pytest

import functrax
from functrax.lowering.builder import Builder
from functrax.primitives import cumulative

NAMES = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
ORACLE = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "cumlogsumexp": np.logaddexp.accumulate,
}


@pytest.fixture(params=["gpu", "tpu"])
def elsewhere(request, monkeypatch):
    """Lower as for another platform, and run it on the CPU."""
    make = Builder.__init__

    def patched(self, context, platform, *rest):
        make(self, context, request.param, *rest)

    monkeypatch.setattr(Builder, "__init__", patched)


def both_ways(name, x, reverse):
    wanted = ORACLE[name](x[::-1] if reverse else x, axis=0)
    function = functrax.jit(lambda v: getattr(cumulative, name)(v, 0, reverse))
    derivative = functrax.jit(
        functrax.jacfwd(lambda v: getattr(cumulative, name)(v, 0, reverse)[:, 0])
    )
    return function(x), derivative(x), wanted[::-1] if reverse else wanted


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("reverse", [False, True])
def test_accelerators_compute_the_same(name, size, reverse, monkeypatch):
    x = np.random.default_rng(size).normal(size=(size, 2))
    result, derivative, wanted = both_ways(name, functrax.numpy.asarray(x, "float64"), reverse)
    np.testing.assert_allclose(result, wanted, rtol=1e-12)
    monkeypatch.undo()
    function = getattr(cumulative, name)
    step = 1e-6 * np.eye(size)[:, :, None] * [1, 0]
    moved = [
        np.asarray(function(functrax.numpy.asarray(x + sign * step, "float64"), 1, reverse))
        for sign in (1, -1)
    ]
    numeric = (moved[0] - moved[1])[:, :, 0].T / 2e-6
    np.testing.assert_allclose(np.asarray(derivative)[:, :, 0], numeric, atol=1e-8)


@pytest.mark.parametrize("size", [1025, 4097])
@pytest.mark.parametrize("reverse", [False, True])
def test_long_sums_do_not_lose_precision(size, reverse):
    x = np.random.default_rng(0).uniform(size=(size, 2)).astype(np.float32)
    wanted = np.cumsum(x[::-1] if reverse else x, 0, np.float64)
    found = np.asarray(cumulative.cumsum(x, 0, reverse))
    np.testing.assert_allclose(found[::-1] if reverse else found, wanted, rtol=3e-7 * 4)


def test_narrow_floats_are_summed_in_float32():
    ones = functrax.numpy.ones(3000, "bfloat16")
    assert float(cumulative.cumsum(ones)[-1]) == float(functrax.numpy.asarray(3000, "bfloat16"))


def test_derivatives_at_zeros_ties_and_infinities():
    _, product = functrax.jvp(cumulative.cumprod, (np.array([2.0, 0, 3, 0, 5]),), (np.ones(5),))
    np.testing.assert_array_equal(product, [1, 2, 6, 0, 0])
    jacobian = functrax.jacrev(cumulative.cummax)(np.array([1.0, 3, 3, 2, 3]))
    third = [0, 1 / 3, 1 / 3, 0, 1 / 3]
    halves = [0, 0.5, 0.5, 0, 0]
    wanted = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], halves, halves, third]
    np.testing.assert_allclose(jacobian, wanted, rtol=1e-6)
    x = np.array([-np.inf, 1.0, np.inf, 2.0])
    _, tangent = functrax.jvp(cumulative.cumlogsumexp, (x,), (np.array([1.0, 2, 3, 4]),))
    np.testing.assert_array_equal(tangent, [1, 2, 3, 3])
