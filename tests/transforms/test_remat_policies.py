"""Policies of `checkpoint`: what they keep, held against JAX; budgets, against trying everything."""

import functools
import importlib.util
import itertools

import jax
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name as jax_checkpoint_name

import functrax
import functrax.numpy as jnp
from functrax.ad_checkpoint import Offloadable, checkpoint_name
from functrax.core.jaxpr import Jaxpr, Var, dce, subjaxprs
from functrax.runtime.compile import lower
from functrax.transforms.remat import budget
from functrax.transforms.remat.cost import flops, nbytes, program_flops
from functrax.transforms.stage import closed_as_open

X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
W = np.linspace(1, -0.7, 25, dtype=np.float32).reshape(5, 5)


def residuals(f, *args):
    """Return the arrays that the backward pass keeps."""
    _, push = functrax.linearize(f, *args)
    return functrax.make_jaxpr(push)(*args).consts


def kept_bytes(f, *args):
    return sum(x.nbytes for x in residuals(f, *args))


def kept_by_jax(f, *args):
    from jax._src.ad_checkpoint import saved_residuals

    return sum(aval.size * aval.dtype.itemsize for aval, _ in saved_residuals(f, *args))


POLICIES = {
    "none": lambda p: None,
    "nothing": lambda p: p.nothing_saveable,
    "dots": lambda p: p.dots_saveable,
    "dots-no-batch": lambda p: p.dots_with_no_batch_dims_saveable,
    "names": lambda p: p.save_only_these_names("h", "other"),
    "other-names": lambda p: p.save_only_these_names("other"),
    "all-names": lambda p: p.save_any_names_but_these("other"),
    "names-but": lambda p: p.save_any_names_but_these("h"),
    "both": lambda p: p.save_from_both_policies(p.dots_saveable, p.save_only_these_names("h")),
    "own": lambda p: lambda prim, *avals, **params: prim.name == "sin" and avals[0].shape == (4, 5),
}
NAMERS = {jax: jax_checkpoint_name, functrax: checkpoint_name}


def programs(lib, policy):
    lnp, lax = lib.numpy, lib.lax
    checkpoint = functools.partial(lib.checkpoint, policy=policy)

    def layer(x, w):
        return lnp.tanh(NAMERS[lib](lnp.sin(x @ w), "h"))

    def three(x, w):
        return layer(layer(layer(x, w), w), w)

    def jitted(x, w):
        return lib.jit(layer)(lib.jit(lambda x: layer(layer(x, w), w))(x), w)

    def scanned(x, w, checkpoint=lambda f: f):
        return lax.scan(checkpoint(lambda c, _: (layer(c, w), None)), x, None, length=3)[0]

    return {
        "plain": checkpoint(three),
        "jit": checkpoint(jitted),
        "nested": checkpoint(checkpoint(three)),
        "around-scan": checkpoint(scanned),
        "in-scan": lambda x, w: scanned(x, w, checkpoint),
        "around-cond": checkpoint(lambda x, w: lax.cond(True, three, layer, x, w)),
        "vmap": checkpoint(lib.vmap(three, (0, None))),
        "in-vmap": lib.vmap(checkpoint(three), (0, None)),
        "products-in-batches": checkpoint(
            lambda x, w: lnp.sin(lnp.einsum("bij,bjk->bik", x[None], lnp.sin(w)[None]))
        ),
    }


PROGRAMS = list(programs(functrax, None))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_policies_keep_what_they_keep_in_jax(program, policy):
    ours = programs(functrax, POLICIES[policy](functrax.checkpoint_policies))[program]
    theirs = programs(jax, POLICIES[policy](jax.checkpoint_policies))[program]
    predicate = program == "around-cond"  # one byte, which JAX writes into the program
    found = functrax.saved_report(ours)(X, W)
    assert found.total_bytes - predicate == kept_by_jax(theirs, X, W)


