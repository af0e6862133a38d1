"""How the state of checks goes through calls, branches and loops.

A branch takes and returns it; a loop carries it, with a count of its steps beside it.
"""

from collections.abc import Sequence
from typing import Any

from functrax.core.jaxpr import Equation, Jaxpr, eval_jaxpr
from functrax.core.trace import Value, bind
from functrax.primitives.rules import Tangent, scalar
from functrax.transforms.checks.discharge import LOOPS, RULES, Discharge, content
from functrax.transforms.checks.table import INT32, apply, stepped
from functrax.transforms.control.bodies import split_at
from functrax.transforms.custom_vjp import Rules

Values = Sequence[Value]


def _int(value: int) -> Value:
    return scalar(value, INT32.dtype)


# Calls --------------------------------------------------------------------------------------------


def _call(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """A program that is called as it is: jit, checkpoint."""
    params = {**eqn.params, "jaxpr": d.program(eqn.params["jaxpr"])}
    return bind(eqn.primitive, *failed, *operands, **params)


def _custom_call(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """A call of a function with rules, which stay: the state is an argument without derivative.

    Its checks are those of the function; a rule that replaces it has none here, as `checkify` of
    the derivative has the rule's.
    """
    params, count = eqn.params, eqn.params["num_consts"]
    jaxpr = params["jaxpr"]
    changed = _consts_first(d, jaxpr, count)
    rules = _LIFTED[eqn.primitive.name](params, d.size)
    consts, args = operands[:count], operands[count:]
    return bind(eqn.primitive, *consts, *failed, *args, **{**params, **rules, "jaxpr": changed})


def _consts_first(d: Discharge, jaxpr: Jaxpr, count: int) -> Jaxpr:
    program = d.program(jaxpr)
    variables = program.invars
    order = [*variables[d.size : d.size + count], *variables[: d.size]]
    return Jaxpr(
        (), [*order, *variables[d.size + count :]], program.outvars, program.eqns, program.name
    )


def _lifted_jvp(params: dict[str, Any], size: int) -> dict[str, Any]:
    rule = params["rule"]

    def lifted(primals: Values, tangents: Sequence[Tangent]) -> Any:
        results, out = rule(primals[size:], tangents[size:])
        return [*primals[:size], *results], [*[None] * size, *out]

    return {"rule": lifted}


def _lifted_vjp(params: dict[str, Any], size: int) -> dict[str, Any]:
    rules = params["rules"]

    def forward(*primals: Value) -> Any:
        results, residuals = rules.forward(*primals[size:])
        return [*primals[:size], *results], residuals

    def backward(residuals: Values, cotangents: Sequence[Tangent]) -> list[Tangent]:
        return [*[None] * size, *rules.backward(residuals, cotangents[size:])]

    return {"rules": Rules(forward, backward)}


_LIFTED = {"custom_jvp_call": _lifted_jvp, "custom_vjp_call": _lifted_vjp}


# Branches -----------------------------------------------------------------------------------------


def _cond(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """Only the branch that is taken can fail."""
    index, *rest = operands
    branches = tuple(d.program(branch) for branch in eqn.params["branches"])
    return bind(eqn.primitive, index, *failed, *rest, **{**eqn.params, "branches": branches})


# Loops --------------------------------------------------------------------------------------------


def _scan(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """Carry the state and the step; a step is named by the place of its x, also backwards."""
    params = eqn.params
    jaxpr, num_consts, num_carry = params["jaxpr"], params["num_consts"], params["num_carry"]
    last = params["length"] - 1
    key = (jaxpr, num_consts, num_carry, last if params["reverse"] else None)

    def body(*values: Value) -> list[Value]:
        consts, before, (count,), rest = split_at(values, num_consts, d.size, 1)
        after, results = d.run(jaxpr, before, [*consts, *rest])
        step = apply("sub", _int(last), count) if params["reverse"] else count
        after = stepped(d.layout, before[0], after, step)
        return [*after, apply("add", count, _int(1)), *results]

    changed = d.programs.get(key)
    if changed is None:
        consts, rest = split_at(jaxpr.in_avals, num_consts)
        types = [*consts, *d.layout.types, INT32, *rest]
        changed = d.programs[key] = d.staged(body, types, jaxpr.name)
    consts, rest = split_at(operands, num_consts)
    results = bind(
        eqn.primitive,
        *consts,
        *failed,
        _int(0),
        *rest,
        **{**params, "jaxpr": changed, "num_carry": num_carry + d.size + 1},
    )
    return [*results[: d.size], *results[d.size + 1 :]]


def _while(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """Carry the state and the step, and the truth of a condition that can fail itself."""
    params = eqn.params
    cond, body, count = params["cond"], params["body"], params["num_cond_consts"]
    num_carry = len(cond.invars) - count
    num_consts = len(body.invars) - num_carry
    checked = content(cond, d.kinds).checks
    cond_consts, consts, carry = split_at(operands, count, num_consts)
    truth: list[Value] = []
    if checked:
        after, truth = d.run(cond, failed, [*cond_consts, *carry])
        failed = stepped(d.layout, failed[0], after, _int(0))

    def running(*values: Value) -> list[Value]:
        own, before, (_, *known), now = split_at(values, count, d.size, 1 + len(truth))
        goes_on = known[0] if checked else eval_jaxpr(cond, (), *own, *now)[0]
        if not d.stops:
            return [goes_on]
        return [apply("and", goes_on, apply("eq", before[0], _int(0)))]

    def step(*values: Value) -> list[Value]:
        own, others, before, (steps, *_), now = split_at(
            values, count, num_consts, d.size, 1 + len(truth)
        )
        after, results = d.run(body, before, [*others, *now])
        after = stepped(d.layout, before[0], after, steps)
        steps = apply("add", steps, _int(1))
        known: list[Value] = []
        if checked:
            middle = after[0]
            after, known = d.run(cond, after, [*own, *results])
            after = stepped(d.layout, middle, after, steps)
        return [*after, steps, *known, *results]

    own = cond.in_avals[:count]
    carried = [*d.layout.types, INT32, *(x.aval for x in truth), *cond.in_avals[count:]]
    results = bind(
        eqn.primitive,
        *cond_consts,
        *cond_consts,
        *consts,
        *failed,
        _int(0),
        *truth,
        *carry,
        **{
            **params,
            "cond": d.staged(running, [*own, *carried], cond.name),
            "body": d.staged(step, [*own, *body.in_avals[:num_consts], *carried], body.name),
        },
    )
    return [*results[: d.size], *results[d.size + 1 + len(truth) :]]


RULES.update(
    {
        "jit": _call,
        "checkpoint": _call,
        "custom_jvp_call": _custom_call,
        "custom_vjp_call": _custom_call,
        "cond": _cond,
        "scan": _scan,
        "while": _while,
    }
)
LOOPS.update({"scan", "while"})
