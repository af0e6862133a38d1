"""One measurement in a fresh process: ``python -m benchmarks.measure LIBRARY KIND [NAME]`` prints
one JSON object.

Kinds: ``program NAME`` (trace, lower, compile, run and sizes of one program), ``dispatch`` (warm
    and eager calls), ``devices`` (steps and transfers over eight virtual devices),
``start`` (import and first result), ``cached`` (first GPT step with a warm cache), ``growth``
(trace and lower against size).
"""

import functools
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

START = time.perf_counter(), time.process_time()


def load(name: str) -> Any:
    """Import a library and return it."""
    if name == "functrax":
        import functrax

        return functrax
    import jax
    import jax.numpy
    import jax.tree

    return jax


def loop_time() -> float:
    """Return the seconds that a fixed loop of Python takes now: how fast the machine is."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(20_000):
            pass
        best = min(best, time.perf_counter() - start)
    return best


LOOP = 3e-4  # what `loop_time` is on the machine of docs/performance.md at its faster speed


def at_one_speed(seconds: float, before: float, after: float) -> float:
    """Scale a time to that speed, given what `loop_time` was around it: a virtual machine may
    change its speed by two thirds from second to second.
    """
    return seconds * 2 * LOOP / (before + after)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the seconds it takes."""
    before = loop_time()
    start = time.perf_counter()
    result = function()
    spent = time.perf_counter() - start
    return result, at_one_speed(spent, before, loop_time())


def per_call(function: Callable[[], Any], seconds: float = 0.3) -> float:
    """Return microseconds per call: the best of the rounds in which the machine kept its speed."""
    function()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            function()
        spent = time.perf_counter() - start
        if spent > seconds / 6:
            break
        count *= 2
    best, rounds, tolerance = float("inf"), 0, 0.05
    before = loop_time()
    while rounds < 6:
        start = time.perf_counter()
        for _ in range(count):
            function()
        spent = time.perf_counter() - start
        after = loop_time()
        if abs(after - before) < tolerance * before:
            best = min(best, at_one_speed(spent / count, before, after))
            rounds += 1
        before = after
        tolerance *= 1.1
    return best * 1e6


