"""The devices of this process, which one is used when nobody says, and devices that are elsewhere
and can be compiled for.
"""

import functools
import threading
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from functrax import errors
from functrax.core.config import config
from functrax.xla import client as clients
from functrax.xla import topology as topologies


class Memory:
    """A memory of a device.

    Attributes:
        kind: ``"device"``, ``"pinned_host"`` or ``"unpinned_host"``.
        device: the device that it was asked of.
    """

    __slots__ = ("device", "kind")

    def __init__(self, device: "Device", kind: str) -> None:
        """Name a memory."""
        self.device = device
        self.kind = kind

    @property
    def platform(self) -> str:
        """The device's platform."""
        return self.device.platform

    @property
    def process_index(self) -> int:
        """The process it belongs to."""
        return self.device.process_index

    def addressable_by_devices(self) -> list["Device"]:
        """Return the devices that can use it."""
        raw = {one.id for one in self.device.raw.memory(self.kind).addressable_by_devices()}
        return [one for one in devices(self.device.platform) if one.id in raw]

    def __eq__(self, other: object) -> bool:
        """Compare device and kind."""
        if not isinstance(other, Memory):
            return False
        return self.device is other.device and self.kind == other.kind

    def __hash__(self) -> int:
        """Hash device and kind."""
        return hash((self.device, self.kind))

    def __repr__(self) -> str:
        """Print as ``Memory('pinned_host' of cpu:0)``."""
        return f"Memory({self.kind!r} of {self.device})"


class Device:
    """One device, as users see it.

    Attributes:
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
        id: its number on the platform.
        device_kind: the model, such as ``"TPU v5e"``.
        process_index: the process it belongs to.
    """

    __slots__ = (
        "calls",
        "client",
        "device_kind",
        "has_peers",
        "id",
        "is_default",
        "platform",
        "process_index",
        "programs",
        "raw",
    )
    prints_in_programs: ClassVar[bool] = True

    def __init__(self, raw: Any, client: clients.Client | topologies.Topology) -> None:
        """Wrap jaxlib's device."""
        self.raw = raw
        self.client = client
        self.platform = client.platform
        self.id: int = raw.id
        self.device_kind: str = raw.device_kind
        self.process_index: int = raw.process_index
        self.has_peers = len(client.devices) > 1
        self.is_default = False
        """Whether it is used when nobody says, and no `default_device` is set."""
        self.programs: dict[Any, Any] = {}
        """Compiled single operations, by primitive, types and params: the eager interpreter's
        cache.
        """
        self.calls: dict[Any, None] = {}
        """The keys of those that call programs, such as loops, the oldest first."""

    @property
    def coords(self) -> list[int]:
        """Where its chip stands among those of the slice; only TPUs have it."""
        return self.raw.coords

    @property
    def core_on_chip(self) -> int:
        """Its number on the chip; only TPUs have it."""
        return self.raw.core_on_chip

    @property
    def slice_index(self) -> int:
        """The slice or domain of fast links that it belongs to, where the platform knows it."""
        return self.raw.slice_index

    def memory_stats(self) -> dict[str, int] | None:
        """Return the allocator's counters in bytes, where the platform has them."""
        check_here((self,), "memory_stats")
        return self.raw.memory_stats()

    def addressable_memories(self) -> list[Memory]:
        """Return the memories that it can use."""
        return [Memory(self, one.kind) for one in self.raw.addressable_memories()]

    def default_memory(self) -> Memory:
        """Return the memory where arrays are unless a sharding says otherwise."""
        return Memory(self, self.raw.default_memory().kind)

    def memory(self, kind: str) -> Memory:
        """Return the memory of a kind.

        Raises:
            DeviceError: if it has none.
        """
        for found in self.addressable_memories():
            if found.kind == kind:
                return found
        kinds = ", ".join(repr(one.kind) for one in self.addressable_memories())
        raise errors.DeviceError("memory", f"a kind of memory that {self} has: {kinds}", repr(kind))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: the copy is the device of the same number."""
        if isinstance(self.client, topologies.Topology):
            return _described_device, (self.client.name, self.client.options, self.id)
        return _device_named, (self.platform, self.id)

    def __repr__(self) -> str:
        """Print as ``CpuDevice(id=0)``, or ``TpuDevice(id=0, topology='v5e:4x4')``."""
        where = ""
        if isinstance(self.client, topologies.Topology):
            where = f", topology={self.client.name!r}"
        return f"{self.platform.capitalize()}Device(id={self.id}{where})"

    def __str__(self) -> str:
        """Print as ``cpu:0``."""
        return f"{self.platform}:{self.id}"


_lock = threading.RLock()
_devices: dict[str, list[Device]] = {}
_default: list[Device] = []
PLATFORM_NAMES = {"cuda": "gpu", "gpu": "gpu", "cpu": "cpu", "tpu": "tpu"}


def devices(backend: str | None = None) -> list[Device]:
    """Return all devices of a platform.

    Args:
        backend: ``"cpu"``, ``"gpu"`` (or ``"cuda"``) or ``"tpu"``; the default platform if None.

    Returns:
        The devices, in order.

    Raises:
        DeviceError: if the platform is unknown or has no device here, with the cure.

    Example:
        >>> devices("cpu")[0].platform
        'cpu'
    """
    return devices_of(backend, "devices")


def devices_of(backend: str | None, call: str) -> list[Device]:
    """Return all devices of a platform that a user named in a call; see `devices`."""
    backend = default_backend() if backend is None else backend
    platform = PLATFORM_NAMES.get(backend) if isinstance(backend, str) else None
    if platform is None:
        raise errors.DeviceError(
            call,
            "a platform: cpu, gpu, cuda or tpu",
            repr(backend),
            fix="`python -m functrax` prints which are here.",
        )
    found = _devices.get(platform)
    try:
        return list(found if found is not None else _start(platform))
    except errors.DeviceError as error:
        raise errors.DeviceError(call, error.expected, error.got, fix=error.fix) from None


def require(platform: str) -> list[Device]:
    """Return the devices of a platform that the program cannot do without.

    Args:
        platform: ``"cpu"``, ``"gpu"`` (or ``"cuda"``) or ``"tpu"``.

    Returns:
        The devices, which are those used when nobody names any.

    Raises:
        DeviceError: if there are none, with the cure, or another platform is the default one.

    Example:
        >>> with config.scope(default_device="cpu"):
        ...     require("cpu")[0].platform
        'cpu'
    """
    found = devices_of(platform, "require")
    default = default_device()
    if default.platform != found[0].platform:
        raise errors.DeviceError(
            "require",
            f"{platform} as the platform that computations run on",
            default.platform,
            fix=f"Set FUNCTRAX_PLATFORMS={platform}, or config.update('platforms', {platform!r}) "
            "before the first computation.",
        )
    return found


def _start(platform: str) -> list[Device]:
    with _lock:
        if platform not in _devices:
            number = config.num_cpu_devices
            if platform == "cpu":
                client = clients.cpu_client(number if number > 0 else None)
            else:
                client = clients.client_of(platform)
            _devices[platform] = [Device(raw, client) for raw in client.devices]
        return _devices[platform]


def _device_named(platform: str, number: int) -> Device:
    return next(device for device in devices(platform) if device.id == number)


def clear_programs() -> None:
    """Forget the eager interpreter's compiled operations, on every device."""
    for found in _devices.values():
        for device in found:
            device.programs.clear()
            device.calls.clear()


