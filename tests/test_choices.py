"""What a module chose, read from its prediction; and that what is not told is not made up."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.adapters.types.tool import ToolCallResults

from dspy_router.program.choices import Choice, read_choice
from dspy_router.program.history import turn
from dspy_router.program.synthesis import read_signature
from dspy_router.records import Decision, Step

TOOLS = ("clock", "add")
SUBMIT = turn({}, "submit", {"answer": "x"}, {"answer": "x"}, number=1)


def read(**fields: Any) -> Choice | None:
    return read_choice(dspy.Prediction(**fields), TOOLS)


def history(*messages: Any) -> dspy.History:
    return dspy.History(messages=list(messages))


class TestHistory:
    def test_calls_are_steps_but_the_last_one(self):
        clock = turn({"question": "?"}, "clock", {"zone": "UTC"}, {"now": 12}, number=0)
        step = Step("clock", {"zone": "UTC"}, {"now": 12}, filled_by="lm")
        assert read(history=history(clock, SUBMIT)) == Choice("clock", (step,))

    def test_to_submit_at_once_is_to_choose_none(self):
        assert read(history=history(SUBMIT), termination_reason="submit") == Choice(None)

    def test_calls_made_at_once_are_told_apart(self):
        calls = [dspy.ToolCalls.ToolCall(id=str(n), name="add", args={"n": n}) for n in (1, 2)]
        results = ToolCallResults.from_tool_calls_and_values(calls, [1, 2])
        message = {"tool_calls": dspy.ToolCalls(tool_calls=calls, tool_call_results=results)}
        choice = read(history=history(message))
        assert choice is not None
        assert [(step.arguments, step.result) for step in choice.steps] == [({"n": 1}, 1), ({"n": 2}, 2)]

    def test_calls_without_results_are_steps_all_the_same(self):
        made = dspy.ToolCalls(tool_calls=[dspy.ToolCalls.ToolCall(name="add", args={})])
        choice = read(history=history({"tool_calls": made}))
        assert choice is not None
        assert (choice.tool, choice.steps[0].failed) == ("add", True)

    def test_what_was_there_before_was_not_chosen_now(self):
        earlier = turn({}, "clock", {}, "12:00", number=0)
        answer = dspy.Prediction(history=history(earlier, SUBMIT, SUBMIT))
        assert read_choice(answer, TOOLS, earlier=2) == Choice(None)

    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            ([], "submit"),
            ([{"question": "?", "answer": "x"}], None),
            ([SUBMIT], "forced_submit"),
            ([turn({}, "search_web", {}, "found", number=0), SUBMIT], "submit"),
        ],
        ids=["nothing", "a conversation", "forced out", "only others' tools"],
    )
    def test_what_is_not_told_is_not_known(self, messages, reason):
        assert read(history=history(*messages), termination_reason=reason) is None

    def test_an_error_is_told_as_everywhere(self):
        """As a ReActV2 tells it to its model: the last line of a traceback, or several."""

        def add(n: int) -> int:
            try:
                raise KeyError(n)
            except KeyError as error:
                raise ValueError("first line\nsecond: line") from error

        react = dspy.ReActV2(read_signature("question -> answer"), [add])
        calls = dspy.ToolCalls(tool_calls=[dspy.ToolCalls.ToolCall(id="1", name="add", args={"n": 1})])
        results, _ = react._execute_tool_calls(calls)
        choice = read(history=history({"tool_calls": calls.model_copy(update={"tool_call_results": results})}))
        assert choice is not None
        assert choice.steps[0].error == "ValueError: first line\nsecond: line"


class TestTrajectory:
    def test_calls_are_steps_but_the_last_one(self):
        trajectory = {
            "thought_0": "Hm.",
            "tool_name_0": "clock",
            "tool_args_0": {"zone": "UTC"},
            "observation_0": "12:00",
            "tool_name_1": "add",
            "tool_args_1": {},
            "observation_1": "Execution error in add: Arg n is missing",
            "tool_name_2": "finish",
            "tool_args_2": {},
            "observation_2": "Completed.",
        }
        assert read(trajectory=trajectory) == Choice(
            "clock",
            (
                Step("clock", {"zone": "UTC"}, "12:00", filled_by="lm"),
                Step("add", {}, error="Arg n is missing", filled_by="lm"),
            ),
        )

    def test_to_finish_at_once_is_to_choose_none(self):
        assert read(trajectory={"tool_name_0": "finish", "tool_args_0": {}}) == Choice(None)

    @pytest.mark.parametrize("trajectory", [{}, {"tool_name_1": "clock", "tool_args_1": {}}, "a story"])
    def test_one_whose_beginning_is_missing_tells_no_choice(self, trajectory):
        assert read(trajectory=trajectory) is None


class TestAgent:
    def test_its_decision_and_steps_are_taken_over(self):
        step = Step("add", {"n": 1}, 1)
        assert read(decision=Decision("add", {"add": 1.0}, 0.0), steps=(step,)) == Choice("add", (step,))
        assert read(decision=Decision(None, {"add": 0.0}, 1.0), steps=()) == Choice(None)

    def test_one_that_was_not_sure_either_chose_nothing(self):
        assert read(decision=Decision("add", {"add": 1.0}, 0.0, accepted=False), steps=()) is None

    def test_a_tool_of_its_own_is_none_of_ours(self):
        assert read(decision=Decision("other", {"other": 1.0}, 0.0), steps=()) is None


def test_an_answer_alone_says_nothing():
    assert read(answer="x") is None
