"""Medians, percentiles, covariance."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.numpy import reductions, statistics
from functrax.numpy.arithmetic import choose
from functrax.numpy.joining import concatenate
from functrax.numpy.linear import matmul
from functrax.numpy.manipulation import atleast_2d, moveaxis
from functrax.numpy.matrices import diagonal
from functrax.numpy.operands import (
    array_operand,
    cast,
    inexact,
    number,
    number_dtype,
    numeric,
    promote,
    real_number,
    refuse_out,
    to_array,
)
from functrax.numpy.reductions import axes_or_all, with_axes
from functrax.numpy.selection import clip
from functrax.numpy.taking import take_along_axis
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.primitives.cumulative import cumsum
from functrax.primitives.rules import broadcast_to, expand_axis, reshape, scalar
from functrax.primitives.sort import sort
from functrax.transforms.fuse import fuse

# How places are counted: alpha and beta of Hyndman and Fan, by method.
_SHIFTS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_STEPS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
_METHODS = ("linear", "lower", "higher", "midpoint", "nearest", *_STEPS, *_SHIFTS)


def _quantile(
    call: str,
    a: Any,
    q: Any,
    axis: Any,
    out: Any,
    method: str,
    keepdims: bool,
    skip: bool,
    scale: float = 1.0,
    weights: Any = None,
) -> Array:
    refuse_out(call, out)
    if method not in _METHODS:
        raise errors.ArgumentError(call, f"a method among {', '.join(_METHODS)}", repr(method))
    x, q = (to_array(inexact(v, call)) for v in (a, q))
    if dtypes.is_complex(x.aval.dtype) or dtypes.is_complex(q.aval.dtype):
        raise errors.DtypeError(call, "real numbers", repr(x.aval))
    if q.aval.ndim > 1:
        raise errors.ShapeError(call, "a number or vector of quantiles", repr(q.aval))
    axes = axes_or_all(call, axis, x.aval.ndim)
    w = None
    if weights is not None:
        if method != "inverted_cdf":
            raise errors.ArgumentError(
                call, 'method="inverted_cdf", the one that takes weights', repr(method)
            )
        x, w = (to_array(v) for v in promote(call, x, inexact(weights, call)))
        w = _stretched(call, w, x.aval.shape, axes)
    return _quantile_of(
        x, q, w, axes=axes, method=method, keepdims=bool(keepdims), skip=skip, scale=scale
    )


def _stretched(call: str, w: Value, shape: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    """Return weights in the shape of the array; they may have that of the axes alone."""
    if dtypes.is_complex(w.aval.dtype):
        raise errors.DtypeError(call, "real weights", repr(w.aval))
    if w.aval.shape == shape:
        return w
    over = tuple(shape[axis] for axis in axes)
    if w.aval.shape != over:
        expected = f"weights of shape {shape}, or {over} for the axes alone"
        raise errors.ShapeError(call, expected, repr(w.aval))
    return statistics.broadcast_along(w, shape, axes)


@fuse
def _quantile_of(
    x: Value,
    q: Value,
    w: Value | None,
    *,
    axes: tuple[int, ...],
    method: str,
    keepdims: bool,
    skip: bool,
    scale: float,
) -> Value:
    """Interpolate in the sorted row; NaN, which stands last, spoils it or is not counted.

    Places are computed in 32 bits or more: float16 does not tell 2048 from 2049.
    """
    result = x.aval.dtype
    wide = dtypes.promote((q.aval.dtype, result), (q.aval.weak_type, False))[0]
    dtype = wide if wide.itemsize >= 4 else dtypes.float32
    q = cast(q, dtype)
    rest = tuple(i for i in range(x.aval.ndim) if i not in axes)
    outer = tuple(x.aval.shape[i] for i in rest)
    rows: Any = _rows(x, rest, axes, outer)
    if w is None:
        rows = sort(rows, len(outer))
    else:
        rows, w = sort((rows, cast(_rows(w, rest, axes, outer), dtype)), len(outer), True, 1)
    size = rows.aval.shape[-1]
    missing = lax.ne(rows, rows)
    if skip:
        valid = reductions.sum(lax.bitwise_not(missing), -1, dtype=dtype)
        last = lax.sub(valid, number(1, dtype))
        spoiled = lax.lt(last, number(0, dtype))
    else:
        spoiled = reductions.any(missing, -1)
        last = broadcast_to(scalar(size - 1, dtype), outer)
    if scale != 1.0:
        q = lax.div(q, scalar(scale, dtype))
    flat, last = reshape(q, (q.aval.size,) + (1,) * len(outer)), reshape(last, (1, *outer))
    if w is None:
        values = _interpolate(rows, flat, last, method)
    else:
        bad = lax.bitwise_not(lax.ge(w, number(0, dtype)))
        spoiled = lax.bitwise_or(spoiled, reductions.any(bad, -1))
        counted = choose(lax.bitwise_or(bad, missing), number(0, dtype), w)
        values = _element(rows, _place_of_share(counted, flat), last, dtype)
    nan = scalar(float("nan"), dtype)
    values = choose(broadcast_to(reshape(spoiled, (1, *outer)), values.aval.shape), nan, values)
    values = values if q.aval.ndim else reshape(values, outer)
    if keepdims:
        shift = q.aval.ndim
        values = with_axes(values, tuple(axis + shift for axis in axes))
    return cast(values, result)


def _rows(x: Value, rest: tuple[int, ...], axes: tuple[int, ...], outer: tuple[int, ...]) -> Value:
    """Bring the axes that are reduced together, at the end."""
    moved = moveaxis(to_array(x), (*rest, *axes), tuple(range(x.aval.ndim)))
    size = 1
    for axis in axes:
        size *= x.aval.shape[axis]
    return reshape(moved, (*outer, size))


def _element(rows: Value, place: Value, last: Value, dtype: Any) -> Value:
    """Read sorted rows at whole places, the nearest ones inside."""
    zero = number(0, place.aval.dtype)
    place = clip(place, zero, extreme.max(last, zero))
    outer = rows.aval.ndim - 1
    places = moveaxis(to_array(cast(place, dtypes.int_dtype())), 0, -1)
    found = cast(take_along_axis(to_array(rows), places, -1, mode="clip"), dtype)
    return moveaxis(found, -1, 0) if outer else found


def _snapped(x: Value) -> Value:
    """Bring numbers that lie beside a half or a whole one to it.

    30 percent of 20 are 6, but XLA multiplies by 0.2 rounded, and steps are at whole numbers.
    """
    dtype = x.aval.dtype
    half = lax.mul(lax.round(lax.add(x, x), 1), number(0.5, dtype))
    slack = lax.mul(lax.abs(x), number(2 * float(dtypes.finfo(dtype).eps), dtype))
    return choose(lax.le(lax.abs(lax.sub(x, half)), slack), half, x)


def _place_of_share(w: Value, q: Value) -> Value:
    """Return the first place up to which the weights add up to a share of them all."""
    total = cumsum(w, w.aval.ndim - 1)
    wanted = lax.mul(q, expand_axis(reductions.sum(w, -1), 0))
    below = lax.lt(expand_axis(total, 0), expand_axis(wanted, wanted.aval.ndim))
    return reductions.sum(below, -1, dtype=w.aval.dtype)


def _interpolate(rows: Value, q: Value, last: Value, method: str) -> Value:
    """Read sorted rows at places between their elements."""
    dtype = q.aval.dtype
    one, half = number(1, dtype), number(0.5, dtype)
    if method in _STEPS:
        rank = _snapped(lax.mul(q, lax.add(last, one)))
        if method == "closest_observation":
            return _element(rows, lax.sub(lax.round(rank, 1), one), last, dtype)
        low, high = lax.sub(lax.ceil(rank), one), lax.floor(rank)
        below = _element(rows, low, last, dtype)
        if method == "inverted_cdf":
            return below
        return lax.mul(lax.add(below, _element(rows, high, last, dtype)), half)
    place = lax.mul(q, last)
    if method in _SHIFTS:
        alpha, beta = _SHIFTS[method]
        shift = lax.add(lax.mul(q, number(2 - alpha - beta, dtype)), number(alpha - 1, dtype))
        place = lax.add(place, shift)
    low, high = lax.floor(place), lax.ceil(place)
    weight = lax.sub(place, low)
    below, above = (_element(rows, where, last, dtype) for where in (low, high))
    if method == "lower":
        return below
    if method == "higher":
        return above
    if method == "nearest":
        return choose(lax.le(weight, half), below, above)
    if method == "midpoint":
        return lax.mul(lax.add(below, above), half)
    return lax.add(lax.mul(below, lax.sub(one, weight)), lax.mul(above, weight))


def quantile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Array:  # fmt: skip
    """Return the elements below which given shares of all elements lie.

    Args:
        a: array of real numbers; integers become floats.
        q: number or vector, from 0 to 1.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        method: how to interpolate: "linear", "lower", "higher", "midpoint", "nearest"; or one of
            Hyndman and Fan's: "inverted_cdf", "averaged_inverted_cdf", "closest_observation",
            "interpolated_inverted_cdf", "hazen", "weibull", "median_unbiased", "normal_unbiased".
        keepdims: bool, whether the axes stay, of size 1.
        weights: how much each element counts, an array of a's shape or of that of the axes; with
            "inverted_cdf" only.

    Returns:
        An array without the axes, with the axis of q in front; NaN where there is one, or a weight
        below 0.

    Raises:
        ArgumentError: for an unknown method, or weights with another one than "inverted_cdf".
        DtypeError: for complex numbers.
        ShapeError: for q of several axes, or weights of another shape.

    Example:
        >>> jnp.quantile(jnp.arange(5), 0.25)
        Array(1., dtype=float32)
        >>> jnp.quantile(jnp.arange(5), 0.3, method="hazen")
        Array(1., dtype=float32)

    Source: Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician
    50(4), 1996.
    """
    return _quantile("quantile", a, q, axis, out, method, keepdims, False, 1.0, weights)


def nanquantile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Array:  # fmt: skip
    """Return the elements below which given shares of what is not NaN lie; see `quantile`.

    Args:
        a: array of real numbers; integers become floats.
        q: number or vector, from 0 to 1.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        method: how to interpolate.
        keepdims: bool, whether the axes stay, of size 1.
        weights: how much each element counts.

    Returns:
        An array without the axes, with the axis of q in front.
    """
    return _quantile("nanquantile", a, q, axis, out, method, keepdims, True, 1.0, weights)


def percentile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Array:  # fmt: skip
    """Return the elements below which given percentages of all elements lie; see `quantile`.

    Args:
        a: array of real numbers; integers become floats.
        q: number or vector, from 0 to 100.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        method: how to interpolate.
        keepdims: bool, whether the axes stay, of size 1.
        weights: how much each element counts.

    Returns:
        An array without the axes, with the axis of q in front.
    """
    return _quantile("percentile", a, q, axis, out, method, keepdims, False, 100.0, weights)


def nanpercentile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Array:  # fmt: skip
    """Return the elements below which given percentages of what is not NaN lie; see `quantile`.

    Args:
        a: array of real numbers; integers become floats.
        q: number or vector, from 0 to 100.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        method: how to interpolate.
        keepdims: bool, whether the axes stay, of size 1.
        weights: how much each element counts.

    Returns:
        An array without the axes, with the axis of q in front.
    """
    return _quantile("nanpercentile", a, q, axis, out, method, keepdims, True, 100.0, weights)


def median(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Array:
    """Return the middle element over axes, or the mean of the two in the middle.

    Args:
        a: array of real numbers; integers become floats.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array without the axes; NaN where there is one.
    """
    return _quantile("median", a, 0.5, axis, out, "midpoint", keepdims, False)


def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Array:
    """Return the middle element over axes of what is not NaN; see `median`.

    Args:
        a: array of real numbers; integers become floats.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        overwrite_input: has no effect.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array without the axes.
    """
    return _quantile("nanmedian", a, 0.5, axis, out, "midpoint", keepdims, True)


# ---- covariance


def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: float | None = None,
    fweights: Any = None, aweights: Any = None, dtype: Any = None,
) -> Array:  # fmt: skip
    """Return the covariances of variables.

    Args:
        m: array of one or two axes: a variable per row.
        y: more variables, in the same form.
        rowvar: bool, whether variables are rows; columns if not.
        bias: bool, whether to divide by n instead of n - 1.
        ddof: number, what to divide by less n, in place of `bias`.
        fweights: vector of integers, how often each observation was made.
        aweights: vector of numbers, how much each observation counts.
        dtype: the dtype to compute in and return, floating or complex.

    Returns:
        A matrix, or a number for one variable.

    Raises:
        ShapeError: for more axes, or weights that are not one per observation.
        DtypeError: if `fweights` are not integers.

    Example:
        >>> jnp.cov(jnp.array([[0.0, 1, 2], [2, 1, 0]]))
        Array([[ 1., -1.],
               [-1.,  1.]], dtype=float32)
    """
    kind = None if dtype is None else number_dtype(dtype, "cov")
    lost = int(not bias) if ddof is None else real_number("cov", "ddof", ddof)
    given = [to_array(numeric(v, "cov")) for v in ((m,) if y is None else (m, y))]
    if any(v.aval.ndim > 2 for v in given):
        shapes = " and ".join(repr(v.aval) for v in given)
        raise errors.ShapeError("cov", "arrays of one or two axes", shapes)
    if kind is not None:
        given = [to_array(cast(v, kind)) for v in given]
    same = [to_array(v) for v in promote("cov", *given, to_float=True)]
    turned = [v.aval.ndim == 2 and not rowvar and (i == 0 or v.aval.shape[0] != 1)
              for i, v in enumerate(same)]  # fmt: skip
    rows = [v.T if turn else atleast_2d(v) for v, turn in zip(same, turned, strict=True)]
    table = concatenate(rows, 0)
    weights = [_weights(name, w, table) for name, w in
               (("fweights", fweights), ("aweights", aweights))]  # fmt: skip
    return _cov(table, *weights, lost=lost)


def _weights(name: str, weights: Any, table: Array) -> Value | None:
    """Return the sizes of weights, one per column, in the table's dtype."""
    if weights is None:
        return None
    w = array_operand(weights, "cov")
    if w.aval.shape != table.aval.shape[1:]:
        expected = f"{name} of shape {table.aval.shape[1:]}, one per observation"
        raise errors.ShapeError("cov", expected, repr(w.aval))
    if name == "fweights" and not dtypes.is_integer(w.aval.dtype):
        raise errors.DtypeError("cov", "integers as fweights", repr(w.aval))
    return cast(lax.abs(w), table.aval.dtype)


