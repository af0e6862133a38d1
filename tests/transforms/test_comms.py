"""`explain_comms` and `no_implicit_comms` on 8 virtual devices: counts and bytes by hand."""

import os
import re
from pathlib import Path

import pytest

import functrax
import functrax.numpy as jnp
from functrax import NamedSharding, P, errors
from functrax.lowering.comms import Collective
from functrax.transforms.comms import CommsReport


@pytest.fixture(scope="module")
def mesh():
    return functrax.make_mesh((4, 2), ("data", "model"))


def on(mesh, shape, *spec):
    return functrax.device_put(jnp.ones(shape), NamedSharding(mesh, P(*spec)))


def loss(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


def message(call):
    with pytest.raises(errors.CommunicationError) as caught:
        call()
    return re.sub(rf"{os.path.basename(__file__)}:\d+", "here", str(caught.value))


FIX = (
    "Change the shardings of its operands or its result, or write the communication in `shard_map`; "
    "`explain_comms` shows all."
)

# ---- no_implicit_comms


def test_what_the_partitioner_adds_is_an_error(mesh):
    w, x = on(mesh, (16, 32)), on(mesh, (64, 16), "data")
    step = functrax.jit(functrax.grad(loss))
    expected = step(w, x)
    with functrax.no_implicit_comms():
        assert message(lambda: step(w, x)) == (
            "[no_implicit_comms] expected no communication in 'loss' that it does not ask for; got "
            f"all-reduce of 2048 bytes along 'data' for 'dot_general' (here). {FIX}"
        )
    assert (step(w, x) == expected).all()  # the scope has ended


def test_the_line_is_that_of_the_operation(mesh):
    w, x = on(mesh, (16, 32)), on(mesh, (64, 16), "data")
    with functrax.no_implicit_comms(), pytest.raises(errors.CommunicationError) as caught:
        functrax.jit(functrax.grad(loss))(w, x)
    source = Path(__file__).read_text().splitlines()
    place = re.search(r"test_comms.py:(\d+)", str(caught.value))
    assert place is not None
    assert "jnp.tanh(x @ w)" in source[int(place[1]) - 1]


def test_what_needs_no_communication_runs(mesh):
    x = on(mesh, (64, 16), "data")
    w = on(mesh, (16, 32), None, "model")
    with functrax.no_implicit_comms():
        assert functrax.jit(lambda x: x * 2)(x).sharding.spec == P("data")
        assert functrax.jit(lambda x, w: x @ w)(x, w).sharding.spec == P("data", "model")
        assert float(jnp.sum(jnp.ones(3))) == 3.0
        rows = functrax.device_put(x, NamedSharding(mesh, P(None, "model")))  # asked for
        assert rows.sharding.spec == P(None, "model")


def test_operations_outside_of_jit(mesh):
    x = on(mesh, (64, 16), "data")
    total = jnp.sum(x)  # compiled and kept before
    with functrax.no_implicit_comms():
        assert message(lambda: jnp.sum(x)) == (
            "[no_implicit_comms] expected no communication in 'reduce_sum' that it does not ask "
            f"for; got all-reduce of 4 bytes along 'data' for 'reduce' (here). {FIX}"
        )
    assert jnp.sum(x) == total == 1024


def test_constraints_are_for_the_partitioner(mesh):
    everywhere = NamedSharding(mesh, P())
    function = functrax.jit(lambda x: functrax.lax.with_sharding_constraint(x + 1, everywhere))
    with functrax.no_implicit_comms():
        assert "all-gather of 1024 bytes along 'data'" in message(
            lambda: function(on(mesh, (64, 16), "data"))
        )


def test_the_scope_is_a_decorator_and_an_option(mesh):
    x = on(mesh, (64, 16), "data")
    sum_all = functrax.no_implicit_comms()(lambda: jnp.sum(x))
    with pytest.raises(errors.CommunicationError):
        sum_all()
    with functrax.no_implicit_comms(), functrax.no_implicit_comms(False):
        assert jnp.sum(x) == 1024
    assert not functrax.config.no_implicit_comms


# ---- the report

ROW = Collective(
    "all-gather", ("x", "y"), 8, 512, 4096, 3584, 5, False, True, "a/b/all_gather", "/u/f.py:3"
)
ROWS = (
    ROW,
    ROW._replace(kind="all-reduce", axes=(), times=None, explicit=False, operation="", source=""),
    ROW._replace(kind="reduce-scatter", conditional=True, times=1, operation="a<b"),
)


def test_a_report_is_a_table():
    report = CommsReport("step", ROWS)
    assert repr(report) == (
        "collective      axes  devices  operand  sent  times  total  by           for         source\n"
        "all-gather      x, y        8      512  3584      5  17920  user         all_gather  f.py:3\n"
        "all-reduce      -           8      512  3584      ?      ?  partitioner  -           -\n"
        "reduce-scatter  x, y        8      512  3584    <=1   3584  user         a<b         f.py:3\n"
        "step: 3 collectives, 1 of them by the partitioner; each device sends at least 25088 bytes"
    )
    assert (len(report), report.total_bytes, report.implicit) == (3, 25088, (ROWS[1],))
    assert list(report) == list(ROWS)
    html = report._repr_html_()
    assert html.count("<tr>") == 4
    assert "<td>a&lt;b</td>" in html
    assert "at least 25088 bytes" in html


def test_an_empty_report():
    report = CommsReport("<lambda>", ())
    assert repr(report) == "<lambda>: no communication"
    assert report._repr_html_() == "<p>&lt;lambda&gt;: no communication</p>"
    assert report.total_bytes == 0
    assert not list(report)


def test_one_device_does_not_communicate():
    assert list(functrax.explain_comms(functrax.grad(lambda x: (x**2).sum()))(jnp.ones(3))) == []


def test_what_cannot_be_called():
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.explain_comms(3)
    assert str(caught.value).startswith("[explain_comms] expected a function; got ")
