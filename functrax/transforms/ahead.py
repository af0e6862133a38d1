"""Ahead-of-time stages: `jit(f).trace(...)`, `.lower()`, `.compile()`, each of which can be asked.

The stages are of one signature: a `Traced` program has its jaxpr, a `Lowered` one its StableHLO, a
`Compiled` one runs, and takes only arguments of exactly the types it was made for.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from functrax import errors
from functrax.core import tree
from functrax.core.jaxpr import ClosedJaxpr, Jaxpr
from functrax.core.trace import Tracer, Value, as_value, describe
from functrax.core.types import Literal, ShapedArray
from functrax.lowering import module as lowering
from functrax.runtime.array import DeviceArray
from functrax.runtime.compile import compile_lowered
from functrax.runtime.devices import Device, default_device, devices
from functrax.runtime.dispatch import get_aval, get_buffer, literal_array
from functrax.runtime.program import Program, Ready
from functrax.sharding import SingleDeviceSharding
from functrax.transforms.flat import ShapeDtypeStruct, argument_names, function_name
from functrax.xla import mlir
from functrax.xla.client import cpu_client
from functrax.xla.executable import Executable, MemoryAnalysis
from functrax.xla.failure import RUNTIME_ERRORS
from functrax.xla.hlo import estimate_costs, hlo_text

PLATFORMS = ("cpu", "gpu", "cuda", "tpu")


class Signature(NamedTuple):
    """A function at the types of one call.

    Attributes:
        function: the user's function.
        jaxpr: its program; captured values are its leading arguments.
        consts: the captured values.
        in_tree: the structure of ``(args, kwargs)``, without static arguments.
        out_tree: the structure of the result.
        donated: which leaves of the arguments are donated; empty for none.
        keep_unused: whether arguments that are not used are passed to the program all the same.
        static_nums: the positions of static arguments.
        avals: the types of the leaves of the arguments.
        overrides: XLA options that `jit` was given.
        checks: what the program checks while it runs.
    """

    function: Callable[..., Any]
    jaxpr: Jaxpr
    consts: list[Value]
    in_tree: Any
    out_tree: Any
    donated: tuple[bool, ...]
    keep_unused: bool
    static_nums: tuple[int, ...]
    avals: tuple[ShapedArray, ...]
    overrides: dict[str, Any] | None
    checks: tuple[str, ...]


class ArgInfo(NamedTuple):
    """What a stage knows of one array among its arguments.

    Attributes:
        shape: tuple of int.
        dtype: the element type.
        donated: whether its memory may be taken for results.
    """

    shape: tuple[int, ...]
    dtype: Any
    donated: bool


class Stage:
    """What all stages know: the types of arguments and results."""

    __slots__ = ("_signature",)

    def __init__(self, signature: Signature) -> None:
        """Keep the signature."""
        self._signature = signature

    @property
    def fun_name(self) -> str:
        """The name of the function."""
        return function_name(self._signature.function)

    @property
    def in_tree(self) -> Any:
        """The structure of ``(args, kwargs)``, without static arguments."""
        return self._signature.in_tree

    @property
    def in_avals(self) -> Any:
        """The tree ``(args, kwargs)`` of types."""
        return self.in_tree.unflatten(self._signature.avals)

    @property
    def args_info(self) -> Any:
        """The tree ``(args, kwargs)`` of `ArgInfo`."""
        avals = self._signature.avals
        donated = self._signature.donated or (False,) * len(avals)
        pairs = zip(avals, donated, strict=True)
        return self.in_tree.unflatten(
            [ArgInfo(aval.shape, aval.dtype, flag) for aval, flag in pairs]
        )

    @property
    def donate_argnums(self) -> tuple[int, ...]:
        """The positions of donated arrays among the leaves of the arguments."""
        return tuple(i for i, flag in enumerate(self._signature.donated) if flag)

    @property
    def out_tree(self) -> Any:
        """The structure of the result."""
        return self._signature.out_tree

    @property
    def out_avals(self) -> Any:
        """The tree of the result's types."""
        return self.out_tree.unflatten(self._signature.jaxpr.out_avals)

    @property
    def out_info(self) -> Any:
        """The tree of the result, a `ShapeDtypeStruct` for each array."""
        return self.out_tree.unflatten(
            [
                ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
                for aval in self._signature.jaxpr.out_avals
            ]
        )

    def __repr__(self) -> str:
        """Print the stage and the function's types."""
        ins = ", ".join(map(repr, self._signature.avals))
        outs = ", ".join(map(repr, self._signature.jaxpr.out_avals))
        return f"<{type(self).__name__} {self.fun_name}: ({ins}) -> ({outs})>"


