"""From a jaxpr to a loaded executable, with the time each step took."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from functrax.core.jaxpr import Jaxpr
from functrax.lowering.base import physical_type
from functrax.lowering.module import Lowered, lower_jaxpr
from functrax.lowering.passes import optimize
from functrax.runtime.cache import compile_cached
from functrax.runtime.devices import Device
from functrax.xla.executable import Executable
from functrax.xla.options import compile_options


class Timings(threading.local):
    """Seconds spent in this thread, summed since the start or the last `reset`.

    Attributes:
        trace: running Python functions on tracers, and transforming programs.
        lower: passes and writing StableHLO.
        compile: XLA, or loading from the persistent cache.
    """

    trace = 0.0
    lower = 0.0
    compile = 0.0

    def reset(self) -> None:
        """Start again from zero."""
        self.trace = self.lower = self.compile = 0.0


timings = Timings()


def lower(jaxpr: Jaxpr, *, name: str, platform: str, donated: Sequence[bool] = ()) -> Lowered:
    """Optimize a program and write it as StableHLO."""
    start = time.perf_counter()
    lowered = lower_jaxpr(optimize(jaxpr, name), name=name, platform=platform, donated=donated)
    timings.lower += time.perf_counter() - start
    return lowered


def compile_lowered(
    lowered: Lowered, device: Device, overrides: dict[str, Any] | None = None
) -> Executable:
    """Compile a module for one device."""
    start = time.perf_counter()
    options = compile_options((device.raw,), overrides=overrides)
    out_types = [physical_type(var.aval) for var in lowered.jaxpr.outvars]
    executable = compile_cached(device.client, lowered.module, options, out_types)
    timings.compile += time.perf_counter() - start
    return executable
