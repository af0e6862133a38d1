"""`check`, `checkify` and the error that it returns."""

import functools
import itertools
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.trace import Value, as_value, bind, describe
from functrax.primitives.check import UserCheck, check_p, element, first_true
from functrax.primitives.rules import reshape, scalar
from functrax.transforms.checks.control import functional
from functrax.transforms.checks.table import INT32, Layout, Table, apply
from functrax.transforms.control.bodies import trace_body
from functrax.transforms.flat import (
    argument_names,
    as_array,
    check_callable,
    converted_arguments,
    function_name,
    path_of,
    shown,
)
from functrax.transforms.jit_call import jit_p

P = ParamSpec("P")
R = TypeVar("R")

user_checks: frozenset[str] = frozenset({"user"})
nan_checks: frozenset[str] = frozenset({"nan"})
index_checks: frozenset[str] = frozenset({"index"})
div_checks: frozenset[str] = frozenset({"div"})
float_checks: frozenset[str] = nan_checks | div_checks
automatic_checks: frozenset[str] = float_checks | index_checks
all_checks: frozenset[str] = automatic_checks | user_checks


# The error ----------------------------------------------------------------------------------------


class Error:
    """What failed first in a function made by `checkify`, or that nothing did.

    It is a pytree, so that jitted and mapped functions return it; mapped, it has an error or none
    for each lane.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax import checking
        >>> f = checking.checkify(jnp.log, errors=checking.nan_checks)
        >>> error, y = functrax.jit(f)(2.0)
        >>> error.get() is None
        True
    """

    __slots__ = ("_table", "_values")

    def __init__(self, table: Table, values: Sequence[Any]) -> None:
        """Keep the state of a program and what it means."""
        self._table = table
        self._values = tuple(values)

    def get(self) -> str | None:
        """Return the message of the error, or None if there is none.

        Returns:
            str; for a mapped function a line ``at mapped index i: ...`` for each lane that failed.

        Raises:
            TracerArrayError: while a program is traced; `check_error` hands it on there.
        """
        found = self.get_exception()
        return None if found is None else str(found)

    def get_exception(self) -> errors.FunctraxError | None:
        """Return the error, or None if there is none.

        Returns:
            CheckError, NonFiniteError, DivisionError or BoundsError; that of the first lane that
            failed, with the messages of all.

        Raises:
            TracerArrayError: as for `get`.
        """
        if not self._values:
            return None
        values = [np.asarray(as_array(as_value(x, "Error.get"))) for x in self._values]
        if not values[0].ndim:
            return self._table.error(values)
        found: dict[tuple[int, ...], errors.FunctraxError] = {}
        for lane in np.ndindex(values[0].shape):
            error = self._table.error([x[lane] for x in values])
            if error is not None:
                found[lane] = error
        if not found:
            return None
        first = next(iter(found.values()))
        lines = [f"at mapped index {', '.join(map(str, i))}: {e}" for i, e in found.items()]
        first.args = ("\n".join(lines),)
        return first

    def throw(self) -> None:
        """Raise the error, if there is one; see `check_error`.

        Raises:
            FunctraxError: as `get_exception` returns.
        """
        check_error(self)

    def __repr__(self) -> str:
        """Print the message, where it is known."""
        traced = any(not hasattr(x, "__array__") or hasattr(x, "owner") for x in self._values)
        return "Error(traced)" if traced else f"Error({self.get()})"


tree.register_node(
    Error,
    lambda error: (error._values, error._table),  # pyright: ignore[reportPrivateUsage]
    lambda table, values: Error(table, values),
)

init_error = Error(Table("", Layout(0, ()), ()), ())


class _HandedOn:
    """An `Error` as a check of the program around."""

    __slots__ = ("table",)
    kind = "user"
    debug = False

    def __init__(self, table: Table) -> None:
        self.table = table

    def error(self, values: Sequence[Any], place: Any) -> errors.FunctraxError:
        found = self.table.error(values)
        if found is None:
            raise errors.InternalError("check_error", "a state that failed", f"{values}")
        return found

    def __repr__(self) -> str:
        return "of check_error"


