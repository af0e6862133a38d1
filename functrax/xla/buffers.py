"""Arrays on devices: put, read back, copy, delete.

A raw buffer is jaxlib's C++ array. It checks little, imports `jax` behind our back if it can, and
must never reach a user; everything that touches one goes through this file.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from functrax.errors import DonatedError, DtypeError
from functrax.xla._native import JaxRuntimeError, hlo, jax
from functrax.xla.failure import translate
from functrax.xla.isolation import no_jax
from functrax.xla.versions import HANDLER_TAKES_SKIP_CHECKS

RawBuffer: TypeAlias = Any
RawDevice: TypeAlias = Any
RawSharding: TypeAlias = Any
HloSharding: TypeAlias = Any
ResultHandler: TypeAlias = Any

NDArray: TypeAlias = np.ndarray[Any, Any]


class Aval:
    """All that jaxlib's C++ reads from the type of an array."""

    __slots__ = ("dtype", "shape", "weak_type")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Hold a shape and a dtype."""
        self.shape = shape
        self.dtype = dtype
        self.weak_type = False


_replicated = hlo.HloSharding.replicate()
_shardings: dict[Any, RawSharding] = {}
_single: dict[RawDevice, RawSharding] = {}


def raw_sharding(
    devices: Sequence[RawDevice], spec: HloSharding | None = None, memory_kind: str | None = None
) -> RawSharding:
    """Return how an array lies on devices: the same object for the same arguments.

    Args:
        devices: the devices, in the order of the sharding.
        spec: which part of the array each device holds; all of it by default.
        memory_kind: ``"device"``, ``"pinned_host"``, ``"unpinned_host"`` or None, the default one.
    """
    key = (tuple(devices), spec or _replicated, memory_kind)
    found = _shardings.get(key)
    if found is None:
        found = jax.GSPMDSharding(jax.DeviceList(key[0]), key[1], memory_kind=memory_kind)
        _shardings[key] = found
    return found


def hlo_sharding(text: str) -> HloSharding:
    """Return an HLO sharding, such as ``"{devices=[4,2]<=[8]}"``, from its text."""
    return hlo.HloSharding.from_string(text)


def tiles_of(sharding: RawSharding, ndim: int) -> tuple[list[int], NDArray]:
    """Return how a sharding divides arrays.

    Returns:
        The number of parts along each of the `ndim` dimensions, and last how many devices hold each
        part; and the numbers of the devices, those that hold the same part side by side.
    """
    spec = sharding._hlo_sharding
    devices = len(sharding._internal_device_list)
    if spec.is_replicated() or spec.is_maximal():
        return [1] * ndim + [devices], np.arange(devices)
    counts = list(spec.tile_assignment_dimensions())
    if not spec.replicate_on_last_tile_dim():
        counts.append(1)
    return counts, np.array(spec.tile_assignment_devices())


def single_device_sharding(device: RawDevice) -> RawSharding:
    """Return the sharding of an array that lies on one device."""
    found = _single.get(device)
    if found is None:
        found = _single[device] = raw_sharding((device,))
    return found


def result_handler(
    shape: tuple[int, ...], dtype: np.dtype[Any], sharding: RawSharding
) -> ResultHandler:
    """Return what turns one output of an execution into a raw buffer of this type."""
    extra = (True,) if HANDLER_TAKES_SKIP_CHECKS else ()
    return jax.array_result_handler(Aval(shape, dtype), sharding, True, *extra)


_COPY = jax.HostBufferSemantics.IMMUTABLE_ONLY_DURING_CALL
_ALIAS = jax.HostBufferSemantics.ZERO_COPY
_put = jax.batched_device_put


def put(array: NDArray, device: RawDevice, copy: bool = True) -> RawBuffer:
    """Put a NumPy array on a device.

    Args:
        array: any shape, layout and byte order; any dtype that XLA has.
        device: where to.
        copy: False lets the CPU keep using the array's memory, which must then never change.

    Raises:
        DtypeError: XLA has no such dtype.
    """
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    sharding = _single.get(device) or single_device_sharding(device)
    aval = Aval(array.shape, array.dtype)
    semantics = _COPY if copy else _ALIAS
    try:
        return _put(aval, sharding, (array,), (device,), True, False, semantics, True)
    except (TypeError, ValueError, JaxRuntimeError) as error:
        raise _put_failure(error, array) from None


def putter(
    shape: tuple[int, ...], dtype: np.dtype[Any], device: RawDevice
) -> Callable[[NDArray], RawBuffer]:
    """Return a function that copies NumPy arrays of one type, in native byte order, to a device.

    It is `put` with everything looked up: 3 us instead of 4. It sees jaxlib's own errors.
    """
    put, aval, sharding = _put, Aval(shape, dtype), single_device_sharding(device)
    devices, semantics = (device,), _COPY

    def copied(array: NDArray) -> RawBuffer:
        return put(aval, sharding, (array,), devices, True, False, semantics, True)

    return copied


def put_sharded(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    sharding: RawSharding,
    parts: Sequence[NDArray | RawBuffer],
    devices: list[RawDevice],
    copy: bool = True,
    are_distinct: bool = False,
) -> RawBuffer:
    """Make one array of parts that lie on several devices.

    Args:
        shape: of the whole.
        dtype: of the whole and of every part.
        sharding: how it lies on all devices of the program.
        parts: one NumPy array or one-device buffer for each of `devices`.
        devices: those of this process, in the order of the sharding.
        copy: False lets the CPU keep using the arrays' memory, which must then never change.
        are_distinct: whether it is known that no two arrays start at the same place.

    Raises:
        DtypeError: XLA has no such dtype.
    """
    native = [_native_order(part) for part in parts]
    if copy and not are_distinct:
        _part_from_each_other(native)
    semantics = _COPY if copy else _ALIAS
    try:
        return _put(Aval(shape, dtype), sharding, native, devices, True, False, semantics, True)
    except (TypeError, ValueError, JaxRuntimeError) as error:
        raise _put_failure(error, parts[0]) from None


def assemble(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    sharding: RawSharding,
    parts: Sequence[RawBuffer],
) -> RawBuffer:
    """Make one array of one-device buffers, which keep their memory.

    Args:
        shape: of the whole.
        dtype: of the whole and of every part.
        sharding: how it lies on all devices of the program.
        parts: one buffer for each device of this process, in the order of the sharding.
    """
    extra = {"_skip_checks": True}
    return jax.ArrayImpl(Aval(shape, dtype), sharding, list(parts), committed=True, **extra)


def _native_order(part: NDArray | RawBuffer) -> NDArray | RawBuffer:
    if not isinstance(part, np.ndarray):
        _check_live(part, "device_put")
    elif not part.dtype.isnative:
        return part.astype(part.dtype.newbyteorder("="))
    return part


def _part_from_each_other(parts: list[Any]) -> None:
    """Copy arrays that start where an earlier one does.

    When two devices that differ in what they hold are given the same memory to copy, jaxlib fails
    with ``bad_function_call``: partly replicated arrays, and empty ones.
    """
    seen: set[int] = set()
    for index, part in enumerate(parts):
        if isinstance(part, np.ndarray):
            if part.ctypes.data in seen:
                part = parts[index] = part.copy()
            seen.add(part.ctypes.data)


def _put_failure(error: Exception, array: Any) -> BaseException:
    if isinstance(error, JaxRuntimeError) and "dtype" not in str(error):
        return translate(error, "device_put")
    return DtypeError(
        "array",
        "a number type that XLA can compute with",
        f"dtype {getattr(array, 'dtype', type(array))} ({error})",
        fix="Convert it first, for example with astype('float32').",
    )


def to_numpy(buffer: RawBuffer, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    """Return the values of a one-device buffer, read-only, waiting for them.

    On the CPU nothing is copied: the array shares the buffer's memory and keeps it alive.

    Args:
        buffer: the buffer.
        shape: its shape, which a buffer does not always know.
        dtype: its dtype, likewise.

    Raises:
        FunctraxError: the computation failed, or the buffer was deleted or donated.
    """
    if dtype.isbuiltin == 1:
        try:
            return np.asarray(memoryview(buffer))
        except BufferError:  # deleted, failed, or not on the CPU
            pass
    _check_live(buffer, "array")
    try:
        with no_jax():
            if buffer.aval is None:
                buffer = with_type(buffer, shape, dtype)
            return buffer._single_device_array_to_np_array_did_copy()[0]
    except JaxRuntimeError as error:
        raise translate(error, "array") from None


def _check_live(buffer: RawBuffer, call: str) -> None:
    """Refuse a deleted buffer, where jaxlib 0.10 would read through a null pointer."""
    if buffer.is_deleted():
        raise DonatedError(
            call,
            "a live array",
            "one that was deleted, or donated to a call",
            fix="Use the result of the call that took the array, or do not donate it.",
        )


def with_type(
    buffer: RawBuffer,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    sharding: RawSharding | None = None,
) -> RawBuffer:
    """Return a buffer that knows its type, of one that does not; by default it keeps its device."""
    _check_live(buffer, "array")
    sharding = sharding or single_device_sharding(device_of(buffer))
    return buffer._rewrap_with_aval_and_sharding(Aval(shape, dtype), sharding)


def shards(buffer: RawBuffer) -> list[RawBuffer]:
    """Return the one-device buffers of this process that an array consists of."""
    _check_live(buffer, "addressable_shards")
    with no_jax():
        return buffer._arrays


def devices_of(buffer: RawBuffer) -> tuple[RawDevice, ...]:
    """Return all devices that an array lies on, in the order of its sharding."""
    return tuple(buffer._sharding._internal_device_list)


def device_of(buffer: RawBuffer) -> RawDevice:
    """Return the device of a one-device buffer."""
    sharding = buffer._sharding
    if isinstance(sharding, jax.SingleDeviceSharding):
        return sharding._device
    return sharding._internal_device_list[0]


def copy_to_device(buffer: RawBuffer, device: RawDevice) -> RawBuffer:
    """Return a copy of a one-device buffer on a device (the same or another, of any platform)."""
    _check_live(buffer, "device_put")
    try:
        copied = jax.batched_copy_array_to_devices_with_sharding(
            [buffer],
            [jax.DeviceList((device,))],
            [single_device_sharding(device)],
            [jax.ArrayCopySemantics.ALWAYS_COPY],
        )
    except JaxRuntimeError as error:
        raise translate(error, "device_put") from None
    return copied[0]


def copy_to_host_async(buffers: Sequence[RawBuffer]) -> None:
    """Start copying one-device buffers to the host, where `to_numpy` will find them."""
    for buffer in buffers:
        _check_live(buffer, "copy_to_host_async")
    if hasattr(jax, "batched_copy_to_host_async"):
        jax.batched_copy_to_host_async(list(buffers))
        return
    with no_jax():
        for buffer in buffers:
            buffer._copy_single_device_array_to_host_async()


def block_until_ready(buffers: Sequence[RawBuffer], call: str = "block_until_ready") -> None:
    """Wait until buffers hold their values.

    Raises:
        FunctraxError: a computation failed, or a buffer was deleted or donated.
    """
    try:
        jax.batched_block_until_ready(list(buffers))
    except JaxRuntimeError as error:
        raise translate(error, call) from None


def is_ready(buffer: RawBuffer) -> bool:
    """Tell whether a buffer holds its value (or its failure) already."""
    _check_live(buffer, "is_ready")
    return buffer.is_ready()


def delete(buffer: RawBuffer) -> None:
    """Free the memory of a buffer now; using it again is an error."""
    buffer.delete()


def is_deleted(buffer: RawBuffer) -> bool:
    """Tell whether a buffer was deleted or donated."""
    return buffer.is_deleted()


def unsafe_pointer(buffer: RawBuffer) -> int:
    """Return the address of a one-device buffer's memory."""
    try:
        with no_jax():
            return buffer.unsafe_buffer_pointer()
    except JaxRuntimeError as error:
        raise translate(error, "unsafe_buffer_pointer") from None


def on_device_size(buffer: RawBuffer) -> int:
    """Return the bytes of device memory that a buffer takes."""
    try:
        return buffer.on_device_size_in_bytes()
    except JaxRuntimeError as error:
        raise translate(error, "nbytes") from None
