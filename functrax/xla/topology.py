"""Compiling for devices that are not here: TPU slices and NVIDIA GPUs, described by name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeAlias

from functrax.errors import DeviceError, ExecutionError
from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.buffers import RawDevice
from functrax.xla.callbacks import HostFunction
from functrax.xla.executable import Executable, OutType, Program
from functrax.xla.failure import translate
from functrax.xla.mlir import MLIRError, Module
from functrax.xla.options import CompileOptions
from functrax.xla.plugins import load_cuda, load_tpu

OptionValue: TypeAlias = str | bool | int | Sequence[int]

# What the GPU compiler must know about a chip, from NVIDIA's data sheets and CUDA's tables.
GPUS: dict[str, dict[str, Any]] = {
    "h100": {
        "name": "NVIDIA H100 80GB HBM3",
        "capability": (9, 0),
        "core_count": 132,
        "fpus_per_core": 128,
        "clock_rate_ghz": 1.98,
        "memory_bandwidth": 3_352_320_000_000,
        "device_memory_size": 84_942_979_072,
        "l2_cache_size": 52_428_800,
        "shared_memory_per_block": 49_152,
        "shared_memory_per_block_optin": 232_448,
        "shared_memory_per_core": 233_472,
        "pcie_bandwidth": 34_359_738_368,
    },
}

# The same for every chip of the last ten years.
_GPU_LIMITS = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "threads_per_core_limit": 2048,
    "block_dim_limit_x": 2_147_483_647,
    "block_dim_limit_y": 65_535,
    "block_dim_limit_z": 65_535,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
    "registers_per_core_limit": 65_536,
    "registers_per_block_limit": 65_536,
    "device_address_bits": 64,
}


class AotProgram(Executable):
    """A program compiled for devices that are not here: it can be asked, but not run."""

    __slots__ = ()

    def __init__(
        self, raw: Any, devices: Sequence[RawDevice], out_types: Sequence[OutType]
    ) -> None:
        """Wrap jaxlib's executable, which is not a loaded one."""
        Program.__init__(self, raw, devices, out_types)
        self.handlers = []
        self.execute = self.run = _refuse

    def cost_analysis(self) -> dict[str, float]:
        """Return XLA's estimates; generic ones where the platform has none of its own (GPUs)."""
        try:
            return super().cost_analysis()
        except ExecutionError:
            client = jax.get_tfrt_cpu_client(num_devices=1)  # any real client can count
            return dict(jax.hlo_module_cost_analysis(client, self.raw.hlo_modules()[0]))


def _refuse(buffers: Sequence[Any], **options: Any) -> NoReturn:
    raise DeviceError("jit", "a program for devices that are here", "one compiled ahead of time")


class Topology:
    """Devices that exist only for the compiler; to them what `Client` is to real ones.

    Attributes:
        platform: ``"tpu"`` or ``"gpu"``.
        name: as it was asked for.
        options: likewise, as pairs.
        devices: jaxlib's device objects, for `compile_options`.
        local_devices: none.
        process_index: of no process.
    """

    __slots__ = ("devices", "name", "options", "platform", "raw")

    local_devices: ClassVar[list[RawDevice]] = []
    process_index: ClassVar[int] = -1

    def __init__(
        self, platform: str, name: str, raw: Any, options: Mapping[str, OptionValue] | None = None
    ) -> None:
        """Wrap jaxlib's topology."""
        self.platform = platform
        self.name = name
        self.options = tuple((options or {}).items())
        self.raw = raw
        self.devices: list[RawDevice] = raw._make_compile_only_devices()

    def compile(
        self,
        module: Module,
        options: CompileOptions,
        out_types: Sequence[OutType],
        callbacks: Sequence[HostFunction] = (),
    ) -> AotProgram:
        """Compile a StableHLO module for these devices.

        Args:
            module: the module; its entry is ``main``.
            options: where and how; see `functrax.xla.options`.
            out_types: shape and dtype of each result of ``main``.
            callbacks: must be empty: there is nobody to call them.

        Raises:
            FunctraxError: XLA refused the program, or it does not fit into the devices' memory; or
                it calls host functions.
        """
        if callbacks:
            raise DeviceError(
                "compile",
                f"a program without host callbacks, for {self.name} is not here",
                f"{len(callbacks)} callbacks",
                fix="Leave out debug.print and the other callbacks.",
            )
        client = self.devices[0].client
        try:
            raw = client.compile(module, options.device_list, options.raw)
        except (JaxRuntimeError, MLIRError, ValueError) as error:
            raise translate(error, "compile") from None
        return AotProgram(raw, options.devices, out_types)


def tpu_topology(name: str, **options: OptionValue) -> Topology:
    """Return the devices of a TPU slice.

    Args:
        name: kind and shape: ``"v5e:2x2"``, ``"v4:4x4x4"``, ``"v5p:8x8x8"``, ``"v6e:16x16"``,
            ``"tpu7x:2x2x1"``.
        options: libtpu's own, such as ``num_slices=2``.

    Raises:
        DeviceError: libtpu is not installed, or does not know the name.
    """
    if ":" not in name:  # libtpu takes an empty one for a TPU v2
        expected = "kind and shape of a TPU slice such as 'v5e:4x4', or GPUs such as 'h100:8'"
        raise DeviceError("topology", expected, repr(name))
    load_tpu()
    return Topology("tpu", name, _topology("tpu", name, options), options)


def gpu_topology(name: str) -> Topology:
    """Return NVIDIA GPUs of one kind.

    Args:
        name: of the chip, how many in a host, and how many hosts: ``"h100"``, ``"h100:8"``,
            ``"h100:2x8"`` for two hosts with eight each.

    Raises:
        DeviceError: the CUDA plug-in is not installed, or functrax does not know the name.
    """
    chip, _, shape = name.partition(":")
    sizes = re.fullmatch(r"(?:(\d+)x)?(\d+)", shape or "1")
    if chip not in GPUS or sizes is None or "0" in (sizes[1], sizes[2]):
        expected = "a GPU and how many, such as 'h100:8', or '2x8' for two hosts; known are "
        raise DeviceError("topology", expected + ", ".join(GPUS), repr(name))
    load_cuda()
    # Partitions, hosts, GPUs of a host.
    grid = f"1x{sizes[1] or 1}x{sizes[2]}"
    options: dict[str, OptionValue] = {"target_config": _target_config(chip), "topology": grid}
    return Topology("gpu", name, _topology("cuda", "", options))


def _topology(plugin: str, name: str, options: Mapping[str, OptionValue]) -> Any:
    try:
        return jax.get_default_c_api_topology(plugin, name, dict(options))
    except JaxRuntimeError as error:
        raise DeviceError("topology", "devices that the compiler knows", str(error)) from None


def _target_config(name: str) -> str:
    """Return a chip's GpuTargetConfigProto as text."""
    chip = dict(GPUS[name])
    full_name = chip.pop("name")
    major, minor = chip.pop("capability")
    numbers = " ".join(f"{key}: {value}" for key, value in (chip | _GPU_LIMITS).items())
    return f"""
        platform_name: "CUDA"
        device_description_str: "{full_name}"
        dnn_version_info {{ major: 9 minor: 10 }}
        gpu_device_info {{
            {numbers}
            name: "{full_name}"
            device_vendor: "NVIDIA Corporation"
            cuda_compute_capability {{ major: {major} minor: {minor} }}
            driver_version: "13.0.0" runtime_version: "13.0.0"
            compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
        }}
    """
