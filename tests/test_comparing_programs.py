"""The native tool-calling loop and the three-call chain: what goes over the wire, and what comes of bad calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import dspy
import pytest
from contenders import NATIVE, arguments_of, fields, play
from scripted import scripted_lm
from toolbelt import LABELLED, TOOLS
from wire import ROOT, wire_lm

from benchmarks.loopback import Loopback, Reply
from dspy_router import NativeToolLoop, ToolChoiceChain

SIGNATURE = "question -> answer"
CALL = Reply(None, [("square_root", {"number": 16})])


def ask(program, *replies, **inputs):
    """Its answer about a root, and the requests of its language model, which gives these replies."""
    with Loopback(list(replies) or play) as server, dspy.context(lm=wire_lm(server)):
        return program(**{"question": ROOT, **inputs}), server.requests


class TestNativeToolLoop:
    def test_the_schemas_and_the_conversation_go_over_the_wire_natively(self):
        answer, (first, second) = ask(NativeToolLoop(SIGNATURE, TOOLS), CALL, fields(answer="4.0"))
        assert answer.answer == "4.0"
        assert [(step.tool, step.arguments, step.result) for step in answer.steps] == [
            ("square_root", {"number": 16}, 4.0)
        ]
        assert [one["function"]["name"] for one in first["tools"]] == [tool.__name__ for tool in TOOLS]
        assert "submit" not in json.dumps(first)
        called, told = second["messages"][2:4]
        assert called["tool_calls"][0]["function"]["name"] == "square_root"
        assert (told["role"], told["tool_call_id"]) == ("tool", called["tool_calls"][0]["id"])
        assert "4.0" in str(told["content"])
        assert second["messages"][1] == first["messages"][1]  # the question, once and in the same words

    def test_an_answer_without_a_call_is_the_answer(self):
        answer, requests = ask(NativeToolLoop(SIGNATURE, TOOLS), fields(answer="4"))
        assert (answer.answer, answer.steps, len(requests)) == ("4", (), 1)

    def test_several_calls_at_once_and_words_beside_a_call(self):
        calls = [("square_root", {"number": 16}), ("count_letters", {"text": "abc"})]
        answer, requests = ask(NativeToolLoop(SIGNATURE, TOOLS), Reply("Let me see.", calls), fields(answer="done"))
        assert [step.result for step in answer.steps] == [4.0, 3]
        assert [message["role"] for message in requests[1]["messages"]][2:5] == ["assistant", "tool", "tool"]

    def test_a_tool_that_does_not_exist_or_raises_is_told_to_the_model(self):
        bad = Reply(None, [("cube_root", {"number": 1}), ("square_root", {"number": "many"})])
        answer, requests = ask(NativeToolLoop(SIGNATURE, TOOLS), bad, fields(answer="no"))
        assert all(step.failed for step in answer.steps)
        told = [message["content"] for message in requests[1]["messages"] if message["role"] == "tool"]
        assert "There is no tool 'cube_root'; there are square_root" in str(told[0])
        assert answer.answer == "no"

    def test_after_its_last_turn_it_must_answer_without_a_call(self):
        answer, requests = ask(NativeToolLoop(SIGNATURE, TOOLS, max_iters=2), CALL, CALL, fields(answer="4"))
        assert (answer.answer, len(answer.steps)) == ("4", 2)
        assert [request.get("tool_choice") for request in requests] == [None, None, "none"]

    def test_a_conversation_comes_first(self):
        earlier = dspy.History(messages=[{"question": "hello?", "answer": "hi"}])
        signature = "question, history: dspy.History -> answer"
        _, (request,) = ask(NativeToolLoop(signature, TOOLS), fields(answer="4"), history=earlier)
        assert [message["role"] for message in request["messages"]] == ["system", "user", "assistant", "user"]

    def test_several_outputs(self):
        signature = "question -> answer: float, sure: bool"
        answer, _ = ask(NativeToolLoop(signature, TOOLS), CALL, fields(answer="4.0", sure="true"))
        assert (answer.answer, answer.sure) == (4.0, True)

    def test_asynchronously(self):
        async def run(server):
            with dspy.context(lm=wire_lm(server)):
                return await NativeToolLoop(SIGNATURE, TOOLS).acall(question=ROOT)

        with Loopback([CALL, fields(answer="4.0")]) as server:
            assert asyncio.run(run(server)).steps[0].result == 4.0

    def test_it_needs_a_language_model_that_calls_tools_natively(self):
        loop = NativeToolLoop(SIGNATURE, TOOLS)
        with dspy.context(lm=scripted_lm()), pytest.raises(ValueError, match=r"'scripted/model' is not known to have"):
            loop(question=ROOT)
        with dspy.context(lm=None), pytest.raises(ValueError, match="No language model is configured"):
            loop(question=ROOT)

    def test_the_users_adapter_is_left_as_it_is(self):
        adapter = dspy.ChatAdapter()
        with dspy.context(adapter=adapter):
            ask(NativeToolLoop(SIGNATURE, TOOLS), CALL, fields(answer="4.0"))
        assert not adapter.use_native_function_calling

    @pytest.mark.parametrize("signature", ["question, tools -> answer", "question -> answer, tool_calls"])
    def test_names_of_its_own_are_refused(self, signature):
        with pytest.raises(ValueError, match="which a NativeToolLoop uses itself"):
            NativeToolLoop(signature, TOOLS)

    @pytest.mark.parametrize("max_iters", [0, True, 2.5])
    def test_turns_are_counted_from_one(self, max_iters):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            NativeToolLoop(SIGNATURE, TOOLS, max_iters=max_iters)


class TestToolChoiceChain:
    def test_three_calls_choose_fill_and_write(self):
        answer, (choose, fill, write) = ask(ToolChoiceChain(SIGNATURE, TOOLS))
        assert answer.answer == "4.0"
        assert answer.steps[0].arguments == arguments_of(ROOT, "square_root")
        assert all(tool.__name__ in str(choose["messages"]) for tool in TOOLS)
        assert "count_letters" not in str(fill["messages"]) + str(write["messages"])
        assert "tool_result" in str(write["messages"])

    def test_a_tool_without_parameters_needs_no_filling(self):
        question = next(question for question, tool, _ in LABELLED if tool == "opening_hours")
        answer, requests = ask(ToolChoiceChain(SIGNATURE, TOOLS), question=question)
        assert (answer.answer, len(requests)) == ("9 to 5", 2)

    def test_where_no_tool_helps_the_answer_is_written_without(self):
        answer, requests = ask(ToolChoiceChain(SIGNATURE, TOOLS), question="sing me a song")
        assert (answer.steps, len(requests)) == ((), 2)
        assert "No tool was called." in str(requests[1]["messages"])

    def test_a_call_that_cannot_be_filled_is_an_observation(self):
        wrong = fields(arguments='{"nmber": 16}')
        answer, requests = ask(
            ToolChoiceChain(SIGNATURE, TOOLS), fields(tool="square_root"), wrong, wrong, fields(answer="no")
        )
        assert answer.steps[0].error.startswith("ArgumentError")
        assert len(requests) == 4
        assert "There is no parameter 'nmber'" in requests[3]["messages"][-1]["content"]

    def test_its_prompts_are_the_programs_and_can_be_optimized(self):
        names = [name for name, _ in ToolChoiceChain(SIGNATURE, TOOLS).named_predictors()]
        assert names == ["choose", "fill_arguments", "write"]

    def test_names_of_its_own_are_refused(self):
        with pytest.raises(ValueError, match="a field named 'tools', which a ToolChoiceChain uses itself"):
            ToolChoiceChain("question, tools -> answer", TOOLS)
        with pytest.raises(ValueError, match="A tool is called 'none'"):
            ToolChoiceChain(SIGNATURE, [dspy.Tool(lambda: 1, name="none", desc="nothing")])


def test_both_are_saved_and_loaded_like_any_program(tmp_path):
    for make in (NativeToolLoop, ToolChoiceChain):
        program = make(SIGNATURE, TOOLS)
        predictor: Any = program.predictors()[0]
        predictor.signature = predictor.signature.with_instructions("Choose the one tool.")
        program.save(tmp_path / "program.json")
        other: Any = make(SIGNATURE, TOOLS)
        other.load(tmp_path / "program.json")
        assert other.predictors()[0].signature.instructions == "Choose the one tool."
        with dspy.context(adapter=NATIVE):
            assert ask(program.deepcopy())[0].answer == "4.0"
