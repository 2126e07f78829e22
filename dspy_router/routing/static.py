"""The static encoder: one learned vector a word piece, summed; decides in microseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from dspy_router.routing.controllers import ScratchEncoder
from dspy_router.routing.encoders import ModuleEncoder
from dspy_router.runtime.static import StaticVectoriser, WordPieces
from dspy_router.runtime.words import split_words

TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "encoder.safetensors"
_TABLE = "tokens.weight"


class StaticEncoder(ScratchEncoder):
    """A bag of word pieces: a text's vector is the sum of its pieces' vectors, at length 1.

    The order of the words is lost here; pairs of words are weighed by `ToolSpacePolicy`. How much a piece counts is the
    length of its vector, which training learns along with its direction. `distill` starts the vectors from a teacher's;
    without a teacher `fit` trains them from random ones, as it does for the other controllers.

    Static word vectors of a sentence encoder are from model2vec (Tulkens & van Dongen 2024, "Model2Vec: Fast
    state-of-the-art static embeddings"); bags of trained vectors from Joulin et al. 2017, "Bag of tricks for efficient
    text classification" (fastText). Left out of the latter: hashed pairs of words in the encoder; the policy's are not
    hashed.
    """

    kind = "static"

    def __init__(
        self,
        *,
        dim: int = 256,
        vocabulary_size: int = 12_000,
        max_length: int = 256,
        token_dropout: float = 0.1,
        seed: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        """An untrained encoder.

        Args:
            dim: Length of the vectors.
            vocabulary_size: Most word pieces the tokenizer may learn.
            max_length: Longest input in word pieces; what lies beyond is not read.
            token_dropout: Share of the pieces that are hidden in training.
            seed: Seed of the starting vectors.
            tokenizer: A learned WordPiece tokenizer as JSON, its piece 0 the padding; without one it starts from
                letters.
        """
        super().__init__(
            dim=dim,
            vocabulary_size=vocabulary_size,
            max_length=max_length,
            dropout=0.0,
            token_dropout=token_dropout,
            seed=seed,
            tokenizer=tokenizer,
        )

    def build(self) -> None:
        nn.init.normal_(self.tokens.weight, std=self.dim**-0.5)
        self.pieces = WordPieces(self.tokenizer, self.max_length)
        self.window = self.pieces.window

    def learn_vocabulary(self, texts: Sequence[str]) -> None:
        """Learn the pieces from the words of these texts, and start the vectors anew; a no-op once there are some."""
        super().learn_vocabulary([" ".join(split_words(text)) for text in texts])

    def start_from(self, tokenizer: Tokenizer, table: Tensor) -> None:
        """Take over a tokenizer and its pieces' vectors, float32 [v, dim]."""
        device = self.tokens.weight.device
        self.tokenizer, self.has_vocabulary = tokenizer, True
        self._rebuild()
        with torch.no_grad():
            self.tokens.weight.copy_(table)
        self.to(device)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts."""
        ids, offsets = self.pieces.rows(texts)
        device = self.tokens.weight.device
        return self.sum_up(*(torch.tensor(part, dtype=torch.int64, device=device) for part in (ids, offsets)))

    def sum_up(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """float32 [n, dim] for rows of pieces, int64 [m], that start at `offsets`, int64 [n]."""
        kept = None
        if self.training and self.token_dropout > 0:
            kept = (torch.rand(len(ids), device=ids.device) >= self.token_dropout).float()
        sums = F.embedding_bag(ids, self.tokens.weight, offsets, mode="sum", per_sample_weights=kept)
        return F.normalize(sums, dim=1)

    def vectoriser(self) -> StaticVectoriser:
        """The same encoder without torch; it shares nothing with this one."""
        table = self.tokens.weight.detach().cpu().numpy().copy()
        return StaticVectoriser.from_json(self.tokenizer.to_str(), table, max_length=self.max_length)

    @property
    def config(self) -> dict[str, Any]:
        names = ("dim", "vocabulary_size", "max_length", "token_dropout", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def fingerprint(self) -> str:
        """Hex digest of the configuration, the weights and the tokenizer."""
        return hashlib.sha256(f"{super().fingerprint}{self.tokenizer.to_str()}".encode()).hexdigest()

    def to_files(self) -> dict[str, bytes]:
        table = self.tokens.weight.detach().cpu()
        halved = table.half()
        # `distill` leaves numbers that half the bytes can hold.
        files = {WEIGHTS_FILE: save({_TABLE: halved if torch.equal(halved.float(), table) else table.contiguous()})}
        if self.has_vocabulary:
            files[TOKENIZER_FILE] = self.tokenizer.to_str().encode()
        return files

    @classmethod
    def from_files(cls, config: Mapping[str, Any], files: Mapping[str, bytes]) -> ModuleEncoder:
        tokenizer = files[TOKENIZER_FILE].decode() if TOKENIZER_FILE in files else None
        encoder = cls(**config, tokenizer=tokenizer)
        if WEIGHTS_FILE in files:
            encoder.load_state_dict({name: tensor.float() for name, tensor in load(files[WEIGHTS_FILE]).items()})
        return encoder
