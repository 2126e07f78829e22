"""Drift: what a monitor counts, when it says that something has changed, and when it keeps quiet."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from episodes import decided, episode

from dspy_router import Decision
from dspy_router.evaluation.drift import Monitor, judged
from dspy_router.evaluation.reference import Reference


def sure(confidence: float, *, kept: bool = True) -> Decision:
    return Decision("add", {"add": confidence, "clock": (1 - confidence) / 2}, (1 - confidence) / 2, accepted=kept)


def stream(rng: random.Random, n: int, *, ease: float = 5.0, bar: float = 0.7):
    """Decisions whose confidence is Beta(ease, 1), kept from a bar on."""
    for _ in range(n):
        confidence = max(0.34, rng.betavariate(ease, 1))
        yield sure(confidence, kept=confidence >= bar)


def findings(monitor):
    return {finding.subject: finding for finding in monitor.report()}


class TestRisk:
    def test_only_checked_and_kept_decisions_count(self):
        monitor = Monitor(max_risk=0.1)
        for decision, right in [
            (sure(0.9), True),
            (sure(0.9), None),
            (sure(0.5, kept=False), False),
            (sure(0.8), False),
        ]:
            monitor.update(decision, right)
        risk = findings(monitor)["risk"]
        assert (risk.seen, risk.value, risk.reference) == (2, 0.5, 0.1)
        assert findings(monitor)["escalated"].seen == 4

    def test_the_evidence_by_hand(self):
        """After one wrong decision: each stake λ gives 1 + 0.9λ, weighed by 1 − 1/log(1 + e); the rest is kept."""
        monitor = Monitor(max_risk=0.1)
        monitor.update(sure(0.9), False)
        begun = 1 - 1 / math.log(1 + math.e)
        stakes = [(mean - 0.1) / 0.09 for mean in (0.15, 0.2, 0.3, 0.5, 0.55)]
        expected = begun * np.mean([1 + 0.9 * stake for stake in stakes]) + 1 - begun
        assert findings(monitor)["risk"].evidence == pytest.approx(expected)
        assert findings(monitor)["risk"].needed == pytest.approx(60)  # three tests share 5 %

    def test_it_says_when_too_many_kept_decisions_are_wrong_and_goes_on_saying_so(self):
        monitor = Monitor(max_risk=0.02)
        for number in range(300):
            monitor.update(sure(0.9), number % 10 > 0)
        assert monitor.alarm == ("risk",)
        found = findings(monitor)["risk"].alarm_after
        assert found is not None and 20 < found < 200
        for _ in range(1000):
            monitor.update(sure(0.9), True)
        assert monitor.alarm == ("risk",)
        assert findings(monitor)["risk"].alarm_after == found

    def test_it_keeps_quiet_as_long_as_errors_are_rare(self):
        monitor = Monitor(max_risk=0.05)
        for number in range(2000):
            monitor.update(sure(0.9), number % 25 > 0)  # 4 %
        assert "risk" not in monitor.alarm

    def test_the_errors_of_the_checks_are_allowed_for(self):
        strict, lenient = (Monitor(max_risk=0.02, check_error=error) for error in (0.0, 0.04))
        for number in range(1000):
            for monitor in (strict, lenient):
                monitor.update(sure(0.9), number % 18 > 0)  # 5.6 % disagree
        assert ("risk" in strict.alarm, "risk" in lenient.alarm) == (True, False)

    def test_checks_of_known_propensity_are_weighed(self):
        """Unsure ones are checked always and are wrong, sure ones in a tenth of the cases and right: 2 % in all."""
        rng = random.Random(0)
        weighed, plain = Monitor(max_risk=0.04, check_rate=0.1), Monitor(max_risk=0.04)
        for number in range(4000):
            unsure = number % 50 == 0
            propensity = 1.0 if unsure else 0.1
            right = (not unsure) if rng.random() < propensity else None
            weighed.update(sure(0.9), right, propensity=propensity)
            plain.update(sure(0.9), right)
        assert ("risk" in plain.alarm, "risk" in weighed.alarm) == (True, False)
        assert findings(weighed)["risk"].value == pytest.approx(0.02)
        with pytest.raises(ValueError, match=r"between check_rate, 0.1, and 1; got 0.05"):
            weighed.update(sure(0.9), True, propensity=0.05)

    def test_weighed_checks_find_what_there_is(self):
        rng = random.Random(0)
        monitor = Monitor(max_risk=0.02, check_rate=0.5)
        for _ in range(3000):
            right = rng.random() > 0.06 if rng.random() < 0.5 else None
            monitor.update(sure(0.9), right, propensity=0.5)
        assert "risk" in monitor.alarm


class TestDistribution:
    def test_false_alarms_are_as_rare_as_promised_with_a_small_reference_too(self):
        """Of 200 streams at most 5 % may alarm; 19 would be beyond what chance makes of that (at 0.5 %)."""
        false = 0
        for seed in range(200):
            rng = random.Random(seed)
            monitor = Monitor(reference=Reference.of(stream(rng, 50)), seed=seed)
            for decision in stream(rng, 400):
                monitor.update(decision)
            false += bool(monitor.alarm)
        assert false < 19

    @pytest.mark.parametrize("with_reference", [True, False])
    def test_it_notices_that_decisions_become_less_sure(self, with_reference):
        rng = random.Random(0)
        monitor = Monitor(reference=Reference.of(stream(rng, 1000)) if with_reference else None)
        for decision in stream(rng, 1000):
            monitor.update(decision)
        assert not monitor.alarm
        for decision in stream(rng, 600, ease=2.0):
            monitor.update(decision)
        assert set(monitor.alarm) == {"escalated", "confidence"}
        if with_reference:
            escalated = findings(monitor)["escalated"]
            assert escalated.reference == pytest.approx(0.7**5, abs=0.04)
            assert escalated.value is not None and escalated.value > 0.2
        confidence = findings(monitor)["confidence"].value
        assert confidence is not None and confidence < 0.48


def test_it_goes_on_after_a_restart_as_if_there_had_been_none():
    rng = random.Random(0)
    reference = Reference.of(stream(rng, 100))
    steady = Monitor(max_risk=0.1, reference=reference, check_error=0.01, check_rate=0.5, seed=3)
    restarted = Monitor.from_dict(json.loads(json.dumps(steady.to_dict())))
    for number, decision in enumerate(stream(rng, 200)):
        right = None if number % 3 else number % 5 > 0
        steady.update(decision, right, propensity=0.5)
        restarted.update(decision, right, propensity=0.5)
        restarted = Monitor.from_dict(json.loads(json.dumps(restarted.to_dict())))
    assert restarted.to_dict() == steady.to_dict()
    assert restarted.report() == steady.report()


class TestLogs:
    def test_what_a_log_says_of_the_routers_own_decisions(self):
        kept, labelled = decided("add"), replace(episode("x", decided("add")), labels=(("clock",),))
        lm = replace(decided("add"), tool="clock", source="lm")
        assert judged(episode("x", kept)) == (kept, None)
        assert judged(replace(labelled, labels=(("add", "clock"),))) == (labelled.decisions[0], True)
        assert judged(labelled) == (labelled.decisions[0], False)
        none = replace(episode("x", decided(None)), labels=((),))
        assert judged(none) == (none.decisions[0], True)
        handed_over = judged(replace(episode("x", lm), labels=(("clock",),)))
        assert handed_over is not None
        assert (handed_over[0].tool, handed_over[0].accepted, handed_over[1]) == ("add", False, None)

    def test_beside_a_language_model_the_shadow_is_judged_by_what_that_chose(self):
        lm = decided("clock", source="lm", audited=True)
        shadow = decided("add")
        assert judged(episode("x", lm), shadow) == (shadow, False)
        assert judged(episode("x", lm), decided("clock")) != (shadow, False)
        failed = replace(lm, error="TimeoutError: 3 s")
        assert judged(episode("x", failed), shadow) == (shadow, None)
        assert judged(replace(episode("x", failed), labels=(("add",),)), shadow) == (shadow, True)

    def test_what_was_drawn_to_explore_is_not_the_routers_own(self):
        drawn = Decision("clock", {"add": 0.9, "clock": 0.05}, 0.05, propensity=0.1)
        assert judged(episode("x", drawn)) is None
        assert judged(episode("x", decided("clock", source="lm", audited=True))) is None

    def test_a_monitor_over_a_log(self):
        right, wrong = (replace(episode("x", decided("add", 0.9)), labels=((name,),)) for name in ("add", "clock"))
        shadowed = (episode("x", decided("clock", source="lm")), decided("add", 0.9))
        monitor = Monitor.over([right, wrong, shadowed, episode("x", decided("add", 0.9))], max_risk=0.02)
        risk = findings(monitor)["risk"]
        assert (risk.seen, risk.value) == (3, pytest.approx(2 / 3))
        assert findings(monitor)["escalated"].seen == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_risk": 0.0}, r"max_risk must be within \(0, 1\); got 0.0"),
        ({"confidence": 1.0}, r"confidence must be within \(0, 1\); got 1.0"),
        ({"check_rate": 0.0}, "check_rate in"),
        ({"max_risk": 0.5, "check_error": 0.5}, "together must be below 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Monitor(**settings)
