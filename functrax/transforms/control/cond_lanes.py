"""`cond` and `switch` under `vmap` with a mapped index: three ways to give each lane its branch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.jaxpr import Jaxpr, Var, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.convert import convert
from functrax.primitives.cumulative import cumsum
from functrax.primitives.elementwise import add, div, mul, sub
from functrax.primitives.extreme import max as maximum
from functrax.primitives.extreme import min as minimum
from functrax.primitives.gather import GatherDimensionNumbers, gather
from functrax.primitives.rules import Dim, broadcast_to, reshape, sum_axes, zeros
from functrax.primitives.sort import sort
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.control.bodies import int32, of_lanes, reordered, spread, where
from functrax.transforms.stage import stage_open

BLOCK = 8  # the lanes that run together in a partition; a larger one wastes more at its end
INDEX = ShapedArray((), np.dtype(np.int32))
Branches = tuple[Jaxpr, ...]


def merged(
    programs: Sequence[tuple[Jaxpr, Sequence[Value]]],
) -> tuple[Branches, list[Value]]:
    """Give programs that captured different values the same leading arguments: all of these."""
    places: dict[int, int] = {}
    values: list[Value] = []
    for _, consts in programs:
        for value in consts:
            if places.setdefault(id(value), len(values)) == len(values):
                values.append(value)
    branches = _with_arguments(
        tuple(jaxpr for jaxpr, _ in programs),
        tuple(tuple(places[id(c)] for c in consts) for _, consts in programs),
        tuple(value.aval for value in values),
    )
    return branches, values


@program_cache
def _with_arguments(
    branches: Branches, places: tuple[tuple[int, ...], ...], avals: tuple[ShapedArray, ...]
) -> Branches:
    """Return branches with common leading arguments, where their own ones are at `places`."""
    found: list[Jaxpr] = []
    for jaxpr, own in zip(branches, places, strict=True):
        leading = [Var(aval) for aval in avals]
        for var, place in zip(jaxpr.invars, own, strict=False):
            leading[place] = var
        invars = (*leading, *jaxpr.invars[len(own) :])
        found.append(Jaxpr((), invars, jaxpr.outvars, jaxpr.eqns, jaxpr.name))
    return tuple(found)


@program_cache
def batched(
    branches: Branches, axis: BatchAxis, dims: tuple[Dim, ...], all_mapped: bool
) -> tuple[Branches, list[Value], tuple[Dim, ...]]:
    """Map branches over lanes; results are mapped if they are in any branch, or all are."""
    count = len(branches[0].outvars)
    if all_mapped:
        wanted = (True,) * count
    else:
        found = [batch_jaxpr(branch, axis, dims, (False,) * count)[2] for branch in branches]
        wanted = tuple(any(d is not None for d in column) for column in zip(*found, strict=True))
    programs = [batch_jaxpr(branch, axis, dims, wanted)[:2] for branch in branches]
    return *merged(programs), tuple(0 if w else None for w in wanted)


def _select(
    axis: BatchAxis,
    index: Value,
    moved: Sequence[Value],
    is_mapped: Sequence[bool],
    branches: Branches,
    options: dict[str, Any],
) -> list[Value]:
    """Run each branch over all lanes, and select.

    All lanes run through every branch that any of them takes. What a lane computes in a branch that
    it does not take is thrown away, but must not do harm before: an inf or NaN there would make its
    derivative NaN, and a loop might not end. So there it computes on the operands of a lane that
    does take the branch. A branch that no lane takes does not run.
    """
    del options
    places = _places(is_mapped)
    chosen: list[list[Value]] = []
    for number, branch in enumerate(branches):
        takes = bind(registry["eq"], index, int32(number))[0]
        (mapped,), consts, _ = batched((branch,), axis, places, True)
        if axis.name is not None and axis.name in branch.axis_names:
            chosen.append(eval_jaxpr(mapped, (), *consts, *moved))  # collectives need all lanes
            continue
        own = [x if p is None else of_lanes(x, takes) for x, p in zip(moved, places, strict=True)]
        chosen.append(_if_any(takes, mapped, [*consts, *own]))
    results: list[Value] = []
    for column in zip(*chosen, strict=True):
        shape = column[0].aval.shape
        which = spread(index, shape)
        results.append(bind(registry["select_n"], _as_selector(which, len(column)), *column)[0])
    return results


def _places(is_mapped: Sequence[bool]) -> tuple[Dim, ...]:
    return tuple(0 if mapped else None for mapped in is_mapped)


def _as_selector(index: Value, cases: int) -> Value:
    return convert(index, np.dtype(bool)) if cases == 2 else index


def _if_any(takes: Value, jaxpr: Jaxpr, operands: Sequence[Value]) -> list[Value]:
    """Run a program if any lane takes it; else return zeros."""
    (any_lane,) = bind(registry["reduce_or"], takes, axes=(0,))
    empty, consts = _zeros_of(jaxpr)
    branches = (empty, jaxpr)
    index = convert(any_lane, np.dtype(np.int32))
    return bind(registry["cond"], index, *consts, *operands, branches=branches)


@program_cache
def _zeros_of(jaxpr: Jaxpr) -> tuple[Jaxpr, list[Value]]:
    def run(*_: Value) -> list[Value]:
        return [zeros(aval) for aval in jaxpr.out_avals]

    return stage_open(run, jaxpr.in_avals, name=f"no {jaxpr.name}")


def _lane_by_lane(
    axis: BatchAxis,
    index: Value,
    moved: Sequence[Value],
    is_mapped: Sequence[bool],
    branches: Branches,
    options: dict[str, Any],
) -> list[Value]:
    """Loop over the lanes, each of which runs its branch."""
    _check_no_collectives(axis, branches, "map")
    return _loop(axis.size, index, moved, is_mapped, branches, options)


def _loop(
    length: int,
    index: Value,
    moved: Sequence[Value],
    is_mapped: Sequence[bool],
    branches: Branches,
    options: dict[str, Any],
) -> list[Value]:
    """Scan a choice over the first axis of its index and operands; those not mapped stay."""
    order = [*where([not m for m in is_mapped]), *where(is_mapped)]
    operands = [moved[i] for i in order]
    count = is_mapped.count(False)
    params = {"branches": tuple(reordered(b, order) for b in branches), **options}
    own = [x.aval if i < count else _row(x.aval) for i, x in enumerate(operands)]

    def body(*values: Value) -> list[Value]:
        staying, (chosen, *rows) = values[:count], values[count:]
        return bind(registry["cond"], chosen, *staying, *rows, **params)

    jaxpr, consts = stage_open(body, [*own[:count], INDEX, *own[count:]], name="lane")
    return bind(
        registry["scan"],
        *consts,
        *operands[:count],
        index,
        *operands[count:],
        jaxpr=jaxpr,
        length=length,
        reverse=False,
        unroll=1,
        num_consts=len(consts) + count,
        num_carry=0,
    )


def _row(aval: ShapedArray) -> ShapedArray:
    return aval.update(shape=aval.shape[1:])


def _partitioned(
    axis: BatchAxis,
    index: Value,
    moved: Sequence[Value],
    is_mapped: Sequence[bool],
    branches: Branches,
    options: dict[str, Any],
) -> list[Value]:
    """Sort the lanes by branch, and loop over blocks of lanes that take the same one.

    A branch's last block is filled up with its last lane. There are as many blocks as the worst
    case needs; those that are left over run nothing.
    """
    _check_no_collectives(axis, branches, "partition")
    size = axis.size
    block = min(BLOCK, size)
    if not size:
        return [zeros(v.aval.update(shape=(0, *v.aval.shape))) for v in branches[0].outvars]
    blocks = min(size, (size + len(branches) * (block - 1)) // block)
    lanes, slots, chosen = _plan(index, len(branches), size, block, blocks)

    def in_blocks(x: Value) -> Value:
        rows = _take_rows(x, lanes)
        return reshape(rows, (blocks, block, *x.aval.shape[1:]))

    programs = [batch_jaxpr(b, BatchAxis(block), _places(is_mapped), _all(b))[:2] for b in branches]
    empty = _zeros_of(programs[0][0])
    (*mapped, rest), consts = merged([*programs, (empty[0], [*empty[1], *programs[0][1]])])
    gathered = [in_blocks(x) if m else x for x, m in zip(moved, is_mapped, strict=True)]
    results = _loop(
        blocks,
        chosen,
        [*consts, *gathered],
        [*[False] * len(consts), *is_mapped],
        (*mapped, rest),
        options,
    )
    flat = [reshape(x, (blocks * block, *x.aval.shape[2:])) for x in results]
    return [_take_rows(x, slots) for x in flat]


def _all(jaxpr: Jaxpr) -> tuple[bool, ...]:
    return (True,) * len(jaxpr.outvars)


def _plan(
    index: Value, count: int, size: int, block: int, blocks: int
) -> tuple[Value, Value, Value]:
    """Return the lane of each place in the blocks, the place of each lane, and the branch of each
    block, which for those that are left over is the number after the last.
    """
    numbers = _iota(size)
    _, order = sort((index, numbers), 0)
    _, ranks = sort((order, numbers), 0)
    before = _count_below(index, _iota(count + 1))  # the lanes of earlier branches
    starts, ends = _part(before, 0, count), _part(before, 1, count + 1)
    own = div(add(sub(ends, starts), int32(block - 1)), int32(block))
    block_ends = cumsum(own)
    block_starts = sub(block_ends, own)
    chosen = _count_below(block_ends, add(_iota(blocks), int32(1)))
    known = minimum(chosen, int32(count - 1))
    turn = sub(_iota(blocks), _take_rows(block_starts, known))
    first = add(_take_rows(starts, known), mul(turn, int32(block)))
    last = maximum(sub(_take_rows(ends, known), int32(1)), int32(0))
    shape = (blocks, block)
    row = broadcast_to(reshape(_iota(block), (1, block)), shape)
    places = minimum(add(spread(first, shape), row), spread(last, shape))
    lanes = _take_rows(order, reshape(places, (blocks * block,)))
    within = sub(ranks, _take_rows(starts, index))
    slots = add(mul(_take_rows(block_starts, index), int32(block)), within)
    return lanes, slots, chosen


def _iota(size: int) -> Value:
    return bind(registry["iota"], dtype=np.dtype(np.int32), shape=(size,), dimension=0)[0]


def _part(x: Value, start: int, limit: int) -> Value:
    return bind(registry["slice"], x, start_indices=(start,), limit_indices=(limit,), strides=(1,))[
        0
    ]


def _count_below(values: Value, bounds: Value) -> Value:
    """Count for each bound the values below it."""
    shape = (bounds.aval.shape[0], values.aval.shape[0])
    columns = broadcast_to(reshape(values, (1, shape[1])), shape)
    (less,) = bind(registry["lt"], columns, spread(bounds, shape))
    return sum_axes(convert(less, np.dtype(np.int32)), (1,))


def _take_rows(x: Value, rows: Value) -> Value:
    """Return rows of an array, by their numbers."""
    shape = x.aval.shape
    numbers = GatherDimensionNumbers(tuple(range(1, len(shape))), (0,), (0,))
    places = reshape(rows, (rows.aval.shape[0], 1))
    return gather(x, places, numbers, (1, *shape[1:]), mode="promise_in_bounds")


def _check_no_collectives(axis: BatchAxis, branches: Branches, way: str) -> None:
    if axis.name is not None and any(axis.name in branch.axis_names for branch in branches):
        raise errors.ArgumentError(
            "cond",
            f"branches without collectives over {axis.name!r}, as batched={way!r} does not run all "
            "lanes together",
            "a branch with one",
            fix="Use batched='select'.",
        )


WAYS = {"select": _select, "map": _lane_by_lane, "partition": _partitioned}
