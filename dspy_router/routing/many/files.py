"""A crowd as files: arrays and index that are mapped when read, so that a start reads only what it looks at."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dspy_router.routing.many.crowd import Crowd, Segment, hashes_of, joined
from dspy_router.routing.many.nearest import NearestPoints, index_available
from dspy_router.routing.many.postings import Postings
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.runtime.folder import MAPPED

logger = logging.getLogger(__name__)

ARRAYS, INDEX = f"{MAPPED}tools.safetensors", f"{MAPPED}index.usearch"
_TYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4"}
_LENGTH = 8  # bytes of a safetensors file that tell how long its header is

WITHOUT_USEARCH = (
    "A router of %d tools looks at every one of them for each decision, which takes time: an index needs usearch, and "
    "that is not installed. Get it with: pip install dspy-router[many]"
)


def crowd_files(crowd: Crowd) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A crowd's files, name to content, and what of it stands in the router's own index."""
    whole = joined(crowd.segments)
    arrays = {
        "views": whole.views,
        "points": whole.points,
        "slots": crowd.slots,
        "starts": whole.postings.starts,
        "rows": whole.postings.rows,
        "weights": whole.postings.weights,
    }
    files = {ARRAYS: save({name: np.ascontiguousarray(array) for name, array in arrays.items()})}
    entry: dict[str, Any] = {"config": crowd.config.to_dict(), "lens": list(crowd.lens), "slots": crowd.slot_names}
    if crowd.nearest is not None:
        files[INDEX] = crowd.nearest.to_bytes()
        entry["index"] = {"points": len(crowd.nearest), "gain": crowd.nearest.gain}
    return files, entry


def read_crowd(files: Mapping[str, bytes], entry: Mapping[str, Any], names: Sequence[str], source: str) -> Crowd:
    """The crowd that `crowd_files` described; its files' digests have been checked.

    Raises:
        ValueError: If a file is not what it should be, or the index is one of other tools.
    """
    config, slot_names = IndexConfig.from_dict(entry["config"]), tuple(entry["slots"])
    arrays = _mapped(files, source)
    postings = Postings(arrays["starts"], arrays["rows"], arrays["weights"])
    whole = Segment(arrays["views"], arrays["points"], postings)
    slots = np.array(arrays["slots"])
    if tuple(slot_names[slot] for slot in slots.tolist()) != tuple(names) or len(slot_names) != len(whole):
        raise ValueError(f"The router in {source} is damaged: {ARRAYS} holds other tools than its cards.")
    segments, indexed, nearest = (whole,), 1, None
    if not index_available():
        logger.warning(WITHOUT_USEARCH, len(names))
    elif "index" not in entry:  # saved where there was no usearch
        nearest = NearestPoints.build(whole.points, config)
    else:
        nearest = _read_index(files, entry["index"], config, whole, source)
        if len(nearest) < len(whole):
            segments, indexed = _split(whole, len(nearest)), 1
    return Crowd(
        tuple(names),
        slots,
        slot_names,
        hashes_of(slot_names),
        segments,
        indexed,
        nearest,
        tuple(entry["lens"]),
        config,
    )


def _read_index(
    files: Mapping[str, bytes], entry: Mapping[str, Any], config: IndexConfig, whole: Segment, source: str
) -> NearestPoints:
    try:
        nearest = NearestPoints.restore(files[INDEX], entry["gain"], config)
    except KeyError as error:
        raise ValueError(f"The router in {source} is incomplete: its file {INDEX} is missing.") from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"The router in {source} is damaged: {INDEX} is no index ({error}).") from error
    dim = whole.points.shape[1]
    if len(nearest) != entry["points"] or len(nearest) > len(whole) or nearest.dim != dim:
        raise ValueError(
            f"The index {INDEX} of the router in {source} is one of other tools: it holds {len(nearest)} points of "
            f"length {nearest.dim}, expected {entry['points']} of length {dim}. Restore the file that was saved with "
            "the router, or save the router again."
        )
    return nearest


def _split(whole: Segment, count: int) -> tuple[Segment, Segment]:
    """A segment in two: its first rows and the others."""
    starts, rows, weights = whole.postings
    words = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    parts = []
    for here, first in ((rows < count, 0), (rows >= count, count)):
        counted = np.zeros(len(starts), dtype=np.int64)
        np.cumsum(np.bincount(words[here], minlength=len(starts) - 1), out=counted[1:])
        parts.append(Postings(counted, (rows[here] - np.int32(first)).astype(np.int32), weights[here]))
    return (
        Segment(whole.views[:count], whole.points[:count], parts[0]),
        Segment(whole.views[count:], whole.points[count:], parts[1]),
    )


def _mapped(files: Mapping[str, bytes], source: str) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file where they lie: the library itself would copy them into memory."""
    try:
        data = memoryview(files[ARRAYS])
    except KeyError as error:
        raise ValueError(f"The router in {source} is incomplete: its file {ARRAYS} is missing.") from error
    try:
        length = int.from_bytes(data[:_LENGTH], "little")
        header = json.loads(bytes(data[_LENGTH : _LENGTH + length]))
        arrays = {}
        for name, about in header.items():
            if name != "__metadata__":
                start, end = (_LENGTH + length + offset for offset in about["data_offsets"])
                arrays[name] = np.frombuffer(data[start:end], _TYPES[about["dtype"]]).reshape(about["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"The router in {source} is damaged: {ARRAYS} is no safetensors file ({error}).") from error
    return arrays
