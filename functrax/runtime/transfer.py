"""Arrays between devices and the host, in whole pytrees."""

from contextlib import nullcontext
from typing import Any

import numpy as np

from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.source import current_source
from functrax.core.trace import Value
from functrax.core.types import Literal
from functrax.runtime.array import DeviceArray, Gone, device_array, put_numpy
from functrax.runtime.devices import Device, default_device
from functrax.runtime.dispatch import as_device_type, as_numpy, convert, from_numpy
from functrax.runtime.guards import check_transfer
from functrax.runtime.layout import devices_at
from functrax.runtime.partitioned import gathered, put, put_parts
from functrax.sharding.shardings import NamedSharding
from functrax.xla import buffers

CALL = "device_put"


def place(
    x: Any,
    device: Device | NamedSharding | None,
    donate: bool = False,
    may_alias: bool | None = None,
) -> DeviceArray:
    """Return one array or number on a device, or on several.

    Args:
        x: an array, NumPy array or number; not traced.
        device: where to, which commits the result; None leaves an array where it is.
        donate: whether to give up an array that is moved.
        may_alias: True may share the memory of a NumPy array, which must then never change; False
            never shares memory; None shares that of arrays, which cannot change.

    Raises:
        ArgumentError: if it is not an array or number.
        DonatedError: if it has no memory any more.
    """
    if type(x) is DeviceArray:
        return _moved(x, device, donate, may_alias)
    if isinstance(device, NamedSharding):
        if isinstance(x, np.ndarray | np.generic):
            check_transfer("host_to_device", CALL, x, explicit=True)
            value, aval = as_device_type(as_numpy(x, CALL), CALL)
            return put_parts(value, aval, device, not may_alias)
        return _moved(convert(x, CALL), device, donate, may_alias)
    if isinstance(x, np.ndarray | np.generic):
        return from_numpy(as_numpy(x, CALL), CALL, device=device, copy=not may_alias)
    value = x if type(x) is Literal else convert(x, CALL)
    if type(value) is Literal:
        on = device or default_device()
        return put_numpy(value.numpy(), value.aval, on, device is not None)
    return _moved(value, device, donate, may_alias)


def _moved(
    x: Value, device: Device | NamedSharding | None, donate: bool, may_alias: bool | None
) -> DeviceArray:
    if type(x) is DeviceArray and (type(x.device) is not Device or type(device) is NamedSharding):
        return _moved_between(x, device or x.device, donate, may_alias)
    if isinstance(device, NamedSharding):
        return put(x, device)
    if device is None and not donate and may_alias is not False:
        x.live_buffer(CALL)
        return x
    target = device or x.device
    buffer = moved = x.live_buffer(CALL)
    if target is not x.device:
        check_transfer("device_to_device", CALL, x.aval, explicit=True)
    if target is not x.device or (may_alias is False and not donate):
        moved = buffers.copy_to_device(buffer, target.raw)
    if donate:
        if moved is not buffer:
            buffers.delete(buffer)
        x.buffer = Gone("donated to 'device_put'", current_source(""))
    return device_array(x.aval, moved, target, x.committed or device is not None)


def _moved_between(
    x: DeviceArray, place: Device | NamedSharding, donate: bool, may_alias: bool | None
) -> DeviceArray:
    """Move an array that is, or is to be, on several devices."""
    if place is x.device and not donate and may_alias is not False:
        return x if x.committed else device_array(x.aval, x.live_buffer(CALL), place, True)
    x.live_buffer(CALL)
    moved = put(x, place) if isinstance(place, NamedSharding) else gathered(x, place)
    if donate:
        x.buffer = Gone("donated to 'device_put'", current_source(""))
    elif may_alias is False and moved is x:
        return x.copy()
    return moved


def device_get(x: Any) -> Any:
    """Return the values of arrays as NumPy arrays, waiting for them.

    Args:
        x: pytree of arrays; other leaves are returned as they are.

    Returns:
        The same tree of read-only NumPy arrays; on the CPU they share the arrays' memory. PRNG keys
        stay what they are.

    Raises:
        TracerArrayError: for a traced value.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.device_get({"a": jnp.arange(3), "b": "text"})
        {'a': array([0, 1, 2], dtype=int32), 'b': 'text'}
    """
    leaves, structure = tree.flatten(x)
    for a in leaves:
        if type(a) is DeviceArray and devices_at(a.device)[0].platform != "cpu":
            check_transfer("device_to_host", "device_get", a.aval, explicit=True)
            a.copy_to_host_async()
    guarded = config.transfer_guard_device_to_host is not None
    with config.scope(transfer_guard_device_to_host="allow") if guarded else nullcontext():
        return structure.unflatten([np.asarray(a) if _is_numbers(a) else a for a in leaves])


def _is_numbers(leaf: Any) -> bool:
    """Tell whether a leaf is an array that NumPy can hold; PRNG keys are not."""
    return hasattr(leaf, "aval") and not dtypes.is_extended(leaf.aval.dtype)


def block_until_ready(x: Any) -> Any:
    """Wait until arrays hold their values.

    Args:
        x: pytree of arrays; other leaves are passed over.

    Returns:
        The same tree.

    Raises:
        FunctraxError: if a computation failed.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.block_until_ready([jnp.arange(3)])
        [Array([0, 1, 2], dtype=int32)]
    """
    waiting: list[Any] = []
    for leaf in tree.leaves(x):
        if type(leaf) is DeviceArray:
            buffer = leaf.buffer
            waiting.append(leaf.live_buffer("waiting") if type(buffer) is Gone else buffer)
        elif hasattr(leaf, "block_until_ready"):
            leaf.block_until_ready()
    buffers.block_until_ready(waiting)
    return x