def check_error(error: Error) -> None:
    """Raise an error that `checkify` returned, if there is one, or hand it on.

    Args:
        error: the error. While a program is traced it becomes a check of that program, which a
            `checkify` around it handles.

    Raises:
        ArgumentError: if it is no `Error`.
        FunctraxError: the error itself, where its value is known.

    Example:
        >>> import functrax.numpy as jnp
        >>> from functrax import checking
        >>> error, _ = checking.checkify(jnp.log, errors=checking.nan_checks)(2.0)
        >>> checking.check_error(error)
    """
    if not isinstance(error, Error):
        raise errors.ArgumentError("check_error", "an Error that checkify returned", shown(error))
    parts, table = tree.flatten(error)[0], error._table  # pyright: ignore[reportPrivateUsage]
    if not parts:
        return
    values: list[Value] = [as_array(as_value(x, "check_error")) for x in parts]
    lanes = values[0].aval.shape
    if lanes:
        count = values[0].aval.size
        if not count:
            return
        whole = [reshape(x, (count, *x.aval.shape[len(lanes) :])) for x in values]
        _, first = first_true(apply("ne", whole[0], apply("mul", whole[0], scalar(0, INT32.dtype))))
        values = [element(x, first) for x in whole]
    bad = apply("ne", values[0], scalar(0, INT32.dtype))
    bind(check_p, bad, *values, check=_HandedOn(table))


# Checks -------------------------------------------------------------------------------------------


def check(pred: Any, msg: str, *fmt_args: Any, debug: bool = False, **fmt_kwargs: Any) -> None:
    """Fail unless a predicate holds.

    Outside of `jit` and the like it raises at once. In a function that is compiled, `checkify`
    makes the error a value that the function returns; without it the program is refused. Under
    `vmap` the first lane that fails wins; derivatives check once, in the forward pass.

    Args:
        pred: boolean scalar.
        msg: the message, a format string as of `str.format`.
        *fmt_args: pytrees of arrays, for the message.
        debug: whether it does nothing where no `checkify` handles it; see `debug_check`.
        **fmt_kwargs: pytrees of arrays, for the message by name.

    Raises:
        CheckError: if the predicate is known to be false.
        ArgumentError: if it is no boolean scalar, or the format's arguments are no arrays.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax import checking
        >>> def f(x):
        ...     checking.check(x > 0, "x must be positive, not {}", x)
        ...     return jnp.log(x)
        >>> error, _ = functrax.jit(checking.checkify(f))(-1.0)
        >>> error.get().partition(" (")[0]
        'x must be positive, not -1.0'
    """
    if not isinstance(msg, str):
        raise errors.ArgumentError("check", "a str as the message", shown(msg))
    value = as_value(pred, "check")
    if value.aval.shape or not dtypes.is_bool(value.aval.dtype):
        raise errors.ArgumentError(
            "check",
            "a predicate that is a boolean scalar",
            describe(value),
            fix="Reduce it with `.all()`, or compare it with something.",
        )
    leaves, structure = tree.flatten((fmt_args, fmt_kwargs))
    names = lambda: [path_of(structure, i) for i in range(len(leaves))]  # noqa: E731
    fix = "Put what is no array into the message itself, with an f-string."
    values = converted_arguments("check", leaves, names, as_value, fix)
    if any(dtypes.is_extended(x.aval.dtype) for x in values):
        fix = "Pass `random.key_data(key)`."
        raise errors.ArgumentError("check", "numbers to show", "a PRNG key", fix=fix)
    _check_fields(msg, fmt_args, fmt_kwargs)
    bind(
        check_p,
        apply("not", value),
        *values,
        check=UserCheck(msg, structure, bool(debug)),
    )


