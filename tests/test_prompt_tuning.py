"""Somebody else's prompt optimizer works on a copy with tools forced, and is told whose fault is what."""

from __future__ import annotations

from typing import Any

import coordination
import dspy
import pytest
from coordination import RECORD_ADVICE, literal_reader, questions
from dspy.teleprompt.teleprompt import Teleprompter
from rollout_programs import agent, hit
from scripted import scripted_lm
from toolbelt import examples

from dspy_router import Decision, Step
from dspy_router.program.tuning.prompt_tuning import explain_credit, tune_prompts


def silent(*_: Any) -> str:
    return ""


class Watching(Teleprompter):
    """An optimizer that does nothing but remember what it was given."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.metric_fn = None

    def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
        self.seen |= {"trainset": trainset, "valset": valset, "teacher": teacher}
        together: Any = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        self.seen["tools"] = [one.decision.tool for one in together([(student, row.inputs()) for row in trainset])]
        student.synthesis.signature = student.synthesis.signature.with_instructions("Be brief.")
        student.candidate_programs = [{"program": student.deepcopy(), "score": 1.0}]
        student._compiled = True
        return student


@pytest.fixture
def program():
    with dspy.context(lm=scripted_lm()):
        yield agent(synthesis="result")


def test_it_works_on_a_copy_with_the_tools_forced(program):
    rows = examples()[:3]
    tools: dict[str, str | None] = {rows[0].question: "opening_hours", rows[1].question: None}
    optimizer, before = Watching(), program.synthesis.signature
    tuned: Any = tune_prompts(optimizer, program, trainset=rows, tools=tools, explain=silent, teacher="the teacher")
    assert optimizer.seen == {
        "trainset": rows,
        "valset": None,
        "teacher": "the teacher",
        "tools": ["opening_hours", None, program.choose(question=rows[2].question).tool],
    }
    assert tuned.synthesis.signature.instructions == "Be brief."
    assert program.synthesis.signature is before


def test_what_comes_back_is_the_program_with_other_prompts_and_nothing_else(program):
    """Whatever state the program was in: compiled before, with language models of its own."""
    program.set_lm(lm := scripted_lm())
    program._compiled = True
    tuned: Any = tune_prompts(Watching(), program, trainset=examples()[:2], tools={}, explain=silent)
    assert set(vars(tuned)) == set(vars(program))
    assert not tuned._compiled
    assert tuned.router.fingerprint == program.router.fingerprint
    assert tuned.router is not program.router
    assert tuned.synthesis.lm.engine is lm.engine


def test_an_optimizer_that_forgets_the_language_models_does_no_harm(program):
    program.set_lm(lm := scripted_lm({"answer": "9 to 5"}))
    optimizer = dspy.BootstrapFewShot(metric=hit, max_bootstrapped_demos=1, max_labeled_demos=0)
    rows = examples()[8:]
    tools = {row.question: "opening_hours" for row in rows}
    tuned: Any = tune_prompts(optimizer, program, trainset=rows, tools=tools, explain=silent)
    assert [demo.tool for demo in tuned.synthesis.demos] == ["opening_hours"]
    assert tuned.synthesis.lm.engine is lm.engine


def test_an_optimizer_that_fails_raises_its_own_error(program):
    class Broken(Watching):
        def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
            student.synthesis.demos.append("half-way")
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        tune_prompts(Broken(), program, trainset=examples(), tools={}, explain=silent)
    assert program.synthesis.demos == []


def test_an_optimizer_must_return_a_program(program):
    class Broken(Watching):
        def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
            return {"program": student}

    with pytest.raises(TypeError, match=r"Broken\.compile must return a program; got dict"):
        tune_prompts(Broken(), program, trainset=examples(), tools={}, explain=silent)


def test_gepa_reads_the_explanation_beside_the_users_own_words():
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        score = coordination.metric(gold, pred)
        return dspy.Prediction(score=score, feedback=f"{gold.answer} was expected.") if pred_name else score

    train, _ = questions(0)
    lm, asked = literal_reader(0), []

    def explain(example: Any, prediction: Any, predictor: str, score: float) -> str:
        asked.append((example, predictor, score))
        return f"About {prediction.decision.tool}."

    optimizer = dspy.GEPA(metric, max_metric_calls=40, reflection_lm=lm, num_threads=1)
    tools = {row.question: "city_record" for row in train}
    with dspy.context(lm=lm):
        tuned: Any = tune_prompts(optimizer, coordination.student(), trainset=train, tools=tools, explain=explain)
    reflection = next(prompt for prompt in lm.engine.prompts if "examples_with_feedback" in prompt)
    example, predictor, score = asked[0]
    assert (predictor, score) == ("synthesis", 0.0)
    assert f"{example.answer} was expected.\\nAbout city_record." in reflection
    assert tuned.synthesis.signature.instructions.endswith(RECORD_ADVICE)
    assert optimizer.metric_fn is metric


class TestExplanation:
    @staticmethod
    def prediction(tool: str | None, *steps: Step) -> dspy.Prediction:
        return dspy.Prediction(answer="?", steps=steps, decision=Decision(tool, {"a": 0.5}, 0.5))

    def explain(self, rewards, prediction, score, predictor="synthesis"):
        return explain_credit(rewards, prediction, predictor, score=score, maximum=1.0)

    def test_what_the_best_tool_lacks_is_the_prompts_to_mend(self):
        words = self.explain({"a": 0.25, "b": 0.0}, self.prediction("a", Step("a", result=1)), 0.25)
        assert "The tool 'a' was chosen for you" in words
        assert "last 0.75: that is a matter of how the outputs are written" in words
        assert "the choice's fault" not in words

    def test_what_another_tool_earned_is_not(self):
        words = self.explain({"a": 0.25, "b": 1.0}, self.prediction("a", Step("a", result=1)), 0.25)
        assert "Of the missing 0.75, 0.75 is the choice's fault: with the tool 'b' this example earned 1." in words
        assert "outputs are written" not in words

    def test_both_shares_are_told(self):
        words = self.explain({None: 0.0, "b": 0.75}, self.prediction(None), 0.0)
        assert "No tool was chosen for you" in words
        assert "Of the missing 1, 0.75 is the choice's fault" in words
        assert "last 0.25" in words

    def test_what_was_right_is_no_fault_of_anybody(self):
        words = self.explain({"a": 0.0}, self.prediction("a", Step("a", result=1)), 1.0)
        assert words == "The tool 'a' was chosen for you; the choice is not your task."

    @pytest.mark.parametrize(
        ("predictor", "blame"),
        [("synthesis", "This is no fault of your words"), ("fill_arguments", "The arguments you wrote are to blame")],
    )
    def test_a_failed_call_is_told_to_whom_it_concerns(self, predictor, blame):
        words = self.explain({}, self.prediction("a", Step("a", error="ValueError: no city")), 0.0, predictor)
        assert words.startswith(f"The call of the tool 'a' failed: ValueError: no city. {blame}")

    def test_a_program_that_tells_no_decision_is_told_nothing(self):
        assert self.explain({"a": 0.0}, dspy.Prediction(answer="?"), 0.0) == ""
