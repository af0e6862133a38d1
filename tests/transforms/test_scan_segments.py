"""`scan` in segments: the same values and derivatives, in less memory; the body is traced once."""

import functools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.transforms.control.scan_segments import halves, plan_of

W = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)
START = np.array([0.3, -0.2, 0.5], np.float32)
ROWS = np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3)


def body(carry, x):
    h, count = carry
    new = jnp.tanh(h @ jnp.asarray(W) + x["a"]) + 0.1 * h
    return (new, count + 1), {"y": new * x["a"], "n": count, "none": None}


def loop(w, h, a, length, **options):
    """A loop with trees, integers and something captured."""
    step = lambda c, x: body((c[0] * w, c[1]), x)  # noqa: E731
    return functrax.lax.scan(step, (h, 0), {"a": a[:length]}, **options)


def loss(w, h, a, **options):
    (last, count), ys = loop(w, h, a, **options)
    weights = jnp.arange(ys["y"].size, dtype="float32").reshape(ys["y"].shape)
    return (last**2).sum() * count + (ys["y"] * weights).sum()


WAYS = {
    "1": {"checkpoint": 1},
    "3": {"checkpoint": 3},
    "more-than-steps": {"checkpoint": 100},
    "sqrt": {"checkpoint": "sqrt"},
    "log": {"checkpoint": "log"},
    "large-budget": {"budget_bytes": 10**6},
    "small-budget": {"budget_bytes": 5_500},
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_the_plain_loop(way, length, reverse):
    options = {"length": length, "reverse": reverse}
    plain = functools.partial(loss, **options)
    short = functools.partial(loss, **options, **WAYS[way])
    args = jnp.float32(1.1), jnp.asarray(START), jnp.asarray(ROWS)
    np.testing.assert_allclose(short(*args), plain(*args), rtol=1e-5)
    got = functrax.jit(functrax.grad(short, (0, 1, 2)))(*args)
    for a, b in zip(got, functrax.grad(plain, (0, 1, 2))(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_results_are_those_of_the_plain_loop(way):
    args = jnp.float32(1.1), jnp.asarray(START), jnp.asarray(ROWS), 11
    got = loop(*args, **WAYS[way])
    wanted = loop(*args)
    assert functrax.tree.structure(got) == functrax.tree.structure(wanted)
    pairs = zip(functrax.tree.leaves(got), functrax.tree.leaves(wanted), strict=True)
    for a, b in pairs:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-5)


TRANSFORMS = {
    "jvp": lambda f: lambda h: functrax.jvp(f, (h,), (h,))[1],
    "hessian": functrax.hessian,
    "grad-grad": lambda f: functrax.grad(lambda h: (functrax.grad(f)(h) ** 2).sum()),
    "vmap-grad": lambda f: lambda h: functrax.vmap(functrax.grad(f))(jnp.stack([h, 2 * h])),
    "grad-vmap": lambda f: functrax.grad(lambda h: functrax.vmap(f)(jnp.stack([h, 2 * h])).sum()),
    "checkpoint": lambda f: functrax.grad(functrax.checkpoint(f)),
    "linearize": lambda f: lambda h: functrax.linearize(f, h)[1](h),
}


CASES = [*((t, "log", 1) for t in TRANSFORMS), ("jvp", 2, 2), ("vmap-grad", 2, True), ("jvp", 3, 3)]


@pytest.mark.parametrize(("transform", "checkpoint", "unroll"), CASES)
def test_under_transforms(transform, checkpoint, unroll):
    def f(h, **options):
        step = lambda c, _: (jnp.sin(c @ jnp.asarray(W)) + c * 0.5, None)  # noqa: E731
        return (functrax.lax.scan(step, h, None, length=5, **options)[0] ** 2).sum()

    derive = TRANSFORMS[transform]
    got = derive(functools.partial(f, unroll=unroll, checkpoint=checkpoint))(jnp.asarray(START))
    np.testing.assert_allclose(got, derive(f)(jnp.asarray(START)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_the_body_is_traced_once(way):
    seen = []

    def step(c, x):
        seen.append(1)
        return jnp.sin(c) * x[0], x

    functrax.jit(
        functrax.grad(lambda c: functrax.lax.scan(step, c, jnp.asarray(ROWS), **WAYS[way])[0])
    )(jnp.float32(1.0))
    assert len(seen) == 1


def test_keys_and_integers_as_xs():
    keys = functrax.random.split(functrax.random.key(0), 7)

    def f(c, **options):
        step = lambda c, k: (c * jnp.exp(functrax.random.normal(k)), k)  # noqa: E731
        c, out = functrax.lax.scan(step, c, keys, **options)
        return c, out

    wanted = functrax.grad(lambda c: f(c)[0])(1.0)
    for way in ({"checkpoint": 3}, {"checkpoint": "log"}):
        np.testing.assert_allclose(
            functrax.grad(lambda c, way=way: f(c, **way)[0])(1.0), wanted, rtol=1e-5
        )
        assert (f(1.0, **way)[1] == keys).all()


def test_plans():
    assert plan_of(4, 10) == [(3, 3)]  # and one step more
    assert plan_of("sqrt", 1000) == [(25, 40)]
    assert plan_of("sqrt", 10_000) == [(100, 100)]
    assert halves(8) == [(2, 4), (2, 2), (2, 1)]
    assert halves(15) == [(3, 5), (5, 1)]
    assert plan_of("log", 0) == plan_of("sqrt", 0) == []
    steps = 1
    for count, _ in halves(10_000):
        steps *= count
    assert steps == 10_000


# Memory -------------------------------------------------------------------------------------------


def temporary(step, length, row=None, **options):
    """Return the temporary memory of a compiled gradient."""

    def total(c, xs):
        return (functrax.lax.scan(step, c, xs, length=length, **options)[0] ** 2).sum()

    carry = functrax.ShapeDtypeStruct((16,), "float32")
    xs = None if row is None else functrax.ShapeDtypeStruct((length, *row), "float32")
    argnums = 0 if row is None else (0, 1)
    compiled = functrax.jit(functrax.grad(total, argnums)).lower(carry, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def wide(c, x):
    """A step that keeps ten times its carry."""
    inner = jnp.sin(jnp.outer(c, jnp.arange(10.0)))
    return jnp.tanh(inner.sum(1)) + 0.5 * c, None


def with_rows(c, x):
    return jnp.tanh(jnp.sin(c) + x * c), None


@pytest.mark.parametrize("length", [1000, 10_000, 9973])
def test_memory_stays_under_the_budget(length):
    plain = temporary(wide, length)
    assert plain > 600 * length
    for size in (400_000, 60_000, 20_000):
        assert temporary(wide, length, budget_bytes=size) <= size
    assert temporary(wide, length, checkpoint="sqrt") < 20 * plain / length**0.5
    assert temporary(wide, length, checkpoint="log") < 12_000


@pytest.mark.parametrize("length", [1000, 10_000])
def test_memory_with_xs_stays_under_the_budget(length):
    for size in (200_000, 60_000):
        assert temporary(with_rows, length, (16,), budget_bytes=size) <= size


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "cbrt"])
def test_wrong_segments(wrong):
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.lax.scan(wide, jnp.ones(3), None, length=3, checkpoint=wrong)
    kind = type(wrong).__name__
    assert str(caught.value).startswith(
        "[scan] expected checkpoint as a number of segments, 'sqrt' or 'log'; got "
        f"{wrong!r} of type {kind} ("
    )


def test_wrong_budgets():
    run = functools.partial(functrax.lax.scan, wide, jnp.ones(3), None, length=100)
    with pytest.raises(
        errors.ArgumentError, match="checkpoint or budget_bytes, not both; got both"
    ):
        run(checkpoint=2, budget_bytes=10**6)
    with pytest.raises(errors.ArgumentError, match="budget_bytes as a number of bytes; got -1"):
        run(budget_bytes=-1)
    with pytest.raises(errors.ArgumentError) as caught:
        run(budget_bytes=100)
    message = str(caught.value)
    assert message.startswith("[scan] expected budget_bytes of at least ")
    assert ", for 100 steps of this body; got 100 (" in message
    least = int(message.split("at least ")[1].split(",")[0])
    run(budget_bytes=least)
