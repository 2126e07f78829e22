"""Which tools a run called, whoever tells it, and whether the first was right."""

from __future__ import annotations

import dspy
import pytest
from toolbelt import TOOLS, small_router

from dspy_router import Decision, NativeToolLoop, RoutedAgent, Step
from dspy_router.program.comparing.metering import Meter
from dspy_router.program.comparing.tool_use import called_tools, first_is_right, labelled_names, tool_names

NAMES = ("square_root", "count_letters", "opening_hours")


def example(**fields) -> dspy.Example:
    return dspy.Example(question="?", **fields).with_inputs("question")


class TestNames:
    @pytest.mark.parametrize(
        "program",
        [
            dspy.ReAct("question -> answer", TOOLS),  # type: ignore[arg-type]
            dspy.ReActV2("question -> answer", TOOLS),  # type: ignore[arg-type]
            NativeToolLoop("question -> answer", TOOLS),
            RoutedAgent("question -> answer", TOOLS, router=small_router()),
        ],
        ids=lambda program: type(program).__name__,
    )
    def test_a_programs_tools_without_those_that_end_a_loop(self, program):
        class Wrapped(dspy.Module):
            def __init__(self):
                super().__init__()
                self.inner = program

        assert tool_names(program) == tool_names(Wrapped()) == set(NAMES)

    def test_a_program_without_tools(self):
        assert tool_names(dspy.Predict("question -> answer")) == frozenset()

    def test_labels_name_tools(self):
        examples = [example(tool="a"), example(tool=["b", "c"]), example(tool=None), example()]
        assert labelled_names(examples, label_field="tool") == {"a", "b", "c"}
        with pytest.raises(TypeError, match="A label must be a tool's name"):
            labelled_names([example(tool=3)], label_field="tool")


class TestCalled:
    def test_steps_tell(self):
        answer = dspy.Prediction(answer="x", steps=(Step("count_letters"), Step("square_root")))
        assert called_tools(answer, Meter(), NAMES) == ("count_letters", "square_root")
        assert called_tools(dspy.Prediction(answer="x", steps=()), Meter(), NAMES) == ()

    def test_tools_that_ran_tell(self):
        meter = Meter()
        meter.tools = ["submit", "opening_hours", "helper"]
        assert called_tools(dspy.Prediction(answer="x"), meter, NAMES) == ("opening_hours",)

    def test_a_trajectory_tells_of_calls_that_could_not_be_made(self):
        trajectory = {"tool_name_0": "square_root", "tool_args_0": {}, "observation_0": "Execution error in x: no"}
        answer = dspy.Prediction(answer="x", trajectory=trajectory)
        assert called_tools(answer, Meter(), NAMES) == ("square_root",)

    def test_tool_calls_among_the_outputs_tell(self):
        made = dspy.ToolCalls.from_dict_list([{"name": "square_root", "args": {"number": 4}}])
        assert called_tools(dspy.Prediction(calls=made), Meter(), NAMES) == ("square_root",)

    def test_none_ran_where_there_are_tools_and_nobody_knows_where_there_are_none(self):
        assert called_tools(dspy.Prediction(answer="x"), Meter(), NAMES) == ()
        assert called_tools(dspy.Prediction(answer="x"), Meter(), ()) is None
        assert called_tools("a plain text", Meter(), ()) is None

    def test_of_a_program_that_raised_only_what_had_run_or_was_decided(self):
        meter = Meter()
        assert called_tools(None, meter, NAMES) is None
        meter.decision = Decision("square_root", {"square_root": 0.9}, 0.1, accepted=False)
        assert called_tools(None, meter, NAMES) is None
        meter.decision = Decision("square_root", {"square_root": 0.9}, 0.1)
        assert called_tools(None, meter, NAMES) == ("square_root",)
        meter.tools = ["opening_hours"]
        assert called_tools(None, meter, NAMES) == ("opening_hours",)


@pytest.mark.parametrize(
    ("called", "label", "failed", "right"),
    [
        (("a", "b"), "a", False, True),
        (("b", "a"), "a", False, False),
        (("b",), ["a", "b"], False, True),
        ((), None, False, True),
        (("a",), None, False, False),
        ((), "a", False, False),
        (None, "a", False, None),
        (None, "a", True, False),
        (None, None, True, False),
    ],
)
def test_the_first_tool_is_right(called, label, failed, right):
    assert first_is_right(called, example(tool=label), label_field="tool", failed=failed) is right
    assert first_is_right(called, example(), label_field="tool", failed=failed) is None
