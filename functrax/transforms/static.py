"""Which arguments of a jitted function are static, and which are donated."""

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.trace import Array
from functrax.core.types import exact
from functrax.runtime.ready import picker
from functrax.transforms.flat import function_name, shown

Names = tuple[str, ...]


def as_tuple(value: Any, kind: type, call: str, name: str) -> tuple[Any, ...]:
    """Return one or several ints or strings, or None, as a tuple.

    Raises:
        ArgumentError: for something else.
    """
    if value is None:
        return ()
    one = isinstance(value, str) or not isinstance(value, Iterable)
    several: tuple[Any, ...] = (value,) if one else tuple(cast(Iterable[Any], value))
    for each in several:
        if not (isinstance(each, kind) or (kind is int and hasattr(each, "__index__"))):
            word = "ints" if kind is int else "names"
            raise errors.ArgumentError(call, f"{name} of {word}", shown(each))
    return tuple(map(operator.index, several)) if kind is int else several


class StaticArguments:
    """The static and donated arguments of one function, by position and by name.

    Args:
        function: the function, whose signature relates positions and names.
        static_argnums, static_argnames: the static ones.
        donate_argnums, donate_argnames: the donated ones.
        call: the user's transform, for messages.

    Raises:
        ArgumentError: if a number or name does not exist, or is both static and donated.
    """

    __slots__ = (
        "_layouts",
        "call",
        "donate_names",
        "donate_nums",
        "has_donated",
        "has_static",
        "pickers",
        "static_names",
        "static_nums",
        "words",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnums: int | Sequence[int] | None,
        static_argnames: str | Iterable[str] | None,
        donate_argnums: int | Sequence[int] | None,
        donate_argnames: str | Iterable[str] | None,
        call: str = "jit",
    ) -> None:
        """Resolve positions and names against the signature."""
        self.call = call
        numbers = "static_broadcasted_argnums" if call == "pmap" else "static_argnums"
        self.words = f"`{numbers}`" if call == "pmap" else "`static_argnums`/`static_argnames`"
        statics = (
            as_tuple(static_argnums, int, call, numbers),
            as_tuple(static_argnames, str, call, "static_argnames"),
        )
        donated = (
            as_tuple(donate_argnums, int, call, "donate_argnums"),
            as_tuple(donate_argnames, str, call, "donate_argnames"),
        )
        self.static_nums: tuple[int, ...] = ()
        self.static_names: Names = ()
        self.donate_nums: tuple[int, ...] = ()
        self.donate_names: Names = ()
        if any(statics) or any(donated):
            self.static_nums, self.static_names = resolve(
                function, *statics, call, numbers.removesuffix("_argnums")
            )
            self.donate_nums, self.donate_names = resolve(function, *donated, call, "donate")
            names = set(self.static_names) & set(self.donate_names)
            both = names or set(self.static_nums) & set(self.donate_nums)
            if both:
                expected = "arguments that are static or donated, not both"
                raise errors.ArgumentError(call, expected, ", ".join(map(repr, sorted(both))))
        self._layouts: dict[tuple[Any, ...], tuple[list[int], list[int], list[str]]] = {}
        # For calls without names, by the number of arguments: take the static ones and the others.
        self.pickers: dict[int, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}
        self.has_static = bool(self.static_nums or self.static_names)
        self.has_donated = bool(self.donate_nums or self.donate_names)

    def split(self, function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """Separate static from traced arguments.

        Returns:
            ``(args, kwargs)`` of the traced ones, a hashable key of the static ones (or None), and
            the function that puts them back.

        Raises:
            HashError: if a static argument is not hashable, naming it.
        """
        if not self.has_static:
            return (args, kwargs), None, None
        layout = (len(args), *kwargs)
        nums, others, names = self._layouts.get(layout) or self._layout(layout)
        static_args = [(i, args[i]) for i in nums]
        static_kwargs = [(name, kwargs[name]) for name in names]
        key = tuple([(label, _distinct(value)) for label, value in static_args])
        if names:
            key += tuple([(label, _distinct(value)) for label, value in static_kwargs])
        try:
            hash(key)
        except TypeError:
            for label, value in (*static_args, *static_kwargs):
                self._check_hashable(function, label, value)
            raise
        dynamic = tuple([args[i] for i in others])
        if kwargs and names:
            kwargs = {k: v for k, v in kwargs.items() if k not in names}

        def rebuild(traced_args: Any, traced_kwargs: Any) -> tuple[Any, Any]:
            whole = list(traced_args)
            for i, value in static_args:
                whole.insert(i, value)
            return tuple(whole), {**traced_kwargs, **dict(static_kwargs)}

        return (dynamic, kwargs), key, rebuild

    def _layout(self, layout: tuple[Any, ...]) -> tuple[list[int], list[int], list[str]]:
        """Return which positions are static, which are not, and which names are, of a call with a
        number of positional arguments and some by name.
        """
        count, *given = layout
        nums = [i for i in range(count) if i in self.static_nums or i - count in self.static_nums]
        others = [i for i in range(count) if i not in nums]
        names = [name for name in sorted(given) if name in self.static_names]
        found = self._layouts[layout] = nums, others, names
        if count and not given:
            self.pickers[count] = picker(nums), picker(others)
        return found

    def _check_hashable(self, function: Callable[..., Any], label: int | str, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            name = _parameter(function, label) if isinstance(label, int) else label
            raise errors.HashError(
                self.call,
                f"static argument {name!r} of {function_name(function)!r} to be hashable",
                f"an array, {value.aval!r}" if isinstance(value, Array) else shown(value),
                fix="Do not mark it static."
                if isinstance(value, Array | np.ndarray)
                else "Pass a tuple instead of a list, or do not mark it static.",
            ) from None

    def donated(self, dynamic: Any, args: Any) -> tuple[bool, ...]:
        """Tell for each traced leaf whether it is donated.

        Args:
            dynamic: ``(args, kwargs)`` of the traced arguments.
            args: all positional arguments.
        """
        if not self.has_donated:
            return ()
        traced_args, traced_kwargs = dynamic
        nums = [
            i
            for i in range(len(args))
            if i not in self.static_nums and i - len(args) not in self.static_nums
        ]
        flags: list[bool] = []
        for i, x in zip(nums, traced_args, strict=True):
            flag = i in self.donate_nums or i - len(args) in self.donate_nums
            flags.extend([flag] * len(tree.leaves(x)))
        for name in sorted(traced_kwargs):
            flags.extend([name in self.donate_names] * len(tree.leaves(traced_kwargs[name])))
        return tuple(flags)


def _parameter(function: Callable[..., Any], number: int) -> str:
    try:
        return list(inspect.signature(function).parameters)[number]
    except (TypeError, ValueError, IndexError):
        return f"number {number}"


def resolve(
    function: Callable[..., Any],
    nums: tuple[Any, ...],
    names: tuple[Any, ...],
    call: str,
    kind: str,
) -> tuple[tuple[int, ...], Names]:
    """Check numbers and names against the signature, and complete each by the other."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return nums, names
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    has_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    has_keywords = any(p.kind is p.VAR_KEYWORD for p in parameters)
    name = function_name(function)
    for number in nums:
        if not has_rest and not -len(positional) <= number < len(positional):
            raise errors.ArgumentError(
                call,
                f"{kind}_argnums within the {len(positional)} positional parameters of {name!r}",
                str(number),
            )
    known = [p.name for p in parameters]
    for each in names:
        if each not in known and not has_keywords:
            raise errors.ArgumentError(
                call,
                f"{kind}_argnames among the parameters of {name!r}: {', '.join(known)}",
                repr(each),
            )
    all_names = {
        *names,
        *(positional[n] for n in nums if not has_rest and -len(positional) <= n < len(positional)),
    }
    all_nums = {*nums, *(positional.index(n) for n in names if n in positional)}
    return tuple(sorted(all_nums)), tuple(sorted(all_names))


def _distinct(value: Any) -> Any:
    """Return a key of a static argument; equal numbers of different kinds (1, 1.0, True) are
    apart.
    """
    if isinstance(value, tuple):
        return type(value), tuple(map(_distinct, cast(tuple[Any, ...], value)))
    return type(value), exact(value)
