"""Padding and rolling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, describe
from functrax.numpy import quantiles, reductions, statistics
from functrax.numpy.creation import in_dtype
from functrax.numpy.functions import round as round_to
from functrax.numpy.manipulation import axes_of, one_or_several
from functrax.numpy.mapping import apply_along_axis
from functrax.numpy.operands import array_operand, operand
from functrax.numpy.ranges import linspace
from functrax.primitives import elementwise as lax
from functrax.primitives import join
from functrax.primitives.convert import convert
from functrax.primitives.rules import broadcast_to, scalar
from functrax.primitives.shape import canonical_axis, rev
from functrax.primitives.slice_along import dynamic_slice_in_dim, slice_in_dim
from functrax.transforms.fuse import fuse

Pairs = tuple[tuple[int, int], ...]

_OPTIONS = {
    "constant": "constant_values", "empty": "", "edge": "", "wrap": "", "reflect": "reflect_type",
    "symmetric": "reflect_type", "linear_ramp": "end_values", "maximum": "stat_length",
    "minimum": "stat_length", "mean": "stat_length", "median": "stat_length",
}  # fmt: skip


def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Array:
    """Put elements around an array.

    Args:
        array: array.
        pad_width: how many elements before and behind: an int, (before, behind), a pair for each
            axis, or a dict of axis to int or pair.
        mode: "constant", "edge" (the last element repeats), "reflect" and "symmetric" (mirrored at
            the last element, or behind it), "wrap", "linear_ramp", "maximum", "minimum", "mean",
            "median", "empty" (zeros); or a function ``(row, widths, axis, kwargs) -> row`` of each
            row along an axis, with zeros at its ends, and the pair of widths.
        **kwargs: `constant_values` or `end_values`: number, pair, or pair for each axis;
            `stat_length`: the same with ints, None for the whole axis; `reflect_type`: "even" or
            "odd"; for a function, what it takes as `kwargs`.

    Returns:
        An array.

    Raises:
        ArgumentError: for another mode or argument, or negative widths.
        ShapeError: if an empty axis is to be continued.

    Example:
        >>> jnp.pad(jnp.arange(3), 1)
        Array([0, 0, 1, 2, 0], dtype=int32)
        >>> jnp.pad(jnp.arange(3), (0, 2), mode="reflect")
        Array([0, 1, 2, 1, 0], dtype=int32)
    """
    x = array_operand(array, "pad")
    rank = x.aval.ndim
    widths = _widths(pad_width, rank)
    if callable(mode):
        return _pad_by(x, widths, mode, kwargs)
    option = _OPTIONS.get(mode) if isinstance(mode, str) else None
    unknown = [key for key in kwargs if key != option]
    if option is None or unknown:
        raise errors.ArgumentError(
            "pad",
            f"a mode among {', '.join(_OPTIONS)}, with its own arguments",
            f"mode={mode!r}" + "".join(f", {key}={kwargs[key]!r}" for key in unknown),
        )
    if mode in ("constant", "empty"):
        return _pad_constant(x, widths, kwargs.get("constant_values", 0))
    if mode == "linear_ramp":
        return _pad_ramp(x, widths, kwargs.get("end_values", 0))
    if mode in ("maximum", "minimum", "mean", "median"):
        lengths = _pairs_or_none(kwargs.get("stat_length"), rank)
        return _pad_statistic(x, widths=widths, mode=mode, lengths=lengths)
    kind = kwargs.get("reflect_type", "even")
    if kind not in ("even", "odd"):
        raise errors.ArgumentError("pad", "reflect_type='even' or 'odd'", repr(kind))
    for axis, (before, behind) in enumerate(widths):
        if x.aval.shape[axis] == 0 and before + behind:
            raise errors.ShapeError("pad", f"elements along axis {axis} to continue", repr(x.aval))
    return _continue(x, widths=widths, mode=mode, odd=kind == "odd")


def _widths(pad_width: Any, rank: int) -> Pairs:
    """Return one pair of widths per axis."""
    if isinstance(pad_width, dict):
        pairs: list[Any] = [(0, 0)] * rank
        for axis, width in pad_width.items():
            pairs[canonical_axis("pad", axis, rank)] = (
                width if isinstance(width, tuple) else (width, width)
            )
        pad_width = pairs
    try:
        values = (
            np.broadcast_to(np.asarray(pad_width), (rank, 2)) if rank else np.zeros((0, 2), int)
        )
        found = tuple((int(low), int(high)) for low, high in values)
    except (TypeError, ValueError) as error:
        if isinstance(error, errors.FunctraxError):
            raise
        raise errors.ArgumentError(
            "pad", f"widths: an int, a pair, or {rank} pairs", repr(pad_width)
        ) from None
    if values.dtype.kind not in "iu" or any(width < 0 for pair in found for width in pair):
        raise errors.ArgumentError("pad", "widths that are non-negative integers", repr(pad_width))
    return found


def _pairs_or_none(lengths: Any, rank: int) -> Pairs | None:
    return None if lengths is None else _widths(lengths, rank)


def _like(x: Value, value: Value) -> Value:
    """Return what is put around an array in its dtype, and weak if that is."""
    return convert(value, x.aval.dtype, x.aval.weak_type)


def _fillers(values: Any, x: Array) -> list[list[Value]]:
    """Return the value before and behind, for each axis, in the array's dtype."""
    v = _like(x, in_dtype(values, x.aval.dtype, "pad"))
    if not v.aval.shape:
        return [[v, v]] * x.aval.ndim
    table = broadcast_to(v, (x.aval.ndim, 2)) if v.aval.ndim <= 2 else v
    return [[table[axis, side] for side in (0, 1)] for axis in range(x.aval.ndim)]


