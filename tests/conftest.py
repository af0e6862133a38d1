"""What every test shares: the environment of the process, seeds, and hypothesis.

The environment is set while this file is imported, which is before any test imports functrax, jax
or NumPy. With pytest-xdist the controller sets it and the workers inherit it.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

PLATFORM = os.environ.get("FUNCTRAX_TEST_PLATFORM", "cpu")
DEVICES = os.environ.get("FUNCTRAX_TEST_DEVICES", "8")
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
ROOT = Path(__file__).resolve().parents[1]

os.environ.update(
    FUNCTRAX_NUM_CPU_DEVICES=DEVICES,
    FUNCTRAX_PLATFORMS=PLATFORM if PLATFORM == "cpu" else f"{PLATFORM},cpu",
    JAX_PLATFORMS=PLATFORM if PLATFORM == "cpu" else f"{PLATFORM},cpu",
    TF_CPP_MIN_LOG_LEVEL="2",  # no WARNING lines of XLA between the dots
    MPLBACKEND="agg",
    FUNCTRAX_WARN_RETRACES="0",  # one line of a test helper traces for every row of its table
)
# Each xdist worker is a process; with a thread pool in each, small matrices wait for each other.
for pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"
# The oracle gets as many devices, by its own variable: XLA_FLAGS would reach functrax and every
# child process, and jax refuses to have both.
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["JAX_NUM_CPU_DEVICES"] = DEVICES
# Most of a run's time is XLA's: LLVM without optimization, on one part for each program, makes the
# suite a quarter shorter, and the older emitter of loops, which jaxlib has up to 0.10, again by two
# fifths. Whoever sets the variable, be it to nothing, tests what users run: .ci/run does so with
# the tables of primitives and of differences.
OLDER_EMITTER = " --xla_cpu_use_fusion_emitters=false"
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        " --xla_cpu_parallel_codegen_split_count=1"
        f"{OLDER_EMITTER if version('jaxlib').startswith('0.10.') else ''}"
    )
# One cache for the run, shared by its workers as on a user's machine, and never the user's own.
if not IS_WORKER:
    os.environ["FUNCTRAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="functrax-test-cache-")

# Repeatable, and without a deadline: the first example of a law compiles. To search further than a
# run of the suite does: pytest --hypothesis-profile=explore
settings.register_profile("functrax", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("functrax")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the run's compilation cache."""
    if not IS_WORKER:
        shutil.rmtree(os.environ["FUNCTRAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need an accelerator the run was not given."""
    for item in items:
        for mark in item.iter_markers("device"):
            (wanted,) = mark.args
            if wanted != PLATFORM:
                reason = f"needs a {wanted} device: set FUNCTRAX_TEST_PLATFORM={wanted}"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same global seeds, whichever worker runs it and in any order."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


@pytest.fixture
def python():
    """python(code, NAME=value) runs a program in a process of its own and returns what it prints.

    A value of None removes a variable. With fails=True the program must fail, and what it wrote to
    stderr is returned.
    """

    def run(code: str, *, fails: bool = False, **variables: str | None) -> str:
        path = os.pathsep.join(map(str, [ROOT, *sys.path]))
        flags = os.environ["XLA_FLAGS"].replace(OLDER_EMITTER, "")  # libtpu refuses it
        changed = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags, **variables}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=ROOT,
            env={name: value for name, value in changed.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode != 0) is fails, done.stderr
        return (done.stderr if fails else done.stdout).strip()

    return run
