"""Comparing programs: quality, tools, errors, budgets and prices, and what is refused."""

from __future__ import annotations

import dspy
import pytest
from compared import QUESTIONS, Known, N, quiet
from dspy.clients import costs
from scripted import scripted_lm
from toolbelt import LABELLED, TOOLS, examples, small_router

from dspy_router import DecisionLog, RoutedAgent


@pytest.fixture
def _dollar_a_call(monkeypatch):
    """DSPy knows no price of a scripted model."""
    monkeypatch.setattr(costs, "estimate_cost", lambda *_, **__: (1.0, {}))


@pytest.fixture(autouse=True)
def _scripted():
    with dspy.context(lm=scripted_lm()):
        yield


class TestQuality:
    def test_the_first_is_what_the_others_are_held_against(self):
        found = quiet({"all": Known(), "some": Known(QUESTIONS[:5])})
        assert found["all"].score == 1.0
        assert found["some"].score == pytest.approx((N - 5) / N)
        assert found["some"].difference == pytest.approx(-5 / N)
        (pair,) = found.pairs
        assert pair.p == pytest.approx(2 * 0.5**5)  # five examples on which only the first was right
        assert (found.stopped, found.examples) == (None, N)

    def test_a_metric_that_gives_shares_is_tested_otherwise(self):
        def share(example, prediction):
            return 0.5 if prediction.answer == "wrong" else 1.0

        found = quiet({"all": Known(), "some": Known(QUESTIONS[:8])}, share)
        assert found["some"].score == pytest.approx(1 - 8 / N / 2)
        assert found.pairs[0].test == "sign-flip permutation"
        assert found.pairs[0].p == pytest.approx(2 / 2**8)

    def test_examples_of_one_kind_twice_count_twice(self):
        twice = examples()[:2] * 2
        program = Known(QUESTIONS[:1])
        found = quiet({"a": program}, devset=twice)["a"]
        assert (found.n, found.score) == (4, 0.5)
        assert len(program.asked) == 4


class TestTools:
    def test_accuracy_where_there_are_labels(self):
        agent = RoutedAgent("question -> answer", TOOLS, router=small_router(), fallback=None)
        expected = [
            (agent.choose(question=question).tool or None) == tool for question, tool, _ in LABELLED
        ]  # threshold 0: all are acted on
        found = quiet({"routed": agent})["routed"]
        assert (found.labelled, found.tool_accuracy) == (N, pytest.approx(sum(expected) / N))

    def test_a_devset_without_labels_has_none(self):
        agent = RoutedAgent("question -> answer", TOOLS, router=small_router(), fallback=None)
        bare = [dspy.Example(question=one.question, answer=one.answer).with_inputs("question") for one in examples()]
        found = quiet({"routed": agent}, devset=bare)["routed"]
        assert (found.labelled, found.tool_accuracy) == (0, None)

    def test_a_program_that_does_not_tell_has_none(self):
        assert quiet({"a": Known()}, devset=examples()[:3], label_field="none of these")["a"].tool_accuracy is None

    def test_an_agent_is_only_tried_out(self, tmp_path):
        """Nothing is drawn, logged or checked."""
        log = tmp_path / "log.sqlite"
        agent = RoutedAgent("question -> answer", TOOLS, router=small_router(), fallback="lm", audit=1.0, log=log)
        found = quiet({"a": agent})
        assert found["a"].lm_calls == 1.0
        assert isinstance(agent.log, DecisionLog)
        agent.log.flush()
        assert not list(agent.log.episodes())


class TestErrors:
    def test_a_program_that_raises_on_some_counts_the_minimum_there_and_the_others_go_on(self):
        found = quiet({"good": Known(), "bad": Known(fails=QUESTIONS[:3])}, minimum=-1.0)
        bad = found["bad"]
        assert (bad.n, bad.errors) == (N, 3)
        assert bad.score == pytest.approx((N - 3 - 3) / N)
        assert str(bad.first_error).startswith("ValueError: cannot do")
        assert found["good"].score == 1.0

    def test_so_does_a_metric(self):
        def picky(example, prediction):
            if example.question == QUESTIONS[0]:
                raise KeyError("no answer")
            return True

        found = quiet({"a": Known()}, picky)["a"]
        assert (found.errors, found.score) == (1, pytest.approx((N - 1) / N))
        assert [run.failure for run in quiet({"a": Known()}, picky).runs if run.error] == ["metric"]

    def test_a_metric_that_gives_no_number_is_told(self):
        found = quiet({"a": Known()}, lambda example, prediction: None, devset=examples()[:1])["a"]
        assert "Does it return on every path?" in str(found.first_error)


