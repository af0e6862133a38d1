"""What is written into a traced program: no conversions of Python's numbers, no more equations than JAX."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.numpy.operands import literals
from tests.numpy.compare import rows


def equations(jaxpr: Any) -> int:
    """Count equations, those of inner programs too."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [v for v in eqn.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
        inner = [v if hasattr(v, "eqns") else v.jaxpr for v in inner]
        total += 1 + sum(map(equations, inner))
    return total


def count(library: Any, expression: str) -> int:
    x = np.ones((4, 4), np.float32)

    def program(x: Any, y: Any) -> Any:
        names = {"jnp": library.numpy, "nn": library.nn, "x": x, "y": y, "lib": library}
        return eval(expression, names)

    return equations(library.make_jaxpr(program)(x, x).jaxpr)


PROGRAMS = rows("""
x + y
x * 2.0
2 - x
x / 3
x + y[0]
x + 1j
x ** 2
x ** 3
x % 2
x // 2
-x
x > 0
x == y
x @ y
x[0]
x[:, None]
x[1:3, ::2]
x.T
x.sum()
x.sum(axis=0, keepdims=True)
x.mean()
x.mean(axis=1)
x.var()
x.std(axis=0)
x.max(axis=1)
x.argmax(1)
x.astype('bfloat16').sum()
x.reshape(2, 8)
x.at[0].set(1.0)
x.at[jnp.arange(2)].add(1.0)
jnp.where(x > 0, x, 0.0)
jnp.clip(x, 0, 1)
jnp.maximum(x, 0.0)
jnp.exp(x) + jnp.sin(y)
jnp.concatenate([x, y])
jnp.split(x, 2)
jnp.einsum('ij,jk->ik', x, y)
jnp.einsum('ij,kj->ik', x, y)
jnp.einsum('bi,bj->bij', x, y)
jnp.tensordot(x, y, 1)
jnp.outer(x[0], y[0])
jnp.linspace(0, 1, 5)
jnp.arange(5)
jnp.eye(3)
jnp.tril(x)
jnp.zeros((3, 3))
jnp.full((2, 2), 3.0)
jnp.ones_like(x)
jnp.pad(x, 1)
jnp.roll(x, 1, 0)
jnp.repeat(x, 2, axis=0)
jnp.tile(x, (2, 1))
jnp.take(x, jnp.arange(2), axis=0)
jnp.take_along_axis(x, jnp.argsort(x, 1), 1)
jnp.sort(x)
jnp.cumsum(x, axis=0)
jnp.linalg.norm(x)
jnp.isnan(x)
jnp.allclose(x, y)
jnp.logaddexp(x, y)
nn.relu(x)
nn.gelu(x)
nn.silu(x)
nn.softmax(x)
nn.log_softmax(x)
nn.logsumexp(x, axis=1)
nn.one_hot(jnp.arange(4), 5)
nn.standardize(x)
nn.softplus(x)
nn.elu(x)
nn.leaky_relu(x)
""")


@pytest.mark.parametrize("expression", PROGRAMS)
def test_no_more_equations_than_jax(expression: str) -> None:
    assert count(functrax, expression) <= count(jax, expression)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2.0,
        lambda x: 2 * x,
        lambda x: x - 1,
        lambda x: x / 2,
        lambda x: x > 0,
        lambda x: jnp.maximum(x, 0),
        lambda x: jnp.logaddexp(x, 0.0),
        lambda x: x % 3,
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "complex64"])
def test_numbers_become_literals(function: Callable[[Any], Any], dtype: str) -> None:
    if dtype == "complex64" and not _takes_complex(function):
        pytest.skip("not defined for complex numbers")
    jaxpr = functrax.make_jaxpr(function)(jnp.ones(3, dtype))
    assert "convert_element_type" not in str(jaxpr)


def _takes_complex(function: Callable[[Any], Any]) -> bool:
    try:
        function(jnp.ones(3, "complex64"))
    except functrax.errors.FunctraxError:
        return False
    return True


def test_negative_zero_is_not_zero() -> None:
    x = jnp.zeros(2)
    x * 0.0, x + 0.0, jnp.copysign(x, 0.0)
    assert np.signbit(np.asarray(jnp.ones(2) * -0.0)).all()
    assert not np.signbit(np.asarray(jnp.ones(2) * 0.0)).any()
    assert np.signbit(np.asarray(jnp.copysign(jnp.ones(2), -0.0))).all()
    assert np.signbit(np.asarray(functrax.jit(lambda x: x * -0.0)(jnp.ones(2)))).all()
    assert all(math.copysign(1.0, key[0]) > 0 for key in literals if key[0] == 0)


def test_true_is_not_one() -> None:
    x = jnp.arange(3)
    assert (x + 1).dtype == np.int32
    assert (x + True).dtype == np.int32
    assert (x + 1.0).dtype == np.float32
    assert (x + 1).weak_type is False
    assert (x + 1.0).weak_type is True


def test_nan_is_a_literal() -> None:
    assert np.isnan(np.asarray(jnp.ones(2) * float("nan"))).all()


