"""What all collectives share: names of axes, groups of positions, and what a collective is over a
mapped axis.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, as_value, axis_of, bind, vary
from functrax.primitives.gather import GatherDimensionNumbers, gather
from functrax.primitives.rules import Dim, expand_axis, move_axis, move_batch_axis, reshape, scalar

AxisName = Any
Names = tuple[Any, ...]
Groups = tuple[tuple[int, ...], ...] | None
Stacked = Callable[..., Value]


def names_of(axis_name: AxisName, call: str) -> Names:
    """Return the names as a tuple, outermost first; each must be in scope, and there once.

    Raises:
        AxisNameError: if a name is not bound; ArgumentError: if one is repeated.
    """
    names = tuple(axis_name) if isinstance(axis_name, tuple | list) else (axis_name,)
    for name in names:
        axis_of(name, call)
    if len(set(names)) != len(names):
        raise errors.ArgumentError(call, "distinct axis names", repr(names))
    return names


def size_of(names: Names, call: str) -> int:
    """Return the number of positions along axes in scope."""
    return math.prod(axis_of(name, call).size for name in names)


def exact_names(names: Names, call: str) -> Names:
    """Return those of the names along which types say what varies."""
    return tuple(name for name in names if axis_of(name, call).exact)


def operand(x: Any, names: Names, call: str) -> Value:
    """Return an operand for a collective: it varies along all exact axes among the names."""
    return vary(as_value(x, call), frozenset(exact_names(names, call)))


def groups_of(axis_index_groups: Any, names: Names, call: str, *, equal: bool = True) -> Groups:
    """Return groups of positions as tuples.

    Args:
        axis_index_groups: sequences of positions along the axes together, or None.
        names: the axes.
        call: the user's function, for the error message.
        equal: whether all groups must have one size.

    Raises:
        ArgumentError: if the groups do not contain each position once, or differ in size.
    """
    if axis_index_groups is None:
        return None
    size = size_of(names, call)
    try:
        groups = tuple(tuple(map(operator.index, group)) for group in axis_index_groups)
    except TypeError:
        expected = "axis_index_groups as lists of positions"
        raise errors.ArgumentError(call, expected, repr(axis_index_groups)) from None
    if sorted(i for group in groups for i in group) != list(range(size)) or () in groups:
        raise errors.ArgumentError(
            call,
            f"axis_index_groups that contain each of the {size} positions along "
            f"{_shown(names)} once",
            repr(axis_index_groups),
        )
    if equal and len({len(group) for group in groups}) > 1:
        raise errors.ArgumentError(
            call, "axis_index_groups of one size", f"sizes {[len(group) for group in groups]}"
        )
    return groups


def _shown(names: Names) -> str:
    return repr(names[0] if len(names) == 1 else names)


def group_size(names: Names, groups: Groups, call: str) -> int:
    """Return how many positions exchange values, in groups of one size."""
    return size_of(names, call) if groups is None else len(groups[0])


def axis_names(params: dict[str, Any]) -> frozenset[Any]:
    """Return the named axes of an equation."""
    return frozenset(params["axes"])


# Over a mapped axis -------------------------------------------------------------------------------


def batch_moving(
    name: str,
    stacked: Stacked,
    dimensions: Sequence[str],
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    **params: Any,
) -> Any:
    """Over another axis: pass on. Over this one: do it to the values of all positions, stacked.

    Args:
        name: the primitive.
        stacked: does it to an array of groups, positions in the group, and one position's value.
        dimensions: the parameters that count the operand's axes.
        axis: the mapped axis.
        operands: the one operand.
        dims: its mapped axis.
        **params: the equation's.
    """
    x, dim = operands[0], dims[0]
    if axis.name not in params["axes"]:
        place: Any = dim
        shifted = {key: params[key] + (place <= params[key]) for key in dimensions}
        return bind(registry[name], x, **(params | shifted)), [dim]
    x = move_batch_axis(axis, x, dim, 0)
    axes, groups = params["axes"], params.get("groups")
    rest = {key: value for key, value in params.items() if key not in ("axes", "groups")}

    def whole(x: Value) -> Value:
        return in_groups(lambda part: stacked(part, **rest), x, groups)

    return [whole(x) if len(axes) == 1 else _over_all(whole, x, axis, axes, name)], [0]


def _over_all(
    whole: Callable[[Value], Value], x: Value, axis: BatchAxis, axes: Names, call: str
) -> Value:
    """Apply `whole` to the values of all positions, those along other axes collected, and keep the
    own one's results. The mapped axis of x is the first.
    """
    others = tuple(name for name in axes if name != axis.name)
    sizes = [axis.size if name == axis.name else axis_of(name, call).size for name in axes]
    place = axes.index(axis.name)
    other_sizes = [*sizes[:place], *sizes[place + 1 :]]
    collected = bind(
        registry["all_gather"],
        expand_axis(x, 0),
        axes=others,
        groups=None,
        size=math.prod(other_sizes),
        dimension=0,
    )[0]
    value_shape = x.aval.shape[1:]
    x = reshape(collected, (*other_sizes, axis.size, *value_shape))
    x = move_axis(x, len(other_sizes), place)
    y = whole(reshape(x, (math.prod(sizes), *value_shape)))
    shape = y.aval.shape[1:]
    y = move_axis(reshape(y, (*sizes, *shape)), place, len(sizes) - 1)
    y = reshape(y, (math.prod(other_sizes), axis.size, *shape))
    return take_dynamic(y, position(others, call))


def position(names: Names, call: str) -> Value:
    """Return the position along several axes together, counted with the last name fastest."""
    found: Any = None
    for name in names:
        axis = axis_of(name, call)
        index = bind(registry["axis_index"], axes=(name,), exact=axis.exact)[0]
        if found is not None:
            scaled = bind(registry["mul"], found, scalar(axis.size, np.dtype(np.int32)))[0]
            index = bind(registry["add"], scaled, index)[0]
        found = index
    return scalar(0, np.dtype(np.int32)) if found is None else found


def in_groups(whole: Callable[[Value], Value], x: Value, groups: Groups) -> Value:
    """Apply a function of groups, positions and values to values of all positions (axis 0)."""
    if groups is None:
        y = whole(expand_axis(x, 0))
        return reshape(y, y.aval.shape[1:])
    parts: list[Value] = []
    order: list[int] = []
    for size in sorted({len(group) for group in groups}):
        some = [group for group in groups if len(group) == size]
        members = [i for group in some for i in group]
        y = whole(reshape(take(x, members), (len(some), size, *x.aval.shape[1:])))
        parts.append(reshape(y, (len(members), *y.aval.shape[2:])))
        order += members
    y = parts[0]
    if len(parts) > 1:
        y = bind(registry["concatenate"], *parts, dimension=0)[0]
    return take(y, np.argsort(order))


def take(x: Value, indices: Sequence[int] | np.ndarray[Any, Any]) -> Value:
    """Take entries of the first axis by known indices."""
    indices = np.asarray(indices, np.int32)
    if np.array_equal(indices, np.arange(x.aval.shape[0])):
        return x
    shape = x.aval.shape[1:]
    numbers = GatherDimensionNumbers(tuple(range(1, x.aval.ndim)), (0,), (0,))
    return gather(x, indices[:, None], numbers, (1, *shape), mode="promise_in_bounds")


def take_dynamic(x: Value, index: Value) -> Value:
    """Take one entry of the first axis, by an index that is in bounds."""
    shape = x.aval.shape[1:]
    numbers = GatherDimensionNumbers(tuple(range(len(shape))), (0,), (0,))
    return gather(x, reshape(index, (1,)), numbers, (1, *shape), mode="promise_in_bounds")


def spread(x: Value, size: int) -> Value:
    """Give a group's value to all of its positions: a new axis behind the first."""
    shape = (x.aval.shape[0], size, *x.aval.shape[1:])
    dims = (0, *range(2, len(shape)))
    return bind(registry["broadcast_in_dim"], x, shape=shape, broadcast_dimensions=dims)[0]
