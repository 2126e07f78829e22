"""The benchmarks: that their arithmetic, their draws and their comparison of names are right; no data needed."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.baselines import TfidfSvm, count_hits, train_logistic, vectors_of
from benchmarks.fewshot import few_shot
from benchmarks.figures import Benchmark, Figure
from benchmarks.registry import BENCHMARKS
from benchmarks.report import append, table
from benchmarks.setting import Corpus, Setting, check_data, label_of, slice_corpus
from benchmarks.speed import BLOCK, WARM_UP, time_in_turn
from benchmarks.training import count_right, train
from benchmarks.vectors import CachedEncoder
from benchmarks.zeroshot import count_names, hits_within, plain_names, read_questions, read_recorded
from dspy_router import Episode, HashEncoder, ToolCard, TrainConfig
from dspy_router.routing.policies import ToolSpacePolicy

TOPICS = {"weather": "rain sun wind storm", "music": "song album band concert", "food": "recipe soup bread cake"}


def corpus(rows_a_tool=12):
    cards = [ToolCard(name, f"{name}: {words}") for name, words in TOPICS.items()]
    rows = [
        Episode.from_example({"query": f"{word} question number {number}", "tool": name})
        for name, words in TOPICS.items()
        for number, word in enumerate((words.split() * rows_a_tool)[:rows_a_tool])
    ]
    return Corpus("tiny", cards, rows, rows[::3])


class CountingEncoder(HashEncoder):
    """Counts the texts it is asked for."""

    def __init__(self):
        super().__init__(64)
        self.seen = 0

    def forward(self, texts):
        self.seen += len(texts)
        return super().forward(texts)


class TestRegistry:
    def test_every_benchmark_says_what_it_measures_and_what_is_wanted(self):
        for name, benchmark in BENCHMARKS.items():
            assert benchmark.name == name
            assert benchmark.about.endswith(".")
            assert benchmark.target

    def test_every_figure_of_the_plan_has_its_benchmark(self):
        plan = "demo zeroshot frozen speed log off_policy overhead guarantee metric_only best fewshot scratch finetune"
        plan += " out_of_scope out_of_scope_finetuned hybrid bfcl calls costs loop agent serving export many_tools"
        plan += " student guarantee_finetuned"
        assert set(BENCHMARKS) == set(plan.split())

    def test_the_list_shows_each_command(self):
        shown = CliRunner().invoke(app, ["--list"]).output
        assert all(f"python -m benchmarks {name}\n" in shown for name in BENCHMARKS)


class TestCommandLine:
    def run(self, *arguments):
        return CliRunner().invoke(app, list(arguments))

    def test_missing_data_is_named_before_anything_runs(self, tmp_path):
        result = self.run("zeroshot", "--data", str(tmp_path / "nowhere"), "--on", "toole")
        assert result.exit_code == 1
        assert "is not there" in result.output
        assert "toole/tools.jsonl, toole/train.jsonl, toole/val.jsonl" in result.output
        assert "clinc150" not in result.output

    def test_a_misspelt_benchmark_is_answered_with_the_nearest(self):
        result = self.run("zeroshots")
        assert result.exit_code == 1
        assert "Did you mean 'zeroshot'?" in result.output

    def test_an_unknown_dataset_is_refused(self):
        result = self.run("--on", "clinc")
        assert result.exit_code == 1
        assert "There is no dataset 'clinc'" in result.output

    def test_only_missing_files_are_named(self, tmp_path):
        (tmp_path / "bfcl").mkdir()
        (tmp_path / "bfcl/questions.jsonl").touch()
        with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 files\. Expected below it: bfcl/recorded"):
            check_data(tmp_path, ["bfcl/questions.jsonl", "bfcl/recorded_choices.jsonl"])


class TestCachedEncoder:
    TEXTS = ("what will it rain", "play a song", "", "what will it rain")

    def test_its_vectors_are_those_of_the_encoder(self, tmp_path):
        plain, cached = HashEncoder(64), CachedEncoder(HashEncoder(64), tmp_path)
        assert torch.equal(cached(self.TEXTS), plain(self.TEXTS))
        assert cached([]).shape == (0, 64)
        assert (cached.dim, cached.fingerprint) == (plain.dim, plain.fingerprint)

    def test_each_text_is_encoded_once_across_runs(self, tmp_path):
        first, second = CountingEncoder(), CountingEncoder()
        vectors = CachedEncoder(first, tmp_path)(self.TEXTS)
        assert first.seen == 3
        assert torch.equal(CachedEncoder(second, tmp_path)(self.TEXTS), vectors)
        assert second.seen == 0

    def test_another_encoder_does_not_see_them(self, tmp_path):
        CachedEncoder(HashEncoder(64), tmp_path)(self.TEXTS)
        assert torch.equal(CachedEncoder(HashEncoder(32), tmp_path)(self.TEXTS), HashEncoder(32)(self.TEXTS))

    def test_more_texts_than_a_statement_takes(self, tmp_path):
        texts = [f"text {number}" for number in range(1201)]
        CachedEncoder(HashEncoder(8), tmp_path)(texts)
        counting = CachedEncoder(HashEncoder(8), tmp_path)
        assert counting.prepare(texts) == 0.0
        assert torch.equal(counting(texts), HashEncoder(8)(texts))

    def test_an_encoder_that_trains_is_refused(self):
        with pytest.raises(ValueError, match="cannot be cached"):
            CachedEncoder(HashEncoder(64).thawed())


class TestDraws:
    def test_they_are_balanced_without_repetition(self):
        drawn = few_shot(corpus().train, 5, seed=0)
        assert [label_of(example) for example in drawn].count("music") == 5
        assert len({example.text for example in drawn}) == len(drawn) == 15

    def test_the_seed_decides(self):
        texts = [[e.text for e in few_shot(corpus().train, 3, seed=seed)] for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]

    def test_the_order_of_the_rows_of_other_tools_has_no_effect(self):
        rows = corpus().train
        by_tool = sorted(rows, key=label_of, reverse=True)
        assert [e.text for e in few_shot(rows, 3, seed=0)] == [e.text for e in few_shot(by_tool, 3, seed=0)]

    def test_of_a_tool_with_fewer_examples_all_are_taken(self):
        examples = corpus(4).train
        drawn = few_shot(examples, 5, seed=0)
        assert sorted(example.text for example in drawn) == sorted(example.text for example in examples)

    def test_none_rows_are_left_out(self):
        none = Episode.from_example({"query": "how is glue made", "tool": None})
        assert none not in few_shot([*corpus().train, none], 1, seed=0)


class TestFunctionCalling:
    def test_names_are_compared_as_an_api_would_have_written_them(self):
        assert plain_names(["math.factorial", "get-user name"]) == {"math_factorial", "get_user_name"}

    def test_nothing_called_is_right_only_where_nothing_was_to_be_called(self, tmp_path):
        schema = [{"name": "a.b", "description": "", "parameters": {"type": "dict", "properties": {}}}]
        rows = [
            {"id": "m0", "category": "multiple", "query": "q", "tools": schema, "gold": ["a.b"]},
            {"id": "m1", "category": "multiple", "query": "q", "tools": schema, "gold": ["a.b"]},
            {"id": "i0", "category": "irrelevance", "query": "q", "tools": schema, "gold": []},
            {"id": "p0", "category": "parallel", "query": "q", "tools": schema, "gold": ["a.b", "a.b"]},
        ]
        recorded = [
            {"id": "m0", "model": "one", "called": ["a_b"]},
            {"id": "m1", "model": "one", "called": []},
            {"id": "i0", "model": "one", "called": []},
        ]
        (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, recorded)))
        questions = read_questions(tmp_path / "q.jsonl", ("multiple", "irrelevance"))
        called = read_recorded(tmp_path / "r.jsonl")["one"]
        assert [question.id for question in questions] == ["m0", "m1", "i0"]
        assert questions[0].cards[0].name == "a.b"
        assert [count_names(called, [question]) for question in questions] == [1, 0, 1]
        assert len(read_questions(tmp_path / "q.jsonl", ("multiple",), most=1)) == 1

    def test_hits_within_the_first_k(self):
        scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
        assert [hits_within(scores, [1, 2], k) for k in (1, 2, 3, 9)] == [1, 1, 2, 2]


class TestFigures:
    def test_a_share_has_its_interval(self):
        figure = Figure.share("accuracy", 96, 100, split="val", data="tiny", target=0.96)
        assert figure.interval == pytest.approx((0.9016, 0.9843), abs=1e-4)
        assert figure.measured == "96.0 %\n(90.2 to 98.4)"

    @pytest.mark.parametrize(
        ("bound", "value", "reached"),
        [("at least", 0.5, True), ("above", 0.5, False), ("at most", 0.5, True), ("at most", 0.6, False)],
    )
    def test_on_which_side_of_the_target_is_good(self, bound, value, reached):
        assert Figure("x", value, "val", "tiny", target=0.5, bound=bound).reached is reached

    def test_mean_and_deviation_over_draws(self):
        figure = Figure.mean("accuracy", [0.5, 0.6, 0.7], split="val", data="tiny")
        assert (figure.value, figure.spread) == (pytest.approx(0.6), pytest.approx(0.1))
        assert figure.measured == "60.0 % ± 10.0"

    def test_each_is_written_at_once_with_the_command_that_measures_it_anew(self, tmp_path):
        setting = Setting(tmp_path, tmp_path / "out", quick=True, seed=3)
        benchmark = Benchmark("tiny", lambda setting: iter(()), target="none")
        figure = Figure.share("accuracy", 1, 2, split="val", data="toole", target=0.9, baselines={"other": 0.25})
        append(benchmark, figure, setting)
        append(benchmark, figure, setting)
        lines = (tmp_path / "out/tiny.jsonl").read_text(encoding="utf-8").splitlines()
        row = json.loads(lines[0])
        assert len(lines) == 2
        assert row["command"] == "python -m benchmarks tiny --on toole --seed 3 --quick"
        assert (row["value"], row["n"], row["baselines"], row["reached"]) == (0.5, 2, {"other": 0.25}, False)

    def test_slices_are_never_shown_as_results(self, tmp_path):
        benchmark = Benchmark("tiny", lambda setting: iter(()), target="none")
        figure = Figure.share("accuracy", 1, 2, split="val", data="toole", target=0.9)
        whole, quick = (table(benchmark, [figure], Setting(tmp_path, quick=quick)) for quick in (False, True))
        assert "no results" in str(quick.caption)
        assert whole.caption is None
        assert [str(next(iter(t.columns[2].cells))) for t in (whole, quick)] == ["≥ 90.0 %\nMISSED", "≥ 90.0 %"]


class TestTraining:
    def test_router_and_baselines_learn_the_same_trivial_task(self):
        tiny = corpus()
        encoder = CachedEncoder(HashEncoder())
        fitted = train(tiny, encoder, TrainConfig(epochs=40, progress=False), policy={"hidden": 16, "word_dim": 8})
        assert isinstance(fitted.router.policy, ToolSpacePolicy)
        assert fitted.router.policy.hidden == 16
        assert count_right(fitted.router, tiny.val) == len(tiny.val)
        model = train_logistic(encoder, tiny.train).model
        assert count_hits(model.predict(vectors_of(encoder, tiny.val)), tiny.val) == len(tiny.val)
        for features in (None, encoder):
            assert TfidfSvm(features).fit(tiny.train).hits(tiny.val) == len(tiny.val)

    def test_the_encoder_is_not_asked_for_anything_while_the_clock_runs(self, monkeypatch):
        counting = CountingEncoder()
        seen = []
        monkeypatch.setattr("benchmarks.training.fit", lambda *arguments, **options: seen.append(counting.seen))
        tiny = corpus()
        train(tiny, CachedEncoder(counting), TrainConfig(epochs=1))
        texts = {example.text for example in tiny.train} | {view for card in tiny.cards for view in card.views}
        assert seen == [len(texts)]

    def test_a_slice_keeps_whole_tools(self):
        sliced = slice_corpus(corpus(40))
        assert {label_of(example) for example in [*sliced.train, *sliced.val]} == set(TOPICS)
        assert len(sliced.train) < 40

    def test_candidates_are_timed_in_turn_block_by_block_after_some_uncounted_calls(self):
        calls = []
        candidates = {name: lambda text, name=name: calls.append((name, text)) for name in "ab"}
        texts = [f"text {number}" for number in range(BLOCK + 8)]
        times = time_in_turn(candidates, texts)
        turns = [name for name, _ in groupby(calls, key=lambda call: call[0])]
        assert turns == ["a", "b", "a", "b"]
        assert {name: len(values) for name, values in times.items()} == {"a": len(texts), "b": len(texts)}
        assert len(calls) == 2 * (len(texts) + 2 * WARM_UP)
