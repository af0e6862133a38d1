"""Reverse mode through `while_loop`.

The loop runs over what is known, and keeps its carry at some of the steps. What is recorded is one
linear operation, `while_tangent`; its transpose walks the steps backwards.

With `max_steps` the carry of every step is kept. Without it there are a fixed number of places:
carries are kept at multiples of a stride, which doubles when the places are full. Walking back, the
carry of a step is computed again from the nearest one before it, and on the way the carry half-way
is kept, and so on: for n steps that is at most n/2 log2(n) steps more.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.jaxpr import Jaxpr, dce, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, declare, registry
from functrax.core.trace import Value, bind, current, vary
from functrax.core.types import ShapedArray
from functrax.primitives.rules import (
    Dim,
    Tangent,
    add_cotangents,
    broadcast_to,
    expand_axis,
    is_linear,
    reshape,
    zeros,
)
from functrax.transforms.batch import batch_flat
from functrax.transforms.control.bodies import (
    int32,
    reordered,
    split_at,
    where,
)
from functrax.transforms.control.prune import of_used, prune_while_tangent
from functrax.transforms.jvp import jvp_flat
from functrax.transforms.partial import RecordTrace, partial_eval_jaxpr, record_flat
from functrax.transforms.quiet import quiet
from functrax.transforms.stage import stage_open
from functrax.transforms.transpose import backward_pass

PLACES = 32
"""Carries that are kept while the loop runs, without `max_steps`. There are as many again for the
way back, one for each time that a number of steps below 2**32 can be halved."""

_INT = np.dtype(np.int32)

BACKWARD = "backward step"
"""The name of the body of a loop that walks back: the first of its carry is the step's number."""


def _apply(name: str, *operands: Value) -> Value:
    return bind(registry[name], *operands)[0]


def _loop(
    cond: Any,
    body: Any,
    carry: Sequence[Value],
    max_steps: int | None = None,
    name: str = "body",
) -> list[Value]:
    """Bind a loop of functions of flat values, which may close over values."""
    while True:
        avals = [x.aval for x in carry]
        check, cond_consts = stage_open(lambda *v: [cond(*v)], avals, name="cond")
        apart = check.out_avals[0].varying
        if all(apart <= aval.varying for aval in avals):
            break
        carry = [vary(x, apart) for x in carry]  # each device takes steps of its own
    step, consts = stage_open(body, avals, name=name)
    return bind(
        registry["while"],
        *cond_consts,
        *consts,
        *carry,
        cond=check,
        body=step,
        num_cond_consts=len(cond_consts),
        max_steps=max_steps,
    )


# Partial evaluation -------------------------------------------------------------------------------


@program_cache
def _known_step(body: Jaxpr, carry_unknown: tuple[bool, ...], unknown: tuple[bool, ...]) -> Any:
    """Return the step of the known carry, with what it captured, and which results are unknown."""
    known, captured, _, out_u, _ = partial_eval_jaxpr(body, unknown, carry_unknown)
    count = out_u.count(False)
    step, _ = dce(known, [i < count for i in range(len(known.outvars))])
    return step, captured, out_u


@program_cache
def _parts(
    cond: Jaxpr, body: Jaxpr, num_cond_consts: int, unknown: tuple[bool, ...]
) -> tuple[tuple[bool, ...], Jaxpr, list[Value]] | None:
    """Return which carry is unknown, and the step of the known carry with what it captured.

    None if the condition depends on what is unknown.
    """
    carry = len(cond.invars) - num_cond_consts
    consts = len(body.invars) - carry
    consts_u, carry_u = unknown[:consts], unknown[consts:]
    while True:
        step, captured, out_u = _known_step(body, carry_u, (*consts_u, *carry_u))
        if out_u == carry_u:
            break
        carry_u = tuple(a or b for a, b in zip(carry_u, out_u, strict=True))
    used = dce(cond)[1][num_cond_consts:]
    if any(u and is_used for u, is_used in zip(carry_u, used, strict=True)):
        return None
    return carry_u, step, captured


