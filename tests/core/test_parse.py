"""Reading printed programs: the same text and the same numbers again, or one clear error."""

import contextlib
import enum
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import functrax
import functrax.numpy as jnp
from functrax import nn
from functrax.core.jaxpr import Equation, Jaxpr, Var, eval_jaxpr
from functrax.core.params import param_type, param_types
from functrax.core.parse import parse
from functrax.core.primitive import NOT_LINEAR, declare, registry
from functrax.core.show import IR_VERSION, show
from functrax.core.trace import as_value
from functrax.core.types import Literal, ShapedArray
from functrax.errors import ArgumentError, JaxprError
from functrax.scipy import special
from tests.golden.programs import OPAQUE, PROGRAMS, VECTOR, golden, traced

F32 = ShapedArray((3,), np.dtype("float32"))
READABLE = sorted(set(PROGRAMS) - OPAQUE)


@pytest.mark.parametrize("name", READABLE)
def test_print_parse_print_is_identical(name):
    text = golden(name).rstrip("\n")
    assert show(parse(text), header=True) == text


def numbers(value):
    """Return an array or literal as something that compares bit by bit."""
    if isinstance(value, Literal):
        return value.numpy().tobytes(), value.aval
    return np.asarray(value).tobytes(), value.aval


@pytest.mark.parametrize("name", sorted(set(READABLE) - {"typed_keys"}))
def test_print_parse_run_is_the_same_result(name):
    closed = traced(name)
    again = parse(repr(closed), closed.consts)
    _, *arguments = PROGRAMS[name]
    values = [as_value(x, "test") for x in arguments]
    expected = eval_jaxpr(closed.jaxpr, closed.consts, *values)
    got = eval_jaxpr(again.jaxpr, again.consts, *values)
    assert [numbers(x) for x in got] == [numbers(x) for x in expected]


def test_sources_are_comments():
    closed = traced("nested")
    assert repr(parse(closed.pretty_print(source=True))) == repr(closed)


def test_lines_do_not_matter():
    text = repr(traced("gathers"))
    assert repr(parse(" ".join(text.split()))) == text


def test_shared_programs_stay_shared():
    jaxpr = parse(golden("shared"))
    first, second = jaxpr.eqns[:2]
    assert first.params["jaxpr"] is second.params["jaxpr"]
    assert first.params["jaxpr"].name == "outer"


def test_constants_are_checked():
    text = "{ lambda a:f32[3]; b:f32[3]. let c:f32[3] = mul a b in (c,) }"
    with pytest.raises(JaxprError) as caught:
        parse(text, [np.zeros(3), as_value(VECTOR[:2], "test")])
    start = "[check_jaxpr] expected constants of types (f32[3]); got (ndarray, f32[2]) ("
    assert str(caught.value).startswith(start)


# ---- values of parameters and literals


class Tone(enum.Enum):
    LOW = "low"


class Window(NamedTuple):
    size: tuple[int, ...]
    tone: Tone = Tone.LOW


@pytest.fixture(autouse=True)
def some_classes_of_parameters():
    param_type(Tone)
    param_type(Window)
    declare(
        "any params",
        abstract_eval=lambda aval, /, **params: (aval,),
        jvp=NOT_LINEAR,
        transpose=NOT_LINEAR,
        batch=NOT_LINEAR,
        lower=NOT_LINEAR,
    )
    yield
    del param_types["Tone"], param_types["Window"], registry["any params"]


def with_params(params):
    x, y = Var(F32), Var(F32)
    return Jaxpr((), (x,), (y,), [Equation(registry["any params"], (x,), (y,), params, None)])


DTYPES = st.sampled_from([np.dtype("float32"), np.dtype(bool), ShapedArray((2,), np.dtype("int8"))])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.sampled_from(["in", "float32", "None", "nan", "word", "it's", 'a"b', "a\nb#c"]),
    DTYPES,
    st.sampled_from([Tone.LOW, Window((1, 2))]),
    st.frozensets(st.integers()),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


@given(st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), VALUES, max_size=3))
def test_parameters_are_read_back(params):
    jaxpr = with_params(params)
    again = parse(show(jaxpr))
    assert again.eqns[0].params == params
    assert repr(again) == repr(jaxpr)  # tells 1 from True and 0.0 from -0.0


FLOATS = st.floats(width=64)


