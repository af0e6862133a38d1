"""Ahead-of-time stages: what each knows, and what a compiled program refuses."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import functrax
from functrax import errors, sharding, stages
from functrax.core.primitive import registry
from functrax.core.trace import as_value, bind

X = np.arange(3, dtype=np.float32)
Y = np.ones(3, np.float32)


def add(x: Any, y: Any) -> Any:
    return bind(registry["add"], as_value(x, "add"), as_value(y, "add"))[0]


def sin(x: Any) -> Any:
    return bind(registry["sin"], as_value(x, "sin"))[0]


def model(params: Any, x: Any, *, shift: Any) -> Any:
    return {"out": add(params["w"], sin(x)), "shift": (shift, None)}


PARAMS = {"w": X, "unused": np.zeros((2, 2), np.int32)}


def on_device(x: Any) -> Any:
    return functrax.jit(lambda x: x)(x)


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    """Return the message without the line it names."""
    return re.sub(r" \(\w+\.py:\d+\)", "", str(error.value))


@pytest.fixture
def compiled() -> stages.Compiled:
    return functrax.jit(model).lower(PARAMS, X, shift=1).compile()


def test_traced() -> None:
    traced = functrax.jit(model).trace(PARAMS, X, shift=1)
    assert isinstance(traced, stages.Traced)
    assert traced.fun_name == "model"
    assert [eqn.primitive.name for eqn in traced.jaxpr.eqns] == ["sin", "add"]
    assert str(traced.in_avals) == (
        "(({'unused': i32[2,2], 'w': f32[3]}, f32[3]), {'shift': ~i32[]})"
    )
    assert traced.out_info == {
        "out": functrax.ShapeDtypeStruct((3,), "float32"),
        "shift": (functrax.ShapeDtypeStruct((), "int32", weak_type=True), None),
    }
    assert repr(traced) == (
        "<Traced model: (i32[2,2], f32[3], f32[3], ~i32[]) -> (f32[3], ~i32[])>"
    )


def test_every_stage_knows_the_signature() -> None:
    traced = functrax.jit(model).trace(PARAMS, X, shift=1)
    lowered = traced.lower()
    for stage in (lowered, lowered.compile()):
        assert str(stage.in_avals) == str(traced.in_avals)
        assert stage.in_tree == traced.in_tree
        assert stage.out_tree == traced.out_tree
        assert stage.out_info == traced.out_info
        assert stage.args_info == traced.args_info
        assert str(stage.out_avals) == "{'out': f32[3], 'shift': (~i32[], None)}"


def test_captured_values_are_constants_of_the_jaxpr() -> None:
    y = on_device(Y)
    captured = functrax.jit(lambda x: add(x, y)).trace(X)
    assert len(captured.jaxpr.consts) == 1
    assert len(captured.jaxpr.jaxpr.constvars) == 1
    assert str(captured.in_avals) == "((f32[3],), {})"
    np.testing.assert_array_equal(captured.lower().compile()(X), X + 1)


def test_shapes_are_enough() -> None:
    spec = functrax.ShapeDtypeStruct((3,), "float32")
    compiled = functrax.jit(add).lower(spec, spec).compile()
    np.testing.assert_array_equal(compiled(X, Y), X + Y)


FORMS: dict[str, Callable[[float], Any]] = {
    "number": lambda x: x,
    "NumPy's": np.float32,
    "weak array": lambda x: functrax.numpy.asarray(x),
    "array": lambda x: functrax.numpy.float32(x),
}


@pytest.mark.parametrize("traced", FORMS)
@pytest.mark.parametrize("given", FORMS)
def test_results_have_the_type_that_was_traced(traced: str, given: str) -> None:
    """Also one that is an argument, which is weak in another call."""
    compiled = functrax.jit(lambda x: (x, x + x)).lower(FORMS[traced](2.0)).compile()
    for _ in range(3):
        found = compiled(FORMS[given](3.0))
        assert [x.item() for x in found] == [3, 6]
        assert [x.aval for x in found] == [compiled.in_avals[0][0]] * 2


def test_eval_shape_of_a_jitted_function() -> None:
    shapes = functrax.jit(sin).eval_shape(functrax.ShapeDtypeStruct((2, 3), "float32"))
    assert shapes == functrax.ShapeDtypeStruct((2, 3), "float32")


def test_lowered_text() -> None:
    lowered = functrax.jit(add).lower(X, Y)
    text = lowered.as_text()
    assert "module @jit_add" in text
    assert "stablehlo.add" in text
    assert "loc(" not in text
    assert "test_ahead.py" in lowered.as_text(debug_info=True)
    assert lowered.as_text("hlo").startswith("HloModule jit_add")
    assert "stablehlo.add" in str(lowered.compiler_ir())
    assert lowered.compiler_ir("hlo") == lowered.as_text("hlo")
    with pytest.raises(errors.ArgumentError) as raised:
        lowered.as_text("mhlo")
    assert message(raised) == "[as_text] expected the dialect 'stablehlo' or 'hlo'; got 'mhlo'."


def test_costs_and_memory() -> None:
    lowered = functrax.jit(add).lower(X, Y)
    compiled = lowered.compile()
    assert lowered.cost_analysis()["flops"] == 3
    assert compiled.cost_analysis()["flops"] == 3
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes == 24
    assert memory.output_size_in_bytes == 12
    assert "f32[3]" in compiled.as_text()
    assert compiled.runtime_executable() is not None


def test_a_compiled_program_runs(compiled: stages.Compiled) -> None:
    result = compiled(PARAMS, X, shift=5)
    np.testing.assert_allclose(result["out"], X + np.sin(X), rtol=1e-6)
    assert int(result["shift"][0]) == 5
    assert result["shift"][1] is None
    arrays = on_device(PARAMS)
    again = compiled(arrays, on_device(X), shift=5)
    np.testing.assert_array_equal(again["out"], result["out"])


def test_without_arguments() -> None:
    y = on_device(Y)
    compiled = functrax.jit(lambda: sin(y)).lower().compile()
    np.testing.assert_allclose(compiled(), np.sin(Y), rtol=1e-6)


def test_static_arguments_are_left_out() -> None:
    def scaled(x: Any, factor: float, name: str) -> Any:
        return add(x, factor)

    jitted = functrax.jit(scaled, static_argnums=1, static_argnames="name")
    compiled = jitted.lower(X, 2.0, name="double").compile()
    np.testing.assert_array_equal(compiled(X), X + 2)
    with pytest.raises(errors.ArgumentError) as raised:
        compiled(X, 2.0)
    assert message(raised) == (
        "[scaled] expected 1 positional arguments, as it was compiled; got 2 positional "
        "arguments. Leave static arguments out."
    )


def test_names_of_arguments_count_static_ones() -> None:
    compiled = functrax.jit(lambda size, x, y: add(x, y), static_argnums=0).lower(3, X, Y).compile()
    with pytest.raises(errors.ArgumentError) as raised:
        compiled(X, np.zeros(4, np.float32))
    assert "expected 'y' to be f32[3], for which it was compiled; got f32[4]" in message(raised)


REFUSED = {
    "shape": (
        lambda f: f({"w": X, "unused": np.zeros((2, 3), np.int32)}, X, shift=1),
        errors.ArgumentError,
        "[model] expected \"params['unused']\" to be i32[2,2], for which it was compiled; got "
        "i32[2,3]. Convert it, or call the jitted function, which compiles for any type.",
    ),
    "dtype": (
        lambda f: f(PARAMS, X.astype(np.int32), shift=1),
        errors.ArgumentError,
        "[model] expected 'x' to be f32[3], for which it was compiled; got i32[3]. Convert it, or "
        "call the jitted function, which compiles for any type.",
    ),
    "count": (
        lambda f: f(PARAMS, shift=1),
        errors.ArgumentError,
        "[model] expected 2 positional arguments and shift by name, as it was compiled; got 1 "
        "positional arguments and shift by name. Leave static arguments out.",
    ),
    "keyword": (
        lambda f: f(PARAMS, X),
        errors.ArgumentError,
        "[model] expected 2 positional arguments and shift by name, as it was compiled; got 2 "
        "positional arguments. Leave static arguments out.",
    ),
    "keys": (
        lambda f: f({"w": X}, X, shift=1),
        errors.TreeError,
        "[model] expected params to be a dict with the keys 'unused', 'w'; got a dict with the "
        "keys 'w'. It lacks 'unused'.",
    ),
    "container": (
        lambda f: f(PARAMS, [X, X], shift=1),
        errors.TreeError,
        "[model] expected 'x' to be one array; got PyTreeDef([*, *]).",
    ),
    "not an array": (
        lambda f: f(PARAMS, "abc", shift=1),
        errors.ArgumentError,
        "[model] expected an array or a number; got 'abc' of type str. Convert it with "
        "`jnp.asarray`.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_compiled_program_refuses(compiled: stages.Compiled, case: str) -> None:
    call, kind, text = REFUSED[case]
    with pytest.raises(kind) as raised:
        call(compiled)
    assert message(raised) == text


def test_traced_values_are_refused() -> None:
    compiled = functrax.jit(sin).lower(X).compile()
    with pytest.raises(errors.ArgumentError) as raised:
        functrax.jit(lambda x: compiled(x))(X)
    assert "expected a concrete array for 'x' of a compiled function; got a traced f32[3]" in (
        message(raised)
    )
    np.testing.assert_allclose(functrax.jit(lambda: compiled(X))(), np.sin(X), rtol=1e-6)


def test_a_captured_tracer_is_refused() -> None:
    def outer(y: Any) -> Any:
        functrax.jit(lambda x: add(x, y)).lower(X)

    with pytest.raises(errors.ArgumentError) as raised:
        functrax.jit(outer)(Y)
    assert "expected '<lambda>' to depend on its arguments only; got a traced f32[3]" in (
        message(raised)
    )


def test_donation_is_kept() -> None:
    compiled = functrax.jit(add, donate_argnums=0).lower(X, Y).compile()
    assert compiled.donate_argnums == (0,)
    assert compiled.args_info[0][0] == stages.ArgInfo((3,), np.dtype(np.float32), True)
    taken = on_device(X)
    compiled(taken, Y)
    with pytest.raises(errors.DonatedError, match=r"donated to 'add' at test_ahead\.py"):
        np.asarray(taken)


def test_compiler_options() -> None:
    lowered = functrax.jit(add).lower(X, Y)
    fast = lowered.compile({"xla_cpu_enable_fast_math": True})
    np.testing.assert_array_equal(fast(X, Y), X + Y)
    with pytest.raises(errors.ExecutionError, match="xla_no_such_option"):
        lowered.compile({"xla_no_such_option": 1})


def test_compiler_options_of_jit() -> None:
    fast = functrax.jit(add, compiler_options={"xla_cpu_enable_fast_math": True})
    np.testing.assert_array_equal(fast(X, Y), X + Y)
    wrong = functrax.jit(compiler_options={"xla_no_such_option": 1})(add)
    for run in (lambda: wrong(X, Y), wrong.lower(X, Y).compile):
        with pytest.raises(errors.ExecutionError, match="xla_no_such_option"):
            run()
    assert functrax.vmap(wrong)(X, Y).shape == X.shape  # part of the program of `vmap`


def test_lowering_for_a_platform_that_is_not_here() -> None:
    traced = functrax.jit(sin).trace(X)
    for platform in ("tpu", "gpu", "cuda"):
        lowered = traced.lower(lowering_platforms=(platform,))
        assert "stablehlo.sine" in lowered.as_text()
        assert lowered.cost_analysis()["transcendentals"] == 3
    with pytest.raises(errors.DeviceError):
        traced.lower(lowering_platforms=("tpu",)).compile()
    with pytest.raises(errors.ArgumentError) as raised:
        traced.lower(lowering_platforms=("cpu", "tpu"))
    assert message(raised) == (
        "[lower] expected one of cpu, gpu, cuda, tpu as lowering_platforms; got ('cpu', 'tpu'). "
        "Lower once for each platform."
    )


def test_wrong_arguments_of_trace() -> None:
    with pytest.raises(errors.ArgumentError, match="the arguments of add"):
        functrax.jit(add).trace(X)


def test_on_another_device() -> None:
    first, second = functrax.devices()[:2]
    there = sharding.SingleDeviceSharding(second)
    spec = functrax.ShapeDtypeStruct((3,), "float32", sharding=there)
    compiled = functrax.jit(sin).lower(spec).compile()
    assert compiled.input_shardings == ((there,), {})
    assert compiled.output_shardings == there
    result = compiled(X)
    assert result.devices() == {second}
    np.testing.assert_allclose(result, np.sin(X), rtol=1e-6)
    with pytest.raises(errors.DeviceError) as raised:
        compiled(functrax.device_put(X, first))
    assert message(raised) == (
        "[sin] expected 'x' on cpu:1, for which it was compiled; got an array on cpu:0. "
        "Move it with `device_put`."
    )
    here = sharding.SingleDeviceSharding(first)
    other = functrax.ShapeDtypeStruct((3,), "float32", sharding=here)
    with pytest.raises(errors.DeviceError, match="arguments on one device; got cpu:0 and cpu:1"):
        functrax.jit(add).lower(spec, other)
