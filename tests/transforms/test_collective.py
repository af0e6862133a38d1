"""Collectives: under `vmap` compared with JAX and with loops, derivatives in both conventions, and
errors. Those across devices are in test_collective_devices.py.

The primitives are psum, psum_invariant, pvary, pmax, pmin, all_gather, all_gather_invariant,
psum_scatter, all_to_all, ppermute, pbroadcast, ragged_all_to_all and axis_index.
"""

import functools
import re

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
import functrax.testing
from functrax import errors, lax, random
from functrax.core.primitive import BatchAxis
from functrax.transforms.batch import batch_flat
from tests.transforms.collectives import COLLECTIVES, EVEN, GROUPED, UNEVEN, expected

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


def test_names_that_nobody_binds():
    with pytest.raises(errors.AxisNameError, match="'k'; axes in scope: 'i'"):
        functrax.vmap(lambda x: lax.psum(x, "k"), axis_name="i")(X)
    with pytest.raises(NameError):
        lax.psum(1.0, "i")


# The table ----------------------------------------------------------------------------------------

VALUES = np.random.default_rng(0).normal(size=(8, 8, 4)).astype(np.float32)
OURS = {"exclusive_psum", "gather_to", "reduce_to", "scatter_from", "pbroadcast", "pvary"}
IN_JAX = sorted(
    name for name in COLLECTIVES if name.split(":")[0] not in OURS and name != "ppermute:some"
)


def mapped(name, x, groups=None, axis="i"):
    return functrax.vmap(lambda v: COLLECTIVES[name](lax, v, axis, groups), axis_name="i")(x)


