"""`custom_vjp`: the user's rule is the pullback.

The primitives are ``custom_vjp_call`` and ``custom_vjp_tangent``.
"""

import functools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from tests.transforms.test_custom_jvp import TRANSFORMS

FORWARD = ("jvp", "jvp-jit", "linearize", "jacfwd")
REVERSE = [name for name in TRANSFORMS if name not in FORWARD]


def tripled():
    """A sine whose pullback says 3 cos."""

    @functrax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (f(x), jnp.cos(x)), lambda c, g: (3.0 * c * g,))
    return f


@pytest.mark.parametrize("name", REVERSE)
def test_the_rule_holds_in_reverse_mode(name):
    np.testing.assert_allclose(TRANSFORMS[name](tripled())(0.3), 3 * np.cos(0.3), rtol=1e-6)


@pytest.mark.parametrize("name", FORWARD)
def test_forward_mode_differentiates_the_function_itself(name):
    np.testing.assert_allclose(TRANSFORMS[name](tripled())(0.3), np.cos(0.3), rtol=1e-6)


@pytest.mark.parametrize("outer", ["grad", "jit-grad", "jvp", "jacfwd", "grad-checkpoint"])
@pytest.mark.parametrize("inner", ["grad", "grad-jit", "jit-grad", "jacrev", "vmap-grad"])
def test_the_rule_is_differentiated_in_turn(outer, inner):
    found = TRANSFORMS[outer](TRANSFORMS[inner](tripled()))(0.3)
    np.testing.assert_allclose(found, -3 * np.sin(0.3), rtol=1e-6)


def test_reverse_over_forward():
    f = tripled()
    assert functrax.grad(lambda x: functrax.jvp(f, (x,), (1.0,))[1])(0.5) is not None
    np.testing.assert_allclose(functrax.hessian(f)(0.5), -3 * np.sin(0.5), rtol=1e-6)


def test_values_do_not_need_the_rules():
    calls = []

    @functrax.custom_vjp
    def f(x):
        return x * 2

    f.defvjp(lambda x: calls.append(1) or (f(x), None), lambda _, g: (g,))
    assert f(3.0) == functrax.jit(f)(3.0) == functrax.vmap(f)(jnp.full(1, 3.0))[0] == 6
    assert calls == []
    assert functrax.make_jaxpr(f)(3.0).eqns[0].primitive.name == "custom_vjp_call"


def test_the_forward_rule_runs_once():
    calls = []

    @functrax.custom_vjp
    def f(x):
        calls.append("function")
        return x * 2

    def forward(x):
        calls.append("forward")
        return x * 2, x

    f.defvjp(forward, lambda x, g: (calls.append("backward") or g * 7.0,))
    assert functrax.grad(f)(3.0) == 7
    assert calls == ["forward", "backward"]


def test_rules_see_arrays():
    seen = []

    @functrax.custom_vjp
    def f(x, n, p):
        return x * n + p["a"]

    def forward(x, n, p):
        seen.extend(isinstance(v, functrax.Array) for v in (x, n, p["a"]))
        return f(x, n, p), (x, n, 2.5)

    def backward(kept, g):
        seen.extend(isinstance(v, functrax.Array) for v in (*kept, g))
        _x, n, c = kept
        return 10 * g * n, None, {"a": -g / 1 + 0 * c}

    f.defvjp(forward, backward)
    for grad in (functrax.grad, lambda f, n: functrax.jit(functrax.grad(f, n))):
        x, p = grad(f, (0, 2))(1.0, 3, {"a": 2.0})
        assert (x, p["a"]) == (30, -1)
    assert all(seen)


def test_residuals_are_any_pytree():
    @functrax.custom_vjp
    def f(x):
        return x**2

    f.defvjp(lambda x: (f(x), {"a": [x, None, ()], "n": 3}), lambda r, g: (r["a"][0] * r["n"] * g,))
    assert functrax.grad(f)(2.0) == 6
    assert functrax.vmap(functrax.grad(f))(jnp.arange(2.0)).tolist() == [0, 3]


