"""Files of labelled queries and tool cards: what is read, and that a bad line is named."""

from __future__ import annotations

import pytest

from dspy_router.data.datasets import read_cards, read_examples, read_rows
from dspy_router.records import ToolCard


@pytest.fixture
def file(tmp_path):
    def write(name: str, text: str):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_files_are_read_one_after_the_other(file):
    first = file("a.jsonl", '{"query": "2 + 3", "tool": "add"}\n\n{"query": "grüß dich", "tool": null, "note": 1}\n')
    second = file("b.jsonl", '{"query": "x", "tool": ["add", "sum"]}')
    examples = read_examples(first, str(second))
    assert [example.text for example in examples] == ["2 + 3", "grüß dich", "x"]
    assert [example.labels for example in examples] == [(("add",),), ((),), (("add", "sum"),)]


def test_cards_are_read_with_and_without_parameters(file):
    path = file("tools.jsonl", '{"name": "a"}\n{"name": "b", "description": "B.", "parameters": {"type": "object"}}')
    assert read_cards(path) == [ToolCard("a"), ToolCard("b", "B.", {"type": "object"})]


def test_rows_are_read_as_they_are(file):
    path = file("rows.jsonl", '{"question": "x", "answer": [1, null]}\n\n{"other": true}')
    assert read_rows(path) == [{"question": "x", "answer": [1, None]}, {"other": True}]
    with pytest.raises(ValueError, match="line 1: expected a JSON object"):
        read_rows(file("bad.jsonl", "[1]"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'query': 'x'}", "line 2: Expecting property name"),
        ("[1]", r"line 2: expected a JSON object, got '\[1\]'"),
        ('{"query": "x"}', r"line 2: expected a field 'tool' \(null where no tool fits\), got the fields \['query'\]"),
        ('{"query": "x", "tool": 3}', "line 2: A label must be"),
    ],
)
def test_a_bad_line_is_named(file, line, message):
    path = file("a.jsonl", f'{{"query": "x", "tool": "add"}}\n{line}\n')
    with pytest.raises(ValueError, match=message):
        read_examples(path)


def test_a_file_that_is_empty_or_not_there(file, tmp_path):
    with pytest.raises(ValueError, match="is empty"):
        read_examples(file("a.jsonl", "\n"))
    with pytest.raises(FileNotFoundError, match=r"no file '.*b\.jsonl'"):
        read_examples(tmp_path / "b.jsonl")


def test_a_card_without_a_name_is_named_by_its_line(file):
    with pytest.raises(ValueError, match="line 1: A tool given as a mapping needs a 'name'"):
        read_cards(file("tools.jsonl", '{"description": "x"}'))
