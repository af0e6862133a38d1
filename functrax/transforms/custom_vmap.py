"""`custom_vmap`: a function with its own rule for `vmap`."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, bind, state
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.rules import Dim, Tangent, has_tangent, is_linear, move_batch_axis, zeros
from functrax.transforms.batch import mapped_type
from functrax.transforms.calls import (
    JaxprFunction,
    call_rule,
    checked_pair,
    checked_values,
    free_values,
    place_of,
    positional,
)
from functrax.transforms.control.loops import map as map_
from functrax.transforms.flat import (
    FlatFunction,
    as_array,
    check_callable,
    function_name,
    take_name,
)
from functrax.transforms.jvp import jvp_flat
from functrax.transforms.linear_call import linear_call_p
from functrax.transforms.partial import linearize_flat
from functrax.transforms.stage import stage_open
from functrax.transforms.traced import trace_function
from functrax.transforms.transpose import backward_pass, transpose_jaxpr

P = ParamSpec("P")
R = TypeVar("R")

Rule = Callable[..., tuple[list[Value], list[bool]]]
"""``(axis size, which arguments are mapped, *arguments) -> (results, which are mapped)``, all flat,
with the mapped axis first.
"""


class Derivatives(NamedTuple):
    """The two derivatives of a call in some of its arguments, each with its own rule for `vmap`."""

    push: Callable[..., list[Value]]
    pull: Callable[..., list[Value]]


# The primitive: operands are captured values, then arguments; the function is a program, the rule
# is Python.


def _evaluate(*operands: Value, jaxpr: Jaxpr, **_: Any) -> list[Value]:
    return eval_jaxpr(jaxpr, (), *operands)


def _abstract_eval(*avals: ShapedArray, jaxpr: Jaxpr, **_: Any) -> tuple[ShapedArray, ...]:
    return call_types("custom_vmap_call", avals, jaxpr)


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Bind the tangent as a linear call, both directions of which have rules made of the user's."""
    count = params["num_consts"]
    if any(t is not None for t in tangents[:count]):
        raise errors.CustomRuleError(
            params["name"],
            "a custom_vmap function to depend on differentiated values through its arguments only",
            f"{params['name']!r}, which closes over one",
            fix="Pass the value as an argument.",
        )
    results = bind(custom_vmap_call_p, *primals, **params)
    out_avals = [r.aval.strong() for r in results if has_tangent(r.aval)]
    if not out_avals:
        return results, [None] * len(results)
    active = tuple(t is not None for t in tangents)
    derivatives = _derivatives(params, active, len(primals))
    in_avals = [p.aval for p in primals]
    tangent_avals = [t.aval for t in tangents if t is not None]
    push, push_consts = stage_open(derivatives.push, [*in_avals, *tangent_avals])
    pull, pull_consts = stage_open(derivatives.pull, [*in_avals, *out_avals])
    pushed = bind(
        linear_call_p,
        *push_consts,
        *pull_consts,
        *primals,
        *(t for t in tangents if t is not None),
        jaxpr=push,
        transposed=pull,
        num_consts=len(push_consts),
        num_transposed_consts=len(pull_consts),
        num_linear=len(tangent_avals),
    )
    outgoing = iter(pushed)
    return results, [next(outgoing) if has_tangent(r.aval) else None for r in results]


def _derivatives(params: dict[str, Any], active: tuple[bool, ...], count: int) -> Derivatives:
    """Return the derivatives of a call with `count` operands in the active ones."""
    jaxpr, consts = params["jaxpr"], params["num_consts"]

    def push(function: Callable[..., Sequence[Value]], *values: Value) -> list[Value]:
        """Push tangents forward through a function with the call's arguments."""
        primals, given = values[: len(values) - sum(active)], iter(values[-sum(active) :])
        which = active[-len(primals) :]
        tangents = [next(given) if is_active else None for is_active in which]
        results, pushed = jvp_flat(function, primals, tangents)
        return [
            zeros(r.aval) if t is None else t
            for r, t in zip(results, pushed, strict=True)
            if has_tangent(r.aval)
        ]

    def pull(function: Callable[..., Sequence[Value]], *values: Value) -> list[Value]:
        """Pull cotangents of the results back to the active arguments."""
        given = sum(has_tangent(aval) for aval in jaxpr.out_avals)
        primals, incoming = values[: len(values) - given], values[len(values) - given :]
        which = active[-len(primals) :]
        results, linear, residuals, nonzero = linearize_flat(
            function, primals, which, name=params["name"]
        )
        inexact = [has for r, has in zip(results, nonzero, strict=True) if has_tangent(r.aval)]
        cotangents = [c for c, has in zip(incoming, inexact, strict=True) if has]
        pulled = backward_pass(linear, residuals, cotangents, params["name"])
        wanted = [p.aval for p, is_active in zip(primals, which, strict=True) if is_active]
        return [zeros(a) if c is None else c for a, c in zip(wanted, pulled, strict=True)]

    def with_rule(direction: Callable[..., list[Value]]) -> Callable[..., list[Value]]:
        """Make a call of a derivative, whose own rule is that derivative of the user's rule."""
        mapped = functools.partial(_derived_rule, params["rule"], direction, active[consts:])
        run = functools.partial(direction, JaxprFunction(jaxpr))

        def bound(*values: Value) -> list[Value]:
            program, new = stage_open(run, [x.aval for x in values], name=jaxpr.name)
            return bind(
                custom_vmap_call_p,
                *new,
                *values,
                jaxpr=program,
                rule=mapped,
                num_consts=len(new) + consts,
                name=params["name"],
            )

        return bound

    return Derivatives(with_rule(push), with_rule(pull))


