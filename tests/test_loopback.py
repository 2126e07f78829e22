"""The loopback server: it answers as the OpenAI chat API does, in whole, in pieces and with errors."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import dspy
import litellm
import pytest
from dspy.utils.exceptions import LMAuthError, LMRateLimitError, LMServerError, LMTimeoutError, LMTransportError
from wire import wire_lm

from benchmarks.loopback import Loopback, Reply
from benchmarks.loopback.tokens import count_input, count_output, count_text
from dspy_router.evaluation.costs import Usage

ENGINES = ["auto", "litellm"]
LONG = {"terms": [1, 2, 3], "note": "all of them"}
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
    with Loopback([Reply("It is\nfour, I say.", [("add", LONG)], input_tokens=7, output_tokens=3)]) as server:
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
    calls = [call.function for delta in deltas for call in delta.tool_calls or ()]
    assert [call.name for call in calls if call.name] == ["add"]  # named once, its arguments piece by piece
    assert json.loads("".join(call.arguments or "" for call in calls)) == LONG
    assert len(calls) > 2
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


@pytest.mark.parametrize(("engine", "error"), [("auto", LMTransportError), ("litellm", LMTimeoutError)])
def test_who_waits_less_than_an_answer_takes_hears_of_a_timeout(engine, error):
    with Loopback([Reply("late", delay=600)]) as server, pytest.raises(error, match=r"(?i)timed? ?out"):
        wire_lm(server, engine, timeout=0.3)("?")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_that_tries_again_gets_through_a_limited_and_a_broken_server(engine):
    script = [Reply(status=429, retry_after=0), Reply(status=500), "at last"]
    with Loopback(script) as server:
        assert wire_lm(server, engine, num_retries=3)("?")[0] == "at last"
        assert [one.reply.status for one in server.exchanges] == [429, 500, 200]
        assert server.usage.calls == 1  # errors are not billed


class TestCounts:
    def test_they_are_of_a_real_tokenizer_and_those_that_the_client_is_told(self):
        text = "How many tokens are there in this sentence?"
        assert count_text(text) == 9  # as GPT-4o reads it: eight words and the question mark
        with Loopback(["Nine of them."]) as server:
            lm = wire_lm(server)
            lm(text)
            assert server.usage == Usage(1, lm.history[-1]["usage"]["prompt_tokens"], 4)
        # A user's message: three tokens for it, one for its role, three before the answer.
        assert server.usage.input_tokens == 9 + 7

    def test_schemas_of_tools_and_of_the_answer_are_counted(self):
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}]}
        bare = count_input(body)
        assert count_input({**body, "tools": [ADD]}) > bare
        assert count_input({**body, "response_format": {"type": "json_object"}}) > bare

    def test_a_tool_call_is_its_name_and_its_arguments(self):
        assert count_output(Reply(tool_calls=[("add", {})])) == count_text("add {}")
        assert count_output(Reply("")) == 1

    def test_they_can_be_set_and_forgotten(self):
        script = ["a", Reply("b", input_tokens=5, output_tokens=6), "c"]
        with Loopback(script, count_input=lambda body: 10, count_output=lambda reply: 20) as server:
            lm = wire_lm(server)
            assert [lm("?")[0], lm("?")[0]] == ["a", "b"]
            assert server.usage == Usage(2, 15, 26)
            server.forget()
            assert server.usage == Usage()
            assert lm("?")[0] == "c"
            assert server.usage == Usage(1, 10, 20)


def test_a_script_that_fails_is_not_silent_even_where_the_client_is():
    def script(body):
        raise RuntimeError("the script has a hole")

    def ask():
        with Loopback(script) as server:
            try:
                wire_lm(server)("?")
            except Exception as error:
                assert "the script has a hole" in str(error)

    with pytest.raises(RuntimeError, match="the script has a hole"):
        ask()
