"""Recognizing a function of two scalars that the user gives by the operation it applies."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.primitive import Primitive
from functrax.core.trace import Trace, Tracer, Value, current, state
from functrax.core.types import ShapedArray


class _Probe(Trace):
    """Notes the operations that a function applies to its arguments."""

    __slots__ = ("name", "seen")

    def __init__(self, name: str) -> None:
        super().__init__(state.trace)
        self.name = name
        self.seen: list[tuple[str, Sequence[Value], Value]] = []

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> list[Value]:
        """Note the operation."""
        types = [operand.aval for operand in operands]
        results = [_Scalar(self, aval) for aval in primitive.abstract_eval(*types, **params)]
        self.seen.append((primitive.name, operands, results[0]))
        return results


class _Scalar(Tracer):
    """A scalar that a probe hands to the function."""

    __slots__ = ()

    def __init__(self, trace: Trace, aval: ShapedArray) -> None:
        self.owner = trace
        self.aval = aval


def known_operation(call: str, function: Callable[..., Any], dtype: Any) -> str | None:
    """Return the name of the primitive that a function of two scalars applies.

    Args:
        call: the user's function, for messages.
        function: takes two scalars and returns one.
        dtype: theirs.

    Returns:
        The name, or None if the function does anything else than apply one primitive to its two
        arguments and return the result.
    """
    probe = _Probe(call)
    x, y = (_Scalar(probe, ShapedArray((), dtype)) for _ in range(2))
    try:
        with current(probe):
            result = function(x, y)
    finally:
        probe.ended = True
    if len(probe.seen) != 1:
        return None
    name, operands, last = probe.seen[0]
    both = len(operands) == 2 and {id(v) for v in operands} == {id(x), id(y)}
    return name if both and result is last else None
