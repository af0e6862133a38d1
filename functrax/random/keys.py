"""Keys: how they are made of seeds, of each other, and of raw words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.trace import VALUES, Array, Value, as_value, state
from functrax.core.types import Literal, ShapedArray
from functrax.primitives import keys as key_primitives
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add
from functrax.random.arguments import (
    generator_name,
    key_type,
    shape_of,
    shown,
    single_key,
    some_keys,
    typed,
)


def key(seed: Any, *, impl: Any = None, dtype: Any = None) -> Array:
    """Make a typed PRNG key of a seed.

    Args:
        seed: an integer, or an integer array of shape (). Of a Python integer the low 32 bits
            count, or 64 under ``enable_x64``.
        impl: the generator: its name, such as ``"threefry2x32"``, or a dtype of keys; by default
            the option ``default_prng_impl``.
        dtype: the same, under its newer name.

    Returns:
        A key: an array of shape () and a dtype of keys.

    Raises:
        ShapeError: if the seed is not a scalar.
        DtypeError: if it is not an integer.
        KeyTypeError: if it is a key already.

    Example:
        >>> key(0)
        Array((), dtype=key<fry>)

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    return _seeded("key", seed, key_type("key", impl, dtype))


def PRNGKey(seed: Any, *, impl: Any = None) -> Array:  # noqa: N802  (the name is JAX's)
    """Make a raw PRNG key of a seed: its words, as unsigned integers. Prefer `key`.

    Args:
        seed: an integer, or an integer array of shape (), as for `key`.
        impl: the generator, as for `key`. The key does not say which one it is for.

    Returns:
        A uint32 array of shape (2,); or a typed key under the option ``enable_custom_prng``.

    Raises:
        ShapeError, DtypeError, KeyTypeError: as `key`.

    Example:
        >>> PRNGKey(42)
        Array([ 0, 42], dtype=uint32)
    """
    made = _seeded("PRNGKey", seed, key_type("PRNGKey", impl))
    return made if config.enable_custom_prng else key_primitives.random_unwrap(made)


def _seeded(call: str, seed: Any, dtype: dtypes.KeyType) -> Value:
    if not isinstance(seed, VALUES):
        return key_primitives.random_seed(_host_seed(call, seed), dtype)
    if dtypes.is_extended(seed.aval.dtype):
        raise errors.KeyTypeError(call, "an integer as the seed", shown(seed))
    if seed.aval.shape:
        raise _not_one(call, "seed", shown(seed))
    if not dtypes.is_integer(seed.aval.dtype):
        raise errors.DtypeError(call, "an integer as the seed", shown(seed))
    offset = config.random_seed_offset
    if offset:
        seed = add(seed, Literal(_wrapped(offset, seed.aval.dtype), seed.aval.update(shape=())))
    return key_primitives.random_seed(seed, dtype)


def _host_seed(call: str, seed: Any) -> Literal:
    """Return a Python or NumPy integer as a constant; what does not fit is cut off."""
    array = isinstance(seed, np.ndarray | np.generic)
    if array and np.shape(seed):
        raise _not_one(call, "seed", shown(seed))
    if not isinstance(seed, int) and not (array and dtypes.is_integer(seed.dtype)):
        raise errors.DtypeError(call, "an integer as the seed", shown(seed))
    dtype = dtypes.default_of(seed.dtype) if array else dtypes.int_dtype()
    number = int(seed)
    if not array:
        _check_width(call, "seed", number, -(2**63), 2**63)
    return Literal(
        _wrapped(number + config.random_seed_offset, dtype), ShapedArray((), np.dtype(dtype))
    )


def _check_width(call: str, what: str, number: int, low: int, high: int) -> None:
    if not low <= number < high:
        expected = f"{what} from {low} to {high - 1}"
        fix = "Cut it off, for example with `% 2**32`."
        raise errors.IntegerOverflowError(call, expected, str(number), fix=fix)


def _wrapped(number: int, dtype: Any) -> int:
    """Return what is left of an integer in a dtype: its low bits."""
    info = dtypes.iinfo(dtype)
    return (number - info.min) % 2**info.bits + info.min


def _not_one(call: str, what: str, got: str) -> errors.ShapeError:
    return errors.ShapeError(call, f"a scalar as the {what}", got, fix="Map over it with `vmap`.")


def split(key: Any, num: int | Sequence[int] = 2) -> Array:
    """Make several independent keys of one, which should not be used again.

    Args:
        key: a PRNG key, typed or raw.
        num: how many, or the shape of the array of keys to make.

    Returns:
        An array of typed keys of shape (num,) or `num`; for a raw key, uint32 of shape (..., 2).

    Raises:
        KeyTypeError: if it is not a key.
        ShapeError: if it is several keys, or `num` is not a shape.

    Example:
        >>> key = PRNGKey(0)
        >>> split(key).shape, split(key, (3, 2)).shape
        ((2, 2), (3, 2, 2))

    Source: Claessen and Palka, "Splittable pseudorandom number generators using cryptographic
        hashing" (Haskell 2013).
    """
    key = single_key("split", key)
    shape = shape_of("split", num if isinstance(num, Sequence) else (num,))
    return _like(key, key_primitives.random_split(typed(key), shape))


