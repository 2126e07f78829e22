"""The table of recorded models: its halves, its cells, its rule, and what a router learns that all tools share."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.bfcl import MEAN, SCORED, TRAINED, UNTRAINED, Recorded, Table, _together, read_models, run
from benchmarks.candidates import Choices, Shared, train_shared, unseen
from benchmarks.setting import Setting
from benchmarks.vectors import CachedEncoder
from benchmarks.zeroshot import Question
from dspy_router import HashEncoder, ToolCard
from dspy_router.routing.policies import ToolSpacePolicy

KINDS = ["multiple"] * 20 + ["simple_python"] * 40 + ["irrelevance"] * 20
NONE = np.array([kind == "irrelevance" for kind in KINDS])
QUESTIONS = [Question(str(row), kind, "", (), frozenset()) for row, kind in enumerate(KINDS)]
# The router tells the kinds apart; of every five tools it takes the wrong one once.
CHOICES = Choices(np.where(NONE, -2.0, 2.0) * np.linspace(0.5, 1.5, 80), ~NONE & (np.arange(80) % 5 > 0), NONE)
ALWAYS_CALLS = Recorded(~NONE, np.full(80, 10.0))


def table(**models):
    return Table(QUESTIONS, models or {"calls": ALWAYS_CALLS}, {UNTRAINED: CHOICES, TRAINED: CHOICES}, seed=0)


def questions(*topics, category="parallel"):
    return [
        Question(
            f"{category}_{topic}",
            category,
            f"please {topic} this",
            (ToolCard(topic, f"{topic} something"),),
            frozenset([topic]),
        )
        for topic in topics
    ]


class TestTable:
    def test_halves_have_as_many_of_each_category(self):
        halves = table().halves
        assert [int(halves[np.array(KINDS) == kind].sum()) for kind in SCORED] == [10, 20, 10]

    def test_the_mean_is_of_the_categories_and_not_of_the_questions(self):
        cells = table().cells(~NONE)
        assert cells == {"multiple": 1.0, "simple_python": 1.0, "irrelevance": 0.0, MEAN: pytest.approx(2 / 3)}

    def test_who_is_never_wrong_is_asked_everything_and_who_always_is_nothing(self):
        ends = table(
            perfect=Recorded(~np.zeros(80, bool), np.ones(80)), hopeless=Recorded(np.zeros(80, bool), np.ones(80))
        )
        sure = ends.sure(UNTRAINED)
        assert not ends.kept(sure, "perfect").any()
        assert ends.kept(sure, "hopeless").all()

    def test_what_is_kept_in_a_half_does_not_depend_on_the_models_luck_in_it(self):
        first = table().halves == 0
        lucky = Recorded(np.where(first, True, ALWAYS_CALLS.right), np.ones(80))
        two = table(calls=ALWAYS_CALLS, lucky=lucky)
        sure = two.sure(UNTRAINED)
        assert (two.kept(sure, "calls")[first] == two.kept(sure, "lucky")[first]).all()

    def test_the_sweep_runs_from_the_router_alone_to_the_model_alone(self):
        one = table()
        sure = one.sure(UNTRAINED)
        points = one.sweep(sure, "calls")
        assert points[0] == (0.0, one.cells(sure.right)[MEAN])
        assert points[-1] == (1.0, one.cells(ALWAYS_CALLS.right)[MEAN])
        assert [x for x, _ in points] == sorted(x for x, _ in points)

    def test_a_row_tells_what_was_saved_gained_and_lost(self):
        one = table()
        kept = np.arange(80) >= 60  # the router keeps what is irrelevant
        figure = _together(one, "calls", UNTRAINED, one.sure(UNTRAINED), kept)
        assert figure.value == 1.0
        assert figure.baselines["the model alone"] == pytest.approx(2 / 3)
        assert "25 % of the calls, 25 % of the tokens" in figure.note
        assert "20 gained, 0 lost, p < 0.0001" in figure.note

    def test_tokens_that_were_not_recorded_are_not_taken_for_zero(self, tmp_path):
        rows = [{"id": "0", "model": "m", "called": [], "input_tokens": None, "output_tokens": None}]
        (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
        read = read_models(tmp_path / "r.jsonl", QUESTIONS[:1])["m"]
        assert math.isnan(read.tokens[0])
        assert read.right[0]
        silent = table(m=Recorded(~NONE, np.full(80, math.nan)))
        note = _together(silent, "m", UNTRAINED, silent.sure(UNTRAINED), NONE).note
        assert "tokens were not recorded" in note


class TestSharedParts:
    def test_none_is_learned_without_a_row_of_it(self):
        encoder = CachedEncoder(HashEncoder())
        lessons = questions("translate", "paint", "measure", "publish", "weigh", "harvest", "compose", "navigate")
        fresh = [
            *questions("bake", "sing"),
            *(
                Question(
                    f"i{n}", "irrelevance", f"please {verb} this", (ToolCard("file", "file something"),), frozenset()
                )
                for n, verb in enumerate(("swim", "climb"))
            ),
        ]
        before = Shared(ToolSpacePolicy(encoder.dim, none_level=-1)).choose(fresh, encoder)
        after = train_shared(lessons, encoder, ToolSpacePolicy(encoder.dim, none_level=-1)).choose(fresh, encoder)
        assert before.right.tolist() == [True, True, False, False]
        assert after.right.tolist() == [True] * 4

    def test_the_seed_decides(self):
        encoder, lessons = CachedEncoder(HashEncoder(32)), questions("translate", "paint", "measure")
        odds = [
            train_shared(lessons, encoder, ToolSpacePolicy(32), seed=seed).choose(lessons, encoder).odds.tolist()
            for seed in (1, 1, 2)
        ]
        assert odds[0] == odds[1] != odds[2]

    def test_what_shares_a_tool_or_a_text_with_the_scored_is_left_out(self):
        scored = questions("a.b", "c", category="multiple")
        train = [*questions("a_b", "d"), scored[1]._replace(cards=(ToolCard("e"),), gold=frozenset("e"))]
        assert [question.query for question in unseen(train, scored)] == ["please d this"]

    def test_one_toolset_has_nothing_that_does_not_fit(self):
        with pytest.raises(ValueError, match="at least two sets of tools"):
            train_shared(questions("a"), CachedEncoder(HashEncoder(8)), ToolSpacePolicy(8))


def test_the_table_is_complete_and_drawn(tmp_path):
    folder = tmp_path / "bfcl"
    folder.mkdir()
    rows = []
    for category in (*SCORED, "parallel", "parallel_multiple"):
        for n, verb in enumerate(("bake", "sing", "paint", "weigh")):
            name = f"{verb}_{category}"
            tool = {
                "name": name,
                "description": f"{verb} for {category}",
                "parameters": {"type": "dict", "properties": {}},
            }
            query = f"{'swim' if category == 'irrelevance' else verb} number {n} for {category}"
            gold = [] if category == "irrelevance" else [name]
            rows.append({"id": f"{category}_{n}", "category": category, "query": query, "tools": [tool], "gold": gold})
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recorded = [
        {"id": row["id"], "model": model, "called": row["gold"] if n % 3 else [], "input_tokens": 9, "output_tokens": 1}
        for model in ("one", "two")
        for n, row in enumerate(rows)
    ]
    (folder / "recorded_choices.jsonl").write_text("\n".join(map(json.dumps, recorded)))
    setting = Setting(tmp_path, tmp_path / "out", quick=True)
    setting.__dict__["encoder"] = CachedEncoder(HashEncoder())
    figures = list(run(setting))
    assert len(figures) == 4 + 2 * 2
    written = [json.loads(line) for line in (tmp_path / "out/bfcl_table.jsonl").read_text().splitlines()]
    assert [row["who"] for row in written[:2]] == [f"router, {UNTRAINED}", f"router, {TRAINED}"]
    assert len(written) == 2 * 2 + 2 * 3  # each router as it is and calibrated; each model alone and behind both
    assert all({*SCORED, MEAN} <= row.keys() for row in written)
    assert (tmp_path / "out/bfcl.png").stat().st_size > 10_000
