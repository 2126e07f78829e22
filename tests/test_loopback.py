"""The loopback server: it answers as the OpenAI chat API does, in whole, in pieces and with errors."""

from __future__ import annotations

import threading
import time
from typing import Any

import dspy
import litellm
import pytest
from dspy.utils.exceptions import LMAuthError, LMRateLimitError, LMServerError
from wire import wire_lm

from benchmarks.loopback import Loopback, Reply

ENGINES = ["auto", "litellm"]
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("engine", ENGINES)
def test_it_answers_one_reply_after_the_other_and_the_last_for_good(engine):
    with Loopback(["one", "two"]) as server:
        lm = wire_lm(server, engine)
        assert [lm("?")[0] for _ in range(3)] == ["one", "two", "two"]
        assert [request["messages"] for request in server.requests] == [[{"role": "user", "content": "?"}]] * 3


def test_a_function_may_answer():
    with Loopback(lambda body: body["messages"][-1]["content"].upper()) as server:
        assert wire_lm(server)("hello")[0] == "HELLO"


@pytest.mark.parametrize("engine", ENGINES)
def test_tool_calls_and_usage_arrive(engine):
    reply = Reply(tool_calls=[("add", {"a": 1}), ("add", {"a": 2})], input_tokens=7, output_tokens=3)
    with Loopback([reply]) as server:
        lm = wire_lm(server, engine)
        calls = lm("?", tools=[ADD])[0]["tool_calls"]
        assert server.requests[0]["tools"][0]["function"]["name"] == "add"
    assert [(call["function"]["name"], call["function"]["arguments"].replace(" ", "")) for call in calls] == [
        ("add", '{"a":1}'),
        ("add", '{"a":2}'),
    ]
    usage = lm.history[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("status", "error"), [(401, LMAuthError), (429, LMRateLimitError), (500, LMServerError), (503, LMServerError)]
)
def test_errors_are_those_of_the_api(engine, status, error):
    with Loopback([Reply("no more today", status=status)]) as server, pytest.raises(error, match="no more today"):
        wire_lm(server, engine)("?")


def test_a_stream_comes_in_pieces_and_reads_as_the_whole():
    with Loopback([Reply("It is\nfour, I say.", [("add", {"a": 1})], input_tokens=7, output_tokens=3)]) as server:
        stream: Any = litellm.completion(
            "openai/gpt-4o-mini",
            [{"role": "user", "content": "?"}],
            api_base=server.url,
            api_key="none",
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    texts = [delta.content for delta in deltas if delta.content]
    assert "".join(texts) == "It is\nfour, I say."
    assert len(texts) > 3
    assert [call.function.name for delta in deltas for call in delta.tool_calls or ()] == ["add"]
    assert chunks[-1].usage.total_tokens == 10


def test_an_answer_that_takes_long_is_let_go_of_at_the_end():
    answers: list[str] = []
    with Loopback([Reply("late", delay=600)], latency=0.01) as server:
        lm = wire_lm(server)
        asking = threading.Thread(target=lambda: answers.extend(lm("?")), daemon=True)
        asking.start()
        while not server.requests:
            time.sleep(0.01)
    asking.join(30)
    assert answers == ["late"]


def test_misuse_is_told():
    with pytest.raises(ValueError, match="nothing to answer"):
        Loopback([])
    with Loopback(["fine"]) as server, pytest.raises(Exception, match=r"only /v1/chat/completions"):
        dspy.LM("openai/gpt-4o-mini", api_base=f"{server.url}/other", api_key="none", cache=False, num_retries=0)("?")
