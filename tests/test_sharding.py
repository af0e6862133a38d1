"""Meshes, specs and shardings as values, beside installed JAX's."""

import copy
import itertools
import math
import os
import pickle
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import functrax
from functrax import config, errors
from functrax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from functrax.sharding import PartitionSpec as P
from functrax.sharding.mesh import current_mesh, make_grid
from functrax.sharding.shardings import axis_text, constraint_text, sharding_of_tiles, tiles
from functrax.sharding.spec import UNCONSTRAINED

MESHES = [{"x": 8}, {"x": 4, "y": 2}, {"x": 2, "y": 4}, {"x": 2, "y": 2, "z": 2}, {"x": 1, "y": 8}]
NAMES = "xyzw"


def mesh_of(sizes, devices=None):
    found = functrax.devices("cpu") if devices is None else devices
    grid = np.array(found[: math.prod(sizes.values())], dtype=object)
    return Mesh(grid.reshape(tuple(sizes.values())), tuple(sizes))


def fake_devices(count, processes=1, **attributes):
    """Return devices that only have a number and a process."""
    here = SimpleNamespace(process_index=0)
    return [
        SimpleDevice(
            id=i, platform="tpu", client=here, process_index=i * processes // count, **attributes
        )
        for i in range(count)
    ]


class SimpleDevice(SimpleNamespace):
    """One of them; unlike its base it is its own identity."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other

    def __repr__(self):
        return f"tpu:{self.id}"


def specs(names, ndim):
    """Yield every spec of `ndim` entries over some axis names, all orders and groups included."""
    for count in range(len(names) + 1):
        for chosen in itertools.permutations(names, count):
            for places in itertools.combinations_with_replacement(range(ndim), count):
                entries = [
                    tuple(n for n, at in zip(chosen, places) if at == d) for d in range(ndim)
                ]
                yield P(*entries)


def in_jax(sharding):
    mesh = sharding.mesh
    devices = np.array([jax.devices("cpu")[d.id] for d in mesh.device_tuple])
    theirs = jax.sharding.Mesh(devices.reshape(mesh.axis_sizes), mesh.axis_names)
    return jax.sharding.NamedSharding(theirs, jax.sharding.PartitionSpec(*sharding.spec))


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    lines = [entry.lineno for entry in caught.traceback if str(entry.path) == __file__]
    return str(caught.value).replace(f"{os.path.basename(__file__)}:{lines[-1] + 1}", "here")


# ---- index maps, beside JAX's


@pytest.mark.parametrize("sizes", MESHES, ids=str)
@pytest.mark.parametrize("shape", [(16,), (8, 16), (0, 8), (8, 1, 16)], ids=str)
def test_the_parts_are_those_of_jax(sizes, shape):
    mesh, checked = mesh_of(sizes), 0
    for spec in specs(tuple(sizes), len(shape)):
        ours = NamedSharding(mesh, spec)
        theirs = in_jax(ours)
        try:
            expected = theirs.shard_shape(shape)
        except ValueError:
            with pytest.raises(errors.ShapeError):
                ours.shard_shape(shape)
            with pytest.raises(errors.ShapeError):
                ours.devices_indices_map(shape)
            continue
        checked += 1
        assert ours.shard_shape(shape) == expected
        found = {d.id: index for d, index in ours.devices_indices_map(shape).items()}
        assert found == {d.id: index for d, index in theirs.devices_indices_map(shape).items()}
        assert list(found) == [d.id for d in mesh.device_tuple]
        assert ours.addressable_devices_indices_map(shape) == ours.devices_indices_map(shape)
        assert ours.is_fully_replicated == theirs.is_fully_replicated
        assert ours.num_devices == theirs.num_devices == len(ours.device_set)
    assert checked > 1


@pytest.mark.parametrize("sizes", [{"x": 4, "y": 2}, {"x": 2, "y": 2, "z": 2}], ids=str)
def test_equivalence_is_that_of_jax(sizes):
    mesh, found = mesh_of(sizes), [P(), P("x"), *specs(tuple(sizes), 2)]
    answers = set()
    for a, b in itertools.product(found, repeat=2):
        ours = NamedSharding(mesh, a), NamedSharding(mesh, b)
        theirs = in_jax(ours[0]), in_jax(ours[1])
        assert ours[0].is_equivalent_to(ours[1], 2) == theirs[0].is_equivalent_to(theirs[1], 2)
        assert (ours[0] == ours[1]) == (theirs[0] == theirs[1])
        answers.add((ours[0] == ours[1], ours[0].is_equivalent_to(ours[1], 2)))
    assert answers == {(True, True), (False, True), (False, False)}


def test_equivalence_between_meshes_and_kinds():
    devices = functrax.devices("cpu")
    a, b = mesh_of({"x": 4, "y": 2}), mesh_of({"z": 8})
    turned = Mesh(a.devices.T, ("x", "y"))
    split = NamedSharding(a, P(("x", "y")))
    assert split.is_equivalent_to(NamedSharding(b, P("z")), 1)
    assert not split.is_equivalent_to(NamedSharding(turned, P(("x", "y"))), 1)
    one = SingleDeviceSharding(devices[0])
    alone = NamedSharding(Mesh(devices[:1], "x"), P("x"))
    assert one.is_equivalent_to(alone, 3)
    assert NamedSharding(alone.mesh, P()).is_equivalent_to(one, 0)
    assert not one.is_equivalent_to(SingleDeviceSharding(devices[1]), 1)
    assert not one.is_equivalent_to(NamedSharding(b, P()), 1)
    assert split.with_memory_kind("device").is_equivalent_to(split, 1)
    assert not split.with_memory_kind("pinned_host").is_equivalent_to(split, 1)


def test_memories():
    device = functrax.devices("cpu")[1]
    kinds = ["device", "pinned_host", "unpinned_host"]
    memories = device.addressable_memories()
    assert [one.kind for one in memories] == kinds
    assert device.default_memory() == device.memory("device") == memories[0]
    assert len(set(memories)) == 3
    assert memories[1].addressable_by_devices() == [device]
    assert (memories[1].platform, memories[1].process_index) == ("cpu", 0)
    assert repr(memories[1]) == "Memory('pinned_host' of cpu:1)"
    with pytest.raises(errors.DeviceError) as caught:
        device.memory("attic")
    assert str(caught.value).startswith(
        "[memory] expected a kind of memory that cpu:1 has: 'device', 'pinned_host', "
        "'unpinned_host'; got 'attic' ("
    )


@pytest.mark.parametrize("kind", [None, "device", "pinned_host", "unpinned_host"])
def test_arrays_in_kinds_of_memory(kind):
    split = NamedSharding(mesh_of({"x": 4, "y": 2}), P("x"), memory_kind=kind)
    one = SingleDeviceSharding(functrax.devices("cpu")[3], memory_kind=kind)
    assert split.memory_kind == one.memory_kind == (kind or "device")
    x = np.arange(8, dtype=np.float32)
    for wanted in (split, one):
        for found in (
            functrax.device_put(x, wanted),
            functrax.device_put(functrax.numpy.asarray(x), wanted),
            functrax.jit(lambda x: x + 0, out_shardings=wanted)(x),
        ):
            assert found.sharding.memory_kind == wanted.memory_kind
            assert found.sharding.device_set == wanted.device_set
            np.testing.assert_array_equal(found, x)
            np.testing.assert_array_equal(functrax.jit(lambda x: x + 1)(found), x + 1)
            assert functrax.device_put(found, split.with_memory_kind("device")).sharding is (
                split.with_memory_kind(None)
            )
    if split.memory_kind != "device":
        with pytest.raises(errors.DeviceError, match="a traced value to put into"):
            functrax.jit(lambda x: functrax.device_put(x, split))(x)


def test_one_device():
    device = functrax.devices("cpu")[3]
    sharding = SingleDeviceSharding(device)
    assert sharding.is_fully_replicated
    assert sharding.is_fully_addressable
    assert sharding.has_addressable_devices
    assert sharding.shard_shape((3, 0)) == (3, 0)
    assert sharding.devices_indices_map((3, 2)) == {device: (slice(None), slice(None))}
    assert sharding.device_set == sharding.addressable_devices == {device}
    pinned = sharding.with_memory_kind("pinned_host")
    assert pinned != sharding
    assert repr(pinned) == "SingleDeviceSharding(device=CpuDevice(id=3), memory_kind='pinned_host')"
    for same in (pickle.loads(pickle.dumps(pinned)), copy.copy(pinned), copy.deepcopy(pinned)):
        assert same == pinned
        assert hash(same) == hash(pinned)


# ---- tiles


@pytest.mark.parametrize(
    ("sizes", "ndim"),
    [
        ({"x": 8}, 2),
        ({"x": 4, "y": 2}, 3),
        ({"x": 6, "y": 4}, 2),
        ({"x": 2, "y": 3, "z": 2}, 2),
        ({"x": 2, "y": 1, "z": 4}, 2),
        ({"x": 2, "y": 2, "z": 2, "w": 2}, 2),
        ({"x": 2, "y": 2, "z": 2, "w": 2}, 1),
        ({"x": 3, "y": 2, "z": 1, "w": 2}, 3),
    ],
    ids=str,
)
def test_tiles_and_back(sizes, ndim):
    mesh = mesh_of(sizes, fake_devices(math.prod(sizes.values())))
    shape = (mesh.size,) * ndim
    count = 0
    for spec in specs(tuple(sizes), ndim):
        sharding = NamedSharding(mesh, spec)
        counts, grid, order = tiles(sharding, ndim)
        numbers = np.arange(mesh.size).reshape(grid).transpose(order).reshape(counts)
        # What the numbers mean: the device at a place of the grid of parts holds that part.
        index = sharding.devices_indices_map(shape)
        for place in np.ndindex(*counts):
            device = mesh.device_tuple[numbers[place]]
            starts = [part.start or 0 for part in index[device]]
            assert starts == [
                at * mesh.size // parts for at, parts in zip(place[:-1], counts[:-1], strict=True)
            ]
        # XLA may list the devices that hold the same part in another order.
        back = sharding_of_tiles(mesh, counts, numbers[..., ::-1])
        assert back is not None
        assert back.mesh is mesh
        assert back.is_equivalent_to(sharding, ndim)
        count += 1
    assert count > ndim


def test_tiles_of_a_part_of_an_axis():
    """XLA may divide a dimension by less than an axis: the mesh's axes are then divided too."""
    mesh = mesh_of({"x": 8})
    numbers = np.arange(8).reshape(2, 4)
    found = sharding_of_tiles(mesh, [2, 4], numbers)
    assert found is not None
    assert repr(found) == "NamedSharding(Mesh(x.0=2, x.1=2, x.2=2), P('x.0'))"
    inner = sharding_of_tiles(mesh, [4, 1, 2], numbers.reshape(2, 2, 2).transpose(2, 1, 0))
    assert inner is not None
    assert repr(inner.spec) == "P(('x.2', 'x.1'))"
    assert inner.mesh.device_tuple == mesh.device_tuple


