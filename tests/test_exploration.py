"""Learning from the reward of tries alone: few tries, the right tools, nothing forbidden, the same again."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest

from dspy_router import Episode, HashEncoder, Router, ToolCard, TrainConfig
from dspy_router.learning.exploration import explore
from dspy_router.learning.trials import ExploreConfig, Trials
from dspy_router.routing.policies import ToolSpacePolicy

# Cards that say nothing: only the rewards can tell which words go with which tool.
WORDS = {"tool_a": ("red", "crimson"), "tool_b": ("blue", "azure"), "tool_c": ("green", "olive"), "tool_d": ("grey",)}
THINGS = ("house", "car", "book", "door", "hat", "boat")
CONFIG = TrainConfig(progress=False)


def new_router() -> Router:
    return Router.from_tools([ToolCard(name) for name in WORDS], encoder=HashEncoder())


def examples() -> tuple[list[Episode], list[str | None]]:
    pairs = [(f"{word} {thing}", tool) for tool, words in WORDS.items() for word in words for thing in THINGS]
    pairs += [(f"no colour at all {thing}", None) for thing in THINGS]
    random.Random(0).shuffle(pairs)
    return [Episode({"query": text}) for text, _ in pairs], [tool for _, tool in pairs]


class Oracle:
    """Rewards 1 for the right tool, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def __call__(self, tries):
        self.asked += tries
        return [float(self.answers[row] == tool) for row, tool in tries]


def share_right(router, episodes, answers):
    decisions = router.decide_batch([episode.text for episode in episodes])
    return sum(decision.tool == answer for decision, answer in zip(decisions, answers, strict=True)) / len(answers)


def test_the_right_tools_are_learned_with_fewer_tries_than_there_are_options():
    episodes, answers = examples()
    router, oracle = new_router(), Oracle(answers)
    before = share_right(router, episodes, answers)
    report = explore(router, episodes, oracle, config=CONFIG)
    assert share_right(router, episodes, answers) == 1.0
    assert before < 0.5
    assert report.tries == len(oracle.asked) == report.rounds[-1].total
    assert report.tries < 3 * len(episodes)
    assert report.training is not None


def test_nothing_is_tried_twice_and_no_example_beyond_its_maximum():
    episodes, answers = examples()
    oracle = Oracle(answers)
    explore(new_router(), episodes, oracle, config=CONFIG)
    assert len(set(oracle.asked)) == len(oracle.asked)
    last = dict(oracle.asked)
    solved = [row for row, tool in oracle.asked if answers[row] == tool]
    assert len(solved) == len(set(solved))
    assert len(last) == len(episodes)


def test_the_budget_is_kept_to_the_try():
    episodes, answers = examples()
    oracle = Oracle(answers)
    explore(new_router(), episodes, oracle, config=CONFIG, settings=ExploreConfig(tries=0.5))
    assert len(oracle.asked) == round(0.5 * len(episodes))


def test_the_same_seed_makes_the_same_tries_and_the_same_router():
    episodes, answers = examples()
    runs = []
    for _ in range(2):
        router, oracle = new_router(), Oracle(answers)
        explore(router, episodes, oracle, config=CONFIG, settings=ExploreConfig(rounds=3))
        runs.append((oracle.asked, router.fingerprint))
    assert runs[0] == runs[1]


def test_labelled_examples_teach_and_are_not_tried():
    episodes, answers = examples()
    told = [
        Episode(episode.inputs, labels=((answer,) if answer else (),)) if row % 2 else episode
        for row, (episode, answer) in enumerate(zip(episodes, answers, strict=True))
    ]
    router, oracle = new_router(), Oracle(answers)
    explore(router, told, oracle, config=CONFIG)
    assert all(row % 2 == 0 for row, _ in oracle.asked)
    assert share_right(router, episodes, answers) == 1.0