class Traced(Stage):
    """A function traced at the types of one call, not yet lowered.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jit(jnp.sin).trace(jnp.ones(3)).out_info
        ShapeDtypeStruct(shape=(3,), dtype=float32)
    """

    __slots__ = ("_device",)

    def __init__(self, signature: Signature, leaves: Sequence[Any]) -> None:
        """Keep the signature, and where the call would run.

        Args:
            signature: the function at the types of the call.
            leaves: the leaves of its arguments: arrays, numbers, `ShapeDtypeStruct`.
        """
        super().__init__(signature)
        self._device = _placed(self.fun_name, leaves)

    @property
    def jaxpr(self) -> ClosedJaxpr:
        """The program."""
        jaxpr, consts = self._signature.jaxpr, self._signature.consts
        bound, free = jaxpr.invars[: len(consts)], jaxpr.invars[len(consts) :]
        return ClosedJaxpr(Jaxpr(bound, free, jaxpr.outvars, jaxpr.eqns, jaxpr.name), consts)

    def lower(self, *, lowering_platforms: Sequence[str] | None = None) -> "Lowered":
        """Write the program as StableHLO.

        Args:
            lowering_platforms: the one platform to lower for (``"cpu"``, ``"gpu"``, ``"tpu"``); it
                need not be here; by default the one that the call would run on.

        Raises:
            ArgumentError: for several platforms, or a program that needs values of an enclosing
                transform.
        """
        captured = [c for c in self._signature.consts if isinstance(c, Tracer)]
        if captured:
            raise errors.ArgumentError(
                "lower",
                f"{self.fun_name!r} to depend on its arguments only",
                f"{describe(captured[0])}, which it captured",
                fix="Pass the value as an argument.",
            )
        platform = self._device.platform
        if lowering_platforms is not None:
            platform = _one_platform(lowering_platforms)
        program = _program(self._signature, None)
        on = self._device if platform == self._device.platform else None
        return Lowered(self._signature, program.lower(platform), platform, on)


class Lowered(Stage):
    """A program as StableHLO, not yet compiled.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> "stablehlo.sine" in functrax.jit(jnp.sin).lower(jnp.ones(3)).as_text()
        True
    """

    __slots__ = ("_device", "_lowered", "_platform")

    def __init__(
        self,
        signature: Signature,
        lowered: lowering.Lowered,
        platform: str,
        device: Device | None,
    ) -> None:
        """Keep the module, and the device to compile for, if the platform is here."""
        super().__init__(signature)
        self._lowered = lowered
        self._platform = platform
        self._device = device

    def as_text(self, dialect: str | None = None, *, debug_info: bool = False) -> str:
        """Return the module as text.

        Args:
            dialect: ``"stablehlo"`` (the default) or ``"hlo"``.
            debug_info: whether to print source locations.

        Raises:
            ArgumentError: for another dialect.
        """
        if _is_stablehlo(dialect, "as_text"):
            return mlir.module_text(self._lowered.module, debug_info)
        return hlo_text(self._lowered.module)

    def compiler_ir(self, dialect: str | None = None) -> Any:
        """Return the module itself: an MLIR module, or HLO text.

        Args:
            dialect: ``"stablehlo"`` (the default) or ``"hlo"``.

        Raises:
            ArgumentError: for another dialect.
        """
        if _is_stablehlo(dialect, "compiler_ir"):
            return self._lowered.module
        return hlo_text(self._lowered.module)

    def cost_analysis(self) -> dict[str, float]:
        """Return XLA's count before optimization: ``"flops"``, ``"bytes accessed"``, ..."""
        client = cpu_client() if self._device is None else self._device.client
        return estimate_costs(self._lowered.module, client)

    def compile(self, compiler_options: Mapping[str, Any] | None = None) -> "Compiled":
        """Compile the module with XLA, or load it from the persistent cache.

        Args:
            compiler_options: XLA's options by name, such as ``{"xla_cpu_enable_fast_math": True}``,
                beside those that `jit` was given.

        Raises:
            DeviceError: if the platform it was lowered for is not here.
            ExecutionError: if XLA refuses the program or an option.
        """
        device = devices(self._platform)[0] if self._device is None else self._device
        overrides = {**(self._signature.overrides or {}), **(compiler_options or {})} or None
        program = _program(self._signature, overrides)
        program.compiled[device] = compile_lowered(self._lowered, device, overrides)
        return Compiled(self._signature, program, device)


