"""Compiled functions as operations: C++ handlers, made here with the machine's compiler."""

import ctypes
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxlib import xla_client

import functrax
import functrax.numpy as jnp
from functrax import errors, extend, ffi, lax
from functrax.core.primitive import registry
from functrax.testing import check_grads

COMPILER = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
X = np.arange(4, dtype=np.float32)
METHODS = ["sequential", "sequential_unrolled", "expand_dims", "broadcast_all"]
both = pytest.mark.parametrize("jit", [functrax.jit, lambda f: f], ids=["jit", "eager"])
HANDLERS = ["Axpy", "Two", "Copy", "InPlace", "Show", "Count", "Fail"]


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler on this machine")
    path = tmp_path_factory.mktemp("ffi") / "kernels.so"
    source = Path(__file__).with_name("kernels.cc")
    options = ["-std=c++17", "-O0", "-w", "-fPIC", "-shared", f"-I{ffi.include_dir()}"]
    subprocess.run([COMPILER, *options, str(source), "-o", str(path)], check=True)
    loaded = ctypes.CDLL(str(path))
    for name in HANDLERS:
        ffi.register_ffi_target(f"test_{name}", ffi.pycapsule(getattr(loaded, name)))
    ffi.register_ffi_target("test_Old", ffi.pycapsule(loaded.Old), api_version=0)
    for name in ("MemoryId", "MemoryInfo"):
        getattr(loaded, name).restype = ctypes.c_void_p
    loaded.Calls.restype = ctypes.c_int64
    ffi.register_ffi_type(
        "test_Memory",
        {
            "type_id": ffi.pycapsule(loaded.MemoryId()),
            "type_info": ffi.pycapsule(loaded.MemoryInfo()),
        },
    )
    stages = {"instantiate": loaded.RememberMake, "execute": loaded.Remember}
    ffi.register_ffi_target("test_Remember", {k: ffi.pycapsule(v) for k, v in stages.items()})
    return loaded


@pytest.fixture(params=[functrax, jax], ids=["ours", "theirs"])
def lib(request):
    return request.param


def axpy(x, y, a=2.0, method=None, lib=functrax, like=X):
    call = lib.ffi.ffi_call(
        "test_Axpy", lib.ShapeDtypeStruct(like.shape, "float32"), vmap_method=method
    )
    return call(x, y, a=np.float32(a))


def message(caught):
    return str(caught.value)


# Values -------------------------------------------------------------------------------------------


@both
def test_a_call(jit):
    result = jit(axpy)(jnp.asarray(X), jnp.ones(4))
    np.testing.assert_array_equal(result, 2 * X + 1)
    assert (result.dtype, result.weak_type) == (np.float32, False)
    np.testing.assert_array_equal(jit(axpy)(X, 1.0), 2 * X + 1)  # NumPy arrays, and numbers
    # Attributes that are equal in Python are not the same call.
    for a in (2.0, 0.0, -0.0, np.inf):
        got = jit(partial(axpy, a=a))(jnp.ones(4), -jnp.zeros(4))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(np.float32(a)))


@both
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint32", "int64", "bfloat16", "float16", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_arrays_of_every_kind(jit, dtype, shape):
    x = jnp.ones(shape, dtype)
    result = jit(lambda x: ffi.ffi_call("test_Copy", x)(x))(x)
    assert (result.shape, result.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(x))


@both
@pytest.mark.parametrize("kind", [tuple, list, lambda pair: dict(zip("ab", pair, strict=True))])
def test_several_results(jit, kind):
    like = kind([jnp.float32(0), X])
    got = jit(lambda x: ffi.ffi_call("test_Two", like)(x))(X)
    assert functrax.tree.structure(got) == functrax.tree.structure(like)
    total, reversed_ = functrax.tree.leaves(got)
    assert total == 6
    np.testing.assert_array_equal(reversed_, X[::-1])


@both
def test_attributes(jit):
    like = functrax.ShapeDtypeStruct((11,), "float64")
    attributes = {
        "flag": True,
        "i8": np.int8(-3),
        "i32": np.int32(2**31 - 1),
        "u64": np.uint64(2**64 - 1),
        "integer": -(2**63),
        "real": 0.1,
        "text": "héllo",
        "array": np.array([[1, 2], [3, -4]]),
        "splat": np.ones(40, ">f4"),
        "inner": {"deep": {"n": 7}, "unused": {}},
    }
    f = lambda **changed: ffi.ffi_call("test_Show", like)(**{**attributes, **changed})  # noqa: E731
    wanted = [1, -3, 2**31 - 1, 1, -(2**63), 0.1, 6, 4, -4, 40, 7]
    np.testing.assert_array_equal(jit(lambda: f())(), wanted)
    other = jit(lambda: f(flag=np.False_, real=-np.inf, array=np.zeros(0, int), text=""))()
    np.testing.assert_array_equal(other[jnp.array([0, 5, 6, 7])], [0, -np.inf, 0, 0])
    assert np.isnan(jit(lambda: f(real=np.float64("nan")))()[5])


