"""Look at a function without running it: its program, and the shapes of its result."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from functrax.core import tree
from functrax.core.jaxpr import ClosedJaxpr, Jaxpr
from functrax.core.trace import NamedAxis, as_value, state
from functrax.core.types import ShapedArray
from functrax.transforms.flat import (
    ShapeDtypeStruct,
    argument_names,
    argument_types,
    check_callable,
)
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import Traced, trace_function


def make_jaxpr(
    fun: Callable[..., Any],
    static_argnums: int | Sequence[int] | None = (),
    axis_env: Sequence[tuple[Any, int]] | None = None,
    return_shape: bool = False,
) -> Callable[..., Any]:
    """Return a function that traces `fun` and returns its program.

    Args:
        fun: a function of pytrees of arrays.
        static_argnums: positions of arguments that are Python values to it.
        axis_env: named axes and their sizes that collectives in it may use.
        return_shape: whether to return also the result's tree of `ShapeDtypeStruct`.

    Returns:
        A function of the same arguments that returns a `ClosedJaxpr` (and the shapes, if asked).

    Example:
        >>> import functrax
        >>> functrax.make_jaxpr(lambda x: x * 2.0)(1.0)
        { lambda ; a:~f32[]. let b:~f32[] = mul a 2.0:~f32[] in (b,) }
    """
    check_callable(fun, "make_jaxpr")
    options = StaticArguments(fun, static_argnums, None, None, None, "make_jaxpr")

    @functools.wraps(fun)
    def make(*args: Any, **kwargs: Any) -> Any:
        dynamic, _, rebuild = options.split(fun, args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        names = lambda: argument_names(fun, in_tree, options.static_nums)  # noqa: E731
        avals = argument_types("make_jaxpr", leaves, names)
        saved = state.axes
        state.axes = (*saved, *[NamedAxis(*axis) for axis in axis_env or ()])
        try:
            traced = trace_function(fun, in_tree, avals, call="make_jaxpr", rebuild=rebuild)
        finally:
            state.axes = saved
        count = len(traced.consts)
        jaxpr = traced.jaxpr
        opened = Jaxpr(
            jaxpr.invars[:count], jaxpr.invars[count:], jaxpr.outvars, jaxpr.eqns, jaxpr.name
        )
        closed = ClosedJaxpr(opened, traced.consts)
        return (closed, result_shapes(traced)) if return_shape else closed

    return make


def result_shapes(traced: Traced) -> Any:
    """Return the tree of shapes and dtypes that a traced function returns."""
    avals = traced.jaxpr.out_avals
    return traced.out_tree.unflatten(
        [ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals]
    )


def typeof(x: Any) -> ShapedArray:
    """Return the type of a value, as programs print it.

    Args:
        x: an array, a tracer, a NumPy array or a number.

    Returns:
        Its shape and dtype, and whether it is weakly typed.

    Raises:
        ArgumentError: if it is none of these.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.typeof(jnp.ones((2, 3))), functrax.typeof(1.5)
        (f32[2,3], ~f32[])
    """
    return as_value(x, "typeof").aval


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the shapes and dtypes of a function's result without computing it.

    Args:
        fun: a function of pytrees of arrays.
        *args: its arguments: arrays, numbers, or `ShapeDtypeStruct`.
        **kwargs: its keyword arguments, likewise.

    Returns:
        The result's pytree with a `ShapeDtypeStruct` per array.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.eval_shape(jnp.sin, functrax.ShapeDtypeStruct((3,), "float32"))
        ShapeDtypeStruct(shape=(3,), dtype=float32)
    """
    check_callable(fun, "eval_shape")
    leaves, in_tree = tree.flatten((args, kwargs))
    avals = argument_types("eval_shape", leaves, lambda: argument_names(fun, in_tree))
    return result_shapes(trace_function(fun, in_tree, avals, call="eval_shape"))
