"""Reductions over axes: sum, product, extremes and bits."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import (
    NOT_LINEAR,
    ZERO_DERIVATIVE,
    BatchAxis,
    Primitive,
    Refusal,
    declare,
    registry,
)
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add, bitwise_or, div, eq, mul
from functrax.primitives.extreme import extreme
from functrax.primitives.join import pad, split
from functrax.primitives.rules import (
    Dim,
    Tangent,
    batched_axes,
    check_kind,
    declare_linear,
    full,
    matched,
    reshape,
    scalar,
    sum_axes,
    transpose_axes,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axes

# What all reductions share ----------------------------------------------------------------------


def _reduced(primitive: Primitive, operand: Any, axes: Sequence[int]) -> Value:
    operand = as_value(operand, primitive.name)
    axes = canonical_axes(primitive.name, axes, operand.aval.ndim)
    return bind(primitive, operand, axes=axes)[0]


def _abstract(
    name: str, kinds: str, operand: ShapedArray, *, axes: tuple[int, ...]
) -> tuple[ShapedArray]:
    check_kind(name, operand, kinds)
    canonical_axes(name, axes, operand.ndim)
    shape = tuple(size for i, size in enumerate(operand.shape) if i not in axes)
    return (operand.update(shape=shape),)


def reduction_batch(
    name: str,
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: tuple[int, ...],
    **params: Any,
) -> Any:
    """Reduce the same axes of every slice along the mapped axis."""
    dim: Any = dims[0]
    moved = batched_axes(axes, dim)
    out_dim = dim - sum(reduced < dim for reduced in moved)
    return bind(registry[name], *operands, axes=moved, **params), [out_dim]


def kept(x: Value, aval: ShapedArray, axes: Sequence[int]) -> Value:
    """Put the reduced axes of a result back, each of the operand's size."""
    dims = tuple(i for i in range(aval.ndim) if i not in axes)
    if x.aval.shape == aval.shape:
        return x
    params = {"shape": aval.shape, "broadcast_dimensions": dims}
    return bind(registry["broadcast_in_dim"], x, **params)[0]


def least(dtype: Any) -> Any:
    """Return the identity of max: minus infinity, or the least number."""
    if dtypes.is_bool(dtype):
        return False
    if dtypes.is_integer(dtype):
        return dtypes.iinfo(dtype).min
    if dtypes.is_complex(dtype):
        return complex(-np.inf, -np.inf)
    return _limit(dtype, -np.inf, "min")


def greatest(dtype: Any) -> Any:
    """Return the identity of min: infinity, or the greatest number."""
    if dtypes.is_bool(dtype):
        return True
    if dtypes.is_integer(dtype):
        return dtypes.iinfo(dtype).max
    if dtypes.is_complex(dtype):
        return complex(np.inf, np.inf)
    return _limit(dtype, np.inf, "max")


def _limit(dtype: Any, infinity: float, name: str) -> float:
    """Return an infinity, or the limit of a format that has none."""
    with np.errstate(all="ignore"):
        rounded = float(np.asarray(infinity).astype(dtype))
    return infinity if rounded == infinity else float(getattr(dtypes.finfo(dtype), name))


def zero_of(_: Any) -> int:
    """Return the identity of a sum."""
    return 0


def one_of(_: Any) -> int:
    """Return the identity of a product."""
    return 1


def all_bits(dtype: Any) -> Any:
    """Return the identity of a bitwise *and*."""
    return greatest(dtype) if dtypes.is_bool(dtype) or dtypes.is_unsigned(dtype) else -1


def _lower(
    operation: str, identity: Callable[[Any], Any], b: Any, x: Any, *, axes: tuple[int, ...]
) -> Any:
    if not axes:
        return x
    out = b.out_types[0]
    element = ShapedArray((), out.dtype)
    initial = b.full(identity(out.dtype), element)

    def body(left: Any, right: Any) -> list[Any]:
        if operation in ("maximum", "minimum"):
            return [extreme(b, operation, left, right, element)]
        return [b.op(f"stablehlo.{operation}", (left, right), element)]

    return b.reduce([x], [initial], [out], axes, body)[0]


