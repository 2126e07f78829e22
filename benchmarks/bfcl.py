"""Eight recorded models, the router, and both: the same questions, the same rule, every cell of the table."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates import Choices, Shared, texts_of, train_shared, unseen
from benchmarks.figures import Benchmark, Figure
from benchmarks.keeping import Sureness, sureness
from benchmarks.setting import BFCL, Setting
from benchmarks.zeroshot import Question, read_questions, read_recorded
from dspy_router.evaluation.cost_plots import quality_by_calls
from dspy_router.evaluation.paired import mcnemar
from dspy_router.evaluation.plots import save

SCORED = ("multiple", "simple_python", "irrelevance")
LEARNED_FROM = ("parallel", "parallel_multiple")
SEEDS = 5
UNTRAINED, TRAINED = "untrained", "trained on other categories' tools"
CALIBRATED = "none calibrated on the other half"
MEAN = "mean of the three"
_SPLIT = "multiple + simple_python + irrelevance"
_QUICK_MOST = 20
_STEPS = 101

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """What one model did on each of n questions.

    Attributes:
        right: Whether it called exactly what had to be called, [n].
        tokens: Tokens in and out, [n]; NaN where they were not recorded.
    """

    right: Flags
    tokens: NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The questions that are scored, and everybody's answers to them.

    Attributes:
        questions: n questions of the three categories.
        models: The recorded ones by name.
        routers: What the router does, by how it was made.
        seed: Of the halves.
    """

    questions: Sequence[Question]
    models: Mapping[str, Recorded]
    routers: Mapping[str, Choices]
    seed: int

    @cached_property
    def kinds(self) -> NDArray[np.str_]:
        """The category of each question, [n]."""
        return np.array([question.category for question in self.questions])

    @cached_property
    def halves(self) -> NDArray[np.int64]:
        """0 or 1 for each question, [n]; both halves have as many of each category."""
        halves = np.zeros(len(self.questions), dtype=np.int64)
        for kind in SCORED:
            rows = np.flatnonzero(self.kinds == kind).tolist()
            random.Random(self.seed).shuffle(rows)
            halves[rows[: len(rows) // 2]] = 1
        return halves

    def cells(self, right: Flags) -> dict[str, float]:
        """The share that is right in each category, and the mean of these."""
        shares = {kind: float(right[self.kinds == kind].mean()) for kind in SCORED}
        return {**shares, MEAN: float(np.mean(list(shares.values())))}

    def sure(self, router: str) -> Sureness:
        """How sure a router is of each question, [n]: of each half as calibrated on the other."""
        confidence, right = np.zeros(len(self.questions)), np.zeros(len(self.questions), dtype=np.bool_)
        # Every category counts alike, as it does in the mean.
        sizes = np.array([(self.kinds == kind).sum() for kind in self.kinds])
        for half in (0, 1):
            scored, fixed = (np.flatnonzero(self.halves == side) for side in (half, 1 - half))
            part = sureness(self.routers[router], fixed, scored, weights=len(sizes) / 3 / sizes[fixed])
            confidence[scored], right[scored] = part
        return Sureness(confidence, right)

    def kept(self, sure: Sureness, model: str) -> Flags:
        """The questions that the router keeps, [n]: it is surer than the model is right on the other half."""
        hits, kept = self.models[model].right, np.zeros(len(self.questions), dtype=np.bool_)
        for half in (0, 1):
            other = self.halves != half
            skill = np.mean([hits[other & (self.kinds == kind)].mean() for kind in SCORED])
            kept |= ~other & (sure.confidence >= skill)
        return kept

    def sweep(self, sure: Sureness, model: str) -> list[tuple[float, float]]:
        """Share of calls and mean share right, if the router keeps the questions that it is surest of, ever fewer."""
        order, hits = np.argsort(-sure.confidence, kind="stable"), self.models[model].right
        points = []
        for share in np.linspace(0.0, 1.0, _STEPS):
            kept = np.zeros(len(order), dtype=np.bool_)
            kept[order[: round((1 - share) * len(order))]] = True
            points.append((float(share), self.cells(np.where(kept, sure.right, hits))[MEAN]))
        return points


def run(setting: Setting) -> Iterator[Figure]:
    """Model alone, router alone and both on bfcl, with the names to call, with nothing to call, and their mean.

    The trained router has learned seven numbers that all tools share (weights of the views and of words, scale, level
    of none) from the parallel categories' questions that have no tool and no text in common with what is scored.

    For router and model together, the confidence is calibrated on one half of the questions and the other half is
    scored, and the other way round, so that every question is scored once and none by a threshold that has seen it. A
    question is kept by the router if it is surer of it than the model was right on the half that is not scored.
    """
    if not setting.wants("bfcl"):
        return
    table, means = read_table(setting)
    yield from _alone(table, means)
    sures = {router: table.sure(router) for router in table.routers}
    rows = [{"who": f"router, {name}", **table.cells(one.right)} for name, one in table.routers.items()]
    rows += [{"who": f"router, {name}, {CALIBRATED}", **table.cells(one.right)} for name, one in sures.items()]
    curves, chosen = {}, {}
    for model, recorded in table.models.items():
        rows.append({"who": model, **table.cells(recorded.right)})
        for router, sure in sures.items():
            kept = table.kept(sure, model)
            yield _together(table, model, router, sure, kept)
            cells = table.cells(np.where(kept, sure.right, recorded.right))
            rows.append({"who": f"{model} + router, {router}", **cells, "calls saved": float(kept.mean())})
            if router == UNTRAINED:
                curves[model], chosen[model] = table.sweep(sure, model), (1 - float(kept.mean()), cells[MEAN])
    _write(rows, setting.out / "bfcl_table.jsonl")
    save(quality_by_calls(curves, chosen=chosen, y_label="right, mean of three categories"), setting.out / "bfcl.png")


def read_table(setting: Setting) -> tuple[Table, dict[str, list[float]]]:
    """The table, and the trained router's means with further seeds."""
    most = _QUICK_MOST if setting.quick else None
    path, encoder = setting.data / BFCL[0], setting.encoder
    questions = read_questions(path, SCORED, most=most)
    lessons = unseen(read_questions(path, LEARNED_FROM), questions)[:most]
    encoder.prepare(texts_of([*questions, *lessons]), progress=True)

    def trained(seed: int) -> Choices:
        policy = setting.zeroshot.policy(encoder.dim)
        return train_shared(lessons, encoder, policy, seed=seed).choose(questions, encoder)

    routers = {
        UNTRAINED: Shared(setting.zeroshot.policy(encoder.dim)).choose(questions, encoder),
        TRAINED: trained(setting.seed),
    }
    table = Table(questions, read_models(setting.data / BFCL[1], questions), routers, setting.seed)
    seeds = range(setting.seed + 1, setting.seed + (2 if setting.quick else SEEDS))
    return table, {TRAINED: [table.cells(trained(seed).right)[MEAN] for seed in seeds]}


def read_models(path: Path, questions: Sequence[Question]) -> dict[str, Recorded]:
    """What each recorded model did on these questions."""
    tokens: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            counts = [row.get(side) for side in ("input_tokens", "output_tokens")]
            tokens[row["model"], row["id"]] = math.nan if None in counts else sum(counts)
    return {
        model: Recorded(
            np.array([called[question.id] == question.gold for question in questions]),
            np.array([tokens[model, question.id] for question in questions]),
        )
        for model, called in read_recorded(path).items()
    }


def _alone(table: Table, means: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    """The router alone in each category and on the mean, beside every model alone."""
    cells = {name: table.cells(one.right) for name, one in table.routers.items()}
    calibrated = {name: table.cells(table.sure(name).right) for name in table.routers}
    models = {name: table.cells(one.right) for name, one in table.models.items()}
    for kind in (*SCORED, MEAN):
        beside = {f"router, {UNTRAINED}": cells[UNTRAINED][kind]}
        beside |= {f"router, {name}, {CALIBRATED}": one[kind] for name, one in calibrated.items()}
        beside |= {name: one[kind] for name, one in models.items()}
        what, about = f"router alone, {TRAINED}: {kind}", {"data": "bfcl", "baselines": beside}
        if kind != MEAN:
            rows = table.kinds == kind
            hits = int(table.routers[TRAINED].right[rows].sum())
            yield Figure.share(what, hits, int(rows.sum()), split=kind, **about)
            continue
        seeds = ", ".join(f"{100 * mean:.1f}" for mean in means[TRAINED])
        tests = "; ".join(
            f"{name} {_p(mcnemar(one.right, table.routers[TRAINED].right))}" for name, one in table.models.items()
        )
        note = f"with the next seeds {seeds} %; McNemar, exact, on all questions, against {tests}"
        yield Figure(what, cells[TRAINED][kind], _SPLIT, n=len(table.questions), note=note, **about)


def _together(table: Table, model: str, router: str, sure: Sureness, kept: Flags) -> Figure:
    recorded = table.models[model]
    both = np.where(kept, sure.right, recorded.right)
    alone, cells = table.cells(recorded.right), table.cells(both)
    gained, lost = int((both & ~recorded.right).sum()), int((recorded.right & ~both).sum())
    detail = ", ".join(f"{kind} {100 * alone[kind]:.1f} → {100 * cells[kind]:.1f}" for kind in SCORED)
    spared = recorded.tokens[kept].sum() / recorded.tokens.sum()
    tokens = "tokens were not recorded" if math.isnan(spared) else f"{100 * spared:.0f} % of the tokens"
    return Figure(
        f"{model} behind the router, {router}: {MEAN}",
        cells[MEAN],
        _SPLIT,
        "bfcl",
        n=len(both),
        baselines={"the model alone": alone[MEAN], "the router alone": table.cells(table.routers[router].right)[MEAN]},
        note=f"saved: {100 * kept.mean():.0f} % of the calls, {tokens}; {detail}; {gained} gained, {lost} lost, "
        f"{_p(mcnemar(recorded.right, both))} (McNemar, exact)",
    )


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def _write(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    partial.replace(path)


BENCHMARK = Benchmark(
    "bfcl",
    run,
    target="none was set for the cells; complete for all eight models, in at most 5 minutes",
    needs={"bfcl": BFCL},
)