@pytest.mark.parametrize(
    ("expression", "dtype", "weak"),
    [
        ("jnp.asarray(2.0)", "float32", True),
        ("jnp.asarray(2.0, 'float64')", "float64", False),
        ("jnp.asarray(np.ones(2))", "float32", False),
        ("jnp.asarray(np.ones(2), dtype=np.float64)", "float64", False),
        ("jnp.zeros(2, 'int64')", "int64", False),
        ("jnp.zeros(2, 'int64') + 1", "int64", False),
        ("jnp.ones(2, 'float64') * 0.1", "float64", False),
        ("jnp.ones(2, 'float64').sum()", "float64", False),
        ("jnp.arange(3, dtype='int64') / 2", "float64", False),
        ("jnp.ones(2).astype('float64')", "float64", False),
        ("jnp.int64(2**40)", "int64", False),
        ("jnp.float64(1) + jnp.float32(1)", "float64", False),
    ],
)
def test_a_dtype_asked_for_is_given(expression: str, dtype: str, weak: bool) -> None:
    x = eval(expression)
    assert (x.dtype.name, x.weak_type) == (dtype, weak)


def test_numbers_are_exact_beside_float64() -> None:
    assert float(jnp.ones((), "float64") * 0.1) == 0.1
    assert float(jnp.ones((), "float64") * 1e300) == 1e300


def test_defaults_are_wide_under_enable_x64() -> None:
    with functrax.enable_x64(True):
        assert jnp.asarray(1.0).dtype == np.float64
        assert jnp.zeros(2).dtype == np.float64
        assert jnp.arange(2).dtype == np.int64
        assert jnp.sum(jnp.ones(2, "int32")).dtype == np.int64
        assert jnp.sin(jnp.ones(2, "int32")).dtype == np.float64
        assert (jnp.ones(2, "float32") * 2.0).dtype == np.float32


EVERYWHERE = [
    lambda x: jnp.where(x > 0, x * 2.0, jnp.exp(x)).sum(),
    lambda x: jnp.var(x, axis=0).sum(),
    lambda x: (jnp.einsum("ij,kj->ik", x, x) ** 2).mean(),
    lambda x: jnp.linalg.norm(x[0]) + x.max(),
    lambda x: functrax.nn.softmax(x).sum(where=x > 0),
    lambda x: jnp.concatenate([x, x.T.reshape(x.shape)]).std(),
    lambda x: jnp.sort(x, 0)[0].sum() + jnp.take(x, jnp.array([0, 5]), axis=1, mode="clip").sum(),
    lambda x: jnp.pad(x, 1, mode="reflect").prod() + jnp.cumsum(x, 1)[0, -1],
    lambda x: jnp.median(x) + jnp.interp(x, jnp.arange(3.0), jnp.arange(3.0) ** 2).sum(),
    lambda x: functrax.nn.gelu(x).sum() + functrax.nn.logsumexp(x),
]


@pytest.mark.parametrize("function", EVERYWHERE)
def test_under_transforms(function: Callable[[Any], Any]) -> None:
    """Jit changes nothing, vmap is the stacked loop, and grad agrees with finite differences."""
    with functrax.enable_x64(True):
        x = jnp.asarray(np.random.RandomState(0).randn(3, 4))
        xs = jnp.stack([x, x + 0.1])
        np.testing.assert_allclose(functrax.jit(function)(x), function(x), rtol=1e-12)
        each = [float(function(row)) for row in xs]
        np.testing.assert_allclose(functrax.vmap(function)(xs), each, rtol=1e-12)
        direction = np.random.RandomState(1).randn(3, 4)
        step = 1e-6
        slope = (function(x + step * direction) - function(x - step * direction)) / (2 * step)
        gradient = functrax.grad(function)(x)
        np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-5, atol=1e-7)


# ---- programs are well-formed

_SAMPLE = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
_LIBRARIES = {
    "numpy": jnp,
    "lax": functrax.lax,
    "nn": functrax.nn,
    "special": functrax.scipy.special,
}
_FILES = {"save", "savez", "load", "fromfile"}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "complex64"])
@pytest.mark.parametrize("library", _LIBRARIES)
def test_what_functions_write_passes_the_checker(library: str, dtype: str) -> None:
    """Whatever takes one or two arrays, or an array and a number."""
    x = jnp.asarray(_SAMPLE, dtype)
    calls: list[tuple[Any, ...]] = [(x,), (x, x), (x, True), (x, 1), ((3,), True)]
    members = vars(_LIBRARIES[library])
    found = 0
    for name in sorted(set(dir(_LIBRARIES[library])) - _FILES):
        function = members.get(name)
        if not callable(function) or inspect.isclass(function):
            continue
        for args in calls:
            try:
                with functrax.enable_checks(True), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    functrax.make_jaxpr(lambda: function(*args))()  # noqa: B023
                found += 1
            except errors.JaxprError:
                raise
            except Exception:  # it takes other arguments
                continue
    assert found > 10


@pytest.mark.parametrize("function", ["tril", "triu"])
def test_triangles_of_booleans(function: str) -> None:
    mask = jnp.ones((3, 3), bool)
    with functrax.enable_checks(True):
        found = functrax.jit(getattr(jnp, function))(mask)
    np.testing.assert_array_equal(found, getattr(np, function)(np.ones((3, 3), bool)))
