"""Platforms: their devices, and compiling for them. Clients are made on first use."""

import functools
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from functrax.errors import ConfigError, DeviceError, ForkWarning, FunctraxError
from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.buffers import RawDevice, RawSharding
from functrax.xla.callbacks import HostFunction
from functrax.xla.executable import Executable, OutType
from functrax.xla.failure import translate
from functrax.xla.mlir import MLIRError, Module
from functrax.xla.options import CompileOptions
from functrax.xla.plugins import make_cuda_client, make_tpu_client
from functrax.xla.versions import COLLECTIVES_CAN_DEADLOCK

if TYPE_CHECKING:
    from functrax.xla.distributed import ProcessGroup


class Client:
    """One platform of this process.

    Attributes:
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
        platform_version: of the runtime behind it; part of every cache key.
        raw: jaxlib's client.
        devices: all devices, those of other processes included.
        local_devices: the devices of this process.
    """

    __slots__ = ("devices", "local_devices", "platform", "platform_version", "raw")

    def __init__(self, raw: Any) -> None:
        """Wrap jaxlib's client."""
        _watch_forks()
        self.raw = raw
        self.platform: str = raw.platform
        self.platform_version: str = raw.platform_version
        self.devices: list[RawDevice] = raw.devices()
        self.local_devices: list[RawDevice] = raw.local_devices()

    @property
    def process_index(self) -> int:
        """The number of this process among those that share the platform."""
        return self.raw.process_index()

    def compile(
        self,
        module: Module,
        options: CompileOptions,
        out_types: Sequence[OutType],
        callbacks: Sequence[HostFunction] = (),
        out_shardings: Sequence[RawSharding] | None = None,
    ) -> Executable:
        """Compile a StableHLO module and load it onto its devices.

        Args:
            module: the module; its entry is ``main``.
            options: where and how; see `functrax.xla.options`.
            out_types: shape and dtype of each result of ``main``.
            callbacks: the host functions that its custom calls refer to by position.
            out_shardings: how each result lies on the devices; XLA's own choice by default.

        Raises:
            FunctraxError: XLA refused the program.
        """
        try:
            raw = self.raw.compile_and_load(
                module, options.device_list, options.raw, list(callbacks)
            )
        except (JaxRuntimeError, MLIRError, ValueError) as error:
            raise translate(error, "compile") from None
        return self._loaded(raw, options, out_types, out_shardings, callbacks)

    def serialize(self, executable: Executable) -> bytes:
        """Return a program as bytes that `deserialize` of the same jaxlib and machine reads."""
        try:
            return self.raw.serialize_executable(executable.raw)
        except JaxRuntimeError as error:
            raise translate(error, "serialize") from None

    def deserialize(
        self,
        data: bytes,
        options: CompileOptions,
        out_types: Sequence[OutType],
        callbacks: Sequence[HostFunction] = (),
        out_shardings: Sequence[RawSharding] | None = None,
    ) -> Executable:
        """Load a program that `serialize` wrote; jaxlib does not notice if another version did.

        Args:
            data: what `serialize` returned. It is code: load none that you do not trust.
            options: those it was compiled with.
            out_types: as for `compile`.
            callbacks: as for `compile`.
            out_shardings: as for `compile`.

        Raises:
            FunctraxError: the bytes are damaged.
        """
        try:
            raw = self.raw.deserialize_executable(
                data, options.device_list, options.raw, list(callbacks)
            )
        except (JaxRuntimeError, ValueError) as error:
            raise translate(error, "deserialize") from None
        return self._loaded(raw, options, out_types, out_shardings, callbacks)

    def _loaded(
        self,
        raw: Any,
        options: CompileOptions,
        out_types: Sequence[OutType],
        out_shardings: Sequence[RawSharding] | None,
        callbacks: Sequence[HostFunction],
    ) -> Executable:
        return Executable(raw, options.devices, out_types, out_shardings, bool(callbacks))

    def describe_devices(self) -> str:
        """Return what jaxlib tells of the devices; the newer ones list a CPU's features."""
        try:
            topology = jax.get_topology_for_devices(self.devices)
            serialize = getattr(topology, "serialize", bytes)
            return f"{topology.fingerprint()} {serialize()}"
        except JaxRuntimeError:  # a plug-in that cannot say
            return ""

    def heap_profile(self) -> bytes:
        """Return which buffers are alive, made where, in pprof's format."""
        return self.raw.heap_profile()


_lock = threading.RLock()


@functools.cache
def _watch_forks() -> None:
    """Warn of each fork from now on: a client's threads are not in the child, which waits for them
    for ever when it computes.
    """
    os.register_at_fork(before=_warn_of_fork)