def test_tiles_that_no_mesh_has():
    assert sharding_of_tiles(mesh_of({"x": 4}), [4, 1], np.array([[1], [0], [2], [3]])) is None


def test_the_text_of_constraints():
    mesh = mesh_of({"x": 4, 'a"\\b': 2})
    spec = P('a"\\b', UNCONSTRAINED)
    assert constraint_text(NamedSharding(mesh, spec), "mesh", 3) == (
        r'<@mesh, [{"a\"\\b"}, {?}, {}]>'
    )
    assert constraint_text(NamedSharding(mesh, P("x")), "m", 2, is_open=True) == (
        '<@m, [{"x", ?}, {?}]>'
    )
    assert axis_text(3) == '"3"'


# ---- meshes as values


def test_a_mesh():
    mesh = mesh_of({"x": 4, "y": 2})
    theirs = jax.sharding.Mesh(np.array(jax.devices("cpu")).reshape(4, 2), ("x", "y"))
    attributes = (
        "shape shape_tuple axis_names axis_sizes size empty is_multi_process auto_axes manual_axes "
        "are_all_axes_auto are_all_axes_manual"
    )
    for name in attributes.split():
        assert getattr(mesh, name) == getattr(theirs, name), name
    assert [t.name for t in mesh.axis_types] == [t.name for t in theirs.axis_types]
    assert mesh.device_ids.tolist() == theirs.device_ids.tolist()
    assert [d.id for d in mesh.local_devices] == [d.id for d in theirs.local_devices]
    assert mesh.local_mesh is mesh
    assert mesh.axis_size(("x", "y")) == 8
    assert mesh.axis_size(()) == 1
    assert repr(mesh) == str(mesh) == "Mesh(x=4, y=2)"
    with pytest.raises(ValueError, match="read-only"):
        mesh.devices[0, 0] = mesh.devices[0, 1]


