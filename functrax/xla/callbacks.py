"""Host callbacks: Python functions that a running program calls.

jaxlib copies as many bytes as it expects from whatever a callback returns, so a result of another
shape or dtype would be read out of bounds, and it turns exceptions into text. The wrapper made
here checks every result, and keeps the exception for `functrax.xla.failure` to raise it again.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from functrax.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from functrax.xla.context import MlirContext
from functrax.xla.custom_call import custom_call_attributes, row_major
from functrax.xla.executable import OutType
from functrax.xla.failure import callback_message, keep_callback_failure
from functrax.xla.mlir import Attribute

NDArray: TypeAlias = np.ndarray[Any, Any]
HostFunction: TypeAlias = Callable[..., tuple[Any, ...]]

_TARGETS = {"cpu": "xla_ffi_python_cpu_callback", "gpu": "xla_ffi_python_gpu_callback"}
_SHARD_TARGETS = {
    "cpu": "xla_ffi_partitioned_python_cpu_callback",
    "gpu": "xla_ffi_partitioned_python_gpu_callback",
}

_numbers = itertools.count()


def host_function(
    function: Callable[..., Sequence[Any]],
    out_types: Sequence[OutType],
    call: str = "pure_callback",
) -> HostFunction:
    """Return the function to compile a program with, in the place of the user's.

    Args:
        function: gets read-only NumPy arrays and returns a sequence of arrays.
        out_types: shape and dtype that each result must have.
        call: the function that the user called, for errors.
    """
    out_types = tuple(out_types)

    def run(*operands: Any) -> tuple[Any, ...]:
        try:
            return tuple(checked_results(function(*operands), out_types, call))
        except BaseException as error:
            number = next(_numbers)
            keep_callback_failure(number, error)
            raise RuntimeError(callback_message(number, error)) from None

    return run


def checked_results(
    results: Sequence[Any], out_types: Sequence[OutType], call: str
) -> list[NDArray]:
    """Return what a host function returned as arrays of the types it must have.

    Raises:
        ArgumentError, ShapeError, DtypeError: it returned something else.
    """
    if len(results) != len(out_types):
        raise ArgumentError(
            call,
            f"{len(out_types)} results from the host function",
            f"{len(results)}",
            fix="Return what its result_shape_dtypes say.",
        )
    return [
        _checked_result(result, out_type, call)
        for result, out_type in zip(results, out_types, strict=True)
    ]


def _checked_result(result: Any, out_type: OutType, call: str) -> NDArray:
    shape, dtype = out_type
    if isinstance(result, (bool, int, float, complex)):  # has no dtype of its own
        result = _number(result, dtype, call)
    array: NDArray = np.asarray(result)
    expected = "a host function's result of "
    if array.shape != shape:
        raise ShapeError(call, f"{expected}shape {shape}", f"shape {array.shape}")
    if array.dtype.newbyteorder("=") != dtype:
        fix = f"Return it as .astype('{dtype}')."
        raise DtypeError(call, f"{expected}dtype {dtype}", f"dtype {array.dtype}", fix=fix)
    return np.asarray(array, dtype, order="C")


def _number(number: Any, dtype: Any, call: str) -> NDArray:
    """Return a Python number as an array; only floats may round it."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        array = np.asarray(number, dtype)
        if array.item() == number or np.asarray(0.5, dtype).item() == 0.5:
            return array
    expected = f"a host function's result of dtype {dtype}"
    raise DtypeError(call, expected, repr(number), fix="Return a number that this dtype holds.")


def callback_attributes(
    context: MlirContext,
    platform: str,
    index: int,
    operand_ranks: Sequence[int],
    result_ranks: Sequence[int],
    has_side_effect: bool,
    per_shard: bool = False,
) -> dict[str, Attribute]:
    """Return the attributes of the ``stablehlo.custom_call`` that calls a host function.

    Args:
        context: the context that they belong to.
        platform: of the program.
        index: the position of the function in the `callbacks` of `Client.compile`.
        operand_ranks: the number of dimensions of each operand.
        result_ranks: the same of each result.
        has_side_effect: keep the call even if nobody uses its results.
        per_shard: call once for each device with its part; such a call has no results.

    Raises:
        DeviceError: the platform has no host callbacks.
    """
    targets = _SHARD_TARGETS if per_shard else _TARGETS
    if platform not in targets:
        raise DeviceError("pure_callback", "a platform with host callbacks", platform)
    return custom_call_attributes(
        context,
        targets[platform],
        [row_major(rank) for rank in operand_ranks],
        [row_major(rank) for rank in result_ranks],
        parameters={"index": context.ui64(index)},
        has_side_effect=has_side_effect,
    )
