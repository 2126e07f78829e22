"""The command line's distill: a folder of a teacher, files of texts, and a student's folder."""

from __future__ import annotations

import json

import pytest
from routers import IDENTITY, hash_router
from typer.testing import CliRunner

from dspy_router import Router
from dspy_router.cli import app

FAST = [part for one in ("epochs=1", "dim=16", "hidden=4", "held_out=0.2", "variations=0") for part in ("--set", one)]


@pytest.fixture
def home(tmp_path):
    hash_router().save(tmp_path / "teacher")
    (tmp_path / "plain.txt").write_text("\n".join(f"what hour is it in town {n}\n" for n in range(20)))
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in IDENTITY))
    return tmp_path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["distill", *map(str, arguments)])
    return result.exit_code, result.output


def test_texts_of_several_files_make_a_student(home):
    code, output = call(home / "teacher", home / "plain.txt", home / "rows.jsonl", home / "student", *FAST, "--json")
    assert code == 0, output
    told = json.loads(output[output.index("{") :])
    assert told["texts"] + told["held_out"] == 20 + len(IDENTITY)
    student = Router.load(home / "student")
    assert student.tools == Router.load(home / "teacher").tools
    assert student.decide("what hour is it").probabilities.keys() == {"add_numbers", "clock"}


def test_without_json_it_says_what_to_do_next(home):
    code, output = call(home / "teacher", home / "plain.txt", home / "student", *FAST)
    assert code == 0, output
    assert "chooses as its teacher does" in output
    assert "dspy-router route" in output


def test_mistakes_are_one_sentence(home):
    code, output = call(home / "teacher", home / "nothing.txt", home / "student")
    assert (code, "nothing.txt" in output) == (1, True)
    (home / "wrong.jsonl").write_text('{"text": "what hour"}')
    code, output = call(home / "teacher", home / "wrong.jsonl", home / "student")
    assert (code, 'wrong.jsonl, line 1: expected a "query"' in output) == (1, True)
    code, output = call(home / "teacher", home / "plain.txt", home / "student", "--set", "epoch=3")
    assert (code, "did you mean 'epochs'" in output) == (1, True)
    assert not (home / "student").exists()
