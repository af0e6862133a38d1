"""Random numbers are those of JAX, bit for bit; keys are checked."""

import contextlib

import jax
import ml_dtypes
import numpy as np
import pytest

import functrax
from functrax import errors, random
from functrax.core.trace import bind
from functrax.primitives.keys import random_bits_p

F32, F64 = np.dtype("float32"), np.dtype("float64")
BF16, F16 = np.dtype(ml_dtypes.bfloat16), np.dtype("float16")
SHAPE = (2, 3)


@contextlib.contextmanager
def options(**values):
    """Set options of both systems."""
    jax_values = {"x64": values.pop("enable_x64", False)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(functrax.config.scope(enable_x64=jax_values["x64"], **values))
        stack.enter_context(jax.enable_x64(jax_values["x64"]))
        if "threefry_partitionable" in values:
            stack.enter_context(jax.threefry_partitionable(values["threefry_partitionable"]))
        yield


def words(keys):
    """Return the words of keys of either system."""
    module = random if isinstance(keys, functrax.Array) else jax.random
    return np.asarray(module.key_data(keys))


def same(ours, theirs, ulps=0):
    """Assert that two arrays have the same type and bits, or differ in the last ones."""
    got, wanted = np.asarray(ours), np.asarray(theirs)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if not ulps:
        assert got.tobytes() == wanted.tobytes()
    else:
        close = ulps * float(ml_dtypes.finfo(got.dtype).eps)
        got, wanted = got.astype(np.float64), wanted.astype(np.float64)
        np.testing.assert_allclose(got, wanted, rtol=close, atol=close)


# Keys ---------------------------------------------------------------------------------------------

SEEDS = [0, 1, -1, 2**31, 2**40 + 3, 2**63 - 1, -(2**63), True, np.int32(-3), np.uint32(2**32 - 1),
         np.int64(2**40 + 7), np.int8(-1), np.uint8(200)]  # fmt: skip


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_seeds(seed, x64):
    with options(enable_x64=x64):
        same(random.key_data(random.key(seed)), jax.random.key_data(jax.random.key(seed)))
        same(random.PRNGKey(seed), jax.random.PRNGKey(seed))


def test_traced_seeds():
    seeds = np.array([0, 5, -7], np.int32)
    expected = words(jax.vmap(jax.random.key)(seeds))
    same(words(functrax.vmap(random.key)(seeds)), expected)
    same(words(functrax.jit(functrax.vmap(random.key))(seeds)), expected)


def test_seed_offset():
    with functrax.config.scope(random_seed_offset=5):
        same(random.PRNGKey(3), np.array([0, 8], np.uint32))
        same(functrax.jit(random.PRNGKey)(3), np.array([0, 8], np.uint32))


@pytest.mark.parametrize("partitionable", [True, False])
@pytest.mark.parametrize("num", [2, 0, (2, 3)], ids=repr)
def test_split(num, partitionable):
    with options(threefry_partitionable=partitionable):
        expected = words(jax.random.split(jax.random.key(9), num))
        same(words(random.split(random.key(9), num)), expected)
        same(random.split(random.PRNGKey(9), num), expected)


@pytest.mark.parametrize("data", [0, 7, 2**32 - 1, np.int32(-1), np.uint8(3), True], ids=repr)
def test_fold_in(data):
    expected = words(jax.random.fold_in(jax.random.key(2), data))
    same(words(random.fold_in(random.key(2), data)), expected)
    same(random.fold_in(random.PRNGKey(2), data), expected)


def test_fold_in_of_many():
    numbers = np.arange(6, dtype=np.int32).reshape(2, 3)
    ours, theirs = random.split(random.key(1), (2, 3)), jax.random.split(jax.random.key(1), (2, 3))
    fold = lambda system: system.vmap(system.vmap(system.random.fold_in))  # noqa: E731
    same(words(fold(functrax)(ours, numbers)), words(fold(jax)(theirs, numbers)))
    mapped = functrax.vmap(random.fold_in, in_axes=(None, 0))(random.key(1), numbers[0])
    theirs = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), numbers[0])
    same(words(mapped), words(theirs))


