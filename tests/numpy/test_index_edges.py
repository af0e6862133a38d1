"""Indices at the edges: axes of size 0 and 1, boolean scalars, repeated and traced places, tuples,
and random indices of all kinds. The oracle is NumPy, and jax.numpy for what NumPy does not have.
"""

import random
from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from tests.numpy.compare import check, rows

N, E = None, Ellipsis
s_ = np.s_
SCALARS: list[Any] = [
    (0, True), (True, 0), (N, 0, True), (np.array(True), 0), (0, -1, True), (0, E, False),
    (True, 0, [0, 2]), (0, True, slice(None)), (E, 0, True), (-1, np.True_, N), (0, [True]),
    (0, slice(None, None, -2), True), (True, N, 0), (0, 1, True, N),
]  # fmt: skip


@pytest.mark.parametrize("index", SCALARS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1), (1, 1)])
def test_boolean_scalars_beside_an_axis_of_one_element(shape: Any, index: Any) -> None:
    x = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    try:
        expected = x[index]
    except IndexError:
        with pytest.raises(errors.FunctraxError):
            jnp.asarray(x)[index]
        return
    np.testing.assert_array_equal(jnp.asarray(x)[index], expected, strict=True)
    np.testing.assert_array_equal(functrax.jit(lambda x: x[index])(x), expected)
    written = x.copy()
    written[index] *= 3
    np.testing.assert_array_equal(jnp.asarray(x).at[index].multiply(3), written)


# ---- random indices


def drawn_index(r: random.Random, shape: tuple[int, ...]) -> tuple[Any, ...]:
    family = r.choice([[(3,), (1,), (), (2, 1)], [(0,), (1,)], [(2,), (1, 2), (2, 2)]])
    parts: list[Any] = []
    axis, rest = 0, False
    while len(parts) < 6:
        size = shape[axis] if axis < len(shape) else 0
        kind = r.choice("nesbimam" if axis < len(shape) else "nxb")
        if kind == "x":
            break
        if kind == "n":
            parts.append(None)
        elif kind == "e" and not rest:
            parts.append(Ellipsis)
            axis, rest = r.randint(axis, len(shape)), True
        elif kind == "b":
            parts.append(r.choice([True, False, np.True_, np.array(True)]))
        elif kind == "s":
            bounds = [r.choice([None, r.randint(-size - 2, size + 2)]) for _ in range(2)]
            parts.append(slice(*bounds, r.choice([None, 1, 2, -1, -2, 5])))
            axis += 1
        elif kind == "m":
            parts.append(np.array([r.random() < 0.5 for _ in range(size)], bool))
            axis += 1
        elif size and kind in "ia":
            unsigned = r.random() < 0.3
            dtype = r.choice(["u1", "u2", "u4", "u8"] if unsigned else ["i1", "i2", "i4", "i8"])
            chosen = r.choice(family) if kind == "a" else ()
            count = int(np.prod(chosen))
            places = [r.randint(0 if unsigned else -size, size - 1) for _ in range(count)]
            array = np.array(places, dtype).reshape(chosen)
            listed = array.ndim == 1 and r.random() < 0.3
            parts.append(tuple(places) if listed else int(array) if not array.ndim else array)
            axis += 1
    return tuple(parts)


