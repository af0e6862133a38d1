"""``python -m benchmarks``: functrax and JAX on the same jaxlib, in alternating fresh processes."""

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.programs import PROGRAMS

LIBRARIES = ("functrax", "jax")
Samples = dict[str, dict[str, list[float]]]


def run(library: str, *arguments: str, cache: str | None = None) -> dict[str, float]:
    """Measure once in a fresh process."""
    environment = dict(os.environ)
    if cache is None:
        environment |= {
            "FUNCTRAX_ENABLE_COMPILATION_CACHE": "0",
            "JAX_ENABLE_COMPILATION_CACHE": "0",
        }
    else:
        environment["FUNCTRAX_COMPILATION_CACHE_DIR"] = cache
    command = [sys.executable, "-m", "benchmarks.measure", library, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=1200, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def alternate(rounds: int, *arguments: str) -> Samples:
    """Measure both libraries `rounds` times, in turns, and collect the samples by measure."""
    samples: Samples = {}
    for number in range(rounds):
        order = LIBRARIES if number % 2 == 0 else LIBRARIES[::-1]
        for library in order:
            for name, value in run(library, *arguments).items():
                samples.setdefault(name, {lib: [] for lib in LIBRARIES})[library].append(value)
    return samples


def rows(title: str, samples: Samples) -> Iterator[dict[str, Any]]:
    """Yield one row per measure: both medians, their ratio, and the ratio's range over the
    rounds.
    """
    for name, by_library in samples.items():
        ours, theirs = by_library["functrax"], by_library["jax"]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
        yield {
            "program": title,
            "measure": name,
            "functrax": statistics.median(ours),
            "jax": statistics.median(theirs),
            "ratio": statistics.median(ours) / statistics.median(theirs)
            if statistics.median(theirs)
            else 0.0,
            "low": min(ratios, default=0.0),
            "high": max(ratios, default=0.0),
        }


def cached_rows(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the time to the first GPT step in a second process, against JAX's without a cache."""
    folder = tempfile.mkdtemp(prefix="functrax-bench-")
    try:
        run("functrax", "cached", cache=folder)
        ours = [run("functrax", "cached", cache=folder)["first step"] for _ in range(rounds)]
        theirs = [run("jax", "cached")["first step"] for _ in range(rounds)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield from rows("gpt, warm cache", {"first step": {"functrax": ours, "jax": theirs}})


def show(row: dict[str, Any]) -> str:
    """Format one row of the Markdown table."""
    span = f"{row['low']:.2f}-{row['high']:.2f}"
    return (
        f"| {row['program']} | {row['measure']} | {row['functrax']:.4g} | {row['jax']:.4g} "
        f"| {row['ratio']:.2f} | {span} |"
    )


def main() -> None:
    """Run the chosen benchmarks and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ["start", "dispatch", "devices", "growth", "cached", *PROGRAMS]
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which to run: {', '.join(choices)}; all by default",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="fresh processes per library (default 5)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    # pip has compiled jax, but not the checkout; PYTHONDONTWRITEBYTECODE would leave it so.
    compileall.compile_dir(Path(__file__).parents[1] / "functrax", quiet=1)
    unknown = set(options.names) - set(choices)
    if unknown:
        parser.error(
            f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(choices)}"
        )
    print("| program | measure | functrax | JAX | functrax/JAX | range |")
    print("|---|---|---|---|---|---|", flush=True)
    collected: list[dict[str, Any]] = []
    for name in options.names or choices:
        if name == "cached":
            found = cached_rows(options.rounds)
        elif name in PROGRAMS:
            found = rows(name, alternate(options.rounds, "program", name))
        else:
            found = rows(name, alternate(options.rounds, name))
        for row in found:
            collected.append(row)
            print(show(row), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(collected, file, indent=1)


if __name__ == "__main__":
    main()
