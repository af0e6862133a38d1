"""Ahead-of-time stages: `jit(f).trace(...)`, `.lower()`, `.compile()`, each of which can be asked.

The stages are of one signature: a `Traced` program has its jaxpr, a `Lowered` one its StableHLO, a
`Compiled` one runs, and takes only arguments of exactly the types it was made for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from functrax import errors
from functrax.core.jaxpr import ClosedJaxpr, Jaxpr
from functrax.core.trace import Tracer, describe
from functrax.lowering import module as lowering
from functrax.runtime.array import DeviceArray
from functrax.runtime.compile import compile_lowered
from functrax.runtime.devices import Device, default_device, devices
from functrax.sharding import NamedSharding, SingleDeviceSharding
from functrax.transforms.ahead_compiled import Compiled
from functrax.transforms.ahead_stage import Signature, Stage, Target, program_of
from functrax.transforms.flat import ShapeDtypeStruct
from functrax.xla import mlir
from functrax.xla.client import Client, cpu_client
from functrax.xla.hlo import estimate_costs, hlo_text

PLATFORMS = ("cpu", "gpu", "cuda", "tpu")


class Traced(Stage):
    """A function traced at the types of one call, not yet lowered.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jit(jnp.sin).trace(jnp.ones(3)).out_info
        ShapeDtypeStruct(shape=(3,), dtype=float32)
    """

    __slots__ = ("_target",)

    def __init__(self, signature: Signature, leaves: Sequence[Any]) -> None:
        """Keep the signature, and where the call would run.

        Args:
            signature: the function at the types of the call.
            leaves: the leaves of its arguments: arrays, numbers, `ShapeDtypeStruct`.
        """
        places = [_place_of(leaf) for leaf in leaves]
        wanted = signature.in_shardings or (None,) * len(leaves)
        known = [
            place if one is None and isinstance(place, NamedSharding) else one
            for place, one in zip(places, wanted, strict=True)
        ]
        if any(one is not None for one in known):
            signature = signature._replace(in_shardings=tuple(known))
        super().__init__(signature)
        program = program_of(signature, None).partitioned
        self._target: Device | Target
        if program.is_wanted(program.consts):
            arguments = [None] * (len(program.jaxpr.invars) - len(program.consts))
            arrays = [*program.consts, *arguments]
            mesh = program.mesh_of(arrays)
            self._target = Target(mesh, program.given(mesh, arrays))
        else:
            self._target = _placed(self.fun_name, places)

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
        program = program_of(self._signature, None)
        target = self._target
        own = target.mesh.device_tuple[0] if isinstance(target, Target) else target
        platform = own.platform
        if lowering_platforms is not None:
            platform = _one_platform(lowering_platforms)
        on = target if platform == own.platform else None
        if isinstance(target, Target):
            lowered = program.partitioned.lower(target.mesh, target.given, platform)
        else:
            lowered = program.lower(platform)
        return Lowered(self._signature, lowered, platform, on)


class Lowered(Stage):
    """A program as StableHLO, not yet compiled.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> "stablehlo.sine" in functrax.jit(jnp.sin).lower(jnp.ones(3)).as_text()
        True
    """

    __slots__ = ("_lowered", "_platform", "_target")

    def __init__(
        self,
        signature: Signature,
        lowered: lowering.Lowered,
        platform: str,
        target: Device | Target | None,
    ) -> None:
        """Keep the module, and what to compile for, if the platform is here."""
        super().__init__(signature)
        self._lowered = lowered
        self._platform = platform
        self._target = target

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
        target = self._target
        on = target.mesh.device_tuple[0] if isinstance(target, Target) else target
        client = on.client if on is not None and isinstance(on.client, Client) else cpu_client()
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
        overrides = {**(self._signature.overrides or {}), **(compiler_options or {})} or None
        program = program_of(self._signature, overrides)
        target = self._target
        if isinstance(target, Target):
            loaded = program.partitioned.compile(self._lowered, *target)
            program.partitioned.fix(loaded)
            return Compiled(self._signature, program, loaded)
        device = devices(self._platform)[0] if target is None else target
        program.compiled[device] = compile_lowered(self._lowered, device, overrides)
        return Compiled(self._signature, program, device)


def _place_of(leaf: Any) -> Any:
    """Return where an argument was placed: a device, a sharding, or None."""
    if type(leaf) is DeviceArray:
        return leaf.device if leaf.committed else None
    if isinstance(leaf, ShapeDtypeStruct):
        where = leaf.sharding
        return where.device if isinstance(where, SingleDeviceSharding) else where
    return None


def _placed(call: str, places: Sequence[Any]) -> Device:
    """Return the device of a call: where its arguments were placed, or the default one."""
    placed = {place for place in places if type(place) is Device}
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
