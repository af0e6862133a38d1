"""The table of primitives for tests: one row says on what operands a primitive is tested, and how.

`tests/test_primitives.py` takes every row through every check; `tests/oracle.py` holds the meaning
that values are compared with. A new primitive needs a row here and a line there.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from functrax.primitives.convolution_numbers import ConvDimensionNumbers
from functrax.primitives.gather import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
)
from functrax.primitives.keys import THREEFRY
from functrax.primitives.precision import Precision

NDArray = np.ndarray[Any, Any]
DType = np.dtype[Any]

BOOL = (np.dtype(bool),)
SIGNED = tuple(map(np.dtype, (np.int8, np.int16, np.int32, np.int64)))
UNSIGNED = tuple(map(np.dtype, (np.uint8, np.uint16, np.uint32, np.uint64)))
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = tuple(map(np.dtype, (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)))
COMPLEX = tuple(map(np.dtype, (np.complex64, np.complex128)))
INEXACT = (*FLOATS, *COMPLEX)
REAL = (*FLOATS, *INTEGERS)
NUMBER = (*INEXACT, *INTEGERS)
ANY = (*NUMBER, *BOOL)
ORDERED = (*REAL, *BOOL)
F32, F64, C128 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.complex128)
I32, U32 = np.dtype(np.int32), np.dtype(np.uint32)

# Domains: from which numbers an operand is drawn --------------------------------------------------

Domain = Callable[[np.random.Generator, tuple[int, ...], DType], NDArray]


def interval(low: float, high: float, least: int = -6, greatest: int = 6) -> Domain:
    """Floats of an interval, complex numbers with both parts in it, integers of another one."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray:
        if dtype.kind == "b":
            return rng.integers(0, 2, shape).astype(bool)
        if dtype.kind in "iu":
            return rng.integers(max(least, 0 if dtype.kind == "u" else least), greatest + 1, shape)
        real = rng.uniform(low, high, shape)
        return real + 1j * rng.uniform(low, high, shape) if dtype.kind == "c" else real

    return lambda rng, shape, dtype: np.asarray(draw(rng, shape, dtype)).astype(dtype)


def signed(domain: Domain) -> Domain:
    """The numbers of a domain with random signs, where the dtype has signs."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray:
        values = domain(rng, shape, dtype)
        if dtype.kind in "bu":
            return values
        return values * rng.choice(np.array([-1, 1]), shape).astype(dtype)

    return draw


def multiples(step: float) -> Domain:
    """Multiples of a step: ties of rounding, equal elements."""
    return lambda rng, shape, dtype: (rng.integers(-5, 6, shape) * step).astype(dtype)


def limits(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray:
    """All bits of an integer dtype at random; booleans."""
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


anything = interval(-2, 2)
positive = interval(0.3, 2.5, 1, 6)
nonzero = signed(positive)
small = interval(-0.9, 0.9)
above_one = interval(1.2, 3.0)


def below(stop: int, start: int = 0) -> Domain:
    """Integers of a range."""
    return lambda rng, shape, dtype: rng.integers(start, stop, shape).astype(dtype)


def far(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray:
    """Unsigned places, most of them far beyond any array: as signed ones they would be negative."""
    top = int(np.iinfo(dtype).max)
    return rng.choice(np.array([1, 3, top // 2 + 1, top - 1, top], dtype), shape)


# Rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operand:
    """What one operand of a row is drawn from.

    Attributes:
        shape: the shape; of keys, without their words.
        domain: how values are drawn.
        dtype: the dtype, or None for the row's dtypes in turn.
        diff: whether the primitive is differentiable in it.
        map: whether it can be mapped.
        key: whether it is an array of PRNG keys.
    """

    shape: tuple[int, ...]
    domain: Domain = anything
    dtype: DType | None = None
    diff: bool = True
    map: bool = True
    key: bool = False


def x(*shape: int, domain: Domain = anything, **options: Any) -> Operand:
    """An operand of the row's dtype."""
    return Operand(shape, domain, **options)


def ints(*shape: int, domain: Domain, dtype: DType = I32) -> Operand:
    """An operand of integers: places, or which case to take."""
    return Operand(shape, domain, dtype, diff=False)


