"""`fuse`: let a library function of several operations run as one compiled program when it is
called eagerly.
"""

import functools
from collections.abc import Callable
from types import NoneType
from typing import Any

from functrax import errors
from functrax.core.trace import state
from functrax.core.types import Literal
from functrax.runtime.devices import default_device
from functrax.runtime.dispatch import literal_array
from functrax.transforms.jit import jit


def fuse(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a library function for eager calls; inside a transform it stays the operations it is
    made of.

    Args:
        function: takes values as positional arguments, and everything static and hashable as
            keyword arguments.

    Returns:
        A function of the same arguments.
    """
    programs: dict[Any, Any] = {}

    def compiled(key: Any, static: dict[str, Any], absent: tuple[bool, ...] | None) -> Any:
        """Make the program of static arguments, and of values that are None."""

        def call(*values: Any) -> Any:
            if absent is None:
                return function(*values, **static)
            present = iter(values)
            return function(*[None if none else next(present) for none in absent], **static)

        program = programs[key] = jit(functools.update_wrapper(call, function))
        return program

    @functools.wraps(function)
    def fused(*values: Any, **static: Any) -> Any:
        if state.trace is not None:
            return function(*values, **static)
        kinds = tuple(map(type, values))
        absent = None
        key: Any = tuple(static.items())
        if NoneType in kinds:
            absent = tuple([kind is NoneType for kind in kinds])
            key = (key, absent)
            values = tuple([x for x in values if x is not None])
        if Literal in kinds:
            device = default_device()
            values = tuple([literal_array(x, device) if type(x) is Literal else x for x in values])
        program = programs.get(key)
        if program is None:
            program = compiled(key, static, absent)
        try:
            return program(*values)
        except (errors.NonFiniteError, errors.BoundsError) as error:
            # The program is shared by all that call it: its lines are those of the first caller.
            parts = error.call, error.expected, error.got
            raise type(error)(*parts, fix=error.fix) from None

    return fused
