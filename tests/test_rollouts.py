"""Rollouts: the program itself, a tool forced, the user's metric; what is known already is free."""

from __future__ import annotations

import threading
import time
from typing import Any

import dspy
import pytest
from rollout_programs import LETTERS, OPEN, ROOT, Counting, agent, hit, quiet
from scripted import scripted_lm
from toolbelt import LABELLED, examples, small_router, square_root

from dspy_router.program.tuning.rollouts import Rollouts


def test_the_student_itself_runs_with_the_tool_forced():
    """Whatever its router thinks, and however unsure that is."""
    student, runs = Counting(), quiet()
    student.agent.router.threshold = 1.0
    outcome: Any = runs.run(student, [(ROOT, "square_root"), (ROOT, "opening_hours"), (OPEN, "opening_hours")])
    assert [(one.tool, one.score) for one in outcome] == [
        ("square_root", 1.0),
        ("opening_hours", 0.0),
        ("opening_hours", 1.0),
    ]
    assert sorted(student.seen) == sorted([ROOT.question, ROOT.question, OPEN.question])
    assert (runs.spent.rollouts, runs.spent.lm_calls, runs.spent.cost, runs.spent.errors) == (3, 0, 0.0, 0)


def test_none_is_a_choice_like_any_other():
    class Shrug(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer=None)

    (one,) = quiet().run(agent(fallback=Shrug()), [(examples()[12], None)])
    assert one is not None
    assert (one.tool, one.score) == (None, 1.0)


class TestMemory:
    def test_what_is_known_is_free(self):
        student, runs = Counting(), quiet(max_rollouts=2)
        first = runs.run(student, [(ROOT, "square_root"), (ROOT, "square_root"), (OPEN, "opening_hours")])
        again = runs.run(student, [(OPEN, "opening_hours"), (ROOT, "square_root")])
        assert again == [first[2], first[0]]
        assert first[0] is first[1]
        assert len(student.seen) == runs.spent.rollouts == 2
        assert runs.spent.cached == 2
        assert runs.spent.exhausted

    def test_the_routers_weights_do_not_matter_but_the_prompts_do(self):
        student, runs = agent(synthesis="result"), quiet()
        with dspy.context(lm=scripted_lm({"answer": "4.0"})):
            runs.run(student, [(ROOT, "square_root")])
            student.route.router = small_router()
            student.router.threshold = 0.9
            runs.run(student, [(ROOT, "square_root")])
            assert runs.spent.rollouts == 1
            signature = student.synthesis.signature
            student.synthesis.signature = signature.with_instructions("Be brief.")
            assert runs.known(student, ROOT) == {}
            runs.run(student, [(ROOT, "square_root")])
            assert runs.spent.rollouts == 2
            student.synthesis.signature = signature
            assert set(runs.known(student, ROOT)) == {"square_root"}

    def test_another_language_model_is_another_rollout(self):
        student, runs = agent(synthesis="result"), quiet()
        for model in ("scripted/one", "scripted/other", "scripted/one"):
            with dspy.context(lm=scripted_lm({"answer": "4.0"}, model=model)):
                runs.run(student, [(ROOT, "square_root")])
        assert runs.spent.rollouts == 2

    def test_two_examples_of_one_question_are_two(self):
        """The metric looks at the label as well."""
        other = ROOT.copy(answer="9 to 5")
        outcome: Any = quiet().run(agent(), [(ROOT, "square_root"), (other, "square_root")])
        assert [one.score for one in outcome] == [1.0, 0.0]

    def test_known_has_what_was_scored_by_tool(self):
        student, runs = agent(), quiet()
        runs.run(student, [(LETTERS, "count_letters"), (LETTERS, "opening_hours"), (OPEN, "opening_hours")])
        known = runs.known(student, LETTERS)
        assert {tool: one.score for tool, one in known.items()} == {"count_letters": 1.0, "opening_hours": 0.0}
        assert runs.known(student, ROOT) == {}


