"""device_put, device_get, block_until_ready and DLPack, on eight virtual devices."""

import gc
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import dlpack, errors
from functrax.random.keys import key as random_key
from functrax.runtime.array import DeviceArray
from functrax.sharding import Sharding, SingleDeviceSharding

FIRST, SECOND, THIRD = functrax.devices()[:3]


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the message without the line it names."""
    return re.sub(r" \(\w+\.py:\d+\)", "", str(error.value))


def aligned(size: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Return an array that starts at a multiple of 64 bytes."""
    memory = np.zeros(size * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)


# device_put


@pytest.mark.parametrize(
    "device", [SECOND, SingleDeviceSharding(SECOND)], ids=["device", "sharding"]
)
def test_put_commits(device: Any) -> None:
    x = functrax.device_put(np.arange(3), device)
    assert x.devices() == {SECOND}
    assert x.committed
    assert (x + 1).devices() == {SECOND}
    np.testing.assert_array_equal(x, [0, 1, 2])


def test_put_without_a_device() -> None:
    x = functrax.device_put(np.arange(3))
    assert x.devices() == {FIRST}
    assert not x.committed
    assert functrax.device_put(x) is x
    with functrax.config.scope(default_device=THIRD):
        assert functrax.device_put(1.0).devices() == {THIRD}


def test_put_on_a_platform() -> None:
    x = functrax.device_put(np.arange(3), "cpu")
    assert x.devices() == {FIRST}
    assert x.committed


@pytest.mark.parametrize(
    ("value", "aval"),
    [
        (1, "~i32[]"),
        (1.5, "~f32[]"),
        (True, "bool[]"),
        (np.float64(2), "f32[]"),
        (np.arange(3), "i32[3]"),
        (np.ones((2, 1), ml_dtypes.bfloat16), "bf16[2,1]"),
    ],
)
def test_types_of_what_is_put(value: Any, aval: str) -> None:
    for device in (None, SECOND):
        assert repr(functrax.device_put(value, device).aval) == aval


def test_put_of_a_tree_with_a_prefix() -> None:
    tree = {"a": [np.ones(2), 1], "b": np.zeros(3)}
    placed = functrax.device_put(tree, {"a": SECOND, "b": None})
    assert [x.device for x in placed["a"]] == [SECOND, SECOND]
    assert placed["b"].device is FIRST
    assert not placed["b"].committed
    with pytest.raises(errors.TreeError) as raised:
        functrax.device_put(tree, {"a": SECOND})
    assert message(raised).startswith("[device_put] expected device")


def test_put_moves_between_devices() -> None:
    x = functrax.device_put(np.arange(4), SECOND)
    y = functrax.device_put(x, THIRD)
    assert (x.devices(), y.devices()) == ({SECOND}, {THIRD})
    np.testing.assert_array_equal(y, x)
    with pytest.raises(errors.DeviceError, match="operands on one device"):
        x + y


def test_put_on_the_same_device_shares_memory_unless_told() -> None:
    x = jnp.arange(4)
    y = functrax.device_put(x, FIRST)
    assert y.committed
    assert not x.committed
    assert y.unsafe_buffer_pointer() == x.unsafe_buffer_pointer()
    z = functrax.device_put(x, FIRST, may_alias=False)
    assert z.unsafe_buffer_pointer() != x.unsafe_buffer_pointer()


def test_numpy_memory_is_copied_unless_told() -> None:
    array = aligned(64)
    copied = functrax.device_put(array)
    shared = functrax.device_put(array, may_alias=True)
    array[0] = 7
    assert float(copied[0]) == 0
    assert float(shared[0]) == 7


@pytest.mark.parametrize("device", [None, FIRST, SECOND])
def test_donation(device: Any) -> None:
    x = jnp.arange(4)
    y = functrax.device_put(x, device, donate=True)
    np.testing.assert_array_equal(y, [0, 1, 2, 3])
    assert x.is_deleted()
    with pytest.raises(errors.DonatedError, match=r"donated to 'device_put' at test_transfer\.py"):
        x + 1


def test_donation_by_a_prefix() -> None:
    x, y = jnp.arange(4), jnp.arange(4)
    functrax.device_put((x, y), SECOND, donate=(True, False))
    assert (x.is_deleted(), y.is_deleted()) == (True, False)


