"""The printed form of programs: kept texts, names, sharing, values, sources, and cost."""

import enum
import functools
import gc
import time
from typing import NamedTuple

import numpy as np
import pytest

import functrax
from functrax.core import dtypes
from functrax.core.jaxpr import Equation, Jaxpr, Var
from functrax.core.params import param_type, param_types
from functrax.core.primitive import registry
from functrax.core.show import letters, show, show_equation
from functrax.core.types import ShapedArray
from functrax.primitives.elementwise import exp, mul, neg, sin, sin_p
from functrax.sharding import Mesh, PartitionSpec
from tests.golden.programs import FOLDER, PROGRAMS, VECTOR, golden, inner, shared, traced

F32 = ShapedArray((3,), np.dtype("float32"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_as_kept(name):
    assert show(traced(name), header=True) + "\n" == golden(name)


def test_every_kept_text_has_a_program():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(PROGRAMS)


def test_repr_of_programs_is_the_printed_form():
    closed = traced("one_equation")
    expected = "{ lambda ; a:~f32[]. let b:~f32[] = mul a 2.0:~f32[] in (b,) }"
    assert repr(closed) == repr(closed.jaxpr) == closed.pretty_print() == expected


def test_sources_stand_behind_equations():
    def f(x):
        y = sin(x)
        return functrax.jit(neg)(y)

    line = f.__code__.co_firstlineno
    name = f.__qualname__
    text = functrax.make_jaxpr(f)(VECTOR).pretty_print(source=True)
    assert text.splitlines()[:2] == [
        "{ lambda ; a:f32[3]. let",
        f"    b:f32[3] = sin a  # test_show.py:{line + 1} ({name})",
    ]
    assert f"] b  # test_show.py:{line + 2} ({name})" in text


def test_a_short_program_with_a_source_has_lines():
    text = functrax.make_jaxpr(lambda x: sin(x))(1.0).pretty_print(source=True)
    assert [line.split("  # ")[0] for line in text.splitlines()] == [
        "{ lambda ; a:~f32[]. let",
        "    b:~f32[] = sin a",
        "  in (b,) }",
    ]


# ---- names


def test_names_count_like_numbers():
    assert [letters(i) for i in (0, 25, 26, 27, 675, 676)] == ["a", "z", "ba", "bb", "zz", "baa"]


def test_keywords_are_no_names():
    def f(x):
        for _ in range(300):
            x = neg(x)
        return x

    text = show(functrax.make_jaxpr(f)(1.0))
    assert "    im:~f32[] = neg il\n    io:~f32[] = neg im\n" in text


def test_shared_programs_are_named_by_their_functions():
    def program(name):
        x, y = Var(F32), Var(F32)
        return Jaxpr((), (x,), (y,), [Equation(sin_p, (x,), (y,), {}, None)], name)

    inners = [program(name) for name in ("f", "f", "f_1", "<lambda>", "a-b", "")]
    first, eqns = Var(F32), []
    for jaxpr in inners * 2:
        params = {"jaxpr": jaxpr, "name": "f"}
        eqns.append(Equation(registry["jit"], (first,), (Var(F32),), params, None))
    text = show(Jaxpr((), (first,), (), eqns))
    names = [line.split()[1] for line in text.splitlines() if line.startswith("let @")]
    assert names == ["@f", "@f_1", "@f_1_1", "@lambda", "@a_b", "@program"]


def test_nesting_that_doubles_prints_in_linear_size():
    def doubled(f):
        return functrax.jit(lambda x: f(f(x)))

    f = inner
    for _ in range(30):
        f = doubled(f)
    text = show(functrax.make_jaxpr(f)(1.0))
    assert text.count("\n") < 200


def test_an_ill_formed_program_still_prints():
    known, stray, y = Var(F32), Var(F32), Var(F32)
    eqn = Equation(sin_p, (stray,), (y,), {}, None)
    jaxpr = Jaxpr((), (known,), (y,), [eqn])
    assert show(jaxpr) == "{ lambda ; a:f32[3]. let b:f32[3] = sin ?:f32[3] in (b,) }"


def test_one_equation_prints_with_the_names_of_its_program():
    jaxpr = functrax.make_jaxpr(shared)(VECTOR).jaxpr
    assert show_equation(jaxpr, jaxpr.eqns[2]) == "d:f32[3] = jit[name=inner jaxpr=@inner] c"


# ---- values


class Shade(enum.Enum):
    DARK = 1


class Pair(NamedTuple):
    first: object
    second: object = None


class Opaque:
    pass


def printed(value):
    x = Var(F32)
    return show(Jaxpr((), (x,), (x,), [Equation(sin_p, (x,), (), {"p": value}, None)]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (np.bool_(False), "False"),
        (-3, "-3"),
        (np.int64(2**40), "1099511627776"),
        (1e-7, "1e-07"),
        (-0.0, "-0.0"),
        (float("nan"), "nan"),
        (np.float32(0.5), "0.5"),
        (complex(1, -2), "complex(1.0, -2.0)"),
        ("word", "word"),
        ("two words", "'two words'"),
        ("let", "'let'"),
        ("float32", "'float32'"),
        ("", "''"),
        ("ünï", "'ünï'"),
        ((), "()"),
        ((1,), "(1,)"),
        (((1, 2), ("i", None)), "((1, 2), (i, None))"),
        (frozenset("ba"), "frozenset((a, b))"),
        (np.dtype("float32"), "float32"),
        (dtypes.float0, "float0"),
        (dtypes.float8_e4m3fn, "float8_e4m3fn"),
        (dtypes.KeyType("fry", (2,)), "key<fry>"),
        (ShapedArray((2,), np.dtype(bool), False, frozenset({"i"})), "bool[2]{i}"),
        (Shade.DARK, "Shade.DARK"),
        (Pair(1, "x"), "Pair(first=1, second=x)"),
        (Opaque(), "<Opaque>"),
        (Opaque, "<class Opaque>"),
        (printed, "<function printed>"),
        (functools.partial(printed, 1), "<function printed>"),
        (np.zeros(2), "<ndarray>"),
        (PartitionSpec("x", None, ("y", "z")), "<P('x', None, ('y', 'z'))>"),
        (Mesh([functrax.devices("cpu")[0]], "x"), "<Mesh(x=1)>"),
        (functrax.devices("cpu")[0], "<CpuDevice(id=0)>"),
    ],
)
def test_parameters(value, text):
    assert printed(value) == f"{{ lambda ; a:f32[3]. let () = sin[p={text}] a in (a,) }}"


def test_programs_inside_of_tuples_and_records():
    branch = functrax.make_jaxpr(lambda x: sin(x))(VECTOR).jaxpr
    other = functrax.make_jaxpr(lambda x: exp(mul(x, x)))(VECTOR).jaxpr
    text = printed((branch, Pair(other, 1)))
    assert text.splitlines() == [
        "{ lambda ; a:f32[3]. let",
        "    () = sin[",
        "      p=(",
        "        { lambda ; a:f32[3]. let b:f32[3] = sin a in (b,) },",
        "        Pair(",
        "          first={ lambda ; a:f32[3]. let",
        "              b:f32[3] = mul a a",
        "              c:f32[3] = exp b",
        "            in (c,) },",
        "          second=1,",
        "        ),",
        "      )",
        "    ] a",
        "  in (a,) }",
    ]


def test_a_class_of_parameters_has_a_name_of_its_own():
    @param_type
    class Box(NamedTuple):
        size: int

    try:
        Box.__module__ = "elsewhere"
        again = type("Box", (), {"__module__": __name__})
        with pytest.raises(functrax.errors.ArgumentError) as caught:
            param_type(again)
        message = str(caught.value)
        assert message.startswith("[param_type] expected a new name of a class; got 'Box' (")
    finally:
        del param_types["Box"]


# ---- cost


@pytest.mark.parametrize("source", [False, True])
def test_the_time_to_print_grows_linearly(source):
    def seconds(count):
        lines = "".join(f"    x = mul(sin(x), {i}.5)\n" for i in range(count))
        scope = {"mul": mul, "sin": sin}
        exec(f"def f(x):\n{lines}    return x\n", scope)
        jaxpr = functrax.make_jaxpr(scope["f"])(1.0)
        times = []
        for _ in range(3):
            gc.collect()
            start = time.perf_counter()
            show(jaxpr, source=source)
            times.append(time.perf_counter() - start)
        return min(times)

    seconds(100)
    assert seconds(4000) / seconds(400) < 40  # 10 if linear, 100 if quadratic
