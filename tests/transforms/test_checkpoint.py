"""`checkpoint`: the same values and derivatives, computed again. The primitive is ``checkpoint``."""

import functools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax.core.jaxpr import subjaxprs
from functrax.runtime.compile import lower


def count(jaxpr, name):
    """Count an operation in a program and the programs in it."""
    return sum(
        (eqn.primitive.name == name) + sum(count(inner, name) for inner in subjaxprs(eqn.params))
        for eqn in jaxpr.eqns
    )


def residual_sizes(f, *args):
    """Return the number of elements that the backward pass keeps."""
    _, push = functrax.linearize(f, *args)
    jaxpr = functrax.make_jaxpr(push)(*args)
    return sum(const.size for const in jaxpr.consts)


def chain(x):
    for _ in range(4):
        x = jnp.sin(jnp.cos(x))
    return x


def test_the_inside_is_computed_again():
    plain = functrax.make_jaxpr(functrax.grad(lambda x: chain(x)))(1.0)
    again = functrax.make_jaxpr(functrax.grad(lambda x: functrax.checkpoint(chain)(x)))(1.0)
    assert count(plain, "sin") + count(plain, "cos") == 16
    assert count(again, "sin") + count(again, "cos") > 16 + 4


def test_only_the_inputs_are_kept():
    x = jnp.ones(100)
    assert residual_sizes(lambda x: chain(x).sum(), x) >= 400
    assert residual_sizes(lambda x: functrax.checkpoint(chain)(x).sum(), x) <= 100


def test_a_branch_or_barrier_keeps_xla_from_merging():
    traced = functrax.jit(functrax.grad(functrax.checkpoint(chain))).trace(1.0)
    assert "stablehlo.if" in traced.lower().as_text()
    module = lower(traced.jaxpr.jaxpr, name="main", platform="gpu").module
    assert "optimization_barrier" in str(module)
    assert "stablehlo.if" not in str(module)
    free = functrax.checkpoint(chain, prevent_cse=False)
    assert "stablehlo.if" not in functrax.jit(functrax.grad(free)).lower(1.0).as_text()
    np.testing.assert_allclose(functrax.grad(free)(1.0), functrax.grad(chain)(1.0), rtol=1e-6)
    some = functrax.checkpoint(chain, prevent_cse=[False, True])
    assert "stablehlo.if" in functrax.jit(functrax.grad(some)).lower(1.0).as_text()


def held(wrap, length=6, unroll=1, calls=1):
    """Return how often a program holds back what a loop over `calls` of `wrap` computes again."""

    def body(x, _):
        for _ in range(calls):
            x = wrap(lambda x: jnp.sin(jnp.cos(x)))(x)
        return x, None

    def f(x):
        return functrax.lax.scan(body, x, None, length=length, unroll=unroll)[0].sum()

    gradient = functrax.jit(functrax.grad(f))
    slope = 1.0
    x = np.ones(3)
    for _ in range(calls * length):
        slope, x = -slope * np.cos(np.cos(x)) * np.sin(x), np.sin(np.cos(x))
    np.testing.assert_allclose(gradient(np.ones(3)), slope, rtol=1e-5)
    return gradient.lower(np.ones(3)).as_text().count("stablehlo.if")


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({}, 0),
        ({"unroll": 3}, 0),
        ({"unroll": 4}, 1),  # two steps stand before the loop
        ({"unroll": 6}, 1),
        ({"length": 1}, 1),
        ({"length": 3, "calls": 2}, 2),
    ],
)
def test_the_body_of_a_loop_need_not_be_held_back(options, want):
    """What it computes first is in another loop; but several calls would be computed at once."""
    assert held(functrax.checkpoint, **options) == want


def test_what_is_around_a_call_in_a_loop():
    def jitted(f):
        return functrax.jit(functrax.checkpoint(f))

    def nested(f):
        return functrax.checkpoint(lambda x: functrax.checkpoint(f)(x))

    def chosen(f):
        return lambda x: functrax.lax.cond(x[0] < 9, functrax.checkpoint(f), lambda x: x, x)

    assert held(jitted) == 0
    assert held(nested) == 1  # the inner one, in what the outer one computes again
    assert held(chosen) == 0
    # the whole gradient is in the loop
    step = functrax.grad(lambda x: functrax.checkpoint(chain)(x).sum())
    loop = functrax.jit(lambda x: functrax.lax.scan(lambda x, _: (step(x), None), x, None, 6)[0])
    assert "stablehlo.if" in loop.lower(np.ones(3)).as_text()


