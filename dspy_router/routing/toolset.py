"""Toolsets: from tool cards to what a policy sees of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder, encode
from dspy_router.routing.policies import Tools
from dspy_router.routing.words import Vocabulary


def card_text(card: ToolCard) -> str:
    """All that a card says, each view once."""
    return " ".join(dict.fromkeys(card.views))


def encode_cards(encoder: Encoder, cards: Sequence[ToolCard]) -> Tensor:
    """The vectors of the cards' views, float32 [k, 3, d]."""
    vectors = encode(encoder, [text for card in cards for text in card.views])
    return vectors.view(len(cards), -1, encoder.dim)


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


def check_cards(cards: Sequence[ToolCard]) -> None:
    """Refuse a toolset that nothing could be chosen from.

    Raises:
        ValueError: If there are no cards, or two of one name.
    """
    if not cards:
        raise ValueError("A router needs at least one tool, got none.")
    names = [card.name for card in cards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Every tool needs a name of its own; {', '.join(map(repr, twice))} was given more than once.")


def check_names(names: Collection[str], tools: Sequence[str]) -> None:
    """Refuse names that are no tool's.

    Raises:
        ValueError: If there is one; it names the nearest right one.
    """
    for name in names:
        if name not in tools:
            nearest = difflib.get_close_matches(str(name), tools, n=1, cutoff=0.4)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            listing = ", ".join(tools[:8]) + (f", … ({len(tools)} in all)" if len(tools) > 8 else "")
            raise ValueError(f"The router knows no tool '{name}'; it knows {listing}.{hint}")


def check_same_tools(names: Sequence[str], others: Sequence[str]) -> None:
    """Refuse a router, of the tools `names`, that was made for other tools than `others`.

    Raises:
        ValueError: If the names are not exactly the same.
    """
    missing, unknown = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    if missing or unknown:
        raise ValueError(
            f"The router was saved for other tools. It knows {len(names)}; not among the given ones: "
            f"{missing or 'none'}; given but unknown to it: {unknown or 'none'}. "
            "Use add_tools and remove_tools to change a router's tools."
        )


def allowed_mask(names: Sequence[str], allowed: Collection[str] | None, device: torch.device) -> Tensor | None:
    """Which tools may be chosen, bool [1, k]; None for all.

    Raises:
        ValueError: If a name in `allowed` is not a tool's.
    """
    if allowed is None:
        return None
    check_names(allowed, names)
    return torch.tensor([[name in allowed for name in names]], device=device)
