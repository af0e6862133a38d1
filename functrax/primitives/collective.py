"""Collectives over named axes: sums, means, extrema, gathers and positions along an axis that
`vmap` maps.

Over a `vmap` axis a collective is an ordinary operation on the mapped axis, and that is what its
batch rule writes. What is left when a program is lowered names an axis that nobody mapped.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, Refusal, declare
from functrax.core.trace import Value, as_value, axis_of, bind
from functrax.core.types import ShapedArray
from functrax.primitives.elementwise import add, mul
from functrax.primitives.reduce import reduce_max, reduce_min
from functrax.primitives.rules import (
    Dim,
    Tangent,
    declare_linear,
    move_batch_axis,
    reshape,
    scalar,
    sum_axes,
)
from functrax.primitives.shape import iota_p

AxisName = Any
NOT_MAPPED_ANYWHERE = Refusal(
    "by axis", "The axis that it names is not mapped by any transform around it."
)


def _names(axis_name: AxisName) -> tuple[Any, ...]:
    return tuple(axis_name) if isinstance(axis_name, tuple | list) else (axis_name,)


def _sizes(axis_name: AxisName, call: str) -> tuple[int, ...]:
    """Return the sizes of the named axes, which must be in scope."""
    return tuple(axis_of(name, call).size for name in _names(axis_name))


def _no_groups(axis_index_groups: Any, call: str) -> None:
    if axis_index_groups is not None:
        raise errors.ArgumentError(
            call,
            "axis_index_groups=None over a vmap axis",
            repr(axis_index_groups),
            fix="Reshape into two axes instead.",
        )


def _axes_of(params: dict[str, Any]) -> frozenset[Any]:
    return frozenset(params["axes"])


# Reductions ---------------------------------------------------------------------------------------


def psum(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Sum over one or more named axes.

    Args:
        x: pytree of arrays.
        axis_name: name, or tuple of names, bound by an enclosing `vmap`.
        axis_index_groups: must be None over a `vmap` axis.

    Returns:
        A pytree of the same shapes, equal for all positions along the axes. A Python number is
        multiplied by the size.

    Raises:
        AxisNameError: if a name is not bound.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.psum(x, "i"), axis_name="i")(jnp.arange(3))
        Array([3, 3, 3], dtype=int32)
    """
    _no_groups(axis_index_groups, "psum")
    sizes = _sizes(axis_name, "psum")

    def one(leaf: Any) -> Any:
        if isinstance(leaf, bool | int | float | complex):
            return leaf * int(np.prod(sizes))
        return bind(psum_p, as_value(leaf, "psum"), axes=_names(axis_name))[0]

    return tree.map(one, x)