def count_equations(jaxpr: Any) -> int:
    """Count equations, those of nested programs included."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0
    for eqn in inner.eqns:
        total += 1
        for value in eqn.params.values():
            for item in value if isinstance(value, tuple | list) else (value,):
                if hasattr(item, "eqns"):
                    total += count_equations(item)
    return total


def measure_program(lib: Any, name: str) -> dict[str, float]:
    """Measure one program from tracing to running."""
    from benchmarks.programs import PROGRAMS

    lib.jit(lambda x: x + 1)(1.0)  # start the client
    function, arguments = PROGRAMS[name](lib)
    arguments = lib.tree.map(lib.numpy.asarray, arguments)
    jitted = lib.jit(function)
    traced, trace = timed(lambda: jitted.trace(*arguments))
    lowered, lower = timed(traced.lower)
    text = lowered.as_text()
    compiled, compile_time = timed(lowered.compile)
    lib.block_until_ready(compiled(*arguments))
    runs = []
    deadline = time.perf_counter() + 3.0
    while len(runs) < 3 or (time.perf_counter() < deadline and len(runs) < 300):
        start = time.perf_counter()
        lib.block_until_ready(compiled(*arguments))
        runs.append(time.perf_counter() - start)  # on several threads: not the speed of a loop
    return {
        "trace": trace,
        "lower": lower,
        "compile": compile_time,
        "run": sorted(runs)[len(runs) // 2],
        "equations": count_equations(traced.jaxpr),
        "operations": len(re.findall(r"= (?:stablehlo|chlo)\.", text)),
        "temp bytes": compiled.memory_analysis().temp_size_in_bytes,
    }


def measure_dispatch(lib: Any) -> dict[str, float]:
    """Measure warm jit calls and eager operations, in microseconds."""
    import numpy as np

    jnp = lib.numpy
    x = jnp.ones(4)
    many = {f"k{i}": jnp.ones(4) for i in range(300)}
    small = np.ones(8, np.float32)
    square = jnp.ones((16, 16))
    scalar = jnp.float32(1.5)
    one = lib.jit(lambda x: x + 1)
    ten = lib.jit(lambda *xs: xs[0] + xs[9])
    tree_in = lib.jit(lambda tree: tree["k0"] + tree["k1"])
    tree_out = lib.jit(lambda tree: {k: v + 1 for k, v in tree.items()})
    tree_scaled = lib.jit(lambda tree, scale: tree["k0"] * scale + tree["k1"])
    two = lib.jit(lambda x, y: x * y)
    static = lib.jit(lambda x, n: x * n, static_argnums=1)
    donating = lib.jit(lambda x: x + 1, donate_argnums=0)
    held = [jnp.ones(8)]

    def donate() -> None:
        held[0] = donating(held[0])

    grad = lib.grad(lambda x: jnp.sum(jnp.sin(x) * x))
    return {
        "jit 1": per_call(lambda: one(x)),
        "jit 10": per_call(lambda: ten(*[x] * 10)),
        "jit tree in": per_call(lambda: tree_in(many)),
        "jit tree in out": per_call(lambda: tree_out(many)),
        "jit array and float": per_call(lambda: two(x, 2.0)),
        "jit array and NumPy array": per_call(lambda: one(small)),
        "jit static": per_call(lambda: static(x, 3)),
        "jit by name": per_call(lambda: two(x=x, y=x)),
        "jit donated": per_call(donate),
        "jit tree in and float": per_call(lambda: tree_scaled(many, 0.5)),
        "x + y": per_call(lambda: x + x),
        "x + 1": per_call(lambda: x + 1),
        "sin": per_call(lambda: jnp.sin(x)),
        "matmul": per_call(lambda: square @ square),
        "x[0]": per_call(lambda: x[0]),
        "x[1:3]": per_call(lambda: x[1:3]),
        "reshape": per_call(lambda: x.reshape(2, 2)),
        "zeros": per_call(lambda: jnp.zeros((3, 4))),
        "at set": per_call(lambda: x.at[1].set(2.0)),
        "grad": per_call(lambda: grad(x)),
        "asarray": per_call(lambda: jnp.asarray(small)),
        "device_put": per_call(lambda: lib.device_put(small)),
        "float": per_call(lambda: float(scalar)),
    }


def measure_devices(lib: Any) -> dict[str, float]:
    """Measure steps of a small network over eight devices, and transfers, in microseconds.

    The network is small, so that the library's part of a step shows beside XLA's.
    """
    import numpy as np

    from benchmarks.programs import data_parallel

    sharding = importlib.import_module(f"{lib.__name__}.sharding")
    mesh = sharding.Mesh(np.array(lib.devices()), ("i",))
    spec = sharding.PartitionSpec
    everywhere = sharding.NamedSharding(mesh, spec())
    divided = sharding.NamedSharding(mesh, spec("i"))
    step, (params, x, y) = data_parallel(lib)
    mean = functools.partial(lib.lax.pmean, axis_name="i")
    by_gradients, _ = data_parallel(lib, mean)
    by_loss, _ = data_parallel(lib, mean, inside=True)
    stacked = lib.tree.map(lambda leaf: np.stack([leaf] * 8), params)
    parts = lib.tree.map(lambda leaf: leaf.reshape(8, -1, *leaf.shape[1:]), (x, y))
    placed = lib.device_put(params, everywhere)
    batch = lib.device_put((x, y), divided)
    steps = {
        "pmap step": (
            lib.pmap(by_gradients, axis_name="i"),
            stacked,
            lib.device_put(parts, divided),
        ),
        "shard_map step": (
            lib.jit(
                lib.shard_map(
                    by_loss, mesh=mesh, in_specs=(spec(), spec("i"), spec("i")), out_specs=spec()
                )
            ),
            placed,
            batch,
        ),
        "sharded jit step": (lib.jit(step, out_shardings=everywhere), placed, batch),
    }
    found = {}
    for name, (function, state, data) in steps.items():
        held = [function(state, *data)]

        def run(function: Any = function, held: list[Any] = held, data: Any = data) -> None:
            held[0] = lib.block_until_ready(function(held[0], *data))

        found[name] = per_call(run, 2.0)
    replicated = lib.pmap(lambda x: x, axis_name="i")(np.ones((8, 64, 64), np.float32))
    rows = np.ones((8, 1000), np.float32)
    found["x[0] of a replicated array"] = per_call(lambda: replicated[0])
    put = lambda: lib.block_until_ready(lib.device_put(rows, divided))  # noqa: E731
    return found | {"device_put to 8 devices": per_call(put)}


def measure_start(name: str) -> dict[str, float]:
    """Measure the CPU time of the import, and the time from the start of the import to the first
    jit result.

    The CPU time is that of the thread that imports: what NumPy starts in the background, OpenBLAS's
    threads, which wait in a loop for 0.1 s, is the same for both.
    """
    before = loop_time()
    start, cpu = time.perf_counter(), time.thread_time()
    lib = load(name)
    imported, cpu = time.perf_counter() - start, time.thread_time() - cpu
    after = loop_time()
    _, called = timed(lambda: float(lib.jit(lambda x: x * 2 + 1)(1.0)))
    return {
        "import": at_one_speed(cpu, before, after),
        "first result": at_one_speed(imported, before, after) + called,
    }


def measure_cached(name: str) -> dict[str, float]:
    """Measure the time from start to the first GPT step, with whatever cache the environment sets
    up.
    """
    lib = load(name)
    from benchmarks.programs import PROGRAMS

    function, arguments = PROGRAMS["gpt"](lib)
    lib.block_until_ready(lib.jit(function)(*arguments))
    return {"first step": time.perf_counter() - START[0]}


def measure_growth(lib: Any) -> dict[str, float]:
    """Measure trace + lower for 500 to 8,000 operations, and the exponent between."""
    import math

    from benchmarks.programs import straight_line

    lib.jit(lambda x: x + 1)(1.0)
    times = {}
    for operations in (500, 8000):
        best = math.inf
        for _ in range(3):
            function, arguments = straight_line(lib, operations)
            start = time.perf_counter()
            lib.jit(function).trace(*arguments).lower()
            best = min(best, time.perf_counter() - start)
        times[operations] = best
    exponent = math.log(times[8000] / times[500]) / math.log(8000 / 500)
    return {"500": times[500], "8000": times[8000], "exponent": exponent}


def main() -> None:
    """Measure what the command line says."""
    library, kind, *rest = sys.argv[1:]
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("FUNCTRAX_PLATFORMS", "cpu")
    if kind == "devices":
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    if kind == "start":
        result = measure_start(library)
    elif kind == "cached":
        result = measure_cached(library)
    else:
        lib = load(library)
        measure: Any = {
            "program": measure_program,
            "dispatch": measure_dispatch,
            "devices": measure_devices,
            "growth": measure_growth,
        }[kind]
        result = measure(lib, *rest)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
