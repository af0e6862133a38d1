"""Samplers that pick among given things: permutation, choice, categorical."""

import math
import operator
from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, as_value, bind
from functrax.primitives.argmax import argmax
from functrax.primitives.convert import convert
from functrax.primitives.cumulative import cumsum
from functrax.primitives.elementwise import add, bitwise_and, log, lt, mul, sub
from functrax.primitives.gather import GatherDimensionNumbers, GatherScatterMode, gather
from functrax.primitives.rules import full, move_axis, reshape
from functrax.primitives.shape import canonical_axis, iota_p
from functrax.primitives.slice_along import index_in_dim, slice_in_dim
from functrax.primitives.sort import sort_key_val, top_k
from functrax.random.arguments import (
    aligned,
    bits_of,
    constant,
    shape_of,
    single_key,
    split_in,
    where,
)
from functrax.random.sampling_basic import randint, uniform
from functrax.random.sampling_gumbel import gumbel, known_mode
from functrax.transforms.fuse import fuse

# permutation --------------------------------------------------------------------------------------


def permutation(
    key: Any, x: Any, axis: int = 0, independent: bool = False, *, out_sharding: Any = None
) -> Array:
    """Put the elements of an array, or the first integers, in random order.

    Args:
        key: a PRNG key, typed or raw.
        x: an array; or an integer n, for the integers from 0 to n - 1.
        axis: the axis along which to shuffle; negative ones count from the end.
        independent: whether each vector along the axis gets an order of its own.
        out_sharding: not used yet; None.

    Returns:
        An array of the shape and dtype of `x`; or of shape (n,) and the default integer dtype.

    Raises:
        KeyTypeError, ShapeError: if the key is not one.
        DtypeError: if `x` is a scalar that is not an integer.
        BoundsError: if the axis is out of range.

    Example:
        >>> from functrax.random import key
        >>> permutation(key(0), 4)
        Array([0, 1, 3, 2], dtype=int32)
    """
    key = single_key("permutation", key)
    x = as_value(x, "permutation")
    canonical_axis("permutation", axis, x.aval.ndim or 1)
    if not x.aval.shape:
        return _shuffled_range(key, size=max(_count("permutation", x), 0))
    axis = canonical_axis("permutation", axis, x.aval.ndim)
    return _permutation(key, x, axis=axis, independent=bool(independent))


def _count(call: str, x: Value) -> int:
    """Return a scalar as a number of things."""
    if not dtypes.is_integer(x.aval.dtype):
        expected = "an array of at least one axis, or an integer"
        raise errors.DtypeError(call, expected, repr(x.aval))
    return operator.index(x.numpy().item() if hasattr(x, "numpy") else x)


@fuse
def _shuffled_range(key: Value, *, size: int) -> Value:
    return _shuffled(key, _range(size), 0)


def _range(size: int) -> Value:
    """Return the first integers."""
    return bind(iota_p, dtype=dtypes.int_dtype(), shape=(size,), dimension=0)[0]


@fuse
def _permutation(key: Value, x: Value, *, axis: int, independent: bool) -> Value:
    if not x.aval.size:
        return x
    if independent or x.aval.ndim == 1:
        return _shuffled(key, x, axis)
    return _take(x, _shuffled(key, _range(x.aval.shape[axis]), 0), axis)


