"""YAML → dataclass, strict: an unknown key is an error that names the nearest right one, a wrong type likewise."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """Which labelled queries to learn from; every file holds one `{"query", "tool"}` object a line.

    Attributes:
        train: Files to train on, read one after the other; `tool` is null in rows that no tool answers.
        val: Files to stop early by and to report on.
    """

    train: tuple[str, ...]
    val: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderConfig:
    """What turns texts into vectors.

    Attributes:
        name: `minilm`, `hash`, `gru`, `transformer`, or the name or path of a sentence-transformers model.
        options: Keyword arguments of the encoder, such as `dim`.
    """

    name: str = "minilm"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunConfig:
    """One training run: what `dspy-router train` does. Paths are relative to the working directory.

    Attributes:
        tools: Where the tools are: a file of cards, one `{"name", "description", "parameters"}` object a line, or
            `module:attribute` of a list of tools.
        data: The labelled queries.
        output: Folder the trained router is saved to.
        encoder: What turns texts into vectors.
        train: Fields of `TrainConfig`. They are checked when the run starts, as reading them would load torch.
        threshold: Least confidence of an accepted decision, in [0, 1].
    """

    tools: str
    data: DataConfig
    output: str
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    train: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be within [0, 1]; got {self.threshold}.")


@dataclass(frozen=True)
class ExamplesConfig:
    """Which examples to learn from; every file holds one JSON object a line, whose fields become a `dspy.Example`.

    Attributes:
        train: Files to learn from, read one after the other.
        inputs: The fields that are the program's inputs; the metric sees the others as well.
        val: Files to judge the outcome by; without any it is judged on the training examples.
        without: Fields to leave out, as if the files did not have them.
    """

    train: tuple[str, ...]
    inputs: tuple[str, ...]
    val: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptConfig:
    """What optimizes the prompts.

    Attributes:
        name: An optimizer of DSPy, such as `MIPROv2` or `GEPA`.
        options: Its keyword arguments. The metric is handed over; where a language model is asked for
            (`prompt_model`, `task_model`, `reflection_lm`) its name stands.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RouterConfig:
    """How the router is trained: arguments of `RouterOptimizer`.

    Attributes:
        max_rollouts: Most runs of the program with a tool forced; null: three an example.
        max_lm_calls: Most calls of language models in these runs; null: no limit.
        max_errors: How often the program or the metric may raise; null: DSPy's setting.
        num_threads: Threads that run the program; null: DSPy's setting.
        allow_destructive: Whether tools may be tried whose card says that they destroy something.
        costly: Names of tools to try on an example only when every other one was.
        label_field: The examples' field with the right tool, where some have one.
        exploration: Fields of `ExploreConfig`: how to spend the runs.
        train: Fields of `TrainConfig`. Both are checked when the run starts, as reading them would load torch.
    """

    max_rollouts: int | None = None
    max_lm_calls: int | None = None
    max_errors: int | None = None
    num_threads: int | None = None
    allow_destructive: bool = False
    costly: tuple[str, ...] = ()
    label_field: str = "tool"
    exploration: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizeConfig:
    """One optimization of a program by its own metric: what `dspy-router optimize` does.

    Attributes:
        program: `module:function` of a function without arguments that makes the program.
        metric: `module:function` of the metric, called with an example and a prediction.
        data: The examples.
        output: Folder for `program.json`, `report.json` and the plots.
        maximum: The most that the metric can give.
        lm: Language model, by the name that `dspy.LM` takes; null: the one that the program's module configures.
        prompt: What optimizes the prompts, in turns with the router; null: they stay as they are.
        turns: Most turns of router and prompts.
        router: How the router is trained.
        rollouts: File that keeps what was rolled out, so that a killed run goes on and the next one pays for new runs
            only; null: none.
        plots: Format of the plots, such as png or svg; null: none.
    """

    program: str
    metric: str
    data: ExamplesConfig
    output: str
    maximum: float = 1.0
    lm: str | None = None
    prompt: PromptConfig | None = None
    turns: int = 3
    router: RouterConfig = field(default_factory=RouterConfig)
    rollouts: str | None = None
    plots: str | None = "png"


