"""What samplers check and convert before they draw: keys, shapes, dtypes, parameters."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.trace import VALUES, Value, as_value, describe
from functrax.core.types import Literal, ShapedArray
from functrax.primitives import keys
from functrax.primitives.convert import convert
from functrax.primitives.rules import broadcast_to
from functrax.primitives.select import select_n
from functrax.primitives.slice_along import index_in_dim

PYTHON_NUMBERS = (bool, int, float, complex)

_KEY_TYPES = {"threefry2x32": keys.THREEFRY}

# Keys ---------------------------------------------------------------------------------------------


def key_type(call: str, impl: Any = None, dtype: Any = None) -> dtypes.KeyType:
    """Return the dtype of keys of a generator.

    Args:
        call: the user's function.
        impl: the generator's name, or a dtype of keys; by default the option default_prng_impl.
        dtype: the same under JAX's newer name.

    Raises:
        ArgumentError: if both are given, or the name is not known.
    """
    if impl is not None and dtype is not None:
        raise errors.ArgumentError(call, "one of impl and dtype", f"{impl!r} and {dtype!r}")
    wanted = impl if impl is not None else dtype
    if wanted is None:
        wanted = config.default_prng_impl
    if isinstance(wanted, dtypes.KeyType) and wanted in _KEY_TYPES.values():
        return wanted
    found = _KEY_TYPES.get(wanted) if isinstance(wanted, str) else None
    if found is None:
        names = " or ".join(map(repr, _KEY_TYPES))
        raise errors.ArgumentError(call, f"a generator, {names}", repr(wanted))
    return found


def generator_name(dtype: dtypes.KeyType) -> str:
    """Return the name of the generator that keys of a dtype are for."""
    return next(name for name, known in _KEY_TYPES.items() if known is dtype)


def some_keys(call: str, key: Any) -> Value:
    """Return an argument that must be keys, typed or raw (uint32 words), as a value.

    Raises:
        KeyTypeError: if it is anything else.
    """
    if not isinstance(key, VALUES):
        if not hasattr(key, "__array__") or getattr(key, "dtype", None) != np.uint32:
            raise _not_keys(call, shown(key))
        key = as_value(key, call)
    aval = key.aval
    if isinstance(aval.dtype, dtypes.KeyType):
        return key
    words = key_type(call).key_shape
    if aval.dtype != np.uint32 or aval.shape[-1:] != words:
        raise _not_keys(call, shown(key))
    return key


def shown(x: Any) -> str:
    """Describe an argument for an error message; a NumPy array by its type."""
    if isinstance(x, np.ndarray):
        return f"a NumPy array of shape {x.shape} and dtype {x.dtype.name}"
    return describe(x)


def _not_keys(call: str, got: str) -> errors.KeyTypeError:
    return errors.KeyTypeError(call, "a PRNG key", got, fix="Make one with `random.key(seed)`.")


def single_key(call: str, key: Any) -> Value:
    """Return an argument that must be one key, typed or raw, as a value.

    Raises:
        KeyTypeError: if it is not a key.
        ShapeError: if it is an array of keys.
    """
    key = some_keys(call, key)
    if key.aval.ndim != (not dtypes.is_extended(key.aval.dtype)):
        fix = "Take one of them, or map over them with `vmap`."
        raise errors.ShapeError(call, "a single PRNG key", f"the keys {shown(key)}", fix=fix)
    return key


def typed(key: Value) -> Value:
    """Return keys with their dtype, whether they were typed or raw."""
    return key if dtypes.is_extended(key.aval.dtype) else keys.random_wrap(key, key_type("key"))


def bits_of(key: Value, bit_width: int, shape: tuple[int, ...], *, alone: bool = False) -> Value:
    """Draw unsigned integers from one key, typed or raw."""
    return keys.random_bits(typed(key), bit_width, shape, alone=alone)


def split_in(key: Value, count: int = 2) -> list[Value]:
    """Make keys of one key, typed or raw."""
    made = keys.random_split(typed(key), (count,))
    return [index_in_dim(made, i, 0, keepdims=False) for i in range(count)]


# Shapes -------------------------------------------------------------------------------------------


def shape_of(call: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of Python integers; of an integer, a shape of one axis.

    Raises:
        ShapeError: if it is not a sequence of integers of at least 0.
        OutOfMemoryError: if no memory could hold so many words.
    """
    try:
        whole = hasattr(shape, "__index__") and not np.shape(shape)
        sizes = (operator.index(shape),) if whole else tuple(operator.index(s) for s in shape)
    except errors.TracerError:
        raise
    except TypeError:
        sizes = (-1,)
    if any(size < 0 for size in sizes):
        raise errors.ShapeError(call, "a shape, as a tuple of integers >= 0", repr(shape))
    if math.prod(size or 1 for size in sizes) >= 2**61:
        fix = "Use smaller sizes: no device holds so much."
        expected = "an array of fewer than 2**63 bytes"
        raise errors.OutOfMemoryError(call, expected, f"shape {sizes}", fix=fix)
    return sizes


def common_shape(
    call: str, shape: Any, *parameters: Any, stretches: bool = False
) -> tuple[int, ...]:
    """Return the shape to draw: what was asked for, or else the parameters' common one.

    Args:
        call: the user's function.
        shape: what was asked for, or None.
        *parameters: the parameters, as `given` returns them.
        stretches: whether parameters may have more or longer axes than the shape asked for.

    Raises:
        ShapeError: if a parameter does not broadcast to it.
    """
    shapes = [np.shape(x) for x in parameters if not isinstance(x, (*PYTHON_NUMBERS, Literal))]
    wanted = None if shape is None else shape_of(call, shape)
    if not shapes:
        return wanted or ()
    try:
        found = np.broadcast_shapes(*shapes, *(() if wanted is None else (wanted,)))
    except ValueError:
        found = None
    if found is None or not (wanted is None or stretches or found == wanted):
        target = "one shape" if wanted is None else f"shape {wanted}"
        got = "shapes " + ", ".join(map(str, shapes))
        raise errors.ShapeError(call, f"parameters that broadcast to {target}", got)
    return found