def _declare_reduction(
    name: str, operation: str, kinds: str, identity: Callable[[Any], Any], jvp: Any
) -> Primitive:
    return declare(
        name,
        abstract_eval=partial(_abstract, name, kinds),
        jvp=jvp if isinstance(jvp, Refusal) else partial(jvp, name),
        transpose=NOT_LINEAR,
        batch=partial(reduction_batch, name),
        lower=partial(_lower, operation, identity),
    )


# Sum --------------------------------------------------------------------------------------------


def reduce_sum(operand: Any, axes: Sequence[int]) -> Value:
    """Sum over axes.

    Args:
        operand: array of numbers.
        axes: the axes to sum over.

    Returns:
        An array of the same dtype without those axes.

    Raises:
        DtypeError: for booleans.
        BoundsError: for an axis out of range.

    Source: StableHLO specification, "reduce".
    """
    return _reduced(reduce_sum_p, operand, axes)


def _sum_transpose(
    cotangents: Sequence[Value], operand: Any, *, axes: tuple[int, ...]
) -> list[Value]:
    """Repeat the cotangent along the axes that were summed."""
    return [kept(cotangents[0], operand.aval, axes)]


reduce_sum_p = declare_linear(
    "reduce_sum",
    abstract_eval=partial(_abstract, "reduce_sum", "iufc"),
    transpose=_sum_transpose,
    batch=partial(reduction_batch, "reduce_sum"),
    lower=partial(_lower, "add", zero_of),
)

# Product ----------------------------------------------------------------------------------------


def reduce_prod(operand: Any, axes: Sequence[int]) -> Value:
    """Multiply over axes.

    Args:
        operand: array of numbers.
        axes: the axes to multiply over.

    Returns:
        An array of the same dtype without those axes.

    Raises:
        DtypeError: for booleans.
    """
    return _reduced(reduce_prod_p, operand, axes)


def _prod_jvp(
    name: str, primals: Sequence[Value], tangents: Sequence[Tangent], *, axes: tuple[int, ...]
) -> Any:
    """D prod(x) = sum_i dx_i prod_{j != i} x_j, by the product rule up a binary tree.

    No division: it is right where elements are zero, and so are its own derivatives.
    """
    x, dx = _flat_last(primals[0], axes), _flat_last(tangents[0], axes)
    while (size := x.aval.shape[-1]) > 1:
        if size % 2:
            edge = (*((0, 0, 0),) * (x.aval.ndim - 1), (0, 1, 0))
            x, dx = pad(x, scalar(1, x.aval.dtype), edge), pad(dx, scalar(0, x.aval.dtype), edge)
        half, last = (size + 1) // 2, x.aval.ndim - 1
        (x0, x1), (dx0, dx1) = split(x, (half, half), last), split(dx, (half, half), last)
        x, dx = mul(x0, x1), add(mul(dx0, x1), mul(x0, dx1))
    results = bind(registry[name], *primals, axes=axes)
    return results, [sum_axes(dx, (dx.aval.ndim - 1,))]


def _flat_last(x: Any, axes: Sequence[int]) -> Value:
    """Return x with the axes merged into one, behind the others."""
    rest = [i for i in range(x.aval.ndim) if i not in axes]
    moved = transpose_axes(x, (*rest, *axes))
    size = 1
    for i in axes:
        size *= x.aval.shape[i]
    return reshape(moved, (*(x.aval.shape[i] for i in rest), size))


reduce_prod_p = _declare_reduction("reduce_prod", "multiply", "iufc", one_of, _prod_jvp)

# Extremes ---------------------------------------------------------------------------------------


def reduce_max(operand: Any, axes: Sequence[int]) -> Value:
    """Take the largest element over axes.

    Args:
        operand: array; complex numbers compare by real part, then imaginary part.
        axes: the axes to reduce.

    Returns:
        An array of the same dtype without those axes; NaN where there is one; minus infinity (or
        the least number) where there are no elements.
    """
    return _reduced(reduce_max_p, operand, axes)


