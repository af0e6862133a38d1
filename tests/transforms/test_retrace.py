"""Why a jitted function was traced again: the record, the warning, and the limit."""

import functools
import gc
import logging
import re
import threading
import warnings
import weakref

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.core.config import config
from functrax.transforms import retrace


@pytest.fixture(autouse=True)
def warned():
    """The suite's environment turns the warning off."""
    functrax.clear_caches()
    with config.scope(warn_retraces=True):
        yield


def place_free(text):
    return re.sub(r"test_retrace\.py:\d+", "HERE", str(text))


def rows(jitted):
    return [(row.cause, row.path, row.old, row.new) for row in jitted.retraces()]


# The record ---------------------------------------------------------------------------------------

FLOAT = np.float32(1)
CAUSES = {
    "shape": (jnp.ones(3), jnp.ones((2, 3)), [("shape", "x", "(3,)", "(2, 3)")]),
    "dtype": (jnp.ones(3), jnp.ones(3, "int32"), [("dtype", "x", "float32", "int32")]),
    "weak type": (1.0, jnp.float32(1), [("weak type", "x", "True", "False")]),
    "two of a leaf": (
        jnp.ones(3),
        jnp.ones(4, "int8"),
        [("shape", "x", "(3,)", "(4,)"), ("dtype", "x", "float32", "int8")],
    ),
    "path": (
        {"a": [FLOAT, jnp.ones(2)]},
        {"a": [FLOAT, jnp.ones(5)]},
        [("shape", "x['a'][1]", "(2,)", "(5,)")],
    ),
    "keys": (
        {"a": FLOAT},
        {"a": FLOAT, "b": FLOAT},
        [("tree", "x", "a dict with the keys 'a'", "a dict with the keys 'a', 'b'")],
    ),
    "a container for a leaf": (FLOAT, (FLOAT,), [("tree", "x", "a leaf", "a tuple of length 1")]),
    "a leaf for a container": (
        {"a": [FLOAT]},
        {"a": FLOAT},
        [("tree", "x['a']", "a list of length 1", "a leaf")],
    ),
    "none": (None, FLOAT, [("tree", "x", "None", "a leaf")]),
}


@pytest.mark.parametrize("case", CAUSES)
def test_causes(case):
    first, second, expected = CAUSES[case]
    jitted = functrax.jit(lambda x: functrax.tree.map(lambda leaf: leaf + 1, x))
    jitted(first)
    assert jitted.retraces() == []
    jitted(second)
    assert rows(jitted) == expected
    assert {row.trace for row in jitted.retraces()} == {2}
    jitted(first), jitted(second)
    assert rows(jitted) == expected


def test_static_values():
    jitted = functrax.jit(lambda x, n, mode: x, static_argnums=1, static_argnames="mode")
    jitted(1, 2, mode="a")
    jitted(1, (3, "x"), mode="a")
    jitted(1, 2, mode="b")
    jitted(1, 2, mode="b" * 100)
    assert rows(jitted) == [
        ("static value", "n", "2", "(3, 'x')"),
        ("static value", "mode", "'a'", "'b'"),
        ("static value", "mode", "'b'", "a value of type str"),
    ]
    assert str(jitted.retraces()[0]) == "static argument 'n' changed from 2 to (3, 'x')"


def test_static_objects_that_look_alike():
    class Config:
        def __repr__(self):
            return "Config()"

    jitted = functrax.jit(lambda x, c: x, static_argnums=1)
    jitted(1, Config()), jitted(1, Config())
    assert rows(jitted) == [("static value", "c", "Config()", "Config() (another object)")]


def test_options_and_devices():
    jitted = functrax.jit(lambda x: x + 1)
    jitted(FLOAT)
    with config.scope(numpy_rank_promotion="raise"):
        jitted(FLOAT)
    device = functrax.devices()[1]
    with functrax.default_device(device):
        jitted(FLOAT)
    assert rows(jitted) == [
        ("config", "numpy_rank_promotion", "'allow'", "'raise'"),
        ("device", "default_device", "None", repr(device)),
    ]


def test_named_axes_and_captured_values():
    jitted = functrax.jit(lambda x: functrax.lax.psum(x, "i"))
    functrax.vmap(jitted, axis_name="i")(jnp.ones(3))
    functrax.vmap(jitted, axis_name="i")(jnp.ones(4))
    assert rows(jitted) == [("named axes", "", "'i' of size 3", "'i' of size 4")]
    box = []
    closed = functrax.jit(lambda x: x * box[0])

    def outer(y):
        box[:] = [y]
        return closed(1.0)

    functrax.grad(outer)(2.0), functrax.grad(outer)(3.0)
    box.clear()
    assert rows(closed) == [("captured value", "", "", "")]


