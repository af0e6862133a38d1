"""The methods of universal functions; the oracle is jax.numpy, and NumPy where JAX fails."""

import inspect
from typing import Any

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from tests.numpy.compare import check, rows

UFUNCS = [k for k in dir(jax.numpy) if isinstance(getattr(jax.numpy, k), jax.numpy.ufunc)]
BINARY = [name for name in UFUNCS if name != "negative"]
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor"]


EACH = rows("""
jnp.{name}.reduce({x})
jnp.{name}.reduce({x}, axis=-1, keepdims=True)
jnp.{name}.reduce({x}, axis=None, initial=1)
jnp.{name}.accumulate({x}, axis=-1)
jnp.{name}.outer({x}, {x})
jnp.{name}.reduceat({x}, jnp.array([2, 0, 1, 1]), axis=-1)
""")
LOGARITHMS = ("logaddexp", "logaddexp2")


def operands(name: str) -> str:
    return "iub" if name in BITS else "fiu"


def refused_by_jax(name: str, x: str, line: str) -> bool:
    """An initial integer, and segments of integers, which become floats."""
    return name in LOGARITHMS and ("initial" in line or (x in "iub" and "reduceat" in line))


CASES = [
    line.format(name=name, x=x)
    for name in BINARY
    for x in operands(name)
    for line in EACH
    if not refused_by_jax(name, x, line)
]


@pytest.mark.parametrize("expression", CASES)
def test_methods_are_those_of_jax(expression: str) -> None:
    check(expression, weak=False)


OTHERS = rows("""
jnp.add.reduce(h)
jnp.add.reduce(i, dtype='float32')
jnp.add.reduce(t, axis=(0, 2))
jnp.add.reduce(f, where=m)
jnp.multiply.reduce(f, where=m, axis=1)
jnp.maximum.reduce(nan)
jnp.logical_and.reduce(f, where=m)
jnp.logical_or.reduce(f, dtype='int32')
jnp.bitwise_and.reduce(u, where=b)
jnp.bitwise_and.reduce(i, where=m)
jnp.bitwise_xor.reduce(i, where=m, initial=3)
jnp.logaddexp.reduce(inf)
jnp.logaddexp.reduce(f, where=m)
jnp.logaddexp.reduce(f, axis=1, where=m, keepdims=True, initial=0.5)
jnp.logaddexp2.reduce(f, axis=1)
jnp.logaddexp.reduce(c)
jnp.add.reduce(c)
jnp.add.reduce(z)
jnp.multiply.reduce(z)
jnp.logical_and.reduce(z)
jnp.logical_xor.reduce(z)
jnp.bitwise_or.reduce(z.astype('int32'))
jnp.logaddexp.reduce(z)
jnp.subtract.reduce(t, axis=1)
jnp.subtract.reduce(f, initial=2.0)
jnp.subtract.reduce(f, dtype='int32')
jnp.subtract.accumulate(t, axis=1)
jnp.subtract.accumulate(i, dtype='float32')
jnp.subtract.accumulate(z)
jnp.maximum.accumulate(z)
jnp.maximum.accumulate(nan)
jnp.logical_xor.accumulate(i, axis=1)
jnp.subtract.reduceat(t, jnp.array([0, 2]), axis=0)
jnp.add.reduceat(u, jnp.array([0, 2]))
jnp.add.reduceat(g, jnp.array([0, 2]), dtype='float32')
jnp.add.outer(t, g)
jnp.add.outer(1, 2.0)
jnp.negative.at(f, jnp.array([0, 0, 1]), inplace=False)
jnp.negative.at(g, jnp.array([0, 0, 0, 2]), inplace=False)
jnp.negative.at(f, 1, inplace=False)
jnp.add.at(g, jnp.array([0, 0, 1]), jnp.array([1.0, 2.0, 3.0]), inplace=False)
jnp.add.at(i, 0, 5, inplace=False)
jnp.add.at(b, jnp.array([0, 1]), jnp.array([False, True]), inplace=False)
jnp.multiply.at(b, jnp.array([0, 0, 1]), jnp.array([True, False, True]), inplace=False)
jnp.multiply.at(g, jnp.array([0, 0, 1]), 3, inplace=False)
jnp.subtract.at(g, jnp.array([0, 0, 1]), 3, inplace=False)
jnp.maximum.at(g, jnp.array([0, 0, 1]), jnp.array([1.0, 5.0, -9.0]), inplace=False)
jnp.maximum.at(j, jnp.array([0, 0, 1]), jnp.array([1.0, 5.0, -9.0]), inplace=False)
jnp.minimum.at(f, jnp.array([0, 0, 1]), 0, inplace=False)
jnp.bitwise_xor.at(j, jnp.array([0, 0, 1]), jnp.array([1, 5, 9]), inplace=False)
jnp.bitwise_or.at(i, (jnp.array([0, 0]), jnp.array([1, 1])), jnp.array([1, 6]), inplace=False)
jnp.bitwise_or.at(i, (1, 1), 6, inplace=False)
jnp.logical_xor.at(b, jnp.array([0, 0, 1]), jnp.array([True, True, True]), inplace=False)
jnp.logical_or.at(f, jnp.array([0, 0]), False, inplace=False)
jnp.logaddexp.at(g, jnp.array([0, 0, -1]), jnp.array([1.0, 5.0, -9.0]), inplace=False)
jnp.logaddexp.at(g, jnp.array([0, 7]), jnp.array([1.0, 5.0]), inplace=False)
lib.jit(jnp.bitwise_xor.at, static_argnames='inplace')(j, n, i[0], inplace=False)
lib.jit(jnp.subtract.reduce)(f)
lib.jit(jnp.maximum.accumulate)(f)
lib.jit(jnp.add.reduceat)(g, jnp.array([0, 2]))
lib.vmap(jnp.subtract.reduce)(f)
lib.vmap(jnp.add.reduceat, in_axes=(0, None))(f, jnp.array([0, 2]))
lib.vmap(jnp.logaddexp.accumulate)(f)
lib.grad(lambda x: jnp.logaddexp.reduce(x))(g)
lib.grad(lambda x: (jnp.logaddexp.accumulate(x) * g).sum())(g)
lib.grad(lambda x: (jnp.multiply.accumulate(x) * g).sum())(g)
lib.grad(lambda x: jnp.subtract.reduce(x, initial=2.0) ** 2)(g)
lib.grad(lambda x: (jnp.multiply.outer(x, x) ** 2).sum())(g)
lib.grad(lambda x: jnp.maximum.reduce(x))(g)
lib.jvp(lambda x: jnp.multiply.reduceat(x, jnp.array([0, 2])), (g,), (g,))
lib.grad(lambda x: (jnp.maximum.at(x, jnp.array([0, 1]), 1.0, inplace=False) * g).sum())(g)
lib.grad(lambda x: (jnp.logaddexp.at(x, jnp.array([0, 0]), 1.0, inplace=False) * g).sum())(g)
""")


