"""Where and how a benchmark runs: data, output, seed, and whether slices are enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from benchmarks.vectors import CachedEncoder
from dspy_router.data.datasets import read_cards, read_examples
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode, ToolCard
from dspy_router.routing.encoders import SentenceEncoder
from dspy_router.routing.policies import ToolSpacePolicy

LABELLED = {name: tuple(f"{name}/{part}.jsonl" for part in ("tools", "train", "val")) for name in ("clinc150", "toole")}
NONE_ROWS = ("clinc150/none_train.jsonl", "clinc150/none_val.jsonl")
BFCL = ("bfcl/questions.jsonl", "bfcl/recorded_choices.jsonl")

# What --quick leaves of a dataset: enough to see that everything runs, nothing to draw a conclusion from.
_QUICK_TOOLS, _QUICK_TRAIN, _QUICK_VAL, _QUICK_NONE = 8, 12, 6, 20


class Corpus(NamedTuple):
    """A dataset with labels: the cards of its tools and the queries of two splits."""

    name: str
    cards: list[ToolCard]
    train: list[Episode]
    val: list[Episode]


@dataclass(frozen=True)
class ZeroShotConfig:
    """The untrained policy of `zeroshot` and the bfcl questions it is asked; the defaults are `ToolSpacePolicy`'s.

    Attributes:
        categories: Categories of bfcl's questions.
        view_weights: Weight of the cosine with the card's description, name and parameters.
        word_weight: Weight of the overlap of words.
        scale: Inverse temperature.
        none_level: The similarity below which *none* is more likely than a tool.
    """

    categories: tuple[str, ...] = ("multiple", "irrelevance")
    view_weights: tuple[float, float, float] = (0.5, 0.25, 0.25)
    word_weight: float = 0.25
    scale: float = 20.0
    none_level: float = 0.1

    def policy(self, dim: int) -> ToolSpacePolicy:
        """The policy for vectors of this length."""
        settings = {name: getattr(self, name) for name in ("view_weights", "word_weight", "scale", "none_level")}
        return ToolSpacePolicy(dim, **settings)


@dataclass
class Setting:
    """What a run was asked for.

    Attributes:
        data: Folder of the datasets.
        out: Folder for results and cached vectors.
        quick: Whether small slices do.
        seed: Of training and of draws.
        on: The datasets to measure on; None means all.
        zeroshot: The untrained policy of `zeroshot`.
    """

    data: Path
    out: Path = Path("out/bench")
    quick: bool = False
    seed: int = 0
    on: Sequence[str] | None = field(default=None)
    zeroshot: ZeroShotConfig = field(default_factory=ZeroShotConfig)

    @cached_property
    def encoder(self) -> CachedEncoder:
        """Frozen MiniLM; what it has encoded once is read from disk."""
        return CachedEncoder(SentenceEncoder("minilm"), self.out / "cache")

    def wants(self, name: str) -> bool:
        """Whether this dataset is to be measured on."""
        return self.on is None or name in self.on

    def corpora(self, *names: str) -> list[Corpus]:
        """The wanted ones among these labelled datasets."""
        return [self.corpus(name) for name in names if self.wants(name)]

    def corpus(self, name: str) -> Corpus:
        """A labelled dataset, or with `quick` a slice of it."""
        cards, train, val = (self.data / path for path in LABELLED[name])
        corpus = Corpus(name, read_cards(cards), read_examples(train), read_examples(val))
        return slice_corpus(corpus) if self.quick else corpus

    def none_rows(self) -> tuple[list[Episode], list[Episode]]:
        """Queries that no tool of clinc150 answers, for training and for validation."""
        train, val = (read_examples(self.data / path) for path in NONE_ROWS)
        return (train[:_QUICK_NONE], val[:_QUICK_NONE]) if self.quick else (train, val)

    def adapt(self, config: TrainConfig, *, quick_epochs: int | None = None) -> TrainConfig:
        """A configuration with the seed of this run and, with `quick`, as many epochs as given."""
        config = replace(config, seed=self.seed, progress=config.progress and not self.quick)
        return replace(config, epochs=quick_epochs) if self.quick and quick_epochs is not None else config

    def command(self, benchmark: str, data: str) -> str:
        """What measures a figure anew."""
        options = f" --seed {self.seed}" if self.seed else ""
        return f"python -m benchmarks {benchmark} --on {data}{options}{' --quick' if self.quick else ''}"


def slice_corpus(corpus: Corpus) -> Corpus:
    """The first few tools and the first few queries of each."""
    cards = corpus.cards[:_QUICK_TOOLS]
    names = {card.name for card in cards}

    def head(examples: Sequence[Episode], most: int) -> list[Episode]:
        seen = Counter[str]()
        kept = []
        for example in examples:
            label = label_of(example)
            seen[label] += 1
            if label in names and seen[label] <= most:
                kept.append(example)
        return kept

    return Corpus(corpus.name, cards, head(corpus.train, _QUICK_TRAIN), head(corpus.val, _QUICK_VAL))


def label_of(example: Episode) -> str:
    """The name of the right tool, empty where none fits; the datasets here have one right tool a query."""
    return next(iter(example.labels[0]), "")


def check_data(folder: Path, needed: Sequence[str]) -> None:
    """Refuse to start without the files.

    Raises:
        FileNotFoundError: If the folder or some of the files are missing; the message names what was expected.
    """
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        state = "is not there" if not folder.is_dir() else f"lacks {len(missing)} of {len(needed)} files"
        raise FileNotFoundError(
            f"The data folder '{folder}' {state}. Expected below it: {', '.join(missing)} — one JSON object a line; "
            "benchmarks/README.md says what is in them. Name the folder with --data."
        )
