"""What `jit` returns: a function that is traced once per signature, compiled, and run.

Called while another function is traced, it is one equation with its own jaxpr. Called with concrete
arrays, it is a few dictionary look-ups and one launch.
"""

import functools
import operator
import threading
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.config import config, in_force
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.trace import VALUES, Value, as_value, bind, state, vary_apart
from functrax.core.types import ShapedArray
from functrax.runtime.array import DeviceArray, device_array, device_arrays
from functrax.runtime.devices import Device, check_here
from functrax.runtime.dispatch import check_operands, get_aval, get_place
from functrax.runtime.program import Program
from functrax.runtime.ready import Ready, leaf_kinds
from functrax.runtime.transfer import place
from functrax.transforms import ahead
from functrax.transforms.flat import (
    argument_names,
    argument_types,
    check_arity,
    function_name,
    shown,
    take_name,
)
from functrax.transforms.jit_call import jit_p
from functrax.transforms.jit_shardings import (
    JitShardings,
    Leaves,
    check_placed,
    constrained,
)
from functrax.transforms.retrace import (
    Retrace,
    Signature,
    history_of,
    limit_error,
)
from functrax.transforms.static import StaticArguments
from functrax.transforms.traced import Traced, trace_function, traces_of
from functrax.xla.failure import RUNTIME_ERRORS

P = ParamSpec("P")
R = TypeVar("R")

_INEXACT = (float, complex, tuple, np.generic)  # -0.0 equals 0.0, but is another static argument
_counting = threading.Lock()
_jitted: "weakref.WeakSet[JitFunction[..., Any]]" = weakref.WeakSet()


def clear_jitted() -> None:
    """Forget the traces and programs of all functions that are jitted now."""
    with _counting:
        functions = list(_jitted)
    for function in functions:
        function.clear_cache()