def reduce_min(operand: Any, axes: Sequence[int]) -> Value:
    """Take the smallest element over axes; otherwise as `reduce_max`.

    Args:
        operand: array.
        axes: the axes to reduce.

    Returns:
        An array of the same dtype without those axes.
    """
    return _reduced(reduce_min_p, operand, axes)


def _extreme_jvp(
    name: str, primals: Sequence[Value], tangents: Sequence[Tangent], *, axes: tuple[int, ...]
) -> Any:
    """D max(x) = the mean of dx over the elements that attain the maximum; NaN, which no element
    attains, is the result of all of them, and its derivative in each is NaN.
    """
    (x,), dx = primals, tangents[0]
    results = bind(registry[name], x, axes=axes)
    m, dtype = results[0], x.aval.dtype
    chosen = eq(x, kept(m, x.aval, axes))
    nothing = full(x.aval.shape, 0, dtype)
    count = sum_axes(select_n(chosen, nothing, full(x.aval.shape, 1, dtype)), axes)
    none = eq(count, full(m.aval.shape, 0, dtype))
    count = select_n(none, count, full(m.aval.shape, np.nan, dtype))
    chosen = bitwise_or(chosen, kept(none, x.aval.update(dtype=none.aval.dtype), axes))
    return results, [div(sum_axes(select_n(chosen, nothing, dx), axes), count)]


reduce_max_p = _declare_reduction("reduce_max", "maximum", "biufc", least, _extreme_jvp)
reduce_min_p = _declare_reduction("reduce_min", "minimum", "biufc", greatest, _extreme_jvp)

# Where to start ---------------------------------------------------------------------------------


def initial_value(call: str, name: str, x: Any, operand: Value) -> Value:
    """Return the value that a reduction of an operand starts from, in the operand's dtype.

    Raises:
        ShapeError: if it is not a scalar.
        DtypeError, IntegerOverflowError: if the operand's dtype does not hold what it is.
    """
    dtype = operand.aval.dtype
    if type(x) is int and x in (0, 1) and dtypes.is_bool(dtype):
        return scalar(x, dtype)
    _, value = matched(call, operand, x)
    if value.aval.shape:
        raise errors.ShapeError(call, f"scalars as {name}", repr(value.aval))
    kinds = (dtype, value.aval.dtype), (False, value.aval.weak_type)
    if dtypes.promote(*kinds, call)[0] != dtype:
        expected = f"{name} of the operand's dtype {dtypes.short_name(dtype)}"
        raise errors.DtypeError(call, expected, repr(value.aval))
    return convert(value, dtype)


# Bits -------------------------------------------------------------------------------------------

reduce_and_p = _declare_reduction("reduce_and", "and", "biu", all_bits, ZERO_DERIVATIVE)
reduce_or_p = _declare_reduction("reduce_or", "or", "biu", zero_of, ZERO_DERIVATIVE)
reduce_xor_p = _declare_reduction("reduce_xor", "xor", "biu", zero_of, ZERO_DERIVATIVE)


def reduce_and(operand: Any, axes: Sequence[int]) -> Value:
    """Combine by bitwise (or logical) *and* over axes.

    Args:
        operand: array of booleans or integers.
        axes: the axes to reduce.

    Returns:
        An array of the same dtype without those axes.
    """
    return _reduced(reduce_and_p, operand, axes)


def reduce_or(operand: Any, axes: Sequence[int]) -> Value:
    """Combine by bitwise (or logical) *or* over axes.

    Args:
        operand: array of booleans or integers.
        axes: the axes to reduce.

    Returns:
        An array of the same dtype without those axes.
    """
    return _reduced(reduce_or_p, operand, axes)


def reduce_xor(operand: Any, axes: Sequence[int]) -> Value:
    """Combine by bitwise (or logical) *exclusive or* over axes.

    Args:
        operand: array of booleans or integers.
        axes: the axes to reduce.

    Returns:
        An array of the same dtype without those axes.
    """
    return _reduced(reduce_xor_p, operand, axes)
