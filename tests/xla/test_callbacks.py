import ml_dtypes
import numpy as np
import pytest

from functrax.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from functrax.xla import buffers, callbacks, mlir

F32 = np.dtype("float32")


@pytest.fixture
def calling(compile_on_cpu, context, put, read):
    """calling(function, in_type, out_type) runs a program that calls function on ones."""

    def run(function, in_type=((4,), F32), out_type=((4,), F32)):
        attributes = callbacks.callback_attributes(
            context, "cpu", 0, [len(in_type[0])], [len(out_type[0])], has_side_effect=False
        )

        def body(x):
            kind = context.tensor_type(*out_type)
            return mlir.operation(context, "stablehlo.custom_call", [kind], [x], attributes).results

        host = callbacks.host_function(function, [out_type])
        program = compile_on_cpu([in_type], [out_type], body, callbacks=[host])
        (result,) = program([put(np.ones(*in_type))])
        return read(result, *out_type)

    return run


@pytest.mark.parametrize(
    "dtype", [F32, np.dtype(bool), np.dtype(ml_dtypes.bfloat16), np.dtype("c8")]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_arrays_go_in_and_out(shape, dtype, calling):
    seen = []

    def function(x):
        seen.append((x.shape, x.dtype, x.flags.writeable))
        return (x.copy(),)

    got = calling(function, (shape, dtype), (shape, dtype))
    assert seen == [(shape, dtype, False)]
    np.testing.assert_array_equal(got, np.ones(shape, dtype))


@pytest.mark.parametrize(
    "result",
    [
        np.arange(8, dtype=np.float32)[::2],
        np.array([0, 2, 4, 6], ">f4"),
        np.float32([0, 2, 4, 6]),
    ],
    ids=["strided", "big-endian", "plain"],
)
def test_results_of_any_layout(result, calling):
    assert calling(lambda x: (result,)).tolist() == [0, 2, 4, 6]


def test_a_python_number_takes_the_dtype(calling):
    assert calling(lambda x: (3,), out_type=((), F32)) == 3.0


@pytest.mark.parametrize(
    ("function", "error", "got"),
    [
        (lambda x: (x[:2],), ShapeError, "shape (2,)"),
        (lambda x: (x.astype("float64"),), DtypeError, "dtype float64"),
        (lambda x: (x, x), ArgumentError, "2"),
        (lambda x: (), ArgumentError, "0"),
    ],
    ids=["shape", "dtype", "many", "few"],
)
def test_wrong_results_are_refused(function, error, got, calling):
    with pytest.raises(error) as caught:
        calling(function)
    assert type(caught.value) is error
    assert (caught.value.call, caught.value.got) == ("pure_callback", got)


def test_the_very_exception_comes_back(calling):
    error = KeyError("mine")

    def function(x):
        raise error

    with pytest.raises(KeyError) as caught:
        calling(function)
    assert caught.value is error


def test_only_the_last_failures_are_kept():
    from functrax.xla import failure

    for number in range(-200, -100):
        failure.keep_callback_failure(number, ValueError(number))
    assert len(failure._callback_failures) == 64
    text = failure.callback_message(-101, ValueError())
    assert "functrax-callback-failure--101" in text


def test_a_call_with_side_effects_is_kept(compile_on_cpu, context, put):
    calls = []
    attributes = callbacks.callback_attributes(context, "cpu", 0, [1], [], has_side_effect=True)

    def body(x):
        mlir.operation(context, "stablehlo.custom_call", [], [x], attributes)
        return [x]

    host = callbacks.host_function(lambda x: calls.append(x.sum()) or (), [])
    types = [((4,), F32)]
    buffers.block_until_ready(
        compile_on_cpu(types, types, body, callbacks=[host])([put(np.ones(4, F32))])
    )
    assert calls == [4]


def test_a_callback_may_run_programs(calling, double, put, read):
    def function(x):
        return (read(double([put(x)])[0], (4,), F32),)

    assert calling(function).tolist() == [2] * 4


def test_a_platform_without_callbacks(context):
    with pytest.raises(DeviceError) as caught:
        callbacks.callback_attributes(context, "tpu", 0, [], [], True)
    assert caught.value.got == "tpu"