@pytest.mark.parametrize(
    "value",
    [1j, None, (1, 2), b"x", np.float16(1), np.array([True]), np.ones(2, "complex64"), {"": 1}],
    ids=repr,
)
def test_attributes_that_xla_does_not_take(value):
    with pytest.raises(errors.ArgumentError, match=r"\[ffi_call\] expected attributes"):
        ffi.ffi_call("test_Copy", X)(X, v=value)


def test_an_attribute_that_is_an_array():
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.jit(lambda x: ffi.ffi_call("test_Copy", X)(X, v={"a": x}))(1)
    assert "; got v['a']=Tracer<" in message(caught)
    assert "Pass it as an operand, or read its value with `numpy.asarray`." in message(caught)
    with pytest.raises(errors.IntegerOverflowError):
        ffi.ffi_call("test_Copy", X)(X, v=2**63)


@both
def test_a_result_over_an_operand(jit):
    x = jnp.asarray(X)
    f = ffi.ffi_call("test_InPlace", X, input_output_aliases={0: 0}, vmap_method="broadcast_all")
    np.testing.assert_array_equal(jit(f)(x), X + 1)
    np.testing.assert_array_equal(jit(functrax.vmap(f))(np.stack([X, x])), np.stack([X, X]) + 1)
    np.testing.assert_array_equal(x, X)


@both
@pytest.mark.parametrize("inputs", [None, [(1, 0)], [None], [(0, 1)]])
@pytest.mark.parametrize("outputs", [None, (1, 0), (0, 1)])
def test_layouts(jit, lib, inputs, outputs):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    call = lib.ffi.ffi_call(
        "test_Copy",
        lib.ShapeDtypeStruct((2, 3), "float32"),
        input_layouts=inputs,
        output_layouts=outputs,
        vmap_method="broadcast_all",
    )
    seen = x.T if inputs == [(1, 0)] else x  # the elements as they lie in memory
    wanted = seen.reshape(3, 2).T if outputs == (1, 0) else seen.reshape(2, 3)
    run = (lambda f: lib.jit(f)) if jit is functrax.jit else jit
    np.testing.assert_array_equal(run(call)(x), wanted)
    lanes = run(lib.vmap(call, 1, 1))(np.stack([x, x + 6], 1))
    np.testing.assert_array_equal(lanes, np.stack([wanted, wanted + 6], 1))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_conventions(version):
    f = partial(ffi.ffi_call, "test_Old", X, custom_call_api_version=version)
    np.testing.assert_array_equal(functrax.jit(f(legacy_backend_config="x"))(X), 2 * X)
    with pytest.raises(errors.ArgumentError, match="no attributes with custom_call_api_version"):
        f()(X, a=1)


def test_state():
    f = functrax.jit(lambda: ffi.ffi_call("test_Remember", jnp.int32(0))())
    assert [int(f()) for _ in range(3)] == [1, 2, 3]


# Transformations ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 1), (1, 0)])
def test_vmap_as_jax(jit, method, axes):
    a, b = (
        X if d is None else np.stack([X, X + 1, X + 2], axis=d) * i for i, d in enumerate(axes, 1)
    )
    ours = jit(functrax.vmap(partial(axpy, method=method), axes))(a, b)
    theirs = jax.vmap(partial(axpy, method=method, lib=jax), axes)(a, b)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_of_vmap_and_of_nothing(method):
    f = functrax.vmap(functrax.vmap(partial(axpy, method=method, like=np.float32(0))))
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(f(table, table), 3 * table)
    empty = functrax.vmap(partial(axpy, method=method))(jnp.zeros((0, 4)), jnp.zeros((0, 4)))
    assert empty.shape == (0, 4)


