"""Measure collectives over all local devices: ``python -m functrax.bench_collectives``.

Prints for each collective and size how long one call takes, dispatch included, and two bandwidths.
The *algorithm bandwidth* is size / time. The *bus bandwidth* is that times a factor for what the
collective must move in any case, so that it can be compared with the hardware's whatever the number
of devices. Both, and what counts as the size, are those of NVIDIA's NCCL tests.

Source:
    https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors, lax
from functrax import numpy as jnp
from functrax.runtime.devices import local_devices
from functrax.sharding import Mesh, NamedSharding, PartitionSpec
from functrax.transforms.jit import jit
from functrax.transforms.placement import device_put
from functrax.transforms.shard_map import shard_map

AXIS = "devices"
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Collective(NamedTuple):
    """A collective to measure.

    Attributes:
        run: what each device does with its part.
        whole: whether the size is that of each device's part; else it is that of all parts
            together, which one device has before or after.
        factor: bus bandwidth / algorithm bandwidth for n devices.
    """

    run: Callable[[Any, int], Any]
    whole: bool
    factor: Callable[[int], float]


COLLECTIVES = {
    "psum": Collective(lambda x, n: lax.psum(x, AXIS), True, lambda n: 2 * (n - 1) / n),
    "pmax": Collective(lambda x, n: lax.pmax(x, AXIS), True, lambda n: 2 * (n - 1) / n),
    "all_gather": Collective(
        lambda x, n: lax.all_gather(x, AXIS, tiled=True), False, lambda n: (n - 1) / n
    ),
    "psum_scatter": Collective(
        lambda x, n: lax.psum_scatter(x, AXIS, tiled=True), True, lambda n: (n - 1) / n
    ),
    "all_to_all": Collective(
        lambda x, n: lax.all_to_all(x, AXIS, 0, 0, tiled=True), True, lambda n: (n - 1) / n
    ),
    "ppermute": Collective(
        lambda x, n: lax.ppermute(x, AXIS, [(k, (k + 1) % n) for k in range(n)]),
        True,
        lambda n: 1.0,
    ),
    "pbroadcast": Collective(lambda x, n: lax.pbroadcast(x, AXIS, 0), True, lambda n: 1.0),
}


class Row(NamedTuple):
    """One measurement: bytes, seconds of one call, and bandwidths in bytes per second."""

    collective: str
    size: int
    seconds: float
    algorithm_bandwidth: float
    bus_bandwidth: float


def mesh_of_devices() -> Mesh:
    """Return the mesh of all local devices along one axis."""
    return Mesh(np.array(local_devices()), (AXIS,))


def measure(name: str, size: int, dtype: Any, mesh: Mesh, iterations: int) -> Row:
    """Measure one collective at one size.

    Args:
        name: of `COLLECTIVES`.
        size: bytes; rounded up so that the devices' slices are equal.
        dtype: of the elements.
        mesh: of one axis, `AXIS`.
        iterations: how many calls to average over.

    Returns:
        The row of the best of three rounds.
    """
    collective, count = COLLECTIVES[name], mesh.size
    dtype = jnp.dtype(dtype)
    slices = max(1, -(-size // (dtype.itemsize * count)))  # elements of one device's slice
    size = slices * count * dtype.itemsize
    length = slices * count if collective.whole else slices
    spec = PartitionSpec(AXIS)
    x = device_put(np.ones(length * count, dtype), NamedSharding(mesh, spec))
    # Not checked: results that are equal on all devices are kept as parts, too.
    own = shard_map(
        lambda v: collective.run(v, count),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    run = jit(own)
    run(x).block_until_ready()
    best = min(_seconds(run, x, iterations) for _ in range(3))
    return Row(name, size, best, size / best, size / best * collective.factor(count))


def _seconds(run: Callable[[Any], Any], x: Any, iterations: int) -> float:
    start = time.perf_counter()
    for _ in range(iterations - 1):
        run(x)
    run(x).block_until_ready()  # devices run calls in order
    return (time.perf_counter() - start) / iterations


def lines(rows: Iterator[Row]) -> Iterator[str]:
    """Yield the lines of the table, as the rows come."""
    yield f"{'collective':14}{'size':>10}{'time':>12}{'algorithm':>12}{'bus':>10}"
    last = None
    for row in rows:
        name = row.collective if row.collective != last else ""
        last = row.collective
        bandwidths = f"{row.algorithm_bandwidth / 1e9:12.3f}{row.bus_bandwidth / 1e9:10.3f}"
        yield f"{name:14}{size_text(row.size):>10}{_time_text(row.seconds):>12}{bandwidths}"


def size_text(size: int) -> str:
    """Write a number of bytes in the largest unit that suits it.

    Example:
        >>> size_text(512), size_text(1536), size_text(2**20)
        ('512 B', '1.5 KiB', '1 MiB')
    """
    unit = max((u for u in UNITS if UNITS[u] <= max(size, 1)), key=UNITS.__getitem__)
    return f"{size / UNITS[unit]:.4g} {unit}"


def parse_size(text: str) -> int:
    """Read a number of bytes.

    Raises:
        ArgumentError: if it is not one.

    Example:
        >>> parse_size("1024"), parse_size("64KiB"), parse_size("1.5 MiB")
        (1024, 65536, 1572864)
    """
    match = re.fullmatch(r"([\d.]+)\s*(B|KiB|MiB|GiB)?", text.strip())
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        raise errors.ArgumentError("bench_collectives", "a size such as 64KiB", repr(text))
    return int(float(match[1]) * UNITS[match[2] or "B"])


def _time_text(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 0.01 else f"{seconds * 1e3:.1f} ms"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser("functrax.bench_collectives", description=__doc__)
    parser.add_argument("--max", default="16MiB", help="largest size; each is 4 times the last one")
    parser.add_argument("--sizes", help="sizes with commas, instead: 1KiB,1MiB")
    parser.add_argument("--collectives", default=",".join(COLLECTIVES), help="names with commas")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--iterations", type=int, default=20, help="calls to average over")
    options = parser.parse_args(arguments)
    sizes = list(map(parse_size, options.sizes.split(","))) if options.sizes else []
    size = 1024
    while not options.sizes and size <= parse_size(options.max):
        sizes.append(size)
        size *= 4
    names = [name.strip() for name in options.collectives.split(",")]
    for name in names:
        if name not in COLLECTIVES:
            expected = f"collectives among {', '.join(COLLECTIVES)}"
            raise errors.ArgumentError("bench_collectives", expected, repr(name))
    if options.iterations < 1:
        raise errors.ArgumentError("bench_collectives", "iterations >= 1", f"{options.iterations}")
    mesh = mesh_of_devices()
    print(
        f"{mesh.size} devices ({local_devices()[0].device_kind}), {options.dtype}, mean of "
        f"{options.iterations} calls, best of 3; bandwidths in GB/s\n"
    )
    rows = (
        measure(name, size, options.dtype, mesh, options.iterations)
        for name in names
        for size in sizes
    )
    for line in lines(rows):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
