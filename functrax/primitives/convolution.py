"""Convolution, with strides, dilations and groups, in any layout of axes.

In one spatial dimension, with x padded and dilated, y[n, o, t] = sum x[n, c, s t + r k] w[o, c, k]
over c and k. It is bilinear, and both its adjoints are convolutions: strides and dilations change
places, and for that in w also batch and feature axes.
"""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, integers
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray, short_types
from functrax.primitives.convert import convert
from functrax.primitives.convolution_numbers import (
    ConvDimensionNumbers,
    check_entries,
    conv_dimension_numbers,
    dilated,
    divide,
    merge,
    padtype_to_pads,
    pairs,
    unmerge,
    window_counts,
)
from functrax.primitives.precision import Precision, canonical_precision
from functrax.primitives.rules import (
    Dim,
    bilinear_jvp,
    check_kind,
    is_linear,
    known,
    zeros,
)
from functrax.primitives.shape import rev


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: None = None,
) -> Value:
    """Convolve (in the sense of correlate: without flipping) images with kernels.

    Args:
        lhs: the images: an array with batch, feature and any number of spatial axes.
        rhs: the kernels: an array of the same dtype and rank, with output feature, input feature
            and spatial axes.
        window_strides: the distance between windows along each spatial axis.
        padding: ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"``, or (low, high) for each spatial axis;
            negative numbers cut off.
        lhs_dilation: the distance at which the elements of lhs are placed, with zeros between; for
            a transposed convolution. 1 by default.
        rhs_dilation: the same for the kernels ("atrous" convolution).
        dimension_numbers: which axis is which, as `conv_dimension_numbers` takes it.
        feature_group_count: into how many groups features are divided, each with its own kernels.
        batch_group_count: into how many groups the batch is divided, likewise.
        precision: how exactly products are computed, as for `dot_general`; no algorithms.
        preferred_element_type: the dtype of sums and result; that of the operands by default.
        out_sharding: not used yet; None.

    Returns:
        An array with batch, feature and spatial axes.

    Raises:
        ShapeError: if the sizes of features, batch or groups do not fit.
        DtypeError: if the operands are not numbers of one dtype.
        ArgumentError: if another argument is not of these forms.

    Example:
        >>> import numpy as np
        >>> image, kernel = np.arange(4.0).reshape(1, 1, 4), np.array([[[1.0, -1.0]]])
        >>> conv_general_dilated(image, kernel, (1,), "VALID")
        Array([[[-1., -1., -1.]]], dtype=float32)

    Source: StableHLO specification, "convolution".
    """
    call = "conv_general_dilated"
    lhs, rhs = as_value(lhs, call), as_value(rhs, call)
    numbers = conv_dimension_numbers(lhs.aval.shape, rhs.aval.shape, dimension_numbers)
    rank = lhs.aval.ndim - 2
    strides, base, atrous = (
        (1,) * rank if values is None else integers(call, name, values)
        for name, values in (
            ("window_strides", window_strides),
            ("lhs_dilation", lhs_dilation),
            ("rhs_dilation", rhs_dilation),
        )
    )
    check_entries(call, rank, window_strides=strides, lhs_dilation=base, rhs_dilation=atrous)
    if isinstance(padding, str):
        padding = _padding_of_word(padding, lhs.aval, rhs.aval, strides, base, atrous, numbers)
    preferred = preferred_element_type
    return bind(
        conv_general_dilated_p,
        lhs,
        rhs,
        window_strides=strides,
        padding=pairs(call, padding, rank),
        lhs_dilation=base,
        rhs_dilation=atrous,
        dimension_numbers=numbers,
        feature_group_count=integer(call, "feature_group_count", feature_group_count),
        batch_group_count=integer(call, "batch_group_count", batch_group_count),
        precision=_precision(call, precision),
        preferred_element_type=None if preferred is None else dtypes.canonicalize(preferred, call),
    )[0]


