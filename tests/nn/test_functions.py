"""Activations, normalization and attention. The oracle is jax.nn; derivatives are compared too."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import nn
from functrax.testing import check_grads
from tests.numpy.compare import ARRAYS, check, rows

rng = np.random.RandomState(0)
ARRAYS |= {
    "q": rng.randn(2, 5, 4, 8).astype(np.float32),
    "k": rng.randn(2, 5, 4, 8).astype(np.float32),
    "bias": rng.randn(2, 4, 5, 5).astype(np.float32),
    "lengths": np.array([3, 5], np.int32),
}

ACTIVATIONS = [
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "sigmoid",
    "silu",
    "swish",
    "log_sigmoid",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "soft_sign",
    "softplus",
    "squareplus",
    "mish",
    "sparse_plus",
    "sparse_sigmoid",
    "tanh",
    "identity",
    "softmax",
    "log_softmax",
    "logsumexp",
    "standardize",
    "logmeanexp",
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name: str) -> None:
    check(f"nn.{name}(f)")
    check(f"nn.{name}(h)")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name: str) -> None:
    check(f"lib.grad(lambda x: (nn.{name}(x) * jnp.cos(x)).sum())(f)")


CASES = rows("""
nn.gelu(f, False)
nn.gelu(f, approximate=False)
nn.glu(f[:, :2])
nn.glu(t, axis=1)
nn.one_hot(n, 5)
nn.one_hot(i, 5, dtype=int, axis=0)
nn.one_hot(2, 5)
nn.log1mexp(abs(f) + 1e-3)
nn.leaky_relu(f, 0.2)
nn.elu(f, 0.5)
nn.celu(f, 2.0)
nn.squareplus(f, 1)
nn.softmax(f, axis=0)
nn.softmax(f, axis=(0, 1))
nn.softmax(f, where=f > 0)
nn.softmax(f * 1000)
nn.softmax(w)
nn.log_softmax(f, axis=0)
nn.log_softmax(f, where=f > 0)
nn.logsumexp(f, b=i)
nn.logsumexp(f, b=i, return_sign=True, axis=0)
nn.logsumexp(f, axis=1, keepdims=True)
nn.logsumexp(f, where=f > 0)
nn.logsumexp(f * 1j)
nn.logsumexp(f[:0], axis=0)
nn.logsumexp(jnp.array([-jnp.inf, -jnp.inf]))
nn.logsumexp(jnp.array([jnp.inf, 1]))
nn.logmeanexp(f, axis=0, where=f > 0)
nn.standardize(f, algorithm='stable')
nn.standardize(f, mean=1.0, variance=2.0)
nn.standardize(f, axis=0, epsilon=1e-3)
nn.standardize(f, where=f > 0)
nn.relu(jnp.array(jnp.nan))
nn.relu6(i)
nn.relu6(u)
nn.hard_sigmoid(i)
nn.hard_silu(inf)
nn.hard_tanh(i)
nn.soft_sign(c)
nn.softmax(g, where=m, axis=0)
nn.softmax(inf, where=jnp.isfinite(inf))
nn.log_softmax(inf, where=inf != inf)
nn.standardize(f, mean=1)
nn.standardize(h, mean=1.0)
nn.standardize(f, variance=1.0, epsilon=0)
nn.one_hot([[0, 2]], 3)
nn.dot_product_attention(q, k, k, bias=bias[:1, :1, :1])
nn.dot_product_attention(q, k[:, :, :2], k[:, :, :2], is_causal=True, mask=bias > 0)
lib.vmap(lib.grad(lib.grad(nn.softplus)))(inf)
lib.vmap(lib.grad(nn.softplus))(inf)
lib.vmap(lib.grad(nn.log_sigmoid))(inf)
lib.vmap(lib.grad(lib.grad(nn.mish)))(g * 0)
lib.vmap(lib.grad(lib.grad(nn.soft_sign)))(g * 0)
lib.grad(lambda x: (nn.softmax(x, where=jnp.isfinite(x)) * jnp.arange(9)).sum())(inf)
lib.grad(lambda x: nn.softmax(x, where=x > 0).sum())(f * 0)
lib.hessian(lambda x: (nn.softmax(x) * g).sum())(g)
lib.jacrev(lambda x: nn.softmax(x, where=x > 0))(g)
lib.jvp(lambda x: nn.softmax(x, axis=(0, 1), where=x > 0), (f,), (f + 1,))[1]
lib.vmap(lib.grad(lambda x, b: (nn.softmax(x, where=b) * g).sum()))(f, m)
lib.jit(lib.grad(lambda x: lib.checkpoint(nn.softmax)(x)[0, 0]))(f)
lib.grad(lambda x: lib.lax.scan(lambda c, _: (nn.softmax(c), None), x, None, length=3)[0][0])(g)
lib.grad(lambda x: lib.grad(lambda x: nn.softmax(x)[0])(x)[1])(g)
lib.grad(lambda x: jnp.where(x > 0, nn.log_softmax(x, where=x > 0), 0).sum())(f)
nn.dot_product_attention(q, k, k)
nn.dot_product_attention(q, k, k, is_causal=True)
nn.dot_product_attention(q[0], k[0], k[0])
nn.dot_product_attention(q, k[:, :, :2], k[:, :, :2], scale=0.3)
nn.dot_product_attention(q, k, k, bias=bias)
nn.dot_product_attention(q, k, k, mask=bias > 0)
nn.dot_product_attention(q, k, k, query_seq_lengths=lengths, key_value_seq_lengths=lengths)
nn.dot_product_attention(q, k, k, local_window_size=2)
nn.dot_product_attention(q, k, k, local_window_size=(1, 2), is_causal=True)
nn.dot_product_attention(q.astype('float16'), k.astype('float16'), k.astype('float16'))
nn.dot_product_attention(q, k, k, return_residual=True)
nn.dot_product_attention(q[0], k[0], k[0], is_causal=True, bias=bias[0], return_residual=True)
nn.dot_product_attention(q, k[:, :, :2], k[:, :, :2], query_seq_lengths=lengths, return_residual=True)
nn.dot_product_attention(q.astype('float16'), k.astype('float16'), k.astype('float16'), return_residual=True)
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)


