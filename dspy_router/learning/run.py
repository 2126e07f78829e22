"""One training run: batches, steps, checkpoints and the best epoch, over copies of a router's parts."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dspy_router.learning.batches import (
    bucketed_batches,
    default_batch_size,
    passes_an_epoch,
    shuffled_batches,
    spread,
    warm_cosine,
)
from dspy_router.learning.checkpoints import Checkpoints
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.losses import cross_entropy
from dspy_router.learning.objectives import Downstream, Objective, Purpose
from dspy_router.learning.settings import EpochRecord, TrainConfig, TrainReport
from dspy_router.routing.controllers import ScratchEncoder
from dspy_router.routing.encoders import ModuleEncoder, encode
from dspy_router.routing.explanation import Memory
from dspy_router.routing.neighbours import NeighbourPolicy, without_neighbours
from dspy_router.routing.novelty import Novelty, NoveltyPolicy, without_novelty
from dspy_router.routing.policies import States, ToolSpacePolicy
from dspy_router.routing.router import Router
from dspy_router.routing.toolset import card_text
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary

_LOGITS_A_BATCH = 1024


class TrainingRun:
    """One training run over copies of a router's parts, so that the router itself changes only at the end."""

    def __init__(
        self,
        router: Router,
        train: Lessons,
        val: Lessons | None,
        config: TrainConfig,
        objective: Purpose,
        *,
        predicted: Tensor | None = None,
        downstream: Downstream | None = None,
    ) -> None:
        self.train_set, self.val_set, self.config = train, val, config
        self.encoder_trains = encoder_trains(router, config)
        self.device = torch.device(config.device) if config.device is not None else router.device
        generator = torch.Generator().manual_seed(config.seed)
        vocabulary = Vocabulary.build(map(card_text, router.cards), train.texts)
        self.work = copy.deepcopy(router)
        self.work.policy = without_neighbours(without_novelty(self.work.policy))
        if self.encoder_trains:
            self.work.encoder = _trainable(router.encoder, train.texts, router)
        self.work.to(self.device)
        self.work.refresh(router.vocabulary.extended(vocabulary))
        self.policy, self.encoder = cast(nn.Module, self.work.policy), self.work.encoder
        if isinstance(self.policy, ToolSpacePolicy):
            # Of rewards, as many labels are taken for there as there are tools that were best somewhere.
            labels = len(torch.unique(train.best, dim=0)) if train.labelled.all() else int(train.best.any(0).sum())
            labels = labels or len(router.tools) + 1  # nothing is known to be right anywhere: any option may be
            deep = len(train) >= config.deep_from * labels
            known = (router.tools, len(self.work.vocabulary))
            self.policy.prepare(*known, deep=deep, members=config.members, generator=generator)
        self.words = self.work.vocabulary.bag(train.texts).to(self.device)
        self.vectors: Tensor | None = None
        if not self.encoder_trains:
            self.vectors = encode(self.encoder, train.texts, progress=config.progress).to(self.device)
        self.val_states = (
            None if val is None or self.encoder_trains else self.work.read(val.texts, progress=config.progress)
        )
        start = self.logits() if objective == "reward_regression" or config.reward.kl > 0 else None
        self.objective = Objective(
            train, config, self.device, rewards=objective, start=start, predicted=predicted, downstream=downstream
        )
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        # Adam's own weight decay is the gradient of a Gaussian prior; AdamW's would not weaken as examples come in.
        prior = config.prior / len(self.train_set)
        carriers = self.policy.corrections if isinstance(self.policy, ToolSpacePolicy) else []
        carrier_ids = set(map(id, carriers))
        others = [p for p in self.policy.parameters() if id(p) not in carrier_ids and p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": carriers, "peak": config.learning_rate, "weight_decay": prior},
            {"params": others, "peak": config.learning_rate},
        ]
        if self.encoder_trains:
            rate = config.encoder_learning_rate
            if rate is None:
                rate = 2e-3 if isinstance(self.encoder, ScratchEncoder) else 1e-4
            parameters = [p for p in cast(nn.Module, self.encoder).parameters() if p.requires_grad]
            groups.append({"params": parameters, "peak": rate})
        groups = [group for group in groups if group["params"]]
        return torch.optim.Adam(groups, lr=config.learning_rate, fused=self.device.type != "mps")

    @property
    def batch_size(self) -> int:
        if self.config.batch_size is not None:
            return self.config.batch_size
        return default_batch_size(len(self.train_set), encoder_trains=self.encoder_trains)

    def train(self) -> TrainReport:
        """All epochs, from the last checkpoint if there is one."""
        config = self.config
        report = TrainReport(len(self.train_set))
        if self.val_set is not None:
            report.accuracy_before = self._validate()[0]
        best: dict[str, Tensor] | None = None
        best_score = (-math.inf, -math.inf)
        checkpoints = None
        if config.checkpoint is not None:
            checkpoints = Checkpoints(config.checkpoint, self._identity())
            if (state := checkpoints.load()) is not None:
                self._restore(state["current"])
                self.optimizer.load_state_dict(state["optimizer"])
                best, best_score = state["best"], tuple(state["best_score"])
                report.epochs = [EpochRecord(**record) for record in state["epochs"]]
                report.best_epoch, report.resumed_from = state["best_epoch"], len(report.epochs)
        for epoch in range(len(report.epochs), config.epochs):
            if epoch - report.best_epoch >= config.patience and self.val_set is not None:
                break
            record = self._epoch(epoch)
            report.epochs.append(record)
            score = (
                (record.val_accuracy, -cast(float, record.val_loss))
                if record.val_accuracy is not None
                else (0.0, epoch)
            )
            if score > best_score:
                best_score, report.best_epoch = score, epoch + 1
                best = self._snapshot() if self.val_set is not None else None
            if checkpoints is not None:
                state = {
                    "current": self._snapshot(),
                    "optimizer": self.optimizer.state_dict(),
                    "best": best,
                    "best_score": list(best_score),
                    "best_epoch": report.best_epoch,
                    "epochs": [asdict(record) for record in report.epochs],
                }
                checkpoints.save(state)
        if best is not None:
            self._restore(best)
        self._remember_neighbours()
        if self.val_set is not None:
            report.accuracy_after = self._validate()[0]
        if checkpoints is not None:
            checkpoints.clear()
        return report

    def _remember_neighbours(self) -> None:
        if self.config.neighbours == 0:
            return
        if not isinstance(self.policy, ToolSpacePolicy):
            raise ValueError(
                f"neighbours needs a ToolSpacePolicy under it; the policy is a {type(self.policy).__name__}."
            )
        if self.vectors is None:
            self.vectors = encode(self.encoder, self.train_set.texts).to(self.device)
        states, right, count = States(self.vectors, self.words), self.train_set.best, self.config.neighbours
        known = right.any(1).nonzero().flatten().to(self.device)
        right = right.to(self.device)[known]
        self.policy = NeighbourPolicy(self.policy, self.work.tools, right, states.select(known), count=count)
        self.work.policy = self.policy.eval()

    def put_behind(self, novelty: Novelty, report: TrainReport) -> None:
        """Let *none* be this novelty's from now on, and say what that makes of the validation score."""
        self.policy = NoveltyPolicy(cast(ToolSpacePolicy, self.policy), novelty).eval()
        self.work.policy = self.policy
        if self.val_set is not None:
            report.accuracy_after = self._validate()[0]

    def _epoch(self, epoch: int) -> EpochRecord:
        started, config = time.perf_counter(), self.config
        # Every epoch has a seed of its own, so that a resumed run draws what an uninterrupted one would have drawn.
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        if self.encoder_trains:
            self.work.refresh()
            cast(nn.Module, self.encoder).train()
        self.policy.train()
        passes = passes_an_epoch(len(self.train_set), self.batch_size)
        steps = passes * math.ceil(len(self.train_set) / self.batch_size)
        total, losses = steps * config.epochs, []
        bar = tqdm(self._batches(generator), f"epoch {epoch + 1}/{config.epochs}", steps, delay=2, leave=False,
                   disable=not config.progress)  # fmt: skip
        for step, rows in enumerate(bar, start=epoch * steps):
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * warm_cosine(step / total)
            loss = self._loss(rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        self.policy.eval()
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"Training diverged in epoch {epoch + 1}: the loss is {mean}. The router was left as it was; "
                f"try a smaller learning rate than {config.learning_rate}."
            )
        accuracy, loss = self._validate() if self.val_set is not None else (None, None)
        return EpochRecord(epoch + 1, mean, time.perf_counter() - started, accuracy, loss)

    def _batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        lengths = [len(text) for text in self.train_set.texts]
        for _ in range(passes_an_epoch(len(lengths), self.batch_size)):
            if self.encoder_trains:
                yield from bucketed_batches(lengths, self.batch_size, generator)
            else:
                yield from shuffled_batches(len(lengths), self.batch_size, generator)

    def _loss(self, rows: Tensor) -> Tensor:
        if self.vectors is None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
                vectors = self.encoder([self.train_set.texts[row] for row in rows.tolist()])
            vectors = vectors.to(self.device).float()
            rows = rows.to(self.device)
        else:
            rows = rows.to(self.device)
            vectors = self.vectors[rows]
        logits = self.policy(States(vectors, self.words.select(rows)), self.work.space)
        return self.objective(rows.repeat(len(logits) // len(rows)), logits)  # each member of an ensemble is taught

    def logits(self, texts: Sequence[str] | None = None) -> Tensor:
        """The policy's logits on these texts, by default those it is trained on; float [n, k + 1]."""
        if self.encoder_trains:
            self.work.refresh()
        if texts is None and self.vectors is not None:
            states = States(self.vectors, self.words)
        else:
            states = self.work.read(self.train_set.texts if texts is None else texts)
        rows = torch.arange(len(states.vectors), device=self.device).split(_LOGITS_A_BATCH)
        self.policy.eval()
        with torch.no_grad():
            return torch.cat([self.policy(states.select(batch), self.work.space).cpu() for batch in rows])

    def _validate(self) -> tuple[float, float]:
        """Score and loss on the validation set: accuracy and log-loss of its labels, or else what its rewards say."""
        val = cast(Lessons, self.val_set)
        if self.encoder_trains:
            cast(nn.Module, self.encoder).eval()
            self.work.refresh()
        states = self.val_states if self.val_states is not None else self.work.read(val.texts)
        with torch.no_grad():
            logits = self.policy(states, self.work.space).cpu()
        chosen = logits.argmax(1, keepdim=True)
        hits = val.right.gather(1, chosen).float()
        # A tool that was not tried on this example is worth what the worst one was.
        earned = val.rewards.gather(1, chosen).nan_to_num(val.reward_range[0])
        score = torch.where(val.labelled[:, None], hits, earned).mean()
        labelled = val.labelled
        loss = cross_entropy(logits[labelled], val.right[labelled]) if labelled.any() else -score
        return float(score), float(loss)

    def _snapshot(self) -> dict[str, Tensor]:
        parts = {"policy": self.policy} | ({"encoder": self.encoder} if self.encoder_trains else {})
        return {
            f"{part}.{name}": tensor.detach().clone()
            for part, module in parts.items()
            for name, tensor in cast(nn.Module, module).state_dict().items()
        }

    def _restore(self, state: dict[str, Tensor]) -> None:
        for part, module in (("policy", self.policy), ("encoder", self.encoder)):
            weights = {name.removeprefix(f"{part}."): t for name, t in state.items() if name.startswith(f"{part}.")}
            if weights:
                cast(nn.Module, module).load_state_dict(weights)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be gone on from."""
        ignored = ("checkpoint", "progress", "threads", "device")
        settings = {name: value for name, value in asdict(self.config).items() if name not in ignored}
        data = [lessons.to_dict() if lessons is not None else None for lessons in (self.train_set, self.val_set)]
        objective = self.objective.rewards_objective
        return {"settings": settings, "data": data, "objective": objective, "router": self.work.fingerprint}

    def hand_over(self, router: Router) -> None:
        """Give the router what was learned."""
        self.work.to(router.device)
        if self.encoder_trains:
            # The last look at the cards was before the last steps, or with weights of another epoch than the kept one.
            cast(nn.Module, self.encoder).eval()
            self.work.refresh()
        labels = self.train_set.names(self.work.tools)
        rows = spread(labels, self.config.remember)
        texts = tuple(self.train_set.texts[i] for i in rows)
        vectors = encode(self.encoder, texts) if self.vectors is None else self.vectors[rows].cpu()
        self.work.seen = self.work.seen | SeenTexts.of(self.train_set.texts)
        router.adopt(self.work, Memory(texts, tuple(labels[i] or () for i in rows), vectors))


def encoder_trains(router: Router, config: TrainConfig) -> bool:
    """Whether this run changes the encoder's weights too."""
    return config.train_encoder or isinstance(router.encoder, ScratchEncoder)


def _trainable(encoder: Any, texts: list[str], router: Router) -> ModuleEncoder:
    if not isinstance(encoder, ModuleEncoder) or not any(True for _ in encoder.parameters()):
        raise ValueError(
            f"train_encoder=True needs an encoder with weights; {type(encoder).__name__} has none. "
            "Use 'minilm', 'gru', 'transformer' or a sentence-transformers model, or leave train_encoder out."
        )
    encoder = encoder.thawed()
    if isinstance(encoder, ScratchEncoder):
        encoder.learn_vocabulary([*texts, *(text for card in router.cards for text in card.views)])
    return encoder
