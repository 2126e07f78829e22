"""What a rollout earned: how a metric's answer is read, and which failure a step tells of."""

from __future__ import annotations

from types import SimpleNamespace

import dspy
import numpy as np
import pytest
import torch

from dspy_router import Step
from dspy_router.program.tuning.rewards import Rollout, Spent, failed_call, read_score


@pytest.mark.parametrize(
    ("answer", "score", "feedback"),
    [
        (1, 1.0, ""),
        (True, 1.0, ""),
        (-0.25, -0.25, ""),
        (np.bool_(True), 1.0, ""),
        (np.float32(0.5), 0.5, ""),
        (torch.tensor(2), 2.0, ""),
        (dspy.Prediction(score=0.5, feedback="too long"), 0.5, "too long"),
        (dspy.Prediction(score=False), 0.0, ""),
        (dspy.Prediction(score=1, feedback=None), 1.0, ""),
        (SimpleNamespace(score=0.75), 0.75, ""),
        ({"score": 0.5, "feedback": "too short"}, 0.5, "too short"),
    ],
)
def test_a_score_is_read(answer, score, feedback):
    read = read_score(answer)
    assert read == (score, feedback)
    assert type(read[0]) is float


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (None, TypeError, "got NoneType: None. Does it return on every path"),
        ("0.5", TypeError, "must give a number.*got str: '0.5'"),
        (1j, TypeError, "got complex"),
        (dspy.Prediction(score="high"), TypeError, "got str: 'high'"),
        (dspy.Prediction(answer="4"), TypeError, "got Prediction"),
        ({"feedback": "good"}, TypeError, "got NoneType"),
        ([0.5], TypeError, "got list"),
        (float("nan"), ValueError, "finite number; got nan"),
        (dspy.Prediction(score=float("-inf")), ValueError, "got -inf"),
    ],
)
def test_what_is_no_score_is_refused(answer, error, message):
    with pytest.raises(error, match=message):
        read_score(answer)


@pytest.mark.parametrize(
    ("steps", "failure"),
    [
        ((), None),
        ((Step("a", result=1),), None),
        ((Step("a", error="ArithmeticError: no root"),), "tool"),
        ((Step("a", error="ArgumentError: not filled", filled_by="lm"),), "arguments"),
        ((Step("a", error="ArithmeticError: no root"), Step("b", result=1)), None),
    ],
)
def test_a_failed_call_is_told_from_an_unfilled_one(steps, failure):
    assert failed_call(steps).get("failure") == failure


def test_an_unknown_cost_makes_the_sum_unknown():
    spent = Spent(max_rollouts=3)
    for cost in (0.5, 0.25):
        spent.add(Rollout("e", None, "p", 1.0, cost=cost))
    assert (spent.cost, spent.rollouts_left) == (0.75, 1)
    spent.add(Rollout("e", None, "p", None, failure="program", lm_calls=2))
    assert (spent.cost, spent.lm_calls, spent.errors, spent.exhausted) == (None, 2, 1, True)
