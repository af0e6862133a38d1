"""Exchanges: all_to_all, permutations of the positions, and broadcasts from one of them."""

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.arguments import integer
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Value, as_value, axis_of, bind
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
    size_of,
    take,
)
from functrax.primitives.collectives.gathers import check_divided
from functrax.primitives.collectives.sums import psum_p
from functrax.primitives.elementwise import eq
from functrax.primitives.rules import (
    Dim,
    Tangent,
    broadcast_to,
    declare_linear,
    expand_axis,
    move_axis,
    reshape,
    zeros,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis, squeeze
from functrax.primitives.slice_along import index_in_dim

Pairs = tuple[tuple[int, int], ...]


def all_to_all(
    x: Any,
    axis_name: AxisName,
    split_axis: int,
    concat_axis: int,
    *,
    axis_index_groups: Any = None,
    tiled: bool = False,
) -> Any:
    """Give each position its slice of every position's value.

    Args:
        x: pytree of arrays of any dtype.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        split_axis: the axis whose slices go to the positions; its size is that of the named axis
            (divisible by it, if tiled).
        concat_axis: the axis of the result along which the received slices stand.
        axis_index_groups: lists of positions along the axes (together), of one size, which contain
            each position once; each group exchanges alone.
        tiled: whether both axes stay, `split_axis` divided and `concat_axis` grown, instead of the
            one being dropped and the other inserted.

    Returns:
        A pytree of arrays.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if the groups do not contain each position once, or differ in size.
        ShapeError: if `split_axis` cannot be divided so; BoundsError: if there is no such axis.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.all_to_all(x, "i", 0, 0)
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(4).reshape(2, 2))
        Array([[0, 2],
               [1, 3]], dtype=int32)
    """
    call = "all_to_all"
    names = names_of(axis_name, call)
    groups = groups_of(axis_index_groups, names, call)
    size = group_size(names, groups, call)

    def one(leaf: Any) -> Value:
        value = operand(leaf, names, call)
        split = canonical_axis(call, split_axis, value.aval.ndim)
        concat = canonical_axis(call, concat_axis, value.aval.ndim)
        check_divided(call, value, split, size, tiled)
        params: Any = {"axes": names, "groups": groups, "size": size}
        if tiled or split == concat:
            return bind(all_to_all_p, value, split=split, concat=concat, **params)[0]
        # A place for the new axis, counted without the split one, which leaves in the end.
        concat, split = (concat + 1, split) if split < concat else (concat, split + 1)
        value = expand_axis(value, concat)
        value = bind(all_to_all_p, value, split=split, concat=concat, **params)[0]
        return squeeze(value, (split,))

    return tree.map(one, x)


def pswapaxes(x: Any, axis_name: AxisName, axis: int, *, axis_index_groups: Any = None) -> Any:
    """Swap a named axis with an axis of the arrays: ``all_to_all(x, axis_name, axis, axis)``.

    Args:
        x: pytree of arrays.
        axis_name: a name, or a tuple of names, as for `all_to_all`.
        axis: the axis to swap with; of the named axis's size.
        axis_index_groups: lists of positions, as for `all_to_all`.

    Returns:
        A pytree of the same shapes.

    Raises:
        AxisNameError, ArgumentError, ShapeError, BoundsError: as `all_to_all`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.pswapaxes(x, "i", 0)
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(4).reshape(2, 2))
        Array([[0, 2],
               [1, 3]], dtype=int32)
    """
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


def _exchange_abstract(
    x: ShapedArray, *, axes: Names, groups: Groups, size: int, split: int, concat: int
) -> tuple[ShapedArray]:
    shape = list(x.shape)
    shape[split] //= size
    shape[concat] *= size
    return (x.update(shape=tuple(shape)),)


def _exchange_stacked(x: Value, *, size: int, split: int, concat: int) -> Value:
    """Swap the axis of senders with the one of slices."""
    groups, _, *shape = x.aval.shape
    shape[split] //= size
    apart = [*shape]
    apart.insert(split, size)
    x = reshape(x, (groups, size, *apart))
    x = move_axis(x, 2 + split, 1)  # groups, receivers, senders, slice
    shape[concat] *= size
    return reshape(move_axis(x, 2, 2 + concat), (groups, size, *shape))


def _exchange_transpose(
    cotangents: Sequence[Value], x: Any, *, split: int, concat: int, **params: Any
) -> list[Tangent]:
    """Send the cotangents back."""
    return list(bind(all_to_all_p, cotangents[0], split=concat, concat=split, **params))


def _exchange_lower(
    b: Any, x: Any, *, axes: Names, groups: Groups, size: int, split: int, concat: int
) -> Any:
    return b.all_to_all(x, b.out_types[0], axes, groups, split, concat)


all_to_all_p = declare_linear(
    "all_to_all",
    abstract_eval=_exchange_abstract,
    transpose=_exchange_transpose,
    batch=partial(batch_moving, "all_to_all", _exchange_stacked, ("split", "concat")),
    lower=_exchange_lower,
    axis_names=axis_names,
)

# Permutations -------------------------------------------------------------------------------------


def ppermute(x: Any, axis_name: AxisName, perm: Any) -> Any:
    """Send values from positions to positions along named axes.

    Args:
        x: pytree of arrays of any dtype and shape.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        perm: pairs (source, destination) of positions along the axes together; each position may
            send once and receive once.

    Returns:
        A pytree of the same shapes; zeros where nothing is received.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if a position sends or receives twice, or is out of range.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.ppermute(x, "i", [(0, 1), (1, 2)])
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(3) + 5)
        Array([0, 5, 6], dtype=int32)
    """
    names = names_of(axis_name, "ppermute")
    pairs = _pairs("ppermute", perm, size_of(names, "ppermute"))
    return _permuted(x, names, pairs, "ppermute")


def pshuffle(x: Any, axis_name: AxisName, perm: Any) -> Any:
    """Reorder values along named axes: position k receives what position ``perm[k]`` has.

    Args:
        x: pytree of arrays of any dtype and shape.
        axis_name: a name, or a tuple of names, as for `ppermute`.
        perm: the source of each position; contains each position once.

    Returns:
        A pytree of the same shapes.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `perm` is not a permutation of the positions.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.pshuffle(x, "i", [2, 0, 1])
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(3))
        Array([2, 0, 1], dtype=int32)
    """
    names = names_of(axis_name, "pshuffle")
    size = size_of(names, "pshuffle")
    sources = [integer("pshuffle", "perm", source) for source in perm]
    if sorted(sources) != list(range(size)):
        expected = f"perm that contains each of the {size} positions once"
        raise errors.ArgumentError("pshuffle", expected, repr(perm))
    return _permuted(x, names, tuple(zip(sources, range(size), strict=True)), "pshuffle")


def _permuted(x: Any, names: Names, pairs: Pairs, call: str) -> Any:
    def one(leaf: Any) -> Value:
        value = operand(leaf, names, call)
        return bind(ppermute_p, value, axes=names, perm=pairs)[0]

    return tree.map(one, x)


def _pairs(call: str, perm: Any, size: int) -> Pairs:
    try:
        pairs = tuple((operator.index(start), operator.index(end)) for start, end in perm)
    except (TypeError, ValueError):
        expected = "perm of pairs (source, destination)"
        raise errors.ArgumentError(call, expected, repr(perm)) from None
    for what, positions in (
        ("source", [s for s, _ in pairs]),
        ("destination", [d for _, d in pairs]),
    ):
        if len(set(positions)) != len(positions):
            twice = next(p for p in positions if positions.count(p) > 1)
            expected = f"perm with each position at most once as a {what}"
            raise errors.ArgumentError(call, expected, f"{twice} twice in {list(pairs)}")
        for p in positions:
            if not 0 <= p < size:
                expected = f"perm of positions 0 to {size - 1}"
                raise errors.ArgumentError(call, expected, f"{what} {p} in {list(pairs)}")
    return pairs


def _permute_abstract(x: ShapedArray, *, axes: Names, perm: Pairs) -> tuple[ShapedArray]:
    return (x,)


def _permute_stacked(x: Value, *, perm: Pairs) -> Value:
    """Take each position's source, or zeros."""
    x = squeeze(x, (0,))
    count = x.aval.shape[0]
    sources = {destination: source for source, destination in perm}
    y = take(x, [sources.get(k, 0) for k in range(count)])
    if len(sources) < count:
        received = as_value(np.isin(np.arange(count), list(sources)), "ppermute")
        received = reshape(received, (count,) + (1,) * (x.aval.ndim - 1))
        y = select_n(broadcast_to(received, y.aval.shape), zeros(y.aval), y)
    return expand_axis(y, 0)


def _permute_transpose(
    cotangents: Sequence[Value], x: Any, *, axes: Names, perm: Pairs
) -> list[Tangent]:
    """Send the cotangents back."""
    back = tuple((destination, source) for source, destination in perm)
    return list(bind(ppermute_p, cotangents[0], axes=axes, perm=back))


def _permute_lower(b: Any, x: Any, *, axes: Names, perm: Pairs) -> Any:
    return b.collective_permute(x, b.out_types[0], axes, perm)


ppermute_p = declare_linear(
    "ppermute",
    abstract_eval=_permute_abstract,
    transpose=_permute_transpose,
    batch=partial(batch_moving, "ppermute", _permute_stacked, ()),
    lower=_permute_lower,
    axis_names=axis_names,
)

# Broadcasts ---------------------------------------------------------------------------------------


def pbroadcast(x: Any, axis_name: AxisName, source: int) -> Any:
    """Give every position along named axes the value of one of them.

    Args:
        x: pytree of arrays of any dtype and shape.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        source: the position along the axes together.

    Returns:
        A pytree of the same shapes, equal for all positions.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `source` is out of range.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.pbroadcast(x, "i", 1)
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(3) + 5)
        Array([6, 6, 6], dtype=int32)
    """
    names = names_of(axis_name, "pbroadcast")
    place = position_in("pbroadcast", "source", source, names)

    def one(leaf: Any) -> Value:
        value = operand(leaf, names, "pbroadcast")
        return bind(pbroadcast_p, value, axes=names, source=place)[0]

    return tree.map(one, x)


def position_in(call: str, what: str, value: Any, names: Names) -> int:
    """Return a position along axes, checked.

    Raises:
        ArgumentError: if it is out of range.
    """
    place, size = integer(call, what, value), size_of(names, call)
    if not 0 <= place < size:
        raise errors.ArgumentError(call, f"{what} among positions 0 to {size - 1}", f"{place}")
    return place


def _broadcast_abstract(x: ShapedArray, *, axes: Names, source: int) -> tuple[ShapedArray]:
    return (x.update(varying=x.varying.difference(axes)),)


def _broadcast_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axes: Names, source: int
) -> Any:
    """Over this axis: take the source's value. Over others: pass on."""
    x, dim = operands[0], dims[0]
    if axis.name not in axes:
        return bind(pbroadcast_p, x, axes=axes, source=source), dims
    sizes = [axis.size if n == axis.name else axis_of(n, "pbroadcast").size for n in axes]
    place = axes.index(axis.name)
    places = [int(i) for i in np.unravel_index(source, sizes)]
    own = places.pop(place)
    sizes.pop(place)
    x = x if dim is None else index_in_dim(x, own, dim, keepdims=False)
    rest = tuple(name for name in axes if name != axis.name)
    if rest:
        x = bind(pbroadcast_p, x, axes=rest, source=int(np.ravel_multi_index(places, sizes)))[0]
    return [x], [None]


def _broadcast_transpose(
    cotangents: Sequence[Value], x: Any, *, axes: Names, source: int
) -> list[Tangent]:
    """Give the source all cotangents: the one of a result that does not vary, or their sum."""
    cotangent = cotangents[0]
    summed = tuple(name for name in axes if name not in x.aval.varying)
    if summed:
        cotangent = bind(psum_p, cotangent, axes=summed, groups=None)[0]
    is_source = eq(position(axes, "pbroadcast"), source)
    return [select_n(is_source, zeros(cotangent.aval), cotangent)]


def _broadcast_lower(b: Any, x: Any, *, axes: Names, source: int) -> Any:
    return b.collective_broadcast(x, b.out_types[0], axes, source)


pbroadcast_p = declare_linear(
    "pbroadcast",
    abstract_eval=_broadcast_abstract,
    transpose=_broadcast_transpose,
    batch=_broadcast_batch,
    lower=_broadcast_lower,
    axis_names=axis_names,
)
