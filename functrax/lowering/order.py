"""Effects that must happen in program order are made to depend on each other.

XLA orders nothing that is not a dependency. Each ordered equation takes a boolean from the one
before and gives one to the next; programs, branches and loops that have such equations pass it
through. The boolean is an ordinary scalar, not a StableHLO token, so that carries and results of
calls need nothing special; what gives it is opaque to XLA, which therefore cannot compute it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, effects_of
from functrax.core.types import Literal, ShapedArray
from functrax.sharding.spec import PartitionSpec

ORDER = ShapedArray((), np.dtype(bool))
"""The type of what is passed on."""

Threaded = Callable[[Jaxpr], Jaxpr]


def in_order(jaxpr: Jaxpr) -> Jaxpr:
    """Return a program whose ordered equations depend on each other."""
    if "ordered" not in jaxpr.effects:
        return jaxpr
    done: dict[Jaxpr, Jaxpr] = {}

    def threaded(inner: Jaxpr) -> Jaxpr:
        found = done.get(inner)
        if found is None:
            first = Var(ORDER)
            eqns, last = _chained(inner, first, threaded)
            found = done[inner] = Jaxpr(
                (), (first, *inner.invars), (last, *inner.outvars), eqns, inner.name
            )
        return found

    eqns, _ = _chained(jaxpr, Literal(False, ORDER), threaded)
    return Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, eqns, jaxpr.name)


def _chained(jaxpr: Jaxpr, order: Atom, threaded: Threaded) -> tuple[list[Equation], Atom]:
    eqns: list[Equation] = []
    for eqn in jaxpr.eqns:
        if "ordered" in effects_of(eqn):
            invars, params = _passing(eqn, order, threaded)
            after = Var(ORDER)
            eqn = Equation(eqn.primitive, invars, (after, *eqn.outvars), params, eqn.source)
            order = after
        eqns.append(eqn)
    return eqns, order


def _passing(eqn: Equation, order: Atom, threaded: Threaded) -> tuple[list[Atom], dict[str, Any]]:
    """Return operands and parameters of the equation that takes `order` and gives it first."""
    name, params = eqn.primitive.name, eqn.params
    operands = list(eqn.invars)
    if eqn.primitive.effects is not None:
        return [order, *operands], {**params, "threaded": True}
    if name == "cond":
        branches = tuple(map(threaded, params["branches"]))
        return [operands[0], order, *operands[1:]], {**params, "branches": branches}
    if name == "while":
        cond: Jaxpr = params["cond"]
        if "ordered" in cond.effects:
            raise errors.ArgumentError(
                "while_loop",
                "ordered effects in the body, not in the condition",
                f"one in {cond.name!r}",
                fix="Call it in the body, or without `ordered=True`.",
            )
        count = params["num_cond_consts"]
        carry = len(cond.invars) - count
        place = len(operands) - carry
        body = _at(threaded(params["body"]), len(params["body"].invars) - carry)
        first = Var(ORDER)
        invars = (*cond.invars[:count], first, *cond.invars[count:])
        check = Jaxpr((), invars, cond.outvars, cond.eqns, cond.name)
        return [*operands[:place], order, *operands[place:]], {
            **params,
            "cond": check,
            "body": body,
        }
    if name == "scan":
        count = params["num_consts"]
        body = _at(threaded(params["jaxpr"]), count)
        changed = {"jaxpr": body, "num_carry": params["num_carry"] + 1}
        return [*operands[:count], order, *operands[count:]], {**params, **changed}
    inner = params.get("jaxpr")
    if isinstance(inner, Jaxpr) and len(inner.invars) == len(operands):  # a call
        changed: dict[str, Any] = {"jaxpr": threaded(inner)}
        if name == "shard_map":  # each device keeps its own order
            for key in ("in_specs", "out_specs"):
                changed[key] = (PartitionSpec(), *params[key])
        return [order, *operands], {**params, **changed}
    raise errors.ArgumentError(
        name, "no ordered effects in programs that it calls", f"one in {name!r}"
    )


def _at(jaxpr: Jaxpr, place: int) -> Jaxpr:
    """Move the first argument to another place."""
    first, *rest = jaxpr.invars
    invars = (*rest[:place], first, *rest[place:])
    return Jaxpr((), invars, jaxpr.outvars, jaxpr.eqns, jaxpr.name)