def bools(*shape: int) -> Operand:
    """An operand of booleans."""
    return Operand(shape, anything, np.dtype(bool), diff=False)


def words(*shape: int) -> Operand:
    """An operand of random 32-bit words."""
    return Operand(shape, limits, U32, diff=False)


def keys(*shape: int) -> Operand:
    """An operand of PRNG keys."""
    return Operand(shape, limits, U32, diff=False, key=True)


@dataclass(frozen=True)
class Case:
    """One row: a primitive with operands and parameters.

    Attributes:
        primitive: the name.
        operands: one per operand.
        params: the parameters, as `bind` takes them.
        dtypes: those that the row's operands take in turn; the first one is used for mapping.
        order: how often it is differentiated: 2, or 0 where every derivative is zero, or None where
            numeric derivatives say nothing (with a test of its own).
        label: what tells the row from others of the primitive.
        loose: by what factor the tolerance of values is larger than the dtype's few last bits; the
            reason stands beside it.
    """

    primitive: str
    operands: tuple[Operand, ...]
    params: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[DType, ...] = INEXACT
    order: int | None = 2
    label: str = ""
    loose: float = 1.0

    def __str__(self) -> str:
        """The test's id."""
        return f"{self.primitive}-{self.label}" if self.label else self.primitive

    def rng(self, *salt: Any) -> np.random.Generator:
        """A generator that depends on the row, and on what it is for, alone."""
        return np.random.default_rng(zlib.crc32(repr((str(self), *map(str, salt))).encode()))

    def draw(self, dtype: DType, *salt: Any) -> list[NDArray]:
        """Values of all operands; keys as their words."""
        rng = self.rng(dtype, *salt)
        return [
            o.domain(rng, (*o.shape, 2) if o.key else o.shape, o.dtype or dtype)
            for o in self.operands
        ]


def row(primitive: str, *operands: Operand, label: str = "", **options: Any) -> Case:
    """Write one row; what is no field of `Case` is a parameter of the primitive."""
    own = {name: options.pop(name) for name in ("dtypes", "order", "loose") if name in options}
    return Case(primitive, operands, options.pop("params", options), label=label, **own)


def unary(names: str, domain: Domain = anything, **options: Any) -> list[Case]:
    """Write a row for each elementwise operation of one operand."""
    return [row(name, x(3, 4, domain=domain), **options) for name in names.split()]


def binary(names: str, domain: Domain = anything, **options: Any) -> list[Case]:
    """Write rows for elementwise operations of two operands: of one shape, and broadcast."""
    pairs = {"": ((3, 4), (3, 4)), "scalar": ((3, 4), ()), "stretched": ((3, 1), (1, 4))}
    return [
        row(name, *(x(*shape, domain=domain) for shape in shapes), label=label, **options)
        for name in names.split()
        for label, shapes in pairs.items()
        if not label or name in ("add", "mul", "pow", "max", "eq", "xor")
    ]


