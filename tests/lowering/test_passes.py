"""Passes: what they remove, what they must not touch, that they do not change a bit."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax.core.jaxpr import Jaxpr, eval_jaxpr
from functrax.core.primitive import registry
from functrax.core.trace import bind
from functrax.core.types import Literal, ShapedArray
from functrax.lowering.passes import (
    PASSES,
    optimize,
    remove_dead_code,
    share_common_subexpressions,
)
from functrax.lowering.simplify import simplify

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def traced(function: Callable[..., Any], *args: Any) -> Jaxpr:
    return functrax.make_jaxpr(function)(*args).jaxpr


def names(jaxpr: Jaxpr) -> list[str]:
    return [eqn.primitive.name for eqn in jaxpr.eqns]


def literal(value: Any, dtype: Any) -> Literal:
    return Literal(value, ShapedArray((), np.dtype(dtype)))


def apply(name: str, *operands: Any, **params: Any) -> Any:
    return bind(registry[name], *operands, **params)[0]


# Dead code and common subexpressions


def test_dead_code() -> None:
    def f(x: Any) -> Any:
        jnp.sin(jnp.cos(x))
        return jnp.exp(x)

    jaxpr = traced(f, X)
    assert names(jaxpr) == ["cos", "sin", "exp"]
    assert names(remove_dead_code(jaxpr)) == ["exp"]


def test_nothing_to_do_gives_the_same_program() -> None:
    jaxpr = traced(jnp.sin, X)
    for run in PASSES.values():
        assert run(jaxpr) is jaxpr
    assert optimize(jaxpr) is jaxpr


def test_common_subexpressions() -> None:
    jaxpr = traced(lambda x: (jnp.sin(x) * 2 + jnp.sin(x) * 2, jnp.sin(x)), X)
    assert names(share_common_subexpressions(jaxpr)) == ["sin", "mul", "add"]


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [(2.0, 2.0, 1), (2.0, 3.0, 2), (0.0, -0.0, 2), (1, 1.0, 1), (1 + 0j, complex(1, -0.0), 2)],
)
def test_literals_are_equal_when_their_bits_are(first: Any, second: Any, count: int) -> None:
    dtype = np.result_type(type(first), np.float32, type(second))
    x = X.astype(np.complex64) if dtype.kind == "c" else X

    def f(x: Any) -> Any:
        kind = np.dtype(np.complex64) if dtype.kind == "c" else np.dtype(np.float32)
        return apply("pow", x, literal(first, kind)), apply("pow", x, literal(second, kind))

    assert len(share_common_subexpressions(traced(f, x)).eqns) == count


def test_parameters_tell_equations_apart() -> None:
    jaxpr = traced(lambda x: (x.sum(0), x.sum(1), x.sum(0)), X)
    assert len(share_common_subexpressions(jaxpr).eqns) == 2


def test_a_program_called_in_one_place_is_written_there() -> None:
    inner = functrax.jit(lambda x, y: (jnp.sin(x), y, 3.0))
    middle = functrax.jit(lambda x: inner(x, jnp.cos(x)))

    def f(x: Any) -> Any:
        sine, cosine, three = middle(x)
        return sine * cosine + three

    jaxpr = traced(f, X)
    assert names(jaxpr) == ["jit", "mul", "add"]
    assert names(optimize(jaxpr)) == ["cos", "sin", "mul", "add"]
    np.testing.assert_allclose(functrax.jit(f)(X), np.sin(X) * np.cos(X) + 3, rtol=1e-6)


def test_a_program_called_from_one_called_twice_is_written_into_that() -> None:
    inner = functrax.jit(jnp.sin)
    twice = functrax.jit(lambda x: inner(x) + 1.0)
    jaxpr = optimize(traced(lambda x: twice(twice(x)), X))
    assert names(jaxpr) == ["jit", "jit"]
    assert names(jaxpr.eqns[0].params["jaxpr"]) == ["sin", "add"]


def test_inside_called_programs_each_once() -> None:
    inner = functrax.jit(lambda x: (jnp.sin(x) + jnp.sin(x)) * 1.0)
    jaxpr = optimize(traced(lambda x: inner(inner(x)), X))
    first, second = (eqn.params["jaxpr"] for eqn in jaxpr.eqns)
    assert first is second
    assert names(first) == ["sin", "add"]


# Numbers known already


def folded(function: Callable[[], Any]) -> Any:
    """Return the literal that a program of literals becomes."""
    jaxpr = optimize(traced(function))
    assert not jaxpr.eqns
    (result,) = jaxpr.outvars
    assert isinstance(result, Literal)
    return result


VALUES = {
    "float32": [0.0, -0.0, 1.0, -2.5, 0.1, 3e38, 1e-30],
    "float64": [0.0, -0.0, 1.0, -2.5, 0.1, 1e300, 1e-300],
    "int32": [0, 1, -7, 2**31 - 1, -(2**31)],
    "uint8": [0, 1, 200, 255],
    "int64": [0, 3, 2**63 - 1, -(2**63)],
    "bool": [False, True],
}
BINARY = ["add", "sub", "mul", "div", "max", "min", "and", "or", "xor"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


def takes(name: str, dtype: str) -> bool:
    if name in ("and", "or", "xor", "not"):
        return dtype[0] != "f"
    return dtype != "bool" or name in (*COMPARISONS, "max", "min")


FOLDED = [*BINARY, *COMPARISONS, "neg", "abs", "not"]


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name in FOLDED for dtype in VALUES if takes(name, dtype)]
)
def test_folding_agrees_with_xla_bit_by_bit(name: str, dtype: str) -> None:
    arity = 1 if name in ("neg", "abs", "not") else 2
    values = VALUES[dtype]
    pairs = [(x, y)[:arity] for x in values for y in (values if arity == 2 else values[:1])]
    run = functrax.jit(lambda *xs: apply(name, *xs))
    count = 0
    for operands in pairs:
        atoms = [literal(x, dtype) for x in operands]
        jaxpr = simplify(traced(lambda atoms=atoms: apply(name, *atoms)))
        if jaxpr.eqns:
            continue
        count += 1
        (result,) = jaxpr.outvars
        arrays = [np.asarray(x, dtype) for x in operands]
        with functrax.config.scope(enable_x64=True):
            expected = np.asarray(run(*arrays))
        assert result.aval.dtype == expected.dtype
        assert result.numpy().tobytes() == expected.tobytes(), (operands, result, expected)
    assert count or name in ("max", "min", "div")


CONVERSIONS = [
    *("bool", "int8", "uint8", "int32", "uint32", "int64", "float16", "bfloat16", "float32"),
    "float64",
]


@pytest.mark.parametrize("source", VALUES)
@pytest.mark.parametrize("target", CONVERSIONS)
def test_folded_conversions_agree_with_xla(source: str, target: str) -> None:
    new = np.dtype(getattr(ml_dtypes, target, target))
    params = {"new_dtype": new, "weak_type": False}
    run = functrax.jit(lambda x: apply("convert_element_type", x, **params))
    for value in VALUES[source]:
        atom = literal(value, source)
        jaxpr = simplify(traced(lambda atom=atom: apply("convert_element_type", atom, **params)))
        if not jaxpr.eqns:
            (result,) = jaxpr.outvars
            with functrax.config.scope(enable_x64=True):
                expected = np.asarray(run(np.asarray(value, source)))
            assert result.aval.dtype == expected.dtype == new
            assert result.numpy().tobytes() == expected.tobytes(), (value, result, expected)


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("add", (np.inf, 1.0)),
        ("mul", (1e-20, 1e-20)),
        ("mul", (np.nan, 2.0)),
        ("div", (1.0, 0.0)),
        ("exp", (1.0,)),
    ],
)
def test_what_may_differ_is_left_to_xla(name: str, operands: tuple[float, ...]) -> None:
    atoms = [literal(x, "float32") for x in operands]
    assert len(simplify(traced(lambda: apply(name, *atoms))).eqns) == 1


def test_integer_division_is_left_to_xla() -> None:
    assert len(simplify(traced(lambda: apply("div", *[literal(7, "int32")] * 2))).eqns) == 1


def test_a_chain_of_numbers_becomes_one() -> None:
    def f() -> Any:
        x = apply("add", literal(1.0, "float32"), literal(2.0, "float32"))
        return apply("neg", apply("mul", x, x))

    assert folded(f).value == -9.0


# Operands that are the result

IDENTITIES = {
    "times one": lambda x: apply("mul", x, literal(1.0, "float32")),
    "one times": lambda x: apply("mul", literal(1.0, "float32"), x),
    "by one": lambda x: apply("div", x, literal(1.0, "float32")),
    "less zero": lambda x: apply("sub", x, literal(0.0, "float32")),
    "plus minus zero": lambda x: apply("add", x, literal(-0.0, "float32")),
    "minus zero plus": lambda x: apply("add", literal(-0.0, "float32"), x),
    "reshape": lambda x: apply("reshape", x, new_sizes=(2, 3)),
    "transpose": lambda x: apply("transpose", x, permutation=(0, 1)),
    "broadcast": lambda x: apply("broadcast_in_dim", x, shape=(2, 3), broadcast_dimensions=(0, 1)),
    "convert": lambda x: apply(
        "convert_element_type", x, new_dtype=np.dtype(np.float32), weak_type=False
    ),
    "select": lambda x: apply("select_n", literal(True, "bool"), jnp.sin(x), x),
    "slice": lambda x: apply(
        "slice", x, start_indices=(0, 0), limit_indices=(2, 3), strides=(1, 1)
    ),
    "sum over nothing": lambda x: apply("reduce_sum", x, axes=()),
}

NOT_IDENTITIES = {
    "plus zero": lambda x: apply("add", x, literal(0.0, "float32")),
    "less minus zero": lambda x: apply("sub", x, literal(-0.0, "float32")),
    "zero less": lambda x: apply("sub", literal(0.0, "float32"), x),
    "one by": lambda x: apply("div", literal(1.0, "float32"), x),
    "times minus one": lambda x: apply("mul", x, literal(-1.0, "float32")),
    "reversed": lambda x: apply("rev", x, dimensions=(0,)),
    "permuted": lambda x: apply("transpose", x.reshape(1, 2, 3), permutation=(1, 0, 2)),
    "strided": lambda x: apply(
        "slice", x, start_indices=(0, 0), limit_indices=(2, 3), strides=(2, 1)
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities(name: str) -> None:
    jaxpr = optimize(traced(IDENTITIES[name], X))
    assert not jaxpr.eqns
    assert jaxpr.outvars == jaxpr.invars


@pytest.mark.parametrize("name", NOT_IDENTITIES)
def test_what_is_not_an_identity(name: str) -> None:
    assert optimize(traced(NOT_IDENTITIES[name], X)).eqns


def test_integers_may_add_zero() -> None:
    x = X.astype(np.int32)
    assert not optimize(traced(lambda x: apply("add", x, literal(0, "int32")), x)).eqns


def test_weak_types_of_results_stay() -> None:
    f = functrax.jit(lambda x: x * 1.0)
    assert f(np.float32(2)).weak_type is False
    assert f(2.0).weak_type is True
    assert functrax.jit(lambda: jnp.asarray(1.0) + 1.0)().dtype == np.float32


# The whole


def random_program(seed: int, size: int) -> Callable[..., Any]:
    """Return a function of many equations with literals, repetitions and dead ends."""
    rng = np.random.default_rng(seed)
    steps = [
        (rng.choice(["add", "sub", "mul", "max", "sin", "neg"]), *rng.integers(0, 1 << 30, 2))
        for _ in range(size)
    ]

    def f(x: Any, y: Any) -> Any:
        values: list[Any] = [x, y, *(literal(v, "float32") for v in (0.0, -0.0, 1.0, 0.5))]
        for name, i, j in steps:
            operands = [values[i % len(values)], values[j % len(values)]]
            values.append(apply(name, *operands[: 1 if name in ("sin", "neg") else 2]))
        return values[-8:]

    return f


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_compute_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 4)).astype(np.float32)
    jaxpr = traced(random_program(seed, 40), x, y)
    fast = optimize(jaxpr)
    assert len(fast.eqns) < len(jaxpr.eqns)
    arrays = [functrax.device_put(v) for v in (x, y)]
    for slow, quick in zip(
        eval_jaxpr(jaxpr, (), *arrays), eval_jaxpr(fast, (), *arrays), strict=True
    ):
        np.testing.assert_array_equal(
            np.asarray(as_array(slow)).view(np.int32), np.asarray(as_array(quick)).view(np.int32)
        )


def as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Literal) else value


def test_time_grows_with_size() -> None:
    def seconds(size: int) -> float:
        jaxpr = traced(random_program(0, size), X, X)
        times = []
        for _ in range(5):
            start = time.process_time()
            optimize(jaxpr)
            times.append(time.process_time() - start)
        return min(times)

    exponent = math.log(seconds(8000) / seconds(1000)) / math.log(8)
    assert exponent < 1.4


# Dumps


def test_programs_are_written_before_and_after_each_pass(tmp_path: Path) -> None:
    def head(x: Any) -> Any:
        return (jnp.sin(x) + jnp.sin(x)) * 1.0

    folder = tmp_path / "new" / "dumps"
    with functrax.config.scope(dump_ir_to=str(folder)):
        functrax.jit(head).lower(X)
        functrax.jit(head).lower(X[0])
    files = sorted(folder.iterdir())
    assert [path.name for path in files[:7]] == [
        "000_head_traced.txt",
        "001_head_inlined.txt",
        "002_head_simplified.txt",
        "003_head_shared.txt",
        "004_head_pruned.txt",
        "005_head_ordered.txt",
        "006_head_combined.txt",
    ]
    assert len(files) == 14
    texts = [path.read_text() for path in files]
    assert [text.count(" = ") for text in texts[:6]] == [4, 4, 3, 2, 2, 2]


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with (
        functrax.config.scope(dump_ir_to=str(path)),
        pytest.warns(UserWarning, match=r"\[dump_ir_to\] .*_traced was not written") as told,
    ):
        functrax.jit(lambda x: x + 1).lower(X)
    assert len(told) == 1
