"""Reductions over axes: sums, products, extremes, truth, positions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.primitive import Primitive
from functrax.core.trace import Array, Value, bind
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import in_dtype
from functrax.numpy.logic import to_bool
from functrax.numpy.manipulation import axes_of
from functrax.numpy.operands import (
    array_operand,
    broadcast_shapes,
    cast,
    number,
    number_dtype,
    operand,
    refuse_keys,
    refuse_out,
    strong,
)
from functrax.primitives import elementwise as lax
from functrax.primitives import extreme
from functrax.primitives import reduce as primitives
from functrax.primitives.argmax import argmax_p, argmin_p
from functrax.primitives.rules import broadcast_to, reshape
from functrax.transforms.fuse import fuse

_SIMPLE = frozenset((dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128))
_HALF = frozenset(d for d in dtypes.FLOATS if d.itemsize < 4)


class Reduction(NamedTuple):
    """What distinguishes one reduction from another.

    Attributes:
        name: the function's name.
        primitive: what it applies.
        identity: the value of an empty reduction, by dtype.
        combine: how `initial` joins in.
        simple: the dtypes that need no conversion.
        sums: whether integers widen, and narrow floats are computed in float32.
        empty: whether there is a result for no elements.
    """

    name: str
    primitive: Primitive
    identity: Callable[[Any], Any]
    combine: Callable[[Value, Value], Value]
    simple: frozenset[Any]
    sums: bool
    empty: bool


_ORDERED = frozenset(dtypes.NUMBERS)
SUM = Reduction("sum", primitives.reduce_sum_p, lambda _: 0, lax.add, _SIMPLE, True, True)
PROD = Reduction("prod", primitives.reduce_prod_p, lambda _: 1, lax.mul, _SIMPLE, True, True)
MAX = Reduction(
    "max", primitives.reduce_max_p, primitives.least, extreme.max, _ORDERED, False, False
)
MIN = Reduction(
    "min", primitives.reduce_min_p, primitives.greatest, extreme.min, _ORDERED, False, False
)

#: How sums and products of booleans are made, if that is the dtype asked for.
_LOGICAL = {
    "sum": (primitives.reduce_or_p, lax.bitwise_or),
    "prod": (primitives.reduce_and_p, lax.bitwise_and),
}


def axes_or_all(call: str, axis: Any, rank: int) -> tuple[int, ...]:
    """Return an axis argument as non-negative numbers; all axes for None."""
    if axis is None:
        return tuple(range(rank))
    if type(axis) is int:
        if 0 <= axis < rank:
            return (axis,)
        if -rank <= axis < 0:
            return (axis + rank,)
    return axes_of(call, axis, rank)


def _reduce(
    kind: Reduction,
    a: Any,
    axis: Any,
    dtype: Any,
    out: Any,
    keepdims: bool,
    initial: Any,
    where: Any,
    promote_integers: bool = True,
) -> Array:
    """Reduce: at once if there is nothing but axes to it."""
    x = a if isinstance(a, Array) else operand(a, kind.name)
    aval = x.aval
    axes = axes_or_all(kind.name, axis, aval.ndim)
    simple = dtype is None and initial is None and where is None and not keepdims
    simple = simple and out is None and aval.dtype in kind.simple and not aval.weak_type
    if simple and (kind.empty or aval.size):
        return bind(kind.primitive, x, axes=axes)[0]
    refuse_out(kind.name, out)
    refuse_keys(kind.name, x)
    result = _result_dtype(kind, aval.dtype, dtype, promote_integers)
    if not kind.empty and initial is None:
        _check_not_empty(kind.name, aval, axes, where)
    mask = None if where is None else to_bool(where, kind.name)
    start = None if initial is None else start_value(kind.name, initial, _computed(kind, result))
    if start is not None and start.aval.shape:
        raise errors.ShapeError(kind.name, "a number as `initial`", repr(start.aval))
    return _general(x, mask, start, kind=kind, axes=axes, dtype=result, keepdims=bool(keepdims))


def _result_dtype(kind: Reduction, own: Any, asked: Any, widen: bool) -> Any:
    """Return the dtype of a result: what is asked for, or the operand's; sums of integers are
    wide.
    """
    if asked is not None:
        return number_dtype(asked, kind.name)
    return wide_dtype(own) if kind.sums and (widen or dtypes.is_bool(own)) else own


def _computed(kind: Reduction, dtype: Any) -> Any:
    """Return the dtype in which a result of a dtype is computed."""
    return dtypes.float32 if kind.sums and dtype in _HALF else dtype


def start_value(call: str, initial: Any, dtype: Any) -> Value:
    """Return an initial value in the dtype of a reduction. Of integers, infinities are the limits.

    Raises:
        IntegerOverflowError, DtypeError: if a number that is known on the host does not fit.
    """
    if isinstance(initial, float | np.floating) and dtypes.is_integer(dtype):
        if math.isinf(initial):
            initial = (primitives.greatest if initial > 0 else primitives.least)(dtype)
        elif not float(initial).is_integer():
            name = dtypes.short_name(dtype)
            raise errors.DtypeError(
                call, f"a number as `initial` that {name} can hold", f"{initial}"
            )
    return in_dtype(initial, dtype, call)


def wide_dtype(dtype: Any) -> Any:
    """Return the dtype in which integers are added up: the default one if theirs is narrower."""
    if dtypes.is_bool(dtype):
        return dtypes.int_dtype()
    default = dtypes.uint_dtype() if dtypes.is_unsigned(dtype) else dtypes.int_dtype()
    narrow = dtypes.is_integer(dtype) and dtype.itemsize < default.itemsize
    return default if narrow else dtype


def _check_not_empty(call: str, aval: Any, axes: tuple[int, ...], where: Any) -> None:
    if where is not None:
        raise errors.ArgumentError(call, "`initial` together with `where`", "none")
    if 0 in [aval.shape[axis] for axis in axes]:
        raise errors.ShapeError(
            call, "at least one element to reduce", repr(aval), fix="Give `initial`."
        )


@fuse
def _general(
    x: Value, mask: Value | None, start: Value | None,
    *, kind: Reduction, axes: tuple[int, ...], dtype: Any, keepdims: bool,
) -> Value:  # fmt: skip
    """Convert, mask, reduce, join the initial value, convert back."""
    compute = _computed(kind, dtype)
    x = cast(x, compute)
    if mask is not None:
        x = choose(mask_of(kind.name, mask, x), x, number(kind.identity(compute), compute))
    logical = _LOGICAL.get(kind.name) if dtypes.is_bool(compute) else None
    primitive, combine = logical or (kind.primitive, kind.combine)
    result = bind(primitive, x, axes=axes)[0]
    if start is not None:
        result = combine(start, result)
    if keepdims:
        result = with_axes(result, axes)
    return strong(cast(result, dtype))


def mask_of(call: str, mask: Value, x: Value) -> Value:
    """Stretch a mask to an array's shape.

    Raises:
        ShapeError: if it does not broadcast to it.
    """
    shape = x.aval.shape
    if broadcast_shapes(call, [shape, mask.aval.shape]) != shape:
        expected = f"where= that broadcasts to shape {shape}"
        raise errors.ShapeError(call, expected, f"shape {mask.aval.shape}")
    return broadcast_to(mask, shape)


def with_axes(x: Value, axes: tuple[int, ...]) -> Value:
    """Put reduced axes back, of size 1."""
    rank = x.aval.ndim + len(axes)
    sizes = iter(x.aval.shape)
    return reshape(x, tuple(1 if axis in axes else next(sizes) for axis in range(rank)))


def sum(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None, promote_integers: bool = True,
) -> Array:  # fmt: skip
    """Sum over axes.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to sum in and return; by default the array's, 32 bits or more for integers.
            Floats of 16 bits are summed in float32.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: number that is added.
        where: booleans that broadcast to the array: which elements count.
        promote_integers: bool, whether narrow integers widen.

    Returns:
        An array without the axes.

    Example:
        >>> jnp.sum(jnp.ones((2, 3)), axis=0)
        Array([2., 2., 2.], dtype=float32)
    """
    return _reduce(SUM, a, axis, dtype, out, keepdims, initial, where, promote_integers)


def prod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None, promote_integers: bool = True,
) -> Array:  # fmt: skip
    """Multiply over axes; the arguments are those of `sum`.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        dtype: the dtype to multiply in and return.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: number that is multiplied in.
        where: booleans that broadcast to the array: which elements count.
        promote_integers: bool, whether narrow integers widen.

    Returns:
        An array without the axes.
    """
    return _reduce(PROD, a, axis, dtype, out, keepdims, initial, where, promote_integers)


def max(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the largest elements over axes; NaN where there is one.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: the least value that the result can have.
        where: booleans that broadcast to the array: which elements count; needs `initial`.

    Returns:
        An array without the axes.

    Raises:
        ShapeError: if there are no elements, and no `initial`.

    Example:
        >>> jnp.max(jnp.array([[1, 5], [3, 2]]), axis=1)
        Array([5, 3], dtype=int32)
    """
    return _reduce(MAX, a, axis, None, out, keepdims, initial, where)


