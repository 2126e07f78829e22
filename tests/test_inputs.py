"""What of a program's inputs the router reads."""

from __future__ import annotations

import dspy
import pytest

from dspy_router.program.inputs import check_routed, given_inputs, routed_fields, routed_inputs, routed_text
from dspy_router.program.synthesis import read_signature

SIGNATURE = read_signature("question, place: str | None, past: dspy.History, photo: dspy.Image, n: int -> answer")


def test_conversations_and_pictures_are_not_read():
    assert routed_fields(SIGNATURE) == ("question", "place", "n")
    given = {"past": dspy.History(messages=[]), "n": 3, "question": "when?"}
    assert routed_inputs(SIGNATURE, given) == {"question": "when?", "n": 3}
    assert routed_text(SIGNATURE, given) == "question: when?\nn: 3"


def test_unknown_inputs_are_left_out_and_told(caplog):
    assert given_inputs(SIGNATURE, {"qestion": "?", "n": 1, "question": "!", "max_iters": 3}) == {
        "question": "!",
        "n": 1,
    }
    assert "['qestion']" in caplog.text
    assert "max_iters" not in caplog.text


def test_something_must_be_readable():
    with pytest.raises(ValueError, match="none of the inputs is one: past"):
        check_routed(read_signature("past: dspy.History -> answer"))
    with pytest.raises(ValueError, match="expected an input among question, place, n"):
        routed_text(SIGNATURE, {"past": dspy.History(messages=[])})
