"""The shape of the package, read from its source: who may import whom, one door to jaxlib, sizes.

Nothing is imported or run: every check reads the syntax trees of ``functrax/**/*.py``. The second
half of this file gives each check a small wrong package and asks that it is caught.
"""

import ast
import graphlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "functrax"
SOURCE = Path(__file__).resolve().parent.parent / PACKAGE

# Each layer with the layers it may import; a layer may always import itself. Imports that only type
# checkers see obey the same table. "values" hold plain data, a "facade" shows users parts of core,
# the "library" is ordinary functions, an "application" is built from the library.
GROUND = ("errors", "xla", "core")
BASE = (*GROUND, "values", "primitives", "lowering", "runtime")
KERNEL = (*BASE, "transforms")
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "values": ("errors", "core"),
    "xla": ("errors",),
    "core": ("errors", "xla"),
    "primitives": ("errors", "core"),
    "lowering": (*GROUND, "values"),
    "runtime": (*GROUND, "values", "lowering"),
    "transforms": BASE,
    "facade": ("errors", "core"),
    "library": (*KERNEL, "facade"),
    "application": (*KERNEL, "facade", "library"),
    "top": (*KERNEL, "facade", "library", "application"),
}

# The modules and packages directly under functrax/ by layer. `functrax/__init__.py` and every
# `__main__.py` are "top".
MEMBERS = {
    **{layer: layer for layer in KERNEL},
    "values": "sharding version",
    "facade": "tree tree_util dtypes",
    "library": "numpy lax random nn scipy image ops testing profiler debug distributed dlpack"
    " checking custom_batching custom_derivatives experimental"
    " extend ffi flatten_util stages monitoring typing ad_checkpoint",
    "application": "interop data export inspect run bench_collectives",
}
LAYERS = {name: layer for layer, names in MEMBERS.items() for name in names.split()}

DOOR = f"{PACKAGE}.xla"  # the only package that opens jaxlib
LAZY = {"scipy"}  # too slow to import at start-up: only inside functions
FILE_LINES = 500
FUNCTION_LINES = 80  # without the docstring, which public names need long
WIRINGS = 2  # the eager interpreter, and the operator table
UNFINISHED = re.compile(r"\b(TODO|FIXME)\b")
DYNAMIC = {"import_module", "__import__"}


class Import(NamedTuple):
    """One imported module: a dotted name, and how it is imported."""

    target: str
    line: int
    in_function: bool
    type_only: bool


class Module(NamedTuple):
    """One source file: its dotted name, where it is, its text and tree, and what it imports."""

    name: str
    path: str
    source: str
    tree: ast.Module
    imports: list[Import]

    @property
    def layer(self) -> str | None:
        """The layer it belongs to, or None if the table does not know it."""
        parts = self.name.split(".")
        if len(parts) == 1 or parts[-1] == "__main__":
            return "top"
        return LAYERS.get(parts[1])


# ---- reading


def read_package(root: Path) -> list[Module]:
    """Parse every source file under a package folder."""
    paths = sorted(root.rglob("*.py"))
    files = {dotted_name(path, root): path for path in paths}
    modules = []
    for name, path in files.items():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, str(path))
        is_package = path.name == "__init__.py"
        imports = list(find_imports(tree, name if is_package else name.rpartition(".")[0], files))
        shown = path.relative_to(root.parent).as_posix()
        modules.append(Module(name, shown, source, tree, imports))
    return modules


def dotted_name(path: Path, root: Path) -> str:
    """Give the module name of a file: functrax/core/__init__.py is functrax.core."""
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(tree: ast.Module, package: str, known: Iterable[str]) -> Iterator[Import]:
    """Yield every import in a file, also those in functions, in `if TYPE_CHECKING` and by name."""

    def visit(node: ast.AST, in_function: bool, type_only: bool) -> Iterator[Import]:
        for target in targets(node, package, known):
            yield Import(target, node.lineno, in_function, type_only)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, in_function, True)
            for child in node.orelse:
                yield from visit(child, in_function, type_only)
            return
        functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        inside = in_function or isinstance(node, functions)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, type_only)

    yield from visit(tree, False, False)


