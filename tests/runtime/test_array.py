"""Concrete arrays: reading, printing, copying, pickling, deleting, where they are."""

import copy
import pickle
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.random.keys import key as random_key
from functrax.sharding import SingleDeviceSharding

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "int4", "uint4"),
]


def make(value: Any, dtype: str = "float32") -> Any:
    return functrax.jit(lambda x: x.astype(dtype))(np.asarray(value))


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    return re.sub(r" \(\w+\.py:\d+\)", "", str(error.value))


@pytest.mark.parametrize("dtype", DTYPES)
def test_reading(dtype: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]])
    x = make(values, dtype)
    array = np.asarray(x)
    assert array.dtype == x.dtype == jnp.dtype(dtype)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array.astype(complex if dtype[0] == "c" else int), values)
    assert x.tolist() == array.tolist()
    assert x.tobytes() == array.tobytes()
    assert x.shape == (2, 3)
    assert x.nbytes == array.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_one_element(dtype: str, shape: tuple[int, ...]) -> None:
    x = make(np.ones(shape), dtype)
    assert x.item() == 1
    assert type(x.item()) is type(np.asarray(x).item())
    assert bool(x) is True
    assert complex(x) == 1
    if not dtype.startswith("complex"):
        assert (int(x), float(x)) == (1, 1.0)
        assert (type(int(x)), type(float(x))) == (int, float)


def test_special_values() -> None:
    assert np.isnan(float(make(np.nan)))
    assert float(make(-0.0)).hex() == "-0x0.0p+0"
    assert int(jnp.asarray(-(2**63), "int64")) == -(2**63)
    assert int(jnp.asarray(2**64 - 1, "uint64")) == 2**64 - 1
    assert int(make(2.9)) == 2


@pytest.mark.parametrize(
    ("convert", "value", "text"),
    [
        (
            float,
            [1, 2],
            "[float] expected an array of one element; got f32[2]. "
            "Index it, or use `.any()`/`.all()` for a truth value.",
        ),
        (
            bool,
            [],
            "[bool] expected an array of one element; got f32[0]. "
            "Index it, or use `.any()`/`.all()` for a truth value.",
        ),
        (
            range,
            1.0,
            "[index] expected a 0-d integer array; got f32[].",
        ),
    ],
)
def test_what_cannot_be_a_number(convert: Any, value: Any, text: str) -> None:
    with pytest.raises(errors.FunctraxError) as raised:
        convert(make(value))
    assert message(raised) == text


def test_complex_numbers_are_not_real() -> None:
    with pytest.raises(errors.DtypeError) as raised:
        float(make(1j, "complex64"))
    assert message(raised) == (
        "[float] expected an array of real numbers; got c64[]. Use `.real`, or `complex(x)`."
    )


def test_an_index() -> None:
    assert [10, 11, 12][make(2, "int32")] == 12
    assert list(range(make(3, "uint8"))) == [0, 1, 2]


def test_as_numpy_with_a_dtype_or_copy() -> None:
    x = make([1.5, 2.5])
    assert np.asarray(x).ctypes.data == x.unsafe_buffer_pointer()
    assert np.asarray(x, np.float64).dtype == np.float64
    copied = np.array(x)
    copied[0] = 9
    assert float(x[0]) == 1.5
    assert x.__array__(copy=True).flags.writeable
    assert x.__array__(np.float32, copy=False).ctypes.data == x.unsafe_buffer_pointer()
    with pytest.raises(ValueError, match="cannot become float64 without a copy"):
        np.asarray(x, np.float64, copy=False)


def test_the_view_outlives_the_array() -> None:
    view = np.asarray(make([1.0, 2.0]))
    assert view.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (lambda: make([1, 2]), "Array([1., 2.], dtype=float32)"),
        (lambda: make(3, "int32"), "Array(3, dtype=int32)"),
        (lambda: make(np.zeros((0, 2))), "Array([], shape=(0, 2), dtype=float32)"),
        (lambda: make(True, "bool"), "Array(True, dtype=bool)"),
        (lambda: make([[1, 2], [3, 4]]), "Array([[1., 2.],\n       [3., 4.]], dtype=float32)"),
        (lambda: functrax.device_put(1.0), "Array(1., dtype=float32, weak_type=True)"),
        (lambda: make([0.5], "bfloat16"), "Array([0.5], dtype=bfloat16)"),
    ],
)
def test_printing(array: Any, text: str) -> None:
    assert repr(array()) == text


