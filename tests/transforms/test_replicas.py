"""`replicate`, `unreplicate`, `device_put_replicated` and `device_put_sharded`."""

import re

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.sharding import Mesh, NamedSharding, PartitionSpec

DEVICES = functrax.devices("cpu")[:8]
STATE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step": np.int32(3),
    "empty": np.ones((0, 2), np.float32),
    "flags": (np.array([True, False]), None),
    "half": np.ones(2, jnp.bfloat16),
    "complex": np.complex64(1j),
    "number": 2.5,
}


def test_replicas_are_one_each_and_back():
    copies = functrax.replicate(STATE)
    for x, row in zip(functrax.tree.leaves(STATE), functrax.tree.leaves(copies)):
        assert row.shape == (8, *np.shape(x))
        np.testing.assert_array_equal(row, np.stack([x] * 8))
        assert [shard.device for shard in row.addressable_shards] == DEVICES
        assert all(shard.data.shape == (1, *np.shape(x)) for shard in row.addressable_shards)
    back = functrax.unreplicate(copies)
    for x, y in zip(functrax.tree.leaves(STATE), functrax.tree.leaves(back)):
        np.testing.assert_array_equal(x, y)
        assert np.asarray(y).shape == np.shape(x)


def test_chosen_devices_keys_and_pmap():
    chosen = DEVICES[5:2:-1]
    keys = functrax.replicate(functrax.random.key(0), chosen)
    assert keys.shape == (3,)
    assert [shard.device for shard in keys.addressable_shards] == chosen
    again = functrax.device_put_replicated(functrax.device_put(STATE, DEVICES[7]), chosen)
    step = functrax.pmap(lambda s: {**s, "step": s["step"] + 1}, devices=chosen)
    out = step(again)
    np.testing.assert_array_equal(out["step"], [4] * 3)
    np.testing.assert_array_equal(functrax.unreplicate(out)["w"], STATE["w"])
    assert functrax.replicate(np.ones(2), DEVICES[:1]).shape == (1, 2)


def test_shards():
    shards = [{"x": np.full((2,), k, np.float32), "k": k} for k in range(4)]
    out = functrax.device_put_sharded(shards, DEVICES[:4])
    np.testing.assert_array_equal(out["x"], np.repeat(np.arange(4), 2).reshape(4, 2))
    np.testing.assert_array_equal(out["k"], range(4))
    assert [shard.device for shard in out["x"].addressable_shards] == DEVICES[:4]


def test_shards_of_any_kind_from_anywhere():
    """Each goes to its device alone."""
    parts = [np.float32(1), jnp.float32(2), functrax.device_put(np.float32(3), DEVICES[6])]
    out = functrax.device_put_sharded(parts, DEVICES[2:5])
    np.testing.assert_array_equal(out, [1, 2, 3])
    assert [shard.device for shard in out.addressable_shards] == DEVICES[2:5]
    wide = functrax.device_put_sharded([np.ones((0, 2)), np.ones((0, 2))], DEVICES[:2])
    assert (wide.shape, wide.dtype) == ((2, 0, 2), np.float32)
    keys = functrax.random.split(functrax.random.key(0), 2)
    found = functrax.device_put_sharded(list(keys), DEVICES[:2])
    np.testing.assert_array_equal(functrax.random.key_data(found), functrax.random.key_data(keys))
    doubled = functrax.pmap(lambda x: x * 2)(functrax.device_put_sharded([1, 2], DEVICES[:2]))
    assert doubled.tolist() == [2, 4]


def test_traced_values():
    w = np.arange(3, dtype=np.float32)

    def loss(w):
        return (functrax.pmap(lambda w: w**2)(functrax.replicate(w)) * np.arange(8)[:, None]).sum()

    for run in (functrax.grad(loss), functrax.jit(functrax.grad(loss))):
        np.testing.assert_allclose(run(w), 2 * w * 28)
    copies = functrax.jit(functrax.replicate)({"w": w})["w"]
    assert [shard.device for shard in copies.addressable_shards] == DEVICES
    np.testing.assert_array_equal(copies, np.stack([w] * 8))
    np.testing.assert_array_equal(functrax.jit(functrax.unreplicate)(copies), w)
    split = functrax.jit(lambda a, b: functrax.device_put_sharded([a, b], DEVICES[:2]))
    np.testing.assert_array_equal(split(w, w + 1), [w, w + 1])
    mapped = functrax.vmap(lambda w: functrax.unreplicate(functrax.replicate(w)))(w)
    np.testing.assert_array_equal(mapped, w)
    with pytest.raises(errors.ArgumentError, match="that no shard_map or pmap around it maps"):
        functrax.pmap(functrax.replicate)(np.ones((8, 2)))


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        (
            lambda: functrax.device_put_sharded([1.0], DEVICES[:2]),
            errors.ArgumentError,
            "[device_put_sharded] expected a shard for each of the 2 devices; got 1 shards.",
        ),
        (
            lambda: functrax.device_put_sharded([np.ones(2), np.ones(3)], DEVICES[:2]),
            errors.ArgumentError,
            "[device_put_sharded] expected shards of one type; got f32[2] and, in shard 1, f32[3].",
        ),
        (
            lambda: functrax.device_put_sharded([{"a": 1}, [1]], DEVICES[:2]),
            errors.TreeError,
            "[device_put_sharded] expected shards of one structure; got ",
        ),
        (
            lambda: functrax.device_put_replicated(1.0, []),
            errors.ArgumentError,
            "[device_put_replicated] expected a sequence of devices; got ",
        ),
        (
            lambda: functrax.replicate("text"),
            errors.ArgumentError,
            "[replicate] expected ",
        ),
    ],
)
def test_errors(call, kind, expected):
    with pytest.raises(kind) as caught:
        call()
    assert re.sub(r" \([\w.]+:\d+\)", "", str(caught.value)).startswith(expected)


@pytest.mark.parametrize("count", [1, 4])
def test_a_training_step_is_compiled_once(count):
    def train(state):
        return functrax.tree.map(lambda x: x + lax.psum(x, "i"), state)

    step = functrax.pmap(train, axis_name="i", donate_argnums=0)
    first = functrax.replicate({"w": jnp.arange(3.0), "key": jnp.uint32(1)}, DEVICES[:count])
    second = step(first)
    functrax.timings.reset()
    third = step(second)
    assert functrax.timings.compile == 0
    assert first["w"].is_deleted()
    np.testing.assert_array_equal(third["w"], [(1 + count) ** 2 * np.arange(3.0)] * count)


def test_on_one_device_every_sharding_is_the_same():
    mesh = Mesh(DEVICES[:1], "x")
    double = functrax.jit(lambda x: x * 2)
    x = functrax.device_put(jnp.ones((2, 3)), NamedSharding(mesh, PartitionSpec("x")))
    y = double(x)
    functrax.timings.reset()
    np.testing.assert_array_equal(double(y), np.full((2, 3), 4.0))
    assert functrax.timings.compile == 0
