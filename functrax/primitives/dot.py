"""Products of arrays: contraction over shared axes."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.convert import convert
from functrax.primitives.precision import (
    Canonical,
    DotAlgorithm,
    DotAlgorithmPreset,
    Written,
    canonical_precision,
    takes_float8_only,
    write_algorithm,
)
from functrax.primitives.rules import (
    Dim,
    batched_axes,
    bilinear_jvp,
    check_kind,
    is_linear,
    known,
    matched,
    transpose_axes,
)

Axes = tuple[int, ...]
Numbers = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]


def dot_general(
    lhs: Any,
    rhs: Any,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    out_sharding: None = None,
) -> Value:
    """Multiply two arrays: sum over contracting axes, for each index of the batch axes.

    Args:
        lhs: array of numbers or booleans.
        rhs: array; its sizes agree with lhs along the contracting and batch axes.
        dimension_numbers: ``((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch))``, axes
            paired in order.
        precision: how exactly: None, a `Precision` or its name, a pair of these, a
            `DotAlgorithmPreset` or its name, or a `DotAlgorithm`.
        preferred_element_type: the dtype to sum in and return; by default the wider operand's.
        out_sharding: not used.

    Returns:
        An array whose axes are the batch axes, the remaining axes of lhs, those of rhs.

    Raises:
        ShapeError: showing both shapes, if axes do not fit.
        DtypeError: if integers would be narrowed.

    Source: StableHLO specification, "dot_general".
    """
    lhs, rhs = matched("dot_general", lhs, rhs)
    preferred = preferred_element_type
    if preferred is not None:
        preferred = dtypes.canonicalize(preferred, "dot_general")
    return bind(
        dot_general_p,
        lhs,
        rhs,
        dimension_numbers=_canonical_numbers(dimension_numbers, lhs.aval, rhs.aval),
        precision=canonical_precision(precision, "dot_general"),
        preferred_element_type=preferred,
    )[0]


def dot(
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: None = None,
) -> Value:
    """Multiply two matrices or vectors.

    Args:
        lhs: array of shape (n,) or (m, n).
        rhs: array of shape (n,) or (n, k).
        dimension_numbers: other axes to contract, as in `dot_general`, for arrays of any rank.
        precision: as in `dot_general`.
        preferred_element_type: as in `dot_general`.
        out_sharding: not used.

    Returns:
        An array of shape (), (k,), (m,) or (m, k).

    Raises:
        ShapeError: showing both shapes, if they do not fit.
    """
    lhs, rhs = matched("dot", lhs, rhs)
    if dimension_numbers is None:
        left, right = lhs.aval, rhs.aval
        if not (1 <= left.ndim <= 2 and 1 <= right.ndim <= 2 and left.shape[-1] == right.shape[0]):
            raise errors.ShapeError(
                "dot",
                "vectors or matrices, the last axis of the first as long as the first of the other",
                short_types((left, right)),
                fix="Use `jnp.matmul` or `dot_general` for more axes.",
            )
        dimension_numbers = (((left.ndim - 1,), (0,)), ((), ()))
    return dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Value:
    """Multiply stacks of matrices.

    Args:
        lhs: array of shape (*batch, m, n).
        rhs: array of shape (*batch, n, k).
        precision: as in `dot_general`.

    Returns:
        An array of shape (*batch, m, k).

    Raises:
        ShapeError: showing both shapes, if they do not fit.
    """
    lhs, rhs = matched("batch_matmul", lhs, rhs)
    left, right = lhs.aval, rhs.aval
    rank = left.ndim
    if rank < 2 or right.ndim != rank or left.shape[:-2] != right.shape[:-2]:
        raise errors.ShapeError(
            "batch_matmul", "stacks of matrices with equal leading axes", short_types((left, right))
        )
    batch = tuple(range(rank - 2))
    return dot_general(lhs, rhs, (((rank - 1,), (rank - 2,)), (batch, batch)), precision)


# Types ------------------------------------------------------------------------------------------


def _canonical_numbers(numbers: Any, lhs: ShapedArray, rhs: ShapedArray) -> Numbers:
    """Return the dimension numbers as nested tuples of non-negative integers."""
    try:
        (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = numbers
        return (
            (_axes(lhs_contract, lhs.ndim), _axes(rhs_contract, rhs.ndim)),
            (_axes(lhs_batch, lhs.ndim), _axes(rhs_batch, rhs.ndim)),
        )
    except (TypeError, ValueError):
        raise errors.ArgumentError(
            "dot_general",
            "dimension_numbers ((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch))",
            repr(numbers),
        ) from None


def _axes(axes: Sequence[int], rank: int) -> Axes:
    return tuple(axis + rank if -rank <= axis < 0 else axis for axis in map(operator.index, axes))


def _free(aval: ShapedArray, *used: Sequence[int]) -> Axes:
    """Return the axes that are not used, in order."""
    taken = {axis for axes in used for axis in axes}
    return tuple(axis for axis in range(aval.ndim) if axis not in taken)


def _check_numbers(lhs: ShapedArray, rhs: ShapedArray, numbers: Numbers) -> None:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = numbers
    for kind, left, right in (
        ("contracting", lhs_contract, rhs_contract),
        ("batch", lhs_batch, rhs_batch),
    ):
        fits = len(left) == len(right) and all(0 <= axis < lhs.ndim for axis in left)
        fits = fits and all(0 <= axis < rhs.ndim for axis in right)
        if not fits or any(lhs.shape[i] != rhs.shape[j] for i, j in zip(left, right, strict=True)):
            raise errors.ShapeError(
                "dot_general",
                f"{kind} axes of equal sizes",
                f"axes {left} of {lhs!r} and {right} of {rhs!r}",
                fix="Check that the operands are not transposed or in the wrong order.",
            )
    for aval, used in ((lhs, lhs_contract + lhs_batch), (rhs, rhs_contract + rhs_batch)):
        if len(set(used)) != len(used):
            raise errors.ArgumentError(
                "dot_general", "each axis used once", f"axes {used} of {aval!r}"
            )


def _rank_of_dtype(dtype: Any) -> tuple[Any, ...]:
    """Order dtypes by which one a product of two takes: complex, range, precision, width, sign."""
    part = dtypes.to_real(dtype)
    floating = dtypes.is_floating(part)
    return (
        dtypes.is_complex(dtype),
        dtypes.finfo(part).maxexp if floating else -1,
        dtypes.finfo(part).nmant if floating else -1,
        0 if dtypes.is_bool(part) else (dtypes.finfo if floating else dtypes.iinfo)(part).bits,
        not dtypes.is_unsigned(part),
    )


def _product_dtype(lhs: ShapedArray, rhs: ShapedArray) -> Any:
    """Return the dtype of products: that of the wider operand."""
    if lhs.dtype == rhs.dtype:
        return lhs.dtype
    left, right = _rank_of_dtype(lhs.dtype), _rank_of_dtype(rhs.dtype)
    if left == right:
        raise errors.DtypeError("dot_general", "one dtype", short_types((lhs, rhs)))
    return lhs.dtype if left > right else rhs.dtype


def _abstract(
    lhs: ShapedArray,
    rhs: ShapedArray,
    *,
    dimension_numbers: Numbers,
    precision: Canonical,
    preferred_element_type: dtypes.DType | None,
) -> tuple[ShapedArray]:
    check_kind("dot_general", lhs, "biufc")
    check_kind("dot_general", rhs, "biufc")
    _check_numbers(lhs, rhs, dimension_numbers)
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    shape = (
        *(lhs.shape[i] for i in lhs_batch),
        *(lhs.shape[i] for i in _free(lhs, lhs_contract, lhs_batch)),
        *(rhs.shape[i] for i in _free(rhs, rhs_contract, rhs_batch)),
    )
    natural = _product_dtype(lhs, rhs)
    dtype = natural if preferred_element_type is None else preferred_element_type
    narrowed = dtypes.is_integer(natural) and dtypes.is_integer(dtype)
    if narrowed and dtypes.iinfo(dtype).bits < dtypes.iinfo(natural).bits:
        raise errors.DtypeError(
            "dot_general",
            f"a preferred_element_type at least as wide as the operands, {short_types((lhs, rhs))}",
            dtypes.short_name(dtype),
            fix="Convert the result with `.astype(...)`.",
        )
    for aval in (lhs, rhs) if takes_float8_only(precision) else ():
        if aval.dtype not in dtypes.SMALL_FLOATS:
            raise errors.DtypeError(
                "dot_general", f"float8 operands for the algorithm {precision!r}", repr(aval)
            )
    weak = lhs.weak_type and rhs.weak_type and preferred_element_type is None
    return (ShapedArray(shape, dtype, weak, lhs.varying | rhs.varying),)


# Derivatives ------------------------------------------------------------------------------------


def _jvp(primals: Sequence[Value], tangents: Sequence[Any], **params: Any) -> Any:
    """D (x y) = dx y + x dy."""
    return bilinear_jvp("dot_general", primals, tangents, **params)


def _transpose(
    cotangents: Sequence[Value],
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Numbers,
    precision: Canonical,
    preferred_element_type: Any,
) -> list[Value | None]:
    """Contract the cotangent with the other operand, over that one's free axes."""
    params = {"preferred_element_type": preferred_element_type}
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    batch = len(lhs_batch)
    lhs_free = _free(lhs.aval, lhs_contract, lhs_batch)
    rhs_free = _free(rhs.aval, rhs_contract, rhs_batch)
    first = tuple(range(batch, batch + len(lhs_free)))
    last = tuple(range(batch + len(lhs_free), batch + len(lhs_free) + len(rhs_free)))
    swapped: Any = precision[::-1] if type(precision) is tuple else precision
    if is_linear(lhs):
        numbers = ((last, rhs_free), (tuple(range(batch)), rhs_batch))
        order = _adjoint_axes(lhs_batch, lhs_free, lhs_contract, rhs_contract)
        ct = _adjoint(cotangents[0], known(rhs), lhs.aval, numbers, order, precision, **params)
        return [ct, None]
    numbers = ((first, lhs_free), (tuple(range(batch)), lhs_batch))
    order = _adjoint_axes(rhs_batch, rhs_free, rhs_contract, lhs_contract)
    return [None, _adjoint(cotangents[0], lhs, rhs.aval, numbers, order, swapped, **params)]