def test_a_placed_number_may_be_donated() -> None:
    """Numbers share one array per value; that one must not be given away."""
    add_one = functrax.jit(lambda x: x + 1, donate_argnums=0)
    for _ in range(2):
        assert float(add_one(functrax.device_put(3.0))) == 4
        assert float(add_one(3.0)) == 4
        assert float(add_one(functrax.jit(lambda x: x)(3.0))) == 4


def test_keys_can_be_placed() -> None:
    key = functrax.device_put(random_key(0), SECOND)
    assert key.device is SECOND
    assert repr(key.aval) == "key<fry>[]"


def test_what_cannot_be_put() -> None:
    with pytest.raises(errors.ArgumentError) as raised:
        functrax.device_put({"a": "text"})
    assert message(raised) == (
        "[device_put] expected an array or a number at ['a']; got 'text' of type str. "
        "Convert it with `jnp.asarray`."
    )
    with pytest.raises(errors.ArgumentError) as raised:
        functrax.device_put(1, 3)
    assert message(raised) == (
        "[device_put] expected a device, a platform, a sharding, or a pytree of them as device; got "
        "3 of type int. Take one of `functrax.devices()`."
    )
    with pytest.raises(errors.ArgumentError):
        functrax.device_put(1, Sharding())
    with pytest.raises(errors.DeviceError):
        functrax.device_put(1, "tpu")
    with pytest.raises(errors.DeviceError):
        functrax.device_put(1, "abacus")


# Under transforms


def test_put_without_a_device_is_nothing_to_a_program() -> None:
    program = functrax.make_jaxpr(lambda x: functrax.device_put(x))(1.0)
    assert not program.eqns


def test_gradients_come_back() -> None:
    x = functrax.device_put(np.float32(3), SECOND)
    value, gradient = functrax.value_and_grad(lambda x: functrax.device_put(x * x, THIRD) * 2)(x)
    assert (float(value), float(gradient)) == (18, 12)
    assert (value.device, gradient.device) == (THIRD, SECOND)


def test_mapped_values_are_placed() -> None:
    y = functrax.vmap(lambda x: functrax.device_put(x, SECOND) + 1)(np.arange(3))
    assert y.device is SECOND
    np.testing.assert_array_equal(y, [1, 2, 3])


def test_a_compiled_program_has_one_device() -> None:
    with pytest.raises(errors.DeviceError) as raised:
        functrax.jit(lambda x: functrax.device_put(x, SECOND))(1.0)
    assert message(raised) == (
        "[device_put] expected to be called outside of compiled functions, which run where their "
        "arguments are; got a traced value to put on cpu:1. "
        "Place the arguments before the call, or its results after it."
    )


# device_get and block_until_ready


def test_get() -> None:
    tree = {"a": jnp.arange(3), "b": [1.5, "text", None], "c": np.ones(2)}
    got = functrax.device_get(tree)
    assert type(got["a"]) is np.ndarray
    assert not got["a"].flags.writeable
    assert got["a"].ctypes.data == tree["a"].unsafe_buffer_pointer()
    assert got["b"] == [1.5, "text", None]
    assert got["c"] is tree["c"]
    with pytest.raises(errors.TracerArrayError):
        functrax.jit(functrax.device_get)(1.0)


def test_block() -> None:
    tree = {"a": jnp.arange(3), "b": "text"}
    assert functrax.block_until_ready(tree) is tree
    assert functrax.block_until_ready([]) == []
    tree["a"].delete()
    with pytest.raises(errors.DonatedError):
        functrax.block_until_ready(tree)
    functrax.jit(functrax.block_until_ready)(1.0)  # traced values have nothing to wait for


# DLPack


def test_numpy_reads_our_memory() -> None:
    x = jnp.arange(4.0)
    array = np.from_dlpack(x)
    assert array.ctypes.data == x.unsafe_buffer_pointer()
    assert not array.flags.writeable
    del x
    gc.collect()
    np.testing.assert_array_equal(array, [0, 1, 2, 3])


