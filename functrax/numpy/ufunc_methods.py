"""Universal functions: what a function of two numbers does along axes, over pairs and at places.

A name like `jnp.add` stays a plain function, for an object with ``__call__`` would cost each call a
frame (ADR 0010). It carries the methods of a `ufunc` as attributes, and `isinstance` knows it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any
from typing import cast as typed

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array, Value
from functrax.numpy import logic, reductions
from functrax.numpy.at import IndexUpdate, may_repeat
from functrax.numpy.creation import array
from functrax.numpy.joining import concatenate
from functrax.numpy.manipulation import moveaxis
from functrax.numpy.mapping import vectorize
from functrax.numpy.operands import (
    array_operand,
    cast,
    number_dtype,
    operand,
    refuse_out,
    strong,
    to_array,
)
from functrax.numpy.ranges import iota
from functrax.numpy.selection import where as choose
from functrax.numpy.taking import take
from functrax.primitives.rules import broadcast_to, full, reshape
from functrax.primitives.shape import canonical_axis
from functrax.transforms.control.loops import fori_loop
from functrax.transforms.control.scan import scan
from functrax.transforms.flat import ShapeDtypeStruct, check_callable, function_name
from functrax.transforms.fuse import fuse
from functrax.transforms.inspect import eval_shape


class _Kind(type):
    """Lets `isinstance` find the functions that carry the methods."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Tell universal functions, and functions that carry the methods of one."""
        return type(getattr(getattr(instance, "reduce", instance), "__self__", instance)) is cls