@pytest.mark.usefixtures("_dollar_a_call")
class TestBudget:
    @pytest.mark.parametrize("num_threads", [1, 4])
    def test_it_is_kept_and_what_was_done_is_the_same_for_all(self, num_threads):
        found = quiet({"two": Known(calls=2), "one": Known(calls=1)}, max_usd=10.0, num_threads=num_threads)
        assert found.spent is not None and found.spent <= 10.0
        assert found.spent >= 8.0  # what is left would not pay for the next one
        assert "max_usd=10" in str(found.stopped)
        two, one = (found[name] for name in ("two", "one"))
        assert abs(two.n - one.n) <= 1 and found.examples == N

    def test_more_dollars_go_on_where_it_stopped(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        first = quiet({"a": Known(calls=1)}, max_usd=5.0, path=path, num_threads=1)
        assert (first["a"].n, first.spent) == (5, 5.0)
        more = quiet({"a": Known(calls=1)}, max_usd=8.0, path=path, num_threads=1)
        assert (more["a"].n, more.spent) == (8, 8.0)
        rest = quiet({"a": Known(calls=1)}, path=path)
        assert (rest["a"].n, rest.spent, rest.stopped) == (N, float(N), None)

    def test_a_metric_that_asks_a_language_model_pays_out_of_it_and_not_on_the_programs_bill(self):
        judge = dspy.Predict("answer -> verdict")

        def judged(example, prediction):
            return bool(judge(answer=str(prediction.answer)).verdict)

        found = quiet({"a": Known(calls=1)}, judged, max_usd=6.0, num_threads=1)
        assert (found["a"].n, found.spent) == (3, 6.0)
        assert (found["a"].lm_calls, found["a"].dollars) == (1.0, 3.0)

    def test_a_program_that_asks_nobody_costs_nothing(self):
        found = quiet({"a": Known()}, max_usd=0.01)
        assert (found["a"].n, found.spent, found.stopped) == (N, 0.0, None)


class TestUnknownPrice:
    def test_a_budget_is_refused_after_the_first_call(self):
        program = Known(calls=1)
        with pytest.raises(ValueError, match=r"max_usd=5 cannot be kept: neither DSPy nor LiteLLM knows .*scripted/mo"):
            quiet({"a": program}, max_usd=5.0)
        assert len(program.asked) == 1

    def test_without_a_budget_it_is_said(self):
        found = quiet({"a": Known(calls=1)}, devset=examples()[:2])
        assert (found["a"].dollars, found["a"].unpriced, found.spent) == (None, ("scripted/model",), None)

    def test_a_price_of_ones_own_is_taken(self):
        found = quiet({"a": Known(calls=1)}, prices={"scripted/model": (1e6, 1e6)}, max_usd=9.0, num_threads=1)
        assert (found["a"].n, found.spent) == (4, 8.0)  # a token in, a token out: two dollars a call


class TestMisuse:
    def test_two_programs_of_one_name(self):
        with pytest.raises(ValueError, match=r"Two programs are called 'a'.*rename one"):
            quiet([("a", Known()), ("b", Known()), ("a", Known())])

    def test_pairs_are_as_good_as_a_mapping(self):
        found = quiet([("a", Known()), ("b", Known())], devset=examples()[:2])
        assert [one.name for one in found.programs] == ["a", "b"]

    @pytest.mark.parametrize(
        ("programs", "error", "message"),
        [
            ({}, ValueError, "at least one program"),
            ({"a": print}, TypeError, "'a' must be a dspy.Module"),
            ({"": Known()}, TypeError, "must be a text"),
            ([Known()], TypeError, "pairs of a name and a program"),
            (Known(), TypeError, "a mapping of names to programs"),
        ],
    )
    def test_programs(self, programs, error, message):
        with pytest.raises(error, match=message):
            quiet(programs)

    def test_the_rest(self):
        with pytest.raises(ValueError, match="the devset is empty"):
            quiet({"a": Known()}, devset=[])
        with pytest.raises(TypeError, match="The metric must be a function"):
            quiet({"a": Known()}, "accuracy")
        with pytest.raises(TypeError, match="which fields are inputs"):
            quiet({"a": Known()}, devset=[dspy.Example(question="?")])
        with pytest.raises(ValueError, match=r"in \(0, 1\)"):
            quiet({"a": Known()}, level=95)
        with pytest.raises(ValueError, match="positive number of dollars"):
            quiet({"a": Known()}, max_usd=0)
        with dspy.context(disable_history=True), pytest.raises(ValueError, match="DSPy's history, which is switched"):
            quiet({"a": Known()})
