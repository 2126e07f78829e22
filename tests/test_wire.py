"""On the wire, a call that the router made is told as one that the language model made itself, field for field."""

from __future__ import annotations

import copy
from typing import Any

import dspy
import pytest
from toolbelt import TOOLS, opening_hours, square_root
from wire import ADAPTERS, answering, calling, submitting, wire_lm

from benchmarks.loopback import Loopback
from dspy_router import RoutedAgent, Step
from dspy_router.program.calls import run
from dspy_router.program.escalation import transcript
from dspy_router.program.synthesis import read_signature, synthesis_call, synthesis_prompt

ENGINES = ["auto", "litellm"]
QA = read_signature("question -> answer")
ROOT, SHOP = "what is the square root of 16", "when is the shop open"


def find_pages(query: str, limit: int = 3) -> list[dict[str, Any]]:
    """Find pages."""
    return [{"title": f"{query} {n}", "score": n / 2} for n in range(limit)]


def loop(server: Loopback, adapter: Any, engine: str, tools: Any, **inputs: Any) -> list[dict[str, Any]]:
    """The messages with which a ReActV2 that made its calls asks for the next one."""
    with dspy.context(lm=wire_lm(server, engine), adapter=adapter):
        answer = dspy.ReActV2(QA, tools)(**inputs)
    assert answer.termination_reason == "submit"
    return server.requests[-1]["messages"]


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a model is told of what was done: all between the instructions and the request for what comes next.

    Tool calls go by numbers instead of ids, in the order of their appearance.
    """
    middle = copy.deepcopy(messages[1:-1])
    ids: dict[str, int] = {}
    for message in middle:
        for call in message.get("tool_calls", ()):
            call["id"] = ids.setdefault(call["id"], len(ids))
        if "tool_call_id" in message:
            message["tool_call_id"] = ids[message["tool_call_id"]]
    return middle


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(
    ("question", "call", "native"),
    [
        (ROOT, ("square_root", {"number": 16}), "4.0"),
        (SHOP, ("opening_hours", {}), "9 to 5"),
    ],
)
def test_a_call_of_the_routers_is_told_as_one_of_the_models_own(name, engine, question, call, native):
    adapter = ADAPTERS[name]
    # An empty thought cannot be written in DSPy's XML; there the model thinks, and the thought is taken out again.
    thought = "Hm." if name == "xml, text" else ""
    with Loopback([calling(adapter, [call], thought), submitting(adapter, answer="it")]) as server:
        theirs = told(loop(server, adapter, engine, TOOLS, question=question))
    with Loopback([answering(adapter, answer="it")]) as server:
        with dspy.context(lm=wire_lm(server, engine), adapter=adapter):
            agent = RoutedAgent("question -> answer", TOOLS, encoder="hash", synthesis="history")
            assert agent(question=question).answer == "it"
        (request,) = server.requests
        ours = told(request["messages"])
    if thought:
        theirs[1]["content"] = theirs[1]["content"].replace(thought, "")
    assert ours == theirs
    roles = [message["role"] for message in ours]
    if adapter.use_native_function_calling:
        assert roles == ["user", "assistant", "tool"]
        assert ours[1].get("content") is None
        assert ours[2]["content"] == native
        # The model shall answer now; the schema is there because providers refuse tool messages without it.
        assert request["tool_choice"] == "none"
        assert [tool["function"]["name"] for tool in request["tools"]] == [call[0]]
    else:
        assert roles == ["user", "assistant", "user"]
        assert "tools" not in request


def ours_of(steps: tuple[Step, ...], tools: list[Any], adapter: Any, engine: str, **inputs: Any) -> Any:
    predictor: Any = synthesis_prompt("history", QA)
    called = {tool.__name__: dspy.Tool(tool) for tool in tools}

    def plan():
        return (yield synthesis_call(predictor, "history", inputs, steps, called))

    with Loopback([answering(adapter, answer="it")]) as server:
        with dspy.context(lm=wire_lm(server, engine), adapter=adapter):
            assert run(plan()).answer == "it"
        return told(server.requests[-1]["messages"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in ADAPTERS if "xml" not in name])
def test_several_steps_and_structured_results_are_told_alike(name, engine):
    adapter = ADAPTERS[name]
    made = [("find_pages", {"query": "é <b>", "limit": 2}), ("square_root", {"number": 2.25}), ("opening_hours", {})]
    tools = [find_pages, square_root, opening_hours]
    replies = [*(calling(adapter, [call]) for call in made), submitting(adapter, answer="it")]
    with Loopback(replies) as server:
        theirs = told(loop(server, adapter, engine, tools, question="?"))
    results = [find_pages("é <b>", 2), 1.5, "9 to 5"]
    steps = tuple(Step(tool, arguments, result) for (tool, arguments), result in zip(made, results, strict=True))
    assert ours_of(steps, tools, adapter, engine, question="?") == theirs


@pytest.mark.parametrize("name", [name for name in ADAPTERS if "xml" not in name])
def test_a_loop_that_takes_over_cannot_tell_the_steps_from_its_own(name):
    """All of the request is the same then, instructions and tools too: it is a ReActV2 that goes on."""
    adapter, call = ADAPTERS[name], ("square_root", {"number": 16})
    with Loopback([calling(adapter, [call]), submitting(adapter, answer="it")]) as server:
        loop(server, adapter, "auto", TOOLS, question=ROOT)
        theirs = server.requests[-1]
    with Loopback([submitting(adapter, answer="it")]) as server:
        lm = wire_lm(server)
        with dspy.context(lm=lm, adapter=adapter):
            steps = (Step("square_root", {"number": 16}, 4.0),)
            inputs = transcript(QA, {"question": ROOT}, steps, lm)
            dspy.ReActV2(QA, TOOLS)(**inputs)
        (ours,) = server.requests
    assert told(ours["messages"]) == told(theirs["messages"])
    for part in (0, -1):
        assert ours["messages"][part] == theirs["messages"][part]
    assert {key: value for key, value in ours.items() if key != "messages"} == {
        key: value for key, value in theirs.items() if key != "messages"
    }


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_fallback_asks_as_a_loop_of_its_own_would(name):
    adapter = ADAPTERS[name]
    script = [calling(adapter, [("square_root", {"number": 16})], "Roots."), submitting(adapter, answer="four")]
    with Loopback(script) as server:
        loop(server, adapter, "auto", TOOLS, question=ROOT)
        theirs = server.requests
    with Loopback(script) as server, dspy.context(lm=wire_lm(server), adapter=adapter):
        agent = RoutedAgent("question -> answer", TOOLS, encoder="hash", threshold=1.0)
        prediction = agent(question=ROOT)
        ours = server.requests
    assert ours[0] == theirs[0]
    assert told(ours[1]["messages"]) == told(theirs[1]["messages"])
    assert prediction.answer == "four"
    assert (prediction.decision.tool, prediction.decision.source) == ("square_root", "lm")
    (step,) = prediction.steps
    assert (step.tool, dict(step.arguments), step.result, step.filled_by) == ("square_root", {"number": 16}, 4.0, "lm")
