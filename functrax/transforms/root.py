"""`custom_root`: the root of a function, differentiated by the implicit function theorem."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.jaxpr import dce, eval_jaxpr
from functrax.core.trace import Value, bind, state
from functrax.primitives.elementwise import neg
from functrax.primitives.rules import Tangent, zeros
from functrax.transforms.control.bodies import split_at
from functrax.transforms.custom_jvp import custom_jvp_call_p
from functrax.transforms.flat import as_array, called, check_callable
from functrax.transforms.forward import linearize
from functrax.transforms.jvp import jvp_flat
from functrax.transforms.linear_solve import Solver, inexact_operands, like, program

CALL = "custom_root"


def custom_root(
    f: Callable[[Any], Any],
    initial_guess: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    tangent_solve: Callable[[Callable[[Any], Any], Any], Any],
    has_aux: bool = False,
) -> Any:
    """Find a root of a function by a given solver, and differentiate the root, not the solver.

    The root depends on what `f` closes over, which may be differentiated, mapped or traced: where
    f(x, c) = 0, the derivative of x is the solution of (df/dx) dx = -(df/dc) dc.

    Args:
        f: x -> an array or pytree like x.
        initial_guess: pytree of floating-point or complex arrays, like x. The root does not depend
            on it.
        solve: ``(f, initial_guess) -> x``; it need not be differentiable.
        tangent_solve: ``(g, y) -> x`` with g(x) = y, for the linear function g that is the
            derivative of `f` at the root; itself linear in y. For scalars it is ``y / g(1.0)``.
        has_aux: whether `solve` returns ``(x, aux)``, with aux not differentiated.

    Returns:
        The root, or ``(root, aux)``.

    Raises:
        TreeError, ShapeError, DtypeError: if a function returns another structure, shape or dtype
            than that of the guess.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> def newton(f, x):
        ...     step = lambda x: x - f(x) / functrax.grad(f)(x)
        ...     return functrax.lax.while_loop(lambda x: jnp.abs(f(x)) > 1e-5, step, x)
        >>> divide = lambda g, y: y / g(1.0)
        >>> sqrt = lambda c: custom_root(lambda x: x * x - c, c, newton, divide)
        >>> print(f"{sqrt(9.0):.3f} {functrax.grad(sqrt)(9.0):.3f}")
        3.000 0.167

    Source: Griewank and Walther, "Evaluating Derivatives", SIAM, 2008, chapter 15.
    """
    for function in (f, solve, tangent_solve):
        check_callable(function, CALL)
    values, structure = inexact_operands(CALL, "initial_guess", initial_guess)
    solver = Solver(CALL, structure, values, has_aux)
    count = len(values)

    def apply(x: Any) -> Any:
        return like(CALL, f, "f(x)", structure, values, called(f, (x,), {}, CALL))

    def solve_tangents(x: Any, y: Any) -> Any:
        _, push = linearize(apply, x)
        solved = called(tangent_solve, (push, y), {}, CALL)
        return like(CALL, tangent_solve, "x", structure, values, solved)

    if state.trace is None:
        return solver.result(
            *solver.run(solve, (apply, structure.unflatten(map(as_array, values))))
        )
    function, consts = program(CALL, apply, values, structure)
    inverse, inverse_consts = program(CALL, solve_tangents, values, structure, structure)
    inverse, _ = dce(inverse)
    search, search_consts = program(
        CALL, lambda x: solver.run(solve, (apply, x)), values, structure
    )

    counts = len(consts), len(inverse_consts)

    def run(*operands: Value) -> list[Value]:
        _, _, held = split_at(operands, *counts)
        return eval_jaxpr(search, (), *held)

    def rule(primals: Sequence[Value], tangents: Sequence[Tangent]) -> Any:
        """Solve f' dx = -df: the derivative of f(x, c) = 0."""
        results = bind(custom_jvp_call_p, *primals, function=run, rule=rule, name=CALL)
        held, inverse_held, _ = split_at(primals, *counts)
        x = results[:count]
        changed = lambda *c: eval_jaxpr(function, (), *c, *x)  # noqa: E731
        _, changes = jvp_flat(changed, held, tangents[: counts[0]])
        if all(t is None for t in changes):
            return results, [None] * len(results)
        right = [zeros(v.aval) if t is None else neg(t) for v, t in zip(x, changes, strict=True)]
        solved = eval_jaxpr(inverse, (), *inverse_held, *x, *right)
        return results, [*solved, *[None] * (len(results) - count)]

    operands = [*consts, *inverse_consts, *search_consts, *values]
    results = bind(custom_jvp_call_p, *operands, function=run, rule=rule, name=CALL)
    return solver.result(structure.unflatten(results[:count]), results[count:])
