"""The MLIR context of a thread, with the types and attributes of StableHLO.

Every MLIR object belongs to a context, and a context may be used by one thread at a time, so each
thread that lowers has one of its own.
"""

from typing import Any

from jaxlib.mlir._mlir_libs import _chlo, _jax_mlir_ext, _stablehlo

from functrax.errors import ArgumentError
from functrax.xla.attributes import Attribute, BuiltinContext, MLIRError, Type, cached, ir

_hlo: Any = _stablehlo


class MlirContext(BuiltinContext):
    """An MLIR context that knows the func, stablehlo and chlo dialects, and sdy on demand."""

    __slots__ = ("_shardy",)

    def __init__(self) -> None:
        """Make a context (0.3 ms)."""
        registry = ir.DialectRegistry()
        _jax_mlir_ext.register_dialects(registry)
        context = ir.Context()
        context.append_dialect_registry(registry)
        context.enable_multithreading(False)
        _hlo.register_dialect(context, load=True)
        _chlo.register_dialect(context, load=True)
        context.get_dialect_descriptor("func")  # loads it, without jaxlib's Python wrappers
        super().__init__(context)
        self._shardy = False

    def load_shardy(self) -> None:
        """Load the sdy dialect: 8 ms once, so programs on one device do without."""
        if not self._shardy:
            from jaxlib.mlir._mlir_libs import _sdy

            _sdy.register_dialect(self.context, load=True)
            self._shardy = True

    @cached
    def parse_attribute(self, text: str) -> Attribute:
        """Return an attribute written in MLIR's syntax.

        Raises:
            ArgumentError: it does not parse.
        """
        if "sdy" in text:
            self.load_shardy()
        try:
            return ir.Attribute.parse(text, self.context)
        except MLIRError as error:
            raise ArgumentError(
                "parse_attribute", "an MLIR attribute", f"{text!r}: {error}"
            ) from None

    @cached
    def token_type(self) -> Type:
        """Return ``!stablehlo.token``."""
        return _hlo.TokenType.get(self.context)

    # StableHLO attributes

    @cached
    def comparison(self, direction: str) -> Attribute:
        """Return the comparison direction ``EQ NE LT LE GT GE``."""
        return _hlo.ComparisonDirectionAttr.get(direction, self.context)

    @cached
    def comparison_type(self, kind: str) -> Attribute:
        """Return the comparison type ``FLOAT TOTALORDER SIGNED UNSIGNED``."""
        return _hlo.ComparisonTypeAttr.get(kind, self.context)

    @cached
    def precision(self, names: tuple[str, ...]) -> Attribute:
        """Return a list of ``DEFAULT HIGH HIGHEST``, one for each operand."""
        get = _hlo.PrecisionAttr.get
        return self.array([get(name, self.context) for name in names])

    @cached
    def dot_dimension_numbers(
        self,
        lhs_batch: tuple[int, ...],
        rhs_batch: tuple[int, ...],
        lhs_contract: tuple[int, ...],
        rhs_contract: tuple[int, ...],
    ) -> Attribute:
        """Return the dimension numbers of ``dot_general``."""
        return _hlo.DotDimensionNumbers.get(
            lhs_batch, rhs_batch, lhs_contract, rhs_contract, self.context
        )

    @cached
    def dot_algorithm(
        self,
        lhs_type: Type,
        rhs_type: Type,
        accumulation_type: Type,
        components: tuple[int, int, int] = (1, 1, 1),
        imprecise: bool = False,
    ) -> Attribute:
        """Return ``#stablehlo.dot_algorithm``; components: of lhs, of rhs, number of products."""
        return _hlo.DotAlgorithm.get(
            lhs_type, rhs_type, accumulation_type, *components, imprecise, self.context
        )

    @cached
    def conv_dimension_numbers(
        self,
        input_batch: int,
        input_feature: int,
        input_spatial: tuple[int, ...],
        kernel_input_feature: int,
        kernel_output_feature: int,
        kernel_spatial: tuple[int, ...],
        output_batch: int,
        output_feature: int,
        output_spatial: tuple[int, ...],
    ) -> Attribute:
        """Return the dimension numbers of ``convolution``."""
        return _hlo.ConvDimensionNumbers.get(
            input_batch,
            input_feature,
            input_spatial,
            kernel_input_feature,
            kernel_output_feature,
            kernel_spatial,
            output_batch,
            output_feature,
            output_spatial,
            self.context,
        )

    @cached
    def gather_dimension_numbers(
        self,
        offset_dims: tuple[int, ...],
        collapsed_slice_dims: tuple[int, ...],
        operand_batching_dims: tuple[int, ...],
        start_indices_batching_dims: tuple[int, ...],
        start_index_map: tuple[int, ...],
        index_vector_dim: int,
    ) -> Attribute:
        """Return the dimension numbers of ``gather``."""
        return _hlo.GatherDimensionNumbers.get(
            offset_dims,
            collapsed_slice_dims,
            operand_batching_dims,
            start_indices_batching_dims,
            start_index_map,
            index_vector_dim,
            self.context,
        )

    @cached
    def scatter_dimension_numbers(
        self,
        update_window_dims: tuple[int, ...],
        inserted_window_dims: tuple[int, ...],
        input_batching_dims: tuple[int, ...],
        scatter_indices_batching_dims: tuple[int, ...],
        scattered_dims_to_operand_dims: tuple[int, ...],
        index_vector_dim: int,
    ) -> Attribute:
        """Return the dimension numbers of ``scatter``."""
        return _hlo.ScatterDimensionNumbers.get(
            update_window_dims,
            inserted_window_dims,
            input_batching_dims,
            scatter_indices_batching_dims,
            scattered_dims_to_operand_dims,
            index_vector_dim,
            self.context,
        )

    @cached
    def channel_handle(self, handle: int, kind: int = 1) -> Attribute:
        """Return the channel of a collective; kind 1 is device to device."""
        return _hlo.ChannelHandle.get(handle, kind, self.context)

    @cached
    def fft_type(self, kind: str) -> Attribute:
        """Return ``FFT IFFT RFFT IRFFT``."""
        return _hlo.FftTypeAttr.get(kind, self.context)

    @cached
    def transpose(self, kind: str) -> Attribute:
        """Return ``NO_TRANSPOSE TRANSPOSE ADJOINT``, for ``triangular_solve``."""
        return _hlo.TransposeAttr.get(kind, self.context)

    @cached
    def rng_algorithm(self, kind: str) -> Attribute:
        """Return ``DEFAULT PHILOX THREE_FRY``."""
        return _hlo.RngAlgorithmAttr.get(kind, self.context)

    @cached
    def output_operand_alias(
        self, output: tuple[int, ...], operand: int, operand_tuple: tuple[int, ...] = ()
    ) -> Attribute:
        """Say that a custom call writes an output over an operand; an only output is ``()``."""
        return _hlo.OutputOperandAlias.get(output, operand, operand_tuple, self.context)
