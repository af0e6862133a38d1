"""Loops and branches: against JAX where it can, against unrolled programs where it cannot."""

# ruff: noqa: B023, E731  (functions are called at once)
from functools import partial

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import eval_jaxpr, subjaxprs
from functrax.core.parse import parse
from functrax.lowering.passes import optimize
from functrax.testing import check_grads

XS = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
W = np.array([[0.5, 0.2], [-0.3, 0.9]], np.float32)
C = np.array([0.1, 0.2], np.float32)


def rnn(lib, n, w, c, xs, **options):
    def step(c, x):
        h = n.tanh(w @ c + x)
        return h, (h.sum(), x * 2)

    return lib.lax.scan(step, c, xs, **options)


def loss(lib, n, w, c, xs, **options):
    c, (a, b) = rnn(lib, n, w, c, xs, **options)
    return (c**2).sum() + (a**3).sum() + (b * a[:, None]).sum()


def newton(lib, n, c, w, steps=5):
    """A loop of unknown length: `steps` may be an array."""
    step = lambda s: (s[0] + 1, n.sin(w @ s[1]) * 1.1 + s[1] * 0.1)
    return lib.lax.while_loop(lambda s: s[0] < steps, step, (0, c))[1]


#: Of functrax or jax, its numpy, a matrix, a vector, and rows of vectors.
AGAINST_JAX = {
    "scan-fwd": lambda lib, n, w, c, x: rnn(lib, n, w, c, x),
    "scan-rev": lambda lib, n, w, c, x: rnn(lib, n, w, c, x, reverse=True),
    "scan-unroll": lambda lib, n, w, c, x: (
        rnn(lib, n, w, c, x, unroll=2),
        rnn(lib, n, w, c, x, unroll=True),
        rnn(lib, n, w, c, x, unroll=3),
    ),
    "scan-jit": lambda lib, n, w, c, x: lib.jit(lambda w, c, x: rnn(lib, n, w, c, x))(w, c, x),
    "scan-jvp": lambda lib, n, w, c, x: lib.jvp(
        lambda w, c, x: rnn(lib, n, w, c, x), (w, c, x), (w, c * 2, x)
    ),
    "scan-jvpw": lambda lib, n, w, c, x: lib.jvp(lambda w: rnn(lib, n, w, c, x), (w,), (w,)),
    "scan-grad": lambda lib, n, w, c, x: lib.grad(
        lambda w, c, x: loss(lib, n, w, c, x), argnums=(0, 1, 2)
    )(w, c, x),
    "scan-gradrev": lambda lib, n, w, c, x: lib.grad(
        lambda w, c, x: loss(lib, n, w, c, x, reverse=True), argnums=(0, 1, 2)
    )(w, c, x),
    "scan-gradw": lambda lib, n, w, c, x: lib.grad(lambda w: loss(lib, n, w, c, x))(w),
    "scan-gradx": lambda lib, n, w, c, x: lib.grad(lambda x: loss(lib, n, w, c, x))(x),
    "scan-jitgrad": lambda lib, n, w, c, x: lib.jit(
        lib.grad(lambda w, c, x: loss(lib, n, w, c, x), argnums=(0, 1, 2))
    )(w, c, x),
    "scan-gradjit": lambda lib, n, w, c, x: lib.grad(
        lib.jit(lambda w, c, x: loss(lib, n, w, c, x)), argnums=(0, 1, 2)
    )(w, c, x),
    "scan-hess": lambda lib, n, w, c, x: lib.hessian(lambda w: loss(lib, n, w, c, x))(w),
    "scan-revrev": lambda lib, n, w, c, x: lib.jacrev(lib.jacrev(lambda w: loss(lib, n, w, c, x)))(
        w
    ),
    "scan-fwdfwd": lambda lib, n, w, c, x: lib.jacfwd(lib.jacfwd(lambda c: loss(lib, n, w, c, x)))(
        c
    ),
    "scan-vmapx": lambda lib, n, w, c, x: lib.vmap(lambda x: rnn(lib, n, w, c, x), in_axes=1)(
        n.stack([x, x * 2, x * 3], 1)
    ),
    "scan-vmapc": lambda lib, n, w, c, x: lib.vmap(lambda c: rnn(lib, n, w, c, x))(
        n.stack([c, c * 2, c * 3])
    ),
    "scan-vmapw": lambda lib, n, w, c, x: lib.vmap(
        lambda w: rnn(lib, n, w, c, x), in_axes=2, out_axes=1
    )(n.stack([w, w * 2, w * 3], 2)),
    "scan-vmapgrad": lambda lib, n, w, c, x: lib.vmap(
        lib.grad(lambda w, c: loss(lib, n, w, c, x), argnums=(0, 1)), in_axes=(None, 0)
    )(w, n.stack([c, c * 2])),
    "scan-gradvmap": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.vmap(lambda c: loss(lib, n, w, c, x))(n.stack([c, c * 2])).sum()
    )(w),
    "scan-ints": lambda lib, n, w, c, x: lib.grad(
        lambda c: lib.lax.scan(
            lambda k, i: ((k[0] + 1, k[1] * n.sin(k[1] + i * k[0])), k[0]), (0, c), n.arange(4)
        )[0][1].sum()
    )(c),
    "scan-len": lambda lib, n, w, c, x: lib.lax.scan(lambda k, _: (k * 2, None), c, None, length=3),
    "scan-zero": lambda lib, n, w, c, x: lib.lax.scan(lambda k, y: (k * 2, k), c, n.zeros((0, 2))),
    "scan-nested": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.lax.scan(
            lambda k, y: (lib.lax.scan(lambda a, b: (n.sin(w @ a) * b, a), k, y)[0], None), c, x
        )[0].sum()
    )(w),
    "scan-map": lambda lib, n, w, c, x: lib.lax.scan(lambda _, y: (None, y * 2), None, x),
    "scan-lt": lambda lib, n, w, c, x: lib.linear_transpose(
        lambda c: lib.lax.scan(lambda k, y: (w @ k + 1.0 * y[0] * k, k.sum()), c, x), c
    )((c, x[:, 0])),
    "scan-inv": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.lax.scan(lambda k, y: (n.sin(n.exp(w) @ k) * n.cos(w).sum(), k), c, x)[
            0
        ].sum()
    )(w),
    "scan-key": lambda lib, n, w, c, x: lib.random.key_data(
        lib.lax.scan(
            lambda k, _: (lib.random.fold_in(k, 1), lib.random.normal(k)),
            lib.random.key(0),
            None,
            length=3,
        )[0]
    ),
    "scan-keys": lambda lib, n, w, c, x: lib.lax.scan(
        lambda k, y: (k, lib.random.normal(y)), 0.0, lib.random.split(lib.random.key(0), 4)
    ),
    "scan-weak": lambda lib, n, w, c, x: lib.lax.scan(lambda k, y: (k + y[0], k), 0.0, x),
    "cond-cond": lambda lib, n, w, c, x: (
        lib.lax.cond(c[0] > 0, lambda a: a * 2, lambda a: n.sin(a), c),
        lib.lax.cond(False, lambda a: a * 2, lambda a: n.sin(a), c),
    ),
    "cond-closure": lambda lib, n, w, c, x: lib.lax.cond(
        c[0] > 5, lambda: w * 2, lambda: n.ones((2, 2))
    ),
    "cond-switch": lambda lib, n, w, c, x: [
        lib.lax.switch(i, [lambda a: a * 2, n.sin, lambda a: w @ a], c) for i in (-3, 0, 1, 2, 7)
    ],
    "cond-jvp": lambda lib, n, w, c, x: lib.jvp(
        lambda c, w: lib.lax.cond(c[0] > 0, lambda a: w @ a, lambda a: a, c), (c, w), (c, w)
    ),
    "cond-grad": lambda lib, n, w, c, x: [
        lib.grad(
            lambda c, w: lib.lax.cond(
                c[0] > t, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c
            ).sum(),
            (0, 1),
        )(c, w)
        for t in (0, 5)
    ],
    "cond-jitgrad": lambda lib, n, w, c, x: [
        lib.jit(
            lib.grad(
                lambda c, w: lib.lax.cond(
                    c[0] > t, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c
                ).sum(),
                (0, 1),
            )
        )(c, w)
        for t in (0, 5)
    ],
    "cond-gradjit": lambda lib, n, w, c, x: [
        lib.grad(
            lib.jit(
                lambda c, w: lib.lax.switch(
                    t, [lambda a: n.sin(w @ a) * a, n.exp, lambda a: a * n.tanh(a)], c
                ).sum()
            ),
            (0, 1),
        )(c, w)
        for t in (0, 1, 2)
    ],
    "cond-hess": lambda lib, n, w, c, x: lib.hessian(
        lambda c: lib.lax.cond(c[0] > 0, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c).sum()
    )(c),
    "cond-revrev": lambda lib, n, w, c, x: lib.jacrev(
        lib.jacrev(
            lambda c: lib.lax.cond(
                c[0] > 0, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c
            ).sum()
        )
    )(c),
    "cond-vmap": lambda lib, n, w, c, x: lib.vmap(
        lambda p, c: lib.lax.cond(p, lambda a: w @ a, lambda a: n.exp(a), c)
    )(n.array([True, False, True]), n.stack([c, c * 2, c * 3])),
    "cond-vmapop": lambda lib, n, w, c, x: lib.vmap(
        lambda c: lib.lax.cond(True, lambda a: w @ a, lambda a: n.ones(2), c)
    )(n.stack([c, c * 2, c * 3])),
    "cond-vmapidx": lambda lib, n, w, c, x: lib.vmap(
        lambda p: lib.lax.switch(p, [lambda a: w @ a, n.sin, lambda a: a], c)
    )(n.arange(-1, 4)),
    "cond-vmapgrad": lambda lib, n, w, c, x: lib.vmap(
        lib.grad(
            lambda c, w: lib.lax.cond(
                c[0] > 0.15, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c
            ).sum(),
            (0, 1),
        ),
        (0, None),
    )(n.stack([c, c * 2, c * 3]), w),
    "cond-gradvmap": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.vmap(
            lambda c: lib.lax.cond(c[0] > 0.15, lambda a: n.sin(w @ a) * a, lambda a: n.exp(a), c)
        )(n.stack([c, c * 2, c * 3])).sum()
    )(w),
    "cond-vv": lambda lib, n, w, c, x: lib.vmap(
        lib.vmap(lambda p, c: lib.lax.cond(p, lambda a: w @ a, lambda a: n.exp(a), c), (0, None)),
        (None, 0),
    )(n.array([True, False, True]), n.stack([c, c * 2])),
    "cond-inscan": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.lax.scan(
            lambda k, y: (
                lib.lax.cond(y[0] > 0, lambda a: n.sin(w @ a), lambda a: a * n.exp(w[0]), k),
                k.sum(),
            ),
            c,
            x,
        )[0].sum()
    )(w),
    "cond-pytree": lambda lib, n, w, c, x: lib.lax.cond(
        True,
        lambda d: {"a": d["b"], "b": (d["a"],)},
        lambda d: {"a": d["a"], "b": (d["b"],)},
        {"a": c, "b": c * 2},
    ),
    "cond-keys": lambda lib, n, w, c, x: lib.random.key_data(
        lib.lax.cond(True, lambda k: lib.random.split(k)[0], lambda k: k, lib.random.key(1))
    ),
    "cond-lt": lambda lib, n, w, c, x: lib.linear_transpose(
        lambda c: lib.lax.cond(True, lambda k: w @ k, lambda k: k, c), c
    )(c),
    "cond-jacf": lambda lib, n, w, c, x: lib.jacfwd(
        lambda c: lib.lax.cond(c[0] > 0, lambda k: w @ k, lambda k: n.zeros(2), c)
    )(c),
    "loops-fori": lambda lib, n, w, c, x: lib.lax.fori_loop(0, 5, lambda i, a: n.sin(w @ a) + i, c),
    "loops-foriarr": lambda lib, n, w, c, x: lib.lax.fori_loop(
        n.int32(1), n.int32(5), lambda i, a: n.sin(w @ a) + i, c
    ),
    "loops-forijit": lambda lib, n, w, c, x: lib.jit(
        lambda k: lib.lax.fori_loop(0, k, lambda i, a: n.sin(w @ a) + x[i], c)
    )(4),
    "loops-forigrad": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.lax.fori_loop(0, 4, lambda i, a: n.sin(w @ a) + x[i], c).sum()
    )(w),
    "loops-forigrad2": lambda lib, n, w, c, x: lib.jit(
        lambda w, k: lib.grad(
            lambda w: lib.lax.fori_loop(0, 4, lambda i, a: n.sin(w @ a) + x[i], c).sum()
        )(w)
    )(w, 4),
    "loops-unroll": lambda lib, n, w, c, x: lib.lax.fori_loop(
        0, 5, lambda i, a: n.sin(w @ a) + i, c, unroll=2
    ),
    "loops-neg": lambda lib, n, w, c, x: lib.lax.fori_loop(5, 2, lambda i, a: a * 2, c),
    "loops-weak": lambda lib, n, w, c, x: lib.lax.fori_loop(0, 3, lambda i, a: a + x[0, 0], 0),
    "loops-map": lambda lib, n, w, c, x: lib.lax.map(lambda y: {"a": w @ y, "b": y.sum()}, x),
    "loops-mapb": lambda lib, n, w, c, x: [
        lib.lax.map(lambda y: w @ y, x, batch_size=k) for k in (1, 2, 5, 7)
    ],
    "loops-mapgrad": lambda lib, n, w, c, x: lib.grad(
        lambda w: lib.lax.map(lambda y: n.sin(w @ y), x, batch_size=2).sum()
    )(w),
    "loops-mapv": lambda lib, n, w, c, x: lib.vmap(
        lambda w: lib.lax.map(lambda y: n.sin(w @ y), x)
    )(n.stack([w, w * 2])),
    "loops-as": lambda lib, n, w, c, x: [
        lib.lax.associative_scan(n.add, n.arange(k)) for k in range(1, 12)
    ],
    "loops-asm": lambda lib, n, w, c, x: lib.lax.associative_scan(
        lambda a, b: b @ a, n.stack([w, w * 2, w + 1, w - 1, w])
    ),
    "loops-asr": lambda lib, n, w, c, x: lib.lax.associative_scan(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (x, x * 2), reverse=True, axis=0
    ),
    "loops-asx": lambda lib, n, w, c, x: lib.lax.associative_scan(n.maximum, x, axis=-1),
    "loops-asg": lambda lib, n, w, c, x: lib.grad(
        lambda x: (
            lib.lax.associative_scan(lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (x, x * 2))[1]
            ** 2
        ).sum()
    )(x),
    "loops-as0": lambda lib, n, w, c, x: lib.lax.associative_scan(n.add, n.zeros((0, 2))),
    "while-fwd": lambda lib, n, w, c, x: newton(lib, n, c, w),
    "while-jvp": lambda lib, n, w, c, x: lib.jvp(lambda c, w: newton(lib, n, c, w), (c, w), (c, w)),
    "while-jvpc": lambda lib, n, w, c, x: lib.jvp(lambda c: newton(lib, n, c, w), (c,), (c,)),
    "while-hessf": lambda lib, n, w, c, x: lib.jacfwd(lib.jacfwd(lambda c: newton(lib, n, c, w)))(
        c
    ),
    "while-vmap": lambda lib, n, w, c, x: lib.vmap(lambda c: newton(lib, n, c, w))(
        n.stack([c, c * 2, c * 3])
    ),
    "while-vmapk": lambda lib, n, w, c, x: lib.vmap(
        lambda k, c: newton(lib, n, c, w, k), (0, None)
    )(n.arange(4), c),
    "while-vmapw": lambda lib, n, w, c, x: lib.vmap(lambda w: newton(lib, n, c, w))(
        n.stack([w, w * 2])
    ),
    "while-jitvmapjvp": lambda lib, n, w, c, x: lib.jit(
        lib.vmap(lambda k, c: lib.jvp(lambda c: newton(lib, n, c, w, k), (c,), (c,)), (0, None))
    )(n.arange(4), c),
    "while-vv": lambda lib, n, w, c, x: lib.vmap(
        lib.vmap(lambda k, c: newton(lib, n, c, w, k), (0, None)), (None, 0)
    )(n.arange(4), n.stack([c, c * 2])),
}


