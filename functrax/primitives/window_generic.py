"""`reduce_window` with any function: by a primitive where there is one, else place by place."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.arguments import listed
from functrax.core.primitive import Primitive, registry
from functrax.core.trace import Tracer, Value, as_value, bind, describe
from functrax.core.types import Literal
from functrax.primitives.convolution_numbers import count_windows, dilated
from functrax.primitives.probe import known_operation
from functrax.primitives.reduce import greatest, initial_value, least
from functrax.primitives.rules import full
from functrax.primitives.window import reduce_window_sum_p, window_params
from functrax.primitives.window_extreme import reduce_window_max_p, reduce_window_min_p


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Callable[..., Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """Combine the elements of each sliding window.

    Args:
        operand: array; or a tuple or list of arrays of one shape, reduced together.
        init_value: what the result starts from, and what stands at the edges and between dilated
            elements: a scalar, or a tuple or list of them. It should be the identity.
        computation: the associative function of two values (or tuples or lists) to combine with.
            It is called on whole arrays. Sums, maxima and minima are recognized.
        window_dimensions: the window's size along each axis.
        window_strides: the distance between windows; 1 by default.
        padding: ``"VALID"``, ``"SAME"``, ``"SAME_LOWER"``, or (low, high) for each axis.
        base_dilation: the distance at which elements are placed; 1 by default.
        window_dilation: the distance between the elements of a window; 1 by default.

    Returns:
        An array with an element for each window, of the operand's dtype; or a tuple or list.

    Raises:
        ArgumentError: if an argument does not have a proper entry for each axis, or there is no
            operand, or no function.
        ShapeError: if an initial value is not a scalar, or the operands differ in shape.

    Example:
        >>> import numpy as np
        >>> from functrax.primitives.elementwise import mul
        >>> reduce_window(np.arange(1.0, 6.0), 1.0, mul, (2,), (1,))
        Array([ 2.,  6., 12., 20.], dtype=float32)

    Source: StableHLO specification, "reduce_window".
    """
    several = isinstance(operand, tuple | list)
    call = "reduce_window"
    if several and not operand:
        raise errors.ArgumentError(call, "at least one operand", repr(operand))
    if not callable(computation):
        raise errors.ArgumentError(call, "a function as computation", describe(computation))
    operands = [as_value(x, call) for x in (operand if several else (operand,))]
    starts = listed(call, "init_value", init_value) if several else [init_value]
    if len(starts) != len(operands):
        raise errors.ArgumentError(call, f"{len(operands)} initial values", repr(init_value))
    initial = [
        initial_value(call, "init_value", x, value)
        for x, value in zip(starts, operands, strict=True)
    ]
    shape = operands[0].aval.shape
    if any(x.aval.shape != shape for x in operands):
        raise errors.ShapeError(call, "operands of one shape", repr([x.aval for x in operands]))
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    params = window_params(call, shape, *how)
    if several:
        found = _by_place(operands, initial, computation, type(operand), **params)
        return type(operand)(found)
    primitive = _monoid(computation, operands[0].aval.dtype, initial[0])
    if primitive is not None:
        return bind(primitive, operands[0], **params)[0]
    return _by_place(operands, initial, computation, None, **params)[0]


# Known functions ----------------------------------------------------------------------------------

_MONOIDS: dict[str, tuple[Primitive, Callable[[Any], Any]]] = {
    "add": (reduce_window_sum_p, lambda dtype: 0),
    "max": (reduce_window_max_p, least),
    "min": (reduce_window_min_p, greatest),
}


def _monoid(computation: Callable[..., Any], dtype: Any, initial: Value) -> Primitive | None:
    """Return the primitive that reduces by a function from an initial value, if there is one."""
    name = known_operation("reduce_window", computation, dtype)
    primitive, identity = _MONOIDS.get(name or "", (None, None))
    known = initial.concrete() if isinstance(initial, Tracer) else initial
    if primitive is None or identity is None or known is None:
        return None
    value = known.value if isinstance(known, Literal) else np.asarray(known).item()
    return primitive if value == np.asarray(identity(dtype), dtype).item() else None


# Other functions ----------------------------------------------------------------------------------


def _by_place(
    operands: Sequence[Value],
    initial: Sequence[Value],
    computation: Callable[..., Any],
    container: Any,
    *,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...],
    window_dilation: tuple[int, ...],
) -> list[Value]:
    """Reduce one axis after the other, combining the slices that each place in the window sees."""

    def combine(left: Sequence[Value], right: Sequence[Value]) -> list[Value]:
        if container is None:
            return [computation(left[0], right[0])]
        return list(computation(container(left), container(right)))

    config = tuple((*pair, base - 1) for pair, base in zip(padding, base_dilation, strict=True))
    values = [
        bind(registry["pad"], x, start, padding_config=config)[0]
        for x, start in zip(operands, initial, strict=True)
    ]
    rows = zip(window_dimensions, window_strides, window_dilation, strict=True)
    for axis, (window, stride, step) in enumerate(rows):
        places = [_seen(values, axis, window, stride, step, place) for place in range(window)]
        values = places[0]
        for place in places[1:]:
            values = combine(values, place)
    starts = [
        full(x.aval.shape, start.value, x.aval.dtype)
        if isinstance(start, Literal)
        else bind(registry["broadcast_in_dim"], start, shape=x.aval.shape, broadcast_dimensions=())[
            0
        ]
        for x, start in zip(values, initial, strict=True)
    ]
    return combine(starts, values)


def _seen(
    values: Sequence[Value], axis: int, window: int, stride: int, step: int, place: int
) -> list[Value]:
    """Slice what the windows along an axis see at one of their places."""
    shape = values[0].aval.shape
    count = count_windows(shape[axis], dilated(window, step), stride)
    start, limit, strides = [0] * len(shape), list(shape), [1] * len(shape)
    start[axis] = place * step if count else 0
    limit[axis] = start[axis] + dilated(count, stride)
    strides[axis] = stride
    how = {
        "start_indices": tuple(start),
        "limit_indices": tuple(limit),
        "strides": tuple(strides),
    }
    return [bind(registry["slice"], x, **how)[0] for x in values]
