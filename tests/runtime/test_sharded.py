"""Arrays over several devices: how they lie, move, compute, and what is refused."""

import pickle

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.sharding import Mesh, NamedSharding
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")
GRID = Mesh(np.array(DEVICES[:8]).reshape(2, 4), ("a", "b"))
LINE = Mesh(DEVICES[:8], "i")
BACKWARDS = Mesh(DEVICES[:8][::-1], "i")
HALF = Mesh(DEVICES[:4], "i")
X = np.arange(8 * 16, dtype=np.float32).reshape(8, 16)
SPECS = [P(), P("a"), P("b"), P("b", "a"), P(None, "b"), P(("a", "b")), P(None, ("b", "a"))]


def on(mesh, *entries, value=X):
    return functrax.device_put(value, NamedSharding(mesh, P(*entries)))


def message(call):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64", "float64"])
def test_parts_are_those_of_the_index_map(spec, dtype):
    value = (X % 2 if dtype == "bool" else X).astype(jnp.dtype(dtype))
    sharding = NamedSharding(GRID, spec)
    x = functrax.device_put(jnp.asarray(value, dtype=dtype), sharding)
    assert x.sharding is sharding
    assert x.dtype == value.dtype
    np.testing.assert_array_equal(x, value)
    for shard in x.addressable_shards:
        assert shard.index == sharding.devices_indices_map(x.shape)[shard.device]
        np.testing.assert_array_equal(shard.data, value[shard.index])
        assert shard.data.devices() == {shard.device}
    copies = {shard.replica_id for shard in x.addressable_shards}
    assert len(copies) == 8 // (GRID.axis_size(spec.axes()))
    assert x.is_fully_replicated == (not spec.axes())
    assert len(x.global_shards) == 8
    np.testing.assert_array_equal(x.addressable_data(3), x.addressable_shards[3].data)


@pytest.mark.parametrize("old", SPECS)
@pytest.mark.parametrize("new", SPECS)
def test_resharding_keeps_the_value(old, new):
    moved = functrax.device_put(on(GRID, *old), NamedSharding(GRID, new))
    assert moved.sharding.spec == new
    np.testing.assert_array_equal(moved, X)
    for shard in moved.addressable_shards:
        np.testing.assert_array_equal(shard.data, X[shard.index])


@pytest.mark.parametrize("shape", [(), (0, 8), (8, 0)])
def test_scalars_and_empty_arrays(shape):
    spec = P("i") if shape == (8, 0) else P()
    x = functrax.device_put(np.ones(shape, np.float32), NamedSharding(LINE, spec))
    np.testing.assert_array_equal(x + 1, np.ones(shape) + 1)
    assert (x + 1).devices() == set(DEVICES[:8])


def test_moves_between_devices_and_meshes():
    x = on(LINE, "i")
    np.testing.assert_array_equal(functrax.device_put(x, DEVICES[3]), X)
    assert functrax.device_put(x, DEVICES[3]).device is DEVICES[3]
    half = functrax.device_put(x, NamedSharding(HALF, P(None, "i")))
    assert half.devices() == set(DEVICES[:4])
    np.testing.assert_array_equal(half, X)
    single = functrax.device_put(X, DEVICES[5])
    np.testing.assert_array_equal(on(LINE, "i", value=single), X)
    assert functrax.device_put({"a": X, "b": X[0]}, NamedSharding(LINE, P()))["b"].shape == (16,)
    mixed = functrax.device_put([X, X], [NamedSharding(LINE, P("i")), DEVICES[1]])
    assert mixed[0].devices() == set(DEVICES[:8])
    assert mixed[1].devices() == {DEVICES[1]}


def test_devices_in_another_order():
    x, y = on(LINE, "i"), on(BACKWARDS, "i")
    assert x.addressable_shards[0].device is DEVICES[0]
    assert y.addressable_shards[0].device is DEVICES[7]
    np.testing.assert_array_equal(x + y, 2 * X)
    np.testing.assert_array_equal(y - x, 0 * X)
    back = functrax.device_put(x, y.sharding)
    np.testing.assert_array_equal(back.addressable_shards[1].data, X[1:2])
    forced = functrax.jit(lambda v: lax.with_sharding_constraint(v * 2, y.sharding))(x)
    np.testing.assert_array_equal(forced, 2 * X)


def test_operations_follow_their_operands():
    x, y = on(GRID, "a", "b"), on(GRID, "a", "b")
    assert (x + y).sharding is x.sharding
    assert jnp.sin(x).sharding is x.sharding
    np.testing.assert_allclose(x @ y.T, X @ X.T)
    assert float(x.sum()) == X.sum()
    np.testing.assert_array_equal(x[2:4, ::3], X[2:4, ::3])
    np.testing.assert_array_equal(
        x.at[1, 2].set(7.0)[1], X[1] * (np.arange(16) != 2) + 7 * np.eye(16)[2]
    )
    np.testing.assert_array_equal(x + np.float32(1), X + 1)
    np.testing.assert_array_equal(x * jnp.arange(16.0), X * np.arange(16))  # not committed: moves
    gradient = functrax.grad(lambda v: (jnp.sin(v) ** 2).sum())(x)
    np.testing.assert_allclose(gradient, np.sin(2 * X), atol=1e-5)
    np.testing.assert_array_equal(functrax.vmap(lambda row: row * 2)(x), X * 2)
    assert [row.shape for row in x] == [(16,)] * 8


