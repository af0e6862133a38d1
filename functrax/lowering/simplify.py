"""Equations that need not be computed: what they give is an operand, or a number known already.

Only what is exact is replaced, bit for bit, also where it is -0.0, NaN or infinite. XLA would do
the same later; here it leaves less to write, hash and compile.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from functrax.core.jaxpr import Atom, Equation, Jaxpr
from functrax.core.types import Literal, ShapedArray

Rule = Callable[[Equation, Sequence[Atom]], Atom | None]
NumPyFunction = Callable[..., Any]


def simplify(jaxpr: Jaxpr) -> Jaxpr:
    """Replace results of equations by operands or literals that equal them."""
    replaced: dict[Atom, Atom] = {}
    eqns: list[Equation] = []
    for eqn in jaxpr.eqns:
        invars = [replaced.get(v, v) for v in eqn.invars] if replaced else eqn.invars
        rule = RULES.get(eqn.primitive.name)
        result = None if rule is None else rule(eqn, invars)
        if result is None:
            eqns.append(eqn.replace(invars) if replaced else eqn)
        else:
            replaced[eqn.outvars[0]] = result
    if not replaced:
        return jaxpr
    outvars = [replaced.get(v, v) for v in jaxpr.outvars]
    return Jaxpr(jaxpr.constvars, jaxpr.invars, outvars, eqns, jaxpr.name)


# Results that are an operand ----------------------------------------------------------------------


def _same_type(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    """The elements stay in order, so the same type means the same value."""
    return invars[0] if invars[0].aval is eqn.outvars[0].aval else None


def _unstrided(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    """A slice as large as its operand, forwards, is its operand."""
    return _same_type(eqn, invars) if set(eqn.params["strides"]) <= {1} else None


def _unpermuted(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    permutation = eqn.params["permutation"]
    return invars[0] if permutation == tuple(range(len(permutation))) else None


def _unreduced(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    return None if eqn.params["axes"] else _same_type(eqn, invars)


def _selected(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    """select_n(number, *cases) = cases[number]."""
    which, *cases = invars
    if type(which) is not Literal or not 0 <= int(which.value) < len(cases):
        return None
    chosen = cases[int(which.value)]
    return chosen if chosen.aval is eqn.outvars[0].aval else None


def _is_number(atom: Atom, wanted: float) -> bool:
    """Tell a real literal number from others; 0.0 and -0.0 are two."""
    if type(atom) is not Literal or type(atom.value) is complex or atom.value != wanted:
        return False
    return bool(wanted) or np.signbit(atom.value) == np.signbit(wanted)


def _neutral(on_left: bool, number: Callable[[ShapedArray], float], fold: NumPyFunction) -> Rule:
    """Make the rule of an operation that a number on the right (and left) does not change."""
    folded = _folded(fold)

    def rule(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
        x, y = invars
        aval = eqn.outvars[0].aval
        if type(y) is Literal:
            if x.aval is aval and _is_number(y, number(aval)):
                return x
            return folded(eqn, invars) if type(x) is Literal else None
        if on_left and type(x) is Literal and y.aval is aval and _is_number(x, number(aval)):
            return y
        return None

    return rule


def _one(aval: ShapedArray) -> float:
    return 1


def _zero(aval: ShapedArray) -> float:
    return 0


def _nothing_to_add(aval: ShapedArray) -> float:
    """x + 0.0 is not x where x is -0.0; x + -0.0 always is."""
    return 0 if aval.dtype.kind in "iu" else -0.0


# Results that are numbers -------------------------------------------------------------------------

_EXACT = frozenset(
    np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float32", "float64"),
    )
)
_CONVERTIBLE = _EXACT | {np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)}


def _is_plain(value: Any) -> bool:
    """Tell whether a number is the same everywhere: no NaN, infinity or subnormal."""
    if value.dtype.kind in "biu":
        return True
    return bool(
        value == 0 or (np.isfinite(value) and abs(value) >= ml_dtypes.finfo(value.dtype).tiny)
    )


def _folded(function: NumPyFunction) -> Rule:
    """Make the rule that computes an operation of literals, where NumPy and XLA agree exactly."""

    def rule(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
        values: list[Any] = []
        for atom in invars:
            if type(atom) is not Literal or atom.aval.dtype not in _EXACT:
                return None
            values.append(atom.numpy())
        aval = eqn.outvars[0].aval
        with np.errstate(all="ignore"):
            result = np.asarray(function(*values))
        if result.dtype != aval.dtype or not all(map(_is_plain, (*values, result))):
            return None
        return Literal(result.item(), aval)

    return rule


def _integers_only(function: NumPyFunction) -> Rule:
    folded = _folded(function)
    return lambda eqn, invars: (
        folded(eqn, invars) if eqn.outvars[0].aval.dtype.kind in "biu" else None
    )


def _converted(eqn: Equation, invars: Sequence[Atom]) -> Atom | None:
    """A conversion to the same type, or of a literal that the new dtype holds or rounds."""
    (atom,) = invars
    aval = eqn.outvars[0].aval
    if atom.aval is aval:
        return atom
    if type(atom) is not Literal or not {atom.aval.dtype, aval.dtype} <= _CONVERTIBLE:
        return None
    value = atom.numpy()
    if not _is_plain(value):
        return None
    if aval.dtype.kind in "iu" and value.dtype.kind not in "biu":
        limits = np.iinfo(aval.dtype)
        if not limits.min <= int(value) <= limits.max:
            return None
    with np.errstate(all="ignore"):
        result = value.astype(aval.dtype)
    return Literal(result.item(), aval) if _is_plain(result) else None


# Primitives by name, as this package knows none of them otherwise.
RULES: dict[str, Rule] = {
    "convert_element_type": _converted,
    "reshape": _same_type,
    "broadcast_in_dim": _same_type,
    "transpose": _unpermuted,
    "slice": _unstrided,
    "select_n": _selected,
    "stop_gradient": _same_type,
    **{f"reduce_{name}": _unreduced for name in ("sum", "prod", "max", "min", "and", "or", "xor")},
    "mul": _neutral(True, _one, np.multiply),
    "div": _neutral(False, _one, lambda x, y: x / y if x.dtype.kind == "f" else None),
    "add": _neutral(True, _nothing_to_add, np.add),
    "sub": _neutral(False, _zero, np.subtract),
    "neg": _folded(np.negative),
    "abs": _folded(np.abs),
    "max": _integers_only(np.maximum),
    "min": _integers_only(np.minimum),
    "and": _integers_only(np.bitwise_and),
    "or": _integers_only(np.bitwise_or),
    "xor": _integers_only(np.bitwise_xor),
    "not": _integers_only(np.invert),
    "eq": _folded(np.equal),
    "ne": _folded(np.not_equal),
    "lt": _folded(np.less),
    "le": _folded(np.less_equal),
    "gt": _folded(np.greater),
    "ge": _folded(np.greater_equal),
}
