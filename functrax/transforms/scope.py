"""What holds for a part of the code: `named_scope`, names that profiles, dumps and HLO show; and
`disable_jit`.
"""

import contextlib
import functools
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar

from functrax import errors
from functrax.core.config import Scope
from functrax.core.trace import state
from functrax.transforms.flat import check_callable, function_name

P = ParamSpec("P")
R = TypeVar("R")


def named_scope(name: str) -> Any:
    """Give a name to the operations of a block or function, inside the names around it.

    A jitted function has its own names, wherever it is called from, as it is traced once.

    Args:
        name: str, what profiles show: operations are ``outer/inner/sin``.

    Returns:
        A context manager, which is also a decorator.

    Raises:
        ArgumentError: if the name is not a string, or empty.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.jit
        ... def f(x):
        ...     with functrax.named_scope("head"):
        ...         return jnp.sin(x)
        >>> "head/sin" in f.lower(1.0).as_text(debug_info=True)
        True
    """
    if not isinstance(name, str) or not name:
        raise errors.ArgumentError("named_scope", "a name that is not empty", repr(name))
    return _scope(name)


@contextlib.contextmanager
def _scope(name: str) -> Generator[None]:
    saved = state.scope
    state.scope = f"{saved}/{name}" if saved else name
    try:
        yield
    finally:
        state.scope = saved


@contextlib.contextmanager
def outside_scopes() -> Generator[None]:
    """Trace what is shared by several callers: their names are not its own."""
    saved = state.scope
    state.scope = ""
    try:
        yield
    finally:
        state.scope = saved


def named_call(fun: Callable[P, R], *, name: str | None = None) -> Callable[P, R]:
    """Give a name to the operations of a function.

    Args:
        fun: any function.
        name: str, the name; the function's own by default.

    Returns:
        The function, with all its operations in a `named_scope`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.named_call(jnp.sin, name="wave")
        >>> "wave/sin" in functrax.jit(f).lower(1.0).as_text(debug_info=True)
        True
    """
    check_callable(fun, "named_call")
    scope = named_scope(function_name(fun) if name is None else name)
    return functools.wraps(fun)(scope(fun))


def disable_jit(disable: bool = True) -> Scope:
    """Call jitted functions without compiling them, for this thread and in a ``with`` block.

    Args:
        disable: bool, whether to; False compiles them also inside a block that does not.

    Returns:
        A context manager, which is also a decorator.

    Raises:
        ConfigError: if it is not a bool.

    Example:
        >>> import functrax
        >>> with functrax.disable_jit():
        ...     functrax.jit(lambda x: print(x))(1)
        1
    """
    return Scope("disable_jit", {"disable_jit": disable})
