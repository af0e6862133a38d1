"""Products: mixed dtypes, precision, and errors that show the shapes."""

import numpy as np
import pytest

import functrax
from functrax import errors
from functrax.primitives.dot import dot, dot_general
from functrax.primitives.precision import DotAlgorithm, DotAlgorithmPreset, Precision

MATRICES = (((1,), (0,)), ((), ()))


def precision_of(**options):
    x = np.ones((2, 2), np.float32)
    program = functrax.make_jaxpr(lambda a: dot(a, a, **options))(x)
    return program.eqns[0].params["precision"]


def test_precision_is_canonical_and_follows_the_option():
    assert precision_of() is None
    assert precision_of(precision="high") == (Precision.HIGH, Precision.HIGH)
    assert precision_of(precision=("default", Precision.HIGHEST)) == (
        Precision.DEFAULT,
        Precision.HIGHEST,
    )
    with functrax.default_matmul_precision("float32"):
        assert precision_of() == (Precision.HIGHEST, Precision.HIGHEST)
        assert precision_of(precision="F32_F32_F32") is DotAlgorithmPreset.F32_F32_F32


def test_an_algorithm_rounds_as_it_says():
    x = np.array([[1 + 2.0**-12]], np.float32)
    algorithm = DotAlgorithm(np.float32, np.float32, np.float32)
    assert float(dot(x, x, precision=algorithm)[0, 0]) > 1
    if functrax.devices()[0].platform == "cpu":
        assert float(dot(x, x, precision="BF16_BF16_F32")[0, 0]) == 1


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ("float32", "bfloat16", "float32"),
        ("float16", "bfloat16", "bfloat16"),
        ("int8", "float32", "float32"),
        ("uint8", "int8", "int8"),
        ("complex64", "float64", "complex64"),
        ("bool", "int32", "int32"),
        ("int4", "int4", "int4"),
    ],
)
def test_mixed_dtypes_give_the_wider_one(left, right, wanted):
    x, y = functrax.numpy.ones((2, 3), left), functrax.numpy.ones((3, 2), right)
    result = dot_general(x, y, MATRICES)
    assert result.dtype == functrax.numpy.dtype(wanted)
    np.testing.assert_array_equal(np.asarray(result).astype(complex), 3)


def test_small_integers_do_not_wrap_in_wider_sums():
    x = np.full((1, 4), 127, np.int8)
    for preferred in ("int32", "float32"):
        total = dot_general(x, x.T, MATRICES, preferred_element_type=preferred)
        assert float(total[0, 0]) == 4 * 127**2


def test_errors_show_both_shapes():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(errors.ShapeError) as caught:
        dot_general(x, x, MATRICES)
    assert str(caught.value).startswith(
        "[dot_general] expected contracting axes of equal sizes; got axes (1,) of f32[2,3] and "
        "(0,) of f32[2,3] (test_dot.py:"
    )
    with pytest.raises(errors.ArgumentError, match="precision to be None"):
        dot(x, x.T, precision="exact")


def test_nothing_is_rounded_to_float8_unasked():
    x = np.ones((2, 2), np.float32)
    with pytest.raises(errors.DtypeError, match="float8 operands for the algorithm"):
        dot(x, x, precision="ANY_F8_ANY_F8_F32")
    small = functrax.numpy.asarray(x, "float8_e4m3fn")
    options = {"precision": "ANY_F8_ANY_F8_F32", "preferred_element_type": "float32"}
    grad = functrax.grad(lambda v: dot(v, small, **options).sum())(small)
    assert grad.dtype == small.dtype
    np.testing.assert_array_equal(np.asarray(grad).astype(float), 2)
