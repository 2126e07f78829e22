"""Settings of a training run: nonsense is refused at once, and a report survives JSON."""

from __future__ import annotations

import json

import pytest

from dspy_router import TrainConfig, TrainReport
from dspy_router.learning.settings import EpochRecord


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "hinge"},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": 0},
        {"patience": -1},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"smoothing": 1.0},
        {"balance": 1.5},
        {"prior": -1.0},
        {"neighbours": -1},
        {"remember": -1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(ValueError, match=rf"{name} must .*got {value!r}"):
        TrainConfig(**settings)


def test_the_edges_make_sense():
    config = TrainConfig(epochs=1, learning_rate=0.0, smoothing=0.0, balance=1, prior=0.0, neighbours=0, remember=0)
    assert (config.batch_size, config.threads, config.checkpoint) == (None, None, None)


def test_a_report_survives_json():
    report = TrainReport(8, [EpochRecord(1, 0.5, 0.1, val_accuracy=0.75, val_loss=0.4)], best_epoch=1)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["epochs"] == [{"epoch": 1, "loss": 0.5, "seconds": 0.1, "val_accuracy": 0.75, "val_loss": 0.4}]
    assert (data["examples"], data["accuracy_after"]) == (8, None)
