"""Failures that XLA reports, said in functrax's words."""

import re

from functrax.errors import (
    DeviceError,
    DonatedError,
    ExecutionError,
    FunctraxError,
    MissingTargetError,
    OutOfMemoryError,
)
from functrax.xla._native import JaxRuntimeError

#: What jaxlib raises when a launch is refused or fails.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (JaxRuntimeError, ValueError)

_CALLBACK_MARK = re.compile(r"functrax-callback-failure-(\d+)")
_NO_TARGET = re.compile(
    r"No FFI handler registered for (\S+) on a platform (\w+)"
    r"|No registered implementation for untyped custom call to (\S+) for (\w+)"
)
_MAX_KEPT = 64

# What host callbacks raised lately, by number: their failures reach the user only as text.
_callback_failures: dict[int, BaseException] = {}


def callback_message(number: int, error: BaseException) -> str:
    """Return the text that a failing host callback raises, by which `translate` knows it."""
    return f"functrax-callback-failure-{number}: {type(error).__name__}: {error}"


def keep_callback_failure(number: int, error: BaseException) -> None:
    """Remember what a callback raised until its program's failure is seen (the last 64 of them)."""
    _callback_failures[number] = error
    while len(_callback_failures) > _MAX_KEPT:
        del _callback_failures[next(iter(_callback_failures))]


def translate(error: BaseException, call: str) -> BaseException:
    """Return the error to raise for one that jaxlib raised.

    Args:
        error: what jaxlib raised while `call` ran.
        call: the function that the user called.

    Returns:
        The very exception of a failed host callback, or a `FunctraxError`.
    """
    text = str(error)
    if mark := _CALLBACK_MARK.search(text):
        original = _callback_failures.get(int(mark[1]))
        if original is not None:
            return original
    return _classify(text, getattr(error, "error_code_string", None), call)


def _classify(text: str, code: str | None, call: str) -> FunctraxError:
    code = code or text.partition(":")[0]
    if code == "RESOURCE_EXHAUSTED" or "Out of memory" in text:
        return OutOfMemoryError(
            call,
            "enough device memory",
            text,
            fix="Use a smaller batch or dtype, donate arguments, or checkpoint the program.",
        )
    if "deleted" in text:
        return DonatedError(
            call,
            "live arrays",
            text,
            fix="Use the result of the call that took the array, or do not donate it.",
        )
    if "donate" in text.lower():
        return DonatedError(
            call, "each donated array once among the arguments", text, fix="Pass a copy of it."
        )
    if missing := _NO_TARGET.search(text):
        name, platform = missing[1] or missing[3], missing[2] or missing[4]
        platform = {"Host": "cpu"}.get(platform, platform)
        return MissingTargetError(
            call,
            f"a custom call target that is registered for the platform {platform!r}",
            repr(name),
            fix="Register it with `functrax.ffi.register_ffi_target` before the program is "
            "compiled.",
        )
    if code == "FAILED_PRECONDITION" and "devices" in text:
        return DeviceError(call, "a device", text)
    return ExecutionError(call, "a program that XLA can run", text)
