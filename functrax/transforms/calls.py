"""What calls of user functions with their own rules share: arguments, trees, and the function as
values or as a program.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.trace import Value, as_value, current
from functrax.core.types import ShapedArray
from functrax.primitives.rules import has_tangent, zeros
from functrax.transforms.flat import as_array, check_arity, function_name
from functrax.transforms.stage import StageTrace, stage_open

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


def split_nondiff(args: Sequence[Any], nondiff: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """Separate the arguments that rules receive as they are from the differentiable ones."""
    fixed = [args[i] for i in nondiff]
    free = [x for i, x in enumerate(args) if i not in nondiff]
    return fixed, free


def merge_nondiff(fixed: Sequence[Any], free: Sequence[Any], nondiff: Sequence[int]) -> list[Any]:
    """Undo `split_nondiff`."""
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


def as_program(
    trace: StageTrace, function: Flat, operands: Sequence[Value], name: str
) -> tuple[Jaxpr, list[Value]]:
    """Stage a function at its operands' types, under the trace that is to hold its call."""
    with current(trace):
        return stage_open(function, [x.aval for x in operands], name=name)


def user_tangent(aval: ShapedArray, tangent: Value | None = None) -> Any:
    """Return a tangent or cotangent as user rules see it: zeros where there is none, float0 for
    integers.
    """
    if not has_tangent(aval):
        return np.zeros(aval.shape, dtypes.float0)
    return as_array(zeros(aval) if tangent is None else tangent)


def checked_leaves(
    call: str,
    what: str,
    result: Any,
    expected_tree: Any,
    avals: Sequence[ShapedArray],
    *,
    exact: bool = True,
) -> list[Value | None]:
    """Flatten a rule's result and check it against the types it must have.

    Args:
        call: the decorated function, for messages.
        what: what the result is, for messages.
        result: a pytree; None stands for a zero (sub)tree.
        expected_tree: the structure it must have.
        avals: the type of each leaf.
        exact: whether the dtypes must agree.

    Returns:
        One value per leaf, None for zero.

    Raises:
        CustomRuleError: naming both structures, or both types and the path.
    """
    placeholder = tree.unflatten(expected_tree, list(range(expected_tree.num_leaves)))
    leaves: list[Any] = []
    try:
        given = tree.structure(placeholder).flatten_up_to(result) if result is not None else None
    except ValueError:
        given = None
    leaves = _with_nones(call, what, result, placeholder) if given is None else list(given)
    paths = [tree.keystr(path) for path, _ in tree.leaves_with_path(placeholder)]
    checked: list[Value | None] = []
    for path, leaf, aval in zip(paths, leaves, avals, strict=True):
        if leaf is None or getattr(leaf, "dtype", None) == dtypes.float0 or not has_tangent(aval):
            checked.append(None)
            continue
        value = as_value(leaf, call)
        if value.aval.shape != aval.shape or (exact and value.aval.dtype != aval.dtype):
            raise errors.CustomRuleError(
                call, f"{what}{path} of type {aval.strong()!r}", f"{value.aval!r}"
            )
        checked.append(value)
    return checked


def _with_nones(call: str, what: str, result: Any, placeholder: Any) -> list[Any]:
    """Expand None, where it stands for a subtree, to one None per leaf."""
    try:
        return tree.broadcast_prefix(result, placeholder, is_leaf=lambda x: x is None)
    except (ValueError, errors.TreeError):
        raise errors.CustomRuleError(
            call,
            f"{what} of the structure {tree.structure(placeholder)}",
            f"{tree.structure(result)}",
            fix="Return one entry per differentiable argument; None stands for zero.",
        ) from None
