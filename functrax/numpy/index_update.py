"""Writing by index: ``x.at[...].set(y)`` and its relatives, which return a new array.

Integers and slices are written by one dynamic_update_slice, masks by one select, index arrays by
one scatter. Repeated places combine all their updates; of those of `set` one stays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import registry
from functrax.core.trace import Array, Value, as_value, bind, state
from functrax.core.types import Literal
from functrax.numpy.index_plan import Mode, Plan, merge_places, plan_for
from functrax.numpy.index_reading import read_index
from functrax.numpy.indexing import (
    Promises,
    as_operands,
    block_numbers,
    check_places,
    gather_parts,
    read_box,
    starts_of,
)
from functrax.primitives import elementwise as ew
from functrax.primitives import extreme
from functrax.primitives.convert import convert
from functrax.primitives.gather import GatherScatterMode, ScatterDimensionNumbers
from functrax.primitives.join import pad
from functrax.primitives.rules import broadcast_to, full, reshape, scalar
from functrax.primitives.scatter import (
    scatter,
    scatter_add,
    scatter_max,
    scatter_min,
    scatter_mul,
    scatter_sub,
)
from functrax.primitives.select import select_n
from functrax.primitives.shape import rev
from functrax.primitives.slice import as_indices, slice, start_values
from functrax.runtime.array import DeviceArray
from functrax.runtime.dispatch import literal_array
from functrax.transforms.fuse import fuse

_COMBINE: dict[str, Callable[[Value, Value], Value]] = {
    "set": lambda old, new: new,
    "add": ew.add,
    "subtract": ew.sub,
    "multiply": ew.mul,
    "divide": ew.div,
    "power": lambda old, new: bind(ew.pow_p, old, new)[0],
    "min": extreme.min,
    "max": extreme.max,
}
_SCATTER: dict[str, Callable[..., Value]] = {
    "set": scatter,
    "add": scatter_add,
    "subtract": scatter_sub,
    "multiply": scatter_mul,
    "min": scatter_min,
    "max": scatter_max,
}
_MODES = {
    "clip": "clip",
    "fill": "fill",
    "drop": "fill",
    "fill_or_drop": "fill",
    "promise_in_bounds": "promise_in_bounds",
}

# The update -------------------------------------------------------------------------------------


def update(
    x: Value, index: Any, operation: str, values: Any, mode: Any, wraps: bool, promises: Promises
) -> Value:
    """Return an array with values combined into the places of an index.

    Args:
        x: array.
        index: as in ``x[index]``.
        operation: "set", "add", "subtract", "multiply", "divide", "power", "min" or "max".
        values: array or number that broadcasts to the shape of ``x[index]``.
        mode: what happens at places outside of the array.
        wraps: whether negative places count from the end.
        promises: what is known about the places.

    Returns:
        An array of the shape of x.

    Raises:
        BoundsError: for a fixed place outside of the array, without a mode.
        ShapeError: if the values do not broadcast.
        DtypeError: if the array's dtype cannot hold the values.
    """
    call = f"at[].{operation}"
    x, y = _converted(x, values, operation, call)
    if operation == "divide" and not dtypes.is_inexact(x.aval.dtype):
        dtype = dtypes.to_inexact(x.aval.dtype)
        x, y = convert(x, dtype, x.aval.weak_type), convert(y, dtype)
    mask = _mask_of(index, x, y)
    if mask is not None:
        return _write_masked(x, y, as_value(mask, call), operation=operation)
    how = Mode(mode_name(mode, call), wraps, True)
    parts, found = read_index(index, call)
    plan, fixed = plan_for(parts, x.aval.shape, how, call)
    if y.aval.ndim > len(plan.shape) and not plan.size:
        y = _without_leading(y, len(plan.shape))
    if not _fits(y.aval.shape, plan.shape):
        raise errors.ShapeError(
            call,
            f"values that broadcast to shape {plan.shape}, which x[...] has here",
            f"shape {y.aval.shape}",
        )
    places = as_operands(x, merge_places(fixed, found, plan, how, call))
    return _write(x, y, *places, plan=plan, operation=operation, mode=how, promises=promises)


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    start = len(target) - len(shape)
    return start >= 0 and all(
        size in (1, wanted) for size, wanted in zip(shape, target[start:], strict=True)
    )


def _without_leading(y: Value, rank: int) -> Value:
    """Drop leading axes of size 1 beyond a rank: NumPy takes them, and JAX where nothing is there
    to write.
    """
    extra = y.aval.ndim - rank
    return reshape(y, y.aval.shape[extra:]) if set(y.aval.shape[:extra]) == {1} else y


def mode_name(mode: Any, call: str) -> str | None:
    """Return the name of a mode as in `Mode`.

    Raises:
        ArgumentError: if there is no such mode.
    """
    if mode is None:
        return None
    name = mode.name.lower() if isinstance(mode, GatherScatterMode) else mode
    if not isinstance(name, str) or name not in _MODES:
        raise errors.ArgumentError(
            call, 'mode None, "clip", "fill", "drop" or "promise_in_bounds"', repr(mode)
        )
    return _MODES[name]


def _converted(x: Value, values: Any, operation: str, call: str) -> tuple[Value, Value]:
    """Return array and values in one dtype: the array's.

    Raises:
        DtypeError: if values of their dtype would be changed by that.
    """
    dtype = x.aval.dtype
    if isinstance(values, Literal):
        values = values.value
    if isinstance(values, bool | int | float | complex | np.generic):
        return x, _number(values, x, operation, call)
    y = as_value(values, call)
    if y.aval.dtype == dtype:
        return x, y
    pair = (dtype, y.aval.dtype)
    kinds = all(map(dtypes.is_floating, pair)) or all(map(dtypes.is_complex, pair))
    if not kinds and dtypes.promote(pair, (x.aval.weak_type, y.aval.weak_type), call)[0] != dtype:
        if operation == "divide" and dtypes.is_integer(dtype):
            return convert(x, y.aval.dtype), y
        raise errors.DtypeError(
            call,
            f"values that {dtypes.short_name(dtype)} can hold",
            f"{y.aval!r} for the array {x.aval!r}",
            fix="Convert the values, or the array before: `x.astype(...).at[...]`.",
        )
    return x, convert(y, dtype)


def _number(value: Any, x: Value, operation: str, call: str) -> Value:
    """Return a Python or NumPy scalar in the array's dtype, if that does not change its value."""
    dtype = x.aval.dtype
    plain = value.item() if isinstance(value, np.generic) else value
    if operation == "divide" and dtypes.is_integer(dtype):
        dtype = dtypes.to_inexact(dtype)
    if (
        dtypes.is_extended(dtype)
        or (not dtypes.is_inexact(dtype) and not _is_exact(plain, dtype, call))
        or (isinstance(plain, complex) and not dtypes.is_complex(dtype))
    ):
        raise errors.DtypeError(
            call,
            f"values that {dtypes.short_name(dtype)} can hold",
            f"{value!r}",
            fix="Convert the value, or the array before: `x.astype(...).at[...]`.",
        )
    if operation == "power" and isinstance(plain, int):
        ew.check_exponent(call, dtype, plain)
    literal = scalar(plain, dtype)
    if state.trace is None and type(x) is DeviceArray:
        return literal_array(literal, x.device)
    return literal


