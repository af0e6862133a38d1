"""Operations that are made of others: choosing, making arrays, shapes."""

import builtins
import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, integers
from functrax.core.trace import Array, as_value, bind
from functrax.numpy import creation, operands
from functrax.primitives import elementwise
from functrax.primitives.select import select_n
from functrax.primitives.shape import broadcast_in_dim, expand_dims, iota_p, reshape


class RoundingMethod(IntEnum):
    """What `round` does with numbers half way between two integers."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


# ---- choosing


def select(pred: Any, on_true: Any, on_false: Any) -> Array:
    """Choose elementwise between two arrays.

    Args:
        pred: array of booleans, of the shape of the others or ().
        on_true: array, taken where `pred` is true.
        on_false: array of the same shape and dtype, taken elsewhere.

    Returns:
        An array of that shape and dtype.

    Raises:
        ShapeError, DtypeError: if the operands do not fit together.
    """
    return select_n(pred, on_false, on_true)


# ---- making arrays


def full(shape: Any, fill_value: Any, dtype: Any = None, *, sharding: None = None) -> Array:
    """Return an array filled with a number.

    Args:
        shape: int or sequence of ints.
        fill_value: number or array of shape ().
        dtype: the dtype; that of the number if None.
        sharding: must be None.

    Returns:
        An array of that shape.

    Raises:
        ShapeError: if the value has axes.
    """
    if getattr(fill_value, "shape", ()):
        raise errors.ShapeError("full", "a number", f"shape {fill_value.shape}")
    return creation.full(shape, fill_value, dtype)


def full_like(
    x: Any, fill_value: Any, dtype: Any = None, shape: Any = None, sharding: None = None
) -> Array:
    """Return an array of another's shape and dtype, filled with a number.

    Args:
        x: array.
        fill_value: number.
        dtype: another dtype.
        shape: another shape.
        sharding: must be None.

    Returns:
        An array of that shape and dtype.
    """
    return creation.full_like(x, fill_value, dtype, shape)


def iota(dtype: Any, size: int) -> Array:
    """Count from 0 to size - 1.

    Args:
        dtype: the dtype.
        size: int.

    Returns:
        An array of shape (size,).
    """
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Any, dimension: int) -> Array:
    """Count along an axis; the other axes repeat.

    Args:
        dtype: the dtype.
        shape: the result's shape.
        dimension: the axis along which the numbers increase.

    Returns:
        An array of that shape.

    Raises:
        BoundsError: if there is no such axis.
        IntegerOverflowError: if the dtype does not hold the numbers.
    """
    sizes = integers("broadcasted_iota", "shape", shape)
    axis = integer("broadcasted_iota", "dimension", dimension)
    if not 0 <= axis < len(sizes):
        raise errors.BoundsError("broadcasted_iota", f"an axis of shape {sizes}", f"axis {axis}")
    found = dtypes.canonicalize(dtype, "broadcasted_iota")
    dtypes.check_fits(max(0, sizes[axis] - 1), found, "broadcasted_iota")
    return bind(iota_p, dtype=found, shape=sizes, dimension=axis)[0]


# ---- shapes


def broadcast(operand: Any, sizes: Sequence[int]) -> Array:
    """Put axes in front of an array, along which it repeats.

    Args:
        operand: array.
        sizes: the sizes of the new axes.

    Returns:
        An array of shape (*sizes, *operand.shape).
    """
    operand = as_value(operand, "broadcast")
    shape = (*integers("broadcast", "sizes", sizes), *operand.aval.shape)
    first = len(shape) - operand.aval.ndim
    return broadcast_in_dim(operand, shape, tuple(range(first, len(shape))))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to, by NumPy's rule.

    Args:
        *shapes: sequences of ints.

    Returns:
        A tuple of ints.

    Raises:
        ShapeError: showing the shapes.
    """
    call = "broadcast_shapes"
    return operands.broadcast_shapes(call, [integers(call, "shapes", shape) for shape in shapes])


def broadcast_to_rank(x: Any, rank: int) -> Array:
    """Put axes of size 1 in front of an array until it has `rank` axes.

    Args:
        x: array.
        rank: int.

    Returns:
        An array of `rank` axes.
    """
    x = as_value(x, "broadcast_to_rank")
    return expand_dims(x, tuple(range(integer("broadcast_to_rank", "rank", rank) - x.aval.ndim)))


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Array:
    """Make one axis of several neighbours.

    Args:
        operand: array.
        start_dimension: the first of the axes.
        stop_dimension: the axis behind the last one; the number of axes if None.

    Returns:
        An array.
    """
    operand = as_value(operand, "collapse")
    shape = operand.aval.shape
    start_dimension = integer("collapse", "start_dimension", start_dimension)
    if stop_dimension is not None:
        stop_dimension = integer("collapse", "stop_dimension", stop_dimension)
    low, high, _ = builtins.slice(start_dimension, stop_dimension).indices(len(shape))
    if high <= low:
        raise errors.BoundsError(
            "collapse", "a range of axes", f"{start_dimension} to {stop_dimension} of shape {shape}"
        )
    return reshape(operand, (*shape[:low], math.prod(shape[low:high]), *shape[high:]))


# ---- numbers


def nextafter(x1: Any, x2: Any) -> Array:
    """Return the next representable number after one, towards another.

    Args:
        x1: array of floating dtype.
        x2: array of the same shape (or a scalar) and dtype.

    Returns:
        An array of that shape and dtype.
    """
    return elementwise.nextafter(x1, x2)


def reciprocal(x: Any) -> Array:
    """Compute 1 / x.

    Args:
        x: array of floating or complex dtype.

    Returns:
        An array of the same shape and dtype.
    """
    return elementwise.integer_pow(x, -1)
