"""The operators and methods of arrays: one table, installed on the class of all arrays and
tracers.
"""

from typing import Any

from functrax import errors, numpy
from functrax.core import dtypes
from functrax.core.trace import describe
from functrax.numpy import (
    arithmetic,
    bitcast,
    conversion,
    creation,
    cumulative,
    functions,
    linear,
    logic,
    manipulation,
    matrices,
    places,
    reductions,
    search,
    selection,
    sorting,
    statistics,
    taking,
)
from functrax.numpy.arithmetic import ADD, MULTIPLY, SUBTRACT, TRUE_DIVIDE
from functrax.numpy.at import IndexUpdateHelper
from functrax.numpy.indexing import getitem, iterate
from functrax.numpy.logic import (
    AND,
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LEFT_SHIFT,
    LESS,
    LESS_EQUAL,
    NOT_EQUAL,
    OR,
    RIGHT_SHIFT,
    XOR,
)
from functrax.numpy.operands import array_operand, mixes
from functrax.runtime.devices import Device
from functrax.sharding import PartitionSpec, Sharding
from functrax.transforms.placement import as_device, device_put


def _forward(function: Any, name: str) -> Any:
    """Return the method for ``self OP other`` of a function that is not one primitive."""

    def method(self: Any, other: Any) -> Any:
        return function(self, other) if mixes(other) else NotImplemented

    method.__name__, method.__qualname__ = name, f"Array.{name}"
    return method


def _backward(function: Any, name: str) -> Any:
    """Return the method for ``other OP self``."""

    def method(self: Any, other: Any) -> Any:
        return function(other, self) if mixes(other) else NotImplemented

    method.__name__, method.__qualname__ = name, f"Array.{name}"
    return method


def _getitem(self: Any, index: Any) -> Any:
    """Return part of the array by NumPy's indexing rules; see `functrax.numpy.indexing.getitem`."""
    return getitem(self, index)


def _array_namespace(self: Any, *, api_version: str | None = None) -> Any:
    """Return `functrax.numpy`.

    Source: Python array API standard, "__array_namespace__".
    """
    if api_version not in (None, numpy.__array_api_version__):
        expected = f"api_version={numpy.__array_api_version__!r}, or None"
        raise errors.ArgumentError("__array_namespace__", expected, repr(api_version))
    return numpy


def _contains(self: Any, other: Any) -> Any:
    """Return whether a vector has an element equal to a number: ``number in x``."""
    number = array_operand(other, "contains")
    if self.aval.ndim != 1 or number.aval.ndim:
        got = f"{number.aval!r} in {self.aval!r}"
        raise errors.ShapeError("contains", "a number to look for in a vector", got)
    return reductions.any(self == number)


def _setitem(self: Any, index: Any, value: Any) -> None:
    """Refuse: arrays are immutable."""
    raise errors.ArgumentError(
        "setitem",
        "no assignment to elements, for arrays are immutable",
        "`x[i] = y`",
        fix="Write `x = x.at[i].set(y)`.",
    )


def _positive(self: Any) -> Any:
    """Return the array itself."""
    return self


def _round_operator(self: Any, ndigits: int | None = None) -> Any:
    """Return ``round(self, ndigits)``; integers without digits, as for Python's numbers."""
    made = functions.round(self, ndigits or 0)
    return conversion.astype(made, dtypes.int_dtype()) if ndigits is None else made


def _flatten(self: Any, order: str = "C", *, out_sharding: None = None) -> Any:
    """Return the elements along one axis; see `ravel`."""
    return manipulation.ravel(self, order, out_sharding=out_sharding)


def _astype(self: Any, dtype: Any, copy: bool = False, device: Any = None) -> Any:
    """Convert to another dtype; see `functrax.numpy.astype`."""
    return conversion.astype(self, dtype, copy=copy, device=device)


def _copy_method(self: Any) -> Any:
    """Return an equal array in memory of its own."""
    return creation.array(self)