@pytest.mark.parametrize("method", METHODS)
def test_how_often_it_is_called(library, method):
    before = library.Calls()
    functrax.block_until_ready(
        functrax.vmap(partial(axpy, method=method))(np.stack([X] * 3), X[:3, None] + X)
    )
    assert library.Calls() - before == (3 if "sequential" in method else 1)


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        (lambda x: lax.scan(lambda c, y: (axpy(c, y), c), x, jnp.ones((3, 4)))[0], 8 * X + 7),
        (lambda x: lax.cond(x[1] > 0, lambda x: axpy(x, x), lambda x: x, x), 3 * X),
        (lambda x: lax.fori_loop(0, 3, lambda _, c: axpy(c, c), x), 27 * X),
        (lambda x: functrax.checkpoint(axpy)(x, x), 3 * X),
        (lambda x: lax.map(lambda y: axpy(y, y, like=y), x), 3 * X),
        (
            lambda x: functrax.vmap(
                lambda y: lax.cond(
                    y > 1, lambda y: axpy(y, y, like=y, method="expand_dims"), lambda y: y, y
                )
            )(x),
            np.where(X > 1, 3 * X, X),
        ),
    ],
    ids=["scan", "cond", "loop", "checkpoint", "map", "vmap of cond"],
)
@both
def test_inside_of_control_flow(jit, program, wanted):
    np.testing.assert_array_equal(jit(program)(jnp.asarray(X)), wanted)


def test_derivatives_by_custom_rules():
    @functrax.custom_vjp
    def f(x, y):
        return axpy(x, y, method="broadcast_all")

    f.defvjp(
        lambda x, y: (f(x, y), None),
        lambda _, ct: (axpy(ct, jnp.zeros(4), method="broadcast_all"), ct),
    )
    check_grads(f, (X, X + 1), order=1, modes=["rev"])
    rows = functrax.vmap(functrax.grad(lambda x: (f(x, x) ** 2).sum()))(np.stack([X, X + 1]))
    np.testing.assert_allclose(rows, 18 * np.stack([X, X + 1]))

    @functrax.custom_jvp
    def g(x):
        return axpy(x, 0.0)

    g.defjvp(lambda primals, tangents: (g(*primals), g(*tangents)))
    np.testing.assert_array_equal(functrax.jvp(functrax.jit(g), (X,), (X,))[1], 2 * X)


@pytest.mark.parametrize(
    "derive",
    [
        lambda f: functrax.grad(lambda x: f(x).sum())(X),
        lambda f: functrax.jvp(f, (X,), (X,)),
        lambda f: functrax.linear_transpose(f, X)(X),
        lambda f: functrax.jit(functrax.grad(lambda x: functrax.jit(f)(x).sum()))(X),
    ],
    ids=["grad", "jvp", "transpose", "jit"],
)
def test_no_derivative(derive):
    with pytest.raises(errors.MissingRuleError) as caught:
        derive(lambda x: axpy(x, x))
    text = message(caught)
    assert text.startswith(
        "[ffi_call] expected a call that is not differentiated; got a derivative of 'test_Axpy' ("
    )
    assert text.endswith(
        "What a compiled function computes has no derivative: give it one with `custom_jvp` or "
        "`custom_vjp`, or stop gradients in front of it."
    )
    grads = functrax.grad(lambda x: (x * axpy(lax.stop_gradient(x), 0.0)).sum())(X)
    np.testing.assert_array_equal(grads, 2 * X)


def test_a_primitive_of_it():
    def combine(x, y):
        return extend.bind(combine_p, x, y, a=np.float32(2))[0]

    def jvp(primals, tangents, a):
        tx, ty = (jnp.zeros(4) if t is None else t for t in tangents)
        return [combine(*primals)], [combine(tx, ty)]

    def transpose(cotangents, x, y, a):
        (ct,) = cotangents
        gradients = (combine(ct, jnp.zeros(4)), ct)
        return [g if extend.is_linear(v) else None for g, v in zip(gradients, (x, y), strict=True)]

    combine_p = extend.declare(
        "test_combine",
        abstract_eval=lambda x, y, a: (x,),
        jvp=jvp,
        transpose=transpose,
        batch=extend.Refusal("not written", "It is not."),
        lower=ffi.ffi_lowering("test_Axpy"),
    )
    try:
        np.testing.assert_array_equal(functrax.jit(combine)(jnp.asarray(X), jnp.ones(4)), 2 * X + 1)
        check_grads(combine, (X, X + 1), order=2)
    finally:
        del registry["test_combine"]


# Effects ------------------------------------------------------------------------------------------


def count(*operands):
    return ffi.ffi_call("test_Count", (), has_side_effect=True, vmap_method="sequential")(*operands)