@pytest.mark.parametrize("program", PROGRAMS)
def test_derivatives_under_policies(program):
    policies = functrax.checkpoint_policies
    wanted = jax.jit(jax.grad(lambda x, w: programs(jax, None)[program](x, w).sum(), (0, 1)))(X, W)
    for policy in (POLICIES["both"](policies), POLICIES["own"](policies)):
        f = programs(functrax, policy)[program]
        got = functrax.jit(functrax.grad(lambda x, w, f=f: f(x, w).sum(), (0, 1)))(X, W)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("program", ["around-scan", "in-vmap"])
def test_second_derivatives_under_policies(program):
    policies = functrax.checkpoint_policies
    f = programs(functrax, policies.dots_saveable)[program]
    g = programs(functrax, policies.everything_saveable)["plain"]
    second = lambda f: functrax.grad(  # noqa: E731
        lambda x: functrax.grad(lambda x: (f(x, jnp.asarray(W)) ** 2).sum())(x)[0].sum()
    )
    forward = lambda f: functrax.jvp(functrax.grad(lambda x: f(x, W).sum()), (X,), (X,))[1]  # noqa: E731
    x = jnp.asarray(X)
    np.testing.assert_allclose(functrax.jit(second(f))(x), second(g)(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(forward(f), forward(g), rtol=1e-4, atol=1e-4)


def test_policies_have_those_names():
    ours, theirs = vars(functrax.checkpoint_policies), vars(jax.checkpoint_policies)
    assert ours.keys() >= theirs.keys()
    assert ours["checkpoint_dots"] is ours["dots_saveable"]
    short, long = "dots_with_no_batch_dims_saveable", "checkpoint_dots_with_no_batch_dims"
    assert ours[short] is ours[long]


def test_branches_of_different_shapes_share_places():
    """Each keeps what it needs; what another one keeps is zeros."""

    def f(x, w):
        first = lambda x: jnp.sin(jnp.sin(x @ w) @ w)  # noqa: E731
        second = lambda x: jnp.exp(jnp.exp(x[:2] @ w).sum() * jnp.sin(x))  # noqa: E731
        return functrax.lax.switch(jnp.int32(w[0, 0] > 2), [first, second, lambda x: x], x).sum()

    dots = functrax.checkpoint_policies.dots_saveable
    g = functrax.checkpoint(f, policy=dots)
    for w in (W, W + 5):
        got = functrax.jit(functrax.grad(g, (0, 1)))(X * 0.01, w)
        wanted = functrax.jit(functrax.grad(f, (0, 1)))(X * 0.01, w)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    again = [r for r in functrax.saved_report(g)(X, W).rows if r.status == "saved"]
    assert sorted(r.type for r in again).count("f32[4,5]") == 3  # x, and two products


def test_everything_computes_nothing_again():
    f = programs(functrax, functrax.checkpoint_policies.everything_saveable)["plain"]
    text = repr(functrax.make_jaxpr(functrax.grad(lambda x: f(x, W).sum()))(X))
    assert text.count(" tanh ") == 3


def test_anything_except_these_names_keeps_the_rest():
    """In JAX it keeps everything."""
    policy = functrax.checkpoint_policies.save_anything_except_these_names("h")
    f = lambda x: jnp.sin(checkpoint_name(jnp.exp(x), "h"))  # noqa: E731
    calls = []

    def watched(prim, *avals, **params):
        calls.append((prim.name, params.get("name"), policy(prim, *avals, **params)))
        return calls[-1][-1]

    functrax.grad(functrax.checkpoint(f, policy=watched))(1.0)
    assert ("name", "h", False) in calls
    assert ("exp", None, True) in calls


def test_a_named_value_is_kept_under_its_other_name_too():
    """The derivative of exp needs its result, which is what the name stands for."""
    policy = functrax.checkpoint_policies.save_only_these_names("e")
    f = functrax.checkpoint(lambda x: checkpoint_name(jnp.exp(x), "e") ** 2, policy=policy)
    text = repr(functrax.make_jaxpr(functrax.grad(f))(1.0))
    assert text.count(" exp ") == 1


def test_names_change_nothing():
    tree = {"a": jnp.arange(3), "b": (1.5, functrax.random.key(0))}
    named = functrax.jit(lambda t: checkpoint_name(t, "t"))(tree)
    assert functrax.tree.structure(named) == functrax.tree.structure(tree)
    assert named["b"][1].dtype == tree["b"][1].dtype
    assert "name" not in functrax.jit(lambda x: checkpoint_name(x, "t")).lower(1.0).as_text()
    assert functrax.grad(lambda x: checkpoint_name(x, "t") ** 2)(3.0) == 6
    transposed = functrax.linear_transpose(lambda x: checkpoint_name(2 * x, "t"), 1.0)
    assert transposed(1.0) == (2.0,)


def test_custom_rules_keep_their_rules_under_a_policy():
    @functrax.custom_jvp
    def f(x):
        return jnp.sin(x) * 1.0

    f.defjvp(lambda p, t: (f(*p), 10.0 * t[0] * f(*p)))

    @functrax.custom_vjp
    def g(x):
        return jnp.sin(x)

    g.defvjp(lambda x: (g(x), g(x)), lambda s, c: (10.0 * c * s,))
    every = functrax.checkpoint_policies.everything_saveable
    for custom, policy in itertools.product((f, g), (None, every)):
        again = functrax.checkpoint(lambda x, custom=custom: custom(custom(x)), policy=policy)
        for order in (functrax.grad, lambda f: functrax.grad(functrax.grad(f))):
            wanted = order(lambda x, custom=custom: custom(custom(x)))(0.3)
            np.testing.assert_allclose(order(again)(0.3), wanted, rtol=1e-5)


def test_a_loop_of_unknown_length_and_keys():
    def f(x, key):
        x = functrax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))
        return (x[1] * functrax.random.normal(key, X.shape)).sum()

    key = functrax.random.key(1)
    every = functrax.checkpoint_policies.everything_saveable
    for options in ({"policy": every}, {"budget_bytes": 100}):
        again = functrax.jit(functrax.grad(functrax.checkpoint(f, **options)))
        wanted = functrax.jit(functrax.grad(f))(X, key)
        np.testing.assert_allclose(again(X, key), wanted, rtol=1e-5)


