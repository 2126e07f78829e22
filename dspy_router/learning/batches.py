"""Batches: from labelled episodes to tensors."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dspy_router.records import Episode

# An epoch of few examples goes over them several times, to make about so many steps: of 10, 40 and 80, 80 was best with
# 1, 5 and 10 examples a tool on clinc150 and toole.
_FEW_STEPS = 80
_MOST_PASSES = 10


@dataclass(frozen=True)
class Labelled:
    """Texts and what would have been right for each.

    Attributes:
        texts: n queries.
        labels: For each the names of the right tools; empty where none fits.
        right: The same as a mask over the tools and *none* (last column), bool [n, k + 1].
    """

    texts: list[str]
    labels: list[tuple[str, ...]]
    right: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def read(cls, examples: Iterable[Any], tools: Sequence[str], *, what: str = "training set") -> Labelled:
        """Read examples in any of the forms that `Episode.from_example` takes.

        Args:
            examples: Rows, episodes or `dspy.Example`s with a label each.
            tools: The names a label may have.
            what: What an error calls them.

        Raises:
            ValueError: If there are no examples, one has no text or no label, or a label is not a tool's name.
        """
        episodes = [Episode.from_example(example) for example in examples]
        if not episodes:
            raise ValueError(f"The {what} is empty: expected at least one example with a 'query' and a 'tool'.")
        columns = {name: column for column, name in enumerate(tools)}
        right = torch.zeros(len(episodes), len(tools) + 1, dtype=torch.bool)
        labels = []
        for row, episode in enumerate(episodes):
            if not episode.labels:
                raise ValueError(
                    f"Example {row + 1} of the {what} has no label: expected a field 'tool' with a tool's name, a list "
                    f"of names, or None where no tool fits. Its text is {episode.text!r:.80}."
                )
            if not episode.text.strip():
                raise ValueError(f"Example {row + 1} of the {what} must not be empty: expected some text as its query.")
            label = episode.labels[0]
            for name in label:
                if name not in columns:
                    near = difflib.get_close_matches(name, tools, n=1)
                    hint = f" Did you mean '{near[0]}'?" if near else ""
                    raise ValueError(
                        f"Example {row + 1} of the {what} is labelled '{name}', which is none of the router's "
                        f"{len(tools)} tools.{hint}"
                    )
            right[row, [columns[name] for name in label] or [-1]] = True
            labels.append(label)
        return cls([episode.text for episode in episodes], labels, right)


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All numbers below `count` in random order, `size` at a time, int64 [≤ size]."""
    yield from torch.randperm(count, generator=generator).split(size)


def bucketed_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """As `shuffled_batches`, but the texts of a batch are of similar length, so that little of it is padding."""
    order = torch.randperm(len(lengths), generator=generator)
    jitter = torch.rand(len(lengths), generator=generator)
    keys = torch.tensor(lengths, dtype=torch.float32) * (0.9 + 0.2 * jitter)
    batches = order[keys[order].argsort(stable=True)].split(size)
    for i in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[i]


def spread(labels: list[tuple[str, ...]], most: int) -> list[int]:
    """Row numbers of at most so many examples a label, the first ones."""
    seen: dict[tuple[str, ...], int] = {}
    rows = []
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            rows.append(row)
    return rows


def passes_an_epoch(count: int, batch_size: int) -> int:
    """How often an epoch goes over the examples: once, but of few as often as it takes to make some steps."""
    steps = math.ceil(count / batch_size)
    return min(_MOST_PASSES, max(1, round(_FEW_STEPS / steps)))
