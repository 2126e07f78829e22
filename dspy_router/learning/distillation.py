"""Distillation: a router's decisions, learned by a student that makes them in microseconds."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from dspy_router.learning.batches import spread
from dspy_router.learning.distill_settings import DistillConfig, DistillReport
from dspy_router.learning.imitation import Imitation, Teaching
from dspy_router.learning.swaps import swap_words, words_alike
from dspy_router.routing.encoders import Encoder, SentenceEncoder, encode
from dspy_router.routing.explanation import Memory
from dspy_router.routing.policies import Tools, ToolSpacePolicy
from dspy_router.routing.router import Router
from dspy_router.routing.static import StaticEncoder
from dspy_router.routing.threads import bounded_threads
from dspy_router.routing.toolset import card_text
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.decisions import check_queries

__all__ = ["DistillConfig", "DistillReport", "distill", "word_pieces_of"]

logger = logging.getLogger(__name__)

_FEWEST_TEXTS = 16
_RARE = 1e-3  # share of all pieces below which one keeps its weight; frequent ones say less


def distill(
    router: Router,
    texts: Iterable[str],
    *,
    config: DistillConfig | None = None,
    tokenizer: Tokenizer | None = None,
) -> tuple[Router, DistillReport]:
    """Train a student that decides as a router does, without its encoder, from texts that need no labels.

    The student is a router like any other: it can be saved, calibrated, explained, exported and given tools. Its
    threshold is the teacher's; its calibration is none, since the teacher's speaks of the teacher's probabilities:
    calibrate the student on labelled examples of its own.

    The texts that the teacher was trained on will do. To them come made-up ones, in which words are swapped for others
    that the teacher's encoder takes for nearly the same: so the student hears of words that no text contains, and the
    teacher is asked where it is less sure than on the texts that it was trained on.

    The vectors of the word pieces start as the teacher's encoder's, each piece read as a text of its own, reduced to
    their principal components and weighed by rarity (Tulkens & van Dongen 2024, model2vec; Arora et al. 2017, "A simple
    but tough-to-beat baseline for sentence embeddings"). Then encoder and policy learn together, see
    `imitation.soft_cross_entropy`.

    Args:
        router: The teacher; it is not changed.
        texts: What users ask; no labels.
        config: How to distill.
        tokenizer: A WordPiece tokenizer whose pieces the student reads. By default the teacher's, if it is a
            sentence encoder of that kind, so that words which no text contains have vectors too; or else one that is
            learned from the texts.

    Returns:
        The student and what was done.

    Raises:
        FloatingPointError: If the loss becomes infinite or no number.
        TypeError: If the teacher is no `Router`, or a text no string.
        ValueError: If there are too few texts, one is empty, or the teacher has so many tools that it uses an index.
    """
    if not isinstance(router, Router):
        raise TypeError(
            f"The teacher must be a Router, whose encoder and policy can be asked; got {type(router).__name__}. Of an "
            "exported one take the Router that it came from."
        )
    config = config if config is not None else DistillConfig()
    started = time.perf_counter()
    every = _check_texts(texts)
    with bounded_threads(config.threads), torch.random.fork_rng(devices=[]):
        train, held_out = _split(every, config)
        pieces = _read_pieces(router, train, config, tokenizer)
        alike = words_alike(train, pieces.names, pieces.vectors) if config.variations else {}
        made_up = swap_words(train, alike, variations=config.variations, seed=config.seed)
        said, heard = (_ask(router, part, config) for part in ([*train, *made_up], held_out))
        asked = time.perf_counter() - started
        projection = principal_components(said[1][: len(train)], config.dim)
        train = [*train, *made_up]
        encoder = _start(pieces, train, projection, config)
        student = _build(router, encoder, every, config)
        views = _reduce(tools_of(router).views.cpu().flatten(0, 1), projection)
        lessons = Teaching(train, said[0], _reduce(said[1], projection))
        report = DistillReport(texts=len(train), held_out=len(held_out), teacher_seconds=asked)
        report.losses = Imitation(student, lessons, views, config).train()
        student.memory = _remember(student, every, router.tools, config)
        if held_out:
            _compare(report, student, Teaching(held_out, heard[0], _reduce(heard[1], projection)))
    report.bytes = sum(map(len, student.to_files().values()))
    report.seconds = time.perf_counter() - started
    logger.info("Distilled from %d texts in %.1f s.", report.texts, report.seconds)
    return student, report


def _check_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("distill takes many texts, got a single string.")
    every = list(texts)
    check_queries(every)
    distinct = list(dict.fromkeys(every))
    if len(distinct) < _FEWEST_TEXTS:
        raise ValueError(
            f"Distilling needs at least {_FEWEST_TEXTS} different texts, got {len(distinct)}. They need no labels: "
            "take what users ask, of every tool."
        )
    return distinct


def _split(texts: Sequence[str], config: DistillConfig) -> tuple[list[str], list[str]]:
    """The texts to train on, and those to compare on."""
    order = list(texts)
    random.Random(config.seed).shuffle(order)
    count = int(config.held_out * len(order))
    return order[count:], order[:count]


def _ask(teacher: Router, texts: Sequence[str], config: DistillConfig) -> tuple[Tensor, Tensor]:
    """The teacher's logits, [n, k + 1], and its encoder's vectors, [n, d]."""
    space = tools_of(teacher)
    if not texts:
        return torch.empty(0, len(teacher.tools) + 1), torch.empty(0, teacher.encoder.dim)
    with torch.no_grad():
        states = teacher.read(texts, progress=config.progress)
        batches = torch.arange(len(texts), device=teacher.device).split(1024)
        logits = torch.cat([teacher.policy(states.select(batch), space).cpu() for batch in batches])
    return logits, states.vectors.cpu()


def tools_of(router: Router) -> Tools:
    """A router's tools, all of which it scores each time.

    Raises:
        ValueError: If there are so many that an index finds a few of them first.
    """
    if not isinstance(router.space, Tools):
        raise ValueError(
            f"The router finds a few of its {len(router.tools)} tools by an index before it scores them, and a student "
            "learns from the scores of all: distill a router of fewer tools, and add the others to the student."
        )
    return router.space


def principal_components(vectors: Tensor, dim: int) -> Tensor:
    """The directions in which vectors vary most, float32 [d, min(dim, d)]; the unit matrix where nothing is left out.

    Args:
        vectors: float32 [n, d].
        dim: How many.
    """
    wide = vectors.shape[1]
    if dim >= wide:
        return torch.eye(wide)
    # The mean is kept: as one text's cosine with another is to stay, so is what all of them share.
    wider = vectors.double()  # few texts span less than the space, and float32 does not converge on that
    return torch.linalg.eigh(wider.T @ wider).eigenvectors.flip(1)[:, :dim].float().contiguous()


def _reduce(vectors: Tensor, projection: Tensor) -> Tensor:
    return F.normalize(vectors @ projection, dim=1)


class _Pieces(NamedTuple):
    """What a teacher makes of word pieces, each read as a text of its own.

    Attributes:
        tokenizer: Where they are from.
        names: Those that are texts: all but the special ones. `##ed` goes on with a word.
        rows: Their numbers.
        vectors: The teacher's, float32 [len(names), d].
    """

    tokenizer: Tokenizer
    names: list[str]
    rows: list[int]
    vectors: Tensor


def _read_pieces(teacher: Router, texts: Sequence[str], config: DistillConfig, tokenizer: Tokenizer | None) -> _Pieces:
    tokenizer = tokenizer if tokenizer is not None else word_pieces_of(teacher.encoder)
    if tokenizer is None:
        learner = StaticEncoder(dim=1, vocabulary_size=config.vocabulary_size)
        learner.learn_vocabulary([*texts, *(view for card in teacher.cards for view in card.views)])
        tokenizer = learner.tokenizer
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    every = sorted(plain.get_vocab().items(), key=lambda item: item[1])
    readable = [(name, row) for name, row in every if not (name.startswith("[") and name.endswith("]"))]
    names, rows = [name for name, _ in readable], [row for _, row in readable]
    vectors = encode(teacher.encoder, [name.removeprefix("##") for name in names], progress=config.progress).cpu()
    return _Pieces(plain, names, rows, vectors)


def _start(pieces: _Pieces, texts: Sequence[str], projection: Tensor, config: DistillConfig) -> StaticEncoder:
    """A static encoder whose pieces mean what they mean to the teacher."""
    encoder = StaticEncoder(
        dim=projection.shape[1],
        vocabulary_size=config.vocabulary_size,
        max_length=config.max_length,
        token_dropout=config.token_dropout,
        seed=config.seed,
    )
    table = torch.zeros(pieces.tokenizer.get_vocab_size(), projection.shape[1])
    table[pieces.rows] = (pieces.vectors - pieces.vectors.mean(0)) @ projection
    blank = table.square().sum(1) == 0
    table[blank] = table[~blank].square().mean().sqrt() * torch.randn(
        int(blank.sum()), table.shape[1], generator=torch.Generator().manual_seed(config.seed)
    )
    encoder.start_from(pieces.tokenizer, table)
    counts = torch.bincount(torch.tensor(encoder.pieces.rows(texts).ids), minlength=len(table)).float()
    encoder.start_from(pieces.tokenizer, table * (_RARE / (_RARE + counts / counts.sum()))[:, None])
    return encoder


def word_pieces_of(encoder: Encoder) -> Tokenizer | None:
    """A sentence encoder's tokenizer, if it splits words as WordPiece does; None of any other encoder."""
    if not isinstance(encoder, SentenceEncoder):
        return None
    backend = getattr(encoder.model.tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer) or json.loads(backend.to_str())["model"].get("type") != "WordPiece":
        return None
    return backend


def _build(teacher: Router, encoder: StaticEncoder, texts: Sequence[str], config: DistillConfig) -> Router:
    """A student that has learned nothing yet."""
    vocabulary = Vocabulary.build(map(card_text, teacher.cards), texts)
    policy = ToolSpacePolicy(
        encoder.dim,
        hidden=max(1, config.hidden),
        word_dim=config.word_dim,
        dropout=config.dropout,
        word_dropout=config.word_dropout,
    )
    generator = torch.Generator().manual_seed(config.seed)
    policy.prepare(teacher.tools, len(vocabulary), deep=config.hidden > 0, generator=generator)
    seen = teacher.seen | SeenTexts.of(texts)
    return Router(teacher.cards, encoder, policy=policy, vocabulary=vocabulary, threshold=teacher.threshold, seen=seen)


def _remember(student: Router, texts: Sequence[str], tools: Sequence[str], config: DistillConfig) -> Memory:
    """Some texts of each tool, with what the student makes of them, to explain its decisions by."""
    chosen = student.logits(texts).argmax(1).tolist()
    labels = [tuple(tools[column : column + 1]) for column in chosen]
    rows = spread(labels, config.remember)
    kept = tuple(texts[row] for row in rows)
    return Memory(kept, tuple(labels[row] for row in rows), encode(student.encoder, kept))


def _compare(report: DistillReport, student: Router, teaching: Teaching) -> None:
    logits = student.logits(teaching.texts)
    report.agreement = float((logits.argmax(1) == teaching.logits.argmax(1)).float().mean())
    wanted, said = teaching.logits.log_softmax(1), logits.log_softmax(1)
    report.divergence = float(F.kl_div(said, wanted, reduction="batchmean", log_target=True))
    report.similarity = float((encode(student.encoder, teaching.texts) * teaching.vectors).sum(1).mean())
