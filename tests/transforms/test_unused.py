"""What nobody uses of a branch or of a call is not computed, nor what only it reads."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import lax
from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import subjaxprs
from functrax.lowering.passes import optimize
from functrax.testing import check_grads

# Each gives a function of x and y; what has to do with y is not used.


def _cond(x, y):
    return lax.cond(x > 0, lambda x, y: (jnp.sin(x), jnp.exp(y)), lambda x, y: (x, y), x, y)[0]


def _switch(x, y):
    branches = [lambda x, y: (y, x * 2), lambda x, y: (jnp.exp(y), x), lambda x, y: (x, jnp.sin(x))]
    return lax.switch(x.astype(int) + 2, branches, x, y)[1]


def _captured(x, y):
    return lax.cond(x > 0, lambda: (jnp.sin(x), jnp.exp(y)), lambda: (x, y))[0]


def _platform(x, y):
    pair = lambda x, y: (jnp.sin(x), jnp.exp(y))  # noqa: E731
    return lax.platform_dependent(x, y, cpu=pair, default=lambda x, y: (x, y))[0]


def _in_a_branch(x, y):
    inner = lambda x, y: lax.cond(y > 0, lambda: (x, jnp.exp(y)), lambda: (x, y))  # noqa: E731
    return lax.cond(x > 0, inner, lambda x, y: (x * 2, y), x, y)[0]


def _jit(x, y):
    return functrax.jit(lambda x, y: (jnp.sin(x), jnp.exp(y)))(x, y)[0]


def _checkpoint(x, y):
    return functrax.checkpoint(lambda x, y: (jnp.sin(x), jnp.exp(y)))(x, y)[0]


def _in_a_loop(x, y):
    def step(carry, _):
        x, y = lax.cond(carry[0] > 0, lambda a, b: (jnp.sin(a), jnp.exp(b)), lambda *c: c, *carry)
        return functrax.jit(lambda x, y: (x * 0.5, jnp.exp(y)))(x, y), None

    return lax.scan(step, (x, y), None, length=3)[0][0]


FUNCTIONS = [
    _cond, _switch, _captured, _platform, _in_a_branch, _jit, _checkpoint, _in_a_loop
]  # fmt: skip


def operations(jaxpr):
    """Return the names of all operations of a program."""
    inner = [operations(program) for eqn in jaxpr.eqns for program in subjaxprs(eqn.params)]
    return {eqn.primitive.name for eqn in jaxpr.eqns}.union(*inner)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_what_is_not_used_is_left_out(f):
    x, y = jnp.float32(0.7), jnp.float32(2.0)
    traced = functrax.make_jaxpr(f)(x, y).jaxpr
    program = optimize(traced)
    check_jaxpr(program)
    assert "exp" in operations(traced)
    assert "exp" not in operations(program)
    last = program.invars[-1]
    assert not any(last in eqn.invars for eqn in program.eqns) or f is _in_a_branch
    for x in (0.7, -0.7):
        with functrax.disable_jit():
            expected = f(jnp.float32(x), y)
        np.testing.assert_allclose(functrax.jit(f)(jnp.float32(x), y), expected, rtol=1e-6)
    check_grads(f, (jnp.float32(0.7), y), 2, rtol=2e-3)
    xs = jnp.array([0.7, -0.7])
    lanes = functrax.jit(functrax.vmap(functrax.grad(f), (0, None)))(xs, y)
    one_by_one = [functrax.grad(f)(x, y) for x in xs]
    np.testing.assert_allclose(lanes, one_by_one, rtol=1e-5)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_of_a_gradient_too(f):
    program = optimize(functrax.make_jaxpr(functrax.grad(f))(jnp.float32(0.7), 2.0).jaxpr)
    check_jaxpr(program)
    assert "exp" not in operations(program)


def test_effects_in_a_branch_stay():
    seen = []

    def f(x):
        def loud(x):
            functrax.debug.callback(lambda x: seen.append(float(x)), x + 1)
            return x, jnp.exp(x)

        lax.cond(x > 0, loud, lambda x: (x, x), x)
        functrax.jit(loud)(x)
        return x

    jitted = functrax.jit(f)
    assert "exp" not in operations(optimize(functrax.make_jaxpr(f)(1.0).jaxpr))
    jitted(1.0)
    jitted(-1.0)
    assert seen == [2.0, 2.0, 0.0]
