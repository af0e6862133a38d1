"""Derivatives: what arguments mean, what comes back, and what is not differentiated."""

import functools
import inspect

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import lax
from functrax.core import dtypes
from functrax.core.trace import Tracer

FLOAT0 = dtypes.float0


# grad and value_and_grad --------------------------------------------------------------------------


def test_grad_sees_concrete_values():
    seen = []

    def f(x):
        kept = float(lax.stop_gradient(x))  # float(x) would lose the derivative: test_errors
        seen.append((bool(x > 0), int(x), kept, x.item(), isinstance(x, functrax.Array)))
        return x * x if x > 0 else -x

    assert functrax.grad(f)(3.0) == 6
    assert functrax.grad(f)(-3.0) == -1
    assert seen[0] == (True, 3, 3.0, 3.0, True)


def test_loops_and_lists_of_concrete_length():
    def f(xs, n):
        total = 0.0
        for x in xs:
            total = total + x ** int(n)
        return total

    assert functrax.grad(f)(jnp.array([1.0, 2.0]), 3).tolist() == [3.0, 12.0]
    assert [float(g) for g in functrax.grad(f)([1.0, 2.0], 2.0)] == [2.0, 4.0]


def test_argnums_of_every_form():
    def f(x, y, *rest):
        return x * y**2 * sum(rest, 1.0)

    assert functrax.grad(f)(2.0, 3.0) == 9
    assert functrax.grad(f, argnums=1)(2.0, 3.0) == 12
    assert functrax.grad(f, argnums=-1)(2.0, 3.0, 4.0) == 18
    assert [float(g) for g in functrax.grad(f, argnums=(1, 0))(2.0, 3.0)] == [12, 9]
    assert [float(g) for g in functrax.grad(f, argnums=[0])(2.0, 3.0)] == [9]
    assert functrax.grad(f, argnums=np.int64(1))(2.0, 3.0) == 12


def test_gradients_have_the_types_of_arguments():
    def f(p):
        return (p["w"].astype("float32") * p["b"]).sum() * p["s"]

    p = {"w": jnp.ones(3, "bfloat16"), "b": np.ones(3, np.float32), "s": 2.0}
    grads = functrax.grad(f)(p)
    assert {k: (v.dtype, v.shape, v.weak_type) for k, v in grads.items()} == {
        "w": (jnp.bfloat16, (3,), False),
        "b": (np.float32, (3,), False),
        "s": (np.float32, (), True),
    }


def test_double_precision_stays_where_it_is_asked_for():
    x = jnp.asarray(0.1, "float64")
    g = functrax.grad(lambda x: jnp.sin(x) * 2)(x)
    assert g.dtype == np.float64
    assert abs(float(g) - 2 * np.cos(0.1)) < 1e-15


def test_aux_may_be_anything():
    class Plain:
        pass

    thing = Plain()

    def f(x):
        return x**2, {"x": x, "sum": x + 1, "text": "hello", "thing": thing, "none": None, "n": 3}

    (value, aux), g = functrax.value_and_grad(f, has_aux=True)(3.0)
    assert (value, g) == (9, 6)
    assert aux["thing"] is thing
    assert (aux["text"], aux["none"], aux["n"]) == ("hello", None, 3)
    assert not isinstance(aux["sum"], Tracer)
    assert aux["sum"] == 4
    assert functrax.grad(f, has_aux=True)(3.0)[1]["sum"] == 4


def test_aux_under_other_transforms():
    def f(x):
        return x**2, (x * 2, "text")

    g, (double, text) = functrax.vmap(
        lambda x: (lambda g, aux: (g, (aux[0], 0)))(*functrax.grad(f, has_aux=True)(x))
    )(jnp.arange(3.0))
    assert g.tolist() == double.tolist() == [0, 2, 4]
    assert text.tolist() == [0, 0, 0]
    second, (first, _) = functrax.grad(
        lambda x: (lambda g, aux: (g, (g, aux[0])))(*functrax.grad(f, has_aux=True)(x)),
        has_aux=True,
    )(3.0)
    assert (second, first) == (2, 6)


def test_integers_are_allowed_on_request():
    f = lambda x, n, flag: x * n * flag  # noqa: E731
    grads = functrax.grad(f, argnums=(0, 1, 2), allow_int=True)(2.0, jnp.arange(3)[1], True)
    assert grads[0] == 1
    assert [(g.dtype, g.shape) for g in grads[1:]] == [(FLOAT0, ())] * 2
    under_jit = functrax.jit(functrax.grad(f, argnums=(0, 1), allow_int=True))(2.0, 3, True)
    assert under_jit[0] == 3
    assert under_jit[1].dtype == FLOAT0