ELEMENTWISE = [
    *unary("neg", dtypes=NUMBER),
    *unary("exp expm1 exp2 sin cos sinh cosh tanh logistic asinh"),
    *unary("tan atan", small),
    *unary("asin acos atanh", small),
    # Complex functions with cuts: XLA's float32 versions lose about ten last bits near them.
    *unary("acosh", above_one, loose=8),
    *unary("log sqrt rsqrt", positive),
    *unary("log1p", interval(-0.6, 2)),
    *unary("cbrt", nonzero, dtypes=FLOATS),
    *unary("erf erfc", dtypes=FLOATS),
    # The inverse is as ill-conditioned as its slope is large: 4 at 0.9, and XLA's is a polynomial.
    *unary("erf_inv", small, dtypes=FLOATS, loose=4),
    *unary("square", dtypes=NUMBER),
    *unary("abs", nonzero, dtypes=NUMBER),
    *unary("sign", nonzero, dtypes=COMPLEX, label="complex"),
    *unary("sign", multiples(1), dtypes=REAL, order=0),
    *unary("real imag conj", dtypes=COMPLEX),
    *unary("floor ceil", dtypes=FLOATS, order=0),
    *unary("round", multiples(0.5), dtypes=FLOATS, order=0, rounding_method=0),
    *unary("round", multiples(0.5), dtypes=FLOATS, order=0, rounding_method=1, label="even"),
    *unary("is_finite", dtypes=FLOATS, order=0),
    *unary("not", limits, dtypes=(*INTEGERS, *BOOL), order=0),
    *unary("population_count clz", limits, dtypes=INTEGERS, order=0),
    *(
        row("integer_pow", x(3, 4, domain=nonzero), label=str(y), params={"y": y}, dtypes=dtypes)
        for y, dtypes in ((0, NUMBER), (1, NUMBER), (2, NUMBER), (7, NUMBER), (-3, INEXACT))
    ),
    *binary("add sub mul", dtypes=NUMBER),
    *binary("div", nonzero, dtypes=NUMBER),
    *binary("rem", nonzero, dtypes=REAL),
    *binary("pow", interval(0.3, 2.5, 0, 3), dtypes=NUMBER, loose=4),  # exp(y log x): errors add
    *binary("max min", dtypes=ANY),
    *binary("atan2", nonzero, dtypes=FLOATS),
    *binary("nextafter", dtypes=(np.dtype(np.float32), F64), order=0),
    *binary("complex", dtypes=(F32, F64)),
    *binary("and or xor", limits, dtypes=(*INTEGERS, *BOOL), order=0),
    *(
        row(name, x(3, 4, domain=limits), x(3, 4, domain=below(9)), dtypes=INTEGERS, order=0)
        for name in ("shift_left", "shift_right_arithmetic", "shift_right_logical")
    ),
    *binary("eq ne", multiples(1), dtypes=ANY, order=0),
    *binary("lt le gt ge", multiples(1), dtypes=ORDERED, order=0),
    row("select_n", bools(3, 4), x(3, 4), x(3, 4), dtypes=ANY),
    row("select_n", bools(), x(3, 4), x(3, 4), dtypes=ANY, label="scalar"),
    row("select_n", ints(3, 2, domain=below(4)), *(x(3, 2),) * 4, dtypes=ANY, label="four"),
    row(
        "select_n",
        ints(3, 2, domain=below(3), dtype=np.dtype(np.uint8)),
        *(x(3, 2),) * 3,
        label="uint8",
    ),
    row(
        "select_n", ints(3, domain=below(2), dtype=np.dtype(np.int64)), *(x(3),) * 2, label="int64"
    ),
    row("clamp", x(), x(3, 4), x(3, 4), dtypes=ORDERED),
    row("clamp", x(3, 4), x(3, 4), x(3, 4), dtypes=ORDERED, label="arrays"),
    row("clamp", x(domain=interval(-1, 0)), x(5), x(domain=positive), dtypes=ORDERED, label="ends"),
]