def _padding_of_word(
    padding: str,
    lhs: ShapedArray,
    rhs: ShapedArray,
    strides: tuple[int, ...],
    base: tuple[int, ...],
    atrous: tuple[int, ...],
    numbers: ConvDimensionNumbers,
) -> list[tuple[int, int]]:
    if any(dilation != 1 for dilation in base):
        raise errors.ArgumentError(
            "conv_general_dilated",
            "pairs as the padding of a dilated lhs",
            repr(padding),
            fix="For a transposed convolution use `conv_transpose`.",
        )
    windows = [
        dilated(rhs.shape[axis], step)
        for axis, step in zip(numbers.rhs_spec[2:], atrous, strict=True)
    ]
    sizes = [lhs.shape[axis] for axis in numbers.lhs_spec[2:]]
    return padtype_to_pads(sizes, windows, strides, padding, call="conv_general_dilated")


def _precision(call: str, precision: Any) -> tuple[Precision, Precision] | None:
    """Return the precision of both operands; an algorithm for products is taken as the highest."""
    found = canonical_precision(precision, call)
    if found is None or type(found) is tuple:
        return found
    if precision is not None:
        expected = "precision to be a lax.Precision or its name, or a pair of these"
        raise errors.ArgumentError(call, expected, repr(precision))
    return Precision.HIGHEST, Precision.HIGHEST


# Types --------------------------------------------------------------------------------------------


