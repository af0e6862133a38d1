"""Making arrays: from values, and filled with one number."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.primitive import registry
from functrax.core.trace import VALUES, Array, Value, bind, describe, state
from functrax.core.types import Literal, ShapedArray
from functrax.numpy.operands import (
    as_kind,
    broadcast_shapes,
    cast,
    dtype_or_default,
    is_python_scalar,
    literal,
    operand,
    shape_of,
    to_array,
)
from functrax.primitives.convert import convert, convert_element_type, copy, exact_value
from functrax.primitives.join import concatenate
from functrax.primitives.rules import broadcast_to, expand_axis
from functrax.runtime.array import DeviceArray
from functrax.runtime.dispatch import as_numpy, from_numpy, python_literal, read_array
from functrax.runtime.partitioned import put_parts
from functrax.sharding import NamedSharding
from functrax.transforms.placement import as_device, device_put

# ---- from values


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None,
    device: Any = None, out_sharding: None = None,
) -> Array:  # fmt: skip
    """Return anything array-like as an array; an array of that dtype is returned as it is.

    Args:
        a: an array, NumPy array, number, or nested sequences of these.
        dtype: the dtype; by default that of the values, at most 32 bits wide (see `enable_x64`).
        order: must be None, "K" or "C": arrays have no other layout.
        copy: bool, whether to copy always; None copies if needed; False is refused where it is
            needed.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array; weakly typed if `a` is a Python number and no dtype is given.

    Raises:
        IntegerOverflowError: if an integer does not fit the dtype.
        ShapeError: if nested sequences are of unequal lengths.
        DtypeError: if the values are not numbers.

    Example:
        >>> jnp.asarray([1.0, 2.0])
        Array([1., 2.], dtype=float32)
    """
    return array(a, dtype, bool(copy), order or "K", device=device, out_sharding=out_sharding)


def array(
    object: Any, dtype: Any = None, copy: bool = True, order: str | None = "K", ndmin: int = 0, *,
    device: Any = None, out_sharding: None = None,
) -> Array:  # fmt: skip
    """Make an array from anything array-like.

    Args:
        object: an array, NumPy array, number, or nested sequences of these.
        dtype: the dtype; by default that of the values, at most 32 bits wide (see `enable_x64`).
        copy: bool, whether an array gets memory of its own.
        order: must be "K" or "C": arrays have no other layout.
        ndmin: int, the least number of axes; axes of size 1 are put in front.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array; weakly typed if `object` is a Python number and no dtype is given.

    Raises:
        IntegerOverflowError: if an integer does not fit the dtype.
        ShapeError: if nested sequences are of unequal lengths.
        DtypeError: if the values are not numbers.

    Example:
        >>> jnp.array([[1, 2], [3, 4]])
        Array([[1, 2],
               [3, 4]], dtype=int32)
        >>> jnp.array(1.5, dtype="bfloat16")
        Array(1.5, dtype=bfloat16)
    """
    if order not in ("K", "C", None):
        raise errors.ArgumentError("array", "order='K' or 'C'", repr(order))
    if out_sharding is not None:
        raise errors.ArgumentError("array", "out_sharding=None", repr(out_sharding))
    dtype = None if dtype is None else dtypes.canonicalize(dtype, "array")
    own = isinstance(object, Array)
    made = from_array(object, dtype, copy) if own else _from_other(object, dtype)
    while made.aval.ndim < integer("array", "ndmin", ndmin):
        made = expand_axis(made, 0)
    return made if device is None else placed("array", made, device)


def from_array(x: Array, dtype: Any, copied: bool) -> Array:
    """Return an array with another dtype, or copied if asked."""
    if dtype is not None and (x.aval.dtype != dtype or x.aval.weak_type):
        return converted(x, dtype)
    # Traced values never share memory that a user could give away.
    return copy(x) if copied and state.trace is None else x


def converted(x: Value, dtype: Any) -> Array:
    """Convert to another dtype, with a warning if imaginary parts are lost."""
    if dtypes.is_complex(x.aval.dtype) and not dtypes.is_complex(dtype):
        return to_array(cast(x, dtype)) if dtypes.is_bool(dtype) else convert_element_type(x, dtype)
    return to_array(convert(x, dtype))


def _from_other(x: Any, dtype: Any) -> Array:
    kind = type(x)
    if kind is np.ndarray or isinstance(x, np.ndarray | np.generic):
        return _from_numpy(as_numpy(x, "array"), dtype)
    if is_python_scalar(x):
        if dtype is None:
            return to_array(python_literal(x, "array"))
        if dtypes.is_extended(dtype):
            raise errors.KeyTypeError("array", "PRNG keys", repr(x), fix="Use `random.key(seed)`.")
        return to_array(_literal_of(x, dtype, "array"))
    if isinstance(x, list | tuple):
        return _from_sequence(x, dtype)
    if getattr(x, "__jax_array__", None) is not None:
        return array(x.__jax_array__(), dtype, copy=False)
    if x is None or isinstance(x, str | bytes | dict | set):
        raise errors.ArgumentError("array", "numbers, or sequences of numbers", describe(x))
    if hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
        return _from_numpy(read_array(x, "array"), dtype)
    if isinstance(x, memoryview | bytearray):
        return _from_numpy(np.asarray(x), dtype)
    if isinstance(x, Sequence):
        return _from_sequence(list(x), dtype)
    return array(to_array(operand(x, "array")), dtype)


def in_dtype(x: Any, dtype: Any, call: str) -> Value:
    """Return anything array-like in a dtype. Arrays are cast, but integers that are known on the
    host, Python's and NumPy's, must fit it.

    Raises:
        IntegerOverflowError: if an integer does not fit.
    """
    if is_python_scalar(x):
        return _literal_of(x, dtype, call)
    if isinstance(x, np.ndarray | np.generic):
        dtypes.check_fits(x, dtype, call)
        x = exact_value(x, call)
    return converted(x, dtype) if isinstance(x, VALUES) else array(x, dtype, copy=False)


def _literal_of(x: Any, dtype: Any, call: str) -> Literal:
    """Return a Python number as a literal of a dtype that was asked for."""
    return Literal(as_kind(x, dtype, call), ShapedArray((), dtype))


def _from_numpy(x: np.ndarray[Any, Any], dtype: Any) -> Array:
    if dtype is not None:
        dtypes.canonicalize(x.dtype, "array")  # text is refused, not parsed
        dtypes.check_fits(x, dtype, "array")
    if x.dtype == dtypes.float0:
        x = np.zeros(x.shape, bool)
    return from_numpy(x, "array", dtype)


def _from_sequence(x: Sequence[Any], dtype: Any) -> Array:
    """Make an array of nested sequences: by NumPy if it is all numbers, else by stacking."""
    kinds: set[type] = set()
    _collect_kinds(x, kinds)
    if any(issubclass(kind, Array) or hasattr(kind, "__jax_array__") for kind in kinds):
        return _stacked(x, dtype)
    try:
        values = np.array(x) if kinds else np.zeros(np.shape(x), dtypes.float_dtype())
    except ValueError:
        expected, got = "nested sequences of equal lengths", f"lengths that differ, in {_short(x)}"
        raise errors.ShapeError("array", expected, got) from None
    except OverflowError:
        values = np.array(x, object)
    if values.dtype == object:
        _refuse_objects(x, values)
    if dtype is None and any(issubclass(kind, np.generic) for kind in kinds):
        dtype = _common_dtype(kinds)
    if dtype is None and kinds <= dtypes.PYTHON_SCALARS:
        dtype = _python_dtype(values, kinds)
    elif dtype is not None and kinds & {float, complex}:
        _check_kept(values, dtype)
    return _from_numpy(values, dtype)


def _check_kept(values: np.ndarray[Any, Any], dtype: Any) -> None:
    """Refuse Python numbers that a dtype cannot hold; NumPy's own arrays are cast, as by NumPy."""
    if dtypes.is_complex(values.dtype) and values.size:
        as_kind(1j, dtype, "array")
    if dtypes.is_floating(values.dtype) and dtypes.is_integer(dtype) and values.size:
        for extreme in (values.min(), values.max()):
            as_kind(float(extreme), dtype, "array")


