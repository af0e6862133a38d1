"""Where elements are: nonzero and its kin."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Tracer, describe
from functrax.numpy.creation import array
from functrax.numpy.operands import array_operand


def host_value(call: str, x: Any, why: str) -> np.ndarray[Any, Any]:
    """Return an array's value, for functions whose result's shape depends on it.

    Raises:
        TracerArrayError: if it is traced and not known.
    """
    x = array_operand(x, call)
    found = x.concrete() if isinstance(x, Tracer) else x
    if found is None:
        raise errors.TracerArrayError(call, "a concrete array", describe(x), fix=why)
    return np.asarray(found)


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """Return the indices of the elements that are not 0.

    Args:
        a: array.
        size: must be None.
        fill_value: must be None.

    Returns:
        A tuple of vectors of integers, one per axis.

    Raises:
        TracerArrayError: for a traced array.

    Example:
        >>> jnp.nonzero(jnp.array([0, 5, 7]))
        (Array([1, 2], dtype=int32),)
    """
    value = host_value("nonzero", a, "Give `size`, so that the shape is known.")
    return tuple(array(row.astype(dtypes.int_dtype())) for row in np.nonzero(value))
