"""Reductions over windows: against JAX, with derivatives in both modes twice, and mapped."""

import random

import jax
import numpy as np
import pytest
from jax import lax as jax_lax

import functrax
from functrax import errors
from functrax.primitives.elementwise import add, mul, sub
from functrax.primitives.extreme import max, min
from functrax.primitives.reduce_generic import reduce
from functrax.primitives.window import reduce_window_sum
from functrax.primitives.window_extreme import reduce_window_max, reduce_window_min
from functrax.primitives.window_generic import reduce_window

KINDS = {
    "sum": (add, jax_lax.add, 0.0),
    "max": (max, jax_lax.max, -np.inf),
    "min": (min, jax_lax.min, np.inf),
    "mul": (mul, jax_lax.mul, 1.0),
}


def close(got, wanted):
    """Compare values and types."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


class Windows:
    """Random windows; with an odd seed, of dilated arrays or windows."""

    def __init__(self, seed, kind):
        pick = random.Random(f"{seed}{kind}")
        rank = pick.choice([1, 2, 2, 3])
        many = lambda low, high: [pick.randint(low, high) for _ in range(rank)]  # noqa: E731
        self.shape = many(2, 6)
        dilation = 1 + seed % 2
        pairs = [(pick.randint(0, 2), pick.randint(0, 2)) for _ in range(rank)]
        self.how = (many(1, 3), many(1, 3), pick.choice(["SAME", "VALID", pairs]),
                    many(1, dilation), many(1, dilation))  # fmt: skip
        self.ours, self.theirs, self.start = KINDS[kind]

    def __call__(self, x):
        return reduce_window(x, self.start, self.ours, *self.how)

    def oracle(self, x):
        return jax_lax.reduce_window(x, np.float32(self.start), self.theirs, *self.how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_rules(kind, seed):
    windows, rng = Windows(seed, kind), np.random.default_rng(seed)
    x, t = (rng.standard_normal(windows.shape).astype(np.float32) for _ in range(2))
    if seed == 2:
        x = np.round(x)  # equal elements: the first one counts
    y, push = functrax.linearize(windows, x)
    close(y, windows.oracle(x))
    ct = rng.standard_normal(y.shape).astype(np.float32)
    pull = lambda ct: functrax.vjp(windows, x)[1](ct)[0]  # noqa: E731
    np.testing.assert_allclose(np.vdot(push(t), ct), np.vdot(t, pull(ct)), rtol=1e-3, atol=1e-4)
    if kind != "mul":
        close(push(t), jax.jvp(windows.oracle, (x,), (t,))[1])
        close(functrax.vjp(pull, ct)[1](t)[0], push(t))
        if not seed % 2:
            close(pull(ct), jax.vjp(windows.oracle, x)[1](ct)[0])
    dim = int(rng.integers(len(windows.shape) + 1))
    xs = np.stack([x, t, x + t], dim)
    rows = [np.asarray(windows(np.take(xs, i, dim))) for i in range(3)]
    close(functrax.vmap(windows, dim)(xs), np.stack(rows))
    cts = np.stack([ct, -2 * ct])
    close(functrax.vmap(pull)(cts), np.stack([np.asarray(pull(ct)) for ct in cts]))


@pytest.mark.parametrize("reduce", [reduce_window_sum, reduce_window_max, reduce_window_min])
@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.float16])
def test_dtypes(reduce, dtype):
    x = np.array([[3, 1, 4], [1, 5, 9]], dtype)
    name = reduce.__name__.removeprefix("reduce_window_")
    rows = [[getattr(np, name)(x[:, i : i + 2]) for i in range(2)]]
    close(reduce(x, (2, 2)), np.array(rows, dtype))


def test_booleans():
    x = np.array([True, False, False])
    close(reduce_window_max(x, (2,)), np.array([True, False]))
    close(reduce_window_min(x, (2,), padding="SAME"), np.array([False, False, False]))


@pytest.mark.parametrize("reduce", [reduce_window_sum, reduce_window_max])
def test_nothing(reduce):
    y, pull = functrax.vjp(lambda x: reduce(x, (2, 3)), np.ones((4, 2), np.float32))
    assert y.shape == (3, 0)
    assert not np.asarray(pull(y)[0]).any()
    assert reduce(np.ones((0, 5), np.float32), (1, 2)).shape == (0, 4)


# reduce_window ------------------------------------------------------------------------------------


def primitives_of(function, *arguments):
    """Return the names of the operations of a function."""
    return [eqn.primitive.name for eqn in functrax.make_jaxpr(function)(*arguments).eqns]


def test_known_functions_are_recognized():
    def found(computation, start):
        reduced = lambda x: reduce_window(x, start, computation, (2,))  # noqa: E731
        return primitives_of(reduced, np.ones(5, np.float32))

    for name, (computation, _, start) in KINDS.items():
        assert (found(computation, start) == [f"reduce_window_{name}"]) is (name != "mul")
    assert found(lambda a, b: add(b, a), 0) == ["reduce_window_sum"]
    for computation, start in ((add, 1.0), (max, 0.0), (lambda a, b: add(a, a), 0.0)):
        assert len(found(computation, start)) > 1


def test_other_start():
    """The initial value stands at the edges too, and may be traced."""
    x = np.array([-3.0, -1.0, -2.0], np.float32)
    clipped = lambda start: reduce_window(x, start, max, (2,), padding="SAME")  # noqa: E731
    close(clipped(-1.5), np.array([-1.0, -1.0, -1.5], np.float32))
    close(functrax.jit(clipped)(-1.5), np.array([-1.0, -1.0, -1.5], np.float32))


def test_several_arrays():
    """The places of maxima, as an argument of windows."""

    def later(left, right):
        (x, i), (y, j) = left, right
        first = functrax.primitives.elementwise.ge(x, y)
        pick = functrax.primitives.select.select_n
        return pick(first, y, x), pick(first, j, i)

    x = np.array([2.0, 7.0, 1.0, 8.0, 2.0], np.float32)
    i = np.arange(5, dtype=np.int32)
    values, places = reduce_window((x, i), (-np.inf, -1), later, (2,), (2,), "SAME")
    close(values, np.array([7.0, 8.0, 2.0], np.float32))
    close(places, np.array([1, 3, 4], np.int32))


def test_order_is_kept():
    """A function that is not commutative: the last element of each window."""
    last = lambda left, right: add(sub(left, left), right)  # noqa: E731
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    close(reduce_window(x, 0.0, last, (2, 2)), x[1:, 1:])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: reduce_window_sum(np.ones((2, 3)), (2,)), errors.ArgumentError,
         "[reduce_window_sum] expected window_dimensions with an entry of at least 1 for each of 2 "
         "axes; got (2,) (HERE)."),
        (lambda: reduce_window_max(np.ones(3), (2,), padding="FULL"), errors.ArgumentError,
         "[reduce_window_max] expected padding 'VALID', 'SAME' or 'SAME_LOWER', or a pair for each "
         "spatial axis; got 'FULL' (HERE)."),
        (lambda: reduce_window_max(np.ones(3, np.complex64), (2,)), errors.DtypeError,
         "[reduce_window_max] expected an array of bool or signed integer or unsigned integer or "
         "floating dtype; got c64[3] (HERE). Convert it with `.astype(...)`."),
        (lambda: reduce_window(np.ones(3), np.ones(1), add, (2,)), errors.ShapeError,
         "[reduce_window] expected scalars as init_value; got f32[1] (HERE)."),
        (lambda: reduce_window(np.ones(3, np.int32), 1.5, add, (2,)), errors.DtypeError,
         "[reduce_window] expected operands of one dtype; got i32 and the Python scalar 1.5 "
         "(HERE)."),
        (lambda: reduce(np.ones(3, np.int8), 300, add, (0,)), errors.IntegerOverflowError,
         "[reduce] expected integers from -128 to 127, which int8 holds; got 300 (HERE). Ask for "
         "dtype=\"int32\", which holds it."),
        (lambda: reduce(np.ones(3, np.int32), np.float32(2), add, (0,)), errors.DtypeError,
         "[reduce] expected init_values of the operand's dtype i32; got f32[] (HERE)."),
    ],
)  # fmt: skip
def test_refused(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    where = f"test_window.py:{call.__code__.co_firstlineno}"
    assert str(caught.value) == message.replace("HERE", where)
