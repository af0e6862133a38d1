"""Prefix combinations along an axis: cumulative sum, product, maximum, minimum and logsumexp.

The derivatives of all of them are linear recurrences, ``d_i = a_i d_(i-1) + u_i``, whose own
derivatives and transposes are recurrences again. So one further primitive closes the family, exact
where elements are zero, and linear in time.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR, BatchAxis, Primitive, declare, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.elementwise import add, bitwise_or, div, eq, exp, is_finite, mul, ne, sub
from functrax.primitives.extreme import extreme
from functrax.primitives.extreme import max as larger
from functrax.primitives.join import pad
from functrax.primitives.reduce import greatest, least, one_of, zero_of
from functrax.primitives.rules import (
    Dim,
    Tangent,
    check_kind,
    declare_linear,
    full,
    move_batch_axis,
    scalar,
    zeros,
)
from functrax.primitives.scans import loop, prefix, tree, wide
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axis

# The functions ----------------------------------------------------------------------------------


def cumsum(operand: Any, axis: int = 0, reverse: bool = False) -> Value:
    """Sum up to each element along an axis.

    Args:
        operand: array of numbers with at least one axis.
        axis: the axis; negative ones count from the end.
        reverse: whether to sum from the end.

    Returns:
        An array of the same shape and dtype. Floats narrower than float32 are summed in float32.

    Raises:
        DtypeError: for booleans.
        BoundsError: for an axis out of range.
    """
    return _scanned(cumsum_p, operand, axis, reverse)


def cumprod(operand: Any, axis: int = 0, reverse: bool = False) -> Value:
    """Multiply up to each element along an axis.

    Args:
        operand: array of numbers with at least one axis.
        axis: the axis; negative ones count from the end.
        reverse: whether to multiply from the end.

    Returns:
        An array of the same shape and dtype.
    """
    return _scanned(cumprod_p, operand, axis, reverse)


def cummax(operand: Any, axis: int = 0, reverse: bool = False) -> Value:
    """Take the largest element up to each one along an axis.

    Args:
        operand: array of numbers with at least one axis.
        axis: the axis; negative ones count from the end.
        reverse: whether to go from the end.

    Returns:
        An array of the same shape and dtype; NaN from the first NaN on.
    """
    return _scanned(cummax_p, operand, axis, reverse)


def cummin(operand: Any, axis: int = 0, reverse: bool = False) -> Value:
    """Take the smallest element up to each one along an axis.

    Args:
        operand: array of numbers with at least one axis.
        axis: the axis; negative ones count from the end.
        reverse: whether to go from the end.

    Returns:
        An array of the same shape and dtype; NaN from the first NaN on.
    """
    return _scanned(cummin_p, operand, axis, reverse)


def cumlogsumexp(operand: Any, axis: int = 0, reverse: bool = False) -> Value:
    """Take the logarithm of the sum of exponentials up to each element along an axis.

    Args:
        operand: array of floating or complex dtype with at least one axis.
        axis: the axis; negative ones count from the end.
        reverse: whether to sum from the end.

    Returns:
        An array of the same shape and dtype, computed without overflow.
    """
    return _scanned(cumlogsumexp_p, operand, axis, reverse)


def _scanned(primitive: Primitive, operand: Any, axis: int, reverse: bool) -> Value:
    operand = as_value(operand, primitive.name)
    axis = canonical_axis(primitive.name, axis, operand.aval.ndim)
    return bind(primitive, operand, axis=axis, reverse=bool(reverse))[0]


# Shared rules -----------------------------------------------------------------------------------


def _abstract(
    name: str, kinds: str, operand: ShapedArray, *, axis: int, reverse: bool
) -> tuple[ShapedArray]:
    check_kind(name, operand, kinds)
    canonical_axis(name, axis, operand.ndim)
    return (operand,)


def _batch(
    name: str,
    batch: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axis: int,
    reverse: bool,
) -> Any:
    dim: Any = dims[0]
    return bind(registry[name], *operands, axis=axis + (dim <= axis), reverse=reverse), [dim]


def _lower(
    combine: Any, identity: Any, exact: Any, b: Any, x: Any, *, axis: int, reverse: bool
) -> Any:
    out = b.out_types[0]
    work = out.update(dtype=wide(out.dtype))
    x = x if work is out else b.convert(x, work)
    rounds = not exact and dtypes.is_inexact(out.dtype)
    y = prefix(b, combine, identity(work.dtype), x, work, axis, reverse, not rounds)
    return y if work is out else b.convert(y, out)


def _combine(operation: str, b: Any, x: Any, y: Any, aval: ShapedArray) -> Any:
    if operation in ("maximum", "minimum"):
        return extreme(b, operation, x, y, aval)
    return b.op(f"stablehlo.{operation}", (x, y), aval)


def _before(x: Value, axis: int, reverse: bool, first: Any) -> Value:
    """Return the element before each one, and `first` before the first."""
    config = [(0, 0, 0)] * x.aval.ndim
    config[axis] = (-1, 1, 0) if reverse else (1, -1, 0)
    return pad(x, scalar(first, x.aval.dtype), config) if x.aval.shape[axis] else x


# The linear recurrence --------------------------------------------------------------------------


def linear_recurrence(a: Value, u: Value, axis: int, reverse: bool = False) -> Value:
    """Solve ``d_i = a_i d_(i-1) + u_i`` along an axis, from ``d_(-1) = 0``.

    Args:
        a: array of numbers.
        u: array of the same shape and dtype.
        axis: the axis.
        reverse: whether to start from the end: ``d_i = a_i d_(i+1) + u_i``.

    Returns:
        An array of the same shape and dtype.
    """
    return bind(linear_recurrence_p, a, u, axis=axis, reverse=reverse)[0]


def _recurrence_abstract(
    a: ShapedArray, u: ShapedArray, *, axis: int, reverse: bool
) -> tuple[ShapedArray]:
    weak = a.weak_type and u.weak_type
    return (u.update(weak_type=weak, varying=a.varying | u.varying),)


def _recurrence_jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, axis: int, reverse: bool
) -> Any:
    """D d solves the recurrence with the same a and the source da_i d_(i-1) + du_i."""
    (a, u), (da, du) = primals, tangents
    d = linear_recurrence(a, u, axis, reverse)
    source = du
    if da is not None:
        through = mul(da, _before(d, axis, reverse, 0))
        source = through if du is None else add(through, du)
    return [d], [linear_recurrence(a, source, axis, reverse)]


def _recurrence_transpose(
    cotangents: Sequence[Value], a: Any, u: Any, *, axis: int, reverse: bool
) -> list[Value | None]:
    """Run the recurrence the other way: w_i = a_(i+1) w_(i+1) + c_i."""
    following = _before(a, axis, not reverse, 0)
    return [None, linear_recurrence(following, cotangents[0], axis, not reverse)]


def _recurrence_batch(
    batch: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axis: int, reverse: bool
) -> Any:
    dim: Any = dims[0] if dims[1] is None else dims[1]
    a, u = (move_batch_axis(batch, x, d, dim) for x, d in zip(operands, dims, strict=True))
    return [linear_recurrence(a, u, axis + (dim <= axis), reverse)], [dim]


def _recurrence_lower(b: Any, a: Any, u: Any, *, axis: int, reverse: bool) -> Any:
    out = b.out_types[0]
    work = out.update(dtype=wide(out.dtype))
    if work is not out:
        a, u = b.convert(a, work), b.convert(u, work)
    if work.size == 0 or work.shape[axis] < 2:
        y = u
    elif b.platform == "cpu":
        step = lambda d, ai, ui, aval: _affine(b, ai, d, ui, aval)  # noqa: E731
        y = loop(b, step, [a, u], work, axis, reverse)
    else:
        y = tree(b, partial(_affine_pair, b), [a, u], [work, work], axis, reverse)[1]
    return y if work is out else b.convert(y, out)


def _affine(b: Any, a: Any, x: Any, u: Any, aval: ShapedArray) -> Any:
    return b.op("stablehlo.add", (b.op("stablehlo.multiply", (a, x), aval), u), aval)


def _affine_pair(b: Any, first: Any, second: Any, avals: Sequence[ShapedArray]) -> list[Any]:
    """Compose two affine maps: x -> a2 (a1 x + u1) + u2."""
    (a1, u1), (a2, u2) = first, second
    product = b.op("stablehlo.multiply", (a2, a1), avals[0])
    return [product, _affine(b, a2, u1, u2, avals[1])]


linear_recurrence_p = declare(
    "linear_recurrence",
    abstract_eval=_recurrence_abstract,
    jvp=_recurrence_jvp,
    transpose=_recurrence_transpose,
    batch=_recurrence_batch,
    lower=_recurrence_lower,
)

# Sum --------------------------------------------------------------------------------------------


def _cumsum_transpose(
    cotangents: Sequence[Value], operand: Any, *, axis: int, reverse: bool
) -> Any:
    """Sum from the other end."""
    return bind(cumsum_p, cotangents[0], axis=axis, reverse=not reverse)


cumsum_p = declare_linear(
    "cumsum",
    abstract_eval=partial(_abstract, "cumsum", "iufc"),
    transpose=_cumsum_transpose,
    batch=partial(_batch, "cumsum"),
    lower=partial(_lower, partial(_combine, "add"), zero_of, False),
)

# The others -------------------------------------------------------------------------------------


def _declare_scan(name: str, kinds: str, jvp: Any, combine: Any, identity: Any, exact: bool) -> Any:
    return declare(
        name,
        abstract_eval=partial(_abstract, name, kinds),
        jvp=jvp,
        transpose=NOT_LINEAR,
        batch=partial(_batch, name),
        lower=partial(_lower, combine, identity, exact),
    )


def _cumprod_jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, axis: int, reverse: bool
) -> Any:
    """D p_i = x_i dp_(i-1) + p_(i-1) dx_i."""
    (x,), dx = primals, tangents[0]
    (p,) = bind(cumprod_p, x, axis=axis, reverse=reverse)
    source = mul(_before(p, axis, reverse, 1), dx)
    return [p], [linear_recurrence(x, source, axis, reverse)]


def _extreme_jvp(
    name: str, primals: Sequence[Value], tangents: Sequence[Tangent], *, axis: int, reverse: bool
) -> Any:
    """D m_i = the mean of dx over the elements up to i that attain m_i; 0 where none does, which is
    where m_i is NaN.
    """
    (x,), dx = primals, tangents[0]
    (m,) = bind(registry[name], x, axis=axis, reverse=reverse)
    zero, one = (full(x.aval.shape, value, x.aval.dtype) for value in (0, 1))
    attained = eq(x, m)
    kept = select_n(eq(m, _before(m, axis, reverse, math.nan)), zero, one)
    count = linear_recurrence(kept, select_n(attained, zero, one), axis, reverse)
    total = linear_recurrence(kept, select_n(attained, zero, dx), axis, reverse)
    return [m], [div(total, larger(count, one))]


def _cumlogsumexp_jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, axis: int, reverse: bool
) -> Any:
    """D r_i = exp(r_(i-1) - r_i) dr_(i-1) + exp(x_i - r_i) dx_i."""
    (x,), dx = primals, tangents[0]
    (r,) = bind(cumlogsumexp_p, x, axis=axis, reverse=reverse)
    kept = _weight(_before(r, axis, reverse, -math.inf), r)
    return [r], [linear_recurrence(kept, mul(_weight(x, r), dx), axis, reverse)]


def _weight(x: Value, r: Value) -> Value:
    """Return exp(x - r) for x <= r, which is 1 where both are the same infinity, and NaN at NaN."""
    if dtypes.is_complex(x.aval.dtype):
        return exp(sub(x, r))
    usual = bitwise_or(bitwise_or(is_finite(r), is_finite(x)), ne(r, r))
    edge = select_n(eq(x, r), full(x.aval.shape, -math.inf, x.aval.dtype), zeros(x.aval))
    return exp(select_n(usual, edge, sub(x, r)))


def _logaddexp(b: Any, x: Any, y: Any, aval: ShapedArray) -> Any:
    """Write max + log(1 + exp(min - max)), which is max where both are the same infinity."""
    op = b.op
    if dtypes.is_complex(aval.dtype):
        return _logaddexp_complex(b, x, y, aval)
    high, low = op("stablehlo.maximum", (x, y), aval), op("stablehlo.minimum", (x, y), aval)
    gap = op("stablehlo.exponential", (op("stablehlo.subtract", (low, high), aval),), aval)
    total = op("stablehlo.add", (high, op("stablehlo.log_plus_one", (gap,), aval)), aval)
    return b.select(b.compare("EQ", x, y, aval), _doubled(b, high, aval), total, aval)


def _doubled(b: Any, x: Any, aval: ShapedArray) -> Any:
    return b.op("stablehlo.add", (x, b.full(math.log(2.0), aval)), aval)


def _logaddexp_complex(b: Any, x: Any, y: Any, aval: ShapedArray) -> Any:
    """Write the same with max by real part, the imaginary part brought to [-pi, pi]."""
    op, part = b.op, aval.update(dtype=dtypes.to_real(aval.dtype))
    xr, yr = op("stablehlo.real", (x,), part), op("stablehlo.real", (y,), part)
    first = b.compare("GE", xr, yr, part)
    high, low = b.select(first, x, y, aval), b.select(first, y, x, aval)
    gap = op("stablehlo.exponential", (op("stablehlo.subtract", (low, high), aval),), aval)
    total = op("stablehlo.add", (high, op("stablehlo.log_plus_one", (gap,), aval)), aval)
    angle, turn = op("stablehlo.imag", (total,), part), b.full(2 * math.pi, part)
    turns = op("stablehlo.round_nearest_even", (op("stablehlo.divide", (angle, turn), part),), part)
    angle = op("stablehlo.subtract", (angle, op("stablehlo.multiply", (turns, turn), part)), part)
    return op("stablehlo.complex", (op("stablehlo.real", (total,), part), angle), aval)


def _minus_infinity(_: Any) -> float:
    return -math.inf


cumprod_p = _declare_scan(
    "cumprod", "iufc", _cumprod_jvp, partial(_combine, "multiply"), one_of, False
)
cummax_p = _declare_scan(
    "cummax", "iufc", partial(_extreme_jvp, "cummax"), partial(_combine, "maximum"), least, True
)
cummin_p = _declare_scan(
    "cummin", "iufc", partial(_extreme_jvp, "cummin"), partial(_combine, "minimum"), greatest, True
)
cumlogsumexp_p = _declare_scan(
    "cumlogsumexp", "fc", _cumlogsumexp_jvp, _logaddexp, _minus_infinity, False
)
