"""The configuration of a comparison: strict, also inside its list of programs."""

from __future__ import annotations

import pytest
import yaml

from dspy_router.program.comparing.settings import CompareConfig, DevsetConfig, ProgramConfig, load_comparison

LEAST = {
    "programs": [{"name": "a", "make": "my_module:make"}],
    "metric": "my_module:metric",
    "data": {"files": ["devset.jsonl"], "inputs": ["question"]},
    "output": "out",
}


@pytest.fixture
def write(tmp_path):
    def write(**changes) -> str:
        path = tmp_path / "compare.yaml"
        path.write_text(yaml.safe_dump({**LEAST, **changes}), encoding="utf-8")
        return str(path)

    return write


def test_the_least_that_must_be_said(write):
    assert load_comparison(write()) == CompareConfig(
        (ProgramConfig("a", "my_module:make"),),
        "my_module:metric",
        DevsetConfig(("devset.jsonl",), ("question",)),
        "out",
    )


def test_values_are_replaced_and_prices_are_pairs(write):
    config = load_comparison(write(prices={"my/model": [0.15, 1]}), ["max_usd=2", "data.first=10"])
    assert (config.max_usd, config.data.first, dict(config.prices)) == (2, 10, {"my/model": (0.15, 1.0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_us": 3}, r"unknown key 'max_us' \(did you mean 'max_usd'\?\)"),
        ({"programs": [{"name": "a", "make": "m:f", "opts": {}}]}, r"programs\[0\]: unknown key 'opts'"),
        ({"programs": [{"name": "a"}]}, r"programs\[0\]: 'make' is missing"),
        ({"prices": {"m": [1]}}, "prices"),
        ({"data": {"files": ["x"], "inputs": ["q"], "first": 0}}, "data.first must be at least 1"),
        ({"num_threads": "four"}, "num_threads"),
    ],
)
def test_a_mistake_is_named(write, changes, message):
    with pytest.raises(ValueError, match=message):
        load_comparison(write(**changes))
