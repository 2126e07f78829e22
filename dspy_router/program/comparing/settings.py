"""The configuration of a comparison: which programs, on which examples, by which metric, for how many dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dspy_router.config import apply_overrides, parse, read_yaml


@dataclass(frozen=True)
class ProgramConfig:
    """A program that is compared.

    Attributes:
        name: What to call it.
        make: `module:function` of a function that makes it.
        options: Keyword arguments of the function.
    """

    name: str
    make: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DevsetConfig:
    """Which examples to compare on; every file holds one JSON object a line, whose fields become a `dspy.Example`.

    Attributes:
        files: The files, read one after the other.
        inputs: The fields that are the programs' inputs; the metric sees the others as well.
        first: Take only so many examples, the first ones; None for all.
    """

    files: tuple[str, ...]
    inputs: tuple[str, ...]
    first: int | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.first < 1:
            raise ValueError(f"data.first must be at least 1, or null for all examples; got {self.first}.")


@dataclass(frozen=True)
class CompareConfig:
    """One comparison: what `dspy-router compare` does. Paths are relative to the working directory.

    Attributes:
        programs: The programs; the first is what the others are held against.
        metric: `module:function` of the metric, called with an example and a prediction.
        data: The examples.
        output: Folder for `runs.jsonl`, `programs.jsonl`, `comparison.json` and the plots.
        lm: Language model, by the name that `dspy.LM` takes; None: the one that a program's module configures, if any.
        lm_options: Keyword arguments of `dspy.LM`.
        adapter: An adapter of DSPy, such as `ChatAdapter`; None for DSPy's own choice.
        adapter_options: Its keyword arguments.
        label_field: The examples' field with the right tool, where they have one.
        minimum: What a run counts in which the program or the metric raised.
        max_usd: Dollars that all runs together may cost; None for no limit.
        prices: Dollars for a million tokens of prompts and of answers, by model, where no table has them.
        num_threads: Threads; None: DSPy's setting. One for latencies as a single user would see them.
        level: Confidence of the intervals.
        seed: What resampling starts from.
        plots: Format of the plots, such as png or svg; None: none.
    """

    programs: tuple[ProgramConfig, ...]
    metric: str
    data: DevsetConfig
    output: str
    lm: str | None = None
    lm_options: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    adapter_options: Mapping[str, Any] = field(default_factory=dict)
    label_field: str = "tool"
    minimum: float = 0.0
    max_usd: float | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    num_threads: int | None = None
    level: float = 0.95
    seed: int = 0
    plots: str | None = "png"


def load_comparison(path: str | Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read the configuration of a comparison; as `load_config`.

    Args:
        path: A YAML file.
        overrides: `key=value` texts that replace what the file says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML mapping, a key is unknown or missing, or a value is of the wrong type.
    """
    mapping = apply_overrides(read_yaml(path), overrides)
    rows = mapping.get("programs")
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, Mapping):  # one by one, so that a misspelt key in a list is found as well
            parse(ProgramConfig, row, where=f"{path}, programs[{number}]")
    return parse(CompareConfig, mapping, where=str(path))
