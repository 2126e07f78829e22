"""A decision cache: what was decided on a text is not decided again, for as long as the router is what it was."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

from dspy_router.records import Decision

Deciding = Callable[[list[str]], list[Decision]]


class DecisionCache:
    """The decisions on the last so many texts, exact text by exact text, least recently used first out.

    An entry belongs to the state of the router that decided (its fingerprint) and to the tools that were allowed. After
    training, a change of tools, threshold or calibration nothing of before is found any more, so one cache may serve
    several routers, and one router on many threads. A cached decision is the very object that was decided: a record
    that cannot be changed. What an agent draws to explore is drawn from the decision afterwards, anew each time.

    Worth it where users repeat each other to the letter. A hit costs some hundredths of a millisecond.

    Attributes:
        size: Most decisions that are kept; a decision among 200 tools takes about 2 kB.
        hits: How many decisions were found.
        misses: How many had to be made.
    """

    def __init__(self, size: int = 10_000) -> None:
        """An empty cache.

        Raises:
            ValueError: If it would have room for none.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"The size of a decision cache must be a whole number of at least 1; got {size!r}.")
        self.size, self.hits, self.misses = size, 0, 0
        self._kept: OrderedDict[Hashable, Decision] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"DecisionCache({self.size}; {len(self)} kept, {self.hits} hits, {self.misses} misses)"

    def __deepcopy__(self, memo: dict[int, Any]) -> DecisionCache:
        return self  # copies of a router share it: what belongs to whom stands in the keys

    def __reduce__(self) -> tuple[Any, ...]:
        return (DecisionCache, (self.size,))

    def clear(self) -> None:
        """Forget all decisions; hits and misses stay."""
        with self._lock:
            self._kept.clear()

    def decide(
        self, texts: Sequence[str], allowed: Collection[str] | None, *, state: Callable[[], Hashable], decide: Deciding
    ) -> list[Decision]:
        """The decisions on these texts, in their order; those that are not kept are made in one batch, each text once.

        The lock is not held meanwhile: two threads that miss the same text at once both decide it, alike.

        Args:
            texts: The texts.
            allowed: Names of the tools that may be chosen; None for all.
            state: Tells the router's state at this moment, as something that differs wherever decisions could.
            decide: Decides on a list of texts.
        """
        about = (state(), allowed_key(allowed))
        # What is no string has no place here: the router says what is wrong with it.
        found = self._look_up([(*about, text) for text in texts]) if all(type(text) is str for text in texts) else None
        if found is None:
            return decide(list(texts))
        missing = list(dict.fromkeys(text for text, decision in zip(texts, found, strict=True) if decision is None))
        if not missing:
            return [decision for decision in found if decision is not None]
        made = dict(zip(missing, decide(missing), strict=True))
        if state() == about[0]:  # else they may be those of another state
            self._keep({(*about, text): decision for text, decision in made.items()})
        return [made[text] if one is None else one for text, one in zip(texts, found, strict=True)]

    def _look_up(self, keys: Sequence[Hashable]) -> list[Decision | None]:
        with self._lock:
            found = [self._kept.get(key) for key in keys]
            for key, decision in zip(keys, found, strict=True):
                if decision is not None:
                    self._kept.move_to_end(key)
            missing = sum(decision is None for decision in found)
            self.misses += missing
            self.hits += len(found) - missing
        return found

    def _keep(self, made: dict[Hashable, Decision]) -> None:
        with self._lock:
            for key, decision in made.items():
                self._kept[key] = decision
                self._kept.move_to_end(key)
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)


def allowed_key(allowed: Collection[str] | None) -> Hashable:
    """What `allowed` says, whatever collection says it.

    Raises:
        TypeError: If it is a collection of what cannot be a name.
    """
    return allowed if allowed is None or isinstance(allowed, str) else frozenset(allowed)


class Cacheable:
    """What of a router is about its cache. A router that inherits it decides through `_through_cache`.

    If computing its fingerprint takes long, it has a `state` of its own.
    """

    _cache: DecisionCache | None = None

    @property
    def cache(self) -> DecisionCache | None:
        """Decisions that need not be made again; None, the default, makes each of them anew."""
        return self._cache

    @cache.setter
    def cache(self, value: DecisionCache | None) -> None:
        if value is not None and not isinstance(value, DecisionCache):
            raise TypeError(
                f"The cache must be a DecisionCache or None; got {type(value).__name__}. "
                "Write router.cache = DecisionCache(10_000)."
            )
        self._cache = value

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides."""
        raise NotImplementedError

    @property
    def state(self) -> Hashable:
        """What differs wherever decisions could, quickly told: the fingerprint, or something cheaper."""
        return self.fingerprint

    def _through_cache(self, texts: Sequence[str], allowed: Collection[str] | None, decide: Deciding) -> list[Decision]:
        """The decisions on these texts, from the cache where there is one and it has them."""
        cache = self._cache  # read once: another thread may take it away
        return (
            decide(list(texts))
            if cache is None
            else cache.decide(texts, allowed, state=lambda: self.state, decide=decide)
        )
