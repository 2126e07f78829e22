"""Toolsets: from tool cards to what a policy sees of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder, encode
from dspy_router.routing.policies import Tools
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.names import check_names

_FEW_CARDS = 500  # of which no text is looked for twice


def card_text(card: ToolCard) -> str:
    """All that a card says, each view once."""
    return " ".join(dict.fromkeys(card.views))


def encode_cards(encoder: Encoder, cards: Sequence[ToolCard]) -> Tensor:
    """The vectors of the cards' views, float32 [k, 3, d]; of many cards, each distinct text is encoded once."""
    texts = [text for card in cards for text in card.views]
    if len(cards) <= _FEW_CARDS:
        return encode(encoder, texts).view(len(cards), -1, encoder.dim)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(encoder, list(rows), progress=True)
    return vectors[[rows[text] for text in texts]].view(len(cards), -1, encoder.dim)


def build_tools(cards: Sequence[ToolCard], views: Tensor, vocabulary: Vocabulary) -> Tools:
    """Tools as a policy sees them.

    Args:
        cards: k cards.
        views: The vectors of their views, float32 [k, 3, d].
        vocabulary: The words that count; it knows all words of the cards.
    """
    bag = vocabulary.card_bag(map(card_text, cards))
    ids, rows = torch.unique(bag.indices, return_inverse=True)
    lengths = torch.cat([bag.offsets[1:], bag.offsets.new_tensor([len(bag.indices)])]) - bag.offsets
    table = torch.zeros(len(ids) + 1, len(cards))
    table[rows, torch.repeat_interleave(torch.arange(len(cards)), lengths)] = bag.weights
    word_rows = torch.full((len(vocabulary),), len(ids))
    word_rows[ids] = torch.arange(len(ids))
    return Tools(tuple(card.name for card in cards), views.detach(), word_rows, table)


def allowed_mask(names: Sequence[str], allowed: Collection[str] | None, device: torch.device) -> Tensor | None:
    """Which tools may be chosen, bool [1, k]; None for all.

    Raises:
        ValueError: If a name in `allowed` is not a tool's.
    """
    if allowed is None:
        return None
    check_names(allowed, names)
    return torch.tensor([[name in allowed for name in names]], device=device)
