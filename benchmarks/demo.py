"""The demo's toolbox end to end: the right tool, the right answer, no language model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import Setting
from dspy_router.demo.show import CONFIG, Score, measure
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.routing.router import Router

TARGET = 0.95
ANSWER_TARGET = 0.90
_QUICK_EVERY = 8


def run(setting: Setting) -> Iterator[Figure]:
    """The demo: tool right and answer right on its test queries, the tools really called, as `make demo` does it."""
    if not setting.wants("demo"):
        return
    train, test = load_queries("train"), load_queries("test")
    if setting.quick:
        train, test = train[::_QUICK_EVERY], test[::_QUICK_EVERY]
    router = Router.from_tools(TOOLS, encoder=setting.encoder.encoder)
    config = setting.adapt(CONFIG)
    figures = measure(router, train, test, config=config, encoder_name="minilm")
    *others, ours = figures.scores
    answers = figures.answers
    where: dict[str, Any] = {"split": "the demo's test queries", "data": "demo"}
    yield Figure.share("tool right", ours.right, ours.n, target=TARGET, baselines=_beside(others), **where)
    if ours.none_n:
        recall = {score.chosen_by: score.none_right / score.none_n for score in others}
        yield Figure.share("none recognised", ours.none_right, ours.none_n, baselines=recall, **where)
    yield Figure.share(
        "answer right",
        answers.right,
        len(answers.rows),
        target=ANSWER_TARGET,
        note=f"calls of a language model: {answers.lm_calls}",
        **where,
    )
    for q in ("p50", "p95"):
        yield Figure(f"one decision, {q}", figures.latency_ms[q], unit="milliseconds", **where)
    yield Figure("seconds of fit, encoding included", figures.training.seconds, unit="seconds", **where)


def _beside(scores: list[Score]) -> dict[str, float]:
    return {score.chosen_by: score.right / score.n for score in scores}


BENCHMARK = Benchmark(
    "demo", run, target=f"tool right {TARGET:.0%}, answer right {ANSWER_TARGET:.0%}, no language model"
)
