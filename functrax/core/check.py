"""The checker: whether a jaxpr keeps the promises that interpreters and the lowering rely on.

These are: every variable is defined once, and before it is used, in the program that uses it; the
results of an equation have the types that its primitive's rule gives for its operands; literals are
scalars that fit their types; and programs inside equations stand on their own.

``with config.scope(enable_checks=True)`` has every program checked that functrax makes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from functrax.core import dtypes
from functrax.core.jaxpr import Atom, ClosedJaxpr, Equation, Jaxpr, Var, check_equation_types
from functrax.core.params import programs_in
from functrax.core.show import show_equation
from functrax.core.types import Literal, ShapedArray, short_types
from functrax.errors import FunctraxError, JaxprError, user_location


def check_jaxpr(jaxpr: Jaxpr | ClosedJaxpr) -> None:
    """Raise unless a program is well-formed and well-typed.

    Args:
        jaxpr: the program. Of a closed one, the constants are checked too.

    Raises:
        JaxprError: naming the equation, its line in the user's code, what is expected and what
            is there.

    Example:
        >>> import functrax
        >>> from functrax.primitives.elementwise import sin
        >>> check_jaxpr(functrax.make_jaxpr(sin)(1.0))
    """
    check_read(jaxpr, {})


def check_read(jaxpr: Jaxpr | ClosedJaxpr, places: Mapping[Equation, str]) -> None:
    """Check like `check_jaxpr` a program that was read, and tell where in the text it is wrong."""
    if isinstance(jaxpr, ClosedJaxpr):
        _check_constants(jaxpr)
        jaxpr = jaxpr.jaxpr
    _Checker(jaxpr, "", set(), places).run()


def call_types(call: str, avals: Sequence[ShapedArray], jaxpr: Jaxpr) -> tuple[ShapedArray, ...]:
    """Return the types of the results of a call of a program: what `jit` and its like abstract to.

    Args:
        call: the primitive, for the message.
        avals: the types of the operands.
        jaxpr: the program that is called with them.

    Raises:
        JaxprError: if they are not those of the program's arguments, weak types aside.
    """
    wanted = jaxpr.in_avals
    if avals != wanted and [a.strong() for a in avals] != [a.strong() for a in wanted]:
        expected = f"operands of the types of the program's arguments, ({short_types(wanted)}),"
        raise JaxprError(call, expected, f"({short_types(avals)})")
    return jaxpr.out_avals


def _check_constants(closed: ClosedJaxpr) -> None:
    wanted = tuple(var.aval for var in closed.jaxpr.constvars)
    types = tuple(getattr(value, "aval", None) for value in closed.consts)
    if types != wanted:
        got = ", ".join(
            type(value).__name__ if aval is None else repr(aval)
            for value, aval in zip(closed.consts, types, strict=True)
        )
        raise JaxprError("check_jaxpr", f"constants of types ({short_types(wanted)})", f"({got})")


class _Checker:
    """Checks one program, and the programs in its equations once each.

    Args:
        jaxpr: the program.
        place: where it is, for messages: empty, or ``" of the program in ..."``.
        checked: the programs that are checked already.
        places: where equations were read.
    """

    def __init__(
        self, jaxpr: Jaxpr, place: str, checked: set[Jaxpr], places: Mapping[Equation, str]
    ) -> None:
        self.jaxpr = jaxpr
        self.place = place
        self.checked = checked
        self.places = places
        self.defined: set[Var] = set()
        self.number = -1
        self.eqn: Equation | None = None

    def run(self) -> None:
        """Check everything, in order."""
        self.checked.add(self.jaxpr)
        self.define((*self.jaxpr.constvars, *self.jaxpr.invars))
        for number, eqn in enumerate(self.jaxpr.eqns):
            self.number, self.eqn = number, eqn
            self.equation(eqn)
        self.eqn = None
        for v in self.jaxpr.outvars:
            self.atom(v)

    def fail(self, expected: str, got: str) -> NoReturn:
        """Raise for the current equation, or for the program's signature if there is none."""
        if self.eqn is None:
            name, where = f"the signature or results{self.place or ' of the program'}", None
        else:
            name = f"equation {self.number}{self.place}, `{show_equation(self.jaxpr, self.eqn)}`"
            where = str(self.eqn.source) if self.eqn.source else None
            if self.eqn in self.places:
                where = f"{self.places[self.eqn]} of the text, {user_location()}"
        raise JaxprError("check_jaxpr", f"{expected} in {name}", got, where=where)

    def define(self, variables: Sequence[Var]) -> None:
        """Add variables, which must be new."""
        for var in variables:
            if var in self.defined:
                self.fail("new variables", f"one of type {var.aval!r} that is defined twice")
            self.defined.add(var)

    def atom(self, v: Atom) -> None:
        """Check an operand or a result of the program."""
        if isinstance(v, Literal):
            problem = literal_problem(v)
            if problem:
                self.fail("literals that fit their types", f"{v!r}, {problem}")
        elif v not in self.defined:
            later = any(v in eqn.outvars for eqn in self.jaxpr.eqns)
            why = "that is defined later" if later else "that is defined nowhere in it"
            self.fail("variables that are defined before", f"one of type {v.aval!r} {why}")

    def equation(self, eqn: Equation) -> None:
        """Check operands, the programs inside, and the types of results."""
        for v in eqn.invars:
            self.atom(v)
        for key, value in eqn.params.items():
            for inner in programs_in(value):
                self.inner(inner, key, eqn)
        expected = self.types_of_results(eqn)
        got = tuple(var.aval for var in eqn.outvars)
        if got != expected:
            self.fail(f"results of types ({short_types(expected)})", f"({short_types(got)})")
        self.define(eqn.outvars)

    def inner(self, jaxpr: Jaxpr, key: str, eqn: Equation) -> None:
        """Check a program inside an equation."""
        if jaxpr.constvars:
            types = short_types(var.aval for var in jaxpr.constvars)
            got = f"constants of types ({types}) in {key}"
            self.fail("inner programs that take what they need as arguments", got)
        if jaxpr not in self.checked:
            where = f"{key!r} in equation {self.number} ({eqn.primitive.name})"
            place = f" of the program {where}{self.place}"
            _Checker(jaxpr, place, self.checked, self.places).run()

    def types_of_results(self, eqn: Equation) -> tuple[ShapedArray, ...]:
        """Return what the primitive's rule gives."""
        try:
            return check_equation_types(eqn)
        except FunctraxError as error:
            got = str(error) if error.got is None else error.got
            self.fail(f"{error.expected} for {error.call}", got)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            self.fail(f"operands and parameters that {eqn.primitive.name} takes", str(error))


def literal_problem(literal: Literal) -> str | None:
    """Say why a literal does not fit its type, or return None if it does.

    Example:
        >>> literal_problem(Literal(300, ShapedArray((), np.dtype("uint8"))))
        'which is out of range'
    """
    value, dtype = literal.value, literal.aval.dtype
    if literal.aval.shape:
        return "which is not a scalar"
    if isinstance(value, bool | np.bool_):
        return None if dtypes.is_bool(dtype) or dtype == dtypes.float0 else "which is a bool"
    if dtypes.is_integer(dtype):
        return _integer_problem(value, dtypes.iinfo(dtype))
    if dtypes.is_floating(dtype):
        return None if _is_real(value) else "which is not a real number"
    if dtypes.is_complex(dtype):
        is_number = _is_real(value) or isinstance(value, complex | np.complexfloating)
        return None if is_number else "which is not a number"
    return "whose type has no literals"


def _integer_problem(value: Any, limits: Any) -> str | None:
    if not isinstance(value, int | np.integer):
        return "which is not an integer"
    return None if limits.min <= value <= limits.max else "which is out of range"


def _is_real(value: Any) -> bool:
    return isinstance(value, np.generic | int | float) and not isinstance(value, np.complexfloating)
