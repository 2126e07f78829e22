"""The command line's learn and rollback, on a real log and a real router's folder."""

from __future__ import annotations

import json

import pytest
from routers import hash_router
from test_loop import QUICK, log
from typer.testing import CliRunner

from dspy_router import Router
from dspy_router.cli import app
from dspy_router.data.log import DecisionLog
from dspy_router.learning.versions import Versions

FAST = f"epochs={QUICK.epochs}"


@pytest.fixture
def home(tmp_path):
    hash_router().save(tmp_path / "router")
    with DecisionLog(tmp_path / "decisions.sqlite", mode="sync") as opened:
        for episode in log(40):
            opened.record(episode)
    return tmp_path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_challenger_takes_over_and_can_be_taken_back(home):
    folder = home / "router"
    before = Router.load(folder).fingerprint
    code, output = call("learn", home / "decisions.sqlite", "--router", folder, FAST)
    assert code == 0, output
    assert "Challenger against champion" in output
    assert "as version 2" in output
    assert Router.load(folder).decide("tally item900 please").tool == "add_numbers"
    code, output = call("rollback", folder)
    assert (code, Router.load(folder).fingerprint) == (0, before)
    code, output = call("rollback", folder, "--list", "--json")
    assert json.loads(output)["current"] == 1
    assert [one["number"] for one in json.loads(output)["versions"]] == [1, 2]


def test_a_dry_run_and_a_refusal_leave_the_router_in_use(home):
    folder = home / "router"
    before = Router.load(folder).fingerprint
    code, output = call("learn", home / "decisions.sqlite", "--router", folder, FAST, "--dry-run")
    assert code == 0
    assert "would take over" in output
    code, output = call("learn", home / "decisions.sqlite", "--router", folder, FAST, "--max-risk", "0.0001", "--json")
    assert code == 0
    told = json.loads(output[output.index("{") :])
    assert not told["promote"]
    assert told["version"] is None
    assert "guarantee could not be certified" in told["reasons"][0]
    assert Router.load(folder).fingerprint == before
    assert Versions(folder).all == []


def test_mistakes_are_one_sentence(home):
    code, output = call("learn", home / "nothing.sqlite", "--router", home / "router")
    assert code == 1
    assert "nothing.sqlite" in output
    code, output = call("learn", home / "decisions.sqlite", "--router", home / "router", "epoch=3")
    assert code == 1
    assert "did you mean 'epochs'" in output
    code, output = call("rollback", home / "router", "--to", "9")
    assert code == 1
    assert "no version 9" in output
