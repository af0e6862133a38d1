"""Cut a program in two at chosen values: what is kept of it, and how to compute its results from
that.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core import dtypes
from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, dce, eval_jaxpr, program_cache
from functrax.core.trace import Value, bind, state
from functrax.core.types import ShapedArray
from functrax.lowering.inline import programs_of
from functrax.primitives.residuals import name_p, to_memory_p
from functrax.primitives.rules import zeros
from functrax.transforms.batch import mapped_type
from functrax.transforms.control.cond_rules import cond_p
from functrax.transforms.control.scan_rules import scan_p
from functrax.transforms.jit_call import jit_p
from functrax.transforms.partial import partial_eval_jaxpr
from functrax.transforms.quiet import quiet
from functrax.transforms.remat.budget import choose_within
from functrax.transforms.remat.policies import Budget, Offloadable, Policy
from functrax.transforms.stage import stage_open

Kept = dict[Var, Any]
"""Values to keep: True, or an `Offloadable`."""


class Parts(NamedTuple):
    """A program with known and unknown arguments, split for the backward pass.

    Attributes:
        forward: ``(consts, known arguments) -> (known results, other values that are kept)``.
        consts: what the transformation captured.
        kept: the results of `forward` that are kept.
        inputs: the arguments of `forward` that are kept.
        again: ``(kept results, kept arguments, unknown arguments) -> unknown results``: computes
            what was not kept.
        out_unknown: which results of the program are unknown.
    """

    forward: Jaxpr
    consts: list[Value]
    kept: list[int]
    inputs: list[int]
    again: Jaxpr
    out_unknown: tuple[bool, ...]


@program_cache
def split(jaxpr: Jaxpr, unknown: tuple[bool, ...], policy: Policy | Budget | None) -> Parts:
    """Split a program by its known arguments, and then by a policy."""
    whole, captured, rest, out_unknown, forwarded = partial_eval_jaxpr(jaxpr, unknown)
    known, more = inlined(whole)
    consts = [*more, *captured]
    count = out_unknown.count(False)
    computed = iter(known.outvars[count:])
    # The residuals of the rest, as variables of the known program.
    places = known.invars[len(consts) :]
    residuals = [next(computed) if i is None else places[i] for i in forwarded]
    wanted = [v for v in residuals if type(v) is Var]
    needed = Jaxpr((), known.invars, wanted, known.eqns, known.name)
    before, after, kept = cut(needed, policy)
    bound: dict[Atom, Atom] = dict(zip(rest.invars, residuals, strict=False))
    eqns = [*after, *(e.replace([bound.get(v, v) for v in e.invars]) for e in rest.eqns)]
    outvars = [bound.get(v, v) for v in rest.outvars]
    live = {v for e in eqns for v in e.invars if type(v) is Var}
    live.update(v for v in outvars if type(v) is Var)
    inputs = [i for i, v in enumerate(known.invars) if v in live]
    invars = [*kept.values(), *(known.invars[i] for i in inputs), *rest.invars[len(residuals) :]]
    outs: list[Atom] = list(known.outvars[:count])
    positions = {v: i for i, v in enumerate(outs) if type(v) is Var}
    for v in kept:
        if v not in positions:
            positions[v] = len(outs)
            outs.append(v)
    forward, _ = dce(Jaxpr((), known.invars, outs, before, known.name))
    again = quiet(dce(Jaxpr((), invars, outvars, eqns, jaxpr.name))[0], "checkpoint")
    return Parts(forward, consts, [positions[v] for v in kept], inputs, again, out_unknown)


def cut(
    jaxpr: Jaxpr, policy: Policy | Budget | None
) -> tuple[list[Equation], list[Equation], dict[Var, Var]]:
    """Cut a program by a policy.

    Args:
        jaxpr: without calls of jitted functions.
        policy: which results to keep.

    Returns:
        Its equations, that give also what is kept; the equations that compute its results from
        what is kept and its arguments; and for each kept variable of the first its name in these.
    """
    if isinstance(policy, Budget):
        keep: Kept = dict.fromkeys(choose_within(jaxpr, policy.size), True)
    elif policy is None:
        keep = {}
    else:
        keep = _wanted(jaxpr, policy)
    before: list[Equation] = []
    after: list[Equation] = []
    kept: dict[Var, Var] = {}
    live = {v for v in jaxpr.outvars if type(v) is Var}
    for eqn in reversed(jaxpr.eqns):
        needed = [v for v in eqn.outvars if v in live]
        stays = [v for v in needed if v in keep]
        first, again, moved = eqn, None, []
        if len(stays) < len(needed):
            first, again, inner = _opened(eqn, policy)
            kept.update(zip(inner, inner, strict=True))
            if stays:  # this one is computed again for its other results
                fresh = [Var(v.aval) if v in stays else v for v in again.outvars]
                again = _with_outvars(again, fresh)
            live.update(v for v in again.invars if type(v) is Var and v not in inner)
            after.append(again)
        for v in stays:
            kept[v] = v
            place = keep[v]
            if type(place) is Offloadable:
                there, waiting = Var(v.aval), Var(v.aval)
                moved.append(Equation(to_memory_p, [v], [there], {"kind": place.dst}, eqn.source))
                back = Equation(to_memory_p, [waiting], [v], {"kind": place.src}, eqn.source)
                after.append(back)
                del kept[v]
                kept[there] = waiting
        before += [*reversed(moved), first]
    return before[::-1], after[::-1], kept


def _with_outvars(eqn: Equation, outvars: Sequence[Var]) -> Equation:
    return Equation(eqn.primitive, eqn.invars, outvars, eqn.params, eqn.source)


# What a policy wants ------------------------------------------------------------------------------


def _wanted(jaxpr: Jaxpr, policy: Policy) -> Kept:
    keep: Kept = {}
    for eqn in jaxpr.eqns:
        for v, answer in zip(eqn.outvars, _answers(eqn, policy), strict=True):
            if answer is False:
                continue
            keep[v] = answer
            if eqn.primitive is name_p and type(eqn.invars[0]) is Var:
                # The value has been computed under its other name, by which derivatives of the
                # operation that gave it know it.
                keep[eqn.invars[0]] = keep.pop(v)
    arguments = set(jaxpr.invars)
    return {v: answer for v, answer in keep.items() if v not in arguments}


def _answers(eqn: Equation, policy: Policy) -> list[Any]:
    """Ask a policy about each result; those of a call are asked where they are computed in it."""
    programs = programs_of(eqn) if eqn.params else []
    # A loop's condition is no source of results.
    sources = [one for one in programs if len(one.outvars) == len(eqn.outvars)]
    if not sources:
        answer = policy(eqn.primitive, *(v.aval for v in eqn.invars), **eqn.params)
        return [_checked(answer)] * len(eqn.outvars)
    found: list[Any] = [False] * len(eqn.outvars)
    for program in sources:
        inside: Kept = {}
        for inner in program.eqns:
            inside.update(zip(inner.outvars, _answers(inner, policy), strict=True))
        if eqn.primitive is scan_p:  # a carry at the start of a step is one at the end of another
            first, count = eqn.params["num_consts"], eqn.params["num_carry"]
            carries = zip(program.invars[first : first + count], program.outvars, strict=False)
            inside.update((v, type(out) is Var and inside.get(out, False)) for v, out in carries)
        for i, v in enumerate(program.outvars):
            found[i] = found[i] or (type(v) is Var and inside.get(v, False))
    return found


def _checked(answer: Any) -> Any:
    if type(answer) is Offloadable or isinstance(answer, bool):
        return answer
    raise errors.ArgumentError(
        "checkpoint", "a policy that returns True, False or an Offloadable", repr(answer)
    )


# Programs in programs -----------------------------------------------------------------------------


def inlined(jaxpr: Jaxpr) -> tuple[Jaxpr, list[Value]]:
    """Write a program without calls of jitted functions, captured values first."""
    if not any(eqn.primitive is jit_p for eqn in jaxpr.eqns):
        return jaxpr, []

    def run(program: Jaxpr, values: Sequence[Value]) -> list[Value]:
        env: dict[Any, Value] = dict(zip(program.invars, values, strict=True))
        for eqn in program.eqns:
            operands = [env[v] if type(v) is Var else v for v in eqn.invars]
            if eqn.primitive is jit_p:
                results = run(eqn.params["jaxpr"], operands)
            else:
                state.source = eqn.source
                results = bind(eqn.primitive, *operands, **eqn.params)
            env.update(zip(eqn.outvars, results, strict=True))
        return [env[v] if type(v) is Var else v for v in program.outvars]

    return stage_open(lambda *values: run(jaxpr, values), jaxpr.in_avals, name=jaxpr.name)


def _opened(eqn: Equation, policy: Any) -> tuple[Equation, Equation, list[Var]]:
    """Cut the programs of a loop or a branch too: the equation that also gives what is kept in
    them, the one that takes this, and the variables of it.
    """
    parts: _Opened | None = None
    if policy is None or isinstance(policy, Budget):
        return eqn, eqn, []
    if eqn.primitive is scan_p:
        parts = _cut_body(eqn.params["jaxpr"], policy)
    elif eqn.primitive is cond_p:
        parts = _cut_branches(eqn.params["branches"], policy)
    if parts is None:
        return eqn, eqn, []
    first, again, avals = parts
    if eqn.primitive is scan_p:
        avals = [mapped_type(aval, 0, eqn.params["length"]) for aval in avals]
    kept = [Var(aval) for aval in avals]
    outvars, invars = [*eqn.outvars, *kept], [*eqn.invars, *kept]
    return (
        Equation(eqn.primitive, eqn.invars, outvars, {**eqn.params, **first}, eqn.source),
        Equation(eqn.primitive, invars, eqn.outvars, {**eqn.params, **again}, eqn.source),
        kept,
    )


_Opened = tuple[dict[str, Any], dict[str, Any], list[ShapedArray]]
"""The parameters of both equations, and the types of what is kept."""


@program_cache
def _cut_body(jaxpr: Jaxpr, policy: Policy) -> _Opened | None:
    parts = _cut_program(jaxpr, policy)
    if parts is None or not parts[2]:
        return None
    first, again, avals = parts
    return {"jaxpr": first}, {"jaxpr": again}, avals


@program_cache
def _cut_branches(branches: tuple[Jaxpr, ...], policy: Policy) -> _Opened | None:
    """Cut every branch; what is kept has a place of its type, shared by the branches."""
    places: list[ShapedArray] = []
    parts: list[tuple[Jaxpr, Jaxpr, list[int]]] = []
    for branch in branches:
        part = _cut_program(branch, policy)
        if part is None or any(dtypes.is_extended(aval.dtype) for aval in part[2]):
            return None
        free = list(range(len(places)))
        order: list[int] = []
        for aval in map(ShapedArray.strong, part[2]):
            place = next((i for i in free if places[i] is aval), len(places))
            if place == len(places):
                places.append(aval)
            else:
                free.remove(place)
            order.append(place)
        parts.append((part[0], part[1], order))
    if not places:
        return None
    count = len(branches[0].invars)
    firsts: list[Jaxpr] = []
    agains: list[Jaxpr] = []
    for first, again, order in parts:
        firsts.append(_filled(first, len(branches[0].outvars), order, places))
        kept = [Var(aval) for aval in places]
        for var, place in zip(again.invars[count:], order, strict=True):
            kept[place] = var
        invars = (*again.invars[:count], *kept)
        agains.append(Jaxpr((), invars, again.outvars, again.eqns, again.name))
    avals = list(firsts[0].out_avals[len(branches[0].outvars) :])
    return {"branches": tuple(firsts)}, {"branches": tuple(agains)}, avals


def _filled(first: Jaxpr, count: int, order: list[int], places: list[ShapedArray]) -> Jaxpr:
    """Let a branch return something for every place: zeros where it keeps nothing."""

    def run(*values: Value) -> list[Value]:
        results = eval_jaxpr(first, (), *values)
        own = dict(zip(order, results[count:], strict=True))
        return [
            *results[:count],
            *(own[i] if i in own else zeros(aval) for i, aval in enumerate(places)),
        ]

    return stage_open(run, first.in_avals, name=first.name)[0]


def _cut_program(jaxpr: Jaxpr, policy: Policy) -> tuple[Jaxpr, Jaxpr, list[ShapedArray]] | None:
    """Cut a program inside another: ``args -> (results, kept)`` and ``(args, kept) -> results``."""
    body, captured = inlined(jaxpr)
    if captured:  # arrays that only this program captured: leave it whole
        return None
    before, after, kept = cut(body, policy)
    first = Jaxpr((), body.invars, [*body.outvars, *kept], before, body.name)
    again = Jaxpr((), [*body.invars, *kept.values()], body.outvars, after, body.name)
    return dce(first)[0], dce(again)[0], [v.aval for v in kept]
