"""Calls of a jitted function from the second time on: quick, and the same as the first one."""

import enum

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.sharding import NamedSharding, PartitionSpec


def arrays(*shapes):
    return [jnp.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape) for shape in shapes]


class Kind(enum.Enum):
    DOUBLE = 2


X, Y = arrays((3,), (3,))

# function, options of jit, args, kwargs
CALLS = {
    "one array": (lambda x: x + 1, {}, (X,), {}),
    "no arguments": (lambda: jnp.arange(3), {}, (), {}),
    "twenty arrays": (lambda *xs: sum(xs), {}, (X,) * 20, {}),
    "twenty with a number": (lambda *xs: sum(xs), {}, (*(X,) * 20, 2.0), {}),
    "unused": (lambda x, y, z: x + z, {}, (X, 3, Y), {}),
    "float": (lambda x, s: x * s, {}, (X, 2.5), {}),
    "int, bool, complex": (lambda x, i, b, c: x * i + b + c, {}, (X, 7, True, 1j), {}),
    "only numbers": (lambda a, b: (a + b, a * b), {}, (2, 3.0), {}),
    "numpy": (lambda x, y: x + y, {}, (X, np.ones(3, np.float32)), {}),
    "numpy, converted": (lambda x, y: x + y, {}, (np.ones(3), np.arange(3)), {}),
    "numpy, other byte order": (lambda x: x * 2, {}, (np.arange(3, dtype=">f4"),), {}),
    "numpy, not contiguous": (lambda x: x * 2, {}, (np.arange(12, dtype="f4")[::4],), {}),
    "numpy scalars": (lambda x, y: x + y, {}, (np.float32(2), np.int16(3)), {}),
    "bfloat16 of numpy": (lambda x: x * 2, {}, (np.ones(3, jnp.bfloat16),), {}),
    "empty": (lambda x, y: (x + 1, y * 2), {}, (np.ones((0, 3), "f4"), jnp.ones((2, 0))), {}),
    "trees": (lambda t: {"s": t["a"] + t["b"][0], "t": t["b"]}, {}, ({"a": X, "b": [Y, Y]},), {}),
    "a tree of nothing": (lambda t: jnp.arange(3), {}, ([],), {}),
    "a tree and numbers": (lambda t, s: t["a"] * s, {}, ({"a": X, "b": np.ones(2)}, 3), {}),
    "None": (lambda x, y: x + 1, {}, (X, None), {}),
    "names": (lambda x, *, a, b: x + a * 2 + b * 3, {}, (X,), {"b": X + 1, "a": Y}),
    "names of numbers": (lambda x, *, a, b: x + a * 2 + b * 3, {}, (X,), {"b": 5, "a": 2.0}),
    "static by position": (lambda x, n: x * n, {"static_argnums": 1}, (X, 3), {}),
    "static in front": (lambda k, x: x * k.value, {"static_argnums": 0}, (Kind.DOUBLE, X), {}),
    "static from the end": (lambda x, n: x * n, {"static_argnums": -1}, (X, 3), {}),
    "static by name": (lambda x, n: x * n, {"static_argnames": "n"}, (X,), {"n": 3}),
    "static tuple": (lambda x, n: x.reshape(n), {"static_argnums": 1}, (X, (3, 1)), {}),
    "static float": (lambda x, n: x * n, {"static_argnums": 1}, (X, 0.5), {}),
    "static and trees": (lambda t, n: t[0] * n, {"static_argnums": 1}, ([X, Y], 3), {}),
    "static and numbers": (lambda n, x: x * n, {"static_argnums": 0}, (3, 4.0), {}),
    "static default": (lambda x, n=4: x * n, {"static_argnames": "n"}, (X,), {}),
    "passed on": (lambda x, y: (x, y + 1, x), {}, (X, Y), {}),
    "numbers passed on": (lambda x, s: (x + s, s), {}, (X, 2.0), {}),
    "kept though unused": (lambda x, y: x + 1, {"keep_unused": True}, (X, 2), {}),
    "keys": (
        lambda key, x: functrax.random.normal(key, (3,)) + x,
        {},
        (functrax.random.key(1), 2.0),
        {},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_the_first_one_again(name):
    function, options, args, kwargs = CALLS[name]
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return function(*args, **kwargs)

    counted.__wrapped__ = function  # its signature
    jitted = functrax.jit(counted, **options)
    wanted = function(*args, **kwargs)
    for _ in range(4):
        found = jitted(*args, **kwargs)
        assert functrax.tree.structure(found) == functrax.tree.structure(wanted)
        for a, b in zip(functrax.tree.leaves(found), functrax.tree.leaves(wanted), strict=True):
            b = jnp.asarray(b)
            assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, b.weak_type)
            np.testing.assert_array_equal(np.asarray(a, "c16"), np.asarray(b, "c16"))
    assert len(traces) == 1
    assert bool(jitted._ready) == (name != "numbers passed on")  # the others are quick


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("static")])
def test_compiled_ahead_of_time(name):
    function, options, args, kwargs = CALLS[name]
    compiled = functrax.jit(function, **options).lower(*args, **kwargs).compile()
    wanted = functrax.jit(function)(*args, **kwargs)
    for _ in range(3):
        found = compiled(*args, **kwargs)
        for a, b in zip(functrax.tree.leaves(found), functrax.tree.leaves(wanted), strict=True):
            assert a.aval is b.aval
            np.testing.assert_array_equal(np.asarray(a, "c16"), np.asarray(b, "c16"))


