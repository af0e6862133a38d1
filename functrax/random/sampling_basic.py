"""Samplers of bits, and of uniform numbers and integers, which the others are made of."""

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, as_value
from functrax.core.types import Literal
from functrax.primitives.clamp import clamp
from functrax.primitives.convert import bitcast_convert_type, convert
from functrax.primitives.elementwise import (
    add,
    bitwise_or,
    gt,
    le,
    lt,
    mul,
    rem,
    shift_right_logical,
    sub,
)
from functrax.primitives.extreme import max
from functrax.primitives.keys import UINT_OF_WIDTH
from functrax.primitives.slice_along import index_in_dim
from functrax.random.arguments import (
    PYTHON_NUMBERS,
    aligned,
    bits_of,
    common_shape,
    constant,
    float_dtype,
    given,
    int_dtype,
    parameter,
    shape_of,
    single_key,
    split_in,
    where,
)
from functrax.transforms.fuse import fuse

# bits ---------------------------------------------------------------------------------------------


def bits(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw uniformly distributed bits.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: an unsigned dtype of 8 to 64 bits; the default one (uint32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one.
        DtypeError: if the dtype is not unsigned.

    Example:
        >>> from functrax.random import key
        >>> bits(key(0), (2,))
        Array([4070199207, 4202968722], dtype=uint32)

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    key = single_key("bits", key)
    wanted = dtypes.uint_dtype() if dtype is None else dtypes.canonicalize(dtype, "bits")
    if wanted not in UINT_OF_WIDTH.values():
        name = dtypes.short_name(wanted)
        raise errors.DtypeError("bits", "an unsigned integer dtype of 8 to 64 bits", name)
    return _bits(key, shape=shape_of("bits", shape), width=wanted.itemsize * 8)


@fuse
def _bits(key: Value, *, shape: tuple[int, ...], width: int) -> Value:
    return bits_of(key, width, shape)


# uniform ------------------------------------------------------------------------------------------


def uniform(
    key: Any,
    shape: Sequence[int] = (),
    dtype: Any = None,
    minval: Any = 0.0,
    maxval: Any = 1.0,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw numbers that are uniformly distributed in [minval, maxval).

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: a floating dtype of 8 to 64 bits; the default one (float32) if None.
        minval: the lower end: a number, or an array that broadcasts to `shape`.
        maxval: the upper end, likewise.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the ends do not fit it.
        DtypeError: if the dtype is not floating.
        IntegerOverflowError: if an end is an integer beyond the dtype.

    Example:
        >>> from functrax.random import key
        >>> uniform(key(0), (3,), minval=2, maxval=4)
        Array([3.895334 , 3.9571598, 2.664583 ], dtype=float32)
    """
    key = single_key("uniform", key)
    dtype = float_dtype("uniform", dtype)
    shape = shape_of("uniform", shape)
    check_uniform(dtype)
    ends = (minval, maxval)
    if all(isinstance(x, PYTHON_NUMBERS) for x in ends) and ends == (0, 1):
        return _standard_uniform(key, shape=shape, dtype=dtype)
    low, high = given("uniform", dtype, minval=minval, maxval=maxval)
    shape = common_shape("uniform", shape, low, high)
    return _uniform(key, low, high, shape=shape, dtype=dtype)


def check_uniform(dtype: Any, call: str = "uniform") -> Any:
    """Return a floating dtype in which uniform numbers can be drawn.

    Raises:
        DtypeError: if it has fewer than 8 bits, or no fraction.
    """
    info = dtypes.finfo(dtype)
    if info.bits not in UINT_OF_WIDTH or not info.nmant:
        expected = "a floating dtype of at least 8 bits, with a fraction"
        raise errors.DtypeError(call, expected, dtypes.short_name(dtype))
    return dtype


@fuse
def _uniform(key: Value, minval: Any, maxval: Any, *, shape: tuple[int, ...], dtype: Any) -> Value:
    low, high = (aligned(parameter(x, dtype), len(shape)) for x in (minval, maxval))
    unit = _unit(key, shape, dtype)
    return max(low, add(mul(unit, _span(low, high)), low))


@fuse
def _standard_uniform(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    return _unit(key, shape, dtype)


def _span(low: Value, high: Value) -> Value:
    """Return high - low; of two constants as a constant."""
    if isinstance(low, Literal) and isinstance(high, Literal):
        return constant(high.numpy() - low.numpy(), low.aval.dtype)
    return sub(high, low)


def _unit(key: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    """Draw from [0, 1): random bits as the fraction of a number in [1, 2), minus 1."""
    info = dtypes.finfo(dtype)
    drawn = 8 if info.nmant < 8 else info.bits
    # XLA (jaxlib 0.12) repeats what it fuses with a chain of 8-bit floats, exponentially often.
    words = bits_of(key, drawn, shape, alone=info.bits < 16)
    unsigned = UINT_OF_WIDTH[info.bits]
    if drawn != info.bits:
        words = convert(words, unsigned)
    one = np.ones((), dtype)
    fraction = shift_right_logical(words, constant(drawn - info.nmant, unsigned))
    pattern = bitwise_or(fraction, constant(one.view(unsigned).item(), unsigned))
    return sub(bitcast_convert_type(pattern, dtype), constant(1, dtype))


# randint ------------------------------------------------------------------------------------------


def randint(
    key: Any,
    shape: Sequence[int],
    minval: Any,
    maxval: Any,
    dtype: Any = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw integers that are uniformly distributed in [minval, maxval).

    Two words are drawn for each integer and reduced modulo the span, so that the bias is about the
    span over 2**64. Of 8- and 16-bit dtypes, integers are drawn with 32 bits.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        minval: the lowest integer: a number, or an array that broadcasts to `shape`. It is clipped
            to the dtype's range, but a Python number must be in that range or the default dtype's.
        maxval: one more than the highest, likewise. Where it is not above `minval`, `minval` is
            drawn.
        dtype: an integer dtype; the default one (int32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or the ends do not fit it.
        DtypeError: if the dtype is not an integer one.
        IntegerOverflowError: if an end is a Python number out of reach.

    Example:
        >>> from functrax.random import key
        >>> randint(key(0), (3,), 0, 10)
        Array([9, 0, 2], dtype=int32)
    """
    key = single_key("randint", key)
    dtype = int_dtype("randint", dtype)
    shape = shape_of("randint", shape)
    minval, maxval = given("randint", None, minval=minval, maxval=maxval)
    shape = common_shape("randint", shape, minval, maxval)
    if isinstance(minval, bool | int | float) and isinstance(maxval, bool | int | float):
        low, span = _host_range(_integer(minval, dtype), _integer(maxval, dtype), dtype)
        return _randint(key, low, span, shape=shape, dtype=dtype)
    low, high = (_bound(x, dtype) for x in (minval, maxval))
    return _randint_between(key, low, high, shape=shape, dtype=dtype)


def _drawn_dtype(dtype: Any) -> Any:
    """Return the dtype in which integers are drawn: of at least 32 bits."""
    return dtypes.int32 if dtypes.iinfo(dtype).bits < 32 else dtype


def _integer(x: Any, dtype: Any) -> int:
    """Return a Python number as an end of the range.

    Raises:
        IntegerOverflowError: if neither the samples' dtype nor the default one reaches it.
    """
    reach = dtypes.iinfo(dtype), dtypes.iinfo(dtypes.int_dtype())
    lowest = builtins.min(info.min for info in reach)
    highest = builtins.max(reach[0].max + 1, reach[1].max)
    if not lowest <= x <= highest:  # nor is NaN
        fix = 'Ask for a wider dtype, for example dtype="int64".'
        raise errors.IntegerOverflowError(
            "randint", f"bounds from {lowest} to {highest}", repr(x), fix=fix
        )
    return int(x)


def _host_range(low: int, high: int, dtype: Any) -> tuple[Value, Value]:
    """Return the lowest integer and the number of integers, where 2**bits is written as 0."""
    info, drawn = dtypes.iinfo(dtype), _drawn_dtype(dtype)
    unsigned = UINT_OF_WIDTH[dtypes.iinfo(drawn).bits]
    low = builtins.min(builtins.max(low, info.min), info.max)
    high = builtins.min(builtins.max(high, info.min), info.max + 1)
    span = builtins.max(high - low, 1) % 2 ** dtypes.iinfo(drawn).bits
    return constant(low, drawn), constant(span, unsigned)


def _bound(x: Any, dtype: Any) -> Value:
    """Return an end of the range as an integer array; a Python number exactly, within reach."""
    if not isinstance(x, bool | int | float):
        value = as_value(x, "randint")
        return value if dtypes.is_integer(value.aval.dtype) else convert(value, dtypes.int_dtype())
    info = dtypes.iinfo(dtype)
    number = builtins.min(builtins.max(_integer(x, dtype), info.min), info.max + 1)
    for wide in (dtypes.int_dtype(), dtypes.int64, dtypes.uint64):
        if dtypes.iinfo(wide).min <= number <= dtypes.iinfo(wide).max:
            return constant(number, wide)
    return constant(2**64 - 1, dtypes.uint64)


@fuse
def _randint_between(
    key: Value, minval: Value, maxval: Value, *, shape: tuple[int, ...], dtype: Any
) -> Value:
    info, drawn = dtypes.iinfo(dtype), _drawn_dtype(dtype)
    unsigned = UINT_OF_WIDTH[dtypes.iinfo(drawn).bits]
    one = constant(1, unsigned)
    if drawn != dtype:
        minval, maxval = convert(minval, drawn), convert(maxval, drawn)
        low = _clip(minval, info.min, info.max)
        high = _clip(maxval, info.min, info.max + 1)
        beyond = None
    else:
        low, high = _narrowed(minval, drawn), _narrowed(maxval, drawn)
        own = dtypes.iinfo(maxval.aval.dtype)
        beyond = None if own.max <= info.max else gt(maxval, constant(info.max, own.dtype))
    low, high = aligned(low, len(shape)), aligned(high, len(shape))
    span = convert(sub(high, low), unsigned)
    if beyond is not None:  # one more than the highest is needed: wraps to 0 for the whole range
        span = where(aligned(beyond, len(shape)), add(span, one), span)
    span = where(le(high, low), one, span)
    return _randint(key, low, span, shape=shape, dtype=dtype)


def _clip(x: Value, low: int, high: int) -> Value:
    dtype = x.aval.dtype
    return clamp(constant(low, dtype), x, constant(high, dtype))


def _narrowed(x: Value, dtype: Any) -> Value:
    """Convert integers to another dtype; what does not fit becomes its nearest number."""
    own, other = dtypes.iinfo(x.aval.dtype), dtypes.iinfo(dtype)
    if own.min < other.min or own.max > other.max:
        x = _clip(x, builtins.max(own.min, other.min), builtins.min(own.max, other.max))
    return convert(x, dtype)


@fuse
def _randint(key: Value, low: Value, span: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    """low + (upper * 2**bits + lower) mod span, for two random words; 2**bits as a square."""
    unsigned = span.aval.dtype
    width = dtypes.iinfo(unsigned).bits
    upper, lower = (bits_of(part, width, shape) for part in split_in(key))
    root = rem(constant(2 ** (width // 2), unsigned), span)
    factor = rem(mul(root, root), span)
    offset = rem(add(mul(rem(upper, span), factor), rem(lower, span)), span)
    return convert(add(low, convert(offset, low.aval.dtype)), dtype)


# bernoulli and rademacher -------------------------------------------------------------------------


def bernoulli(
    key: Any, p: Any = 0.5, shape: Any = None, mode: str = "low", *, out_sharding: Any = None
) -> Array:
    """Draw booleans that are True with probability p.

    Args:
        key: a PRNG key, typed or raw.
        p: the probability: a number, or a floating array that broadcasts to `shape`.
        shape: the shape to draw; that of `p` if None.
        mode: ``"high"`` draws twice as many bits, for probabilities below 1e-7 in float32.
        out_sharding: not used yet; None.

    Returns:
        A bool array of that shape.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one, or `p` does not fit it.
        DtypeError: if `p` is not floating.
        ArgumentError: if the mode is another word.

    Example:
        >>> from functrax.random import key
        >>> bernoulli(key(0), 0.7, (4,))
        Array([False, False,  True,  True], dtype=bool)
    """
    if mode not in ("high", "low"):
        raise errors.ArgumentError("bernoulli", "'high' or 'low' as the mode", repr(mode))
    key = single_key("bernoulli", key)
    (p,) = given("bernoulli", None, p=p)
    p = as_value(p, "bernoulli")
    if not dtypes.is_floating(p.aval.dtype):
        raise errors.DtypeError("bernoulli", "a floating dtype for p", repr(p.aval))
    shape = common_shape("bernoulli", shape, p)
    return _bernoulli(key, p, shape=shape, mode=mode)


@fuse
def _bernoulli(key: Value, p: Value, *, shape: tuple[int, ...], mode: str) -> Value:
    dtype = p.aval.dtype
    p = aligned(p, len(shape))
    if mode == "low":
        return lt(uniform(key, shape, dtype), p)
    first, second = halves(uniform(key, (2, *shape), dtype))
    scale = constant(2.0 ** -dtypes.finfo(dtype).nmant, dtype)
    return lt(mul(second, scale), sub(p, first))


def halves(x: Value) -> tuple[Value, Value]:
    """Unpack a leading axis of size 2."""
    return index_in_dim(x, 0, 0, keepdims=False), index_in_dim(x, 1, 0, keepdims=False)


def rademacher(
    key: Any, shape: Sequence[int] = (), dtype: Any = None, *, out_sharding: Any = None
) -> Array:
    """Draw 1 or -1 with equal probability.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: a dtype of signed numbers; the default integer one (int32) if None.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one.
        DtypeError: if the dtype is not one of numbers.

    Example:
        >>> from functrax.random import key
        >>> rademacher(key(0), (4,))
        Array([-1, -1,  1,  1], dtype=int32)
    """
    key = single_key("rademacher", key)
    wanted = dtypes.int_dtype() if dtype is None else dtypes.canonicalize(dtype, "rademacher")
    if dtypes.is_bool(wanted) or dtypes.is_extended(wanted):
        name = dtypes.short_name(wanted)
        raise errors.DtypeError("rademacher", "a dtype of signed numbers", name)
    return _rademacher(key, shape=shape_of("rademacher", shape), dtype=wanted)


@fuse
def _rademacher(key: Value, *, shape: tuple[int, ...], dtype: Any) -> Value:
    heads = convert(bernoulli(key, shape=shape), dtype)
    return sub(mul(constant(2, dtype), heads), constant(1, dtype))
