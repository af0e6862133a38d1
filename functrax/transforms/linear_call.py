"""`linear_call`: a linear function with its own transpose."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, Var, eval_jaxpr
from functrax.core.primitive import BatchAxis, declare
from functrax.core.signature import takes
from functrax.core.trace import Array, Value, as_value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import (
    Dim,
    Tangent,
    add_cotangents,
    has_tangent,
    is_linear,
    move_batch_axis,
    zeros,
)
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.calls import checked_leaves, place_of
from functrax.transforms.control.bodies import reordered, split_at, where
from functrax.transforms.flat import (
    FlatFunction,
    as_array,
    called,
    check_callable,
    converted_arguments,
    function_name,
    path_of,
)
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.stage import stage_open

# The primitive: operands are what the function captured, what its transpose captured, residuals,
# and the values in which it is linear. Both functions are programs: `jaxpr` of its captured values,
# residuals and linear values; `transposed` of its own, residuals and cotangents.


def _split(items: Sequence[Any], params: dict[str, Any]) -> list[Sequence[Any]]:
    counts = params["num_consts"], params["num_transposed_consts"]
    middle = len(items) - sum(counts) - params["num_linear"]
    return split_at(items, *counts, middle)


def _arguments(operands: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """Return the operands of the function itself."""
    consts, _, residuals, linear = _split(operands, params)
    return [*consts, *residuals, *linear]


def _evaluate(*operands: Value, **params: Any) -> list[Value]:
    return eval_jaxpr(params["jaxpr"], (), *_arguments(operands, params))


def _parameters(
    *,
    jaxpr: Jaxpr,
    transposed: Jaxpr,
    num_consts: int,
    num_transposed_consts: int,
    num_linear: int,
) -> None:
    """What a call is described by."""


@takes(_parameters)
def _abstract_eval(*avals: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
    return call_types("linear_call", _arguments(avals, params), params["jaxpr"])


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Apply the function to the tangents, and differentiate it in the residuals: d L(r) x = L(r) dx
    + (dL(r)) x.
    """
    results = bind(linear_call_p, *primals, **params)
    total: list[Tangent] = [None] * len(results)
    count = len(primals) - params["num_linear"]
    if any(t is not None for t in tangents[count:]):
        given = [
            zeros(p.aval) if t is None else t
            for p, t in zip(primals[count:], tangents[count:], strict=True)
        ]
        total = list(bind(linear_call_p, *primals[:count], *given, **params))
    held = [*tangents[:count], *[None] * params["num_linear"]]
    around = _arguments(held, params)
    if any(t is not None for t in around):
        nonzero = tuple(t is not None for t in around)
        pushed, consts, has = jvp_jaxpr(params["jaxpr"], nonzero)
        given = [t for t in around if t is not None]
        values = eval_jaxpr(pushed, (), *consts, *_arguments(primals, params), *given)
        parts = iter(values[len(results) :])
        rest = [next(parts) if h else None for h in has]
        total = [add_cotangents(a, b) for a, b in zip(total, rest, strict=True)]
    return results, total


