"""An exported router: text in, decision out, without torch; it decides as the router it was made from."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from dspy_router.records import Decision, ToolCard
from dspy_router.runtime.cache import Cacheable
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.decisions import as_decisions, check_probabilities, check_queries, check_threshold, choose_all
from dspy_router.runtime.folder import EXPORTED, read_folder, read_index
from dspy_router.runtime.halving import in_batches, ran_out_of_memory
from dspy_router.runtime.head import Head, read_head
from dspy_router.runtime.maps import softmax
from dspy_router.runtime.names import check_names, check_same_tools
from dspy_router.runtime.sharing import check_threads, in_threads
from dspy_router.runtime.student import Student, read_student
from dspy_router.runtime.vectorisers import Vectoriser, read_vectoriser

FORMAT_VERSION = 2  # 2: a student may stand in front
_DECISIONS_A_BATCH = 1024


class ExportedRouter(Cacheable):
    """Decides as the `Router` it was exported from, on numpy, ONNX Runtime, tokenizers and safetensors alone.

    Deterministic, and safe under many threads. Nothing of it changes but its threshold: it can neither be trained nor
    calibrated, and its tools are those it was exported with. Change the router, and export it again.

    Attributes:
        cards: What is known of each tool, in the order they were given.
        tools: Their names.
        vectoriser: Texts to vectors.
        head: Vectors and words to logits.
        student: What decides before them, wherever it is sure; None without.
        calibration: What makes its probabilities mean what they say, and what it may keep; None without.
        precision: `"fp32"` or `"int8"`.
        source: Fingerprint of the router that it was exported from.
        threshold: Least confidence of an accepted decision, in [0, 1].
        cache: Decisions that need not be made again; None, the default, makes each of them anew.
    """

    stale = None  # what it was calibrated as cannot change

    def __init__(
        self,
        index: Mapping[str, Any],
        vectoriser: Vectoriser,
        head: Head,
        *,
        origin: Path | Mapping[str, bytes],
        student: Student | None = None,
        threads: int = 1,
    ) -> None:
        """Put it together from its parts; `ExportedRouter.load` is the way.

        Args:
            index: What stands in `exported.json`.
            vectoriser: Texts to vectors.
            head: Vectors to logits.
            origin: The folder it was read from, or its files: what a copy in another process is made of.
            student: What decides first.
            threads: How many threads a batch may use.
        """
        self.cards = tuple(ToolCard(**card) for card in index["cards"])
        self.tools = tuple(card.name for card in self.cards)
        self.vectoriser, self.head, self.student = vectoriser, head, student
        described = index["calibration"]
        self.calibration = None if described is None else Calibration.from_dict(described)
        self.precision: str = index["precision"]
        self.source: str = index["source"]
        self._digest = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
        self._origin, self._threads = origin, check_threads(threads)
        self._open = np.zeros((1, len(self.tools) + 1), dtype=np.float32)  # all may be chosen
        self.threshold = index["threshold"]

    @classmethod
    def load(cls, folder: str | Path, *, tools: Iterable[Any] | None = None, threads: int = 1) -> Self:
        """Read an exported router from a folder.

        Args:
            folder: Where `router.export` wrote it.
            tools: The tools it is going to be used with; refused if their names are others than the router's.
            threads: How many threads a batch may use. A single text takes one, which is the quickest, and leaves the
                other cores to others.

        Raises:
            FileNotFoundError: If there is no exported router in the folder.
            ValueError: If a file is missing, damaged or of a newer format, or the router is for other tools.
        """
        path = Path(folder)
        files = read_folder(path, index=EXPORTED)
        router = cls.from_files(files, source=f"'{path}'", threads=threads)
        router._origin = path.absolute()
        if tools is not None:
            router.check_tools([ToolCard.from_tool(tool).name for tool in tools])
        return router

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], *, source: str = "the given files", threads: int = 1, threshold: Any = None
    ) -> Self:
        """The router of these files, names to contents; `source` is what an error calls them."""
        index = read_index(files, source, name=EXPORTED, newest=FORMAT_VERSION)
        try:
            tools = [card["name"] for card in index["cards"]]
            vectoriser = read_vectoriser(index["vectoriser"], files)
            head = read_head(index, files, tools=tools, precision=index["precision"])
            student = read_student(index.get("student"), files, tools=tools)
        except (ValueError, KeyError, SafetensorError) as error:
            raise ValueError(f"The router in {source} cannot be read: {error}") from error
        router = cls(index, vectoriser, head, origin=files, student=student, threads=threads)
        router.threshold = router.threshold if threshold is None else threshold
        return router

    @property
    def threshold(self) -> float:
        """Least confidence of an accepted decision, in [0, 1]."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = check_threshold(value)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides: the exported files and the threshold."""
        return hashlib.sha256(f"{self._digest} {self._threshold!r}".encode()).hexdigest()

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the encoder's window, so that their end was not read."""
        return getattr(self.vectoriser, "truncated", 0)

    @property
    def deferred(self) -> int:
        """How many texts so far the student deferred to the router behind it; 0 without a student."""
        return 0 if self.student is None else self.student.deferred

    @property
    def state(self) -> Hashable:
        """What differs wherever decisions could; a router without its calibration has the same fingerprint."""
        return (self._digest, self._threshold, self.calibration is None)

    def decide(self, text: str, *, allowed: Collection[str] | None = None) -> Decision:
        """Choose a tool for one text.

        Args:
            text: What the user wants, in their words.
            allowed: Names of the tools that may be chosen; by default all. *None* may always be chosen.

        Raises:
            TypeError: If the text is no string.
            ValueError: If the text is empty, or a name in `allowed` is not a tool's.
        """
        return self.decide_batch([text], allowed=allowed)[0]

    def decide_batch(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> list[Decision]:
        """Choose a tool for each text; as `decide`, for many at once."""
        if isinstance(texts, str):
            raise TypeError("decide_batch takes a sequence of texts; for a single text use decide.")
        return self._through_cache(texts, allowed, lambda some: self._decide(some, allowed))

    def _decide(self, texts: Sequence[str], allowed: Collection[str] | None) -> list[Decision]:
        check_queries(texts)
        decisions: list[Decision] = []
        for logits in self._batches(texts, self._summands(allowed)):
            decisions += self.conclude(logits, allowed=allowed)
        return decisions

    def _batches(self, texts: Sequence[str], summands: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """The logits of so many texts at a time, fewer where memory runs out."""
        if len(texts) == 1 and (logits := self._score_one(texts, summands)) is not None:
            yield logits
            return
        found: list[NDArray[np.float32]] = []

        def work(rows: Sequence[int]) -> None:
            part = texts[rows[0] : rows[-1] + 1]
            found.append(in_threads(lambda some: self._score(some, summands), part, self._threads))

        for _ in in_batches(work, range(len(texts)), size=_DECISIONS_A_BATCH, texts=texts):
            yield found.pop()

    def _score_one(self, texts: Sequence[str], summands: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The logits of a single text, without the care that batches need; None where memory ran out."""
        try:
            return self._score(texts, summands)
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            return None  # `in_batches` tries again, and knows what to say of it

    def _score(self, texts: Sequence[str], summands: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.student is None:
            return self.head(self.vectoriser(texts), texts, summands)
        logits, unsure = self.student(texts, summands)
        if unsure:
            some = [texts[row] for row in unsure]
            logits[unsure] = self.head(self.vectoriser(some), some, summands)
        return logits

    def conclude(self, logits: NDArray[np.float32], *, allowed: Collection[str] | None = None) -> list[Decision]:
        """Logits [n, k + 1] as decisions: probabilities, calibration, threshold and record."""
        rows = check_probabilities(softmax(logits.astype(np.float64)))
        choices, kept = choose_all(rows, self.tools), [True] * len(rows)
        if self.calibration is not None:
            rows, passing = self.calibration.apply(logits, choices, self.tools)
            kept = passing.tolist()
        about: dict[str, Any] = {"allowed": allowed, "threshold": self._threshold}
        return as_decisions(rows, self.tools, choices=choices, kept=kept, **about)

    def probabilities(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> NDArray[np.float64]:
        """The policy's own distribution for each text, uncalibrated; [n, k + 1], last column *none*.

        Raises:
            TypeError: If a text is no string.
            ValueError: If a text is empty, or a name in `allowed` is not a tool's.
        """
        return check_probabilities(softmax(self.logits(texts, allowed=allowed).astype(np.float64)))

    def logits(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> NDArray[np.float32]:
        """The policy's logits for each text, float32 [n, k + 1]; as `probabilities`."""
        check_queries(texts)
        rows = list(self._batches(texts, self._summands(allowed)))
        return np.concatenate(rows) if rows else np.zeros((0, len(self.tools) + 1), dtype=np.float32)

    def uncalibrated(self) -> Self:
        """This router without its calibration, sharing all its parts."""
        router = copy.copy(self)
        router.calibration = None
        return router

    def check_tools(self, names: Sequence[str]) -> None:
        """Raise a `ValueError` if these names are not exactly those of the router's tools."""
        check_same_tools(self.tools, names)

    def to_files(self) -> dict[str, bytes]:
        """The folder it was read from, in memory: file name to content.

        Raises:
            ValueError: If the folder holds another router by now.
        """
        if not isinstance(self._origin, Path):
            return dict(self._origin)
        files = read_folder(self._origin, index=EXPORTED)
        index = read_index(files, f"'{self._origin}'", name=EXPORTED, newest=FORMAT_VERSION)
        if hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest() != self._digest:
            raise ValueError(
                f"'{self._origin}' holds another router by now than the one that was loaded from it, so that this one "
                "cannot be saved any more. Load it again, or export into a folder of its own."
            )
        return files

    def calibrate(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported router does not change."""
        raise _read_only("calibrated", "router.export(…, calibrate_on=examples) calibrates what it exports")

    def add_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported router does not change."""
        raise _read_only("given other tools", "call add_tools on the router it came from, and export that again")

    def remove_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported router does not change."""
        raise _read_only("given other tools", "call remove_tools on the router it came from, and export that again")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # What decides never changes, so that copies share it; each has a threshold of its own.
        return copy.copy(self)

    def __copy__(self) -> Self:
        router = object.__new__(type(self))
        router.__dict__.update(self.__dict__)
        return router

    def __reduce__(self) -> tuple[Any, ...]:
        made = {"source": "the pickled router", "threads": self._threads, "threshold": self._threshold}
        return (partial(type(self).from_files, **made), (self.to_files(),))

    def __repr__(self) -> str:
        return f"ExportedRouter({len(self.tools)} tools, {self.precision}, threshold={self._threshold})"

    def _summands(self, allowed: Collection[str] | None) -> NDArray[np.float32]:
        """What is added to the logits: −∞ for what is not allowed."""
        if allowed is None:
            return self._open
        check_names(allowed, self.tools)
        return np.array([[*(0.0 if name in allowed else -math.inf for name in self.tools), 0.0]], dtype=np.float32)


def is_exported(folder: str | Path) -> bool:
    """Whether there is an exported router in a folder."""
    return (Path(folder) / EXPORTED).is_file()


def check_trainable(router: object) -> None:
    """Refuse to train an exported router.

    Raises:
        TypeError: If it is one.
    """
    if isinstance(router, ExportedRouter):
        raise _read_only("trained", "train the Router it came from, and export that again")


def _read_only(change: str, instead: str) -> TypeError:
    return TypeError(f"An exported router only decides; it cannot be {change}. Instead, {instead}.")
