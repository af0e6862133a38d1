"""Lowering rules of elementwise operations that are more than one operation of StableHLO.

``b`` is the builder (`functrax.lowering.base`), at the equation that is being written.
"""

import math
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.types import Literal


def lower_conj(b: Any, x: Any) -> Any:
    """Negate the imaginary part."""
    real_type = b.out_types[0].update(dtype=dtypes.to_real(b.out_types[0].dtype))
    real_part = b.op("stablehlo.real", (x,), real_type)
    imaginary = b.op("stablehlo.negate", (b.op("stablehlo.imag", (x,), real_type),), real_type)
    return b.op("stablehlo.complex", (real_part, imaginary), b.out_types[0])


def lower_exp2(b: Any, x: Any) -> Any:
    """Compute exp(x log 2)."""
    scaled = b.op("stablehlo.multiply", (x, b.full(math.log(2.0), b.out_types[0])), b.out_types[0])
    return b.op("stablehlo.exponential", (scaled,), b.out_types[0])


def lower_sign(b: Any, x: Any) -> Any:
    """Compute the sign; StableHLO has none of unsigned integers."""
    if not dtypes.is_unsigned(b.in_types[0].dtype):
        return b.elementwise("sign", (x,))
    nonzero = b.compare("NE", x, b.full(0, b.in_types[0]), b.in_types[0])
    return b.convert(nonzero, b.out_types[0])


def lower_division(operation: str, b: Any, x: Any, y: Any) -> Any:
    """Divide; integers by 0 as StableHLO says, without leaving the division to the compiler.

    XLA's constant folding ends the process with a division error where it finds an integer constant
    divided by 0 (jaxlib 0.10 and 0.12), which it can find in any program that computes a divisor.
    """
    divisor, out = b.in_atoms[1], b.out_types[0]
    if dtypes.is_inexact(out.dtype) or (type(divisor) is Literal and divisor.value):
        return b.elementwise(operation, (x, y))
    x, y = (b.stretch(v, aval, out.shape) for v, aval in zip((x, y), b.in_types, strict=True))
    by_zero = b.compare("EQ", y, b.full(0, out), out)
    result = b.op("stablehlo." + operation, (x, b.select(by_zero, b.full(1, out), y, out)), out)
    ones = np.asarray(-1).astype(out.dtype)
    at_zero = x if operation == "remainder" else b.full(ones, out)
    return b.select(by_zero, at_zero, result, out)


def lower_circular(operation: str, b: Any, x: Any) -> Any:
    """Compute sine or cosine, of imaginary numbers by hyperbolic functions.

    XLA multiplies sin(0) = 0 by an infinite cosh: sin(inf i) would be nan + inf i.
    """
    result, out = b.elementwise(operation, (x,)), b.out_types[0]
    if not dtypes.is_complex(out.dtype):
        return result
    part = out.update(dtype=dtypes.to_real(out.dtype))
    low, high = b.op("stablehlo.real", (x,), part), b.op("stablehlo.imag", (x,), part)
    if operation == "sine":  # sin(0 + iy) = 0 + i sinh(y)
        parts = low, b.op("chlo.sinh", (high,), part)
    else:  # cos(0 + iy) = cosh(y) - i 0 sign(y)
        sign = b.op("stablehlo.sign", (high,), part)
        signed = b.op("stablehlo.negate", (b.op("stablehlo.multiply", (low, sign), part),), part)
        zero = b.select(b.compare("EQ", high, high, part), signed, low, part)  # also where y is NaN
        parts = b.op("chlo.cosh", (high,), part), zero
    imaginary = b.compare("EQ", low, b.full(0, part), part)
    return b.select(imaginary, b.op("stablehlo.complex", parts, out), result, out)
