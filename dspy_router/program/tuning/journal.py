"""A JSON-lines file of rollouts: one line each as soon as there is one, so that a killed run loses none."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dspy_router.program.tuning.rewards import Rollout

_RECORD = TypeAdapter(Rollout)

logger = logging.getLogger(__name__)


class Journal:
    """Appends rollouts to a file, and reads them back.

    Attributes:
        path: The file.
        metric: Name of the metric that gave the scores; scores of another one are of no use.
    """

    def __init__(self, path: Path, *, metric: str) -> None:
        """Open the journal; folders that are missing are made, and a half-written last line is taken off."""
        self.path = path
        self.metric = metric
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content.rpartition(b"\n")[0]
        if content and not content.endswith(b"\n"):
            logger.warning("%s: the last line was written by halves and is dropped", path)
            path.write_bytes(whole + b"\n" if whole else b"")
        self._lines = whole.split(b"\n") if whole else []

    def read(self) -> list[Rollout]:
        """The rollouts in the file when it was opened.

        Raises:
            ValueError: If a line is damaged, or was scored by another metric; it names file and line.
        """
        rollouts = []
        for number, line in enumerate(self._lines, start=1):
            try:
                row = json.loads(line)
                metric = row.pop("metric")
                rollouts.append(_RECORD.validate_python(row))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.path}, line {number} is no rollout: {line[:80]!r}. Take the line out, or delete the file "
                    "to start anew."
                ) from error
            if metric != self.metric:
                raise ValueError(
                    f"{self.path}, line {number} was scored by the metric '{metric}', not by '{self.metric}'. "
                    "Expected a file of the same metric; give this one a file of its own."
                )
        return rollouts

    def append(self, rollout: Rollout) -> None:
        """Write a rollout down; it is with the operating system when this returns."""
        row: Mapping[str, Any] = {**rollout.to_dict(), "metric": self.metric}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
