"""One measured figure: its interval, its target, its baselines, and the command that measures it anew."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dspy_router.evaluation.statistics import wilson_interval

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.setting import Setting

Unit = Literal["share", "area", "seconds", "milliseconds", "times", "count", "calls", "per second"]
Bound = Literal["at least", "above", "at most"]
_SIGNS = {"at least": "≥", "above": ">", "at most": "≤"}


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        what: What it is, in a few words.
        value: A share in [0, 1], an area under a curve, seconds, milliseconds, a factor, a count, a mean number of
            calls or so many a second, as `unit` says.
        split: What it was measured on.
        data: The dataset's name, as `--on` takes it.
        unit: What `value` is.
        n: How many examples it was measured on; None where that says nothing.
        interval: 95 % interval: Wilson's of a share, a bootstrap's of an area; None where there is none.
        spread: Standard deviation over repeated draws; None where there was one run.
        target: What the project wants to reach; None where no figure was set.
        bound: On which side of the target is good.
        baselines: The same figure of something else, measured in the same run unless its name says otherwise.
        note: What a reader must know to read it rightly.
    """

    what: str
    value: float
    split: str
    data: str
    unit: Unit = "share"
    n: int | None = None
    interval: tuple[float, float] | None = None
    spread: float | None = None
    target: float | None = None
    bound: Bound = "at least"
    baselines: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def share(cls, what: str, hits: int, n: int, **others: Any) -> Figure:
        """How many of n were right, with the Wilson interval."""
        return cls(what, hits / n, n=n, interval=wilson_interval(hits, n), **others)

    @classmethod
    def mean(cls, what: str, values: Sequence[float], **others: Any) -> Figure:
        """The mean over repeated draws, with their standard deviation (n − 1 in the denominator; 0 for one draw)."""
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(what, statistics.fmean(values), spread=spread, **others)

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None without one."""
        if self.target is None:
            return None
        if self.bound == "at most":
            return self.value <= self.target
        return self.value > self.target if self.bound == "above" else self.value >= self.target

    @property
    def measured(self) -> str:
        """The value with its interval or spread, as a reader wants it."""
        text = show(self.value, self.unit)
        if self.interval is not None:
            low, high = self.interval
            shares = self.unit == "share"
            ends = (f"{100 * end:.1f}" if shares else show(end, self.unit) for end in (low, high))
            text += f"\n({' to '.join(ends)})"
        if self.spread is not None:
            text += f" ± {100 * self.spread:.1f}"
        return text

    @property
    def wanted(self) -> str:
        """The target."""
        return "–" if self.target is None else f"{_SIGNS[self.bound]} {show(self.target, self.unit)}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "baselines": dict(self.baselines), "reached": self.reached}


def show(value: float, unit: Unit) -> str:
    """A value with its unit."""
    if math.isnan(value):
        return "not recorded"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "area":
        return f"{value:.3f}"
    if unit == "calls":
        return f"{value:.2f} calls"
    if unit == "times":
        return f"{value:.1f} ×"
    if unit in ("count", "per second"):
        return f"{value:,.0f}" + (" /s" if unit == "per second" else "")
    return f"{value:.1f} s" if unit == "seconds" else f"{value:.2f} ms"


class Measure(Protocol):
    """What a benchmark is: figures, one after the other, as they are measured."""

    def __call__(self, setting: Setting) -> Iterator[Figure]: ...


class Show(Protocol):
    """What makes a table of a benchmark's figures."""

    def __call__(self, benchmark: Benchmark, figures: Sequence[Figure], setting: Setting, /) -> Table: ...


@dataclass(frozen=True)
class Benchmark:
    """A named set of figures that are measured together.

    Attributes:
        name: What `python -m benchmarks NAME` calls it.
        run: Measures.
        target: What is to be reached, in words.
        needs: Files below the data folder that it reads, by dataset.
        shown: Makes its table, where one row a figure would not do.
    """

    name: str
    run: Measure
    target: str
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shown: Show | None = None

    @property
    def about(self) -> str:
        """The first line of its docstring."""
        return (self.run.__doc__ or "").strip().split("\n")[0]

    @property
    def command(self) -> str:
        """What measures all its figures."""
        return f"python -m benchmarks {self.name}"