def _adjoint_axes(batch: Axes, free: Axes, contract: Axes, other_contract: Axes) -> Axes:
    """Say which operand axis each axis of the adjoint product is.

    The product's last axes are the other operand's contracting axes, in that operand's order.
    """
    paired = sorted(range(len(contract)), key=other_contract.__getitem__)
    return (*batch, *free, *(contract[i] for i in paired))


def _adjoint(
    cotangent: Value,
    other: Value,
    aval: ShapedArray,
    numbers: Numbers,
    axes: Axes,
    precision: Canonical,
    *,
    preferred_element_type: Any,
) -> Value:
    """Contract cotangent and other operand, and bring axes and dtype in order."""
    result = bind(
        dot_general_p,
        cotangent,
        other,
        dimension_numbers=numbers,
        precision=None if takes_float8_only(precision) else precision,
        preferred_element_type=preferred_element_type,
    )[0]
    inverse = sorted(range(len(axes)), key=axes.__getitem__)
    return convert(transpose_axes(result, inverse), aval.dtype, aval.weak_type)


# Mapping ----------------------------------------------------------------------------------------


def _batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    dimension_numbers: Numbers,
    **params: Any,
) -> Any:
    """Make the mapped axis a batch axis, or a free one where only one operand has it."""
    lhs, rhs = operands
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    if dims[0] is not None:
        lhs_contract, lhs_batch = (batched_axes(a, dims[0]) for a in (lhs_contract, lhs_batch))
    if dims[1] is not None:
        rhs_contract, rhs_batch = (batched_axes(a, dims[1]) for a in (rhs_contract, rhs_batch))
    if dims[0] is not None and dims[1] is not None:
        lhs_batch, rhs_batch, out_dim = (dims[0], *lhs_batch), (dims[1], *rhs_batch), 0
    elif dims[0] is not None:
        out_dim = len(lhs_batch) + _free(lhs.aval, lhs_contract, lhs_batch).index(dims[0])
    else:
        free = lhs.aval.ndim - len(lhs_contract)
        out_dim = free + _free(rhs.aval, rhs_contract, rhs_batch).index(dims[1])
    numbers = ((lhs_contract, rhs_contract), (lhs_batch, rhs_batch))
    return bind(dot_general_p, lhs, rhs, dimension_numbers=numbers, **params), [out_dim]


