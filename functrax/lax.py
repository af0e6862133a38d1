"""The operations themselves, with the names of ``jax.lax``: no promotion, explicit shapes.

Operands have one dtype and shapes that agree (or are scalars); `functrax.numpy` brings them there.
"""

import builtins
import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, as_value, bind
from functrax.numpy import creation as _creation
from functrax.numpy.operands import broadcast_shapes as _broadcast_shapes
from functrax.primitives.argmax import argmax as argmax
from functrax.primitives.argmax import argmin as argmin
from functrax.primitives.clamp import clamp as clamp
from functrax.primitives.collective import all_gather as all_gather
from functrax.primitives.collective import axis_index as axis_index
from functrax.primitives.collective import axis_size as axis_size
from functrax.primitives.collective import pmax as pmax
from functrax.primitives.collective import pmean as pmean
from functrax.primitives.collective import pmin as pmin
from functrax.primitives.collective import psum as psum
from functrax.primitives.collective import psum_scatter as psum_scatter
from functrax.primitives.compare import bitwise_and as bitwise_and
from functrax.primitives.compare import bitwise_not as bitwise_not
from functrax.primitives.compare import bitwise_or as bitwise_or
from functrax.primitives.compare import bitwise_xor as bitwise_xor
from functrax.primitives.compare import clz as clz
from functrax.primitives.compare import eq as eq
from functrax.primitives.compare import ge as ge
from functrax.primitives.compare import gt as gt
from functrax.primitives.compare import le as le
from functrax.primitives.compare import lt as lt
from functrax.primitives.compare import ne as ne
from functrax.primitives.compare import population_count as population_count
from functrax.primitives.compare import shift_left as shift_left
from functrax.primitives.compare import shift_right_arithmetic as shift_right_arithmetic
from functrax.primitives.compare import shift_right_logical as shift_right_logical
from functrax.primitives.convert import bitcast_convert_type as bitcast_convert_type
from functrax.primitives.convert import convert_element_type as convert_element_type
from functrax.primitives.convert import optimization_barrier as optimization_barrier
from functrax.primitives.convert import reduce_precision as reduce_precision
from functrax.primitives.convert import stop_gradient as stop_gradient
from functrax.primitives.convolution import conv_general_dilated as conv_general_dilated
from functrax.primitives.convolution_forms import conv as conv
from functrax.primitives.convolution_forms import (
    conv_general_dilated_patches as conv_general_dilated_patches,
)
from functrax.primitives.convolution_forms import conv_transpose as conv_transpose
from functrax.primitives.convolution_forms import (
    conv_with_general_padding as conv_with_general_padding,
)
from functrax.primitives.convolution_numbers import ConvDimensionNumbers as ConvDimensionNumbers
from functrax.primitives.convolution_numbers import conv_dimension_numbers as conv_dimension_numbers
from functrax.primitives.convolution_numbers import padtype_to_pads as padtype_to_pads
from functrax.primitives.cumulative import cumlogsumexp as cumlogsumexp
from functrax.primitives.cumulative import cummax as cummax
from functrax.primitives.cumulative import cummin as cummin
from functrax.primitives.cumulative import cumprod as cumprod
from functrax.primitives.cumulative import cumsum as cumsum
from functrax.primitives.dot import batch_matmul as batch_matmul
from functrax.primitives.dot import dot as dot
from functrax.primitives.dot import dot_general as dot_general
from functrax.primitives.elementwise import abs as abs
from functrax.primitives.elementwise import acos as acos
from functrax.primitives.elementwise import acosh as acosh
from functrax.primitives.elementwise import add as add
from functrax.primitives.elementwise import asin as asin
from functrax.primitives.elementwise import asinh as asinh
from functrax.primitives.elementwise import atan as atan
from functrax.primitives.elementwise import atan2 as atan2
from functrax.primitives.elementwise import atanh as atanh
from functrax.primitives.elementwise import cbrt as cbrt
from functrax.primitives.elementwise import ceil as ceil
from functrax.primitives.elementwise import complex as complex
from functrax.primitives.elementwise import conj as conj
from functrax.primitives.elementwise import cos as cos
from functrax.primitives.elementwise import cosh as cosh
from functrax.primitives.elementwise import div as div
from functrax.primitives.elementwise import erf as erf
from functrax.primitives.elementwise import erf_inv as erf_inv
from functrax.primitives.elementwise import erfc as erfc
from functrax.primitives.elementwise import exp as exp
from functrax.primitives.elementwise import exp2 as exp2
from functrax.primitives.elementwise import expm1 as expm1
from functrax.primitives.elementwise import floor as floor
from functrax.primitives.elementwise import imag as imag
from functrax.primitives.elementwise import integer_pow as integer_pow
from functrax.primitives.elementwise import is_finite as is_finite
from functrax.primitives.elementwise import log as log
from functrax.primitives.elementwise import log1p as log1p
from functrax.primitives.elementwise import logistic as logistic
from functrax.primitives.elementwise import mul as mul
from functrax.primitives.elementwise import neg as neg
from functrax.primitives.elementwise import nextafter as nextafter
from functrax.primitives.elementwise import pow as pow
from functrax.primitives.elementwise import real as real
from functrax.primitives.elementwise import rem as rem
from functrax.primitives.elementwise import round as round
from functrax.primitives.elementwise import rsqrt as rsqrt
from functrax.primitives.elementwise import sign as sign
from functrax.primitives.elementwise import sin as sin
from functrax.primitives.elementwise import sinh as sinh
from functrax.primitives.elementwise import sqrt as sqrt
from functrax.primitives.elementwise import square as square
from functrax.primitives.elementwise import sub as sub
from functrax.primitives.elementwise import tan as tan
from functrax.primitives.elementwise import tanh as tanh
from functrax.primitives.extreme import max as max
from functrax.primitives.extreme import min as min
from functrax.primitives.gather import GatherDimensionNumbers as GatherDimensionNumbers
from functrax.primitives.gather import GatherScatterMode as GatherScatterMode
from functrax.primitives.gather import ScatterDimensionNumbers as ScatterDimensionNumbers
from functrax.primitives.gather import gather as gather
from functrax.primitives.join import concatenate as concatenate
from functrax.primitives.join import pad as pad
from functrax.primitives.join import split as split
from functrax.primitives.precision import DotAlgorithm as DotAlgorithm
from functrax.primitives.precision import DotAlgorithmPreset as DotAlgorithmPreset
from functrax.primitives.precision import Precision as Precision
from functrax.primitives.reduce import reduce_and as reduce_and
from functrax.primitives.reduce import reduce_max as reduce_max
from functrax.primitives.reduce import reduce_min as reduce_min
from functrax.primitives.reduce import reduce_or as reduce_or
from functrax.primitives.reduce import reduce_prod as reduce_prod
from functrax.primitives.reduce import reduce_sum as reduce_sum
from functrax.primitives.reduce import reduce_xor as reduce_xor
from functrax.primitives.reduce_generic import reduce as reduce
from functrax.primitives.scatter import scatter as scatter
from functrax.primitives.scatter import scatter_add as scatter_add
from functrax.primitives.scatter import scatter_max as scatter_max
from functrax.primitives.scatter import scatter_min as scatter_min
from functrax.primitives.scatter import scatter_mul as scatter_mul
from functrax.primitives.scatter import scatter_sub as scatter_sub
from functrax.primitives.select import select_n as select_n
from functrax.primitives.shape import broadcast_in_dim as broadcast_in_dim
from functrax.primitives.shape import expand_dims as expand_dims
from functrax.primitives.shape import iota_p as _iota_p
from functrax.primitives.shape import reshape as reshape
from functrax.primitives.shape import rev as rev
from functrax.primitives.shape import squeeze as squeeze
from functrax.primitives.shape import transpose as transpose
from functrax.primitives.slice import dynamic_slice as dynamic_slice
from functrax.primitives.slice import dynamic_update_slice as dynamic_update_slice
from functrax.primitives.slice import slice as slice
from functrax.primitives.slice_along import dynamic_index_in_dim as dynamic_index_in_dim
from functrax.primitives.slice_along import dynamic_slice_in_dim as dynamic_slice_in_dim
from functrax.primitives.slice_along import (
    dynamic_update_index_in_dim as dynamic_update_index_in_dim,
)
from functrax.primitives.slice_along import (
    dynamic_update_slice_in_dim as dynamic_update_slice_in_dim,
)
from functrax.primitives.slice_along import index_in_dim as index_in_dim
from functrax.primitives.slice_along import slice_in_dim as slice_in_dim
from functrax.primitives.sort import sort as sort
from functrax.primitives.sort import sort_key_val as sort_key_val
from functrax.primitives.sort import top_k as top_k
from functrax.primitives.window_generic import reduce_window as reduce_window