def _python_dtype(values: np.ndarray[Any, Any], kinds: set[type]) -> Any:
    """Return the default dtype for Python numbers; NumPy's widths were not asked for."""
    known = dtypes.is_integer(values.dtype)
    return dtypes.int_dtype() if known else dtypes.default_of(values.dtype)


def _common_dtype(kinds: set[type]) -> Any:
    pairs = [dtypes.dtype_and_weak(kind, "array") for kind in kinds]
    found, _ = dtypes.promote(tuple(d for d, _ in pairs), tuple(w for _, w in pairs), "array")
    return dtypes.default_of(found)


def _collect_kinds(x: Sequence[Any], kinds: set[type]) -> None:
    """Add the types of the leaves of nested sequences; of NumPy's arrays those of its scalars."""
    own = set(map(type, x))
    if own <= dtypes.PYTHON_SCALARS:
        kinds |= own
        return
    for item in x:
        if isinstance(item, list | tuple):
            _collect_kinds(item, kinds)
        elif isinstance(item, np.ndarray):
            kinds.add(item.dtype.type)
        else:
            kinds.add(type(item))


def _refuse_objects(x: Any, values: np.ndarray[Any, Any]) -> None:
    for item in values.ravel():
        if is_python_scalar(item):
            dtypes.check_fits(item, dtypes.int_dtype(), "array")
        else:
            raise errors.DtypeError("array", "numbers, or sequences of numbers", describe(item))


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) < 60 else text[:57] + "..."


