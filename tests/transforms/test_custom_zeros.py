"""What rules know of zeros: symbolic zeros, None for integers, `mode` and `optimize_remat`."""

# ruff: noqa: E731  (tables of functions)
import jax
import jax.custom_derivatives
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import custom_derivatives, errors, lax

LIBRARIES = (functrax, custom_derivatives), (jax, jax.custom_derivatives)
X = np.array([0.5, -0.3, 2.0], np.float32)


def jvp_function(lib, module):
    """The derivative in x is 10 y, and that in y is found by what is perturbed."""
    f = lib.custom_jvp(lambda x, y, n: (x * y * n, x))

    def rule(primals, tangents):
        (x, y, n), (dx, dy, dn) = primals, tangents
        zero = module.SymbolicZero
        assert type(dn) is zero
        assert dn.dtype.names == ("float0",) or str(dn.dtype) == "float0"
        if type(dx) is zero:
            assert dx.shape == lib.numpy.shape(x)
            return f(x, y, n), (100.0 * dy * x, dx)
        dz = 10.0 * y * dx if type(dy) is zero else 20.0 * y * dx + dy
        return f(x, y, n), (dz, dx)

    f.defjvp(rule, symbolic_zeros=True)
    return lambda x, y: f(x, y, 3)


def vjp_function(lib, module):
    """The same for reverse mode."""
    f = lib.custom_vjp(lambda x, y, n: (x * y * n, x * 1.0))

    def forward(x, y, n):
        assert not n.perturbed
        values = module.custom_vjp_primal_tree_values((x, y, n))
        return f(*values), (x.value, y.value, [x.perturbed and 1.0, y.perturbed and 1.0])

    def backward(kept, cts):
        x, y, perturbed = kept
        zero = [type(ct) is module.SymbolicZero for ct in cts]
        dx = 10.0 * y * (0.0 if zero[0] else cts[0]) + (0.5 if zero[1] else cts[1])
        return (
            dx * perturbed[0] + perturbed[1],
            (x * perturbed[1]).sum(),
            module.zero_from_primal(3),
        )

    f.defvjp(forward, backward, symbolic_zeros=True)
    return lambda x, y: f(x, y, 3)


def programs(f, lib, n):
    one, two, half = n.asarray(1.0), n.asarray(2.0), n.asarray(0.5)
    first = lambda x, y: f(x, y)[0].sum()
    second = lambda x, y: f(x, y)[1].sum()
    for g in (first, lib.jit(first)):
        yield lib.grad(g)(X, two)
        yield lib.grad(g, 1)(X, two)
        yield lib.grad(g, (0, 1))(X, two)
        yield lib.vmap(lib.grad(g), (0, None))(X[:, None], two)
        yield lib.jit(lib.vmap(lib.grad(g, (0, 1)), (0, None)))(X[:, None], two)
        yield lib.grad(
            lambda x, g=g: lib.lax.scan(lambda c, t: (c, g(c, one)), x, n.ones(2))[1].sum()
        )(X)
    yield lib.grad(second)(X, two)
    yield lib.grad(lib.checkpoint(second), (0, 1))(X, two)
    yield lib.grad(lambda x: f(x, two)[0].sum() + f(one, x)[1])(half)


