"""The programs whose printed form is kept beside this file, one NAME.txt each.

After a change that is meant, write the files anew and read the difference::

    python -m tests.golden.programs
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

import functrax
from functrax.core import dtypes
from functrax.core.jaxpr import ClosedJaxpr
from functrax.core.show import show
from functrax.core.trace import bind
from functrax.core.types import Literal, ShapedArray
from functrax.primitives import convert, dot, gather, join, keys, shape, slice
from functrax.primitives import elementwise as e
from functrax.primitives.argmax import argmax_p
from functrax.primitives.convolution import conv_general_dilated
from functrax.primitives.precision import DotAlgorithm, DotAlgorithmPreset, Precision
from functrax.primitives.reduce import reduce_sum
from functrax.primitives.rules import full
from functrax.transforms.custom_jvp import custom_jvp
from functrax.transforms.remat.checkpoint import checkpoint

FOLDER = Path(__file__).parent
VECTOR = np.linspace(0.1, 1, 3, dtype=np.float32)
MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
IMAGE = np.ones((1, 4, 3, 3), np.float32)


def golden(name: str) -> str:
    """Read the text that a program should have."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def traced(name: str) -> ClosedJaxpr:
    """Trace a program."""
    function, *arguments = PROGRAMS[name]
    return functrax.make_jaxpr(function)(*arguments)


# ---- short ones


def one_equation(x):
    return e.mul(x, 2.0)


def identity(x, y):
    return y, x


def no_arguments():
    return full((3,), 1.5, np.dtype(np.float32)), 7


def chain(x, y):
    return reduce_sum(e.mul(e.sin(x), y), (0,)), e.gt(x, y)


def unused_results(x):
    e.cos(x)
    first, _ = join.split(x, (1, 2))
    return first


def captured_arrays(x):
    return e.add(e.mul(x, VECTOR), np.arange(3, dtype=np.float32))


def _literal(value: Any, dtype: Any, weak: bool = False) -> Literal:
    return Literal(value, ShapedArray((), np.dtype(dtype), weak))


def literals(x):
    return [
        *(_literal(v, "float32") for v in (0, -0.0, 0.1, 1e-45, 3e38)),
        *(_literal(v, "float32") for v in (math.inf, -math.inf, math.nan)),
        *(_literal(v, dtypes.bfloat16) for v in (1, np.pi)),
        *(_literal(v, "float64") for v in (1 / 3, 5e-324, 1e308)),
        *(_literal(v, "complex64") for v in (1, 2j, -0.0, complex(0.0, -math.inf))),
        *(_literal(v, "int32", True) for v in (-(2**31), 2**31 - 1)),
        *(_literal(v, "uint64") for v in (0, 2**64 - 1)),
        *(_literal(v, bool) for v in (True, False)),
        e.mul(x, _literal(np.float32(0.1), "float32")),
    ]


def dtype_zoo(x):
    kinds = [dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.int4, "float64", "complex128", "bool"]
    converted = [convert.convert_element_type(x, kind) for kind in kinds]
    return *converted, convert.bitcast_convert_type(x, np.uint16)


# ---- parameters of all kinds


def products(x):
    numbers = (((1,), (1,)), ((), ()))
    algorithm = DotAlgorithm(dtypes.bfloat16, dtypes.bfloat16, dtypes.float32, 1, 1, 3)
    return [
        dot.dot_general(x, x, numbers, precision, np.float32)
        for precision in (None, Precision.HIGHEST, algorithm, DotAlgorithmPreset.F32_F32_F32)
    ]


def gathers(x, i):
    numbers = gather.GatherDimensionNumbers((1,), (0,), (0,))
    options = {"unique_indices": True}, {"mode": "fill", "fill_value": -1.0}, {"mode": "clip"}
    return [gather.gather(x, i, numbers, (1, 3), **option) for option in options]


def convolution(image, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=layout)


def typed_keys(seed):
    both = keys.random_split(keys.random_seed(seed), (2,))
    return both, keys.random_bits(shape.reshape(slice.slice(both, (0,), (1,)), ()), 32, (3,))


def positions(x):
    return bind(argmax_p, x, axes=(1,), index_dtype=np.dtype(np.int32))


# ---- programs in programs


@functrax.jit
def inner(x):
    return e.neg(x)


@functrax.jit
def outer(x):
    return e.mul(inner(e.sin(x)), inner(x))


def nested(x):
    return functrax.jit(lambda y: e.exp(functrax.jit(e.sin)(e.cos(y))))(x)


def shared(x):
    return e.add(outer(x), inner(outer(x)))


def same_name(x):
    def make(constant: float):
        def scale(y):
            return e.mul(y, constant)

        return functrax.jit(scale)

    double, triple = make(2.0), make(3.0)
    return triple(double(triple(double(x))))


def nothing_returned(x):
    functrax.jit(lambda y: ())(x)
    return ()


@custom_jvp
def with_rule(x):
    return e.mul(x, x)


with_rule.defjvp(lambda primals, tangents: (with_rule(*primals), tangents[0]))


def custom_rule(x):
    return with_rule(x)


def many_arguments(*xs):
    return functrax.jit(lambda *ys: tuple(reversed(ys)))(*xs)


def gradient(x):
    return functrax.grad(lambda y: reduce_sum(checkpoint(outer)(y), (0,)))(x)


def mapped(x):
    return functrax.vmap(functrax.jit(lambda row: reduce_sum(e.mul(row, row), (0,))))(x)


PROGRAMS: dict[str, Any] = {
    "one_equation": (one_equation, 1.0),
    "identity": (identity, 1, VECTOR),
    "no_arguments": (no_arguments,),
    "chain": (chain, VECTOR, VECTOR),
    "unused_results": (unused_results, VECTOR),
    "captured_arrays": (captured_arrays, VECTOR),
    "literals": (literals, np.float32(1)),
    "dtype_zoo": (dtype_zoo, VECTOR),
    "products": (products, MATRIX),
    "gathers": (gathers, MATRIX, np.array([[0], [5]], np.int32)),
    "convolution": (convolution, IMAGE, IMAGE),
    "typed_keys": (typed_keys, np.uint32(0)),
    "positions": (positions, MATRIX),
    "nested": (nested, VECTOR),
    "shared": (shared, VECTOR),
    "same_name": (same_name, VECTOR),
    "nothing_returned": (nothing_returned, VECTOR),
    "many_arguments": (many_arguments, *[MATRIX] * 30),
    "gradient": (gradient, VECTOR),
    "mapped": (mapped, MATRIX),
    "custom_rule": (custom_rule, VECTOR),
}
#: What cannot be read back: it holds a Python function.
OPAQUE = {"custom_rule"}


def write() -> None:
    """Write every program's text to its file."""
    for name in PROGRAMS:
        text = show(traced(name), header=True)
        (FOLDER / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