class Compiled(Stage):
    """A compiled program: call it with arguments of exactly the types it was made for.

    Static arguments are left out of the call, as their values are part of the program.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jit(lambda x: x + 1).lower(jnp.arange(3)).compile()(jnp.arange(3))
        Array([1, 2, 3], dtype=int32)
    """

    __slots__ = ("_device", "_program", "_ready", "_started")

    def __init__(self, signature: Signature, program: Program, device: Device) -> None:
        """Keep the program, compiled for the device."""
        super().__init__(signature)
        self._program = program
        self._device = device
        self._started = False  # the quick way, known after the first call
        self._ready: Ready | None = None  # the quickest: one device, nothing donated

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program.

        Raises:
            ArgumentError: for another number of arguments, another shape or dtype, a traced one.
            TreeError: for another structure of an argument.
            DeviceError: for an array that was placed on another device.
        """
        signature, device = self._signature, self._device
        leaves, in_tree = tree.flatten((args, kwargs))
        if self._ready is not None and in_tree == signature.in_tree:
            try:
                if tuple(map(get_aval, leaves)) == signature.avals:
                    execute, handlers, constants, kept, _, out_types = self._ready
                    passed = leaves if kept is None else kept(leaves)
                    buffers = constants + list(map(get_buffer, passed))
                    results = execute(buffers).consume_with_handlers(handlers)
                    arrays = list(map(DeviceArray, out_types, results, repeat(device)))
                    return signature.out_tree.unflatten(arrays)
            except (AttributeError, TypeError, *RUNTIME_ERRORS):
                pass  # what is not valid is found out below
        if in_tree != signature.in_tree:
            raise self._tree_error(args, kwargs)
        here = self._started
        for index, aval in enumerate(signature.avals):
            x = leaves[index]
            if type(x) is not DeviceArray or x.aval is not aval or x.device is not device:
                leaves[index] = x = self._checked(x, aval, index)
                here = here and x.device is device
        if here:
            results = self._program.run(leaves)
        else:
            results = self._program.run_on(device, leaves)
            self._started = bool(leaves)
            self._ready = self._program.ready(device) if leaves else None
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

    @property
    def input_shardings(self) -> Any:
        """The tree ``(args, kwargs)`` of where each array must be."""
        where = SingleDeviceSharding(self._device)
        return self.in_tree.unflatten([where] * len(self._signature.avals))

    @property
    def output_shardings(self) -> Any:
        """The tree of where each array of the result will be."""
        where = SingleDeviceSharding(self._device)
        return self.out_tree.unflatten([where] * len(self._signature.jaxpr.outvars))

    @property
    def _executable(self) -> Executable:
        return self._program.compiled[self._device]

    def _checked(self, leaf: Any, aval: ShapedArray, index: int) -> DeviceArray:
        """Return a leaf as an array of the type that the program takes."""
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
        index = next(i for i, part in enumerate(parts) if not _is_leaf(part))
        got = f"{tree.structure(parts[index])}"
        return errors.TreeError(self.fun_name, f"{self._name(index)} to be one array", got)


def _is_leaf(part: Any) -> bool:
    return tree.structure(part) == tree.structure(0)


def _describe_call(count: int, keywords: Mapping[str, Any]) -> str:
    text = f"{count} positional arguments"
    return f"{text} and {', '.join(sorted(keywords))} by name" if keywords else text


def _program(signature: Signature, overrides: dict[str, Any] | None) -> Program:
    return Program(
        signature.jaxpr,
        signature.consts,
        donated=signature.donated,
        keep_unused=signature.keep_unused,
        overrides=overrides,
        checks=signature.checks,
    )


def _placed(call: str, leaves: Sequence[Any]) -> Device:
    """Return the device of a call: where its arguments were placed, or the default one."""
    placed = {x.device for x in leaves if type(x) is DeviceArray and x.committed}
    for x in leaves:
        if isinstance(x, ShapeDtypeStruct) and isinstance(x.sharding, SingleDeviceSharding):
            placed.add(x.sharding.device)
    if len(placed) > 1:
        names = " and ".join(sorted(map(str, placed)))
        fix = "Move them with `device_put`."
        raise errors.DeviceError(call, "arguments on one device", names, fix=fix)
    return placed.pop() if placed else default_device()


def _one_platform(platforms: Sequence[str]) -> str:
    names = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    if len(names) != 1 or names[0] not in PLATFORMS:
        raise errors.ArgumentError(
            "lower",
            f"one of {', '.join(PLATFORMS)} as lowering_platforms",
            repr(platforms),
            fix="Lower once for each platform.",
        )
    return "gpu" if names[0] == "cuda" else names[0]


def _is_stablehlo(dialect: str | None, call: str) -> bool:
    if dialect not in (None, "stablehlo", "hlo"):
        raise errors.ArgumentError(call, "the dialect 'stablehlo' or 'hlo'", repr(dialect))
    return dialect != "hlo"
