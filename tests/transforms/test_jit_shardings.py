"""`jit` with shardings: how arguments and results lie, ahead of time too, and what is refused."""

import itertools

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")[:8]
MESH = Mesh(np.array(DEVICES).reshape(2, 4), ("a", "b"))
X = np.arange(32, dtype=np.float32).reshape(8, 4)
W = np.ones((4, 4), np.float32)
LINE = Mesh(DEVICES, "i")


def on(*spec):
    return NamedSharding(MESH, P(*spec))


def layer(x, w):
    return jnp.tanh(x @ w)


@pytest.fixture
def jitted():
    return functrax.jit(layer, in_shardings=(on("a"), on(None, "b")), out_shardings=on("a", "b"))


def message(call):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    return str(caught.value)


def test_results_lie_as_asked(jitted):
    out = jitted(X, W)
    assert out.sharding is on("a", "b")
    np.testing.assert_allclose(out, np.tanh(X @ W), rtol=1e-6)
    placed = jitted(functrax.device_put(X, on("a")), jnp.asarray(W))
    assert placed.sharding is on("a", "b")


def test_trees_of_shardings():
    f = functrax.jit(
        lambda state, x: {"w": state["w"] + x.sum(), "n": state["n"] + 1},
        in_shardings=({"w": on("b"), "n": None}, on("a")),
        out_shardings={"w": on("a"), "n": None},
    )
    out = f({"w": W, "n": 0}, X)
    assert out["w"].sharding is on("a")
    np.testing.assert_allclose(out["w"], W + X.sum())
    assert int(out["n"]) == 1


def test_specs_in_the_mesh_that_is_set():
    with functrax.set_mesh(MESH):
        out = functrax.jit(lambda x: x * 2, in_shardings=P("a"), out_shardings=P("b"))(X)
    assert out.sharding is on("b")
    np.testing.assert_array_equal(out, X * 2)


def test_donated_arguments():
    x = functrax.device_put(X, on("a"))
    f = functrax.jit(lambda x: x + 1, donate_argnums=0, out_shardings=on("a"))
    np.testing.assert_array_equal(f(x), X + 1)
    assert x.is_deleted()
    analysis = f.lower(functrax.device_put(X, on("a"))).compile().memory_analysis()
    assert analysis.alias_size_in_bytes == X.nbytes // 2


def test_under_transforms(jitted):
    def loss(x, w):
        return (jitted(x, w) ** 2).sum()

    def plain(x, w):
        return (layer(x, w) ** 2).sum()

    for transform in (functrax.grad, lambda f: functrax.jit(functrax.grad(f))):
        np.testing.assert_allclose(
            transform(loss)(X, W), functrax.grad(plain)(X, W), rtol=1e-5, atol=1e-6
        )
    rows = functrax.vmap(jitted, in_axes=(0, None), spmd_axis_name="b")(np.stack([X] * 4), W)
    np.testing.assert_allclose(rows[3], np.tanh(X @ W), rtol=1e-6)


def test_ahead_of_time(jitted):
    compiled = jitted.lower(X, W).compile()
    assert compiled.input_shardings == ((on("a"), on(None, "b")), {})
    assert compiled.output_shardings is on("a", "b")
    np.testing.assert_allclose(compiled(X, W), np.tanh(X @ W), rtol=1e-6)
    assert "all-reduce" not in compiled.as_text()
    struct = functrax.ShapeDtypeStruct(X.shape, X.dtype, sharding=on("a"))
    doubled = functrax.jit(lambda x: x * 2).lower(struct).compile()
    assert doubled.output_shardings is on("a")
    assert doubled(X).sharding is on("a")
    assert message(lambda: doubled(functrax.device_put(X, on("b")))).startswith(
        "[<lambda>] expected 'x' to lie as in_shardings say, NamedSharding(Mesh(a=2, b=4), P('a')); "
        "got an array with NamedSharding(Mesh(a=2, b=4), P('b')) ("
    )


def test_one_device():
    for f in (
        functrax.jit(lambda x: x + 1, device=DEVICES[3]),
        functrax.jit(lambda x: x + 1, in_shardings=SingleDeviceSharding(DEVICES[3])),
    ):
        assert f(X).device is DEVICES[3]
    assert functrax.jit(lambda x: x + 1, backend="cpu")(X).device is DEVICES[0]
    assert functrax.jit(lambda: jnp.ones(2), device=DEVICES[2])().device is DEVICES[2]


def test_errors(jitted):
    assert message(lambda: jitted(functrax.device_put(X, on("b")), W)).startswith(
        "[jit] expected 'x' to lie as in_shardings say, NamedSharding(Mesh(a=2, b=4), P('a')); got "
        "an array with NamedSharding(Mesh(a=2, b=4), P('b')) ("
    )
    assert message(lambda: jitted(X[:3], W)).startswith(
        "[jit] expected dimension 0 of argument 'x' of shape (3, 4) to be divisible by 2, the size "
        "of 'a' in Mesh(a=2, b=4); got size 3 ("
    )
    assert "a sharding or a PartitionSpec; got 3 of type int" in message(
        lambda: functrax.jit(layer, in_shardings=3)(X, W)
    )
    assert "and no mesh is set" in message(lambda: functrax.jit(layer, in_shardings=P("a"))(X, W))


