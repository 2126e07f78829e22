"""A decision log's file: its tables, how it is opened, what is refused, and transactions that wait for their turn."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

VERSION = 1
_APPLICATION = 0x64737072  # what marks the header of a file as ours: "dspr"
_NO_ERROR_CODE = 0
_LONGEST_NAP = 0.1

# `seq` orders the rows, whatever the clock says; AUTOINCREMENT never gives a number twice, deleted ones included.
_TABLES = """
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    episode TEXT NOT NULL,
    position INTEGER NOT NULL,
    time REAL NOT NULL,
    inputs TEXT,
    tool TEXT,
    probabilities TEXT NOT NULL,
    none_probability REAL NOT NULL,
    accepted INTEGER NOT NULL,
    source TEXT NOT NULL,
    propensity REAL NOT NULL,
    error TEXT,
    audited INTEGER NOT NULL,
    router TEXT NOT NULL,
    shadow_of TEXT
);
CREATE INDEX decisions_by_episode ON decisions (episode);
CREATE TABLE steps (
    episode TEXT NOT NULL,
    position INTEGER NOT NULL,
    decision TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments TEXT NOT NULL,
    result TEXT NOT NULL,
    error TEXT,
    filled_by TEXT NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (episode, position)
) WITHOUT ROWID;
CREATE TABLE rewards (
    episode TEXT PRIMARY KEY,
    value REAL NOT NULL,
    time REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE labels (
    decision TEXT PRIMARY KEY,
    tools TEXT NOT NULL,
    time REAL NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class LogFile:
    """One log's file.

    Attributes:
        path: Where it lies.
        timeout: Seconds to wait for another process that is writing.
        durable: Whether a commit also outlives a power cut (`synchronous=FULL`), or only a killed process (`NORMAL`).
        writable: Whether this process may write; if not, nothing is created or changed.
    """

    path: Path
    timeout: float = 10.0
    durable: bool = False
    writable: bool = True

    def open(self) -> sqlite3.Connection:
        """A connection to write through, to a new log where there is no file yet.

        It may be used by any thread, but by one at a time.

        Raises:
            ValueError: If the file is none of ours, of a newer version, or damaged.
            OSError: If it cannot be opened or written, or another process keeps it locked.
        """
        self._check_place()
        connection = None
        try:
            connection = self._connect()
            self._check_header(connection)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; of another it changes nothing
            self._switch_to_wal(connection)
            connection.execute(f"PRAGMA synchronous = {'FULL' if self.durable else 'NORMAL'}")
            self._create_tables(connection)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise explain(error, self.path) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read through, for a short while: a long one would keep the log from being tidied up.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: As for `open`.
            OSError: As for `open`.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no decision log '{self.path}'.")
        try:
            with closing(self._connect() if self.writable else self._connect_to_read()) as connection:
                self._check_header(connection)
                connection.execute("PRAGMA query_only = ON")
                yield connection
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def _connect(self, source: str | None = None) -> sqlite3.Connection:
        # Every transaction is begun by hand: the module's own begin only when they meet a change, too late to wait.
        return sqlite3.connect(
            source or self.path,
            timeout=self.timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=source is not None,
        )

    def _connect_to_read(self) -> sqlite3.Connection:
        address = self.path.resolve().as_uri()
        connection = self._connect(f"{address}?mode=ro")
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if self.path.with_name(f"{self.path.name}-wal").exists():
                raise
            # On a medium that cannot be written there is no place for the shared memory of WAL, and no writer either.
            return self._connect(f"{address}?immutable=1")
        return connection

    def _check_place(self) -> None:
        if self.path.is_dir():
            raise IsADirectoryError(f"A decision log is a file; '{self.path}' is a folder.")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def _check_header(self, connection: sqlite3.Connection) -> None:
        """Refuse what is not ours before a byte of it is changed."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION and (tables or application or version or not self.writable):
            raise ValueError(
                f"'{self.path}' is an SQLite database, but no decision log; nothing in it was changed. "
                "Give the log a file of its own."
            )
        if version > VERSION:
            raise ValueError(
                f"The decision log '{self.path}' has format {version}, written by a newer version of this package; "
                f"this one knows formats up to {VERSION}. Update the package, or start a new log."
            )

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        deadline, nap = time.monotonic() + self.timeout, 0.005
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                # The switch itself does not wait for others, however long the connection is set to.
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(nap)
                nap = min(2 * nap, _LONGEST_NAP)
        if mode != "wal":
            raise OSError(
                f"The decision log '{self.path}' needs SQLite's write-ahead log, and got '{mode}' there: network "
                "folders have none. Put the log on a local disk."
            )

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return
        with transaction(connection):
            if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:  # another process was quicker
                return
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block's changes or none; others' transactions are waited for at the start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # after a full disk SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        raise


def explain(error: sqlite3.Error, path: Path) -> OSError | ValueError | RuntimeError:
    """What went wrong with a log's file, in a sentence that names it."""
    code = getattr(error, "sqlite_errorcode", _NO_ERROR_CODE) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OSError(f"The decision log '{path}' is locked: another process keeps writing to it. Try again later.")
    if code == sqlite3.SQLITE_FULL:
        return OSError(f"There is no room left for the decision log '{path}': the disk, or its quota, is full.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return PermissionError(
            f"The decision log '{path}' cannot be opened or written here ({error}): the file and its folder must both "
            "be writable, for SQLite keeps two more files beside it."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ValueError(
            f"'{path}' is no decision log, or a damaged one ({error}); it was left as it is. Rescue what can be read "
            "with `sqlite3 FILE .recover`, or start a new log under another name."
        )
    if code == sqlite3.SQLITE_IOERR:
        return OSError(f"The decision log '{path}' could not be read or written: {error}.")
    return RuntimeError(f"The decision log '{path}' failed: {type(error).__name__}: {error}.")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", _NO_ERROR_CODE) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
