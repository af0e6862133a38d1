"""PRNG keys and random bits: the counter-based generator Threefry-2x32.

A key is two 32-bit words. The hash of a pair of counters under a key gives two random words, so the
n-th number depends on the key and n alone: no state, and any part of an array can be computed
without the rest. In a module each hash is a function of its own, unrolled: on CPU it then fuses
into one loop, which runs three times faster than a rolled one and compiles as fast.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, declare
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import NO_AXES, ShapedArray, short_types
from functrax.primitives.rules import (
    Dim,
    broadcast_shape,
    elementwise_batch,
)

THREEFRY = dtypes.KeyType("fry", (2,))

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


# The hash as StableHLO ----------------------------------------------------------------------------


class _Pair(NamedTuple):
    """Two arrays of words in a module."""

    high: Any
    low: Any


def _write_hash(b: Any, key: _Pair, counters: _Pair, aval: ShapedArray) -> _Pair:
    """Write 20 rounds of add, rotate, xor; after every fourth the next key words are added."""

    def op(name: str, x: Any, y: Any) -> Any:
        return b.op("stablehlo." + name, (x, y), aval)

    def constant(value: int) -> Any:
        if value not in constants:
            constants[value] = b.full(value, aval)
        return constants[value]

    constants: dict[int, Any] = {}
    parity = op("xor", op("xor", key.high, key.low), constant(_PARITY))
    words = (key.high, key.low, parity)
    x, y = op("add", counters.high, words[0]), op("add", counters.low, words[1])
    for step in range(1, 6):
        for distance in _ROTATIONS[(step - 1) % 2]:
            x = op("add", x, y)
            left = op("shift_left", y, constant(distance))
            right = op("shift_right_logical", y, constant(32 - distance))
            y = op("xor", op("or", left, right), x)
        x = op("add", x, words[step % 3])
        y = op("add", op("add", y, words[(step + 1) % 3]), constant(step))
    return _Pair(x, y)


def _words(b: Any, keys: Any, outer: tuple[int, ...], aval: ShapedArray) -> _Pair:
    """Split keys of shape `outer` into their two words, repeated along the further axes of aval."""

    def word(index: int) -> Any:
        column = aval.update(shape=(*outer, 1))
        start, limit = [0] * len(outer) + [index], [*outer, index + 1]
        x = b.slice(keys, column, start, limit, [1] * len(start))
        x = b.reshape(x, aval.update(shape=outer))
        return x if aval.shape == outer else b.broadcast(x, aval, range(len(outer)))

    return _Pair(word(0), word(1))


def _index(b: Any, aval: ShapedArray, outer: int) -> _Pair:
    """Number the elements of the axes behind `outer` in row-major order, in two words."""
    wide = math.prod(aval.shape[outer:]) > 2**32
    kind = aval.update(dtype=dtypes.uint64) if wide else aval
    index, stride = None, 1
    for axis in reversed(range(outer, aval.ndim)):
        if aval.shape[axis] != 1:
            term = b.iota(kind, axis)
            if stride != 1:
                term = b.op("stablehlo.multiply", (term, b.full(stride, kind)), kind)
            index = term if index is None else b.op("stablehlo.add", (index, term), kind)
        stride *= aval.shape[axis]
    if index is None:
        return _Pair(b.full(0, aval), b.full(0, aval))
    if not wide:
        return _Pair(b.full(0, aval), index)
    high = b.op("stablehlo.shift_right_logical", (index, b.full(32, kind)), kind)
    return _Pair(b.convert(high, aval), b.convert(index, aval))


def _stacked(b: Any, words: _Pair, aval: ShapedArray) -> Any:
    """Put two arrays of words of type aval side by side along a new last axis."""
    column = aval.update(shape=(*aval.shape, 1))
    words = b.multi_op("stablehlo.optimization_barrier", words, (aval, aval)).results
    columns = [b.reshape(word, column) for word in words]
    return b.concatenate(columns, aval.update(shape=(*aval.shape, 2)), aval.ndim)


def _hashed_in_halves(b: Any, keys: Any, outer: tuple[int, ...], count: int, u32: Any) -> Any:
    """Hash 0..count-1 with the first half of the counters as high words and the second as low."""
    half = (count + 1) // 2
    aval = u32.update(shape=(*outer, half))
    high = _index(b, aval, len(outer)).low
    low = b.op("stablehlo.add", (high, b.full(half, aval)), aval)
    if count % 2:  # the counter that is missing to make pairs is 0
        last = b.compare("EQ", low, b.full(count, aval), aval)
        low = b.select(last, b.full(0, aval), low, aval)
    hashed = _write_hash(b, _words(b, keys, outer, aval), _Pair(high, low), aval)
    whole = aval.update(shape=(*outer, 2 * half))
    joined = b.concatenate(hashed, whole, len(outer))
    return _first(b, joined, whole, count) if count % 2 else joined


def _joined(b: Any, words: _Pair, out: ShapedArray) -> Any:
    """Make 64-bit numbers of their halves."""
    high, low = (b.convert(word, out) for word in words)
    high = b.op("stablehlo.shift_left", (high, b.full(32, out)), out)
    return b.op("stablehlo.or", (high, low), out)


def _first(b: Any, x: Any, aval: ShapedArray, count: int, start: int = 0) -> Any:
    """Take `count` elements of the last axis."""
    out = aval.update(shape=(*aval.shape[:-1], count))
    zeros = [0] * (aval.ndim - 1)
    limit = [*aval.shape[:-1], start + count]
    return b.slice(x, out, [*zeros, start], limit, [1] * aval.ndim)


# What keys are made of, and what is made of them --------------------------------------------------


def write_seed(b: Any, seeds: Any, kind: ShapedArray) -> Any:
    """Write the words of seeds: upper half, lower half."""
    aval = kind.update(dtype=dtypes.uint32, weak_type=False)
    high = b.full(0, aval)
    if kind.dtype.itemsize == 8:
        upper = b.op("stablehlo.shift_right_logical", (seeds, b.full(32, kind)), kind)
        high = b.convert(upper, aval)
    return _stacked(b, _Pair(high, b.convert(seeds, aval)), aval)


def write_split(b: Any, keys: Any, outer: tuple[int, ...], out: ShapedArray) -> Any:
    """Hash each new key's number."""
    aval = out.update(dtype=dtypes.uint32)
    index = _index(b, aval, len(outer))
    return _stacked(b, _write_hash(b, _words(b, keys, outer, aval), index, aval), aval)


