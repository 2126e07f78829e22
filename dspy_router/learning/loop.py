"""The loop: a challenger learns from the decision log, and takes over only if the log says that nothing gets worse."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dspy_router.learning.comparison import FEWEST, Comparison, compare_routers
from dspy_router.learning.settings import TrainConfig, TrainReport
from dspy_router.learning.trainer import fit
from dspy_router.records import Episode
from dspy_router.routing.router import Router
from dspy_router.routing.trust.report import CalibrationReport
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.exported import check_trainable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """How a challenger is made and judged.

    Attributes:
        max_risk: The error rate among kept decisions that must be certified anew; None takes what the champion
            guarantees, if anything.
        per_tool: Stricter ones for some tools, by name; None takes the champion's.
        confidence: Of that guarantee, and of the intervals of the comparisons. A guarantee that is taken from the
            champion keeps the champion's, if that is higher.
        reserve: Share of the labelled decisions that calibrate, where no router had a say in what was labelled and
            nothing was audited; else the audited ones do.
        holdout: Share of the others on which challenger and champion are compared.
        margin: How much worse the challenger may be at the lower end of an interval: a share of right decisions, or
            reward, in units of the reward.
    """

    max_risk: float | None = None
    per_tool: Mapping[str, float] | None = None
    confidence: float = 0.95
    reserve: float = 0.2
    holdout: float = 0.2
    margin: float = 0.01

    def __post_init__(self) -> None:
        for name in ("reserve", "holdout"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is a share and must be within (0, 1); got {getattr(self, name)!r}.")
        if self.margin < 0:
            raise ValueError(f"margin is how much worse a challenger may be, and at least 0; got {self.margin!r}.")


@dataclass
class LearnReport:
    """What was learned, and whether it is to be put to use.

    Attributes:
        labels: Decisions with a label: given by hand, or the choice of a language model.
        rewards: Decisions of the router whose reward is known.
        training: The training's report; None if there was nothing to learn.
        comparisons: How the challenger did beside the champion.
        calibration: The challenger's calibration; None if there were no examples for it.
        promote: Whether the challenger may take over.
        reasons: Why, or why not; full sentences.
        seconds: Wall-clock time of the whole.
    """

    labels: int = 0
    rewards: int = 0
    training: TrainReport | None = None
    comparisons: tuple[Comparison, ...] = ()
    calibration: CalibrationReport | None = None
    promote: bool = False
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "labels": self.labels,
            "rewards": self.rewards,
            "training": None if self.training is None else self.training.to_dict(),
            "comparisons": [asdict(one) for one in self.comparisons],
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "promote": self.promote,
            "reasons": list(self.reasons),
            "seconds": self.seconds,
        }


def learn(
    champion: Router,
    episodes: Iterable[Episode],
    *,
    known: Iterable[Any] = (),
    train: TrainConfig | None = None,
    config: LoopConfig | None = None,
) -> tuple[Router, LearnReport]:
    """Let a challenger learn from a decision log, and judge whether it should take the champion's place.

    A decision teaches by its label, given by hand or chosen by the language model it was handed to, or by its reward.
    Labelled decisions part in three: the audited ones calibrate, a share of the others compares, the rest trains. No
    text is in two parts. What was handed over because the router was unsure is harder than the rest, and would not do
    to calibrate on; what was audited was drawn at random among all.

    The challenger starts from the champion's weights. It may take over if no comparison with the champion goes against
    it by more than the margin at the lower end of its interval, by labels and, where the log explores, by the rewards
    (SNIPS and doubly robust; see `evaluation.off_policy`), and if the guarantee, where there is one, is certified anew.

    Args:
        champion: The router in use; left as it is.
        episodes: The log.
        known: Further labelled examples to train on, such as those the champion was trained on.
        train: How to train.
        config: How to judge.

    Returns:
        The challenger, and the report that says whether to put it to use.

    Raises:
        TypeError: If the champion is an exported router.
        ValueError: If the log keeps hashes of the inputs instead of the inputs.
    """
    check_trainable(champion)
    settings, train = LoopConfig() if config is None else config, TrainConfig() if train is None else train
    started, report = time.perf_counter(), LearnReport()
    episodes = [episode for episode in episodes if episode.decisions]
    if any(set(episode.inputs) == {"sha256"} for episode in episodes):
        raise ValueError(
            "The log keeps hashes in place of the inputs, and nothing can be learned from those. Expected one that was "
            "written with inputs='text'; or give the inputs back to its episodes (see hash_inputs) before learning."
        )
    acted = any(one.decisions[0].source == "router" and one.decisions[0].accepted for one in episodes)
    lessons = _read(episodes, champion.tools)
    report.labels = sum(bool(one.labels) for one in lessons)
    report.rewards = len(lessons) - report.labels
    parts = _part(lessons, settings, acted=acted)
    challenger = copy.deepcopy(champion)
    challenger.calibration = None
    others = [Episode.from_example(example) for example in known]
    rows = [*_without(others, [*parts.holdout, *parts.reserve]), *parts.train]
    if not rows:
        report.reasons = ("The log has no label and no reward to learn from.",)
        return challenger, report
    try:
        report.training = fit(challenger, rows, config=train)
    except ValueError as error:  # a log of a single label, say: no fault of whoever runs the loop
        report.reasons = (f"The log teaches nothing: {error}",)
        return challenger, report
    report.comparisons = compare_routers(
        challenger, champion.uncalibrated(), parts.holdout, train=train, confidence=settings.confidence
    )
    refusals = [_refusal(one, settings) for one in report.comparisons if one.low < -settings.margin]
    if not report.comparisons:
        refusals.append(
            f"There is nothing to compare on: it takes {FEWEST} held-out labels, or rewards of a log that explores."
        )
    report.calibration, refusal = _certify(challenger, champion.calibration, parts.reserve, settings)
    refusals += [refusal] if refusal else []
    report.promote = not refusals
    report.reasons = tuple(refusals) or tuple(map(str, report.comparisons))
    report.seconds = time.perf_counter() - started
    logger.info("challenger %s: %s", "promoted" if report.promote else "refused", " ".join(report.reasons))
    return challenger, report


@dataclass(frozen=True)
class _Parts:
    train: list[Episode]
    holdout: list[Episode]
    reserve: list[Episode]


def _read(episodes: Sequence[Episode], tools: Sequence[str]) -> list[Episode]:
    """What the log teaches: each episode with either a label or a reward, never both."""
    earned = [episode.reward for episode in episodes if episode.reward is not None]
    middle = (min(earned) + max(earned)) / 2 if earned else 0.0
    lessons, gone = [], 0
    for episode in episodes:
        lesson = _lesson(episode, middle)
        if lesson is None:
            continue
        named = lesson.labels[0] if lesson.labels else (lesson.decisions[0].tool,)
        if all(name is None or name in tools for name in named):
            lessons.append(lesson)
        else:
            gone += 1
    if gone:
        logger.warning("%d logged decisions are left out: their tool is none of the router's any more.", gone)
    return lessons


def _lesson(episode: Episode, middle: float) -> Episode | None:
    decision = episode.decisions[0]
    if episode.labels:
        return replace(episode, reward=None)
    if decision.source == "lm" and decision.error is None and (episode.reward is None or episode.reward >= middle):
        return replace(episode, labels=(() if decision.tool is None else (decision.tool,),), reward=None)
    return episode if episode.reward is not None else None


def _part(lessons: Sequence[Episode], settings: LoopConfig, *, acted: bool) -> _Parts:
    """Which lessons train, compare and calibrate; by draws that are the same whenever the log is read again."""
    labelled = [one for one in lessons if one.labels]
    reserve = [one for one in labelled if one.decisions[0].audited]
    if not reserve and not acted:
        reserve = [one for one in labelled if _draw(one, "reserve") < settings.reserve]
    rest = _without(lessons, reserve)
    holdout = [one for one in rest if _draw(one, "holdout") < settings.holdout]
    return _Parts(_without(rest, holdout), holdout, reserve)


def _without(lessons: Sequence[Episode], others: Sequence[Episode]) -> list[Episode]:
    """Those lessons whose text none of the others has."""
    there = set(SeenTexts.of(one.text for one in others).among([one.text for one in lessons]))
    return [one for row, one in enumerate(lessons) if row not in there]


def _draw(episode: Episode, purpose: str) -> float:
    """A number in [0, 1) that the decision's id settles, or its text where it has none."""
    name = episode.decisions[0].id or episode.text
    return int.from_bytes(hashlib.sha256(f"{purpose}:{name}".encode(errors="surrogatepass")).digest()[:8]) / 2**64


