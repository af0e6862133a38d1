"""Which bases and exponents powers take."""

from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Value, as_value
from functrax.primitives.convert import convert
from functrax.primitives.rules import check_kind, matched


def check_exponent(call: str, dtype: Any, exponent: int) -> None:
    """Raise if the power would not be an integer: of integers, to a negative one.

    Raises:
        ArgumentError: naming the exponent.
    """
    if exponent < 0 and not dtypes.is_inexact(dtype):
        fix = "Convert the base to a float with `.astype(float)`."
        raise errors.ArgumentError(
            call, "a non-negative exponent for integers", str(exponent), fix=fix
        )


def power_operands(x: Any, y: Any) -> list[Value]:
    """Return base and exponent in one inexact dtype, the base's; the exponent may be integers.

    Raises:
        DtypeError: if the base is not inexact, or the exponent of another inexact dtype.
    """
    if type(y) is int and type(x) in (float, complex):
        y = type(x)(y)
    base, exponent = (dtypes.dtype_and_weak(value, "pow") for value in (x, y))
    if dtypes.is_inexact(base[0]) and dtypes.is_integer(exponent[0]) and not isinstance(y, int):
        y = convert(as_value(y, "pow"), base[0], exponent[1])
    x, y = matched("pow", x, y)
    check_kind("pow", x.aval, "fc")
    return [x, y]
