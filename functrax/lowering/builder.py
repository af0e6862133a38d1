"""The builder that lowering rules write StableHLO with: one method per operation, plain Python
arguments.

A rule is called as ``lower(b, *operands, **params)``. ``b.in_types`` and ``b.out_types`` are the
types of the equation; operands and results are opaque values.
"""

from collections.abc import Callable, Sequence

from functrax.core.types import ShapedArray
from functrax.lowering.base import Attribute, Value
from functrax.lowering.communication import CommunicationBuilder

Indices = Sequence[int]


class Builder(CommunicationBuilder):
    """Appends StableHLO operations to the function that is being written."""

    __slots__ = ()

    # Shape ----------------------------------------------------------------------------------------

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
