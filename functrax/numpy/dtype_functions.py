"""Odds and ends: copying, files, printing, casting rules."""

from collections.abc import Callable
from typing import Any

import numpy as np

from functrax import dlpack, errors
from functrax import dtypes as public_dtypes
from functrax.core import dtypes
from functrax.core.trace import Array, describe
from functrax.numpy.creation import array
from functrax.numpy.operands import array_operand

get_printoptions = np.get_printoptions
printoptions = np.printoptions
set_printoptions = np.set_printoptions


def _by_numpy(call: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of NumPy's; what it says of its arguments is an error of ours.

    Raises:
        ArgumentError, IntegerOverflowError: with NumPy's reason.
    """
    try:
        return function(*args, **kwargs)
    except errors.FunctraxError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        expected = f"what `numpy.{call}` takes"
        overflow = isinstance(error, OverflowError)
        kind = errors.IntegerOverflowError if overflow else errors.ArgumentError
        raise kind(call, expected, f"others: {reason}") from error


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Tell whether values of a dtype can be converted to another by NumPy's rules.

    Args:
        from_: a dtype, or an array, whose dtype counts.
        to: a dtype.
        casting: "no", "equiv", "safe", "same_kind" or "unsafe".

    Returns:
        bool.

    Raises:
        ArgumentError: for something else, Python numbers too.

    Example:
        >>> jnp.can_cast("int8", "int32"), jnp.can_cast("float32", "int32")
        (True, False)
    """
    source, target = (x.dtype if isinstance(x, Array) else x for x in (from_, to))
    return bool(_by_numpy("can_cast", np.can_cast, source, target, casting))


def issubdtype(a: Any, b: Any) -> bool:
    """Tell whether a dtype is another, or belongs to its family; see `functrax.dtypes.issubdtype`.

    Args:
        a: a dtype or scalar type.
        b: a dtype, or an abstract type such as ``jnp.floating``.

    Returns:
        bool.

    Raises:
        DtypeError: if one is neither.

    Example:
        >>> jnp.issubdtype("bfloat16", jnp.floating), jnp.issubdtype("bfloat16", jnp.integer)
        (True, False)
    """
    try:
        return public_dtypes.issubdtype(a, b)
    except (TypeError, ValueError) as error:
        got = f"{describe(a)} and {describe(b)}"
        raise errors.DtypeError("issubdtype", "dtypes, or types of numbers", got) from error


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
    known = (np.asarray(arr), max_line_width, precision, suppress_small)
    return _by_numpy("array_repr", np.array_repr, *known)


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
    known = (np.asarray(a), max_line_width, precision, suppress_small)
    return _by_numpy("array_str", np.array_str, *known)


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
    return array(_by_numpy("frombuffer", np.frombuffer, buffer, found, count, offset), found)


def fromiter(*args: Any, **kwargs: Any) -> Array:
    """Make a vector of the elements of an iterable; the arguments are NumPy's.

    Args:
        *args: the iterable, the dtype, and how many elements to take.
        **kwargs: the same by name.

    Returns:
        A vector.
    """
    return array(_by_numpy("fromiter", np.fromiter, *args, **kwargs))


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
    wide = dtypes.int64 if dtypes.is_integer(found) and found.itemsize < 8 else found
    return array(_by_numpy("fromstring", np.fromstring, string, wide, count, sep=sep), found)


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Load what `save` or `savez` wrote; the arguments are NumPy's.

    Args:
        file: path or file.
        *args: further arguments of ``numpy.load``.
        **kwargs: further arguments of ``numpy.load``.

    Returns:
        An array, or NumPy's mapping of names to arrays.
    """
    found = _by_numpy("load", np.load, file, *args, **kwargs)
    return array(found) if isinstance(found, np.ndarray) else found


def save(file: Any, arr: Any, allow_pickle: bool = True) -> None:
    """Write an array to a ``.npy`` file.

    Args:
        file: path or file.
        arr: array.
        allow_pickle: has no effect: arrays hold numbers.
    """
    value = np.asarray(array_operand(arr, "save"))
    _by_numpy("save", np.save, file, value, allow_pickle=False)


def savez(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """Write arrays to a ``.npz`` file.

    Args:
        file: path or file.
        *args: arrays, saved under the names arr_0, arr_1, ...
        allow_pickle: has no effect: arrays hold numbers.
        **kwds: arrays, saved under their names.
    """
    named = {name: np.asarray(x) for name, x in kwds.items()}
    _by_numpy("savez", np.savez, file, *(np.asarray(x) for x in args), **named)
