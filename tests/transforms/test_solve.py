"""`custom_linear_solve` and `custom_root`, against JAX. The primitive is ``custom_linear_solve``."""

# ruff: noqa: E731  (tables of functions)
import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.testing import check_grads

A = np.array([[0.3, 0.2, -0.5], [0.7, -0.4, 0.1], [0.2, 0.9, 0.6]], np.float32)
B = np.array([1.0, -2.0, 0.5], np.float32)


def conjugate_gradients(lib, n):
    """Solve by a loop; aux is its number of steps, as a float: JAX 0.10 takes no integers."""

    def solve(matvec, b):
        def step(state):
            count, x, r, p, rr = state
            ap = matvec(p)
            length = rr / (p * ap).sum()
            r_new = r - length * ap
            rr_new = (r_new * r_new).sum()
            return count + 1, x + length * p, r_new, r_new + rr_new / rr * p, rr_new

        going = lambda state: (state[0] < 20) & (state[4] > 1e-12)
        start = (0.0, n.zeros_like(b), b, b, (b * b).sum())
        return lib.lax.while_loop(going, step, start)[1::-1]

    return solve


def symmetric(lib, n, a, b):
    matrix = a @ a.T + 4 * n.eye(3)
    solve = conjugate_gradients(lib, n)
    x, steps = lib.lax.custom_linear_solve(
        lambda x: matrix @ x, b, solve, symmetric=True, has_aux=True
    )
    return x * steps


def general(lib, n, a, b):
    """A pytree of unknowns, and a matrix that is not symmetric."""
    matrix = a + 6 * n.eye(3)

    def solve(matvec, b):
        step = lambda _, x: {"u": x["u"] + (b["u"] - matvec(x)["u"]) / 6.5}
        return lib.lax.fori_loop(0, n.int32(40), step, {"u": n.zeros(3)})

    matvec = lambda x: {"u": matrix @ x["u"]}
    return lib.lax.custom_linear_solve(matvec, {"u": b}, solve, solve)["u"]


def newton(lib, n):
    def solve(f, x):
        step = lambda s: (s[0] + 1, s[1] - f(s[1]) / lib.grad(f)(s[1]))
        return lib.lax.while_loop(lambda s: n.abs(f(s[1])) > 1e-6, step, (0.0, x))[::-1]

    return solve


def root(lib, n, a, b):
    f = lambda x: x**3 + x * (a * a).sum() - b.sum()
    divide = lambda g, y: y / g(1.0)
    x, steps = lib.lax.custom_root(f, 1.0, newton(lib, n), divide, has_aux=True)
    return x * steps


def nested(lib, n, a, b):
    """A root inside a linear equation inside a root."""

    def f(x):
        y = lib.lax.custom_root(
            lambda y: y**3 + y - x, x, lambda f, x: newton(lib, n)(f, x)[0], lambda g, t: t / g(1.0)
        )
        scale = 2.0 + y * y
        return (
            lib.lax.custom_linear_solve(
                lambda v: scale * v, x, lambda m, b: b / m(1.0), symmetric=True
            )
            + x
            - b[0]
        )

    return lib.lax.custom_root(
        f, a.sum(), lambda f, x: newton(lib, n)(f, x)[0], lambda g, t: t / g(1.0)
    )


PROGRAMS = {"symmetric": symmetric, "general": general, "root": root, "nested": nested}
#: What is made of a function of a matrix and a vector.
TRANSFORMS = {
    "value": lambda lib, f: f(A, B),
    "jvp": lambda lib, f: lib.jvp(f, (A, B), (A, B)),
    "forward": lambda lib, f: lib.jit(lib.vmap(lambda t: lib.jvp(f, (A, B), (A * t.sum(), t))[1]))(
        np.eye(3, dtype=np.float32)
    ),
    "jacrev": lambda lib, f: lib.jacrev(lib.jit(f), (0, 1))(A, B),
    "second": lambda lib, f: lib.jit(lambda *x: lib.jvp(lib.jacrev(f), x, x)[1])(A, B),
    "vmap-both": lambda lib, f: lib.vmap(f)(np.stack([A, 2 * A]), np.stack([B, -B])),
    "vmap-a": lambda lib, f: lib.jit(lib.vmap(f, (2, None)))(np.stack([A, 2 * A], 2), B),
    "vmap-b": lambda lib, f: lib.jit(lib.vmap(f, (None, 1)))(A, np.stack([B, -B], 1)),
    "vmap-rev": lambda lib, f: lib.jit(lib.vmap(lib.jacrev(f, (0, 1)), (None, 0)))(
        A, np.stack([B, -B])
    ),
    "rev-vmap": lambda lib, f: lib.jit(lib.jacrev(lib.vmap(f, (0, None)), (0, 1)))(
        np.stack([A, 2 * A]), B
    ),
}


CASES = [(p, t) for p in PROGRAMS for t in TRANSFORMS if p != "nested" or "rev" not in t[:4]]


