"""Interpolation, convolution, integrals and histograms."""

from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy import reductions
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import array, full
from functrax.numpy.cumulative import cumsum
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import moveaxis, ravel
from functrax.numpy.operands import (
    array_operand,
    cast,
    inexact,
    is_python_scalar,
    number,
    promote,
    refuse_keys,
    to_array,
)
from functrax.numpy.ranges import linspace
from functrax.numpy.sets import bincount
from functrax.numpy.sorting import searchsorted
from functrax.numpy.taking import diff, take
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert
from functrax.primitives.convolution import conv_general_dilated
from functrax.primitives.precision import canonical_precision
from functrax.primitives.rules import reshape
from functrax.primitives.shape import canonical_axis, rev
from functrax.primitives.slice_along import slice_in_dim
from functrax.primitives.sort import argsort
from functrax.transforms.fuse import fuse

# ---- interpolation and integrals


def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Array:
    """Interpolate linearly between points.

    Args:
        x: array of places.
        xp: vector of the points' places, ascending.
        fp: vector of the points' values, which may be complex.
        left: value below the first place; the first value by default; or "extrapolate".
        right: value above the last place; the last value by default; or "extrapolate".
        period: number, if places repeat.

    Returns:
        A floating or complex array of x's shape.

    Raises:
        ShapeError: if xp and fp are not vectors of one length.
        DtypeError: if places are complex.

    Example:
        >>> jnp.interp(1.5, jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0]))
        Array(15., dtype=float32)
    """
    ends = [None if end is None or isinstance(end, str) else end for end in (left, right)]
    x, xp, fp, *known = _of_places(x, xp, fp, *[end for end in ends if end is not None])
    ends = [None if end is None else known.pop(0) for end in ends]
    if xp.aval.ndim != 1 or fp.aval.shape != xp.aval.shape or not xp.aval.size:
        raise errors.ShapeError(
            "interp", "vectors of points of one length", f"{xp.aval!r} and {fp.aval!r}"
        )
    for end in (left, right):
        if isinstance(end, str) and end != "extrapolate":
            raise errors.ArgumentError("interp", "a number or 'extrapolate'", repr(end))
    if period is not None:
        if left is not None or right is not None:
            raise errors.ArgumentError("interp", "left=None and right=None with a period", "an end")
        period = cast(array_operand(period, "interp"), x.aval.dtype)
        x, xp, fp = _periodic(x, xp, fp, period)
    flags = tuple(isinstance(end, str) for end in (left, right))
    return _interp(x, xp, fp, *ends, extrapolate=flags)


def _of_places(x: Any, xp: Any, *values: Any) -> list[Array]:
    """Return places and values in their common dtype, the places in its real one."""
    places = promote("interp", x, xp, to_float=True)
    if dtypes.is_complex(places[0].aval.dtype):
        raise errors.DtypeError("interp", "real places", repr(places[0].aval))
    found = promote("interp", *places, *values, to_float=True)
    real = dtypes.to_real(found[0].aval.dtype)
    return [to_array(v) for v in (*[cast(p, real) for p in places], *found[2:])]


@fuse
def _periodic(x: Value, xp: Value, fp: Value, period: Value) -> Any:
    x, xp = x % period, xp % period
    order = argsort(xp)
    xp, fp = take(xp, order), take(fp, order)
    xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, concatenate([fp[-1:], fp, fp[:1]])


@fuse
def _interp(
    x: Value,
    xp: Value,
    fp: Value,
    left: Value | None,
    right: Value | None,
    *,
    extrapolate: tuple[bool, bool],
) -> Value:
    size = xp.aval.size
    place = searchsorted(xp, x, "right").clip(1, max(size - 1, 1))
    below = lax.sub(place, number(1, place.aval.dtype))
    x0, x1 = take(xp, below, mode="clip"), take(xp, place, mode="clip")
    y0, y1 = take(fp, below, mode="clip"), take(fp, place, mode="clip")
    width = lax.sub(x1, x0)
    flat = lax.le(
        lax.abs(width),
        number(float(np.spacing(dtypes.finfo(width.aval.dtype).eps)), width.aval.dtype),
    )
    share = lax.div(lax.sub(x, x0), choose(flat, number(1, width.aval.dtype), width))
    share = cast(share, fp.aval.dtype)
    found = choose(flat, y0, lax.add(y0, lax.mul(share, lax.sub(y1, y0))))
    if not extrapolate[0]:
        found = choose(lax.lt(x, xp[0]), fp[0] if left is None else left, found)
    if not extrapolate[1]:
        found = choose(lax.gt(x, xp[-1]), fp[-1] if right is None else right, found)
    return found


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Array:
    """Integrate by the trapezoidal rule.

    Args:
        y: array of values.
        x: the places: a vector, or an array of y's shape; at equal distances if None.
        dx: number, that distance.
        axis: int.

    Returns:
        A floating array without the axis.
    """
    if x is None:
        y, dx = (to_array(v) for v in promote("trapezoid", inexact(y, "trapezoid"), dx))
        rows = moveaxis(y, axis, -1)
    else:
        y, x = (to_array(v) for v in promote("trapezoid", y, x, to_float=True))
        rows = moveaxis(y, axis, -1)
        dx = diff(x) if x.aval.ndim == 1 else moveaxis(diff(x, axis=axis), axis, -1)
    return (dx * (rows[..., 1:] + rows[..., :-1])).sum(-1) * 0.5


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int | None = None) -> Any:
    """Return the derivative by central differences.

    Args:
        f: array of values.
        *varargs: the distance of neighbours: one number, or one per axis, or vectors of places.
        axis: int or sequence of ints; all axes if None.
        edge_order: must be None or 1.

    Returns:
        An array of f's shape, or a list of one per axis.

    Raises:
        ArgumentError: for another number of distances.
        ShapeError: for an axis of fewer than two elements.
    """
    if edge_order not in (None, 1):
        raise errors.ArgumentError("gradient", "edge_order=None or 1", repr(edge_order))
    x = array_operand(f, "gradient")
    x = x if dtypes.is_inexact(x.aval.dtype) else x.astype(float)
    axes = reductions.axes_or_all("gradient", axis, x.aval.ndim)
    if len(varargs) not in (0, 1, len(axes)):
        raise errors.ArgumentError(
            "gradient", f"no, one or {len(axes)} distances", str(len(varargs))
        )
    steps = varargs or (1.0,)
    steps = steps * len(axes) if len(steps) == 1 else steps
    found = [_derivative(x, h, i) for h, i in zip(steps, axes, strict=True)]
    return found[0] if len(found) == 1 else found


