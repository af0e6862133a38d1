"""`shard_map`: values and gradients against the whole computation and against JAX, and errors."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.sharding import Mesh
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")[:8]
LINE = Mesh(DEVICES, "i")
GRID = Mesh(np.array(DEVICES).reshape(2, 4), ("a", "b"))
X = np.linspace(-1, 1, 16, dtype=np.float32)


def over(body, in_specs, out_specs, mesh=LINE, **options):
    return functrax.shard_map(body, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **options)


def message(call):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    return str(caught.value)


def test_sums_and_their_gradients():
    total = over(lambda x: lax.psum(jnp.sin(x).sum(), "i"), P("i"), P())
    for run in (total, functrax.jit(total)):
        np.testing.assert_allclose(run(X), np.sin(X).sum(), atol=1e-6)
    for run in (functrax.grad(total), functrax.jit(functrax.grad(total))):
        np.testing.assert_allclose(run(X), np.cos(X), rtol=1e-5)


def test_gradients_of_replicated_values_are_summed():
    def loss(w, x):
        return over(lambda w, x: lax.pmean((w * x**2).mean(), "i"), (P(), P("i")), P())(w, x)

    w = np.float32(2)
    expected = (X**2).mean()
    np.testing.assert_allclose(functrax.grad(loss)(w, X), expected, rtol=1e-6)
    inside = over(
        lambda w, x: functrax.grad(lambda w: lax.pmean((w * x**2).mean(), "i"))(w),
        (P(), P("i")),
        P(),
    )
    np.testing.assert_allclose(inside(w, X), expected, rtol=1e-6)
    closed = over(lambda x: lax.psum((w * x).sum(), "i"), P("i"), P())
    np.testing.assert_allclose(closed(X), 2 * X.sum(), atol=1e-6)
    hessian = functrax.hessian(lambda w: loss(w * w, X))
    np.testing.assert_allclose(hessian(w), 2 * expected, rtol=1e-6)


def recurrent(w, xs):
    def step(c, a):
        return jnp.tanh(c * w + a), c * w

    c, ys = lax.scan(step, jnp.float32(0), xs)
    return c + ys.sum()


def test_loops_inside():
    def loss(w, x):
        return over(lambda w, x: lax.psum(recurrent(w, x), "i"), (P(), P("i")), P())(w, x)

    def whole(w, x):
        return sum(recurrent(w, x[2 * k : 2 * k + 2]) for k in range(8))

    w = jnp.float32(0.7)
    x = jnp.asarray(X)
    np.testing.assert_allclose(loss(w, x), whole(w, x), rtol=1e-5)
    for transform in (functrax.grad, functrax.hessian):
        expected = transform(whole)(w, x)
        np.testing.assert_allclose(transform(loss)(w, x), expected, rtol=1e-4)
        np.testing.assert_allclose(functrax.jit(transform(loss))(w, x), expected, rtol=1e-4)


def test_devices_may_go_different_ways():
    def loss(w, x):
        def body(w, x):
            n = lax.axis_index("i")
            w = lax.pvary(w, "i")
            y = lax.fori_loop(0, n, lambda _, c: c * w, x.sum())
            z = lax.cond(n > 3, lambda y: y * w, lambda y: y, y)
            return lax.psum(z, "i")

        return over(body, (P(), P("i")), P())(w, x)

    w = 0.7
    parts = [(X[2 * k : 2 * k + 2].sum(), k + (k > 3)) for k in range(8)]
    expected = sum(s * n * w ** (n - 1) for s, n in parts)
    np.testing.assert_allclose(loss(w, X), sum(s * w**n for s, n in parts), rtol=1e-4)
    np.testing.assert_allclose(functrax.grad(loss)(w, X), expected, rtol=1e-4)
    np.testing.assert_allclose(functrax.jit(functrax.grad(loss))(w, X), expected, rtol=1e-4)


#: What device k computes of a replicated w and its own x, going a way of its own.
APART = {
    "cond": lambda w, x, k: lax.cond(k > 3, lambda x: (x * w).sum(), lambda x: jnp.sin(x).sum(), x),
    "made inside": lambda w, x, k: lax.cond(
        x.sum() > 0, lambda x: (x * jnp.sin(w) + jnp.arange(2.0)).sum(), lambda x: x.sum(), x
    ),
    "operand": lambda w, x, k: lax.cond(
        k > 3, lambda w, x: (x * w).sum(), lambda w, x: w**2, w, x
    ),
    "fori_loop": lambda w, x, k: lax.fori_loop(0, k, lambda _, c: c * w, x).sum(),
    "while_loop": lambda w, x, k: lax.while_loop(
        lambda s: s[0] < k, lambda s: (s[0] + 1, jnp.sin(s[1] * w)), (0, x)
    )[1].sum(),
    "scan in switch": lambda w, x, k: lax.switch(
        k % 3,
        [
            lambda x: (x * w).sum(),
            lambda x: lax.scan(lambda c, a: (c * w + a, None), jnp.float32(0), x)[0],
            lambda x: jnp.float32(1),
        ],
        x,
    ),
    "cond in cond": lambda w, x, k: lax.cond(
        k > 3,
        lambda x: lax.cond(k > 5, lambda x: (x * w).sum(), lambda x: w, x),
        functrax.jit(lambda x: (x * w).sum() * 2),
        x,
    ),
    "rules and programs of their own": lambda w, x, k: lax.cond(
        k > 3,
        lambda x: (functrax.nn.gelu(w) * x + functrax.jit(lambda w, x: w * x)(w, x)).sum(),
        lambda x: functrax.nn.relu(w) * x.sum(),
        x,
    ),
    "mapped and differentiated": lambda w, x, k: lax.cond(
        k > 3,
        lambda x: functrax.vmap(lambda a: a * functrax.grad(lambda v: v**3)(w))(x).sum(),
        lambda x: functrax.checkpoint(lambda x: jnp.sin(x * w).sum())(x),
        x,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_gradients_of_closures_where_devices_go_different_ways(name):
    """They are summed outside, where all devices are."""
    body = APART[name]

    def loss(w):
        own = lambda x: lax.psum(body(w, x, lax.axis_index("i")), "i")  # noqa: E731
        return over(own, P("i"), P())(X)

    def all_of(f, *args):
        slopes = functrax.vmap(functrax.grad(f), (0, *[None] * len(args)))
        rows = slopes(jnp.array([0.3, 0.7]), *args)
        return functrax.value_and_grad(f)(0.7, *args), functrax.hessian(f)(0.7, *args), rows

    run = functrax.jit(all_of, static_argnums=0)
    parts = [functrax.tree.leaves(run(body, X[2 * k : 2 * k + 2], k)) for k in range(8)]
    found = functrax.tree.leaves(run(loss))
    for a, b in zip(found, map(sum, zip(*parts, strict=True)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_collectives_where_devices_go_different_ways():
    def run(branch):
        body = lambda w, x: lax.cond(lax.axis_index("i") > 3, branch, lambda w, x: x, w, x)  # noqa: E731
        return message(lambda: over(body, (P(), P("i")), P("i"))(np.float32(1), X))

    assert run(lambda w, x: x + lax.psum(x, "i")).startswith(
        "[cond] expected no collective along 'i' where devices go different ways: i32[]{i} decides; "
        "got 'psum_invariant' along 'i' at test_shard_map.py:"
    )


def test_some_axes_are_the_compilers_and_shard_maps_nest():
    def inner(y):
        return lax.psum(y * lax.axis_index("b"), "b")

    def body(x):
        within = functrax.shard_map(inner, in_specs=P("b"), out_specs=P(), axis_names={"b"})
        return within(x) + lax.axis_index("a")

    nested = over(body, P("a"), P("a"), GRID, axis_names={"a"})
    rows = X.reshape(2, 4, 2)
    expected = (rows * np.arange(4)[:, None]).sum(1) + np.arange(2)[:, None]
    np.testing.assert_allclose(functrax.jit(nested)(X), expected.reshape(-1), rtol=1e-5)
    np.testing.assert_allclose(
        functrax.grad(lambda x: nested(x).sum())(X), np.tile(np.repeat(np.arange(4), 2), 2)
    )


def test_mapped_over_and_in():
    total = over(lambda x: lax.psum(x.sum(), "i"), P("i"), P())
    np.testing.assert_allclose(functrax.vmap(total)(np.stack([X, X + 1])), [0, 16], atol=1e-5)
    rows = over(functrax.vmap(lambda r: r * lax.axis_index("i")), P("i"), P("i"))
    np.testing.assert_allclose(rows(X), X * np.repeat(np.arange(8), 2))


@pytest.mark.parametrize("check", [True, False])
def test_mapped_axes_may_lie_along_axes_that_are_free(check):
    rows = np.stack([X * k for k in range(4)])
    total = over(lambda x: lax.psum(jnp.sin(x).sum(), "b"), P("b"), P(), GRID, check_vma=check)
    mapped = functrax.jit(functrax.vmap(total, spmd_axis_name="a"))
    np.testing.assert_allclose(mapped(rows), np.sin(rows).sum(1), atol=1e-5)
    slopes = functrax.jit(functrax.grad(lambda x: mapped(x).sum()))(rows)
    np.testing.assert_allclose(slopes, np.cos(rows), rtol=1e-5)
    assert message(lambda: functrax.vmap(total, spmd_axis_name="b")(rows)).startswith(
        "[vmap] expected spmd_axis_name of axes that the shard_map inside does not use; got 'b'"
    )


def test_pytrees_and_keys():
    def body(state, key):
        draw = functrax.random.normal(key[0], (2,))
        return {"w": state["w"] + lax.pmean(state["x"].mean(), "i"), "noise": draw}

    specs = ({"w": P(), "x": P("i")}, P("i"))
    keys = functrax.random.split(functrax.random.key(0), 8)
    run = over(body, specs, {"w": P(), "noise": P("i")})
    out = functrax.jit(run)({"w": jnp.ones(3), "x": X}, keys)
    np.testing.assert_allclose(out["w"], 1 + X.mean() * np.ones(3), atol=1e-6)
    expected = np.concatenate([functrax.random.normal(key, (2,)) for key in keys])
    np.testing.assert_array_equal(out["noise"], expected)
    assert out["noise"].sharding.spec == P("i")


@pytest.mark.parametrize("check", [True, False])
def test_custom_rules_must_sum_what_they_return(check):
    @functrax.custom_vjp
    def scaled(w, x):
        return w * x

    def bwd(residuals, g):
        w, x = residuals
        return (g * x).sum(), g * w

    scaled.defvjp(lambda w, x: (w * x, (w, x)), bwd)

    def loss(w):
        body = lambda w, x: lax.psum(scaled(w, x).sum(), "i")  # noqa: E731
        return over(body, (P(), P("i")), P(), check_vma=check)(w, X)

    if check:
        assert "cotangents of type f32[] for 'w'; got f32[]{i}" in message(
            lambda: functrax.grad(loss)(np.float32(2))
        )
    else:
        np.testing.assert_allclose(functrax.grad(loss)(np.float32(2)), X.sum(), atol=1e-5)


def test_errors():
    assert message(lambda: over(lambda x: x * 2, P("i"), P())(X)).startswith(
        "[shard_map] expected the result of '<lambda>' to be the same along 'i', which its spec P() "
        "does not mention; got f32[2]{i} made at test_shard_map.py:"
    )
    assert message(lambda: over(lambda batch: batch, P("i"), P("i"))(X[:5])).startswith(
        "[shard_map] expected dimension 0 of argument `batch` of shape (5,) to be divisible by 8, "
        "the size of 'i' in Mesh(i=8); got size 5 ("
    )
    assert message(lambda: over(lambda x: x, P("j"), P())(X)).startswith(
        "[shard_map] expected specs with the mapped axes ('i',); got P('j') for argument `x` ("
    )
    assert message(lambda: over(lambda x: x, P("i"), P("i"), None)(X)).startswith(
        "[shard_map] expected a mesh; got None ("
    )
    assert "axis_names of Mesh(i=8); got 'k'" in message(
        lambda: over(lambda x: x, P("i"), P("i"), axis_names={"k"})(X)
    )
    assert "out_specs with at most 0 entries: the result of" in message(
        lambda: over(lambda x: x.sum(), P("i"), P("i"))(X)
    )
    assert "an axis name bound by an enclosing vmap, pmap or shard_map" in message(
        lambda: lax.psum(X, "i")
    )


# Collectives, against the same on whole arrays (8 parts of v: rows) --------------------------------

RING = [(k, (k + 1) % 8) for k in range(8)]
COLLECTIVES = {
    "psum": (lambda v: lax.psum(v, "i"), lambda v: jnp.broadcast_to(v.sum(0), v.shape)),
    "pmean": (lambda v: lax.pmean(v, "i"), lambda v: jnp.broadcast_to(v.mean(0), v.shape)),
    "pmax": (lambda v: lax.pmax(v, "i"), lambda v: jnp.broadcast_to(v.max(0), v.shape)),
    "pmin": (lambda v: lax.pmin(v, "i"), lambda v: jnp.broadcast_to(v.min(0), v.shape)),
    "all_gather": (
        lambda v: lax.all_gather(v, "i").sum(0) * v,
        lambda v: v.sum(0) * v,
    ),
    "psum_scatter": (
        lambda v: lax.psum_scatter(v, "i", tiled=True),
        lambda v: v.sum(0)[:, None],
    ),
    "ppermute": (lambda v: lax.ppermute(v, "i", RING), lambda v: jnp.roll(v, 1, 0)),
    "all_to_all": (lambda v: lax.all_to_all(v, "i", 0, 0, tiled=True), lambda v: v.T),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_collectives(name):
    """Value, jvp, gradients in both modes, and twice, with a closure over w."""
    on_parts, on_whole = COLLECTIVES[name]
    rng = np.random.default_rng(0)
    x, dx, c = (jnp.asarray(rng.normal(size=(8, 8)), "float64") for _ in range(3))

    def parts(w, x):
        body = lambda v, c: (on_parts(jnp.sin(w * v[0])) * c[0][: on_parts(v[0]).shape[0]]).sum()  # noqa: E731
        return over(lambda v, c: lax.psum(body(v, c), "i"), (P("i"), P("i")), P())(x, c)

    def whole(w, x):
        y = on_whole(jnp.sin(w * x))
        return (y * c[:, : y.shape[1]]).sum()

    w = jnp.asarray(0.7, "float64")
    for transform in (
        lambda f: f,
        lambda f: functrax.grad(f, (0, 1)),
        lambda f: functrax.jacfwd(f, 0),
        lambda f: lambda w, x: functrax.jvp(f, (w, x), (w, dx)),
        lambda f: functrax.grad(lambda w, x: (functrax.grad(f, 1)(w, x) ** 2).sum(), (0, 1)),
    ):
        found = functrax.tree.leaves(functrax.jit(transform(parts))(w, x))
        for a, b in zip(found, functrax.tree.leaves(transform(whole)(w, x)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