def _clip_method(self: Any, min: Any = None, max: Any = None) -> Any:
    """Limit the elements; see `functrax.numpy.clip`."""
    return selection.clip(self, min, max)


def _dot_method(
    self: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None
) -> Any:
    """Multiply; see `functrax.numpy.dot`."""
    return linear.dot(self, b, precision=precision, preferred_element_type=preferred_element_type)


def _compress(
    self: Any, condition: Any, axis: int | None = None, *, out: None = None,
    size: int | None = None, fill_value: Any = 0,
) -> Any:  # fmt: skip
    """Keep parts along an axis; see `functrax.numpy.compress`."""
    return search.compress(condition, self, axis, size=size, fill_value=fill_value, out=out)


def _to_device(self: Any, device: Any, *, stream: None = None) -> Any:
    """Put the array on a device (the Python array API's name for `device_put`).

    Args:
        self: the array, which may be traced.
        device: a `Device`, a sharding, or None to leave it where it is.
        stream: not supported; None.
    """
    if stream is not None:
        raise errors.ArgumentError("to_device", "no stream", describe(stream))
    if not (device is None or isinstance(device, Device | Sharding | PartitionSpec)):
        fix = "Take one of `functrax.devices()`; `functrax.device_put` takes names of platforms."
        expected = "a device, a sharding, or None"
        raise errors.ArgumentError("to_device", expected, describe(device), fix=fix)
    return device_put(self, None if device is None else as_device(device, "to_device"))


# ---- what tracers know of memory and devices


