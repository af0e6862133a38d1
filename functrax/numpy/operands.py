"""What every function of this package does first: operands of one dtype, with axes that line up.

Python's numbers become weak literals of the dtype that they meet, kept for the next time; nothing
is written into a traced program for them.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.primitive import registry
from functrax.core.source import current_source
from functrax.core.trace import VALUES, Array, Value, as_value, bind, describe
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.convert import convert
from functrax.primitives.rules import reshape
from functrax.runtime.devices import default_device
from functrax.runtime.dispatch import fresh_array

#: What an operator takes beside arrays; for anything else it returns NotImplemented.
ACCEPTED = (bool, int, float, complex, np.ndarray, np.generic)


def mixes(x: Any) -> bool:
    """Tell whether operators take a value as the other operand: an array (ours, NumPy's or JAX's,
    known by its `aval`) or a number.
    """
    return isinstance(x, _MIXED) or hasattr(x, "aval")


_MIXED = (Array, *ACCEPTED)

#: (number, its Python type, dtype) -> Literal; -0.0 is not in it, for it equals 0.0.
literals: dict[Any, Literal] = {}


# ---- Python's numbers


def literal(value: Any, dtype: Any, call: str) -> Literal:
    """Return a Python number as a weak literal of a dtype that it promotes to.

    Raises:
        IntegerOverflowError: if an integer does not fit the dtype.
    """
    made = Literal(as_kind(value, dtype, call), ShapedArray((), dtype, not dtypes.is_bool(dtype)))
    kind = type(value)
    if kind is int or (kind is float and (value or math.copysign(1.0, value) > 0)):
        if len(literals) > 4096:
            literals.clear()
        literals[value, kind, dtype] = made
    return made


def number(value: Any, dtype: Any) -> Literal:
    """Return a constant of a function's formula: weak, so that it does not decide the result's
    type.
    """
    found = literals.get((value, type(value), dtype))
    return found if found is not None else literal(value, dtype, "constant")


def as_kind(value: Any, dtype: Any, call: str) -> Any:
    """Return a Python number as the Python type of a dtype's kind.

    Raises:
        IntegerOverflowError: if an integer does not fit.
        ArgumentError: if NaN would be an integer.
        DtypeError: if an imaginary part would be lost.
        KeyTypeError: if the dtype is that of keys.
    """
    if dtypes.is_extended(dtype):
        fix = "Use `random.key_data(keys)`, the bits of keys as numbers."
        raise errors.KeyTypeError(call, "a dtype of numbers", f"{dtype}", fix=fix)
    if dtypes.is_bool(dtype):
        return bool(value)
    if dtypes.is_complex(dtype):
        return complex(value)
    if isinstance(value, complex):
        raise errors.DtypeError(call, "a complex dtype for a complex number", str(dtype))
    if dtypes.is_integer(dtype):
        value = whole(value, dtype, call) if isinstance(value, float) else value
        dtypes.check_fits(value, dtype, call)
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        raise errors.IntegerOverflowError(
            call,
            f"a number that {dtypes.short_name(dtype)} holds",
            f"an integer of {value.bit_length()} bits",
        ) from None
    if (dtype.itemsize < 4 or abs(number) > 3e38) and math.isfinite(number):
        with np.errstate(all="ignore"):
            rounded = float(np.asarray(number).astype(dtype))
        return number if math.isfinite(rounded) else rounded
    return number


def whole(x: float, dtype: Any, call: str) -> int:
    """Return a Python number without its fraction, for a dtype of integers."""
    if math.isfinite(x):
        return int(x)
    kind = errors.ArgumentError if math.isnan(x) else errors.IntegerOverflowError
    raise kind(call, f"numbers that {dtype.name} holds", str(x))


def is_python_scalar(x: Any) -> bool:
    """Tell whether a value is a weakly typed number of Python's (or a bool), not one of NumPy's."""
    return isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic)


def operand(x: Any, call: str) -> Value:
    """Return anything array-like as an operand of `bind`.

    Raises:
        ArgumentError: if it is not array-like; lists are not (`jnp.array` takes them).
    """
    if isinstance(x, VALUES):
        return x
    if isinstance(x, np.generic):
        return _numpy_scalar(x, call)
    return as_value(x, call)


def numeric(x: Any, call: str) -> Value:
    """Return anything array-like but PRNG keys as an operand of `bind`.

    Raises:
        ArgumentError, KeyTypeError: if it is not array-like, or keys.
    """
    value = operand(x, call)
    refuse_keys(call, value)
    return value


def refuse_keys(call: str, *values: Value) -> None:
    """Raise if a value is PRNG keys, which are no numbers.

    Raises:
        KeyTypeError: showing its type.
    """
    for x in values:
        if dtypes.is_extended(x.aval.dtype):
            fix = "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for "
            got = f"the PRNG key {x.aval!r}"
            raise errors.KeyTypeError(call, "an array of numbers", got, fix=fix + "numbers.")


def number_dtype(dtype: Any, call: str) -> Any:
    """Return the dtype of numbers that a user asked for.

    Raises:
        DtypeError, KeyTypeError: if it is no dtype, or that of keys.
    """
    found = dtypes.canonicalize(dtype, call)
    if dtypes.is_extended(found):
        raise errors.KeyTypeError(call, "a dtype of numbers", f"{found}")
    return found


def dtype_or_default(call: str, dtype: Any) -> Any:
    """Return the dtype asked for, or the default float."""
    return dtypes.float_dtype() if dtype is None else dtypes.canonicalize(dtype, call)


def real_number(call: str, name: str, value: Any) -> float:
    """Return an argument that must be a known real number.

    Raises:
        ArgumentError: naming the argument.
    """
    if not isinstance(value, int | float | np.integer | np.floating):
        raise errors.ArgumentError(call, f"a number for {name!r}", describe(value))
    return value  # pyright: ignore[reportReturnType]


def known_real(call: str, name: str, value: Any) -> float:
    """Return an argument that must be a known real number, or an array of one, as a float.

    Raises:
        ArgumentError: naming the argument; TracerArrayError: if it is traced.
    """
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError) as error:
        if isinstance(error, errors.TracerError):
            raise
    raise errors.ArgumentError(call, f"a number for {name!r}", describe(value))


def _numpy_scalar(x: np.generic, call: str) -> Value:
    """Return a NumPy scalar as a literal: strong, 32 bits wide if it was wider."""
    dtype = dtypes.default_of(dtypes.canonicalize(x.dtype, call))
    number = x.item()
    if not isinstance(number, bool | int | float | complex):
        return as_value(x, call)
    return Literal(as_kind(number, dtype, call), ShapedArray((), dtype))


def to_array(x: Value) -> Array:
    """Return what users may hold: literals become arrays."""
    return fresh_array(x, default_device()) if type(x) is Literal else x


def array_operand(x: Any, call: str) -> Array:
    """Return anything array-like as an array or tracer."""
    return x if isinstance(x, Array) else to_array(operand(x, call))


# ---- one dtype


def cast(x: Value, dtype: Any, weak_type: bool = False) -> Value:
    """Return an operand with a dtype; a literal is rewritten, not converted by the program.

    An operand of the dtype is returned as it is, weak or not: operations take care of weakness.
    """
    aval = x.aval
    if aval.dtype is dtype or aval.dtype == dtype:
        return x
    if type(x) is Literal:
        return Literal(as_kind(x.value, dtype, "convert"), ShapedArray((), dtype, weak_type))
    if dtypes.is_bool(dtype) and dtypes.is_complex(aval.dtype):
        return bind(registry["ne"], x, number(0, aval.dtype))[0]
    return convert(x, dtype, weak_type)


def strong(x: Value) -> Value:
    """Return a value that does not yield in promotion."""
    if not x.aval.weak_type:
        return x
    if type(x) is Literal:
        return Literal(x.value, x.aval.strong())
    return convert(x, x.aval.dtype, False)


def to_inexact(dtype: Any) -> Any:
    """Return the dtype in which a function like ``sin`` takes a number: integers become floats.

    They become the default float, or float64 for 64-bit integers, which are only there if asked
    for.
    """
    if dtypes.is_inexact(dtype) or dtypes.is_extended(dtype):
        return dtype
    return dtypes.float64 if dtype.itemsize == 8 else dtypes.float_dtype()


def inexact(x: Any, call: str) -> Value:
    """Return an operand of floating or complex dtype."""
    x = numeric(x, call)
    return cast(x, to_inexact(x.aval.dtype), x.aval.weak_type)


def two_operands(call: str, x1: Any, x2: Any, to_float: bool = False) -> tuple[Value, Value]:
    """Return operands of `bind`; a Python number takes the dtype that promotion gives it."""
    if isinstance(x1, VALUES):
        if type(x2) in dtypes.PYTHON_SCALARS:
            return x1, _beside(call, x2, x1.aval, to_float)
        return x1, operand(x2, call)
    if isinstance(x2, VALUES) and type(x1) in dtypes.PYTHON_SCALARS:
        return _beside(call, x1, x2.aval, to_float), x2
    return operand(x1, call), operand(x2, call)


def _beside(call: str, number: Any, aval: ShapedArray, to_float: bool) -> Value:
    """Return a Python number as a literal of what it and an array promote to."""
    kind = type(number)
    if number:
        found = literals.get((number, kind, aval.dtype))
        if found is not None:
            return found
    own = dtypes.python_scalar_dtype(kind)
    kinds = (aval.dtype, own), (aval.weak_type, kind is not bool)
    dtype, weak = dtypes.promote(*kinds, call)
    if to_float and not dtypes.is_inexact(dtype):
        dtype = to_inexact(dtype)  # 256 need not fit uint8 to divide by it
        return Literal(as_kind(number, dtype, call), ShapedArray((), dtype, weak))
    return literal(number, dtype, call)


def of_one_dtype(call: str, x1: Value, x2: Value, to_float: bool = False) -> list[Value]:
    """Return two operands of `bind` brought to their common dtype."""
    left, right = x1.aval, x2.aval
    if left.dtype is right.dtype and (not to_float or dtypes.is_inexact(left.dtype)):
        return [x1, x2]
    kinds = (left.dtype, right.dtype), (left.weak_type, right.weak_type)
    dtype, weak = dtypes.promote(*kinds, call)
    if to_float:
        refuse_keys(call, x1)
        dtype = to_inexact(dtype)
    return [cast(x1, dtype, weak), cast(x2, dtype, weak)]


def promote(call: str, *operands: Any, to_float: bool = False) -> list[Value]:
    """Return operands brought to their common dtype; shapes stay as they are.

    Args:
        call: the user's function.
        *operands: anything array-like.
        to_float: whether integers become floats.

    Raises:
        TypePromotionError: if there is no common dtype.
    """
    if len(operands) == 2:
        return of_one_dtype(call, *two_operands(call, *operands, to_float), to_float)
    agreeing = _agreeing(operands, to_float)
    if agreeing is not None:
        return agreeing
    kinds: list[Any] = []
    weak: list[bool] = []
    values: list[Any] = []
    for x in operands:
        if is_python_scalar(x):
            kind = dtypes.python_scalar_kind(type(x))
            kinds.append(dtypes.python_scalar_dtype(kind))
            weak.append(kind is not bool)
        else:
            x = operand(x, call)
            kinds.append(x.aval.dtype)
            weak.append(x.aval.weak_type)
        values.append(x)
    dtype, is_weak = dtypes.promote(tuple(kinds), tuple(weak), call)
    if to_float:
        dtype = to_inexact(dtype)
    brought = [
        cast(x, dtype, is_weak) if isinstance(x, VALUES) else literal(x, dtype, call)
        for x in values
    ]
    if not is_weak and all(x.aval.weak_type for x in brought):
        brought[0] = strong(brought[0])  # booleans as floats
    return brought


def _agreeing(operands: tuple[Any, ...], to_float: bool) -> list[Value] | None:
    """Return arrays of one dtype and Python numbers met before beside it, or None for others."""
    dtype = next((x.aval.dtype for x in operands if isinstance(x, VALUES)), None)
    if dtype is None or (to_float and not dtypes.is_inexact(dtype)):
        return None
    found: list[Value] = []
    for x in operands:
        if isinstance(x, VALUES):
            if x.aval.dtype is not dtype:
                return None
            found.append(x)
            continue
        kind = type(x)
        known = literals.get((x, kind, dtype)) if kind is float or kind is int else None
        if known is None or (kind is float and not x and math.copysign(1.0, x) < 0):
            return None
        found.append(known)
    return found


# ---- axes that line up


def align(call: str, *operands: Value) -> list[Value]:
    """Return operands whose shapes broadcast without further ado: scalars, or axes of equal number.

    Raises:
        ShapeError: showing the shapes, if they do not broadcast.
    """
    ranks = {x.aval.ndim for x in operands}
    if len(ranks) == 1 or (len(ranks) == 2 and 0 in ranks):
        return list(operands)
    rank = max(ranks)
    broadcast_shapes(call, [x.aval.shape for x in operands])
    check_ranks(call, operands)
    return [x if x.aval.ndim in (0, rank) else raise_rank(x, rank) for x in operands]


def check_ranks(call: str, operands: Sequence[Value]) -> None:
    """Warn of, or refuse, arrays of unequal ranks (scalars apart) if ``numpy_rank_promotion`` says
    so.

    Raises:
        ShapeError: showing the shapes.
    """
    mode = config.numpy_rank_promotion
    if mode == "allow" or len({x.aval.ndim for x in operands} - {0}) < 2:
        return
    error = errors.ShapeError(
        call,
        f"arrays of one rank, because numpy_rank_promotion={mode!r}",
        ", ".join(str(x.aval.shape) for x in operands),
        fix="Add the missing axes in front, `x[None, :]`.",
    )
    if mode == "raise":
        raise error
    source = current_source("")
    place = (source.filename, source.line) if source else (__file__, 0)
    warnings.warn_explicit(str(error), UserWarning, *place)


def raise_rank(x: Value, rank: int) -> Value:
    """Put axes of size 1 in front."""
    return reshape(x, (1,) * (rank - x.aval.ndim) + x.aval.shape)


def broadcast_shapes(call: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to, by NumPy's rule.

    Raises:
        ShapeError: showing the shapes.
    """
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1 and result[axis] not in (1, size):
                raise errors.ShapeError(
                    call,
                    "shapes that broadcast together",
                    ", ".join(map(str, shapes)),
                    fix="Sizes of trailing axes must be equal, or 1.",
                )
            if size != 1:
                result[axis] = size
    return tuple(result)


# ---- arguments


def refuse_out(call: str, out: Any) -> None:
    """Refuse NumPy's ``out=``: arrays are immutable.

    Raises:
        ArgumentError: if it is given.
    """
    if out is not None:
        raise errors.ArgumentError(
            call, "out=None", describe(out), fix="Arrays are immutable: use the result."
        )


def shape_of(call: str, shape: Any) -> tuple[int, ...]:
    """Return a shape argument as a tuple: an int, or a sequence of ints, none negative.

    Raises:
        ArgumentError: if it is neither; TracerIndexError: if a size is traced.
    """
    if type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape):
        return shape
    try:
        found = (
            (shape.__index__(),)  # pyright: ignore[reportAttributeAccessIssue]
            if hasattr(shape, "__index__") and not getattr(shape, "ndim", 0)
            else tuple(s.__index__() for s in shape)
        )
    except AttributeError:
        found = (-1,)
    except TypeError as error:
        if isinstance(error, errors.TracerError):
            raise
        found = (-1,)
    if any(size < 0 for size in found):
        raise errors.ArgumentError(call, "a shape of non-negative integers", f"{shape!r}")
    return found
