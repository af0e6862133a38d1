"""Scatter: combine slices into many places of an array at once, by adding, replacing, and so on.

Indices that repeat combine all their updates. Of those of `scatter` one stays: the last on CPU, any
on other devices; while differentiating, the last everywhere.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.check import check_vectors
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import add, div, eq, mul, neg
from functrax.primitives.extreme import extreme
from functrax.primitives.extreme import max as larger
from functrax.primitives.gather import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
    check_numbers,
    numbers_of,
    widened,
)
from functrax.primitives.rules import (
    Dim,
    Tangent,
    check_kind,
    full,
    is_linear,
    matched,
    move_batch_axis,
    reshape,
    scalar,
    zeros,
)
from functrax.primitives.select import select_n

# Shared by all ----------------------------------------------------------------------------------


def _apply(
    name: str,
    /,
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Value:
    """Combine slices into many places of an array.

    Args:
        name: the primitive.
        operand: array.
        scatter_indices: integer array; its last axis holds the places.
        updates: array of the operand's dtype: the slices, along the batch axes of the indices.
        dimension_numbers: which axes belong together.
        indices_are_sorted: whether the places are in ascending order (a promise, for speed).
        unique_indices: whether no place repeats (a promise, for speed).
        mode: what happens to slices that leave the array: "drop" (the default), "clip" or
            "promise_in_bounds".

    Returns:
        An array of the operand's shape.

    Raises:
        ShapeError, DtypeError, ArgumentError: if the parts do not fit.

    Source: StableHLO specification, "scatter".
    """
    operand, updates = matched(name, operand, updates)
    indices = as_value(scatter_indices, name)
    numbers = numbers_of(name, ScatterDimensionNumbers, dimension_numbers)
    parsed = GatherScatterMode.from_any(mode)
    results = bind(
        registry[name],
        operand,
        indices,
        updates,
        dimension_numbers=numbers,
        indices_are_sorted=bool(indices_are_sorted),
        unique_indices=bool(unique_indices),
        mode=parsed,
    )
    if mode is None or parsed is GatherScatterMode.PROMISE_IN_BOUNDS:
        shape, sizes = operand.aval.shape, _sizes(operand.aval, updates.aval, numbers)
        check_vectors(name, indices, numbers.scatter_dims_to_operand_dims, shape, sizes)
    return results[0]


def _sizes(
    operand: ShapedArray, updates: ShapedArray, numbers: ScatterDimensionNumbers
) -> list[int]:
    """Return the shape of one slice, for every axis of the operand."""
    outside = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window = iter(numbers.update_window_dims)
    return [1 if a in outside else updates.shape[next(window)] for a in range(operand.ndim)]


def _function(name: str, summary: str) -> Callable[..., Value]:
    """Return the user's function for a primitive, documented like `_apply`."""
    function = partial(_apply, name)
    documentation = str(_apply.__doc__).replace("        name: the primitive.\n", "")
    function.__doc__ = summary + documentation[documentation.index("\n") :]
    return function


def _abstract(
    name: str,
    kinds: str,
    operand: ShapedArray,
    indices: ShapedArray,
    updates: ShapedArray,
    *,
    dimension_numbers: ScatterDimensionNumbers,
    **_: Any,
) -> tuple[ShapedArray]:
    check_kind(name, operand, kinds)
    if operand.dtype != updates.dtype:
        raise errors.DtypeError(
            name,
            "an array and updates of one dtype",
            short_types((operand, updates)),
            fix="Convert the updates with `.astype(...)`.",
        )
    if not dtypes.is_integer(indices.dtype) or not indices.ndim:
        raise errors.DtypeError(name, "an integer array of index vectors", f"{indices!r}")
    check_numbers(name, operand, indices, dimension_numbers)
    window = dimension_numbers.update_window_dims
    dropped = {*dimension_numbers.inserted_window_dims, *dimension_numbers.operand_batching_dims}
    limits = [size for axis, size in enumerate(operand.shape) if axis not in dropped]
    batch = [size for axis, size in enumerate(updates.shape) if axis not in window]
    fits = (
        len(window) == len(limits)
        and all(0 <= axis < updates.ndim for axis in window)
        and all(updates.shape[a] <= size for a, size in zip(window, limits, strict=True))
        and tuple(batch) == indices.shape[:-1]
    )
    if not fits:
        raise errors.ShapeError(
            name,
            f"updates of batch shape {indices.shape[:-1]}, and slices within {tuple(limits)} "
            f"along the axes {window}",
            f"{updates!r}",
        )
    weak = operand.weak_type and updates.weak_type
    varying = operand.varying | indices.varying | updates.varying
    return (operand.update(weak_type=weak, varying=varying),)


