"""`scan`: a loop of known length that carries values along and stacks what its body returns.

Operands are what the body captured (consts), the carry's start, and the arrays that are cut into
slices along their first axis (xs); results are the last carry and the stacked ys.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, bind, current
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.rules import (
    Dim,
    Tangent,
    add_cotangents,
    is_linear,
    move_batch_axis,
    zeros,
)
from functrax.transforms.batch import batch_jaxpr, mapped_type
from functrax.transforms.control.bodies import (
    apart,
    physical,
    reordered,
    split_at,
    where,
)
from functrax.transforms.control.prune import of_used, prune_scan
from functrax.transforms.jit_call import jit_p
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.partial import RecordTrace, partial_eval_jaxpr
from functrax.transforms.stage import stage_open
from functrax.transforms.transpose import transpose_jaxpr

_COUNTER = ShapedArray((), np.dtype(np.int32))


class _Split(NamedTuple):
    """The parts of a sequence with one entry per operand or argument of the body."""

    consts: Sequence[Any]
    carry: Sequence[Any]
    xs: Sequence[Any]


def _split(items: Sequence[Any], params: dict[str, Any]) -> _Split:
    return _Split(*split_at(items, params["num_consts"], params["num_carry"]))


def _abstract_eval(
    *avals: ShapedArray, jaxpr: Jaxpr, length: int, num_consts: int, num_carry: int, **_: Any
) -> tuple[ShapedArray, ...]:
    wanted = [aval.strong() for aval in jaxpr.in_avals]
    consts, carry, xs = split_at(wanted, num_consts, num_carry)
    expected = [*consts, *carry, *(mapped_type(aval, 0, length) for aval in xs)]
    if [aval.strong() for aval in avals] != expected:
        raise errors.JaxprError(
            "scan", f"operands of types ({short_types(expected)})", f"({short_types(avals)})"
        )
    ys = [mapped_type(aval, 0, length) for aval in jaxpr.out_avals[num_carry:]]
    return (*jaxpr.in_avals[num_consts : num_consts + num_carry], *ys)


# Forward mode -------------------------------------------------------------------------------------


class _Pushed(NamedTuple):
    jaxpr: Jaxpr
    consts: list[Value]
    carry_nonzero: tuple[bool, ...]
    ys_nonzero: tuple[bool, ...]


@program_cache
def pushed_body(
    jaxpr: Jaxpr, num_consts: int, num_carry: int, nonzero: tuple[bool, ...]
) -> _Pushed:
    """Push the body forward: ``(consts, tangents | carry, tangents | xs, tangents)``."""
    consts_nz, carry_nz, xs_nz = split_at(nonzero, num_consts, num_carry)
    rest = (False,) * (len(jaxpr.outvars) - num_carry)
    while True:
        given = (*consts_nz, *carry_nz, *xs_nz)
        pushed, consts, out_nz = jvp_jaxpr(jaxpr, given, (*carry_nz, *rest))
        if out_nz[:num_carry] == tuple(carry_nz):
            break
        carry_nz = tuple(a or b for a, b in zip(carry_nz, out_nz, strict=False))
    new, total = len(consts), len(jaxpr.invars)
    counts = (num_consts, num_carry, total - num_consts - num_carry)
    places = iter(range(new + total, len(pushed.invars)))
    order = list(range(new))
    start = new
    for count, flags in zip(counts, (consts_nz, carry_nz, xs_nz), strict=True):
        order += range(start, start + count)
        order += [0] * sum(flags)  # filled in below: tangents come in the order of their primals
        start += count
    tangents = iter([next(places) for _ in range(sum(given))])
    position = new
    for count, flags in zip(counts, (consts_nz, carry_nz, xs_nz), strict=True):
        position += count
        for _ in range(sum(flags)):
            order[position] = next(tangents)
            position += 1
    primals, tangents_out = len(jaxpr.outvars), sum(carry_nz)
    outs = [
        *range(num_carry),
        *range(primals, primals + tangents_out),
        *range(num_carry, primals),
        *range(primals + tangents_out, len(pushed.outvars)),
    ]
    return _Pushed(
        reordered(pushed, order, outs), consts, tuple(carry_nz), tuple(out_nz[num_carry:])
    )


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Push the body forward; the carry is a pair wherever a tangent reaches it."""
    jaxpr, num_carry = params["jaxpr"], params["num_carry"]
    nonzero = tuple(t is not None for t in tangents)
    pushed = pushed_body(jaxpr, params["num_consts"], num_carry, nonzero)
    p, t = _split(primals, params), _split(tangents, params)
    consts_t = [x for x in t.consts if x is not None]
    carry_t = [
        zeros(x.aval) if dx is None else dx
        for x, dx, has in zip(p.carry, t.carry, pushed.carry_nonzero, strict=True)
        if has
    ]
    xs_t = [x for x in t.xs if x is not None]
    changed = {
        "jaxpr": pushed.jaxpr,
        "num_consts": len(pushed.consts) + len(p.consts) + len(consts_t),
        "num_carry": num_carry + len(carry_t),
    }
    operands = [*pushed.consts, *p.consts, *consts_t, *p.carry, *carry_t, *p.xs, *xs_t]
    results = bind(scan_p, *operands, **{**params, **changed})
    num_ys = len(jaxpr.outvars) - num_carry
    carry, carry_out_t, ys, ys_t = split_at(results, num_carry, len(carry_t), num_ys)
    given = iter((*carry_out_t, *ys_t))
    flags = (*pushed.carry_nonzero, *pushed.ys_nonzero)
    return [*carry, *ys], [next(given) if has else None for has in flags]


