"""`check_grads`, `check_jvp` and `check_vjp`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax.core import tree
from functrax.errors import ArgumentError, type_name
from functrax.numpy.creation import asarray
from functrax.testing.functions import Arguments, Function, inexact_leaves, is_inexact, no_tangent
from functrax.testing.numeric import Check, Numeric, Tolerance, host
from functrax.transforms.flat import check_callable
from functrax.transforms.forward import jvp, linearize
from functrax.transforms.grad import vjp

_MODES = ("fwd", "rev", "lin")

# ---- for users


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: str | Sequence[str] = ("fwd", "rev"),
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
) -> None:
    """Check the derivatives of a function against finite differences.

    Forward mode is checked in one random direction, reverse mode in one for each array among the
    arguments; the directions are the same in every run. Integers, booleans and keys among the
    arguments are passed on as they are. A complex function need not be holomorphic.

    Args:
        f: a function of pytrees of arrays, smooth near the arguments.
        args: tuple of its arguments, of any floating or complex dtype.
        order: int, up to which derivatives are checked: 2 checks also the derivatives of the
            derivatives, in every combination of modes.
        modes: ``"fwd"`` (`jvp`), ``"rev"`` (`vjp`), ``"lin"`` (`linearize`), or several of them.
        atol: the absolute difference allowed, or a dict of it by dtype, of which the coarsest dtype
            of the arguments and results counts; by default 2e-3 for float32, 1e-5 for float64.
        rtol: the difference allowed as a part of the numeric derivative, in the same form.
        eps: the step of the finite differences; by default 1e-4, or a larger one if the function
            computes in fewer than 64 bits.

    Raises:
        GradientCheckError: for the first derivative that is wrong, saying which, where, and both
            values. It is an AssertionError.
        ArgumentError: if an argument of the check itself is wrong.

    Example:
        >>> from functrax.testing import check_grads
        >>> check_grads(lambda x: jnp.sin(x) * x, (jnp.arange(3.0),), order=2)

        >>> wrong = functrax.custom_jvp(jnp.sin)
        >>> _ = wrong.defjvp(lambda primals, tangents: (wrong(*primals), tangents[0]))
        >>> check_grads(wrong, (1.0,), order=1)
        Traceback (most recent call last):
        functrax.errors.GradientCheckError: [check_grads] expected the jvp of 'sin' (order 1) ...
    """
    check_callable(f, "check_grads")
    chosen = (modes,) if isinstance(modes, str) else tuple(modes)
    if not chosen or not set(chosen) <= set(_MODES):
        raise ArgumentError("check_grads", f"modes among {_MODES}", repr(modes))
    if not isinstance(order, int) or order < 1:
        raise ArgumentError("check_grads", "order as an int of at least 1", repr(order))
    check = Check("check_grads", atol, rtol, eps)
    arguments = Arguments(check.call, args)
    _check_orders(check, Function.of_user(f, arguments), arguments.values, order, chosen)


def check_jvp(
    f: Callable[..., Any],
    f_jvp: Callable[..., Any],
    args: Sequence[Any],
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
    err_msg: str = "",
) -> None:
    """Check a forward derivative of a function against finite differences.

    Args:
        f: a function of pytrees of arrays.
        f_jvp: its derivative, called as ``f_jvp(args, tangents)``, which gives the pair of the
            result and its tangent; such as ``functools.partial(functrax.jvp, f)``.
        args: tuple of the arguments; see `check_grads` for this and the rest.
        atol: the absolute difference allowed, or a dict of it by dtype.
        rtol: the relative difference allowed, or a dict of it by dtype.
        eps: the step of the finite differences.
        err_msg: a sentence for the end of the message.

    Raises:
        GradientCheckError: if `f_jvp` gives another result than `f`, a tangent of another
            structure, shape or dtype, or a wrong tangent.

    Example:
        >>> from functrax.testing import check_jvp
        >>> check_jvp(jnp.sin, lambda p, t: (jnp.sin(p[0]), jnp.cos(p[0]) * t[0]), (1.0,))
    """
    check_callable(f, "check_jvp")
    check_callable(f_jvp, "check_jvp")
    check = Check("check_jvp", atol, rtol, eps, err_msg)
    arguments = Arguments(check.call, args)
    function = Function.of_user(f, arguments)

    def push(_: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        found = f_jvp(arguments.fill(primals), arguments.fill_tangents(tangents))
        value, tangent = _pair(check, "f_jvp", "tangent", found)
        like = f(*arguments.fill(primals))
        return (
            _leaves_like(check, "the value that f_jvp returns", like, value),
            _leaves_like(check, "the tangent that f_jvp returns", like, tangent),
        )

    _check_forward(check, function, push, arguments.values)


def check_vjp(
    f: Callable[..., Any],
    f_vjp: Callable[..., Any],
    args: Sequence[Any],
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
    err_msg: str = "",
) -> None:
    """Check a pullback of a function against finite differences.

    Args:
        f: a function of pytrees of arrays.
        f_vjp: called as ``f_vjp(*args)``, gives the pair of the result and the pullback; such as
            ``functools.partial(functrax.vjp, f)``.
        args: tuple of the arguments; see `check_grads` for this and the rest.
        atol: the absolute difference allowed, or a dict of it by dtype.
        rtol: the relative difference allowed, or a dict of it by dtype.
        eps: the step of the finite differences.
        err_msg: a sentence for the end of the message.

    Raises:
        GradientCheckError: if `f_vjp` gives another result than `f`, cotangents of another
            structure, shape or dtype, or a wrong cotangent.

    Example:
        >>> from functrax.testing import check_vjp
        >>> check_vjp(jnp.sin, lambda x: (jnp.sin(x), lambda c: (c * jnp.cos(x),)), (1.0,))
    """
    check_callable(f, "check_vjp")
    check_callable(f_vjp, "check_vjp")
    check = Check("check_vjp", atol, rtol, eps, err_msg)
    arguments = Arguments(check.call, args)
    function = Function.of_user(f, arguments)

    def pull(_: Any, *values: Any) -> tuple[Any, Callable[..., Any]]:
        filled = arguments.fill(values)
        value, pullback = _pair(check, "f_vjp", "pullback", f_vjp(*filled))
        like = f(*filled)
        leaves, structure = tree.flatten(like)

        def back(cotangents: Sequence[Any]) -> list[Any]:
            given = iter(cotangents)
            whole = [next(given) if is_inexact(x) else no_tangent(x) for x in leaves]
            found = pullback(structure.unflatten(whole))
            return _leaves_like(check, "the cotangents that the pullback returns", filled, found)

        return _leaves_like(check, "the value that f_vjp returns", like, value), back

    _check_reverse(check, function, pull, arguments.values)


# ---- what users' derivatives return


def _pair(check: Check, call: str, second: str, found: Any) -> tuple[Any, Any]:
    """Check that the user's derivative returned a pair, and return it."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        check.fail(f"{call} to return a result and its {second}", type_name(found))
    return found[0], found[1]


