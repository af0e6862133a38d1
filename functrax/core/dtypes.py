"""Types of numbers: which exist, which is meant, and what several of them become together.

A dtype that is asked for is given; what nobody asked for is 32 bits wide, or 64 under
``enable_x64``. Promotion follows JAX's lattice, in which the numbers of Python are *weak*: they
yield to the dtype that they meet.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

import ml_dtypes
import numpy as np

from functrax import errors
from functrax.core.config import config, in_force


class extended(np.generic):  # noqa: N801  (the name is JAX's)
    """The scalar type of dtypes that NumPy does not have, for `issubdtype`."""


class prng_key(extended):  # noqa: N801
    """The scalar type of PRNG keys: ``issubdtype(keys.dtype, prng_key)`` is true."""


class KeyType:
    """The dtype of the typed PRNG keys of one generator; not a NumPy dtype.

    Args:
        name: str, the generator's short name, such as ``"fry"``.
        key_shape: tuple of int, the shape of the unsigned integers that make up one key.

    Raises:
        DtypeError: if the name already stands for another shape.

    Example:
        >>> KeyType("fry", (2,))
        key<fry>
    """

    __slots__ = ("__weakref__", "key_shape", "name", "tag")

    tag: str
    name: str
    key_shape: tuple[int, ...]
    type: Final = prng_key

    def __new__(cls, name: str, key_shape: tuple[int, ...]) -> "KeyType":
        """Return the one instance of this name."""
        found = _key_types.get(name)
        if found is None:
            found = object.__new__(cls)
            found.tag, found.name, found.key_shape = name, f"key<{name}>", tuple(key_shape)
            return _key_types.setdefault(name, found)
        if found.key_shape != tuple(key_shape):
            expected = f"key_shape {found.key_shape}, as {found} has already"
            cure = "Give the other generator another name."
            raise errors.DtypeError("KeyType", expected, str(tuple(key_shape)), fix=cure)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of the constructor, so that the copy is the one instance too."""
        return KeyType, (self.tag, self.key_shape)

    def __repr__(self) -> str:
        """Print as in a jaxpr."""
        return self.name


_key_types: dict[str, KeyType] = {}


def key_type(printed: str) -> KeyType | None:
    """Return the key type that jaxprs print so (``key<fry>``), or None if no generator has it."""
    return _key_types.get(printed.removeprefix("key<").removesuffix(">"))


bool_ = np.dtype(np.bool_)
int2, int4 = np.dtype(ml_dtypes.int2), np.dtype(ml_dtypes.int4)
uint2, uint4 = np.dtype(ml_dtypes.uint2), np.dtype(ml_dtypes.uint4)
int8, int16, int32, int64 = map(np.dtype, (np.int8, np.int16, np.int32, np.int64))
uint8, uint16, uint32, uint64 = map(np.dtype, (np.uint8, np.uint16, np.uint32, np.uint64))
float4_e2m1fn = np.dtype(ml_dtypes.float4_e2m1fn)
float8_e3m4 = np.dtype(ml_dtypes.float8_e3m4)
float8_e4m3 = np.dtype(ml_dtypes.float8_e4m3)
float8_e4m3b11fnuz = np.dtype(ml_dtypes.float8_e4m3b11fnuz)
float8_e4m3fn = np.dtype(ml_dtypes.float8_e4m3fn)
float8_e4m3fnuz = np.dtype(ml_dtypes.float8_e4m3fnuz)
float8_e5m2 = np.dtype(ml_dtypes.float8_e5m2)
float8_e5m2fnuz = np.dtype(ml_dtypes.float8_e5m2fnuz)
float8_e8m0fnu = np.dtype(ml_dtypes.float8_e8m0fnu)
bfloat16 = np.dtype(ml_dtypes.bfloat16)
float16, float32, float64 = map(np.dtype, (np.float16, np.float32, np.float64))
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)
# The dtype of tangents that can only be zero: those of integers and booleans.
float0: np.dtype[Any] = np.dtype([("float0", np.void, 0)])

