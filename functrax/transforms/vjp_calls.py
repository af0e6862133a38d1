"""Calls of `custom_vjp` functions as operations.

Differentiating a call runs the user's forward function, and binds the tangent of the output as one
linear operation, `custom_vjp_tangent`. Transposing that operation calls the user's backward
function. Evaluating it, as forward mode does, differentiates the function itself; so `jvp`,
`linearize` and `hessian` work over user rules too.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.check import call_types
from functrax.core.jaxpr import Equation, Jaxpr, dce
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare
from functrax.core.trace import Value, bind, current
from functrax.core.types import ShapedArray
from functrax.primitives.rules import (
    Dim,
    Tangent,
    has_tangent,
    is_linear,
    move_axis,
    move_batch_axis,
    sum_axes,
    zeros,
)
from functrax.transforms.batch import batch_flat, batch_jaxpr
from functrax.transforms.calls import Flat, as_program, check_outputs, function_of, stage_call
from functrax.transforms.jvp import jvp_flat, jvp_jaxpr
from functrax.transforms.linearity import Kind, check_linear, kind_of_value
from functrax.transforms.partial import RecordTrace
from functrax.transforms.stage import StageTrace, stage_open
from functrax.transforms.transpose import backward_pass


class Rules(NamedTuple):
    """The flat rules of one call.

    Attributes:
        forward: flat primals, and for each whether it is differentiated -> flat results and flat
            residuals.
        backward: flat residuals and cotangents (None for zero) -> one cotangent or None per primal.
        transposed: whether forward mode transposes `backward` instead of differentiating the
            function.
        separate: whether the results are computed by the function, and only the residuals by
            `forward`.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    transposed: bool
    separate: bool


# custom_vjp_call: operands are captured values, then arguments ------------------------------------


def _evaluate(*operands: Value, **params: Any) -> Sequence[Value]:
    return function_of(params)(*operands)


def _stage(trace: StageTrace, operands: Sequence[Value], params: dict[str, Any]) -> Any:
    return stage_call(custom_vjp_call_p, trace, operands, params)


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, **_: Any) -> tuple[ShapedArray, ...]:
    return call_types("custom_vjp_call", avals, jaxpr)


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Run forward, and bind the output's tangent as one linear operation."""
    count = params.get("num_consts", 0)
    name = params["name"]
    if any(tangent is not None for tangent in tangents[:count]):
        raise errors.CustomRuleError(
            name,
            "a custom_vjp function to depend on differentiated values through its arguments only",
            f"{name!r}, which closes over one",
            fix="Pass the value as an argument.",
        )
    rules: Rules = params["rules"]
    perturbed = [tangent is not None for tangent in tangents[count:]]
    results, residuals = rules.forward(primals[count:], perturbed)
    check_outputs(name, "the fwd rule", results, params.get("jaxpr"))
    if rules.separate:
        results = function_of(params)(*primals)
    filled = [
        None if not has_tangent(p.aval) else zeros(p.aval) if t is None else t
        for p, t in zip(primals, tangents, strict=True)
    ]
    given = [t for t in filled[count:] if t is not None]
    differentiable = tuple(has_tangent(r.aval) for r in results)
    if not given or not any(differentiable):
        return results, [None] * len(results)
    if rules.transposed:
        in_avals, out_avals = [p.aval for p in primals[count:]], [r.aval for r in results]
        return results, _transposed(rules, name, residuals, given, in_avals, out_avals)
    linear = bind(
        custom_vjp_tangent_p,
        *primals,
        *residuals,
        *given,
        **params,
        num_primals=len(primals),
        num_residuals=len(residuals),
        out_avals=tuple(r.aval.strong() for r in results),
    )
    outgoing = iter(linear)
    return results, [next(outgoing) if has else None for has in differentiable]