def test_the_nearest_earlier_trace_is_compared():
    jitted = functrax.jit(lambda x, y: x)
    jitted(jnp.ones(3), jnp.ones(3))
    jitted(jnp.ones(4), jnp.ones(4))
    jitted(jnp.ones(3), jnp.ones(5))
    assert rows(jitted)[2:] == [("shape", "y", "(3,)", "(5,)")]


def test_keyword_arguments_methods_and_partials_have_paths():
    class Model:
        @functools.partial(functrax.jit, static_argnums=0)
        def step(self, x, *, scale):
            return x * scale

    model = Model()
    model.step(1, scale=FLOAT), model.step(1, scale=jnp.ones(2))
    assert rows(Model.step) == [("shape", "scale", "()", "(2,)")]
    jitted = functrax.jit(functools.partial(lambda a, b: a + b, 1))
    jitted(jnp.ones(2)), jitted(jnp.ones(3))
    assert rows(jitted) == [("shape", "b", "(2,)", "(3,)")]


def test_a_trace_that_fails_is_not_counted():
    def f(x):
        if x.shape == (2,):
            raise KeyError("no")
        return x

    jitted = functrax.jit(f, max_traces=2)
    jitted(jnp.ones(1))
    for _ in range(3):
        with pytest.raises(KeyError):
            jitted(jnp.ones(2))
    jitted(jnp.ones(3))
    assert rows(jitted) == [("shape", "x", "(1,)", "(3,)")]


def test_ahead_of_time_traces_count_and_clearing_forgets():
    jitted = functrax.jit(lambda x: x, max_traces=2)
    jitted.lower(jnp.ones(1)), jitted.eval_shape(jnp.ones(2))
    assert len(jitted.retraces()) == 1
    with pytest.raises(errors.TraceLimitError):
        jitted(jnp.ones(3))
    jitted.clear_cache()
    assert jitted.retraces() == []
    jitted(jnp.ones(3))


# The warning --------------------------------------------------------------------------------------


def told(call, count=7):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for number in range(1, count + 1):
            call(number)
    assert all(w.category is errors.RetraceWarning for w in found)
    return [(w.filename, place_free(w.message)) for w in found]


def test_one_warning_at_the_fifth_retrace():
    def f(x):
        return x["w"] + 1

    jitted = functrax.jit(f)
    assert told(lambda n: jitted({"w": jnp.ones(n)}), 5) == []
    jitted.clear_cache()
    functrax.clear_caches()
    assert told(lambda n: jitted({"w": jnp.ones(n)}), 20) == [
        (
            __file__,
            "[jit] expected few traces of 'f' from one line; got retrace number 5: argument "
            "\"x['w']\" changed in shape from (5,) to (6,) (HERE). Pad it to one of a few sizes, so "
            "that few traces serve all calls. `.retraces()` of the jitted function has all causes.",
        )
    ]


def test_a_new_function_object_each_time():
    def call(_):
        functrax.jit(lambda x: x + 1)(1)

    assert told(call) == [
        (
            __file__,
            "[jit] expected few traces of '<lambda>' from one line; got retrace number 5: it is a "
            "new function object each time: <lambda> at HERE (HERE). Call `jit` once, outside of "
            "the loop, and keep what it returns. `.retraces()` of the jitted function has all "
            "causes.",
        )
    ]
    jitted = [functrax.jit(lambda x: x + 1) for _ in range(2)]
    for f in jitted:
        f(1)
    assert [[row.cause for row in f.retraces()] for f in jitted] == [[], ["new function object"]]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: functrax.jit(functrax.grad(f)),
        lambda f: functrax.jit(functools.partial(f)),
        lambda f: functrax.jit(functrax.vmap(f, axis_size=2, in_axes=None)),
        lambda f: functrax.jit(functrax.jit(f)),
    ],
    ids=["grad", "partial", "vmap", "jit"],
)
def test_a_new_transformed_function_each_time(wrap):
    (found,) = told(lambda n: wrap(lambda x: x * 2)(1.0))
    assert "it is a new function object each time: <lambda> at HERE" in found[1]


def test_lines_and_functions_are_counted_apart():
    jitted = functrax.jit(lambda x: x)

    def call(n):
        if n % 2:
            jitted(jnp.ones(n))
        else:
            jitted(jnp.ones(n))

    # The first line has four retraces by then, and the second five: all traces but the first.
    assert len(told(call, 10)) == 1
    functrax.clear_caches()

    def first(x):
        return x

    def second(x):
        return x

    both = [functrax.jit(f) for f in (first, second)]
    assert told(lambda n: [f(jnp.ones(n)) for f in both], 5) == []


def test_the_same_function_jitted_anew_is_no_new_trace():
    def f(x):
        return x

    assert told(lambda _: functrax.jit(f)(1)) == []


