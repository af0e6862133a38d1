"""Means and variances."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy import reductions
from functrax.numpy.arithmetic import choose
from functrax.numpy.logic import to_bool
from functrax.numpy.manipulation import in_order
from functrax.numpy.operands import (
    align,
    broadcast_shapes,
    cast,
    number,
    number_dtype,
    numeric,
    promote,
    real_number,
    refuse_out,
    strong,
    to_array,
)
from functrax.numpy.reductions import axes_or_all, mask_of, with_axes
from functrax.primitives import elementwise as lax
from functrax.primitives.reduce import reduce_sum
from functrax.primitives.rules import broadcast_to, scalar, transpose_axes
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
        return number_dtype(asked, call)
    return own if dtypes.is_inexact(own) else _compute_dtype(own)


def _count(x: Value, mask: Value | None, axes: tuple[int, ...], dtype: Any) -> Value:
    """Return how many elements are reduced."""
    if mask is None:
        return number(float(math.prod(x.aval.shape[axis] for axis in axes)), dtype)
    return reduce_sum(cast(mask, dtype), axes)


def _masked(call: str, x: Value, mask: Value | None) -> tuple[Value, Value | None]:
    """Stretch array and mask to one shape, and put zeros where the mask is false."""
    if mask is None:
        return x, None
    mask = mask_of(call, mask, x)
    return choose(mask, x, number(0, x.aval.dtype)), mask


# ---- mean


@fuse
def _mean(
    x: Value, mask: Value | None, *, axes: tuple[int, ...], dtype: Any, keepdims: bool
) -> Value:
    compute = _compute_dtype(dtype)
    x, mask = _masked("mean", cast(x, compute), mask)
    result = lax.div(reduce_sum(x, axes), _count(x, mask, axes, compute))
    return strong(cast(with_axes(result, axes) if keepdims else result, dtype))


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
    x = numeric(a, "mean")
    axes = axes_or_all("mean", axis, x.aval.ndim)
    found = _result_dtype("mean", x.aval.dtype, dtype)
    mask = None if where is None else to_bool(where, "mean")
    return _mean(x, mask, axes=axes, dtype=found, keepdims=bool(keepdims))


# ---- variance


@fuse
def _var(
    x: Value, mask: Value | None, mean: Value | None, *,
    axes: tuple[int, ...], compute: Any, dtype: Any, ddof: float, keepdims: bool, root: bool,
) -> Value:  # fmt: skip
    """Return the mean of |x - mean x|**2, with n - ddof in place of n; or its root."""
    x, mask = _masked("var", cast(x, compute), mask)
    count = _count(x, mask, axes, compute)
    if mean is None:
        mean = with_axes(lax.div(reduce_sum(x, axes), count), axes)  # as `x - jnp.mean(x)` has it
    centered = lax.sub(*align("var", x, cast(mean, compute)))
    if dtypes.is_complex(compute):
        squares = lax.add(lax.square(lax.real(centered)), lax.square(lax.imag(centered)))
        count = (
            lax.real(count) if mask is not None else number(count.value.real, squares.aval.dtype)
        )
    else:
        squares = lax.square(centered)
    if mask is not None:
        squares = choose(mask, squares, number(0, squares.aval.dtype))
    result = _divided(reduce_sum(squares, axes), count, ddof)
    result = strong(cast(with_axes(result, axes) if keepdims else result, dtype))
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
    mean: Any, correction: float | None,
) -> Array:  # fmt: skip
    refuse_out(call, out)
    if correction is not None:
        if ddof:
            raise errors.ArgumentError(
                call, "ddof or correction, not both", f"{ddof} and {correction}"
            )
        ddof = real_number(call, "correction", correction)
    ddof = real_number(call, "ddof", ddof)
    x = numeric(a, call)
    own = x.aval.dtype
    asked = None if dtype is None else number_dtype(dtype, call)
    if asked is not None and dtypes.is_complex(own) and not dtypes.is_complex(asked):
        raise errors.DtypeError(call, "a complex dtype for complex numbers", str(asked))
    if asked is not None and not dtypes.is_inexact(asked):
        raise errors.DtypeError(call, "a floating dtype", str(asked))
    compute = _compute_dtype(
        own if asked is None else dtypes.promote((asked, _compute_dtype(own)), (False, False))[0]
    )
    result = dtypes.to_real(_result_dtype(call, own, None)) if asked is None else asked
    mask = None if where is None else to_bool(where, call)
    centre = None if mean is None else _centre(call, mean, x)
    return _var(
        x, mask, centre, axes=axes_or_all(call, axis, x.aval.ndim), compute=compute, dtype=result,
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
        mean: the mean, if it is known already, with the axes kept.
        correction: another name of `ddof`.

    Returns:
        A real array without the axes.

    Example:
        >>> jnp.var(jnp.arange(4))
        Array(1.25, dtype=float32)
    """
    return _variance("var", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


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
        mean: the mean, if it is known already, with the axes kept.
        correction: another name of `ddof`.

    Returns:
        A real array without the axes.
    """
    return _variance("std", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


def _centre(call: str, mean: Any, x: Value) -> Value:
    """Return a mean that is known already; it must broadcast to the array."""
    centre = numeric(mean, call)
    if broadcast_shapes(call, [x.aval.shape, centre.aval.shape]) != x.aval.shape:
        expected = f"a mean that broadcasts to shape {x.aval.shape}"
        raise errors.ShapeError(call, expected, repr(centre.aval))
    return centre


# ---- weighted mean


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """Return the weighted mean over axes.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        weights: array of a's shape, or of the sizes of the axes, in their order; equal weights if
            None.
        returned: bool, whether to return the sum of the weights too.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array without the axes, or ``(average, sum of weights)``.

    Raises:
        ShapeError: if the weights do not fit.
    """
    x = to_array(numeric(a, "average"))
    if weights is None:
        result = mean(x, axis, keepdims=keepdims)
        if not returned:
            return result
        axes = axes_or_all("average", axis, x.aval.ndim)
        count = math.prod(x.aval.shape[axis] for axis in axes)
        total = broadcast_to(scalar(float(count), result.aval.dtype), result.aval.shape)
        return result, to_array(total)
    x, w = promote("average", x, weights, to_float=True)
    axes = axes_or_all("average", axis, x.aval.ndim)
    if w.aval.shape != x.aval.shape:
        order = axes if axis is None else in_order("average", axis, x.aval.ndim)
        if axis is None or w.aval.shape != tuple(x.aval.shape[i] for i in order):
            raise errors.ShapeError(
                "average",
                "weights of the array's shape, or one per element of the axes",
                f"{w.aval!r} for {x.aval!r} and axis {axis}",
            )
        w = broadcast_along(w, x.aval.shape, order)
    total = reductions.sum(w, axes, keepdims=keepdims)
    result = lax.div(reductions.sum(lax.mul(x, w), axes, keepdims=keepdims), total)
    return (result, total) if returned else result


def broadcast_along(x: Value, shape: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    """Stretch an array to a shape of which it has some of the axes, in any order."""
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return broadcast_in_dim(transpose_axes(x, order), shape, tuple(sorted(axes)))