def _transposed(
    rules: Rules,
    name: str,
    residuals: Sequence[Value],
    given: Sequence[Value],
    in_avals: Sequence[ShapedArray],
    out_avals: Sequence[ShapedArray],
) -> list[Tangent]:
    """Push tangents forward by the transpose of the backward function.

    Reverse mode transposes what this binds, which gives the backward function again.

    Raises:
        CustomRuleError: if the backward function is not linear, naming the equation.
    """

    def backward(*cotangents: Value) -> list[Value]:
        incoming = iter(cotangents)
        pulled = rules.backward(
            residuals, [next(incoming) if has_tangent(aval) else None for aval in out_avals]
        )
        return [
            zeros(aval) if c is None else c
            for c, aval in zip(pulled, in_avals, strict=True)
            if has_tangent(aval)
        ]

    def fail(eqn: Equation, reason: str) -> errors.CustomRuleError:
        return errors.CustomRuleError(
            name,
            "a bwd rule that is linear in the output cotangent, because mode='transpose'",
            f"{eqn.primitive.name!r}, {reason}",
            where=str(eqn.source) if eqn.source else None,
            fix="Make the rule linear, or leave `mode` out.",
        )

    differentiable = [aval.strong() for aval in out_avals if has_tangent(aval)]
    jaxpr, consts = stage_open(backward, differentiable, name=name)
    jaxpr, _ = dce(jaxpr)
    computed = set(map(id, residuals))
    kinds = [Kind.OTHER if id(c) in computed else kind_of_value(c) for c in consts]
    kinds += [Kind.LINEAR] * len(differentiable)
    if Kind.OTHER in check_linear(jaxpr, kinds, fail):
        raise errors.CustomRuleError(
            name,
            "a bwd rule that is linear in the output cotangent, because mode='transpose'",
            "a cotangent that does not depend on it and is not zero",
            fix="Make the rule linear, or leave `mode` out.",
        )
    pushed = iter(backward_pass(jaxpr, consts, given, name))
    return [next(pushed) if has_tangent(aval) else None for aval in out_avals]


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    count = params.get("num_consts", 0)
    changed, consts = _batched_params(axis, dims, count, params)
    results = bind(custom_vjp_call_p, *consts, *operands, **changed)
    return results, [0] * len(results)


def _batched_params(
    axis: BatchAxis, dims: Sequence[Dim], count: int, params: dict[str, Any]
) -> tuple[dict[str, Any], list[Value]]:
    """Map the function and its rules over an axis; the rules' results are mapped at axis 0."""
    rules = _batched_rules(params["rules"], axis, tuple(dims[count:]))
    if "jaxpr" in params:
        jaxpr: Jaxpr = params["jaxpr"]
        mapped, consts, _ = batch_jaxpr(jaxpr, axis, tuple(dims), (True,) * len(jaxpr.outvars))
        return {
            **params,
            "jaxpr": mapped,
            "rules": rules,
            "num_consts": count + len(consts),
        }, consts
    function = functools.partial(_batched, params["function"], axis, tuple(dims))
    return {**params, "function": function, "rules": rules}, []


def _batched(function: Flat, axis: BatchAxis, dims: Sequence[Dim], *values: Value) -> list[Value]:
    results, out_dims = batch_flat(function, axis, values, dims)
    return [move_batch_axis(axis, r, d) for r, d in zip(results, out_dims, strict=True)]


def _batched_rules(rules: Rules, axis: BatchAxis, dims: Sequence[Dim]) -> Rules:
    def forward(primals: Sequence[Value], perturbed: Sequence[bool]) -> Any:
        counts: list[int] = []

        def run(*values: Value) -> list[Value]:
            results, residuals = rules.forward(values, perturbed)
            counts.append(len(results))
            return [*results, *residuals]

        values = _batched(run, axis, dims, *primals)
        return values[: counts[0]], values[counts[0] :]

    def backward(residuals: Sequence[Value], cotangents: Sequence[Tangent]) -> list[Tangent]:
        has = [c is not None for c in cotangents]
        present: list[bool] = []

        def run(*values: Value) -> list[Value]:
            given = iter(values[len(residuals) :])
            pulled = rules.backward(
                values[: len(residuals)], [next(given) if h else None for h in has]
            )
            present.extend(c is not None for c in pulled)
            return [c for c in pulled if c is not None]

        values = [*residuals, *(c for c in cotangents if c is not None)]
        pulled = iter(_batched(run, axis, [0] * len(values), *values))
        dense = [next(pulled) if p else None for p in present]
        return [_unmapped_sum(c, d) for c, d in zip(dense, dims, strict=True)]

    return rules._replace(forward=forward, backward=backward)


def _unmapped_sum(cotangent: Tangent, dim: Dim) -> Tangent:
    """Give a cotangent its primal's mapped axis, or sum over it."""
    if cotangent is None or dim == 0:
        return cotangent
    if dim is None:
        return sum_axes(cotangent, (0,))
    return move_axis(cotangent, 0, dim)


def _lower(b: Any, *operands: Any, jaxpr: Jaxpr, name: str, **_: Any) -> list[Any]:
    return b.lower_jaxpr(jaxpr, operands, name)


