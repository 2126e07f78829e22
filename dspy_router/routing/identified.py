"""A router that can be told from others: its fingerprint, and a quick look at whether anything has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from typing import Any

from torch import nn

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder, weights_digest
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.certificate import Identity


class Identified:
    """What of a `Router` is about who it is; the attributes are the router's."""

    cards: tuple[ToolCard, ...]
    space: Tools | Crowd
    encoder: Encoder
    policy: Policy
    vocabulary: Vocabulary
    index: IndexConfig
    _threshold: float
    _calibration: Calibration | None
    _calibration_digest: tuple[Calibration | None, str] = (None, "")

    def _describe_crowd(self) -> str:
        raise NotImplementedError

    def _identity(self, space: Tools | Crowd) -> Identity:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides: encoder, weights, words, cards, threshold and calibration."""
        digest = hashlib.sha256(self.encoder.fingerprint.encode())
        if isinstance(self.space, Crowd):
            digest.update(f"{self._threshold!r} {self._describe_crowd()}".encode())
        else:
            digest.update(repr((self.cards, self._threshold, self.vocabulary.to_dict())).encode())
        if isinstance(self.policy, nn.Module):
            digest.update(weights_digest(self.policy).encode())
        if self._calibration is not None:
            digest.update(_describe(self._calibration).encode())
        return digest.hexdigest()

    @property
    def state(self) -> Hashable:
        """The same in some hundredths of a millisecond: what differs wherever the fingerprint does, see `Watch`.

        The digests are those of the last look, as long as nothing is seen to have changed.
        """
        calibration, (known, digest) = self._calibration, self._calibration_digest
        if calibration is not known:
            digest = "" if calibration is None else hashlib.sha256(_describe(calibration).encode()).hexdigest()
            self._calibration_digest = (calibration, digest)
        settings: Any = repr(self.index) if isinstance(self.space, Crowd) else None
        return (self._identity(self.space), self._threshold, digest, settings)


def _describe(calibration: Calibration) -> str:
    return json.dumps(calibration.to_dict(), sort_keys=True)
