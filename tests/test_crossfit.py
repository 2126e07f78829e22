"""Cross-fitting: every lesson judged by a policy that has not seen it."""

from __future__ import annotations

from typing import cast

import torch
from routers import CARDS, IDENTITY, BilinearPolicy, hash_router, quick, small

from dspy_router import HashEncoder, Router, fit
from dspy_router.learning.crossfit import crossfit, fit_novelty
from dspy_router.learning.lessons import Lessons
from dspy_router.routing.novelty import Novelty, NoveltyPolicy
from dspy_router.routing.policies import ToolSpacePolicy

OBJECTIVE = "soft_expected_reward"
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
CITIES = ["Oslo", "Rome", "Lima", "Paris", "Bonn", "Cairo", "Delhi", "Dublin", "Lagos", "Lisbon", "London", "Madrid"]
THINGS = ["song", "poem", "joke", "tale", "riddle", "rhyme", "ballad", "hymn", "verse", "limerick", "sonnet", "ode"]


def rows(nones: int = 24):
    sums = [{"query": f"{a} plus {b}", "tool": "add_numbers"} for a in NUMBERS for b in NUMBERS[:3]]
    hours = [{"query": f"what hour is it in {c} {w}", "tool": "clock"} for c in CITIES for w in ("now", "please")]
    songs = [{"query": f"{verb} me a {t}", "tool": None} for t in THINGS for verb in ("sing", "tell")]
    return [*sums, *hours, *songs[:nones]]


def lessons(nones: int = 24) -> Lessons:
    return Lessons.read(rows(nones), hash_router().tools)


class TestCrossfit:
    def test_no_text_is_judged_by_a_policy_that_learned_it(self):
        """Labels drawn at random can be learned by heart but not foreseen: half of the unseen ones are right."""
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(10**9, (40,), generator=generator).tolist()
        tools = torch.randint(2, (40,), generator=generator).tolist()
        random = [{"query": f"q{code}", "tool": CARDS[tool].name} for code, tool in zip(codes, tools, strict=True)]
        router = hash_router()
        read = Lessons.read(random, router.tools)
        right = torch.tensor(tools)
        unseen = crossfit(router, read, quick(epochs=5), OBJECTIVE)[:, :2].argmax(1)
        assert 0.25 < float((unseen == right).float().mean()) < 0.75
        fit(router, random, config=quick(epochs=5))
        learned = router.probabilities(read.texts)[:, :2].argmax(1)
        assert float((learned == right).float().mean()) > 0.95
        again = crossfit(router, read, quick(epochs=5), OBJECTIVE)[:, :2].argmax(1)
        assert float((again == right).float().mean()) < 0.75

    def test_the_router_stays_what_it_is_and_the_seed_decides(self):
        router = hash_router()
        before = router.fingerprint
        first, same, other = (crossfit(router, lessons(), quick(seed=seed), OBJECTIVE) for seed in (1, 1, 2))
        assert router.fingerprint == before
        assert torch.equal(first, same)
        assert not torch.equal(first, other)


class TestNovelty:
    def test_it_comes_of_enough_none_rows(self):
        novelty = fit_novelty(hash_router(), lessons(), quick(), OBJECTIVE)
        assert isinstance(novelty, Novelty)
        assert novelty.energy > 0
        assert novelty.trained == ("add_numbers", "clock")

    def test_without_them_none_stays_the_policys(self):
        for nones in (0, 19):
            assert fit_novelty(hash_router(), lessons(nones), quick(), OBJECTIVE) is None

    def test_a_policy_of_the_users_own_is_left_alone(self):
        router = Router.from_tools(CARDS, encoder=HashEncoder(64), policy=BilinearPolicy(64))
        assert fit_novelty(router, lessons(), quick(), OBJECTIVE) is None

    def test_an_encoder_that_has_trained_on_them_keeps_the_novelty_it_has(self):
        router = small("gru")
        fit(router, IDENTITY, config=quick(epochs=1))
        kept = Novelty(1.0, 2.0, 3.0, ("clock",))
        router.policy = NoveltyPolicy(cast(ToolSpacePolicy, router.policy), kept)
        assert fit_novelty(router, lessons(), quick(), OBJECTIVE) is kept
