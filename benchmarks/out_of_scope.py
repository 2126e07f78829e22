"""How well a router knows what no tool answers: its own P(none) beside the scores of the literature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import frozen
from benchmarks.figures import Benchmark, Figure
from benchmarks.novelty_scores import Part, Scores, from_logits, from_training
from benchmarks.setting import LABELLED, NONE_ROWS, Corpus, Setting, label_of
from benchmarks.training import MINUS_NONE, train
from dspy_router.evaluation.statistics import auroc
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.novelty import Novelty, NoveltyPolicy, without_novelty
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.router import Router

TARGETS = {"frozen": 0.97, "fine-tuned": 0.98}
RESAMPLES = 1000
_ROWS_A_TIME = 1024


def run(setting: Setting) -> Iterator[Figure]:
    """Frozen MiniLM: 1 − P(none) of a trained router, beside what else could tell.

    All that is fitted is fitted on clinc150's training queries and the 100 rows of none_train; the scores of the
    literature need no rows of *none*, but are of the same policy, which has had them.
    """
    yield from compare(setting, "frozen", setting.encoder, frozen.CONFIG)


def compare(setting: Setting, kind: str, encoder: Encoder, config: TrainConfig) -> Iterator[Figure]:
    """The figures of one kind of encoder, a key of `TARGETS`."""
    for corpus in setting.corpora("clinc150"):
        none_train, none_val = setting.none_rows()
        examples = [*corpus.train, *none_train]
        config = setting.adapt(config, quick_epochs=1 if config.train_encoder else None)
        router = train(corpus, encoder, config, examples=examples).router
        novelty = router.policy.novelty if isinstance(router.policy, NoveltyPolicy) else None
        parts = [_read(router, rows) for rows in (corpus.train, corpus.val, none_val)]
        yield from _areas(parts, corpus, novelty, router.tools, kind)
        yield from _decisions(parts, corpus, novelty, router.tools, kind)


def _read(router: Router, examples: list[Episode]) -> Part:
    policy: Policy = without_novelty(router.policy)
    space = router.space
    assert isinstance(space, Tools)  # there are too few for an index
    texts = [example.text for example in examples]
    states = router.read(texts)
    with torch.no_grad():
        rows = torch.arange(len(texts)).split(_ROWS_A_TIME)
        logits = torch.cat([policy(states.select(batch), space) for batch in rows])
    return Part(texts, states.vectors, logits)


def _areas(
    parts: list[Part], corpus: Corpus, novelty: Novelty | None, tools: tuple[str, ...], kind: str
) -> Iterator[Figure]:
    known, val, none = parts
    labels = torch.tensor([tools.index(label_of(example)) for example in corpus.train])
    scores = {
        name: (first, second)
        for (name, first), second in zip(from_logits(val).items(), from_logits(none).values(), strict=True)
    }
    scores |= {name: (score(val), score(none)) for name, score in from_training(known, labels).items()}
    if novelty is not None:
        kept = {f"{MINUS_NONE} with the novelty": (-_none_odds(novelty, val, tools), -_none_odds(novelty, none, tools))}
        scores = kept | scores
    for number, (name, (first, second)) in enumerate(scores.items()):
        yield Figure(
            f"AUROC of {name}, {kind} encoder",
            auroc(np.concatenate([first, second]), np.arange(len(first) + len(second)) < len(first)),
            split="none_val against val",
            data=corpus.name,
            unit="area",
            n=len(first) + len(second),
            interval=area_interval(first, second),
            target=TARGETS[kind] if number == 0 and novelty is not None else None,
        )


def _none_odds(novelty: Novelty, part: Part, tools: tuple[str, ...]) -> Scores:
    adjusted = novelty.adjust(part.logits.double(), tools)
    return (adjusted[:, -1] - adjusted[:, :-1].logsumexp(1)).numpy()


def _decisions(
    parts: list[Part], corpus: Corpus, novelty: Novelty | None, tools: tuple[str, ...], kind: str
) -> Iterator[Figure]:
    labels = torch.tensor([tools.index(label_of(example)) for example in corpus.val])
    nones = torch.full((len(parts[2].texts),), len(tools))
    for what, part, right, split in (
        ("tool right where one fits", parts[1], labels, "val"),
        ("none recognised", parts[2], nones, "none_val"),
    ):
        alone, both = (_hits(logits, right) for logits in (part.logits, _adjusted(novelty, part, tools)))
        beside = {"the policy alone": alone / len(right)}
        where: dict[str, Any] = {"split": split, "data": corpus.name, "baselines": beside}
        yield Figure.share(f"{what}, {kind} encoder", both, len(right), **where)


def _adjusted(novelty: Novelty | None, part: Part, tools: tuple[str, ...]) -> Tensor:
    return part.logits if novelty is None else novelty.adjust(part.logits, tools)


def _hits(logits: Tensor, right: Tensor) -> int:
    return int((logits.argmax(1) == right).sum())


def area_interval(positive: Scores, negative: Scores, *, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the area under the ROC curve; each kind is drawn anew by itself.

    Args:
        positive: Scores of what should score high, [n].
        negative: Scores of the others, [m].
        resamples: How often both are drawn.
    """
    generator = np.random.default_rng(0)
    levels, places = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    up, down = places[: len(positive)], places[len(positive) :]
    areas = np.empty(resamples)
    for number in range(resamples):
        above, below = (_drawn(kind, len(levels), generator) for kind in (up, down))
        # A pair counts 1 where the negative lies on a lower level, and 1/2 on the same.
        areas[number] = above @ (below.cumsum() - below / 2) / (len(up) * len(down))
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)


def _drawn(places: NDArray[np.int64], levels: int, generator: np.random.Generator) -> Scores:
    return np.bincount(generator.choice(places, len(places)), minlength=levels).astype(np.float64)


NEEDS = {"clinc150": (*LABELLED["clinc150"], *NONE_ROWS)}

BENCHMARK = Benchmark("out_of_scope", run, target=f"AUROC of {MINUS_NONE} {TARGETS['frozen']}", needs=NEEDS)