def _derived_rule(
    rule: Rule,
    direction: Callable[..., list[Value]],
    active: Sequence[bool],
    size: int,
    batched: Sequence[bool],
    *values: Value,
) -> tuple[list[Value], list[bool]]:
    """Differentiate a rule for `vmap`; all that is differentiated is mapped."""
    axis = BatchAxis(size)
    # A tangent or cotangent may be mapped where its argument is not, and each lane needs its own.
    flags = [b or i >= len(active) or active[i] for i, b in enumerate(batched)]
    moved = [
        move_batch_axis(axis, x, 0 if was else None) if is_mapped else x
        for x, was, is_mapped in zip(values, batched, flags, strict=True)
    ]

    def run(*primals: Value) -> list[Value]:
        results, mapped = rule(size, flags[: len(active)], *primals)
        return [
            move_batch_axis(axis, r, 0 if is_mapped else None)
            for r, is_mapped in zip(results, mapped, strict=True)
        ]

    results = direction(run, *moved)
    return results, [True] * len(results)


def _transpose(
    cotangents: Sequence[Tangent], *operands: Any, jaxpr: Jaxpr, **_: Any
) -> list[Tangent]:
    """Transpose the program inside."""
    linear = tuple(is_linear(x) for x in operands)
    transposed, consts, has = transpose_jaxpr(
        jaxpr, linear, tuple(c is not None for c in cotangents)
    )
    known = [x for x in operands if not is_linear(x)]
    given = [c for c in cotangents if c is not None]
    results = iter(eval_jaxpr(transposed, (), *consts, *known, *given))
    pulled = iter([next(results) if h else None for h in has])
    return [next(pulled) if is_l else None for is_l in linear]


def _batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    jaxpr: Jaxpr,
    rule: Rule,
    num_consts: int,
    name: str,
) -> Any:
    """Call the user's rule."""
    consts_d, args_d = dims[:num_consts], dims[num_consts:]
    if any(d is not None for d in consts_d):
        raise errors.CustomRuleError(
            name,
            "a custom_vmap function to depend on mapped values through its arguments only",
            f"{name!r}, which closes over one",
            fix="Pass the value as an argument.",
        )
    values = [
        x if d is None else move_batch_axis(axis, x, d)
        for x, d in zip(operands[num_consts:], args_d, strict=True)
    ]
    results, batched = rule(axis.size, [d is not None for d in args_d], *values)
    wanted = [
        (mapped_type(aval, 0, axis.size) if is_mapped else aval).strong()
        for aval, is_mapped in zip(jaxpr.out_avals, batched, strict=True)
    ]
    types = [r.aval.strong() for r in results]
    if types != wanted:
        raise errors.CustomRuleError(
            name,
            f"the vmap rule to return {short_types(wanted)}, the function's output with an axis of "
            f"size {axis.size} in front where out_batched says so",
            short_types(types),
        )
    return results, [0 if is_mapped else None for is_mapped in batched]


def _lower(b: Any, *operands: Any, jaxpr: Jaxpr, name: str, **_: Any) -> list[Any]:
    return b.lower_jaxpr(jaxpr, operands, name)


custom_vmap_call_p = declare(
    "custom_vmap_call",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    axis_names=lambda params: params["jaxpr"].axis_names,
    lowers_keys=True,
)

# The decorator ------------------------------------------------------------------------------------


