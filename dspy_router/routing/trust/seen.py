"""Which texts a router was trained on, as short digests: they cannot tell how well it does on others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_BYTES = 8


class SeenTexts:
    """A set of texts that keeps 8 bytes of each; case and spaces make no difference.

    Two texts share a digest by chance about once in 10¹⁹ pairs.
    """

    def __init__(self, digests: Iterable[int] = ()) -> None:
        """Hold these digests; `SeenTexts.of` makes them from texts."""
        self._digests = frozenset(digests)

    @classmethod
    def of(cls, texts: Iterable[str]) -> SeenTexts:
        """The digests of these texts."""
        return cls(map(_digest, texts))

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> SeenTexts:
        """What `to_tensor` gave."""
        return cls(tensor.tolist())

    def to_tensor(self) -> Tensor:
        """The digests in ascending order, int64 [n]."""
        return torch.tensor(sorted(self._digests), dtype=torch.int64)

    def among(self, texts: Sequence[str]) -> list[int]:
        """The positions of those texts that were seen, ascending."""
        return [row for row, text in enumerate(texts) if _digest(text) in self._digests]

    def __or__(self, other: SeenTexts) -> SeenTexts:
        return SeenTexts(self._digests | other._digests)

    def __len__(self) -> int:
        return len(self._digests)


def _digest(text: str) -> int:
    plain = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=_BYTES).digest(), "big", signed=True)
