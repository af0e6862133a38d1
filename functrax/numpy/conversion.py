"""Conversion of arrays to other dtypes."""

from typing import Any

from functrax.core.trace import Array
from functrax.numpy.creation import converted, from_array, in_dtype, placed
from functrax.numpy.operands import dtype_or_default, to_array


def astype(x: Any, dtype: Any, /, *, copy: bool = False, device: Any = None) -> Array:
    """Convert an array to another dtype.

    Args:
        x: array-like.
        dtype: the dtype; None is the default float.
        copy: bool, whether the result has memory of its own also if nothing changes.
        device: where to put it.

    Returns:
        An array of the same shape; integers of arrays wrap as in C, floats lose their fraction.

    Raises:
        IntegerOverflowError: if an integer of Python's or NumPy's does not fit.

    Example:
        >>> jnp.astype(jnp.array([1.5, 2.5]), int)
        Array([1, 2], dtype=int32)
    """
    dtype = dtype_or_default("astype", dtype)
    if not isinstance(x, Array):
        x = to_array(in_dtype(x, dtype, "astype"))
    aval = x.aval
    if aval.dtype == dtype and not aval.weak_type:
        made = from_array(x, None, copy)
    else:
        made = converted(x, dtype)
    return made if device is None else placed("astype", made, device)
