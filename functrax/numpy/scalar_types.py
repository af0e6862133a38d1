"""The names of dtypes, which are also functions: ``jnp.float32(1)`` is an array of that dtype."""

from typing import Any

import ml_dtypes
import numpy as np

from functrax.core import dtypes
from functrax.core.trace import Array
from functrax.numpy.creation import asarray


class ScalarType(type):
    """The class of the names of dtypes; equal to NumPy's scalar type, also as a dictionary key."""

    dtype: np.dtype[Any]

    def __hash__(cls) -> int:
        return hash(cls.dtype.type)

    def __eq__(cls, other: object) -> bool:
        return (
            cls is other
            or cls.dtype.type is other
            or (isinstance(other, ScalarType) and cls.dtype == other.dtype)
        )

    def __ne__(cls, other: object) -> bool:
        return not cls == other

    def __call__(cls, x: Any) -> Array:
        """Return anything array-like as an array of this dtype."""
        return asarray(x, dtype=cls.dtype)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.dtype.type)

    def __repr__(cls) -> str:
        return f"<class 'functrax.numpy.{cls.__name__}'>"


def _scalar_type(scalar: type) -> ScalarType:
    dtype = np.dtype(scalar)
    name = "bool_" if dtype == dtypes.bool_ else dtype.name
    members = {"dtype": dtype, "__doc__": f"The dtype {dtype.name}; called, an array of it."}
    return ScalarType(name, (object,), members)


bool_ = _scalar_type(np.bool_)
int2 = _scalar_type(ml_dtypes.int2)
int4 = _scalar_type(ml_dtypes.int4)
int8 = _scalar_type(np.int8)
int16 = _scalar_type(np.int16)
int32 = _scalar_type(np.int32)
int64 = _scalar_type(np.int64)
uint2 = _scalar_type(ml_dtypes.uint2)
uint4 = _scalar_type(ml_dtypes.uint4)
uint8 = _scalar_type(np.uint8)
uint16 = _scalar_type(np.uint16)
uint32 = _scalar_type(np.uint32)
uint64 = _scalar_type(np.uint64)
float4_e2m1fn = _scalar_type(ml_dtypes.float4_e2m1fn)
float8_e3m4 = _scalar_type(ml_dtypes.float8_e3m4)
float8_e4m3 = _scalar_type(ml_dtypes.float8_e4m3)
float8_e4m3b11fnuz = _scalar_type(ml_dtypes.float8_e4m3b11fnuz)
float8_e4m3fn = _scalar_type(ml_dtypes.float8_e4m3fn)
float8_e4m3fnuz = _scalar_type(ml_dtypes.float8_e4m3fnuz)
float8_e5m2 = _scalar_type(ml_dtypes.float8_e5m2)
float8_e5m2fnuz = _scalar_type(ml_dtypes.float8_e5m2fnuz)
float8_e8m0fnu = _scalar_type(ml_dtypes.float8_e8m0fnu)
bfloat16 = _scalar_type(ml_dtypes.bfloat16)
float16 = _scalar_type(np.float16)
float32 = single = _scalar_type(np.float32)
float64 = double = _scalar_type(np.float64)
complex64 = csingle = _scalar_type(np.complex64)
complex128 = cdouble = _scalar_type(np.complex128)
# The widths that Python's types mean by default are those of enable_x64=False; `dtype=int` follows
# it.
int_ = int32
uint = uint32
float_ = float32
complex_ = complex64
