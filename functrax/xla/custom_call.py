"""Calls of functions that XLA does not have: their attributes, and making their targets known."""

from collections.abc import Mapping, Sequence
from typing import Any

from functrax.xla._native import jax
from functrax.xla.context import MlirContext
from functrax.xla.mlir import Attribute

#: A layout lists the dimensions from the fastest varying in memory to the slowest.
Layout = tuple[int, ...]

TYPED_FFI = 4  # the only calling convention of StableHLO that is not obsolete

_PLATFORM_NAMES = {"cpu": "Host", "gpu": "CUDA"}


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
) -> dict[str, Attribute]:
    """Return the attributes of a ``stablehlo.custom_call`` of a typed FFI target.

    Args:
        context: the context that they belong to.
        target: the name that the target is registered under.
        operand_layouts: the layout that the target expects of each operand. They are always
            written: without them some targets read out of bounds.
        result_layouts: the layout that it gives each result.
        parameters: what the target receives beside arrays.
        aliases: which result is written over which operand.
        has_side_effect: keep the call even if nobody uses its results.
    """
    attributes = {
        "call_target_name": context.string(target),
        "api_version": context.i32(TYPED_FFI),
        "has_side_effect": context.bool_attr(has_side_effect),
        "backend_config": context.dictionary(parameters or {}),
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


def register_target(name: str, handler: Any, platform: str, api_version: int = 1) -> None:
    """Make a custom call target known to the compiler of a platform of this process.

    Args:
        name: the name that programs call it by.
        handler: a PyCapsule with the address of an XLA FFI handler, or a dictionary of them.
        platform: ``"cpu"``; the targets of plug-ins are registered when they are loaded.
        api_version: 1 for the typed FFI, 0 for the old one.
    """
    native = _PLATFORM_NAMES.get(platform, platform)
    jax.register_custom_call_target(name, handler, native, api_version)