def test_wrap_and_unwrap():
    raw = np.arange(12, dtype=np.uint32).reshape(2, 3, 2)
    keys = random.wrap_key_data(raw, impl="threefry2x32")
    assert (keys.shape, keys.dtype) == ((2, 3), random.key_dtype())
    same(random.key_data(keys), raw)
    same(random.key_data(raw), raw)
    assert random.key_impl(keys) == random.key_impl(raw) == "threefry2x32"
    assert random.clone(keys) is keys


def test_equality():
    keys = random.split(random.key(1), 3)
    assert (keys == keys[1]).tolist() == [False, True, False]
    assert (keys != keys[1]).tolist() == [True, False, True]
    assert functrax.numpy.array_equal(keys, functrax.jit(lambda k: k)(keys))
    with pytest.raises(errors.KeyTypeError):
        bool(keys[0] < keys[1])


def test_typed_keys_of_old_functions():
    with functrax.config.scope(enable_custom_prng=True):
        assert random.PRNGKey(0).dtype == random.key_dtype()
        assert random.split(np.zeros(2, np.uint32)).dtype == random.key_dtype()


# Bits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitionable", [True, False])
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_bits(width, partitionable):
    dtype = f"uint{width}"
    with options(threefry_partitionable=partitionable, enable_x64=True):
        for shape in [(), (7,), (2, 0, 3)]:
            expected = jax.random.bits(jax.random.key(4), shape, dtype)
            same(random.bits(random.key(4), shape, dtype), expected)


def test_bits_of_many_keys():
    keys = random.split(random.key(0), (2, 3))
    params = {"bit_width": 32, "shape": (4,), "partitionable": True}
    expected = np.stack([[np.asarray(random.bits(k, (4,))) for k in row] for row in keys])
    same(bind(random_bits_p, keys, **params)[0], expected)


def test_numbering_goes_on_beyond_32_bits():
    """The hash of element 2**32 + i: what the counters of large arrays are made of."""
    text = functrax.jit(lambda k: random.bits(k, (2**17, 2**16))).lower(random.key(0)).as_text()
    assert "ui64" in text


# Samplers -----------------------------------------------------------------------------------------

SAMPLERS = {
    "uniform": ((), {}),
    "uniform between": ((), {"minval": -1.3, "maxval": np.array([2.5, 0.7, 1.0])}),
    "normal": ((), {}),
    "exponential": ((), {}),
    "laplace": ((), {}),
    "logistic": ((), {}),
    "cauchy": ((), {}),
    "gumbel": ((), {}),
    "gumbel high": ((), {"mode": "high"}),
    "maxwell": ((), {}),
    "truncated_normal": ((-1.5, 2.0), {}),
    "lognormal": ((0.5,), {}),
    "pareto": ((1.7,), {}),
    "rayleigh": ((1.7,), {}),
    "wald": ((1.7,), {}),
    "triangular": ((-1.0, 0.3, 2.0), {}),
    "weibull_min": ((1.5, 2.3), {}),
    "double_sided_maxwell": ((0.5, 2.3), {}),
}
# A sum of squares: what XLA fuses differs in the last bits.
ULPS = {"maxwell": 4, "double_sided_maxwell": 8}


