"""The demo's tools, and the queries written for them."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any, Literal

from dspy_router.demo.arithmetic import calculate
from dspy_router.demo.clock import convert_time
from dspy_router.demo.dates import days_between, shift_date, weekday_of
from dspy_router.demo.documents import query_json
from dspy_router.demo.figures import number_statistics
from dspy_router.demo.help_pages import search_help
from dspy_router.demo.shop import find_products, monthly_sales, opening_hours
from dspy_router.demo.texts import count_text, transform_text
from dspy_router.demo.units import convert_units

# All of them only read: whatever the router picks, nothing is changed.
TOOLS: tuple[Callable[..., Any], ...] = (
    calculate,
    convert_units,
    number_statistics,
    days_between,
    weekday_of,
    shift_date,
    convert_time,
    find_products,
    monthly_sales,
    opening_hours,
    search_help,
    count_text,
    transform_text,
    query_json,
)


def load_queries(split: Literal["train", "test"]) -> list[dict[str, Any]]:
    """Read the queries written for the tools.

    Args:
        split: `train` or `test`; the test queries are phrased differently.

    Returns:
        Rows with `query` and `tool`; where a tool fits also `arguments` and the `expected` result, a JSON value.
        `tool` is None where none of the tools answers.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; expected 'train' or 'test'.")
    text = resources.files("dspy_router.demo").joinpath("queries", f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
