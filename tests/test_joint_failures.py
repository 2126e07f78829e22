"""The joint optimizer: what fails on the way costs only its own part, and misuse is told in full sentences."""

from __future__ import annotations

from dataclasses import replace

import dspy
import pytest
from advising import VAL, Advising, Broken, compile_, joint
from coordination import RECORD_ADVICE, literal_reader, metric, student
from dspy.utils.callback import BaseCallback
from rollout_programs import agent

from dspy_router import RouterOptimizer
from dspy_router.program.tuning.rollouts import Rollouts


class TestFailures:
    def test_a_prompt_optimizer_that_fails_half_way_costs_only_its_own_part(self):
        broken, good = Broken(), Advising()
        compiled, report = compile_(joint([broken, good], max_turns=2))
        assert "half-way" not in compiled.synthesis.signature.instructions
        assert report.errors == [
            f"turn {number}: Broken: ConnectionError: the prompt model is gone" for number in (1, 2)
        ]
        assert report.after.val > report.turns[0].candidates[0].val >= 0.6
        assert compiled.synthesis.signature.instructions.endswith(RECORD_ADVICE)

    def test_prompts_that_the_program_cannot_run_with_are_not_kept(self):
        def judge(example, prediction, trace=None):
            if "forbidden" in prediction.answer:
                raise ValueError("not to be judged")
            return metric(example, prediction)

        lm = literal_reader(0)
        read = lm.engine.script
        lm.engine.script = lambda prompt: {"answer": "forbidden"} if "Misbehave" in prompt else read(prompt)
        compiled, report = compile_(joint(Advising("Misbehave.", always=True), metric=judge, max_turns=1), lm=lm)
        assert "Misbehave" not in compiled.synthesis.signature.instructions
        assert report.kept == "turn 1: router"
        (error,) = report.errors
        assert "max_errors" in error
        assert "ValueError: not to be judged" in error

    def test_a_program_that_cannot_be_judged_at_all_is_an_error(self):
        def judge(example, prediction, trace=None):
            return None

        with pytest.raises(RuntimeError, match="The metric must give a number"):
            compile_(joint(metric=judge))


def test_destructive_tools_are_neither_tried_nor_forced():
    program, called = student(), []
    program.router.cards = tuple(
        replace(card, destructive=card.name.startswith("describe")) for card in program.router.cards
    )

    class Watch(BaseCallback):
        def on_tool_start(self, call_id, instance, inputs):
            called.append(instance.name)

    with dspy.context(callbacks=[Watch()]):
        _, report = compile_(joint(max_turns=2), program)
    assert called
    assert not [name for name in called if name.startswith("describe")]
    assert report.before.credit.failures > 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metric": "exact"}, TypeError, "metric must be a function"),
        ({"prompt": []}, ValueError, "prompt is empty"),
        ({"prompt": "gepa"}, TypeError, "must be an optimizer of DSPy"),
        ({"prompt": RouterOptimizer(metric)}, TypeError, "goes into the argument router"),
        ({"router": Advising()}, TypeError, "router must be a RouterOptimizer or None; got Advising"),
        ({"max_turns": 0}, ValueError, "max_turns must be a whole number of at least 1; got 0"),
        (
            {"rollouts": Rollouts(lambda *_: 1.0)},
            ValueError,
            "scored by the metric .*, not by 'coordination.metric'",
        ),
    ],
)
def test_misuse_is_refused_at_construction(settings, error, message):
    with pytest.raises(error, match=message):
        joint(**settings)


@pytest.mark.parametrize(
    ("program", "settings", "error", "message"),
    [
        (dspy.Predict("question -> answer"), {}, ValueError, "no router to train"),
        (None, {"trainset": []}, ValueError, "trainset is empty"),
        (None, {"trainset": [{"question": "?"}]}, TypeError, "must be a dspy.Example"),
        (None, {"valest": VAL}, TypeError, "takes no 'valest'"),
    ],
)
def test_misuse_is_told(program, settings, error, message):
    with pytest.raises(error, match=message):
        compile_(joint(), program, **settings)


def test_two_routers_are_one_too_many():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = agent(), agent()

    with pytest.raises(ValueError, match=r"2 routers \(one\.route, other\.route\)"):
        compile_(joint(), Two())
