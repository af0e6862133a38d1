"""Parameters of equations that are records: how a printed program names them, and their fields.

A parameter is a number, a string, None, a dtype, a type, a program, a tuple of these, or a value
of a class that says so with `param_type`: an enumeration, a NamedTuple, or a frozen dataclass.
Anything else, such as the function of a custom rule, prints as ``<function name>`` and cannot be
read back. A class whose `repr` tells all that matters says so with ``prints_in_programs = True``.
"""

import enum
from collections.abc import Iterator
from typing import Any, TypeVar

from functrax.core.jaxpr import Jaxpr
from functrax.errors import ArgumentError

C = TypeVar("C", bound=type[Any])

#: The classes that printed programs name, by that name.
param_types: dict[str, type[Any]] = {"frozenset": frozenset, "complex": complex}


def param_type(cls: C) -> C:
    """Let values of a class be parameters, printed as ``Name(field=value)`` or ``Name.MEMBER``.

    Args:
        cls: an enumeration, or a class whose constructor takes the fields in ``__match_args__``, as
            those of NamedTuples and dataclasses do.

    Returns:
        The class, so that this decorates it.

    Raises:
        ArgumentError: if a class of another module has the name.

    Example:
        >>> from typing import NamedTuple
        >>> @param_type
        ... class Window(NamedTuple):
        ...     size: int
        ...     stride: int = 1
        >>> param_types.pop("Window") is Window
        True
    """
    if param_types.setdefault(cls.__name__, cls).__module__ != cls.__module__:
        raise ArgumentError("param_type", "a new name of a class", repr(cls.__name__))
    param_types[cls.__name__] = cls
    return cls


def fields_of(value: Any) -> list[tuple[str, Any]] | None:
    """Return the fields of a record and their values, or None if the value is not one.

    Example:
        >>> from functrax.core.primitive import BatchAxis
        >>> fields_of(BatchAxis(3)), fields_of((3, None))
        ([('size', 3), ('name', None), ('exact', False), ('spmd', ())], None)
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return None
    if param_types.get(kind.__name__) is not kind and not hasattr(kind, "_fields"):
        return None
    names: tuple[str, ...] = getattr(kind, "__match_args__", ())
    return [(name, getattr(value, name)) for name in names] if names else None


def programs_in(value: Any) -> Iterator[Jaxpr]:
    """Yield the programs in a parameter, those inside tuples and records too."""
    if isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from programs_in(item)
    elif type(value).__name__ in param_types:
        for _, item in fields_of(value) or ():
            yield from programs_in(item)
