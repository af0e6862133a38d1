"""Applying Python functions along axes."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core.arguments import integers, listed
from functrax.core.trace import Array
from functrax.numpy.creation import array, in_dtype
from functrax.numpy.manipulation import expand_dims, one_or_several
from functrax.numpy.operands import array_operand, broadcast_shapes
from functrax.numpy.ranges import indices
from functrax.numpy.selection import select
from functrax.primitives.rules import broadcast_to
from functrax.primitives.shape import canonical_axis
from functrax.transforms.flat import check_callable
from functrax.transforms.vmap import vmap

_SIGNATURE = re.compile(r"^(\((\w+(,\w+)*)?\),?)+->(\((\w+(,\w+)*)?\),?)+$")


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Any = frozenset(), signature: str | None = None
) -> Callable[..., Any]:
    """Make a function of numbers, or of small arrays, one of arrays of any more axes, by `vmap`.

    Args:
        pyfunc: a function of positional arguments.
        excluded: numbers of positional arguments, and names of keyword arguments, that are passed
            as they are.
        signature: str such as ``"(n),(n)->()"``: the axes that `pyfunc` takes and returns.

    Returns:
        A function of arrays, whose further axes broadcast.

    Raises:
        ArgumentError: if the signature is ill-formed.

    Example:
        >>> jnp.vectorize(jnp.dot, signature="(n),(n)->()")(jnp.ones((2, 3)), jnp.ones(3))
        Array([3., 3.], dtype=float32)
    """
    check_callable(pyfunc, "vectorize")
    skip = frozenset(listed("vectorize", "excluded", excluded))
    cores = None if signature is None else _parse(signature)

    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        given = [i for i in range(len(args)) if i not in skip]
        values = [array_operand(args[i], "vectorize") for i in given]

        def inner(*rows: Any) -> Any:
            full = list(args)
            for i, row in zip(given, rows, strict=True):
                full[i] = row
            return pyfunc(*full, **kwargs)

        ranks = [0] * len(values) if cores is None else cores
        if len(ranks) != len(values):
            raise errors.ArgumentError("vectorize", f"{len(ranks)} arguments", str(len(values)))
        return _mapped(inner, values, ranks)

    return vectorized


def _parse(signature: str) -> list[int]:
    """Return how many axes the function takes of each argument."""
    text = signature.replace(" ", "") if isinstance(signature, str) else ""
    if not _SIGNATURE.match(text):
        raise errors.ArgumentError(
            "vectorize", "a signature such as '(n),(n)->()'", repr(signature)
        )
    groups = re.findall(r"\(([^)]*)\)", text.split("->")[0])
    return [len(group.split(",")) if group else 0 for group in groups]


def _mapped(inner: Callable[..., Any], values: list[Array], ranks: list[int]) -> Any:
    """Map over the axes in front of the core ones, from the last to the first."""
    outer: list[tuple[int, ...]] = []
    for x, rank in zip(values, ranks, strict=True):
        if x.aval.ndim < rank:
            raise errors.ShapeError("vectorize", f"an array of {rank} or more axes", repr(x.aval))
        outer.append(x.aval.shape[: x.aval.ndim - rank])
    shape = broadcast_shapes("vectorize", outer) if outer else ()
    function = inner
    squeezed = [_without_units(x, len(own)) for x, own in zip(values, outer, strict=True)]
    for axis in range(len(shape) - 1, -1, -1):
        axes = [
            0 if axis >= len(shape) - len(own) and own[axis - len(shape)] != 1 else None
            for own in outer
        ]
        size = shape[axis]
        function = vmap(function, in_axes=tuple(axes), axis_size=size)
    return function(*squeezed)


def _without_units(x: Array, count: int) -> Array:
    """Drop axes of size 1 among the first ones: they broadcast."""
    kept = tuple(size for i, size in enumerate(x.aval.shape) if i >= count or size != 1)
    return x.reshape(kept)


def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Array:
    """Apply a function of vectors along an axis.

    Args:
        func1d: a function of a vector.
        axis: int.
        arr: array.
        *args: further arguments of the function.
        **kwargs: further arguments of the function.

    Returns:
        An array with the axes of the function's result in place of the axis.
    """
    check_callable(func1d, "apply_along_axis")
    x = array_operand(arr, "apply_along_axis")
    axis = canonical_axis("apply_along_axis", axis, x.aval.ndim)

    def function(row: Any) -> Any:
        return func1d(row, *args, **kwargs)

    mapped: Callable[..., Any] = function
    for _ in range(x.aval.ndim - axis - 1):
        mapped = vmap(mapped, in_axes=1, out_axes=-1)
    for _ in range(axis):
        mapped = vmap(mapped, in_axes=0, out_axes=0)
    return mapped(x)


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Array:
    """Apply a function ``(array, axis) -> array`` over several axes, one after the other.

    Args:
        func: a reduction, which may keep its axis or drop it.
        a: array.
        axes: int or sequence of ints.

    Returns:
        An array of as many axes.
    """
    x = array_operand(a, "apply_over_axes")
    check_callable(func, "apply_over_axes")
    for axis in integers("apply_over_axes", "axes", one_or_several(axes)):
        made = func(x, axis)
        x = made if made.ndim == x.ndim else expand_dims(made, axis)
    return x


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Array:
    """Evaluate on each element the function of the last condition that is true.

    Args:
        x: array.
        condlist: sequence of boolean arrays.
        funclist: sequence of functions of a number, or numbers, one per condition, and one more for
            the rest.
        *args: further arguments of the functions.
        **kw: further arguments of the functions.

    Returns:
        An array of x's shape and dtype. Each function is called once, under `vmap`, and its value
        on all elements is computed.

    Raises:
        ArgumentError: if the numbers do not fit.
        ShapeError: if a function does not return a number for a number.

    Example:
        >>> x = jnp.arange(-1.0, 2.0)
        >>> jnp.piecewise(x, [x < 0, x > 0], [lambda v: -v, lambda v: 10 * v, 5])
        Array([ 1.,  5., 10.], dtype=float32)
    """
    x = array_operand(x, "piecewise")
    conditions = [array_operand(c, "piecewise") for c in listed("piecewise", "condlist", condlist)]
    funclist = listed("piecewise", "funclist", funclist)
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise errors.ArgumentError(
            "piecewise", f"{len(conditions)} or {len(conditions) + 1} functions", str(len(funclist))
        )
    values = [
        _on_elements(functools.partial(f, **kw), x, args).astype(x.dtype)
        if callable(f)
        else in_dtype(f, x.aval.dtype, "piecewise")
        for f in funclist
    ]
    values = [broadcast_to(v, x.shape) for v in values]
    default = values.pop() if len(values) > len(conditions) else array(0).astype(x.dtype)
    return select(conditions[::-1], values[::-1], default)


def _on_elements(function: Callable[..., Any], x: Array, args: tuple[Any, ...]) -> Array:
    """Apply a function of numbers to the elements of an array.

    Raises:
        ShapeError: if it returns something else than a number.
    """
    made = array(vmap(lambda v: function(v, *args))(x.reshape(-1)))
    if made.ndim != 1:
        expected = "functions that return a number for a number"
        raise errors.ShapeError("piecewise", expected, f"one that returns shape {made.shape[1:]}")
    return made.reshape(x.shape)


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any
) -> Any:
    """Evaluate a function on the indices of a grid.

    Args:
        function: a function of one number per axis.
        shape: the shape of the grid.
        dtype: the dtype of the indices.
        **kwargs: further arguments of the function.

    Returns:
        An array of that shape.
    """
    check_callable(function, "fromfunction")
    grids = [*indices(shape, dtype)]
    mapped: Callable[..., Any] = functools.partial(function, **kwargs)
    for _ in range(len(grids)):
        mapped = vmap(mapped)
    return mapped(*grids)
