"""How good a router's decisions are: accuracy, none, ranking, calibration and speed, from labelled examples."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Protocol

import numpy as np

from dspy_router.evaluation.statistics import auroc, wilson_interval
from dspy_router.records import Decision, Episode
from dspy_router.reliability import brier_score, expected_calibration_error

_SHOWN_NAMES = 5


class Decider(Protocol):
    """What is evaluated: a `Router`, or anything else that decides like one."""

    @property
    def tools(self) -> Sequence[str]:
        """Names of the tools it chooses from."""
        ...

    def decide(self, text: str) -> Decision:
        """Choose for one text."""
        ...

    def decide_batch(self, texts: Sequence[str]) -> list[Decision]:
        """Choose for several texts."""
        ...


@dataclass(frozen=True)
class OptionScores:
    """How well one option, a tool or *none*, is chosen.

    Attributes:
        precision: Share of the decisions for it that were right; None if it was never chosen.
        recall: Share of the examples it is right for that were decided rightly (for it, or for another tool that is
            right as well); None if it is never right.
        support: How many examples it is right for.
    """

    precision: float | None
    recall: float | None
    support: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; 0 where either is 0 or unknown."""
        precision, recall = self.precision or 0.0, self.recall or 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Evaluation:
    """A router's figures on labelled examples. Every share is in [0, 1].

    An example with several right tools is decided rightly by any of them; one without a right tool, by *none*.
    Whether a decision was accepted counts in `coverage` and `accepted_accuracy` only.

    Attributes:
        n: How many examples.
        accuracy: Share decided rightly.
        interval: 95 % Wilson interval of the accuracy.
        macro_f1: Mean F1 of all options, *none* among them, that are right for an example or were chosen.
        per_tool: Scores of every tool of the router, by name.
        none: Scores of the option *none*; its recall is the share of unanswerable queries that were turned away.
        none_auroc: Area under the ROC curve of `1 − P(none)` for telling answerable from unanswerable queries; None
            unless the examples hold both.
        top_k: Share with a right option among the k most probable ones (*none* counts as an option), by k.
        calibration_error: Expected calibration error of the confidence, 15 bins of equal mass.
        brier: Brier score of the confidence: mean squared difference to 1 if right, 0 if wrong.
        coverage: Share of decisions the router was sure enough of to accept.
        accepted_accuracy: Share decided rightly among the accepted; None if none was.
        latency_ms: Milliseconds of single `decide` calls: their `p50`, `p95` and `p99`; empty if not measured.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    per_tool: Mapping[str, OptionScores]
    none: OptionScores
    none_auroc: float | None
    top_k: Mapping[int, float]
    calibration_error: float
    brier: float
    coverage: float
    accepted_accuracy: float | None
    latency_ms: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; every score of an option carries its F1."""
        scores = {name: {**asdict(value), "f1": value.f1} for name, value in self.per_tool.items()}
        return {**asdict(self), "interval": list(self.interval), "per_tool": scores} | {
            "none": {**asdict(self.none), "f1": self.none.f1},
            "top_k": {str(k): share for k, share in self.top_k.items()},
        }


def evaluate(
    router: Decider, examples: Iterable[Any], *, top_k: Sequence[int] = (1, 3, 5), latency_sample: int = 200
) -> Evaluation:
    """Let a router decide labelled examples and score it.

    Args:
        router: What decides.
        examples: `{"query", "tool"}` rows, `dspy.Example`s or `Episode`s, each with one label.
        top_k: The k of `Evaluation.top_k`.
        latency_sample: Time at most this many single decisions, spread evenly over the examples; 0 times none.

    Raises:
        ValueError: If there are no examples, one has no label or several, or a label names a tool the router lacks.
        TypeError: If something is no example.
    """
    episodes = [Episode.from_example(example) for example in examples]
    labels = _read_labels(episodes, router.tools)
    texts = [episode.text for episode in episodes]
    decisions = router.decide_batch(texts)
    right = np.array([is_right(decision.tool, label) for decision, label in zip(decisions, labels, strict=True)])
    confidence = np.array([decision.confidence for decision in decisions])
    accepted = np.array([decision.accepted for decision in decisions])
    answerable = np.array([bool(label) for label in labels])
    none_score = np.array([1.0 - decision.none_probability for decision in decisions])
    scores = score_options([decision.tool for decision in decisions], labels, router.tools)
    return Evaluation(
        n=len(episodes),
        accuracy=float(right.mean()),
        interval=wilson_interval(int(right.sum()), len(right)),
        macro_f1=_macro_f1(scores),
        per_tool={name: scores[name] for name in router.tools},
        none=scores[None],
        none_auroc=auroc(none_score, answerable) if 0 < answerable.sum() < len(answerable) else None,
        top_k={k: top_k_accuracy(decisions, labels, k) for k in top_k},
        calibration_error=expected_calibration_error(confidence, right),
        brier=brier_score(confidence, right),
        coverage=float(accepted.mean()),
        accepted_accuracy=float(right[accepted].mean()) if accepted.any() else None,
        latency_ms=measure_latency(router, texts, sample=latency_sample) if latency_sample else {},
    )


