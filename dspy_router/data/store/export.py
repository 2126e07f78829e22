"""Logged episodes as flat rows, for JSON lines and for `datasets`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dspy_router.data.store.reader import Logged
from dspy_router.records import Decision, Step


def as_row(logged: Logged) -> dict[str, Any]:
    """An episode as a JSON-ready row that `Episode.from_example` reads.

    `query` is the text the router read, `action` what was chosen first and `propensity` how probable that was; `tool`,
    the label, and `reward` are there only where they are known.
    """
    episode, (first, *later) = logged.episode, logged.episode.decisions
    row: dict[str, Any] = {"query": episode.text}
    if episode.labels:
        names = episode.labels[0]
        row["tool"] = names[0] if len(names) == 1 else list(names) or None
    row |= {"action": first.tool, "propensity": first.propensity}
    if episode.reward is not None:
        row["reward"] = episode.reward
    row |= {
        **{name: value for name, value in _decision(first).items() if name not in ("tool", "propensity")},
        "time": logged.time,
        "router": logged.router,
        "inputs": dict(episode.inputs),
        "steps": [_step(step) for step in episode.steps],
    }
    if later:
        row["later"] = [_decision(decision) for decision in later]
        row["later_labels"] = [list(names) for names in episode.labels[1:]]
    if logged.shadow is not None:
        row["shadow"] = _decision(logged.shadow)
    return row


def _decision(decision: Decision) -> dict[str, Any]:
    return {**decision.to_dict(), "confidence": decision.confidence}


def _step(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON lines, under another name first: whoever finds the file finds all of it.

    Returns:
        How many rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            for row in rows:
                lines.write(_line(row) + "\n")
                count += 1
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    return count


def _line(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates can only be written as escapes
        return json.dumps(row)
    return text


def as_dataset(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a `datasets.Dataset`: what differs in shape from row to row is JSON text, `tool` a list or null.

    Raises:
        ImportError: If the package `datasets` is not installed.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise ImportError("A log becomes a Dataset through the package 'datasets': pip install datasets.") from error
    nested = ("probabilities", "inputs", "steps", "later", "later_labels", "shadow")
    table = []
    for row in rows:
        flat: dict[str, Any] = {"labelled": "tool" in row, **dict.fromkeys(("tool", "reward")), **row}
        label = flat["tool"]
        flat["tool"] = [] if label is None else [label] if isinstance(label, str) else label
        table.append(flat | {name: json.dumps(row.get(name)) for name in nested})
    return Dataset.from_list(table)