def test_none_and_float0_are_zero_cotangents():
    zero = np.zeros((), functrax.dtypes.float0)
    for nothing in (None, zero):
        f = functrax.custom_vjp(lambda x, n: x * n)
        f.defvjp(lambda x, n: (x * n, n), lambda n, g, nothing=nothing: (n * g, nothing))
        assert functrax.grad(f)(2.0, 3) == 3
        assert functrax.jit(functrax.grad(f))(2.0, 3) == 3
    g = functrax.custom_vjp(lambda p, x: p["a"] * x)
    g.defvjp(lambda p, x: (p["a"] * x, None), lambda _, ct: (None, 5.0 * ct))
    grads = functrax.grad(g, (0, 1))({"a": 2.0, "b": jnp.ones(3)}, 3.0)
    assert (grads[0]["a"], grads[0]["b"].tolist(), grads[1]) == (0, [0, 0, 0], 5)


def test_integer_outputs_get_float0():
    @functrax.custom_vjp
    def f(x):
        return x * 2, jnp.arange(3)

    def backward(_, g):
        assert g[1] is None
        return (g[0] * 5,)

    f.defvjp(lambda x: (f(x), None), backward)
    assert functrax.grad(lambda x: f(x)[0])(1.0) == 5
    assert functrax.jit(functrax.grad(lambda x: f(x)[0] * f(x)[1].sum()))(1.0) == 15


def test_nondiff_arguments():
    @functools.partial(functrax.custom_vjp, nondiff_argnums=(0, 2))
    def apply(g, x, n):
        return g(x) * n

    apply.defvjp(lambda g, x, n: (apply(g, x, n), x), lambda g, n, x, ct: (ct * n * g(x) * 10,))
    expected = 30 * np.sin(0.5)
    np.testing.assert_allclose(functrax.grad(apply, 1)(jnp.sin, 0.5, 3), expected, rtol=1e-6)
    under = functrax.jit(lambda x: functrax.grad(apply, 1)(jnp.sin, x, 3))
    np.testing.assert_allclose(under(0.5), expected, rtol=1e-6)


def test_nondiff_arguments_by_name():
    @functools.partial(functrax.custom_vjp, nondiff_argnums=2, nondiff_argnames="g")
    def apply(g, x, n):
        return g(x) * n

    apply.defvjp(lambda g, x, n: (apply(g, x, n), x), lambda g, n, x, ct: (ct * n * 10,))
    assert functrax.grad(apply, 1)(jnp.sin, 0.5, 3) == 30
    assert functrax.grad(apply, 1)(jnp.sin, 0.5, n=3) == 30


def test_unmapped_arguments_under_vmap_get_the_sum():
    f = functrax.custom_vjp(lambda w, x: w * x)
    f.defvjp(lambda w, x: (w * x, (w, x)), lambda r, g: (10 * r[1] * g, r[0] * g))
    x = jnp.arange(3.0)
    loss = lambda w, x: functrax.vmap(f, (None, 0))(w, x).sum()  # noqa: E731
    for grad in (functrax.grad, lambda f, n: functrax.jit(functrax.grad(functrax.jit(f), n))):
        w, dx = grad(loss, (0, 1))(2.0, x)
        assert (w, dx.tolist()) == (30, [2, 2, 2])
    per_example = functrax.vmap(functrax.grad(f), (None, 0))(2.0, x)
    assert per_example.tolist() == [0, 10, 20]


def test_named_axes_inside_the_rules():
    @functrax.custom_vjp
    def average(x):
        return functrax.lax.pmean(x, "i")

    average.defvjp(lambda x: (average(x), None), lambda _, g: (functrax.lax.psum(g, "i"),))
    run = functrax.vmap(functrax.grad(lambda x: average(x) * x), axis_name="i")
    assert run(jnp.arange(3.0)).tolist() == functrax.jit(run)(jnp.arange(3.0)).tolist()