def _read(x: Value, indices: Value, updates: ShapedArray, params: dict[str, Any]) -> Value:
    """Gather what a scatter with these parameters would write to; 0 outside of the array."""
    numbers = params["dimension_numbers"]
    dropped = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window = iter(numbers.update_window_dims)
    shape = x.aval.shape
    sizes = [
        min(size, 1) if axis in dropped else updates.shape[next(window)]
        for axis, size in enumerate(shape)
    ]
    return bind(
        registry["gather"],
        x,
        indices,
        dimension_numbers=GatherDimensionNumbers(*numbers),
        slice_sizes=tuple(sizes),
        unique_indices=params["unique_indices"],
        indices_are_sorted=params["indices_are_sorted"],
        mode=params["mode"],
        fill_value=0,
    )[0]


def _batch(
    name: str,
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    dimension_numbers: ScatterDimensionNumbers,
    **params: Any,
) -> Any:
    """Map the operand as one more slice axis, or, with mapped indices, as a batching axis."""
    operand, indices, updates = operands
    window, inserted, index_map, operand_batch, indices_batch = dimension_numbers
    if dims[1] is None:
        dim = 0 if dims[0] is None else dims[0]
        outside = {*inserted, *operand_batch}
        before = sum(axis not in outside for axis in range(dim))
        last = updates.aval.ndim - (dims[2] is not None)
        place = window[before] if before < len(window) else last
        window = (*window[:before], place, *(a + 1 for a in window[before:]))
    else:
        dim = place = 0
        indices = move_batch_axis(axis, indices, dims[1])
        window = tuple(a + 1 for a in window)
        indices_batch = (0, *(a + 1 for a in indices_batch))
    inserted = tuple(a + (a >= dim) for a in inserted)
    index_map = tuple(a + (a >= dim) for a in index_map)
    operand_batch = tuple(a + (a >= dim) for a in operand_batch)
    if dims[1] is not None:
        operand_batch = (0, *operand_batch)
    numbers = ScatterDimensionNumbers(window, inserted, index_map, operand_batch, indices_batch)
    results = bind(
        registry[name],
        move_batch_axis(axis, operand, dims[0], dim),
        indices,
        move_batch_axis(axis, updates, dims[2], place),
        dimension_numbers=numbers,
        **params,
    )
    return results, [dim]


def _lower(
    combine: Callable[[Any, Any, Any, ShapedArray], Any],
    b: Any,
    x: Any,
    indices: Any,
    updates: Any,
    *,
    dimension_numbers: ScatterDimensionNumbers,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: GatherScatterMode,
) -> Any:
    operand, index_type, update_type = b.in_types
    if update_type.size == 0:
        return x
    indices, index_type = widened(b, indices, index_type)
    if mode is GatherScatterMode.CLIP and dimension_numbers.scatter_dims_to_operand_dims:
        indices = _clipped(b, indices, index_type, operand, update_type, dimension_numbers)
    element = ShapedArray((), operand.dtype)
    return b.scatter(
        x,
        indices,
        updates,
        b.out_types[0],
        lambda old, new: combine(b, old, new, element),
        update_window_dims=dimension_numbers.update_window_dims,
        inserted_window_dims=dimension_numbers.inserted_window_dims,
        input_batching_dims=dimension_numbers.operand_batching_dims,
        scatter_indices_batching_dims=dimension_numbers.scatter_indices_batching_dims,
        scattered_dims_to_operand_dims=dimension_numbers.scatter_dims_to_operand_dims,
        index_vector_dim=index_type.ndim - 1,
        indices_are_sorted=indices_are_sorted,
        unique_indices=unique_indices,
    )


