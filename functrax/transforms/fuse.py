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
    programs: dict[Any, tuple[Any, tuple[type, ...] | None]] = {}

    def compiled(kinds: tuple[type, ...], static: dict[str, Any]) -> Any:
        """Make the program of static arguments, and of values that are None."""

        def call(*values: Any) -> Any:
            present = iter(values)
            whole = [None if kind is NoneType else next(present) for kind in kinds]
            return function(*whole, **static)

        return jit(functools.update_wrapper(call, function))

    @functools.wraps(function)
    def fused(*values: Any, **static: Any) -> Any:
        if state.trace is not None:
            return function(*values, **static)
        kinds = tuple(map(type, values))
        key = (kinds, *static.items()) if static else kinds
        found = programs.get(key)
        if found is None:
            absent = tuple([kind is NoneType for kind in kinds])
            shared = (absent, *static.items())  # by the kinds of what is not None
            program, _ = programs.get(shared) or (compiled(kinds, static), None)
            special = kinds if NoneType in kinds or Literal in kinds else None
            found = programs[key] = programs[shared] = program, special
        program, special = found
        if special is not None:
            device = default_device()
            values = tuple(
                [
                    literal_array(x, device) if kind is Literal else x
                    for x, kind in zip(values, special, strict=True)
                    if kind is not NoneType
                ]
            )
        try:
            return program(*values)
        except (errors.NonFiniteError, errors.BoundsError) as error:
            # The program is shared by all that call it: its lines are those of the first caller.
            parts = error.call, error.expected, error.got
            raise type(error)(*parts, fix=error.fix) from None

    return fused
