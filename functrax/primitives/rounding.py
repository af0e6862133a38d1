"""Piecewise constant functions: rounding, and telling what is finite."""

from typing import Any

from functrax.core.arguments import integer
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE
from functrax.core.trace import Value, as_value, bind
from functrax.primitives.compare import to_bool
from functrax.primitives.rules import declare_elementwise, unary

floor_p = declare_elementwise("floor", "floor", "f", ZERO_DERIVATIVE, pulls=NOT_LINEAR)
ceil_p = declare_elementwise("ceil", "ceil", "f", ZERO_DERIVATIVE, pulls=NOT_LINEAR)


def _round_lower(b: Any, x: Any, *, rounding_method: int) -> Any:
    return b.elementwise(
        "round_nearest_even" if rounding_method == 1 else "round_nearest_afz", (x,)
    )


round_p = declare_elementwise("round", _round_lower, "f", ZERO_DERIVATIVE, pulls=NOT_LINEAR)
is_finite_p = declare_elementwise(
    "is_finite", "is_finite", "f", ZERO_DERIVATIVE, result=to_bool, pulls=NOT_LINEAR
)

floor = unary(floor_p, "Round towards minus infinity.")
ceil = unary(ceil_p, "Round towards infinity.")
is_finite = unary(is_finite_p, "Tell which elements are neither infinite nor NaN.")


def round(x: Any, rounding_method: int = 0) -> Value:
    """Round to the nearest integer; ties go away from zero (0) or to even (1)."""
    method = integer("round", "rounding_method", rounding_method)
    return bind(round_p, as_value(x, "round"), rounding_method=method)[0]