def pmean(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Average over one or more named axes; arguments as for `psum`."""
    total = int(np.prod(_sizes(axis_name, "pmean")))
    return tree.map(lambda s: s / total, psum(x, axis_name, axis_index_groups=axis_index_groups))


def pmax(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Take the maximum over one or more named axes; arguments as for `psum`."""
    return _reduced(pmax_p, x, axis_name, axis_index_groups)


def pmin(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Take the minimum over one or more named axes; arguments as for `psum`."""
    return _reduced(pmin_p, x, axis_name, axis_index_groups)


def _reduced(primitive: Any, x: Any, axis_name: AxisName, groups: Any) -> Any:
    _no_groups(groups, primitive.name)
    _sizes(axis_name, primitive.name)
    return tree.map(
        lambda leaf: bind(primitive, as_value(leaf, primitive.name), axes=_names(axis_name))[0], x
    )


def _reduction_abstract(x: ShapedArray, *, axes: tuple[Any, ...]) -> tuple[ShapedArray]:
    return (x,)


def _reduction_batch(
    name: str,
    reduce: Callable[[Value, tuple[int, ...]], Value],
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: tuple[Any, ...],
) -> Any:
    """Over this axis: reduce it away. Over others: pass on."""
    x, dim = operands[0], dims[0]
    rest = tuple(a for a in axes if a != axis.name)
    if axis.name in axes:
        if dim is not None:
            x, dim = reduce(x, (dim,)), None
        elif name == "psum":
            x = mul(x, scalar(axis.size, x.aval.dtype))
    if rest:
        x = bind(_REDUCTIONS[name], x, axes=rest)[0]
    return [x], [dim]


def _psum_transpose(
    cotangents: Sequence[Value], operand: Any, *, axes: tuple[Any, ...]
) -> list[Tangent]:
    """Sum the cotangents: each position's value reaches every position's result."""
    return list(bind(psum_p, cotangents[0], axes=axes))


psum_p = declare_linear(
    "psum",
    abstract_eval=_reduction_abstract,
    transpose=_psum_transpose,
    batch=partial(_reduction_batch, "psum", sum_axes),
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)
_NO_EXTREME_DERIVATIVE = Refusal("not differentiable", "JAX defines no derivative for it.")
pmax_p = declare(
    "pmax",
    abstract_eval=_reduction_abstract,
    jvp=_NO_EXTREME_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=partial(_reduction_batch, "pmax", reduce_max),
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)
pmin_p = declare(
    "pmin",
    abstract_eval=_reduction_abstract,
    jvp=_NO_EXTREME_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=partial(_reduction_batch, "pmin", reduce_min),
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)
_REDUCTIONS = {"psum": psum_p, "pmax": pmax_p, "pmin": pmin_p}

# all_gather and psum_scatter, each other's transposes ---------------------------------------------


def all_gather(
    x: Any,
    axis_name: AxisName,
    *,
    axis_index_groups: Any = None,
    axis: int = 0,
    tiled: bool = False,
) -> Any:
    """Collect the values of all positions along a named axis.

    Args:
        x: pytree of arrays of shape s.
        axis_name: a name bound by an enclosing `vmap`.
        axis_index_groups: must be None over a `vmap` axis.
        axis: where the collected axis goes.
        tiled: whether to concatenate along `axis` instead of inserting it.

    Returns:
        A pytree of arrays with a new axis of the named axis's size at `axis` (or that axis grown by
        it).
    """
    _no_groups(axis_index_groups, "all_gather")
    (size,) = _sizes(axis_name, "all_gather")

    def one(leaf: Any) -> Value:
        value = as_value(leaf, "all_gather")
        place = axis % (value.aval.ndim + (not tiled))
        return bind(
            all_gather_p,
            value,
            axes=_names(axis_name),
            axis_size=size,
            dimension=place,
            tiled=tiled,
        )[0]

    return tree.map(one, x)


def _gather_abstract(
    x: ShapedArray, *, axes: Any, axis_size: int, dimension: int, tiled: bool
) -> tuple[ShapedArray]:
    shape = list(x.shape)
    if tiled:
        shape[dimension] *= axis_size
    else:
        shape.insert(dimension, axis_size)
    return (x.update(shape=tuple(shape)),)


def _gather_batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: Any,
    axis_size: int,
    dimension: int,
    tiled: bool,
) -> Any:
    x, dim = operands[0], dims[0]
    params = {"axes": axes, "axis_size": axis_size, "tiled": tiled}
    if axis.name not in axes:
        at: Any = dim
        shifted = dimension + 1 if at <= dimension else dimension
        return bind(all_gather_p, x, dimension=shifted, **params), [
            at if tiled or at < shifted else at + 1
        ]
    x = move_batch_axis(axis, x, dim, dimension)
    if tiled:
        shape = list(x.aval.shape)
        shape[dimension : dimension + 2] = [shape[dimension] * shape[dimension + 1]]
        x = reshape(x, tuple(shape))
    return [x], [None]


def _gather_transpose(cotangents: Sequence[Value], operand: Any, **params: Any) -> list[Tangent]:
    """Sum what every position collected from this one."""
    return list(bind(psum_scatter_p, cotangents[0], **params))


all_gather_p = declare_linear(
    "all_gather",
    abstract_eval=_gather_abstract,
    transpose=_gather_transpose,
    batch=_gather_batch,
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)


def psum_scatter(
    x: Any,
    axis_name: AxisName,
    *,
    scatter_dimension: int = 0,
    axis_index_groups: Any = None,
    tiled: bool = False,
) -> Any:
    """Sum over a named axis and leave each position its slice of the result.

    Args:
        x: pytree of arrays.
        axis_name: a name bound by an enclosing `vmap`.
        scatter_dimension: the axis that is divided among the positions.
        axis_index_groups: must be None over a `vmap` axis.
        tiled: whether the axis stays, divided by the size, instead of being dropped.

    Returns:
        A pytree of arrays without the scattered axis (or with it divided).
    """
    _no_groups(axis_index_groups, "psum_scatter")
    (size,) = _sizes(axis_name, "psum_scatter")

    def one(leaf: Any) -> Value:
        value = as_value(leaf, "psum_scatter")
        place = scatter_dimension % value.aval.ndim
        return bind(
            psum_scatter_p,
            value,
            axes=_names(axis_name),
            axis_size=size,
            dimension=place,
            tiled=tiled,
        )[0]

    return tree.map(one, x)


def _scatter_abstract(
    x: ShapedArray, *, axes: Any, axis_size: int, dimension: int, tiled: bool
) -> tuple[ShapedArray]:
    shape = list(x.shape)
    if shape[dimension] % axis_size or (not tiled and shape[dimension] != axis_size):
        raise errors.ShapeError(
            "psum_scatter",
            f"axis {dimension} to be divided among the {axis_size} positions",
            f"{x!r}",
        )
    if tiled:
        shape[dimension] //= axis_size
    else:
        del shape[dimension]
    return (x.update(shape=tuple(shape)),)


def _scatter_batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: Any,
    axis_size: int,
    dimension: int,
    tiled: bool,
) -> Any:
    x, dim = operands[0], dims[0]
    params = {"axes": axes, "axis_size": axis_size, "tiled": tiled}
    if axis.name not in axes:
        at: Any = dim
        shifted = dimension + 1 if at <= dimension else dimension
        return bind(psum_scatter_p, x, dimension=shifted, **params), [
            at if tiled or at < shifted else at - 1
        ]
    x = sum_axes(x, (dim,)) if dim is not None else mul(x, scalar(axis.size, x.aval.dtype))
    if not tiled:
        return [x], [dimension]
    shape = list(x.aval.shape)
    shape[dimension : dimension + 1] = [axis_size, shape[dimension] // axis_size]
    return [reshape(x, tuple(shape))], [dimension]


def _scatter_transpose(cotangents: Sequence[Value], operand: Any, **params: Any) -> list[Tangent]:
    """Collect the slices' cotangents."""
    return list(bind(all_gather_p, cotangents[0], **params))


psum_scatter_p = declare_linear(
    "psum_scatter",
    abstract_eval=_scatter_abstract,
    transpose=_scatter_transpose,
    batch=_scatter_batch,
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)

# Positions ----------------------------------------------------------------------------------------


def axis_index(axis_name: AxisName) -> Value:
    """Return the position along a named axis, as an int32 scalar."""
    names, sizes = _names(axis_name), _sizes(axis_name, "axis_index")
    position = bind(axis_index_p, axes=names[:1])[0]
    for name, size in zip(names[1:], sizes[1:], strict=True):
        position = add(mul(position, size), bind(axis_index_p, axes=(name,))[0])
    return position


def axis_size(axis_name: AxisName) -> int:
    """Return the size of a named axis (the product, for several)."""
    return int(np.prod(_sizes(axis_name, "axis_size")))


def _index_abstract(*, axes: tuple[Any, ...]) -> tuple[ShapedArray]:
    return (ShapedArray((), np.dtype(np.int32)),)


def _index_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axes: tuple[Any, ...]
) -> Any:
    return bind(iota_p, dtype=np.dtype(np.int32), shape=(axis.size,), dimension=0), [0]


axis_index_p = declare(
    "axis_index",
    abstract_eval=_index_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_index_batch,
    lower=NOT_MAPPED_ANYWHERE,
    axis_names=_axes_of,
)