def _abstract(
    lhs: ShapedArray,
    rhs: ShapedArray,
    *,
    dimension_numbers: ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    preferred_element_type: dtypes.DType | None,
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
) -> tuple[ShapedArray]:
    call = "conv_general_dilated"
    geometry = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
    }
    check_kind(call, lhs, "iufc")
    if lhs.dtype != rhs.dtype:
        fix = "Convert one with `.astype(...)`."
        raise errors.DtypeError(call, "operands of one dtype", short_types((lhs, rhs)), fix=fix)
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    _check_groups(lhs, rhs, dimension_numbers, feature_group_count, batch_group_count)
    sizes = [lhs.shape[axis] for axis in lhs_spec[2:]]
    windows = [rhs.shape[axis] for axis in rhs_spec[2:]]
    counts = window_counts(call, sizes, windows, geometry)
    found = (lhs.shape[lhs_spec[0]] // batch_group_count, rhs.shape[rhs_spec[0]], *counts)
    shape = tuple(size for _, size in sorted(zip(out_spec, found, strict=True)))
    weak = lhs.weak_type and rhs.weak_type and preferred_element_type is None
    dtype = preferred_element_type or lhs.dtype
    return (ShapedArray(shape, dtype, weak, lhs.varying | rhs.varying),)


def _check_groups(
    lhs: ShapedArray,
    rhs: ShapedArray,
    numbers: ConvDimensionNumbers,
    feature_groups: int,
    batch_groups: int,
) -> None:
    call = "conv_general_dilated"
    batch, features = (lhs.shape[axis] for axis in numbers.lhs_spec[:2])
    out_features, in_features = (rhs.shape[axis] for axis in numbers.rhs_spec[:2])
    if feature_groups < 1 or batch_groups < 1 or (feature_groups > 1 and batch_groups > 1):
        got = f"feature_group_count={feature_groups} and batch_group_count={batch_groups}"
        raise errors.ArgumentError(call, "positive group counts, one of which is 1", got)
    if features != in_features * feature_groups:
        needed = f"{in_features} x {feature_groups}" if feature_groups > 1 else str(in_features)
        got = f"{features} in {lhs!r} along axis {numbers.lhs_spec[1]}, with kernels {rhs!r}"
        fix = "Check dimension_numbers and feature_group_count."
        raise errors.ShapeError(call, f"images of {needed} features", got, fix=fix)
    if out_features % (feature_groups * batch_groups) or batch % batch_groups:
        expected = "output features (and batch) divisible by the number of groups"
        got = f"{out_features} output features, batch {batch}, {feature_groups * batch_groups}"
        raise errors.ShapeError(call, expected, f"{got} groups")


# Derivatives --------------------------------------------------------------------------------------


def _jvp(primals: Sequence[Value], tangents: Sequence[Any], **params: Any) -> Any:
    """D (x * w) = dx * w + x * dw."""
    return bilinear_jvp("conv_general_dilated", primals, tangents, **params)


def _transpose(cotangents: Sequence[Value], lhs: Any, rhs: Any, **params: Any) -> list[Any]:
    """Convolve the cotangent with the flipped kernels, or the images with the cotangent."""
    cotangent = cotangents[0]
    linear = lhs if is_linear(lhs) else rhs
    if not cotangent.aval.size or not linear.aval.size:
        return [zeros(x.aval) if x is linear else None for x in (lhs, rhs)]
    dtype = cotangent.aval.dtype
    if is_linear(lhs):
        found = _adjoint_lhs(cotangent, lhs.aval, convert(known(rhs), dtype), **params)
        return [convert(found, lhs.aval.dtype), None]
    found = _adjoint_rhs(cotangent, convert(lhs, dtype), rhs.aval, **params)
    return [None, convert(found, rhs.aval.dtype)]


def _adjoint_lhs(
    cotangent: Value,
    lhs: ShapedArray,
    rhs: Value,
    *,
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    dimension_numbers: ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    **params: Any,
) -> Value:
    """x'[n, c, p] = sum y'[n, o, t] w[o, c, k] over o and s t + r k = d p + low."""
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    groups = feature_group_count * batch_group_count
    # Each group's kernels: its output features become input features, the others are told apart.
    kernel = merge(divide(rhs, rhs_spec[0], groups), rhs_spec[0], rhs_spec[1])
    rows = zip(lhs_spec[2:], rhs_spec[2:], out_spec[2:], strict=True)
    pads: list[tuple[int, int]] = []
    for (i, j, k), (low, _), stride, base, atrous in zip(
        rows, padding, window_strides, lhs_dilation, rhs_dilation, strict=True
    ):
        window = dilated(rhs.aval.shape[j], atrous)
        extent = dilated(lhs.shape[i], base)
        before = window - 1 - low
        covered = dilated(cotangent.aval.shape[k], stride)
        pads.append((before, extent + window - 1 - before - covered))
    result = bind(
        conv_general_dilated_p,
        cotangent,
        rev(kernel, rhs_spec[2:]),
        window_strides=lhs_dilation,
        padding=tuple(pads),
        lhs_dilation=window_strides,
        rhs_dilation=rhs_dilation,
        dimension_numbers=ConvDimensionNumbers(out_spec, _swapped(rhs_spec), lhs_spec),
        feature_group_count=groups,
        batch_group_count=1,
        **params,
    )[0]
    if batch_group_count == 1:
        return result
    return merge(divide(result, lhs_spec[1], groups), lhs_spec[1], lhs_spec[0])


def _adjoint_rhs(
    cotangent: Value,
    lhs: Value,
    rhs: ShapedArray,
    *,
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    dimension_numbers: ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    **params: Any,
) -> Value:
    """w'[o, c, k] = sum x[n, c, s t + r k] y'[n, o, t] over n and t."""
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    rows = zip(lhs_spec[2:], rhs_spec[2:], out_spec[2:], strict=True)
    pads: list[tuple[int, int]] = []
    for (i, j, k), (low, _), stride, base, atrous in zip(
        rows, padding, window_strides, lhs_dilation, rhs_dilation, strict=True
    ):
        needed = dilated(rhs.shape[j], atrous) - 1 + dilated(cotangent.aval.shape[k], stride)
        pads.append((low, needed - low - dilated(lhs.aval.shape[i], base)))
    numbers = (_swapped(lhs_spec), _swapped(out_spec), _swapped(rhs_spec))
    return bind(
        conv_general_dilated_p,
        lhs,
        cotangent,
        window_strides=rhs_dilation,
        padding=tuple(pads),
        lhs_dilation=lhs_dilation,
        rhs_dilation=window_strides,
        dimension_numbers=ConvDimensionNumbers(*numbers),
        feature_group_count=batch_group_count,
        batch_group_count=feature_group_count,
        **params,
    )[0]


def _swapped(spec: tuple[int, ...]) -> tuple[int, ...]:
    """Let batch (or output feature) and feature axis change places."""
    return (spec[1], spec[0], *spec[2:])


# Mapping ------------------------------------------------------------------------------------------


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Put mapped images into the batch, mapped kernels into the features; both make groups."""
    if not axis.size:
        return _batch_of_none(operands, dims, params)
    lhs, rhs = operands
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    batch_groups = params["batch_group_count"]
    out_axis, groups = out_spec[1], params["feature_group_count"] * batch_groups
    if dims[1] is None:
        lhs = merge(lhs, _mapped(dims[0]), lhs_spec[0], batch_groups)
        out_axis, groups = out_spec[0], 1
    elif dims[0] is None:
        rhs = merge(rhs, dims[1], rhs_spec[0], groups)
    else:
        kind, target = ("batch", lhs_spec[0]) if batch_groups > 1 else ("feature", lhs_spec[1])
        lhs, rhs = merge(lhs, dims[0], target), merge(rhs, dims[1], rhs_spec[0])
        params, groups = params | {f"{kind}_group_count": groups * axis.size}, 1
    result = bind(conv_general_dilated_p, lhs, rhs, **params)[0]
    found, dim = unmerge(result, out_axis, axis.size, groups)
    return [found], [dim]


def _mapped(dim: Dim) -> int:
    assert dim is not None
    return dim


def _batch_of_none(operands: Sequence[Value], dims: Sequence[Dim], params: dict[str, Any]) -> Any:
    """Map over nothing, which groups cannot express."""
    avals = [
        x.aval
        if dim is None
        else x.aval.update(shape=tuple(size for i, size in enumerate(x.aval.shape) if i != dim))
        for x, dim in zip(operands, dims, strict=True)
    ]
    (out,) = _abstract(*avals, **params)
    return [zeros(out.update(shape=(0, *out.shape)))], [0]


# Lowering -----------------------------------------------------------------------------------------


def _lower(
    b: Any,
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: ConvDimensionNumbers,
    window_strides: tuple[int, ...],
    precision: tuple[Precision, Precision] | None,
    preferred_element_type: Any,
    **params: Any,
) -> Any:
    out = b.out_types[0]
    if not all(aval.size for aval in (*b.in_types, out)):
        return b.full(0, out)
    lhs_spec, (out_feature, in_feature, *kernel), out_spec = dimension_numbers
    numbers = b.context.conv_dimension_numbers(
        *lhs_spec[:2],
        lhs_spec[2:],
        in_feature,
        out_feature,
        tuple(kernel),
        *out_spec[:2],
        out_spec[2:],
    )

    def convolve(x: Any, kernel: Any, result: ShapedArray) -> Any:
        return b.convolution(
            x,
            kernel,
            result,
            dimension_numbers=numbers,
            strides=window_strides,
            precision=None if precision is None else tuple(one.name for one in precision),
            **params,
        )

    if dtypes.is_complex(b.in_types[0].dtype):
        return _lower_complex(b, lhs, rhs, out, convolve)
    return convolve(lhs, rhs, out)


def _lower_complex(b: Any, lhs: Any, rhs: Any, out: ShapedArray, convolve: Any) -> Any:
    """Convolve complex numbers by three convolutions of real ones (Gauss)."""

    def real_type(aval: ShapedArray) -> ShapedArray:
        return aval.update(dtype=dtypes.to_real(aval.dtype))

    def parts(x: Any, aval: ShapedArray) -> list[Any]:
        kind = real_type(aval)
        real, imag = (b.op(f"stablehlo.{part}", (x,), kind) for part in ("real", "imag"))
        return [real, imag, b.op("stablehlo.add", (real, imag), kind)]

    kind = real_type(out)
    pairs_of_parts = zip(parts(lhs, b.in_types[0]), parts(rhs, b.in_types[1]), strict=True)
    real, imag, both = (convolve(x, kernel, kind) for x, kernel in pairs_of_parts)
    rest = b.op("stablehlo.add", (real, imag), kind)
    difference = b.op("stablehlo.subtract", (real, imag), kind)
    cross = b.op("stablehlo.subtract", (both, rest), kind)
    return b.op("stablehlo.complex", (difference, cross), out)


conv_general_dilated_p = declare(
    "conv_general_dilated",
    abstract_eval=_abstract,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
)
