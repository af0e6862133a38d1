"""Sums over named axes, and the cast of a value to one that varies, which is the transpose of the
exact sum.
"""

import contextlib
import threading
import warnings
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Value, as_value, axis_of, bind, state, vary
from functrax.core.types import ShapedArray
from functrax.primitives.collectives.axes import (
    AxisName,
    Groups,
    Names,
    axis_names,
    batch_moving,
    exact_names,
    group_size,
    groups_of,
    names_of,
    operand,
    spread,
)
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import mul
from functrax.primitives.rules import (
    Dim,
    Tangent,
    check_kind,
    declare_linear,
    move_batch_axis,
    scalar,
    sum_axes,
)


def psum(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Sum over one or more named axes.

    Args:
        x: pytree of arrays of numeric dtype and any shape, or Python numbers; booleans are counted.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.
        axis_index_groups: lists of positions along the axes (together), which contain each position
            once; sums are over each group alone.

    Returns:
        A pytree of the same shapes, equal for all positions along the axes (of a group). A Python
        number is multiplied by the size.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if the groups do not contain each position once.
        KeyTypeError: if a leaf is a PRNG key.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.psum(x, "i"), axis_name="i")(jnp.arange(3))
        Array([3, 3, 3], dtype=int32)
    """
    names = names_of(axis_name, "psum")
    groups = groups_of(axis_index_groups, names, "psum", equal=False)
    even = groups is None or len({len(group) for group in groups}) == 1

    def one(leaf: Any) -> Any:
        if even and isinstance(leaf, bool | int | float | complex):
            return leaf * group_size(names, groups, "psum")
        value = as_value(leaf, "psum")
        return summed(numeric(value, "psum"), names, groups, "psum")

    return tree.map(one, x)


def numeric(value: Value, call: str) -> Value:
    """Return a value that can be added: booleans as int32, which a sum counts.

    Raises:
        KeyTypeError: if it is a PRNG key.
    """
    check_kind(call, value.aval, "biufc")
    return convert(value, np.dtype(np.int32)) if value.aval.dtype == bool else value


def summed(value: Value, names: Names, groups: Groups, call: str) -> Value:
    """Sum a value over axes, exactly along those that are."""
    if not names:
        return value
    value = operand(value, names, call)
    if groups is not None:
        return bind(psum_p, value, axes=names, groups=groups)[0]
    exact = exact_names(names, call)
    others = tuple(name for name in names if name not in exact)
    if exact:
        value = bind(psum_invariant_p, value, axes=exact)[0]
    return bind(psum_p, value, axes=others, groups=None)[0] if others else value


def pmean(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """Average over one or more named axes.

    Args:
        x: pytree of arrays or numbers, as for `psum`.
        axis_name: a name, or a tuple of names, as for `psum`.
        axis_index_groups: lists of positions, as for `psum`.

    Returns:
        A pytree of the same shapes: the sums, divided by the number of positions (of the group).

    Raises:
        AxisNameError, ArgumentError, KeyTypeError: as `psum`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.pmean(x, "i"), axis_name="i")(jnp.arange(3))
        Array([1., 1., 1.], dtype=float32)
    """
    count = psum(1, axis_name, axis_index_groups=axis_index_groups)
    return tree.map(lambda s: s / count, psum(x, axis_name, axis_index_groups=axis_index_groups))


# Rules --------------------------------------------------------------------------------------------


def _sum_abstract(x: ShapedArray, *, axes: Names, groups: Groups = None) -> tuple[ShapedArray]:
    return (x.update(varying=x.varying if groups else x.varying.difference(axes)),)


def _sum_stacked(x: Value) -> Value:
    return spread(sum_axes(x, (1,)), x.aval.shape[1])


def _sum_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Over this axis: add up. Over others: pass on."""
    if axis.name not in params["axes"] or params.get("groups"):
        return batch_moving("psum", _sum_stacked, (), axis, operands, dims, **params)
    x, dim = operands[0], dims[0]
    x = mul(x, scalar(axis.size, x.aval.dtype)) if dim is None else sum_axes(x, (dim,))
    rest = tuple(name for name in params["axes"] if name != axis.name)
    return (bind(psum_p, x, axes=rest, groups=None) if rest else [x]), [None]


def _sum_transpose(cotangents: Sequence[Value], x: Any, **params: Any) -> list[Tangent]:
    """Sum the cotangents: each position's value reaches every position's result."""
    if not _whole.depth and not all(axis_of(name, "psum").exact for name in params["axes"]):
        _warn_of_convention(params["axes"])
    return list(bind(psum_p, cotangents[0], **params))


class _Whole(threading.local):
    """How many programs of whole arrays this thread is transposing: see `transposing_whole`."""

    depth = 0


_whole = _Whole()
_warned: set[tuple[str, int]] = set()


@contextlib.contextmanager
def transposing_whole() -> Generator[None]:
    """Transpose a program with all of its positions, for which the rule of `psum` is exact."""
    _whole.depth += 1
    try:
        yield
    finally:
        _whole.depth -= 1


