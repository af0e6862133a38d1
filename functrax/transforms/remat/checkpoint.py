"""`checkpoint`: keep what a policy chooses for the backward pass, and compute the rest again there.

Linearizing a call splits its program in three (`split`): what is computed now, what of it is kept,
and the program that computes the rest again, recorded as another call. Transposing that one gives a
call marked `differentiated`, which XLA must not merge with the first computation.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, as_value, bind, current, state
from functrax.core.types import ShapedArray
from functrax.lowering.base import physical_type
from functrax.primitives.rules import Dim, Tangent, is_linear
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    check_callable,
    converted_arguments,
    shown,
)
from functrax.transforms.jit_call import jit_p, prune_call
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.partial import record_flat
from functrax.transforms.remat.policies import Budget, Policy
from functrax.transforms.remat.split import split
from functrax.transforms.stage import stage_open
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import trace_function
from functrax.transforms.transpose import backward_pass

P = ParamSpec("P")
R = TypeVar("R")

# The primitive ------------------------------------------------------------------------------------


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, **_: Any) -> tuple[ShapedArray, ...]:
    return call_types("checkpoint", avals, jaxpr)


def _jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, jaxpr: Jaxpr, **params: Any
) -> Any:
    """Push forward the program inside; what it computes stays to be computed again."""
    pushed, consts, out_nonzero = jvp_jaxpr(jaxpr, tuple(t is not None for t in tangents))
    given = [t for t in tangents if t is not None]
    results = bind(checkpoint_p, *consts, *primals, *given, jaxpr=pushed, **params)
    tangents_out = iter(results[len(jaxpr.outvars) :])
    return results[: len(jaxpr.outvars)], [
        next(tangents_out) if has else None for has in out_nonzero
    ]


def _partial(
    trace: Any, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Compute the known results and what is kept; record how the others follow from that."""
    parts = split(params["jaxpr"], tuple(unknown), params["policy"])
    known = [x for x, is_unknown in zip(operands, unknown, strict=True) if not is_unknown]
    arguments = [*parts.consts, *known]
    with current(trace.parent):
        if params["differentiated"]:  # a second derivative: the marked call stays one
            results = bind(checkpoint_p, *arguments, **{**params, "jaxpr": parts.forward})
        else:
            results = bind(jit_p, *arguments, jaxpr=parts.forward, name=params["name"])
    residuals = [*(results[i] for i in parts.kept), *(arguments[i] for i in parts.inputs)]
    rest = [x for x, is_unknown in zip(operands, unknown, strict=True) if is_unknown]
    recorded = iter(
        trace.record(checkpoint_p, [*residuals, *rest], {**params, "jaxpr": parts.again})
    )
    determined = iter(results)
    return [next(recorded) if is_unknown else next(determined) for is_unknown in parts.out_unknown]


def _transpose(
    cotangents: Sequence[Tangent], *operands: Any, jaxpr: Jaxpr, **params: Any
) -> list[Tangent]:
    """Compute again what the linear part needs, then transpose that."""
    linear = tuple(is_linear(x) for x in operands)
    known = [x for x in operands if not is_linear(x)]
    given = [c for c in cotangents if c is not None]
    has = [c is not None for c in cotangents]
    present: list[bool] = []

    def pulled_back(*values: Value) -> list[Value]:
        inputs = values[: len(known)]

        def run(*unknown: Value) -> list[Value]:
            from_known, from_unknown = iter(inputs), iter(unknown)
            return eval_jaxpr(
                jaxpr, (), *(next(from_unknown) if is_l else next(from_known) for is_l in linear)
            )

        unknown_avals = [x.aval for x in operands if is_linear(x)]
        recorded, residuals, _ = record_flat(run, unknown_avals, name="checkpoint")
        incoming = iter(values[len(known) :])
        pulled = backward_pass(recorded, residuals, [next(incoming) if h else None for h in has])
        present.extend(c is not None for c in pulled)
        return [c for c in pulled if c is not None]

    name = f"checkpoint({params['name']})"
    transposed, consts = stage_open(pulled_back, [x.aval for x in (*known, *given)], name=name)
    params |= {"jaxpr": transposed, "differentiated": True, "name": name}
    pulled = iter(bind(checkpoint_p, *consts, *known, *given, **params))
    outgoing = iter([next(pulled) if p else None for p in present])
    return [next(outgoing) if is_l else None for is_l in linear]


def _batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, jaxpr: Jaxpr, **params: Any
) -> Any:
    mapped, consts, out_dims = batch_jaxpr(jaxpr, axis, tuple(dims))
    return bind(checkpoint_p, *consts, *operands, jaxpr=mapped, **params), out_dims


# Lowering -----------------------------------------------------------------------------------------


def _lower(
    b: Any,
    *operands: Any,
    jaxpr: Jaxpr,
    name: str,
    prevent_cse: bool,
    differentiated: bool,
    policy: Any,
) -> list[Any]:
    """Call the program; XLA must neither merge the marked one with the forward pass, nor run it
    before the cotangents are there.
    """
    if not (differentiated and prevent_cse and operands):
        return b.lower_jaxpr(jaxpr, operands, name)
    if b.platform == "cpu":
        return _in_branch(b, operands, jaxpr, name)
    held = b.multi_op("stablehlo.optimization_barrier", operands, b.in_types).results
    return b.lower_jaxpr(jaxpr, list(held), name)


_WITNESSES = 4  # so many operands must be constants for XLA to see through the condition