def _shuffled(key: Value, x: Value, axis: int) -> Value:
    """Sort by random words, often enough that equal words do not matter."""
    rounds = math.ceil(3 * math.log(max(1, x.aval.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, drawn = split_in(key)
        _, x = sort_key_val(bits_of(drawn, 32, x.aval.shape), x, axis)
    return x


def _take(x: Value, indices: Value, axis: int) -> Value:
    """Take slices at indices, all within the array, along an axis."""
    count, rank = indices.aval.ndim, x.aval.ndim
    offsets = (*range(axis), *range(axis + count, rank + count - 1))
    sizes = tuple(1 if i == axis else size for i, size in enumerate(x.aval.shape))
    return gather(
        x,
        reshape(indices, (*indices.aval.shape, 1)),
        GatherDimensionNumbers(offsets, (axis,), (axis,)),
        sizes,
        mode=GatherScatterMode.PROMISE_IN_BOUNDS,
    )


# choice -------------------------------------------------------------------------------------------


def choice(
    key: Any,
    a: Any,
    shape: Sequence[int] = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
    mode: str | None = None,
) -> Array:
    """Pick elements of an array at random.

    Args:
        key: a PRNG key, typed or raw.
        a: an array; or an integer n, for the integers from 0 to n - 1.
        shape: the shape of picks to draw.
        replace: whether an element can be picked several times.
        p: the probability of each element: an array of shape (n,); all the same if None. Without
            replacement at least as many must be positive as are drawn.
        axis: the axis of `a` along which elements lie.
        mode: how finely weighted picks without replacement are drawn, as for `gumbel`.

    Returns:
        An array of the dtype of `a`, and of its shape with `shape` in place of the axis.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `p` does not fit.
        ArgumentError: if there is nothing to pick from, or too little without replacement.

    Example:
        >>> from functrax.random import key
        >>> choice(key(0), 10, (3,))
        Array([9, 0, 2], dtype=int32)
    """
    key = single_key("choice", key)
    x = as_value(a, "choice")
    shape, mode = shape_of("choice", shape), known_mode("choice", mode)
    draws = math.prod(shape)
    axis = canonical_axis("choice", axis, x.aval.ndim) if x.aval.shape else 0
    size = x.aval.shape[axis] if x.aval.shape else _count("choice", x)
    _check_enough(size, draws, replace)
    if not draws:
        return full((*x.aval.shape[:axis], *shape, *x.aval.shape[axis + 1 :]), 0, x.aval.dtype)
    if p is None:
        places = _places(key, size, shape, replace)
    else:
        weights = as_value(p, "choice")
        if weights.aval.shape != (size,):
            raise errors.ShapeError("choice", f"p of shape ({size},)", repr(weights.aval))
        places = _weighted(key, weights, shape=shape, replace=bool(replace), mode=mode)
    return _picked(x, places, axis=axis) if x.aval.shape else places


def _check_enough(size: int, draws: int, replace: bool) -> None:
    if not draws or (size > 0 and (replace or draws <= size)):
        return
    fix = None if size <= 0 else "Draw fewer, or with `replace=True`."
    expected = "at least one element to pick from" if size <= 0 else f"at least {draws} elements"
    raise errors.ArgumentError("choice", expected, str(size), fix=fix)


def _places(key: Value, size: int, shape: tuple[int, ...], replace: bool) -> Array:
    """Draw places that are all equally likely."""
    if replace:
        return randint(key, shape, 0, size)
    return _first_shuffled(key, size=size, shape=shape)


@fuse
def _first_shuffled(key: Value, *, size: int, shape: tuple[int, ...]) -> Value:
    order = _shuffled(key, _range(size), 0)
    return reshape(slice_in_dim(order, 0, math.prod(shape)), shape)


@fuse
def _picked(x: Value, places: Value, *, axis: int) -> Value:
    return _take(x, places, axis)


@fuse
def _weighted(
    key: Value, weights: Value, *, shape: tuple[int, ...], replace: bool, mode: str | None
) -> Value:
    """Invert the distribution function; or take those with the largest log p + gumbel."""
    weights = convert(weights, dtypes.to_inexact(weights.aval.dtype))
    dtype = weights.aval.dtype
    (size,) = weights.aval.shape
    if replace:
        total = cumsum(weights)
        u = uniform(key, shape, dtype)
        last = index_in_dim(total, size - 1, 0, keepdims=False)
        places = _first_at_least(total, mul(last, sub(constant(1, dtype), u)))
    else:
        scores = add(gumbel(key, (size,), dtype, mode), log(weights))
        places = reshape(top_k(scores, math.prod(shape))[1], shape)
    return convert(places, dtypes.int_dtype())


def _first_at_least(ascending: Value, values: Value) -> Value:
    """Return the first index at which an ascending array reaches each value, by bisection."""
    (size,) = ascending.aval.shape
    places = full(values.aval.shape, 0, dtypes.int32)
    step = 1 << (size.bit_length() - 1)
    while step:
        further = add(places, constant(step, dtypes.int32))
        inside = lt(places, constant(size - step + 1, dtypes.int32))
        before = where(inside, sub(further, constant(1, dtypes.int32)), places)
        below = lt(_take(ascending, before, 0), values)
        places = where(bitwise_and(inside, below), further, places)
        step >>= 1
    return places


# categorical --------------------------------------------------------------------------------------


def categorical(
    key: Any,
    logits: Any,
    axis: int = -1,
    shape: Any = None,
    replace: bool = True,
    mode: str | None = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw categories from distributions given by the logarithms of their probabilities.

    Args:
        key: a PRNG key, typed or raw.
        logits: floating array of log probabilities, up to a constant.
        axis: the axis along which the categories of a distribution lie.
        shape: the shape to draw; its last axes must be those of `logits` without the axis, or
            sizes to which these broadcast. By default just those.
        replace: whether draws from the same distribution are independent; else they differ.
        mode: how finely is drawn, as for `gumbel`.
        out_sharding: not used yet; None.

    Returns:
        An array of the default integer dtype and that shape: numbers of categories.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `logits` does not fit it.
        DtypeError: if `logits` is not floating.
        ArgumentError: if there are fewer categories than draws without replacement.

    Example:
        >>> import numpy as np
        >>> from functrax.random import key
        >>> categorical(key(0), np.log([0.1, 0.2, 0.7]), shape=(4,))
        Array([1, 2, 2, 1], dtype=int32)

    Source: Kool, van Hoof, Welling, "Stochastic beams and where to find them: the Gumbel-top-k
        trick" (ICML 2019).
    """
    key = single_key("categorical", key)
    logits = as_value(logits, "categorical")
    if not dtypes.is_floating(logits.aval.dtype):
        raise errors.DtypeError("categorical", "floating logits", repr(logits.aval))
    axis = canonical_axis("categorical", axis, logits.aval.ndim)
    batch = tuple(size for i, size in enumerate(logits.aval.shape) if i != axis)
    whole = batch if shape is None else shape_of("categorical", shape)
    if not _broadcasts(batch, whole):
        expected = f"a shape to which {batch}, that of the logits without axis {axis}, broadcasts"
        raise errors.ShapeError("categorical", expected, str(whole))
    draw = _categorical if replace else _distinct
    mode = known_mode("categorical", mode)
    return draw(key, logits, axis=axis, shape=whole, mode=mode)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in pairs)


@fuse
def _categorical(
    key: Value, logits: Value, *, axis: int, shape: tuple[int, ...], mode: str | None
) -> Value:
    """Return argmax (log p + g) for g from the Gumbel distribution."""
    more = len(shape) - (logits.aval.ndim - 1)
    drawn = (*shape[: more + axis], logits.aval.shape[axis], *shape[more + axis :])
    scores = add(gumbel(key, drawn, logits.aval.dtype, mode), aligned(logits, len(drawn)))
    return argmax(scores, more + axis, dtypes.int_dtype())


@fuse
def _distinct(
    key: Value, logits: Value, *, axis: int, shape: tuple[int, ...], mode: str | None
) -> Value:
    """Return the places of the largest log p + g, as many as are drawn from each distribution."""
    batch = logits.aval.ndim - 1
    count = math.prod(shape[: len(shape) - batch])
    if count > logits.aval.shape[axis]:
        expected = f"at least {count} categories, as many as are drawn without replacement"
        raise errors.ArgumentError("categorical", expected, repr(logits.aval))
    scores = add(logits, gumbel(key, logits.aval.shape, logits.aval.dtype, mode))
    places = top_k(move_axis(scores, axis, batch), count)[1]
    return reshape(move_axis(places, batch, 0), shape)
