"""Eight threads trace, compile and call at once, each with options of its own.

``FUNCTRAX_TEST_SECONDS=60`` makes them go on for a minute.
"""

import itertools
import os
import threading
import time

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import config, errors, random
from functrax.core.trace import state

SECONDS = float(os.environ.get("FUNCTRAX_TEST_SECONDS", "4"))
THREADS = 8


@functrax.jit
def shared(x, w):
    """A function that every thread calls, at the same types and at others."""
    return jnp.tanh(x @ w).sum(axis=0) * 2.0


@functrax.custom_vjp
def clipped(x):
    return x * x


clipped.defvjp(lambda x: (x * x, x), lambda x, t: (jnp.clip(2 * x * t, -1.0, 1.0),))


def settings(index):
    """Return the options of one thread; most have none."""
    return [
        {},
        {"enable_x64": True},
        {"default_device": functrax.devices()[3]},
        {"default_matmul_precision": "highest"},
        {"disable_jit": True},
        {"enable_checks": True},
        {"check_tracer_leaks": True},
        {},
    ][index]


class Worker(threading.Thread):
    """One thread, which keeps what went wrong in it."""

    def __init__(self, index, start, stop):
        super().__init__(name=f"worker {index}")
        self.index = index
        self.begin = start
        self.stop = stop
        self.rounds = 0
        self.error = None
        self.options = settings(index)
        self.rng = np.random.default_rng(index)
        self.float = np.dtype("float64" if "enable_x64" in self.options else "float32")
        self.tolerance = 1e-12 if self.float == np.float64 else 1e-5

    def run(self):
        try:
            self.begin.wait()
            with config.scope(**self.options):
                for self.rounds in itertools.count(1):
                    for check in CHECKS:
                        check(self)
                        self.unchanged()
                    if time.monotonic() > self.stop:
                        return
        except BaseException as error:
            self.error = error

    def unchanged(self):
        """Check that no other thread's options or traces are felt here."""
        for name, value in self.options.items():
            assert getattr(config, name) == value
        assert config.enable_x64 is ("enable_x64" in self.options)
        assert config.disable_jit is ("disable_jit" in self.options)
        assert state.trace is None

    def close(self, result, expected):
        assert (result.dtype, result.shape) == (self.float, np.shape(expected))
        assert result.device is self.options.get("default_device", functrax.devices()[0])
        np.testing.assert_allclose(result, expected, self.tolerance, self.tolerance)

    def draw(self, *shape):
        return self.rng.standard_normal(shape)


def calls_a_shared_function(worker):
    rows = int(worker.rng.integers(1, 9))
    x, w = worker.draw(rows, 4), worker.draw(4, 3)
    expected = np.tanh(x @ w).sum(axis=0) * 2
    worker.close(shared(x, w), expected)
    worker.close(shared(jnp.asarray(x), jnp.asarray(w)), expected)


def compiles_a_function_of_its_own(worker):
    """Each round is a new function, whose constant is nobody else's."""
    number = worker.index * 1000.0 + worker.rounds

    @functrax.jit
    def own(x):
        return x * number + shared(jnp.ones((2, 4)), jnp.zeros((4, 3)))

    x = worker.draw(3)
    for _ in range(3):
        worker.close(own(x), x * number)


def differentiates(worker):
    x = worker.draw(5)
    worker.close(functrax.grad(lambda a: jnp.sum(jnp.sin(a) ** 2))(x), np.sin(2 * x))
    worker.close(functrax.grad(lambda a: jnp.sum(clipped(a)))(x), np.clip(2 * x, -1, 1))
    hessian = functrax.jit(functrax.hessian(lambda a: jnp.sum(a**3)))(x)
    worker.close(hessian, np.diag(6 * x))


def vectorizes(worker):
    x, y = worker.draw(4, 3), worker.draw(3)
    mapped = functrax.vmap(functrax.grad(lambda a, b: jnp.dot(a, b) ** 2), in_axes=(0, None))
    expected = 2 * (x @ y)[:, None] * y
    worker.close(mapped(x, y), expected)
    worker.close(functrax.jit(mapped)(x, y), expected)


