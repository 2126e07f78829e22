"""The agent among DSPy's machinery: threads, evaluation, usage, callbacks and streaming."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.streaming import StreamListener, StreamResponse, streamify
from dspy.utils.callback import BaseCallback
from scripted import scripted_lm
from toolbelt import LABELLED, TOOLS, examples

from dspy_router import RoutedAgent

ROOT = "what is the square root of 16"


def agent(**settings: Any) -> Any:
    return RoutedAgent("question -> answer", TOOLS, encoder="hash", **settings)


@pytest.fixture
def lm():
    lm = scripted_lm({"answer": "It is 4."})
    with dspy.context(lm=lm):
        yield lm


def test_callbacks_see_the_router_the_tool_and_the_prompt(lm):
    seen = []

    class Watch(BaseCallback):
        def on_module_start(self, call_id, instance, inputs):
            seen.append(type(instance).__name__)

        def on_tool_start(self, call_id, instance, inputs):
            seen.append(instance.name)

    with dspy.context(callbacks=[Watch()]):
        agent()(question=ROOT)
    assert seen == ["RoutedAgent", "Route", "square_root", "Predict"]


def test_many_threads_get_what_one_gets(lm):
    program = agent()
    questions = [question for question, _, _ in LABELLED if "hamlet" not in question] * 4
    pairs = [(program, dspy.Example(question=question).with_inputs("question")) for question in questions]
    results = dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs)
    assert [result.decision for result in results] == [program.choose(question=question) for question in questions]


def test_evaluate_runs_it():
    def exact(example, prediction, trace=None):
        return prediction.answer == example.answer

    solved = [
        example for example in examples() if example.answer in ("4.0", "3", "9 to 5") and "shop" in example.question
    ]
    evaluate = dspy.Evaluate(devset=solved, metric=exact, num_threads=2, display_progress=False)
    assert evaluate(agent(synthesis="none")).score == 100.0


def test_usage_is_tracked(lm):
    with dspy.context(track_usage=True):
        usage = agent()(question=ROOT).get_lm_usage()
    assert usage["scripted/model"]["total_tokens"] == 2


class TestStreaming:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_the_synthesis_streams_word_by_word(self, is_async):
        lm = scripted_lm({"answer": "It is four, I should say so."})
        listener = StreamListener(signature_field_name="answer")
        stream: Any = streamify(agent(), stream_listeners=[listener], is_async_program=is_async)
        chunks, prediction = [], None
        with dspy.context(lm=lm):
            async for value in stream(question=ROOT):
                if isinstance(value, dspy.Prediction):
                    prediction = value
                elif isinstance(value, StreamResponse):
                    chunks.append(value.chunk)
        assert "".join(chunks).strip() == "It is four, I should say so."
        assert len(chunks) > 2
        assert prediction is not None
        assert prediction.steps[0].result == 4.0

    async def test_the_tool_call_is_a_status_message(self, lm):
        stream: Any = streamify(agent())
        messages = [value.message async for value in stream(question=ROOT) if hasattr(value, "message")]
        assert any("square_root" in message for message in messages)
