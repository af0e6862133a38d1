"""`reduce` with any function: by a primitive where there is one, else in pairs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import registry
from functrax.core.trace import Tracer, Value, as_value, bind
from functrax.core.types import Literal, ShapedArray, short_types
from functrax.primitives.join import concatenate, split
from functrax.primitives.probe import known_operation
from functrax.primitives.reduce import all_bits, greatest, initial_value, least, one_of, zero_of
from functrax.primitives.rules import broadcast_to, reshape, transpose_axes
from functrax.primitives.shape import canonical_axes

# The primitive and the neutral element of each operation that is recognized.
_MONOIDS: dict[str | None, tuple[str, Callable[[Any], Any]]] = {
    "add": ("reduce_sum", zero_of),
    "mul": ("reduce_prod", one_of),
    "max": ("reduce_max", least),
    "min": ("reduce_min", greatest),
    "and": ("reduce_and", all_bits),
    "or": ("reduce_or", zero_of),
    "xor": ("reduce_xor", zero_of),
}


def reduce(
    operands: Any,
    init_values: Any,
    computation: Callable[[Any, Any], Any],
    dimensions: Sequence[int],
    out_sharding: None = None,
) -> Any:
    """Combine the elements of arrays over axes by an associative function.

    Args:
        operands: pytree of arrays of one shape.
        init_values: the same tree of scalars, which the result starts from.
        computation: ``(tree, tree) -> tree``, associative and elementwise: it is called on arrays.
            Sums, products, extremes and operations on bits are recognized.
        dimensions: the axes to reduce.
        out_sharding: not used.

    Returns:
        The same tree of arrays without those axes.

    Raises:
        ShapeError: if the operands differ in shape, an initial value is not a scalar, or the
            function changes shapes or dtypes.
        TreeError: if the trees differ.

    Example:
        >>> import numpy as np
        >>> reduce(np.arange(6.0).reshape(2, 3), 0.0, lambda x, y: x + y, (1,))
        Array([ 3., 12.], dtype=float32)

    Source: StableHLO specification, "reduce".
    """
    flat, structure = tree.flatten(operands)
    values = [as_value(x, "reduce") for x in flat]
    starts = tree.flatten_up_to(structure, init_values, "reduce", "init_values")
    pairs = zip(starts, values, strict=True)
    initial = [initial_value("reduce", "init_values", start, value) for start, value in pairs]
    avals = [value.aval for value in values]
    if not avals or any(aval.shape != avals[0].shape for aval in avals):
        raise errors.ShapeError("reduce", "operands of one shape", short_types(avals))
    shape = avals[0].shape
    axes = canonical_axes("reduce", dimensions, len(shape))
    kept = tuple(size for k, size in enumerate(shape) if k not in axes)
    if any(not shape[k] for k in axes):  # nothing to combine with
        return structure.unflatten([_as_array(broadcast_to(x, kept)) for x in initial])

    def combine(left: Sequence[Value], right: Sequence[Value]) -> list[Value]:
        given = [structure.unflatten(list(map(_as_array, side))) for side in (left, right)]
        results = tree.flatten_up_to(structure, computation(*given), "reduce", "the result")
        return _checked(results, [x.aval for x in right])

    is_array = structure == tree.LEAF
    name = known_operation("reduce", computation, avals[0].dtype) if is_array else None
    if name in _MONOIDS:
        primitive, identity = _MONOIDS[name]
        reduced = [bind(registry[primitive], values[0], axes=axes)[0]]
        if _is(initial[0], identity(avals[0].dtype)):
            return structure.unflatten(reduced)
    else:
        reduced = _in_pairs(values, axes, combine)
    begin = [broadcast_to(x, kept) for x in initial]
    return structure.unflatten(combine(begin, reduced))


def _is(value: Value, number: Any) -> bool:
    """Tell whether a scalar is known to be a number."""
    known = value.concrete() if isinstance(value, Tracer) else value
    if known is None:
        return False
    own = known.numpy() if isinstance(known, Literal) else np.asarray(known)
    return own.item() == np.asarray(number, own.dtype).item()


def _as_array(x: Value) -> Value:
    """Return a value that the user's function can take: a literal has no operators."""
    if type(x) is not Literal:
        return x
    return bind(registry["broadcast_in_dim"], x, shape=(), broadcast_dimensions=())[0]


def _checked(results: Sequence[Any], avals: Sequence[ShapedArray]) -> list[Value]:
    """Return what the function returned, if its types are those it was given."""
    values = [as_value(x, "reduce") for x in results]
    for value, aval in zip(values, avals, strict=True):
        if value.aval.shape != aval.shape or value.aval.dtype != aval.dtype:
            raise errors.ShapeError(
                "reduce",
                f"a computation that returns {short_types(avals)}, as it is given",
                short_types([value.aval for value in values]),
                fix="It must work on arrays elementwise and keep their dtypes.",
            )
    return values


def _in_pairs(
    values: Sequence[Value],
    axes: Sequence[int],
    combine: Callable[[Sequence[Value], Sequence[Value]], list[Value]],
) -> list[Value]:
    """Combine neighbours, then neighbouring results, until one is left: about log2(n) steps."""
    shape = values[0].aval.shape
    rest = [k for k in range(len(shape)) if k not in axes]
    kept = tuple(shape[k] for k in rest)
    count = 1
    for axis in axes:
        count *= shape[axis]
    rows = [reshape(transpose_axes(x, (*axes, *rest)), (count, *kept)) for x in values]
    while count > 1:
        half, odd = count // 2, count % 2
        parts = [split(x, (2 * half, odd), 0) for x in rows]
        pairs = [split(reshape(x, (half, 2, *kept)), (1, 1), 1) for x, _ in parts]
        sides = [[reshape(x, (half, *kept)) for x in side] for side in zip(*pairs, strict=True)]
        joined = combine(*sides)
        if odd:
            joined = [concatenate((x, y), 0) for x, (_, y) in zip(joined, parts, strict=True)]
        rows, count = joined, half + odd
    return [reshape(x, kept) for x in rows]
