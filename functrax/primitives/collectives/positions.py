"""Positions along named axes, and sizes of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, declare
from functrax.core.trace import Value, bind
from functrax.core.types import NO_AXES, ShapedArray
from functrax.primitives.collectives.axes import (
    AxisName,
    Names,
    axis_names,
    names_of,
    position,
    size_of,
)
from functrax.primitives.rules import Dim
from functrax.primitives.shape import iota_p


def axis_index(axis_name: AxisName) -> Value:
    """Return the position along a named axis.

    Args:
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`; of a tuple of names
            the first one is the major one.

    Returns:
        An int32 scalar.

    Raises:
        AxisNameError: if a name is not bound.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: x * functrax.lax.axis_index("i"), axis_name="i")(jnp.ones(3))
        Array([0., 1., 2.], dtype=float32)
    """
    return position(names_of(axis_name, "axis_index"), "axis_index")


def axis_size(axis_name: AxisName) -> int:
    """Return the size of a named axis.

    Args:
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.

    Returns:
        The size as an int; the product, for several.

    Raises:
        AxisNameError: if a name is not bound.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: x / functrax.lax.axis_size("i"), axis_name="i")(jnp.ones(2))
        Array([0.5, 0.5], dtype=float32)
    """
    return size_of(names_of(axis_name, "axis_size"), "axis_size")


def _index_abstract(*, axes: Names, exact: bool) -> tuple[ShapedArray]:
    return (ShapedArray((), np.dtype(np.int32), False, frozenset(axes) if exact else NO_AXES),)


def _index_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axes: Names, exact: bool
) -> Any:
    return bind(iota_p, dtype=np.dtype(np.int32), shape=(axis.size,), dimension=0), [0]


def _index_lower(b: Any, *, axes: Names, exact: bool) -> Any:
    return b.position(axes)


axis_index_p = declare(
    "axis_index",
    abstract_eval=_index_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_index_batch,
    lower=_index_lower,
    axis_names=axis_names,
)
