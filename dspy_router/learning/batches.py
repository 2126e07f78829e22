"""Batches: which examples a step of training sees, and how large a step it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# An epoch of few examples goes over them several times, to make about so many steps: of 10, 40 and 80, 80 was best with
# 1, 5 and 10 examples a tool on clinc150 and toole.
_FEW_STEPS = 80
_MOST_PASSES = 10


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


def spread(labels: Sequence[tuple[str, ...] | None], most: int) -> list[int]:
    """Row numbers of at most so many examples a label, the first ones; rows without a label (None) are left out."""
    seen: dict[tuple[str, ...], int] = {}
    rows = []
    for row, label in enumerate(labels):
        if label is None:
            continue
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            rows.append(row)
    return rows


def default_batch_size(count: int, *, encoder_trains: bool = False) -> int:
    """Examples a step: a fortieth of them, but at least 16 and at most 256, or 64 where the encoder trains."""
    return min(64 if encoder_trains else 256, max(16, count // 40))


def passes_an_epoch(count: int, batch_size: int) -> int:
    """How often an epoch goes over the examples: once, but of few as often as it takes to make some steps."""
    steps = math.ceil(count / batch_size)
    return min(_MOST_PASSES, max(1, round(_FEW_STEPS / steps)))


def warm_cosine(progress: float, warmup: float = 0.1) -> float:
    """The learning rate at this share of all steps, as a share of its peak: a linear rise, then a cosine down to 0."""
    if progress < warmup:
        return 0.05 + 0.95 * progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))
