"""What functions close over, made explicit: `closure_convert`, and `custom_gradient`, whose rule is
a closure.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from functrax import errors
from functrax.core import tree
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.trace import Tracer, Value, as_value
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.rules import has_tangent
from functrax.transforms.calls import checked_pair, checked_values
from functrax.transforms.custom_vjp import custom_vjp
from functrax.transforms.differentiate import call_tree
from functrax.transforms.flat import (
    TreeWithFloat0,
    argument_names,
    argument_types,
    as_array,
    called,
    check_callable,
    converted_arguments,
    function_name,
)
from functrax.transforms.traced import Traced, trace_function

P = ParamSpec("P")


def closure_convert(
    fun: Callable[..., Any], *example_args: Any
) -> tuple[Callable[..., Any], list[Any]]:
    """Turn the traced values that a function closes over into arguments.

    Functions with custom rules depend on differentiated values through their arguments only; a
    function that is passed to one may still close over such values.

    Args:
        fun: a pure function of pytrees of arrays.
        *example_args: its arguments, or `ShapeDtypeStruct`; only their structure and types matter.

    Returns:
        A function that takes the arguments of `fun` and then the values that it closes over, and
        the list of these: all that are traced and can be differentiated, whether `fun` or a
        function it calls closes over them.

    Raises:
        TreeError: when the function is called with another structure of arguments.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> def run(c):
        ...     converted, captured = closure_convert(lambda x: c * x, 1.0)
        ...     return converted(2.0, *captured), len(captured)
        >>> functrax.jit(run)(3.0)
        (Array(6., dtype=float32, weak_type=True), Array(1, dtype=int32, weak_type=True))
    """
    check_callable(fun, "closure_convert")
    leaves, args_tree = tree.flatten(example_args)
    in_tree = call_tree(args_tree)
    name, names = function_name(fun), argument_names(fun, in_tree)
    avals = argument_types("closure_convert", leaves, lambda: names)
    traced = trace_function(fun, in_tree, avals, call="closure_convert")
    hoisted = [isinstance(c, Tracer) and has_tangent(c.aval) for c in traced.consts]
    captured = list(itertools.compress(traced.consts, hoisted))
    # The function may outlive the trace: it keeps neither what it hands out nor `fun`.
    kept = [None if h else c for h, c in zip(hoisted, traced.consts, strict=True)]
    jaxpr, out_tree = traced.jaxpr, traced.out_tree
    wanted = [aval.strong() for aval in (*avals, *(c.aval for c in captured))]

    def converted(*args: Any) -> Any:
        count = max(len(args) - sum(hoisted), 0)
        given, found = tree.flatten(args[:count])
        if found != args_tree:
            tree.flatten_up_to(args_tree, args[:count], name, "args")
            raise errors.TreeError(name, f"arguments {args_tree}", f"{found}")
        values = converted_arguments(name, given, lambda: names, as_value)
        rest = [as_value(x, name) for x in args[count:]]
        later = iter(rest)
        consts = [next(later) if h else c for h, c in zip(hoisted, kept, strict=True)]
        types = [x.aval.strong() for x in (*values, *rest)]
        if types != wanted:
            expected = f"the types of the example and of what it captured, {short_types(wanted)}"
            raise errors.ArgumentError(name, expected, short_types(types))
        results = eval_jaxpr(jaxpr, (), *consts, *values)
        return out_tree.unflatten(map(as_array, results))

    converted.__name__, converted.__doc__ = name, fun.__doc__
    return converted, captured


class _Pullback:
    """The rule that a call of a `custom_gradient` function returned, without what it captured."""

    __slots__ = ("jaxpr", "out_tree")

    def __init__(self, traced: Traced) -> None:
        """Keep the program."""
        self.jaxpr = traced.jaxpr
        self.out_tree = traced.out_tree

    def __call__(self, consts: Sequence[Value], cotangent: Any) -> Any:
        """Interpret it."""
        values = [as_value(x, "custom_gradient") for x in tree.leaves(cotangent)]
        results = eval_jaxpr(self.jaxpr, (), *consts, *values)
        return self.out_tree.unflatten(map(as_array, results))


def custom_gradient(fun: Callable[P, Any]) -> custom_vjp[P, Any]:
    """Give a function's gradient by a function that it returns beside its value.

    Args:
        fun: arguments -> ``(output, pullback)``. ``pullback(output cotangent)`` returns one
            cotangent for each argument, as a tuple, or the cotangent alone if there is one
            argument. It may close over what `fun` computed, but not branch in Python on its
            cotangent. None stands for zero, and is the cotangent of integers on both sides.

    Returns:
        A `custom_vjp` function of the same arguments that returns the output.

    Raises:
        CustomRuleError: if `fun` does not return such a pair, or the pullback's cotangents do not
            fit the arguments.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.custom_gradient
        ... def log1pexp(x):
        ...     e = jnp.exp(x)
        ...     return jnp.log(1 + e), lambda g: g * (1 - 1 / (1 + e))
        >>> float(functrax.grad(log1pexp)(100.0))
        1.0
    """
    check_callable(fun, "custom_gradient")

    def split(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        name = function_name(fun)
        out, pullback = checked_pair(
            name, fun, "a pair (output, pullback)", called(fun, args, kwargs, name)
        )
        if not callable(pullback):
            check_callable(pullback, name)
        return out, pullback

    @functools.wraps(fun)
    def output(*args: Any, **kwargs: Any) -> Any:
        return split(args, kwargs)[0]

    def forward(*args: Any) -> tuple[Any, Any]:
        out, pullback = split(args, {})
        leaves, out_tree = tree.flatten(out)
        avals = [x.aval for x in checked_values(function_name(fun), fun, "the function", leaves)]
        given: list[ShapedArray] = [aval.strong() for aval in avals if has_tangent(aval)]
        in_tree = call_tree(tree.treedef_tuple([out_tree]))
        integers = {i: None for i, aval in enumerate(avals) if not has_tangent(aval)}
        if integers:
            in_tree = TreeWithFloat0(in_tree, integers)
        traced = trace_function(pullback, in_tree, given, call="custom_gradient")
        return out, tree.Partial(_Pullback(traced), traced.consts)

    def backward(pullback: Any, cotangent: Any) -> tuple[Any, ...]:
        result = pullback(cotangent)
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    custom: Any = custom_vjp(output)
    custom.defvjp(forward, backward)
    return custom