# Partial evaluation -------------------------------------------------------------------------------


class _Parts(NamedTuple):
    """A body split into what the known operands determine and the rest.

    The known operands are `base` (captured values, then known consts), the known carry and known
    xs. A source of a residual is "base", "before", "ys" or "xs" with an index.

    Attributes:
        captured, new: values that the transformation captured: of `before`, and of the body.
        before: ``base -> what is the same in every step``, computed once, before the loop.
        kept: for each leading const of `loop` its index in base, or None if `before` computes it.
        loop: the body of the known loop.
        rest: the body of the other loop.
        carry_unknown, ys_unknown: which results are unknown.
        staying: the sources of the leading consts of `rest`.
        stepping: the sources of its leading xs.
    """

    captured: list[Value]
    new: list[Value]
    before: Jaxpr
    kept: tuple[int | None, ...]
    loop: Jaxpr
    rest: Jaxpr
    carry_unknown: tuple[bool, ...]
    ys_unknown: tuple[bool, ...]
    staying: list[tuple[str, int]]
    stepping: list[tuple[str, int]]


@program_cache
def split_body(jaxpr: Jaxpr, num_consts: int, num_carry: int, unknown: tuple[bool, ...]) -> _Parts:
    """Split the body; a carry is unknown if it is so at the start or after a step."""
    consts_u, carry_u, xs_u = split_at(unknown, num_consts, num_carry)
    ys = (False,) * (len(jaxpr.outvars) - num_carry)
    while True:
        flags = (*consts_u, *carry_u, *xs_u)
        known, new, rest, out_u, forwarded = partial_eval_jaxpr(jaxpr, flags, (*carry_u, *ys))
        if out_u[:num_carry] == tuple(carry_u):
            break
        carry_u = tuple(a or b for a, b in zip(carry_u, out_u, strict=False))
    known_consts, known_carry = list(consts_u).count(False), list(carry_u).count(False)
    base = len(new) + known_consts
    still = tuple(i >= base for i in range(len(known.invars)))
    every = (True,) * len(known.outvars)
    before, captured, loop, _, kept = partial_eval_jaxpr(known, still, every)
    # Where each residual comes from; what only the known carry holds is stacked too.
    computed = iter(range(len(kept)))
    fixed = {
        var: ("before", next(computed)) if index is None else ("base", index)
        for var, index in zip(loop.invars, kept, strict=False)
    }
    carry_vars = loop.invars[len(kept) : len(kept) + known_carry]
    determined = out_u.count(False)
    returned = iter(loop.outvars[determined:])
    outvars = list(loop.outvars[:determined])
    sources: list[tuple[str, int]] = []
    for index in forwarded:
        if index is not None and index < known_consts:
            sources.append(("base", len(new) + index))
        elif index is not None and index >= known_consts + known_carry:
            sources.append(("xs", index - known_consts - known_carry))
        else:
            var: Any = next(returned) if index is None else carry_vars[index - known_consts]
            if var not in fixed:
                fixed[var] = ("ys", len(outvars))
                outvars.append(var)
            sources.append(fixed[var])
    is_stepping = [kind in ("ys", "xs") for kind, _ in sources]
    stays, steps = where([not s for s in is_stepping]), where(is_stepping)
    first, second = len(sources), len(sources) + sum(consts_u) + sum(carry_u)
    order = [*stays, *range(first, second), *steps, *range(second, len(rest.invars))]
    return _Parts(
        captured,
        new,
        before,
        kept,
        Jaxpr((), loop.invars, outvars, loop.eqns, jaxpr.name),
        reordered(rest, order),
        tuple(carry_u),
        tuple(out_u[num_carry:]),
        [sources[i] for i in stays],
        [sources[i] for i in steps],
    )


