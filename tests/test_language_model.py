"""The language model of a run: chosen for the run alone, counted, and one clear sentence where it fails."""

from __future__ import annotations

import dspy
import pytest
from scripted import scripted_lm

from dspy_router.program.language_model import language_model


def ask() -> str:
    return dspy.Predict("question -> answer")(question="hello").answer


def test_calls_are_counted():
    with language_model(scripted_lm({"answer": "hi"})) as count:
        assert [ask(), ask()] == ["hi", "hi"]
    assert count.lm_calls == 2


def test_none_means_none_even_where_one_is_configured():
    configured = scripted_lm()
    with dspy.context(lm=configured):
        with language_model(None) as count, pytest.raises(ValueError, match="No LM is loaded"):
            ask()
        assert (count.lm_calls, configured.engine.requests) == (0, [])
        ask()  # afterwards it is back
    assert len(configured.engine.requests) == 1


def test_calls_made_elsewhere_are_not_counted():
    with language_model(scripted_lm()) as count:
        ask()
    with dspy.context(lm=scripted_lm()):
        ask()
    assert count.lm_calls == 1


def test_other_callbacks_stay():
    seen = []

    class Watch(dspy.utils.callback.BaseCallback):
        def on_lm_start(self, call_id, instance, inputs):
            seen.append(call_id)

    with dspy.context(callbacks=[Watch()]), language_model(scripted_lm()):
        ask()
    assert len(seen) == 1


def test_a_model_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    refused = pytest.raises(RuntimeError, match=r"The language model did not answer\..*OPENAI_API_KEY")
    with refused, language_model("openai/gpt-4o-mini"):
        ask()
