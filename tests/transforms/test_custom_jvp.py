"""`custom_jvp`: the user's rule is the derivative. The primitive is ``custom_jvp_call``."""

import functools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors


def doubled():
    """A sine whose derivative says 2 cos."""

    @functrax.custom_jvp
    def f(x):
        return jnp.sin(x)

    @f.defjvp
    def rule(primals, tangents):
        return f(*primals), 2.0 * jnp.cos(primals[0]) * tangents[0]

    return f


TRANSFORMS = {
    "grad": lambda f: functrax.grad(f),
    "jit-grad": lambda f: functrax.jit(functrax.grad(f)),
    "grad-jit": lambda f: functrax.grad(functrax.jit(f)),
    "grad-jit-jit": lambda f: functrax.grad(functrax.jit(lambda x: functrax.jit(f)(x))),
    "jvp": lambda f: lambda x: functrax.jvp(f, (x,), (1.0,))[1],
    "jvp-jit": lambda f: lambda x: functrax.jvp(functrax.jit(f), (x,), (1.0,))[1],
    "linearize": lambda f: lambda x: functrax.linearize(f, x)[1](1.0),
    "jacfwd": lambda f: functrax.jacfwd(f),
    "jacrev": lambda f: functrax.jacrev(f),
    "grad-checkpoint": lambda f: functrax.grad(functrax.checkpoint(f)),
    "vmap-grad": lambda f: lambda x: functrax.vmap(functrax.grad(f))(jnp.array([x, 0.0]))[0],
    "grad-vmap": lambda f: (
        lambda x: functrax.grad(lambda x: functrax.vmap(f)(x[None])[0])(jnp.asarray(x))
    ),
    "grad-vmap-jit": lambda f: (
        lambda x: functrax.grad(lambda x: functrax.vmap(functrax.jit(f))(jnp.stack([x, x]))[0])(x)
    ),
    "vmap-vmap": lambda f: (
        lambda x: functrax.vmap(functrax.vmap(functrax.grad(f)))(jnp.full((2, 1), x))[0, 0]
    ),
    "inline": lambda f: functrax.grad(functrax.jit(f, inline=True)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_rule_holds_under(name):
    f = doubled()
    np.testing.assert_allclose(TRANSFORMS[name](f)(0.3), 2 * np.cos(0.3), rtol=1e-6)


@pytest.mark.parametrize("outer", ["grad", "jit-grad", "jvp", "jacfwd", "grad-checkpoint"])
@pytest.mark.parametrize("inner", ["grad", "grad-jit", "jvp", "linearize", "grad-checkpoint"])
def test_the_rule_is_differentiated_in_turn(outer, inner):
    found = TRANSFORMS[outer](TRANSFORMS[inner](doubled()))(0.3)
    np.testing.assert_allclose(found, -2 * np.sin(0.3), rtol=1e-6)


def test_values_do_not_need_the_rule():
    calls = []

    @functrax.custom_jvp
    def f(x):
        return x * 2

    f.defjvp(lambda p, t: calls.append(1) or (f(*p), t[0]))
    assert f(3.0) == functrax.jit(f)(3.0) == functrax.vmap(f)(jnp.full(1, 3.0))[0] == 6
    assert calls == []
    assert functrax.make_jaxpr(f)(3.0).eqns[0].primitive.name == "custom_jvp_call"


def test_python_control_flow_inside_eager_derivatives():
    @functrax.custom_jvp
    def f(x):
        return x if x > 0 else -x

    f.defjvp(lambda p, t: (f(*p), 7.0 * t[0] if p[0] > 0 else 5.0 * t[0]))
    assert functrax.grad(f)(2.0) == 7
    assert functrax.grad(f)(-2.0) == 5


def test_trees_integers_and_several_outputs():
    @functrax.custom_jvp
    def f(p, n):
        return {"y": p["a"] * n, "n": n}, p["b"]

    @f.defjvp
    def rule(primals, tangents):
        (p, n), (dp, dn) = primals, tangents
        assert dn is None
        return f(p, n), ({"y": 10.0 * dp["a"], "n": np.zeros((), functrax.dtypes.float0)}, dp["b"])

    p = {"a": 2.0, "b": jnp.ones(2)}
    loss = lambda p: f(p, 3)[0]["y"] + f(p, 3)[1].sum()  # noqa: E731
    grads = functrax.grad(loss)(p)
    assert (float(grads["a"]), grads["b"].tolist()) == (10, [1, 1])
    assert functrax.jit(functrax.grad(loss))(p)["a"] == 10


def test_nondiff_arguments_come_first():
    @functools.partial(functrax.custom_jvp, nondiff_argnums=(0, 3))
    def apply(g, x, y, mode):
        return g(x) * y if mode == "mul" else g(x) + y

    @apply.defjvp
    def rule(g, mode, primals, tangents):
        assert callable(g)
        assert isinstance(mode, str)
        return apply(g, *primals, mode), 10.0 * tangents[0] + 100.0 * tangents[1]

    assert apply(jnp.sin, 0.0, 2.0, "mul") == 0
    grads = functrax.grad(apply, argnums=(1, 2))(jnp.sin, 0.0, 2.0, "add")
    assert [float(g) for g in grads] == [10, 100]
    assert functrax.vmap(lambda x: functrax.grad(apply, 1)(jnp.cos, x, 1.0, "mul"))(
        jnp.arange(2.0)
    ).tolist() == [10, 10]


def test_nondiff_arguments_by_name():
    @functools.partial(functrax.custom_jvp, nondiff_argnames=("mode", "g"))
    def apply(g, x, mode="add"):
        return g(x) if mode == "add" else -g(x)

    @apply.defjvp
    def rule(g, mode, primals, tangents):
        return apply(g, *primals, mode), (10.0 if mode == "add" else 20.0) * tangents[0]

    assert apply.nondiff_argnums == (0, 2)
    assert functrax.grad(apply, 1)(jnp.sin, 0.5) == 10
    assert functrax.grad(apply, 1)(jnp.sin, 0.5, mode="sub") == 20
    assert functrax.jit(functrax.grad(lambda x: apply(jnp.sin, x, "sub")))(0.5) == 20


def test_a_nondiff_argument_may_be_traced():
    @functools.partial(functrax.custom_jvp, nondiff_argnums=(1,))
    def f(x, c):
        return x * c

    f.defjvp(lambda c, p, t: (f(*p, c), 10.0 * c * t[0]))
    assert functrax.jit(lambda x, c: functrax.grad(f)(x, c))(2.0, 3.0) == 30
    assert functrax.vmap(functrax.grad(f), (None, 0))(2.0, jnp.arange(2.0)).tolist() == [0, 10]


def test_defjvps_gives_a_rule_per_argument():
    @functrax.custom_jvp
    def f(x, y, z):
        return x * y * z

    f.defjvps(lambda t, out, x, y, z: 10.0 * t, None, lambda t, out, *_: out * t)
    assert [float(g) for g in functrax.grad(f, (0, 1, 2))(2.0, 3.0, 4.0)] == [10, 0, 24]


def test_keywords_defaults_and_methods():
    class Model:
        @functrax.custom_jvp
        def scale(self, y=2.0):
            return self * y

        scale.defjvp(lambda p, t: (Model.scale(*p), 10.0 * t[0] + t[1]))

    f = Model.scale
    assert functrax.grad(f)(1.0) == 10
    assert functrax.grad(lambda x: f(x, y=3.0))(1.0) == 10
    assert functrax.grad(lambda x: f(1.0, y=x))(1.0) == 1


def test_captured_values_that_are_not_differentiated():
    def outer(c, x):
        f = functrax.custom_jvp(lambda x: c * x)
        f.defjvp(lambda p, t: (c * p[0], 10.0 * c * t[0]))
        return functrax.grad(functrax.jit(f))(x) + functrax.grad(f)(x)

    assert outer(3.0, 1.0) == 60
    assert functrax.jit(outer)(3.0, 1.0) == 60
    assert functrax.vmap(outer, (0, None))(jnp.arange(2.0), 1.0).tolist() == [0, 20]
    assert functrax.grad(outer)(3.0, 1.0) == 20  # the rule's dependence on c is differentiated


def test_a_rule_may_use_the_function_and_other_transforms():
    @functrax.custom_jvp
    def f(x):
        return functrax.vmap(jnp.sin)(x)

    @f.defjvp
    def rule(primals, tangents):
        out, pushed = functrax.jvp(functrax.jit(lambda x: jnp.sin(x) * 1.0), primals, tangents)
        return out, functrax.checkpoint(lambda t: 2 * t)(pushed)

    x = jnp.arange(3.0)
    np.testing.assert_allclose(functrax.grad(lambda x: f(x).sum())(x), 2 * np.cos(x), rtol=1e-6)


def test_without_a_rule():
    f = functrax.custom_jvp(jnp.sin)
    with pytest.raises(errors.ArgumentError, match="a rule set by `defjvp`"):
        f(1.0)


def test_decoration_keeps_the_name():
    @functrax.custom_jvp
    def activation(x):
        """Docs."""
        return x

    assert (activation.__name__, activation.__doc__) == ("activation", "Docs.")
    assert activation.defjvp(len) is len
