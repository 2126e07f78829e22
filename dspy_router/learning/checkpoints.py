"""Checkpoints: a training run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch


class Checkpoints:
    """One file in a folder, replaced whole after every epoch."""

    def __init__(self, folder: str | Path, identity: Any) -> None:
        """Checkpoints of the run that `identity` (JSON-ready: settings, data, start) describes."""
        self.path = Path(folder) / "checkpoint.pt"
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def load(self) -> dict[str, Any] | None:
        """The state that `save` wrote last, or None if there is none.

        Raises:
            ValueError: If the file belongs to another run or is damaged.
        """
        if not self.path.exists():
            return None
        try:
            # weights_only: tensors and plain values, so that a foreign file cannot run code.
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"The checkpoint '{self.path}' cannot be read ({error}); delete it to start anew."
            ) from error
        if state["identity"] != self.identity:
            raise ValueError(
                f"The checkpoint '{self.path}' belongs to a run with other settings, data or another router. "
                "Delete it to start anew, or name another folder."
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        torch.save({**state, "identity": self.identity}, temporary)
        temporary.replace(self.path)

    def clear(self) -> None:
        """Remove the checkpoint of a run that has ended."""
        self.path.unlink(missing_ok=True)
