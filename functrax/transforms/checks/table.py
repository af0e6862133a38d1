"""What a program with checks returns beside its results, and how it is read.

The state is a few small arrays: a code, 0 as long as nothing has failed and else the number of the
record that failed first; the step of each loop around that, the outermost first and -1 where there
is no loop; and the values that messages show. Records of the same types of values share these.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core.primitive import registry
from functrax.core.source import Source, current_source
from functrax.core.trace import Value, bind, state
from functrax.core.types import NO_AXES, Literal, ShapedArray
from functrax.primitives.check import Place
from functrax.primitives.rules import scalar, zeros

INT32 = ShapedArray((), np.dtype(np.int32))
Payload = tuple[ShapedArray, ...]


class NumberCheck(NamedTuple):
    """That results of an equation are numbers, or a divisor not zero.

    Attributes:
        kind: "nan", "inf" or "div".
        primitive: the operation.
    """

    kind: str
    primitive: str

    def error(self, values: Sequence[Any], place: Place) -> errors.FunctraxError:
        """Return the error."""
        error, expected, got, fix = _NUMBERS[self.kind]
        text = f"{got} {self.primitive!r} {place}"
        return error(place.call, expected, text, where=place.line, fix=fix)


_LOOK = "Look at what this line computes on"
_NUMBERS: dict[str, tuple[type[errors.FunctraxError], str, str, str]] = {
    "nan": (
        errors.NonFiniteError,
        "no NaN",
        "one from",
        f"{_LOOK}, or keep such values from it with `jnp.where` before it.",
    ),
    "inf": (
        errors.NonFiniteError,
        "no infinity",
        "one from",
        f"{_LOOK}: is it too large, or a division by zero?",
    ),
    "div": (
        errors.DivisionError,
        "a divisor that is not zero",
        "zero in",
        "Guard the divisor with `jnp.where` before the division.",
    ),
}


class Record(NamedTuple):
    """What can fail in one place of a program.

    Attributes:
        check: makes the error.
        source: the user's line, or None.
        first, length: where its values are among those of the state.
    """

    check: Any
    source: Source | None
    first: int
    length: int


class Layout(NamedTuple):
    """The types of a state.

    Attributes:
        depth: how many loops are inside of each other.
        payloads: the types of the values of each kind of record that has any.
        varying: the axes along which each device has a state of its own.
    """

    depth: int
    payloads: tuple[Payload, ...]
    varying: frozenset[Any] = NO_AXES

    @property
    def types(self) -> list[ShapedArray]:
        """The type of each part of the state."""
        found = [INT32] * (1 + self.depth) + [aval for one in self.payloads for aval in one]
        return [aval.update(varying=self.varying) for aval in found] if self.varying else found

    def place(self, payload: Payload) -> int | None:
        """Return where the values of a record with these types start in the state, if it has any
        such.
        """
        if payload not in self.payloads:
            return None
        before = self.payloads[: self.payloads.index(payload)]
        return 1 + self.depth + sum(map(len, before))

    def start(self) -> list[Value]:
        """Return the state before anything has failed."""
        values = [zeros(aval) for aval in self.types]
        values[1 : 1 + self.depth] = [scalar(-1, INT32.dtype)] * self.depth
        return values


class Table:
    """The records of one program: what the numbers in its state mean.

    Args:
        name: of the function.
        layout: the types of the state.
        records: by code, from 1.
    """

    __slots__ = ("layout", "name", "records")

    def __init__(self, name: str, layout: Layout, records: Sequence[Record]) -> None:
        """Keep the parts."""
        self.name = name
        self.layout = layout
        self.records = records

    def error(self, values: Sequence[Any]) -> errors.FunctraxError | None:
        """Return the error that a state of known values stands for, or None."""
        code = int(values[0])
        if not code:
            return None
        record = self.records[code - 1]
        steps = [int(x) for x in values[1 : 1 + self.layout.depth]]
        # A program of one eager operation has no line of its own: it is the one that runs now.
        source = record.source or state.source or current_source(state.scope)
        place = Place(self.name, source, tuple(step for step in steps if step >= 0))
        shown = values[record.first : record.first + record.length]
        return record.check.error([np.asarray(x) for x in shown], place)


# The state as values of a program -----------------------------------------------------------------


def apply(name: str, *operands: Value, **params: Any) -> Value:
    """Bind a primitive of one result."""
    return bind(registry[name], *operands, **params)[0]


def failing(
    state: Sequence[Value], bad: Value, code: int, first: int, values: Sequence[Value]
) -> list[Value]:
    """Return the state after a check, which counts if it is the first that fails."""
    hit = apply("and", bad, apply("eq", state[0], scalar(0, INT32.dtype)))
    after = list(state)
    after[0] = apply("select_n", hit, state[0], scalar(code, INT32.dtype))
    for place, value in enumerate(values, first):
        frozen = apply("stop_gradient", value) if type(value) is not Literal else value
        after[place] = apply("select_n", hit, state[place], frozen)
    return after


def stepped(layout: Layout, before: Value, after: Sequence[Value], step: Value) -> list[Value]:
    """Put the step of a loop in front of those of the loops in it, if something failed in it."""
    fresh = apply("eq", before, scalar(0, INT32.dtype))
    hit = apply("and", fresh, apply("ne", after[0], scalar(0, INT32.dtype)))
    steps = after[1 : 1 + layout.depth]
    moved = [
        apply("select_n", hit, old, new) for old, new in zip(steps, [step, *steps], strict=False)
    ]
    return [after[0], *moved, *after[1 + layout.depth :]]
