"""StableHLO modules: golden texts, source locations, names, constants, donation, determinism."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.core.primitive import NOT_LINEAR, ZERO_DERIVATIVE, Primitive, Refusal
from functrax.core.trace import bind
from functrax.xla import mlir

X = np.zeros((2, 3), np.float32)


def text(function: Any, *args: Any, **options: Any) -> str:
    return functrax.jit(function).lower(*args).as_text(**options)


def golden(source: str) -> str:
    return textwrap.dedent(source).lstrip("\n")


def affine(x: Any, w: Any) -> Any:
    return x @ w + 1.0


def test_golden_affine() -> None:
    assert text(affine, X, X.T) == golden("""
        module @jit_affine {
          func.func public @main(%arg0: tensor<2x3xf32>, %arg1: tensor<3x2xf32>) -> tensor<2x2xf32> {
            %0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0] : (tensor<2x3xf32>, tensor<3x2xf32>) -> tensor<2x2xf32>
            %cst = stablehlo.constant dense<1.000000e+00> : tensor<f32>
            %1 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<2x2xf32>
            %2 = stablehlo.add %0, %1 : tensor<2x2xf32>
            return %2 : tensor<2x2xf32>
          }
        }
    """)


def test_golden_reduction_and_call() -> None:
    inner = functrax.jit(lambda x: x.sum(0))

    def outer(x: Any) -> Any:
        return inner(x) + inner(x * 2.0)

    assert text(outer, X) == golden("""
        module @jit_outer {
          func.func public @main(%arg0: tensor<2x3xf32>) -> tensor<3xf32> {
            %0 = call @lambda(%arg0) : (tensor<2x3xf32>) -> tensor<3xf32>
            %cst = stablehlo.constant dense<2.000000e+00> : tensor<f32>
            %1 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<2x3xf32>
            %2 = stablehlo.multiply %arg0, %1 : tensor<2x3xf32>
            %3 = call @lambda(%2) : (tensor<2x3xf32>) -> tensor<3xf32>
            %4 = stablehlo.add %0, %3 : tensor<3xf32>
            return %4 : tensor<3xf32>
          }
          func.func private @lambda(%arg0: tensor<2x3xf32>) -> tensor<3xf32> {
            %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
            %0 = stablehlo.reduce(%arg0 init: %cst) applies stablehlo.add across dimensions = [0] : (tensor<2x3xf32>, tensor<f32>) -> tensor<3xf32>
            return %0 : tensor<3xf32>
          }
        }
    """)


def test_constants_are_written_once() -> None:
    def f(x: Any, rate: Any) -> Any:
        for _ in range(10):
            x = (x * 0.5 + rate) * 0.5
        return x, jnp.where(x > 0.5, 0.0, -0.0)

    module = text(f, X, 0.1)
    assert module.count("stablehlo.constant") == 3
    assert module.count("stablehlo.broadcast_in_dim") == 4


def test_every_line_is_in_the_module() -> None:
    def f(x: Any) -> Any:
        x = jnp.sin(x)
        return jnp.cos(x)

    line = f.__code__.co_firstlineno
    module = text(f, X, debug_info=True)
    assert re.search(rf'loc\("[^"]*test_module\.py":{line + 1}:12\)', module)
    assert re.search(rf'loc\("[^"]*test_module\.py":{line + 2}:15\)', module)
    assert re.search(r'loc\("sin"\(#loc\d*\)\)', module)


def test_named_scopes_are_in_the_module() -> None:
    @functrax.named_scope("norm")
    def norm(x: Any) -> Any:
        return jnp.tanh(x)

    def f(x: Any) -> Any:
        with functrax.named_scope("block"):
            x = jnp.sin(x)
            with functrax.named_scope("head"):
                x = norm(x)
        return functrax.named_call(jnp.cos)(jnp.exp(x))

    module = text(f, X, debug_info=True)
    for name in ("block/sin", "block/head/norm/tanh", "exp", "cos/cos"):
        assert f'loc("{name}"(' in module
    assert "block/head/norm/tanh" in functrax.jit(f).lower(X).compile().as_text()


def test_scopes_follow_gradients() -> None:
    def f(x: Any) -> Any:
        with functrax.named_scope("head"):
            return jnp.sin(x).sum()

    module = text(functrax.grad(f), X, debug_info=True)
    assert '"head/cos"' in module


def test_a_shared_function_does_not_take_its_callers_names() -> None:
    inner = functrax.jit(jnp.sin)

    def f(x: Any) -> Any:
        with functrax.named_scope("first"):
            x = inner(x)
        with functrax.named_scope("second"):
            return inner(x)

    module = text(f, X, debug_info=True)
    assert '"first/jit"' in module
    assert '"second/jit"' in module
    assert '"first/sin"' not in module


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_scope_needs_a_name(name: Any) -> None:
    with pytest.raises(errors.ArgumentError) as raised:
        functrax.named_scope(name)
    assert f"expected a name that is not empty; got {name!r}" in str(raised.value)


def test_a_captured_array_is_an_argument() -> None:
    """20 MB that a function captures are not printed into its module."""
    table = functrax.device_put(np.ones((5_000_000,), np.float32))
    lowered = functrax.jit(lambda x: x + table).lower(np.float32(1))
    assert len(lowered.as_text()) < 100_000
    assert len(mlir.module_bytes(lowered.compiler_ir())) < 10_000
    assert float(functrax.jit(lambda x: (x + table).sum())(1.0)) == 1e7
    array = np.ones((5_000_000,), np.float32)
    assert len(text(lambda x: x + array, np.float32(1))) < 100_000


def test_donated_arguments() -> None:
    def f(x: Any, y: Any) -> Any:
        return x + y

    module = functrax.jit(f, donate_argnums=(0, 1)).lower(X, X).as_text()
    assert "tf.aliasing_output = 0 : i32" in module
    assert "jax.buffer_donor = true" in module


def test_equal_programs_have_equal_bytes() -> None:
    def make(name: str) -> Any:
        def f(x: Any) -> Any:
            return jnp.sin(x) * 2.0 + jnp.asarray(3, "int32")

        f.__name__ = name
        return functrax.jit(f).lower(X)

    first, second = make("first"), make("second")
    assert "jit_first" in first.as_text()
    assert mlir.module_bytes(first.compiler_ir()) == mlir.module_bytes(second.compiler_ir())
    other = functrax.jit(lambda x: jnp.sin(x) * 2.5).lower(X)
    assert mlir.module_bytes(first.compiler_ir()) != mlir.module_bytes(other.compiler_ir())


def test_bytes_are_the_same_in_every_process() -> None:
    code = """
        import hashlib
        import numpy as np
        import functrax, functrax.numpy as jnp
        from functrax.xla import mlir
        def loss(p, x):
            return (jnp.tanh(x @ p["w"] + p["b"]) ** 2).sum()
        params = {"w": np.ones((3, 4), np.float32), "b": np.ones(4, np.float32)}
        f = functrax.jit(functrax.vmap(functrax.grad(loss), (None, 0)))
        module = f.lower(params, np.ones((5, 3), np.float32)).compiler_ir()
        print(hashlib.sha256(mlir.module_bytes(module)).hexdigest())
    """
    root = str(Path(__file__).resolve().parents[2])
    results = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={"PYTHONPATH": root, "PYTHONHASHSEED": seed, "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(results) == 1


def test_a_name_is_made_a_symbol() -> None:
    def f(x: Any) -> Any:
        return x + 1

    f.__name__ = "a <b> c"
    assert "module @jit_a_b_c " in text(f, X)


def test_names_of_functions_are_unique() -> None:
    first, second = functrax.jit(lambda x: jnp.sin(x)), functrax.jit(lambda x: jnp.cos(x))
    module = text(lambda x: first(second(x)) + second(first(x)), X)
    assert "@lambda(" in module
    assert "@lambda_1(" in module


def test_a_primitive_without_a_rule() -> None:
    nameless = Primitive(
        "nameless",
        abstract_eval=lambda x: (x,),
        jvp=ZERO_DERIVATIVE,
        transpose=NOT_LINEAR,
        batch=NOT_LINEAR,
        lower=Refusal("none", "It runs nowhere."),
        declared="here.py:1",
    )
    with pytest.raises(errors.MissingRuleError) as raised:
        functrax.jit(lambda x: bind(nameless, x + 1)[0])(X)
    message = re.sub(r" \(\w+\.py:\d+\)", "", str(raised.value))
    assert message == (
        "[jit] expected a primitive with a rule for 'lower'; got 'nameless', which has none. "
        "It runs nowhere. Add `lower=` to its declaration at here.py:1."
    )