SIGNED = (int2, int4, int8, int16, int32, int64)
UNSIGNED = (uint2, uint4, uint8, uint16, uint32, uint64)
SMALL_FLOATS = (float4_e2m1fn, float8_e3m4, float8_e4m3, float8_e4m3b11fnuz, float8_e4m3fn,
                float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu)  # fmt: skip
FLOATS = (*SMALL_FLOATS, bfloat16, float16, float32, float64)
COMPLEXES = (complex64, complex128)
#: Every dtype that an array of numbers can have, on every jaxlib that functrax supports.
NUMBERS = (bool_, *UNSIGNED, *SIGNED, *FLOATS, *COMPLEXES)

DType: TypeAlias = np.dtype[Any] | KeyType

# ---- what kind of number a dtype is: a look-up in C, for these stand on every path of tracing

_integers, _unsigned = frozenset(SIGNED + UNSIGNED), frozenset(UNSIGNED)
_floats, _complexes = frozenset(FLOATS), frozenset(COMPLEXES)
_inexact = _floats | _complexes
_no_promotion = frozenset((int2, int4, uint2, uint4, *SMALL_FLOATS))
_Predicate: TypeAlias = Callable[[DType], bool]

is_bool: _Predicate = frozenset((bool_,)).__contains__
is_integer: _Predicate = _integers.__contains__
is_unsigned: _Predicate = _unsigned.__contains__
is_floating: _Predicate = _floats.__contains__
is_complex: _Predicate = _complexes.__contains__
#: Floating or complex, that is, differentiable.
is_inexact: _Predicate = _inexact.__contains__


def is_extended(dtype: DType) -> bool:
    """Tell whether a dtype is one that NumPy does not have: that of PRNG keys."""
    return type(dtype) is KeyType


# ---- one dtype from another

_to_real: dict[Any, Any] = {complex64: float32, complex128: float64}
_to_complex: dict[Any, Any] = {float64: complex128, int64: complex128, uint64: complex128,
                               complex128: complex128}  # fmt: skip
_to_default: dict[Any, Any] = {
    int64: int32,
    uint64: uint32,
    float64: float32,
    complex128: complex64,
}
_short_names: dict[Any, str] = {float0: "float0"}
for _dtype in NUMBERS:
    _name = _dtype.name.replace("float", "f").replace("uint", "u").replace("int", "i")
    _short_names[_dtype] = _name.replace("complex", "c")


