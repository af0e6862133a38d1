"""Sums over devices taken together: which, that they give the same, and in an order that exists."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import lax
from functrax.core.jaxpr import Jaxpr, Var, check_equation_types, effects_of
from functrax.lowering.combine import SMALL, SUMS, combine_sums
from functrax.lowering.inline import programs_of
from functrax.lowering.passes import optimize
from functrax.sharding import Mesh, PartitionSpec

MESH = Mesh(np.array(functrax.devices()[:8]), ("i",))
GRID = Mesh(np.array(functrax.devices()[:8]).reshape(4, 2), ("i", "j"))
PER_DEVICE = PartitionSpec("i")

X = np.arange(24, dtype=np.float32).reshape(8, 3)


def mapped(function: Callable[..., Any], mesh: Mesh = MESH, **options: Any) -> Callable[..., Any]:
    """Return a function of arrays of which each device has one row."""
    options = {"in_specs": PER_DEVICE, "out_specs": PER_DEVICE, "check_vma": False} | options
    return functrax.shard_map(function, mesh=mesh, **options)


def body_of(function: Callable[..., Any], *args: Any) -> Jaxpr:
    """Return the program of a `shard_map` as it is lowered, after checking its types."""
    jaxpr = optimize(functrax.make_jaxpr(function)(*args).jaxpr)
    (eqn,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "shard_map"]
    (body,) = programs_of(eqn)
    defined = set(body.invars)
    for inner in body.eqns:
        assert {v for v in inner.invars if type(v) is Var} <= defined
        assert check_equation_types(inner) == tuple(v.aval for v in inner.outvars)
        defined.update(inner.outvars)
    return body


def sums(jaxpr: Jaxpr) -> list[tuple[int, ...]]:
    """Return the shapes that are summed over devices, in order."""
    return [eqn.invars[0].aval.shape for eqn in jaxpr.eqns if eqn.primitive.name in SUMS]


def number_of_all_reduces(function: Callable[..., Any], *args: Any) -> int:
    return functrax.jit(function).lower(*args).as_text().count("stablehlo.all_reduce")


# What is taken together


def test_independent_sums_are_one() -> None:
    def f(x: Any) -> Any:
        a = lax.psum(x, "i")
        b = lax.psum(jnp.sin(x) @ jnp.ones((3, 2)), "i") * 2  # used before the next sum
        return a.sum() + b.sum() + lax.psum(x.sum(), "i") * x

    assert sums(body_of(mapped(f), X)) == [(3 + 2 + 1,)]
    assert number_of_all_reduces(mapped(f), X) == 1


def test_sums_of_sums_stay_apart() -> None:
    def f(x: Any) -> Any:
        a = lax.psum(x, "i")
        b = lax.psum(a.sum() * x, "i")  # after a
        c = lax.psum(jnp.cos(x), "i")  # beside a
        return lax.psum(b + c * x, "i") + lax.psum(c * x[:, :1], "i")  # after b; beside b

    assert sums(body_of(mapped(f), X)) == [(6,), (6,), (1, 3)]


@pytest.mark.parametrize(
    ("others", "why"),
    [
        (lambda x: lax.psum(x.astype(jnp.int32), "i"), "another dtype"),
        (lambda x: lax.pmax(x, "i"), "another operation"),
        (lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1, 2, 3], [4, 5, 6, 7]]), "groups"),
        (lambda x: lax.psum(jnp.zeros((SMALL // 4 + 1,)) + x[0, 0], "i"), "large"),
        (lambda x: lax.psum(x[:, :0], "i"), "empty"),
    ],
)
def test_what_differs_is_not_joined(others: Callable[[Any], Any], why: str) -> None:
    del why
    function = mapped(lambda x: lax.psum(x, "i") + others(x).sum().astype(x.dtype))
    assert (1, 3) in sums(body_of(function, X))


def test_other_axes_are_not_joined() -> None:
    def f(x: Any) -> Any:
        return lax.psum(x, "i") + lax.psum(x, "j") + lax.psum(x * x, ("i", "j"))

    both = PartitionSpec(("i", "j"))
    function = mapped(f, GRID, in_specs=both, out_specs=both)
    assert sums(body_of(function, X)) == [(1, 3)] * 3


def test_axes_that_xla_divides_forbid_it() -> None:
    def f(x: Any) -> Any:
        return lax.psum(x, "i") + lax.psum(x * x, "i")

    partly = mapped(f, GRID, axis_names={"i"})
    assert sums(body_of(partly, X)) == [(2, 3)] * 2


def test_a_single_sum_changes_nothing() -> None:
    jaxpr = body_of(mapped(lambda x: lax.psum(x, "i") + jnp.sin(x)), X)
    assert combine_sums(jaxpr) is jaxpr


def test_types_of_what_varies_stay() -> None:
    """The gradients of replicated parameters, which reverse mode sums."""

    def loss(w: Any, b: Any, x: Any) -> Any:
        return lax.pmean(jnp.mean((x @ w + b) ** 2), "i")

    whole = PartitionSpec()
    step = functrax.shard_map(
        functrax.grad(loss, (0, 1)),
        mesh=MESH,
        in_specs=(whole, whole, PER_DEVICE),
        out_specs=whole,
    )
    w, b = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    assert sums(body_of(step, w, b, X)) == [(8,)]
    expected = functrax.grad(lambda w, b: jnp.mean((X @ w + b) ** 2), (0, 1))(w, b)
    for got, want in zip(step(w, b, X), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


# What they give

DTYPES = ("int8", "uint16", "int32", "float16", "bfloat16", "float32", "complex64", "int4", "bool")


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_numbers(dtype: str) -> None:
    np_dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = np.random.default_rng(0).integers(0, 2, (8, 4)).astype(np_dtype)

    def f(x: Any, y: Any) -> Any:
        return lax.psum((x, y, x[0], x[0, 0]), "i")

    got = functrax.jit(mapped(f, out_specs=PartitionSpec()))(x, x[:, ::-1])
    alone = mapped(lambda x: lax.psum(x, "i"), out_specs=PartitionSpec())
    for sum_, part in zip(got, (x, x[:, ::-1]), strict=False):
        want = functrax.jit(alone)(part)
        assert sum_.dtype == want.dtype
        np.testing.assert_array_equal(np.asarray(sum_), np.asarray(want))
    np.testing.assert_array_equal(np.asarray(got[2]), np.asarray(got[0])[0])
    np.testing.assert_array_equal(np.asarray(got[3]), np.asarray(got[0])[0, 0])


def test_inside_of_loops_branches_and_jitted_functions() -> None:
    double = functrax.jit(lambda x: lax.psum((x, 2 * x), "i"))

    def f(x: Any) -> Any:
        def body(total: Any, _: Any) -> Any:
            a, b = lax.psum((total, jnp.sin(total)), "i")
            return a / 8 + b / 100, a.sum()

        total, seen = lax.scan(body, x, None, length=3)
        branch = lax.cond(
            lax.psum(x.sum(), "i") > 0,
            lambda: sum(lax.psum((x, x * x), "i")),
            lambda: x,
        )
        return total + branch + sum(double(x)) + sum(double(total)) + seen.sum()

    np.testing.assert_allclose(
        functrax.jit(mapped(f))(X),
        functrax.vmap(lambda x: f(x[None])[0], axis_name="i")(X),
        rtol=1e-5,
    )


def test_what_happens_in_order_still_does() -> None:
    def f(x: Any) -> Any:
        a = lax.psum(x, "i")
        functrax.debug.print("first {}", a.sum(), ordered=True)  # after a sum
        b = lax.psum(x * 2, "i")
        functrax.debug.print("second {}", x[0, 0], ordered=True)  # after none
        return a + b

    body = body_of(mapped(f), X)
    assert sums(body) == [(6,)]
    first, second = [eqn for eqn in body.eqns if "ordered" in effects_of(eqn)]
    assert first.outvars[0] in second.invars


def test_pmap_sums_all_gradients_at_once() -> None:
    params = [np.ones((8, 3, 3), np.float32), np.ones((8, 3), np.float32)]

    def step(params: Any, x: Any) -> Any:
        grads = functrax.grad(lambda p: jnp.sum((x @ p[0] + p[1]) ** 2))(params)
        return functrax.tree.map(lambda p, g: p - g, params, lax.pmean(grads, "i"))

    assert number_of_all_reduces(functrax.pmap(step, axis_name="i"), params, X) == 1
