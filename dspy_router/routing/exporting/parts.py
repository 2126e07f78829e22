"""What of a router decides, as files: its encoder, and its policy over its tools."""

from __future__ import annotations

from typing import Any, Protocol

from dspy_router.routing.encoders import Encoder
from dspy_router.routing.exporting.checks import Decider, read_probe
from dspy_router.routing.exporting.encoders import Packed, export_encoder
from dspy_router.routing.exporting.head import export_policy, head_inputs
from dspy_router.routing.policies import Policy
from dspy_router.routing.words import Vocabulary


class Separable(Decider, Protocol):
    """A router, whose parts can be had."""

    encoder: Encoder
    policy: Policy
    space: Any  # `Tools`, or what stands for them where there are many
    vocabulary: Vocabulary


def export_parts(router: Separable, *, int8: bool) -> Packed:
    """Encoder and policy as files.

    Args:
        router: The router.
        int8: Whether products are of 8-bit numbers. Scales of activations are then found on some of its training
            queries or, without any, on what its cards say.

    Raises:
        ExportRefused: If encoder or policy are of a kind that cannot be exported.
    """
    texts = read_probe(router, None).texts if int8 else None
    vectorising = export_encoder(router.encoder, scales_on=texts)
    asked = None if texts is None else head_inputs(vectorising, router.vocabulary, texts, len(router.tools) + 1)
    folded = export_policy(router.policy, router.space, len(router.vocabulary), scales_on=asked)
    entry = {
        "vectoriser": vectorising.entry,
        "neighbours": folded.neighbours,
        "policy_alone": folded.alone,
        "vocabulary": router.vocabulary.to_dict(),
    }
    return Packed(entry, {**vectorising.files, **folded.files})
