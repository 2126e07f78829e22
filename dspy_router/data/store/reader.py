"""Questions to a decision log: its episodes in the order they were written, its last rows, its figures."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from dspy_router.data.store.file import LogFile
from dspy_router.data.store.outcomes import UnknownDecisionError
from dspy_router.data.store.rows import as_decision, as_episode, as_step
from dspy_router.data.store.values import clean
from dspy_router.records import Decision, Episode

_PAGE = 500  # episodes read at once: between pages nothing is held open, however slowly they are used


@dataclass(frozen=True)
class Logged:
    """One episode as it stands in a log.

    Attributes:
        id: The id of its first decision.
        time: When it was recorded, seconds since 1970 by the clock of that moment.
        router: Fingerprint of the router that decided; empty if none was given.
        episode: What was done, with the reward and the labels known by now.
        shadow: What the router would have done beside the first decision; None if it was not asked.
    """

    id: str
    time: float
    router: str
    episode: Episode
    shadow: Decision | None = None


@dataclass(frozen=True)
class Query:
    """Which episodes of a log are meant; None leaves a question open.

    Attributes:
        since: Recorded at or after this moment: seconds since 1970, or a datetime (one without a zone is local time).
        until: Recorded before this moment.
        after: Written after the decision of this id, whatever the clock said: to go on where one has stopped.
        source: Whose first decision it was.
        router: Fingerprint of the router.
        labelled: Whether a label of the first decision is known.
        rewarded: Whether the reward is known.
        shadowed: Whether the router was asked beside a language model.
        last: Only so many, the last ones.
    """

    since: float | datetime | None = None
    until: float | datetime | None = None
    after: str | None = None
    source: Literal["router", "lm"] | None = None
    router: str | None = None
    labelled: bool | None = None
    rewarded: bool | None = None
    shadowed: bool | None = None
    last: int | None = None

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Conditions on the first decision `d` of an episode, and what stands for their question marks."""
        conditions, values = ["d.position = 0", "d.shadow_of IS NULL"], []
        for name, value in (
            ("d.time >= ?", None if self.since is None else _seconds(self.since)),
            ("d.time < ?", None if self.until is None else _seconds(self.until)),
            ("d.source = ?", self.source),
            ("d.router = ?", self.router),
        ):
            if value is not None:
                conditions.append(name)
                values.append(value)
        for source, wanted in (
            ("labels o WHERE o.decision = d.id", self.labelled),
            ("rewards o WHERE o.episode = d.episode", self.rewarded),
            ("decisions o WHERE o.episode = d.episode AND o.shadow_of IS NOT NULL", self.shadowed),
        ):
            if wanted is not None:
                conditions.append(f"{'' if wanted else 'NOT '}EXISTS (SELECT 1 FROM {source})")
        return conditions, values