@pytest.mark.parametrize("expression", OTHERS)
def test_options_and_transformations(expression: str) -> None:
    check(expression, weak=False)


MADE = "jnp.frompyfunc(lambda x, y: 2 * x - y, 2, 1, identity=0)"
FROM = rows("""
(lambda p: p(f, g))(MADE)
(lambda p: p(i, 10))(MADE)
(lambda p: p(1, 2.0))(MADE)
(lambda p: p.reduce(f))(MADE)
(lambda p: p.reduce(f, axis=None))(MADE)
(lambda p: p.reduce(f, axis=1, where=m))(MADE)
(lambda p: p.reduce(f, axis=1, keepdims=True, initial=3))(MADE)
(lambda p: p.reduce(i, dtype='float32'))(MADE)
(lambda p: p.reduce(z))(MADE)
(lambda p: p.accumulate(f, axis=1))(MADE)
(lambda p: p.accumulate(j))(MADE)
(lambda p: p.outer(g, j))(MADE)
(lambda p: p.at(g, jnp.array([0, 0, 1]), jnp.array([1.0, 5.0, -9.0]), inplace=False))(MADE)
(lambda p: p.at(j, jnp.array([0, 0, 1]), jnp.array([1.0, 5.0, -9.0]), inplace=False))(MADE)
(lambda p: p.at(g, 1, 2.0, inplace=False))(MADE)
(lambda p: p.reduceat(t, jnp.array([0, 2]), axis=0))(MADE)
(lambda p: lib.grad(lambda x: (p.accumulate(x) * g).sum())(g))(MADE)
(lambda p: lib.jit(p)(f, g))(MADE)
(lambda p: lib.vmap(p.reduce)(f))(MADE)
(lambda p: p(f))(jnp.frompyfunc(lambda x: x * 2 + 1, 1, 1))
(lambda p: p.at(g, jnp.array([0, 0, 1]), inplace=False))(jnp.frompyfunc(lambda x: x * 2, 1, 1))
jnp.frompyfunc(lambda x, y: (x + y, x - y), 2, 2)(f, g)
""")


@pytest.mark.parametrize("expression", [line.replace("MADE", MADE) for line in FROM])
def test_functions_of_numbers(expression: str) -> None:
    check(expression, weak=False)