def draw(system, key, name, dtype, shape=SHAPE):
    """Draw from one row of the table; parameters are arrays of the dtype, where it may matter."""
    parameters, options = SAMPLERS[name]
    array = np.asarray if system is random else jax.numpy.asarray
    given = [array(np.asarray(p, dtype)) for p in parameters]
    options = {k: array(np.asarray(v, dtype)) if k == "maxval" else v for k, v in options.items()}
    return getattr(system, name.split()[0])(key, *given, shape=shape, dtype=dtype, **options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler(name):
    """It gives JAX's numbers; mapped over keys, compiled and of raw keys the same ones."""
    one = lambda key: draw(random, key, name, F32)  # noqa: E731
    same(one(random.key(6)), draw(jax.random, jax.random.key(6), name, F32), ULPS.get(name, 0))
    keys = random.split(random.key(3), 3)
    expected = np.stack([np.asarray(one(key)) for key in keys])
    same(functrax.jit(functrax.vmap(one))(random.key_data(keys)), expected, ULPS.get(name, 8))


@pytest.mark.parametrize("name", ["uniform", "normal", "gumbel high", "truncated_normal"])
@pytest.mark.parametrize("dtype", [BF16, F16, F64], ids=str)
def test_sampler_dtypes(name, dtype):
    with options(enable_x64=dtype == F64):
        expected = draw(jax.random, jax.random.key(6), name, dtype)
        same(draw(random, random.key(6), name, dtype), expected)


@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize("shape", [(), (2, 0), (1, 1, 5)], ids=str)
def test_shapes(name, shape):
    sampler = getattr(random, name)
    same(sampler(random.key(1), shape), getattr(jax.random, name)(jax.random.key(1), shape))
    assert sampler(random.key(1), list(shape)).shape == shape
    same(sampler(random.key(1), 3), getattr(jax.random, name)(jax.random.key(1), 3))


@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", ["float8_e5m2", "float8_e4m3fn"])
def test_small_floats(name, dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype))
    expected = getattr(jax.random, name)(jax.random.key(1), (50,), dtype)
    same(getattr(random, name)(random.key(1), (50,), dtype), expected)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_normal(dtype):
    with options(enable_x64=dtype == "complex128"):
        expected = jax.random.normal(jax.random.key(1), SHAPE, dtype)
        same(random.normal(random.key(1), SHAPE, dtype), expected)


def test_finest_gumbel():
    expected = jax.random.gumbel(jax.random.key(1), (1000,), mode="highest")
    same(random.gumbel(random.key(1), (1000,), mode="highest"), expected)


def test_sixty_four_bits_without_a_switch():
    with options(enable_x64=True):
        expected = jax.random.uniform(jax.random.key(5), SHAPE, F64, 0.1, 0.7)
    same(random.uniform(random.key(5), SHAPE, F64, 0.1, 0.7), expected)


BOUNDS = [(0, 10), (-5, 5), (5, 5), (7, 3), (-(2**31), 2**31 - 1), (-1000, 70000)]
MIXED = [(np.int16(-500), np.uint8(77)), (np.array([0, 1, 2]), 100), (0.0, 10.5)]


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64"])
def test_randint(dtype):
    with options(enable_x64=dtype.endswith("64")):
        for low, high in BOUNDS + MIXED * (dtype == "uint32"):
            expected = jax.random.randint(jax.random.key(8), SHAPE, low, high, dtype)
            same(random.randint(random.key(8), SHAPE, low, high, dtype), expected)


def test_randint_of_whole_ranges():
    expected = jax.random.randint(jax.random.key(8), (50,), 0, 256, "uint8")
    same(random.randint(random.key(8), (50,), 0, 256, "uint8"), expected)
    drawn = np.asarray(random.randint(random.key(8), (50,), -(2**31), 2**31))  # more than int32
    assert drawn.dtype == np.int32
    assert drawn.min() < -(2**29) < 2**29 < drawn.max()
    wide = np.asarray(random.randint(random.key(8), (50,), 0, 2**64, "uint64"))
    assert wide.max() > 2**63
    with options(enable_x64=True):
        wanted = jax.random.randint(jax.random.key(8), (50,), np.int64(0), np.int64(2**31))
        same(random.randint(random.key(8), (50,), np.int64(0), np.int64(2**31)), wanted)


def test_randint_traced():
    draw = lambda key, low, high: random.randint(key, (5,), low, high)  # noqa: E731
    expected = jax.random.randint(jax.random.key(0), (5,), -3, 12)
    same(functrax.jit(draw)(random.key(0), -3, 12), expected)
    same(draw(random.key(0), -3, np.int32(12)), expected)


@pytest.mark.parametrize("mode", ["low", "high"])
@pytest.mark.parametrize("p", [0.5, np.array([0.1, 0.5, 0.9], np.float16)], ids=str)
def test_bernoulli(p, mode):
    theirs = jax.numpy.asarray(p) if isinstance(p, np.ndarray) else p
    for shape in (None, SHAPE):
        expected = jax.random.bernoulli(jax.random.key(2), theirs, shape, mode)
        same(random.bernoulli(random.key(2), p, shape, mode), expected)


@pytest.mark.parametrize("dtype", [None, "int8", "bfloat16"])
def test_rademacher(dtype):
    expected = jax.random.rademacher(jax.random.key(2), SHAPE, dtype)
    same(random.rademacher(random.key(2), SHAPE, dtype), expected)