def targets(node: ast.AST, package: str, known: Iterable[str]) -> Iterator[str]:
    """Yield what one statement or call imports; `from a import b` is a.b where that is a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            start = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*start, base] if base else start)
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full in known else base
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = ast.unparse(node.func).split(".")[-1]
        if function in DYNAMIC and isinstance(node.args[0].value, str):
            yield node.args[0].value


def is_within(name: str, package: str) -> bool:
    """Tell whether a dotted name is a package or something inside it."""
    return name == package or name.startswith(package + ".")


# ---- the checks: each yields what is wrong


def check_known_layers(modules: list[Module]) -> Iterator[str]:
    """Every module has its place."""
    for module in modules:
        if module.layer is None:
            yield f"{module.path}: has no layer; give it one in MEMBERS, tests/test_architecture.py"


def check_directions(modules: list[Module]) -> Iterator[str]:
    """Imports follow the arrows, those for type checkers too."""
    layers = {module.name: module.layer for module in modules}
    for module in modules:
        for target, line, *_ in module.imports:
            layer = layers.get(target)
            if layer is None or module.layer is None:
                continue
            if layer != module.layer and layer not in ALLOWED[module.layer]:
                yield f"{module.path}:{line}: {module.layer} must not import {target} ({layer})"


def check_no_cycles(modules: list[Module]) -> Iterator[str]:
    """No module imports itself by way of others; what only type checkers see makes no cycle."""
    names = {module.name for module in modules}
    edges = {
        module.name: sorted({i.target for i in module.imports if not i.type_only} & names)
        for module in modules
    }
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            yield "import cycle: " + " -> ".join([*path[path.index(name) :], name])
        elif name not in done:
            for target in edges[name]:
                yield from walk(target, [*path, name])
            done.add(name)

    for name in edges:
        yield from walk(name, [])


def check_no_function_level_imports(modules: list[Module]) -> Iterator[str]:
    """What a module of functrax needs from functrax stands at its top."""
    for module in modules:
        for target, line, in_function, _ in module.imports:
            if in_function and is_within(target, PACKAGE):
                yield f"{module.path}:{line}: {target} is imported inside a function"


def check_no_jax(modules: list[Module]) -> Iterator[str]:
    """JAX is an oracle in tests; the package never imports it."""
    for module in modules:
        for target, line, *_ in module.imports:
            if is_within(target, "jax"):
                yield f"{module.path}:{line}: imports jax"


def check_one_door(modules: list[Module]) -> Iterator[str]:
    """Only functrax.xla imports jaxlib."""
    for module in modules:
        for target, line, *_ in module.imports:
            if is_within(target, "jaxlib") and not is_within(module.name, DOOR):
                yield f"{module.path}:{line}: {target} is imported outside {DOOR}"


def check_lazy(modules: list[Module]) -> Iterator[str]:
    """What is slow to import is not imported at start-up."""
    for module in modules:
        for target, line, in_function, type_only in module.imports:
            if target.split(".")[0] in LAZY and not in_function and not type_only:
                yield f"{module.path}:{line}: {target} is imported at start-up, not on first use"


def check_sizes(modules: list[Module]) -> Iterator[str]:
    """Files and functions can be read in one go."""
    for module in modules:
        lines = module.source.count("\n")
        if lines > FILE_LINES:
            yield f"{module.path}: {lines} lines, more than {FILE_LINES}; split it by sub-family"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = function_length(node)
                if length > FUNCTION_LINES:
                    place = f"{module.path}:{node.lineno}: {node.name}"
                    yield f"{place} has {length} lines, more than {FUNCTION_LINES}"


def function_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from `def` to its end, less those of its docstring."""
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return length


def check_docstrings(modules: list[Module]) -> Iterator[str]:
    """Every module says what it is for."""
    for module in modules:
        if not ast.get_docstring(module.tree):
            yield f"{module.path}: no module docstring"


def check_finished(modules: list[Module]) -> Iterator[str]:
    """No notes of unfinished work: finish it, or file an issue."""
    for module in modules:
        for number, text in enumerate(module.source.splitlines(), 1):
            if found := UNFINISHED.search(text):
                yield f"{module.path}:{number}: {found.group()}"


def check_init_only_reexports(modules: list[Module]) -> Iterator[str]:
    """functrax/__init__.py re-exports one by one and makes the wirings; it defines nothing."""
    for module in modules:
        if module.name != PACKAGE:
            continue
        wirings = 0
        for node in statements(module.tree):
            if is_wiring(node):
                wirings += 1
            elif not is_reexport(node):
                what = ast.unparse(node).splitlines()[0]
                yield f"{module.path}:{node.lineno}: defines something: {what}"
        if wirings > WIRINGS:
            yield f"{module.path}: {wirings} wirings, more than {WIRINGS}"


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield what a module does, also while the garbage collector waits for its imports."""
    for node in tree.body:
        if isinstance(node, ast.With) and ast.unparse(node.items[0]) == "_importing()":
            yield from node.body
        else:
            yield node


def is_reexport(node: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, an import by name, `__all__` or `__dir__`."""
    if isinstance(node, ast.Import):
        return True
    if isinstance(node, ast.ImportFrom):
        return all(alias.name != "*" for alias in node.names)
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] in (["__all__"], ["__dir__"])
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_wiring(node: ast.stmt) -> bool:
    """Tell whether a statement calls something, or sets an attribute of a module."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Attribute) for target in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


CHECKS: list[Callable[[list[Module]], Iterator[str]]] = [
    check_known_layers,
    check_directions,
    check_no_cycles,
    check_no_function_level_imports,
    check_no_jax,
    check_one_door,
    check_lazy,
    check_sizes,
    check_docstrings,
    check_finished,
    check_init_only_reexports,
]


@pytest.fixture(scope="module")
def package() -> list[Module]:
    """The package itself."""
    return read_package(SOURCE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_package(check: Callable[[list[Module]], Iterator[str]], package: list[Module]) -> None:
    problems = list(check(package))
    assert not problems, "\n" + "\n".join(problems)


# ---- the checks, checked


def test_the_table_points_one_way() -> None:
    graphlib.TopologicalSorter(ALLOWED).prepare()  # raises CycleError
    assert {*MEMBERS, "top"} == set(ALLOWED)


def write(folder: Path, files: dict[str, str]) -> list[Module]:
    """Make a package of the given files, with a docstring in each that gives none, and read it."""
    root = folder / PACKAGE
    for name, body in {"__init__.py": "", "errors.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body if body.startswith('"""') else f'"""Doc."""\n{body}\n')
    return read_package(root)


