"""The table of primitives has no empty cell, and prints."""

import enum
import re
import sys
from pathlib import Path

import pytest

import functrax
from functrax.core.params import param_types
from functrax.core.primitive import Refusal, registry
from functrax.primitives import __main__ as table
from tests.cases import CASES, COVERED
from tests.oracle import EXACT, ORACLE

table.load_all()
FOLDER = Path(functrax.__file__).parent
NAMES = sorted(  # other tests declare primitives of their own
    name for name, one in registry.items() if Path(one.declared).is_relative_to(FOLDER)
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", table.RULES)
def test_each_rule_is_a_function_or_a_refusal(name, rule):
    found = getattr(registry[name], rule)
    assert callable(found) or isinstance(found, Refusal)


@pytest.mark.parametrize("name", NAMES)
def test_a_primitive_is_registered_under_its_name(name):
    assert registry[name].name == name


def is_parameter(kind):
    return isinstance(kind, enum.EnumMeta) or kind.__name__.endswith("DimensionNumbers")


def test_classes_of_parameters_can_be_read_back():
    modules = [module for name, module in sys.modules.items() if name.startswith("functrax.prim")]
    for kind in [value for module in modules for value in vars(module).values()]:
        if isinstance(kind, type) and is_parameter(kind):
            assert param_types[kind.__name__] is kind, f"{kind} lacks @param_type"


def test_every_place_in_the_table_exists(capsys):
    assert table.main([]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "primitive",
        "abstract",
        "jvp",
        "transpose",
        "batch",
        "lower",
        "partial",
    ]
    assert len(rows) == len(registry)
    cells = [cell for row in rows for cell in re.split(" {2,}", row)[1:]]
    places = [cell.rsplit(":", 1) for cell in cells if ":" in cell]
    refusals = {cell for cell in cells if ":" not in cell}
    assert {"-", "zero", "not linear"} <= refusals
    for file, line in places:
        path = FOLDER / file if "/" in file else FOLDER / "primitives" / file
        assert int(line) <= path.read_text(encoding="utf-8").count("\n")


def test_a_rule_is_found_at_its_function(capsys):
    table.main([])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("jit "))
    file, line = row.split()[2].split(":")
    assert file == "transforms/jit_call.py"
    source = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    assert source[int(line) - 1].startswith("def _jvp(")


def test_missing_cells_are_listed(capsys, monkeypatch):
    assert table.main(["--missing"]) == 0
    assert capsys.readouterr().out == ""

    class Half:
        declared = "here.py:1"
        abstract_eval = jvp = transpose = lower = staticmethod(len)
        batch = partial = None

    monkeypatch.setitem(registry, "half", Half)
    assert table.main(["--missing"]) == 1
    assert capsys.readouterr().out == "half.batch\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_primitive_has_a_row_and_a_meaning(name):
    rows = [case for case in CASES if case.primitive == name]
    if name in COVERED:
        assert not rows
        assert name in (FOLDER.parent / COVERED[name]).read_text(encoding="utf-8")
    else:
        assert rows, f"add a row for {name!r} to tests/cases.py"
        assert name in ORACLE, f"add the meaning of {name!r} to tests/oracle.py"


def test_tables_name_only_primitives():
    names = {case.primitive for case in CASES} | set(ORACLE) | set(COVERED) | EXACT
    assert names <= set(registry)
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(COVERED)))
def test_rows_differentiate_what_has_a_derivative(name):
    refused = isinstance(registry[name].jvp, Refusal)
    orders = {case.order for case in CASES if case.primitive == name}
    assert (2 not in orders) if refused else bool(orders & {2, None}) or name == "stop_gradient"
