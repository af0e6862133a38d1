"""`closure_convert` and `custom_gradient`."""

# ruff: noqa: E731  (tables of functions)
import functools

import jax
import jax.custom_derivatives
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.custom_derivatives import closure_convert


def minimum(lib, f, x, *captured):
    """A function whose rule needs to know what f closes over: grad of x is 5, of each value 7."""

    @functools.partial(lib.custom_vjp, nondiff_argnums=(0,))
    def run(f, x, *captured):
        return f(x, *captured)

    run.defvjp(
        lambda f, x, *captured: (f(x, *captured), captured),
        lambda f, captured, g: (5.0 * g, *(7.0 * g * (c * 0 + 1) for c in captured)),
    )
    return run(f, x, *captured)


def converted(lib, x, c, p):
    inner = lambda x: c * x + p["a"].sum() * lib.numpy.ones(2).sum()
    f, captured = lib.closure_convert(inner, x)
    assert len(captured) in (0, 2)
    return minimum(lib, f, x, *captured)


@pytest.mark.parametrize("outer", ["grad", "jit-grad", "vmap-grad", "grad-jit"])
def test_closure_convert_against_jax(outer):
    def run(lib):
        f = lambda x, c, a: converted(lib, x, c, {"a": a})
        grad = lib.grad(lib.jit(f) if outer == "grad-jit" else f, (0, 1, 2))
        if outer == "vmap-grad":
            return lib.vmap(grad, (0, None, None))(np.ones(2, np.float32), 2.0, np.ones(2))
        return (lib.jit(grad) if outer == "jit-grad" else grad)(1.0, 2.0, np.ones(2, np.float32))

    for x, wanted in zip(run(functrax), run(jax), strict=True):
        np.testing.assert_allclose(x, wanted, rtol=1e-6)


def test_nothing_is_captured():
    f, captured = closure_convert(lambda x, k: {"y": x["a"] * 3 + k}, {"a": 1.0}, 2)
    assert captured == []
    assert f({"a": 2.0}, 1)["y"] == 7


def test_integers_and_arrays_stay_where_they_are():
    def run(n, c):
        f, captured = closure_convert(lambda x: x * n * c * jnp.arange(2), 1.0)
        return f(2.0, *captured), len(captured)

    out, count = functrax.jit(run)(3, 2.0)
    assert (out.tolist(), count) == ([0, 12], 1)


def test_other_arguments_than_the_example():
    f, _ = closure_convert(lambda p: p["a"], {"a": 1.0})
    with pytest.raises(errors.TreeError):
        f({"b": 1.0})
    with pytest.raises(errors.ArgumentError, match="to be an array or a number; got 'x'"):
        f({"a": "x"})
    with pytest.raises(errors.ArgumentError, match="the types of the example and of what it"):
        f({"a": jnp.ones(2)})


@pytest.mark.parametrize(
    "make", [lambda x: minimum(functrax, *_convert(x)), lambda x: CUSTOM(x) * 2.0]
)
def test_nothing_outlives_the_trace(make):
    with functrax.checking_leaks():
        assert functrax.jit(functrax.grad(functrax.jit(make)))(2.0) is not None


def _convert(x):
    f, captured = closure_convert(lambda y: x * y, 1.0)
    return f, x, *captured


@functrax.custom_gradient
def CUSTOM(x):
    y = jnp.exp(x)
    return y, lambda g: g * y


def several(lib):
    @lib.custom_gradient
    def f(x, p):
        y = lib.numpy.exp(x) * p["a"]
        return {"y": y, "x": x}, lambda g: (10 * y * g["y"] + g["x"], {"a": g["y"] * x})

    return lambda x, a: sum(f(x, {"a": a}).values())


GRADIENTS = {
    "one": lambda lib, n: lib.grad(lib.custom_gradient(lambda x: (x**2, lambda g: g * x)))(3.0),
    "one-tuple": lambda lib, n: lib.grad(lib.custom_gradient(lambda x: (x**2, lambda g: (g * x,))))(
        3.0
    ),
    "several": lambda lib, n: lib.grad(several(lib), (0, 1))(0.3, 2.0),
    "jit": lambda lib, n: lib.jit(lib.grad(lib.jit(several(lib)), (0, 1)))(0.3, 2.0),
    "vmap": lambda lib, n: lib.vmap(lib.grad(several(lib), (0, 1)), (0, None))(n.arange(3.0), 2.0),
    "unmapped": lambda lib, n: lib.grad(
        lambda a: lib.vmap(several(lib), (0, None))(n.arange(3.0), a).sum()
    )(2.0),
    "second": lambda lib, n: lib.grad(lib.grad(several(lib)))(0.3, 2.0),
    "value": lambda lib, n: several(lib)(0.3, 2.0),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_custom_gradient_against_jax(name):
    found = functrax.tree.leaves(GRADIENTS[name](functrax, jnp))
    for x, wanted in zip(found, jax.tree.leaves(GRADIENTS[name](jax, jax.numpy)), strict=True):
        np.testing.assert_allclose(x, wanted, rtol=1e-5)


def test_custom_gradient_of_integers():
    @functrax.custom_gradient
    def f(x, n):
        def pullback(g):
            assert g[1] is None
            return g[0] * n * 10, None

        return (x * n, n), pullback

    first = lambda x, n: f(x, n)[0]
    assert functrax.grad(first)(2.0, 3) == functrax.jit(functrax.grad(first))(2.0, 3) == 30
    assert functrax.jvp(f, (2.0, 3), (1.0, None))[1][0] == 3  # of the function itself
    assert functrax.vmap(functrax.grad(first), (None, 0))(2.0, jnp.arange(2)).tolist() == [0, 10]


def test_keywords_and_control_flow_on_values():
    @functrax.custom_gradient
    def f(x, scale=2.0):
        return x * scale, (lambda g: (g * 7, None)) if x > 0 else (lambda g: (g * 9, None))

    assert functrax.grad(f)(1.0) == 7
    assert functrax.grad(lambda x: f(x, scale=3.0))(-1.0) == 9
    assert f(1.0, scale=5.0) == 5


WRONG = [
    (lambda x: x, errors.CustomRuleError, "a pair (output, pullback); got ~f32[]"),
    (lambda x: (x, 1), errors.ArgumentError, "a function; got 1 of type int"),
    (
        lambda x: (x, lambda g: (g, g)),
        errors.CustomRuleError,
        "the bwd rule to return cotangents of the structure PyTreeDef((*,)); got PyTreeDef((*, *))",
    ),
]


@pytest.mark.parametrize(("f", "kind", "message"), WRONG)
def test_wrong_functions(f, kind, message):
    with pytest.raises(kind) as caught:
        functrax.grad(functrax.custom_gradient(f))(1.0)
    assert f"{caught.value.expected}; got {caught.value.got}" == message
