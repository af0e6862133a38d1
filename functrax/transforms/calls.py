"""What calls of user functions with their own rules share: arguments, trees, and the function as
values or as a program.
"""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.primitive import Primitive
from functrax.core.source import is_internal
from functrax.core.structure import substructures
from functrax.core.trace import VALUES, Array, Value, as_value, current, describe, state, vary
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.convert import convert
from functrax.primitives.rules import has_tangent, zeros
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    as_array,
    called,
    check_arity,
    converted_arguments,
    function_name,
    path_of,
    shown,
)
from functrax.transforms.stage import StageTrace, stage_open
from functrax.transforms.static import as_tuple, resolve
from functrax.transforms.symbolic import SymbolicZero, symbolic_zero

Flat = Callable[..., Sequence[Value]]


def positional(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: str
) -> tuple[Any, ...]:
    """Return all arguments by position, defaults filled in.

    Raises:
        ArgumentError: if the function cannot be called so.
    """
    check_arity(function, args, kwargs, call)
    if not kwargs:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return args
        if len(args) >= len(parameters) or not any(p.default is not p.empty for p in parameters):
            return args
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise errors.ArgumentError(
            call,
            f"arguments of {function_name(function)!r} that can be passed by position",
            f"the keyword-only {sorted(bound.kwargs)}",
        )
    return bound.args


def free_values(
    function: Callable[..., Any], free: Sequence[Any], nondiff: Sequence[int], call: str
) -> tuple[list[Value], Any]:
    """Return the leaves of the differentiable arguments as values, and the structure of
    ``(args, kwargs)``.

    Raises:
        ArgumentError: if one is not array-like, naming it.
    """
    leaves, in_tree = tree.flatten((tuple(free), {}))
    names = lambda: argument_names(function, in_tree, nondiff)  # noqa: E731
    return converted_arguments(call, leaves, names, as_value), in_tree


def nondiff_positions(
    function: Callable[..., Any],
    nums: int | Sequence[int],
    names: str | Sequence[str],
    call: str,
) -> tuple[int, ...]:
    """Return the positions of the arguments that rules receive as they are.

    Raises:
        ArgumentError: if a position or name does not exist, or the name is not that of a position.
    """
    positions = as_tuple(nums, int, call, "nondiff_argnums")
    words = as_tuple(names, str, call, "nondiff_argnames")
    if not positions and not words:
        return ()
    for name in words:
        if not resolve(function, (), (name,), call, "nondiff")[0]:
            expected = "nondiff_argnames of arguments that can be passed by position"
            raise errors.ArgumentError(call, expected, repr(name))
    return resolve(function, positions, words, call, "nondiff")[0]


class Call(NamedTuple):
    """A call of a function with rules, made flat.

    Attributes:
        function: the function of the leaves of its differentiable arguments.
        values: these leaves.
        fixed: the arguments that rules receive as they are.
        nondiff: their positions.
    """

    function: FlatFunction
    values: list[Value]
    fixed: list[Any]
    nondiff: list[int]


def flat_call(
    function: Callable[..., Any], nums: Sequence[int], args: Any, kwargs: Any, name: str
) -> Call:
    """Separate the arguments that rules receive as they are from the differentiable ones."""
    whole = positional(function, args, kwargs, name)
    nondiff = sorted({i % len(whole) for i in nums}) if whole else []
    fixed = [whole[i] for i in nondiff]
    free = [x for i, x in enumerate(whole) if i not in nondiff]
    values, in_tree = free_values(function, free, nondiff, name)

    def run(*free_args: Any) -> Any:
        return function(*merge_nondiff(fixed, free_args, nondiff))

    flat = FlatFunction(functools.update_wrapper(run, function), in_tree, name)
    return Call(flat, values, fixed, nondiff)


def merge_nondiff(fixed: Sequence[Any], free: Sequence[Any], nondiff: Sequence[int]) -> list[Any]:
    """Put the arguments back in order."""
    whole = list(free)
    for place, value in sorted(zip(nondiff, fixed, strict=True), key=lambda pair: pair[0]):
        whole.insert(place, value)
    return whole


