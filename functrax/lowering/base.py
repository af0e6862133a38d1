"""What every operation of the builder is written with: types, constants, elementwise operations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.jaxpr import Atom
from functrax.core.types import Literal, ShapedArray
from functrax.sharding.shardings import NamedSharding
from functrax.xla import mlir
from functrax.xla.callbacks import HostFunction, callback_attributes
from functrax.xla.custom_call import Layout, custom_call_attributes, row_major

Value = Any
Attribute = Any


class BaseBuilder:
    """Appends operations to the block that is being written.

    Attributes:
        context: the MLIR context of this thread.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
        lower_jaxpr: ``(jaxpr, operands, name) -> results``: writes a program as a function of its
            own and calls it.
        outline: ``(name, params, operands, body) -> results``: writes what `body` does for the
            current equation as a function of its own, once for each name, params and types, and
            calls it.
        in_atoms: the operands of the equation being lowered.
        in_types: their types.
        out_types: its result types.
        location: where in the user's code it came from.
        shared: literals and stretched operands of the block, to be used again.
        callbacks: the host functions that the module calls, by number.
        meshes: the meshes of the module, or None for a program on one device.
        mesh_axes: name and size of each axis of the mesh whose devices run what is being written,
            outermost first; none outside of a manual computation.
        auto: that mesh and those of its axes that are left to the compiler.
    """

    __slots__ = (
        "_channels",
        "_types",
        "auto",
        "callbacks",
        "context",
        "in_atoms",
        "in_types",
        "location",
        "lower_jaxpr",
        "mesh_axes",
        "meshes",
        "out_types",
        "outline",
        "platform",
        "shared",
    )

    def __init__(
        self,
        context: mlir.MlirContext,
        platform: str,
        lower_jaxpr: Callable[..., list[Value]],
        outline: Callable[..., list[Value]],
    ) -> None:
        """Write into the blocks entered by the caller; see the class for the arguments."""
        self.context = context
        self.platform = platform
        self.lower_jaxpr = lower_jaxpr
        self.outline = outline
        self.in_atoms: Sequence[Atom] = ()
        self.in_types: tuple[ShapedArray, ...] = ()
        self.out_types: tuple[ShapedArray, ...] = ()
        self.location: Any = context.unknown
        self.shared: dict[Any, Value] = {}
        self.callbacks: list[HostFunction] = []
        self.meshes: Any = None
        self.mesh_axes: tuple[tuple[Any, int], ...] = ()
        self.auto: tuple[Any, tuple[Any, ...]] = (None, ())
        self._channels = 0
        self._types: dict[ShapedArray, tuple[Any]] = {}

    # The general form -----------------------------------------------------------------------------

    def type(self, aval: ShapedArray) -> Any:
        """Return the MLIR type of a type; a PRNG key is its words along a trailing axis."""
        return self._types_of(aval)[0]

    def _types_of(self, aval: ShapedArray) -> tuple[Any]:
        """Return the types of the results of an operation that has one."""
        found = self._types.get(aval)
        if found is None:
            shape, dtype = physical_type(aval)
            found = self._types[aval] = (self.context.tensor_type(shape, dtype),)
        return found

    def op(
        self,
        name: str,
        operands: Sequence[Value],
        out: ShapedArray,
        attributes: dict[str, Attribute] | None = None,
    ) -> Value:
        """Append an operation with one result."""
        types = self._types.get(out) or self._types_of(out)
        return mlir.create(name, types, operands, attributes, None, 0, self.location).result

    def multi_op(
        self,
        name: str,
        operands: Sequence[Value],
        outs: Sequence[ShapedArray],
        attributes: dict[str, Attribute] | None = None,
        regions: int = 0,
    ) -> Any:
        """Append an operation with several results or regions and return it.

        Its ``.results`` are values; `region` fills its ``.regions``.
        """
        types = [self.type(out) for out in outs]
        return mlir.create(name, types, operands, attributes, None, regions, self.location)

    def region(
        self,
        region: Any,
        types: Sequence[ShapedArray],
        body: Callable[..., Sequence[Value]],
        kind: str = "stablehlo.return",
    ) -> None:
        """Fill a region: `body` receives its arguments and returns its results, by an operation of
        some kind.
        """
        block = mlir.append_block(self.context, region, [self.type(aval) for aval in types])
        saved = self.in_types, self.out_types, self.shared
        self.shared = {}  # what is written inside cannot be used outside
        with mlir.insert_at_end(block):
            mlir.return_values(self.context, list(body(*block.arguments)), kind)
        self.in_types, self.out_types, self.shared = saved

    def constrain(self, x: Value, sharding: NamedSharding) -> Value:
        """Say how a value, the equation's result, lies on the devices of the program."""
        aval = self.out_types[0]
        ndim = len(physical_type(aval)[0])
        attributes = {"sharding": self.meshes.sharding(sharding, ndim)}
        return self.op("sdy.sharding_constraint", (x,), aval, attributes)

    def next_channel(self) -> int:
        """Return a number for a collective that no other one of the module has."""
        self._channels += 1
        return self._channels

    def host_call(
        self,
        function: HostFunction,
        operands: Sequence[Value],
        *,
        has_side_effect: bool,
        call: str,
        device: Any = None,
        partitioned: bool = False,
    ) -> list[Value]:
        """Call a host function (`functrax.xla.callbacks`) with the operands of the equation.

        Args:
            function: what to call; a program may call one several times.
            operands: what it is given.
            has_side_effect: whether to call it even if nobody uses its results.
            call: what the user called, for messages.
            device: for which device it is called, once and with whole values; by default the first,
                or, if it has no side effect, all.
            partitioned: whether each device must call it with its own part.

        Raises:
            ArgumentError: if a device is named, or is not in the program, or parts are wanted where
                the compiler divides.
        """
        if function not in self.callbacks:
            self.callbacks.append(function)
        attributes = callback_attributes(
            self.context,
            self.platform,
            self.callbacks.index(function),
            [len(physical_type(aval)[0]) for aval in self.in_types],
            [len(physical_type(aval)[0]) for aval in self.out_types],
            has_side_effect,
        )
        if self.mesh_axes and device is not None:
            raise errors.ArgumentError(
                call,
                "no sharding inside of shard_map and pmap, where each device calls",
                str(device),
            )
        if self.meshes is not None and not self.mesh_axes and (has_side_effect or device):
            # Of the whole values, once; inside a manual computation, each device calls it.
            devices = self.meshes.mesh.device_tuple
            if partitioned and len(devices) > 1:
                raise errors.ArgumentError(
                    call,
                    "partitioned=True inside of shard_map or pmap, where each device has its part",
                    f"it in a program over {self.meshes.mesh!r} that the compiler divides",
                )
            if device is not None and device not in devices:
                got = f"{device} for {self.meshes.mesh!r}"
                raise errors.ArgumentError(call, "a sharding on a device of the mesh", got)
            # The first one does it for any other of its process: what another one returns is lost
            # on the way to the rest (XLA of jaxlib 0.10.2; JAX's results are zeros).
            attributes["sdy.sharding"] = self.meshes.on_first_device(len(self.out_types))
        name = "stablehlo.custom_call"
        return list(self.multi_op(name, operands, self.out_types, attributes).results)

    def custom_call(
        self,
        target: str,
        operands: Sequence[Value],
        operand_layouts: Sequence[Layout | None] | None = None,
        result_layouts: Sequence[Layout | None] | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """Call a registered target with the operands of the equation.

        Args:
            target: the name that it is registered under.
            operands: what it is given.
            operand_layouts: the layout that it expects of each operand; None for rows.
            result_layouts: the layout that it gives each result; None for rows.
            **attributes: the rest, for `functrax.xla.custom_call.custom_call_attributes`.
        """
        written = custom_call_attributes(
            self.context,
            target,
            _layouts(operand_layouts, self.in_types),
            _layouts(result_layouts, self.out_types),
            **attributes,
        )
        name = "stablehlo.custom_call"
        return list(self.multi_op(name, operands, self.out_types, written).results)

    # Constants ------------------------------------------------------------------------------------

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """Write a small array into the program."""
        data = np.asarray(array, dtype)
        return self.op(
            "stablehlo.constant",
            (),
            ShapedArray(data.shape, data.dtype),
            {"value": self.context.constant(data)},
        )

    def literal(self, literal: Literal) -> Value:
        """Write a scalar, once in each block."""
        value = literal.value
        # Zeros and complex numbers by their text, which tells -0.0 from 0.0.
        key = (value if value and type(value) is not complex else repr(value), literal.aval)
        found = self.shared.get(key)
        if found is None:
            found = self.shared[key] = self.constant(literal.numpy())
        return found

    def full(self, value: Any, aval: ShapedArray) -> Value:
        """Write a constant of one repeated value."""
        data = np.broadcast_to(np.asarray(value, aval.dtype), aval.shape)
        if aval.size > 64:
            # One element and a broadcast: the attribute of a large splat would be made from a
            # large array.
            element = self.constant(np.asarray(value, aval.dtype))
            return self.broadcast(element, aval, ())
        return self.op("stablehlo.constant", (), aval, {"value": self.context.constant(data)})

    # Elementwise ----------------------------------------------------------------------------------

    def broadcast(self, x: Value, out: ShapedArray, dims: Sequence[int]) -> Value:
        """Place the axes of x at `dims` of the result and repeat along the others."""
        attributes = {"broadcast_dimensions": self.context.i64_array(dims)}
        return self.op("stablehlo.broadcast_in_dim", (x,), out, attributes)

    def stretch(self, x: Value, aval: ShapedArray, shape: tuple[int, ...]) -> Value:
        """Broadcast an elementwise operand (a scalar, or unit sizes at equal rank) to a shape."""
        if aval.shape == shape:
            return x
        found = self.shared.get((x, shape))
        if found is None:
            dims = tuple(range(len(shape))) if aval.shape else ()
            found = self.broadcast(x, ShapedArray(shape, aval.dtype), dims)
            self.shared[x, shape] = found
        return found

    def elementwise(self, name: str, operands: Sequence[Value]) -> Value:
        """Append an elementwise operation of the equation's operands."""
        out = self.out_types[0]
        shape = out.shape
        for aval in self.in_types:
            if aval.shape != shape:
                pairs = zip(operands, self.in_types, strict=True)
                operands = [self.stretch(x, aval, shape) for x, aval in pairs]
                break
        return self.op(name if "." in name else "stablehlo." + name, operands, out)

    def compare(
        self, direction: str, x: Value, y: Value, aval: ShapedArray, *, total_order: bool = False
    ) -> Value:
        """Compare two values of one type: EQ NE LT LE GT GE; in a total order, NaN is largest."""
        if dtypes.is_inexact(aval.dtype):
            kind = "TOTALORDER" if total_order else "FLOAT"
        else:
            kind = (
                "UNSIGNED"
                if dtypes.is_unsigned(aval.dtype) or dtypes.is_bool(aval.dtype)
                else "SIGNED"
            )
        attributes = {
            "comparison_direction": self.context.comparison(direction),
            "compare_type": self.context.comparison_type(kind),
        }
        return self.op(
            "stablehlo.compare",
            (x, y),
            aval.update(dtype=np.dtype(bool), weak_type=False),
            attributes,
        )

    def convert(self, x: Value, out: ShapedArray) -> Value:
        """Convert elements to the dtype of `out`."""
        return self.op("stablehlo.convert", (x,), out)

    def bitcast(self, x: Value, out: ShapedArray) -> Value:
        """Reinterpret bits."""
        return self.op("stablehlo.bitcast_convert", (x,), out)

    def select(self, which: Value, on_true: Value, on_false: Value, out: ShapedArray) -> Value:
        """Choose elementwise by a boolean."""
        return self.op("stablehlo.select", (which, on_true, on_false), out)


def _layouts(given: Sequence[Layout | None] | None, types: Sequence[ShapedArray]) -> list[Layout]:
    rows = [row_major(len(physical_type(aval)[0])) for aval in types]
    return rows if given is None else [a or b for a, b in zip(given, rows, strict=True)]


def physical_type(aval: ShapedArray) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of the buffer that holds a value: PRNG keys are their words."""
    if dtypes.is_extended(aval.dtype):
        return (*aval.shape, *aval.dtype.key_shape), np.dtype(np.uint32)
    return aval.shape, aval.dtype
