"""What is learned only later of a logged decision: the reward of its episode and the tools that were right, by id."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

from dspy_router.data.store.values import clean
from dspy_router.records import as_label

_RECENT = 200


class UnknownDecisionError(ValueError):
    """Raised for an id that the log does not have."""


def add_reward(connection: sqlite3.Connection, id_: str, value: float, *, replace: bool) -> None:
    """Join a reward to the episode of a decision; within a transaction.

    Raises:
        UnknownDecisionError: If there is no such decision.
        ValueError: If the reward is no finite number, the decision was never acted on, or the episode has another
            reward and `replace` is not set.
    """
    number = _finite(value)
    row = _find(connection, id_)
    if row["shadow_of"] is not None:
        raise ValueError(
            f"'{id_}' is what the router would have done beside '{row['shadow_of']}'; nobody acted on it, so it earned "
            f"nothing. Reward '{row['shadow_of']}'."
        )
    earlier = connection.execute("SELECT value, time FROM rewards WHERE episode = ?", (row["episode"],)).fetchone()
    if earlier is not None and earlier["value"] == number:
        return
    if earlier is not None and not replace:
        raise ValueError(
            f"The episode of '{id_}' has the reward {earlier['value']:g} already, since {when(earlier['time'])}; "
            f"got {number:g} for it as well. To correct it say replace=True, on the command line --replace."
        )
    connection.execute("INSERT OR REPLACE INTO rewards VALUES (?, ?, ?)", (row["episode"], number, time.time()))


def add_label(
    connection: sqlite3.Connection, id_: str, tools: str | Sequence[str] | None, *, replace: bool, any_tool: bool
) -> None:
    """Join a label to a decision; within a transaction.

    Raises:
        UnknownDecisionError: If there is no such decision.
        TypeError: If the label is no name, sequence of names or None.
        ValueError: If the decision has another label and `replace` is not set, or it did not choose among a tool of the
            label and `any_tool` is not set.
    """
    names = tuple(dict.fromkeys(clean(name) for name in as_label(tools)))
    row = _find(connection, id_)
    options = {*json.loads(row["probabilities"]), *(() if row["tool"] is None else (row["tool"],))}
    unknown = [name for name in names if name not in options]
    if unknown and options and not any_tool:
        near = get_close_matches(unknown[0], options, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"It had {len(options)} tools to choose from."
        raise ValueError(
            f"The decision '{id_}' did not choose among '{unknown[0]}'. {hint} To label it so all the same say "
            "any_tool=True, on the command line --any-tool."
        )
    # What would have been right is the same for what was done and for what the router would have done.
    target, told = row["shadow_of"] or row["id"], json.dumps(names)
    earlier = connection.execute("SELECT tools, time FROM labels WHERE decision = ?", (target,)).fetchone()
    if earlier is not None and set(json.loads(earlier["tools"])) == set(names):
        return
    if earlier is not None and not replace:
        shown, new = (" or ".join(label) or "no tool" for label in (json.loads(earlier["tools"]), names))
        raise ValueError(
            f"The decision '{id_}' has the label {shown} already, since {when(earlier['time'])}; got {new} for it as "
            "well. To correct it say replace=True, on the command line --replace."
        )
    connection.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", (target, told, time.time()))


def when(seconds: float) -> str:
    """Seconds since 1970 as a reader wants them, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s since 1970"


def _find(connection: sqlite3.Connection, id_: str) -> sqlite3.Row:
    if not isinstance(id_, str):
        raise UnknownDecisionError(f"A decision is named by its id, a string; got {type(id_).__name__}: {id_!r:.80}.")
    sought = "SELECT id, episode, tool, probabilities, shadow_of FROM decisions WHERE id = ?"
    row = connection.execute(sought, (clean(id_),)).fetchone()
    if row is not None:
        return row
    recent = connection.execute("SELECT id FROM decisions ORDER BY seq DESC LIMIT ?", (_RECENT,))
    ids = [name for (name,) in recent]
    if not ids:
        raise UnknownDecisionError(f"There is no decision '{id_:.80}': the log is empty.")
    near = get_close_matches(id_, ids, n=1, cutoff=0.8)
    hint = f"Did you mean '{near[0]}'?" if near else f"The most recent one is '{ids[0]}'."
    raise UnknownDecisionError(f"There is no decision '{id_:.80}' in the log. {hint}")


def _finite(value: float) -> float:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"A reward must be a finite number; got {value!r:.80}.")
    return number
