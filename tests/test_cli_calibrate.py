"""`dspy-router calibrate`: what it prints, draws and saves, and that a mistake leaves the router as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from uncertain import rows, trained

from dspy_router import Router
from dspy_router.cli import app


@pytest.fixture
def saved(tmp_path) -> str:
    trained().save(tmp_path / "router")
    return str(tmp_path / "router")


@pytest.fixture
def queries(tmp_path) -> str:
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(300, seed=2)), encoding="utf-8")
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["calibrate", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_the_saved_router_is_calibrated(saved, queries):
    shown = run(saved, "--data", queries, "--max-risk", "0.1", "--confidence", "0.9")
    router = Router.load(saved)
    assert router.calibration is not None
    assert router.stale is None
    (certificate,) = router.calibration.certificates
    assert (certificate.max_risk, certificate.confidence) == (0.1, pytest.approx(0.9))
    assert f"{certificate.kept} of 300" in shown
    assert "calibration error" in shown
    assert f"Saved the calibrated router to {saved}." in shown.replace("\n", "")


def test_what_is_missing_is_said(saved, queries):
    shown = run(saved, "--data", queries, "--max-risk", "0.1", "--per-tool", "clock=0.001")
    assert "clock" in shown and "all others" in shown
    assert "0.1 %" in shown
    assert "needed" in shown or "too many errors" in shown


def test_as_json_with_pictures(saved, queries, tmp_path):
    folder = tmp_path / "plots"
    data = json.loads(run(saved, "--data", queries, "--costs", "10", "1", "--plots", str(folder), "--json"))
    assert data["costs"]["always_asking"] == 1.0
    assert data["examples"] == 300
    assert [Path(file).name for file in data["files"]] == ["reliability.png", "risk_coverage.png"]
    assert all(Path(file).read_bytes().startswith(b"\x89PNG") for file in data["files"])


def test_training_queries_are_refused_or_dropped(saved, queries, tmp_path):
    path = tmp_path / "seen.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(5, seed=1)), encoding="utf-8")
    assert "trained on 5 of the 305" in run(saved, "--data", queries, "--data", str(path), code=1)
    shown = run(saved, "--data", queries, "--data", str(path), "--seen", "drop")
    assert "300 (5 that it was trained on left out)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-risk", "2"), "Did you mean 0.02"),
        (("--per-tool", "clock"), "takes NAME=SHARE, such as transfer_money=0.005; got 'clock'"),
        (("--per-tool", "clok=0.1"), "Did you mean 'clock'"),
        (("--max-risk", "0.005"), "it takes at least 598"),
    ],
)
def test_a_mistake_leaves_the_router_as_it_was(saved, queries, arguments, message):
    before = {path.name: path.read_bytes() for path in Path(saved).iterdir()}
    assert message in run(saved, "--data", queries, *arguments, code=1)
    assert {path.name: path.read_bytes() for path in Path(saved).iterdir()} == before
