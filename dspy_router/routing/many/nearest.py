"""The nearest points: by usearch's graph where that is installed, else by a look at each."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dspy_router.routing.many.settings import IndexConfig

Points = NDArray[np.float32]

_POINTS_A_TIME = 1_024
# Bytes reach from −1 to 1 in usearch, and the points' largest value would leave most of that unused. Some room is left
# for the points of tools to come; what lies beyond is cut off.
_REACH = 0.8


def index_available() -> bool:
    """Whether usearch is installed."""
    return importlib.util.find_spec("usearch") is not None


class NearestPoints:
    """A graph over points that finds those of the largest product with a query, nearly always.

    Hierarchical navigable small worlds after Malkov & Yashunin 2018, "Efficient and robust approximate nearest neighbor
    search using hierarchical navigable small world graphs", as usearch implements them. Points are numbered in the
    order they were added. One that others may search is not changed any more: `grown` makes a copy.

    It is built by one thread, since a graph that several build at once is another each time.

    Attributes:
        gain: What points are multiplied by, so that their values fill the range of a byte.
    """

    def __init__(self, index: Any, gain: float, data: Any = None) -> None:
        """Stand before a usearch index, which may look into `data`; `build` and `restore` make one."""
        self._index, self.gain = index, gain
        self._data = data  # it must live as long as what looks into it

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dim(self) -> int:
        """Length of the points."""
        return self._index.ndim

    @classmethod
    def build(cls, points: Points, config: IndexConfig, *, progress: bool = True) -> NearestPoints:
        """An index of these points, float32 [n, d]."""
        from usearch.index import Index

        index = Index(
            ndim=points.shape[1],
            metric="ip",
            dtype=config.precision,
            connectivity=config.connectivity,
            expansion_add=config.build_effort,
            expansion_search=max(config.search_effort, config.nearest),
        )
        largest = max((float(np.abs(part).max()) for part in _parts(points)), default=1.0)
        nearest = cls(index, _REACH / (largest or 1.0))
        nearest._add(points, progress)
        return nearest

    @classmethod
    def restore(cls, data: Any, gain: float, config: IndexConfig) -> NearestPoints:
        """The index that `to_bytes` gave, read where it lies: `data` may be a mapped file, and is not copied.

        Raises:
            ValueError: If it is no index.
        """
        from usearch.index import Index

        index = Index.restore(data, view=True)
        if index is None:
            raise ValueError("It is no usearch index.")
        index.expansion_search = max(config.search_effort, config.nearest)
        index.expansion_add = config.build_effort
        return cls(index, gain, data)

    def to_bytes(self) -> bytes:
        """The index as bytes."""
        return bytes(self._index.save())

    @property
    def memory(self) -> int:
        """Bytes of the index."""
        return self._index.serialized_length

    def grown(self, points: Points) -> NearestPoints:
        """A copy with more points, float32 [m, d]; this one stays what it is."""
        nearest = NearestPoints(self._index.copy(), self.gain)
        nearest._add(points, progress=True)
        return nearest

    def search(self, queries: Points, count: int) -> list[NDArray[np.int64]]:
        """For each query, float32 [b, d], the numbers of about the `count` points of largest product with it."""
        if len(self) == 0:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        # Their length is nothing to the order of the points; bytes hold them best when it fills their range.
        scaled = queries * (_REACH / np.maximum(np.abs(queries).max(axis=1, keepdims=True), 1e-12))
        threads = 1 if len(queries) == 1 else 0
        matches = self._index.search(scaled, min(count, len(self)), threads=threads)
        if len(queries) == 1:
            return [matches.keys.reshape(-1).astype(np.int64)]
        return [matches.keys[i, : matches.counts[i]].astype(np.int64) for i in range(len(queries))]

    def _add(self, points: Points, progress: bool) -> None:
        first = len(self)
        starts = range(0, len(points), _POINTS_A_TIME)
        for start in tqdm(starts, "indexing tools", delay=2, leave=False, disable=not progress, unit="ktool"):
            part = np.asarray(points[start : start + _POINTS_A_TIME]) * self.gain
            self._index.add(np.arange(first + start, first + start + len(part)), part, threads=1)


def _parts(points: Points) -> list[Points]:
    return [points[start : start + _POINTS_A_TIME] for start in range(0, len(points), _POINTS_A_TIME)]
