"""`ensure_compile_time_eval` against JAX, and what it leaves to the program."""

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp


def steps(lib, f=None, x=1.0, wrap=lambda lib, f: lib.jit(f)):
    """Run a function in which Python loops over a number computed inside."""
    jnp = lib.numpy

    def g(x):
        with lib.ensure_compile_time_eval():
            count = jnp.ceil(jnp.log2(jnp.float32(9.0)))
            table = jnp.cumsum(jnp.arange(4.0))
            inner = lib.jit(lambda y: y * 2)(table)  # of a jitted function too
            last = int(table[3])
        for _ in range(int(count)):
            x = x + inner[2]
        return x * last

    return wrap(lib, g)(x)


PROGRAMS = {
    "jit": lambda lib, g: lib.jit(g),
    "nothing": lambda lib, g: g,
    "grad": lambda lib, g: lib.grad(g),
    "jit of grad": lambda lib, g: lib.jit(lib.grad(g)),
    "vmap": lambda lib, g: lambda x: lib.vmap(g)(lib.numpy.arange(3.0) + x),
    "scan": lambda lib, g: lambda x: lib.lax.scan(lambda c, _: (g(c), None), x, None, length=2)[0],
    "checkpoint": lambda lib, g: lib.jit(lib.grad(lib.checkpoint(g))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_computed_at_once(name):
    found, wanted = (steps(lib, wrap=PROGRAMS[name]) for lib in (functrax, jax))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == wanted.dtype


def test_what_depends_on_an_argument_is_traced():
    def f(x):
        with functrax.ensure_compile_time_eval():
            return jnp.sin(x) + jnp.cos(jnp.float32(0.0))

    jaxpr = functrax.make_jaxpr(f)(1.0)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["sin", "add"]
    assert functrax.jit(f)(0.0) == 1


def test_a_position_along_a_named_axis_is_traced():
    @functrax.ensure_compile_time_eval()
    def f(x):
        return x + functrax.lax.axis_index("i") + functrax.lax.psum(1, "i") * jnp.arange(2)[1]

    assert functrax.vmap(f, axis_name="i")(jnp.zeros(3)).tolist() == [3, 4, 5]


def test_the_trace_is_there_again_after_an_error():
    @functrax.jit
    def f(x):
        try:
            with functrax.ensure_compile_time_eval():
                raise KeyError
        except KeyError:
            return jnp.exp(jnp.zeros(())) + x

    assert len(f.trace(1.0).jaxpr.eqns) == 2


def test_type_of():
    for x in (
        1,
        2.5,
        True,
        np.ones((2, 3), "int8"),
        jnp.ones(3, "bfloat16"),
        functrax.random.key(0),
    ):
        assert functrax.typeof(x) == functrax.make_jaxpr(lambda x: x)(x).jaxpr.invars[0].aval
    assert functrax.jit(lambda x: jnp.full(2, functrax.typeof(x).ndim))(jnp.ones((1, 1)))[0] == 2


def test_length_of_a_shape():
    assert len(functrax.ShapeDtypeStruct((3, 2), "float32")) == 3
    with pytest.raises(functrax.errors.ShapeError) as error:
        len(functrax.ShapeDtypeStruct((), "float32"))
    assert str(error.value).startswith(
        "[len] expected at least one axis; got ShapeDtypeStruct(shape=(), dtype=float32)"
    )
