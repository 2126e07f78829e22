"""No training at all: the cards alone, beside plain cosine and beside what language models called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import BFCL, LABELLED, Corpus, Setting, label_of
from dspy_router.records import ToolCard
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.router import Router

# clinc150 has no target of its own: its cards are bare names.
TARGETS: Mapping[str, Mapping[int, float]] = {"toole": {1: 0.538, 5: 0.767}, "clinc150": {}}
BFCL_TARGET = 0.985
COSINE: Mapping[str, Any] = {"view_weights": (1, 0, 0), "word_weight": 0}
PLAIN = "plain cosine, tools alone"
_RECORDED = "the router may choose none; the models' calls were recorded in August 2024"
_OTHER = re.compile(r"[^A-Za-z0-9_]")


def run(setting: Setting) -> Iterator[Figure]:
    """Zero-shot: the untrained router goes by the cards alone.

    On bfcl every question brings its own tools, so a router is built for each. What it is held against was recorded in
    August 2024: what eight language models called on the same questions.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        yield from _ranking(setting, corpus)
    if setting.wants("bfcl"):
        yield from _function_calling(setting)


def _ranking(setting: Setting, corpus: Corpus) -> Iterator[Figure]:
    encoder = setting.encoder
    texts = [example.text for example in corpus.val]
    encoder.prepare(texts, progress=True)
    ours = Router.from_tools(corpus.cards, encoder=encoder, policy=setting.zeroshot.policy(encoder.dim))
    cosine = Router.from_tools(corpus.cards, encoder=encoder, policy=ToolSpacePolicy(encoder.dim, **COSINE))
    ours_p, cosine_p = ours.probabilities(texts), cosine.probabilities(texts)
    right = [ours.tools.index(label_of(example)) for example in corpus.val]
    for k in (1, 5):
        yield Figure.share(
            f"top-{k}, none may be chosen" if k == 1 else f"top-{k}, none is an option",
            hits_within(ours_p, right, k),
            len(texts),
            split="val",
            data=corpus.name,
            target=TARGETS[corpus.name].get(k),
            baselines={
                PLAIN: hits_within(cosine_p[:, :-1], right, k) / len(texts),
                "ours, tools alone": hits_within(ours_p[:, :-1], right, k) / len(texts),
            },
        )


def hits_within(scores: Tensor, right: Sequence[int], k: int) -> int:
    """In how many rows of `scores`, float32 [n, m], the right column is among the k highest."""
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices.tolist()
    return sum(column in row for column, row in zip(right, top, strict=True))


class Question(NamedTuple):
    """A question of the function-calling leaderboard; `gold` is empty where nothing is to be called."""

    id: str
    category: str
    query: str
    cards: tuple[ToolCard, ...]
    gold: frozenset[str]


def plain_names(names: Iterable[str]) -> frozenset[str]:
    """Names as they are compared: whatever an API would not have allowed in them reads `_`."""
    return frozenset(_OTHER.sub("_", name) for name in names)


def read_questions(path: Path, categories: Sequence[str], *, most: int | None = None) -> list[Question]:
    """Questions of these categories, at most so many of each."""
    kept: dict[str, list[Question]] = {category: [] for category in categories}
    for row in _rows(path):
        rows = kept.get(row["category"])
        if rows is not None and (most is None or len(rows) < most):
            cards = tuple(ToolCard.from_tool(tool) for tool in row["tools"])
            rows.append(Question(row["id"], row["category"], row["query"], cards, plain_names(row["gold"])))
    return [question for rows in kept.values() for question in rows]


def read_recorded(path: Path) -> dict[str, dict[str, frozenset[str]]]:
    """What each model called on each question: model, question id, names."""
    called: dict[str, dict[str, frozenset[str]]] = {}
    for row in _rows(path):
        called.setdefault(row["model"], {})[row["id"]] = plain_names(row["called"])
    return called


def count_names(called: Mapping[str, frozenset[str]], questions: Sequence[Question]) -> int:
    """On how many questions exactly the right names were called; nothing, where nothing was to be called."""
    return sum(called[question.id] == question.gold for question in questions)


def _function_calling(setting: Setting) -> Iterator[Figure]:
    questions_path, recorded_path = (setting.data / path for path in BFCL)
    questions = read_questions(questions_path, setting.zeroshot.categories, most=10 if setting.quick else None)
    setting.encoder.prepare([text for q in questions for text in (q.query, *(v for c in q.cards for v in c.views))])
    ours, forced, cosine = _choose(setting, questions)
    others = {PLAIN: cosine, "ours, tools alone": forced, **read_recorded(recorded_path)}
    groups = {
        "names right": [q for q in questions if q.category != "irrelevance"],
        "none right": [q for q in questions if q.category == "irrelevance"],
        "both together": questions,
    }
    for what, group in groups.items():
        if not group:
            continue
        yield Figure.share(
            what,
            count_names(ours, group),
            len(group),
            split=" + ".join(sorted({q.category for q in group}, reverse=True)),
            data="bfcl",
            target=BFCL_TARGET if {q.category for q in group} == {"multiple"} else None,
            baselines=dict(_ranked({name: count_names(called, group) / len(group) for name, called in others.items()})),
            note=_RECORDED,
        )


def _choose(setting: Setting, questions: Sequence[Question]) -> tuple[dict[str, frozenset[str]], ...]:
    """What is chosen on each question: by our router, by it without *none*, and by plain cosine without *none*."""
    encoder = setting.encoder
    ours, forced, cosine = {}, {}, {}
    for question in questions:
        router = Router.from_tools(question.cards, encoder=encoder, policy=setting.zeroshot.policy(encoder.dim))
        plain = Router.from_tools(question.cards, encoder=encoder, policy=ToolSpacePolicy(encoder.dim, **COSINE))
        decision = router.decide(question.query)
        ours[question.id] = plain_names([decision.tool] if decision.tool is not None else [])
        for chosen, made in ((forced, decision), (cosine, plain.decide(question.query))):
            chosen[question.id] = plain_names([max(made.probabilities, key=made.probabilities.__getitem__)])
    return ours, forced, cosine


def _ranked(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda pair: -pair[1])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


BENCHMARK = Benchmark(
    "zeroshot",
    run,
    target=f"toole {TARGETS['toole'][1]:.1%} top-1, {TARGETS['toole'][5]:.1%} top-5; bfcl multiple {BFCL_TARGET:.1%}",
    needs={**LABELLED, "bfcl": BFCL},
)
