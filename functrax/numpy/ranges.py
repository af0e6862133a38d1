"""Evenly spaced numbers and grids."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.primitive import registry
from functrax.core.trace import Array, Tracer, Value, bind, describe
from functrax.numpy.arithmetic import choose
from functrax.numpy.creation import array, placed
from functrax.numpy.manipulation import moveaxis
from functrax.numpy.operands import (
    align,
    array_operand,
    broadcast_shapes,
    cast,
    is_python_scalar,
    number,
    promote,
    shape_of,
    strong,
    to_array,
)
from functrax.primitives import elementwise as lax
from functrax.primitives.join import concatenate
from functrax.primitives.rules import broadcast_to, expand_axis, scalar
from functrax.primitives.shape import broadcast_in_dim
from functrax.transforms.fuse import fuse

_iota_p = registry["iota"]


def iota(dtype: Any, shape: tuple[int, ...], dimension: int = 0) -> Array:
    """Count along an axis, in a canonical dtype."""
    return bind(_iota_p, dtype=dtype, shape=shape, dimension=dimension)[0]


def arange(
    start: Any, stop: Any = None, step: Any = None, dtype: Any = None, *, device: Any = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Count from `start` to `stop`, which is not reached, in steps.

    Args:
        start: number; 0 if it is the only one, which is then `stop`.
        stop: number.
        step: number, 1 by default; negative to count down.
        dtype: the dtype; by default that of the numbers.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of shape (ceil((stop - start) / step),).

    Raises:
        TracerArrayError: if a number is traced: the shape would depend on it.
        ArgumentError: if an argument is not a number, or not a finite one, or the step is 0.
        IntegerOverflowError: if the dtype does not hold a number of the result.

    Example:
        >>> jnp.arange(3)
        Array([0, 1, 2], dtype=int32)
        >>> jnp.arange(1, 2, 0.25)
        Array([1.  , 1.25, 1.5 , 1.75], dtype=float32)
    """
    if dtype is not None:
        dtype = dtypes.canonicalize(dtype, "arange")
    if stop is None and step is None and type(start) is int:
        found = dtypes.int_dtype() if dtype is None else dtype
        if start < 2**31 and not dtypes.is_bool(found):
            return _counted(found, max(start, 0), device)
    first = "stop" if stop is None else "start"
    if start is None:
        raise errors.ArgumentError("arange", f"a number for {first!r}", describe(start))
    numbers = [_number(x, name) for x, name in ((start, first), (stop, "stop"), (step, "step"))]
    if dtype is None:
        pairs = [dtypes.dtype_and_weak(x, "arange") for x in numbers if x is not None]
        weak = tuple(is_weak for _, is_weak in pairs)
        dtype = dtypes.promote(tuple(found for found, _ in pairs), weak, "arange")[0]
    begin, end, by = numbers if stop is not None else (0, numbers[0], numbers[2])
    by = 1 if by is None else by
    if by == 0:
        raise errors.ArgumentError("arange", "a step that is not 0", "0")
    if begin == 0 and by == 1 and isinstance(end, int):
        return _counted(dtype, max(end, 0), device)
    values = _spaced(begin, end, by)
    if dtypes.is_integer(dtype) and values.dtype.kind in "iu":
        dtypes.check_fits(values, dtype, "arange")
    made = array(values.astype(dtype), dtype)
    return made if device is None else placed("arange", made, device)


def _spaced(begin: Any, end: Any, by: Any) -> np.ndarray[Any, Any]:
    """Count by NumPy's own arithmetic: the values are constants, and equal to its."""
    numbers = f"from {begin} to {end} in steps of {by}"
    if any(isinstance(x, complex | np.complexfloating) for x in (begin, end, by)):
        raise errors.ArgumentError("arange", "real numbers", numbers)
    try:
        return np.arange(begin, end, by)
    except MemoryError as error:
        raise errors.OutOfMemoryError("arange", "enough memory", str(error).rstrip(".")) from None
    except (ValueError, OverflowError):
        if not all(abs(x) < math.inf for x in (begin, end, by)):
            raise errors.ArgumentError("arange", "finite numbers", numbers) from None
        raise errors.OutOfMemoryError("arange", "enough memory", f"numbers {numbers}") from None


def _counted(dtype: Any, size: int, device: Any) -> Array:
    if dtypes.is_bool(dtype):
        raise errors.DtypeError("arange", "a dtype to count in", "bool")
    if size > 128 and dtypes.is_integer(dtype):
        dtypes.check_fits(size - 1, dtype, "arange")
    made = iota(dtype, (size,))
    return made if device is None else placed("arange", made, device)


