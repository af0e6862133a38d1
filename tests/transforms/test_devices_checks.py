"""`debug_nans` and its like, and `checkify`, in programs that each device runs on its own part: they
name the operation inside and its line.
"""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import checking, errors, lax
from functrax.sharding import Mesh
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")[:8]
LINE = Mesh(DEVICES, "i")
GRID = Mesh(np.array(DEVICES).reshape(2, 4), ("a", "b"))
GOOD = np.linspace(1, 2, 32, dtype=np.float32).reshape(8, 4)
BAD = np.where(np.arange(8)[:, None] == 5, -GOOD, GOOD)  # on device 5 alone


def over(f, in_specs, out_specs, mesh=LINE, **options):
    return functrax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **options)


@functrax.custom_vjp
def own(x):
    return jnp.log(x)


own.defvjp(lambda x: (jnp.log(x), x), lambda x, g: (g / x,))


#: Programs of a part, which compute `log` of it.
PARTS = {
    "plain": lambda x: jnp.log(x * 2) + 1,
    "jit": functrax.jit(lambda x: jnp.log(x)),
    "scan": lambda x: lax.scan(lambda c, a: (c, jnp.log(a)), 0.0, x)[1],
    "cond": lambda x: lax.cond(x.sum() < 100, jnp.log, lambda x: x, x),
    "while": lambda x: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, jnp.log(x)), (0, x))[1],
    "custom": own,
    "checkpoint": functrax.checkpoint(lambda x: jnp.log(x)),
    "vmap": functrax.vmap(jnp.log),
    "collective": lambda x: x + lax.pmean(jnp.log(x), "i"),
    "gradient": functrax.grad(lambda x: lax.pmean(jnp.log(x) ** 2, "i").sum()),
}  # fmt: skip


@pytest.mark.parametrize("how", ["pmap", "shard_map", "unchecked", "jit"])
@pytest.mark.parametrize("name", PARTS)
def test_the_operation_inside_is_named(name, how):
    part = PARTS[name]
    rows = lambda x: part(x.reshape(4)).reshape(x.shape)  # noqa: E731
    run = {
        "pmap": functrax.pmap(rows, "i"),
        "shard_map": over(rows, P("i"), P("i")),
        "unchecked": over(rows, P("i"), P("i"), check_vma=False),
        "jit": functrax.jit(lambda x: over(rows, P("i"), P("i"))(x * 1)),
    }[how]
    with functrax.debug_nans(True):
        with pytest.raises(errors.NonFiniteError, match="no NaN; got one from 'log'") as caught:
            run(BAD)
        assert "test_devices_checks.py:" in str(caught.value)
        found = run(GOOD)
    np.testing.assert_allclose(found, run(GOOD), rtol=1e-6)


def test_two_levels_and_kinds():
    def nested(f):
        return functrax.pmap(functrax.pmap(f, "j"), "i")

    def partial(x):
        inner = lambda y: lax.psum(jnp.log(y), "b")  # noqa: E731
        within = functrax.shard_map(inner, in_specs=P("b"), out_specs=P(), axis_names={"b"})
        return within(x) + lax.axis_index("a")

    outer = over(partial, P("a"), P("a"), GRID, axis_names={"a"})
    with functrax.debug_nans(True), pytest.raises(errors.NonFiniteError, match="from 'log'"):
        nested(jnp.log)(BAD.reshape(2, 4, 4))
    with functrax.debug_nans(True), pytest.raises(errors.NonFiniteError, match="from 'log'"):
        functrax.jit(outer)(BAD.reshape(32))
    with functrax.debug_infs(True), pytest.raises(errors.NonFiniteError, match="from 'div'"):
        functrax.pmap(lambda x: 1 / x)(np.arange(8, dtype=np.float32))


@pytest.mark.parametrize("mapped", ["pmap", "shard_map"])
def test_checks_of_users(mapped):
    def f(x):
        checking.check(x.sum() > 0, "sum {s}", s=x.sum())
        return x * 2

    run = functrax.pmap(f) if mapped == "pmap" else over(f, P("i"), P("i"))
    checked = functrax.jit(checking.checkify(run))
    error, out = checked(GOOD)
    assert error.get() is None
    np.testing.assert_array_equal(out, GOOD * 2)
    error, _ = checked(BAD)
    assert f"sum {BAD[5].sum():.4}"[:9] in error.get()
