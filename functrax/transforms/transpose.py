"""Reverse mode's second half: walk a linear program backwards."""

from collections.abc import Sequence

from functrax.core.config import in_force
from functrax.core.jaxpr import Jaxpr, Var, program_cache
from functrax.core.primitive import Linear, Refusal, missing_rule
from functrax.core.source import transposed
from functrax.core.trace import Value, bind, state
from functrax.primitives.rules import add_cotangents, tangent_type
from functrax.transforms.stage import stage_open

Cotangent = Value | None


def backward_pass(
    jaxpr: Jaxpr, known: Sequence[Value], cotangents: Sequence[Cotangent], transform: str = "grad"
) -> list[Cotangent]:
    """Pull cotangents of a program's results back to its linear arguments.

    The first ``len(known)`` of constvars and invars together are bound to values (residuals); the
    program must be linear in the others.

    Args:
        jaxpr: the program.
        known: values of the leading variables.
        cotangents: one per result, None for zero.
        transform: the user's transform, for messages.

    Returns:
        One cotangent per linear argument, None for zero.
    """
    variables = (*jaxpr.constvars, *jaxpr.invars)
    env: dict[Var, Value] = dict(zip(variables, known, strict=False))
    arguments = variables[len(known) :]
    linear = set(arguments)
    pulled: dict[Var, Value] = {}
    # Nobody asks for the lines of operations that run at once, unless they are checked.
    saved, told = state.source, state.trace is not None or bool(in_force.key.checks)
    try:
        for eqn in jaxpr.eqns:
            if not linear.isdisjoint(eqn.invars):
                linear.update(eqn.outvars)
                continue
            # A part that does not depend on the linear arguments is computed, not transposed.
            state.source = eqn.source
            results = bind(
                eqn.primitive, *(env[v] if type(v) is Var else v for v in eqn.invars), **eqn.params
            )
            env.update(zip(eqn.outvars, results, strict=True))
        for var, cotangent in zip(jaxpr.outvars, cotangents, strict=True):
            if cotangent is not None and var in linear:
                accumulate(pulled, var, cotangent)
        for eqn in reversed(jaxpr.eqns):
            incoming = [pulled.pop(var, None) for var in eqn.outvars]
            if all(cotangent is None for cotangent in incoming):
                continue
            state.source = transposed(eqn.source) if told else None
            rule = eqn.primitive.transpose
            if type(rule) is Refusal:
                raise missing_rule(eqn.primitive, transform, "transpose")
            operands = [
                v if type(v) is not Var else Linear(v.aval) if v in linear else env[v]
                for v in eqn.invars
            ]
            outgoing = rule(incoming, *operands, **eqn.params)
            for var, cotangent in zip(eqn.invars, outgoing, strict=True):
                if cotangent is not None and type(var) is Var and var in linear:
                    accumulate(pulled, var, cotangent)
    finally:
        state.source = saved
    return [pulled.get(var) for var in arguments]


def accumulate(pulled: dict[Var, Value], var: Var, cotangent: Value) -> None:
    """Add a cotangent to what has reached the variable so far."""
    before = pulled.get(var)
    pulled[var] = cotangent if before is None else add_cotangents(before, cotangent)


@program_cache
def transpose_jaxpr(
    jaxpr: Jaxpr, linear: tuple[bool, ...], nonzero: tuple[bool, ...]
) -> tuple[Jaxpr, list[Value], tuple[bool, ...]]:
    """Transpose a program in some of its arguments.

    Args:
        jaxpr: without constvars.
        linear: which arguments it is linear in.
        nonzero: which results have a cotangent.

    Returns:
        The program ``(consts, non-linear args, nonzero cotangents) -> nonzero cotangents of linear
        args``, its consts, and which linear arguments get a cotangent.
    """
    known_vars = [v for v, is_linear in zip(jaxpr.invars, linear, strict=True) if not is_linear]
    linear_vars = [v for v, is_linear in zip(jaxpr.invars, linear, strict=True) if is_linear]
    ordered = Jaxpr((), (*known_vars, *linear_vars), jaxpr.outvars, jaxpr.eqns, jaxpr.name)
    out_nonzero: list[bool] = []

    def pulled_back(*values: Value) -> list[Value]:
        given = iter(values[len(known_vars) :])
        cotangents = [next(given) if has else None for has in nonzero]
        results = backward_pass(ordered, values[: len(known_vars)], cotangents)
        out_nonzero.extend(result is not None for result in results)
        return [result for result in results if result is not None]

    cotangent_avals = [
        tangent_type(v.aval) for v, has in zip(jaxpr.outvars, nonzero, strict=True) if has
    ]
    result, consts = stage_open(
        pulled_back,
        [*(v.aval for v in known_vars), *cotangent_avals],
        name=f"transpose({jaxpr.name})",
    )
    return result, consts, tuple(out_nonzero)