def is_right(choice: str | None, label: Sequence[str]) -> bool:
    """Whether a choice is right: one of the label's tools, or None where the label is empty."""
    return choice in label if label else choice is None


def top_k_accuracy(decisions: Sequence[Decision], labels: Sequence[Sequence[str]], k: int) -> float:
    """Share of decisions with a right option among the k most probable, *none* being an option."""
    hits = [
        any(is_right(name, label) for name, _ in decision.top(k))
        for decision, label in zip(decisions, labels, strict=True)
    ]
    return sum(hits) / len(hits)


def score_options(
    choices: Sequence[str | None], labels: Sequence[Sequence[str]], tools: Sequence[str]
) -> dict[str | None, OptionScores]:
    """Precision, recall and support of every tool, and of *none* under the key None.

    Args:
        choices: What was chosen for each example, [n].
        labels: The right tools of each example, [n]; an empty one means none.
        tools: The tools to score.
    """
    chosen = dict.fromkeys([*tools, None], 0)
    chosen_rightly, support, found = dict(chosen), dict(chosen), dict(chosen)
    for choice, label in zip(choices, labels, strict=True):
        right = is_right(choice, label)
        chosen[choice] += 1
        chosen_rightly[choice] += right
        for name in label or (None,):
            support[name] += 1
            found[name] += right
    return {
        name: OptionScores(
            precision=chosen_rightly[name] / chosen[name] if chosen[name] else None,
            recall=found[name] / support[name] if support[name] else None,
            support=support[name],
        )
        for name in chosen
    }


def measure_latency(router: Decider, texts: Sequence[str], *, sample: int = 200) -> dict[str, float]:
    """Wall-clock milliseconds of single `decide` calls, after one that is not counted.

    Args:
        router: What decides.
        texts: What to decide on; at least one.
        sample: Time at most this many, spread evenly over the texts; at least 1.

    Returns:
        The percentiles `p50`, `p95` and `p99`.
    """
    picked = [texts[int(index)] for index in np.linspace(0, len(texts) - 1, min(sample, len(texts)))]
    router.decide(picked[0])
    times = []
    for text in picked:
        start = time.perf_counter()
        router.decide(text)
        times.append((time.perf_counter() - start) * 1000)
    return {f"p{q}": float(np.percentile(times, q)) for q in (50, 95, 99)}


def _read_labels(episodes: Sequence[Episode], tools: Sequence[str]) -> list[tuple[str, ...]]:
    if not episodes:
        raise ValueError("There is nothing to evaluate on: expected at least one labelled example, got none.")
    known = set(tools)
    unknown: dict[str, None] = {}
    for row, episode in enumerate(episodes, start=1):
        if len(episode.labels) != 1:
            raise ValueError(
                f"Example {row} has {len(episode.labels)} labels; to be scored it needs exactly one: the right tool's "
                f"name, a list of names, or None where no tool fits. Its text: {episode.text!r:.80}."
            )
        unknown.update(dict.fromkeys(name for name in episode.labels[0] if name not in known))
    if unknown:
        raise ValueError(_describe_unknown(list(unknown), tools))
    return [episode.labels[0] for episode in episodes]


def _describe_unknown(unknown: Sequence[str], tools: Sequence[str]) -> str:
    shown = []
    for name in unknown[:_SHOWN_NAMES]:
        near = get_close_matches(name, tools, n=1)
        shown.append(f"'{name}' (did you mean '{near[0]}'?)" if near else f"'{name}'")
    more = f" and {len(unknown) - _SHOWN_NAMES} more" if len(unknown) > _SHOWN_NAMES else ""
    return f"The examples' labels name tools that the router does not have: {', '.join(shown)}{more}."


def _macro_f1(scores: Mapping[str | None, OptionScores]) -> float:
    seen = [score.f1 for score in scores.values() if score.support or score.precision is not None]
    return sum(seen) / len(seen)
