"""Concrete arrays: a typed buffer on a device."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array
from functrax.core.types import ShapedArray
from functrax.runtime.devices import Device, default_device
from functrax.xla import buffers

NDArray = np.ndarray[Any, Any]


class DeviceArray(Array):
    """An immutable array in a device's memory; what users see as `functrax.Array`.

    Computation is asynchronous: the value may not be there yet, and reading it waits.

    Attributes:
        aval: its type.
        buffer: jaxlib's buffer, or the text that says who took it.
        device: where it is.
        committed: whether the user placed it there, so that computations follow it.
    """

    __slots__ = ("__weakref__", "aval", "buffer", "committed", "device")

    def __init__(
        self, aval: ShapedArray, buffer: Any, device: Device, committed: bool = False
    ) -> None:
        """Wrap a buffer."""
        self.aval = aval
        self.buffer = buffer
        self.device = device
        self.committed = committed

    # Reading --------------------------------------------------------------------------------------

    def numpy(self) -> NDArray:
        """Return the value as a read-only NumPy array, waiting for it."""
        buffer = self.live_buffer("reading it")
        if dtypes.is_extended(self.aval.dtype):
            raise errors.KeyTypeError(
                "array",
                "an array of numbers",
                f"the PRNG key {self.aval!r}",
                fix="Use `random.key_data(key)`.",
            )
        return buffers.to_numpy(buffer, self.aval.shape, self.aval.dtype)

    def live_buffer(self, use: str) -> Any:
        """Return the buffer.

        Raises:
            DonatedError: if it was donated or deleted, naming the call that took it.
        """
        buffer = self.buffer
        if type(buffer) is str:
            raise errors.DonatedError(
                "array",
                f"an array that still has its memory, for {use}",
                f"{self.aval!r}, {buffer}",
                fix="Use the result of that call, make a copy before, or do not donate this "
                "argument.",
            )
        return buffer

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Convert to NumPy."""
        value = self.numpy()
        if dtype is not None and value.dtype != dtype:
            return value.astype(dtype)
        return value.copy() if copy else value

    def item(self, *args: int) -> Any:
        """Return one element as a Python scalar."""
        return self.numpy().item(*args)

    def tolist(self) -> Any:
        """Return the elements as nested Python lists."""
        return self.numpy().tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """Return the elements as bytes."""
        return self.numpy().tobytes(order)

    def _scalar(self, kind: str) -> NDArray:
        if self.aval.size != 1:
            raise errors.ShapeError(
                kind,
                "an array of one element",
                f"{self.aval!r}",
                fix="Index it, or use `.any()`/`.all()` for a truth value.",
            )
        return self.numpy().reshape(())

    def __bool__(self) -> bool:
        """Return the truth value of a one-element array."""
        return bool(self._scalar("bool"))

    def __int__(self) -> int:
        """Convert a one-element array."""
        return int(self._scalar("int"))

    def __float__(self) -> float:
        """Convert a one-element array."""
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        """Convert a one-element array."""
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        """Convert a 0-d integer array."""
        if self.aval.shape or not (dtypes.is_integer(self.aval.dtype)):
            raise errors.ArgumentError("index", "a 0-d integer array", f"{self.aval!r}")
        return int(self._scalar("index"))

    def __format__(self, spec: str) -> str:
        """Format a 0-d array like the Python scalar it holds."""
        return (
            format(self.item(), spec) if not self.aval.shape and spec else format(str(self), spec)
        )

    def __repr__(self) -> str:
        """Print the values and the dtype."""
        if type(self.buffer) is str:
            return f"Array({self.aval!r}, {self.buffer})"
        if dtypes.is_extended(self.aval.dtype):
            return f"Array({self.aval.shape}, dtype={self.aval.dtype})"
        dtype = f"dtype={self.aval.dtype}"
        if self.aval.weak_type:
            dtype += ", weak_type=True"
        if self.aval.size == 0:
            return f"Array([], shape={self.aval.shape}, {dtype})"
        text = np.array2string(
            self.numpy(), prefix="Array(", suffix=",", separator=", ", threshold=1000
        )
        return f"Array({text}, {dtype})"

    def __str__(self) -> str:
        """Print the values."""
        if dtypes.is_extended(self.aval.dtype) or type(self.buffer) is str:
            return repr(self)
        return str(self.numpy())

    # Life -----------------------------------------------------------------------------------------

    def block_until_ready(self) -> "DeviceArray":
        """Wait until the value is there, and return the array."""
        buffers.block_until_ready((self.live_buffer("waiting"),))
        return self

    def is_ready(self) -> bool:
        """Tell whether the value is there."""
        return buffers.is_ready(self.live_buffer("asking"))

    def copy_to_host_async(self) -> None:
        """Start copying the value to the host."""
        buffers.copy_to_host_async((self.live_buffer("copying"),))

    def delete(self) -> None:
        """Free the memory now."""
        if type(self.buffer) is not str:
            buffers.delete(self.buffer)
            self.buffer = "deleted by `delete()`"

    def is_deleted(self) -> bool:
        """Tell whether the memory was freed or donated."""
        return type(self.buffer) is str or buffers.is_deleted(self.buffer)

    def devices(self) -> set[Device]:
        """Return the devices that hold the array."""
        return {self.device}

    def on_device_size_in_bytes(self) -> int:
        """Return the bytes it takes on the device."""
        return buffers.on_device_size(self.live_buffer("asking"))

    def unsafe_buffer_pointer(self) -> int:
        """Return the address of the memory."""
        return buffers.unsafe_pointer(self.live_buffer("asking"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value."""
        if dtypes.is_extended(self.aval.dtype):
            words = self.words().numpy()
            return _unpickle, (np.asarray(words), self.aval)
        return _unpickle, (np.asarray(self.numpy()), self.aval)

    def words(self) -> "DeviceArray":
        """Return the words of an array of PRNG keys (the same memory)."""
        shape = (*self.aval.shape, *self.aval.dtype.key_shape)
        aval = ShapedArray(shape, np.dtype(np.uint32))
        return DeviceArray(aval, self.live_buffer("reading"), self.device, self.committed)

    def __deepcopy__(self, memo: Any) -> "DeviceArray":
        """Copy: a new buffer of the same value."""
        return device_copy(self, self.device)

    def __copy__(self) -> "DeviceArray":
        """Return the array itself: it is immutable."""
        return self

    # Exchange -------------------------------------------------------------------------------------

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's device type and number."""
        return (
            {"cpu": 1, "gpu": 2}[self.device.platform],
            self.device.id if self.device.platform == "gpu" else 0,
        )


def _unpickle(value: NDArray, aval: ShapedArray) -> DeviceArray:
    return put_numpy(value, aval, default_device(), False)


def put_numpy(value: NDArray, aval: ShapedArray, device: Device, committed: bool) -> DeviceArray:
    """Copy a NumPy array of the right dtype to a device."""
    return DeviceArray(aval, buffers.put(value, device.raw), device, committed)


def device_copy(x: DeviceArray, device: Device, committed: bool = True) -> DeviceArray:
    """Copy an array to a device."""
    return DeviceArray(
        x.aval, buffers.copy_to_device(x.live_buffer("copying"), device.raw), device, committed
    )
