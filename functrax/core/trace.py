"""The dispatcher: `bind` hands an operation to the thread's current trace, or evaluates it at once
when there is none.

A trace is an interpreter (stage, jvp, record, batch). It knows its own tracers by identity and
treats every other value as a constant; while one of its rules runs, the trace it was made under is
current. So there are no levels to compare: the nesting of transforms is the chain of parents.
"""

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.operators import ArrayOperators
from functrax.core.primitive import Primitive, registry
from functrax.core.source import Source
from functrax.core.types import Literal, ShapedArray

Value = Any
"""An operand of `bind`: an Array, a Tracer or a Literal; all have `.aval`."""


class NamedAxis(NamedTuple):
    """An axis in scope, along which collectives work.

    Attributes:
        name: any hashable value.
        size: the number of positions.
        exact: whether types say which values differ along it, so that gradients through collectives
            are what mathematics says. It is not under `vmap` and `pmap` with JAX's convention.
        mesh: the mesh that it is an axis of, if devices are its positions.
        diverging: whether devices along it go different ways here: in a branch or loop that is
            decided by what varies.
    """

    name: Any
    size: int
    exact: bool = False
    mesh: Any = None
    diverging: bool = False


class _State(threading.local):
    """What is current in this thread.

    Attributes:
        trace: the interpreter that receives operations, or None to evaluate.
        source: a location that new equations take instead of the running frame's (while a program
            is transformed).
        scope: the `named_scope` path, ``"a/b"``.
        axes: the named axes in scope, innermost last.
    """

    trace: "Trace | None" = None
    source: Source | None = None
    scope: str = ""
    axes: tuple[NamedAxis, ...] = ()


state = _State()


def _unwired(*args: Any) -> Any:
    raise errors.InternalError("bind", "`import functrax` before use", "no eager interpreter")


_evaluate: Callable[[Primitive, tuple[Value, ...], dict[str, Any]], Any] = _unwired
_convert: Callable[[Any, str], Value] = _unwired


def install_evaluator(
    evaluate: Callable[[Primitive, tuple[Value, ...], dict[str, Any]], Any],
    convert: Callable[[Any, str], Value],
) -> None:
    """Wire the eager interpreter in (called once, by ``functrax/__init__``).

    Args:
        evaluate: applies a primitive to concrete operands.
        convert: makes an operand of a NumPy array or Python scalar, or raises for the function
            named.
    """
    global _evaluate, _convert
    _evaluate = evaluate
    _convert = convert


def as_value(x: Any, call: str) -> Value:
    """Return an operand for `bind`: arrays and tracers as they are, anything array-like converted.

    Args:
        x: an array, tracer, NumPy array or Python scalar.
        call: the user's function, for the error message.

    Raises:
        ArgumentError: if `x` is none of these.
    """
    return x if isinstance(x, VALUES) else _convert(x, call)


def bind(primitive: Primitive, *operands: Value, **params: Any) -> Any:
    """Apply a primitive to operands under the current trace and return the tuple (or list) of its
    results.
    """
    trace = state.trace
    if trace is None:
        return _evaluate(primitive, operands, params)
    if state.axes and len(operands) > 1 and primitive.axis_names is None:
        operands = _alike(operands)
    return trace.process(primitive, operands, params)


def _alike(operands: tuple[Value, ...]) -> tuple[Value, ...]:
    """Make operands vary along the same axes, so that the operation is one on each device alone.

    What the operation is transposed to then reaches a replicated operand through the transpose of
    `pvary`, which is the sum over the devices. Literals have no gradient and stay.
    """
    first = operands[0].aval.varying
    if all(x.aval.varying is first for x in operands):
        return operands
    union = first.union(*[x.aval.varying for x in operands])
    return tuple([x if isinstance(x, Literal) else vary(x, union) for x in operands])


def vary(x: Value, axes: frozenset[Any]) -> Value:
    """Return a value as one that varies along (at least) some axes."""
    missing = axes - x.aval.varying
    if not missing:
        return x
    order = tuple(axis.name for axis in state.axes if axis.name in missing)
    return bind(registry["pvary"], x, axes=order)[0]


class Trace:
    """An interpreter of operations.

    Args:
        parent: the trace that was current when this one was made, which runs what this one's rules
            compute.
    """

    __slots__ = ("__weakref__", "ended", "parent")

    def __init__(self, parent: "Trace | None") -> None:
        """Start as live."""
        self.parent = parent
        self.ended = False

    name = "trace"

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> Any:
        """Interpret one operation and return the sequence of its results."""
        raise NotImplementedError


