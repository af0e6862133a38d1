"""Means, variances, medians, and reductions that skip NaN."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, bind
from functrax.numpy import reductions
from functrax.numpy.arithmetic import choose
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    align,
    array_operand,
    cast,
    number,
    operand,
    promote,
    refuse_out,
    strong,
)
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.primitives import elementwise as lax
from functrax.primitives.reduce import greatest, least, reduce_sum, reduce_sum_p
from functrax.primitives.rules import broadcast_to, reshape
from functrax.primitives.shape import broadcast_in_dim
from functrax.transforms.fuse import fuse


def _compute_dtype(dtype: Any) -> Any:
    """Return the dtype in which means are computed: float32 for narrower floats."""
    if dtypes.is_inexact(dtype):
        return dtypes.float32 if dtype.itemsize < 4 else dtype
    return dtypes.float64 if dtype.itemsize == 8 else dtypes.float_dtype()


def _result_dtype(call: str, own: Any, asked: Any) -> Any:
    """Return the dtype of a mean: what is asked for, or the array's; floats for integers."""
    if asked is not None:
        return dtypes.canonicalize(asked, call)
    return own if dtypes.is_inexact(own) else _compute_dtype(own)


def _count(x: Value, mask: Value | None, axes: tuple[int, ...], dtype: Any) -> Value:
    """Return how many elements are reduced, keeping the axes if they are masked."""
    if mask is None:
        return number(float(math.prod(x.aval.shape[axis] for axis in axes)), dtype)
    return with_axes(reduce_sum(cast(mask, dtype), axes), axes)


def _masked(call: str, x: Value, mask: Value | None) -> tuple[Value, Value | None]:
    """Stretch array and mask to one shape, and put zeros where the mask is false."""
    if mask is None:
        return x, None
    x, mask = align(call, x, mask)
    x = choose(mask, x, number(0, x.aval.dtype))
    return x, broadcast_to(mask, x.aval.shape)


# ---- mean


@fuse
def _mean(
    x: Value, mask: Value | None, *, axes: tuple[int, ...], dtype: Any, keepdims: bool
) -> Value:
    compute = _compute_dtype(dtype)
    x, mask = _masked("mean", cast(x, compute), mask)
    total = bind(reduce_sum_p, x, axes=axes)[0]
    if keepdims or mask is not None:
        total = with_axes(total, axes)
    result = lax.div(total, _count(x, mask, axes, compute))
    if mask is not None and not keepdims:
        result = _without_axes(result, axes)
    return strong(cast(result, dtype))


def _without_axes(x: Value, axes: tuple[int, ...]) -> Value:
    return reshape(x, tuple(size for i, size in enumerate(x.aval.shape) if i not in axes))


