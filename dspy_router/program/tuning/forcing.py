"""Which tool is forced on which example while prompts are optimized, so that they are not asked to repair routing.

Two rules, for two questions:

* `best`: can the prompts make more of the best tool known? Each example is given the best of its tried tools. Where
  nothing tried earned more than the least reward seen anywhere, no tool is known to be any good, and nobody can say
  whose fault that is. If the router's favourite were forced on all of these, a prompt under which other tools begin to
  work could not show it; so every second one of them gets the favourite, and the others are dealt the rest.
* `other`: is there a prompt under which other tools are better? The best known tool is barred, and the rest are dealt
  out over all examples. What gains here loses with the best known tools forced, so that this question has to be asked
  on its own. The answer is judged like any other, after the router was trained anew under it.

Tools are dealt out by the ranking of the router as it was handed over, since what was learned since was learned under
prompts that are about to change: the second half as often as the first, the third a third as often, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

Rule = Literal["best", "other"]
Tool = str | None


def tools_to_force(
    rule: Rule, rewards: Sequence[Mapping[Tool, float]], options: Sequence[Sequence[Tool]], *, maximum: float = 1.0
) -> list[Tool]:
    """A tool for each example.

    Args:
        rule: Which question to ask.
        rewards: For each example the rewards of its tried tools under the present prompts; None stands for *none*.
        options: For each example the tools that may be forced: the router's favourite, then the others as they shall be
            dealt.
        maximum: The most that the metric can give.
    """
    floor = min((reward for row in rewards for reward in row.values()), default=maximum)
    forced, dealer, unknown = [], _Dealer(), 0
    for row, tools in zip(rewards, options, strict=True):
        best = _best(row, tools)
        if best is not None and not (row[best[0]] > floor or row[best[0]] >= maximum):
            best = None
        unknown += best is None
        if rule == "best" and best is not None:
            forced.append(best[0])
        elif rule == "best" and unknown % 2:
            forced.append(tools[0])
        else:
            barred = best[0] if best is not None else tools[0]
            forced.append(dealer.deal([tool for tool in tools if tool != barred] or tools))
    return forced


def _best(rewards: Mapping[Tool, float], tools: Sequence[Tool]) -> tuple[Tool] | None:
    """The best tried tool, in a tuple as it may be None itself; of equals the router's favourite."""
    rank = {tool: place for place, tool in enumerate(tools)}
    tried = sorted(rewards, key=lambda tool: (-rewards[tool], rank.get(tool, len(rank))))
    return (tried[0],) if tried else None


class _Dealer:
    """Deals out ranks with frequencies 1, 1/2, 1/3, … as evenly as can be (by the method of Sainte-Laguë)."""

    def __init__(self) -> None:
        self._dealt: Counter[int] = Counter()

    def deal(self, tools: Sequence[Tool]) -> Tool:
        rank = min(range(len(tools)), key=lambda rank: (rank + 1) * (2 * self._dealt[rank] + 1))
        self._dealt[rank] += 1
        return tools[rank]
