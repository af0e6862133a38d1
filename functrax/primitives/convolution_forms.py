"""Convolutions in special forms, by `conv_general_dilated`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core.arguments import integers
from functrax.core.trace import Value, as_value
from functrax.primitives.convert import convert
from functrax.primitives.convolution import conv_general_dilated
from functrax.primitives.convolution_numbers import (
    check_entries,
    conv_dimension_numbers,
    dilated,
    pairs,
)
from functrax.primitives.precision import Precision
from functrax.primitives.rules import transpose_axes
from functrax.primitives.shape import rev


def conv(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Value:
    """Convolve images with kernels, without dilation or groups.

    Args:
        lhs: array of shape (batch, feature, *spatial).
        rhs: array of shape (output feature, input feature, *spatial).
        window_strides: the distance between windows along each spatial axis.
        padding: ``"SAME"``, ``"SAME_LOWER"`` or ``"VALID"``, or (low, high) for each spatial axis.
        precision: as for `conv_general_dilated`.
        preferred_element_type: the dtype of sums and result.

    Returns:
        An array of shape (batch, output feature, *spatial).

    Raises:
        ShapeError, DtypeError, ArgumentError: as `conv_general_dilated`.

    Example:
        >>> import numpy as np
        >>> conv(np.ones((1, 2, 5)), np.ones((3, 2, 3)), (2,), "SAME").shape
        (1, 3, 3)
    """
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_with_general_padding(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Value:
    """Convolve images with kernels, with dilation, without groups.

    Args:
        lhs: array of shape (batch, feature, *spatial).
        rhs: array of shape (output feature, input feature, *spatial).
        window_strides: the distance between windows along each spatial axis.
        padding: a word, or (low, high) for each spatial axis.
        lhs_dilation: the distance at which the elements of lhs are placed; None for 1.
        rhs_dilation: the same for rhs.
        precision: as for `conv_general_dilated`.
        preferred_element_type: the dtype of sums and result.

    Returns:
        An array of shape (batch, output feature, *spatial).

    Raises:
        ShapeError, DtypeError, ArgumentError: as `conv_general_dilated`.

    Example:
        >>> import numpy as np
        >>> x, w = np.ones((1, 1, 6)), np.ones((1, 1, 3))
        >>> conv_with_general_padding(x, w, (1,), [(1, 1)], None, (2,)).shape
        (1, 1, 4)
    """
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


_LAYOUTS = {
    2: ("NC", "IO", "NC"),
    3: ("NHC", "HIO", "NHC"),
    4: ("NHWC", "HWIO", "NHWC"),
    5: ("NHWDC", "HWDIO", "NHWDC"),
}


def conv_transpose(
    lhs: Any,
    rhs: Any,
    strides: Sequence[int],
    padding: Any,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Value:
    """Convolve with a fractional stride ("deconvolution"), such as the gradient of a convolution.

    Args:
        lhs: the images.
        rhs: the kernels.
        strides: by which factor each spatial axis grows.
        padding: ``"SAME"`` for size * stride; ``"VALID"`` for all places that the kernel touches;
            or (low, high) for each spatial axis of the dilated images.
        rhs_dilation: the distance at which the elements of the kernels are placed; None for 1.
        dimension_numbers: which axis is which, as for `conv_general_dilated`; by default features
            come last: ``("NHWC", "HWIO", "NHWC")`` for images of 4 axes.
        transpose_kernel: whether to flip the kernels and swap their input and output features. Then
            it is the gradient of the convolution with these kernels.
        precision: as for `conv_general_dilated`.
        preferred_element_type: the dtype of sums and result.
        use_consistent_padding: whether pairs in `padding` are those of the convolution of which
            this is the gradient, instead of the dilated images'.

    Returns:
        An array with batch, feature and spatial axes.

    Raises:
        ShapeError, DtypeError, ArgumentError: as `conv_general_dilated`; ArgumentError also for
            images of more than 5 axes without dimension_numbers, and for ``"SAME_LOWER"``.

    Example:
        >>> import numpy as np
        >>> conv_transpose(np.ones((1, 5, 2)), np.ones((3, 2, 4)), (2,), "SAME").shape
        (1, 10, 4)

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks" (CVPR 2010).
    """
    lhs, rhs = as_value(lhs, "conv_transpose"), as_value(rhs, "conv_transpose")
    rank = lhs.aval.ndim
    if dimension_numbers is None:
        dimension_numbers = _LAYOUTS.get(rank)
        if dimension_numbers is None:
            expected = "images of 2 to 5 axes, or dimension_numbers"
            raise errors.ArgumentError("conv_transpose", expected, repr(lhs.aval))
    numbers = conv_dimension_numbers(lhs.aval.shape, rhs.aval.shape, dimension_numbers)
    spatial = numbers.rhs_spec[2:]
    strides = integers("conv_transpose", "strides", strides)
    atrous = (1,) * (rank - 2)
    if rhs_dilation is not None:
        atrous = integers("conv_transpose", "rhs_dilation", rhs_dilation)
    check_entries("conv_transpose", rank - 2, strides=strides, rhs_dilation=atrous)
    windows = [
        dilated(rhs.aval.shape[axis], step) for axis, step in zip(spatial, atrous, strict=True)
    ]
    pads = _transposed_padding(padding, windows, strides, use_consistent_padding)
    if transpose_kernel:
        order = list(range(rank))
        out_axis, in_axis = numbers.rhs_spec[:2]
        order[out_axis], order[in_axis] = in_axis, out_axis
        rhs = transpose_axes(rev(rhs, spatial), order)
    return conv_general_dilated(
        lhs,
        rhs,
        (1,) * (rank - 2),
        pads,
        strides,
        atrous,
        numbers,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _transposed_padding(
    padding: Any, windows: Sequence[int], strides: Sequence[int], consistent: bool
) -> list[tuple[int, int]]:
    """Return the padding of the dilated images."""
    if not isinstance(padding, str):
        given = pairs("conv_transpose", padding, len(windows))
        if not consistent:
            return list(given)
        rows = zip(given, windows, strict=True)
        return [(size - 1 - low, size - 1 - high) for (low, high), size in rows]
    if padding.upper() not in ("SAME", "VALID"):
        expected = "padding 'SAME' or 'VALID', or a pair for each spatial axis"
        raise errors.ArgumentError("conv_transpose", expected, repr(padding))
    pads: list[tuple[int, int]] = []
    for size, stride in zip(windows, strides, strict=True):
        if padding.upper() == "VALID":
            low, total = size - 1, size + stride - 2 + max(size - stride, 0)
        else:
            total = size + stride - 2
            low = size - 1 if stride > size - 1 else -(-total // 2)
        pads.append((low, total - low))
    return pads


def conv_general_dilated_patches(
    lhs: Any,
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Value:
    """Collect the windows that a convolution would see into the feature axis.

    Args:
        lhs: the images.
        filter_shape: the window's sizes, one for each spatial axis.
        window_strides: the distance between windows.
        padding: as for `conv_general_dilated`, like the following.
        lhs_dilation: the distance at which the elements of lhs are placed.
        rhs_dilation: the distance between the elements of a window.
        dimension_numbers: which axis is which; for the windows as for kernels.
        precision: how exactly elements are copied; the highest by default.
        preferred_element_type: the dtype of the result.

    Returns:
        An array whose feature axis holds, for each feature, all elements of the window.

    Raises:
        ShapeError, DtypeError, ArgumentError: as `conv_general_dilated`.

    Example:
        >>> import numpy as np
        >>> conv_general_dilated_patches(np.arange(4.0).reshape(1, 1, 4), (2,), (1,), "VALID")
        Array([[[0., 1., 2.],
                [1., 2., 3.]]], dtype=float32)
    """
    lhs = as_value(lhs, "conv_general_dilated_patches")
    sizes = integers("conv_general_dilated_patches", "filter_shape", filter_shape)
    like = tuple(range(lhs.aval.ndim))
    numbers = conv_dimension_numbers(like, like, dimension_numbers)
    features = lhs.aval.shape[numbers.lhs_spec[1]]
    count = math.prod(sizes)
    # Kernel i of each feature's group is 1 at the i-th place of the window and 0 elsewhere.
    eye = np.eye(count, dtype=bool).reshape(count, 1, *sizes)
    kernels = np.tile(eye, (features, *(1,) * (len(sizes) + 1)))
    order = sorted(range(lhs.aval.ndim), key=numbers.rhs_spec.__getitem__)
    return conv_general_dilated(
        lhs,
        convert(as_value(kernels.transpose(order), "conv_general_dilated"), lhs.aval.dtype),
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        numbers,
        feature_group_count=features,
        precision=Precision.HIGHEST if precision is None else precision,
        preferred_element_type=preferred_element_type,
    )
