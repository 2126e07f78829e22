"""The scores that `out_of_scope` compares, by hand, and the interval around their areas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.novelty_scores import Part, from_logits, from_training
from benchmarks.out_of_scope import area_interval
from dspy_router.evaluation.statistics import auroc


def part(texts, vectors, logits) -> Part:
    return Part(texts, torch.tensor(vectors), torch.tensor(logits))


# Two tools with three queries each, on the two axes of the plane; the first has one query to the side.
KNOWN = part(
    ["play music", "play songs", "some music", "rain today", "rain", "today"],
    [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]],
    [[4.0, 0.0, 0.0]] * 3 + [[0.0, 4.0, 0.0]] * 3,
)
LABELS = torch.tensor([0, 0, 0, 1, 1, 1])
ASKED = part(["play polka"], [[1.0, 0.0]], [[3.0, 1.0, 2.0]])


def test_scores_of_logits_by_hand():
    scores = {name: float(values[0]) for name, values in from_logits(ASKED).items()}
    assert scores == pytest.approx(
        {
            "1 − P(none) of the policy alone": math.log(math.e**3 + math.e) - 2,
            "energy, T = 1": math.log(math.e**3 + math.e),
            "energy, T = 1/2": math.log(math.e**6 + math.e**2) / 2,
            "largest logit": 3.0,
            "largest probability among the tools": 1 / (1 + math.e**-2),
        }
    )


def test_scores_against_the_training_queries_by_hand():
    """Cosines with the queries: 1, 1, 0.6, 0, 0, 0. The first tool's mean is (2.6, 0.8) / 3, its cosine 2.6 / √7.4."""
    scores = {name: float(score(ASKED)[0]) for name, score in from_training(KNOWN, LABELS).items()}
    assert scores["cosine with the 5th nearest query (Sun et al. 2022)"] == pytest.approx(0.0)
    assert scores["mean cosine with the 5 nearest queries"] == pytest.approx(2.6 / 5)
    assert scores["cosine with the nearest tool's mean query"] == pytest.approx(2.6 / math.sqrt(7.4))
    assert scores["cosine with the nearest tool's mean logits"] == pytest.approx(1.0)
    seen, unseen = math.log(7 / 3) + 1, math.log(7) + 1
    assert scores["share of words seen in training"] == pytest.approx(seen / (seen + unseen))


def test_a_query_in_the_middle_of_a_tool_is_nearer_than_one_away_from_all():
    near, far = ([[1.0, 0.05]], [[-1.0, -0.2]])
    for name, score in from_training(KNOWN, LABELS).items():
        if "Mahalanobis" in name:
            asked, strange = (score(part(["a"], vectors, [[1.0, 1.0, 1.0]]))[0] for vectors in (near, far))
            assert asked > strange


def test_a_tool_without_queries_takes_no_part():
    wider = Part(KNOWN.texts, KNOWN.vectors, torch.cat([KNOWN.logits[:, :2], torch.zeros(6, 2)], 1))
    asked = Part(ASKED.texts, ASKED.vectors, torch.tensor([[3.0, 1.0, 0.0, 2.0]]))
    for score in from_training(wider, LABELS).values():
        assert np.isfinite(score(asked)).all()


def test_the_interval_lies_around_the_area_and_narrows_with_more_rows():
    generator = np.random.default_rng(1)
    wide, narrow = ((generator.normal(1.5, size=n), generator.normal(size=n)) for n in (50, 800))
    widths = []
    for positive, negative in (wide, narrow):
        low, high = area_interval(positive, negative, resamples=300)
        area = auroc(np.concatenate([positive, negative]), np.arange(2 * len(positive)) < len(positive))
        assert low < area < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_ties_count_half_and_a_clean_separation_is_certain():
    assert area_interval(np.ones(9), np.ones(7)) == (0.5, 0.5)
    assert area_interval(np.ones(9), np.zeros(7)) == (1.0, 1.0)
