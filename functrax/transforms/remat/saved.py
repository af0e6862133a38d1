"""What the backward pass of a function keeps, and what it computes again."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from functrax.core import tree
from functrax.core.jaxpr import Equation, Jaxpr, Var
from functrax.core.trace import Value
from functrax.core.types import ShapedArray
from functrax.lowering.inline import programs_of
from functrax.primitives.residuals import name_p
from functrax.primitives.rules import has_tangent
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    argument_types,
    check_callable,
    function_name,
)
from functrax.transforms.jit_call import jit_p
from functrax.transforms.partial import linearize_flat
from functrax.transforms.remat.checkpoint import checkpoint_p
from functrax.transforms.remat.cost import flops, nbytes
from functrax.transforms.stage import StageTracer, stage_open

SAVED, RECOMPUTED = "saved", "recomputed"


@dataclasses.dataclass(frozen=True)
class SavedValue:
    """One value of a report.

    Attributes:
        value: what it is: an argument's name, a constant, the operation that gives it, or the name
            that `checkpoint_name` gave it.
        type: its shape and dtype, as in programs.
        bytes: its size.
        source: the ``file:line`` that computes it, or an empty string.
        status: ``"saved"`` for the backward pass, or ``"recomputed"`` in it.
        flops: the arithmetic operations that computing it again takes; 0 if it is saved.
    """

    value: str
    type: str
    bytes: int
    source: str
    status: str
    flops: int = 0


@dataclasses.dataclass(frozen=True)
class SavedReport:
    """What `saved_report` found; it prints as a table.

    Attributes:
        function: the function's name.
        rows: the values: saved ones first.
    """

    function: str
    rows: tuple[SavedValue, ...]

    @property
    def total_bytes(self) -> int:
        """The bytes of all saved values."""
        return sum(row.bytes for row in self.rows if row.status == SAVED)

    @property
    def total_flops(self) -> int:
        """The operations of all that is computed again."""
        return sum(row.flops for row in self.rows)

    def __repr__(self) -> str:
        """Print the table and the totals."""
        head = [field.name for field in dataclasses.fields(SavedValue)]
        lines = [head, *([str(x) for x in dataclasses.astuple(row)] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = {"bytes", "flops"}
        text = "\n".join(
            "  ".join(
                cell.rjust(width) if name in right else cell.ljust(width)
                for cell, width, name in zip(line, widths, head, strict=True)
            ).rstrip()
            for line in lines
        )
        return (
            f"{text}\n{self.function}: {self.total_bytes} bytes saved, "
            f"{self.total_flops} operations computed again"
        )


def saved_report(fun: Callable[..., Any]) -> Callable[..., SavedReport]:
    """Return a function that reports what the backward pass of `fun` keeps and computes again.

    The report is printed, and returned. `fun` is traced, not run.

    Args:
        fun: a differentiable function of pytrees of arrays.

    Returns:
        A function of the same arguments (or `ShapeDtypeStruct`) that prints and returns a
        `SavedReport`: one row for each residual, and one for each value that `checkpoint` computes
        again.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
        >>> report = functrax.saved_report(f)(functrax.ShapeDtypeStruct((3,), "float32"))
        ... # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
        value       type    bytes  source...  status      flops
        argument x  f32[3]     12...          saved           0
        sin         f32[3]     12  ...:1      recomputed      3
        ...
        <lambda>: 12 bytes saved, 9 operations computed again
        >>> report.total_bytes, report.total_flops
        (12, 9)
    """
    check_callable(fun, "saved_report")

    def report(*args: Any, **kwargs: Any) -> SavedReport:
        found = _report(fun, args, kwargs)
        print(found)
        return found

    return report


def print_saved_residuals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Print type and origin of each value that the backward pass of a function keeps.

    Args:
        f: a differentiable function of pytrees of arrays.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.ad_checkpoint import print_saved_residuals
        >>> print_saved_residuals(lambda x: x * x, 3.0)
        ~f32[] from the argument x
    """
    for row in _report(f, args, kwargs).rows:
        if row.status == SAVED:
            place = f" from {row.source}" if row.source else ""
            origin = row.value if place else f"from the {row.value}"
            print(f"{row.type} {origin}{place}")