def test_our_memory_outlives_the_name() -> None:
    array = aligned(64)
    x = dlpack.from_dlpack(array)
    array[:] = 5
    del array
    gc.collect()
    assert float(x.sum()) == 320


def test_an_export_with_a_copy() -> None:
    x = jnp.arange(4.0)
    array = np.from_dlpack(x, copy=True)
    assert array.ctypes.data != x.unsafe_buffer_pointer()
    np.testing.assert_array_equal(array, x)


def test_the_arguments_of_the_protocol() -> None:
    x = jnp.arange(4.0)
    assert x.__dlpack_device__() == (1, 0)
    assert functrax.device_put(x, SECOND).__dlpack_device__() == (1, 0)
    for options in ({}, {"max_version": (1, 0)}, {"dl_device": (1, 0)}, {"copy": False}):
        np.testing.assert_array_equal(dlpack.from_dlpack(Exporter(x, options)), x)
    with pytest.raises(BufferError) as raised:
        x.__dlpack__(dl_device=(2, 0))
    assert message(raised) == (
        "[__dlpack__] expected an export to (1, 0), where the array is, or a copy on the CPU; got "
        "dl_device=(2, 0), copy=None."
    )
    with pytest.raises(errors.ExchangeError):
        x.__dlpack__(stream=3)
    x.delete()
    with pytest.raises(errors.DonatedError):
        x.__dlpack__()


class Exporter:
    """An array that is exported with certain options."""

    def __init__(self, array: DeviceArray, options: dict[str, Any]) -> None:
        self.array = array
        self.options = options

    def __dlpack__(self, **_: Any) -> Any:
        return self.array.__dlpack__(**self.options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float64", "complex64", "bool"])
def test_from_numpy(dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    for each in (array, array.T, array[:, ::2]):
        x = dlpack.from_dlpack(each)
        assert x.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(x, each)


def test_read_only_numpy() -> None:
    array = aligned(64)
    array.flags.writeable = False
    x = dlpack.from_dlpack(array)
    assert x.unsafe_buffer_pointer() == array.ctypes.data
    assert dlpack.from_dlpack(array, copy=True).unsafe_buffer_pointer() != array.ctypes.data
    with pytest.raises(errors.ArgumentError):
        dlpack.from_dlpack(array.reshape(8, 8).T, copy=False)


def test_an_import_to_a_device() -> None:
    x = dlpack.from_dlpack(np.arange(3), SECOND)
    assert x.device is SECOND
    np.testing.assert_array_equal(x + 1, [1, 2, 3])


def test_what_cannot_be_imported() -> None:
    with pytest.raises(errors.ArgumentError) as raised:
        dlpack.from_dlpack([1, 2])
    assert message(raised) == (
        "[from_dlpack] expected an array with __dlpack__ and __dlpack_device__; got a value of "
        "type list. A capsule alone does not say where it is: pass the array."
    )
    with pytest.raises(errors.ArgumentError, match="a concrete array"):
        dlpack.to_dlpack(np.ones(3))

    class OnMars(Exporter):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 99, 0

    with pytest.raises(errors.DeviceError) as raised:
        dlpack.from_dlpack(OnMars(jnp.arange(3), {}))
    assert message(raised) == (
        "[from_dlpack] expected an array on a CPU or a visible NVIDIA GPU; got DLPack device "
        "(99, 0)."
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "complex64", "bool"])
def test_torch_both_ways(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    x = functrax.device_put(np.array([[0, 1, 1], [1, 0, 1]])).astype(dtype)
    tensor = torch.from_dlpack(x)
    assert tensor.dtype is getattr(torch, dtype)
    assert tensor.data_ptr() == x.unsafe_buffer_pointer()
    back = dlpack.from_dlpack(tensor)
    assert back.dtype == x.dtype
    assert back.unsafe_buffer_pointer() == x.unsafe_buffer_pointer()
    np.testing.assert_array_equal(np.asarray(back), np.asarray(x))
    np.testing.assert_array_equal(np.asarray(dlpack.from_dlpack(tensor.T)), np.asarray(x).T)


def test_torch_tensors_that_need_gradients_say_so() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(BufferError):
        dlpack.from_dlpack(torch.ones(3, requires_grad=True))
