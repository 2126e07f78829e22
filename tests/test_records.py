"""Tool cards, decisions, steps and episodes: what they accept, what they answer, and that they survive a round trip."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.records import Decision, Episode, Step, ToolCard, as_label, read_inputs, split_name

names = st.text("abcdefghijklmnop_", min_size=1, max_size=12)


@st.composite
def decisions(draw):
    tools = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(tools) + 1, max_size=len(tools) + 1))
    shares = [weight / sum(weights) for weight in weights]
    tool = draw(st.sampled_from([*tools, None]))
    return Decision(
        tool,
        dict(zip(tools, shares, strict=False)),
        shares[-1],
        accepted=draw(st.booleans()),
        source=draw(st.sampled_from(["router", "lm"])),
        propensity=draw(st.floats(0.01, 1)),
        id=draw(st.none() | names),
        error=draw(st.none() | st.just("TimeoutError: no answer")),
    )


class TestToolCard:
    def test_views_are_description_name_and_parameters_in_words(self):
        card = ToolCard(
            "convertUnits",
            " Convert a quantity. ",
            {
                "type": "object",
                "properties": {
                    "from_unit": {"type": "string", "description": "Unit it is in", "enum": ["km", "mile"]},
                    "value": {"type": "number"},
                },
                "required": ["value"],
            },
        )
        assert card.views == ("Convert a quantity.", "convert units", "from unit: Unit it is in: km, mile; value")
        assert card.required == ("value",)
        assert list(card.properties) == ["from_unit", "value"]

    def test_a_bare_name_is_a_card_whose_views_all_read_the_name(self):
        assert ToolCard("get_time").views == ("get time",) * 3
        assert ToolCard("get_time").required == ()

    @pytest.mark.parametrize("name", ["", "   ", None, 3])
    def test_a_card_needs_a_name(self, name):
        with pytest.raises(ValueError, match="non-empty string, got"):
            ToolCard(name)

    def test_a_wrong_description_or_schema_names_the_tool(self):
        with pytest.raises(ValueError, match="description of tool 'add' must be a string, got int"):
            ToolCard("add", 3)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="parameters of tool 'add' must be a JSON schema"):
            ToolCard("add", "", ["x"])  # pyright: ignore[reportArgumentType]

    def test_to_dict_is_json_and_reads_back(self):
        card = ToolCard("add", "Add.", {"type": "object", "properties": {"a": {"type": "number"}}}, read_only=True)
        assert ToolCard(**json.loads(json.dumps(card.to_dict()))) == card

    def test_from_a_function(self):
        def convert(value: float, to: Literal["km", "mile"], digits: int = 2) -> float:
            """Convert a length.

            Second paragraph.
            """
            return value * len(to) * digits

        card = ToolCard.from_tool(convert)
        assert card.name == "convert"
        assert card.description == "Convert a length.\n\nSecond paragraph."
        assert card.required == ("value", "to")
        assert card.properties["to"]["enum"] == ["km", "mile"]
        assert card.properties["digits"]["default"] == 2

    def test_from_a_method_and_from_a_callable_object_leave_self_out(self):
        class Counter:
            """Counts."""

            def __call__(self, step: int) -> int:
                return step

            def up(self, by: int) -> int:
                """Count up."""
                return by

        assert list(ToolCard.from_tool(Counter().up).properties) == ["by"]
        card = ToolCard.from_tool(Counter())
        assert (card.name, card.description, list(card.properties)) == ("Counter", "Counts.", ["step"])

    def test_from_an_openai_schema_wrapped_or_not(self):
        schema = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {"a": {}}}}
        assert ToolCard.from_tool(schema) == ToolCard.from_tool({"type": "function", "function": schema})
        assert ToolCard.from_tool(schema) == ToolCard("add", "Add.", schema["parameters"])

    def test_a_card_is_returned_as_it_is(self):
        card = ToolCard("add")
        assert ToolCard.from_tool(card) is card

    def test_what_is_no_tool_is_refused_by_name(self):
        with pytest.raises(TypeError, match="got int: 3"):
            ToolCard.from_tool(3)
        with pytest.raises(TypeError, match=r"needs a 'name'; got the keys \['description'\]"):
            ToolCard.from_tool({"description": "Add."})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_user_name", "get user name"),
        ("getUserName", "get user name"),
        ("HTTPServer.start2", "http server start2"),
        ("SummarizeAnything_pr", "summarize anything pr"),
        ("___", "___"),
    ],
)
def test_split_name(name, words):
    assert split_name(name) == words


class TestDecision:
    decision = Decision("add", {"add": 0.6, "clock": 0.1}, 0.3)

    def test_confidence_is_the_probability_of_the_choice(self):
        assert self.decision.confidence == 0.6
        assert dataclasses.replace(self.decision, tool=None).confidence == 0.3
        # A language model may choose what the router was not allowed to.
        assert dataclasses.replace(self.decision, tool="other", source="lm").confidence == 0.0

    def test_top_ranks_none_among_the_tools(self):
        assert self.decision.top(2) == [("add", 0.6), (None, 0.3)]
        assert self.decision.top() == [("add", 0.6), (None, 0.3), ("clock", 0.1)]

    def test_it_is_frozen_all_through(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            self.decision.tool = "clock"  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(TypeError):
            self.decision.probabilities["add"] = 1.0  # pyright: ignore[reportIndexIssue]

    def test_it_does_not_change_with_the_dict_it_was_made_of(self):
        probabilities = {"add": 1.0}
        decision = Decision("add", probabilities, 0.0)
        probabilities["add"] = 0.0
        assert decision.confidence == 1.0

    @given(decisions())
    def test_round_trips(self, decision):
        assert Decision(**json.loads(json.dumps(decision.to_dict()))) == decision
        assert pickle.loads(pickle.dumps(decision)) == decision
        assert copy.deepcopy(decision) == decision

    @given(decisions(), st.integers(1, 8))
    def test_top_is_sorted_and_bounded(self, decision, k):
        top = decision.top(k)
        shares = [share for _, share in top]
        assert shares == sorted(shares, reverse=True)
        assert len(top) == min(k, len(decision.probabilities) + 1)
        assert shares[0] == max([*decision.probabilities.values(), decision.none_probability])


def test_a_step_shows_its_result_or_its_error():
    done = Step("add", {"a": 2, "b": 3}, 5, filled_by="rules")
    assert (done.failed, done.observation) == (False, 5)
    broken = Step("add", {"a": "x"}, error="ValueError: not a number")
    assert (broken.failed, broken.observation) == (True, "Error: ValueError: not a number")


class Example:
    """Looks like a `dspy.Example`, whose iteration yields fields in an order of its own."""

    def __init__(self, fields, input_keys=None):
        self._store, self._input_keys = fields, input_keys

    def keys(self):
        return list(self._store)

    def __getitem__(self, key):
        return self._store[key]

    def toDict(self):
        return dict(self._store)


class TestEpisode:
    @pytest.mark.parametrize(
        ("tool", "labels"), [("add", (("add",),)), (["add", "sum"], (("add", "sum"),)), (None, ((),)), ([], ((),))]
    )
    def test_a_row_is_a_query_and_a_label(self, tool, labels):
        episode = Episode.from_example({"query": "2 + 3", "tool": tool, "expected": 5})
        assert (episode.inputs, episode.labels, episode.text) == ({"query": "2 + 3"}, labels, "2 + 3")

    def test_a_row_without_a_label_has_none(self):
        assert Episode.from_example({"query": "2 + 3"}).labels == ()

    def test_an_example_with_named_inputs_keeps_those(self):
        example = Example({"question": "q", "context": "c", "answer": "a", "tool": "add"}, {"question", "context"})
        episode = Episode.from_example(example)
        assert episode.inputs == {"question": "q", "context": "c"}
        assert episode.text == "question: q\ncontext: c"

    def test_an_example_without_named_inputs_keeps_all_but_the_label(self):
        assert Episode.from_example(Example({"question": "q", "gold": "add"}), "gold").inputs == {"question": "q"}

    def test_the_label_is_never_an_input(self):
        example = Example({"question": "q", "tool": "add"}, {"question", "tool"})
        assert Episode.from_example(example).inputs == {"question": "q"}

    def test_a_row_may_tell_what_the_tried_tools_earned(self):
        """By name, or in pairs: JSON has no key for none."""
        rewards = {"add": 1, None: 0.25}
        for form in (rewards, list(rewards.items()), json.loads(json.dumps(list(rewards.items())))):
            episode = Episode.from_example({"query": "2 + 3", "rewards": form})
            assert (episode.inputs, episode.labels, episode.rewards) == ({"query": "2 + 3"}, (), rewards)
            assert (episode.reward, episode.decisions) == (None, ())

    @pytest.mark.parametrize("action", ["add", None])
    def test_a_row_may_tell_what_was_chosen_how_likely_and_what_it_earned(self, action):
        row = {"query": "2 + 3", "action": action, "reward": 0.5, "propensity": 0.25}
        (decision,) = Episode.from_example(row).decisions
        assert (decision.tool, decision.propensity, decision.confidence) == (action, 0.25, 0.25)
        assert Episode.from_example(row).reward == 0.5

    def test_a_choice_without_a_propensity_was_no_draw(self):
        episode = Episode.from_example({"query": "2 + 3", "action": "add"})
        assert episode.decisions[0].propensity == 1
        assert episode.reward is None

    def test_what_came_of_a_choice_is_no_input(self):
        told = {"tool": "add", "rewards": {"add": 1}, "action": "add", "reward": 1, "propensity": 0.5}
        for fields in ({"question": "q", **told}, Example({"question": "q", **told})):
            episode = Episode.from_example(fields)
            assert episode.inputs == {"question": "q"}
            assert episode.labels == (("add",),)
            assert episode.rewards == {"add": 1}
        with pytest.raises(ValueError, match="at least one input field"):
            Episode.from_example(told)

    def test_an_input_that_an_example_names_is_no_outcome(self):
        """A program about orders may well have an input `action` and one `reward`."""
        example = Example({"action": "buy", "reward": "a medal", "tool": "add"}, {"action", "reward"})
        episode = Episode.from_example(example)
        assert episode.inputs == {"action": "buy", "reward": "a medal"}
        assert (episode.reward, episode.decisions, episode.labels) == (None, (), (("add",),))

    def test_an_episode_is_returned_as_it_is(self):
        episode = Episode({"query": "x"})
        assert Episode.from_example(episode) is episode

    def test_what_is_no_example_is_refused(self):
        with pytest.raises(TypeError, match="got tuple"):
            Episode.from_example(("2 + 3", "add"))
        with pytest.raises(ValueError, match=r"at least one input field beside 'tool'; got \['tool'\]"):
            Episode.from_example({"tool": "add"})
        with pytest.raises(TypeError, match="list of names or None"):
            Episode.from_example({"query": "x", "tool": 3})


@given(st.lists(names, max_size=4))
def test_a_label_reads_alike_however_it_is_given(label):
    assert as_label(label) == as_label(tuple(label)) == as_label(iter(label)) == tuple(label)


@given(names, st.text(max_size=20))
def test_one_input_reads_as_its_value(name, value):
    assert read_inputs({name: value}) == value
