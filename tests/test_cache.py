"""The decision cache: exact texts, never a stale answer, the least recently used out first, and counts that add up."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.records import Decision
from dspy_router.runtime.cache import Cacheable, DecisionCache


class Echo(Cacheable):
    """A router whose decision on a text is the text and the state it was made in; it remembers what it was asked."""

    def __init__(self, cache=None):
        self.mark, self.asked, self.cache = "one", [], cache

    @property
    def kept(self) -> DecisionCache:
        assert self.cache is not None
        return self.cache

    @property
    def fingerprint(self):
        return self.mark

    def decide_batch(self, texts, *, allowed=None):
        return self._through_cache(texts, allowed, lambda missing: self._decide(missing, allowed))

    def _decide(self, texts, allowed):
        self.asked += texts
        return [Decision(f"{text} in {self.mark} of {sorted(allowed or ())}", {}, 0.0) for text in texts]


def tools(decisions):
    return [decision.tool for decision in decisions]


def test_what_was_decided_is_not_decided_again():
    router = Echo(DecisionCache())
    first = router.decide_batch(["a", "b", "a"])
    second = router.decide_batch(["b", "c"])
    assert router.asked == ["a", "b", "c"]
    assert tools(first) == ["a in one of []", "b in one of []", "a in one of []"]
    assert second[0] is first[1]
    assert (router.kept.hits, router.kept.misses, len(router.kept)) == (1, 4, 3)


def test_it_is_off_by_default():
    router = Echo()
    router.decide_batch(["a", "a"])
    router.decide_batch(["a"])
    assert router.asked == ["a", "a", "a"]


@pytest.mark.parametrize("allowed", [None, ["x"], ("y", "x"), []])
def test_allowed_tools_make_another_decision(allowed):
    router = Echo(DecisionCache())
    for names in (None, ["x"], {"x", "y"}, []):
        router.decide_batch(["a"], allowed=names)
    found = router.decide_batch(["a"], allowed=allowed)
    assert tools(found) == [f"a in one of {sorted(allowed or ())}"]
    assert len(router.asked) == 4


def test_a_router_in_another_state_finds_nothing_of_before():
    router = Echo(DecisionCache())
    router.decide_batch(["a"])
    router.mark = "two"
    assert tools(router.decide_batch(["a"])) == ["a in two of []"]
    router.mark = "one"  # back again, as by setting a threshold back
    assert tools(router.decide_batch(["a"])) == ["a in one of []"]
    assert router.asked == ["a", "a"]


def test_what_changes_while_it_decides_is_not_kept():
    class Changing(Echo):
        def _decide(self, texts, allowed):
            decisions = super()._decide(texts, allowed)
            self.mark = "two"
            return decisions

    router = Changing(DecisionCache())
    router.decide_batch(["a"])
    assert len(router.kept) == 0


def test_the_least_recently_used_goes_first():
    router = Echo(DecisionCache(2))
    router.decide_batch(["a", "b"])
    router.decide_batch(["a"])
    router.decide_batch(["c"])  # b is the oldest by use
    router.decide_batch(["a", "c", "b"])
    assert router.asked == ["a", "b", "c", "b"]


def test_a_batch_larger_than_the_cache_is_answered_whole():
    router = Echo(DecisionCache(1))
    assert tools(router.decide_batch(["a", "b", "c"])) == [f"{text} in one of []" for text in "abc"]
    assert len(router.kept) == 1


def test_what_is_no_text_is_left_to_the_router():
    class Strict(Echo):
        def _decide(self, texts, allowed):
            raise TypeError(f"no text: {texts}")

    router = Strict(DecisionCache())
    with pytest.raises(TypeError, match="no text"):
        router.decide_batch(["a", ["b"]])
    assert (router.kept.hits, router.kept.misses) == (0, 0)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), max_size=8), st.integers(1, 4))
def test_it_never_changes_a_decision_and_counts_every_text(batches, size):
    cached, plain = Echo(DecisionCache(size)), Echo()
    for batch in batches:
        assert tools(cached.decide_batch(batch)) == tools(plain.decide_batch(batch))
        assert len(cached.kept) <= size
    assert cached.kept.hits + cached.kept.misses == sum(map(len, batches))


def test_threads_may_share_it():
    router = Echo(DecisionCache(8))
    wrong = []

    def work(number):
        for turn in range(200):
            text = str((number * 7 + turn) % 16)
            if tools(router.decide_batch([text])) != [f"{text} in one of []"]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert router.kept.hits + router.kept.misses == 16 * 200
    assert len(router.kept) <= 8


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "many"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        DecisionCache(size)


def test_only_a_cache_is_taken_for_one():
    with pytest.raises(TypeError, match=r"got dict.*DecisionCache\(10_000\)"):
        Echo().cache = {}  # pyright: ignore[reportAttributeAccessIssue]


def test_copies_share_it_and_a_pickled_one_is_empty():
    router = Echo(DecisionCache(5))
    router.decide_batch(["a"])
    assert copy.deepcopy(router).cache is router.cache
    loaded = pickle.loads(pickle.dumps(router.cache))
    assert (loaded.size, len(loaded), loaded.misses) == (5, 0, 0)


def test_clearing_forgets_the_decisions():
    router = Echo(DecisionCache(5))
    router.decide_batch(["a"])
    router.kept.clear()
    router.decide_batch(["a"])
    assert router.asked == ["a", "a"]
