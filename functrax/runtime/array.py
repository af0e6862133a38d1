"""Concrete arrays: a typed buffer on a device, or on several."""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.source import Source
from functrax.core.trace import Array
from functrax.core.types import ShapedArray
from functrax.lowering.base import physical_type
from functrax.runtime.devices import Device, default_device, devices
from functrax.runtime.guards import check_transfer
from functrax.runtime.layout import Shard, devices_at, raw_sharding, sharding_at
from functrax.sharding.mesh import is_local
from functrax.sharding.shardings import NamedSharding, Sharding
from functrax.xla import buffers, dlpack

NDArray = np.ndarray[Any, Any]

# Reading one element out of a buffer takes 1 us this way, and 3 us through a NumPy array.
_READERS = {
    np.dtype(code): struct.Struct(code).unpack_from
    for code in ("?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d")
}


class Gone:
    """Stands where the buffer of an array was whose memory is gone; its text says who took it.

    Args:
        how: what happened, such as ``donated to 'step'``.
        source: the line of the user's code, decoded only if it is asked for.
        fix: what the user can do.
    """

    __slots__ = ("fix", "how", "source")

    def __init__(
        self,
        how: str,
        source: Source | None = None,
        fix: str = "Use the result of that call, make a copy before, or do not donate this "
        "argument.",
    ) -> None:
        self.how = how
        self.source = source
        self.fix = fix

    def __str__(self) -> str:
        """Print as ``donated to 'step' at train.py:41``."""
        return f"{self.how} at {self.source}" if self.source else self.how


