"""A JSON-lines file of records: one line each as soon as there is one, so that a killed run loses none."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

logger = logging.getLogger(__name__)


class Record(Protocol):
    """What can be written down: a dataclass that pydantic reads back from its own dict."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        ...


Kind = TypeVar("Kind", bound=Record)


class Journal(Generic[Kind]):
    """Appends records of one kind to a file, and reads them back.

    Attributes:
        path: The file.
        kind: The records' class.
        metric: Name of the metric that gave the scores; scores of another one are of no use.
    """

    def __init__(self, path: Path, kind: type[Kind], *, metric: str) -> None:
        """Open the journal; folders that are missing are made, and a half-written last line is taken off."""
        self.path = path
        self.kind = kind
        self.metric = metric
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content.rpartition(b"\n")[0]
        if content and not content.endswith(b"\n"):
            logger.warning("%s: the last line was written by halves and is dropped", path)
            path.write_bytes(whole + b"\n" if whole else b"")
        self._lines = whole.split(b"\n") if whole else []

    def read(self) -> list[Kind]:
        """The records in the file when it was opened.

        Raises:
            ValueError: If a line is damaged, or was scored by another metric; it names file and line.
        """
        adapter, called = TypeAdapter(self.kind), self.kind.__name__.lower()
        records = []
        for number, line in enumerate(self._lines, start=1):
            try:
                row = json.loads(line)
                metric = row.pop("metric")
                records.append(adapter.validate_python(row))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.path}, line {number} is no {called}: {line[:80]!r}. Take the line out, or delete the file "
                    "to start anew."
                ) from error
            if metric != self.metric:
                raise ValueError(
                    f"{self.path}, line {number} was scored by the metric '{metric}', not by '{self.metric}'. "
                    "Expected a file of the same metric; give this one a file of its own."
                )
        return records

    def append(self, record: Kind) -> None:
        """Write a record down; it is with the operating system when this returns."""
        row: Mapping[str, Any] = {**record.to_dict(), "metric": self.metric}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
