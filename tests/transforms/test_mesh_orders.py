"""Programs over several meshes that list the same devices in different orders."""

import numpy as np
import pytest

import functrax
from functrax import errors, lax
from functrax.sharding import Mesh, NamedSharding
from functrax.sharding import PartitionSpec as P

DEVICES = np.array(functrax.devices("cpu")[:8])
FORWARD, BACKWARD = Mesh(DEVICES, "i"), Mesh(DEVICES[::-1], "i")
MIXED = Mesh(DEVICES[[0, 2, 4, 6, 1, 3, 5, 7]], "i")
GRID, TURNED = Mesh(DEVICES.reshape(2, 4), ("a", "b")), Mesh(DEVICES.reshape(2, 4).T, ("b", "a"))
PLACES = [
    NamedSharding(FORWARD, P("i")),
    NamedSharding(BACKWARD, P("i")),
    NamedSharding(MIXED, P("i")),
    NamedSharding(GRID, P("b")),
    NamedSharding(TURNED, P("b")),
    NamedSharding(TURNED, P("a")),
]
X = np.arange(16, dtype=np.float32)


def same(result, expected):
    """Compare an array, and what each device holds of it."""
    np.testing.assert_array_equal(result, expected)
    for shard in result.addressable_shards:
        np.testing.assert_array_equal(shard.data, expected[shard.index])


def numbered(mesh, axes):
    part = lambda x: x + 100 * lax.axis_index(axes)  # noqa: E731
    return functrax.shard_map(part, mesh=mesh, in_specs=P(axes), out_specs=P(axes))


@pytest.mark.parametrize("second", range(1, 6))
@pytest.mark.parametrize("first", range(2))
def test_arguments_and_constraints(first, second):
    one, other = PLACES[first], PLACES[second]
    x, y = functrax.device_put(X, one), functrax.device_put(X, other)

    @functrax.jit
    def run(x, y):
        inner = lax.with_sharding_constraint(x * 2, other)
        return x + 3 * y, inner, lax.with_sharding_constraint(inner + 1, one) * 3

    for results in (run(x, y), run(X, X), run.lower(x, y).compile()(x, y)):
        for result, expected in zip(results, (X * 4, X * 2, X * 6 + 3), strict=True):
            same(result, expected)
    same(run(*run(x, y)[1:])[0], X * 2 + 3 * (X * 6 + 3))


@pytest.mark.parametrize(
    ("mesh", "axes"), [(BACKWARD, "i"), (MIXED, "i"), (TURNED, ("b", "a"))], ids=str
)
@pytest.mark.parametrize("place", PLACES[:3], ids=["forward", "backward", "mixed"])
def test_shard_map_lists_the_devices_otherwise_than_its_argument(mesh, axes, place):
    run, x = numbered(mesh, axes), functrax.device_put(X, place)
    expected = X + 100 * np.repeat(np.arange(8, dtype=np.float32), 2)
    same(run(x), expected)
    same(functrax.jit(lambda x: run(x * 2))(x), expected + X)


def test_pmap_over_devices_in_another_order():
    x = X.reshape(8, 2)
    add = lambda x: x + lax.axis_index("i")  # noqa: E731
    backward = functrax.pmap(add, "i", devices=DEVICES[::-1].tolist())
    once = x + np.arange(8, dtype=np.float32)[:, None]
    y = backward(x)
    assert [shard.device for shard in y.addressable_shards if shard.index[0].start == 0] == [
        DEVICES[7]
    ]
    same(y, once)
    same(functrax.jit(lambda y: y * 2)(y), once * 2)
    same(functrax.pmap(add, "i")(y), once * 2 - x)
    same(functrax.jit(backward)(functrax.device_put(x, PLACES[0])), once)


def test_errors():
    run = functrax.jit(lambda x: numbered(FORWARD, "i")(x) + numbered(BACKWARD, "i")(x))
    with pytest.raises(errors.DeviceError) as caught:
        run(X)
    assert str(caught.value).startswith(
        "[jit] expected every shard_map and pmap of a program to list the devices in one order, here "
        "that of Mesh(i=8); got Mesh(i=8) with the same devices in another order ("
    )
    run = functrax.jit(lambda x: x, in_shardings=PLACES[1])
    with pytest.raises(errors.DeviceError) as caught:
        run(functrax.device_put(X, PLACES[0]))
    assert str(caught.value).startswith(
        "[jit] expected 'x' to lie as in_shardings say, NamedSharding(Mesh(i=8), P('i')); got an "
        "array with NamedSharding(Mesh(i=8), P('i')) over the devices in another order ("
    )
