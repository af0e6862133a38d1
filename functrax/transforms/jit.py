"""`jit`: trace a function once per signature, compile it, and run the compiled program.

A jitted function called while another is traced is one equation with its own jaxpr. Called with
concrete arrays, it is a few dictionary look-ups and one launch.
"""

import functools
import threading
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Generic, ParamSpec, TypeVar, overload

from functrax import errors
from functrax.core import tree
from functrax.core.config import config
from functrax.core.jaxpr import clear_program_caches, eval_jaxpr
from functrax.core.primitive import abstract_cache
from functrax.core.trace import VALUES, Value, as_value, bind, state, vary_apart
from functrax.core.types import ShapedArray
from functrax.runtime.array import DeviceArray
from functrax.runtime.devices import Device, check_here, clear_programs
from functrax.runtime.dispatch import check_operands, get_aval, get_buffer, get_place
from functrax.runtime.program import Program
from functrax.runtime.transfer import place
from functrax.transforms import ahead
from functrax.transforms.flat import (
    argument_names,
    argument_types,
    check_arity,
    check_callable,
    function_name,
    shown,
)
from functrax.transforms.jit_call import jit_p
from functrax.transforms.jit_shardings import (
    JitShardings,
    Leaves,
    check_placed,
    constrained,
    placement,
)
from functrax.transforms.retrace import (
    Retrace,
    Signature,
    clear_histories,
    history_of,
    limit_error,
)
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import Traced, clear_traces, trace_function, traces_of
from functrax.xla.failure import RUNTIME_ERRORS

P = ParamSpec("P")
R = TypeVar("R")

# Caches -------------------------------------------------------------------------------------------


def clear_caches() -> None:
    """Forget every trace and compiled program of this process."""
    clear_traces()
    clear_histories()
    clear_program_caches()
    abstract_cache.clear()
    clear_programs()


_LEAF = tree.structure(0)
_counting = threading.Lock()

# The transform ------------------------------------------------------------------------------------


