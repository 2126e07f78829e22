"""A language model by script: what the script is told, what comes back, and that its tokens are counted."""

from __future__ import annotations

import copy

import dspy
import pytest

from dspy_router.program.scripted import Prompt, scripted_lm


class Echo:
    """Answers with what the prompt shows, and keeps the prompts."""

    def __init__(self, **more):
        self.more, self.prompts = more, []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        return {"answer": f"You asked {prompt.value('question')}", **self.more}


def test_the_script_reads_inputs_and_the_fields_that_are_asked_for():
    script = Echo(count=3, unasked="x")
    with dspy.context(lm=scripted_lm(script)):
        prediction = dspy.Predict("question, hint -> answer, count: int")(question="why?\n\nReally", hint="no")
    assert (prediction.answer, prediction.count) == ("You asked why?\n\nReally", 3)
    (prompt,) = script.prompts
    assert prompt.asked == ("answer", "count")
    assert prompt.value("hint") == "no" and prompt.value("other") is None


def test_of_a_field_that_is_shown_twice_the_last_counts():
    prompt = Prompt("", ("[[ ## question ## ]]\nfirst", "[[ ## question ## ]]\nsecond\n\n[[ ## hint ## ]]\nno"))
    assert prompt.value("question") == "second"


def test_a_script_that_leaves_out_a_field_is_told_which():
    with dspy.context(lm=scripted_lm(lambda prompt: {"answer": "x"})), pytest.raises(Exception, match="gives no count"):
        dspy.Predict("question -> answer, count: int")(question="why?")


def test_a_prompt_of_another_adapter_is_refused():
    with (
        dspy.context(lm=scripted_lm(Echo()), adapter=dspy.JSONAdapter()),
        pytest.raises(Exception, match=r"prompts of dspy\.ChatAdapter"),
    ):
        dspy.Predict("question -> answer")(question="why?")


def test_tokens_are_those_of_the_prompt_and_the_answer():
    lm = scripted_lm(Echo())
    with dspy.context(lm=lm):
        short, long = (dspy.Predict("question -> answer")(question=text) for text in ("a", "a " * 500))
    assert short and long
    first, second = (call["usage"] for call in lm.history)
    assert second["prompt_tokens"] - first["prompt_tokens"] == pytest.approx(500, abs=5)  # "a " is one token
    assert second["completion_tokens"] > first["completion_tokens"] > 0


async def test_it_answers_without_blocking_too():
    lm = scripted_lm(Echo())
    with dspy.context(lm=lm):
        prediction = await dspy.Predict("question -> answer").acall(question="why?")
    assert prediction.answer == "You asked why?" and lm.engine.calls == 1


def test_copies_of_a_program_ask_the_same_model():
    lm = scripted_lm(Echo())
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)
    copy.deepcopy(program)(question="why?")
    assert lm.engine.calls == 1
