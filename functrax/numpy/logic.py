"""Comparisons, logic and bits."""

from functools import partial
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import Primitive
from functrax.core.trace import Array, Value, bind
from functrax.core.types import Literal, ShapedArray
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import array
from functrax.numpy.operands import (
    align,
    broadcast_shapes,
    cast,
    number,
    numeric,
    operand,
    promote,
    to_array,
    to_inexact,
)
from functrax.numpy.ufunc import ORDERED, Operation, Unary, document, unary
from functrax.primitives import compare
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import bitcast_convert_type
from functrax.primitives.keys import random_unwrap
from functrax.primitives.reduce import reduce_and
from functrax.primitives.rules import broadcast_to, full
from functrax.transforms.fuse import fuse

_bool = np.dtype(bool)
_FLOATS = frozenset(dtypes.FLOATS)
_BITS = frozenset((dtypes.bool_, *dtypes.SIGNED, *dtypes.UNSIGNED))

# ---- comparisons


def _lexicographic(strict: Primitive, both: Primitive, x: Value, y: Value) -> Value:
    """Compare complex numbers by their real parts, and by their imaginary parts where those
    agree.
    """
    if not dtypes.is_complex(x.aval.dtype):
        return bind(both, x, y)[0]
    return _compare_complex(x, y, strict=strict, both=both)


@fuse
def _compare_complex(x: Value, y: Value, *, strict: Primitive, both: Primitive) -> Value:
    left, right = lax.real(x), lax.real(y)
    by_imaginary = bind(both, lax.imag(x), lax.imag(y))[0]
    return choose(lax.eq(left, right), by_imaginary, bind(strict, left, right)[0])


def _by_words(primitive: Primitive, x: Value, y: Value) -> Value:
    """Compare PRNG keys: they are equal if all their words are."""
    if not dtypes.is_extended(x.aval.dtype):
        return bind(primitive, x, y)[0]
    shape = broadcast_shapes(primitive.name, [x.aval.shape, y.aval.shape])
    x, y = (random_unwrap(broadcast_to(v, shape)) for v in (x, y))
    same = reduce_and(lax.eq(x, y), (len(shape),))
    return same if primitive is compare.eq_p else lax.bitwise_not(same)


def _comparison(name: str, primitive: Primitive, words: str, strict: Primitive | None) -> Operation:
    if strict is None:
        otherwise = partial(_by_words, primitive)
    else:
        otherwise = partial(_lexicographic, strict, primitive)
    answers = np.array2string(getattr(np, name)(np.arange(3), 1), separator=", ")
    return Operation(
        name,
        primitive,
        f"Tell elementwise where x1 is {words} x2.",
        otherwise=otherwise,
        keys=strict is None,
        direct=ORDERED if strict is not None else ORDERED | frozenset(dtypes.COMPLEXES),
        example=(f"{name}(jnp.arange(3), 1)", f"Array({answers}, dtype=bool)"),
    )


EQUAL = _comparison("equal", compare.eq_p, "equal to", None)
NOT_EQUAL = _comparison("not_equal", compare.ne_p, "not equal to", None)
LESS = _comparison("less", compare.lt_p, "less than", compare.lt_p)
LESS_EQUAL = _comparison("less_equal", compare.le_p, "less than or equal to", compare.lt_p)
GREATER = _comparison("greater", compare.gt_p, "greater than", compare.gt_p)
GREATER_EQUAL = _comparison("greater_equal", compare.ge_p, "greater than or equal to", compare.gt_p)

equal = EQUAL.function
not_equal = NOT_EQUAL.function
less = LESS.function
less_equal = LESS_EQUAL.function
greater = GREATER.function
greater_equal = GREATER_EQUAL.function

# ---- bits


def _bit_operation(name: str, primitive: Primitive, words: str) -> Operation:
    return Operation(
        name,
        primitive,
        f"{words}; logical for booleans.",
        direct=_BITS,
        kinds=" of integer or bool dtype",
    )


AND = _bit_operation("bitwise_and", compare.and_p, "Combine the bits of integers by *and*")
OR = _bit_operation("bitwise_or", compare.or_p, "Combine the bits of integers by *or*")
XOR = _bit_operation("bitwise_xor", compare.xor_p, "Combine the bits of integers by *exclusive or*")
LEFT_SHIFT = Operation(
    "left_shift",
    compare.shift_left_p,
    "Shift the bits of integers to the left: ``x1 * 2**x2``.",
    direct=_BITS - {_bool},
    otherwise=lambda x, y: _shift_bools("left_shift", compare.shift_left_p, x, y),
    kinds=" of integer dtype",
)
RIGHT_SHIFT = Operation(
    "right_shift",
    compare.shift_right_arithmetic_p,
    "Shift the bits of integers to the right: ``x1 // 2**x2``.",
    direct=frozenset(dtypes.SIGNED),
    otherwise=lambda x, y: _shift_bools("right_shift", compare.shift_right_logical_p, x, y),
    kinds=" of integer dtype",
)


