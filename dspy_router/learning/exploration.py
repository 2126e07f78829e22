"""Exploration: which tool to try next on which example, where nothing but the reward of a try teaches."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dspy_router.learning.batches import default_batch_size, passes_an_epoch
from dspy_router.learning.run import encoder_trains
from dspy_router.learning.settings import TrainConfig, TrainReport
from dspy_router.learning.trainer import fit
from dspy_router.learning.trials import ExploreConfig, Trials
from dspy_router.records import Episode
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.router import Router

logger = logging.getLogger(__name__)

# `[(number of the example, option)] → rewards` in the same order. None stands, as an option, for *none*; as a reward,
# for a try that gave none: it failed, may not be made, or the budget is spent.
Roll = Callable[[Sequence[tuple[int, str | None]]], Sequence[float | None]]

# So many new tries are always worth learning from; on few examples, a fiftieth of their number is.
_ENOUGH_TRIES = 16


@dataclass(frozen=True)
class Round:
    """One round: its tries, the tries so far, the mean over the examples of the best reward so far, and its seconds."""

    tries: int
    total: int
    mean_best: float
    seconds: float


@dataclass
class ExploreReport:
    """What exploration did.

    Attributes:
        rounds: One record a round, in order.
        tries: Tries that gave a reward.
        training: The last training's own report; None where there was nothing to learn.
        seconds: Wall-clock time outside of the tries.
    """

    rounds: list[Round] = field(default_factory=list)
    tries: int = 0
    training: TrainReport | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


def explore(
    router: Router,
    episodes: Sequence[Episode],
    roll: Roll,
    *,
    trials: Trials | None = None,
    config: TrainConfig | None = None,
    settings: ExploreConfig | None = None,
    suggested: Mapping[int, str | None] | None = None,
) -> ExploreReport:
    """Train a router from rewards alone, in place, with few tries an example.

    It starts from the zero-shot ranking. A first round tries the policy's choice on some examples; the policy learns
    from the rewards; the next round tries the better policy's choice on more of them. Once every example was tried,
    each round tries what is worth another try (see `Trials`), and the policy learns again, until nothing is worth a
    try, or the tries are spent. Each time the policy learns anew from where it started, and from all rewards so far,
    good and bad; labels, where some of the examples have them, teach beside them.

    Args:
        router: The router; left as it was if nothing could be learned.
        episodes: What to learn from. Those with labels are not tried; rewards that they have are taken as tries.
        roll: Gives the rewards of tries.
        trials: The rule by which tries are chosen, with the maximum of the reward and what is costly or forbidden.
        config: How the policy learns; temperature, bounds, and the least smoothing and robustness of its `reward` are
            set by `settings` and `trials`.
        settings: How to spend tries.
        suggested: What to try first, by the number of the example.

    Raises:
        ValueError: If a label, or a reward's tool, is none of the router's; or `trials` are of other examples or tools.
    """
    trials = Trials(len(episodes), (*router.tools, None)) if trials is None else trials
    if len(trials.rewards) != len(episodes) or trials.options != (*router.tools, None):
        raise ValueError(
            f"The trials are of {len(trials.rewards)} examples and {len(trials.options) - 1} tools; expected those of "
            f"the {len(episodes)} examples and the router's {len(router.tools)} tools, in this order, and None."
        )
    config = TrainConfig() if config is None else config
    settings = ExploreConfig() if settings is None else settings
    return _Exploration(router, episodes, roll, trials, config, settings, dict(suggested or {})).run()


class _Exploration:
    """One run of `explore`."""

    def __init__(
        self,
        router: Router,
        episodes: Sequence[Episode],
        roll: Roll,
        trials: Trials,
        config: TrainConfig,
        settings: ExploreConfig,
        suggested: dict[int, str | None],
    ) -> None:
        self.router, self.episodes, self.roll, self.trials = router, list(episodes), roll, trials
        self.settings, self.suggested, self.again = settings, suggested, 0
        self.config = config
        self.texts = [episode.text for episode in episodes]
        self.labelled = torch.tensor([bool(episode.labels) for episode in episodes], dtype=torch.bool)
        for row, episode in enumerate(self.episodes):
            for option, reward in episode.rewards.items():
                trials.record(row, option, reward)
        self.start = copy.deepcopy(router)
        if not encoder_trains(router, config):
            self.start.encoder = _Remembering(router.encoder)
        self.generator = torch.Generator().manual_seed(config.seed)

    def run(self) -> ExploreReport:
        report, started, waited = ExploreReport(), time.perf_counter(), 0.0
        probabilities = self.start.probabilities(self.texts)
        budget = round(self.settings.tries * int((~self.labelled).sum()))
        # Learning anew takes as long however few tries are new: the last ones of a run wait for each other.
        quota, fresh, enough = self.settings.first, 0, min(_ENOUGH_TRIES, max(1, len(self.texts) // 50))
        for _ in range(self.settings.rounds):
            tries = self._choose(probabilities, quota, budget - report.tries)
            if not tries:
                break
            asked = time.perf_counter()
            got = self._try(tries)
            report.tries += got
            waited += time.perf_counter() - asked
            best = self.trials.rewards[~self.labelled].nan_to_num(-math.inf).amax(1)
            found = best[best.isfinite()]
            mean = float(found.mean()) if len(found) else self.trials.range[0]
            report.rounds.append(Round(len(tries), report.tries, mean, time.perf_counter() - asked))
            logger.info("round %d: %d tries so far, mean best reward %.3f", len(report.rounds), report.tries, mean)
            quota *= self.settings.growth
            fresh += got
            if fresh >= enough and report.tries < budget and self._contrast():
                probabilities, fresh = self._learn(last=False)[0].probabilities(self.texts), 0
        if self._contrast():
            learned, report.training = self._learn(last=True)
            learned.encoder = self.router.encoder if learned.encoder is self.start.encoder else learned.encoder
            self.router.adopt(learned, learned.memory)
        report.seconds = time.perf_counter() - started - waited
        return report

    def _choose(self, probabilities: Tensor, quota: float, left: int) -> list[tuple[int, int]]:
        """The tries of the next round, as pairs of example and column."""
        settings = self.settings
        gains = self.trials.gains(probabilities, temperature=settings.temperature, noisy=settings.noise > 0)
        gains[self.labelled] = 0.0
        # The first tries over again are one by one: each teaches the policy where the next is better made.
        width = min(settings.width, 2 ** max(0, self.again - 1), gains.shape[1])
        best, columns = gains.topk(width, dim=1)
        fresh = ~self.trials.tried.any(1) & (best[:, 0] > 0)
        if fresh.any():
            # At random, so that the first rounds see all kinds of examples.
            rows = torch.randperm(len(gains), generator=self.generator)
            rows = rows[fresh[rows]]
            count = quota * len(gains) - float((~fresh & ~self.labelled).sum())
            rows = rows[: min(left, max(1, round(count)))].tolist()
            return [(row, self._first(row, int(columns[row, 0]))) for row in rows]
        self.again += 1
        worth = (best > settings.least_gain) & (best.cumsum(1) - best < 0.5)
        pairs = worth.nonzero()
        pairs = pairs[best[worth].argsort(descending=True, stable=True)][:left].tolist()
        return [(row, int(columns[row, place])) for row, place in pairs]

    def _first(self, row: int, column: int) -> int:
        return self.trials.options.index(self.suggested.pop(row)) if row in self.suggested else column

    def _try(self, tries: Sequence[tuple[int, int]]) -> int:
        pairs = [(row, self.trials.options[column]) for row, column in tries]
        rewards = self.roll(pairs)
        for (row, option), reward in zip(pairs, rewards, strict=True):
            self.trials.record(row, option, reward)
        return sum(reward is not None for reward in rewards)

    def _contrast(self) -> bool:
        """Whether there is anything to tell apart."""
        known = self.trials.rewards[self.trials.tried]
        labels = {episode.labels[0] for episode in self.episodes if episode.labels}
        return len(labels) > 1 or (len(known) > 1 and bool(known.min() < known.max()))

    def _learn(self, *, last: bool) -> tuple[Router, TrainReport]:
        """A router that has learned from all tries: between rounds quickly, and with the level of aspiration."""
        learned, tried, settings = copy.deepcopy(self.start), self.trials.tried, self.settings
        lessons = []
        for row, episode in enumerate(self.episodes):
            columns = tried[row].nonzero().flatten().tolist()
            rewards = {self.trials.options[i]: float(self.trials.rewards[row, i]) for i in columns}
            if rewards or episode.labels:
                lessons.append(replace(episode, rewards=rewards))
        reward = replace(self.config.reward, temperature=settings.temperature, bounds=self.trials.range)
        held = {name: max(getattr(reward, name), getattr(settings, name)) for name in ("smoothing", "robustness")}
        config = replace(self.config, reward=replace(reward, **held), members=self.config.members or settings.members)
        if not last:
            # Unsmoothed: a policy that is kept from being sure has tries made where it knows enough.
            # Few examples are passed over several times an epoch; between rounds that is more than it takes.
            passes = passes_an_epoch(len(lessons), config.batch_size or default_batch_size(len(lessons)))
            epochs = min(max(1, round(settings.epochs / passes)), config.epochs)
            reward = replace(reward, level=self.trials.level, smoothing=0.0)
            config = replace(config, epochs=epochs, reward=reward, members=self.config.members)
        return learned, fit(learned, lessons, config=config)


class _Remembering:
    """A frozen encoder that encodes each text once, however many rounds ask for it."""

    trainable = False

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.dim, self.fingerprint = encoder, encoder.dim, encoder.fingerprint
        self._vectors: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder(new).cpu(), strict=True))
        return torch.stack([self._vectors[text] for text in texts])
