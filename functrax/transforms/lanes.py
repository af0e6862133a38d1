"""Mapping of operations that XLA cannot look into: the methods that a user chooses from."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Value
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim, broadcast_to, expand_axis, move_batch_axis
from functrax.transforms.control.bodies import stacked
from functrax.transforms.control.scan import scan

VMAP_METHODS = ("sequential", "sequential_unrolled", "expand_dims", "broadcast_all")

Call = Callable[..., Sequence[Value]]
Mapped = tuple[Sequence[Value], Sequence[Dim]]


def check_vmap_method(call: str, method: Any) -> None:
    """Raise for anything but None and the names of methods."""
    if method is not None and method not in VMAP_METHODS:
        raise errors.ArgumentError(
            call,
            f"vmap_method as None or one of {', '.join(map(repr, VMAP_METHODS))}",
            repr(method),
        )


def stacked_types(axis: BatchAxis, types: Sequence[ShapedArray]) -> tuple[ShapedArray, ...]:
    """Return types with the mapped axis in front."""
    return tuple(aval.update(shape=(axis.size, *aval.shape)) for aval in types)


def lane_by_lane(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], call: Call
) -> Mapped:
    """Call once for each lane, in order, in a loop of the program."""
    mapped = [d is not None for d in dims]
    lanes = [
        move_batch_axis(axis, x, d) for x, d in zip(operands, dims, strict=True) if d is not None
    ]

    def step(_: None, rows: Sequence[Value]) -> tuple[None, list[Value]]:
        given = iter(rows)
        whole = [next(given) if m else x for x, m in zip(operands, mapped, strict=True)]
        return None, list(call(*whole))

    _, results = scan(step, None, lanes)
    return results, [0] * len(results)


def map_by_method(
    method: str | None,
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    what: str,
    call: Call,
    call_stacked: Call,
) -> Mapped:
    """Map a call by one of the methods.

    Args:
        method: its name.
        axis: the mapped axis.
        operands: the operands.
        dims: the mapped axis of each, or None.
        what: what is called, for the error.
        call: calls on one lane.
        call_stacked: calls on all lanes: on operands with a leading axis, that of the lanes or of
            size 1, with results that have that of the lanes.

    Returns:
        The results and their mapped axes.

    Raises:
        MissingRuleError: there is no method.
    """
    if method == "sequential":
        return lane_by_lane(axis, operands, dims, call)
    moved = [
        x if d is None else move_batch_axis(axis, x, d) for x, d in zip(operands, dims, strict=True)
    ]
    if method == "sequential_unrolled" and axis.size:
        rows = [
            call(*[x if d is None else x[i] for x, d in zip(moved, dims, strict=True)])
            for i in range(axis.size)
        ]
        columns = [stacked("vmap", column) for column in zip(*rows, strict=True)]
        return columns, [0] * len(columns)
    if method is None:
        raise errors.MissingRuleError(
            "vmap",
            f"{what} to say how it is mapped",
            "vmap_method=None",
            fix=f"Give it one of {', '.join(map(repr, VMAP_METHODS))}.",
        )
    # With no lanes there is nothing to unroll either.
    whole = [x if d is not None else expand_axis(x, 0) for x, d in zip(moved, dims, strict=True)]
    if method == "broadcast_all":
        whole = [broadcast_to(x, (axis.size, *x.aval.shape[1:])) for x in whole]
    results = call_stacked(*whole)
    return results, [0] * len(results)
