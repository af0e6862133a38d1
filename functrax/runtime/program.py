"""A traced program ready to run: compiled once per device, arguments checked, results wrapped."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core.config import in_force
from functrax.core.jaxpr import Jaxpr, Var, dce
from functrax.core.trace import Value
from functrax.core.types import Literal, ShapedArray
from functrax.lowering.base import physical_type
from functrax.lowering.module import Lowered
from functrax.runtime.array import DeviceArray, device_arrays, device_copy
from functrax.runtime.checked import with_checks
from functrax.runtime.compile import compile_lowered, lower
from functrax.runtime.devices import Device, default_device
from functrax.runtime.dispatch import check_operands, fresh_array, gather, literal_array
from functrax.runtime.layout import Place
from functrax.runtime.partitioned import Partitioned, replicated
from functrax.runtime.ready import Ready, mark_donated, picker
from functrax.sharding.shardings import NamedSharding
from functrax.xla.buffers import putter
from functrax.xla.executable import Executable


class Program:
    """A jaxpr with its captured values, compiled for each device it is run on.

    Args:
        jaxpr: the program; captured values are its leading arguments.
        consts: the captured values.
        donated: which of the other arguments may be overwritten; empty for none.
        keep_unused: whether to pass arguments that the program does not use.
        overrides: XLA options.
        checks: what it checks while it runs, as in `TraceKey.checks`; by default what the options
            say now.
        in_shardings: how the other arguments are to lie; None as they do, or as XLA likes.
        out_shardings: how results are to lie; None as XLA likes.
    """

    __slots__ = (
        "_lock",
        "checked",
        "compiled",
        "constants",
        "consts",
        "donated",
        "jaxpr",
        "kept",
        "out_types",
        "overrides",
        "partitioned",
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
        checks: tuple[str, ...] | None = None,
        in_shardings: Sequence[NamedSharding | None] = (),
        out_shardings: Sequence[NamedSharding | None] = (),
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
        if out_shardings:  # an argument that is a result may have to lie otherwise
            forwarded = [None] * len(forwarded)
        computed = [index is None for index in forwarded]
        body, used = dce(jaxpr, computed)
        kept = [True] * len(used) if keep_unused else used
        invars = [v for v, keep in zip(body.invars, kept, strict=True) if keep]
        self.jaxpr = Jaxpr((), invars, body.outvars, body.eqns, jaxpr.name)
        self.checked = with_checks(self.jaxpr, in_force.key.checks if checks is None else checks)
        if self.checked is not None:
            self.jaxpr = self.checked.jaxpr
        self.consts = [c for c, keep in zip(consts, kept, strict=False) if keep]
        wanted = kept[len(consts) :]
        self.kept = None if all(wanted) else [i for i, keep in enumerate(wanted) if keep]
        self.donated = [i for i, flag in enumerate(flags) if flag]
        self.results = None if all(computed) else forwarded
        self.out_types = tuple(v.aval for v in body.outvars)
        self.partitioned = self._partitioned(in_shardings, out_shardings)

    def _partitioned(self, in_shardings: Any, out_shardings: Any) -> Partitioned:
        """Return the program as one for several devices."""
        picked = [i in self.donated for i in self.passed]
        checks = 0 if self.checked is None else len(self.checked.types)
        mesh = next((one.mesh for one in (*in_shardings, *out_shardings) if one is not None), None)
        outs = (*out_shardings, *(None,) * checks)
        if checks and mesh is not None:
            outs = (*out_shardings, *(replicated(mesh),) * checks)
        return Partitioned(
            self.jaxpr,
            self.consts,
            tuple(in_shardings[i] for i in self.passed) if in_shardings else None,
            outs if out_shardings else None,
            [*(False for _ in self.consts), *picked],
            self.overrides,
        )

    @property
    def passed(self) -> Sequence[int]:
        """The positions of the arguments that are passed."""
        if self.kept is not None:
            return self.kept
        return range(len(self.jaxpr.invars) - len(self.consts))

    def ready(self, leaves: Sequence[Any], values: Sequence[Value]) -> "Ready | None":
        """Return what a quick launch needs, for arguments of the kinds of those just passed.

        None if the program must take `run`: where checks are to be read, a host function is called,
        or arrays are to be moved.

        Args:
            leaves: the arguments as they came.
            values: the arguments as arrays and literals.
        """
        if self.checked or any(type(values[i]) is Literal for i in self.donated):
            return None
        arrays = [x for x in values if type(x) is DeviceArray]
        on_host = [type(x) is not DeviceArray for x in leaves]
        forwarded = self.results or ()
        if any(i is not None and leaves[i] is not values[i] for i in forwarded):
            return None
        passed = [values[i] for i in self.passed]
        if self.partitioned.is_wanted((*self.consts, *passed)):
            return None if any(on_host) else self._ready_partitioned(passed)
        place = arrays[0].device if arrays else default_device()
        executable = self.compiled.get(place)
        if executable is None or executable.calls_host:
            return None  # a call that fails must not be tried again another way
        committed = False
        if place.has_peers or not place.is_default:
            committed = any(x.committed for x in arrays)
            if any(x.device is not place for x in arrays):
                return None
            if not committed and place is not default_device():
                return None
        if any(on_host) and place is not default_device():
            return None
        places = (place,) * len(self.out_types)
        constants = self.constants[place]
        takers = None
        if any(on_host):
            takers = [(x.aval, putter(*physical_type(x.aval), place.raw)) for x in passed]
        return self._launch(executable, constants, places, committed, place, takers)

    def _ready_partitioned(self, passed: Sequence[DeviceArray]) -> Ready | None:
        found = self.partitioned.settled(passed)
        if found is None:
            return None
        loaded, constants = found
        buffers = [x.buffer for x in constants]
        places = tuple(loaded.out_shardings)
        return self._launch(loaded.executable, buffers, places, True, loaded.mesh)

    def _launch(
        self,
        executable: Executable,
        constants: list[Any],
        places: tuple[Place, ...],
        committed: bool,
        place: Any,
        takers: list[tuple[ShapedArray, Callable[[Any], Any]]] | None = None,
    ) -> Ready:
        return Ready(
            executable.execute,
            executable.handlers,
            constants,
            None if self.kept is None else picker(self.kept),
            self.out_types,
            places,
            committed,
            place,
            self.donated,
            self.results,
            self.jaxpr.name,
            takers,
        )

    def run(self, values: Sequence[Any]) -> list[Value]:
        """Launch the program on arrays and literals; the results may not be there yet.

        Raises:
            DonatedError: if a donated array is passed twice, or captured too.
        """
        if self.donated:
            self._check_donated(values)
        try:
            first = values[0]
            device = first.device
            if not (first.committed or device.is_default or device is default_device()):
                return self._run_general(values)
            if device.has_peers and any(x.device is not device for x in values):
                return self._run_general(values)  # XLA would refuse, and say so on stderr
            executable = self.compiled[device]
            passed = values if self.kept is None else [values[i] for i in self.kept]
            buffers = [*self.constants[device], *[x.buffer for x in passed]]
            results = None if executable.calls_host else executable.run(buffers)
        except (IndexError, AttributeError, KeyError, TypeError, errors.FunctraxError):
            # No arguments, a literal, a first run, an array elsewhere or without memory: look
            # closer.
            return self._run_general(values)
        if results is None:  # a host function that fails is not called again
            return self._run_general(values)
        return self._wrapped(results, device, values)

    def _run_general(self, values: Sequence[Any]) -> list[Value]:
        check_operands((*self.consts, *values))
        passed = [values[i] for i in self.passed]
        if self.partitioned.is_wanted((*self.consts, *passed)):
            buffers, places = self.partitioned.run(passed)
            return self._finished(buffers, places, values, True)
        if not self.jaxpr.outvars and not self.jaxpr.effects:  # results are arguments passed on
            return self._finished((), (), values, False)
        moved, device, _ = gather(self.jaxpr.name or "jit", [*self.consts, *passed])
        return self._run_moved(moved, device, values)

    def run_on(self, device: Device, values: Sequence[Any]) -> list[Value]:
        """Launch the program on one device, whatever the default one is."""
        check_operands((*self.consts, *values))
        if self.donated:
            self._check_donated(values)
        moved = [
            device_copy(x, device, x.committed)
            if type(x) is DeviceArray and x.device is not device
            else x
            for x in (*self.consts, *[values[i] for i in self.passed])
        ]
        return self._run_moved(moved, device, values)

    def _check_donated(self, values: Sequence[Any]) -> None:
        """Raise if the memory of a donated array is needed otherwise: XLA would find out late."""
        places: dict[int, int] = {}
        for i, x in enumerate(values):
            if type(x) is DeviceArray:
                first = places.setdefault(id(x.buffer), i)
                if first != i and (first in self.donated or i in self.donated):
                    check_operands(values)
                    raise self._needed(x, f"as leaves {first} and {i} of its arguments")
        for x in self.consts:
            i = places.get(id(x.buffer)) if type(x) is DeviceArray else None
            if i is not None and i in self.donated:
                check_operands(values)
                raise self._needed(x, f"as leaf {i} of its arguments, and by its closure")

    def _needed(self, x: Any, how: str) -> errors.DonatedError:
        return errors.DonatedError(
            self.jaxpr.name or "jit",
            "each donated array once",
            f"one {x.aval!r} {how}",
            fix="Pass a copy of it, `x.copy()`, or do not donate it.",
        )

    def _run_moved(
        self, moved: Sequence[Value], device: Device, values: Sequence[Any]
    ) -> list[Value]:
        whole = [x if type(x) is DeviceArray else literal_array(x, device) for x in moved]
        count = len(self.consts)
        for position, i in enumerate(self.passed, count):
            if i in self.donated and type(values[i]) is Literal:
                whole[position] = fresh_array(values[i], device)
        executable = self.executable(device)
        buffers = [x.buffer for x in whole]
        self.constants[device] = buffers[:count]
        results = executable.run_to_end(buffers) if executable.calls_host else executable(buffers)
        return self._wrapped(results, device, values)

    def _wrapped(
        self, results: Sequence[Any], device: Device, values: Sequence[Any]
    ) -> list[Value]:
        committed = (device.has_peers or not device.is_default) and any(
            type(x) is DeviceArray and x.committed for x in values
        )
        return self._finished(results, [device] * len(results), values, committed)

    def _finished(
        self,
        results: Sequence[Any],
        places: Sequence[Any],
        values: Sequence[Any],
        committed: bool,
    ) -> list[Value]:
        """Wrap the results of a launch, take donated arguments' memory away, and look at checks."""
        outputs = device_arrays(self.out_types, results, places, committed)
        if self.donated:
            mark_donated(values, self.donated, self.jaxpr.name)
        if self.checked is not None:
            count = len(outputs)
            self.checked.raise_for(results[count:], places[count:])
        if self.results is None:
            return outputs
        computed = iter(outputs)
        values = [fresh_array(x, default_device()) if type(x) is Literal else x for x in values]
        return [next(computed) if index is None else values[index] for index in self.results]

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
        donated = [False] * len(self.consts) + [i in self.donated for i in self.passed]
        return lower(self.jaxpr, name=self.jaxpr.name, platform=platform, donated=donated)
