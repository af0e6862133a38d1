"""Small programs, written once, that functrax and JAX must answer alike: values, types, trees."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import functrax
from functrax.core import dtypes

PROGRAMS = []


def program(function):
    """Test a function of the package: functrax, or jax."""
    PROGRAMS.append(function)
    return function


def weakness_apart(function):
    """Leave weak types out: JAX's depend on the basis vectors and cotangents that were pulled."""
    function.weak = False
    return function


class Point(NamedTuple):
    x: Any
    y: Any


# grad and value_and_grad --------------------------------------------------------------------------


@program
def grad_of_each_argnums_form(jx):
    def f(x, y, z):
        return x * y**2 * z

    return [jx.grad(f, argnums=n)(2.0, 3.0, 4.0) for n in (0, 1, -1, (0,), (2, 0), [1], (0, -1))]


@program
def grad_of_pytrees(jx):
    def f(p, q):
        return (p["w"] * q[0]).sum() + p["b"] * q[1].y + q[1].x ** 2

    p = {"w": jx.numpy.arange(3.0), "b": 2.0}
    return jx.grad(f, argnums=(0, 1))(p, (jx.numpy.ones(3), Point(1.0, 2.0)))


@program
def grad_with_aux(jx):
    def f(x):
        return x**2, {"double": 2 * x, "name": "aux", "nothing": None, "number": 3}

    grad, aux = jx.grad(f, has_aux=True)(3.0)
    (value, other), again = jx.value_and_grad(f, has_aux=True)(3.0)
    return grad, aux["double"], value, other["double"], again, sorted(aux), aux["name"]


@program
def grad_of_complex_numbers(jx):
    jnp = jx.numpy
    z = jnp.array([1 + 2j, -0.5j])
    modulus = lambda z: (jnp.abs(z) ** 2).sum()  # noqa: E731
    cube = lambda z: (z**3).sum()  # noqa: E731
    return jx.grad(modulus)(z), jx.grad(cube, holomorphic=True)(z)


@program
def grad_of_integers_where_allowed(jx):
    value, grads = jx.value_and_grad(lambda x, n: x * n, argnums=(0, 1), allow_int=True)(2.0, 3)
    return value, grads[0], np.asarray(grads[1]).shape


@program
def grad_of_keyword_arguments(jx):
    return jx.grad(lambda x, *, scale=1.0, shift=0.0: scale * x**2 + shift)(3.0, scale=2.0)


@program
def grad_with_python_control_flow(jx):
    def f(x):
        if x > 2:
            return x**2
        total = x
        for _ in range(int(x) + 3):
            total = total * x
        return total

    return jx.grad(f)(3.0), jx.grad(f)(1.5), jx.grad(jx.grad(f))(3.0)


@program
def grad_of_what_is_not_used(jx):
    return jx.grad(lambda x, y: x * 2.0, argnums=(0, 1))(1.0, jx.numpy.ones((2, 2)))


@program
def grad_of_constants(jx):
    return jx.grad(lambda x: 3.0)(1.0), jx.grad(jx.jit(lambda x: 3.0))(1.0)


@program
def grad_of_half_precision(jx):
    jnp = jx.numpy
    return jx.grad(lambda x: (x * x).sum())(jnp.ones(3, jnp.bfloat16))


@program
def high_derivatives(jx):
    f = jx.numpy.sin
    found = []
    for _ in range(5):
        f = jx.grad(f)
        found.append(f(0.7))
    return found


# jvp, vjp, linearize, linear_transpose ------------------------------------------------------------


@program
def jvp_of_pytrees(jx):
    def f(p, x):
        return {"out": p["w"] * x, "same": x, "constant": 2.0}

    p, t = {"w": jx.numpy.arange(3.0)}, {"w": jx.numpy.ones(3)}
    return jx.jvp(f, (p, 2.0), (t, 1.0))


@program
def jvp_with_aux(jx):
    return jx.jvp(lambda x: (x**2, {"y": x + 1}), (3.0,), (1.0,), has_aux=True)


@program
def jvp_of_integers(jx):
    zero = np.zeros((), jax.dtypes.float0)
    out, tangent = jx.jvp(lambda x, n: (x * n, n + 1), (2.0, 3), (1.0, zero))
    return out, tangent[0], np.asarray(tangent[1]).shape


