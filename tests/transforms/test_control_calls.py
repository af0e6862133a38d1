"""How loops and branches call users' functions: under `disable_jit`, with lists as pairs, with
functions that change, with classes that look at their children; and reductions by any function.
"""

# ruff: noqa: E731  (functions are called at once)
from collections import namedtuple

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax

BOTH = [(jax, jax.numpy), (functrax, jnp)]


def agree(run):
    """Assert that functrax gives what JAX gives."""
    wanted, got = (jax.tree_util.tree_leaves(run(lib, n)) for lib, n in BOTH)
    assert len(wanted) == len(got)
    for x, y in zip(wanted, got, strict=True):
        np.testing.assert_allclose(np.asarray(y), np.asarray(x), rtol=1e-6)


# Without jit --------------------------------------------------------------------------------------

double, same = lambda x: x * 2, lambda x: x
PYTHON = {
    "cond": lambda lib, n: lib.vmap(lambda x: lib.lax.cond(x > 1, double, same, x))(n.arange(3.0)),
    "cond, a slope": lambda lib, n: lib.vmap(
        lib.grad(lambda x: lib.lax.cond(x > 1, lambda x: x * x, same, x))
    )(n.arange(3.0)),
    "cond, known": lambda lib, n: lib.vmap(lambda x: lib.lax.cond(True, double, same, x))(
        n.arange(3.0)
    ),
    "switch": lambda lib, n: lib.vmap(
        lambda i: lib.lax.switch(i, [double, same, lambda x: x * 5], i)
    )(n.arange(-1, 4)),
    "while": lambda lib, n: lib.vmap(
        lambda x: lib.lax.while_loop(lambda c: c < 10, lambda c: c * 2 + 1, x)
    )(n.arange(3.0)),
    "while, mapped by its body": lambda lib, n: lib.vmap(
        lambda x: lib.lax.while_loop(lambda c: c < 10, lambda c: c + x + 1, 0.0)
    )(n.arange(3.0)),
    "fori, the end": lambda lib, n: lib.vmap(
        lambda i: lib.lax.fori_loop(0, i, lambda k, c: c + k, 0)
    )(n.arange(4)),
    "fori, the start": lambda lib, n: lib.vmap(
        lambda i: lib.lax.fori_loop(i, 3, lambda k, c: c + k, 0)
    )(n.arange(4)),
    "fori, known": lambda lib, n: lib.vmap(
        lambda x: lib.lax.fori_loop(0, n.int32(3), lambda k, c: c * 2 + k, x)
    )(n.arange(3.0)),
    "scan": lambda lib, n: lib.vmap(
        lambda x: lib.lax.scan(
            lambda c, y: (lib.lax.cond(c > 2, double, same, c) + y, c), x, n.arange(3.0)
        )
    )(n.arange(3.0)),
    "map": lambda lib, n: lib.vmap(lambda x: lib.lax.map(double, x))(n.ones((2, 3))),
    "a program": lambda lib, n: lib.jit(lib.vmap(lambda x: lib.lax.cond(x > 1, double, same, x)))(
        n.arange(3.0)
    ),
}


@pytest.mark.parametrize("case", PYTHON)
def test_without_jit_what_is_mapped_decides(case):
    def run(lib, n):
        with lib.disable_jit():
            return PYTHON[case](lib, n)

    agree(run)


def test_without_jit_a_traced_choice_is_part_of_the_program():
    with functrax.disable_jit():
        program = functrax.make_jaxpr(lambda x: lax.cond(x > 0, double, same, x))(1.0)
    assert program.eqns[-1].primitive.name == "cond"


def test_without_jit_loops_end_after_the_most_steps():
    most = lambda x, **end: lax.while_loop(lambda c: c < x, lambda c: c + 1, 0.0, **end)
    later = lambda x, **end: lax.while_loop(lambda c: c < 9, lambda c: c + 1 + x, 0.0, **end)
    with functrax.disable_jit():
        assert functrax.vmap(lambda x: most(x, max_steps=2))(jnp.arange(4.0)).tolist() == [
            0, 1, 2, 2
        ]  # fmt: skip
        assert functrax.vmap(lambda x: later(x, max_steps=3))(jnp.arange(2.0)).tolist() == [3, 6]
        end = jnp.asarray(5)
        assert lax.fori_loop(0, end, lambda i, n: n + 1, 0, max_steps=3) == 3


# Pairs --------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "carry y")