def local_devices(process_index: int | None = None, backend: str | None = None) -> list[Device]:
    """Return the devices of one process (this one by default)."""
    return _of_process(process_index, backend, "local_devices")


def _of_process(process_index: int | None, backend: str | None, call: str) -> list[Device]:
    found = devices_of(backend, call)
    index = found[0].client.process_index if process_index is None else process_index
    return [device for device in found if device.process_index == index]


def device_count(backend: str | None = None) -> int:
    """Return the number of devices of a platform."""
    return len(devices_of(backend, "device_count"))


def local_device_count(backend: str | None = None) -> int:
    """Return the number of devices of a platform in this process."""
    return len(_of_process(None, backend, "local_device_count"))


def process_index(backend: str | None = None) -> int:
    """Return the number of this process."""
    return devices_of(backend, "process_index")[0].client.process_index


def process_count(backend: str | None = None) -> int:
    """Return the number of processes that share the platform."""
    return len({device.process_index for device in devices_of(backend, "process_count")})


def default_backend() -> str:
    """Return the platform used when nobody names one: the first of ``config.platforms``, else TPU,
    GPU, CPU.

    A plug-in that is installed but cannot start is reported in a warning before the next platform
    is tried; use ``config.update("platforms", "tpu")`` to insist.
    """
    if _default:
        return _default[0].platform
    return default_device().platform


def default_device() -> Device:
    """Return the device used when nobody names one."""
    scoped = config.default_device
    if scoped is not None:
        return devices_of(scoped, "default_device")[0] if isinstance(scoped, str) else scoped
    if not _default:
        with _lock:
            if not _default:
                chosen = _choose()
                chosen.is_default = True
                _default.append(chosen)
    return _default[0]


def _choose() -> Device:
    if config.platforms:
        return devices(config.platforms.split(",")[0])[0]
    report = clients.platforms()
    for platform in ("tpu", "gpu"):
        if report.get(platform, "").startswith("not installed"):
            continue
        try:
            return _start(platform)[0]
        except errors.DeviceError as error:
            if report.get(platform) == "available":
                warnings.warn(f"{platform} is installed but cannot be used: {error}", stacklevel=2)
    return _start("cpu")[0]


# Devices that are not here ------------------------------------------------------------------------