def _certify(
    challenger: Router, before: Calibration | None, reserve: Sequence[Episode], settings: LoopConfig
) -> tuple[CalibrationReport | None, str | None]:
    """Calibrate the challenger; and the reason why it may not be used, if there is one."""
    asked = _guarantee(before, settings)
    if before is not None and before.cost_bar is not None and not (asked["max_risk"] or asked["per_tool"]):
        return None, (
            "The router in use hands over by costs, which a challenger would forget: ask for a guarantee with "
            "max_risk, or calibrate the challenger with the same costs yourself."
        )
    try:
        found = challenger.calibrate(reserve, **asked, seen="drop")
    except ValueError as error:
        if asked["max_risk"] or asked["per_tool"]:
            return None, f"The guarantee could not be certified: {error}"
        logger.info("the challenger is not calibrated: %s", error)
        return None, None
    # A tool's own bound that could not be certified before either goes on handing all its decisions over.
    open_before = {one.tool for one in before.certificates if not one.certified} if before is not None else set()
    failed = {one.tool: one.max_risk for one in found.certificates if not one.certified}
    lost = [
        f"{risk:.2%} for {tool or 'all'}" for tool, risk in failed.items() if tool is None or tool not in open_before
    ]
    if lost:
        return found, f"The guarantee could not be certified for the challenger: at most {', '.join(lost)} wrong."
    return found, None


def _guarantee(before: Calibration | None, settings: LoopConfig) -> dict[str, Any]:
    """What is to be certified: what was asked for, and for the rest what the champion has."""
    given = before.certificates if before is not None else ()
    tools = {one.tool: one.max_risk for one in given if one.tool is not None}
    every = next((one.max_risk for one in given if one.tool is None), None)
    taken = bool(given) and (settings.max_risk is None or settings.per_tool is None)
    joint = 1.0 - sum(1.0 - one.confidence for one in given)  # as `Router.calibrate` shared it out
    return {
        "max_risk": every if settings.max_risk is None else settings.max_risk,
        "per_tool": tools if settings.per_tool is None else settings.per_tool,
        "confidence": max(settings.confidence, joint) if taken else settings.confidence,
    }


def _refusal(comparison: Comparison, settings: LoopConfig) -> str:
    return f"The challenger may be worse by more than {settings.margin:g}: {comparison}"
