"""Samplers of nothing, and of more than there is room for."""

import jax
import numpy as np
import pytest

import functrax
from functrax import errors, random
from functrax.core import dtypes


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_permutation_of_nothing(shape, axis, independent):
    """Nothing to shuffle is no error, whichever axis is empty."""
    found = random.permutation(random.key(0), np.zeros(shape), axis, independent)
    wanted = jax.random.permutation(jax.random.key(0), np.zeros(shape), axis, independent)
    assert found.shape == wanted.shape == shape
    assert found.dtype == wanted.dtype == dtypes.float32


def test_permutation_of_nothing_is_traced():
    """As any other."""
    draw = functrax.jit(lambda key, x: random.permutation(key, x))
    assert draw(random.key(0), np.zeros((0, 3))).shape == (0, 3)
    rows = functrax.vmap(random.permutation)(random.split(random.key(0), 2), np.zeros((2, 0)))
    assert rows.shape == (2, 0)


@pytest.mark.parametrize("replace", [False, True])
def test_choice_of_empty_rows(replace):
    """The other axes may be empty."""
    found = random.choice(random.key(0), np.zeros((3, 0)), (2,), replace)
    assert found.shape == (2, 0)
    found = random.choice(random.key(0), np.zeros((0, 3)), (2,), replace, axis=1)
    assert found.shape == (0, 2)


HUGE = (2**40, 2**40)
DRAWS = {
    "normal": lambda key: random.normal(key, HUGE),
    "uniform": lambda key: random.uniform(key, HUGE),
    "bits": lambda key: random.bits(key, HUGE),
    "randint": lambda key: random.randint(key, HUGE, 0, 3),
    "bernoulli": lambda key: random.bernoulli(key, 0.5, HUGE),
    "truncated_normal": lambda key: random.truncated_normal(key, -1.0, 1.0, HUGE),
    "exponential": lambda key: random.exponential(key, HUGE),
    "choice": lambda key: random.choice(key, 5, HUGE),
}


@pytest.mark.parametrize("name", DRAWS)
def test_more_than_there_is_room_for(name):
    """The error of `jnp.zeros`, and it names the sampler."""
    with pytest.raises(errors.OutOfMemoryError, match=rf"\[{name}\] expected an array of fewer"):
        DRAWS[name](random.key(0))
