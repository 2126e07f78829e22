"""No labels, only a metric: how good a policy how few runs of the program buy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting
from benchmarks.training import train
from dspy_router.learning.exploration import ExploreReport, explore
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.settings import RewardConfig
from dspy_router.learning.trainer import TrainConfig
from dspy_router.learning.trials import ExploreConfig, Trials
from dspy_router.records import Episode
from dspy_router.routing.policies import Tools, ToolSpacePolicy
from dspy_router.routing.router import Router

CONFIG = TrainConfig(progress=False)
# Rollouts an example, at most, and the share of the supervised policy's accuracy that they are to buy.
EXACT = {"clinc150": (1.5, 0.99), "toole": (2.5, 0.985)}
NOISY, NOISE, DRAWS = (4.0, 0.96), 0.1, 3
GRADED, NEAR, COST = (4.0, 0.97), (0.7, 0.5, 0.3), 0.05
EPSILON = 0.1


class Uniform(Trials):
    """Tries any untried option, until one has earned the maximum."""

    def gains(self, probabilities: Tensor, *, temperature: float, noisy: bool = False) -> Tensor:
        open_ = super().gains(torch.ones_like(probabilities), temperature=1.0) > 0
        return torch.rand_like(probabilities).clamp_min(0.01) * open_


class EpsilonGreedy(Trials):
    """Tries the policy's best untried option and, in a share ε of the tries, any other."""

    def gains(self, probabilities: Tensor, *, temperature: float, noisy: bool = False) -> Tensor:
        gains = super().gains(probabilities, temperature=temperature, noisy=noisy)
        draw = torch.rand(len(gains), 1) < EPSILON
        return torch.where(draw & (gains > 0), 1.0 + torch.rand_like(gains), gains)


@dataclass(frozen=True)
class Task:
    """A corpus whose labels are hidden behind a metric.

    Attributes:
        corpus: The queries.
        rewards: What the metric gives for each option on each training query, float [n, k + 1]; never shown whole.
        worth: What each option is truly worth on each validation query, float [m, k + 1].
    """

    corpus: Corpus
    rewards: Tensor
    worth: Tensor

    def roll(self, tries: Sequence[tuple[int, str | None]]) -> list[float]:
        """The rewards of these tries."""
        columns = {card.name: column for column, card in enumerate(self.corpus.cards)}
        return [float(self.rewards[row, len(columns) if tool is None else columns[tool]]) for row, tool in tries]

    def value(self, router: Router) -> float:
        """The mean worth of what the router chooses on the validation queries."""
        chosen = router.probabilities([example.text for example in self.corpus.val]).argmax(1, keepdim=True)
        return float(self.worth.gather(1, chosen).mean())