def test_complex_gradients_follow_jax():
    z = jnp.array(1 + 2j)
    assert functrax.grad(lambda z: jnp.abs(z) ** 2)(z) == 2 - 4j
    assert functrax.grad(lambda z: z**3, holomorphic=True)(z) == 3 * (1 + 2j) ** 2
    # A step against the conjugate of the gradient goes downhill.
    step = z - 0.01 * jnp.conj(functrax.grad(lambda z: jnp.abs(z - 1) ** 2)(z))
    assert abs(complex(step) - 1) < abs(complex(z) - 1)


def test_the_signature_stays():
    def f(x: float, *, scale: float = 1.0) -> float:
        """Docs."""
        return x * scale

    for transform in (functrax.grad, functrax.value_and_grad, functrax.jacrev, functrax.jacfwd):
        assert inspect.signature(transform(f)) == inspect.signature(f)
        assert transform(f).__name__ == "f"
        assert transform(f).__doc__ == "Docs."


def test_stop_gradient():
    f = lambda x: x * lax.stop_gradient(x)  # noqa: E731
    assert functrax.grad(f)(3.0) == 3
    assert functrax.grad(functrax.jit(f))(3.0) == 3
    assert functrax.grad(functrax.grad(f))(3.0) == 0
    assert functrax.jvp(lambda x: lax.stop_gradient({"a": x})["a"], (3.0,), (1.0,))[1] == 0
    assert functrax.vmap(functrax.grad(f))(jnp.arange(3.0)).tolist() == [0, 1, 2]


def test_closures_are_constants_of_the_inner_derivative_only():
    """The perturbations of nested derivatives do not mix."""
    inner = lambda x: functrax.grad(lambda y: x * y)(1.0)  # noqa: E731
    assert functrax.grad(lambda x: x * inner(x))(3.0) == 6
    pushed = lambda x: functrax.jvp(lambda y: x + y, (1.0,), (1.0,))[1]  # noqa: E731
    assert functrax.jvp(lambda x: x * pushed(x), (1.0,), (1.0,))[1] == 1
    assert functrax.grad(lambda x: functrax.jvp(lambda y: x * y**2, (x,), (x,))[1])(2.0) == 24


def test_where_a_branch_is_nan_the_other_is_safe():
    safe = lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)  # noqa: E731
    assert functrax.grad(safe)(0.0) == 0
    assert functrax.grad(safe)(2.0) == 0.5


def test_gradients_add_up_over_uses():
    def f(x):
        y = jnp.sin(x)
        return sum(y * k for k in range(1, 50))

    np.testing.assert_allclose(functrax.grad(f)(0.3), 1225 * np.cos(0.3), rtol=1e-5)


def test_the_argument_returned_as_it_came():
    assert functrax.grad(lambda x: x)(2.0) == 1
    assert functrax.jacfwd(lambda x: x)(jnp.ones(2)).tolist() == [[1, 0], [0, 1]]
    assert functrax.vjp(lambda x: (x, x), 2.0)[1]((1.0, 2.0))[0] == 3


def test_long_chains_do_not_recurse():
    def f(x):
        for _ in range(3000):
            x = x * 1.0
        return x

    assert functrax.jit(functrax.grad(f)).lower(1.0) is not None


# jvp, linearize, vjp ------------------------------------------------------------------------------


def test_jvp_of_pytrees_and_integers():
    out, tangent = functrax.jvp(
        lambda p, n: {"y": p["x"] * n, "n": n + 1},
        ({"x": 2.0}, 3),
        ({"x": 1.0}, np.zeros((), FLOAT0)),
    )
    assert (out["y"], out["n"], tangent["y"]) == (6, 4, 3)
    assert (tangent["n"].dtype, tangent["n"].shape) == (FLOAT0, ())


def test_float0_passes_through_transforms():
    def f(x):
        return functrax.jvp(lambda x: (x * 2, jnp.arange(2)), (x,), (x,))

    for g in (functrax.jit(f), functrax.jit(functrax.jit(f)), functrax.checkpoint(f)):
        (_, _), (tangent, zero) = g(1.0)
        assert tangent == 2
        assert (zero.dtype, zero.shape) == (FLOAT0, (2,))
    (_, _), (tangent, zero) = functrax.vmap(f)(jnp.arange(3.0))
    assert tangent.tolist() == [0, 2, 4]
    assert (zero.dtype, zero.shape) == (FLOAT0, (3, 2))


def test_linearize_computes_the_function_once():
    calls = []

    def f(x):
        calls.append(1)
        return jnp.sin(x)

    out, push = functrax.linearize(f, 1.0)
    pushed = [float(push(t)) for t in (1.0, 2.0)]
    assert len(calls) == 1
    np.testing.assert_allclose([out, *pushed], [np.sin(1), np.cos(1), 2 * np.cos(1)], rtol=1e-6)


def test_vjp_computes_the_function_once():
    calls = []

    def f(x, y):
        calls.append(1)
        return x * y, x

    out, pull = functrax.vjp(f, 2.0, 3.0)
    assert [float(v) for v in out] == [6, 2]
    assert [float(v) for v in pull((1.0, 10.0))] == [13, 2]
    assert [float(v) for v in pull((0.0, 1.0))] == [1, 0]
    assert len(calls) == 1


