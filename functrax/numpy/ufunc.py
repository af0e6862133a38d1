"""How elementwise functions are made from table rows: promotion in front of one primitive.

The common case, two arrays of one type, is one comparison by identity before `bind`; a Python
number beside an array is one look-up.
"""

from collections.abc import Callable
from math import copysign
from typing import Any

from functrax.core import dtypes
from functrax.core.config import in_force
from functrax.core.primitive import Primitive
from functrax.core.trace import Array, Value, bind, state
from functrax.core.types import Literal, ShapedArray
from functrax.numpy.operands import (
    ACCEPTED,
    align,
    inexact,
    literals,
    mixes,
    numeric,
    of_one_dtype,
    refuse_keys,
    two_operands,
)
from functrax.runtime.array import device_array
from functrax.runtime.dispatch import evaluate
from functrax.transforms.fuse import fuse
from functrax.xla.failure import RUNTIME_ERRORS

Unary = Callable[[Any], Array]
_CONTAINERS = (list, tuple, set, dict)

ALL = frozenset(dtypes.NUMBERS)
NUMBERS = ALL - {dtypes.bool_}
INEXACT = frozenset(dtypes.FLOATS + dtypes.COMPLEXES)
REAL = NUMBERS - frozenset(dtypes.COMPLEXES)
ORDERED = ALL - frozenset(dtypes.COMPLEXES)


def document(
    function: Any, name: str, summary: str, arguments: str, returns: str, example: tuple[str, str]
) -> None:
    """Give a function made from a row its name and docstring."""
    function.__name__ = function.__qualname__ = name
    # Functions of rows share their code; with one of its own, tracebacks and errors name it.
    function.__code__ = function.__code__.replace(co_name=name, co_qualname=name)
    function.__module__ = "functrax.numpy"
    call, result = example
    shown = f"\n\n    Example:\n        >>> jnp.{call}\n        {result}" if call else ""
    function.__doc__ = (
        f"{summary}\n\n    Args:\n{arguments}\n\n    Returns:\n        {returns}{shown}\n    "
    )


_UNARY_ARGUMENTS = "        x: array of any shape, or a number{kinds}."
_BINARY_ARGUMENTS = (
    "        x1: array or number{kinds}.\n"
    "        x2: the same; dtypes are promoted and shapes broadcast."
)


def unary(
    name: str,
    primitive: Primitive,
    summary: str,
    *,
    direct: frozenset[Any] = ALL,
    to_float: bool = False,
    otherwise: Callable[[Value], Value] | None = None,
    kinds: str = "",
    returns: str = "An array of the same shape.",
    example: tuple[str, str] = ("", ""),
) -> Unary:
    """Make an elementwise function of one array.

    Args:
        name: its name.
        primitive: what it applies.
        summary: the first line of its docstring.
        direct: the dtypes that the primitive takes as they are.
        to_float: whether integers are converted to floats first.
        otherwise: what is done with an operand of another dtype, after that conversion.
        kinds: a remark on dtypes for the docstring.
        returns: what it returns, for the docstring.
        example: a call and its printed result, for the docstring.
    """

    def general(x: Value) -> Array:
        x = inexact(x, name) if to_float else x
        if otherwise is not None and x.aval.dtype not in direct:
            return otherwise(x)
        return bind(primitive, x)[0]

    general.__name__ = name
    fused = fuse(general)

    def function(x: Any, /) -> Array:
        if state.trace is None:  # what `evaluate` does, without its frame: see ADR 0010
            try:
                aval, device = x.aval, x.device
                committed = x.committed
                if aval.dtype in direct and in_force.key.plain and (committed or device.is_default):
                    execute, handlers, out_types = device.programs[primitive, aval]
                    buffer = execute([x.buffer]).consume_with_handlers(handlers)[0]
                    return device_array(out_types[0], buffer, device, committed)
            except (AttributeError, KeyError, TypeError, *RUNTIME_ERRORS):
                pass  # a first call, or not an array
        aval = getattr(x, "aval", None)
        if type(aval) is ShapedArray and aval.dtype in direct:
            return bind(primitive, x)[0]
        x = numeric(x, name)
        return fused(x) if to_float and x.aval.dtype not in direct else general(x)

    document(function, name, summary, _UNARY_ARGUMENTS.format(kinds=kinds), returns, example)
    return function


