"""Calibrating: from labelled examples to the map that is picked, the bars that hold, and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dspy_router.records import Episode
from dspy_router.reliability import brier_score, expected_calibration_error, reliability_bins, risk_coverage
from dspy_router.routing.trust.candidates import Sample, pick
from dspy_router.routing.trust.guarantee import at_least, certify, cheapest_bar, minimum_examples
from dspy_router.routing.trust.maps import log_loss
from dspy_router.routing.trust.report import CalibrationReport, Costs, Recall, Trust
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.certificate import Certificate, Identity
from dspy_router.runtime.decisions import check_probabilities, choose
from dspy_router.runtime.maps import selection_scores, softmax
from dspy_router.runtime.names import check_names

_LEAST_EXAMPLES = 20
_RECALLS = (1, 2, 3, 5, 10)
_CURVE_POINTS = 200
_COST_FOLDS = 5


class Chooser(Protocol):
    """What a calibration asks of a router."""

    seen: SeenTexts

    @property
    def tools(self) -> tuple[str, ...]: ...

    def logits(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class Request:
    """What a calibration was asked for; see `Router.calibrate`."""

    max_risk: float | None = None
    confidence: float = 0.95
    per_tool: Mapping[str, float] = field(default_factory=dict)
    costs: tuple[float, float, float] | None = None  # a wrong tool, a call of the language model, its share of errors
    seen: Literal["refuse", "drop"] = "refuse"
    seed: int = 0

    @classmethod
    def read(
        cls,
        *,
        max_risk: float | None,
        confidence: float,
        per_tool: Mapping[str, float] | None,
        costs: Sequence[float] | None,
        seen: str,
        seed: int,
    ) -> Request:
        """The request that a caller's arguments make.

        Raises:
            ValueError: If a share is not within (0, 1), a cost is none, or the arguments contradict each other.
        """
        per_tool = dict(per_tool or {})
        _check_share("confidence", confidence)
        if max_risk is not None:
            _check_share("max_risk", max_risk)
        for name, risk in per_tool.items():
            _check_share(f"per_tool[{name!r}]", risk)
            if max_risk is not None and risk > max_risk:
                raise ValueError(
                    f"per_tool sets a stricter bar than max_risk for some tools; got {risk} for '{name}' and "
                    f"max_risk={max_risk}. Otherwise max_risk could not hold for all decisions together."
                )
        if seen not in ("refuse", "drop"):
            raise ValueError(f"seen must be 'refuse' or 'drop'; got {seen!r}.")
        if costs is not None and (max_risk is not None or per_tool):
            raise ValueError(
                "costs sets the bar where it costs least, max_risk and per_tool where it is safe; ask for one of them."
            )
        return cls(max_risk, confidence, per_tool, None if costs is None else _read_costs(costs), seen, seed)

    @property
    def sets_bars(self) -> bool:
        """Whether any decision may come to be handed over because of it."""
        return self.max_risk is not None or bool(self.per_tool) or self.costs is not None


def calibrate(
    router: Chooser, identity: Identity, examples: Iterable[Any], request: Request
) -> tuple[Calibration, CalibrationReport]:
    """Fit a calibration for a router, and say what it found.

    The maps are picked by their log-loss on held-out fifths of the examples; see `candidates.pick`. Where bars are
    asked for, the confidence is made to rise with the score, so that of two decisions of a kind the router never keeps
    the one that it is less sure of. The bars are on the score, which owes nothing to the labels: the same examples may
    therefore serve the maps and the guarantee both.

    Args:
        router: The router.
        identity: What the calibration will belong to.
        examples: Labelled ones.
        request: What is asked for.

    Raises:
        TypeError: If something is no example.
        ValueError: If the examples will not do; see `Router.calibrate`.
    """
    names = router.tools
    check_names(request.per_tool, names)
    episodes = [Episode.from_example(example) for example in examples]
    labels = _read_labels(episodes, names)
    texts = [episode.text for episode in episodes]
    known = set(router.seen.among(texts))
    if known and request.seen == "refuse":
        first = texts[min(known)]
        raise ValueError(
            f"The router was trained on {len(known)} of the {len(texts)} calibration examples, the first of them "
            f"{first!r:.80}. It is surer of those than of others, and a calibration on them would promise too much: "
            "expected examples kept apart from training. Where a few texts merely recur, leave them out with "
            "seen='drop'."
        )
    rows = [row for row in range(len(texts)) if row not in known]
    _check_enough(len(rows), request, dropped=len(known))
    sample = read_sample(router, [texts[row] for row in rows], [labels[row] for row in rows])
    _check_contrast(sample)
    picked = pick(sample, seed=request.seed, rising=request.sets_bars)
    certificates = _certify(sample, request)
    bar = None if request.costs is None else _cheapest(sample, request.costs)
    calibration = Calibration(
        picked.name, identity, names, picked.row_map, picked.top_map, certificates=certificates, cost_bar=bar
    )
    bars = np.array([calibration.bar(name) for name in (*names, None)])
    kept = sample.scores >= bars[sample.choices]
    report = CalibrationReport(
        examples=len(rows),
        dropped=len(known),
        accuracy=float(sample.hits.mean()),
        method=picked.name,
        row_losses=picked.row_losses,
        top_losses=picked.top_losses,
        before=_trust(softmax(sample.logits), sample),
        after=_trust(picked.held_out, sample),
        confidence=request.confidence,
        certificates=certificates,
        coverage=float(kept.mean()),
        wrong_kept=float((~sample.hits[kept]).mean()) if kept.any() else None,
        recall=_recall(picked.held_out, sample.right, request.confidence),
        costs=None if request.costs is None else _costs(sample, request.costs, request.seed),
        curve=tuple(risk_coverage(sample.scores, sample.hits, points=_CURVE_POINTS)),
    )
    return calibration, report


def read_sample(router: Chooser, texts: Sequence[str], labels: Sequence[Sequence[str]]) -> Sample:
    """What a router decides on these texts, and what would have been right: an empty label means that no tool fits."""
    names = router.tools
    columns = {name: column for column, name in enumerate(names)}
    right = np.zeros((len(labels), len(names) + 1), dtype=np.bool_)
    for row, label in enumerate(labels):
        right[row, [columns[name] for name in label] or [len(names)]] = True
    logits = router.logits(texts)
    choices = np.array([choose(row, names) for row in check_probabilities(logits.softmax(1)).tolist()])
    values, hits = logits.double().numpy(), right[np.arange(len(right)), choices]
    return Sample(values, choices, selection_scores(values, choices), right, hits, names)


def _certify(sample: Sample, request: Request) -> tuple[Certificate, ...]:
    """The certificates that were asked for, each at its share of the permitted error (Bonferroni).

    The kinds of decisions are apart: those for each tool of `per_tool`, and all others. As no tool's bound is laxer
    than `max_risk`, that holds for all decisions together too, whatever their mixture.
    """
    asked: list[tuple[str | None, float]] = list(request.per_tool.items())
    if request.max_risk is not None:
        asked.append((None, request.max_risk))
    certificates = []
    special = np.isin(sample.choices, [sample.names.index(name) for name in request.per_tool])
    for tool, risk in asked:
        rows = ~special if tool is None else sample.choices == sample.names.index(tool)
        confidence = 1.0 - (1.0 - request.confidence) / len(asked)
        wrong = ~sample.hits[rows]
        certificates.append(certify(sample.scores[rows], wrong, max_risk=risk, confidence=confidence, tool=tool))
    return tuple(certificates)


def _cheapest(sample: Sample, costs: tuple[float, float, float], rows: NDArray[np.int64] | None = None) -> float:
    wrong_tool, call, call_errs = costs
    rows = np.arange(len(sample.hits)) if rows is None else rows
    asking = call + call_errs * wrong_tool
    return cheapest_bar(sample.scores[rows], ~sample.hits[rows], wrong_costs=wrong_tool, asking_costs=asking)


def _costs(sample: Sample, costs: tuple[float, float, float], seed: int) -> Costs:
    wrong_tool, call, call_errs = costs
    asking = call + call_errs * wrong_tool
    order = np.random.default_rng(seed).permutation(len(sample.hits))
    spent = 0.0
    for fold in np.array_split(order, _COST_FOLDS):
        kept = sample.scores[fold] >= _cheapest(sample, costs, np.setdiff1d(order, fold))
        spent += wrong_tool * float((~sample.hits[fold][kept]).sum()) + asking * float((~kept).sum())
    return Costs(spent / len(order), asking, wrong_tool * float((~sample.hits).mean()))


def _trust(rows: NDArray[np.float64], sample: Sample) -> Trust:
    confidence = rows[np.arange(len(rows)), sample.choices]
    bins = tuple(reliability_bins(confidence, sample.hits))
    error = expected_calibration_error(confidence, sample.hits)
    return Trust(error, brier_score(confidence, sample.hits), log_loss(rows, sample.right), bins)


def _recall(rows: NDArray[np.float64], right: NDArray[np.bool_], confidence: float) -> dict[int, Recall]:
    """By k; the probabilities are held out, so that the bound is of a ranking that these labels did not make."""
    answerable = ~right[:, -1]
    n, tools = int(answerable.sum()), rows.shape[1] - 1
    if n == 0:
        return {}
    ranked = np.argsort(-rows[answerable, :-1], axis=1, kind="stable")
    found = np.take_along_axis(right[answerable, :-1], ranked, axis=1)
    hits = {k: int(found[:, :k].any(axis=1).sum()) for k in _RECALLS if k <= tools}
    return {k: Recall(count / n, at_least(count, n, confidence), n) for k, count in hits.items()}


def _read_labels(episodes: Sequence[Episode], names: Sequence[str]) -> list[tuple[str, ...]]:
    if not episodes:
        raise ValueError("There is nothing to calibrate on: expected labelled examples, got none.")
    for row, episode in enumerate(episodes, start=1):
        if len(episode.labels) != 1:
            raise ValueError(
                f"Example {row} has {len(episode.labels)} labels; to calibrate on it needs exactly one: the right "
                f"tool's name, a list of names, or None where no tool fits. Its text: {episode.text!r:.80}."
            )
        check_names(episode.labels[0], names)
    return [episode.labels[0] for episode in episodes]


def _check_contrast(sample: Sample) -> None:
    if (sample.right == sample.right[0]).all():
        label = ", ".join(name for name, one in zip((*sample.names, "none"), sample.right[0], strict=True) if one)
        raise ValueError(
            f"All {len(sample)} calibration examples have the same label ({label}), which says nothing about the other "
            "decisions to come. Expected examples drawn as those will be: of several tools, and of none."
        )


def _check_enough(n: int, request: Request, *, dropped: int) -> None:
    asked = len(request.per_tool) + (request.max_risk is not None)
    without = f" ({dropped} that the router was trained on are left out)" if dropped else ""
    if request.max_risk is not None:
        least = minimum_examples(request.max_risk, 1.0 - (1.0 - request.confidence) / asked)
        if n < least:
            raise ValueError(
                f"A risk of at most {request.max_risk:g} cannot be certified with confidence {request.confidence:g} on "
                f"{n} examples{without}, even if every decision on them is right: it takes at least {least}. "
                "Label more examples, or ask for a higher max_risk or a lower confidence."
            )
    if n < _LEAST_EXAMPLES:
        raise ValueError(
            f"Calibrating takes at least {_LEAST_EXAMPLES} labelled examples; got {n}{without}. Fewer say too little "
            "about how often the router is wrong."
        )


def _check_share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
        percent = isinstance(value, int | float) and not isinstance(value, bool) and 1.0 < value < 100.0
        hint = f" Did you mean {value / 100:g}, that is {value:g} %?" if percent else ""
        raise ValueError(f"{name} must be a share between 0 and 1, both excluded; got {value!r}.{hint}")


def _read_costs(costs: Sequence[float]) -> tuple[float, float, float]:
    values = tuple(costs) if isinstance(costs, Sequence) and not isinstance(costs, str) else (costs,)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != len(values) or len(values) not in (2, 3) or not all(map(math.isfinite, numbers)):
        raise ValueError(
            "costs must be two or three numbers: what a wrong tool costs, what a call of the language model costs, and "
            f"the share of calls in which the model is wrong (0 if left out); got {costs!r}."
        )
    wrong_tool, call, call_errs = (*numbers, 0.0)[:3]
    if wrong_tool <= 0 or call < 0 or not 0 <= call_errs <= 1:
        raise ValueError(
            "A wrong tool must cost more than 0, a call of the language model at least 0, and its share of errors must "
            f"be within [0, 1]; got {costs!r}."
        )
    return float(wrong_tool), float(call), float(call_errs)
