"""The bits of arrays: read as another dtype, and with the bytes of each element reversed."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Value, describe
from functrax.numpy.creation import array
from functrax.numpy.joining import stack
from functrax.numpy.operands import array_operand, number_dtype, refuse_keys
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import bit_width, bitcast_convert_type, convert
from functrax.primitives.rules import reshape
from functrax.primitives.shape import rev
from functrax.primitives.slice_along import slice_in_dim
from functrax.transforms.fuse import fuse


def view(a: Any, dtype: Any = None, type: None = None) -> Array:
    """Read the bits of an array as another dtype; the method ``x.view(dtype)``.

    Args:
        a: array.
        dtype: the dtype; None returns the array itself. Booleans are bytes: of other bytes, each
            one that is not 0 becomes True.
        type: must be None.

    Returns:
        An array; its last axis is k times longer if the dtype is k times narrower, and k times
        shorter if it is wider.

    Raises:
        DtypeError, KeyTypeError: if `dtype` is no dtype of numbers, or the array is PRNG keys.
        ShapeError: if the last axis does not hold whole elements of the dtype.

    Example:
        >>> jnp.array([1.0, -1.0]).view("uint32")
        Array([1065353216, 3212836864], dtype=uint32)
        >>> jnp.array([1, 0, 2, 0], "uint8").view("uint16")
        Array([1, 2], dtype=uint16)
    """
    if type is not None:
        raise errors.ArgumentError("view", "type=None", describe(type))
    x = array_operand(a, "view")
    refuse_keys("view", x)
    if dtype is None:
        return x
    wanted = number_dtype(dtype, "view")
    if wanted == x.aval.dtype:
        return x
    old, new = _bits(x.aval.dtype), _bits(wanted)
    last = x.aval.shape[-1] if x.aval.shape else 1
    if last * old % new or (not x.aval.shape and old != new):
        name = dtypes.short_name(wanted)
        expected = f"a last axis that holds whole elements of {name}, {new} bits each"
        raise errors.ShapeError("view", expected, repr(x.aval))
    return _view(x, dtype=wanted)


def _bits(dtype: Any) -> int:
    return 8 if dtypes.is_bool(dtype) else bit_width(dtype)


@fuse
def _view(x: Value, *, dtype: Any) -> Value:
    shape = x.aval.shape
    if not shape:
        return reshape(_read(reshape(x, (1,)), dtype), ())
    return _read(x, dtype)


def _read(x: Value, dtype: Any) -> Value:
    """Read an array of one axis or more; booleans as bytes, complex numbers as pairs."""
    own = x.aval.dtype
    if dtypes.is_bool(own):
        return _read(convert(x, dtypes.uint8), dtype)
    if own == dtype:
        return x
    if dtypes.is_complex(own):
        pairs = stack([lax.real(x), lax.imag(x)], -1)
        return _read(reshape(pairs, (*x.aval.shape[:-1], x.aval.shape[-1] * 2)), dtype)
    if dtypes.is_bool(dtype):
        return convert(_read(x, dtypes.uint8), dtype)
    if dtypes.is_complex(dtype):
        parts = _read(x, dtypes.to_real(dtype))
        axis, size = parts.aval.ndim - 1, parts.aval.shape[-1]
        return lax.complex(*(slice_in_dim(parts, i, size, 2, axis) for i in (0, 1)))
    return _recast(x, dtype)


def _recast(x: Value, dtype: Any) -> Value:
    """Read numbers that are one piece of memory each."""
    old, new = bit_width(x.aval.dtype), bit_width(dtype)
    *outer, last = x.aval.shape
    if old < new:
        x = reshape(x, (*outer, last * old // new, new // old))
    made = bitcast_convert_type(x, dtype)
    return reshape(made, (*outer, last * old // new)) if old > new else made


def byteswap(a: Any) -> Array:
    """Reverse the bytes of each element; the method ``x.byteswap()``.

    Args:
        a: array.

    Returns:
        An array of the same shape and dtype; of complex numbers, each part is reversed.

    Raises:
        KeyTypeError: if the array is PRNG keys.

    Example:
        >>> jnp.array([1, 256], "int16").byteswap()
        Array([256,   1], dtype=int16)
    """
    x = array_operand(a, "byteswap")
    refuse_keys("byteswap", x)
    return array(x) if x.aval.dtype.itemsize == 1 else _byteswap(x)


@fuse
def _byteswap(x: Value) -> Value:
    if dtypes.is_complex(x.aval.dtype):
        return lax.complex(_byteswap(lax.real(x)), _byteswap(lax.imag(x)))
    reversed_bytes = rev(bitcast_convert_type(x, dtypes.uint8), (x.aval.ndim,))
    return bitcast_convert_type(reversed_bytes, x.aval.dtype)
