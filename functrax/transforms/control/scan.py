"""`scan`: a loop of known length that carries values along and stacks what its body returns."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.config import config
from functrax.core.trace import Value
from functrax.transforms.control.bodies import (
    check_structure,
    leading_sizes,
    operands_of,
    sizes_with_names,
    stacked,
    trace_carrying,
)
from functrax.transforms.control.scan_rules import scan_p
from functrax.transforms.control.scan_segments import bind_scan, plan_of, plan_within
from functrax.transforms.control.trim import trimmed
from functrax.transforms.flat import (
    check_callable,
    function_name,
    shown,
)
from functrax.transforms.key_reuse import check_loop


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    *,
    checkpoint: int | str | None = None,
    budget_bytes: int | None = None,
) -> tuple[Any, Any]:
    """Loop over the leading axis of arrays, carrying values along and stacking results.

    In Python: ``ys = []``, ``for x in xs: carry, y = f(carry, x); ys.append(y)``, with
    ``(carry, stack(ys))`` returned. The body is traced once, whatever the length.

    Args:
        f: ``(carry, x) -> (carry, y)``, or a list of the two; the carry keeps its structure, shapes
            and dtypes. Python numbers at the start take the dtype that the body returns.
        init: the carry at the start, a pytree of arrays.
        xs: a pytree of arrays with one leading size, or None.
        length: the number of steps; needed if there are no xs.
        reverse: whether to go from the last x to the first; each y still lies at its x's place.
        unroll: how many steps to write out in each turn of the compiled loop; True for all.
        _split_transpose: accepted for compatibility; it changes nothing here.
        checkpoint: what reverse mode keeps: of each step all that it needs (None); the carry at
            the start of so many segments, which it runs again one at a time (a number, or
            ``"sqrt"`` for as many as the square root of the length); or, by halving segments again
            and again, the carry at 2 log2(length) steps (``"log"``), which are run log2(length)
            times.
        budget_bytes: instead of `checkpoint`, how many bytes reverse mode may take, beside xs, ys
            and their cotangents. Segments, and segments of segments, are made as need be. A number
            of segments that divides the length saves copies of xs.

    Returns:
        ``(carry, ys)``: the last carry, and the ys stacked along a new leading axis.

    Raises:
        ArgumentError: if the length is not known, or not that of xs; if no segments keep within
            the budget.
        TreeError, ShapeError, DtypeError: if the body changes the carry's structure or types.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.lax.scan(lambda total, x: (total + x, total), 0, jnp.arange(4))
        (Array(6, dtype=int32), Array([0, 0, 1, 3], dtype=int32))

    Source: Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse
    automatic differentiation", Optimization Methods and Software 1, 1992; Chen et al., "Training
    deep nets with sublinear memory cost", arXiv:1604.06174.
    """
    del _split_transpose
    check_callable(f, "scan")
    carry, carry_tree = operands_of("scan", "init", init)
    x_values, x_tree = operands_of("scan", "xs", xs)
    steps = _length(x_values, x_tree, length)
    copies = _copies(unroll, steps)
    plan: Any = []
    if checkpoint is not None:
        if budget_bytes is not None:
            raise errors.ArgumentError("scan", "checkpoint or budget_bytes, not both", "both")
        plan = plan_of(checkpoint, steps)
    slices = [x.aval.update(shape=x.aval.shape[1:]) for x in x_values]
    if config.disable_jit and steps:
        return _unrolled(f, init, x_values, x_tree, steps, reverse)
    in_tree = tree.structure(((init, xs), {}))
    check = lambda out_tree: _check_pair(f, out_tree, carry_tree)  # noqa: E731
    body, carry = trace_carrying(
        "scan", "the carry", f, in_tree, carry_tree, carry, check, after=slices
    )
    if budget_bytes is not None:
        plan = plan_within(budget_bytes, body.jaxpr, len(body.consts), len(carry), steps)
    operands = [*body.consts, *carry, *x_values]
    params: dict[str, Any] = {
        "jaxpr": body.jaxpr,
        "length": steps,
        "reverse": bool(reverse),
        "unroll": copies,
        "num_consts": len(body.consts),
        "num_carry": len(carry),
    }
    check_loop("scan", scan_p, operands, len(body.consts), params)
    smaller, params, restore = trimmed(scan_p, operands, params)
    results = restore(bind_scan(plan, smaller, **params))
    return body.out_tree.unflatten(results)


def _length(xs: Sequence[Value], structure: Any, length: int | None) -> int:
    """Return the number of steps.

    Raises:
        ArgumentError: if it is not known, or not one.
    """
    sizes = leading_sizes("scan", "xs with a leading axis to loop over", xs, structure)
    if length is not None:
        try:
            sizes.setdefault(length.__index__(), lambda: "length")
        except AttributeError:
            raise errors.ArgumentError("scan", "length as an int", shown(length)) from None
    if len(sizes) > 1:
        got = sizes_with_names(sizes)
        raise errors.ArgumentError("scan", "one leading size in all xs, and as length", got)
    if not sizes:
        raise errors.ArgumentError("scan", "xs with at least one array, or a length", "neither")
    (steps,) = sizes
    if steps < 0:
        raise errors.ArgumentError("scan", "a length of at least 0", str(steps))
    return steps


def _copies(unroll: int | bool, steps: int) -> int:
    if isinstance(unroll, bool):
        return max(steps, 1) if unroll else 1
    if not isinstance(unroll, int) or unroll < 0:
        raise errors.ArgumentError("scan", "unroll as a positive int or a bool", shown(unroll))
    return max(1, min(unroll, steps)) if unroll else max(steps, 1)


def _check_pair(f: Callable[..., Any], out_tree: Any, carry_tree: Any) -> None:
    children = out_tree.children()
    if len(children) != 2:
        raise _no_pair(f, out_tree)
    check_structure("scan", f, "a carry", carry_tree, children[0])


def _no_pair(f: Callable[..., Any], out_tree: Any) -> errors.TreeError:
    expected = f"{function_name(f)!r} to return a pair (carry, y)"
    return errors.TreeError("scan", expected, f"{out_tree}")


def _unrolled(
    f: Callable[..., Any], carry: Any, xs: Sequence[Any], structure: Any, steps: int, reverse: bool
) -> Any:
    """Run the loop in Python, as `disable_jit` asks for."""
    results: list[Any] = []
    pair: Any = None
    for i in range(steps - 1, -1, -1) if reverse else range(steps):
        result = f(carry, structure.unflatten([x[i] for x in xs]))
        parts, pair = tree.flatten(result, lambda x, result=result: x is not result)
        if pair.num_nodes != 3:
            raise _no_pair(f, tree.structure(result))
        carry, y = parts
        results.append(y)
    if reverse:
        results.reverse()
    return pair.unflatten([carry, tree.map(lambda *rows: stacked("scan", rows), *results)])
