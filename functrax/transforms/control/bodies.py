"""What loops and branches share: users' functions as programs, and programs with their arguments in
another order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.jaxpr import Equation, Jaxpr, program_cache, subjaxprs
from functrax.core.primitive import registry
from functrax.core.trace import Tracer, Value, as_value, bind, state, vary, vary_apart
from functrax.core.types import Literal, ShapedArray
from functrax.lowering.base import physical_type
from functrax.lowering.inline import CALL, programs_of, with_programs
from functrax.primitives.convert import convert
from functrax.primitives.rules import broadcast_to, expand_axis, reshape, scalar
from functrax.transforms.calls import place_of
from functrax.transforms.flat import as_array, function_name, path_of, shown
from functrax.transforms.traced import Traced, trace_function, traces_of

Fit = Callable[[Any, list[Value]], list[Value]]


def trace_body(
    call: str,
    function: Callable[..., Any],
    in_tree: Any,
    in_avals: Sequence[ShapedArray],
    fit: Fit | None = None,
    key: Any = None,
) -> Traced:
    """Trace a user's function of pytrees into a program, once for each signature.

    Args:
        call: the user's function, for messages.
        function: what the program computes.
        in_tree: the structure of ``(args, {})``.
        in_avals: the types of their leaves.
        fit: see `trace_function`; `key` tells apart what it does.
        key: see `fit`.
    """
    cells = _cells(function)
    whole = (call, in_tree, tuple(in_avals), config.trace_key(), state.axes, key, *map(id, cells))
    cache = traces_of(function)
    found = cache.get(whole)
    if found is not None and found[0].is_live:
        return found[0]
    body = trace_function(function, in_tree, in_avals, call=call, fit=fit)
    cache[whole] = body, cells  # the cells keep what the ids stand for
    return body


def trace_again(
    call: str,
    function: Callable[..., Any],
    in_tree: Any,
    in_avals: Sequence[ShapedArray],
    fit: Fit | None = None,
    key: Any = None,
) -> Traced:
    """Trace like `trace_body`, but at each call, as JAX does where it wraps the user's function: it
    may read what has changed.

    A program that comes out as it did before is the one before, so that nothing is compiled again.
    """
    body = trace_function(function, in_tree, in_avals, call=call, fit=fit)
    cache, whole = traces_of(function), (call, "again", in_tree, tuple(in_avals), key)
    before = cache.get(whole)
    if before is not None and same_program(before, body.jaxpr):
        return body._replace(jaxpr=before)
    cache[whole] = body.jaxpr
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
    return vary_apart(values), structure


def is_known(x: Any) -> bool:
    """Tell whether Python can decide by a value, so that `disable_jit` runs loops and branches."""
    return not isinstance(x, Tracer) or x.concrete() is not None


def leading_sizes(
    call: str, expected: str, values: Sequence[Value], structure: Any
) -> dict[int, Callable[[], str]]:
    """Return the sizes of the first axes of xs, each with what gives the path of an array that has
    it.

    Raises:
        ShapeError: if an array has no axes.
    """
    sizes: dict[int, Callable[[], str]] = {}
    for index, x in enumerate(values):
        path = lambda index=index: f"xs{path_of(structure, index)}"  # noqa: E731
        if not x.aval.shape:
            raise errors.ShapeError(call, expected, f"{x.aval!r} at {path()}")
        sizes.setdefault(x.aval.shape[0], path)
    return sizes


def sizes_with_names(sizes: dict[int, Callable[[], str]]) -> str:
    """Format what `leading_sizes` found, for a message."""
    return ", ".join(f"{size} of {name()}" for size, name in sizes.items())


def stacked(call: str, rows: Sequence[Any]) -> Value:
    """Join results of a loop that ran in Python along a new first axis."""
    whole = [expand_axis(as_array(as_value(row, call)), 0) for row in rows]
    return bind(registry["concatenate"], *whole, dimension=0)[0]


# Carries ------------------------------------------------------------------------------------------


def trace_carrying(
    call: str,
    what: str,
    function: Callable[..., Any],
    in_tree: Any,
    structure: Any,
    carry: Sequence[Value],
    check: Callable[[Any], None],
    before: Sequence[ShapedArray] = (),
    after: Sequence[ShapedArray] = (),
) -> tuple[Traced, list[Value]]:
    """Trace a body at types of its carry that it keeps.

    Args:
        call: the user's function.
        what: the carry's name in it.
        function: the body, which returns the carry first.
        in_tree: the structure of its ``(args, {})``.
        structure: the carry's.
        carry: the carry at the start.
        check: raises if the structure of the body's result is wrong.
        before: the types of the arguments before the carry.
        after: the types of those after it.

    Returns:
        The body, and the carry converted to the types that it keeps.
    """
    count = len(carry)
    types = [x.aval for x in carry]

    def fit(out_tree: Any, results: list[Value]) -> list[Value]:
        check(out_tree)
        returned = [x.aval for x in results[:count]]
        wanted = carried_types(call, what, function, structure, types, returned)
        fitted = [converted(x, aval) for x, aval in zip(results, wanted, strict=False)]
        return [*fitted, *results[count:]]

    while True:
        body = trace_body(call, function, in_tree, [*before, *types, *after], fit, key="carry")
        wanted = list(body.jaxpr.out_avals[:count])
        if wanted == types:
            return body, [converted(x, aval) for x, aval in zip(carry, types, strict=True)]
        types[:] = wanted


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
    varying = before.varying | after.varying
    if before.dtype == after.dtype:
        return before.update(weak_type=before.weak_type and after.weak_type, varying=varying)
    if dtypes.is_extended(before.dtype) or dtypes.is_extended(after.dtype):
        return None
    dtype, weak = dtypes.promote(
        (before.dtype, after.dtype), (before.weak_type, after.weak_type), "carry"
    )
    if (dtype == before.dtype and after.weak_type) or (dtype == after.dtype and before.weak_type):
        return before.update(dtype=dtype, weak_type=weak, varying=varying)
    return None


def converted(value: Value, aval: ShapedArray) -> Value:
    """Convert a value to a type of its own shape that varies at least along the same axes."""
    if value.aval is aval:
        return value
    if not dtypes.is_extended(aval.dtype):
        value = convert(value, aval.dtype, aval.weak_type)
    return vary(value, aval.varying)


def check_divergent(call: str, chosen: ShapedArray, programs: Sequence[Jaxpr]) -> None:
    """Refuse collectives in programs that some devices run and others do not.

    Args:
        call: the user's function.
        chosen: the type of what decides.
        programs: what is run or not.

    Raises:
        ArgumentError: naming the collective and its line: the devices would wait for each other.
    """
    found = next(filter(None, (_collective(one, chosen.varying) for one in programs)), None)
    if found is None:
        return
    axes = ", ".join(map(repr, sorted(found.params["axes"], key=str)))
    fix = f"Compute it before, and decide by what is the same everywhere (`lax.pmax(x, {axes})`)."
    what = f"{found.primitive.name!r} along {axes}"
    if found.primitive.name == "pvary":
        what = "a value from outside that is the same along it"
        fix = f"Pass `lax.pvary(x, {axes})` as an operand, so that gradients are summed outside."
    raise errors.ArgumentError(
        call,
        f"no collective along {axes} where devices go different ways: {chosen!r} decides",
        f"{what} at {found.source}",
        fix=fix,
    )


def _collective(jaxpr: Jaxpr, axes: frozenset[Any]) -> Equation | None:
    """Return the first equation in which devices along some axes wait for each other."""
    if axes.isdisjoint(jaxpr.axis_names):
        return None
    given = set[Any](jaxpr.invars)
    for eqn in jaxpr.eqns:
        depends = not given.isdisjoint(eqn.invars)
        if depends:
            given.update(eqn.outvars)
        waits = eqn.primitive.name != "axis_index"
        if eqn.primitive.name == "pvary":
            waits = depends  # a constant has no gradient to sum
        if waits and not axes.isdisjoint(eqn.params.get("axes", ())):
            return eqn
        inside = (_collective(one, axes) for one in subjaxprs(eqn.params))
        found = next(filter(None, inside), None)
        if found is not None:
            return found
    return None


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


@program_cache
def apart(jaxpr: Jaxpr) -> Jaxpr:
    """Let XLA do as it likes with what `checkpoint` computes again in a program of the backward
    pass: the first computation is in the body of another loop, or in another branch.

    Where several calls are computed again, each still has to wait for its turn.
    """
    return _released(jaxpr) if _count_held(jaxpr) == 1 else jaxpr


def _count_held(jaxpr: Jaxpr) -> int:
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == CALL:
            count += sum(map(_count_held, programs_of(eqn)))
        elif eqn.params.get("prevent_cse"):
            count += 1
    return count


def _released(jaxpr: Jaxpr) -> Jaxpr:
    eqns: list[Equation] = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == CALL:
            eqn = with_programs(eqn, {one: _released(one) for one in programs_of(eqn)})
        elif eqn.params.get("prevent_cse"):
            eqn = eqn.replace(eqn.invars, {**eqn.params, "prevent_cse": False})
        eqns.append(eqn)
    return Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, eqns, jaxpr.name)


def same_program(one: Jaxpr, other: Jaxpr) -> bool:
    """Tell whether two programs without constants compute the same, equation by equation."""
    sizes = [(len(x.invars), len(x.eqns), len(x.outvars)) for x in (one, other)]
    if sizes[0] != sizes[1] or one.in_avals != other.in_avals or one.name != other.name:
        return False
    names: dict[Any, Any] = dict(zip(one.invars, other.invars, strict=True))

    def alike(xs: Sequence[Any], ys: Sequence[Any]) -> bool:
        return len(xs) == len(ys) and all(map(_same_atom, [names.get(x, x) for x in xs], ys))

    for eqn, twin in zip(one.eqns, other.eqns, strict=True):
        if (
            eqn.primitive is not twin.primitive
            or eqn.params.keys() != twin.params.keys()
            or [v.aval for v in eqn.outvars] != [v.aval for v in twin.outvars]
            or not alike(eqn.invars, twin.invars)
            or not all(_same_param(x, twin.params[key]) for key, x in eqn.params.items())
        ):
            return False
        names.update(zip(eqn.outvars, twin.outvars, strict=True))
    return alike(one.outvars, other.outvars)


def _same_atom(x: Any, y: Any) -> bool:
    if type(x) is Literal and type(y) is Literal:  # by its bits: -0.0 is not 0.0, and NaN is NaN
        return x.aval is y.aval and x.numpy().tobytes() == y.numpy().tobytes()
    return x is y


def _same_param(x: Any, y: Any) -> bool:
    if isinstance(x, Jaxpr) and isinstance(y, Jaxpr):
        return x is y or same_program(x, y)
    if type(x) is tuple and type(y) is tuple:
        return len(x) == len(y) and all(map(_same_param, x, y))
    if isinstance(x, float | complex):
        return repr(x) == repr(y)
    return x is y or (type(x) is type(y) and (x == y) is True)  # arrays do not say


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


def int32(value: int) -> Literal:
    """Return an index or a count as it stands in programs of loops."""
    return scalar(value, np.dtype(np.int32))


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
    (first,) = bind(registry["argmax"], flags, axes=(0,), index_dtype=np.dtype(np.int32))
    starts = [first, *[int32(0)] * (len(shape) - 1)]
    (row,) = bind(registry["dynamic_slice"], x, *starts, slice_sizes=(1, *shape[1:]))
    return bind(registry["select_n"], spread(flags, shape), broadcast_to(row, shape), x)[0]
