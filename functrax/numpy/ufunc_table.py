"""The universal functions: what each of them does in a better way than one number after another."""

import math
from collections.abc import Callable
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.primitive import Primitive
from functrax.core.trace import Array, Value, bind
from functrax.numpy import arithmetic, logic, pairs, reductions
from functrax.numpy.at import IndexUpdate
from functrax.numpy.cumulative import cumprod, cumsum
from functrax.numpy.operands import (
    array_operand,
    cast,
    inexact,
    number,
    number_dtype,
    numeric,
    promote,
    strong,
    to_array,
)
from functrax.numpy.selection import where as choose
from functrax.numpy.ufunc_methods import result_dtype, ufunc
from functrax.primitives import elementwise as lax
from functrax.primitives import reduce as primitives
from functrax.primitives.convert import stop_gradient
from functrax.primitives.rules import broadcast_to, reshape
from functrax.primitives.shape import canonical_axis
from functrax.transforms.control.loops import associative_scan
from functrax.transforms.fuse import fuse

_METHODS = ("reduce", "accumulate", "outer", "at", "reduceat")
_FACTS = ("nin", "nout", "nargs", "identity")


def _reduce_by(
    name: str, primitive: Primitive, prepare: Callable[[Any, str], Value]
) -> Callable[..., Array]:
    """Return the reduction of an operation on bits."""
    combine = {
        primitives.reduce_and_p: lax.bitwise_and,
        primitives.reduce_or_p: lax.bitwise_or,
        primitives.reduce_xor_p: lax.bitwise_xor,
    }[primitive]
    call = f"{name}.reduce"

    @fuse
    def reduced(
        x: Value, mask: Value | None, start: Value | None, *, axes: tuple[int, ...], keepdims: bool
    ) -> Value:
        dtype = x.aval.dtype
        if mask is not None:
            neutral = (
                primitives.all_bits if primitive is primitives.reduce_and_p else primitives.zero_of
            )
            x = choose(mask, x, number(neutral(dtype), dtype))
        result = bind(primitive, x, axes=axes)[0]
        result = (
            result if start is None else combine(broadcast_to(start, result.aval.shape), result)
        )
        return strong(reductions.with_axes(result, axes) if keepdims else result)

    def reduce(a: Any, *, axis: Any, dtype: Any, keepdims: bool, initial: Any, where: Any) -> Array:
        x = prepare(a, call)
        axes = reductions.axes_or_all(call, axis, x.aval.ndim)
        x = x if dtype is None else cast(x, number_dtype(dtype, call))
        start = None
        if initial is not None:
            prepare(initial, call)
            start = reductions.start_value(call, initial, x.aval.dtype)
        mask = None if where is None else reductions.mask_of(call, logic.to_bool(where, call), x)
        return reduced(x, mask, start, axes=axes, keepdims=bool(keepdims))

    return reduce


def _by_tree(function: Callable[..., Any]) -> Callable[..., Array]:
    """Return the accumulation of an associative function, in a logarithmic number of steps."""

    @fuse
    def accumulated(x: Value, *, axis: int) -> Value:
        if not x.aval.size:
            return strong(x)
        return associative_scan(
            lambda a, b: cast(function(a, b), x.aval.dtype), strong(x), axis=axis
        )

    def accumulate(a: Any, *, axis: Any, dtype: Any) -> Array:
        call = f"{function.__name__}.accumulate"
        x = array_operand(a, call)
        axis = canonical_axis(call, integer(call, "axis", axis), x.aval.ndim)
        found = result_dtype(function, x, x) if dtype is None else number_dtype(dtype, call)
        return accumulated(cast(x, found), axis=axis)

    return accumulate


def _extreme(reduction: Callable[..., Array]) -> Callable[..., Array]:
    """Return the reduction to an extreme, which takes a dtype too."""

    def reduce(a: Any, *, dtype: Any, **options: Any) -> Array:
        x = array_operand(a, "reduce")
        return reduction(x if dtype is None else cast(x, number_dtype(dtype, "reduce")), **options)

    return reduce


