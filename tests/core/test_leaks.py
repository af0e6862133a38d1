"""`checking_leaks` finds a traced value that is kept, whichever transform made it."""

import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax

KEEPING = {
    "jit": lambda f: functrax.jit(f)(1.0),
    "vmap": lambda f: functrax.vmap(f)(jnp.ones(2)),
    "grad": lambda f: functrax.grad(f)(1.0),
    "jvp": lambda f: functrax.jvp(f, (1.0,), (1.0,)),
    "vjp": lambda f: functrax.vjp(f, 1.0),
    "linearize": lambda f: functrax.linearize(f, 1.0),
    "jacfwd": lambda f: functrax.jacfwd(f)(1.0),
    "hessian": lambda f: functrax.hessian(f)(1.0),
    "vmap of grad": lambda f: functrax.vmap(functrax.grad(f))(jnp.ones(2)),
    "scan": lambda f: lax.scan(lambda c, x: (f(c), x), 1.0, jnp.ones(2)),
    "make_jaxpr": lambda f: functrax.make_jaxpr(f)(1.0),
}


@pytest.mark.parametrize("name", KEEPING)
def test_a_value_that_is_kept_is_found(name):
    kept = []

    def f(x):
        kept.append(x)
        return jnp.sin(x)

    with (
        functrax.checking_leaks(),
        pytest.raises(errors.LeakedTracerError, match="used or kept after the transform ended"),
    ):
        KEEPING[name](f)


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_nothing_runs(name):
    with functrax.checking_leaks():
        KEEPING[name](lambda x: jnp.sin(x) * x)


def test_a_pullback_of_mapped_values_is_no_leak():
    with functrax.checking_leaks():
        y, pull = functrax.vmap(lambda x: functrax.vjp(jnp.sin, x))(jnp.zeros(2))
        (found,) = functrax.vmap(lambda pull, g: pull(g))(pull, y + 1)
        assert found.tolist() == [1, 1]