SHAPES = [
    row("broadcast_in_dim", x(3, 1), shape=(2, 3, 4), broadcast_dimensions=(1, 2), dtypes=ANY),
    row("broadcast_in_dim", x(), shape=(2, 0), broadcast_dimensions=(), label="empty"),
    row("reshape", x(3, 4), new_sizes=(2, 6), dtypes=ANY),
    row("reshape", x(), new_sizes=(1, 1), label="scalar"),
    row("squeeze", x(1, 3, 1, 2), dimensions=(0, 2), dtypes=ANY),
    row("transpose", x(2, 3, 4), permutation=(2, 0, 1), dtypes=ANY),
    row("rev", x(2, 3, 4), dimensions=(0, 2), dtypes=ANY),
    row("iota", dtype=I32, shape=(2, 3), dimension=1, order=0, dtypes=(I32,)),
    row("iota", dtype=F32, shape=(4,), dimension=0, order=0, dtypes=(F32,), label="float"),
    row("concatenate", x(2, 3), x(2, 1), x(2, 2), dimension=1, dtypes=ANY),
    row("concatenate", x(0, 2), x(3, 2), dimension=0, label="empty"),
    row("split", x(2, 5), sizes=(2, 0, 3), axis=1, dtypes=ANY),
    row("pad", x(3, 2), x(), padding_config=((1, 2, 1), (0, 1, 0)), dtypes=ANY),
    row("pad", x(4, 3), x(), padding_config=((-1, -1, 0), (2, -1, 1)), label="cut"),
    row("slice", x(5, 6), start_indices=(1, 0), limit_indices=(4, 6), strides=(1, 4), dtypes=ANY),
    row("slice", x(3), start_indices=(2,), limit_indices=(2,), strides=(1,), label="empty"),
    row(
        "dynamic_slice", x(5, 4), *(ints(domain=below(7, -3)),) * 2, slice_sizes=(2, 3), dtypes=ANY
    ),
    row(
        "dynamic_slice",
        x(5),
        ints(domain=below(5), dtype=np.dtype(np.uint8)),
        slice_sizes=(2,),
        label="uint8",
    ),
    row("dynamic_update_slice", x(5, 4), x(2, 3), *(ints(domain=below(7, -3)),) * 2, dtypes=ANY),
    *(
        case
        for dtype in (U32, np.dtype(np.uint64))
        for places in [(ints(domain=far, dtype=dtype),) * 2]
        for case in (
            row("dynamic_slice", x(5, 4), *places, slice_sizes=(2, 3), label=dtype.name),
            row("dynamic_update_slice", x(5, 4), x(2, 3), *places, label=dtype.name),
        )
    ),
    row("convert_element_type", x(3, 4), new_dtype=F64, weak_type=False, dtypes=REAL),
    row("convert_element_type", x(3, 4), new_dtype=C128, weak_type=False, label="complex"),
    row(
        "convert_element_type",
        x(3, 4),
        new_dtype=I32,
        weak_type=False,
        dtypes=ORDERED,
        order=0,
        label="integer",
    ),
    row(
        "convert_element_type",
        x(3, 4, domain=multiples(1)),
        new_dtype=BOOL[0],
        weak_type=False,
        dtypes=ANY,
        order=0,
        label="bool",
    ),
    row("bitcast_convert_type", x(3, 4), new_dtype=U32, dtypes=(F32, I32, U32), order=0),
    row(
        "bitcast_convert_type",
        x(3, 4),
        new_dtype=np.dtype(np.uint8),
        label="narrower",
        dtypes=(F32, F64, np.dtype(np.int16)),
        order=0,
    ),
    row(
        "bitcast_convert_type",
        x(3, 4, domain=limits),
        new_dtype=U32,
        label="wider",
        dtypes=(np.dtype(np.uint8),),
        order=0,
    ),
    # A step function; that its derivative is the identity's, rounded, has a test of its own.
    row("reduce_precision", x(3, 4), exponent_bits=5, mantissa_bits=3, dtypes=FLOATS, order=None),
    row("copy", x(3, 4), dtypes=ANY),
    row("stop_gradient", x(3, 4), order=0),
    row("name", x(3, 4), name="a", dtypes=ANY),
    row("to_memory", x(3, 4), kind="pinned_host", dtypes=ANY),
    row("optimization_barrier", x(3), x(2), dtypes=ANY),
]

REDUCTIONS = [
    row("reduce_sum", x(2, 3, 4), axes=(0, 2), dtypes=NUMBER),
    row("reduce_sum", x(2, 3), axes=(), label="nothing"),
    row("reduce_sum", x(0, 3), axes=(0,), label="empty"),
    row("reduce_prod", x(2, 3, 4), axes=(1, 2), dtypes=NUMBER),
    row("reduce_prod", x(3, domain=multiples(2)), axes=(0,), label="zeros"),
    row("reduce_max", x(2, 3, 4), axes=(0, 2), dtypes=ANY),
    row("reduce_min", x(2, 3, 4), axes=(1,), dtypes=ANY),
    row("reduce_and", x(3, 4, domain=limits), axes=(0,), dtypes=(*INTEGERS, *BOOL), order=0),
    row("reduce_or", x(3, 4, domain=limits), axes=(1,), dtypes=(*INTEGERS, *BOOL), order=0),
    row("reduce_xor", x(3, 4, domain=limits), axes=(0, 1), dtypes=(*INTEGERS, *BOOL), order=0),
    row(
        "argmax", x(3, 4, domain=multiples(1)), axes=(1,), index_dtype=I32, dtypes=ORDERED, order=0
    ),
    row(
        "argmin",
        x(3, 4, domain=multiples(1)),
        axes=(0,),
        index_dtype=np.dtype(np.uint8),
        dtypes=ORDERED,
        order=0,
    ),
]