def test_booleans_and_unsigned_numbers() -> None:
    found = nn.relu(jnp.array([True])), nn.hard_tanh(jnp.array([0, 9], "uint8"))
    assert [str(x.dtype) for x in found] == ["int32", "uint8"]
    assert found[1].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["relu", "relu6", "hard_tanh", "leaky_relu", "elu", "sparse_plus"])
def test_complex_numbers_have_no_order(name: str) -> None:
    with pytest.raises(functrax.errors.DtypeError, match=rf"\[{name}\] expected real numbers"):
        getattr(nn, name)(jnp.array([1j]))


def test_one_hot_needs_a_number_of_classes() -> None:
    for count in (-1, 2.5):
        with pytest.raises(functrax.errors.ArgumentError):
            nn.one_hot(jnp.array([1]), count)  # pyright: ignore[reportArgumentType]


def test_relu_has_derivative_zero_at_zero() -> None:
    assert float(functrax.grad(nn.relu)(0.0)) == 0.0
    assert float(functrax.grad(nn.relu)(-0.0)) == 0.0
    assert float(functrax.grad(nn.relu6)(6.0)) == 0.0


def test_functions_map_and_compile() -> None:
    x = jnp.asarray(ARRAYS["f"])
    for function in (nn.relu, nn.gelu, nn.softmax, nn.log_softmax, nn.standardize):
        np.testing.assert_allclose(functrax.jit(function)(x), function(x), rtol=1e-6)
        np.testing.assert_allclose(functrax.vmap(function)(x), function(x), rtol=1e-6)


def test_attention_errors() -> None:
    q, k = jnp.ones((2, 5, 4, 8)), jnp.ones((2, 5, 3, 8))
    with pytest.raises(functrax.errors.ShapeError) as raised:
        nn.dot_product_attention(q, k, k)
    assert "query ([B,] T, N, H), key and value ([B,] S, K, H)" in str(raised.value)
    with pytest.raises(functrax.errors.ArgumentError):
        nn.dot_product_attention(q, q, q, implementation="cudnn")
    for name in ("scale", "local_window_size"):
        for bad in ("a", object(), [1, "a"], {}, (1, 2, 3), functrax.random.key(0)):
            with pytest.raises(functrax.errors.FunctraxError) as raised:
                nn.dot_product_attention(q, q, q, **{name: bad})
            assert raised.value.call == "dot_product_attention"


def test_glu_needs_an_even_size() -> None:
    with pytest.raises(functrax.errors.ShapeError) as raised:
        nn.glu(jnp.ones((2, 3)))
    assert str(raised.value).startswith("[glu] expected an even size of axis 1; got f32[2,3]")


def test_softmax_of_an_array_smaller_than_its_mask() -> None:
    """JAX 0.10 gives equal shares."""
    x, mask = jnp.array([1.0, 2.0, 3.0]), jnp.array([[True, True, False], [False, True, True]])
    shares = np.where(mask, np.exp(x), 0)
    np.testing.assert_allclose(
        nn.softmax(x, where=mask), shares / shares.sum(1, keepdims=True), rtol=1e-6
    )
    check_grads(lambda x: nn.softmax(x, where=mask), (x,), 2)
