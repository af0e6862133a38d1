"""Programs that XLA compiled: run them, ask about them."""

import contextlib
import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from functrax.errors import ExecutionError
from functrax.xla._native import JaxRuntimeError, hlo, jax
from functrax.xla.buffers import (
    RawBuffer,
    RawDevice,
    RawSharding,
    ResultHandler,
    raw_sharding,
    result_handler,
    single_device_sharding,
)
from functrax.xla.failure import translate
from functrax.xla.versions import COLLECTIVES_CAN_DEADLOCK

OutType: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]
Launch: TypeAlias = Callable[[Sequence[RawBuffer]], list[RawBuffer]]


@dataclass(frozen=True, slots=True)
class MemoryAnalysis:
    """The bytes of memory that a program needs on each device, under JAX's names.

    Attributes:
        argument_size_in_bytes: of its arguments.
        output_size_in_bytes: of its results, those included that are written over arguments.
        temp_size_in_bytes: of everything in between.
        alias_size_in_bytes: of the results that are written over donated arguments.
        generated_code_size_in_bytes: of the program itself.
        peak_memory_in_bytes: the most that is in use at one time, as far as the platform tells.
    """

    argument_size_in_bytes: int
    output_size_in_bytes: int
    temp_size_in_bytes: int
    alias_size_in_bytes: int
    generated_code_size_in_bytes: int
    peak_memory_in_bytes: int


class Program:
    """A compiled program that can be asked about itself, whether or not it can run here.

    Attributes:
        raw: jaxlib's executable.
        devices: all devices that it was compiled for.
        out_types: shape and dtype of each result.
        out_shardings: how each result lies on the devices.
        calls_host: whether it calls host functions, or does something else beside computing.
    """

    __slots__ = ("__weakref__", "calls_host", "devices", "out_shardings", "out_types", "raw")

    def __init__(
        self,
        raw: Any,
        devices: Sequence[RawDevice],
        out_types: Sequence[OutType],
        out_shardings: Sequence[RawSharding] | None = None,
        calls_host: bool = False,
    ) -> None:
        """Wrap jaxlib's executable.

        Args:
            raw: jaxlib's executable.
            devices: all devices that it was compiled for.
            out_types: shape and dtype of each result.
            out_shardings: how each result lies on the devices; XLA's own choice by default.
            calls_host: whether it calls host functions.
        """
        self.raw = raw
        self.devices = tuple(devices)
        self.out_types = tuple(out_types)
        self.out_shardings = tuple(out_shardings or self._chosen_shardings())
        self.calls_host = calls_host

    def cost_analysis(self) -> dict[str, float]:
        """Return XLA's estimates: ``"flops"``, ``"bytes accessed"``, ``"transcendentals"``, ..."""
        try:
            return dict(self.raw.cost_analysis())
        except JaxRuntimeError as error:
            raise translate(error, "cost_analysis") from None

    def memory_analysis(self) -> MemoryAnalysis:
        """Return the memory that the program needs on each device."""
        try:
            stats = self.raw.get_compiled_memory_stats()
        except JaxRuntimeError as error:
            raise translate(error, "memory_analysis") from None
        return MemoryAnalysis(*[getattr(stats, name) for name in MemoryAnalysis.__slots__])

    def hlo_text(self) -> str:
        """Return the optimized program in HLO's text form."""
        try:
            return "\n\n".join(module.to_string() for module in self.raw.hlo_modules())
        except JaxRuntimeError as error:
            raise translate(error, "as_text") from None

    def serialize(self) -> bytes:
        """Return the program as bytes, for the same jaxlib version and kind of machine."""
        try:
            return self.raw.serialize()
        except JaxRuntimeError as error:
            raise translate(error, "serialize") from None

    def in_shardings(self) -> list[RawSharding]:
        """Return how the program wants each argument to lie on the devices."""
        return self._shardings(self.raw.get_parameter_shardings())

    def _chosen_shardings(self) -> list[RawSharding]:
        if len(self.devices) == 1 or not self.out_types:
            return [single_device_sharding(self.devices[0])] * len(self.out_types)
        return self._shardings(self.raw.get_output_shardings())

    def _shardings(self, protos: Any) -> list[RawSharding]:
        if protos is None:
            raise ExecutionError("compile", "shardings from XLA", "none")
        return [raw_sharding(self.devices, hlo.HloSharding.from_proto(one)) for one in protos]


