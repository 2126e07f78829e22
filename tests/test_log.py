"""The decision log: what comes back out of it, what is refused, and that neither agent nor file comes to harm."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sqlite3
import threading
import time
from dataclasses import replace

import pytest
from episodes import decided, episode
from hypothesis import given
from hypothesis import strategies as st

from dspy_router import Decision, Episode, Step
from dspy_router.data.log import DecisionLog, new_id
from dspy_router.data.store.values import hash_inputs


@pytest.fixture(params=["queue", "sync"])
def log(request, tmp_path):
    with DecisionLog(tmp_path / "log.sqlite", mode=request.param) as opened:
        yield opened


def recorded(log, *episodes):
    for one in episodes:
        log.record(one)
    assert log.flush()
    return list(log.episodes())


def id_of(one: Episode) -> str:
    assert one.decisions[0].id is not None
    return one.decisions[0].id


class TestRecording:
    def test_an_episode_comes_back_as_it_was(self, log):
        failed = Step("clock", {"city": "Lima", "n": [1, None, 2.5]}, None, "ValueError: no such city", "lm", 0.5)
        lm = decided("clock", source="lm", accepted=False, propensity=0.25, error="TimeoutError: 3 s", audited=True)
        told = Episode(
            {"question": "how late is it?", "context": "grüß dich\x00 \ud800"},
            steps=(Step("add", {"a": 1}, {"sum": [1, 2]}, filled_by="rules", seconds=0.1), failed),
            decisions=(decided("add"), lm),
        )
        assert recorded(log, told, episode("next", decided(None))) == [told, *list(log.episodes())[1:]]

    def test_the_order_is_that_of_writing_whatever_the_clock_says(self, log, monkeypatch):
        clock = iter([3e9, 2e9, 1e9])
        monkeypatch.setattr("dspy_router.data.store.rows.time.time", lambda: next(clock))
        assert [one.text for one in recorded(log, episode("a"), episode("b"), episode("c"))] == ["a", "b", "c"]
        assert [one.episode.text for one in log.tail(2)] == ["b", "c"]
        stats = log.stats()
        assert (stats.first, stats.last) == (3e9, 1e9)

    def test_what_is_changed_after_it_was_recorded_is_logged_as_it_was(self, log):
        result = ["one"]
        log.record(episode(result=result))
        result.append("two")
        assert log.flush()
        assert next(log.episodes()).steps[0].result == ["one"]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (Episode({"query": "x"}), "this episode has none"),
            (episode("x", decided(id=None)), "needs an id of its own"),
            (episode("x", decided(id="a"), decided(id="a")), "needs an id of its own"),
            (episode("x", decided(propensity=0.0)), r"propensity in \(0, 1\]; got the propensity 0.0"),
            (episode("x", decided(propensity=float("nan"))), "got the propensity nan"),
            (episode("x", Decision("add", {"add": float("inf")}, 0.1, id="a")), "finite probabilities"),
        ],
    )
    def test_what_cannot_be_logged_is_refused_or_counted(self, tmp_path, wrong, message, caplog):
        with DecisionLog(tmp_path / "sync", mode="sync") as sync, pytest.raises(ValueError, match=message):
            sync.record(wrong)
        with DecisionLog(tmp_path / "queue") as queue:
            queue.record(wrong)
            assert queue.dropped == 1
            assert recorded(queue, episode("fine"))[0].text == "fine"
        assert "drops rows" in caplog.text

    def test_a_decision_is_logged_once(self, tmp_path):
        with DecisionLog(tmp_path / "log", mode="sync") as log:
            one = episode("first")
            log.record(one)
            with pytest.raises(ValueError, match=r"is in the log .* already"):
                log.record(replace(one, inputs={"query": "second"}))
            assert [known.text for known in log.episodes()] == ["first"]

    def test_a_shadow_is_a_row_of_its_own_beside_what_was_done(self, log):
        acting = episode("x", decided("clock", source="lm"))
        log.record(acting, shadow=decided("add", id=None), router="abc")
        log.record(episode("y"))
        assert log.flush()
        (pair,) = log.logged(shadowed=True)
        assert (pair.id, pair.router, pair.episode.decisions[0].tool) == (id_of(acting), "abc", "clock")
        assert pair.shadow.tool == "add"
        log.label(pair.shadow.id, "clock")
        log.reward(pair.id, 1.0)
        assert [(e.decisions[0].tool, e.labels, e.reward) for e in log.episodes()] == [
            ("clock", (("clock",),), 1.0),
            ("add", (), None),
        ]
        (shadow,) = log.episodes(shadow=True)
        assert (shadow.decisions[0].tool, shadow.labels, shadow.reward, shadow.steps) == (
            "add", (("clock",),), None, (),
        )  # fmt: skip
        assert (log.stats().decisions, log.stats().shadows, log.stats().agreeing) == (2, 1, 0)

    @given(
        inputs=st.dictionaries(st.text(), st.text() | st.integers() | st.none(), min_size=1),
        result=st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=())),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        ),
        tool=st.text(min_size=1),
    )  # fmt: skip
    def test_every_json_value_survives(self, tmp_path_factory, inputs, result, tool):
        told = Episode(
            inputs, (Step(tool, {"x": result}, result),), decisions=(Decision(tool, {tool: 1.0}, 0.0, id="a"),)
        )
        with DecisionLog(tmp_path_factory.mktemp("log") / "log", mode="sync") as log:
            log.record(told)
            assert list(log.episodes()) == [told]

    def test_ids_are_new_each_time_and_grow_with_time(self, monkeypatch):
        assert len({new_id() for _ in range(10_000)}) == 10_000
        monkeypatch.setattr("dspy_router.data.log.time.time_ns", lambda: 1_000_000)
        early = new_id()
        monkeypatch.setattr("dspy_router.data.log.time.time_ns", lambda: 2_000_000)
        assert early < new_id()


class TestPrivacy:
    def test_hashes_tell_equal_inputs_apart_and_nothing_else(self, tmp_path):
        with DecisionLog(tmp_path / "log", mode="sync", inputs="hash") as log:
            secret = episode("my pin is 4711", decided(error="LMError: my pin is 4711"))
            failed = replace(secret, decisions=(decided(),), steps=(Step("add", {}, None, "ValueError: 4711"),))
            for one in (secret, failed, episode("another")):
                log.record(one)
            first, second, third = log.episodes()
            assert first.inputs == second.inputs != third.inputs
            assert (first.decisions[0].error, second.steps[0].error) == ("LMError", "ValueError")
        assert b"4711" not in (tmp_path / "log").read_bytes()

    def test_a_hash_is_of_the_whole_text_however_long(self, tmp_path, log):
        with DecisionLog(tmp_path / "hashed", mode=log.mode, inputs="hash", max_chars=10) as hashed:
            (told,) = recorded(hashed, episode("x" * 100))
            assert told.inputs == {"sha256": hash_inputs({"query": "x" * 100})}

    def test_what_is_too_long_is_cut(self, tmp_path, log):
        with DecisionLog(tmp_path / "cut", mode=log.mode, max_chars=10) as cut:
            (told,) = recorded(cut, episode("x" * 100))
            assert told.text == "xxxxx… (95 more characters)"  # the field's name counts as well

    def test_a_redaction_sees_everything_before_it_is_written_and_whole(self, tmp_path, log):
        seen = []

        def redact(part, value):
            seen.append(part)
            return json.loads(json.dumps(value).replace("4711", "****"))

        path = tmp_path / "redacted"
        with DecisionLog(path, mode=log.mode, redact=redact, max_chars=17) as redacted:
            one = episode("my pin is 4711", decided(error="LMError: 4711"), result=["4711"])
            failed = Step("clock", {"pin": "4711"}, None, "ValueError: 4711")
            redacted.record(replace(one, steps=(*one.steps, failed)))
            assert redacted.flush()
            (told,) = redacted.episodes()
        assert told.text.startswith("my pin is **…")  # cut only after the redaction has seen it
        assert told.steps[0].result == ["****"]
        assert sorted(set(seen)) == ["arguments", "error", "inputs", "result"]
        assert b"4711" not in path.read_bytes()

    def test_where_a_redaction_fails_nothing_is_written_of_the_value(self, tmp_path, log):
        def fail(part, value):
            if part == "result":
                return value
            raise RuntimeError(f"cannot redact {value}")

        path = tmp_path / "redacted"
        with DecisionLog(path, mode=log.mode, redact=fail) as redacted:
            redacted.record(episode("my pin is 4711", result="harmless"))
            assert redacted.flush()
            (told,) = redacted.episodes()
            assert redacted.redaction_failures == 2
        assert told.inputs == {"withheld": "the redaction failed: RuntimeError"}
        assert (told.decisions[0].tool, told.steps[0].result) == ("add", "harmless")
        assert b"4711" not in path.read_bytes()


class TestQueue:
    def test_the_agent_goes_on_while_the_file_is_locked_and_the_rows_come_later(self, tmp_path, caplog):
        path = tmp_path / "log"
        with DecisionLog(path, timeout=0.05) as log:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            log.record(episode("patient"))
            assert not log.flush(0.5)
            assert log.failures >= 1
            assert "is locked" in str(log.last_error)
            other.execute("ROLLBACK")
            assert log.flush()
            assert ([one.text for one in log.episodes()], log.dropped) == (["patient"], 0)
            other.close()
        assert len([r for r in caplog.records if "could not be written" in r.message]) == 1

    def test_what_finds_the_queue_full_is_counted_and_said_once(self, tmp_path, caplog):
        path = tmp_path / "log"
        log = DecisionLog(path, timeout=0.01, capacity=3, max_wait=0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.record(episode("the writer's hand is on it"))
        deadline = time.monotonic() + 10
        while not log.failures and time.monotonic() < deadline:
            time.sleep(0.01)
        for number in range(5):
            log.record(episode(f"row {number}"))
        assert log.dropped == 2
        other.execute("ROLLBACK")
        other.close()
        assert log.flush()
        assert [one.text for one in log.episodes()][1:] == ["row 0", "row 1", "row 2"]
        log.close()
        log.record(episode("too late"))
        assert log.dropped == 3
        assert len([r for r in caplog.records if "drops rows" in r.message]) == 1
        assert caplog.records[-1].levelno == logging.WARNING

    def test_threads_write_at_once_and_nothing_is_lost(self, log):
        def work(name):
            for number in range(25):
                log.record(episode(f"{name} {number}"))

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.flush()
        texts = [one.text for one in log.episodes()]
        assert len(set(texts)) == 100
        for name in "abcd":  # each thread's rows are in its order
            assert [text for text in texts if text[0] == name] == [f"{name} {number}" for number in range(25)]

    def test_a_file_that_was_moved_away_is_begun_anew(self, log, tmp_path):
        log.record(episode("before"))
        assert log.flush()
        for path in tmp_path.glob("log.sqlite*"):
            path.rename(tmp_path / f"old-{path.name}")
        assert [one.text for one in recorded(log, episode("after"))] == ["after"]


class TestCopies:
    def test_a_deep_copy_is_the_same_log_and_a_pickled_one_opens_the_same_file(self, log):
        assert copy.deepcopy({"log": log})["log"] is log
        again = pickle.loads(pickle.dumps(log))
        assert (again.path, again.mode) == (log.path, log.mode)
        again.record(episode("from the copy"))
        again.close()
        assert [one.text for one in log.episodes()] == ["from the copy"]

    def test_a_closed_log_says_so(self, tmp_path):
        log = DecisionLog(tmp_path / "log", mode="sync")
        log.close()
        log.close()
        with pytest.raises(RuntimeError, match="is closed"):
            log.record(episode())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "async"}, "mode must be one of 'queue' and 'sync'; got 'async'"),
            ({"inputs": "none"}, "inputs must be one of 'text' and 'hash'; got 'none'"),
            ({"capacity": 0}, "capacity must be above 0; got 0"),
            ({"keep_days": float("nan")}, "keep_days must be above 0; got nan"),
            ({"redact": "all"}, "redact must be a function"),
        ],
    )
    def test_options_out_of_range(self, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            DecisionLog(tmp_path / "log", **options)
        assert not list(tmp_path.iterdir())