@contextlib.contextmanager
def current(trace: Trace | None) -> Generator[None, None, None]:
    """Make a trace current for the block."""
    saved = state.trace
    state.trace = trace
    try:
        yield
    finally:
        state.trace = saved


@contextlib.contextmanager
def named_axes(*axes: NamedAxis) -> Generator[None, None, None]:
    """Put named axes in scope for the block."""
    saved = state.axes
    state.axes = (*saved, *axes)
    try:
        yield
    finally:
        state.axes = saved


def vary_apart(values: list[Value]) -> list[Value]:
    """Return operands of a program that is traced here: where devices go different ways, they vary.

    What its types say of them then is what holds.
    """
    apart = frozenset([axis.name for axis in state.axes if axis.diverging])
    return [vary(x, apart) for x in values] if apart else values


@contextlib.contextmanager
def diverging(names: frozenset[Any]) -> Generator[None, None, None]:
    """Let devices along some axes go different ways in the block."""
    saved = state.axes
    state.axes = tuple([a._replace(diverging=a.diverging or a.name in names) for a in saved])
    try:
        yield
    finally:
        state.axes = saved


def axis_of(name: Any, call: str) -> NamedAxis:
    """Return a named axis in scope.

    Raises:
        AxisNameError: if no enclosing transform binds the name.
    """
    for axis in reversed(state.axes):
        if axis.name == name:
            return axis
    names = ", ".join(repr(axis.name) for axis in state.axes) or "none"
    raise errors.AxisNameError(
        call,
        "an axis name bound by an enclosing vmap, pmap or shard_map",
        f"{name!r}; axes in scope: {names}",
        fix=f"Call it inside `vmap(f, axis_name={name!r})`.",
    )


class Array(ArrayOperators):
    """The public array type: what functions take, give and see while they are traced.

    Concrete arrays and tracers both are instances, so ``isinstance(x, functrax.Array)`` holds
    inside and outside of transforms. Operators and methods are those of NumPy; they are installed
    from one table.
    """

    __slots__ = ()
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]  # elementwise == forbids hashing
    aval: ShapedArray

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        """The element type."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.aval.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.aval.size

    @property
    def weak_type(self) -> bool:
        """Whether the dtype yields to others in promotion, as a Python scalar's does."""
        return self.aval.weak_type

    @property
    def itemsize(self) -> int:
        """The bytes of one element."""
        return self.aval.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.aval.size * self.aval.dtype.itemsize

    def __len__(self) -> int:
        """Return the size of the first axis."""
        if not self.aval.shape:
            raise errors.ShapeError("len", "an array with at least one axis", f"{self.aval!r}")
        return self.aval.shape[0]


def install_operators(table: dict[str, Any]) -> None:
    """Give arrays and tracers their operators and methods (called once, by ``functrax/__init__``).

    Args:
        table: name -> function or property.
    """
    for name, member in table.items():
        setattr(Array, name, member)


_KEEP = "Keep it an array (`.astype({})`), or compute it outside of the transform."


