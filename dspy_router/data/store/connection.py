"""This process's one connection to write a decision log through: opened when needed, never carried across a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dspy_router.data.store.file import LogFile, explain, transaction

_FORK_WAITS = 1.0  # seconds for a transaction under way to end before the process forks


class WriteConnection:
    """A connection that threads take in turns.

    Attributes:
        file: What it leads to.
    """

    def __init__(self, file: LogFile) -> None:
        """Open nothing yet."""
        self.file = file
        self._closed = False
        self._forget()
        _ALIVE.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def open(self) -> None:
        """Open it now, to see that it can be.

        Raises:
            ValueError: As for `LogFile.open`.
            OSError: As for `LogFile.open`.
        """
        with self._lock:
            self._opened()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The connection, within a transaction.

        Raises:
            ValueError: If the file is damaged.
            OSError: If it cannot be written, or another process keeps it locked.
            RuntimeError: If it was closed or is only to be read, or SQLite fails otherwise.
        """
        with self.held() as connection, transaction(connection):
            yield connection

    @contextmanager
    def held(self) -> Iterator[sqlite3.Connection]:
        """The connection, kept from other threads.

        Raises:
            ValueError: As for `changing`.
            OSError: As for `changing`.
            RuntimeError: As for `changing`.
        """
        if not self.file.writable:
            raise RuntimeError(
                f"The decision log '{self.file.path}' was opened with mode='read': nothing can be written."
            )
        try:
            with self._lock:
                yield self._opened()
        except sqlite3.Error as error:
            raise explain(error, self.file.path) from error

    def close(self) -> None:
        """Close it for good."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _opened(self) -> sqlite3.Connection:
        if self._closed:
            raise RuntimeError(f"The decision log '{self.file.path}' is closed.")
        # Where the file was moved or deleted, the connection would go on writing to what nobody finds any more.
        if self._connection is not None and self._identity != self._identify():
            self._let_go()
        if self._connection is None:
            self._connection = self.file.open()
            self._connection.row_factory = sqlite3.Row
            self._identity = self._identify()
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _identify(self) -> tuple[int, int] | None:
        try:
            state = self.file.path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino

    def _leave_to_parent(self) -> None:
        # Closing it here would tidy away files that the parent still writes to; so it is kept, unused, to the end.
        _LEFT_TO_PARENTS.append(self._connection)
        self._forget()


_ALIVE: weakref.WeakSet[WriteConnection] = weakref.WeakSet()
_LEFT_TO_PARENTS: list[Any] = []
_held_for_fork: list[threading.Lock] = []


def _before_fork() -> None:
    """Wait for transactions to end: a child born within one would inherit SQLite's own locks, held by nobody."""
    for connection in list(_ALIVE):
        lock = connection._lock
        if lock.acquire(timeout=_FORK_WAITS):
            _held_for_fork.append(lock)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().release()


def _after_fork_in_child() -> None:
    _held_for_fork.clear()
    for connection in list(_ALIVE):
        connection._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
