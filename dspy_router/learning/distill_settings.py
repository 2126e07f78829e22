"""How to distill, and what distilling did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class DistillConfig:
    """How to distill a router into a static one.

    Attributes:
        dim: Length of the student's vectors; at most that of the teacher's, whose principal components they are.
        hidden: Width of the policy's hidden layer; 0 for none. Each decision multiplies `hidden × (dim + word_dim)`.
        word_dim: Length of the vectors by which the hidden layer reads words and pairs of words.
        vocabulary_size: Most word pieces of a tokenizer that is learned from the texts.
        max_length: Longest text in word pieces; what lies beyond is not read.
        epochs: Passes over the texts, made-up ones among them; of few texts an epoch makes up to ten.
        batch_size: Texts a step; None takes a fortieth of them, but at least 16 and at most 256.
        learning_rate: Of the policy, at its peak; it rises over the first tenth of the steps and falls as a cosine.
        encoder_learning_rate: Of the pieces' vectors.
        temperature: τ by which both sides' logits are divided.
        vector_weight: How much staying near the teacher's vectors counts beside its probabilities; with 0 the student
            knows its tools as well, but tools that are added later less.
        variations: Made-up texts for each given one, with a quarter or half of its words swapped for words of like
            meaning. The teacher is asked about each of them, which takes most of the time.
        dropout: Share of the hidden layer that is dropped in training.
        token_dropout: Share of the word pieces that are dropped in training.
        word_dropout: Share of the words and pairs that are dropped in training.
        prior: Strength λ of a Gaussian prior around the zero-shot policy: `λ / 2n · Σ θ²`.
        held_out: Share of the texts on which the student is compared with its teacher and not trained; 0 trains on all.
        seed: Same seed, same weights.
        threads: CPU threads.
        remember: Texts a tool that the student keeps to explain its decisions by; 0 keeps none.
        progress: Whether work of more than two seconds shows a progress bar.
    """

    dim: int = 256
    hidden: int = 256
    word_dim: int = 256
    vocabulary_size: int = 12_000
    max_length: int = 256
    epochs: int = 5
    batch_size: int | None = None
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 2e-3
    temperature: float = 1.0
    vector_weight: float = 1.0
    variations: int = 2
    dropout: float = 0.5
    token_dropout: float = 0.1
    word_dropout: float = 0.3
    prior: float = 1.0
    held_out: float = 0.05
    seed: int = 0
    threads: int = 1
    remember: int = 20
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("dim", "word_dim", "vocabulary_size", "max_length", "epochs", "batch_size", "threads"):
            value = getattr(self, name)
            if name == "batch_size" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name in ("hidden", "variations", "remember"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number of 0 or more, got {value!r}.")
        for name in ("learning_rate", "encoder_learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in ("vector_weight", "prior"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)!r}.")
        for name in ("dropout", "token_dropout", "word_dropout", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)!r}.")


@dataclass
class DistillReport:
    """What distilling did.

    Attributes:
        texts: Texts the student was trained on, made-up ones among them.
        held_out: Texts on which it was compared with its teacher.
        agreement: Share of these for which both choose the same; None if no text was held out.
        divergence: Mean divergence of its probabilities from the teacher's there, in nats; None as above.
        similarity: Mean cosine of its vectors with the teacher's in its own space there; None as above.
        losses: Mean loss of each pass.
        teacher_seconds: Wall-clock time of asking the teacher.
        seconds: Wall-clock time of the whole.
        bytes: Size of the student's files.
    """

    texts: int
    held_out: int = 0
    agreement: float | None = None
    divergence: float | None = None
    similarity: float | None = None
    losses: list[float] = field(default_factory=list)
    teacher_seconds: float = 0.0
    seconds: float = 0.0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)
