"""Choosing elements: where, clip, and their kin."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import listed
from functrax.core.trace import Array, Value, bind
from functrax.numpy.logic import to_bool
from functrax.numpy.operands import (
    align,
    broadcast_shapes,
    check_ranks,
    number,
    numeric,
    operand,
    promote,
    refuse_out,
    to_array,
)
from functrax.numpy.search import nonzero
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.primitives.rules import broadcast_to, full
from functrax.primitives.select import select_n, select_n_p
from functrax.transforms.fuse import fuse


def where(
    condition: Any, x: Any = None, y: Any = None, /, *, size: int | None = None,
    fill_value: Any = None,
) -> Any:  # fmt: skip
    """Choose elementwise between two arrays.

    Args:
        condition: array of booleans; numbers count as true if they are not 0.
        x: array or number, taken where the condition is true.
        y: array or number, taken elsewhere; dtypes are promoted and all three shapes broadcast.
        size: with the condition alone: how many indices to return; see `nonzero`.
        fill_value: with the condition alone: what fills up the indices; see `nonzero`.

    Returns:
        An array of the common shape; with the condition alone, ``nonzero(condition)``.

    Raises:
        ArgumentError: if only one of x and y is given.

    Example:
        >>> jnp.where(jnp.arange(3) > 1, 10.0, 0.0)
        Array([ 0.,  0., 10.], dtype=float32, weak_type=True)
    """
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None or size is not None or fill_value is not None:
        raise errors.ArgumentError(
            "where",
            "both x and y, or neither; size and fill_value only without them",
            "another combination",
        )
    mask = to_bool(condition, "where")
    x, y = promote("where", x, y)
    shape = mask.aval.shape
    if x.aval.shape == shape and y.aval.shape == shape:
        return bind(select_n_p, mask, y, x)[0]
    return _where(mask, x, y)


@fuse
def _where(mask: Value, x: Value, y: Value) -> Value:
    shape = broadcast_shapes("where", [v.aval.shape for v in (mask, x, y)])
    check_ranks("where", (mask, x, y))
    if mask.aval.shape:
        mask = broadcast_to(mask, shape)
    return bind(select_n_p, mask, broadcast_to(y, shape), broadcast_to(x, shape))[0]


# ---- limits


def clip(
    arr: Any = None, /, min: Any = None, max: Any = None, *, a: Any = None, a_min: Any = None,
    a_max: Any = None, out: None = None,
) -> Array:  # fmt: skip
    """Limit elements to an interval.

    Args:
        arr: array of real numbers.
        min: the lower limit, number or array; None for none.
        max: the upper limit, number or array; None for none.
        a: an older name of `arr`.
        a_min: an older name of `min`.
        a_max: an older name of `max`.
        out: must be None.

    Returns:
        An array of the common shape; `max` where the limits cross.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.clip(jnp.arange(4), 1, 2)
        Array([1, 1, 2, 2], dtype=int32)
    """
    refuse_out("clip", out)
    arr = a if arr is None else arr
    low = a_min if min is None else min
    high = a_max if max is None else max
    x = operand(arr, "clip")
    for value in (x, low, high):
        if value is not None and dtypes.is_complex(dtypes.dtype_and_weak(value, "clip")[0]):
            raise errors.DtypeError("clip", "real numbers", "complex ones")
    if low is None and high is None:
        return to_array(x)
    if low is None:
        return _limited(x, high, extreme.min_p)
    if high is None:
        return _limited(x, low, extreme.max_p)
    return _clipped(*promote("clip", x, low, high))


def _limited(x: Value, limit: Any, primitive: Any) -> Array:
    return bind(primitive, *align("clip", *promote("clip", limit, x)))[0]


@fuse
def _clipped(x: Value, low: Value, high: Value) -> Array:
    return _limited(_limited(x, low, extreme.max_p), high, extreme.min_p)


@fuse
def _nan_to_num(x: Value, nan: Value, posinf: Value | None, neginf: Value | None) -> Value:
    dtype, shape = x.aval.dtype, x.aval.shape
    if dtypes.is_complex(dtype):
        parts = [_nan_to_num(part(x), nan, posinf, neginf) for part in (lax.real, lax.imag)]
        return lax.complex(*parts)
    limits = dtypes.finfo(dtype)

    def filled(value: Value | None, default: float) -> Value:
        if value is None:
            return full(shape, default, dtype)
        (value,) = (promote("nan_to_num", value, x)[0],)
        return broadcast_to(value, shape)

    x = select_n(lax.ne(x, x), x, filled(nan, 0.0))
    high, low = (number(sign * float("inf"), dtype) for sign in (1, -1))
    x = select_n(lax.eq(x, high), x, filled(posinf, float(limits.max)))
    return select_n(lax.eq(x, low), x, filled(neginf, float(limits.min)))


def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Array:
    """Replace NaN and infinities.

    Args:
        x: array.
        copy: has no effect.
        nan: number for NaN.
        posinf: number for infinity; the largest of the dtype by default.
        neginf: number for minus infinity; the least of the dtype by default.

    Returns:
        An array of the same shape and dtype.
    """
    x = numeric(x, "nan_to_num")
    if not dtypes.is_inexact(x.aval.dtype):
        return to_array(x)
    limits = [None if v is None else operand(v, "nan_to_num") for v in (nan, posinf, neginf)]
    return _nan_to_num(x, *limits)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """Choose elementwise the first choice whose condition is true.

    Args:
        condlist: sequence of boolean arrays.
        choicelist: sequence of as many arrays.
        default: what is taken where no condition is true.

    Returns:
        An array of the common shape and dtype.

    Raises:
        ArgumentError: if the sequences are empty or differ in length.
    """
    condlist = listed("select", "condlist", condlist)
    choicelist = listed("select", "choicelist", choicelist)
    if len(condlist) != len(choicelist) or not condlist:
        raise errors.ArgumentError(
            "select",
            "as many conditions as choices, at least one",
            f"{len(condlist)} and {len(choicelist)}",
        )
    *choices, result = promote("select", *choicelist, default)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = where(condition, choice, result)
    return result
