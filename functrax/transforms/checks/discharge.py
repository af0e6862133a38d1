"""From a program with checks to one that returns what failed first.

One interpreter serves `checkify`, whose results users see, and the debug options, whose programs
raise after their launch. It runs an equation as it is and updates the state behind it; an equation
whose programs hold checks is written with programs that take and return the state.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core import dtypes
from functrax.core.jaxpr import Equation, Jaxpr, Var, program_cache, subjaxprs
from functrax.core.primitive import Primitive
from functrax.core.source import Source
from functrax.core.trace import Value, bind, state
from functrax.core.types import NO_AXES, Literal
from functrax.primitives.rules import scalar
from functrax.transforms.checks.table import (
    Layout,
    NumberCheck,
    Payload,
    Record,
    apply,
    failing,
)
from functrax.transforms.control.while_reverse import while_tangent_p, while_tangent_program
from functrax.transforms.stage import stage_open
from functrax.transforms.vjp_calls import custom_vjp_tangent_p


class Goal(NamedTuple):
    """What is to be found, and for whom.

    Attributes:
        kinds: the checks to hand on; others stay what they are.
        final: whether the program only runs and raises: it is not transformed any further, and its
            results are not wanted once something has failed.
    """

    kinds: frozenset[str]
    final: bool


MOVES = frozenset({
    *("broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "dynamic_update_slice"),
    *("optimization_barrier", "pad", "reshape", "rev", "select_n", "slice", "split", "squeeze"),
    *("stop_gradient", "transpose", "device_put", "name", "to_memory"),
})  # fmt: skip
"""Primitives that make no numbers: what they give, they were given."""


# What a program holds -----------------------------------------------------------------------------


class Content(NamedTuple):
    """What the checks in a program need.

    Attributes:
        checks: whether there are any.
        depth: how many loops with checks are inside of each other.
        payloads: the types of the values that messages show.
    """

    checks: bool = False
    depth: int = 0
    payloads: frozenset[Payload] = frozenset()

    def joined(self, other: "Content", loop: bool) -> "Content":
        """Return what both need; the other is in a loop, or not."""
        depth = other.depth + (loop and other.checks)
        return Content(
            self.checks or other.checks,
            max(self.depth, depth),
            self.payloads | other.payloads,
        )


@program_cache
def content(jaxpr: Jaxpr, goal: Goal) -> Content:
    """Return what the checks in a program need."""
    found = Content()
    for eqn in jaxpr.eqns:
        for one in programs_of(eqn, goal):
            found = found.joined(content(one, goal), eqn.primitive.name in LOOPS)
        if eqn.primitive.name == "check":
            if eqn.params["check"].kind in goal.kinds:
                payload = tuple(v.aval.update(varying=NO_AXES) for v in eqn.invars[1:])
                found = found.joined(
                    Content(True, 0, frozenset({payload} if payload else ())), False
                )
        elif not found.checks and any(True for _ in number_checks(eqn, goal)):
            found = found.joined(Content(True), False)
    return found


def programs_of(eqn: Equation, goal: Goal) -> Sequence[Jaxpr]:
    """Return the programs in an equation that checks can be handed through."""
    if eqn.primitive.name in RULES:
        return list(subjaxprs(eqn.params))
    meant = meaning(eqn, goal)
    return () if meant is None else (meant,)


def meaning(eqn: Equation, goal: Goal) -> Jaxpr | None:
    """Return the program that an equation stands for, if it may be written out.

    Derivatives of loops and of custom functions are. Other calls are if nothing is to find their
    rules any more.
    """
    primitive = eqn.primitive
    if primitive is while_tangent_p:
        return while_tangent_program(_types(eqn), tuple(eqn.params.items()))
    if primitive.evaluate is None or not (goal.final or primitive is custom_vjp_tangent_p):
        return None
    if not any(True for _ in subjaxprs(eqn.params)):
        return None
    return _evaluated(primitive, _types(eqn), tuple(eqn.params.items()))


def _types(eqn: Equation) -> Any:
    return tuple(v.aval for v in eqn.invars)


@program_cache
def _evaluated(primitive: Primitive, avals: Any, params: Any) -> Jaxpr | None:
    evaluate: Any = primitive.evaluate
    jaxpr, consts = stage_open(
        lambda *v: evaluate(*v, **dict(params)), avals, name=dict(params).get("name", "")
    )
    return None if consts else jaxpr  # what captured arrays is looked at as a whole


def number_checks(eqn: Equation, goal: Goal) -> Any:
    """Yield the kinds of checks of an equation's operands or results."""
    name, kinds = eqn.primitive.name, goal.kinds
    if "div" in kinds and name in ("div", "rem"):
        divisor = eqn.invars[1]
        if type(divisor) is not Literal or not divisor.value:
            yield "div"
    if name in MOVES or name in RULES or meaning(eqn, goal) is not None:
        return
    if any(dtypes.is_inexact(v.aval.dtype) and v.aval.size for v in eqn.outvars):
        yield from (kind for kind in ("nan", "inf") if kind in kinds)


# The interpreter ----------------------------------------------------------------------------------


