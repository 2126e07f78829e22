"""The benchmark of the guarantee: its hindsight, its baselines and its chances, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks.guarantee import GuaranteeConfig, Remembered, _bars, _best, _guarantee, _on_test, _pointwise, _risk
from dspy_router.routing.trust.candidates import Sample


def sample(wrong: list[int]) -> Sample:
    """Decisions in descending order of their scores."""
    n = len(wrong)
    hits = ~np.array(wrong, dtype=bool)
    scores = np.arange(n, 0, -1).astype(float)
    return Sample(np.zeros((n, 2)), np.zeros(n, dtype=np.int64), scores, np.stack([hits, ~hits], axis=1), hits, ("a",))


def test_the_best_in_hindsight():
    """1 wrong of 4 meets 25 %, 2 of 5 does not, 2 of 8 does again."""
    one = sample([0, 0, 1, 0, 1, 0, 0, 0, 1])
    assert _best(one.scores, ~one.hits, 0.25) == pytest.approx(8 / 9)
    assert _best(one.scores, ~one.hits, 0.0) == pytest.approx(2 / 9)
    assert _best(one.scores[2:3], ~one.hits[2:3], 0.5) == 0.0


def test_the_bar_that_just_meets_the_risk_and_the_certified_one():
    one = sample([0] * 70 + [1] * 10)
    certified, empirical = _bars(one, np.arange(80), 0.05, 0.95)
    assert (one.scores >= empirical).sum() == 73  # 3 wrong of 73 is 4.1 %, 4 of 74 is 5.4 %
    assert (one.scores >= certified).sum() == 70  # with 0 of 70 the chance is 0.028, with 1 of 71 already 0.124
    assert _risk(one, ~one.hits, empirical) == pytest.approx(3 / 73)
    assert _risk(one, ~one.hits, math.inf) == 0.0


def test_each_threshold_as_the_only_one_is_never_below_a_search():
    one = sample([0] * 20 + [1] + [0] * 200)
    certified, _ = _bars(one, np.arange(221), 0.05, 0.95)
    assert _pointwise(one.scores, ~one.hits, 0.05, 0.05) == 1.0
    assert (one.scores >= certified).mean() <= 1.0


def test_how_probable_a_bad_test_half_is():
    """Of the first four one is wrong, and 25 % of all: P(more than 1 wrong of 4) at 25 % is 0.2617."""
    one = sample([0, 1, 0, 0, 0, 1, 0, 0])
    above, chance = _on_test(one, ~one.hits, np.arange(4), 0.0, 0.25)
    assert (above, chance) == (False, pytest.approx(float(binom.sf(1, 4, 0.25))))
    assert _on_test(one, ~one.hits, np.arange(4), 0.0, 0.2) == (True, pytest.approx(float(binom.sf(0, 4, 0.25))))
    assert _on_test(one, ~one.hits, np.arange(4), math.inf, 0.2) == (False, 0.0)


def test_its_figures_on_a_task_whose_truth_is_known():
    draw = np.random.default_rng(0)
    one = sample((draw.random(600) < np.linspace(0, 0.3, 600)).astype(int).tolist())
    violated, gap, exceeded = _guarantee(one, 0.05, GuaranteeConfig(splits=40), 0, {"data": "x", "split": "val"})
    assert violated.reached
    (empirical,) = violated.baselines.values()
    assert empirical > 0.25
    assert 0 < gap.value < gap.baselines["coverage in hindsight"]
    assert exceeded.n == 40


def test_remembered_logits_are_the_routers():
    class Router:
        tools = ("a",)

        def logits(self, texts):
            return torch.tensor([[float(len(text)), 0.0] for text in texts])

    router = Router()
    assert Remembered(router, ["x", "yy"]).logits(["yy", "x", "yy"])[:, 0].tolist() == [2.0, 1.0, 2.0]  # pyright: ignore
