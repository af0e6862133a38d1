"""Laws that hold for every program, on random small ones."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrax
import functrax.numpy as jnp
from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.parse import parse
from tests.programs import (
    DERIVATIVES,
    DIRECTION,
    IDENTITIES,
    LOOPS,
    OPERATIONS,
    POINT,
    TRANSFORMS,
    blocks,
    operations,
    programs,
    stacks,
    vector,
)


def examples(percent):
    """Take that part of the profile's number of examples: each compiles a few programs."""
    return settings(max_examples=max(1, settings.default.max_examples * percent // 100))


X, Y = POINT
DX, DY = DIRECTION
BATCH = jnp.stack([X, Y * 0.7, X * Y])
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def total(f):
    return lambda x, y: f(x, y).sum()


@examples(25)
@given(programs())
def test_transforms_that_change_nothing_change_nothing(f):
    close(f(X, Y), f.plain()(X, Y))


@examples(15)
@given(programs(depth=1))
def test_jit_is_the_function(f):
    close(functrax.jit(f)(X, Y), f(X, Y))


@examples(10)
@given(programs(depth=1, derivatives=False))
def test_jit_of_grad_is_grad_of_jit(f):
    expected = functrax.grad(total(f), argnums=(0, 1))(X, Y)
    close(functrax.jit(functrax.grad(total(f), argnums=(0, 1)))(X, Y), expected)
    close(functrax.grad(functrax.jit(total(f)), argnums=(0, 1))(X, Y), expected)


@examples(20)
@given(programs(), st.sampled_from([(0, 0), (0, None), (None, 0), (1, 0), (0, 1), (-1, -1)]))
def test_vmap_is_the_stacked_loop(f, axes):
    def argument(axis, i=None):
        if axis is None:
            return Y
        return jnp.moveaxis(BATCH, 0, axis) if i is None else BATCH[i]

    mapped = functrax.vmap(f, axes)(*map(argument, axes))
    loop = [f(*(argument(axis, i) for axis in axes)) for i in range(len(BATCH))]
    close(mapped, np.stack(loop))


@examples(25)
@given(programs())
def test_vmap_of_grad_is_grad_of_vmap(f):
    inside = functrax.vmap(functrax.grad(total(f), argnums=(0, 1)), (0, None))(BATCH, Y)
    mapped = functrax.vmap(f, (0, None))
    outside = functrax.grad(lambda x, y: mapped(x, y).sum(), argnums=(0, 1))(BATCH, Y)
    close(inside[0], outside[0])
    close(inside[1].sum(0), outside[1])


@examples(22)
@given(programs())
def test_jvp_is_linear_in_the_tangents(f):
    push = lambda *t: functrax.jvp(f, POINT, t)[1]  # noqa: E731
    close(push(2 * DX - 3 * DY, DY), 2 * push(DX, DY) - 3 * push(DY, 0 * DY) - push(0 * DX, DY))
    close(functrax.linearize(f, *POINT)[1](DX, DY), push(DX, DY))


@examples(30)
@given(programs())
def test_vjp_is_the_transpose_of_jvp(f):
    _, push = functrax.linearize(f, *POINT)
    pulled = functrax.vjp(f, *POINT)[1](DX)
    close(sum(jnp.vdot(a, b) for a, b in zip(pulled, DIRECTION)), jnp.vdot(DX, push(DX, DY)))


@examples(20)
@given(programs(depth=1))
def test_the_transpose_of_the_transpose_is_the_function(f):
    _, push = functrax.linearize(f, *POINT)
    transposed = functrax.linear_transpose(push, X, Y)
    again = functrax.linear_transpose(transposed, X)
    close(again(DIRECTION)[0], push(*DIRECTION))


@examples(40)
@given(programs())
def test_grad_is_the_numeric_derivative(f):
    step = 1e-5
    ahead, behind = (f(X + s * DX, Y + s * DY).sum() for s in (step, -step))
    gradients = functrax.grad(total(f), argnums=(0, 1))(X, Y)
    found = sum(jnp.vdot(g, d) for g, d in zip(gradients, DIRECTION))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=2e-6, atol=2e-6)


@examples(15)
@given(programs(depth=1))
def test_grad_of_grad_is_forward_over_reverse(f):
    slopes = lambda x: functrax.grad(total(f))(x, Y)  # noqa: E731
    _, pushed = functrax.jvp(slopes, (X,), (DX,))
    pulled = functrax.grad(lambda x: (slopes(x) * DX).sum())(X)
    close(pulled, pushed, rtol=1e-8, atol=1e-8)


@examples(8)
@given(programs(depth=1))
def test_checkpoint_keeps_all_derivatives(f):
    again = functrax.checkpoint(f)
    for derived in (
        lambda g: functrax.grad(total(g), argnums=(0, 1))(X, Y),
        lambda g: functrax.jvp(g, POINT, DIRECTION)[1],
        lambda g: functrax.grad(lambda x: functrax.grad(total(g))(x, Y).sum())(X),
    ):
        for one, other in zip(*map(functrax.tree.leaves, (derived(again), derived(f)))):
            close(one, other)


@examples(40)
@given(blocks(operations(), 3), stacks(derivatives=2))
def test_transforms_compose_in_any_order(f, names):
    expected = f
    found = f
    for name in names:
        found = TRANSFORMS[name](found)
        if name in DERIVATIVES:
            expected = TRANSFORMS[name](expected)
    close(found(X, Y), expected(X, Y), rtol=1e-8, atol=1e-8)


@examples(15)
@given(blocks(operations(), 2), stacks(derivatives=2))
def test_transforms_compose_inside_jit(f, names):
    found = f
    for name in names:
        found = TRANSFORMS[name](found)
    close(functrax.jit(found)(X, Y), found(X, Y), rtol=1e-8, atol=1e-8)


@examples(25)
@given(programs(depth=1))
def test_programs_are_well_formed(f):
    with functrax.enable_checks(True):
        for g in (f, functrax.grad(total(f)), functrax.jit(functrax.jacfwd(f))):
            check_jaxpr(functrax.make_jaxpr(g)(*POINT))
        check_jaxpr(functrax.make_jaxpr(functrax.vmap(f))(BATCH, BATCH))


@examples(20)
@given(programs(depth=1, derivatives=False))
def test_a_printed_program_reads_back_and_runs(f):
    plain = f.plain()
    for g in (plain, functrax.grad(total(plain)), functrax.jit(plain)):
        closed = functrax.make_jaxpr(g)(*POINT)
        read = parse(str(closed))
        assert str(read) == str(closed)
        (found,) = eval_jaxpr(read, closed.consts, *POINT)
        close(found, g(*POINT))


@examples(9)
@given(st.lists(st.sampled_from(sorted(IDENTITIES)), min_size=3, max_size=8))
def test_deep_stacks_of_identities_keep_third_derivatives(names):
    f = lambda x, y: jnp.sin(x) * y  # noqa: E731
    for name in names:
        f = TRANSFORMS[name](f)
    for _ in range(3):
        f = TRANSFORMS["gradient"](f)
    close(f(X, Y), -np.cos(X) * np.asarray(Y), rtol=1e-7, atol=1e-7)


# Variants of one kind of rule meet the others in the random programs only.
KINDS = [name for name in sorted(TRANSFORMS) if name.startswith("mapped") or "-" not in name]


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_every_pair_of_transforms(first, second):
    """On a function with a constant, an integer and two uses of its argument."""

    def f(x, y):
        return jnp.sin(x) * y + x * vector(1.0, 2.0, 3.0) * jnp.arange(3)

    found = TRANSFORMS[first](TRANSFORMS[second](f))
    expected = f
    for name in (second, first):
        expected = TRANSFORMS[name](expected) if name in DERIVATIVES else expected
    close(found(X, Y), expected(X, Y))
    gradients = [functrax.grad(total(g), argnums=(0, 1))(X, Y) for g in (found, expected)]
    for one, other in zip(*gradients):
        close(one, other)


@pytest.mark.parametrize("outer", ["jit", "mapped", "scanned"])
@pytest.mark.parametrize("loop", LOOPS)
def test_loops_of_unknown_length_differentiate_in_every_mode(loop, outer):
    def inner(x, y):
        return jnp.tanh(x) * y + OPERATIONS["matmul"](x, y)

    f, plain = total(IDENTITIES[outer](LOOPS[loop](inner))), total(inner)
    gradients = functrax.grad(f, argnums=(0, 1)), functrax.grad(plain, argnums=(0, 1))
    close(gradients[0](X, Y), gradients[1](X, Y))
    close(functrax.jit(gradients[0])(X, Y), gradients[1](X, Y))
    pushed = [functrax.jvp(g, (X, Y), (DX, DY))[1] for g in gradients]
    close(*pushed)
    if outer != "jit":  # programs of 43 loops in a loop: XLA takes half a minute
        return
    twice = [functrax.grad(lambda x, g=g: (g(x, Y)[0] * DX).sum())(X) for g in gradients]
    close(*twice)