def _of_memory(name: str) -> Any:
    """Return the method of a tracer that answers if the concrete array is known.

    The class of concrete arrays has its own.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(_known(self, f"`.{name}()`"), name)(*args, **kwargs)

    method.__name__, method.__qualname__ = name, f"Array.{name}"
    return method


def _of_devices(name: str) -> property:
    """Return the property of a tracer that answers if the concrete array is known."""
    return property(lambda self: getattr(_known(self, f"`.{name}`"), name))


def _known(tracer: Any, use: str) -> Any:
    fix = f"Return the array, and take {use} outside of the transform."
    return tracer._concrete_for(errors.TracerArrayError, f"for {use}", fix)


def _delete(self: Any) -> None:
    """Refuse: a tracer has no memory of its own."""
    fix = "Donate the argument (`donate_argnums`), or delete it outside of the transform."
    raise errors.TracerArrayError(self.owner.name, "an array to delete", describe(self), fix=fix)


def _divmod(self: Any, other: Any) -> Any:
    return arithmetic.divmod(self, other) if mixes(other) else NotImplemented


def _rdivmod(self: Any, other: Any) -> Any:
    return arithmetic.divmod(other, self) if mixes(other) else NotImplemented


def _rpow(self: Any, other: Any) -> Any:
    return arithmetic.power(other, self) if mixes(other) else NotImplemented


#: name -> function or property.
OPERATORS: dict[str, Any] = {
    "__abs__": functions.abs,
    "__add__": ADD.operator("__add__"),
    "__array_namespace__": _array_namespace,
    "__and__": AND.operator("__and__"),
    "__contains__": _contains,
    "__divmod__": _divmod,
    "__eq__": EQUAL.operator("__eq__"),
    "__floordiv__": _forward(arithmetic.floor_divide, "__floordiv__"),
    "__ge__": GREATER_EQUAL.operator("__ge__"),
    "__getitem__": _getitem,
    "__gt__": GREATER.operator("__gt__"),
    "__invert__": logic.bitwise_not,
    "__iter__": iterate,
    "__le__": LESS_EQUAL.operator("__le__"),
    "__lshift__": LEFT_SHIFT.operator("__lshift__"),
    "__lt__": LESS.operator("__lt__"),
    "__matmul__": linear.matmul_operator,
    "__mod__": _forward(arithmetic.remainder, "__mod__"),
    "__mul__": MULTIPLY.operator("__mul__"),
    "__ne__": NOT_EQUAL.operator("__ne__"),
    "__neg__": arithmetic.negative,
    "__or__": OR.operator("__or__"),
    "__pos__": _positive,
    "__pow__": arithmetic.power_operator,
    "__radd__": ADD.reflected("__radd__"),
    "__rand__": AND.reflected("__rand__"),
    "__rdivmod__": _rdivmod,
    "__rfloordiv__": _backward(arithmetic.floor_divide, "__rfloordiv__"),
    "__rlshift__": LEFT_SHIFT.reflected("__rlshift__"),
    "__rmatmul__": linear.matmul_reflected,
    "__rmod__": _backward(arithmetic.remainder, "__rmod__"),
    "__rmul__": MULTIPLY.reflected("__rmul__"),
    "__ror__": OR.reflected("__ror__"),
    "__round__": _round_operator,
    "__rpow__": _rpow,
    "__rrshift__": RIGHT_SHIFT.reflected("__rrshift__"),
    "__rshift__": RIGHT_SHIFT.operator("__rshift__"),
    "__rsub__": SUBTRACT.reflected("__rsub__"),
    "__rtruediv__": TRUE_DIVIDE.reflected("__rtruediv__"),
    "__rxor__": XOR.reflected("__rxor__"),
    "__setitem__": _setitem,
    "__sub__": SUBTRACT.operator("__sub__"),
    "__truediv__": TRUE_DIVIDE.operator("__truediv__"),
    "__xor__": XOR.operator("__xor__"),
    "T": property(manipulation.transpose, doc="The array with its axes reversed."),
    "addressable_data": _of_memory("addressable_data"),
    "addressable_shards": _of_devices("addressable_shards"),
    "all": reductions.all,
    "any": reductions.any,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "argpartition": sorting.argpartition,
    "argsort": sorting.argsort,
    "astype": _astype,
    "at": property(
        IndexUpdateHelper, doc="Updates by index: ``x.at[i].set(y)`` returns a new array."
    ),
    "byteswap": bitcast.byteswap,
    "choose": places.choose,
    "clip": _clip_method,
    "compress": _compress,
    "conj": functions.conj,
    "conjugate": functions.conj,
    "copy": _copy_method,
    "cumprod": cumulative.cumprod,
    "cumsum": cumulative.cumsum,
    "delete": _delete,
    "devices": _of_memory("devices"),
    "diagonal": matrices.diagonal,
    "dot": _dot_method,
    "flatten": _flatten,
    "global_shards": _of_devices("global_shards"),
    "imag": property(functions.imag, doc="The imaginary part."),
    "is_deleted": _of_memory("is_deleted"),
    "is_fully_addressable": _of_devices("is_fully_addressable"),
    "is_fully_replicated": _of_devices("is_fully_replicated"),
    "mT": property(
        manipulation.matrix_transpose, doc="The array with its last two axes exchanged."
    ),
    "max": reductions.max,
    "mean": statistics.mean,
    "min": reductions.min,
    "nonzero": search.nonzero,
    "on_device_size_in_bytes": _of_memory("on_device_size_in_bytes"),
    "prod": reductions.prod,
    "ptp": reductions.ptp,
    "ravel": manipulation.ravel,
    "real": property(functions.real, doc="The real part."),
    "repeat": taking.repeat,
    "reshape": manipulation.reshape_method,
    "round": functions.round,
    "searchsorted": sorting.searchsorted,
    "sort": sorting.sort,
    "squeeze": manipulation.squeeze,
    "std": statistics.std,
    "sum": reductions.sum,
    "swapaxes": manipulation.swapaxes,
    "take": taking.take,
    "to_device": _to_device,
    "tobytes": _of_memory("tobytes"),
    "trace": matrices.trace,
    "transpose": manipulation.transpose_method,
    "unsafe_buffer_pointer": _of_memory("unsafe_buffer_pointer"),
    "var": statistics.var,
    "view": bitcast.view,
}
