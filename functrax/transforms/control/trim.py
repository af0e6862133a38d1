"""What a loop need not carry: a part of the carry that each step returns as it came is captured
instead, and xs that no step looks at are left out.

XLA would find the same, but not reverse mode, which keeps the carry of each step.
"""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.jaxpr import Jaxpr, dce
from functrax.core.primitive import Primitive
from functrax.core.trace import Value, bind
from functrax.transforms.control.bodies import reordered, split_at, where
from functrax.transforms.flat import as_array
from functrax.transforms.key_reuse import check_loop

Restore = Callable[[Sequence[Value]], list[Value]]


def trimmed(
    primitive: Primitive, operands: Sequence[Value], params: dict[str, Any]
) -> tuple[Sequence[Value], dict[str, Any], Restore]:
    """Make a loop smaller.

    Args:
        primitive: `scan_p` or `while_p`.
        operands: its operands.
        params: its parameters.

    Returns:
        Operands and parameters of the smaller loop, and what gives the results of the loop from
        those of the smaller one.
    """
    trim = _trimmed_scan if primitive.name == "scan" else _trimmed_while
    return trim(operands, params)


def _trimmed_scan(operands: Sequence[Value], params: dict[str, Any]) -> Any:
    jaxpr, num_consts, num_carry = params["jaxpr"], params["num_consts"], params["num_carry"]
    still = _still(jaxpr, num_consts, num_carry)
    jaxpr, used = dce(jaxpr)  # what is dead may read what is left out
    used = used[num_consts + num_carry :]
    if not any(still) and all(used):
        return operands, params, list
    start = num_consts + num_carry
    stays, moves = where(still, num_consts), where([not s for s in still], num_consts)
    order = [*range(num_consts), *stays, *moves, *where(used, start)]
    outs = [*where([not s for s in still]), *range(num_carry, len(jaxpr.outvars))]
    changed = {
        "jaxpr": reordered(jaxpr, order, outs),
        "num_consts": num_consts + len(stays),
        "num_carry": len(moves),
    }
    carry = operands[num_consts:start]
    return [operands[i] for i in order], {**params, **changed}, _restorer(still, carry)


def _trimmed_while(operands: Sequence[Value], params: dict[str, Any]) -> Any:
    cond, body, count = params["cond"], params["body"], params["num_cond_consts"]
    num_carry = len(cond.invars) - count
    num_consts = len(body.invars) - num_carry
    still = _still(body, num_consts, num_carry)
    if not any(still) or all(still):
        return operands, params, list
    cond_consts, consts, carry = split_at(operands, count, num_consts)
    stays, moves = where(still), where([not s for s in still])
    cond, used = dce(cond)
    asked = [i for i in stays if used[count + i]]
    check = Jaxpr(
        (),
        [
            *cond.invars[:count],
            *(cond.invars[count + i] for i in asked),
            *(cond.invars[count + i] for i in moves),
        ],
        cond.outvars,
        cond.eqns,
        cond.name,
    )
    step = reordered(
        body,
        [*range(num_consts), *(num_consts + i for i in stays), *(num_consts + i for i in moves)],
        moves,
    )
    smaller = [
        *cond_consts,
        *(carry[i] for i in asked),
        *consts,
        *(carry[i] for i in stays),
        *(carry[i] for i in moves),
    ]
    changed = {"cond": check, "body": step, "num_cond_consts": count + len(asked)}
    return smaller, {**params, **changed}, _restorer(still, carry)


def _still(body: Jaxpr, num_consts: int, num_carry: int) -> list[bool]:
    """Tell which parts of the carry a step returns as they came."""
    carry = body.invars[num_consts : num_consts + num_carry]
    return [a is b for a, b in zip(carry, body.outvars, strict=False)]


def _restorer(still: Sequence[bool], carry: Sequence[Value]) -> Restore:
    def restore(results: Sequence[Value]) -> list[Value]:
        moving = iter(results)
        whole = [as_array(x) if s else next(moving) for x, s in zip(carry, still, strict=True)]
        return [*whole, *moving]

    return restore


def bind_loop(
    call: str, primitive: Primitive, *operands: Value, captured: int, **params: Any
) -> Sequence[Value]:
    """Bind a loop as a user wrote it, with what it captured first; see `check_loop`."""
    check_loop(call, primitive, operands, captured, params)
    smaller, params, restore = trimmed(primitive, operands, params)
    return restore(bind(primitive, *smaller, **params))