def _pad_constant(x: Array, widths: Pairs, values: Any) -> Array:
    if not isinstance(values, list | tuple) and not getattr(values, "shape", ()):
        filler = _like(x, in_dtype(values, x.aval.dtype, "pad"))
        return join.pad(x, filler, [(low, high, 0) for low, high in widths])
    for axis, fillers in enumerate(_fillers(values, x)):
        for side, filler in enumerate(fillers):
            config = [(0, 0, 0)] * x.aval.ndim
            width = widths[axis][side]
            config[axis] = (width, 0, 0) if side == 0 else (0, width, 0)
            x = join.pad(x, filler, config) if width else x
    return x


def _pad_by(x: Array, widths: Pairs, function: Callable[..., Any], options: Any) -> Array:
    """Put zeros around an array and call a user's function with each row, axis by axis."""
    x = _pad_constant(x, widths, 0)
    for axis, pair in enumerate(widths):
        size = x.aval.shape[axis]

        def checked(row: Any, pair: Any = pair, axis: int = axis, size: int = size) -> Any:
            made = function(row, pair, axis, options)
            if np.shape(made) != (size,):
                expected = f"a function that returns {size} elements for a row of them as mode"
                fix = "Arrays are immutable: return the changed row."
                raise errors.ShapeError("pad", expected, describe(made), fix=fix)
            return made

        x = apply_along_axis(checked, axis, x)
    return x


def _end(x: Value, axis: int, behind: bool) -> Value:
    """Return the last element along an axis, on either side."""
    size = x.aval.shape[axis]
    return (
        slice_in_dim(x, size - 1, size, axis=axis) if behind else slice_in_dim(x, 0, 1, axis=axis)
    )


def _repeated(x: Value, axis: int, count: int) -> Value:
    shape = list(x.aval.shape)
    shape[axis] = count
    return broadcast_to(x, tuple(shape))


def _pad_ramp(x: Array, widths: Pairs, values: Any) -> Array:
    for axis, fillers in enumerate(_fillers(values, x)):
        parts: list[Value] = [x]
        for side, filler in enumerate(fillers):
            width = widths[axis][side]
            if not width:
                continue
            edge = _end(x, axis, bool(side))
            edge = edge.reshape(edge.aval.shape[:axis] + edge.aval.shape[axis + 1 :])
            ramp = linspace(filler, edge, width, endpoint=False, dtype=x.aval.dtype, axis=axis)
            ramp = _like(x, ramp)
            parts = [*parts, rev(ramp, (axis,))] if side else [ramp, *parts]
        x = join.concatenate(parts, axis)
    return x


@fuse
def _pad_statistic(x: Value, *, widths: Pairs, mode: str, lengths: Pairs | None) -> Value:
    reduce: Callable[..., Value] = {
        "maximum": reductions.max, "minimum": reductions.min, "mean": statistics.mean,
        "median": quantiles.median,
    }[mode]  # fmt: skip
    for axis, pair in enumerate(widths):
        size = x.aval.shape[axis]
        taken = (size, size) if lengths is None else [min(n, size) for n in lengths[axis]]
        head = slice_in_dim(x, 0, taken[0], axis=axis)
        tail = slice_in_dim(x, size - taken[1], size, axis=axis)
        ends = [reduce(part, axis=axis, keepdims=True) for part in (head, tail)]
        if dtypes.is_integer(x.aval.dtype):
            ends = [round_to(end) for end in ends]
        ends = [_repeated(_like(x, e), axis, n) for e, n in zip(ends, pair, strict=True)]
        x = join.concatenate([ends[0], x, ends[1]], axis)
    return x


