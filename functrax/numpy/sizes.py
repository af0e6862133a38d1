"""The shape, the number of axes and the size of anything array-like."""

import math
from typing import Any

from functrax.numpy.manipulation import axes_of
from functrax.numpy.operands import array_operand


def shape(a: Any) -> tuple[int, ...]:
    """Return the shape of an array.

    Args:
        a: array-like.

    Returns:
        A tuple of ints.
    """
    return array_operand(a, "shape").aval.shape


def ndim(a: Any) -> int:
    """Return the number of axes of an array.

    Args:
        a: array-like.

    Returns:
        int.
    """
    return array_operand(a, "ndim").aval.ndim


def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements of an array, or along axes.

    Args:
        a: array-like.
        axis: int or sequence of ints; all axes if None.

    Returns:
        int.
    """
    aval = array_operand(a, "size").aval
    if axis is None:
        return aval.size
    return math.prod(aval.shape[i] for i in axes_of("size", axis, aval.ndim))