@pytest.mark.parametrize("name", UFUNCS)
def test_facts_are_those_of_jax(name: str) -> None:
    ours: Any = getattr(jnp, name)
    theirs = getattr(jax.numpy, name)
    assert isinstance(ours, jnp.ufunc)
    assert inspect.isfunction(ours)  # a call costs no more frames
    for fact in ("nin", "nout", "nargs"):
        assert getattr(ours, fact) == getattr(theirs, fact)
    assert ours.identity == theirs.identity
    assert type(ours.identity) is type(theirs.identity)
    for method in ("reduce", "accumulate", "at", "outer", "reduceat"):
        own, other = (inspect.signature(getattr(u, method)) for u in (ours, theirs))
        assert [*own.parameters] == [*other.parameters]
        assert [p.default for p in own.parameters.values()] == [
            p.default for p in other.parameters.values()
        ]


def test_what_is_a_universal_function() -> None:
    made = jnp.frompyfunc(np.add, 2, 1, identity=0)
    assert isinstance(made, jnp.ufunc)
    assert repr(made) == "<jnp.ufunc 'add'>"
    assert made == jnp.frompyfunc(np.add, 2, 1, identity=0)
    assert len({made, made}) == 1
    assert made != jnp.frompyfunc(np.add, 2, 1)
    assert (made.nin, made.nout, made.nargs, made.identity) == (2, 1, 2, 0)
    for other in (jnp.sin, np.add, jnp.ones(2), 1, None, sum, jnp.ufunc):
        assert not isinstance(other, jnp.ufunc)


def test_places_of_slices_and_masks_are_those_of_numpy() -> None:
    x = np.arange(12).reshape(3, 4)
    for index in [
        ([0, 0], slice(1, 3)), (np.array([[0], [0]]), [1, 1, 2]), x % 2 == 1, (..., [3, 3, -1]),
        ((0, 0, 2),), slice(1), (slice(None, None, -1), [0, 0]), (None, [1, 1]),
    ]:  # fmt: skip
        for name in ("bitwise_xor", "add", "maximum"):
            expected = x.copy()
            getattr(np, name).at(expected, index, 7)
            found = getattr(jnp, name).at(x, index, 7, inplace=False)
            np.testing.assert_array_equal(found, expected)


def test_integers_in_segments_of_floats() -> None:
    found = jnp.logaddexp.reduceat(jnp.arange(5), np.array([0, 2]))
    np.testing.assert_allclose(found, np.logaddexp.reduceat(np.arange(5.0), [0, 2]), rtol=1e-6)


WRONG = {
    "jnp.negative.reduce(f)": "[negative.reduce] expected a function of two arguments with one "
    "result; got 1 and 1",
    "jnp.add.reduce(f, out=f)": "[add.reduce] expected out=None",
    "jnp.maximum.reduce(f, where=f > 0)": "[maximum.reduce] expected `initial` together with",
    "jnp.subtract.reduce(f[:0])": "[subtract.reduce] expected at least one element to reduce",
    "jnp.subtract.reduce(f, axis=5)": "[subtract.reduce] expected an axis of an array of 2 axes",
    "jnp.maximum.accumulate(f, axis=5)": "[maximum.accumulate] expected an axis of an array of 2",
    "jnp.add.at(f, 0, 1)": "[add.at] expected inplace=False; got True",
    "jnp.add.at(f, 0, inplace=False)": "[add.at] expected 1 arguments beside array and index",
    "jnp.negative.at(f, 0, 1, inplace=False)": "[negative.at] expected 0 arguments beside",
    "jnp.add.reduceat(f, f)": "[add.reduceat] expected a vector of integers",
    "jnp.bitwise_and.reduce(f)": "[bitwise_and.reduce] expected integers or booleans",
    "jnp.frompyfunc(max, 2, 1)(f)": "[max] expected 2 arguments; got 1",
    "jnp.frompyfunc(1, 2, 1)": "[frompyfunc] expected a function",
}


@pytest.mark.parametrize("expression", WRONG)
def test_messages(expression: str) -> None:
    with pytest.raises(errors.FunctraxError) as caught:
        eval(expression, {"jnp": jnp, "f": jnp.ones((2, 3))})
    assert str(caught.value).startswith(WRONG[expression])


def test_the_methods_are_compiled_once() -> None:
    times = []

    def minus(x: Any, y: Any) -> Any:
        times.append(1)
        return x - y

    made = jnp.frompyfunc(minus, 2, 1)
    x = jnp.arange(5.0)
    made.reduce(x, dtype="float32")
    count = len(times)
    made.reduce(x, dtype="float32")
    assert len(times) == count
    assert functrax.jit(made.reduce)(x) == -10