def run(setting: Setting) -> Iterator[Figure]:
    """A router trained from nothing but the metric, against one that was shown every label.

    Shares are of the same policy's validation accuracy when trained on all labels or, with graded rewards, of its mean
    reward when trained on all rewards of all tools. Uniform and ε-greedy exploration have as many rollouts, the same
    policy and the same rounds; `exhaustive` has the rewards of all tools. Where the metric errs, the figure is the mean
    over draws of its errors. Of the graded rewards the right tool earns 1, the three tools whose descriptions are
    nearest to its 0.7, 0.5 and 0.3, and every call of a tool costs 0.05.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        supervised = _right(train(corpus, setting.encoder, setting.adapt(CONFIG)).router, corpus)
        exact = _exact(corpus)
        exhaustive = exact.value(_whole(setting, exact)) / supervised
        tries, share = EXACT[corpus.name]
        beside = {"exhaustive, all tools on every example": exhaustive}
        for name, rule in ((f"ε-greedy, ε = {EPSILON:g}", EpsilonGreedy), ("uniform", Uniform)):
            value, _ = _explored(setting, exact, tries, rule=rule)
            beside[f"{name}, as many rollouts"] = value / supervised
        yield from _figures(setting, exact, "exact metric", tries, share, supervised, beside)
        yield from _noisy(setting, exact, supervised)
        graded = _graded(setting, corpus)
        whole = graded.value(_whole(setting, graded))
        yield from _figures(setting, graded, "graded rewards", *GRADED, whole, {})


def _figures(
    setting: Setting,
    task: Task,
    what: str,
    tries: float,
    target: float,
    reference: float,
    baselines: Mapping[str, float],
) -> Iterator[Figure]:
    value, report = _explored(setting, task, tries)
    note = f"{value:.2%} against {reference:.2%}; {report.seconds:.0f} s outside the rollouts"
    yield Figure(
        f"{what}: share of the whole's",
        value / reference,
        split="val",
        n=len(task.corpus.val),
        target=target,
        baselines=baselines,
        note=note,
        data=task.corpus.name,
    )
    yield _rollouts(task.corpus, what, report.tries, tries)


def _noisy(setting: Setting, exact: Task, supervised: float) -> Iterator[Figure]:
    """The metric errs, and errs otherwise in each draw."""
    what, (tries, target), members = "metric wrong on 10 %", NOISY, ExploreConfig(noise=NOISE).members
    wholes = setting.adapt(replace(CONFIG, members=members))
    beside = _right(train(exact.corpus, setting.encoder, wholes).router, exact.corpus)
    values, spent, seconds = [], [], []
    for draw in range(1 if setting.quick else DRAWS):
        noisy = replace(exact, rewards=_flip(exact.rewards, setting.seed + draw))
        value, report = _explored(setting, noisy, tries, noise=NOISE)
        values.append(value)
        spent.append(report.tries)
        seconds.append(report.seconds)
    accuracies = ", ".join(f"{value:.2%}" for value in values)
    yield Figure.mean(
        f"{what}: share of the whole's",
        [value / supervised for value in values],
        split="val",
        n=len(exact.corpus.val),
        target=target,
        note=f"{accuracies} in {len(values)} draws of the errors, against {supervised:.2%}, and {beside:.2%} where "
        f"{members} hidden layers learn from all labels; {max(seconds):.0f} s outside the rollouts at most",
        data=exact.corpus.name,
    )
    yield _rollouts(exact.corpus, what, max(spent), tries)


def _rollouts(corpus: Corpus, what: str, spent: int, most: float) -> Figure:
    n = len(corpus.train)
    return Figure(
        f"{what}: rollouts an example",
        spent / n,
        split="train",
        unit="times",
        n=n,
        target=most,
        bound="at most",
        baselines={"exhaustive": float(len(corpus.cards) + 1)},
        data=corpus.name,
    )


def _explored(
    setting: Setting, task: Task, tries: float, *, noise: float = 0.0, rule: Callable[..., Trials] = Trials
) -> tuple[float, ExploreReport]:
    torch.manual_seed(setting.seed)  # the other rules draw from it
    router = _router(setting, task.corpus)
    queries = [Episode(example.inputs) for example in task.corpus.train]
    settings = ExploreConfig(tries=tries, noise=noise)
    trials = rule(len(queries), (*router.tools, None))
    report = explore(router, queries, task.roll, trials=trials, config=setting.adapt(CONFIG), settings=settings)
    return task.value(router), report


def _whole(setting: Setting, task: Task) -> Router:
    """The policy trained on whole rows of rewards."""
    names = [card.name for card in task.corpus.cards]
    examples = [
        replace(example, labels=(), rewards=dict(zip([*names, None], row, strict=True)))
        for example, row in zip(task.corpus.train, task.rewards.tolist(), strict=True)
    ]
    return train(
        task.corpus, setting.encoder, setting.adapt(replace(CONFIG, reward=RewardConfig())), examples=examples
    ).router


def _router(setting: Setting, corpus: Corpus) -> Router:
    setting.encoder.prepare([example.text for example in corpus.train], progress=True)
    return Router.from_tools(corpus.cards, encoder=setting.encoder, policy=ToolSpacePolicy(setting.encoder.dim))


def _right(router: Router, corpus: Corpus) -> float:
    return _exact(corpus).value(router)


def _exact(corpus: Corpus) -> Task:
    names = [card.name for card in corpus.cards]
    return Task(corpus, *(Lessons.read(part, names).right.float() for part in (corpus.train, corpus.val)))


def _flip(rewards: Tensor, seed: int) -> Tensor:
    """The metric errs on so many pairs of example and tool, and errs again when it is asked again."""
    wrong = torch.rand(rewards.shape, generator=torch.Generator().manual_seed(seed)) < NOISE
    return torch.where(wrong, 1.0 - rewards, rewards)


def _graded(setting: Setting, corpus: Corpus) -> Task:
    space = _router(setting, corpus).space
    assert isinstance(space, Tools)  # there are too few for an index
    descriptions = space.vectors
    nearest = (descriptions @ descriptions.T).fill_diagonal_(-1.0).topk(len(NEAR), dim=1).indices
    near = torch.zeros(len(nearest), len(nearest) + 1)
    near.scatter_(1, nearest, torch.tensor(NEAR).expand(len(nearest), -1))
    exact = _exact(corpus)

    def grade(right: Tensor) -> Tensor:
        rewards = right + right[:, :-1] @ near - COST
        rewards[:, -1] += COST  # no call, no cost
        return rewards

    return Task(corpus, grade(exact.rewards), grade(exact.worth))


BENCHMARK = Benchmark(
    "metric_only",
    run,
    target="exact: 99 % of the supervised accuracy with 1.5 rollouts an example on clinc150, 98.5 % with 2.5 on toole; "
    "noisy: 96 % with 4; graded: 97 % of the whole's reward with 4",
    needs=LABELLED,
)
