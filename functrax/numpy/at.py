"""The property ``x.at``: ``x.at[index].set(values)`` returns an updated copy of an array."""

from collections.abc import Callable
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.trace import Array, Tracer, Value, as_value
from functrax.core.types import exact
from functrax.numpy.index_plan import Mode
from functrax.numpy.index_update import mode_name, update
from functrax.numpy.indexing import Promises, getitem
from functrax.primitives.convert import convert
from functrax.primitives.elementwise import gt, sub
from functrax.primitives.gather import fill_for
from functrax.primitives.keys import random_unwrap, random_wrap
from functrax.primitives.reduce import reduce_or
from functrax.primitives.rules import full, scalar
from functrax.primitives.select import select_n
from functrax.transforms.control.while_loop import while_loop


class IndexUpdateHelper:
    """The property ``x.at``: index it, then call a method of `IndexUpdate`.

    Example:
        >>> import functrax.numpy as jnp
        >>> jnp.arange(3).at[1].set(7)
        Array([0, 7, 2], dtype=int32)
    """

    __slots__ = ("array",)

    def __init__(self, array: Value) -> None:
        """Keep the array."""
        self.array = array

    def __getitem__(self, index: Any) -> "IndexUpdate":
        """Choose places by NumPy's indexing rules."""
        return IndexUpdate(self.array, index)

    def __repr__(self) -> str:
        """Print as the property does."""
        return f"IndexUpdateHelper({self.array!r})"


class IndexUpdate:
    """Places of an array, to read or to write: ``x.at[index]``.

    Arrays never change: methods return new ones. All methods take these keyword arguments:

    - indices_are_sorted, unique_indices: promises about index arrays, for speed;
    - mode: what happens at places outside of the array. By default a fixed integer outside is an
      error, reads at traced places take the nearest element, and writes there are dropped.
      "clip" takes the nearest place; "fill" and "drop" (which are one) read `fill_value` and write
      nothing; "promise_in_bounds" says that there are none;
    - wrap_negative_indices: whether negative places count from the end.

    Values are broadcast to the shape of ``x[index]`` and converted to the dtype of x. That is an
    error if it could change them (float to integer, say), but floats may lose precision.
    """

    __slots__ = ("array", "index")

    def __init__(self, array: Value, index: Any) -> None:
        """Keep array and index."""
        self.array = array
        self.index = index

    def __repr__(self) -> str:
        """Print array and index."""
        return f"IndexUpdate({self.array!r}, {self.index!r})"

    def get(
        self,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        fill_value: Any = None,
        out_sharding: None = None,
        wrap_negative_indices: bool = True,
    ) -> Value:
        """Return ``x[index]``.

        Args:
            indices_are_sorted: see `IndexUpdate`.
            unique_indices: see `IndexUpdate`.
            mode: see `IndexUpdate`.
            fill_value: a scalar to read outside of the array, with mode "fill"; by default NaN, the
                least signed or greatest unsigned integer, or True.
            out_sharding: not used.
            wrap_negative_indices: see `IndexUpdate`.

        Returns:
            An array.

        Example:
            >>> import functrax.numpy as jnp
            >>> jnp.arange(3).at[jnp.array([1, 5])].get(mode="fill", fill_value=-1)
            Array([ 1, -1], dtype=int32)
        """
        how = Mode(mode_name(mode, "at[].get"), wrap_negative_indices)
        filler = plain(fill_value)
        promises = Promises(bool(indices_are_sorted), bool(unique_indices), filler)
        keys = self.array.aval.dtype
        if filler is None or not dtypes.is_extended(keys):
            if filler is not None:
                fill_for(keys, filler, "at[].get")  # so that an error does not say `gather`
            return getitem(self.array, self.index, how, promises, "at[].get")
        # Keys outside are those whose words are all the fill value.
        index = self.index if isinstance(self.index, tuple) else (self.index,)
        index += (slice(None),) * any(part is Ellipsis for part in index)
        words = getitem(random_unwrap(self.array), index, how, promises, "at[].get")
        return random_wrap(words, keys)

    def set(self, values: Any, **options: Any) -> Value:
        """Return x with values put in: ``x[index] = values``.

        Of the values for a repeated place one stays: the last on CPU, any on other devices.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("set", values, **options)

    def add(self, values: Any, **options: Any) -> Value:
        """Return x with values added: ``numpy.add.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("add", values, **options)

    def subtract(self, values: Any, **options: Any) -> Value:
        """Return x with values subtracted: ``numpy.subtract.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("subtract", values, **options)

    def multiply(self, values: Any, **options: Any) -> Value:
        """Return x with values multiplied in: ``numpy.multiply.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("multiply", values, **options)

    def divide(self, values: Any, **options: Any) -> Value:
        """Return x divided by values: ``numpy.divide.at(x, index, values)``.

        Integer arrays become floating ones.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("divide", values, **options)

    def power(self, values: Any, **options: Any) -> Value:
        """Return x raised to powers: ``numpy.power.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("power", values, **options)

    def min(self, values: Any, **options: Any) -> Value:
        """Return x with values as upper bounds: ``numpy.minimum.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("min", values, **options)

    def max(self, values: Any, **options: Any) -> Value:
        """Return x with values as lower bounds: ``numpy.maximum.at(x, index, values)``.

        Args:
            values: array that broadcasts to the shape of ``x[index]``.
            **options: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        return self._write("max", values, **options)

    mul = multiply

    def apply(
        self,
        func: Callable[[Any], Any],
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        out_sharding: None = None,
        wrap_negative_indices: bool = True,
    ) -> Value:
        """Return x with an elementwise function applied at the places: ``func.at(x, index)``.

        Where a place is repeated, the function is applied once for each time.

        Args:
            func: an elementwise function of one array.
            indices_are_sorted: see `IndexUpdate`.
            unique_indices: see `IndexUpdate`; without, traced index arrays need a loop, as long as
                the most times that a place is repeated.
            mode: see `IndexUpdate`.
            out_sharding: not used.
            wrap_negative_indices: see `IndexUpdate`.

        Returns:
            An array of the shape of x.
        """
        options: dict[str, Any] = {
            "indices_are_sorted": indices_are_sorted,
            "mode": mode,
            "wrap_negative_indices": wrap_negative_indices,
        }
        x, index = self.array, self.index
        if x.aval.size and (unique_indices or not may_repeat(index)):
            read = IndexUpdate(x, index).get(**options)
            return self._write("set", func(read), unique_indices=True, **options)
        times = IndexUpdate(full(x.aval.shape, 0, "int32"), index)._write("add", 1, **options)
        if isinstance(times, Tracer):
            return _applied(func, x, times)
        counts = np.asarray(times)
        for done in range(int(counts.max(initial=0))):
            x = select_n(as_value(counts > done, "at"), x, _call(func, x))
        return x

    def _write(
        self,
        operation: str,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        out_sharding: None = None,
        wrap_negative_indices: bool = True,
    ) -> Value:
        promises = Promises(indices_are_sorted, unique_indices)
        return update(
            self.array, self.index, operation, values, mode, wrap_negative_indices, promises
        )


