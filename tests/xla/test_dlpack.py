import ml_dtypes
import numpy as np
import pytest

from functrax.errors import ArgumentError, DonatedError, DtypeError
from functrax.xla import buffers, dlpack


class Export:
    """An array as another library sees it."""

    def __init__(self, buffer):
        self.buffer = buffer

    def __dlpack__(self, **_):
        return dlpack.to_dlpack(self.buffer)

    def __dlpack_device__(self):
        return dlpack.dlpack_device(self.buffer)


def aligned(size):
    array = np.zeros(size + 16, np.float32)
    start = -(array.ctypes.data // 4) % 16
    return array[start : start + size]


def test_numpy_reads_without_a_copy(put):
    buffer = put(np.arange(4.0))
    array = np.from_dlpack(Export(buffer))
    assert array.tolist() == [0, 1, 2, 3]
    assert array.ctypes.data == buffers.unsafe_pointer(buffer)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int64", "float16", "float32", "complex64", "bool"]
)
def test_from_numpy(dtype, device):
    array = np.array([[1, 0, 1], [0, 1, 1]], dtype).T
    buffer, shape, got = dlpack.from_dlpack(array, device)
    assert (shape, got) == ((3, 2), np.dtype(dtype))
    np.testing.assert_array_equal(buffers.to_numpy(buffer, shape, got), array)


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
)
def test_small_floats_make_a_round_trip(dtype, device, put):
    array = np.array([1, 0.5, 2], dtype)
    buffer, shape, got = dlpack.from_dlpack(Export(put(array)), device)
    assert (shape, got) == ((3,), np.dtype(dtype))
    assert buffers.to_numpy(buffer, shape, got).tolist() == array.tolist()


@pytest.mark.parametrize(("copy", "seen"), [(None, 7), (False, 7), (True, 0)])
def test_memory_is_shared_unless_a_copy_is_asked_for(copy, seen, device):
    array = aligned(64)
    buffer, shape, dtype = dlpack.from_dlpack(array, device, copy)
    array[0] = 7
    assert buffers.to_numpy(buffer, shape, dtype)[0] == seen


@pytest.mark.parametrize("dtype", ["int16", "float32", "complex128"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.T,
        lambda x: x[:, ::2],
        lambda x: x[::-1],
        lambda x: x[:, 1:].swapaxes(0, 1)[::-1],
        lambda x: x[:0].T,
        lambda x: x[1, 2, ...],
    ],
)
def test_programs_read_strided_arrays_rightly(change, dtype, device, compile_on_cpu, read):
    """jaxlib keeps the layout of aligned arrays, and its programs then compute wrong numbers."""
    memory = aligned(64).view(dtype)
    memory[:12] = np.arange(12)
    array = change(memory[:12].reshape(3, 4))
    buffer, shape, got = dlpack.from_dlpack(array, device)
    (result,) = compile_on_cpu([(shape, got)], [(shape, got)], lambda x: [x])([buffer])
    np.testing.assert_array_equal(read(result, shape, got), array)


def test_a_strided_array_cannot_be_shared(device):
    with pytest.raises(ArgumentError) as caught:
        dlpack.from_dlpack(np.zeros((2, 3), np.float32).T, device, copy=False)
    assert caught.value.got == "shape (3, 2) with strides of (4, 12) bytes"


def test_an_array_that_is_not_aligned_cannot_be_shared(device):
    with pytest.raises(ArgumentError) as caught:
        dlpack.from_dlpack(aligned(64)[1:], device, copy=False)
    assert "not aligned" in caught.value.got


def test_a_result_can_be_used(double, device, read):
    buffer, *_ = dlpack.from_dlpack(np.ones(4, np.float32), device)
    assert read(double([buffer])[0], (4,), "float32").tolist() == [2] * 4


def test_not_a_capsule(device):
    with pytest.raises(ArgumentError) as caught:
        dlpack.from_dlpack(object(), device)
    assert caught.value.expected == "a fresh DLPack capsule"


def test_a_capsule_works_once(device):
    capsule = np.ones(3).__dlpack__()
    dlpack.from_dlpack(capsule, device)
    with pytest.raises(ArgumentError):
        dlpack.from_dlpack(capsule, device)


def test_a_dtype_that_dlpack_lacks(put):
    with pytest.raises(DtypeError):
        dlpack.to_dlpack(put(np.zeros(2, ml_dtypes.int4)))


def test_a_deleted_buffer(put):
    buffer = put(np.ones(2))
    buffers.delete(buffer)
    with pytest.raises(DonatedError):
        dlpack.to_dlpack(buffer)