# Offloading ---------------------------------------------------------------------------------------


def offloading(call):
    policies = functrax.checkpoint_policies
    return {
        "dots": policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
        "names": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=["s"],
            names_which_can_be_offloaded=["h"],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    }[call]


@pytest.mark.parametrize("call", ["dots", "names"])
def test_offloading(call):
    """On the CPU the host's memory is the device's: values are kept in place."""
    f = lambda x: jnp.sin(checkpoint_name(x @ jnp.asarray(W), "h")).sum()  # noqa: E731
    g = functrax.jit(functrax.grad(functrax.checkpoint(f, policy=offloading(call))))
    np.testing.assert_allclose(g(X), functrax.grad(f)(X), rtol=1e-5)
    traced = g.trace(X)
    text = repr(traced.jaxpr)
    assert "kind=pinned_host" in text
    assert "kind=device" in text
    assert "annotate_device_placement" not in traced.lower().as_text()
    gpu = str(lower(closed_as_open(traced.jaxpr.jaxpr), name="main", platform="gpu").module)
    assert gpu.count("annotate_device_placement") == 2
    assert '_xla_buffer_placement = "pinned_host"' in gpu


OFFLOADED = """
import os
import functrax, functrax.numpy as jnp
from functrax import checkpoint_policies as policies
from functrax.ad_checkpoint import checkpoint_name
from functrax.sharding import SingleDeviceSharding

device = functrax.topology(os.environ["WHERE"]).devices[0]

def compiled(policy):
    def body(c, _):
        return checkpoint_name(jnp.sin(checkpoint_name(c @ c, "y")), "z"), None

    def f(x):
        return functrax.lax.scan(functrax.checkpoint(body, policy=policy), x, None, 8)[0].sum()

    x = functrax.ShapeDtypeStruct((512, 512), "float32", sharding=SingleDeviceSharding(device))
    program = functrax.jit(functrax.grad(f)).lower(x).compile()
    return program.memory_analysis().peak_memory_in_bytes, "S(5)" in program.as_text()

kept = compiled(policies.save_only_these_names("y", "z"))
away = compiled(policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[], names_which_can_be_offloaded=["y", "z"],
    offload_src="device", offload_dst="pinned_host"))
print(kept[1], away[1], away[0] < 0.8 * kept[0])
"""


