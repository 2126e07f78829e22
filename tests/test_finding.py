"""What `module:attribute` names: found in the working directory too, and a mistake is named with the nearest name."""

from __future__ import annotations

import pytest

from dspy_router.cli.finding import find_attribute, find_function


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "finding_things.py").write_text("NUMBER = 3\ndef make():\n    return NUMBER\n", encoding="utf-8")


def test_modules_of_the_working_directory_are_found():
    assert find_attribute("finding_things:NUMBER", "tools") == 3
    assert find_function("finding_things:make", "program")() == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "finding_things",
            "metric: expected module:attribute, such as my_package.my_module:name; got 'finding_things'",
        ),
        ("finding_things:mkae", "metric: the module 'finding_things' has no 'mkae'; did you mean 'make'?"),
        ("finding_things:NUMBER", "metric: 'finding_things:NUMBER' must name a function; it is 3."),
    ],
)
def test_a_mistake_is_named(source, message):
    with pytest.raises(ValueError, match="metric: ") as caught:
        find_function(source, "metric")
    assert message in str(caught.value)


def test_a_module_that_is_not_there():
    with pytest.raises(ImportError, match="no_such_module"):
        find_function("no_such_module:make", "metric")
