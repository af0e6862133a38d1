"""functrax beside JAX in one process: neither disturbs the other, and arrays pass between them."""

import importlib.util

import numpy as np
import pytest

needs_jax = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")

FUNCTRAX = """
import functrax, functrax.numpy as jnp, numpy as np
from functrax import lax, nn, random

def loss(w, x):
    return jnp.mean(nn.relu(x @ w) ** 2) + random.normal(random.key(1), ())

def work():
    w, x = jnp.full((3, 2), 0.5), jnp.arange(6.0).reshape(2, 3)
    value, grads = functrax.jit(functrax.value_and_grad(loss))(w, x)
    assert (value.dtype, grads.dtype) == ("float32", "float32")
    rows = functrax.vmap(functrax.grad(loss), in_axes=(None, 0))(w, x)
    np.testing.assert_allclose(rows.mean(0), grads, 1e-5)
    with functrax.enable_x64(True):
        assert jnp.ones(2).dtype == "float64"
    assert jnp.ones(2, "float64").dtype == "float64"
    assert jnp.ones(2).dtype == "float32"
    assert functrax.device_count() == 8
    assert nn.one_hot(jnp.arange(2), 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    print(round(float(value), 4), [round(v, 4) for v in grads.ravel().tolist()], flush=True)
"""

JAX = """
import jax, jax.numpy as jjnp

def work_of_jax():
    w, x = jjnp.full((3, 2), 0.5), jjnp.arange(6.0).reshape(2, 3)
    def loss(w, x):
        noise = jax.random.normal(jax.random.key(1), ())
        return jjnp.mean(jax.nn.relu(x @ w) ** 2) + noise
    value, grads = jax.jit(jax.value_and_grad(loss))(w, x)
    assert jjnp.linalg.cholesky(jjnp.eye(2)).dtype == "float32"
    assert jjnp.ones(2).dtype == "float32" and jax.device_count() == 8
    print(round(float(value), 4), [round(v, 4) for v in grads.ravel().tolist()], flush=True)
"""


def test_jax_is_not_imported(python):
    code = FUNCTRAX + (
        "work()\n"
        "functrax.make_jaxpr(loss)(jnp.ones((3, 2)), jnp.ones((2, 3)))\n"
        "functrax.jit(loss).lower(jnp.ones((3, 2)), jnp.ones((2, 3))).compile().cost_analysis()\n"
        "functrax.tree.map(lambda x: x, {'a': [1, None]})\n"
        "import sys\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('jax', 'flax', 'optax')])"
    )
    assert python(code).splitlines()[-1] == "[]"


@needs_jax
@pytest.mark.parametrize(
    "order",
    [
        FUNCTRAX + "work()\n" + JAX + "work_of_jax(); work()",
        JAX + "work_of_jax()\n" + FUNCTRAX + "work(); work_of_jax()",
    ],
    ids=["functrax first", "jax first"],
)
def test_both_compute_the_same(order, python):
    lines = python(order).splitlines()
    assert lines == [lines[0]] * 3


@needs_jax
@pytest.mark.parametrize(
    ("read", "warned"),
    [
        ("np.asarray(jnp.ones(3))", 0),
        ("np.asarray(jnp.ones(3, 'bfloat16'))", 1),
        ("functrax.dlpack.from_dlpack(np.ones(3, np.float32))", 1),
        ("functrax.device_put(np.ones(8), rows).addressable_shards", 1),
    ],
)
def test_what_jaxlib_looks_for_jax_for(read, warned, python):
    code = f"""
        import warnings, functrax, functrax.numpy as jnp, numpy as np
        from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P
        rows = NamedSharding(Mesh(functrax.devices(), "i"), P("i"))
        {read}
        with warnings.catch_warnings(record=True) as caught:
            import jax
        print([str(one.message).count("Import jax first") for one in caught])
        print(jax.numpy.arange(3).sum())
    """
    assert python(code).splitlines() == [str([1] * warned), "3"]


@needs_jax
def test_their_options_are_their_own(python):
    code = """
        import jax, jax.numpy as jjnp, functrax, functrax.numpy as jnp
        with functrax.enable_x64(True):
            print(jnp.ones(1).dtype, jjnp.ones(1).dtype, end=" ")
        jax.config.update("jax_enable_x64", True)
        print(jnp.ones(1).dtype, jjnp.ones(1).dtype, functrax.config.jax_enable_x64)
        """
    assert python(code) == "float64 float32 float32 float64 False"


# Arrays -------------------------------------------------------------------------------------------


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


