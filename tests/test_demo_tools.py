"""The demo's tools: right results on every bundled query, nothing executed, clear errors on bad input."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jsonschema
import pytest

from dspy_router.demo.clock import convert_time
from dspy_router.demo.dates import shift_date
from dspy_router.demo.help_pages import search_help
from dspy_router.demo.shop import find_products
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.demo.units import convert_units
from dspy_router.records import ToolCard

BY_NAME: dict[str, Callable[..., Any]] = {tool.__name__: tool for tool in TOOLS}


@cache
def cards() -> dict[str, ToolCard]:
    return {name: ToolCard.from_tool(tool) for name, tool in BY_NAME.items()}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", BY_NAME)
def test_every_bundled_call_is_valid_and_gives_the_expected_result(name, split):
    schema = jsonschema.Draft202012Validator(cards()[name].parameters)
    for row in load_queries(split):
        if row["tool"] == name:
            schema.validate(row["arguments"])
            assert BY_NAME[name](**row["arguments"]) == row["expected"], row["query"]


def test_there_are_enough_queries_of_every_tool():
    train, test = (Counter(row["tool"] for row in load_queries(split)) for split in ("train", "test"))
    assert set(train) == set(test) == {*BY_NAME, None}
    assert train[None] >= 80 and test[None] >= 40
    assert min(train[name] for name in BY_NAME) >= 40 and min(test[name] for name in BY_NAME) >= 15


def test_no_query_appears_twice():
    queries = [row["query"] for split in ("train", "test") for row in load_queries(split)]
    plain = Counter(" ".join(re.findall(r"\w+", query.casefold())) for query in queries)
    assert [query for query, times in plain.items() if times > 1] == []


def test_rows_without_a_tool_carry_nothing_else():
    rows = [*load_queries("train"), *load_queries("test")]
    assert all(set(row) == {"query", "tool"} for row in rows if row["tool"] is None)
    assert all(set(row) == {"query", "tool", "arguments", "expected"} for row in rows if row["tool"])


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"'dev'.*'train' or 'test'"):
        load_queries("dev")  # type: ignore[arg-type]


def test_importing_the_tools_loads_neither_torch_nor_dspy_nor_pint():
    code = "import sys, dspy_router.demo.tools; print({'torch', 'dspy', 'pint'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


def test_the_tools_may_be_called_from_many_threads():
    calls = [
        row for row in load_queries("test") if row["tool"] in {"search_help", "find_products", "monthly_sales"}
    ] * 5
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda row: BY_NAME[row["tool"]](**row["arguments"]), calls))
    assert results == [row["expected"] for row in calls]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("convert_units", ("12 parsnips", "km"), "12 parsnips"),
        ("convert_units", ("twelve", "km"), "such as '12 miles'"),
        ("convert_units", ("12 miles", "kg"), "Cannot convert"),
        ("convert_units", ("12 miles", "kilometters"), "Cannot convert"),
        ("number_statistics", ([], "mean"), "at least one number"),
        ("number_statistics", ([1], "variance"), "No variance"),
        ("number_statistics", ([1, float("nan")], "mean"), "finite"),
        ("number_statistics", ([1, 2], "middle"), "expected one of mean"),
        ("days_between", (["2024-01-01"],), "two dates"),
        ("days_between", (["2024-01-01", "2024-02-30"],), "2024-02-30"),
        ("weekday_of", ("next friday",), "such as 2024-03-12"),
        ("shift_date", ("2024-01-01", "soon"), "such as '90 days'"),
        ("shift_date", ("2024-01-01", "999999 years"), "outside the years"),
        ("convert_time", ("25:00 in Rome", "Oslo"), "0:00 to 23:59"),
        ("convert_time", ("13 pm in Rome", "Oslo"), "1 to 12"),
        ("convert_time", ("9:30 in Rome", "Oso"), "Did you mean Oslo"),
        ("convert_time", ("9:30", "Oslo"), "a time and its city"),
        ("monthly_sales", ("March",), "a month with its year"),
        ("monthly_sales", ("March 1999",), "The books run from 2023-01"),
        ("search_help", ("what is the",), "words to look for"),
        ("count_text", ("a", "commas"), "expected one of word"),
        ("transform_text", ("a", "bold"), "expected one of uppercase"),
        ("query_json", ("a.b", "{"), "not valid JSON"),
        ("query_json", ("user.nam", '{"user": {"name": 1}}'), "Did you mean 'name'"),
        ("query_json", ("a[3]", '{"a": [1]}'), "has 1 items"),
        ("query_json", ("a.b", '{"a": 1}'), "no object but int"),
        ("query_json", ("a; drop", '{"a": 1}'), "a path such as"),
    ],
)
def test_bad_input_gives_a_clear_error(name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BY_NAME[name](*arguments)


def test_a_missing_pint_names_the_extra_that_brings_it(monkeypatch):
    from dspy_router.demo import units

    units._registry.cache_clear()
    monkeypatch.setitem(sys.modules, "pint", None)
    with pytest.raises(ImportError, match=re.escape('pip install "dspy-router[demo]"')):
        convert_units("1 km", "mile")
    units._registry.cache_clear()


def test_summer_time_follows_the_date():
    winter, summer = convert_time("9:00 in New York", "Paris"), convert_time("9:00 in New York", "Paris", "2025-03-20")
    assert (winter["time"], summer["time"]) == ("15:00", "14:00")  # America changes its clocks two weeks earlier


def test_the_months_last_day_is_kept():
    assert shift_date("2024-01-31", "one month") == "2024-02-29"
    assert shift_date("2024-02-29", "1 year", "before") == "2023-02-28"


def test_search_survives_quotes_operators_and_long_texts():
    assert search_help('matcha" OR NOT (whisk* NEAR')["title"] == "Whisking matcha"
    assert search_help("caffeine " + "lorem ipsum " * 10_000)["title"] == "Caffeine in tea"
    assert search_help("xylophone") == {"title": "", "text": "No help page mentions this."}


def test_products_out_of_stock_or_too_dear_are_left_out():
    names = {row["name"] for row in find_products("kettle", 80)}
    assert names == {"Stovetop Kettle", "Gooseneck Kettle"}  # the compact one is sold out, the other costs 99 euros
