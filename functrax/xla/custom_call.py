"""Calls of functions that XLA does not have: their attributes, and making their targets known."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jaxlib

from functrax.errors import ArgumentError, type_name
from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.context import MlirContext
from functrax.xla.mlir import Attribute

#: A layout lists the dimensions from the fastest varying in memory to the slowest.
Layout = tuple[int, ...]

TYPED_FFI = 4  # the only calling convention of StableHLO that is not obsolete

_PLATFORM_NAMES = {"cpu": "Host", "gpu": "CUDA", "cuda": "CUDA", "Host": "Host", "CUDA": "CUDA"}


def row_major(rank: int) -> Layout:
    """Return the layout of a C array."""
    return tuple(range(rank - 1, -1, -1))


def column_major(rank: int) -> Layout:
    """Return the layout of a batch of Fortran matrices: only the last two dimensions swap."""
    return (rank - 2, rank - 1, *range(rank - 3, -1, -1))


def custom_call_attributes(
    context: MlirContext,
    target: str,
    operand_layouts: Sequence[Layout],
    result_layouts: Sequence[Layout],
    parameters: Mapping[str, Attribute] | None = None,
    aliases: Mapping[int, int] | None = None,
    has_side_effect: bool = False,
    api_version: int = TYPED_FFI,
    legacy_config: str = "",
) -> dict[str, Attribute]:
    """Return the attributes of a ``stablehlo.custom_call``, of a typed FFI target by default.

    Args:
        context: the context that they belong to.
        target: the name that the target is registered under.
        operand_layouts: the layout that the target expects of each operand. They are always
            written: without them some targets read out of bounds.
        result_layouts: the layout that it gives each result.
        parameters: what the target receives beside arrays.
        aliases: which result is written over which operand.
        has_side_effect: keep the call even if nobody uses its results.
        api_version: the calling convention.
        legacy_config: what targets of the older conventions receive instead of parameters.
    """
    typed = api_version >= TYPED_FFI
    attributes = {
        "call_target_name": context.string(target),
        "api_version": context.i32(api_version),
        "has_side_effect": context.bool_attr(has_side_effect),
        "backend_config": context.dictionary(parameters or {})
        if typed
        else context.string(legacy_config),
        "operand_layouts": context.array([context.index_vector(one) for one in operand_layouts]),
        "result_layouts": context.array([context.index_vector(one) for one in result_layouts]),
    }
    if aliases:
        single = len(result_layouts) == 1
        attributes["output_operand_aliases"] = context.array(
            [
                context.output_operand_alias(() if single else (result,), operand)
                for result, operand in aliases.items()
            ]
        )
    return attributes


def _native_platform(call: str, platform: str) -> str:
    if platform not in _PLATFORM_NAMES:
        raise ArgumentError(call, "the platform 'cpu', or 'gpu' ('cuda', 'CUDA')", repr(platform))
    return _PLATFORM_NAMES[platform]


def register_target(
    name: str, handler: Any, platform: str, api_version: int = 1, traits: int = 0
) -> None:
    """Make a custom call target known to the compiler of a platform of this process.

    Args:
        name: the name that programs call it by.
        handler: a PyCapsule with the address of an XLA FFI handler, or a dictionary of them.
        platform: ``"cpu"``, ``"gpu"``; a plug-in that is not loaded yet gets it when it is.
        api_version: 1 for the typed FFI, 0 for the old one.
        traits: what else the compiler may assume of it.

    Raises:
        ArgumentError: the handler is not one, or the name is taken by another one, or the platform
            is not known.
    """
    native = _native_platform("register_ffi_target", platform)
    try:
        if native == "Host":
            jax.register_custom_call_target(name, handler, native, api_version, traits)
        else:
            from jaxlib import xla_client  # keeps what plug-ins are told when they are loaded

            queue: Any = xla_client
            queue.register_custom_call_target(name, handler, native, api_version, traits)
    except (JaxRuntimeError, TypeError) as error:
        raise ArgumentError(
            "register_ffi_target",
            "a new name, and a PyCapsule of a handler or a dictionary of them by stage",
            f"{name!r}, {handler!r}: {error}",
            fix="Make the PyCapsule with `functrax.ffi.pycapsule`.",
        ) from None


def register_type(name: str, registration: Any, platform: str) -> None:
    """Make a type of the states that handlers keep known to the compiler of a platform.

    Args:
        name: the name of the type.
        registration: PyCapsules of its ``"type_id"`` and ``"type_info"``.
        platform: as for `register_target`.

    Raises:
        ArgumentError: the registration is not one, or the name is taken by another one, or the
            platform is not known.
    """
    native = _native_platform("register_ffi_type", platform)
    try:
        if native == "Host":
            jax.register_custom_type(name, registration)
        else:
            from jaxlib import xla_client  # as above

            queue: Any = xla_client
            queue.register_custom_type(name, registration, native)
    except (JaxRuntimeError, TypeError) as error:
        raise ArgumentError(
            "register_ffi_type",
            'a new name, and a dictionary of the PyCapsules "type_id" and "type_info"',
            f"{name!r}, {registration!r}: {error}",
        ) from None


def pycapsule(funcptr: Any) -> Any:
    """Return a PyCapsule of the address of a C function.

    Args:
        funcptr: a function of a `ctypes` library, or its address.

    Raises:
        ArgumentError: it is neither.

    Example:
        >>> import ctypes
        >>> from functrax import ffi
        >>> type(ffi.pycapsule(ctypes.CDLL(None).abs)).__name__
        'PyCapsule'
    """
    import ctypes  # few processes need it

    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    try:
        if not isinstance(funcptr, str | bytes):  # which ctypes would take, with their own address
            return new(funcptr, None, None)
    except (ctypes.ArgumentError, ValueError):
        pass
    raise ArgumentError(
        "pycapsule",
        "a function of a ctypes library, or its address",
        f"{funcptr!r} of type {type_name(funcptr)}",
    )


def include_dir() -> str:
    """Return the folder of the headers that jaxlib brings, for the compiler's option ``-I``.

    Example:
        >>> import os
        >>> from functrax import ffi
        >>> os.listdir(os.path.join(ffi.include_dir(), "xla"))
        ['ffi']
    """
    return os.path.join(next(iter(jaxlib.__path__)), "include")
