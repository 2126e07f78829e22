"""A decision log to read: its episodes, its figures, its last rows, and the way out to other files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dspy_router.data.store.export import as_dataset, as_row, write_lines
from dspy_router.data.store.file import LogFile
from dspy_router.data.store.reader import Logged, LogStats, Query, read_log, read_stats
from dspy_router.records import Episode


class LogReader:
    """A log as whoever only reads it sees it; while others write, too.

    Each question is answered from what was in the file when it was asked; a walk through episodes sees what is written
    while it goes on. Nothing is held open between two of them.
    """

    def __init__(self, file: LogFile) -> None:
        """Read this file, which may be about to be made."""
        self._file = file

    @classmethod
    def open(cls, path: str | Path, *, timeout: float = 10.0) -> LogReader:
        """A log that is there, and is not changed in any way; it may lie on a medium that cannot be written.

        Args:
            path: The file.
            timeout: Seconds to wait for another process that keeps it to itself.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no decision log, a damaged one, or of a newer version of this package.
            OSError: If it cannot be read.
        """
        file = LogFile(Path(path), timeout, writable=False)
        with file.reading():
            return LogReader(file)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._file.path

    def logged(self, query: Query | None = None, **which: Any) -> Iterator[Logged]:
        """The episodes with their ids, times, routers and shadows, in the order of writing; see `Query`.

        Only what is in the file: `flush()` first to see what this process has just recorded.

        Raises:
            ValueError: If a moment or id of the query is none, or the file is damaged.
            OSError: If the file cannot be read.
        """
        return read_log(self._file, query or Query(**which))

    def episodes(self, *, shadow: bool = False, **which: Any) -> Iterator[Episode]:
        """The episodes in the order of writing, with all that is known by now: what `fit` learns from.

        Args:
            shadow: Whether to see, instead of what was done, what the router would have done where it was asked beside
                a language model: its decision, without steps and without the reward, which was another's.
            **which: The fields of `Query`: since, until, after, source, router, labelled, rewarded, shadowed, last.

        Raises:
            ValueError: As for `logged`.
            OSError: As for `logged`.
        """
        if not shadow:
            yield from (logged.episode for logged in self.logged(**which))
            return
        for logged in self.logged(**{**which, "shadowed": True}):
            if logged.shadow is not None:
                labels = logged.episode.labels[:1]
                yield replace(logged.episode, decisions=(logged.shadow,), steps=(), reward=None, labels=labels)

    def stats(self) -> LogStats:
        """The log's figures.

        Raises:
            ValueError: If the file is damaged.
            OSError: If it cannot be read.
        """
        return read_stats(self._file)

    def tail(self, n: int = 10) -> list[Logged]:
        """The last n episodes, the last one last."""
        return list(self.logged(last=n))

    def export(self, path: str | Path, **which: Any) -> int:
        """Write the episodes as JSON lines, one a line; see `as_row` for the fields, `Query` for `which`.

        With `labelled=True` each line has a label, and `read_examples` reads the file.

        Returns:
            How many lines.

        Raises:
            OSError: If the log cannot be read or the file not be written; then no file is left behind.
        """
        return write_lines(Path(path), (as_row(logged) for logged in self.logged(**which)))

    def to_dataset(self, **which: Any) -> Any:
        """The same rows as a `datasets.Dataset`; what differs in shape from row to row is JSON text there.

        Raises:
            ImportError: If the package `datasets` is not installed.
        """
        return as_dataset(as_row(logged) for logged in self.logged(**which))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"
