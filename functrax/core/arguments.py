"""Arguments that are no arrays: integers, and sequences of them."""

import operator
from typing import Any

from functrax import errors


def integer(call: str, name: str, value: Any) -> int:
    """Return an argument that must be an integer as an int.

    Raises:
        ArgumentError: if it is not one, naming it; TracerIndexError: if it is traced.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        if isinstance(error, errors.FunctraxError):
            raise
        got = f"{value!r} of type {errors.type_name(value)}"
        raise errors.ArgumentError(call, f"an integer for {name!r}", got) from None


def integers(call: str, name: str, values: Any) -> tuple[int, ...]:
    """Return an argument that must be a sequence of integers as a tuple of ints.

    Raises:
        ArgumentError: if it is not one, naming it; TracerIndexError: if a part of it is traced.
    """
    try:
        return tuple(map(operator.index, values))
    except TypeError as error:
        if isinstance(error, errors.FunctraxError):
            raise
        got = f"{values!r} of type {errors.type_name(values)}"
        raise errors.ArgumentError(call, f"a sequence of integers for {name!r}", got) from None


def listed(call: str, name: str, values: Any) -> list[Any]:
    """Return an argument that must be a sequence as a list.

    Raises:
        ArgumentError: if it is not one, naming it.
    """
    try:
        return list(values)
    except TypeError as error:
        if isinstance(error, errors.FunctraxError):
            raise
        got = f"{values!r} of type {errors.type_name(values)}"
        raise errors.ArgumentError(call, f"a sequence for {name!r}", got) from None
