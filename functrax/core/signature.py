"""What an equation must have: operands and parameters, as the rules of its primitive declare them.

The abstract rule says how many operands there are, and the rules together which parameters: those
they take by keyword, required where one of them gives no default. A parameter is of one of the
types that the rules annotate it with. Where every rule takes ``**params``, other names pass.
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax.core.primitive import Primitive
from functrax.errors import ArgumentError

_RULES = ("abstract_eval", "jvp", "transpose", "batch", "lower", "evaluate")
_EVERY_EQUATION = ("abstract_eval", "batch", "lower")
_UNIONS = (types.UnionType, typing.Union)
_ANY_NUMBER = inspect.Parameter.VAR_POSITIONAL
_PLACES = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature(NamedTuple):
    """What the equations of a primitive have.

    Attributes:
        least: how many operands there are at least.
        most: how many at most, or None.
        required: the names of the parameters that it cannot do without.
        annotations: the names of all parameters, and the types that the rules give each.
        closed: whether there are no other parameters.
    """

    least: int
    most: int | None
    required: tuple[str, ...]
    annotations: dict[str, tuple[Any, ...]]
    closed: bool


@functools.cache
def signature_of(primitive: Primitive) -> Signature:
    """Return what the rules of a primitive declare.

    Example:
        >>> from functrax.core.primitive import registry
        >>> import functrax
        >>> signature_of(registry["cumsum"])[:3]
        (1, 1, ('axis', 'reverse'))
    """
    required: dict[str, None] = {}
    annotations: dict[str, tuple[Any, ...]] = {}
    closed = False
    # What has a rule for staging has other parameters before: a function in place of a program.
    needing = _EVERY_EQUATION if primitive.stage is None else _EVERY_EQUATION[:1]
    for name in _RULES:
        rule = getattr(primitive, name)
        if not callable(rule):
            continue
        for parameter in (parameters := _parameters(rule)):
            if parameter.kind is parameter.KEYWORD_ONLY:
                said = parameter.annotation
                unsaid = said is Any or said is parameter.empty or _says_any(said)
                found = () if unsaid else (said,)
                annotations[parameter.name] = (*annotations.get(parameter.name, ()), *found)
                if name in needing and parameter.default is parameter.empty:
                    required[parameter.name] = None
        if name in _EVERY_EQUATION:
            closed = closed or not any(p.kind is p.VAR_KEYWORD for p in parameters)
    operands = [p for p in _parameters(primitive.abstract_eval) if p.kind in _PLACES]
    least = sum(p.default is p.empty for p in operands)
    variadic = any(p.kind is _ANY_NUMBER for p in _parameters(primitive.abstract_eval))
    return Signature(
        least, None if variadic else len(operands), tuple(required), annotations, closed
    )


def _parameters(rule: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    """Return the parameters of a rule, but for those that a partial function has fixed."""
    fixed: set[str] = set()
    inner = rule
    while isinstance(inner, functools.partial):
        fixed |= inner.keywords.keys()
        inner = inner.func
    return [p for p in inspect.signature(rule).parameters.values() if p.name not in fixed]


def _says_any(kind: Any) -> bool:
    return typing.get_origin(kind) in _UNIONS and Any in typing.get_args(kind)


def check_signature(primitive: Primitive, operands: int, params: Mapping[str, Any]) -> None:
    """Refuse an equation that has not what its primitive declares.

    Args:
        primitive: the primitive.
        operands: how many operands there are.
        params: the parameters.

    Raises:
        ArgumentError: naming the primitive.
    """
    wanted = signature_of(primitive)
    if operands < wanted.least or (wanted.most is not None and operands > wanted.most):
        more = " or more" if wanted.most is None else ""
        raise ArgumentError(primitive.name, _counted(wanted.least, more), f"{operands}")
    check_names(primitive.name, params, wanted.required, wanted.annotations, wanted.closed)
    for name, value in params.items():
        choices = wanted.annotations.get(name, ())
        if choices and not any(is_of(value, choice) for choice in choices):
            kinds = " or ".join(dict.fromkeys(map(_shown, choices)))
            raise ArgumentError(primitive.name, f"{name} of type {kinds}", repr(value))


def check_names(
    call: str,
    params: Iterable[str],
    required: Sequence[str],
    known: Iterable[str],
    closed: bool = True,
) -> None:
    """Refuse parameters that are missing or, of a closed signature, unknown.

    Raises:
        ArgumentError: naming them.
    """
    given, names = list(params), list(known)
    if not {*given}.issuperset(required) or (closed and not {*names}.issuperset(given)):
        wanted = f"the parameters {', '.join(map(repr, names))}" if names else "no parameters"
        raise ArgumentError(call, wanted, ", ".join(map(repr, given)) or "none")


def is_of(value: Any, kind: Any) -> bool:
    """Tell whether a parameter is of an annotated type; numbers of NumPy are numbers.

    Example:
        >>> is_of((1, 2), tuple[int, ...]), is_of(1.5, int), is_of(None, int | None)
        (True, False, True)
    """
    origin = typing.get_origin(kind)
    if origin in _UNIONS:
        return any(is_of(value, choice) for choice in typing.get_args(kind))
    if kind is Any:
        return True
    if origin is tuple:
        return isinstance(value, tuple) and _are_of(value, typing.get_args(kind))
    kind = origin or kind
    if kind is None:
        return value is None
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind)


def _are_of(values: tuple[Any, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[-1] is Ellipsis:
        return all(is_of(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(is_of, values, kinds))


def _shown(kind: Any) -> str:
    named = isinstance(kind, type) and not typing.get_args(kind)
    return kind.__name__ if named else re.sub(r"(\w+\.)+(?=\w)", "", str(kind))


def takes(*others: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare that a rule with ``**params`` takes the parameters of other functions.

    Args:
        *others: functions that take the parameters by keyword.

    Returns:
        A decorator, which returns the rule itself.
    """

    def declare(rule: Any) -> Any:
        places = [p for p in _parameters(rule) if p.kind in (*_PLACES, _ANY_NUMBER)]
        keywords = {
            p.name: p for f in (rule, *others) for p in _parameters(f) if p.kind is p.KEYWORD_ONLY
        }
        rule.__signature__ = inspect.Signature([*places, *keywords.values()])
        return rule

    return declare


def of_operands(rule: Callable[..., Any], call: str, count: int, other: Any) -> Callable[..., Any]:
    """Return an abstract rule that takes `count` operands and the parameters of another rule, of
    which the types of the results do not depend.

    Args:
        rule: ``(*types) -> types``.
        call: the primitive's name.
        count: how many operands there are.
        other: the rule with the parameters, such as that for lowering; none if it is no function.
    """
    parameters = inspect.signature(other).parameters.values() if callable(other) else ()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in keywords]

    def abstract_eval(*avals: Any, **params: Any) -> Any:
        if len(avals) != count:
            raise ArgumentError(call, _counted(count), f"{len(avals)}")
        if params or names:
            check_names(call, params, names, names)
        return rule(*avals)

    operands = [inspect.Parameter(f"x{i}", _PLACES[0]) for i in range(count)]
    declared: Any = abstract_eval
    declared.__signature__ = inspect.Signature([*operands, *keywords])
    return abstract_eval


def _counted(count: int, more: str = "") -> str:
    return f"{count}{more} operand{'s' if count != 1 or more else ''}"