class RoundingMethod(IntEnum):
    """What `round` does with numbers half way between two integers."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


# ---- choosing


def select(pred: Any, on_true: Any, on_false: Any) -> Array:
    """Choose elementwise between two arrays.

    Args:
        pred: array of booleans, of the shape of the others or ().
        on_true: array, taken where `pred` is true.
        on_false: array of the same shape and dtype, taken elsewhere.

    Returns:
        An array of that shape and dtype.

    Raises:
        ShapeError, DtypeError: if the operands do not fit together.
    """
    return select_n(pred, on_false, on_true)


# ---- making arrays


def full(shape: Any, fill_value: Any, dtype: Any = None, *, sharding: None = None) -> Array:
    """Return an array filled with a number.

    Args:
        shape: int or sequence of ints.
        fill_value: number or array of shape ().
        dtype: the dtype; that of the number if None.
        sharding: must be None.

    Returns:
        An array of that shape.

    Raises:
        ShapeError: if the value has axes.
    """
    if getattr(fill_value, "shape", ()):
        raise errors.ShapeError("full", "a number", f"shape {fill_value.shape}")
    return _creation.full(shape, fill_value, dtype)


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Array:
    """Return an array of another's shape and dtype, filled with a number.

    Args:
        x: array.
        fill_value: number.
        dtype: another dtype.
        shape: another shape.

    Returns:
        An array of that shape and dtype.
    """
    return _creation.full_like(x, fill_value, dtype, shape)


def iota(dtype: Any, size: int) -> Array:
    """Count from 0 to size - 1.

    Args:
        dtype: the dtype.
        size: int.

    Returns:
        An array of shape (size,).
    """
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Any, dimension: int) -> Array:
    """Count along an axis; the other axes repeat.

    Args:
        dtype: the dtype.
        shape: the result's shape.
        dimension: the axis along which the numbers increase.

    Returns:
        An array of that shape.

    Raises:
        BoundsError: if there is no such axis.
    """
    sizes = tuple(int(size) for size in shape)
    axis = int(dimension)
    if not 0 <= axis < len(sizes):
        raise errors.BoundsError("broadcasted_iota", f"an axis of shape {sizes}", f"axis {axis}")
    found = dtypes.canonicalize(dtype, "broadcasted_iota")
    return bind(_iota_p, dtype=found, shape=sizes, dimension=axis)[0]


# ---- shapes


def broadcast(operand: Any, sizes: Sequence[int]) -> Array:
    """Put axes in front of an array, along which it repeats.

    Args:
        operand: array.
        sizes: the sizes of the new axes.

    Returns:
        An array of shape (*sizes, *operand.shape).
    """
    operand = as_value(operand, "broadcast")
    shape = (*(int(size) for size in sizes), *operand.aval.shape)
    first = len(shape) - operand.aval.ndim
    return broadcast_in_dim(operand, shape, tuple(range(first, len(shape))))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to, by NumPy's rule.

    Args:
        *shapes: sequences of ints.

    Returns:
        A tuple of ints.

    Raises:
        ShapeError: showing the shapes.
    """
    return _broadcast_shapes("broadcast_shapes", [tuple(shape) for shape in shapes])


def broadcast_to_rank(x: Any, rank: int) -> Array:
    """Put axes of size 1 in front of an array until it has `rank` axes.

    Args:
        x: array.
        rank: int.

    Returns:
        An array of `rank` axes.
    """
    x = as_value(x, "broadcast_to_rank")
    return expand_dims(x, tuple(range(rank - x.aval.ndim)))


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Array:
    """Make one axis of several neighbours.

    Args:
        operand: array.
        start_dimension: the first of the axes.
        stop_dimension: the axis behind the last one; the number of axes if None.

    Returns:
        An array.
    """
    operand = as_value(operand, "collapse")
    shape = operand.aval.shape
    low, high, _ = builtins.slice(start_dimension, stop_dimension).indices(len(shape))
    if high <= low:
        raise errors.BoundsError(
            "collapse", "a range of axes", f"{start_dimension} to {stop_dimension} of shape {shape}"
        )
    return reshape(operand, (*shape[:low], math.prod(shape[low:high]), *shape[high:]))


# ---- numbers


def reciprocal(x: Any) -> Array:
    """Compute 1 / x.

    Args:
        x: array of floating or complex dtype.

    Returns:
        An array of the same shape and dtype.
    """
    return integer_pow(x, -1)
