"""A quick pass through everything, end to end: what runs on every supported jaxlib and Python."""

import os
import pickle

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax, nn, random

close = np.testing.assert_allclose


def mlp(params, x):
    for w, b in params[:-1]:
        x = nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def loss(params, x, y):
    return jnp.mean((mlp(params, x) - y) ** 2)


@pytest.fixture
def problem():
    keys = random.split(random.key(0), 4)
    params = [
        (random.normal(keys[0], (3, 8)) / 2, jnp.zeros(8)),
        (random.normal(keys[1], (8, 1)) / 2, jnp.zeros(1)),
    ]
    return params, random.normal(keys[2], (16, 3)), random.normal(keys[3], (16, 1))


def test_training_reduces_the_loss(problem):
    params, x, y = problem

    @functrax.jit
    def step(params):
        value, grads = functrax.value_and_grad(loss)(params, x, y)
        return value, functrax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    values = []
    for _ in range(20):
        value, params = step(params)
        values.append(float(value))
    assert values[-1] < 0.7 * values[0]
    assert np.isfinite(values).all()


def test_jit_changes_no_value(problem):
    close(functrax.jit(loss)(*problem), loss(*problem), 1e-6)
    with functrax.disable_jit():
        close(functrax.jit(loss)(*problem), loss(*problem), 1e-6)

    @functrax.jit(static_argnames="n")
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    assert power(2.0, n=5) == 32


def test_gradients_against_differences():
    with functrax.enable_x64(True):
        x = jnp.linspace(0.1, 1.0, 5)

        def f(a):
            return jnp.sum(jnp.sin(a) * jnp.exp(-a) / jnp.sqrt(a))

        step = 1e-6
        expected = [(f(x.at[i].add(step)) - f(x.at[i].add(-step))) / (2 * step) for i in range(5)]
        close(functrax.grad(f)(x), np.array(expected), 1e-7)
        _, tangent = functrax.jvp(f, (x,), (jnp.ones(5),))
        close(tangent, sum(expected), 1e-7)
        close(functrax.hessian(f)(x), functrax.jacfwd(functrax.jacfwd(f))(x), 1e-9)
        close(functrax.jacrev(jnp.cumsum)(x), np.tri(5))


def test_transforms_compose_in_any_order(problem):
    params, x, y = problem

    def one(p, a, b):
        return loss(p, a[None], b[None])

    per_example = functrax.vmap(functrax.grad(one), in_axes=(None, 0, 0))(params, x, y)
    looped = [functrax.grad(one)(params, a, b) for a, b in zip(x, y, strict=True)]
    for i, leaf in enumerate(functrax.tree.leaves(per_example)):
        close(leaf, np.stack([functrax.tree.leaves(g)[i] for g in looped]), 1e-4, 1e-6)
    f = functrax.jit(functrax.vmap(functrax.jit(lambda a: a**4)))
    close(functrax.grad(functrax.grad(lambda a: jnp.sum(f(a[None]))))(2.0), 48.0)
    close(functrax.vmap(functrax.grad(functrax.grad(lambda a: a**4)))(jnp.arange(3.0)), [0, 12, 48])
    close(functrax.jit(functrax.vmap(functrax.hessian(lambda v: v @ v)))(x)[5], 2 * np.eye(3))


def test_axes_by_name_and_collectives():
    f = functrax.vmap(lambda x, b: x * b, in_axes={"x": 0, "b": None})
    assert f(x=jnp.arange(3), b=2).tolist() == [0, 2, 4]
    total = functrax.vmap(lambda x: x / lax.psum(x, "i"), axis_name="i")(jnp.array([1.0, 3.0]))
    assert total.tolist() == [0.25, 0.75]


def test_custom_rules():
    @functrax.custom_jvp
    def log1pexp(x):
        return jnp.log(1 + jnp.exp(x))

    @log1pexp.defjvp
    def _(primals, tangents):
        (x,), (t,) = primals, tangents
        return log1pexp(x), t * nn.sigmoid(x)

    assert float(functrax.grad(log1pexp)(100.0)) == 1.0
    assert functrax.jit(functrax.vmap(functrax.grad(log1pexp)))(
        jnp.array([0.0, 100.0])
    ).tolist() == [
        0.5,
        1.0,
    ]

    @functrax.custom_vjp
    def clipped(x):
        return x * 1

    clipped.defvjp(lambda x: (x, None), lambda _, t: (jnp.clip(t, -1, 1),))
    assert float(functrax.jit(functrax.grad(lambda x: 5 * clipped(x)))(3.0)) == 1.0
    f = functrax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    close(functrax.grad(f)(0.5), np.cos(np.sin(0.5)) * np.cos(0.5), 1e-6)


