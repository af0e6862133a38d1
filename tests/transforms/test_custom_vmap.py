"""`custom_vmap` and `sequential_vmap`: the user's rule is how a function is mapped.

The primitive is ``custom_vmap_call``.
"""

# ruff: noqa: E731  (tables of functions)
import jax
import jax.custom_batching
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.custom_batching import custom_vmap, sequential_vmap

XS = np.array([0.3, 0.7], np.float32)


def cosine_when_mapped(n, decorator):
    """A sine that is mapped as a cosine."""

    @decorator
    def f(x, p, k):
        return {"y": n.sin(x) * p["a"], "k": k}

    @f.def_vmap
    def rule(size, in_batched, x, p, k):
        xb, pb, kb = in_batched
        x = x if xb else n.broadcast_to(x, (size,))
        a = p["a"] if pb["a"] else n.broadcast_to(p["a"], (size,))
        return {"y": n.cos(x) * a, "k": k}, {"y": True, "k": kb}

    return f


def y(f, k=1):
    return lambda x, a: f(x, {"a": a}, k)["y"]


AGAINST_JAX = {
    "call": lambda lib, n, f: f(0.3, {"a": 2.0}, 3),
    "keyword": lambda lib, n, f: f(0.3, k=3, p={"a": 2.0}),
    "vmap": lambda lib, n, f: lib.vmap(f, (0, None, None))(XS, {"a": 2.0}, 3),
    "vmap-all": lambda lib, n, f: lib.vmap(f)(XS, {"a": XS}, np.arange(2)),
    "vmap-last": lambda lib, n, f: lib.vmap(f, (None, {"a": 0}, None))(0.3, {"a": XS}, 1),
    "vmap-jit": lambda lib, n, f: lib.jit(lib.vmap(lib.jit(f), (0, None, 0)))(
        XS, {"a": 2.0}, np.arange(2)
    ),
    "jvp": lambda lib, n, f: lib.jvp(y(f), (0.3, 2.0), (1.0, 0.5)),
    "jvp-vmap": lambda lib, n, f: lib.jvp(lib.vmap(y(f)), (XS, XS), (XS, XS)),
    "vmap-jvp": lambda lib, n, f: lib.vmap(lambda x, a: lib.jvp(y(f), (x, a), (x, a)))(XS, XS),
    "grad-vmap": lambda lib, n, f: lib.grad(
        lambda x, a: lib.vmap(y(f), (0, None))(x, a).sum(), (0, 1)
    )(XS, 2.0),
    "hessian-vmap": lambda lib, n, f: lib.jit(
        lib.hessian(lambda x, a: lib.vmap(y(f), (0, None))(x, a).sum(), (0, 1))
    )(XS, 2.0),
    "scan": lambda lib, n, f: lib.vmap(
        lambda x: lib.lax.scan(lambda c, _: (f(c, {"a": 2.0}, 1)["y"], c), x, None, 3)
    )(XS),
}


@pytest.mark.parametrize("program", AGAINST_JAX)
def test_against_jax(program):
    run = AGAINST_JAX[program]
    found = run(functrax, jnp, cosine_when_mapped(jnp, custom_vmap))
    theirs = cosine_when_mapped(jax.numpy, jax.custom_batching.custom_vmap)
    wanted = jax.tree.leaves(run(jax, jax.numpy, theirs))
    for x, expected in zip(functrax.tree.leaves(found), wanted, strict=True):
        np.testing.assert_allclose(x, expected, rtol=1e-5)


@pytest.mark.parametrize("inner", [lambda f: f, functrax.jit, functrax.checkpoint])
@pytest.mark.parametrize("outer", [lambda f: f, functrax.jit])
def test_gradients_inside_vmap_are_those_of_the_rule(outer, inner):
    f = inner(y(cosine_when_mapped(jnp, custom_vmap)))
    mapped = outer(functrax.vmap(functrax.value_and_grad(f, (0, 1)), (0, None)))
    value, (dx, da) = mapped(XS, 2.0)
    np.testing.assert_allclose(value, 2 * np.cos(XS), rtol=1e-6)
    np.testing.assert_allclose(dx, -2 * np.sin(XS), rtol=1e-6)
    np.testing.assert_allclose(da, np.cos(XS), rtol=1e-6)
    second = outer(functrax.vmap(functrax.grad(functrax.grad(f)), (0, None)))(XS, 2.0)
    np.testing.assert_allclose(second, -2 * np.cos(XS), rtol=1e-5)
    np.testing.assert_allclose(functrax.grad(f)(0.3, 2.0), 2 * np.cos(0.3), rtol=1e-6)


