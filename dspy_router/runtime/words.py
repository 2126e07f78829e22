"""Words: stems and pairs of stems, how rare each of them is, and how much each weighs in a text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import mul
from typing import Any, NamedTuple, Self

_TOKEN = re.compile(r"\w+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Only the head of a very long text is read, as an encoder only reads its window: a decision must stay bounded.
_LONGEST = 8_000
# Function words say nothing about which tool is meant. They are left out of the overlap of query and card, where the
# few cards of a small toolbox cannot reveal them as frequent; what is learned from queries may use them.
_FUNCTION_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both but
by can could did do does doing down during each few for from further get give had has have having he her here hers
him his how i if in into is it its just let like may me more most my need no nor not now of off on once only or
other our out over own please same she should so some such tell than that the their them then there these they
this those through to too under until up use user using very want was we were what when where which while who
whom why will with would you your
"""


class WordRows(NamedTuple):
    """Sparse rows: row i holds the entries from `offsets[i]` up to the next offset.

    Attributes:
        indices: Word ids, n of them.
        offsets: Start of each row.
        weights: Weight of each entry.
    """

    indices: list[int]
    offsets: list[int]
    weights: list[float]


class Vocabulary:
    """The words that are known, and how rare each of them is.

    It is read from the tool cards; training adds the words and word pairs of the queries. Ids never change: words that
    come later are appended, so that weights learned for the earlier ones stay theirs.
    """

    def __init__(self, idf: Mapping[str, float] | None = None, rarest: float = 1.0) -> None:
        self.ids: dict[str, int] = {}
        self.idf: list[float] = []
        self.rarest = rarest
        for word, value in (idf or {}).items():
            self._append(word, value)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(cls, cards: Iterable[str], queries: Sequence[str] = (), *, least: int = 2) -> Self:
        """Read a vocabulary from the texts of the cards and, if there are any, the training queries.

        Args:
            cards: One text a card; all their words are kept.
            queries: Training queries.
            least: In how many queries a word or pair must occur to be kept.
        """
        card_counts, query_counts = Counter[str](), Counter[str]()
        total = len(queries)
        for text in cards:
            card_counts.update(_distinct(content_words(text)))
            total += 1
        for text in queries:
            query_counts.update(_distinct(_grams(stems(text))))
        kept = dict.fromkeys([*card_counts, *(word for word, count in query_counts.items() if count >= least)])
        idf = {word: _idf(total, card_counts[word] + query_counts[word]) for word in kept}
        return cls(idf, rarest=_idf(total, 0))

    def add(self, text: str) -> None:
        """Append the words of a new card, as rare as a word can be."""
        for word in content_words(text):
            if word not in self.ids:
                self._append(word, self.rarest)

    def extended(self, other: Vocabulary) -> Self:
        """A copy with the other's words appended; words of both keep their id and take the other's rarity."""
        result = type(self)(dict(zip(self.ids, self.idf, strict=True)), other.rarest)
        for word, idf in zip(other.ids, other.idf, strict=True):
            if word in result.ids:
                result.idf[result.ids[word]] = idf
            else:
                result._append(word, idf)
        return result

    def _append(self, word: str, idf: float) -> None:
        self.ids[word] = len(self.ids)
        self.idf.append(idf)

    def rows(self, texts: Iterable[str]) -> WordRows:
        """Texts as rows of sublinear tf-idf weights.

        A row's length is 1 if all its words are known, less if some are not: the fewer known words, the less they say.
        """
        return self._pack(_grams(stems(text)) for text in texts)

    def card_rows(self, texts: Iterable[str]) -> WordRows:
        """Texts of cards as rows of unit length over their content words alone."""
        return self._pack(content_words(text) for text in texts)

    def _pack(self, documents: Iterable[Sequence[str]]) -> WordRows:
        indices: list[int] = []
        offsets: list[int] = []
        weights: list[float] = []
        ids, idf = self.ids, self.idf  # looked up for every word of every decision: each name costs
        for document in documents:
            offsets.append(len(indices))
            if len(set(document)) == len(document):  # no word twice, as in most queries
                known = [word_id for word_id in map(ids.get, document) if word_id is not None]
                row = list(map(idf.__getitem__, known))
                squares = (len(document) - len(known)) * self.rarest**2
            else:
                known, row, squares = self._weigh(Counter(document))
            norm = math.sqrt(squares + sum(map(mul, row, row))) or 1.0
            indices += known
            weights += [weight / norm for weight in row]
        return WordRows(indices, offsets, weights)

    def _weigh(self, counts: Mapping[str, int]) -> tuple[list[int], list[float], float]:
        """Ids and weights of the known words, and the sum of the unknown ones' squared weights."""
        known: list[int] = []
        row: list[float] = []
        squares = 0.0
        for word, count in counts.items():
            word_id = self.ids.get(word)
            weight = (1.0 + math.log(count)) * (self.rarest if word_id is None else self.idf[word_id])
            if word_id is None:
                squares += weight * weight
            else:
                known.append(word_id)
                row.append(weight)
        return known, row, squares

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict for `from_dict`."""
        return {"words": list(self.ids), "idf": self.idf, "rarest": self.rarest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The vocabulary that `to_dict` described."""
        return cls(dict(zip(data["words"], data["idf"], strict=True)), data["rarest"])


def _idf(total: int, count: int) -> float:
    return math.log((1 + total) / (1 + count)) + 1.0


@lru_cache(maxsize=4)  # a decision reads its text as pieces and as words, and the next router the same text again
def split_words(text: str) -> tuple[str, ...]:
    """The words of a text's head, lower-cased, in order; `fetchPage` and `fetch_page` are two words each."""
    return tuple(_TOKEN.findall(_CAMEL.sub(" ", text[:_LONGEST]).replace("_", " ").lower()))


def stems(text: str) -> list[str]:
    """The words of a text, lower-cased and without their commonest English endings, in order."""
    return list(map(_stem, split_words(text)))


def content_words(text: str) -> list[str]:
    """The stems of a text that are no function words."""
    return [stem for stem in stems(text) if not is_function_word(stem)]


def _distinct(words: Sequence[str]) -> list[str]:
    # In their order, not as a set's hashes have it: ids, and with them the weights, must not differ between processes.
    return list(dict.fromkeys(words))


def _grams(words: Sequence[str]) -> list[str]:
    return [*words, *map(" ".join, pairwise(words))]


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    """Fold the commonest endings, so that `cities` meets `city`, `names` `name` and `making` `make`."""
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        word = word[:-1]
    for suffix in ("ing", "ed"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def is_function_word(stem: str) -> bool:
    """Whether a stem is one of the English words that say nothing about which tool is meant."""
    return stem in _FUNCTION_STEMS


_FUNCTION_STEMS = frozenset(map(_stem, _FUNCTION_WORDS.split()))