def _is_exact(value: Any, dtype: Any, call: str) -> bool:
    if isinstance(value, complex) or (isinstance(value, float) and not value.is_integer()):
        return False
    if dtypes.is_bool(dtype):
        return value in (0, 1)
    dtypes.check_fits(int(value), dtype, call)
    return True


# Masks ------------------------------------------------------------------------------------------


def _mask_of(index: Any, x: Value, y: Value) -> Any:
    """Return the mask if the index is just one, and the values do not depend on its content."""
    items = index if isinstance(index, tuple) else (index,)
    masks = [item for item in items if item is not Ellipsis]
    if len(masks) != 1 or (len(items) > 1 and items[0] is Ellipsis):
        return None
    mask = masks[0]
    if not isinstance(mask, Array | np.ndarray) or mask.dtype != bool or not mask.ndim:
        return None
    rest = x.aval.ndim - mask.ndim
    fits = rest >= 0 and mask.shape == x.aval.shape[: mask.ndim]
    return mask if fits and _fits(y.aval.shape, x.aval.shape[mask.ndim :]) else None


@fuse
def _write_masked(x: Value, y: Value, mask: Value, *, operation: str) -> Value:
    """Choose the combined value where the mask is True."""
    shape, dtype = x.aval.shape, x.aval.dtype
    over = tuple(range(mask.aval.ndim))
    if mask.aval.shape != shape:
        params = {"shape": shape, "broadcast_dimensions": over}
        mask = bind(registry["broadcast_in_dim"], mask, **params)[0]
    y = broadcast_to(y, shape)
    if operation in ("divide", "power"):
        y = select_n(mask, full(shape, 1, dtype), y)  # so that no NaN arises where nothing is asked
    return _weak_as(x, select_n(mask, x, _COMBINE[operation](x, y)))