@pytest.mark.parametrize("p", [0.1, np.array([0.2, 0.5, 0.9], np.float32)], ids=str)
def test_geometric(p):
    for shape in (None, SHAPE):
        expected = jax.random.geometric(jax.random.key(2), p, shape)
        same(random.geometric(random.key(2), p, shape), expected)


# Choices ------------------------------------------------------------------------------------------

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("x", [0, 1, 5, 2000, np.int32(4), CUBE[0, 0], CUBE[:, :0]], ids=str)
def test_permutation(x):
    expected = jax.random.permutation(jax.random.key(1), x)
    same(random.permutation(random.key(1), x), expected)


@pytest.mark.parametrize("axis", [0, -2])
@pytest.mark.parametrize("independent", [False, True])
def test_permutation_along_axes(axis, independent):
    expected = jax.random.permutation(jax.random.key(1), CUBE, axis, independent)
    same(random.permutation(random.key(1), CUBE, axis, independent), expected)


def test_permutation_of_keys():
    keys = random.split(random.key(0), 5)
    order = random.permutation(random.key(1), 5)
    same(words(random.permutation(random.key(1), keys)), words(keys)[np.asarray(order)])


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)], ids=str)
def test_choice(shape, weighted, replace):
    p = np.array([0.1, 0.2, 0.3, 0.15, 0.25], np.float32) if weighted else None
    for a in (5, np.arange(5) * 2.5):
        expected = jax.random.choice(jax.random.key(3), a, shape, replace, p)
        same(random.choice(random.key(3), a, shape, replace, p), expected)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("replace", [True, False])
def test_choice_along_axes(axis, replace):
    expected = jax.random.choice(jax.random.key(3), CUBE, (2,), replace, axis=axis)
    same(random.choice(random.key(3), CUBE, (2,), replace, axis=axis), expected)


def test_choice_of_nothing():
    assert random.choice(random.key(0), 5, (0, 3)).shape == (0, 3)
    assert random.choice(random.key(0), CUBE, (0,), axis=1).shape == (2, 0, 4)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("replace", [True, False])
def test_categorical(axis, replace):
    batch = tuple(np.delete(CUBE.shape, axis))
    logits = CUBE / 10
    for shape in (None, (2, *batch)):
        expected = jax.random.categorical(
            jax.random.key(3), jax.numpy.asarray(logits), axis, shape, replace
        )
        same(random.categorical(random.key(3), logits, axis, shape, replace), expected)


def test_categorical_broadcasts():
    logits = np.zeros((1, 4), np.float32)
    expected = jax.random.categorical(jax.random.key(0), logits, shape=(6, 3))
    same(random.categorical(random.key(0), logits, shape=(6, 3)), expected)


# Derivatives in parameters ------------------------------------------------------------------------


def test_derivatives():
    def total(system, low, high):
        uniform = system.uniform(system.key(0), (5,), minval=low, maxval=high)
        normal = system.truncated_normal(system.key(0), low, high, (5,))
        return (uniform * normal).sum()

    ours = functrax.grad(lambda *ends: total(random, *ends), argnums=(0, 1))(-1.0, 2.0)
    theirs = jax.grad(lambda *ends: total(jax.random, *ends), argnums=(0, 1))(-1.0, 2.0)
    for got, wanted in zip(ours, theirs):
        np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=1e-5)


# What is refused ----------------------------------------------------------------------------------

