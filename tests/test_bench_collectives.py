"""The benchmark of collectives: the table, and what is counted."""

import re

import numpy as np
import pytest

from functrax import bench_collectives as bench
from functrax import errors


def test_the_table(capsys):
    names = ["psum", "all_gather", "pbroadcast"]
    bench.main(["--sizes", "1KiB,5000", "--collectives", ",".join(names), "--iterations", "2"])
    title, empty, header, *rows = capsys.readouterr().out.splitlines()
    assert title == ("8 devices (cpu), float32, mean of 2 calls, best of 3; bandwidths in GB/s")
    assert empty == ""
    assert header.split() == ["collective", "size", "time", "algorithm", "bus"]
    assert len(rows) == 6
    assert [row.split()[0] for row in rows[::2]] == names
    assert all(re.fullmatch(r" {14} *4\.906 KiB +\S+ \ws +[\d.]+ +[\d.]+", r) for r in rows[1::2])
    assert {len(row) for row in (header, *rows)} == {len(header)}


@pytest.mark.parametrize(
    ("name", "factor"),
    [("psum", 1.75), ("all_gather", 0.875), ("psum_scatter", 0.875), ("ppermute", 1)],
)
def test_bandwidths(name, factor):
    mesh = bench.mesh_of_devices()
    row = bench.measure(name, 100, "bfloat16", mesh, 1)
    assert row.size == 112  # 7 elements for each of 8 devices
    np.testing.assert_allclose(row.algorithm_bandwidth, row.size / row.seconds)
    np.testing.assert_allclose(row.bus_bandwidth, factor * row.algorithm_bandwidth)


def test_sizes_grow_by_four(capsys):
    bench.main(["--max", "5KiB", "--collectives", "psum", "--iterations", "1"])
    rows = capsys.readouterr().out.splitlines()[3:]
    assert [re.search(r"[\d.]+ KiB", row)[0] for row in rows] == ["1 KiB", "4 KiB"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1XB"], "[bench_collectives] expected a size such as 64KiB; got '1XB'"),
        (
            ["--collectives", "psun"],
            "[bench_collectives] expected collectives among psum, pmax, all_gather, psum_scatter, "
            "all_to_all, ppermute, pbroadcast; got 'psun'",
        ),
        (["--iterations", "0"], "[bench_collectives] expected iterations >= 1; got 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(errors.ArgumentError) as caught:
        bench.main(arguments)
    assert re.sub(r" \([\w.]+:\d+\)\.", "", str(caught.value)) == message