def _shift_bools(call: str, primitive: Primitive, x: Value, y: Value) -> Value:
    """Shift unsigned integers, and booleans as integers."""
    if dtypes.is_bool(x.aval.dtype):
        x, y = (cast(v, dtypes.int_dtype()) for v in (x, y))
    return bind(primitive, x, y)[0]


bitwise_and = AND.function
bitwise_or = OR.function
bitwise_xor = XOR.function
left_shift = bitwise_left_shift = LEFT_SHIFT.function
right_shift = bitwise_right_shift = RIGHT_SHIFT.function
bitwise_not = bitwise_invert = invert = unary(
    "bitwise_not",
    compare.not_p,
    "Flip the bits of integers; negate booleans.",
    direct=_BITS,
    kinds=" of integer or bool dtype",
    example=("bitwise_not(jnp.arange(3))", "Array([-1, -2, -3], dtype=int32)"),
)


def bitwise_count(x: Any, /) -> Array:
    """Count the ones among the bits of the absolute value.

    Args:
        x: array of integers.

    Returns:
        An array of the same shape, of dtype uint8.
    """
    x = numeric(x, "bitwise_count")
    if dtypes.is_bool(x.aval.dtype):
        return to_array(cast(x, dtypes.uint8))
    return cast(lax.population_count(lax.abs(x)), dtypes.uint8)


# ---- logic


def to_bool(x: Any, call: str) -> Value:
    """Return an operand as booleans: True where it is not zero."""
    x = numeric(x, call)
    aval = x.aval
    if aval.dtype is _bool:
        return x
    if type(x) is Literal:
        return Literal(bool(x.value), ShapedArray((), _bool))
    return lax.ne(x, number(0, aval.dtype))


def _logical(name: str, primitive: Primitive, words: str) -> Any:
    def function(x1: Any, x2: Any, /) -> Array:
        return bind(primitive, *align(name, to_bool(x1, name), to_bool(x2, name)))[0]

    document(
        function,
        name,
        f"Tell elementwise where {words}; numbers are true if they are not 0.",
        "        x1: array or number.\n        x2: the same; shapes broadcast.",
        "An array of booleans of the common shape.",
        ("", ""),
    )
    return function


logical_and = _logical("logical_and", compare.and_p, "both are true")
logical_or = _logical("logical_or", compare.or_p, "one or both are true")
logical_xor = _logical("logical_xor", compare.xor_p, "exactly one is true")


def logical_not(x: Any, /) -> Array:
    """Tell elementwise where x is false, or 0.

    Args:
        x: array of any shape, or a number.

    Returns:
        An array of booleans of the same shape.
    """
    x = numeric(x, "logical_not")
    if dtypes.is_bool(x.aval.dtype):
        return bind(compare.not_p, x)[0]
    return lax.eq(x, number(0, x.aval.dtype))


# ---- kinds of numbers


def _question(name: str, words: str, answer: Any) -> Unary:
    def function(x: Any, /) -> Array:
        x = numeric(x, name)
        return answer(x)

    document(
        function,
        name,
        f"Tell elementwise where x is {words}.",
        "        x: array of any shape, or a number.",
        "An array of booleans of the same shape.",
        ("", ""),
    )
    return function


def _parts(combine: Any, answer: Any) -> Any:
    """Ask about both parts of complex numbers, and about no integers."""

    def asked(x: Value) -> Value:
        if dtypes.is_complex(x.aval.dtype):
            return combine(answer(lax.real(x)), answer(lax.imag(x)))
        return answer(x)

    return fuse(asked)


def _constant(x: Value, value: bool) -> Value:
    return to_array(full(x.aval.shape, value, _bool))


def _finite(x: Value) -> Value:
    return lax.is_finite(x) if dtypes.is_floating(x.aval.dtype) else _constant(x, True)


def _infinite(x: Value) -> Value:
    if not dtypes.is_floating(x.aval.dtype):
        return _constant(x, False)
    return lax.eq(lax.abs(x), number(float("inf"), x.aval.dtype))


def _is(x: Value, limit: float) -> Value:
    if dtypes.is_complex(x.aval.dtype):
        raise errors.DtypeError("isposinf", "real numbers", repr(x.aval))
    if not dtypes.is_floating(x.aval.dtype):
        return _constant(x, False)
    return lax.eq(x, number(limit, x.aval.dtype))


def _real(x: Value) -> Value:
    if not dtypes.is_complex(x.aval.dtype):
        return _constant(x, True)
    return lax.eq(lax.imag(x), number(0, dtypes.to_real(x.aval.dtype)))


def sign_bit(x: Value) -> Value:
    """Tell where numbers are negative, -0.0 and negative NaN included."""
    dtype = x.aval.dtype
    if dtypes.is_floating(dtype):
        x = bitcast_convert_type(x, f"int{8 * dtype.itemsize}")
    return lax.lt(x, number(0, x.aval.dtype))


