"""Replay: what was recorded is answered again, in order; what was not fails aloud and shows what comes nearest."""

from __future__ import annotations

import json

import pytest
from wire import wire_lm

from benchmarks.loopback import Loopback, Recordings, Reply, UnseenRequestError


def asked(text, **others):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **others}


def test_a_session_is_recorded_and_replayed_through_a_real_client(tmp_path):
    with Loopback(["one", "two", "again"]) as server:
        lm = wire_lm(server)
        first = [lm(text)[0] for text in ("a", "b", "a")]
        path = server.save(tmp_path / "session.jsonl")
    with Loopback(Recordings.load(path)) as server:
        lm = wire_lm(server)
        # The same request again gets its second answer, and that one from then on.
        assert [lm(text)[0] for text in ("a", "b", "a", "a")] == [*first, "again"]


def test_tool_calls_errors_and_counts_survive_the_file(tmp_path):
    replies = [Reply("one", (("add", {"a": 1}),)), Reply("no", status=429, retry_after=2.0), Reply("x", input_tokens=9)]
    path = Recordings.save([(asked(str(n)), reply) for n, reply in enumerate(replies)], tmp_path / "r.jsonl")
    recordings = Recordings.load(path)
    assert [recordings(asked(str(n))) for n in range(3)] == replies


def test_how_an_answer_is_sent_and_the_ids_of_calls_tell_no_requests_apart():
    def told(call_id):
        call = {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}
        return [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call_id, "content": "1"}]

    recordings = Recordings([({"model": "m", "messages": told("call_7")}, Reply("yes"))])
    assert recordings({"model": "m", "messages": told("call_8"), "stream": True}).text == "yes"
    with pytest.raises(UnseenRequestError):
        recordings({"model": "m", "messages": told("call_8"), "temperature": 1.0})


def test_an_unseen_request_fails_at_the_client_and_once_more_at_the_end():
    def ask():
        with Loopback(Recordings([(asked("what is two and two"), Reply("four"))])) as server:
            with pytest.raises(Exception, match="was not recorded"):
                wire_lm(server)("what is two and three")
            return server.requests

    with pytest.raises(UnseenRequestError, match=r"1 others were.*and three"):
        ask()


def test_a_damaged_file_and_an_empty_one_are_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(f"{json.dumps({'request': asked('?'), 'reply': {'text': 'yes'}})}\n{{'nonsense'}}\n")
    with pytest.raises(ValueError, match=r"Line 2 of '.*r\.jsonl' is no recorded exchange"):
        Recordings.load(path)
    path.write_text("")
    with pytest.raises(ValueError, match="nothing to replay"):
        Recordings.load(path)