class Tracer(Array):
    """A value that stands for an array while a function is traced.

    Subclasses set `aval` and `owner`, the trace that made it, and say what they know of the
    concrete value.
    """

    __slots__ = ("aval", "owner")
    owner: Trace

    def __copy__(self) -> "Tracer":
        """Return itself: a traced value never changes."""
        return self

    def __deepcopy__(self, memo: Any) -> "Tracer":
        """Return itself, as for `copy.copy`."""
        return self

    def __reduce__(self) -> Any:
        """Refuse to be pickled."""
        fix = "Return it from the transformed function, and pickle the result."
        raise errors.TracerArrayError(
            self.owner.name, "a concrete array to pickle", describe(self), fix=fix
        )

    def concrete(self) -> Array | None:
        """Return the concrete array this tracer stands for, if it has one."""
        return None

    def origin(self) -> str:
        """Say where the value was made, for error messages."""
        return ""

    def _concrete_for(self, kind: type[errors.TracerError], used: str, fix: str) -> Any:
        check_live(self, used)
        found = self.concrete()
        if found is None:
            raise kind(self.owner.name, "a concrete value " + used, describe(self), fix=fix)
        return found

    def _number_for(self, used: str, fix: str) -> Any:
        """Return the concrete value for what would cut a real or complex number out of the
        program: its derivative would be lost.
        """
        found = self._concrete_for(errors.TracerArrayError, used, fix)
        if dtypes.is_inexact(self.aval.dtype):
            raise errors.TracerArrayError(
                self.owner.name,
                f"a value without a derivative {used}",
                describe(self),
                fix="Keep it an array, or cut the derivative off with `lax.stop_gradient(x)`.",
            )
        return found

    def __bool__(self) -> bool:
        """Give the truth value if it is known."""
        fix = (
            "Use `jnp.where` or `lax.cond` for a choice, `lax.while_loop` for a loop, or mark the "
            "argument static (`static_argnums`)."
        )
        return bool(
            self._concrete_for(errors.TracerBoolError, "to decide Python control flow", fix)
        )

    def __index__(self) -> int:
        """Give the Python integer if it is known."""
        fix = (
            "Use `lax.fori_loop`, `x[i]` on a functrax array, or mark the argument static "
            "(`static_argnums`)."
        )
        return self._concrete_for(errors.TracerIndexError, "as a Python integer", fix).__index__()

    def __int__(self) -> int:
        """Convert to int if the value is known."""
        fix = _KEEP.format("int")
        return int(self._concrete_for(errors.TracerArrayError, "to make a Python int", fix))

    def __float__(self) -> float:
        """Convert to float if the value is known, and has no derivative."""
        return float(self._number_for("to make a Python float", _KEEP.format("float")))

    def __complex__(self) -> complex:
        """Convert to complex if the value is known, and has no derivative."""
        return complex(self._number_for("to make a Python complex", _KEEP.format("complex")))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Refuse: a NumPy array would cut the value out of the program."""
        check_live(self, "as a NumPy array")
        raise errors.TracerArrayError(
            self.owner.name,
            "a concrete value to make a NumPy array",
            describe(self),
            fix="Use functrax.numpy instead of numpy on traced values.",
        )

    def item(self, *args: int) -> Any:
        """Return a Python scalar if the value is known."""
        fix = "Return the array, and take `.item()` outside of the transform."
        return self._concrete_for(errors.TracerArrayError, "for `.item()`", fix).item(*args)

    def tolist(self) -> Any:
        """Return nested lists if the values are known, and have no derivative."""
        fix = "Return the array, and take `.tolist()` outside of the transform."
        return self._number_for("for `.tolist()`", fix).tolist()

    def __format__(self, spec: str) -> str:
        """Format the value as a number if it is known, and has no derivative; without a format,
        print the type.
        """
        if not spec:
            return repr(self)
        fix = "Return the array, and format it outside of the transform."
        return format(self._number_for(f"for the format {spec!r}", fix), spec)

    def __hash__(self) -> int:
        """Refuse: traced values are not known, so they cannot be dictionary keys."""
        raise errors.HashError(
            self.owner.name,
            "a hashable value as a dict key, set member or cache key",
            describe(self),
            fix="Use a static argument, or a Python value, as the key.",
        )

    def __repr__(self) -> str:
        """Print the type and the transform."""
        return f"Tracer<{self.aval!r} in {self.owner.name}>"


VALUES = (Array, Literal)
"""What `bind` takes. JAX's arrays have an `aval` too, so asking for that is not enough."""


def describe(value: Any) -> str:
    """Describe a value for an error message: its type, and where it was made if it is traced."""
    if isinstance(value, Tracer):
        origin = value.origin()
        text = f"a traced {value.aval!r}"
        return f"{text} made at {origin}" if origin else text
    if hasattr(value, "aval"):
        return f"{value.aval!r}"
    return f"{value!r} of type {errors.type_name(value)}"


def check_live(tracer: Tracer, used: str) -> None:
    """Raise unless the tracer's trace is still running.

    Raises:
        LeakedTracerError: naming where the value was made and where it is used.
    """
    if tracer.owner.ended:
        raise leaked(tracer, used)


def leaked(tracer: Tracer, used: str = "in a later computation") -> errors.LeakedTracerError:
    """Return the error for a tracer that outlived its transform, or is used where that ends."""
    if not tracer.owner.ended:
        return errors.LeakedTracerError(
            tracer.owner.name,
            "traced values to stay where the transform follows them: not in what a custom_jvp or "
            "custom_vjp function or its rules close over, nor in other threads",
            f"{describe(tracer)}, used elsewhere",
            fix="Pass it to the function as an argument.",
        )
    return errors.LeakedTracerError(
        tracer.owner.name,
        "values made inside a transformed function to stay inside it",
        f"{describe(tracer)}, used {used} after the transform ended",
        fix="Return it from the function instead of storing it outside (a global, a closure, an "
        "attribute, a list).",
    )