def _partial(
    trace: RecordTrace, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Run the loop over what is known, and record the loop over the rest with its residuals."""
    jaxpr, name = params["jaxpr"], params["jaxpr"].name
    parts = split_body(jaxpr, params["num_consts"], params["num_carry"], tuple(unknown))
    consts, carry, xs = _split(operands, params)
    consts_u, _, xs_u = _split(unknown, params)

    def chosen(values: Sequence[Value], flags: Sequence[bool], wanted: bool) -> list[Value]:
        return [x for x, flag in zip(values, flags, strict=True) if flag is wanted]

    base = [*parts.new, *chosen(consts, consts_u, False)]
    known_carry = chosen(carry, parts.carry_unknown, False)
    known_xs = chosen(xs, xs_u, False)
    with current(trace.parent):
        before: Sequence[Value] = []
        if parts.before.eqns:
            before = bind(jit_p, *parts.captured, *base, jaxpr=parts.before, name=name)
        given = iter(before)
        leading = [next(given) if i is None else base[i] for i in parts.kept]
        counts = {"num_consts": len(leading), "num_carry": len(known_carry)}
        loop = {**params, **counts, "jaxpr": parts.loop}
        known = bind(scan_p, *leading, *known_carry, *known_xs, **loop)
    found = {"base": base, "before": before, "ys": known, "xs": known_xs}
    staying = [found[kind][i] for kind, i in parts.staying]
    stepping = [found[kind][i] for kind, i in parts.stepping]
    rest_consts = [*staying, *chosen(consts, consts_u, True)]
    rest_carry = chosen(carry, parts.carry_unknown, True)
    rest_xs = [*stepping, *chosen(xs, xs_u, True)]
    counts = {"num_consts": len(rest_consts), "num_carry": len(rest_carry)}
    turns, more = divmod(params["length"], params["unroll"])
    is_apart = turns > 1 and not more  # neither loop is written out, in full or in part
    rest = {**params, **counts, "jaxpr": apart(parts.rest) if is_apart else parts.rest}
    recorded = iter(trace.record(scan_p, [*rest_consts, *rest_carry, *rest_xs], rest))
    determined = iter(known)
    flags = (*parts.carry_unknown, *parts.ys_unknown)
    return [next(recorded) if is_unknown else next(determined) for is_unknown in flags]


# Reverse mode -------------------------------------------------------------------------------------


class _Transposed(NamedTuple):
    jaxpr: Jaxpr
    consts: list[Value]
    consts_nonzero: tuple[bool, ...]
    xs_nonzero: tuple[bool, ...]


@program_cache
def _transposed(
    jaxpr: Jaxpr,
    num_consts: int,
    num_carry: int,
    linear: tuple[bool, ...],
    ys_nonzero: tuple[bool, ...],
) -> _Transposed:
    """Transpose the body: ``(known consts | sums for linear consts, carry | cotangents of ys, known
    xs)``; cotangents of linear xs are its ys.
    """
    consts_l, _, xs_l = split_at(linear, num_consts, num_carry)
    all_linear = (*consts_l, *(True,) * num_carry, *xs_l)
    nonzero = (*(True,) * num_carry, *ys_nonzero)
    pulled, captured, out_nz = transpose_jaxpr(jaxpr, all_linear, nonzero)
    num_linear = sum(consts_l)
    consts_nz, carry_nz, xs_nz = split_at(out_nz, num_linear, num_carry)
    const_avals, carry_avals, x_avals = split_at(jaxpr.in_avals, num_consts, num_carry)
    known_consts = [a for a, is_l in zip(const_avals, consts_l, strict=True) if not is_l]
    linear_consts = [a for a, is_l in zip(const_avals, consts_l, strict=True) if is_l]
    sums = [a for a, has in zip(linear_consts, consts_nz, strict=True) if has]
    known_xs = [a for a, is_l in zip(x_avals, xs_l, strict=True) if not is_l]
    ys = [a for a, has in zip(jaxpr.out_avals[num_carry:], ys_nonzero, strict=True) if has]

    def body(*values: Value) -> list[Value]:
        consts, before, carry, cotangents, xs = split_at(
            values, len(known_consts), len(sums), num_carry, len(ys)
        )
        results = eval_jaxpr(pulled, (), *captured, *consts, *xs, *carry, *cotangents)
        added, *rest = split_at(results, len(sums), sum(carry_nz))
        totals = [add_cotangents(a, b) for a, b in zip(before, added, strict=True)]
        given = iter(rest[0])
        carried = [
            next(given) if has else zeros(aval)
            for has, aval in zip(carry_nz, carry_avals, strict=True)
        ]
        return [*totals, *carried, *rest[1]]

    types = [*known_consts, *sums, *carry_avals, *ys, *known_xs]
    result, consts = stage_open(body, types, name=f"transpose({jaxpr.name})")
    return _Transposed(result, consts, tuple(consts_nz), tuple(xs_nz))


def _transpose(cotangents: Sequence[Tangent], *operands: Any, **params: Any) -> list[Tangent]:
    """Walk the loop backwards; cotangents of linear consts are summed up over the steps."""
    jaxpr, num_carry = params["jaxpr"], params["num_carry"]
    consts, carry, xs = _split(operands, params)
    carry_c, ys_c = split_at(cotangents, num_carry)
    linear = tuple(map(is_linear, operands))
    ys_nonzero = tuple(c is not None for c in ys_c)
    pulled = _transposed(jaxpr, params["num_consts"], num_carry, linear, ys_nonzero)
    const_avals, carry_avals, _ = _split(jaxpr.in_avals, params)
    linear_consts = [a for a, x in zip(const_avals, consts, strict=True) if is_linear(x)]
    sums = [zeros(a) for a, has in zip(linear_consts, pulled.consts_nonzero, strict=True) if has]
    start = [zeros(a) if c is None else c for a, c in zip(carry_avals, carry_c, strict=True)]
    known_consts = [*pulled.consts, *(x for x in consts if not is_linear(x))]
    incoming = [*(c for c in ys_c if c is not None), *(x for x in xs if not is_linear(x))]
    changed = {
        "jaxpr": pulled.jaxpr,
        "reverse": not params["reverse"],
        "num_consts": len(known_consts),
        "num_carry": len(sums) + num_carry,
    }
    results = bind(scan_p, *known_consts, *sums, *start, *incoming, **{**params, **changed})
    totals, carry_out, ys = split_at(results, len(sums), num_carry)
    total, stacked = iter(totals), iter(ys)
    consts_out = iter([next(total) if has else None for has in pulled.consts_nonzero])
    xs_out = iter([next(stacked) if has else None for has in pulled.xs_nonzero])
    return [
        *(next(consts_out) if is_linear(x) else None for x in consts),
        *(c if is_linear(x) else None for x, c in zip(carry, carry_out, strict=True)),
        *(next(xs_out) if is_linear(x) else None for x in xs),
    ]


# Mapping ------------------------------------------------------------------------------------------


@program_cache
def _batched(
    jaxpr: Jaxpr, axis: BatchAxis, num_consts: int, num_carry: int, dims: tuple[Dim, ...]
) -> tuple[Jaxpr, list[Value], tuple[bool, ...], tuple[Dim, ...]]:
    """Map the body; a carry is mapped, at axis 0, if it is so at the start or after a step."""
    consts, carry, xs = split_at(dims, num_consts, num_carry)
    ys = (False,) * (len(jaxpr.outvars) - num_carry)
    mapped = tuple(dim is not None for dim in carry)
    while True:
        carried = tuple(0 if m else None for m in mapped)
        given = (*consts, *carried, *xs)
        batched, captured, outs = batch_jaxpr(jaxpr, axis, given, (*mapped, *ys))
        after = tuple(dim is not None for dim in outs[:num_carry])
        if after == mapped:
            return batched, captured, mapped, outs[num_carry:]
        mapped = after


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Map the body; slices of mapped xs are mapped along axis 0."""
    consts, carry, xs = _split(operands, params)
    consts_d, carry_d, xs_d = _split(dims, params)
    slice_dims = [None if d is None else 0 for d in xs_d]
    jaxpr, captured, mapped, ys_d = _batched(
        params["jaxpr"],
        axis,
        params["num_consts"],
        params["num_carry"],
        (*consts_d, *carry_d, *slice_dims),
    )
    carry = [
        move_batch_axis(axis, x, d) if m else x
        for x, d, m in zip(carry, carry_d, mapped, strict=True)
    ]
    xs = [x if d is None else move_batch_axis(axis, x, d, 1) for x, d in zip(xs, xs_d, strict=True)]
    changed = {"jaxpr": jaxpr, "num_consts": len(captured) + len(consts)}
    results = bind(scan_p, *captured, *consts, *carry, *xs, **{**params, **changed})
    return results, [
        *(0 if m else None for m in mapped),
        *(None if d is None else d + 1 for d in ys_d),
    ]


# Lowering -----------------------------------------------------------------------------------------


def _lower(
    b: Any,
    *operands: Any,
    jaxpr: Jaxpr,
    length: int,
    reverse: bool,
    unroll: int,
    num_consts: int,
    num_carry: int,
) -> list[Any]:
    """Write a `while` that counts, or the steps themselves where they are unrolled."""
    consts, start, xs = split_at(operands, num_consts, num_carry)
    x_types = [physical(aval) for aval in b.in_types[num_consts + num_carry :]]
    y_types = [physical(aval) for aval in b.out_types[num_carry:]]
    carry_types = [physical(aval) for aval in b.out_types[:num_carry]]
    slices = [physical(aval) for aval in jaxpr.in_avals[num_consts + num_carry :]]
    zero = b.full(0, _COUNTER)

    def step(count: Any, carry: Sequence[Any], ys: Sequence[Any]) -> tuple[Any, Any, Any]:
        last = b.full(length - 1, _COUNTER)
        i = b.op("stablehlo.subtract", (last, count), _COUNTER) if reverse else count
        zero = b.full(0, _COUNTER)
        cut = [
            b.reshape(b.dynamic_slice(x, _at(i, zero, row), row), aval)
            for x, row, aval in zip(xs, map(_row, x_types), slices, strict=True)
        ]
        results = b.lower_jaxpr(jaxpr, [*consts, *carry, *cut], jaxpr.name or "body")
        carry, new = split_at(results, num_carry)
        ys = [
            b.dynamic_update_slice(y, b.reshape(x, _row(aval)), _at(i, zero, aval), aval)
            for y, x, aval in zip(ys, new, y_types, strict=True)
        ]
        following = b.op("stablehlo.add", (count, b.full(1, _COUNTER)), _COUNTER)
        return following, carry, ys

    def steps(number: int, count: Any, carry: Any, ys: Any) -> tuple[Any, Any, Any]:
        for _ in range(number):
            count, carry, ys = step(count, carry, ys)
        return count, carry, ys

    state: tuple[Any, Any, Any] = (zero, start, [b.full(0, aval) for aval in y_types])
    state = steps(length % unroll, *state)
    if length // unroll == 1:
        state = steps(unroll, *state)
    elif length >= unroll:
        types = [_COUNTER, *carry_types, *y_types]

        def running(count: Any, *_: Any) -> list[Any]:
            return [b.compare("LT", count, b.full(length, _COUNTER), _COUNTER)]

        def body(count: Any, *values: Any) -> list[Any]:
            count, carry, ys = steps(unroll, count, *split_at(values, num_carry))
            return [count, *carry, *ys]

        operation = b.multi_op(
            "stablehlo.while", (state[0], *state[1], *state[2]), types, regions=2
        )
        b.region(operation.regions[0], types, running)
        b.region(operation.regions[1], types, body)
        return list(operation.results)[1:]
    return [*state[1], *state[2]]


def _row(aval: ShapedArray) -> ShapedArray:
    return aval.update(shape=(1, *aval.shape[1:]))


def _at(i: Any, zero: Any, aval: ShapedArray) -> list[Any]:
    return [i, *[zero] * (aval.ndim - 1)]


scan_p = declare(
    "scan",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=of_used(prune_scan, _transpose),
    batch=_batch,
    lower=_lower,
    partial=_partial,
    prune=prune_scan,
    axis_names=lambda params: params["jaxpr"].axis_names,
    lowers_keys=True,
)
