"""Sorting: the order of special values, stability, and both ways to write it."""

import numpy as np
import pytest

import functrax
from functrax import errors
from functrax.lowering.builder import Builder
from functrax.primitives.sort import argsort, sort, top_k

NEGATIVE_NAN = np.array([0xFFC00000], np.uint32).view(np.float32)[0]
SPECIAL = np.array([1, np.nan, np.inf, NEGATIVE_NAN, -0.0, 0.0, -1, 0.0, -0.0, -np.inf], np.float32)


@pytest.fixture(params=["cpu", "gpu"], autouse=True)
def platform(request, monkeypatch):
    """Write by integers (cpu) or by a comparator (gpu); run both on the CPU."""
    make = Builder.__init__

    def patched(self, context, _, *rest):
        make(self, context, request.param, *rest)

    monkeypatch.setattr(Builder, "__init__", patched)


def run(function, *args, **options):
    return functrax.jit(lambda *a: function(*a, **options))(*args)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_order_of_special_values(dtype):
    x = functrax.numpy.asarray(SPECIAL, dtype)
    assert np.asarray(run(argsort, x)).tolist() == [9, 6, 4, 5, 7, 8, 0, 2, 1, 3]
    wanted = [-np.inf, -1, 0, 0, 0, 0, 1, np.inf, np.nan, np.nan]
    np.testing.assert_array_equal(np.asarray(run(sort, x)).astype(float), wanted)
    values, places = run(lambda v: top_k(v, 10), x)
    assert np.asarray(places).tolist() == [1, 2, 0, 5, 7, 4, 8, 6, 9, 3]
    assert np.isnan(np.asarray(values).astype(float)).tolist() == [True, *[False] * 8, True]


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "uint32", "int64", "uint64", "bfloat16", "float64"]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_permutations_are_stable(dtype, axis):
    low = 0 if dtype[0] in "ub" else -2
    x = np.random.default_rng(0).integers(low, 3, (9, 7)).astype(np.int64)
    array = functrax.numpy.asarray(x % 2 == 1 if dtype == "bool" else x, dtype)
    key = np.asarray(array).astype(np.float64)
    assert np.array_equal(run(argsort, array, dimension=axis), np.argsort(key, axis, "stable"))
    keys, values = run(lambda k, v: sort((k, v), axis), array, x)
    assert np.array_equal(values, np.take_along_axis(x, np.argsort(key, axis, "stable"), axis))
    assert np.array_equal(np.asarray(keys).astype(np.float64), np.sort(key, axis))
    assert keys.dtype == array.dtype


def test_unsigned_integers_above_the_signed_ones():
    x = np.array([2**31, 1, 2**32 - 1, 0, 2**31 - 1], np.uint32)
    assert np.asarray(run(argsort, x)).tolist() == [3, 1, 4, 0, 2]
    assert np.asarray(run(lambda v: top_k(v, 2), x)[0]).tolist() == [2**32 - 1, 2**31]


def test_several_keys():
    first = np.array([1, 0, 1, 0], np.int32)
    second = np.array([2, 1, 1j, 1 - 1j], np.complex64)
    result = run(lambda *a: sort(a, num_keys=2), first, second, np.arange(4, dtype=np.int32))
    assert np.asarray(result[2]).tolist() == [3, 1, 2, 0]


def test_errors():
    with pytest.raises(errors.ArgumentError) as caught:
        top_k(np.ones(3, np.float32), 4)
    assert str(caught.value).startswith(
        "[top_k] expected k from 0 to the size of axis 0; got k=4 for f32[3] (test_sort.py:"
    )
