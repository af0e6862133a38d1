"""`explain_comms`: what devices will exchange when a function runs."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from functrax.core import tree
from functrax.core.config import config
from functrax.lowering.comms import Collective, collectives
from functrax.lowering.hlo_text import short_source
from functrax.sharding import Mesh, NamedSharding
from functrax.transforms.flat import check_callable, function_name
from functrax.transforms.jit import jit

_HEAD = (
    "collective",
    "axes",
    "devices",
    "operand",
    "sent",
    "times",
    "total",
    "by",
    "for",
    "source",
)
_RIGHT = {"devices", "operand", "sent", "times", "total"}


@dataclasses.dataclass(frozen=True)
class CommsReport:
    """What `explain_comms` found; it prints as a table.

    Its columns: the kind of the collective, the axes of the mesh and how many devices are in one
    group, the bytes that each device has before (operand) and that it sends each time, how often it
    runs (``?`` in loops of unknown length, ``<=`` in branches) and what it sends in all, by whom it
    was written, the operation that it is for, and its line.

    Attributes:
        function: the function's name.
        collectives: each collective, in the order in which the program runs them.
    """

    function: str
    collectives: tuple[Collective, ...]

    @property
    def total_bytes(self) -> int:
        """The bytes that each device sends in one run; loops of unknown length count one round."""
        return sum(one.total_bytes for one in self.collectives)

    @property
    def implicit(self) -> tuple[Collective, ...]:
        """Those that the compiler's partitioner has added."""
        return tuple(one for one in self.collectives if not one.explicit)

    def __iter__(self) -> Iterator[Collective]:
        """Iterate over the collectives."""
        return iter(self.collectives)

    def __len__(self) -> int:
        """Return the number of collectives."""
        return len(self.collectives)

    def __repr__(self) -> str:
        """Print the table and the total."""
        lines = [_HEAD, *map(_cells, self)] if self.collectives else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = [
            "  ".join(
                cell.rjust(width) if name in _RIGHT else cell.ljust(width)
                for cell, width, name in zip(line, widths, _HEAD, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*rows, self._summary()])

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        import html  # slow, and seldom needed

        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(one))}</tr>"
            for one in self
        )
        table = f"<table><tr>{head}</tr>{rows}</table>" if self.collectives else ""
        return f"{table}<p>{html.escape(self._summary())}</p>"

    def _summary(self) -> str:
        if not self.collectives:
            return f"{self.function}: no communication"
        least = "at least " if any(one.times is None for one in self) else ""
        count = f"{len(self)} collective{'s' if len(self) > 1 else ''}"
        added = f"{len(self.implicit)} of them by the partitioner"
        return (
            f"{self.function}: {count}, {added}; each device sends {least}{self.total_bytes} bytes"
        )


def _cells(one: Collective) -> tuple[str, ...]:
    times = "?" if one.times is None else str(one.times)
    return (
        one.kind,
        ", ".join(map(str, one.axes)) or "-",
        str(one.group_size),
        str(one.operand_bytes),
        str(one.sent_bytes),
        f"<={times}" if one.conditional else times,
        "?" if one.times is None else str(one.total_bytes),
        "user" if one.explicit else "partitioner",
        one.operation.rpartition("/")[2] or "-",
        short_source(one.source) or "-",
    )


def explain_comms(f: Callable[..., Any]) -> Callable[..., CommsReport]:
    """Return a function that says what devices will exchange when `f` runs.

    `f` is compiled, not run. The report has every collective of the compiled program: those that
    `f` asks for (`lax.psum` and the like, and their derivatives) and those that the compiler's
    partitioner adds because of shardings. `no_implicit_comms` makes the latter an error.

    Args:
        f: a function, jitted or not, of pytrees of arrays.

    Returns:
        A function of the same arguments (or `ShapeDtypeStruct` with a sharding) that returns a
        `CommsReport`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.explain_comms(lambda x: x.sum())(jnp.ones(3))
        <lambda>: no communication
    """
    check_callable(f, "explain_comms")
    function: Any = f if hasattr(f, "lower") else jit(f)

    def explain(*args: Any, **kwargs: Any) -> CommsReport:
        # What comes from the cache has the lines of the function that it was compiled for.
        with config.scope(no_implicit_comms=False, enable_compilation_cache=False):
            compiled = function.lower(*args, **kwargs).compile()
        found = collectives(compiled.as_text(), _mesh_of(compiled))
        return CommsReport(function_name(f), tuple(found))

    return explain


def _mesh_of(compiled: Any) -> Mesh | None:
    """Return the mesh that names the axes of a compiled program, if it has one."""
    shardings = tree.leaves((compiled.input_shardings, compiled.output_shardings))
    return next((one.mesh for one in shardings if isinstance(one, NamedSharding)), None)
