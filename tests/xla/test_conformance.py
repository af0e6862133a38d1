"""One small check for each fact about jaxlib that functrax relies on.

Run this first when a new jaxlib is to be supported: what fails here is what changed.
"""

import ml_dtypes
import numpy as np
import pytest

from functrax.xla import _native, buffers, executable, mlir, versions
from functrax.xla._native import JaxRuntimeError
from functrax.xla.options import compile_options

NUMPY_DTYPES = [
    "bool",
    *(f"int{bits}" for bits in (8, 16, 32, 64)),
    *(f"uint{bits}" for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
SMALL_DTYPES = [
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e3m4,
    ml_dtypes.float8_e4m3,
    ml_dtypes.float8_e4m3b11fnuz,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
    ml_dtypes.float8_e8m0fnu,
    ml_dtypes.float4_e2m1fn,
    ml_dtypes.int4,
    ml_dtypes.uint4,
    ml_dtypes.int2,
    ml_dtypes.uint2,
]
DTYPES = [np.dtype(dtype) for dtype in (*NUMPY_DTYPES, *SMALL_DTYPES)]
SHAPES = [(), (0,), (3, 0), (5,), (2, 3), (33,)]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def values(shape, dtype):
    """Different values, the smallest and largest among them, of any dtype."""
    size = int(np.prod(shape))
    if dtype.name.startswith(("int2", "uint2", "int4", "uint4")) and dtype.itemsize == 1:
        low, high = ml_dtypes.iinfo(dtype).min, ml_dtypes.iinfo(dtype).max
        return (np.arange(size) % (high - low + 1) + low).reshape(shape).astype(dtype)
    if dtype.kind == "b":
        return (np.arange(size) % 3 == 0).reshape(shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        flat = np.resize(np.array([limits.min, limits.max, 1, 2, 3], dtype), size)
        return flat.reshape(shape)
    flat = np.resize(np.array([0.5, 1, 2, 4, 1, 0.5, 2], np.float32), size).astype(dtype)
    return flat.reshape(shape)


def assert_same_bits(got, expected):
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert got.tobytes() == expected.tobytes()


@every_dtype
def test_put_and_read_back(dtype, device):
    for shape in SHAPES:
        array = values(shape, dtype)
        got = buffers.to_numpy(buffers.put(array, device), shape, dtype)
        assert_same_bits(got, array)
        assert not got.flags.writeable


@every_dtype
def test_a_constant_keeps_its_values(dtype, compile_on_cpu, context, read):
    for shape in [(), (0, 2), (3, 2), (33,)]:
        array = values(shape, dtype)
        attribute = context.constant(array)

        def body(attribute=attribute, shape=shape):
            kind = context.tensor_type(shape, dtype)
            constant = mlir.operation(
                context, "stablehlo.constant", [kind], [], {"value": attribute}
            )
            return constant.results

        (result,) = compile_on_cpu([], [(shape, dtype)], body)([])
        assert_same_bits(read(result, shape, dtype), array)


@every_dtype
def test_an_array_goes_through_a_program(dtype, compile_on_cpu, put, read):
    array = values((2, 3), dtype)
    (result,) = compile_on_cpu([((2, 3), dtype)], [((2, 3), dtype)], lambda x: [x])([put(array)])
    assert_same_bits(read(result, (2, 3), dtype), array)


def test_64_bits_are_kept(device):
    array = np.array([2**40 + 1], np.int64)
    assert buffers.to_numpy(buffers.put(array, device), (1,), array.dtype)[0] == 2**40 + 1


def test_only_byte_sizes_of_arguments_are_checked(double, put):
    double([put(np.zeros(4, np.int32))])  # not float32: accepted, so functrax must check
    with pytest.raises(RuntimeError, match="but got buffer with incompatible size"):
        double([put(np.zeros(3, np.float32))])


def test_big_endian_is_read_as_garbage_unless_converted(device, read):
    array = np.array([1, 2], ">i4")
    shape, dtype = (2,), np.dtype("int32")
    raw = buffers._put(
        buffers.Aval(shape, array.dtype),
        buffers.single_device_sharding(device),
        [array],
        [device],
        True,
        False,
        buffers._COPY,
        True,
    )
    assert read(raw, shape, dtype).tolist() == [1 << 24, 2 << 24]
    assert read(buffers.put(array, device), shape, dtype).tolist() == [1, 2]


def test_one_host_array_for_two_different_shards_cannot_be_copied(cpu):
    devices = cpu.devices[:2]
    array = np.arange(3, dtype=np.float32)
    sharding = buffers.raw_sharding(devices, buffers.hlo_sharding("{devices=[2]<=[2]}"))
    aval = buffers.Aval((6,), array.dtype)
    with pytest.raises(RuntimeError, match="bad_function_call"):
        buffers._put(aval, sharding, [array, array], devices, True, False, buffers._COPY, True)


def test_zero_copy_shares_the_host_array(device):
    array = np.zeros(1 << 16, np.float32)
    start = -(array.ctypes.data // 4) % 16
    array = array[start : start + 1024]  # 64-byte aligned
    shared = buffers.put(array, device, copy=False)
    copied = buffers.put(array, device)
    array[0] = 7
    assert buffers.to_numpy(shared, array.shape, array.dtype)[0] == 7
    assert buffers.to_numpy(copied, array.shape, array.dtype)[0] == 0


def test_reading_back_copies_nothing_on_the_cpu(put, read):
    buffer = put(np.arange(4.0))
    assert read(buffer, (4,), "float64").ctypes.data == buffers.unsafe_pointer(buffer)


@pytest.mark.parametrize(
    ("attribute", "value"), [("tf.aliasing_output", "i32"), ("jax.buffer_donor", "bool_attr")]
)
def test_donation_reuses_the_memory(attribute, value, compile_on_cpu, context, put):
    types = [((4,), "float32")]

    def body(x):
        return mlir.operation(context, "stablehlo.add", [x.type], [x, x]).results

    donate = {attribute: getattr(context, value)({"i32": 0, "bool_attr": True}[value])}
    program = compile_on_cpu(types, types, body, argument_attributes=[donate])
    x = put(np.ones(4, np.float32))
    pointer = buffers.unsafe_pointer(x)
    (y,) = program([x])
    assert buffers.is_deleted(x)
    assert buffers.unsafe_pointer(y) == pointer
    assert program.memory_analysis().alias_size_in_bytes == 16


def test_donating_shared_host_memory_leaves_it_alone(compile_on_cpu, context, device):
    array = np.ones(1 << 16, np.float32)
    types = [(array.shape, "float32")]
    donate = {"jax.buffer_donor": context.bool_attr(True)}
    program = compile_on_cpu(
        types,
        types,
        lambda x: mlir.operation(context, "stablehlo.add", [x.type], [x, x]).results,
        argument_attributes=[donate],
    )
    buffers.block_until_ready(program([buffers.put(array, device, copy=False)]))
    assert (array == 1).all()


def test_serialized_programs_run(double, cpu, device, put, read):
    data = cpu.serialize(double)
    again = cpu.deserialize(data, compile_options([device]), double.out_types)
    assert read(again([put(np.ones(4, np.float32))])[0], (4,), "float32").tolist() == [2] * 4


def test_bytecode_is_deterministic_across_contexts(build, context):
    from functrax.xla.context import MlirContext

    text = mlir.module_text(build([((3,), "float32")], [((3,), "float32")], lambda x: [x]))
    first = mlir.module_bytes(mlir.parse_module(text, MlirContext()))
    second = mlir.module_bytes(mlir.parse_module(text, MlirContext()))
    assert first == second


def test_options_serialize_deterministically(device):
    first, second = compile_options([device]), compile_options([device])
    other = compile_options([device], overrides={"xla_backend_optimization_level": 0})
    assert first.serialize() == second.serialize() != other.serialize()


def test_a_portable_artifact_can_be_read_by_the_other_version(build):
    module = build([((3,), "float32")], [((3,), "float32")], lambda x: [x])
    artifact = mlir.serialize_portable(module)
    assert mlir.module_text(mlir.deserialize_portable(artifact)) == mlir.module_text(module)


def test_chlo_compiles_without_passes(compile_on_cpu, context, put, read):
    program = compile_on_cpu(
        [((1,), "float32")],
        [((1,), "float32")],
        lambda x: mlir.operation(context, "chlo.erf", [x.type], [x]).results,
    )
    (y,) = program([put(np.array([0.5], np.float32))])
    np.testing.assert_allclose(read(y, (1,), "float32"), [0.5204999], rtol=1e-5)


SUM_OF_SHARDS = """
module @sum attributes {mhlo.num_partitions = 8 : i32} {
  sdy.mesh @mesh = <["a"=8]>
  func.func public @main(%x: tensor<8x2xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"a"}, {}]>})
      -> (tensor<8x2xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"a"}, {}]>}, tensor<2xf32>) {
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %sum = stablehlo.reduce(%x init: %zero) applies stablehlo.add across dimensions = [0]
      : (tensor<8x2xf32>, tensor<f32>) -> tensor<2xf32>
    %all = stablehlo.broadcast_in_dim %sum, dims = [1] : (tensor<2xf32>) -> tensor<8x2xf32>
    return %all, %sum : tensor<8x2xf32>, tensor<2xf32>
  }
}
"""


@pytest.fixture
def sum_of_shards(cpu):
    options = compile_options(cpu.devices, num_partitions=8)
    out_types = [((8, 2), np.dtype("float32")), ((2,), np.dtype("float32"))]
    program = cpu.compile(mlir.parse_module(SUM_OF_SHARDS), options, out_types)
    sharding = buffers.raw_sharding(cpu.devices, buffers.hlo_sharding("{devices=[8,1]<=[8]}"))
    parts = [np.full((1, 2), i, np.float32) for i in range(8)]
    x = buffers.put_sharded((8, 2), np.dtype("float32"), sharding, parts, cpu.devices)
    return program, x


def test_a_program_on_eight_devices(sum_of_shards, cpu, read):
    program, x = sum_of_shards
    everywhere, total = program([x])
    parts = buffers.shards(everywhere)
    assert [buffers.device_of(part) for part in parts] == cpu.devices
    assert buffers.devices_of(everywhere) == tuple(cpu.devices)
    assert all(read(part, (1, 2), "float32").tolist() == [[28, 28]] for part in parts)
    assert read(buffers.shards(total)[3], (2,), "float32").tolist() == [28, 28]


def test_output_and_input_shardings_can_be_asked_for(sum_of_shards, cpu):
    program, _ = sum_of_shards
    sharded = buffers.raw_sharding(cpu.devices, buffers.hlo_sharding("{devices=[8,1]<=[8]}"))
    assert program.out_shardings == (sharded, buffers.raw_sharding(cpu.devices))
    assert program.in_shardings() == [sharded]


def test_a_program_on_eight_devices_serializes(sum_of_shards, cpu, read):
    program, x = sum_of_shards
    options = compile_options(cpu.devices, num_partitions=8)
    again = cpu.deserialize(cpu.serialize(program), options, program.out_types)
    assert again.out_shardings == program.out_shardings
    assert read(buffers.shards(again([x])[1])[7], (2,), "float32").tolist() == [28, 28]


def test_many_collective_programs_in_flight_finish(sum_of_shards, read):
    program, x = sum_of_shards
    for _ in range(200):  # without the window, jaxlib 0.10 hangs at about 32
        x, total = program([x])
    buffers.block_until_ready([x, total])
    assert np.isinf(read(buffers.shards(total)[0], (2,), "float32")).all()
    assert len(executable._in_flight) == (16 if versions.COLLECTIVES_CAN_DEADLOCK else 0)


def test_an_error_has_a_code(double, put):
    with pytest.raises(JaxRuntimeError) as caught:
        double.raw.execute_sharded([put(np.zeros(3, np.float32))])
    assert caught.value.error_code_string == "INVALID_ARGUMENT"


def test_without_jax_a_raw_buffer_is_bare(python):
    """Raw buffers have neither shape nor dtype: one more reason to keep them from users."""
    assert (
        python(
            """
            import numpy as np
            from functrax.xla import buffers, client
            device = client.cpu_client().devices[0]
            buffer = buffers.put(np.ones(3), device)
            print(hasattr(buffer, "shape"), hasattr(buffer, "dtype"))
            """
        )
        == "False False"
    )


def test_the_feature_flags_match_this_jaxlib():
    handler = _native.jax.array_result_handler.__doc__
    assert ("_skip_checks" in handler) == versions.HANDLER_TAKES_SKIP_CHECKS