def _check_fields(msg: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise if a message shows what is not among its arguments: later it would hide the failure."""
    formatter, numbers = string.Formatter(), itertools.count()
    try:
        for _, field, _, _ in formatter.parse(msg):
            if field is not None:
                implied = not field or field[0] in ".["
                formatter.get_field(f"{next(numbers)}{field}" if implied else field, args, kwargs)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise errors.ArgumentError(
            "check",
            "a format string whose fields are among the arguments as the message",
            f"{msg!r} with {len(args)} by position and {', '.join(kwargs) or 'none'} by name",
            fix="Write braces that are no fields as `{{` and `}}`.",
        ) from error


def debug_check(pred: Any, msg: str, *fmt_args: Any, **fmt_kwargs: Any) -> None:
    """Fail unless a predicate holds, where a `checkify` handles it; elsewhere do nothing.

    Args:
        pred: boolean scalar.
        msg: the message, a format string.
        *fmt_args: pytrees of arrays, for the message.
        **fmt_kwargs: pytrees of arrays, for the message by name.

    Raises:
        ArgumentError: as `check` does.

    Example:
        >>> import functrax
        >>> from functrax import checking
        >>> def f(x):
        ...     checking.debug_check(x > 0, "x must be positive")
        ...     return x
        >>> float(functrax.jit(f)(-1.0))
        -1.0
        >>> error, _ = functrax.jit(checking.checkify(f))(-1.0)
        >>> error.get().partition(" (")[0]
        'x must be positive'
    """
    check(pred, msg, *fmt_args, debug=True, **fmt_kwargs)


def checkify(
    f: Callable[P, R], errors: Iterable[str] = user_checks
) -> Callable[P, tuple[Error, R]]:
    """Return a function that returns what failed in it as a value, before its result.

    It goes through calls, branches, loops and custom rules, and composes with `jit`, `grad`, `vmap`
    and the others in any order. What was checked in a derivative is what `checkify` goes around:
    ``checkify(grad(f))`` checks both passes, ``grad(checkify(f), has_aux=...)`` the forward one.

    Args:
        f: a function of pytrees of arrays.
        errors: what to look for: `user_checks` (the default), `nan_checks`, `index_checks`,
            `div_checks`, `float_checks` (NaN and division), `automatic_checks` (all but the
            user's), `all_checks`, or unions of them.

    Returns:
        A function of the same arguments, with result ``(Error, result of f)``.

    Raises:
        ArgumentError: if `f` is no function, or `errors` no set of checks.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax import checking
        >>> f = checking.checkify(lambda x, i: x[i], errors=checking.index_checks)
        >>> error, y = functrax.jit(f)(jnp.arange(3), 7)
        >>> error.get().partition(" in the")[0]
        '[getitem] expected an index within axis 0 of size 3; got 7'
    """
    check_callable(f, "checkify")
    kinds = _kinds(errors)

    @functools.wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> tuple[Error, R]:
        leaves, in_tree = tree.flatten((args, kwargs))
        names = lambda: argument_names(f, in_tree)  # noqa: E731
        values = converted_arguments("checkify", leaves, names, as_value)
        with config.scope(debug_index=config.debug_index or "index" in kinds):
            traced = trace_body("checkify", f, in_tree, [x.aval for x in values])
        jaxpr, table = functional(traced.jaxpr, kinds)
        name = f"checkify({function_name(f)})"
        results = bind(jit_p, *traced.consts, *values, jaxpr=jaxpr, name=name)
        size = len(table.layout.types)
        return Error(table, results[:size]), traced.out_tree.unflatten(results[size:])

    return checked


def _kinds(given: Any) -> frozenset[str]:
    try:
        kinds = frozenset(given)
    except TypeError:
        kinds = None
    if kinds is None or not kinds <= all_checks:
        _refuse(given)
    return kinds


def _refuse(given: Any) -> NoReturn:
    raise errors.ArgumentError(
        "checkify",
        "a union of sets such as checking.user_checks and checking.nan_checks as errors",
        shown(given),
    )
