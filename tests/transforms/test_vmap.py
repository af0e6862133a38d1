"""`vmap`: which axes are mapped, where they go, and what the function sees."""

import collections
import inspect

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax.core.trace import Tracer

Pair = collections.namedtuple("Pair", "x y")


def test_the_function_sees_one_element():
    seen = []

    def f(x, y):
        seen.append((x.shape, x.ndim, x.dtype, y.shape, isinstance(x, functrax.Array)))
        return x

    functrax.vmap(f, in_axes=(1, None))(jnp.ones((2, 3, 4)), jnp.ones(5))
    assert seen == [((2, 4), 2, np.float32, (5,), True)]


def test_what_is_not_mapped_stays_concrete():
    def f(x, n):
        assert not isinstance(n, Tracer)
        return x * int(n) if n > 1 else x

    assert functrax.vmap(f, in_axes=(0, None))(jnp.arange(3), jnp.array(2)).tolist() == [0, 2, 4]
    assert functrax.vmap(f, in_axes=(0, None))(jnp.arange(3), 3).tolist() == [0, 3, 6]


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_in_and_out_axes_are_inverse(axis):
    x = jnp.arange(24).reshape(2, 3, 4)
    assert functrax.vmap(lambda x: x, axis, axis)(x).tolist() == x.tolist()
    moved = functrax.vmap(lambda x: x, axis)(x)
    assert moved.tolist() == np.moveaxis(np.asarray(x), axis, 0).tolist()


def test_prefixes_of_pytrees():
    args = ({"a": jnp.arange(6).reshape(2, 3), "b": [jnp.arange(2), 5]}, Pair(jnp.ones(2), 1.0))
    f = lambda d, p: d["a"].sum() + d["b"][0] + d["b"][1] + p.x * p.y  # noqa: E731
    expected = [9.0, 19.0]
    axes = {"a": 0, "b": [0, None]}
    assert functrax.vmap(f, in_axes=(axes, Pair(0, None)))(*args).tolist() == expected
    assert functrax.vmap(f, in_axes=[axes, Pair(0, None)])(*args).tolist() == expected


def test_axes_by_parameter_name():
    f = lambda x, b, *, scale=1.0: x * scale + b  # noqa: E731
    x = jnp.arange(3.0)
    assert functrax.vmap(f, in_axes={"x": 0, "b": None})(x, 10.0).tolist() == [10, 11, 12]
    assert functrax.vmap(f, in_axes={"b": None})(x, b=10.0).tolist() == [10, 11, 12]
    assert functrax.vmap(f, in_axes={"b": None, "scale": None})(x, 1.0, scale=2.0).tolist() == [
        1, 3, 5]  # fmt: skip
    assert functrax.vmap(f, in_axes={"x": None, "b": 0})(2.0, x, scale=x).tolist() == [0, 3, 6]
    tree = {"w": jnp.arange(6.0).reshape(3, 2), "c": 1.0}
    g = lambda p, x: p["w"] * x + p["c"]  # noqa: E731
    found = functrax.vmap(g, in_axes={"p": {"w": 1, "c": None}, "x": None})(tree, 2.0)
    assert found.tolist() == [[1, 5, 9], [3, 7, 11]]


def test_a_dict_for_one_dict_argument_is_its_prefix():
    f = lambda p: p["x"] + p["b"]  # noqa: E731
    found = functrax.vmap(f, in_axes=({"x": 0, "b": None},))({"x": jnp.arange(2), "b": 3})
    assert found.tolist() == [3, 4]


def test_keyword_arguments_are_mapped_over_their_first_axis():
    f = lambda x, *, y: x + y["k"]  # noqa: E731
    assert functrax.vmap(f)(jnp.arange(2), y={"k": jnp.arange(2)}).tolist() == [0, 2]
    assert functrax.vmap(f, in_axes=None)(1, y={"k": jnp.arange(2)}).tolist() == [1, 2]


def test_none_leaves_and_empty_trees():
    f = lambda x, tree: (x, tree, None, {})  # noqa: E731
    out = functrax.vmap(f)(jnp.arange(2), {"a": None, "b": ()})
    assert out[1:] == ({"a": None, "b": ()}, None, {})


def test_results_of_every_kind():
    def f(x):
        return {"x": x, "constant": 2.5, "flag": True, "array": jnp.arange(2), "numpy": np.ones(2)}

    out = functrax.vmap(f)(jnp.arange(3))
    assert out["constant"].tolist() == [2.5] * 3
    assert out["flag"].tolist() == [True] * 3
    assert out["array"].tolist() == [[0, 1]] * 3
    assert out["numpy"].shape == (3, 2)
    assert out["constant"].weak_type