@given(
    st.one_of(
        st.builds(Literal, FLOATS, st.just(ShapedArray((), np.dtype("float64"), True))),
        st.builds(Literal, st.builds(complex, FLOATS, FLOATS), st.just(ShapedArray((), "c16"))),
        st.builds(Literal, st.integers(-(2**63), 2**63 - 1), st.just(ShapedArray((), "i8"))),
        st.builds(Literal, st.booleans(), st.just(ShapedArray((), np.dtype(bool)))),
    )
)
def test_literals_are_read_back(literal):
    (again,) = parse(show(Jaxpr((), (), (literal,), ()))).outvars
    assert isinstance(again, Literal)
    assert again.aval is literal.aval
    np.testing.assert_array_equal(again.numpy(), literal.numpy())
    signs = np.array([again.numpy(), literal.numpy()])
    if not np.isnan(signs).any():
        assert signs[0].tobytes() == signs[1].tobytes()


def test_not_a_number_is_read_back():
    assert math.isnan(parse(show(with_params({"p": math.nan}))).eqns[0].params["p"])


# ---- errors

BODY = "{{ lambda ; a:f32[3]. let {} in (b,) }}"
ONE = BODY.format("b:f32[3] = sin a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "'{'; got the end of the text at line 1, column 1"),
        ("{ lambda ; a", "':'; got the end of the text at line 1, column 13"),
        ("{ lambda ; a:f32[3]", "a variable or '.'; got the end of the text at line 1, column 20"),
        (ONE + "\n x", "the end of the text; got 'x' at line 2, column 2"),
        (
            "{ lambda ; a:f32. let in () }",
            "a type, such as 'f32[3]'; got 'f32' at line 1, column 14",
        ),
        ("{ lambda ; a:f32[] a:i32[]. let", "a new variable; got 'a' at line 1, column 20"),
        (BODY.format("a:f32[3] = sin a"), "a new variable; got 'a' at line 1, column 26"),
        (BODY.format("b:f32[3] = sin b"), "a variable that is defined before; got 'b'"),
        (BODY.format("b:f32[3] = sin a ]"), "an operand, an equation or 'in'; got ']' at line 1"),
        (BODY.format("b:f32[3] sin a"), "':'; got 'a' at line 1, column 39"),
        (BODY.format("b:f32[3] = sin[p=1 p=2] a"), "the name of a new parameter, or ']'; got 'p'"),
        (BODY.format("b:f32[3] = sin[p=(1 2)] a"), "',' or ')'; got '2' at line 1, column 46"),
        (BODY.format("b:f32[3] = sin[p=] a"), "a value; got ']' at line 1, column 43"),
        (
            BODY.format(r"b:f32[3] = sin[p='\x'] a"),
            "a string; got \"'\\\\x'\" at line 1, column 43",
        ),
        (BODY.format("b:f32[3] = sin[p=let] a"), "a value; got 'let' at line 1, column 43"),
        (BODY.format("b:f32[3] = sin[p=@f] a"), "a program that is defined before; got '@f'"),
        (BODY.format("b:f32[3] = sin[p=Window(7 8)] a"), "',' or ')'; got '8'"),
        (BODY.format("b:f32[3] = mul a 2.5:i32[]"), "a value of type i32[]; got '2.5' at line 1"),
        (BODY.format("b:f32[3] = mul a 1:bool[]"), "a value of type bool[]; got '1' at line 1"),
        (BODY.format("b:f32[3] = mul a 2.5"), "':'; got 'in' at line 1, column 47"),
        (BODY.format("b:f32[3] = mul a ?"), "an operand, an equation or 'in'; got '?' at line 1"),
        ("let f = {", "a new name for a program, such as '@inner'; got 'f' at line 1, column 5"),
        (f"let @f = {ONE} in let @f = {ONE} in {ONE}", "a new name for a program"),
        ("# functrax ir 1\n{ nothing }", "'lambda'; got 'nothing' at line 2, column 3"),
    ],
)
def test_malformed_text(text, expected):
    with pytest.raises(JaxprError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"[parse] expected {expected}")


