"""How exactly products of arrays are computed: the values of `precision=`."""

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.params import param_type

_F8 = dtypes.SMALL_FLOATS[1:8]
_F16, _F32, _F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
_BF16 = np.dtype(ml_dtypes.bfloat16)


@param_type
class Precision(enum.Enum):
    """How much precision a product of two arrays may give up for speed.

    It matters on TPU and GPU: DEFAULT is the fastest (bfloat16 or TF32 products of float32), HIGH
    is in between, HIGHEST is full float32. The CPU always computes in full.
    """

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2

    def __repr__(self) -> str:
        """Print as in a jaxpr."""
        return self.name


@param_type
class DotAlgorithm(NamedTuple):
    """An algorithm for products of arrays, in all detail.

    Attributes:
        lhs_precision_type: the dtype that the left operand is rounded to, or ``"tf32"``.
        rhs_precision_type: the same for the right operand.
        accumulation_type: the dtype of sums.
        lhs_component_count: into how many numbers a left element is decomposed.
        rhs_component_count: the same for the right operand.
        num_primitive_operations: how many products of components are summed.
        allow_imprecise_accumulation: whether sums may be less exact for speed.

    Source: StableHLO specification, "dot_general".
    """

    lhs_precision_type: Any
    rhs_precision_type: Any
    accumulation_type: Any
    lhs_component_count: int = 1
    rhs_component_count: int = 1
    num_primitive_operations: int = 1
    allow_imprecise_accumulation: bool = False


class Algorithm(NamedTuple):
    """What a preset stands for: one row of the table.

    Attributes:
        storage: the dtypes that operands may have; the first is what others are converted to.
        precision: what elements are rounded to: a dtype, ``"tf32"``, or None for the operand's own.
        accumulation: the dtype of sums; None for that of the result.
        components: of each operand, and how many products.
        imprecise: whether sums may be less exact.
    """

    storage: tuple[np.dtype[Any], ...]
    precision: Any
    accumulation: Any
    components: tuple[int, int, int] = (1, 1, 1)
    imprecise: bool = False


@param_type
class DotAlgorithmPreset(enum.Enum):
    """Named algorithms for products of arrays: ``LHS_RHS_SUM``; X3, X6, X9: several products.

    Source: StableHLO specification, "dot_general"; XLA, xla_data.proto, PrecisionConfig.
    """

    DEFAULT = "DEFAULT"
    ANY_F8_ANY_F8_F32 = Algorithm(_F8, None, _F32)
    ANY_F8_ANY_F8_F32_FAST_ACCUM = Algorithm(_F8, None, _F32, imprecise=True)
    ANY_F8_ANY_F8_ANY = Algorithm(_F8, None, None)
    ANY_F8_ANY_F8_ANY_FAST_ACCUM = Algorithm(_F8, None, None, imprecise=True)
    F16_F16_F16 = Algorithm((_F16,), _F16, _F16)
    F16_F16_F32 = Algorithm((_F16,), _F16, _F32)
    BF16_BF16_BF16 = Algorithm((_BF16, _F32), _BF16, _BF16)
    BF16_BF16_F32 = Algorithm((_BF16, _F32), _BF16, _F32)
    BF16_BF16_F32_X3 = Algorithm((_F32,), _BF16, _F32, (1, 1, 3))
    BF16_BF16_F32_X6 = Algorithm((_F32,), _BF16, _F32, (1, 1, 6))
    BF16_BF16_F32_X9 = Algorithm((_F32,), _BF16, _F32, (1, 1, 9))
    TF32_TF32_F32 = Algorithm((_F32,), "tf32", _F32)
    TF32_TF32_F32_X3 = Algorithm((_F32,), "tf32", _F32, (1, 1, 3))
    F32_F32_F32 = Algorithm((_F32,), _F32, _F32)
    F64_F64_F64 = Algorithm((_F64,), _F64, _F64)

    def __repr__(self) -> str:
        """Print as in a jaxpr."""
        return self.name


Canonical = tuple[Precision, Precision] | DotAlgorithm | DotAlgorithmPreset | None

