"""The benchmarks of costs and calls: real programs, a real wire, tools that are called and tools that are not."""

from __future__ import annotations

import pytest

from benchmarks.calls import calls_an_answer, count_calls, growth_with_context, growth_with_tools, spread
from benchmarks.costs import CHAIN, HISTORY, OURS, example, measure
from benchmarks.scripted_model import Plan, ScriptedModel
from benchmarks.workload import CHOOSING, CORE, SIGNATURE, Desk, Synthesis, Workload
from dspy_router import HashEncoder, Router, ToolCard
from dspy_router.demo.tools import TOOLS
from dspy_router.evaluation.costs import multiple

CARD = {"type": "object", "properties": {"place": {"type": "string", "description": "where"}}, "required": ["place"]}
CROWD = [ToolCard(f"crowd_{n}", f"Looks up the number {n} of a place.", CARD) for n in range(45)]
WORKLOAD = Workload.draw(CROWD, 1)
SUM = Plan("what is 2 + 3", (("calculate", {"expression": "2 + 3"}),))


@pytest.fixture(scope="module")
def measured():
    return measure(WORKLOAD, (1, 2, 4), (5, 20, 50))


class TestScript:
    @pytest.mark.parametrize(
        ("name", "calls"), [("dspy.ReAct", 3), ("dspy.ReActV2", 2), ("native tool loop", 2), ("three-call chain", 3)]
    )
    def test_each_program_calls_the_tool_and_answers_in_as_few_calls_as_it_can(self, name, calls):
        called = []

        def calculate(expression: str) -> float:
            called.append(expression)
            return 5.0

        make, settings = CHOOSING[name]
        with Desk.open(**settings) as desk:
            exchanges = desk.ask(make(SIGNATURE, [calculate]), SUM)
        assert called == ["2 + 3"]
        assert len(exchanges) == calls
        assert not any(one.reply.failed for one in exchanges)

    def test_a_prompt_that_it_cannot_answer_is_an_error_and_not_an_empty_answer(self):
        asked = {"messages": [{"role": "user", "content": "fields `[[ ## poem ## ]]`"}]}
        with pytest.raises(KeyError, match=r"no answer for the fields \['poem'\]"):
            ScriptedModel()(asked)


class TestWorkload:
    def test_the_tools_that_are_called_are_always_there(self):
        for size in (5, 20, 50):
            tools = WORKLOAD.tools(size)
            assert len({tool.name for tool in tools}) == size
            called = {name for plan in WORKLOAD.plans for name, _ in plan.calls}
            assert called <= {tool.name for tool in tools[:CORE]}

    def test_the_seed_decides_and_a_crowd_that_is_too_small_is_told(self):
        assert Workload.draw(CROWD, 2, seed=1) == Workload.draw(CROWD, 2, seed=1) != Workload.draw(CROWD, 2, seed=2)
        with pytest.raises(ValueError, match="has 5 to 50 tools; 51 were asked for"):
            WORKLOAD.tools(51)

    def test_a_cut_keeps_what_the_question_is_about(self):
        (plan,) = WORKLOAD.plans
        assert plan.cut(3).calls[-1] == plan.cut(1).calls[0] == plan.calls[-1]


class TestCosts:
    def test_the_example_is_three_times_as_much(self):
        (figure,) = example()
        assert figure.value == 3.0
        assert figure.reached
        assert list(figure.baselines.values()) == [4.0, 6.0, 10.0]

    def test_ours_is_one_call_of_one_size_and_theirs_grow_with_depth_and_tools(self, measured):
        ours = measured[OURS].usage
        assert {usage.calls for usage in ours.values()} == {1}
        assert len({usage.input_tokens for usage in ours.values()}) == 1
        for name in ("dspy.ReAct", "dspy.ReActV2", "native tool loop"):
            theirs = measured[name].usage
            assert theirs[20, 4].calls == 4 + (2 if name == "dspy.ReAct" else 1)
            assert theirs[20, 1].tokens < theirs[20, 2].tokens < theirs[20, 4].tokens
            assert theirs[5, 1].tokens < theirs[20, 1].tokens < theirs[50, 1].tokens
            assert multiple(theirs[20, 4], ours[20, 4]) > multiple(theirs[20, 1], ours[20, 1]) > 3

    def test_the_whole_history_grows_with_the_steps_alone(self, measured):
        history = measured[HISTORY].usage
        assert history[5, 4].tokens == history[50, 4].tokens > history[20, 1].tokens

    def test_the_cost_model_says_what_the_server_received(self, measured):
        for name, one in measured.items():
            model = one.model(name)
            for (tools, depth), usage in one.usage.items():
                said = model.usage(depth, tools)
                assert said.calls == usage.calls
                assert said.tokens == pytest.approx(usage.tokens, rel=0.05)

    def test_a_chain_of_two_tools_is_two_chains_but_for_the_last_call(self, measured):
        model = measured[CHAIN].model(CHAIN)
        assert [model.usage(depth, 20).calls for depth in (1, 2, 8)] == [3, 5, 17]


class TestCalls:
    def test_one_call_an_answer_and_none_where_the_result_is_the_answer(self):
        router = Router.from_tools(TOOLS, encoder=HashEncoder())
        hours = Plan("What is the weekday of 2024-02-29?", (("weekday_of", {"date": "2024-02-29"}),))
        figures = list(calls_an_answer(router, [SUM, hours]))
        assert [figure.value for figure in figures] == [1.0, 1.0, 0.0]
        assert all(figure.reached for figure in figures)
        assert figures[0].baselines["dspy.ReAct"] == 3.0

    def test_a_call_that_the_rules_leave_open_costs_one_more_and_is_counted(self):
        def lend(amount: int, years: int) -> str:
            """Lend an amount of money for some years."""
            return f"{amount} for {years} years"

        from dspy_router import RoutedAgent

        plan = Plan("lend me some money, 100, or 200, for 3 years", (("lend", {"amount": 100, "years": 3}),))
        (count,) = count_calls(RoutedAgent(SIGNATURE, [lend], encoder="hash"), [plan], {})
        assert (count.calls, count.answered, count.by_rules) == (2, True, False)

    def test_the_prompt_of_the_synthesis_does_not_grow(self):
        tools = list(growth_with_tools(WORKLOAD, (5, 50), HashEncoder()))
        context = list(growth_with_context(WORKLOAD, HashEncoder()))
        for figure in (*tools, *context):
            assert figure.value == 0
            assert min(figure.baselines.values()) > 0.5
        assert len(tools) == len(context) == 2

    def test_growth_is_that_of_the_question_that_grows_most(self):
        assert spread([[100, 101], [200, 230]]) == pytest.approx(0.15)


def test_a_synthesis_over_steps_sees_the_last_result_alone():
    calls = [("calculate", {"expression": "40 + 4"}), ("calculate", {"expression": "2 + 3"})]
    with Desk.open() as desk:
        (one,) = desk.ask(Synthesis("result", WORKLOAD_TOOLS, calls), SUM)
    prompt = str(one.request["messages"])
    assert "44" not in prompt
    assert "calculate" in prompt


WORKLOAD_TOOLS = Workload((SUM,), (next(tool for tool in TOOLS if tool.__name__ == "calculate"),), ()).tools(1)