@pytest.mark.parametrize(
    ("name", "package"), [("v5e:2x2", "libtpu"), ("h100", "jax_cuda13_plugin")]
)
def test_what_is_offloaded_is_in_the_memory_of_the_host(python, name, package):
    """Space 5 is the host's; compiled for devices that are not here."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert python(OFFLOADED, WHERE=name) == "False True True"


def test_what_offloading_policies_answer():
    policy = offloading("names")
    (name_p,) = {
        eqn.primitive for eqn in functrax.make_jaxpr(lambda x: checkpoint_name(x, "h"))(1.0).eqns
    }
    assert policy(name_p, name="h") == Offloadable(src="device", dst="pinned_host")
    assert policy(name_p, name="s") is True
    assert policy(name_p, name="else") is False


# Budgets ------------------------------------------------------------------------------------------


def chain_program(seed, length=7):
    """A random program of elementwise operations and products, and what it needs of them."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 6, length)

    def f(x):
        values = [x]
        for n in sizes:
            a = values[generator.integers(len(values))]
            b = values[generator.integers(len(values))]
            values.append(jnp.outer(jnp.sin(a), b)[:n, :].sum(1) if n % 2 else jnp.sin(a)[:n])
        return values[1:]

    jaxpr = functrax.make_jaxpr(f)(jnp.arange(5.0)).jaxpr
    outs = [v for v in jaxpr.outvars if generator.random() < 0.6 and type(v) is Var]
    return Jaxpr((), jaxpr.invars, outs, jaxpr.eqns)


def again_cost(jaxpr, kept):
    """Return the operations that compute the results from what is kept."""
    live = {v for v in jaxpr.outvars if v not in kept}
    cost = 0
    for eqn in reversed(jaxpr.eqns):
        if not live.isdisjoint(eqn.outvars):
            cost += flops(eqn)
            live.update(v for v in eqn.invars if type(v) is Var and v not in kept)
    return cost


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_within_a_budget_is_the_best(seed, monkeypatch):
    jaxpr, _ = dce(chain_program(seed, 4))
    values = [v for eqn in jaxpr.eqns for v in eqn.outvars]
    assert len(values) < 20
    for size in (0, 8, 20, 60, 1000):
        best = min(
            again_cost(jaxpr, set(some))
            for count in range(min(len(values), 5) + 1)
            for some in itertools.combinations(values, count)
            if sum(nbytes(v.aval) for v in some) <= size
        )
        chosen = budget.choose_within(jaxpr, size)
        assert sum(nbytes(v.aval) for v in chosen) <= size
        assert again_cost(jaxpr, set(chosen)) <= best
        with monkeypatch.context() as patch:
            patch.setattr(budget, "EXACT", 0)
            greedy = budget.choose_within(jaxpr, size)
        assert sum(nbytes(v.aval) for v in greedy) <= size
        assert best <= again_cost(jaxpr, set(greedy)) <= again_cost(jaxpr, set())


def test_a_budget_is_kept_and_used():
    def f(x, w):
        for _ in range(6):
            x = jnp.tanh(jnp.sin(x @ w) + x)
        return x

    inputs = X.nbytes + W.nbytes
    wanted = functrax.grad(lambda x: f(x, W).sum())(X)
    before = None
    for size in (0, 79, 80, 400, 10**6):
        again = functrax.checkpoint(f, budget_bytes=size)
        kept = kept_bytes(again, jnp.asarray(X), jnp.asarray(W))
        assert kept <= size + inputs
        cost = recomputed(lambda x, again=again: again(x, W).sum())
        assert before is None or cost <= before
        before = cost
        got = functrax.jit(functrax.grad(lambda x, again=again: again(x, W).sum()))(X)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert kept_bytes(functrax.checkpoint(f, budget_bytes=80), X, W) == 80 + inputs