class DeviceArray(Array):
    """An immutable array in a device's memory; what users see as `functrax.Array`.

    Made by `device_array`. Computation is asynchronous: the value may not be there yet, and reading
    it waits.

    Attributes:
        aval: its type.
        buffer: jaxlib's buffer, or `Gone`, which says who took it.
        device: where it is: a `Device`, or its `NamedSharding` over several.
        committed: whether the user placed it there, so that computations follow it.
    """

    __slots__ = ("__weakref__", "aval", "buffer", "committed", "device")
    aval: ShapedArray
    buffer: Any
    device: Any
    committed: bool

    # Reading --------------------------------------------------------------------------------------

    def numpy(self) -> NDArray:
        """Return the value as a read-only NumPy array, waiting for it."""
        buffer = self.live_buffer("reading it")
        self._check_numbers("array")
        if type(self.device) is not Device:
            return _joined(self.aval, self.addressable_shards)
        if self.device.platform != "cpu":  # the CPU's memory is the host's
            check_transfer("device_to_host", "array", self.aval)
        return buffers.to_numpy(buffer, self.aval.shape, self.aval.dtype)

    def _check_numbers(self, call: str) -> None:
        """Refuse keys, whose bits are nobody's numbers."""
        if dtypes.is_extended(self.aval.dtype):
            got, fix = f"the PRNG key {self.aval!r}", "Use `random.key_data(key)`."
            raise errors.KeyTypeError(call, "an array of numbers", got, fix=fix)

    def live_buffer(self, use: str) -> Any:
        """Return the buffer.

        Raises:
            DonatedError: if it was donated or deleted, naming the call that took it.
        """
        buffer = self.buffer
        if type(buffer) is Gone:
            raise errors.DonatedError(
                "array",
                f"an array that still has its memory, for {use}",
                f"{self.aval!r}, {buffer}",
                fix=buffer.fix,
            )
        return buffer

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Convert to NumPy: on the CPU the same memory, read-only, unless a copy is asked for."""
        value = self.numpy()
        if dtype is not None and value.dtype != dtype:
            if copy is False:  # NumPy's own rule and type of error
                raise ValueError(f"{self.aval!r} cannot become {dtype} without a copy")
            return value.astype(dtype)
        return value.copy() if copy else value

    def item(self, *args: int) -> Any:
        """Return one element as a Python scalar.

        Args:
            *args: its place: an int along each axis, or one int that counts row by row. Needed
                unless it is the only one.

        Raises:
            BoundsError, ArgumentError: if the place lies outside, or is none.
            ShapeError: without a place, if there are more elements.
        """
        if not args:
            return self._element("item")
        value, shown = self.numpy(), ", ".join(map(repr, args))
        try:
            return value.item(*args)
        except IndexError:
            expected = f"a place in an array of shape {self.aval.shape}"
            raise errors.BoundsError("item", expected, shown) from None
        except (TypeError, ValueError):
            expected = f"no argument, an integer, or one for each of {self.aval.ndim} axes"
            raise errors.ArgumentError("item", expected, shown) from None

    def tolist(self) -> Any:
        """Return the elements as nested Python lists."""
        return self.numpy().tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """Return the elements as bytes."""
        return self.numpy().tobytes(order)

    def __bytes__(self) -> bytes:
        """Return the elements as bytes."""
        return self.tobytes()

    def _element(self, kind: str) -> Any:
        """Return the only element as a Python scalar."""
        aval = self.aval
        if aval.size == 1:
            try:
                return _READERS[aval.dtype](self.buffer)[0]
            except (KeyError, TypeError, BufferError):
                pass  # another dtype or device, no memory, or a failed computation: below
        else:
            raise errors.ShapeError(
                kind,
                "an array of one element",
                f"{aval!r}",
                fix="Index it, or use `.any()`/`.all()` for a truth value.",
            )
        value = self.numpy().item()
        if isinstance(value, complex) and kind in ("float", "int"):
            fix = "Use `.real`, or `complex(x)`."
            raise errors.DtypeError(kind, "an array of real numbers", f"{aval!r}", fix=fix)
        return value

    def __bool__(self) -> bool:
        """Return the truth value of a one-element array."""
        return bool(self._element("bool"))

    def __int__(self) -> int:
        """Convert a one-element array."""
        return int(self._element("int"))

    def __float__(self) -> float:
        """Convert a one-element array."""
        return float(self._element("float"))

    def __complex__(self) -> complex:
        """Convert a one-element array."""
        return complex(self._element("complex"))

    def __index__(self) -> int:
        """Convert a 0-d integer array."""
        if self.aval.shape or not dtypes.is_integer(self.aval.dtype):
            raise errors.ArgumentError("index", "a 0-d integer array", f"{self.aval!r}")
        return int(self._element("index"))

    def __format__(self, spec: str) -> str:
        """Format a 0-d array like the Python scalar it holds."""
        if spec and self.aval.shape:
            raise errors.ShapeError("format", f"a 0-d array for {spec!r}", f"{self.aval!r}")
        return format(self.item() if spec else str(self), spec)

    def __repr__(self) -> str:
        """Print the values and the dtype."""
        if type(self.buffer) is Gone:
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

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __str__(self) -> str:
        """Print the values."""
        if dtypes.is_extended(self.aval.dtype) or type(self.buffer) is Gone:
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
        buffers.copy_to_host_async(self.parts("copying"))

    def parts(self, use: str) -> list[Any]:
        """Return the buffers of the devices of this process, for a use as in `live_buffer`."""
        buffer = self.live_buffer(use)
        return [buffer] if type(self.device) is Device else buffers.shards(buffer)

    def delete(self) -> None:
        """Free the memory now."""
        if type(self.buffer) is not Gone:
            buffers.delete(self.buffer)
            self.buffer = Gone("deleted by `delete()`", fix="Delete it after its last use.")

    def is_deleted(self) -> bool:
        """Tell whether the memory was freed or donated."""
        return type(self.buffer) is Gone or buffers.is_deleted(self.buffer)

    def devices(self) -> set[Device]:
        """Return the devices that hold the array."""
        return set(devices_at(self.device))

    @property
    def sharding(self) -> Sharding:
        """How the array lies on devices."""
        return sharding_at(self.device)

    @property
    def is_fully_addressable(self) -> bool:
        """Whether this process can read all of it."""
        return self.sharding.is_fully_addressable

    @property
    def is_fully_replicated(self) -> bool:
        """Whether each of its devices holds all of it."""
        return self.sharding.is_fully_replicated

    @property
    def addressable_shards(self) -> list[Shard]:
        """The parts that devices of this process hold."""
        return [shard for shard in self.global_shards if shard.data is not None]

    @property
    def global_shards(self) -> list[Shard]:
        """The parts that all devices hold; those of other processes without data."""
        if type(self.device) is Device:
            return [Shard(self.device, (slice(None),) * self.aval.ndim, 0, self)]
        parts = iter(self.parts("reading its parts"))
        copies: dict[Any, int] = {}
        aval = self.aval.update(shape=self.device.shard_shape(self.aval.shape))
        found = []
        for device, index in self.device.devices_indices_map(self.aval.shape).items():
            key = tuple([part.start for part in index])
            number = copies[key] = copies.get(key, -1) + 1
            data = device_array(aval, next(parts), device, True) if is_local(device) else None
            found.append(Shard(device, index, number, data))
        return found

    def addressable_data(self, index: int) -> "DeviceArray":
        """Return the part of the device with this number among those of the process."""
        return self.addressable_shards[index].data  # pyright: ignore[reportReturnType]

    def on_device_size_in_bytes(self) -> int:
        """Return the bytes it takes on the device."""
        return buffers.on_device_size(self.live_buffer("asking"))

    def unsafe_buffer_pointer(self) -> int:
        """Return the address of the memory."""
        return buffers.unsafe_pointer(self._alone("unsafe_buffer_pointer").live_buffer("asking"))

    def _alone(self, call: str) -> "DeviceArray":
        """Return the array if it is on one device.

        Raises:
            DeviceError: if it is on several.
        """
        if type(self.device) is Device:
            return self
        raise errors.DeviceError(
            call,
            "an array on one device",
            f"{self.aval!r} on {len(self.device.device_tuple)} devices",
            fix="Take a part of it: `x.addressable_data(0)`.",
        )

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
        return device_array(aval, self.live_buffer("reading"), self.device, self.committed)

    def copy(self) -> "DeviceArray":
        """Return an equal array with memory of its own, which outlives a donation of this one."""
        if type(self.device) is Device:
            return device_copy(self, self.device, self.committed)
        parts = self.addressable_shards
        copies = [device_copy(one.data, one.device) for one in parts if one.data is not None]
        return joined(self.aval, self.device, [one.buffer for one in copies])

    def __deepcopy__(self, memo: Any) -> "DeviceArray":
        """Copy: a new buffer of the same value."""
        return self.copy()

    def __copy__(self) -> "DeviceArray":
        """Return the array itself: it is immutable."""
        return self

    # Exchange -------------------------------------------------------------------------------------

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule of the array, which shares its memory.

        What reads the capsule must not write to it: the array is immutable. Capsules are of the
        form that every version reads.

        Args:
            stream: on a GPU, the number of the CUDA stream that will read; None on the CPU.
            max_version: the newest form that the reader knows.
            dl_device: DLPack's type and number of the device to export to; the array's by default.
            copy: True for memory of its own, False never to copy, None to copy only if it must.

        Raises:
            ExchangeError: the array cannot be had there, or not without a copy.
            DtypeError: DLPack has no such dtype.

        Source: Python array API standard, "__dlpack__".
        """
        self._check_numbers("__dlpack__")
        source = self._alone("__dlpack__")._exported(dl_device, copy)
        if stream is not None and source.device.platform == "cpu":
            raise errors.ExchangeError(
                "__dlpack__", "no stream for an array on a CPU", repr(stream)
            )
        return dlpack.to_dlpack(source.live_buffer("exporting it"), stream)

    def _exported(self, dl_device: tuple[int, int] | None, copy: bool | None) -> "DeviceArray":
        """Return the array, or a copy of it, where it is to be exported."""
        here = self.__dlpack_device__()
        wanted = here if dl_device is None else (int(dl_device[0]), int(dl_device[1]))
        if wanted == here:
            return self.copy() if copy else self
        if wanted != (dlpack.CPU, 0) or copy is False:
            raise errors.ExchangeError(
                "__dlpack__",
                f"an export to {here}, where the array is, or a copy on the CPU",
                f"dl_device={wanted}, copy={copy}",
            )
        return put_numpy(self.numpy(), self.aval, devices("cpu")[0], False)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's type and number of the device."""
        return dlpack.dlpack_device(self._alone("__dlpack__").live_buffer("exporting it"))


