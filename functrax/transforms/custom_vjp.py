"""`custom_vjp`: a function with its own reverse-mode rule.

Differentiating a call runs the user's forward function, and binds the tangent of the output as one
linear operation, `custom_vjp_tangent`. Transposing that operation calls the user's backward
function. Evaluating it, as forward mode does, differentiates the function itself; so `jvp`,
`linearize` and `hessian` work over user rules too.
"""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare
from functrax.core.trace import Value, bind, current, state
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
from functrax.transforms.calls import (
    Flat,
    JaxprFunction,
    as_program,
    call_rule,
    check_outputs,
    checked_leaves,
    checked_pair,
    checked_values,
    described,
    flat_call,
    merge_nondiff,
    nondiff_positions,
    place_of,
    user_tangent,
)
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    as_array,
    called,
    check_callable,
    function_name,
)
from functrax.transforms.jvp import jvp_flat, jvp_jaxpr
from functrax.transforms.partial import RecordTrace
from functrax.transforms.stage import StageTrace

P = ParamSpec("P")
R = TypeVar("R")


class Rules:
    """The flat rules of one call.

    Attributes:
        forward: flat primals -> flat results and flat residuals.
        backward: flat residuals and cotangents (None for zero) -> one cotangent or None per primal.
    """

    __slots__ = ("backward", "forward")

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Keep both."""
        self.forward = forward
        self.backward = backward


# custom_vjp_call: operands are captured values, then arguments ------------------------------------


def _evaluate(*operands: Value, **params: Any) -> Sequence[Value]:
    return _function_of(params)(*operands)


def _stage(trace: StageTrace, operands: Sequence[Value], params: dict[str, Any]) -> Any:
    if "jaxpr" in params:
        return trace.record(custom_vjp_call_p, operands, params)
    jaxpr, consts = as_program(trace, params["function"], operands, params["name"])
    staged = {
        "jaxpr": jaxpr,
        "rules": params["rules"],
        "num_consts": len(consts),
        "name": params["name"],
    }
    return trace.record(custom_vjp_call_p, [*consts, *operands], staged)


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, **_: Any) -> tuple[ShapedArray, ...]:
    return call_types("custom_vjp_call", avals, jaxpr)


def _function_of(params: dict[str, Any]) -> Flat:
    return JaxprFunction(params["jaxpr"]) if "jaxpr" in params else params["function"]


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
    results, residuals = params["rules"].forward(*primals[count:])
    check_outputs(name, "the fwd rule", results, params.get("jaxpr"))
    filled = [
        None if not has_tangent(p.aval) else zeros(p.aval) if t is None else t
        for p, t in zip(primals, tangents, strict=True)
    ]
    given = [t for t in filled[count:] if t is not None]
    differentiable = tuple(has_tangent(r.aval) for r in results)
    if not given or not any(differentiable):
        return results, [None] * len(results)
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
    def forward(*primals: Value) -> Any:
        counts: list[int] = []

        def run(*values: Value) -> list[Value]:
            results, residuals = rules.forward(*values)
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

    return Rules(forward, backward)


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
        return _function_of(params)(*operands)


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

# custom_vjp_tangent: operands are primals, residuals of the forward function, tangents of the inexa


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
    _, pushed = jvp_flat(_function_of(params), primals, aligned)
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

# The decorator ------------------------------------------------------------------------------------


class custom_vjp(Generic[P, R]):  # noqa: N801  (used as a decorator, like JAX's)
    """A function whose gradient is given by a rule instead of being derived.

    Args:
        fun: a function of pytrees of arrays.
        nondiff_argnums: positions of arguments that are not differentiated and need not be arrays;
            `bwd` receives them first.
        nondiff_argnames: names of such arguments.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.custom_vjp
        ... def f(x):
        ...     return jnp.sin(x)
        >>> f.defvjp(lambda x: (f(x), x), lambda x, g: (3.0 * g,))
        >>> float(functrax.grad(f)(0.5))
        3.0
    """

    def __init__(
        self,
        fun: Callable[P, R],
        nondiff_argnums: Sequence[int] = (),
        nondiff_argnames: Sequence[str] = (),
    ) -> None:
        """Wrap a function; give the rules with `defvjp`."""
        check_callable(fun, "custom_vjp")
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.nondiff_argnums = nondiff_positions(
            fun, nondiff_argnums, nondiff_argnames, "custom_vjp"
        )
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Set the rules.

        Args:
            fwd: the arguments of the function -> ``(output, residuals)``.
            bwd: ``(residuals, output cotangent)`` -> one cotangent per differentiable argument;
                None stands for zero. With `nondiff_argnums`, these arguments come first.
            symbolic_zeros: must be False.
            optimize_remat: must be False.
        """
        check_callable(fwd, "custom_vjp.defvjp")
        check_callable(bwd, "custom_vjp.defvjp")
        if symbolic_zeros or optimize_remat:
            raise errors.ArgumentError(
                "custom_vjp.defvjp", "symbolic_zeros=False and optimize_remat=False", "True"
            )
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function; transforms will find its rules."""
        name = function_name(self.fun)
        if self.fwd is None or self.bwd is None:
            raise errors.ArgumentError(
                name, "rules set by `defvjp`", "none", fix=f"Call `{name}.defvjp(fwd, bwd)`."
            )
        if state.trace is None:
            return called(self.fun, args, kwargs, name)
        function, values, fixed, nondiff = flat_call(
            self.fun, self.nondiff_argnums, args, kwargs, name
        )
        rules = _user_rules(self, name, function, fixed, nondiff, [x.aval for x in values])
        results = bind(custom_vjp_call_p, *values, function=function, rules=rules, name=name)
        return function.out_tree.unflatten(results)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else types.MethodType(self, instance)


def _user_rules(
    custom: custom_vjp[..., Any],
    name: str,
    function: FlatFunction,
    fixed: Sequence[Any],
    nondiff: Sequence[int],
    in_avals: Sequence[ShapedArray],
) -> Rules:
    """Wrap the user's rules as functions of flat values that check what they return."""
    fwd: Any = custom.fwd
    bwd: Any = custom.bwd
    in_tree = function.in_tree
    args_tree = in_tree.children()[0]
    memory: dict[str, Any] = {}

    def forward(*primals: Value) -> tuple[list[Value], list[Value]]:
        free, _ = in_tree.unflatten(map(as_array, primals))
        result = call_rule(name, fwd, merge_nondiff(fixed, free, nondiff))
        out, kept = checked_pair(
            name, fwd, "the fwd rule to return a pair (output, residuals)", result
        )
        leaves, out_tree = tree.flatten(out)
        if function.out_tree is None:
            function.out_tree = out_tree
        elif out_tree != function.out_tree:
            raise errors.CustomRuleError(
                name,
                f"an output of the function's structure {function.out_tree} from the fwd rule",
                f"{out_tree}",
                where=place_of(fwd),
            )
        outs = checked_values(name, fwd, "the fwd rule", leaves)
        residuals, residual_tree = tree.flatten(kept)
        memory["residuals"] = residual_tree
        memory["outs"] = [out.aval for out in outs]
        return outs, checked_values(name, fwd, "the fwd rule (in its residuals)", residuals)

    def backward(residuals: Sequence[Value], cotangents: Sequence[Tangent]) -> list[Tangent]:
        dense = [user_tangent(aval, c) for c, aval in zip(cotangents, memory["outs"], strict=True)]
        kept = memory["residuals"].unflatten(map(as_array, residuals))
        result = call_rule(name, bwd, [*fixed, kept, function.out_tree.unflatten(dense)])
        names = lambda: argument_names(custom.fun, in_tree, nondiff)  # noqa: E731
        if not isinstance(result, tuple | list):
            raise errors.CustomRuleError(
                name,
                f"the bwd rule to return a tuple of cotangents, for {', '.join(names())}",
                described(result),
                where=place_of(bwd),
                fix="Return a tuple also for one argument: `return (g,)`.",
            )
        what = "the bwd rule to return cotangents"
        return checked_leaves(name, bwd, what, tuple(result), args_tree, in_avals, names)

    return Rules(forward, backward)
