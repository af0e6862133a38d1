"""`cond` and `switch` under `vmap`, lane by lane and partitioned, and `platform_dependent`."""

import functools
import re

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax, random
from functrax.testing import check_grads
from functrax.transforms.control.cond_lanes import BLOCK

WAYS = ["map", "partition"]


def place_free(text):
    return re.sub(r"test_batched_cond\.py:\d+", "HERE", str(text))


def primitives_in(jaxpr, depth=9):
    """Yield the equations of a program and of the programs inside."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if hasattr(inner, "eqns"):
                    yield from primitives_in(inner)


def root_or_square(way):
    def f(p, x, w):
        true = lambda x: {"a": jnp.sqrt(x["a"]) * w, "b": (x["b"][0] + 1, x["b"][1])}  # noqa: E731
        false = lambda x: {"a": x["a"] * x["a"] - w, "b": (x["b"][0], -x["b"][1])}  # noqa: E731
        return lax.cond(p, true, false, x, batched=way)

    return f


def operands(size, lanes):
    rng = np.random.default_rng(size)
    p = {
        "some": rng.integers(0, 2, size).astype(bool),
        "all": np.ones(size, bool),
        "none": np.zeros(size, bool),
    }[lanes]
    sign = np.where(p, 1, -1)[:, None]
    a = (sign * rng.uniform(1, 2, (size, 3))).astype(np.float32)
    return p, {"a": a, "b": (np.arange(size), np.ones((size, 0, 2), np.float32))}


CASES = [(0, "some"), (1, "all"), (BLOCK + 1, "none"), (BLOCK, "some"), (3 * BLOCK + 3, "some")]


@pytest.mark.parametrize(("size", "lanes"), CASES)
@pytest.mark.parametrize("way", WAYS)
def test_values_and_derivatives_are_those_of_select(way, size, lanes):
    p, x = operands(size, lanes)

    @functools.partial(functrax.jit, static_argnums=0)
    def run(way, p, x, weight):
        mapped = functrax.vmap(root_or_square(way), (0, 0, None))

        def loss(a, w):
            return jnp.sum(jnp.sin(mapped(p, x | {"a": a}, w)["a"]))

        grads = functrax.grad(loss, (0, 1))(x["a"], weight)
        push = functrax.jvp(loss, (x["a"], weight), (x["a"], weight))
        twice = functrax.grad(lambda w: functrax.grad(loss, 1)(x["a"], w))(weight)
        return mapped(p, x, weight), grads, push, twice

    weight = jnp.float32(1.5)
    expected = functrax.tree.leaves(run("select", p, x, weight))
    for ours, theirs in zip(functrax.tree.leaves(run(way, p, x, weight)), expected, strict=True):
        assert ours.aval is theirs.aval
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    eager = functrax.vmap(root_or_square(way), (0, 0, None))(p, x, weight)
    for ours, theirs in zip(functrax.tree.leaves(eager), expected, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("axes", [(0, 0), (0, 1), (0, None), (0, 2)])
@pytest.mark.parametrize("way", WAYS)
def test_axes(way, axes):
    x = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    index = np.array([2, 0, 9, -1], np.int32)
    branches = [jnp.sin, lambda x: x * 2, lambda x: x - x.sum()]
    f = lambda i, x: lax.switch(i, branches, x, batched=way)  # noqa: E731
    expected = [
        branches[min(max(i, 0), 2)](x if axes[1] is None else x.take(n, axes[1]))
        for n, i in enumerate(index)
    ]
    ours = functrax.vmap(f, axes, 1)(index, x)
    np.testing.assert_allclose(ours, np.stack(expected, 1), rtol=1e-4)


@pytest.mark.parametrize("way", ["select", *WAYS])
def test_many_branches(way):
    count, size = 11, 50
    branches = [lambda x, n=n: x**2 * n for n in range(count)]
    index = np.random.default_rng(1).integers(0, count, size)
    f = lambda i, x: lax.switch(i, branches, x, batched=way)  # noqa: E731
    x = np.linspace(1, 2, size).astype(np.float32)
    np.testing.assert_allclose(functrax.vmap(f)(index, x), x**2 * index, rtol=1e-6)
    pulled = functrax.vmap(functrax.grad(f, 1))(index, x)
    np.testing.assert_allclose(pulled, 2 * x * index, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_branch_runs_on_its_own_lanes_only(way):
    """The loop ends for lanes that take it; on others it would not, and their root is NaN."""

    def loop(x):
        return lax.while_loop(lambda c: c != 0, lambda c: c - 1, x)

    f = functrax.vmap(lambda p, x: lax.cond(p, loop, lambda x: x, x, batched=way))
    x = np.where(np.arange(21) % 3 == 0, 5, -5)
    np.testing.assert_array_equal(f(x > 0, x), np.where(x > 0, 0, -5))
    np.testing.assert_array_equal(f(np.zeros(3, bool), -np.ones(3, int)), [-1, -1, -1])
    g = functrax.vmap(lambda p, x: lax.cond(p, jnp.sqrt, lambda x: x, x, batched=way))
    gradient = functrax.grad(lambda x: jnp.sum(g(x > 0, x)))(jnp.array([4.0, -1.0, 0.0]))
    np.testing.assert_array_equal(gradient, [0.25, 1.0, 1.0])


def test_what_a_partition_costs():
    def f(p, x):
        return lax.cond(p, jnp.sin, jnp.cos, x, batched="partition")

    size = 10 * BLOCK
    program = functrax.make_jaxpr(functrax.vmap(f))(np.ones(size, bool), np.ones(size))
    (loop,) = [eqn for eqn in primitives_in(program.jaxpr) if eqn.primitive.name == "scan"]
    assert loop.params["length"] <= 10 + 2
    (choice,) = [eqn for eqn in primitives_in(program.jaxpr) if eqn.primitive.name == "cond"]
    assert len(choice.params["branches"]) == 3
    sines = [eqn for eqn in primitives_in(program.jaxpr) if eqn.primitive.name == "sin"]
    assert [eqn.outvars[0].aval.shape for eqn in sines] == [(BLOCK,)]


@pytest.mark.parametrize("way", WAYS)
def test_nested_maps_and_orders_of_transforms(way):
    def f(p, q, x):
        inner = lambda x: lax.cond(q, jnp.sin, lambda x: x * x, x, batched=way)  # noqa: E731
        return lax.cond(p, inner, lambda x: 3 * x, x, batched=way)

    rng = np.random.default_rng(2)
    p, q = rng.integers(0, 2, (2, 5, 11)).astype(bool)
    x = rng.normal(size=(5, 11)).astype(np.float32)
    expected = np.where(p, np.where(q, np.sin(x), x * x), 3 * x)
    slope = np.where(p, np.where(q, np.cos(x), 2 * x), 3)
    both = functrax.vmap(functrax.vmap(f))
    np.testing.assert_allclose(functrax.jit(both)(p, q, x), expected, rtol=1e-5)
    inside = functrax.vmap(functrax.vmap(functrax.grad(f, 2)))
    outside = functrax.grad(lambda x: jnp.sum(both(p, q, x)))
    np.testing.assert_allclose(inside(p, q, x), slope, rtol=1e-5)
    np.testing.assert_allclose(outside(x), slope, rtol=1e-5)
    np.testing.assert_allclose(
        functrax.jvp(lambda x: both(p, q, x), (x,), (x,))[1], slope * x, 1e-4
    )
    one = functrax.vmap(f, (0, None, 0))(p[0], q[0, 0], x[0])
    np.testing.assert_allclose(
        one, np.where(p[0], np.sin(x[0]) if q[0, 0] else x[0] ** 2, 3 * x[0]), 1e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_inside_of_loops_and_with_captured_values(way):
    scale = jnp.arange(4.0)

    def f(x, shift):
        def body(c, s):
            c = lax.cond(c.sum() > 0, lambda: jnp.sin(c * scale + s), lambda: c - s, batched=way)
            return c, c.sum()

        return lax.scan(body, x * jnp.ones(4), shift * jnp.ones(3))

    mapped = functrax.vmap(f)
    x, shift = jnp.linspace(-1, 1, 12), jnp.linspace(0.1, 1, 12)
    loops = [f(a, b) for a, b in zip(x, shift, strict=True)]
    for ours, rows in zip(mapped(x, shift), zip(*loops, strict=True), strict=True):
        np.testing.assert_allclose(ours, np.stack(rows), rtol=1e-5)
    check_grads(lambda s: jnp.sum(mapped(x, s)[1]), (shift,), 1, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("way", WAYS)
def test_keys_are_operands(way):
    keys = random.split(random.key(0), 10)
    f = lambda p, k: lax.cond(p, random.normal, random.uniform, k, batched=way)  # noqa: E731
    p = np.arange(10) % 3 == 0
    expected = [random.normal(k) if q else random.uniform(k) for q, k in zip(p, keys, strict=True)]
    np.testing.assert_allclose(functrax.vmap(f)(p, keys), np.stack(expected), rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_without_a_mapped_predicate_it_is_a_plain_choice(way):
    f = lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x, batched=way)  # noqa: E731
    x = jnp.arange(3.0)
    assert f(True, x[1]) == jnp.sin(x[1])
    np.testing.assert_array_equal(functrax.vmap(f, (None, 0))(False, x), jnp.cos(x))


@pytest.mark.parametrize("way", WAYS)
def test_collectives_over_the_mapped_axis_are_refused(way):
    def f(p, x):
        return lax.cond(p, lambda x: lax.psum(x, "i"), lambda x: x, x, batched=way)

    with pytest.raises(errors.ArgumentError) as error:
        functrax.vmap(f, axis_name="i")(jnp.array([True, False]), jnp.ones(2))
    assert place_free(error.value) == (
        "[cond] expected branches without collectives over 'i', as "
        f"batched={way!r} does not run all lanes together; got a branch with one (HERE). "
        "Use batched='select'."
    )


@pytest.mark.parametrize("call", ["cond", "switch"])
def test_another_word_is_refused(call):
    arguments = (True, jnp.sin, jnp.cos, 1.0) if call == "cond" else (0, [jnp.sin], 1.0)
    with pytest.raises(errors.ArgumentError) as error:
        getattr(lax, call)(*arguments, batched="sort")
    assert place_free(error.value) == (
        f"[{call}] expected batched as 'select', 'map', 'partition'; got 'sort' (HERE)."
    )


# platform_dependent -------------------------------------------------------------------------------


def on_cpu(x):
    return lax.platform_dependent(
        x, tpu=lambda x: x["a"] * 3, cpu=lambda x: jnp.sin(x["a"]), default=lambda x: x["a"]
    )


def test_the_platform_chooses_and_all_transforms_go_through():
    x = {"a": jnp.array([0.5, 1.0])}
    np.testing.assert_array_equal(on_cpu(x), jnp.sin(x["a"]))
    np.testing.assert_array_equal(functrax.jit(on_cpu)(x), jnp.sin(x["a"]))
    np.testing.assert_array_equal(functrax.vmap(on_cpu)(x), jnp.sin(x["a"]))
    total = lambda a: jnp.sum(on_cpu({"a": a}))  # noqa: E731
    for wrap in (lambda f: f, functrax.jit):
        np.testing.assert_allclose(functrax.grad(wrap(total))(x["a"]), jnp.cos(x["a"]), rtol=1e-6)
        np.testing.assert_allclose(wrap(functrax.grad(total))(x["a"]), jnp.cos(x["a"]), rtol=1e-6)
    check_grads(total, (x["a"],), 2)
    _, push = functrax.linearize(total, x["a"])
    np.testing.assert_allclose(push(x["a"]), jnp.sum(jnp.cos(x["a"]) * x["a"]), rtol=1e-6)
    mapped = functrax.vmap(functrax.grad(total))(jnp.ones((3, 2)))
    np.testing.assert_allclose(mapped, np.cos(np.ones((3, 2))), rtol=1e-6)


def test_transposition():
    f = lambda x: lax.platform_dependent(x, cpu=lambda x: 2 * x, default=lambda x: 3 * x)  # noqa: E731
    assert functrax.linear_transpose(f, 1.0)(5.0)[0] == 10


@pytest.mark.parametrize(
    ("platform", "operation"), [("cpu", "sine"), ("tpu", "multiply"), ("gpu", "cosine")]
)
def test_only_the_branch_of_the_platform_is_lowered(platform, operation):
    @functrax.jit
    def f(x):
        inner = functrax.jit(
            lambda x: lax.platform_dependent(x, cuda=jnp.cos, default=lambda x: 3 * x)
        )
        return lax.platform_dependent(x, cpu=jnp.sin, default=inner)

    text = f.trace(1.0).lower(lowering_platforms=(platform,)).as_text()
    found = set(re.findall(r"stablehlo\.(sine|cosine|multiply|case)", text))
    assert found == {operation}


def test_equal_functions_are_traced_once():
    calls = []

    def f(x):
        calls.append(1)
        return x

    lax.platform_dependent(1.0, cpu=f, tpu=f, default=lambda x: 2 * x)
    assert len(calls) == 1


def test_disable_jit():
    with functrax.disable_jit():
        assert lax.platform_dependent(1.0, cpu=lambda x: x + 1, default=lambda x: x) == 2


PLATFORM_ERRORS = [
    (
        lambda: lax.platform_dependent(1.0, tpu=jnp.sin, cuda=jnp.cos),
        "expected a function for 'cpu', or a default; got functions for 'tpu', 'cuda'.",
    ),
    (lambda: lax.platform_dependent(1.0), "expected at least one function; got none (HERE)."),
    (
        lambda: lax.platform_dependent(1.0, gpu=jnp.sin),
        "expected the name of a platform; got 'gpu' (HERE). Use 'cuda' or 'rocm'.",
    ),
    (
        lambda: lax.platform_dependent(1.0, cpu=3),
        "expected a function; got 3 of type int (HERE).",
    ),
]


@pytest.mark.parametrize(("call", "message"), PLATFORM_ERRORS)
def test_errors_of_platform_dependent(call, message):
    with pytest.raises(errors.ArgumentError) as error:
        call()
    assert place_free(error.value).replace(" (HERE).", ".", 1) == (
        "[platform_dependent] " + message.replace(" (HERE).", ".", 1)
    )


def test_results_of_platforms_must_agree():
    with pytest.raises(errors.ShapeError, match="branches whose results have the same types"):
        lax.platform_dependent(1.0, cpu=jnp.sin, default=lambda x: jnp.ones(2))
