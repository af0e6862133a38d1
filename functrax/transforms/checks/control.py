"""How the state of checks goes through calls, branches and loops; and through whole programs.

A branch takes and returns it; a loop carries it, with a count of its steps beside it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax.core.jaxpr import Equation, Jaxpr, eval_jaxpr, program_cache
from functrax.core.trace import Value, bind, named_axes, vary
from functrax.primitives.collectives.axes import take_dynamic
from functrax.primitives.rules import Tangent, broadcast_to, expand_axis, scalar
from functrax.runtime.checked import Checked, install_checks
from functrax.runtime.compile import timings
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.checks.discharge import LOOPS, RULES, Discharge, Goal, content
from functrax.transforms.checks.table import INT32, Layout, Table, apply, stepped
from functrax.transforms.control.bodies import split_at
from functrax.transforms.control.while_reverse import BACKWARD
from functrax.transforms.partial import partial_eval_jaxpr
from functrax.transforms.stage import stage_open

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

    A rule that replaces the function hands on the checks of its primal part. Those of tangents and
    cotangents happen outside of `checkify`.
    """
    params, count = eqn.params, eqn.params["num_consts"]
    program = d.program(params["jaxpr"])
    own, consts, args = split_at(program.invars, d.size, count)
    invars = [*consts, *own, *args]
    changed = {
        "jaxpr": Jaxpr((), invars, program.outvars, program.eqns, program.name),
        **_LIFTED[eqn.primitive.name](d, params),
    }
    given, rest = split_at(operands, count)
    return bind(eqn.primitive, *given, *failed, *rest, **{**params, **changed})


def _lifted_jvp(d: Discharge, params: dict[str, Any]) -> dict[str, Any]:
    rule = params["rule"]

    def lifted(primals: Values, tangents: Sequence[Tangent]) -> Any:
        failed, args = split_at(primals, d.size)
        has = [t is not None for t in tangents[d.size :]]
        given = [t for t in tangents[d.size :] if t is not None]
        present: list[bool] = []

        def run(*values: Value) -> list[Value]:
            others = iter(values[len(args) :])
            results, out = rule(values[: len(args)], [next(others) if h else None for h in has])
            present.extend(t is not None for t in out)
            return [*results, *(t for t in out if t is not None)]

        jaxpr, consts = stage_open(run, [x.aval for x in (*args, *given)], name=params["name"])
        known = [*consts, *args]
        unknown = (*(False for _ in known), *(True for _ in given))
        recorded = (*(False for _ in present), *(True for p in present if p))
        first, captured, rest, _, forwarded = partial_eval_jaxpr(jaxpr, unknown, recorded)
        after, results = d.run(first, failed, [*captured, *known])
        computed = iter(results[len(present) :])
        residuals = [next(computed) if i is None else known[i] for i in forwarded]
        pushed = iter(eval_jaxpr(rest, (), *residuals, *given))
        out = [next(pushed) if p else None for p in present]
        return [*after, *results[: len(present)]], [*[None] * d.size, *out]

    return {"rule": lifted}


def _lifted_vjp(d: Discharge, params: dict[str, Any]) -> dict[str, Any]:
    rules = params["rules"]

    def forward(primals: Values, perturbed: Sequence[bool]) -> Any:
        failed, args = split_at(primals, d.size)
        counts: list[int] = []

        def run(*values: Value) -> list[Value]:
            results, residuals = rules.forward(values, perturbed[d.size :])
            counts.append(len(results))
            return [*results, *residuals]

        jaxpr, consts = stage_open(run, [x.aval for x in args], name=params["name"])
        after, results = d.run(jaxpr, failed, [*consts, *args])
        return [*after, *results[: counts[0]]], results[counts[0] :]

    def backward(residuals: Values, cotangents: Sequence[Tangent]) -> list[Tangent]:
        return [*[None] * d.size, *rules.backward(residuals, cotangents[d.size :])]

    return {"rules": rules._replace(forward=forward, backward=backward)}


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
    """Carry the state and the step, and the truth of a condition that can fail itself.

    A step of a loop that walks back is named by the step that it walks over.
    """
    params = eqn.params
    cond, body, count = params["cond"], params["body"], params["num_cond_consts"]
    num_carry = len(cond.invars) - count
    num_consts = len(body.invars) - num_carry
    checked = content(cond, d.goal).checks
    cond_consts, consts, carry = split_at(operands, count, num_consts)
    truth: list[Value] = []
    if checked:
        after, truth = d.run(cond, failed, [*cond_consts, *carry])
        failed = stepped(d.layout, failed[0], after, _int(0))

    def running(*values: Value) -> list[Value]:
        own, before, (_, *known), now = split_at(values, count, d.size, 1 + len(truth))
        goes_on = known[0] if checked else eval_jaxpr(cond, (), *own, *now)[0]
        if not d.goal.final:
            return [goes_on]
        return [apply("and", goes_on, apply("eq", before[0], _int(0)))]

    def step(*values: Value) -> list[Value]:
        own, others, before, (steps, *_), now = split_at(
            values, count, num_consts, d.size, 1 + len(truth)
        )
        after, results = d.run(body, before, [*others, *now])
        numbered = body.name == BACKWARD and now[0].aval is INT32  # not one for each lane
        after = stepped(d.layout, before[0], after, now[0] if numbered else steps)
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