def test_meshes_are_interned():
    mesh = mesh_of({"x": 4, "y": 2})
    again = Mesh(mesh.devices.tolist(), ["x", "y"], AxisType.Auto)
    assert again is mesh
    assert Mesh(mesh.devices, ("x", "y"), (jax.sharding.AxisType.Auto,) * 2) is mesh
    for same in (pickle.loads(pickle.dumps(mesh)), copy.copy(mesh), copy.deepcopy(mesh)):
        assert same is mesh
    assert mesh.update(axis_names=("a", "b")).axis_names == ("a", "b")
    assert mesh.update(devices=mesh.devices[:2]).shape == {"x": 2, "y": 2}
    assert mesh.update() is mesh
    manual = mesh.update(axis_types=(AxisType.Manual, AxisType.Auto))
    assert manual is not mesh
    assert manual != mesh
    assert (manual.manual_axes, manual.auto_axes) == (("x",), ("y",))
    assert not manual.are_all_axes_auto
    assert not manual.are_all_axes_manual
    assert pickle.loads(pickle.dumps(manual)) is manual
    assert repr(AxisType.Auto) == "AxisType.Auto"


def test_meshes_of_no_axis_and_no_device():
    scalar = Mesh(functrax.devices("cpu")[0], ())
    assert (scalar.size, scalar.axis_sizes, scalar.empty) == (1, (), False)
    sharding = NamedSharding(scalar, P())
    assert sharding.is_fully_replicated
    assert sharding.shard_shape((3,)) == (3,)
    empty = Mesh(np.empty((0, 2), object), ("x", "y"))
    assert (empty.size, empty.empty, empty.local_mesh) == (0, True, empty)