# Writing ----------------------------------------------------------------------------------------


@fuse
def _write(
    x: Value, y: Value, *places: Any, plan: Plan, operation: str, mode: Mode, promises: Promises
) -> Value:
    """Combine values into the places of a plan."""
    if plan.size == 0 or x.aval.size == 0:
        return x
    starts = starts_of(plan, places)
    check_places(f"at[].{operation}", plan, places, starts, mode)
    y = broadcast_to(y, plan.shape)
    if plan.block is None:
        made = _write_box(x, y, starts, plan, operation, mode)
    elif operation in ("divide", "power"):
        ones = full(x.aval.shape, 1, x.aval.dtype)
        factors = _write_block(ones, y, starts, plan, "multiply", mode, promises)
        made = _COMBINE[operation](x, factors)
    else:
        made = _write_block(x, y, starts, plan, operation, mode, promises)
    return _weak_as(x, made)


def _weak_as(x: Value, made: Value) -> Value:
    """Return what was made of an array, weak if that is: values do not decide it."""
    return convert(made, made.aval.dtype, x.aval.weak_type)


def _write_box(
    x: Value, y: Value, starts: list[Any], plan: Plan, operation: str, mode: Mode
) -> Value:
    """Write where slices and integers point."""
    y = reshape(y, tuple(axis.taken for axis in plan.axes))
    y = rev(y, [number for number, axis in enumerate(plan.axes) if axis.step < 0])
    stepped = any(abs(axis.step) > 1 for axis in plan.axes)
    inside = _inside(starts, plan) if mode.name in (None, "fill") else None
    spans = tuple(axis.span for axis in plan.axes)
    if operation != "set" or inside is not None:
        old = read_box(x, starts, plan)
        y = _COMBINE[operation](old, y)
        y = y if inside is None else select_n(inside, old, y)
    if stepped:
        box = read_box(x, starts, plan, strided=False)
        y = _spread(y, box, tuple((0, 0, abs(axis.step) - 1) for axis in plan.axes))
    if spans == x.aval.shape:
        return y
    values = start_values("at", x.aval.shape, starts, False)
    return bind(registry["dynamic_update_slice"], x, y, *values)[0]


def _spread(y: Value, box: Value, config: tuple[tuple[int, int, int], ...]) -> Value:
    """Put values between the elements of a box that a slice with steps leaves out."""
    dtype = y.aval.dtype
    if dtypes.is_extended(dtype):  # there is no zero key: any one will do, for none of them stays
        filler = reshape(slice(y, (0,) * y.aval.ndim, (1,) * y.aval.ndim), ())
    else:
        filler = scalar(0, dtype)
    hit = pad(full(y.aval.shape, True, dtypes.bool_), scalar(False, dtypes.bool_), config)
    spread = bind(registry["pad"], y, filler, padding_config=config)[0]
    return select_n(hit, box, spread)


def _inside(starts: list[Any], plan: Plan) -> Value | None:
    """Tell whether all places exist, where that is not known before."""
    inside: Value | None = None
    for start, axis in zip(starts, plan.axes, strict=True):
        if axis.guarded:
            (first,) = as_indices([as_value(start, "at")])
            size = scalar(axis.size, first.aval.dtype)
            here = ew.lt(first, size)
            if not dtypes.is_unsigned(first.aval.dtype):
                here = ew.bitwise_and(ew.ge(first, scalar(0, first.aval.dtype)), here)
            inside = here if inside is None else ew.bitwise_and(inside, here)
    return inside


def _write_block(
    x: Value,
    y: Value,
    starts: list[Any],
    plan: Plan,
    operation: str,
    mode: Mode,
    promises: Promises,
) -> Value:
    """Write where index arrays point, by one scatter."""
    indices, numbers, _ = gather_parts(plan, starts)
    window, inserted, counted, *_ = numbers
    return _SCATTER[operation](
        x,
        indices,
        reshape(y, block_numbers(plan).shape),
        ScatterDimensionNumbers(window, inserted, counted),
        indices_are_sorted=plan.ordered or promises.sorted,
        unique_indices=plan.unique or promises.unique,
        mode=_scatter_mode(plan, mode),
    )


def _scatter_mode(plan: Plan, mode: Mode) -> GatherScatterMode:
    if plan.checked or mode.name == "promise_in_bounds":
        return GatherScatterMode.PROMISE_IN_BOUNDS
    return GatherScatterMode.CLIP if mode.name == "clip" else GatherScatterMode.FILL_OR_DROP
