"""What equations must have is checked for every primitive: how many operands, which parameters."""

from typing import Any

import numpy as np
import pytest

import functrax
from functrax.core.check import check_jaxpr
from functrax.core.primitive import NOT_LINEAR, declare, registry
from functrax.core.signature import check_signature, is_of, signature_of
from functrax.core.trace import bind
from functrax.core.types import Literal
from functrax.errors import ArgumentError
from functrax.primitives.__main__ import load_all
from tests.golden.programs import PROGRAMS, traced

load_all()
NAMES = sorted(registry)

# Their parameters are Python objects, which no text holds; what they are handed on to checks them.
OPEN = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_tangent", "debug_callback", "ffi_call",
        "io_callback", "pure_callback"}  # fmt: skip


class Nothing:
    """Of no parameter's type."""


def refused(name: str, operands: int, params: dict[str, Any]) -> str:
    """Return what is expected instead."""
    with pytest.raises(ArgumentError) as caught:
        check_signature(registry[name], operands, params)
    assert caught.value.call == name
    return caught.value.expected


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_operands(name):
    least, most, *_ = signature_of(registry[name])
    for count in [least - 1] * (least > 0) + ([] if most is None else [most + 1]):
        assert refused(name, count, {}).startswith(f"{least} ")


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_parameters(name):
    wanted = signature_of(registry[name])
    all_of_them = dict.fromkeys(wanted.annotations)
    for missing in wanted.required:
        given = {key: None for key in all_of_them if key != missing}
        assert refused(name, wanted.least, given).startswith("the parameters ")
    assert wanted.closed is (name not in OPEN)
    if wanted.closed:
        expected = refused(name, wanted.least, {**all_of_them, "unknown": 1})
        assert expected.startswith("the parameters " if all_of_them else "no parameters")


@pytest.mark.parametrize("name", NAMES)
def test_the_types_of_parameters(name):
    wanted = signature_of(registry[name])
    for key, kinds in wanted.annotations.items():
        if kinds:  # the others are Python objects
            given = {k: Nothing() if k == key else None for k in [key, *wanted.annotations]}
            assert refused(name, wanted.least, given).startswith(f"{key} of type ")


def test_parameters_of_any_type():
    """These alone are not checked by type."""
    found = {
        f"{name}.{key}"
        for name in NAMES
        for key, kinds in signature_of(registry[name]).annotations.items()
        if not kinds and name not in OPEN
    }
    assert found == {"check.check", "checkpoint.policy", "device_put.device", "device_put.src"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_traced_programs_have_what_is_declared(name):
    check_jaxpr(traced(name))


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (1, int, True), (np.int64(1), int, True), (True, int, False), (1.5, int, False),
        (True, bool, True), (np.True_, bool, True), (1, bool, False), (None, int | None, True),
        ((1, 2), tuple[int, ...], True), ([1, 2], tuple[int, ...], False),
        ((1, "a"), tuple[int, ...], False), ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False), (((1, 2),), tuple[tuple[int, int], ...], True),
        ((), tuple[int, ...], True), (object(), Any, True), (np.dtype("int32"), np.dtype, True),
    ],
)  # fmt: skip
def test_values_of_annotated_types(value, kind, found):
    assert is_of(value, kind) is found


def test_rules_of_users_are_checked_as_they_are():
    """Types may be left out, and `**params` takes other names."""
    primitive = declare(
        "test_signature",
        abstract_eval=lambda x, *, scale, **params: (x,),
        jvp=NOT_LINEAR, transpose=NOT_LINEAR, batch=NOT_LINEAR, lower=NOT_LINEAR,
    )  # fmt: skip
    try:
        check_signature(primitive, 1, {"scale": object(), "other": 3})
        assert refused("test_signature", 1, {}) == "the parameters 'scale'"
    finally:
        del registry["test_signature"]


@pytest.mark.parametrize(
    ("name", "operands", "params", "message"),
    [
        ("sin", 2, {}, "[sin] expected 1 operand; got 2"),
        ("mul", 1, {}, "[mul] expected 2 operands; got 1"),
        ("sin", 1, {"y": 3}, "[sin] expected no parameters; got 'y'"),
        ("integer_pow", 1, {}, "[integer_pow] expected the parameters 'y'; got none"),
    ],
)
def test_binding_an_elementwise_primitive_wrongly(name, operands, params, message):
    """Traced or not, it is refused where it is written."""
    x = Literal(1.0, functrax.numpy.ones(()).aval)
    for run in (bind, functrax.jit(lambda *_: bind(registry[name], *[x] * operands, **params))):
        with pytest.raises(ArgumentError) as caught:
            run(registry[name], *[x] * operands, **params) if run is bind else run()
        assert str(caught.value).startswith(message)
