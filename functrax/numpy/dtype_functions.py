"""Odds and ends: copying, files, printing, casting rules."""

from typing import Any

import numpy as np

from functrax import dlpack
from functrax.core import dtypes
from functrax.core.trace import Array
from functrax.numpy.creation import array
from functrax.numpy.operands import array_operand

can_cast = np.can_cast
get_printoptions = np.get_printoptions
printoptions = np.printoptions
set_printoptions = np.set_printoptions


def copy(a: Any, order: str | None = None) -> Array:
    """Return an equal array in memory of its own.

    Args:
        a: anything array-like.
        order: must be None, "K" or "C".

    Returns:
        An array.
    """
    return array(a, copy=True, order=order or "K")


def array_repr(
    arr: Any, max_line_width: int | None = None, precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:  # fmt: skip
    """Return an array as text, as NumPy does.

    Args:
        arr: array.
        max_line_width: int.
        precision: int, digits after the point.
        suppress_small: bool, whether very small numbers print as 0.

    Returns:
        str.
    """
    return np.array_repr(np.asarray(arr), max_line_width, precision, suppress_small)


def array_str(
    a: Any, max_line_width: int | None = None, precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:  # fmt: skip
    """Return an array's values as text, as NumPy does.

    Args:
        a: array.
        max_line_width: int.
        precision: int, digits after the point.
        suppress_small: bool, whether very small numbers print as 0.

    Returns:
        str.
    """
    return np.array_str(np.asarray(a), max_line_width, precision, suppress_small)


def iterable(y: Any) -> bool:
    """Tell whether a value can be iterated over.

    Args:
        y: anything.

    Returns:
        bool.
    """
    return bool(np.iterable(y))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """Make an array of one of another library, sharing its memory where possible.

    Args:
        x: an array with ``__dlpack__``.
        device: where to put it.
        copy: bool, whether to copy always; None copies if needed.

    Returns:
        An array.
    """
    return dlpack.from_dlpack(x, device=device, copy=copy)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Array:
    """Make a vector of the bytes of a buffer.

    Args:
        buffer: bytes, or anything with the buffer protocol.
        dtype: the dtype of the elements.
        count: int, how many elements; -1 for all.
        offset: int, the bytes to skip.

    Returns:
        A vector.
    """
    found = dtypes.canonicalize(dtype, "frombuffer")
    return array(np.frombuffer(buffer, found, count, offset), found)


def fromiter(*args: Any, **kwargs: Any) -> Array:
    """Make a vector of the elements of an iterable; the arguments are NumPy's.

    Args:
        *args: the iterable, the dtype, and how many elements to take.
        **kwargs: the same by name.

    Returns:
        A vector.
    """
    return array(np.fromiter(*args, **kwargs))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Array:
    """Make a vector of the numbers in a text.

    Args:
        string: str.
        dtype: the dtype of the elements.
        count: int, how many elements; -1 for all.
        sep: str between two numbers.

    Returns:
        A vector.
    """
    found = dtypes.canonicalize(dtype, "fromstring")
    return array(np.fromstring(string, found, count, sep=sep), found)


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Load what `save` or `savez` wrote; the arguments are NumPy's.

    Args:
        file: path or file.
        *args: further arguments of ``numpy.load``.
        **kwargs: further arguments of ``numpy.load``.

    Returns:
        An array, or NumPy's mapping of names to arrays.
    """
    found = np.load(file, *args, **kwargs)
    return array(found) if isinstance(found, np.ndarray) else found


def save(file: Any, arr: Any, allow_pickle: bool = True) -> None:
    """Write an array to a ``.npy`` file.

    Args:
        file: path or file.
        arr: array.
        allow_pickle: has no effect: arrays hold numbers.
    """
    np.save(file, np.asarray(array_operand(arr, "save")), allow_pickle=False)


def savez(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """Write arrays to a ``.npz`` file.

    Args:
        file: path or file.
        *args: arrays, saved under the names arr_0, arr_1, ...
        allow_pickle: has no effect: arrays hold numbers.
        **kwds: arrays, saved under their names.
    """
    np.savez(
        file,
        *(np.asarray(x) for x in args),
        **{name: np.asarray(x) for name, x in kwds.items()},  # pyright: ignore[reportArgumentType]
    )
