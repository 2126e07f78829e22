"""The command line on a decision log: what it prints, what it writes, and how it reports a mistake."""

from __future__ import annotations

import json

import pytest
from episodes import decided, episode
from typer.testing import CliRunner

from dspy_router import Router, ToolCard
from dspy_router.cli import app
from dspy_router.data.datasets import read_examples
from dspy_router.data.log import DecisionLog
from dspy_router.data.log_reader import LogReader


def run(*arguments: str, code: int = 0, env: dict[str, str] | None = None) -> str:
    result = CliRunner().invoke(app, ["log", *arguments], env=env)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


@pytest.fixture
def path(tmp_path) -> str:
    path = tmp_path / "decisions.sqlite"
    with DecisionLog(path, mode="sync") as log:
        log.record(episode("what is [bold] two and three", decided("add", id="d0")), shadow=decided("clock", id=None))
        log.record(episode("late?", decided("clock", 0.5, id="d1", source="lm", accepted=False)))
        log.record(episode("write a poem", decided(None, id="d2")))
    return str(path)


def test_stats_as_a_table_and_as_json(path):
    shown = run("stats", "--log", path)
    for figure in ("decisions", "by the lm", "66.7 %", "0.0 % of 1", "clock"):
        assert figure in shown
    told = json.loads(run("stats", "--log", path, "--json"))
    assert told == LogReader.open(path).stats().to_dict()


def test_the_log_may_be_named_by_the_environment(path):
    assert json.loads(run("stats", "--json", env={"DSPY_ROUTER_LOG": path}))["decisions"] == 3


def test_tail_shows_the_last_ones(path):
    shown = " ".join(run("tail", "--log", path, "-n", "2").split())
    assert "late?" in shown and "50.0 % ?" in shown and "(none)" in shown
    assert "two and three" not in shown
    rows = [json.loads(line) for line in run("tail", "--log", path, "--json").splitlines()]
    assert [row["id"] for row in rows] == ["d0", "d1", "d2"]
    assert "[bold]" in run("tail", "--log", path)  # not taken for markup


def test_a_label_and_a_reward_are_joined_and_what_has_them_is_exported(path, tmp_path):
    run("label", "d1", "clock", "search", "--log", path)
    run("label", "d2", "--none", "--log", path)
    assert "-0.5" in run("reward", "d0", "-0.5", "--log", path)
    run("reward", "--log", path, "d0", "1", "--replace")
    assert [one.reward for one in LogReader.open(path).episodes()] == [1.0, None, None]
    assert "2 episodes" in run("export", str(tmp_path / "rows.jsonl"), "--labelled", "--log", path)
    assert [one.labels for one in read_examples(tmp_path / "rows.jsonl")] == [(("clock", "search"),), ((),)]
    assert "1 episode to" in run("export", str(tmp_path / "lm.jsonl"), "--source", "lm", "--log", path)
    assert "0 episodes" in run("export", str(tmp_path / "late.jsonl"), "--since", "2999-01-01", "--log", path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "d1"], "A label names at least one tool, or says --none"),
        (["label", "d1", "add", "--none"], "expected one of the two"),
        (["label", "d1", "clok"], "Did you mean 'clock'?"),
        (["reward", "d9", "1"], "There is no decision 'd9' in the log"),
        (["reward", "d0", "nan"], "A reward must be a finite number"),
    ],
)
def test_a_mistake_is_one_sentence(path, arguments, message):
    shown = run(*arguments, "--log", path, code=1)
    assert shown.startswith("Error: ")
    assert message in shown


def test_a_slip_in_the_name_begins_no_new_log(tmp_path):
    for arguments in (["stats"], ["tail"], ["export", "x"], ["reward", "d0", "1"], ["label", "d0", "add"]):
        assert "There is no decision log" in run(*arguments, "--log", str(tmp_path / "nowhere"), code=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["stats"], ["tail", "-n", "0"], ["reward", "d0", "much"], ["export", "--source", "x"]]
)
def test_wrong_usage_exits_with_2(path, arguments):
    named = [] if arguments == ["stats"] else ["--log", path]
    run(*arguments, *named, code=2)


class TestDrift:
    CARDS = (ToolCard("add", "Add numbers."), ToolCard("clock", "Tell the time."), ToolCard("search", "Search."))

    @pytest.fixture
    def checked(self, tmp_path):
        """Two hundred kept decisions of a router, of which every fifth turned out wrong, and some of another's."""
        path, router = tmp_path / "log", Router.from_tools(self.CARDS, encoder="hash")
        router.save(tmp_path / "router")
        with DecisionLog(path) as log:
            for number in range(200):
                one = decided("add", 0.9)
                log.record(episode("x", one), router=router.fingerprint)
                log.label(str(one.id), "add" if number % 5 else "clock")
            for _ in range(100):
                log.record(episode("x", decided("add", 0.5)), router="another")
        return str(path)

    def test_an_alarm_is_seen_by_the_exit_code_too(self, checked):
        result = CliRunner().invoke(app, ["log", "drift", "--log", checked, "--max-risk", "0.02"])
        assert result.exit_code == 3
        shown = " ".join(result.stdout.split())
        assert "errors among kept decisions" in shown and "Calibrate anew" in shown

    def test_only_the_routers_own_decisions_against_those_on_the_data(self, checked, tmp_path):
        rows = [{"query": f"add {number} numbers", "tool": "add"} for number in range(30)]
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        arguments = ["drift", "--log", checked, "--router", str(tmp_path / "router"), "--max-risk", "0.3", "--json"]
        told = json.loads(run(*arguments))
        assert told["alarm"] == []
        seen = {finding["subject"]: finding for finding in told["findings"]}
        assert (seen["risk"]["seen"], seen["risk"]["value"], seen["escalated"]["seen"]) == (200, 0.2, 200)
        beside = CliRunner().invoke(app, ["log", *arguments, "--data", str(data)])
        told = json.loads(beside.stdout)
        # The rows of the log are made up: this router is never that sure of anything, or always surer.
        assert (told["alarm"], beside.exit_code) == (["confidence"], 3)
        assert {finding["subject"]: finding for finding in told["findings"]}["escalated"]["reference"] == 0.0

    @pytest.mark.parametrize(
        ("asked", "reference"),
        [({"max_risk": 0.3, "per_tool": {"clock": 0.2}}, [0.3]), ({"per_tool": {"clock": 0.3}}, [])],
    )
    def test_what_the_router_guarantees_for_all_is_what_is_watched(self, tmp_path, asked, reference):
        router = Router.from_tools(self.CARDS, encoder="hash")
        texts = {"add": "add numbers {}", "clock": "tell the time {}"}
        router.calibrate(
            [{"query": text.format(n), "tool": tool} for tool, text in texts.items() for n in range(40)], **asked
        )
        router.save(tmp_path / "router")
        with DecisionLog(tmp_path / "log") as log:
            log.record(episode("x", decided("add", 0.9)), router=router.fingerprint)
        told = json.loads(run("drift", "--log", str(tmp_path / "log"), "--router", str(tmp_path / "router"), "--json"))
        risks = [finding["reference"] for finding in told["findings"] if finding["subject"] == "risk"]
        assert risks == reference

    def test_data_needs_a_router(self, checked):
        assert "needs that --router" in run("drift", "--log", checked, "--data", "x.jsonl", code=1)
