"""The command line on a tiny router: what it prints, as tables and as JSON, and how it reports a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toolbelt
import yaml
from typer.testing import CliRunner

from dspy_router import Router, ToolCard
from dspy_router.cli import app

CARDS = [
    ToolCard("add_numbers", "Add numbers and give their sum."),
    ToolCard("local_time", "Tell the time of day in a city.", {"properties": {"city": {"type": "string"}}}),
    ToolCard("convert_units", "Convert miles to kilometers [km] and other units."),
]
ROWS = [
    {"query": "add the numbers two and three", "tool": "add_numbers"},
    {"query": "give the sum of these numbers", "tool": "add_numbers"},
    {"query": "what time is it in the city of Oslo", "tool": "local_time"},
    {"query": "tell me the time of day", "tool": "local_time"},
    {"query": "convert ten miles to kilometers", "tool": "convert_units"},
    {"query": "other units for three miles", "tool": "convert_units"},
    {"query": "sing a song about love", "tool": None},
    {"query": "write me a poem", "tool": None},
]


def write_lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("router") / "saved"
    Router.from_tools(CARDS, encoder="hash").save(folder)
    return str(folder)


@pytest.fixture
def queries(tmp_path) -> str:
    return write_lines(tmp_path / "queries.jsonl", ROWS)


def run(*arguments: str, code: int = 0) -> str:
    """Run the command line and give back what it wrote to stdout, or to stderr where it fails."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    if code:
        assert "Traceback" not in result.stderr
    return result.stderr if code else result.stdout


def test_route_as_json_is_the_routers_own_decision(saved):
    text = "what time is it in Oslo"
    data = json.loads(run("route", saved, text, "--json"))
    decision = Router.load(saved).decide(text)
    assert data == {**decision.to_dict(), "confidence": decision.confidence}
    assert data["tool"] == "local_time"


def test_route_shows_the_options(saved):
    shown = run("route", saved, "what time is it in Oslo")
    assert all(card.name in shown for card in CARDS)
    assert "(none)" in shown


def test_evaluate_as_json(saved, queries):
    data = json.loads(run("evaluate", saved, "--data", queries, "--json"))
    assert data["n"] == len(ROWS)
    assert {"accuracy", "macro_f1", "per_tool", "none", "top_k", "calibration_error", "latency_ms"} <= set(data)


def test_evaluate_reads_several_files_and_shows_every_figure(saved, queries):
    shown = run("evaluate", saved, "--data", queries, "--data", queries)
    assert str(2 * len(ROWS)) in shown
    for figure in ("accuracy", "95 % interval", "macro-F1", "none: recall", "calibration error", "p95"):
        assert figure in shown
    assert all(card.name in shown for card in CARDS)


def test_tools_lists_every_card_as_it_is_written(saved):
    shown = " ".join(run("tools", saved).split())
    assert all(card.name in shown for card in CARDS)
    assert "[km]" in shown  # not taken for markup
    assert "city" in shown


@pytest.fixture
def config(tmp_path, queries) -> str:
    write_lines(tmp_path / "cards.jsonl", [card.to_dict() for card in CARDS])
    path = tmp_path / "run.yaml"
    settings = {
        "tools": str(tmp_path / "cards.jsonl"),
        "data": {"train": [queries], "val": [queries]},
        "encoder": {"name": "hash"},
        "train": {"epochs": 2},
        "output": str(tmp_path / "out"),
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(path)


def test_train_saves_a_router_and_explain_shows_its_training_queries(config, tmp_path):
    shown = run("train", config, "train.epochs=30", "threshold=0.25")
    assert "dspy-router route" in shown  # what to type next
    assert "Validation" in shown
    router = Router.load(tmp_path / "out")
    assert router.threshold == 0.25
    explained = run("explain", str(tmp_path / "out"), "what time is it in the city of Oslo")
    assert "local_time" in explained
    assert "what time is it in the city of Oslo" in " ".join(explained.split())


def test_train_takes_tools_by_module_and_attribute(config, tmp_path, monkeypatch):
    functions = "".join(f"def {card.name}():\n    'About {card.name}.'\n" for card in CARDS)
    names = ", ".join(card.name for card in CARDS)
    (tmp_path / "my_tools.py").write_text(f"{functions}TOOLS = [{names}]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run("train", config, "tools=my_tools:TOOLS", "train.epochs=1")
    assert Router.load(tmp_path / "out").tools == ("add_numbers", "local_time", "convert_units")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.epoch=3"], "section train: unknown key 'epoch' (did you mean 'epochs'?)"),
        (["train.epochs=many"], "'epochs' should be a valid integer, got 'many' (str)"),
        (["treshold=1"], "unknown key 'treshold' (did you mean 'threshold'?)"),
        (["epochs"], "Expected key=value"),
        (["data.train=[nowhere.jsonl]"], "There is no file 'nowhere.jsonl'"),
        (["tools=dspy_router.tables:share"], "must name a list of tools"),
        (["tools=dspy_router.tables:shar"], "has no 'shar'; did you mean 'share'?"),
        (["tools=no_such_module:TOOLS"], "no_such_module"),
        (["encoder.options.dmi=3"], "dmi"),
    ],
)
def test_a_mistake_in_a_run_is_one_sentence(config, overrides, message):
    shown = run("train", config, *overrides, code=1)
    assert message in shown
    assert shown.startswith("Error: ")


