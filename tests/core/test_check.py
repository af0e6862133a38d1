"""The checker: what is well-formed passes, and each broken promise is one error that names it."""

import numpy as np
import pytest

import functrax
from functrax.core.check import call_types, check_jaxpr, literal_problem
from functrax.core.jaxpr import ClosedJaxpr, Equation, Jaxpr, Var, eval_jaxpr
from functrax.core.primitive import registry
from functrax.core.types import Literal, ShapedArray
from functrax.errors import JaxprError
from functrax.primitives.elementwise import sin
from functrax.primitives.reduce import reduce_sum
from tests.golden.programs import MATRIX, PROGRAMS, VECTOR, outer, traced

F32 = ShapedArray((3,), np.dtype("float32"))
I32 = ShapedArray((3,), np.dtype("int32"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_traced_programs_pass(name):
    check_jaxpr(traced(name))


def total(x):
    return reduce_sum(outer(x), (0,))


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (functrax.grad(total), VECTOR),
        (functrax.hessian(functrax.jit(total)), VECTOR),
        (functrax.jit(functrax.vmap(functrax.grad(total))), MATRIX),
        (functrax.vmap(functrax.jacfwd(functrax.jit(functrax.grad(total)))), MATRIX),
        (functrax.grad(functrax.grad(functrax.grad(outer))), 2.0),
    ],
)
def test_transformed_programs_pass(function, argument):
    check_jaxpr(functrax.make_jaxpr(function)(argument))


def equation(primitive, invars, outvars, /, **params):
    return Equation(registry[primitive], invars, outvars, params, None)


def problem(jaxpr):
    """Return the message without its call and place."""
    with pytest.raises(JaxprError) as caught:
        check_jaxpr(jaxpr)
    message = str(caught.value)
    assert message.startswith("[check_jaxpr] expected ")
    return message.removeprefix("[check_jaxpr] expected ").rpartition(" (test_check.py:")[0]


def variables(*avals):
    return [Var(aval) for aval in avals]


def test_the_whole_message_has_the_line_of_the_equation():
    jaxpr = functrax.make_jaxpr(lambda x: sin(sin(x)))(VECTOR).jaxpr
    line = test_the_whole_message_has_the_line_of_the_equation.__code__.co_firstlineno + 1
    jaxpr.eqns[1].outvars[0].aval = I32
    with pytest.raises(JaxprError) as caught:
        check_jaxpr(jaxpr)
    assert str(caught.value) == (
        "[check_jaxpr] expected results of types (f32[3]) in equation 1, `c:i32[3] = sin b`; "
        f"got (i32[3]) (test_check.py:{line})."
    )


def test_a_variable_defined_twice():
    x, y = variables(F32, F32)
    eqns = [equation("sin", [x], [y]), equation("cos", [x], [y])]
    assert problem(Jaxpr((), (x,), (y,), eqns)) == (
        "new variables in equation 1, `c:f32[3] = cos a`; "
        "got one of type f32[3] that is defined twice"
    )
    assert problem(Jaxpr((), (x, x), (x,), ())) == (
        "new variables in the signature or results of the program; "
        "got one of type f32[3] that is defined twice"
    )


def test_a_variable_used_before_its_definition():
    x, y, z = variables(F32, F32, F32)
    eqns = [equation("sin", [y], [z]), equation("cos", [x], [y])]
    assert problem(Jaxpr((), (x,), (z,), eqns)) == (
        "variables that are defined before in equation 0, `b:f32[3] = sin c`; "
        "got one of type f32[3] that is defined later"
    )


def test_a_variable_of_an_outer_program():
    x, y, z, w = variables(F32, F32, F32, F32)
    inside = Jaxpr((), (y,), (z,), [equation("mul", [x, y], [z])])
    jaxpr = Jaxpr((), (x,), (w,), [equation("jit", [x], [w], jaxpr=inside, name="f")])
    assert problem(jaxpr) == (
        "variables that are defined before in equation 0 of the program 'jaxpr' in equation 0 "
        "(jit), `b:f32[3] = mul ?:f32[3] a`; got one of type f32[3] that is defined nowhere in it"
    )


def test_a_result_that_is_not_defined():
    x, y = variables(F32, F32)
    assert problem(Jaxpr((), (x,), (y,), ())) == (
        "variables that are defined before in the signature or results of the program; "
        "got one of type f32[3] that is defined nowhere in it"
    )


def test_operands_that_the_primitive_does_not_take():
    x, y = variables(I32, I32)
    assert problem(Jaxpr((), (x,), (y,), [equation("sin", [x], [y])])) == (
        "an array of floating or complex dtype for sin in equation 0, `b:i32[3] = sin a`; "
        "got i32[3]"
    )


def test_parameters_that_are_missing():
    x, y = variables(F32, F32.update(shape=()))
    assert problem(Jaxpr((), (x,), (y,), [equation("reduce_sum", [x], [y])])) == (
        "the parameters 'axes' for reduce_sum in equation 0, `b:f32[] = reduce_sum a`; got none"
    )


