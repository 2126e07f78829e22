"""The log's benchmark: that it counts what is lost, by processes that end and by processes that are killed."""

from __future__ import annotations

import sqlite3

import pytest

from benchmarks.log import _kills, _throughput
from benchmarks.log_writers import made_up
from benchmarks.setting import Setting


def test_rows_that_processes_wrote_are_counted(tmp_path):
    lost, speed = _throughput(tmp_path, Setting(tmp_path, quick=True))
    assert lost.value == 0
    assert "600 rows and 600 steps in the file, integrity ok, 0 processes failed" in lost.note
    assert speed.value > 0
    assert next(iter(speed.baselines.values())) > 0


@pytest.mark.parametrize("mode", ["queue", "sync"])
def test_what_was_told_before_a_kill_is_looked_for(tmp_path, mode):
    figure = _kills(tmp_path, mode, Setting(tmp_path, quick=True))
    assert figure.value == 0
    assert "integrity_check failed 0 times" in figure.note


def test_a_row_that_is_missing_is_found_out(tmp_path, monkeypatch):
    def lose_one(path):
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM decisions WHERE episode IN (SELECT episode FROM decisions LIMIT 1)")
        return "ok"

    monkeypatch.setattr("benchmarks.log._integrity", lose_one)
    figure = _kills(tmp_path, "sync", Setting(tmp_path, quick=True))
    assert figure.value == 2  # one after each kill


def test_no_two_rows_are_alike():
    texts = {made_up(number, process=process).text for number in range(50) for process in range(3)}
    assert len(texts) == 150