# Devices ------------------------------------------------------------------------------------------


def _manual(d: Discharge, eqn: Equation, failed: Values, operands: Values) -> Values:
    """Each device has a state. The one that goes on is of a device on which what the program does
    first has failed: what collectives give to the others failed because of it.
    """
    params = eqn.params
    manual, jaxpr = params["manual"], params["jaxpr"]
    apart = d.layout.varying.union(manual.axes if manual.check else ())
    inner = Discharge(d.goal, d.layout._replace(varying=apart))
    inner.records = d.records

    def body(*values: Value) -> list[Value]:
        before = [vary(x, apart) for x in values[: d.size]]
        after, results = inner.run(jaxpr, before, values[d.size :])
        return [*[expand_axis(x, 0) for x in after], *results]

    with named_axes(*manual.named()):
        program = d.staged(body, [*d.layout.types, *jaxpr.in_avals], jaxpr.name)
    changed = {
        "jaxpr": program,
        "in_specs": (*[PartitionSpec()] * d.size, *params["in_specs"]),
        "out_specs": (*[PartitionSpec(manual.axes)] * d.size, *params["out_specs"]),
    }
    results = bind(eqn.primitive, *failed, *operands, **{**params, **changed})
    rows, rest = split_at(results, d.size)
    late = np.iinfo(np.int32).max
    good = apply("eq", rows[0], _int(0))
    codes = apply("select_n", good, rows[0], broadcast_to(_int(late), rows[0].aval.shape))
    first = apply("argmin", codes, axes=(0,), index_dtype=INT32.dtype)
    return [*[take_dynamic(x, first) for x in rows], *rest]


RULES.update(
    {
        "jit": _call,
        "checkpoint": _call,
        "custom_jvp_call": _custom_call,
        "custom_vjp_call": _custom_call,
        "cond": _cond,
        "scan": _scan,
        "shard_map": _manual,
        "while": _while,
    }
)
LOOPS.update({"scan", "while"})

# Whole programs -----------------------------------------------------------------------------------


def _prepared(jaxpr: Jaxpr, goal: Goal) -> Discharge:
    found = content(jaxpr, goal)
    payloads = sorted(found.payloads, key=repr)
    return Discharge(goal, Layout(found.depth, tuple(payloads)))


@program_cache
def functional(jaxpr: Jaxpr, kinds: frozenset[str]) -> tuple[Jaxpr, Table]:
    """Return the program ``args -> (state, results)``, and what the state means."""
    discharge = _prepared(jaxpr, Goal(kinds, False))

    def run(*values: Value) -> list[Value]:
        failed, results = discharge.run(jaxpr, discharge.layout.start(), values)
        return [*failed, *results]

    found = discharge.staged(run, jaxpr.in_avals, jaxpr.name)
    return found, Table(jaxpr.name, discharge.layout, discharge.records)


def raising(jaxpr: Jaxpr, checks: tuple[str, ...]) -> Checked | None:
    """Return the program that a launch can be checked by, or None if nothing in it can fail."""
    goal = Goal(frozenset(checks), True)
    if not content(jaxpr, goal).checks:
        return None
    discharge = _prepared(jaxpr, goal)

    def run(*values: Value) -> list[Value]:
        failed, results = discharge.run(jaxpr, discharge.layout.start(), values)
        return [*results, *failed]

    with timings.phase("trace"):
        found = discharge.staged(run, jaxpr.in_avals, jaxpr.name)
    table = Table(jaxpr.name, discharge.layout, discharge.records)
    return Checked(found, tuple(discharge.layout.types), table.error)


install_checks(raising)
