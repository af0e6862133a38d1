"""`custom_linear_solve`: a linear equation is solved, and differentiated by solving another."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core import tree
from functrax.core.check import call_types
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.primitive import BatchAxis, declare
from functrax.core.signature import takes
from functrax.core.trace import Value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.elementwise import neg
from functrax.primitives.rules import (
    Dim,
    Tangent,
    add_cotangents,
    has_tangent,
    is_linear,
    move_batch_axis,
    zeros,
)
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.calls import checked_pair, place_of
from functrax.transforms.control.bodies import check_structure, operands_of, split_at
from functrax.transforms.flat import (
    FlatFunction,
    as_array,
    called,
    check_callable,
    function_name,
    path_of,
)
from functrax.transforms.grad import linear_transpose
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.scope import disable_jit
from functrax.transforms.stage import stage_open

CALL = "custom_linear_solve"


class Programs(NamedTuple):
    """The four functions of a call, as programs of what they captured and the unknowns.

    Attributes:
        matvec: A x.
        vecmat: its transpose; None if no transposed equation can be solved.
        solve: b to the x with A x = b, and auxiliary results.
        transpose_solve: the same for the transpose, or None.
    """

    matvec: Any
    vecmat: Any
    solve: Any
    transpose_solve: Any


# The primitive: operands are what each of the programs captured, and b.


def _programs(params: dict[str, Any]) -> Programs:
    return Programs(*(params[name] for name in Programs._fields))


def _split(items: Sequence[Any], params: dict[str, Any]) -> list[Sequence[Any]]:
    """Split what there is one of per operand into the captured values of each program, and b."""
    return split_at(items, *params["num_consts"])


def _evaluate(*operands: Value, **params: Any) -> list[Value]:
    _, _, consts, _, b = _split(operands, params)
    return eval_jaxpr(params["solve"], (), *consts, *b)


def _parameters(
    *,
    matvec: Jaxpr,
    vecmat: Jaxpr | None,
    solve: Jaxpr,
    transpose_solve: Jaxpr | None,
    num_consts: tuple[int, ...],
    num_unknowns: int,
) -> None:
    """What a call is described by."""


@takes(_parameters)
def _abstract_eval(*avals: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
    _, _, consts, _, b = _split(avals, params)
    return call_types(CALL, [*consts, *b], params["solve"])


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Solve A dx = db - dA x."""
    count = params["num_unknowns"]
    results = bind(custom_linear_solve_p, *primals, **params)
    consts, *_ = _split(primals, params)
    consts_t, *_, right = _split(tangents, params)
    if any(t is not None for t in consts_t):
        nonzero = tuple(t is not None for t in (*consts_t, *[None] * count))
        pushed, new, has = jvp_jaxpr(params["matvec"], nonzero)
        given = [t for t in consts_t if t is not None]
        values = eval_jaxpr(pushed, (), *new, *consts, *results[:count], *given)
        parts = iter(values[count:])
        changes = [neg(next(parts)) if h else None for h in has]
        right = [add_cotangents(a, b) for a, b in zip(right, changes, strict=True)]
    if all(t is None for t in right):
        return results, [None] * len(results)
    b = primals[len(primals) - count :]
    dense = [zeros(x.aval) if t is None else t for x, t in zip(b, right, strict=True)]
    solved = bind(custom_linear_solve_p, *primals[: len(primals) - count], *dense, **params)
    return results, [*solved[:count], *[None] * (len(results) - count)]


