"""Labelled queries and tool cards, read from files of one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dspy_router.records import Episode, ToolCard

T = TypeVar("T")


def read_examples(*paths: str | Path) -> list[Episode]:
    """Read labelled queries: `{"query": …, "tool": name, list of names or null}` a line.

    Args:
        *paths: Files, read one after the other.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a line is no such object; the message names file and line.
    """
    return [example for path in paths for example in _read(Path(path), _read_labelled)]


def read_texts(*paths: str | Path) -> list[str]:
    """Read texts without labels: the `query` of each line of a `.jsonl` file, or else a text a line.

    Empty lines are left out.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a line of a `.jsonl` file has no query.
    """
    texts: list[str] = []
    for path in map(Path, paths):
        if path.suffix == ".jsonl":
            texts += _read(path, _read_query)
        elif not path.is_file():
            raise FileNotFoundError(f"There is no file '{path}'; expected a text a line, or a .jsonl file.")
        else:
            lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            texts += [line for line in lines if line]
    return texts


def read_cards(path: str | Path) -> list[ToolCard]:
    """Read tool cards: a `ToolCard`'s fields or an OpenAI function schema a line.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If a line is no card; the message names file and line.
    """
    return _read(Path(path), ToolCard.from_tool)


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON objects, one a line, as they are.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If a line is no JSON object; the message names file and line.
    """
    return _read(Path(path), dict)


def _read(path: Path, read_row: Callable[[Mapping[str, Any]], T]) -> list[T]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'; expected JSON, one object a line.")
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, Mapping):
                    raise TypeError(f"expected a JSON object, got {line.strip()!r:.60}")
                rows.append(read_row(row))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise ValueError(f"The file '{path}' is empty; expected JSON, one object a line.")
    return rows


def _read_labelled(row: Mapping[str, Any]) -> Episode:
    if "tool" not in row:
        raise ValueError(f"expected a field 'tool' (null where no tool fits), got the fields {sorted(row)}")
    return Episode.from_example(row)


def _read_query(row: Mapping[str, Any]) -> str:
    if not isinstance(row.get("query"), str):
        raise ValueError(f'expected a "query" that is a text, got {row.get("query")!r:.60}')
    return row["query"]
