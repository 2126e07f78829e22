"""The trainer: labels, rewards and logged choices into the weights of a router."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dspy_router.learning.crossfit import fit_novelty
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.objectives import Downstream, Purpose, centred, choose_objective
from dspy_router.learning.part import part_for
from dspy_router.learning.run import TrainingRun, encoder_trains
from dspy_router.learning.settings import RewardConfig, TrainConfig, TrainReport
from dspy_router.routing.controllers import ScratchEncoder
from dspy_router.routing.encoders import ModuleEncoder
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads
from dspy_router.runtime.exported import check_trainable

__all__ = ["RewardConfig", "TrainConfig", "TrainReport", "fit"]

logger = logging.getLogger(__name__)

_HEAD_EPOCHS = 10


def fit(
    router: Router,
    examples: Iterable[Any],
    *,
    val: Iterable[Any] | None = None,
    config: TrainConfig | None = None,
    downstream: Downstream | None = None,
) -> TrainReport:
    """Train a router on labels, rewards or logged choices, in place.

    The router changes only when training has ended well: whatever interrupts it leaves the router as it was.

    One that looks its tools up in an index is trained on as many as it would look at one by one (`index.above`): those
    that the examples speak of, those that training knew before, and others drawn at random. Its report is of these.

    Args:
        router: The router.
        examples: Rows, episodes or `dspy.Example`s. A row has a `query`, and a label in `tool` (a name, a list of names
            where several are right, or None where no tool fits), the `rewards` of the tools that were tried, or the
            `action`, `reward` and `propensity` of a logged choice. Some may have the one and some the other.
        val: Held-out examples with labels or rewards; with them the best epoch is kept and training stops early.
        config: How to train.
        downstream: For tools that are differentiable functions: `(choices [b, k + 1], rows int64 [b]) → losses [b]`,
            where a choice is a one-hot row over the tools and *none* whose gradient is a soft one's. Examples need
            neither label nor reward then.

    Returns:
        What was done.

    Raises:
        FloatingPointError: If the loss becomes infinite or no number.
        TypeError: If the router is an exported one.
        ValueError: If the training set is empty, all of one label or reward, or names a tool that is not the router's.
    """
    check_trainable(router)
    config = config if config is not None else TrainConfig()
    if router.crowd is not None:
        if downstream is not None:
            raise ValueError(
                f"A downstream loss is about all {len(router.tools)} tools, of which a router with an index is trained "
                "on a part; train a router of the tools it is about, and add the others to it afterwards."
            )
        examples, val = list(examples), None if val is None else list(val)
        part = part_for(router, [*examples, *(val or ())], seed=config.seed)
        report = fit(part, examples, val=val, config=config)
        router.adopt(part, part.memory)
        return report
    started = time.perf_counter()
    train = Lessons.read(examples, router.tools, bare=downstream is not None)
    if downstream is None:
        train.check_contrast(router.tools)
    held_out = None if val is None else Lessons.read(val, router.tools, what="validation set")
    threads = config.threads if config.threads is not None or encoder_trains(router, config) else 1
    try:
        with bounded_threads(threads), torch.random.fork_rng():
            objective = choose_objective(train, config.reward, downstream=downstream is not None)
            predicted = predict_rewards(router, train, config) if objective == "doubly_robust" else None
            settings = {"predicted": predicted, "downstream": downstream}
            novelty = fit_novelty(router, train, config, objective, **settings)
            start, before = router, None
            if config.head_first and config.train_encoder and _pretrained(router.encoder):
                start, before = _train_head(router, train, held_out, config, objective, **settings)
                config = replace(config, learning_rate=config.learning_rate / 4)
            run = TrainingRun(start, train, held_out, config, objective, **settings)
            report = run.train()
            report.accuracy_before = report.accuracy_before if before is None else before
            if novelty is not None:
                run.put_behind(novelty, report)
            run.hand_over(router)
    finally:
        router.to(router.device)  # a frozen encoder is shared with the run, which may have taken it to another device
    report.seconds = time.perf_counter() - started
    logger.info("Trained on %d examples in %.1f s, kept epoch %d.", len(train), report.seconds, report.best_epoch)
    return report


def _pretrained(encoder: Any) -> bool:
    return isinstance(encoder, ModuleEncoder) and not isinstance(encoder, ScratchEncoder)


def _train_head(
    router: Router, train: Lessons, val: Lessons | None, config: TrainConfig, objective: Purpose, **settings: Any
) -> tuple[Router, float | None]:
    """A copy of the router whose policy has learned on frozen vectors, and the validation score before."""
    config = replace(config, train_encoder=False, epochs=_HEAD_EPOCHS, checkpoint=None, neighbours=0)
    with bounded_threads(1):
        run = TrainingRun(router, train, val, config, objective, **settings)
        report = run.train()
    return run.work, report.accuracy_before


def predict_rewards(router: Router, lessons: Lessons, config: TrainConfig) -> Tensor:
    """A model's reward of every option for each lesson, float [n, k + 1], none by a model that has seen it.

    Labels speak of choices, not of rewards, and take no part in it.
    """
    settings = replace(config, checkpoint=None, neighbours=0, remember=0)
    low, high = lessons.reward_range
    predicted = torch.full_like(lessons.rewards, float(lessons.rewards.nanmean()))
    rows = lessons.rewarded.nonzero().flatten()
    if len(rows) < 2 or low == high:
        return predicted
    # Scaled by all rewards: those of one half may span less, or nothing.
    unit = replace(lessons, right=torch.zeros_like(lessons.right), rewards=(lessons.rewards - low) / (high - low))
    folds = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))].chunk(2)
    for seen, unseen in (folds, folds[::-1]):
        run = TrainingRun(router, unit.select(seen), None, settings, "reward_regression")
        texts = [lessons.texts[row] for row in unseen.tolist()]
        start = run.logits(texts)
        run.train()
        predicted[unseen] = low + (high - low) * centred(run.logits(texts), start).sigmoid()
    return predicted