def load_optimization(path: str | Path, overrides: Sequence[str] = ()) -> OptimizeConfig:
    """Read the configuration of an optimization; as `load_config`.

    Args:
        path: A YAML file.
        overrides: `key=value` texts that replace what the file says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML mapping, a key is unknown or missing, or a value is of the wrong type.
    """
    return parse(OptimizeConfig, apply_overrides(read_yaml(path), overrides), where=str(path))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read the configuration of a training run.

    Args:
        path: A YAML file.
        overrides: `key=value` texts that replace what the file says; dots reach into sections, and values are read
            as YAML: `train.epochs=3`, `data.val=[a.jsonl, b.jsonl]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML mapping, a key is unknown or missing, or a value is of the wrong type.
    """
    return parse(RunConfig, apply_overrides(read_yaml(path), overrides), where=str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid YAML, or no mapping.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no configuration file '{path}'{_nearest_file(Path(path))}.")
    data = _parse_yaml(Path(path).read_text(encoding="utf-8"), where=str(path))
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values, got {_describe(data)}.")
    return data


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Replace values by `key=value` texts; see `load_config`.

    Args:
        mapping: What to start from; it is left as it is.
        overrides: The texts.

    Raises:
        ValueError: If a text has no `=`, its value is not valid YAML, or it reaches into something without keys.
    """
    result: dict[str, Any] = dict(mapping)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"Expected key=value, such as train.epochs=3; got {text!r}.")
        *sections, last = key.strip().split(".")
        section = result
        for depth, name in enumerate(sections):
            inner = section.get(name, {})
            if not isinstance(inner, Mapping):
                reached = ".".join(sections[: depth + 1])
                raise ValueError(f"{text}: '{reached}' has no keys below it; it is {_describe(inner)}.")
            section[name] = section = dict(inner)
        section[last] = _parse_yaml(value, where=text)
    return result


def parse(cls: type[T], mapping: Mapping[str, Any], *, where: str) -> T:
    """Make a dataclass of a mapping, strictly: no unknown key, no value of another type than the field's.

    Nested dataclasses are read from nested mappings, tuples from lists; an integer may stand where a float is asked.

    Args:
        cls: The dataclass.
        mapping: Values by field name.
        where: What the mapping was read from, for the messages: a file, or a section of one.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of the wrong type; every fault is named.
    """
    faults = _unknown_keys(cls, mapping)
    if not faults:
        try:
            # By way of JSON, in which a list is the natural form of a tuple also where types are strict.
            return TypeAdapter(cls).validate_json(json.dumps(mapping, default=str), strict=True)
        except ValidationError as error:
            faults = _describe_faults(error, mapping)
    raise ValueError(f"{where}: {'; '.join(faults)}.")


def _unknown_keys(cls: type, mapping: Mapping[str, Any], prefix: str = "") -> list[str]:
    hints = get_type_hints(cls)
    names = [entry.name for entry in dataclasses.fields(cls)]
    faults = []
    for key, value in mapping.items():
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"expected one of {', '.join(names)}"
            faults.append(f"unknown key '{prefix}{key}' ({hint})")
        elif isinstance(value, Mapping):
            for kind in (hints[key], *get_args(hints[key])):
                if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                    faults += _unknown_keys(kind, value, f"{prefix}{key}.")
    return faults


def _describe_faults(error: ValidationError, mapping: Mapping[str, Any]) -> list[str]:
    faults: dict[tuple[str, str], list[str]] = {}
    for fault in error.errors():
        value: Any = mapping
        key = ""
        for part in fault["loc"]:
            # Where several types are allowed, the place ends in the name of the one that was tried.
            if isinstance(value, Mapping) and part in value:
                key, value = f"{key}.{part}" if key else str(part), value[part]
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                key, value = f"{key}[{part}]", value[part]
        if fault["type"] == "missing":
            faults[f"'{'.'.join(map(str, fault['loc']))}' is missing", ""] = []
        elif fault["type"] == "value_error":  # raised by the dataclass itself
            faults[str(fault.get("ctx", {}).get("error")).rstrip("."), ""] = []
        else:
            expected = fault["msg"].removeprefix("Input should be ")
            faults.setdefault((f"'{key}' should be ", f", got {_describe(value)}"), []).append(expected)
    return [start + " or ".join(dict.fromkeys(expected)) + end for (start, end), expected in faults.items()]


def _describe(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.60} ({type(value).__name__})"


def _nearest_file(path: Path) -> str:
    siblings = {entry.name: entry for entry in path.parent.glob("*.y*ml")} if path.parent.is_dir() else {}
    near = get_close_matches(path.name, siblings, n=1)
    return f"; did you mean '{siblings[near[0]]}'?" if near else ""


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-3 as the number it looks like; PyYAML follows YAML 1.1, where that is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str, *, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
