"""Launches with everything looked up: what a call of a compiled program does from the second time
on.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax.core.config import config
from functrax.core.source import current_source
from functrax.core.trace import as_value
from functrax.core.types import Literal, ShapedArray
from functrax.runtime.array import DeviceArray, Gone, device_array, device_arrays
from functrax.runtime.dispatch import known_number, literal_array
from functrax.runtime.guards import check_transfer
from functrax.runtime.layout import Place


class Ready(NamedTuple):
    """A compiled program with everything looked up: see `xla.executable.Executable.execute`.

    Attributes:
        execute, handlers: start it, and make raw buffers of its results.
        constants: the buffers of captured values, which come first.
        kept: picks the arguments that are passed out of all, or None for all.
        out_types: the types of its results.
        places: where they lie.
        committed: whether they stay there.
        place: where the arguments that are passed lie.
        donated: the positions of the arguments whose memory it takes, out of all.
        forwarded: for each result the position of the argument that it is, or None; None where no
            result is an argument.
        name: of the function, for messages.
        takers: where some arguments are numbers or NumPy arrays: for each that is passed its type,
            and what brings a NumPy array of this type to the device. Else None.
    """

    execute: Any
    handlers: list[Any]
    constants: list[Any]
    kept: Callable[[Any], Any] | None
    out_types: tuple[ShapedArray, ...]
    places: tuple[Place, ...]
    committed: bool
    place: Place
    donated: Sequence[int]
    forwarded: Sequence[int | None] | None
    name: str
    takers: "list[tuple[ShapedArray, Callable[[Any], Any]]] | None"

    @property
    def is_plain(self) -> bool:
        """Whether a launch is all there is to do."""
        return not self.donated and self.forwarded is None

    def launch(self, leaves: Sequence[Any], call: str = "jit") -> "list[DeviceArray] | None":
        """Run the program on arguments of the kinds that `leaf_kinds` told.

        Args:
            leaves: arrays; where the program runs on one device, numbers and NumPy arrays too.
            call: the user's transform, for messages.

        Returns:
            The results, or None where the arguments must be looked at more closely.
        """
        # Unpacked at once: each attribute of a named tuple costs as much as a small call.
        execute, handlers, constants, kept, out_types, places, committed, *_ = self
        passed = leaves if kept is None else kept(leaves)
        takers = self.takers
        if takers is None:
            buffers = [x.buffer for x in passed]
        else:
            buffers = []
            free = config.transfer_guard_host_to_device is None
            for x, (aval, take) in zip(passed, takers, strict=True):
                if type(x) is DeviceArray:
                    buffers.append(x.buffer)
                elif free and type(x) is np.ndarray and x.dtype == aval.dtype:
                    buffers.append(take(x))
                else:
                    buffers.append(self._buffer_of(x, aval, take, call))
        if constants:
            buffers = constants + buffers
        donated = self.donated
        if donated and len(set(map(id, buffers))) < len(buffers):
            return None
        results = execute(buffers).consume_with_handlers(handlers)
        if len(out_types) == 1:
            outputs = [device_array(out_types[0], results[0], places[0], committed)]
        else:
            outputs = device_arrays(out_types, results, places, committed)
        if donated:
            mark_donated(leaves, donated, self.name)
        forwarded = self.forwarded
        if forwarded is None:
            return outputs
        computed = iter(outputs)
        return [next(computed) if i is None else leaves[i] for i in forwarded]

    def _buffer_of(
        self, leaf: Any, aval: ShapedArray, take: Callable[[Any], Any], call: str
    ) -> Any:
        """Return the buffer of a number or a NumPy array."""
        device: Any = self.place
        if type(leaf) is np.ndarray:
            if leaf.dtype == aval.dtype:
                check_transfer("host_to_device", call, aval)
                return take(leaf)
        else:
            number = known_number(leaf, aval, device)
            if number is not None:
                return number.buffer
        value = as_value(leaf, call)
        if value.aval.dtype != aval.dtype:  # compiled ahead of time, under other options
            raise KeyError(value.aval)
        return (literal_array(value, device) if type(value) is Literal else value).buffer


def leaf_kinds(leaves: Sequence[Any], kind_of: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    """Return what decides how the leaves of a call's arguments are taken.

    Args:
        leaves: the leaves.
        kind_of: tells it of an array: `dispatch.get_aval`, or `get_place` among several devices.

    Returns:
        One kind for each leaf; None if one of them is neither an array, a number, nor a NumPy
        array.
    """
    if len(leaves) > _MANY:
        try:
            return tuple(map(kind_of, leaves))
        except AttributeError:  # takes as long as 30 leaves
            pass
    kinds: list[Any] = []
    for leaf in leaves:
        kind = type(leaf)
        if kind is DeviceArray:
            kinds.append(kind_of(leaf))
        elif kind in _NUMBERS:
            kinds.append(kind)
        elif kind is np.ndarray or issubclass(kind, np.generic):
            kinds.append((leaf.dtype, leaf.shape))
        else:
            return None
    return tuple(kinds)


_MANY = 16
_NUMBERS = frozenset((bool, int, float, complex))


def mark_donated(leaves: Sequence[Any], donated: Sequence[int], name: str) -> None:
    """Let donated arrays say who has their memory."""
    gone = Gone(f"donated to {name!r}", current_source(""))
    for i in donated:
        if type(leaves[i]) is DeviceArray:
            leaves[i].buffer = gone


def picker(positions: Sequence[int]) -> Callable[[Any], Any]:
    """Return a function that picks items of a list, without a Python frame (ADR 0010)."""
    if len(positions) > 1:
        return operator.itemgetter(*positions)
    first = positions[0] if positions else 0
    return operator.itemgetter(slice(first, first + len(positions)))
