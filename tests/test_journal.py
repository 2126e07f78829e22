"""The file of rollouts: a killed run loses no finished one, and damage is named."""

from __future__ import annotations

import json

import pytest

from dspy_router.program.tuning.journal import Journal
from dspy_router.program.tuning.rewards import Rollout

ROLLOUTS = [
    Rollout("e1", "opening_hours", "p", 1.0, feedback="gut – très bien", lm_calls=2, cost=0.25, seconds=0.5),
    Rollout("e2", None, "p", 0.0, failure="tool", error="ArithmeticError: no\nroot"),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    journal = Journal(path, Rollout, metric="a.metric")
    for rollout in ROLLOUTS:
        journal.append(rollout)
    return path


def test_what_was_appended_is_read_back(path):
    assert Journal(path, Rollout, metric="a.metric").read() == ROLLOUTS
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(ROLLOUTS)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_half_written_last_line_is_dropped_and_the_next_one_is_whole(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path, Rollout, metric="a.metric")
    assert journal.read() == ROLLOUTS[:1]
    journal.append(ROLLOUTS[1])
    assert Journal(path, Rollout, metric="a.metric").read() == ROLLOUTS


def test_a_file_with_nothing_but_a_half_line_is_empty(path):
    path.write_bytes(path.read_bytes()[:10])
    assert Journal(path, Rollout, metric="a.metric").read() == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize("line", ["{]", "[]", "{}", '{"metric": "a.metric", "example": "e"}', "\x00\x00"])
def test_a_damaged_line_is_named(path, line):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], line, lines[1], ""]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"rollouts\.jsonl, line 2 is no rollout"):
        Journal(path, Rollout, metric="a.metric").read()


def test_a_score_that_is_no_number_is_damage_too(path):
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    path.write_text(json.dumps({**row, "score": "high"}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1 is no rollout"):
        Journal(path, Rollout, metric="a.metric").read()


def test_scores_of_another_metric_are_refused(path):
    with pytest.raises(ValueError, match=r"line 1 was scored by the metric 'a\.metric', not by 'another\.metric'"):
        Journal(path, Rollout, metric="another.metric").read()
