"""Calls of Python functions from inside of programs, in every transform."""

import bdb
import gc
import io
import os
import subprocess
import sys
import threading
import weakref
from functools import partial

import jax
import numpy as np
import pytest
from jax.experimental import io_callback as jax_io_callback

import functrax
import functrax.numpy as jnp
from functrax import debug, errors, lax, pure_callback
from functrax.experimental import io_callback

X = np.arange(4, dtype=np.float32)
METHODS = ["sequential", "sequential_unrolled", "expand_dims", "broadcast_all"]


def sine(x, method="expand_dims"):
    return pure_callback(np.sin, x, x, vmap_method=method)


# pure_callback ------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [functrax.jit, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint32", "int64", "bfloat16", "float16", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_arrays_of_every_kind_go_in_and_out(jit, dtype, shape):
    x = jnp.ones(shape, dtype)
    seen = []

    def function(value):
        seen.append((type(value), value.shape, value.dtype, value.flags.writeable))
        return value

    result = jit(lambda x: pure_callback(function, x, x))(x)
    assert (result.shape, result.dtype, result.weak_type) == (shape, dtype, False)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(x))
    if x.size or jit is not functrax.jit:  # XLA knows what has no elements
        assert seen == [(np.ndarray, shape, x.dtype, False)]


def test_pytrees_and_keywords():
    def function(pair, *, scale):
        return {"sum": pair["a"] + pair["b"], "scaled": (pair["a"] * scale,)}

    def f(pair, scale):
        like = {"sum": pair["a"], "scaled": (pair["a"],)}
        return pure_callback(function, like, pair, scale=scale)

    pair = {"a": jnp.asarray(X), "b": jnp.ones(4)}
    for run in (f, functrax.jit(f)):
        result = run(pair, jnp.float32(3))
        np.testing.assert_array_equal(result["sum"], X + 1)
        np.testing.assert_array_equal(result["scaled"][0], 3 * X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 1), ((0), 1)])