def device_array(
    aval: ShapedArray, buffer: Any, device: Any, committed: bool = False
) -> DeviceArray:
    """Wrap a buffer; see the attributes of `DeviceArray`.

    An `__init__` would take twice the time, a fortieth of a small launch.
    """
    array = DeviceArray()
    array.aval = aval
    array.buffer = buffer
    array.device = device
    array.committed = committed
    return array


def device_arrays(
    avals: Iterable[ShapedArray],
    buffers: Iterable[Any],
    places: Iterable[Any],
    committed: bool = False,
) -> list[DeviceArray]:
    """Wrap many buffers, with no call for each: as many as the shortest of the three has."""
    arrays: list[DeviceArray] = []
    for aval, buffer, place in zip(avals, buffers, places, strict=False):
        array = DeviceArray()
        array.aval = aval
        array.buffer = buffer
        array.device = place
        array.committed = committed
        arrays.append(array)
    return arrays


def joined(aval: ShapedArray, sharding: NamedSharding, parts: list[Any]) -> DeviceArray:
    """Return one array of the buffers that devices of this process hold, in the mesh's order."""
    shape, dtype = physical_type(aval)
    raw = raw_sharding(sharding, len(shape))
    return device_array(aval, buffers.assemble(shape, dtype, raw, parts), sharding, True)


def _joined(aval: ShapedArray, shards: list[Shard]) -> NDArray:
    """Return the value of an array of its parts, each read once.

    Raises:
        DeviceError: if parts are in other processes.
    """
    first = shards[0]
    assert first.data is not None
    if first.data.aval.shape == aval.shape:
        return first.data.numpy()
    whole = np.empty(aval.shape, aval.dtype)
    count = 0
    for shard in shards:
        if shard.replica_id == 0 and shard.data is not None:
            part = shard.data.numpy()
            whole[shard.index] = part
            count += part.size
    if count < whole.size:
        raise errors.DeviceError(
            "array",
            "an array that this process holds all of",
            f"{aval!r}, of which it holds {count} of {whole.size} elements",
            fix="Read `x.addressable_shards`, or gather it first.",
        )
    whole.flags.writeable = False
    return whole


def _unpickle(value: NDArray, aval: ShapedArray) -> DeviceArray:
    return put_numpy(value, aval, default_device(), False)


def put_numpy(
    value: NDArray, aval: ShapedArray, device: Device, committed: bool, copy: bool = True
) -> DeviceArray:
    """Put a NumPy array of the right dtype on a device; see `buffers.put` for the rest."""
    return device_array(aval, buffers.put(value, device.raw, copy), device, committed)


def device_copy(x: DeviceArray, device: Device, committed: bool = True) -> DeviceArray:
    """Copy an array to a device."""
    return device_array(
        x.aval, buffers.copy_to_device(x.live_buffer("copying"), device.raw), device, committed
    )