def _derivative(x: Array, step: Any, axis: int) -> Array:
    size = x.aval.shape[axis]
    if size < 2:
        raise errors.ShapeError("gradient", f"two or more elements along axis {axis}", repr(x.aval))
    if not is_python_scalar(step):
        step = array(step, copy=False)
        refuse_keys("gradient", step)
    if np.shape(step) not in ((), (size,)):
        expected = f"a number or a vector of {size} places as the distance along axis {axis}"
        raise errors.ShapeError("gradient", expected, f"shape {step.shape}")

    def part(low: int, high: int) -> Array:
        return slice_in_dim(x, low, high, axis=axis)

    if not np.shape(step):
        inner = (part(2, size) - part(0, size - 2)) * 0.5
        ends = part(1, 2) - part(0, 1), part(size - 1, size) - part(size - 2, size - 1)
        return concatenate([ends[0], inner, ends[1]], axis) / step
    spaces = diff(step)
    shape = [1] * x.aval.ndim
    shape[axis] = -1
    low, high = spaces[:-1].reshape(shape), spaces[1:].reshape(shape)
    inner = (
        -high / (low * (low + high)) * part(0, size - 2)
        + (high - low) / (low * high) * part(1, size - 1)
        + low / (high * (low + high)) * part(2, size)
    )
    first = (part(1, 2) - part(0, 1)) / spaces[0]
    last = (part(size - 1, size) - part(size - 2, size - 1)) / spaces[-1]
    return concatenate([first, inner, last], axis)


# ---- convolution


def convolve(
    a: Any, v: Any, mode: str = "full", *, precision: Any = None, preferred_element_type: Any = None
) -> Array:
    """Convolve two vectors.

    Args:
        a: vector.
        v: vector.
        mode: "full", "same" (as long as the longer one) or "valid" (where they overlap fully).
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.

    Returns:
        A vector.

    Raises:
        ShapeError: if they are not vectors with elements.

    Example:
        >>> jnp.convolve(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
        Array([1., 3., 2.], dtype=float32)
    """
    return _slide("convolve", a, v, mode, precision, preferred_element_type)


