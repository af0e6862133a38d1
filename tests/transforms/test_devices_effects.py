"""Calls of Python functions from programs over several devices: who calls, how often, in order."""

import re

import numpy as np
import pytest

import functrax
from functrax import errors, lax
from functrax.experimental import io_callback
from functrax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")[:8]
LINE = Mesh(DEVICES, "i")
GRID = Mesh(np.array(DEVICES).reshape(2, 4), ("a", "b"))
A = np.arange(64, dtype=np.float32).reshape(8, 8)


def on(*spec):
    return NamedSharding(GRID, P(*spec))


def over(f, in_specs, out_specs, mesh=LINE, **options):
    return functrax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **options)


def seen(x, log, **options):
    functrax.debug.callback(log.append, x, **options)
    return x


class Log(list):
    """A list that is a static argument."""

    __hash__ = object.__hash__


def doubled(log):
    def f(x):
        log.append(x.shape)
        return np.asarray(x * 2)

    return f


#: name -> (program of a log, shapes of what the calls were given)
CALLS = {
    "jit": (lambda log: functrax.jit(lambda x: seen(x, log))(functrax.device_put(A, on("a"))), [(8, 8)]),
    "jit, ordered": (
        lambda log: functrax.jit(lambda x: seen(x, log, ordered=True))(functrax.device_put(A, on("a"))),
        [(8, 8)],
    ),
    "vmap": (lambda log: functrax.vmap(lambda x: seen(x, log))(functrax.device_put(A, on("a"))), [(8,)] * 8),
    "shard_map": (
        lambda log: over(lambda x: seen(x, log), P("a", "b"), P("a", "b"), GRID)(A),
        [(4, 2)] * 8,
    ),
    "shard_map, ordered": (
        lambda log: over(lambda x: seen(x, log, ordered=True), P("i"), P("i"))(A),
        [(1, 8)] * 8,
    ),
    "shard_map, replicated": (lambda log: over(lambda x: seen(x, log), P(), P())(A), [(8, 8)] * 8),
    "shard_map in jit, of positions": (
        lambda log: functrax.jit(over(lambda: (seen(lax.axis_index("i"), log), ())[1], (), P()))(),
        [()] * 8,
    ),
    "shard_map, scan": (
        lambda log: over(
            lambda x: lax.scan(lambda c, a: (seen(c + a, log, ordered=True), None), x[0] * 0, x)[0][None],
            P("i"),
            P("i"),
        )(A[:, :2].reshape(16)),
        [()] * 16,
    ),
    "pmap": (lambda log: functrax.pmap(lambda x: seen(x, log))(A), [(8,)] * 8),
    "pmap, ordered": (lambda log: functrax.pmap(lambda x: seen(x, log, ordered=True))(A), [(8,)] * 8),
    "pmap of vmap": (lambda log: functrax.pmap(functrax.vmap(lambda x: seen(x, log)))(A), [()] * 64),
    "vmap of pmap": (
        lambda log: functrax.vmap(functrax.pmap(lambda x: seen(x, log)))(A.reshape(2, 4, 8)),
        [(8,)] * 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_who_calls(name):
    program, shapes = CALLS[name]
    log = []
    program(log)
    functrax.effects_barrier()
    assert sorted(np.shape(x) for x in log) == sorted(shapes)


def test_calls_of_nothing():
    log = []
    call = lambda: functrax.debug.callback(lambda: log.append(1))  # noqa: E731
    assert over(lambda: (call(), ())[1], (), P())() == ()
    assert len(log) == 8
    assert over(lambda x: (), P("i"), P())(A) == ()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("mapped", ["pmap", "shard_map", "jit"])
def test_results_of_calls(mapped, ordered):
    log = []
    f = lambda x: io_callback(doubled(log), x, x, ordered=ordered)  # noqa: E731
    run = {
        "pmap": lambda: functrax.pmap(f)(A),
        "shard_map": lambda: functrax.jit(over(f, P("i"), P("i")))(A),
        "jit": lambda: functrax.jit(f)(functrax.device_put(A, on("a", "b"))),
    }[mapped]
    np.testing.assert_array_equal(run(), A * 2)
    assert log == {"pmap": [(8,)] * 8, "shard_map": [(1, 8)] * 8, "jit": [(8, 8)]}[mapped]


def test_each_device_keeps_its_order():
    log = []

    def body(x):
        here = lax.axis_index("i")
        for step in range(3):
            functrax.debug.callback(
                lambda k, s: log.append((int(k), int(s))), here, step, ordered=True
            )
        return x

    over(body, P("i"), P("i"))(A)
    for device in range(8):
        assert [step for k, step in log if k == device] == [0, 1, 2]


@pytest.mark.parametrize("ordered", [False, True, None])
def test_the_device_that_calls(ordered):
    """None stands for pure_callback."""
    one = SingleDeviceSharding(DEVICES[3])

    def f(x, log):
        if ordered is None:
            return functrax.pure_callback(
                doubled(log), x, x, sharding=one, vmap_method="sequential"
            )
        return io_callback(doubled(log), x, x, sharding=one, ordered=ordered)

    for x in (A, functrax.device_put(A, on("a", "b"))):
        for run in (f, functrax.jit(f, static_argnums=1)):
            log = Log()
            np.testing.assert_array_equal(run(x, log), A * 2)
            assert log == [(8, 8)]
    if ordered is not True:
        log = Log()
        rows = functrax.vmap(lambda x: f(x, log))(functrax.device_put(A, on("a")))
        np.testing.assert_array_equal(rows, A * 2)
        assert log == [(8,)] * 8


def test_parts():
    log = []
    f = functrax.jit(lambda x: seen(x, log, partitioned=True))
    f(A)
    functrax.pmap(lambda x: seen(x, log, partitioned=True))(A)
    assert [np.shape(x) for x in log] == [(8, 8), *[(8,)] * 8]


#: name -> (call, message)
ERRORS = {
    "no single device": (
        lambda: io_callback(np.sin, A, A, sharding=on("a")),
        "[io_callback] expected sharding as a SingleDeviceSharding; got NamedSharding(Mesh(a=2, b=4), "
        "P('a')) of type NamedSharding. Call it inside of `shard_map` for each device to call with its "
        "part.",
    ),
    "not of the mesh": (
        lambda: functrax.jit(
            lambda x: io_callback(np.sin, x, x, sharding=SingleDeviceSharding(DEVICES[7]))
        )(functrax.device_put(A, NamedSharding(Mesh(DEVICES[:2], "i"), P("i")))),
        "[io_callback] expected a sharding on a device of the mesh; got cpu:7 for Mesh(i=2).",
    ),
    "mapped": (
        lambda: functrax.pmap(
            lambda x: functrax.pure_callback(
                np.sin, x, x, sharding=SingleDeviceSharding(DEVICES[1])
            )
        )(A),
        "[pure_callback] expected no sharding inside of shard_map and pmap, where each device calls; "
        "got cpu:1.",
    ),
    "parts": (
        lambda: functrax.jit(lambda x: seen(x, [], partitioned=True))(
            functrax.device_put(A, on("a"))
        ),
        "[debug.callback] expected partitioned=True inside of shard_map or pmap, where each device has "
        "its part; got it in a program over Mesh(a=2, b=4) that the compiler divides.",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_messages(name):
    call, expected = ERRORS[name]
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    assert re.sub(r" \(\w+\.py:\d+\)", "", str(caught.value)) == expected