def test_numbers_that_are_equal_but_not_the_same():
    f = functrax.jit(lambda x, s: jnp.copysign(x, s))
    for s in (0.0, -0.0, 0.0, -0.0, 0, False):
        np.testing.assert_array_equal(f(jnp.ones(2), s), np.copysign(np.ones(2), s))
    g = functrax.jit(lambda x, s: x * s)
    for s in (1, 1.0, True, 1 + 0j, 1, 1.0, True, 1 + 0j):
        assert g(2, s).dtype == (2 * jnp.asarray(s)).dtype
    n = functrax.jit(lambda s: s)
    for _ in range(3):
        assert np.isnan(n(float("nan")))


@pytest.mark.parametrize("flat", [True, False])
def test_static_arguments_that_are_equal_but_not_the_same(flat):
    f = functrax.jit(lambda x, s: jnp.asarray(s), static_argnums=1)
    x = jnp.ones(2) if flat else [jnp.ones(2)]
    values = [1, 1.0, True, 0, 0.0, -0.0, False, (1,), (1.0,), (0.0,), (-0.0,), np.float32(0), "x"]
    for s in 3 * values[:-1]:
        found, wanted = f(x, s), jnp.asarray(s)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(np.signbit(np.asarray(found, float)), np.signbit(s))
        np.testing.assert_array_equal(found, wanted)


def test_static_arguments_are_looked_at_in_every_call():
    f = functrax.jit(lambda x, n: x * n, static_argnums=1)
    for _ in range(2):
        assert [int(f(jnp.int32(2), n)) for n in (1, 2, 3)] == [2, 4, 6]
    with pytest.raises(errors.HashError) as caught:
        f(jnp.int32(2), [1])
    assert "static argument 'n' of '<lambda>' to be hashable" in str(caught.value)


def test_integers_are_checked_in_every_call():
    f = functrax.jit(lambda x, i: x + i)
    for i in (1, 2, 2**31 - 1):
        f(jnp.int32(0), i)
    with pytest.raises(errors.IntegerOverflowError):
        f(jnp.int32(0), 2**31)
    g = functrax.jit(lambda x: x + 1)
    for values in ([1, 2], [3, 4]):
        g(np.array(values))
    with pytest.raises(errors.IntegerOverflowError):
        g(np.array([2**40, 1]))


def test_options_of_the_thread_count_in_every_call():
    f = functrax.jit(lambda x: x * 2)
    for _ in range(2):
        assert f(1.5).dtype == f(np.ones(2)).dtype == jnp.float32
        with functrax.enable_x64():
            assert f(1.5).dtype == f(np.ones(2)).dtype == jnp.float64
    compiled = f.lower(1.5).compile()
    for _ in range(2):
        assert compiled(1.5) == 3.0
        with functrax.enable_x64(), pytest.raises(errors.ArgumentError):
            compiled(1.5)


def test_arguments_are_copied_before_the_call_returns():
    f = functrax.jit(lambda x: x + 0)
    given = np.zeros(100_000, np.float32)
    for i in range(1, 6):
        given[:] = i
        found = f(given)
        given[:] = -1
        assert found[0] == found[-1] == i


def test_changed_kinds_between_calls():
    f = functrax.jit(lambda x, y: x + y)
    ones = np.ones(3, np.float32)
    for x in (jnp.ones(3), ones, 1.0, np.float64(1), jnp.ones(3), 1, ones):
        for y in (ones, jnp.ones(3), 1):
            np.testing.assert_array_equal(f(x, y), 2 * ones if np.ndim(x) or np.ndim(y) else 2)
    tree = functrax.jit(lambda t: t)
    for t in (jnp.ones(3), [jnp.ones(3)], 1.0, {"a": 1.0}, jnp.ones(3), [jnp.ones(3)]):
        found = tree(t)
        assert functrax.tree.structure(found) == functrax.tree.structure(t)