@program
def vjp_of_pytrees(jx):
    def f(x, y):
        return {"a": x * y, "b": (x.sum(), y)}

    out, pull = jx.vjp(f, jx.numpy.arange(3.0), 2.0)
    return out, pull({"a": jx.numpy.ones(3), "b": (1.0, 3.0)}), pull(out)


@program
def vjp_with_aux(jx):
    out, pull, aux = jx.vjp(lambda x: (x**2, [x, 7]), 3.0, has_aux=True)
    return out, pull(1.0), aux


@program
def vjp_of_integer_outputs(jx):
    zero = np.zeros((2,), jax.dtypes.float0)
    out, pull = jx.vjp(lambda x: (x * 2, jx.numpy.arange(2)), 3.0)
    return out, pull((1.0, zero))


@program
@weakness_apart
def vjp_is_pure(jx):
    _, pull = jx.vjp(jx.numpy.sin, 1.0)
    return pull(1.0), pull(2.0), jx.vmap(pull)(jx.numpy.arange(3.0)), jx.jit(pull)(1.0)


@program
def linearize_many_outputs(jx):
    out, push = jx.linearize(lambda x, y: (x * y, y, 1.0), 2.0, 3.0)
    return out, push(1.0, 0.0), push(0.0, 1.0), jx.jit(push)(1.0, 1.0)


@program
def linearize_inside_jit(jx):
    def f(x, t):
        out, push = jx.linearize(jx.numpy.exp, x)
        return out, push(t), push(2 * t)

    return jx.jit(f)(1.0, 2.0), jx.vmap(f)(jx.numpy.arange(2.0), jx.numpy.ones(2))


@program
def linear_transpose_of_sums(jx):
    jnp = jx.numpy
    f = lambda x, y: {"a": 3 * x + y[0], "b": jnp.sum(x)}  # noqa: E731
    transposed = jx.linear_transpose(f, jnp.ones(3), (jnp.ones(3),))
    return transposed({"a": jnp.arange(3.0), "b": 2.0})


@program
def linear_transpose_of_types_alone(jx):
    shape = jx.ShapeDtypeStruct((2, 3), "float32")
    matrix = jx.numpy.arange(12.0).reshape(3, 4)
    return jx.linear_transpose(lambda x: x @ matrix, shape)(jx.numpy.ones((2, 4)))


@program
def linear_transpose_of_integers(jx):
    jnp = jx.numpy
    transposed = jx.linear_transpose(lambda x: (3 * x, x[::2], -jnp.sum(x)), jnp.arange(3))
    cotangents = jnp.arange(3), jnp.array([10, 20]), jnp.int32(3)
    return transposed(cotangents), jx.jit(transposed)(cotangents)


# Jacobians ----------------------------------------------------------------------------------------


@program
@weakness_apart
def jacobians_of_pytrees(jx):
    def f(p, x):
        return {"a": p["w"] * x, "b": (p["w"].sum() * x, x)}

    args = {"w": jx.numpy.arange(1.0, 4.0)}, 2.0
    return [jac(f, argnums=n)(*args) for jac in (jx.jacfwd, jx.jacrev) for n in (0, 1, (0, 1))]


@program
def jacobians_with_aux(jx):
    f = lambda x: (x**2, x + 1)  # noqa: E731
    x = jx.numpy.arange(2.0)
    return [jac(f, has_aux=True)(x) for jac in (jx.jacfwd, jx.jacrev)]


@program
def jacobians_of_constants(jx):
    f = lambda x: (jx.numpy.ones(2), x)  # noqa: E731
    return [jac(f)(jx.numpy.arange(3.0)) for jac in (jx.jacfwd, jx.jacrev)]


@program
def holomorphic_jacobians(jx):
    z = jx.numpy.array([1 + 2j, -0.5j])
    f = lambda z: z**2 * z[::-1]  # noqa: E731
    return [jac(f, holomorphic=True)(z) for jac in (jx.jacfwd, jx.jacrev, jx.hessian)]


@program
def jacfwd_of_a_complex_output(jx):
    return jx.jacfwd(lambda x: x * (1 + 2j))(jx.numpy.arange(2.0))