def recomputed(f):
    """Return the operations of the calls in the backward pass."""
    jaxpr = functrax.make_jaxpr(functrax.grad(f))(X).jaxpr
    marked = [e for e in jaxpr.eqns if e.params.get("differentiated")]
    return sum(program_flops(e.params["jaxpr"]) for e in marked)


def test_costs():
    def only(f, *args):
        return [flops(eqn) for eqn in functrax.make_jaxpr(f)(*args).eqns]

    x, w = jnp.ones((4, 5)), jnp.ones((5, 6))
    assert only(lambda x, w: functrax.lax.dot(x, w), x, w) == [2 * 4 * 5 * 6]
    assert only(lambda x: functrax.lax.reshape(x, (20,)), x) == [0]
    assert only(functrax.lax.sin, x) == [20]
    assert only(lambda x: x.sum(), x)[-1] == 20
    image, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((7, 3, 3, 3))
    conv = lambda x, k: functrax.lax.conv(x, k, (1, 1), "SAME")  # noqa: E731
    assert only(conv, image, kernel) == [2 * (2 * 7 * 8 * 8) * 3 * 3 * 3]
    loop = lambda x: functrax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=9)  # noqa: E731
    assert only(loop, x) == [9 * 20]
    branch = lambda x: functrax.lax.cond(True, jnp.sin, lambda x: jnp.sin(jnp.sin(x)), x)  # noqa: E731
    assert max(only(branch, x)) == 40


# Memory -------------------------------------------------------------------------------------------


def gpt_block(x, p):
    """One layer of a decoder-only transformer."""
    batch, length, width = x.shape

    def norm(x):
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)

    q, k, v = jnp.split((norm(x) @ p["qkv"]).reshape(batch, length, 6, width // 2), 3, axis=2)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(width // 2)
    weights = functrax.nn.softmax(jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -9))
    x = x + jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape) @ p["out"]
    return x + functrax.nn.gelu(norm(x) @ p["up"]) @ p["down"]


def gpt_memory(wrap):
    """Return the bytes of temporary memory of a 6-layer step, unrolled."""
    block = wrap(gpt_block)
    shapes = {"qkv": (32, 96), "out": (32, 32), "up": (32, 128), "down": (128, 32)}
    layer = {k: functrax.ShapeDtypeStruct(v, "float32") for k, v in shapes.items()}

    def loss(layers, x):
        for p in layers:
            x = block(x, p)
        return (x * x).sum()

    x = functrax.ShapeDtypeStruct((4, 64, 32), "float32")
    quick = {"xla_backend_optimization_level": 0}  # of the machine code alone: no other memory
    gradient = functrax.jit(functrax.grad(loss), compiler_options=quick)
    compiled = gradient.lower([layer] * 6, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_compiled_memory_falls_in_an_unrolled_program():
    """XLA's CPU compiler drops barriers: docs/adr/0013."""
    plain = gpt_memory(lambda f: f)
    again = gpt_memory(functrax.checkpoint)
    some = gpt_memory(functools.partial(functrax.checkpoint, budget_bytes=200_000))
    assert again < 0.4 * plain
    assert again < some < plain


def test_a_constant_cotangent_does_not_open_the_branch():
    """The derivative of a sum is known to the compiler."""

    def f(x):
        for _ in range(8):
            x = jnp.sin(x @ jnp.asarray(W[:5, :5]))
        return x.sum()

    text = functrax.jit(functrax.grad(functrax.checkpoint(f))).lower(X).compile().as_text()
    assert "conditional" in text


def test_programs_with_policies_print():
    policy = functrax.checkpoint_policies.dots_saveable
    f = functrax.checkpoint(lambda x: jnp.sin(x @ W), policy=policy)
    jaxpr = functrax.make_jaxpr(functrax.grad(lambda x: f(x).sum()))(X)
    assert "policy=<function dots_saveable>" in repr(jaxpr) or "policy=<dots_saveable>" in repr(
        jaxpr
    )
    assert any(True for eqn in jaxpr.eqns for _ in subjaxprs(eqn.params))
    budget = functrax.checkpoint(lambda x: jnp.sin(x @ W), budget_bytes=80)
    assert "Budget(size=80)" in repr(functrax.make_jaxpr(budget)(X))
