"""What was asked of language models, by whom: calls and dollars, in whichever threads."""

from __future__ import annotations

import dspy
import pytest
from dspy.clients import costs
from dspy.utils.exceptions import LMError
from scripted import scripted_lm

from dspy_router.program.tuning.spending import Ledger

DOLLARS = 0.25


@pytest.fixture(autouse=True)
def _prices(monkeypatch):
    """DSPy knows no price of a scripted model; here every answer costs the same."""
    monkeypatch.setattr(costs, "estimate_cost", lambda *_, **__: (DOLLARS, {}))


@pytest.fixture
def ask():
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=scripted_lm()):
        yield lambda question: predict(question=question)


def test_nothing_asked_costs_nothing():
    with Ledger().watching() as ledger:
        pass
    assert (ledger.lm_calls, ledger.cost) == (0, 0.0)


def test_calls_and_dollars_add_up_and_stop_at_the_end(ask):
    with Ledger().watching() as ledger:
        ask("one?")
        ask("two?")
    ask("three?")
    assert (ledger.lm_calls, ledger.cost) == (2, 2 * DOLLARS)


def test_inner_and_outer_see_their_own(ask):
    with Ledger().watching() as outer:
        ask("one?")
        with Ledger().watching() as inner:
            ask("two?")
    assert (inner.lm_calls, inner.cost) == (1, DOLLARS)
    assert (outer.lm_calls, outer.cost) == (2, 2 * DOLLARS)


def test_the_threads_of_dspy_are_seen(ask):
    with Ledger().watching() as ledger:
        together = dspy.Parallel(num_threads=4, disable_progress_bar=True)
        together([(ask, (f"number {number}?",)) for number in range(20)])
    assert (ledger.lm_calls, ledger.cost) == (20, 20 * DOLLARS)


def test_an_answer_of_the_cache_is_a_call_without_a_cost():
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=scripted_lm().copy(cache=True)), Ledger().watching() as ledger:
        for _ in range(3):
            predict(question="the same?")
    assert (ledger.lm_calls, ledger.cost) == (3, DOLLARS)


def test_a_call_of_unknown_cost_makes_the_sum_unknown(ask, monkeypatch):
    with Ledger().watching() as ledger:
        ask("one?")
        monkeypatch.undo()
        ask("two?")
    assert (ledger.lm_calls, ledger.cost) == (2, None)


@pytest.mark.parametrize("settings", [{"disable_history": True}, {"max_history_size": 0}])
def test_where_dspy_keeps_no_history_the_cost_is_unknown(ask, settings):
    with dspy.context(**settings), Ledger().watching() as ledger:
        ask("one?")
    assert (ledger.lm_calls, ledger.cost) == (1, None)


def test_a_call_that_fails_was_a_call():
    def script(prompt):
        raise ConnectionError

    lm = scripted_lm(script=script, num_retries=0)
    with Ledger().watching() as ledger, pytest.raises(LMError), dspy.context(lm=lm):
        dspy.Predict("question -> answer")(question="one?")
    assert (ledger.lm_calls, ledger.cost) == (1, None)


def test_a_full_history_does_not_disturb(ask):
    with dspy.context(max_history_size=1), Ledger().watching() as ledger:
        for number in range(3):
            ask(f"number {number}?")
    assert ledger.cost == 3 * DOLLARS
