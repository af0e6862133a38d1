"""Reductions: derivatives at zeros and ties, NaN, empty axes, and functions that the user gives."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.primitives.argmax import argmax, argmin
from functrax.primitives.reduce import reduce_max, reduce_prod, reduce_sum
from functrax.primitives.reduce_generic import reduce


def test_the_derivative_of_a_product_is_exact_at_zeros():
    x = np.array([0.0, 2.0, 3.0, 5.0, 7.0])
    grad = functrax.grad(lambda v: reduce_prod(v, (0,)))
    np.testing.assert_array_equal(grad(x), [210, 0, 0, 0, 0])
    hessian = np.asarray(functrax.hessian(lambda v: reduce_prod(v, (0,)))(x))
    np.testing.assert_array_equal(hessian[0], [0, 105, 70, 42, 30])
    np.testing.assert_array_equal(hessian[1:, 1:], 0)


def test_ties_share_the_derivative_of_a_maximum():
    grad = functrax.grad(lambda v: reduce_max(v, (0,)))
    np.testing.assert_allclose(grad(np.array([3.0, 1, 3, 3])), [1 / 3, 0, 1 / 3, 1 / 3])


EXTREMES = {
    "max": jnp.max,
    "min": jnp.min,
    "max with initial": lambda v: jnp.max(v, initial=0.0),
    "max over all axes": lambda v: reduce_max(v.reshape(3, 1), (0, 1)),
    "ptp": jnp.ptp,
    "cummax": lambda v: jnp.sum(jnp.nan_to_num(lax.cummax(v))),
    "cummin": lambda v: jnp.sum(jnp.nan_to_num(lax.cummin(v, reverse=True))),
    "cumlogsumexp": lambda v: jnp.sum(lax.cumlogsumexp(v)),
    "pmax": lambda v: jnp.sum(functrax.vmap(lambda x: lax.pmax(x, "i"), axis_name="i")(v)),
    "pmin": lambda v: jnp.sum(functrax.vmap(lambda x: lax.pmin(x, "i"), axis_name="i")(v)),
    "scatter_max": lambda v: jnp.sum(jnp.zeros(2).at[jnp.array([0, 1, 0])].max(v)),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_derivative_at_nan_is_the_same_in_both_modes(name, place):
    """A NaN that was the result does not vanish from the gradient."""
    x = np.array([1.0, 2.0, 3.0], np.float32)
    x[place] = np.nan
    backward = np.asarray(functrax.grad(EXTREMES[name])(x))
    forward = [functrax.jvp(EXTREMES[name], (x,), (e,))[1] for e in np.eye(3, dtype=np.float32)]
    np.testing.assert_array_equal(backward, np.stack(forward))
    if name not in ("cummax", "cummin", "scatter_max"):
        assert np.isnan(backward).all()


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_the_derivative_of_a_running_extreme_is_zero_from_nan_on(name):
    x = np.array([1.0, np.nan, 3.0], np.float32)
    for jacobian in (functrax.jacfwd, functrax.jacrev):
        found = jacobian(getattr(lax, name))(x)
        np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("find", [argmax, argmin])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_first_nan_or_extreme_is_found(find, dtype):
    nan, inf = np.nan, np.inf
    x = np.array([[1, nan, 3, nan], [inf, inf, inf, inf], [-inf, -inf, -inf, -inf]])
    found = find(functrax.numpy.asarray(x, dtype), 1, np.int32)
    assert np.asarray(found).tolist() == [1, 0, 0]


def test_an_empty_axis_gives_the_identity():
    empty = np.zeros((0, 2), np.float32)
    assert np.asarray(reduce_max(empty, (0,))).tolist() == [-np.inf, -np.inf]
    assert np.asarray(reduce_sum(empty, (0,))).tolist() == [0, 0]
    with pytest.raises(errors.ShapeError) as caught:
        argmax(empty, 0, np.int32)
    assert str(caught.value).startswith(
        "[argmax] expected axis 0 to have at least one element, and no more than int32 counts; "
        "got f32[0,2] (test_reduce.py:"
    )


def first_of_maximum(left, right):
    (x, i), (y, j) = left, right
    better = lax.bitwise_or(lax.gt(x, y), lax.bitwise_and(lax.eq(x, y), lax.lt(i, j)))
    return lax.select_n(better, y, x), lax.select_n(better, j, i)


@pytest.mark.parametrize("axes", [(1,), (0, 1), ()])
def test_reduce_takes_any_associative_function(axes):
    x = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 9, 3]], np.float32)
    places = np.arange(10, dtype=np.int32).reshape(2, 5)
    start = np.float32(-np.inf), np.int32(99)
    values, found = reduce((x, places), start, first_of_maximum, axes)
    flat = x if not axes else x.reshape((2, -1) if axes == (1,) else (1, -1)).max(1).squeeze()
    np.testing.assert_array_equal(values, flat)
    wanted = {(1,): [4, 5], (0, 1): 5, (): places.tolist()}[axes]
    assert np.asarray(found).tolist() == wanted


def test_reduce_recognizes_known_functions():
    program = functrax.make_jaxpr(lambda v: reduce(v, -np.inf, lambda a, b: lax.max(b, a), (0,)))
    assert [eqn.primitive.name for eqn in program(np.ones(5, np.float32)).eqns] == ["reduce_max"]
    total = reduce(np.ones(5, np.float32), 2.0, lax.add, (0,))
    assert float(total) == 7