@pytest.fixture
def optimization(tmp_path) -> str:
    """The toolbelt's agent, which hashes words and asks no language model; the labels are left out."""
    rows = [{"question": q, "tool": tool, "answer": answer} for q, tool, answer in toolbelt.LABELLED]
    settings = {
        "program": "rollout_programs:agent",
        "metric": "rollout_programs:hit",
        "data": {
            "train": [write_lines(tmp_path / "rows.jsonl", rows)],
            "inputs": ["question"],
            "without": ["tool"],
        },
        "router": {"train": {"epochs": 4, "progress": False}, "num_threads": 1},
        "output": str(tmp_path / "out"),
    }
    path = tmp_path / "optimize.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(path)


def test_optimize_shows_what_was_learned_and_what_to_type_next(optimization, tmp_path):
    shown = run("optimize", optimization)
    for word in ("learned from", "rewards", "rollouts", "LM calls", "lost by routing", "Tries of each tool"):
        assert word in shown
    assert "program = agent(); program.load(" in shown
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        "program.json", "report.json", "learning_curve.png", "credit_split.png", "per_tool_reward.png",
    }  # fmt: skip


def test_optimize_as_json_is_the_report(optimization, tmp_path):
    told = json.loads(run("optimize", optimization, "router.train.epochs=3", "plots=null", "--json"))
    assert told == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert told["judged_by"] == "metric"
    assert len(told["training"]["epochs"]) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["program=rollout_programs"], "program: expected module:attribute"),
        (["program=rollout_programs:agnet"], "has no 'agnet'; did you mean 'agent'?"),
        (["metric=rollout_programs:ROOT"], "metric: 'rollout_programs:ROOT' must name a function"),
        (["metric=no_such_module:hit"], "no_such_module"),
        (["data.train=[nowhere.jsonl]"], "There is no file 'nowhere.jsonl'"),
        (["router.train.epoch=3"], "section router.train: unknown key 'epoch' (did you mean 'epochs'?)"),
    ],
)
def test_a_mistake_in_an_optimization_is_one_sentence(optimization, overrides, message):
    shown = run("optimize", optimization, *overrides, code=1)
    assert message in shown
    assert shown.startswith("Error: ")


def test_other_mistakes(saved, queries, tmp_path):
    assert "nowhere" in run("route", "nowhere", "text", code=1)
    assert "empty" in run("route", saved, "", code=1)
    wrong = write_lines(tmp_path / "wrong.jsonl", [{"query": "x", "tool": "local_tim"}])
    assert "'local_tim' (did you mean 'local_time'?)" in run("evaluate", saved, "--data", wrong, code=1)


@pytest.mark.parametrize("arguments", [["train"], ["route", "x"], ["rout"], ["evaluate", "x"]])
def test_wrong_usage_exits_with_2(arguments):
    run(*arguments, code=2)


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(app, ["--debug", "route", "nowhere", "text"])
    assert isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit)


def test_the_installed_command(saved):
    script = Path(sys.executable).with_name("dspy-router")
    shown = subprocess.run([script, "route", saved, "add the numbers", "--json"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["tool"] == "add_numbers"
    wrong = subprocess.run([script, "route", "nowhere", "text"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("Error: ")
