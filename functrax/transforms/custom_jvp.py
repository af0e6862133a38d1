"""`custom_jvp`: a function with its own forward-mode rule."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr
from functrax.core.params import fields_of, param_type
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare
from functrax.core.trace import Value, bind, current, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim, Tangent, move_batch_axis
from functrax.transforms.batch import batch_flat, batch_jaxpr
from functrax.transforms.calls import (
    Flat,
    call_rule,
    check_outputs,
    checked_leaves,
    checked_pair,
    checked_values,
    flat_call,
    function_of,
    nondiff_positions,
    place_of,
    stage_call,
    user_tangent,
)
from functrax.transforms.flat import (
    FlatFunction,
    as_array,
    check_callable,
    function_name,
    take_name,
)
from functrax.transforms.stage import StageTrace

P = ParamSpec("P")
R = TypeVar("R")

# The primitive: operands are captured values, then arguments. The function is Python (`function`)
# while it is called from Python, and a program (`jaxpr`) once it is staged; `rule` maps flat
# primals and tangents to flat results and tangents.


def _evaluate(*operands: Value, **params: Any) -> Sequence[Value]:
    return function_of(params)(*operands)


def _stage(trace: StageTrace, operands: Sequence[Value], params: dict[str, Any]) -> Any:
    return stage_call(custom_jvp_call_p, trace, operands, params)


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, **_: Any) -> tuple[ShapedArray, ...]:
    return call_types("custom_jvp_call", avals, jaxpr)


def _jvp(
    primals: Sequence[Value],
    tangents: Sequence[Tangent],
    *,
    rule: Any,
    name: str,
    num_consts: int = 0,
    jaxpr: Jaxpr | None = None,
    **_: Any,
) -> Any:
    """Apply the user's rule."""
    if any(tangent is not None for tangent in tangents[:num_consts]):
        raise errors.CustomRuleError(
            name,
            "a custom_jvp function to depend on differentiated values through its arguments only",
            f"{name!r}, which closes over one",
            fix="Pass the value as an argument.",
        )
    results, out_tangents = rule(primals[num_consts:], tangents[num_consts:])
    check_outputs(name, "the jvp rule", results, jaxpr)
    return results, out_tangents


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    count = params.get("num_consts", 0)
    rule = _mapped(params["rule"], axis, tuple(dims[count:]))
    if "jaxpr" in params:
        jaxpr: Jaxpr = params["jaxpr"]
        outs = (True,) * len(jaxpr.outvars)
        mapped, consts, _ = batch_jaxpr(jaxpr, axis, tuple(dims), outs)
        changed = {
            "jaxpr": mapped,
            "num_consts": count + len(consts),
            "rule": rule,
            "name": params["name"],
        }
        results = bind(custom_jvp_call_p, *consts, *operands, **changed)
    else:
        function = functools.partial(_batched_function, params["function"], axis, tuple(dims))
        results = bind(
            custom_jvp_call_p, *operands, function=function, rule=rule, name=params["name"]
        )
    return results, [0] * len(results)


def _batched_function(
    function: Flat, axis: BatchAxis, dims: Sequence[Dim], *values: Value
) -> list[Value]:
    results, out_dims = batch_flat(function, axis, values, dims)
    return [move_batch_axis(axis, r, d) for r, d in zip(results, out_dims, strict=True)]


def _mapped(rule: Any, axis: BatchAxis, dims: tuple[Dim, ...]) -> "MappedRule":
    """Map a rule; one that is a record closes over nothing, and needs no trace of `vmap`'s."""
    innermost = rule
    while isinstance(innermost, MappedRule):
        innermost = innermost.rule
    return MappedRule(rule, axis if fields_of(innermost) is None else BatchAxis(*axis), dims)


param_type(BatchAxis)  # which `core.primitive` cannot say, as parameters hold its programs


@param_type
class MappedRule(NamedTuple):
    """A rule under `vmap`: tangents have their primals' mapped axes."""

    rule: Any
    axis: BatchAxis
    dims: tuple[Dim, ...]

    def __call__(
        self, primals: Sequence[Value], tangents: Sequence[Tangent]
    ) -> tuple[list[Value], list[Tangent]]:
        """Apply the rule to each lane."""
        has = [tangent is not None for tangent in tangents]
        present: list[bool] = []

        def run(*values: Value) -> list[Value]:
            given = iter(values[len(primals) :])
            inputs = values[: len(primals)], [next(given) if h else None for h in has]
            outs, tangents_out = self.rule(*inputs)
            present.extend(t is not None for t in tangents_out)
            return [*outs, *(t for t in tangents_out if t is not None)]

        axis = self.axis
        values = [*primals, *(t for t in tangents if t is not None)]
        all_dims = [*self.dims, *(d for d, h in zip(self.dims, has, strict=True) if h)]
        results, out_dims = batch_flat(run, axis, values, all_dims)
        placed = [move_batch_axis(axis, r, d) for r, d in zip(results, out_dims, strict=True)]
        given = iter(placed[len(present) :])
        return placed[: len(present)], [next(given) if p else None for p in present]


def _lower(b: Any, *operands: Any, jaxpr: Jaxpr, name: str, **_: Any) -> list[Any]:
    return b.lower_jaxpr(jaxpr, operands, name)


