"""Passes over a jaxpr before it is lowered: each makes the program smaller and none changes what it
computes.

Each takes time in proportion to the size of the program. With ``config.dump_ir_to`` the program is
written to a file before the first pass and after each.
"""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, dce, effects_of
from functrax.lowering.combine import combine_sums, is_on_cpus
from functrax.lowering.dump import dump
from functrax.lowering.inline import inline_single_calls, programs_of, with_programs
from functrax.lowering.order import in_order
from functrax.lowering.simplify import simplify

Pass = Callable[[Jaxpr], Jaxpr]


def optimize(jaxpr: Jaxpr, name: str = "program") -> Jaxpr:
    """Run all passes, inside called programs too.

    Args:
        jaxpr: a program without constvars.
        name: of the function it was traced from, for dumps.

    Returns:
        An equivalent program.
    """
    dump(jaxpr, name, "traced")
    for step, run in PASSES.items():
        jaxpr = run(jaxpr)
        dump(jaxpr, name, step)
    return jaxpr


def _everywhere(run: Pass) -> Pass:
    """Return a pass that also runs on the programs that equations call, each once and first."""

    def on_all(jaxpr: Jaxpr, done: dict[Jaxpr, Jaxpr]) -> Jaxpr:
        found = done.get(jaxpr)
        if found is None:
            eqns: dict[int, Equation] = {}
            for index, eqn in enumerate(jaxpr.eqns):
                if eqn.params and (programs := programs_of(eqn)):
                    eqns[index] = with_programs(eqn, {one: on_all(one, done) for one in programs})
            found = done[jaxpr] = run(_with_equations(jaxpr, eqns))
        return found

    return lambda jaxpr: on_all(jaxpr, {})


def combine_sums_on_cpus(jaxpr: Jaxpr) -> Jaxpr:
    """Take sums over CPU devices together that do not depend on each other."""
    if not jaxpr.meshes:
        return jaxpr
    eqns = {
        index: with_programs(eqn, {one: _combined(one) for one in programs_of(eqn)})
        for index, eqn in enumerate(jaxpr.eqns)
        if is_on_cpus(eqn)
    }
    return _with_equations(jaxpr, eqns)


def _with_equations(jaxpr: Jaxpr, new: dict[int, Equation]) -> Jaxpr:
    """Return the program with other equations at some positions."""
    if all(jaxpr.eqns[index] is eqn for index, eqn in new.items()):
        return jaxpr
    eqns = [new.get(index, eqn) for index, eqn in enumerate(jaxpr.eqns)]
    return Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, eqns, jaxpr.name)


_combined = _everywhere(combine_sums)


def remove_dead_code(jaxpr: Jaxpr) -> Jaxpr:
    """Drop equations whose results nobody uses."""
    return dce(jaxpr)[0]


def share_common_subexpressions(jaxpr: Jaxpr) -> Jaxpr:
    """Compute equal equations once."""
    same: dict[Atom, Atom] = {}
    seen: dict[Any, Equation] = {}
    eqns: list[Equation] = []
    for eqn in jaxpr.eqns:
        invars: Sequence[Atom] = eqn.invars
        if same:
            invars = [same.get(v, v) for v in invars]
        if jaxpr.effects and effects_of(eqn):
            eqns.append(eqn.replace(invars) if same else eqn)
            continue
        operands = tuple([v if type(v) is Var else _literal_key(v) for v in invars])
        params = eqn.params
        key = (
            (eqn.primitive, operands, tuple(params.items()))
            if params
            else (eqn.primitive, operands)
        )
        try:
            first = seen.setdefault(key, eqn)
        except TypeError:  # a parameter that cannot be hashed: keep the equation
            first = eqn
        if first is eqn:
            eqns.append(eqn.replace(invars) if same else eqn)
        else:
            same.update(zip(eqn.outvars, first.outvars, strict=True))
    if not same:
        return jaxpr
    outvars = [same.get(v, v) for v in jaxpr.outvars]
    return Jaxpr(jaxpr.constvars, jaxpr.invars, outvars, eqns, jaxpr.name)


def _literal_key(literal: Any) -> Any:
    """A key under which equal literals are equal, with -0.0 and 0.0 apart."""
    value = literal.value
    return (value if value and type(value) is not complex else repr(value), literal.aval)


PASSES: dict[str, Pass] = {
    "inlined": inline_single_calls,
    "simplified": _everywhere(simplify),
    "shared": _everywhere(share_common_subexpressions),
    "pruned": _everywhere(remove_dead_code),
    "ordered": in_order,
    "combined": _everywhere(combine_sums_on_cpus),  # moves equations: last
}
