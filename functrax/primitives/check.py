"""`check`: an equation without results that fails where its first operand is true.

What fails is a value of the program: `checking.checkify` and the debug options thread it through
(see ``transforms/checks``), and a program that is compiled without them refuses. Evaluated eagerly,
a check raises at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.primitive import NOT_LINEAR, BatchAxis, declare, registry
from functrax.core.source import Source, current_source, is_backward
from functrax.core.trace import Value, bind, state
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.rules import Dim, Tangent, move_batch_axis, reshape, scalar

_INT = np.dtype(np.int32)


class Place(NamedTuple):
    """Where a check failed.

    Attributes:
        call: the function whose program it is in.
        source: the user's line, or None.
        steps: the step of each loop around it, the outermost first; not known outside of programs.
    """

    call: str
    source: Source | None
    steps: tuple[int, ...] = ()

    @property
    def line(self) -> str:
        """The user's ``file:line``."""
        return str(self.source) if self.source is not None else ""

    def __str__(self) -> str:
        """Print as ``at iteration 3 in the forward pass``."""
        which = "backward" if is_backward(self.source) else "forward"
        if not self.steps:
            return f"in the {which} pass"
        if len(self.steps) == 1:
            return f"at iteration {self.steps[0]} in the {which} pass"
        numbers = ", ".join(map(str, self.steps))
        return f"at iterations {numbers} (the outermost loop first) in the {which} pass"


class UserCheck:
    """What a call of `checking.check` says.

    Args:
        text: the format string.
        structure: that of ``(args, kwargs)``, the format's arguments.
        debug: whether it counts only where something handles it.
    """

    __slots__ = ("debug", "structure", "text")
    kind = "user"

    def __init__(self, text: str, structure: Any, debug: bool) -> None:
        """Keep the parts."""
        self.text = text
        self.structure = structure
        self.debug = debug

    def error(self, values: Sequence[Any], place: Place) -> errors.FunctraxError:
        """Return the error, with the values in the text if they are at hand."""
        text = self.text
        if len(values) == self.structure.num_leaves:
            args, kwargs = self.structure.unflatten([x[()] for x in values])
            text = text.format(*args, **kwargs)
        return errors.CheckError("check", text, str(place), where=place.line)

    def __repr__(self) -> str:
        """Print the text."""
        return repr(self.text)


class BoundsCheck(NamedTuple):
    """That an index lies within an axis.

    Attributes:
        call: the user's function.
        axis: the axis of the array.
        size: its size.
        span: how many elements are taken from the index on.
    """

    call: str
    axis: int
    size: int
    span: int

    kind = "index"
    debug = False

    def error(self, values: Sequence[Any], place: Place) -> errors.FunctraxError:
        """Return the error, with the index as the user gave it."""
        what = "an index" if self.span == 1 else f"the start of {self.span} elements"
        index = int(values[0]) if values else "another"
        return errors.BoundsError(
            self.call,
            f"{what} within axis {self.axis} of size {self.size}",
            f"{index} {place}",
            where=place.line,
            fix="Mend the index, or say with `mode=` what happens outside of the array.",
        )


# The primitive: operands are whether it fails, and the values that its message shows --------------


def _abstract_eval(bad: ShapedArray, *values: ShapedArray, check: Any) -> tuple[()]:
    if bad.shape or not dtypes.is_bool(bad.dtype):
        raise errors.ShapeError("check", "one boolean scalar", repr(bad))
    return ()


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], *, check: Any) -> Any:
    """Check the primals."""
    bind(check_p, *primals, check=check)
    return [], []


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, check: Any) -> Any:
    """Fail if any lane does, with the values of the first that does."""
    if axis.size == 0:
        return [], []
    moved = [
        x if d is None else move_batch_axis(axis, x, d) for x, d in zip(operands, dims, strict=True)
    ]
    bad, *values = moved
    first: Value = scalar(0, _INT)
    if dims[0] is not None:
        bad, first = first_true(bad)
    shown = [x if d is None else element(x, first) for x, d in zip(values, dims[1:], strict=True)]
    bind(check_p, bad, *shown, check=check)
    return [], []