def write_split_in_halves(b: Any, keys: Any, outer: tuple[int, ...], out: ShapedArray) -> Any:
    """Hash 0, 1, ..., one for each word, in two halves (``threefry_partitionable=False``)."""
    aval = out.update(dtype=dtypes.uint32)
    words = _hashed_in_halves(b, keys, outer, 2 * math.prod(out.shape[len(outer) :]), aval)
    return b.reshape(words, aval.update(shape=(*out.shape, 2)))


def write_fold_in(
    b: Any, keys: Any, data: Any, types: tuple[ShapedArray, ShapedArray], out: ShapedArray
) -> Any:
    """Hash the number."""
    aval = out.update(dtype=dtypes.uint32)
    inner = aval.update(shape=types[0].shape)
    words = _words(b, keys, inner.shape, inner)
    words = _Pair(*(b.stretch(word, inner, aval.shape) for word in words))
    counters = _Pair(b.full(0, aval), b.stretch(data, types[1], aval.shape))
    return _stacked(b, _write_hash(b, words, counters, aval), aval)


def write_bits(b: Any, keys: Any, outer: tuple[int, ...], width: int, out: ShapedArray) -> Any:
    """Hash each element's number; the xor of both words, or both for 64 bits."""
    aval = out.update(dtype=dtypes.uint32)
    index = _index(b, aval, len(outer))
    words = _write_hash(b, _words(b, keys, outer, aval), index, aval)
    if width == 64:
        return _joined(b, words, out)
    bits = b.op("stablehlo.xor", words, aval)
    return bits if width == 32 else b.convert(bits, out)


