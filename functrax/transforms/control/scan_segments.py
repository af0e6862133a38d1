"""`scan` in segments: the backward pass keeps the carry at the start of each, and runs it again.

A plan is a list of levels, outermost first: so many segments of so many steps. A segment is itself
split by the next level. What does not fill a segment is one more, at the end.
"""

import math
from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core.jaxpr import Jaxpr
from functrax.core.primitive import registry
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.rules import has_tangent, reshape
from functrax.transforms.batch import mapped_type
from functrax.transforms.control.bodies import split_at
from functrax.transforms.control.scan_rules import pushed_body, scan_p, split_body
from functrax.transforms.flat import shown
from functrax.transforms.remat.checkpoint import bind_checkpoint
from functrax.transforms.remat.cost import nbytes
from functrax.transforms.stage import stage_open

Level = tuple[int, int]
"""Number of segments, and steps in each."""

# Plans --------------------------------------------------------------------------------------------


def plan_of(checkpoint: Any, length: int) -> list[Level]:
    """Return the plan that the user asks for.

    Raises:
        ArgumentError: if it is neither a number of segments nor a known name.
    """
    if checkpoint == "sqrt":
        checkpoint = _divisor_near(length, math.isqrt(max(length - 1, 0)) + 1)
    elif checkpoint == "log":
        return halves(length)
    if (
        isinstance(checkpoint, bool | str)
        or not hasattr(checkpoint, "__index__")
        or checkpoint.__index__() < 1
    ):
        raise errors.ArgumentError(
            "scan", "checkpoint as a number of segments, 'sqrt' or 'log'", shown(checkpoint)
        )
    size = -(-length // checkpoint.__index__())
    return [(length // size, size)] if length else []


def _divisor_near(length: int, count: int) -> int:
    """Return a divisor near a count, so that no steps are left over, or else the count."""
    near = [n for n in range(max(count // 2, 1), 2 * count + 1) if length % n == 0]
    return min(near, key=lambda n: abs(n - count), default=count)


def halves(length: int) -> list[Level]:
    """Split in two again and again, or in three, five or seven where nothing is left over so.

    Taking one step off a loop copies its xs.
    """
    plan: list[Level] = []
    while length > 1:
        count = next((n for n in (2, 3, 5, 7) if length % n == 0), 2)
        length //= count
        plan.append((count, length))
    return plan


def plan_within(
    budget: Any, body: Jaxpr, num_consts: int, num_carry: int, length: int
) -> list[Level]:
    """Return the plan of the fewest levels that needs no more memory than a number of bytes.

    Raises:
        ArgumentError: if none does, saying what the smallest needs.
    """
    if isinstance(budget, bool) or not hasattr(budget, "__index__") or budget < 0:
        raise errors.ArgumentError("scan", "budget_bytes as a number of bytes", shown(budget))
    cost = _Memory(body, num_consts, num_carry)
    smallest, plan = cost.of([], length), []
    for depth in range(length.bit_length() + 1):
        needed, plan = cost.smallest(length, depth)
        if needed <= budget:
            return plan
        smallest = min(smallest, needed)
    raise errors.ArgumentError(
        "scan",
        f"budget_bytes of at least {smallest}, for {length} steps of this body",
        str(budget),
        fix="Make the carry smaller, or what a step computes: use `checkpoint` in the body.",
    )


class _Memory:
    """An estimate, from above, of the memory that reverse mode through a loop takes beside its
    operands and results.
    """

    def __init__(self, body: Jaxpr, num_consts: int, num_carry: int) -> None:
        consts, carry, xs = split_at(body.in_avals, num_consts, num_carry)
        self.consts = sum(map(nbytes, consts))
        self.carry = sum(map(nbytes, carry))
        self.rows = sum(map(nbytes, (*xs, *body.out_avals[num_carry:])))
        self.step = _stacked_bytes(body, num_consts, num_carry)
        self.found: dict[tuple[int, int], tuple[int, list[Level]]] = {}

    def of(self, plan: Sequence[Level], length: int) -> int:
        """Return the bytes for a plan: what each level takes, and what does not depend on it."""
        total = self._fixed(len(plan))
        for count, size in plan:
            total += self._level(length, count, size)
            length = size
        return total + length * self.step

    def smallest(self, length: int, depth: int) -> tuple[int, list[Level]]:
        """Return the bytes of the smallest plan of so many levels, or fewer, and the plan."""
        total, plan = self._search(length, depth)
        return total + self._fixed(len(plan)), plan

    def _fixed(self, depth: int) -> int:
        """The cotangents of consts are summed up on each level; beside the stacks there are some
        copies of what one step handles.
        """
        one = self.carry + self.rows
        return (depth + 2) * self.consts + (depth + 4) * (one + 512) + 4 * self.step

    def _level(self, length: int, count: int, size: int) -> int:
        """The carries at the starts of segments; a segment of xs and ys, with its cotangents."""
        rest = length - count * size
        total = (count + 1) * self.carry + 2 * size * self.rows
        if rest:  # parts of xs are copied, parts of ys joined
            total += (rest + 1) * self.carry + 3 * length * self.rows
        return total

    def _search(self, length: int, depth: int) -> tuple[int, list[Level]]:
        key = length, depth
        if key not in self.found:
            best: tuple[int, list[Level]] = length * self.step, []
            for count in _counts(length) if depth else ():
                size = length // count
                below, plan = self._search(size, depth - 1)
                total = self._level(length, count, size) + below
                if total < best[0]:
                    best = total, [(count, size), *plan]
            self.found[key] = best
        return self.found[key]


def _counts(length: int) -> list[int]:
    """Return numbers of segments to try: divisors, and some others."""
    low = [n for n in range(1, math.isqrt(length) + 1) if length % n == 0]
    grid = [round(1.5**i) for i in range(1, 60)]
    counts = {*low, *(length // n for n in low), *(n for n in grid if n <= length)}
    return sorted(counts - {1})


def _stacked_bytes(body: Jaxpr, num_consts: int, num_carry: int) -> int:
    """Return the bytes that reverse mode stacks of each step."""
    active = tuple(has_tangent(aval) for aval in body.in_avals)
    pushed = pushed_body(body, num_consts, num_carry, active)
    tangents = split_at(active, num_consts, num_carry)
    counts = [len(pushed.consts) + num_consts, num_carry, len(active) - num_consts - num_carry]
    given = [sum(tangents[0]), sum(pushed.carry_nonzero), sum(tangents[2])]
    unknown: list[bool] = []
    for known, linear in zip(counts, given, strict=True):
        unknown += [False] * known + [True] * linear
    parts = split_body(pushed.jaxpr, counts[0] + given[0], counts[1] + given[1], tuple(unknown))
    determined = (*parts.carry_unknown, *parts.ys_unknown).count(False)
    return sum(map(nbytes, parts.loop.out_avals[determined:]))


# Programs -----------------------------------------------------------------------------------------


def bind_scan(
    plan: Sequence[Level],
    operands: Sequence[Value],
    *,
    jaxpr: Jaxpr,
    length: int,
    num_consts: int,
    num_carry: int,
    **params: Any,
) -> Sequence[Value]:
    """Bind a loop by a plan; see `scan_p` for the parameters."""
    params |= {"num_consts": num_consts, "num_carry": num_carry}
    if not plan:
        return bind(scan_p, *operands, jaxpr=jaxpr, length=length, **params)
    (count, size), *inner = plan
    consts, carry, xs = split_at(operands, num_consts, num_carry)
    leading = jaxpr.in_avals[: num_consts + num_carry]
    steps = jaxpr.in_avals[num_consts + num_carry :]
    whole = count * size
    rest = length - whole
    last = inner[-1][1] if inner else size

    def segment(number: int, levels: Sequence[Level]) -> Any:
        """Return the function that runs some steps, computed again in the backward pass."""
        types = [*leading, *(mapped_type(aval, 0, number) for aval in steps)]
        program, captured = stage_open(
            lambda *values: bind_scan(levels, values, jaxpr=jaxpr, length=number, **params),
            types,
            name=jaxpr.name,
        )
        return lambda values: bind_checkpoint(program, [*captured, *values])

    def full(carry: Sequence[Value]) -> tuple[Sequence[Value], list[Value]]:
        run = segment(size, inner)
        if count == 1:
            cut = [x if not rest else _part(x, 0, whole) for x in xs]
            carried, ys = split_at(run([*consts, *carry, *cut]), num_carry)
            return carried, list(ys)
        rows = [mapped_type(aval, 0, size) for aval in steps]
        outer, captured = stage_open(lambda *v: run(v), [*leading, *rows], name=jaxpr.name)
        cut = [_reshaped(_part(x, 0, whole) if rest else x, (count, size)) for x in xs]
        counts = {"num_consts": len(captured) + num_consts, "num_carry": num_carry, "unroll": 1}
        found = bind(
            scan_p,
            *captured,
            *consts,
            *carry,
            *cut,
            jaxpr=outer,
            length=count,
            **{**params, **counts},
        )
        carried, ys = split_at(found, num_carry)
        return carried, [_reshaped(y, (whole,), 2) for y in ys]

    def remaining(carry: Sequence[Value]) -> tuple[Sequence[Value], list[Value]]:
        run = segment(rest, [] if rest <= last else [(rest, 1)])
        found = run([*consts, *carry, *(_part(x, whole, length) for x in xs)])
        carried, ys = split_at(found, num_carry)
        return carried, list(ys)

    if not rest:
        carry, ys = full(carry)
        return [*carry, *ys]
    if params["reverse"]:
        carry, after = remaining(carry)
        carry, before = full(carry)
    else:
        carry, before = full(carry)
        carry, after = remaining(carry)
    joined = [
        bind(registry["concatenate"], a, b, dimension=0)[0]
        for a, b in zip(before, after, strict=True)
    ]
    return [*carry, *joined]


def _part(x: Value, start: int, limit: int) -> Value:
    """Take a range of the first axis."""
    aval: ShapedArray = x.aval
    zeros = (0,) * (aval.ndim - 1)
    limits = (limit, *aval.shape[1:])
    return bind(
        registry["slice"],
        x,
        start_indices=(start, *zeros),
        limit_indices=limits,
        strides=(1,) * aval.ndim,
    )[0]


def _reshaped(x: Value, leading: tuple[int, ...], replaced: int = 1) -> Value:
    """Replace the sizes of the first axes."""
    return reshape(x, (*leading, *x.aval.shape[replaced:]))