@program
@weakness_apart
def hessian_of_pytrees(jx):
    f = lambda p: (p["w"] ** 3).sum() * p["b"]  # noqa: E731
    p = {"w": jx.numpy.arange(1.0, 3.0), "b": 3.0}
    return jx.hessian(f)(p), jx.jit(jx.hessian(f))(p)


@program
@weakness_apart
def hessian_with_argnums(jx):
    return jx.hessian(lambda x, y: x**2 * y**3, argnums=(0, 1))(2.0, 3.0)


@program
def empty_jacobian(jx):
    x = jx.numpy.zeros((0,))
    return jx.jacfwd(lambda x: x * 2)(x), jx.jacrev(lambda x: x * 2)(x)


# vmap ---------------------------------------------------------------------------------------------


@program
def vmap_in_axes_prefixes(jx):
    jnp = jx.numpy
    f = lambda p, q: (p["a"] * q[0], p["b"] + q[1])  # noqa: E731
    p = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.arange(2.0)}
    q = (jnp.ones(3), jnp.arange(6.0).reshape(3, 2))
    return [
        jx.vmap(f, in_axes=(0, None))(p, (jnp.ones(3), 1.0)),
        jx.vmap(f, in_axes=({"a": 1, "b": None}, (0, None)))(p, (jnp.ones(3), 2.0)),
        jx.vmap(f, in_axes=({"a": 0, "b": 0}, (None, 1)))(p, q),
        jx.vmap(f, in_axes=[0, (None, -1)])(p, q),
    ]


@program
def vmap_out_axes(jx):
    jnp = jx.numpy
    x = jnp.arange(6.0).reshape(2, 3)
    f = lambda x: {"a": jnp.outer(x, x), "b": (x, 1.0)}  # noqa: E731
    return [
        jx.vmap(f, out_axes=axes)(x)
        for axes in (0, {"a": -1, "b": 0}, {"a": 1, "b": (-1, None)}, {"a": 2, "b": (1, 0)})
    ]


@program
def vmap_of_nothing_mapped(jx):
    f = lambda x: x + 1  # noqa: E731
    return (
        jx.vmap(f, in_axes=None, axis_size=3)(2.0),
        jx.vmap(f, in_axes=None, out_axes=None, axis_size=3)(2.0),
        jx.vmap(lambda: jx.numpy.arange(2), axis_size=2)(),
    )


@program
def vmap_with_keyword_arguments(jx):
    return jx.vmap(lambda x, y: x + y["k"])(jx.numpy.arange(3), y={"k": jx.numpy.ones(3)})


@program
def vmap_of_none_leaves(jx):
    f = lambda x, y: x if y is None else x + y  # noqa: E731
    return jx.vmap(f)(jx.numpy.arange(3), None), jx.vmap(f, in_axes=(0, None))(jx.numpy.ones(2), 2)


@program
def nested_vmap(jx):
    jnp = jx.numpy
    x, y = jnp.arange(6.0).reshape(2, 3), jnp.arange(12.0).reshape(4, 3)
    all_pairs = jx.vmap(jx.vmap(jnp.dot, (None, 0)), (0, None))
    return all_pairs(x, y), jx.vmap(jx.vmap(jnp.multiply, (0, None)), (None, 0), -1)(x[0], y[0])


@program
def vmap_collectives(jx):
    jnp, lax = jx.numpy, jx.lax
    x = jnp.arange(12.0).reshape(4, 3)

    def f(x):
        return {
            "psum": lax.psum(x, "i"),
            "pmean": lax.pmean(x, "i"),
            "pmax": lax.pmax(x, "i"),
            "pmin": lax.pmin({"a": x}, "i"),
            "number": lax.psum(1, "i"),
            "index": lax.axis_index("i"),
            "gather": lax.all_gather(x, "i"),
            "tiled": lax.all_gather(x, "i", axis=0, tiled=True),
            "last": lax.all_gather(x, "i", axis=-1),
        }

    return jx.vmap(f, axis_name="i")(x), jx.vmap(f, axis_name="i", in_axes=1)(x)