@needs_jax
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int32", "uint32", "bfloat16", "float16", "float32", "complex64"]
)
def test_an_array_of_jax_is_taken_everywhere(jax, dtype):
    import functrax
    import functrax.numpy as jnp

    theirs = jax.numpy.asarray([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    ours = jnp.asarray(theirs)
    for result in (
        ours,
        functrax.device_put(theirs),
        functrax.dlpack.from_dlpack(theirs),
        jnp.array([theirs[0], theirs[1]]),
        functrax.jit(lambda x: x)(theirs),
        functrax.vmap(lambda x: x)(theirs),
        jnp.where(jnp.ones((2, 3), bool), theirs, ours),
        ours.at[0].set(theirs[0]),
        functrax.tree.map(jnp.asarray, {"a": theirs})["a"],
    ):
        assert isinstance(result, functrax.Array)
        assert (result.dtype, result.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(np.asarray(result), np.asarray(theirs))
    assert functrax.eval_shape(lambda x: x, theirs).dtype == theirs.dtype
    assert functrax.make_jaxpr(lambda x: x)(theirs).in_avals[0] is ours.aval


@needs_jax
def test_both_in_one_expression(jax):
    import functrax
    import functrax.numpy as jnp
    from functrax import lax

    theirs, ours = jax.numpy.arange(1.0, 4.0), jnp.arange(1.0, 4.0)
    for result, expected in (
        (ours + theirs, [2, 4, 6]),
        (theirs + ours, [2, 4, 6]),
        (theirs - 2 * ours, [-1, -2, -3]),
        (ours @ theirs, 14),
        (theirs @ ours, 14),
        (theirs // ours, [1, 1, 1]),
        (ours**theirs, [1, 4, 27]),
        (ours == theirs, [True] * 3),
        (jnp.add(theirs, theirs), [2, 4, 6]),
        (lax.add(theirs, theirs), [2, 4, 6]),
        (lax.mul(theirs, ours), [1, 4, 9]),
        (lax.neg(theirs), [-1, -2, -3]),
        (jnp.maximum(theirs, 2), [2, 2, 3]),
        (jnp.dot(theirs, theirs), 14),
        (jnp.stack([theirs, ours]).sum(0), [2, 4, 6]),
        (ours[jax.numpy.array([2, 0])], [3, 1]),
        (functrax.grad(lambda x: jnp.sum(x * theirs))(ours), [1, 2, 3]),
        (functrax.grad(lambda x: jnp.sum(x * theirs))(theirs), [1, 2, 3]),
        (functrax.jit(lambda x: x * theirs)(ours), [1, 4, 9]),
        (functrax.vmap(jnp.multiply, in_axes=(0, 0))(ours, theirs), [1, 4, 9]),
        (functrax.jvp(jnp.sin, (theirs * 0,), (theirs,))[1], [1, 2, 3]),
        (functrax.lax.stop_gradient(theirs) * ours, [1, 4, 9]),
    ):
        assert isinstance(result, functrax.Array)
        assert result.tolist() == expected


@needs_jax
def test_jax_takes_our_arrays_through_numpy_and_dlpack(jax):
    import functrax.numpy as jnp

    ours = jnp.arange(6.0).reshape(2, 3)
    for result in (jax.numpy.asarray(ours), jax.dlpack.from_dlpack(ours)):
        assert isinstance(result, jax.Array)
        assert (result.dtype, result.tolist()) == ("float32", [[0, 1, 2], [3, 4, 5]])


def message(kind, call):
    with pytest.raises(kind) as caught:
        call()
    # Where it was is JAX's line, for its frames are not functrax's own.
    return str(caught.value).rsplit(" (", 1)[0]


@needs_jax
def test_what_cannot_pass(jax):
    import functrax
    import functrax.numpy as jnp
    from functrax import errors

    traced = (
        "expected an array that NumPy can read; got one of type jax.DynamicJaxprTracer: The "
        "numpy.ndarray conversion method __array__() was called on traced array with shape "
        "float32[3]"
    )
    x = np.ones(3, np.float32)
    kind = errors.ArgumentError
    assert message(kind, lambda: jax.jit(jnp.sin)(x)) == f"[sin] {traced}"
    assert message(kind, lambda: jax.jit(lambda a: jnp.ones(3) + a)(x)) == f"[add] {traced}"
    assert message(kind, lambda: jax.jit(functrax.grad(lambda a: jnp.sum(a)))(x)) == (
        "[grad] expected argument 'a' to be an array or a number; got JitTracer(float32[3]) of "
        "type DynamicJaxprTracer"
    )
    assert message(kind, lambda: jnp.asarray(jax.random.key(0))) == (
        "[asarray] expected an array that NumPy can read; got one of type jax.PRNGKeyArray: JAX "
        "array with PRNGKey dtype cannot be converted to a NumPy array. Use "
        "jax.random.key_data(arr) if you wish to extract the underlying integer array"
    )
    with pytest.raises(TypeError, match="not a valid JAX type"):
        functrax.jit(jax.numpy.sin)(x)


@needs_jax
def test_keys_pass_as_their_words(jax):
    from functrax import random

    theirs = jax.random.key(7)
    ours = random.wrap_key_data(jax.random.key_data(theirs))
    expected = jax.random.normal(theirs, (4,))
    assert random.normal(ours, (4,)).tolist() == expected.tolist()
    assert random.normal(jax.random.PRNGKey(7), (4,)).tolist() == expected.tolist()


# Containers ---------------------------------------------------------------------------------------


def test_containers_of_flax(jax):
    core = pytest.importorskip("flax.core")
    import functrax
    import functrax.numpy as jnp

    frozen = core.freeze({"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}})
    assert [leaf.shape for leaf in functrax.tree.leaves(frozen)] == [(2,), (2, 2)]
    doubled = functrax.jit(lambda p: functrax.tree.map(lambda x: x + 1, p))(frozen)
    assert type(doubled) is core.FrozenDict
    assert doubled["dense"]["bias"].tolist() == [1, 1]
    grads = functrax.grad(lambda p: jnp.sum(p["dense"]["kernel"] ** 2))(frozen)
    assert type(grads) is core.FrozenDict
    assert grads["dense"]["kernel"].tolist() == [[2, 2], [2, 2]]


def test_state_of_a_flax_module(jax):
    linen = pytest.importorskip("flax.linen")
    struct = pytest.importorskip("flax.struct")
    import functrax
    import functrax.numpy as jnp

    @struct.dataclass
    class State:
        params: object
        step: int
        name: str = struct.field(pytree_node=False, default="run")

    variables = linen.Dense(2).init(jax.random.key(0), jax.numpy.ones((1, 3)))
    state = State(variables["params"], 0)
    moved = functrax.tree.map(jnp.asarray, state)
    assert isinstance(moved, State)
    assert moved.name == "run"
    assert moved.params["kernel"].tolist() == variables["params"]["kernel"].tolist()

    def loss(s):
        return jnp.sum(jnp.ones((1, 3)) @ s.params["kernel"] + s.params["bias"])

    grads = functrax.grad(functrax.jit(loss), allow_int=True)(moved)
    assert grads.params["kernel"].tolist() == [[1, 1]] * 3


def test_states_of_optax(jax):
    optax = pytest.importorskip("optax")
    import functrax
    import functrax.numpy as jnp

    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    state = chain.init({"w": jax.numpy.ones(2)})
    leaves, structure = functrax.tree.flatten(state)
    assert [str(getattr(leaf, "dtype", None)) for leaf in leaves] == ["int32"] + ["float32"] * 2
    rebuilt = structure.unflatten(leaves)
    assert jax.tree.structure(rebuilt) == jax.tree.structure(state)
    ours = functrax.jit(lambda s: functrax.tree.map(lambda x: x + 1, s))(state)
    assert type(ours[1][0]).__name__ == "ScaleByAdamState"
    assert ours[1][0].mu["w"].tolist() == [1, 1]
    assert all(isinstance(leaf, functrax.Array) for leaf in functrax.tree.leaves(ours))
    paths = [functrax.tree_util.keystr(path) for path, _ in functrax.tree.leaves_with_path(state)]
    assert paths == [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    back = jax.tree.map(jax.numpy.asarray, ours)
    updates, _ = chain.update({"w": jax.numpy.ones(2)}, back)
    assert jnp.asarray(updates["w"]).shape == (2,)


@needs_jax
def test_containers_registered_later(python):
    """A class registered with JAX after functrax has flattened it as a leaf."""
    code = """
        import functrax, functrax.numpy as jnp
        class Pair:
            def __init__(self, a, b): self.a, self.b = a, b
        pair = Pair(jnp.ones(2), jnp.zeros(2))
        print(len(functrax.tree.leaves(pair)), end=" ")
        import jax
        take = lambda pair: ((pair.a, pair.b), None)
        jax.tree_util.register_pytree_node(Pair, take, lambda _, parts: Pair(*parts))
        print(len(functrax.tree.leaves(pair)))
        """
    assert python(code) == "1 2"