def test_callbacks_see_whole_values_once_and_parts_on_each_device(capsys):
    def double(x):
        functrax.debug.print("sum={}", x.sum(), ordered=True)
        return x * 2

    x = functrax.device_put(X, on("a", "b"))
    np.testing.assert_array_equal(functrax.jit(double)(x), X * 2)
    assert capsys.readouterr().out == f"sum={X.sum()}\n"
    triple = functrax.pure_callback(
        lambda a: np.asarray(a * 3), functrax.ShapeDtypeStruct(X.shape, X.dtype), x
    )
    np.testing.assert_array_equal(triple, X * 3)

    def body(x):
        functrax.debug.print("{}", x)
        return x

    np.testing.assert_array_equal(functrax.pmap(body)(np.arange(8)), np.arange(8))
    assert sorted(capsys.readouterr().out.split()) == [str(i) for i in range(8)]


def test_many_launches_may_be_under_way():
    step = functrax.pmap(lambda x: functrax.lax.psum(x, "i") / 8, axis_name="i")
    x = step(np.ones(8, np.float32))
    for _ in range(2000):  # 64 launches with collectives under way end the process on jaxlib 0.10
        x = step(x)
    np.testing.assert_array_equal(x, np.ones(8))


# The quick way of a second call: what it takes for the same call ------------------------------------

PLACES = {
    "anywhere": lambda x: x,
    "device 0": lambda x: functrax.device_put(x, DEVICES[0]),
    "device 3": lambda x: functrax.device_put(x, DEVICES[3]),
    "rows": lambda x: functrax.device_put(x, NamedSharding(LINE, P("i"))),
    "everywhere": lambda x: functrax.device_put(x, NamedSharding(LINE, P())),
    "another mesh": lambda x: functrax.device_put(x, on("b")),
}


def calls(f, values):
    """Call twice for each placement, in turns, and return where and what the results are."""
    found = {}
    for _ in range(3):
        for (name, put), (other, second) in itertools.product(PLACES.items(), PLACES.items()):
            try:
                y, z = f(put(values), second(values))
            except errors.DeviceError as error:
                seen = error.call
            else:
                seen = (y.device, y.committed, z.device, z.committed)
                np.testing.assert_array_equal(y, np.arange(8) * 2 + 1)
                np.testing.assert_array_equal(z, np.arange(8) * 2)
            assert found.setdefault((name, other), seen) == seen, (name, other)
    return found


def test_placements_in_turns():
    x = jnp.arange(8)
    kept = jnp.ones(8, int)
    found = calls(functrax.jit(lambda a, b: (a + b + kept, 2 * b)), x)
    assert found["anywhere", "anywhere"] == (DEVICES[0], False, DEVICES[0], False)
    assert found["device 0", "anywhere"] == (DEVICES[0], True, DEVICES[0], True)
    assert found["anywhere", "device 3"] == (DEVICES[3], True, DEVICES[3], True)
    assert found["device 0", "device 3"] == "<lambda>"
    rows = NamedSharding(LINE, P("i"))
    assert found["rows", "rows"] == (rows, True, rows, True)
    assert found["rows", "device 3"] == "<lambda>"
    with functrax.config.scope(default_device=DEVICES[5]):
        moved = functrax.jit(lambda a, b: (a + b + kept, 2 * b))
        for _ in range(3):
            assert moved(x, x)[0].device is DEVICES[5]
    assert found == calls(functrax.jit(lambda a, b: (a + b + 1, b * 2)), x)


@pytest.mark.parametrize("place", PLACES)
def test_compiled_programs_called_again(place):
    x = PLACES[place](jnp.arange(8))
    f = functrax.jit(lambda tree: {"y": tree["x"] + 1, "z": tree["x"].sum()})
    compiled = f.lower({"x": x}).compile()
    wanted = compiled({"x": x})
    for _ in range(3):
        again = compiled({"x": x})
        assert (again["y"].device, again["y"].committed) == (wanted["y"].device, x.committed)
        np.testing.assert_array_equal(again["y"], np.arange(8) + 1)
        assert int(again["z"]) == 28
    np.testing.assert_array_equal(compiled({"x": np.arange(8, dtype=np.int32)})["y"], again["y"])


def test_what_the_quick_way_must_not_do():
    x = PLACES["rows"](jnp.arange(8.0))
    f = functrax.jit(lambda a: a * 2)
    for _ in range(2):
        f(x)
    with functrax.config.scope(debug_nans=True), pytest.raises(errors.FunctraxError):
        functrax.jit(lambda a: a / 0 * 0)(x)
    x.delete()
    with pytest.raises(errors.FunctraxError, match="delete"):
        f(x)
    donating = functrax.jit(lambda a: a + 1, donate_argnums=0)
    y = PLACES["rows"](jnp.arange(8.0))
    for _ in range(3):
        old, y = y, donating(y)
        with pytest.raises(errors.DonatedError):
            np.asarray(old)
    np.testing.assert_array_equal(y, np.arange(8) + 3)


def test_a_spec_that_ends_in_none_makes_no_other_program():
    mesh = functrax.make_mesh((4, 2), ("data", "model"))
    step = functrax.jit(lambda x: x * 1.5 + 0.25)
    x = functrax.device_put(jnp.ones((8, 4, 2)), NamedSharding(mesh, P("data", None, None)))
    y = step(x)
    functrax.timings.reset()
    step(y)
    step(functrax.device_put(jnp.ones((8, 4, 2)), NamedSharding(mesh, P("data", None))))
    assert (functrax.timings.lower, functrax.timings.compile) == (0, 0)
