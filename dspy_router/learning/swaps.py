"""Swaps: texts that nobody wrote, some words of real ones exchanged for words of like meaning."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dspy_router.runtime.words import content_words

_WORD = re.compile(r"(\w+)")
_PLAIN = re.compile(r"[a-z]{3,}")
_NEAREST = 8
_ALIKE = 0.35  # least cosine of two words that may stand for each other, about the words' mean
_RATES = (0.25, 0.5)  # share of the words that a text loses, in turn
_WORDS_A_BATCH = 512


def words_alike(texts: Iterable[str], words: Sequence[str], vectors: Tensor) -> dict[str, list[str]]:
    """For each word of the texts up to eight others that mean much the same; words without any are left out.

    Args:
        texts: What the words are looked for in.
        words: All words that may stand for others; only those of three letters or more that say something count.
        vectors: What they mean, float32 [len(words), d].
    """
    rows = [row for row, word in enumerate(words) if _PLAIN.fullmatch(word) and content_words(word)]
    names = [words[row] for row in rows]
    known = {name: place for place, name in enumerate(names)}
    asked = sorted({word for text in texts for word in _WORD.findall(text.lower()) if word in known})
    if not asked:
        return {}
    meant = F.normalize(vectors[rows] - vectors.mean(0), dim=1)
    places = torch.tensor([known[word] for word in asked])
    alike: dict[str, list[str]] = {}
    for start in range(0, len(asked), _WORDS_A_BATCH):
        own = places[start : start + _WORDS_A_BATCH]
        cosines = meant[own] @ meant.T
        cosines[torch.arange(len(own)), own] = -1.0
        nearest = cosines.topk(min(_NEAREST, len(rows)), dim=1)
        for word, values, others in zip(asked[start:], nearest.values.tolist(), nearest.indices.tolist(), strict=False):
            found: list[str] = [names[other] for value, other in zip(values, others, strict=True) if value > _ALIKE]
            if found:
                alike[word] = found
    return alike


def swap_words(
    texts: Sequence[str], alike: Mapping[str, Sequence[str]], *, variations: int, seed: int = 0
) -> list[str]:
    """Texts of which a quarter, or every second time half, of the words are swapped for words like them.

    Wei & Zou 2019, "EDA: Easy data augmentation techniques for boosting performance on text classification tasks", swap
    a thesaurus's synonyms and keep the label; here an encoder says what is alike, and the teacher is asked anew.

    Args:
        texts: What they are made of, n of them.
        alike: What each word may be swapped for.
        variations: How many of each text; at least one word of each is swapped.
        seed: Same seed, same texts.

    Returns:
        At most `variations · n` different texts; none of those that were given.
    """
    made: dict[str, None] = {}
    for turn in range(variations):
        rate = _RATES[turn % len(_RATES)]
        for text in texts:
            # Each text draws for itself: what is made of it does not change with the texts beside it.
            draw = random.Random(f"{seed} {turn} {text!a}")
            parts = _WORD.split(text)
            places = [place for place, part in enumerate(parts) if part.lower() in alike]
            if places:
                for place in [one for one in places if draw.random() < rate] or [draw.choice(places)]:
                    parts[place] = draw.choice(alike[parts[place].lower()])
                made["".join(parts)] = None
    known = set(texts)
    return [text for text in made if text not in known]
