"""Keys that are used twice: programs that are wrong, programs that are right, and what is said."""

import re
import warnings

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax, random
from functrax.core.config import config
from functrax.transforms.key_reuse import find_key_reuse

KEY = random.key(0)
RAW = random.PRNGKey(0)


def total(x):
    return jnp.sum(x)


# Wrong --------------------------------------------------------------------------------------------


def two_samplers(key):
    return random.normal(key) + random.uniform(key)


def after_split(key):
    a, _ = random.split(key)
    return random.normal(key) + random.normal(a)


def split_twice(key):
    a, _ = random.split(key)
    b, _ = random.split(key)
    return random.normal(a) + random.normal(b)


def in_scan(key):
    return lax.scan(lambda c, _: (c + random.normal(key), None), 0.0, None, length=3)[0]


def in_fori_loop(key):
    return lax.fori_loop(0, 3, lambda i, c: c + random.normal(key), 0.0)


def in_while_loop(key):
    return lax.while_loop(lambda c: c < 3, lambda c: c + random.uniform(key), 0.0)


def carried_unchanged(key):
    def body(carry, _):
        key, c = carry
        return (key, c + random.normal(key)), None

    return lax.scan(body, (key, 0.0), None, length=3)[0][1]


def python_loop(key):
    return sum(random.normal(key) for _ in range(3))


def over_lanes(key):
    return total(functrax.vmap(lambda x: x + random.normal(key))(jnp.arange(3.0)))


def over_lanes_in_jit(key):
    draw = functrax.jit(lambda key, x: x + random.normal(key))
    return total(functrax.vmap(draw, in_axes=(None, 0))(key, jnp.arange(3.0)))


def broadcast_over_lanes(key):
    data = random.key_data(key)
    keys = random.wrap_key_data(jnp.stack([data, data, data]))
    return total(functrax.vmap(random.normal)(keys))


def same_row(key):
    keys = random.split(key, 4)
    return random.normal(keys[1]) + random.normal(keys[1:][0])


def row_and_whole(key):
    keys = random.split(key, 3)
    return random.normal(keys[-1]) + total(functrax.vmap(random.normal)(keys))


def same_traced_row(key):
    keys = random.split(key, 3)
    index = jnp.sum(jnp.arange(3))
    return random.normal(keys[index]) + random.uniform(keys[index])


def gathered_twice(key):
    keys = random.split(key, 3)
    return total(functrax.vmap(random.normal)(keys[jnp.array([0, 2, 0])]))


def nested_jit(key):
    draw = functrax.jit(random.normal)
    return draw(key) + draw(key)


def a_branch_and_after(key):
    return lax.cond(total(jnp.ones(2)) > 1, random.normal, random.uniform, key) + random.bits(key)


def same_number_folded_in(key):
    return random.normal(random.fold_in(key, 1)) + random.uniform(random.fold_in(key, 1))


def in_checkpoint(key):
    draw = functrax.checkpoint(lambda key, x: x * random.normal(key))
    return functrax.grad(lambda x: draw(key, x) + draw(key, 2 * x))(1.0)


def in_custom_rules(key):
    @functrax.custom_jvp
    def f(key, x):
        return x * random.normal(key)

    @functrax.custom_vjp
    def g(key, x):
        return x * random.uniform(key)

    f.defjvp(lambda primals, tangents: (f(*primals), tangents[1]))
    g.defvjp(lambda key, x: (g(key, x), None), lambda _, c: (None, c))
    return f(key, 1.0) + g(key, 2.0)


def in_grad(key):
    return functrax.grad(lambda x: x * random.normal(key) + x * random.uniform(key))(1.0)


WRONG = [
    two_samplers,
    after_split,
    split_twice,
    in_scan,
    in_fori_loop,
    in_while_loop,
    carried_unchanged,
    python_loop,
    over_lanes,
    over_lanes_in_jit,
    broadcast_over_lanes,
    same_row,
    row_and_whole,
    same_traced_row,
    gathered_twice,
    nested_jit,
    a_branch_and_after,
    same_number_folded_in,
    in_checkpoint,
    in_custom_rules,
    in_grad,
]

# Right --------------------------------------------------------------------------------------------


def split_once(key):
    a, b = random.split(key)
    return random.normal(a) + random.uniform(b)


def fold_in_and_use(key):
    return random.normal(random.fold_in(key, 1)) + random.normal(key)


