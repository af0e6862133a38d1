"""Passes over a jaxpr before it is lowered: each makes the program smaller and none changes what it computes."""

from collections.abc import Callable
from typing import Any

from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, dce, subjaxprs
from functrax.core.types import Literal


def optimize(jaxpr: Jaxpr) -> Jaxpr:
    """Run all passes, inside called programs too.

    Args:
        jaxpr: a program without constvars.

    Returns:
        An equivalent program.
    """
    return _optimized(jaxpr, {})


def _optimized(jaxpr: Jaxpr, done: dict[Jaxpr, Jaxpr]) -> Jaxpr:
    found = done.get(jaxpr)
    if found is None:
        found = map_subjaxprs(jaxpr, lambda inner: _optimized(inner, done))
        for run in PASSES:
            found = run(found)
        done[jaxpr] = found
    return found


def map_subjaxprs(jaxpr: Jaxpr, transform: Callable[[Jaxpr], Jaxpr]) -> Jaxpr:
    """Apply a transform to the programs inside equations."""
    eqns: list[Equation] = []
    changed = False
    for eqn in jaxpr.eqns:
        inner = {j: transform(j) for j in subjaxprs(eqn.params)} if eqn.params else {}
        if any(old is not new for old, new in inner.items()):
            changed = True
            params = {name: _replaced(value, inner) for name, value in eqn.params.items()}
            eqn = eqn.replace(eqn.invars, params)
        eqns.append(eqn)
    return (
        Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, eqns, jaxpr.name) if changed else jaxpr
    )


def _replaced(value: Any, inner: dict[Jaxpr, Jaxpr]) -> Any:
    if isinstance(value, Jaxpr):
        return inner[value]
    if isinstance(value, tuple):
        return tuple(_replaced(item, inner) for item in value)
    return value


def remove_dead_code(jaxpr: Jaxpr) -> Jaxpr:
    """Drop equations whose results nobody uses."""
    return dce(jaxpr)[0]


def share_common_subexpressions(jaxpr: Jaxpr) -> Jaxpr:
    """Compute equal equations once."""
    same: dict[Var, Var] = {}
    seen: dict[Any, Equation] = {}
    eqns: list[Equation] = []
    for eqn in jaxpr.eqns:
        invars = (
            [same.get(v, v) if type(v) is Var else v for v in eqn.invars] if same else eqn.invars
        )
        operands = tuple([v if isinstance(v, Var) else _literal_key(v) for v in invars])
        key = (
            eqn.primitive,
            operands,
            tuple(eqn.params.items()),
            tuple([v.aval for v in eqn.outvars]),
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
    outvars: list[Atom] = [same.get(v, v) if type(v) is Var else v for v in jaxpr.outvars]
    return Jaxpr(jaxpr.constvars, jaxpr.invars, outvars, eqns, jaxpr.name)


def _literal_key(literal: Literal) -> Any:
    """A key under which equal literals are equal, with -0.0 and 0.0 apart."""
    return (literal.numpy().tobytes(), literal.aval)


PASSES: tuple[Callable[[Jaxpr], Jaxpr], ...] = (remove_dead_code, share_common_subexpressions)