def test_two_mapped_axes():
    f = sequential_vmap(lambda x, p: jnp.sin(x) * p["a"])
    table = functrax.vmap(functrax.vmap(f, (0, None)), (None, 0))
    np.testing.assert_allclose(table(XS, {"a": XS}), np.outer(XS, np.sin(XS)), rtol=1e-6)
    names = [eqn.primitive.name for eqn in functrax.make_jaxpr(table)(XS, {"a": XS}).eqns]
    assert names[0] == "scan"
    assert "custom_vmap_call" not in names


def test_the_function_is_not_mapped():
    calls = []

    @custom_vmap
    def f(x):
        calls.append(x.shape)
        return x

    f.def_vmap(lambda size, in_batched, x: (x + size, True))
    assert functrax.vmap(f, 1)(jnp.zeros((1, 3))).tolist() == [[3], [3], [3]]
    assert calls == [(1,)]


def test_an_axis_without_mapped_arguments_and_of_no_size():
    f = sequential_vmap(lambda x: x * 2)
    assert functrax.vmap(lambda x: f(3.0) + x)(jnp.zeros(2)).tolist() == [6, 6]
    assert functrax.vmap(f)(jnp.zeros((0, 2))).shape == (0, 2)


def test_below_custom_vjp_as_in_the_documentation_of_jax():
    @custom_vmap
    def f(x):
        return jnp.sin(x)

    f.def_vmap(lambda size, in_batched, x: (jnp.cos(x), True))
    g = functrax.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, ct: (100.0 * ct,))
    value, slope = functrax.vmap(functrax.value_and_grad(g))(XS)
    np.testing.assert_allclose(value, np.cos(XS), rtol=1e-6)
    assert slope.tolist() == [100, 100]


def test_linear_functions_are_transposed():
    f = sequential_vmap(lambda x: 3 * x)
    assert functrax.linear_transpose(f, 1.0)(2.0) == (6,)


def test_methods_and_captured_values():
    class Model:
        scale = 2.0

        @sequential_vmap
        def __call__(self):
            return self * 3.0

    assert functrax.vmap(Model.__dict__["__call__"])(XS).tolist() == (XS * 3).tolist()
    run = lambda c: functrax.vmap(sequential_vmap(lambda x: c * x))(XS)
    np.testing.assert_allclose(functrax.jit(run)(2.0), 2 * XS)


def mapped_by(rule, f=lambda x: (x, x)):
    made = custom_vmap(f)
    made.def_vmap(rule)
    return functrax.vmap(made)


WRONG = [
    (
        lambda: custom_vmap(lambda x: x)(1.0),
        errors.ArgumentError,
        "a rule set by `def_vmap`; got none",
    ),
    (
        lambda: mapped_by(lambda n, b, x: ((x, x), (True, False)))(XS),
        errors.CustomRuleError,
        "the vmap rule to return f32[2], f32[], the function's output with an axis of size 2 in "
        "front where out_batched says so; got f32[2], f32[2]",
    ),
    (
        lambda: mapped_by(lambda n, b, x: (x, True))(XS),
        errors.CustomRuleError,
        "an output of the function's structure PyTreeDef((*, *)) from the vmap rule; "
        "got PyTreeDef(*)",
    ),
    (
        lambda: mapped_by(lambda n, b, x: x)(XS),
        errors.CustomRuleError,
        "the vmap rule to return a pair (output, out_batched); got f32[2]",
    ),
    (
        lambda: functrax.vmap(lambda c: sequential_vmap(lambda x: c * x)(1.0))(XS),
        errors.CustomRuleError,
        "a custom_vmap function to depend on mapped values through its arguments only; "
        "got '<lambda>', which closes over one",
    ),
    (
        lambda: functrax.grad(lambda c: sequential_vmap(lambda x: c * x)(1.0))(2.0),
        errors.CustomRuleError,
        "a custom_vmap function to depend on differentiated values through its arguments only; "
        "got '<lambda>', which closes over one",
    ),
]


@pytest.mark.parametrize(("run", "kind", "message"), WRONG)
def test_wrong_rules(run, kind, message):
    with pytest.raises(kind) as caught:
        run()
    assert f"{caught.value.expected}; got {caught.value.got}" == message
