"""`pmap`: values and gradients against JAX, nesting, training loops, both conventions, errors."""

import functools
import re

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
import functrax.testing
from functrax import errors, lax
from tests.transforms.collectives import EVEN, MOVES

LIBRARIES = (jax, functrax)
X = np.arange(16, dtype=np.float32).reshape(8, 2)
W = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
CUBE = np.linspace(-1, 1, 48, dtype=np.float32).reshape(8, 2, 3)


def both(program):
    """Run a program of the library with each, and compare the leaves of the results."""
    theirs, ours = [library.tree.leaves(program(library)) for library in LIBRARIES]
    assert len(theirs) == len(ours)
    for a, b in zip(ours, theirs):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def message(call):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    return re.sub(r" \([\w.]+:\d+\)", "", str(caught.value))


#: Programs of a library J that give the same in both.
PROGRAMS = {
    "axis 1": lambda J: J.pmap(lambda x: x * 2, in_axes=1)(X),
    "middle": lambda J: J.pmap(lambda x: x[0], in_axes=1, out_axes=0)(CUBE),
    "out 1": lambda J: J.pmap(lambda x: x * 2, out_axes=1)(X),
    "out None": lambda J: J.pmap(lambda x: J.lax.psum(x, "i"), "i", out_axes=None)(X),
    "out mixed": lambda J: J.pmap(
        lambda x: {"a": x, "b": (J.lax.pmax(x, "i"), x + 1)},
        "i",
        out_axes={"a": 1, "b": (None, 0)},
    )(X),
    "None among": lambda J: J.pmap(lambda a, w: a @ w, in_axes=(0, None))(W, W[0]),
    "tree axes": lambda J: J.pmap(
        lambda p, x: p["w"] * x[0] + p["b"], in_axes=({"w": 1, "b": None}, (0,))
    )({"w": W[:2].reshape(2, 4)[:, :4], "b": np.float32(3)}, (W[:4, :2],)),
    "prefix axes": lambda J: J.pmap(lambda p, x: p["w"] + p["b"] + x, in_axes=(None, 0))(
        {"w": np.float32(1), "b": np.float32(2)}, X
    ),
    "int for all": lambda J: J.pmap(lambda a, b: a["x"] + b, in_axes=0)({"x": X}, X),
    "keywords": lambda J: J.pmap(lambda a, *, b, c: a + b["x"] - c)(X, b={"x": X}, c=X[:, 0]),
    "keywords only": lambda J: J.pmap(lambda *, b: b + 1)(b=X),
    "axis_size and axes": lambda J: J.pmap(lambda x: x + 1, axis_size=8)(X),
    "no name": lambda J: J.pmap(lambda x: x + 1)(X),
    "one position": lambda J: J.pmap(lambda x: J.lax.psum(x, "i"), "i")(X[:1]),
    "fewer than devices": lambda J: J.pmap(lambda x: J.lax.psum(x, "i"), "i")(X[:3]),
    "subset": lambda J: J.pmap(
        lambda x: J.lax.axis_index("i") + x, "i", devices=J.devices()[3:7]
    )(X[:4]),
    "order": lambda J: J.pmap(
        lambda x: J.lax.psum_scatter(x, "i") * J.lax.axis_index("i"),
        "i",
        devices=[J.devices()[i] for i in (5, 0, 3, 7)],
    )(W[:4]),
    "backend": lambda J: J.pmap(lambda x: x + 1, backend="cpu")(X),
    "numbers": lambda J: J.pmap(lambda x: (x, J.numpy.float32(1), J.lax.psum(1, "i")), "i")(X),
    "static": lambda J: J.pmap(
        lambda x, n, s: x**n if s == "power" else x, static_broadcasted_argnums=(1, 2)
    )(X, 3, "power"),
    "static int": lambda J: J.pmap(
        lambda n, x: x if n is None else x * n, static_broadcasted_argnums=0
    )(None, X),
    "static and axes": lambda J: J.pmap(
        lambda n, x, w: x * n + w, static_broadcasted_argnums=0, in_axes=(None, 0, None)
    )(3, X, X[0]),
    "of vmap": lambda J: J.pmap(
        J.vmap(lambda x: J.lax.psum(x, ("i", "j")) * x, axis_name="j"), "i"
    )(CUBE),
    "in vmap": lambda J: J.vmap(
        J.pmap(lambda x: J.numpy.sin(x) - J.lax.pmean(x, "i"), "i"), in_axes=1, out_axes=2
    )(CUBE),
    "in vmap, one side": lambda J: J.vmap(
        J.pmap(lambda x, w: x * w, in_axes=(0, None)), in_axes=(None, 0)
    )(X, W[:3, 0]),
    "grad of": lambda J: J.grad(lambda x: (J.pmap(J.numpy.sin)(x) * W).sum())(W),
    "grad of, whole": lambda J: J.grad(
        lambda w: J.pmap(lambda w, x: J.numpy.tanh(w * x), in_axes=(None, 0))(w, W).sum()
    )(W[0]),
    "grad of, psum": lambda J: J.grad(
        lambda x: (J.pmap(lambda x: J.lax.psum(J.numpy.sin(x), "i") * x, "i")(x) * W).sum()
    )(W),
    "grad of, mean out None": lambda J: J.grad(
        lambda x: J.pmap(lambda x: J.lax.pmean(x * x, "i"), "i", out_axes=None)(x).sum()
    )(W),
    "of grad": lambda J: J.pmap(
        J.grad(lambda w, x: J.lax.pmean((w * x) ** 2, "i").sum()), "i", in_axes=(None, 0)
    )(np.float32(2), X),
    "of grad, psum": lambda J: J.pmap(
        J.grad(lambda w, x: (J.lax.psum(w * x, "i") ** 2).sum()), "i", in_axes=(None, 0)
    )(np.float32(2), X),
    "of value_and_grad": lambda J: J.pmap(
        J.value_and_grad(lambda w, x: ((w * x).sum(), {"x": x}), has_aux=True), in_axes=(None, 0)
    )(np.float32(2), X),
    "of hessian": lambda J: J.pmap(J.hessian(lambda x: (x**3).sum()))(X),
    "jit of": lambda J: J.jit(lambda x: J.pmap(lambda x: J.lax.psum(x, "i"), "i")(x * 2) + 1)(X),
    "of jit": lambda J: J.pmap(J.jit(lambda x: J.lax.psum(x, "i")), "i")(X),
    "jvp": lambda J: J.jvp(
        J.pmap(lambda x: J.lax.psum(J.numpy.sin(x), "i"), "i"), (W,), (W[::-1].copy(),)
    ),
    "linearize": lambda J: J.linearize(J.pmap(lambda x: J.numpy.sin(x) * J.lax.psum(x, "i"), "i"), W)[
        1
    ](W),
    "vjp": lambda J: J.vjp(J.pmap(lambda x, y: (x * y, x)), W, W)[1]((W, W)),
    "groups": lambda J: J.pmap(
        lambda x: J.lax.psum(x, "i", axis_index_groups=EVEN), "i"
    )(X),
    "grouped gather": lambda J: J.pmap(
        lambda x: J.lax.all_gather(x, "i", axis_index_groups=EVEN), "i"
    )(X),
    "exchange": lambda J: J.pmap(
        lambda x: (J.lax.ppermute(x, "i", MOVES), J.lax.all_gather(x, "i", tiled=True)), "i"
    )(X),
    "raw keys": lambda J: J.pmap(lambda k: J.random.normal(k, (3,)))(
        J.random.split(J.random.PRNGKey(0), 8)
    ),
    "typed keys": lambda J: J.pmap(lambda k: J.random.normal(J.random.fold_in(k, 1), (3,)))(
        J.random.split(J.random.key(0), 8)
    ),
    "keys out": lambda J: J.random.key_data(
        J.pmap(lambda k: J.random.split(k, 2))(J.random.split(J.random.key(0), 8))
    ),
    "integer step": lambda J: J.pmap(lambda s: {"step": s["step"] + 1, "w": (s["w"] * 2, None)})(
        {"step": np.zeros(8, np.int32), "w": (X, None)}
    ),
    "scan": lambda J: J.pmap(
        lambda x: J.lax.scan(lambda c, a: (c + J.lax.psum(a, "i"), c), J.numpy.float32(0), x), "i"
    )(W),
    "cond": lambda J: J.pmap(
        lambda x: J.lax.cond(x.sum() > 0, lambda x: x, lambda x: -x * 2, x)
    )(W),
    "checkpoint": lambda J: J.pmap(
        J.grad(J.checkpoint(lambda x: J.numpy.sin(J.lax.pmean(x, "i")).sum())), "i"
    )(W),
    "bool": lambda J: J.pmap(lambda x: (x > 3, J.lax.psum(x > 3, "i")), "i")(X),
    "complex": lambda J: J.pmap(lambda x: J.lax.psum(x * 1j, "i"), "i")(X),
    "bfloat16": lambda J: J.pmap(
        lambda x: J.lax.pmax(x.astype("bfloat16"), "i").astype("float32"), "i"
    )(X),
    "int8": lambda J: J.pmap(lambda x: J.lax.psum(x, "i"), "i")(X.astype("int8")),
    "0-d": lambda J: J.pmap(lambda x: J.lax.psum(x, "i"), "i")(X[:, 0]),
    "into another": lambda J: J.pmap(lambda y: J.lax.pmax(y, "other"), "other")(
        J.pmap(lambda x: x - J.lax.pmean(x, "i"), "i")(X)
    ),
    "first of each": lambda J: J.tree.map(
        lambda x: x[0], J.pmap(lambda x: {"a": x, "b": (x + 1,)})(X)
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    PROGRAMS,
)
def test_programs(name):
    both(PROGRAMS[name])


#: What JAX 0.10's pmap refuses or gets wrong, and what it is.
OURS = {
    "axis -1": lambda: (functrax.pmap(lambda x: x.sum(0), in_axes=-1)(W), W.sum(0)),
    "out -1": lambda: (
        functrax.pmap(lambda x: x * 2, out_axes=-1)(CUBE),
        np.moveaxis(CUBE * 2, 0, -1),
    ),
    "list axes": lambda: (
        functrax.pmap(lambda a, b: a + b, in_axes=[0, 1])(W[:4], W.T[:, :4]),
        W[:4] * 2,
    ),
    "axis_size": lambda: (
        functrax.pmap(lambda w: w * lax.axis_index("i"), "i", in_axes=None, axis_size=4)(X),
        X * np.arange(4)[:, None, None],
    ),
    "no elements": lambda: (
        functrax.pmap(lambda x: lax.psum(x, "i"), "i")(np.ones((8, 0), np.float32)),
        np.ones((8, 0)),
    ),
    "from one device": lambda: (
        functrax.pmap(lambda x: x + 1)(functrax.device_put(X, functrax.devices()[3])),
        X + 1,
    ),
    "mixed places": lambda: (
        functrax.pmap(lambda x, y, w: x + y + w, in_axes=(0, 0, None))(
            functrax.device_put(X, functrax.devices()[3]),
            functrax.pmap(lambda x: x)(X),
            functrax.device_put(X[0], functrax.devices()[1]),
        ),
        X * 2 + X[0],
    ),
    "one key": lambda: (
        functrax.pmap(
            lambda k: functrax.random.uniform(functrax.random.fold_in(k, lax.axis_index("i"))),
            "i",
            in_axes=None,
            axis_size=8,
        )(functrax.random.key(1)),
        [
            functrax.random.uniform(functrax.random.fold_in(functrax.random.key(1), k)).item()
            for k in range(8)
        ],
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_programs_that_jax_refuses(name):
    found, wanted = OURS[name]()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_positions_lie_on_devices():
    normalized = functrax.pmap(lambda x: x / lax.psum(x, "i"), axis_name="i")
    out = normalized(X)
    np.testing.assert_allclose(out, X / X.sum(0), rtol=1e-6)
    assert [shard.device for shard in out.addressable_shards] == functrax.devices()[:8]
    chosen = [functrax.devices()[i] for i in (5, 0, 3)]
    out = functrax.pmap(lambda x: x + 1, devices=chosen)(X[:3])
    assert [shard.device for shard in out.addressable_shards] == chosen
    for k, shard in enumerate(out.addressable_shards):
        np.testing.assert_array_equal(shard.data[0], X[k] + 1)
    out = functrax.pmap(lambda x: x + 1)(X[:2])
    assert out.devices() == set(functrax.devices()[:2])


def test_donated_arrays_are_gone():
    step = functrax.pmap(lambda w, g: w - g, donate_argnums=0)
    w, g = functrax.pmap(lambda x: x)(X), functrax.pmap(lambda x: x)(X)
    np.testing.assert_array_equal(step(w, g), np.zeros_like(X))
    assert w.is_deleted()
    assert not g.is_deleted()
    assert "donated" in message(lambda: w + 1)


def test_static_arguments_trace_anew():
    traces = []

    def f(x, n):
        traces.append(n)
        return x * n

    mapped = functrax.pmap(f, static_broadcasted_argnums=1)
    for n in (2, 2, 3):
        np.testing.assert_array_equal(mapped(X, n), X * n)
    assert traces == [2, 3]


def test_methods_and_decorators():
    class Model:
        scale = 3

        @functrax.pmap
        def plain(self_x):
            return self_x + 1

        @functools.partial(functrax.pmap, axis_name="i", static_broadcasted_argnums=0)
        def step(self, x, *, bias):
            """Take a step."""
            return lax.psum(x, "i") * self.scale + bias

    model = Model()
    np.testing.assert_array_equal(model.step(X, bias=X), X.sum(0) * 3 + X)
    assert Model.step.__doc__ == "Take a step."
    assert Model.step.__name__ == "step"
    np.testing.assert_array_equal(Model.plain(X), X + 1)


# Nested -------------------------------------------------------------------------------------------

NESTED = {
    "psum both": lambda J, x: J.lax.psum(x, ("i", "j")),
    "psum inner": lambda J, x: J.lax.psum(x, "j") * x,
    "psum outer": lambda J, x: J.lax.psum(x, "i") * x,
    "index": lambda J, x: x + 10 * J.lax.axis_index("i") + J.lax.axis_index("j"),
    "gather": lambda J, x: J.lax.all_gather(J.lax.all_gather(x, "j"), "i"),
    "gather outer": lambda J, x: J.lax.all_gather(J.lax.pmean(x, "j"), "i"),
    "scatter": lambda J, x: J.lax.psum_scatter(J.lax.all_gather(x, "j"), "j"),
    "permute": lambda J, x: J.lax.ppermute(
        x, "i", [(k, 1 - k % 2 + k // 2 * 2) for k in range(J.lax.psum(1, "i"))]
    ),
}


@pytest.mark.parametrize("shape", [(2, 4), (4, 2)])
@pytest.mark.parametrize("name", NESTED)
def test_nested(name, shape):
    """As vmaps in JAX, whose pmaps do not nest any more."""

    def program(J, mapped, x):
        body = lambda x: NESTED[name](J, x)  # noqa: E731
        return mapped(lambda x: mapped(body, axis_name="j")(x) * 2, axis_name="i")(x)

    x = W.reshape(*shape, 4)
    ours = lambda x: program(functrax, functrax.pmap, x)  # noqa: E731
    theirs = lambda x: program(jax, jax.vmap, x)  # noqa: E731
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    if name == "index":
        assert [s.device for s in ours(x).addressable_shards] == functrax.devices()[:8]
    found = functrax.grad(lambda x: (functrax.jit(ours)(x) ** 2).sum())(x)
    np.testing.assert_allclose(found, jax.grad(lambda x: (theirs(x) ** 2).sum())(x), rtol=1e-4)


def test_nested_with_other_axes():
    def program(J, mapped):
        def outer(x, w):
            inner = mapped(lambda a, w: J.lax.psum(a * w, "j"), axis_name="j", in_axes=(1, None))
            return inner(x, w), J.lax.pmean(inner(x * 2, w), "i")

        return mapped(outer, axis_name="i", in_axes=(0, None), out_axes=(0, 1))(x, w)

    x, w = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.float32(0.5)
    for a, b in zip(program(functrax, functrax.pmap), program(jax, jax.vmap), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# Training as old scripts do -----------------------------------------------------------------------


def train(J, variant):
    """Return the losses of five steps, and the weights."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(5, 8, 4, 3)).astype(np.float32)
    target = (data @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
    np_tree = {"w1": rng.normal(size=(3, 5)), "b1": np.zeros(5), "w2": rng.normal(size=(5, 1))}
    params = {name: x.astype(np.float32) for name, x in np_tree.items()}
    state = {"params": params, "momentum": J.tree.map(np.zeros_like, params), "step": np.int32(0)}

    def local_loss(params, x, y):
        hidden = J.numpy.tanh(x @ params["w1"] + params["b1"])
        loss = ((hidden @ params["w2"] - y) ** 2).mean()
        return J.lax.pmean(loss, "batch") if "inside" in variant else loss

    def step(state, x, y):
        loss, grads = J.value_and_grad(local_loss)(state["params"], x, y)
        if variant != "inside":
            grads = J.lax.pmean(grads, axis_name="batch")
        loss = J.lax.pmean(loss, axis_name="batch")
        momentum = J.tree.map(lambda m, g: 0.9 * m + g, state["momentum"], grads)
        params = J.tree.map(lambda p, m: p - 0.05 * m, state["params"], momentum)
        return {"params": params, "momentum": momentum, "step": state["step"] + 1}, loss

    losses = []
    if "None" in variant:
        run = J.pmap(step, axis_name="batch", in_axes=(None, 0, 0))
        for x, y in zip(data, target, strict=True):
            state, loss = run(state, x, y)
            state = J.tree.map(lambda x: x[0], state)
            losses.append(loss[0])
    else:
        run = J.pmap(step, axis_name="batch", donate_argnums=0)
        state = J.tree.map(lambda x: J.numpy.broadcast_to(x, (8, *np.shape(x))), state)
        for x, y in zip(data, target, strict=True):
            state, loss = run(state, x, y)
            losses.append(loss[0])
        state = J.tree.map(lambda x: x[0], state)
    return J.numpy.stack(losses), state


@pytest.mark.parametrize("variant", ["grad", "inside", "inside and again", "None", "None, inside"])
def test_training_as_in_jax(variant):
    both(lambda J: train(J, variant))


def test_training_is_that_of_the_whole_batch():
    losses, state = train(functrax, "grad")
    assert losses[-1] < losses[0]
    assert int(state["step"]) == 5


# Conventions --------------------------------------------------------------------------------------


def test_gradients_through_collectives_by_either_convention():
    loss = lambda w, d: lax.psum((w**2 + 1) * d, "i")  # noqa: E731

    def grad_of(convention):
        return functrax.pmap(
            functrax.grad(loss), "i", in_axes=(None, 0), grad_convention=convention
        )

    d = np.arange(4, dtype=np.float32)
    np.testing.assert_allclose(grad_of("jax")(1.0, d), [0, 8, 16, 24])
    np.testing.assert_allclose(grad_of("exact")(1.0, d), [12] * 4)
    by_option = grad_of(None)
    np.testing.assert_allclose(by_option(1.0, d), [0, 8, 16, 24])
    with functrax.config.scope(grad_convention="exact"):
        np.testing.assert_allclose(by_option(1.0, d), [12] * 4)
        np.testing.assert_allclose(grad_of("jax")(1.0, d), [0, 8, 16, 24])
    np.testing.assert_allclose(by_option(1.0, d), [0, 8, 16, 24])


EXACT = {
    "psum": lambda w, x: lax.psum(jnp.sin(w * x), "i"),
    "pmean": lambda w, x: lax.pmean(jnp.sin(w * x), "i") * x,
    "pmax": lambda w, x: lax.pmax(w * x, "i") + lax.pmin(x * x, "i"),
    "all_gather": lambda w, x: lax.all_gather(w * x, "i") ** 2 * x,
    "psum_scatter": lambda w, x: lax.psum_scatter(lax.all_gather(w * x, "i") * x[0], "i") ** 2,
    "ppermute": lambda w, x: lax.ppermute(w * x, "i", MOVES) * x,
    "all_to_all": lambda w, x: (
        lax.all_to_all(w * jnp.outer(x, x), "i", 0, 0, tiled=True) ** 2
        if x.shape[0] == 8
        else lax.all_to_all(jnp.tile(w * x, (8, 1)), "i", 0, 1) ** 2
    ),
    "replicated": lambda w, x: lax.psum(w * w, "i") + x,
    "state": lambda w, x: lax.psum(x, "i") ** 2 * w + x * w,
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_gradients(name):
    """Those of the whole function, in both modes and twice, by finite differences."""
    mapped = functrax.pmap(EXACT[name], "i", in_axes=(None, 0), grad_convention="exact")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), "float64")
    w = jnp.asarray(0.7, "float64")
    weights = np.random.default_rng(1).normal(size=mapped(w, x).shape)
    total = functrax.jit(lambda w, x: (mapped(w, x) * weights).sum())
    functrax.testing.check_grads(total, (w, x), order=1, modes=("fwd", "rev"))
    hessian = functrax.hessian(lambda w: total(w, x))(w)
    step = 1e-4
    gradient = functrax.grad(total)
    expected = (gradient(w + step, x) - gradient(w - step, x)) / (2 * step)
    np.testing.assert_allclose(hessian, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["psum", "pmean", "pmax", "all_gather", "ppermute"])
def test_exact_gradients_inside(name):
    """The gradient of one loss that all devices share is that of the loss, on each."""

    def loss(w, x):
        y = EXACT[name](w, x)
        return lax.pmean((y * y).sum(), "i")

    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), "float64")
    w = jnp.asarray(0.7, "float64")
    value = functrax.pmap(loss, "i", in_axes=(None, 0), grad_convention="exact")
    inside = functrax.pmap(
        functrax.grad(loss), "i", in_axes=(None, 0), out_axes=None, grad_convention="exact"
    )
    step = 1e-5
    numeric = (value(w + step, x)[0] - value(w - step, x)[0]) / (2 * step)
    np.testing.assert_allclose(inside(w, x), numeric, rtol=1e-6)


# Errors -------------------------------------------------------------------------------------------

ERRORS = {
    "sizes": (
        lambda: functrax.pmap(lambda batch, y: batch)(X, X[:4]),
        "[pmap] expected mapped arguments of one leading size; got `batch`: 8, `y`: 4. Give an "
        "argument `None` in in_axes if every device is to have all of it.",
    ),
    "too many": (
        lambda: functrax.pmap(lambda batch: batch)(np.ones((9, 2))),
        "[pmap] expected argument `batch` to have a leading size of at most 8; got leading size 9; "
        "this process has 8 devices. Map several positions on one device with `vmap` inside, or "
        "use more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    "too few chosen": (
        lambda: functrax.pmap(lambda b: b, devices=functrax.devices()[:2])(X),
        "[pmap] expected argument `b` to have a leading size of at most 2; got leading size 8; "
        "devices= has 2 devices. Map several positions on one device with `vmap` inside, or "
        "give more devices.",
    ),
    "rank": (
        lambda: functrax.pmap(lambda x, y: x, in_axes=(0, 0))(X, 1.0),
        "[pmap] expected an axis of argument `y` to map; got axis 0 of ~f32[]. Give it `None` in "
        "in_axes if every device is to have all of it.",
    ),
    "entries": (
        lambda: functrax.pmap(lambda x: x, in_axes=(0, 0))(X),
        "[pmap] expected in_axes with one entry for each of the 1 positional arguments of "
        "'<lambda>'; got 2 entries: (0, 0).",
    ),
    "none mapped": (
        lambda: functrax.pmap(lambda x: x, in_axes=None)(X),
        "[pmap] expected at least one mapped argument of '<lambda>'; got none. Pass `axis_size`, "
        "or an axis in in_axes.",
    ),
    "size": (
        lambda: functrax.pmap(lambda x: x, axis_size=4)(X),
        "[pmap] expected mapped arguments of one leading size, the axis_size 4; got `x`: 8. Give "
        "an argument `None` in in_axes if every device is to have all of it.",
    ),
    "kind of axes": (
        lambda: functrax.pmap(lambda x: x, in_axes="a"),
        "[pmap] expected in_axes of ints and None; got 'a' of type str.",
    ),
    "out rank": (
        lambda: functrax.pmap(lambda x: x, out_axes=3)(X),
        "[pmap] expected out_axes within 2 axes; got axis 3 for f32[2].",
    ),
    "convention": (
        lambda: functrax.pmap(lambda x: x, grad_convention="right"),
        "[pmap] expected grad_convention as one of ('jax', 'exact'), or None; got 'right' of type str.",
    ),
    "unbound": (
        lambda: functrax.pmap(lambda x: lax.psum(x, "j"), "i")(X),
        "[psum] expected an axis name bound by an enclosing vmap, pmap or shard_map",
    ),
    "not a function": (
        lambda: functrax.pmap(3),
        "[pmap] expected a function",
    ),
    "nested": (
        lambda: functrax.pmap(functrax.pmap(lambda x: x))(np.ones((4, 4))),
        "[pmap] expected at most 8 positions, one for each device, of '<lambda>'; got 16 "
        "(4 x 4 with the pmaps inside).",
    ),
    "differs": (
        lambda: functrax.pmap(lambda x: x, "i", out_axes=None, grad_convention="exact")(X),
        "[pmap] expected the result of '<lambda>' to be the same on all devices, as its None in "
        "out_axes says; got f32[2]{i} made at",
    ),
    "groups": (
        lambda: functrax.pmap(lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1]]), "i")(X),
        "[psum] expected axis_index_groups that contain each of the 8 positions along 'i' once",
    ),
    "a mesh elsewhere": (
        lambda: functrax.pmap(lambda x: x, in_axes=({"a": 0},))({"b": X}),
        "[pmap] expected ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, expected = ERRORS[name]
    assert message(call).startswith(expected)
