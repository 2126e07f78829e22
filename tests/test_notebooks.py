"""The notebooks: they run offline, what they promise holds, and they are committed as source alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 300  # for one cell, on a busy machine
LM_VARIABLE = "DSPY_ROUTER_LM"

# Run first in the notebook's own process, which the suite's guard does not reach.
OFFLINE = """
import socket


def refuse(self, address):
    raise OSError(f"The notebooks are tested offline: a connection to {address!r} was refused.")


socket.socket.connect = socket.socket.connect_ex = refuse
"""
# Somebody's home, a folder for scratch, a drive; not the paths of URLs.
MACHINE_PATH = re.compile(r"(?<![\w./:])(?:/(?:home|Users|root|tmp|mnt|opt|var)/|[A-Z]:\\\\)")


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    """Nobody's IPython profile, kernels or language model have a say, and nothing is written beside the notebook."""
    monkeypatch.delenv(LM_VARIABLE, raising=False)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    work = tmp_path / "work"
    work.mkdir()
    return work


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_offline_and_what_it_promises_holds(path, own_settings):
    """The last cell asserts what the text says, so that running through is holding."""
    notebook = read(path)
    promises = code_cells(notebook)[-1].source
    assert promises.startswith("assert "), "the last cell must assert what the notebook promises"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))

    resources = {"metadata": {"path": str(own_settings)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()

    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture was drawn"
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    told = "".join(output.text for output in code_cells(notebook)[1].outputs if output.get("name") == "stdout")
    assert re.match(r"Language model: .*(none|no model)", told), "the first cell must say that no model is at work"
    assert not MACHINE_PATH.search("".join(output.get("text", "") for output in outputs))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_machine_paths(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert not [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]
    text = path.read_text(encoding="utf-8")
    found = MACHINE_PATH.search(text)
    assert not found, f"'{found[0]}' names a place on a machine"
    assert str(ROOT) not in text and sys.prefix not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_begins_with_its_title_and_what_answers(path):
    """A reader is told before anything runs that no model is at work unless they name one."""
    notebook = read(path)
    first, setup = notebook.cells[0], code_cells(notebook)[0].source
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "scripted stand-in" in first.source and "no model" in first.source
    assert f"{LM_VARIABLE}`" in first.source
    assert 'print("Language model:' in setup
    asks = "dspy.configure(" in "".join(cell.source for cell in code_cells(notebook))
    assert (f'LM = os.environ.get("{LM_VARIABLE}")' in setup) == asks


def test_they_are_numbered_and_each_link_leads_to_one_of_them():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    links = {link for path in NOTEBOOKS for link in re.findall(r"\]\((\w+\.ipynb)\)", path.read_text(encoding="utf-8"))}
    assert links <= {path.name for path in NOTEBOOKS}


@pytest.mark.parametrize(
    ("text", "found"),
    [('"/home/ann/x"', True), ("C:\\\\Users", True), ("https://dspy.ai/home/x", False), ("out/tmp/x", False)],
)
def test_machine_paths_are_told_from_others(text, found):
    assert bool(MACHINE_PATH.search(text)) == found