# Lowering ---------------------------------------------------------------------------------------


def _lower(
    b: Any,
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Numbers,
    precision: Canonical,
    preferred_element_type: Any,
) -> Any:
    out = b.out_types[0]
    contract, batch = dimension_numbers
    names = None
    if isinstance(precision, DotAlgorithm | DotAlgorithmPreset):
        how = write_algorithm(b, precision, [aval.dtype for aval in b.in_types], out.dtype)
    else:
        names = None if precision is None else tuple(one.name for one in precision)
        how = _usual(b, out.dtype)
    rows = zip((lhs, rhs), b.in_types, how.operands, how.bits, strict=True)
    operands = [_operand(b, x, aval, aval.update(dtype=kind), bits) for x, aval, kind, bits in rows]
    result = b.dot_general(
        *operands,
        out.update(dtype=how.total),
        contract=contract,
        batch=batch,
        precision=names,
        algorithm=how.attribute,
    )
    return _converted(b, result, out.update(dtype=how.total), out)


def _operand(
    b: Any, x: Any, aval: ShapedArray, out: ShapedArray, bits: tuple[int, int] | None
) -> Any:
    """Convert an operand, and round it."""
    x = x if aval.dtype == out.dtype else b.convert(x, out)
    if bits is None:
        return x
    exponent, mantissa = (b.context.i32(count) for count in bits)
    attributes = {"exponent_bits": exponent, "mantissa_bits": mantissa}
    return b.op("stablehlo.reduce_precision", (x,), out, attributes)