@pytest.mark.parametrize("name", AGAINST_JAX)
def test_against_jax(name):
    def run(library):
        arguments = [library.numpy.asarray(x) for x in (W, C, XS)]
        return library.tree.leaves(AGAINST_JAX[name](library, library.numpy, *arguments))

    for ours, theirs in zip(run(functrax), run(jax), strict=True):
        wanted = np.asarray(theirs)
        assert ours.shape == wanted.shape
        assert ours.dtype == getattr(theirs, "dtype", ours.dtype)
        np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=1e-5)


# Reverse mode through loops of unknown length -----------------------------------------------------


def unrolled(lib, n, c, w, steps=5):
    for _ in range(steps):
        c = n.sin(w @ c) * 1.1 + c * 0.1
    return c


def norm(f, *more):
    return lambda c, w: (f(functrax, jnp, c, w, *more) ** 2).sum()


@pytest.mark.parametrize("steps", [0, 1, 2, 31, 32, 33, 64, 77, 200])
def test_the_gradient_of_a_loop_is_that_of_its_steps(steps):
    c, w = jnp.asarray(C, "float64"), jnp.asarray(W, "float64")
    wanted = functrax.grad(norm(unrolled, steps), (0, 1))(c, w)
    run = functrax.jit(lambda c, w, k: functrax.grad(norm(newton, k), (0, 1))(c, w))
    for ours, right in zip(run(c, w, steps), wanted, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-9, atol=1e-12)