def fold_in(key: Any, data: Any) -> Array:
    """Make a new key of a key and a number, such as the step of a loop.

    Args:
        key: a PRNG key, typed or raw.
        data: an integer from 0 to 2**32 - 1, or an integer array of shape (), of which the low 32
            bits count.

    Returns:
        A key of the same kind.

    Raises:
        KeyTypeError: if `key` is not a key.
        ShapeError: if there are several keys or numbers.
        DtypeError: if `data` is not an integer.
        IntegerOverflowError: if a Python integer does not fit 32 bits.

    Example:
        >>> fold_in(PRNGKey(0), 7)
        Array([2716826189,  292468403], dtype=uint32)

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    key = single_key("fold_in", key)
    return _like(key, key_primitives.random_fold_in(typed(key), _number("fold_in", data)))


def _number(call: str, data: Any) -> Value:
    """Return an integer as uint32."""
    if isinstance(data, int):
        _check_width(call, "data", data, 0, 2**32)
        return Literal(int(data), ShapedArray((), dtypes.uint32))
    if np.shape(data):
        raise _not_one(call, "data", shown(data))
    if isinstance(data, np.ndarray | np.generic) and dtypes.is_integer(data.dtype):
        data = data.astype(np.uint32)
    value = as_value(data, call)
    if not dtypes.is_integer(value.aval.dtype):
        raise errors.DtypeError(call, "an integer as the data", shown(data))
    return convert(value, dtypes.uint32)


def _like(key: Value, made: Value) -> Array:
    """Return keys typed or raw, as the key they were made of was."""
    raw = not dtypes.is_extended(key.aval.dtype) and not config.enable_custom_prng
    return key_primitives.random_unwrap(made) if raw else made


def clone(key: Any) -> Array:
    """Return the same key, to say that using it twice is meant; no warning is given of the copy.

    Args:
        key: keys, typed or raw.

    Returns:
        The same keys.

    Raises:
        KeyTypeError: if they are not keys.

    Example:
        >>> clone(PRNGKey(1))
        Array([0, 1], dtype=uint32)
    """
    keys = some_keys("clone", key)
    return keys if state.trace is None else _like(keys, key_primitives.random_clone(typed(keys)))


def key_data(keys: Any) -> Array:
    """Return the words of keys.

    Args:
        keys: keys, typed or raw, of any shape.

    Returns:
        A uint32 array with the words along a new last axis; raw keys as they are.

    Raises:
        KeyTypeError: if they are not keys.

    Example:
        >>> key_data(key(42))
        Array([ 0, 42], dtype=uint32)
    """
    return key_primitives.random_unwrap(typed(some_keys("key_data", keys)))


def wrap_key_data(key_bits_array: Any, *, impl: Any = None, dtype: Any = None) -> Array:
    """Make typed keys of their words.

    Args:
        key_bits_array: uint32 array of shape (..., 2).
        impl: the generator, as for `key`.
        dtype: the same, under its newer name.

    Returns:
        An array of keys of shape (...).

    Raises:
        KeyTypeError: if the array cannot hold the words of keys.

    Example:
        >>> import numpy as np
        >>> wrap_key_data(np.array([[0, 42], [0, 43]], np.uint32))
        Array((2,), dtype=key<fry>)
    """
    kind = key_type("wrap_key_data", impl, dtype)
    words = as_value(key_bits_array, "wrap_key_data")
    if words.aval.dtype != np.uint32 or words.aval.shape[-1:] != kind.key_shape:
        expected = f"a uint32 array of shape (..., {kind.key_shape[0]})"
        raise errors.KeyTypeError("wrap_key_data", expected, shown(key_bits_array))
    return key_primitives.random_wrap(words, kind)


def key_impl(keys: Any) -> str:
    """Return the name of the generator that keys are for.

    Args:
        keys: keys, typed or raw, of any shape.

    Returns:
        The name, which `key` and `wrap_key_data` take as `impl`.

    Raises:
        KeyTypeError: if they are not keys.

    Example:
        >>> key_impl(key(0))
        'threefry2x32'
    """
    dtype = some_keys("key_impl", keys).aval.dtype
    return generator_name(dtype if dtypes.is_extended(dtype) else key_type("key_impl"))


def key_dtype(impl_spec: Any = None) -> dtypes.KeyType:
    """Return the dtype of the keys of a generator.

    Args:
        impl_spec: its name, or a dtype of keys; by default the option ``default_prng_impl``.

    Returns:
        A dtype of keys.

    Raises:
        ArgumentError: if there is no such generator.

    Example:
        >>> key_dtype("threefry2x32")
        key<fry>
    """
    return key_type("key_dtype", impl_spec)
