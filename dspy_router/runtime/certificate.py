"""What was certified of a router's decisions, and for which state of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Identity(NamedTuple):
    """Hex digests of the parts of a router that its probabilities depend on; the order of the tools is none of them."""

    encoder: str
    policy: str
    words: str
    cards: str

    def changes(self, other: Identity) -> list[str]:
        """What is another there than here, in words."""
        names = {
            "encoder": "the encoder",
            "policy": "the policy's weights",
            "words": "the vocabulary",
            "cards": "the tools or their cards",
        }
        return [name for part, name in names.items() if getattr(self, part) != getattr(other, part)]

    def to_dict(self) -> dict[str, str]:
        """A JSON-ready dict that `Identity(**…)` takes back."""
        return self._asdict()


@dataclass(frozen=True)
class Certificate:
    """What was certified for a kind of decisions.

    Attributes:
        tool: The tool whose decisions it is about; None for those of all tools without a certificate of their own and
            for *none*.
        max_risk: The share of wrong ones among the kept decisions that was asked for.
        confidence: With what probability over the draw of the examples it holds; its share, where several hold jointly.
        bar: Least score of a kept decision; infinite where nothing could be certified, and all is handed over.
        examples: On how many examples it rests.
        kept: How many of them it keeps.
        wrong: How many of those are wrong.
        more_examples: Where nothing could be certified, about how many further examples it would take; None where
            something was, or where the errors are too many for any number of examples.
    """

    tool: str | None
    max_risk: float
    confidence: float
    bar: float
    examples: int
    kept: int
    wrong: int
    more_examples: int | None = None

    @property
    def certified(self) -> bool:
        """Whether any decision may be kept."""
        return self.bar < math.inf

    @property
    def coverage(self) -> float:
        """Share of the examples that it keeps."""
        return self.kept / self.examples if self.examples else 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `from_dict` takes back."""
        # JSON has no infinity.
        return {**asdict(self), "bar": self.bar if math.isfinite(self.bar) else str(self.bar)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """The certificate that `to_dict` described."""
        return cls(**{**data, "bar": float(data["bar"])})