def min(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Array:  # fmt: skip
    """Return the smallest elements over axes; NaN where there is one.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        initial: the largest value that the result can have.
        where: booleans that broadcast to the array: which elements count; needs `initial`.

    Returns:
        An array without the axes.

    Raises:
        ShapeError: if there are no elements, and no `initial`.
    """
    return _reduce(MIN, a, axis, None, out, keepdims, initial, where)


amax, amin = max, min


def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Array:
    """Return the distance from the smallest to the largest element over axes.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array without the axes.
    """
    return lax.sub(max(a, axis, out, keepdims), min(a, axis, out, keepdims))


# ---- truth


@fuse
def _truth(
    x: Value, mask: Value | None, *, primitive: Primitive, axes: tuple[int, ...], keepdims: bool
) -> Value:
    if mask is not None:
        call = "all" if primitive is primitives.reduce_and_p else "any"
        x = choose(mask_of(call, mask, x), x, number(call == "all", dtypes.bool_))
    result = bind(primitive, x, axes=axes)[0]
    return with_axes(result, axes) if keepdims else result


def _ask(
    call: str, primitive: Primitive, a: Any, axis: Any, out: Any, keepdims: bool, where: Any
) -> Array:
    refuse_out(call, out)
    x = to_bool(a if isinstance(a, Array) else operand(a, call), call)
    axes = axes_or_all(call, axis, x.aval.ndim)
    if where is None and not keepdims:
        return bind(primitive, x, axes=axes)[0]
    mask = None if where is None else to_bool(where, call)
    return _truth(x, mask, primitive=primitive, axes=axes, keepdims=bool(keepdims))


def all(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Array:
    """Tell whether all elements over axes are true, or not 0.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        A boolean array without the axes.
    """
    return _ask("all", primitives.reduce_and_p, a, axis, out, keepdims, where)


def any(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Array:
    """Tell whether any element over axes is true, or not 0.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        out: must be None.
        keepdims: bool, whether the axes stay, of size 1.
        where: booleans that broadcast to the array: which elements count.

    Returns:
        A boolean array without the axes.
    """
    return _ask("any", primitives.reduce_or_p, a, axis, out, keepdims, where)


def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Array:
    """Count the elements over axes that are not 0.

    Args:
        a: array.
        axis: int or sequence of ints; all axes if None.
        keepdims: bool, whether the axes stay, of size 1.

    Returns:
        An array of the default integer dtype.
    """
    return sum(to_bool(a, "count_nonzero"), axis, dtypes.int_dtype(), keepdims=keepdims)


# ---- positions


def argmax(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """Return where the largest element along an axis is: the first one, or the first NaN.

    Args:
        a: array of real numbers or booleans.
        axis: int; None counts the elements of the whole array, row by row.
        out: must be None.
        keepdims: bool, whether the axis stays, of size 1.

    Returns:
        An array of the default integer dtype.

    Raises:
        ShapeError: if there are no elements.

    Example:
        >>> jnp.argmax(jnp.array([3, 1, 5]))
        Array(2, dtype=int32)
    """
    return _position("argmax", argmax_p, a, axis, out, keepdims)


def argmin(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """Return where the smallest element along an axis is: the first one, or the first NaN.

    Args:
        a: array of real numbers or booleans.
        axis: int; None counts the elements of the whole array, row by row.
        out: must be None.
        keepdims: bool, whether the axis stays, of size 1.

    Returns:
        An array of the default integer dtype.

    Raises:
        ShapeError: if there are no elements.
    """
    return _position("argmin", argmin_p, a, axis, out, keepdims)


def _position(
    call: str, primitive: Primitive, a: Any, axis: Any, out: Any, keepdims: bool | None
) -> Array:
    refuse_out(call, out)
    x = array_operand(a, call)
    rank = x.aval.ndim
    if axis is None or rank == 0:
        axes_or_all(call, axis, rank if axis is None else 1)
        x, axes, back = reshape(x, (x.aval.size,)), (0,), tuple(range(rank))
    else:
        axes = back = axes_or_all(call, integer(call, "axis", axis), rank)
    found = bind(primitive, x, axes=axes, index_dtype=dtypes.int_dtype())[0]
    return with_axes(found, back) if keepdims else found
