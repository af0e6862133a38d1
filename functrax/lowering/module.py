"""From a jaxpr to a StableHLO module."""

import contextlib
import re
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from functrax.core.jaxpr import Equation, Jaxpr, Var
from functrax.core.primitive import Refusal, missing_rule
from functrax.core.types import ShapedArray
from functrax.lowering.builder import Builder
from functrax.lowering.keys import has_keys, lower_on_words, uses_keys
from functrax.lowering.meshes import ModuleMeshes
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import NamedSharding
from functrax.xla import mlir
from functrax.xla.callbacks import HostFunction


class Lowered(NamedTuple):
    """A StableHLO module, the jaxpr it was written from, and the host functions that it calls."""

    module: Any
    jaxpr: Jaxpr
    name: str
    callbacks: tuple[HostFunction, ...] = ()


class Partition(NamedTuple):
    """The devices of a program, and how its arguments and results lie on them.

    Attributes:
        mesh: the devices, in the program's order.
        in_shardings: for each argument; None is left to the compiler.
        out_shardings: for each result, likewise.
    """

    mesh: Mesh
    in_shardings: Sequence[NamedSharding | None]
    out_shardings: Sequence[NamedSharding | None]


class _Writer:
    """Writes functions into one module; a jaxpr that is called twice is written once."""

    def __init__(self, name: str, platform: str, mesh: Mesh | None) -> None:
        self.context = mlir.mlir_context()
        self.module = mlir.new_module(self.context, name)
        self.builder = Builder(self.context, platform, self.call, self.outline)
        if mesh is not None:
            self.builder.meshes = ModuleMeshes(self.context, self.module, mesh)
        self.functions: dict[Any, str] = {}  # collectives depend on the mesh around them, too
        self.outlined: dict[Any, str] = {}
        self.names: set[str] = {"main"}
        self.locations: dict[tuple[int, int, str, str], Any] = {}

    def function(
        self,
        jaxpr: Jaxpr,
        name: str,
        *,
        public: bool = False,
        argument_attributes: Sequence[Any] | None = None,
        result_attributes: Sequence[Any] | None = None,
    ) -> None:
        """Write a jaxpr as a function."""
        block = self.empty_function(
            name, jaxpr.in_avals, jaxpr.out_avals, public, argument_attributes, result_attributes
        )
        with self.inside(block):
            results = self.body(jaxpr, block.arguments)
            mlir.return_values(self.context, results, "func.return")

    def empty_function(
        self,
        name: str,
        in_avals: Sequence[ShapedArray],
        out_avals: Sequence[ShapedArray],
        public: bool = False,
        argument_attributes: Sequence[Any] | None = None,
        result_attributes: Sequence[Any] | None = None,
    ) -> Any:
        """Append a function to the module and return its block."""
        ins = [self.builder.type(aval) for aval in in_avals]
        outs = [self.builder.type(aval) for aval in out_avals]
        _, block = mlir.add_function(
            self.context,
            self.module,
            name,
            ins,
            outs,
            public=public,
            argument_attributes=argument_attributes,
            result_attributes=result_attributes,
        )
        return block

    @contextlib.contextmanager
    def inside(self, block: Any) -> Generator[None]:
        """Write into another function for a while."""
        builder = self.builder
        saved = builder.in_types, builder.out_types, builder.location, builder.shared
        builder.shared = {}
        with mlir.insert_at_end(block):
            yield
        builder.in_types, builder.out_types, builder.location, builder.shared = saved

    def body(self, jaxpr: Jaxpr, arguments: Sequence[Any]) -> list[Any]:
        """Write the equations into the entered block and return the results."""
        env: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        keyed = uses_keys(jaxpr)
        for eqn in jaxpr.eqns:
            self.equation(eqn, env, keyed)
        literal = self.builder.literal
        return [env[v] if isinstance(v, Var) else literal(v) for v in jaxpr.outvars]

    def equation(self, eqn: Equation, env: dict[Any, Any], keyed: bool) -> None:
        """Write one equation by its primitive's rule."""
        builder = self.builder
        primitive, invars, outvars = eqn.primitive, eqn.invars, eqn.outvars
        builder.location = self.location(eqn)
        builder.in_atoms = invars
        builder.in_types = tuple([v.aval for v in invars])
        builder.out_types = tuple([v.aval for v in outvars])
        operands = [env[v] if isinstance(v, Var) else builder.literal(v) for v in invars]
        rule = primitive.lower
        if keyed and not primitive.lowers_keys and has_keys(eqn):
            results = lower_on_words(builder, eqn, operands)
        elif type(rule) is Refusal:
            raise missing_rule(primitive, "jit", "lower")
        else:
            results = rule(builder, *operands, **eqn.params)
        if type(results) is tuple or type(results) is list:
            env.update(zip(outvars, results, strict=True))
        else:
            env[outvars[0]] = results

    def location(self, eqn: Equation) -> Any:
        """Return the MLIR location of an equation: the user's line under ``scope/primitive``."""
        source = eqn.source
        if source is None:
            return self.context.unknown
        code, lasti, scope = source
        # By id: hashing a code object takes time in proportion to its length.
        key = (id(code), lasti, scope, eqn.primitive.name)
        found = self.locations.get(key)
        if found is None:
            name = f"{scope}/{eqn.primitive.name}" if scope else eqn.primitive.name
            line, column = source.position()
            found = self.locations[key] = self.context.location(source.filename, line, column, name)
        return found

    def call(self, jaxpr: Jaxpr, operands: Sequence[Any], name: str) -> list[Any]:
        """Call a jaxpr as a function, writing it the first time.

        Programs of arrays without elements are written in place: XLA ends the process where the
        condition of a `while` calls one whose result it knows (jaxlib 0.10.2).
        """
        if any(0 in aval.shape for aval in jaxpr.in_avals):
            builder = self.builder
            saved = builder.in_types, builder.out_types, builder.location
            results = self.body(jaxpr, operands)
            builder.in_types, builder.out_types, builder.location = saved
            return results
        key = (jaxpr, self.builder.mesh_axes, self.builder.auto)
        symbol = self.functions.get(key)
        location = self.builder.location
        if symbol is None:
            symbol = self.functions[key] = self.unique(name)
            self.function(jaxpr, symbol)
        outs = [self.builder.type(var.aval) for var in jaxpr.outvars]
        return list(mlir.call(self.context, symbol, outs, operands, location).results)

    def outline(
        self, name: str, params: Any, operands: Sequence[Any], body: Callable[..., Sequence[Any]]
    ) -> list[Any]:
        """Call what lowers the current equation as a function, writing it the first time."""
        builder = self.builder
        key = (name, params, builder.in_types, builder.out_types, builder.mesh_axes, builder.auto)
        outs = [builder.type(aval) for aval in builder.out_types]
        symbol = self.outlined.get(key)
        if symbol is None:
            symbol = self.outlined[key] = self.unique(name)
            block = self.empty_function(symbol, builder.in_types, builder.out_types)
            with self.inside(block):
                mlir.return_values(self.context, list(body(*block.arguments)), "func.return")
        return list(mlir.call(self.context, symbol, outs, operands, builder.location).results)

    def unique(self, name: str) -> str:
        """Return a symbol name that is not taken."""
        base = re.sub(r"\W+", "_", name).strip("_") or "function"
        symbol, count = base, 0
        while symbol in self.names:
            count += 1
            symbol = f"{base}_{count}"
        self.names.add(symbol)
        return symbol


