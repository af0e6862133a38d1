"""Users' functions of pytrees as programs, and the programs that were made of each."""

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax.core.jaxpr import Jaxpr
from functrax.core.trace import Tracer, Value
from functrax.core.types import ShapedArray
from functrax.runtime.compile import timings
from functrax.transforms.flat import FlatFunction, argument_names, function_name
from functrax.transforms.key_reuse import check_key_reuse
from functrax.transforms.scope import outside_scopes
from functrax.transforms.stage import stage_open


class Traced(NamedTuple):
    """A function traced at one signature.

    Attributes:
        jaxpr: the program; what it captured are its leading arguments.
        consts: the captured values.
        out_tree: the structure of the result.
        captures_tracers: whether a captured value is traced by an enclosing transform.
    """

    jaxpr: Jaxpr
    consts: list[Value]
    out_tree: Any
    captures_tracers: bool

    @property
    def is_live(self) -> bool:
        """Whether what it captured still means something."""
        return not self.captures_tracers or not any(
            isinstance(c, Tracer) and c.owner.ended for c in self.consts
        )


def trace_function(
    function: Callable[..., Any],
    in_tree: Any,
    avals: Sequence[ShapedArray],
    *,
    call: str = "jit",
    rebuild: Any = None,
    static_nums: Sequence[int] = (),
    fit: Callable[[Any, list[Value]], list[Value]] | None = None,
) -> Traced:
    """Trace a function of pytrees at given argument types.

    Args:
        function: the user's function.
        in_tree: the structure of ``(args, kwargs)``.
        avals: the types of their leaves.
        call: the user's transform, for messages.
        rebuild: puts static arguments back.
        static_nums: the positions of these.
        fit: checks or changes the results: ``(their structure, results) -> results``.
    """
    flat = FlatFunction(function, in_tree, call, rebuild)

    def fitted(*values: Value) -> list[Value]:
        results = flat(*values)
        return results if fit is None else fit(flat.out_tree, results)

    names = lambda: argument_names(function, in_tree, static_nums)  # noqa: E731
    name = function_name(function)
    with timings.phase("trace"), outside_scopes():
        jaxpr, consts = stage_open(fitted, avals, transform=call, name=name, argument_names=names)
        if call in ("jit", "make_jaxpr"):
            check_key_reuse(call, jaxpr, consts, names, name)
    return Traced(jaxpr, consts, flat.out_tree, any(isinstance(c, Tracer) for c in consts))


_traced: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
_tracing_lock = threading.Lock()


def traces_of(function: Callable[..., Any]) -> dict[Any, Any]:
    """Return the traces of a function, shared by all that traces it."""
    try:
        with _tracing_lock:
            return _traced.setdefault(function, {})
    except TypeError:  # not hashable or not weakly referable: the jitted function keeps its own
        return {}


def clear_traces() -> None:
    """Forget the traces of all functions."""
    with _tracing_lock:
        for cache in _traced.values():
            cache.clear()
