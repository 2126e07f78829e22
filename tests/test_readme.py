"""The README: every block runs and prints what it says, every command is one, and the tree shows what is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import dspy
import pytest
import typer
from typer.testing import CliRunner

from dspy_router import Decision, DecisionLog, Episode
from dspy_router.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = 45


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dspy-router ")]


def statements(block: str) -> list[tuple[ast.stmt, list[str]]]:
    """Each statement of a block with the lines `#> …` that follow it: what it must print."""
    lines, body = block.splitlines(), ast.parse(block).body
    ends = [node.lineno - 1 for node in body[1:]] + [len(lines)]
    return [
        (node, [line.removeprefix("#> ") for line in lines[node.end_lineno : end] if line.startswith("#> ")])
        for node, end in zip(body, ends, strict=True)
    ]


@pytest.fixture
def settings_restored():
    """The README configures a language model, as its readers do."""
    lm = dspy.settings.lm
    yield
    dspy.configure(lm=lm)


def test_every_block_prints_what_it_says(settings_restored, capsys, tmp_path, monkeypatch):
    """In order and in one namespace, as somebody who reads along would type them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}
    promised = 0
    for block in blocks("python"):
        for node, expected in statements(block):
            code = ast.unparse(node)
            exec(compile(ast.Module([node], []), f"README.md: {code:.60}", "exec"), namespace)
            assert capsys.readouterr().out.splitlines() == expected, code
            promised += len(expected)
    assert promised >= 10


def test_the_first_block_comes_early_and_needs_nothing():
    """No language model, and no weights that might have to be fetched."""
    (start,) = re.findall(r"\A(.*?)^```python", README, flags=re.MULTILINE | re.DOTALL)
    first = blocks("python")[0]
    assert len((start + first).splitlines()) <= FIRST_SCREEN
    assert 'encoder="hash"' in first and 'synthesis="none"' in first


def test_every_command_is_one():
    known = typer.main.get_group(app).commands
    assert len(commands()) >= 5
    for name, *rest in commands():
        known[name].make_context(name, rest)  # a wrong option or a missing argument raises


@pytest.mark.slow
def test_the_commands_work_one_after_the_other(tmp_path, monkeypatch):
    """As they stand, but for the encoder, which shall need no weights, and with fewer runs of the program."""
    for folder in ("configs", "dspy_router"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    with DecisionLog("decisions.sqlite", mode="sync") as log:
        log.record(Episode({"question": "hello"}, decisions=(Decision(None, {}, 1.0, id="1"),)))
    quick = ["router.max_rollouts=200", "router.train.epochs=2"]
    changed = {"demo": ["--encoder", "hash"], "train": ["encoder.name=hash"], "optimize": quick}
    for arguments in commands():
        result = CliRunner().invoke(app, [*arguments, *changed.get(arguments[0], [])])
        assert result.exit_code == 0, result.output


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)`", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_what_it_points_to_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    configs = re.findall(r"configs/\w+\.yaml", README)
    assert links and configs
    assert not [path for path in {*links, *configs} if not (ROOT / path).exists()]


def test_the_tree_shows_every_file_of_the_package():
    (tree,) = blocks("")
    folders: list[str] = []
    shown = set()
    for line in tree.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name] if name.endswith("/") else []
        shown.add("".join([*folders[:depth], name]))
        assert len(line.split()) > 1, f"'{name}' has no caption"
    real = {str(path.relative_to(ROOT)) for path in (ROOT / "dspy_router").rglob("*.py") if path.name != "__init__.py"}
    assert real <= shown, f"not in the README's tree: {sorted(real - shown)}"
    assert not [path for path in shown if not (ROOT / path).exists()]