def lower_jaxpr(
    jaxpr: Jaxpr,
    *,
    name: str = "main",
    platform: str = "cpu",
    donated: Sequence[bool] = (),
    partition: Partition | None = None,
) -> Lowered:
    """Write a program as a StableHLO module whose ``main`` takes its arguments.

    Args:
        jaxpr: the program, without constvars.
        name: the module's name, shown by XLA in dumps and profiles.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
        donated: which arguments' memory may be reused for results.
        partition: the devices it runs on, if it is more than one.

    Returns:
        The module with the jaxpr that was lowered.
    """
    mesh = None if partition is None else partition.mesh
    writer = _Writer(re.sub(r"\W+", "_", f"jit_{name}"), platform, mesh)
    arguments = results = None
    if any(donated):
        arguments = donation_attributes(writer.context, jaxpr, donated, partition is None)
    if partition is not None:
        meshes: Any = writer.builder.meshes
        own = meshes.attributes(jaxpr.in_avals, partition.in_shardings)
        arguments = [one | other for one, other in zip(own, arguments or own, strict=True)]
        results = meshes.attributes(jaxpr.out_avals, partition.out_shardings)
    writer.function(
        jaxpr, "main", public=True, argument_attributes=arguments, result_attributes=results
    )
    return Lowered(writer.module, jaxpr, name, tuple(writer.builder.callbacks))


def donation_attributes(
    context: Any, jaxpr: Jaxpr, donated: Sequence[bool], pair: bool = True
) -> list[dict[str, Any]]:
    """Pair donated arguments with results of the same type; XLA picks a use for the rest, and for
    all if how they lie is not known.
    """
    free: dict[ShapedArray, list[int]] = {}
    for index, var in enumerate(jaxpr.outvars if pair else ()):
        free.setdefault(var.aval.strong(), []).append(index)
    attributes: list[dict[str, Any]] = []
    for var, is_donated in zip(jaxpr.invars, donated, strict=True):
        if not is_donated:
            attributes.append({})
        elif free.get(var.aval.strong()):
            attributes.append({"tf.aliasing_output": context.i32(free[var.aval.strong()].pop(0))})
        else:
            attributes.append({"jax.buffer_donor": context.bool_attr(True)})
    return attributes
