"""`fuse`: let a library function of several operations run as one compiled program when it is
called eagerly.
"""

import functools
from collections.abc import Callable
from typing import Any

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

    @functools.wraps(function)
    def fused(*values: Any, **static: Any) -> Any:
        if state.trace is not None:
            return function(*values, **static)
        key = tuple(static.items())
        program = programs.get(key)
        if program is None:
            named = functools.partial(function, **static)
            program = programs[key] = jit(functools.update_wrapper(named, function))
        if Literal in map(type, values):
            values = tuple(
                [literal_array(x, default_device()) if type(x) is Literal else x for x in values]
            )
        return program(*values)

    return fused