def test_a_row_that_one_device_holds_is_read_from_it():
    x = on(LINE, "i")
    np.testing.assert_array_equal(x[3], X[3])
    np.testing.assert_array_equal(x[-1], X[-1])
    assert x[3].devices() == {DEVICES[3]}
    np.testing.assert_array_equal(x[3] + x[4], X[3] + X[4])


def test_keys():
    keys = functrax.device_put(
        functrax.random.split(functrax.random.key(0), 8), NamedSharding(LINE, P("i"))
    )
    draw = functrax.vmap(lambda key: functrax.random.normal(key, (3,)))
    expected = draw(functrax.random.split(functrax.random.key(0), 8))
    np.testing.assert_array_equal(functrax.jit(draw)(keys), expected)
    words = functrax.random.key_data(functrax.device_put(keys, NamedSharding(LINE, P())))
    np.testing.assert_array_equal(words, functrax.random.key_data(keys))


def test_life():
    x = on(LINE, "i")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x)), X)
    copy = x.copy()
    assert copy.sharding is x.sharding
    functrax.jit(lambda v: v + 1, donate_argnums=0)(copy)
    assert copy.is_deleted()
    assert not x.is_deleted()
    assert x.is_ready() or x.block_until_ready() is x
    np.testing.assert_array_equal(functrax.device_get([x])[0], X)
    x.delete()
    assert x.is_deleted()


