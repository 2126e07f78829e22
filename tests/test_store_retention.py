"""Forgetting: what is too old goes, with all that belongs to it, and nothing else does."""

from __future__ import annotations

import sqlite3

import pytest
from episodes import decided, episode

from dspy_router.data.log import DecisionLog

DAY = 86_400.0
NOW = 1_000 * DAY


@pytest.fixture
def at(monkeypatch):
    """Set the clock to a day."""

    def set_clock(day: float) -> None:
        for module in ("rows", "retention"):
            monkeypatch.setattr(f"dspy_router.data.store.{module}.time.time", lambda: day * DAY)

    return set_clock


def fill(path, at, *days):
    with DecisionLog(path, mode="sync") as log:
        for number, day in enumerate(days):
            at(day)
            one = episode(f"day {day}", decided(id=f"d{number}"), decided("clock", id=f"e{number}"))
            log.record(one, shadow=decided("search", id=None))
            log.reward(f"d{number}", day)
            log.label(f"e{number}", "clock")


def rows(path):
    connection = sqlite3.connect(path)
    counts = [
        connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
        for t in ("decisions", "steps", "rewards", "labels")
    ]
    connection.close()
    return counts


def test_what_is_too_old_goes_when_the_log_is_opened_with_all_that_belongs_to_it(tmp_path, at):
    path = tmp_path / "log"
    fill(path, at, 1, 2, 8, 9)
    at(10)
    with DecisionLog(path, keep_days=5) as log:
        assert [one.text for one in log.episodes()] == ["day 8", "day 9"]
    assert rows(path) == [6, 4, 2, 2]
    assert b"day 1" not in path.read_bytes()


def test_it_goes_when_asked_and_not_by_itself(tmp_path, at):
    path = tmp_path / "log"
    fill(path, at, 1, 8)
    at(10)
    with DecisionLog(path) as log:
        assert log.stats().episodes == 2
        log.purge(5)
        assert [one.text for one in log.episodes()] == ["day 8"]
        with pytest.raises(ValueError, match="how many days to keep, a number above 0; got None"):
            log.purge()
        with pytest.raises(ValueError, match="got 0"):
            log.purge(0)


def test_more_than_one_transaction_is_needed_for_many(tmp_path, at, monkeypatch):
    monkeypatch.setattr("dspy_router.data.store.retention._EPISODES", 2)
    path = tmp_path / "log"
    fill(path, at, 1, 1, 1, 1, 1, 9)
    at(10)
    with DecisionLog(path) as log:
        log.purge(5)
        assert [one.text for one in log.episodes()] == ["day 9"]


def test_a_clock_that_went_far_back_for_a_while_makes_nobody_forget_the_young(tmp_path, at):
    path = tmp_path / "log"
    fill(path, at, 1, 8, 0, 9)  # day 0 in the midst: the clock was not set when the machine started
    at(10)
    with DecisionLog(path, keep_days=5) as log:
        assert [one.text for one in log.episodes()] == ["day 8", "day 0", "day 9"]
    at(13.5)  # day 8 is old by now, and day 0 goes with it
    with DecisionLog(path, keep_days=5) as log:
        assert [one.text for one in log.episodes()] == ["day 9"]


def test_numbers_are_never_given_twice_so_that_the_order_holds(tmp_path, at):
    path = tmp_path / "log"
    fill(path, at, 1)
    at(10)
    with DecisionLog(path, mode="sync", keep_days=5) as log:
        log.record(episode("first", decided(id="x")))
        log.record(episode("second"))
        assert [one.text for one in log.episodes(after="x")] == ["second"]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT min(seq) FROM decisions").fetchone()[0] > 3
    connection.close()


def test_a_log_in_use_forgets_about_every_hour(tmp_path, at, monkeypatch):
    path = tmp_path / "log"
    fill(path, at, 1)
    at(2)
    with DecisionLog(path, mode="sync", keep_days=5) as log:
        assert log.stats().episodes == 1
        at(10)
        log.record(episode("now"))
        assert log.stats().episodes == 2
        monkeypatch.setattr("dspy_router.data.log._TIDY_EVERY", 0.0)
        log.record(episode("an hour later"))
        assert [one.text for one in log.episodes()] == ["now", "an hour later"]
