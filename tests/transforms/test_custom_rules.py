"""Every kind of custom rule under every transformation, against the same function without a rule.

The rules here say what the derivative is anyway, so both must agree.
"""

import functools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import lax
from functrax.custom_batching import custom_vmap, sequential_vmap
from functrax.custom_derivatives import (
    SymbolicZero,
    closure_convert,
    custom_vjp_primal_tree_values,
    linear_call,
)

X = np.array([0.3, -0.7], np.float32)


def plain(x):
    return jnp.sin(x) * x


def derivative(x):
    return jnp.cos(x) * x + jnp.sin(x)


def with_jvp(rule, **options):
    f = functrax.custom_jvp(lambda x, n, c: plain(x) * n * c)
    f.defjvp(functools.partial(rule, f), **options)
    return lambda x: f(x, 1, 1.0)


def jvp_rule(f, primals, tangents):
    (x, n, c), (t, dn, dc) = primals, tangents
    assert dn is None
    return f(x, n, c), derivative(x) * t * n * c + plain(x) * n * dc


def symbolic_jvp_rule(f, primals, tangents):
    (x, n, c), (t, dn, dc) = primals, tangents
    assert type(dn) is type(dc) is SymbolicZero
    return f(x, n, c), derivative(x) * t * n * c


def per_argument():
    f = functrax.custom_jvp(lambda x, n: plain(x) * n)
    f.defjvps(lambda t, out, x, n: derivative(x) * n * t, None)
    return lambda x: f(x, 1)


def with_vjp(mode="primal", **options):
    f = functrax.custom_vjp(lambda x, n: (plain(x) * n, n), mode=mode)

    def forward(x, n):
        if options.get("symbolic_zeros"):
            assert (x.perturbed, n.perturbed) == (True, False)
            x, n = custom_vjp_primal_tree_values((x, n))
        return f(x, n), {"x": x, "n": n}

    def backward(kept, ct):
        if options.get("symbolic_zeros"):
            assert type(ct[1]) is SymbolicZero
        else:
            assert ct[1] is None
        return derivative(kept["x"]) * kept["n"] * ct[0], None

    f.defvjp(forward, backward, **options)
    return lambda x: f(x, 1)[0]


@functrax.custom_gradient
def gradient(x):
    d = derivative(x)
    return plain(x), lambda g: d * g


def linear(x):
    return linear_call(lambda r, t: r * t, lambda r, ct: r * ct, jnp.sin(x), x)


def converted(x):
    @functools.partial(functrax.custom_vjp, nondiff_argnums=0)
    def apply(g, y, *captured):
        return g(y, *captured)

    apply.defvjp(
        lambda g, *args: (g(*args), args), lambda g, args, ct: functrax.vjp(g, *args)[1](ct)
    )
    g, captured = closure_convert(lambda y: jnp.sin(x) * y, x)
    return apply(g, x, *captured)


def newton(f, x):
    def step(x):
        value, pushed = functrax.jvp(f, (x,), (jnp.ones_like(x),))
        return x - value / pushed

    return lax.while_loop(lambda x: jnp.abs(f(x)).max() > 1e-6, step, x)


def root(c):
    """The x with x**3 + x = c."""
    divide = lambda g, y: y / g(jnp.ones_like(y))  # noqa: E731
    return lax.custom_root(lambda x: x**3 + x - c, jnp.zeros_like(c), newton, divide)


def cardano(c):
    s = jnp.sqrt(c * c / 4 + 1 / 27)
    return jnp.cbrt(c / 2 + s) + jnp.cbrt(c / 2 - s)


def richardson(matvec, b):
    step = lambda _, x: x + (b - matvec(x)) / 3.5  # noqa: E731
    return lax.fori_loop(0, jnp.int32(30), step, jnp.zeros_like(b))


def solved(x):
    """The u with [[3, x0], [x1, 4]] u = x."""

    def matvec(u):
        return jnp.stack([3 * u[0] + x[0] * u[1], x[1] * u[0] + 4 * u[1]])

    return lax.custom_linear_solve(matvec, x, richardson, richardson)


def cramer(x):
    determinant = 12 - x[0] * x[1]
    return jnp.stack([4 * x[0] - x[0] * x[1], 3 * x[1] - x[0] * x[1]]) / determinant


@custom_vmap
def batched(x, n):
    return plain(x) * n


@batched.def_vmap
def batched_vmap(size, in_batched, x, n):
    assert in_batched == [True, False]
    return plain(x) * n, True