def correlate(
    a: Any,
    v: Any,
    mode: str = "valid",
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Correlate two vectors: convolve with the other one reversed and conjugated.

    Args:
        a: vector.
        v: vector.
        mode: "full", "same" (as long as the longer one) or "valid" (where they overlap fully).
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.

    Returns:
        A vector.

    Raises:
        ShapeError: if they are not vectors with elements.
    """
    return _slide("correlate", a, v, mode, precision, preferred_element_type)


def _slide(call: str, a: Any, v: Any, mode: str, precision: Any, preferred: Any) -> Array:
    a, v = (to_array(x) for x in promote(call, a, v, to_float=True))
    if mode not in ("full", "same", "valid"):
        raise errors.ArgumentError(call, "mode='full', 'same' or 'valid'", repr(mode))
    if a.aval.ndim != 1 or v.aval.ndim != 1 or not a.aval.size or not v.aval.size:
        raise errors.ShapeError(call, "two vectors with elements", f"{a.aval!r} and {v.aval!r}")
    preferred = None if preferred is None else dtypes.canonicalize(preferred, call)
    return _slid(
        a, v, mode=mode, correlates=call == "correlate",
        precision=canonical_precision(precision, call), preferred=preferred,
    )  # fmt: skip


@fuse
def _slid(
    a: Value, v: Value, *, mode: str, correlates: bool, precision: Any, preferred: Any
) -> Value:
    """Slide the shorter vector along the longer one."""
    exchanged = a.aval.size < v.aval.size
    if correlates:
        v = lax.conj(v)
    long, short = (v, a) if exchanged else (a, v)
    if not correlates:
        short = rev(short, (0,))
    size = short.aval.size
    low, high = size // 2, size - size // 2 - 1
    padding = {
        "valid": (0, 0),
        "full": (size - 1, size - 1),
        "same": (low, high),
    }[mode]
    found = conv_general_dilated(
        reshape(long, (1, 1, long.aval.size)), reshape(short, (1, 1, size)), (1,), [padding],
        precision=precision, preferred_element_type=preferred,
    )  # fmt: skip
    found = reshape(found, (found.aval.size,))
    found = rev(found, (0,)) if correlates and exchanged else found
    weak = preferred is None and a.aval.weak_type and v.aval.weak_type
    return convert(found, found.aval.dtype, weak)


# ---- histograms


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Array:
    """Return the limits of the bins of a histogram.

    Args:
        a: array.
        bins: int, a number of bins of equal width; or a vector of limits.
        range: (low, high) of the bins; the least and greatest element if None.
        weights: has no effect.

    Returns:
        A vector of limits, of the array's dtype; integers become floats.
    """
    x = ravel(array_operand(a, "histogram_bin_edges"))
    if isinstance(bins, str):
        raise errors.ArgumentError("histogram", "a number of bins, or limits", repr(bins))
    x = x if dtypes.is_inexact(x.aval.dtype) else x.astype(float)
    if getattr(bins, "ndim", 0) == 1 or isinstance(bins, list | tuple):
        return array(bins, x.aval.dtype, copy=False)
    count = integer("histogram", "bins", bins)
    if range is None and x.aval.size:
        low, high = reductions.min(x), reductions.max(x)
    else:
        limits = (0.0, 1.0) if range is None else range
        if not hasattr(limits, "__len__") or len(limits) != 2:
            raise errors.ArgumentError("histogram", "a pair of limits as range", repr(range))
        low, high = (array(v).astype(x.aval.dtype) for v in limits)
    same = lax.eq(low, high)
    half = number(0.5, low.aval.dtype)
    low, high = choose(same, lax.sub(low, half), low), choose(same, lax.add(high, half), high)
    return linspace(low, high, count + 1)


def histogram(
    a: Any, bins: Any = 10, range: Any = None, weights: Any = None, density: bool | None = None
) -> tuple[Array, Array]:
    """Count elements in bins.

    Args:
        a: array.
        bins: int, a number of bins of equal width; or a vector of limits.
        range: (low, high) of the bins; the least and greatest element if None.
        weights: array of what each element counts; 1 if None.
        density: bool, whether to divide so that the integral is 1.

    Returns:
        ``(counts, limits)``; the last bin includes its upper limit.
    """
    x = ravel(array_operand(a, "histogram"))
    x, each = promote("histogram", x, 1 if weights is None else ravel(weights), to_float=True)
    each = full(x.aval.shape, 1, x.aval.dtype) if weights is None else each
    limits = histogram_bin_edges(x, bins, range)
    count = limits.aval.size - 1
    place = searchsorted(limits, x, "right")
    place = choose(lax.eq(x, limits[-1]), number(count, place.aval.dtype), place)
    counts = bincount(place, each, length=count + 2)[1 : count + 1]
    if density:
        width = diff(limits)
        counts = counts / width / counts.sum()
    return counts, limits


def unwrap(p: Any, discont: Any = None, axis: int = -1, period: Any = 2 * np.pi) -> Array:
    """Add multiples of a period so that neighbours differ by no more than half of it.

    Args:
        p: array.
        discont: number, the least difference that is changed; half a period by default.
        axis: int.
        period: number.

    Returns:
        An array of the same shape.
    """
    x = array_operand(p, "unwrap")
    period = _difference("period", period)
    if discont is not None:
        discont = _difference("discont", discont)
    if not dtypes.is_inexact(x.aval.dtype) and isinstance(period, float):
        x = x.astype(float)
    axis = canonical_axis("unwrap", axis, x.aval.ndim)
    if not x.aval.shape[axis]:
        return x
    step = diff(x, axis=axis)
    half = period / 2 if isinstance(period, float) else period // 2
    wrapped = (step + half) % period - half
    edge = lax.bitwise_and(wrapped == -half, step > 0)
    wrapped = choose(edge, cast(array(half), wrapped.dtype), wrapped)
    change = wrapped - step
    limit = half if discont is None else discont
    change = choose(abs(step) < limit, number(0, change.dtype), change)
    rest = slice_in_dim(x, 1, x.aval.shape[axis], axis=axis) + cumsum(change, axis)
    return concatenate([slice_in_dim(x, 0, 1, axis=axis), rest.astype(x.dtype)], axis)


def _difference(name: str, value: Any) -> Any:
    """Return a difference of `unwrap`: a Python number as it is, anything else as an array.

    Raises:
        ArgumentError: if it is neither.
    """
    if isinstance(value, int | float):
        return value
    try:
        return array_operand(value, "unwrap")
    except errors.ArgumentError as error:
        expected = f"a number or an array for {name!r}"
        raise errors.ArgumentError("unwrap", expected, error.got, fix=error.fix) from error
