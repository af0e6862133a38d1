"""`functrax.timings`: each second counts once, for the innermost phase, in its own thread."""

import threading
import time

import pytest

import functrax
import functrax.numpy as jnp
from functrax import timings
from functrax.runtime import compile as module


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set; `clock(3)` lets three seconds pass."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    timings.reset()
    return wait


def sums():
    return timings.trace, timings.lower, timings.compile


def test_phases_inside_of_phases_count_once(clock):
    with timings.phase("trace"):
        clock(1)
        with timings.phase("trace"):  # a jitted function called in another
            clock(2)
            with timings.phase("compile"):  # a constant that is computed while tracing
                clock(4)
        clock(8)
        with timings.phase("lower"):
            clock(16)
    clock(32)
    assert sums() == (11, 16, 4)
    with timings.phase("compile"):
        clock(1)
    assert sums() == (11, 16, 5)
    assert repr(timings) == "Timings(trace=11.000, lower=16.000, compile=5.000)"
    timings.reset()
    assert sums() == (0, 0, 0)


def test_errors_inside_of_phases(clock):
    def failing():
        with timings.phase("compile"):
            clock(2)
            raise ValueError

    with timings.phase("trace"):
        clock(1)
        with pytest.raises(ValueError):
            failing()
        clock(4)
    assert sums() == (5, 0, 2)


def test_each_thread_has_its_own(clock):
    def run():
        with timings.phase("lower"):
            clock(1)
        seen.append(sums())

    seen = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert (seen, sums()) == ([(0, 1, 0)], (0, 0, 0))


def test_a_call_has_all_three():
    timings.reset()
    start = time.perf_counter()

    @functrax.jit
    def f(x):
        return jnp.sin(x) @ g(x)

    @functrax.jit
    def g(x):
        return x * jnp.cos(jnp.float32(timings.trace))  # an eager operation in a traced function

    f(jnp.arange(3.0))
    passed = time.perf_counter() - start
    first = sums()
    assert min(first) > 0
    assert sum(first) <= passed
    f(jnp.arange(3.0))
    assert sums() == first