class JaxprFunction:
    """A program as a function of values."""

    __slots__ = ("jaxpr",)

    def __init__(self, jaxpr: Jaxpr) -> None:
        """Wrap a program without constvars."""
        self.jaxpr = jaxpr

    def __call__(self, *values: Value) -> list[Value]:
        """Interpret it."""
        return eval_jaxpr(self.jaxpr, (), *values)


def function_of(params: dict[str, Any]) -> Flat:
    """Return what a call calls: a Python function, or a program once it is staged."""
    return JaxprFunction(params["jaxpr"]) if "jaxpr" in params else params["function"]


def stage_call(
    primitive: Primitive, trace: StageTrace, operands: Sequence[Value], params: dict[str, Any]
) -> Any:
    """Write a call of a Python function as one of a program, whose captured values come first."""
    if "jaxpr" in params:
        return trace.record(primitive, operands, params)
    jaxpr, consts = as_program(trace, params["function"], operands, params["name"])
    rules = {key: value for key, value in params.items() if key not in ("function", "name")}
    staged = {"jaxpr": jaxpr, **rules, "num_consts": len(consts), "name": params["name"]}
    return trace.record(primitive, [*consts, *operands], staged)


def as_program(
    trace: StageTrace, function: Flat, operands: Sequence[Value], name: str
) -> tuple[Jaxpr, list[Value]]:
    """Stage a function at its operands' types, under the trace that is to hold its call."""
    with current(trace):
        return stage_open(function, [x.aval for x in operands], name=name)


