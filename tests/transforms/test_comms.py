"""`explain_comms` and `no_implicit_comms` on 8 virtual devices: counts and bytes by hand."""

import os
import re
from pathlib import Path

import pytest

import functrax
import functrax.numpy as jnp
from functrax import NamedSharding, P, errors
from functrax.lowering.comms import Collective, collectives
from functrax.runtime import partitioned
from functrax.runtime.compile import compile_partitioned
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


def test_the_line_is_that_of_this_function_if_another_one_is_the_same_program(mesh):
    x = on(mesh, (64, 24), "data")
    first = lambda x: jnp.cos(x).sum()  # noqa: E731
    second = lambda x: jnp.cos(x).sum()  # noqa: E731
    lines = [f.__code__.co_firstlineno for f in (first, second)]
    functrax.jit(first)(x)
    for f, line in zip((first, second), lines, strict=True):
        (found,) = functrax.explain_comms(f)(x)
        assert found.source.endswith(f"test_comms.py:{line}")
        with functrax.no_implicit_comms(), pytest.raises(errors.CommunicationError) as caught:
            functrax.jit(f)(x)
        assert f"test_comms.py:{line})" in str(caught.value)


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


# ---- layers, counted by hand: devices stand 4x2, and a float has 4 bytes


@pytest.fixture
def report(monkeypatch):
    """report(f, *args): run a function, and return its result and its collectives."""
    texts = []

    def spy(lowered, mesh, overrides=None):
        executable = compile_partitioned(lowered, mesh, overrides)
        texts.append((executable.hlo_text(), mesh))
        return executable

    monkeypatch.setattr(partitioned, "compile_partitioned", spy)

    def run(function, *args):
        result = functrax.jit(function)(*args)
        text, mesh = texts[-1]
        found = collectives(text, mesh)
        assert all(os.path.basename(__file__) in one.source for one in found)
        rows = [(c.kind, c.axes, c.operand_bytes, c.sent_bytes, c.times, c.explicit) for c in found]
        return result, rows

    return run


GRADIENT = 16 * 32 * 4


def test_data_parallel(mesh, report):
    """The gradient is summed over all devices."""
    w, x = on(mesh, (16, 32)), on(mesh, (64, 16), ("data", "model"))
    _, rows = report(functrax.grad(loss), w, x)
    assert rows == [
        ("all-reduce", ("data", "model"), GRADIENT, 2 * 7 * GRADIENT // 8, 1, False),
    ]


def test_parameters_divided_too(mesh, report):
    """The parameters are gathered, the gradient is summed (CPUs do not scatter it)."""

    def step(w, x):
        new = w - functrax.grad(loss)(w, x)
        return functrax.lax.with_sharding_constraint(new, NamedSharding(mesh, P("data")))

    new, rows = report(step, on(mesh, (16, 32), "data"), on(mesh, (64, 16), "data"))
    assert new.sharding.spec == P("data")
    assert rows == [
        ("all-gather", ("data",), GRADIENT // 4, 3 * GRADIENT // 4, 1, False),
        ("all-reduce", ("data",), GRADIENT, 2 * 3 * GRADIENT // 4, 1, False),
    ]


def layers(a, b, x):
    return jnp.maximum(x @ a, 0) @ b


def test_tensor_parallel(mesh, report):
    """Two layers need one sum, of 64x16 results; the gradients of their weights need none."""
    a, b = on(mesh, (16, 32), None, "model"), on(mesh, (32, 16), "model")
    x = on(mesh, (64, 16))
    assert report(layers, a, b, x)[1] == [
        ("all-reduce", ("model",), 64 * 16 * 4, 64 * 16 * 4, 1, False)
    ]
    assert report(functrax.grad(lambda *args: layers(*args).sum(), (0, 1)), a, b, x)[1] == []


def test_sums_that_the_program_writes(mesh, report):
    """The mean of the losses, and the gradient's sum, which XLA makes one operation."""

    def step(w, x):
        return functrax.value_and_grad(lambda w: functrax.lax.pmean(loss(w, x), "data"))(w)

    mapped = functrax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P()))
    w, x = on(mesh, (16, 32)), on(mesh, (64, 16), "data")
    with functrax.no_implicit_comms():
        _, rows = report(mapped, w, x)
    size = GRADIENT + 4
    assert rows == [("all-reduce", ("data",), size, 2 * 3 * size // 4, 1, True)]


def test_a_sum_in_a_loop(mesh, report):
    def loop(w, x):
        def body(c, _):
            return functrax.lax.psum(c @ w, "data") * 0.01 + c, None

        return functrax.lax.scan(body, x, None, length=6)[0]

    mapped = functrax.shard_map(loop, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    _, rows = report(mapped, on(mesh, (16, 16)), on(mesh, (64, 16), "data"))
    assert rows == [("all-reduce", ("data",), 1024, 1536, 6, True)]


def test_arguments_that_must_move(mesh):
    """They are moved before the program starts: no communication of its own, but some."""
    rows = NamedSharding(mesh, P("data"))
    x = on(mesh, (64, 16), None, "model")
    jaxpr = functrax.make_jaxpr(lambda x: x * 2)(x).jaxpr
    program = partitioned.Partitioned(jaxpr, in_shardings=(rows,))
    program.run([x])
    with functrax.no_implicit_comms():
        fresh = partitioned.Partitioned(jaxpr, in_shardings=(rows,))
        assert message(lambda: fresh.run([x])) == (
            "[no_implicit_comms] expected arguments of '<lambda>' to lie as it takes them, such as "
            "P('data') in Mesh(data=4, model=2); got f32[64,16] that lies as P(None, 'model') in "
            "Mesh(data=4, model=2) (here). Move it with `device_put` before the call."
        )
        fresh.run([on(mesh, (64, 16))])  # each device has its part already
        fresh.run([jnp.ones((64, 16))])


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