@pytest.mark.parametrize(
    ("equation", "got", "fix"),
    [
        ("b:f32[3] = sinn a", "'sinn'", "Did you mean 'sin' or 'sinh' or 'sign'?"),
        ("b:f23[3] = sin a", "'f23[3]'", "Did you mean 'f32'?"),
        ("b:f32[3] = sin[p=Windo(1)] a", "'Windo'", "Did you mean 'Window'?"),
        ("b:f32[3] = sin[p=Tone.LOWER] a", "'LOWER'", "Did you mean 'LOW'?"),
        ("b:f32[3] = sin[p=Window(sise=1)] a", "'Window'", "Did you mean 'size'?"),
        (
            "b:f32[3] = sin[p=<function f.<lambda>>] a",
            "'<function f.<lambda>>'",
            "It stands for a Python object, which text cannot hold: keep the jaxpr itself.",
        ),
    ],
)
def test_errors_that_know_the_cure(equation, got, fix):
    with pytest.raises(JaxprError) as caught:
        parse(BODY.format(equation))
    message = str(caught.value)
    assert f"; got {got} at line 1, column " in message
    assert message.endswith(f"). {fix}")


def test_the_whole_message():
    line = test_the_whole_message.__code__.co_firstlineno + 3
    with pytest.raises(JaxprError) as caught:
        parse("{ lambda ; a:f32[3]. let\n    b:f32[3] = sinn a\n  in (b,) }")
    assert str(caught.value) == (
        "[parse] expected the name of a primitive; got 'sinn' at line 2, column 16 "
        f"(test_parse.py:{line}). Did you mean 'sin' or 'sinh' or 'sign'?"
    )


@pytest.mark.parametrize("text", [None, b"{ lambda ; . let in () }", 3])
def test_what_is_no_text(text):
    with pytest.raises(ArgumentError) as caught:
        parse(text)
    start = "[parse] expected a printed program of type str; got "
    assert str(caught.value).startswith(f"{start}{text!r} of type {type(text).__name__} (")


def test_rules_of_pullbacks_cannot_be_read_back():
    function = functrax.custom_vjp(lambda x: x)
    function.defvjp(lambda x: (x, x), lambda x, ct: (ct,))
    with pytest.raises(JaxprError) as caught:
        parse(repr(functrax.make_jaxpr(function)(VECTOR)))
    message = str(caught.value)
    assert message.startswith("[parse] expected a value; got '<function ")
    cure = "It stands for a Python object, which text cannot hold: keep the jaxpr itself."
    assert message.endswith(cure)


def test_custom_rules_cannot_be_read_back():
    with pytest.raises(JaxprError, match="It stands for a Python object, which text cannot hold"):
        parse(golden("custom_rule"))


def test_a_newer_version_is_refused():
    with pytest.raises(JaxprError) as caught:
        parse(f"# functrax ir {IR_VERSION + 1}\n{ONE}")
    message = str(caught.value)
    expected = f"version {IR_VERSION} of the printed form, or an older one; got version "
    assert message.startswith(f"[parse] expected {expected}{IR_VERSION + 1} (")
    assert message.endswith("Read it with the functrax that printed it, or a newer one.")


def test_an_older_version_is_read():
    assert show(parse(f"# functrax ir {IR_VERSION - 1}\n{ONE}")) == ONE


def test_deep_nesting_is_an_error():
    with pytest.raises(JaxprError) as caught:
        parse(BODY.format("b:f32[3] = sin[p=" + "(" * 10000))
    assert str(caught.value).startswith("[parse] expected less deep nesting; got nesting at line 1")


def test_ill_typed_programs_are_refused():
    with pytest.raises(JaxprError) as caught:
        parse(BODY.format("b:f32[4] = sin a"))
    start = "[check_jaxpr] expected results of types (f32[3]) in equation 0, `b:f32[4] = sin a`; "
    assert str(caught.value).startswith(start + "got (f32[4]) (")


def test_ill_typed_equations_are_found_in_the_text():
    with pytest.raises(
        JaxprError, match=r"\(at line 2, column 14 of the text, test_parse.py:\d+\)"
    ):
        parse("{ lambda ; a:f32[3]. let\n  b:f32[4] = sin a in (b,) }")


COND = "cond[branches=({{ lambda ; a:f32[3]. let in (a,) }}, {})] 0:i32[] a"
INNER = "{ lambda ; a:f32[3]. let in (a,) }"