_WORDS = {
    "default": Precision.DEFAULT,
    "fastest": Precision.DEFAULT,
    "bfloat16": Precision.DEFAULT,
    "high": Precision.HIGH,
    "tensorfloat32": Precision.HIGH,
    "bfloat16_3x": Precision.HIGH,
    "highest": Precision.HIGHEST,
    "float32": Precision.HIGHEST,
}


def canonical_precision(precision: Any, call: str) -> Canonical:
    """Return a `precision=` argument as a hashable parameter, with the configured default put in.

    Args:
        precision: None, a word, a `Precision`, a pair of these (left and right operand), a
            `DotAlgorithmPreset` or its name, or a `DotAlgorithm`.
        call: the user's function, for the error message.

    Returns:
        None (XLA's default), a pair of `Precision`, a preset or an algorithm.

    Raises:
        ArgumentError: for anything else.
    """
    if precision is None:
        default = config.default_matmul_precision
        return None if default is None else canonical_precision(default, call)
    if isinstance(precision, DotAlgorithm | DotAlgorithmPreset):
        return None if precision is DotAlgorithmPreset.DEFAULT else precision
    if isinstance(precision, str) and precision in DotAlgorithmPreset.__members__:
        return canonical_precision(DotAlgorithmPreset[precision], call)
    pair = precision if isinstance(precision, tuple | list) else (precision, precision)
    found: list[Any] = [_WORDS.get(one) if isinstance(one, str) else one for one in pair]
    if len(found) != 2 or not all(isinstance(one, Precision) for one in found):
        raise errors.ArgumentError(
            call,
            f"precision to be None, a lax.Precision or one of {', '.join(map(repr, _WORDS))}, "
            "a pair of these, or a lax.DotAlgorithm or lax.DotAlgorithmPreset",
            repr(precision),
        )
    return found[0], found[1]


def takes_float8_only(precision: Canonical) -> bool:
    """Tell whether an algorithm is for float8 operands, to which nothing else is rounded."""
    row = precision.value if isinstance(precision, DotAlgorithmPreset) else None
    return isinstance(row, Algorithm) and row.storage is _F8


class Written(NamedTuple):
    """How a product is written for XLA.

    Attributes:
        operands: the dtypes to convert the operands to.
        total: the dtype of sums.
        attribute: the algorithm's attribute, or None.
        bits: for each operand the bits of exponent and mantissa to round to, or None.
    """

    operands: Sequence[Any]
    total: Any
    attribute: Any = None
    bits: Sequence[tuple[int, int] | None] = (None, None)


# Formats that a CPU rounds operands to by itself; what has several products is computed in full.
_BITS = {"tf32": (8, 10), _BF16: (8, 7), _F16: (5, 10)}


def write_algorithm(
    b: Any, precision: DotAlgorithm | DotAlgorithmPreset, given: Sequence[Any], out: Any
) -> Written:
    """Return how to write an algorithm.

    XLA's CPU compiler knows few of them, and not for all shapes: there, operands are rounded and
    multiplied as usual, which gives the same products.

    Args:
        b: the builder.
        precision: the algorithm.
        given: the dtypes of the two operands.
        out: the dtype of the result.
    """
    if isinstance(precision, DotAlgorithm):
        *rounded, total, left, right, products, imprecise = precision
        rounded = [kind if kind == "tf32" else np.dtype(kind) for kind in rounded]
        pairs = zip(given, rounded, strict=True)
        kinds = [kind if to == "tf32" else to for kind, to in pairs]
        components = (left, right, products)
        accumulation = total = np.dtype(total)
    else:
        row: Any = precision.value
        kinds = [kind if kind in row.storage else row.storage[0] for kind in given]
        rounded = [kind if row.precision is None else row.precision for kind in kinds]
        total = out if row.accumulation is None else row.accumulation
        accumulation, components = row.accumulation or _F32, row.components
        imprecise = row.imprecise
    if b.platform == "cpu":
        several = components != (1, 1, 1)
        pairs = zip(kinds, rounded, strict=True)
        bits = [None if several or kind == to else _BITS.get(to) for kind, to in pairs]
        return Written(kinds, total, bits=bits)
    types = [
        b.context.parse_type("tf32") if kind == "tf32" else b.context.element_type(kind)
        for kind in (*rounded, accumulation)
    ]
    attribute = b.context.dot_algorithm(*types, components, imprecise)
    return Written(kinds, total, attribute)
