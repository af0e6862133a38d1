"""Making arrays. The oracle is jax.numpy: values, shapes, dtypes and weak types."""

import numpy as np
import pytest

import functrax.numpy as jnp
from functrax import errors
from tests.numpy.compare import check, rows

CASES = rows(r"""
jnp.geomspace(1, 1000, 4)
jnp.geomspace(1, 256, 9, dtype=int)[::8]
jnp.geomspace(g**2, 100.0, 3)
jnp.geomspace(-1, -8, 4, endpoint=False)
jnp.astype(c * jnp.array([1, 1, 0]), bool)
jnp.linspace(0, 1, 5)
jnp.linspace(0, 10, 5, endpoint=False)
jnp.linspace(g, 1, 3)
jnp.linspace(g, 1, 3, axis=-1)
jnp.linspace(0, 5, 6, dtype=int)
jnp.linspace(0, 1, 1)
jnp.linspace(0, 1, 0)
jnp.linspace(0, 1, 5, retstep=True)
jnp.logspace(0, 2, 3)
jnp.geomspace(1, 100, 3)
jnp.arange(5)
jnp.arange(1, 5)
jnp.arange(0, 1, 0.25)
jnp.arange(5, 0, -2)
jnp.arange(5.0)
jnp.arange(5, dtype='float32')
jnp.arange(0, 5, dtype=jnp.int8)
jnp.arange(-3)
jnp.eye(3)
jnp.eye(2, 3, k=1, dtype=int)
jnp.eye(3, k=-1)
jnp.identity(2)
jnp.tri(3)
jnp.tri(3, 4, 1)
jnp.tril(f)
jnp.triu(f, 1)
jnp.triu(t)
jnp.diag(g)
jnp.diag(g, 1)
jnp.diag(g, -1)
jnp.diag(f)
jnp.diag(f, 1)
jnp.diag(f, -1)
jnp.diagonal(t)
jnp.diagonal(t, 0, 1, 2)
jnp.trace(f)
jnp.trace(t, axis1=1, axis2=2)
jnp.meshgrid(g, j)
jnp.meshgrid(g, j, indexing='ij')
jnp.meshgrid(g, j, sparse=True)
jnp.indices((2, 3))
jnp.zeros((2, 3))
jnp.zeros(np.array([2, 3]))
jnp.ones(jnp.array([2, 3]), int)
jnp.zeros(np.array(3))
R.key_data(jnp.zeros_like(R.split(key)))
R.key_data(jnp.ones_like(R.split(key)))
R.key_data(jnp.empty_like(key))
R.key_data(jnp.zeros_like(key, shape=(3,)))
R.key_data(jnp.zeros((2, 2), key.dtype))
R.key_data(jnp.full_like(R.split(key), 7))
R.key_data(jnp.full_like(R.split(key), key))
R.key_data(jnp.full((3,), 7, key.dtype))
R.key_data(lib.jit(jnp.zeros_like)(R.split(key)))
R.key_data(lib.vmap(jnp.zeros_like)(R.split(key)))
R.key_data(lib.lax.full_like(key, 0))
jnp.zeros_like(R.split(key), dtype=float)
jnp.zeros(3, int)
jnp.zeros(())
jnp.ones((2, ), bool)
jnp.ones(3, 'int8')
jnp.full((2, 2), 3)
jnp.full((2, 2), 3.5)
jnp.full((2, 3), g)
jnp.full((2, ), 3.5, int)
jnp.full_like(f, 2)
jnp.full_like(i, 2.5)
jnp.full_like(2.0, 3)
jnp.zeros_like(i, float)
jnp.ones_like(f, shape=(2, ))
jnp.empty((2, ))
jnp.array([1, 2, 3])
jnp.array([1, 2.5])
jnp.array([True, 2])
jnp.array([[f[0], f[1]], [f[1], f[0]]])
jnp.array([1, f[0, 0]])
jnp.array([np.int8(1), 2])
jnp.array([np.float16(1), 2.0])
jnp.array(2, ndmin=2)
jnp.array([])
jnp.array([[], []])
jnp.array(())
jnp.array([1+2j])
jnp.array(np.arange(3))
jnp.array(np.ones(2))
jnp.array([1, 2], dtype='float32')
jnp.array([1.7, 2], dtype=int)
jnp.array(1.7, dtype=int)
jnp.array(f, dtype=int)
jnp.array(range(3))
jnp.array(np.float64(2.0))
jnp.array(np.int64(2))
jnp.float32(2)
jnp.int8([1, 2])
jnp.bfloat16(1.5)
jnp.vander(g)
jnp.vander(g, 2, increasing=True)
jnp.tril_indices(3)
jnp.diag_indices(3)
jnp.astype(f, int)
jnp.bartlett(5)
jnp.blackman(5)
jnp.hamming(5)
jnp.hanning(5)
jnp.kaiser(5, 2.)
jnp.fromfunction(lambda a, b: a+b, (2, 3))
jnp.mgrid[0:3, 0:2]
jnp.mgrid[0:1:5j]
jnp.ogrid[0:3, 0:2]
jnp.ix_(jnp.array([0, 1]), jnp.array([2, 0]))
jnp.r_[0:3, 5, g]
jnp.r_[3, 4]
jnp.r_['0,2', g, g]
jnp.r_[' -1 ', f, f]
jnp.r_['1,2,0', 1:3, g[:2], n[1:]]
jnp.r_['0,0', g, g]
jnp.r_['r', g, g]
jnp.r_['c', g, g]
jnp.r_['c', f, f]
jnp.c_[g, g]
jnp.c_[f, f]
jnp.c_[1, 2]
jnp.c_[1:3, 4:6]
jnp.c_['0', g, g]
jnp.c_['0,1', g, g]
jnp.c_['c', g, g]
jnp.s_[1:2]
jnp.tril_indices_from(f)
jnp.triu_indices_from(f, 1)
jnp.diag_indices_from(t[0])
jnp.copy(f)
jnp.frombuffer(b'\\x01\\x02', dtype=jnp.int8)
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)


@pytest.mark.parametrize("directive", ["0,3,1", "0,3,-2", "1,3,0", "-1,3,-1", "0,2"])
def test_joined_as_numpy_says(directive: str) -> None:
    """JAX puts the axes that are missing elsewhere for places in the middle."""
    ours, theirs = jnp.r_[directive, 1:4, jnp.arange(3)], np.r_[directive, 1:4, np.arange(3)]
    np.testing.assert_array_equal(np.asarray(ours), theirs)


@pytest.mark.parametrize("index", [("2,x", 1), ("", 1), (1, "0,2"), ("0", "1", 2), ("1,2,3,4", 1)])
def test_no_directive(index: tuple[object, ...]) -> None:
    text = next(part for part in reversed(index) if isinstance(part, str))
    with pytest.raises(errors.ArgumentError) as told:
        jnp.r_[index]
    assert str(told.value).startswith(
        "[r_] expected 'r', 'c', or up to three integers such as '0,2,0', and no text after it; "
        f"got {text!r}"
    )


def test_a_directive_that_does_not_fit() -> None:
    with pytest.raises(errors.BoundsError, match=r"\[r_\] expected an axis of an array of 3 axes"):
        jnp.r_["0,3,3", jnp.arange(3)]
    with pytest.raises(errors.ShapeError, match=r"\[r_\] expected vectors or matrices"):
        jnp.r_["c", jnp.ones((2, 2, 2))]
    with pytest.raises(errors.BoundsError, match=r"axis 2"):
        jnp.r_["2", jnp.arange(3)]
