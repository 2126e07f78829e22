"""The hand-over: a language model takes over an unsure decision, and its choice comes back as the same records."""

from __future__ import annotations

import copy
import threading
from typing import Any

import dspy
import pytest
from scripted import scripted_lm
from toolbelt import TOOLS, count_letters, opening_hours, small_router, square_root
from wire import ADAPTERS, ROOT, answering, ask, calling, submitting, wire_lm

from benchmarks.loopback import Loopback, Reply
from dspy_router import RoutedAgent
from dspy_router.program.escalation import most_probable, transcript
from dspy_router.program.route import forced
from dspy_router.program.synthesis import read_signature
from dspy_router.records import Decision, Step

QA = read_signature("question -> answer")
NATIVE = ADAPTERS["chat, native"]
SQUARE_ROOT, FOUR = calling(NATIVE, [("square_root", {"number": 16})]), submitting(NATIVE, answer="four")


def agent(signature: Any = "question -> answer", tools: Any = TOOLS, **settings: Any) -> Any:
    return RoutedAgent(signature, tools, encoder="hash", **{"threshold": 1.0, **settings})


class TestDefault:
    def test_the_choice_comes_back_as_the_same_decision_and_step(self):
        program = agent()
        prediction, _ = ask(program, SQUARE_ROOT, FOUR)
        own, decision = program.choose(question=ROOT), prediction.decision
        assert prediction.answer == "four"
        assert (decision.tool, decision.source, decision.accepted, decision.propensity, decision.error) == (
            "square_root",
            "lm",
            True,
            1.0,
            None,
        )
        assert (dict(decision.probabilities), decision.none_probability) == (
            dict(own.probabilities),
            own.none_probability,
        )
        (step,) = prediction.steps
        assert (step.tool, dict(step.arguments), step.result, step.filled_by) == (
            "square_root",
            {"number": 16},
            4.0,
            "lm",
        )
        assert prediction.termination_reason == "submit"

    async def test_it_is_awaited_as_well(self):
        async def later(number: float) -> float:
            """Square root of a number."""
            return number**0.5

        program = agent(tools=[later, count_letters])
        replies = [calling(NATIVE, [("later", {"number": 16})]), FOUR]
        with Loopback(replies) as server, dspy.context(lm=wire_lm(server), adapter=NATIVE):
            prediction = await program.acall(question=ROOT)
        assert (prediction.answer, prediction.decision.tool, prediction.steps[0].result) == ("four", "later", 4.0)

    def test_all_calls_are_steps_and_the_first_is_the_decision(self):
        calls = [("opening_hours", {}), ("square_root", {"number": "many"})]
        prediction, _ = ask(agent(), calling(NATIVE, calls), SQUARE_ROOT, FOUR)
        assert prediction.decision.tool == "opening_hours"
        assert [(step.tool, step.result) for step in prediction.steps] == [
            ("opening_hours", "9 to 5"),
            ("square_root", None),
            ("square_root", 4.0),
        ]
        assert prediction.steps[1].error.startswith("ValueError: Arg number is invalid")

    def test_to_answer_at_once_is_to_choose_no_tool(self):
        prediction, _ = ask(agent(), FOUR)
        assert (prediction.decision.tool, prediction.decision.source, prediction.steps) == (None, "lm", ())

    def test_an_answer_that_had_to_be_forced_is_no_choice(self):
        """The model wrote what nobody can read; that it then gave an answer does not say that no tool fits."""
        prediction, _ = ask(agent(), Reply("Hm?"), Reply("Hm?"), FOUR)
        assert (prediction.answer, prediction.termination_reason) == ("four", "forced_submit")
        assert (prediction.decision.source, prediction.decision.accepted) == ("router", False)

    def test_a_tool_that_does_not_exist_is_no_step(self):
        prediction, _ = ask(agent(), calling(NATIVE, [("cube_root", {})]), SQUARE_ROOT, FOUR)
        assert [step.tool for step in prediction.steps] == ["square_root"]
        assert prediction.decision.tool == "square_root"

    def test_a_tools_error_and_its_time_limit_hold(self):
        release = threading.Event()

        def square_root(number: float) -> float:
            """Square root of a number."""
            if number == 16:
                raise ArithmeticError("no root today")
            release.wait(30)
            return 0.0

        slow = calling(NATIVE, [("square_root", {"number": 25})])
        prediction, requests = ask(agent(tools=[square_root], tool_timeout=0.05), SQUARE_ROOT, slow, FOUR)
        release.set()
        assert [step.error for step in prediction.steps] == [
            "ArithmeticError: no root today",
            "TimeoutError: The tool gave no result within 0.05 s.",
        ]
        assert "no root today" in requests[1]["messages"][3]["content"]

    def test_a_sure_decision_does_not_go_there(self):
        prediction, requests = ask(agent(threshold=0.0), answering(NATIVE, answer="4"))
        assert (prediction.answer, prediction.decision.source, len(requests)) == ("4", "router", 1)

    def test_that_surely_no_tool_fits_is_answered_by_the_synthesis(self):
        program = agent(threshold=0.0)
        with forced(None):
            prediction, requests = ask(program, answering(NATIVE, answer="4"))
        assert "No tool was called." in requests[0]["messages"][1]["content"]
        assert (prediction.decision.tool, prediction.decision.source) == (None, "router")

    def test_a_forced_tool_is_not_handed_over(self):
        with forced("opening_hours"):
            prediction, _ = ask(agent(shadow=True), answering(NATIVE, answer="4"))
        assert [step.tool for step in prediction.steps] == ["opening_hours"]
        assert "shadow" not in prediction

    def test_the_programs_own_model_is_asked(self):
        with Loopback([SQUARE_ROOT, FOUR]) as server, dspy.context(adapter=NATIVE):
            program = agent()
            program.set_lm(wire_lm(server))
            assert program(question=ROOT).decision.source == "lm"

    def test_optimizers_and_files_do_not_know_of_it(self):
        """Files from before can be loaded, and no optimizer spends calls on a prompt that may never be used."""
        with_lm, without = agent(), agent(fallback=None)
        assert [name for name, _ in with_lm.named_parameters()] == [name for name, _ in without.named_parameters()]
        with_lm.load_state(without.dump_state())
        own = agent(fallback=dspy.ReActV2(QA, TOOLS))
        assert "fallback.react" in dict(own.named_predictors())

    def test_a_whole_program_from_before_there_was_this_still_answers(self, tmp_path):
        old = agent(synthesis="none", threshold=0.0, fallback=None)
        for name in ("escalation", "explorer", "shadow", "_logbook"):
            del old.__dict__[name]
        old.save(tmp_path / "old", save_program=True)
        loaded: Any = dspy.load(str(tmp_path / "old"), allow_pickle=True)
        assert loaded(question=ROOT).answer == "4.0"


