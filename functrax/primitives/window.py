"""Sums over sliding windows (average pooling), and what all reductions over windows share."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from functrax.core.arguments import integers
from functrax.core.primitive import BatchAxis, registry
from functrax.core.signature import takes
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.convolution_numbers import (
    check_entries,
    dilated,
    padtype_to_pads,
    pairs,
    window_counts,
)
from functrax.primitives.rules import (
    Dim,
    check_kind,
    declare_linear,
    move_batch_axis,
    scalar,
    zeros,
)

_NEUTRAL = {"window_strides": 1, "padding": (0, 0), "base_dilation": 1, "window_dilation": 1}


def window_params(
    call: str,
    shape: tuple[int, ...],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None,
    padding: Any,
    base_dilation: Sequence[int] | None,
    window_dilation: Sequence[int] | None,
) -> dict[str, Any]:
    """Return the arguments that say how windows lie as parameters of an equation.

    Raises:
        ArgumentError: if one of them does not have an entry for each axis, or a wrong one.
    """
    rank = len(shape)
    windows, strides, base, steps = (
        (1,) * rank if values is None else integers(call, name, values)
        for name, values in (
            ("window_dimensions", window_dimensions),
            ("window_strides", window_strides),
            ("base_dilation", base_dilation),
            ("window_dilation", window_dilation),
        )
    )
    check_entries(
        call,
        rank,
        window_dimensions=windows,
        window_strides=strides,
        base_dilation=base,
        window_dilation=steps,
    )
    if isinstance(padding, str):
        # JAX's meaning: "SAME" looks at the array before it is dilated.
        extents = [dilated(size, step) for size, step in zip(windows, steps, strict=True)]
        padding = padtype_to_pads(shape, extents, strides, padding, call=call)
    return {
        "window_dimensions": windows,
        "window_strides": strides,
        "padding": pairs(call, padding, rank),
        "base_dilation": base,
        "window_dilation": steps,
    }


def reduced_type(name: str, kinds: str, operand: ShapedArray, **params: Any) -> ShapedArray:
    """Return the type of a reduction, of which the operand may have dtypes of some kinds."""
    check_kind(name, operand, kinds)
    return operand.update(shape=window_shape(name, operand.shape, **params))


def window_shape(
    call: str, shape: tuple[int, ...], *, window_dimensions: tuple[int, ...], **geometry: Any
) -> tuple[int, ...]:
    """Return how many windows lie along each axis."""
    ordered = {name: geometry.get(name, (1,) * len(shape)) for name in _NEUTRAL}
    return window_counts(call, shape, window_dimensions, ordered)


def _parameters(
    *,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...] = (),
    window_dilation: tuple[int, ...] = (),
) -> None:
    """What windows are described by; those of `select_and_scatter_add` have no dilations."""


of_windows = takes(_parameters)


def _mapped_params(params: dict[str, Any], dim: int) -> dict[str, Any]:
    """Give the parameters an entry for a mapped axis: windows of size 1."""
    neutral = {"window_dimensions": 1, **_NEUTRAL}
    return {
        name: (*values[:dim], neutral[name], *values[dim:]) if name in neutral else values
        for name, values in params.items()
    }


def batch_one(
    name: str, axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Map over one operand: windows have size 1 along the mapped axis."""
    dim: Any = dims[0]
    return bind(registry[name], *operands, **_mapped_params(params, dim)), dims


def batch_two(
    name: str, axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Map over one or both of two operands."""
    moved = [move_batch_axis(axis, x, dim) for x, dim in zip(operands, dims, strict=True)]
    return bind(registry[name], *moved, **_mapped_params(params, 0)), [0]


def lower_reduction(operation: str, identity: Any, b: Any, x: Any, **params: Any) -> Any:
    """Write a reduction over windows by one StableHLO operation."""
    out = b.out_types[0]
    element = ShapedArray((), out.dtype)
    if not b.in_types[0].size or not out.size:
        return b.full(identity(out.dtype), out)
    initial = b.full(identity(out.dtype), element)

    def body(left: Any, right: Any) -> Any:
        return b.op(f"stablehlo.{operation}", (left, right), element)

    return b.reduce_window(x, initial, out, body, **params)


# reduce_window_sum --------------------------------------------------------------------------------


def reduce_window_sum(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Value:
    """Sum over sliding windows.

    Args:
        operand: array of numbers.
        window_dimensions: the window's size along each axis.
        window_strides: the distance between windows; 1 by default.
        padding: ``"VALID"``, ``"SAME"``, ``"SAME_LOWER"``, or (low, high) for each axis; zeros are
            put at the edges, or elements cut off where negative.
        base_dilation: the distance at which elements are placed, with zeros between; 1 by default.
        window_dilation: the distance between the elements of a window; 1 by default.

    Returns:
        An array of the same dtype and rank, with an element for each window.

    Raises:
        ArgumentError: if an argument does not have a proper entry for each axis.
        DtypeError: if the operand is not of numbers.

    Example:
        >>> import numpy as np
        >>> reduce_window_sum(np.arange(5.0), (3,), padding="SAME")
        Array([1., 3., 6., 9., 7.], dtype=float32)

    Source: StableHLO specification, "reduce_window".
    """
    operand = as_value(operand, "reduce_window_sum")
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    params = window_params("reduce_window_sum", operand.aval.shape, *how)
    return bind(reduce_window_sum_p, operand, **params)[0]


@of_windows
def _sum_abstract(operand: ShapedArray, **params: Any) -> tuple[ShapedArray]:
    return (reduced_type("reduce_window_sum", "iufc", operand, **params),)


def _sum_transpose(
    cotangents: Sequence[Value],
    operand: Any,
    *,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...],
    window_dilation: tuple[int, ...],
) -> list[Value]:
    """x'[p] = sum y'[t] over t and k with s t + r k = d p + low: strides and dilations swap."""
    ct = cotangents[0]
    if not ct.aval.size or not operand.aval.size:
        return [zeros(operand.aval)]
    config: list[tuple[int, int, int]] = []
    sizes = zip(operand.aval.shape, ct.aval.shape, window_dimensions, strict=True)
    steps = zip(window_strides, padding, base_dilation, window_dilation, strict=True)
    for (size, count, window), (stride, (low, _), base, step) in zip(sizes, steps, strict=True):
        extent = dilated(window, step) - 1
        needed = dilated(size, base) + extent
        config.append((extent - low, needed - (extent - low) - dilated(count, stride), stride - 1))
    zero = scalar(0, ct.aval.dtype)
    ct = bind(registry["pad"], ct, zero, padding_config=tuple(config))[0]
    return bind(
        reduce_window_sum_p,
        ct,
        window_dimensions=window_dimensions,
        window_strides=base_dilation,
        padding=((0, 0),) * ct.aval.ndim,
        base_dilation=(1,) * ct.aval.ndim,
        window_dilation=window_dilation,
    )


reduce_window_sum_p = declare_linear(
    "reduce_window_sum",
    abstract_eval=_sum_abstract,
    transpose=_sum_transpose,
    batch=partial(batch_one, "reduce_window_sum"),
    lower=partial(lower_reduction, "add", lambda dtype: 0),
)
