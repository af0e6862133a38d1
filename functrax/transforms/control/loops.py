"""Loops made of `scan` and `while_loop`: `fori_loop`, `map`, `associative_scan`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.arguments import integer
from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, registry
from functrax.core.trace import Value, as_value, bind, diverging, vary
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.convert import convert
from functrax.primitives.rules import reshape, scalar
from functrax.primitives.shape import canonical_axis
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.calls import place_of
from functrax.transforms.control.bodies import (
    check_divergent,
    check_structure,
    is_known,
    leading_sizes,
    operands_of,
    sizes_with_names,
    stacked,
    trace_again,
    trace_carrying,
)
from functrax.transforms.control.scan_rules import scan_p
from functrax.transforms.control.trim import bind_loop
from functrax.transforms.control.while_loop import while_p
from functrax.transforms.flat import as_array, check_callable, function_name, path_of
from functrax.transforms.stage import stage_open


def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], Any],
    init_val: Any,
    *,
    unroll: int | bool | None = None,
    max_steps: int | None = None,
) -> Any:
    """Loop over a range of integers: ``for i in range(lower, upper): val = body_fun(i, val)``.

    With Python numbers as bounds it is a `scan`. With arrays it is a `while_loop`, which
    differentiates in both modes all the same.

    Args:
        lower: the first index, an integer scalar.
        upper: the end of the range, an integer scalar.
        body_fun: ``(i, val) -> val``, which keeps the structure, shapes and dtypes of val. Python
            numbers at the start take the dtype that the body returns.
        init_val: the value at the start, a pytree of arrays.
        unroll: how many steps to write out in each turn of the compiled loop; only with Python
            numbers as bounds.
        max_steps: with arrays as bounds, see `while_loop`.

    Returns:
        The last value.

    Raises:
        DtypeError: if a bound is not an integer scalar.
        TreeError, ShapeError, DtypeError: if the body changes the structure or types.

    Example:
        >>> import functrax
        >>> functrax.lax.fori_loop(0, 5, lambda i, total: total + i, 0)
        Array(10, dtype=int32, weak_type=True)
        >>> power = lambda x, n: functrax.lax.fori_loop(0, n, lambda _, y: y * x, 1.0)
        >>> float(functrax.jit(functrax.grad(power))(2.0, 10))
        5120.0
    """
    check_callable(body_fun, "fori_loop")
    first, end = _bound("lower", lower), _bound("upper", upper)
    static = type(first) is Literal and type(end) is Literal
    if config.disable_jit and is_known(first) and is_known(end):
        start_at, stop_at = int(lower), int(upper)
        if max_steps is not None and not static:
            stop_at = min(stop_at, start_at + max(max_steps, 0))
        for i in range(start_at, stop_at):
            init_val = body_fun(i, init_val)
        return init_val
    if unroll is not None and not static:
        raise errors.ArgumentError(
            "fori_loop", "Python numbers as bounds, because unroll is given", "an array"
        )
    dtype, weak = dtypes.promote(
        (first.aval.dtype, end.aval.dtype), (first.aval.weak_type, end.aval.weak_type), "fori_loop"
    )
    varying = first.aval.varying | end.aval.varying  # each device takes steps of its own
    counter = ShapedArray((), dtype, weak, varying)
    carry, structure = operands_of("fori_loop", "init_val", init_val)
    carry = [vary(x, varying) for x in carry]
    in_tree = tree.structure(((0, init_val), {}))
    check = lambda out_tree: check_structure(  # noqa: E731
        "fori_loop", body_fun, "a value", structure, out_tree
    )
    with diverging(varying):
        body, carry = trace_carrying(
            "fori_loop", "the value", body_fun, in_tree, structure, carry, check, before=[counter]
        )
    if not isinstance(unroll, bool | None):
        unroll = integer("fori_loop", "unroll", unroll)
    check_divergent("fori_loop", counter, [body.jaxpr])
    start = [vary(convert(first, dtype, weak), varying), *carry]
    step = _counting(body.jaxpr, len(body.consts))
    if static:
        trips = max(end.value - first.value, 0)
        copies = 1 if unroll is None or unroll is False else trips if unroll is True else unroll
        results = bind_loop(
            "fori_loop", scan_p, *body.consts, *start, captured=len(body.consts),
            jaxpr=step, length=trips, reverse=False,
            unroll=max(1, min(copies, trips)), num_consts=len(body.consts), num_carry=len(start),
        )  # fmt: skip
    else:
        if max_steps is not None:
            # One more than are taken is never needed: the range ends the loop.
            max_steps = max(max_steps, 0)
            limit = scalar(min(max_steps, dtypes.iinfo(dtype).max), dtype)
            start_at, end = convert(first, dtype), convert(end, dtype)
            (furthest,) = bind(registry["add"], start_at, limit)
            (nearer,) = bind(registry["min"], end, furthest)
            (wraps,) = bind(registry["lt"], furthest, start_at)  # further than the dtype counts
            (end,) = bind(registry["select_n"], wraps, nearer, end)
        results = bind_loop(
            "fori_loop", while_p, vary(convert(end, dtype), varying), *body.consts, *start,
            captured=1 + len(body.consts),
            cond=_below(tuple(x.aval for x in start)), body=step, num_cond_consts=1,
            max_steps=max_steps,
        )  # fmt: skip
    return structure.unflatten(results[1:])


def _bound(name: str, x: Any) -> Value:
    """Return a bound as a value; Python and NumPy integers as literals."""
    if isinstance(x, np.integer):
        x = np.asarray(x)
        return Literal(int(x), as_value(x, "fori_loop").aval)
    value = as_value(x, "fori_loop")
    if not dtypes.is_integer(value.aval.dtype) or value.aval.shape:
        raise errors.DtypeError("fori_loop", f"{name} to be an integer scalar", f"{value.aval!r}")
    return value


@program_cache
def _counting(jaxpr: Jaxpr, num_consts: int) -> Jaxpr:
    """Return the body that also returns the next index: ``(consts | i, val) -> (i + 1, val)``."""
    counter = jaxpr.in_avals[num_consts]

    def step(*values: Value) -> list[Value]:
        i = values[num_consts]
        (following,) = bind(registry["add"], i, Literal(1, ShapedArray((), counter.dtype, True)))
        return [following, *eval_jaxpr(jaxpr, (), *values)]

    return stage_open(step, jaxpr.in_avals, name=jaxpr.name)[0]


@program_cache
def _below(avals: tuple[ShapedArray, ...]) -> Jaxpr:
    """Return the condition ``(upper | i, val) -> i < upper``."""

    def running(upper: Value, i: Value, *_: Value) -> list[Value]:
        return [bind(registry["lt"], i, upper)[0]]

    return stage_open(running, [avals[0].strong(), *avals], name="below")[0]


def map(f: Callable[[Any], Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """Apply a function to each slice of arrays along their first axis, one after the other.

    Like ``vmap(f)(xs)``, in the memory that one slice needs, or `batch_size` of them.

    Args:
        f: a function of one pytree of arrays.
        xs: a pytree of arrays with one leading size.
        batch_size: how many slices to compute together.

    Returns:
        The results, stacked along a new leading axis.

    Raises:
        ArgumentError: if there are no arrays in xs, or their leading sizes differ.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.lax.map(lambda x: x * x, jnp.arange(4))
        Array([0, 1, 4, 9], dtype=int32)
    """
    check_callable(f, "map")
    values, structure = operands_of("map", "xs", xs)
    length = _leading(values, structure)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise errors.ArgumentError("map", "batch_size as a positive int or None", repr(batch_size))
    if config.disable_jit and length:
        rows = [f(structure.unflatten([as_array(x)[i] for x in values])) for i in range(length)]
        return tree.map(lambda *parts: stacked("map", parts), *rows)
    in_tree = tree.structure(((xs,), {}))
    slices = [x.aval.update(shape=x.aval.shape[1:]) for x in values]
    body = trace_again("map", f, in_tree, slices)
    if batch_size is None or batch_size == 1:
        return body.out_tree.unflatten(_mapped(body.jaxpr, body.consts, values, length))
    whole, rest = divmod(length, batch_size)
    parts: list[Sequence[Value]] = []
    if whole:
        jaxpr, consts = _vectorized(body.jaxpr, len(body.consts), batch_size)
        blocks = [
            reshape(_cut(x, 0, whole * batch_size), (whole, batch_size, *x.aval.shape[1:]))
            for x in values
        ]
        results = _mapped(jaxpr, [*consts, *body.consts], blocks, whole)
        parts.append([reshape(y, (whole * batch_size, *y.aval.shape[2:])) for y in results])
    if rest or not whole:
        jaxpr, consts = _vectorized(body.jaxpr, len(body.consts), rest)
        last = [_cut(x, whole * batch_size, length) for x in values]
        parts.append(eval_jaxpr(jaxpr, (), *consts, *body.consts, *last))
    joined = [
        column[0] if len(column) == 1 else bind(registry["concatenate"], *column, dimension=0)[0]
        for column in zip(*parts, strict=True)
    ]
    return body.out_tree.unflatten(joined)


def _leading(values: Sequence[Value], structure: Any) -> int:
    """Return the one leading size of arrays.

    Raises:
        ArgumentError: if they have none, or several.
    """
    sizes = leading_sizes("map", "xs with a leading axis", values, structure)
    if len(sizes) != 1:
        got = sizes_with_names(sizes) or "no arrays"
        raise errors.ArgumentError("map", "xs with one leading size", got)
    return next(iter(sizes))


def _mapped(
    jaxpr: Jaxpr, consts: Sequence[Value], xs: Sequence[Value], length: int
) -> Sequence[Value]:
    return bind_loop(
        "map", scan_p, *consts, *xs, captured=len(consts),
        jaxpr=jaxpr, length=length, reverse=False, unroll=1,
        num_consts=len(consts), num_carry=0,
    )  # fmt: skip


@program_cache
def _vectorized(jaxpr: Jaxpr, num_consts: int, size: int) -> tuple[Jaxpr, list[Value]]:
    dims = (None,) * num_consts + (0,) * (len(jaxpr.invars) - num_consts)
    return batch_jaxpr(jaxpr, BatchAxis(size), dims, (True,) * len(jaxpr.outvars))[:2]


def _cut(x: Value, start: int, stop: int, axis: int = 0, stride: int = 1) -> Value:
    shape = x.aval.shape
    if (start, stop, stride) == (0, shape[axis], 1):
        return x
    return bind(
        registry["slice"],
        x,
        start_indices=tuple(start if k == axis else 0 for k in range(len(shape))),
        limit_indices=tuple(stop if k == axis else n for k, n in enumerate(shape)),
        strides=tuple(stride if k == axis else 1 for k in range(len(shape))),
    )[0]


def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Combine all prefixes of arrays along an axis by an associative operation, in parallel.

    It takes about 2 log2(n) steps, each of which applies `fn` to whole arrays.

    Args:
        fn: ``(a, b) -> c``, of pytrees like `elems`, for arrays of any length along `axis`: it maps
            over that axis. It must be associative.
        elems: a pytree of arrays with one size along `axis`.
        reverse: whether to combine suffixes.
        axis: the axis; negative ones count from the end.

    Returns:
        A pytree like `elems`: at place i, the elements 0 to i combined.

    Raises:
        ArgumentError: if there are no arrays, or their sizes along the axis differ.
        TreeError, ShapeError, DtypeError: if `fn` returns another structure, or other types.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.lax.associative_scan(jnp.add, jnp.arange(5))
        Array([ 0,  1,  3,  6, 10], dtype=int32)

    Source: Ladner and Fischer, "Parallel prefix computation", J. ACM 27(4), 1980.
    """
    check_callable(fn, "associative_scan")
    values, structure = operands_of("associative_scan", "elems", elems)
    values = [as_array(x) for x in values]
    axes = [canonical_axis("associative_scan", axis, x.aval.ndim) for x in values]
    sizes = {x.aval.shape[k] for x, k in zip(values, axes, strict=True)}
    if len(sizes) != 1:
        raise errors.ArgumentError(
            "associative_scan", "arrays of one size along the axis", str(sorted(sizes) or "none")
        )

    def combine(a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
        result = fn(structure.unflatten(a), structure.unflatten(b))
        leaves, out_tree = tree.flatten(result)
        if out_tree != structure:
            expected = f"{function_name(fn)!r} to return the structure {structure}"
            raise errors.TreeError("associative_scan", expected, f"{out_tree}")
        results = [as_value(x, "associative_scan") for x in leaves]
        _check_combined(fn, structure, b, results)
        return results

    def flipped(xs: Sequence[Value]) -> list[Value]:
        if not reverse:
            return list(xs)
        pairs = zip(xs, axes, strict=True)
        return [bind(registry["rev"], x, dimensions=(k,))[0] for x, k in pairs]

    return structure.unflatten(flipped(_prefixes(combine, flipped(values), axes)))


def _check_combined(
    fn: Callable[..., Any], structure: Any, given: Sequence[Value], results: Sequence[Value]
) -> None:
    """Raise unless two parts combined are of the type of one.

    Raises:
        ShapeError, DtypeError: naming the leaf and both types.
    """
    for index, (x, result) in enumerate(zip(given, results, strict=True)):
        wanted, got = x.aval, result.aval
        if got.shape == wanted.shape and got.dtype == wanted.dtype:
            continue
        kind = errors.ShapeError if got.shape != wanted.shape else errors.DtypeError
        path = path_of(structure, index)
        raise kind(
            "associative_scan",
            f"{function_name(fn)!r} to return {wanted!r}, the type of its arguments"
            + (f", at result{path}" if path else ""),
            f"{got!r}",
            where=place_of(fn),
            fix="It is called on slices of many elements, and must combine them one by one.",
        )


def _prefixes(combine: Any, xs: Sequence[Value], axes: Sequence[int]) -> list[Value]:
    """Combine neighbours, the prefixes of these, and from them the prefixes of all."""
    n = xs[0].aval.shape[axes[0]]
    if n < 2:
        return list(xs)

    def cut(values: Sequence[Value], start: int, stop: int, stride: int = 1) -> list[Value]:
        return [_cut(x, start, stop, k, stride) for x, k in zip(values, axes, strict=True)]

    pairs = combine(cut(xs, 0, n - 1, 2), cut(xs, 1, n, 2))
    odd = _prefixes(combine, pairs, axes)  # at places 1, 3, 5, ...
    count = (n - 1) // 2
    even = combine(cut(odd, 0, count), cut(xs, 2, n, 2)) if count else []
    first = cut(xs, 0, 1)
    if even:
        columns = zip(first, even, axes, strict=True)
        even = [bind(registry["concatenate"], a, b, dimension=k)[0] for a, b, k in columns]
    else:
        even = first
    return [_interleaved(a, b, k) for a, b, k in zip(even, odd, axes, strict=True)]


def _interleaved(even: Value, odd: Value, axis: int) -> Value:
    """Return an array whose elements alternate along an axis, from `even` first."""
    count = odd.aval.shape[axis]
    shape = odd.aval.shape

    def apart(x: Value) -> Value:
        return reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))

    paired = [apart(_cut(even, 0, count, axis)), apart(odd)]
    (joined,) = bind(registry["concatenate"], *paired, dimension=axis + 1)
    whole = reshape(joined, (*shape[:axis], 2 * count, *shape[axis + 1 :]))
    if even.aval.shape[axis] == count:
        return whole
    last = _cut(even, count, count + 1, axis)
    return bind(registry["concatenate"], whole, last, dimension=axis)[0]