@pytest.mark.parametrize(
    ("program", "times"),
    [
        (count, 1),
        (functrax.jit(count), 1),
        (functrax.jit(lambda x: (count(x), x)[1]), 1),
        (lambda x: lax.fori_loop(0, 5, lambda i, c: (count(i), c)[1], x), 5),
        (lambda x: lax.cond(x[1] > 0, lambda: count(), lambda: ()), 1),
        (lambda x: lax.cond(x[1] < 0, lambda: count(), lambda: ()), 0),
        (functrax.vmap(count), 4),
        (functrax.jit(functrax.vmap(lambda x: (count(x), x)[1])), 4),
        (functrax.grad(lambda x: (count(lax.stop_gradient(x)), x.sum())[1]), 1),
    ],
    ids=["eager", "jit", "unused", "loop", "cond", "other branch", "vmap", "both", "grad"],
)
def test_side_effects_happen_once(library, program, times):
    for _ in range(3):  # the second call goes another way
        before = library.Calls()
        program(jnp.asarray(X))
        assert library.Calls() - before == times  # without waiting for results


def test_what_only_computes_is_removed(library):
    before = library.Calls()
    functrax.jit(lambda x: (axpy(x, x), x)[1])(X)
    assert library.Calls() == before
    assert "io" in functrax.make_jaxpr(count)(X).jaxpr.effects
    assert not functrax.make_jaxpr(axpy)(X, X).jaxpr.effects


# Errors -------------------------------------------------------------------------------------------


@both
def test_a_target_that_is_not_registered(jit):
    f = jit(lambda x: ffi.ffi_call("test_nowhere", x)(x))
    for _ in range(2):
        with pytest.raises(errors.MissingTargetError) as caught:
            f(X)
        text = message(caught)
        assert text.startswith(
            "[compile] expected a custom call target that is registered for the platform 'cpu'; "
            "got 'test_nowhere' (test_ffi.py:"
        )
        assert text.endswith(
            "Register it with `functrax.ffi.register_ffi_target` before the program is compiled."
        )
    with pytest.raises(errors.MissingTargetError, match="'test_nowhere'"):
        jit(lambda x: ffi.ffi_call("test_nowhere", x, custom_call_api_version=2)(x))(X)


def test_it_may_be_registered_later(library):
    f = functrax.jit(lambda x: ffi.ffi_call("test_later", x)(x))
    with pytest.raises(errors.MissingTargetError):
        f(X)
    ffi.register_ffi_target("test_later", ffi.pycapsule(library.Copy))
    ffi.register_ffi_target("test_later", ffi.pycapsule(library.Copy))  # the same again
    np.testing.assert_array_equal(f(X), X)


@both
@pytest.mark.parametrize("effect", [False, True])
def test_a_kernel_that_fails(library, jit, effect):
    f = jit(lambda x: ffi.ffi_call("test_Fail", x, has_side_effect=effect)(x))
    for _ in range(3):
        before = library.Calls()
        with pytest.raises(errors.ExecutionError, match="the kernel says no"):
            functrax.block_until_ready(f(jnp.asarray(X)))
        if effect:
            assert library.Calls() - before == 1


@both
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: axpy(jnp.arange(4), X), "Wrong buffer dtype: expected F32 but got S32"),
        (lambda: ffi.ffi_call("test_Axpy", X)(X, a=np.float32(1)), "Wrong number of arguments"),
        (lambda: ffi.ffi_call("test_Axpy", X)(X, X), "Wrong number of attributes"),
        (lambda: ffi.ffi_call("test_Axpy", X)(X, X, a=1.0), "expected F32 but got F64"),
        (lambda: ffi.ffi_call("test_Two", X)(X), "Wrong number of results"),
    ],
    ids=["dtype", "operands", "attributes", "attribute", "results"],
)
def test_what_handlers_check(jit, call, text):
    with pytest.raises(errors.ExecutionError, match=text):
        functrax.block_until_ready(jit(call)())


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"vmap_method": "all"}, errors.ArgumentError, "vmap_method as None or one of "),
        ({"input_layouts": []}, errors.ArgumentError, "1 input_layouts; got 0"),
        (
            {"input_layouts": [(0, 0)]},
            errors.ArgumentError,
            "input_layouts[0]: None, or the axes of f32[2,3] from the slowest to the fastest; "
            "got (0, 0)",
        ),
        ({"output_layouts": (1, 2)}, errors.ArgumentError, "output_layouts[0]: None, or the axes"),
        (
            {"input_output_aliases": {1: 0}},
            errors.ArgumentError,
            "input_output_aliases {1: 0} to name one of 1 operands and 1 results",
        ),
        (
            {"input_output_aliases": {0: 0}, "output_layouts": (1, 0)},
            errors.ArgumentError,
            "input_output_aliases {0: 0} to name an operand and a result of one layout",
        ),
        ({"custom_call_api_version": 5}, errors.ArgumentError, "custom_call_api_version from 1"),
        ({"legacy_backend_config": ""}, errors.ArgumentError, "legacy_backend_config=None"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, kind, text):
    x = jnp.ones((2, 3))
    with pytest.raises(kind) as caught:
        ffi.ffi_call("test_Copy", x, **options)(x)
    assert f"[ffi_call] expected {text}" in message(caught)


