"""The primitive of `jit`: a call of a program, transformed by transforming the program."""

from collections.abc import Sequence
from typing import Any

from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, dce, program_cache
from functrax.core.primitive import BatchAxis, Pruned, declare
from functrax.core.trace import Value, bind, current
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim, is_linear
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.jvp import Tangent, jvp_jaxpr
from functrax.transforms.partial import RecordTrace, partial_eval_jaxpr
from functrax.transforms.transpose import transpose_jaxpr


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, name: str) -> tuple[ShapedArray, ...]:
    return call_types("jit", avals, jaxpr)


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], *, jaxpr: Jaxpr, name: str) -> Any:
    """Push forward the program inside: d (jit f) = jit (d f)."""
    nonzero = tuple(tangent is not None for tangent in tangents)
    pushed, consts, out_nonzero = jvp_jaxpr(jaxpr, nonzero)
    given = [tangent for tangent in tangents if tangent is not None]
    results = bind(jit_p, *consts, *primals, *given, jaxpr=pushed, name=name)
    count = len(jaxpr.outvars)
    tangents_out = iter(results[count:])
    return results[:count], [next(tangents_out) if has else None for has in out_nonzero]


def _transpose(
    cotangents: Sequence[Tangent], *operands: Any, jaxpr: Jaxpr, name: str
) -> list[Tangent]:
    """Transpose the program inside."""
    linear = tuple(is_linear(x) for x in operands)
    nonzero = tuple(cotangent is not None for cotangent in cotangents)
    transposed, consts, out_nonzero = transpose_jaxpr(jaxpr, linear, nonzero)
    known = [x for x in operands if not is_linear(x)]
    given = [cotangent for cotangent in cotangents if cotangent is not None]
    results = iter(bind(jit_p, *consts, *known, *given, jaxpr=transposed, name=name))
    pulled = iter([next(results) if has else None for has in out_nonzero])
    return [next(pulled) if is_linear(x) else None for x in operands]


def _batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, jaxpr: Jaxpr, name: str
) -> Any:
    mapped, consts, out_dims = batch_jaxpr(jaxpr, axis, tuple(dims))
    return bind(jit_p, *consts, *operands, jaxpr=mapped, name=name), out_dims


def _partial(
    trace: RecordTrace, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Run what the known operands determine; record the rest with its residuals as operands."""
    name = params["name"]
    known_jaxpr, consts, rest, out_unknown, forwarded = partial_eval_jaxpr(
        params["jaxpr"], tuple(unknown)
    )
    known = [x for x, is_unknown in zip(operands, unknown, strict=True) if not is_unknown]
    with current(trace.parent):
        results = bind(jit_p, *consts, *known, jaxpr=known_jaxpr, name=name)
    count = out_unknown.count(False)
    computed = iter(results[count:])
    residuals = [next(computed) if index is None else known[index] for index in forwarded]
    undetermined = [x for x, is_unknown in zip(operands, unknown, strict=True) if is_unknown]
    recorded = iter(trace.record(jit_p, [*residuals, *undetermined], {"jaxpr": rest, "name": name}))
    determined = iter(results[:count])
    return [next(recorded) if is_unknown else next(determined) for is_unknown in out_unknown]


def _lower(b: Any, *operands: Any, jaxpr: Jaxpr, name: str) -> list[Any]:
    return b.lower_jaxpr(jaxpr, operands, name)


@program_cache
def _used_part(jaxpr: Jaxpr, used: tuple[bool, ...]) -> tuple[Jaxpr, list[int]]:
    smaller, read = dce(jaxpr, used, keep_invars=False)
    return smaller, [i for i, is_read in enumerate(read) if is_read]


def prune_call(params: dict[str, Any], used: tuple[bool, ...]) -> Pruned:
    """Leave out of the program that is called what no used result needs."""
    smaller, operands = _used_part(params["jaxpr"], used)
    results = [i for i, is_used in enumerate(used) if is_used]
    return Pruned({**params, "jaxpr": smaller}, operands, results)


jit_p = declare(
    "jit",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    prune=prune_call,
    axis_names=lambda params: params["jaxpr"].axis_names,
    lowers_keys=True,
)
