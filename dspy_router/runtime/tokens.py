"""Texts as a tokenizer's ids, what it makes of a word looked up once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from dspy_router.runtime.texts import readable
from dspy_router.runtime.window import Window

_LETTERS_A_TOKEN = 16
# A word's pieces never change; a bound keeps what strangers type from filling memory.
_REMEMBERED_WORDS = 65_536
_REMEMBERED_LETTERS = 32
# Parts of a tokenizer that make of a text what they make of the words between its spaces, one after the other.
_BY_WORD = {
    "model": {"WordPiece"},
    "normalizer": {"BertNormalizer", "Lowercase", "NFD", "StripAccents"},
    "pre_tokenizer": {"BertPreTokenizer", "Punctuation", "Whitespace", "WhitespaceSplit"},
    "post_processor": {"BertProcessing", "TemplateProcessing"},
}
_AT_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}  # those of them that end a word there


class KnownWords:
    """What a tokenizer makes of words, kept; several threads may ask at once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Ask this one, which must not cut, fill up or add anything."""
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def pieces(self, words: Iterable[str]) -> list[int]:
        """The ids of all words' pieces, one after the other."""
        known, ids = self._known, []
        for word in words:
            pieces = known.get(word)
            ids += self._split(word) if pieces is None else pieces
        return ids

    def _split(self, word: str) -> list[int]:
        pieces = self.tokenizer.encode(readable(word), add_special_tokens=False).ids
        if len(word) <= _REMEMBERED_LETTERS:
            if len(self._known) >= _REMEMBERED_WORDS:
                self._known = {}
            self._known[word] = pieces
        return pieces

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_known": {}}


class _Frame(NamedTuple):
    """The ids that a tokenizer puts around those of a text."""

    before: list[int]
    after: list[int]


class TokenReader:
    """Texts to token ids, as many as a window holds.

    A tokenizer that takes a text word by word, as BERT's do, is asked for each word once: for a query of ten words it
    takes 13 microseconds, and looking them up two. Any other is asked for each text.
    """

    def __init__(self, tokenizer: str, window: int) -> None:
        """Read with this tokenizer.

        Args:
            tokenizer: As JSON of the `tokenizers` package.
            window: Most tokens of a text, with those that the tokenizer puts around it.

        Raises:
            ValueError: If it cannot be read.
        """
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the package raises plain exceptions
            raise ValueError(f"The tokenizers package cannot read the tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.window = Window(window)
        self._frame = _frame_of(self._tokenizer, window) if _takes_words(json.loads(tokenizer)) else None
        if self._frame is None:
            self._tokenizer.enable_truncation(window)
        self._words = KnownWords(self._tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text; empty for a text without any, if nothing is put around it."""
        longest = _LETTERS_A_TOKEN * self.window.size
        if self._frame is not None:
            return [self._by_word(text[:longest], self._frame) for text in texts]
        encodings = self._tokenizer.encode_batch([readable(text, longest) for text in texts])
        self.window.note(sum(1 for one in encodings if one.overflowing))
        return [one.ids for one in encodings]

    def _by_word(self, text: str, frame: _Frame) -> list[int]:
        # At spaces alone: of other white space some tokenizers make a space, and some nothing.
        ids = self._words.pieces(text.split(" "))
        most = self.window.size - len(frame.before) - len(frame.after)
        if len(ids) > most:
            self.window.note(1)
            del ids[most:]
        return frame.before + ids + frame.after


def _takes_words(tokenizer: Mapping[str, Any]) -> bool:
    """Whether it makes of a text what it makes of the words between its spaces."""
    if any(" " in token["content"] for token in tokenizer.get("added_tokens") or ()):
        return False
    if not any(part.get("type") in _AT_SPACES for part in _steps(tokenizer.get("pre_tokenizer"))):
        return False
    return all(part.get("type") in known for name, known in _BY_WORD.items() for part in _steps(tokenizer.get(name)))


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a tokenizer's part, which may be none, one, or several in a row."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        every = next((value for value in part.values() if isinstance(value, list)), [])
        return [step for one in every for step in _steps(one)]
    return [part]


def _frame_of(tokenizer: Tokenizer, window: int) -> _Frame | None:
    """What it puts around a text; None if that leaves no room, or does not leave the text as it is."""
    text = "a b"
    inner, whole = (tokenizer.encode(text, add_special_tokens=add).ids for add in (False, True))
    for start in range(len(whole) - len(inner) + 1):
        if whole[start : start + len(inner)] == inner and len(whole) - len(inner) < window:
            return _Frame(whole[:start], whole[start + len(inner) :])
    return None