GOOD = {
    "__init__.py": (
        "from functrax import errors, numpy as numpy\n"
        "from functrax.core import trace\n"
        "from functrax.core.trace import bind as bind\n"
        "__all__ = ['bind', 'errors', 'numpy']\n"
        "trace.eager = bind\n"
        "trace.wire(bind)\n"
    ),
    "__main__.py": "import functrax\nfrom functrax.numpy import ops",
    "errors.py": "import os",
    "sharding.py": "from functrax.errors import E",
    "xla/__init__.py": "",
    "xla/client.py": "from jaxlib import _jax\nfrom .. import errors\nfrom . import mlir",
    "xla/mlir.py": "import jaxlib.mlir",
    "core/__init__.py": "from functrax.core.trace import bind",
    "core/trace.py": (
        "from typing import TYPE_CHECKING\n"
        "from functrax.xla import client\n"
        "if TYPE_CHECKING:\n    from functrax.core.jaxpr import Jaxpr\n"
        "def bind():\n    import scipy.linalg\n    return scipy.linalg\n"
    ),
    "core/jaxpr.py": "from functrax.core.trace import bind",
    "primitives/__init__.py": "",
    "primitives/sine.py": "from functrax.core import trace",
    "primitives/__main__.py": "from functrax.transforms import grad",
    "lowering/__init__.py": "from functrax import core, errors, xla",
    "runtime/__init__.py": "from functrax import lowering, sharding",
    "transforms/__init__.py": "",
    "transforms/grad.py": (
        "from functrax import lowering, primitives, runtime\nimport functrax.xla.client"
    ),
    "tree.py": "from functrax.core.trace import bind",
    "numpy/__init__.py": "import numpy",
    "numpy/ops.py": (
        "import numpy as np\nfrom functrax.transforms.grad import grad\nfrom functrax import tree"
    ),
    "interop/__init__.py": "from functrax import numpy",
}


def test_a_good_package_passes(tmp_path: Path) -> None:
    modules = write(tmp_path, GOOD)
    assert len(modules) == len(GOOD)
    assert [problem for check in CHECKS for problem in check(modules)] == []


LONG = "\n".join(["def f():", *["    x = 1"] * 80])
DOCUMENTED = "\n".join(["def f():", '    """Doc.', *["    more"] * 80, '    """', "    return 1"])

