"""Compares programs as a configuration says, and writes down what came of it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import dspy

from dspy_router.data.datasets import read_rows
from dspy_router.evaluation import plots
from dspy_router.evaluation.comparison import Comparison
from dspy_router.evaluation.comparison_plots import context_growth, quality_cost
from dspy_router.program.compare import compare
from dspy_router.program.comparing.settings import CompareConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """What came of a comparison.

    Attributes:
        comparison: What was found.
        files: What was written.
    """

    comparison: Comparison
    files: list[Path] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {**self.comparison.to_dict(), "files": [str(path) for path in self.files]}


def run_comparison(config: CompareConfig, makers: Sequence[Callable[..., Any]], metric: Callable[..., Any]) -> Compared:
    """Make the programs, compare them, and write runs, table, report and plots into the output folder.

    Args:
        config: What to do.
        makers: Makes each program of the configuration, in its order.
        metric: Judges the programs: called with an example and a prediction.

    Raises:
        FileNotFoundError: If a file of examples is not there.
        ImportError: If plots are wanted and matplotlib is not installed.
        TypeError: If a maker makes no program, or does not take its options.
        ValueError: If a setting makes no sense, an example lacks an input, two programs have one name, or a budget
            cannot be kept.
    """
    # Whatever can be refused is refused before the first run costs anything.
    if config.plots is not None:
        plots.check_format(config.plots)
    devset = _read(config)
    adapter = None if config.adapter is None else _adapter(config)
    folder = Path(config.output)
    settings: dict[str, Any] = {} if adapter is None else {"adapter": adapter}
    if config.lm is not None:
        settings["lm"] = dspy.LM(config.lm, **config.lm_options)
    with dspy.context(**settings):
        programs = [(one.name, maker(**one.options)) for one, maker in zip(config.programs, makers, strict=True)]
        comparison = compare(
            programs,
            devset,
            metric,
            label_field=config.label_field,
            minimum=config.minimum,
            path=folder / "runs.jsonl",
            max_usd=config.max_usd,
            prices=config.prices,
            num_threads=config.num_threads,
            level=config.level,
            seed=config.seed,
        )
    done = Compared(comparison, [folder / "runs.jsonl"])
    _write(config, done)
    return done


def _read(config: CompareConfig) -> list[dspy.Example]:
    inputs = config.data.inputs
    examples = []
    for path in config.data.files:
        for number, row in enumerate(read_rows(path), start=1):
            if missing := [name for name in inputs if name not in row]:
                raise ValueError(
                    f"{path}, object {number} lacks the input {', '.join(map(repr, missing))}; it has "
                    f"{', '.join(map(repr, row))}. data.inputs names the fields that are the programs' inputs."
                )
            examples.append(dspy.Example(**row).with_inputs(*inputs))
    return examples[: config.data.first]


def _adapter(config: CompareConfig) -> dspy.Adapter:
    name = str(config.adapter)
    found = getattr(dspy, name, None)
    if not (isinstance(found, type) and issubclass(found, dspy.Adapter)):
        every = [key for key, one in vars(dspy).items() if isinstance(one, type) and issubclass(one, dspy.Adapter)]
        near = get_close_matches(name, every, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(sorted(every))}."
        raise ValueError(f"adapter: DSPy has no adapter '{name}'; {hint}")
    return found(**config.adapter_options)


def _write(config: CompareConfig, done: Compared) -> None:
    """Table, plots, report: each whole or not at all, and the report, which names the others, last."""
    folder, comparison = Path(config.output), done.comparison
    folder.mkdir(parents=True, exist_ok=True)
    done.files.append(_write_text(folder / "programs.jsonl", comparison.to_json_lines()))
    if config.plots is not None and comparison.programs:
        metric = config.metric.rpartition(":")[2]
        done.files.append(plots.save(quality_cost(comparison, metric=metric), folder / f"quality_cost.{config.plots}"))
        if any(one.context for one in comparison.programs):
            done.files.append(plots.save(context_growth(comparison), folder / f"context_growth.{config.plots}"))
    report = folder / "comparison.json"
    done.files.append(report)
    _write_text(report, json.dumps(done.to_dict(), ensure_ascii=False, indent=1) + "\n")


def _write_text(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