class TestFewerTools:
    def test_it_sees_the_routers_most_probable_ones(self):
        program = agent(fallback_tools=2)
        _, requests = ask(program, FOUR)
        names = [tool["function"]["name"] for tool in requests[0]["tools"]]
        probabilities = program.choose(question=ROOT).probabilities
        assert names == [*sorted(probabilities, key=lambda name: -probabilities[name])[:2], "submit"]
        assert not any(name in requests[0]["messages"][0]["content"] for name in probabilities if name not in names)

    def test_none_is_not_counted(self):
        decision = Decision("a", {"a": 0.3, "b": 0.05, "c": 0.15}, 0.5)
        assert most_probable(decision, 2) == ["a", "c"]
        assert most_probable(decision, 3) == ["a", "c", "b"]

    @pytest.mark.parametrize("k", [0, 4, 1.5, True])
    def test_there_must_be_so_many(self, k):
        with pytest.raises(ValueError, match="whole number from 1 to 3"):
            agent(fallback_tools=k)

    def test_a_module_has_tools_of_its_own(self):
        with pytest.raises(ValueError, match="Leave one of the two out"):
            agent(fallback_tools=1, fallback=dspy.Predict("question -> answer"))


class TestModule:
    def test_a_reactv2_of_ones_own_tells_its_choice(self):
        program = agent(fallback=dspy.ReActV2(QA, TOOLS))
        prediction, _ = ask(program, SQUARE_ROOT, FOUR)
        assert (prediction.decision.tool, prediction.decision.source) == ("square_root", "lm")
        assert [(step.tool, step.result) for step in prediction.steps] == [("square_root", 4.0)]

    def test_so_does_react(self):
        script = iter(
            [
                {"next_tool_name": "square_root", "next_tool_args": {"number": 16}},
                {"next_tool_name": "finish", "next_tool_args": {}},
                {"answer": "four"},
            ]
        )
        with dspy.context(lm=scripted_lm(script=lambda prompt: next(script))):
            prediction = agent(fallback=dspy.ReAct(QA, TOOLS))(question=ROOT)
        assert (prediction.answer, prediction.decision.tool, prediction.decision.source) == (
            "four",
            "square_root",
            "lm",
        )
        assert [(step.tool, step.result) for step in prediction.steps] == [("square_root", 4.0)]

    def test_another_agent_may_take_over(self):
        second = RoutedAgent("question -> answer", TOOLS, router=small_router(), synthesis="none")
        prediction, _ = ask(agent(fallback=second), FOUR)
        assert (prediction.answer, prediction.decision.tool) == ("4.0", "square_root")
        assert [step.result for step in prediction.steps] == [4.0]


