"""`linear_call`: a linear function with its own transpose. The primitive is ``linear_call``."""

# ruff: noqa: E731  (tables of functions)
import jax
import jax.custom_derivatives
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.custom_derivatives import linear_call
from functrax.testing import check_grads

X = np.array([0.5, -0.3, 2.0], np.float32)


def scaled(lib, call, x, r):
    """Its transpose says ten times as much."""
    return call(lambda r, x: {"y": x / r}, lambda r, ct: 10 * ct["y"] / r, r, x)["y"]


def transposed(lib, f, x):
    return lambda ct: lib.linear_transpose(f, x)(ct)[0]


AGAINST_JAX = {
    "value": lambda lib, f: f(X, 2.0),
    "jit": lambda lib, f: lib.jit(f)(X, 2.0),
    "once": lambda lib, f: transposed(lib, lambda x: f(x, 2.0), X)(X),
    "twice": lambda lib, f: transposed(lib, transposed(lib, lambda x: f(x, 2.0), X), X)(X),
}


@pytest.mark.parametrize("program", AGAINST_JAX)
def test_against_jax(program):
    mine = lambda x, r: scaled(functrax, linear_call, x, r)
    theirs = lambda x, r: scaled(jax, jax.custom_derivatives.linear_call, x, r)
    wanted = AGAINST_JAX[program](jax, theirs)
    np.testing.assert_allclose(AGAINST_JAX[program](functrax, mine), wanted, rtol=1e-6)


@pytest.mark.parametrize("outer", [lambda f: f, functrax.jit, functrax.checkpoint])
def test_reverse_mode_uses_the_transpose(outer):
    f = outer(lambda x, r: scaled(functrax, linear_call, x, r))
    dx, dr = functrax.grad(lambda x, r: f(x, r).sum(), (0, 1))(X, 2.0)
    np.testing.assert_allclose(dx, [5, 5, 5])
    np.testing.assert_allclose(dr, -X.sum() / 4, rtol=1e-6)  # the residual is differentiated itself
    np.testing.assert_allclose(functrax.jvp(f, (X, 2.0), (X, 1.0))[1], X / 2 - X / 4, rtol=1e-6)


def test_every_axis_is_mapped():
    f = lambda x, r: scaled(functrax, linear_call, x, r)
    np.testing.assert_allclose(functrax.vmap(f, (0, None))(X, 2.0), X / 2)
    np.testing.assert_allclose(functrax.vmap(f, (None, 0))(X, X), X[None] / X[:, None])
    loss = lambda x, r: scaled(functrax, linear_call, x, r).sum()
    gradients = functrax.vmap(functrax.grad(loss, (0, 1)), (None, 0))(X, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(gradients[0], [[10] * 3, [5] * 3])
    np.testing.assert_allclose(gradients[1], [-X.sum(), -X.sum() / 4], rtol=1e-6)
    gradients = functrax.vmap(functrax.grad(loss, (0, 1)), (0, None))(jnp.stack([X, X]), 2.0)
    np.testing.assert_allclose(gradients[0], [[5] * 3] * 2)
    whole = lambda r: functrax.vmap(loss, (None, 0))(X, r).sum()
    np.testing.assert_allclose(functrax.grad(whole)(jnp.full(2, 2.0)), [-X.sum() / 4] * 2)


def test_a_true_transpose_has_right_derivatives_of_every_order():
    def f(x, r):
        forward = lambda r, x: jnp.sin(r) * x
        return linear_call(forward, forward, r, x).sum() ** 2

    check_grads(f, (jnp.asarray(X), 0.7), order=3, rtol=2e-2, atol=2e-2)


def test_integers_take_and_give_none():
    def f(x, n):
        return linear_call(
            lambda n, pair: pair[0] * pair[1] * n, lambda n, ct: (ct * 7.0 * n, None), n, (x, n)
        )

    assert f(2.0, 3) == functrax.jit(f)(2.0, 3) == 18
    assert functrax.grad(f)(2.0, 3) == functrax.jit(functrax.grad(f))(2.0, 3) == 21
    assert functrax.vmap(functrax.grad(f), (None, 0))(2.0, jnp.arange(2)).tolist() == [0, 7]
    assert functrax.jvp(f, (2.0, 3), (1.0, None))[1] == 9


def test_none_is_a_zero_cotangent():
    f = lambda p: linear_call(lambda _, p: p["a"], lambda _, ct: {"a": ct, "b": None}, (), p)
    found = functrax.grad(f)({"a": 1.0, "b": jnp.ones(2)})
    assert (found["a"], found["b"].tolist()) == (1, [0, 0])


def test_closures():
    def f(c, x):
        return linear_call(lambda _, x: c * x, lambda _, ct: 10.0 * c * ct, (), x)

    assert functrax.grad(f, (0, 1))(2.0, 3.0) == (3, 20)
    assert functrax.jit(functrax.grad(f, (0, 1)))(2.0, 3.0) == (3, 20)
    mapped = functrax.vmap(functrax.grad(functrax.jit(f), (0, 1)), (0, None))(jnp.arange(2.0), 3.0)
    assert [x.tolist() for x in mapped] == [[3, 3], [0, 10]]


def test_nothing_linear():
    assert functrax.jit(lambda: linear_call(lambda r, x: r, lambda r, ct: (), 3.0, ()))() == 3


WRONG = [
    (
        lambda x: linear_call(lambda _, x: x, lambda _, ct: (ct, ct), (), x),
        errors.CustomRuleError,
        "the transpose to return cotangents of linear_args of the structure PyTreeDef(*); "
        "got PyTreeDef((*, *))",
    ),
    (
        lambda x: linear_call(lambda _, x: x, lambda _, ct: ct.astype("float16"), (), x),
        errors.CustomRuleError,
        "the transpose to return cotangents of linear_args of type f32[]; got f16[]",
    ),
    (
        lambda x: linear_call(lambda _, x: x.astype(int), lambda _, ct: ct, (), x),
        errors.DtypeError,
        "'<lambda>' to return arrays of floating or complex dtype; got i32[] at result",
    ),
    (
        lambda x: linear_call(lambda _, x: x, lambda _, ct: ct, "r", x),
        errors.ArgumentError,
        "argument 'residual_args' to be an array or a number; got 'r' of type str",
    ),
]


@pytest.mark.parametrize(("f", "kind", "message"), WRONG)
def test_wrong_functions(f, kind, message):
    with pytest.raises(kind) as caught:
        functrax.grad(f)(1.0)
    assert f"{caught.value.expected}; got {caught.value.got}" == message


def test_transposition_in_a_residual():
    f = lambda r: linear_call(lambda r, x: r * x, lambda r, ct: r * ct, r, 2.0)
    with pytest.raises(errors.MissingRuleError, match="in what it captured or in `residual_args`"):
        functrax.linear_transpose(f, 1.0)(1.0)