def _transpose(cotangents: Sequence[Tangent], *operands: Any, **params: Any) -> list[Tangent]:
    """Solve the transposed equation."""
    *captured, b = _split(operands, params)
    if any(is_linear(x) for consts in captured for x in consts):
        raise errors.MissingRuleError(
            CALL,
            "a linear function of b",
            "a transposition in what matvec or solve closes over",
            fix="Use `vjp`, which linearizes first.",
        )
    matvec, vecmat, solve, transpose_solve = _programs(params)
    if transpose_solve is None:
        raise errors.MissingRuleError(
            CALL,
            "a solver of the transposed equation, for reverse mode",
            "transpose_solve=None",
            fix="Pass `transpose_solve`, or `symmetric=True` if matvec is its own transpose.",
        )
    given = [
        zeros(x.aval) if c is None else c for x, c in zip(b, cotangents[: len(b)], strict=True)
    ]
    order = (1, 0, 3, 2)
    swapped = Programs(vecmat, matvec, transpose_solve, solve)._asdict()
    pulled = bind(
        custom_linear_solve_p,
        *(x for i in order for x in captured[i]),
        *given,
        **swapped,
        num_consts=tuple(params["num_consts"][i] for i in order),
        num_unknowns=len(b),
    )
    return [
        *[None] * (len(operands) - len(b)),
        *(c if is_linear(x) else None for x, c in zip(b, pulled, strict=False)),
    ]


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Map the four functions; the unknowns are always mapped."""
    *captured, b = _split(operands, params)
    *captured_d, b_d = _split(dims, params)
    moved = [move_batch_axis(axis, x, d) for x, d in zip(b, b_d, strict=True)]
    programs: list[Jaxpr | None] = []
    held: list[list[Value]] = []
    for jaxpr, consts, consts_d in zip(_programs(params), captured, captured_d, strict=True):
        mapped, new = None, []
        if jaxpr is not None:
            placed = (*consts_d, *[0] * len(b))
            mapped, new, _ = batch_jaxpr(jaxpr, axis, placed, (True,) * len(jaxpr.outvars))
        programs.append(mapped)
        held.append([*new, *consts])
    results = bind(
        custom_linear_solve_p,
        *(x for consts in held for x in consts),
        *moved,
        **Programs(*programs)._asdict(),
        num_consts=tuple(map(len, held)),
        num_unknowns=len(b),
    )
    return results, [0] * len(results)


def _lower(b: Any, *operands: Any, **params: Any) -> list[Any]:
    _, _, consts, _, right = _split(operands, params)
    return b.lower_jaxpr(params["solve"], [*consts, *right], CALL)


def _axis_names(params: dict[str, Any]) -> frozenset[Any]:
    programs = [jaxpr for jaxpr in _programs(params) if jaxpr is not None]
    return frozenset[Any]().union(*(jaxpr.axis_names for jaxpr in programs))


custom_linear_solve_p = declare(
    "custom_linear_solve",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    axis_names=_axis_names,
    lowers_keys=True,
)


def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    transpose_solve: Callable[[Callable[[Any], Any], Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """Solve a linear equation by a given solver, and differentiate the solution, not the solver.

    The derivative of the x with A x = b is the solution of A dx = db - dA x, and the pullback
    solves the transposed equation. So `solve` may be a loop, and what `matvec` closes over may be
    differentiated, mapped or traced.

    Args:
        matvec: x -> A x, linear; x and A x have the structure of `b`.
        b: pytree of floating-point or complex arrays.
        solve: ``(matvec, b) -> x``; it need not be differentiable.
        transpose_solve: ``(vecmat, b) -> x`` for the transpose of `matvec`; reverse mode needs it.
        symmetric: whether `matvec` is its own transpose; then `solve` solves both.
        has_aux: whether the solvers return ``(x, aux)``, with aux not differentiated.

    Returns:
        x, or ``(x, aux)``.

    Raises:
        TreeError, ShapeError, DtypeError: if `matvec` or a solver returns another structure, shape
            or dtype than that of `b`.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> solve = lambda matvec, b: b / matvec(jnp.ones_like(b))
        >>> f = lambda a, b: custom_linear_solve(lambda x: a * x, b, solve, symmetric=True)
        >>> x = f(2.0, jnp.array([2.0, 4.0]))
        >>> x, float(functrax.grad(lambda a: f(a, 4.0))(2.0))
        (Array([1., 2.], dtype=float32), -1.0)

    Source: Griewank and Walther, "Evaluating Derivatives", SIAM, 2008, chapter 15.
    """
    for function in (matvec, solve, *(() if transpose_solve is None else (transpose_solve,))):
        check_callable(function, CALL)
    values, structure = inexact_operands(CALL, "b", b)
    right = structure.unflatten(map(as_array, values))
    solver = Solver(CALL, structure, values, has_aux)

    def apply(x: Any) -> Any:
        return like(CALL, matvec, "A x", structure, values, called(matvec, (x,), {}, CALL))

    def apply_transposed(y: Any) -> Any:
        return apply(y) if symmetric else linear_transpose(apply, right)(y)[0]

    if state.trace is None:
        return solver.result(*solver.run(solve, (apply, right)))
    nothing: tuple[Jaxpr | None, list[Value]] = (None, [])
    forward = program(CALL, apply, values, structure)
    solving = program(CALL, lambda b: solver.run(solve, (apply, b)), values, structure)
    pairs = [forward, nothing, solving, nothing]
    aux_tree = solver.aux_tree
    if symmetric:
        pairs = [forward, forward, solving, solving]
    if transpose_solve is not None:
        pairs[1] = program(CALL, apply_transposed, values, structure)
        pairs[3] = program(
            CALL, lambda b: solver.run(transpose_solve, (apply_transposed, b)), values, structure
        )
        solver.aux_tree = aux_tree
    results = bind(
        custom_linear_solve_p,
        *(x for _, consts in pairs for x in consts),
        *values,
        **Programs(*(jaxpr for jaxpr, _ in pairs))._asdict(),
        num_consts=tuple(len(consts) for _, consts in pairs),
        num_unknowns=len(values),
    )
    return solver.result(structure.unflatten(results[: len(values)]), results[len(values) :])


class Solver:
    """Runs users' solvers and checks what they return.

    Attributes:
        aux_tree: the structure of the auxiliary results of the last run.
    """

    def __init__(self, call: str, structure: Any, values: Sequence[Value], has_aux: bool) -> None:
        """Take the structure and the values that the solution must be like."""
        self.call = call
        self.structure = structure
        self.values = values
        self.has_aux = has_aux
        self.aux_tree: Any = None

    def run(self, function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the solution and the leaves of the auxiliary results."""
        x, aux = called(function, args, {}, self.call), None
        if self.has_aux:
            x, aux = checked_pair(self.call, function, "the solver to return a pair (x, aux)", x)
        leaves, self.aux_tree = tree.flatten(aux)
        return like(self.call, function, "x", self.structure, self.values, x), leaves

    def result(self, x: Any, aux: Sequence[Any]) -> Any:
        """Return what the user's call returns."""
        return (x, self.aux_tree.unflatten(aux)) if self.has_aux else x