@pytest.mark.parametrize(("program", "transform"), CASES)
def test_against_jax(program, transform):
    def run(lib, n):
        f = lambda a, b: PROGRAMS[program](lib, n, lib.numpy.asarray(a), lib.numpy.asarray(b))
        return TRANSFORMS[transform](lib, f)

    found, wanted = run(functrax, jnp), run(jax, jax.numpy)
    for x, y in zip(functrax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


def test_numeric_derivatives_of_every_order():
    f = lambda a, b: general(functrax, jnp, a, b)
    check_grads(f, (jnp.asarray(A), jnp.asarray(B)), order=2, rtol=1e-2, atol=1e-2)


def complex_solve(a, b):
    divide = lambda matvec, b: b / matvec(jnp.ones_like(b))
    return lax.custom_linear_solve(lambda x: a * x, b, divide, symmetric=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
@pytest.mark.parametrize("shape", [(), (2,), (0, 3)])
def test_dtypes_and_shapes(dtype, shape):
    a, b = jnp.full(shape, 2, dtype), jnp.full(shape, 6, dtype)
    for run in (complex_solve, functrax.jit(complex_solve)):
        x = run(a, b)
        assert (x.shape, str(x.dtype)) == (shape, dtype)
        y, pull = functrax.vjp(run, a, b)
        da, db = pull(jnp.ones_like(y))
        assert str(da.dtype) == str(db.dtype) == dtype
        np.testing.assert_allclose(np.asarray(da, complex), np.full(shape, -1.5))
        np.testing.assert_allclose(np.asarray(db, complex), np.full(shape, 0.5))


def test_pytrees_with_aux_of_any_kind():
    def solve(f, x):
        return {"a": x["a"] * 0 + 2.0}, {"steps": 3, "trace": [jnp.arange(2), None]}

    def run(c):
        found, aux = lax.custom_root(
            lambda x: {"a": x["a"] - c}, {"a": c}, solve, lambda g, y: y, has_aux=True
        )
        return found["a"], aux

    (x, aux), t = functrax.jvp(run, (2.0,), (1.0,))[0], functrax.jvp(run, (2.0,), (1.0,))[1]
    assert (x, t[0], aux["steps"], aux["trace"][1]) == (2, 1, 3, None)
    assert functrax.jit(run)(2.0)[1]["trace"][0].tolist() == [0, 1]
    assert run(2.0)[1]["steps"] == 3


def test_the_guess_and_the_solver_are_not_differentiated():
    newton_ = lambda f, x: newton(functrax, jnp)(f, x)[0]
    f = lambda c, guess: lax.custom_root(
        lambda x: x * x - c, guess, newton_, lambda g, y: y / g(1.0)
    )
    assert functrax.grad(f, 1)(4.0, 1.0) == 0
    scale = lambda s: lax.custom_linear_solve(
        lambda x: 2.0 * x, 4.0, lambda matvec, b: s * b, symmetric=True
    )
    assert functrax.grad(scale)(0.5) == 0


def test_without_a_transposed_solver():
    f = lambda b: lax.custom_linear_solve(lambda x: 2.0 * x, b, lambda matvec, b: b / 2)
    assert functrax.jvp(f, (4.0,), (1.0,))[1] == 0.5
    with pytest.raises(errors.MissingRuleError, match="transpose_solve=None") as caught:
        functrax.grad(f)(4.0)
    assert caught.value.fix == (
        "Pass `transpose_solve`, or `symmetric=True` if matvec is its own transpose."
    )


def solve_with(matvec=lambda x: x, b=1.0, solve=lambda matvec, b: b, **options):
    return lax.custom_linear_solve(matvec, b, solve, **options)


def root_with(f=lambda x: x, solve=lambda f, x: x, tangent_solve=lambda g, y: y, guess=1.0):
    return functrax.grad(lambda c: lax.custom_root(lambda x: f(x) - c, guess, solve, tangent_solve))


#: What is wrong, the class of the error, and how its message goes on behind the function's name.
WRONG = [
    (
        lambda: solve_with(b={"a": 1}),
        errors.DtypeError,
        "b['a'] to have a floating or complex dtype; got ~i32[]",
    ),
    (
        lambda: solve_with(solve=lambda matvec, b: (b, b)),
        errors.TreeError,
        "'<lambda>' to return x of the structure PyTreeDef(*); got PyTreeDef((*, *))",
    ),
    (
        lambda: solve_with(solve=lambda matvec, b: b, has_aux=True),
        errors.CustomRuleError,
        "the solver to return a pair (x, aux); got ~f32[]",
    ),
    (
        lambda: solve_with(lambda x: jnp.stack([x, x]), solve=lambda matvec, b: matvec(b)),
        errors.ShapeError,
        "'<lambda>' to return A x of type f32[]; got ~f32[2]",
    ),
    (
        lambda: root_with(solve=lambda f, x: jnp.asarray(x, "float16"))(1.0),
        errors.DtypeError,
        "'<lambda>' to return x of type f32[]; got f16[]",
    ),
    (
        lambda: root_with(tangent_solve=lambda g, y: [y])(1.0),
        errors.TreeError,
        "'<lambda>' to return x of the structure PyTreeDef(*); got PyTreeDef([*])",
    ),
    (
        lambda: root_with(guess=1)(1.0),
        errors.DtypeError,
        "initial_guess to have a floating or complex dtype; got ~i32[]",
    ),
]


@pytest.mark.parametrize(("run", "kind", "message"), WRONG)
def test_wrong_functions(run, kind, message):
    with pytest.raises(kind) as caught:
        run()
    assert f"{caught.value.expected}; got {caught.value.got}" == message
    assert caught.value.call in ("custom_root", "custom_linear_solve")
    assert "test_solve.py" in str(caught.value)


def test_disable_jit():
    with functrax.disable_jit():
        f = lambda c: lax.custom_root(
            lambda x: x * x - c, c, lambda f, x: newton(functrax, jnp)(f, x)[0],
            lambda g, y: y / g(1.0),
        )  # fmt: skip
        np.testing.assert_allclose([f(4.0), functrax.grad(f)(4.0)], [2, 0.25], rtol=1e-5)