BAD: list[tuple[Callable[[list[Module]], Iterator[str]], dict[str, str], list[str]]] = [
    (
        check_known_layers,
        {"helpers.py": ""},
        ["functrax/helpers.py: has no layer; give it one in MEMBERS, tests/test_architecture.py"],
    ),
    (
        check_directions,
        {"errors.py": "from functrax import sharding", "sharding.py": ""},
        ["functrax/errors.py:2: errors must not import functrax.sharding (values)"],
    ),
    (
        check_directions,
        {"xla/client.py": "from functrax.core.types import T", "core/types.py": ""},
        ["functrax/xla/client.py:2: xla must not import functrax.core.types (core)"],
    ),
    (
        check_directions,
        {"xla/client.py": "from ..core import types", "core/types.py": ""},
        ["functrax/xla/client.py:2: xla must not import functrax.core.types (core)"],
    ),
    (
        check_directions,
        {"core/trace.py": "import functrax.primitives", "primitives/__init__.py": ""},
        ["functrax/core/trace.py:2: core must not import functrax.primitives (primitives)"],
    ),
    (
        check_directions,
        {"primitives/a.py": "from functrax import lowering, xla"}
        | {"lowering/__init__.py": "", "xla/__init__.py": ""},
        [
            "functrax/primitives/a.py:2: primitives must not import functrax.lowering (lowering)",
            "functrax/primitives/a.py:2: primitives must not import functrax.xla (xla)",
        ],
    ),
    (
        check_directions,
        {"lowering/a.py": "from functrax.primitives import b", "primitives/b.py": ""},
        ["functrax/lowering/a.py:2: lowering must not import functrax.primitives.b (primitives)"],
    ),
    (
        check_directions,
        {"runtime/a.py": "def f():\n    import functrax.transforms", "transforms/__init__.py": ""},
        ["functrax/runtime/a.py:3: runtime must not import functrax.transforms (transforms)"],
    ),
    (
        check_directions,
        {
            "transforms/a.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from functrax.numpy import b",
            "numpy/b.py": "",
        },
        ["functrax/transforms/a.py:4: transforms must not import functrax.numpy.b (library)"],
    ),
    (
        check_directions,
        {"tree.py": "from functrax import transforms", "transforms/__init__.py": ""},
        ["functrax/tree.py:2: facade must not import functrax.transforms (transforms)"],
    ),
    (
        check_directions,
        {"nn/a.py": "from functrax import grad\nimport functrax.inspect", "inspect.py": ""},
        [
            "functrax/nn/a.py:2: library must not import functrax (top)",
            "functrax/nn/a.py:3: library must not import functrax.inspect (application)",
        ],
    ),
    (
        check_no_cycles,
        {
            "core/a.py": "from functrax.core import b",
            "core/b.py": "from functrax.core.c import d",
            "core/c.py": "import functrax.core.a",
        },
        ["import cycle: functrax.core.a -> functrax.core.b -> functrax.core.c -> functrax.core.a"],
    ),
    (
        check_no_function_level_imports,
        {"core/a.py": "def f():\n    from functrax.core import b", "core/b.py": ""},
        ["functrax/core/a.py:3: functrax.core.b is imported inside a function"],
    ),
    (
        check_no_function_level_imports,
        {"core/a.py": "f = lambda: importlib.import_module('functrax.core')"},
        ["functrax/core/a.py:2: functrax.core is imported inside a function"],
    ),
    (
        check_no_jax,
        {"xla/a.py": "def f():\n    import jax.numpy\nfrom jax import Array\nimport jaxlib"},
        ["functrax/xla/a.py:3: imports jax", "functrax/xla/a.py:4: imports jax"],
    ),
    (
        check_one_door,
        {"runtime/a.py": "from jaxlib import xla_client", "xla.py": "import jaxlib"},
        ["functrax/runtime/a.py:2: jaxlib is imported outside functrax.xla"],
    ),
    (
        check_lazy,
        {"numpy/a.py": "import scipy.special"},
        ["functrax/numpy/a.py:2: scipy.special is imported at start-up, not on first use"],
    ),
    (
        check_sizes,
        {"core/a.py": "x = 1\n" * 500, "core/b.py": f"{DOCUMENTED}\n\n\n{LONG}"},
        [
            "functrax/core/a.py: 502 lines, more than 500; split it by sub-family",
            "functrax/core/b.py:88: f has 81 lines, more than 80",
        ],
    ),
    (check_docstrings, {"core/a.py": '"""  """'}, ["functrax/core/a.py: no module docstring"]),
    (
        check_finished,
        {"core/a.py": "x = 1  # TODO: more\nMASTODON = 2\n# FIXME"},
        ["functrax/core/a.py:2: TODO", "functrax/core/a.py:4: FIXME"],
    ),
    (
        check_init_only_reexports,
        {"__init__.py": "from functrax.errors import *\nx = 1\ndef f():\n    pass"},
        [
            "functrax/__init__.py:2: defines something: from functrax.errors import *",
            "functrax/__init__.py:3: defines something: x = 1",
            "functrax/__init__.py:4: defines something: def f():",
        ],
    ),
    (
        check_init_only_reexports,
        {"__init__.py": "a.wire(1)\nb.wire(2)\nc.d = 3"},
        ["functrax/__init__.py: 3 wirings, more than 2"],
    ),
    (
        check_init_only_reexports,
        {
            "__init__.py": "with _importing():\n    import functrax.errors\n    x = 1\nwith f():\n    pass"
        },
        [
            "functrax/__init__.py:4: defines something: x = 1",
            "functrax/__init__.py:5: defines something: with f():",
        ],
    ),
]


@pytest.mark.parametrize(("check", "files", "expected"), BAD)
def test_a_bad_package_is_caught(
    check: Callable[[list[Module]], Iterator[str]],
    files: dict[str, str],
    expected: list[str],
    tmp_path: Path,
) -> None:
    assert list(check(write(tmp_path, files))) == expected


def test_every_check_is_checked() -> None:
    assert {check for check, *_ in BAD} == set(CHECKS)
