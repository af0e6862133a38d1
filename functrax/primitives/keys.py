"""PRNG keys: arrays of a dtype of their own, and what makes keys and random bits of them.

The words of a key lie along a trailing axis that only the lowering sees.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, declare
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives import threefry
from functrax.primitives.rules import (
    Dim,
    broadcast_shape,
    check_kind,
    elementwise_batch,
    move_batch_axis,
)

THREEFRY = dtypes.KeyType("fry", (2,))
UINT_OF_WIDTH = {8: dtypes.uint8, 16: dtypes.uint16, 32: dtypes.uint32, 64: dtypes.uint64}


def check_keys(call: str, aval: ShapedArray) -> None:
    """Raise unless a value is an array of typed keys.

    Raises:
        KeyTypeError: if it holds numbers.
    """
    if aval.dtype is not THREEFRY:
        fix = "Make one with `random.key(seed)`, or wrap raw words with `random.wrap_key_data`."
        raise errors.KeyTypeError(call, "an array of PRNG keys", repr(aval), fix=fix)


# random_wrap and random_unwrap --------------------------------------------------------------------


def random_wrap(words: Any, dtype: Any = THREEFRY) -> Value:
    """Give raw words the dtype of keys.

    Args:
        words: uint32 array of shape (..., 2).
        dtype: the KeyType.

    Returns:
        An array of keys of shape (...).

    Raises:
        KeyTypeError: if they cannot be the words of keys of that type.
    """
    return bind(random_wrap_p, as_value(words, "random_wrap"), dtype=dtype)[0]


def _wrap_abstract(words: ShapedArray, *, dtype: dtypes.KeyType) -> tuple[ShapedArray]:
    split = words.ndim - len(dtype.key_shape)
    if words.dtype != np.uint32 or split < 0 or words.shape[split:] != dtype.key_shape:
        sizes = ", ".join(map(str, dtype.key_shape))
        expected = f"a PRNG key, or a uint32 array of shape (..., {sizes})"
        fix = "Make a key with `random.key(seed)`."
        raise errors.KeyTypeError("random_wrap", expected, repr(words), fix=fix)
    return (words.update(shape=words.shape[:split], dtype=dtype),)


def _wrap_batch(axis: BatchAxis, operands: Any, dims: Sequence[Dim], *, dtype: Any) -> Any:
    return bind(random_wrap_p, move_batch_axis(axis, operands[0], dims[0]), dtype=dtype), [0]


random_wrap_p = declare(
    "random_wrap",
    abstract_eval=_wrap_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_wrap_batch,
    lower=lambda b, words, dtype: words,
    lowers_keys=True,
)


def random_unwrap(keys: Any) -> Value:
    """Return the words of keys.

    Args:
        keys: array of keys of shape s.

    Returns:
        A uint32 array of shape (*s, 2).

    Raises:
        KeyTypeError: if they are not keys.
    """
    return bind(random_unwrap_p, as_value(keys, "random_unwrap"))[0]


def _unwrap_abstract(keys: ShapedArray) -> tuple[ShapedArray]:
    check_keys("random_unwrap", keys)
    return (keys.update(shape=(*keys.shape, *keys.dtype.key_shape), dtype=dtypes.uint32),)


random_unwrap_p = declare(
    "random_unwrap",
    abstract_eval=_unwrap_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=lambda axis, operands, dims: (bind(random_unwrap_p, *operands), dims),
    lower=lambda b, keys: keys,
    lowers_keys=True,
)

# random_clone -------------------------------------------------------------------------------------


def random_clone(keys: Any) -> Value:
    """Return the same keys, written down as such in a program.

    Args:
        keys: array of keys.

    Returns:
        The same array.

    Raises:
        KeyTypeError: if they are not keys.
    """
    return bind(random_clone_p, as_value(keys, "clone"))[0]


def _clone_abstract(keys: ShapedArray) -> tuple[ShapedArray]:
    check_keys("clone", keys)
    return (keys,)


random_clone_p = declare(
    "random_clone",
    abstract_eval=_clone_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=lambda axis, operands, dims: (bind(random_clone_p, *operands), dims),
    lower=lambda b, keys: keys,
    lowers_keys=True,
)

# random_seed --------------------------------------------------------------------------------------


def random_seed(seeds: Any, dtype: Any = THREEFRY) -> Value:
    """Make keys of integers: the words of a key are the upper and lower half of its 64-bit seed.

    Args:
        seeds: integer array of shape s; of fewer than 64 bits, it gives the lower half.
        dtype: the KeyType.

    Returns:
        An array of keys of shape s.

    Raises:
        DtypeError: if the seeds are not integers.
    """
    return bind(random_seed_p, as_value(seeds, "random_seed"), dtype=dtype)[0]


def _seed_abstract(seeds: ShapedArray, *, dtype: dtypes.KeyType) -> tuple[ShapedArray]:
    check_kind("key", seeds, "iu")
    return (seeds.update(dtype=dtype, weak_type=False),)


def _seed_lower(b: Any, seeds: Any, *, dtype: Any) -> Any:
    return threefry.write_seed(b, seeds, b.in_types[0])


random_seed_p = declare(
    "random_seed",
    abstract_eval=_seed_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=partial(elementwise_batch, "random_seed"),
    lower=_seed_lower,
    lowers_keys=True,
)

# random_split -------------------------------------------------------------------------------------


def random_split(keys: Any, shape: tuple[int, ...]) -> Value:
    """Make new keys of each key.

    Args:
        keys: array of keys of shape s.
        shape: the shape of new keys to make of each.

    Returns:
        An array of keys of shape (*s, *shape).

    Raises:
        KeyTypeError: if `keys` are not keys.
    """
    params = {"shape": shape, "partitionable": config.threefry_partitionable}
    return bind(random_split_p, as_value(keys, "split"), **params)[0]


def _split_abstract(keys: ShapedArray, *, shape: tuple[int, ...], **_: Any) -> tuple[ShapedArray]:
    check_keys("split", keys)
    return (keys.update(shape=(*keys.shape, *shape)),)


def _split_batch(axis: BatchAxis, operands: Any, dims: Sequence[Dim], **params: Any) -> Any:
    keys = move_batch_axis(axis, operands[0], dims[0])
    return bind(random_split_p, keys, **params), [0]


def _split_lower(b: Any, keys: Any, *, shape: tuple[int, ...], partitionable: bool) -> Any:
    outer, out = b.in_types[0].shape, b.out_types[0]
    write = threefry.write_split if partitionable else threefry.write_split_in_halves
    return b.outline(
        "random_split", (shape, partitionable), (keys,), lambda keys: [write(b, keys, outer, out)]
    )


random_split_p = declare(
    "random_split",
    abstract_eval=_split_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_split_batch,
    lower=_split_lower,
    lowers_keys=True,
)

# random_fold_in -----------------------------------------------------------------------------------


def random_fold_in(keys: Any, data: Any) -> Value:
    """Make a new key of each key and a number.

    Args:
        keys: array of keys.
        data: uint32 array; both of one shape, or scalars.

    Returns:
        An array of keys of the common shape.

    Raises:
        KeyTypeError: if `keys` are not keys.
    """
    return bind(random_fold_in_p, as_value(keys, "fold_in"), as_value(data, "fold_in"))[0]


def _fold_in_abstract(keys: ShapedArray, data: ShapedArray) -> tuple[ShapedArray]:
    check_keys("fold_in", keys)
    if data.dtype != np.uint32:
        raise errors.DtypeError("fold_in", "a uint32 number", repr(data))
    shape = broadcast_shape("fold_in", (keys, data))
    return (ShapedArray(shape, keys.dtype, False, keys.varying | data.varying),)


def _fold_in_lower(b: Any, keys: Any, data: Any) -> Any:
    types, out = b.in_types, b.out_types[0]
    return b.outline(
        "random_fold_in",
        (),
        (keys, data),
        lambda keys, data: [threefry.write_fold_in(b, keys, data, types, out)],
    )


random_fold_in_p = declare(
    "random_fold_in",
    abstract_eval=_fold_in_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=partial(elementwise_batch, "random_fold_in"),
    lower=_fold_in_lower,
    lowers_keys=True,
)

# random_bits --------------------------------------------------------------------------------------


def random_bits(keys: Any, bit_width: int, shape: tuple[int, ...], *, alone: bool = False) -> Value:
    """Draw random bits for each key.

    Args:
        keys: array of keys of shape s.
        bit_width: 8, 16, 32 or 64.
        shape: the shape to draw for each.
        alone: whether to keep XLA from fusing the hash with what uses the bits.

    Returns:
        An array of unsigned integers of that width and shape (*s, *shape).

    Raises:
        KeyTypeError: if `keys` are not keys.
    """
    params = {
        "bit_width": bit_width,
        "shape": shape,
        "partitionable": config.threefry_partitionable,
    } | ({"alone": True} if alone else {})
    return bind(random_bits_p, as_value(keys, "bits"), **params)[0]


def _bits_abstract(
    keys: ShapedArray,
    *,
    bit_width: int,
    shape: tuple[int, ...],
    partitionable: bool,
    alone: bool = False,
    lanes: int = 1,
) -> tuple[ShapedArray]:
    check_keys("bits", keys)
    if not partitionable and bit_width * math.prod(shape) > 32 * (2**32 - 1):
        fix = "Set the option threefry_partitionable to True."
        raise errors.ShapeError("bits", "at most 2**32 words per key", repr(shape), fix=fix)
    dtype = UINT_OF_WIDTH[bit_width]
    return (ShapedArray((*keys.shape, *shape), dtype, False, keys.varying),)


def _bits_batch(axis: BatchAxis, operands: Any, dims: Sequence[Dim], **params: Any) -> Any:
    keys = move_batch_axis(axis, operands[0], dims[0])
    return bind(random_bits_p, keys, **params), [0]


def _bits_lower(b: Any, keys: Any, lanes: int = 1, **params: Any) -> Any:
    del lanes  # how many lanes of vmap share the bits
    outer, out = b.in_types[0].shape, b.out_types[0]
    width, alone = params["bit_width"], params.get("alone", False)
    write = threefry.write_bits if params["partitionable"] else threefry.write_bits_in_halves
    return b.outline(
        f"random_bits_{width}",
        tuple(params.values()),
        (keys,),
        lambda keys: [write(b, keys, outer, width, out, alone)],
    )


random_bits_p = declare(
    "random_bits",
    abstract_eval=_bits_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_bits_batch,
    lower=_bits_lower,
    lowers_keys=True,
)