@program
def nested_vmap_collectives(jx):
    jnp, lax = jx.numpy, jx.lax
    x = jnp.arange(24.0).reshape(2, 3, 4)

    def f(x):
        both = lax.psum(x, ("i", "j"))
        return (
            lax.psum(x, "i"),
            lax.psum(x, "j") * lax.axis_index("i"),
            both,
            lax.axis_index(("i", "j")),
            lax.all_gather(lax.psum(x, "j"), "i"),
            lax.psum_scatter(lax.all_gather(x, "j"), "j"),
        )

    return jx.vmap(jx.vmap(f, axis_name="j"), axis_name="i")(x)


@program
def vmap_psum_scatter(jx):
    x = jx.numpy.arange(32.0).reshape(2, 4, 4)
    scatter = lambda x: jx.lax.psum_scatter(x, "i", scatter_dimension=0, tiled=True)  # noqa: E731
    return (
        jx.vmap(scatter, axis_name="i")(x),
        jx.vmap(lambda x: jx.lax.psum_scatter(x, "i"), axis_name="i")(x[:, :2]),
    )


@program
def grad_of_collectives(jx):
    def loss(x):
        shared = jx.lax.psum(jx.numpy.sin(x), "i")
        return (shared * x).sum() + jx.lax.pmean(x**2, "i").sum()

    x = jx.numpy.arange(6.0).reshape(3, 2)
    inside = jx.vmap(jx.grad(loss), axis_name="i")(x)
    outside = jx.grad(lambda x: jx.vmap(loss, axis_name="i")(x).sum())(x)
    return inside, outside


@program
def collectives_inside_jit_inside_vmap(jx):
    normalize = jx.jit(lambda x: x / jx.lax.psum(x, "i"))
    twice = jx.vmap(lambda x: normalize(x) + normalize(2 * x), axis_name="i")
    return twice(jx.numpy.arange(1.0, 4.0)), twice(jx.numpy.arange(1.0, 6.0))


# jit ----------------------------------------------------------------------------------------------


@program
def jit_results_of_every_kind(jx):
    f = jx.jit(lambda x: (x, 1, 2.5, True, 1j, None, [x + 1], {"a": Point(x, 2)}, np.float32(3)))
    return f(1), f(jx.numpy.ones(2)), f(np.int8(3))


@program
def jit_of_weak_types(jx):
    f = jx.jit(lambda x, y: x + y)
    x = jx.numpy.ones(2, "bfloat16")
    return f(1, 2), f(1, 2.0), f(x, 1.0), f(x, np.float32(1)), f(True, 1), f(np.int32(1), 1.0)


@program
def jit_of_static_arguments(jx):
    @functools.partial(jx.jit, static_argnums=(1,), static_argnames=("mode",))
    def f(x, n, *, mode="add", scale=1.0):
        for _ in range(n):
            x = x + scale if mode == "add" else x * scale
        return x

    return f(1.0, 3), f(1.0, 2, mode="mul", scale=3.0), f(1.0, 2, scale=2.0), f(2.0, 0)


@program
def jit_of_methods_and_partials(jx):
    class Model:
        def __init__(self, scale):
            self.scale = scale

        @functools.partial(jx.jit, static_argnums=0)
        def __call__(self, x):
            return self.scale * x

        @jx.jit
        def as_pytree(x):
            return x * 3

    model = Model(2.0)
    return model(3.0), Model(5.0)(3.0), jx.jit(functools.partial(pow, 2.0))(3.0), Model.as_pytree(2)


@program
def jit_of_jit_of_grad(jx):
    inner = jx.jit(lambda x: jx.numpy.sin(x) * x)
    outer = jx.jit(lambda x: inner(x) + jx.grad(inner)(2 * x))
    return outer(1.0), jx.grad(outer)(1.0), jx.grad(jx.jit(jx.grad(outer)))(1.0)


@program
def jit_that_captures_tracers(jx):
    def f(x):
        return jx.jit(lambda y: x * y**2)(3.0) + jx.jit(lambda: x * 2)()

    x = jx.numpy.arange(2.0)
    return (
        jx.grad(f)(2.0),
        jx.vmap(f)(x),
        jx.jit(f)(2.0),
        jx.hessian(f)(2.0),
        jx.vmap(jx.grad(f))(x),
    )


