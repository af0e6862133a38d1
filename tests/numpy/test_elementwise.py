"""Elementwise functions on every kind of operand. The oracle is jax.numpy."""

import numpy as np
import pytest

import functrax.numpy as jnp
from tests.numpy.compare import check, rows

UNARY = [
    "negative",
    "positive",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "cbrt",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "deg2rad",
    "rad2deg",
    "sinc",
    "abs",
    "fabs",
    "sign",
    "square",
    "reciprocal",
    "floor",
    "ceil",
    "trunc",
    "rint",
    "round",
    "conj",
    "real",
    "imag",
    "angle",
    "bitwise_not",
    "bitwise_count",
    "logical_not",
    "isfinite",
    "isinf",
    "isnan",
    "isposinf",
    "isneginf",
    "isreal",
    "iscomplex",
    "signbit",
    "nan_to_num",
    "modf",
]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "floor_divide",
    "remainder",
    "fmod",
    "power",
    "float_power",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "arctan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "copysign",
    "heaviside",
    "nextafter",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "left_shift",
    "right_shift",
    "isclose",
]
OPERANDS = ["f", "h", "i", "u", "b", "c", "2.5"]
PAIRS = [
    "f, g",
    "i, j",
    "f, 2",
    "i, 2.5",
    "h, g",
    "u, 3",
    "b, b",
    "i, b",
    "c, g",
    "j, True",
    "f, s",
]

# Where JAX differs from NumPy or from itself, or computes nonsense; the reason beside each.
UNLIKE_JAX = {
    "round(b)": "JAX refuses booleans",
    "power(i, j)": "JAX: undefined for negative exponents of integers",
    "sinc(f)": "JAX 0.10 computes sin(float(pi) x), JAX 0.12 does not: test_sinc_at_integers",
    "sinc(i)": "as above",
    "sinc(h)": "as above",
    "sinc(u)": "as above",
}
# JAX's formulas have strong constants; ours are weak, as for all other functions.
WEAK_DIFFERS = {
    "log2(2.5)",
    "log10(2.5)",
    "hypot(i, 2.5)",
    "logaddexp2(i, 2.5)",
    "heaviside(i, 2.5)",
}


def refused(expression: str) -> bool:
    """Tell whether JAX refuses the expression; then functrax does, with an error of its own."""
    import jax

    from tests.numpy.compare import evaluate

    try:
        evaluate(jax, expression)
    except (TypeError, ValueError):
        return True
    return False


def compare(expression: str) -> None:
    import functrax
    from tests.numpy.compare import evaluate

    short = expression.removeprefix("jnp.")
    if short in UNLIKE_JAX:
        evaluate(functrax, expression)
    elif refused(expression):
        with pytest.raises(functrax.errors.FunctraxError):
            evaluate(functrax, expression)
    else:
        check(expression, weak=short not in WEAK_DIFFERS)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    for operand in OPERANDS:
        compare(f"jnp.{name}({operand})")


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    for pair in PAIRS:
        compare(f"jnp.{name}({pair})")


OTHERS = rows("""
jnp.clip(f, 0, 1)
jnp.clip(i, 0, 2.5)
jnp.where(f > 0, f, 0.0)
jnp.where(b, 1, 2.5)
jnp.bitwise_left_shift(i, 1)
jnp.pow(f, 2)
jnp.acos(f / 3)
w + w
w * 2.0
w * np.float32(2)
jnp.exp(w)
jnp.maximum(w, 0)
(f > 0) & (f < 2)
u / 256
300 / u
i / 2**20
jnp.arctan2(u, -1)
jnp.hypot(inf[:, None], inf)
jnp.logaddexp(inf[:, None], inf)
jnp.fmax(inf[:, None], inf)
jnp.fmin(c, c[::-1])
jnp.angle(inf)
jnp.array_equal([1, 2], [1, 2])
jnp.array_equiv(f, [1.0, 2.0])
jnp.iscomplexobj([1, 2j])
jnp.shape([[1], [2]])
jnp.size([[1, 2]], 1)
""")


@pytest.mark.parametrize("expression", OTHERS)
def test_others(expression: str) -> None:
    check(expression)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32", "uint8"])
def test_sinc_at_integers(dtype: str) -> None:
    """Zero where pi in floating point times an integer has a sine that is not."""
    whole = jnp.array([0, 1, 2, 3, 100], dtype)
    np.testing.assert_array_equal(np.asarray(jnp.sinc(whole), np.float64), [1, 0, 0, 0, 0])
    between = np.array([-2.5, -0.25, 0.5, 1.25, 7.75])
    if dtype.startswith("float"):
        tolerance = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
        found = np.asarray(jnp.sinc(jnp.array(between, dtype)), np.float64)
        np.testing.assert_allclose(found, np.sinc(between), rtol=tolerance)


@pytest.mark.parametrize("name", ["log2", "log10"])
def test_logarithms_of_complex_zero(name: str) -> None:
    zero = getattr(jnp, name)(jnp.array([0j, 4 + 0j]))
    assert zero[0].real == -np.inf
    assert zero[0].imag == 0


def test_functions_of_one_primitive_keep_their_dtypes() -> None:
    """`abs` and `fabs` are one primitive: what one compiled is not for the other's operands."""
    assert jnp.abs(jnp.arange(3)).dtype == "int32"
    assert jnp.fabs(jnp.arange(3)).dtype == "float32"


def test_exponents_of_the_smallest_numbers() -> None:
    """Below the normal numbers, where devices flush to zero and JAX returns half of 2**-149."""
    for dtype in ("float32", "float64"):
        tiny = np.finfo(dtype).tiny
        x = np.array([tiny, tiny / 2, -tiny / 3, np.finfo(dtype).smallest_subnormal], dtype)
        mantissa, exponent = jnp.frexp(jnp.asarray(x, dtype))
        expected = np.frexp(x)
        np.testing.assert_array_equal(mantissa, expected[0])
        np.testing.assert_array_equal(exponent, expected[1])
        up = np.array([100, 120, 60, 60])
        np.testing.assert_array_equal(jnp.ldexp(jnp.asarray(x, dtype), up), np.ldexp(x, up))
    assert float(jnp.ldexp(1.5, jnp.uint32(4_000_000_000))) == np.inf
    assert float(jnp.ldexp(1.5, jnp.asarray(-(2**40), "int64"))) == 0.0
    assert float(jnp.ldexp(jnp.float32(3e38), -250)) == np.ldexp(np.float32(3e38), -250)