def as_arrays(r: random.Random, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Some places are known only at run time."""
    return tuple(
        jnp.asarray(p) if isinstance(p, np.ndarray) and p.dtype.itemsize < 8 and r.random() < 0.5
        else p
        for p in index
    )  # fmt: skip


WRITES = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}


@pytest.mark.parametrize("seed", range(8))
def test_random_indices(seed: int) -> None:
    r = random.Random(seed)
    for _ in range(25):
        shape = tuple(r.choice([0, 1, 1, 2, 3]) for _ in range(r.randint(0, 4)))
        x = np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.int32).reshape(shape)
        index = drawn_index(r, shape)
        ours = as_arrays(r, index)
        try:
            expected = x[index]
        except IndexError:
            with pytest.raises(errors.FunctraxError):
                jnp.asarray(x)[ours]
            continue
        shown = f"shape {shape}, index {index}"
        found = jnp.asarray(x)[ours]
        np.testing.assert_array_equal(found, expected, shown, strict=True)
        operation = r.choice([*WRITES, "apply"])
        written = x.copy()
        if operation == "apply":
            times = np.zeros(shape, np.int32)
            np.add.at(times, index, 1)
            written = (written + 1) * 2**times - 1
            found = jnp.asarray(x).at[ours].apply(lambda v: 2 * v + 1)
        else:
            WRITES[operation].at(written, index, 3)
            found = getattr(jnp.asarray(x).at[ours], operation)(3)
        np.testing.assert_array_equal(found, written, f"{operation}, {shown}", strict=True)


# ---- applying a function where places are traced, and may repeat

APPLIED = rows("""
lib.jit(lambda x, i: x.at[i].apply(jnp.sin))(jnp.ones(3), jnp.array([0, 1]))
lib.jit(lambda x, i: x.at[i].apply(lambda v: 2 * v + 1))(f, jnp.array([0, 0, 1, -1]))
lib.jit(lambda x, i: x.at[i].apply(lambda v: 2 * v + 1))(f, jnp.array([0, 0, 7]))
lib.jit(lambda x, i: x.at[:, i].apply(lambda v: 2 * v + 1, mode='clip'))(f, jnp.array([0, 7, 7]))
lib.jit(lambda x, i: x.at[i].apply(lambda v: 2 * v + 1))(f, jnp.zeros(0, int))
lib.vmap(lambda x, i: x.at[i].apply(lambda v: 2 * v + 1))(f, jnp.array([[0, 0], [0, 1]]))
lib.jit(lambda x, i: x.at[i].apply(jnp.sin))(z, jnp.array([0, 1]))
f.at[((0, 0),)].apply(lambda v: 2 * v + 1)
""")


@pytest.mark.parametrize("expression", APPLIED)
def test_applied_at_traced_places(expression: str) -> None:
    check(expression)


def test_applied_at_traced_places_differentiates() -> None:
    def total(x: Any, i: Any) -> Any:
        return x.at[i].apply(jnp.square).sum()

    x, i = jnp.array([3.0, 5.0, 7.0]), jnp.array([0, 0, 1])
    np.testing.assert_allclose(functrax.jit(functrax.grad(total))(x, i), [4 * 27, 10, 1])
    np.testing.assert_allclose(functrax.jit(functrax.jacfwd(total))(x, i), [4 * 27, 10, 1])


# ---- nothing to read, nothing to write

EMPTY = rows("""
jnp.ones((3, 4)).at[1:1].set(np.ones((1, 1, 4), 'f'))
jnp.ones((3, 4)).at[1:1].add(np.ones((1, 1, 0, 4), 'f'))
jnp.ones((3, 4)).at[jnp.zeros(0, int)].set(np.ones((1, 1, 4), 'f'))
jnp.zeros(0).at[jnp.array([0, 1])].set(1.0)
jnp.zeros(0).at[jnp.array([0, 1])].add(1.0, mode='drop')
z.at[jnp.array([0, 1])].max(g, mode='clip')
jnp.nonzero(j, size=0)
jnp.argwhere(f, size=0)
jnp.argwhere(s, size=0)
jnp.flatnonzero(f, size=0)
jnp.where(f > 1, size=0)
jnp.unique(j, size=0)
jnp.unique(j, size=0, return_index=True, return_inverse=True, return_counts=True)
lib.jit(lambda x: jnp.unique(x, size=0))(j)
jnp.unique(f, size=0, axis=0)
jnp.union1d(j, n, size=0)
jnp.bincount(n, length=0)
jnp.bincount(n, weights=g, length=0)
lib.jit(lambda x: jnp.bincount(x, length=0))(n)
jnp.extract(g > 1, g, size=0)
""")


@pytest.mark.parametrize("expression", EMPTY)
def test_nothing(expression: str) -> None:
    check(expression)


def test_reads_outside_of_an_empty_axis() -> None:
    x = jnp.zeros((0, 2), "int32")
    fill = {"mode": "fill", "fill_value": 7}
    np.testing.assert_array_equal(x.at[jnp.array([0, 1])].get(**fill), np.full((2, 2), 7))
    np.testing.assert_array_equal(x.at[3].get(**fill), [7, 7])
    found = functrax.jit(lambda x, i: (x.at[i].get(**fill), x.at[i].set(1)))(x, 3)
    np.testing.assert_array_equal(found[0], [7, 7])
    assert found[1].shape == (0, 2)
    nothing = r"\[getitem\] expected no index into axis 0, which is empty, of shape \(0, 2\)"
    for read in (lambda x, i: x[i], lambda x, i: x[i, 0], lambda x, i: x[jnp.stack([i])]):
        with pytest.raises(errors.BoundsError, match=nothing):
            functrax.jit(read)(x, 0)
    with pytest.raises(errors.BoundsError):
        x.at[0].set(1)
    with pytest.raises(errors.ShapeError, match=r"got shape \(2, 1, 2\)"):
        jnp.ones((3, 2)).at[1:1].set(np.ones((2, 1, 2)))


# ---- tuples as arrays, complex extremes, booleans

VARIOUS = rows("""
j[(0,),]
f[(1, 0), (0, 2)]
j[((),)]
f.at[((0, 1),)].set(5)
c.at[jnp.array([0, 0, 2])].max(jnp.array([1 + 3j, 1 + 1j, -1j]))
c.at[jnp.array([0, 0, 2])].min(jnp.array([1 + 3j, 1 + 1j, -1j]))
c.at[jnp.array([[0], [1]])].max(jnp.array([[1j], [1 + 1j]]))
c.at[jnp.array([0, 7])].max(5 + 1j)
c.at[0].max(2)
c.at[1:].min(-1j)
jnp.stack([c, -c]).at[:, jnp.array([2, 0])].min(c[:2])
lib.jit(lambda x, i: x.at[i].max(2j))(c, n)
""")


@pytest.mark.parametrize("expression", VARIOUS)
def test_tuples_and_complex_extremes(expression: str) -> None:
    check(expression)


def test_arithmetic_on_booleans_is_refused() -> None:
    x = jnp.array([True, False])
    for index in (0, slice(1), jnp.array([0, 1])):
        for operation in ("subtract", "add", "multiply"):
            with pytest.raises(errors.DtypeError):  # a TypeError in JAX
                getattr(x.at[index], operation)(True)


# ---- sorting and searching

SORTED = rows("""
jnp.lexsort((1, 2))
jnp.lexsort((jnp.int32(1), jnp.int32(2)), axis=0)
jnp.lexsort(j)
jnp.searchsorted(jnp.array([1 + 1j, 1 + 2j, 2 - 1j]), jnp.array([1 + 1.5j, 1 + 2j, 0, 3]))
jnp.searchsorted(jnp.array([1 + 1j, 1 + 2j]), jnp.array([1 + 1.5j, 1 + 2j, 0]), side='right')
jnp.searchsorted(jnp.arange(3000) * 1j, 1j * jnp.arange(5), side='right')
jnp.digitize(jnp.array([1 + 1.5j, 1 + 2j, 0, 3]), jnp.array([1 + 1j, 1 + 2j, 2 - 1j]))
jnp.digitize(jnp.array([1 + 1.5j, 1 + 2j, 0, 3]), jnp.array([2 - 1j, 1 + 2j, 1 + 1j]))
""")
WIDE = rows("""
jnp.argsort(j)
jnp.argsort(f, axis=0, descending=True)
jnp.argsort(j, dtype='int32')
jnp.argpartition(j, 1)
jnp.lexsort((j, g))
jnp.lexsort((1, 2))
jnp.searchsorted(jnp.arange(3), j)
jnp.searchsorted(jnp.arange(3000), j)
jnp.searchsorted(jnp.arange(3), j, method='sort')
jnp.digitize(g, jnp.arange(2))
jnp.digitize(g, jnp.arange(0))
jnp.nonzero(j, size=0)
jnp.argwhere(j, size=0)
jnp.unique(j, size=0, return_counts=True)
""")


@pytest.mark.parametrize("expression", SORTED)
def test_sorting(expression: str) -> None:
    check(expression)


@pytest.mark.parametrize("expression", WIDE)
def test_dtypes_of_places_with_64_bits(expression: str) -> None:
    import jax

    with jax.enable_x64(True), functrax.enable_x64(True):
        check(expression)