# ---- donation


def test_donated_arrays_are_gone_after_every_call():
    f = functrax.jit(lambda x, y: x + y, donate_argnums=0)
    for y in (1.0, np.ones(3, np.float32), jnp.ones(3), 1.0, 1.0):
        x = jnp.ones(3)
        np.testing.assert_array_equal(f(x, y), [2, 2, 2])
        assert x.is_deleted()
        with pytest.raises(errors.DonatedError) as caught:
            f(x, y)
        assert "donated to '<lambda>' at test_warm_calls.py:" in str(caught.value)


def test_a_donated_array_passed_twice_is_refused_in_every_call():
    f = functrax.jit(lambda t: t[0] + t[1], donate_argnums=0)
    for _ in range(3):
        f([jnp.ones(3), jnp.ones(3)])
    x = jnp.ones(3)
    with pytest.raises(errors.DonatedError, match="each donated array once"):
        f([x, x])
    assert not x.is_deleted()


def test_donated_numbers_can_be_passed_again():
    f = functrax.jit(lambda x: x + 1, donate_argnums=0)
    for _ in range(3):
        assert f(1.0) == 2.0
    given = np.ones(3, np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(f(given), [2, 2, 2])


def test_a_donated_state_that_is_passed_on():
    f = functrax.jit(lambda s, x: (s, x + 1), donate_argnums=1)
    s = jnp.zeros(2)
    for i in range(4):
        s, x = f(s, jnp.full(3, float(i)))
        np.testing.assert_array_equal(x, np.full(3, i + 1.0))
        assert not s.is_deleted()


# ---- what goes wrong


def test_an_array_whose_memory_is_gone():
    f = functrax.jit(lambda x, s: x * s)
    x = jnp.ones(3)
    for s in (2.0, 2.0):
        f(x, s)
    x.delete()
    with pytest.raises(errors.DonatedError, match="deleted by"):
        f(x, 2.0)


def test_a_traced_value_that_outlived_its_trace():
    kept = []
    functrax.jit(lambda x: kept.append(x) or x)(jnp.ones(3))
    for warm in (jnp.ones(3), 2.0):
        f = functrax.jit(lambda x: x * 2)
        f(warm), f(warm)
        with pytest.raises(errors.LeakedTracerError):
            f(kept[0])


def test_under_other_transforms_after_warm_calls():
    f = functrax.jit(lambda x, s: jnp.sin(x) * s)
    for _ in range(2):
        f(1.0, 2.0)
    np.testing.assert_allclose(functrax.grad(f)(1.0, 2.0), 2 * np.cos(1.0), rtol=1e-6)
    mapped = functrax.vmap(f, in_axes=(0, None))(jnp.arange(3.0), 2.0)
    np.testing.assert_allclose(mapped, 2 * np.sin(np.arange(3.0)), rtol=1e-6)
    with functrax.disable_jit():
        assert f(0.0, 2.0) == 0.0


def test_on_one_device(python):
    """Where there is one device only, keys are shorter: everything above once more."""
    code = f"""
        import pytest, sys
        sys.exit(pytest.main(["-qx", "-p", "no:xdist", "-k", "not device", {__file__!r}]))
    """
    assert " passed" in python(code, FUNCTRAX_TEST_DEVICES="1")


def test_other_devices():
    here, there = functrax.devices()[:2]
    f = functrax.jit(lambda x, s: x * s)
    for device in (here, there, here, there):
        x = functrax.device_put(jnp.ones(3), device)
        for s in (2.0, np.float32(2), np.full(3, 2.0, np.float32), jnp.float32(2)):
            for _ in range(3):
                found = f(x, s)
                assert found.devices() == {device}
                np.testing.assert_array_equal(found, [2, 2, 2])
    with functrax.default_device(there):
        for _ in range(3):
            assert f(2.0, np.float32(2)).devices() == {there}
    assert f(2.0, np.float32(2)).devices() == {here}


def test_donated_states_over_several_devices():
    mesh = functrax.make_mesh((4,), ("i",), devices=functrax.devices()[:4])
    rows = NamedSharding(mesh, PartitionSpec("i"))
    f = functrax.jit(lambda s, x: (s + x.sum(0), x, s * 0), donate_argnums=0)
    s = functrax.device_put(jnp.zeros(4), rows)
    x = functrax.device_put(jnp.ones((8, 4)), rows)
    for i in range(1, 5):
        before = s
        s, same, _ = f(s, x)
        np.testing.assert_array_equal(s, np.full(4, 8.0 * i))
        assert before.is_deleted()
        assert same.sharding == rows
        with pytest.raises(errors.DonatedError):
            f(before, x)