def test_a_mesh_over_processes():
    devices = fake_devices(8, processes=2)
    mesh = mesh_of({"x": 2, "y": 4}, devices)
    assert mesh.is_multi_process
    assert mesh.local_devices == devices[:4]
    assert mesh.local_mesh == Mesh([devices[:4]], ("x", "y"))
    sharding = NamedSharding(mesh, P("x"))
    assert not sharding.is_fully_addressable
    assert sharding.has_addressable_devices
    assert sharding.addressable_devices == set(devices[:4])
    assert list(sharding.addressable_devices_indices_map((2,))) == devices[:4]
    away = NamedSharding(Mesh(devices[4:], "x"), P())
    assert not away.has_addressable_devices
    scattered = Mesh([[devices[0], devices[4]], [devices[5], devices[1]]], ("x", "y"))
    assert message(lambda: scattered.local_mesh, errors.ArgumentError) == (
        "[Mesh.local_mesh] expected devices that form a grid; got 2 of Mesh(x=2, y=2), scattered "
        "(here)."
    )


def test_a_mesh_as_context():
    outer, inner = mesh_of({"x": 8}), mesh_of({"x": 4, "y": 2})
    assert current_mesh() is None
    with outer as entered:
        assert entered is outer
        key = config.trace_key()
        with inner, inner:
            assert current_mesh() is inner
            assert config.trace_key() is not key
        assert current_mesh() is outer
        assert config.trace_key() is key
    assert current_mesh() is None


def test_set_mesh():
    outer, inner = mesh_of({"x": 8}), mesh_of({"x": 4, "y": 2})
    assert functrax.sharding.get_mesh().empty
    assert functrax.sharding.get_mesh().axis_names == ()
    with functrax.set_mesh(outer) as entered:
        assert entered is functrax.sharding.get_mesh() is outer
        functrax.set_mesh(inner)  # a call alone holds until the next one, or the block's end
        assert functrax.sharding.get_mesh() is inner
        with functrax.set_mesh(None):
            assert functrax.sharding.get_mesh().empty
            with outer:
                assert functrax.sharding.get_mesh() is outer
        assert functrax.sharding.get_mesh() is inner
    assert functrax.sharding.get_mesh().empty
    empty = functrax.sharding.get_mesh()
    with functrax.set_mesh(empty):
        assert current_mesh() is None
    assert pickle.loads(pickle.dumps(empty)) is empty


def test_set_mesh_holds_for_one_thread():
    mesh, seen = mesh_of({"x": 8}), []
    with functrax.set_mesh(mesh):
        thread = threading.Thread(target=lambda: seen.append(current_mesh()))
        thread.start()
        thread.join()
    assert seen == [None]


# ---- specs as values


