"""`Compiled`: the last of the ahead-of-time stages, a program that runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.config import in_force
from functrax.core.trace import Tracer, Value, as_value, describe
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.convert import convert
from functrax.runtime.array import DeviceArray
from functrax.runtime.devices import Device, check_here
from functrax.runtime.dispatch import get_aval, get_place, literal_array
from functrax.runtime.partitioned import Loaded
from functrax.runtime.program import Program
from functrax.runtime.ready import Ready, leaf_kinds
from functrax.sharding import NamedSharding, SingleDeviceSharding
from functrax.transforms.ahead_stage import Signature, Stage
from functrax.transforms.flat import argument_names
from functrax.transforms.jit_shardings import Leaves, check_placed
from functrax.xla.executable import Executable, MemoryAnalysis
from functrax.xla.failure import RUNTIME_ERRORS


class Compiled(Stage):
    """A compiled program: call it with arguments of exactly the types it was made for.

    Static arguments are left out of the call, as their values are part of the program.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jit(lambda x: x + 1).lower(jnp.arange(3)).compile()(jnp.arange(3))
        Array([1, 2, 3], dtype=int32)
    """

    __slots__ = (
        "_device",
        "_is_flat",
        "_kind_of",
        "_kinds",
        "_loaded",
        "_program",
        "_ready",
        "_started",
    )

    def __init__(self, signature: Signature, program: Program, on: Device | Loaded) -> None:
        """Keep the program, compiled for a device or for those of a mesh."""
        super().__init__(signature)
        self._program = program
        self._device = on.mesh.device_tuple[0] if isinstance(on, Loaded) else on
        self._loaded = on if isinstance(on, Loaded) else None
        self._started = False  # the quick way, known after the first call
        self._ready: Ready | None = None  # the quickest: nothing to move
        alone = self._loaded is None and not self._device.has_peers
        self._kind_of = get_aval if alone else get_place
        self._is_flat = signature.in_tree == tree.structure(((0,) * len(signature.avals), {}))
        self._kinds: tuple[Any, ...] = ()  # of the arguments that it is for, and the options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program.

        Raises:
            ArgumentError: for another number of arguments, another shape or dtype, a traced one.
            TreeError: for another structure of an argument.
            DeviceError: for an array that was placed on another device.
        """
        signature, device = self._signature, self._device
        if self._ready is not None and self._is_flat and not kwargs:  # arguments are leaves
            try:
                if self._kinds == (in_force.key, *map(self._kind_of, args)):
                    outputs = self._ready.launch(args, self.fun_name)
                    if outputs is not None:
                        return signature.out_tree.unflatten(outputs)
            except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                pass  # numbers, or what is not valid
        leaves, in_tree = tree.flatten((args, kwargs))
        if self._ready is not None and in_tree == signature.in_tree:
            try:
                kinds = leaf_kinds(leaves, self._kind_of) or ()
                if self._kinds == (in_force.key, *kinds):
                    outputs = self._ready.launch(leaves, self.fun_name)
                    if outputs is not None:
                        return signature.out_tree.unflatten(outputs)
            except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                pass  # what is not valid is found out below
        if in_tree != signature.in_tree:
            raise self._tree_error(args, kwargs)
        check_here((device,), self.fun_name)
        if self._loaded is not None:
            return signature.out_tree.unflatten(self._run_loaded(leaves))
        here = self._started
        values = list(leaves)
        for index, aval in enumerate(signature.avals):
            x = values[index]
            if type(x) is not DeviceArray or x.aval is not aval or x.device is not device:
                values[index] = x = self._checked(x, aval, index)
                here = here and x.device is device
        if here:
            results = self._program.run(values)
        else:
            results = self._program.run_on(device, values)
            self._started = bool(values)
            self._settle(leaves, values)
        return signature.out_tree.unflatten(results)

    def as_text(self) -> str:
        """Return the program that XLA made, in HLO's text form."""
        return self._executable.hlo_text()

    def cost_analysis(self) -> dict[str, float]:
        """Return XLA's estimates: ``"flops"``, ``"bytes accessed"``, ``"transcendentals"``, ..."""
        return self._executable.cost_analysis()

    def memory_analysis(self) -> MemoryAnalysis:
        """Return the bytes of memory that the program needs."""
        return self._executable.memory_analysis()

    def runtime_executable(self) -> Any:
        """Return jaxlib's executable, which has no stable interface."""
        return self._executable.raw

    def _run_loaded(self, leaves: Sequence[Any]) -> list[Any]:
        """Run the program on the devices of its mesh."""
        values: list[Any] = []
        for index, (leaf, aval) in enumerate(zip(leaves, self._signature.avals, strict=True)):
            values.append(self._typed(leaf, aval, index))
        check_placed(
            self.fun_name, values, self._in_shardings(), lambda i: self._names(self.in_tree)[i]
        )
        results = self._program.run(values)
        self._settle(leaves, values)
        return results

    def _settle(self, leaves: Sequence[Any], values: Sequence[Value]) -> None:
        """Let the next call with arguments like these go straight to the executable."""
        kinds = leaf_kinds(leaves, self._kind_of)
        if kinds is not None:
            self._kinds = in_force.key, *kinds
            self._ready = self._program.ready(leaves, values)

    def _in_shardings(self) -> Leaves:
        """Return how each leaf of the arguments must lie; None if it is not passed."""
        found: list[NamedSharding | None] = [None] * len(self._signature.avals)
        if self._loaded is not None:
            own = self._loaded.in_shardings[len(self._program.consts) :]
            for position, sharding in zip(self._program.passed, own, strict=True):
                found[position] = sharding
        return tuple(found)

    @property
    def input_shardings(self) -> Any:
        """The tree ``(args, kwargs)`` of how each array must lie; None for one that is not used."""
        where = SingleDeviceSharding(self._device)
        count = len(self._signature.avals)
        found = [where] * count if self._loaded is None else self._in_shardings()
        return self.in_tree.unflatten(found)

    @property
    def output_shardings(self) -> Any:
        """The tree of how each array of the result will lie; None for one that is an argument."""
        where = SingleDeviceSharding(self._device)
        count = len(self._signature.jaxpr.outvars)
        if self._loaded is None:
            return self.out_tree.unflatten([where] * count)
        own = iter(self._loaded.out_shardings)
        passed_on = self._program.results or [None] * count
        ins = self._in_shardings()
        return self.out_tree.unflatten([next(own) if i is None else ins[i] for i in passed_on])

    @property
    def _executable(self) -> Executable:
        if self._loaded is not None:
            return self._loaded.executable
        return self._program.compiled[self._device]

    def _typed(self, leaf: Any, aval: ShapedArray, index: int) -> Value:
        """Return a leaf as a value of the type that the program takes."""
        if isinstance(leaf, Tracer):
            raise errors.ArgumentError(
                self.fun_name,
                f"a concrete array for {self._name(index)} of a compiled function",
                describe(leaf),
                fix="Call the jitted function itself inside other transforms.",
            )
        value = as_value(leaf, self.fun_name)
        if value.aval.strong() is not aval.strong():
            raise errors.ArgumentError(
                self.fun_name,
                f"{self._name(index)} to be {aval.strong()!r}, for which it was compiled",
                repr(value.aval.strong()),
                fix="Convert it, or call the jitted function, which compiles for any type.",
            )
        if value.aval is aval or index not in (self._program.results or ()):
            return value
        if type(value) is Literal:  # it is a result too, of the type that was traced
            return Literal(value.value, aval)
        return convert(value, aval.dtype, aval.weak_type)

    def _checked(self, leaf: Any, aval: ShapedArray, index: int) -> DeviceArray:
        """Return a leaf as an array of the type that the program takes, where it takes it."""
        value = self._typed(leaf, aval, index)
        array = literal_array(value, self._device) if type(value) is Literal else value
        if array.committed and array.device is not self._device:
            raise errors.DeviceError(
                self.fun_name,
                f"{self._name(index)} on {self._device}, for which it was compiled",
                f"an array on {array.device}",
                fix="Move it with `device_put`.",
            )
        return array

    def _name(self, index: int) -> str:
        return repr(self._names(self.in_tree)[index])

    def _names(self, in_tree: Any) -> list[str]:
        signature = self._signature
        return argument_names(signature.function, in_tree, signature.static_nums)

    def _tree_error(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> errors.FunctraxError:
        """Return the error that says where the arguments have another structure."""
        wanted_args, wanted_kwargs = self.in_avals
        if len(args) != len(wanted_args) or set(kwargs) != set(wanted_kwargs):
            return errors.ArgumentError(
                self.fun_name,
                _describe_call(len(wanted_args), wanted_kwargs) + ", as it was compiled",
                _describe_call(len(args), kwargs),
                fix="Leave static arguments out.",
            )
        keywords = sorted(kwargs)
        wanted = [*wanted_args, *[wanted_kwargs[key] for key in keywords]]
        given = [*args, *[kwargs[key] for key in keywords]]
        flat = tree.structure(((0,) * len(args), dict.fromkeys(keywords, 0)))
        parts: list[Any] = []
        for name, one, other in zip(self._names(flat), wanted, given, strict=True):
            parts += tree.flatten_up_to(tree.structure(one), other, self.fun_name, name)
        index = next(i for i, part in enumerate(parts) if tree.structure(part) != tree.LEAF)
        got = f"{tree.structure(parts[index])}"
        return errors.TreeError(self.fun_name, f"{self._name(index)} to be one array", got)


def _describe_call(count: int, keywords: Mapping[str, Any]) -> str:
    text = f"{count} positional arguments"
    return f"{text} and {', '.join(sorted(keywords))} by name" if keywords else text