def _stacked(x: Sequence[Any], dtype: Any) -> Array:
    """Make an array of nested sequences that hold arrays or traced values."""
    rows = [array(item, dtype if is_python_scalar(item) else None, False) for item in x]
    if any(row.aval.shape != rows[0].aval.shape for row in rows):
        shapes = ", ".join(str(row.aval.shape) for row in rows)
        raise errors.ShapeError("array", "elements of one shape", shapes)
    if dtype is None:
        weak = tuple(row.aval.weak_type for row in rows)
        dtype, _ = dtypes.promote(tuple(row.aval.dtype for row in rows), weak, "array")
    same = [converted(row, dtype) for row in rows]
    return concatenate([expand_axis(row, 0) for row in same], 0)


def placed(call: str, x: Array, device: Any) -> Array:
    """Return an array on a device, or divided among several."""
    return device_put(x, as_device(device, call))


# ---- filled with one number


def _spread(call: str, x: Value, shape: tuple[int, ...], device: Any) -> Array:
    """Broadcast a value, on a device if one is given; each of several makes its own part."""
    where = None if device is None else as_device(device, call)
    if isinstance(where, NamedSharding) and type(x) is Literal and state.trace is None:
        return put_parts(np.broadcast_to(x.numpy(), shape), ShapedArray(shape, x.aval.dtype), where)
    try:
        made = to_array(broadcast_to(x, shape))
        return made if where is None else device_put(made, where)
    except errors.OutOfMemoryError as error:
        raise errors.OutOfMemoryError(call, error.expected, error.got, fix=error.fix) from None


def _filled(call: str, shape: Any, value: Any, dtype: Any, device: Any) -> Array:
    """Broadcast a number of a canonical dtype to a shape."""
    shape = shape_of(call, shape)
    if dtypes.is_extended(dtype):  # keys, each of whose words is the number
        words = _filled(call, (*shape, *dtype.key_shape), value, dtypes.uint32, None)
        keys = bind(registry["random_wrap"], words, dtype=dtype)[0]
        return keys if device is None else placed(call, keys, device)
    key = (value, type(value), dtype)
    number = _numbers.get(key)
    if number is None:
        number = _numbers[key] = _literal_of(value, dtype, call)
    if not shape and device is None:
        return to_array(number)
    return _spread(call, number, shape, device)


# Only zero and one of each dtype: `full` makes its own.
_numbers: dict[Any, Literal] = {}


def zeros(shape: Any, dtype: Any = None, *, device: Any = None, out_sharding: None = None) -> Array:
    """Return an array of zeros.

    Args:
        shape: int or sequence of ints.
        dtype: the dtype; the default float if None.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape and dtype.

    Raises:
        ArgumentError: if the shape is not of non-negative integers.

    Example:
        >>> jnp.zeros((2, 3), dtype=int)
        Array([[0, 0, 0],
               [0, 0, 0]], dtype=int32)
    """
    return _filled("zeros", shape, 0, dtype_or_default("zeros", dtype), device)


def ones(shape: Any, dtype: Any = None, *, device: Any = None, out_sharding: None = None) -> Array:
    """Return an array of ones.

    Args:
        shape: int or sequence of ints.
        dtype: the dtype; the default float if None.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape and dtype.

    Example:
        >>> jnp.ones(3)
        Array([1., 1., 1.], dtype=float32)
    """
    return _filled("ones", shape, 1, dtype_or_default("ones", dtype), device)


def empty(shape: Any, dtype: Any = None, *, device: Any = None, out_sharding: None = None) -> Array:
    """Return an array of zeros: memory is never left uninitialised.

    Args:
        shape: int or sequence of ints.
        dtype: the dtype; the default float if None.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape and dtype.
    """
    return _filled("empty", shape, 0, dtype_or_default("empty", dtype), device)


