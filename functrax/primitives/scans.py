"""How prefix combinations along an axis are written: a loop, a tree, or a window.

Measured on 2 CPU cores, float32, ms to run (and s to compile); the tree is what JAX does:

================  ==========  ===========  ===========  ===============
shape and axis    loop        two loops    tree         window
================  ==========  ===========  ===========  ===============
(10000,), 0       0.05 (0.1)  0.07 (0.2)   0.08 (0.6)   0.15 (0.6)
(1000000,), 0     4.7 (0.1)   2.9 (0.2)    2.8 (0.9)    23 (0.6)
(1000, 1000), 0   0.5 (0.1)   0.8 (0.2)    0.8 (0.8)    21 (0.5)
(1000, 1000), 1   1.8 (0.1)   3.4 (0.2)    1.7 (0.4)    7.5 (1.0)
(32, 50000), 1    1.4 (0.1)   6.1 (0.3)    8.5 (1.4)    38 (0.6)
================  ==========  ===========  ===========  ===============

The error of the loop grows with the length (2e-5 of the last element for 10^6 sums); that of the
tree and of two nested loops over blocks does not (4e-7). So the CPU runs a loop, or two where a
long loop would round; a GPU runs the tree, since each step of a loop costs it a launch; a TPU has
hardware for windows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.types import ShapedArray

Combine = Callable[..., Any]
Step = Callable[..., Any]

_LONG = 1024
_COUNTER = ShapedArray((), np.dtype(np.int32))


def with_size(aval: ShapedArray, axis: int, *sizes: int) -> ShapedArray:
    """Return the type with other sizes in the place of one axis."""
    return aval.update(shape=(*aval.shape[:axis], *sizes, *aval.shape[axis + 1 :]))


def prefix(
    b: Any,
    combine: Combine,
    identity: Any,
    x: Any,
    aval: ShapedArray,
    axis: int,
    reverse: bool,
    exact: bool,
) -> Any:
    """Write ``y_i = x_0 o x_1 o ... o x_i`` along an axis for one associative operation.

    Args:
        b: the builder.
        combine: ``(b, left, right, aval) -> value``, elementwise.
        identity: its neutral element.
        x: the values, of type `aval`.
        aval: their type.
        axis: the axis.
        reverse: whether to start from the end.
        exact: whether the operation does not round.
    """
    n = aval.shape[axis]
    if aval.size == 0 or n < 2:
        return x
    if b.platform == "tpu":
        return _window(b, combine, identity, x, aval, axis, reverse)
    if b.platform != "cpu":
        pair = lambda left, right, avals: [combine(b, left[0], right[0], avals[0])]  # noqa: E731
        return tree(b, pair, [x], [aval], axis, reverse)[0]
    if exact or n <= _LONG:
        return loop(b, _step(b, combine), [x], aval, axis, reverse)
    return _blocks(b, combine, identity, x, aval, axis, reverse)


def _step(b: Any, combine: Combine) -> Step:
    return lambda carry, x, aval: combine(b, carry, x, aval)


def loop(
    b: Any, step: Step, inputs: Sequence[Any], aval: ShapedArray, axis: int, reverse: bool
) -> Any:
    """Write a loop along an axis: y_i = step(y_(i-1), slices), from the last input's first slice.

    Args:
        b: the builder.
        step: ``(carry, *slices, aval) -> carry``.
        inputs: arrays of one type.
        aval: that type.
        axis: the axis.
        reverse: whether to start from the end.
    """
    n = aval.shape[axis]
    row = with_size(aval, axis, 1)

    def starts(i: Any) -> list[Any]:
        zero = b.full(0, _COUNTER)
        return [i if k == axis else zero for k in range(aval.ndim)]

    def running(i: Any, *_: Any) -> list[Any]:
        limit = b.full(0 if reverse else n, _COUNTER)
        return [b.compare("GE" if reverse else "LT", i, limit, _COUNTER)]

    def body(i: Any, carry: Any, y: Any, *arrays: Any) -> list[Any]:
        slices = [b.dynamic_slice(x, starts(i), row) for x in (*arrays, y)]
        carry = step(carry, *slices, row)
        y = b.dynamic_update_slice(y, carry, starts(i), aval)
        following = b.op("stablehlo.add", (i, b.full(-1 if reverse else 1, _COUNTER)), _COUNTER)
        return [following, carry, y, *arrays]

    *arrays, y = inputs
    first = b.dynamic_slice(y, starts(b.full(n - 1 if reverse else 0, _COUNTER)), row)
    second = b.full(n - 2 if reverse else 1, _COUNTER)
    types = [_COUNTER, row, *[aval] * len(inputs)]
    operation = b.multi_op("stablehlo.while", (second, first, y, *arrays), types, regions=2)
    b.region(operation.regions[0], types, running)
    b.region(operation.regions[1], types, body)
    return operation.results[2]


def _blocks(
    b: Any, combine: Combine, identity: Any, x: Any, aval: ShapedArray, axis: int, reverse: bool
) -> Any:
    """Loop within blocks of about sqrt(n) elements, then over blocks, and combine."""
    n = aval.shape[axis]
    length = math.isqrt(n - 1) + 1
    count = -(-n // length)
    fill = b.full(identity, ShapedArray((), aval.dtype))
    blocked = with_size(aval, axis, count, length)
    whole = with_size(aval, axis, count * length)
    if count * length > n:
        x = _edges(b, x, fill, whole, axis, 0, count * length - n)
    step = _step(b, combine)
    y = loop(b, step, [b.reshape(x, blocked)], blocked, axis + 1, reverse)
    ends = with_size(aval, axis, count, 1)
    last = b.reshape(
        _cut(b, y, ends, axis + 1, 0 if reverse else length - 1, 1), with_size(aval, axis, count)
    )
    totals = with_size(aval, axis, count)
    before = loop(b, step, [last], totals, axis, reverse) if count > 1 else last
    shift = (-1, 1) if reverse else (1, -1)
    before = _edges(b, before, fill, totals, axis, *shift)
    dims = [k for k in range(blocked.ndim) if k != axis + 1]
    spread = b.broadcast(before, blocked, dims)
    joined = b.reshape(combine(b, spread, y, blocked), whole)
    return _cut(b, joined, aval, axis, 0, 1) if count * length > n else joined


def _edges(b: Any, x: Any, fill: Any, out: ShapedArray, axis: int, low: int, high: int) -> Any:
    """Pad (or cut) the edges of one axis."""
    lows, highs = [0] * out.ndim, [0] * out.ndim
    lows[axis], highs[axis] = low, high
    return b.pad(x, fill, out, lows, highs, (0,) * out.ndim)


def _cut(b: Any, x: Any, out: ShapedArray, axis: int, start: int, stride: int) -> Any:
    """Slice one axis: as many elements as `out` has, from `start` in steps of `stride`."""
    starts, limits, strides = [0] * out.ndim, list(out.shape), [1] * out.ndim
    starts[axis], strides[axis] = start, stride
    limits[axis] = start + (out.shape[axis] - 1) * stride + 1
    return b.slice(x, out, starts, limits, strides)


def tree(
    b: Any,
    combine: Combine,
    xs: Sequence[Any],
    avals: Sequence[ShapedArray],
    axis: int,
    reverse: bool,
) -> list[Any]:
    """Write the prefix combinations of tuples: combine pairs, recur on them, fill in the others.

    Args:
        b: the builder.
        combine: ``(left, right, avals) -> values``, elementwise over tuples of arrays.
        xs: one array per component.
        avals: their types, equal along the axis.
        axis: the axis.
        reverse: whether to start from the end.
    """
    if reverse:
        flipped = [b.reverse(x, aval, (axis,)) for x, aval in zip(xs, avals, strict=True)]
        results = tree(b, combine, flipped, avals, axis, False)
        return [b.reverse(y, aval, (axis,)) for y, aval in zip(results, avals, strict=True)]
    n = avals[0].shape[axis]
    if n < 2:
        return list(xs)
    half, rest = n // 2, (n - 1) // 2
    paired = [with_size(aval, axis, half) for aval in avals]
    even, odd = (_columns(b, xs, paired, axis, start) for start in (0, 1))
    odd = tree(b, combine, combine(even, odd, paired), paired, axis, False)
    later = [with_size(aval, axis, rest) for aval in avals]
    before = [_cut(b, x, aval, axis, 0, 1) for x, aval in zip(odd, later, strict=True)]
    filled = combine(before, _columns(b, xs, later, axis, 2), later) if rest else [None] * len(xs)
    one = [with_size(aval, axis, 1) for aval in avals]
    first = [_cut(b, x, aval, axis, 0, 1) for x, aval in zip(xs, one, strict=True)]
    return [_interleave(b, *parts, axis) for parts in zip(first, filled, odd, avals, strict=True)]


def _columns(
    b: Any, xs: Sequence[Any], avals: Sequence[ShapedArray], axis: int, start: int
) -> list[Any]:
    """Take every other element."""
    if not avals[0].shape[axis]:
        return list(xs)
    return [_cut(b, x, aval, axis, start, 2) for x, aval in zip(xs, avals, strict=True)]


def _interleave(b: Any, first: Any, even: Any, odd: Any, aval: ShapedArray, axis: int) -> Any:
    """Return first, odd_0, even_0, odd_1, even_1, ... along the axis."""
    n = aval.shape[axis]
    half, rest = n // 2, (n - 1) // 2
    column = with_size(aval, axis, rest, 1)
    parts = [first]
    if rest:
        kept = odd if half == rest else _cut(b, odd, with_size(aval, axis, rest), axis, 0, 1)
        pair = [b.reshape(kept, column), b.reshape(even, column)]
        stacked = b.concatenate(pair, with_size(aval, axis, rest, 2), axis + 1)
        parts.append(b.reshape(stacked, with_size(aval, axis, 2 * rest)))
    if half > rest:
        parts.append(_cut(b, odd, with_size(aval, axis, 1), axis, half - 1, 1))
    return b.concatenate(parts, aval, axis)


def _window(
    b: Any, combine: Combine, identity: Any, x: Any, aval: ShapedArray, axis: int, reverse: bool
) -> Any:
    """Reduce over windows that reach from each element to the start of the axis."""
    ones, n = (1,) * aval.ndim, aval.shape[axis]
    element = ShapedArray((), aval.dtype)
    window, padding = list(ones), [(0, 0)] * aval.ndim
    window[axis], padding[axis] = n, (0, n - 1) if reverse else (n - 1, 0)
    return b.reduce_window(
        x,
        b.full(identity, element),
        aval,
        lambda left, right: combine(b, left, right, element),
        window_dimensions=window,
        window_strides=ones,
        padding=padding,
        base_dilation=ones,
        window_dilation=ones,
    )


def wide(dtype: Any) -> Any:
    """Return the dtype to accumulate in: float32 for narrower floats."""
    narrow = dtypes.is_floating(dtype) and dtype.itemsize < 4
    return np.dtype(np.float32) if narrow else dtype
