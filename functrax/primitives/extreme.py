"""The larger and the smaller of two values."""

from functools import partial
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.primitive import NOT_LINEAR
from functrax.core.trace import Value
from functrax.core.types import ShapedArray
from functrax.primitives.compare import ANY, eq
from functrax.primitives.elementwise import mul
from functrax.primitives.rules import binary, declare_elementwise, full
from functrax.primitives.select import select_n


def _extreme_share(t: Value, r: Value, chosen: Value, other: Value) -> Value:
    """The derivative of max or min in one operand: 1 where it is chosen, 1/2 at ties."""
    share = select_n(
        eq(chosen, r), full(r.aval.shape, 0, r.aval.dtype), full(r.aval.shape, 1, r.aval.dtype)
    )
    half = full(r.aval.shape, 0.5, r.aval.dtype)
    return mul(t, select_n(eq(chosen, other), share, half))


_EXTREME = (
    lambda t, r, x, y: _extreme_share(t, r, x, y),
    lambda t, r, x, y: _extreme_share(t, r, y, x),
)


def extreme(b: Any, operation: str, x: Any, y: Any, aval: ShapedArray) -> Any:
    """Write the larger or smaller value; complex ones compare by real, then imaginary part."""
    if not dtypes.is_complex(aval.dtype):
        return b.op(f"stablehlo.{operation}", (x, y), aval)
    part = aval.update(dtype=dtypes.to_real(aval.dtype))
    rx, ry = (b.op("stablehlo.real", (v,), part) for v in (x, y))
    ix, iy = (b.op("stablehlo.imag", (v,), part) for v in (x, y))
    direction = "GT" if operation == "maximum" else "LT"
    flags = part.update(dtype=np.dtype(bool))
    by_imag, by_real = b.compare(direction, ix, iy, part), b.compare(direction, rx, ry, part)
    first = b.select(b.compare("EQ", rx, ry, part), by_imag, by_real, flags)
    return b.select(first, x, y, aval)


def _extreme_lower(operation: str, b: Any, x: Any, y: Any) -> Any:
    out = b.out_types[0]
    x, y = (b.stretch(v, aval, out.shape) for v, aval in zip((x, y), b.in_types, strict=True))
    return extreme(b, operation, x, y, out)


max_p = declare_elementwise(
    "max", partial(_extreme_lower, "maximum"), ANY, _EXTREME, pulls=NOT_LINEAR
)
min_p = declare_elementwise(
    "min", partial(_extreme_lower, "minimum"), ANY, _EXTREME, pulls=NOT_LINEAR
)

max = binary(max_p, "Take the larger of two values; NaN wins.")
min = binary(min_p, "Take the smaller of two values; NaN wins.")
