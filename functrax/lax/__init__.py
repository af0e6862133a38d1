"""The operations themselves, with the names of ``jax.lax``: no promotion, explicit shapes.

Operands have one dtype and shapes that agree (or are scalars); `functrax.numpy` brings them there.
"""

from functrax.core.public import directory as _directory
from functrax.lax.operations import RoundingMethod as RoundingMethod
from functrax.lax.operations import broadcast as broadcast
from functrax.lax.operations import broadcast_shapes as broadcast_shapes
from functrax.lax.operations import broadcast_to_rank as broadcast_to_rank
from functrax.lax.operations import broadcasted_iota as broadcasted_iota
from functrax.lax.operations import collapse as collapse
from functrax.lax.operations import full as full
from functrax.lax.operations import full_like as full_like
from functrax.lax.operations import iota as iota
from functrax.lax.operations import nextafter as nextafter
from functrax.lax.operations import reciprocal as reciprocal
from functrax.lax.operations import select as select
from functrax.primitives.argmax import argmax as argmax
from functrax.primitives.argmax import argmin as argmin
from functrax.primitives.clamp import clamp as clamp
from functrax.primitives.collectives.arrivals import exclusive_psum as exclusive_psum
from functrax.primitives.collectives.arrivals import gather_to as gather_to
from functrax.primitives.collectives.arrivals import reduce_to as reduce_to
from functrax.primitives.collectives.arrivals import scatter_from as scatter_from
from functrax.primitives.collectives.extremes import pmax as pmax
from functrax.primitives.collectives.extremes import pmin as pmin
from functrax.primitives.collectives.gathers import all_gather as all_gather
from functrax.primitives.collectives.gathers import psum_scatter as psum_scatter
from functrax.primitives.collectives.moves import all_to_all as all_to_all
from functrax.primitives.collectives.moves import pbroadcast as pbroadcast
from functrax.primitives.collectives.moves import ppermute as ppermute
from functrax.primitives.collectives.moves import pshuffle as pshuffle
from functrax.primitives.collectives.moves import pswapaxes as pswapaxes
from functrax.primitives.collectives.positions import axis_index as axis_index
from functrax.primitives.collectives.positions import axis_size as axis_size
from functrax.primitives.collectives.ragged import ragged_all_to_all as ragged_all_to_all
from functrax.primitives.collectives.sums import pcast as pcast
from functrax.primitives.collectives.sums import pmean as pmean
from functrax.primitives.collectives.sums import psum as psum
from functrax.primitives.collectives.sums import pvary as pvary
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
from functrax.transforms.constraint import with_sharding_constraint as with_sharding_constraint
from functrax.transforms.control.cond import cond as cond
from functrax.transforms.control.cond import platform_dependent as platform_dependent
from functrax.transforms.control.cond import switch as switch
from functrax.transforms.control.loops import associative_scan as associative_scan
from functrax.transforms.control.loops import fori_loop as fori_loop
from functrax.transforms.control.loops import map as map
from functrax.transforms.control.scan import scan as scan
from functrax.transforms.control.while_loop import while_loop as while_loop
from functrax.transforms.linear_solve import custom_linear_solve as custom_linear_solve
from functrax.transforms.root import custom_root as custom_root

__dir__ = _directory(__name__)