def test_constraints_under_transforms():
    rows = NamedSharding(LINE, P("i"))

    def f(v):
        return (lax.with_sharding_constraint(jnp.sin(v), rows) ** 2).sum()

    np.testing.assert_allclose(functrax.jit(f)(X), (np.sin(X) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(functrax.jit(functrax.grad(f))(X), np.sin(2 * X), atol=1e-5)
    np.testing.assert_allclose(functrax.grad(f)(jnp.asarray(X)), np.sin(2 * X), atol=1e-5)
    both = functrax.jit(functrax.vmap(f))(np.stack([X, X]))
    np.testing.assert_allclose(both, [(np.sin(X) ** 2).sum()] * 2, rtol=1e-5)
    out = functrax.jit(lambda v: lax.with_sharding_constraint(v * 2, rows))(X)
    assert out.sharding is rows
    assert functrax.reshard(X, rows).sharding is rows
    with LINE:
        assert lax.with_sharding_constraint(jnp.asarray(X), P(None)).devices() == set(DEVICES[:8])


@pytest.mark.parametrize("spec", SPECS)
def test_arrays_made_of_parts(spec):
    sharding = NamedSharding(GRID, spec)
    calls = []
    made = functrax.make_array_from_callback(
        X.shape, sharding, lambda index: calls.append(index) or X[index]
    )
    np.testing.assert_array_equal(made, X)
    assert len(calls) == GRID.axis_size(spec.axes())
    parts = [shard.data for shard in made.addressable_shards]
    again = functrax.make_array_from_single_device_arrays(X.shape, sharding, parts[::-1])
    np.testing.assert_array_equal(again, X)
    assert again.sharding is sharding
    local = functrax.make_array_from_process_local_data(sharding, X)
    np.testing.assert_array_equal(local, X)
    whole = functrax.make_array_from_callback((8, 16), sharding, lambda i: X[i], dtype="int32")
    assert whole.dtype == "int32"


def test_parts_that_do_not_fit():
    rows = NamedSharding(LINE, P("i"))
    made = functrax.make_array_from_callback
    assert message(lambda: made(X.shape, rows, lambda index: X)).startswith(
        "[make_array_from_callback] expected parts of shape (1, 16); got f32[8,16] on cpu:0 ("
    )
    parts = [functrax.device_put(X[:1], device) for device in DEVICES[:7]]
    assert message(
        lambda: functrax.make_array_from_single_device_arrays(X.shape, rows, parts)
    ).startswith(
        "[make_array_from_single_device_arrays] expected one array on each of cpu:0, cpu:1, cpu:2, "
        "cpu:3, cpu:4, cpu:5, cpu:6, cpu:7; got 7 arrays, on cpu:0, cpu:1, cpu:2, cpu:3, cpu:4, "
        "cpu:5, cpu:6 ("
    )
    assert "data of the global shape (4,), as there is one process; got (8, 16)" in message(
        lambda: functrax.make_array_from_process_local_data(rows, X, (4,))
    )


def test_errors():
    rows = NamedSharding(LINE, P("i"))
    assert message(lambda: on(LINE, "i", value=X[:5])).startswith(
        "[device_put] expected dimension 0 of an array of shape (5, 16) to be divisible by 8, the "
        "size of 'i' in Mesh(i=8); got size 5 ("
    )
    assert message(lambda: on(LINE, None, None, "i")).startswith(
        "[device_put] expected a spec with at most 2 entries for an array of shape (8, 16); got "
        "P(None, None, 'i') ("
    )
    assert message(lambda: on(LINE, "i") + on(HALF, "i")).startswith(
        "[add] expected arrays and meshes over one set of devices, such as Mesh(i=8) (cpu:0, "
        "cpu:1, cpu:2, cpu:3, cpu:4, cpu:5, cpu:6, cpu:7); got Mesh(i=4) (cpu:0, cpu:1, cpu:2, "
        "cpu:3) ("
    )
    assert "f32[8,16] on cpu:1 (cpu:1)" in message(
        lambda: on(LINE, "i") + functrax.device_put(X, DEVICES[1])
    )
    assert message(lambda: lax.with_sharding_constraint(X, P("i"))).startswith(
        "[with_sharding_constraint] expected a mesh for the spec; got P('i'), and no mesh is set ("
    )
    assert "of the array['a'] of shape (5, 16)" in message(
        lambda: lax.with_sharding_constraint({"a": X[:5]}, rows)
    )
    assert "unsafe_buffer_pointer" in message(lambda: on(LINE, "i").unsafe_buffer_pointer())


# What makes arrays, `device=` of it, and arrays like others ---------------------------------------

MAKERS = {
    "zeros": (lambda device: jnp.zeros((8, 4), device=device), np.zeros((8, 4))),
    "ones": (lambda device: jnp.ones((8, 4), jnp.bfloat16, device=device), np.ones((8, 4))),
    "empty": (lambda device: jnp.empty((0, 8), device=device), np.zeros((0, 8))),
    "full": (lambda device: jnp.full((8,), 3, device=device), np.full(8, 3)),
    "full of rows": (
        lambda device: jnp.full((8, 4), np.arange(4), device=device),
        np.tile(np.arange(4), (8, 1)),
    ),
    "arange": (lambda device: jnp.arange(8, device=device), np.arange(8)),
    "linspace": (lambda device: jnp.linspace(0, 7, 8, device=device), np.arange(8)),
    "eye": (lambda device: jnp.eye(8, device=device), np.eye(8)),
    "array": (lambda device: jnp.array([1] * 8, device=device), np.ones(8)),
    "asarray": (lambda device: jnp.asarray(np.arange(8), device=device), np.arange(8)),
    "astype": (lambda device: jnp.astype(jnp.arange(8), float, device=device), np.arange(8)),
    "zeros_like": (lambda device: jnp.zeros_like(X, device=device), np.zeros_like(X)),
    "weak": (lambda device: jnp.ones_like(2.0, shape=(8,), device=device), np.ones(8)),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "place", [NamedSharding(LINE, P("i")), NamedSharding(GRID, P("b")), DEVICES[3], "cpu"], ids=str
)
def test_making_arrays_on_devices(name, place):
    make, value = MAKERS[name]
    if name == "empty" and isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, P(None, *place.spec))
    devices = place.device_set if isinstance(place, NamedSharding) else {place}
    x = make(place)
    assert x.devices() == ({DEVICES[0]} if place == "cpu" else devices)
    assert x.committed
    # XLA of jaxlib 0.12 takes 1/7 for the division by 7 in linspace.
    np.testing.assert_array_max_ulp(np.asarray(x, np.float32), value.astype(np.float32), 1)
    if isinstance(place, NamedSharding):
        assert x.sharding is place
        if x.size:  # XLA gives every device what is empty
            assert functrax.jit(lambda: make(place))().sharding.is_equivalent_to(place, x.ndim)


@pytest.mark.parametrize("place", [NamedSharding(GRID, P("b")), DEVICES[3]], ids=str)
def test_arrays_like_others_are_beside_them(place):
    x = functrax.device_put(X, place)
    for made in (
        jnp.zeros_like(x),
        jnp.ones_like(x, dtype=int),
        jnp.empty_like(x),
        jnp.full_like(x, 7),
    ):
        assert made.device is x.device, made
        assert made.committed
    assert jnp.zeros_like(x, shape=(3,)).devices() == {DEVICES[0]}
    assert jnp.zeros_like(x, device=DEVICES[5]).devices() == {DEVICES[5]}
    assert not jnp.zeros_like(jnp.ones(3)).committed


def test_a_sharding_that_does_not_divide_what_is_made():
    sharding = NamedSharding(GRID, P("b"))
    assert message(lambda: jnp.zeros(3, device=sharding)).startswith(
        "[zeros] expected dimension 0 of an array of shape (3,) to be divisible by 4, the size of "
        "'b' in Mesh(a=2, b=4); got size 3 (test_sharded.py:"
    )
    assert message(lambda: jnp.zeros(3, device=7)).startswith(
        "[zeros] expected a device, a platform, a sharding, or a pytree of them as device; got 7 "
        "of type int (test_sharded.py:"
    )