@pytest.mark.parametrize(
    ("operands", "params", "found"),
    [
        (2, {"y": 2}, "1 operand for integer_pow in equation 0, `b:f32[3] = integer_pow[y=2] a a`; got 2"),
        (1, {"y": 2.0}, "y of type int for integer_pow in equation 0, "
         "`b:f32[3] = integer_pow[y=2.0] a`; got 2.0"),
        (1, {"y": 2, "z": 1}, "the parameters 'y' for integer_pow in equation 0, "
         "`b:f32[3] = integer_pow[y=2 z=1] a`; got 'y', 'z'"),
    ],
)  # fmt: skip
def test_operands_and_parameters_that_are_not_declared(operands, params, found):
    """Also where the parameters equal others that are: 2.0 is no exponent, though 2 is."""
    x, y = variables(F32, F32)
    check_jaxpr(Jaxpr((), (x,), (y,), [equation("integer_pow", [x], [y], y=2)]))
    jaxpr = Jaxpr((), (x,), (y,), [equation("integer_pow", [x] * operands, [y], **params)])
    assert problem(jaxpr) == found


def test_too_few_results():
    (x,) = variables(F32)
    assert problem(Jaxpr((), (x,), (x,), [equation("sin", [x], [])])) == (
        "results of types (f32[3]) in equation 0, `() = sin a`; got ()"
    )


def test_constants_of_inner_programs():
    x, y, c = variables(F32, F32, F32)
    inside = Jaxpr((c,), (y,), (c,), ())
    jaxpr = Jaxpr((), (x,), (), [equation("jit", [x], variables(F32), jaxpr=inside, name="f")])
    assert problem(jaxpr) == (
        "inner programs that take what they need as arguments in equation 0, "
        "`_:f32[3] = jit[name=f jaxpr=@program] a`; got constants of types (f32[3]) in jaxpr"
    )


@pytest.mark.parametrize("operands", [(), (F32, F32), (I32,)])
def test_a_call_with_other_operands(operands):
    y = Var(F32)
    inside = Jaxpr((), (y,), (y,), ())
    given = variables(*operands)
    jaxpr = Jaxpr((), given, (), [equation("jit", given, [Var(F32)], jaxpr=inside, name="f")])
    types = ", ".join(map(repr, operands))
    found = problem(jaxpr)
    start = "operands of the types of the program's arguments, (f32[3]), for jit in equation 0, `"
    assert found.startswith(start)
    assert found.endswith(f"; got ({types})")


def test_a_call_with_weaker_operands_passes():
    weak = ShapedArray((), np.dtype("float32"), True)
    x = Var(weak.strong())
    assert call_types("jit", (weak,), Jaxpr((), (x,), (x,), ())) == (weak.strong(),)


def test_a_shared_program_is_checked_once():
    jaxpr = functrax.make_jaxpr(lambda x: x)(VECTOR).jaxpr
    for _ in range(40):  # 2**40 programs, were they not
        x, y, z = variables(F32, F32, F32)
        params = {"jaxpr": jaxpr, "name": "f"}
        eqns = [equation("jit", [x], [y], **params), equation("jit", [y], [z], **params)]
        jaxpr = Jaxpr((), (x,), (z,), eqns)
    check_jaxpr(jaxpr)


def test_constants_of_closed_programs():
    (c,) = variables(F32)
    closed = ClosedJaxpr(Jaxpr((c,), (), (c,), ()), [VECTOR])
    assert problem(closed) == "constants of types (f32[3]); got (ndarray)"
    closed = ClosedJaxpr(Jaxpr((c,), (), (c,), ()), [])
    assert problem(closed) == "constants of types (f32[3]); got ()"


@pytest.mark.parametrize(
    ("value", "dtype", "found"),
    [
        (1, "float32", None),
        (np.float32(1), "float32", None),
        (2**31 - 1, "int32", None),
        (2j, "complex64", None),
        (np.bool_(True), "bool", None),
        (2**31, "int32", "which is out of range"),
        (-1, "uint8", "which is out of range"),
        (1.0, "int32", "which is not an integer"),
        (True, "int32", "which is a bool"),
        (1, "bool", "whose type has no literals"),
        (1j, "float32", "which is not a real number"),
        ("1", "float32", "which is not a real number"),
        ("1", "complex64", "which is not a number"),
    ],
)
def test_literals(value, dtype, found):
    assert literal_problem(Literal(value, ShapedArray((), np.dtype(dtype)))) == found


def test_a_literal_that_does_not_fit():
    literal = Literal(300, ShapedArray((), np.dtype("uint8")))
    assert problem(Jaxpr((), (), (literal,), ())) == (
        "literals that fit their types in the signature or results of the program; "
        "got 300:u8[], which is out of range"
    )


def test_what_passes_runs():
    closed = functrax.make_jaxpr(functrax.grad(total))(VECTOR)
    check_jaxpr(closed)
    (gradient,) = eval_jaxpr(closed.jaxpr, closed.consts, functrax.jit(lambda x: x)(VECTOR))
    np.testing.assert_array_equal(gradient, functrax.grad(total)(VECTOR))
