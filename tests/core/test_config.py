"""Options: reading, updating, scopes, threads, the trace key, the environment, and errors."""

import enum
import os
import re
import subprocess
import sys
import threading

import pytest

from functrax.core import config as module
from functrax.core.config import IGNORED, OPTIONS, REFUSED, TRACED, config, in_force
from functrax.errors import ConfigError


def message(error):
    return re.sub(r"\(test_config\.py:\d+\)", "(here)", str(error.value))


@pytest.fixture(autouse=True)
def unchanged():
    """Whatever a test does, the next one finds the options as they were."""
    before = config.values(), in_force.key
    yield
    for name, value in before[0].items():
        if getattr(config, name) != value:
            config.update(name, value)
    assert (config.values(), in_force.key) == before


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


# ---- reading and updating


def test_defaults():
    for name, option in OPTIONS.items():
        if "FUNCTRAX_" + name.upper() not in os.environ:
            assert getattr(config, name) == option.default
    assert config.values().keys() == OPTIONS.keys()
    assert "enable_x64 = False\n" in repr(config)


def test_every_row_is_complete():
    for name, option in OPTIONS.items():
        assert option.doc.endswith("."), name
        if option.default is None:
            assert option.optional, name
        else:
            kinds = option.kind if isinstance(option.kind, tuple) else ()
            assert option.default in kinds or isinstance(option.default, option.kind), name
    assert not IGNORED & OPTIONS.keys()
    assert not REFUSED.keys() & (OPTIONS.keys() | IGNORED)


def test_update_is_seen_by_all_threads():
    config.update("debug_nans", True)
    assert config.debug_nans is True
    assert in_thread(lambda: config.debug_nans) is True


def test_names_of_jax():
    config.update("jax_enable_x64", True)
    assert config.enable_x64 is config.jax_enable_x64 is True
    with config.scope(jax_enable_x64=False):
        assert config.enable_x64 is config.jax_enable_x64 is False
    config.update("jax_platform_name", "cpu")
    assert config.platforms == "cpu"


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_options_of_jax_without_a_meaning_here(name):
    before = config.values()
    config.update("jax_" + name, object())
    with config.scope(**{name: 3}):
        assert config.values() == before


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_options_of_jax_that_would_change_results(name):
    default, cure = REFUSED[name]
    config.update("jax_" + name, default)
    with pytest.raises(ConfigError) as error:
        config.update("jax_" + name, "another")
    assert message(error) == (
        f"[config.update] expected {default!r} for {name}; got 'another' (here). {cure}"
    )


def test_every_option_of_jax_is_known():
    jax = pytest.importorskip("jax")
    known = {*OPTIONS, *IGNORED, *REFUSED, "platform_name"}
    assert {name.removeprefix("jax_") for name in jax.config._value_holders} <= known


def test_reading_by_name():
    assert config.read("jax_enable_x64") is config.read("enable_x64") is False
    with config.scope(enable_x64=True):
        assert config.read("jax_enable_x64") is True
    assert config.read("jax_thread_guard") is False
    assert config.read("jax_scan3") is None
    for name in ("enable_x46", 3):
        with pytest.raises(ConfigError) as error:
            config.read(name)
        assert message(error).startswith(
            f"[config.read] expected the name of an option; got {name!r} (here)."
        )


CONVERSIONS = [
    ("enable_x64", 1, True),
    ("enable_x64", 0, False),
    ("persistent_cache_min_compile_time_secs", 2, 2.0),
    ("default_device", "cpu", "cpu"),
    ("default_device", ("a", 1), ("a", 1)),
    ("compilation_cache_dir", "", None),
    ("platforms", None, None),
    ("default_matmul_precision", "bfloat16", "bfloat16"),
    ("transfer_guard_host_to_device", None, None),
    ("numpy_dtype_promotion", enum.Enum("Mode", {"STRICT": "strict"}).STRICT, "strict"),
]


