"""Meshes that fit the network: TPU slices as fakes that only say where they stand."""

import importlib.util
import itertools
import math
import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.experimental import mesh_utils as jax_mesh_utils

import functrax
from functrax import errors
from functrax.experimental import mesh_utils
from functrax.runtime.devices import Device
from functrax.sharding import AxisType
from functrax.sharding.builder import _path, _ring

HERE = SimpleNamespace(process_index=0)


class Fake(SimpleNamespace):
    """A device that is its own identity."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other

    def __repr__(self):
        return f"{self.platform}:{self.id}"


def tpu_slice(sizes, kind, cores=1, slice_index=0, start=0, hosts=1):
    """Return the devices of a slice, in the order of libtpu: x fastest, the cores of a chip side by
    side; each host has an equal run of them.
    """
    x, y, z = (*sizes, 1, 1)[:3]
    places = [
        (i, j, k, c) for k in range(z) for j in range(y) for i in range(x) for c in range(cores)
    ]
    return [
        Fake(
            id=start + number,
            platform="tpu",
            device_kind=kind,
            coords=place[:3],
            core_on_chip=place[3],
            slice_index=slice_index,
            process_index=slice_index * hosts + number * hosts // len(places),
            client=HERE,
        )
        for number, place in enumerate(places)
    ]


def hops(grid, axis, sizes, wraps):
    """Return the most hops between neighbours along an axis, and from its last to its first."""

    def distance(a, b):
        steps = [abs(p - q) for p, q in zip(a.coords, b.coords)]
        return sum(min(s, n - s) if w else s for s, n, w in zip(steps, sizes, wraps))

    rows = np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    inner = max((distance(a, b) for row in rows for a, b in itertools.pairwise(row)), default=0)
    return inner, max(distance(row[-1], row[0]) for row in rows)


V5E, V5P = "TPU v5 lite", "TPU v5"
FLAT, CUBE, POD = ((4, 4, 1), (False,) * 3), ((4, 4, 4), (True,) * 3), ((16, 16, 1), (True,) * 3)

# slice, cores, shape of the mesh -> for each axis: hops between neighbours, and around
LAYOUTS = [
    (V5E, FLAT, 1, (4, 4), [(1, 3), (1, 3)]),  # whole dimensions, which are not closed
    (V5E, FLAT, 1, (16,), [(1, 1)]),  # one ring through all
    (V5E, FLAT, 1, (2, 8), [(2, 2), (1, 1)]),  # the large axis is a ring in half of the slice
    (V5E, FLAT, 1, (8, 2), [(1, 1), (2, 2)]),
    (V5E, FLAT, 1, (1, 16, 1), [(0, 0), (1, 1), (0, 0)]),
    (V5E, ((2, 4, 1), (False,) * 3), 1, (8,), [(1, 1)]),
    (V5E, ((2, 4, 1), (False,) * 3), 1, (2, 4), [(1, 1), (1, 3)]),
    (V5E, ((3, 3, 1), (False,) * 3), 1, (9,), [(1, 4)]),  # no ring goes through an odd number
    (V5E, POD, 1, (16, 16), [(1, 1), (1, 1)]),
    (V5E, POD, 1, (256,), [(1, 1)]),
    (V5P, CUBE, 1, (4, 4, 4), [(1, 1)] * 3),
    (V5P, CUBE, 1, (16, 4), [(1, 1), (1, 1)]),
    (V5P, CUBE, 1, (4, 16), [(1, 1), (1, 1)]),
    (V5P, CUBE, 1, (64,), [(1, 1)]),
    (V5P, CUBE, 1, (2, 32), [(2, 2), (1, 1)]),
    ("TPU v4", CUBE, 2, (4, 32), [(1, 1), (1, 1)]),  # 16 chips
    ("TPU v4", CUBE, 2, (64, 2), [(1, 1), (0, 0)]),
    ("TPU v3", ((4, 4, 1), (False,) * 3), 2, (4, 8), [(1, 3), (1, 3)]),  # 4 chips
]


@pytest.mark.parametrize(("kind", "network", "cores", "shape", "expected"), LAYOUTS, ids=str)
def test_axes_go_along_the_links(kind, network, cores, shape, expected):
    sizes, wraps = network
    devices = tpu_slice(sizes, kind, cores)
    mesh = functrax.make_mesh(shape, tuple("abcd"[: len(shape)]), devices=devices)
    assert mesh.axis_sizes == shape
    assert set(mesh.device_tuple) == set(devices)
    found = [hops(mesh.devices, axis, sizes, wraps) for axis in range(len(shape))]
    assert found == expected


def test_many_axes():
    devices = tpu_slice((16, 16), V5E)
    mesh = functrax.make_mesh((2,) * 8, tuple("abcdefgh"), devices=devices)
    assert set(mesh.device_tuple) == set(devices)
    found = [hops(mesh.devices, axis, (16, 16), (True, True, True))[0] for axis in range(8)]
    assert sorted(found) == [1, 1, 2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize("shape", [(128,), (2, 64), (64, 2), (4, 32)], ids=str)
def test_the_cores_of_a_chip_are_neighbours(shape):
    mesh = functrax.make_mesh(
        shape, ("a", "b")[: len(shape)], devices=tpu_slice((4, 4, 4), "TPU v4", 2)
    )
    chips = np.vectorize(lambda d: d.coords[0] + 4 * d.coords[1] + 16 * d.coords[2])(mesh.devices)
    axis = shape.index(2) if 2 in shape else -1
    pairs = np.moveaxis(chips, axis, -1).reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


def test_slices_are_outermost():
    devices = [d for s in (1, 0) for d in tpu_slice((2, 2), V5E, slice_index=s, start=4 * s)]
    mesh = functrax.make_mesh((2, 4), ("a", "b"), devices=devices)
    assert [[d.slice_index for d in row] for row in mesh.devices] == [[1] * 4, [0] * 4]
    assert hops(mesh.devices, 1, (2, 2, 1), (False,) * 3) == (1, 1)
    mesh = functrax.make_mesh((4, 2), ("a", "b"), devices=devices)
    assert [[d.slice_index for d in row] for row in mesh.devices] == [[1] * 2] * 2 + [[0] * 2] * 2
    mesh = functrax.make_mesh((8,), "a", devices=devices[::-1])
    assert [d.slice_index for d in mesh.devices] == [0] * 4 + [1] * 4


def test_slices_that_no_axis_goes_across():
    three = [d for s in range(3) for d in tpu_slice((2, 1), V5E, slice_index=s, start=2 * s)]
    mesh = functrax.make_mesh((2,), "a", devices=three)  # the first two are of one slice
    assert [d.slice_index for d in mesh.devices] == [0, 0]
    mesh = functrax.make_mesh((2, 2), ("a", "b"), devices=three)
    assert [[d.slice_index for d in row] for row in mesh.devices] == [[0, 0], [1, 1]]
    mesh = functrax.make_mesh((5,), "a", devices=three)  # they leave a gap: in order
    assert list(mesh.devices) == three[:5]


def test_devices_without_coordinates_stay_in_order():
    found = functrax.make_mesh((4, 2), ("a", "b"))
    assert found.device_ids.tolist() == np.arange(8).reshape(4, 2).tolist()
    assert functrax.make_mesh((2,), ("a",)).device_tuple == tuple(functrax.devices()[:2])
    assert found.axis_types == (AxisType.Auto,) * 2
    turned = functrax.devices()[::-1]
    assert functrax.make_mesh((8,), "a", devices=turned).device_tuple == tuple(turned)
    of_hosts = [Fake(id=i, platform="gpu", process_index=i % 2, client=HERE) for i in range(4)]
    mesh = functrax.make_mesh((2, 2), ("a", "b"), devices=of_hosts)
    assert mesh.device_ids.tolist() == [[0, 2], [1, 3]]


def test_a_device_says_where_it_stands():
    raw = SimpleNamespace(
        id=3, device_kind=V5E, process_index=0, coords=[1, 2, 0], core_on_chip=0, slice_index=1
    )
    device = Device(raw, SimpleNamespace(platform="tpu", devices=[raw]))
    assert (device.coords, device.core_on_chip, device.slice_index) == ([1, 2, 0], 0, 1)
    for name in ("coords", "core_on_chip"):
        assert not hasattr(functrax.devices("cpu")[0], name)


@pytest.mark.parametrize(
    "sizes", [(), (1,), (5,), (2, 3), (3, 2), (3, 3), (4, 1, 2), (3, 2, 3), (2, 2, 2, 3)], ids=str
)
def test_paths_and_rings(sizes):
    """All positions, once each, a step apart; rings are closed wherever a grid has one."""
    for way in (_path(sizes), _ring(sizes)):
        assert sorted(way) == list(np.ndindex(*sizes))
        assert all(sum(abs(p - q) for p, q in zip(a, b)) == 1 for a, b in itertools.pairwise(way))
    count, wide = math.prod(sizes), sum(size > 1 for size in sizes)
    if count % 2 == 0 and wide > 1:
        ring = _ring(sizes)
        assert sum(abs(p - q) for p, q in zip(ring[-1], ring[0])) == 1


# ---- beside JAX's


@pytest.mark.parametrize(
    ("kind", "sizes", "cores", "shape"),
    [
        (V5P, (4, 4, 4), 1, (4, 4, 4)),
        (V5P, (4, 4, 4), 1, (16, 4)),
        (V5P, (4, 4, 8), 1, (8, 16)),
        ("TPU v4", (4, 4, 4), 1, (4, 16)),
        ("TPU v4", (2, 2, 1), 1, (2, 2)),
    ],
    ids=str,
)
def test_each_axis_takes_the_dimensions_that_jax_gives_it(kind, sizes, cores, shape):
    """The order along an axis may differ: JAX's is row by row, ours a ring."""
    devices = tpu_slice(sizes, kind, cores)

    def extents(grid):
        found = []
        for axis in range(grid.ndim):
            row = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)[:, 0]
            places = np.array([d.coords for d in row])
            found.append(sorted(len(set(column)) for column in places.T))
        return found

    ours = mesh_utils.create_device_mesh(shape, devices)
    theirs = jax_mesh_utils.create_device_mesh(shape, devices)
    assert extents(ours) == extents(theirs)


