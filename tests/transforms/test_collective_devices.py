"""Collectives across eight virtual devices, compared with the same ones under `vmap`, which
test_collective.py compares with JAX and with loops, and with JAX across its devices.
"""

import functools
import re

import jax
import numpy as np
import pytest

import functrax
import functrax.extend
import functrax.numpy as jnp
from functrax import errors, lax, random
from functrax.sharding import Mesh
from functrax.sharding import PartitionSpec as P
from tests.transforms.collectives import COLLECTIVES, EVEN, GROUPED, MOVES, UNEVEN, expected

VALUES = np.random.default_rng(0).normal(size=(8, 8, 4)).astype(np.float32)
SHARDED = sorted(set(COLLECTIVES) - {"pvary"})


def mesh_of(shape=(8,), names=("i",)):
    return Mesh(np.array(functrax.devices()[: np.prod(shape)]).reshape(shape), names)


def on_devices(f, x, shape=(8,), names=("i",)):
    """Apply a function of one position's value on each device of a mesh."""
    mesh = mesh_of(shape, names)
    one = lambda v: jnp.asarray(f(v[0]))[None]  # noqa: E731
    run = functrax.shard_map(one, mesh=mesh, in_specs=P(names), out_specs=P(names))
    return functrax.jit(run)(x)


def under_vmap(f, x):
    return functrax.vmap(f, axis_name="i")(x)


def numbers(x):
    return np.asarray(x).astype(np.complex128)