def custom_twice(x):
    return functrax.custom_gradient(lambda x: (batched(x, 1), lambda g: derivative(x) * g))(x)


#: A function with a rule, and the same without.
KINDS = {
    "custom_jvp": (with_jvp(jvp_rule), plain),
    "custom_jvp-symbolic": (with_jvp(symbolic_jvp_rule, symbolic_zeros=True), plain),
    "defjvps": (per_argument(), plain),
    "custom_vjp": (with_vjp(), plain),
    "custom_vjp-symbolic": (with_vjp(symbolic_zeros=True), plain),
    "custom_vjp-remat": (with_vjp(optimize_remat=True), plain),
    "custom_vjp-transpose": (with_vjp("transpose"), plain),
    "custom_gradient": (gradient, plain),
    "linear_call": (linear, plain),
    "closure_convert": (converted, plain),
    "custom_root": (root, cardano),
    "custom_linear_solve": (solved, cramer),
    "custom_vmap": (lambda x: batched(x, 1), plain),
    "custom_vmap-vjp": (custom_twice, plain),
    "sequential_vmap": (sequential_vmap(plain), plain),
}


def loss(f):
    return lambda x: (f(x) ** 2).sum()


def scanned(f):
    return lambda x: lax.scan(lambda c, t: (f(c) + t, c), x, jnp.ones((2, 2)))[0]


def looped(f):
    step = lambda s: (s[0] + 1, f(s[1]) + 0.5)  # noqa: E731
    return lambda x: lax.while_loop(lambda s: s[0] < 2, step, (0, x))[1]


def branched(f):
    return lambda x: lax.cond(x.sum() < 0, f, lambda x: jnp.log(x - 1e3), x)


ROWS = jnp.stack([X, X * 0.5 + 0.1, -X])
grad, hessian, jacfwd, jacrev, jit, vmap, checkpoint = (
    functrax.grad,
    functrax.hessian,
    functrax.jacfwd,
    functrax.jacrev,
    functrax.jit,
    functrax.vmap,
    functrax.checkpoint,
)
PROGRAMS = {
    "value": lambda f: f(X),
    "jit": lambda f: jit(f)(X),
    "jvp": lambda f: functrax.jvp(f, (X,), (X,)),
    "linearize": lambda f: functrax.linearize(f, X)[1](X),
    "vjp": lambda f: functrax.vjp(f, X)[1](X),
    "jacfwd-jit": lambda f: jit(jacfwd(jit(f)))(X),
    "jacrev-jit": lambda f: jit(jacrev(jit(f)))(X),
    "hessian": lambda f: hessian(loss(f))(X),
    "hessian-jit": lambda f: hessian(jit(loss(f)))(X),
    "jacfwd-grad": lambda f: jit(jacfwd(grad(loss(f))))(X),
    "grad-grad": lambda f: jit(jacrev(grad(loss(f))))(X),
    "forward-twice": lambda f: jit(jacfwd(jacfwd(f)))(X),
    "vmap": lambda f: vmap(f)(ROWS),
    "jvp-vmap": lambda f: functrax.jvp(vmap(f), (ROWS,), (ROWS,)),
    "vmap-jvp": lambda f: jit(vmap(lambda x: functrax.jvp(f, (x,), (x,))))(ROWS),
    "vmap-grad": lambda f: jit(vmap(grad(loss(jit(f)))))(ROWS),
    "grad-vmap": lambda f: grad(lambda x: (vmap(f)(x) ** 2).sum())(ROWS),
    "scan-jacrev": lambda f: jit(jacrev(scanned(f)))(X),
    "scan-jacfwd": lambda f: jit(jacfwd(scanned(f)))(X),
    "while-grad": lambda f: grad(loss(looped(f)))(X),
    "cond-grad": lambda f: jit(grad(loss(branched(f))))(X),
    "cond-jvp": lambda f: functrax.jvp(branched(f), (X,), (X,)),
    "checkpoint-grad": lambda f: jit(grad(loss(checkpoint(f))))(X),
    "checkpoint-hessian": lambda f: jit(hessian(loss(checkpoint(f))))(X),
}


@functools.cache
def expected(reference, program):
    return [np.asarray(x) for x in functrax.tree.leaves(PROGRAMS[program](reference))]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_under_a_transformation(kind, program):
    f, reference = KINDS[kind]
    found = functrax.tree.leaves(PROGRAMS[program](f))
    for x, wanted in zip(found, expected(reference, program), strict=True):
        np.testing.assert_allclose(x, wanted, rtol=2e-4, atol=2e-5)