class TestSpending:
    def test_every_rollout_has_its_own_calls_though_they_run_side_by_side(self):
        """The square root needs a second call to fill its argument where the text leaves a doubt."""

        def script(prompt: str) -> dict[str, Any]:
            time.sleep(0.01)
            return {"arguments": {"number": 16}, "answer": "4.0"}

        doubtful = dspy.Example(question="the root of 16, not 25", answer="4.0").with_inputs("question")
        student, runs = agent(synthesis="result"), quiet(num_threads=4)
        pairs = [(doubtful, "square_root"), (doubtful, "opening_hours"), (ROOT, "square_root"), (OPEN, None)]
        lm = scripted_lm(script=script)
        with dspy.context(lm=lm):
            outcome: Any = runs.run(student, pairs)
        assert [one.lm_calls for one in outcome] == [2, 1, 1, 1]
        assert runs.spent.lm_calls == len(lm.engine.requests) == 5
        assert runs.spent.cost is None  # a scripted model has no price list
        assert all(one.seconds >= 0.01 for one in outcome)

    def test_the_metrics_own_calls_count_as_well(self):
        def judge(example, prediction, trace=None):
            return dspy.Predict("answer -> verdict: bool")(answer=prediction.answer).verdict

        with dspy.context(lm=scripted_lm({"verdict": True})):
            (one,) = quiet(judge).run(agent(), [(ROOT, "square_root")])
        assert one is not None
        assert (one.score, one.lm_calls) == (1.0, 1)

    def test_no_rollout_starts_once_the_calls_are_spent(self):
        student, runs = agent(synthesis="result"), quiet(max_lm_calls=3, num_threads=1)
        with dspy.context(lm=scripted_lm({"answer": "4.0"})):
            outcome = runs.run(student, [(example, "opening_hours") for example in examples()])
        assert [one is not None for one in outcome] == [True] * 3 + [False] * (len(LABELLED) - 3)
        assert (runs.spent.lm_calls, runs.spent.exhausted) == (3, True)

    def test_the_budget_of_rollouts_is_kept_whatever_the_threads(self):
        student, runs = Counting(), quiet(max_rollouts=5, num_threads=4)
        outcome = runs.run(student, [(example, "opening_hours") for example in examples()])
        assert [one is not None for one in outcome] == [True] * 5 + [False] * (len(LABELLED) - 5)
        assert len(student.seen) == 5
        assert runs.run(student, [(ROOT, "count_letters")]) == [None]

    def test_what_must_be_known_is_run_beyond_the_budget(self):
        runs = quiet(max_rollouts=1)
        outcome = runs.run(agent(), [(ROOT, "square_root"), (OPEN, "opening_hours")], limited=False)
        assert None not in outcome
        assert (runs.spent.rollouts, runs.spent.free_rollouts, runs.spent.rollouts_left) == (2, 2, 1)

    def test_they_run_side_by_side(self):
        gate = threading.Barrier(3, timeout=10)

        def wait() -> str:
            """Wait for the others."""
            gate.wait()
            return "9 to 5"

        runs = quiet(num_threads=3)
        outcome: Any = runs.run(agent([wait, square_root]), [(example, "wait") for example in examples()[8:11]])
        assert [one.score for one in outcome] == [1.0] * 3


class TestResuming:
    def pairs(self):
        return [(example, "opening_hours") for example in examples()]

    def test_a_killed_run_goes_on_where_it_was(self, tmp_path):
        path, student = tmp_path / "deep" / "rollouts.jsonl", Counting()
        student.trouble = {6: KeyboardInterrupt()}
        with pytest.raises(KeyboardInterrupt):
            quiet(path=path, num_threads=1).run(student, self.pairs())
        student = Counting()
        runs = quiet(path=path)
        resumed: Any = runs.run(student, self.pairs())
        assert len(student.seen) == runs.spent.rollouts == len(LABELLED) - 5
        assert [one.score for one in resumed] == [float(answer == "9 to 5") for *_, answer in LABELLED]

    def test_errors_are_tried_again(self, tmp_path):
        path, student = tmp_path / "rollouts.jsonl", Counting()
        student.trouble = {1: LookupError()}
        for score in (None, 0.0):
            (one,) = quiet(path=path).run(student, self.pairs()[:1])
            assert one is not None
            assert one.score == score


class TestMisuse:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"metric": "exact"}, TypeError, "must be a function of an example and a prediction; got 'exact'"),
            (
                {"max_rollouts": 0},
                ValueError,
                "max_rollouts must be a whole number of at least 1.*got 0.*nothing to learn",
            ),
            ({"max_lm_calls": 2.5}, ValueError, "max_lm_calls must be a whole number"),
        ],
    )
    def test_is_refused_at_construction(self, settings, error, message):
        with pytest.raises(error, match=message):
            Rollouts(**{"metric": hit, **settings})

    @pytest.mark.parametrize(
        ("student", "pair", "error", "message"),
        [
            (agent(), (ROOT, "square_rot"), ValueError, "Did you mean 'square_root'"),
            (agent(), ({"question": "when?"}, None), TypeError, "must be a dspy.Example.*got dict"),
            (agent(), (dspy.Example(question="when?"), None), TypeError, r"with_inputs.*got one without inputs"),
            (dspy.Predict("question -> answer"), (ROOT, None), ValueError, "no router"),
        ],
    )
    def test_is_told_before_anything_runs(self, student, pair, error, message):
        runs = quiet()
        with pytest.raises(error, match=message):
            runs.run(student, [(ROOT, "square_root"), pair])
        assert runs.spent.rollouts == 0
