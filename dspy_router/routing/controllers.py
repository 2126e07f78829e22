"""Controllers: small encoders that are trained from scratch on the task's own text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F

from dspy_router.routing.encoders import ModuleEncoder
from dspy_router.runtime.texts import readable
from dspy_router.runtime.window import Window

_SPECIAL = ["[PAD]", "[UNK]"]
_LETTERS_A_TOKEN = 16


class ScratchEncoder(ModuleEncoder):
    """What the controllers share: a tokenizer learned from the task's own text, and token vectors.

    Before `learn_vocabulary` it reads single letters; `fit` calls that with the training queries before the first step.
    """

    trainable = True

    def __init__(
        self,
        *,
        dim: int = 256,
        vocabulary_size: int = 6000,
        max_length: int = 64,
        dropout: float = 0.3,
        token_dropout: float = 0.1,
        seed: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        """An untrained encoder.

        Args:
            dim: Length of the vectors.
            vocabulary_size: Most word pieces the tokenizer may learn.
            max_length: Longest input in tokens; what lies beyond is not read.
            dropout: Share of each layer that is dropped in training.
            token_dropout: Share of the tokens that are hidden in training.
            seed: Seed of the starting weights.
            tokenizer: A learned tokenizer as JSON; without one it starts from letters.
        """
        super().__init__()
        self.dim, self.vocabulary_size, self.max_length = dim, vocabulary_size, max_length
        self.dropout, self.token_dropout, self.seed = dropout, token_dropout, seed
        self.window = Window(max_length)
        self.has_vocabulary = tokenizer is not None
        self.tokenizer = Tokenizer.from_str(tokenizer) if tokenizer else _learn_tokenizer([], vocabulary_size)
        self._rebuild()

    def _rebuild(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.tokens = nn.Embedding(self.tokenizer.get_vocab_size(), self.dim, padding_idx=0)
            self.build()
        self.eval()

    def build(self) -> None:
        """Create the layers above the token vectors."""
        raise NotImplementedError

    def read(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Token vectors [b, l, dim] and their bool mask [b, l] to one vector a text, [b, dim]."""
        raise NotImplementedError

    def learn_vocabulary(self, texts: Sequence[str]) -> None:
        """Learn the tokenizer from these texts and start the weights anew; a no-op once there is one."""
        if self.has_vocabulary:
            return
        device = self.tokens.weight.device
        self.tokenizer = _learn_tokenizer([readable(text) for text in texts], self.vocabulary_size)
        self.has_vocabulary = True
        self._rebuild()
        self.to(device)

    @property
    def config(self) -> dict[str, Any]:
        names = ("dim", "vocabulary_size", "max_length", "dropout", "token_dropout", "seed")
        tokenizer = self.tokenizer.to_str() if self.has_vocabulary else None
        return {**{name: getattr(self, name) for name in names}, "tokenizer": tokenizer}

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts."""
        longest = _LETTERS_A_TOKEN * self.max_length
        encodings = self.tokenizer.encode_batch([readable(text, longest) for text in texts])
        rows = [encoding.ids[: self.max_length] or [1] for encoding in encodings]
        if not self.training and self.window is not None:
            self.window.note(sum(len(encoding.ids) > self.max_length for encoding in encodings))
        device = self.tokens.weight.device
        ids = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.int64, device=device)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens, device=device)
        mask = ids != 0
        if self.training and self.token_dropout > 0:
            hidden = torch.rand(ids.shape, device=device) < self.token_dropout
            ids = torch.where(hidden & mask, 1, ids)
        return F.normalize(self.read(F.dropout(self.tokens(ids), self.dropout, self.training), mask), dim=1)


class GRUEncoder(ScratchEncoder):
    """A bidirectional gated recurrent network, its states pooled by their maximum.

    Cho et al. 2014, "Learning phrase representations using RNN encoder–decoder".
    """

    kind = "gru"

    def build(self) -> None:
        self.gru = nn.GRU(self.dim, self.dim // 2, batch_first=True, bidirectional=True)

    def read(self, vectors: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)  # [b, l, dim]
        return states.masked_fill(~mask[..., None], -math.inf).amax(1)


class TransformerEncoder(ScratchEncoder):
    """A small pre-norm transformer with learned positions, its states pooled by their mean.

    Vaswani et al. 2017, "Attention is all you need".
    """

    kind = "transformer"

    def __init__(self, *, layers: int = 2, heads: int = 4, **settings: Any) -> None:
        """An untrained encoder with this many layers and heads; the rest as for every controller."""
        self.layers, self.heads = layers, heads
        super().__init__(**settings)

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "layers": self.layers, "heads": self.heads}

    def build(self) -> None:
        layer = nn.TransformerEncoderLayer(
            self.dim, self.heads, 2 * self.dim, self.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.positions = nn.Parameter(0.02 * torch.randn(self.max_length, self.dim))
        self.attention = nn.TransformerEncoder(layer, self.layers, enable_nested_tensor=False)
        nn.init.normal_(self.tokens.weight, std=self.dim**-0.5)

    def read(self, vectors: Tensor, mask: Tensor) -> Tensor:
        states = self.attention(vectors + self.positions[: mask.shape[1]], src_key_padding_mask=~mask)
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _learn_tokenizer(texts: Sequence[str], size: int) -> Tokenizer:
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    letters = {chr(code) for code in range(33, 127)}
    for text in texts:
        letters.update(normalizer.normalize_str(text))
    alphabet = sorted(letter for letter in letters if not letter.isspace())
    # The trainer would number the letters within a word as its hash map yields them, another way on every run; named
    # beforehand they keep their places, and the same texts give the same tokenizer.
    named = [*_SPECIAL, *(f"##{letter}" for letter in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(size, 2 * len(named)),
        special_tokens=named,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learned = _wordpiece(None, normalizer, splitter)
    learned.train_from_iterator(texts, trainer)
    # Built anew from the pieces alone, so that a text which spells out "[PAD]" is read as text.
    return _wordpiece(learned.get_vocab(), normalizer, splitter)


def _wordpiece(
    vocab: dict[str, int] | None, normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer
) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return tokenizer