def _applied(func: Callable[[Any], Any], x: Value, times: Value) -> Value:
    """Apply a function to each element as often as a traced count says."""

    def more(carry: tuple[Value, Value]) -> Value:
        return reduce_or(gt(carry[1], scalar(0, "int32")), tuple(range(times.aval.ndim)))

    def step(carry: tuple[Value, Value]) -> tuple[Value, Value]:
        y, left = carry
        chosen = gt(left, scalar(0, "int32"))
        return select_n(chosen, y, _call(func, y)), sub(left, convert(chosen, "int32"))

    return while_loop(more, step, (x, times))[0]


def _call(func: Callable[[Any], Any], x: Value) -> Value:
    return convert(func(x), x.aval.dtype)


def may_repeat(index: Any) -> bool:
    """Tell whether an index has integer arrays, whose places may be the same."""
    items = index if isinstance(index, tuple) else (index,)
    arrays = [x for x in items if isinstance(x, Array | np.ndarray) and x.ndim and x.dtype != bool]
    return bool(arrays) or any(isinstance(x, list | tuple) for x in items)


def plain(fill_value: Any) -> Any:
    """Return a scalar as a Python number, which is hashable."""
    if fill_value is None or isinstance(fill_value, bool | int | float | complex):
        return exact(fill_value)
    array = np.asarray(as_value(fill_value, "at[].get"))
    if array.shape:
        raise errors.ShapeError("at[].get", "a scalar fill_value", f"one of shape {array.shape}")
    return exact(array.item())
