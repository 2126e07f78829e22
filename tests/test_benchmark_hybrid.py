"""The benchmark of router and recorded model together: what is kept, what the model alone is held against."""

from __future__ import annotations

import numpy as np

from benchmarks.candidates import Choices
from benchmarks.hybrid import Pair, _beside, _pairs
from benchmarks.zeroshot import Question

# Twenty questions of each kind: the router tells all of them apart, but errs on every fifth of those that are scored.
KINDS = ["simple_python"] * 20 + ["multiple"] * 20 + ["irrelevance"] * 20
QUESTIONS = [Question(str(row), kind, "", (), frozenset()) for row, kind in enumerate(KINDS)]
NONE = np.array([kind == "irrelevance" for kind in KINDS])
ODDS = np.where(NONE, -2.0, 2.0) * np.linspace(0.5, 1.5, 60)
CHOICES = Choices(ODDS, ~NONE & ((np.arange(60) % 5 > 0) | (np.arange(60) < 20)), NONE)


def test_a_model_that_is_never_wrong_keeps_all_its_questions():
    pair = _pairs(QUESTIONS, CHOICES, {"perfect": np.ones(60, dtype=bool)}, seed=0)["perfect"]
    assert not pair.kept.any()
    assert pair.together.all()
    assert not pair.holds  # nothing was saved


def test_a_model_that_is_never_right_is_asked_nothing():
    pair = _pairs(QUESTIONS, CHOICES, {"hopeless": np.zeros(60, dtype=bool)}, seed=0)["hopeless"]
    assert pair.kept.all()
    assert pair.holds
    assert pair.together.sum() == 16 + 10  # four of twenty wrong on multiple, none on the scored half of irrelevance


def test_only_multiple_and_half_of_irrelevance_are_scored():
    alone = np.array([kind == "multiple" for kind in KINDS])
    pair = _pairs(QUESTIONS, CHOICES, {"names only": alone}, seed=3)["names only"]
    assert (len(pair.alone), int(pair.alone.sum())) == (30, 20)


def test_the_paired_test_counts_what_one_of_the_two_gets_right():
    alone, together = np.array([True] * 4 + [False] * 6), np.array([False] + [True] * 9)
    figure = _beside("some", Pair(alone, together, np.ones(10, dtype=bool)))
    assert figure.baselines == {"the model alone": 0.4}
    assert figure.value == 0.9
    # Six gained, one lost: P(at most one of seven, or at least six) at ½ = 2 · 8 / 128.
    assert "6 gained, 1 lost, p = 0.12" in figure.note
