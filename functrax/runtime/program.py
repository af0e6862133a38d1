"""A traced program ready to run: compiled once per device, arguments checked, results wrapped."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core.jaxpr import Jaxpr, Var, dce
from functrax.core.trace import Value
from functrax.lowering.module import Lowered
from functrax.runtime.array import DeviceArray, device_copy
from functrax.runtime.compile import compile_lowered, lower
from functrax.runtime.devices import Device
from functrax.runtime.dispatch import check_operands, gather, literal_array
from functrax.xla.executable import Executable


class Program:
    """A jaxpr with its captured values, compiled for each device it is run on.

    Args:
        jaxpr: the program; captured values are its leading arguments.
        consts: the captured values.
        donated: which of the other arguments may be overwritten; empty for none.
        keep_unused: whether to pass arguments that the program does not use.
        overrides: XLA options.
    """

    __slots__ = (
        "_lock",
        "compiled",
        "constants",
        "consts",
        "donated",
        "jaxpr",
        "kept",
        "out_types",
        "overrides",
        "results",
    )

    def __init__(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Value],
        *,
        donated: Sequence[bool] = (),
        keep_unused: bool = False,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        """Decide which arguments are passed and which results are computed."""
        self.overrides = overrides
        self.compiled: dict[Device, Executable] = {}
        self.constants: dict[Device, list[Any]] = {}
        self._lock = threading.Lock()
        arguments = jaxpr.invars[len(consts) :]
        flags = tuple(donated) or (False,) * len(arguments)
        positions = {
            var: i for i, (var, flag) in enumerate(zip(arguments, flags, strict=True)) if not flag
        }
        forwarded = [positions.get(v) if type(v) is Var else None for v in jaxpr.outvars]
        computed = [index is None for index in forwarded]
        body, used = dce(jaxpr, computed)
        kept = [True] * len(used) if keep_unused else used
        invars = [v for v, keep in zip(body.invars, kept, strict=True) if keep]
        self.jaxpr = Jaxpr((), invars, body.outvars, body.eqns, jaxpr.name)
        self.consts = [c for c, keep in zip(consts, kept, strict=False) if keep]
        wanted = kept[len(consts) :]
        self.kept = None if all(wanted) else [i for i, keep in enumerate(wanted) if keep]
        self.donated = [i for i, flag in enumerate(flags) if flag]
        self.results = None if all(computed) else forwarded
        self.out_types = tuple(v.aval for v in body.outvars)

    def launcher(self, device: Device) -> Callable[[Sequence[Any]], list[Value]]:
        """Return the quickest way to run the program, already compiled for `device`, again and
        again.

        It is `run` with everything looked up beforehand; arguments it was not made for go to the
        general way.
        """
        if self.donated or self.results is not None or device.has_peers:
            return self.run
        run = self.compiled[device].run
        constants = self.constants[device]
        kept = self.kept
        out_types = self.out_types
        general = self._run_general
        (out_type,) = out_types if len(out_types) == 1 else (None,)

        def launch(values: Sequence[Any]) -> list[Value]:
            try:
                if kept is None:
                    buffers = [x.buffer for x in values]
                else:
                    buffers = [values[i].buffer for i in kept]
                results = run(constants + buffers if constants else buffers)
            except (AttributeError, TypeError, errors.FunctraxError):
                return general(values)
            if out_type is not None:
                return [DeviceArray(out_type, results[0], device)]
            return [DeviceArray(a, b, device) for a, b in zip(out_types, results, strict=True)]

        return launch

    def run(self, values: Sequence[Any]) -> list[Value]:
        """Launch the program on arrays and literals; the results may not be there yet."""
        try:
            device = values[0].device
            run = self.compiled[device].run
            passed = values if self.kept is None else [values[i] for i in self.kept]
            results = run([*self.constants[device], *[x.buffer for x in passed]])
        except (IndexError, AttributeError, KeyError, TypeError, errors.FunctraxError):
            # No arguments, a literal, a first run, an array elsewhere or without memory: look
            # closer.
            return self._run_general(values)
        return self._wrapped(results, device, values)

    def _run_general(self, values: Sequence[Any]) -> list[Value]:
        check_operands(values)
        arrays = [*self.consts, *values]
        moved, device, _ = gather(self.jaxpr.name or "jit", arrays)
        return self._run_moved(moved, device, values)

    def run_on(self, device: Device, values: Sequence[Any]) -> list[Value]:
        """Launch the program on one device, whatever the default one is."""
        check_operands(values)
        moved = [
            device_copy(x, device, x.committed)
            if type(x) is DeviceArray and x.device is not device
            else x
            for x in (*self.consts, *values)
        ]
        return self._run_moved(moved, device, values)

    def _run_moved(
        self, moved: Sequence[Value], device: Device, values: Sequence[Any]
    ) -> list[Value]:
        whole = [x if type(x) is DeviceArray else literal_array(x, device) for x in moved]
        constants, arguments = whole[: len(self.consts)], whole[len(self.consts) :]
        executable = self.executable(device)
        self.constants[device] = [x.buffer for x in constants]
        passed = arguments if self.kept is None else [arguments[i] for i in self.kept]
        results = executable([x.buffer for x in (*constants, *passed)])
        return self._wrapped(results, device, values)

    def _wrapped(
        self, results: Sequence[Any], device: Device, values: Sequence[Any]
    ) -> list[Value]:
        committed = device.has_peers and any(type(x) is DeviceArray and x.committed for x in values)
        outputs = [
            DeviceArray(a, b, device, committed)
            for a, b in zip(self.out_types, results, strict=True)
        ]
        if self.donated:
            taken = f"donated to {self.jaxpr.name!r} at {errors.user_location()}"
            for i in self.donated:
                if type(values[i]) is DeviceArray:
                    values[i].buffer = taken
        if self.results is None:
            return outputs
        computed = iter(outputs)
        return [
            next(computed) if index is None else _as_array(values[index], device)
            for index in self.results
        ]

    def executable(self, device: Device) -> Executable:
        """Return the program compiled for a device, compiling it the first time."""
        with self._lock:
            found = self.compiled.get(device)
            if found is None:
                found = self.compiled[device] = compile_lowered(
                    self.lower(device.platform), device, self.overrides
                )
            return found

    def lower(self, platform: str) -> Lowered:
        """Return the program as a StableHLO module for a platform."""
        donated = [False] * len(self.consts)
        order = range(len(self.jaxpr.invars) - len(self.consts)) if self.kept is None else self.kept
        donated += [i in self.donated for i in order]
        return lower(self.jaxpr, name=self.jaxpr.name, platform=platform, donated=donated)


def _as_array(value: Any, device: Device) -> DeviceArray:
    return value if type(value) is DeviceArray else literal_array(value, device)