def _clipped(
    b: Any,
    indices: Any,
    index_type: ShapedArray,
    operand: ShapedArray,
    updates: ShapedArray,
    numbers: ScatterDimensionNumbers,
) -> Any:
    """Move index vectors so that their slices lie within the array, as XLA does for gather."""
    sizes = _sizes(operand, updates, numbers)
    largest = dtypes.iinfo(index_type.dtype).max
    limits = [
        min(operand.shape[a] - sizes[a], largest) for a in numbers.scatter_dims_to_operand_dims
    ]
    limit = b.broadcast(b.constant(limits, index_type.dtype), index_type, (index_type.ndim - 1,))
    return b.op("stablehlo.clamp", (b.full(0, index_type), indices, limit), index_type)


def _combine(operation: str, b: Any, old: Any, new: Any, element: ShapedArray) -> Any:
    if operation in ("maximum", "minimum"):
        return extreme(b, operation, old, new, element)
    return b.op("stablehlo." + operation, (old, new), element)


def _declare(name: str, operation: str, kinds: str, jvp: Any, transpose: Any) -> Any:
    combine = partial(_combine, operation) if operation else lambda b, old, new, element: new
    return declare(
        name,
        abstract_eval=partial(_abstract, name, kinds),
        jvp=jvp,
        transpose=transpose,
        batch=partial(_batch, name),
        lower=partial(_lower, combine),
    )


def _zeros_or(tangent: Tangent, primal: Value) -> Value:
    return zeros(primal.aval) if tangent is None else tangent


# scatter_add ------------------------------------------------------------------------------------


def _add_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """D scatter_add(x, i, u) = scatter_add(dx, i, du)."""
    operand, indices, _ = primals
    results = bind(scatter_add_p, *primals, **params)
    if tangents[2] is None:
        return results, [tangents[0]]
    return results, bind(
        scatter_add_p, _zeros_or(tangents[0], operand), indices, tangents[2], **params
    )


def _add_transpose(
    cotangents: Sequence[Value], operand: Any, indices: Value, updates: Any, **params: Any
) -> list[Tangent]:
    """The cotangent goes to the operand, and where updates were added, to them."""
    (ct,) = cotangents
    return [
        ct if is_linear(operand) else None,
        None,
        _read(ct, indices, updates.aval, params) if is_linear(updates) else None,
    ]


scatter_add_p = _declare("scatter_add", "add", "iufc", _add_jvp, _add_transpose)
scatter_add = _function("scatter_add", "Add slices to many places of an array.")


def scatter_sub(
    operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers,
    *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
) -> Value:  # fmt: skip
    """Subtract slices from many places of an array: `scatter_add` of the negative updates."""
    operand, updates = matched("scatter_sub", operand, updates)
    return scatter_add(
        operand, scatter_indices, neg(updates), dimension_numbers,
        indices_are_sorted=indices_are_sorted, unique_indices=unique_indices, mode=mode,
    )  # fmt: skip


# scatter ----------------------------------------------------------------------------------------


def _scatter_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """The tangent of the update that wins where there is one, and of the operand elsewhere."""
    operand, indices, updates = primals
    if tangents[2] is None or params["unique_indices"]:
        results = bind(scatter_p, *primals, **params)
        if tangents[0] is None and tangents[2] is None:
            return results, [None]
        dx, du = _zeros_or(tangents[0], operand), _zeros_or(tangents[2], updates)
        return results, bind(scatter_p, dx, indices, du, **params)
    untouched, wins = _winners(operand, indices, updates.aval, params)
    dtype = operand.aval.dtype

    def place(x: Value, u: Value) -> Any:
        kept = select_n(untouched, full(x.aval.shape, 0, dtype), x)
        return bind(
            scatter_add_p, kept, indices, select_n(wins, full(u.aval.shape, 0, dtype), u), **params
        )

    return place(operand, updates), place(_zeros_or(tangents[0], operand), tangents[2])