@dataclass(frozen=True)
class LogStats:
    """What a decision log holds.

    Attributes:
        episodes: How many episodes.
        decisions: How many decisions were acted on.
        by_source: How many of them were whose.
        by_tool: How many of them chose which tool; None stands for *none*.
        accepted: The share of them that was accepted as it was; None without any.
        errors: How many of them name an error.
        steps: How many tools were called.
        failed_steps: How many of the calls ended in an error.
        labelled: How many decisions have a label.
        rewarded: How many episodes have a reward.
        mean_reward: Their mean; None without any.
        shadows: Beside how many decisions the router was asked.
        agreeing: Beside how many of these it would have done the same.
        first: When the first one was written, seconds since 1970; None in an empty log.
        last: When the last one was written.
        bytes: Size of the file and of what waits beside it.
    """

    episodes: int
    decisions: int
    by_source: dict[str, int]
    by_tool: dict[str | None, int]
    accepted: float | None
    errors: int
    steps: int
    failed_steps: int
    labelled: int
    rewarded: int
    mean_reward: float | None
    shadows: int
    agreeing: int
    first: float | None
    last: float | None
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; the tools are pairs of name and count, for *none* has no name."""
        return {**asdict(self), "by_tool": [list(pair) for pair in self.by_tool.items()]}


def read_log(file: LogFile, query: Query) -> Iterator[Logged]:
    """The episodes that a query means, in the order they were written, page by page.

    Raises:
        ValueError: If the query's `after` or a moment in it is none.
        OSError: If the file cannot be read.
    """
    conditions, values = query.conditions()
    with file.reading() as connection:
        connection.row_factory = sqlite3.Row
        seen = 0 if query.after is None else _seq_of(connection, query.after)
        if query.last is not None:
            where = " AND ".join(["d.seq > ?", *conditions])
            least = connection.execute(
                f"SELECT min(seq) FROM (SELECT d.seq FROM decisions d WHERE {where} ORDER BY d.seq DESC LIMIT ?)",
                (seen, *values, max(0, query.last)),
            ).fetchone()[0]
            if least is None:
                return
            seen = least - 1
    while True:
        with file.reading() as connection:
            connection.row_factory = sqlite3.Row
            where = " AND ".join(["d.seq > ?", *conditions])
            firsts = connection.execute(
                f"SELECT d.* FROM decisions d WHERE {where} ORDER BY d.seq LIMIT {_PAGE}", (seen, *values)
            ).fetchall()
            page = _join(connection, firsts)
        yield from page
        if len(firsts) < _PAGE:
            return
        seen = firsts[-1]["seq"]


def _join(connection: sqlite3.Connection, firsts: Sequence[sqlite3.Row]) -> list[Logged]:
    """The whole episodes that these first decisions begin."""
    ids = [row["episode"] for row in firsts]
    marks = ", ".join("?" * len(ids))

    def rows(statement: str) -> list[sqlite3.Row]:
        return connection.execute(statement.format(marks), ids).fetchall()

    decisions, steps, shadows = defaultdict(list), defaultdict(list), {}
    for row in rows("SELECT * FROM decisions WHERE episode IN ({}) ORDER BY position"):
        if row["shadow_of"] is None:
            decisions[row["episode"]].append(as_decision(row))
        else:
            shadows[row["episode"]] = as_decision(row)
    for row in rows("SELECT * FROM steps WHERE episode IN ({}) ORDER BY position"):
        steps[row["episode"]].append(as_step(row))
    rewards: Mapping[str, float] = dict(
        tuple(row) for row in rows("SELECT episode, value FROM rewards WHERE episode IN ({})")
    )
    labels: Mapping[str, str] = dict(
        tuple(row)
        for row in rows(
            "SELECT decision, tools FROM labels WHERE decision IN (SELECT id FROM decisions WHERE episode IN ({}))"
        )
    )
    return [
        Logged(
            id_ := row["episode"],
            row["time"],
            row["router"],
            as_episode(row["inputs"], decisions[id_], steps[id_], reward=rewards.get(id_), labels=labels),
            shadows.get(id_),
        )
        for row in firsts
    ]


def read_stats(file: LogFile) -> LogStats:
    """The figures of a log.

    Raises:
        ValueError: If the file is no decision log, or a damaged one.
        OSError: If it cannot be read.
    """
    with file.reading() as connection:
        connection.execute("BEGIN")  # so that all figures are of one moment

        def one(statement: str) -> tuple[Any, ...]:
            return connection.execute(statement).fetchone()

        acting = "FROM decisions WHERE shadow_of IS NULL"
        count, episodes, accepted, errors = one(
            f"SELECT count(*), sum(position = 0), avg(accepted), count(error) {acting}"
        )
        steps, failed = one("SELECT count(*), count(error) FROM steps")
        rewarded, mean = one("SELECT count(*), avg(value) FROM rewards")
        (labelled,) = one("SELECT count(*) FROM labels")
        shadows, agreeing = one(
            "SELECT count(*), sum(s.tool IS d.tool) FROM decisions s JOIN decisions d ON d.id = s.shadow_of"
        )
        ends = [one(f"SELECT time FROM decisions ORDER BY seq {order} LIMIT 1") for order in ("ASC", "DESC")]
        by_source, by_tool = (
            dict(connection.execute(f"SELECT {column}, count(*) {acting} GROUP BY {column} ORDER BY count(*) DESC"))
            for column in ("source", "tool")
        )
    first, last = (end[0] if end else None for end in ends)
    beside = [file.path.with_name(f"{file.path.name}{ending}") for ending in ("", "-wal")]
    return LogStats(
        episodes=episodes or 0,
        decisions=count,
        by_source=by_source,
        by_tool=by_tool,
        accepted=accepted,
        errors=errors,
        steps=steps,
        failed_steps=failed,
        labelled=labelled,
        rewarded=rewarded,
        mean_reward=mean,
        shadows=shadows,
        agreeing=agreeing or 0,
        first=first,
        last=last,
        bytes=sum(path.stat().st_size for path in beside if path.exists()),
    )


def _seq_of(connection: sqlite3.Connection, id_: str) -> int:
    row = connection.execute("SELECT seq FROM decisions WHERE id = ?", (clean(str(id_)),)).fetchone()
    if row is None:
        raise UnknownDecisionError(f"There is no decision '{id_!s:.80}' in the log to begin after.")
    return row["seq"]


def _seconds(moment: float | datetime) -> float:
    if isinstance(moment, datetime):
        return moment.timestamp()
    try:
        return float(moment)
    except (TypeError, ValueError):
        raise ValueError(f"A moment is given in seconds since 1970 or as a datetime; got {moment!r:.80}.") from None
