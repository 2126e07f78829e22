"""The loop: what a log teaches, what is kept apart, and when a challenger may not take over."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from routers import CARDS, hash_router

from dspy_router import Decision, Episode, Router, TrainConfig, fit
from dspy_router.learning.loop import LoopConfig, learn

ADD, CLOCK = (card.name for card in CARDS)
QUICK = TrainConfig(epochs=2, progress=False)
# Words of no card: only the log can tell which tool they go with.
WORDS = {ADD: "tally", CLOCK: "dusk", None: "poem"}


def query(tool: str | None, number: int) -> str:
    return f"{WORDS[tool]} item{number} please"


def handed_over(tool: str | None, number: int, **changes: Any) -> Episode:
    """A query that went to the language model, which chose rightly."""
    decision = Decision(tool, {ADD: 0.4, CLOCK: 0.3}, 0.3, source="lm", id=f"{tool}-{number}")
    return Episode({"query": query(tool, number)}, decisions=(replace(decision, **changes),))


def log(count: int = 60, **changes: Any) -> list[Episode]:
    return [handed_over(tool, number, **changes) for number in range(count) for tool in (ADD, CLOCK, None)]


def right(router: Router, first: int = 1000) -> float:
    rows = [(tool, query(tool, first + number)) for number in range(10) for tool in WORDS]
    made = router.uncalibrated().decide_batch([text for _, text in rows])
    return sum(one.tool == tool for one, (tool, _) in zip(made, rows, strict=True)) / len(rows)


def test_what_the_language_model_chose_becomes_what_the_router_chooses():
    champion = hash_router()
    before = right(champion)
    challenger, report = learn(champion, log(), train=QUICK)
    assert report.promote, report.reasons
    assert right(challenger) == 1.0 > before
    assert right(champion) == before  # left as it was
    (comparison,) = report.comparisons
    assert comparison.on == "labels"
    assert comparison.low > 0
    assert report.labels == 180
    assert report.to_dict()["promote"] is True


def test_a_label_by_hand_counts_more_than_what_the_language_model_chose():
    wrong = [replace(handed_over(CLOCK, number), labels=((ADD,),)) for number in range(60)]
    challenger, _ = learn(hash_router(), [*wrong, *(handed_over(None, number) for number in range(60))], train=QUICK)
    assert challenger.uncalibrated().decide(query(CLOCK, 2000)).tool == ADD


@pytest.mark.parametrize(
    "spoilt",
    [{"decisions": (Decision(None, {ADD: 0.5}, 0.5, source="lm", error="Timeout: no answer"),)}, {"reward": 0.0}],
    ids=["it failed", "it earned nothing"],
)
def test_a_bad_choice_of_the_language_model_is_no_label(spoilt):
    good = [replace(one, reward=1.0) for one in log(40)]
    spoilt_ones = [replace(handed_over(CLOCK, 100 + number), **spoilt) for number in range(30)]
    _, report = learn(hash_router(), [*good, *spoilt_ones], train=QUICK)
    assert report.labels == len(good)


def test_audited_decisions_calibrate_and_are_never_trained_on():
    audited = [handed_over(tool, 500 + number, audited=True) for number in range(30) for tool in WORDS]
    again = [handed_over(ADD, 500, id="the same text, not audited")]
    acted = [handed_over(ADD, 900, source="router")]
    challenger, report = learn(hash_router(), [*log(), *audited, *again, *acted], train=QUICK)
    assert report.calibration is not None
    assert report.calibration.examples == len(audited)
    assert not challenger.seen.among([one.text for one in audited])
    assert challenger.seen.among([one.text for one in log()])
    assert challenger.calibration is not None
    assert challenger.stale is None


def test_what_was_handed_over_by_an_unsure_router_does_not_calibrate():
    """It is harder than the rest: without audits there is nothing that stands for all queries."""
    acted = [handed_over(ADD, 900 + number, source="router") for number in range(5)]
    challenger, report = learn(hash_router(), [*log(), *acted], train=QUICK)
    assert report.calibration is None
    assert challenger.calibration is None
    _, report = learn(hash_router(), [*log(), *acted], train=QUICK, config=LoopConfig(max_risk=0.2))
    assert not report.promote
    assert "guarantee could not be certified" in report.reasons[-1]


def test_a_guarantee_that_is_asked_for_must_be_certified_anew():
    _, report = learn(hash_router(), log(100), train=QUICK, config=LoopConfig(max_risk=0.2))
    assert report.promote, report.reasons
    assert report.calibration is not None
    assert report.calibration.certified
    _, report = learn(hash_router(), log(100), train=QUICK, config=LoopConfig(max_risk=0.001))
    assert not report.promote
    assert "guarantee could not be certified" in report.reasons[0]


def calibrated(**settings: Any) -> Router:
    """A champion that is certified for what the settings ask, at least where it is trained on a hundred of each."""
    champion = hash_router()
    rows = [{"query": query(tool, number), "tool": tool} for number in range(2000, 2040) for tool in WORDS]
    fit(champion, rows, config=QUICK)
    unseen = [{"query": query(tool, number), "tool": tool} for number in range(3000, 3100) for tool in WORDS]
    assert champion.calibrate(unseen, **settings).certified in (True, None)
    return champion


def test_what_the_champion_guarantees_is_certified_for_the_challenger_too():
    champion = calibrated(max_risk=0.2, per_tool={ADD: 0.1}, confidence=0.97)
    challenger, report = learn(champion, log(250), train=QUICK)
    assert report.promote, report.reasons
    assert challenger.calibration is not None
    assert champion.calibration is not None
    assert {(one.tool, one.max_risk) for one in challenger.calibration.certificates} == {(None, 0.2), (ADD, 0.1)}
    pairs = zip(challenger.calibration.certificates, champion.calibration.certificates, strict=True)
    assert all(new.confidence == pytest.approx(old.confidence) for new, old in pairs)


def test_a_tools_own_bound_is_not_lost_without_a_word():
    champion = calibrated(max_risk=0.2, per_tool={ADD: 0.1})
    _, report = learn(champion, log(60), train=QUICK)  # too few of that tool to calibrate on
    assert not report.promote
    assert f"could not be certified for the challenger: at most 10.00% for {ADD} wrong" in report.reasons[-1]


def test_a_router_that_hands_over_by_costs_is_not_replaced_by_one_that_does_not():
    _, report = learn(calibrated(costs=(10, 1)), log(), train=QUICK)
    assert not report.promote
    assert "hands over by costs" in report.reasons[-1]


def test_known_examples_are_kept_apart_from_what_compares_and_calibrates():
    known = [{"query": one.text, "tool": one.decisions[0].tool} for one in log()]
    challenger, report = learn(hash_router(), log(), known=known, train=QUICK)
    assert report.calibration is not None
    assert report.calibration.dropped == 0
    assert len(challenger.seen) < len(known)


def test_a_challenger_that_may_be_worse_is_refused():
    champion = hash_router()
    fit(champion, [{"query": query(tool, number), "tool": tool} for number in range(40) for tool in WORDS])
    confusing = [{"query": query(CLOCK, 300 + number), "tool": ADD} for number in range(400)]
    _, report = learn(champion, log(), known=confusing, train=QUICK)
    assert not report.promote
    assert "may be worse by more than 0.01: By labels, on " in report.reasons[0]


def test_too_little_to_compare_on_is_no_reason_to_promote():
    _, report = learn(hash_router(), log(6), train=QUICK)
    assert not report.promote
    assert "nothing to compare on" in report.reasons[0]


def test_an_empty_log_changes_nothing():
    champion = hash_router()
    challenger, report = learn(champion, [Episode({"query": "hello"})])
    assert not report.promote
    assert report.reasons == ("The log has no label and no reward to learn from.",)
    assert challenger.decide("hello").probabilities == champion.decide("hello").probabilities


def test_tools_that_are_gone_are_left_out_aloud(caplog):
    gone = replace(handed_over(ADD, 1), decisions=(Decision("fax", {ADD: 1.0}, 0.0, source="lm", id="f"),))
    with caplog.at_level(logging.WARNING):
        _, report = learn(hash_router(), [*log(), gone], train=QUICK)
    assert report.labels == 180
    assert "1 logged decisions are left out" in caplog.text


def explored(number: int, tool: str | None, *, propensity: float) -> Episode:
    """A query about the time, for which the router drew a tool."""
    own = Decision(tool, {ADD: 0.5, CLOCK: 0.3}, 0.2, propensity=propensity, id=f"x-{number}-{tool}")
    return Episode({"query": query(CLOCK, number)}, decisions=(own,), reward=float(tool == CLOCK))


def test_rewards_of_an_exploring_router_compare_by_snips_and_doubly_robust():
    draws = [explored(number, ADD, propensity=0.7) for number in range(140)]
    draws += [explored(200 + number, CLOCK, propensity=0.3) for number in range(60)]
    champion = hash_router()
    fit(champion, [{"query": query(CLOCK, number), "tool": ADD} for number in range(300, 340)] + [
        {"query": query(None, number), "tool": None} for number in range(40)
    ])  # fmt: skip
    challenger, report = learn(champion, draws, train=QUICK)
    assert challenger.decide(query(CLOCK, 2000)).tool == CLOCK
    assert [one.on for one in report.comparisons] == ["rewards (SNIPS)", "rewards (DR)"]
    for one in report.comparisons:
        assert one.difference == pytest.approx(1, abs=1e-3)  # the champion earns 0, the challenger 1
    assert report.rewards == len(draws)
    assert report.promote, report.reasons


def test_rewards_of_a_router_that_never_explored_do_not_compare():
    draws = [explored(number, (ADD, CLOCK)[number % 2], propensity=1.0) for number in range(150)]
    _, report = learn(hash_router(), draws, train=QUICK)
    assert report.comparisons == ()
    assert not report.promote


def test_a_log_of_one_kind_teaches_nothing_and_says_so():
    _, report = learn(hash_router(), [handed_over(ADD, number) for number in range(30)], train=QUICK)
    assert not report.promote
    assert report.reasons[0].startswith("The log teaches nothing: All ")


def test_a_log_of_hashes_is_refused():
    hashed = [replace(one, inputs={"sha256": "0" * 64}) for one in log(2)]
    with pytest.raises(ValueError, match="keeps hashes in place of the inputs"):
        learn(hash_router(), hashed)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"holdout is a share and must be within \(0, 1\); got 0"):
        LoopConfig(holdout=0)
    with pytest.raises(ValueError, match="margin is how much worse"):
        LoopConfig(margin=-0.1)
