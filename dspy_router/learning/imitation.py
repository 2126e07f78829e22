"""Imitation: what a student learns from, and the pass over it that moves the student's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from dspy_router.learning.batches import default_batch_size, passes_an_epoch, shuffled_batches, warm_cosine
from dspy_router.learning.distill_settings import DistillConfig
from dspy_router.routing.policies import States, Tools, ToolSpacePolicy
from dspy_router.routing.router import Router
from dspy_router.routing.static import StaticEncoder
from dspy_router.routing.words import WordBag


class Teaching(NamedTuple):
    """What a teacher says of some texts.

    Attributes:
        texts: The texts, n of them.
        logits: The teacher's, float32 [n, k + 1].
        vectors: Its encoder's vectors in the student's space, at length 1, float32 [n, dim].
    """

    texts: Sequence[str]
    logits: Tensor
    vectors: Tensor


def soft_cross_entropy(logits: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Divergence from the teacher's softened probabilities: `τ² · mean_i Σ_a p_τ(a) · (log p_τ(a) − log q_τ(a))`.

    `p_τ` and `q_τ` are the softmax of the teacher's and the student's logits divided by τ; the factor τ² keeps the
    gradient's size. Hinton et al. 2015, "Distilling the knowledge in a neural network". Left out of the paper: a second
    term for true labels, since the texts have none.

    Args:
        logits: The student's, float [b, k + 1].
        teacher: The teacher's, float [b, k + 1].
        temperature: τ > 0.

    Returns:
        A scalar, 0 where the student says what the teacher says.
    """
    wanted = (teacher / temperature).softmax(1)
    said = (logits / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(said, wanted, reduction="batchmean")


class Imitation:
    """Trains a student's encoder and policy together."""

    def __init__(self, student: Router, teaching: Teaching, views: Tensor, config: DistillConfig) -> None:
        """Prepare to teach.

        Args:
            student: A router of a static encoder and a `ToolSpacePolicy` that has room for its corrections.
            teaching: What to learn from.
            views: Where the teacher's encoder sees the cards' views, in the student's space, float32 [3 k, dim].
            config: How to train.
        """
        assert isinstance(student.encoder, StaticEncoder)
        assert isinstance(student.policy, ToolSpacePolicy)
        self.student, self.encoder, self.policy = student, student.encoder, student.policy
        self.teaching, self.views, self.config = teaching, views, config
        card_texts = [text for card in student.cards for text in card.views]
        self.words = student.vocabulary.bag(teaching.texts)
        self.pieces, self.card_pieces = self._read(teaching.texts), self._read(card_texts)
        # Most pieces of a full tokenizer occur nowhere here: only the rows that do are moved by the optimizer.
        self.used, places = torch.unique(
            torch.cat([self.pieces.indices, self.card_pieces.indices]), return_inverse=True
        )
        own, cards = places.split([len(self.pieces.indices), len(self.card_pieces.indices)])
        self.pieces, self.card_pieces = self.pieces._replace(indices=own), self.card_pieces._replace(indices=cards)
        self.table = self.encoder.tokens.weight.detach()[self.used].clone().requires_grad_()
        self.optimizer = self._optimizer()

    def _read(self, texts: Sequence[str]) -> WordBag:
        ids, offsets = self.encoder.pieces.rows(texts)
        return WordBag(torch.tensor(ids), torch.tensor(offsets, dtype=torch.int64), torch.ones(len(ids)))

    def _optimizer(self) -> torch.optim.Optimizer:
        config, carriers = self.config, self.policy.corrections
        ids = set(map(id, carriers))
        others = [one for one in self.policy.parameters() if id(one) not in ids]
        groups = [
            {"params": carriers, "peak": config.learning_rate, "weight_decay": config.prior / len(self.teaching.texts)},
            {"params": others, "peak": config.learning_rate},
            {"params": [self.table], "peak": config.encoder_learning_rate},
        ]
        return torch.optim.Adam(groups, fused=True)

    @property
    def batch_size(self) -> int:
        """Texts a step."""
        return self.config.batch_size or default_batch_size(len(self.teaching.texts))

    def train(self) -> list[float]:
        """All passes; the mean loss of each."""
        config, losses = self.config, []
        generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        count, passes = len(self.teaching.texts), passes_an_epoch(len(self.teaching.texts), self.batch_size)
        steps = passes * math.ceil(count / self.batch_size)
        bar = tqdm(total=steps * config.epochs, desc="distilling", unit="step", delay=2, disable=not config.progress)
        for epoch in range(config.epochs):
            self._see_cards()
            self.policy.train()
            total = 0.0
            batches = (shuffled_batches(count, self.batch_size, generator) for _ in range(passes))
            for step, rows in enumerate(chain.from_iterable(batches)):
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * warm_cosine((epoch * steps + step) / (steps * config.epochs))
                loss = self._loss(rows, generator)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += float(loss.detach())
                bar.update()
            losses.append(total / steps)
            if not math.isfinite(total):
                raise FloatingPointError(
                    f"Distilling diverged in epoch {epoch + 1}: the loss is {total}. Try a smaller learning rate than "
                    f"{config.learning_rate} and {config.encoder_learning_rate}."
                )
        bar.close()
        self.policy.eval()
        self._hand_over()
        return losses

    def _loss(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        config, teaching = self.config, self.teaching
        vectors = self._vectors(self.pieces.select(rows), generator)
        logits = self.policy(States(vectors, self.words.select(rows)), cast(Tools, self.student.space))
        loss = soft_cross_entropy(logits, teaching.logits[rows], temperature=config.temperature)
        if config.vector_weight == 0.0:
            return loss
        # The cards are learned as well as the texts: later tools are reached by theirs alone.
        cards = torch.randint(len(self.views), (max(1, len(rows) // 4),), generator=generator)
        seen = torch.cat([vectors, self._vectors(self.card_pieces.select(cards), generator)])
        wanted = torch.cat([teaching.vectors[rows], self.views[cards]])
        return loss + config.vector_weight * (1.0 - (seen * wanted).sum(1)).mean()

    def _vectors(self, pieces: WordBag, generator: torch.Generator) -> Tensor:
        kept = torch.rand(len(pieces.indices), generator=generator) >= self.config.token_dropout
        sums = F.embedding_bag(
            pieces.indices, self.table, pieces.offsets, mode="sum", per_sample_weights=pieces.weights * kept
        )
        return F.normalize(sums, dim=1)

    def _see_cards(self) -> None:
        """Where the cards are now: their vectors move with the encoder's weights."""
        with torch.no_grad():
            sums = F.embedding_bag(self.card_pieces.indices, self.table, self.card_pieces.offsets, mode="sum")
        space = self.student.space
        assert isinstance(space, Tools)
        self.student.space = space._replace(views=F.normalize(sums, dim=1).view_as(space.views))

    def _hand_over(self) -> None:
        # Rounded to what half the bytes can hold, so that the saved student is this very one.
        with torch.no_grad():
            self.encoder.tokens.weight[self.used] = self.table
            for table in (self.encoder.tokens.weight, self.policy.word_vectors, self.policy.word_weights):
                table.copy_(table.half().float())
        self.encoder.eval()
        self.student.refresh()