def test_random_bits():
    key = random.key(42)
    assert random.bits(key, (3,), "uint32").tolist() == [2098992034, 2919706841, 2646866425]
    first, second = random.split(key)
    assert random.key_data(first).tolist() != random.key_data(second).tolist()
    assert (
        random.normal(key, (2,)).tolist()
        == functrax.jit(lambda k: random.normal(k, (2,)))(key).tolist()
    )
    drawn = functrax.vmap(lambda k: random.uniform(k))(random.split(key, 1000))
    assert 0 <= float(drawn.min()) < float(drawn.mean()) < 0.55 < float(drawn.max()) < 1


def test_indexing():
    x = jnp.arange(12).reshape(3, 4)
    n = np.arange(12).reshape(3, 4)
    rows = jnp.array([2, 0])
    assert x[1, -1] == 7
    np.testing.assert_array_equal(x[:, ::-2], n[:, ::-2])
    np.testing.assert_array_equal(x[rows, None, 1:3], n[[2, 0], None, 1:3])
    np.testing.assert_array_equal(x[n % 5 == 0], n[n % 5 == 0])
    np.testing.assert_array_equal(x.at[rows, 0].add(10)[:, 0], [10, 4, 18])
    gradient = functrax.grad(lambda a: jnp.sum(a[rows] ** 2))(x.astype(float))
    np.testing.assert_array_equal(gradient, 2 * n * [[1], [0], [1]])
    with pytest.raises(errors.BoundsError):
        x[3]


def test_convolution_and_pooling():
    x, w = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
    layout = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)
    assert y[0, :, :, 1].tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]

    def pool(a):
        return lax.reduce_window(a, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    assert pool(y)[0, :, :, 0].tolist() == [[9, 9], [9, 9]]
    grads = functrax.grad(lambda a: jnp.sum(pool(a)))(jnp.arange(16.0).reshape(1, 4, 4, 1))
    assert grads.sum() == 4
    assert grads[0, 3, 3, 0] == 1


def test_ahead_of_time(problem):
    lowered = functrax.jit(loss).lower(*problem)
    assert "stablehlo.dot_general" in lowered.as_text()
    compiled = lowered.compile()
    close(compiled(*problem), loss(*problem), 1e-6)
    assert compiled.cost_analysis()["flops"] > 0
    assert compiled.memory_analysis().argument_size_in_bytes > 0
    shape = functrax.eval_shape(mlp, problem[0], functrax.ShapeDtypeStruct((5, 3), "float32"))
    assert (shape.shape, shape.dtype) == ((5, 1), "float32")


def test_programs_can_be_read():
    text = str(functrax.make_jaxpr(lambda x: jnp.sin(x) * 2.0)(jnp.ones(3)))
    assert " ".join(text.split()) == (
        "{ lambda ; a:f32[3]. let b:f32[3] = sin a c:f32[3] = mul b 2.0:~f32[] in (c,) }"
    )


def test_dtypes():
    assert jnp.ones(2).dtype == jnp.asarray(np.ones(2)).dtype == "float32"
    assert jnp.ones(2, "float64").dtype == (jnp.ones(2, "float64") + 1).dtype == "float64"
    assert (jnp.ones(2, jnp.bfloat16) * 2.5).dtype == jnp.bfloat16
    assert (jnp.arange(3, dtype="int8") + jnp.ones(3, "float16")).dtype == "float16"
    with pytest.raises(errors.IntegerOverflowError):
        jnp.asarray(2**40)


def test_arrays():
    x = jnp.arange(6.0).reshape(2, 3)
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()
    assert np.asarray(x).tolist() == np.from_dlpack(x).tolist() == x.tolist()
    assert repr(x[0]) == "Array([0., 1., 2.], dtype=float32)"
    assert (x.T @ x).shape == (3, 3)
    donated = jnp.ones(4)
    functrax.jit(lambda a: a + 1, donate_argnums=0)(donated)
    with pytest.raises(errors.DonatedError):
        donated + 1


def test_errors_say_where():
    with pytest.raises(errors.ShapeError) as caught:
        jnp.ones((3, 4)) @ jnp.ones((3, 4))
    assert "f32[3,4], f32[3,4]" in str(caught.value)
    assert "test_smoke.py:" in str(caught.value)
    with pytest.raises(errors.TracerBoolError):
        functrax.jit(lambda x: 1 if x > 0 else 2)(1.0)


def test_programs_are_kept_on_disk(python, tmp_path):
    code = """
        import functrax, functrax.numpy as jnp
        print(functrax.jit(lambda x: jnp.sin(x) @ x)(jnp.arange(4.0)))
        """
    variables = {"FUNCTRAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    first = python(code, **variables)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept
    assert python(code, **variables) == first
    again = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in again} == {path.name for path in kept}
    assert os.access(tmp_path, os.W_OK)