@pytest.mark.parametrize(
    ("equation", "expected", "fix"),
    [
        (
            "b:f32[3] = while a",
            "'cond', 'body', 'num_cond_consts' among the parameters of while",
            "",
        ),
        (
            f"b:f32[3] = jit[name='f' jaxpl={INNER}] a",
            "'jaxpr' among the parameters of jit",
            "Did you mean 'jaxpr'?",
        ),
        ("b:f32[3] = round a", "'rounding_method' among the parameters of round", ""),
        (
            "b:f32[3] = " + COND.format("add"),
            "branches of type tuple[Jaxpr, ...] for cond",
            "",
        ),
        (
            "b:f32[3] = bitcast_convert_type[new_dtype=float0] a",
            "operands and parameters that bitcast_convert_type takes",
            "ZeroDivisionError: ",
        ),
        (
            "b:f32[3] = pad[padding_config=((1e999, 1, 0),)] a 0.0:f32[]",
            "padding_config of type tuple[tuple[int, int, int], ...] for pad",
            "",
        ),
        ("b:f32[3] = mul a", "2 operands for mul", ""),
        ("b:f32[3] = sin a a", "1 operand for sin", ""),
        ("b:f32[3] = sin[foo=3] a", "no parameters for sin", ""),
        ("b:f32[3] = integer_pow[y='x'] a", "y of type int for integer_pow", ""),
        ("b:f32[3] = integer_pow[y=1.5] a", "y of type int for integer_pow", ""),
        ("b:f32[3] = integer_pow[y=True] a", "y of type int for integer_pow", ""),
        ("b:f32[3] = cumsum[axis=0 reverse='x'] a", "reverse of type bool for cumsum", ""),
        (
            "b:f32[3] = cumsum[axis=0 reverse=True by=2] a",
            "the parameters 'axis', 'reverse' for cumsum",
            "",
        ),
        ("b:f32[3] = squeeze[axes=(0,)] a", "'dimensions' among the parameters of squeeze", ""),
        (f"b:f32[3] = add[x=1{'0' * 5000}] a a", "a number of fewer digits", ""),
        (f"b:f32[1{'0' * 5000}] = sin a", "a number of fewer digits", ""),
    ],
)
def test_parameters_that_a_primitive_does_not_take(equation, expected, fix):
    with pytest.raises(JaxprError) as caught:
        parse("{ lambda ; a:f32[3]. let\n  " + equation + "\n  in (b,) }")
    message = str(caught.value)
    assert message.startswith(f"[parse] expected {expected}; got ")
    assert " at line 2, column " in message
    assert fix in message


DAMAGES = ["", *"(){}[]=;:.,@<'1~", "let", "in", "'\\x'", "\n"]


@given(st.sampled_from(READABLE), st.integers(0, 9999), st.integers(0, 9), st.sampled_from(DAMAGES))
def test_damaged_programs_are_other_programs_or_one_error(name, place, length, damage):
    text = golden(name)
    place %= len(text)
    with contextlib.suppress(JaxprError):
        parse(text[:place] + damage + text[place + length :])


@given(st.integers(0, 2000), st.sampled_from(DAMAGES))
def test_damaged_text_is_another_program_or_one_error(place, damage):
    text = golden("gathers")
    text = text[: place % len(text)] + damage + text[place % len(text) + 1 :]
    with contextlib.suppress(JaxprError):
        parse(text)


def test_a_compiled_program_of_text_runs():
    jaxpr = parse("{ lambda ; a:f32[3]. let b:f32[3] = mul a 2.0:f32[] in (b,) }")
    (doubled,) = functrax.jit(lambda x: eval_jaxpr(jaxpr, (), x))(VECTOR)
    np.testing.assert_array_equal(doubled, VECTOR * 2)


WITH_RULES = {
    "softplus": nn.softplus,
    "mish": nn.mish,
    "log_sigmoid": nn.log_sigmoid,
    "logaddexp2": lambda x: jnp.logaddexp2(x, 2 * x),
    "entr": special.entr,
    "logit": special.logit,
    "ndtri": special.ndtri,
    "xlogy": lambda x: special.xlogy(x, x),
    "xlog1py": lambda x: special.xlog1py(x, x),
    "softmax": nn.softmax,
}


@pytest.mark.parametrize("name", WITH_RULES)
@pytest.mark.parametrize("axes", [(), (0,), (0, 0)])
def test_library_functions_with_rules_are_read_back_with_them(name, axes):
    f, x = WITH_RULES[name], jnp.linspace(0.1, 0.9, 12).reshape(2, 3, 2)
    for axis in axes:
        f = functrax.vmap(f, axis)
    jaxpr = functrax.make_jaxpr(f)(x)
    again = parse(str(jaxpr))
    assert str(again) == str(jaxpr)
    slope = functrax.grad(lambda x: (x * eval_jaxpr(again, (), x)[0]).sum())(x)
    np.testing.assert_allclose(slope, functrax.grad(lambda x: (x * f(x)).sum())(x), rtol=1e-6)
