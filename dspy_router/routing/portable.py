"""A router that can be carried about: saved to a folder, packed into memory, copied and pickled."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from dspy_router.records import ToolCard
from dspy_router.routing.calibration import Calibration
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.explanation import Memory
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.storage import pack, read_folder, unpack, write_folder
from dspy_router.routing.toolset import check_same_tools
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary


class Portable:
    """What of a `Router` is about files and copies; the attributes are the router's."""

    cards: tuple[ToolCard, ...]
    space: Tools
    encoder: Encoder
    policy: Policy
    vocabulary: Vocabulary
    memory: Memory | None
    seen: SeenTexts
    device: torch.device
    calibration: Any  # of `Calibration | None`; a property of the router
    _threshold: float
    _calibration: Calibration | None
    _lock: threading.Lock

    def save(self, folder: str | Path) -> None:
        """Write the router to a folder: `router.json` and safetensors files; whole or not at all."""
        write_folder(self.to_files(), Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        tools: Iterable[Any] | None = None,
        encoder: Encoder | None = None,
        policy: Policy | None = None,
        device: str = "cpu",
    ) -> Self:
        """Read a router from a folder.

        Args:
            folder: Where `save` wrote it.
            tools: The tools it is going to be used with; refused if their names are others than the router's.
            encoder: The encoder, if it is none of the shipped ones.
            policy: The policy, if it is none of the shipped ones.
            device: Where it runs.

        Raises:
            FileNotFoundError: If there is no router in the folder.
            ValueError: If a file is damaged, of a newer format, or the router was saved for other tools.
        """
        parts = {"encoder": encoder, "policy": policy, "device": device}
        router = cls.from_files(read_folder(Path(folder)), source=f"'{folder}'", **parts)
        if tools is not None:
            names = [ToolCard.from_tool(tool).name for tool in tools]
            check_same_tools(router.space.names, names)
        return router

    def to_files(self) -> dict[str, bytes]:
        """The folder of `save`, in memory: file name to content."""
        with self._lock:  # another thread may be changing the tools
            return pack(
                self.cards,
                self.encoder,
                self.policy,
                self.vocabulary,
                self._threshold,
                self.space.views,
                self.memory,
                seen=self.seen,
                calibration=self._calibration,
            )

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, source: str = "the given files", **parts: Any) -> Self:
        """The router that `to_files` described; `source` is what an error calls them, `parts` are as for `load`."""
        device = parts.pop("device", "cpu")
        settings: dict[str, Any] = {**unpack(files, source, **parts), "device": device}
        return cls(**settings)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A frozen encoder never changes: copies share it, or every candidate of an optimizer would carry its own.
        parts: dict[str, Any] = {
            "cards": self.cards,
            "encoder": copy.deepcopy(self.encoder, memo) if getattr(self.encoder, "trainable", False) else self.encoder,
            "policy": copy.deepcopy(self.policy, memo),
            "vocabulary": copy.deepcopy(self.vocabulary, memo),
            "threshold": self._threshold,
            "device": str(self.device),
            "views": self.space.views.clone(),
            "memory": self.memory,
            "seen": self.seen,
            "calibration": self._calibration,
        }
        return type(self)(**parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self).from_files, source="the pickled router"), (self.to_files(),))
