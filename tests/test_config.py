"""Configurations: what is read, and that a mistake is named with the file, the key and what would be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from dspy_router.config import (
    EncoderConfig,
    PromptConfig,
    RouterConfig,
    apply_overrides,
    load_config,
    load_optimization,
    parse,
    read_yaml,
)

MINIMAL = """
tools: cards.jsonl
data:
  train: [a.jsonl, b.jsonl]
output: out/x
"""


@pytest.fixture
def config_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_left_out_has_its_default(config_file):
    config = load_config(config_file(MINIMAL))
    assert config.data.train == ("a.jsonl", "b.jsonl")
    assert config.data.val == ()
    assert config.encoder == EncoderConfig("minilm", {})
    assert (config.train, config.threshold) == ({}, 0.0)


def test_overrides_reach_into_sections(config_file):
    config = load_config(
        config_file(MINIMAL + "train: {epochs: 5, seed: 1}\n"),
        ["train.epochs=3", "encoder.name=gru", "encoder.options.dim=64", "data.val=[v.jsonl]", "threshold=1"],
    )
    assert config.train == {"epochs": 3, "seed": 1}
    assert config.encoder == EncoderConfig("gru", {"dim": 64})
    assert config.data.val == ("v.jsonl",)
    assert config.threshold == 1.0


def test_an_override_may_hold_an_equals_sign():
    assert apply_overrides({}, ["a.b=x=y"]) == {"a": {"b": "x=y"}}


def test_overrides_leave_the_original_alone():
    original = {"train": {"epochs": 5}}
    assert apply_overrides(original, ["train.epochs=3"]) == {"train": {"epochs": 3}}
    assert original == {"train": {"epochs": 5}}


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2E5", 2e5), ("1.5e-4", 1.5e-4), ("e3", "e3")])
def test_exponents_are_numbers(text, value):
    assert apply_overrides({}, [f"rate={text}"]) == {"rate": value}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("treshold: 0.5", r"unknown key 'treshold' \(did you mean 'threshold'\?\)"),
        ("encoder: {nmae: gru}", r"unknown key 'encoder.nmae' \(did you mean 'encoder.name'\?\)"),
        ("encoder: {zzz: 1}", r"unknown key 'encoder.zzz' \(expected one of name, options\)"),
        ("threshold: high", r"'threshold' should be a valid number, got 'high' \(str\)"),
        ("threshold: '0.5'", r"'threshold' should be a valid number, got '0.5' \(str\)"),
        ("threshold: 1.5", r"threshold must be within \[0, 1\]; got 1.5"),
        ("threshold:", "'threshold' should be a valid number, got nothing"),
        ("encoder: gru", r"'encoder' should be an object, got 'gru' \(str\)"),
        ("train: 3", r"'train' should be an object, got 3 \(int\)"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_right(config_file, extra, message):
    with pytest.raises(ValueError, match=rf"run\.yaml: {message}"):
        load_config(config_file(f"{MINIMAL}{extra}\n"))


def test_every_mistake_is_named_at_once(config_file):
    with pytest.raises(ValueError, match=r"'data.train\[1\]' should be a valid string, got 3 .*'output' is missing"):
        load_config(config_file("tools: x\ndata: {train: [a, 3]}\n"))


def test_a_missing_file_names_the_nearest(config_file):
    path = config_file(MINIMAL)
    with pytest.raises(FileNotFoundError, match=r"no configuration file '.*runn\.yaml'; did you mean '.*run\.yaml'"):
        load_config(path.with_name("runn.yaml"))


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "not valid YAML"), ("- a", "expected a mapping"), ("", "got nothing")]
)
def test_what_is_no_mapping_is_refused(config_file, text, message):
    with pytest.raises(ValueError, match=message):
        read_yaml(config_file(text))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "Expected key=value, such as train.epochs=3; got 'epochs'"),
        ("=3", "Expected key=value"),
        ("output.folder=x", r"'output' has no keys below it; it is 'out/x' \(str\)"),
        ("threshold=[", "not valid YAML"),
    ],
)
def test_a_mistaken_override_is_named(config_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(config_file(MINIMAL), [override])


OPTIMIZE = """
program: my_package:make
metric: my_package:judge
data: {train: [a.jsonl], inputs: [question]}
output: out/x
"""


def test_an_optimization_leaves_the_prompts_alone_unless_told(config_file):
    config = load_optimization(config_file(OPTIMIZE))
    assert (config.prompt, config.lm, config.rollouts) == (None, None, None)
    assert config.router == RouterConfig()
    told = load_optimization(config_file(OPTIMIZE), ["prompt.name=GEPA", "prompt.options.auto=light"])
    assert told.prompt == PromptConfig("GEPA", {"auto": "light"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompt={nmae: GEPA}", r"unknown key 'prompt.nmae' \(did you mean 'prompt.name'\?\)"),
        ("prompt={options: {}}", "'prompt.name' is missing"),
        ("router.max_rollout=3", r"unknown key 'router.max_rollout' \(did you mean 'router.max_rollouts'\?\)"),
        ("data.inputs=question", r"'data.inputs' should be a valid array, got 'question' \(str\)"),
    ],
)
def test_a_mistake_in_an_optimization_is_named_also_in_a_section_that_may_be_missing(config_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_optimization(config_file(OPTIMIZE), [override])


@dataclass(frozen=True)
class Inner:
    size: int = 3


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"] = "a"
    path: Path | None = None
    inner: Inner = field(default_factory=Inner)


def test_any_dataclass_is_read():
    assert parse(Outer, {"kind": "b", "path": "x", "inner": {"size": 4}}, where="here") == Outer(
        "b", Path("x"), Inner(4)
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "c"}, r"here: 'kind' should be 'a' or 'b', got 'c' \(str\)\."),
        ({"inner": {"size": 4.5}}, r"here: 'inner.size' should be a valid integer, got 4.5 \(float\)\."),
        ({"inner": {"size": True}}, r"here: 'inner.size' should be a valid integer, got True \(bool\)\."),
        ({"path": 3}, r"here: 'path' should be .*, got 3 \(int\)\."),
    ],
)
def test_types_are_strict(mapping, message):
    with pytest.raises(ValueError, match=message):
        parse(Outer, mapping, where="here")
