"""Indexing against NumPy: reads and writes over a table of indices, eager and transformed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.core import dtypes
from functrax.core.trace import as_value
from functrax.numpy.at import IndexUpdateHelper as At
from functrax.numpy.indexing import getitem, iterate
from functrax.primitives.elementwise import gt, mul, sin
from functrax.primitives.reduce import reduce_sum
from functrax.runtime.compile import timings

X = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
I = np.array([0, 3, -1])  # noqa: E741
J = np.array([[1], [2]])
MASK = np.array([True, False, True, False])
MASK_2 = np.arange(20).reshape(4, 5) % 3 == 0
N = None
s_ = np.s_

BASIC: list[Any] = [
    0, -1, np.int8(2), np.array(1), (), ..., N, (N, 1), (1, 2), (1, 2, 3), (..., 1), (1, ...),
    (1, ..., 2), (N, N, ..., N), (slice(None), 2), (-1, slice(1, 3)),
    s_[1:3], s_[::2], s_[::-1], s_[-3:-1], s_[3:1], s_[4:], s_[100:], s_[-100:100], s_[::100],
    s_[2:2, 1], s_[1:2, 0, 0], s_[0:1], s_[..., ::-1], s_[::2, 1:4, ::-3], s_[-2:, ::-1, 0],
    s_[1:4:2, N, 3], s_[np.int64(1) : None], s_[::-2, ..., N, 1],
    True, (N, True), (..., True), (np.True_, slice(1, 2)),
]  # fmt: skip
ADVANCED: list[Any] = [
    I, (I, I), (I, slice(None), I), (J, I), (I, ..., 1), (1, I), s_[:, 1, I], s_[1, :, I],
    s_[I, 1:3], s_[I, ::2], s_[I, :, ::-2], s_[I, 4:0:-2, 1:5], (N, I), s_[:, N, I], (I, N, J),
    s_[:, I, ..., I], s_[:, J, I], s_[J, :, I], (I, I, I), s_[::-2, ..., N, I],
    I.astype(np.uint8) % 4, np.zeros(0, int), np.zeros((2, 0), int), ([0, 1],), ([],),
    s_[:, [0, 2]], np.array([[0, 1], [1, 0]]), (True, I), (1, True), (False, 0), False,
    MASK, MASK_2, (MASK, 1), (MASK, I[:2]), s_[:, np.arange(5) % 2 == 0], MASK & False,
    s_[MASK_2, 0], s_[MASK_2, ::2], s_[1, ..., np.arange(6) > 2], (MASK, ...),
]  # fmt: skip
INDICES = BASIC + ADVANCED


def array(value: Any) -> Any:
    return as_value(np.asarray(value), "test")


def same(actual: Any, expected: Any, exact: bool = True) -> None:
    actual = np.asarray(actual)
    assert actual.shape == np.shape(expected)
    if exact:
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def total(x: Any) -> Any:
    return reduce_sum(x, tuple(range(x.ndim)))


def weights(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.float32).reshape(shape)


# ---- reading


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_read(index: Any) -> None:
    expected = X[index]
    same(getitem(array(X), index), expected)
    same(functrax.jit(lambda x: getitem(x, index))(X), expected)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_read_maps_and_differentiates(index: Any) -> None:
    expected = X[index]
    both = np.stack([X, X + 1])
    same(functrax.vmap(lambda x: getitem(x, index))(both), np.stack([expected, expected + 1]))
    w = weights(expected.shape)
    gradient = np.zeros_like(X)
    np.add.at(gradient, index, w)
    same(functrax.grad(lambda x: total(mul(getitem(x, index), array(w))))(X), gradient)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "bfloat16", "float64", "complex64"])
def test_read_any_dtype(dtype: str) -> None:
    x = (X[:, :, 0] % 2).astype(dtypes.canonicalize(dtype))
    with functrax.config.scope(enable_x64=True):
        value = array(x)
        assert value.dtype == x.dtype
        for index in (1, s_[1:3, ::2], I, (I, 1), MASK_2, s_[..., N]):
            same(getitem(value, index), x[index])


def test_read_scalar_and_empty() -> None:
    same(getitem(array(np.float32(3)), ()), 3)
    same(getitem(array(np.float32(3)), (N, ...)), [3])
    same(getitem(array(np.float32(3)), True), [3])
    empty = np.zeros((0, 3), np.float32)
    for index in (s_[:], s_[:, 1], np.zeros(0, int), np.zeros(0, bool), s_[::-1, N]):
        same(getitem(array(empty), index), empty[index])


@pytest.mark.parametrize("place", [0, 2, -1, -4])
def test_read_at_a_traced_place(place: int) -> None:
    index = array(np.int32(place))
    same(getitem(array(X), index), X[place])
    same(functrax.jit(getitem)(X, place), X[place])
    same(
        functrax.jit(lambda x, i: getitem(x, (slice(1, 3), i, N, ...)))(X, place), X[1:3, place, N]
    )
    same(functrax.jit(lambda x, i: getitem(x, (i, I)))(X, place), X[place, I])
    gradient = functrax.jit(functrax.grad(lambda x, i: total(sin(getitem(x, i)))))(X, place)
    expected = np.zeros_like(X)
    expected[place] = np.cos(X[place])
    same(gradient, expected, exact=False)


def test_read_at_mapped_places() -> None:
    places = np.array([[0, 1], [3, -1], [2, 2]], np.int32)
    same(functrax.vmap(lambda i: getitem(array(X), i))(places), X[places])
    both = np.stack([X, X + 1, X * 2])
    expected = np.stack([x[i] for x, i in zip(both, places)])
    same(functrax.vmap(getitem)(both, places), expected)
    scalars = np.array([0, 2, -1], np.int32)
    same(functrax.vmap(getitem)(both, scalars), np.stack([x[i] for x, i in zip(both, scalars)]))
    same(functrax.vmap(getitem, in_axes=(None, 0))(X, scalars), X[scalars])


def test_small_index_types_reach_the_end() -> None:
    x = np.arange(300, dtype=np.float32)
    same(getitem(array(x), array(np.array([-1, 100], np.int8))), x[[-1, 100]])
    same(getitem(array(x), array(np.int8(-1))), 299)
    same(getitem(array(x), array(np.array([250], np.uint8))), x[[250]])
    same(At(array(x))[array(np.array([-1], np.int8))].set(7), np.append(x[:-1], 7))


def test_outside_reads_the_nearest() -> None:
    x = np.arange(5, dtype=np.float32)
    for places, expected in [([7, -9, 2], [4, 0, 2]), ([-5, 5], [0, 4])]:
        same(getitem(array(x), array(np.array(places))), expected)
    same(functrax.jit(getitem)(x, 9), 4)
    same(functrax.jit(getitem)(x, -9), 0)


def test_modes_of_get() -> None:
    x, places = array(np.arange(5, dtype=np.float32)), array(np.array([7, -9, 2]))
    same(At(x)[places].get(mode="clip"), [4, 0, 2])
    same(At(x)[places].get(mode="fill"), [np.nan, np.nan, 2])
    same(At(x)[places].get(mode="fill", fill_value=-1), [-1, -1, 2])
    same(At(x)[7].get(mode="fill", fill_value=-1), -1)
    same(At(x)[7].get(mode="clip"), 4)
    same(At(x)[-1].get(mode="fill", fill_value=9), 4)
    same(At(x)[-1].get(mode="fill", fill_value=9, wrap_negative_indices=False), 9)
    same(At(x)[np.array([7, 1])].get(mode="drop", fill_value=0), [0, 1])
    for dtype, filled in [("int8", -128), ("uint8", 255), ("bool", True)]:
        same(At(array(np.zeros(3, dtype)))[7].get(mode="fill"), filled)
    with pytest.raises(errors.ArgumentError) as caught:
        At(x)[0].get(mode="wrap")
    assert 'expected mode None, "clip", "fill", "drop" or "promise_in_bounds"; got \'wrap\'' in str(
        caught.value
    )


# ---- one program for many places


def test_fixed_places_share_one_program() -> None:
    x = array(np.arange(70, dtype=np.float32).reshape(35, 2))

    def touch(place: int) -> None:
        getitem(x, place)
        getitem(x, (place, place % 2))
        getitem(x, slice(place, place + 4))
        At(x)[place].set(1.0)

    touch(3)
    before = timings.lower
    for place in range(30):
        touch(place)
    assert timings.lower == before


def test_traced_programs_have_no_gather_for_slices() -> None:
    def operations(index: Any) -> list[str]:
        jaxpr = functrax.make_jaxpr(lambda x: getitem(x, index))(X)
        return [eqn.primitive.name for eqn in jaxpr.eqns]

    assert operations(()) == []
    assert operations(s_[:, ...]) == []
    assert operations(0) == ["slice", "squeeze"]
    assert operations(s_[1:3, ::2]) == ["slice"]
    assert operations(s_[::-1]) == ["rev"]
    assert operations(s_[N]) == ["broadcast_in_dim"]
    assert operations(s_[1, N]) == ["slice"]
    assert operations(s_[1, :, N]) == ["slice", "reshape"]
    assert operations(I) == ["broadcast_in_dim", "gather"]


# ---- writing

OPERATIONS = {
    "set": lambda x, i, y: x.__setitem__(i, y),
    "add": np.add.at,
    "subtract": np.subtract.at,
    "multiply": np.multiply.at,
    "mul": np.multiply.at,
    "divide": np.divide.at,
    "power": np.power.at,
    "min": np.minimum.at,
    "max": np.maximum.at,
}


def written(operation: str, x: Any, index: Any, y: Any) -> Any:
    x = x.copy()
    OPERATIONS[operation](x, index, y)
    return x


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_write(index: Any) -> None:
    y = weights(X[index].shape) * 10
    for operation, value in [("set", y), ("add", y), ("set", np.float32(7))]:
        expected = written(operation, X, index, value)
        same(getattr(At(array(X))[index], operation)(value), expected)
    same(functrax.jit(lambda x, y: At(x)[index].add(y))(X, y), written("add", X, index, y))


@pytest.mark.parametrize("index", [0, s_[1:3, ::-2], I, s_[I, ::2], MASK, (MASK, 1), s_[:, J, I]])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation(operation: str, index: Any) -> None:
    x = X % 7 + 1
    y = weights(x[index].shape) % 3 + 0.5
    for value in (y, np.float32(2)):
        result = getattr(At(array(x))[index], operation)(value)
        same(result, written(operation, x, index, value), exact=False)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_write_maps_and_differentiates(index: Any) -> None:
    shape = X[index].shape
    y, w = weights(shape), weights(X.shape) / 100

    def loss(x: Any, y: Any) -> Any:
        return total(mul(At(x)[index].set(y), array(w)))

    gx, gy = functrax.grad(loss, argnums=(0, 1))(X, y)
    same(gx, written("set", w, index, 0))
    counts = np.zeros(X.shape, int)
    np.add.at(counts, index, 1)
    if counts.max() <= 1:
        same(gy, w[index])
    same(functrax.grad(lambda y: total(mul(At(array(X))[index].add(y), array(w))))(y), w[index])
    mapped = functrax.vmap(lambda x, y: At(x)[index].set(y))(np.stack([X, -X]), np.stack([y, -y]))
    same(mapped, np.stack([written("set", X, index, y), written("set", -X, index, -y)]))
    mapped = functrax.vmap(lambda y: At(array(X))[index].add(y))(np.stack([y, -y]))
    same(mapped, np.stack([written("add", X, index, y), written("add", X, index, -y)]))


def test_repeated_places_of_set_keep_the_last() -> None:
    x, y = np.zeros(3, np.float32), np.array([1.0, 2, 3], np.float32)
    index = np.array([1, 1, 0])
    same(At(array(x))[index].set(y), [3, 2, 0])
    same(
        functrax.grad(lambda y: total(sin(At(array(x))[index].set(y))))(y),
        np.cos(y) * [0, 1, 1],
        False,
    )
    gradient = functrax.grad(lambda x: total(At(x)[index].set(y)))(x)
    same(gradient, [0, 0, 1])


@pytest.mark.parametrize("operation", ["min", "max"])
def test_gradient_of_extremes_is_shared_among_ties(operation: str) -> None:
    x = np.array([1.0, 2, 3], np.float32)
    y = np.array([2.0, 2, 9, 1], np.float32)
    index = np.array([1, 1, 0, 2])

    def loss(x: Any, y: Any) -> Any:
        return total(mul(getattr(At(x)[index], operation)(y), array([1.0, 10, 100])))

    gx, gy = functrax.grad(loss, argnums=(0, 1))(x, y)
    third = 10 / 3
    if operation == "max":
        same(gx, [0, third, 100], False)
        same(gy, [third, third, 1, 0], False)
    else:
        same(gx, [1, third, 0], False)
        same(gy, [third, third, 0, 100], False)


def test_write_at_a_traced_place() -> None:
    x = np.arange(5, dtype=np.float32)
    for operation in ("set", "add", "min"):
        write = functrax.jit(lambda x, i, op=operation: getattr(At(x)[i], op)(-7.0))
        for place in (0, 4, -1, -5):
            same(write(x, place), written(operation, x, place, -7))
        for place in (5, -6, 100):
            same(write(x, place), x)
    write = functrax.jit(lambda x, i: At(x)[i, 1:3].set(1.0))
    same(write(X[0], 2), written("set", X[0], s_[2, 1:3], 1))
    same(write(X[0], 7), X[0])
    places = np.array([0, 9, -1], np.int32)
    expected = np.stack([written("set", x, 0, 2), x, written("set", x, -1, 2)])
    same(functrax.vmap(lambda i: At(array(x))[i].set(2.0))(places), expected)
    gradient = functrax.vmap(functrax.grad(lambda v, i: total(At(array(x))[i].set(v))))
    same(gradient(np.ones(3, np.float32), places), [1, 0, 1])


def test_modes_of_set() -> None:
    x, places = array(np.zeros(3, np.float32)), array(np.array([5, -9, 1]))
    y = np.array([1.0, 2, 3], np.float32)
    same(At(x)[places].set(y), [0, 3, 0])
    same(At(x)[places].set(y, mode="drop"), [0, 3, 0])
    same(At(x)[places].set(y, mode="clip"), [2, 3, 1])
    same(At(x)[7].set(1, mode="drop"), [0, 0, 0])
    same(At(x)[7].add(1, mode="clip"), [0, 0, 1])
    same(At(x)[-1].set(1, mode="drop", wrap_negative_indices=False), [0, 0, 0])
    same(At(x)[np.array([0, 9])].set(1, mode="drop"), [1, 0, 0])
    same(
        At(x)[np.array([0, 2])].multiply(4, unique_indices=True, indices_are_sorted=True), [0, 0, 0]
    )


def test_traced_masks_can_be_written() -> None:
    write = functrax.jit(lambda x, m: At(x)[m].set(-1.0))
    same(write(X, MASK_2), written("set", X, MASK_2, -1))
    same(write(X, X > 50), written("set", X, X > 50, -1))
    row = weights((6,))
    add = functrax.jit(lambda x, m: At(x)[m].add(row))
    same(add(X, MASK_2), written("add", X, MASK_2, row))
    x = np.array([0.0, 4.0], np.float32)
    root = functrax.grad(lambda x, m: total(At(x)[m].power(0.5)))
    same(root(x, np.array([False, True])), [1, 0.25])


def test_apply() -> None:
    x = np.arange(5, dtype=np.float32)

    def tenfold(v: Any) -> Any:
        return mul(v, 10.0)

    same(At(array(x))[1].apply(tenfold), [0, 10, 2, 3, 4])
    same(At(array(x))[::2].apply(tenfold), [0, 1, 20, 3, 40])
    same(At(array(x))[x > 2].apply(tenfold), [0, 1, 2, 30, 40])
    same(At(array(x))[np.array([1, 1, 3])].apply(tenfold), [0, 100, 2, 30, 4])
    index = np.array([1, 3])
    square = functrax.grad(lambda x: total(At(x)[index].apply(sin, unique_indices=True)))
    same(square(x), [1, np.cos(1), 1, np.cos(3), 1], False)
    traced = functrax.jit(lambda x, index: At(x)[index].apply(sin))
    same(traced(x, index), [0, np.sin(1), 2, np.sin(3), 4], False)
    same(traced(x, np.array([1, 1])), [0, np.sin(np.sin(1)), 2, 3, 4], False)


def test_values_are_converted_only_without_loss() -> None:
    ints = array(np.arange(3, dtype=np.int32))
    flags = array(np.zeros(3, bool))
    same(At(ints)[0].set(2.0), [2, 1, 2])
    same(At(flags)[1].set(1), [False, True, False])
    same(At(ints)[1].divide(2), [0, 0.5, 2])
    half = At(array(np.zeros(2, dtypes.bfloat16)))[0].set(array(np.float32(1.5)))
    assert half.dtype == dtypes.bfloat16
    same(half, np.array([1.5, 0], dtypes.bfloat16))
    for x, y, shown in [
        (ints, 1.5, "1.5"),
        (ints, array(np.float32(1)), "f32[] for the array i32[3]"),
        (flags, 2, "2"),
        (array(np.zeros(3, np.float32)), 1j, "1j"),
        (array(np.zeros(3, np.uint8)), array(np.int32(1)), "i32[] for the array u8[3]"),
    ]:
        with pytest.raises(errors.DtypeError) as caught:
            At(x)[0].set(y)
        assert f"can hold; got {shown} (" in str(caught.value)
    with pytest.raises(errors.IntegerOverflowError):
        At(array(np.zeros(3, np.uint8)))[0].set(256)


# ---- iteration


@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 65, 150])
def test_iterate(size: int) -> None:
    x = np.arange(size * 2, dtype=np.float32).reshape(size, 2)
    rows = list(iterate(array(x)))
    assert len(rows) == size
    for row, expected in zip(rows, x):
        same(row, expected)


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_iterate_keys(size: int) -> None:
    """Keys have no memory to be read: programs cut some out at a time, as on other devices."""
    keys = functrax.random.split(functrax.random.key(1), size)
    rows = [functrax.random.key_data(key) for key in keys]
    assert len(rows) == size
    for row, expected in zip(rows, np.asarray(functrax.random.key_data(keys))):
        same(row, expected)


def test_iterate_keeps_type_and_place() -> None:
    weak = functrax.numpy.asarray(2.0) * functrax.numpy.ones(3, int).astype(float)
    for x in (weak, functrax.device_put(np.ones((2, 3), "float16"), functrax.devices()[0])):
        rows, one = list(x), x[0]
        assert {row.aval for row in rows} == {one.aval}
        assert {row.device for row in rows} == {one.device}
        assert {row.committed for row in rows} == {one.committed}


def test_iterate_while_traced() -> None:
    def product(x: Any) -> Any:
        result = None
        for row in iterate(x):
            result = row if result is None else mul(result, row)
        return result

    x = np.array([2.0, 3, 4], np.float32)
    same(functrax.jit(product)(x), 24)
    same(functrax.grad(product)(x), [12, 8, 6])
    same(functrax.vmap(product)(np.stack([x, x + 1])), [24, 60])


# ---- errors

V = np.arange(5, dtype=np.float32)


@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (
            7,
            IndexError,
            "[getitem] expected an index from -5 to 4 into axis 0 of an array of shape (5,); got 7",
        ),
        (-6, IndexError, "got -6"),
        (np.array([1, 7]), IndexError, "expected indices from -5 to 4 into axis 0; got 7"),
        ((0, 0), IndexError, "expected at most 1 indices for an array of shape (5,); got 2"),
        ((..., ...), IndexError, "expected at most one ellipsis (...); got 2"),
        ([0, 1], TypeError, "an index of integers, slices, arrays, or a tuple of them; got a list"),
        (0.5, TypeError, "got 0.5 of type float"),
        ("a", TypeError, "got 'a' of type str"),
        (
            np.array([0.5]),
            TypeError,
            "expected integer or boolean index arrays; got one of dtype float64",
        ),
        (np.ones(4, bool), IndexError, "expected a boolean index of shape (5,) for axis 0"),
        (slice(None, None, 0), ValueError, "expected slices with a step other than 0"),
        (slice(0.5, None), TypeError, "expected slices of integers"),
    ],
    ids=repr,
)
def test_errors(index: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        getitem(array(V), index)
    assert isinstance(caught.value, errors.FunctraxError)
    assert message in str(caught.value)
    assert "test_indexing.py" in str(caught.value)


def test_errors_of_places() -> None:
    with pytest.raises(errors.ShapeError) as caught:
        getitem(array(X), (I, np.array([0, 1])))
    assert (
        "expected index arrays of one shape (after broadcasting); got shapes (3,) and (2,)"
        in str(caught.value)
    )
    with pytest.raises(errors.BoundsError):
        getitem(array(np.zeros((0, 2), np.float32)), 0)
    with pytest.raises(errors.BoundsError):
        getitem(array(np.zeros((0, 2), np.float32)), array(np.array([0])))
    with pytest.raises(errors.ShapeError) as caught:
        At(array(V))[:2].set(np.ones(3, np.float32))
    assert (
        "expected values that broadcast to shape (2,), which x[...] has here; got shape (3,)"
        in str(caught.value)
    )
    with pytest.raises(errors.BoundsError) as caught:
        At(array(V))[5].set(1)
    assert "[at[].set] expected an index from -5 to 4" in str(caught.value)


def test_errors_of_traced_indices() -> None:
    with pytest.raises(errors.TracerIndexError) as caught:
        functrax.jit(lambda x: getitem(x, gt(x, 0.0)))(V)
    assert "expected boolean index arrays with known values" in str(caught.value)
    assert "jnp.where(mask, x, other)" in str(caught.value)
    with pytest.raises(errors.TracerIndexError) as caught:
        functrax.jit(lambda x, i: getitem(x, slice(i, i)))(V, 1)
    assert "expected slices with fixed bounds" in str(caught.value)
    assert "lax.dynamic_slice" in str(caught.value)


def test_fill_values_that_are_equal_but_not_the_same():
    x, index = jnp.ones(2), jnp.array([5])
    programs = functrax.devices()[0].programs
    for _ in range(2):
        for value in (0.0, -0.0, float("nan")):
            found = x.at[index].get(mode="fill", fill_value=value)
            assert str(float(found[0])) == str(value)
        known = len(programs)
    x.at[index].get(mode="fill", fill_value=-float("nan"))
    assert len(programs) == known


Y = np.arange(9, dtype=np.float32).reshape(3, 3)
UNSIGNED_READS: dict[str, Callable[[Any], Any]] = {
    "row": lambda a: array(Y)[a],
    "place": lambda a: array(Y)[a, 1],
    "both": lambda a: array(Y)[a, a],
    "beside int32": lambda a: array(Y)[a, jnp.int32(1)],
    "array": lambda a: array(Y)[a[None], -2][0],
    "clip": lambda a: jnp.take(array(Y), a, axis=0, mode="clip"),
    "dynamic_slice": lambda a: lax.dynamic_slice(array(Y), (a, jnp.int8(-2)), (1, 1)),
    "index": lambda a: lax.dynamic_index_in_dim(array(Y), a, 0),
    "along": lambda a: jnp.take_along_axis(array(Y), a[None, None], 0, mode="clip"),
    "update": lambda a: lax.dynamic_update_index_in_dim(array(Y), 9.0, a, 0),
    "update slice": lambda a: lax.dynamic_update_slice(array(Y), array(Y[:1]), (a, 0)),
    "set": lambda a: array(Y).at[a].set(9.0, mode="clip"),
}


@pytest.mark.parametrize("name", UNSIGNED_READS)
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@pytest.mark.parametrize("how", ["eager", "jit", "vmap"])
def test_large_unsigned_indices_are_beyond_the_end(name, dtype, how):
    """They lie outside on the right, where signed ones of the same bits would be negative."""
    read = UNSIGNED_READS[name]
    top = int(np.iinfo(dtype).max)
    for place in (top, top // 2 + 1, top - 5):
        far, last = (jnp.asarray(np.asarray(p, dtype), dtype) for p in (place, len(Y) - 1))
        if how == "vmap":
            got, wanted = functrax.vmap(read)(jnp.stack([far, last]))
        else:
            made = functrax.jit(read) if how == "jit" else read
            got, wanted = made(far), made(last)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_roll_by_any_dtype(dtype):
    """Unsigned shifts have no negative, nor has the least signed one."""
    x = np.arange(300)
    for shift in (3, 0, np.iinfo(dtype).max, np.iinfo(dtype).min):
        shift = np.asarray(shift, dtype)
        same(functrax.jit(jnp.roll)(array(x), array(shift)), np.roll(x, int(shift)))
        same(jnp.roll(array(x), array(shift)), np.roll(x, int(shift)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_indices_of_a_dtype_that_does_not_hold_the_size(dtype):
    x = np.arange(300)
    i = jnp.asarray(3, dtype)
    assert int(array(x).at[i].set(-1, wrap_negative_indices=False)[3]) == -1
    assert int(jnp.take(array(x), i, mode="wrap")) == 3
    if dtype != "uint8":
        assert int(jnp.take_along_axis(array(x), i[None] - 4, 0)[0]) == 299
    assert int(jnp.ravel_multi_index((i, i), (300, 300), mode="wrap")) == 903
    assert int(jnp.ravel_multi_index((i, i), (300, 300), mode="clip")) == 903
    assert float(lax.switch(i, [lambda k=k: float(k) for k in range(300)])) == 3.0