@fuse
def _continue(x: Value, *, widths: Pairs, mode: str, odd: bool) -> Value:
    for axis, (before, behind) in enumerate(widths):
        if not before + behind:
            continue
        if mode == "edge" or (mode == "reflect" and x.aval.shape[axis] == 1):
            low = _repeated(_end(x, axis, False), axis, before)
            high = _repeated(_end(x, axis, True), axis, behind)
            x = join.concatenate([part for part in (low, x, high) if part.aval.size], axis)
        elif mode == "wrap":
            x = _wrapped(x, axis, before, behind)
        else:
            x = _mirrored(x, axis, before, behind, int(mode == "reflect"), odd)
    return x


def _wrapped(x: Value, axis: int, before: int, behind: int) -> Value:
    size = x.aval.shape[axis]
    low, high = before % size, behind % size
    parts = [x] * (1 + before // size + behind // size)
    if low:
        parts.insert(0, slice_in_dim(x, size - low, size, axis=axis))
    if high:
        parts.append(slice_in_dim(x, 0, high, axis=axis))
    return join.concatenate(parts, axis)


def _mirrored(x: Value, axis: int, before: int, behind: int, skip: int, odd: bool) -> Value:
    """Continue by mirror images, as often as the widths need."""
    while before or behind:
        size = x.aval.shape[axis]
        low, high = min(before, size - skip), min(behind, size - skip)
        head = rev(slice_in_dim(x, skip, skip + low, axis=axis), (axis,))
        tail = rev(slice_in_dim(x, size - skip - high, size - skip, axis=axis), (axis,))
        if odd:
            two = scalar(2, x.aval.dtype)
            head = lax.sub(lax.mul(two, _end(x, axis, False)), head)
            tail = lax.sub(lax.mul(two, _end(x, axis, True)), tail)
        x = join.concatenate([part for part in (head, x, tail) if part.aval.shape[axis]], axis)
        before, behind = before - low, behind - high
    return x


# ---- roll


def roll(a: Any, shift: Any, axis: Any = None) -> Array:
    """Move elements along axes; what leaves at one end comes in at the other.

    Args:
        a: array.
        shift: how far: an int, one per axis, or an array of ints.
        axis: int or sequence of ints; None rolls the elements of the whole array, row by row.

    Returns:
        An array of the same shape.

    Raises:
        ArgumentError: if the numbers of shifts and axes do not fit.

    Example:
        >>> jnp.roll(jnp.arange(4), 1)
        Array([3, 0, 1, 2], dtype=int32)
    """
    x = array_operand(a, "roll")
    if axis is None:
        return roll(x.reshape(-1), shift, 0).reshape(x.aval.shape)
    axes = [axes_of("roll", item, x.aval.ndim)[0] for item in one_or_several(axis)]
    shifts = (
        list(shift) if isinstance(shift, list | tuple) or getattr(shift, "shape", ()) else [shift]
    )
    if 1 not in (len(axes), len(shifts)) and len(axes) != len(shifts):
        raise errors.ArgumentError("roll", "one shift per axis", f"{shift!r} for axis {axis!r}")
    count = len(shifts) if len(axes) == 1 else len(axes)
    axes = axes * count if len(axes) == 1 else axes
    shifts = shifts * count if len(shifts) == 1 else shifts
    if not count:
        return x
    if all(isinstance(s, int | np.integer) for s in shifts):
        return _roll_by(x, shifts=tuple(map(int, shifts)), axes=tuple(axes))
    return _roll_traced(x, *(operand(s, "roll") for s in shifts), axes=tuple(axes))


@fuse
def _roll_by(x: Value, *, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    for shift, axis in zip(shifts, axes, strict=True):
        size = x.aval.shape[axis]
        cut = -shift % size if size else 0
        if cut:
            parts = slice_in_dim(x, cut, size, axis=axis), slice_in_dim(x, 0, cut, axis=axis)
            x = join.concatenate(parts, axis)
    return x


@fuse
def _roll_traced(x: Value, *shifts: Value, axes: tuple[int, ...]) -> Value:
    for shift, axis in zip(shifts, axes, strict=True):
        size = x.aval.shape[axis]
        if size:
            if dtypes.is_integer(shift.aval.dtype) and shift.aval.dtype.itemsize < 4:
                shift = convert(shift, dtypes.int32)
            start = size - shift % size  # no negative number, which unsigned dtypes lack
            x = dynamic_slice_in_dim(join.concatenate([x, x], axis), start, size, axis)
    return x
