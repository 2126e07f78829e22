"""What a router's probabilities depend on, as digests, and whether any of it has changed since."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder, weights_digest
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.certificate import Identity

_PROBES = 16  # values of each tensor that are looked at before every decision


def read_identity(encoder: Encoder, policy: Policy, vocabulary: Vocabulary, cards: Sequence[ToolCard]) -> Identity:
    """The digests of these parts of a router."""
    shape = [type(policy).__qualname__, getattr(policy, "config", None)]
    weights = weights_digest(policy) if isinstance(policy, nn.Module) else ""
    described = [card.to_dict() for card in sorted(cards, key=lambda card: card.name)]
    return Identity(encoder.fingerprint, _digest([shape, weights]), _digest(vocabulary.to_dict()), _digest(described))


class Watch:
    """Reads a router's identity again only when something may have changed, so that each decision can ask for it.

    It compares the parts themselves and, of modules whose weights learn, every tensor's address, torch's count of its
    changes in place, and some of its values. The count misses what fused optimizers write and what is written through
    `tensor.data`; the values miss a change of a few weights alone, which is seen when the router is next loaded.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], _Weights, Identity] | None = None

    def read(
        self, encoder: Encoder, policy: Policy, vocabulary: Vocabulary, cards: Sequence[ToolCard], space: Tools | Crowd
    ) -> Identity:
        """The identity of a router of these parts."""
        last = self._last  # read once: another thread may replace it
        parts, tensors = (encoder, policy, vocabulary, cards, space), _tensors(encoder, policy)
        if last is None or not _same(last[0], parts) or last[1].changed(tensors):
            # The values are looked at before the digest: what changes meanwhile is noticed next time.
            weights = _Weights(tensors)
            last = (parts, weights, read_identity(encoder, policy, vocabulary, cards))
            self._last = last
        return last[2]


class _Weights:
    """What some tensors were at a moment; they are kept, or another one could take a freed one's address."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.marks = [(one._version, one.data_ptr()) for one in tensors]
        flat = [one.detach().reshape(-1) for one in tensors if one.numel()]
        self.probes = [(one, torch.linspace(0, len(one) - 1, _PROBES, device=one.device).long()) for one in flat]
        self.values = self.probe()

    def probe(self) -> list[float]:
        """Some values of each tensor, spread evenly."""
        if not self.probes:
            return []
        # One transfer in all, wherever they lie.
        return torch.cat([one[places].double() for one, places in self.probes]).tolist()

    def changed(self, tensors: list[Tensor]) -> bool:
        """Whether these are others, or not what they were."""
        if len(tensors) != len(self.tensors) or not all(map(operator.is_, tensors, self.tensors)):
            return True
        if [(one._version, one.data_ptr()) for one in tensors] != self.marks:
            return True
        # Not a number differs from itself, so that it is read anew each time; what decides so is refused anyway.
        return self.probe() != self.values


def _tensors(encoder: Encoder, policy: Policy) -> list[Tensor]:
    """The tensors that may change; a frozen encoder never does."""
    learn = [policy, encoder] if getattr(encoder, "trainable", False) else [policy]
    modules = [module for part in learn if isinstance(part, nn.Module) for module in part.modules()]
    tables: list[Mapping[str, Tensor | None]] = [
        table for module in modules for table in (module._parameters, module._buffers)
    ]
    return [one for table in tables for one in table.values() if one is not None]


def _same(before: Sequence[Any], now: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(before, now, strict=True))


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
