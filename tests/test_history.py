"""The history synthesis: a tool call that reads as the language model's own, in the shape ReActV2 writes."""

from __future__ import annotations

import dspy
import pytest
from scripted import scripted_lm

from dspy_router.program.calls import run
from dspy_router.program.synthesis import read_signature, synthesis_call, synthesis_prompt
from dspy_router.records import Step


def clock(zone: str = "UTC") -> str:
    """Tell the time."""
    return "12:00"


STEP = Step("clock", {"zone": "UTC"}, "12:00")


def request_of(signature="question -> answer", steps=(STEP,), adapter=None, native=False, **inputs):
    lm = scripted_lm({"answer": "noon"})
    lm.engine.supports_function_calling = native
    predictor = synthesis_prompt("history", read_signature(signature))
    assert predictor is not None

    def plan():
        return (yield synthesis_call(predictor, "history", inputs, steps, {"clock": dspy.Tool(clock)}))

    with dspy.context(lm=lm, adapter=adapter):
        assert run(plan()).answer == "noon"
    return lm.engine.requests[-1]


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(use_native_function_calling=True), dspy.JSONAdapter()])
def test_a_native_adapter_shows_a_native_call_and_only_the_tool_that_was_called(adapter):
    request = request_of(adapter=adapter, native=True, question="what time is it?")
    asked, called, returned, _ = request.messages
    assert "what time is it?" in asked.text
    assert (called.parts[0].name, called.parts[0].input) == ("clock", {"zone": "UTC"})
    assert (returned.role, returned.parts[0].content[0].text) == ("tool", "12:00")
    assert called.parts[0].id == returned.parts[0].id
    # Providers refuse native tool messages without the schema; the model is told not to call again.
    assert [tool.name for tool in request.tools] == ["clock"]
    assert request.config.tool_choice.mode == "none"


@pytest.mark.parametrize("adapter", [None, dspy.JSONAdapter(), dspy.ChatAdapter(use_native_function_calling=True)])
def test_a_model_without_tool_messages_reads_the_call_as_text(adapter):
    request = request_of(adapter=adapter, question="what time is it?")
    asked, called, returned, _ = (message.text for message in request.messages)
    assert "what time is it?" in asked
    assert '"name": "clock"' in called
    assert "answer" not in called  # it has not answered yet
    assert '"value": "12:00"' in returned
    assert not request.tools


def test_the_json_fallback_tells_the_same_story():
    """DSPy asks once more through another adapter where an answer cannot be parsed, here one that is no XML."""
    request = request_of(adapter=dspy.XMLAdapter(), question="what time is it?")
    assert "Respond with a JSON object" in request.messages[-1].text
    assert '"name": "clock"' in request.messages[1].text


def test_the_text_reads_as_reactv2_would_have_written_it():
    lm = scripted_lm(
        script=lambda prompt: {
            "next_thought": "",
            "tool_calls": {"tool_calls": [{"name": "submit", "args": {"answer": "noon"}}]}
            if "12:00" in prompt
            else {"tool_calls": [{"name": "clock", "args": {"zone": "UTC"}}]},
        }
    )
    with dspy.context(lm=lm):
        dspy.ReActV2(read_signature("question -> answer"), [clock])(question="what time is it?")
    theirs = lm.engine.requests[-1].messages
    ours = request_of(question="what time is it?").messages
    call = '{"tool_calls": [{"name": "clock", "args": {"zone": "UTC"}}]}'
    assert call in theirs[1].text
    assert call in ours[1].text
    assert theirs[2].text == ours[2].text


def test_a_failed_step_is_marked_as_an_error():
    request = request_of(steps=(Step("clock", error="ValueError: boom"),), question="?")
    assert '"value": "Error: ValueError: boom", "is_error": true' in request.messages[2].text


def test_steps_are_told_one_after_the_other_and_the_inputs_once():
    later = Step("clock", {"zone": "CET"}, "13:00")
    adapter = dspy.ChatAdapter(use_native_function_calling=True)
    messages = request_of(steps=(STEP, later), adapter=adapter, native=True, question="what time is it?").messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "tool", "user"]
    assert [message.parts[0].input for message in messages if message.role == "assistant"] == [
        {"zone": "UTC"},
        {"zone": "CET"},
    ]
    assert len({message.parts[0].id for message in messages if message.role == "tool"}) == 2
    assert sum("what time is it?" in (message.text or "") for message in messages) == 1


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"hour": 12, "zones": ["UTC"]}, '{"hour": 12, "zones": ["UTC"]}'),
        (12.5, "12.5"),
        (None, "null"),
        ("12:00", "12:00"),
        (b"\xff\xfe", "2 bytes of binary data"),
        (CIRCLE, "[[...]]"),
        (["x" * 30_000], '["' + "x" * 19_998 + "… [10004 more characters left out]"),
    ],
    ids=["a mapping", "a number", "nothing", "a text", "bytes", "a circle", "a long one"],
)
def test_results_are_told_as_a_loop_tells_them_and_what_it_could_not_tell_as_text(result, told):
    adapter = dspy.ChatAdapter(use_native_function_calling=True)
    request = request_of(steps=(Step("clock", {}, result),), adapter=adapter, native=True, question="?")
    assert request.messages[2].parts[0].content[0].text == told


def test_without_a_step_the_inputs_are_asked_directly():
    (asked,) = request_of(steps=(), question="what time is it?").messages
    assert "what time is it?" in asked.text
    assert "`[[ ## answer ## ]]`" in asked.text


def test_an_earlier_conversation_comes_first():
    past = dspy.History(messages=[{"question": "hello?", "answer": "hi!"}])
    request = request_of("question, past: dspy.History -> answer", past=past, question="what time is it?")
    texts = [message.text for message in request.messages]
    assert "hello?" in texts[0]
    assert "hi!" in texts[1]
    assert "what time is it?" in texts[2]
    assert '"name": "clock"' in texts[3]
    assert past.messages == [{"question": "hello?", "answer": "hi!"}]


def test_the_users_adapter_is_left_as_it_is():
    adapter = dspy.ChatAdapter(use_native_function_calling=True)
    request_of(adapter=adapter, question="?")
    assert adapter.use_native_function_calling
    assert "format_conversation_history" not in vars(adapter)