def _dot(label: str, lhs: Operand, rhs: Operand, numbers: Any, **options: Any) -> Case:
    params = {"precision": None, "preferred_element_type": None, "dimension_numbers": numbers}
    own = {name: options.pop(name) for name in ("dtypes", "order") if name in options}
    return row("dot_general", lhs, rhs, label=label, params=params | options, **own)


PRODUCTS = [
    _dot("matrices", x(2, 3), x(3, 4), (((1,), (0,)), ((), ())), dtypes=ANY),
    _dot("batched", x(2, 3, 4), x(4, 2, 5), (((2,), (0,)), ((0,), (1,))), dtypes=NUMBER),
    _dot("two-axes", x(3, 2, 4), x(4, 5, 3), (((0, 2), (2, 0)), ((), ()))),
    _dot("outer", x(2), x(3), (((), ()), ((), ()))),
    _dot("empty", x(2, 0), x(0, 3), (((1,), (0,)), ((), ()))),
    _dot(
        "highest",
        x(2, 3),
        x(3, 4),
        (((1,), (0,)), ((), ())),
        precision=(Precision.HIGHEST, Precision.HIGHEST),
        dtypes=FLOATS,
    ),
    _dot(
        "preferred",
        x(2, 3),
        x(3, 4),
        (((1,), (0,)), ((), ())),
        preferred_element_type=F64,
        dtypes=FLOATS,
    ),
]

# Gather and scatter -------------------------------------------------------------------------------

CLIP, FILL = GatherScatterMode.CLIP, GatherScatterMode.FILL_OR_DROP
PROMISE = GatherScatterMode.PROMISE_IN_BOUNDS


def _gather(
    label: str, operand: Operand, indices: Operand, numbers: Any, sizes: Any, **options: Any
) -> Case:
    params = {"dimension_numbers": GatherDimensionNumbers(*numbers), "slice_sizes": sizes,
              "unique_indices": False, "indices_are_sorted": False, "mode": CLIP,
              "fill_value": None}  # fmt: skip
    own = {name: options.pop(name) for name in ("dtypes",) if name in options}
    return row("gather", operand, indices, label=label, params=params | options, **own)


def _scatter(
    name: str, label: str, operands: Sequence[Operand], numbers: Any, **options: Any
) -> Case:
    params = {"dimension_numbers": ScatterDimensionNumbers(*numbers), "mode": CLIP,
              "unique_indices": False, "indices_are_sorted": False}  # fmt: skip
    own = {key: options.pop(key) for key in ("dtypes", "order") if key in options}
    return row(name, *operands, label=label, params=params | options, **own)


