"""Jaxprs: traced programs as typed equations, and the functions that walk them."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from functrax.core import primitive as primitives
from functrax.core.primitive import Primitive
from functrax.core.signature import check_signature
from functrax.core.source import Source
from functrax.core.trace import Value, bind, state
from functrax.core.types import NO_AXES, Literal, ShapedArray


class Var:
    """A variable of a jaxpr: a type and an identity; the printer gives it a name."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        """Keep the type."""
        self.aval = aval

    def __repr__(self) -> str:
        """Print the type; names exist only within a printed jaxpr."""
        return f"Var:{self.aval!r}"


Atom = Var | Literal


class Equation:
    """One operation: ``outvars = primitive[params] invars``.

    Attributes:
        primitive: what is applied.
        invars: variables or literals.
        outvars: the variables it defines.
        params: the primitive's parameters.
        source: the user's line that wrote it, or None.
    """

    __slots__ = ("invars", "outvars", "params", "primitive", "source")

    def __init__(
        self,
        primitive: Primitive,
        invars: Sequence[Atom],
        outvars: Sequence[Var],
        params: dict[str, Any],
        source: Source | None,
    ) -> None:
        """Set the fields."""
        self.primitive = primitive
        self.invars = invars
        self.outvars = outvars
        self.params = params
        self.source = source

    def replace(self, invars: Sequence[Atom], params: dict[str, Any] | None = None) -> "Equation":
        """Return the equation with other operands (and params)."""
        return Equation(
            self.primitive,
            invars,
            self.outvars,
            self.params if params is None else params,
            self.source,
        )

    def __repr__(self) -> str:
        """Print the operation with its types."""
        ins = " ".join(repr(var.aval) for var in self.invars)
        outs = " ".join(repr(var.aval) for var in self.outvars)
        return f"{outs} = {self.primitive.name} {ins}"


NO_EFFECTS: frozenset[str] = frozenset()


def effects_of(eqn: Equation) -> frozenset[str]:
    """Return what an equation, or a program that it calls, does beside computing."""
    primitive = eqn.primitive
    if primitive.effects is not None:
        return primitive.effects(eqn.params)
    if primitive.axis_names is None:  # which all that have programs have
        return NO_EFFECTS
    return NO_EFFECTS.union(*(program.effects for program in subjaxprs(eqn.params)))


def meshes_of(primitive: Primitive, params: dict[str, Any]) -> tuple[Any, ...]:
    """Return the meshes that an operation, or a program that it calls, names."""
    found = dict.fromkeys(primitive.meshes(params) if primitive.meshes is not None else ())
    for program in subjaxprs(params):
        found.update(dict.fromkeys(program.meshes))
    return tuple(found)


class Jaxpr:
    """A program: equations from ``constvars`` and ``invars`` to ``outvars``.

    Jaxprs that are parameters of equations have no constvars: what they captured is passed as an
    argument.

    Attributes:
        constvars: variables bound to captured arrays.
        invars: variables bound to the arguments.
        eqns: the equations, in order.
        outvars: variables or literals returned.
        name: the name of the function that was traced.
        axis_names: the named axes that collectives inside refer to.
        effects: what the equations do beside computing; see `core.primitive`.
        meshes: the meshes of devices that equations name, in order.
    """

    __slots__ = (
        "__weakref__",
        "axis_names",
        "constvars",
        "effects",
        "eqns",
        "invars",
        "meshes",
        "name",
        "outvars",
    )

    def __init__(
        self,
        constvars: Sequence[Var],
        invars: Sequence[Var],
        outvars: Sequence[Atom],
        eqns: Sequence[Equation],
        name: str = "",
    ) -> None:
        """Set the fields and collect the axis names and effects."""
        self.constvars = tuple(constvars)
        self.invars = tuple(invars)
        self.outvars = tuple(outvars)
        self.eqns = tuple(eqns)
        self.name = name
        names, effects = NO_AXES, NO_EFFECTS
        meshes: dict[Any, None] = {}
        for eqn in eqns:
            if eqn.primitive.axis_names is not None:
                names |= eqn.primitive.axis_names(eqn.params)
                effects |= effects_of(eqn)
                meshes.update(dict.fromkeys(meshes_of(eqn.primitive, eqn.params)))
            elif eqn.primitive.effects is not None:
                effects |= effects_of(eqn)
        self.axis_names = names
        self.effects = effects
        self.meshes = tuple(meshes)

    @property
    def in_avals(self) -> tuple[ShapedArray, ...]:
        """The types of the arguments."""
        return tuple(var.aval for var in self.invars)

    @property
    def out_avals(self) -> tuple[ShapedArray, ...]:
        """The types of the results."""
        return tuple(var.aval for var in self.outvars)

    def __repr__(self) -> str:
        """Print the program."""
        return _show(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(_show(self))


class ClosedJaxpr:
    """A jaxpr with the values of its constvars: a complete program.

    Attributes:
        jaxpr: the program.
        consts: one value per constvar.
    """

    __slots__ = ("consts", "jaxpr")

    def __init__(self, jaxpr: Jaxpr, consts: Sequence[Value]) -> None:
        """Keep both."""
        self.jaxpr = jaxpr
        self.consts = list(consts)

    @property
    def eqns(self) -> tuple[Equation, ...]:
        """The equations."""
        return self.jaxpr.eqns

    @property
    def in_avals(self) -> tuple[ShapedArray, ...]:
        """The types of the arguments."""
        return self.jaxpr.in_avals

    @property
    def out_avals(self) -> tuple[ShapedArray, ...]:
        """The types of the results."""
        return self.jaxpr.out_avals

    def __repr__(self) -> str:
        """Print the program."""
        return _show(self.jaxpr)

    def pretty_print(self, *, source: bool = False) -> str:
        """Return the printed program, with ``file:line`` behind each equation on request."""
        return _show(self.jaxpr, source=source)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(_show(self.jaxpr))


def _show_unwired(jaxpr: Jaxpr, *, source: bool = False) -> str:
    return f"<jaxpr of {len(jaxpr.eqns)} equations>"


_show: Callable[..., str] = _show_unwired


def install_printer(show: Callable[..., str]) -> None:
    """Let `repr` of a jaxpr use the printer of core/show, which imports this module."""
    global _show
    _show = show


def subjaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """Yield the programs among an equation's parameters."""
    for value in params.values():
        if isinstance(value, Jaxpr):
            yield value
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Jaxpr):
                    yield item