def call_rule(name: str, rule: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Call a rule of the function `name`; what it computes has its own lines, not the call's.

    Raises:
        ArgumentError: if it does not take these arguments.
        LeakedTracerError: if it closes over what is traced elsewhere.
    """
    saved = state.source, state.scope
    code = getattr(inspect.unwrap(rule), "__code__", None)
    if state.source is not None and code is not None and not is_internal(code):
        state.source, state.scope = None, state.source.scope
    try:
        return called(rule, args, {}, name)
    except errors.LeakedTracerError as error:
        raise errors.LeakedTracerError(
            name,
            "rules to use what is traced around the function through arguments and residuals only",
            error.got,
            where=error.where,
            fix="Pass the value to the function as an argument.",
        ) from error
    finally:
        state.source, state.scope = saved


def user_tangent(aval: ShapedArray, tangent: Value | None = None, symbolic: bool = False) -> Any:
    """Return a tangent or cotangent as user rules see it.

    Args:
        aval: the type of the primal.
        tangent: the value, or None for zero.
        symbolic: whether the rule wants to know which are zero.

    Returns:
        An array; None for integers and others that have no tangent. Symbolic zeros stand for both.
    """
    if tangent is not None:
        return as_array(tangent)
    if symbolic:
        return symbolic_zero(aval)
    return as_array(zeros(aval)) if has_tangent(aval) else None


def check_outputs(name: str, kind: str, results: Sequence[Value], jaxpr: Jaxpr | None) -> None:
    """Check the outputs of a rule against those of the function, where that has been traced.

    Raises:
        CustomRuleError: showing the types of both.
    """
    if jaxpr is None:
        return
    wanted = [aval.strong() for aval in jaxpr.out_avals]
    types = [result.aval.strong() for result in results]
    if types != wanted:
        expected = f"{kind} to return the function's output, {short_types(wanted)}"
        raise errors.CustomRuleError(name, expected, short_types(types))


def checked_pair(name: str, rule: Callable[..., Any], what: str, result: Any) -> tuple[Any, Any]:
    """Return the pair that a rule must return.

    Raises:
        CustomRuleError: if it is none.
    """
    if isinstance(result, tuple | list) and len(result) == 2:
        return result[0], result[1]
    raise errors.CustomRuleError(name, what, described(result), where=place_of(rule))


def checked_values(
    name: str, rule: Callable[..., Any], kind: str, leaves: Sequence[Any]
) -> list[Value]:
    """Return what a rule computed as values.

    Raises:
        CustomRuleError: if it is not arrays.
    """
    try:
        return [as_value(x, name) for x in leaves]
    except errors.ArgumentError as error:
        wrong = next(x for x in leaves if not isinstance(x, VALUES) and not hasattr(x, "dtype"))
        expected = f"{kind} to return arrays and numbers"
        raise errors.CustomRuleError(
            name, expected, described(wrong), where=place_of(rule)
        ) from error


def described(value: Any) -> str:
    """Describe what a rule returned, for a message."""
    return describe(value) if isinstance(value, Array) else shown(value)


def place_of(function: Callable[..., Any]) -> str | None:
    """Return ``file:line`` of a user's function, or None if it has no code of its own."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code else None


def checked_leaves(
    name: str,
    rule: Callable[..., Any],
    what: str,
    result: Any,
    expected_tree: Any,
    avals: Sequence[ShapedArray],
    names: Callable[[], Sequence[str]] | None = None,
    rounded: bool = False,
) -> list[Value | None]:
    """Flatten a rule's result and check it against the types it must have.

    Args:
        name: the decorated function, for messages.
        rule: the user's rule.
        what: what it must return, for messages.
        result: a pytree; None stands for a zero (sub)tree, float0 and `SymbolicZero` for a leaf.
        expected_tree: the structure it must have.
        avals: the type of each leaf.
        names: gives what each leaf is for; its path by default.
        rounded: whether numbers of another precision are converted, as are Python's.

    Returns:
        One value per leaf, None for zero.

    Raises:
        CustomRuleError: naming both structures, or both types and the leaf.
    """
    where = place_of(rule)
    leaves = leaves_up_to(result, expected_tree)
    if leaves is None:
        fix = "None stands for zero."
        if names is not None:
            fix = "Return a tuple with one entry for each differentiable argument; " + fix
        raise errors.CustomRuleError(
            name,
            f"{what} of the structure {expected_tree}",
            f"{tree.structure(result)}",
            where=where,
            fix=fix,
        )
    checked: list[Value | None] = []
    for index, (leaf, aval) in enumerate(zip(leaves, avals, strict=True)):
        if leaf is None or not has_tangent(aval) or _is_zero(leaf):
            checked.append(None)
            continue
        (value,) = checked_values(name, rule, what.partition(" to return")[0], [leaf])
        if rounded and _is_rounded(value.aval, aval):
            value = convert(value, aval.dtype)
        loose = value.aval.varying - aval.varying
        if loose or value.aval.shape != aval.shape or value.aval.dtype != aval.dtype:
            path = names()[index] if names else path_of(expected_tree, index)
            place = f" for {path!r}" if names else f" at {path}" if path else ""
            axes = ", ".join(map(repr, sorted(loose, key=str)))
            raise errors.CustomRuleError(
                name,
                f"{what} of type {aval.strong()!r}{place}",
                f"{value.aval!r}",
                where=where,
                fix=f"Sum it over the devices: `lax.psum(x, {axes})`." if loose else None,
            )
        checked.append(vary(value, aval.varying))
    return checked


def _is_rounded(given: ShapedArray, wanted: ShapedArray) -> bool:
    """Tell whether a cotangent is one of another precision: no imaginary part would be lost."""
    if given.weak_type and not dtypes.is_complex(given.dtype):
        return True
    return any(
        kind(given.dtype) and kind(wanted.dtype) for kind in (dtypes.is_floating, dtypes.is_complex)
    )


def _is_zero(leaf: Any) -> bool:
    return isinstance(leaf, SymbolicZero) or getattr(leaf, "dtype", None) == dtypes.float0


def leaves_up_to(result: Any, expected_tree: Any) -> list[Any] | None:
    """Flatten a tree in which None may stand for a subtree; None if it does not fit."""
    leaves, structure = tree.flatten(result, is_leaf=lambda x: x is None)
    if structure == expected_tree:
        return leaves
    parts = substructures(structure, expected_tree)
    if parts is None:
        return None
    found: list[Any] = []
    for leaf, part in zip(leaves, parts, strict=True):
        if leaf is None:
            found += [None] * part.num_leaves
        elif part.node_data() is None:
            found.append(leaf)
        else:
            return None
    return found