MODES = {
    "eager": lambda f: functrax.grad(f, (0, 1)),
    "jit of grad": lambda f: functrax.jit(functrax.grad(f, (0, 1))),
    "grad of jit": lambda f: functrax.grad(functrax.jit(f), (0, 1)),
    "hessian": lambda f: functrax.hessian(f),
    "reverse over reverse": lambda f: functrax.jacrev(functrax.jacrev(f)),
    "forward over forward": lambda f: functrax.jacfwd(functrax.jacfwd(f)),
    "linearize": lambda f: lambda c, w: functrax.linearize(f, c, w)[1](c, w),
    "pullback under vmap": lambda f: (
        lambda c, w: functrax.vmap(functrax.vjp(f, c, w)[1])(jnp.arange(3.0))
    ),
    "checkpoint": lambda f: functrax.grad(functrax.checkpoint(f), (0, 1)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_loop(mode):
    c, w = jnp.asarray(C), jnp.asarray(W)
    ours, wanted = MODES[mode](norm(newton))(c, w), MODES[mode](norm(unrolled))(c, w)
    for x, y in zip(functrax.tree.leaves(ours), functrax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_the_tangent_of_a_loop_is_one_operation():
    _, push = functrax.linearize(norm(newton), jnp.asarray(C), jnp.asarray(W))
    assert "while_tangent" in str(functrax.make_jaxpr(push)(C, W))


def test_lanes_of_different_length():
    c, w, steps = jnp.asarray(C), jnp.asarray(W), (1, 4, 0, 2)
    lanes = functrax.vmap(lambda c, k: functrax.grad(norm(newton, k))(c, w), (None, 0))
    wanted = np.stack([functrax.grad(norm(unrolled, k))(c, w) for k in steps])
    np.testing.assert_allclose(functrax.jit(lanes)(c, jnp.array(steps)), wanted, rtol=1e-4)

    def total(w):
        each = functrax.vmap(lambda k: newton(functrax, jnp, c, w, k))(jnp.array(steps))
        return (each**2).sum()

    wanted = sum(functrax.grad(norm(unrolled, k), 1)(c, w) for k in steps)
    np.testing.assert_allclose(functrax.jit(functrax.grad(total))(w), wanted, rtol=1e-4)


def test_a_loop_inside_a_scan_and_a_scan_inside_a_loop():
    c, w, xs = jnp.asarray(C), jnp.asarray(W), jnp.asarray(XS)

    def outer(f):
        return lambda w: lax.scan(lambda k, x: (f(functrax, jnp, k * x, w, 3), k), c, xs)[0].sum()

    ours, wanted = (functrax.grad(outer(f))(w) for f in (newton, unrolled))
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-6)

    def inner(w):
        step = lambda s: (s[0] + 1, lax.scan(lambda k, x: (jnp.sin(w @ k) * x, None), s[1], xs)[0])
        return lax.while_loop(lambda s: s[0] < 2, step, (0, c))[1].sum()

    def plain(w):
        k = c
        for x in [*xs, *xs]:
            k = jnp.sin(w @ k) * x
        return k.sum()

    np.testing.assert_allclose(functrax.grad(inner)(w), functrax.grad(plain)(w), rtol=1e-4)


def test_memory_does_not_grow_with_the_number_of_steps():
    def run(x, steps):
        state = lax.while_loop(lambda s: s[0] < steps, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))
        return state[1].sum()

    x = jnp.ones(1000)
    compiled = functrax.jit(functrax.grad(run)).lower(x, 5).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 300 * x.nbytes
    value = x
    slope = jnp.ones(1000)
    for _ in range(1000):
        slope, value = slope * jnp.cos(value), jnp.sin(value)
    np.testing.assert_allclose(compiled(x, 1000), slope, rtol=1e-3)


def test_the_most_steps():
    def run(x, most):
        return lax.while_loop(lambda v: v < 100.0, lambda v: v * x, x, max_steps=most)

    for most in (0, 1, 3, 20):
        value, slope = functrax.value_and_grad(run)(2.0, most)
        taken = min(most, 6)
        assert float(value) == 2.0 ** (taken + 1)
        assert float(slope) == (taken + 1) * 2.0**taken
    with functrax.disable_jit():
        assert float(run(2.0, 3)) == 16.0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("most", [2, 200, 2**31 - 1])
def test_the_most_trips_may_be_more_than_the_counter_counts(dtype, most):
    first, end = jnp.asarray([100, 107], dtype)
    with functrax.enable_checks(True):
        count = functrax.jit(
            lambda a, b: lax.fori_loop(a, b, lambda i, n: n + 1, 0, max_steps=most)
        )(first, end)
    assert int(count) == min(most, 7)


# Lanes that take different branches ---------------------------------------------------------------


def test_a_branch_that_is_not_taken_does_no_harm():
    x = jnp.array([-1.0, 0.0, 4.0])
    f = lambda x: lax.cond(x > 0, jnp.sqrt, lambda x: x * 0, x)
    for run in (functrax.vmap, lambda f: functrax.jit(functrax.vmap(f))):
        assert run(f)(x).tolist() == [0, 0, 2]
        assert run(functrax.grad(f))(x).tolist() == [0, 0, 0.25]
        assert run(functrax.grad(functrax.grad(f)))(x).tolist() == [0, 0, -1 / 32]
        assert run(functrax.grad(f))(-x * x).tolist() == [0, 0, 0]
    total = lambda x: functrax.vmap(f)(x).sum()
    assert functrax.grad(total)(x).tolist() == [0, 0, 0.25]
    twice = functrax.vmap(functrax.vmap(functrax.grad(f)))(jnp.stack([x, -x]))
    assert twice.tolist() == [[0, 0, 0.25], [0.5, 0, 0]]


def test_a_loop_in_a_branch_that_is_not_taken_ends():
    def f(x):
        halve = lambda x: lax.while_loop(lambda v: v > 1, lambda v: v / 2, x)
        return lax.cond(x > 0, halve, lambda x: x, x)

    forever = lambda x: lax.cond(
        x > 0, lambda x: lax.while_loop(lambda v: v != 0, lambda v: v - 1, x), lambda x: x, x
    )
    x = jnp.array([8.0, -3.0, 2.0])
    assert functrax.vmap(f)(x).tolist() == [1, -3, 1]
    assert functrax.vmap(forever)(x).tolist() == [0, -3, 0]
    assert functrax.vmap(forever)(jnp.array([-0.5])).tolist() == [-0.5]


def test_lanes_that_have_ended_do_no_harm():
    def root(x):  # the step's derivative is infinite where the loop ends
        return lax.while_loop(lambda v: v > 0.5, lambda v: jnp.sqrt(v - 0.5) * 0.7, x)

    x = jnp.array([0.5, 0.7, 3.0, 0.2])
    wanted = [float(functrax.grad(root)(v)) for v in x]
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(functrax.vmap(functrax.grad(root))(x), wanted, rtol=1e-5)
    total = lambda x: functrax.vmap(root)(x).sum()
    np.testing.assert_allclose(functrax.grad(total)(x), wanted, rtol=1e-5)


# The program --------------------------------------------------------------------------------------


def test_what_no_step_changes_is_not_stacked():
    def run(w, x):
        return lax.scan(lambda c, _: (jnp.tanh(jnp.sin(w) * c), None), x, None, length=100)[0].sum()

    _, pull = functrax.vjp(lambda x: run(jnp.ones(50), x), jnp.ones(50))
    printed = functrax.make_jaxpr(pull)(1.0)
    stacked = [v.aval for v in printed.jaxpr.constvars if v.aval.shape[:1] == (100,)]
    assert len(stacked) == 1, printed


def test_bodies_are_traced_once():
    calls = []

    def step(c, x):
        calls.append(1)
        return c + x, c

    for length in (3, 3, 5):
        lax.scan(step, 0.0, jnp.arange(float(length)))
    assert len(calls) == 2  # once to see that the carry keeps its type, once as a strong float


def test_what_a_body_closes_over_is_not_kept():
    cases = [
        lambda x: lax.cond(x > 0, lambda: x * 2, lambda: x - 1),
        lambda x: lax.scan(lambda c, t: (c * x + t, c), x, jnp.arange(3.0))[0],
        lambda x: lax.while_loop(lambda v: v < x, lambda v: v + x, 0.0),
    ]
    with functrax.checking_leaks():
        assert [float(functrax.jit(f)(1.0)) for f in cases] == [2.0, 4.0, 1.0]


def test_print_parse_run():
    def f(x):
        y = lax.scan(lambda c, t: (c * t, c), x, jnp.arange(3.0))[0]
        y = lax.while_loop(lambda v: v < 5.0, lambda v: v + 1.0, y)
        y = lax.switch(x.astype(int), [jnp.sin, jnp.cos, lambda v: v * 2], y)
        return lax.fori_loop(0, x.astype(int), lambda i, v: v + i, y)

    closed = functrax.make_jaxpr(f)(jnp.float32(2.0))
    program = parse(str(closed))
    assert str(program) == str(closed)
    (again,) = eval_jaxpr(program, closed.consts, jnp.float32(2.0))
    assert float(again) == float(f(jnp.float32(2.0))) == float(functrax.jit(f)(jnp.float32(2.0)))


def test_without_jit():
    seen = []

    def step(c, x):
        seen.append(float(c))
        return c + x, c * 2

    with functrax.disable_jit():
        total, twice = lax.scan(step, 1.0, jnp.arange(3.0), reverse=True)
        assert (float(total), twice.tolist()) == (4.0, [8.0, 6.0, 2.0])
        assert seen == [1.0, 3.0, 4.0]
        assert lax.cond(True, lambda: 1, lambda: 2) == 1
        assert lax.switch(9, [lambda: 1, lambda: 2]) == 2
        assert lax.while_loop(lambda v: v < 3, lambda v: v + 1, 0) == 3
        assert lax.fori_loop(2, 5, lambda i, v: v + i, 0) == 9
        assert lax.map(lambda v: v * 2, jnp.arange(3)).tolist() == [0, 2, 4]


# Bad input ----------------------------------------------------------------------------------------

MATRIX = np.ones((2, 3), np.float32)
BAD = {
    "scan: the carry's shape": (
        errors.ShapeError,
        lambda: lax.scan(lambda c, x: ((c[0], c[1][:1]), x), (0, jnp.ones(2)), jnp.ones(3)),
        "[scan] expected '<lambda>' to return the carry[1] as it came, f32[2]; got f32[1]",
    ),
    "scan: the carry's dtype": (
        errors.DtypeError,
        lambda: lax.scan(lambda c, x: (c.astype(int), x), jnp.ones(2), jnp.ones(3)),
        "[scan] expected '<lambda>' to return the carry as it came, f32[2]; got i32[2]",
    ),
    "scan: the carry's structure": (
        errors.TreeError,
        lambda: lax.scan(lambda c, x: ((c, c), x), 0.0, jnp.ones(3)),
        "[scan] expected '<lambda>' to return a carry of the structure PyTreeDef(*)",
    ),
    "scan: no pair": (
        errors.TreeError,
        lambda: lax.scan(lambda c, x: c, 0.0, jnp.ones(3)),
        "[scan] expected '<lambda>' to return a pair (carry, y)",
    ),
    "scan: sizes": (
        errors.ArgumentError,
        lambda: lax.scan(lambda c, x: (c, x), 0.0, (jnp.ones(3), jnp.ones(4))),
        "[scan] expected one leading size in all xs, and as length; got 3 of xs[0], 4 of xs[1]",
    ),
    "scan: no length": (
        errors.ArgumentError,
        lambda: lax.scan(lambda c, x: (c, x), 0.0),
        "[scan] expected xs with at least one array, or a length; got neither",
    ),
    "scan: scalars": (
        errors.ShapeError,
        lambda: lax.scan(lambda c, x: (c, x), 0.0, {"a": 1.0}),
        "[scan] expected xs with a leading axis to loop over; got ~f32[] at xs['a']",
    ),
    "cond: shapes": (
        errors.ShapeError,
        lambda: lax.cond(True, lambda: {"a": jnp.ones(2)}, lambda: {"a": jnp.ones(3)}),
        "[cond] expected branches whose results have the same types, as '<lambda>' and "
        "'<lambda>'; got f32[3] and f32[2] at result['a']",
    ),
    "cond: structures": (
        errors.TreeError,
        lambda: lax.cond(True, lambda: (1, 2), lambda: [1, 2]),
        "[cond] expected branches whose results have one structure",
    ),
    "cond: the predicate": (
        errors.ShapeError,
        lambda: lax.cond(jnp.ones(2) > 0, lambda: 1, lambda: 2),
        "[cond] expected pred to be a scalar; got bool[2]",
    ),
    "switch: the index": (
        errors.DtypeError,
        lambda: lax.switch(1.0, [lambda: 1, lambda: 2]),
        "[switch] expected an integer index; got ~f32[]",
    ),
    "switch: no branches": (
        errors.ArgumentError,
        lambda: lax.switch(1, []),
        "[switch] expected at least one branch; got none",
    ),
    "while: the condition": (
        errors.ShapeError,
        lambda: lax.while_loop(lambda v: v > 0, lambda v: v, jnp.ones(2)),
        "[while_loop] expected '<lambda>' to return one boolean scalar; got bool[2]",
    ),
    "while: a condition that is a number": (
        errors.ShapeError,
        lambda: lax.while_loop(lambda v: v - 3, lambda v: v + 1, 1),
        "[while_loop] expected '<lambda>' to return one boolean scalar; got ~i32[]",
    ),
    "while: a condition in a tuple": (
        errors.ShapeError,
        lambda: lax.while_loop(lambda v: (v < 3,), lambda v: v + 1, 1),
        "[while_loop] expected '<lambda>' to return one boolean scalar; got PyTreeDef((*,))",
    ),
    "while: no condition": (
        errors.ShapeError,
        lambda: lax.while_loop(lambda v: None, lambda v: v + 1, 1),
        "[while_loop] expected '<lambda>' to return one boolean scalar; got PyTreeDef(None)",
    ),
    "while: the carry": (
        errors.ShapeError,
        lambda: lax.while_loop(lambda v: True, lambda v: v[:1], jnp.ones(2)),
        "[while_loop] expected '<lambda>' to return the carry as it came, f32[2]; got f32[1]",
    ),
    "fori: a bound": (
        errors.DtypeError,
        lambda: lax.fori_loop(0, 2.5, lambda i, v: v, 0),
        "[fori_loop] expected upper to be an integer scalar; got ~f32[]",
    ),
    "map: sizes": (
        errors.ArgumentError,
        lambda: lax.map(lambda x: x, (jnp.ones(2), jnp.ones(3))),
        "[map] expected xs with one leading size; got 2 of xs[0], 3 of xs[1]",
    ),
    "map: no array": (
        errors.ArgumentError,
        lambda: lax.map(lambda x: x, {"a": "text"}),
        "[map] expected xs['a'] to be an array or a number; got 'text' of type str",
    ),
    "associative_scan: sizes": (
        errors.ArgumentError,
        lambda: lax.associative_scan(jnp.add, (jnp.ones(2), jnp.ones(3))),
        "[associative_scan] expected arrays of one size along the axis; got [2, 3]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    kind, call, message = BAD[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "test_control.py" in str(caught.value)


# What a loop need not carry -----------------------------------------------------------------------


def _with_still_carry(kind):
    def step(carry, x):
        w, h, n = carry
        return (w, jnp.tanh(w @ h + x[0]), n + 1), w[0]

    def f(w, h, xs):
        if kind == "scan":
            (w, h, n), ys = lax.scan(step, (w, h, 0), (xs, xs * 2))
            return jnp.sum(h) * n + jnp.sum(ys) + jnp.sum(w)
        if kind == "fori":
            body = lambda i, carry: step(carry, (xs[i],))[0]
            w, h, n = lax.fori_loop(0, xs.shape[0], body, (w, h, 0))
        else:
            go_on = lambda c: (c[2] < 4) & (c[0][0, 0] < 100)
            w, h, n = lax.while_loop(go_on, lambda c: step(c, (xs[0],))[0], (w, h, 0))
        return jnp.sum(h) * n + jnp.sum(w)

    return f


@pytest.mark.parametrize("kind", ["scan", "fori", "while"])
def test_what_stays_the_same_is_not_carried(kind):
    f = _with_still_carry(kind)
    w, h, xs = jnp.eye(3) * 0.5, jnp.ones(3), jnp.arange(12.0).reshape(4, 3) / 12
    (eqn,) = [e for e in functrax.make_jaxpr(f)(w, h, xs).eqns if e.primitive.name in LOOPS_OF]
    carried = eqn.outvars if kind == "while" else eqn.outvars[: eqn.params["num_carry"]]
    assert (3, 3) not in [v.aval.shape for v in carried]
    if kind == "scan":
        assert len(eqn.invars) == eqn.params["num_consts"] + eqn.params["num_carry"] + 1
    with functrax.disable_jit():
        expected = f(w, h, xs)
    np.testing.assert_allclose(functrax.jit(f)(w, h, xs), expected, rtol=1e-6)
    check_grads(f, (w, h, xs), 2, rtol=1e-3)
    lanes = functrax.vmap(functrax.grad(f), (0, None, None))(jnp.stack([w, 2 * w]), h, xs)
    np.testing.assert_allclose(lanes[1], functrax.grad(f)(2 * w, h, xs), rtol=1e-5)


def test_what_only_dead_code_reads_is_left_out():
    """The value of a function that is differentiated: nobody looks at it."""
    slope = functrax.grad(lambda x, y: (x * x + y).sum())
    xs = jnp.arange(6.0).reshape(2, 3)

    def scanned(x):
        return lax.scan(lambda c, t: (slope(c, t), None), x, xs)[0]

    def looped(x):
        def below(state):
            (state[1] * 2).sum()
            return state[0] < 2

        step = lambda s: (s[0] + 1, s[1], slope(s[2], s[1]))
        return lax.while_loop(below, step, (0, xs[0], x))[2]

    with functrax.enable_checks(True):
        for f in (scanned, looped):
            np.testing.assert_array_equal(f(xs[1]), 4 * xs[1])
            np.testing.assert_array_equal(functrax.jacrev(f)(xs[1]), 4 * jnp.eye(3))
            np.testing.assert_array_equal(functrax.jacfwd(f)(xs[1]), 4 * jnp.eye(3))


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_loops_over_arrays_without_elements(shape):
    """XLA ended the process where the condition was a function that it could evaluate."""
    empty = jnp.zeros(shape)

    def f(x):
        return lax.while_loop(lambda s: (s[0] > 0).any(), lambda s: (s[0] - 1, s[1] * 2), (x, x))[1]

    for g in (f, functrax.jit(f), functrax.jit(functrax.jit(f))):
        assert g(empty).shape == shape
    assert functrax.grad(lambda x: f(x).sum())(empty).shape == shape
    lanes = functrax.vmap(lambda z: lax.while_loop(lambda s: s < 3, lambda s: s * 2, z))
    assert lanes(jnp.zeros(0)).shape == (0,)
    _, last = lax.while_loop(
        lambda s: (s[0] > s[1]).any(), lambda s: (s[0], s[1] + 1), (jnp.zeros(0), 1.0)
    )
    assert float(last) == 1.0


# Carries that nobody reads ------------------------------------------------------------------------


def _scan_with_idle_carry(x, w):
    """Of the carry (a, b, d) only a reaches the result; b and d read each other, and w."""

    def step(carry, t):
        a, b, d = carry
        return (jnp.sin(a) + t, b * a + d, d * 2 + w), (a * 2, b)

    (a, _, _), (doubled, _) = lax.scan(step, (x, x, x), jnp.arange(3.0))
    return a + doubled.sum()


def _while_with_idle_carry(x, w, **options):
    def step(s):
        return s[0] + 1, jnp.sin(s[1]), s[2] * s[1] + s[3], s[3] + s[2] * w

    return lax.while_loop(lambda s: s[0] < 3, step, (0, x, x, x), **options)[1]


def _fori_with_idle_carry(x, w):
    return lax.fori_loop(0, 3, lambda i, s: (jnp.sin(s[0]), s[1] * s[0] * w), (x, x))[0]


IDLE = {
    "scan": (_scan_with_idle_carry, "scan", 1),
    "while": (_while_with_idle_carry, "while", 2),
    "while-at-most": (partial(_while_with_idle_carry, max_steps=5), "while", 3),
    "fori": (_fori_with_idle_carry, "scan", 1),
}


def _loops(jaxpr, kind):
    """Return the loops of a program as it is lowered, those inside others too."""
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == kind]
    inner = [program for eqn in jaxpr.eqns for program in subjaxprs(eqn.params)]
    return found + [eqn for program in inner for eqn in _loops(program, kind)]


def _carried(eqn):
    count = eqn.params["num_carry"] if eqn.primitive.name == "scan" else len(eqn.outvars)
    return [v.aval for v in eqn.outvars[:count]]


@pytest.mark.parametrize("kind", IDLE)
def test_carries_that_nobody_reads_are_dropped(kind):
    f, primitive, count = IDLE[kind]
    x, w = jnp.float32(0.7), jnp.float32(2.0)
    closed = functrax.make_jaxpr(f)(x, w)
    (traced,) = _loops(closed.jaxpr, primitive)
    program = optimize(closed.jaxpr)
    check_jaxpr(program)
    (eqn,) = _loops(program, primitive)
    assert len(_carried(eqn)) == count < len(_carried(traced))
    assert program.invars[-1] not in eqn.invars  # what only they read, w, goes too
    for g in (f, functrax.jit(f), functrax.jit(functrax.jit(f))):
        with functrax.disable_jit():
            expected = f(x, w)
        np.testing.assert_allclose(g(x, w), expected, rtol=1e-6)
    check_grads(f, (x, w), 2, rtol=2e-3)
    lanes = functrax.vmap(functrax.grad(f), (0, None))(jnp.stack([x, x + 1]), w)
    np.testing.assert_allclose(lanes[1], functrax.grad(f)(x + 1, w), rtol=1e-5)


@pytest.mark.parametrize("kind", IDLE)
def test_residuals_of_carries_that_nobody_reads_are_not_kept(kind):
    f, primitive, _ = IDLE[kind]
    program = optimize(functrax.make_jaxpr(functrax.grad(f))(0.7, 2.0).jaxpr)
    check_jaxpr(program)
    lean = functrax.grad(lambda x: f(x, 2.0))

    def only(x):
        if primitive == "scan" and kind == "scan":
            step = lambda a, t: (jnp.sin(a) + t, a * 2)
            a, doubled = lax.scan(step, x, jnp.arange(3.0))
            return a + doubled.sum()
        if kind == "fori":
            return lax.scan(lambda a, _: (jnp.sin(a), None), x, length=3)[0]
        options = {"max_steps": 5} if kind == "while-at-most" else {}
        step = lambda s: (s[0] + 1, jnp.sin(s[1]))
        return lax.while_loop(lambda s: s[0] < 3, step, (0, x), **options)[1]

    written = optimize(functrax.make_jaxpr(functrax.grad(only))(0.7).jaxpr)
    kept, wanted = (
        sorted(repr(v.aval.strong()) for eqn in _loops(p, primitive) for v in eqn.outvars)
        for p in (program, written)
    )
    assert kept == wanted
    np.testing.assert_allclose(lean(0.7), functrax.grad(only)(0.7), rtol=1e-6)


def test_a_carry_that_an_effect_reads_stays():
    seen = []

    def step(carry, t):
        a, b, c = carry
        functrax.debug.callback(lambda b: seen.append(float(b)), b)
        return (a + t, b * 2, c + b), None

    f = functrax.jit(lambda x: lax.scan(step, (x, x, x), jnp.arange(3.0))[0][0])
    assert float(f(1.0)) == 4.0
    functrax.effects_barrier()
    assert sorted(seen) == [1.0, 2.0, 4.0]
    (eqn,) = _loops(optimize(functrax.make_jaxpr(f)(1.0).jaxpr), "scan")
    assert len(_carried(eqn)) == 2


@pytest.mark.parametrize("mode", ["none-used", "condition-only"])
def test_a_loop_that_runs_for_its_effects_only(mode):
    seen = []

    def f(x):
        def step(s):
            functrax.debug.callback(lambda i: seen.append(int(i)), s[0])
            return s[0] + 1, s[1] * 2

        count, _ = lax.while_loop(lambda s: s[0] < 3, step, (0, x))
        return x if mode == "none-used" else count + x

    functrax.jit(f)(1.0)
    functrax.effects_barrier()
    assert sorted(seen) == [0, 1, 2]


LOOPS_OF = ("scan", "while")


# Transposes of linear loops -----------------------------------------------------------------------


def _linear_loop(steps, p):
    """Three steps of ``a, b -> 2b + c, a``, where the condition reads a counter."""
    c = p["b"] * 0.5
    step = lambda s: (s[0] + 1, 2.0 * s[2] + c, s[1])
    return lax.while_loop(lambda s: s[0] < steps, step, (0, p["a"], p["b"]))[1:]


AROUND = {
    "itself": lambda f: f,
    "jit": functrax.jit,
    "jit-in-jit": lambda f: functrax.jit(functrax.jit(f)),
    "checkpoint": functrax.checkpoint,
    "cond": lambda f: lambda p: lax.cond(True, f, lambda p: (p["a"], p["b"]), p),
    "scan": lambda f: lambda p: lax.scan(lambda c, _: (f({"a": c[0], "b": c[1]}), None),
                                         (p["a"], p["b"]), None, length=1)[0],
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
def test_a_loop_that_is_linear_is_transposed(around):
    p = {"a": jnp.arange(2.0), "b": jnp.ones(2)}
    f = AROUND[around](partial(_linear_loop, jnp.int32(3)))
    pull = functrax.linear_transpose(f, p)
    # a, b -> 2b + b/2, a -> 2a + b/2, 5/2 b -> 5b + b/2, 2a + b/2
    (found,) = pull((jnp.array([1.0, 2.0]), jnp.array([10.0, 0.0])))
    np.testing.assert_allclose(found["a"], [20.0, 0.0])
    np.testing.assert_allclose(found["b"], [5.5 + 5.0, 11.0])
    lanes = functrax.jit(functrax.vmap(pull))((jnp.eye(2), jnp.zeros((2, 2))))
    np.testing.assert_allclose(lanes[0]["b"], 5.5 * np.eye(2))


def test_a_loop_that_ends_by_its_linear_argument():
    def f(x):
        return lax.while_loop(lambda s: s[1] < 3, lambda s: (s[0] + 1, s[1] * 2), (0, x))[1]

    for g in (f, functrax.jit(f)):
        with pytest.raises(errors.MissingRuleError) as caught:
            functrax.linear_transpose(g, 1.0)(1.0)
        assert caught.value.got == "a loop that ends by the value of one of them"
        assert caught.value.fix == "Use `vjp`, which linearizes first."
