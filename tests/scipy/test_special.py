"""Special functions. The oracle is jax.scipy.special."""

import pytest

from tests.numpy.compare import check, rows

CASES = rows("""
sp.erf(f)
sp.erfc(f)
sp.erfinv(f / 10)
sp.expit(f)
sp.logit(abs(f) / 10)
sp.xlogy(f, abs(f))
sp.xlogy(i, 2)
sp.xlog1py(f, abs(f))
sp.entr(f)
sp.ndtr(f)
sp.ndtri(abs(f) / 10)
sp.logsumexp(f, axis=0)
lib.grad(lambda x: sp.ndtr(x).sum())(f)
lib.grad(lambda x: sp.xlogy(x, 2.0).sum())(f)
sp.xlogy(0.0, inf)
sp.xlog1py(inf, 0.0)
sp.xlog1py(0.0, jnp.nan)
sp.entr(inf)
sp.ndtri(jnp.array([0.0, 1e-30, 1e-10, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0]))
lib.grad(sp.xlogy, (0, 1))(0.0, 0.0)
lib.grad(sp.xlogy, (0, 1))(0.0, 2.0)
lib.grad(sp.xlog1py, (0, 1))(0.0, -1.0)
lib.grad(lib.grad(sp.xlogy, 1))(2.0, 3.0)
lib.grad(sp.entr)(0.0)
lib.vmap(lib.grad(lib.grad(sp.entr)))(jnp.array([0.1, 1.0]))
lib.vmap(lib.grad(sp.logit))(jnp.array([0.0, 0.2, 1.0]))
lib.vmap(lib.grad(sp.ndtri))(jnp.array([1e-10, 0.1, 0.5, 0.9]))
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)
