"""Forgetting: episodes that are older than the log may keep, in small transactions that let others in between."""

from __future__ import annotations

import sqlite3
import time

from dspy_router.data.store.file import transaction

_DAY = 86_400.0
_EPISODES = 500  # a transaction


def forget(connection: sqlite3.Connection, days: float) -> bool:
    """Delete some of the episodes that are older than this many days, with all that belongs to them.

    An episode is old if its time says so and none that was written before it is young: a clock that was wrong for a
    while, and set the rows of that while far back, makes nobody forget them before their turn.

    Returns:
        Whether there may be more.
    """
    now = time.time()
    cutoff = now - days * _DAY
    with transaction(connection):
        (young,) = connection.execute(
            "SELECT seq FROM decisions WHERE time BETWEEN ? AND ? ORDER BY seq LIMIT 1", (cutoff, now)
        ).fetchone() or (None,)
        old = [
            id_
            for (id_,) in connection.execute(
                "SELECT episode FROM decisions WHERE time < ? AND seq < ? AND position = 0 AND shadow_of IS NULL "
                "ORDER BY seq LIMIT ?",
                (cutoff, float("inf") if young is None else young, _EPISODES),
            )
        ]
        if old:
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten shall not stay on the disk
            marks = ", ".join("?" * len(old))
            of_these = f"IN ({marks})"
            connection.execute(
                f"DELETE FROM labels WHERE decision IN (SELECT id FROM decisions WHERE episode {of_these})", old
            )
            for table in ("rewards", "steps", "decisions"):
                connection.execute(f"DELETE FROM {table} WHERE episode {of_these}", old)
    if old:
        connection.execute("PRAGMA incremental_vacuum")
    return len(old) == _EPISODES
