"""Programs over devices beside JAX's: values and derivatives of one body in both libraries."""

from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

import functrax

X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
W = np.float32(0.7)
RING = [(0, 1), (1, 2), (3, 0)]


def varied(J: ModuleType, value: Any) -> Any:
    """What varies, where types say so."""
    if J is functrax:
        return functrax.lax.pvary(value, "i")
    return jax.lax.pcast(value, "i", to="varying")


# Bodies: (library, replicated w, own rows of x) -> a replicated number -----------------------------


def scan(J, w, x):
    step = lambda c, a: (J.numpy.tanh(c * w + a), c * w)  # noqa: E731
    c, ys = J.lax.scan(step, varied(J, J.numpy.float32(0)), x[0])
    return J.lax.psum(c + ys.sum(), "i")


def sum_in_scan(J, w, x):
    step = lambda c, a: (c + J.lax.psum(J.numpy.sin(a * w * c), "i"), c)  # noqa: E731
    c, ys = J.lax.scan(step, J.numpy.float32(1) * w, x[0])
    return c + ys.sum()


def fori_loop(J, w, x):
    return J.lax.psum(J.lax.fori_loop(0, 3, lambda _, c: J.numpy.sin(c) * w, x).sum(), "i")


def cond(J, w, x):
    w = varied(J, w)
    return J.lax.psum(J.lax.cond(x.sum() > 0, lambda x: x * w, J.numpy.sin, x).sum(), "i")


def sums_in_cond(J, w, x):
    def more(x):
        return J.lax.pmean((x * w) ** 2, "i").sum()

    def less(x):
        return J.lax.psum(J.numpy.sin(x) * w, "i").sum()

    return J.lax.cond(w > 0.3, more, less, x)


def switch(J, w, x):
    w = varied(J, w)
    branches = [lambda x: x * w, lambda x: J.numpy.cos(x) * w, lambda x: x]
    return J.lax.psum(J.lax.switch(J.lax.axis_index("i") % 3, branches, x).sum(), "i")


def checkpoint(J, w, x):
    inner = J.checkpoint(lambda w, x: J.numpy.sin(J.lax.pmean(J.numpy.sin(x * w), "i")).sum())
    return inner(w, x)


def policy(J, w, x):
    product = lambda w, x: J.numpy.sin(J.numpy.dot(J.numpy.sin(x * w), x.T))  # noqa: E731
    inner = J.checkpoint(product, policy=J.checkpoint_policies.dots_saveable)
    return J.lax.psum(inner(w, x).sum(), "i")


def custom_jvp(J, w, x):
    @J.custom_jvp
    def f(w, x):
        return w * x

    @f.defjvp
    def rule(primals, tangents):
        (w, x), (dw, dx) = primals, tangents
        return f(w, x), 3 * (w * dx + dw * x)

    return J.lax.psum(f(w, x).sum(), "i")


def custom_vjp(J, w, x):
    @J.custom_vjp
    def f(w):
        return J.numpy.sin(w)

    f.defvjp(lambda w: (f(w), w), lambda w, g: (2 * g * J.numpy.cos(w),))
    return J.lax.psum((f(w) * f(x)).sum(), "i")


def vmap(J, w, x):
    return J.vmap(lambda r: J.lax.psum(J.numpy.sin(r * w), "i"), in_axes=1)(x).sum()


def jit(J, w, x):
    return J.jit(lambda w, x: J.lax.psum((J.numpy.sin(x) * w).sum(), "i"))(w, x)


def grad(J, w, x):
    return J.grad(lambda w: J.lax.psum(J.numpy.sin(x * w).sum(), "i"))(w)


def jvp(J, w, x):
    return J.jvp(lambda w: J.lax.psum(J.numpy.sin(x * w).sum(), "i"), (w,), (w,))[1]


def all_gather(J, w, x):
    return J.lax.psum((J.lax.all_gather(x * w, "i") ** 2).sum(), "i")


def psum_scatter(J, w, x):
    every = J.lax.all_gather(J.numpy.sin(x * w), "i")
    return J.lax.psum((J.lax.psum_scatter(every, "i") ** 2).sum(), "i")


def all_to_all(J, w, x):
    moved = J.lax.all_to_all(J.numpy.tile(J.numpy.sin(x * w), (8, 1)), "i", 0, 1, tiled=True)
    return J.lax.psum((moved**2 * J.lax.axis_index("i")).sum(), "i")


def ppermute(J, w, x):
    return J.lax.psum((J.lax.ppermute(J.numpy.sin(x * w), "i", RING) * x).sum(), "i")


def unused(J, w, x):
    return J.lax.pmean(x * 0, "i").sum() + J.numpy.sin(w)


BODIES = (
    scan, sum_in_scan, fori_loop, cond, sums_in_cond, switch, checkpoint, policy, custom_jvp,
    custom_vjp, vmap, jit, grad, jvp, all_gather, psum_scatter, all_to_all, ppermute, unused,
)  # fmt: skip
# Without the types of what varies, which these do not speak of.
UNCHECKED = (sums_in_cond, checkpoint, custom_jvp, psum_scatter, ppermute)


def program(J: ModuleType, body: Any, check: bool) -> Any:
    """The derivatives of a body that is mapped over the devices, as one program."""
    part = J.sharding.PartitionSpec
    mesh = J.sharding.Mesh(np.array(J.devices("cpu")[:8]), ("i",))
    loss = J.shard_map(
        lambda w, x: body(J, w, x),
        mesh=mesh,
        in_specs=(part(), part("i")),
        out_specs=part(),
        check_vma=check,
    )

    def three_turns(w):
        return J.lax.scan(lambda c, _: (c * loss(c, X), None), w, None, length=3)[0]

    def run(w, x):
        value = J.value_and_grad(loss, (0, 1))(w, x)
        if body is custom_vjp:  # has no forward mode in JAX
            tangent, second = (), J.jacrev(J.grad(loss))(w, x)
        else:
            tangent, second = J.jvp(loss, (w, x), (W, x[::-1])), J.hessian(loss)(w, x)
        mapped = J.vmap(J.grad(loss, (0, 1)), (0, None))(J.numpy.stack([w, w / 2]), x)
        return value, tangent, second, mapped, J.grad(three_turns)(w)

    return J.jit(run)


@pytest.mark.parametrize(
    ("body", "check"),
    [(body, True) for body in BODIES] + [(body, False) for body in UNCHECKED],
    ids=lambda value: getattr(value, "__name__", "checked" if value else "unchecked"),
)
def test_shard_map(body, check):
    """Value, gradient, tangent, second derivative, mapped gradient, gradient through a loop."""
    found, expected = (J.tree.leaves(program(J, body, check)(W, X)) for J in (functrax, jax))
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