class JitFunction(Generic[P, R]):
    """A function that runs compiled; made by `jit`."""

    def __init__(
        self,
        function: Callable[P, R],
        options: StaticArguments,
        keep_unused: bool,
        inline: bool,
        overrides: dict[str, Any] | None,
        max_traces: int | None = None,
        shardings: JitShardings | None = None,
        on: Device | None = None,
    ) -> None:
        """Wrap a function; see `jit` for the options."""
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self.keep_unused = keep_unused
        self.inline = inline
        self.overrides = overrides
        self.shardings = shardings
        self.on = on
        self._simple = not options.has_static
        self._traces = traces_of(function)
        self._programs: dict[Any, Any] = {}
        self._ready: dict[Any, Any] = {}
        self._one: dict[ShapedArray, Any] = {}
        self._arrays_only = True
        self._kind_of = get_aval  # `get_place` where there are several devices
        self.max_traces = max_traces
        self._history = history_of(function)
        self._count = 0  # of traces made here; the history counts those of all jits of the function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled program for these arguments, making it first if need be."""
        if state.trace is None and self._simple:
            # The warm path is written out here: each call of a Python function would cost 0.4 us.
            try:
                if self._one and len(args) == 1 and not kwargs:
                    # One array in: nothing to loop over, which takes 1.4 of 7.6 us.
                    x: Any = args[0]
                    key, execute, handlers, more, device, out_types, unflatten = self._one[x.aval]
                    if key is config.key:
                        results = execute([*more, x.buffer]).consume_with_handlers(handlers)
                        if unflatten is None:
                            one: Any = DeviceArray(out_types[0], results[0], device)
                            return one
                        return unflatten(list(map(DeviceArray, out_types, results, repeat(device))))
                if self._arrays_only and not kwargs:
                    leaves: Any = args
                    found = self._ready[config.key, *map(self._kind_of, leaves)]
                else:
                    leaves, in_tree = tree.flatten((args, kwargs))
                    found = self._ready[in_tree, config.key, *map(self._kind_of, leaves)]
                (execute, handlers, constants, kept, out_types, places, committed), unflatten = (
                    found
                )
                passed = leaves if kept is None else kept(leaves)
                buffers = list(map(get_buffer, passed))
                results = execute(constants + buffers).consume_with_handlers(handlers)
                if unflatten is None:
                    result: Any = DeviceArray(out_types[0], results[0], places[0], committed)
                    return result
                return unflatten(
                    list(map(DeviceArray, out_types, results, places, repeat(committed)))
                )
            except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                pass  # a first call, arguments that are not arrays yet, elsewhere, or not valid
        try:
            return self._call(args, kwargs)
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__

    def _call(self, args: Any, kwargs: Any) -> Any:
        """Take the general way: static arguments, conversions, tracing, compiling, enclosing
        transforms.
        """
        if config.disable_jit:
            function: Callable[..., Any] = self.function
            return function(*args, **kwargs)
        dynamic, static, rebuild = self.options.split(self.function, args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        values = [
            x if isinstance(x, VALUES) else self._value(x, i, in_tree) for i, x in enumerate(leaves)
        ]
        if state.axes:
            values = vary_apart(values)
        avals = tuple([x.aval for x in values])
        key = (in_tree, config.trace_key(), *avals)
        if static is not None:
            key = (static, *key)
        given: Leaves = ()
        if self.shardings is not None:
            given = self.shardings.of_arguments(dynamic)
            name_of = lambda i: self._names(in_tree)[i]  # noqa: E731
            check_placed("jit", values, given, name_of)
        if state.trace is not None:
            traced = self._trace(key, in_tree, avals, rebuild)
            if given:
                values = constrained(values, given)
            if self.inline:
                results = eval_jaxpr(traced.jaxpr, (), *traced.consts, *values)
            else:
                name = traced.jaxpr.name
                results = bind(jit_p, *traced.consts, *values, jaxpr=traced.jaxpr, name=name)
            if self.shardings is not None:
                results = constrained(results, self._of_results(traced))
            return traced.out_tree.unflatten(results)
        check_operands(values)
        found = self._programs.get(key)
        if found is None:
            traced = self._trace(key, in_tree, avals, rebuild)
            donated = self.options.donated(dynamic, args)
            program = Program(
                traced.jaxpr,
                traced.consts,
                donated=donated,
                keep_unused=self.keep_unused,
                overrides=self.overrides,
                in_shardings=given,
                out_shardings=self._of_results(traced),
            )
            found = self._programs[key] = (program, traced.out_tree)
        program, out_tree = found
        if self.on is not None:
            check_here((self.on,), function_name(self.function))
            values = [place(x, self.on) for x in values]
            return out_tree.unflatten(program.run_on(self.on, values))
        results = program.run(values)
        if static is None:
            self._prepare(key, args, kwargs, program, out_tree, values)
        return out_tree.unflatten(results)

    def _of_results(self, traced: Traced) -> Leaves:
        if self.shardings is None:
            return ()
        return self.shardings.of_results(traced.out_tree, traced.jaxpr.out_avals)

    def _names(self, in_tree: Any) -> list[str]:
        return argument_names(self.function, in_tree, self.options.static_nums)

    def _prepare(
        self,
        key: Any,
        args: Any,
        kwargs: Any,
        program: Program,
        out_tree: Any,
        values: Sequence[Value],
    ) -> None:
        """Let the next call with the same types go straight to the executable."""
        if not values or any(type(x) is not DeviceArray for x in values):
            return
        ready = program.ready(values)
        if ready is None:
            return
        if type(values[0].device) is not Device or values[0].device.has_peers:
            self._kind_of = get_place
            self._one.clear()
        self._arrays_only = (
            self._arrays_only
            and not kwargs
            and len(args) == len(values)
            and all(x is y for x, y in zip(args, values, strict=True))
        )
        unflatten = None if out_tree == _LEAF else out_tree.unflatten
        alone = self._kind_of is get_aval and self._arrays_only and len(values) == 1
        if alone and ready.kept is None:
            (x,) = values
            way = (*ready[:3], x.device, ready.out_types, unflatten)
            self._one[x.aval] = (key[1], *way)
        call = (*key[: len(key) - len(values)], *map(self._kind_of, values))
        self._ready[call[1:] if self._arrays_only else call] = (ready, unflatten)

    def _value(self, leaf: Any, index: int, in_tree: Any) -> Value:
        try:
            return as_value(leaf, self.options.call)
        except errors.IntegerOverflowError:
            raise
        except errors.FunctraxError as error:
            name = self._names(in_tree)[index]
            raise errors.ArgumentError(
                self.options.call,
                f"argument {name!r} of {function_name(self.function)!r} to be an array or a number",
                shown(leaf),
                fix=f"Mark it static ({self.options.words}), or close over it.",
            ) from error

    def _trace(self, key: Any, in_tree: Any, avals: Sequence[ShapedArray], rebuild: Any) -> Traced:
        key = (*key, state.axes) if state.axes else key
        traced = self._traces.get(key)
        if traced is not None and traced.is_live:
            return traced
        function, static_nums = self.function, self.options.static_nums
        static = key[0] if key[0] is not in_tree else None
        signature = Signature(static, in_tree, config.trace_key(), tuple(avals), state.axes)
        changes = self._history.changes(function, signature, static_nums)
        if self.max_traces is not None and self._count >= self.max_traces:
            raise limit_error(function, self.max_traces, changes)
        made = trace_function(function, in_tree, avals, rebuild=rebuild, static_nums=static_nums)
        with _counting:
            found = self._traces.get(key)
            if found is not traced and found is not None:
                return found  # another thread was faster
            self._traces[key] = made
            self._count += 1
        self._history.add(function, signature, changes)
        return made

    def retraces(self) -> list[Retrace]:
        """Return why the function was traced more than once, the oldest first; see `Retrace`.

        Example:
            >>> import functrax, functrax.numpy as jnp
            >>> f = functrax.jit(lambda x: x + 1)
            >>> f(jnp.ones(3)), f(jnp.ones(4))
            (Array([2., 2., 2.], dtype=float32), Array([2., 2., 2., 2.], dtype=float32))
            >>> [(row.cause, row.path, row.old, row.new) for row in f.retraces()]
            [('shape', 'x', '(3,)', '(4,)')]
        """
        return list(self._history.records)

    def trace(self, *args: Any, **kwargs: Any) -> ahead.Traced:
        """Trace at the types of arguments: arrays, numbers or `ShapeDtypeStruct`."""
        check_arity(self.function, args, kwargs, "jit")
        dynamic, static, rebuild = self.options.split(self.function, args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        names = functools.partial(self._names, in_tree)
        avals = tuple(argument_types("jit", leaves, names))
        key = (in_tree, config.trace_key(), *avals)
        traced = self._trace(key if static is None else (static, *key), in_tree, avals, rebuild)
        signature = ahead.Signature(
            self.function,
            traced.jaxpr,
            traced.consts,
            in_tree,
            traced.out_tree,
            self.options.donated(dynamic, args),
            self.keep_unused,
            self.options.static_nums,
            avals,
            self.overrides,
            config.key.checks,
            () if self.shardings is None else self.shardings.of_arguments(dynamic),
            self._of_results(traced),
        )
        return ahead.Traced(signature, leaves)

    def lower(self, *args: Any, **kwargs: Any) -> ahead.Lowered:
        """Trace at the types of arguments and write the program as StableHLO."""
        return self.trace(*args, **kwargs).lower()

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the shapes and dtypes of the result without computing it."""
        return self.trace(*args, **kwargs).out_info

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        """Print as ``jit(name)``."""
        return f"<jit of {function_name(self.function)}>"

    def clear_cache(self) -> None:
        """Forget this function's traces and programs."""
        self._traces.clear()
        self._programs.clear()
        self._ready.clear()
        self._one.clear()
        self._history.clear()
        self._count = 0


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