def _winners(
    operand: Value, indices: Value, updates: ShapedArray, params: dict[str, Any]
) -> tuple[Value, Value]:
    """Tell which elements no update reaches, and which updates win: the last ones.

    Each update writes its number and the largest stays, which does not depend on the order of
    writing.
    """
    window = params["dimension_numbers"].update_window_dims
    batch = [axis for axis in range(updates.ndim) if axis not in window]
    shape = tuple(updates.shape[axis] for axis in batch)
    uint32 = dtypes.uint32
    count = ShapedArray(shape, uint32).size
    numbers = bind(registry["iota"], dtype=uint32, shape=(count,), dimension=0)[0]
    numbers = reshape(add(numbers, scalar(1, uint32)), shape)
    numbers = bind(
        registry["broadcast_in_dim"],
        numbers,
        shape=updates.shape,
        broadcast_dimensions=tuple(batch),
    )[0]
    nothing = full(operand.aval.shape, 0, uint32)
    last = bind(scatter_max_p, nothing, indices, numbers, **params)[0]
    return eq(last, scalar(0, uint32)), eq(_read(last, indices, updates, params), numbers)


def _scatter_transpose(
    cotangents: Sequence[Value], operand: Any, indices: Value, updates: Any, **params: Any
) -> list[Tangent]:
    """Zeros where the operand was replaced; the updates get the cotangent from there."""
    (ct,) = cotangents
    kept = taken = None
    if is_linear(operand):
        kept = bind(scatter_p, ct, indices, zeros(updates.aval), **params)[0]
    if is_linear(updates):
        taken = _read(ct, indices, updates.aval, params)
    return [kept, None, taken]


scatter_p = _declare("scatter", "", "biufck", _scatter_jvp, _scatter_transpose)
scatter = _function("scatter", "Replace many places of an array by slices.")

# scatter_mul ------------------------------------------------------------------------------------


def _mul_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """D scatter_mul(x, i, u) = scatter_mul(dx, i, u) + x scatter_add(0, i, du), for unique i."""
    operand, indices, updates = primals
    dx, _, du = tangents
    results = bind(scatter_mul_p, *primals, **params)
    left = None if dx is None else bind(scatter_mul_p, dx, indices, updates, **params)[0]
    if du is None:
        return results, [left]
    if not params["unique_indices"]:
        raise errors.MissingRuleError(
            "scatter_mul",
            "unique_indices=True for a derivative in the updates",
            "unique_indices=False",
            fix="Pass `unique_indices=True` if no index repeats, or multiply in several steps.",
        )
    spread = bind(scatter_add_p, zeros(operand.aval), indices, du, **params)[0]
    right = mul(operand, spread)
    return results, [right if left is None else add(left, right)]


def _mul_transpose(
    cotangents: Sequence[Value], operand: Any, indices: Value, updates: Any, **params: Any
) -> list[Tangent]:
    """Multiply the cotangent by the same updates."""
    return [bind(scatter_mul_p, cotangents[0], indices, updates, **params)[0], None, None]


scatter_mul_p = _declare("scatter_mul", "multiply", "iufc", _mul_jvp, _mul_transpose)
scatter_mul = _function("scatter_mul", "Multiply many places of an array by slices.")

# scatter_min and scatter_max --------------------------------------------------------------------


def _extreme_jvp(
    name: str, primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any
) -> Any:
    """The mean of the tangents of all that are equal to the result, operand and updates; 0 where
    none is, which is where the result is NaN.
    """
    operand, indices, updates = primals
    (result,) = results = bind(registry[name], *primals, **params)
    dtype = operand.aval.dtype
    kept = convert(eq(operand, result), dtype)
    chosen = convert(eq(updates, _read(result, indices, updates.aval, params)), dtype)
    dx, du = _zeros_or(tangents[0], operand), _zeros_or(tangents[2], updates)

    def total(x: Value, u: Value) -> Value:
        return bind(scatter_add_p, x, indices, u, **params)[0]

    ties = larger(total(kept, chosen), full(result.aval.shape, 1, dtype))
    return results, [div(total(mul(kept, dx), mul(chosen, du)), ties)]


def _declare_extreme(name: str, operation: str) -> Any:
    return _declare(name, operation, "biufc", partial(_extreme_jvp, name), NOT_LINEAR)


scatter_min_p = _declare_extreme("scatter_min", "minimum")
scatter_max_p = _declare_extreme("scatter_max", "maximum")
scatter_min = _function("scatter_min", "Take the minimum with slices in many places.")
scatter_max = _function("scatter_max", "Take the maximum with slices in many places.")