@pytest.mark.parametrize(("name", "value", "stored"), CONVERSIONS)
def test_values_are_converted(name, value, stored):
    config.update(name, value)
    assert getattr(config, name) == stored
    assert type(getattr(config, name)) is type(stored)


def test_transfer_guard_means_all_directions():
    with config.scope(transfer_guard="disallow"):
        assert config.transfer_guard_host_to_device == "disallow"
        assert config.transfer_guard_device_to_host == "disallow"
        with config.scope(transfer_guard_device_to_host="allow"):
            assert config.transfer_guard_host_to_device == "disallow"
            assert config.transfer_guard_device_to_host == "allow"
    assert config.transfer_guard_host_to_device is None


BAD_VALUES = [
    ("enable_x64", "yes", "True or False for enable_x64; got 'yes' (here). "
     "Numbers whose width nobody asked for have 64 bits, not 32."),
    ("enable_x64", 2, "True or False for enable_x64; got 2 (here). "
     "Numbers whose width nobody asked for have 64 bits, not 32."),
    ("enable_x64", None, "True or False for enable_x64; got None (here). "
     "Numbers whose width nobody asked for have 64 bits, not 32."),
    ("num_cpu_devices", 2.5, "a value of type int for num_cpu_devices; got 2.5 (here). "
     "Virtual CPU devices; -1 leaves it to XLA_FLAGS, else one."),
    ("num_cpu_devices", True, "a value of type int for num_cpu_devices; got True (here). "
     "Virtual CPU devices; -1 leaves it to XLA_FLAGS, else one."),
    ("platforms", 3, "a value of type str or None for platforms; got 3 (here). "
     "What to start, by commas; the first is default."),
    ("default_device", [], "a hashable value or None for default_device; got [] (here). "
     "Where new arrays and computations go."),
    ("numpy_rank_promotion", "warm", "one of 'allow', 'warn', 'raise' for numpy_rank_promotion; "
     "got 'warm' (here). When ranks differ and broadcast."),
    ("default_prng_impl", "rbg", "one of 'threefry2x32' for default_prng_impl; got 'rbg' (here). "
     "The generator of keys that name none."),
    ("persistent_cache_min_compile_time_secs", "1", "a value of type float for "
     "persistent_cache_min_compile_time_secs; got '1' (here). Keep only what took this long to "
     "compile."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), BAD_VALUES)
def test_values_of_another_kind(name, value, expected):
    with pytest.raises(ConfigError) as error:
        config.update(name, value)
    assert message(error) == "[config.update] expected " + expected


def test_unknown_names():
    with pytest.raises(ConfigError) as error:
        config.update("jax_enable_x46", True)
    assert message(error) == (
        "[config.update] expected the name of an option; got 'jax_enable_x46' (here). "
        "Did you mean 'enable_x64' or 'enable_checks'?"
    )
    with pytest.raises(ConfigError) as error, config.scope(qqq=1):
        pass
    assert message(error) == (
        "[config.scope] expected the name of an option; got 'qqq' (here). "
        "config.values() has all of them."
    )
    assert not hasattr(config, "enable_x46")
    assert issubclass(ConfigError, AttributeError)


def test_assignment():
    with pytest.raises(ConfigError) as error:
        config.enable_x64 = True
    assert message(error) == (
        "[config] expected an update or a scope; got an assignment to enable_x64 (here). "
        "Call config.update('enable_x64', True), or `with config.scope(enable_x64=True):`."
    )


# ---- scopes


def test_scopes_nest_and_end_with_errors():
    with module.enable_x64(True):
        with module.enable_x64(False):
            assert not config.enable_x64
        assert config.enable_x64
        with pytest.raises(KeyError), module.enable_x64(False):
            raise KeyError
        assert config.enable_x64
    assert not config.enable_x64


