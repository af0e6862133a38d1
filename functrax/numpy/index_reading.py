"""Splitting an index into its structure and the integer arrays it names."""

import operator
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Tracer, as_value, describe
from functrax.core.types import Literal

Part = tuple[Any, ...]
"""One entry of an index, hashable: ``("int", 2)``, ``("slice", 0, 5, None)``, ``("new",)``,
``("rest",)`` for an ellipsis, ``("flag", True)`` for a 0-d boolean, ``("scalar",)`` for an integer
that is known only at run time, ``("array", shape, on_host)``, and ``("mask", shape, count)``."""


def read_index(index: Any, call: str) -> tuple[tuple[Part, ...], list[Any]]:
    """Split an index into its structure and the integer arrays it names.

    Args:
        index: what stands in the brackets.
        call: the user's function, for messages.

    Returns:
        The structure, with fixed integers; and the arrays, in the order of the structure.

    Raises:
        ArgumentError, DtypeError: if it is not a valid index.
        TracerIndexError: if a mask or the bound of a slice is traced.
    """
    if isinstance(index, list):
        raise errors.ArgumentError(
            call,
            "an index of integers, slices, arrays, or a tuple of them",
            "a list",
            fix="Write `x[jnp.array(indices)]` for several places of one axis, `x[tuple(indices)]` "
            "for one place in several axes.",
        )
    parts: list[Part] = []
    places: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        kind = type(item)
        if kind is int:
            parts.append(("int", item))
        elif kind is slice:
            parts.append(_read_slice(item, call))
        elif item is None:
            parts.append(("new",))
        elif item is Ellipsis:
            parts.append(("rest",))
        else:
            part, found = _read_other(item, call)
            parts.append(part)
            places.extend(found)
    return tuple(parts), places


def _read_slice(item: slice, call: str) -> Part:
    bounds = (item.start, item.stop, item.step)
    try:
        start, stop, step = [None if b is None else operator.index(b) for b in bounds]
    except errors.TracerIndexError as error:
        raise errors.TracerIndexError(
            call,
            "slices with fixed bounds, for the shape of the result depends on them",
            error.got,
            fix="Use `lax.dynamic_slice(x, starts, sizes)` for a fixed size at a traced place, or "
            "mark the bound static.",
        ) from None
    except (TypeError, errors.FunctraxError):
        raise errors.ArgumentError(call, "slices of integers", f"{item!r}") from None
    if step == 0:
        raise errors.ArgumentError(call, "slices with a step other than 0", f"{item!r}")
    return ("slice", start, stop, step)


def _read_other(item: Any, call: str) -> tuple[Part, list[Any]]:
    if isinstance(item, Literal):
        item = item.value
    if isinstance(item, list | tuple):
        item = _array_of_list(item, call)
    if isinstance(item, bool | np.bool_):
        return ("flag", bool(item)), []
    if isinstance(item, int | np.integer):
        return ("int", int(item)), []
    if isinstance(item, str | bytes | float | complex | dict | set):
        raise _not_an_index(item, call)
    if not isinstance(item, Array | np.ndarray):
        item = _converted(item, call)
    if dtypes.is_bool(item.dtype):
        return _read_mask(item, call)
    if not dtypes.is_integer(item.dtype):
        raise errors.DtypeError(
            call,
            "integer or boolean index arrays",
            describe(item) if isinstance(item, Array) else f"one of dtype {item.dtype}",
            fix="Convert it with `.astype(int)`.",
        )
    if isinstance(item, Array):
        return (("array", item.shape, False) if item.ndim else ("scalar",)), [item]
    if not item.ndim:
        return ("int", int(item)), []
    return ("array", item.shape, True), [item]


def _array_of_list(item: list[Any] | tuple[Any, ...], call: str) -> Any:
    if any(isinstance(entry, Array) for entry in item):
        raise errors.ArgumentError(
            call,
            "lists of numbers in an index",
            "a list of arrays",
            fix="Write `jnp.stack([...])`.",
        )
    try:
        return np.asarray(item) if item else np.zeros(0, np.int32)
    except ValueError:
        raise _not_an_index(item, call) from None


def _converted(item: Any, call: str) -> Any:
    if hasattr(item, "__index__") and not getattr(item, "ndim", 0):
        return np.asarray(operator.index(item))
    try:
        return as_value(item, call)
    except errors.ArgumentError:
        raise _not_an_index(item, call) from None


def _not_an_index(item: Any, call: str) -> errors.FunctraxError:
    text = f"{item!r} of type {errors.type_name(item)}"
    kinds = "an index of integers, slices, None, ..., or integer or boolean arrays"
    return errors.ArgumentError(call, kinds, text)


def _read_mask(mask: Any, call: str) -> tuple[Part, list[Any]]:
    """Turn a boolean array into the places where it is True."""
    known = mask.concrete() if isinstance(mask, Tracer) else mask
    if known is None:
        raise errors.TracerIndexError(
            call,
            "boolean index arrays with known values, for the shape of the result depends on them",
            describe(mask),
            fix="Use `jnp.where(mask, x, other)`, `x.at[mask].set(scalar)`, or "
            "`jnp.nonzero(mask, size=n)`.",
        )
    values = np.asarray(known)
    if not values.ndim:
        return ("flag", bool(values)), []
    found = [places.astype(np.int32) for places in np.nonzero(values)]
    return ("mask", values.shape, len(found[0])), list(found)
