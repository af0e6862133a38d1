"""Other dtypes and bits: convert, bitcast, reduce_precision; and identities that transforms see."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.arguments import integer
from functrax.core.config import config
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, BatchAxis, declare
from functrax.core.trace import VALUES, Value, as_value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import (
    Dim,
    Tangent,
    check_kind,
    declare_linear,
    is_linear,
    move_batch_axis,
    zeros,
)

# convert_element_type ---------------------------------------------------------------------------


def convert_element_type(operand: Any, new_dtype: Any) -> Value:
    """Convert the elements of an array to another dtype, as C does.

    Floats lose their fraction on the way to integers, any nonzero number is True, and complex
    numbers lose their imaginary part (with a warning) on the way to real ones.

    Args:
        operand: array of any shape and dtype of numbers or booleans.
        new_dtype: the dtype to convert to, taken at exactly the width asked for.

    Returns:
        An array of the same shape and dtype `new_dtype`, not weakly typed.

    Raises:
        DtypeError: if `new_dtype` is not a dtype.
        IntegerOverflowError: if an integer of Python's or NumPy's does not fit.
        KeyTypeError: if a PRNG key would be converted to numbers, or numbers to keys.

    Source: StableHLO specification, "convert".
    """
    dtype = dtypes.canonicalize(new_dtype, "convert_element_type")
    value = exact_value(operand, "convert_element_type")
    if dtypes.is_complex(value.aval.dtype) and not dtypes.is_complex(dtype):
        warnings.warn(
            "Casting complex values to real discards the imaginary part",
            np.exceptions.ComplexWarning,
            stacklevel=2,
        )
    if value is operand:
        return convert(value, dtype)
    if isinstance(operand, int | np.ndarray | np.generic):
        dtypes.check_fits(operand, dtype, "convert_element_type")
    return bind(convert_element_type_p, value, new_dtype=dtype, weak_type=False)[0]


def convert(operand: Value, dtype: Any, weak_type: bool = False) -> Value:
    """Convert an operand of `bind` to a canonical dtype, unless it has it already."""
    aval = operand.aval
    if aval.dtype == dtype and aval.weak_type == weak_type:
        return operand
    return bind(convert_element_type_p, operand, new_dtype=dtype, weak_type=weak_type)[0]


def exact_value(operand: Any, call: str) -> Value:
    """Return an operand for `bind` without narrowing it: NumPy's 64 bits, or a Python number's."""
    if isinstance(operand, VALUES):
        return operand
    with config.scope(enable_x64=True):
        return as_value(operand, call)


def _convert_abstract(
    operand: ShapedArray, *, new_dtype: dtypes.DType, weak_type: bool
) -> tuple[ShapedArray]:
    keys = dtypes.is_extended(operand.dtype) or dtypes.is_extended(new_dtype)
    if keys and operand.dtype != new_dtype:
        raise errors.KeyTypeError(
            "convert_element_type",
            "numbers converted to a dtype of numbers",
            f"{operand!r} to {dtypes.short_name(new_dtype)}",
            fix="Use `random.key_data(key)` and `random.wrap_key_data(bits)`.",
        )
    return (operand.update(dtype=new_dtype, weak_type=weak_type),)


def _convert_jvp(
    primals: Sequence[Value], tangents: Sequence[Tangent], *, new_dtype: Any, weak_type: bool
) -> Any:
    """D convert(x) = convert(dx) between inexact dtypes; zero on the way to integers."""
    params = {"new_dtype": new_dtype, "weak_type": weak_type}
    results = bind(convert_element_type_p, primals[0], **params)
    if tangents[0] is None or not dtypes.is_inexact(new_dtype):
        return results, [None]
    return results, bind(convert_element_type_p, tangents[0], **params)


def _convert_transpose(cotangents: Sequence[Value], operand: Any, **_: Any) -> list[Value]:
    """Convert back."""
    return [convert(cotangents[0], operand.aval.dtype, operand.aval.weak_type)]


def _convert_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    return bind(convert_element_type_p, operands[0], **params), dims


def _convert_lower(b: Any, x: Any, **_: Any) -> Any:
    aval, out = b.in_types[0], b.out_types[0]
    if aval.dtype == out.dtype:
        return x
    if dtypes.is_complex(aval.dtype) and not dtypes.is_complex(out.dtype):
        aval = aval.update(dtype=dtypes.to_real(aval.dtype))
        x = b.op("stablehlo.real", (x,), aval)
    if dtypes.is_bool(out.dtype):
        return b.compare("NE", x, b.full(0, aval), aval)
    return b.convert(x, out)


convert_element_type_p = declare(
    "convert_element_type",
    abstract_eval=_convert_abstract,
    jvp=_convert_jvp,
    transpose=_convert_transpose,
    batch=_convert_batch,
    lower=_convert_lower,
)

# bitcast_convert_type ---------------------------------------------------------------------------


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Value:
    """Read the bits of an array as another dtype.

    Args:
        operand: array of shape s, of integer or floating dtype.
        new_dtype: the dtype to read as. If it is k times narrower, each element becomes k, along a
            new last axis; if it is k times wider, the last axis must have size k and goes away.

    Returns:
        An array of shape s, (*s, k) or s[:-1], and dtype `new_dtype`.

    Raises:
        DtypeError: for booleans and complex numbers, unless the dtype stays.
        ShapeError: if the last axis does not hold the bits of one wider element.

    Source: StableHLO specification, "bitcast_convert".
    """
    dtype = dtypes.canonicalize(new_dtype, "bitcast_convert_type")
    operand = as_value(operand, "bitcast_convert_type")
    return bind(bitcast_convert_type_p, operand, new_dtype=dtype)[0]


def bit_width(dtype: Any) -> int:
    """Return the bits of one element: 4 for int4."""
    if dtypes.is_integer(dtype):
        return dtypes.iinfo(dtype).bits
    return dtypes.finfo(dtype).bits if dtypes.is_floating(dtype) else dtype.itemsize * 8


def _bitcast_abstract(operand: ShapedArray, *, new_dtype: dtypes.DType) -> tuple[ShapedArray]:
    call = "bitcast_convert_type"
    if operand.dtype == new_dtype:
        return (operand.strong(),)
    check_kind(call, operand, "iuf")
    check_kind(call, operand.update(dtype=new_dtype), "iuf")
    old, new = bit_width(operand.dtype), bit_width(new_dtype)
    shape = operand.shape
    if old > new:
        shape = (*shape, old // new)
    elif old < new:
        if not shape or shape[-1] * old != new:
            raise errors.ShapeError(
                call,
                f"a last axis of size {new // old} to make one {dtypes.short_name(new_dtype)} of",
                repr(operand),
                fix="Reshape so that the last axis holds the bits of one element.",
            )
        shape = shape[:-1]
    return (operand.update(shape=shape, dtype=new_dtype, weak_type=False),)


def _bitcast_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, new_dtype: Any
) -> Any:
    x = move_batch_axis(axis, operands[0], dims[0])
    return bind(bitcast_convert_type_p, x, new_dtype=new_dtype), [0]


def _bitcast_lower(b: Any, x: Any, *, new_dtype: Any) -> Any:
    return x if b.in_types[0].dtype == new_dtype else b.bitcast(x, b.out_types[0])


bitcast_convert_type_p = declare(
    "bitcast_convert_type",
    abstract_eval=_bitcast_abstract,
    jvp=ZERO_DERIVATIVE,
    transpose=NOT_LINEAR,
    batch=_bitcast_batch,
    lower=_bitcast_lower,
)

# reduce_precision -------------------------------------------------------------------------------


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Value:
    """Round to a float format of fewer bits, and keep the dtype.

    Args:
        operand: array of floating dtype.
        exponent_bits: bits of the exponent, at least 1.
        mantissa_bits: bits of the mantissa, at least 0.

    Returns:
        An array of the same shape and dtype.

    Raises:
        DtypeError: for other dtypes.
        ArgumentError: for numbers of bits that no format has.

    Source: StableHLO specification, "reduce_precision".
    """
    operand = as_value(operand, "reduce_precision")
    exponent = integer("reduce_precision", "exponent_bits", exponent_bits)
    mantissa = integer("reduce_precision", "mantissa_bits", mantissa_bits)
    return bind(reduce_precision_p, operand, exponent_bits=exponent, mantissa_bits=mantissa)[0]


def _precision_abstract(
    operand: ShapedArray, *, exponent_bits: int, mantissa_bits: int
) -> tuple[ShapedArray]:
    check_kind("reduce_precision", operand, "f")
    if exponent_bits < 1 or mantissa_bits < 0:
        raise errors.ArgumentError(
            "reduce_precision",
            "at least 1 exponent bit and 0 mantissa bits",
            f"exponent_bits={exponent_bits}, mantissa_bits={mantissa_bits}",
        )
    return (operand,)


def _precision_transpose(cotangents: Sequence[Value], operand: Any, **params: Any) -> Any:
    """Round the cotangent to the same format."""
    return bind(reduce_precision_p, cotangents[0], **params)


def _precision_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    return bind(reduce_precision_p, operands[0], **params), dims


def _precision_lower(b: Any, x: Any, *, exponent_bits: int, mantissa_bits: int) -> Any:
    bits = {
        "exponent_bits": b.context.i32(exponent_bits),
        "mantissa_bits": b.context.i32(mantissa_bits),
    }
    return b.op("stablehlo.reduce_precision", (x,), b.out_types[0], bits)


reduce_precision_p = declare_linear(
    "reduce_precision",
    abstract_eval=_precision_abstract,
    transpose=_precision_transpose,
    batch=_precision_batch,
    lower=_precision_lower,
)

# copy and stop_gradient -------------------------------------------------------------------------


def copy(x: Any) -> Value:
    """Return the array in memory of its own.

    Args:
        x: array.

    Returns:
        An equal array that stays valid when `x` is donated.
    """
    return bind(copy_p, as_value(x, "copy"))[0]


def _same_type(operand: ShapedArray) -> tuple[ShapedArray]:
    return (operand,)


def _copy_transpose(cotangents: Sequence[Value], operand: Any) -> Sequence[Value]:
    """The identity is its own transpose."""
    return cotangents


def _copy_batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    return bind(copy_p, operands[0]), dims


def _copy_lower(b: Any, x: Any) -> Any:
    return x


copy_p = declare_linear(
    "copy",
    abstract_eval=_same_type,
    transpose=_copy_transpose,
    batch=_copy_batch,
    lower=_copy_lower,
    lowers_keys=True,
)


def stop_gradient(x: Any) -> Any:
    """Return the values unchanged, and treat them as constants in every derivative.

    Args:
        x: pytree of arrays.

    Returns:
        The same tree of equal arrays; leaves without a derivative (integers, Python numbers, keys)
        are the same objects.

    Example:
        ``grad(lambda x: x * stop_gradient(x))(3.0)`` is 3, not 6.
    """
    return tree.map(_stopped, x)


def _stopped(x: Any) -> Any:
    """Mark the value, unless no derivative can pass through it anyway."""
    if state.trace is None or not isinstance(x, VALUES) or not dtypes.is_inexact(x.aval.dtype):
        return x
    return bind(stop_gradient_p, x)[0]


def _stop_jvp(primals: Sequence[Value], tangents: Sequence[Tangent]) -> Any:
    """D stop_gradient(x) = 0."""
    return [_stopped(primals[0])], [None]


def _stop_batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    return [_stopped(operands[0])], dims


stop_gradient_p = declare(
    "stop_gradient",
    abstract_eval=_same_type,
    jvp=_stop_jvp,
    transpose=NOT_LINEAR,
    batch=_stop_batch,
    lower=_copy_lower,
    lowers_keys=True,
)

# optimization_barrier ---------------------------------------------------------------------------


def optimization_barrier(operand: Any, /) -> Any:
    """Keep the compiler from moving computations across this point.

    Every result is available only when all operands have been computed, so what comes before is
    neither fused with what comes after, nor shared with equal computations there.

    Args:
        operand: pytree of arrays.

    Returns:
        The same tree of equal arrays.

    Source: StableHLO specification, "optimization_barrier".
    """
    flat, structure = tree.flatten(operand)
    values = [as_value(x, "optimization_barrier") for x in flat]
    return structure.unflatten(bind(optimization_barrier_p, *values) if values else values)


def _barrier_abstract(*operands: ShapedArray) -> tuple[ShapedArray, ...]:
    return operands


def _barrier_jvp(primals: Sequence[Value], tangents: Sequence[Tangent]) -> Any:
    """D barrier(x...) = barrier(dx...), over the tangents that are not zero."""
    nonzero = [t for t in tangents if t is not None]
    passed = iter(bind(optimization_barrier_p, *nonzero) if nonzero else ())
    out = [None if t is None else next(passed) for t in tangents]
    return bind(optimization_barrier_p, *primals), out


def _barrier_transpose(cotangents: Sequence[Tangent], *operands: Any) -> list[Tangent]:
    """Hold the cotangents back in the same way."""
    full = [
        zeros(x.aval) if ct is None and is_linear(x) else ct
        for ct, x in zip(cotangents, operands, strict=True)
    ]
    passed = iter(bind(optimization_barrier_p, *(ct for ct in full if ct is not None)))
    return [None if ct is None else next(passed) for ct in full]


def _barrier_batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim]) -> Any:
    return bind(optimization_barrier_p, *operands), dims


def _barrier_lower(b: Any, *operands: Any) -> Any:
    return list(b.multi_op("stablehlo.optimization_barrier", operands, b.out_types).results)


def _barrier_partial(
    trace: Any, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> list[Value]:
    """Hold back the unknown values alone: what is known is not part of the recorded program."""
    held = [x for x, is_unknown in zip(operands, unknown, strict=True) if is_unknown]
    recorded = iter(trace.record(optimization_barrier_p, held, params))
    return [
        next(recorded) if is_unknown else x for x, is_unknown in zip(operands, unknown, strict=True)
    ]


optimization_barrier_p = declare(
    "optimization_barrier",
    abstract_eval=_barrier_abstract,
    jvp=_barrier_jvp,
    transpose=_barrier_transpose,
    batch=_barrier_batch,
    lower=_barrier_lower,
    lowers_keys=True,
    partial=_barrier_partial,
)