@pytest.mark.parametrize("name", IN_JAX)
def test_values_are_those_of_jax(name):
    theirs = jax.vmap(lambda x: COLLECTIVES[name](jax.lax, x, "i", None), axis_name="i")(VALUES)
    ours = mapped(name, VALUES)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_values_are_those_of_a_loop(name):
    np.testing.assert_allclose(mapped(name, VALUES), expected(name, VALUES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", GROUPED)
def test_groups(name, groups):
    if groups is UNEVEN and name not in ("psum", "pmean", "pmax", "pmin"):
        with pytest.raises(errors.ArgumentError, match="axis_index_groups of one size"):
            mapped(name, VALUES, groups)
        return
    found = mapped(name, VALUES, groups)
    np.testing.assert_allclose(found, expected(name, VALUES, groups), rtol=1e-5, atol=1e-6)


DTYPES = ["bool", "int8", "uint64", "int4", "float16", "bfloat16", "float64", "complex64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["psum", "pmax", "psum_scatter", "all_to_all", "ppermute"])
def test_dtypes(name, dtype):
    x = np.random.default_rng(1).integers(0, 2, VALUES.shape).astype(jnp.dtype(dtype))
    found = mapped(name, jnp.asarray(x, dtype))
    summed = np.dtype(np.int32) if dtype == "bool" and "psum" in name else x.dtype
    assert found.dtype == summed
    if dtype == "int4" and "psum" in name:
        x = x.astype(np.int32)
        found = found.astype(np.int32) % 16
        np.testing.assert_array_equal(found, expected(name, x) % 16)
        return
    np.testing.assert_array_equal(np.asarray(found), expected(name, x.astype(summed)))


@pytest.mark.parametrize("shape", [(8,), (8, 0)])
@pytest.mark.parametrize("name", ["psum", "pmax", "all_gather", "ppermute", "pbroadcast"])
def test_scalars_and_no_elements(name, shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(mapped(name, x), expected(name, x))


@pytest.mark.parametrize(
    "name", ["all_gather", "all_to_all", "ppermute", "pbroadcast", "scatter_from"]
)
def test_keys(name):
    keys = random.split(random.key(0), (8, 8, 4))
    moved, words = mapped(name, keys), mapped(name, random.key_data(keys))
    np.testing.assert_array_equal(random.key_data(moved), words)
    np.testing.assert_array_equal(
        random.key_data(functrax.jit(lambda k: mapped(name, k))(keys)), words
    )


def test_keys_have_no_sum():
    with pytest.raises(errors.KeyTypeError, match="psum"):
        mapped("psum", random.split(random.key(0), 8))


@pytest.mark.parametrize("groups", [None, EVEN], ids=["all", "groups"])
@pytest.mark.parametrize("name", COLLECTIVES)
def test_several_axes_are_one(name, groups):
    """Positions along ("i", "j") count with "j" fastest."""
    if groups and name not in GROUPED:
        return
    both = lambda x: COLLECTIVES[name](lax, x, ("i", "j"), groups)  # noqa: E731
    run = functrax.vmap(functrax.vmap(both, axis_name="j"), axis_name="i")
    found = np.asarray(functrax.jit(run)(VALUES.reshape(2, 4, 8, 4)))
    whole = np.asarray(mapped(name, VALUES, groups))
    np.testing.assert_allclose(found.reshape(whole.shape), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("name", COLLECTIVES)
def test_over_another_mapped_axis(name, dim):
    x = np.random.default_rng(2).normal(size=(3, 8, 8, 4)).astype(np.float32)
    inner = functrax.vmap(lambda v: COLLECTIVES[name](lax, v, "i", None), in_axes=dim)
    found = functrax.vmap(inner, axis_name="i")(np.moveaxis(x, 0, dim + 1))
    each = np.stack([mapped(name, part) for part in x], 1)
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-6)


def test_sums_of_numbers_over_groups():
    run = lambda groups: functrax.vmap(  # noqa: E731
        lambda x: lax.psum(2, "i", axis_index_groups=groups) + 0 * x, axis_name="i"
    )(np.arange(8))
    assert run(EVEN).tolist() == [8] * 8
    assert run(UNEVEN).tolist() == [4, 4, 6, 6, 6, 6, 6, 6]


RAGGED = {
    "operand": [[1, 2, 2], [3, 4, 0]],
    "output": [[0, 0, 0, 0], [0, 0, 0, 0]],
    "input_offsets": [[0, 1], [0, 1]],
    "send_sizes": [[1, 2], [1, 1]],
    "output_offsets": [[0, 0], [1, 2]],
    "recv_sizes": [[1, 1], [2, 1]],
}


def ragged(*operands):
    return lax.ragged_all_to_all(*operands, axis_name="i")


def ragged_operands(dtype="float32"):
    """Return the example of JAX's documentation."""
    x, y, *slices = RAGGED.values()
    return jnp.asarray(x, dtype), jnp.asarray(y, dtype), *map(jnp.asarray, slices)


def test_ragged():
    run = functrax.vmap(ragged, axis_name="i")
    assert run(*ragged_operands()).tolist() == [[1, 3, 0, 0], [2, 2, 4, 0]]
    rows = [jnp.stack([v, v + 10], -1) for v in ragged_operands()[:2]]
    found = functrax.jit(run)(*rows, *ragged_operands()[2:])
    assert found[..., 0].tolist() == [[1, 3, 0, 0], [2, 2, 4, 0]]
    assert found[..., 1].tolist() == [[11, 13, 10, 10], [12, 12, 14, 10]]


def test_ragged_over_another_axis_and_in_groups():
    operands = ragged_operands()
    lanes = [jnp.stack([v, v + 5], 1) for v in operands[:2]]
    inner = functrax.vmap(ragged, in_axes=(0, 0, None, None, None, None))
    found = functrax.vmap(inner, axis_name="i")(*lanes, *operands[2:])
    assert found[:, 0].tolist() == [[1, 3, 0, 0], [2, 2, 4, 0]]
    assert found[:, 1].tolist() == [[6, 8, 5, 5], [7, 7, 9, 5]]
    twice = [jnp.stack([v[0], v[0], v[1], v[1]]) for v in operands]
    groups = [[0, 2], [3, 1]]
    swapped = [v[jnp.array([0, 3, 2, 1])] for v in twice]
    run = functools.partial(lax.ragged_all_to_all, axis_name="i", axis_index_groups=groups)
    found = functrax.vmap(run, axis_name="i")(*swapped)
    assert found.tolist() == [[1, 3, 0, 0], [2, 2, 4, 0], [2, 2, 4, 0], [1, 3, 0, 0]]


def test_ragged_gradients():
    x, y, *slices = ragged_operands("float64")

    def loss(x, y):
        return (functrax.vmap(ragged, axis_name="i")(x, y + 10, *slices) ** 3).sum()

    def inside(x, y, *slices):
        return (ragged(x, y + 10, *slices) ** 3).sum()

    outside = functrax.grad(loss, (0, 1))(x, y)
    found = functrax.vmap(functrax.grad(inside, (0, 1)), axis_name="i")(x, y, *slices)
    for a, b in zip(found, outside):
        np.testing.assert_allclose(a, b)
    slices[0] = jnp.array([[0, 0], [0, 1]])  # row 0 of position 0 goes to both
    twice, _ = functrax.vmap(functrax.grad(inside, (0, 1)), axis_name="i")(x, y, *slices)
    assert np.isnan(twice).tolist() == [[True, False, False], [False, False, False]]


# Derivatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", sorted(set(IN_JAX) - {"pmax", "pmin", "axis_index", "all_to_all:moved"})
)
def test_gradients_inside_vmap_are_those_of_jax(name):
    """JAX's convention: psum is transposed to psum. It fails for what is left out."""

    def gradient(jx, x):
        loss = lambda v: (COLLECTIVES[name](jx.lax, jx.numpy.sin(v), "i", None) ** 2).sum()  # noqa: E731
        return jx.vmap(jx.grad(loss), axis_name="i")(x)

    np.testing.assert_allclose(
        gradient(functrax, VALUES), gradient(jax, VALUES), rtol=1e-4, atol=1e-5
    )


def exact(f, dims, *args):
    """Map over an exact axis "i"; return each result with its mapped axis."""
    flat = lambda *values: functrax.tree.leaves(f(*values))  # noqa: E731
    args = [jnp.asarray(x) for x in args]
    size = next(x.shape[d] for x, d in zip(args, dims) if d is not None)
    return list(zip(*batch_flat(flat, BatchAxis(size, "i", True), args, dims)))


def test_the_gradient_of_a_replicated_value_is_the_one_of_the_loss():
    """Four positions, loss psum((w**2 + 1) * d): JAX's convention gives [0, 8, 16, 24]."""
    gradient = functrax.grad(lambda w, d: lax.psum((w**2 + 1) * d, "i"))
    ((found, dim),) = exact(gradient, (None, 0), 1.0, np.arange(4.0))
    assert found == 12
    assert dim is None
    by_convention = functrax.vmap(gradient, in_axes=(None, 0), axis_name="i")(1.0, np.arange(4.0))
    assert by_convention.tolist() == [0, 8, 16, 24]


PAIRS = [[0, 3], [2, 1]]
#: Losses of x, which differs along "i", and w, which does not; each is equal at all positions.
LOSSES = {
    "psum": lambda x, w: lax.psum((x * w) ** 2, "i").sum(),
    "psum_replicated": lambda x, w: lax.psum(w * w, "i").sum() + lax.psum(x.sum(), "i"),
    "pmean": lambda x, w: lax.pmean(jnp.sin(x * w), "i").sum(),
    "pmax": lambda x, w: lax.pmax(x * w, "i").sum(),
    "pmin": lambda x, w: (lax.pmin(x * w, "i") ** 2).sum(),
    "psum_groups": lambda x, w: total(lax.psum(x * w, "i", axis_index_groups=PAIRS) ** 2),
    "pmax_groups": lambda x, w: total(lax.pmax(x * w, "i", axis_index_groups=PAIRS) ** 2),
    "all_gather": lambda x, w: total(lax.all_gather(x * w, "i") ** 2 * w),
    "invarying": lambda x, w: (lax.all_gather(x * w, "i", to="invarying", axis=1) ** 2).sum(),
    "psum_scatter": lambda x, w: total(lax.psum_scatter(x * w, "i") ** 3),
    "all_to_all": lambda x, w: total(lax.all_to_all(x * w, "i", 0, 0) ** 3 * lax.axis_index("i")),
    "ppermute": lambda x, w: total(lax.ppermute(x * w, "i", [(0, 2), (2, 1)]) * x * w),
    "pbroadcast": lambda x, w: (lax.pbroadcast(x * w, "i", 2) ** 2).sum(),
    "broadcast_used": lambda x, w: total(x * lax.pbroadcast(x * w, "i", 2) ** 2),
    "pcast": lambda x, w: total(x * lax.pcast(w, "i", to="varying") ** 2),
    "reduce_to": lambda x, w: total(lax.reduce_to(x * w, "i", 1) ** 2),
    "gather_to": lambda x, w: total(lax.gather_to(x * w, "i", 1) ** 2),
    "scatter_from": lambda x, w: total(lax.scatter_from(x * w, "i", 3) ** 2),
    "exclusive_psum": lambda x, w: total(lax.exclusive_psum(x * w, "i") ** 2),
}


def total(x):
    return lax.psum(x.sum(), "i")


@pytest.mark.parametrize("name", LOSSES)
def test_exact_derivatives(name):
    """Those inside equal those of the mapped program, which are tested against differences."""
    loss, dims = LOSSES[name], (0, None)
    rng = np.random.default_rng(0)
    x, w, dx, dw = (jnp.asarray(rng.normal(size=s)) for s in [(4, 4), (4,), (4, 4), (4,)])
    x, w, dx, dw = (jnp.asarray(v, "float64") for v in (x, w, dx, dw))
    whole = lambda x, w: exact(loss, dims, x, w)[0][0]  # noqa: E731
    functrax.testing.check_grads(whole, (x, w), order=1)
    outside = functrax.grad(whole, (0, 1))(x, w)
    inside = functrax.grad(loss, (0, 1))
    for f in (inside, functrax.jit(inside), functrax.grad(functrax.jit(loss), (0, 1))):
        (to_x, dim_x), (to_w, dim_w) = exact(f, dims, x, w)
        assert (dim_x, dim_w) == (0, None)
        np.testing.assert_allclose(to_x, outside[0], rtol=1e-9)
        np.testing.assert_allclose(to_w, outside[1], rtol=1e-9)
    pushed = lambda x, w, dx, dw: functrax.jvp(loss, (x, w), (dx, dw))[1]  # noqa: E731
    ((forward, dim),) = exact(pushed, (0, None, 0, None), x, w, dx, dw)
    assert dim is None
    np.testing.assert_allclose(forward, (outside[0] * dx).sum() + (outside[1] * dw).sum())


def test_extremes_share_their_derivative_at_ties():
    x = jnp.array([1.0, 3.0, 3.0, 2.0])
    gradient = functrax.grad(lambda x: lax.pmax(x, "i"))
    assert exact(gradient, (0,), x)[0][0].tolist() == [0, 0.5, 0.5, 0]
    # By JAX's convention, the sum over the losses of all positions.
    assert functrax.vmap(gradient, axis_name="i")(x).tolist() == [0, 2, 2, 0]
    pushed = lambda x, t: functrax.jvp(lambda x: lax.pmin(x, "i"), (x,), (t,))[1]  # noqa: E731
    assert functrax.vmap(pushed, axis_name="i")(x, jnp.arange(4.0) + 5).tolist() == [5] * 4


def test_types_say_what_varies():
    def f(x, w):
        values = {
            "x": x,
            "w": w,
            "product": x * w,
            "sum": lax.psum(x, "i"),
            "max": lax.pmax(x, "i"),
            "grouped": lax.pmax(x, "i", axis_index_groups=[[0], [1]]),
            "gathered": lax.all_gather(x, "i"),
            "invarying": lax.all_gather(x, "i", to="invarying"),
            "broadcast": lax.pbroadcast(x, "i", 0),
            "permuted": lax.ppermute(w, "i", [(0, 1)]),
            "cast": lax.pvary(w, "i"),
            "twice": lax.pvary(x, "i"),
            "index": lax.axis_index("i"),
        }
        found.update({name: set(v.aval.varying) for name, v in values.items()})
        return x

    found = {}
    exact(f, (0, None), jnp.ones((2, 2)), jnp.ones(2))
    same = {"w", "sum", "max", "invarying", "broadcast"}
    assert found == {name: set() if name in same else {"i"} for name in found}
    functrax.vmap(f, (0, None), axis_name="i")(jnp.ones((2, 2)), jnp.ones(2))
    assert set().union(*found.values()) == set()  # not exact: types say nothing


@pytest.mark.parametrize("name", sorted(set(COLLECTIVES) - {"axis_index"}))
def test_linear_ones_are_transposed(name):
    """<L x, y> = <x, L^T y>, summed over the positions."""
    if name in ("pmax", "pmin", "pbroadcast", "psum", "pmean"):
        return  # not linear, or with a result that does not vary, which LOSSES has
    f = lambda x: COLLECTIVES[name](lax, x, "i", None)  # noqa: E731
    x = jnp.asarray(VALUES, "float64")
    ((y, _),) = exact(f, (0,), x)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=y.shape), "float64")
    pull = lambda x, c: functrax.linear_transpose(f, x)(c)[0]  # noqa: E731
    if "reduce_to" in name or "invarying" in name:
        return
    ((back, _),) = exact(pull, (0, 0), x, direction)
    np.testing.assert_allclose((y * direction).sum(), (x * back).sum())


# Errors -------------------------------------------------------------------------------------------

ERRORS = [
    (
        lambda x: lax.psum(x, ("i", "i")),
        errors.ArgumentError,
        "[psum] expected distinct axis names; got ('i', 'i') (HERE).",
    ),
    (
        lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1], [2]]),
        errors.ArgumentError,
        "[psum] expected axis_index_groups that contain each of the 4 positions along 'i' once; "
        "got [[0, 1], [2]] (HERE).",
    ),
    (
        lambda x: lax.pmax(x, "i", axis_index_groups=3),
        errors.ArgumentError,
        "[pmax] expected axis_index_groups as lists of positions; got 3 (HERE).",
    ),
    (
        lambda x: lax.all_gather(x, "i", axis_index_groups=[[0, 1, 2], [3]]),
        errors.ArgumentError,
        "[all_gather] expected axis_index_groups of one size; got sizes [3, 1] (HERE).",
    ),
    (
        lambda x: lax.all_gather(x, "i", axis=3),
        errors.BoundsError,
        "[all_gather] expected an axis of an array of 3 axes; got axis 3 (HERE).",
    ),
    (
        lambda x: lax.all_gather(x, "i", to="reduced"),
        errors.ArgumentError,
        "[all_gather] expected to='varying' or to='invarying'; got to='reduced' (HERE).",
    ),
    (
        lambda x: lax.all_gather(x, "i", to="invarying", axis_index_groups=[[0, 1, 2, 3]]),
        errors.ArgumentError,
        "[all_gather] expected no axis_index_groups with to='invarying'; got ((0, 1, 2, 3),) "
        "(HERE).",
    ),
    (
        lambda x: lax.psum_scatter(x, "i", tiled=True),
        errors.ShapeError,
        "[psum_scatter] expected axis 0 to have a size that 4 divides, for the 4 positions that "
        "share it; got f32[6,4] (HERE).",
    ),
    (
        lambda x: lax.all_to_all(x, "i", 0, 1),
        errors.ShapeError,
        "[all_to_all] expected axis 0 to have size 4, for the 4 positions that share it; got "
        "f32[6,4] (HERE).",
    ),
    (
        lambda x: lax.ppermute(x, "i", [(0, 1), (0, 2)]),
        errors.ArgumentError,
        "[ppermute] expected perm with each position at most once as a source; got 0 twice in "
        "[(0, 1), (0, 2)] (HERE).",
    ),
    (
        lambda x: lax.ppermute(x, "i", [(0, 1), (2, 1)]),
        errors.ArgumentError,
        "[ppermute] expected perm with each position at most once as a destination; got 1 twice in "
        "[(0, 1), (2, 1)] (HERE).",
    ),
    (
        lambda x: lax.ppermute(x, "i", [(0, 4)]),
        errors.ArgumentError,
        "[ppermute] expected perm of positions 0 to 3; got destination 4 in [(0, 4)] (HERE).",
    ),
    (
        lambda x: lax.ppermute(x, "i", [0, 1]),
        errors.ArgumentError,
        "[ppermute] expected perm of pairs (source, destination); got [0, 1] (HERE).",
    ),
    (
        lambda x: lax.pshuffle(x, "i", [0, 1, 2]),
        errors.ArgumentError,
        "[pshuffle] expected perm that contains each of the 4 positions once; got [0, 1, 2] "
        "(HERE).",
    ),
    (
        lambda x: lax.pbroadcast(x, "i", 4),
        errors.ArgumentError,
        "[pbroadcast] expected source among positions 0 to 3; got 4 (HERE).",
    ),
    (
        lambda x: lax.reduce_to(x, "i", -1),
        errors.ArgumentError,
        "[reduce_to] expected destination among positions 0 to 3; got -1 (HERE).",
    ),
    (
        lambda x: lax.pcast(x, "i", to="reduced"),
        errors.ArgumentError,
        "[pcast] expected to='varying'; got to='reduced' (HERE). Sums that are still to be taken "
        "are not in types: call `psum` where they are needed.",
    ),
    (
        lambda x: lax.axis_index("k"),
        errors.AxisNameError,
        "[axis_index] expected an axis name bound by an enclosing vmap, pmap or shard_map; got "
        "'k'; axes in scope: 'i' (HERE). Call it inside `vmap(f, axis_name='k')`.",
    ),
    (
        lambda x: lax.ragged_all_to_all(x, x[0], *[jnp.arange(4)] * 4, axis_name="i"),
        errors.ShapeError,
        "[ragged_all_to_all] expected operand (N, ...) and output (M, ...) with rows of one shape; "
        "got f32[6,4], f32[4] (HERE).",
    ),
    (
        lambda x: lax.ragged_all_to_all(x, x, *[jnp.arange(6)] * 4, axis_name="i"),
        errors.ShapeError,
        "[ragged_all_to_all] expected offsets and sizes of one shape (K,), with K > 0 divisible by "
        "4; got i32[6], i32[6], i32[6], i32[6] (HERE).",
    ),
    (
        lambda x: lax.ragged_all_to_all(x, x, *[jnp.ones(4)] * 4, axis_name="i"),
        errors.DtypeError,
        "[ragged_all_to_all] expected integer offsets and sizes of one dtype; got f32[4], f32[4], "
        "f32[4], f32[4] (HERE).",
    ),
    (
        lambda x: lax.ragged_all_to_all(x, x.astype(int), *[jnp.arange(4)] * 4, axis_name="i"),
        errors.DtypeError,
        "[ragged_all_to_all] expected operand and output of one dtype; got f32[6,4], i32[6,4] "
        "(HERE).",
    ),
]


@pytest.mark.parametrize(("f", "kind", "message"), ERRORS)
def test_errors(f, kind, message):
    with pytest.raises(kind) as caught:
        functrax.vmap(f, axis_name="i")(np.ones((4, 6, 4), np.float32))
    assert re.sub(r"\([\w.]+:\d+\)", "(HERE)", str(caught.value)) == message


def test_casting_what_varies():
    with pytest.raises(errors.ArgumentError) as caught:
        exact(lambda x: lax.pcast(x, "i", to="varying"), (0,), np.ones(2, np.float32))
    assert re.sub(r"\([\w.]+:\d+\)", "(HERE)", str(caught.value)) == (
        "[pcast] expected a value that does not vary along 'i'; got f32[]{i} (HERE). Use `pvary`, "
        "which leaves such values as they are."
    )