class TestConversation:
    def test_an_earlier_one_comes_first_with_its_answers_as_submitted(self):
        past = dspy.History(messages=[{"question": "hello?", "answer": "hi!"}])
        program = agent("question, past: dspy.History -> answer")
        with Loopback([FOUR]) as server, dspy.context(lm=wire_lm(server), adapter=NATIVE):
            assert program(question=ROOT, past=past).answer == "four"
        (request,) = server.requests
        _, asked, answered, submitted, now = request["messages"]
        assert "hello?" in asked["content"]
        assert answered["tool_calls"][0]["function"] == {"name": "submit", "arguments": '{"answer":"hi!"}'}
        assert "hi!" in submitted["content"]
        assert ROOT in now["content"]
        assert past.messages == [{"question": "hello?", "answer": "hi!"}]

    def test_steps_tell_the_inputs(self):
        steps = (Step("opening_hours", {}, "9 to 5"),)
        inputs = transcript(QA, {"question": ROOT}, steps, None)
        assert set(inputs) == {"history"}
        (message,) = inputs["history"].messages
        assert (message["question"], message["next_thought"]) == (ROOT, "")
        assert message["tool_calls"].tool_call_results.tool_call_results[0].value == "9 to 5"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"fallback": "gpt"}, ValueError, "must be 'lm', a dspy.Module or None; got 'gpt'"),
        ({"on_error": "ignore"}, ValueError, "must be 'raise', 'best_effort' or 'none'; got 'ignore'"),
        ({"fallback_timeout": 0}, ValueError, "fallback_timeout must be a positive number"),
        ({"tools": [dspy.Tool(square_root, name="submit")]}, ValueError, "`submit` is reserved.*fallback=None"),
        ({"signature": "question -> answer, history"}, ValueError, "`history` are reserved.*fallback=None"),
    ],
)
def test_misuse_is_refused_at_construction(settings, error, message):
    with pytest.raises(error, match=message):
        agent(**settings)


def test_what_the_default_cannot_have_is_fine_without_it():
    assert agent(tools=[dspy.Tool(square_root, name="submit"), opening_hours], fallback=None).fallback is None


def test_copies_hand_over_as_well():
    assert ask(copy.deepcopy(agent()), SQUARE_ROOT, FOUR)[0].decision.source == "lm"