def _warn_of_fork() -> None:
    error = FunctraxError(
        "fork",
        "no fork after devices have started, for XLA's threads are not in the child",
        "a fork",
        fix='Use `multiprocessing.get_context("spawn")`, or fork before the first computation.',
    )
    warnings.warn(str(error), ForkWarning, stacklevel=3)


_clients: dict[str, Client] = {}


def num_cpu_devices() -> int:
    """Return how many CPU devices the environment asks for.

    ``FUNCTRAX_NUM_CPU_DEVICES`` counts first, unless it is -1, then ``XLA_FLAGS``, then it is one.

    Raises:
        ConfigError: what counts is not a positive number.
    """
    variable, text = "FUNCTRAX_NUM_CPU_DEVICES", os.environ.get("FUNCTRAX_NUM_CPU_DEVICES", "")
    if text.strip() in ("", "-1"):
        variable, flags = "XLA_FLAGS", os.environ.get("XLA_FLAGS", "")
        found = re.findall(r"--xla_force_host_platform_device_count=(\S+)", flags)
        text = found[-1] if found else "1"
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(variable, "a positive number of CPU devices", repr(text))
    return number


def cpu_client(num_devices: int | None = None, group: "ProcessGroup | None" = None) -> Client:
    """Return the client of the CPU, making it on the first call.

    Args:
        num_devices: how many devices to make of this machine's CPU; by default `num_cpu_devices`.
        group: the processes that share the platform, if there are several.

    Raises:
        ConfigError: the client exists and is not what is asked for.
    """
    with _lock:
        client = _clients.get("cpu")
        if client is None:
            client = _clients["cpu"] = _make_cpu_client(num_devices or num_cpu_devices(), group)
        elif num_devices not in (None, len(client.local_devices)) or group is not None:
            raise ConfigError(
                "cpu_client",
                "to be told before the CPU is first used",
                f"{num_devices} devices, when there are {len(client.local_devices)} already",
                fix="Set it at the start of the program.",
            )
        return client


def _make_cpu_client(num_devices: int, group: "ProcessGroup | None") -> Client:
    shared = {} if group is None else group.cpu_options()
    with _enough_threads(num_devices):
        return Client(jax.get_tfrt_cpu_client(num_devices=num_devices, **shared))


class _enough_threads:  # noqa: N801  (a context manager, used like a function)
    """Give the CPU's thread pool a thread for each device: with fewer, old jaxlibs deadlock.

    XLA reads the variables while it makes the client, so they are put back for child processes.
    """

    _NAMES = ("NPROC", "PJRT_NPROC")

    def __init__(self, num_devices: int) -> None:
        self._wanted = COLLECTIVES_CAN_DEADLOCK and num_devices > 1
        self._number = str(max(16, num_devices, os.cpu_count() or 1))
        self._added: list[str] = []

    def __enter__(self) -> None:
        for name in self._NAMES:
            if self._wanted and name not in os.environ:
                os.environ[name] = self._number
                self._added.append(name)

    def __exit__(self, *exception: object) -> None:
        for name in self._added:
            del os.environ[name]


def client_of(platform: str) -> Client:
    """Return the client of ``"cpu"``, ``"gpu"`` (or ``"cuda"``) or ``"tpu"``.

    Raises:
        DeviceError: the platform is not known, or not there.
    """
    makers: Mapping[str, Callable[[], Client]] = {
        "cpu": cpu_client,
        "gpu": cuda_client,
        "cuda": cuda_client,
        "tpu": tpu_client,
    }
    if platform not in makers:
        raise DeviceError("devices", "one of cpu, gpu, cuda, tpu", repr(platform))
    return makers[platform]()


def cuda_client(group: "ProcessGroup | None" = None) -> Client:
    """Return the client of the NVIDIA GPUs, making it on the first call.

    Args:
        group: the processes that share the platform, if there are several.

    Raises:
        DeviceError: no plug-in, or no device.
    """
    with _lock:
        if "gpu" not in _clients:
            _clients["gpu"] = Client(make_cuda_client(group))
        return _clients["gpu"]


def tpu_client(group: "ProcessGroup | None" = None) -> Client:
    """Return the client of the TPU, making it on the first call.

    Args:
        group: the processes that share the platform, if there are several.

    Raises:
        DeviceError: no libtpu, or no device.
    """
    with _lock:
        if "tpu" not in _clients:
            _clients["tpu"] = Client(make_tpu_client(group))
        return _clients["tpu"]


def platforms() -> dict[str, str]:
    """Return each platform with ``"available"``, or the reason why it is not."""
    report = {"cpu": "available"}
    for name in ("gpu", "tpu"):
        try:
            client_of(name)
            report[name] = "available"
        except DeviceError as error:
            report[name] = error.got or str(error)
    return report