@program
def eval_shape_of_pytrees(jx):
    f = lambda x, y: {"a": x @ y, "b": (x.sum(), 1)}  # noqa: E731
    found = jx.eval_shape(f, jx.ShapeDtypeStruct((2, 3), "float32"), jx.numpy.ones((3, 4)))
    return [(k, str(v.shape), str(v.dtype)) for k, v in (("a", found["a"]), ("b", found["b"][0]))]


# checkpoint ---------------------------------------------------------------------------------------


@program
def checkpoint_under_everything(jx):
    f = jx.checkpoint(lambda x, y: jx.numpy.sin(x * y) * y)
    x = jx.numpy.arange(3.0)
    total = lambda x, y: f(x, y).sum()  # noqa: E731
    return (
        f(x, x),
        jx.grad(total, argnums=(0, 1))(x, x + 1),
        jx.jit(jx.grad(total))(x, x + 1),
        jx.vmap(jx.grad(f))(x, x + 1),
        jx.hessian(total)(x, x + 1),
        jx.jvp(f, (x, x), (x, x)),
        jx.grad(lambda x: jx.checkpoint(lambda x: f(x, x).sum())(x) ** 2)(x),
    )


@program
def checkpoint_of_integers_and_aux(jx):
    f = jx.checkpoint(lambda x, n: (x * n, n + 1, {"k": 2.0 * x}))
    return jx.grad(lambda x: f(x, 3)[0] * f(x, 3)[2]["k"])(2.0), f(2.0, 3)


@program
def checkpoint_with_static_arguments(jx):
    f = jx.checkpoint(lambda x, n: x**n, static_argnums=(1,))
    return jx.grad(f)(2.0, 3), jx.jit(lambda x: f(x, 2))(3.0)


# custom_jvp and custom_vjp ------------------------------------------------------------------------


def doubled_jvp(jx):
    """A sine whose derivative says 2 cos."""

    @jx.custom_jvp
    def f(x):
        return jx.numpy.sin(x)

    @f.defjvp
    def f_jvp(primals, tangents):
        (x,), (t,) = primals, tangents
        return f(x), 2.0 * jx.numpy.cos(x) * t

    return f


def tripled_vjp(jx):
    """A sine whose derivative says 3 cos."""

    @jx.custom_vjp
    def f(x):
        return jx.numpy.sin(x)

    f.defvjp(lambda x: (f(x), jx.numpy.cos(x)), lambda c, g: (3.0 * c * g,))
    return f


@program
def custom_jvp_under_everything(jx):
    f, x = doubled_jvp(jx), jx.numpy.arange(3.0)
    return (
        f(x),
        jx.grad(f)(1.0),
        jx.jit(jx.grad(f))(1.0),
        jx.grad(jx.jit(f))(1.0),
        jx.vmap(jx.grad(f))(x),
        jx.grad(lambda x: jx.vmap(f)(x).sum())(x),
        jx.grad(jx.grad(f))(1.0),
        jx.jit(jx.grad(jx.grad(jx.jit(f))))(1.0),
        jx.jvp(f, (x,), (x,)),
        jx.jacfwd(f)(x),
        jx.hessian(lambda x: f(x).sum())(x),
        jx.grad(jx.checkpoint(f))(1.0),
        jx.linearize(f, 1.0)[1](1.0),
        jx.vmap(jx.jit(jx.vmap(jx.grad(f))))(x.reshape(1, 3)),
    )


@program
def custom_vjp_under_everything(jx):
    f, x = tripled_vjp(jx), jx.numpy.arange(3.0)
    return (
        f(x),
        jx.grad(f)(1.0),
        jx.jit(jx.grad(f))(1.0),
        jx.grad(jx.jit(f))(1.0),
        jx.vmap(jx.grad(f))(x),
        jx.grad(lambda x: jx.vmap(f)(x).sum())(x),
        jx.grad(jx.grad(f))(1.0),
        jx.jit(jx.grad(jx.grad(jx.jit(f))))(1.0),
        jx.jacrev(f)(x),
        jx.grad(jx.checkpoint(f))(1.0),
        jx.vmap(jx.jit(jx.vmap(jx.grad(f))))(x.reshape(1, 3)),
    )


