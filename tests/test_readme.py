"""What the documents say is true: their programs run, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.md")]
)


def blocks(document, language):
    """Return the code blocks of a document in one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def anchors(text):
    """Return the names by which GitHub links to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in words}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target) or target == "NNNN-title.md":  # a placeholder
            continue  # and the network is not asked
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{document} links to {target}"
        assert found.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./]+/[\w.]+\.\w+|[\w./]+/)`", text):
        if not name.startswith("out/"):  # what the example makes
            assert (ROOT / name).exists(), f"{document} names {name}"


def test_the_program_of_the_readme(python):
    (code,) = blocks("README.md", "python")
    checks = """
assert value.shape == () and grads["w"].shape == (3, 1) and grads["b"].shape == (1,)
assert per_example["w"].shape == (8, 3, 1)
import numpy as np
for name in params:
    np.testing.assert_allclose(per_example[name].mean(0), grads[name], 1e-5)
"""
    assert python(code + checks).startswith("{ lambda ; ")


def test_the_programs_of_the_guides(python):
    for guide in (path for path in DOCUMENTS if path.startswith("docs/guides/")):
        python("".join(blocks(guide, "python")), FUNCTRAX_NUM_CPU_DEVICES="8")


def test_commands_are_those_of_the_makefile():
    """Each `make` target and each pip extra that a document speaks of exists."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document}: make {target}"
        for extras in re.findall(r"\.\[([\w,]+)\]", text):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"{document}: {extra}"


def test_plain_commands_are_what_make_does():
    """The pip commands of the README install what the Makefile installs, and run what it runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
    plain = [shlex.split(line, comments=True) for line in lines if line.startswith(".venv/bin/")]
    assert [words[-1] for words in plain if "install" in words] == [
        ".[examples]",
        ".[test,examples,notebooks]",
    ]
    for words in plain:
        command = words[1:] if words[0].endswith("pip") else words
        if "install" in command:
            assert f'"{command[-1]}"' in makefile
        else:
            assert f"$(BIN)/python {' '.join(command[1:])}" in makefile


def test_a_primitive_is_added_as_contributing_says(python):
    """The walk of CONTRIBUTING, from its row to the tests of that row, with nothing left out."""
    declaration, case, meaning = blocks("CONTRIBUTING.md", "python")
    code = f"""
import numpy as np, pytest
import functrax, functrax.numpy as jnp
from functrax.core.primitive import registry
from functrax.primitives import __main__ as table, elementwise
from tests import cases, oracle

exec({declaration!r}, vars(elementwise))
exec({case!r}, vars(cases))
exec({meaning!r}, vars(oracle))
cases.CASES[:] = cases.ELEMENTWISE[-1:]

x = jnp.array([0.5, 2.0])
np.testing.assert_allclose(functrax.vmap(elementwise.sinc)(x), np.sin(x) / x, 1e-6)
assert "sinc" in str(functrax.make_jaxpr(elementwise.sinc)(x))
assert [table.cell(registry["sinc"], rule) for rule in table.RULES][2] == "not linear"
print(pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_primitives.py", "-k", "sinc"]))
"""
    *report, status = python(code).splitlines()
    assert status == "0", "\n".join(report)
    passed = re.search(r"(\d+) passed", "\n".join(report))
    assert passed
    assert int(passed[1]) >= 5  # value, types, mapped, both derivatives
    assert "failed" not in report[-1]
    assert "skipped" not in report[-1]