def test_out_axes():
    f = lambda x: (jnp.outer(x, x), x, 1.0)  # noqa: E731
    x = jnp.arange(6.0).reshape(2, 3)
    shapes = lambda out: [v.shape for v in out]  # noqa: E731
    assert shapes(functrax.vmap(f)(x)) == [(2, 3, 3), (2, 3), (2,)]
    assert shapes(functrax.vmap(f, out_axes=(-1, 1, 0))(x)) == [(3, 3, 2), (3, 2), (2,)]
    assert shapes(functrax.vmap(f, out_axes=(1, -2, None))(x)) == [(3, 2, 3), (2, 3), ()]
    pair = functrax.vmap(lambda x: Pair({"a": x}, x), out_axes=Pair({"a": 1}, 0))(x)
    assert (pair.x["a"].shape, pair.y.shape) == ((3, 2), (2, 3))


def test_axis_size():
    assert functrax.vmap(lambda: 1.0, axis_size=3)().tolist() == [1, 1, 1]
    assert functrax.vmap(lambda x: x + 1, in_axes=None, axis_size=2)(1).tolist() == [2, 2]
    assert functrax.vmap(lambda x: x, axis_size=3)(jnp.arange(3)).tolist() == [0, 1, 2]
    assert functrax.vmap(lambda x: x * 2)(jnp.zeros((0, 3))).shape == (0, 3)
    assert functrax.vmap(jnp.sum, axis_size=0, in_axes=None)(jnp.ones(2)).shape == (0,)


def test_numpy_arrays_and_lists_are_leaves():
    assert functrax.vmap(jnp.dot)(np.ones((2, 3)), np.ones((2, 3))).tolist() == [3, 3]
    assert functrax.vmap(lambda xs: xs[0] + xs[1])([np.arange(2), np.arange(2)]).tolist() == [0, 2]


def test_nested_and_repeated_axes():
    x, y = jnp.arange(2.0), jnp.arange(3.0)
    table = functrax.vmap(functrax.vmap(lambda x, y: x * 10 + y, (None, 0)), (0, None))(x, y)
    assert table.tolist() == [[0, 1, 2], [10, 11, 12]]
    same = jnp.arange(3.0)
    assert functrax.vmap(jnp.multiply)(same, same).tolist() == [0, 1, 4]
    deep = functrax.vmap(functrax.vmap(functrax.vmap(lambda x: x + 1)))
    assert deep(jnp.zeros((2, 3, 4))).shape == (2, 3, 4)


def test_under_jit_and_captured_tracers():
    def f(x, y):
        return functrax.vmap(lambda a: functrax.vmap(lambda b: a * b + y[0])(x))(x)

    x, y = jnp.arange(2.0), jnp.arange(1.0, 3.0)
    assert functrax.jit(f)(x, y).tolist() == f(x, y).tolist() == [[1, 1], [1, 2]]
    grad = functrax.grad(lambda x, y: f(x, y).sum(), argnums=(0, 1))(x, y)
    assert [g.tolist() for g in grad] == [[2, 2], [4, 0]]


def test_control_by_shape_and_indexing():
    def f(x, i):
        return x[i] + x[-1] + x[: len(x) - 1].sum() + (x[jnp.array([0, i])] * 2).sum()

    x, i = jnp.arange(6.0).reshape(2, 3), jnp.array([0, 2])
    expected = [f(x[k], i[k]) for k in range(2)]
    assert functrax.vmap(f)(x, i).tolist() == [float(v) for v in expected]
    assert functrax.vmap(f, in_axes=(None, 0))(x[0], i).shape == (2,)


def test_updates_at_mapped_places():
    f = lambda x, i, v: x.at[i].set(v).at[0].add(1.0)  # noqa: E731
    x, i, v = jnp.zeros((2, 3)), jnp.array([1, 2]), jnp.array([5.0, 6.0])
    assert functrax.vmap(f)(x, i, v).tolist() == [[1, 5, 0], [1, 0, 6]]
    assert functrax.vmap(f, (None, 0, None))(x[0], i, 7.0).tolist() == [[1, 7, 0], [1, 0, 7]]
    assert functrax.vmap(f, (0, None, 0))(x, 1, v).tolist() == [[1, 5, 0], [1, 6, 0]]


def test_random_keys_are_mapped():
    keys = functrax.random.split(functrax.random.key(0), 3)
    draws = functrax.vmap(lambda k: functrax.random.uniform(k, (2,)))(keys)
    loop = np.stack([functrax.random.uniform(k, (2,)) for k in keys])
    np.testing.assert_array_equal(draws, loop)
    old = functrax.random.split(functrax.random.PRNGKey(0), 3)
    draws = functrax.vmap(lambda k: functrax.random.normal(k))(old)
    np.testing.assert_array_equal(draws, [functrax.random.normal(k) for k in old])


def test_the_signature_stays():
    def f(x: int, y: int = 1) -> int:
        """Docs."""
        return x

    assert inspect.signature(functrax.vmap(f)) == inspect.signature(f)
    assert functrax.vmap(f).__name__ == "f"


def test_python_branches_on_mapped_values_are_refused():
    with pytest.raises(functrax.errors.TracerBoolError):
        functrax.vmap(lambda x: x if x > 0 else -x)(jnp.arange(3))
