"""Passes over a jaxpr before it is lowered: each makes the program smaller and none changes what it
computes.

Each takes time in proportion to the size of the program. With ``config.dump_ir_to`` the program is
written to a file before the first pass and after each.
"""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, dce
from functrax.lowering.dump import dump
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
        jaxpr = everywhere(run, jaxpr, {})
        dump(jaxpr, name, step)
    return jaxpr


def everywhere(run: Pass, jaxpr: Jaxpr, done: dict[Jaxpr, Jaxpr]) -> Jaxpr:
    """Run a pass on a program after those that its equations call.

    Args:
        run: the pass.
        jaxpr: the program.
        done: what the pass made of the programs it has seen: each is seen once.
    """
    found = done.get(jaxpr)
    if found is None:
        eqns = jaxpr.eqns
        changed = {
            index: eqn
            for index, old in enumerate(eqns)
            if old.params and (eqn := _inside(run, old, done)) is not old
        }
        if changed:
            replaced = [changed.get(index, eqn) for index, eqn in enumerate(eqns)]
            inner = Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, replaced, jaxpr.name)
        else:
            inner = jaxpr
        found = done[jaxpr] = run(inner)
    return found


def _inside(run: Pass, eqn: Equation, done: dict[Jaxpr, Jaxpr]) -> Equation:
    """Run a pass on the programs that an equation calls."""
    new: dict[str, Any] = {}
    for name, value in eqn.params.items():
        kind = type(value)
        if kind is Jaxpr:
            new[name] = everywhere(run, value, done)
        elif kind is tuple and value and type(value[0]) is Jaxpr:
            new[name] = tuple(everywhere(run, item, done) for item in value)
    if all(new[name] == eqn.params[name] for name in new):
        return eqn
    return eqn.replace(eqn.invars, eqn.params | new)


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
    "simplified": simplify,
    "shared": share_common_subexpressions,
    "pruned": remove_dead_code,
}