def in_order(given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return arguments in the order in which `tree.flatten` takes them."""
    if len(named) > 1:
        return (*given, *[named[name] for name in sorted(named)])
    return (*given, *named.values())


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
        take_name(self, function)
        self.function = function
        self.options = options
        self.keep_unused = keep_unused
        self.inline = inline
        self.overrides = overrides
        self.shardings = shardings
        self.on = on
        self._traces = traces_of(function)
        self._programs: dict[Any, Any] = {}
        # Programs with everything looked up: for one array, for arrays (in trees or not), and for
        # whatever else a call may be given.
        self._one: dict[ShapedArray, Any] = {}
        self._arrays: dict[Any, Any] = {}
        self._ready: dict[Any, tuple[Ready, Any]] = {}
        self._is_flat = True  # no call had trees
        self._has_static = options.has_static
        self._kind_of = get_aval  # `get_place` where there are several devices
        self.max_traces = max_traces
        self._history = history_of(function)
        self._count = 0  # of traces made here; the history counts those of all jits of the function
        with _counting:
            _jitted.add(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled program for these arguments, making it first if need be."""
        if state.trace is None:
            # The warm path of arrays is written out here: each call of a Python function would
            # cost 0.2 to 0.4 us.
            try:
                if self._one and len(args) == 1 and not kwargs:
                    # One array in: nothing to loop over, which takes a fifth of the time.
                    x: Any = args[0]
                    key, execute, handlers, more, device, out_types, unflatten = self._one[x.aval]
                    if key is in_force.key:
                        results = execute([*more, x.buffer]).consume_with_handlers(handlers)
                        if unflatten is None:
                            one: Any = device_array(out_types[0], results[0], device)
                            return one
                        return unflatten(device_arrays(out_types, results, repeat(device)))
                if self._arrays:
                    given: Any = args
                    kinds: Any = ()  # of what is static
                    if self._has_static:
                        static_of, others_of = self.options.pickers[0 if kwargs else len(args)]
                        static, given = static_of(args), others_of(args)
                        kinds = (*map(type, static), *static)
                    if self._is_flat:
                        leaves: Any = in_order(given, kwargs) if kwargs else given
                        found = self._arrays[
                            in_force.key, *kinds, *kwargs, *map(self._kind_of, leaves)
                        ]
                    else:
                        leaves, in_tree = tree.flatten((given, kwargs))
                        found = self._arrays[
                            in_force.key, *kinds, in_tree, *map(self._kind_of, leaves)
                        ]
                    plain, unflatten, ready = found
                    if plain is None:
                        outputs = ready.launch(leaves)
                        if outputs is not None:
                            return outputs[0] if unflatten is None else unflatten(outputs)
                    else:
                        execute, handlers, constants, kept, out_types, places, committed = plain
                        passed = leaves if kept is None else kept(leaves)
                        buffers = constants + [x.buffer for x in passed]
                        results = execute(buffers).consume_with_handlers(handlers)
                        if unflatten is None:
                            first: Any = device_array(
                                out_types[0], results[0], places[0], committed
                            )
                            return first
                        return unflatten(device_arrays(out_types, results, places, committed))
            except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                pass  # a first call, arguments that are not arrays, elsewhere, or not valid
        try:
            return self._call(args, kwargs)
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__

    def _call(self, args: Any, kwargs: Any) -> Any:
        """Take the general way: static arguments by name, numbers, NumPy arrays; and, the first
        time or under other transforms, conversions, tracing, compiling.
        """
        dynamic, static, rebuild = self.options.split(self.function, args, kwargs)
        call: Any = None
        if state.trace is None:
            given, named = dynamic
            leaves: Sequence[Any] = in_order(given, named)
            kinds = leaf_kinds(leaves, self._kind_of)
            if kinds is not None:  # no trees: nothing to flatten
                call = (in_force.key, static, *named, *kinds)
            else:
                leaves, in_tree = tree.flatten(dynamic)
                kinds = leaf_kinds(leaves, self._kind_of)
                if kinds is not None:
                    call = (in_force.key, static, in_tree, *kinds)
            try:
                ready, unflatten = self._ready.get(call, (None, None))
            except Exception as error:  # from an `__eq__` of the user's
                raise self._incomparable(error) from error
            if ready is not None:
                try:
                    outputs = ready.launch(leaves, self.options.call)
                    if outputs is not None:
                        return outputs[0] if unflatten is None else unflatten(outputs)
                except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                    pass  # as above
        if config.disable_jit:
            function: Callable[..., Any] = self.function
            return function(*args, **kwargs)
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
        wanted: Leaves = ()
        if self.shardings is not None:
            wanted = self.shardings.of_arguments(dynamic)
            name_of = lambda i: self._names(in_tree)[i]  # noqa: E731
            check_placed("jit", values, wanted, name_of)
        if state.trace is not None:
            traced = self._trace(key, in_tree, avals, rebuild)
            if wanted:
                values = constrained(values, wanted)
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
                in_shardings=wanted,
                out_shardings=self._of_results(traced),
            )
            found = self._programs[key] = (program, traced.out_tree)
        program, out_tree = found
        if self.on is not None:
            check_here((self.on,), function_name(self.function))
            values = [place(x, self.on) for x in values]
            return out_tree.unflatten(program.run_on(self.on, values))
        results = program.run(values)
        if call is not None:
            self._prepare(call, args, dynamic, leaves, values, program, out_tree)
        return out_tree.unflatten(results)

    def _incomparable(self, error: Exception) -> errors.HashError:
        """Return the error for static arguments that do not tell whether they are equal."""
        return errors.HashError(
            self.options.call,
            f"static arguments of {function_name(self.function)!r} that `==` compares",
            f"{type(error).__name__}: {error}",
            fix="Let their `__eq__` return a bool.",
        )

    def _of_results(self, traced: Traced) -> Leaves:
        if self.shardings is None:
            return ()
        return self.shardings.of_results(traced.out_tree, traced.jaxpr.out_avals)

    def _names(self, in_tree: Any) -> list[str]:
        return argument_names(self.function, in_tree, self.options.static_nums)

    def _prepare(
        self,
        call: tuple[Any, ...],
        args: tuple[Any, ...],
        dynamic: tuple[Any, dict[str, Any]],
        leaves: Sequence[Any],
        values: Sequence[Value],
        program: Program,
        out_tree: Any,
    ) -> None:
        """Let the next call of this kind go straight to the executable."""
        if self._kind_of is get_aval and any(
            type(x.device) is not Device or x.device.has_peers
            for x in values
            if type(x) is DeviceArray
        ):
            self._kind_of = get_place
            self._one.clear()
            return  # the next call of this kind has another key
        given, named = dynamic
        flat = in_order(given, named)
        is_flat = len(flat) == len(leaves) and all(map(operator.is_, flat, leaves))
        if self._is_flat and not is_flat:
            self._is_flat = False
            self._ready.clear()  # so that calls without trees are prepared for it too
            self._arrays.clear()
        ready = program.ready(leaves, values)
        if ready is None:
            return
        unflatten = None if out_tree == tree.LEAF else out_tree.unflatten
        self._ready[call] = (ready, unflatten)
        kinds: list[Any] = []
        if self._has_static:
            pickers = self.options.pickers.get(0 if len(dynamic[1]) else len(args))
            if pickers is None:
                return
            static = pickers[0](args)
            if any(isinstance(x, _INEXACT) for x in static):
                return
            kinds += [*map(type, static), *static]
        if any(type(x) is not DeviceArray for x in leaves):
            return
        kinds += [*named] if self._is_flat else [tree.structure(dynamic)]
        kinds += map(self._kind_of, leaves)
        plain = ready[:7] if ready.is_plain else None
        self._arrays[call[0], *kinds] = (plain, unflatten, ready)
        alone = self._is_flat and len(args) == len(leaves) == 1 and self._kind_of is get_aval
        if alone and plain and not ready.kept:
            (x,) = leaves
            self._one[x.aval] = (call[0], *ready[:3], x.device, ready.out_types, unflatten)

    def _value(self, leaf: Any, index: int, in_tree: Any) -> Value:
        try:
            return as_value(leaf, self.options.call)
        except (errors.IntegerOverflowError, errors.TransferError):
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
        try:
            traced = self._traces.get(key)
        except Exception as error:
            raise self._incomparable(error) from error
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
            in_force.key.checks,
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

    def __copy__(self) -> "JitFunction[P, R]":
        """Return itself: beside caches it holds nothing that changes."""
        return self

    def __deepcopy__(self, memo: Any) -> "JitFunction[P, R]":
        """Return itself, as for `copy.copy`; so are functions copied."""
        return self

    def __reduce__(self) -> str:
        """Pickle by name, as functions are: a jitted function of a module."""
        return getattr(self, "__qualname__", function_name(self.function))

    def __repr__(self) -> str:
        """Print as ``jit(name)``."""
        return f"<jit of {function_name(self.function)}>"

    def clear_cache(self) -> None:
        """Forget this function's traces and programs."""
        self._traces.clear()
        self._programs.clear()
        self._ready.clear()
        self._arrays.clear()
        self._one.clear()
        self._history.clear()
        self._count = 0
