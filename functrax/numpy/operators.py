"""The operators and methods of arrays: one table, installed on the class of all arrays and
tracers.
"""

from typing import Any

from functrax import errors, numpy
from functrax.numpy import (
    arithmetic,
    conversion,
    creation,
    functions,
    linear,
    logic,
    manipulation,
    matrices,
    reductions,
    search,
    selection,
    statistics,
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
from functrax.numpy.operands import mixes


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
    """Return ``round(self, ndigits)``."""
    return functions.round(self, ndigits or 0)


def _flatten(self: Any, order: str = "C") -> Any:
    """Return the elements along one axis; see `ravel`."""
    return manipulation.ravel(self, order)


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
    "all": reductions.all,
    "any": reductions.any,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "astype": _astype,
    "at": property(
        IndexUpdateHelper, doc="Updates by index: ``x.at[i].set(y)`` returns a new array."
    ),
    "clip": _clip_method,
    "conj": functions.conj,
    "conjugate": functions.conj,
    "copy": _copy_method,
    "diagonal": matrices.diagonal,
    "dot": _dot_method,
    "flatten": _flatten,
    "imag": property(functions.imag, doc="The imaginary part."),
    "mT": property(
        manipulation.matrix_transpose, doc="The array with its last two axes exchanged."
    ),
    "max": reductions.max,
    "mean": statistics.mean,
    "min": reductions.min,
    "nonzero": search.nonzero,
    "prod": reductions.prod,
    "ptp": reductions.ptp,
    "ravel": manipulation.ravel,
    "real": property(functions.real, doc="The real part."),
    "reshape": manipulation.reshape_method,
    "round": functions.round,
    "squeeze": manipulation.squeeze,
    "std": statistics.std,
    "sum": reductions.sum,
    "swapaxes": manipulation.swapaxes,
    "trace": matrices.trace,
    "transpose": manipulation.transpose_method,
    "var": statistics.var,
}