class custom_vmap(Generic[P, R]):  # noqa: N801  (used as a decorator, like JAX's)
    """A function that `vmap` maps by a rule instead of rewriting it.

    Derivatives keep to the rule: the derivative of the mapped function is that of the rule, in
    forward and in reverse mode, whether `vmap` is inside or outside.

    Args:
        fun: a function of pytrees of arrays.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.custom_batching import custom_vmap
        >>> @custom_vmap
        ... def f(x, y):
        ...     return x + y
        >>> @f.def_vmap
        ... def f_vmap(axis_size, in_batched, x, y):
        ...     return x * y, True
        >>> f(3, 4), functrax.vmap(f)(jnp.arange(3), jnp.arange(3))
        (Array(7, dtype=int32, weak_type=True), Array([0, 1, 4], dtype=int32))
    """

    def __init__(self, fun: Callable[P, R]) -> None:
        """Wrap a function; give the rule with `def_vmap`."""
        check_callable(fun, "custom_vmap")
        take_name(self, fun)
        self.fun = fun
        self.vmap_rule: Callable[..., Any] | None = None

    def def_vmap(self, vmap_rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule and return it (so it can decorate).

        Args:
            vmap_rule: ``(axis_size, in_batched, *args) -> (output, out_batched)``. `in_batched` has
                a pytree of bools for each argument, which tell where it is mapped, over its first
                axis; `out_batched` tells the same of the output, and may be a prefix of its
                structure.
        """
        check_callable(vmap_rule, "custom_vmap.def_vmap")
        self.vmap_rule = vmap_rule
        return vmap_rule

    def __repr__(self) -> str:
        """Print as ``custom_vmap(name)``."""
        return f"<custom_vmap of {function_name(self.fun)}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function; `vmap` will find its rule."""
        name = function_name(self.fun)
        if self.vmap_rule is None:
            raise errors.ArgumentError(
                name,
                "a rule set by `def_vmap`",
                "none",
                fix=f"Decorate it with `@{name}.def_vmap`.",
            )
        whole = positional(self.fun, args, kwargs, name)
        values, in_tree = free_values(self.fun, whole, (), name)
        if state.trace is None:
            return FlatFunction(self.fun, in_tree, name).run(values)
        traced = trace_function(self.fun, in_tree, [x.aval for x in values], call=name)
        rule = functools.partial(_flat_rule, name, self.vmap_rule, in_tree, traced.out_tree)
        results = bind(
            custom_vmap_call_p,
            *traced.consts,
            *values,
            jaxpr=traced.jaxpr,
            rule=rule,
            num_consts=len(traced.consts),
            name=name,
        )
        return traced.out_tree.unflatten(results)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else types.MethodType(self, instance)


def _flat_rule(
    name: str,
    vmap_rule: Callable[..., Any],
    in_tree: Any,
    out_tree: Any,
    size: int,
    batched: Sequence[bool],
    *values: Value,
) -> tuple[list[Value], list[bool]]:
    """Call the user's rule on pytrees and check what it returns."""
    args, _ = in_tree.unflatten(map(as_array, values))
    in_batched, _ = in_tree.unflatten(batched)
    result = call_rule(name, vmap_rule, [size, list(in_batched), *args])
    what = "the vmap rule to return a pair (output, out_batched)"
    out, out_batched = checked_pair(name, vmap_rule, what, result)
    leaves, found = tree.flatten(out)
    if found != out_tree:
        raise errors.CustomRuleError(
            name,
            f"an output of the function's structure {out_tree} from the vmap rule",
            f"{found}",
            where=place_of(vmap_rule),
        )
    flags = tree.broadcast_prefix(out_batched, out, call=name, name="out_batched")
    return checked_values(name, vmap_rule, "the vmap rule", leaves), [bool(flag) for flag in flags]


def sequential_vmap(f: Callable[P, R]) -> custom_vmap[P, R]:
    """Let `vmap` run a function in a loop over the mapped axis, one lane after the other.

    Args:
        f: a function of pytrees of arrays.

    Returns:
        A `custom_vmap` function with that rule.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.custom_batching import sequential_vmap
        >>> f = sequential_vmap(lambda x, y: x * y)
        >>> functrax.vmap(f, (0, None))(jnp.arange(3), 2)
        Array([0, 2, 4], dtype=int32)
    """
    custom = custom_vmap(f)

    def rule(axis_size: int, in_batched: Sequence[Any], *args: Any) -> tuple[Any, bool]:
        leaves, structure = tree.flatten(args)
        flags = tree.leaves(tuple(in_batched))

        def lane(mapped: Sequence[Any]) -> Any:
            given = iter(mapped)
            rest = [next(given) if b else x for x, b in zip(leaves, flags, strict=True)]
            call: Any = custom
            return call(*structure.unflatten(rest))

        return map_(lane, [x for x, b in zip(leaves, flags, strict=True) if b]), True

    custom.def_vmap(rule)
    return custom
