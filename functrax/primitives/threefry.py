"""PRNG keys and random bits: the counter-based generator Threefry-2x32.

A key is two 32-bit words. The hash of a pair of counters under a key gives two random words, so the
n-th number depends on the key and n alone: no state, and any part of an array can be computed
without the rest. In a module each hash is a function of its own. For bits it is unrolled: it then
fuses with what uses them, and on CPU runs three times faster than a loop and compiles as fast.

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


class _Words:
    """Writes arithmetic on arrays of words of one type.

    Args:
        b: the builder.
        aval: the type.
    """

    def __init__(self, b: Any, aval: ShapedArray) -> None:
        """Start without constants."""
        self.b = b
        self.aval = aval
        self.constants: dict[int, Any] = {}

    def constant(self, value: int) -> Any:
        """Write a repeated number, once."""
        if value not in self.constants:
            self.constants[value] = self.b.full(value, self.aval)
        return self.constants[value]

    def op(self, name: str, x: Any, y: Any) -> Any:
        """Write an operation."""
        return self.b.op("stablehlo." + name, (x, y), self.aval)

    def round(self, x: Any, y: Any, left: Any, right: Any) -> tuple[Any, Any]:
        """Write add, rotate (by `left`, which with `right` makes 32), xor."""
        x = self.op("add", x, y)
        turned = (self.op("shift_left", y, left), self.op("shift_right_logical", y, right))
        return x, self.op("xor", self.op("or", *turned), x)

    def start(self, key: _Pair, counters: _Pair) -> tuple[Any, Any, list[Any]]:
        """Write what comes before the rounds; return both words and the three of the key."""
        parity = self.op("xor", self.op("xor", key.high, key.low), self.constant(_PARITY))
        x, y = self.op("add", counters.high, key.high), self.op("add", counters.low, key.low)
        return x, y, [key.high, key.low, parity]

    def inject(self, x: Any, y: Any, first: Any, second: Any, step: Any) -> tuple[Any, Any]:
        """Write the addition of two words of the key, and the number of the step."""
        return self.op("add", x, first), self.op("add", self.op("add", y, second), step)


def _write_hash(b: Any, key: _Pair, counters: _Pair, aval: ShapedArray) -> _Pair:
    """Write 20 rounds of add, rotate, xor; after every fourth the next key words are added."""
    write = _Words(b, aval)
    x, y, words = write.start(key, counters)
    for step in range(1, 6):
        for turn in _ROTATIONS[(step - 1) % 2]:
            x, y = write.round(x, y, write.constant(turn), write.constant(32 - turn))
        following = words[step % 3], words[(step + 1) % 3]
        x, y = write.inject(x, y, *following, write.constant(step))
    return _Pair(x, y)


def _write_hash_once(b: Any, key: _Pair, counters: _Pair, aval: ShapedArray) -> _Pair:
    """Write the hash so that XLA does not repeat it in each loop that uses its result.

    Keys are few and used by many. XLA's CPU compiler looks through barriers, but not into loops.
    """
    if b.platform != "cpu":
        hashed = _write_hash(b, key, counters, aval)
        return _Pair(*b.multi_op("stablehlo.optimization_barrier", hashed, (aval, aval)).results)
    start = _Words(b, aval)
    x, y, words = start.start(key, counters)
    number = aval.update(shape=())
    turns = [b.full(turn, number) for turns in _ROTATIONS for turn in turns]
    carry = (b.full(1, number), x, y, words[1], words[2], words[0], *turns)
    types = [number, *[aval] * 5, *[number] * 8]
    loop = b.multi_op("stablehlo.while", carry, types, regions=2)

    def body(
        step: Any, x: Any, y: Any, first: Any, second: Any, third: Any, *turns: Any
    ) -> list[Any]:
        write, scalars = _Words(b, aval), _Words(b, number)
        for turn in turns[:4]:
            rest = scalars.op("subtract", scalars.constant(32), turn)
            distances = (b.stretch(distance, number, aval.shape) for distance in (turn, rest))
            x, y = write.round(x, y, *distances)
        x, y = write.inject(x, y, first, second, b.stretch(step, number, aval.shape))
        step = scalars.op("add", step, scalars.constant(1))
        return [step, x, y, second, third, first, *turns[4:], *turns[:4]]

    b.region(loop.regions[0], types, lambda i, *_: [b.compare("LE", i, b.full(5, number), number)])
    b.region(loop.regions[1], types, body)
    return _Pair(*loop.results[1:3])


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
    columns = [b.reshape(word, column) for word in words]
    return b.concatenate(columns, aval.update(shape=(*aval.shape, 2)), aval.ndim)


def _hashed_in_halves(
    b: Any, keys: Any, outer: tuple[int, ...], count: int, u32: Any, write: Any
) -> Any:
    """Hash 0..count-1 with the first half of the counters as high words and the second as low."""
    half = (count + 1) // 2
    aval = u32.update(shape=(*outer, half))
    high = _index(b, aval, len(outer)).low
    low = b.op("stablehlo.add", (high, b.full(half, aval)), aval)
    if count % 2:  # the counter that is missing to make pairs is 0
        last = b.compare("EQ", low, b.full(count, aval), aval)
        low = b.select(last, b.full(0, aval), low, aval)
    hashed = write(b, _words(b, keys, outer, aval), _Pair(high, low), aval)
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
    return _stacked(b, _write_hash_once(b, _words(b, keys, outer, aval), index, aval), aval)


def write_split_in_halves(b: Any, keys: Any, outer: tuple[int, ...], out: ShapedArray) -> Any:
    """Hash 0, 1, ..., one for each word, in two halves (``threefry_partitionable=False``)."""
    aval = out.update(dtype=dtypes.uint32)
    count = 2 * math.prod(out.shape[len(outer) :])
    words = _hashed_in_halves(b, keys, outer, count, aval, _write_hash_once)
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
    return _stacked(b, _write_hash_once(b, words, counters, aval), aval)


def write_bits(
    b: Any, keys: Any, outer: tuple[int, ...], width: int, out: ShapedArray, alone: bool = False
) -> Any:
    """Hash each element's number; the xor of both words, or both for 64 bits."""
    aval = out.update(dtype=dtypes.uint32)
    index = _index(b, aval, len(outer))
    write = _write_hash_once if alone else _write_hash
    words = write(b, _words(b, keys, outer, aval), index, aval)
    if width == 64:
        return _joined(b, words, out)
    bits = b.op("stablehlo.xor", words, aval)
    return bits if width == 32 else b.convert(bits, out)


def write_bits_in_halves(
    b: Any, keys: Any, outer: tuple[int, ...], width: int, out: ShapedArray, alone: bool = False
) -> Any:
    """Hash 0, 1, ... in two halves; cut or join words (``threefry_partitionable=False``)."""
    u32 = out.update(dtype=dtypes.uint32)
    size = math.prod(out.shape[len(outer) :])
    count = -(-width * size // 32)
    write = _write_hash_once if alone else _write_hash
    words = _hashed_in_halves(b, keys, outer, count, u32, write)
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