@pytest.mark.parametrize("make", [jvp_function, vjp_function])
def test_symbolic_zeros_against_jax(make):
    mine, theirs = ([*programs(make(*pair), pair[0], pair[0].numpy)] for pair in LIBRARIES)
    for x, wanted in zip(mine, theirs, strict=True):
        for a, b in zip(functrax.tree.leaves(x), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_symbolic_zero():
    zero = custom_derivatives.SymbolicZero.from_primal_value(jnp.ones((2, 3), "float16"))
    assert (zero.shape, zero.ndim, zero.size, str(zero.dtype)) == ((2, 3), 2, 6, "float16")
    assert (repr(zero), zero.weak_type) == ("SymbolicZero(f16[2,3])", False)
    zeros = custom_derivatives.zero_from_primal({"a": 1.0, "n": jnp.arange(3)}, True)
    assert repr(zeros) == "{'a': SymbolicZero(~f32[]), 'n': SymbolicZero(float0[3])}"


# ---- integers


def test_the_user_never_writes_a_float0():
    seen = []

    def rule(primals, tangents):
        seen.append(tangents[1])
        return f(*primals), (tangents[0] * 10.0, None)

    f = functrax.custom_jvp(lambda x, n: (x * n, n))
    f.defjvp(rule)
    for run in (f, functrax.jit(f)):
        (_, n), (t, dn) = functrax.jvp(run, (2.0, 3), (1.0, None))
        assert (n, t, dn.dtype) == (3, 10, functrax.dtypes.float0)
        assert functrax.linearize(run, 2.0, 3)[1](1.0, None)[0] == 10
        assert functrax.vjp(run, 2.0, 3)[1]((1.0, None))[0] == 10
        assert functrax.vmap(lambda n, g=run: functrax.grad(lambda x: g(x, n)[0])(2.0))(
            jnp.arange(2)
        ).tolist() == [10, 10]
    assert seen
    assert set(seen) == {None}


def test_keys_have_no_tangents_either():
    f = functrax.custom_vjp(lambda key, x: x * functrax.random.uniform(key))
    f.defvjp(lambda key, x: (f(key, x), key), lambda key, g: (None, 7.0 * g))
    key = functrax.random.key(0)
    assert functrax.grad(f, 1)(key, 2.0) == functrax.jit(functrax.grad(f, 1))(key, 2.0) == 7


def test_none_is_no_tangent_of_a_float():
    with pytest.raises(errors.ArgumentError, match="the tangent of 'x' to be an array or a number"):
        functrax.jvp(lambda x, n: x * n, (2.0, 3), (None, None))


# ---- mode="transpose"


def modes(backward, mode="transpose"):
    """Its output is a dict, and its arguments are a vector, a scalar and an integer."""
    f = functrax.custom_vjp(
        lambda x, y, n: {"a": jnp.sin(x) * y * n, "b": x.sum(), "n": n}, mode=mode
    )
    f.defvjp(lambda x, y, n: (f(x, y, n), (x, y, n)), backward)
    return lambda x, y: {k: v for k, v in f(x, y, 3).items() if k != "n"}


def linear(kept, g):
    """Three times the derivative of `a` in x, five times that in y; -1 that of `b`."""
    x, y, n = kept
    assert g["n"] is None
    masked = jnp.where(x > 0, g["a"] * jnp.cos(x) * y * n * 3, 0.0)
    total, _ = lax.scan(lambda c, t: (c + t, None), jnp.zeros(()), g["a"] * jnp.sin(x) * n)
    dy = lax.cond(y > 0, lambda v: 5.0 * v, lambda v: v, total)
    return functrax.jit(lambda a, b: a - jnp.broadcast_to(b, (3,)))(masked, g["b"]), dy, None


def test_forward_mode_transposes_the_rule():
    f = modes(linear)
    cosines = np.where(X > 0, 3 * np.cos(X) * 2 * 3, 0)
    for run in (f, functrax.jit(f)):
        for jacobian in (functrax.jacfwd, functrax.jacrev, lambda g, n: functrax.jit(
            functrax.jacfwd(g, n))):  # fmt: skip
            found = jacobian(run, (0, 1))(X, 2.0)
            np.testing.assert_allclose(found["a"][0], np.diag(cosines), rtol=1e-6)
            np.testing.assert_allclose(found["a"][1], 15 * np.sin(X), rtol=1e-5)
            np.testing.assert_allclose(found["b"][0], [-1, -1, -1])
            assert found["b"][1] == 0
        pushed = functrax.linearize(run, X, 2.0)[1](X, 1.0)
        np.testing.assert_allclose(pushed["a"], cosines * X + 15 * np.sin(X), rtol=1e-5)
    default = functrax.jvp(modes(linear, "primal"), (X, 2.0), (X, 0.0))[1]
    np.testing.assert_allclose(default["a"], 6 * np.cos(X) * X, rtol=1e-5)


def test_both_orders_of_second_derivatives_agree():
    f = lambda x: modes(linear)(x, 2.0)["a"].sum()
    expected = np.diag(np.where(X > 0, -18 * np.sin(X), 0))
    for second in (functrax.hessian(f), functrax.jacrev(functrax.grad(functrax.jit(f))),
                   functrax.jit(functrax.jacfwd(functrax.jacfwd(f)))):  # fmt: skip
        np.testing.assert_allclose(second(X), expected, rtol=1e-5)


def test_the_transposed_rule_under_vmap():
    f = modes(linear)
    rows = jnp.stack([X, 2 * X])
    one = lambda x: functrax.jvp(f, (x, 2.0), (x, 1.0))[1]["a"]
    np.testing.assert_allclose(functrax.vmap(one)(rows), [one(X), one(2 * X)], rtol=1e-6)
    mapped = lambda x: functrax.vmap(f, (0, None))(x, 2.0)["a"]
    np.testing.assert_allclose(
        functrax.jvp(mapped, (rows,), (rows,))[1],
        [functrax.jvp(lambda x: f(x, 2.0)["a"], (x,), (x,))[1] for x in rows],
        rtol=1e-6,
    )


def n_steps(r):
    """Return a number of steps that is known at run time only."""
    return 2 + (r[0] * 0).astype(int)


NOT_LINEAR = {
    "sin": (lambda r, g: jnp.sin(g), "'sin', which is not a linear operation"),
    "square": (lambda r, g: g * g, "'mul', of two values that depend on it"),
    "dot": (lambda r, g: jnp.dot(g, g) * r, "'dot_general', of two values that depend on it"),
    "affine": (
        lambda r, g: g + 1.0,
        "'add', with a value that does not depend on it and is not zero",
    ),
    "where": (
        lambda r, g: jnp.where(r > 0, g, 1.0),
        "'select_n', with a value that does not depend on it and is not zero",
    ),
    "mask": (lambda r, g: jnp.where(g > 0, g, 0.0), "'gt', which is not a linear operation"),
    "quotient": (lambda r, g: 1.0 / g, "'div', by a value that depends on it"),
    "clip": (lambda r, g: jnp.clip(g, -1, 1), "'max', which is not a linear operation"),
    "jit": (lambda r, g: functrax.jit(jnp.tanh)(g), "'tanh', which is not a linear operation"),
    "scan": (
        lambda r, g: lax.scan(lambda c, t: (c + 1.0, c * t), 1.0 + g[0], g)[1],
        "'add', with a value that does not depend on it and is not zero",
    ),
    "while": (
        lambda r, g: lax.while_loop(lambda s: s.sum() < 1, lambda s: s * 2, g),
        "'while', which ends by a value that depends on it",
    ),
    "while-carried": (
        lambda r, g: lax.while_loop(
            lambda s: s[0] < 1, lambda s: (s[0] + s[1][0], -s[1]), (0.0, g)
        )[1],
        "'while', which ends by a value that depends on it",
    ),
    "while-affine": (
        lambda r, g: lax.fori_loop(0, n_steps(r), lambda i, s: s + 1.0, g),
        "'add', with a value that does not depend on it and is not zero",
    ),
    "cond": (
        lambda r, g: lax.cond(r[0] > 0, lambda g: g, jnp.ones_like, g),
        "'cond', with a value that does not depend on it and is not zero",
    ),
    "rounding": (
        lambda r, g: g.astype(int).astype(float),
        "'convert_element_type', which is not a linear operation",
    ),
    "constant": (lambda r, g: r, "a cotangent that does not depend on it and is not zero"),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_a_rule_that_is_not_linear(name):
    rule, reason = NOT_LINEAR[name]
    f = functrax.custom_vjp(lambda x: x, mode="transpose")
    f.defvjp(lambda x: (x, x), lambda kept, g: (rule(kept, g),))
    expected = "a bwd rule that is linear in the output cotangent, because mode='transpose'"
    for run in (f, functrax.jit(f)):
        with pytest.raises(errors.CustomRuleError) as caught:
            functrax.jvp(run, (X,), (X,))
        assert (caught.value.expected, caught.value.got) == (expected, reason)
        assert caught.value.fix == "Make the rule linear, or leave `mode` out."
        assert caught.value.where.startswith("test_custom_zeros.py:")
    assert functrax.vmap(f)(X).tolist() == X.tolist()


LINEAR = {
    "zeros": lambda r, g: jnp.concatenate([g[:1], jnp.zeros(2)]),
    "at": lambda r, g: jnp.zeros(3).at[jnp.array([0, 1, 1])].add(g * r),
    "padded": lambda r, g: jnp.pad(g[1:], (1, 0)),
    "none": lambda r, g: None,
    "zero": lambda r, g: jnp.zeros_like(g),
    "matrix": lambda r, g: jnp.outer(r, r) @ g,
    "quotient": lambda r, g: (g / r)[::-1],
    "sum": lambda r, g: jnp.cumsum(g) - g.mean() + 0.0,
    "checkpoint": lambda r, g: functrax.checkpoint(lambda g: r * g)(g),
    "derivative": lambda r, g: functrax.vjp(jnp.sin, r)[1](g)[0],
    "push": lambda r, g: functrax.jvp(jnp.sin, (r,), (g,))[1],
    "loop": lambda r, g: lax.scan(lambda c, t: (c * 2.0 + t, c), 0.0 * g[0], g)[1],
    "while": lambda r, g: lax.while_loop(
        lambda s: s[0] < 2, lambda s: (s[0] + 1, -s[1] * r), (0, g)
    )[1],
    "fori": lambda r, g: lax.fori_loop(0, n_steps(r), lambda i, s: s[::-1] * r + g * i, 0.0 * g),
    "while-in-scan": lambda r, g: lax.scan(
        lambda c, _: (lax.fori_loop(0, n_steps(r), lambda i, s: s * r, c), None), g, None, 2
    )[0],
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_rules(name):
    f = functrax.custom_vjp(lambda x: x, mode="transpose")
    f.defvjp(lambda x: (x, x), lambda kept, g: (LINEAR[name](kept, g),))
    basis = [LINEAR[name](X, row) for row in jnp.eye(3)]
    matrix = np.stack([np.zeros(3) if row is None else row for row in basis])
    for run in (f, functrax.jit(f)):
        np.testing.assert_allclose(functrax.jacfwd(run)(X), matrix, rtol=1e-6)
        np.testing.assert_allclose(functrax.jacrev(run)(X), matrix, rtol=1e-6)


def test_another_mode():
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.custom_vjp(lambda x: x, mode="forward")
    assert str(caught.value).startswith(
        "[custom_vjp] expected mode='primal' or mode='transpose'; got 'forward' ("
    )


# ---- optimize_remat


def primitives(jaxpr):
    """The names of all operations in a program, those inside others too."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for value in eqn.params.values():
            if hasattr(value, "eqns"):
                yield from primitives(value)


def test_the_forward_pass_under_checkpoint_is_the_function():
    """The rule computes the output in another way, and needs an exponential for its residuals."""

    def make(**options):
        f = functrax.custom_vjp(lambda x: jnp.sin(x))
        f.defvjp(lambda x: (lax.cosh(x), lax.exp(x)), lambda r, g: (10.0 * r * g,), **options)
        return functrax.checkpoint(f)

    run = lambda f: lambda x: functrax.vjp(f, x)[0]
    assert "exp" not in set(primitives(functrax.make_jaxpr(run(make(optimize_remat=True)))(X)))
    assert set(primitives(functrax.make_jaxpr(run(make(optimize_remat=True)))(X))) >= {"sin"}
    for outer in (lambda f: f, functrax.jit, functrax.checkpoint):
        f = outer(make(optimize_remat=True))
        value, pull = functrax.vjp(f, X)
        np.testing.assert_allclose(value, np.sin(X), rtol=1e-6)
        np.testing.assert_allclose(pull(X)[0], 10 * np.exp(X) * X, rtol=1e-6)
        mapped = functrax.vmap(functrax.grad(lambda x, f=f: f(x)))(X)
        np.testing.assert_allclose(mapped, 10 * np.exp(X), rtol=1e-6)
    np.testing.assert_allclose(functrax.vjp(make(), X)[0], np.cosh(X), rtol=1e-6)


# ---- rules that close over what is traced around them


@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_a_rule_that_closes_over_a_value_of_a_finished_trace(kind):
    def make(c):
        if kind == "jvp":
            f = functrax.custom_jvp(lambda x: x)
            f.defjvp(lambda p, t: (p[0], c * t[0]))
            return f
        f = functrax.custom_vjp(lambda x: x)
        f.defvjp(lambda x: (x, None), lambda _, g: (c * g,))
        return f

    body = lambda carry, c: (make(c)(carry), None)
    with pytest.raises(errors.LeakedTracerError) as caught:
        functrax.grad(lambda x: lax.scan(body, x, jnp.ones(2))[0])(1.0)
    message = str(caught.value)
    assert message.startswith(
        "[<lambda>] expected rules to use what is traced around the function through arguments "
        "and residuals only; got a traced f32[] made at the call of <lambda>, argument c, used "
    )
    assert message.endswith("Pass the value to the function as an argument.")
