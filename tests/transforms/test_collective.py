"""Collectives over named axes of `vmap`.

The primitives are psum, pmax, pmin, all_gather, psum_scatter and axis_index.
"""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax

X = np.arange(12.0, dtype=np.float32).reshape(4, 3)


def over(f, x=X, **options):
    """Map over the axis "i" and compare compiled with eager."""
    mapped = functrax.vmap(f, axis_name="i", **options)
    eager, compiled = mapped(x), functrax.jit(mapped)(x)
    for a, b in zip(functrax.tree.leaves(eager), functrax.tree.leaves(compiled)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    return eager


@pytest.mark.parametrize(
    ("name", "reduce"), [("psum", np.sum), ("pmean", np.mean), ("pmax", np.max), ("pmin", np.min)]
)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_reductions(name, reduce, axis):
    collective = getattr(lax, name)
    found = over(lambda x: collective(x, "i"), in_axes=axis)
    rows = np.moveaxis(X, axis, 0)
    np.testing.assert_allclose(found, np.stack([reduce(rows, 0)] * len(rows)), rtol=1e-6)


def test_reductions_of_trees_numbers_and_unmapped_values():
    out = over(lambda x: {
        "tree": lax.psum({"a": x, "n": jnp.int32(2)}, "i"),
        "number": lax.psum(1, "i"),
        "half": lax.psum(0.5, "i"),
        "captured": lax.psum(jnp.ones(2), "i"),
        "mean": lax.pmean(jnp.ones(2), "i"),
        "max": lax.pmax(jnp.arange(2), "i"),
        "gather": lax.all_gather(jnp.arange(2), "i"),
    }, out_axes=None if False else 0)  # fmt: skip
    assert out["number"].tolist() == [4] * 4
    assert out["half"].tolist() == [2.0] * 4
    assert out["tree"]["n"].tolist() == [8] * 4
    assert out["captured"].tolist() == [[4, 4]] * 4
    assert out["mean"].tolist() == [[1, 1]] * 4
    assert out["max"].tolist() == [[0, 1]] * 4
    assert out["gather"].tolist() == [[[0, 1]] * 4] * 4


def test_a_sum_does_not_depend_on_the_axis():
    assert over(lambda x: lax.psum(x, "i"), out_axes=None).tolist() == X.sum(0).tolist()
    assert isinstance(
        functrax.vmap(lambda x: (lax.psum(1, "i") + 0, x)[1], axis_name="i")(X), object
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("tiled", [False, True])
def test_all_gather(axis, tiled):
    matrices = np.arange(24.0, dtype=np.float32).reshape(4, 2, 3)
    found = over(lambda x: lax.all_gather(x, "i", axis=axis, tiled=tiled), matrices)
    expected = (np.concatenate if tiled else np.stack)(list(matrices), axis)
    np.testing.assert_array_equal(found, np.stack([expected] * 4))


@pytest.mark.parametrize("axis", [0, 1])
def test_psum_scatter(axis):
    matrices = np.arange(4 * 4 * 8.0, dtype=np.float32).reshape(4, 4, 8)
    total = matrices.sum(0)
    tiled = over(lambda x: lax.psum_scatter(x, "i", scatter_dimension=axis, tiled=True), matrices)
    np.testing.assert_array_equal(tiled, np.stack(np.split(total, 4, axis)))
    rows = over(lambda x: lax.psum_scatter(x[:, :4], "i", scatter_dimension=axis), matrices)
    np.testing.assert_array_equal(rows, np.moveaxis(total[:, :4], axis, 0))


def test_positions_and_sizes():
    assert over(lambda x: lax.axis_index("i")).tolist() == [0, 1, 2, 3]
    assert over(lambda x: x[0] * 0 + lax.axis_size("i")).tolist() == [4] * 4


def test_the_jaxpr_names_the_axis():
    jaxpr = functrax.make_jaxpr(lambda x: lax.psum(x, "i"), axis_env=[("i", 4)])(1.0)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["psum"]
    assert jaxpr.jaxpr.axis_names == {"i"}


def test_nested_axes():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)

    def f(x):
        return (
            lax.psum(x, "i"), lax.psum(x, "j"), lax.psum(x, ("i", "j")), lax.pmax(x, ("j", "i")),
            lax.axis_index(("i", "j")), lax.all_gather(x, "i", axis=1), lax.pmean(x, "j"),
        )  # fmt: skip

    run = functrax.vmap(functrax.vmap(f, axis_name="j"), axis_name="i")
    out = run(x)
    spread = lambda v: np.broadcast_to(v, x.shape)  # noqa: E731
    np.testing.assert_allclose(out[0], spread(x.sum(0, keepdims=True)))
    np.testing.assert_allclose(out[1], spread(x.sum(1, keepdims=True)))
    np.testing.assert_allclose(out[2], spread(x.sum((0, 1), keepdims=True)))
    np.testing.assert_allclose(out[3], spread(x.max((0, 1), keepdims=True)))
    assert out[4].tolist() == [[0, 1, 2], [3, 4, 5]]
    gathered = np.moveaxis(x, 0, -1)  # j, k, i
    np.testing.assert_allclose(out[5], np.stack([gathered] * 2))
    for a, b in zip(functrax.jit(run)(x), out):
        np.testing.assert_allclose(a, b)


def test_the_innermost_axis_of_a_name_counts():
    run = functrax.vmap(functrax.vmap(lambda x: lax.psum(x, "i"), axis_name="i"), axis_name="i")
    np.testing.assert_allclose(run(X), np.broadcast_to(X.sum(1, keepdims=True), X.shape))


@pytest.mark.parametrize(
    "collective",
    [
        lambda x: lax.psum(jnp.sin(x), "i"),
        lambda x: lax.pmean(jnp.sin(x), "i") * x,
        lambda x: lax.all_gather(jnp.sin(x), "i").sum(0),
        lambda x: lax.all_gather(jnp.sin(x), "i", axis=0, tiled=True),
        lambda x: lax.psum_scatter(lax.all_gather(jnp.sin(x), "i"), "i"),
        lambda x: lax.psum_scatter(jnp.sin(jnp.stack([x] * 4)), "i", scatter_dimension=0),
        lambda x: x * lax.axis_index("i"),
    ],
)
def test_derivatives_through_the_mapped_program(collective):
    """Differentiated from outside, a mapped program is an ordinary one."""
    loss = lambda x: (functrax.vmap(collective, axis_name="i")(x) ** 2).sum()  # noqa: E731
    x = jnp.asarray(X / 10, "float64")
    rng = np.random.default_rng(0)
    direction = jnp.asarray(rng.normal(size=X.shape), "float64")
    step = 1e-5
    numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    np.testing.assert_allclose((functrax.grad(loss)(x) * direction).sum(), numeric, rtol=1e-7)
    pushed = functrax.jvp(functrax.jit(loss), (x,), (direction,))[1]
    np.testing.assert_allclose(pushed, numeric, rtol=1e-7)


def test_collectives_inside_other_transforms():
    normalize = lambda x: x / lax.psum(x, "i")  # noqa: E731
    x = jnp.arange(1.0, 4.0)
    expected = np.asarray(x) / 6
    for f in (functrax.jit(normalize), functrax.checkpoint(normalize),
              lambda x: functrax.vmap(normalize)(x[None])[0],
              functrax.jit(functrax.jit(normalize), inline=True)):  # fmt: skip
        np.testing.assert_allclose(functrax.vmap(f, axis_name="i")(x), expected, rtol=1e-6)


def test_a_jitted_function_is_traced_for_each_axis_size():
    scale = functrax.jit(lambda x: x * lax.axis_size("i"))
    for size in (2, 5, 2):
        assert functrax.vmap(scale, axis_name="i")(jnp.ones(size)).tolist() == [size] * size


def test_extremes_have_no_derivative():
    run = functrax.vmap(functrax.grad(lambda x: lax.pmax(x, "i")), axis_name="i")
    with pytest.raises(errors.MissingRuleError, match="pmax"):
        run(jnp.arange(3.0))


def test_names_that_nobody_binds():
    with pytest.raises(errors.AxisNameError, match="'k'; axes in scope: 'i'"):
        functrax.vmap(lambda x: lax.psum(x, "k"), axis_name="i")(X)
    with pytest.raises(NameError):
        lax.psum(1.0, "i")
