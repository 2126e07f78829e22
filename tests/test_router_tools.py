"""A router whose tools change: at once, all or nothing, and while other threads decide."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from routers import CARD_POOL, CARDS, IDENTITY, QUERIES, CountingEncoder, hash_router

from dspy_router import Router, ToolCard, TrainConfig, fit
from dspy_router.routing.toolset import encode_cards

TEXTS = [*(row["query"] for row in IDENTITY), *QUERIES]


class TestChangingTools:
    def test_functions_and_schemas_are_tools_too(self):
        def opening_hours() -> str:
            """When the shop is open."""
            return "9 to 5"

        router = hash_router()
        router.add_tools([opening_hours, {"name": "weather", "description": "Will it rain?"}])
        assert router.tools == ("add_numbers", "clock", "opening_hours", "weather")
        assert router.decide("when is the shop open").tool == "opening_hours"

    def test_a_name_that_is_taken_changes_nothing(self):
        router = hash_router()
        before = router.fingerprint
        with pytest.raises(ValueError, match="'clock' was given more than once"):
            router.add_tools([ToolCard("weather"), ToolCard("clock")])
        assert router.fingerprint == before

    def test_removing(self):
        router = hash_router()
        router.remove_tools("clock")
        assert router.tools == ("add_numbers",)
        assert set(router.decide("current time in a city").probabilities) == {"add_numbers"}

    @pytest.mark.parametrize(
        ("names", "message"), [(["clok"], "Did you mean 'clock'"), (["clock", "add_numbers"], "at least one tool")]
    )
    def test_removing_what_cannot_be_changes_nothing(self, names, message):
        router = hash_router()
        with pytest.raises(ValueError, match=message):
            router.remove_tools(names)
        assert router.tools == ("add_numbers", "clock")

    def test_adding_one_by_one_is_adding_at_once(self):
        slowly, at_once = hash_router(), hash_router()
        at_once.add_tools(CARD_POOL[2:])
        for card in CARD_POOL[2:]:
            slowly.add_tools([card])
        assert slowly.fingerprint == at_once.fingerprint
        assert torch.allclose(slowly.probabilities(QUERIES), at_once.probabilities(QUERIES), atol=1e-6)


class TestChangingToolsWhileDeciding:
    """Each decision is among the tools before or after a change, never a mixture."""

    @pytest.fixture
    def router(self):
        router = hash_router()
        fit(router, IDENTITY, config=TrainConfig(epochs=2, threads=1))
        return router

    @pytest.fixture(autouse=True)
    def restless_threads(self):
        """They take turns at nearly every step, as they seldom do by themselves."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    def test_a_change_between_reading_the_text_and_weighing_it(self):
        """The decision is among the tools that were there when it was asked for."""

        class Meddling(CountingEncoder):
            def __call__(self, texts):
                if "meddle" in texts:
                    router.add_tools([ToolCard("weather", "Will it rain?")])
                    router.remove_tools(["clock"])
                return super().__call__(texts)

        router = Router.from_tools(CARDS, encoder=Meddling())
        (decision,) = router.decide_batch(["meddle"], allowed=["clock"])
        assert set(decision.probabilities) == {"clock"}
        assert set(router.decide("what now").probabilities) == {"add_numbers", "weather"}

    def test_adding_and_removing(self, router):
        extra = [ToolCard(f"extra_{i}", f"Speaks of subject number {i}.") for i in range(3)]
        names = {card.name for card in extra}
        alone = {text: router.decide(text) for text in TEXTS}
        done = threading.Event()

        def change():
            try:
                for _ in range(40):
                    router.add_tools(extra)
                    router.remove_tools(names)
            finally:
                done.set()

        def decide():
            batches = []
            while not done.is_set():
                batches.append(router.decide_batch(TEXTS))
            return batches

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(decide) for _ in range(3)]
            pool.submit(change).result()
            batches = [batch for reader in readers for batch in reader.result()]
        for batch in batches:
            tools = set(batch[0].probabilities)
            assert tools in ({"add_numbers", "clock"}, {"add_numbers", "clock", *names})
            for text, decision in zip(TEXTS, batch, strict=True):
                assert set(decision.probabilities) == tools
                before = alone[text].probabilities
                rest = 1 - sum(decision.probabilities[name] for name in names & tools)
                assert decision.probabilities["clock"] / rest == pytest.approx(before["clock"], abs=1e-5)

    def test_two_threads_cannot_add_one_name_twice(self, router):
        def add(number):
            try:
                router.add_tools([ToolCard("weather", f"Will it rain on day {number}?")])
            except ValueError as error:
                return str(error)

        with ThreadPoolExecutor(8) as pool:
            failures = [message for message in pool.map(add, range(16)) if message]
        assert router.tools == ("add_numbers", "clock", "weather")
        assert len(failures) == 15 and all("more than once" in message for message in failures)

    def test_saving_meanwhile_gives_a_whole_router(self, router):
        with ThreadPoolExecutor(2) as pool:
            changes = pool.submit(lambda: [router.add_tools([ToolCard(f"extra_{i}", "Another.")]) for i in range(20)])
            while not changes.done():
                again = Router.from_files(router.to_files())
                assert torch.equal(again.space.views, encode_cards(again.encoder, again.cards))
