"""`dspy-router export`: the folder, what is said of it, and that the other commands read it."""

from __future__ import annotations

import json

import pytest
from exporting import trained
from routers import IDENTITY
from typer.testing import CliRunner

from dspy_router import ExportedRouter
from dspy_router.cli import app


@pytest.fixture
def saved(tmp_path) -> str:
    trained().save(tmp_path / "router")
    return str(tmp_path / "router")


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_a_router_is_exported_and_decides(saved, tmp_path):
    out = str(tmp_path / "out")
    shown = run("export", saved, out, "--quantize", "none")
    assert "Exported as fp32" in shown
    assert "100.0 %" in shown
    assert "8 texts, training queries" in shown
    decision = ExportedRouter.load(out).decide("seven plus twelve")
    assert json.loads(run("route", out, "seven plus twelve", "--json"))["tool"] == decision.tool
    assert "add_numbers" in run("tools", out)


def test_labelled_queries_and_json(saved, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in IDENTITY), encoding="utf-8")
    report = json.loads(run("export", saved, str(tmp_path / "out"), "--data", str(path), "--warn", "--json"))
    assert (report["precision"], report["texts"]) == ("int8", 8)
    assert len(report["accuracy"]) == 2
    assert json.loads(run("evaluate", str(tmp_path / "out"), "--data", str(path), "--json"))


def test_a_student_in_front_and_texts_without_labels(saved, tmp_path):
    trained("hash", dim=16).save(tmp_path / "student")
    (tmp_path / "fresh.txt").write_text(
        "".join(f"{word} {number}\n" for word in ("plus", "hour") for number in range(40))
    )
    arguments = ["--student", str(tmp_path / "student"), "--texts", str(tmp_path / "fresh.txt"), "--agreement", "0.5"]
    shown = run("export", saved, str(tmp_path / "out"), "--quantize", "none", *arguments)
    assert "decided by the student alone" in shown
    assert "on 80 texts; at least 50.0 % with 95.0 % confidence" in shown
    assert ExportedRouter.load(tmp_path / "out").student is not None


def test_a_mistake_writes_nothing(saved, tmp_path):
    assert "tolerance must be a share" in run("export", saved, str(tmp_path / "out"), "--tolerance", "3", code=1)
    assert not (tmp_path / "out").exists()


def test_explaining_takes_the_router_itself(saved, tmp_path):
    run("export", saved, str(tmp_path / "out"), "--quantize", "none")
    assert "ExportedRouter.load reads it" in run("explain", str(tmp_path / "out"), "seven plus twelve", code=1)
