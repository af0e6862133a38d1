"""Collecting the values of all positions, and its transpose: a sum of which each position keeps a
slice.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import BatchAxis, Primitive, registry
from functrax.core.trace import Value, axis_of, bind
from functrax.core.types import ShapedArray
from functrax.primitives.collectives.axes import (
    AxisName,
    Groups,
    Names,
    axis_names,
    batch_moving,
    group_size,
    groups_of,
    names_of,
    operand,
    position,
    spread,
)
from functrax.primitives.collectives.sums import numeric
from functrax.primitives.rules import (
    Dim,
    Tangent,
    declare_linear,
    expand_axis,
    move_axis,
    move_batch_axis,
    reshape,
    sum_axes,
)
from functrax.primitives.shape import canonical_axis, squeeze
from functrax.primitives.slice_along import dynamic_slice_in_dim


def all_gather(
    x: Any,
    axis_name: AxisName,
    *,
    axis_index_groups: Any = None,
    axis: int = 0,
    tiled: bool = False,
    to: str = "varying",
) -> Any:
    """Collect the values of all positions along named axes.

    Args:
        x: pytree of arrays of any dtype and shape.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        axis_index_groups: lists of positions along the axes (together), of one size, which contain
            each position once; each position collects the values of its group, in the group's
            order.
        axis: where the collected axis goes.
        tiled: whether to concatenate along `axis` instead of inserting it.
        to: ``"varying"``, or ``"invarying"``: the result is known to be equal for all positions,
            and its gradient is that of one copy. Without groups only.

    Returns:
        A pytree of arrays with a new axis of the named axis's size at `axis` (or that axis grown by
        it).

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if the groups do not contain each position once or differ in size, or `to` is
            another word.
        BoundsError: if `axis` is out of range.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.all_gather(x, "i")
        >>> functrax.vmap(f, axis_name="i", out_axes=None)(jnp.arange(3))
        Array([0, 1, 2], dtype=int32)
    """
    names = names_of(axis_name, "all_gather")
    groups = groups_of(axis_index_groups, names, "all_gather")
    if to not in ("varying", "invarying"):
        raise errors.ArgumentError("all_gather", "to='varying' or to='invarying'", f"to={to!r}")
    if to == "invarying" and groups is not None:
        expected = "no axis_index_groups with to='invarying'"
        raise errors.ArgumentError("all_gather", expected, repr(groups))
    exactness = [axis_of(name, "all_gather").exact and to == "invarying" for name in names]

    def one(leaf: Any) -> Value:
        value = operand(leaf, names, "all_gather")
        place = canonical_axis("all_gather", axis, value.aval.ndim + (not tiled))
        value = value if tiled else expand_axis(value, place)
        # The last name first: it counts fastest.
        backwards = zip(reversed(names), reversed(exactness), strict=True)
        for invariant, part in itertools.groupby(backwards, lambda pair: pair[1]):
            some = tuple(name for name, _ in part)[::-1]
            primitive = all_gather_invariant_p if invariant else all_gather_p
            value = _gathered(primitive, value, some, groups, place)
        return value

    return tree.map(one, x)


def _gathered(
    primitive: Primitive, value: Value, names: Names, groups: Groups, place: int
) -> Value:
    size = group_size(names, groups, "all_gather")
    return bind(primitive, value, axes=names, groups=groups, size=size, dimension=place)[0]


def _gather_abstract(
    x: ShapedArray, *, axes: Names, groups: Groups, size: int, dimension: int
) -> tuple[ShapedArray]:
    shape = list(x.shape)
    shape[dimension] *= size
    return (x.update(shape=tuple(shape)),)


def _gather_once(x: Value, *, size: int, dimension: int) -> Value:
    """Concatenate the values of each group."""
    groups, _, *shape = x.aval.shape
    shape[dimension] *= size
    return reshape(move_axis(x, 1, 1 + dimension), (groups, *shape))


def _gather_stacked(x: Value, *, size: int, dimension: int) -> Value:
    return spread(_gather_once(x, size=size, dimension=dimension), size)


def _gather_batch(
    name: str, axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Over this axis: concatenate, axis by axis. Over others: pass on."""
    axes, dimension = params["axes"], params["dimension"]
    if axis.name not in axes or params["groups"]:
        stacked, counts = _gather_stacked, ("dimension",)
        return batch_moving(name, stacked, counts, axis, operands, dims, **params)
    primitive, k = registry[name], axes.index(axis.name)
    x = move_batch_axis(axis, operands[0], dims[0], 0)
    if minor := axes[k + 1 :]:
        x = _gathered(primitive, x, minor, None, 1 + dimension)
    x = squeeze(_gather_once(expand_axis(x, 0), size=axis.size, dimension=dimension), (0,))
    if axes[:k]:
        x = _gathered(primitive, x, axes[:k], None, dimension)
    if axis.exact and primitive is all_gather_p:  # its result varies
        return [move_batch_axis(axis, x, None, 0)], [0]
    return [x], [None]


