"""The names of a router's tools: none twice, none that it does not know."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Sequence

from dspy_router.records import ToolCard


def check_cards(cards: Sequence[ToolCard]) -> None:
    """Refuse a toolset that nothing could be chosen from.

    Raises:
        ValueError: If there are no cards, or two of one name.
    """
    if not cards:
        raise ValueError("A router needs at least one tool, got none.")
    counts = Counter(card.name for card in cards)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise ValueError(f"Every tool needs a name of its own; {', '.join(map(repr, twice))} was given more than once.")


def check_names(names: Collection[str], tools: Sequence[str]) -> None:
    """Refuse names that are no tool's.

    Raises:
        ValueError: If there is one; it names the nearest right one.
    """
    known = frozenset(tools) if len(names) > 1 else tools
    for name in names:
        if name not in known:
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
