"""`functrax.extend.eval_jaxpr`: programs run on arguments that are checked."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, extend

K = jnp.arange(3.0)
PRODUCT = functrax.make_jaxpr(lambda x, y: x * y)(1.0, jnp.ones(3))
SCALED = functrax.make_jaxpr(lambda x: x * K)(1.0)


def product(*args):
    return extend.eval_jaxpr(PRODUCT.jaxpr, PRODUCT.consts, *args)


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.array(2.0), jnp.asarray(2.0)])
@pytest.mark.parametrize("y", [np.arange(3.0), jnp.arange(3.0)])
def test_anything_array_like_is_an_argument(x, y):
    (result,) = product(x, y)
    assert isinstance(result, functrax.Array)
    assert result.tolist() == [0, 2, 4]


def test_it_runs_under_transforms():
    x, y = jnp.arange(1.0, 3.0), jnp.ones((2, 3))
    assert functrax.jit(product)(2.0, y[0])[0].tolist() == [2, 2, 2]
    assert functrax.vmap(product)(x, y)[0].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert float(functrax.grad(lambda x: product(x, y[0])[0].sum())(2.0)) == 3


def test_constants_are_arguments_too():
    (result,) = extend.eval_jaxpr(SCALED.jaxpr, [np.arange(3.0)], 2.0)
    assert result.tolist() == [0, 2, 4]


def test_numbers_that_a_program_returns_are_arrays():
    program = functrax.make_jaxpr(lambda x: (x, 2.0))(1.0)
    results = extend.eval_jaxpr(program.jaxpr, (), 1.0)
    assert [type(x) for x in results] == [type(jnp.ones(1))] * 2


BAD = {
    "too few": (
        errors.ArgumentError,
        lambda: product(1.0),
        "expected 2 arguments, as the program has; got 1 (",
    ),
    "constants": (
        errors.ArgumentError,
        lambda: extend.eval_jaxpr(SCALED.jaxpr, (), 1.0),
        "expected 1 constant, as the program has; got 0 (",
    ),
    "a constant's shape": (
        errors.ShapeError,
        lambda: extend.eval_jaxpr(SCALED.jaxpr, [np.ones(2)], 1.0),
        "expected constant 0 of type f32[3]; got f32[2] (",
    ),
    "a shape": (
        errors.ShapeError,
        lambda: product(np.float32(1), jnp.ones(4)),
        "expected argument 1 of type f32[3]; got f32[4] (",
    ),
    "a dtype": (
        errors.DtypeError,
        lambda: product(1.0, jnp.arange(3)),
        "expected argument 1 of type f32[3]; got i32[3] (",
    ),
    "no array": (
        errors.ArgumentError,
        lambda: product("text", jnp.ones(3)),
        "expected argument 0 of type ~f32[]; got 'text' of type str (",
    ),
    "no sequence": (
        errors.ArgumentError,
        lambda: extend.eval_jaxpr(PRODUCT.jaxpr, None, 1.0, 2.0),
        "expected a sequence for 'consts'; got None of type NoneType (",
    ),
    "a closed program": (
        errors.ArgumentError,
        lambda: extend.eval_jaxpr(PRODUCT, (), 1.0, 2.0),
        "expected a Jaxpr; got a ClosedJaxpr (",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    kind, call, message = BAD[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(f"[eval_jaxpr] {message}test_extend.py:")
