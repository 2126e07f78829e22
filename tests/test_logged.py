"""A log is checked before anything is made of it, and its weights are what they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dspy_router.evaluation.logged import Logged

TARGET = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.2, 0.8]]
LOG: dict[str, Any] = {
    "target": TARGET,
    "actions": [0, 1, 0, 0],
    "rewards": [1, 0, 1, 0.5],
    "propensities": [0.5, 0.5, 0.25, 0.8],
}


def read(**changes: Any) -> Logged:
    return Logged.read(**{**LOG, **changes})


def test_weights_are_the_targets_probability_over_the_propensity():
    """1/0.5, 1/0.5, 0.5/0.25 and 0.2/0.8; what the target would never have done counts nothing."""
    log = read()
    assert log.weights == pytest.approx([2, 2, 2, 0.25])
    assert not log.clipped.any()
    assert read(actions=[1, 1, 0, 0]).weights[0] == 0


def test_clipping_cuts_the_large_ones_alone():
    log = read(propensities=[0.5, 0.1, 0.25, 0.8], clip=2.0)
    assert log.weights == pytest.approx([2, 2, 2, 0.25])
    assert log.ratios[1] == pytest.approx(10)
    assert log.clipped.tolist() == [False, True, False, False]


def test_single_precision_is_exact_enough():
    rows = np.random.default_rng(0).dirichlet(np.ones(199), size=50).astype(np.float32)
    rows /= rows.sum(axis=1, keepdims=True, dtype=np.float32)
    Logged.read(rows, np.zeros(50, int), np.ones(50), np.ones(50, np.float32))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": [0.5, 0.5]}, r"target must be float \[n, a\]; got the shape \[2\]"),
        ({"target": [[1.0, 0.0]]}, "at least 2 rows; got 1"),
        ({"target": np.zeros((0, 2))}, "at least 2 rows; got 0"),
        ({"target": [*TARGET[:3], [0.2, 0.7]]}, r"the sum of target\[3\] must be 1; got 0.9"),
        (
            {"target": [[1.5, -0.5], *TARGET[1:]]},
            r"target\[0\] must be probabilities of at least 0; got \[ ?1.5 -0.5\]",
        ),
        ({"target": [[np.nan, 1.0], *TARGET[1:]]}, r"target\[0\] must be finite"),
        ({"actions": [0, 1, 2, 0]}, r"actions\[2\] must be a column of target, 0 to 1; got 2"),
        ({"actions": [0, 1, -1, 0]}, r"actions\[2\] must be a column of target, 0 to 1; got -1"),
        ({"actions": [0.0, 1.0, 0.0, 0.0]}, r"actions must be columns of target, int \[4\]; got float64"),
        ({"actions": [0, 1]}, r"int \[4\]; got int64 with the shape \[2\]"),
        ({"rewards": [1, 0, np.nan, np.inf]}, r"rewards\[2\] must be finite; got nan, and 1 more like it"),
        ({"rewards": [1, 0, 1]}, r"rewards must be float \[4\]; got the shape \[3\]"),
        ({"rewards": ["good", "bad", "good", "bad"]}, r"rewards must be numbers, float \[4\]: .*'good'"),
        ({"propensities": [0.5, 0.0, 0.5, 0.5]}, r"propensities\[1\] must be in \(0, 1\]; got 0"),
        ({"propensities": [0.5, 0.5, 0.5, 1.2]}, r"propensities\[3\] must be in \(0, 1\]; got 1.2"),
        ({"predicted": [[1, 2], [3, 4]]}, r"predicted must be float \[4, 2\]; got the shape \[2, 2\]"),
        ({"clip": 0}, "clip is the largest weight and must be above 0.*got 0"),
        ({"clip": float("nan")}, "clip is the largest weight"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(wrong, message):
    with pytest.raises(ValueError, match=message):
        read(**wrong)
