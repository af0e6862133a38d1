"""Sharing arrays with other libraries through DLPack, without copying where that can be."""

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from functrax.errors import ArgumentError, DtypeError
from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.buffers import (
    NDArray,
    RawBuffer,
    RawDevice,
    copy_to_device,
    device_of,
    put,
    single_device_sharding,
    with_type,
)
from functrax.xla.failure import translate
from functrax.xla.isolation import no_jax

CPU, CUDA = 1, 2  # DLPack's numbers for kinds of devices

# DLPack's type codes, with the dtype for each number of bits.
_INTEGER, _UNSIGNED, _FLOAT, _BFLOAT, _COMPLEX, _BOOL = 0, 1, 2, 4, 5, 6
_DTYPES: dict[tuple[int, int], np.dtype[Any]] = {
    **{(_INTEGER, bits): np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{(_UNSIGNED, bits): np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{(_FLOAT, bits): np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{(_COMPLEX, bits): np.dtype(f"complex{bits}") for bits in (64, 128)},
    (_BFLOAT, 16): np.dtype(ml_dtypes.bfloat16),
    (_BOOL, 8): np.dtype(bool),
    (7, 8): np.dtype(ml_dtypes.float8_e3m4),
    (8, 8): np.dtype(ml_dtypes.float8_e4m3),
    (9, 8): np.dtype(ml_dtypes.float8_e4m3b11fnuz),
    (10, 8): np.dtype(ml_dtypes.float8_e4m3fn),
    (11, 8): np.dtype(ml_dtypes.float8_e4m3fnuz),
    (12, 8): np.dtype(ml_dtypes.float8_e5m2),
    (13, 8): np.dtype(ml_dtypes.float8_e5m2fnuz),
    (14, 8): np.dtype(ml_dtypes.float8_e8m0fnu),
}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What a capsule holds; strides in bytes. The memory is there as long as the capsule."""

    address: int
    on_cpu: bool
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    def is_row_major(self) -> bool:
        expected = self.dtype.itemsize
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return 0 in self.shape
            expected *= size
        return True

    def view(self) -> NDArray:
        """Return the values on the CPU, of any strides."""
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        reach = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        below = sum(-one for one in reach if one < 0)
        above = sum(one for one in reach if one > 0) + self.dtype.itemsize
        memory: Any = (ctypes.c_char * (below + above)).from_address(self.address - below)
        return np.ndarray(self.shape, self.dtype, memory, below, self.strides)


def to_dlpack(buffer: RawBuffer, stream: int | None = None) -> Any:
    """Return a DLPack capsule that shares the memory of a one-device buffer.

    Args:
        buffer: the buffer, which the capsule keeps alive.
        stream: the CUDA stream that the consumer will read on.

    Raises:
        FunctraxError: the buffer was deleted, or its dtype is not in DLPack.
    """
    try:
        return jax.buffer_to_dlpack_managed_tensor(buffer, stream)
    except JaxRuntimeError as error:
        if "deleted" in str(error):
            raise translate(error, "__dlpack__") from None
        raise DtypeError("__dlpack__", "a dtype that DLPack has", str(error)) from None


def dlpack_device(buffer: RawBuffer) -> tuple[int, int]:
    """Return kind and number of a buffer's device in DLPack's terms.

    Raises:
        ArgumentError: DLPack does not know the platform.
    """
    device = device_of(buffer)
    if device.platform == "cpu":
        return CPU, 0
    if device.platform == "gpu":
        return CUDA, device.local_hardware_id
    raise ArgumentError("__dlpack_device__", "an array on a CPU or GPU", device.platform)


def import_stream(device: RawDevice) -> int | None:
    """Return the CUDA stream on which an exporter must make its values ready for `from_dlpack`."""
    try:
        return device.get_stream_for_external_ready_events()
    except JaxRuntimeError:  # the platform has none: the exporter waits
        return None


def from_dlpack(
    source: Any, device: RawDevice, copy: bool | None = None
) -> tuple[RawBuffer, tuple[int, ...], np.dtype[Any]]:
    """Return an array of another library as a buffer, sharing its memory if the layout allows.

    Args:
        source: an object with ``__dlpack__``, or a capsule.
        device: where the buffer is to be; the array must be on it already.
        copy: True always copies, False never (an error if it must), None only if it must.

    Returns:
        The buffer, its shape and its dtype.

    Raises:
        ArgumentError: the array cannot be taken over.
        DtypeError: functrax has no such dtype.
    """
    capsule = source.__dlpack__() if hasattr(source, "__dlpack__") else source
    tensor = _read(capsule)
    row_major = tensor.is_row_major()
    if tensor.on_cpu and copy is not False and (copy or not row_major):
        return put(tensor.view(), device), tensor.shape, tensor.dtype
    if not row_major:
        # jaxlib would keep the layout, and programs, which expect rows, would read it wrongly.
        got = f"shape {tensor.shape} with strides of {tensor.strides} bytes"
        fix = "Make it contiguous first, or allow a copy."
        raise ArgumentError("from_dlpack", "an array stored by rows", got, fix=fix)
    buffer = with_type(
        _take_over(capsule, device, copy),
        tensor.shape,
        tensor.dtype,
        single_device_sharding(device),
    )
    if copy:
        buffer = copy_to_device(buffer, device)
    return buffer, tensor.shape, tensor.dtype


def _take_over(capsule: Any, device: RawDevice, copy: bool | None) -> RawBuffer:
    try:
        with no_jax():
            return jax.dlpack_managed_tensor_to_buffer(capsule, device, None, copy)
    except (JaxRuntimeError, ValueError, TypeError) as error:
        raise ArgumentError("from_dlpack", f"an array on {device}", str(error)) from None


def _read(capsule: Any) -> _Tensor:
    """Read what jaxlib does not tell: a buffer made from a capsule does not know its own type."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        raw = _DLTensor.from_address(get_pointer(capsule, b"dltensor"))
    except (ValueError, ctypes.ArgumentError) as error:
        got = f"{capsule!r}: {error}"
        raise ArgumentError("from_dlpack", "a fresh DLPack capsule", got) from None
    dtype = _DTYPES.get((raw.code, raw.bits)) if raw.lanes == 1 else None
    if dtype is None:
        got = f"DLPack type code {raw.code} of {raw.bits} bits, {raw.lanes} lanes"
        raise DtypeError("from_dlpack", "a dtype that XLA can compute with", got)
    shape = tuple(raw.shape[: raw.ndim])
    if raw.strides:
        strides = tuple(stride * dtype.itemsize for stride in raw.strides[: raw.ndim])
    else:  # none means: by rows
        strides = tuple(math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape)))
    address = (raw.data or 0) + raw.byte_offset
    return _Tensor(address, raw.device_type == CPU, shape, strides, dtype)
