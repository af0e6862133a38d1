"""What loops and branches share: users' functions as programs, and programs with their arguments in
another order.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr
from functrax.core.primitive import registry
from functrax.core.trace import Tracer, Value, as_value, bind, state
from functrax.core.types import ShapedArray
from functrax.lowering.base import physical_type
from functrax.primitives.convert import convert
from functrax.primitives.rules import broadcast_to, reshape, scalar
from functrax.runtime.compile import timings
from functrax.transforms.calls import place_of
from functrax.transforms.flat import FlatFunction, argument_names, function_name, shown
from functrax.transforms.scope import outside_scopes
from functrax.transforms.stage import stage_open

Fit = Callable[[FlatFunction, list[Value]], list[Value]]


class Body(NamedTuple):
    """A user's function as a program.

    Attributes:
        jaxpr: what it captured are its leading arguments.
        consts: the captured values.
        out_tree: the structure of its result.
    """

    jaxpr: Jaxpr
    consts: list[Value]
    out_tree: Any

    @property
    def is_live(self) -> bool:
        """Whether what it captured still means something."""
        return not any(isinstance(c, Tracer) and c.owner.ended for c in self.consts)


_bodies: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def trace_body(
    call: str,
    function: Callable[..., Any],
    in_tree: Any,
    in_avals: Sequence[ShapedArray],
    fit: Fit | None = None,
    key: Any = None,
) -> Body:
    """Trace a user's function of pytrees into a program, once for each signature.

    Args:
        call: the user's function, for messages.
        function: what the program computes.
        in_tree: the structure of ``(args, {})``.
        in_avals: the types of their leaves.
        fit: changes or checks the results: ``(function, results) -> results``; `key` tells apart
            what it does.
        key: see `fit`.

    Returns:
        The program with what it captured, and the structure of its result.
    """
    cells = _cells(function)
    whole = (call, in_tree, tuple(in_avals), config.trace_key(), state.axes, key, *map(id, cells))
    try:
        cache = _bodies.setdefault(function, {})
    except TypeError:  # not hashable, or not weakly referable
        cache = {}
    found = cache.get(whole)
    if found is not None and found[0].is_live:
        return found[0]
    flat = FlatFunction(function, in_tree, call)

    def run(*values: Value) -> list[Value]:
        results = flat(*values)
        return results if fit is None else fit(flat, results)

    with timings.phase("trace"), outside_scopes():
        jaxpr, consts = stage_open(
            run,
            in_avals,
            transform=call,
            name=function_name(function),
            argument_names=lambda: argument_names(function, in_tree),
        )
    body = Body(jaxpr, consts, flat.out_tree)
    cache[whole] = body, cells  # the cells keep what the ids stand for
    return body


def _cells(function: Any) -> list[Any]:
    """Return what a function closes over now: it may be another thing at the next call."""
    found: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty so far
            found.append(None)
    return found


def operands_of(call: str, what: str, pytree: Any) -> tuple[list[Value], Any]:
    """Flatten operands and make values of them.

    Raises:
        ArgumentError: naming the leaf that is no array.
    """
    leaves, structure = tree.flatten(pytree)
    values: list[Value] = []
    for index, leaf in enumerate(leaves):
        try:
            values.append(as_value(leaf, call))
        except errors.IntegerOverflowError:
            raise
        except errors.FunctraxError as error:
            raise errors.ArgumentError(
                call,
                f"{what}{path_of(structure, index)} to be an array or a number",
                shown(leaf),
            ) from error
    return values, structure


def path_of(structure: Any, index: int) -> str:
    """Return the path of one leaf of a structure, ``['w'][0]``; empty if it is the whole."""
    placeholder = tree.unflatten(structure, list(range(structure.num_leaves)))
    return tree.keystr(tree.leaves_with_path(placeholder)[index][0])


# Carries ------------------------------------------------------------------------------------------


def carried_types(
    call: str,
    what: str,
    function: Callable[..., Any],
    structure: Any,
    avals: Sequence[ShapedArray],
    results: Sequence[ShapedArray],
) -> list[ShapedArray]:
    """Return the types that a carry needs so that a body maps it to itself.

    Weak types give way: a carry that starts as a Python number takes the dtype that the body
    returns.

    Args:
        call: the user's function.
        what: the carry's name in it.
        function: the body.
        structure: the carry's.
        avals: its types so far.
        results: the types that the body returns for them.

    Raises:
        ShapeError, DtypeError: naming the leaf, both types and the body's line.
    """
    types: list[ShapedArray] = []
    for index, (before, after) in enumerate(zip(avals, results, strict=True)):
        joined = joined_type(before, after)
        if joined is None:
            kind = errors.ShapeError if before.shape != after.shape else errors.DtypeError
            raise kind(
                call,
                f"{function_name(function)!r} to return {what}{path_of(structure, index)} as it "
                f"came, {before!r}",
                f"{after!r}",
                where=place_of(function),
                fix="Reshape or convert it in the body, or start with that type.",
            )
        types.append(joined)
    return types


def joined_type(before: ShapedArray, after: ShapedArray) -> ShapedArray | None:
    """Return the type that both can be converted to without asking the user."""
    if before is after:
        return before
    if before.shape != after.shape:
        return None
    if before.dtype == after.dtype:
        return before.update(weak_type=before.weak_type and after.weak_type)
    if dtypes.is_extended(before.dtype) or dtypes.is_extended(after.dtype):
        return None
    dtype, weak = dtypes.promote(
        (before.dtype, after.dtype), (before.weak_type, after.weak_type), "carry"
    )
    if (dtype == before.dtype and after.weak_type) or (dtype == after.dtype and before.weak_type):
        return before.update(dtype=dtype, weak_type=weak)
    return None


def converted(value: Value, aval: ShapedArray) -> Value:
    """Convert a value to a type of its own shape."""
    if value.aval is aval or dtypes.is_extended(aval.dtype):
        return value
    return convert(value, aval.dtype, aval.weak_type)


def check_structure(
    call: str, function: Callable[..., Any], what: str, expected: Any, got: Any
) -> None:
    """Raise unless a body's result has the structure that it must have.

    Raises:
        TreeError: naming both, and the body's line.
    """
    if got != expected:
        raise errors.TreeError(
            call,
            f"{function_name(function)!r} to return {what} of the structure {expected}",
            f"{got}",
            where=place_of(function),
        )


# Programs -----------------------------------------------------------------------------------------


def reordered(jaxpr: Jaxpr, invars: Sequence[int], outvars: Sequence[int] | None = None) -> Jaxpr:
    """Return a program with its arguments (and results) in another order, or fewer results."""
    outs = jaxpr.outvars if outvars is None else [jaxpr.outvars[i] for i in outvars]
    return Jaxpr((), [jaxpr.invars[i] for i in invars], outs, jaxpr.eqns, jaxpr.name)


def where(flags: Sequence[bool], offset: int = 0) -> list[int]:
    """Return the positions of true flags, shifted."""
    return [i + offset for i, flag in enumerate(flags) if flag]


def split_at(items: Sequence[Any], *counts: int) -> list[Sequence[Any]]:
    """Split a sequence into parts of these lengths, and the rest."""
    parts: list[Sequence[Any]] = []
    start = 0
    for count in counts:
        parts.append(items[start : start + count])
        start += count
    parts.append(items[start:])
    return parts


def physical(aval: ShapedArray) -> ShapedArray:
    """Return the type of the buffer that holds a value: PRNG keys are their words."""
    return ShapedArray(*physical_type(aval))


# Lanes of a mapped axis ---------------------------------------------------------------------------


def spread(flags: Value, shape: tuple[int, ...]) -> Value:
    """Stretch one flag or index per lane over a shape whose first axis are the lanes."""
    return broadcast_to(reshape(flags, (shape[0], *[1] * (len(shape) - 1))), shape)


def of_lanes(x: Value, flags: Value) -> Value:
    """Give the lanes whose flag is not set the values of the first lane whose flag is.

    What they compute then happens anyway, so it does no harm: no inf or NaN that a zero cotangent
    would make NaN, and no loop that does not end.
    """
    shape = x.aval.shape
    if not shape[0]:
        return x
    index = np.dtype(np.int32)
    (first,) = bind(registry["argmax"], flags, axes=(0,), index_dtype=index)
    starts = [first, *[scalar(0, index)] * (len(shape) - 1)]
    (row,) = bind(registry["dynamic_slice"], x, *starts, slice_sizes=(1, *shape[1:]))
    return bind(registry["select_n"], spread(flags, shape), broadcast_to(row, shape), x)[0]