# Dtypes -------------------------------------------------------------------------------------------


def float_dtype(call: str, dtype: Any, complex_too: bool = False) -> Any:
    """Return the dtype of floating samples: the default one if None.

    Raises:
        DtypeError: if it is not floating (or complex, where that is allowed).
    """
    found = dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, call)
    if dtypes.is_floating(found) or (complex_too and dtypes.is_complex(found)):
        return found
    kind = "a floating or complex dtype" if complex_too else "a floating dtype"
    raise errors.DtypeError(call, kind, dtypes.short_name(found))


def int_dtype(call: str, dtype: Any) -> Any:
    """Return the dtype of integer samples: the default one if None.

    Raises:
        DtypeError: if it is not an integer dtype.
    """
    found = dtypes.int_dtype() if dtype is None else dtypes.canonicalize(dtype, call)
    if not dtypes.is_integer(found):
        raise errors.DtypeError(call, "an integer dtype", dtypes.short_name(found))
    return found


def check_narrow(call: str, dtype: Any, *parameters: Any) -> None:
    """Raise if a parameter would lose precision in the samples' dtype.

    Raises:
        DtypeError: naming both dtypes.
    """
    for x in parameters:
        own, weak = dtypes.dtype_and_weak(x, call)
        joined = dtypes.promote((own, dtype), (weak, False), call)[0]
        if joined != dtype:
            raise errors.DtypeError(
                call,
                f"parameters that fit the dtype {dtypes.short_name(dtype)}",
                dtypes.short_name(own),
                fix="Convert them with `.astype(...)`, or ask for a wider dtype.",
            )


# Parameters ---------------------------------------------------------------------------------------


def given(call: str, dtype: Any, **parameters: Any) -> list[Any]:
    """Return parameters that must be numbers, or arrays of them, as operands.

    Args:
        call: the user's function.
        dtype: what is drawn in; complex numbers are for complex dtypes alone. None for any floats.
        **parameters: what was given, by name.

    Returns:
        Arrays as they are, Python numbers as constants of the dtype (as they are if it is None).

    Raises:
        ArgumentError, KeyTypeError: if one is not a number or an array of numbers.
        DtypeError: if one is complex, and the dtype is not.
        IntegerOverflowError: if an integer is beyond the dtype.
    """
    found = []
    for name, x in parameters.items():
        value = _operand(call, name, x)
        known = isinstance(value, PYTHON_NUMBERS)
        of_pairs = isinstance(value, complex) if known else dtypes.is_complex(value.aval.dtype)
        if of_pairs and (dtype is None or not dtypes.is_complex(dtype)):
            fix = "Take the real part, `.real`."
            raise errors.DtypeError(call, f"real numbers for {name!r}", shown(x), fix=fix)
        found.append(value if dtype is None else exact(call, value, dtype))
    return found


def _operand(call: str, name: str, x: Any) -> Any:
    """Return a Python number as it is, and an array as a value."""
    if isinstance(x, PYTHON_NUMBERS):
        return x
    expected = f"a number, or an array of numbers, for {name!r}"
    try:
        value = as_value(x, call)
    except errors.IntegerOverflowError:
        raise
    except errors.FunctraxError as error:
        fix = "Pass a number, or convert what you have with `jnp.asarray`."
        raise errors.ArgumentError(call, expected, shown(x), fix=fix) from error
    if dtypes.is_extended(value.aval.dtype):
        raise errors.KeyTypeError(call, expected, f"the PRNG key {value.aval!r}")
    return value


def exact(call: str, x: Any, dtype: Any) -> Any:
    """Return a Python number in the samples' dtype; of default width it would be rounded twice.

    Raises:
        IntegerOverflowError: if it is an integer beyond the dtype, which would become infinite.
    """
    if not isinstance(x, PYTHON_NUMBERS):
        return x
    if isinstance(x, int) and abs(x) > float(dtypes.finfo(dtype).max):
        expected = f"a number that {dtypes.short_name(dtype)} holds"
        got = f"an integer of {x.bit_length()} bits"
        raise errors.IntegerOverflowError(call, expected, got)
    return constant(x, dtype)


def parameter(x: Any, dtype: Any) -> Value:
    """Return a parameter of a distribution in the samples' dtype."""
    return convert(as_value(exact("random", x, dtype), "random"), dtype)


def constant(value: Any, dtype: Any) -> Literal:
    """Return a number as a constant of a dtype, rounded to it."""
    return Literal(np.asarray(value, dtype).item(), ShapedArray((), dtype))


def spread(x: Value, shape: Sequence[int]) -> Value:
    """Broadcast a parameter to the shape that is drawn."""
    return broadcast_to(x, tuple(shape))


def aligned(x: Value, rank: int) -> Value:
    """Give a parameter leading axes of size 1, so that it broadcasts against the samples."""
    return x if not x.aval.shape else spread(x, (1,) * (rank - x.aval.ndim) + x.aval.shape)


def where(condition: Value, x: Value, y: Value) -> Value:
    """Pick x where the condition holds, else y."""
    shape = np.broadcast_shapes(condition.aval.shape, x.aval.shape, y.aval.shape)
    return select_n(spread(condition, shape), spread(y, shape), spread(x, shape))