def partial_while(
    trace: RecordTrace, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Run the loop over the known carry, keep some of it, and record the rest as one operation."""
    cond, body, count = params["cond"], params["body"], params["num_cond_consts"]
    found = None
    if not any(unknown[:count]):
        found = _parts(cond, body, count, tuple(unknown[count:]))
    if found is None:
        return trace.record(registry["while"], operands, params)
    carry_u, step, captured = found
    num_carry = len(carry_u)
    cond_consts, consts, carry = split_at(operands, count, len(body.invars) - num_carry)
    consts_u = unknown[count : count + len(consts)]
    known = [x for x, u in zip(carry, carry_u, strict=True) if not u]
    own = [*captured, *(x for x, u in zip(consts, consts_u, strict=True) if not u)]
    places = {i: k for k, i in enumerate(where([not u for u in carry_u]))}
    max_steps = params["max_steps"]
    with current(trace.parent):

        def running(*values: Value) -> Value:
            # The condition does not use the unknown carry; any value of its type will do.
            whole = [
                values[places[i]] if i in places else zeros(v.aval)
                for i, v in enumerate(cond.invars[count:])
            ]
            return eval_jaxpr(cond, (), *cond_consts, *whole)[0]

        def following(*values: Value) -> list[Value]:
            return eval_jaxpr(step, (), *own, *values)

        results, steps, stride, kept = _keeping(running, following, known, max_steps)
    recorded = trace.record(
        while_tangent_p,
        [
            *consts,
            steps,
            stride,
            *kept,
            *(x for x, u in zip(carry, carry_u, strict=True) if u),
        ],
        {"body": body, "carry_unknown": carry_u, "max_steps": max_steps},
    )
    rest, determined = iter(recorded), iter(results)
    return [next(rest) if u else next(determined) for u in carry_u]


def transpose_while(cotangents: Sequence[Tangent], *operands: Any, **params: Any) -> list[Tangent]:
    """Split the loop by what is known, then transpose the rest."""
    while_p = registry["while"]

    def run(*unknown: Value) -> list[Value]:
        given = iter(unknown)
        return bind(while_p, *(next(given) if is_linear(x) else x for x in operands), **params)

    avals = [x.aval for x in operands if is_linear(x)]
    recorded, residuals, _ = record_flat(run, avals, name="while_loop")
    if any(eqn.primitive is while_p for eqn in recorded.eqns):
        raise errors.MissingRuleError(
            "linear_transpose",
            "a function that is linear in its arguments",
            "a loop that ends by the value of one of them",
            fix="Use `vjp`, which linearizes first.",
        )
    pulled = iter(backward_pass(recorded, residuals, cotangents))
    return [next(pulled) if is_linear(x) else None for x in operands]


def _keeping(
    running: Any, following: Any, known: Sequence[Value], max_steps: int | None
) -> tuple[list[Value], Value, Value, list[Value]]:
    """Run a loop; return its results, the number of steps, the stride, and the kept carries."""
    places = max_steps if max_steps is not None else PLACES
    # One place more, which is written to when there is nothing to keep.
    empty = [
        broadcast_to(expand_axis(zeros(x.aval), 0), (places + 1, *x.aval.shape)) for x in known
    ]
    count = len(known)

    def goes_on(steps: Value, stride: Value, *values: Value) -> Value:
        return running(*values[:count])

    def step(steps: Value, stride: Value, *values: Value) -> list[Value]:
        carry, kept = values[:count], list(values[count:])
        if max_steps is None:
            stride, *kept = _make_room(steps, stride, kept)
            fits = _apply("eq", _apply("rem", steps, stride), int32(0))
            place = bind(registry["select_n"], fits, int32(places), _apply("div", steps, stride))[0]
        else:
            place = steps
        kept = [_written(k, x, place) for k, x in zip(kept, carry, strict=True)]
        return [_apply("add", steps, int32(1)), stride, *following(*carry), *kept]

    steps, stride, *rest = _loop(
        goes_on, step, [int32(0), int32(1), *known, *empty], max_steps=max_steps
    )
    return list(rest[:count]), steps, stride, list(rest[count:])


def _make_room(steps: Value, stride: Value, kept: Sequence[Value]) -> list[Value]:
    """Forget every other kept carry if this step has no place; a loop that runs once, or not."""

    def full(stride: Value, *_: Value) -> Value:
        return _apply("ge", _apply("div", steps, stride), int32(PLACES))

    def halve(stride: Value, *kept: Value) -> list[Value]:
        return [_apply("mul", stride, int32(2)), *map(_every_other, kept)]

    return _loop(full, halve, [stride, *kept])


def _every_other(x: Value) -> Value:
    rest = x.aval.shape[1:]
    (even,) = bind(
        registry["slice"],
        x,
        start_indices=(0,) * x.aval.ndim,
        limit_indices=(PLACES, *rest),
        strides=(2, *[1] * len(rest)),
    )
    filler = zeros(x.aval.update(shape=(x.aval.shape[0] - PLACES // 2, *rest)))
    return bind(registry["concatenate"], even, filler, dimension=0)[0]


def _written(kept: Value, x: Value, place: Value) -> Value:
    starts = [place, *[int32(0)] * x.aval.ndim]
    return bind(registry["dynamic_update_slice"], kept, expand_axis(x, 0), *starts)[0]


def _read(kept: Value, place: Value) -> Value:
    shape = kept.aval.shape[1:]
    starts = [place, *[int32(0)] * len(shape)]
    (row,) = bind(registry["dynamic_slice"], kept, *starts, slice_sizes=(1, *shape))
    return reshape(row, shape)


# The linear operation -----------------------------------------------------------------------------
# Operands: the body's consts, the number of steps, the stride, the kept carries, the unknown carry.


def _split(
    items: Sequence[Any], body: Jaxpr, carry_unknown: Sequence[bool]
) -> tuple[Sequence[Any], Any, Any, Sequence[Any], Sequence[Any]]:
    consts = len(body.invars) - len(carry_unknown)
    own, counters, kept, rest = split_at(items, consts, 2, carry_unknown.count(False))
    return own, counters[0], counters[1], kept, rest


def _abstract_eval(
    *avals: ShapedArray, body: Jaxpr, carry_unknown: tuple[bool, ...], max_steps: int | None
) -> tuple[ShapedArray, ...]:
    carry = body.in_avals[len(body.invars) - len(carry_unknown) :]
    return tuple(a for a, u in zip(carry, carry_unknown, strict=True) if u)


def _forward(*operands: Value, body: Jaxpr, carry_unknown: tuple[bool, ...], **_: Any) -> Any:
    """Run the steps again, with the unknown carry beside the known one."""
    consts, steps, _, kept, rest = _split(operands, body, carry_unknown)
    start = [_read(k, int32(0)) for k in kept]
    given, other = iter(start), iter(rest)
    carry = [next(other) if u else next(given) for u in carry_unknown]

    def running(i: Value, *_: Value) -> Value:
        return _apply("lt", i, steps)

    def step(i: Value, *values: Value) -> list[Value]:
        return [_apply("add", i, int32(1)), *eval_jaxpr(body, (), *consts, *values)]

    _, *results = _loop(running, step, [int32(0), *carry])
    return [x for x, u in zip(results, carry_unknown, strict=True) if u]


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    return jvp_flat(lambda *values: _forward(*values, **params), primals, tangents)


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    return batch_flat(lambda *values: _forward(*values, **params), axis, operands, dims)


@program_cache
def while_tangent_program(avals: tuple[ShapedArray, ...], params: Any) -> Jaxpr:
    """Return the program that a `while_tangent` with these operands and params stands for."""
    return stage_open(lambda *v: _forward(*v, **dict(params)), avals, name="while_tangent")[0]


def _lower(b: Any, *operands: Any, **params: Any) -> list[Any]:
    jaxpr = while_tangent_program(b.in_types, tuple(params.items()))
    return b.lower_jaxpr(jaxpr, operands, "while_tangent")


def _transpose(
    cotangents: Sequence[Tangent],
    *operands: Any,
    body: Jaxpr,
    carry_unknown: tuple[bool, ...],
    max_steps: int | None,
) -> list[Tangent]:
    """Walk the steps backwards, from the kept carries."""
    consts, steps, stride, kept, rest = _split(operands, body, carry_unknown)
    consts_l = [is_linear(x) for x in consts]
    rest_avals = [x.aval for x in rest]
    incoming = [zeros(a) if c is None else c for c, a in zip(cotangents, rest_avals, strict=True)]
    sums = [zeros(x.aval) for x in consts if is_linear(x)]
    pull = _Pull(body, carry_unknown, consts, consts_l)
    if max_steps is not None:
        pulled = _from_all(pull, steps, kept, [*sums, *incoming], max_steps)
    else:
        pulled = _from_some(pull, steps, stride, kept, [*sums, *incoming])
    totals, out = split_at(pulled, len(sums))
    total = iter(totals)
    return [
        *(next(total) if is_l else None for is_l in consts_l),
        None,
        None,
        *[None] * len(kept),
        *(c if is_linear(x) else None for x, c in zip(rest, out, strict=True)),
    ]


class _Pull:
    """The transpose of one step, and the step of the known carry."""

    def __init__(
        self,
        body: Jaxpr,
        carry_unknown: tuple[bool, ...],
        consts: Sequence[Any],
        linear: Sequence[bool],
    ) -> None:
        unknown = (*linear, *carry_unknown)
        rest, _ = dce(quiet(body, "while_loop"), carry_unknown)
        self.ordered = reordered(rest, [*where([not u for u in unknown]), *where(unknown)])
        step, self.captured, _ = _known_step(body, carry_unknown, unknown)
        self.step = quiet(step, "while_loop")
        self.own = [x for x, is_l in zip(consts, linear, strict=True) if not is_l]
        self.num_sums = sum(linear)

    def following(self, carry: Sequence[Value]) -> list[Value]:
        """Return the known carry after one step."""
        return eval_jaxpr(self.step, (), *self.captured, *self.own, *carry)

    def back(self, carry: Sequence[Value], values: Sequence[Value]) -> list[Value]:
        """Return sums and cotangents before a step from those after it."""
        sums, cotangents = split_at(values, self.num_sums)
        unknown = self.ordered.in_avals[len(self.own) + len(carry) :]

        def run(*linear: Value) -> list[Value]:
            return eval_jaxpr(self.ordered, (), *self.own, *carry, *linear)

        recorded, residuals, _ = record_flat(run, unknown, name="while_loop")
        pulled = backward_pass(recorded, residuals, cotangents)
        to_consts, to_carry = split_at(pulled, self.num_sums)
        return [
            *(add_cotangents(s, c) for s, c in zip(sums, to_consts, strict=True)),
            *(zeros(x.aval) if c is None else c for x, c in zip(cotangents, to_carry, strict=True)),
        ]


def _goes_back(i: Value, *_: Value) -> Value:
    return _apply("ge", i, int32(0))


def _from_all(
    pull: _Pull, steps: Value, kept: Sequence[Value], start: Sequence[Value], max_steps: int
) -> list[Value]:
    """Walk back where the carry of every step is kept."""

    def back(i: Value, *values: Value) -> list[Value]:
        carry = [_read(k, i) for k in kept]
        return [_apply("sub", i, int32(1)), *pull.back(carry, values)]

    last = _apply("sub", steps, int32(1))
    return _loop(_goes_back, back, [last, *start], max_steps=max_steps, name=BACKWARD)[1:]


def _from_some(
    pull: _Pull, steps: Value, stride: Value, kept: Sequence[Value], start: Sequence[Value]
) -> list[Value]:
    """Walk back where some carries are kept, on a stack that starts with these."""
    shape = (2 * PLACES,)
    (counted,) = bind(registry["iota"], dtype=_INT, shape=shape, dimension=0)
    numbers = _apply("mul", counted, broadcast_to(stride, shape))
    stack = [bind(registry["concatenate"], k, zeros(_longer(k.aval)), dimension=0)[0] for k in kept]
    last = _apply("sub", steps, int32(1))
    # The carry of step j * stride is at place j.
    top = _apply("max", _apply("div", last, stride), int32(0))
    count = len(kept)

    def back(i: Value, top: Value, numbers: Value, *values: Value) -> list[Value]:
        stack, sums = values[:count], values[count:]
        top = _loop(
            lambda t: _apply("gt", _read(numbers, t), i),
            lambda t: [_apply("sub", t, int32(1))],
            [top],
        )[0]
        top, numbers, *stack = _descend(pull, i, top, numbers, stack)
        carry = [_read(k, top) for k in stack]
        after = pull.back(carry, sums)
        return [_apply("sub", i, int32(1)), top, numbers, *stack, *after]

    results = _loop(_goes_back, back, [last, top, numbers, *stack, *start], name=BACKWARD)
    return results[3 + count :]


def _longer(aval: ShapedArray) -> ShapedArray:
    return aval.update(shape=(2 * PLACES - aval.shape[0], *aval.shape[1:]))


def _descend(
    pull: _Pull, i: Value, top: Value, numbers: Value, stack: Sequence[Value]
) -> list[Value]:
    """Put the carry of step i on the stack, and those half-way to it."""

    def above(top: Value, numbers: Value, *_: Value) -> Value:
        return _apply("lt", _read(numbers, top), i)

    def push(top: Value, numbers: Value, *stack: Value) -> list[Value]:
        here = _read(numbers, top)
        half = _apply("div", _apply("add", _apply("sub", i, here), int32(1)), int32(2))
        target = _apply("add", here, half)
        carry = [_read(k, top) for k in stack]
        _, *carry = _loop(
            lambda j, *_: _apply("lt", j, target),
            lambda j, *values: [_apply("add", j, int32(1)), *pull.following(values)],
            [here, *carry],
        )
        top = _apply("add", top, int32(1))
        return [
            top,
            _written(numbers, target, top),
            *(_written(k, x, top) for k, x in zip(stack, carry, strict=True)),
        ]

    return _loop(above, push, [top, numbers, *stack])


while_tangent_p = declare(
    "while_tangent",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=of_used(prune_while_tangent, _transpose),
    prune=prune_while_tangent,
    batch=_batch,
    lower=_lower,
    axis_names=lambda params: params["body"].axis_names,
    lowers_keys=True,
)
