"""What loops and branches need not compute: a part of a loop's carry that reaches no result that is
used, neither by itself nor through other parts, is left out, with what only it reads; so is what no
branch of a choice needs.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.jaxpr import Jaxpr, dce, program_cache
from functrax.core.primitive import Pruned
from functrax.transforms.control.bodies import where

Prune = Callable[[dict[str, Any], tuple[bool, ...]], Pruned | None]


def _steady(
    body: Jaxpr, first: int, live: Sequence[bool], ys: Sequence[bool] = ()
) -> tuple[Jaxpr, list[bool], list[bool]]:
    """Return the body of the carry that is needed, which arguments it reads, and which carry it is.

    Args:
        body: takes the carry at `first`, and returns it, before ys.
        first: how many arguments stand before the carry.
        live: which carry is used after the loop, or by its condition.
        ys: which further results are used.
    """
    live = list(live)
    while True:
        smaller, read = dce(body, [*live, *ys])
        following = [a or b for a, b in zip(live, read[first:], strict=False)]
        if following == live:
            return smaller, read, live
        live = following


def _with_invars(jaxpr: Jaxpr, places: Sequence[int]) -> Jaxpr:
    return Jaxpr((), [jaxpr.invars[i] for i in places], jaxpr.outvars, jaxpr.eqns, jaxpr.name)


@program_cache
def _scan(jaxpr: Jaxpr, consts: int, carry: int, used: tuple[bool, ...]) -> Pruned | None:
    smaller, read, live = _steady(jaxpr, consts, used[:carry], used[carry:])
    start = consts + carry
    held, moving = where(read[:consts]), where(live, consts)
    operands = [*held, *moving, *where(read[start:], start)]
    results = [*where(live), *where(used[carry:], carry)]
    if len(operands) == len(read) and len(results) == len(used):
        return None
    counts = {"num_consts": len(held), "num_carry": len(moving)}
    return Pruned({"jaxpr": _with_invars(smaller, operands), **counts}, operands, results)


def prune_scan(params: dict[str, Any], used: tuple[bool, ...]) -> Pruned | None:
    """Leave out carry, ys, captured values and xs that no used result needs."""
    found = _scan(params["jaxpr"], params["num_consts"], params["num_carry"], used)
    return found and found._replace(params={**params, **found.params})


@program_cache
def _while(cond: Jaxpr, body: Jaxpr, count: int, used: tuple[bool, ...]) -> Pruned | None:
    consts = len(body.invars) - len(used)
    check, asked = dce(cond)
    wanted = [a or b for a, b in zip(used, asked[count:], strict=True)]
    smaller, read, live = _steady(body, consts, wanted)
    held, captured = where(asked[:count]), where(read[:consts])
    if not any(live) or (all(live) and len(held) == count and len(captured) == consts):
        return None
    carry = where(live)
    operands = [
        *held,
        *(count + i for i in captured),
        *(count + consts + i for i in carry),
    ]
    params = {
        "cond": _with_invars(check, [*held, *(count + i for i in carry)]),
        "body": _with_invars(smaller, [*captured, *(consts + i for i in carry)]),
        "num_cond_consts": len(held),
    }
    return Pruned(params, operands, carry)


def prune_while(params: dict[str, Any], used: tuple[bool, ...]) -> Pruned | None:
    """Leave out carry and captured values that neither the condition nor a used result needs."""
    found = _while(params["cond"], params["body"], params["num_cond_consts"], used)
    return found and found._replace(params={**params, **found.params})


@program_cache
def _while_tangent(
    body: Jaxpr, carry_unknown: tuple[bool, ...], used: tuple[bool, ...]
) -> Pruned | None:
    consts = len(body.invars) - len(carry_unknown)
    given = iter(used)
    wanted = [unknown and next(given) for unknown in carry_unknown]
    smaller, read, live = _steady(body, consts, wanted)
    captured = where(read[:consts])
    if all(live) and len(captured) == consts:
        return None
    known = [is_live for is_live, unknown in zip(live, carry_unknown, strict=True) if not unknown]
    rest = [is_live for is_live, unknown in zip(live, carry_unknown, strict=True) if unknown]
    kept = consts + 2  # behind the number of steps and the stride
    operands = [
        *captured,
        consts,
        consts + 1,
        *where(known, kept),
        *where(rest, kept + len(known)),
    ]
    params = {
        "body": _with_invars(smaller, [*captured, *where(live, consts)]),
        "carry_unknown": tuple(
            unknown for is_live, unknown in zip(live, carry_unknown, strict=True) if is_live
        ),
    }
    return Pruned(params, operands, where(rest))


def prune_while_tangent(params: dict[str, Any], used: tuple[bool, ...]) -> Pruned | None:
    """Leave out tangents that no used result needs, and kept carries that only these read."""
    found = _while_tangent(params["body"], params["carry_unknown"], used)
    return found and found._replace(params={**params, **found.params})


@program_cache
def _cond(branches: tuple[Jaxpr, ...], used: tuple[bool, ...]) -> Pruned:
    found = [dce(branch, used) for branch in branches]
    operands = where([any(flags) for flags in zip(*[read for _, read in found], strict=True)])
    smaller = tuple(_with_invars(branch, operands) for branch, _ in found)
    return Pruned({"branches": smaller}, [0, *(1 + i for i in operands)], where(used))


def prune_cond(params: dict[str, Any], used: tuple[bool, ...]) -> Pruned:
    """Leave out results that are not used, and operands that then no branch reads."""
    found = _cond(params["branches"], used)
    return found._replace(params={**params, **found.params})


def of_used(prune: Prune, transpose: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Return a transpose rule that first leaves out what only results without cotangent need."""

    @functools.wraps(transpose)
    def transpose_used(cotangents: Sequence[Any], *operands: Any, **params: Any) -> list[Any]:
        found = prune(params, tuple(c is not None for c in cotangents))
        if found is None:
            return transpose(cotangents, *operands, **params)
        given = [cotangents[i] for i in found.results]
        pulled = transpose(given, *[operands[i] for i in found.operands], **found.params)
        whole = dict(zip(found.operands, pulled, strict=True))
        return [whole.get(i) for i in range(len(operands))]

    return transpose_used