def test_aliases_of_two_types():
    f = ffi.ffi_call("test_InPlace", X, input_output_aliases={0: 0}, vmap_method="expand_dims")
    with pytest.raises(errors.ShapeError, match="an operand and a result of one type"):
        f(X[:2])
    two = ffi.ffi_call("test_Axpy", X, input_output_aliases={1: 0}, vmap_method="expand_dims")
    with pytest.raises(errors.ShapeError, match="other than 'expand_dims'"):
        functrax.vmap(lambda x: two(x, X, a=np.float32(1)))(np.stack([X, X]))


def test_no_method_and_no_keys():
    with pytest.raises(errors.MissingRuleError) as caught:
        functrax.vmap(axpy)(np.stack([X]), np.stack([X]))
    assert "[vmap] expected ffi_call of 'test_Axpy' to say how it is mapped" in message(caught)
    with pytest.raises(errors.KeyTypeError, match="key_data"):
        ffi.ffi_call("test_Copy", X)(functrax.random.key(0))


def test_wrong_registrations(library):
    with pytest.raises(errors.ArgumentError, match=r"\[register_ffi_target\] .*Duplicate"):
        ffi.register_ffi_target("test_Copy", ffi.pycapsule(library.Axpy))
    with pytest.raises(errors.ArgumentError, match=r"\[register_ffi_target\] expected a new name"):
        ffi.register_ffi_target("test_wrong", library.Copy)
    with pytest.raises(errors.ArgumentError, match=r"\[register_ffi_type\] expected a new name"):
        ffi.register_ffi_type("test_wrong", 3)
    for pointer in ("Copy", 0, None, 1.5):
        with pytest.raises(errors.ArgumentError, match=r"\[pycapsule\] expected a function"):
            ffi.pycapsule(pointer)


@pytest.mark.parametrize("register", [ffi.register_ffi_target, ffi.register_ffi_type])
def test_registrations_for_other_platforms(library, register, monkeypatch):
    """Those for the GPU wait until its plug-in is loaded."""
    for name in ("_custom_callback", "_custom_callback_handler"):
        monkeypatch.setattr(xla_client, name, {})
    for name in ("_custom_type_id", "_custom_type_id_handler"):
        monkeypatch.setattr(xla_client, name, {})
    capsule = ffi.pycapsule(library.Copy)
    for platform in ("gpu", "CUDA"):
        register("test_on_gpu", capsule, platform)
    waiting = {**xla_client._custom_callback, **xla_client._custom_type_id}
    assert [one[:2] for one in waiting["CUDA"]] == [("test_on_gpu", capsule)] * 2
    with pytest.raises(errors.ArgumentError) as caught:
        register("test_on_gpu", capsule, "gpuu")
    assert "expected the platform 'cpu', or 'gpu' ('cuda', 'CUDA'); got 'gpuu'" in message(caught)


def test_programs_are_read_back():
    f = partial(axpy, a=-0.0)
    text = extend.show(functrax.make_jaxpr(f)(X, X))
    assert "attributes=((a, FfiScalar(value='-0.0', dtype=float32)),)" in text
    program = extend.parse(text)
    assert extend.show(program) == text
    (result,) = extend.eval_jaxpr(program, (), jnp.ones(4), -jnp.zeros(4))
    assert np.signbit(result).all()  # +0.0 would give 0.0


STORED = """
import sys, warnings, ctypes, functrax, numpy as np
from functrax import ffi
warnings.simplefilter("error")
if sys.argv[2]:
    ffi.register_ffi_target("test_Copy", ffi.pycapsule(ctypes.CDLL(sys.argv[1]).Copy))
try:
    print(functrax.jit(lambda x: ffi.ffi_call("test_Copy", x)(x))(np.float32(3)))
except functrax.errors.MissingTargetError:
    print("missing")
"""


def test_a_program_from_the_cache_whose_target_is_not_there(library, tmp_path):
    """It is not damaged: the error is the same, and the entry stays."""
    found = [
        subprocess.run(
            [sys.executable, "-c", STORED, library._name, registered],
            env={**os.environ, "FUNCTRAX_COMPILATION_CACHE_DIR": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for registered in ("yes", "")
    ]
    assert found == ["3.0", "missing"]
    assert len(list(tmp_path.glob("*.program"))) == 1