def _in_branch(b: Any, operands: Sequence[Any], jaxpr: Jaxpr, name: str) -> list[Any]:
    """Call the program in a branch that is always taken, which XLA cannot know.

    XLA's CPU compiler drops barriers before its last search for common subexpressions
    (docs/adr/0013). It does not look for them across computations, and a branch waits for all that
    it reads.
    """
    sizes = [aval.size if dtypes.is_inexact(aval.dtype) else 0 for aval in b.in_types]
    largest = sorted(range(len(sizes)), key=lambda i: -sizes[i])[:_WITNESSES]
    witnesses = [i for i in largest if sizes[i]]
    if not witnesses:  # nothing of a size that matters
        return b.lower_jaxpr(jaxpr, operands, name)
    boolean = ShapedArray((), np.dtype(bool))
    flags = [_always(b, operands[i], b.in_types[i]) for i in witnesses]
    always = functools.reduce(lambda p, q: b.op("stablehlo.and", (p, q), boolean), flags)
    outs = [ShapedArray(*physical_type(out)) for out in b.out_types]
    branches = b.multi_op("stablehlo.if", (always,), outs, regions=2)
    b.region(branches.regions[0], (), lambda: b.lower_jaxpr(jaxpr, operands, name))
    b.region(branches.regions[1], (), lambda: [b.full(0, out) for out in outs])
    return list(branches.results)


def _always(b: Any, x: Any, aval: ShapedArray) -> Any:
    """x[0] == x[0] or x[0] != x[0]: XLA does not reason so, because of NaN."""
    ones, scalar = [1] * aval.ndim, aval.update(shape=())
    corner = b.slice(x, aval.update(shape=tuple(ones)), [0] * aval.ndim, ones, ones)
    number = b.reshape(corner, scalar)
    either = [b.compare(which, number, number, scalar) for which in ("EQ", "NE")]
    return b.op("stablehlo.or", either, ShapedArray((), np.dtype(bool)))


checkpoint_p = declare(
    "checkpoint",
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
# The transform ------------------------------------------------------------------------------------


def checkpoint(
    fun: Callable[P, R],
    *,
    prevent_cse: bool | Sequence[bool] = True,
    policy: Policy | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
    budget_bytes: int | None = None,
) -> Callable[P, R]:
    """Trade computation for memory: the backward pass recomputes `fun` from its inputs, and what a
    policy keeps, instead of storing all of its insides.

    Args:
        fun: a function of pytrees of arrays.
        prevent_cse: whether to keep XLA from undoing this by merging the two computations; it
            cannot in the body of a loop. Of a sequence, one True counts for all.
        policy: what to keep: one of `functrax.checkpoint_policies`, or a function of your own,
            called as ``policy(primitive, *types, **params)``. None keeps nothing.
        static_argnums: positions of arguments that are Python values to the function.
        static_argnames: names of such arguments.
        budget_bytes: how many bytes of values may be kept at one call, beside its inputs. Those
            are kept that save the most operations: the best choice there is, by integer
            programming, in functions of up to 300 values; one by one in larger ones.

    Returns:
        A function with the same values and derivatives.

    Raises:
        ArgumentError: if the policy is not a function, the budget not a number of bytes, or both
            are given.
        HashError: if the policy is not hashable.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
        >>> float(functrax.grad(f)(0.0))
        1.0

    Source: Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 26(1), 2000; Jain et al.,
    "Checkmate: breaking the memory wall with optimal tensor rematerialization", MLSys 2020.
    """
    check_callable(fun, "checkpoint")
    chosen = _chosen(policy, budget_bytes)
    several = [prevent_cse] if isinstance(prevent_cse, bool) else prevent_cse
    if not isinstance(several, Sequence) or not all(isinstance(one, bool) for one in several):
        raise errors.ArgumentError("checkpoint", "prevent_cse as a bool", shown(prevent_cse))
    holds = any(several)
    options = StaticArguments(fun, static_argnums, static_argnames, None, None, "checkpoint")

    @functools.wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        dynamic, _, rebuild = options.split(fun, args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        names = lambda: argument_names(fun, in_tree, options.static_nums)  # noqa: E731
        values = converted_arguments("checkpoint", leaves, names, as_value)
        if state.trace is None:
            return FlatFunction(fun, in_tree, "checkpoint", rebuild).run(values)
        traced = trace_function(
            fun, in_tree, [x.aval for x in values], call="checkpoint", rebuild=rebuild
        )
        results = bind_checkpoint(
            traced.jaxpr, [*traced.consts, *values], policy=chosen, prevent_cse=holds
        )
        return traced.out_tree.unflatten(results)

    return checkpointed


def bind_checkpoint(
    jaxpr: Jaxpr,
    operands: Sequence[Value],
    policy: Policy | Budget | None = None,
    prevent_cse: bool = True,
) -> Sequence[Value]:
    """Call a program so that its insides are computed again in the backward pass."""
    return bind(
        checkpoint_p,
        *operands,
        jaxpr=jaxpr,
        prevent_cse=prevent_cse,
        policy=policy,
        differentiated=False,
        name=jaxpr.name,
    )


def _chosen(policy: Policy | None, budget_bytes: int | None) -> Policy | Budget | None:
    if policy is not None and not callable(policy):
        raise errors.ArgumentError(
            "checkpoint", "a function of (primitive, *types, **params) as policy", shown(policy)
        )
    if getattr(policy, "__hash__", None) is None:  # what it answers is remembered
        raise errors.HashError("checkpoint", "a hashable policy", shown(policy))
    if budget_bytes is None:
        return policy
    if isinstance(budget_bytes, bool) or not hasattr(budget_bytes, "__index__") or budget_bytes < 0:
        raise errors.ArgumentError(
            "checkpoint", "budget_bytes as a number of bytes", shown(budget_bytes)
        )
    if policy is not None:
        raise errors.ArgumentError("checkpoint", "a policy or budget_bytes, not both", "both")
    return Budget(budget_bytes.__index__())


remat = checkpoint