@fuse
def _cov(x: Value, often: Value | None, much: Value | None, *, lost: float) -> Value:
    dtype = x.aval.dtype
    weights = often if much is None else much if often is None else lax.mul(often, much)
    if weights is None:
        centered = weighted = lax.sub(x, statistics.mean(x, axis=1, keepdims=True))
        count: Value = scalar(float(max(x.aval.shape[1] - lost, 0)), dtype)
    else:
        each = broadcast_to(reshape(weights, (1, weights.aval.size)), x.aval.shape)
        count = reductions.sum(weights)
        mean = lax.div(reductions.sum(lax.mul(x, each), 1, keepdims=True), count)
        centered = lax.sub(x, broadcast_to(mean, x.aval.shape))
        weighted = lax.mul(centered, each)
        if lost:
            share = scalar(lost, dtype)
            if much is not None:
                share = lax.mul(share, lax.div(reductions.sum(lax.mul(weights, much)), count))
            count = lax.sub(count, share)
    made = lax.div(matmul(centered, lax.conj(weighted).T), count)
    return made.squeeze()


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, dtype: Any = None) -> Array:
    """Return the correlations of variables; see `cov`.

    Args:
        x: array of one or two axes: a variable per row.
        y: more variables, in the same form.
        rowvar: bool, whether variables are rows; columns if not.
        dtype: the dtype to compute in and return, floating or complex.

    Returns:
        A matrix, or a number for one variable.
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.aval.ndim:
        return lax.div(c, c)
    spread = lax.sqrt(lax.real(diagonal(c)) if dtypes.is_complex(c.dtype) else diagonal(c))
    spread = cast(spread, c.aval.dtype)
    c = c / spread[:, None] / spread[None, :]
    if dtypes.is_complex(c.dtype):
        return lax.complex(clip(lax.real(c), -1, 1), clip(lax.imag(c), -1, 1))
    return clip(c, -1, 1)