def test_functions_of_the_library_do_not_warn():
    key = functrax.random.key(0)
    assert told(lambda n: functrax.random.normal(key, (n,)), 8) == []
    assert told(lambda n: jnp.linalg.norm(jnp.ones((n, n))), 8) == []


def test_the_warning_can_be_an_error_and_the_trace_is_kept():
    calls = []
    jitted = functrax.jit(lambda x: calls.append(1) or x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.RetraceWarning):
            functrax.tree.map(jitted, [jnp.ones(n) for n in range(9)])
        assert len(calls) == 6
        jitted(jnp.ones(5))
    assert len(calls) == 6


def test_the_option_turns_it_off():
    with config.scope(warn_retraces=False):
        jitted = functrax.jit(lambda x: x)
        assert told(lambda n: jitted(jnp.ones(n))) == []
    assert len(jitted.retraces()) == 6


def test_explain_cache_misses_logs_each(caplog):
    jitted = functrax.jit(lambda x: x)
    with caplog.at_level(logging.WARNING, "functrax"), functrax.explain_cache_misses(True):
        jitted(1.0), jitted(1)
    (record,) = caplog.records
    assert record.getMessage() == (
        "jit traces '<lambda>' again: argument 'x' changed in dtype from float32 to int32"
    )


def test_every_cause_has_words_and_a_cure():
    for cause, cure in retrace.CURES.items():
        assert cure.endswith(".")
        assert "None" not in str(retrace.Retrace(2, cause, "p", "a", "b", ""))


# The limit ----------------------------------------------------------------------------------------


def test_max_traces():
    @functrax.jit(max_traces=2)
    def f(x):
        return x + 1

    f(1.0), f(2.0), f(jnp.ones(3)), f(jnp.zeros(3))
    with pytest.raises(errors.TraceLimitError) as error:
        f(jnp.ones(4))
    assert place_free(error.value) == (
        "[jit] expected at most 2 traces of 'f' (max_traces); got one more: argument 'x' changed "
        "in shape from (3,) to (4,) (HERE). Pad it to one of a few sizes, so that few traces serve "
        "all calls."
    )
    assert isinstance(error.value, RuntimeError)
    assert f(1.0) == 2


def test_a_limit_in_another_function():
    f = functrax.jit(lambda x: x + 1, max_traces=1)
    g = functrax.jit(lambda x, y: f(x) + f(y).sum())
    g(jnp.float32(1), jnp.float32(2))
    with pytest.raises(errors.TraceLimitError, match="at most 1 trace of '<lambda>'"):
        g(jnp.float32(1), jnp.ones(2))


@pytest.mark.parametrize("value", [0, -1, 1.5, "two"])
def test_a_wrong_limit(value):
    with pytest.raises(errors.ArgumentError) as error:
        functrax.jit(lambda x: x, max_traces=value)
    assert place_free(error.value) == (
        f"[jit] expected max_traces as a positive int; got {value!r} of type "
        f"{type(value).__name__} (HERE)."
    )


# What it costs ------------------------------------------------------------------------------------


def test_memory_is_bounded():
    jitted = functrax.jit(lambda x, n: x, static_argnums=1)
    with config.scope(warn_retraces=False):
        for n in range(retrace._RECORDS + 20):
            jitted.eval_shape(1, n)
    assert len(jitted.retraces()) == retrace._RECORDS
    assert jitted.retraces()[-1].trace == retrace._RECORDS + 20
    leaves = functrax.jit(lambda x: 0)
    leaves([1] * 50), leaves([1.0] * 50)
    assert len(leaves.retraces()) == retrace._CHANGES


def test_nothing_of_the_user_is_kept_alive():
    class Static:
        pass

    static, array = Static(), jnp.ones(3)
    jitted = functrax.jit(lambda x, s: x, static_argnums=1)
    jitted(array, static), jitted(jnp.ones(4), static)
    function, kept = weakref.ref(jitted.function), [weakref.ref(array), weakref.ref(static)]
    records = jitted.retraces()
    del static, array, jitted
    gc.collect()
    assert function() is None
    assert [ref() for ref in kept] == [None, None]
    assert len(records) == 1


def test_threads():
    jitted = functrax.jit(lambda x: x + 1, max_traces=8)
    barrier = threading.Barrier(4)
    failed = []

    def work():
        barrier.wait()
        try:
            with config.scope(warn_retraces=False):
                for n in range(8):
                    jitted(jnp.ones(n))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(jitted.retraces()) == 7


def test_the_call_of_a_warm_program_is_untouched():
    names = functrax.jit(lambda x: x).__class__.__call__.__code__.co_names
    assert not {"_history", "max_traces", "_count"} & set(names)