def _gather_transpose(cotangents: Sequence[Value], x: Any, **params: Any) -> list[Tangent]:
    """Sum what every position collected from this one."""
    return list(bind(psum_scatter_p, cotangents[0], **params))


def _gather_lower(b: Any, x: Any, *, axes: Names, groups: Groups, size: int, dimension: int) -> Any:
    return b.all_gather(x, b.out_types[0], axes, groups, dimension)


all_gather_p = declare_linear(
    "all_gather",
    abstract_eval=_gather_abstract,
    transpose=_gather_transpose,
    batch=partial(_gather_batch, "all_gather"),
    lower=_gather_lower,
    axis_names=axis_names,
)

# all_gather to an invariant value -----------------------------------------------------------------


def _invariant_abstract(x: ShapedArray, *, axes: Names, **params: Any) -> tuple[ShapedArray]:
    (out,) = _gather_abstract(x, axes=axes, **params)
    return (out.update(varying=x.varying.difference(axes)),)


def _invariant_transpose(
    cotangents: Sequence[Value], x: Any, *, axes: Names, size: int, dimension: int, **_: Any
) -> list[Tangent]:
    """Take the own slice of the cotangent."""
    width = x.aval.shape[dimension]
    start = position(axes, "all_gather") * width
    return [dynamic_slice_in_dim(cotangents[0], start, width, dimension)]


all_gather_invariant_p = declare_linear(
    "all_gather_invariant",
    abstract_eval=_invariant_abstract,
    transpose=_invariant_transpose,
    batch=partial(_gather_batch, "all_gather_invariant"),
    lower=_gather_lower,
    axis_names=axis_names,
)

# psum_scatter -------------------------------------------------------------------------------------


def psum_scatter(
    x: Any,
    axis_name: AxisName,
    *,
    scatter_dimension: int = 0,
    axis_index_groups: Any = None,
    tiled: bool = False,
) -> Any:
    """Sum over named axes and leave each position its slice of the result.

    Args:
        x: pytree of arrays of numeric dtype.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        scatter_dimension: the axis that is divided among the positions.
        axis_index_groups: lists of positions along the axes (together), of one size, which contain
            each position once; sums are over each group, whose order is that of the slices.
        tiled: whether the axis stays, divided by the size, instead of being dropped.

    Returns:
        A pytree of arrays without the scattered axis (or with it divided).

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if the groups do not contain each position once, or differ in size.
        ShapeError: if the axis cannot be divided so; BoundsError: if there is none.
        KeyTypeError: if a leaf is a PRNG key.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.psum_scatter(x, "i")
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(4).reshape(2, 2))
        Array([2, 4], dtype=int32)
    """
    call = "psum_scatter"
    names = names_of(axis_name, call)
    groups = groups_of(axis_index_groups, names, call)
    size = group_size(names, groups, call)

    def one(leaf: Any) -> Value:
        value = numeric(operand(leaf, names, call), call)
        place = canonical_axis(call, scatter_dimension, value.aval.ndim)
        check_divided(call, value, place, size, tiled)
        value = bind(psum_scatter_p, value, axes=names, groups=groups, size=size, dimension=place)[
            0
        ]
        return value if tiled else squeeze(value, (place,))

    return tree.map(one, x)


def check_divided(call: str, value: Value, place: int, size: int, tiled: bool) -> None:
    """Raise unless an axis can be divided among positions.

    Raises:
        ShapeError: naming the axis.
    """
    found = value.aval.shape[place]
    if found % size if tiled else found != size:
        expected = f"a size that {size} divides" if tiled else f"size {size}"
        raise errors.ShapeError(
            call,
            f"axis {place} to have {expected}, for the {size} positions that share it",
            f"{value.aval!r}",
        )


def _scatter_abstract(
    x: ShapedArray, *, axes: Names, groups: Groups, size: int, dimension: int
) -> tuple[ShapedArray]:
    shape = list(x.shape)
    shape[dimension] //= size
    return (x.update(shape=tuple(shape)),)


def _scatter_stacked(x: Value, *, size: int, dimension: int) -> Value:
    x = sum_axes(x, (1,))
    place = 1 + dimension
    groups, *shape = x.aval.shape
    shape[dimension : dimension + 1] = [size, shape[dimension] // size]
    return move_axis(reshape(x, (groups, *shape)), place, 1)


def _scatter_transpose(cotangents: Sequence[Value], x: Any, **params: Any) -> list[Tangent]:
    """Collect the slices' cotangents."""
    return list(bind(all_gather_p, cotangents[0], **params))


def _scatter_lower(
    b: Any, x: Any, *, axes: Names, groups: Groups, size: int, dimension: int
) -> Any:
    return b.reduce_scatter(x, b.out_types[0], axes, groups, dimension)


psum_scatter_p = declare_linear(
    "psum_scatter",
    abstract_eval=_scatter_abstract,
    transpose=_scatter_transpose,
    batch=partial(batch_moving, "psum_scatter", _scatter_stacked, ("dimension",)),
    lower=_scatter_lower,
    axis_names=axis_names,
)