def test_a_spec():
    spec = P("x", ("y", "z"), None, UNCONSTRAINED)
    assert PartitionSpec is functrax.P
    assert repr(spec) == "P('x', ('y', 'z'), None, UNCONSTRAINED)"
    assert (len(spec), spec[0], spec[1:3]) == (4, "x", (("y", "z"), None))
    assert list(spec) == list(spec.partitions)
    assert spec.axes() == ("x", "y", "z")
    assert spec.normalized(5) == (("x",), ("y", "z"), (), (), ())
    assert (spec.index(("y", "z")), spec.count("x"), spec.count("q")) == (1, 1, 0)
    for same in (pickle.loads(pickle.dumps(spec)), copy.copy(spec), copy.deepcopy(spec)):
        assert same == spec
        assert hash(same) == hash(spec)
        assert same[3] is P.UNCONSTRAINED


@pytest.mark.parametrize(
    "expression",
    [
        "P('x') == P(('x',))",
        "P('x') == P(['x'])",
        "P('x') == P('x', None)",
        "P() == P(None)",
        "P(()) == P(None)",
        "P('x') == ('x',)",
        "P(['x', 'y'])[0]",
        "P('x') + ('y',) == P('x', 'y')",
        "('y',) + P('x') == P('y', 'x')",
        "P('x') + P('y') == P('x', 'y')",
        "len({P('x'), P(('x',)), P('x', None)})",
        "list(P(1, None))",
    ],
)
def test_specs_are_those_of_jax(expression):
    assert eval(expression) == eval(expression, {"P": jax.sharding.PartitionSpec})


# ---- named shardings as values


def test_named_shardings_are_interned():
    mesh = mesh_of({"x": 4, "y": 2})
    sharding = NamedSharding(mesh, P("x"))
    assert NamedSharding(mesh, P(("x",))) is sharding
    for same in (pickle.loads(pickle.dumps(sharding)), copy.copy(sharding)):
        assert same is sharding
    assert copy.deepcopy({"a": sharding})["a"] is sharding
    pinned = sharding.with_memory_kind("pinned_host")
    assert pinned is not sharding
    assert pickle.loads(pickle.dumps(pinned)) is pinned
    assert sharding.with_spec(("y", "x")) is NamedSharding(mesh, P("y", "x"))
    assert sharding.with_spec(P("y")).mesh is mesh
    assert repr(pinned) == "NamedSharding(Mesh(x=4, y=2), P('x'), memory_kind='pinned_host')"
    assert sharding.device_set == set(mesh.device_tuple)


# ---- bad input: whole messages


def bad(call, kind, expected):
    return pytest.param(call, kind, expected, id=expected[:60])


def mesh42():
    return mesh_of({"x": 4, "y": 2})


