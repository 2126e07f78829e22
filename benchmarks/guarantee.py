"""Whether a certified error rate holds, what it costs in coverage, and how far a calibrated confidence is right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor
from tqdm import tqdm

from benchmarks.figures import Benchmark, Figure
from benchmarks.frozen import CONFIG
from benchmarks.setting import LABELLED, NONE_ROWS, Corpus, Setting
from benchmarks.training import train
from dspy_router.learning.settings import TrainConfig
from dspy_router.records import Episode
from dspy_router.reliability import expected_calibration_error, risk_coverage
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.router import Router
from dspy_router.routing.trust.calibrating import Request, calibrate, read_sample
from dspy_router.routing.trust.candidates import Sample
from dspy_router.routing.trust.guarantee import certify, minimum_examples
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.runtime.certificate import Identity


@dataclass(frozen=True)
class GuaranteeConfig:
    """How often and at which risks.

    Attributes:
        splits: Random draws and splits of the validation part, for each risk.
        map_splits: Splits on which the maps are fitted, which takes seconds each.
        confidence: With what probability the risks are certified.
        test_level: One-sided level of the binomial test of the violations.
    """

    splits: int = 1000
    map_splits: int = 1000
    confidence: float = 0.95
    test_level: float = 0.01


QUICK = GuaranteeConfig(splits=20, map_splits=2)
# Risk to how far the mean coverage may lie below the best one in hindsight.
GAPS = {0.01: 0.08, 0.02: 0.05, 0.05: 0.03}
ERROR_TARGETS = {"clinc150": 0.015, "toole": 0.025}
EMPIRICAL = "threshold at which the calibration examples just meet the risk"


class Remembered:
    """A router's logits of known texts, so that it decides on each only once; what `calibrate` asks of a router."""

    def __init__(self, router: Router, texts: Sequence[str]) -> None:
        self.tools, self.seen = router.tools, SeenTexts()
        self._rows = dict(zip(texts, router.logits(texts), strict=True))

    def logits(self, texts: Sequence[str]) -> Tensor:
        """Those of these texts, [n, k + 1]."""
        return torch.stack([self._rows[text] for text in texts])


def run(setting: Setting) -> Iterator[Figure]:
    """Frozen MiniLM and a trained policy, calibrated on random halves of the validation part.

    Violations: the whole part is the population; a calibration set of half its size is drawn from it with replacement,
    and the truth is the population's own risk at the bar. Coverage: the part is cut in two; the hindsight is the best
    threshold for the test half, by its own labels.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        yield from measure(setting, corpus, setting.encoder, setting.adapt(CONFIG))


def measure(setting: Setting, corpus: Corpus, encoder: Encoder, training: TrainConfig) -> Iterator[Figure]:
    """The figures of a router over this encoder, trained so."""
    config = QUICK if setting.quick else GuaranteeConfig()
    none_train, none_val = setting.none_rows() if corpus.name == "clinc150" else ([], [])
    examples = [*corpus.val, *none_val]
    router = train(corpus, encoder, training, examples=[*corpus.train, *none_train]).router
    decided = Remembered(router, list(dict.fromkeys(example.text for example in examples)))
    sample = read_sample(decided, [one.text for one in examples], [one.labels[0] for one in examples])
    split = "val + none_val" if none_val else "val"
    for risk in GAPS:
        yield from _guarantee(sample, risk, config, setting.seed, {"data": corpus.name, "split": split})
    yield _calibration(decided, examples, config, corpus, setting.seed, split)


def _guarantee(
    sample: Sample, risk: float, config: GuaranteeConfig, seed: int, where: dict[str, Any]
) -> Iterator[Figure]:
    n, wrong, draw = len(sample), ~sample.hits, np.random.default_rng(seed)
    half = n // 2
    violated, empirical_violated = 0, 0
    covered: list[float] = []
    empirical_covered: list[float] = []
    hindsight: list[float] = []
    pointwise: list[float] = []
    exceeded, noise, empirical_exceeded, empirical_noise = 0, 0.0, 0, 0.0
    for _ in tqdm(range(config.splits), f"{where['data']}, risk {risk:.0%}", delay=2, leave=False):
        drawn = draw.integers(0, n, half)
        bar, empirical = _bars(sample, drawn, risk, config.confidence)
        violated += _risk(sample, wrong, bar) > risk
        empirical_violated += _risk(sample, wrong, empirical) > risk
        order = draw.permutation(n)
        fitted, test = order[:half], order[half:]
        bar, empirical = _bars(sample, fitted, risk, config.confidence)
        covered.append(float((sample.scores[test] >= bar).mean()))
        empirical_covered.append(float((sample.scores[test] >= empirical).mean()))
        pointwise.append(_pointwise(sample.scores[fitted], wrong[fitted], risk, 1.0 - config.confidence))
        hindsight.append(_best(sample.scores[test], wrong[test], risk))
        above, by_noise = _on_test(sample, wrong, test, bar, risk)
        exceeded, noise = exceeded + above, noise + by_noise
        above, by_noise = _on_test(sample, wrong, test, empirical, risk)
        empirical_exceeded, empirical_noise = empirical_exceeded + above, empirical_noise + by_noise
    promised = 1.0 - config.confidence
    yield Figure.share(
        f"violated, risk {risk:.0%}",
        violated,
        config.splits,
        target=float(binom.ppf(1.0 - config.test_level, config.splits, promised)) / config.splits,
        bound="at most",
        baselines={EMPIRICAL: empirical_violated / config.splits},
        note=f"draws with replacement; promised {promised:.0%}, the target is what a binomial test at "
        f"{config.test_level:.0%} still lets pass",
        **where,
    )
    yield Figure(
        f"mean coverage below hindsight, risk {risk:.0%}",
        float(np.mean(hindsight) - np.mean(covered)),
        target=GAPS[risk],
        bound="at most",
        baselines={
            "coverage": float(np.mean(covered)),
            "coverage in hindsight": float(np.mean(hindsight)),
            f"coverage of the {EMPIRICAL}": float(np.mean(empirical_covered)),
            "below hindsight if each threshold were tested as the only one": float(
                np.mean(hindsight) - np.mean(pointwise)
            ),
        },
        note=f"halves; certifying takes {minimum_examples(risk, config.confidence)} kept examples without an error",
        **where,
    )
    yield Figure.share(
        f"test halves above the risk, risk {risk:.0%}",
        exceeded,
        config.splits,
        baselines={
            "of those, by chance in the test half alone": noise / config.splits,
            EMPIRICAL: empirical_exceeded / config.splits,
            f"{EMPIRICAL}, by chance alone": empirical_noise / config.splits,
        },
        note="halves; by chance: were each kept test decision wrong with the whole part's risk",
        **where,
    )


def _bars(sample: Sample, rows: NDArray[np.int64], risk: float, confidence: float) -> tuple[float, float]:
    """The certified bar and the one at which the examples just meet the risk."""
    scores, wrong = sample.scores[rows], ~sample.hits[rows]
    best = _best(scores, wrong, risk)
    empirical = float(np.quantile(scores, 1.0 - best, method="higher")) if best else math.inf
    return certify(scores, wrong, max_risk=risk, confidence=confidence).bar, empirical


def _best(scores: NDArray[np.float64], wrong: NDArray[np.bool_], risk: float) -> float:
    """The largest coverage at which no more than `risk` are wrong."""
    return max((coverage for coverage, share in risk_coverage(scores, ~wrong) if share <= risk), default=0.0)


def _risk(sample: Sample, wrong: NDArray[np.bool_], bar: float) -> float:
    kept = sample.scores >= bar
    return float(wrong[kept].mean()) if kept.any() else 0.0


def _on_test(
    sample: Sample, wrong: NDArray[np.bool_], test: NDArray[np.int64], bar: float, risk: float
) -> tuple[bool, float]:
    """Whether the test half's risk is above, and how probable that is by chance, given the whole part's risk."""
    kept = sample.scores[test] >= bar
    count = int(kept.sum())
    if count == 0:
        return False, 0.0
    allowed = math.floor(risk * count + 1e-9)
    return bool(wrong[test][kept].sum() > allowed), float(binom.sf(allowed, count, _risk(sample, wrong, bar)))


def _pointwise(scores: NDArray[np.float64], wrong: NDArray[np.bool_], risk: float, delta: float) -> float:
    """The largest coverage whose own exact test is passed, as though no other threshold had been tried.

    It guarantees nothing, as the best of many tests is taken; no search can find more, so that it shows how much of the
    loss is the price of so few examples.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.arange(1, len(scores) + 1)
    passed = np.flatnonzero(binom.cdf(np.cumsum(wrong[order]), kept, risk) <= delta)
    return float(kept[passed[-1]]) / len(scores) if len(passed) else 0.0


