"""MLIR modules: building, printing, reading, and the forms in which they leave the process.

Building goes through `operation`, a thin layer over ``ir.Operation.create`` with explicit result
types: 3 us an operation, where jaxlib's generated wrappers take 5 to 17 us and 65 ms to import.
The types and attributes come from the `MlirContext` of the thread (`mlir_context`).
"""

import io
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from functrax.errors import ArgumentError, InternalError
from functrax.xla import _native
from functrax.xla.attributes import (
    Attribute,
    Block,
    Location,
    MLIRError,
    Module,
    Operation,
    Region,
    Type,
    Value,
    ir,
)
from functrax.xla.context import MlirContext

__all__ = [
    "Attribute",
    "Block",
    "Location",
    "MLIRError",
    "MlirContext",
    "Module",
    "Operation",
    "Region",
    "Type",
    "Value",
    "add_function",
    "append_block",
    "bytecode",
    "call",
    "create",
    "deserialize_portable",
    "insert_at_end",
    "insert_at_start",
    "mlir_context",
    "module_bytes",
    "module_text",
    "new_module",
    "operation",
    "parse_module",
    "refine_shapes",
    "return_values",
    "serialize_portable",
    "verify",
]

_MOST_CONTEXTS = 16
_contexts: dict[int, MlirContext] = {}
"""By thread. Not a `threading.local`: XLA's own threads run host callbacks, each time with a new
Python state, and a context that is freed together with such a state ends the process.
"""


def mlir_context() -> MlirContext:
    """Return the context of the current thread."""
    thread = threading.get_ident()
    found = _contexts.get(thread)
    if found is None:
        if len(_contexts) >= _MOST_CONTEXTS:
            running = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
            for other in [one for one in list(_contexts) if one not in running]:
                _contexts.pop(other, None)
        found = _contexts[thread] = MlirContext()
    return found


# Building

#: The quickest way to append an operation to the entered block:
#: ``(name, result_types, operands, attributes or None, None, number of regions, location)``.
create: Any = ir.Operation.create


def operation(
    context: MlirContext,
    name: str,
    result_types: Sequence[Type],
    operands: Sequence[Value],
    attributes: Mapping[str, Attribute] | None = None,
    loc: Location | None = None,
    regions: int = 0,
) -> Operation:
    """Append an operation to the block that is entered (`insert_at_end`).

    Args:
        context: the context everything belongs to.
        name: the full name, ``"stablehlo.add"``.
        result_types: one type for each result; nothing is inferred.
        operands: the values it reads.
        attributes: its attributes by name.
        loc: where in the user's code it comes from.
        regions: how many (empty) regions it has.

    Returns:
        The operation: ``.result`` is its only result, ``.results`` are all.
    """
    return create(name, result_types, operands, attributes, None, regions, loc or context.unknown)


def new_module(
    context: MlirContext, name: str = "main", attributes: Mapping[str, Attribute] | None = None
) -> Module:
    """Return an empty module.

    Args:
        context: the context it belongs to.
        name: its symbol name, under which XLA reports it in dumps and profiles.
        attributes: further attributes, such as ``mhlo.num_partitions``.
    """
    module = ir.Module.create(context.unknown)
    own = module.operation.attributes
    own["sym_name"] = context.string(name)
    for key, value in (attributes or {}).items():
        own[key] = value
    return module


def add_function(
    context: MlirContext,
    module: Module,
    name: str,
    inputs: Sequence[Type],
    outputs: Sequence[Type],
    *,
    public: bool = False,
    argument_attributes: Sequence[Mapping[str, Attribute]] | None = None,
    result_attributes: Sequence[Mapping[str, Attribute]] | None = None,
    argument_locations: Sequence[Location] | None = None,
    loc: Location | None = None,
) -> tuple[Operation, Block]:
    """Append a function to a module.

    Args:
        context: the context of the module.
        module: the module.
        name: its symbol name; the entry point must be a public ``main``.
        inputs: the types of its arguments.
        outputs: the types of its results.
        public: whether it can be called from outside.
        argument_attributes: one mapping for each argument, such as ``{"tf.aliasing_output": i32}``.
        result_attributes: one mapping for each result.
        argument_locations: where each argument comes from.
        loc: where the function comes from.

    Returns:
        The function, and its entry block, whose ``.arguments`` are the values passed in.
    """
    attributes = {
        "sym_name": context.string(name),
        "function_type": context.type_attribute(context.function_type(inputs, outputs)),
        "sym_visibility": context.string("public" if public else "private"),
    }
    for key, mappings in (("arg_attrs", argument_attributes), ("res_attrs", result_attributes)):
        if mappings is not None and any(mappings):
            attributes[key] = context.array([context.dictionary(one) for one in mappings])
    with ir.InsertionPoint(module.body):
        function = operation(context, "func.func", (), (), attributes, loc, regions=1)
    return function, append_block(context, function.regions[0], inputs, argument_locations)