def _number(x: Any, name: str) -> Any:
    """Return a bound as a Python or NumPy scalar."""
    if x is None or is_python_scalar(x):
        return x
    if isinstance(x, Tracer) and x.concrete() is None:
        raise errors.TracerArrayError(
            "arange",
            f"a concrete {name!r}",
            describe(x),
            fix="The shape would depend on a traced value.",
        )
    value = np.asarray(array_operand(x, "arange"))
    if value.ndim:
        raise errors.ArgumentError("arange", f"a number for {name!r}", f"shape {value.shape}")
    return value[()]


@fuse
def _linspace(
    start: Value, stop: Value, *, num: int, endpoint: bool, dtype: Any, whole: bool
) -> Any:
    """Interpolate: start (1 - t) + stop t, with the last point exact."""
    shape = broadcast_shapes("linspace", [start.aval.shape, stop.aval.shape])
    start, stop = broadcast_to(start, shape), broadcast_to(stop, shape)
    compute = start.aval.dtype
    parts = num - 1 if endpoint else num
    difference = lax.sub(stop, start)
    step = scalar(math.nan, compute) if parts < 1 else lax.div(difference, scalar(parts, compute))
    step = broadcast_to(step, shape)
    if num < 2:
        made = broadcast_to(expand_axis(start, 0) if shape else start, (num, *shape))
    else:
        real = dtypes.to_real(compute)
        t = lax.div(iota(real, (parts,)), scalar(parts, real))
        t = cast(broadcast_in_dim(t, (parts, *(1,) * len(shape)), (0,)), compute)
        rows = [expand_axis(x, 0) if shape else x for x in (start, stop)]
        made = lax.add(lax.mul(rows[0], lax.sub(scalar(1, compute), t)), lax.mul(rows[1], t))
        if endpoint:
            made = concatenate([made, expand_axis(stop, 0)], 0)
    if whole and dtypes.is_floating(compute):
        made = lax.floor(made)
    return cast(made, dtype), cast(step, compute)


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """Return numbers at equal distances from `start` to `stop`.

    Args:
        start: number or array.
        stop: number or array; shapes broadcast.
        num: int, how many.
        endpoint: bool, whether `stop` is the last one.
        retstep: bool, whether to return the distance too.
        dtype: the dtype; a float by default.
        axis: where the new axis goes.
        device: where to put it.

    Returns:
        An array of `num` numbers along the axis, or ``(array, step)``.

    Example:
        >>> jnp.linspace(0, 1, 5)
        Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    num = integer("linspace", "num", num)
    if num < 0:
        raise errors.ArgumentError("linspace", "num >= 0", str(num))
    start, stop = align("linspace", *promote("linspace", start, stop, to_float=True))
    asked = None if dtype is None else dtypes.canonicalize(dtype, "linspace")
    compute = start.aval.dtype
    if asked is not None and dtypes.is_inexact(asked):
        compute = dtypes.promote(
            (compute, asked), (start.aval.weak_type and stop.aval.weak_type, False)
        )[0]
    start, stop = (strong(cast(x, compute)) for x in (start, stop))
    whole = asked is not None and dtypes.is_integer(asked)
    made, step = _linspace(
        start, stop, num=num, endpoint=bool(endpoint), dtype=asked or compute, whole=whole
    )
    if asked is not None and dtypes.is_inexact(asked):
        step = to_array(cast(step, asked))
    made = moveaxis(made, 0, axis) if axis else made
    made = made if device is None else placed("linspace", made, device)
    return (made, step) if retstep else made


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0,
    dtype: Any = None, axis: int = 0,
) -> Array:  # fmt: skip
    """Return powers of a base at equal distances of the exponent.

    Args:
        start: the first exponent.
        stop: the last exponent.
        num: int, how many.
        endpoint: bool, whether `stop` is the last one.
        base: number or array.
        dtype: the dtype; a float by default.
        axis: where the new axis goes.

    Returns:
        An array of `num` numbers along the axis.
    """
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    base, exponents = align("logspace", *promote("logspace", base, exponents, to_float=True))
    made = lax.pow(base, exponents)
    return made if dtype is None else to_array(cast(made, dtypes.canonicalize(dtype, "logspace")))


@fuse
def _geomspace(start: Value, stop: Value, *, num: int, endpoint: bool) -> Value:
    sign = lax.sign(start)
    made = logspace(
        lax.div(lax.log(lax.abs(start)), scalar(math.log(10), start.aval.dtype)),
        lax.div(lax.log(lax.abs(stop)), scalar(math.log(10), start.aval.dtype)),
        num,
        endpoint,
    )
    # Through 0, or from one sign to the other, no ratio leads.
    leads = lax.bitwise_and(
        lax.eq(sign, lax.sign(stop)), lax.ne(start, number(0, start.aval.dtype))
    )
    sign = choose(leads, sign, scalar(math.nan, start.aval.dtype))
    made = lax.mul(made, broadcast_to(sign, made.aval.shape))
    start, stop = (choose(leads, end, sign) for end in (start, stop))
    # The ends are exact.
    place = iota(dtypes.int32, (num,) + (1,) * start.aval.ndim, 0)
    if endpoint:
        made = choose(lax.eq(place, number(num - 1, dtypes.int32)), stop, made)
    return choose(lax.eq(place, number(0, dtypes.int32)), start, made)


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Array:
    """Return numbers with equal ratios from `start` to `stop`.

    Args:
        start: number or array, not 0.
        stop: number or array of the same sign.
        num: int, how many.
        endpoint: bool, whether `stop` is the last one.
        dtype: the dtype; a float by default.
        axis: where the new axis goes.

    Returns:
        An array of `num` numbers along the axis; NaN if an end is 0, or the signs differ.

    Raises:
        DtypeError: for complex numbers.

    Example:
        >>> jnp.geomspace(1, 16, 3).round()
        Array([ 1.,  4., 16.], dtype=float32)
    """
    start, stop = promote("geomspace", start, stop, to_float=True)
    if dtypes.is_complex(start.aval.dtype):
        raise errors.DtypeError("geomspace", "real numbers", repr(start.aval))
    shape = broadcast_shapes("geomspace", [start.aval.shape, stop.aval.shape])
    start, stop = (broadcast_to(x, shape) for x in (start, stop))
    num = integer("geomspace", "num", num)
    if dtype is not None and dtypes.is_integer(dtypes.canonicalize(dtype, "geomspace")):
        start, stop = cast(start, dtypes.float64), cast(stop, dtypes.float64)
    made = _geomspace(strong(start), strong(stop), num=num, endpoint=bool(endpoint))
    made = moveaxis(made, 0, axis) if axis else made
    return made if dtype is None else to_array(cast(made, dtypes.canonicalize(dtype, "geomspace")))


# ---- grids


def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> list[Array]:
    """Return the coordinates of the points of a grid.

    Args:
        *xi: vectors, the coordinates along each axis.
        copy: must be True.
        sparse: bool, whether each array keeps size 1 along the other axes.
        indexing: "xy" for the first vector along axis 1 and the second along axis 0, or "ij".

    Returns:
        A list of arrays, one per vector.

    Raises:
        ArgumentError: for another `indexing`.

    Example:
        >>> jnp.meshgrid(jnp.arange(2), jnp.arange(2))[0]
        Array([[0, 1],
               [0, 1]], dtype=int32)
    """
    if indexing not in ("xy", "ij") or not copy:
        raise errors.ArgumentError(
            "meshgrid",
            "indexing='xy' or 'ij', and copy=True",
            f"indexing={indexing!r}, copy={copy!r}",
        )
    vectors = [array_operand(x, "meshgrid") for x in xi]
    if any(x.aval.ndim > 1 for x in vectors):
        raise errors.ShapeError(
            "meshgrid", "vectors", ", ".join(str(x.aval.shape) for x in vectors)
        )
    places = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        places[:2] = [1, 0]
    sizes = [1] * len(vectors)
    for place, x in zip(places, vectors, strict=True):
        sizes[place] = x.aval.size
    grids: list[Array] = []
    for place, x in zip(places, vectors, strict=True):
        own = [size if axis == place or not sparse else 1 for axis, size in enumerate(sizes)]
        x = x if x.aval.ndim else expand_axis(x, 0)
        grids.append(broadcast_in_dim(x, own, (place,)))
    return grids


def indices(dimensions: Sequence[int], dtype: Any = None, sparse: bool = False) -> Any:
    """Return the indices of a grid.

    Args:
        dimensions: the shape of the grid.
        dtype: the dtype; the default integer if None.
        sparse: bool, whether to return arrays that keep size 1 along the other axes.

    Returns:
        An array of shape (n, *dimensions), or a tuple of n arrays.

    Raises:
        IntegerOverflowError: if the dtype does not hold the indices.
    """
    shape = shape_of("indices", dimensions)
    found = dtypes.int_dtype() if dtype is None else dtypes.canonicalize(dtype, "indices")
    dtypes.check_fits(max((1, *shape)) - 1, found, "indices")
    if sparse:
        return tuple(
            iota(found, tuple(size if i == axis else 1 for i, size in enumerate(shape)), axis)
            for axis in range(len(shape))
        )
    grids = [expand_axis(iota(found, shape, axis), 0) for axis in range(len(shape))]
    return concatenate(grids, 0) if grids else array(np.zeros((0,), found), found)