def test_scopes_hold_for_one_thread():
    with config.scope(enable_x64=True, debug_nans=True):
        assert in_thread(lambda: (config.enable_x64, config.debug_nans)) == (False, False)
        assert in_thread(lambda: in_force.key) is not in_force.key
    assert in_thread(lambda: in_force.key) is in_force.key


def test_a_scope_wins_over_an_update():
    with config.scope(debug_nans=False):
        config.update("debug_nans", True)
        assert not config.debug_nans
        assert in_thread(lambda: config.debug_nans)
    assert config.debug_nans


def test_scopes_as_decorators():
    @module.numpy_rank_promotion("raise")
    def rank(depth):
        return config.numpy_rank_promotion if depth == 0 else rank(depth - 1)

    assert rank(0) == rank(3) == "raise"
    assert in_thread(lambda: rank(1)) == "raise"
    assert config.numpy_rank_promotion == "allow"


def test_one_scope_object_in_many_threads():
    scope, entered, leave = config.scope(debug_infs=True), threading.Event(), threading.Event()

    def other():
        with scope:
            entered.set()
            leave.wait()
            return config.debug_infs

    results = []
    thread = threading.Thread(target=lambda: results.append(other()))
    thread.start()
    entered.wait()
    with scope:
        assert config.debug_infs
    assert not config.debug_infs
    leave.set()
    thread.join()
    assert results == [True]


def test_scopes_that_end_out_of_order():
    def suspended():
        with config.scope(debug_nans=True):
            yield

    generator = suspended()
    next(generator)
    with config.scope(enable_x64=True):
        generator.close()
        assert (config.enable_x64, config.debug_nans) == (True, False)
    assert (config.enable_x64, config.debug_nans) == (False, False)


@pytest.mark.parametrize(
    "name", [name for name, value in vars(module).items() if isinstance(value, module.ScopedOption)]
)
def test_every_scoped_option(name):
    scoped = getattr(module, name)
    option = OPTIONS[scoped.__name__]
    assert scoped.__doc__.startswith(option.doc)
    value = (
        True
        if option.kind is bool
        else option.kind[-1]
        if option.kind not in (str, object)
        else "cpu"
    )
    with scoped(value):
        assert getattr(config, scoped.__name__) == value


def test_switches_default_to_on():
    with module.debug_nans():
        assert config.debug_nans
    assert module.checking_leaks is module.check_tracer_leaks


def test_what_one_thread_cannot_change():
    with pytest.raises(ConfigError) as error:
        config.scope(num_cpu_devices=4)
    assert message(error) == (
        "[config.scope] expected an option that one thread can change; got num_cpu_devices (here). "
        "Call config.update('num_cpu_devices', ...) before the first computation."
    )


# ---- the trace key


def test_equal_settings_have_one_key():
    before = config.trace_key()
    with config.scope(enable_x64=True, debug_nans=True):
        key = config.trace_key()
        assert key is in_force.key
    with config.scope(debug_nans=True), config.scope(enable_x64=True):
        assert config.trace_key() is key
        assert in_thread(lambda: config.trace_key()) is before
    assert config.trace_key() is before
    config.update("enable_x64", True)
    config.update("debug_nans", True)
    assert config.trace_key() is key
    assert in_thread(lambda: config.trace_key()) is key


@pytest.mark.parametrize("name", [n for n in TRACED if OPTIONS[n].kind != ("threefry2x32",)])
def test_traced_options_change_the_key(name):
    option = OPTIONS[name]
    if isinstance(option.kind, tuple):
        value = option.kind[-1]
    else:
        value = {bool: not option.default, int: 7, object: "gpu"}[option.kind]
    before = config.trace_key()
    with config.scope(**{name: value}):
        assert config.trace_key() is not before
        assert repr(config.trace_key()) == f"TraceKey({name}={value!r})"
    assert config.trace_key() is before


def test_other_options_leave_the_key():
    before = config.trace_key()
    with config.scope(log_compiles=True, check_tracer_leaks=True):
        assert config.trace_key() is before


