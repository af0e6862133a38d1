"""The shape, the number of axes and the size of anything array-like."""

import math
from typing import Any

from functrax.core.trace import Array
from functrax.numpy.creation import array
from functrax.numpy.manipulation import axes_of


def shape(a: Any) -> tuple[int, ...]:
    """Return the shape of an array.

    Args:
        a: array-like.

    Returns:
        A tuple of ints.
    """
    return _read(a).aval.shape


def _read(a: Any) -> Array:
    """Return an array, a number or nested lists as an array."""
    return a if isinstance(a, Array) else array(a, copy=False)


def ndim(a: Any) -> int:
    """Return the number of axes of an array.

    Args:
        a: array-like.

    Returns:
        int.
    """
    return _read(a).aval.ndim


def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements of an array, or along axes.

    Args:
        a: array-like.
        axis: int or sequence of ints; all axes if None.

    Returns:
        int.
    """
    aval = _read(a).aval
    if axis is None:
        return aval.size
    return math.prod(aval.shape[i] for i in axes_of("size", axis, aval.ndim))
