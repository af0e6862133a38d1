"""Sums and products up to each element."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy.arithmetic import choose
from functrax.numpy.manipulation import ravel
from functrax.numpy.operands import array_operand, cast, number, refuse_out, strong
from functrax.numpy.reductions import wide_dtype
from functrax.primitives import cumulative as lax
from functrax.primitives.elementwise import ne
from functrax.primitives.join import pad
from functrax.primitives.reduce import one_of, zero_of
from functrax.primitives.rules import scalar
from functrax.primitives.shape import canonical_axis
from functrax.transforms.fuse import fuse


@fuse
def _run(x: Value, *, product: bool, axis: int, dtype: Any, skip: bool, initial: bool) -> Value:
    if skip and dtypes.is_inexact(x.aval.dtype):
        x = choose(ne(x, x), number(1 if product else 0, x.aval.dtype), x)
    compute = dtypes.int_dtype() if dtypes.is_bool(dtype) else dtype
    x = (lax.cumprod if product else lax.cumsum)(cast(cast(x, dtype), compute), axis)
    if initial:
        start = scalar((one_of if product else zero_of)(compute), compute)
        x = pad(x, start, [(int(i == axis), 0, 0) for i in range(x.aval.ndim)])
    return strong(cast(x, dtype))


def _cumulate(
    call: str,
    a: Any,
    axis: int | None,
    dtype: Any,
    out: Any = None,
    skip: bool = False,
    initial: bool = False,
    widen: bool = False,
) -> Array:
    refuse_out(call, out)
    x = array_operand(a, call)
    if axis is None or not x.aval.ndim:
        axis = 0 if axis is None else canonical_axis(call, axis, 1)
        x = ravel(x)
    found = x.aval.dtype if dtype is None else dtypes.canonicalize(dtype, call)
    if dtype is None and (widen or dtypes.is_bool(found)):
        found = wide_dtype(found)
    axis = canonical_axis(call, axis, x.aval.ndim)
    return _run(x, product="prod" in call, axis=axis, dtype=found, skip=skip, initial=initial)


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Sum up to each element along an axis.

    Args:
        a: array.
        axis: int; None sums the elements of the whole array, row by row.
        dtype: the dtype to sum in and return.
        out: must be None.

    Returns:
        An array of the same shape, or a vector.

    Example:
        >>> jnp.cumsum(jnp.arange(4))
        Array([0, 1, 3, 6], dtype=int32)
    """
    return _cumulate("cumsum", a, axis, dtype, out)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Multiply up to each element along an axis.

    Args:
        a: array.
        axis: int; None multiplies the elements of the whole array, row by row.
        dtype: the dtype to multiply in and return.
        out: must be None.

    Returns:
        An array of the same shape, or a vector.
    """
    return _cumulate("cumprod", a, axis, dtype, out)


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Sum up to each element along an axis, with NaN as 0; see `cumsum`.

    Args:
        a: array.
        axis: int; None sums the elements of the whole array, row by row.
        dtype: the dtype to sum in and return.
        out: must be None.

    Returns:
        An array of the same shape, or a vector.
    """
    return _cumulate("nancumsum", a, axis, dtype, out, skip=True)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Multiply up to each element along an axis, with NaN as 1; see `cumprod`.

    Args:
        a: array.
        axis: int; None multiplies the elements of the whole array, row by row.
        dtype: the dtype to multiply in and return.
        out: must be None.

    Returns:
        An array of the same shape, or a vector.
    """
    return _cumulate("nancumprod", a, axis, dtype, out, skip=True)


def _only_axis(call: str, x: Any, axis: int | None) -> int:
    rank = array_operand(x, call).aval.ndim
    if rank == 0 or (axis is None and rank != 1):
        raise errors.ArgumentError(call, "an axis for an array of several axes", f"axis={axis}")
    return 0 if axis is None else axis


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Sum up to each element along an axis: the array API's `cumsum`.

    Args:
        x: array.
        axis: int; may be left out for a vector.
        dtype: the dtype to sum in and return.
        include_initial: bool, whether a 0 stands in front.

    Returns:
        An array, longer by one with `include_initial`.

    Raises:
        ArgumentError: if the axis is left out for an array of several axes.
    """
    axis = _only_axis("cumulative_sum", x, axis)
    initial = bool(include_initial)
    return _cumulate("cumulative_sum", x, axis, dtype, initial=initial, widen=True)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Multiply up to each element along an axis: the array API's `cumprod`.

    Args:
        x: array.
        axis: int; may be left out for a vector.
        dtype: the dtype to multiply in and return.
        include_initial: bool, whether a 1 stands in front.

    Returns:
        An array, longer by one with `include_initial`.

    Raises:
        ArgumentError: if the axis is left out for an array of several axes.
    """
    axis = _only_axis("cumulative_prod", x, axis)
    return _cumulate("cumulative_prod", x, axis, dtype, initial=bool(include_initial))