def _partial(
    trace: Any, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Record what the function does: a recorded program is not differentiated again."""
    with current(trace):
        return function_of(params)(*operands)


custom_jvp_call_p = declare(
    "custom_jvp_call",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=NOT_LINEAR,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    evaluate=_evaluate,
    stage=_stage,
    axis_names=lambda params: params["jaxpr"].axis_names if "jaxpr" in params else frozenset(),
    lowers_keys=True,
)


class custom_jvp(Generic[P, R]):  # noqa: N801  (used as a decorator, like JAX's)
    """A function whose derivative is given by a rule instead of being derived.

    Args:
        fun: a function of pytrees of arrays.
        nondiff_argnums: positions of arguments that are not differentiated and need not be arrays;
            the rule receives them first.
        nondiff_argnames: names of such arguments.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.custom_jvp
        ... def f(x):
        ...     return jnp.sin(x)
        >>> @f.defjvp
        ... def f_jvp(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return f(x), 2.0 * t
        >>> float(functrax.grad(f)(0.5))
        2.0
    """

    def __init__(
        self,
        fun: Callable[P, R],
        nondiff_argnums: Sequence[int] = (),
        nondiff_argnames: Sequence[str] = (),
    ) -> None:
        """Wrap a function; give the rule with `defjvp`."""
        check_callable(fun, "custom_jvp")
        take_name(self, fun)
        self.fun = fun
        self.nondiff_argnums = nondiff_positions(
            fun, nondiff_argnums, nondiff_argnames, "custom_jvp"
        )
        self.jvp: Callable[..., Any] | None = None
        self.symbolic_zeros = False

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Set the rule ``jvp(primals, tangents) -> (output, output tangent)`` and return it (so it
        can decorate).

        Args:
            jvp: the rule; it must be linear in the tangents. With `nondiff_argnums`, these
                arguments come first.
            symbolic_zeros: whether tangents that are known to be zero come as
                `custom_derivatives.SymbolicZero` instead of arrays. The rule may return them too.

        The tangents of integers are None, and None stands for a zero tangent of the output.
        """
        check_callable(jvp, "custom_jvp.defjvp")
        self.jvp = jvp
        self.symbolic_zeros = symbolic_zeros
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Set one rule per argument, ``jvp(tangent, output, *primals) -> output tangent``; None
        where it is zero.
        """
        if self.nondiff_argnums:
            raise errors.ArgumentError(
                "custom_jvp.defjvps", "no nondiff_argnums", f"{self.nondiff_argnums}"
            )

        def jvp(primals: Any, tangents: Any) -> Any:
            out = cast(Any, self)(*primals)
            parts = [
                rule(t, out, *primals)
                for rule, t in zip(jvps, tangents, strict=True)
                if rule is not None and tree.leaves(t)
            ]
            if not parts:
                return out, None
            total = parts[0]
            for part in parts[1:]:
                total = tree.map(lambda a, b: a + b, total, part)
            return out, total

        self.jvp = jvp
        self.symbolic_zeros = False

    def __repr__(self) -> str:
        """Print as ``custom_jvp(name)``."""
        return f"<custom_jvp of {function_name(self.fun)}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function; transforms will find its rule."""
        name = function_name(self.fun)
        if self.jvp is None:
            raise errors.ArgumentError(
                name, "a rule set by `defjvp`", "none", fix=f"Decorate it with `@{name}.defjvp`."
            )
        function, values, fixed, _ = flat_call(self.fun, self.nondiff_argnums, args, kwargs, name)
        if state.trace is None:
            return function.run(values)
        rule = functools.partial(self._flat_rule, name, function, fixed)
        results = bind(custom_jvp_call_p, *values, function=function, rule=rule, name=name)
        return function.out_tree.unflatten(results)

    def _flat_rule(
        self,
        name: str,
        function: FlatFunction,
        fixed: Sequence[Any],
        primals: Sequence[Value],
        tangents: Sequence[Tangent],
    ) -> tuple[list[Value], list[Tangent]]:
        """Call the user's rule on pytrees and check what it returns."""
        in_tree = function.in_tree
        primal_args, _ = in_tree.unflatten(map(as_array, primals))
        tangent_args, _ = in_tree.unflatten(
            [
                user_tangent(p.aval, t, self.symbolic_zeros)
                for p, t in zip(primals, tangents, strict=True)
            ]
        )
        rule: Any = self.jvp
        result = call_rule(name, rule, [*fixed, primal_args, tangent_args])
        what = "the jvp rule to return a pair (output, output tangent)"
        out, out_tangent = checked_pair(name, rule, what, result)
        leaves, out_tree = tree.flatten(out)
        if function.out_tree is None:
            function.out_tree = out_tree
        elif out_tree != function.out_tree:
            raise errors.CustomRuleError(
                name,
                f"an output of the function's structure {function.out_tree} from the jvp rule",
                f"{out_tree}",
                where=place_of(rule),
            )
        outs = checked_values(name, rule, "the jvp rule", leaves)
        avals = [out.aval for out in outs]
        what = "the jvp rule to return an output tangent"
        return outs, checked_leaves(name, rule, what, out_tangent, out_tree, avals)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else types.MethodType(self, instance)
