"""What holds for a part of the code: `named_scope`, names that profiles, dumps and HLO show;
`disable_jit`; and `ensure_compile_time_eval`.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, ParamSpec, TypeVar

from functrax import errors
from functrax.core.config import Scope
from functrax.core.primitive import Primitive
from functrax.core.trace import Trace, Tracer, Value, bind, current, state
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


class _CompileTime(Trace):
    """Computes at once what depends on no tracer, and leaves the rest to the trace around it."""

    __slots__ = ()

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Sequence[Value]:
        """Run the operation eagerly, unless it has a tracer among its operands, or named axes."""
        traced = any(isinstance(x, Tracer) for x in operands)
        at_once = not traced and not (primitive.axis_names and primitive.axis_names(params))
        with current(None if at_once else self.parent):
            return bind(primitive, *operands, **params)


@contextlib.contextmanager
def ensure_compile_time_eval() -> Generator[None]:
    """Compute at once what depends on no traced value, instead of writing it into the program.

    What is computed so is an array, on which Python's control flow works, and a constant of the
    program. Operations on traced values are written into it as ever.

    Returns:
        A context manager, which is also a decorator.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.jit
        ... def f(x):
        ...     with functrax.ensure_compile_time_eval():
        ...         steps = jnp.ceil(jnp.log2(100.0))
        ...     for _ in range(int(steps)):
        ...         x = x + 1
        ...     return x
        >>> float(f(0.0))
        7.0
    """
    with current(None if state.trace is None else _CompileTime(state.trace)):
        yield
