"""An optimization as a configuration says: what is learned, what is written, and what is refused before it costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import coordination
import dspy
import pytest
import rollout_programs
import toolbelt

from dspy_router.config import OptimizeConfig, parse
from dspy_router.evaluation.credit import CreditSplit
from dspy_router.program.language_model import language_model
from dspy_router.program.router_optimizer import OptimizerReport
from dspy_router.program.tuning.joint_report import JointReport
from dspy_router.program.tuning.optimization import Optimized, optimize

ROUTER = {"train": {"epochs": 6, "progress": False, "seed": 1}, "num_threads": 1}


def write_lines(path: Path, rows: Any) -> str:
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def settings(tmp_path) -> dict[str, Any]:
    """The toolbelt's questions with their answers; the right tool stands in the file and is left out."""
    rows = [{"question": q, "tool": tool, "answer": answer} for q, tool, answer in toolbelt.LABELLED]
    return {
        "program": "rollout_programs:agent",
        "metric": "rollout_programs:hit",
        "data": {"train": [write_lines(tmp_path / "rows.jsonl", rows)], "inputs": ["question"], "without": ["tool"]},
        "output": str(tmp_path / "out"),
        "router": ROUTER,
        "rollouts": str(tmp_path / "kept" / "rollouts.jsonl"),
    }


def run(settings: dict[str, Any], make: Any = rollout_programs.agent, metric: Any = rollout_programs.hit) -> Optimized:
    return optimize(parse(OptimizeConfig, settings, where="test"), make, metric)


class TestTheRouter:
    def test_it_learns_from_the_metric_and_the_program_that_is_saved_is_the_one_it_tells_of(self, settings, tmp_path):
        done = run(settings)
        assert isinstance(done.report, OptimizerReport)
        assert (done.report.learned_from, done.report.judged_by) == ("rewards", "metric")
        assert done.report.kept and done.report.after > done.report.before
        again = rollout_programs.agent()
        again.load(tmp_path / "out" / "program.json")
        for question, _, _ in toolbelt.LABELLED:
            assert again.choose(question=question) == done.program.choose(question=question)

    def test_the_report_on_disk_is_what_it_gives_back(self, settings, tmp_path):
        done = run(settings)
        told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
        assert told == json.loads(json.dumps(done.to_dict()))
        assert {Path(name).name for name in told["files"]} == {path.name for path in (tmp_path / "out").iterdir()}
        assert {"program.json", "report.json", "learning_curve.png", "credit_split.png"} <= {
            Path(name).name for name in told["files"]
        }
        assert sum(row["tries"] for row in told["tools"].values()) >= len(toolbelt.LABELLED)

    def test_the_credit_before_and_after_is_of_the_same_examples(self, settings):
        done = run(settings)
        before, after = done.credit["before"], done.credit["after"]
        assert before.n == after.n > 0
        assert before.maximum == after.maximum == 1
        assert after.routing_regret < before.routing_regret

    def test_a_second_run_pays_for_nothing_it_knows(self, settings):
        first, second = run(settings), run(settings)
        assert isinstance(first.report, OptimizerReport) and isinstance(second.report, OptimizerReport)
        assert first.report.spent is not None and second.report.spent is not None
        assert second.report.spent.rollouts < first.report.spent.rollouts

    def test_labels_teach_where_they_are_not_left_out(self, settings):
        done = run({**settings, "data": {**settings["data"], "without": []}})
        assert isinstance(done.report, OptimizerReport)
        assert done.report.learned_from == "labels"
        assert {path.name for path in done.files} >= {"program.json", "learning_curve.png"}

    def test_no_plots_if_none_are_wanted(self, settings, tmp_path):
        run({**settings, "plots": None})
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"program.json", "report.json"}

    def test_a_metric_above_its_maximum_loses_no_result(self, settings):
        """The credit cannot be split then, but what was learned is there."""
        done = run(
            {**settings, "plots": None}, metric=lambda example, prediction: 3.0 * (prediction.answer == example.answer)
        )
        assert done.credit == {}
        assert done.files


