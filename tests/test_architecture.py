"""The promises of the layout: who may know whom, what an import costs, and that every file has its caption and size."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dspy_router"
MOST_LINES = 320

# What each room may import of the package; the arrows run one way, records ← runtime ← routing ← learning ← program ←
# demo ← cli, and data and evaluation stand on records alone; reliability is plain arithmetic that both sides of them
# use. The face (`__init__`) names all of them and is imported by none.
MAY_KNOW = {
    "schemas": set(),
    "reliability": set(),
    "records": {"schemas"},
    "config": set(),
    "data": {"records"},
    "evaluation": {"records", "reliability"},
    "tables": {"records", "evaluation"},
    "runtime": {"records"},
    "routing": {"records", "reliability", "runtime"},
    "learning": {"records", "runtime", "routing", "evaluation"},
    "program": {"records", "config", "data", "evaluation", "runtime", "routing", "learning"},
    "demo": {"records", "data", "evaluation", "runtime", "routing", "learning", "program"},
    "cli": {
        "records",
        "config",
        "data",
        "evaluation",
        "tables",
        "runtime",
        "routing",
        "learning",
        "program",
        "demo",
    },
}
WITH_DSPY = {"program"}
WITH_TORCH = {"routing", "learning", "program", "demo"}
TORCH = {"torch", "sentence_transformers", "transformers", "captum"}
# What an exported router needs, and all that is there where the package was installed with --no-deps.
SLIM = {"numpy", "onnxruntime", "tokenizers", "safetensors"}
SLIM_ROOMS = {"runtime", "records", "schemas"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """`dspy_router.routing.router` lies in the room `routing`; the face has no room."""
    return module.partition(".")[2].partition(".")[0]


def imports_of(source: str) -> set[str]:
    """Everything a source imports, wherever it does: at the top, in a function, for type checking, by `import_module`.

    `from a import b` counts as `a.b`, since `b` may be a module.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            found |= {
                arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
    return found


def own_imports(module: str) -> set[str]:
    """The package's own modules that a module imports."""
    found = set()
    for name in imports_of(MODULES[module].read_text(encoding="utf-8")):
        if name.split(".")[0] == "dspy_router":
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return found - {module}


def foreign_imports(module: str) -> set[str]:
    """The top-level names of everything else it imports."""
    names = imports_of(MODULES[module].read_text(encoding="utf-8"))
    return {name.split(".")[0] for name in names} - {"dspy_router"}


def test_imports_are_found_wherever_they_hide():
    source = """
import a.b
from c import d
if TYPE_CHECKING:
    from e.f import G
def run():
    import h
    importlib.import_module("i.j")
"""
    assert imports_of(source) == {"a.b", "c.d", "e.f.G", "h", "i.j"}


def test_every_file_has_a_room():
    assert {room_of(module) for module in MODULES} - {""} <= set(MAY_KNOW)


def test_arrows_run_one_way():
    broken = [
        f"{module} imports {target}"
        for module in MODULES
        if (room := room_of(module))
        for target in own_imports(module)
        if room_of(target) not in MAY_KNOW[room] | {room}
    ]
    assert not broken


def test_there_is_no_circle():
    graph = {module: own_imports(module) for module in MODULES if room_of(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_only_program_knows_dspy():
    assert {room_of(m) for m in MODULES if "dspy" in foreign_imports(m)} <= WITH_DSPY


def test_torch_stays_where_it_belongs():
    assert {room_of(m) for m in MODULES if TORCH & foreign_imports(m)} <= WITH_TORCH


def test_deciding_without_torch_needs_four_packages():
    """In any of these rooms; what describes a function's parameters asks for pydantic only when it is called."""
    slim = [module for module in MODULES if room_of(module) in SLIM_ROOMS | {""}]
    foreign = {name for module in slim for name in foreign_imports(module)} - set(sys.stdlib_module_names)
    assert foreign <= SLIM | {"pydantic"}
    assert not any("safetensors.torch" in imports_of(MODULES[module].read_text("utf-8")) for module in slim)


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*[n for n in ('torch', 'dspy', 'transformers') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import dspy_router; dir(dspy_router)",
        "from dspy_router import ToolCard, Decision, Episode",
        "from dspy_router import evaluate",
        "from dspy_router import TrainConfig",
        "import dspy_router.config, dspy_router.data.datasets",
        "import dspy_router.cli",
        "from dspy_router import ExportedRouter, StaleCalibration",
        "import dspy_router.runtime.batcher",
    ],
)
def test_importing_is_cheap(statement):
    assert loaded_by(statement) == set()


@pytest.mark.parametrize("name", ["Router", "HashEncoder", "fit"])
def test_deciding_and_learning_load_no_dspy(name):
    loaded = loaded_by(f"from dspy_router import {name}")
    assert "dspy" not in loaded
    assert "torch" in loaded


SOURCES = [path for folder in ("dspy_router", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_file_starts_with_its_caption():
    def caption(path: Path) -> str:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""

    without = [str(path.relative_to(ROOT)) for path in SOURCES if not caption(path).split("\n")[0].endswith(".")]
    assert not without


def test_no_file_outgrows_its_room():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES}


def test_there_is_no_utils():
    assert not [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "misc", "common"}]