class Operation:
    """An elementwise operation on two arrays: the function, and Python's operators made from it.

    Args:
        name: the function's name.
        primitive: what it applies.
        summary: the first line of its docstring.
        direct: the dtypes that the primitive takes as they are.
        to_float: whether integers are converted to floats first.
        otherwise: what is done with promoted operands of other dtypes.
        keys: whether it takes PRNG keys too.
        kinds: a remark on dtypes for the docstring.
        example: a call and its printed result, for the docstring.
    """

    __slots__ = ("direct", "function", "general", "primitive")

    def __init__(
        self,
        name: str,
        primitive: Primitive,
        summary: str,
        *,
        direct: frozenset[Any] = ALL,
        to_float: bool = False,
        otherwise: Callable[[Value, Value], Value] | None = None,
        keys: bool = False,
        kinds: str = "",
        example: tuple[str, str] = ("", ""),
    ) -> None:
        self.primitive = primitive
        self.direct = direct

        def apply(x1: Value, x2: Value) -> Array:
            x1, x2 = align(name, *of_one_dtype(name, x1, x2, to_float))
            if x1.aval.dtype not in direct:
                if not keys:
                    refuse_keys(name, x1)
                if otherwise is not None:
                    return otherwise(x1, x2)
            return bind(primitive, x1, x2)[0]

        apply.__name__ = name
        fused = fuse(apply)

        def general(x1: Any, x2: Any) -> Array:
            x1, x2 = two_operands(name, x1, x2, to_float)
            left, right = x1.aval, x2.aval
            fits = left.ndim == right.ndim or not left.ndim or not right.ndim
            if fits and left.dtype is right.dtype and left.dtype in direct:
                return bind(primitive, x1, x2)[0]
            return fused(x1, x2)

        def function(x1: Any, x2: Any, /) -> Array:
            aval = getattr(x1, "aval", None)
            if type(aval) is ShapedArray and aval.dtype in direct:
                if getattr(x2, "aval", None) is aval:
                    return bind(primitive, x1, x2)[0]
                number = _number(x2, aval)
                if number is not None:
                    return bind(primitive, x1, number)[0]
            return general(x1, x2)

        returns = "An array of the common shape."
        document(function, name, summary, _BINARY_ARGUMENTS.format(kinds=kinds), returns, example)
        self.general = general
        self.function = function

    def operator(self, name: str) -> Callable[[Any, Any], Any]:
        """Return the method for ``self OP other``, which leaves foreign types to the other side."""
        primitive, direct, general = self.primitive, self.direct, self.general

        def method(self: Any, other: Any) -> Any:
            aval = self.aval
            found = getattr(other, "aval", None)
            if found is aval:
                if aval.dtype in direct:
                    if state.trace is None:
                        return evaluate(primitive, (self, other), {})[0]
                    return bind(primitive, self, other)[0]
            elif found is None:
                kind = type(other)
                if kind is float or kind is int:
                    number = literals.get((other, kind, aval.dtype))
                    if (
                        number is not None
                        and aval.dtype in direct
                        and (other or not _negative(other))
                    ):
                        if state.trace is None:
                            return evaluate(primitive, (self, number), {})[0]
                        return bind(primitive, self, number)[0]
                elif (
                    not isinstance(other, ACCEPTED)
                    and not hasattr(other, "__jax_array__")
                    # Python would answer with identity: x == [1, 2] would be False.
                    and not (name in ("__eq__", "__ne__") and isinstance(other, _CONTAINERS))
                ):
                    return NotImplemented
            return general(self, other)

        return _named(method, name)

    def reflected(self, name: str) -> Callable[[Any, Any], Any]:
        """Return the method for ``other OP self``."""
        primitive, direct, general = self.primitive, self.direct, self.general

        def method(self: Any, other: Any) -> Any:
            aval = self.aval
            kind = type(other)
            if kind is float or kind is int:
                number = literals.get((other, kind, aval.dtype))
                if number is not None and aval.dtype in direct and (other or not _negative(other)):
                    return bind(primitive, number, self)[0]
            elif not mixes(other) and not hasattr(other, "__jax_array__"):
                return NotImplemented
            return general(other, self)

        return _named(method, name)


def _number(x: Any, aval: ShapedArray) -> Literal | None:
    """Return a Python number as a literal of the dtype it meets, if it is known."""
    kind = type(x)
    if (kind is float or kind is int) and (x or not _negative(x)):
        return literals.get((x, kind, aval.dtype))
    return None


def _negative(zero: float) -> bool:
    """Tell -0.0, which equals 0.0 as a key."""
    return copysign(1.0, zero) < 0


def _named(method: Any, name: str) -> Any:
    method.__name__ = name
    method.__qualname__ = f"Array.{name}"
    return method
