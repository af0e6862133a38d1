"""Shardings in the runtime's terms, and the compiler's in the user's."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrax import errors
from functrax.runtime.devices import Device
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import (
    DEFAULT_KIND,
    NamedSharding,
    Sharding,
    SingleDeviceSharding,
    sharding_of_tiles,
    tiles,
)
from functrax.xla import buffers

Place = Any
"""Where an array is: a `Device`, or a `NamedSharding` over several."""


@dataclass(frozen=True, eq=False, slots=True)
class Shard:
    """The part of an array that one device holds.

    Attributes:
        device: the device.
        index: tuple of slices, which part of the whole it is.
        replica_id: its number among equal parts.
        data: the part, an array on that device alone; None for one of another process.
    """

    device: Device
    index: tuple[slice, ...]
    replica_id: int
    data: Any  # a DeviceArray, of which this module knows nothing


_raw: dict[tuple[Sharding, int, Mesh | None], buffers.RawSharding] = {}
_named: dict[tuple[Mesh, buffers.RawSharding, int], NamedSharding] = {}


def devices_at(place: Place) -> tuple[Device, ...]:
    """Return the devices of a place."""
    return (place,) if type(place) is Device else place.device_tuple


def sharding_at(place: Place) -> Sharding:
    """Return the sharding of an array at a place."""
    return SingleDeviceSharding(place) if type(place) is Device else place


def raw_sharding(
    sharding: NamedSharding, ndim: int, mesh: Mesh | None = None
) -> buffers.RawSharding:
    """Return jaxlib's form of a sharding.

    Args:
        sharding: the sharding.
        ndim: the rank of the arrays, as buffers (a key has its words as last dimension).
        mesh: a mesh of the same devices in whose order they are to be listed; by default the
            sharding's own.
    """
    mesh = None if mesh is not None and mesh.device_tuple == sharding.device_tuple else mesh
    key = (sharding, ndim, mesh)
    found = _raw.get(key)
    if found is None:
        devices = [device.raw for device in (mesh or sharding).device_tuple]
        spec = buffers.hlo_sharding(_tiles_text(sharding, ndim, mesh))
        kind = None if sharding.memory_kind == DEFAULT_KIND else sharding.memory_kind
        found = _raw[key] = buffers.raw_sharding(devices, spec, kind)
    return found


def _tiles_text(sharding: NamedSharding, ndim: int, mesh: Mesh | None) -> str:
    counts, sizes, order = tiles(sharding, ndim)
    if math.prod(counts[:-1]) == 1:
        return "{replicated}"
    shape = ",".join(map(str, counts if counts[-1] > 1 else counts[:-1]))
    last = " last_tile_dim_replicate" if counts[-1] > 1 else ""
    if mesh is None:
        shape_of_mesh = ",".join(map(str, sizes))
        numbers = f"<=[{shape_of_mesh}]T({','.join(map(str, order))})"
        if order == sorted(order):
            numbers = f"<=[{math.prod(sizes)}]"
    else:
        position = {device: i for i, device in enumerate(mesh.device_tuple)}
        grid = np.array([position[d] for d in sharding.device_tuple]).reshape(sizes)
        numbers = ",".join(map(str, grid.transpose(order).reshape(-1)))
    return f"{{devices=[{shape}]{numbers}{last}}}"


def named_sharding(mesh: Mesh, raw: buffers.RawSharding, ndim: int) -> NamedSharding:
    """Return the sharding that the compiler chose, in terms of a mesh, in whose order it is."""
    key = (mesh, raw, ndim)
    found = _named.get(key)
    if found is None:
        counts, numbers = buffers.tiles_of(raw, ndim)
        named = sharding_of_tiles(mesh, counts, numbers)
        if named is None:
            # Of a constraint over a mesh with the devices in another order: take the tiles' own.
            order = np.array(mesh.device_tuple, object)[numbers.reshape(-1)]
            mesh = Mesh(order.reshape(mesh.axis_sizes), mesh.axis_names)
            named = sharding_of_tiles(mesh, counts, np.arange(mesh.size))
        if named is None:
            raise errors.InternalError("compile", f"a sharding over {mesh!r}", f"{counts}")
        found = _named[key] = named
    return found
