"""A log's file: what is taken for one, and what is refused without a byte of it being changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from episodes import episode

from dspy_router.data.log import DecisionLog
from dspy_router.data.log_reader import LogReader
from dspy_router.data.store.file import VERSION, LogFile


def write_database(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_log_is_begun_in_a_folder_that_is_not_there_yet_and_opened_again(tmp_path):
    path = tmp_path / "a" / "b" / "log"
    for text in ("one", "two"):
        with DecisionLog(path, mode="sync") as log:
            log.record(episode(text))
            assert [one.text for one in log.episodes()][-1] == text
    assert LogReader.open(path).stats().episodes == 2


def test_an_empty_file_is_a_log_to_begin(tmp_path):
    (tmp_path / "log").touch()
    with DecisionLog(tmp_path / "log") as log:
        assert log.stats().episodes == 0


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_text("dear diary, today I decided nothing\n" * 50),
            "is no decision log, or a damaged",
        ),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000), "is no decision log, or a damaged"),
        (lambda path: write_database(path, "CREATE TABLE users (name)"), "an SQLite database, but no decision log"),
        (lambda path: write_database(path, "PRAGMA user_version = 3"), "an SQLite database, but no decision log"),
    ],
)
@pytest.mark.parametrize("opened", [DecisionLog, LogReader.open])
def test_what_is_no_log_is_left_as_it_is(tmp_path, write, message, opened):
    path = tmp_path / "log"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message) as raised:
        opened(path)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["log"]


def test_a_log_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "log"
    DecisionLog(path).close()
    write_database(path, f"PRAGMA user_version = {VERSION + 1}")
    for opened in (DecisionLog, LogReader.open):
        with pytest.raises(ValueError, match=f"has format {VERSION + 1}, written by a newer version"):
            opened(path)


def test_a_folder_is_no_log(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        DecisionLog(tmp_path)


def test_a_file_that_another_keeps_to_itself(tmp_path):
    path = tmp_path / "log"
    DecisionLog(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=f"'{path}' is locked: another process"):
        DecisionLog(path, timeout=0.05)
    other.execute("ROLLBACK")
    other.close()


def test_a_sync_log_waits_for_its_turn_and_says_when_it_does_not_come(tmp_path):
    path = tmp_path / "log"
    with DecisionLog(path, mode="sync", timeout=0.05) as log:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="is locked"):
            log.record(episode())
        other.execute("ROLLBACK")
        other.close()
        log.record(episode("now"))
        assert [one.text for one in log.episodes()] == ["now"]


@pytest.mark.parametrize(("mode", "setting"), [("queue", 1), ("sync", 2)])  # NORMAL and FULL
def test_only_a_sync_log_waits_for_the_disk(tmp_path, mode, setting):
    connection = LogFile(tmp_path / "log", durable=mode == "sync").open()
    assert connection.execute("PRAGMA synchronous").fetchone() == (setting,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX files")
def test_where_it_may_not_be_written_it_can_be_read():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with DecisionLog(path, mode="sync") as log:
            log.record(episode("read me"))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        code = (
            "import os, sys\n"
            "from dspy_router.data.log import DecisionLog\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"  # rights do not bind root
            "print([e.text for e in DecisionLog.open(sys.argv[1]).episodes()])\n"
            "for path in (sys.argv[1], sys.argv[1] + '-new'):\n"
            "    try: DecisionLog(path)\n"
            "    except PermissionError as error: print(error)\n"
        )
        try:
            done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        finally:
            Path(folder).chmod(0o755)
        assert done.returncode == 0, done.stderr
        read, file, new = done.stdout.splitlines()
        assert read == "['read me']"
        assert f"'{path}' cannot be opened or written here" in file
        assert f"'{path}-new' cannot be opened or written here" in new
