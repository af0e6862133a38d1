"""How to compile: devices, partitioning, and the XLA options that functrax chooses by platform."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from functrax.errors import ConfigError
from functrax.xla._native import jax
from functrax.xla.buffers import RawDevice

OptionValue: TypeAlias = str | int | float | bool

# One row for each option that differs from XLA's default, with what it was measured to bring.
DEFAULT_OPTIONS: dict[str, dict[str, OptionValue]] = {
    "cpu": {
        # XLA's default adds single convolutions, whose kernel gradient YNNPACK computes 7 to 10
        # times slower: forward and backward of 32x32x32x64, 3x3x64x64 take 137 ms instead of
        # 800 ms (jaxlib 0.10.2), 119 instead of 404 ms (0.12). The rest is the default: with dots
        # fused with what follows them (..._TYPE_DOT) the loss of a 12-layer GPT takes 78 ms, with
        # single ones 61 ms (medians, 0.10.2).
        "xla_cpu_experimental_ynn_fusion_type": ",".join(
            ("LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", "LIBRARY_FUSION_TYPE_REDUCE")
        ),
    },
    "gpu": {},
    "tpu": {},
}


class CompileOptions:
    """Where a program runs and how XLA compiles it.

    Attributes:
        devices: all devices, replicas outermost.
        device_list: the same as jaxlib's object.
        raw: jaxlib's options.
    """

    __slots__ = ("device_list", "devices", "raw")

    def __init__(self, devices: tuple[RawDevice, ...], raw: Any) -> None:
        """Hold the devices and jaxlib's options for them."""
        self.devices = devices
        self.device_list = jax.DeviceList(devices)
        self.raw = raw

    def serialize(self) -> bytes:
        """Return them as bytes, equal for equal options: part of a cache key."""
        return self.raw.SerializeAsString()


def compile_options(
    devices: Sequence[RawDevice],
    num_replicas: int = 1,
    num_partitions: int = 1,
    shardy: bool = True,
    overrides: Mapping[str, OptionValue | None] | None = None,
) -> CompileOptions:
    """Return the options for a program.

    Args:
        devices: where it runs: ``num_replicas * num_partitions`` of them, replicas outermost.
        num_replicas: copies that run the same program on data of their own.
        num_partitions: devices that share one program (SPMD).
        shardy: whether Shardy partitions it, or the older GSPMD.
        overrides: XLA options by name; None as a value restores XLA's own default.

    Raises:
        ConfigError: the number of devices does not fit.
    """
    devices = tuple(devices)
    if len(devices) != num_replicas * num_partitions:
        raise ConfigError(
            "compile_options",
            f"{num_replicas} replicas x {num_partitions} partitions devices",
            f"{len(devices)} devices",
        )
    raw = jax.CompileOptions()
    build = raw.executable_build_options
    ids = np.array([device.id for device in devices], np.int32)
    assignment = jax.DeviceAssignment.create(ids.reshape(num_replicas, num_partitions))
    for part in (raw, build):
        part.num_replicas, part.num_partitions = num_replicas, num_partitions
        part.device_assignment = assignment
    build.use_spmd_partitioning = num_partitions > 1
    build.use_shardy_partitioner = shardy
    chosen = {**DEFAULT_OPTIONS.get(devices[0].platform, {}), **(overrides or {})}
    raw.env_option_overrides = [pair for pair in chosen.items() if pair[1] is not None]
    return CompileOptions(devices, raw)