KEY = "Make one with `random.key(seed)`."
REFUSED = [
    (lambda k: random.normal(0), errors.KeyTypeError,
     f"[normal] expected a PRNG key; got 0 of type int (HERE). {KEY}"),
    (lambda k: random.normal(np.zeros(3, np.float32)), errors.KeyTypeError,
     "[normal] expected a PRNG key; got a NumPy array of shape (3,) and dtype float32 (HERE). "
     + KEY),
    (lambda k: random.uniform(random.split(k, 3)), errors.ShapeError,
     "[uniform] expected a single PRNG key; got the keys key<fry>[3] (HERE). Take one of them, or "
     "map over them with `vmap`."),
    (lambda k: random.key(k), errors.KeyTypeError,
     "[key] expected an integer as the seed; got key<fry>[] (HERE)."),
    (lambda k: random.key(1.5), errors.DtypeError,
     "[key] expected an integer as the seed; got 1.5 of type float (HERE)."),
    (lambda k: random.key(np.arange(3)), errors.ShapeError,
     "[key] expected a scalar as the seed; got a NumPy array of shape (3,) and dtype int64 (HERE). "
     "Map over it with `vmap`."),
    (lambda k: random.key(2**63), errors.IntegerOverflowError,
     "[key] expected seed from -9223372036854775808 to 9223372036854775807; got "
     "9223372036854775808 "
     "(HERE). Cut it off, for example with `% 2**32`."),
    (lambda k: random.randint(k, (), 0, 2**40), errors.IntegerOverflowError,
     "[randint] expected bounds from -2147483648 to 2147483648; got 1099511627776 (HERE). Ask for "
     'a wider dtype, for example dtype="int64".'),
    (lambda k: random.randint(k, (3,), np.zeros(3, int), 2**40), errors.IntegerOverflowError,
     "[randint] expected bounds from -2147483648 to 2147483648; got 1099511627776 (HERE). Ask for "
     'a wider dtype, for example dtype="int64".'),
    (lambda k: random.randint(k, (), -(2**63) - 1, 0, "int64"), errors.IntegerOverflowError,
     "[randint] expected bounds from -9223372036854775808 to 9223372036854775808; got "
     '-9223372036854775809 (HERE). Ask for a wider dtype, for example dtype="int64".'),
    (lambda k: random.randint(k, (), 0, float("nan")), errors.IntegerOverflowError,
     "[randint] expected bounds from -2147483648 to 2147483648; got nan (HERE). Ask for a wider "
     'dtype, for example dtype="int64".'),
    (lambda k: random.uniform(k, (), maxval=2**200), errors.IntegerOverflowError,
     "[uniform] expected a number that f32 holds; got an integer of 201 bits (HERE)."),
    (lambda k: random.wald(k, -(2**2000)), errors.IntegerOverflowError,
     "[wald] expected a number that f32 holds; got an integer of 2001 bits (HERE)."),
    (lambda k: random.uniform(k, minval="a"), errors.ArgumentError,
     "[uniform] expected a number, or an array of numbers, for 'minval'; got 'a' of type str (HERE). "
     "Pass a number, or convert what you have with `jnp.asarray`."),
    (lambda k: random.uniform(k, minval=1j), errors.DtypeError,
     "[uniform] expected real numbers for 'minval'; got 1j of type complex (HERE). Take the real "
     "part, `.real`."),
    (lambda k: random.geometric(k, k), errors.KeyTypeError,
     "[geometric] expected a number, or an array of numbers, for 'p'; got the PRNG key key<fry>[] "
     "(HERE)."),
    (lambda k: random.weibull_min(k, np.ones(3), 1.0, (2,)), errors.ShapeError,
     "[weibull_min] expected parameters that broadcast to shape (2,); got shapes (3,) (HERE)."),
    (lambda k: random.key(0, impl="mt19937"), errors.ArgumentError,
     "[key] expected a generator, 'threefry2x32'; got 'mt19937' (HERE)."),
    (lambda k: random.fold_in(k, -1), errors.IntegerOverflowError,
     "[fold_in] expected data from 0 to 4294967295; got -1 (HERE). Cut it off, for example with "
     "`% 2**32`."),
    (lambda k: random.normal(k, -3), errors.ShapeError,
     "[normal] expected a shape, as a tuple of integers >= 0; got -3 (HERE)."),
    (lambda k: random.normal(k, (2.5,)), errors.ShapeError,
     "[normal] expected a shape, as a tuple of integers >= 0; got (2.5,) (HERE)."),
    (lambda k: random.uniform(k, (2,), minval=np.zeros(3)), errors.ShapeError,
     "[uniform] expected parameters that broadcast to shape (2,); got shapes (3,) (HERE)."),
    (lambda k: random.normal(k, (2,), int), errors.DtypeError,
     "[normal] expected a floating or complex dtype; got i32 (HERE)."),
    (lambda k: random.bits(k, (2,), int), errors.DtypeError,
     "[bits] expected an unsigned integer dtype of 8 to 64 bits; got i32 (HERE)."),
    (lambda k: random.rayleigh(k, np.float32(1), dtype=F16), errors.DtypeError,
     "[rayleigh] expected parameters that fit the dtype f16; got f32 (HERE). Convert them with "
     "`.astype(...)`, or ask for a wider dtype."),
    (lambda k: random.choice(k, 3, (4,), replace=False), errors.ArgumentError,
     "[choice] expected at least 4 elements; got 3 (HERE). Draw fewer, or with `replace=True`."),
    (lambda k: functrax.primitives.elementwise.sin(k), errors.KeyTypeError,
     "[sin] expected an array of floating or complex dtype; got the PRNG key key<fry>[] (HERE). "
     "Use "
     "`random.key_data(key)` for its bits, or a sampler of functrax.random for numbers."),
    (lambda k: random.wrap_key_data(np.zeros(3, np.uint32)), errors.KeyTypeError,
     "[wrap_key_data] expected a uint32 array of shape (..., 2); got a NumPy array of shape (3,) "
     "and "
     "dtype uint32 (HERE)."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED, ids=lambda x: str(x)[:25])
def test_refused(call, kind, message):
    with pytest.raises(kind) as caught:
        call(random.key(0))
    where = f"test_random.py:{call.__code__.co_firstlineno}"
    assert str(caught.value) == message.replace("HERE", where)


PARAMETERS = {
    "bernoulli": {"p": 0.5},
    "double_sided_maxwell": {"loc": 0.0, "scale": 1.0},
    "geometric": {"p": 0.5},
    "lognormal": {"sigma": 1.0},
    "pareto": {"b": 1.0},
    "randint": {"shape": (), "minval": 0, "maxval": 5},
    "rayleigh": {"scale": 1.0},
    "triangular": {"left": 0.0, "mode": 0.5, "right": 1.0},
    "truncated_normal": {"lower": -1.0, "upper": 1.0},
    "uniform": {"minval": 0.0, "maxval": 2.0},
    "wald": {"mean": 1.0},
    "weibull_min": {"scale": 1.0, "concentration": 1.0},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_real_numbers(name):
    """Each sampler says which of its parameters is not, eagerly and in a program."""
    key = random.key(0)
    bad = ["a", None, object(), [1.0, 2.0], {}, np.array(["a"]), key, 1j, np.array([1j])]
    for parameter in PARAMETERS[name].keys() - {"shape"}:
        for value in bad:
            call = lambda key: getattr(random, name)(key, **{**PARAMETERS[name], parameter: value})  # noqa: E731, B023
            for run in (call, functrax.jit(call)):
                with pytest.raises(errors.FunctraxError) as caught:
                    run(key)
                text = str(caught.value)
                assert text.startswith(f"[{name}] expected ")
                assert f"for {parameter!r}; got" in text
                assert "'_" not in text


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_that_do_not_broadcast(name):
    arguments = PARAMETERS[name] | dict.fromkeys(PARAMETERS[name].keys() - {"shape"}, np.ones(3))
    if name != "double_sided_maxwell":  # whose shape is put in front
        with pytest.raises(
            errors.ShapeError, match=rf"\[{name}\] expected parameters that broadcast"
        ):
            getattr(random, name)(random.key(0), **{**arguments, "shape": (2,)})
    if len(arguments) > 1 and name != "randint":
        last = [*arguments][-1]
        with pytest.raises(
            errors.ShapeError, match=rf"\[{name}\] expected parameters that broadcast"
        ):
            getattr(random, name)(random.key(0), **{**arguments, last: np.ones(2)})


@pytest.mark.parametrize("mode", [[1, 2], {}, 7, random.key(0)], ids=str)
def test_unknown_modes(mode):
    key = random.key(0)
    for name, call in {
        "gumbel": lambda: random.gumbel(key, mode=mode),
        "categorical": lambda: random.categorical(key, np.zeros(3), mode=mode),
        "choice": lambda: random.choice(key, 3, p=np.ones(3), mode=mode),
    }.items():
        with pytest.raises(errors.ArgumentError) as caught:
            call()
        assert str(caught.value).startswith(
            f"[{name}] expected 'low', 'high' or 'highest' as the mode"
        )
