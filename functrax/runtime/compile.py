"""From a jaxpr to a loaded executable, with the time each step took."""

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any

from functrax.core.collector import collector_paused
from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr
from functrax.lowering.base import physical_type
from functrax.lowering.comms import check_explicit, implicit
from functrax.lowering.module import Lowered, Partition, lower_jaxpr
from functrax.lowering.passes import optimize
from functrax.runtime.cache import compile_cached
from functrax.runtime.devices import Device
from functrax.sharding.mesh import Mesh
from functrax.xla.client import Client
from functrax.xla.executable import Executable
from functrax.xla.options import CompileOptions, compile_options
from functrax.xla.topology import Topology


class Timings(threading.local):
    """Seconds spent in this thread, summed since the start or the last `reset`.

    No second counts twice: what is compiled while a function is traced counts as compiling.

    Attributes:
        trace: running Python functions on tracers, and transforming programs.
        lower: passes and writing StableHLO.
        compile: XLA, or loading from the persistent cache.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.timings.reset()
        >>> _ = functrax.jit(lambda x: x + 1).lower(jnp.arange(3))
        >>> functrax.timings.trace > 0, functrax.timings.lower > 0
        (True, True)
    """

    trace = 0.0
    lower = 0.0
    compile = 0.0
    _inner = 0.0  # what the phases inside of the present one took

    def reset(self) -> None:
        """Start again from zero."""
        self.trace = self.lower = self.compile = 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Add the time that a block takes to one of the attributes, less that of phases in it."""
        outer, self._inner = self._inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            setattr(self, name, getattr(self, name) + elapsed - self._inner)
            self._inner = outer + elapsed

    def __repr__(self) -> str:
        """Print the three sums."""
        sums = {name: getattr(self, name) for name in ("trace", "lower", "compile")}
        return f"Timings({', '.join(f'{name}={value:.3f}' for name, value in sums.items())})"


timings = Timings()


def lower(
    jaxpr: Jaxpr,
    *,
    name: str,
    platform: str,
    donated: Sequence[bool] = (),
    partition: Partition | None = None,
) -> Lowered:
    """Optimize a program and write it as StableHLO."""
    with timings.phase("lower"), collector_paused():
        return lower_jaxpr(
            optimize(jaxpr, name),
            name=name,
            platform=platform,
            donated=donated,
            partition=partition,
        )


def compile_lowered(
    lowered: Lowered, device: Device, overrides: dict[str, Any] | None = None
) -> Executable:
    """Compile a module for one device."""
    options = compile_options((device.raw,), overrides=overrides)
    return _compile(lowered, device.client, options)


def compile_partitioned(
    lowered: Lowered, mesh: Mesh, overrides: dict[str, Any] | None = None
) -> Executable:
    """Compile a module for the devices of a mesh.

    Raises:
        CommunicationError: under `no_implicit_comms`, if the partitioner has added a collective.
    """
    devices = mesh.device_tuple
    options = compile_options(
        [device.raw for device in devices], num_partitions=len(devices), overrides=overrides
    )
    executable = _compile(lowered, devices[0].client, options)
    # A program that computes nothing moves an array: that was asked for.
    if config.no_implicit_comms and lowered.jaxpr.eqns:
        if implicit(executable.hlo_text(), mesh):
            # What comes from the cache has the lines of the function that it was compiled for.
            with config.scope(enable_compilation_cache=False):
                executable = _compile(lowered, devices[0].client, options)
        check_explicit(executable.hlo_text(), mesh, lowered.jaxpr.name or "jit")
    return executable


def _compile(lowered: Lowered, client: Client | Topology, options: CompileOptions) -> Executable:
    log = logging.getLogger("functrax") if config.log_compiles else None
    name, start = lowered.jaxpr.name or "jit", time.perf_counter()
    if log is not None:
        log.warning("Compiling %s for arguments %s", name, list(lowered.jaxpr.in_avals))
    with timings.phase("compile"):
        out_types = [physical_type(var.aval) for var in lowered.jaxpr.outvars]
        program = (lowered.module, options, out_types, lowered.callbacks)
        if isinstance(client, Client):
            executable = compile_cached(client, *program)
        else:  # what is compiled for devices that are not here could not be loaded again
            executable = client.compile(*program)
        executable.calls_host |= "io" in lowered.jaxpr.effects
    if log is not None:
        log.warning("Finished compiling %s in %.3f s", name, time.perf_counter() - start)
    return executable