isfinite = _question("isfinite", "a finite number", _parts(lax.bitwise_and, _finite))
isinf = _question("isinf", "infinite", _parts(lax.bitwise_or, _infinite))
isnan = _question("isnan", "not a number", lambda x: lax.ne(x, x))
isposinf = _question("isposinf", "positive infinity", lambda x: _is(x, float("inf")))
isneginf = _question("isneginf", "negative infinity", lambda x: _is(x, -float("inf")))
isreal = _question("isreal", "real: it has no imaginary part", fuse(_real))
iscomplex = _question(
    "iscomplex", "not real: it has an imaginary part", lambda x: lax.bitwise_not(isreal(x))
)
signbit = _question("signbit", "negative, -0.0 included", lambda x: sign_bit(x))


def iscomplexobj(x: Any) -> bool:
    """Tell whether a value has a complex dtype.

    Args:
        x: anything array-like, or a dtype.

    Returns:
        bool.
    """
    if isinstance(x, list | tuple):
        x = array(x)
    return dtypes.is_complex(dtypes.dtype_and_weak(x, "iscomplexobj")[0])


def isrealobj(x: Any) -> bool:
    """Tell whether a value has a dtype that is not complex.

    Args:
        x: anything array-like, or a dtype.

    Returns:
        bool.
    """
    return not iscomplexobj(x)


def isscalar(element: Any) -> bool:
    """Tell whether a value is a number or an array without axes.

    Args:
        element: anything.

    Returns:
        bool.
    """
    if hasattr(element, "aval"):
        return not element.aval.shape
    return bool(np.isscalar(element)) or (isinstance(element, np.ndarray) and element.ndim == 0)


# ---- closeness


@fuse
def _isclose(a: Value, b: Value, rtol: Value, atol: Value, *, equal_nan: bool) -> Value:
    size = lax.abs(b)
    tolerance = lax.add(cast(atol, size.aval.dtype), lax.mul(cast(rtol, size.aval.dtype), size))
    near = lax.le(lax.abs(lax.sub(a, b)), tolerance)
    finite = lax.bitwise_and(isfinite(a), isfinite(b))
    close = lax.bitwise_or(lax.bitwise_and(near, finite), lax.eq(a, b))
    if not equal_nan:
        return close
    return lax.bitwise_or(close, lax.bitwise_and(lax.ne(a, a), lax.ne(b, b)))


def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Array:
    """Tell elementwise where two arrays are equal within a tolerance: ``|a - b| <= atol + rtol
    |b|``.

    Args:
        a: array or number.
        b: the reference, array or number; shapes broadcast.
        rtol: relative tolerance.
        atol: absolute tolerance.
        equal_nan: bool, whether NaN is close to NaN.

    Returns:
        An array of booleans of the common shape.

    Example:
        >>> jnp.isclose(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.1]))
        Array([ True, False], dtype=bool)
    """
    a, b = align("isclose", *promote("isclose", a, b))
    a, b = (cast(x, to_inexact(x.aval.dtype)) for x in (a, b))
    tolerances = (operand(x, "isclose") for x in (rtol, atol))
    return _isclose(a, b, *tolerances, equal_nan=bool(equal_nan))


def allclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Array:
    """Tell whether two arrays are equal within a tolerance everywhere; see `isclose`.

    Args:
        a: array or number.
        b: the reference, array or number; shapes broadcast.
        rtol: relative tolerance.
        atol: absolute tolerance.
        equal_nan: bool, whether NaN is close to NaN.

    Returns:
        A boolean array of shape ().
    """
    return _all(isclose(a, b, rtol, atol, equal_nan))


def _all(x: Value) -> Value:
    return reduce_and(x, tuple(range(x.aval.ndim)))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Array:
    """Tell whether two arrays have one shape and equal elements.

    Args:
        a1: anything `asarray` takes.
        a2: the same.
        equal_nan: bool, whether NaN equals NaN.

    Returns:
        A boolean array of shape ().
    """
    a1, a2 = promote("array_equal", array(a1, copy=False), array(a2, copy=False))
    if a1.aval.shape != a2.aval.shape:
        return to_array(number(False, _bool))
    same = equal(a1, a2)
    if equal_nan and dtypes.is_inexact(a1.aval.dtype):
        same = lax.bitwise_or(same, lax.bitwise_and(lax.ne(a1, a1), lax.ne(a2, a2)))
    return _all(same)


def array_equiv(a1: Any, a2: Any) -> Array:
    """Tell whether two arrays have equal elements after broadcasting.

    Args:
        a1: anything `asarray` takes.
        a2: the same.

    Returns:
        A boolean array of shape (); False if the shapes do not broadcast.
    """
    a1, a2 = promote("array_equiv", array(a1, copy=False), array(a2, copy=False))
    try:
        return _all(equal(a1, a2))
    except errors.ShapeError:
        return to_array(number(False, _bool))
