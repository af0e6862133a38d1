"""Every method of quantiles against NumPy, and weights against JAX."""

from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.numpy.quantiles import _METHODS
from tests.numpy.compare import check, rows

Q = np.array([0, 0.1, 0.125, 0.25, 0.3, 0.375, 0.5, 0.7, 0.75, 0.9, 1])
METHODS = [*_METHODS]


def drawn(shape: tuple[int, ...], missing: bool = False) -> Any:
    rng = np.random.default_rng(3)
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32)
    if missing:
        x[rng.random(shape) < 0.3] = np.nan
    return x


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 5, 20])
def test_every_method_is_that_of_numpy(method: str, size: int) -> None:
    x = drawn((size, 3))
    # Shares that are whole numbers of elements are exact in both.
    for q in (Q, np.arange(size + 1) / size, np.array(0.5)):
        expected = np.quantile(x.astype(np.float64), q, axis=0, method=method)
        if method == "nearest":
            expected = expected_nearest(x, q)
        found = jnp.quantile(x, q, axis=0, method=method)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        found = functrax.jit(lambda x, q: jnp.percentile(x, q, axis=0, method=method))(x, q * 100)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def expected_nearest(x: Any, q: Any) -> Any:
    """JAX takes the lower of two that are as near."""
    place = np.ceil(q * (len(x) - 1) - 0.5).astype(int)
    return np.sort(x, 0)[place]


@pytest.mark.parametrize("method", [m for m in METHODS if m != "nearest"])
def test_methods_do_not_count_nan(method: str) -> None:
    x = drawn((4, 9), missing=True)
    expected = np.nanquantile(x.astype(np.float64), Q, axis=1, method=method)
    found = jnp.nanquantile(x, Q, axis=1, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = jnp.nanpercentile(x, 25, axis=1, keepdims=True, method=method)
    expected = np.nanpercentile(x, 25, axis=1, keepdims=True, method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(jnp.quantile(x, 0.5, method=method))


@pytest.mark.parametrize("method", METHODS)
def test_methods_differentiate_and_batch(method: str) -> None:
    x = drawn((7,))
    slope = functrax.grad(lambda x: jnp.quantile(x, 0.3, method=method))(x)
    np.testing.assert_allclose(np.sum(slope), 1, rtol=1e-6)
    both = np.stack([x, -x])
    found = functrax.vmap(lambda x: jnp.quantile(x, 0.3, method=method))(both)
    np.testing.assert_array_equal(found, jnp.quantile(both, 0.3, axis=1, method=method))


WEIGHTED = rows("""
jnp.quantile(g, 0.5, weights=j * j, method='inverted_cdf')
jnp.quantile(f, jnp.array([0., .3, 1.]), axis=1, weights=n, method='inverted_cdf')
jnp.quantile(f, jnp.array([0.2, .7]), axis=0, weights=jnp.abs(f), method='inverted_cdf')
jnp.quantile(f, .4, axis=(0, 1), weights=jnp.abs(f), keepdims=True, method='inverted_cdf')
jnp.quantile(t, .4, axis=(0, 2), weights=jnp.ones((3, 2)), method='inverted_cdf')
jnp.quantile(i, .6, weights=i * i, method='inverted_cdf')
jnp.quantile(g, .6, weights=g, method='inverted_cdf')
jnp.quantile(nan, .6, weights=n, method='inverted_cdf')
jnp.nanquantile(nan, .6, weights=n, method='inverted_cdf')
jnp.nanquantile(nan, jnp.array([.1, .9]), weights=n + 1, method='inverted_cdf')
jnp.percentile(g, 60, weights=n, method='inverted_cdf')
jnp.nanpercentile(nan, 60, weights=n, method='inverted_cdf')
jnp.quantile(h, .6, weights=jnp.abs(f), method='inverted_cdf')
""")


@pytest.mark.parametrize("expression", WEIGHTED)
def test_weights_are_those_of_jax(expression: str) -> None:
    check(expression)


def test_weights_that_do_not_fit() -> None:
    x = jnp.ones((2, 3))
    with pytest.raises(errors.ArgumentError, match="the one that takes weights; got 'linear'"):
        jnp.quantile(x, 0.5, weights=x)
    with pytest.raises(errors.ShapeError, match=r"weights of shape \(2, 3\), or \(3,\)"):
        jnp.quantile(x, 0.5, axis=1, weights=jnp.ones(2), method="inverted_cdf")
    with pytest.raises(errors.DtypeError, match="real weights"):
        jnp.quantile(x, 0.5, weights=x * 1j, method="inverted_cdf")
    with pytest.raises(errors.ArgumentError, match="a method among linear, lower"):
        jnp.quantile(x, 0.5, method="middle")
