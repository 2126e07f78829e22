"""A router's calibration: probabilities that mean what they say, and the bars that a kept decision must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.certificate import Certificate, Identity
from dspy_router.runtime.maps import (
    Isotonic,
    RowMap,
    Temperature,
    describe_map,
    read_map,
    repair,
    selection_scores,
    softmax,
    with_top,
)


class StaleCalibration(RuntimeError):  # noqa: N818 - it names a state, as StopIteration does
    """A decision was asked for under a guarantee that was certified for another state of the router."""


class Calibrated(NamedTuple):
    """A batch of calibrated decisions.

    Attributes:
        rows: Probabilities of the tools and *none*, [n, k + 1].
        kept: Which choices pass the bar, [n].
    """

    rows: NDArray[np.float64]
    kept: NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """How a router's logits become probabilities, and which decisions may be kept; for one exact state of the router.

    A calibration never changes which tool is chosen. First a map of whole rows (temperature or vector scaling) gives
    every option its probability; then, where there is one, an isotonic map of the choice's score gives the choice its
    own, and the other options share the rest. Where either would put another option above the choice, the row is
    repaired: see `maps.repair` and `maps.with_top`.

    Attributes:
        method: What was picked: `temperature`, `temperature + isotonic`, ….
        identity: Digests of the router it was fitted on.
        tools: The tools of that router.
        row_map: Logits to logits.
        top_map: Score of a choice to its probability; None where the row's own stands.
        certificates: What was certified of the kept decisions, all of it jointly.
        cost_bar: Least score of a kept decision by cost; None without costs.
    """

    method: str
    identity: Identity
    tools: tuple[str, ...]
    row_map: RowMap = field(default_factory=Temperature)
    top_map: Isotonic | None = None
    certificates: tuple[Certificate, ...] = ()
    cost_bar: float | None = None

    @property
    def binding(self) -> bool:
        """Whether it keeps decisions from being accepted, so that deciding without it would be unsafe."""
        return bool(self.certificates) or self.cost_bar is not None

    def apply(self, logits: NDArray[np.floating[Any]], choices: Sequence[int], names: Sequence[str]) -> Calibrated:
        """Calibrate a batch of decisions.

        Args:
            logits: Of the tools and *none*, [n, k + 1]; −∞ where a tool is not allowed.
            choices: The chosen columns, n of them.
            names: The tools of the columns.
        """
        values, columns = np.asarray(logits, dtype=np.float64), np.asarray(choices, dtype=np.int64)
        table = self._tables.get(tuple(names))
        if table is None:
            bars = np.array([self.bar(name) for name in (*names, None)])
            table = self._tables.setdefault(tuple(names), (self.row_map.arrays(names), bars))
        (factors, summands), bars = table
        scores = selection_scores(values, columns)
        rows = calibrated(softmax(values * factors + summands), columns, scores, self.top_map)
        return Calibrated(rows, scores >= bars.take(columns))

    @cached_property
    def _tables(self) -> dict[tuple[str, ...], tuple[tuple[NDArray[np.float64], NDArray[np.float64]], Any]]:
        """The row map's arrays and the bars, by the tools in the order of the columns: made once, needed each time."""
        return {}

    def bar(self, tool: str | None) -> float:
        """Least score of a kept decision for this tool, or with None for *none*; −∞ where all are kept."""
        bars = [-math.inf] if self.cost_bar is None else [self.cost_bar]
        own = [one.bar for one in self.certificates if one.tool is not None and one.tool == tool]
        return max([*bars, *(own or [one.bar for one in self.certificates if one.tool is None])])

    def stale_message(self, identity: Identity, tools: Sequence[str]) -> str:
        """What has changed since, and the two ways out."""
        changes = self.identity.changes(identity)
        gone, fresh = sorted(set(self.tools) - set(tools)), sorted(set(tools) - set(self.tools))
        details = [f"{what}: {', '.join(names)}" for what, names in (("removed", gone), ("added", fresh)) if names]
        what = ", ".join(changes) + (f" ({'; '.join(details)})" if details else "")
        return (
            f"The router's calibration is stale: since it was fitted, these have changed: {what}. Calibrate again with "
            "router.calibrate(…) on labelled examples it was not trained on, or drop the calibration with "
            "router.calibration = None."
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `from_dict` takes back."""
        return {
            "method": self.method,
            "identity": self.identity.to_dict(),
            "tools": list(self.tools),
            "row_map": describe_map(self.row_map),
            "top_map": describe_map(self.top_map),
            "certificates": [one.to_dict() for one in self.certificates],
            "cost_bar": None if self.cost_bar is None else str(self.cost_bar),  # JSON has no infinity
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_dict` described."""
        return cls(
            method=data["method"],
            identity=Identity(**data["identity"]),
            tools=tuple(data["tools"]),
            row_map=read_map(data["row_map"]),
            top_map=read_map(data["top_map"]),
            certificates=tuple(map(Certificate.from_dict, data["certificates"])),
            cost_bar=None if data["cost_bar"] is None else float(data["cost_bar"]),
        )


def calibrated(
    rows: NDArray[np.float64], choices: NDArray[np.int64], scores: NDArray[np.float64], top_map: Isotonic | None
) -> NDArray[np.float64]:
    """Rows of probabilities, [n, k + 1], with the choices on top, and with the top map's confidence if there is one."""
    return repair(rows, choices) if top_map is None else with_top(rows, choices, top_map(scores))
