"""Token ids word by word are those of the whole text."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from dspy_router.runtime import tokens
from dspy_router.runtime.tokens import KnownWords, TokenReader

LETTERS = "abcdehlo"
NAMES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "hello",
    "##oo",
    "!",
    "中",
]
WINDOW = 12
TEXTS = st.text(max_size=40) | st.lists(
    st.sampled_from(
        ["Hello", "he!llo", "[SEP]", "é", "中文", "\u0301", "\t", "\x00", "\x1c", "\ud800", "  ", " ", "a\nb"]
    )
).map("".join)


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({name: row for row, name in enumerate(NAMES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[SEP]"])
    return tokenizer


def by_spaces() -> Tokenizer:
    """One that makes of two words something else than of each."""
    tokenizer = Tokenizer(models.BPE({"a": 0, "▁": 1, "b": 2, "▁a": 3, "▁b": 4}, [("▁", "a"), ("▁", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def whole(tokenizer: Tokenizer, text: str, window: int = WINDOW) -> list[int]:
    tokenizer.enable_truncation(window)
    return tokenizer.encode(text.encode("utf-8", "replace").decode()).ids


READER, BERT = TokenReader(bert().to_str(), WINDOW), bert()


@given(TEXTS)
@example("hello \u0301a [SEP] x\x1cb")
@example("")
def test_word_by_word_gives_the_ids_of_the_whole_text(text):
    assert READER([text, text]) == [whole(BERT, text)] * 2


def test_a_word_is_asked_for_once(monkeypatch):
    asked = []
    split = KnownWords._split
    monkeypatch.setattr(KnownWords, "_split", lambda self, word: asked.append(word) or split(self, word))
    reader = TokenReader(bert().to_str(), WINDOW)
    assert reader(["hello hello"]) == reader(["hello hello"])
    assert asked == ["hello"]


def test_what_is_cut_is_counted():
    reader = TokenReader(bert().to_str(), WINDOW)
    (row,) = reader(["a " * 50])
    assert (len(row), row[-1], reader.window.truncated) == (WINDOW, 3, 1)
    reader(["a " * (WINDOW - 2)])
    assert reader.window.truncated == 1


@pytest.mark.parametrize("text", ["a b", "b", " a", "aab b"])
def test_a_tokenizer_that_looks_across_spaces_sees_the_whole_text(text):
    assert TokenReader(by_spaces().to_str(), WINDOW)([text]) == [whole(by_spaces(), text)]


@pytest.mark.parametrize("splits", [None, pre_tokenizers.Punctuation()])
def test_a_tokenizer_to_which_a_space_is_a_letter_sees_the_whole_text(splits):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "## ": 3, "##b": 4}, unk_token="[UNK]"))
    if splits is not None:
        tokenizer.pre_tokenizer = splits
    assert TokenReader(tokenizer.to_str(), WINDOW)(["a b"]) == [whole(tokenizer, "a b")] == [[1, 3, 4]]


def test_a_token_of_two_words_is_found():
    tokenizer = bert()
    tokenizer.add_tokens(["a b"])
    assert TokenReader(tokenizer.to_str(), WINDOW)(["a b"]) == [whole(tokenizer, "a b")] == [[2, len(NAMES), 3]]


def test_a_window_without_room_for_a_word_is_the_tokenizers_own_affair():
    assert TokenReader(bert().to_str(), 2)(["a b"]) == [whole(bert(), "a b", 2)]


def test_what_strangers_type_does_not_fill_memory(monkeypatch):
    monkeypatch.setattr(tokens, "_REMEMBERED_WORDS", 3)
    words = KnownWords(bert())
    for word in ["a", "b", "c", "d", "e" * 40]:
        words.pieces([word])
        assert len(words._known) <= 3
    assert "e" * 40 not in words._known


def test_a_copy_in_another_process_begins_without_words():
    words = KnownWords(bert())
    expected = words.pieces(["hello"])
    copy = pickle.loads(pickle.dumps(words))
    assert not copy._known
    assert copy.pieces(["hello"]) == expected


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(ValueError, match="cannot read the tokenizer"):
        TokenReader(json.dumps({"model": 1}), WINDOW)
