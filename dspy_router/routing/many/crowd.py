"""A crowd: the tools of a router that has an index of them. It never changes; what changes it makes another."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dspy_router.records import ToolCard
from dspy_router.routing.many.nearest import NearestPoints, index_available
from dspy_router.routing.many.postings import Postings
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.toolset import card_text
from dspy_router.routing.words import Vocabulary

Slots = NDArray[np.int64]

# The arrays of a loaded router are a mapped file. Nobody writes to the tensors that are made of them.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

_MOST_FRESH = 1_024  # tools that are looked at one by one until they are indexed together
_MOST_SEGMENTS = 16
_MOST_GONE = 0.25  # of all slots, before the crowd is put together anew
_ROWS_A_TIME = 8_192


@dataclass(frozen=True)
class Segment:
    """Tools that came together, n of them.

    Attributes:
        views: Vectors of their cards' views, float32 [n, 3, d]; perhaps a mapped file.
        points: Where they lie in the policy's space, float32 [n, d].
        postings: The words of their cards.
    """

    views: NDArray[np.float32]
    points: NDArray[np.float32]
    postings: Postings

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Crowd:
    """The tools of a router that has an index of them.

    Every tool has a slot, and keeps it. A tool that is removed leaves its slot empty; tools that are added lie in a
    last segment that is looked at whole, until there are enough of them for the index. So a decision that is being made
    sees the tools as they were when it began, and copies share what they have in common.

    Attributes:
        names: Names of the tools, k of them, in the order of the cards.
        slots: The slot of each, int64 [k].
        slot_names: The name of the tool that is or was in each slot.
        hashes: A hash of each of them, uint64 [n].
        segments: The slots' contents, one segment after the other.
        indexed: How many segments the index holds.
        nearest: The index over their points; None without usearch: then every tool is looked at.
        lens: The weights of the views that the points were made with.
        config: Settings.
    """

    names: tuple[str, ...]
    slots: Slots
    slot_names: tuple[str, ...]
    hashes: NDArray[np.uint64]
    segments: tuple[Segment, ...]
    indexed: int
    nearest: NearestPoints | None
    lens: tuple[float, ...]
    config: IndexConfig

    @classmethod
    def build(
        cls,
        cards: Sequence[ToolCard],
        views: Tensor,
        vocabulary: Vocabulary,
        policy: ToolSpacePolicy,
        config: IndexConfig,
    ) -> Crowd:
        """A crowd of these cards; `views` are the vectors of their views, float32 [k, 3, d].

        Slots are given out in the order of a hash of the names, so that the order of the cards makes no difference to
        the index.
        """
        names = tuple(card.name for card in cards)
        hashes = hashes_of(names)
        order = np.argsort(hashes, kind="stable")
        slots = np.empty(len(names), dtype=np.int64)
        slots[order] = np.arange(len(names))
        ordered = [cards[i] for i in order.tolist()]
        segment = make_segment(ordered, views[torch.from_numpy(order)].cpu().numpy(), vocabulary, policy)
        nearest = NearestPoints.build(segment.points, config) if index_available() else None
        slot_names = tuple(card.name for card in ordered)
        return cls(names, slots, slot_names, hashes[order], (segment,), 1, nearest, lens_of(policy), config)

    @property
    def views(self) -> Tensor:
        """Vectors of the views in the order of the cards, float32 [k, 3, d]."""
        return torch.from_numpy(joined_views(self.segments)[self.slots])

    def to(self, device: torch.device | str) -> Crowd:
        """Itself: a crowd is looked up on the CPU, wherever the policy runs."""
        del device
        return self

    @cached_property
    def gone(self) -> NDArray[np.bool_]:
        """Which slots hold no tool any more, [n]."""
        gone = np.ones(len(self.slot_names), dtype=bool)
        gone[self.slots] = False
        return gone

    @cached_property
    def slot_of(self) -> dict[str, int]:
        """The slot of each tool, by name."""
        return dict(zip(self.names, self.slots.tolist(), strict=True))

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The first slot of each segment and, last, the number of slots."""
        return np.cumsum([0, *(len(segment) for segment in self.segments)])

    @property
    def fresh(self) -> int:
        """The first slot that the index does not hold."""
        return int(self.firsts[self.indexed])

    @cached_property
    def sample(self) -> Slots:
        """The slots of a uniform sample of the tools.

        Those whose names' hashes are the smallest, so that it is the same in whatever order tools came and went: the
        bottom-k sketch of Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches".
        """
        if len(self.slots) <= self.config.sample:
            return np.sort(self.slots)
        smallest = np.argpartition(self.hashes[self.slots], self.config.sample - 1)[: self.config.sample]
        return np.sort(self.slots[smallest])

    @cached_property
    def sample_points(self) -> Tensor:
        """The points of the sample, float32 [s, d]."""
        return self.points(self.sample)

    def points(self, slots: Slots) -> Tensor:
        """The points of these slots, float32 [m, d]."""
        if len(self.segments) == 1:
            return torch.from_numpy(self.segments[0].points[slots])
        parts = np.searchsorted(self.firsts, slots, side="right") - 1
        found = np.empty((len(slots), self.segments[0].points.shape[1]), dtype=np.float32)
        for number in np.unique(parts).tolist():
            here = parts == number
            found[here] = self.segments[number].points[slots[here] - self.firsts[number]]
        return torch.from_numpy(found)

    def products(self, queries: Tensor, slots: Slots | None = None) -> Tensor:
        """The product of each query, [b, d], with the points of these slots or of all tools; float32 [b, m]."""
        if slots is not None:
            return queries @ self.points(slots).T
        # All at once where they lie: to put them into order first would take longer.
        parts = [queries @ torch.from_numpy(segment.points).T for segment in self.segments]
        return torch.cat(parts, 1)[:, torch.from_numpy(self.slots)]

    def nearest_fresh(self, query: Tensor) -> Slots:
        """The slots that the index does not hold yet, or where there are many the nearest of them to a query [d]."""
        fresh = np.arange(self.fresh, len(self.slot_names))
        if len(fresh) <= self.config.nearest:
            return fresh
        similarities = torch.mv(torch.from_numpy(self.segments[-1].points), query).numpy()
        similarities[self.gone[self.fresh :]] = -np.inf
        return fresh[np.argpartition(-similarities, self.config.nearest - 1)[: self.config.nearest]]

    def columns(self, named: Sequence[str]) -> tuple[Slots, NDArray[np.int32]]:
        """The slots of those of these tools that are here, and for each slot its place among them, −1 for none."""
        cached = self._columns.get(id(named))
        if cached is None or cached[0] is not named:
            columns = np.full(len(self.slot_names), -1, dtype=np.int32)
            pairs = [(self.slot_of[name], column) for column, name in enumerate(named) if name in self.slot_of]
            slots = np.array([slot for slot, _ in pairs], dtype=np.int64)
            columns[slots] = [column for _, column in pairs]
            cached = (named, slots, columns)
            self._columns[id(named)] = cached  # it holds what it is filed under, whose address so stays its own
        return cached[1], cached[2]

    @cached_property
    def _columns(self) -> dict[int, tuple[Sequence[str], Slots, NDArray[np.int32]]]:
        return {}

    def added(self, cards: Sequence[ToolCard], views: Tensor, vocabulary: Vocabulary, policy: ToolSpacePolicy) -> Crowd:
        """A crowd with these tools too; views float32 [m, 3, d]."""
        count = len(self.slot_names)
        names = tuple(card.name for card in cards)
        segments = [*self.segments, make_segment(cards, views.numpy(), vocabulary, policy)]
        if len(segments) - self.indexed > 1:
            segments[-2:] = [joined(segments[-2:])]
        indexed, nearest = self.indexed, self.nearest
        if nearest is not None and len(segments[-1]) > _MOST_FRESH:
            nearest, indexed = nearest.grown(segments[-1].points), len(segments)
            if indexed > _MOST_SEGMENTS:
                segments, indexed = [joined(segments)], 1
        return replace(
            self,
            names=self.names + names,
            slots=np.append(self.slots, np.arange(count, count + len(names))),
            slot_names=self.slot_names + names,
            hashes=np.append(self.hashes, hashes_of(names)),
            segments=tuple(segments),
            indexed=indexed,
            nearest=nearest,
        )

    def seen_by(self, policy: ToolSpacePolicy) -> Crowd:
        """The same tools where another policy sees them."""
        segments = tuple(replace(one, points=points_of(one.views, policy)) for one in self.segments)
        nearest = None
        if self.nearest is not None:
            points = np.concatenate([one.points for one in segments])
            nearest = NearestPoints.build(points, self.config)
        return replace(self, segments=segments, indexed=len(segments), nearest=nearest, lens=lens_of(policy))

    def without(self, names: Collection[str]) -> Crowd | None:
        """A crowd without these tools; None if so many slots are empty that it should be put together anew."""
        gone = frozenset(names)
        kept = [i for i, name in enumerate(self.names) if name not in gone]
        if len(kept) < (1.0 - _MOST_GONE) * len(self.slot_names):
            return None
        return replace(self, names=tuple(self.names[i] for i in kept), slots=self.slots[kept])

    def refuse_to_calibrate(self) -> NoReturn:
        """Say why a router of these tools cannot be calibrated.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"A router that looks its {len(self.names)} tools up in an index cannot be calibrated: its decisions know "
            "the likeliest tools alone and estimate the rest, while a calibration and its guarantee are about the "
            f"probabilities of all. Calibrate a router of at most {self.config.above} tools, or make this one with "
            f"index=IndexConfig(above={len(self.names)}), so that every tool is looked at."
        )

    def __deepcopy__(self, memo: object) -> Crowd:
        return self  # it never changes


def make_segment(
    cards: Sequence[ToolCard], views: NDArray[np.float32], vocabulary: Vocabulary, policy: ToolSpacePolicy
) -> Segment:
    """The segment of these cards; views float32 [n, 3, d]."""
    bag = vocabulary.card_bag(map(card_text, cards))
    return Segment(views, points_of(views, policy), Postings.of(bag, len(vocabulary)))


def points_of(views: NDArray[np.float32], policy: ToolSpacePolicy) -> NDArray[np.float32]:
    """Where tools of these views lie in a policy's space, float32 [n, d]; some rows at a time."""
    points = np.empty((len(views), views.shape[2]), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(views), _ROWS_A_TIME):
            rows = torch.from_numpy(np.array(views[start : start + _ROWS_A_TIME]))
            points[start : start + _ROWS_A_TIME] = policy.points(rows.to(policy.view_weights.device)).cpu().numpy()
    return points


def joined(segments: Sequence[Segment]) -> Segment:
    """Segments as one."""
    if len(segments) == 1:
        return segments[0]
    return Segment(
        joined_views(segments),
        np.concatenate([one.points for one in segments]),
        Postings.joined([one.postings for one in segments], [len(one) for one in segments]),
    )


def joined_views(segments: Sequence[Segment]) -> NDArray[np.float32]:
    """The views of segments, float32 [n, 3, d]; those of a single one as they lie."""
    return segments[0].views if len(segments) == 1 else np.concatenate([one.views for one in segments])


def lens_of(policy: ToolSpacePolicy) -> tuple[float, ...]:
    """What of a policy the points depend on: the weights of the views."""
    return tuple(cast(list[float], policy.view_weights.tolist()))


def hashes_of(names: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each name, uint64 [n]."""
    digests = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8")