MESSAGES = [
    bad(
        lambda: Mesh(functrax.devices("cpu"), ("x", "y")),
        errors.ShapeError,
        "[Mesh] expected an array of devices with one dimension for each name in ('x', 'y'); got "
        "one of shape (8,) (here). Reshape the devices: `make_mesh` does it.",
    ),
    bad(
        lambda: Mesh([functrax.devices("cpu")[0]] * 3, "x"),
        errors.ArgumentError,
        "[Mesh] expected devices that differ; got cpu:0 3 times (here).",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", "x")),
        errors.ArgumentError,
        "[Mesh] expected axis_names that differ; got 'x' twice (here).",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", None)),
        errors.ArgumentError,
        "[Mesh] expected axis_names, such as ('data', 'model'); got None (here).",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", ["y"])),
        errors.ArgumentError,
        "[Mesh] expected axis_names, such as ('data', 'model'); got ['y'] (here).",
    ),
    bad(
        lambda: Mesh(range(8), "x"),
        errors.ArgumentError,
        "[Mesh] expected an array of devices; got 0 of type int (here). Take them from "
        "`functrax.devices()`.",
    ),
    bad(
        lambda: Mesh([functrax.devices("cpu")[0], *fake_devices(1)], "x"),
        errors.DeviceError,
        "[Mesh] expected devices of one platform; got cpu and tpu (here).",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", "y"), (AxisType.Auto, AxisType.Explicit)),
        errors.ArgumentError,
        "[Mesh] expected axis_types of AxisType.Auto; got AxisType.Explicit (here). Types do not "
        "hold shardings here: leave it out, and constrain values with `with_sharding_constraint`.",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", "y"), (AxisType.Auto,)),
        errors.ArgumentError,
        "[Mesh] expected axis_types, one AxisType for 2 axes; got (AxisType.Auto,) (here).",
    ),
    bad(
        lambda: Mesh(mesh42().devices, ("x", "y"), "auto"),
        errors.ArgumentError,
        "[Mesh] expected axis_types, one AxisType for 2 axes; got 'auto' (here).",
    ),
    bad(
        lambda: make_grid((4, 4), ("x", "y"), functrax.devices("cpu"), "make_mesh"),
        errors.ShapeError,
        "[make_mesh] expected a mesh for the 8 devices; got shape (4, 4), which needs 16 (here). "
        "Give other sizes, or more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    bad(
        lambda: make_grid((4, 2), "x", functrax.devices("cpu"), "make_mesh"),
        errors.ShapeError,
        "[make_mesh] expected one size for each axis name; got 2 sizes (4, 2) and 1 names ('x',) "
        "(here).",
    ),
    bad(
        lambda: functrax.set_mesh("x"),
        errors.ArgumentError,
        "[set_mesh] expected a Mesh without manual axes, or None; got 'x' (here).",
    ),
    bad(
        lambda: functrax.set_mesh(mesh42().update(axis_types=AxisType.Manual)),
        errors.ArgumentError,
        "[set_mesh] expected a Mesh without manual axes, or None; got Mesh(x=4, y=2) (here).",
    ),
    bad(
        lambda: functrax.jit(lambda: functrax.set_mesh(mesh42()) and 0)(),
        errors.ArgumentError,
        "[set_mesh] expected to be called outside of functions that are traced; got Mesh(x=4, y=2) "
        "in one (here). Set it before the call, or give shardings with a mesh.",
    ),
    bad(
        lambda: P("x", ("y", "x")),
        errors.ArgumentError,
        "[PartitionSpec] expected each axis name at most once; got 'x' twice in P('x', ('y', 'x')) "
        "(here). An axis of the mesh can divide one dimension only.",
    ),
    bad(
        lambda: P("x", unreduced={"y"}),
        errors.ArgumentError,
        "[PartitionSpec] expected neither unreduced nor reduced axes; got unreduced={'y'}, "
        "reduced=set() (here). Sum with `lax.psum` inside of `shard_map`.",
    ),
    *[
        bad(
            lambda entry=entry: P("x", entry),
            errors.ArgumentError,
            "[PartitionSpec] expected for each dimension the name of an axis, a tuple of names, or "
            f"None; got {entry!r} (here). Write P('x', ('y', 'z'), None).",
        )
        for entry in [("y", None), ("y", ("z",)), ("y", UNCONSTRAINED), {"y": 1}, P("y"), ((),)]
    ],
    bad(
        lambda: NamedSharding(mesh42(), P("x", "z")),
        errors.ArgumentError,
        "[NamedSharding] expected axes of Mesh(x=4, y=2); got 'z' in P('x', 'z') (here). Name an "
        "axis of the mesh, or make a mesh with it.",
    ),
    bad(
        lambda: NamedSharding(mesh42(), "x"),
        errors.ArgumentError,
        "[NamedSharding] expected a PartitionSpec; got 'x' of type str (here). Write `P('x', "
        "None)`.",
    ),
    bad(
        lambda: NamedSharding("x", P()),
        errors.ArgumentError,
        "[NamedSharding] expected a Mesh; got 'x' of type str (here).",
    ),
    bad(
        lambda: NamedSharding(mesh42(), P(), memory_kind="attic"),
        errors.ArgumentError,
        "[NamedSharding] expected memory_kind as one of device, pinned_host, unpinned_host; got "
        "'attic' (here).",
    ),
    bad(
        lambda: NamedSharding(mesh42(), P(None, None, "x")).shard_shape((8, 8)),
        errors.ShapeError,
        "[shard_shape] expected a spec with at most 2 entries for an array of shape (8, 8); got "
        "P(None, None, 'x') (here). Leave entries out: dimensions that are not mentioned are not "
        "divided.",
    ),
    bad(
        lambda: NamedSharding(mesh42(), P(None, ("x", "y"))).shard_shape((8, 12)),
        errors.ShapeError,
        "[shard_shape] expected dimension 1 of an array of shape (8, 12) to be divisible by 8, the "
        "size of ('x', 'y') in Mesh(x=4, y=2); got size 12 (here). Pad it, or divide another "
        "dimension.",
    ),
]


@pytest.mark.parametrize(("call", "kind", "expected"), MESSAGES)
def test_messages(call, kind, expected):
    assert message(call, kind) == expected