def full(
    shape: Any, fill_value: Any, dtype: Any = None, *, device: Any = None, out_sharding: None = None
) -> Array:
    """Return an array filled with a value.

    Args:
        shape: int or sequence of ints.
        fill_value: number or array that broadcasts to the shape.
        dtype: the dtype; that of the value if None, weakly typed if it is a Python number.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape.

    Example:
        >>> jnp.full((2,), 7, dtype="int8")
        Array([7, 7], dtype=int8)
    """
    shape = shape_of("full", shape)
    return _full("full", shape, fill_value, dtype, device)


def _full(call: str, shape: tuple[int, ...], value: Any, dtype: Any, device: Any) -> Array:
    if dtype is not None:
        dtype = dtypes.canonicalize(dtype, call)
    if is_python_scalar(value):
        if dtype is not None and dtypes.is_extended(dtype):
            return _filled(call, shape, value, dtype, device)
        value = python_literal(value, call) if dtype is None else _literal_of(value, dtype, call)
    else:
        value = array(value, copy=False) if dtype is None else in_dtype(value, dtype, call)
    broadcast_shapes(call, [value.aval.shape, shape])
    return _spread(call, value, shape, device)


# ---- like another array


def _like(call: str, a: Any, value: Any, dtype: Any, shape: Any, device: Any) -> Array:
    aval = _type_of(call, a)
    shape = aval.shape if shape is None else shape_of(call, shape)
    found = aval.dtype if dtype is None else dtypes.canonicalize(dtype, call)
    device = _device_like(a, shape) if device is None else device
    if dtype is not None or not aval.weak_type:
        return _filled(call, shape, value, found, device)
    return _spread(call, literal(value, found, call), shape, device)


def _device_like(a: Any, shape: tuple[int, ...]) -> Any:
    """Return where an array of the same shape as another one belongs; None for anywhere."""
    return a.device if type(a) is DeviceArray and a.committed and a.shape == shape else None


def _type_of(call: str, a: Any) -> Any:
    """Return the type of an array, or of anything with a shape and a dtype, such as a struct."""
    if not isinstance(a, VALUES) and hasattr(a, "shape") and hasattr(a, "dtype"):
        return ShapedArray(tuple(a.shape), dtypes.default_of(dtypes.canonicalize(a.dtype, call)))
    if isinstance(a, list | tuple):
        a = array(a)
    return operand(a, call).aval


def zeros_like(
    a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None, out_sharding: None = None
) -> Array:
    """Return zeros of an array's shape and dtype.

    Args:
        a: array-like, or anything with a shape and a dtype.
        dtype: another dtype.
        shape: another shape.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape and dtype.
    """
    return _like("zeros_like", a, 0, dtype, shape, device)


def ones_like(
    a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None, out_sharding: None = None
) -> Array:
    """Return ones of an array's shape and dtype.

    Args:
        a: array-like, or anything with a shape and a dtype.
        dtype: another dtype.
        shape: another shape.
        device: where to put it.
        out_sharding: must be None.

    Returns:
        An array of that shape and dtype.
    """
    return _like("ones_like", a, 1, dtype, shape, device)


def empty_like(
    prototype: Any, dtype: Any = None, shape: Any = None, *, device: Any = None
) -> Array:
    """Return zeros of an array's shape and dtype: memory is never left uninitialised.

    Args:
        prototype: array-like, or anything with a shape and a dtype.
        dtype: another dtype.
        shape: another shape.
        device: where to put it.

    Returns:
        An array of that shape and dtype.
    """
    return _like("empty_like", prototype, 0, dtype, shape, device)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, shape: Any = None, *, device: Any = None
) -> Array:
    """Return an array of another's shape and dtype, filled with a value.

    Args:
        a: array-like, or anything with a shape and a dtype.
        fill_value: number or array that broadcasts to the shape.
        dtype: another dtype.
        shape: another shape.
        device: where to put it.

    Returns:
        An array of that shape and dtype.
    """
    aval = _type_of("full_like", a)
    shape = aval.shape if shape is None else shape_of("full_like", shape)
    found = aval.dtype if dtype is None else dtypes.canonicalize(dtype, "full_like")
    device = _device_like(a, shape) if device is None else device
    made = _full("full_like", shape, fill_value, found, device)
    if dtype is None and aval.weak_type:
        return to_array(convert(made, found, True)) if not isinstance(made, Literal) else made
    return made
