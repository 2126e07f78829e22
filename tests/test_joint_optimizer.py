"""The joint optimizer: turns of router and prompts, one judge, and whatever fails on the way, the best is kept."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import coordination
import dspy
import pytest
from advising import QUICK, TRAIN, VAL, Advising, compile_, joint
from coordination import literal_reader, metric, student

from dspy_router import RouterOptimizer
from dspy_router.program.tuning.fingerprints import prompt_fingerprint
from dspy_router.program.tuning.rollouts import Rollouts


def no_sum(credit: Any) -> bool:
    total = credit.score + credit.routing_regret + credit.synthesis_shortfall + credit.failures
    return not math.isclose(total, credit.maximum)


@pytest.fixture(scope="module")
def done() -> Any:
    """One run, with the student, the language model and the prompt optimizer that took part in it."""
    program, lm, prompt = student(), literal_reader(0), Advising()
    program.set_lm(lm)
    before = (program.router.fingerprint, prompt_fingerprint(program))
    compiled, report = compile_(joint(prompt), program, lm, trainset=TRAIN, valset=VAL)
    assert (program.router.fingerprint, prompt_fingerprint(program)) == before  # the student is left alone
    return compiled, report, lm, prompt


class TestReport:
    def test_the_compiled_program_is_as_good_as_it_says(self, done):
        compiled, report, lm, _ = done
        with dspy.context(lm=lm):
            score = dspy.Evaluate(devset=VAL, metric=metric, num_threads=1)(compiled).score
        assert score == round(100 * report.after.val, 2)
        assert report.before.val < 0.4
        assert report.after.val >= 0.95
        assert report.kept == report.turns[-1].after.name

    def test_a_first_turn_finds_what_the_tools_are_worth_and_a_later_one_what_prompts_could_make_of_others(self, done):
        _, report, _, prompt = done
        first, second = report.turns[:2]
        assert (first.rule, second.rule) == ("best", "other")
        assert first.after.name == "turn 1: router"
        assert first.after.credit.routing_regret == 0
        assert first.after.credit.synthesis_shortfall == pytest.approx(0.4)
        assert "Advising" in second.after.name
        described = [str(tool).startswith("describe") for tool in prompt.tools[0]]
        assert sum(described) >= 0.6 * len(TRAIN)

    def test_every_loss_splits_without_a_remainder(self, done):
        _, report, *_ = done
        standings = [report.before, report.after, *(one for turn in report.turns for one in turn.candidates)]
        assert not [one.name for one in standings if no_sum(one.credit)]
        assert all(one.credit.score == pytest.approx(one.train) for one in standings)

    def test_what_was_spent_is_all_that_was_asked(self, done):
        _, report, lm, _ = done
        asked = [prompt for prompt in lm.engine.prompts if "tool_result" in prompt]
        assert sum(turn.lm_calls for turn in report.turns) < report.lm_calls <= len(asked)
        assert sum(turn.rollouts for turn in report.turns) < report.rollouts < report.lm_calls
        assert report.cost is None
        assert 0 < sum(turn.seconds for turn in report.turns) < report.seconds

    def test_it_is_ready_for_json(self, done):
        _, report, *_ = done
        told = json.loads(json.dumps(report.to_dict()))
        assert (told["kept"], told["errors"]) == (report.kept, [])
        assert told["turns"][0]["candidates"][0]["credit"]["routing_regret"] == 0

    def test_the_program_keeps_its_language_model_and_can_be_optimized_further(self, done):
        compiled, _, lm, _ = done
        assert compiled.synthesis.lm.engine is lm.engine
        assert not compiled._compiled


def test_what_was_rolled_out_before_costs_nothing(tmp_path):
    """A second run with the same file asks for no rollout, and comes to the same end."""
    reports = []
    for _ in range(2):
        rollouts = Rollouts(metric, path=tmp_path / "rollouts.jsonl", progress=False)
        reports.append(compile_(joint(rollouts=rollouts, max_turns=1))[1])
    first, second = reports
    assert first.rollouts > 0
    assert second.rollouts == 0
    assert second.after == first.after


class TestKeeping:
    def test_of_equals_the_earlier_is_kept(self):
        """Other words with the same effect are no reason to change the prompt."""
        compiled, report = compile_(joint(Advising("Be brief.", always=True), max_turns=1))
        names = [one.name for one in report.turns[0].candidates]
        assert names == ["turn 1: router", "turn 1: Advising", "turn 1: Advising, router"]
        assert report.kept == "turn 1: router"
        assert "Be brief." not in compiled.synthesis.signature.instructions

    def test_it_ends_when_neither_improves(self):
        _, report = compile_(joint(Advising("Be brief."), max_turns=9))
        assert len(report.turns) == 2
        assert "neither router nor prompts" in report.ended

    def test_a_constant_metric_is_told_and_changes_nothing(self, caplog):
        program = student()
        with caplog.at_level(logging.WARNING):
            compiled, report = compile_(joint(Advising(always=True), metric=lambda *_: 0.5), program)
        assert report.constant == 0.5
        assert "nothing to learn" in report.ended
        assert "gave 0.5 in every run" in caplog.text
        assert (len(report.turns), report.kept) == (1, "start")
        assert compiled.router.fingerprint == program.router.fingerprint
        assert compiled.synthesis.signature.instructions == program.synthesis.signature.instructions

    def test_where_everything_is_right_nothing_is_asked_of_the_prompts(self):
        prompt = Advising()
        _, report = compile_(joint(prompt, metric=lambda *_: 1.0))
        assert (report.constant, prompt.tools) == (1.0, [])
        assert report.ended == "every example has the maximum"


class TestExamples:
    def test_without_a_validation_set_the_training_set_judges(self):
        _, report = compile_(joint(max_turns=1), valset=None)
        assert report.after.val == report.after.train

    def test_an_overlap_is_counted_and_told(self, caplog):
        with caplog.at_level(logging.WARNING):
            _, report = compile_(joint(max_turns=1), valset=[*VAL[:3], *TRAIN[:3], TRAIN[3].copy(answer="another")])
        assert report.overlap == 4
        assert "4 of 7 validation examples" in caplog.text

    def test_a_score_above_the_maximum_is_refused_with_the_way_out(self):
        def in_per_cent(example, prediction, trace=None):
            return 100 * metric(example, prediction)

        with pytest.raises(ValueError, match=r"expected a number of at most 1, .*maximum=…"):
            compile_(joint(metric=in_per_cent))
        _, report = compile_(joint(metric=in_per_cent, maximum=100, max_turns=1))
        assert report.after.credit.maximum == 100
        assert report.after.credit.synthesis_shortfall == pytest.approx(100 - report.after.train)
        assert not no_sum(report.after.credit)


def test_settings_reach_the_training_of_the_router():
    router = RouterOptimizer(config=QUICK, max_rollouts=5)
    optimizer = joint(router=router, seed=7, maximum=2.0)
    assert (optimizer.router.metric, optimizer.router.maximum) == (metric, 2.0)
    assert (optimizer.router.config.seed, optimizer.router.max_rollouts) == (7, 5)
    assert (router.metric, router.maximum, router.config.seed) == (None, 1.0, 0)


def test_an_optimizer_that_asks_for_words_is_told_how_the_loss_splits():
    class Asking(Advising):
        def __init__(self):
            super().__init__()
            self.metric_fn = lambda gold, pred, trace, name, pred_trace: metric(gold, pred)
            self.told: dict[str, str] = {}

        def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
            for row in trainset:
                answer: Any = self.metric_fn(row, student(**row.inputs()), None, "synthesis", None)
                self.told[row.question] = answer.feedback
            return student

    prompt = Asking()
    compile_(joint(prompt, max_turns=1))
    solved = next(question for question in prompt.told if "population" in question or "height" in question)
    unsolved = next(question for question in prompt.told if "elevation" in question or "rainfall" in question)
    assert prompt.told[solved].startswith("This trajectory got a score of 1.\nThe tool 'describe_")
    assert "the last 1: that is a matter of how the outputs are written" not in prompt.told[solved]
    assert "the last 1: that is a matter of how the outputs are written" in prompt.told[unsolved]


def test_the_teacher_reaches_those_who_take_one():
    seen = []

    class Watching(Advising):
        def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
            seen.append(teacher)
            return student

    teacher = coordination.student()
    compile_(joint(Watching(), max_turns=1), teacher=teacher)
    assert seen == [teacher]