def test_an_update_renews_the_keys_of_threads_in_scopes():
    ready, go, keys = threading.Event(), threading.Event(), []

    def other():
        with config.scope(enable_x64=True):
            keys.append(config.trace_key())
            ready.set()
            go.wait()
            keys.append(config.trace_key())

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    config.update("debug_nans", True)
    go.set()
    thread.join()
    assert [repr(key) for key in keys] == [
        "TraceKey(enable_x64=True)",
        "TraceKey(enable_x64=True, debug_nans=True)",
    ]
    assert not module._scoped_threads


# ---- checks before an update


def test_checks_may_refuse(monkeypatch):
    monkeypatch.setattr(module, "_checks", {})
    seen = []

    def check(value):
        seen.append(value)
        if value == 3:
            raise ConfigError(
                "config.update", "an update before the CPU client starts", "one after"
            )

    config.on_update("num_cpu_devices", check)
    config.update("jax_num_cpu_devices", 2)
    with pytest.raises(ConfigError) as error:
        config.update("num_cpu_devices", 3)
    assert message(error) == (
        "[config.update] expected an update before the CPU client starts; got one after (here)."
    )
    assert (seen, config.num_cpu_devices) == ([2, 3], 2)
    with pytest.raises(ConfigError):
        config.on_update("cpu_devices", check)


def test_checks_look_at_scopes_and_implied_options_too(monkeypatch):
    monkeypatch.setattr(module, "_checks", {})
    seen = []
    config.on_update("transfer_guard_host_to_device", seen.append)
    config.update("transfer_guard", "log")
    with config.scope(transfer_guard="allow"):
        pass
    config.update("transfer_guard", None)
    assert seen == ["log", "allow", None]


# ---- the environment


def read(expression, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FUNCTRAX_", "JAX_"))}
    code = f"from functrax.core.config import config; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_variables_are_read():
    result = read(
        "config.enable_x64, config.num_cpu_devices, config.platforms, config.debug_nans,"
        "config.persistent_cache_min_compile_time_secs, config.numpy_rank_promotion,"
        "config.compilation_cache_dir, config.trace_key()",
        FUNCTRAX_ENABLE_X64="True",
        FUNCTRAX_NUM_CPU_DEVICES=" 8 ",
        FUNCTRAX_PLATFORMS="cuda,cpu",
        FUNCTRAX_DEBUG_NANS="off",
        FUNCTRAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="1e-3",
        FUNCTRAX_NUMPY_RANK_PROMOTION="raise",
        FUNCTRAX_COMPILATION_CACHE_DIR="none",
        JAX_DEBUG_INFS="1",
        FUNCTRAX_DISABLE_JIT="",  # as if it were not set
    )
    assert result.stdout == (
        "True 8 cuda,cpu False 0.001 raise None "
        "TraceKey(enable_x64=True, numpy_rank_promotion='raise')\n"
    )


BAD_VARIABLES = [
    ("FUNCTRAX_ENABLE_X64", "maybe", "True or False", "'maybe'",
     "Numbers whose width nobody asked for have 64 bits, not 32."),
    ("FUNCTRAX_NUM_CPU_DEVICES", "8.5", "a value of type int", "'8.5'",
     "Virtual CPU devices; -1 leaves it to XLA_FLAGS, else one."),
    ("FUNCTRAX_NUMPY_DTYPE_PROMOTION", "lax", "one of 'standard', 'strict'", "'lax'",
     "Promote mixed dtypes, or refuse to."),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "text", "expected", "shown", "doc"), BAD_VARIABLES)
def test_bad_variables_are_named(variable, text, expected, shown, doc):
    result = read("0", **{variable: text})
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"functrax.errors.ConfigError: [import functrax] expected {expected} in the environment "
        f"variable {variable}; got {shown}. Correct or unset it. {doc}"
    )
