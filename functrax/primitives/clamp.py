"""Elementwise limits."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.elementwise import bitwise_and, bitwise_or, gt, lt
from functrax.primitives.extreme import max as larger
from functrax.primitives.extreme import min as smaller
from functrax.primitives.rules import (
    Dim,
    Tangent,
    add_cotangents,
    broadcast_to,
    check_kind,
    full,
    matched,
    move_batch_axis,
    reshape,
)
from functrax.primitives.select import select_n


def clamp(min: Any, x: Any, max: Any) -> Value:
    """Limit the elements of an array to an interval: ``minimum(maximum(x, min), max)``.

    Args:
        min: the lower limits: a scalar, or an array of x's shape.
        x: array of numbers or booleans; complex ones compare by real part, then imaginary part.
        max: the upper limits, like `min`.

    Returns:
        An array of x's shape and dtype; `max` where the limits cross.

    Raises:
        ShapeError, DtypeError: if the operands do not fit together.

    Source: StableHLO specification, "clamp".
    """
    low, value, high = matched("clamp", min, x, max)
    if dtypes.is_complex(value.aval.dtype):
        _check_operands(low.aval, value.aval, high.aval)
        return smaller(larger(value, low), high)
    return bind(clamp_p, low, value, high)[0]


def _check_operands(min: ShapedArray, x: ShapedArray, max: ShapedArray) -> None:
    operands = (min, x, max)
    if min.dtype != x.dtype or max.dtype != x.dtype:
        cure = "Convert them with `.astype(...)`."
        raise errors.DtypeError("clamp", "operands of one dtype", short_types(operands), fix=cure)
    if min.shape not in ((), x.shape) or max.shape not in ((), x.shape):
        raise errors.ShapeError(
            "clamp", "limits that are scalars or of the array's shape", short_types(operands)
        )


def _abstract(min: ShapedArray, x: ShapedArray, max: ShapedArray) -> tuple[ShapedArray]:
    check_kind("clamp", x, "biuf")
    _check_operands(min, x, max)
    varying = min.varying | x.varying | max.varying
    weak = min.weak_type and x.weak_type and max.weak_type
    return (ShapedArray(x.shape, x.dtype, weak, varying),)


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent]) -> Any:
    """D clamp(a, x, b) = dx inside, da where x < a < b, db where b < max(a, x); 0 at ties."""
    low, x, high = (broadcast_to(p, primals[1].aval.shape) for p in primals)
    conditions = (
        lambda: bitwise_and(gt(low, x), lt(low, high)),
        lambda: bitwise_and(gt(x, low), lt(x, high)),
        lambda: bitwise_or(lt(high, x), lt(high, low)),
    )
    zero = full(x.aval.shape, 0, x.aval.dtype)
    total: Tangent = None
    for condition, tangent in zip(conditions, tangents, strict=True):
        if tangent is not None:
            part = select_n(condition(), zero, broadcast_to(tangent, x.aval.shape))
            total = add_cotangents(total, part)
    return bind(clamp_p, *primals), [total]


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    low, x, high = operands
    constant = dims[0] is None and dims[2] is None and not low.aval.shape and not high.aval.shape
    if dims[1] is not None and constant:
        return bind(clamp_p, low, x, high), [dims[1]]
    if dims[0] == dims[1] == dims[2] and low.aval.ndim == x.aval.ndim == high.aval.ndim:
        return bind(clamp_p, low, x, high), [dims[1]]
    x = move_batch_axis(axis, x, dims[1])
    limits = [_limit(axis, v, d, x.aval.shape) for v, d in ((low, dims[0]), (high, dims[2]))]
    return bind(clamp_p, limits[0], x, limits[1]), [0]


def _limit(axis: BatchAxis, value: Value, dim: Dim, shape: tuple[int, ...]) -> Value:
    """Stretch a limit to the mapped shape, unless it is one number."""
    if dim is None and not value.aval.shape:
        return value
    value = move_batch_axis(axis, value, dim)
    if value.aval.ndim < len(shape):
        value = reshape(value, (axis.size, *(1,) * (len(shape) - 1)))
    return broadcast_to(value, shape)


def _lower(b: Any, low: Any, x: Any, high: Any) -> Any:
    out = b.out_types[0]
    if not dtypes.is_bool(out.dtype):
        return b.op("stablehlo.clamp", (low, x, high), out)
    # The compiler for TPUs refuses to clamp booleans.
    low, high = (
        b.stretch(v, aval, out.shape) for v, aval in ((low, b.in_types[0]), (high, b.in_types[2]))
    )
    return b.op("stablehlo.minimum", (b.op("stablehlo.maximum", (x, low), out), high), out)


clamp_p = declare(
    "clamp", abstract_eval=_abstract, jvp=_jvp, transpose=NOT_LINEAR, batch=_batch, lower=_lower
)