def _report(fun: Callable[..., Any], args: Any, kwargs: Any) -> SavedReport:
    leaves, in_tree = tree.flatten((args, kwargs))
    names = argument_names(fun, in_tree)
    avals = argument_types("saved_report", leaves, lambda: names)
    flat = FlatFunction(fun, in_tree, "saved_report")
    linear: list[Jaxpr] = []
    kept: list[Value] = []

    def run(*values: Value) -> Sequence[Value]:
        active = [has_tangent(x.aval) for x in values]
        _, jaxpr, residuals, _ = linearize_flat(flat, values, active, name="saved_report")
        linear.append(jaxpr)
        kept.extend(residuals)
        return [x for x in residuals if type(x) is StageTracer]

    jaxpr, consts = stage_open(run, avals, transform="saved_report", name=function_name(fun))
    origins = _origins(jaxpr, len(consts), names)
    traced = iter(jaxpr.outvars)
    rows = [
        _saved(x.aval, *origins.get(next(traced), ("constant", "")))
        if type(x) is StageTracer
        else _saved(x.aval, "constant", "")
        for x in kept
    ]
    again = [row for one in linear for row in _recomputed(one)]
    return SavedReport(function_name(fun), (*rows, *again))


def _saved(aval: ShapedArray, value: str, source: str) -> SavedValue:
    return SavedValue(value, repr(aval), nbytes(aval), source, SAVED)


def _origins(jaxpr: Jaxpr, num_consts: int, names: Sequence[str]) -> dict[Any, tuple[str, str]]:
    """Say of each variable of a program what it is, and at which line it was made."""
    found: dict[Any, tuple[str, str]] = dict.fromkeys(jaxpr.invars[:num_consts], ("constant", ""))
    arguments = jaxpr.invars[num_consts:]
    found.update({v: (f"argument {n}", "") for v, n in zip(arguments, names, strict=True)})
    found.update(_results(jaxpr))
    return found


def _results(jaxpr: Jaxpr) -> dict[Any, tuple[str, str]]:
    found: dict[Any, tuple[str, str]] = {}
    for eqn in jaxpr.eqns:
        inside: dict[Any, tuple[str, str]] = {}
        outs: Sequence[Any] = eqn.outvars
        if eqn.primitive in (jit_p, checkpoint_p):  # what the call computes, where it is computed
            outs = eqn.params["jaxpr"].outvars
            inside = _results(eqn.params["jaxpr"])
        for v, out in zip(eqn.outvars, outs, strict=True):
            found[v] = inside.get(out, (_label(eqn), _line(eqn)))
        if eqn.primitive is name_p:
            found[eqn.invars[0]] = found[eqn.outvars[0]]
    return found


def _label(eqn: Equation) -> str:
    if eqn.primitive is name_p:
        return f"{eqn.params['name']!r}"
    return eqn.primitive.name


def _line(eqn: Equation) -> str:
    return str(eqn.source) if eqn.source else ""


def _recomputed(jaxpr: Jaxpr) -> Iterator[SavedValue]:
    """Yield what a linear program computes from its residuals in the calls that it makes."""
    for eqn in jaxpr.eqns:
        if eqn.primitive is checkpoint_p:
            linear = {
                v
                for v, given in zip(eqn.params["jaxpr"].invars, eqn.invars, strict=True)
                if type(given) is Var and given not in jaxpr.constvars
            }
            yield from _computed_again(eqn.params["jaxpr"], linear)


def _computed_again(jaxpr: Jaxpr, linear: set[Var]) -> Iterator[SavedValue]:
    linear = set(linear)
    names = {eqn.invars[0]: _label(eqn) for eqn in jaxpr.eqns if eqn.primitive is name_p}
    for eqn in jaxpr.eqns:
        if not any(type(v) is Var and v in linear for v in eqn.invars):
            if eqn.primitive is name_p:  # the array that it names: nothing is computed
                continue
            cost = flops(eqn)
            for i, v in enumerate(eqn.outvars):
                label, size = names.get(v, _label(eqn)), nbytes(v.aval)
                yield SavedValue(
                    label, repr(v.aval), size, _line(eqn), RECOMPUTED, 0 if i else cost
                )
            continue
        linear.update(eqn.outvars)
        if eqn.primitive in (jit_p, checkpoint_p):
            (program,) = programs_of(eqn)
            pairs = zip(program.invars, eqn.invars, strict=True)
            yield from _computed_again(program, {v for v, given in pairs if given in linear})
