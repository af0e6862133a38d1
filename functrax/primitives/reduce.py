"""Reductions over axes: sum, product, extremes, bits, and the positions of extremes."""

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
from functrax.primitives.elementwise import add, div, eq, extreme, mul
from functrax.primitives.join import pad, split
from functrax.primitives.rules import (
    Dim,
    Tangent,
    batched_axes,
    check_kind,
    declare_linear,
    full,
    reshape,
    scalar,
    sum_axes,
    transpose_axes,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import canonical_axes, canonical_axis

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


def _batch(
    name: str,
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: tuple[int, ...],
    **params: Any,
) -> Any:
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


def _zero(_: Any) -> int:
    return 0


def _one(_: Any) -> int:
    return 1


def _all_bits(dtype: Any) -> Any:
    return True if dtypes.is_bool(dtype) else -1 if not dtypes.is_unsigned(dtype) else greatest(dtype)


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
        batch=partial(_batch, name),
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
    batch=partial(_batch, "reduce_sum"),
    lower=partial(_lower, "add", _zero),
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


reduce_prod_p = _declare_reduction("reduce_prod", "multiply", "iufc", _one, _prod_jvp)

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
    """D max(x) = the mean of dx over the elements that attain the maximum."""
    (x,), dx = primals, tangents[0]
    results = bind(registry[name], x, axes=axes)
    chosen = eq(x, kept(results[0], x.aval, axes))
    nothing = full(x.aval.shape, 0, x.aval.dtype)
    count = sum_axes(select_n(chosen, nothing, full(x.aval.shape, 1, x.aval.dtype)), axes)
    return results, [div(sum_axes(select_n(chosen, nothing, dx), axes), count)]


reduce_max_p = _declare_reduction("reduce_max", "maximum", "biufc", least, _extreme_jvp)
reduce_min_p = _declare_reduction("reduce_min", "minimum", "biufc", greatest, _extreme_jvp)

# Bits -------------------------------------------------------------------------------------------

reduce_and_p = _declare_reduction("reduce_and", "and", "biu", _all_bits, ZERO_DERIVATIVE)
reduce_or_p = _declare_reduction("reduce_or", "or", "biu", _zero, ZERO_DERIVATIVE)
reduce_xor_p = _declare_reduction("reduce_xor", "xor", "biu", _zero, ZERO_DERIVATIVE)


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


# Positions of extremes --------------------------------------------------------------------------


def argmax(operand: Any, axis: int, index_dtype: Any) -> Value:
    """Return where the largest element along an axis is: the first one, or the first NaN.

    Args:
        operand: array of real numbers or booleans.
        axis: the axis.
        index_dtype: an integer dtype that can count the axis.

    Returns:
        An array of `index_dtype` without the axis.

    Raises:
        ShapeError: if the axis is empty.
        DtypeError: for complex numbers, or an index dtype that is not of integers.
    """
    return _position(argmax_p, operand, axis, index_dtype)


def argmin(operand: Any, axis: int, index_dtype: Any) -> Value:
    """Return where the smallest element along an axis is: the first one, or the first NaN.

    Args:
        operand: array of real numbers or booleans.
        axis: the axis.
        index_dtype: an integer dtype that can count the axis.

    Returns:
        An array of `index_dtype` without the axis.
    """
    return _position(argmin_p, operand, axis, index_dtype)


def _position(primitive: Primitive, operand: Any, axis: int, index_dtype: Any) -> Value:
    operand = as_value(operand, primitive.name)
    dtype = dtypes.canonicalize(index_dtype, primitive.name)
    axis = canonical_axis(primitive.name, axis, operand.aval.ndim)
    return bind(primitive, operand, axes=(axis,), index_dtype=dtype)[0]


def _position_abstract(
    name: str, operand: ShapedArray, *, axes: tuple[int, ...], index_dtype: Any
) -> tuple[ShapedArray]:
    check_kind(name, operand, "biuf")
    check_kind(name, operand.update(dtype=index_dtype), "iu")
    (axis,) = axes
    if operand.shape[axis] < 1 or operand.shape[axis] - 1 > dtypes.iinfo(index_dtype).max:
        counted = f"axis {axis} to have at least one element, and no more than {index_dtype} counts"
        raise errors.ShapeError(name, counted, repr(operand))
    shape = (*operand.shape[:axis], *operand.shape[axis + 1 :])
    return (ShapedArray(shape, index_dtype, False, operand.varying),)


def _position_lower(
    direction: str, b: Any, x: Any, *, axes: tuple[int, ...], index_dtype: Any
) -> Any:
    """Reduce pairs of value and index; a NaN beats every number, a lower index an equal value."""
    aval, out = b.in_types[0], b.out_types[0]
    if b.platform == "cpu" and dtypes.is_floating(aval.dtype) and aval.dtype.itemsize < 4:
        aval = aval.update(dtype=np.dtype(np.float32))  # 4 times faster, and exact
        x = b.convert(x, aval)
    value, index = aval.update(shape=()), out.update(shape=())
    flag = ShapedArray((), np.dtype(bool))
    worst = least(aval.dtype) if direction == "GT" else greatest(aval.dtype)

    def both(first: Any, second: Any) -> Any:
        return b.op("stablehlo.and", (first, second), flag)

    def either(first: Any, second: Any) -> Any:
        return b.op("stablehlo.or", (first, second), flag)

    def body(x0: Any, i0: Any, x1: Any, i1: Any) -> list[Any]:
        better, equal = b.compare(direction, x0, x1, value), b.compare("EQ", x0, x1, value)
        earlier = b.compare("LT", i0, i1, index)
        if dtypes.is_floating(value.dtype):
            nan0 = b.compare("NE", x0, x0, value)
            better = either(better, nan0)
            if b.platform != "cpu":  # there, the left one is the earlier one anyway
                nan1 = b.compare("NE", x1, x1, value)
                equal = either(equal, both(nan0, nan1))
                first = b.select(equal, earlier, better, flag)
                return [b.select(better, x0, x1, value), b.select(first, i0, i1, index)]
        first = either(better, both(equal, earlier))
        return [b.select(better, x0, x1, value), b.select(first, i0, i1, index)]

    positions = b.iota(out.update(shape=aval.shape), axes[0])
    initial = [b.full(worst, value), b.full(0, index)]
    outs = [aval.update(shape=out.shape), out]
    return b.reduce([x, positions], initial, outs, axes, body)[1]


def _declare_position(name: str, direction: str) -> Primitive:
    return declare(
        name,
        abstract_eval=partial(_position_abstract, name),
        jvp=ZERO_DERIVATIVE,
        transpose=NOT_LINEAR,
        batch=partial(_batch, name),
        lower=partial(_position_lower, direction),
    )


argmax_p = _declare_position("argmax", "GT")
argmin_p = _declare_position("argmin", "LT")
