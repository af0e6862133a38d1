"""``python -m functrax`` and ``python -m functrax.primitives``, as a user runs them."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from functrax import __main__ as report
from functrax import errors
from functrax.core.config import config
from functrax.xla.versions import JAXLIB_VERSION_STRING


def run(*arguments, **variables):
    """Run a module and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "FUNCTRAX_WARN_RETRACES": "1", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def section(text, title):
    """Return the lines of a section."""
    body = re.search(rf"^{re.escape(title)}\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    return [line.strip() for line in body[1].splitlines()]


def test_the_report(tmp_path):
    folder = str(tmp_path / "programs")
    text = run(
        "functrax",
        FUNCTRAX_NUM_CPU_DEVICES="3",
        FUNCTRAX_PLATFORMS="cpu",
        FUNCTRAX_ENABLE_X64="1",
        FUNCTRAX_COMPILATION_CACHE_DIR=folder,
    )
    lines = section(text, "Versions")
    assert [line.split()[0] for line in lines] == [
        "functrax",
        "jaxlib",
        "numpy",
        "ml_dtypes",
        "python",
    ]
    assert lines[1].split()[1] == JAXLIB_VERSION_STRING
    assert lines[2].split()[1] == np.__version__
    platforms = section(text, "Platforms")
    assert platforms[0] == "cpu  3 x cpu, the default: cpu:0 cpu:1 cpu:2"
    assert [line.split()[0] for line in platforms[1:]] == ["gpu", "tpu"]
    assert section(text, "Options that are not at their defaults") == [
        "enable_x64 = True",
        "platforms = 'cpu'",
        "num_cpu_devices = 3",
        f"compilation_cache_dir = {folder!r}",
    ]
    assert section(text, "Compilation cache") == [
        "state   on",
        f"folder  {folder}",
        "holds   0 programs, 0.0 of at most 4,295 MB",
    ]


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="this machine has a GPU")
def test_the_reason_why_a_platform_is_missing():
    assert "gpu  none: no NVIDIA driver on this machine" in list(report.platform_lines())


def test_a_default_platform_that_is_missing(monkeypatch):
    def fail():
        raise errors.DeviceError("devices", "a TPU", "no TPU on this machine")

    monkeypatch.setattr(report, "default_backend", fail)
    first, *others = report.platform_lines()
    assert first == "none to use by default: no TPU on this machine"
    assert others[0].startswith("cpu  8 x cpu: cpu:0 ")


def test_nothing_to_report_is_said():
    with config.scope(enable_compilation_cache=False):
        text = "\n".join(report.report())
    assert "state   off (enable_compilation_cache is False)" in text


def test_the_table_of_primitives():
    assert run("functrax.primitives", "--missing") == ""
    assert run("functrax.primitives").startswith("primitive ")


def test_a_bad_environment_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "functrax"],
        env={**os.environ, "FUNCTRAX_NUM_CPU_DEVICES": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: [FUNCTRAX_NUM_CPU_DEVICES] expected a positive number of CPU devices; got '0'"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGPIPE")
@pytest.mark.parametrize("module", ["functrax", "functrax.primitives"])
def test_a_reader_that_stops_ends_it_quietly(module):
    command = [sys.executable, "-u", "-m", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(120)