def program(
    call: str, function: Callable[..., Any], values: Sequence[Value], *structures: Any
) -> tuple[Jaxpr, list[Value]]:
    """Trace a function of arguments like given values, one for each structure."""
    flat = FlatFunction(
        function, tree.structure((tuple(s.unflatten(values) for s in structures), {})), call
    )
    avals = [x.aval.strong() for x in values] * len(structures)
    with disable_jit(False):  # a loop in Python could not see values
        return stage_open(flat, avals, transform=call, name=function_name(function))


def like(
    call: str,
    function: Callable[..., Any],
    what: str,
    structure: Any,
    values: Sequence[Value],
    result: Any,
) -> Any:
    """Return the result of a function that must have the types of given values.

    Raises:
        TreeError, ShapeError, DtypeError: naming the leaf and the function's line.
    """
    leaves, found = operands_of(call, what, result)
    check_structure(call, function, what, structure, found)
    for index, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
        wanted, got = value.aval.strong(), leaf.aval.strong()
        if wanted != got:
            kind = errors.ShapeError if wanted.shape != got.shape else errors.DtypeError
            raise kind(
                call,
                f"{function_name(function)!r} to return {what}{path_of(structure, index)} of type "
                f"{wanted!r}",
                f"{leaf.aval!r}",
                where=place_of(function),
            )
    return found.unflatten(map(as_array, leaves))


def inexact_operands(call: str, what: str, pytree: Any) -> tuple[list[Value], Any]:
    """Flatten unknowns and check that they are floating-point or complex arrays.

    Raises:
        ArgumentError, DtypeError: naming the leaf.
    """
    values, structure = operands_of(call, what, pytree)
    for index, value in enumerate(values):
        if not has_tangent(value.aval):
            raise errors.DtypeError(
                call,
                f"{what}{path_of(structure, index)} to have a floating or complex dtype",
                f"{value.aval!r}",
                fix="Convert it with `.astype(float)`.",
            )
    return values, structure