def to_inexact(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which a function like ``sin`` takes a number: integers become floats."""
    if dtype in _inexact:
        return dtype
    return float64 if dtype in (int64, uint64) else float32


def to_real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a complex number's parts; other dtypes are returned unchanged."""
    return _to_real.get(dtype, dtype)


def to_complex(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex dtype that holds a number: complex128 for 64 bits, else complex64."""
    return _to_complex.get(dtype, complex64)


def tangent_dtype(dtype: DType) -> np.dtype[Any]:
    """Return the dtype of a value's tangent: its own, or float0 if it cannot be differentiated."""
    return dtype if dtype in _inexact else float0  # pyright: ignore[reportReturnType]


def short_name(dtype: DType) -> str:
    """Return the name that jaxprs print: ``f32``, ``bf16``, ``i32``, ``u8``, ``c64``, ``bool``.

    Example:
        >>> short_name(bfloat16), short_name(KeyType("fry", (2,)))
        ('bf16', 'key<fry>')
    """
    return _short_names.get(dtype) or str(dtype)


# ---- what is meant, and how wide it is


def int_dtype() -> np.dtype[Any]:
    """Return the dtype of integers whose width nobody asked for."""
    return int64 if config.enable_x64 else int32


def uint_dtype() -> np.dtype[Any]:
    """Return the dtype of unsigned integers whose width nobody asked for."""
    return uint64 if config.enable_x64 else uint32


def float_dtype() -> np.dtype[Any]:
    """Return the dtype of real numbers whose width nobody asked for."""
    return float64 if config.enable_x64 else float32


def complex_dtype() -> np.dtype[Any]:
    """Return the dtype of complex numbers whose width nobody asked for."""
    return complex128 if config.enable_x64 else complex64


def _bool_dtype() -> np.dtype[Any]:
    return bool_


_of_python: dict[Any, Any] = {
    bool: _bool_dtype,
    int: int_dtype,
    float: float_dtype,
    complex: complex_dtype,
}
_OF_NUMPY = (np.ndarray, np.generic)
#: Python's own number types: their values are weakly typed, except bool.
PYTHON_SCALARS = frozenset(_of_python)
# Words that name a kind and no width mean the default width, as the Python types do.
_without_width = _of_python | {kind.__name__: _of_python[kind] for kind in PYTHON_SCALARS}
_without_width["uint"] = uint_dtype

_canonical: dict[Any, Any] = {float0: float0}
for _dtype in NUMBERS:
    _canonical.update({_dtype: _dtype, _dtype.type: _dtype, _dtype.name: _dtype})


def default_of_kind(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the default dtype of the same kind of number: float32 for bfloat16."""
    if is_bool(dtype):
        return dtype
    return uint_dtype() if is_unsigned(dtype) else _weak_defaults[_node(dtype, True)]()


def python_scalar_dtype(kind: type) -> np.dtype[Any]:
    """Return the dtype of ``bool``, ``int``, ``float`` or ``complex``, or a subclass such as an
    ``IntEnum``, at the default width.
    """
    return _of_python[python_scalar_kind(kind)]()


def python_scalar_kind(kind: type) -> type:
    """Return ``bool``, ``int``, ``float`` or ``complex`` for itself or a subclass."""
    return kind if kind in _of_python else next(k for k in kind.__mro__ if k in _of_python)


def default_of(dtype: Any) -> Any:
    """Return what a 64-bit dtype becomes where nobody asked for it: 32 bits, itself under x64."""
    return dtype if config.enable_x64 else _to_default.get(dtype, dtype)


def canonicalize(dtype: Any, call: str = "dtype") -> Any:
    """Return the dtype that a user asked for, of exactly the width asked for.

    Args:
        dtype: a NumPy dtype or scalar type, a name, a class with a ``dtype`` attribute such as
            ``functrax.numpy.float32``, a KeyType, or ``bool``, ``int``, ``float``, ``complex``,
            by type or by name, for the default width.
        call: str, the function the user called.

    Raises:
        DtypeError: if it is not a dtype, or one that arrays cannot have (str, object, datetime).

    Example:
        >>> canonicalize("float64"), canonicalize(float), canonicalize(np.int8)
        (dtype('float64'), dtype('float32'), dtype('int8'))
    """
    try:
        found = _canonical.get(dtype)
        if found is not None:
            return found
        default = _without_width.get(dtype)
    except TypeError:  # not hashable
        default = None
    return default() if default is not None else _read_dtype(dtype, call)


def _read_dtype(dtype: Any, call: str) -> Any:
    if type(dtype) is KeyType:
        return dtype
    own = getattr(dtype, "dtype", None) if isinstance(dtype, type) else None
    try:
        if dtype is None or (not isinstance(dtype, type | np.dtype) and hasattr(dtype, "shape")):
            raise TypeError
        found = np.dtype(own if isinstance(own, np.dtype) else dtype).newbyteorder("=")
    except (TypeError, ValueError):
        cure = "Write x.dtype for the dtype of an array x." if hasattr(dtype, "dtype") else None
        text = repr(dtype)
        got = text if len(text) <= 60 else errors.a_value(dtype)
        raise errors.DtypeError(call, "a dtype", got, fix=cure) from None
    supported = _canonical.get(found)
    if supported is None:
        cure = "Arrays hold numbers and booleans; use NumPy or a pytree for other things."
        raise errors.DtypeError(call, "a dtype of numbers or booleans", found.name, fix=cure)
    if isinstance(dtype, str | type | np.dtype):
        _canonical[dtype] = supported
    return supported


#: The limits of a dtype, by NumPy's attributes; these take an np.dtype of the right kind.
finfo = functools.cache(ml_dtypes.finfo)
iinfo = functools.cache(ml_dtypes.iinfo)
_limits = {dtype: (int(iinfo(dtype).min), int(iinfo(dtype).max)) for dtype in SIGNED + UNSIGNED}


def check_fits(value: Any, dtype: np.dtype[Any], call: str) -> None:
    """Refuse integers that an integer dtype cannot hold; other values and dtypes pass.

    Args:
        value: int, or a NumPy array or scalar of any dtype.
        dtype: np.dtype that the value is about to be converted to.
        call: str, the function the user called.

    Raises:
        IntegerOverflowError: if an integer is too small or too large.
    """
    if (limits := _limits.get(dtype)) is None:
        return
    least, greatest = limits
    if type(value) is int and least <= value <= greatest:
        return
    if isinstance(value, _OF_NUMPY):
        low, high = _range_of(value, least, greatest)
    else:
        low = high = int(value)
    if low < least or high > greatest:
        got = str(low if low < least else high)
        expected = f"integers from {least} to {greatest}, which {dtype.name} holds"
        raise errors.IntegerOverflowError(call, expected, got, fix=_wider(low, high))


def _range_of(values: Any, least: int, greatest: int) -> tuple[int, int]:
    """Return the least and greatest of integer values; (0, 0) where nothing can be out of range."""
    own = _limits.get(values.dtype.newbyteorder("="))
    if own is None or not values.size or (least <= own[0] and own[1] <= greatest):
        return 0, 0
    if own[1] < 16:  # NumPy has no min and max for ml_dtypes' integers
        values = values.astype(np.int8)
    return int(values.min()), int(values.max())


def _wider(low: int, high: int) -> str:
    for dtype in (int32, int64, uint32, uint64):
        if _limits[dtype][0] <= low and high <= _limits[dtype][1]:
            return f'Ask for dtype="{dtype.name}", which holds it.'
    return "No integer dtype holds it; ask for a floating-point one."


# ---- what several dtypes become together

# The weak nodes of the lattice: Python's numbers.
_INT, _FLOAT, _COMPLEX = "int*", "float*", "complex*"
_Node: TypeAlias = np.dtype[Any] | str
_weak_defaults: dict[Any, Any] = {_INT: int_dtype, _FLOAT: float_dtype, _COMPLEX: complex_dtype}


def _standard_edges(x64: bool) -> dict[_Node, tuple[_Node, ...]]:
    """Return JAX's lattice as edges: from each type to the next ones above it."""
    return {
        bool_: (_INT,),
        _INT: (int2, uint2, int4, uint4, int8, uint8),
        **dict.fromkeys(_no_promotion, ()),
        int8: (int16,),
        int16: (int32,),
        int32: (int64,),
        int64: (_FLOAT,),
        uint8: (int16, uint16),
        uint16: (int32, uint32),
        # This is the one place where two 32-bit types would make a 64-bit one.
        uint32: (int64 if x64 else int32, uint64),
        uint64: (_FLOAT,),
        _FLOAT: (*SMALL_FLOATS, bfloat16, float16, _COMPLEX),
        bfloat16: (float32,),
        float16: (float32,),
        float32: (float64, complex64),
        float64: (complex128,),
        _COMPLEX: (complex64,),
        complex64: (complex128,),
        complex128: (),
    }


def _strict_edges() -> dict[_Node, tuple[_Node, ...]]:
    """Return the lattice of strict promotion, in which only Python's numbers give way."""
    return {
        **dict.fromkeys(NUMBERS, ()),
        _INT: (_FLOAT, *SIGNED, *UNSIGNED),
        _FLOAT: (_COMPLEX, *FLOATS),
        _COMPLEX: COMPLEXES,
    }


@functools.cache
def _lattice(x64: bool, mode: str) -> dict[_Node, frozenset[_Node]]:
    """Return all types at or above each type."""
    edges = _strict_edges() if mode == "strict" else _standard_edges(x64)
    above: dict[_Node, frozenset[_Node]] = {}

    def climb(node: _Node) -> frozenset[_Node]:
        if node not in above:
            above[node] = frozenset((node,)).union(*map(climb, edges[node]))
        return above[node]

    for node in edges:
        climb(node)
    return above


_promoted: dict[Any, tuple[Any, bool]] = {}


def promote(
    dtypes: tuple[Any, ...], weak: tuple[bool, ...], call: str = "promote"
) -> tuple[Any, bool]:
    """Return the type that values of several types are brought to before an operation.

    Args:
        dtypes: tuple of np.dtype or KeyType, at least one.
        weak: tuple of bool, which of them came from Python's numbers.
        call: str, the function the user called.

    Raises:
        TypePromotionError: if there is no such type, as for int4 with float32.
        KeyTypeError: if PRNG keys meet numbers.

    Example:
        >>> promote((int8, float32), (False, True))
        (dtype('float32'), True)
        >>> promote((float16, float32), (False, True))
        (dtype('float16'), False)
    """
    if len(dtypes) == 2 and dtypes[0] is dtypes[1] and not (weak[0] or weak[1]):
        return dtypes[0], False
    key = (dtypes, weak, in_force.key)
    found = _promoted.get(key)
    return found if found is not None else _promoted.setdefault(key, _promote(dtypes, weak, call))


def _promote(dtypes: tuple[Any, ...], weak: tuple[bool, ...], call: str) -> tuple[Any, bool]:
    if len(dtypes) == 1:
        return dtypes[0], weak[0] and dtypes[0] != bool_
    if len(set(dtypes)) == 1 and not all(weak):
        return dtypes[0], False  # holds for keys and float0 too, which the lattice does not know
    strict = config.numpy_dtype_promotion == "strict"
    all_weak = all(weak) and not strict
    nodes = {_node(dtype, w and not all_weak) for dtype, w in zip(dtypes, weak, strict=True)}
    lattice = _lattice(config.enable_x64, config.numpy_dtype_promotion)
    if not nodes <= lattice.keys():
        _refuse(dtypes, call, strict)
    common = frozenset.intersection(*map(lattice.__getitem__, nodes))
    least = next((node for node in common if common <= lattice[node]), None)
    if least is None:
        _refuse(dtypes, call, strict)
    default = _weak_defaults.get(least)
    return (default(), True) if default else (least, all_weak and least != bool_)


def _node(dtype: Any, weak: bool) -> Any:
    """Return the place of a type in the lattice."""
    if not weak or is_bool(dtype):
        return dtype
    return _INT if dtype in _integers else _COMPLEX if dtype in _complexes else _FLOAT


def _refuse(dtypes: tuple[Any, ...], call: str, strict: bool) -> NoReturn:
    got = ", ".join(map(str, dtypes))
    if any(map(is_extended, dtypes)):
        cure = "random.key_data(keys) gives the bits of keys as numbers."
        raise errors.KeyTypeError(call, "PRNG keys of one kind, or only numbers", got, fix=cure)
    if strict:
        cure = "Convert with astype, or set numpy_dtype_promotion to 'standard'."
    elif not _no_promotion.isdisjoint(dtypes):
        cure = "Numbers of 8 bits and fewer are not promoted: convert one with astype."
    else:
        cure = "Convert one with astype."
    raise errors.TypePromotionError(call, "dtypes that promote to a common one", got, fix=cure)


def dtype_and_weak(x: Any, call: str = "result_type") -> tuple[Any, bool]:
    """Return with which dtype a value or dtype takes part in promotion, and whether it is weak.

    Example:
        >>> dtype_and_weak(1.5), dtype_and_weak(np.ones(3)), dtype_and_weak("float64")
        ((dtype('float32'), True), (dtype('float32'), False), (dtype('float64'), False))
    """
    kind = x if isinstance(x, type) else type(x)
    default = _of_python.get(kind)
    if default is not None:
        return default(), kind is not bool
    aval = getattr(x, "aval", None)
    if aval is not None:
        return aval.dtype, aval.weak_type
    if isinstance(x, _OF_NUMPY):
        return default_of(canonicalize(x.dtype, call)), False
    if isinstance(x, int | float | complex):  # a subclass, such as an enumeration
        return _of_python[next(base for base in kind.__mro__ if base in _of_python)](), False
    if x is None:
        return float_dtype(), False
    # A description of an array, such as ShapeDtypeStruct; np.dtype and its types have shapes too.
    if not isinstance(x, type | np.dtype) and hasattr(x, "shape") and hasattr(x, "dtype"):
        return canonicalize(x.dtype, call), False
    return canonicalize(x, call), False