class TestRouterAndPrompts:
    @pytest.fixture
    def joint(self, tmp_path) -> dict[str, Any]:
        train, val = coordination.questions(1)
        data = {
            "train": [write_lines(tmp_path / "train.jsonl", [row.toDict() for row in train[:12]])],
            "val": [write_lines(tmp_path / "val.jsonl", [row.toDict() for row in val[:6]])],
            "inputs": ["question"],
        }
        return {
            "program": "coordination:student",
            "metric": "coordination:metric",
            "data": data,
            "output": str(tmp_path / "out"),
            "prompt": {"name": "LabeledFewShot", "options": {"k": 3}},
            "turns": 1,
            "router": ROUTER,
            "plots": "svg",
        }

    def test_they_take_turns_and_the_report_and_its_plots_show_each(self, joint, tmp_path):
        with dspy.context(lm=coordination.literal_reader(0)):
            done = run(joint, coordination.student, coordination.metric)
        assert isinstance(done.report, JointReport)
        assert len(done.report.turns) == 1
        assert any("LabeledFewShot" in one.name for one in done.report.turns[0].candidates)
        assert list(done.credit) == ["start", "turn 1"]
        drawn = (tmp_path / "out" / "learning_curve.svg").read_text(encoding="utf-8")
        assert "turn 1: LabeledFewShot" in drawn

    def test_a_named_language_model_is_the_one_that_answers(self, joint, monkeypatch):
        asked = []

        def scripted(lm: Any) -> Any:
            asked.append(lm)
            return language_model(coordination.literal_reader(0))

        monkeypatch.setattr("dspy_router.program.tuning.optimization.language_model", scripted)
        done = run({**joint, "lm": "some/model", "prompt": None}, coordination.student, coordination.metric)
        assert asked == ["some/model"]
        assert isinstance(done.report, OptimizerReport)
        assert done.report.lm_calls > 0


class TestWhatIsRefused:
    """Before the program is run even once."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"router": {"train": {"epoch": 3}}}, r"section router.train: unknown key 'epoch' \(did you mean 'epochs'"),
            ({"router": {"exploration": {"trys": 3}}}, r"section router.exploration: unknown key 'trys'"),
            ({"router": {"max_rollouts": 0}}, "max_rollouts must be a whole number of at least 1"),
            ({"prompt": {"name": "MIPRO2"}}, "DSPy has no optimizer 'MIPRO2'; did you mean 'MIPROv2'"),
            ({"prompt": {"name": "LabeledFewShot"}, "turns": 0}, "max_turns must be a whole number of at least 1"),
            ({"plots": "docx"}, "cannot be saved in the format 'docx'"),
        ],
    )
    def test_settings(self, settings, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            run({**settings, **changes})
        assert not (tmp_path / "out").exists()
        assert not Path(settings["rollouts"]).exists()

    def test_an_example_without_an_input(self, settings, tmp_path):
        path = write_lines(tmp_path / "bad.jsonl", [{"question": "x"}, {"query": "x"}])
        with pytest.raises(ValueError, match=r"bad\.jsonl, object 2 lacks the input 'question'; it has 'query'"):
            run({**settings, "data": {**settings["data"], "train": [path]}})

    def test_what_is_no_program(self, settings):
        with pytest.raises(TypeError, match=r"'rollout_programs:agent' must make a dspy\.Module; got str"):
            run(settings, lambda: "agent")


def test_what_is_no_number_is_null_in_json(tmp_path):
    report = OptimizerReport("rewards", "metric", before=float("nan"), after=float("inf"), kept=False)
    done = Optimized(dspy.Predict("a -> b"), report, {"before": CreditSplit(1, 0, 1, 0, 1, 0)}, {None: [0.5, 1.0]})
    told = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert (told["before"], told["after"]) == (None, None)
    assert told["tools"] == {"": {"tries": 2, "mean": 0.75}}
    assert replace(done, rewards={}).to_dict()["tools"] == {}