def write_bits_in_halves(
    b: Any, keys: Any, outer: tuple[int, ...], width: int, out: ShapedArray
) -> Any:
    """Hash 0, 1, ... in two halves; cut or join words (``threefry_partitionable=False``)."""
    u32 = out.update(dtype=dtypes.uint32)
    size = math.prod(out.shape[len(outer) :])
    count = -(-width * size // 32)
    words = _hashed_in_halves(b, keys, outer, count, u32)
    flat = u32.update(shape=(*outer, count))
    if width == 64:
        halves = _Pair(*(_first(b, words, flat, size, start) for start in (0, size)))
        words = _joined(b, halves, out.update(shape=(*outer, size)))
    elif width < 32:
        words = _first(b, _cut(b, words, flat, width, out), _whole(flat, width, out), size)
    return b.reshape(words, out)


def _whole(flat: ShapedArray, width: int, out: ShapedArray) -> ShapedArray:
    """Return the type of all numbers that can be cut of words."""
    return out.update(shape=(*flat.shape[:-1], flat.shape[-1] * 32 // width))


def _cut(b: Any, words: Any, flat: ShapedArray, width: int, out: ShapedArray) -> Any:
    """Cut words into numbers of `width` bits, the low bits first."""
    parts = flat.update(shape=(*flat.shape, 32 // width))
    offset = b.op("stablehlo.multiply", (b.iota(parts, flat.ndim), b.full(width, parts)), parts)
    spread = b.broadcast(words, parts, range(flat.ndim))
    shifted = b.op("stablehlo.shift_right_logical", (spread, offset), parts)
    return b.reshape(b.convert(shifted, parts.update(dtype=out.dtype)), _whole(flat, width, out))


# threefry2x32 -------------------------------------------------------------------------------------


def threefry2x32(key_high: Any, key_low: Any, high: Any, low: Any) -> tuple[Value, Value]:
    """Hash pairs of counters under pairs of key words.

    Args:
        key_high: uint32 array, the first words of the keys.
        key_low: uint32 array, their second words.
        high: uint32 array, the first words of the counters.
        low: uint32 array, their second words. All four have one shape, or are scalars.

    Returns:
        Two uint32 arrays of the common shape.

    Raises:
        DtypeError, ShapeError: if the operands are not of that kind.

    Example:
        >>> import numpy as np
        >>> x, y = threefry2x32(*np.zeros((4,), np.uint32))
        >>> hex(int(x)), hex(int(y))
        ('0x6b200159', '0x99ba4efe')

    Source: Salmon et al. (2011), section 3.
    """
    operands = [as_value(x, "threefry2x32") for x in (key_high, key_low, high, low)]
    first, second = bind(threefry2x32_p, *operands)
    return first, second


def _hash_abstract(*avals: ShapedArray) -> tuple[ShapedArray, ShapedArray]:
    if any(aval.dtype != np.uint32 for aval in avals):
        raise errors.DtypeError("threefry2x32", "four uint32 arrays", short_types(avals))
    varying = NO_AXES.union(*(aval.varying for aval in avals))
    out = ShapedArray(broadcast_shape("threefry2x32", avals), dtypes.uint32, False, varying)
    return out, out


def _hash_batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    results, (dim,) = elementwise_batch("threefry2x32", axis, operands, dims)
    return results, [dim, dim]


def _hash_lower(b: Any, *operands: Any) -> Any:
    aval = b.out_types[0]
    types = b.in_types

    def body(*inner: Any) -> _Pair:
        x = [b.stretch(v, kind, aval.shape) for v, kind in zip(inner, types, strict=True)]
        return _write_hash(b, _Pair(x[0], x[1]), _Pair(x[2], x[3]), aval)

    return b.outline("threefry2x32", (), operands, body)


threefry2x32_p = declare(
    "threefry2x32",
    abstract_eval=_hash_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_hash_batch,
    lower=_hash_lower,
)
