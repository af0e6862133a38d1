"""Derivatives at ties, kinks, zeros and infinities. The oracle is jax.grad."""

import pytest

import functrax
import functrax.numpy as jnp
from tests.numpy.compare import check, rows

CASES = rows(r"""
lib.vmap(lib.grad(jnp.abs))(inf[:8])
lib.vmap(lib.grad(jnp.fabs))(inf[:8])
lib.vmap(lib.grad(lib.grad(jnp.cbrt)))(inf[1:7])
lib.vmap(lib.grad(jnp.sqrt))(inf)
lib.vmap(lib.grad(jnp.sinc))(g*0)
lib.grad(jnp.logaddexp, (0, 1))(1.0, 1.0)
lib.grad(jnp.logaddexp, (0, 1))(-jnp.inf, 1.0)
lib.grad(jnp.logaddexp2, (0, 1))(2.0, -3.0)
lib.hessian(lambda x: jnp.logaddexp(x[0], x[1]))(g*0)
lib.hessian(lambda x: jnp.logaddexp2(x[0], x[1]))(g)
lib.jit(lib.grad(lambda x: jnp.logaddexp(x, f).sum()))(g)
lib.jit(lib.vmap(lib.grad(jnp.logaddexp), in_axes=(None, 0)))(2.0, g)
lib.grad(lambda x: jnp.logaddexp(x, c).real.sum())(c*2)
lib.grad(jnp.fmax, (0, 1))(3.0, 3.0)
lib.grad(jnp.fmin, (0, 1))(jnp.nan, 3.0)
lib.grad(jnp.maximum, (0, 1))(s, s)
lib.grad(jnp.hypot, (0, 1))(0.0, 2.0)
lib.grad(jnp.copysign)(0.0, -1.0)
lib.vmap(lib.grad(lambda x: jnp.frexp(x)[0]))(jnp.array([3.0, -0.25, 0.0]))
lib.vmap(lib.grad(jnp.ldexp), (0, None))(g, 4)
lib.grad(lambda x: lib.grad(jnp.ldexp)(x, 3) * x)(2.0)
lib.grad(jnp.arctan2, (0, 1))(0.0, 0.0)
lib.grad(lambda x: (x**2).sum() + (x**0).sum() + (x**1).sum())(f)
lib.grad(lambda x: jnp.clip(x, 0, 1).sum())(jnp.array([-1.0, 0, 0.5, 1, 2]))
lib.grad(lambda x: x.max())(jnp.array([1.0, 3, 3]))
lib.grad(lambda x: x.prod())(jnp.array([2.0, 0, 3]))
lib.hessian(lambda x: x.prod())(jnp.array([0.0, 0, 3]))
lib.grad(lambda x: jnp.cumprod(x).sum())(jnp.array([2.0, 0, 3, 0]))
lib.grad(jnp.std)(g*0 + 2)
lib.grad(lambda x: jnp.var(x, ddof=1))(g)
lib.grad(lambda x: jnp.var(x, mean=1.0))(g)
lib.grad(jnp.median)(jnp.array([2.0, 2, 2, 1]))
lib.grad(lambda x: jnp.sort(x)[:2].sum())(nan)
lib.grad(jnp.linalg.norm)(g)
lib.grad(lambda x: jnp.linalg.norm(x, ord=1))(g*0)
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)


def test_hypot_has_a_finite_gradient_at_its_kink() -> None:
    # JAX 0.12 has NaN there, JAX 0.10 what this is: one of the subgradients.
    assert [float(g) for g in functrax.grad(jnp.hypot, (0, 1))(0.0, 0.0)] == [0.5, 0.5]
