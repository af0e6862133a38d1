"""Check that a program is linear in some of its arguments, equation by equation."""

import enum
from collections.abc import Callable, Sequence

import numpy as np

from functrax.core import dtypes
from functrax.core.jaxpr import Atom, Equation, Jaxpr, Var, dce
from functrax.core.primitive import Refusal
from functrax.core.trace import Tracer, Value
from functrax.core.types import Literal
from functrax.primitives.rules import has_tangent


class Kind(enum.IntEnum):
    """How a value depends on the arguments in which the program is to be linear."""

    ZERO = 0
    LINEAR = 1
    OTHER = 2


#: Operations that are linear in several operands at once: a constant among these operands makes the
#: result affine. A number n stands for the last n operands, by the equation's parameters.
JOINT: dict[str, Callable[[Equation], slice]] = {
    **dict.fromkeys(
        ["add", "sub", "complex", "concatenate", "optimization_barrier", "pad"],
        lambda eqn: slice(None),
    ),
    "dynamic_update_slice": lambda eqn: slice(2),
    "ragged_all_to_all": lambda eqn: slice(2),
    "select_n": lambda eqn: slice(1, None),
    "scatter_add": lambda eqn: slice(0, None, 2),
    "scatter": lambda eqn: slice(0, None, 2),
    "linear_call": lambda eqn: slice(-eqn.params["num_linear"], None),
    "custom_linear_solve": lambda eqn: slice(-eqn.params["num_unknowns"], None),
    "custom_vjp_tangent": lambda eqn: slice(
        eqn.params["num_primals"] + eqn.params["num_residuals"], None
    ),
}
PRODUCTS = {"mul", "dot_general", "conv_general_dilated"}
CALLS = {"jit", "checkpoint"}

Fail = Callable[[Equation, str], Exception]


def kind_of_value(value: Value) -> Kind:
    """Return the kind of a constant: zero, or not or not known to be."""
    if isinstance(value, Tracer) or dtypes.is_extended(value.aval.dtype):
        return Kind.OTHER
    number = value.value if isinstance(value, Literal) else value
    return Kind.OTHER if np.any(np.asarray(number) != 0) else Kind.ZERO


def check_linear(jaxpr: Jaxpr, kinds: Sequence[Kind], fail: Fail) -> list[Kind]:
    """Follow what depends linearly on the arguments through a program.

    Args:
        jaxpr: without constvars.
        kinds: how each argument depends on what the program is to be linear in.
        fail: makes the error for an equation that is not linear, from it and the reason.

    Returns:
        The kinds of the results.
    """
    found: dict[Var, Kind] = dict(zip(jaxpr.invars, kinds, strict=True))

    def kind_of(atom: Atom) -> Kind:
        return kind_of_value(atom) if isinstance(atom, Literal) else found[atom]

    for eqn in jaxpr.eqns:
        outs = _results(eqn, [kind_of(atom) for atom in eqn.invars], fail)
        found.update(zip(eqn.outvars, outs, strict=True))
    return [kind_of(atom) for atom in jaxpr.outvars]


def _results(eqn: Equation, kinds: list[Kind], fail: Fail) -> Sequence[Kind]:
    """Return the kinds of an equation's results."""
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        return check_linear(params["jaxpr"], kinds, fail)
    if name == "cond" and kinds[0] is not Kind.LINEAR:
        rows = [check_linear(branch, kinds[1:], fail) for branch in params["branches"]]
        return [_joined(column, eqn, fail) for column in zip(*rows, strict=True)]
    if name == "scan":
        return _scan(eqn, kinds, fail)
    if name == "while":
        return _while(eqn, kinds, fail)
    joint = kinds[JOINT[name](eqn)] if name in JOINT else None
    if Kind.LINEAR not in kinds:
        zero = joint if joint is not None else kinds[:1]
        is_zero = all(kind is Kind.ZERO for kind in zero) and not isinstance(
            eqn.primitive.transpose, Refusal
        )
        is_zero = is_zero or (name in PRODUCTS and Kind.ZERO in kinds)
        return [Kind.ZERO if is_zero and kinds else Kind.OTHER] * len(eqn.outvars)
    if isinstance(eqn.primitive.transpose, Refusal) or not all(
        has_tangent(var.aval) for var in eqn.outvars
    ):
        raise fail(eqn, "which is not a linear operation")
    count = kinds.count(Kind.LINEAR)
    if joint is not None:
        if joint.count(Kind.LINEAR) < count:
            raise fail(eqn, "which is not linear in that operand")
        return [_joined(joint, eqn, fail)] * len(eqn.outvars)
    if count > 1:
        raise fail(eqn, "of two values that depend on it")
    if name == "div" and kinds[0] is not Kind.LINEAR:
        raise fail(eqn, "by a value that depends on it")
    return [Kind.ZERO if name in PRODUCTS and Kind.ZERO in kinds else Kind.LINEAR] * len(
        eqn.outvars
    )


def _joined(kinds: Sequence[Kind], eqn: Equation, fail: Fail) -> Kind:
    """Return the kind of a sum."""
    if Kind.LINEAR in kinds and Kind.OTHER in kinds:
        raise fail(eqn, "with a value that does not depend on it and is not zero")
    return max(kinds)


def _scan(eqn: Equation, kinds: list[Kind], fail: Fail) -> Sequence[Kind]:
    first, count = eqn.params["num_consts"], eqn.params["num_carry"]
    consts, carry, xs = kinds[:first], kinds[first : first + count], kinds[first + count :]
    return _around(eqn, eqn.params["jaxpr"], consts, carry, xs, fail)


def _while(eqn: Equation, kinds: list[Kind], fail: Fail) -> Sequence[Kind]:
    cond, body, count = eqn.params["cond"], eqn.params["body"], eqn.params["num_cond_consts"]
    start = len(kinds) - (len(cond.invars) - count)
    carry = _around(eqn, body, kinds[count:start], kinds[start:], [], fail)
    read = zip((*kinds[:count], *carry), dce(cond)[1], strict=True)
    if any(kind is Kind.LINEAR and is_read for kind, is_read in read):
        raise fail(eqn, "which ends by a value that depends on it")
    return carry


def _around(
    eqn: Equation,
    body: Jaxpr,
    consts: Sequence[Kind],
    carry: Sequence[Kind],
    xs: Sequence[Kind],
    fail: Fail,
) -> Sequence[Kind]:
    """Go around a loop until its carry keeps its kinds; return those of the body's results."""
    while True:
        outs = check_linear(body, [*consts, *carry, *xs], fail)
        after = [_joined(pair, eqn, fail) for pair in zip(carry, outs, strict=False)]
        if after == list(carry):
            return outs
        carry = after