@pytest.mark.parametrize("disable", [False, True])
@pytest.mark.parametrize("make", [lambda *x: [*x], Pair, lambda c, y: {"a": c, "b": y}])
def test_any_two_are_a_pair(make, disable):
    with functrax.disable_jit(disable):
        got = lax.scan(lambda c, x: make(c + x, c), 0.0, jnp.arange(3.0))
    assert functrax.tree.structure(got) == functrax.tree.structure(make(0, 0))  # as JAX 0.10
    assert [x.tolist() for x in functrax.tree.leaves(got)] == [3.0, [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("disable", [False, True])
@pytest.mark.parametrize("result", [[1.0], [1.0, 2.0, 3.0], jnp.ones(2)], ids=str)
def test_no_pair(result, disable):
    with functrax.disable_jit(disable), pytest.raises(errors.TreeError) as caught:
        lax.scan(lambda c, x: result, 0.0, jnp.ones(3))
    assert str(caught.value).startswith("[scan] expected '<lambda>' to return a pair (carry, y); ")


# Functions that change ----------------------------------------------------------------------------

AGAIN = {
    "map": lambda lib, n, f: lib.lax.map(f, n.ones(3)),
    "map, in blocks": lambda lib, n, f: lib.lax.map(f, n.ones(3), batch_size=2),
    "platform_dependent": lambda lib, n, f: lib.lax.platform_dependent(1.0, cpu=f, default=double),
    "scan": lambda lib, n, f: lib.lax.scan(lambda c, x: (f(c), x), 1.0, n.ones(3))[0],
    "map of scan": lambda lib, n, f: lib.lax.map(
        lambda x: lib.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0], n.ones(3)
    ),
}


@pytest.mark.parametrize("case", AGAIN)
def test_what_a_function_reads_at_each_call(case):
    def run(lib, n):
        factor = [2.0]
        f = lambda x: x * factor[0]
        first = AGAIN[case](lib, n, f)
        factor[0] = 3.0
        return first, AGAIN[case](lib, n, f)

    agree(run)


def test_a_function_that_does_not_change_is_compiled_once():
    factor, weights = [2.0], [jnp.ones(2)]

    def f(x):
        y = functrax.jit(jnp.sin)(x) * factor[0] + weights[0].sum()
        return lax.cond(y > 0, double, same, y)

    def program():
        closed = functrax.make_jaxpr(lambda x: lax.map(f, x))(jnp.ones(3))
        (eqn,) = [e for e in closed.eqns if e.primitive.name == "scan"]
        return eqn.params["jaxpr"]

    first = program()
    assert program() is first
    weights[0] = jnp.zeros(2)  # an operand: the program stays
    assert program() is first
    assert lax.map(f, jnp.zeros(1)).tolist() == [0]
    factor[0] = -2.0
    assert program() is not first
    factor[0] = 0.0
    positive = program()
    factor[0] = -0.0
    assert program() is not positive


# Classes that look at their children --------------------------------------------------------------


class Sized:
    def __init__(self, array):
        self.array, self.shape = array, array.shape


functrax.tree_util.register_pytree_node(
    Sized, lambda s: ((s.array,), None), lambda _, children: Sized(*children)
)
ROWS = jnp.arange(6.0).reshape(2, 3)
ROW = jnp.arange(3.0)
SIZED = {
    "scan": lambda: lax.scan(lambda c, s: (c, s.array), 0.0, Sized(ROWS))[1],
    "map": lambda: lax.map(lambda s: Sized(s.array), Sized(ROWS)).array,
    "vmap": lambda: functrax.vmap(Sized)(ROWS).array,
    "vmap, several": lambda: (
        functrax.vmap(lambda x: (Sized(x), 1), out_axes=(0, None))(ROWS)[0].array
    ),
    "vmap, None": lambda: functrax.vmap(lambda x: Sized(ROWS), out_axes=None)(ROWS).array,
    "cond": lambda: lax.cond(True, lambda s: s, lambda s: Sized(s.array * 2), Sized(ROWS)).array,
    "while_loop": lambda: lax.while_loop(lambda s: s.shape == (), same, Sized(ROWS)).array,
    "associative_scan": lambda: (
        lax.associative_scan(lambda a, b: Sized(jnp.maximum(a.array, b.array)), Sized(ROWS)).array
    ),
}


@pytest.mark.parametrize("case", SIZED)
def test_classes_that_look_at_their_children(case):
    assert SIZED[case]().tolist() == ROWS.tolist()


def test_rules_for_classes_that_look_at_their_children():
    f = functrax.custom_vjp(lambda s, t: (s.array * t.array, s.array))
    f.defvjp(lambda s, t: (f(s, t), (s, t)), lambda kept, g: (Sized(g[0] * 2), None))
    pulled = functrax.grad(lambda x: f(Sized(x), Sized(x))[0].sum())(ROW)
    assert pulled.tolist() == [2, 2, 2]


SIZED_BAD = {
    "scan: sizes": (
        errors.ArgumentError,
        lambda: lax.scan(lambda c, x: (c, x), 0.0, (Sized(ROWS), Sized(ROW))),
        "one leading size in all xs, and as length; got 2 of xs[0][<flat index 0>], 3 of xs[1][<fla",
    ),
    "scan: the carry": (
        errors.ShapeError,
        lambda: lax.scan(lambda c, x: (Sized(c.array[1:]), x), Sized(ROW), ROW),
        "'<lambda>' to return the carry[<flat index 0>] as it came, f32[3]; got f32[2]",
    ),
    "cond": (
        errors.ShapeError,
        lambda: lax.cond(True, lambda: Sized(ROW), lambda: Sized(ROWS)),
        "branches whose results have the same types, as '<lambda>' and '<lambda>'; got f32[2,3] "
        "and f32[3] at result[<flat index 0>]",
    ),
    "vmap: a prefix": (
        errors.AxesError,
        lambda: functrax.vmap(Sized, out_axes=(0,))(ROWS),
        "out_axes to be a prefix of the tree that 'Sized' returns; got (0,): out_axes must be an "
        "int, None or a Sized with 1 children and data None, not a tuple of length 1",
    ),
    "vmap: an axis": (
        errors.AxesError,
        lambda: functrax.vmap(lambda x: [Sized(x)], out_axes=7)(ROWS),
        "out_axes within the 2 axes of the result[0][<flat index 0>] of '<lambda>'",
    ),
}


@pytest.mark.parametrize("case", SIZED_BAD)
def test_messages_name_the_place_in_a_class(case):
    kind, call, message = SIZED_BAD[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).partition("expected ")[2].startswith(message)


# Reductions by any function -----------------------------------------------------------------------

weighed = lambda a, b: a * 1 + b  # not recognized; literals have no operators
REDUCED = {
    "a number": lambda lib, n: lib.lax.reduce(n.arange(3.0), 0.0, weighed, (0,)),
    "a NumPy number": lambda lib, n: lib.lax.reduce(n.arange(3.0), np.float32(1), weighed, (0,)),
    "an integer": lambda lib, n: lib.lax.reduce(n.arange(3), 2, weighed, (0,)),
    "rows": lambda lib, n: lib.lax.reduce(n.ones((2, 3)), 1.0, weighed, (0,)),
    "a method": lambda lib, n: lib.lax.reduce(n.ones(3), 1.0, lambda a, b: a.__add__(b), (0,)),
    "nothing": lambda lib, n: lib.lax.reduce(n.ones(0), 3.0, weighed, (0,)),
    "a scalar": lambda lib, n: lib.lax.reduce(n.float32(3.0), 0.0, weighed, ()),
    "several": lambda lib, n: lib.lax.reduce(
        (n.arange(3.0), n.ones(3)), (0.0, 2.0), lambda a, b: (a[0] * 1 + b[0], a[1] * b[1]), (0,)
    ),
    "jit": lambda lib, n: lib.jit(lambda x: lib.lax.reduce(x, 1.0, weighed, (0,)))(n.arange(3.0)),
    "vmap": lambda lib, n: lib.vmap(lambda x: lib.lax.reduce(x, 1.0, weighed, (0,)))(
        n.ones((2, 3))
    ),
    "grad": lambda lib, n: lib.grad(lambda x: lib.lax.reduce(x, 1.0, weighed, (0,)))(n.arange(3.0)),
}


@pytest.mark.parametrize("case", REDUCED)
def test_reduce_from_a_number(case):
    agree(REDUCED[case])


COMBINED_BAD = {
    "a sum": (lambda a, b: (a + b).sum(), (3,), 0, "ShapeError", "f32[1]", "f32[]"),
    "joined": (lambda a, b: jnp.concatenate([a, b]), (3,), 0, "ShapeError", "f32[1]", "f32[2]"),
    "a number": (lambda a, b: 1.0, (4,), 0, "ShapeError", "f32[2]", "~f32[]"),
    "an axis more": (lambda a, b: (a + b)[None], (4,), 0, "ShapeError", "f32[2]", "f32[1,2]"),
    "an axis less": (lambda a, b: a[0], (4, 3), 1, "ShapeError", "f32[4,1]", "f32[1]"),
    "a dtype": (lambda a, b: (a + b).astype(int), (4,), 0, "DtypeError", "f32[2]", "i32[2]"),
}


@pytest.mark.parametrize("case", COMBINED_BAD)
def test_associative_scan_checks_what_is_combined(case):
    f, shape, axis, kind, wanted, got = COMBINED_BAD[case]
    with pytest.raises(getattr(errors, kind)) as caught:
        lax.associative_scan(f, jnp.ones(shape), axis=axis)
    assert str(caught.value).startswith(
        f"[associative_scan] expected '<lambda>' to return {wanted}, the type of its arguments; got"
        f" {got} (test_control_calls.py:"
    )


def test_associative_scan_names_the_leaf():
    with pytest.raises(errors.ShapeError, match=r"arguments, at result\['a'\]; got f32\[\]"):
        lax.associative_scan(lambda a, b: {"a": a["a"].sum()}, {"a": jnp.ones(3)})
