"""`cond` and `switch`: one of several programs, chosen by a value of the program.

Operands are the index, an int32 scalar, then what the branches captured and their arguments; all
branches are programs of the same types. Options, where there are any: ``batched``, what becomes of
the choice under `vmap` with a mapped index; ``platforms``, the platforms that each branch is for,
of which the lowering then chooses whatever the index is.
"""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core.jaxpr import Jaxpr, Var, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, bind, current
from functrax.core.types import NO_AXES, ShapedArray, short_types
from functrax.primitives.clamp import clamp
from functrax.primitives.rules import (
    Dim,
    Tangent,
    is_linear,
    move_batch_axis,
    zeros,
)
from functrax.transforms.control.bodies import apart, int32
from functrax.transforms.control.cond_lanes import INDEX, WAYS, Branches, batched, merged
from functrax.transforms.control.prune import prune_cond
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.partial import RecordTrace, partial_eval_jaxpr
from functrax.transforms.stage import stage_open
from functrax.transforms.transpose import transpose_jaxpr


def _abstract_eval(
    index: ShapedArray,
    *avals: ShapedArray,
    branches: Branches,
    platforms: tuple[Any, ...] | None = None,
    batched: str = "select",
) -> tuple[ShapedArray, ...]:
    wanted = [aval.strong() for aval in branches[0].in_avals]
    if (
        index.update(weak_type=False, varying=NO_AXES) is not INDEX
        or [aval.strong() for aval in avals] != wanted
    ):
        expected = f"operands of types ({short_types((INDEX, *wanted))})"
        raise errors.JaxprError("cond", expected, f"({short_types((index, *avals))})")
    return branches[0].out_avals


# Forward mode -------------------------------------------------------------------------------------


@program_cache
def _pushed(
    branches: Branches, nonzero: tuple[bool, ...]
) -> tuple[Branches, list[Value], tuple[bool, ...]]:
    """Push all branches forward; a result has a tangent if it has one in any branch."""
    found = [jvp_jaxpr(branch, nonzero)[2] for branch in branches]
    wanted = tuple(map(any, zip(*found, strict=True)))
    pushed = [jvp_jaxpr(branch, nonzero, wanted)[:2] for branch in branches]
    return *merged(pushed), wanted


def _jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, branches: Branches, **options: Any
) -> Any:
    """Push the chosen branch forward."""
    nonzero = tuple(t is not None for t in tangents[1:])
    pushed, consts, out_nonzero = _pushed(branches, nonzero)
    given = [t for t in tangents if t is not None]
    results = bind(cond_p, primals[0], *consts, *primals[1:], *given, branches=pushed, **options)
    count = len(branches[0].outvars)
    tangents_out = iter(results[count:])
    return results[:count], [next(tangents_out) if has else None for has in out_nonzero]


# Partial evaluation -------------------------------------------------------------------------------


@program_cache
def _parts(branches: Branches, unknown: tuple[bool, ...]) -> Any:
    """Split every branch; each residual has a place of its type, shared by the branches.

    Returns:
        The known branches, their captured values, the other branches, which results are unknown,
        and for each residual of the others the known argument that it is, or None.
    """
    found = [partial_eval_jaxpr(branch, unknown)[3] for branch in branches]
    wanted = tuple(map(any, zip(*found, strict=True)))
    split = [partial_eval_jaxpr(branch, unknown, wanted) for branch in branches]
    places: list[tuple[ShapedArray, int | None]] = []  # type, and the known argument if it is one
    orders: list[list[int]] = []
    for known, _, _, _, forwarded in split:
        free = [i for i, (_, index) in enumerate(places) if index is None]
        computed = iter(known.outvars[wanted.count(False) :])
        order: list[int] = []
        known_avals = [v.aval for v, u in zip(branches[0].invars, unknown, strict=True) if not u]
        for index in forwarded:
            aval = next(computed).aval if index is None else known_avals[index]
            pair = (aval.strong(), index)
            options = free if index is None else range(len(places))
            place = next((i for i in options if places[i] == pair), len(places))
            if place == len(places):
                places.append(pair)
            elif index is None:
                free.remove(place)
            order.append(place)
        orders.append(order)
    knowns: list[tuple[Jaxpr, Sequence[Value]]] = []
    rests: list[Jaxpr] = []
    for (known, consts, rest, _, forwarded), order in zip(split, orders, strict=True):
        knowns.append(_filled(known, consts, wanted.count(False), forwarded, order, places))
        variables = [Var(aval) for aval, _ in places]
        for var, place in zip(rest.invars, order, strict=False):
            variables[place] = var
        invars = (*variables, *rest.invars[len(order) :])
        rests.append(apart(Jaxpr((), invars, rest.outvars, rest.eqns, rest.name)))
    branches, consts = merged(knowns)
    return branches, consts, tuple(rests), wanted, [index for _, index in places]


def _filled(
    known: Jaxpr,
    consts: Sequence[Value],
    count: int,
    forwarded: Sequence[int | None],
    order: Sequence[int],
    places: Sequence[tuple[ShapedArray, int | None]],
) -> tuple[Jaxpr, Sequence[Value]]:
    """Let a known branch return something for every place, zeros where it has no residual."""
    own = [place for place, index in zip(order, forwarded, strict=True) if index is None]

    def run(*values: Value) -> list[Value]:
        results = eval_jaxpr(known, (), *values)
        residuals = dict(zip(own, results[count:], strict=True))
        slots = [
            residuals[i] if i in residuals else zeros(aval)
            for i, (aval, index) in enumerate(places)
            if index is None
        ]
        return [*results[:count], *slots]

    jaxpr, more = stage_open(run, known.in_avals, name=known.name)
    return jaxpr, [*more, *consts]


