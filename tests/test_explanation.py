"""Why this tool: words, rivals and neighbours."""

from __future__ import annotations

import json

import pytest
import torch
from routers import CARDS, IDENTITY, CountingEncoder, hash_router

from dspy_router import Router, ToolCard, TrainConfig, fit


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained():
    router = hash_router([*CARDS, ToolCard("weather", "Will it rain or shine?")])
    none = [{"query": "sing me a song", "tool": None}, {"query": "tell a joke", "tool": None}]
    fit(router, [*IDENTITY, *none], config=TrainConfig(epochs=60))
    return router


def test_the_word_that_names_the_tool_moves_the_decision():
    """Leaving out `rain` leaves nothing that speaks for the weather; `please` says nothing."""
    router = hash_router([*CARDS, ToolCard("weather", "rain")])
    explanation = router.explain("rain please, and time")
    influence = dict(explanation.words)
    assert explanation.decision.tool == "weather"
    assert list(influence) == ["rain", "please", "and", "time"]
    assert influence["rain"] > max(0, influence["please"], influence["and"])
    assert influence["time"] < 0  # it speaks for the clock


def test_an_influence_is_the_fall_of_the_log_probability():
    router = hash_router()
    text = "current time, say"
    whole, without = (router.decide(one).probabilities["clock"] for one in (text, "current , say"))
    influence = dict(router.explain(text).words)
    expected = torch.tensor(whole / without).log().item()
    assert router.decide(text).tool == "clock"
    assert influence["time"] == pytest.approx(expected, abs=1e-4)


def test_words_of_a_decision_for_none(trained):
    explanation = trained.explain("sing me a song")
    assert explanation.decision.tool is None
    assert [word for word, _ in explanation.words] == ["sing", "me", "a", "song"]
    assert max(value for _, value in explanation.words) > 0


def test_rivals_are_the_other_choices_in_their_order(trained):
    explanation = trained.explain("seven plus twelve")
    options = dict(explanation.rivals)
    assert explanation.decision.tool == "add_numbers"
    assert set(options) == {"clock", "weather", None}
    assert list(options.values()) == sorted(options.values(), reverse=True)
    assert sum(options.values()) + explanation.decision.confidence == pytest.approx(1, abs=1e-5)


def test_neighbours_are_the_nearest_training_queries(trained):
    explanation = trained.explain("what hour is it in Rome")
    assert len(explanation.neighbours) == 5
    assert explanation.neighbours[0].tools == ("clock",)
    similarities = [neighbour.similarity for neighbour in explanation.neighbours]
    assert similarities == sorted(similarities, reverse=True)
    itself = trained.explain("tell a joke").neighbours[0]
    assert (itself.text, itself.tools) == ("tell a joke", ())
    assert itself.similarity == pytest.approx(1, abs=1e-5)


def test_an_untrained_router_has_no_neighbours():
    assert hash_router().explain("seven plus twelve").neighbours == ()


def test_memory_is_bounded_a_tool():
    router = hash_router()
    fit(router, IDENTITY, config=TrainConfig(epochs=1, remember=1))
    assert router.memory is not None
    assert router.memory.texts == ("seven plus twelve", "what hour is it in Oslo")
    assert len(router.explain("seven").neighbours) == 2
    fit(router, IDENTITY, config=TrainConfig(epochs=1, remember=0))
    assert router.explain("seven").neighbours == ()


@pytest.mark.parametrize("text", ["rain", "?!", "…", "time"])
def test_one_word_or_none_has_no_influence_of_its_own(text):
    explanation = hash_router().explain(text)
    assert all(influence == 0.0 for _, influence in explanation.words)
    assert explanation.decision == hash_router().decide(text)


def test_a_very_long_text_costs_a_bounded_number_of_decisions():
    encoder = CountingEncoder()
    router = Router.from_tools(CARDS, encoder=encoder)
    encoder.seen.clear()
    explanation = router.explain("time in Oslo " * 1_000)
    assert len(explanation.words) == 64
    assert len(encoder.seen) < 80


def test_bad_texts_are_refused_as_by_decide():
    with pytest.raises(ValueError, match="must not be empty"):
        hash_router().explain(" ")


def test_to_dict_survives_json(trained):
    explanation = trained.explain("what hour is it in Rome")
    data = json.loads(json.dumps(explanation.to_dict()))
    assert data["decision"]["tool"] == explanation.decision.tool
    assert data["words"] == [list(pair) for pair in explanation.words]
    assert data["rivals"] == [list(pair) for pair in explanation.rivals]
    assert data["neighbours"][0]["tools"] == ["clock"]
