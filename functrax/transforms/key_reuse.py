"""Key reuse: find, in a traced program, PRNG keys that are used twice, so that numbers meant to be
independent are the same.

Drawing bits from a key and splitting it use it up. Folding a number in does not, and neither do
moving keys about, unwrapping them and comparing them. Every element of every array of keys has a
number of its own, which the program's operations on shapes move along; an operation that uses a
number up for the second time is what is looked for. Loops are followed for two turns, and of a
branch either side counts. The words of raw keys are numbered too: those of key n are 2n and 2n+1.

What a transform computes again, such as the inside of a `checkpoint`, is not the user's doing.

Source: the rules of what uses a key up are those of JAX's key reuse checker (JEP 9263).
"""

import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core.config import config
from functrax.core.jaxpr import Equation, Jaxpr, Var, subjaxprs
from functrax.core.primitive import Primitive
from functrax.core.trace import Value, state
from functrax.transforms.key_uses import VERBS, Reuse, find_key_reuse
from functrax.transforms.stage import StageTrace

_REPORTED = 5  # of one program


def check_key_reuse(
    call: str,
    jaxpr: Jaxpr,
    consts: Sequence[Value],
    names: Callable[[], Sequence[str]],
    function: str,
) -> None:
    """Look for key reuse in a program that was just traced, unless it is part of another one.

    Args:
        call: the user's transform.
        jaxpr: the program; what it captured are its leading arguments.
        consts: the captured values.
        names: gives the names of the other arguments.
        function: the name of the function that was traced.

    Raises:
        KeyReuseError: under ``key_reuse="error"`` (or JAX's ``debug_key_reuse``).
    """
    mode = _mode()
    if mode == "off" or not uses_keys(jaxpr) or _is_staging():
        return
    _tell(call, mode, find_key_reuse(jaxpr, consts, names(), function))


_checked: weakref.WeakSet[Jaxpr] = weakref.WeakSet()


def check_loop(
    call: str,
    primitive: Primitive,
    operands: Sequence[Value],
    captured: int,
    params: dict[str, Any],
) -> None:
    """Look for key reuse in a loop that runs at once, which is a program of its own.

    Args:
        call: the user's function.
        primitive: the loop.
        operands: its operands; the first ones are what it captured.
        captured: how many these are.
        params: its parameters.

    Raises:
        KeyReuseError: as `check_key_reuse`.
    """
    mode = _mode()
    bodies = [body for body in subjaxprs(params) if body not in _checked]
    if mode == "off" or not bodies or _is_staging():
        return
    if any(map(uses_keys, bodies)):
        invars = [Var(x.aval) for x in operands]
        eqn = Equation(primitive, invars, (), params, None)
        _tell(
            call, mode, find_key_reuse(Jaxpr((), invars, (), (eqn,)), operands[:captured], (), call)
        )
    _checked.update(bodies)


def _mode() -> str:
    return "error" if config.debug_key_reuse else config.key_reuse


def _tell(call: str, mode: str, found: Sequence[Reuse]) -> None:
    """Warn of what was found, or raise it."""
    for reuse in found[:_REPORTED]:
        error = errors.KeyReuseError(
            call,
            "each key to be used once",
            f"{reuse.origin} {reuse.first} and {reuse.second}",
            where=reuse.where,
            fix="Use `key, subkey = random.split(key)` and each of them once, or "
            "`random.fold_in(key, i)` in a loop; `random.clone(key)` says that it is meant.",
        )
        if mode == "error":
            raise error
        frame = errors.user_frame()
        place = ("<unknown>", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        warnings.warn_explicit(str(error), errors.KeyReuseWarning, *place)


def _is_staging() -> bool:
    """Tell whether a program is being written that will hold this one, and be looked at itself."""
    trace = state.trace
    while trace is not None:
        if type(trace) is StageTrace:
            return True
        trace = trace.parent
    return False


def uses_keys(jaxpr: Jaxpr) -> bool:
    """Tell whether a program draws random bits or splits keys."""
    seen, waiting = {jaxpr}, [jaxpr]
    for one in waiting:  # each program once: nested calls can double on each level
        for eqn in one.eqns:
            if eqn.primitive.name in VERBS:
                return True
            if eqn.primitive.partial is not None:
                new = set(subjaxprs(eqn.params)) - seen
                seen |= new
                waiting += new
    return False
