"""Types of traced values, interned so that equality is identity."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from functrax.core import dtypes

NO_AXES: Final[frozenset[str]] = frozenset()


class ShapedArray:
    """The type of an array: shape, dtype, weak type, and the manual mesh axes along which it may
    vary.

    Instances are interned: two types are equal exactly when they are the same object, so a tuple of
    types is a cheap dictionary key.

    Args:
        shape: the sizes of the axes.
        dtype: a NumPy dtype, or a ``dtypes.KeyType`` for arrays of typed PRNG keys.
        weak_type: True for values that came from Python scalars and yield to other dtypes in
            promotion.
        varying: names of manual mesh axes along which devices may hold different values.

    Example:
        >>> import numpy as np
        >>> ShapedArray((2, 3), np.dtype("float32"))
        f32[2,3]
        >>> ShapedArray((2,), np.dtype("int32")) is ShapedArray((2,), np.dtype("int32"))
        True
    """

    __slots__ = ("__weakref__", "dtype", "ndim", "shape", "size", "varying", "weak_type")

    shape: tuple[int, ...]
    dtype: Any
    weak_type: bool
    varying: frozenset[str]
    ndim: int
    size: int

    def __new__(
        cls,
        shape: tuple[int, ...],
        dtype: Any,
        weak_type: bool = False,
        varying: frozenset[str] = NO_AXES,
    ) -> "ShapedArray":
        """Return the one instance with these fields."""
        key = (shape, dtype, weak_type, varying)
        found = _INTERNED.get(key)
        return found if found is not None else _intern(cls, key)

    def update(self, **changes: Any) -> "ShapedArray":
        """Return the type with some fields changed."""
        fields: dict[str, Any] = {
            "shape": self.shape,
            "dtype": self.dtype,
            "weak_type": self.weak_type,
            "varying": self.varying,
        }
        return ShapedArray(**(fields | changes))

    def strong(self) -> "ShapedArray":
        """Return the type without its weakness."""
        return self.update(weak_type=False) if self.weak_type else self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call of the constructor, so that the copy is interned too."""
        return ShapedArray, (self.shape, self.dtype, self.weak_type, self.varying)

    def __repr__(self) -> str:
        """Print as in a jaxpr: ``f32[2,3]``, with ``~`` before a weak type and ``{i}`` after a
        varying one.
        """
        text = f"{dtypes.short_name(self.dtype)}[{','.join(map(str, self.shape))}]"
        if self.varying:
            text += "{" + ",".join(sorted(map(str, self.varying))) + "}"
        return "~" + text if self.weak_type else text


_INTERNED: dict[tuple[Any, ...], ShapedArray] = {}


def _intern(cls: type[ShapedArray], key: tuple[Any, ...]) -> ShapedArray:
    shape, dtype, weak_type, varying = key
    self = object.__new__(cls)
    self.shape = tuple(int(size) for size in shape)
    self.dtype = dtype if dtypes.is_extended(dtype) else np.dtype(dtype)
    self.weak_type = bool(weak_type)
    self.varying = varying
    self.ndim = len(self.shape)
    size = 1
    for extent in self.shape:
        size *= extent
    self.size = size
    canonical = (self.shape, self.dtype, self.weak_type, varying)
    self = _INTERNED.setdefault(canonical, self)
    return self


class Literal:
    """A scalar written into the program: a Python or NumPy number with its type.

    Args:
        value: a Python scalar.
        aval: its type, of shape ().

    Attributes:
        placed: the number as an array, where eager operations last took it; theirs alone.
    """

    __slots__ = ("aval", "placed", "value")

    def __init__(self, value: Any, aval: ShapedArray) -> None:
        """Keep the number and its type."""
        self.value = value
        self.aval = aval
        self.placed: Any = None

    def __repr__(self) -> str:
        """Print as ``2.0:f32[]``."""
        return f"{self.value}:{self.aval!r}"

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the scalar as a 0-d NumPy array of its dtype."""
        return np.asarray(self.value, dtype=self.aval.dtype)


class _Exact:
    """A number that equals nothing but itself."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Compare by identity; that the other one is a float does not matter."""
        return self is other


class _ExactFloat(_Exact, float):
    """A NaN or -0.0."""


class _ExactComplex(_Exact, complex):
    """A complex number with a NaN or a zero part."""


@lru_cache(maxsize=1024)
def _interned(kind: Any, text: str) -> Any:
    return kind(text)


def exact(value: Any) -> Any:
    """Return a parameter as it may stand in the key of a cache: numbers that are equal but not the
    same, 0.0 and -0.0, are apart, and NaN is equal to itself.

    Example:
        >>> exact(-0.0) == exact(0.0), exact(float("nan")) == exact(float("nan")), exact(-0.0)
        (False, True, -0.0)
    """
    if isinstance(value, float):
        if value == value and (value or repr(value) == "0.0"):
            return value
        return _interned(_ExactFloat, repr(value))
    if isinstance(value, complex):
        if value == value and value.real and value.imag:
            return value
        return _interned(_ExactComplex, repr(value))
    return value


def short_types(avals: Iterable[ShapedArray]) -> str:
    """Format types for an error message: ``f32[2], i32[]``."""
    return ", ".join(map(repr, avals))