def test_vjp_of_all_outputs_unused_is_zero():
    _, pull = functrax.vjp(lambda x, y: (1.0, jnp.arange(3)), 2.0, jnp.ones(2))
    found = pull((1.0, np.zeros(3, FLOAT0)))
    assert found[0] == 0
    assert found[1].tolist() == [0, 0]


def test_linear_transpose_of_integers():
    matrix = jnp.arange(6).reshape(2, 3)
    f = lambda x, y: (matrix @ x, jnp.sum(x.astype("int8")))  # noqa: E731
    x, y = functrax.linear_transpose(f, jnp.arange(3), jnp.arange(2, dtype="uint8"))(
        (jnp.arange(2), jnp.int32(5))
    )
    assert x.tolist() == [8, 9, 10]
    assert (y.dtype, y.tolist()) == ("uint8", [0, 0])


def test_linear_transpose_of_a_solver_like_function():
    matrix = jnp.array([[1.0, 2.0], [0.0, 3.0]])
    transposed = functrax.linear_transpose(lambda x: matrix @ x, jnp.ones(2))
    assert transposed(jnp.array([1.0, 1.0]))[0].tolist() == [1.0, 5.0]
    twice = functrax.linear_transpose(lambda ct: transposed(ct)[0], jnp.ones(2))
    assert twice(jnp.array([1.0, 1.0]))[0].tolist() == [3.0, 3.0]


# Jacobians ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("jacobian", [functrax.jacfwd, functrax.jacrev])
def test_jacobians_of_pytrees(jacobian):
    def f(p, y):
        return {"a": p["w"] * y, "b": p["w"].sum()}

    p = {"w": jnp.array([1.0, 2.0])}
    first = jacobian(f)(p, 3.0)
    assert first["a"]["w"].tolist() == [[3, 0], [0, 3]]
    assert first["b"]["w"].tolist() == [1, 1]
    both = jacobian(f, argnums=(0, 1))(p, 3.0)
    assert both["a"][1].tolist() == [1, 2]
    assert both["b"][1].tolist() == 0
    assert functrax.jit(jacobian(f))(p, 3.0)["b"]["w"].tolist() == [1, 1]


@pytest.mark.parametrize("jacobian", [functrax.jacfwd, functrax.jacrev])
def test_jacobians_of_matrices(jacobian):
    x = jnp.arange(6.0).reshape(2, 3)
    found = jacobian(lambda x: x.T @ x)(x)
    assert found.shape == (3, 3, 2, 3)
    i, j, k, m = np.indices(found.shape)
    expected = (m == i) * np.asarray(x)[k, j] + (m == j) * np.asarray(x)[k, i]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("jacobian", [functrax.jacfwd, functrax.jacrev])
def test_jacobians_of_mixed_dtypes(jacobian):
    def f(x, y):
        return x.astype("float64") * y, x * 2

    found = jacobian(f, argnums=(0, 1))(jnp.ones(2), jnp.asarray(3.0, "float64"))
    assert found[0][0].tolist() == [[3, 0], [0, 3]]
    assert found[1][1].tolist() == [0, 0]


def test_hessians_agree_in_every_combination():
    f = lambda p: jnp.sin(p["x"]).sum() * p["y"] ** 2  # noqa: E731
    p = {"x": jnp.array([0.3, -0.7]), "y": jnp.array(1.5)}
    forward, reverse = functrax.jacfwd, functrax.jacrev
    expected = functrax.hessian(f)(p)
    for second, first in ((forward, forward), (reverse, reverse), (reverse, forward)):
        found = second(first(f))(p)
        for a, b in zip(functrax.tree.leaves(found), functrax.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_vmapped_hessian():
    h = functrax.vmap(functrax.hessian(lambda x: (x**3).sum()))(jnp.arange(4.0).reshape(2, 2))
    np.testing.assert_allclose(h, [np.diag([0, 6.0]), np.diag([12.0, 18])])


def test_hessian_vector_products():
    f = lambda x: (jnp.sin(x) * x[::-1]).sum()  # noqa: E731
    x, v = jnp.array([0.3, -0.7, 1.1]), jnp.array([1.0, 2.0, -1.0])
    expected = functrax.hessian(f)(x) @ v
    forward_over_reverse = functrax.jvp(functrax.grad(f), (x,), (v,))[1]
    reverse_over_reverse = functrax.grad(lambda x: functrax.grad(f)(x) @ v)(x)
    reverse_over_forward = functrax.grad(lambda x: functrax.jvp(f, (x,), (v,))[1])(x)
    for found in (forward_over_reverse, reverse_over_reverse, reverse_over_forward):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_partial_application_and_methods():
    class Model:
        scale = 3.0

        def loss(self, x):
            return self.scale * x**2

    assert functrax.grad(Model().loss)(2.0) == 12
    assert functrax.grad(functools.partial(lambda a, x: a * x, 4.0))(2.0) == 4