def test_printing_of_large_arrays_is_short() -> None:
    assert len(repr(make(np.zeros((100, 100))))) < 1000


def test_str_and_format() -> None:
    x = make(3.14159)
    assert str(x) == "3.14159"
    assert f"{x:.2f}" == "3.14"
    assert f"{x}" == "3.14159"
    assert f"{make(7, 'int32'):03d}" == "007"
    assert f"{make([1, 2])}" == "[1. 2.]"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", DTYPES)
def test_pickling(dtype: str, protocol: int) -> None:
    x = make([[0, 1], [1, 1]], dtype)
    y = pickle.loads(pickle.dumps(x, protocol))
    assert y.aval is x.aval
    assert y.tobytes() == x.tobytes()


def test_pickling_keeps_weak_types_and_keys() -> None:
    weak = functrax.device_put(2.0)
    assert pickle.loads(pickle.dumps(weak)).weak_type
    key = random_key(7)
    again = pickle.loads(pickle.dumps(key))
    assert again.aval is key.aval
    np.testing.assert_array_equal(again.words(), key.words())


def test_pickling_out_of_band() -> None:
    x = make(np.arange(1000))
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(x, 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data, buffers=buffers), x)


def test_copies() -> None:
    x = make([1, 2])
    assert copy.copy(x) is x
    for y in (x.copy(), copy.deepcopy(x), copy.deepcopy({"x": x})["x"]):
        assert y.unsafe_buffer_pointer() != x.unsafe_buffer_pointer()
        assert y.committed is x.committed
        np.testing.assert_array_equal(y, x)
    placed = functrax.device_put(x, functrax.devices()[1])
    assert placed.copy().device is placed.device
    assert placed.copy().committed


def test_where_an_array_is() -> None:
    first, second = functrax.devices()[:2]
    x = functrax.device_put(np.arange(3), second)
    assert x.device is second
    assert x.devices() == {second}
    assert x.sharding == SingleDeviceSharding(second)
    assert repr(x.sharding) == "SingleDeviceSharding(device=CpuDevice(id=1))"
    assert x.sharding.device_set == {second}
    assert x.is_fully_addressable
    assert x.is_fully_replicated
    (shard,) = x.addressable_shards
    assert (shard.device, shard.index, shard.replica_id) == (second, (slice(None),), 0)
    assert shard.data is x
    assert x.addressable_data(0) is x
    moved = x.to_device(first)
    assert moved.device is first
    assert moved.committed
    assert make(1).to_device(first).committed
    with pytest.raises(errors.ArgumentError, match="no stream"):
        x.to_device(second, stream=1)
    assert x.to_device(SingleDeviceSharding(first)).device is first
    assert x.to_device(None).device is second
    with pytest.raises(errors.ArgumentError, match="a device, a sharding, or None; got 'cpu'"):
        x.to_device("cpu")
    assert x.on_device_size_in_bytes() == 12


def test_deleting() -> None:
    x = make([1, 2])
    assert not x.is_deleted()
    x.delete()
    x.delete()
    assert x.is_deleted()
    assert repr(x) == "Array(f32[2], deleted by `delete()`)"
    for use in (np.asarray, float, str, lambda x: x + 1, lambda x: x.block_until_ready()):
        if use is str:
            assert use(x) == repr(x)
        elif use is not float:
            with pytest.raises(errors.DonatedError, match="deleted by `delete\\(\\)`"):
                use(x)
    y = make(1)
    y.delete()
    with pytest.raises(errors.DonatedError) as raised:
        float(y)
    assert message(raised) == (
        "[array] expected an array that still has its memory, for reading it; got f32[], deleted "
        "by `delete()`. Delete it after its last use."
    )


def test_waiting() -> None:
    x = make([1, 2])
    assert x.block_until_ready() is x
    assert x.is_ready()
    x.copy_to_host_async()


def test_keys_are_not_numbers() -> None:
    key = random_key(0)
    for use in (np.asarray, float, lambda x: x.tolist()):
        with pytest.raises(errors.KeyTypeError, match="an array of numbers"):
            use(key)
    assert repr(key) == "Array((), dtype=key<fry>)"
    assert copy.deepcopy(key).aval is key.aval


def test_hashing_is_refused() -> None:
    with pytest.raises(TypeError):
        hash(make(1))


def test_small_floats_are_read_exactly() -> None:
    values = np.array([0.5, -1.5, 448], ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(np.asarray(functrax.device_put(values)), values)
