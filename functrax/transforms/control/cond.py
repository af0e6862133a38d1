"""`cond` and `switch`: one of several functions, chosen by a value of the program; and
`platform_dependent`, chosen by the platform.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.arguments import listed
from functrax.core.config import config
from functrax.core.primitive import registry
from functrax.core.trace import Value, as_value, bind, diverging, vary
from functrax.core.types import ShapedArray
from functrax.primitives.clamp import clamp
from functrax.primitives.convert import convert
from functrax.primitives.rules import (
    scalar,
)
from functrax.runtime.devices import default_device
from functrax.transforms.calls import place_of
from functrax.transforms.control.bodies import (
    check_divergent,
    converted,
    int32,
    is_known,
    joined_type,
    operands_of,
    path_of,
    trace_again,
    trace_body,
)
from functrax.transforms.control.cond_lanes import WAYS, merged
from functrax.transforms.control.cond_rules import cond_p, platform_index
from functrax.transforms.flat import as_array, check_callable, function_name
from functrax.transforms.traced import Traced


def switch(
    index: Any,
    branches: Sequence[Callable[..., Any]],
    *operands: Any,
    operand: Any = tree.UNSET,
    batched: str = "select",
) -> Any:
    """Apply one of several functions, chosen by an index.

    Args:
        index: integer scalar; one out of range takes the nearest branch.
        branches: at least one function of `operands`; their results have one structure, and the
            same shapes and dtypes.
        *operands: pytrees of arrays.
        operand: one operand, by name.
        batched: what runs under `vmap` with a mapped index; see `cond`.

    Returns:
        The result of the chosen function. Under `vmap` with a mapped index, the others run too, but
        only if some lane takes them, and on operands of such lanes.

    Raises:
        ArgumentError: if `batched` is none of the three.
        TreeError, ShapeError, DtypeError: if the results differ, naming the leaf.

    Example:
        >>> import functrax
        >>> functrax.lax.switch(1, [lambda x: x + 1, lambda x: x * 10], 3)
        Array(30, dtype=int32, weak_type=True)
    """
    operands = _by_name("switch", operands, operand)
    functions = listed("switch", "branches", branches)
    if not functions:
        raise errors.ArgumentError("switch", "at least one branch", "none")
    for function in functions:
        check_callable(function, "switch")
    value = _scalar("switch", "index", index)
    if not dtypes.is_integer(value.aval.dtype):
        raise errors.DtypeError("switch", "an integer index", f"{value.aval!r}")
    if config.disable_jit and is_known(value):
        return functions[min(max(int(value), 0), len(functions) - 1)](*operands)
    dtype = value.aval.dtype
    last = min(len(functions) - 1, int(dtypes.iinfo(dtype).max))
    value = clamp(scalar(0, dtype), value, scalar(last, dtype))
    index = convert(value, np.dtype(np.int32))
    return _choose("switch", index, functions, operands, **_way("switch", batched))


def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
    operand: Any = tree.UNSET,
    batched: str = "select",
) -> Any:
    """Apply one of two functions, chosen by a truth value.

    Args:
        pred: boolean scalar, or a number, which is true unless it is zero.
        true_fun: function of `operands`.
        false_fun: function of `operands`, whose result has the same structure, shapes and dtypes.
        *operands: pytrees of arrays.
        operand: one operand, by name.
        batched: what runs under `vmap` with a mapped `pred`. ``"select"`` runs each function over
            all lanes, at once, unless no lane takes it. ``"map"`` runs one lane after another, each
            its own function only. ``"partition"`` sorts the lanes by function and runs each
            function over its own lanes only, in blocks of 8 (the last block of a function is filled
            up with copies of its last lane): it pays where functions are expensive. Either of
            these loops has derivatives in both modes; collectives over the mapped axis need
            ``"select"``.

    Returns:
        The result of the chosen function. Only that function runs; under `vmap` with a mapped
        `pred` both do, unless all lanes agree, and neither value nor derivative of a lane feels the
        function that it does not take.

    Raises:
        ArgumentError: if `batched` is none of the three.
        TreeError, ShapeError, DtypeError: if the results differ, naming the leaf.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.grad(lambda x: functrax.lax.cond(x > 0, jnp.sqrt, lambda x: 0.0 * x, x))
        >>> [float(f(x)) for x in (4.0, -1.0)]
        [0.25, 0.0]
    """
    operands = _by_name("cond", operands, operand)
    check_callable(true_fun, "cond")
    check_callable(false_fun, "cond")
    value = _scalar("cond", "pred", pred)
    if config.disable_jit and is_known(value):
        return true_fun(*operands) if bool(value) else false_fun(*operands)
    if not dtypes.is_bool(value.aval.dtype):
        (value,) = bind(registry["ne"], value, scalar(0, value.aval.dtype))
    index = convert(value, np.dtype(np.int32))
    return _choose("cond", index, [false_fun, true_fun], operands, **_way("cond", batched))


def platform_dependent(
    *args: Any, default: Callable[..., Any] | None = None, **per_platform: Callable[..., Any]
) -> Any:
    """Apply one of several functions, chosen by the platform that the program is lowered for.

    Args:
        *args: pytrees of arrays.
        default: function of `args` for the platforms without one of their own.
        **per_platform: functions of `args` by platform: ``cpu``, ``tpu``, ``cuda``, ``rocm``. All
            are traced, and their results have one structure, and the same shapes and dtypes.

    Returns:
        The result of the platform's function. The others are no part of the program that runs.

    Raises:
        ArgumentError: if there is no function, or, when the program is lowered, none for the
            platform.
        TreeError, ShapeError, DtypeError: if the results differ, naming the leaf.

    Example:
        >>> import functrax
        >>> functrax.lax.platform_dependent(3, cpu=lambda x: x + 1, default=lambda x: x - 1)
        Array(4, dtype=int32, weak_type=True)
    """
    call = "platform_dependent"
    if "gpu" in per_platform:
        fix = "Use 'cuda' or 'rocm'."
        raise errors.ArgumentError(call, "the name of a platform", "'gpu'", fix=fix)
    named = list(per_platform.items())
    if default is not None:
        named.append(("", default))
    if not named:
        raise errors.ArgumentError(call, "at least one function", "none")
    platforms: list[tuple[str, ...] | None] = []
    functions: list[Callable[..., Any]] = []
    for name, function in named:
        check_callable(function, call)
        known = next((i for i, f in enumerate(functions) if f is function and name), None)
        if known is None:
            functions.append(function)
            platforms.append((name,) if name else None)
        else:  # traced once for all its platforms
            platforms[known] = (*(platforms[known] or ()), name)
    if config.disable_jit:
        return functions[platform_index(default_device().platform, platforms)](*args)
    return _choose(call, int32(0), functions, args, platforms=tuple(platforms))


def _way(call: str, batched: str) -> dict[str, str]:
    """Return the option for `batched`; the default is not written down."""
    if not isinstance(batched, str) or batched not in WAYS:
        expected = "batched as " + ", ".join(map(repr, WAYS))
        raise errors.ArgumentError(call, expected, repr(batched))
    return {} if batched == "select" else {"batched": batched}


def _by_name(call: str, operands: tuple[Any, ...], operand: Any) -> tuple[Any, ...]:
    if operand is tree.UNSET:
        return operands
    if operands:
        raise errors.ArgumentError(call, "operands by position or `operand=`", "both")
    return (operand,)


def _scalar(call: str, what: str, x: Any) -> Any:
    value = as_array(as_value(x, call))
    if value.aval.shape or dtypes.is_extended(value.aval.dtype):
        raise errors.ShapeError(call, f"{what} to be a scalar", f"{value.aval!r}")
    return value


def _choose(
    call: str,
    index: Value,
    functions: Sequence[Callable[..., Any]],
    operands: tuple[Any, ...],
    **options: Any,
) -> Any:
    """Trace the branches, give their results common types, and bind the choice."""
    values, _ = operands_of(call, "operands", operands)
    values = [vary(x, index.aval.varying) for x in values]
    in_tree = tree.structure((operands, {}))
    avals = [x.aval for x in values]
    trace = trace_again if call == "platform_dependent" else trace_body
    with diverging(index.aval.varying):
        bodies = [trace(call, function, in_tree, avals) for function in functions]
    types = _common_types(call, functions, bodies)
    if index.aval.varying:
        check_divergent(call, index.aval, [body.jaxpr for body in bodies])
        types = tuple(aval.update(varying=aval.varying | index.aval.varying) for aval in types)

    def fit(_: Any, results: list[Value]) -> list[Value]:
        return [converted(x, aval) for x, aval in zip(results, types, strict=True)]

    with diverging(index.aval.varying):
        fitted = [
            body
            if body.jaxpr.out_avals == types
            else trace(call, function, in_tree, avals, fit, key=types)
            for function, body in zip(functions, bodies, strict=True)
        ]
    branches, consts = merged([(body.jaxpr, body.consts) for body in fitted])
    results = bind(cond_p, index, *consts, *values, branches=branches, **options)
    return bodies[0].out_tree.unflatten(results)


def _common_types(
    call: str, functions: Sequence[Callable[..., Any]], bodies: Sequence[Traced]
) -> tuple[ShapedArray, ...]:
    """Return the types of the results; weak ones give way.

    Raises:
        TreeError, ShapeError, DtypeError: if two branches differ.
    """
    first = bodies[0]
    types = list(first.jaxpr.out_avals)
    for function, body in zip(functions[1:], bodies[1:], strict=True):
        pair = f"{function_name(functions[0])!r} and {function_name(function)!r}"
        lines = " and ".join(filter(None, (place_of(functions[0]), place_of(function))))
        if body.out_tree != first.out_tree:
            raise errors.TreeError(
                call,
                f"branches whose results have one structure, as {pair}",
                f"{first.out_tree} and {body.out_tree}",
                where=lines,
            )
        for i, (a, b) in enumerate(zip(types, body.jaxpr.out_avals, strict=True)):
            joined = joined_type(a, b)
            if joined is None:
                kind = errors.ShapeError if a.shape != b.shape else errors.DtypeError
                path = path_of(body.out_tree, i)
                raise kind(
                    call,
                    f"branches whose results have the same types, as {pair}",
                    f"{a!r} and {b!r}" + (f" at result{path}" if path else ""),
                    where=lines,
                    fix="Reshape, or convert one of them.",
                )
            types[i] = joined
    return tuple(types)
