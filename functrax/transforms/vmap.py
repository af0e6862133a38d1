"""`vmap`: map a function over an axis of its arguments by rewriting it, not by looping."""

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.config import config
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Value, as_value
from functrax.primitives.rules import Dim, move_batch_axis
from functrax.transforms.batch import batch_flat
from functrax.transforms.flat import (
    FlatFunction,
    TreeWithFloat0,
    argument_names,
    argument_values,
    as_array,
    check_callable,
    function_name,
    path_of,
    shown,
)

P = ParamSpec("P")
R = TypeVar("R")


def vmap(
    fun: Callable[P, R],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    *,
    grad_convention: str | None = None,
) -> Callable[P, R]:
    """Map a function over an axis of its arguments.

    Args:
        fun: a function of pytrees of arrays.
        in_axes: the axis to map of each positional argument: an int, None (not mapped), or a
            sequence of pytrees of these that are prefixes of the arguments. A dict gives the axes
            by parameter name, for keyword arguments too; names that are absent are mapped over axis
            0, as keyword arguments are without a dict.
        out_axes: where the mapped axis goes in the result: an int, None (the result does not depend
            on the axis), or a prefix pytree of these.
        axis_name: a name for the axis, for collectives such as `lax.psum` inside `fun`.
        axis_size: the size of the axis, needed only if no argument is mapped.
        spmd_axis_name: the axis of a mesh, or a tuple of them, that the mapped axis is divided
            along where `fun` says how values lie (`with_sharding_constraint`, `shard_map`).
        grad_convention: ``"jax"``: gradients through collectives over the axis are JAX's, in which
            a gradient through `psum` is that of the sum of all positions' results; ``"exact"``:
            those of the function itself. By default the option ``grad_convention``.

    Returns:
        A function of the same arguments with one more axis.

    Raises:
        AxesError: if axes do not fit the arguments or sizes differ, naming the paths.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(jnp.dot, in_axes=(0, None))(jnp.eye(2), jnp.array([1.0, 2.0]))
        Array([1., 2.], dtype=float32)
    """
    check_callable(fun, "vmap")
    if grad_convention not in (None, "jax", "exact"):
        expected = "grad_convention as 'jax', 'exact' or None"
        raise errors.ArgumentError("vmap", expected, shown(grad_convention))
    spmd = spmd_axis_name if isinstance(spmd_axis_name, tuple) else (spmd_axis_name,)
    spmd = tuple(name for name in spmd if name is not None)
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    _check_axes_spec("in_axes", in_axes)
    _check_axes_spec("out_axes", out_axes)
    if axis_size is not None and not (hasattr(axis_size, "__index__") and axis_size >= 0):
        raise errors.AxesError(
            "vmap", "axis_size as an int of at least 0, or None", shown(axis_size)
        )

    @functools.wraps(fun)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        try:
            exact = (grad_convention or config.grad_convention) == "exact"
            axis = BatchAxis(-1 if axis_size is None else axis_size, axis_name, exact, spmd)
            return _vmap(fun, in_axes, out_axes, axis, args, kwargs)
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__

    return mapped


def _check_axes_spec(name: str, axes: Any) -> None:
    for leaf in tree.leaves(axes):
        if not isinstance(leaf, int) and not hasattr(leaf, "__index__"):
            raise errors.AxesError(
                "vmap", f"{name} of ints and None", f"{leaf!r} of type {errors.type_name(leaf)}"
            )


def _vmap(
    fun: Callable[..., Any],
    in_axes: Any,
    out_axes: Any,
    named: BatchAxis,
    args: Any,
    kwargs: Any,
) -> Any:
    leaves, in_tree = tree.flatten((args, kwargs))
    prefix = _in_axes(fun, in_axes, args, kwargs)
    values, dims = _mapped(fun, leaves, prefix, in_tree)
    size = _size(fun, in_tree, values, dims, None if named.size < 0 else named.size)
    exact = named.exact and named.name is not None
    axis = named._replace(size=size, exact=exact)
    flat = FlatFunction(fun, in_tree, "vmap")
    results, dims_out = batch_flat(flat, axis, values, dims)
    wanted = _out_dims(fun, out_axes, flat.out_tree)
    if isinstance(flat.out_tree, TreeWithFloat0):
        wanted = flat.out_tree.mapped(axis.size, wanted)
    placed = [
        as_array(_place(fun, flat.out_tree, i, axis, r, d, w))
        for i, (r, d, w) in enumerate(zip(results, dims_out, wanted, strict=True))
    ]
    return flat.out_tree.unflatten(placed)


def _in_axes(fun: Callable[..., Any], in_axes: Any, args: Any, kwargs: Any) -> list[Dim]:
    """Return the entry of in_axes that holds for each argument leaf."""
    if isinstance(in_axes, dict) and not (
        len(args) == 1 and not kwargs and isinstance(args[0], dict)
    ):
        axes_args, axes_kwargs = _axes_by_name(fun, in_axes, args, kwargs)
    elif isinstance(in_axes, tuple):
        if len(in_axes) != len(args):
            raise errors.AxesError(
                "vmap",
                f"in_axes with one entry for each of the {len(args)} positional arguments of "
                f"{function_name(fun)!r}",
                f"{len(in_axes)} entries: {in_axes}",
            )
        axes_args, axes_kwargs = in_axes, dict.fromkeys(kwargs, 0)
    else:
        axes_args, axes_kwargs = (in_axes,) * len(args), dict.fromkeys(kwargs, 0)
    prefix = (tuple(axes_args), axes_kwargs)
    try:
        return tree.broadcast_prefix(prefix, (args, kwargs), is_leaf=tree.is_none)
    except (ValueError, errors.TreeError) as error:
        raise errors.AxesError(
            "vmap",
            "in_axes to be a prefix of the arguments' trees",
            f"{in_axes}{_reason(error, 'prefix_tree[0]', 'in_axes')}",
        ) from None


