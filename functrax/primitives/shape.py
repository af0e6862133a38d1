"""Operations that change the shape of an array without computing: broadcast, reshape, transpose,
squeeze, iota, rev.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, integers, listed
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, declare
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.rules import (
    Dim,
    batched_axes,
    declare_linear,
    is_linear,
    move_batch_axis,
    sum_axes,
    transpose_axes,
)
from functrax.primitives.rules import (
    reshape as reshape_value,
)

# broadcast_in_dim ---------------------------------------------------------------------------------


def broadcast_in_dim(
    operand: Any,
    shape: Sequence[int],
    broadcast_dimensions: Sequence[int],
    *,
    out_sharding: None = None,
) -> Value:
    """Place the axes of an array at given axes of a larger shape and repeat along the rest.

    Args:
        operand: array of shape s.
        shape: the result's shape.
        broadcast_dimensions: for each axis of `operand`, its axis in the result, increasing; sizes
            agree or are 1.
        out_sharding: must be None.

    Returns:
        An array of shape `shape` and the operand's dtype.

    Raises:
        ShapeError: if the axes or sizes do not fit.

    Source: StableHLO specification, "broadcast_in_dim".
    """
    operand = as_value(operand, "broadcast_in_dim")
    dims = integers("broadcast_in_dim", "broadcast_dimensions", broadcast_dimensions)
    shape = integers("broadcast_in_dim", "shape", shape)
    if operand.aval.shape == shape and dims == tuple(range(len(shape))):
        return operand
    return bind(broadcast_in_dim_p, operand, shape=shape, broadcast_dimensions=dims)[0]


def _broadcast_abstract(
    operand: ShapedArray, *, shape: tuple[int, ...], broadcast_dimensions: tuple[int, ...]
) -> tuple[ShapedArray]:
    dims = broadcast_dimensions
    ok = (
        len(dims) == operand.ndim
        and all(0 <= dim < len(shape) for dim in dims)
        and all(a < b for a, b in itertools.pairwise(dims))
        and all(size in (1, shape[dim]) for size, dim in zip(operand.shape, dims, strict=True))
    )
    if not ok:
        raise errors.ShapeError(
            "broadcast_in_dim",
            f"axes that fit shape {shape}",
            f"{operand!r} with broadcast_dimensions={dims}",
        )
    return (operand.update(shape=shape),)


def _broadcast_transpose(
    cotangents: Sequence[Value],
    operand: Any,
    *,
    shape: tuple[int, ...],
    broadcast_dimensions: tuple[int, ...],
) -> list[Value | None]:
    """Sum over the axes that were added or stretched."""
    if not is_linear(operand):
        return [None]
    stretched = [
        dim
        for size, dim in zip(operand.aval.shape, broadcast_dimensions, strict=True)
        if size != shape[dim]
    ]
    added = [axis for axis in range(len(shape)) if axis not in broadcast_dimensions]
    return [reshape_value(sum_axes(cotangents[0], sorted(added + stretched)), operand.aval.shape)]


def _broadcast_batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    shape: Any,
    broadcast_dimensions: Any,
) -> Any:
    x = move_batch_axis(axis, operands[0], dims[0])
    moved = (0, *(dim + 1 for dim in broadcast_dimensions))
    return bind(broadcast_in_dim_p, x, shape=(axis.size, *shape), broadcast_dimensions=moved), [0]


def _broadcast_lower(b: Any, x: Any, *, shape: Any, broadcast_dimensions: Any) -> Any:
    return b.broadcast(x, b.out_types[0], broadcast_dimensions)


broadcast_in_dim_p = declare_linear(
    "broadcast_in_dim",
    abstract_eval=_broadcast_abstract,
    transpose=_broadcast_transpose,
    batch=_broadcast_batch,
    lower=_broadcast_lower,
)

# reshape ------------------------------------------------------------------------------------------


def reshape(
    operand: Any,
    new_sizes: Sequence[int],
    dimensions: Sequence[int] | None = None,
    *,
    out_sharding: None = None,
) -> Value:
    """Give the elements of an array, in row-major order, another shape.

    Args:
        operand: array.
        new_sizes: a shape with the same number of elements.
        dimensions: an order of the axes to read the elements in; row-major by default.
        out_sharding: must be None.

    Returns:
        An array of shape `new_sizes`.

    Raises:
        ShapeError: if the number of elements differs.

    Source: StableHLO specification, "reshape".
    """
    operand = as_value(operand, "reshape")
    if dimensions is not None:
        operand = transpose_axes(operand, integers("reshape", "dimensions", dimensions))
    sizes = integers("reshape", "new_sizes", new_sizes)
    return operand if operand.aval.shape == sizes else bind(reshape_p, operand, new_sizes=sizes)[0]


def _reshape_abstract(operand: ShapedArray, *, new_sizes: tuple[int, ...]) -> tuple[ShapedArray]:
    if math.prod(new_sizes) != operand.size or any(size < 0 for size in new_sizes):
        raise errors.ShapeError(
            "reshape",
            f"a shape of {operand.size} elements",
            f"{new_sizes} for an array of shape {operand.shape}",
        )
    return (operand.update(shape=new_sizes),)


def _reshape_transpose(cotangents: Sequence[Value], operand: Any, *, new_sizes: Any) -> list[Value]:
    """Reshape back."""
    return [reshape_value(cotangents[0], operand.aval.shape)]


def _reshape_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, new_sizes: Any
) -> Any:
    x = move_batch_axis(axis, operands[0], dims[0])
    return [reshape_value(x, (axis.size, *new_sizes))], [0]


def _reshape_lower(b: Any, x: Any, *, new_sizes: Any) -> Any:
    return b.reshape(x, b.out_types[0])


reshape_p = declare_linear(
    "reshape",
    abstract_eval=_reshape_abstract,
    transpose=_reshape_transpose,
    batch=_reshape_batch,
    lower=_reshape_lower,
)

# squeeze and expand_dims --------------------------------------------------------------------------


def squeeze(array: Any, dimensions: Sequence[int]) -> Value:
    """Drop axes of size 1.

    Args:
        array: array.
        dimensions: the axes to drop; negative ones count from the end.

    Returns:
        An array without those axes.

    Raises:
        ShapeError: if one of them has another size.
    """
    array = as_value(array, "squeeze")
    axes = canonical_axes("squeeze", dimensions, array.aval.ndim)
    return bind(squeeze_p, array, dimensions=axes)[0] if axes else array


def expand_dims(array: Any, dimensions: Sequence[int]) -> Value:
    """Insert axes of size 1 so that they stand at the given positions of the result.

    Args:
        array: array.
        dimensions: positions in the result; negative ones count from its end.

    Returns:
        An array with those axes added.
    """
    array = as_value(array, "expand_dims")
    dimensions = integers("expand_dims", "dimensions", dimensions)
    rank = array.aval.ndim + len(dimensions)
    axes = canonical_axes("expand_dims", dimensions, rank)
    kept = tuple(axis for axis in range(rank) if axis not in axes)
    sizes = iter(array.aval.shape)
    shape = tuple(1 if axis in axes else next(sizes) for axis in range(rank))
    return broadcast_in_dim(array, shape, kept)


def canonical_axes(call: str, axes: Sequence[Any], rank: int) -> tuple[int, ...]:
    """Return axes as sorted non-negative numbers.

    Raises:
        BoundsError: if one is out of range or repeated.
    """
    found = sorted(canonical_axis(call, axis, rank) for axis in listed(call, "axes", axes))
    if len(set(found)) != len(found):
        raise errors.ArgumentError(
            call, "distinct axes", f"{tuple(axes)} for an array of {rank} axes"
        )
    return tuple(found)


def canonical_axis(call: str, axis: Any, rank: int) -> int:
    """Return an axis as a non-negative number.

    Raises:
        BoundsError: if it is out of range; ArgumentError: if it is not an integer.
    """
    if type(axis) is not int:
        axis = integer(call, "axis", axis)
    if not -rank <= axis < rank:
        raise errors.BoundsError(call, f"an axis of an array of {rank} axes", f"axis {axis}")
    return int(axis) + rank if axis < 0 else int(axis)


def _squeeze_abstract(array: ShapedArray, *, dimensions: tuple[int, ...]) -> tuple[ShapedArray]:
    if any(array.shape[axis] != 1 for axis in dimensions):
        raise errors.ShapeError(
            "squeeze", "axes of size 1", f"axes {dimensions} of an array of shape {array.shape}"
        )
    return (array.update(shape=tuple(s for i, s in enumerate(array.shape) if i not in dimensions)),)


def _squeeze_transpose(cotangents: Sequence[Value], array: Any, *, dimensions: Any) -> list[Value]:
    """Put the axes back."""
    return [reshape_value(cotangents[0], array.aval.shape)]


def _squeeze_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, dimensions: Any
) -> Any:
    dim: Any = dims[0]
    moved = batched_axes(dimensions, dim)
    return bind(squeeze_p, operands[0], dimensions=moved), [dim - sum(axis < dim for axis in moved)]


def _squeeze_lower(b: Any, x: Any, *, dimensions: Any) -> Any:
    return b.reshape(x, b.out_types[0])


squeeze_p = declare_linear(
    "squeeze",
    abstract_eval=_squeeze_abstract,
    transpose=_squeeze_transpose,
    batch=_squeeze_batch,
    lower=_squeeze_lower,
)

# transpose ----------------------------------------------------------------------------------------


def transpose(operand: Any, permutation: Sequence[int]) -> Value:
    """Permute the axes of an array.

    Args:
        operand: array.
        permutation: for each axis of the result, the axis of the operand.

    Returns:
        An array with its axes in that order.

    Raises:
        ArgumentError: if it is not a permutation.

    Source: StableHLO specification, "transpose".
    """
    axes = integers("transpose", "permutation", permutation)
    return transpose_axes(as_value(operand, "transpose"), axes)


def _transpose_abstract(
    operand: ShapedArray, *, permutation: tuple[int, ...]
) -> tuple[ShapedArray]:
    if sorted(permutation) != list(range(operand.ndim)):
        raise errors.ArgumentError(
            "transpose",
            f"a permutation of the {operand.ndim} axes",
            f"{permutation} for shape {operand.shape}",
        )
    return (operand.update(shape=tuple(operand.shape[axis] for axis in permutation)),)


def _transpose_transpose(
    cotangents: Sequence[Value], operand: Any, *, permutation: tuple[int, ...]
) -> list[Value]:
    """Apply the inverse permutation."""
    inverse = sorted(range(len(permutation)), key=permutation.__getitem__)
    return [transpose_axes(cotangents[0], inverse)]


def _transpose_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, permutation: Any
) -> Any:
    dim: Any = dims[0]
    return bind(transpose_p, operands[0], permutation=(dim, *batched_axes(permutation, dim))), [0]


def _transpose_lower(b: Any, x: Any, *, permutation: Any) -> Any:
    return b.transpose(x, b.out_types[0], permutation)


transpose_p = declare_linear(
    "transpose",
    abstract_eval=_transpose_abstract,
    transpose=_transpose_transpose,
    batch=_transpose_batch,
    lower=_transpose_lower,
)

# rev ----------------------------------------------------------------------------------------------


def rev(operand: Any, dimensions: Sequence[int]) -> Value:
    """Reverse the order of the elements along axes.

    Args:
        operand: array.
        dimensions: the axes to reverse.

    Returns:
        An array of the same shape.

    Source: StableHLO specification, "reverse".
    """
    operand = as_value(operand, "rev")
    axes = canonical_axes("rev", dimensions, operand.aval.ndim)
    return bind(rev_p, operand, dimensions=axes)[0] if axes else operand


def _rev_abstract(operand: ShapedArray, *, dimensions: tuple[int, ...]) -> tuple[ShapedArray]:
    return (operand,)


def _rev_transpose(
    cotangents: Sequence[Value], operand: Any, *, dimensions: tuple[int, ...]
) -> Any:
    """Reverse again."""
    return bind(rev_p, cotangents[0], dimensions=dimensions)


def _rev_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, dimensions: Any
) -> Any:
    dim: Any = dims[0]
    return bind(rev_p, operands[0], dimensions=batched_axes(dimensions, dim)), [dim]


def _rev_lower(b: Any, x: Any, *, dimensions: Any) -> Any:
    return b.reverse(x, b.out_types[0], dimensions)


rev_p = declare_linear(
    "rev", abstract_eval=_rev_abstract, transpose=_rev_transpose, batch=_rev_batch, lower=_rev_lower
)

# iota ---------------------------------------------------------------------------------------------


def _iota_abstract(
    *, dtype: dtypes.DType, shape: tuple[int, ...], dimension: int
) -> tuple[ShapedArray]:
    return (ShapedArray(shape, dtype),)


def _iota_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    return bind(iota_p, **params), [None]


def _iota_lower(b: Any, *, dtype: Any, shape: tuple[int, ...], dimension: int) -> Any:
    return b.iota(b.out_types[0], dimension)


iota_p = declare(
    "iota",
    abstract_eval=_iota_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_iota_batch,
    lower=_iota_lower,
)
