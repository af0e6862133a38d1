"""Comparisons, and operations on bits: elementwise, and without a derivative."""

from functools import partial
from typing import Any

import numpy as np

from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE
from functrax.primitives.rules import binary, declare_elementwise, unary

INTEGER = "iu"
BITS = "biu"
ANY = "biufc"
ORDERED = "biuf"


def to_bool(_: Any) -> np.dtype[Any]:
    """The result dtype of predicates."""
    return np.dtype(bool)


# Bits ---------------------------------------------------------------------------------------------

not_p = declare_elementwise("not", "not", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR)
and_p = declare_elementwise("and", "and", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR, operands=2)
or_p = declare_elementwise("or", "or", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR, operands=2)
xor_p = declare_elementwise("xor", "xor", BITS, ZERO_DERIVATIVE, pulls=NOT_LINEAR, operands=2)
shift_left_p = declare_elementwise(
    "shift_left", "shift_left", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR, operands=2
)
shift_right_arithmetic_p = declare_elementwise(
    "shift_right_arithmetic",
    "shift_right_arithmetic",
    INTEGER,
    ZERO_DERIVATIVE,
    pulls=NOT_LINEAR,
    operands=2,
)
shift_right_logical_p = declare_elementwise(
    "shift_right_logical",
    "shift_right_logical",
    INTEGER,
    ZERO_DERIVATIVE,
    pulls=NOT_LINEAR,
    operands=2,
)
population_count_p = declare_elementwise(
    "population_count", "popcnt", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)
clz_p = declare_elementwise(
    "clz", "count_leading_zeros", INTEGER, ZERO_DERIVATIVE, pulls=NOT_LINEAR
)

# Comparisons --------------------------------------------------------------------------------------


def _compare_lower(direction: str, b: Any, x: Any, y: Any) -> Any:
    shape = b.out_types[0].shape
    x, y = (b.stretch(v, aval, shape) for v, aval in zip((x, y), b.in_types, strict=True))
    return b.compare(direction, x, y, b.in_types[0].update(shape=shape))


def _declare_compare(name: str, kinds: str) -> Any:
    lower = partial(_compare_lower, name.upper())
    return declare_elementwise(
        name, lower, kinds, ZERO_DERIVATIVE, result=to_bool, pulls=NOT_LINEAR, operands=2
    )


eq_p = _declare_compare("eq", ANY)
ne_p = _declare_compare("ne", ANY)
lt_p = _declare_compare("lt", ORDERED)
le_p = _declare_compare("le", ORDERED)
gt_p = _declare_compare("gt", ORDERED)
ge_p = _declare_compare("ge", ORDERED)

# The functions

bitwise_not = unary(not_p, "Invert every bit, or a boolean.")
population_count = unary(population_count_p, "Count the bits that are 1.")
clz = unary(clz_p, "Count the leading bits that are 0.")
bitwise_and = binary(and_p, "Combine by bitwise (or logical) and.")
bitwise_or = binary(or_p, "Combine by bitwise (or logical) or.")
bitwise_xor = binary(xor_p, "Combine by bitwise (or logical) exclusive or.")
shift_left = binary(shift_left_p, "Shift the bits of x left by y places.")
shift_right_arithmetic = binary(
    shift_right_arithmetic_p, "Shift the bits of x right by y places, keeping the sign."
)
shift_right_logical = binary(
    shift_right_logical_p, "Shift the bits of x right by y places, filling with zeros."
)
eq = binary(eq_p, "Tell where x equals y.")
ne = binary(ne_p, "Tell where x differs from y.")
lt = binary(lt_p, "Tell where x is less than y.")
le = binary(le_p, "Tell where x is at most y.")
gt = binary(gt_p, "Tell where x is greater than y.")
ge = binary(ge_p, "Tell where x is at least y.")
