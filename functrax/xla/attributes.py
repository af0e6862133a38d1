"""MLIR's own types and attributes, made once and reused; `context` adds those of StableHLO."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import ml_dtypes
import numpy as np
from jaxlib.mlir import ir as _ir_module

from functrax.errors import ArgumentError, DtypeError
from functrax.xla.isolation import no_wrappers

ir: Any = _ir_module

# jaxlib is untyped; these names say what is meant.
Type: TypeAlias = Any
Attribute: TypeAlias = Any
Value: TypeAlias = Any
Location: TypeAlias = Any
Operation: TypeAlias = Any
Block: TypeAlias = Any
Region: TypeAlias = Any
Module: TypeAlias = Any

_P = ParamSpec("_P")
_Self = TypeVar("_Self", bound="BuiltinContext")

MLIRError: type[Exception] = ir.MLIRError

_INTEGER_WIDTHS = {
    **{f"int{bits}": bits for bits in (2, 4, 8, 16, 32, 64)},
    **{f"uint{bits}": bits for bits in (2, 4, 8, 16, 32, 64)},
}

# NumPy name -> the class of jaxlib's `ir` module. A jaxlib that lacks a class lacks the type.
_FLOAT_CLASSES = {
    "bfloat16": "BF16Type",
    "float16": "F16Type",
    "float32": "F32Type",
    "float64": "F64Type",
    "float4_e2m1fn": "Float4E2M1FNType",
    "float6_e2m3fn": "Float6E2M3FNType",
    "float6_e3m2fn": "Float6E3M2FNType",
    "float8_e3m4": "Float8E3M4Type",
    "float8_e4m3": "Float8E4M3Type",
    "float8_e4m3b11fnuz": "Float8E4M3B11FNUZType",
    "float8_e4m3fn": "Float8E4M3FNType",
    "float8_e4m3fnuz": "Float8E4M3FNUZType",
    "float8_e5m2": "Float8E5M2Type",
    "float8_e5m2fnuz": "Float8E5M2FNUZType",
    "float8_e8m0fnu": "Float8E8M0FNUType",
}

# What `DenseElementsAttr.get` must be shown for the types that its buffer protocol does not know.
_SMALL_INTEGERS = {
    np.dtype(ml_dtypes.int2): np.int8,
    np.dtype(ml_dtypes.uint2): np.uint8,
    np.dtype(ml_dtypes.int4): np.int8,
    np.dtype(ml_dtypes.uint4): np.uint8,
}
_BITS = {1: np.uint8, 2: np.uint16}

#: Smaller constants are not searched for equal elements: a splat would save too little.
_SPLAT_FROM = 16


def cached(
    make: Callable[Concatenate[_Self, _P], Any],
) -> Callable[Concatenate[_Self, _P], Any]:
    """Remember what a method of a context made, for ever, by its (hashable) arguments."""

    @functools.wraps(make)
    def method(self: _Self, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        key = (make, args, tuple(kwargs.items())) if kwargs else (make, args)
        found = self.made.get(key)
        if found is None:
            with no_wrappers():
                found = self.made[key] = make(self, *args, **kwargs)
        return found

    return method


class BuiltinContext:
    """An MLIR context with what functrax makes again and again in it.

    Arguments of the methods become keys of caches: sequences are passed as tuples, except where a
    method says otherwise.

    Attributes:
        context: jaxlib's object.
        unknown: the location of what comes from nowhere in the user's code.
        made: the cache behind `cached`.
    """

    __slots__ = ("_i64_arrays", "_tensors", "context", "made", "unknown")

    def __init__(self, context: Any) -> None:
        """Wrap jaxlib's context."""
        self.context = context
        self.unknown: Location = ir.Location.unknown(context)
        self.made: dict[Any, Any] = {}
        self._tensors: dict[tuple[tuple[int, ...], np.dtype[Any]], Type] = {}
        self._i64_arrays: dict[tuple[int, ...], Attribute] = {}

    # Types

    def tensor_type(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Type:
        """Return ``tensor<shape x dtype>``."""
        key = (shape, dtype)
        found = self._tensors.get(key)
        if found is None:
            element = self.element_type(dtype)
            found = ir.RankedTensorType.get(shape, element, loc=self.unknown)
            self._tensors[key] = found
        return found

    @cached
    def element_type(self, dtype: np.dtype[Any]) -> Type:
        """Return the MLIR type of one element.

        Raises:
            DtypeError: XLA has no such type (strings, objects, dates, long doubles).
        """
        context, name = self.context, dtype.name
        if name == "bool":
            return ir.IntegerType.get_signless(1, context)
        if name in _INTEGER_WIDTHS:
            integer = ir.IntegerType
            make = integer.get_unsigned if name[0] == "u" else integer.get_signless
            return make(_INTEGER_WIDTHS[name], context)
        if name in ("complex64", "complex128"):
            part = np.dtype(np.float32 if name == "complex64" else np.float64)
            return ir.ComplexType.get(self.element_type(part))
        kind = getattr(ir, _FLOAT_CLASSES.get(name, ""), None)
        if kind is None:
            raise DtypeError(
                "array",
                "a number type that XLA can compute with",
                f"dtype {dtype}",
                fix="Convert it first, for example with astype('float32').",
            )
        return kind.get(context)

    def function_type(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Type:
        """Return ``(inputs) -> (outputs)``; any sequences."""
        return ir.FunctionType.get(list(inputs), list(outputs), self.context)

    # Attributes

    def i64_array(self, values: Sequence[int]) -> Attribute:
        """Return ``array<i64: ...>``; any sequence."""
        key = tuple(values)
        found = self._i64_arrays.get(key)
        if found is None:
            found = self._i64_arrays[key] = ir.DenseI64ArrayAttr.get(key, self.context)
        return found

    @cached
    def i64(self, value: int) -> Attribute:
        """Return ``value : i64``."""
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64, self.context), value)

    @cached
    def i32(self, value: int) -> Attribute:
        """Return ``value : i32``."""
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(32, self.context), value)

    @cached
    def ui8(self, value: int) -> Attribute:
        """Return ``value : ui8`` (a character of a LAPACK call)."""
        return ir.IntegerAttr.get(ir.IntegerType.get_unsigned(8, self.context), value)

    @cached
    def ui64(self, value: int) -> Attribute:
        """Return ``value : ui64`` (the number of a host callback)."""
        return ir.IntegerAttr.get(ir.IntegerType.get_unsigned(64, self.context), value)

    def f32(self, value: float) -> Attribute:
        """Return ``value : f32``."""
        return ir.FloatAttr.get(ir.F32Type.get(self.context), value, loc=self.unknown)

    @cached
    def bool_attr(self, value: bool) -> Attribute:
        """Return ``true`` or ``false``."""
        return ir.BoolAttr.get(value, self.context)

    @cached
    def bool_array(self, values: tuple[bool, ...]) -> Attribute:
        """Return ``array<i1: ...>``."""
        return ir.DenseBoolArrayAttr.get(values, self.context)

    @cached
    def string(self, text: str) -> Attribute:
        """Return ``"text"``."""
        return ir.StringAttr.get(text, self.context)

    @cached
    def symbol(self, name: str) -> Attribute:
        """Return ``@name``, a reference to a function or mesh of the module."""
        return ir.FlatSymbolRefAttr.get(name, self.context)

    @cached
    def unit(self) -> Attribute:
        """Return ``unit``, the attribute that only says that it is there."""
        return ir.UnitAttr.get(self.context)

    def array(self, items: Sequence[Attribute]) -> Attribute:
        """Return ``[items]``; any sequence."""
        return ir.ArrayAttr.get(list(items), self.context)

    def dictionary(self, items: Mapping[str, Attribute]) -> Attribute:
        """Return ``{name = value, ...}``."""
        return ir.DictAttr.get(dict(items), self.context)

    def type_attribute(self, kind: Type) -> Attribute:
        """Return a type as an attribute."""
        return ir.TypeAttr.get(kind, self.context)

    @cached
    def dense_i64_matrix(self, rows: tuple[tuple[int, ...], ...], width: int = 2) -> Attribute:
        """Return ``dense<rows> : tensor<n x width x i64>`` (paddings, replica groups)."""
        matrix = np.array(rows, np.int64).reshape(len(rows), len(rows[0]) if rows else width)
        return self.constant(matrix)

    @cached
    def index_vector(self, values: tuple[int, ...]) -> Attribute:
        """Return ``dense<values> : tensor<n x index>`` (the layouts of a custom call)."""
        kind = ir.IndexType.get(self.context)
        array = np.array(values, np.int64)
        return ir.DenseElementsAttr.get(array, type=kind, shape=array.shape, context=self.context)

    @cached
    def parse_type(self, text: str) -> Type:
        """Return a type written in MLIR's syntax.

        Raises:
            ArgumentError: it does not parse.
        """
        try:
            return ir.Type.parse(text, self.context)
        except MLIRError as error:
            raise ArgumentError("parse_type", "an MLIR type", f"{text!r}: {error}") from None

    def constant(self, array: np.ndarray[Any, Any]) -> Attribute:
        """Return ``dense<...>`` with the values of an array of any dtype.

        It lives as long as the context: pass large arrays as arguments of the program instead.
        """
        data = np.ascontiguousarray(array)
        if data.size >= _SPLAT_FROM and _all_equal(data):
            data = data.reshape(-1)[:1]  # jaxlib makes a splat of a single element
        return ir.DenseElementsAttr.get(
            _presentable(data),
            type=self.element_type(array.dtype),
            shape=array.shape,
            context=self.context,
        )

    # Locations

    @cached
    def location(
        self, filename: str, line: int, column: int = 0, name: str | None = None
    ) -> Location:
        """Return a place in the user's code, and the name under which profiles show it."""
        place = ir.Location.file(filename, line, column, self.context)
        return place if name is None else ir.Location.name(name, place, self.context)


def _all_equal(data: np.ndarray[Any, Any]) -> bool:
    """Tell whether all elements have the same bits (so that -0.0 and NaNs are kept apart)."""
    size = data.itemsize
    raw = data.reshape(-1).view(np.uint8).data
    if raw[:size] != raw[-size:]:
        return False
    return raw[size:] == raw[:-size]


def _presentable(data: np.ndarray[Any, Any]) -> "np.ndarray[Any, Any]":
    """Return the array under a dtype that jaxlib's buffer protocol reader knows."""
    dtype = data.dtype
    if not dtype.isnative:
        return data.astype(dtype.newbyteorder("="))
    if dtype.isbuiltin == 1:
        return data
    if dtype in _SMALL_INTEGERS:
        return data.astype(_SMALL_INTEGERS[dtype])
    return data.view(_BITS[dtype.itemsize])
