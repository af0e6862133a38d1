"""Samplers of the Gumbel distribution, and of categories by it."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value
from functrax.primitives.convert import bitcast_convert_type, convert
from functrax.primitives.elementwise import (
    add,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    clz,
    eq,
    ge,
    log,
    log1p,
    lt,
    mul,
    neg,
    shift_left,
    shift_right_logical,
    sub,
)
from functrax.random.arguments import (
    bits_of,
    constant,
    float_dtype,
    shape_of,
    single_key,
    where,
)
from functrax.random.sampling_basic import halves, uniform
from functrax.transforms.fuse import fuse

# gumbel -------------------------------------------------------------------------------------------


def gumbel(
    key: Any,
    shape: Sequence[int] = (),
    dtype: Any = None,
    mode: str | None = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Draw from the Gumbel distribution.

    Args:
        key: a PRNG key, typed or raw.
        shape: the shape to draw.
        dtype: a floating dtype; the default one (float32) if None.
        mode: ``"low"`` (the default), where numbers of float32 reach up to about 16; ``"high"``,
            with twice as many random bits and numbers up to 32; ``"highest"``, the same in float32
            without rounding of the bits.
        out_sharding: not used yet; None.

    Returns:
        An array of that shape and dtype.

    Raises:
        KeyTypeError, ShapeError: if the key or shape is not one.
        DtypeError: if the dtype is not floating.
        ArgumentError: if the mode is another word.

    Example:
        >>> from functrax.random import key
        >>> gumbel(key(0), (2,))
        Array([2.9233725, 3.8326178], dtype=float32)
    """
    key = single_key("gumbel", key)
    dtype = float_dtype("gumbel", dtype)
    mode = known_mode("gumbel", mode)
    return _gumbel(key, shape=shape_of("gumbel", shape), dtype=dtype, mode=mode)


def known_mode(call: str, mode: Any) -> str:
    """Return the mode that a user asked for.

    Raises:
        ArgumentError: if it is another word.
    """
    if mode is None:
        return "low"
    if not isinstance(mode, str) or mode not in ("low", "high", "highest"):
        raise errors.ArgumentError(call, "'low', 'high' or 'highest' as the mode", repr(mode))
    return mode


@fuse
def _gumbel(key: Value, *, shape: tuple[int, ...], dtype: Any, mode: str) -> Value:
    """-log(-log u) for u uniform in (0, 1); with more bits, of 1 - u where u is near 1."""
    info = dtypes.finfo(dtype)
    tiny = constant(info.tiny, dtype)
    if mode == "highest" and dtype == dtypes.float32:
        return _gumbel_of_64_bits(key, shape)
    if mode == "low":
        return neg(log(neg(log(uniform(key, shape, dtype, tiny, constant(1, dtype))))))
    high, low = halves(uniform(key, (2, *shape), dtype))
    finer = add(add(high, mul(constant(2.0**-info.nmant, dtype), low)), tiny)
    x = where(ge(high, constant(0.5, dtype)), high, finer)
    return neg(log(neg(log1p(neg(x)))))


def _gumbel_of_64_bits(key: Value, shape: tuple[int, ...]) -> Value:
    """Take 64 bits as a fraction u, and the smaller of u and 1 - u with all its leading bits."""
    bits = bits_of(key, 32, (2, *shape))
    high, low = halves(bits)
    ones = constant(2**32 - 1, dtypes.uint32)
    carry = convert(eq(bitwise_not(low), ones), dtypes.uint32)
    other_high = add(bitwise_not(high), carry)
    other_low = add(bitwise_not(low), constant(1, dtypes.uint32))
    small = lt(high, constant(2**31, dtypes.uint32))
    x = _fraction(where(small, high, other_high), where(small, low, other_low))
    return where(small, neg(log(neg(log1p(neg(x))))), neg(log(neg(log(x)))))


def _fraction(high: Value, low: Value) -> Value:
    """Round the 64-bit fraction of two words towards zero, to a float32 in (0, 1)."""

    def word(value: int) -> Value:
        return constant(value, dtypes.uint32)

    high_zeros, low_zeros = clz(high), clz(low)
    empty = eq(high_zeros, word(32))
    below = where(
        empty, shift_left(low, low_zeros), shift_right_logical(low, sub(word(32), high_zeros))
    )
    leading = bitwise_or(shift_left(high, high_zeros), below)
    mantissa = bitwise_and(shift_right_logical(leading, word(8)), word(2**23 - 1))
    zeros = where(empty, add(word(32), low_zeros), high_zeros)
    exponent = bitwise_and(shift_left(sub(word(126), zeros), word(23)), word(2**30 - 2**22))
    return bitcast_convert_type(bitwise_or(exponent, mantissa), dtypes.float32)