def permuted(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray:
    """Index vectors of one entry that do not repeat."""
    return rng.permutation(shape[0] + 1)[: shape[0]].reshape(shape).astype(dtype)


_ROWS = ((1,), (0,), (0,))  # whole rows of a matrix
_WILD = below(7, -1)  # for axes of 5: inside, and outside on both sides
_POINTS = ((), (0, 1), (0, 1))
_BATCHED = ((1,), (1,), (1,), (0,), (0,))  # rows of each matrix of a stack

INDEXING = [
    _gather("rows", x(5, 3), ints(4, 1, domain=below(5)), _ROWS, (1, 3), dtypes=ANY),
    _gather("clip", x(5, 3), ints(6, 1, domain=_WILD), _ROWS, (1, 2)),
    _gather("fill", x(5, 3), ints(6, 1, domain=_WILD), _ROWS, (1, 2), mode=FILL, dtypes=ANY),
    _gather("fill-7", x(5, 3), ints(6, 1, domain=_WILD), _ROWS, (1, 3), mode=FILL, fill_value=7),
    _gather("uint32", x(5, 3), ints(6, 1, domain=far, dtype=U32), _ROWS, (1, 2)),
    _gather("uint32-fill", x(5, 3), ints(6, 1, domain=far, dtype=U32), _ROWS, (1, 2), mode=FILL),
    _gather("points", x(5, 5), ints(2, 3, 2, domain=_WILD), _POINTS, (1, 1), mode=FILL),
    _gather("promise", x(5, 5), ints(3, 2, domain=below(5)), _POINTS, (1, 1), mode=PROMISE),
    _gather("windows", x(5, 5), ints(3, 2, domain=below(5)), ((0, 2), (), (1, 0)), (2, 3)),
    _gather(
        "batched",
        x(2, 5, 3),
        ints(2, 4, 1, domain=_WILD),
        ((2,), (1,), (1,), (0,), (0,)),
        (1, 1, 3),
        mode=FILL,
    ),
    _gather(
        "int8", x(5, 3), ints(4, 1, domain=_WILD, dtype=np.dtype(np.int8)), _ROWS, (1, 3), mode=FILL
    ),
    _gather("empty", x(5, 3), ints(0, 1, domain=below(5)), _ROWS, (1, 3)),
    *(
        _scatter(
            name,
            label,
            (x(5, 3), ints(4, 1, domain=domain), x(4, 3)),
            _ROWS,
            mode=mode,
            dtypes=dtypes,
        )
        for name, dtypes in (
            ("scatter", ANY),
            ("scatter_add", NUMBER),
            ("scatter_min", ANY),
            ("scatter_max", ANY),
        )
        for label, domain, mode in (
            ("rows", below(5), PROMISE),
            ("drop", _WILD, FILL),
            ("clip", _WILD, CLIP),
        )
    ),
    _scatter(
        "scatter_mul",
        "unique",
        (x(5, 3), ints(4, 1, domain=permuted), x(4, 3)),
        _ROWS,
        unique_indices=True,
        dtypes=NUMBER,
    ),
    _scatter(
        "scatter",
        "unique",
        (x(5, 3), ints(4, 1, domain=permuted), x(4, 3)),
        _ROWS,
        unique_indices=True,
    ),
    _scatter(
        "scatter_add", "points", (x(5, 5), ints(2, 3, 2, domain=_WILD), x(2, 3)), _POINTS, mode=FILL
    ),
    _scatter(
        "scatter_add",
        "windows",
        (x(5, 5), ints(3, 2, domain=_WILD), x(2, 3, 3)),
        ((0, 2), (), (1, 0)),
        mode=FILL,
    ),
    _scatter(
        "scatter",
        "windows",
        (x(5, 5), ints(3, 2, domain=_WILD), x(2, 3, 3)),
        ((0, 2), (), (1, 0)),
        mode=CLIP,
    ),
    _scatter(
        "scatter_add",
        "batched",
        (x(2, 5, 3), ints(2, 4, 1, domain=_WILD), x(2, 4, 3)),
        ((2,), (1,), (1,), (0,), (0,)),
        mode=FILL,
    ),
    _scatter("scatter_add", "uint32", (x(5, 3), ints(4, 1, domain=far, dtype=U32), x(4, 3)), _ROWS),
    _scatter(
        "scatter_add",
        "uint32-drop",
        (x(5, 3), ints(4, 1, domain=far, dtype=U32), x(4, 3)),
        _ROWS,
        mode=FILL,
    ),
    _scatter("scatter_add", "empty", (x(5, 3), ints(0, 1, domain=below(5)), x(0, 3)), _ROWS),
]

# Windows, sorting and scans -----------------------------------------------------------------------


def _conv(
    label: str, lhs: Operand, rhs: Operand, numbers: Any = None, dtypes: Any = INEXACT,
    **options: Any,
) -> Case:  # fmt: skip
    rank = len(lhs.shape) - 2
    axes = tuple(range(rank + 2))
    params = {"window_strides": (1,) * rank, "padding": ((0, 0),) * rank,
              "lhs_dilation": (1,) * rank, "rhs_dilation": (1,) * rank,
              "dimension_numbers": ConvDimensionNumbers(*(numbers or (axes, axes, axes))),
              "feature_group_count": 1, "batch_group_count": 1, "precision": None,
              "preferred_element_type": None}  # fmt: skip
    return row("conv_general_dilated", lhs, rhs, label=label, params=params | options,
               dtypes=dtypes)  # fmt: skip


def _window(
    name: str, label: str, *operands: Operand, dilated: bool = True, **options: Any
) -> Case:
    rank = len(operands[-1].shape)
    params = {"window_dimensions": (2,) * rank, "window_strides": (1,) * rank,
              "padding": ((0, 0),) * rank}  # fmt: skip
    if dilated:
        params |= {"base_dilation": (1,) * rank, "window_dilation": (1,) * rank}
    own = {key: options.pop(key) for key in ("dtypes",) if key in options}
    return row(name, *operands, label=label, params=params | options, **own)


_NHWC = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
_WIDE = {"window_strides": (2, 1), "padding": ((1, 0), (0, 2))}
_DILATED = {"base_dilation": (1, 2), "window_dilation": (2, 1)}
_IMAGES = (F32, F64, *INTEGERS)
_COMPARED = x(5, 4, diff=False)

WINDOWS = [
    _conv("valid", x(2, 3, 5), x(4, 3, 2), dtypes=NUMBER),
    _conv("images", x(2, 5, 4, 3), x(2, 2, 3, 2), _NHWC, **_WIDE),
    _conv("no-space", x(2, 3), x(4, 3)),
    _conv("dilated", x(1, 2, 4, 3), x(3, 2, 2, 2), padding=((2, 1), (1, 1)), lhs_dilation=(2, 3),
          rhs_dilation=(1, 2), window_strides=(2, 1)),
    _conv("cut", x(1, 2, 6), x(2, 2, 3), padding=((-1, 2),), window_strides=(2,)),
    _conv("groups", x(2, 4, 4), x(6, 2, 2), feature_group_count=2, padding=((1, 1),)),
    _conv("batch-groups", x(4, 2, 4), x(6, 2, 2), batch_group_count=2, rhs_dilation=(2,)),
    _conv("empty", x(0, 2, 4), x(3, 2, 2)),
    _window("reduce_window_sum", "valid", x(5, 4), dtypes=NUMBER),
    _window("reduce_window_sum", "dilated", x(5, 4), **_WIDE, **_DILATED),
    _window("reduce_window_max", "valid", x(5, 4), dtypes=ORDERED),
    _window("reduce_window_max", "dilated", x(5, 4), **_WIDE, **_DILATED, dtypes=FLOATS),
    _window("reduce_window_min", "padded", x(5, 4), **_WIDE, dtypes=ORDERED),
    _window("select_and_gather_add", "max", x(5, 4), _COMPARED, select="ge", dtypes=_IMAGES),
    _window("select_and_gather_add", "dilated", x(5, 4), _COMPARED, select="le", **_WIDE,
            **_DILATED, dtypes=FLOATS),
    _window("select_and_scatter_add", "max", x(4, 3), _COMPARED, select="ge", dilated=False,
            dtypes=_IMAGES),
    _window("select_and_scatter_add", "padded", x(3, 5), _COMPARED, select="le", dilated=False,
            **_WIDE, dtypes=FLOATS),
]  # fmt: skip


def _sort(name: str, label: str, *operands: Operand, num_keys: int = 1, **options: Any) -> Case:
    own = {key: options.pop(key) for key in ("dtypes", "order") if key in options}
    params = {"dimension": 1, "is_stable": True, "num_keys": num_keys}
    return row(name, *operands, label=label, params=params | options, **own)


_TIES = multiples(1)

ORDERING = [
    _sort("sort", "", x(3, 5), dtypes=ANY),
    _sort("sort", "first-axis", x(5, 3), dimension=0),
    # Equal keys have no derivative, but the other operands are permuted all the same.
    _sort("sort", "values", x(3, 5, domain=_TIES, diff=False), x(3, 5), dtypes=ANY),
    _sort("sort", "keys", x(3, 5, domain=_TIES, diff=False), x(3, 5), ints(3, 5, domain=below(9)),
          num_keys=2, dtypes=ORDERED),
    _sort("sort", "empty", x(3, 0)),
    _sort("argsort", "", x(3, 5, domain=_TIES), dtypes=ANY, order=0),
    _sort("argsort", "keys", *(x(3, 5, domain=_TIES),) * 2, num_keys=2, dtypes=ANY, order=0),
    row("top_k", x(3, 6), k=2, axis=1, dtypes=ORDERED),
    row("top_k", x(4, 3), k=4, axis=0, label="all", dtypes=FLOATS),
]  # fmt: skip

SCANS = [
    row("cumsum", x(3, 4), axis=1, reverse=False, dtypes=NUMBER),
    row("cumsum", x(4, 3), axis=0, reverse=True, label="reverse"),
    row("cumprod", x(3, 4), axis=1, reverse=False, dtypes=NUMBER),
    row("cumprod", x(4, domain=multiples(2)), axis=0, reverse=True, label="zeros"),
    row("cummax", x(3, 5), axis=1, reverse=False, dtypes=NUMBER),
    row("cummin", x(5, 3), axis=0, reverse=True, dtypes=NUMBER),
    row("cumlogsumexp", x(3, 4), axis=1, reverse=False),
    row("cumlogsumexp", x(4, 3), axis=0, reverse=True, label="reverse", dtypes=FLOATS),
    row("linear_recurrence", x(3, 4), x(3, 4), axis=1, reverse=False, dtypes=INEXACT),
    row("linear_recurrence", x(4, 3), x(4, 3), axis=0, reverse=True, label="reverse"),
]

RANDOM = [
    row("threefry2x32", *(words(3),) * 4, dtypes=(U32,), order=0),
    row("threefry2x32", words(), words(), words(2, 3), words(2, 3), dtypes=(U32,), order=0,
        label="one-key"),
    row("random_wrap", words(3, 2), dtype=THREEFRY, dtypes=(U32,), order=0),
    row("random_clone", keys(3), dtypes=(U32,), order=0),
    row("random_unwrap", keys(3), dtypes=(U32,), order=0),
    row("random_seed", x(3, domain=limits), dtype=THREEFRY, dtypes=INTEGERS, order=0),
    *(
        row("random_split", keys(2), shape=(3,), partitionable=p, dtypes=(U32,), order=0, label=name)
        for p, name in ((True, ""), (False, "in-halves"))
    ),
    row("random_fold_in", keys(3), words(3), dtypes=(U32,), order=0),
    *(
        row("random_bits", keys(2), shape=(3, 3), bit_width=width, partitionable=p, dtypes=(U32,),
            order=0, label=f"{width}{label}")
        for width in (8, 16, 32, 64)
        for p, label in ((True, ""), (False, "-in-halves"))
    ),
]  # fmt: skip

CASES = [
    *ELEMENTWISE,
    *SHAPES,
    *REDUCTIONS,
    *PRODUCTS,
    *INDEXING,
    *WINDOWS,
    *ORDERING,
    *SCANS,
    *RANDOM,
]

# Primitives that rows cannot test, by the file that tests them: their parameters are programs, or
# they need an axis that a transform binds.
COVERED = {
    "cond": "tests/transforms/test_control.py",
    "debug_callback": "tests/transforms/test_callbacks.py",
    "ffi_call": "tests/transforms/test_ffi.py",
    "io_callback": "tests/transforms/test_callbacks.py",
    "pure_callback": "tests/transforms/test_callbacks.py",
    "jit": "tests/transforms/test_jit.py",
    "scan": "tests/transforms/test_control.py",
    "while": "tests/transforms/test_control.py",
    "while_tangent": "tests/transforms/test_control.py",
    "check": "tests/transforms/test_checking.py",
    "checkpoint": "tests/transforms/test_checkpoint.py",
    "custom_jvp_call": "tests/transforms/test_custom_jvp.py",
    "custom_vjp_call": "tests/transforms/test_custom_vjp.py",
    "custom_vjp_tangent": "tests/transforms/test_custom_vjp.py",
    "custom_vmap_call": "tests/transforms/test_custom_vmap.py",
    "custom_linear_solve": "tests/transforms/test_solve.py",
    "linear_call": "tests/transforms/test_linear_call.py",
    "psum": "tests/transforms/test_collective.py",
    "psum_invariant": "tests/transforms/test_collective.py",
    "pvary": "tests/transforms/test_collective.py",
    "pmax": "tests/transforms/test_collective.py",
    "pmin": "tests/transforms/test_collective.py",
    "all_gather": "tests/transforms/test_collective.py",
    "all_gather_invariant": "tests/transforms/test_collective.py",
    "psum_scatter": "tests/transforms/test_collective.py",
    "all_to_all": "tests/transforms/test_collective.py",
    "ppermute": "tests/transforms/test_collective.py",
    "pbroadcast": "tests/transforms/test_collective.py",
    "ragged_all_to_all": "tests/transforms/test_collective.py",
    "axis_index": "tests/transforms/test_collective.py",
    "device_put": "tests/runtime/test_transfer.py",
    "shard_map": "tests/transforms/test_shard_map.py",
    "sharding_constraint": "tests/runtime/test_sharded.py",
}
