"""Shardings drawn in a terminal and in a notebook."""

import io
import os
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import NamedSharding, P, errors
from functrax.debug import visualize_array_sharding, visualize_sharding
from functrax.sharding import Mesh, SingleDeviceSharding
from functrax.sharding.drawing import Drawing, _label, _shown


@pytest.fixture(scope="module")
def mesh():
    return functrax.make_mesh((4, 2), ("x", "y"))


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


BOTH = """\
┌─────────┬─────────┐
│  CPU 0  │  CPU 1  │
├─────────┼─────────┤
│  CPU 2  │  CPU 3  │
├─────────┼─────────┤
│  CPU 4  │  CPU 5  │
├─────────┼─────────┤
│  CPU 6  │  CPU 7  │
└─────────┴─────────┘
"""
COLUMNS = """\
┌──────────────┬──────────────┐
│              │              │
│ CPU 0,2,4,6  │ CPU 1,3,5,7  │
│              │              │
└──────────────┴──────────────┘
"""
ROW = """\
┌─────────┬─────────┬─────────┬─────────┐
│ CPU 0,1 │ CPU 2,3 │ CPU 4,5 │ CPU 6,7 │
└─────────┴─────────┴─────────┴─────────┘
"""
WHOLE = """\
┌────────────────────────┐
│        CPU 0-7         │
└────────────────────────┘
"""
NARROW = """\
┌───┬───┬───┬───┬───┬───┬───┬───┐
│CPU│CPU│CPU│CPU│CPU│CPU│CPU│CPU│
│ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │
└───┴───┴───┴───┴───┴───┴───┴───┘
"""
LEFT_OUT = """\
┌───┬───┬───┬───┐
│CPU│CPU│ … │CPU│
│ 0 │ 1 │   │ 7 │
└───┴───┴───┴───┘
"""


@pytest.mark.parametrize(
    ("shape", "spec", "options", "expected"),
    [
        ((64, 16), P("x", "y"), {}, BOTH),
        ((16, 16), P(None, "y"), {"scale": 0.4, "min_width": 14}, COLUMNS),
        ((16,), P("x"), {}, ROW),
        ((16,), P(), {}, WHOLE),
        ((0,), P("x"), {}, WHOLE),
        ((16,), P(("x", "y")), {"max_width": 40}, NARROW),
        ((16,), P(("x", "y")), {"max_width": 20}, LEFT_OUT),
    ],
    ids=str,
)
def test_in_characters(mesh, shape, spec, options, expected, capsys):
    assert visualize_sharding(shape, NamedSharding(mesh, spec), **options) is None
    assert capsys.readouterr().out == expected