def test_captured_values_that_are_not_differentiated():
    def outer(c, x):
        f = functrax.custom_vjp(lambda x: c * x)
        f.defvjp(lambda x: (c * x, None), lambda _, g: (10.0 * c * g,))
        return functrax.grad(functrax.jit(f))(x) + functrax.grad(f)(x)

    assert outer(3.0, 1.0) == 60
    assert functrax.jit(outer)(3.0, 1.0) == 60
    assert functrax.vmap(outer, (0, None))(jnp.arange(2.0), 1.0).tolist() == [0, 20]
    assert functrax.grad(outer)(3.0, 1.0) == 20


def test_double_backward_through_residuals():
    @functrax.custom_vjp
    def f(x):
        return x**3

    f.defvjp(lambda x: (f(x), x), lambda x, g: (3 * x**2 * g,))
    derivative = f
    for expected in (12.0, 12.0, 6.0, 0.0):
        derivative = functrax.grad(derivative)
        assert derivative(2.0) == expected
        assert functrax.jit(derivative)(2.0) == expected


def test_gradient_clipping_as_in_the_tutorial():
    @functools.partial(functrax.custom_vjp, nondiff_argnums=(0, 1))
    def clip_gradient(low, high, x):
        return x

    clip_gradient.defvjp(
        lambda low, high, x: (x, None), lambda low, high, _, g: (jnp.clip(g, low, high),)
    )
    f = lambda x: (clip_gradient(-0.5, 0.5, x) * jnp.array([0.1, 2.0, -3.0])).sum()  # noqa: E731
    np.testing.assert_allclose(functrax.grad(f)(jnp.ones(3)), [0.1, 0.5, -0.5])


def test_without_rules():
    f = functrax.custom_vjp(jnp.sin)
    with pytest.raises(errors.ArgumentError, match="rules set by `defvjp`"):
        f(1.0)


def test_mapped_values_that_are_closed_over():
    def outer(c, x):
        f = functrax.custom_vjp(lambda x: c * x)
        f.defvjp(lambda x: (f(x), None), lambda _, g: (10.0 * c * g,))
        return f(x)

    c, x = jnp.arange(3.0), jnp.ones(3)
    for axes in ((0, 0), (0, None)):
        mapped = functrax.vmap(outer, axes)
        point = x if axes[1] == 0 else 1.0
        for run in (mapped, functrax.jit(mapped)):
            assert run(c, point).tolist() == [0, 1, 2]
        for grad in (functrax.grad(lambda x, m=mapped: m(c, x).sum()), functrax.grad(
                functrax.jit(lambda x, m=mapped: m(c, x).sum()))):  # fmt: skip
            assert np.sum(grad(point)) == 30
        assert functrax.vmap(functrax.grad(outer, 1), axes)(c, point).tolist() == [0, 10, 20]
    table = functrax.vmap(functrax.vmap(outer, (0, None)), (None, 0))(c, x)
    assert table.tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize(
    ("dtype", "other"),
    [("bfloat16", "float32"), ("float32", "float16"), ("complex64", "complex128")],
)
@pytest.mark.parametrize("wrap", [lambda f: f, functrax.jit])
def test_cotangents_of_another_precision(dtype, other, wrap):
    @functrax.custom_vjp
    def f(x):
        return x * 1

    with functrax.enable_x64():
        f.defvjp(lambda x: (f(x), None), lambda _, g: (3 * g.astype(other),))
        x = jnp.ones(2, dtype)
        (found,) = wrap(lambda x: functrax.vjp(f, x)[1](x))(x)
        assert found.dtype == dtype
        assert found.tolist() == [3, 3]


def test_a_number_as_a_cotangent():
    f = functrax.custom_vjp(lambda x: x * 2)
    f.defvjp(lambda x: (f(x), None), lambda _, g: (1,))
    for gradient in (functrax.grad(f), functrax.jit(functrax.grad(f))):
        assert gradient(jnp.bfloat16(3)).dtype == "bfloat16"
        assert gradient(2.0) == 1
