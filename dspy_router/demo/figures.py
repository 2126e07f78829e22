"""Statistics of a list of numbers."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field

Measure = Literal[
    "mean", "average", "median", "mode", "range", "spread", "minimum", "min", "smallest", "lowest", "maximum", "max",
    "largest", "biggest", "highest", "standard deviation", "std dev", "stdev", "variance", "geometric mean",
]  # fmt: skip


def _spread(numbers: Sequence[float]) -> float:
    return max(numbers) - min(numbers)


_MEASURES: dict[str, Callable[[Sequence[float]], float]] = {
    **dict.fromkeys(("mean", "average"), statistics.fmean),
    "median": statistics.median,
    "mode": statistics.mode,
    "geometric mean": statistics.geometric_mean,
    **dict.fromkeys(("range", "spread"), _spread),
    **dict.fromkeys(("minimum", "min", "smallest", "lowest"), min),
    **dict.fromkeys(("maximum", "max", "largest", "biggest", "highest"), max),
    **dict.fromkeys(("standard deviation", "std dev", "stdev"), statistics.stdev),
    "variance": statistics.variance,
}


def number_statistics(
    numbers: Annotated[list[float], Field(min_length=1, description="the numbers of the sample")],
    measure: Annotated[Measure, Field(description="which figure is wanted")],
) -> float:
    """Describe a list of numbers by its average, median, mode, range, extremes, variance or standard deviation."""
    if measure not in _MEASURES:
        raise ValueError(f"Unknown measure {measure!r:.40}; expected one of {', '.join(_MEASURES)}.")
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"Expected at least one number, and finite ones only; got {numbers!r:.80}.")
    try:
        result = _MEASURES[measure](numbers)
    except statistics.StatisticsError as error:
        raise ValueError(f"No {measure} of {numbers!r:.80}: {error}.") from error
    rounded = float(f"{result:.6g}") if abs(result) < 1e6 else round(result, 2)
    return int(rounded) if rounded.is_integer() else rounded