def _calibration(
    decided: Remembered, examples: Sequence[Episode], config: GuaranteeConfig, corpus: Corpus, seed: int, split: str
) -> Figure:
    """The calibration error on one half after fitting on the other."""
    draw, identity = np.random.default_rng(seed), Identity("", "", "", "")
    after: list[float] = []
    before: list[float] = []
    perfect: list[float] = []
    methods: dict[str, int] = {}
    for _ in tqdm(range(config.map_splits), f"{corpus.name}, calibration", delay=2, leave=False):
        order = draw.permutation(len(examples)).tolist()
        fitted, test = order[: len(order) // 2], [examples[row] for row in order[len(order) // 2 :]]
        request = Request(seed=seed)
        calibration, _ = calibrate(decided, identity, [examples[row] for row in fitted], request)
        methods[calibration.method] = methods.get(calibration.method, 0) + 1
        sample = read_sample(decided, [one.text for one in test], [one.labels[0] for one in test])
        rows = calibration.apply(sample.logits, sample.choices.tolist(), sample.names).rows
        confidence = rows[np.arange(len(rows)), sample.choices]
        after.append(expected_calibration_error(confidence, sample.hits))
        raw = torch.from_numpy(sample.logits).softmax(1).numpy()
        before.append(expected_calibration_error(raw[np.arange(len(rows)), sample.choices], sample.hits))
        perfect.append(expected_calibration_error(confidence, draw.random(len(confidence)) < confidence))
    picked = ", ".join(f"{name} ({count})" for name, count in sorted(methods.items(), key=lambda pair: -pair[1]))
    return Figure.mean(
        "calibration error, 15 bins of equal mass",
        after,
        data=corpus.name,
        split=f"half of {split}, fitted on the other half",
        target=ERROR_TARGETS[corpus.name],
        bound="at most",
        baselines={
            "uncalibrated": float(np.mean(before)),
            "a perfect confidence, by chance": float(np.mean(perfect)),
        },
        note=f"{config.map_splits} splits; picked: {picked}",
    )


NEEDS = {"clinc150": (*LABELLED["clinc150"], *NONE_ROWS), "toole": LABELLED["toole"]}
BENCHMARK = Benchmark(
    "guarantee",
    run,
    target="risks of 1, 2, 5 % violated in at most the promised 5 % of draws (binomial test at 1 %), mean coverage "
    "within 8, 5, 3 points of hindsight; calibration error 1.5 % clinc150, 2.5 % toole",
    needs=NEEDS,
)
