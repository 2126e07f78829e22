"""Settings of a training run: nonsense is refused at once, and a report survives JSON."""

from __future__ import annotations

import json
import re

import pytest

from dspy_router import TrainConfig, TrainReport
from dspy_router.learning.settings import EpochRecord, RewardConfig


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


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "cross_entropy"},  # of labels
        {"objective": "reward_regression"},  # of the model behind the doubly robust value
        {"samples": 1},  # a single draw has no baseline
        {"samples": 4.0},
        {"samples": True},
        {"level": 0.0},
        {"level": 1},
        {"level": float("nan")},
        {"smoothing": -0.1},
        {"smoothing": 1.0},
        {"bounds": (1.0, 0.0)},
        {"bounds": (0.5, 0.5)},
        {"bounds": (float("nan"), 1.0)},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"gumbel_temperature": -1.0},
        {"clip": 0.0},
        {"weight": -0.1},
        {"entropy": float("nan")},
        {"kl": -1},
    ],
    ids=str,
)
def test_reward_settings_that_make_no_sense(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(ValueError, match=rf"{name} must .*got {re.escape(repr(value))}"):
        RewardConfig(**settings)


def test_a_wrong_reward_objective_is_told_the_right_ones():
    with pytest.raises(ValueError, match=r"one of 'soft_expected_reward', .*'doubly_robust' or None, got 'reinforce'"):
        RewardConfig(objective="reinforce")  # pyright: ignore[reportArgumentType]


def test_the_edges_of_reward_settings_make_sense():
    config = RewardConfig(weight=0, entropy=0.0, kl=0.0, samples=2, clip=1e-9, temperature=1e-9)
    assert TrainConfig(reward=config).reward.objective is None


def test_the_edges_make_sense():
    config = TrainConfig(epochs=1, learning_rate=0.0, smoothing=0.0, balance=1, prior=0.0, neighbours=0, remember=0)
    assert (config.batch_size, config.threads, config.checkpoint) == (None, None, None)


def test_a_report_survives_json():
    report = TrainReport(8, [EpochRecord(1, 0.5, 0.1, val_accuracy=0.75, val_loss=0.4)], best_epoch=1)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["epochs"] == [{"epoch": 1, "loss": 0.5, "seconds": 0.1, "val_accuracy": 0.75, "val_loss": 0.4}]
    assert (data["examples"], data["accuracy_after"]) == (8, None)