def _transpose(cotangents: Sequence[Tangent], *operands: Any, **params: Any) -> list[Tangent]:
    """Call the transpose, whose transpose is the function."""
    consts, transposed_consts, residuals, linear = _split(operands, params)
    if any(is_linear(x) for x in (*consts, *transposed_consts, *residuals)):
        raise errors.MissingRuleError(
            "linear_call",
            "a linear function of `linear_args`",
            "a transposition in what it captured or in `residual_args`",
            fix="Use `vjp`, which linearizes first.",
        )
    given = [
        zeros(aval) if c is None else c
        for c, aval in zip(cotangents, params["jaxpr"].out_avals, strict=True)
    ]
    changed = {
        "jaxpr": params["transposed"],
        "transposed": params["jaxpr"],
        "num_consts": len(transposed_consts),
        "num_transposed_consts": len(consts),
        "num_linear": len(given),
    }
    pulled = bind(linear_call_p, *transposed_consts, *consts, *residuals, *given, **changed)
    return [
        *[None] * (len(operands) - len(linear)),
        *(c if is_linear(x) else None for x, c in zip(linear, pulled, strict=True)),
    ]


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Map both functions; linear values and results are all mapped, as then cotangents are."""
    consts, transposed_consts, residuals, linear = _split(operands, params)
    consts_d, transposed_d, residuals_d, linear_d = _split(dims, params)
    moved = [move_batch_axis(axis, x, d) for x, d in zip(linear, linear_d, strict=True)]
    programs: list[tuple[Jaxpr, list[Value]]] = []
    for name, captured in (("jaxpr", consts_d), ("transposed", transposed_d)):
        jaxpr: Jaxpr = params[name]
        count = len(jaxpr.invars) - len(captured) - len(residuals)
        placed = (*captured, *residuals_d, *[0] * count)
        mapped, new, _ = batch_jaxpr(jaxpr, axis, placed, (True,) * len(jaxpr.outvars))
        programs.append((mapped, new))
    (jaxpr, new), (transposed, transposed_new) = programs
    changed = {
        "jaxpr": jaxpr,
        "transposed": transposed,
        "num_consts": len(new) + len(consts),
        "num_transposed_consts": len(transposed_new) + len(transposed_consts),
        "num_linear": len(linear),
    }
    held = [*new, *consts, *transposed_new, *transposed_consts, *residuals]
    results = bind(linear_call_p, *held, *moved, **changed)
    return results, [0] * len(results)


def _lower(b: Any, *operands: Any, **params: Any) -> list[Any]:
    return b.lower_jaxpr(params["jaxpr"], _arguments(operands, params), params["jaxpr"].name)


linear_call_p = declare(
    "linear_call",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    axis_names=lambda params: params["jaxpr"].axis_names | params["transposed"].axis_names,
    lowers_keys=True,
)


def linear_call(
    fun: Callable[[Any, Any], Any],
    fun_transpose: Callable[[Any, Any], Any],
    residual_args: Any,
    linear_args: Any,
) -> Any:
    """Call a linear function that has its own transpose.

    Args:
        fun: ``(residual_args, linear_args) -> output``, linear in the second argument; pytrees.
        fun_transpose: ``(residual_args, output cotangent) -> cotangent of linear_args``; its own
            transpose is `fun`. None stands for zero, and is the cotangent of integers.
        residual_args: pytree of arrays in which `fun` need not be linear.
        linear_args: pytree of arrays.

    Returns:
        The output, a pytree of floating-point or complex arrays.

    Raises:
        DtypeError: if the output has integers.
        CustomRuleError: if `fun_transpose` returns another structure, shape or dtype.

    Example:
        >>> import functrax
        >>> scale = lambda r, x: x / r
        >>> f = lambda x: linear_call(scale, lambda r, ct: 10 * ct / r, 2.0, x)
        >>> float(f(3.0)), float(functrax.grad(f)(3.0)), float(functrax.jvp(f, (3.0,), (1.0,))[1])
        (1.5, 5.0, 0.5)
    """
    check_callable(fun, "linear_call")
    check_callable(fun_transpose, "linear_call")
    leaves, in_tree = tree.flatten(((residual_args, linear_args), {}))
    linear_tree = tree.structure(linear_args)
    start = len(leaves) - linear_tree.num_leaves

    def names() -> list[str]:
        kept = tree.structure(residual_args)
        return [
            *(f"residual_args{path_of(kept, i)}" for i in range(start)),
            *(f"linear_args{path_of(linear_tree, i)}" for i in range(linear_tree.num_leaves)),
        ]

    values: list[Array] = [
        as_array(x) for x in converted_arguments("linear_call", leaves, names, as_value)
    ]
    if state.trace is None:
        return FlatFunction(fun, in_tree, "linear_call").run(values)
    avals = [x.aval for x in values]
    active = [i >= start and has_tangent(aval) for i, aval in enumerate(avals)]
    flat = FlatFunction(fun, in_tree, "linear_call")
    jaxpr, consts = stage_open(
        flat, avals, transform="linear_call", name=function_name(fun), argument_names=names
    )
    _check_output(fun, flat.out_tree, jaxpr.out_avals)

    def transposed(*given: Value) -> list[Value]:
        residuals, _ = in_tree.unflatten([*map(as_array, given[:start]), *values[start:]])[0]
        cotangent = flat.out_tree.unflatten(map(as_array, given[start:]))
        result = called(fun_transpose, (residuals, cotangent), {}, "linear_call")
        what = "the transpose to return cotangents of linear_args"
        name, types = function_name(fun), avals[start:]
        pulled = checked_leaves(name, fun_transpose, what, result, linear_tree, types)
        return [
            zeros(aval) if c is None else c
            for c, aval in zip(pulled, types, strict=True)
            if has_tangent(aval)
        ]

    given_avals = [*avals[:start], *(aval.strong() for aval in jaxpr.out_avals)]
    pulling, captured = stage_open(
        transposed, given_avals, transform="linear_call", name=f"transpose({jaxpr.name})"
    )
    fixed = [not is_active for is_active in active]
    order = [*range(len(consts)), *where(fixed, len(consts)), *where(active, len(consts))]
    results = bind(
        linear_call_p,
        *consts,
        *captured,
        *(values[i] for i in where(fixed)),
        *(values[i] for i in where(active)),
        jaxpr=reordered(jaxpr, order),
        transposed=_with_unused(pulling, len(captured) + start, avals[start:]),
        num_consts=len(consts),
        num_transposed_consts=len(captured),
        num_linear=sum(active),
    )
    return flat.out_tree.unflatten(results)


def _with_unused(jaxpr: Jaxpr, place: int, avals: Sequence[ShapedArray]) -> Jaxpr:
    """Give a program further arguments: the integers among the linear ones."""
    unused = [Var(aval) for aval in avals if not has_tangent(aval)]
    invars = [*jaxpr.invars[:place], *unused, *jaxpr.invars[place:]]
    return Jaxpr((), invars, jaxpr.outvars, jaxpr.eqns, jaxpr.name)


def _check_output(fun: Callable[..., Any], out_tree: Any, avals: Sequence[ShapedArray]) -> None:
    """Raise if a result cannot be linear in anything.

    Raises:
        DtypeError: naming the leaf.
    """
    for index, aval in enumerate(avals):
        if not has_tangent(aval):
            raise errors.DtypeError(
                "linear_call",
                f"{function_name(fun)!r} to return arrays of floating or complex dtype",
                f"{aval!r} at result{path_of(out_tree, index)}",
                where=place_of(fun),
            )
