"""Exchange of slices whose sizes are known only at run time."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, as_value, bind, vary
from functrax.core.types import NO_AXES, ShapedArray, short_types
from functrax.primitives.collectives.axes import (
    AxisName,
    Groups,
    Names,
    axis_names,
    exact_names,
    group_size,
    groups_of,
    names_of,
    take,
)
from functrax.primitives.collectives.moves import all_to_all_p
from functrax.primitives.compare import bitwise_and, ge, gt, lt
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add, mul, sub
from functrax.primitives.extreme import max as maximum
from functrax.primitives.gather import GatherDimensionNumbers, gather
from functrax.primitives.reduce import reduce_max, reduce_or
from functrax.primitives.rules import (
    Dim,
    Tangent,
    broadcast_to,
    declare_linear,
    full,
    is_linear,
    move_batch_axis,
    reshape,
    scalar,
    sum_axes,
    transpose_axes,
    zeros,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import iota_p

CALL = "ragged_all_to_all"


def ragged_all_to_all(
    operand: Any,
    output: Any,
    input_offsets: Any,
    send_sizes: Any,
    output_offsets: Any,
    recv_sizes: Any,
    *,
    axis_name: AxisName,
    axis_index_groups: Any = None,
) -> Value:
    """Send slices of rows, of sizes known at run time, to the positions along a named axis.

    Slice i of K goes to position ``i // (K // size)``.

    Args:
        operand: array of shape (N, ...), the rows to send.
        output: array of shape (M, ...) of its dtype, into which received rows are written.
        input_offsets: integers of shape (K,): where in `operand` each slice starts. K is divisible
            by the size of the axis.
        send_sizes: integers of shape (K,): how many rows each slice has.
        output_offsets: integers of shape (K,): where each slice starts in the *receiver's* output.
        recv_sizes: integers of shape (K,): how many rows arrive from each sender; they must be what
            the senders send.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.
        axis_index_groups: lists of positions along the axes (together), of one size, which contain
            each position once; each group exchanges alone.

    Returns:
        An array of shape (M, ...): `output` with the received rows. Slices that overlap where they
        are written leave one of them there. In reverse mode, a row that is sent more than once has
        the gradient NaN: send copies of it instead.

    Raises:
        AxisNameError: if a name is not bound.
        ShapeError, DtypeError: if the arrays do not fit.
        DeviceError: on devices for which XLA has no such operation (CPUs), unless `vmap` maps the
            axis.

    Example:
        >>> import functools, functrax, functrax.numpy as jnp
        >>> f = functools.partial(functrax.lax.ragged_all_to_all, axis_name="i")
        >>> a = jnp.array([[1, 2, 2], [3, 4, 0]]), jnp.zeros((2, 4), int)
        >>> starts, sizes = jnp.array([[0, 1], [0, 1]]), jnp.array([[1, 2], [1, 1]])
        >>> places, received = jnp.array([[0, 0], [1, 2]]), jnp.array([[1, 1], [2, 1]])
        >>> functrax.vmap(f, axis_name="i")(*a, starts, sizes, places, received)
        Array([[1, 3, 0, 0],
               [2, 2, 4, 0]], dtype=int32)
    """
    names = names_of(axis_name, CALL)
    groups = groups_of(axis_index_groups, names, CALL)
    given = (operand, output, input_offsets, send_sizes, output_offsets, recv_sizes)
    values = [as_value(x, CALL) for x in given]
    varying = NO_AXES.union(exact_names(names, CALL), *[x.aval.varying for x in values])
    size = group_size(names, groups, CALL)
    _check(*[x.aval for x in values], size=size)
    params = {"axes": names, "groups": groups, "size": size}
    return bind(ragged_all_to_all_p, *[vary(x, varying) for x in values], **params)[0]


def _check(operand: ShapedArray, output: ShapedArray, *slices: ShapedArray, size: int) -> None:
    if operand.ndim < 1 or operand.shape[1:] != output.shape[1:] or output.ndim < 1:
        expected = "operand (N, ...) and output (M, ...) with rows of one shape"
        raise errors.ShapeError(CALL, expected, short_types((operand, output)))
    if operand.dtype != output.dtype:
        expected = "operand and output of one dtype"
        raise errors.DtypeError(CALL, expected, short_types((operand, output)))
    if any(not dtypes.is_integer(x.dtype) or x.dtype != slices[0].dtype for x in slices):
        raise errors.DtypeError(CALL, "integer offsets and sizes of one dtype", short_types(slices))
    shape = slices[0].shape
    if len(shape) != 1 or not shape[0] or shape[0] % size or any(x.shape != shape for x in slices):
        raise errors.ShapeError(
            CALL,
            f"offsets and sizes of one shape (K,), with K > 0 divisible by {size}",
            short_types(slices),
        )


def _abstract(operand: ShapedArray, output: ShapedArray, *_: Any, **__: Any) -> tuple[ShapedArray]:
    return (output.update(weak_type=False),)


# Over mapped axes ---------------------------------------------------------------------------------


def _batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: Names,
    groups: Groups,
    size: int,
) -> Any:
    """Over this axis: find the sender of each row. Over others: the rows of all lanes are one
    array's.
    """
    params = {"axes": axes, "groups": groups, "size": size}
    if axis.name not in axes:
        return [_lanes(axis, operands, dims, params)], [0]
    if len(axes) > 1:
        expected = "one axis, where vmap maps it"
        raise errors.ArgumentError(
            CALL, expected, repr(axes), fix="Use one axis of the whole size."
        )
    moved = [move_batch_axis(axis, x, d, 0) for x, d in zip(operands, dims, strict=True)]
    some = groups or (tuple(range(axis.size)),)
    parts = [_among(*[take(x, group) for x in moved]) for group in some]
    whole = bind(registry["concatenate"], *parts, dimension=0)[0]
    return [take(whole, np.argsort([i for group in some for i in group]))], [0]


def _lanes(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], params: dict[str, Any]
) -> Value:
    x, output = [
        move_batch_axis(axis, v, d, 0) for v, d in zip(operands[:2], dims[:2], strict=True)
    ]
    slices = [move_batch_axis(axis, v, d, 1) for v, d in zip(operands[2:], dims[2:], strict=True)]
    lane = bind(iota_p, dtype=slices[0].aval.dtype, shape=slices[0].aval.shape, dimension=1)[0]
    for which, rows in ((0, x.aval.shape[1]), (2, output.aval.shape[1])):
        slices[which] = add(slices[which], mul(lane, rows))
    flat = [
        reshape(v, (v.aval.shape[0] * v.aval.shape[1], *v.aval.shape[2:]))
        for v in (x, output, *slices)
    ]
    return reshape(bind(ragged_all_to_all_p, *flat, **params)[0], output.aval.shape)


def _among(
    x: Value, output: Value, input_offsets: Value, send_sizes: Value, output_offsets: Value, _: Any
) -> Value:
    """Exchange among positions, which are the first axes."""
    count, rows = x.aval.shape[:2]
    length = output.aval.shape[1]

    def at_receiver(v: Value) -> Value:  # sender, receiver and slice -> receiver, sender and slice
        each = v.aval.shape[1] // count
        v = transpose_axes(reshape(convert(v, np.dtype(np.int32)), (count, count, each)), (1, 0, 2))
        return reshape(v, (count, count * each, 1))

    starts, sizes = at_receiver(output_offsets), at_receiver(send_sizes)
    shape = (count, starts.aval.shape[1], length)
    row = bind(iota_p, dtype=np.dtype(np.int32), shape=shape, dimension=2)[0]
    each = shape[1] // count
    sender = np.repeat(np.arange(count, dtype=np.int32), each)[:, None] * rows
    base = add(sub(at_receiver(input_offsets), starts), as_value(sender[None], CALL))
    source = add(add(row, broadcast_to(base, shape)), 1)
    source = select_n(_inside(row, starts, sizes), full(shape, 0, np.int32), source)
    source = reduce_max(source, (1,))  # 0 where nothing arrives, else 1 + the sender's row
    found = (
        gather(
            reshape(x, (count * rows, *x.aval.shape[2:])),
            reshape(maximum(sub(source, 1), 0), (count, length, 1)),
            GatherDimensionNumbers(tuple(range(2, x.aval.ndim)), (0,), (0,)),
            (1, *x.aval.shape[2:]),
            mode="clip",
        )
        if rows
        else output
    )
    return select_n(_for_rows(gt(source, 0), output), output, found)


def _inside(row: Value, starts: Value, sizes: Value) -> Value:
    starts, ends = [broadcast_to(v, row.aval.shape) for v in (starts, add(starts, sizes))]
    return bitwise_and(ge(row, starts), lt(row, ends))


def _for_rows(which: Value, like: Value) -> Value:
    """Stretch what holds for rows to their elements."""
    shape = which.aval.shape
    which = reshape(which, (*shape, *(1,) * (like.aval.ndim - len(shape))))
    return broadcast_to(which, like.aval.shape)


# Derivatives and lowering -------------------------------------------------------------------------


def _covered(length: int, starts: Value, sizes: Value) -> Value:
    """Tell for each slice (axis 0) and row whether the row is in the slice."""
    count = starts.aval.size
    row = bind(iota_p, dtype=starts.aval.dtype, shape=(count, length), dimension=1)[0]
    return _inside(row, reshape(starts, (count, 1)), reshape(sizes, (count, 1)))


def _transpose(cotangents: Sequence[Value], *operands: Any, **params: Any) -> list[Tangent]:
    """Send the cotangents of received rows back; the others belong to the output."""
    x, output, input_offsets, send_sizes, output_offsets, recv_sizes = operands
    cotangent = cotangents[0]
    there, back = [
        bind(all_to_all_p, v, split=0, concat=0, **params)[0]
        for v in (output_offsets, input_offsets)
    ]
    to_x = to_output = None
    if is_linear(x):
        sent = (there, recv_sizes, back, send_sizes)
        to_x = bind(ragged_all_to_all_p, cotangent, zeros(x.aval), *sent, **params)[0]
        copies = convert(_covered(x.aval.shape[0], input_offsets, send_sizes), np.dtype(np.int32))
        often = gt(sum_axes(copies, (0,)), 1)
        nan = broadcast_to(scalar(math.nan, x.aval.dtype), x.aval.shape)
        to_x = select_n(_for_rows(often, to_x), to_x, nan)
    if is_linear(output):
        received = reduce_or(_covered(output.aval.shape[0], there, recv_sizes), (0,))
        to_output = select_n(_for_rows(received, cotangent), cotangent, zeros(cotangent.aval))
    return [to_x, to_output, None, None, None, None]


def _lower(b: Any, *operands: Any, axes: Names, groups: Groups, size: int) -> Any:
    return b.ragged_all_to_all(operands, axes, groups)


ragged_all_to_all_p = declare_linear(
    "ragged_all_to_all",
    positions=(0, 1),
    abstract_eval=_abstract,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    axis_names=axis_names,
)
