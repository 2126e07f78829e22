"""Reading a decision log: which episodes are meant, its figures, and the way out to files that others read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from episodes import decided, episode

from dspy_router import Episode, ToolCard
from dspy_router.data.datasets import read_examples, read_rows
from dspy_router.data.log import DecisionLog
from dspy_router.data.log_reader import LogReader
from dspy_router.data.store import reader as reader_module


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Five episodes, ten seconds apart, three with labels and two with rewards."""
    clock = iter(range(1000, 2000, 10))
    monkeypatch.setattr("dspy_router.data.store.rows.time.time", lambda: float(next(clock)))
    with DecisionLog(tmp_path / "log", mode="sync") as log:
        log.record(episode("sum", decided("add", id="d0")), router="old")
        log.record(episode("hour", decided("clock", id="d1", source="lm")), router="old")
        log.record(episode("poem", decided(None, id="d2", accepted=False)), router="new")
        log.record(
            episode("find", decided("search", id="d3", propensity=0.25, error="LMError: late")),
            shadow=decided("search", id=None),
        )
        log.record(episode("time", decided("clock", id="d4"), decided("add", id="d4b", source="lm")))
        log.label("d0", "add")
        log.label("d1", ["clock", "search"])
        log.label("d2", None)
        log.reward("d0", 1.0)
        log.reward("d3", 0.5)
        yield log


@pytest.mark.parametrize(
    ("which", "texts"),
    [
        ({}, "sum hour poem find time"),
        ({"source": "lm"}, "hour"),
        ({"router": "new"}, "poem"),
        ({"labelled": True}, "sum hour poem"),
        ({"labelled": False}, "find time"),
        ({"rewarded": True}, "sum find"),
        ({"rewarded": False, "labelled": True}, "hour poem"),
        ({"shadowed": True}, "find"),
        ({"since": 1010, "until": 1030.0}, "hour poem"),
        ({"since": datetime.fromtimestamp(1030, UTC)}, "find time"),
        ({"after": "d2"}, "find time"),
        ({"last": 2}, "find time"),
        ({"last": 2, "labelled": True}, "hour poem"),
        ({"last": 0}, ""),
    ],
)
@pytest.mark.parametrize("page", [2, 500])
def test_which_episodes_are_meant(log, monkeypatch, which, texts, page):
    monkeypatch.setattr(reader_module, "_PAGE", page)
    assert [one.text for one in log.episodes(**which)] == texts.split()


def test_what_is_known_stands_beside_what_was_done(log):
    known = [(one.reward, one.labels) for one in log.episodes()]
    assert known == [(1.0, (("add",),)), (None, (("clock", "search"),)), (None, ((),)), (0.5, ()), (None, ())]
    log.label("d4b", "clock")  # of the second decision alone: the labels stand in the decisions' order
    assert list(log.episodes())[-1].labels == ()
    log.label("d4", "add")
    assert list(log.episodes())[-1].labels == (("add",), ("clock",))


def test_the_reward_of_an_episode_may_be_given_by_any_of_its_decisions(log):
    log.reward("d4b", 0.75)
    assert list(log.episodes())[-1].reward == 0.75


def test_questions_that_cannot_be_answered(log):
    with pytest.raises(ValueError, match="no decision 'd9' in the log to begin after"):
        list(log.episodes(after="d9"))
    with pytest.raises(ValueError, match="seconds since 1970 or as a datetime; got 'yesterday'"):
        list(log.episodes(since="yesterday"))


def test_writing_goes_on_while_episodes_are_read(log, monkeypatch):
    monkeypatch.setattr(reader_module, "_PAGE", 2)
    seen = []
    for one in log.episodes():
        seen.append(one.text)
        if one.text == "sum":
            log.record(episode("late"))
    assert seen == ["sum", "hour", "poem", "find", "time", "late"]


def test_the_figures(log):
    stats = log.stats()
    assert (stats.episodes, stats.decisions, stats.steps, stats.errors, stats.failed_steps) == (5, 6, 5, 1, 0)
    assert stats.by_source == {"router": 4, "lm": 2}
    assert stats.by_tool == {"clock": 2, "add": 2, "search": 1, None: 1}
    assert (stats.accepted, stats.labelled, stats.rewarded, stats.mean_reward) == (5 / 6, 3, 2, 0.75)
    assert (stats.shadows, stats.agreeing, stats.first, stats.last) == (1, 1, 1000.0, 1040.0)
    assert stats.bytes > 0
    assert ["clock", 2] in json.loads(json.dumps(stats.to_dict()))["by_tool"]


