"""Conversions keep what they can, and identities do what they are for."""

import numpy as np
import pytest

import functrax
from functrax import errors
from functrax.primitives.clamp import clamp
from functrax.primitives.convert import (
    bitcast_convert_type,
    convert_element_type,
    optimization_barrier,
    stop_gradient,
)
from functrax.primitives.join import pad


def test_wide_numbers_are_not_narrowed_on_the_way():
    assert float(convert_element_type(0.1, "float64")) == 0.1
    assert float(convert_element_type(2**40, "float64")) == 2**40
    large = np.array([2**40 + 1])
    assert np.asarray(convert_element_type(large, "float64")).tolist() == [2**40 + 1]
    with pytest.raises(errors.IntegerOverflowError):
        convert_element_type(2**40, "int32")


def test_out_of_range_floats_saturate():
    x = np.array([np.nan, 1e20, -1e20, -3.7, 300], np.float32)
    assert np.asarray(convert_element_type(x, "int32"))[3:].tolist() == [-3, 300]
    assert np.asarray(convert_element_type(x, "bool")).tolist() == [True] * 5


def test_complex_to_real_warns():
    with pytest.warns(np.exceptions.ComplexWarning, match="discards the imaginary part"):
        result = convert_element_type(np.array([1 + 2j], np.complex64), "float32")
    assert np.asarray(result).tolist() == [1]


def test_bitcast_splits_and_joins_elements():
    x = np.array([[1.0, 2.0]], np.float32)
    parts = bitcast_convert_type(x, np.uint8)
    assert parts.shape == (1, 2, 4)
    np.testing.assert_array_equal(bitcast_convert_type(parts, np.float32), x)
    with pytest.raises(errors.ShapeError, match="a last axis of size 4 to make one f32 of"):
        bitcast_convert_type(np.zeros((2, 3), np.uint8), np.float32)


def test_stop_gradient_stops_every_order_and_writes_nothing():
    grad = functrax.grad(lambda x: x * stop_gradient(x * x))
    assert float(grad(3.0)) == 9
    assert float(functrax.grad(grad)(3.0)) == 0
    assert stop_gradient({"a": 1, "b": None}) == {"a": 1, "b": None}
    text = functrax.jit(stop_gradient).lower(np.ones(3, np.float32)).as_text()
    assert text.count("stablehlo.") == 0


def test_barrier_keeps_trees_and_derivatives():
    out = optimization_barrier({"x": np.ones(2, np.float32), "n": 3})
    assert sorted(out) == ["n", "x"]
    grad = functrax.grad(lambda x, y: optimization_barrier((x * y, y))[0], (0, 1))
    assert [float(g) for g in grad(2.0, 5.0)] == [5, 2]


def test_crossed_limits_and_mapped_limits():
    assert float(clamp(np.float32(3), np.float32(0), np.float32(2))) == 2
    mapped = functrax.vmap(clamp, (None, None, 0))(0.0, 5.0, np.arange(3, dtype=np.float32))
    assert np.asarray(mapped).tolist() == [0, 1, 2]


def test_mapped_padding_values():
    x, fill = np.ones((2, 2), np.float32), np.array([7, 8], np.float32)
    found = functrax.vmap(lambda v, p: pad(v, p, [(1, 0, 1)]), (1, 0))(x, fill)
    assert np.asarray(found).tolist() == [[7, 1, 7, 1], [8, 1, 8, 1]]
