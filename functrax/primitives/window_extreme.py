"""Maxima and minima over sliding windows (max pooling), with the operations they are derived by.

`select_and_gather_add` takes, for each window, the element of one array at the place where another
has its maximum (or minimum). `select_and_scatter_add` adds a number for each window at that place.
In the array that is taken from or added they are linear, and each is the other's adjoint.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR, Primitive, declare, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.convolution_numbers import dilated
from functrax.primitives.elementwise import bitwise_and, bitwise_not, bitwise_or, eq
from functrax.primitives.reduce import greatest, least
from functrax.primitives.rules import (
    Tangent,
    add_cotangents,
    declare_linear,
    full,
    scalar,
    zeros,
)
from functrax.primitives.select import select_n
from functrax.primitives.window import (
    batch_one,
    batch_two,
    lower_reduction,
    of_windows,
    reduced_type,
    window_params,
    window_shape,
)

_IDENTITY = {"ge": least, "le": greatest}

# reduce_window_max and reduce_window_min ----------------------------------------------------------


def reduce_window_max(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Value:
    """Take the largest element of each sliding window.

    Args:
        operand: array of real numbers or booleans.
        window_dimensions: the window's size along each axis.
        window_strides: as for `reduce_window_sum`, like the following.
        padding: how the edges are extended; with -inf, or the least number.
        base_dilation: the distance at which elements are placed.
        window_dilation: the distance between the elements of a window.

    Returns:
        An array of the same dtype and rank, with an element for each window. Its derivative is that
        of the first of the largest elements.

    Raises:
        ArgumentError: if an argument does not have a proper entry for each axis.
        DtypeError: if the operand is complex or of keys.

    Example:
        >>> import numpy as np
        >>> reduce_window_max(np.array([1, 4, 2, 0, 3]), (2,), (2,), "SAME")
        Array([4, 2, 3], dtype=int32)

    Source: StableHLO specification, "reduce_window".
    """
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return _extreme(reduce_window_max_p, operand, *how)


def reduce_window_min(
    operand: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Value:
    """Take the smallest element of each sliding window.

    Args:
        operand: array of real numbers or booleans.
        window_dimensions: the window's size along each axis.
        window_strides: as for `reduce_window_sum`, like the following.
        padding: how the edges are extended; with inf, or the greatest number.
        base_dilation: the distance at which elements are placed.
        window_dilation: the distance between the elements of a window.

    Returns:
        An array of the same dtype and rank, with an element for each window. Its derivative is that
        of the first of the smallest elements.

    Raises:
        ArgumentError: if an argument does not have a proper entry for each axis.
        DtypeError: if the operand is complex or of keys.

    Example:
        >>> import numpy as np
        >>> reduce_window_min(np.array([1, 4, 2, 0, 3]), (2,), (2,), "SAME")
        Array([1, 0, 3], dtype=int32)

    Source: StableHLO specification, "reduce_window".
    """
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return _extreme(reduce_window_min_p, operand, *how)


def _extreme(primitive: Primitive, operand: Any, *how: Any) -> Value:
    operand = as_value(operand, primitive.name)
    params = window_params(primitive.name, operand.aval.shape, *how)
    return bind(primitive, operand, **params)[0]


def _extreme_jvp(
    name: str, select: str, primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any
) -> Any:
    """D max(x) = dx at the place of the maximum."""
    results = bind(registry[name], *primals, **params)
    return results, bind(select_and_gather_add_p, tangents[0], *primals, select=select, **params)


def _declare_extreme(name: str, operation: str, select: str, identity: Any) -> Primitive:
    @of_windows
    def abstract_eval(operand: ShapedArray, **params: Any) -> tuple[ShapedArray]:
        return (reduced_type(name, "biuf", operand, **params),)

    return declare(
        name,
        abstract_eval=abstract_eval,
        jvp=partial(_extreme_jvp, name, select),
        transpose=NOT_LINEAR,
        batch=partial(batch_one, name),
        lower=partial(lower_reduction, operation, identity),
    )


reduce_window_max_p = _declare_extreme("reduce_window_max", "maximum", "ge", least)
reduce_window_min_p = _declare_extreme("reduce_window_min", "minimum", "le", greatest)

# select_and_gather_add ----------------------------------------------------------------------------


def select_and_gather_add(
    tangents: Any,
    operand: Any,
    select: str,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Value:
    """Take from each window of one array the element where another has its extreme.

    Args:
        tangents: the array to take from.
        operand: the array to compare, of the same shape.
        select: ``"ge"`` for the first maximum, ``"le"`` for the first minimum.
        window_dimensions: as for `reduce_window_max`, like the following.
        window_strides: the distance between windows.
        padding: how the edges are extended.
        base_dilation: the distance at which elements are placed.
        window_dilation: the distance between the elements of a window.

    Returns:
        An array of the dtype of `tangents`, with an element for each window; 0 where a window has
        only padding.

    Raises:
        ShapeError: if the arrays differ in shape.
        ArgumentError: if an argument does not have a proper entry for each axis.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([1, 4, 2, 0]), np.array([10.0, 20.0, 30.0, 40.0])
        >>> select_and_gather_add(y, x, "ge", (2,), (2,))
        Array([20., 30.], dtype=float32)
    """
    call = "select_and_gather_add"
    tangents, operand = as_value(tangents, call), as_value(operand, call)
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    params = window_params(call, operand.aval.shape, *how)
    return bind(select_and_gather_add_p, tangents, operand, select=select, **params)[0]


@of_windows
def _gather_abstract(
    tangents: ShapedArray, operand: ShapedArray, *, select: str, **params: Any
) -> tuple[ShapedArray]:
    name = "select_and_gather_add"
    if tangents.shape != operand.shape:
        raise errors.ShapeError(name, "arrays of one shape", short_types((tangents, operand)))
    shape = reduced_type(name, "biuf", operand, **params).shape
    return (ShapedArray(shape, tangents.dtype, False, tangents.varying | operand.varying),)


def _gather_transpose(
    cotangents: Sequence[Value], tangents: Any, operand: Value, **params: Any
) -> list[Value | None]:
    """Add the cotangent at the places that were taken from."""
    ct = cotangents[0]
    if not ct.aval.size or not tangents.aval.size:
        return [zeros(tangents.aval), None]
    plain = (1,) * ct.aval.ndim
    dilations = (params["base_dilation"], params["window_dilation"])
    if dilations != (plain, plain) or ct.aval.dtype != operand.aval.dtype:
        return [_scattered_by_place(ct, operand, **params), None]
    kept = {name: value for name, value in params.items() if not name.endswith("dilation")}
    return [bind(select_and_scatter_add_p, ct, operand, **kept)[0], None]


def _scattered_by_place(
    ct: Value,
    operand: Value,
    *,
    select: str,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...],
    window_dilation: tuple[int, ...],
) -> Value:
    """Do it for each place in the window by itself: no StableHLO operation knows dilations."""
    shape = operand.aval.shape
    edges = tuple((*pair, base - 1) for pair, base in zip(padding, base_dilation, strict=True))
    identity = scalar(_IDENTITY[select](operand.aval.dtype), operand.aval.dtype)
    padded = bind(registry["pad"], operand, identity, padding_config=edges)[0]
    spans = [dilated(n, s) for n, s in zip(ct.aval.shape, window_strides, strict=True)]
    places = [
        tuple(k * step for k, step in zip(place, window_dilation, strict=True))
        for place in itertools.product(*map(range, window_dimensions))
    ]

    def seen(start: tuple[int, ...]) -> Value:
        limits = tuple(i + span for i, span in zip(start, spans, strict=True))
        how = {"start_indices": start, "limit_indices": limits, "strides": window_strides}
        return bind(registry["slice"], padded, **how)[0]

    best = seen(places[0])
    for place in places[1:]:
        best = bind(registry["max" if select == "ge" else "min"], best, seen(place))[0]
    total = zeros(padded.aval.update(dtype=ct.aval.dtype))
    done, nothing = full(ct.aval.shape, False, dtypes.bool_), zeros(ct.aval)
    for place in places:
        first = bitwise_and(eq(seen(place), best), bitwise_not(done))
        done = bitwise_or(done, first)
        ends = zip(place, spans, padded.aval.shape, window_strides, strict=True)
        config = tuple((i, size - i - span, stride - 1) for i, span, size, stride in ends)
        part = select_n(first, nothing, ct)
        zero = scalar(0, ct.aval.dtype)
        total = add_cotangents(total, bind(registry["pad"], part, zero, padding_config=config)[0])
    return _undilated(total, shape, padding, base_dilation)


def _undilated(
    x: Value,
    shape: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...],
) -> Value:
    """Undo padding and dilation: take the elements of the array out of its extended form."""
    trims = tuple((-low, -high, 0) for low, high in padding)
    x = bind(registry["pad"], x, scalar(0, x.aval.dtype), padding_config=trims)[0]
    start, limits = (0,) * len(shape), x.aval.shape
    how = {"start_indices": start, "limit_indices": limits, "strides": base_dilation}
    return bind(registry["slice"], x, **how)[0]


def _gather_lower(b: Any, tangents: Any, operand: Any, *, select: str, **params: Any) -> Any:
    out, compared = b.out_types[0], b.in_types[1]
    if not compared.size or not out.size:
        return b.full(0, out)
    key, value = ShapedArray((), compared.dtype), ShapedArray((), out.dtype)

    def body(x: Any, dx: Any, y: Any, dy: Any) -> list[Any]:
        first = b.compare(select.upper(), x, y, key)
        return [b.select(first, x, y, key), b.select(first, dx, dy, value)]

    initial = b.full(_IDENTITY[select](compared.dtype), key), b.full(0, value)
    outs = compared.update(shape=out.shape), out
    return b.reduce_windows((operand, tangents), initial, outs, body, **params)[1]


select_and_gather_add_p = declare_linear(
    "select_and_gather_add",
    positions=[0],
    abstract_eval=_gather_abstract,
    transpose=_gather_transpose,
    batch=partial(batch_two, "select_and_gather_add"),
    lower=_gather_lower,
)

# select_and_scatter_add ---------------------------------------------------------------------------


def select_and_scatter_add(
    source: Any,
    operand: Any,
    select: str,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
) -> Value:
    """Add a number for each window where an array has its extreme.

    Args:
        source: the numbers to add: an array with an element for each window.
        operand: the array to compare.
        select: ``"ge"`` for the first maximum, ``"le"`` for the first minimum.
        window_dimensions: as for `reduce_window_max`, like the following.
        window_strides: the distance between windows.
        padding: how the edges are extended.

    Returns:
        An array of the shape of `operand` and the dtype of `source`.

    Raises:
        ShapeError: if `source` does not have an element for each window.
        DtypeError: if the dtypes differ.
        ArgumentError: if an argument does not have a proper entry for each axis.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([1.0, 4.0, 2.0, 0.0]), np.array([10.0, 20.0])
        >>> select_and_scatter_add(y, x, "ge", (2,), (2,))
        Array([ 0., 10., 20.,  0.], dtype=float32)

    Source: StableHLO specification, "select_and_scatter".
    """
    call = "select_and_scatter_add"
    source, operand = as_value(source, call), as_value(operand, call)
    params = window_params(
        call, operand.aval.shape, window_dimensions, window_strides, padding, None, None
    )
    kept = {name: value for name, value in params.items() if not name.endswith("dilation")}
    return bind(select_and_scatter_add_p, source, operand, select=select, **kept)[0]


@of_windows
def _scatter_abstract(
    source: ShapedArray, operand: ShapedArray, *, select: str, **params: Any
) -> tuple[ShapedArray]:
    name = "select_and_scatter_add"
    reduced_type(name, "biuf", operand, **params)
    shape = window_shape(name, operand.shape, **params)
    if source.dtype != operand.dtype:
        raise errors.DtypeError(name, "arrays of one dtype", short_types((source, operand)))
    if source.shape != shape:
        raise errors.ShapeError(name, f"a source of shape {shape}", repr(source))
    varying = source.varying | operand.varying
    return (ShapedArray(operand.shape, source.dtype, False, varying),)


def _scatter_transpose(
    cotangents: Sequence[Value], source: Any, operand: Value, **params: Any
) -> list[Value | None]:
    """Take the cotangent from the places that were added to."""
    plain = (1,) * operand.aval.ndim
    params |= {"base_dilation": plain, "window_dilation": plain}
    return [bind(select_and_gather_add_p, cotangents[0], operand, **params)[0], None]


def _scatter_lower(b: Any, source: Any, operand: Any, *, select: str, **params: Any) -> Any:
    (_, compared), out = b.in_types, b.out_types[0]
    if not compared.size or not b.in_types[0].size:
        return b.full(0, out)
    element = ShapedArray((), compared.dtype)

    def picked(x: Any, y: Any) -> Any:
        return b.compare(select.upper(), x, y, element)

    zero = b.full(0, ShapedArray((), out.dtype))
    return b.select_and_scatter(operand, source, zero, out, picked, **params)


select_and_scatter_add_p = declare_linear(
    "select_and_scatter_add",
    positions=[0],
    abstract_eval=_scatter_abstract,
    transpose=_scatter_transpose,
    batch=partial(batch_two, "select_and_scatter_add"),
    lower=_scatter_lower,
)
