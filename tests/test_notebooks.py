"""Every notebook runs from top to bottom, and is stored without what it printed."""

import os
import re
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


class ThisInterpreter(AsyncKernelManager):
    """Starts kernels of the Python that runs the tests, whatever Jupyter finds installed."""

    @property
    def kernel_spec(self):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="this Python", language="python")


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS][:1] == ["01_transformations.ipynb"]


@every_notebook
def test_what_is_stored(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert cell.metadata == {}
        assert cell.source.strip(), f"{cell.id} is empty"
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), f"strip {cell.id}"
            assert cell.source.count("\n") < 25, f"{cell.id} is long"


@every_notebook
def test_links_to_headings(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = {h.replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(#([^)]+)\)", text):
        assert target in headings


# Jupyter's own libraries: what they warn of is none of functrax's business.
@pytest.mark.filterwarnings("ignore")
@every_notebook
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *sys.path])),
        "PYTHONWARNINGS": "error::Warning:__main__",  # of a cell
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_manager_class=ThisInterpreter,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment)
    outputs = [(cell.id, output) for cell in notebook.cells for output in cell.get("outputs", [])]
    complaints = [
        (i, o.text) for i, o in outputs if o.output_type == "stream" and o.name == "stderr"
    ]
    assert complaints == []
    assert any("image/png" in output.get("data", {}) for _, output in outputs)