def test_it_fits_the_terminal(mesh, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    visualize_sharding((16,), NamedSharding(mesh, P(("x", "y"))))
    assert capsys.readouterr().out == NARROW


@pytest.mark.parametrize("shape", [(1, 4), (512, 2), (2, 512), (7,), (3000, 3000)], ids=str)
@pytest.mark.parametrize("width", [10, 33, 80])
def test_lines_are_of_one_length(shape, width):
    lines = str(Drawing(shape, SingleDeviceSharding(functrax.devices()[0]), max_width=width))
    assert len({len(line) for line in lines.splitlines()}) == 1
    assert len(lines.splitlines()[0]) <= width


def many(count):
    here = SimpleNamespace(process_index=0)
    devices = np.empty(count, dtype=object)
    for i in range(count):
        devices[i] = _Device(id=i, platform="tpu", process_index=0, client=here)
    return NamedSharding(Mesh(devices, "x"), P("x"))


class _Device(SimpleNamespace):
    __hash__ = object.__hash__


def test_many_rows_and_columns_are_left_out():
    sharding = many(256)
    drawn = str(Drawing((256, 4), sharding)).splitlines()
    assert len(drawn) == 2 * 32 + 1
    assert drawn[1].split("│")[1].strip() == "TPU 0"
    assert drawn[-4].strip("│ ") == "…"
    assert drawn[-2].strip("│ ") == "TPU 255"
    (row,) = {line for line in str(Drawing((256,), sharding)).splitlines() if "255" in line}
    assert [cell.strip() for cell in row.split("│")[-3:-1]] == ["", "255"]
    assert _shown(5, 5) == [0, 1, 2, 3, 4]
    assert _shown(6, 5) == [0, 1, 2, -1, 5]


@pytest.mark.parametrize(
    ("ids", "width", "expected"),
    [
        ([3, 1, 2, 0], None, "CPU 0-3"),
        ([0, 1], None, "CPU 0,1"),
        ([7, 0, 1, 2, 5], None, "CPU 0-2,5,7"),
        ([0, 2, 4], 5, "CPU 0, 2, 4"),
    ],
)
def test_labels(ids, width, expected):
    found = [SimpleNamespace(id=i, platform="cpu") for i in ids]
    assert _label(found, width) == expected


class Terminal(io.StringIO):
    def isatty(self):
        return True


ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def test_colours_on_a_terminal(mesh, monkeypatch):
    sharding, out = NamedSharding(mesh, P("x")), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    visualize_sharding((16,), sharding)
    text = out.getvalue()
    assert ESCAPES.sub("", text) == ROW
    assert len(set(re.findall(r"\x1b\[48;2;([\d;]*)m", text))) == 4  # one for each part
    for options, variables in (({"use_color": False}, {}), ({}, {"NO_COLOR": "1"})):
        monkeypatch.setattr(sys, "stdout", plain := Terminal())
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        visualize_sharding((16,), sharding, **options)
        assert plain.getvalue() == ROW


def test_a_colour_map(mesh):
    drawing = Drawing((16,), NamedSharding(mesh, P("y")), color_map=lambda x: (x, 0.0, 1.0, 1.0))
    assert list(drawing.colors.values()) == [(0, 0, 255), (128, 0, 255)]
    assert "\x1b[48;2;128;0;255m\x1b[38;2;255;255;255m" in drawing.text(use_color=True)


def test_in_a_notebook(mesh, monkeypatch, capsys):
    shown = []
    notebook = ModuleType("IPython")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())
    notebook.display = SimpleNamespace(display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    visualize_sharding((16, 8), NamedSharding(mesh, P("x")))
    assert capsys.readouterr().out == ""
    (drawing,) = shown
    html = drawing._repr_html_()
    assert re.findall(r">(CPU [\d,]+)<", html) == ["CPU 0,1", "CPU 2,3", "CPU 4,5", "CPU 6,7"]
    assert re.findall(r'title="([^"]*)"', html)[1] == "cpu:2, cpu:3"
    assert html.count("<tr>") == 4
    assert len(set(re.findall(r"background:rgb(\([^)]*\))", html))) == 4
    notebook.get_ipython = lambda: SimpleNamespace()  # IPython in a terminal
    visualize_sharding((16,), NamedSharding(mesh, P("x")))
    assert capsys.readouterr().out == ROW


def test_arrays(mesh, capsys):
    visualize_array_sharding(functrax.device_put(jnp.ones(16), NamedSharding(mesh, P("x"))))
    assert capsys.readouterr().out == ROW
    visualize_array_sharding(jnp.ones((2, 8)), scale=0.2)
    assert "CPU 0" in capsys.readouterr().out


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return re.sub(rf"{os.path.basename(__file__)}:\d+", "here", str(caught.value))


@pytest.mark.parametrize("shape", [(), (2, 4, 4)])
def test_other_dimensions(mesh, shape):
    assert message(
        lambda: visualize_sharding(shape, NamedSharding(mesh, P())), errors.ShapeError
    ) == (
        f"[visualize_sharding] expected a shape of one or two dimensions; got {shape} (here). "
        "Choose two of them: `visualize_sharding(shape[-2:], NamedSharding(mesh, P(*spec[-2:])))`."
    )


def test_what_lies_on_no_device():
    expected = "[visualize_array_sharding] expected an array on devices; got {} (here). Call it outside of `jit`, or draw a sharding by `visualize_sharding`."
    call = lambda: visualize_array_sharding(np.ones(3))  # noqa: E731
    assert message(call, errors.ArgumentError) == expected.format("a value of type ndarray")
    traced = functrax.jit(lambda x: visualize_array_sharding(x))
    assert message(lambda: traced(jnp.ones(3)), errors.ArgumentError) == expected.format(
        "a traced Array"
    )


def test_a_shape_that_is_not_divided(mesh):
    assert message(
        lambda: visualize_sharding((6,), NamedSharding(mesh, P("x"))), errors.ShapeError
    ).startswith("[devices_indices_map] expected dimension 0 of an array of shape (6,) to be")
