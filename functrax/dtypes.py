"""Types of numbers: promotion, limits and questions, with the names of ``jax.dtypes``."""

from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from functrax.core import dtypes
from functrax.core.dtypes import extended, float0, prng_key
from functrax.errors import ArgumentError, DtypeError, TypePromotionError

__all__ = [
    "TypePromotionError",
    "bfloat16",
    "canonicalize_dtype",
    "extended",
    "finfo",
    "float0",
    "iinfo",
    "isdtype",
    "issubdtype",
    "itemsize_bits",
    "prng_key",
    "promote_types",
    "result_type",
    "scalar_type_of",
]


def __dir__() -> list[str]:
    return __all__


# ---- promotion


def result_type(*args: Any, return_weak_type_flag: bool = False) -> Any:
    """Return the dtype that an operation on these arguments computes in.

    Args:
        *args: arrays, NumPy arrays, Python numbers, or dtypes; None is the default float.
        return_weak_type_flag: bool, whether to return also if the result is weak.

    Returns:
        The dtype, or ``(dtype, weak)``.

    Raises:
        DtypeError: if an argument has no dtype.
        TypePromotionError: if there is no common type.
        ArgumentError: if there is no argument.

    Example:
        >>> result_type("bfloat16", 1.0), result_type(np.int16(1), "float16")
        (dtype(bfloat16), dtype('float16'))
    """
    if not args:
        raise ArgumentError("result_type", "at least one array or dtype", "none")
    kinds, weak = zip(*map(dtypes.dtype_and_weak, args), strict=True)
    dtype, is_weak = dtypes.promote(kinds, weak, "result_type")
    if is_weak:
        dtype = dtypes.default_of_kind(dtype)
    return (dtype, is_weak) if return_weak_type_flag else dtype


def promote_types(a: Any, b: Any) -> Any:
    """Return the dtype that two dtypes promote to.

    Args:
        a: a dtype, or ``int``, ``float``, ``complex``, which are weak.
        b: the same.

    Returns:
        The dtype.

    Raises:
        TypePromotionError: if there is none.

    Example:
        >>> promote_types("int8", "uint8"), promote_types("float16", float)
        (dtype('int16'), dtype('float16'))
    """
    kinds, weak = zip(*(dtypes.dtype_and_weak(x, "promote_types") for x in (a, b)), strict=True)
    return dtypes.promote(kinds, weak, "promote_types")[0]


def canonicalize_dtype(dtype: Any, allow_extended_dtype: bool = False) -> Any:
    """Return what a dtype becomes where nobody asked for its width: 32 bits, itself under x64.

    Args:
        dtype: a dtype.
        allow_extended_dtype: bool, whether the dtype of PRNG keys may pass.

    Returns:
        The dtype.

    Raises:
        DtypeError: if it is not a dtype that arrays can have.

    Example:
        >>> canonicalize_dtype("float64"), canonicalize_dtype("int8")
        (dtype('float32'), dtype('int8'))
    """
    found = dtypes.canonicalize(dtype, "canonicalize_dtype")
    if dtypes.is_extended(found) and not allow_extended_dtype:
        cure = "Pass allow_extended_dtype=True."
        raise DtypeError("canonicalize_dtype", "a dtype of numbers", str(found), fix=cure)
    return dtypes.default_of(found)


# ---- questions


_KINDS = {
    "bool": (dtypes.bool_,),
    "signed integer": dtypes.SIGNED,
    "unsigned integer": dtypes.UNSIGNED,
    "integral": dtypes.SIGNED + dtypes.UNSIGNED,
    "real floating": dtypes.FLOATS,
    "complex floating": dtypes.COMPLEXES,
    "numeric": dtypes.SIGNED + dtypes.UNSIGNED + dtypes.FLOATS + dtypes.COMPLEXES,
}


def isdtype(dtype: Any, kind: Any) -> bool:
    """Tell whether a dtype is of a kind, in the words of the array API standard.

    Args:
        dtype: a dtype.
        kind: ``"bool"``, ``"signed integer"``, ``"unsigned integer"``, ``"integral"``,
            ``"real floating"``, ``"complex floating"``, ``"numeric"``, a dtype, or a tuple of
            these.

    Returns:
        bool.

    Raises:
        DtypeError: for another word.

    Example:
        >>> isdtype("bfloat16", "real floating"), isdtype("int8", ("bool", "uint8"))
        (True, False)
    """
    found = dtypes.canonicalize(dtype, "isdtype")
    for one in kind if isinstance(kind, tuple) else (kind,):
        members = _KINDS.get(one) if isinstance(one, str) else None
        if found in (members or (dtypes.canonicalize(one, "isdtype"),)):
            return True
    return False