def fold_in_loop(key):
    def body(i, c):
        return c + random.normal(random.fold_in(key, i))

    return lax.fori_loop(0, 3, body, 0.0)


def split_in_the_carry(key):
    def body(carry, _):
        key, c = carry
        key, sub = random.split(key)
        return (key, c + random.normal(sub)), None

    (key, c), _ = lax.scan(body, (key, 0.0), None, length=3)
    return c + random.normal(key)


def split_in_a_while_loop(key):
    def body(carry):
        key, c = carry
        key, sub = random.split(key)
        return key, c + random.uniform(sub)

    return lax.while_loop(lambda carry: carry[1] < 2, body, (key, 0.0))[1]


def scan_over_keys(key):
    keys = random.split(key, 4)
    return lax.scan(lambda c, k: (c + random.normal(k), None), 0.0, keys)[0]


def row_by_index_in_a_loop(key):
    keys = random.split(key, 4)
    return lax.fori_loop(0, 4, lambda i, c: c + random.normal(keys[i]), 0.0)


def one_key_per_lane(key):
    return total(functrax.vmap(random.normal)(random.split(key, 3)))


def lanes_choose(key):
    def lane(i):
        return random.normal(random.split(key, 3)[i])

    return total(functrax.vmap(lane)(jnp.arange(3)))


def folded_per_lane(key):
    return total(functrax.vmap(lambda i: random.normal(random.fold_in(key, i)))(jnp.arange(3)))


def branches(key):
    return lax.cond(total(jnp.ones(2)) > 1, random.normal, random.uniform, key)


def switched(key):
    return lax.switch(jnp.sum(jnp.arange(3)), [random.normal, random.uniform] * 2, key)


def other_rows(key):
    keys = random.split(key, (2, 3))
    rest = functrax.vmap(random.normal)(keys[1])
    return random.normal(keys[0, 0]) + total(rest) + random.normal(keys[0][-1])


def gathered_once(key):
    keys = random.split(key, 4)
    rest = functrax.vmap(random.normal)(keys[jnp.array([3, 0])])
    return total(rest) + random.normal(keys[1])


def cloned(key):
    return random.normal(random.clone(key)) + random.normal(key)


def cloned_over_lanes(key):
    noise = random.clone(key)
    return total(functrax.vmap(lambda x: x + random.normal(noise))(jnp.arange(3.0)))


def gradient(key):
    def loss(x):
        a, b = random.split(key)
        return jnp.sin(x * random.normal(a)) * random.uniform(b)

    return functrax.grad(functrax.grad(loss))(1.0)


def gradient_of_checkpoint(key):
    f = functrax.checkpoint(lambda x: jnp.sin(x * random.normal(key)))
    return functrax.grad(lambda x: jnp.sin(f(x)))(1.0)


def linearized_checkpoint(key):
    f = functrax.checkpoint(lambda x: jnp.sin(x * random.normal(key)))
    y, push = functrax.linearize(f, 1.0)
    return y + push(1.0) + push(2.0)


def gradient_of_loops(key):
    def scanned(x):
        keys = random.split(key, 3)
        return lax.scan(lambda c, k: (jnp.sin(c * random.normal(k)), None), x, keys)[0]

    def looped(x):
        def body(carry):
            key, c, i = carry
            key, sub = random.split(key)
            return key, jnp.sin(c + random.normal(sub)), i + 1

        start = random.fold_in(key, 7), x, 0
        return lax.while_loop(lambda carry: carry[2] < 5, body, start)[1]

    return functrax.grad(scanned)(1.0) + functrax.grad(looped)(1.0)


def gradient_through_a_rule_that_draws_again(key):
    @functrax.custom_vjp
    def dropout(key, x):
        return x * random.bernoulli(key)

    dropout.defvjp(
        lambda key, x: (dropout(key, x), key), lambda key, c: (None, c * random.bernoulli(key))
    )
    return functrax.grad(lambda x: dropout(key, x))(1.0)


def both_modes(key):
    a, b = random.split(key)
    f = functrax.jit(lambda key, x: jnp.sin(x * random.normal(key)))
    push = functrax.jacfwd(functrax.jacrev(f, 1), 1)(a, 1.0)
    return push + functrax.jvp(lambda x: f(b, x), (1.0,), (1.0,))[1]