def test_hybrid_meshes_are_those_of_jax():
    devices = [
        d for s in range(4) for d in tpu_slice((4, 4, 4), V5P, slice_index=3 - s, start=64 * s)
    ]
    for sort in (True, False):
        for shape, outer in (((16, 4), (2, 2)), ((4, 4, 4), (4, 1, 1)), ((16, 4), (1, 4))):
            arguments = (shape, outer, devices)
            ours = mesh_utils.create_hybrid_device_mesh(
                *arguments, should_sort_granules_by_key=sort
            )
            theirs = jax_mesh_utils.create_hybrid_device_mesh(
                *arguments, should_sort_granules_by_key=sort
            )
            assert ours.shape == theirs.shape
            of = np.vectorize(lambda d: d.slice_index)
            assert (of(ours) == of(theirs)).all()


def test_hybrid_meshes_of_processes():
    devices = [Fake(id=i, platform="cpu", process_index=i // 4, client=HERE) for i in range(8)]
    found = mesh_utils.create_hybrid_device_mesh((2, 2), (1, 2), devices, process_is_granule=True)
    assert [[d.id for d in row] for row in found] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert jax.devices()[0].platform == "cpu"


def test_contiguous_submeshes():
    # Hosts have 2x2 chips of the 4x4; the best rings do not keep those together.
    devices = tpu_slice((4, 4), V5E)
    for d in devices:
        d.process_index = d.coords[0] // 2 + 2 * (d.coords[1] // 2)
    found = mesh_utils.create_device_mesh((4, 4), devices, contiguous_submeshes=True)
    owners = np.vectorize(lambda d: d.process_index)(found)
    for process in range(4):
        rows, columns = np.nonzero(owners == process)
        assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == 4


# ---- bad input


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    lines = [entry.lineno for entry in caught.traceback if str(entry.path) == __file__]
    return str(caught.value).replace(f"{os.path.basename(__file__)}:{lines[-1] + 1}", "here")


def scattered():
    devices = tpu_slice((2, 2), V5E)
    devices[0].process_index = devices[3].process_index = 1
    return devices


MESSAGES = [
    (
        lambda: functrax.make_mesh((3, 3), ("a", "b")),
        errors.ShapeError,
        "[make_mesh] expected a mesh for the 8 devices; got shape (3, 3), which needs 9 (here). "
        "Give other sizes, or more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    (
        lambda: functrax.make_mesh((0, 2), ("a", "b")),
        errors.ShapeError,
        "[make_mesh] expected sizes of at least 1; got shape (0, 2) (here).",
    ),
    (
        lambda: functrax.make_mesh((2, 2), ("a", "a")),
        errors.ArgumentError,
        "[Mesh] expected axis_names that differ; got 'a' twice (here).",
    ),
    (
        lambda: mesh_utils.create_device_mesh((4,)),
        errors.ShapeError,
        "[create_device_mesh] expected mesh_shape whose product is 8, the number of devices; got "
        "(4,) (here).",
    ),
    (
        lambda: mesh_utils.create_device_mesh((2, 8), tpu_slice((4, 4), V5E)),
        errors.ArgumentError,
        "[create_device_mesh] expected a shape whose axes are products of whole dimensions; got "
        "(2, 8) for devices that stand as 4x4x1 (here). Pass allow_split_physical_axes=True.",
    ),
    (
        lambda: mesh_utils.create_device_mesh(
            (4,), scattered(), contiguous_submeshes=True, allow_split_physical_axes=True
        ),
        errors.ArgumentError,
        "[create_device_mesh] expected a shape whose grid holds the devices of each process as a "
        "box; got (4,) for devices that stand as 2x2x1 (here). Pass contiguous_submeshes=False.",
    ),
    (
        lambda: mesh_utils.create_device_mesh((2, 2), scattered(), contiguous_submeshes=True),
        errors.ArgumentError,
        "[create_device_mesh] expected a shape whose axes are products of whole dimensions and "
        "whose grid holds the devices of each process as a box; got (2, 2) for devices that stand "
        "as 2x2x1 (here). Pass allow_split_physical_axes=True or contiguous_submeshes=False.",
    ),
    (
        lambda: mesh_utils.create_hybrid_device_mesh((4,), (2,), scattered()),
        errors.ShapeError,
        "[create_hybrid_device_mesh] expected dcn_mesh_shape whose product is 1, the number of "
        "slices; got (2,) (here).",
    ),
    (
        lambda: mesh_utils.create_hybrid_device_mesh((4,), (1,), [Fake(id=0, platform="tpu")] * 4),
        errors.ArgumentError,
        "[create_hybrid_device_mesh] expected devices with slice_index; got tpu:0 (here). Pass "
        "process_is_granule=True.",
    ),
    (
        lambda: mesh_utils.create_hybrid_device_mesh((4,), (1, 1), scattered()),
        errors.ShapeError,
        "[create_hybrid_device_mesh] expected mesh_shape and dcn_mesh_shape of one length; got "
        "(4,) and (1, 1) (here).",
    ),
]


@pytest.mark.parametrize(("call", "kind", "expected"), MESSAGES)
def test_messages(call, kind, expected):
    assert message(call, kind) == expected


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize(("name", "shape"), [("v5e:4x4", (4, 4)), ("v5p:4x4x4", (16, 4))])
def test_a_topology_of_libtpu(name, shape, python):
    code = f"""
        import numpy as np
        from functrax.sharding.builder import device_grid
        from functrax.xla.topology import tpu_topology
        devices = tpu_topology({name!r}).devices
        grid = device_grid({shape!r}, devices, "make_mesh")
        near = lambda a, b: sum(min(abs(p - q), 4 - abs(p - q)) for p, q in zip(a.coords, b.coords))
        print(grid.shape, max(near(a, b) for row in grid for a, b in zip(row, row[1:])))
    """
    assert python(code) == f"{shape} 1"
