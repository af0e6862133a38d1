"""Copies of a pytree on all devices, as training scripts around `pmap` keep their state."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.trace import Tracer, as_value
from functrax.primitives.join import concatenate
from functrax.primitives.rules import broadcast_to, expand_axis
from functrax.runtime.array import joined
from functrax.runtime.devices import Device, local_devices
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import NamedSharding
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.flat import as_array, path_of, shown
from functrax.transforms.placement import device_put

AXIS = "replicas"


def replicate(tree: Any, devices: Sequence[Device] | None = None) -> Any:
    """Copy a pytree to several devices, with a leading axis of one position for each.

    Args:
        tree: pytree of arrays and numbers of any shape and dtype, PRNG keys included.
        devices: where to, in order; by default all of this process.

    Returns:
        The same tree of arrays of shape (number of devices, *shape), which `pmap` takes as they
        are.

    Raises:
        ArgumentError: for leaves that are not arrays or numbers, or if devices are not such.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> state = functrax.replicate({"w": jnp.arange(3)}, functrax.devices("cpu")[:1])
        >>> state["w"].shape
        (1, 3)
    """
    return _replicated("replicate", tree, local_devices() if devices is None else devices)


def unreplicate(tree: Any) -> Any:
    """Return the first position of every array of a replicated pytree, without communication.

    Args:
        tree: pytree of arrays with a leading axis, as `replicate` and `pmap` return them.

    Returns:
        The same tree of arrays without the leading axis.

    Raises:
        ShapeError: for a leaf without axes.
        BoundsError: for one whose leading axis is empty.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> state = functrax.replicate({"w": jnp.arange(3)}, functrax.devices("cpu")[:1])
        >>> functrax.unreplicate(state)["w"]
        Array([0, 1, 2], dtype=int32)
    """
    return _first(tree)


def device_put_replicated(x: Any, devices: Sequence[Device]) -> Any:
    """Copy a pytree to several devices: `replicate`, by the name that JAX had for it.

    Args:
        x: pytree of arrays and numbers.
        devices: where to, in order.

    Returns:
        The same tree of arrays of shape (number of devices, *shape).

    Raises:
        ArgumentError: as `replicate`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.device_put_replicated(jnp.arange(3), functrax.devices("cpu")[:1]).shape
        (1, 3)
    """
    return _replicated("device_put_replicated", x, devices)


def device_put_sharded(shards: Sequence[Any], devices: Sequence[Device]) -> Any:
    """Put each of several pytrees on a device of its own, stacked along a new leading axis.

    Args:
        shards: pytrees of one structure, of arrays and numbers of the same shapes and dtypes.
        devices: one for each shard, in order.

    Returns:
        The tree of arrays of shape (number of shards, *shape).

    Raises:
        ArgumentError: if there are not as many devices as shards, or leaves differ in type.
        TreeError: if the shards differ in structure.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.device_put_sharded([jnp.arange(3)], functrax.devices("cpu")[:1]).shape
        (1, 3)
    """
    call = "device_put_sharded"
    place = _place(call, devices)
    if not isinstance(shards, Sequence):
        raise errors.ArgumentError(call, "a sequence of shards", shown(shards))
    if len(shards) != len(devices):
        expected = f"a shard for each of the {len(devices)} devices"
        raise errors.ArgumentError(call, expected, f"{len(shards)} shards")
    structure = tree.structure(shards[0])
    for index, shard in enumerate(shards):
        if tree.structure(shard) != structure:
            got = f"{structure} and, as shard {index}, {tree.structure(shard)}"
            raise errors.TreeError(call, "shards of one structure", got)
    rows = zip(*[tree.leaves(shard) for shard in shards], strict=True)
    return structure.unflatten(
        [_stacked(call, row, place, path_of(structure, i)) for i, row in enumerate(rows)]
    )


def _place(call: str, devices: Sequence[Device]) -> NamedSharding:
    """Return the sharding of a leading axis over devices.

    Raises:
        ArgumentError: if they are not devices, or there is none.
    """
    found = list(devices) if isinstance(devices, Sequence) else [devices]
    if not found or not all(isinstance(device, Device) for device in found):
        raise errors.ArgumentError(call, "a sequence of devices", shown(devices))
    return NamedSharding(Mesh(np.array(found, dtype=object), AXIS), PartitionSpec(AXIS))


def _replicated(call: str, x: Any, devices: Sequence[Device]) -> Any:
    place = _place(call, devices)
    # Each device gets its copy and calls it its row: no device ever holds all of them.
    everywhere = NamedSharding(place.mesh, PartitionSpec())

    def one(leaf: Any) -> Any:
        value = as_array(expand_axis(as_value(leaf, call), 0))
        if isinstance(value, Tracer):
            whole = broadcast_to(value, (len(devices), *value.shape[1:]))
            return device_put(as_array(whole), place)
        row = device_put(value, everywhere)
        aval = row.aval.update(shape=(len(devices), *row.aval.shape[1:]))
        return joined(aval, place, row.parts("replicating it"))

    return tree.map(one, x)


def _first(x: Any) -> Any:
    def one(leaf: Any) -> Any:
        row = as_array(as_value(leaf, "unreplicate"))
        if not row.ndim:
            got = f"{row.aval!r}"
            raise errors.ShapeError("unreplicate", "arrays with a leading axis of positions", got)
        return row[0]

    return tree.map(one, x)


def _stacked(call: str, row: Sequence[Any], place: NamedSharding, path: str) -> Any:
    rows: list[Any] = []
    for leaf, device in zip(row, place.device_tuple, strict=True):
        if isinstance(leaf, np.ndarray):  # straight to its device
            rows.append(device_put(leaf[None], device))
        else:
            one = as_array(expand_axis(as_value(leaf, call), 0))
            rows.append(one if isinstance(one, Tracer) else device_put(one, device))
    for index, one in enumerate(rows):
        if one.aval.strong() is not rows[0].aval.strong():
            types = [x.aval.update(shape=x.aval.shape[1:]) for x in (rows[0], one)]
            got = f"{types[0]!r} and, in shard {index}, {types[1]!r}"
            raise errors.ArgumentError(call, f"shards of one type{path and f' at {path}'}", got)
    if any(isinstance(one, Tracer) for one in rows):
        return device_put(as_array(concatenate(rows, 0)), place)
    aval = rows[0].aval.update(shape=(len(rows), *rows[0].shape[1:]), weak_type=False)
    return joined(aval, place, [one.live_buffer(call) for one in rows])