def _mapped(
    fun: Callable[..., Any], leaves: Sequence[Any], axes: Sequence[Dim], in_tree: Any
) -> tuple[list[Any], list[Dim]]:
    """Return the leaves, those that are mapped as arrays, and the mapped axis of each, checked and
    non-negative.

    The others reach the function as they are; but NumPy's arrays, which no mapped value could
    index, as arrays.
    """
    names = lambda: argument_names(fun, in_tree)  # noqa: E731
    places = [(i, operator.index(dim)) for i, dim in enumerate(axes) if dim is not None]
    mapped = argument_values(
        "vmap", [leaves[i] for i, _ in places], lambda: [names()[i] for i, _ in places]
    )
    values, dims = [as_value(x, "vmap") if _is_numeric(x) else x for x in leaves], list(axes)
    for (i, dim), value in zip(places, mapped, strict=True):
        rank = value.aval.ndim
        if not -rank <= dim < rank:
            raise errors.AxesError(
                "vmap",
                f"an axis of {names()[i]!r} to map",
                f"axis {dim} of {value.aval!r}",
                fix="Give it `None` in in_axes if it is not to be mapped.",
            )
        values[i], dims[i] = value, dim % rank
    return values, dims


def _is_numeric(leaf: Any) -> bool:
    return type(leaf) is np.ndarray and leaf.dtype.kind not in "OSUmM"


def _axes_by_name(
    fun: Callable[..., Any], in_axes: dict[str, Any], args: Any, kwargs: Any
) -> tuple[Any, Any]:
    parameters = list(inspect.signature(fun).parameters)
    known = {*parameters, *kwargs}
    for name in in_axes:
        if name not in known:
            raise errors.AxesError(
                "vmap", f"in_axes by parameter name: {', '.join(parameters)}", repr(name)
            )
    by_position = tuple(
        in_axes.get(parameters[i], 0) if i < len(parameters) else 0 for i in range(len(args))
    )
    return by_position, {name: in_axes.get(name, 0) for name in kwargs}


def _size(
    fun: Callable[..., Any],
    in_tree: Any,
    values: Sequence[Value],
    dims: Sequence[Dim],
    axis_size: int | None,
) -> int:
    """Return the size of the mapped axis, the same for all mapped arguments."""
    sizes = [
        (i, v.aval.shape[d])
        for i, (v, d) in enumerate(zip(values, dims, strict=True))
        if d is not None
    ]
    if not sizes and axis_size is None:
        raise errors.AxesError(
            "vmap",
            f"at least one mapped argument of {function_name(fun)!r}",
            "none",
            fix="Pass `axis_size`, or an axis in in_axes.",
        )
    expected = axis_size if axis_size is not None else sizes[0][1]
    if any(size != expected for _, size in sizes):
        names = argument_names(fun, in_tree)
        shown = ", ".join(
            f"{names[i]}: {size} (axis {dims[i]} of {values[i].aval!r})" for i, size in sizes
        )
        wanted = (
            "mapped axes of one size"
            if axis_size is None
            else f"mapped axes of size {axis_size}, the axis_size"
        )
        raise errors.AxesError(
            "vmap", wanted, shown, fix="Map other axes, or give an argument `None` in in_axes."
        )
    return expected


def _out_dims(fun: Callable[..., Any], out_axes: Any, out_tree: Any) -> list[Dim]:
    placeholder = tree.results_of(out_tree)
    try:
        return tree.broadcast_prefix(out_axes, placeholder, is_leaf=tree.is_none)
    except (ValueError, errors.TreeError) as error:
        raise errors.AxesError(
            "vmap",
            f"out_axes to be a prefix of the tree that {function_name(fun)!r} returns",
            f"{out_axes}{_reason(error, 'prefix_tree', 'out_axes')}",
        ) from None


def _reason(error: Exception, name: str, argument: str) -> str:
    """Say where one tree is no prefix of another, in the user's words."""
    if not isinstance(error, errors.TreeError):
        return ""
    expected = error.expected.replace(name, argument).replace(" to be ", " must be ", 1)
    expected = expected.replace("a leaf, for a result that is one array", "an int or None")
    expected = expected.replace("a leaf or", "an int, None or")
    return f": {expected}, not {error.got}"


def _place(
    fun: Callable[..., Any],
    out_tree: Any,
    index: int,
    axis: BatchAxis,
    value: Value,
    dim: Dim,
    wanted: Dim,
) -> Value:
    """Put the mapped axis of one leaf of the result where out_axes wants it."""
    name = lambda: f"the result{path_of(out_tree, index)} of {function_name(fun)!r}"  # noqa: E731
    if wanted is None:
        if dim is not None:
            raise errors.AxesError(
                "vmap",
                f"{name()} not to depend on the mapped axis, because its out_axes is None",
                "one that does",
                fix="Give it an axis in out_axes.",
            )
        return value
    rank = value.aval.ndim + (dim is None)
    if not -rank <= wanted < rank:
        raise errors.AxesError(
            "vmap",
            f"out_axes within the {rank} axes of {name()}, the mapped one included",
            f"axis {wanted}",
        )
    return move_batch_axis(axis, value, dim, wanted % rank)
