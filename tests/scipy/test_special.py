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
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)
