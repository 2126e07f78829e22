"""The command line's compare: tables, files, what to do about a stop, and mistakes named before anything is run."""

from __future__ import annotations

import json
from pathlib import Path

import dspy
import pytest
import yaml
from contenders import play
from test_cli import run
from toolbelt import examples

from benchmarks.loopback import Loopback

MODULE = """
import dspy
from contenders import is_right as metric
from toolbelt import TOOLS, small_router
from dspy_router import NativeToolLoop, RoutedAgent

def routed(synthesis="result"):
    return RoutedAgent("question -> answer", TOOLS, router=small_router(), synthesis=synthesis, fallback=None)

def native():
    return NativeToolLoop("question -> answer", TOOLS)

def broken():
    return 3

def interrupted():
    class Interrupted(dspy.Module):
        def forward(self, question):
            if "house" in question:
                raise KeyboardInterrupt
            return dspy.Prediction(answer="x")
    return Interrupted()
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "contest.py").write_text(MODULE, encoding="utf-8")
    devset = tmp_path / "devset.jsonl"
    devset.write_text("".join(json.dumps(dict(one.items())) + "\n" for one in examples()), encoding="utf-8")

    def write(**changes) -> str:
        settings = {
            "programs": [{"name": "none", "make": "contest:routed", "options": {"synthesis": "none"}}],
            "metric": "contest:metric",
            "data": {"files": [str(devset)], "inputs": ["question"]},
            "output": "out",
            "num_threads": 1,
            **changes,
        }
        Path("compare.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return "compare.yaml"

    return write


def test_without_a_language_model(config):
    shown = run("compare", config())
    assert "Quality, with 95 % intervals" in shown and "right tool" in shown
    assert "Wrote out/runs.jsonl, out/programs.jsonl, out/quality_cost.png, out/comparison.json" in " ".join(
        shown.split()
    )
    rows = [json.loads(line) for line in Path("out/programs.jsonl").read_text().splitlines()]
    assert [(row["name"], row["lm_calls"]) for row in rows] == [("none", 0.0)]
    assert len(Path("out/runs.jsonl").read_text().splitlines()) == len(examples())


def test_with_one_over_the_wire(config):
    with Loopback(play) as server:
        path = config(
            programs=[
                {"name": "loop", "make": "contest:native"},
                {"name": "routed", "make": "contest:routed", "options": {"synthesis": "result"}},
            ],
            lm="openai/gpt-4o-mini",
            lm_options={"api_base": server.url, "api_key": "none", "cache": False},
            adapter="ChatAdapter",
            adapter_options={"use_native_function_calling": True},
            max_usd=1.0,
            plots="svg",
        )
        told = json.loads(run("compare", path, "--json"))
        asked = len(server.requests)
        shown = run("compare", path)
        assert len(server.requests) == asked  # all was known
    loop, routed = told["programs"]
    assert (loop["score"], routed["lm_calls"]) == (1.0, 1.0)
    assert asked == round(len(examples()) * (loop["lm_calls"] + routed["lm_calls"]))
    assert told["spent"] == pytest.approx(loop["dollars"] + routed["dollars"])
    assert "out/context_growth.svg" in told["files"]
    assert all(Path(path).is_file() for path in told["files"])
    assert "Tokens of the prompt by call" in shown


def test_an_interrupt_shows_what_was_done_and_says_how_to_go_on(config):
    shown = run("compare", config(programs=[{"name": "a", "make": "contest:interrupted"}]), code=130)
    assert "Stopped after 5 of 14 runs: interrupted. The same command goes on from there." in shown
    assert len(Path("out/runs.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"programs": [{"name": "a", "make": "contest:routde"}]},
            "the program 'a': the module 'contest' has no 'routde'",
        ),
        ({"programs": [{"name": "a", "make": "contest:broken"}]}, "The program 'a' must be a dspy.Module; got int"),
        ({"programs": [{"name": "a", "make": "contest:routed"}] * 2}, "Two programs are called 'a'"),
        ({"metric": "contest"}, "metric: expected module:attribute"),
        (
            {"data": {"files": ["devset.jsonl"], "inputs": ["query"]}},
            "object 1 lacks the input 'query'; it has 'question'",
        ),
        ({"data": {"files": ["missing.jsonl"], "inputs": ["query"]}}, "missing.jsonl"),
        ({"adapter": "ChatAdaptor"}, "DSPy has no adapter 'ChatAdaptor'; did you mean 'ChatAdapter'?"),
        ({"plots": "jpg2"}, "cannot be saved in the format 'jpg2'"),
        ({"max_usd": -1}, "max_usd must be a positive number"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_run(config, changes, message):
    with dspy.context(lm=None):
        assert message in run("compare", config(**changes), code=1)
    assert not Path("out/programs.jsonl").exists()
