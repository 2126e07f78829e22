"""A router that can be carried about: saved to a folder, packed into memory, copied and pickled."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

import torch

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.explanation import Memory
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.storage import pack, unpack
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.exported import ExportedRouter
from dspy_router.runtime.folder import read_folder, write_folder
from dspy_router.runtime.names import check_same_tools

if TYPE_CHECKING:
    from dspy_router.routing.exporting.export import ExportReport


class Portable:
    """What of a `Router` is about files and copies; the attributes are the router's."""

    cards: tuple[ToolCard, ...]
    space: Tools | Crowd
    encoder: Encoder
    policy: Policy
    vocabulary: Vocabulary
    memory: Memory | None
    seen: SeenTexts
    device: torch.device
    index: IndexConfig
    calibration: Any  # of `Calibration | None`; a property of the router
    _threshold: float
    _calibration: Calibration | None
    cache: Any  # of `DecisionCache | None`; a property of the router
    _lock: threading.Lock

    def save(self, folder: str | Path) -> None:
        """Write the router to a folder: `router.json` and safetensors files; whole or not at all."""
        write_folder(self.to_files(), Path(folder))

    @overload
    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        tools: Iterable[Any] | None = None,
        encoder: Encoder | None = None,
        policy: Policy | None = None,
        device: str = "cpu",
        runtime: Literal["torch"] = "torch",
    ) -> Self: ...

    @overload
    @classmethod
    def load(
        cls, folder: str | Path, *, runtime: Literal["onnx"], tools: Iterable[Any] | None = None
    ) -> ExportedRouter: ...

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        tools: Iterable[Any] | None = None,
        encoder: Encoder | None = None,
        policy: Policy | None = None,
        device: str = "cpu",
        runtime: Literal["torch", "onnx"] = "torch",
    ) -> Self | ExportedRouter:
        """Read a router from a folder.

        Args:
            folder: Where `save` wrote it, or with `runtime="onnx"` where `export` did.
            tools: The tools it is going to be used with; refused if their names are others than the router's.
            encoder: The encoder, if it is none of the shipped ones.
            policy: The policy, if it is none of the shipped ones.
            device: Where it runs.
            runtime: `"torch"` for a router that can be trained, `"onnx"` for an exported one, which only decides.
                `ExportedRouter.load` does the latter without loading torch.

        Raises:
            FileNotFoundError: If there is no such router in the folder.
            ValueError: If a file is damaged, of a newer format, the router was saved for other tools, or an exported
                router is asked to take another encoder, policy or device.
        """
        if runtime == "onnx":
            if encoder is not None or policy is not None or device != "cpu":
                raise ValueError("An exported router decides on the CPU, with the encoder and policy it was made of.")
            return ExportedRouter.load(folder, tools=tools)
        if runtime != "torch":
            raise ValueError(f"runtime must be 'torch' or 'onnx'; got {runtime!r}.")
        parts = {"encoder": encoder, "policy": policy, "device": device}
        router = cls.from_files(read_folder(Path(folder)), source=f"'{folder}'", **parts)
        if tools is not None:
            names = [ToolCard.from_tool(tool).name for tool in tools]
            check_same_tools(router.space.names, names)
        return router

    def export(
        self,
        folder: str | Path,
        *,
        quantize: Literal["int8"] | None = "int8",
        tolerance: float = 0.02,
        examples: Iterable[Any] | None = None,
        above: Literal["refuse", "warn"] = "refuse",
        calibrate_on: Iterable[Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
        student: Portable | None = None,
        agreement: float = 0.98,
    ) -> ExportReport:
        """Write a folder that decides without torch, with int8 weights some ten times as quickly.

        `ExportedRouter.load` reads it.

        The encoder, with its trained weights, becomes an ONNX graph, the policy and its tools another one. Threshold
        and calibration go along. Both routers then decide on the same texts, and what differs is in the report.

        Float32 keeps the probabilities to 10⁻⁴. Int8 is several times quicker and a quarter as large; a few decisions
        that were close come out another. As its scores are not quite the router's, nothing that was certified for
        those holds: a router with a bound on its errors is refused, unless the exported one is calibrated anew.

        With a student in front, see `distill`, most texts take microseconds and few are any the worse for it: what the
        student is sure of it decides, the rest it defers to the router. How sure it must be is found on those
        of the `examples` that neither was trained on: with 95 % confidence the router would have chosen the same
        for at least `agreement` of what the student keeps. A calibration is then of both together, on `calibrate_on`.

        Args:
            folder: A new folder, or one of an exported router, which is replaced.
            quantize: `"int8"`, or None for float32.
            tolerance: Largest share of the decisions that may be lost: of the right ones where labels are known,
                otherwise of all that come out another.
            examples: Texts or labelled examples to compare on; by default training queries, and without any what the
                cards say.
            above: What to do above the tolerance: `"refuse"`, or `"warn"` and export.
            calibrate_on: Labelled examples, as for `calibrate`, on which the exported router is calibrated.
            calibration: The settings of that, as for `calibrate`; by default the bounds of the router's own
                calibration are asked for again.
            student: A quick router over the same tools, which decides what it is sure of; it is not changed.
            agreement: Least share of the student's decisions that are the router's own, in (0, 1).

        Returns:
            What it made and what it changed.

        Raises:
            FileExistsError: If the folder holds other files, this router's own among them.
            TypeError: If the student is no router.
            ValueError: If a setting is none, or the student is for other tools or was trained on all examples.
            ImportError: If a package that exporting needs is missing.
            ExportRefused: A `ValueError`: if encoder or policy are of the user's own, what is certified would be lost,
                or more decisions are than tolerated. Nothing is written then.
        """
        # Not at the top: whoever exports nothing shall not load onnx.
        from dspy_router.routing.exporting.export import export_router

        return export_router(
            cast(Any, self),
            Path(folder),
            quantize=quantize,
            tolerance=tolerance,
            examples=examples,
            above=above,
            calibrate_on=calibrate_on,
            calibration=calibration,
            student=cast(Any, student),
            agreement=agreement,
        )

    def to_files(self) -> dict[str, bytes]:
        """The folder of `save`, in memory: file name to content."""
        with self._lock:  # another thread may be changing the tools
            return pack(
                self.cards,
                self.encoder,
                self.policy,
                self.vocabulary,
                self._threshold,
                self.space if isinstance(self.space, Crowd) else self.space.views,
                self.memory,
                seen=self.seen,
                calibration=self._calibration,
                index=self.index,
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
            "views": self.space if isinstance(self.space, Crowd) else self.space.views.clone(),
            "index": self.index,
            "memory": self.memory,
            "seen": self.seen,
            "calibration": self._calibration,
            "cache": self.cache,
        }
        return type(self)(**parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self).from_files, source="the pickled router"), (self.to_files(),))