def samplers(key):
    """The samplers of the library that draw more than once."""
    keys = iter(random.split(key, 12))
    parts = [
        random.permutation(next(keys), 5),
        random.choice(next(keys), 5, (3,), replace=False),
        random.truncated_normal(next(keys), -1, 1, (3,)),
        random.categorical(next(keys), jnp.ones(3)),
        random.randint(next(keys), (3,), 0, 7),
    ]
    return sum(map(total, parts))


RIGHT = [
    split_once,
    fold_in_and_use,
    fold_in_loop,
    split_in_the_carry,
    split_in_a_while_loop,
    scan_over_keys,
    row_by_index_in_a_loop,
    one_key_per_lane,
    lanes_choose,
    folded_per_lane,
    branches,
    switched,
    other_rows,
    gathered_once,
    cloned,
    cloned_over_lanes,
    gradient,
    gradient_of_checkpoint,
    linearized_checkpoint,
    gradient_of_loops,
    gradient_through_a_rule_that_draws_again,
    both_modes,
    samplers,
]


def name_of(value):
    return value.__name__ if callable(value) else "raw" if value is RAW else "typed"


@pytest.mark.parametrize("key", [KEY, RAW], ids=name_of)
@pytest.mark.parametrize("function", WRONG, ids=name_of)
def test_wrong_programs_are_found(function, key):
    with pytest.warns(errors.KeyReuseWarning, match="expected each key to be used once"):
        functrax.jit(function).eval_shape(key)
    with config.scope(key_reuse="error"), pytest.raises(errors.KeyReuseError):
        functrax.jit(function).eval_shape(key)
    with config.scope(key_reuse="off"):
        functrax.jit(function).eval_shape(key)


@pytest.mark.parametrize("key", [KEY, RAW], ids=name_of)
@pytest.mark.parametrize("function", RIGHT, ids=name_of)
def test_right_programs_are_not(function, key):
    with config.scope(key_reuse="error"):
        functrax.jit(function)(key)
        functrax.jit(lambda: function(key)).eval_shape()
        functrax.jit(functrax.jit(function)).eval_shape(key)
        functrax.make_jaxpr(function)(key)


# Messages and options -----------------------------------------------------------------------------


def place_free(text):
    return re.sub(r"test_key_reuse\.py:\d+", "HERE", str(text))


FIX = (
    "Use `key, subkey = random.split(key)` and each of them once, or `random.fold_in(key, i)` in a "
    "loop; `random.clone(key)` says that it is meant."
)
MESSAGES = [
    (two_samplers, "argument 'key' of 'two_samplers' drawn from at HERE and again drawn from"),
    (after_split, "argument 'key' of 'after_split' split at HERE and drawn from"),
    (same_row, "the key made at HERE drawn from at HERE and again drawn from"),
]


@pytest.mark.parametrize(("function", "got"), MESSAGES)
def test_messages(function, got):
    with config.scope(key_reuse="error"), pytest.raises(errors.KeyReuseError) as error:
        functrax.jit(function)(KEY)
    assert place_free(error.value) == (
        f"[jit] expected each key to be used once; got {got} at HERE (HERE). {FIX}"
    )


def test_lines_and_the_other_messages():
    with config.scope(key_reuse="error"), pytest.raises(errors.KeyReuseError) as error:
        functrax.make_jaxpr(over_lanes)(KEY)
    assert place_free(error.value) == (
        "[make_jaxpr] expected each key to be used once; got argument 'key' of 'over_lanes' drawn "
        f"from at HERE and so by 3 lanes (HERE). {FIX}"
    )

    def captured():
        return random.normal(KEY) + random.uniform(KEY)

    first = captured.__code__.co_firstlineno
    with config.scope(key_reuse="error"), pytest.raises(errors.KeyReuseError) as error:
        functrax.jit(captured)()
    line = f"test_key_reuse.py:{first + 1}"
    assert str(error.value) == (
        "[jit] expected each key to be used once; got a captured key drawn from at "
        f"{line} and again drawn from at {line} ({line}). {FIX}"
    )
    assert isinstance(error.value, RuntimeError)


def test_the_name_of_jax():
    with functrax.debug_key_reuse(True), pytest.raises(errors.KeyReuseError):
        functrax.jit(two_samplers)(KEY)
    with config.scope(jax_debug_key_reuse=True, key_reuse="off"):
        assert config.debug_key_reuse
        with pytest.raises(errors.KeyReuseError):
            functrax.jit(two_samplers)(KEY)