def _partial(
    trace: Any, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Record what the function does: a recorded program is not differentiated again."""
    with current(trace):
        return function_of(params)(*operands)


def _axis_names(params: dict[str, Any]) -> frozenset[Any]:
    return params["jaxpr"].axis_names if "jaxpr" in params else frozenset()


custom_vjp_call_p = declare(
    "custom_vjp_call",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=NOT_LINEAR,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    evaluate=_evaluate,
    stage=_stage,
    axis_names=_axis_names,
    lowers_keys=True,
)

# custom_vjp_tangent: operands are primals, residuals of `forward`, tangents of inexact arguments --


def _split(
    operands: Sequence[Any], params: dict[str, Any]
) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    primals, residuals = params["num_primals"], params["num_primals"] + params["num_residuals"]
    return operands[:primals], operands[primals:residuals], operands[residuals:]


def _tangent_function(*operands: Value, **params: Any) -> list[Value]:
    """The derivative of the function itself: what forward mode computes."""
    primals, _, given = _split(operands, params)
    count = params.get("num_consts", 0)
    tangents = iter(given)
    aligned = [
        next(tangents) if i >= count and has_tangent(p.aval) else None
        for i, p in enumerate(primals)
    ]
    _, pushed = jvp_flat(function_of(params), primals, aligned)
    return [
        zeros(aval) if t is None else t
        for t, aval in zip(pushed, params["out_avals"], strict=True)
        if has_tangent(aval)
    ]


def _tangent_stage(trace: StageTrace, operands: Sequence[Value], params: dict[str, Any]) -> Any:
    if "jaxpr" in params or isinstance(trace, RecordTrace):
        return trace.record(custom_vjp_tangent_p, operands, params)
    primals, residuals, given = _split(operands, params)
    jaxpr, consts = as_program(trace, params["function"], primals, params["name"])
    staged = {k: v for k, v in params.items() if k != "function"}
    staged |= {"jaxpr": jaxpr, "num_consts": len(consts), "num_primals": len(primals) + len(consts)}
    return trace.record(custom_vjp_tangent_p, [*consts, *primals, *residuals, *given], staged)


def _tangent_abstract(
    *avals: ShapedArray, out_avals: tuple[ShapedArray, ...], **_: Any
) -> tuple[ShapedArray, ...]:
    return tuple(aval for aval in out_avals if has_tangent(aval))


def _tangent_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Differentiate the derivative."""
    return jvp_flat(functools.partial(_tangent_function, **params), primals, tangents)


def _tangent_transpose(
    cotangents: Sequence[Tangent], *operands: Any, **params: Any
) -> list[Tangent]:
    """Call the user's backward function."""
    primals, residuals, given = _split(operands, params)
    count = params.get("num_consts", 0)
    incoming = iter(cotangents)
    aligned = [next(incoming) if has_tangent(aval) else None for aval in params["out_avals"]]
    pulled = params["rules"].backward(residuals, aligned)
    outgoing = [c for p, c in zip(primals[count:], pulled, strict=True) if has_tangent(p.aval)]
    return [
        *[None] * (len(primals) + len(residuals)),
        *(c if is_linear(x) else None for x, c in zip(given, outgoing, strict=True)),
    ]


def _tangent_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    primals, residuals, given = _split(operands, params)
    primal_dims, residual_dims, given_dims = _split(dims, params)
    count = params.get("num_consts", 0)
    changed, consts = _batched_params(axis, primal_dims, count, params)
    moved = [move_batch_axis(axis, x, d) for x, d in zip(residuals, residual_dims, strict=True)]
    inexact = [
        d for p, d in zip(primals[count:], primal_dims[count:], strict=True) if has_tangent(p.aval)
    ]
    if any(p is None and g is not None for p, g in zip(inexact, given_dims, strict=True)):
        primals = [move_batch_axis(axis, x, d) for x, d in zip(primals, primal_dims, strict=True)]
        given = [move_batch_axis(axis, x, d) for x, d in zip(given, given_dims, strict=True)]
        changed, consts = _batched_params(axis, [0] * len(primals), count, params)
    else:
        given = [
            move_batch_axis(axis, x, g, p) if p is not None else x
            for x, g, p in zip(given, given_dims, inexact, strict=True)
        ]
    changed["num_primals"] = len(primals) + len(consts)
    changed["out_avals"] = tuple(
        ShapedArray((axis.size, *aval.shape), aval.dtype, False, aval.varying)
        for aval in params["out_avals"]
    )
    results = bind(custom_vjp_tangent_p, *consts, *primals, *moved, *given, **changed)
    return results, [0] * len(results)


def _tangent_lower(b: Any, *operands: Any, jaxpr: Jaxpr, **params: Any) -> list[Any]:
    primals, _, given = _split(operands, params)
    count = params["num_consts"]
    nonzero = tuple(i >= count and has_tangent(v.aval) for i, v in enumerate(jaxpr.invars))
    wanted = tuple(has_tangent(aval) for aval in params["out_avals"])
    pushed, consts, _ = jvp_jaxpr(jaxpr, nonzero, wanted)
    constants = [b.constant(c.numpy()) for c in consts]
    results = b.lower_jaxpr(pushed, [*constants, *primals, *given], f"jvp({params['name']})")
    return results[len(jaxpr.outvars) :]


custom_vjp_tangent_p = declare(
    "custom_vjp_tangent",
    abstract_eval=_tangent_abstract,
    jvp=_tangent_jvp,
    transpose=_tangent_transpose,
    batch=_tangent_batch,
    lower=_tangent_lower,
    evaluate=_tangent_function,
    stage=_tangent_stage,
    axis_names=_axis_names,
    lowers_keys=True,
)
