"""Parts of arrays along one axis: the short forms of slice, dynamic_slice and its update."""

from typing import Any

from functrax import errors
from functrax.core.arguments import integer
from functrax.core.trace import Value, as_value
from functrax.primitives.rules import broadcast_to, matched, reshape
from functrax.primitives.shape import canonical_axis, squeeze
from functrax.primitives.slice import dynamic_slice, dynamic_update_slice, slice


def slice_in_dim(
    operand: Any,
    start_index: int | None,
    limit_index: int | None,
    stride: int = 1,
    axis: int = 0,
) -> Value:
    """Take every stride-th element along one axis: ``operand[..., start:limit:stride, ...]``.

    Args:
        operand: array.
        start_index: the first index; None for 0, negative counts from the end.
        limit_index: the index to stop before; None for the end, negative counts from the end.
        stride: the distance between indices, at least 1.
        axis: the axis; negative counts from the end.

    Returns:
        An array of the operand's rank.

    Raises:
        BoundsError: if the part lies outside of the array.
    """
    operand = as_value(operand, "slice_in_dim")
    shape = operand.aval.shape
    axis = canonical_axis("slice_in_dim", axis, len(shape))
    size = shape[axis]
    start = 0 if start_index is None else integer("slice_in_dim", "start_index", start_index)
    limit = size if limit_index is None else integer("slice_in_dim", "limit_index", limit_index)
    starts, limits, strides = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis] = start + size if start < 0 else start
    limits[axis] = limit + size if limit < 0 else limit
    strides[axis] = integer("slice_in_dim", "stride", stride)
    return slice(operand, starts, limits, strides)


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Value:
    """Take one index along one axis.

    Args:
        operand: array.
        index: a fixed index; negative counts from the end.
        axis: the axis; negative counts from the end.
        keepdims: whether the axis stays, with size 1.

    Returns:
        An array of the operand's rank, or of one less.

    Raises:
        BoundsError: if the index is out of range.
    """
    operand = as_value(operand, "index_in_dim")
    axis = canonical_axis("index_in_dim", axis, operand.aval.ndim)
    size, index = operand.aval.shape[axis], integer("index_in_dim", "index", index)
    if not -size <= index < size:
        raise errors.BoundsError(
            "index_in_dim", f"an index from {-size} to {size - 1} into axis {axis}", f"{index}"
        )
    index %= size
    result = slice_in_dim(operand, index, index + 1, 1, axis)
    return result if keepdims else squeeze(result, (axis,))


def dynamic_slice_in_dim(
    operand: Any,
    start_index: Any,
    slice_size: int,
    axis: int = 0,
    *,
    allow_negative_indices: bool = True,
) -> Value:
    """Take a run of fixed length along one axis, from a place known only at run time.

    Args:
        operand: array.
        start_index: integer scalar, clamped so that the run lies within the array.
        slice_size: the length of the run.
        axis: the axis; negative counts from the end.
        allow_negative_indices: whether a negative index counts from the end.

    Returns:
        An array of the operand's rank.
    """
    operand = as_value(operand, "dynamic_slice_in_dim")
    axis = canonical_axis("dynamic_slice_in_dim", axis, operand.aval.ndim)
    sizes = list(operand.aval.shape)
    sizes[axis] = integer("dynamic_slice_in_dim", "slice_size", slice_size)
    starts = _starts(operand, start_index, axis)
    return dynamic_slice(operand, starts, sizes, allow_negative_indices=allow_negative_indices)


def _starts(operand: Value, index: Any, axis: int) -> list[Any]:
    starts: list[Any] = [0] * operand.aval.ndim
    starts[axis] = index
    return starts


def dynamic_index_in_dim(
    operand: Any,
    index: Any,
    axis: int = 0,
    keepdims: bool = True,
    *,
    allow_negative_indices: bool = True,
) -> Value:
    """Take one index along one axis, known only at run time.

    Args:
        operand: array.
        index: integer scalar, clamped to the axis.
        axis: the axis; negative counts from the end.
        keepdims: whether the axis stays, with size 1.
        allow_negative_indices: whether a negative index counts from the end.

    Returns:
        An array of the operand's rank, or of one less.
    """
    result = dynamic_slice_in_dim(
        operand, index, 1, axis, allow_negative_indices=allow_negative_indices
    )
    return result if keepdims else squeeze(result, (axis,))


def dynamic_update_slice_in_dim(
    operand: Any, update: Any, start_index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Value:
    """Replace a run along one axis, at a place known only at run time.

    Args:
        operand: array.
        update: array of the same rank, equal in all sizes but that of the axis.
        start_index: integer scalar, clamped so that the run lies within the array.
        axis: the axis; negative counts from the end.
        allow_negative_indices: whether a negative index counts from the end.

    Returns:
        An array of the operand's shape.
    """
    operand, update = matched("dynamic_update_slice_in_dim", operand, update)
    axis = canonical_axis("dynamic_update_slice_in_dim", axis, operand.aval.ndim)
    starts = _starts(operand, start_index, axis)
    return dynamic_update_slice(
        operand, update, starts, allow_negative_indices=allow_negative_indices
    )


def dynamic_update_index_in_dim(
    operand: Any, update: Any, index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Value:
    """Replace one index along one axis, known only at run time.

    Args:
        operand: array.
        update: array of the operand's shape with size 1 along the axis, or without the axis.
        index: integer scalar, clamped to the axis.
        axis: the axis; negative counts from the end.
        allow_negative_indices: whether a negative index counts from the end.

    Returns:
        An array of the operand's shape.
    """
    operand, update = matched("dynamic_update_index_in_dim", operand, update)
    axis = canonical_axis("dynamic_update_index_in_dim", axis, operand.aval.ndim)
    if update.aval.ndim != operand.aval.ndim:
        shape = operand.aval.shape
        rest = (*shape[:axis], *shape[axis + 1 :])
        update = broadcast_to(update, rest) if not update.aval.shape else update
        sizes = update.aval.shape
        update = reshape(update, (*sizes[:axis], 1, *sizes[axis:]))
    return dynamic_update_slice_in_dim(
        operand, update, index, axis, allow_negative_indices=allow_negative_indices
    )
