"""Arrays over several devices made of parts: of a function of places, of arrays, of this process's
data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integers
from functrax.core.types import ShapedArray
from functrax.runtime.array import DeviceArray, joined
from functrax.runtime.devices import Device, check_here
from functrax.runtime.transfer import place
from functrax.sharding.mesh import is_local
from functrax.sharding.shardings import NamedSharding, Sharding, SingleDeviceSharding


def make_array_from_callback(
    shape: Sequence[int],
    sharding: Sharding,
    data_callback: Callable[[tuple[slice, ...]], Any],
    dtype: Any = None,
) -> DeviceArray:
    """Make an array of the parts that a function returns.

    Args:
        shape: of the whole array.
        sharding: how it is to lie.
        data_callback: takes a tuple of slices, and returns that part: an array or nested lists. It
            is called once for each part that devices of this process hold.
        dtype: of the array; by default that of the parts.

    Returns:
        The array.

    Raises:
        ShapeError: if the sharding does not divide the shape, or a part has another one.
        DtypeError: if parts differ in dtype.

    Example:
        >>> import functrax, numpy as np
        >>> from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P
        >>> rows = NamedSharding(Mesh(functrax.devices("cpu")[:1], "x"), P("x"))
        >>> whole = np.arange(4)
        >>> functrax.make_array_from_callback((4,), rows, lambda index: whole[index])
        Array([0, 1, 2, 3], dtype=int32)
    """
    call = "make_array_from_callback"
    shape = integers(call, "shape", shape)
    wanted = None if dtype is None else dtypes.canonicalize(dtype)
    _checked(sharding, shape, call)
    made: dict[Any, Any] = {}
    parts: list[DeviceArray] = []
    for device, index in sharding.devices_indices_map(shape).items():
        if not is_local(device):
            continue
        key = tuple((part.start, part.stop) for part in index)
        if key not in made:
            value = data_callback(index)
            is_array = hasattr(value, "dtype")
            made[key] = value if is_array and wanted is None else np.asarray(value, wanted)
        parts.append(place(made[key], device))
    return _assembled(shape, sharding, parts, call)


def make_array_from_single_device_arrays(
    shape: Sequence[int], sharding: Sharding, arrays: Sequence[Any], *, dtype: Any = None
) -> DeviceArray:
    """Make an array of arrays on the devices of this process, which share their memory with it.

    Args:
        shape: of the whole array.
        sharding: how it lies.
        arrays: one for each device of this process, in any order.
        dtype: of the array; by default that of the parts.

    Returns:
        The array.

    Raises:
        DeviceError: if there is not one array on each device.
        ShapeError: if the sharding does not divide the shape, or a part has another one.
        DtypeError: if parts differ in dtype.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P
        >>> rows = NamedSharding(Mesh(functrax.devices("cpu")[:1], "x"), P("x"))
        >>> functrax.make_array_from_single_device_arrays((3,), rows, [jnp.arange(3)])
        Array([0, 1, 2], dtype=int32)
    """
    call = "make_array_from_single_device_arrays"
    shape = integers(call, "shape", shape)
    _checked(sharding, shape, call)
    held = {x.device: x for x in arrays if type(x) is DeviceArray and type(x.device) is Device}
    local = [device for device in sharding.device_tuple if is_local(device)]
    if len(held) != len(arrays) or held.keys() != set(local):
        got = ", ".join(sorted(str(device) for device in held)) or "none"
        raise errors.DeviceError(
            call,
            f"one array on each of {', '.join(map(str, local))}",
            f"{len(arrays)} arrays, on {got}",
            fix="Place each part with `device_put(part, device)`.",
        )
    parts = [held[device] for device in local]
    wanted = None if dtype is None else dtypes.canonicalize(dtype)
    if wanted is not None and any(part.dtype != wanted for part in parts):
        found = next(part.dtype for part in parts if part.dtype != wanted)
        raise errors.DtypeError(call, f"parts of dtype {wanted}", str(found))
    return _assembled(shape, sharding, parts, call)


def make_array_from_process_local_data(
    sharding: Sharding, local_data: Any, global_shape: Sequence[int] | None = None
) -> DeviceArray:
    """Make an array of the data that this process has of it.

    Args:
        sharding: how the array is to lie.
        local_data: what this process holds, as one NumPy array; with a single process the whole.
        global_shape: the shape of the whole array; needed only if there are several processes.

    Returns:
        The array.

    Raises:
        ShapeError: if the shape is another one, or not divisible.
        DeviceError: if the sharding has devices of other processes.

    Example:
        >>> import functrax, numpy as np
        >>> from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P
        >>> rows = NamedSharding(Mesh(functrax.devices("cpu")[:1], "x"), P("x"))
        >>> functrax.make_array_from_process_local_data(rows, np.ones(2))
        Array([1., 1.], dtype=float32)
    """
    call = "make_array_from_process_local_data"
    data = np.asarray(local_data)
    if not sharding.is_fully_addressable:
        raise errors.DeviceError(call, "devices of this process", f"{sharding!r}")
    if global_shape is not None and tuple(global_shape) != data.shape:
        expected = f"data of the global shape {tuple(global_shape)}, as there is one process"
        raise errors.ShapeError(call, expected, str(data.shape))
    _checked(sharding, data.shape, call)
    on = sharding.device if isinstance(sharding, SingleDeviceSharding) else sharding
    return place(data, on)  # pyright: ignore[reportArgumentType]


def _checked(sharding: Any, shape: tuple[int, ...], call: str) -> None:
    if isinstance(sharding, NamedSharding):
        sharding.check_shape(shape, call)
    elif not isinstance(sharding, SingleDeviceSharding):
        got = f"{sharding!r} of type {errors.type_name(sharding)}"
        raise errors.ArgumentError(call, "a sharding", got)
    check_here(sharding.device_tuple, call)


def _assembled(
    shape: tuple[int, ...], sharding: Sharding, parts: Sequence[DeviceArray], call: str
) -> DeviceArray:
    """Join the parts of this process, in the order of the sharding."""
    expected = sharding.shard_shape(shape)
    first = parts[0].aval
    for part in parts:
        if part.shape != expected:
            got = f"{part.aval!r} on {part.device}"
            raise errors.ShapeError(call, f"parts of shape {expected}", got)
        if part.dtype != first.dtype:
            got = f"{first!r} and {part.aval!r}"
            raise errors.DtypeError(call, "parts of one dtype", got)
    if not isinstance(sharding, NamedSharding):
        return parts[0]
    aval = ShapedArray(shape, first.dtype)
    return joined(aval, sharding, [part.live_buffer(call) for part in parts])
