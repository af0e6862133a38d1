"""`pmap`: values and gradients against JAX, nesting, and errors."""

import numpy as np

import functrax
from functrax import lax

X = np.arange(16, dtype=np.float32).reshape(8, 2)


def test_positions_lie_on_devices():
    normalized = functrax.pmap(lambda x: x / lax.psum(x, "i"), axis_name="i")
    out = normalized(X)
    np.testing.assert_allclose(out, X / X.sum(0), rtol=1e-6)
    assert [shard.device for shard in out.addressable_shards] == functrax.devices()[:8]


def test_gradients_through_collectives_by_either_convention():
    def grad_of(convention):
        loss = lambda w, d: lax.psum((w**2 + 1) * d, "i")  # noqa: E731
        return functrax.pmap(
            functrax.grad(loss), "i", in_axes=(None, 0), grad_convention=convention
        )

    d = np.arange(4, dtype=np.float32)
    np.testing.assert_allclose(grad_of("jax")(1.0, d), [0, 8, 16, 24])
    np.testing.assert_allclose(grad_of("exact")(1.0, d), [12] * 4)