def _warn_of_convention(axes: Names) -> None:
    """Warn that a gradient is that of all positions' results, once for each line.

    Raises:
        GradConventionWarning: as a warning.
    """
    source = state.source
    if source is None or (source.filename, source.line) in _warned:
        return
    _warned.add((source.filename, source.line))
    names = ", ".join(map(repr, axes))
    error = errors.FunctraxError(
        "grad",
        f"a gradient of this position's result through the sum over {names}",
        "by JAX's convention that of the sum of all positions' results",
        where=str(source),
        fix="Pass grad_convention='exact' to the `pmap` or `vmap` around it for the gradient of "
        "the result itself, or silence this by `warnings.filterwarnings('ignore', "
        "category=functrax.errors.GradConventionWarning)`.",
    )
    place = source.filename, source.line
    warnings.warn_explicit(str(error), errors.GradConventionWarning, *place)


def _sum_lower(b: Any, x: Any, *, axes: Names, groups: Groups = None) -> Any:
    return b.all_reduce(x, b.out_types[0], axes, groups, "add")


psum_p = declare_linear(
    "psum",
    abstract_eval=_sum_abstract,
    transpose=_sum_transpose,
    batch=_sum_batch,
    lower=_sum_lower,
    axis_names=axis_names,
)


def _invariant_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axes: Names
) -> Any:
    """Over this axis: add up. Over others: pass on."""
    x, dim = operands[0], dims[0]
    if axis.name not in axes:
        return bind(psum_invariant_p, x, axes=axes), dims
    x = mul(x, scalar(axis.size, x.aval.dtype)) if dim is None else sum_axes(x, (dim,))
    rest = tuple(name for name in axes if name != axis.name)
    return (bind(psum_invariant_p, x, axes=rest) if rest else [x]), [None]


def _invariant_transpose(cotangents: Sequence[Value], x: Any, *, axes: Names) -> list[Tangent]:
    """Give every position the cotangent of the sum."""
    return list(bind(pvary_p, cotangents[0], axes=axes))


psum_invariant_p = declare_linear(
    "psum_invariant",
    abstract_eval=_sum_abstract,
    transpose=_invariant_transpose,
    batch=_invariant_batch,
    lower=_sum_lower,
    axis_names=axis_names,
)

# Values that vary ---------------------------------------------------------------------------------


def pvary(x: Any, axis_name: AxisName) -> Any:
    """Mark values as ones that may differ between the positions along named axes.

    The values stay what they are. In reverse mode the gradients of all positions are added up. Most
    programs need no call of it: operands of one operation are made to vary alike.

    Args:
        x: pytree of arrays.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.
            Along axes that are not exact, and those along which a value varies already, this
            changes nothing.

    Returns:
        The same values.

    Raises:
        AxisNameError: if a name is not bound.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.vmap(lambda x: functrax.lax.pvary(x, "i"), axis_name="i")(jnp.arange(3))
        Array([0, 1, 2], dtype=int32)
    """
    names = names_of(axis_name, "pvary")
    return tree.map(lambda leaf: operand(leaf, names, "pvary"), x)


def pcast(x: Any, axis_name: AxisName, *, to: str) -> Any:
    """Convert between kinds of values along named axes.

    Args:
        x: pytree of arrays.
        axis_name: a name bound by an enclosing `vmap`, `pmap` or `shard_map`, or a tuple of names.
        to: ``"varying"``: values that are equal along the axes become ones that may differ, as by
            `pvary`. JAX's ``"reduced"`` and ``"unreduced"`` are not there.

    Returns:
        The same values.

    Raises:
        AxisNameError: if a name is not bound.
        ArgumentError: if `to` is not ``"varying"``, or a leaf varies along an axis already.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = lambda x: functrax.lax.pcast(x, "i", to="varying")
        >>> functrax.vmap(f, axis_name="i")(jnp.arange(3))
        Array([0, 1, 2], dtype=int32)
    """
    if to != "varying":
        fix = "Sums that are still to be taken are not in types: call `psum` where they are needed."
        raise errors.ArgumentError("pcast", "to='varying'", f"to={to!r}", fix=fix)
    names = names_of(axis_name, "pcast")
    exact = frozenset(exact_names(names, "pcast"))

    def one(leaf: Any) -> Value:
        value = as_value(leaf, "pcast")
        if exact & value.aval.varying:
            expected = f"a value that does not vary along {', '.join(map(repr, names))}"
            fix = "Use `pvary`, which leaves such values as they are."
            raise errors.ArgumentError("pcast", expected, f"{value.aval!r}", fix=fix)
        return vary(value, exact)

    return tree.map(one, x)


def _vary_abstract(x: ShapedArray, *, axes: Names) -> tuple[ShapedArray]:
    return (x.update(varying=x.varying.union(axes)),)


def _vary_transpose(cotangents: Sequence[Value], x: Any, *, axes: Names) -> list[Tangent]:
    """Sum what reaches the positions' copies."""
    return list(bind(psum_invariant_p, vary(cotangents[0], frozenset(axes)), axes=axes))


def _vary_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, axes: Names
) -> Any:
    """Over this axis: map the value. Over others: pass on."""
    x, dim = operands[0], dims[0]
    if not axis.exact or axis.name not in axes:
        return bind(pvary_p, x, axes=axes), dims
    rest = tuple(name for name in axes if name != axis.name)
    x = bind(pvary_p, x, axes=rest)[0] if rest else x
    return [move_batch_axis(axis, x, dim, 0)], [0]


def _vary_lower(b: Any, x: Any, *, axes: Names) -> Any:
    return x


pvary_p = declare_linear(
    "pvary",
    abstract_eval=_vary_abstract,
    transpose=_vary_transpose,
    batch=_vary_batch,
    lower=_vary_lower,
    axis_names=axis_names,
    lowers_keys=True,
)
