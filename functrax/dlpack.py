"""Sharing arrays with other libraries (NumPy, PyTorch, CuPy, JAX) through DLPack."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core.types import ShapedArray
from functrax.runtime.array import DeviceArray, device_array, put_numpy
from functrax.runtime.devices import Device, devices
from functrax.runtime.layout import Place
from functrax.runtime.transfer import place
from functrax.transforms.placement import as_device
from functrax.xla import dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def __dir__() -> list[str]:
    return __all__


CALL = "from_dlpack"


def from_dlpack(external_array: Any, device: Any = None, copy: bool | None = None) -> DeviceArray:
    """Return an array of another library, sharing its memory if it can be.

    The memory is shared if the elements lie row by row and start at a multiple of 64 bytes. It must
    then not be written to as long as the result, or anything being computed from it, is in use. It
    is kept alive as long as it is needed.

    Args:
        external_array: an object with ``__dlpack__`` and ``__dlpack_device__``.
        device: a `Device` or platform to have the array on; where it is by default.
        copy: True always copies, False never (an error if it must), None only if it must.

    Returns:
        An array of the same shape and dtype; 64-bit dtypes stay.

    Raises:
        ArgumentError: if it has no ``__dlpack__``, or cannot be shared and copy is False.
        DtypeError: if functrax has no such dtype.
        DeviceError: if it is on a kind of device that is not here.

    Example:
        >>> import numpy as np
        >>> from_dlpack(np.arange(3))
        Array([0, 1, 2], dtype=int64)

    Source: Python array API standard, "from_dlpack".
    """
    if not hasattr(external_array, "__dlpack__"):
        raise errors.ArgumentError(
            CALL,
            "an array with __dlpack__ and __dlpack_device__",
            errors.a_value(external_array),
            fix="A capsule alone does not say where it is: pass the array.",
        )
    wanted = None if device is None else as_device(device, CALL)
    here = _device_of(external_array, wanted)
    if wanted is not None and wanted is not here and copy is False:
        raise errors.ExchangeError(CALL, f"an array on {wanted}, or to copy it", f"one on {here}")
    array = _imported(external_array, here, copy)
    return array if wanted in (None, here) else place(array, wanted)


def _device_of(external: Any, wanted: Place | None) -> Device:
    """Return the device of ours where an array of another library is."""
    kind, number = external.__dlpack_device__()
    if kind == dlpack.CPU:
        if isinstance(wanted, Device) and wanted.platform == "cpu":
            return wanted
        return devices("cpu")[0]
    if kind == dlpack.CUDA:
        for device in devices("gpu"):
            if device.raw.local_hardware_id == number:
                return device
    raise errors.DeviceError(
        CALL, "an array on a CPU or a visible NVIDIA GPU", f"DLPack device {(int(kind), number)}"
    )


def _imported(external: Any, device: Device, copy: bool | None) -> DeviceArray:
    if isinstance(external, np.ndarray) and not external.flags.writeable:
        return _read_only(external, device, copy)
    options: dict[str, Any] = {}
    if device.platform == "gpu":
        options["stream"] = dlpack.import_stream(device.raw)
    capsule = external.__dlpack__(**options)
    buffer, shape, dtype = dlpack.from_dlpack(capsule, device.raw, copy)
    return device_array(ShapedArray(shape, dtype), buffer, device)


def _read_only(array: np.ndarray[Any, Any], device: Device, copy: bool | None) -> DeviceArray:
    """Take over an array that NumPy does not export, as old capsules cannot say *read-only*."""
    if copy is False and not array.flags.c_contiguous:
        raise errors.ArgumentError(CALL, "an array stored by rows, or to copy it", "another layout")
    aval = ShapedArray(array.shape, array.dtype)
    return put_numpy(array, aval, device, False, copy=copy is True)


def to_dlpack(
    x: Any,
    stream: Any = None,
    *,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """Return a DLPack capsule of an array; most libraries take the array itself.

    Args:
        x: an array.
        stream: on a GPU, the number of the CUDA stream that will read.
        max_version: the newest form that the reader knows.
        dl_device: DLPack's type and number of the device to export to; the array's by default.
        copy: True for memory of its own, False never to copy, None to copy only if it must.

    Returns:
        A capsule, to be consumed once.

    Raises:
        ArgumentError: if x is not an array.
        ExchangeError: if it cannot be had on that device, or not without a copy.

    Example:
        >>> import functrax.numpy as jnp
        >>> type(to_dlpack(jnp.arange(3))).__name__
        'PyCapsule'
    """
    if type(x) is not DeviceArray:
        got = errors.a_value(x)
        raise errors.ArgumentError("to_dlpack", "a concrete array", got)
    return x.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
