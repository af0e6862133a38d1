"""`functrax.testing`: right derivatives pass, wrong ones are named."""

import re

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import lax, random
from functrax.errors import ArgumentError, GradientCheckError
from functrax.testing import check_grads, check_jvp, check_vjp

MODES = ("fwd", "rev", "lin")
CURE = "A custom rule in it may be wrong. If it has a kink there, move the arguments; if this is rounding, raise atol or rtol."


def pushed(function, rule):
    """Return a function whose tangent is rule(primal, tangent)."""
    f = functrax.custom_jvp(function)
    f.defjvp(lambda primals, tangents: (f(*primals), rule(*primals, *tangents)))
    return f


def pulled(function, rule):
    """Return a function whose cotangent is rule(primal, cotangent)."""
    f = functrax.custom_vjp(function)
    f.defvjp(lambda x: (function(x), x), lambda x, c: (rule(x, c),))
    return f


def message(call, *args, **kwargs):
    """Return the message of the failing check, with the line of this file as HERE."""
    with pytest.raises(GradientCheckError) as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, AssertionError)
    return re.sub(r"\(test_testing\.py:\d+\)", "(HERE)", str(caught.value))


# ---- right derivatives

W = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
RIGHT = {
    "scalar": (lambda x: jnp.sin(x) * x, (0.7,)),
    "array": (lambda x: jnp.tanh(x).sum(), (W,)),
    "pytree": (lambda p, x: {"y": jnp.tanh(p["w"] @ x + p["b"]), "sum": (x.sum(),)},
               ({"w": W, "b": jnp.ones(2)}, np.arange(3.0))),
    "jit": (functrax.jit(lambda x: jnp.exp(-x * x)), (W,)),
    "vmap": (functrax.vmap(lambda x: jnp.linalg.norm(x)), (W,)),
    "int arguments": (lambda x, n, flag: x * n if flag else x, (W, 3, True)),
    "int arrays": (lambda x, i: x[i], (W, np.array([1, 0, 1]))),
    "int results": (lambda x: (x * x, x > 0, 3), (W,)),
    "keys": (lambda key, x: x * random.normal(key), (random.key(0), 2.0)),
    "complex": (lambda z: z * z * jnp.exp(z), (1 + 2j,)),
    "not holomorphic": (lambda z: jnp.abs(z) ** 2 + 3 * z.conj(), (np.array([1 + 2j, 3]),)),
    "real to complex": (lambda x: lax.complex(x, x * x), (W,)),
    "complex to real": (lambda z: z.real * z.imag, (1 + 2j,)),
    "custom_jvp": (pushed(jnp.sin, lambda x, t: jnp.cos(x) * t), (W,)),
    "float64": (lambda x: jnp.sin(x), (jnp.asarray([1.0, 2.0], "float64"),)),
    "bfloat16": (lambda x: x * x * x, (jnp.asarray([1.0, 2.0], "bfloat16"),)),
    "float16": (lambda x: x * x * x, (jnp.asarray([1.0, 2.0], "float16"),)),
    "float8": (lambda x: x * x, (jnp.asarray([1.0, 3.0], "float8_e5m2"),)),
    # The numeric side cannot be wider than the function lets it.
    "one dtype only": (lambda x: lax.mul(x, jnp.ones(2)) * x, (np.array([1.0, 2.0]),)),
    "narrow inside": (lambda x: jnp.sin(x.astype("float32")), (jnp.asarray([1.0, 3.0], "float64"),)),
    "other meaning when wide": (
        lambda x: x * x + (lax.bitcast_convert_type(x, "uint8").size > 4), (np.float32(3),)),
    "infinite": (lambda x: jnp.where(x > 0, x, jnp.inf), (np.array([-1.0, 1.0]),)),
    "empty": (lambda x: x * 2, (jnp.zeros((0, 2)),)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("order", [1, 2])
def test_right_derivatives_pass(name, order):
    f, args = RIGHT[name]
    check_grads(f, args, order, modes=MODES)


@pytest.mark.parametrize("mode", MODES)
def test_third_order(mode):
    check_grads(lambda x, y: jnp.sin(x) * y**3, (0.5, 1.5), 3, modes=mode)


def test_a_right_custom_vjp_passes():
    right = pulled(jnp.sin, lambda x, c: jnp.cos(x) * c)
    check_grads(right, (W,), 2)


def test_the_numeric_side_is_wide_enough_for_tight_tolerances():
    check_grads(lambda x: jnp.sin(x) * 1000, (W,), 2, atol=1e-6, rtol=2e-6)


# ---- wrong derivatives


def test_a_wrong_custom_jvp():
    f = pushed(jnp.sin, lambda x, t: t)
    assert message(check_grads, f, (1.0,), 1) == (
        "[check_grads] expected the jvp of 'sin' (order 1) at result to be 0.0679323, by central "
        "differences (atol=0.002, rtol=0.002); got 0.12573 (HERE). " + CURE
    )


def test_a_wrong_custom_vjp():
    f = pulled(jnp.sin, lambda x, c: c)

    def loss(params):
        return {"y": f(params["w"]) + params["b"]}

    check_grads(loss, ({"w": W, "b": 1.0},), 1, modes="fwd")
    assert message(check_grads, loss, ({"w": W, "b": 1.0},), 1, modes="rev") == (
        "[check_grads] expected the vjp of 'loss' (order 1) at args[0]['w'] to be -1.18978, by "
        "central differences in a random direction (atol=0.002, rtol=0.002); got -1.5266 (HERE). "
        + CURE
    )


def test_a_result_that_is_wrong_in_one_element():
    f = pushed(lambda x: (x, {"a": x * x}), lambda x, t: (t, {"a": 2 * x * t * (x < 3)}))
    assert message(check_grads, f, (np.arange(4.0).reshape(2, 2),), 1) == (
        "[check_grads] expected the jvp of '<lambda>' (order 1) at element (1, 1) of "
        "result[1]['a'] to be 0.629401, by central differences (atol=0.002, rtol=0.002); got 0 "
        "(HERE). " + CURE
    )


def test_wrong_in_second_order():
    def cube(x):
        return x**3

    f = pushed(cube, lambda x, t: 3 * x * lax.stop_gradient(x) * t)
    check_grads(f, (2.0,), 1)
    assert message(check_grads, f, (2.0,), 2, modes="fwd") == (
        "[check_grads] expected the jvp of the jvp of 'cube' (order 2) at the tangent of result to "
        "be 7.48576, by central differences (atol=0.002, rtol=0.002); got 7.58541 (HERE). " + CURE
    )
    assert message(check_grads, f, (2.0,), 2, modes="rev") == (
        "[check_grads] expected the vjp of the vjp of 'cube' (order 2) at args[0] to be 0.101359, "
        "by central differences in a random direction (atol=0.002, rtol=0.002); got 0.0506796 "
        "(HERE). " + CURE
    )


def test_wrong_in_third_order():
    stop = lax.stop_gradient
    f = pushed(lambda x: x**4, lambda x, t: 4 * (3 * stop(x) ** 2 * x - 2 * stop(x) ** 3) * t)
    check_grads(f, (1.5,), 2, modes="fwd")
    found = message(check_grads, f, (1.5,), 3, modes="fwd")
    assert "the jvp of the jvp of the jvp of '<lambda>' (order 3)" in found


@pytest.mark.parametrize("mode", MODES)
def test_the_value_of_a_rule_is_checked(mode):
    f = functrax.custom_jvp(lambda x: x * 2)
    f.defjvp(lambda primals, tangents: (primals[0] * 3, tangents[0] * 2))
    name = {"fwd": "jvp", "rev": "vjp", "lin": "linearize"}[mode]
    assert message(check_grads, f, (1.0,), 1, modes=mode) == (
        f"[check_grads] expected the value beside the {name} of '<lambda>' (order 1) at result to "
        "be 2, as the function itself returns (atol=0.002, rtol=0.002); got 3 (HERE). " + CURE
    )


@pytest.mark.parametrize("mode", MODES)
def test_complex_rules(mode):
    """For x² + conj(x) the derivative differs from direction to direction."""
    right = pushed(lambda z: z * z + z.conj(), lambda z, t: 2 * z * t + t.conj())
    check_grads(right, (1 + 2j,), 2, modes=mode)
    wrong = pushed(lambda z: z * z + z.conj(), lambda z, t: (2 * z + 1) * t)
    assert "(order 1)" in message(check_grads, wrong, (1 + 2j,), 1, modes=mode)


def test_a_small_argument_is_not_hidden_by_a_large_one():
    f = pulled(lambda x: x["big"] * 1e6 + x["small"], lambda x, c: {"big": 1e6 * c, "small": 2 * c})
    assert "at args[0]['small'] to be" in message(
        check_grads, f, ({"big": 1.0, "small": 1.0},), 1, modes="rev"
    )


def test_tolerances():
    f = pushed(jnp.sin, lambda x, t: 1.2 * jnp.cos(x) * t)
    message(check_grads, f, (1.0,), 1)
    check_grads(f, (1.0,), 1, rtol=0.3)
    check_grads(f, (1.0,), 1, atol=0.1)
    check_grads(f, (1.0,), 1, atol={"float32": 0.1})
    message(check_grads, f, (1.0,), 1, atol={np.float64: 0.1})
    assert "(atol=1e-06, rtol=0)" in message(check_grads, f, (1.0,), 1, atol=1e-6, rtol=0)
    assert "(atol=1e-05, rtol=1e-05)" in message(check_grads, f, (jnp.asarray(1.0, "float64"),), 1)


def test_step():
    """Central differences are exact for a square, whatever the step, and wrong for a cube."""
    check_grads(lambda x: x * x, (1.0,), 1, eps=1.0)
    message(check_grads, lambda x: x**3, (1.0,), 1, eps=1.0)


# ---- derivatives of the user's own


def test_check_jvp():
    def f(x, n):
        return jnp.sin(x) * n, n

    def right(primals, tangents):
        (x, n), (t, zero) = primals, tangents
        assert zero.dtype == functrax.dtypes.float0
        return f(x, n), (jnp.cos(x) * n * t, zero)

    def wrong(primals, tangents):
        return f(*primals), (tangents[0], tangents[1])

    check_jvp(f, right, (W, 2))
    assert message(check_jvp, f, wrong, (1.0, 2), err_msg="See the paper.") == (
        "[check_jvp] expected the jvp of 'f' (order 1) at result[0] to be 0.135865, by central "
        "differences (atol=0.002, rtol=0.002); got 0.12573 (HERE). " + CURE + " See the "
        "paper."
    )


def test_check_vjp():
    def f(x, n):
        return {"y": jnp.sin(x) * n, "n": n}

    def right(x, n):
        return f(x, n), lambda c: (
            c["y"] * jnp.cos(x) * n,
            None if n is None else np.zeros((), bool),
        )

    def wrong(x, n):
        return f(x, n), lambda c: (2 * c["y"], 0)

    check_vjp(f, right, (W, 2))
    check_vjp(f, lambda *args: functrax.vjp(f, *args), (W, 2))
    assert message(check_vjp, f, wrong, (1.0, 2)) == (
        "[check_vjp] expected the vjp of 'f' (order 1) at args[0] to be -0.0179484, by central "
        "differences in a random direction (atol=0.002, rtol=0.002); got -0.0332191 (HERE). " + CURE
    )


@pytest.mark.parametrize(
    ("check", "args", "text"),
    [
        (check_jvp, (3, jnp.sin, (1.0,)), "[check_jvp] expected a function; got 3 of type int ("),
        (check_vjp, (3, jnp.sin, (1.0,)), "[check_vjp] expected a function; got 3 of type int ("),
        (check_grads, (3, (1.0,), 1), "[check_grads] expected a function; got 3 of type int ("),
        (check_grads, (jnp.sin, np.float32, 1), "[check_grads] expected a tuple of arguments as "),
    ],
)
def test_what_is_no_function(check, args, text):
    """No call is advised that would be another one."""
    with pytest.raises(ArgumentError) as caught:
        check(*args)
    assert str(caught.value).startswith(text)
    assert "(f)(x)" not in str(caught.value)


@pytest.mark.parametrize("name", ["an Array", "a traced Array"])
def test_arguments_that_are_one_array(name):
    check = lambda x: check_grads(jnp.sin, x, 1)  # noqa: E731
    with pytest.raises(ArgumentError) as caught:
        (functrax.jit(check) if "traced" in name else check)(jnp.ones(3))
    start = "[check_grads] expected a tuple of arguments as args; got "
    assert str(caught.value).startswith(f"{start}{name} (")


def test_derivatives_of_another_form():
    sine = jnp.sin
    assert message(check_jvp, sine, lambda p, t: sine(*p), (1.0,)) == (
        "[check_jvp] expected f_jvp to return a result and its tangent; got Array (HERE)."
    )
    assert message(check_jvp, sine, lambda p, t: (sine(*p), t), (1.0,)) == (
        "[check_jvp] expected the tangent that f_jvp returns to have the structure PyTreeDef(*); "
        "got PyTreeDef((*,)) (HERE)."
    )
    assert message(check_jvp, sine, lambda p, t: (sine(*p), np.ones(2)), (1.0,)) == (
        "[check_jvp] expected the tangent that f_jvp returns to be ~f32[]; got f32[2] (HERE)."
    )
    assert message(
        check_vjp, sine, lambda x: (sine(x), lambda c: (c.astype("float16"),)), (1.0,)
    ) == (
        "[check_vjp] expected the cotangents that the pullback returns to be ~f32[] at [0]; got "
        "f16[] (HERE)."
    )


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((W, 1), "[check_grads] expected a tuple of arguments as args; got a value of type ndarray (HERE). Write `(x,)` for one argument x."),
        (((1,), 1), "[check_grads] expected at least one floating or complex array in args; got none (HERE)."),
        (((1.0,), 0), "[check_grads] expected order as an int of at least 1; got 0 (HERE)."),
        (((1.0,), 1, "forward"), "[check_grads] expected modes among ('fwd', 'rev', 'lin'); got 'forward' (HERE)."),
    ],
)  # fmt: skip
def test_wrong_arguments(args, text):
    with pytest.raises(ArgumentError) as caught:
        check_grads(jnp.sin, *args)
    assert re.sub(r"\(test_testing\.py:\d+\)", "(HERE)", str(caught.value)) == text


def test_importing_functrax_does_not_import_it(python):
    code = "import sys, functrax; print({'functrax.testing', 'functrax.extend'} & {*sys.modules})"
    assert python(code) == "set()"
