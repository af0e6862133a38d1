"""Eight virtual CPU devices, and short ways to make programs."""

import os

os.environ.setdefault("FUNCTRAX_NUM_CPU_DEVICES", "8")  # before any client is made

import numpy as np
import pytest

from functrax.xla import buffers, mlir
from functrax.xla.client import cpu_client
from functrax.xla.options import compile_options


@pytest.fixture(scope="session")
def cpu():
    return cpu_client()


@pytest.fixture(scope="session")
def device(cpu):
    return cpu.devices[0]


@pytest.fixture
def context():
    return mlir.mlir_context()


@pytest.fixture
def build(context):
    """build(in_types, out_types, body) makes a module whose main returns body(*arguments)."""

    def make(in_types, out_types, body, **function_options):
        module = mlir.new_module(context, "test")
        inputs = [context.tensor_type(shape, np.dtype(dtype)) for shape, dtype in in_types]
        outputs = [context.tensor_type(shape, np.dtype(dtype)) for shape, dtype in out_types]
        _, block = mlir.add_function(
            context, module, "main", inputs, outputs, public=True, **function_options
        )
        with mlir.insert_at_end(block):
            mlir.return_values(context, list(body(*block.arguments)), "func.return")
        mlir.verify(module)
        return module

    return make


@pytest.fixture
def compile_on_cpu(build, cpu, device):
    """The same, compiled for the first CPU device."""

    def make(in_types, out_types, body, callbacks=(), **function_options):
        module = build(in_types, out_types, body, **function_options)
        out_types = [(shape, np.dtype(dtype)) for shape, dtype in out_types]
        return cpu.compile(module, compile_options([device]), out_types, callbacks)

    return make


@pytest.fixture
def double(compile_on_cpu, context):
    """A program that doubles a float32[4]."""

    def body(x):
        return mlir.operation(context, "stablehlo.add", [x.type], [x, x]).results

    return compile_on_cpu([((4,), "float32")], [((4,), "float32")], body)


@pytest.fixture
def put(device):
    return lambda array: buffers.put(np.asarray(array), device)


@pytest.fixture
def read():
    return lambda buffer, shape, dtype: buffers.to_numpy(buffer, shape, np.dtype(dtype))