def issubdtype(a: Any, b: Any) -> bool:
    """Tell whether a dtype is another, or belongs to its family; NumPy's, for all our dtypes.

    Args:
        a: a dtype or scalar type.
        b: a dtype, or an abstract type such as ``np.floating``, `prng_key` or `extended`.

    Returns:
        bool.

    Example:
        >>> issubdtype("bfloat16", np.floating), issubdtype("float8_e5m2", np.integer)
        (True, False)

    Raises:
        DtypeError: if one of them is not a dtype.
    """
    if dtypes.is_extended(b):
        return a is b
    child, parent = _scalar_type(a), _scalar_type(b)
    families = _families.get(child)
    return issubclass(child, parent) if families is None else parent is child or parent in families


def _scalar_type(dtype: Any) -> type:
    if isinstance(dtype, np.dtype | dtypes.KeyType):
        return dtype.type
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        return dtype
    own = getattr(dtype, "dtype", None)
    try:
        return (own if isinstance(own, np.dtype) else np.dtype(dtype)).type
    except TypeError:
        raise DtypeError("issubdtype", "dtypes or scalar types", repr(dtype)) from None


def _families_of(dtype: np.dtype[Any]) -> frozenset[type]:
    """Return the abstract types of a dtype whose scalar type does not derive from them."""
    if dtypes.is_floating(dtype):
        return frozenset((np.floating, np.inexact, np.number, np.generic))
    sign = np.unsignedinteger if dtypes.is_unsigned(dtype) else np.signedinteger
    return frozenset((sign, np.integer, np.number, np.generic))


_families = {
    d.type: _families_of(d) for d in dtypes.NUMBERS if not issubclass(d.type, np.number | np.bool_)
}


def scalar_type_of(x: Any) -> type:
    """Return the Python type of the numbers in an array.

    Args:
        x: an array, a number or a dtype.

    Returns:
        ``bool``, ``int``, ``float`` or ``complex``.

    Raises:
        DtypeError: if it does not hold numbers.

    Example:
        >>> scalar_type_of(np.ones(3, "int8"))
        <class 'int'>
    """
    dtype, _ = dtypes.dtype_and_weak(x, "scalar_type_of")
    if dtypes.is_bool(dtype):
        return bool
    if dtypes.is_integer(dtype):
        return int
    if dtypes.is_floating(dtype):
        return float
    if dtypes.is_complex(dtype):
        return complex
    raise DtypeError("scalar_type_of", "a dtype of numbers", str(dtype))


# ---- sizes and limits


def itemsize_bits(dtype: Any) -> int:
    """Return how many bits an element has, packed: 4 for int4.

    Args:
        dtype: a dtype of numbers.

    Returns:
        int.

    Raises:
        DtypeError: for PRNG keys and other things.

    Example:
        >>> itemsize_bits("int4"), itemsize_bits("complex64")
        (4, 64)
    """
    found = dtypes.canonicalize(dtype, "itemsize_bits")
    if found not in dtypes.NUMBERS:
        raise DtypeError("itemsize_bits", "a dtype of numbers", str(found))
    if dtypes.is_integer(found):
        return dtypes.iinfo(found).bits
    return dtypes.finfo(found).bits if dtypes.is_floating(found) else found.itemsize * 8


def finfo(dtype: Any) -> Any:
    """Return the limits of a floating-point dtype: ``eps``, ``min``, ``max``, ``tiny``, ``bits``.

    Args:
        dtype: a floating or complex dtype, or an array of one. ``float`` means the default width.

    Returns:
        An object with NumPy's attributes.

    Raises:
        DtypeError: for other dtypes.

    Example:
        >>> float(finfo("float32").eps)
        1.1920928955078125e-07
    """
    found, _ = dtypes.dtype_and_weak(dtype, "finfo")
    if not dtypes.is_inexact(found):
        cure = "iinfo gives the limits of integers." if dtypes.is_integer(found) else None
        raise DtypeError("finfo", "a floating or complex dtype", str(found), fix=cure)
    return dtypes.finfo(found)


def iinfo(int_type: Any) -> Any:
    """Return the limits of an integer dtype: ``min``, ``max``, ``bits``.

    Args:
        int_type: an integer dtype, or an array or number of one. ``int`` means the default width.

    Returns:
        An object with NumPy's attributes.

    Raises:
        DtypeError: for other dtypes.

    Example:
        >>> iinfo("int4").min, iinfo("int4").max
        (-8, 7)
    """
    found, _ = dtypes.dtype_and_weak(int_type, "iinfo")
    if not dtypes.is_integer(found):
        cure = "finfo gives the limits of floats." if dtypes.is_inexact(found) else None
        raise DtypeError("iinfo", "an integer dtype", str(found), fix=cure)
    return dtypes.iinfo(found)
