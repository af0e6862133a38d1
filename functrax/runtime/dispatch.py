"""Eager evaluation: each operation is compiled once per types and params, and run."""

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config, in_force
from functrax.core.jaxpr import Equation, Jaxpr, Var, meshes_of, program_cache
from functrax.core.primitive import Primitive, abstract_eval
from functrax.core.trace import Tracer, Value, as_value, leaked
from functrax.core.types import Literal, ShapedArray
from functrax.runtime.array import DeviceArray, device_array, device_arrays, device_copy, put_numpy
from functrax.runtime.checked import Checked, with_checks
from functrax.runtime.compile import compile_lowered, lower
from functrax.runtime.devices import Device, default_device
from functrax.runtime.guards import check_transfer
from functrax.runtime.layout import Place
from functrax.runtime.partitioned import Partitioned, put, replicated
from functrax.xla.failure import RUNTIME_ERRORS, translate

get_aval = operator.attrgetter("aval")
get_place = operator.attrgetter("aval", "device", "committed")
"""What decides how an array is taken where there are several devices."""

MOST_PROGRAMS = 8192
"""Compiled single operations kept for each device; the older half goes when there are more."""

MOST_CALLS = 256
"""Of these, loops and other calls of programs: each takes 0.3 MB, and a loop of Python's that makes
its functions anew makes them without end."""


def evaluate(
    primitive: Primitive, operands: Sequence[Value], params: dict[str, Any]
) -> list[DeviceArray]:
    """Apply a primitive to concrete operands.

    Args:
        primitive: the operation.
        operands: arrays and literals.
        params: its parameters.

    Returns:
        The results, which may not be computed yet.
    """
    if primitive.evaluate is not None:
        return primitive.evaluate(*operands, **params)
    try:
        # The warm path: arrays on one device, a program that is there. It has no frame beside its
        # own, which jaxlib would record (see `xla.executable._launcher`).
        if len(operands) == 1:
            (x,) = operands
            array = x.placed if type(x) is Literal else x
            device, committed = array.device, array.committed
            key, buffers = (primitive, x.aval), [array.buffer]
        elif len(operands) == 2:
            x, y = operands
            if type(y) is Literal:
                device, committed, other = x.device, x.committed, y.placed
                aligned, buffers = other.device is device, [x.buffer, other.buffer]
            elif type(x) is Literal:
                device, committed, other = y.device, y.committed, x.placed
                aligned, buffers = other.device is device, [other.buffer, y.buffer]
            else:
                device, committed = x.device, x.committed
                aligned = y.device is device and y.committed is committed
                buffers = [x.buffer, y.buffer]
            if not aligned:
                return _evaluate_general(primitive, operands, params)
            key = (primitive, x.aval, y.aval)
        else:
            x = operands[0]
            device, committed = x.device, x.committed
            for y in operands:
                if y.device is not device or y.committed is not committed:
                    return _evaluate_general(primitive, operands, params)
            key = (primitive, *map(get_aval, operands))
            buffers = [x.buffer for x in operands]
        options = in_force.key
        if not (committed or device.is_default) or (
            not options.plain and (options.checks or not committed)
        ):
            return _evaluate_general(primitive, operands, params)
        execute, handlers, out_types = device.programs[
            (*key, tuple(params.items())) if params else key
        ]
        results = execute(buffers).consume_with_handlers(handlers)
    except (AttributeError, IndexError, KeyError, TypeError, *RUNTIME_ERRORS):
        return _evaluate_general(primitive, operands, params)
    if len(results) == 1:
        return [device_array(out_types[0], results[0], device, committed)]
    return device_arrays(out_types, results, itertools.repeat(device), committed)