def append_block(
    context: MlirContext,
    region: Region,
    arguments: Sequence[Type],
    locations: Sequence[Location] | None = None,
) -> Block:
    """Append a block to a region (``op.regions[i]``) of a function, loop, branch or reduction."""
    locations = locations or [context.unknown] * len(arguments)
    return region.blocks.append(*arguments, arg_locs=locations)


def insert_at_end(block: Block) -> Any:
    """Return a context manager: inside, `operation` appends to this block."""
    return ir.InsertionPoint(block)


def insert_at_start(block: Block) -> Any:
    """Return a context manager: inside, `operation` inserts at the beginning of this block."""
    return ir.InsertionPoint.at_block_begin(block)


def call(
    context: MlirContext,
    name: str,
    result_types: Sequence[Type],
    operands: Sequence[Value],
    loc: Location | None = None,
) -> Operation:
    """Append a call of a function of the same module."""
    return operation(
        context, "func.call", result_types, operands, {"callee": context.symbol(name)}, loc
    )


def return_values(
    context: MlirContext, values: Sequence[Value], kind: str = "stablehlo.return"
) -> None:
    """End the entered block with its results; functions need the kind ``"func.return"``."""
    operation(context, kind, (), values)


# Text and bytes


def module_text(module: Module, source: bool = False) -> str:
    """Return the module in MLIR's text form, with source locations if asked."""
    return module.operation.get_asm(enable_debug_info=source, large_elements_limit=None)


def module_bytes(module: Module) -> bytes:
    """Return the module as bytecode without locations and name: equal programs, equal bytes."""
    bare = module.operation.clone()
    if "sym_name" in bare.attributes:
        del bare.attributes["sym_name"]
    _strip_locations(module.context).run(bare)
    return bytecode(bare)


def bytecode(module: Module | Operation) -> bytes:
    """Return a module as MLIR's bytecode."""
    buffer = io.BytesIO()
    getattr(module, "operation", module).write_bytecode(buffer)
    return buffer.getvalue()


def _strip_locations(context: Any) -> Any:
    from jaxlib.mlir._mlir_libs._mlir import passmanager  # not needed by every program

    passes: Any = passmanager.PassManager.parse("builtin.module(strip-debuginfo)", context=context)
    passes.enable_verifier(False)  # half of the time; the module was checked or soon will be
    return passes


def parse_module(source: str | bytes, context: MlirContext | None = None) -> Module:
    """Return the module of a text or bytecode.

    Raises:
        ArgumentError: it does not parse.
    """
    context = context or mlir_context()
    context.load_shardy()
    try:
        return ir.Module.parse(source, context.context)
    except MLIRError as error:
        raise ArgumentError("parse_module", "a StableHLO module", str(error)) from None


def verify(module: Module) -> None:
    """Check a module that functrax built; a test and debugging aid, as XLA checks it again.

    Raises:
        InternalError: MLIR does not accept it.
    """
    try:
        module.operation.verify()
    except MLIRError as error:
        raise InternalError("lower", "a module that MLIR accepts", str(error)) from None


def serialize_portable(module: Module, version: str | None = None) -> bytes:
    """Return the module as a StableHLO portable artifact, which other versions can read.

    Args:
        module: the module.
        version: the StableHLO version to write; by default the one that every consumer of the last
            12 weeks reads.
    """
    from jaxlib.mlir._mlir_libs import _stablehlo

    native: Any = _stablehlo
    if version is None:
        requirement = native.StablehloCompatibilityRequirement.WEEK_12
        version = native.get_version_from_compatibility_requirement(requirement)
    return _native.jax.mlir.serialize_portable_artifact(module, version, False)


def deserialize_portable(artifact: bytes, context: MlirContext | None = None) -> Module:
    """Return the module of a StableHLO portable artifact.

    Raises:
        ArgumentError: it is not one, or was written by a version that is too new.
    """
    context = context or mlir_context()
    context.load_shardy()
    try:
        return _native.jax.mlir.deserialize_portable_artifact(artifact, context.context)
    except (MLIRError, RuntimeError, ValueError) as error:
        raise ArgumentError("deserialize", "a StableHLO portable artifact", str(error)) from None


def refine_shapes(bytecode: bytes) -> bytes:
    """Give every value of a module its static shape, from the static arguments of ``main``.

    Args:
        bytecode: a module whose inner values have dynamic dimensions.

    Raises:
        ArgumentError: a shape assertion of the module fails, or a dimension stays unknown.
    """
    try:
        return _native.jax.mlir.refine_polymorphic_shapes(
            bytecode, enable_shape_assertions=True, validate_static_shapes=True
        )
    except (MLIRError, RuntimeError, ValueError) as error:
        raise ArgumentError("refine_shapes", "shapes that fit the program", str(error)) from None