def test_an_empty_log_has_figures_too(tmp_path):
    with DecisionLog(tmp_path / "log") as log:
        stats = log.stats()
        assert (stats.episodes, stats.accepted, stats.mean_reward, stats.first) == (0, None, None, None)
        assert list(log.episodes()) == log.tail() == []


class TestReadingAlone:
    def test_it_changes_nothing(self, log, tmp_path):
        log.close()
        before = (tmp_path / "log").read_bytes()
        reader = LogReader.open(tmp_path / "log")
        assert [one.text for one in reader.episodes()] == ["sum", "hour", "poem", "find", "time"]
        assert reader.stats().episodes == 5
        assert (tmp_path / "log").read_bytes() == before

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no decision log '.*nowhere'"):
            LogReader.open(tmp_path / "nowhere")
        assert not list(tmp_path.iterdir())


class TestExport:
    def test_labelled_rows_are_read_as_examples(self, log, tmp_path):
        assert log.export(tmp_path / "out" / "rows.jsonl", labelled=True) == 3
        examples = read_examples(tmp_path / "out" / "rows.jsonl")
        assert [(one.text, one.labels) for one in examples] == [
            ("sum", (("add",),)), ("hour", (("clock", "search"),)), ("poem", ((),)),
        ]  # fmt: skip
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.jsonl"]

    def test_every_row_is_an_example_with_what_was_chosen_and_earned(self, log, tmp_path):
        log.export(tmp_path / "rows.jsonl")
        rows = read_rows(tmp_path / "rows.jsonl")
        found = rows[3]
        assert (found["action"], found["reward"], found["propensity"], "tool" in found) == ("search", 0.5, 0.25, False)
        assert (found["shadow"]["tool"], found["error"]) == ("search", "LMError: late")
        assert [later["id"] for later in rows[4]["later"]] == ["d4b"]
        read = Episode.from_example(found)
        assert (read.text, read.reward) == ("find", 0.5)
        assert (read.decisions[0].tool, read.decisions[0].propensity) == ("search", 0.25)

    def test_a_half_written_file_is_never_seen(self, log, tmp_path):
        target = tmp_path / "rows.jsonl"
        target.write_text("what was there before", encoding="utf-8")
        with pytest.raises(ValueError, match="no decision 'd9'"):
            log.export(target, after="d9")
        assert target.read_text(encoding="utf-8") == "what was there before"
        assert not list(tmp_path.glob(".rows*"))

    def test_lone_surrogates_and_nul_can_be_exported(self, log, tmp_path):
        log.record(episode("odd \ud800\x00"))
        log.export(tmp_path / "rows.jsonl")
        assert read_rows(tmp_path / "rows.jsonl")[-1]["query"] == "odd \ud800\x00"

    def test_as_a_dataset(self, log):
        table = log.to_dataset()
        assert table["query"][:] == ["sum", "hour", "poem", "find", "time"]
        assert table["labelled"][:] == [True, True, True, False, False]
        assert table["tool"][:3] == [["add"], ["clock", "search"], []]
        assert table["reward"][0] == 1.0
        assert json.loads(table["probabilities"][0])["add"] == pytest.approx(0.7)


def test_what_the_log_knows_is_what_training_learns_from(log):
    from dspy_router.learning.lessons import Lessons

    cards = [ToolCard(name) for name in ("add", "clock", "search")]
    lessons = Lessons.read(log.episodes(last=4), [card.name for card in cards], bare=True)
    assert lessons.texts == ["hour", "poem", "find", "time"]
    assert lessons.right.tolist() == [
        [False, True, True, False], [False, False, False, True], [False] * 4, [False] * 4,
    ]  # fmt: skip
    assert (lessons.rewards[2, 2].item(), lessons.propensities[2].item(), lessons.actions[2].item()) == (0.5, 0.25, 2)


def test_a_damaged_page_is_named_with_its_file(tmp_path):
    path = tmp_path / "log"
    with DecisionLog(path, mode="sync") as log:
        for number in range(200):
            log.record(episode(f"{number} " + "x" * 500))
    whole = bytearray(path.read_bytes())
    whole[8192:40960] = b"\xa5" * (40960 - 8192)
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=rf"'{path}' is no decision log, or a damaged one"):
        list(LogReader.open(path).episodes())
    assert path.read_bytes() == bytes(whole)