def test_vmap_as_jax(method, axes):
    a = X if axes[0] is None else np.stack([X, X + 1, X + 2])
    b = X if axes[1] is None else np.stack([X] * 3, axis=axes[1]) * 2
    shapes = {"ours": [], "theirs": []}

    def f(lib, kind, a, b):
        def function(a, b):
            shapes[kind].append((a.shape, b.shape))
            return np.asarray(a) + np.asarray(b), np.asarray(a) * np.asarray(b)

        return lib.pure_callback(function, (a, a), a, b, vmap_method=method)

    ours = functrax.vmap(partial(f, functrax, "ours"), axes)(a, b)
    theirs = jax.vmap(partial(f, jax, "theirs"), axes)(a, b)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert shapes["ours"] == shapes["theirs"]
    jitted = functrax.jit(functrax.vmap(partial(f, functrax, "ours"), axes))(a, b)
    for one, other in zip(jitted, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_of_vmap_and_of_nothing(method):
    f = partial(sine, method=method)
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(functrax.vmap(functrax.vmap(f))(table), np.sin(table))
    assert functrax.vmap(f)(jnp.zeros((0, 3))).shape == (0, 3)


def test_derivatives_are_those_of_a_custom_rule():
    @functrax.custom_jvp
    def f(x):
        return sine(x)

    f.defjvp(lambda primals, tangents: (f(*primals), jnp.cos(primals[0]) * tangents[0]))
    np.testing.assert_allclose(
        functrax.jit(functrax.vmap(functrax.grad(lambda x: f(x) * 2)))(X), 2 * np.cos(X), rtol=1e-6
    )
    # Without one there is none; where nothing is differentiated, none is needed.
    with pytest.raises(errors.MissingRuleError, match="custom_jvp"):
        functrax.grad(sine)(1.0)
    assert functrax.grad(lambda x: x * sine(lax.stop_gradient(x)))(1.0) == np.sin(np.float32(1))


@pytest.mark.parametrize(
    "program",
    [
        lambda x: lax.scan(lambda c, y: (sine(c + y), c), jnp.float32(0), x),
        lambda x: lax.cond(x[1] > 0, sine, lambda y: y, x),
        lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, sine(c[1])), (0, x)),
        lambda x: functrax.checkpoint(sine)(x),
        lambda x: functrax.vmap(lambda y: lax.cond(y > 1, sine, lambda z: z, y))(x),
        lambda x: lax.map(sine, x),
    ],
    ids=["scan", "cond", "while", "checkpoint", "vmap of cond", "map"],
)
def test_inside_of_control_flow(program):
    def plain(x):
        return jnp.sin(x)

    expected = functrax.jit(program)(X)
    module = sys.modules[__name__]
    saved, module.sine = module.sine, plain
    try:
        wanted = functrax.jit(lambda x: program(x))(X)
    finally:
        module.sine = saved
    for one, other in zip(*map(functrax.tree.leaves, (expected, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_nobody_uses_is_not_called():
    calls = []

    def f(x):
        pure_callback(lambda v: calls.append(1) or v, x, x)
        return x

    functrax.jit(f)(1.0)
    assert calls == []


# Wrong results and exceptions ---------------------------------------------------------------------


@pytest.mark.parametrize("jit", [functrax.jit, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (lambda x: x[:2], errors.ShapeError, "result of shape (4,); got shape (2,)"),
        (lambda x: x.astype("f8"), errors.DtypeError, "result of dtype float32; got dtype float64"),
        (lambda x: (x, x), errors.TreeError, "return the structure PyTreeDef(*); got PyTreeDef"),
        (lambda x: None, errors.TreeError, "return the structure PyTreeDef(*); got PyTreeDef(None"),
    ],
    ids=["shape", "dtype", "two", "none"],
)
def test_wrong_results(jit, function, kind, text):
    calls = []

    def counted(x):
        calls.append(1)
        return function(x)

    f = jit(lambda x: pure_callback(counted, x, x))
    for count in (1, 2):  # the second call goes another way
        with pytest.raises(kind, match=r"\[pure_callback\]") as caught:
            functrax.block_until_ready(f(X))
        assert text in str(caught.value)
        assert len(calls) == count


@pytest.mark.parametrize(
    ("number", "dtype", "value"),
    [
        (1.5, "float16", 1.5),
        (7, "float32", 7.0),
        (True, "int4", 1),
        (-3.0, "int32", -3),
        (1j, "complex64", 1j),
        (float("nan"), "bfloat16", np.nan),
        (0.1, "bfloat16", 0.10009765625),
        (2.5, "int32", None),
        (np.float64(2.5), "int4", None),
        (float("nan"), "int32", None),
        (300, "int8", None),
        (2, "bool", None),
        (1j, "float32", None),
        (1j, "uint8", None),
    ],
)
def test_numbers_without_a_dtype(number, dtype, value):
    """Only floats may round them."""
    result = functrax.ShapeDtypeStruct((), dtype)
    f = functrax.jit(lambda: functrax.pure_callback(lambda: number, result))
    if value is not None:
        found = f()
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.asarray(found).astype(complex), value)
        return
    with pytest.raises(errors.DtypeError) as caught:
        f()
    assert caught.value.expected == f"a host function's result of dtype {dtype}"
    assert caught.value.got == repr(number)
    assert caught.value.fix == "Return a number that this dtype holds."


class _MyError(Exception):
    pass


@pytest.mark.parametrize(
    "call",
    [
        lambda function, x: pure_callback(function, x, x),
        lambda function, x: io_callback(function, x, x),
        lambda function, x: io_callback(function, x, x, ordered=True),
        lambda function, x: debug.callback(function, x),
        lambda function, x: debug.callback(function, x, ordered=True),
        lambda function, x: lax.map(lambda y: pure_callback(function, y, y), x),
    ],
)
@pytest.mark.parametrize("jit", [functrax.jit, lambda f: f], ids=["jit", "eager"])
def test_the_very_exception_comes_with_both_tracebacks(call, jit):
    def raises(x):
        raise _MyError("mine")

    with pytest.raises(_MyError, match="mine") as caught:
        jit(lambda x: call(raises, x))(X)
    names = [entry.name for entry in caught.traceback]
    assert names[0] == "test_the_very_exception_comes_with_both_tracebacks"
    assert names[-1] == "raises"
    # and the next call works
    assert functrax.jit(sine)(jnp.asarray(X)).shape == (4,)


# Effects ------------------------------------------------------------------------------------------


def test_io_calls_happen_used_or_not_and_once():
    calls = []

    @functrax.jit
    def f(x):
        io_callback(lambda v: calls.append(float(v)), None, x)
        io_callback(lambda v: calls.append(float(v)), None, x)
        return x + 1

    for _ in range(3):
        f(1.0)
    assert calls == [1.0] * 6


def _appending(log, name):
    return lambda *values: log.append((name, *(float(v) for v in values)))


@pytest.mark.parametrize("kind", ["io", "debug"])
def test_ordered_calls_keep_their_order(kind):
    def say(log, name, *values):
        if kind == "io":
            io_callback(_appending(log, name), None, *values, ordered=True)
        else:
            debug.callback(_appending(log, name), *values, ordered=True)

    def program(log, x):
        say(log, "start", x)

        def step(carry, i):
            say(log, "step", i, carry)
            carry = lax.cond(
                i % 2 == 0,
                lambda c: (say(log, "even", c), c + 1)[1],
                lambda c: c * 2,
                carry,
            )
            return carry, functrax.jit(lambda c: (say(log, "inner", c), c)[1])(carry)

        x, _ = lax.scan(step, x, jnp.arange(4.0))
        x = lax.while_loop(lambda c: c < 20, lambda c: (say(log, "while", c), c * 2)[1], x)
        say(log, "end")
        return functrax.checkpoint(lambda c: (say(log, "saved", c), c)[1])(x)

    jitted, plain = [], []
    result = functrax.jit(partial(program, jitted))(1.0)
    with functrax.disable_jit():
        wanted = program(plain, jnp.float32(1.0))
    assert float(result) == float(wanted)
    assert jitted == plain
    assert [name for name, *_ in jitted][:4] == ["start", "step", "even", "inner"]


def test_ordered_calls_with_results_and_reverse_unrolled_scans():
    counter = iter(range(100))

    def step(carry, _):
        number = io_callback(lambda: np.int32(next(counter)), jnp.int32(0), ordered=True)
        return carry + number, number

    @functrax.jit
    def f(x):
        return lax.scan(step, x, None, length=5, unroll=2, reverse=True)

    total, numbers = f(jnp.int32(0))
    assert (int(total), numbers.tolist()) == (10, [4, 3, 2, 1, 0])
    assert f(jnp.int32(0))[1].tolist() == [9, 8, 7, 6, 5]


def test_lanes_are_called_one_by_one():
    seen = []
    f = lambda x, y: io_callback(lambda a, b: seen.append((int(a), int(b))), None, x, y)  # noqa: E731
    functrax.vmap(f, (0, None))(jnp.arange(3), 7)
    functrax.jit(functrax.vmap(f))(jnp.arange(2), jnp.arange(2))
    assert seen == [(0, 7), (1, 7), (2, 7), (0, 0), (1, 1)]
    numbers = functrax.vmap(lambda x: io_callback(lambda v: v * 2, x, x))(jnp.arange(3))
    np.testing.assert_array_equal(
        numbers, jax.vmap(lambda x: jax_io_callback(lambda v: v * 2, x, x))(jax.numpy.arange(3))
    )


@pytest.mark.parametrize(
    "transform",
    [
        functrax.grad,
        lambda f: functrax.jit(functrax.grad(f)),
        lambda f: functrax.grad(functrax.jit(f)),
        lambda f: lambda x: functrax.jvp(f, (x,), (1.0,))[1],
        lambda f: lambda x: functrax.linearize(f, x)[1](1.0),
        functrax.jacrev,
    ],
)
def test_debug_calls_see_primals_once_and_change_nothing(transform):
    seen = []

    def f(x):
        y = jnp.sin(x)
        debug.callback(lambda v: seen.append(float(v)), y)
        return y * x

    expected = np.sin(2) + 2 * np.cos(2)
    np.testing.assert_allclose(transform(f)(2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(seen, [np.sin(2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("program", "times"),
    [
        (functrax.checkpoint, 1),
        (lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0], 3),
        (lambda f: lambda x: lax.while_loop(lambda c: c < 0.99, f, x), None),
    ],
    ids=["checkpoint", "scan", "while"],
)
def test_what_is_computed_again_is_not_said_again(program, times):
    def counting(log):
        def f(x):
            debug.callback(lambda v: log.append(float(v)), x)
            return jnp.sqrt(x)

        return program(f)

    forward, both = [], []
    counting(forward)(0.5)
    functrax.jit(functrax.grad(counting(both)))(0.5)
    assert both == forward
    assert times is None or len(both) == times


def test_io_in_what_is_computed_again_is_refused():
    def f(x, policy=None):
        read = lambda x: io_callback(np.cos, x, lax.stop_gradient(x))  # noqa: E731
        return functrax.grad(functrax.checkpoint(lambda x: jnp.sin(x * read(x)), policy=policy))(x)

    with pytest.raises(errors.ArgumentError) as caught:
        functrax.jit(f)(1.0)
    message = "[checkpoint] expected no io_callback in what is computed again for derivatives; got "
    assert str(caught.value).startswith(message)
    kept = functrax.jit(lambda x: f(x, functrax.checkpoint_policies.everything_saveable))(1.0)
    np.testing.assert_allclose(kept, np.cos(np.cos(1)) * np.cos(1), rtol=1e-6)


# Functrax inside, threads, and processes ----------------------------------------------------------


def test_functrax_inside_of_callbacks():
    inner = functrax.jit(lambda a: a @ a / 100)

    def compute(a):
        return np.asarray(functrax.jit(lambda z: inner(z) + functrax.grad(jnp.sum)(z))(a))

    outer = functrax.jit(lambda x: pure_callback(compute, x, x) @ x)
    x = jnp.full((100, 100), 0.1)
    expected = outer(x)
    # More than XLA lets be under way at once, each waiting for the one before.
    y = x
    for _ in range(40):
        y = outer(y) * 0 + x
    np.testing.assert_array_equal(outer(y), expected)
    failures = []

    def work():
        for _ in range(3):
            if not np.array_equal(outer(x), expected):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_compiling_in_threads_of_xla(monkeypatch):
    """Callbacks run in XLA's threads, whose Python state ends with each of them."""
    lines = [
        "import functrax, functrax.numpy as jnp, numpy as np",
        "def fresh(a):",
        "    return np.asarray(functrax.jit(lambda z: z + 1)(a))",
        "f = functrax.jit(lambda x: functrax.pure_callback(fresh, x, x) @ x)",
        "y = jnp.ones((400, 400))",
        "for _ in range(30):",
        "    y = f(y)",
        "    y = y / y.max()",
        "print(float(y[0, 0]))",
    ]
    environment = {**os.environ, "FUNCTRAX_ENABLE_COMPILATION_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr[-2000:]


def test_a_second_process_loads_the_program_and_calls_its_own_function(tmp_path):
    line = (
        "import functrax, numpy as np, sys;"
        "f = functrax.jit(lambda x: functrax.pure_callback(lambda v: v * int(sys.argv[1]), x, x));"
        "print(float(f(np.float32(2)))); from functrax.runtime import cache; print(cache.summary().hits)"
    )
    environment = {**os.environ, "FUNCTRAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    said = [
        subprocess.run(
            [sys.executable, "-c", line, factor],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.split()
        for factor in ("3", "5")
    ]
    assert said == [["6.0", "0"], ["10.0", "1"]]


# debug.print and debug.breakpoint -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: debug.print("{}", x), "[1. 2.]\n"),
        (lambda x: debug.print("{x[0]:.3f} {n}", x=x, n="text"), "1.000 text\n"),
        (
            lambda x: debug.print("{t[a]} {1}", x, 3, t={"a": x[1]}, skip_format_check=True),
            "2.0 3\n",
        ),
        (lambda x: debug.print("hi {{}}"), "hi {}\n"),
        (lambda x: debug.print()("{}", x[0]), "1.0\n"),
        (lambda x: debug.print("{}", functrax.random.key(3)), "[0 3]\n"),
        (lambda x: debug.callback()(lambda y: print(y), x[0]), "1.0\n"),
        (lambda x: debug.print("{}", (x[0], None, "s")), "(1.0, None, 's')\n"),
    ],
)
def test_print(call, text, capfd):
    for run in (functrax.jit(call), call):
        run(jnp.array([1.0, 2.0]))
        out = capfd.readouterr().out.replace("array(1., dtype=float32)", "1.0")
        assert out == text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: debug.print("x", 1.0),
            "[debug.print] expected a format that uses every argument; got one that leaves out 0",
        ),
        (
            lambda: debug.print("{} {y}", 1.0, y=2, z=3),
            "[debug.print] expected a format that uses every argument; got one that leaves out 'z'",
        ),
        (
            lambda: debug.print("{} {}", 1.0),
            "[debug.print] expected an argument for each field of the format; got '{} {}' with 1 "
            "arguments and the names []",
        ),
        (
            lambda: debug.print(jnp.ones(2)),
            "[debug.print] expected a format string first; got Array([1., 1.], dtype=float32)",
        ),
        (
            lambda: functrax.vmap(lambda x: debug.print("{}", x, ordered=True))(X),
            "[vmap] expected debug.callback without `ordered=True`: lanes have no order; got one "
            "of 'print_values'",
        ),
        (
            lambda: functrax.vmap(lambda x: pure_callback(np.sin, x, x))(X),
            "[vmap] expected pure_callback of 'sin' to say how it is mapped; got vmap_method=None",
        ),
        (
            lambda: pure_callback(np.sin, X, X, vmap_method="loop"),
            "[pure_callback] expected vmap_method as None or one of 'sequential', "
            "'sequential_unrolled', 'expand_dims', 'broadcast_all'; got 'loop'",
        ),
        (
            lambda: pure_callback(np.sin, X, "text"),
            "[pure_callback] expected argument[0][0] of 'sin' to be an array; got 'text' of type str",
        ),
        (
            lambda: io_callback(np.sin, X, functrax.random.key(0)),
            "[io_callback] expected arrays of numbers; got key<fry>[]",
        ),
        (
            lambda: functrax.jit(
                lambda x: lax.while_loop(
                    lambda c: (debug.print("{}", c, ordered=True), c < 3)[1], lambda c: c + 1, x
                )
            )(0),
            "[while_loop] expected ordered effects in the body, not in the condition; got one in "
            "'<lambda>'",
        ),
        (
            lambda: debug.breakpoint(backend="web"),
            "[debug.breakpoint] expected backend='cli', and no token; got 'web'",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "test_callbacks.py:" in str(caught.value)


def test_breakpoint():
    commands = io.StringIO("p x\npp table\ny * 10\nnothing\nu\np outer\nbt\nd\nl\na\nc\n")
    said = io.StringIO()

    @functrax.jit
    def f(x):
        table = {"name": "text", "value": x + 1}
        y = x * 2
        debug.breakpoint(stdin=commands, stdout=said)
        return y + table["value"]

    def caller(outer):
        return f(outer[1])

    assert float(caller([7, 3.0])) == 10.0
    text = said.getvalue()
    assert "-> " in text
    assert "array(3., dtype=float32)" in text
    assert "'name': 'text'" in text
    assert "np.float32(60.0)" in text or "60.0" in text
    assert "*** NameError" in text
    assert "[7, 3.0]" in text
    assert "caller()" in text


def test_quitting_a_breakpoint():
    @functrax.jit
    def f(x):
        debug.breakpoint(stdin=io.StringIO("q\n"), stdout=io.StringIO())
        return x

    with pytest.raises(bdb.BdbQuit):
        f(1.0)


# What programs look like --------------------------------------------------------------------------


def test_effects_of_programs():
    def f(x):
        io_callback(lambda v: None, None, x)
        return functrax.jit(lambda y: (debug.print("{}", y, ordered=True), y)[1])(x)

    jaxpr = functrax.make_jaxpr(f)(1.0).jaxpr
    assert "debug_callback" in str(jaxpr)
    assert jaxpr.effects == {"io", "debug", "ordered"}
    assert functrax.make_jaxpr(sine)(1.0).jaxpr.effects == frozenset()


class _Big:
    pass


def test_callbacks_keep_nothing_alive():
    def run():
        big = _Big()
        f = lambda x: pure_callback(lambda v: (big, v)[1], x, x)  # noqa: E731
        functrax.jit(f)(1.0)
        f(1.0)
        return weakref.ref(big)

    reference = run()
    gc.collect()
    assert reference() is None