class Topology:
    """Devices described by name, which programs can be compiled for, but not run on.

    Attributes:
        name: as it was asked for.
        platform: ``"tpu"`` or ``"gpu"``.
        devices: the devices, in the platform's order.
    """

    __slots__ = ("devices", "name", "platform")

    def __init__(self, client: topologies.Topology) -> None:
        """Wrap the compiler's description."""
        self.name = client.name
        self.platform = client.platform
        self.devices = [Device(raw, client) for raw in client.devices]

    def __repr__(self) -> str:
        """Print as ``Topology('v5e:4x4', 16 x TPU v5 lite)``."""
        return f"Topology({self.name!r}, {len(self.devices)} x {self.devices[0].device_kind})"


def topology(name: str, **options: topologies.OptionValue) -> Topology:
    """Describe devices that are not here, to compile for them ahead of time.

    Meshes and shardings over such devices are like any other. `jit`, `shard_map` and `pmap` lower
    and compile for them, and the compiled program tells its memory, costs and text; there is
    nothing to run it on. Arguments are `ShapeDtypeStruct`, as there are no arrays on such devices
    either. The extra ``tpu`` holds the compiler for TPUs, the extra ``cuda`` that for GPUs.

    Args:
        name: a TPU slice by kind and shape (``"v5e:4x4"``, ``"v5p:4x4x4"``, ``"v6e:16x16"``), or a
            GPU, how many, and in how many hosts (``"h100"``, ``"h100:8"``, ``"h100:2x8"``).
        options: libtpu's own, such as ``num_slices=2`` or ``chips_per_host_bounds=(2, 4, 1)``.

    Returns:
        The devices. Two calls with equal arguments give the same ones.

    Raises:
        DeviceError: if the compiler is not installed, with the cure, or does not know the name.

    Example:
        >>> here = topology("v5e:4x4")  # doctest: +SKIP
        >>> mesh = functrax.make_mesh((4, 4), ("x", "y"), devices=here.devices)  # doctest: +SKIP
        >>> spec = NamedSharding(mesh, P("x", "y"))  # doctest: +SKIP
        >>> x = functrax.ShapeDtypeStruct((64, 64), "float32", sharding=spec)  # doctest: +SKIP
        >>> functrax.jit(jnp.sin).lower(x).compile().memory_analysis()  # doctest: +SKIP
        MemoryAnalysis(argument_size_in_bytes=...)
    """
    if not isinstance(name, str):
        got = f"{name!r} of type {errors.type_name(name)}"
        raise errors.ArgumentError("topology", "a name such as 'v5e:4x4' or 'h100:8'", got)
    fixed = [
        (key, value if isinstance(value, str | bool | int) else tuple(value))
        for key, value in sorted(options.items())
    ]
    with _lock:
        return _described(name, tuple(fixed))


@functools.cache
def _described(name: str, options: tuple[tuple[str, topologies.OptionValue], ...]) -> Topology:
    if name.partition(":")[0] not in topologies.GPUS:
        return Topology(topologies.tpu_topology(name, **dict(options)))
    if options:
        given = ", ".join(key for key, _ in options)
        raise errors.ArgumentError("topology", f"no options for GPUs ({name!r})", given)
    return Topology(topologies.gpu_topology(name))


def _described_device(name: str, options: Any, number: int) -> Device:
    return next(one for one in topology(name, **dict(options)).devices if one.id == number)


def check_here(found: Sequence[Device], call: str) -> None:
    """Raise a `DeviceError` if devices are only described: nothing can be put there, or run."""
    if isinstance(found[0].client, topologies.Topology):
        raise errors.DeviceError(
            call,
            "devices that are here",
            f"{found[0]!r}, which is only described",
            fix="Compile for it with `jit(f).lower(...).compile()`, where ShapeDtypeStructs have "
            "its shardings.",
        )


# Options that are read when a platform starts: a later change would have no effect ----------------


def _check_count(value: int) -> None:
    if value < 1 and value != -1:
        expected = "a positive number of CPU devices, or -1 for XLA_FLAGS to say"
        raise errors.ConfigError("config.update", expected, str(value))
    started = _devices.get("cpu")
    if started is not None and value not in (-1, len(started)):
        raise errors.ConfigError(
            "config.update",
            "num_cpu_devices before the CPU is first used",
            f"{value}, when {len(started)} CPU devices are in use",
            fix="Set it at the start of the program.",
        )


def _check_platforms(value: str | None) -> None:
    if _default and value and PLATFORM_NAMES.get(value.split(",")[0]) != _default[0].platform:
        raise errors.ConfigError(
            "config.update",
            "platforms before any device is first used",
            f"{value!r}, when {_default[0].platform!r} is in use",
            fix="Set it at the start of the program, or set default_device.",
        )


def _check_default_device(value: Any) -> None:
    if isinstance(value, Device):
        check_here((value,), "config.update")
    if isinstance(value, str) and value not in PLATFORM_NAMES:
        raise errors.ConfigError(
            "config.update",
            "a device or a platform (cpu, gpu, cuda or tpu) as default_device",
            repr(value),
            fix="Take one of `functrax.devices()`.",
        )


config.on_update("default_device", _check_default_device)
config.on_update("num_cpu_devices", _check_count)
config.on_update("platforms", _check_platforms)
