"""functrax never imports jax, and lives beside it."""

import importlib.util

import pytest

needs_jax = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")

EVERYTHING = """
import sys
import ml_dtypes, numpy as np
from functrax.xla import (buffers, callbacks, client, custom_call, distributed, dlpack, executable,
    linalg, mlir, options, plugins, profile, topology)

cpu = client.cpu_client(2)
devices = cpu.devices
context = mlir.mlir_context()

def compiled(dtype):
    module = mlir.new_module(context)
    kind = context.tensor_type((4,), dtype)
    _, block = mlir.add_function(context, module, "main", [kind], [kind], public=True)
    with mlir.insert_at_end(block):
        (x,) = block.arguments
        y = mlir.operation(context, "stablehlo.add", [kind], [x, x]).result
        mlir.return_values(context, [y], "func.return")
    return cpu.compile(module, options.compile_options(devices[:1]), [((4,), dtype)])

def use(buffer, dtype):
    '''Everything that can be done with a buffer.'''
    (result,) = compiled(dtype)([buffer])
    assert buffers.to_numpy(result, (4,), dtype).tolist() == [0, 2, 4, 6]
    assert buffers.to_numpy(buffer, (4,), dtype).tolist() == [0, 1, 2, 3]
    moved = buffers.copy_to_device(buffer, devices[1])
    sharding = buffers.raw_sharding(devices, buffers.hlo_sharding("{devices=[2]<=[2]}"))
    whole = buffers.put_sharded((8,), dtype, sharding, [buffer, moved], devices)
    parts = buffers.shards(whole)
    assert [buffers.device_of(part) for part in parts] == devices
    assert buffers.to_numpy(parts[1], (4,), dtype).tolist() == [0, 1, 2, 3]
    buffers.unsafe_pointer(buffer), buffers.on_device_size(buffer), buffers.is_ready(buffer)
    buffers.copy_to_host_async([moved])
    assert buffers.to_numpy(moved, (4,), dtype).tolist() == [0, 1, 2, 3]
    other, *_ = dlpack.from_dlpack(dlpack.to_dlpack(buffer), devices[0])
    assert buffers.to_numpy(other, (4,), dtype).tolist() == [0, 1, 2, 3]
    buffers.block_until_ready([buffer, whole, result])
    buffers.delete(other)

def make(dtype):
    return buffers.put(np.arange(4).astype(dtype), devices[0])

DTYPES = [np.dtype("float64"), np.dtype(ml_dtypes.bfloat16)]
"""


def test_jax_is_never_imported(python):
    code = EVERYTHING + (
        "for dtype in DTYPES: use(make(dtype), dtype)\n"
        "linalg.load_lapack(); cpu.heap_profile(); client.platforms()\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'jax'])"
    )
    assert python(code) == "[]"


@needs_jax
@pytest.mark.parametrize("first", ["jax", "functrax"])
def test_jax_and_functrax_in_one_process(first, python):
    use_jax = (
        "import jax, jax.numpy as jnp\n"
        "assert jax.jit(lambda x: x + 1)(jnp.ones(3)).tolist() == [2, 2, 2]\n"
        "assert jnp.linalg.cholesky(jnp.eye(2)).tolist() == [[1, 0], [0, 1]]\n"
    )
    before = "olds = [make(dtype) for dtype in DTYPES]\n"
    after = (
        "linalg.load_lapack()\n"
        "for dtype, old in zip(DTYPES, olds): use(make(dtype), dtype); use(old, dtype)\n"
    )
    start = (
        use_jax + EVERYTHING + before if first == "jax" else EVERYTHING + before + after + use_jax
    )
    assert python(start + after + use_jax + "print('fine')") == "fine"


def test_no_jax_is_felt_only_by_its_own_thread_and_while_it_lasts():
    import threading

    from functrax.xla import isolation

    finder = isolation._Finder()
    with isolation.no_jax(), isolation.no_jax():
        with pytest.raises(ModuleNotFoundError):
            finder.find_spec("jax")
        assert finder.find_spec("numpy") is None
        found = []

        def elsewhere():
            with pytest.warns(UserWarning, match="Import jax first"):
                found.append(finder.find_spec("jax"))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == [None]
    assert finder.find_spec("jax") is None  # and is said once


def test_the_import_is_light(python):
    code = """
        import sys
        import functrax.xla.client, functrax.xla.mlir
        heavy = {"scipy", "jaxlib.xla_client", "jaxlib._profiler", "jaxlib.lapack", "libtpu"}
        print(sorted(heavy & set(sys.modules)), "jaxlib.mlir.dialects.stablehlo" in sys.modules)
        """
    assert python(code) == "[] False"
