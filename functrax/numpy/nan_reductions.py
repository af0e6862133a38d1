"""Reductions that skip NaN."""

import math
from typing import Any

from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy import reductions, statistics
from functrax.numpy.arithmetic import choose
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import align, array_operand, number
from functrax.primitives import elementwise as lax
from functrax.primitives.reduce import greatest, least


def _skipping(call: str, a: Any, identity: Any) -> tuple[Array, Value | None]:
    """Return an array with a number for NaN, and where NaN was; None if there can be none."""
    x = array_operand(a, call)
    if not dtypes.is_inexact(x.aval.dtype):
        return x, None
    missing = lax.ne(x, x)
    return choose(missing, number(identity(x.aval.dtype), x.aval.dtype), x), missing


def nansum(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Array:  # fmt: skip
    """Sum over axes, with NaN as 0; see `sum`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to sum in and return.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: number that is added.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes.
    """
    x, _ = _skipping("nansum", a, lambda _: 0)
    return reductions.sum(x, axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Array:  # fmt: skip
    """Multiply over axes, with NaN as 1; see `prod`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to multiply in and return.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: number that is multiplied in.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes.
    """
    x, _ = _skipping("nanprod", a, lambda _: 1)
    return reductions.prod(x, axis, dtype, out, keepdims, initial, where)


def _nan_extreme(call: str, reduce: Any, a: Any, identity: Any, arguments: Any) -> Array:
    x, missing = _skipping(call, a, identity)
    axis, out, keepdims, initial, where = arguments
    result = reduce(x, axis, out, keepdims, initial, where)
    if missing is None or where is not None or initial is not None:
        return result
    empty = reductions.all(missing, axis, keepdims=keepdims)
    return choose(empty, number(math.nan, x.aval.dtype), result)


def nanmax(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the largest elements over axes, NaN aside; NaN if there is nothing else.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: the least value that the result can have.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes.
    """
    arguments = (axis, out, keepdims, initial, where)
    return _nan_extreme("nanmax", reductions.max, a, least, arguments)


def nanmin(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the smallest elements over axes, NaN aside; NaN if there is nothing else.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: the largest value that the result can have.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes.
    """
    arguments = (axis, out, keepdims, initial, where)
    return _nan_extreme("nanmin", reductions.min, a, greatest, arguments)


def _present(call: str, a: Any, where: Any) -> tuple[Array, Any]:
    """Return an array, and where it is not NaN and counts."""
    x = array_operand(a, call)
    present = lax.eq(x, x)
    if where is None:
        return x, present
    return x, lax.bitwise_and(*align(call, present, to_bool(where, call)))


def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the mean over axes of what is not NaN; see `mean`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes.
    """
    x, present = _present("nanmean", a, where)
    return statistics.mean(x, axis, dtype, out, keepdims, where=present)


def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, where: Any = None, mean: Any = None,
) -> Array:  # fmt: skip
    """Return the variance over axes of what is not NaN; see `var`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return.
        out: must be None.
        ddof: the squares are divided by their number less this.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.
        mean: the mean, if it is known, with the axes kept.
        mean: the mean, if it is known already, with the axes kept.

    Returns:
        A real array without the axes.
    """
    x, present = _present("nanvar", a, where)
    return statistics.var(x, axis, dtype, out, ddof, keepdims, where=present, mean=mean)


def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, where: Any = None, mean: Any = None,
) -> Array:  # fmt: skip
    """Return the standard deviation over axes of what is not NaN; see `std`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return.
        out: must be None.
        ddof: the squares are divided by their number less this.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.
        mean: the mean, if it is known, with the axes kept.
        mean: the mean, if it is known already, with the axes kept.

    Returns:
        A real array without the axes.
    """
    x, present = _present("nanstd", a, where)
    return statistics.std(x, axis, dtype, out, ddof, keepdims, where=present, mean=mean)


def nanargmax(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """Return where the largest element along an axis is, NaN aside; -1 if there is nothing else.

    Args:
        a: array of real numbers.
        axis: int; None counts the elements of the whole array, row by row.
        out: must be None.
        keepdims: bool, whether the axis stays, of size 1.

    Returns:
        An array of the default integer dtype.

    Example:
        >>> jnp.nanargmax(jnp.array([3.0, jnp.nan, 5.0]))
        Array(2, dtype=int32)
    """
    return _nan_position("nanargmax", reductions.argmax, a, least, axis, out, keepdims)


def nanargmin(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """Return where the smallest element along an axis is, NaN aside; see `nanargmax`.

    Args:
        a: array of real numbers.
        axis: int; None counts the elements of the whole array, row by row.
        out: must be None.
        keepdims: bool, whether the axis stays, of size 1.

    Returns:
        An array of the default integer dtype.
    """
    return _nan_position("nanargmin", reductions.argmin, a, greatest, axis, out, keepdims)


def _nan_position(
    call: str, find: Any, a: Any, identity: Any, axis: int | None, out: Any, keepdims: bool | None
) -> Array:
    x, missing = _skipping(call, a, identity)
    found = find(x, axis, out, keepdims)
    if missing is None:
        return found
    empty = reductions.all(missing, axis, keepdims=bool(keepdims))
    return choose(empty, number(-1, found.aval.dtype), found)
