"""The synthesis: what its prompt sees, and how a tool's result becomes an answer without one."""

from __future__ import annotations

from typing import Any, Literal

import dspy
import pytest
from scripted import scripted_lm

from dspy_router.program.calls import run
from dspy_router.program.synthesis import as_answer, check_mode, read_signature, synthesis_call, synthesis_prompt
from dspy_router.records import Step

QA = read_signature("question, context -> answer, score: float")


def prompt_of(mode, steps, tools=(), **inputs):
    lm = scripted_lm({"answer": "yes", "score": "1"})
    predictor = synthesis_prompt(mode, QA)
    assert predictor is not None

    def plan():
        return (yield synthesis_call(predictor, mode, inputs, steps, {tool.name: tool for tool in tools}))

    with dspy.context(lm=lm):
        assert run(plan()).score == 1.0
    (prompt,) = lm.engine.prompts
    return prompt


def test_the_prompt_sees_inputs_tool_and_result():
    prompt = prompt_of("result", (Step("add", {"a": 1}, {"sum": 3}),), question="how much?", context="1 and 2")
    for part in ("[[ ## question ## ]]\nhow much?", "[[ ## tool ## ]]\nadd", '[[ ## tool_result ## ]]\n{"sum":3}'):
        assert part in prompt


def test_an_error_is_told():
    assert "Error: ValueError: boom" in prompt_of("result", (Step("add", error="ValueError: boom"),), question="?")


def test_without_a_tool_that_is_told():
    prompt = prompt_of("result", (), question="?")
    assert "[[ ## tool ## ]]\nnone" in prompt
    assert "No tool was called." in prompt


def test_the_instructions_stay():
    signature = QA.with_instructions("Answer like a pirate.")
    predictor: Any = synthesis_prompt("result", signature)
    assert predictor.signature.instructions.startswith("Answer like a pirate.\n\n")


@pytest.mark.parametrize(
    ("mode", "signature", "message"),
    [
        ("resutl", "q -> a", "must be 'result', 'history' or 'none', got 'resutl'. Did you mean 'result'"),
        ("none", "q -> a, b", "must have exactly one output field; it has 2: a, b"),
        ("result", "q -> steps", "field named 'steps'.*Rename it"),
        ("none", "q -> decision", "field named 'decision'"),
        ("result", "tool, q -> a", "field named 'tool'"),
    ],
)
def test_misuse_is_refused(mode, signature, message):
    with pytest.raises(ValueError, match=message):
        check_mode(mode, read_signature(signature))


def test_an_input_may_be_called_tool_where_the_synthesis_does_not_say_it():
    assert check_mode("history", read_signature("tool, q -> a")) == "history"


def test_a_signature_needs_inputs_and_outputs():
    class NoInputs(dspy.Signature):
        answer: str = dspy.OutputField()

    class NoOutputs(dspy.Signature):
        question: str = dspy.InputField()

    with pytest.raises(ValueError, match="has no inputs"):
        check_mode("result", NoInputs)
    with pytest.raises(ValueError, match="has no outputs"):
        check_mode("none", NoOutputs)
    with pytest.raises(TypeError, match="got 3"):
        read_signature(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "annotation", "answer"),
    [
        ("x", str, "x"),
        (4.0, str, "4.0"),
        ({"a": 1}, str, '{"a":1}'),
        (4.0, int, 4),
        ("42", int, 42),
        ("[1, 2]", list[int], [1, 2]),
        ((1, 2), list[int], [1, 2]),
        ("b", Literal["a", "b"], "b"),
        (None, str | None, None),
    ],
)
def test_a_result_is_read_as_the_fields_type(result, annotation, answer):
    assert as_answer(result, annotation) == answer


@pytest.mark.parametrize(("result", "annotation"), [("noon", int), (1.5, int), ("c", Literal["a", "b"])])
def test_a_result_of_another_type_is_refused(result, annotation):
    with pytest.raises(ValueError):
        as_answer(result, annotation)