def _log_sum(name: str, base: float) -> Callable[..., Array]:
    """Return ``log(sum(exp(a)))`` as a reduction."""
    call, both = f"{name}.reduce", getattr(pairs, name)

    @fuse
    def reduced(x: Value, mask: Value | None, *, axes: tuple[int, ...], keepdims: bool) -> Value:
        x = lax.mul(x, number(base, x.aval.dtype))
        real = dtypes.to_real(x.aval.dtype)
        top = reductions.max(lax.real(x) if dtypes.is_complex(x.aval.dtype) else x, axes,
                             keepdims=True, initial=-math.inf, where=mask)  # fmt: skip
        top = stop_gradient(choose(lax.is_finite(top), top, number(0, real)))
        terms = lax.exp(x - cast(top, x.aval.dtype))
        total = lax.log(reductions.sum(terms, axes, keepdims=True, where=mask))
        total = lax.div(total + cast(top, x.aval.dtype), number(base, x.aval.dtype))
        rest = tuple(n for i, n in enumerate(x.aval.shape) if i not in axes)
        return strong(total if keepdims else reshape(total, rest))

    def reduce(a: Any, *, axis: Any, dtype: Any, keepdims: bool, initial: Any, where: Any) -> Array:
        x = inexact(a, call)
        x = x if dtype is None else cast(x, number_dtype(dtype, call))
        axes = reductions.axes_or_all(call, axis, x.aval.ndim)
        mask = None if where is None else reductions.mask_of(call, logic.to_bool(where, call), x)
        result = reduced(x, mask, axes=axes, keepdims=bool(keepdims))
        return result if initial is None else both(initial, result)

    return reduce


def _write(operation: str, for_bools: str = "") -> Callable[..., Any]:
    """Return the update at places by a method of ``x.at[...]``."""

    def at(a: Any, indices: Any, b: Any) -> Value:
        x = array_operand(a, f"{operation}.at")
        logical = for_bools and dtypes.is_bool(x.aval.dtype)
        values = logic.to_bool(b, operation) if logical else b
        return getattr(IndexUpdate(x, indices), for_bools if logical else operation)(values)

    return at


def _write_promoted(operation: str) -> Callable[..., Any]:
    """Return the same in the dtype of both."""

    def at(a: Any, indices: Any, b: Any) -> Value:
        x, y = promote(f"{operation}imum.at", a, b)
        return getattr(IndexUpdate(to_array(x), indices), operation)(y)

    return at


def _bits(name: str, primitive: Primitive, identity: int) -> dict[str, Any]:
    return {"identity": identity, "reduce": _reduce_by(name, primitive, _integer_operand)}


def _truths(name: str, primitive: Primitive, identity: bool) -> dict[str, Any]:
    return {"identity": identity, "reduce": _reduce_by(name, primitive, logic.to_bool)}


def _integer_operand(x: Any, call: str) -> Value:
    x = numeric(x, call)
    if not dtypes.is_bool(x.aval.dtype) and not dtypes.is_integer(x.aval.dtype):
        raise errors.DtypeError(call, "integers or booleans", repr(x.aval))
    return x


def _carrying(function: Any, nin: int = 2, associative: bool = True, **better: Any) -> ufunc:
    """Give a function the methods; for type checkers it is one then, for `isinstance` too."""
    if associative:
        better.setdefault("accumulate", _by_tree(function))
    methods = ufunc(function, nin, 1, call=function, **better)
    for name in (*_METHODS, *_FACTS):
        setattr(function, name, getattr(methods, name))
    return function


add = _carrying(
    arithmetic.add, identity=0, reduce=reductions.sum, accumulate=cumsum, at=_write("add", "max")
)
multiply = _carrying(
    arithmetic.multiply, identity=1, reduce=reductions.prod, accumulate=cumprod,
    at=_write("multiply", "min"),
)  # fmt: skip
subtract = _carrying(arithmetic.subtract, associative=False, at=_write("subtract"))
negative = _carrying(arithmetic.negative, 1, associative=False)
maximum = _carrying(arithmetic.maximum, reduce=_extreme(reductions.max), at=_write_promoted("max"))
minimum = _carrying(arithmetic.minimum, reduce=_extreme(reductions.min), at=_write_promoted("min"))
bitwise_and = _carrying(logic.bitwise_and, **_bits("bitwise_and", primitives.reduce_and_p, -1))
bitwise_or = _carrying(logic.bitwise_or, **_bits("bitwise_or", primitives.reduce_or_p, 0))
bitwise_xor = _carrying(logic.bitwise_xor, **_bits("bitwise_xor", primitives.reduce_xor_p, 0))
logical_and = _carrying(logic.logical_and, **_truths("logical_and", primitives.reduce_and_p, True))
logical_or = _carrying(logic.logical_or, **_truths("logical_or", primitives.reduce_or_p, False))
logical_xor = _carrying(logic.logical_xor, **_truths("logical_xor", primitives.reduce_xor_p, False))
logaddexp = _carrying(pairs.logaddexp, identity=-math.inf, reduce=_log_sum("logaddexp", 1.0))
logaddexp2 = _carrying(
    pairs.logaddexp2, identity=-math.inf, reduce=_log_sum("logaddexp2", math.log(2))
)