class ufunc(metaclass=_Kind):  # noqa: N801
    """A function of numbers that applies to arrays elementwise, with what follows from it.

    `jnp.add` and its like are universal functions, for `isinstance` too; `frompyfunc` makes one.

    Attributes:
        nin: the number of arguments.
        nout: the number of results.
        nargs: the number of arguments.
        identity: the number that changes nothing, where reductions start; None if there is none.

    Example:
        >>> isinstance(jnp.add, jnp.ufunc), jnp.add.identity
        (True, 0)
    """

    def __init__(
        self,
        func: Callable[..., Any],
        /,
        nin: int,
        nout: int,
        *,
        name: str | None = None,
        nargs: int | None = None,
        identity: Any = None,
        call: Callable[..., Any] | None = None,
        reduce: Callable[..., Any] | None = None,
        accumulate: Callable[..., Any] | None = None,
        at: Callable[..., Any] | None = None,
        reduceat: Callable[..., Any] | None = None,
    ) -> None:
        """Make a universal function; the last five are better ways to do what it can do."""
        check_callable(func, "ufunc")
        self.__name__ = name or function_name(func)
        self.__doc__ = func.__doc__
        self.nin, self.nout = integer("ufunc", "nin", nin), integer("ufunc", "nout", nout)
        self.nargs = self.nin if nargs is None else integer("ufunc", "nargs", nargs)
        self.identity = identity
        # Wrappers such as `jit` take over attributes: these must not be like theirs.
        self.__func = func
        self.__call = vectorize(func) if call is None else call
        self.__better = {"reduce": reduce, "accumulate": accumulate, "at": at, "reduceat": reduceat}
        self.__programs: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __repr__(self) -> str:
        """Print the name."""
        return f"<jnp.ufunc '{self.__name__}'>"

    def __eq__(self, other: object) -> bool:
        """Compare what is called and what it is called; not the ways it is done."""
        return type(other) is ufunc and self._key() == other._key()

    def __hash__(self) -> int:
        """Hash what is compared."""
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.__func, self.__name__, self.identity, self.nin, self.nout, self.nargs)

    def __call__(self, *args: Any, out: None = None, where: None = None) -> Any:
        """Apply the function elementwise.

        Args:
            *args: as many arrays or numbers as `nin` says; shapes broadcast.
            out: must be None.
            where: must be None.

        Returns:
            An array of the common shape, or a tuple of them.
        """
        refuse_out(self.__name__, out)
        if where is not None:
            raise errors.ArgumentError(self.__name__, "where=None", errors.type_name(where))
        if len(args) != self.nin:
            raise errors.ArgumentError(self.__name__, f"{self.nin} arguments", str(len(args)))
        return self.__call(*args)

    def _check_pairs(self, method: str, out: Any = None) -> str:
        """Return what is called, which only functions of two numbers with one result have."""
        call = f"{self.__name__}.{method}"
        refuse_out(call, out)
        if (self.nin, self.nout) != (2, 1):
            raise errors.ArgumentError(
                call, "a function of two arguments with one result", f"{self.nin} and {self.nout}"
            )
        return call

    def _run(self, how: Callable[..., Any], *values: Any, **static: Any) -> Any:
        """Run a way of applying the function, compiled once for all eager calls."""
        found = self.__programs.get(how)
        if found is None:
            found = self.__programs.setdefault(how, fuse(functools.partial(how, self.__call)))
        return found(*values, **static)

    def reduce(
        self, a: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: bool = False,
        initial: Any = None, where: Any = None,
    ) -> Array:  # fmt: skip
        """Combine the elements along axes, from the first to the last.

        Args:
            a: array.
            axis: int or sequence of ints; all axes if None.
            dtype: the dtype to compute in and return.
            out: must be None.
            keepdims: bool, whether the axes stay, of size 1.
            initial: number to start from; the identity, or the first element, if None.
            where: booleans that broadcast to the array: which elements count; needs an identity or
                `initial`.

        Returns:
            An array without the axes.

        Raises:
            ArgumentError: if the function does not take two arguments and return one result, or
                for `where` without a start.
            ShapeError: for no elements without a start.

        Example:
            >>> jnp.bitwise_or.reduce(jnp.array([1, 2, 4]))
            Array(7, dtype=int32)
        """
        call = self._check_pairs("reduce", out)
        if where is not None and self.identity is None and initial is None:
            raise errors.ArgumentError(call, "`initial` together with `where`", "none")
        better = self.__better["reduce"]
        if better is not None:
            given = {"keepdims": keepdims, "initial": initial, "where": where}
            return better(a, axis=axis, dtype=dtype, **given)
        x = array_operand(a, call)
        axes = reductions.axes_or_all(call, axis, x.aval.ndim)
        found = result_dtype(self.__call, x, x) if dtype is None else number_dtype(dtype, call)
        start = self.identity if initial is None else initial
        if start is None and 0 in [x.aval.shape[i] for i in axes]:
            raise errors.ShapeError(
                call, "at least one element to reduce", repr(x.aval), fix="Give `initial`."
            )
        mask = None if where is None else reductions.mask_of(call, logic.to_bool(where, call), x)
        start = None if start is None else reductions.start_value(call, start, found)
        return self._run(
            _fold, cast(x, found), start, mask, axes=axes, keepdims=bool(keepdims)
        )  # fmt: skip

    def accumulate(self, a: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Array:
        """Combine the elements up to each one along an axis.

        Args:
            a: array of at least one axis.
            axis: int.
            dtype: the dtype to compute in and return.
            out: must be None.

        Returns:
            An array of the same shape.

        Raises:
            ArgumentError: if the function does not take two arguments and return one result.

        Example:
            >>> jnp.maximum.accumulate(jnp.array([1, 3, 2]))
            Array([1, 3, 3], dtype=int32)
        """
        call = self._check_pairs("accumulate", out)
        better = self.__better["accumulate"]
        if better is not None:
            return better(a, axis=axis, dtype=dtype)
        x = array_operand(a, call)
        axis = canonical_axis(call, integer(call, "axis", axis), x.aval.ndim)
        found = result_dtype(self.__call, x, x) if dtype is None else number_dtype(dtype, call)
        return self._run(_scan, cast(x, found), axis=axis)

    def outer(self, A: Any, B: Any, /) -> Array:
        """Apply the function to all pairs of elements.

        Args:
            A: array or number.
            B: array or number.

        Returns:
            An array with the axes of A, then those of B.

        Raises:
            ArgumentError: if the function does not take two arguments and return one result.

        Example:
            >>> jnp.multiply.outer(jnp.arange(1, 4), jnp.arange(1, 3))
            Array([[1, 2],
                   [2, 4],
                   [3, 6]], dtype=int32)
        """
        call = self._check_pairs("outer")
        x, y = (array_operand(v, call) for v in (A, B))
        return self.__call(reshape(x, x.aval.shape + (1,) * y.aval.ndim), y)

    def at(self, a: Any, indices: Any, b: Any = None, /, *, inplace: bool = True) -> Array:
        """Return an array with the function applied at places, once for each time they are named.

        Args:
            a: array.
            indices: as in ``a[indices]``.
            b: array or number that broadcasts to ``a[indices]``, for a function of two arguments.
            inplace: must be False: arrays never change.

        Returns:
            An array of the shape of a.

        Raises:
            ArgumentError: for ``inplace=True``, or a wrong number of arguments.

        Example:
            >>> jnp.add.at(jnp.zeros(3), jnp.array([0, 0, 2]), 1, inplace=False)
            Array([2., 0., 1.], dtype=float32)
        """
        call = f"{self.__name__}.at"
        if inplace:
            raise errors.ArgumentError(
                call, "inplace=False", "True", fix="Arrays never change: use what it returns."
            )
        values = () if b is None else (b,)
        if self.nout != 1 or self.nin != 1 + len(values):
            expected = f"{self.nin - 1} arguments beside array and index, and one result"
            raise errors.ArgumentError(call, expected, f"{len(values)}, {self.nout}")
        better = self.__better["at"]
        if better is not None:
            return better(a, indices, *values)
        x, *values = (operand(v, call) for v in (a, *values))
        found = result_dtype(self.__call, x, *values)
        x, *values = (to_array(cast(v, found)) for v in (x, *values))
        if not values:
            return typed(Array, IndexUpdate(x, indices).apply(self.__call))
        if not may_repeat(indices):
            made = self.__call(IndexUpdate(x, indices).get(), *values)
            return typed(Array, IndexUpdate(x, indices).set(cast(made, found)))
        numbers = reshape(iota(dtypes.int_dtype(), (x.aval.size,)), x.aval.shape)
        places = IndexUpdate(numbers, indices).get(mode="fill", fill_value=x.aval.size)
        return self._run(_each, x, places, *values)

    def reduceat(
        self, a: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None
    ) -> Array:
        """Combine the elements from each place up to the next one, along an axis.

        Args:
            a: array of at least one axis.
            indices: vector of integers; where the next one is not larger, the element is taken.
            axis: int.
            dtype: the dtype to compute in and return.
            out: must be None.

        Returns:
            An array with as many elements along the axis as there are places.

        Raises:
            ArgumentError: if the function does not take two arguments and return one result.
            ShapeError: if the indices are not a vector.

        Example:
            >>> jnp.add.reduceat(jnp.arange(8), jnp.array([0, 4, 6]))
            Array([ 6,  9, 13], dtype=int32)
        """
        call = self._check_pairs("reduceat", out)
        better = self.__better["reduceat"]
        if better is not None:
            return better(a, indices, axis=axis, dtype=dtype)
        x, places = array_operand(a, call), array(indices)
        axis = canonical_axis(call, integer(call, "axis", axis), x.aval.ndim)
        if places.aval.ndim != 1 or not dtypes.is_integer(places.aval.dtype):
            raise errors.ShapeError(call, "a vector of integers", repr(places.aval))
        if dtype is None:
            own = (x.aval.dtype, result_dtype(self.__call, x, x))
            found = dtypes.promote(own, (False, False))[0]
        else:
            found = number_dtype(dtype, call)
        return self._run(_segments, cast(x, found), places, axis=axis)


def result_dtype(call: Callable[..., Any], *values: Value) -> Any:
    """Return the dtype of a function's result for numbers of the values' types."""
    avals = [v.aval for v in values]
    one = [ShapeDtypeStruct((), a.dtype, weak_type=a.weak_type) for a in avals]
    return eval_shape(call, *one).dtype


# Ways to apply a function of two numbers ----------------------------------------------------------


def _fold(
    call: Callable[..., Any], x: Value, start: Value | None, mask: Value | None,
    *, axes: tuple[int, ...], keepdims: bool,
) -> Value:  # fmt: skip
    """Combine one element after another, in NumPy's order."""
    rest = [size for i, size in enumerate(x.aval.shape) if i not in axes]
    count = math.prod([x.aval.shape[i] for i in axes])

    def rows_of(v: Value) -> Array:
        front = moveaxis(to_array(v), axes, tuple(range(len(axes))))
        return to_array(reshape(front, (count, *rest)))

    rows = rows_of(x)
    masks = None if mask is None else rows_of(mask)
    if start is None:
        start, rows = rows[0], rows[1:]
        masks = None if masks is None else masks[1:]
    start = broadcast_to(strong(start), tuple(rest))

    def step(carry: Value, now: Any) -> Any:
        row, counts = now
        made = cast(call(carry, row), x.aval.dtype)
        return (made if counts is None else choose(counts, made, carry)), None

    result = scan(step, start, (rows, masks))[0]
    return reductions.with_axes(result, axes) if keepdims else result


def _scan(call: Callable[..., Any], x: Value, *, axis: int) -> Value:
    """Combine one element after another, and keep what comes out."""
    if not x.aval.size:
        return strong(x)
    rows = moveaxis(to_array(strong(x)), axis, 0)

    def step(carry: Value, row: Value) -> tuple[Value, Value]:
        made = cast(call(carry, row), x.aval.dtype)
        return made, made

    _, behind = scan(step, rows[0], rows[1:])
    return moveaxis(concatenate([rows[:1], behind]), 0, axis)


def _each(call: Callable[..., Any], x: Value, places: Value, y: Value) -> Value:
    """Combine at one place after another; those outside are left out."""
    pairs_of = (
        reshape(v, (places.aval.size,)) for v in (places, broadcast_to(y, places.aval.shape))
    )

    def step(flat: Value, now: Any) -> Any:
        place, value = now
        spot = IndexUpdate(flat, place)
        return spot.set(cast(call(spot.get(), value), x.aval.dtype), mode="drop"), None

    flat = scan(step, reshape(strong(x), (x.aval.size,)), tuple(pairs_of))[0]
    return reshape(flat, x.aval.shape)


def _segments(call: Callable[..., Any], x: Value, places: Value, *, axis: int) -> Value:
    """Combine each element into the segments it lies in."""
    size, along = x.aval.shape[axis], [1] * x.aval.ndim
    along[axis] = places.aval.size
    dtype = places.aval.dtype
    ends = concatenate([to_array(places)[1:], to_array(full((1,), size, dtype))])
    low, high = (reshape(v, tuple(along)) for v in (places, ends))

    def step(number: Value, made: Value) -> Value:
        place = cast(number, dtype)
        inside = logic.logical_and(logic.greater(place, low), logic.less(place, high))
        row = take(x, reshape(number, (1,)), axis=axis, mode="clip")
        return choose(inside, cast(call(made, row), x.aval.dtype), made)

    return fori_loop(0, size, step, take(strong(x), places, axis=axis))


def frompyfunc(func: Callable[..., Any], /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """Make a function of numbers universal: it applies to arrays, and has methods.

    Args:
        func: a function of `nin` numbers that returns `nout`, of functions of this module.
        nin: int, the number of arguments.
        nout: int, the number of results.
        identity: number that changes nothing, where reductions start; None if there is none.

    Returns:
        A `ufunc`.

    Example:
        >>> add = jnp.frompyfunc(lambda x, y: x + y, 2, 1, identity=0)
        >>> add.reduce(jnp.arange(4)), add.outer(jnp.arange(2), jnp.arange(3))
        (Array(6, dtype=int32), Array([[0, 1, 2],
               [1, 2, 3]], dtype=int32))
    """
    return ufunc(func, nin, nout, identity=identity)