LOOPS = [in_scan, in_fori_loop, in_while_loop, carried_unchanged]


@pytest.mark.parametrize("function", LOOPS, ids=name_of)
def test_loops_that_run_at_once_are_programs_too(function):
    with pytest.warns(errors.KeyReuseWarning) as found:
        function(KEY)
    assert len(found) == 1
    for wrap in (lambda f: f, lambda f: lambda key: functrax.grad(lambda x: x * f(key))(1.0)):
        with config.scope(key_reuse="error"), pytest.raises(errors.KeyReuseError):
            wrap(function)(random.fold_in(KEY, 1))
    if function is in_scan:
        line = function.__code__.co_firstlineno + 1
        place = f"test_key_reuse.py:{line}"
        assert str(found[0].message) == (
            "[scan] expected each key to be used once; got a captured key drawn from at "
            f"{place} and again drawn from at {place} ({place}). {FIX}"
        )


@pytest.mark.parametrize(
    "function",
    [fold_in_loop, split_in_the_carry, scan_over_keys, row_by_index_in_a_loop, gradient_of_loops],
    ids=name_of,
)
def test_right_loops_run_at_once(function):
    with config.scope(key_reuse="error"):
        function(KEY), function(KEY)


def test_each_reuse_is_told_once_where_the_program_is_traced():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        jitted = functrax.jit(lambda key: two_samplers(key) + in_scan(random.fold_in(key, 3)))
        for _ in range(3):
            jitted(KEY)
    assert [w.category for w in found] == [errors.KeyReuseWarning] * 2
    assert {w.filename for w in found} == {__file__}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")

        def body(c, _):
            return c + random.normal(KEY), None

        for _ in range(3):
            lax.scan(body, 0.0, None, length=2)
    assert len(found) == 1


def test_a_program_inside_of_another_is_told_of_once():
    with pytest.warns(errors.KeyReuseWarning) as found:
        functrax.jit(functrax.jit(two_samplers))(KEY)
    assert len(found) == 1


def test_many_keys_and_none():
    f = lambda key, n: total(functrax.vmap(random.normal)(random.split(key, n)))  # noqa: E731
    for n in (0, 1, 100_000):
        with config.scope(key_reuse="error"):
            functrax.make_jaxpr(f, static_argnums=1)(KEY, n)


def test_known_branches_and_short_loops():
    def one_turn(key):
        return lax.scan(lambda c, _: (c + random.normal(key), None), 0.0, None, length=1)[0]

    def no_turn(key):
        draw = lax.scan(lambda c, _: (c + random.normal(key), None), 0.0, None, length=0)[0]
        return draw + random.normal(key)

    def first_turn(key):
        def body(i, c):
            return lax.cond(i == 0, lambda: c + random.normal(key), lambda: c)

        return lax.fori_loop(0, 3, body, 0.0)

    for function in (one_turn, no_turn, first_turn):
        assert find_key_reuse(functrax.make_jaxpr(function)(KEY).jaxpr) == []


def test_lanes_are_no_part_of_what_runs():
    f = lambda x: x + random.normal(random.clone(KEY))  # noqa: E731
    xs = jnp.arange(3.0)
    mapped = functrax.vmap(f)
    np.testing.assert_array_equal(functrax.jit(mapped)(xs), mapped(xs))
    nested = functrax.vmap(functrax.vmap(f))
    assert "lanes=6" in str(functrax.make_jaxpr(nested)(jnp.ones((2, 3))))
    np.testing.assert_array_equal(functrax.jit(nested)(xs[None]), mapped(xs)[None])


def test_programs_without_keys_are_not_followed(monkeypatch):
    monkeypatch.setattr("functrax.transforms.key_reuse.find_key_reuse", None)
    functrax.jit(lambda x: lax.fori_loop(0, 3, lambda i, c: c + i, x))(1.0)
    with pytest.raises(TypeError):
        functrax.jit(lambda key: random.normal(key))(KEY)


def test_calls_that_double_on_each_level_are_followed_for_a_while():
    f = lambda key: random.normal(key)  # noqa: E731
    for _ in range(25):
        f = functrax.jit(lambda key, g=f: g(random.fold_in(key, 1)) + g(random.fold_in(key, 2)))
    assert functrax.make_jaxpr(f)(random.key(0)).out_avals[0].shape == ()