@pytest.mark.parametrize("name", SHARDED)
def test_values(name):
    found = on_devices(lambda v: COLLECTIVES[name](lax, v, "i", None), VALUES)
    np.testing.assert_allclose(found, expected(name, VALUES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SHARDED)
def test_over_two_axes(name):
    f = lambda v: COLLECTIVES[name](lax, v, ("i", "j"), None)  # noqa: E731
    found = on_devices(f, VALUES, (2, 4), ("i", "j"))
    np.testing.assert_allclose(found, expected(name, VALUES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["psum", "all_gather", "ppermute:some", "axis_index"])
def test_the_first_name_is_the_major_one(name):
    f = lambda v: COLLECTIVES[name](lax, v, ("j", "i"), None)  # noqa: E731
    found = on_devices(f, VALUES, (2, 4), ("i", "j"))
    order = np.arange(8).reshape(2, 4).T.reshape(8)  # the device at each position
    np.testing.assert_allclose(
        np.asarray(found)[order], expected(name, VALUES[order]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["psum", "pmax", "all_gather", "axis_index"])
def test_over_one_axis_of_two(name, axis):
    f = lambda v: COLLECTIVES[name](lax, v, "ij"[axis], None)  # noqa: E731
    found = np.asarray(on_devices(f, VALUES, (2, 4), ("i", "j")))
    rows = np.moveaxis(VALUES.reshape(2, 4, 8, 4), axis, 1)
    each = np.moveaxis(np.stack([expected(name, row) for row in rows]), 1, axis)
    np.testing.assert_allclose(found, each.reshape(found.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", GROUPED)
def test_groups(name, groups):
    if groups is UNEVEN and name not in ("psum", "pmean", "pmax", "pmin"):
        return
    found = on_devices(lambda v: COLLECTIVES[name](lax, v, "i", groups), VALUES)
    np.testing.assert_allclose(found, expected(name, VALUES, groups), rtol=1e-5, atol=1e-6)


@functools.cache
def everything():
    """Return one function of all kinds of communication, so that a dtype costs one compilation."""
    names = ["psum", "pmax", "all_gather", "psum_scatter", "all_to_all", "ppermute:some"]
    names += ["pbroadcast", "exclusive_psum"]
    return names, lambda v: [COLLECTIVES[name](lax, v, "i", None) for name in names]


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int4",
        "int8",
        "uint64",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float64",
        "complex64",
    ],
)
def test_dtypes(dtype):
    names, f = everything()
    x = np.random.default_rng(1).integers(0, 2, (8, 8, 4))
    x = jnp.asarray(x.astype(jnp.dtype(dtype)), dtype)
    mesh = mesh_of()
    run = functrax.shard_map(
        lambda v: [y[None] for y in f(v[0])], mesh=mesh, in_specs=P("i"), out_specs=P("i")
    )
    for name, found, same in zip(names, functrax.jit(run)(x), under_vmap(f, x)):
        assert found.dtype == same.dtype, name
        np.testing.assert_array_equal(numbers(found), numbers(same), err_msg=name)


@pytest.mark.parametrize("shape", [(8,), (8, 0)])
def test_scalars_and_no_elements(shape):
    for name in ("psum", "pmax", "all_gather", "ppermute:some", "pbroadcast"):
        found = on_devices(lambda v: COLLECTIVES[name](lax, v, "i", None), np.ones(shape))  # noqa: B023
        np.testing.assert_array_equal(found, expected(name, np.ones(shape)))


def test_negative_zero_is_broadcast():
    x = np.full(8, -0.0, np.float32)
    assert np.signbit(on_devices(lambda v: lax.pbroadcast(v, "i", 2), x)).all()


def test_keys():
    keys = random.split(random.key(0), 8)
    mesh = mesh_of()
    f = lambda k: lax.ppermute(k, "i", MOVES)  # noqa: E731
    run = functrax.shard_map(f, mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    found, same = functrax.jit(run)(keys), under_vmap(f, keys)
    np.testing.assert_array_equal(random.key_data(found), random.key_data(same))


def test_vmap_inside():
    """Over an axis of devices and a mapped one together."""
    x = np.random.default_rng(3).normal(size=(4, 2, 8, 4)).astype(np.float32)
    for name in ("psum", "pmax", "all_gather", "psum_scatter:tiled", "all_to_all", "ppermute:some"):
        f = lambda v: COLLECTIVES[name](lax, v, ("i", "j"), None)  # noqa: B023, E731
        found = on_devices(functrax.vmap(f, axis_name="j"), x, (4,))
        whole = expected(name, x.reshape(8, 8, 4))
        np.testing.assert_allclose(
            np.asarray(found).reshape(whole.shape), whole, rtol=1e-5, atol=1e-6, err_msg=name
        )


# Derivatives --------------------------------------------------------------------------------------

total = lambda x: lax.psum(x.sum(), "i")  # noqa: E731
LOSSES = {
    "psum": lambda x, w: lax.psum((x * w) ** 2, "i").sum(),
    "replicated": lambda x, w: lax.psum(w * w, "i").sum() + total(x),
    "pmean": lambda x, w: lax.pmean(jnp.sin(x * w), "i").sum(),
    "pmax": lambda x, w: lax.pmax(x * w, "i").sum() + lax.pmin(x * w, "i").sum(),
    "groups": lambda x, w: total(lax.psum(x * w, "i", axis_index_groups=EVEN) ** 2),
    "all_gather": lambda x, w: total(lax.all_gather(x * w, "i") ** 2 * w),
    "invarying": lambda x, w: (lax.all_gather(x * w, "i", to="invarying") ** 2).sum(),
    "psum_scatter": lambda x, w: total(lax.psum_scatter(x * w, "i", tiled=True) ** 3),
    "all_to_all": lambda x, w: total(lax.all_to_all(x * w, "i", 0, 0) ** 3 * lax.axis_index("i")),
    "ppermute": lambda x, w: total(lax.ppermute(x * w, "i", MOVES) * x * w),
    "pbroadcast": lambda x, w: (lax.pbroadcast(x * w, "i", 2) ** 2).sum(),
    "ours": lambda x, w: (
        total(lax.exclusive_psum(x * w, "i") ** 2) + total(lax.reduce_to(x * w, "i", 3) ** 2)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name):
    """Inside and outside of shard_map they are those of the mapped function, outside of vmap."""
    loss = LOSSES[name]
    mesh = mesh_of()
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=size), "float64") for size in [(8, 8), (8,)])

    def sharded(f, out):
        own = lambda x, w: f(x[0], w)  # noqa: E731
        return functrax.shard_map(own, mesh=mesh, in_specs=(P("i"), P()), out_specs=out)

    mapped = functrax.vmap(loss, (0, None), axis_name="i")
    same = functrax.grad(lambda x, w: mapped(x, w)[0], (0, 1))(x, w)
    outside = functrax.jit(functrax.grad(sharded(loss, P()), (0, 1)))(x, w)
    to_x = lambda x, w: functrax.grad(loss, (0, 1))(x, w)  # noqa: E731
    inside = functrax.jit(
        sharded(lambda x, w: [to_x(x, w)[0][None], to_x(x, w)[1]], [P("i"), P()])
    )(x, w)
    for found in (outside, inside):
        np.testing.assert_allclose(found[0], same[0], rtol=1e-9)
        np.testing.assert_allclose(found[1], same[1], rtol=1e-9)


def test_jax_across_devices():
    names, _ = everything()
    names = [name for name in names if name not in ("pbroadcast", "exclusive_psum")]
    one = lambda lax, v: [COLLECTIVES[name](lax, v[0], "i", None)[None] for name in names]  # noqa: E731
    mesh = jax.sharding.Mesh(jax.devices()[:8], ("i",))
    spec = jax.sharding.PartitionSpec("i")
    theirs = jax.jit(
        jax.shard_map(functools.partial(one, jax.lax), mesh=mesh, in_specs=spec, out_specs=spec)
    )(VALUES)
    ours = functrax.shard_map(
        functools.partial(one, lax),
        mesh=mesh_of(),
        in_specs=P("i"),
        out_specs=P("i"),
    )(VALUES)
    for name, a, b in zip(names, ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)


# Errors -------------------------------------------------------------------------------------------


def test_ragged_exchange_on_cpus():
    def f(x):
        count = jnp.arange(8)
        return lax.ragged_all_to_all(x, x, count, count, count, count, axis_name="i")

    with pytest.raises(errors.DeviceError) as caught:
        on_devices(f, VALUES)
    assert re.sub(r" \([\w.]+:\d+\)", "", str(caught.value)) == (
        "[ragged_all_to_all] expected devices for which XLA has this operation: GPUs or TPUs; got "
        "CPUs. Pad the slices to one size and use `all_to_all`, or map the axis by `vmap`."
    )


def test_an_axis_that_nobody_maps_when_it_is_lowered():
    program = functrax.make_jaxpr(lambda x: lax.psum(x, "i"), axis_env=[("i", 2)])(1.0)
    with pytest.raises(errors.AxisNameError) as caught:
        functrax.jit(lambda x: functrax.extend.eval_jaxpr(program.jaxpr, (), x))(1.0)
    assert re.sub(r" \([\w.]+:\d+\)", "", str(caught.value)) == (
        "[jit] expected a collective over axes that a transform around it maps; got one over 'i'; "
        "mapped: none. Call it inside `vmap(f, axis_name='i')`, `pmap` or `shard_map`."
    )
