"""What is shipped and declared: the public names, the wheel's files, the dependencies and the Makefile's help."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest

import dspy_router

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]


def normal(name: str) -> str:
    """A distribution's name as registries compare it, without extras and versions."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def declared(*extras: str) -> set[str]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {normal(requirement) for requirements in lists for requirement in requirements}


@pytest.mark.parametrize("name", dspy_router.__all__)
def test_every_public_name_resolves(name):
    assert getattr(dspy_router, name).__name__ == name


def test_the_version_is_the_installed_one():
    assert dspy_router.__version__ == PROJECT["version"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Rooter'"):
        _ = dspy_router.Rooter  # pyright: ignore[reportAttributeAccessIssue]


def test_every_import_is_declared():
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "dspy_router").rglob("*.py")}
    owners = packages_distributions()
    allowed = declared("minilm", "demo", "many", "mcp", "langchain", "onnx", "plot")
    missing = set()
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.partition(".")[0] for name in names} - {"dspy_router", *sys.stdlib_module_names}:
                if not {normal(owner) for owner in owners.get(top, [top])} & allowed:
                    missing.add(f"{path.name} imports {top}")
    assert not missing


def test_constraints_pin_every_dependency_and_name_no_place():
    pinned = {normal(line) for line in CONSTRAINTS}
    assert (declared(*PROJECT["optional-dependencies"]) - {"dspy-router"}) <= pinned
    assert "torch==2.13.0" in CONSTRAINTS
    assert not [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line)]


def test_the_console_script_is_installed():
    (script,) = entry_points(group="console_scripts", name="dspy-router")
    assert script.value == "dspy_router.cli:main"


def test_the_wheel_carries_every_file_of_the_package(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "dspy_router").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "dspy_router/py.typed" in files
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_make_lists_every_target_with_its_help():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    # Under `make test` a nested make would speak of the folders it enters.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True, env=alone).stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(phony[1].split())