def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the mean over axes.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return; by default the array's, a float for integers. Floats of 16 bits
            are summed in float32.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        An array without the axes; NaN for no elements.

    Example:
        >>> jnp.mean(jnp.arange(4))
        Array(1.5, dtype=float32)
    """
    refuse_out("mean", out)
    x = a if isinstance(a, Array) else operand(a, "mean")
    axes = axes_or_all("mean", axis, x.aval.ndim)
    found = _result_dtype("mean", x.aval.dtype, dtype)
    mask = None if where is None else to_bool(where, "mean")
    return _mean(x, mask, axes=axes, dtype=found, keepdims=bool(keepdims))


# ---- variance


@fuse
def _var(
    x: Value, mask: Value | None, *,
    axes: tuple[int, ...], compute: Any, dtype: Any, ddof: float, keepdims: bool, root: bool,
) -> Value:  # fmt: skip
    """Return the mean of |x - mean x|**2, with n - ddof in place of n; or its root."""
    x, mask = _masked("var", cast(x, compute), mask)
    count = _count(x, mask, axes, compute)
    centered = lax.sub(x, lax.div(with_axes(reduce_sum(x, axes), axes), count))
    if dtypes.is_complex(compute):
        squares = lax.add(lax.square(lax.real(centered)), lax.square(lax.imag(centered)))
        count = (
            lax.real(count) if mask is not None else number(count.value.real, squares.aval.dtype)
        )
    else:
        squares = lax.square(centered)
    if mask is not None:
        squares = choose(mask, squares, number(0, squares.aval.dtype))
    result = reduce_sum(squares, axes)
    if keepdims or mask is not None:
        result = with_axes(result, axes)
    result = _divided(result, count, ddof)
    if mask is not None and not keepdims:
        result = _without_axes(result, axes)
    result = strong(cast(result, dtype))
    return lax.sqrt(result) if root else result


def _divided(total: Value, count: Value, ddof: float) -> Value:
    """Divide by the degrees of freedom; NaN if none are left."""
    dtype = total.aval.dtype
    if hasattr(count, "value"):
        degrees = count.value - ddof
        return lax.div(total, number(degrees if degrees > 0 else math.nan, dtype))
    degrees = lax.sub(count, number(ddof, dtype)) if ddof else count
    positive = lax.gt(degrees, number(0, dtype))
    return choose(positive, lax.div(total, degrees), number(math.nan, dtype))


def _variance(
    call: str, a: Any, axis: Any, dtype: Any, out: Any, ddof: float, keepdims: bool, where: Any,
    correction: float | None,
) -> Array:  # fmt: skip
    refuse_out(call, out)
    if correction is not None:
        if ddof:
            raise errors.ArgumentError(
                call, "ddof or correction, not both", f"{ddof} and {correction}"
            )
        ddof = correction
    x = operand(a, call)
    own = x.aval.dtype
    asked = None if dtype is None else dtypes.canonicalize(dtype, call)
    if asked is not None and dtypes.is_complex(own) and not dtypes.is_complex(asked):
        raise errors.DtypeError(call, "a complex dtype for complex numbers", str(asked))
    if asked is not None and not dtypes.is_inexact(asked):
        raise errors.DtypeError(call, "a floating dtype", str(asked))
    compute = _compute_dtype(
        own if asked is None else dtypes.promote((asked, _compute_dtype(own)), (False, False))[0]
    )
    result = dtypes.to_real(_result_dtype(call, own, dtype))
    mask = None if where is None else to_bool(where, call)
    return _var(
        x, mask, axes=axes_or_all(call, axis, x.aval.ndim), compute=compute, dtype=result,
        ddof=ddof, keepdims=bool(keepdims), root=call == "std",
    )  # fmt: skip


def var(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, *, where: Any = None, mean: None = None,
    correction: float | None = None,
) -> Array:  # fmt: skip
    """Return the variance over axes: the mean of the squared distances from the mean.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return; by default the array's, a float for integers.
        out: must be None.
        ddof: the squares are divided by their number less this.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.
        mean: must be None.
        correction: another name of `ddof`.

    Returns:
        A real array without the axes.

    Example:
        >>> jnp.var(jnp.arange(4))
        Array(1.25, dtype=float32)
    """
    _refuse_mean("var", mean)
    return _variance("var", a, axis, dtype, out, ddof, keepdims, where, correction)


def std(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, *, where: Any = None, mean: None = None,
    correction: float | None = None,
) -> Array:  # fmt: skip
    """Return the standard deviation over axes: the square root of the variance; see `var`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to return; by default the array's, a float for integers.
        out: must be None.
        ddof: the squares are divided by their number less this.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.
        mean: must be None.
        correction: another name of `ddof`.

    Returns:
        A real array without the axes.
    """
    _refuse_mean("std", mean)
    return _variance("std", a, axis, dtype, out, ddof, keepdims, where, correction)


def _refuse_mean(call: str, mean: Any) -> None:
    if mean is not None:
        raise errors.ArgumentError(call, "mean=None", type(mean).__name__)


# ---- weighted mean


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """Return the weighted mean over axes.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        weights: array of a's shape, or a vector along the axis; equal weights if None.
        returned: bool, whether to return the sum of the weights too.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array without the axes, or ``(average, sum of weights)``.

    Raises:
        ShapeError: if the weights do not fit.
    """
    x = array_operand(a, "average")
    if weights is None:
        result = mean(x, axis, keepdims=keepdims)
        if not returned:
            return result
        count = x.aval.size // max(result.aval.size, 1)
        return result, broadcast_to(number(float(count), result.aval.dtype), result.aval.shape)
    x, w = promote("average", x, weights, to_float=True)
    axes = axes_or_all("average", axis, x.aval.ndim)
    if w.aval.shape != x.aval.shape:
        if len(axes) != 1 or w.aval.shape != (x.aval.shape[axes[0]],):
            raise errors.ShapeError(
                "average",
                "weights of the array's shape, or one per element of the axis",
                f"{w.aval!r} for {x.aval!r} and axis {axis}",
            )
        w = broadcast_in_axis(w, x.aval.shape, axes[0])
    total = reductions.sum(w, axes, keepdims=keepdims)
    result = lax.div(reductions.sum(lax.mul(x, w), axes, keepdims=keepdims), total)
    return (result, total) if returned else result


def broadcast_in_axis(x: Value, shape: tuple[int, ...], axis: int) -> Value:
    """Stretch a vector along an axis to a shape."""
    return broadcast_in_dim(x, shape, (axis,))


# ---- reductions that skip NaN


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
    if missing is None:
        return result
    if where is not None or initial is not None:
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
    return mean(x, axis, dtype, out, keepdims, where=present)


def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, where: Any = None,
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

    Returns:
        A real array without the axes.
    """
    x, present = _present("nanvar", a, where)
    return var(x, axis, dtype, out, ddof, keepdims, where=present)


def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
    keepdims: bool = False, where: Any = None,
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

    Returns:
        A real array without the axes.
    """
    x, present = _present("nanstd", a, where)
    return std(x, axis, dtype, out, ddof, keepdims, where=present)