def eval_jaxpr(jaxpr: Jaxpr, consts: Sequence[Value], *args: Value) -> list[Value]:
    """Interpret a jaxpr under the current trace.

    Args:
        jaxpr: the program.
        consts: one value per constvar.
        *args: one value per invar.

    Returns:
        One value per outvar.
    """
    env: dict[Var, Value] = {}
    env.update(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))
    saved = state.source
    try:
        for eqn in jaxpr.eqns:
            state.source = eqn.source
            operands = [env[v] if type(v) is Var else v for v in eqn.invars]
            results = bind(eqn.primitive, *operands, **eqn.params)
            for var, result in zip(eqn.outvars, results, strict=True):
                env[var] = result
    finally:
        state.source = saved
    return [env[v] if type(v) is Var else v for v in jaxpr.outvars]


def dce(
    jaxpr: Jaxpr, used: Sequence[bool] | None = None, keep_invars: bool = True
) -> tuple[Jaxpr, list[bool]]:
    """Remove the equations whose results nobody uses, and that have no effects; and from loops what
    only unused results need.

    Args:
        jaxpr: the program.
        used: which outputs are wanted; all by default. Unwanted ones are dropped from the result.
        keep_invars: whether unused arguments stay in the signature.

    Returns:
        The smaller program, and for each invar whether it is used.
    """
    outvars = (
        [v for v, keep in zip(jaxpr.outvars, used, strict=True) if keep]
        if used is not None
        else jaxpr.outvars
    )
    live = {v for v in outvars if type(v) is Var}
    kept: list[Equation] = []
    is_same = True
    for eqn in reversed(jaxpr.eqns):
        if not live.isdisjoint(eqn.outvars) or (jaxpr.effects and effects_of(eqn)):
            if eqn.primitive.prune is not None and not live.issuperset(eqn.outvars):
                smaller = _pruned(eqn, live)
                is_same, eqn = is_same and smaller is eqn, smaller
            kept.append(eqn)
            for v in eqn.invars:
                if type(v) is Var:
                    live.add(v)
    used_in = [v in live for v in jaxpr.invars]
    if used is None and is_same and len(kept) == len(jaxpr.eqns) and (keep_invars or all(used_in)):
        return jaxpr, used_in
    kept.reverse()
    invars = jaxpr.invars if keep_invars else list(itertools.compress(jaxpr.invars, used_in))
    return Jaxpr(jaxpr.constvars, invars, outvars, kept, jaxpr.name), used_in


def _pruned(eqn: Equation, live: set[Var]) -> Equation:
    """Return an equation without what only results that are not live need."""
    prune: Any = eqn.primitive.prune
    found = prune(eqn.params, tuple(v in live for v in eqn.outvars))
    if found is None:
        return eqn
    invars = [eqn.invars[i] for i in found.operands]
    outvars = [eqn.outvars[i] for i in found.results]
    return Equation(eqn.primitive, invars, outvars, found.params, eqn.source)


def check_equation_types(eqn: Equation) -> tuple[ShapedArray, ...]:
    """Return the types an equation's results should have, by its primitive's rule."""
    types = tuple(var.aval for var in eqn.invars)
    check_signature(eqn.primitive, len(types), eqn.params)
    return primitives.abstract_eval(eqn.primitive, types, eqn.params)


P = ParamSpec("P")
R = TypeVar("R")
_program_caches: list[Any] = []


def program_cache(function: Callable[P, R]) -> Callable[P, R]:
    """Remember what a function made of programs, the last 1,024 times, until caches are cleared.

    It must capture nothing: what it returns is kept with its arguments.
    """
    remembering = functools.lru_cache(maxsize=1024)(function)
    _program_caches.append(remembering)
    return cast("Callable[P, R]", remembering)


def clear_program_caches() -> None:
    """Forget all that was made of programs."""
    for cache in _program_caches:
        cache.cache_clear()