def _evaluate_general(
    primitive: Primitive, operands: Sequence[Value], params: dict[str, Any]
) -> list[DeviceArray]:
    """Evaluate a first time, with literals, with arrays elsewhere, with checks, or with what is not
    valid.
    """
    checks = in_force.key.checks
    names_axes = primitive.axis_names is not None
    if (names_axes and meshes_of(primitive, params)) or any(
        type(x) is DeviceArray and type(x.device) is not Device for x in operands
    ):
        return _evaluate_partitioned(primitive, operands, params, checks)
    arrays, device, committed = gather(primitive.name, operands)
    types = tuple([x.aval for x in arrays])
    key = (primitive, *types, tuple(params.items())) if params else (primitive, *types)
    if checks:
        key = (checks, *key)
    if primitive.effects is not None and primitive.effects(params):
        # Not under the key of the warm path, which calls once more what has failed.
        key = (*key, "once")
    program = device.programs.get(key)
    if program is None:
        program = _compile(primitive, arrays, types, params, device, checks)
        if len(device.programs) >= MOST_PROGRAMS:
            for old in list(device.programs)[: MOST_PROGRAMS // 2]:
                device.programs.pop(old, None)
        device.programs[key] = program
        if primitive.partial is not None or primitive.stage is not None:
            device.calls[key] = None
            for oldest in list(device.calls)[:-MOST_CALLS]:
                device.calls.pop(oldest, None)
                device.programs.pop(oldest, None)
    execute, handlers, out_types, *checked = program
    try:
        buffers = [
            x.buffer if type(x) is DeviceArray else _literal_buffer(x, device) for x in arrays
        ]
        results = execute(buffers)
        if handlers is not None:
            results = results.consume_with_handlers(handlers)
    except (TypeError, *RUNTIME_ERRORS) as error:
        check_operands(arrays)
        raise translate(error, primitive.name) from None
    for one in checked:
        extra = results[len(out_types) :]
        one.raise_for(extra, [device] * len(extra))
    return device_arrays(out_types, results, itertools.repeat(device), committed)


def _evaluate_partitioned(
    primitive: Primitive,
    operands: Sequence[Value],
    params: dict[str, Any],
    checks: tuple[str, ...],
) -> list[DeviceArray]:
    """Evaluate with operands over several devices."""
    check_operands(operands)
    types = tuple([x.aval for x in operands])
    rest = (checks, config.no_implicit_comms)
    program, checked = _partitioned(primitive, types, tuple(params.items()), *rest)
    buffers, places = program.run(operands)
    out_types = program.jaxpr.out_avals
    results = device_arrays(out_types, buffers, places, True)
    if checked is None:
        return results
    count = len(results) - len(checked.types)
    checked.raise_for(buffers[count:], places[count:])
    return results[:count]


@program_cache
def _partitioned(
    primitive: Primitive,
    types: tuple[ShapedArray, ...],
    params: tuple[tuple[str, Any], ...],
    checks: tuple[str, ...],
    explicit: bool,
) -> tuple[Partitioned, Checked | None]:
    """Return the program of one operation over several devices; those compiled where nothing may
    communicate unasked are apart.
    """
    jaxpr, checked = _program(primitive, types, dict(params), checks)
    return Partitioned(jaxpr), checked


def gather(call: str, operands: Sequence[Value]) -> tuple[list[Value], Device, bool]:
    """Bring operands to one device: where the committed ones are, or the first one's.

    Raises:
        DeviceError: if two committed operands are on different devices.
    """
    arrays = [x for x in operands if type(x) is DeviceArray]
    if not arrays:
        return list(operands), default_device(), False
    placed = {x.device for x in arrays if x.committed}
    if len(placed) > 1:
        raise errors.DeviceError(
            call,
            "operands on one device",
            " and ".join(sorted(str(device) for device in placed)),
            fix="Move one with `device_put`.",
        )
    device = placed.pop() if placed else default_device()
    for x in arrays:
        if x.device is not device:
            check_transfer("device_to_device", call, x.aval)
    moved = [
        device_copy(x, device, False) if type(x) is DeviceArray and x.device is not device else x
        for x in operands
    ]
    return moved, device, any(x.committed for x in arrays)


def _compile(
    primitive: Primitive,
    operands: Sequence[Value],
    types: tuple[ShapedArray, ...],
    params: dict[str, Any],
    device: Device,
    checks: tuple[str, ...],
) -> Any:
    """Return how to start the program, the types of its results, and its checks if it has any."""
    check_operands(operands)
    jaxpr, checked = _program(primitive, types, params, checks)
    out_types = jaxpr.out_avals if checked is None else jaxpr.out_avals[: -len(checked.types)]
    lowered = lower(jaxpr, name=primitive.name, platform=device.platform)
    executable = compile_lowered(lowered, device)
    if executable.calls_host:
        found = executable.run_to_end, None, out_types
    else:
        found = executable.execute, executable.handlers, out_types
    return found if checked is None else (*found, checked)


def _program(
    primitive: Primitive,
    types: tuple[ShapedArray, ...],
    params: dict[str, Any],
    checks: tuple[str, ...],
) -> tuple[Jaxpr, Checked | None]:
    """Return the program of one equation, and its checks if it has any."""
    invars = [Var(aval) for aval in types]
    outvars = [Var(aval) for aval in abstract_eval(primitive, types, params)]
    equation = Equation(primitive, invars, outvars, params, None)
    jaxpr = Jaxpr((), invars, outvars, [equation], primitive.name)
    checked = with_checks(jaxpr, checks)
    return (jaxpr, None) if checked is None else (checked.jaxpr, checked)


def check_operands(operands: Sequence[Value]) -> None:
    """Raise for operands that are leaked tracers or arrays without memory."""
    for x in operands:
        if isinstance(x, Tracer):
            raise leaked(x)
        if type(x) is DeviceArray:
            x.live_buffer("computing")


_literals: dict[Any, DeviceArray] = {}


def _literal_buffer(literal: Any, device: Device) -> Any:
    if type(literal) is not Literal:
        check_operands((literal,))
        raise errors.InternalError("bind", "arrays and literals as operands", repr(type(literal)))
    return literal_array(literal, device).buffer


def literal_array(literal: Literal, device: Place) -> DeviceArray:
    """Return a scalar as an array, kept for the next time (-0.0, NaN and each type apart).

    It is shared, so only programs may have it; what users get is a `fresh_array`, because they may
    delete or donate it.
    """
    found: DeviceArray | None = literal.placed
    if found is None or found.device is not device:
        found = known_number(literal.value, literal.aval, device)
    if found is None or found.is_deleted():
        if len(_literals) > 4096:
            _literals.clear()
        key = (literal.value or str(literal.value), literal.aval, device)
        found = _literals[key] = fresh_array(literal, device)
    literal.placed = found
    return found


def known_number(value: Any, aval: ShapedArray, device: Place) -> DeviceArray | None:
    """Return a Python number of a type as an array, if `literal_array` has made it before."""
    return _literals.get((value or str(value), aval, device))


def fresh_array(literal: Literal, device: Place) -> DeviceArray:
    """Return a scalar as an array in memory of its own."""
    if type(device) is Device:
        return put_numpy(literal.numpy(), literal.aval, device, False)
    return put(literal, replicated(device.mesh))


def convert(x: Any, call: str) -> Value:
    """Make an operand of a Python scalar or NumPy array.

    Raises:
        ArgumentError: if it is neither.
    """
    kind = type(x)
    if kind is bool or kind is int or kind is float or kind is complex:
        return python_literal(x, call)
    if isinstance(x, np.ndarray | np.generic):
        return from_numpy(as_numpy(x, call), call)
    if isinstance(x, bool | int | float | complex):
        return python_literal(x, call)
    if getattr(x, "__jax_array__", None) is not None:
        return as_value(x.__jax_array__(), call)
    if hasattr(x, "__array__") and not isinstance(x, type):
        return from_numpy(read_array(x, call), call)
    raise errors.ArgumentError(
        call,
        "an array or a number",
        f"{x!r} of type {kind.__name__}",
        fix="Convert it with `jnp.asarray`.",
    )


def as_numpy(x: Any, call: str) -> np.ndarray[Any, Any]:
    """Return a NumPy array of any class, or a NumPy scalar, as a plain array.

    Raises:
        ArgumentError: if it is a masked array, whose mask would be lost.
    """
    if type(x) is not np.ndarray and isinstance(x, np.ma.MaskedArray):
        fix = "Fill it, `x.filled(value)`, or pass `x.data` and the mask apart."
        raise errors.ArgumentError(call, "an array without a mask", "a masked array", fix=fix)
    return np.asarray(x)


def read_array(x: Any, call: str) -> np.ndarray[Any, Any]:
    """Return the values of an array of another library.

    Raises:
        ArgumentError: if it does not give them: one that JAX traces, or on a device.
    """
    try:
        return np.asarray(x)
    except Exception as error:
        kind = type(x)
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise errors.ArgumentError(
            call,
            "an array that NumPy can read",
            f"one of type {kind.__module__.split('.')[0]}.{kind.__name__}: {reason}",
        ) from error


def python_literal(value: Any, call: str) -> Literal:
    """Return a Python scalar as a literal of its default dtype; weak, unless it is a bool."""
    kind = type(value)
    dtype = dtypes.python_scalar_dtype(kind)
    if kind not in dtypes.PYTHON_SCALARS:  # an IntEnum, say
        value = dtypes.python_scalar_kind(kind)(value)
    if dtype.kind in "iu":
        dtypes.check_fits(value, dtype, call)
    elif dtype.kind == "f" and dtype.itemsize == 4 and math.isfinite(value) and abs(value) > 3.5e38:
        value = math.inf if value > 0 else -math.inf
    return Literal(value, ShapedArray((), dtype, dtype.kind != "b"))


def from_numpy(
    value: np.ndarray[Any, Any],
    call: str,
    dtype: Any = None,
    device: Device | None = None,
    copy: bool = True,
) -> DeviceArray:
    """Put a NumPy array on a device; 64-bit types become 32-bit ones unless asked for.

    Args:
        value: the array.
        call: the user's function, for messages.
        dtype: the dtype asked for, if any.
        device: where to, if the user said so; else the default device.
        copy: False lets the CPU keep using the array's memory, which must then never change.

    Raises:
        IntegerOverflowError: if an integer does not fit the narrower dtype.
        DtypeError: if XLA has no such dtype.
    """
    check_transfer("host_to_device", call, value, explicit=call == "device_put")
    value, aval = as_device_type(value, call, dtype)
    return put_numpy(value, aval, device or default_device(), device is not None, copy)


def as_device_type(
    value: np.ndarray[Any, Any], call: str, dtype: Any = None
) -> tuple[np.ndarray[Any, Any], ShapedArray]:
    """Return a NumPy array in the dtype that it has on devices, with its type; see `from_numpy`."""
    target = dtype if dtype is not None else dtypes.default_of(dtypes.canonicalize(value.dtype))
    if value.dtype != target:
        if dtype is None and dtypes.is_integer(target):
            dtypes.check_fits(value, target, call)
        value = value.astype(target)
    return value, ShapedArray(value.shape, target)