def _leaves_like(check: Check, what: str, like: Any, found: Any) -> list[Any]:
    """Return the leaves of a tree where another has floating or complex ones of the same types."""
    leaves, structure = tree.flatten(like)
    found_leaves, found_structure = tree.flatten(found)
    if found_structure != structure:
        check.fail(f"{what} to have the structure {structure}", f"{found_structure}")
    kept = [asarray(x) for x, y in zip(found_leaves, leaves, strict=True) if is_inexact(y)]
    for name, x, y in zip(*inexact_leaves("", like), kept, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            where = f" at {name}" if name else ""
            check.fail(f"{what} to be {x.aval!r}{where}", f"{y.aval!r}")
    return kept


# ---- the checks


def _push(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    return jvp(function, tuple(primals), tuple(tangents))


def _push_linearized(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    results, pushed = linearize(function, *primals)
    return results, pushed(*tangents)


def _check_orders(
    check: Check,
    function: Function,
    values: Sequence[Any],
    order: int,
    modes: Sequence[str],
) -> None:
    """Check a function, then its derivatives, as deep as asked for."""
    for mode in modes:
        if mode == "rev":
            more = _check_reverse(check, function, vjp, values)
            derivative = function.reverse()
        else:
            name, push = ("jvp", _push) if mode == "fwd" else ("linearize", _push_linearized)
            more = _check_forward(check, function, push, values, name)
            derivative = function.forward(push, name)
        if order > 1:
            _check_orders(check, derivative, [*values, *more], order - 1, modes)


def _check_forward(
    check: Check,
    function: Function,
    push: Callable[..., Any],
    values: Sequence[Any],
    name: str = "jvp",
) -> list[Any]:
    """Check a forward derivative in a random direction, and return that."""
    directions = [check.direction(x) for x in values]
    wanted = function(*values)
    check.kinds.update(x.dtype for x in [*values, *wanted])
    results, tangents = push(function, values, directions)
    what = f"the {name} of {function.title} (order {function.order + 1})"
    _check_values(check, what, function, results, wanted)
    numeric = Numeric(check, function, values, wanted).along(directions)
    for output, got, right in zip(function.outputs, tangents, numeric, strict=True):
        check.compare(what, output, got, right, "by central differences")
    return directions


def _check_reverse(
    check: Check, function: Function, pull: Callable[..., Any], values: Sequence[Any]
) -> list[Any]:
    """Check a pullback of a random cotangent, argument by argument, and return the cotangent."""
    wanted = function(*values)
    check.kinds.update(x.dtype for x in [*values, *wanted])
    results, back = pull(function, *values)
    what = f"the vjp of {function.title} (order {function.order + 1})"
    _check_values(check, what, function, results, wanted)
    cotangents = [check.direction(x) for x in wanted]
    gradients = back(list(cotangents))
    numeric = Numeric(check, function, values, wanted)
    still = [asarray(np.zeros(x.shape), x.dtype) for x in values]
    for i, name in enumerate(function.inputs):
        direction = check.direction(values[i])
        tangents = numeric.along([*still[:i], direction, *still[i + 1 :]])
        right = sum(_product(c, t) for c, t in zip(cotangents, tangents, strict=True))
        got = _product(gradients[i], direction)
        source = "by central differences in a random direction"
        check.compare(what, name, np.float64(got), np.float64(right), source)
    return cotangents


def _product(cotangent: Any, tangent: Any) -> float:
    """Apply a cotangent to a tangent; for complex numbers, the real part: Re(sum c t)."""
    return float(np.sum(host(cotangent) * host(tangent)).real)


def _check_values(
    check: Check, what: str, function: Function, results: Sequence[Any], wanted: Sequence[Any]
) -> None:
    """Check that a derivative comes with the function's value."""
    for name, got, right in zip(function.outputs, results, wanted, strict=True):
        source = "as the function itself returns"
        check.compare(f"the value beside {what}", name, got, right, source)
