"""`jit`: compile a function with XLA."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from functrax import errors
from functrax.core import tree
from functrax.core.jaxpr import clear_program_caches
from functrax.core.primitive import abstract_cache
from functrax.runtime.devices import Device, clear_programs
from functrax.transforms.flat import (
    check_callable,
    shown,
)
from functrax.transforms.jit_function import JitFunction, clear_jitted
from functrax.transforms.jit_shardings import (
    JitShardings,
    placement,
)
from functrax.transforms.retrace import (
    clear_histories,
)
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import clear_traces

P = ParamSpec("P")
R = TypeVar("R")


def clear_caches() -> None:
    """Forget every trace and compiled program of this process."""
    clear_jitted()
    clear_traces()
    clear_histories()
    clear_program_caches()
    abstract_cache.clear()
    clear_programs()


@overload
def jit(
    fun: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
    compiler_options: Mapping[str, Any] | None = None,
    max_traces: int | None = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    device: Device | None = None,
    backend: str | None = None,
) -> JitFunction[P, R]: ...
@overload
def jit(
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
    compiler_options: Mapping[str, Any] | None = None,
    max_traces: int | None = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    device: Device | None = None,
    backend: str | None = None,
) -> Callable[[Callable[P, R]], JitFunction[P, R]]: ...
def jit(
    fun: Any = tree.UNSET,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
    compiler_options: Mapping[str, Any] | None = None,
    max_traces: int | None = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    device: Device | None = None,
    backend: str | None = None,
) -> Any:
    """Compile a function with XLA.

    Args:
        fun: a pure function of pytrees of arrays. Without it, `jit` returns a decorator:
            ``@jit(static_argnums=0)``.
        static_argnums: positions of arguments that are Python values to the function: it is traced
            anew for each.
        static_argnames: names of such arguments.
        donate_argnums: positions of arguments whose memory the results may take; using them
            afterwards is an error.
        donate_argnames: names of such arguments.
        keep_unused: whether arguments that the function does not use are passed to the program all
            the same.
        inline: whether a call inside another traced function disappears into it instead of becoming
            one equation.
        compiler_options: XLA's options by name, such as ``{"xla_cpu_enable_fast_math": True}``.
            They are those of the whole program: inside another transform, that one's hold.
        max_traces: how often the function may be traced; None is without bound. What `jit` returns
            tells in `.retraces()` why it was traced more than once.
        in_shardings: how the positional arguments are to lie on the devices of a mesh: a
            `NamedSharding`, a `PartitionSpec` in the mesh of `set_mesh`, None as they lie, or a
            tree prefix of these. Inside another transform it is a constraint.
        out_shardings: how the results are to lie, likewise; None as the compiler likes.
        device: the device to run on; in_shardings and out_shardings say the same.
        backend: the platform to run on.

    Returns:
        The function, with `.trace`, `.lower`, `.eval_shape`, `.retraces` and `.clear_cache` beside
        the call.

    Raises:
        ArgumentError: if a position or name does not exist, or max_traces is not positive.
        TraceLimitError: at a call that would need a trace beyond `max_traces`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jit(lambda x: x * 2)(jnp.arange(3))
        Array([0, 2, 4], dtype=int32)
    """
    if fun is tree.UNSET:
        return functools.partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
            keep_unused=keep_unused,
            inline=inline,
            compiler_options=compiler_options,
            max_traces=max_traces,
            in_shardings=in_shardings,
            out_shardings=out_shardings,
            device=device,
            backend=backend,
        )
    check_callable(fun, "jit")
    if max_traces is not None and (not isinstance(max_traces, int) or max_traces < 1):
        raise errors.ArgumentError("jit", "max_traces as a positive int", shown(max_traces))
    options = StaticArguments(fun, static_argnums, static_argnames, donate_argnums, donate_argnames)
    overrides = dict(compiler_options) if compiler_options else None
    on = placement(device, backend, in_shardings, out_shardings)
    shardings = None
    if on is None and (in_shardings is not None or out_shardings is not None):
        shardings = JitShardings(in_shardings, out_shardings)
    return JitFunction(fun, options, keep_unused, inline, overrides, max_traces, shardings, on)
