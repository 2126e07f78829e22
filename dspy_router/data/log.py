"""The decision log: what was decided and done, kept in SQLite, joined later with rewards and labels."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Literal, Self

from dspy_router.data.log_reader import LogReader
from dspy_router.data.store.connection import WriteConnection
from dspy_router.data.store.file import LogFile
from dspy_router.data.store.outcomes import UnknownDecisionError, add_label, add_reward
from dspy_router.data.store.retention import forget
from dspy_router.data.store.rows import INSERT_DECISION, INSERT_STEP, Draft, Writing
from dspy_router.data.store.values import Redact
from dspy_router.data.store.writer import BatchWriter
from dspy_router.records import Decision, Episode

Mode = Literal["queue", "sync"]

_TIDY_EVERY = 3600.0  # seconds between two looks for what is to be forgotten
_LONGEST_TIDYING = 1.0  # seconds, when a log is opened: the rest is forgotten later


def new_id() -> str:
    """An id for a decision: milliseconds since 1970 and 64 random bits, in 28 hexadecimal digits.

    Ids made one after the other are stored one beside the other; no more is to be read from the time in them.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


class DecisionLog(LogReader):
    """A log of decisions in an SQLite file, which many threads and processes may write at once.

    With `mode="queue"` whoever records never fails and hardly waits: a bounded queue takes the row, and one thread of
    this process writes what has come in together. What `flush()` returned True for is in the file, and a killed process
    does not lose it. When the file cannot be written the thread tries on; meanwhile the queue fills, and what finds it
    full is counted in `dropped`. With `mode="sync"`, for those who may lose nothing, `record` returns after the commit,
    and what it returned for outlives a power cut as well, as far as the disk keeps its word; an error is raised.

    Order is the order of writing, whatever the clock did. A process that forks leaves its queue and its connection to
    the parent; the child's copy of the log opens its own. A deep copy is the same log; a pickled one opens the file
    anew.

    Attributes:
        mode: How it is written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: Mode = "queue",
        capacity: int = 10_000,
        max_wait: float = 0.05,
        inputs: Literal["text", "hash"] = "text",
        redact: Redact | None = None,
        keep_days: float | None = None,
        max_chars: int = 20_000,
        timeout: float = 10.0,
    ) -> None:
        """Open a log, or begin one.

        Args:
            path: The file; beside it SQLite keeps two more while it is open. It must lie on a local disk.
            mode: `"queue"` or `"sync"`.
            capacity: How many episodes the queue holds.
            max_wait: Seconds that `record` may wait for a place in a full queue; after one that waited in vain, none
                waits again before something has been written.
            inputs: `"text"` keeps inputs, arguments, results and errors; `"hash"` only SHA-256 hashes of them, and the
                kinds of errors: see `hash_inputs`. Such a log can be counted and joined, but not learned from alone.
            redact: Called as `redact(part, value)` with `part` one of `inputs`, `arguments`, `result`, `error` and the
                value in plain JSON; what it returns is written (and hashed, if asked). Where it raises, that value is
                withheld, the row is written without it, and `redaction_failures` counts it.
            keep_days: Episodes older than this are forgotten, now and about every hour.
            max_chars: About how many characters of each such value are kept.
            timeout: Seconds to wait for another process that is writing.

        Raises:
            ValueError: If an argument is out of range, or the file is no decision log, a damaged one, or of a newer
                version of this package. The file is then as it was.
            OSError: If the file cannot be opened or written, or another process keeps it locked.
        """
        positive = {"capacity": capacity, "max_chars": max_chars, "timeout": timeout}
        _check_options(mode, inputs, redact, positive if keep_days is None else {**positive, "keep_days": keep_days})
        super().__init__(LogFile(Path(path), timeout, durable=mode == "sync"))
        self.mode = mode
        options = {"capacity": capacity, "max_wait": max_wait, "inputs": inputs, "redact": redact}
        options |= {"keep_days": keep_days, "max_chars": max_chars, "timeout": timeout}
        self._options: dict[str, Any] = options
        self._connection = WriteConnection(self._file)
        self._writing = Writing(inputs, redact, max_chars)
        self._redaction_failures = 0
        self._tidied = time.monotonic()
        self._writer: BatchWriter[Draft] = BatchWriter(
            self._write,
            capacity=capacity,
            max_wait=max_wait,
            name=str(self.path),
            retry_on=(OSError, RuntimeError),
            idle=self._tidy,
        )
        self._connection.open()
        if keep_days is not None:
            self._forget(keep_days, _LONGEST_TIDYING)

    @property
    def dropped(self) -> int:
        """How many episodes this process has lost: the queue was full, or the file could not be written in time."""
        return self._writer.dropped

    @property
    def failures(self) -> int:
        """How often this process could not write to the file; it tries again."""
        return self._writer.failures

    @property
    def last_error(self) -> BaseException | None:
        """What went wrong when it last could not; None as long as nothing did."""
        return self._writer.error

    @property
    def redaction_failures(self) -> int:
        """How many values this process has withheld because the redaction failed on them."""
        return self._redaction_failures

    def record(self, episode: Episode, *, shadow: Decision | None = None, router: str = "") -> None:
        """Log an episode: a row for each decision and each step.

        Args:
            episode: Each of its decisions has an id of its own, such as `new_id()` gives.
            shadow: What the router would have done beside the first decision; a row of its own, with its own id or that
                of the decision and `.shadow`.
            router: Fingerprint of the router.

        Raises:
            TypeError: If it is no episode; only with `mode="sync"`, as all of these.
            ValueError: If a decision has no id, or one that the log has already, or its probabilities or its propensity
                are no probabilities.
            OSError: If the file cannot be written.
            RuntimeError: If the log is closed.
        """
        if self.mode == "queue":
            try:
                self._writer.put(Draft.of(episode, shadow=shadow, router=router, max_chars=self._writing.cut_early))
            except Exception as error:  # whatever is wrong with a log, the agent goes on
                self._writer.drop(f"{type(error).__name__}: {error}")
            return
        draft = Draft.of(episode, shadow=shadow, router=router, max_chars=self._writing.cut_early)
        self._write([draft])
        self._tidy()

    def reward(self, id: str, value: float, *, replace: bool = False) -> None:
        """Join a reward to the episode of a decision. The same value again changes nothing.

        Args:
            id: Of any decision of the episode that was acted on.
            value: The metric's value for the whole episode.
            replace: Whether it may take the place of another value.

        Raises:
            ValueError: If there is no such decision, it was never acted on, it has another reward already, or the value
                is no finite number.
            OSError: If the file cannot be written.
        """
        self._join(partial(add_reward, id_=id, value=value, replace=replace))

    def label(
        self, id: str, tools: str | Sequence[str] | None, *, replace: bool = False, any_tool: bool = False
    ) -> None:
        """Say which tools would have been right for a decision. The same label again changes nothing.

        Args:
            id: Of the decision.
            tools: One name, several, or None where no tool fits.
            replace: Whether it may take the place of another label.
            any_tool: Whether the names may be others than those the decision chose among.

        Raises:
            ValueError: If there is no such decision, it has another label already, or it did not choose among a tool.
            TypeError: If the label is no name, sequence of names or None.
            OSError: If the file cannot be written.
        """
        self._join(partial(add_label, id_=id, tools=tools, replace=replace, any_tool=any_tool))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was recorded so far is in the file, for some seconds at most; False if it is not."""
        return self.mode != "queue" or self._writer.flush(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Flush and close; what cannot be written in time is dropped and counted."""
        self._writer.close(timeout)
        self._connection.close()

    def purge(self, keep_days: float | None = None) -> None:
        """Forget the episodes that are older than this; by default than the log's own `keep_days`.

        Raises:
            ValueError: If no number of days is known.
            OSError: If the file cannot be written.
        """
        days = self._options["keep_days"] if keep_days is None else keep_days
        if days is None or not days > 0:
            raise ValueError(f"purge needs to know how many days to keep, a number above 0; got {days!r}.")
        self._forget(days, float("inf"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of a program log to the same place

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(DecisionLog, self.path, mode=self.mode, **self._options), ()

    def _write(self, drafts: Sequence[Draft]) -> None:
        """Write episodes in one transaction; one that is there already stays as it is, or is refused with "sync"."""
        decisions, steps = [], []
        for draft in drafts:
            told, done, failures = self._writing.rows(draft)
            self._redaction_failures += failures
            decisions += told
            steps += done
        with self._connection.changing() as connection:
            before = connection.total_changes
            connection.executemany(INSERT_DECISION, decisions)
            if connection.total_changes - before < len(decisions) and self.mode == "sync":
                raise ValueError(f"A decision of the episode '{drafts[0].id}' is in the log '{self.path}' already.")
            connection.executemany(INSERT_STEP, steps)

    def _join(self, change: Callable[[Connection], None]) -> None:
        try:
            with self._connection.changing() as connection:
                change(connection)
        except UnknownDecisionError:
            # It may be one that this very process has just decided and not written yet.
            if self.mode != "queue" or not self.flush(self._file.timeout):
                raise
            with self._connection.changing() as connection:
                change(connection)

    def _tidy(self) -> None:
        """Forget what is too old, if it is time to look for it."""
        days = self._options["keep_days"]
        if days is not None and time.monotonic() - self._tidied > _TIDY_EVERY:
            self._tidied = time.monotonic()
            self._forget(days, _LONGEST_TIDYING)

    def _forget(self, days: float, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        more = True
        while more:
            with self._connection.held() as connection:
                more = forget(connection, days)
            more = more and time.monotonic() < deadline


def _check_options(mode: str, inputs: str, redact: Redact | None, positive: Mapping[str, float]) -> None:
    for name, value, known in (("mode", mode, ("queue", "sync")), ("inputs", inputs, ("text", "hash"))):
        if value not in known:
            raise ValueError(f"{name} must be one of {' and '.join(map(repr, known))}; got {value!r}.")
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")
    if redact is not None and not callable(redact):
        raise ValueError(f"redact must be a function of a part's name and its value, or None; got {redact!r:.80}.")