def test_rewards_that_are_known_already_are_not_asked_for_again():
    episodes, answers = examples()
    known = [
        Episode(episode.inputs, rewards={answer: 1.0}) if row < 30 else episode
        for row, (episode, answer) in enumerate(zip(episodes, answers, strict=True))
    ]
    oracle = Oracle(answers)
    explore(new_router(), known, oracle, config=CONFIG)
    assert all(row >= 30 for row, _ in oracle.asked)


def test_suggestions_are_tried_first():
    episodes, answers = examples()
    oracle = Oracle(answers)
    report = explore(new_router(), episodes, oracle, config=CONFIG, suggested=dict(enumerate(answers)))
    assert report.tries == len(episodes)
    assert report.rounds[0].mean_best == 1.0


def test_forbidden_tools_are_not_tried_even_where_they_are_right():
    episodes, answers = examples()
    router, oracle = new_router(), Oracle(answers)
    trials = Trials(len(episodes), (*router.tools, None), forbidden=["tool_b"])
    explore(router, episodes, oracle, trials=trials, config=CONFIG)
    assert "tool_b" not in {tool for _, tool in oracle.asked}


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_constant_reward_teaches_nothing_and_changes_nothing(reward):
    episodes, _ = examples()
    router = new_router()
    before = router.fingerprint
    report = explore(router, episodes, lambda tries: [reward] * len(tries), config=CONFIG)
    assert report.training is None
    assert router.fingerprint == before


def test_tries_without_a_reward_are_not_made_again_and_do_not_count():
    episodes, answers = examples()
    oracle = Oracle(answers)

    def flaky(tries):
        return [None if tool == "tool_a" else reward for (_, tool), reward in zip(tries, oracle(tries), strict=True)]

    router = new_router()
    report = explore(router, episodes, flaky, config=CONFIG)
    assert len(set(oracle.asked)) == len(oracle.asked)
    assert report.tries == sum(tool != "tool_a" for _, tool in oracle.asked)


def test_trials_of_other_tools_or_examples_are_refused():
    episodes, answers = examples()
    for trials in (Trials(len(episodes), ("tool_a", None)), Trials(3, (*new_router().tools, None))):
        with pytest.raises(ValueError, match="expected those of the 48 examples and the router's 4 tools"):
            explore(new_router(), episodes, Oracle(answers), trials=trials, config=CONFIG)


def test_an_interrupted_run_leaves_the_router_as_it_was():
    episodes, answers = examples()
    router, oracle = new_router(), Oracle(answers)
    before = copy.deepcopy(router).fingerprint

    def interrupted(tries):
        if len(oracle.asked) > 20:
            raise KeyboardInterrupt
        return oracle(tries)

    with pytest.raises(KeyboardInterrupt):
        explore(router, episodes, interrupted, config=CONFIG)
    assert router.fingerprint == before


def test_graded_rewards_lead_to_the_best_tool_not_to_the_first_good_one():
    """Every tool next in the alphabet earns 0.6; the right one earns 1."""
    episodes, answers = examples()
    names = [*WORDS, None]
    router = new_router()

    def graded(tries):
        return [
            1.0 if tool == answers[row] else 0.6 if tool == names[(names.index(answers[row]) + 1) % 5] else 0.0
            for row, tool in tries
        ]

    explore(router, episodes, graded, config=CONFIG, settings=ExploreConfig(tries=4))
    assert share_right(router, episodes, answers) > 0.9


def test_rewards_that_may_be_wrong_are_learned_from_by_several_hidden_layers():
    """A tenth of the pairs of example and tool are judged wrongly, alike each time they are asked for."""
    episodes, answers = examples()
    wrong = random.Random(1)
    lies = {(row, tool) for row in range(len(episodes)) for tool in (*WORDS, None) if wrong.random() < 0.1}

    def roll(tries):
        return [float((answers[row] == tool) != ((row, tool) in lies)) for row, tool in tries]

    router = new_router()
    settings = ExploreConfig(tries=4, noise=0.1)
    explore(router, episodes, roll, config=replace(CONFIG, deep_from=1), settings=settings)
    assert isinstance(router.policy, ToolSpacePolicy) and router.policy.members == settings.members
    assert share_right(router, episodes, answers) > 0.7  # below 0.5 before