@program
def custom_rules_with_nondiff_arguments(jx):
    @functools.partial(jx.custom_jvp, nondiff_argnums=(0, 2))
    def apply(g, x, n):
        return g(x) * n

    @apply.defjvp
    def apply_jvp(g, n, primals, tangents):
        return apply(g, primals[0], n), 10.0 * n * tangents[0]

    @functools.partial(jx.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (g * n * x**n,))
    return (
        apply(jx.numpy.sin, 1.0, 3),
        jx.grad(apply, argnums=1)(jx.numpy.sin, 1.0, 3),
        jx.jit(jx.grad(lambda x: apply(jx.numpy.cos, x, 2)))(1.0),
        jx.grad(power)(2.0, 3),
        jx.vmap(jx.grad(lambda x: power(x, 2)))(jx.numpy.arange(3.0)),
    )


@program
def custom_rules_of_pytrees(jx):
    @jx.custom_vjp
    def f(p, x):
        return {"out": p["w"] * x[0], "other": p["b"] + x[1]}

    def backward(residuals, g):
        p, x = residuals
        return {"w": 10 * g["out"] * x[0], "b": g["other"]}, (p["w"] * g["out"], 20 * g["other"])

    f.defvjp(lambda p, x: (f(p, x), (p, x)), backward)
    p, x = {"w": 2.0, "b": 3.0}, (4.0, 5.0)
    loss = lambda p, x: f(p, x)["out"] ** 2 + f(p, x)["other"]  # noqa: E731
    return jx.grad(loss, argnums=(0, 1))(p, x), jx.jit(jx.grad(loss, argnums=1))(p, x)


@program
def custom_vjp_with_none_cotangents(jx):
    @jx.custom_vjp
    def f(x, n, tree):
        return x * n + tree["a"]

    f.defvjp(lambda x, n, t: (f(x, n, t), None), lambda _, g: (7.0 * g, None, None))
    return jx.grad(f, argnums=(0, 2))(1.0, 3, {"a": 2.0}), jx.grad(f)(1.0, 3, {"a": 2.0})


@program
@weakness_apart
def custom_jvp_of_several(jx):
    @jx.custom_jvp
    def f(x, y):
        return x * y, x + y

    f.defjvps(None, lambda t, out, x, y: (100.0 * t, 10.0 * t))
    return jx.jvp(f, (2.0, 3.0), (1.0, 1.0)), jx.jacfwd(f, argnums=(0, 1))(2.0, 3.0)


@program
def custom_rules_with_keywords_and_defaults(jx):
    @jx.custom_jvp
    def f(x, scale=2.0):
        return x * scale

    f.defjvp(lambda primals, tangents: (f(*primals), 5.0 * tangents[0] + tangents[1]))
    return f(1.0), f(1.0, scale=3.0), jx.grad(f)(1.0), jx.grad(lambda x: f(x, scale=x))(1.0)


# The comparison -----------------------------------------------------------------------------------


def described(value):
    """Return a leaf as something to compare: type, weakness and values."""
    if isinstance(value, functrax.Array | jax.Array):
        return [value.shape, str(value.dtype), bool(value.aval.weak_type)], np.asarray(value)
    if getattr(value, "dtype", None) == dtypes.float0:
        return [value.shape, "float0", False], np.zeros(value.shape)
    if isinstance(value, bool | int | float | complex):  # JAX returns some numbers as they came
        kind = next(k for k in (bool, int, float, complex) if isinstance(value, k))
        return described(functrax.numpy.asarray(kind(value)))
    return type(value).__name__, value


def flattened(result, package):
    """Return leaves with their paths."""
    leaves, _ = package.tree_util.tree_flatten_with_path(result, is_leaf=lambda x: x is None)
    return [(package.tree_util.keystr(path), *described(leaf)) for path, leaf in leaves]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_same_answer(function):
    found = flattened(function(functrax), functrax)
    expected = flattened(function(jax), jax)
    assert [path for path, *_ in found] == [path for path, *_ in expected]
    for (path, kind, value), (_, wanted_kind, wanted) in zip(found, expected):
        weak = slice(2 + getattr(function, "weak", True))
        assert kind[weak] == wanted_kind[weak], path
        if isinstance(value, np.ndarray):
            value, wanted = (np.asarray(v, np.result_type(v, np.float32)) for v in (value, wanted))
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6, err_msg=path)
        else:
            assert value == wanted, path
