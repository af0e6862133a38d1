"""Compiling for TPUs and H100s without one. Loads hundreds of MB: each in a process of its own."""

import importlib.util
import subprocess
import sys

import pytest

from functrax.errors import DeviceError
from functrax.xla import plugins, topology

has_libtpu = importlib.util.find_spec("libtpu") is not None
has_cuda = importlib.util.find_spec("jax_cuda13_plugin") is not None

PROGRAM = """
import numpy as np
from functrax.xla import mlir, options, topology
from functrax.errors import OutOfMemoryError

module = '''module @p attributes {mhlo.num_partitions = %d : i32} {
  func.func public @main(%%x: tensor<%sx4xf32>) -> tensor<%sx4xf32> {
    %%y = stablehlo.tanh %%x : tensor<%sx4xf32>
    return %%y : tensor<%sx4xf32>
  }
}'''

def compiled(rows=8):
    n = len(here.devices)
    text = module % (n, rows, rows, rows, rows)
    return here.compile(mlir.parse_module(text), options.compile_options(here.devices, 1, n), [((rows, 4), np.dtype("float32"))])
"""


@pytest.mark.skipif(not has_libtpu, reason="libtpu is not installed")
def test_a_tpu_slice(python):
    code = PROGRAM + (
        "here = topology.tpu_topology('v5e:2x2')\n"
        "program = compiled()\n"
        "print(len(here.devices), program.cost_analysis()['transcendentals'],\n"
        "      program.memory_analysis().argument_size_in_bytes > 0, 'tanh' in "
        "program.hlo_text())\n"
        "try: compiled(10**10)\n"
        "except OutOfMemoryError: print('too large')\n"
    )
    assert python(code) == "4 32.0 True True\ntoo large"


@pytest.mark.skipif(not has_cuda, reason="the CUDA plug-in is not installed")
def test_eight_h100s(python):
    code = PROGRAM + (
        "here = topology.gpu_topology('h100:8')\n"
        "program = compiled()\n"
        "print(len(here.devices), program.cost_analysis()['transcendentals'],\n"
        "      program.memory_analysis().argument_size_in_bytes, 'tanh' in program.hlo_text())\n"
    )
    assert python(code) == "8 32.0 128 True"


def test_an_unknown_gpu():
    with pytest.raises(DeviceError) as caught:
        topology.gpu_topology("abacus")
    assert caught.value.got == "'abacus'"


@pytest.mark.parametrize("load", ["load_tpu", "load_cuda"])
def test_a_plug_in_that_is_not_installed(load, monkeypatch):
    monkeypatch.setattr(plugins.jax, "pjrt_plugin_loaded", lambda name: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(DeviceError) as caught:
        getattr(plugins, load)()
    extra = load.removeprefix("load_")
    assert caught.value.fix == f'Run `pip install "functrax[{extra}]"`.'


def test_a_library_that_does_not_load():
    """In a process of its own, for libtpu's name is then taken."""
    code = (
        "from functrax.xla import plugins\n"
        "from functrax.errors import DeviceError\n"
        "try: plugins.load_tpu()\n"
        "except DeviceError as error: print(error.expected)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"TPU_LIBRARY_PATH": "/nonexistent.so", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.stdout.strip() == "a tpu plug-in that loads", result.stderr
