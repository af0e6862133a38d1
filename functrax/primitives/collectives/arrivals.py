"""Collectives that JAX lacks: to one position, from one position, and prefix sums along an axis."""

from typing import Any

from functrax.core import tree
from functrax.core.trace import Value, as_value
from functrax.primitives.collectives.axes import AxisName, Names, names_of, position, size_of
from functrax.primitives.collectives.gathers import all_gather
from functrax.primitives.collectives.moves import all_to_all, position_in, ppermute
from functrax.primitives.collectives.sums import numeric, psum
from functrax.primitives.elementwise import add, eq
from functrax.primitives.rules import zeros
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis, squeeze
from functrax.primitives.slice_along import slice_in_dim


def reduce_to(x: Any, axis_name: AxisName, destination: int = 0) -> Any:
    """Sum over named axes; the sum arrives at one position.

    Args:
        x: pytree of arrays of numeric dtype and any shape; booleans are counted.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        destination: the position along the axes together.

    Returns:
        A pytree of the same shapes: the sums at `destination`, zeros elsewhere.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `destination` is out of range.
        KeyTypeError: if a leaf is a PRNG key.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.reduce_to(x, "i", 1)
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(3) + 5)
        Array([ 0, 18,  0], dtype=int32)
    """
    names = names_of(axis_name, "reduce_to")
    place = position_in("reduce_to", "destination", destination, names)
    values = tree.map(lambda leaf: numeric(as_value(leaf, "reduce_to"), "reduce_to"), x)
    return _only_at(psum(values, names), names, place, "reduce_to")


def gather_to(
    x: Any, axis_name: AxisName, destination: int = 0, *, axis: int = 0, tiled: bool = False
) -> Any:
    """Collect the values of all positions along named axes at one position.

    Args:
        x: pytree of arrays of any dtype and shape.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        destination: the position along the axes together.
        axis: where the collected axis goes.
        tiled: whether to concatenate along `axis` instead of inserting it.

    Returns:
        A pytree of the arrays that `all_gather` gives: at `destination`, and zeros elsewhere.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `destination` is out of range; BoundsError: if `axis` is.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.gather_to(x, "i")
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(2) + 5)
        Array([[5, 6],
               [0, 0]], dtype=int32)
    """
    names = names_of(axis_name, "gather_to")
    place = position_in("gather_to", "destination", destination, names)
    return _only_at(all_gather(x, names, axis=axis, tiled=tiled), names, place, "gather_to")


def _only_at(x: Any, names: Names, place: int, call: str) -> Any:
    here = eq(position(names, call), place)
    return tree.map(lambda leaf: select_n(here, zeros(leaf.aval), leaf), x)


def scatter_from(
    x: Any, axis_name: AxisName, source: int = 0, *, axis: int = 0, tiled: bool = False
) -> Any:
    """Give position k along named axes slice k of what one position has.

    Args:
        x: pytree of arrays of any dtype; what other positions have is not used.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        source: the position along the axes together.
        axis: the axis to divide, of the named axis's size (divisible by it, if tiled).
        tiled: whether the axis stays, divided by the size, instead of being dropped.

    Returns:
        A pytree of arrays without the axis (or with it divided).

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `source` is out of range; BoundsError: if `axis` is.
        ShapeError: if the axis cannot be divided so.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.scatter_from(x, "i", 1)
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(4).reshape(2, 2))
        Array([2, 3], dtype=int32)
    """
    names = names_of(axis_name, "scatter_from")
    place = position_in("scatter_from", "source", source, names)
    size = size_of(names, "scatter_from")

    def one(leaf: Any) -> Value:
        value = as_value(leaf, "scatter_from")
        divided = canonical_axis("scatter_from", axis, value.aval.ndim)
        received = all_to_all(value, names, divided, divided, tiled=tiled)
        width = received.aval.shape[divided] // size
        part = slice_in_dim(received, place * width, (place + 1) * width, axis=divided)
        return part if tiled else squeeze(part, (divided,))

    return tree.map(one, x)


def exclusive_psum(x: Any, axis_name: AxisName, *, reverse: bool = False) -> Any:
    """Sum over the positions before the own one along named axes.

    Args:
        x: pytree of arrays of numeric dtype and any shape; booleans are counted.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names,
            of which the first one is the major one.
        reverse: whether to sum over the positions after the own one.

    Returns:
        A pytree of the same shapes: zeros at the first position, at the second what the first one
        has, and so on.

    Raises:
        AxisNameError: if a name is not bound.
        KeyTypeError: if a leaf is a PRNG key.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.exclusive_psum(x, "i")
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(4) + 5)
        Array([ 0,  5, 11, 18], dtype=int32)

    Source:
        Hillis and Steele, Data parallel algorithms, CACM 29(12), 1986.
    """
    names = names_of(axis_name, "exclusive_psum")
    size = size_of(names, "exclusive_psum")

    def sent(value: Value, step: int) -> Value:
        pairs = [(k, k + step) for k in range(size - step)]
        return ppermute(value, names, [pair[::-1] for pair in pairs] if reverse else pairs)

    def one(leaf: Any) -> Value:
        value = sent(numeric(as_value(leaf, "exclusive_psum"), "exclusive_psum"), 1)
        step = 1
        while step < size - 1:
            value = add(value, sent(value, step))
            step *= 2
        return value

    return tree.map(one, x)
