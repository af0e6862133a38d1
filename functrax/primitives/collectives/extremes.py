"""Largest and smallest values over named axes."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from functrax.core import dtypes, tree
from functrax.core.primitive import NOT_LINEAR, BatchAxis, Primitive, declare, registry
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.collectives.axes import (
    AxisName,
    Groups,
    Names,
    axis_names,
    batch_moving,
    groups_of,
    names_of,
    operand,
    spread,
)
from functrax.primitives.collectives.gathers import all_gather
from functrax.primitives.collectives.sums import summed
from functrax.primitives.elementwise import bitwise_or, div, eq
from functrax.primitives.reduce import reduce_max, reduce_min
from functrax.primitives.rules import Dim, Tangent, check_kind, full
from functrax.primitives.select import select_n


def pmax(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Take the maximum over one or more named axes.

    Args:
        x: pytree of arrays of any dtype but PRNG keys; complex numbers are ordered by real, then
            imaginary part.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.
        axis_index_groups: lists of positions along the axes (together), which contain each position
            once; the maximum is over each group alone.

    Returns:
        A pytree of the same shapes. Its derivative is that of the position that has the maximum; of
        several, their mean.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if the groups do not contain each position once.
        KeyTypeError: if a leaf is a PRNG key.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.pmax(x, "i"), axis_name="i")(jnp.arange(3))
        Array([2, 2, 2], dtype=int32)
    """
    return _extreme(pmax_p, reduce_max, x, axis_name, axis_index_groups)


def pmin(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Take the minimum over one or more named axes; else as `pmax`.

    Args:
        x: pytree of arrays.
        axis_name: a name, or a tuple of names.
        axis_index_groups: lists of positions.

    Returns:
        A pytree of the same shapes.

    Raises:
        AxisNameError, ArgumentError, KeyTypeError: as `pmax`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.pmin(x, "i"), axis_name="i")(jnp.arange(3))
        Array([0, 0, 0], dtype=int32)
    """
    return _extreme(pmin_p, reduce_min, x, axis_name, axis_index_groups)


def _extreme(
    primitive: Primitive, reduce: Any, x: Any, axis_name: AxisName, axis_index_groups: Any
) -> Any:
    call = primitive.name
    names = names_of(axis_name, call)
    groups = groups_of(axis_index_groups, names, call, equal=False)

    def one(leaf: Any) -> Value:
        value = operand(leaf, names, call)
        check_kind(call, value.aval, "biufc")
        if not names:
            return value
        if dtypes.is_complex(value.aval.dtype):  # XLA has no such communication
            to = "varying" if groups else "invarying"
            return reduce(all_gather(value, names, axis_index_groups=groups, to=to), (0,))
        return bind(primitive, value, axes=names, groups=groups)[0]

    return tree.map(one, x)


def _abstract(x: ShapedArray, *, axes: Names, groups: Groups) -> tuple[ShapedArray]:
    return (x.update(varying=x.varying if groups else x.varying.difference(axes)),)


def _jvp(
    name: str,
    primals: Sequence[Value],
    tangents: Sequence[Tangent],
    *,
    axes: Names,
    groups: Groups,
) -> Any:
    """D max(x) = the mean of dx over the positions that attain the maximum; NaN where it is NaN."""
    x, dx = primals[0], tangents[0]
    results = bind(registry[name], x, axes=axes, groups=groups)
    if dx is None:
        return results, [None]
    chosen = eq(x, results[0])
    nothing = full(x.aval.shape, 0, x.aval.dtype)
    once = full(x.aval.shape, 1, x.aval.dtype)
    count = summed(select_n(chosen, nothing, once), axes, groups, name)
    none = eq(count, nothing)
    chosen, count = (
        bitwise_or(chosen, none),
        select_n(none, count, full(x.aval.shape, math.nan, x.aval.dtype)),
    )
    return results, [div(summed(select_n(chosen, nothing, dx), axes, groups, name), count)]


def _batch(
    name: str,
    reduce: Callable[[Value, tuple[int, ...]], Value],
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    axes: Names,
    groups: Groups,
) -> Any:
    """Over this axis: reduce it away. Over others: pass on."""
    if axis.name not in axes or groups:
        stacked = lambda x: spread(reduce(x, (1,)), x.aval.shape[1])  # noqa: E731
        return batch_moving(name, stacked, (), axis, operands, dims, axes=axes, groups=groups)
    x, dim = operands[0], dims[0]
    x = x if dim is None else reduce(x, (dim,))
    rest = tuple(other for other in axes if other != axis.name)
    return (bind(registry[name], x, axes=rest, groups=None) if rest else [x]), [None]


def _lower(operation: str, b: Any, x: Any, *, axes: Names, groups: Groups) -> Any:
    return b.all_reduce(x, b.out_types[0], axes, groups, operation)


def _declare(name: str, operation: str, reduce: Any) -> Primitive:
    return declare(
        name,
        abstract_eval=_abstract,
        jvp=partial(_jvp, name),
        transpose=NOT_LINEAR,
        batch=partial(_batch, name, reduce),
        lower=partial(_lower, operation),
        axis_names=axis_names,
    )


pmax_p = _declare("pmax", "maximum", reduce_max)
pmin_p = _declare("pmin", "minimum", reduce_min)