def _converted(b: Any, x: Any, aval: ShapedArray, out: ShapedArray) -> Any:
    if aval.dtype == out.dtype:
        return x
    if dtypes.is_complex(aval.dtype) and not dtypes.is_complex(out.dtype):
        aval = aval.update(dtype=dtypes.to_real(aval.dtype))
        x = b.op("stablehlo.real", (x,), aval)
    return b.convert(x, out)


def _same_kind(dtype: Any, other: Any) -> bool:
    return all(is_kind(dtype) == is_kind(other) for is_kind in _KINDS)


_KINDS = (dtypes.is_bool, dtypes.is_integer, dtypes.is_floating, dtypes.is_complex)


def _usual(b: Any, out: Any) -> Written:
    """Return the dtypes to multiply and sum in when no algorithm is asked for."""
    kinds = _operand_dtypes(b, out)
    narrow = dtypes.is_integer(out) and out.itemsize < kinds[0].itemsize
    return Written(kinds, out if _same_kind(kinds[0], out) and not narrow else kinds[0])


def _operand_dtypes(b: Any, out: Any) -> tuple[Any, Any]:
    """Return the dtypes to multiply in: one for both, but for float8 on accelerators."""
    left, right = (aval.dtype for aval in b.in_types)
    small = dtypes.SMALL_FLOATS
    if left in small and right in small and b.platform != "cpu":
        return left, right
    common = _product_dtype(*(aval.update(shape=()) for aval in b.in_types))
    if _rank_of_dtype(out) > _rank_of_dtype(common) and not _same_kind(out, common):
        return out, out  # integers summed as floats must not wrap first
    if b.platform == "cpu" and dtypes.is_integer(common) and dtypes.iinfo(common).bits < 8:
        common = np.dtype(np.int32)  # XLA's CPU compiler fails on products of 2 and 4 bits
    return common, common


dot_general_p = declare(
    "dot_general",
    abstract_eval=_abstract,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
)
