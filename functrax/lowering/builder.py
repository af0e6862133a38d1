"""The builder that lowering rules write StableHLO with: one method per operation, plain Python
arguments.

A rule is called as ``lower(b, *operands, **params)``. ``b.in_types`` and ``b.out_types`` are the
types of the equation; operands and results are opaque values.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.types import ShapedArray
from functrax.xla import mlir

Value = Any
Attribute = Any
Indices = Sequence[int]


class Builder:
    """Appends StableHLO operations to the function that is being written.

    Attributes:
        in_types: the operand types of the equation being lowered.
        out_types: its result types.
        location: where in the user's code it came from.
    """

    __slots__ = (
        "context",
        "in_types",
        "location",
        "lower_jaxpr",
        "out_types",
        "outline",
        "platform",
        "stretched",
    )

    def __init__(
        self,
        context: mlir.MlirContext,
        platform: str,
        lower_jaxpr: Callable[..., list[Value]],
        outline: Callable[..., list[Value]],
    ) -> None:
        """Write into the blocks entered by the caller.

        Args:
            context: the MLIR context of this thread.
            platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
            lower_jaxpr: ``(jaxpr, operands, name) -> results``: writes a program as a function of
                its own and calls it.
            outline: ``(name, params, operands, body) -> results``: writes what `body` does for the
                current equation as a function of its own, once for each name, params and types, and
                calls it.
        """
        self.context = context
        self.platform = platform
        self.lower_jaxpr = lower_jaxpr
        self.outline = outline
        self.in_types: tuple[ShapedArray, ...] = ()
        self.out_types: tuple[ShapedArray, ...] = ()
        self.location: Any = None
        self.stretched: dict[Any, Value | None] = {}
        """Literals of the function being written (to None), and by (literal, shape) stretched."""

    # The general form -----------------------------------------------------------------------------

    def type(self, aval: ShapedArray) -> Any:
        """Return the MLIR type of a type; a PRNG key is its words along a trailing axis."""
        if dtypes.is_extended(aval.dtype):
            return self.context.tensor_type(
                (*aval.shape, *aval.dtype.key_shape), np.dtype(np.uint32)
            )
        return self.context.tensor_type(aval.shape, aval.dtype)

    def op(
        self,
        name: str,
        operands: Sequence[Value],
        out: ShapedArray,
        attributes: dict[str, Attribute] | None = None,
    ) -> Value:
        """Append an operation with one result."""
        return mlir.operation(
            self.context, name, (self.type(out),), operands, attributes, self.location
        ).result

    def multi_op(
        self,
        name: str,
        operands: Sequence[Value],
        outs: Sequence[ShapedArray],
        attributes: dict[str, Attribute] | None = None,
        regions: int = 0,
    ) -> Any:
        """Append an operation with several results or regions and return it (``.results``,
        ``.regions``).
        """
        types = [self.type(out) for out in outs]
        return mlir.operation(
            self.context, name, types, operands, attributes, self.location, regions
        )

    def region(
        self, region: Any, types: Sequence[ShapedArray], body: Callable[..., Sequence[Value]]
    ) -> None:
        """Fill a region: `body` receives its arguments and returns its results."""
        block = mlir.append_block(self.context, region, [self.type(aval) for aval in types])
        saved = self.in_types, self.out_types
        with mlir.insert_at_end(block):
            mlir.return_values(self.context, list(body(*block.arguments)))
        self.in_types, self.out_types = saved

    # Constants and elementwise --------------------------------------------------------------------

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """Write a small array into the program."""
        data = np.asarray(array, dtype)
        return self.op(
            "stablehlo.constant",
            (),
            ShapedArray(data.shape, data.dtype),
            {"value": self.context.constant(data)},
        )

    def full(self, value: Any, aval: ShapedArray) -> Value:
        """Write a constant of one repeated value."""
        data = np.broadcast_to(np.asarray(value, aval.dtype), aval.shape)
        if aval.size > 64:
            # One element and a broadcast: the attribute of a large splat would be made from a
            # large array.
            element = self.constant(np.asarray(value, aval.dtype))
            return self.broadcast(element, aval, ())
        return self.op("stablehlo.constant", (), aval, {"value": self.context.constant(data)})

    def stretch(self, x: Value, aval: ShapedArray, shape: tuple[int, ...]) -> Value:
        """Broadcast an elementwise operand (a scalar, or unit sizes at equal rank) to a shape."""
        if aval.shape == shape:
            return x
        if aval.shape:
            return self.broadcast(x, aval.update(shape=shape), tuple(range(len(shape))))
        if x not in self.stretched:
            return self.broadcast(x, aval.update(shape=shape), ())
        found = self.stretched.get((x, shape))
        if found is None:
            found = self.broadcast(x, aval.update(shape=shape), ())
            self.stretched[x, shape] = found
        return found

    def elementwise(self, name: str, operands: Sequence[Value]) -> Value:
        """Append an elementwise operation of the equation's operands."""
        out = self.out_types[0]
        shape = out.shape
        if any(aval.shape != shape for aval in self.in_types):
            operands = [
                self.stretch(x, aval, shape)
                for x, aval in zip(operands, self.in_types, strict=True)
            ]
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

    # Shape ----------------------------------------------------------------------------------------

    def broadcast(self, x: Value, out: ShapedArray, dims: Indices) -> Value:
        """Place the axes of x at `dims` of the result and repeat along the others."""
        return self.op(
            "stablehlo.broadcast_in_dim",
            (x,),
            out,
            {"broadcast_dimensions": self.context.i64_array(dims)},
        )

    def reshape(self, x: Value, out: ShapedArray) -> Value:
        """Give the same elements another shape."""
        return self.op("stablehlo.reshape", (x,), out)

    def transpose(self, x: Value, out: ShapedArray, permutation: Indices) -> Value:
        """Permute axes."""
        return self.op(
            "stablehlo.transpose", (x,), out, {"permutation": self.context.i64_array(permutation)}
        )

    def reverse(self, x: Value, out: ShapedArray, dims: Indices) -> Value:
        """Reverse the order along axes."""
        return self.op("stablehlo.reverse", (x,), out, {"dimensions": self.context.i64_array(dims)})

    def iota(self, out: ShapedArray, dim: int) -> Value:
        """Count along one axis."""
        return self.op("stablehlo.iota", (), out, {"iota_dimension": self.context.i64(dim)})

    def concatenate(self, operands: Sequence[Value], out: ShapedArray, dim: int) -> Value:
        """Join along one axis."""
        return self.op("stablehlo.concatenate", operands, out, {"dimension": self.context.i64(dim)})

    def slice(
        self, x: Value, out: ShapedArray, start: Indices, limit: Indices, strides: Indices
    ) -> Value:
        """Take a static slice."""
        array = self.context.i64_array
        return self.op(
            "stablehlo.slice",
            (x,),
            out,
            {
                "start_indices": array(start),
                "limit_indices": array(limit),
                "strides": array(strides),
            },
        )

    def pad(
        self,
        x: Value,
        padding_value: Value,
        out: ShapedArray,
        low: Indices,
        high: Indices,
        interior: Indices,
    ) -> Value:
        """Pad (or trim, where negative) the edges and between elements."""
        array = self.context.i64_array
        return self.op(
            "stablehlo.pad",
            (x, padding_value),
            out,
            {
                "edge_padding_low": array(low),
                "edge_padding_high": array(high),
                "interior_padding": array(interior),
            },
        )

    def dynamic_slice(self, x: Value, starts: Sequence[Value], out: ShapedArray) -> Value:
        """Take a slice of the result's shape at runtime indices, which XLA clamps."""
        sizes = {"slice_sizes": self.context.i64_array(out.shape)}
        return self.op("stablehlo.dynamic_slice", (x, *starts), out, sizes)

    def dynamic_update_slice(
        self, x: Value, update: Value, starts: Sequence[Value], out: ShapedArray
    ) -> Value:
        """Overwrite a slice at runtime indices, which XLA clamps."""
        return self.op("stablehlo.dynamic_update_slice", (x, update, *starts), out)

    def gather(
        self,
        x: Value,
        indices: Value,
        out: ShapedArray,
        *,
        offset_dims: Indices,
        collapsed_slice_dims: Indices,
        operand_batching_dims: Indices,
        start_indices_batching_dims: Indices,
        start_index_map: Indices,
        index_vector_dim: int,
        slice_sizes: Indices,
        indices_are_sorted: bool,
    ) -> Value:
        """Gather slices (StableHLO spec, "gather")."""
        numbers = self.context.gather_dimension_numbers(
            tuple(offset_dims),
            tuple(collapsed_slice_dims),
            tuple(operand_batching_dims),
            tuple(start_indices_batching_dims),
            tuple(start_index_map),
            index_vector_dim,
        )
        attributes = {
            "dimension_numbers": numbers,
            "slice_sizes": self.context.i64_array(slice_sizes),
            "indices_are_sorted": self.context.bool_attr(indices_are_sorted),
        }
        return self.op("stablehlo.gather", (x, indices), out, attributes)

    def scatter(
        self,
        x: Value,
        indices: Value,
        updates: Value,
        out: ShapedArray,
        combine: Callable[[Value, Value], Value],
        *,
        update_window_dims: Indices,
        inserted_window_dims: Indices,
        input_batching_dims: Indices,
        scatter_indices_batching_dims: Indices,
        scattered_dims_to_operand_dims: Indices,
        index_vector_dim: int,
        indices_are_sorted: bool,
        unique_indices: bool,
    ) -> Value:
        """Scatter slices, combining with what is there (StableHLO spec, "scatter")."""
        numbers = self.context.scatter_dimension_numbers(
            tuple(update_window_dims),
            tuple(inserted_window_dims),
            tuple(input_batching_dims),
            tuple(scatter_indices_batching_dims),
            tuple(scattered_dims_to_operand_dims),
            index_vector_dim,
        )
        attributes = {
            "scatter_dimension_numbers": numbers,
            "indices_are_sorted": self.context.bool_attr(indices_are_sorted),
            "unique_indices": self.context.bool_attr(unique_indices),
        }
        operation = self.multi_op(
            "stablehlo.scatter", (x, indices, updates), [out], attributes, regions=1
        )
        element = ShapedArray((), out.dtype)
        self.region(operation.regions[0], (element, element), lambda old, new: [combine(old, new)])
        return operation.results[0]

    # Contractions and reductions ------------------------------------------------------------------

    def dot_general(
        self,
        x: Value,
        y: Value,
        out: ShapedArray,
        *,
        contract: tuple[Indices, Indices],
        batch: tuple[Indices, Indices],
        precision: tuple[str, ...] | None = None,
        algorithm: Attribute | None = None,
    ) -> Value:
        """Contract two arrays."""
        numbers = self.context.dot_dimension_numbers(
            tuple(batch[0]), tuple(batch[1]), tuple(contract[0]), tuple(contract[1])
        )
        attributes = {"dot_dimension_numbers": numbers}
        if precision is not None:
            attributes["precision_config"] = self.context.precision(precision)
        if algorithm is not None:
            attributes["algorithm"] = algorithm
        return self.op("stablehlo.dot_general", (x, y), out, attributes)

    def convolution(
        self,
        x: Value,
        kernel: Value,
        out: ShapedArray,
        *,
        dimension_numbers: Attribute,
        strides: Indices,
        padding: Sequence[tuple[int, int]],
        lhs_dilation: Indices,
        rhs_dilation: Indices,
        feature_group_count: int,
        batch_group_count: int,
        precision: tuple[str, ...] | None = None,
    ) -> Value:
        """Convolve (StableHLO spec, "convolution"); dimension_numbers from
        ``b.context.conv_dimension_numbers``.
        """
        c = self.context
        attributes = {
            "dimension_numbers": dimension_numbers,
            "window_strides": c.i64_array(strides),
            "padding": c.dense_i64_matrix(tuple(tuple(pair) for pair in padding)),
            "lhs_dilation": c.i64_array(lhs_dilation),
            "rhs_dilation": c.i64_array(rhs_dilation),
            "window_reversal": c.bool_array((False,) * len(strides)),
            "feature_group_count": c.i64(feature_group_count),
            "batch_group_count": c.i64(batch_group_count),
        }
        if precision is not None:
            attributes["precision_config"] = c.precision(precision)
        return self.op("stablehlo.convolution", (x, kernel), out, attributes)

    def reduce(
        self,
        operands: Sequence[Value],
        initial: Sequence[Value],
        outs: Sequence[ShapedArray],
        dims: Indices,
        body: Callable[..., Sequence[Value]],
    ) -> list[Value]:
        """Reduce over axes; `body` takes the scalars of both sides and returns the combined
        ones.
        """
        attributes = {"dimensions": self.context.i64_array(dims)}
        operation = self.multi_op(
            "stablehlo.reduce", (*operands, *initial), outs, attributes, regions=1
        )
        scalars = [ShapedArray((), out.dtype) for out in outs]
        self.region(operation.regions[0], (*scalars, *scalars), body)
        return list(operation.results)

    def reduce_window(
        self,
        x: Value,
        initial: Value,
        out: ShapedArray,
        body: Callable[[Value, Value], Value],
        *,
        window_dimensions: Indices,
        window_strides: Indices,
        padding: Sequence[tuple[int, int]],
        base_dilation: Indices,
        window_dilation: Indices,
    ) -> Value:
        """Reduce over sliding windows."""
        return self.reduce_windows(
            (x,),
            (initial,),
            (out,),
            lambda a, b: [body(a, b)],
            window_dimensions=window_dimensions,
            window_strides=window_strides,
            padding=padding,
            base_dilation=base_dilation,
            window_dilation=window_dilation,
        )[0]

    def reduce_windows(
        self,
        operands: Sequence[Value],
        initial: Sequence[Value],
        outs: Sequence[ShapedArray],
        body: Callable[..., Sequence[Value]],
        *,
        window_dimensions: Indices,
        window_strides: Indices,
        padding: Sequence[tuple[int, int]],
        base_dilation: Indices,
        window_dilation: Indices,
    ) -> list[Value]:
        """Reduce several arrays together; `body` takes the scalars of both sides."""
        c = self.context
        attributes = {
            "window_dimensions": c.i64_array(window_dimensions),
            "window_strides": c.i64_array(window_strides),
            "base_dilations": c.i64_array(base_dilation),
            "window_dilations": c.i64_array(window_dilation),
            "padding": c.dense_i64_matrix(tuple(tuple(pair) for pair in padding)),
        }
        operation = self.multi_op(
            "stablehlo.reduce_window", (*operands, *initial), outs, attributes, regions=1
        )
        scalars = [ShapedArray((), out.dtype) for out in outs]
        self.region(operation.regions[0], (*scalars, *scalars), body)
        return list(operation.results)

    def sort(
        self,
        operands: Sequence[Value],
        avals: Sequence[ShapedArray],
        dim: int,
        is_stable: bool,
        before: Callable[..., Value],
    ) -> list[Value]:
        """Sort along an axis; `before` takes two scalars per operand: x0, y0, x1, y1, ..."""
        attributes = {
            "dimension": self.context.i64(dim),
            "is_stable": self.context.bool_attr(is_stable),
        }
        operation = self.multi_op("stablehlo.sort", operands, avals, attributes, regions=1)
        scalars = [ShapedArray((), aval.dtype) for aval in avals for _ in range(2)]
        self.region(operation.regions[0], scalars, lambda *elements: [before(*elements)])
        return list(operation.results)

    def select_and_scatter(
        self,
        x: Value,
        source: Value,
        initial: Value,
        out: ShapedArray,
        select: Callable[[Value, Value], Value],
        *,
        window_dimensions: Indices,
        window_strides: Indices,
        padding: Sequence[tuple[int, int]],
    ) -> Value:
        """Add each source element to the window element that `select` picks: the gradient of
        pooling.
        """
        c = self.context
        attributes = {
            "window_dimensions": c.i64_array(window_dimensions),
            "window_strides": c.i64_array(window_strides),
            "padding": c.dense_i64_matrix(tuple(tuple(pair) for pair in padding)),
        }
        operands = (x, source, initial)
        operation = self.multi_op(
            "stablehlo.select_and_scatter", operands, [out], attributes, regions=2
        )
        element = ShapedArray((), out.dtype)
        self.region(operation.regions[0], (element, element), lambda a, b: [select(a, b)])
        self.region(
            operation.regions[1],
            (element, element),
            lambda a, b: [self.op("stablehlo.add", (a, b), element)],
        )
        return operation.results[0]
