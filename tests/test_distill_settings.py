"""The settings of distillation: what is refused, and that the report is plain data."""

from __future__ import annotations

import json

import pytest

from dspy_router.learning.distill_settings import DistillConfig, DistillReport


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1, got True"),
        ({"hidden": -1}, "hidden must be a whole number of 0 or more, got -1"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"vector_weight": -0.1}, "vector_weight must be 0 or more, got -0.1"),
        ({"held_out": 1.0}, r"held_out must lie in \[0, 1\), got 1.0"),
        ({"word_dropout": float("nan")}, r"word_dropout must lie in \[0, 1\), got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillConfig(**settings)


def test_the_report_is_plain_data():
    report = DistillReport(texts=20, held_out=2, agreement=0.5)
    assert json.loads(json.dumps(report.to_dict()))["agreement"] == 0.5
