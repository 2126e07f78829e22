"""Router first, language model where it is unsure: recorded choices of eight models as the fallback on bfcl."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.candidates import Choices, Shared, texts_of
from benchmarks.figures import Benchmark, Figure
from benchmarks.keeping import sureness
from benchmarks.setting import BFCL, Setting
from benchmarks.zeroshot import Question, read_questions, read_recorded

HALVES = 10
SAVED, MODELS = 0.5, 6
_FIXED, _SCORED, _SHARED = "simple_python", "multiple", "irrelevance"
_SPLIT = "multiple + half of irrelevance"


class Pair(NamedTuple):
    """A model alone and behind the router: right on each scored question or not, [m], and whose questions are kept."""

    alone: NDArray[np.bool_]
    together: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, and enough calls were saved."""
        return int(self.together.sum()) >= int(self.alone.sum()) and float(self.kept.mean()) >= SAVED


def run(setting: Setting) -> Iterator[Figure]:
    """The untrained router keeps what it is sure of, tool or none; the rest goes to a model as it was recorded.

    All is fixed on `simple_python` and one half of `irrelevance`. The confidence is the logistic regression of
    "answerable" on one number, the log-odds of the best tool against none. A question is kept if the router is surer
    of it than the model is right there, the mean of both kinds of questions (Chow 1970, "On optimum recognition error
    and reject tradeoff": hand over where the other errs less). `multiple` and the other half of `irrelevance` are
    scored; the halves of further seeds show what hangs on them.
    """
    if not setting.wants("bfcl"):
        return
    categories = (_FIXED, _SCORED, _SHARED)
    questions = read_questions(setting.data / BFCL[0], categories, most=20 if setting.quick else None)
    recorded = read_recorded(setting.data / BFCL[1])
    setting.encoder.prepare(texts_of(questions))
    choices = Shared(setting.zeroshot.policy(setting.encoder.dim)).choose(questions, setting.encoder)
    models = {
        name: np.array([called[question.id] == question.gold for question in questions])
        for name, called in recorded.items()
    }
    trials = [_pairs(questions, choices, models, setting.seed + step) for step in range(HALVES)]
    for name, pair in trials[0].items():
        yield _beside(name, pair)
    counts = [sum(pair.holds for pair in pairs.values()) for pairs in trials]
    yield Figure(
        f"models that lose nothing, with {SAVED:.0%} of their calls saved or more",
        counts[0] / len(models),
        split=_SPLIT,
        data="bfcl",
        n=len(models),
        target=MODELS / len(models),
        note=f"{counts[0]} of {len(models)}; with the halves of the next {HALVES - 1} seeds "
        f"{', '.join(map(str, counts[1:]))}",
    )


def _beside(name: str, pair: Pair) -> Figure:
    gained, lost = int((pair.together & ~pair.alone).sum()), int((pair.alone & ~pair.together).sum())
    # McNemar's test in its exact form: of the questions that only one of the two gets right, how many are ours.
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return Figure.share(
        f"behind the router: {name}",
        int(pair.together.sum()),
        len(pair.together),
        split=_SPLIT,
        data="bfcl",
        baselines={"the model alone": float(pair.alone.mean())},
        note=f"{pair.kept.mean():.0%} of its calls saved; {gained} gained, {lost} lost, p = {p:.2g} (McNemar, exact)",
    )


def _pairs(
    questions: Sequence[Question], choices: Choices, models: Mapping[str, NDArray[np.bool_]], seed: int
) -> dict[str, Pair]:
    """Each model alone and behind the router, with the halves of a seed."""
    rows = {name: [i for i, q in enumerate(questions) if q.category == name] for name in (_FIXED, _SCORED, _SHARED)}
    shared = random.Random(seed).sample(rows[_SHARED], len(rows[_SHARED]))
    half = len(shared) // 2
    fixed, scored = np.array(rows[_FIXED] + shared[:half]), np.array(rows[_SCORED] + shared[half:])
    sure = sureness(choices, fixed, scored)
    pairs = {}
    for name, hits in models.items():
        kept = sure.confidence >= (hits[rows[_FIXED]].mean() + hits[shared[:half]].mean()) / 2
        pairs[name] = Pair(hits[scored], np.where(kept, sure.right, hits[scored]), kept)
    return pairs


BENCHMARK = Benchmark(
    "hybrid",
    run,
    target=f"at least {MODELS} of 8 models no less right with {SAVED:.0%} of their calls saved",
    needs={"bfcl": BFCL},
)