class Discharge:
    """Runs programs with their state, and collects the records.

    Args:
        goal: what to find, and for whom.
        layout: the types of the state.
    """

    def __init__(self, goal: Goal, layout: Layout) -> None:
        """Start without records."""
        self.goal = goal
        self.layout = layout
        self.records: list[Record] = []
        self.size = len(layout.types)
        self.programs: dict[Any, Jaxpr] = {}

    def run(
        self, jaxpr: Jaxpr, failed: Sequence[Value], args: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Interpret a program under the current trace; return the state behind it, and its
        results.
        """
        env: dict[Var, Value] = dict(zip(jaxpr.invars, args, strict=True))
        failed = list(failed)
        saved = state.source
        try:
            for eqn in jaxpr.eqns:
                state.source = eqn.source
                operands = [env[v] if type(v) is Var else v for v in eqn.invars]
                failed, results = self.equation(eqn, failed, operands)
                env.update(zip(eqn.outvars, results, strict=True))
        finally:
            state.source = saved
        return failed, [env[v] if type(v) is Var else v for v in jaxpr.outvars]

    def equation(
        self, eqn: Equation, failed: list[Value], operands: list[Value]
    ) -> tuple[list[Value], Sequence[Value]]:
        """Interpret one equation."""
        if eqn.primitive.name == "check" and eqn.params["check"].kind in self.goal.kinds:
            bad, *values = operands
            return self.note(failed, bad, eqn.params["check"], eqn.source, values), ()
        if any(content(one, self.goal).checks for one in programs_of(eqn, self.goal)):
            meant = None if eqn.primitive.name in RULES else meaning(eqn, self.goal)
            if meant is not None:
                return self.run(meant, failed, operands)
            results = RULES[eqn.primitive.name](self, eqn, failed, operands)
            return list(results[: self.size]), results[self.size :]
        kinds = list(number_checks(eqn, self.goal))
        if "div" in kinds:
            zero = apply("eq", operands[1], scalar(0, operands[1].aval.dtype))
            failed = self.note_number(failed, "div", eqn, [zero])
        results = bind(eqn.primitive, *operands, **eqn.params)
        inexact = [x for x in results if dtypes.is_inexact(x.aval.dtype) and x.aval.size]
        for kind in kinds:
            if kind != "div":
                failed = self.note_number(failed, kind, eqn, [_FLAGS[kind](x) for x in inexact])
        return failed, results

    def note_number(
        self, failed: list[Value], kind: str, eqn: Equation, flags: Sequence[Value]
    ) -> list[Value]:
        """Return the state after a check of numbers, of which each flag tells."""
        bad: Value | None = None
        for flag in flags:
            axes = tuple(range(flag.aval.ndim))
            one = apply("reduce_or", flag, axes=axes) if axes else flag
            bad = one if bad is None else apply("or", bad, one)
        check = NumberCheck(kind, eqn.primitive.name)
        return self.note(failed, bad, check, eqn.source, ())

    def note(
        self,
        failed: list[Value],
        bad: Value,
        check: Any,
        source: Source | None,
        values: Sequence[Value],
    ) -> list[Value]:
        """Return the state after a check, and keep its record."""
        first = self.layout.place(tuple(x.aval.update(varying=NO_AXES) for x in values))
        if first is None:  # none, or those of a rule that was not known when the state was made
            first, values = 0, ()
        self.records.append(Record(check, source, first, len(values)))
        return failing(failed, bad, len(self.records), first, values)

    def program(self, jaxpr: Jaxpr) -> Jaxpr:
        """Return a program that takes the state first and returns it first."""
        found = self.programs.get(jaxpr)
        if found is None:

            def run(*values: Value) -> list[Value]:
                failed, results = self.run(jaxpr, values[: self.size], values[self.size :])
                return [*failed, *results]

            found = self.staged(run, [*self.layout.types, *jaxpr.in_avals], jaxpr.name)
            self.programs[jaxpr] = found
        return found

    def staged(self, run: Callable[..., Any], avals: Sequence[Any], name: str) -> Jaxpr:
        """Write down a program of a loop or a call."""
        found, consts = stage_open(run, avals, transform="checkify", name=name)
        if consts:
            raise errors.InternalError("checkify", "programs that capture nothing", f"{consts}")
        return found


def _is_nan(x: Value) -> Value:
    return apply("ne", x, x)


def _is_infinite(x: Value) -> Value:
    if dtypes.is_complex(x.aval.dtype):
        parts = [_is_infinite(apply(part, x)) for part in ("real", "imag")]
        return apply("or", *parts)
    return apply("and", apply("not", apply("is_finite", x)), apply("eq", x, x))


_FLAGS: dict[str, Callable[[Value], Value]] = {"nan": _is_nan, "inf": _is_infinite}

Rule = Callable[[Discharge, Equation, Sequence[Value], Sequence[Value]], Sequence[Value]]
RULES: dict[str, Rule] = {}
"""By primitive with programs inside: ``(discharge, equation, state, operands) -> (state,
results)``, both in one sequence."""
LOOPS: set[str] = set()
"""Those whose programs run many times."""