def _partial(
    trace: RecordTrace, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Run the known part of the branch, and record the branch for the rest with its residuals."""
    if unknown[0]:
        return trace.record(cond_p, operands, params)
    index, *arguments = operands
    options = {name: value for name, value in params.items() if name != "branches"}
    parts = _parts(params["branches"], tuple(unknown[1:]))
    branches, consts, rests, out_unknown, sources = parts
    known = [x for x, is_unknown in zip(arguments, unknown[1:], strict=True) if not is_unknown]
    rest = [x for x, is_unknown in zip(arguments, unknown[1:], strict=True) if is_unknown]
    with current(trace.parent):
        results = bind(cond_p, index, *consts, *known, branches=branches, **options)
    count = out_unknown.count(False)
    computed = iter(results[count:])
    residuals = [next(computed) if source is None else known[source] for source in sources]
    recorded = iter(
        trace.record(cond_p, [index, *residuals, *rest], {"branches": rests, **options})
    )
    determined = iter(results[:count])
    return [next(recorded) if is_unknown else next(determined) for is_unknown in out_unknown]


# Reverse mode -------------------------------------------------------------------------------------


@program_cache
def _transposed(
    branches: Branches, linear: tuple[bool, ...], nonzero: tuple[bool, ...]
) -> tuple[Branches, list[Value], tuple[bool, ...]]:
    found = [transpose_jaxpr(branch, linear, nonzero) for branch in branches]
    wanted = tuple(map(any, zip(*[flags for _, _, flags in found], strict=True)))
    avals = [a for a, is_l in zip(branches[0].in_avals, linear, strict=True) if is_l]
    programs: list[tuple[Jaxpr, Sequence[Value]]] = []
    for pulled, consts, flags in found:

        def run(*values: Value, pulled: Jaxpr = pulled, flags: Any = flags) -> list[Value]:
            given = iter(eval_jaxpr(pulled, (), *values))
            return [
                next(given) if has else zeros(aval)
                for has, aval, is_wanted in zip(flags, avals, wanted, strict=True)
                if is_wanted
            ]

        jaxpr, more = stage_open(run, pulled.in_avals, name=pulled.name)
        programs.append((jaxpr, [*more, *consts]))
    return *merged(programs), wanted


def _transpose(
    cotangents: Sequence[Tangent], index: Any, *operands: Any, branches: Branches, **options: Any
) -> list[Tangent]:
    """Transpose the chosen branch."""
    if is_linear(index):
        raise errors.MissingRuleError(
            "linear_transpose",
            "a function that is linear in its arguments",
            "a branch chosen by one of them",
            fix="Use `vjp`, which linearizes first.",
        )
    linear = tuple(map(is_linear, operands))
    nonzero = tuple(c is not None for c in cotangents)
    transposed, consts, out_nonzero = _transposed(branches, linear, nonzero)
    known = [x for x in operands if not is_linear(x)]
    given = [c for c in cotangents if c is not None]
    results = iter(bind(cond_p, index, *consts, *known, *given, branches=transposed, **options))
    pulled = iter([next(results) if has else None for has in out_nonzero])
    return [None, *(next(pulled) if is_linear(x) else None for x in operands)]


# Mapping ------------------------------------------------------------------------------------------


def _batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    branches: Branches,
    **options: Any,
) -> Any:
    """Map the branches; with a mapped index, each runs for the lanes that take it, in the way of
    the option ``batched``.
    """
    index, *arguments = operands
    if dims[0] is None:
        mapped, consts, out_dims = batched(branches, axis, tuple(dims[1:]), False)
        results = bind(cond_p, index, *consts, *arguments, branches=mapped, **options)
        return results, out_dims
    moved = [
        x if d is None else move_batch_axis(axis, x, d)
        for x, d in zip(arguments, dims[1:], strict=True)
    ]
    is_mapped = [d is not None for d in dims[1:]]
    index = clamp(int32(0), index, int32(len(branches) - 1))
    run = WAYS[options.get("batched", "select")]
    results = run(axis, index, moved, is_mapped, branches, options)
    return results, [0] * len(results)


# Lowering -----------------------------------------------------------------------------------------


def platform_index(platform: str, platforms: Sequence[tuple[str, ...] | None]) -> int:
    """Return the branch for a platform; that for None is for all others.

    Raises:
        ArgumentError: if there is none.
    """
    name = "cuda" if platform == "gpu" else platform
    for index, names in enumerate(platforms):
        if names is None or name in names:
            return index
    raise errors.ArgumentError(
        "platform_dependent",
        f"a function for {name!r}, or a default",
        "functions for " + ", ".join(repr(n) for names in platforms for n in names or ()),
    )


def _lower(
    b: Any, index: Any, *operands: Any, branches: Branches, platforms: Any = None, **_: Any
) -> list[Any]:
    """Write a `case`; an index that is out of range takes the last branch."""
    if platforms is not None:
        branch = branches[platform_index(b.platform, platforms)]
        return b.lower_jaxpr(branch, operands, branch.name or "branch")
    operation = b.multi_op("stablehlo.case", (index,), b.out_types, regions=len(branches))
    for region, branch in zip(operation.regions, branches, strict=True):

        def body(branch: Jaxpr = branch) -> list[Any]:
            return b.lower_jaxpr(branch, operands, branch.name or "branch")

        b.region(region, (), body)
    return list(operation.results)


def _axis_names(params: dict[str, Any]) -> frozenset[Any]:
    return frozenset[Any]().union(*(branch.axis_names for branch in params["branches"]))


cond_p = declare(
    "cond",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    prune=prune_cond,
    axis_names=_axis_names,
    lowers_keys=True,
)
