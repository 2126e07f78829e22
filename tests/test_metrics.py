"""A router's figures, against arithmetic by hand, scipy and scikit-learn."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from dspy_router.evaluation.metrics import evaluate, measure_latency, score_options, top_k_accuracy
from dspy_router.evaluation.statistics import wilson_interval
from dspy_router.records import Decision, Episode


class TableRouter:
    """Decides what a table says, and counts its single decisions."""

    tools = ("add", "clock", "units")

    def __init__(self, table: dict[str, tuple[str | None, float, bool]]):
        self.table = table
        self.single_calls = 0

    def _look_up(self, text: str) -> Decision:
        tool, confidence, accepted = self.table[text]
        # What is left is shared by the other options: the tools and none.
        rest = (1 - confidence) / len(self.tools)
        probabilities = {name: confidence if name == tool else rest for name in self.tools}
        return Decision(tool, probabilities, confidence if tool is None else rest, accepted)

    def decide(self, text: str) -> Decision:
        self.single_calls += 1
        return self._look_up(text)

    def decide_batch(self, texts):
        return [self._look_up(text) for text in texts]


ROUTER = TableRouter(
    {
        "2 + 3": ("add", 0.9, True),
        "time in Oslo": ("add", 0.4, False),
        "3 miles in km": ("units", 0.7, True),
        "sing a song": (None, 0.8, True),
        "who are you": ("clock", 0.5, True),
    }
)
ROWS = [
    {"query": "2 + 3", "tool": "add"},
    {"query": "time in Oslo", "tool": "clock"},
    {"query": "3 miles in km", "tool": ["add", "units"]},
    {"query": "sing a song", "tool": None},
    {"query": "who are you", "tool": None},
]


def test_figures_by_hand():
    """Right: 2 + 3, 3 miles, sing a song = 3 of 5.

    add: chosen twice, once rightly; right for two examples, both decided rightly -> P 1/2, R 2/2, F1 2/3.
    clock: chosen once, wrongly; right for one, missed -> F1 0. units: P 1, R 1, F1 1. none: P 1/1, R 1/2, F1 2/3.
    Brier: (0.1² + 0.4² + 0.3² + 0.2² + 0.5²) / 5 = 0.55 / 5. Accepted: 4 of 5, 3 of them right.
    """
    result = evaluate(ROUTER, ROWS)
    assert (result.n, result.accuracy) == (5, 0.6)
    assert result.interval == wilson_interval(3, 5)
    add, clock = result.per_tool["add"], result.per_tool["clock"]
    assert (add.precision, add.recall, add.support) == (0.5, 1.0, 2)
    assert (clock.precision, clock.recall, clock.support, clock.f1) == (0.0, 0.0, 1, 0.0)
    assert (result.none.precision, result.none.recall, result.none.support) == (1.0, 0.5, 2)
    assert result.macro_f1 == pytest.approx((2 / 3 + 0 + 1 + 2 / 3) / 4)
    assert result.brier == pytest.approx(0.11)
    assert result.coverage == 0.8
    assert result.accepted_accuracy == 0.75


def test_top_k_by_hand():
    """The right option ranks 1, 2 (a tie of the rest, in the order of the tools), 1, 1 and, for none, 4 of 4."""
    result = evaluate(ROUTER, ROWS, top_k=(1, 2, 4))
    assert result.top_k == {1: 0.6, 2: 0.8, 4: 1.0}


def test_none_auroc_needs_both_kinds():
    """1 − P(none): 29/30, 0.8, 0.9 for the answerable, 0.2 and 5/6 for the others: 5 of the 6 pairs are in order."""
    assert evaluate(ROUTER, ROWS).none_auroc == pytest.approx(5 / 6)
    assert evaluate(ROUTER, ROWS[:3]).none_auroc is None
    assert evaluate(ROUTER, ROWS[3:]).none_auroc is None


def test_no_accepted_decision_has_no_accepted_accuracy():
    result = evaluate(ROUTER, ROWS[1:2])
    assert (result.coverage, result.accepted_accuracy) == (0.0, None)


def test_episodes_are_examples_too():
    episodes = [Episode.from_example(row) for row in ROWS]
    assert evaluate(ROUTER, episodes, latency_sample=0) == evaluate(ROUTER, ROWS, latency_sample=0)


def test_to_dict_survives_json():
    data = json.loads(json.dumps(evaluate(ROUTER, ROWS).to_dict()))
    assert data["accuracy"] == 0.6
    assert data["per_tool"]["units"] == {"precision": 1.0, "recall": 1.0, "support": 1, "f1": 1.0}
    assert data["top_k"]["1"] == 0.6
    assert set(data["latency_ms"]) == {"p50", "p95", "p99"}


def test_latency_times_single_decisions_of_a_bounded_sample():
    router = TableRouter({str(i): ("add", 0.5, True) for i in range(1000)})
    times = measure_latency(router, [str(i) for i in range(1000)], sample=50)
    assert router.single_calls == 51  # one to warm up
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]


def test_latency_can_be_left_out():
    router = TableRouter(ROUTER.table)
    assert evaluate(router, ROWS, latency_sample=0).latency_ms == {}
    assert router.single_calls == 0


def test_unknown_labels_are_named_with_the_nearest():
    rows = [*ROWS, {"query": "2 + 3", "tool": "unit"}, {"query": "2 + 3", "tool": ["add", "zzz"]}]
    with pytest.raises(ValueError, match=r"'unit' \(did you mean 'units'\?\), 'zzz'\."):
        evaluate(ROUTER, rows)


def test_an_unlabelled_example_is_named():
    with pytest.raises(ValueError, match=r"Example 2 has 0 labels.*'time in Oslo'"):
        evaluate(ROUTER, [ROWS[0], {"query": "time in Oslo"}])


def test_no_examples():
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        evaluate(ROUTER, [])


OPTIONS = ["a", "b", "c", None]


@given(st.lists(st.tuples(st.sampled_from(OPTIONS), st.sampled_from(OPTIONS)), min_size=1))
def test_single_labels_score_as_in_scikit_learn(pairs):
    choices = [choice for choice, _ in pairs]
    scores = score_options(choices, [(name,) if name else () for _, name in pairs], ["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of options that are nowhere right nor chosen
        report: Any = classification_report(
            [str(name) for _, name in pairs],
            [str(name) for name in choices],
            labels=[str(name) for name in OPTIONS],
            output_dict=True,
        )
    for name in OPTIONS:
        expected = report[str(name)]
        assert scores[name].f1 == pytest.approx(expected["f1-score"])
        assert scores[name].precision == (None if name not in choices else pytest.approx(expected["precision"]))
        assert scores[name].support == expected["support"]


@given(st.integers(1, 6), st.lists(st.sampled_from([("a",), ("b",), ("a", "c"), ()]), min_size=1))
def test_top_k_grows_with_k_and_ends_at_one(k, labels):
    decisions = [Decision("a", {"a": 0.5, "b": 0.2, "c": 0.2}, 0.1)] * len(labels)
    assert top_k_accuracy(decisions, labels, k) <= top_k_accuracy(decisions, labels, k + 1)
    assert top_k_accuracy(decisions, labels, 4) == 1.0


def test_a_perfect_router_is_perfect():
    router = TableRouter({row["query"]: ("units", 1.0, True) for row in ROWS})
    result = evaluate(router, [{"query": row["query"], "tool": "units"} for row in ROWS])
    assert (result.accuracy, result.macro_f1, result.brier, result.calibration_error) == (1.0, 1.0, 0.0, 0.0)
    assert result.interval[0] < 1.0 and math.isclose(result.interval[1], 1.0)
