"""The names of functrax.lax: JAX's, with JAX's results."""

from typing import Any

import jax
import numpy as np
import pytest

import functrax
from functrax import errors, lax
from tests.numpy.compare import rows

CASES = rows("""
lax.select(b, f[0], f[1])
lax.full((2, 3), 2.0)
lax.full((), 2)
lax.full((2,), 1, 'float32')
lax.full_like(f, 2)
lax.iota('float32', 4)
lax.broadcasted_iota('int32', (2, 3), 1)
lax.broadcast(f, (4, 5))
lax.broadcast_to_rank(f, 4)
lax.collapse(f, 0)
lax.collapse(f, 0, 2)
lax.collapse(t, 1)
lax.reciprocal(f)
lax.add(f, f)
lax.mul(f, 2.0)
lax.sub(2.0, f)
lax.max(f, 0.0)
lax.exp(f)
lax.rsqrt(abs(f))
lax.square(f)
lax.integer_pow(f, 3)
lax.integer_pow(i, 3)
lax.pow(2.0, 3)
lax.pow(2j, 3)
lax.pow(f, 3)
lax.pow(f, i)
lax.pow(f, i[0, 1])
lax.pow(2.0, i)
lax.pow(f.astype('float16'), i)
lax.pow(f + 1j, i.astype('uint8'))
lax.convert_element_type(f, 'int32')
lax.bitcast_convert_type(f, 'int32')
lax.clamp(0.0, f, 1.0)
lax.select_n(b, f[0], f[1])
lax.dot(f, f.T)
lax.dot_general(f, f, (((1,), (1,)), ((), ())))
lax.reduce_sum(f, (0,)) if hasattr(lax, 'reduce_sum') else f.sum(0)
lax.argmax(f, 1, 'int32')
lax.cumsum(f, 1)
lax.sort(f)
lax.rev(f, (0,))
lax.transpose(f, (1, 0))
lax.reshape(f, (3, 2))
lax.squeeze(f[None], (0,))
lax.expand_dims(f, (0,))
lax.concatenate([f, f], 0)
lax.pad(f, 0.0, ((1, 0, 1), (0, 1, 0)))
lax.slice(f, (0, 1), (2, 3))
lax.dynamic_slice(f, (0, 1), (2, 2))
lax.dynamic_update_slice(f, f[:1], (1, 0))
lax.stop_gradient(f)
lax.erf(f)
lax.round(f, lax.RoundingMethod.TO_NEAREST_EVEN)
lax.add(w, 1.0)
lax.sub(1.0, w)
lax.mul(w, f)
lax.atan2(w, 1.0)
lax.rem(w, 1.5)
lax.nextafter(w, 1.0)
lax.complex(w, 1.0)
lax.pow(w, 1.0)
lax.pow(2.0, w)
lax.add(v, 1)
lax.add(v, np.int32(1))
lax.bitwise_and(v, 1)
lax.shift_left(v, 1)
lax.clamp(0.0, w, 1.0)
lax.clamp(0.0, w, w)
lax.select_n(True, w, 1.0)
lax.pad(w[None], 0.0, [(1, 1, 0)])
lax.pad(v[None], 0, [(1, 1, 0)])
lax.pad(v[None], np.int32(0), [(1, 1, 0)])
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    def evaluate(library: Any) -> Any:
        f = library.numpy.asarray(np.array([[-1.5, 0.5, 2.5], [3.0, -0.25, 1.0]], np.float32))
        i = library.numpy.asarray(np.array([[3, 2, -1], [0, 2, 1]], np.int32))
        names = {
            "lax": library.lax,
            "f": f,
            "i": i,
            "b": library.numpy.asarray([True, False, True]),
            "w": library.numpy.asarray(1.5),
            "v": library.numpy.asarray(3),
            "np": np,
        }
        return eval(expression, names | {"t": library.numpy.ones((2, 3, 4))})

    ours, theirs = evaluate(functrax), evaluate(jax)
    assert (ours.shape, ours.dtype, ours.weak_type) == (
        theirs.shape,
        theirs.dtype,
        theirs.weak_type,
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_full_takes_a_number() -> None:
    with pytest.raises(errors.ShapeError) as raised:
        lax.full((2,), np.ones(2))
    assert str(raised.value).startswith("[full] expected a number; got shape (2,)")


def test_collapse_needs_axes() -> None:
    with pytest.raises(errors.BoundsError):
        lax.collapse(np.ones((2, 3)), 1, 1)
