"""`checkpoint`: keep only a function's inputs for the backward pass, and compute the rest again
there.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, dce, eval_jaxpr
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, as_value, bind, current, state
from functrax.core.types import ShapedArray
from functrax.primitives.convert import optimization_barrier_p
from functrax.primitives.rules import Dim, Tangent, is_linear
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.flat import (
    argument_names,
    called,
    check_callable,
    converted_arguments,
)
from functrax.transforms.jit import jit_p
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.partial import partial_eval_jaxpr, record_flat
from functrax.transforms.stage import stage_open
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import trace_function
from functrax.transforms.transpose import backward_pass

P = ParamSpec("P")
R = TypeVar("R")


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
    """Compute the known results; record the whole program, from its inputs, for the others."""
    jaxpr: Jaxpr = params["jaxpr"]
    known_jaxpr, consts, _, out_unknown, _ = partial_eval_jaxpr(jaxpr, tuple(unknown))
    count = out_unknown.count(False)
    primal, _ = dce(known_jaxpr, [i < count for i in range(len(known_jaxpr.outvars))])
    known = [x for x, is_unknown in zip(operands, unknown, strict=True) if not is_unknown]
    with current(trace.parent):
        determined = iter(bind(jit_p, *consts, *known, jaxpr=primal, name=params["name"]))
    rest, _ = dce(jaxpr, out_unknown)
    recorded = iter(trace.record(checkpoint_p, operands, {**params, "jaxpr": rest}))
    return [next(recorded) if is_unknown else next(determined) for is_unknown in out_unknown]


def _transpose(
    cotangents: Sequence[Tangent], *operands: Any, jaxpr: Jaxpr, prevent_cse: bool, name: str
) -> list[Tangent]:
    """Compute again what the linear part needs, then transpose that."""
    linear = tuple(is_linear(x) for x in operands)
    known = [x for x in operands if not is_linear(x)]
    given = [c for c in cotangents if c is not None]
    has = [c is not None for c in cotangents]
    present: list[bool] = []

    def pulled_back(*values: Value) -> list[Value]:
        if prevent_cse and known:
            # Without the barrier XLA would merge this computation with the forward pass's, and
            # keep its results; were the cotangents not in it, it might compute them long before
            # they are needed.
            values = tuple(bind(optimization_barrier_p, *values))
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

    transposed, consts = stage_open(
        pulled_back, [x.aval for x in (*known, *given)], name=f"checkpoint({name})"
    )
    pulled = iter(
        bind(jit_p, *consts, *known, *given, jaxpr=transposed, name=f"checkpoint({name})")
    )
    outgoing = iter([next(pulled) if p else None for p in present])
    return [next(outgoing) if is_l else None for is_l in linear]


def _batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, jaxpr: Jaxpr, **params: Any
) -> Any:
    mapped, consts, out_dims = batch_jaxpr(jaxpr, axis, tuple(dims))
    return bind(checkpoint_p, *consts, *operands, jaxpr=mapped, **params), out_dims


def _lower(b: Any, *operands: Any, jaxpr: Jaxpr, name: str, **_: Any) -> list[Any]:
    return b.lower_jaxpr(jaxpr, operands, name)


checkpoint_p = declare(
    "checkpoint",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    axis_names=lambda params: params["jaxpr"].axis_names,
    lowers_keys=True,
)


def checkpoint(
    fun: Callable[P, R],
    *,
    prevent_cse: bool = True,
    policy: Callable[..., bool] | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
) -> Callable[P, R]:
    """Trade computation for memory: the backward pass recomputes `fun` from its inputs instead of
    storing its insides.

    Args:
        fun: a function of pytrees of arrays.
        prevent_cse: whether to keep XLA from undoing this by merging the two computations.
        policy: what to store all the same; must be None, to store nothing.
        static_argnums: positions of arguments that are Python values to the function.
        static_argnames: names of such arguments.

    Returns:
        A function with the same values and derivatives.

    Raises:
        ArgumentError: if a policy is given.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
        >>> float(functrax.grad(f)(0.0))
        1.0

    Source: Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 26(1), 2000.
    """
    check_callable(fun, "checkpoint")
    if policy is not None:
        raise errors.ArgumentError(
            "checkpoint", "policy=None", f"{policy!r}", fix="Split the function instead."
        )
    options = StaticArguments(fun, static_argnums, static_argnames, None, None, "checkpoint")

    @functools.wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if state.trace is None:
            return called(fun, args, kwargs, "checkpoint")
        dynamic, _, rebuild = options.split(fun, args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        names = lambda: argument_names(fun, in_tree, options.static_nums)  # noqa: E731
        values = converted_arguments("checkpoint", leaves, names, as_value)
        traced = trace_function(
            fun, in_tree, [x.aval for x in values], call="checkpoint", rebuild=rebuild
        )
        name = traced.jaxpr.name
        results = bind(
            checkpoint_p,
            *traced.consts,
            *values,
            jaxpr=traced.jaxpr,
            prevent_cse=prevent_cse,
            name=name,
        )
        return traced.out_tree.unflatten(results)

    return checkpointed


remat = checkpoint