class Executable(Program):
    """A program loaded onto devices of this process.

    Running it checks nothing but the byte sizes that jaxlib checks: the caller knows its types.

    Attributes:
        run: starts the program on a list of raw buffers and returns its results, which may not be
            there yet. It is what calling the executable does, without the cost of a method.
        execute, handlers: what `run` is made of,
            ``execute(buffers).consume_with_handlers(handlers)``, for callers that save even that
            frame: jaxlib records the Python stack at each launch, at 0.3 us a frame. They see
                jaxlib's own errors (`failure.RUNTIME_ERRORS`).
    """

    __slots__ = ("execute", "handlers", "run")

    def __init__(
        self,
        raw: Any,
        devices: Sequence[RawDevice],
        out_types: Sequence[OutType],
        out_shardings: Sequence[RawSharding] | None = None,
        calls_host: bool = False,
    ) -> None:
        """Prepare to run jaxlib's loaded executable; the arguments are those of `Program`."""
        super().__init__(raw, devices, out_types, out_shardings, calls_host)
        self.handlers = [
            result_handler(shape, dtype, sharding)
            for (shape, dtype), sharding in zip(self.out_types, self.out_shardings, strict=True)
        ]
        self.execute: Any = raw.execute_sharded
        if devices[0].platform == "cpu" and _bytes_of(self.out_types) >= _LARGE:
            self.execute = functools.partial(_checked_execute, raw.execute_sharded)
        if COLLECTIVES_CAN_DEADLOCK and len(devices) > 1 and devices[0].platform == "cpu":
            self.execute = functools.partial(_windowed_execute, self.execute)
        self.run: Launch = _launcher(self.execute, self.handlers)

    def __call__(self, buffers: Sequence[RawBuffer]) -> list[RawBuffer]:
        """Start the program on its arguments and return its results, which may not be there yet.

        Raises:
            FunctraxError: the runtime refused the arguments, or the program failed at once.
        """
        return self.run(buffers)

    def run_to_end(self, buffers: Sequence[RawBuffer]) -> list[RawBuffer]:
        """Run the program like a call of it, and wait until it has ended.

        So are programs run that do something, above all call host functions. XLA's CPU client lets
        32 programs be under way: were 32 waiting for the result of one whose host function starts a
        program itself, all would wait for each other. What they do is also in order then, and their
        errors come from the call.

        Raises:
            FunctraxError: the program failed; or whatever a host function raised.
        """
        try:
            results = self.execute(buffers, with_tokens=True)
            token = results.consume_token()
            outputs = results.consume_with_handlers(self.handlers)
            token.block_until_ready()
            return outputs
        except (JaxRuntimeError, ValueError) as error:
            raise translate(error, "jit") from None


_LARGE = 2**30


def _bytes_of(types: Sequence[OutType]) -> int:
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in types)


class _CheckedResults:
    """What jaxlib returns from a launch on the CPU whose results may have found no memory.

    jaxlib gives buffers all the same, with the failure inside, and reading one ends the process. So
    a launch with results of more than 1 GiB waits for them, and fails itself.
    """

    __slots__ = ("results",)

    def __init__(self, results: Any) -> None:
        self.results = results

    def consume_with_handlers(self, handlers: list[ResultHandler]) -> list[RawBuffer]:
        buffers = self.results.consume_with_handlers(handlers)
        jax.batched_block_until_ready(buffers)
        return buffers

    def consume_token(self) -> Any:
        return self.results.consume_token()


def _checked_execute(execute: Any, buffers: Sequence[RawBuffer], **options: Any) -> _CheckedResults:
    return _CheckedResults(execute(buffers, **options))


def _launcher(execute: Any, handlers: list[ResultHandler]) -> Launch:
    """Return a function that runs a program.

    Measured with one small array in and one out (jaxlib 0.10.2 / 0.12.0, microseconds, idle):
    this closure 5.1 / 5.6, of which `execute_sharded` 4.7 / 5.2; as a method 5.4 / 6.6; jax.jit
    6.0 / 11. Not faster: tuples for lists, `strict=False`, clients that are not asynchronous;
    slower: `disassemble_into_single_device_arrays` (12) and tokens (+1). Of this, 0.4 us are
    jaxlib's recording of the Python stack, and another 0.1 us for each further frame. Recording can
    be turned off (`set_tracebacks_enabled`), but for the whole process, jax included, and buffers
    made without it cannot be read once it is on again ("null user context"): so it stays on.
    """

    def run(buffers: Sequence[RawBuffer]) -> list[RawBuffer]:
        try:
            return execute(buffers).consume_with_handlers(handlers)
        except (JaxRuntimeError, ValueError) as error:
            raise translate(error, "jit") from None

    return run


_MOST_IN_FLIGHT = 16
_in_flight: deque[Any] = deque()


def _windowed_execute(execute: Any, buffers: Sequence[RawBuffer], with_tokens: bool = False) -> Any:
    """Start a program once old ones have ended, so that collectives cannot deadlock.

    The window is one for the process, because all programs share the CPU's threads. It waits on
    tokens, not results, which may have been donated to a later call. Threads share it without a
    lock: each may exceed it by one launch, and a host callback may launch programs itself.
    """
    while len(_in_flight) >= _MOST_IN_FLIGHT:
        _wait(_in_flight.popleft())
    results = execute(buffers, with_tokens=True)
    if not with_tokens:
        _in_flight.append(results.consume_token())
    return results


def _wait(token: Any) -> None:
    with contextlib.suppress(JaxRuntimeError):  # whoever reads that launch's results is told
        token.block_until_ready()
