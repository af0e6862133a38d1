import ml_dtypes
import numpy as np
import pytest

from functrax.errors import DonatedError, DtypeError
from functrax.xla import buffers

F32 = np.dtype("float32")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.arange(12, dtype=np.float32)[::-2],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.array(2.5, ">c16"),
        np.zeros((0, 4), ">i2"),
    ],
    ids=["big-endian", "transposed", "strided", "broadcast", "scalar", "empty"],
)
@pytest.mark.parametrize("copy", [True, False])
def test_put_takes_any_layout_and_byte_order(array, copy, device):
    dtype = array.dtype.newbyteorder("=")
    got = buffers.to_numpy(buffers.put(array, device, copy), array.shape, dtype)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


def test_a_copy_does_not_follow_the_original(device, read):
    array = np.zeros(1000, np.float32)
    buffer = buffers.put(array, device)
    array[:] = 1
    assert read(buffer, (1000,), "float32").sum() == 0


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1], "M8[s]")])
def test_other_dtypes_are_refused(array, device):
    with pytest.raises(DtypeError) as caught:
        buffers.put(array, device)
    assert caught.value.expected == "a number type that XLA can compute with"
    assert str(array.dtype) in caught.value.got


@pytest.mark.parametrize(
    "use",
    [
        lambda buffer: buffers.to_numpy(buffer, (3,), F32),
        lambda buffer: buffers.copy_to_device(buffer, buffers.device_of(buffer)),
        lambda buffer: buffers.copy_to_host_async([buffer]),
        lambda buffer: buffers.with_type(buffer, (3,), F32),
        lambda buffer: put_whole(buffer),
        buffers.shards,
        buffers.is_ready,
        buffers.unsafe_pointer,
        buffers.on_device_size,
        lambda buffer: buffers.block_until_ready([buffer]),
    ],
)
def test_a_deleted_buffer_says_so(use, put):
    """Some of these end the process in jaxlib 0.10."""
    buffer = put(np.ones(3, np.float32))
    buffers.delete(buffer)
    assert buffers.is_deleted(buffer)
    with pytest.raises(DonatedError) as caught:
        use(buffer)
    assert caught.value.expected in ("a live array", "live arrays")


def put_whole(buffer):
    device = buffers.device_of(buffer)
    return buffers.put_sharded((3,), F32, buffers.raw_sharding([device]), [buffer], [device])


def test_reading_a_deleted_buffer_of_a_small_type(put):
    buffer = put(np.ones(3, ml_dtypes.bfloat16))
    buffers.delete(buffer)
    with pytest.raises(DonatedError):
        buffers.to_numpy(buffer, (3,), np.dtype(ml_dtypes.bfloat16))


def test_copy_to_another_device(cpu, put, read):
    buffer = put(np.arange(3.0))
    other = buffers.copy_to_device(buffer, cpu.devices[5])
    assert buffers.device_of(other) == cpu.devices[5]
    buffers.delete(buffer)
    assert read(other, (3,), "float64").tolist() == [0, 1, 2]


def test_sharded_with_parts_in_common(cpu, read):
    """Two by two devices, of which the second axis holds copies: the same memory twice."""
    devices = cpu.devices[:4]
    spec = buffers.hlo_sharding("{devices=[2,1,2]<=[4] last_tile_dim_replicate}")
    rows = np.arange(6, dtype=">f4").reshape(2, 3)
    parts = [rows[:1], rows[:1], rows[1:], rows[1:]]
    array = buffers.put_sharded((2, 3), F32, buffers.raw_sharding(devices, spec), parts, devices)
    got = [read(part, (1, 3), F32).tolist() for part in buffers.shards(array)]
    assert got == [[[0, 1, 2]], [[0, 1, 2]], [[3, 4, 5]], [[3, 4, 5]]]


@pytest.mark.parametrize("copy", [True, False])
def test_sharded_of_empty_parts(copy, cpu, read):
    devices = cpu.devices[:2]
    sharding = buffers.raw_sharding(devices, buffers.hlo_sharding("{devices=[2]<=[2]}"))
    parts = [np.zeros(0, np.float32)] * 2
    array = buffers.put_sharded((0,), F32, sharding, parts, devices, copy)
    assert [read(part, (0,), F32).shape for part in buffers.shards(array)] == [(0,), (0,)]


def test_sharded_of_buffers(cpu, read):
    devices = cpu.devices[:2]
    sharding = buffers.raw_sharding(devices, buffers.hlo_sharding("{devices=[2]<=[2]}"))
    parts = [buffers.put(np.full(2, i, np.float32), device) for i, device in enumerate(devices)]
    array = buffers.put_sharded((4,), F32, sharding, parts, devices)
    assert [read(part, (2,), F32).tolist() for part in buffers.shards(array)] == [[0, 0], [1, 1]]


def test_the_same_sharding_is_the_same_object(cpu):
    spec = "{devices=[8]<=[8]}"
    first = buffers.raw_sharding(cpu.devices, buffers.hlo_sharding(spec))
    assert buffers.raw_sharding(tuple(cpu.devices), buffers.hlo_sharding(spec)) is first
    assert buffers.raw_sharding(cpu.devices) is not first
    assert buffers.raw_sharding(cpu.devices[:1]) is buffers.single_device_sharding(cpu.devices[0])


def test_waiting(put):
    buffer = put(np.ones(3))
    buffers.block_until_ready([buffer, buffer])
    assert buffers.is_ready(buffer)
    assert buffers.on_device_size(buffer) == 24
    buffers.copy_to_host_async([buffer])
    buffers.delete(buffer)
    with pytest.raises(DonatedError):
        buffers.block_until_ready([buffer])


def test_memory_kinds(cpu, device, read):
    sharding = buffers.raw_sharding([device], memory_kind="pinned_host")
    array = buffers.put_sharded((2,), F32, sharding, [np.ones(2, np.float32)], [device])
    assert sharding is not buffers.raw_sharding([device])
    assert read(array, (2,), F32).tolist() == [1, 1]