def reads_a_program(worker):
    """The program that is printed is that of this thread's options."""
    program = str(functrax.make_jaxpr(lambda a: jnp.sin(a) + 1)(worker.draw(2)))
    short = "f64" if worker.float == np.float64 else "f32"
    other = "f32" if worker.float == np.float64 else "f64"
    assert f"{short}[2]" in program
    assert other not in program


def draws_random_numbers(worker):
    seed = int(worker.rng.integers(4))
    drawn = random.bits(random.key(seed), (4,), "uint32")
    assert drawn.tolist() == BITS[seed]


def indexes(worker):
    x = worker.draw(6, 3)
    rows = worker.rng.integers(0, 6, 4)
    worker.close(jnp.asarray(x)[rows, 1:], x[rows, 1:])
    expected = x.copy()
    expected[2] += 1
    worker.close(jnp.asarray(x).at[2].add(1), expected)


def fails_inside_of_transforms(worker):
    """An error leaves no trace behind, here or in another thread."""
    mark = f"worker {worker.index}, round {worker.rounds}"

    def broken(x):
        raise ValueError(mark)

    for call in (functrax.jit(broken), functrax.grad(broken), functrax.vmap(broken)):
        with pytest.raises(ValueError) as caught:
            call(jnp.ones(3))
        assert str(caught.value) == mark
    if not config.disable_jit:
        with pytest.raises(errors.TracerBoolError):
            functrax.jit(lambda x: 1 if x > 0 else 2)(1.0)


def donates(worker):
    x = jnp.asarray(worker.draw(8))
    before = np.array(x)
    result = functrax.jit(lambda a: a + 1, donate_argnums=0)(x)
    worker.close(result, before + 1)
    assert x.is_deleted() is not config.disable_jit


def forgets(worker):
    """One thread empties the caches under the feet of the others."""
    if worker.index == 7 and worker.rounds % 5 == 0:
        functrax.clear_caches()


CHECKS = [
    calls_a_shared_function,
    compiles_a_function_of_its_own,
    differentiates,
    vectorizes,
    reads_a_program,
    draws_random_numbers,
    indexes,
    fails_inside_of_transforms,
    donates,
    forgets,
]
BITS = {seed: random.bits(random.key(seed), (4,), "uint32").tolist() for seed in range(4)}


def test_threads_do_not_feel_each_other():
    start = threading.Barrier(THREADS)
    stop = time.monotonic() + SECONDS
    workers = [Worker(index, start, stop) for index in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(SECONDS + 120)
        assert not worker.is_alive(), f"{worker.name} hangs in round {worker.rounds}"
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    assert min(worker.rounds for worker in workers) > 0
    assert config.trace_key() is functrax.config.trace_key()


def test_an_update_reaches_all_threads_and_a_scope_only_its_own():
    seen = {}
    inside, leave = threading.Event(), threading.Event()

    def other():
        with functrax.enable_x64(True):
            inside.set()
            leave.wait(60)
            seen["scoped"] = jnp.ones(2).dtype.name, config.log_compiles

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    assert jnp.ones(2).dtype.name == "float32"
    old = config.log_compiles
    config.update("log_compiles", not old)
    try:
        leave.set()
        thread.join(60)
    finally:
        config.update("log_compiles", old)
    assert seen == {"scoped": ("float64", not old)}


def test_a_tracer_of_another_thread():
    """A traced value that another thread gets hold of is an error there, not a wrong number."""
    caught = []

    def f(x):
        def use():
            try:
                caught.append(x + 1)
            except errors.FunctraxError as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join(60)
        return x * 2

    assert functrax.jit(f)(3.0).item() == 6.0
    assert isinstance(caught[0], errors.LeakedTracerError)


def test_one_function_is_first_called_by_all_threads_at_once():
    traces = []
    start = threading.Barrier(THREADS)

    @functrax.jit
    def f(x):
        traces.append(threading.get_ident())
        time.sleep(0.05)
        return jnp.sin(x) * 3

    results = [None] * THREADS

    def call(index):
        start.wait()
        results[index] = f(jnp.arange(4) + index)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for index, result in enumerate(results):
        np.testing.assert_allclose(result, np.sin(np.arange(4) + index) * 3, 1e-6, 1e-6)
    count = len(traces)
    assert f(jnp.arange(4)).tolist() == results[0].tolist()
    assert len(traces) == count
