"""Shapes: reshape, transpose, broadcast, and the like; nothing is computed."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from functrax import errors
from functrax.core.arguments import integer
from functrax.core.primitive import registry
from functrax.core.trace import Array, bind
from functrax.numpy.operands import array_operand, broadcast_shapes, shape_of
from functrax.primitives import shape as lax
from functrax.primitives.rules import broadcast_to as stretch
from functrax.primitives.rules import transpose_axes
from functrax.primitives.shape import canonical_axes, canonical_axis

_reshape_p = registry["reshape"]


def axes_of(call: str, axis: Any, rank: int) -> tuple[int, ...]:
    """Return an axis argument (an int, or a sequence of ints) as sorted non-negative numbers."""
    if type(axis) is int:
        return (canonical_axis(call, axis, rank),)
    return canonical_axes(call, one_or_several(axis), rank)


def one_or_several(numbers: Any) -> tuple[Any, ...]:
    """Return an argument that may be a number or a sequence of them as a tuple."""
    scalar = isinstance(numbers, str) or not getattr(numbers, "ndim", 1)
    return (numbers,) if scalar or not isinstance(numbers, Iterable) else tuple(numbers)


# ---- reshape


def reshape(
    a: Any, shape: Any, order: str = "C", *, copy: bool | None = None, out_sharding: None = None
) -> Array:
    """Give the elements of an array another shape.

    Args:
        a: array.
        shape: int or sequence of ints; one of them may be -1, for what is left.
        order: "C" to read and write the elements with the last axis changing fastest, "F" the
            first.
        copy: must be None or True.
        out_sharding: must be None.

    Returns:
        An array of that shape.

    Raises:
        ShapeError: if the number of elements differs.

    Example:
        >>> jnp.reshape(jnp.arange(6), (2, -1))
        Array([[0, 1, 2],
               [3, 4, 5]], dtype=int32)
    """
    a = array_operand(a, "reshape")
    if order == "C":
        return reshaped(a, shape)
    if order != "F":
        raise errors.ArgumentError("reshape", "order='C' or 'F'", repr(order))
    sizes = sizes_of(a.aval, shape)
    return lax.transpose(reshaped(transpose(a), sizes[::-1]), tuple(range(len(sizes)))[::-1])


def reshaped(a: Array, shape: Any) -> Array:
    """Reshape in row-major order."""
    aval = a.aval
    if type(shape) is tuple:
        for size in shape:
            if type(size) is not int or size < 0:
                shape = sizes_of(aval, shape)
                break
    else:
        shape = sizes_of(aval, shape)
    return a if shape == aval.shape else bind(_reshape_p, a, new_sizes=shape)[0]


def sizes_of(aval: Any, shape: Any) -> tuple[int, ...]:
    """Return the shape meant by a shape argument in which one size may be -1."""
    given = one_or_several(shape)
    sizes = tuple([x if type(x) is int else integer("reshape", "shape", x) for x in given])
    unknown = [i for i, size in enumerate(sizes) if size < 0]
    if not unknown:
        return sizes
    rest = math.prod(size for size in sizes if size >= 0)
    if len(unknown) > 1 or rest == 0 or aval.size % rest or sizes[unknown[0]] != -1:
        raise errors.ShapeError(
            "reshape",
            f"a shape of {aval.size} elements",
            f"{sizes} for an array of shape {aval.shape}",
        )
    return tuple(aval.size // rest if size < 0 else size for size in sizes)


def reshape_method(self: Array, *args: Any, order: str = "C", copy: Any = None, **_: Any) -> Array:
    """Return the array with another shape: ``x.reshape(2, -1)`` or ``x.reshape((2, -1))``; see
    `reshape`.
    """
    shape = args[0] if len(args) == 1 else args
    return reshaped(self, shape) if order == "C" else reshape(self, shape, order)


def ravel(a: Any, order: str = "C", *, out_sharding: None = None) -> Array:
    """Return the elements along one axis.

    Args:
        a: array.
        order: "C" for the last axis changing fastest, "F" for the first.
        out_sharding: must be None.

    Returns:
        An array of shape (a.size,).

    Example:
        >>> jnp.ravel(jnp.eye(2))
        Array([1., 0., 0., 1.], dtype=float32)
    """
    a = array_operand(a, "ravel")
    return reshape(a, (a.aval.size,), "C" if order in ("K", "A") else order)


# ---- the order of axes


def transpose(a: Any, axes: Sequence[int] | None = None) -> Array:
    """Permute the axes of an array.

    Args:
        a: array.
        axes: for each axis of the result, the axis of `a`; reversed if None.

    Returns:
        An array with its axes in that order.

    Raises:
        ArgumentError: if it is not a permutation.

    Example:
        >>> jnp.transpose(jnp.ones((2, 3))).shape
        (3, 2)
    """
    a = array_operand(a, "transpose")
    rank = a.aval.ndim
    if axes is None:
        return transpose_axes(a, range(rank - 1, -1, -1))
    order = tuple(canonical_axis("transpose", axis, rank) for axis in one_or_several(axes))
    return transpose_axes(a, order)


def permute_dims(a: Any, /, axes: Sequence[int]) -> Array:
    """Permute the axes of an array; see `transpose`.

    Args:
        a: array.
        axes: for each axis of the result, the axis of `a`.

    Returns:
        An array with its axes in that order.

    Raises:
        ArgumentError: if it is not a permutation.
    """
    return transpose(a, axes)


def transpose_method(self: Array, *args: Any) -> Array:
    """Permute the axes: ``x.transpose(1, 0)`` or ``x.transpose((1, 0))``; reversed without
    arguments.
    """
    if not args or args == (None,):
        return transpose(self)
    return transpose(
        self, args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args
    )


def matrix_transpose(x: Any, /) -> Array:
    """Exchange the last two axes.

    Args:
        x: array of at least two axes.

    Returns:
        An array of shape (..., n, m).

    Raises:
        ShapeError: for fewer axes.
    """
    x = array_operand(x, "matrix_transpose")
    if x.aval.ndim < 2:
        raise errors.ShapeError("matrix_transpose", "an array of two or more axes", repr(x.aval))
    return swapaxes(x, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """Exchange two axes.

    Args:
        a: array.
        axis1: int.
        axis2: int.

    Returns:
        An array with the two axes exchanged.
    """
    a = array_operand(a, "swapaxes")
    order = list(range(a.aval.ndim))
    first = canonical_axis("swapaxes", axis1, len(order))
    second = canonical_axis("swapaxes", axis2, len(order))
    order[first], order[second] = order[second], order[first]
    return transpose_axes(a, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Array:
    """Move axes to other places; the rest keep their order.

    Args:
        a: array.
        source: int or sequence of ints, the axes to move.
        destination: where each goes.

    Returns:
        An array with its axes in the new order.

    Raises:
        ArgumentError: if the numbers of axes differ.

    Example:
        >>> jnp.moveaxis(jnp.ones((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    a = array_operand(a, "moveaxis")
    rank = a.aval.ndim
    start, end = (in_order("moveaxis", axis, rank) for axis in (source, destination))
    if len(start) != len(end):
        raise errors.ArgumentError(
            "moveaxis", "as many sources as destinations", f"{source} and {destination}"
        )
    order = [axis for axis in range(rank) if axis not in start]
    for to, axis in sorted(zip(end, start, strict=True)):
        order.insert(to, axis)
    return transpose_axes(a, order)


def in_order(call: str, axis: Any, rank: int) -> tuple[int, ...]:
    """Return an axis argument as non-negative numbers, in the order given."""
    found = tuple(canonical_axis(call, a, rank) for a in one_or_several(axis))
    canonical_axes(call, found, rank)
    return found


def rollaxis(a: Any, axis: int, start: int = 0) -> Array:
    """Move an axis until it stands before another one.

    Args:
        a: array.
        axis: the axis to move.
        start: the axis before which it comes to stand.

    Returns:
        An array with its axes in the new order.
    """
    a = array_operand(a, "rollaxis")
    rank = a.aval.ndim
    axis = canonical_axis("rollaxis", axis, rank)
    start = rank if start == rank else canonical_axis("rollaxis", start, rank)
    return moveaxis(a, axis, start - 1 if axis < start else start)


def flip(m: Any, axis: Any = None) -> Array:
    """Reverse the elements along axes.

    Args:
        m: array.
        axis: int or sequence of ints; all if None.

    Returns:
        An array of the same shape.

    Example:
        >>> jnp.flip(jnp.arange(3))
        Array([2, 1, 0], dtype=int32)
    """
    m = array_operand(m, "flip")
    rank = m.aval.ndim
    return lax.rev(m, range(rank) if axis is None else axes_of("flip", axis, rank))


def fliplr(m: Any) -> Array:
    """Reverse the order of columns: axis 1.

    Args:
        m: array of at least two axes.

    Returns:
        An array of the same shape.
    """
    return flip(m, 1)


def flipud(m: Any) -> Array:
    """Reverse the order of rows: axis 0.

    Args:
        m: array of at least one axis.

    Returns:
        An array of the same shape.
    """
    return flip(m, 0)


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """Turn an array by quarter turns in the plane of two axes.

    Args:
        m: array of at least two axes.
        k: how many quarter turns, from the first axis towards the second.
        axes: the two axes.

    Returns:
        An array, with the two sizes exchanged for odd k.
    """
    m = array_operand(m, "rot90")
    k = integer("rot90", "k", k)
    plane = in_order("rot90", axes, m.aval.ndim)
    if len(plane) != 2:
        raise errors.ArgumentError("rot90", "a pair of axes", repr(axes))
    first, second = plane
    if k % 4 == 0:
        return m
    if k % 4 == 2:
        return flip(m, (first, second))
    if k % 4 == 1:
        return swapaxes(flip(m, second), first, second)
    return flip(swapaxes(m, first, second), second)


# ---- axes of size 1


def expand_dims(a: Any, axis: Any) -> Array:
    """Insert axes of size 1.

    Args:
        a: array.
        axis: int or sequence of ints, the places of the new axes in the result.

    Returns:
        An array with those axes added.

    Example:
        >>> jnp.expand_dims(jnp.arange(3), 0).shape
        (1, 3)
    """
    a = array_operand(a, "expand_dims")
    return lax.expand_dims(a, one_or_several(axis))


def squeeze(a: Any, axis: Any = None) -> Array:
    """Drop axes of size 1.

    Args:
        a: array.
        axis: int or sequence of ints; all axes of size 1 if None.

    Returns:
        An array without those axes.

    Raises:
        ShapeError: if an axis has another size.
    """
    a = array_operand(a, "squeeze")
    if axis is None:
        axis = [i for i, size in enumerate(a.aval.shape) if size == 1]
    return lax.squeeze(a, axes_of("squeeze", axis, a.aval.ndim))


def _at_least(call: str, rank: int, arrays: tuple[Any, ...], places: Any) -> Any:
    if len(arrays) == 1 and isinstance(arrays[0], list | tuple):
        arrays = tuple(arrays[0])
    made = [_raised(array_operand(x, call), rank, places) for x in arrays]
    return made[0] if len(made) == 1 else made


def _raised(x: Array, rank: int, places: Any) -> Array:
    missing = rank - x.aval.ndim
    return x if missing <= 0 else lax.expand_dims(x, places[x.aval.ndim])


def atleast_1d(*arys: Any) -> Any:
    """Give numbers one axis.

    Args:
        *arys: arrays.

    Returns:
        An array of at least one axis, or a list of them for several.
    """
    return _at_least("atleast_1d", 1, arys, {0: (0,)})


def atleast_2d(*arys: Any) -> Any:
    """Put axes of size 1 in front until there are two.

    Args:
        *arys: arrays.

    Returns:
        An array of at least two axes, or a list of them for several.
    """
    return _at_least("atleast_2d", 2, arys, {0: (0, 1), 1: (0,)})


def atleast_3d(*arys: Any) -> Any:
    """Add axes of size 1 until there are three: (1, n, 1) for vectors, (m, n, 1) for matrices.

    Args:
        *arys: arrays.

    Returns:
        An array of at least three axes, or a list of them for several.
    """
    return _at_least("atleast_3d", 3, arys, {0: (0, 1, 2), 1: (0, 2), 2: (2,)})


# ---- broadcast


def broadcast_to(array: Any, shape: Any, *, out_sharding: None = None) -> Array:
    """Repeat an array along axes of size 1, and new ones in front.

    Args:
        array: array or number.
        shape: int or sequence of ints.
        out_sharding: must be None.

    Returns:
        An array of that shape.

    Raises:
        ShapeError: showing the shapes, if the array does not broadcast to it.

    Example:
        >>> jnp.broadcast_to(jnp.arange(2), (2, 2))
        Array([[0, 1],
               [0, 1]], dtype=int32)
    """
    x = array_operand(array, "broadcast_to")
    target = shape_of("broadcast_to", shape)
    if broadcast_shapes("broadcast_to", [x.aval.shape, target]) != target:
        raise errors.ShapeError(
            "broadcast_to", f"an array that broadcasts to {target}", f"shape {x.aval.shape}"
        )
    return stretch(x, target)


def broadcast_arrays(*args: Any) -> list[Array]:
    """Broadcast arrays to their common shape.

    Args:
        *args: arrays.

    Returns:
        A list of arrays of one shape.

    Raises:
        ShapeError: showing the shapes, if they do not broadcast.
    """
    values = [array_operand(x, "broadcast_arrays") for x in args]
    if not values:
        return []
    shape = broadcast_shapes("broadcast_arrays", [x.aval.shape for x in values])
    return [stretch(x, shape) for x in values]


def broadcast_shapes_of(*shapes: Any) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to.

    Args:
        *shapes: ints or sequences of ints.

    Returns:
        A tuple of ints.

    Raises:
        ShapeError: showing the shapes.

    Example:
        >>> jnp.broadcast_shapes((2, 1), (3,))
        (2, 3)
    """
    found = [shape_of("broadcast_shapes", shape) for shape in shapes]
    return broadcast_shapes("broadcast_shapes", found) if found else ()