def _evaluate(bad: Any, *values: Any, check: Any) -> list[Value]:
    if not check.debug and bool(_on_host(bad)):
        source = state.source or current_source(state.scope)
        raise check.error([_on_host(x) for x in values], Place(check_p.name, source))
    return []


def _on_host(x: Any) -> Any:
    return x.numpy() if type(x) is Literal else np.asarray(x)


def _lower(b: Any, *operands: Any, check: Any) -> list[Any]:
    if not check.debug:
        raise errors.UnhandledCheckError(
            "check",
            "a program that is compiled to hand its checks on",
            f"the check {check!r}, which nothing handles",
            fix="Call `jit(checking.checkify(f))` and look at the error that it returns, or use "
            "`debug_check`, which counts only there.",
        )
    return []


check_p = declare(
    "check",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=NOT_LINEAR,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    effects=lambda params: frozenset({"check"}),
)


def first_true(flags: Value) -> tuple[Value, Value]:
    """Return whether any flag along the only axis is set, and the place of the first one."""
    (found,) = bind(registry["reduce_or"], flags, axes=(0,))
    (first,) = bind(registry["argmax"], flags, axes=(0,), index_dtype=_INT)
    return found, first


def element(x: Value, place: Value) -> Value:
    """Return the part of an array at a place along its first axis."""
    shape = x.aval.shape[1:]
    starts = [place, *[scalar(0, _INT)] * len(shape)]
    (row,) = bind(registry["dynamic_slice"], x, *starts, slice_sizes=(1, *shape))
    return reshape(row, shape)


# Indices ------------------------------------------------------------------------------------------


def check_bounds(
    call: str, start: Any, axis: int, size: int, span: int = 1, given: Any = None
) -> None:
    """Check an index, or an array of them, if `debug_index` says so.

    Args:
        call: the user's function.
        start: integers, counted from the start; Python's are known to be right.
        axis: the axis of the array.
        size: its size.
        span: how many elements are taken from the index on.
        given: the same as the user gave them, if that is another array: negative ones may not be
            counted from the end.
    """
    if not config.debug_index or isinstance(start, int) or not start.aval.size:
        return
    aval = start.aval
    parts: list[Value] = []
    if not dtypes.is_unsigned(aval.dtype):
        parts += bind(registry["lt"], start, scalar(0, aval.dtype))
    if size - span < dtypes.iinfo(aval.dtype).max:
        parts += bind(registry["gt"], start, scalar(size - span, aval.dtype))
    if not parts:
        return
    shown: Value = start if given is None else given
    bad = parts[0] if len(parts) == 1 else bind(registry["or"], *parts)[0]
    if aval.shape:
        bad, first = first_true(reshape(bad, (aval.size,)))
        shown = element(reshape(shown, (aval.size,)), first)
    bind(check_p, bad, shown, check=BoundsCheck(call, axis, size, span))


def check_vectors(
    call: str, indices: Value, axes: Sequence[int], shape: Sequence[int], sizes: Sequence[int]
) -> None:
    """Check the index vectors of a gather or scatter, if `debug_index` says so.

    Args:
        call: the user's function.
        indices: the vectors, along the last axis.
        axes: the axis of the array that each entry counts along.
        shape: of the array.
        sizes: of the slices that are taken, for every axis of the array.
    """
    if not config.debug_index or not indices.aval.size:
        return
    whole = indices.aval.shape
    for entry, axis in enumerate(axes):
        (column,) = bind(
            registry["slice"],
            indices,
            start_indices=(*[0] * (len(whole) - 1), entry),
            limit_indices=(*whole[:-1], entry + 1),
            strides=(1,) * len(whole),
        )
        check_bounds(call, column, axis, shape[axis], sizes[axis])