def test_derivatives_of_every_order_and_mode():
    f = functrax.checkpoint(lambda x, y: jnp.sin(x * y) * jnp.exp(y))
    g = lambda x, y: jnp.sin(x * y) * jnp.exp(y)  # noqa: E731
    grad, jit, vmap = functrax.grad, functrax.jit, functrax.vmap
    second = lambda f: grad(grad(f), argnums=1)  # noqa: E731
    for derive in (
        grad, second, lambda f: jit(second(f)), lambda f: grad(second(f)), functrax.hessian,
        lambda f: functrax.jacfwd(functrax.jacfwd(f)), lambda f: grad(jit(f), argnums=1),
        lambda f: lambda x, y: vmap(grad(f), (0, None))(jnp.stack([x, y]), y),
        lambda f: lambda x, y: grad(lambda x: vmap(f, (0, None))(x, y).sum())(jnp.stack([x, y])),
        lambda f: lambda x, y: functrax.jvp(f, (x, y), (y, x))[1],
        lambda f: lambda x, y: functrax.linearize(f, x, y)[1](y, x),
    ):  # fmt: skip
        point = jnp.float32(0.7), jnp.float32(-0.4)
        np.testing.assert_allclose(derive(f)(*point), derive(g)(*point), rtol=2e-5)


@pytest.mark.parametrize("dtype", ["complex64", "bfloat16", "float16", "float64", "float8_e5m2"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_other_dtypes_and_sizes(dtype, shape):
    holomorphic = dtype.startswith("complex")
    f = lambda x: (x * x * x.astype(x.dtype)).sum()  # noqa: E731
    x = jnp.full(shape, 0.5, dtype)
    grad = lambda f: functrax.jit(functrax.grad(f, holomorphic=holomorphic))(x)  # noqa: E731
    got, wanted = grad(functrax.checkpoint(f)), grad(f)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    as_wide = lambda x: np.asarray(x.astype("complex64"))  # noqa: E731
    np.testing.assert_allclose(as_wide(got), as_wide(wanted), rtol=1e-2)


def test_nested_checkpoints():
    f = functrax.checkpoint(lambda x: functrax.checkpoint(chain)(x) * x)
    g = functrax.checkpoint(functrax.jit(functrax.checkpoint(functrax.vmap(chain))))
    h = lambda x: chain(x) * x  # noqa: E731
    np.testing.assert_allclose(functrax.grad(f)(0.3), functrax.grad(h)(0.3), rtol=1e-5)
    x = jnp.array([0.3, 0.4])
    total = lambda f: functrax.grad(lambda x: f(x).sum())  # noqa: E731
    np.testing.assert_allclose(total(g)(x), total(chain)(x), rtol=1e-5)


def test_integers_constants_and_trees():
    def f(p, n):
        return {"y": p["x"] * n, "n": n + 1, "c": 2.5, "none": None}

    g = functrax.checkpoint(f)
    out = functrax.jit(g)({"x": 2.0}, 3)
    assert {k: v if v is None else float(v) for k, v in out.items()} == {
        "y": 6, "n": 4, "c": 2.5, "none": None}  # fmt: skip
    assert functrax.grad(lambda x: g({"x": x}, 3)["y"] * g({"x": x}, 2)["c"])(2.0) == 7.5


def test_closures_over_differentiated_values():
    def f(w):
        return functrax.checkpoint(lambda x: jnp.sin(w * x))(2.0)

    np.testing.assert_allclose(functrax.grad(f)(0.3), 2 * np.cos(0.6), rtol=1e-6)
    np.testing.assert_allclose(functrax.jit(functrax.grad(f))(0.3), 2 * np.cos(0.6), rtol=1e-6)


def test_static_arguments_and_decoration():
    @functools.partial(functrax.checkpoint, static_argnums=(1,))
    def power(x, n, scale=1.0):
        """Docs."""
        return scale * x**n if n > 1 else x

    assert functrax.grad(power)(2.0, 3) == 12
    assert functrax.grad(power)(2.0, 1) == 1
    by_name = functrax.checkpoint(power.__wrapped__, static_argnames="n")
    assert functrax.grad(by_name)(2.0, n=3) == functrax.grad(by_name)(2.0, 3) == 12
    assert functrax.grad(lambda x: power(x, 2, scale=5.0))(2.0) == 20
    assert (power.__name__, power.__doc__) == ("power", "Docs.")


def test_eager_calls_are_plain_calls():
    seen = []
    f = functrax.checkpoint(lambda x: seen.append(x) or x * 2)
    assert f(3.0) == 6
    assert seen == [3.0]


def test_custom_rules_inside():
    @functrax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (f(x), x), lambda x, g: (10.0 * g * jnp.cos(x),))

    @functrax.custom_jvp
    def g(x):
        return jnp.sin(x)

    g.defjvp(lambda p, t: (g(*p), 10.0 * t[0] * jnp.cos(p[0])))
    for custom in (f, g):
        again = functrax.checkpoint(lambda x, custom=custom: custom(x) * 2)
        np.testing.assert_allclose(functrax.grad(again)(0.3), 20 * np.cos(0.3), rtol=1e-6)
        np.testing.assert_allclose(
            functrax.jit(functrax.grad(functrax.grad(again)))(0.3), -20 * np.sin(0.3), rtol=1e-6
        )


def test_remat_is_another_name():
    assert functrax.remat is functrax.checkpoint
