"""What logs of an exploring router tell of others: how far off, and how often the interval holds the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch.nn.functional import binary_cross_entropy, softmax

from benchmarks.baselines import vectors_of
from benchmarks.fewshot import few_shot
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting, label_of
from benchmarks.training import train
from dspy_router.evaluation.estimates import Estimate
from dspy_router.evaluation.off_policy import difference, direct_method, doubly_robust, ips, snips
from dspy_router.learning.trainer import TrainConfig
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads

Floats = NDArray[np.float64]

CONFIG = TrainConfig(progress=False)
LOGS, ROWS = 20, 20_000
EARLY_SHOTS, FEW_SHOTS = 5, 10
TEMPERATURE, EXPLORATION = 1.5, 0.2
LEVEL, SIGNIFICANCE = 0.95, 0.05
NOISE = 0.1

IPS, SNIPS, DR, PLAIN, DIRECT = "IPS", "SNIPS", "DR", "DR, plain form", "reward model alone"
ZERO, FEW, WHOLE = "zero-shot", f"{FEW_SHOTS} examples a tool", "trained on the whole"
PAIRED = f"{WHOLE} less {ZERO}, paired (SNIPS)"


def run(setting: Setting) -> Iterator[Figure]:
    """Off-policy estimates of three policies' values from the logs of a fourth, and whether their intervals hold.

    The log's inputs are drawn, with replacement, from the validation part, which no policy was trained on; the truth is
    the mean over all of it. It is made by a router of five examples a tool, softened and mixed with uniform
    exploration. The three are valued as they would be deployed: each takes its most probable option. The reward model
    of DR is fitted on the log alone, on the half of the queries that it does not predict.
    """
    for corpus in setting.corpora("clinc150"):
        behaviour, policies = _policies(setting, corpus)
        vectors = vectors_of(setting.encoder, corpus.val)
        tools = [card.name for card in corpus.cards]
        right = np.array([tools.index(label_of(example)) for example in corpus.val])
        exact = np.eye(behaviour.shape[1])[right]  # none, the last column, is never right here
        noisy = exact * (1 - 2 * NOISE) + NOISE
        for metric, rewards in (("exact metric", exact), (f"metric errs on {NOISE:.0%}", noisy)):
            trial = Trial(behaviour, policies, rewards, vectors)
            yield from _figures(trial, metric, setting, corpus)


class Trial(NamedTuple):
    """What logs are drawn from and held against; N inputs, a options.

    Attributes:
        behaviour: Probabilities of the policy that logs, [N, a].
        policies: Probabilities of those to be valued, each [N, a].
        rewards: The probability that the metric gives 1, [N, a].
        vectors: What the reward model sees of the inputs, float32 [N, dim].
    """

    behaviour: Floats
    policies: Mapping[str, Floats]
    rewards: Floats
    vectors: NDArray[np.float32]

    def value(self, policy: str) -> float:
        """The mean reward over all inputs."""
        return float((self.policies[policy] * self.rewards).sum(axis=1).mean())


class Log(NamedTuple):
    """One log: rows of (input, action, reward, propensity), each [n]."""

    inputs: NDArray[np.intp]
    actions: NDArray[np.intp]
    rewards: Floats
    propensities: Floats

    def part(self, rows: NDArray[np.bool_]) -> Log:
        """Some of the rows."""
        return Log(self.inputs[rows], self.actions[rows], self.rewards[rows], self.propensities[rows])


def explore(probabilities: Floats, *, temperature: float, exploration: float) -> Floats:
    """A policy that tries things: softened by a temperature, and some of the time any option alike.

    Args:
        probabilities: Of the policy it is made of, [n, a], all above 0.
        temperature: Above 1 softens.
        exploration: Share of decisions that are drawn uniformly.
    """
    soft = probabilities ** (1 / temperature)
    return (1 - exploration) * soft / soft.sum(axis=1, keepdims=True) + exploration / soft.shape[1]


def draw_log(trial: Trial, rows: int, *, seed: int) -> Log:
    """Draw a log: inputs with replacement, an action by the behaviour, a reward of 0 or 1; the seed decides."""
    draw = np.random.default_rng(seed)
    inputs = draw.integers(len(trial.behaviour), size=rows)
    # Where a uniform number falls among the cumulated probabilities; rounding may leave the last one short of 1.
    above = trial.behaviour.cumsum(axis=1)[inputs] < draw.uniform(size=(rows, 1))
    actions = np.minimum(above.sum(axis=1), trial.behaviour.shape[1] - 1)
    rewards = (draw.uniform(size=rows) < trial.rewards[inputs, actions]).astype(float)
    return Log(inputs, actions, rewards, trial.behaviour[inputs, actions])


def fit_rewards(
    features: NDArray[np.float32], prior: Floats, log: Log, *, pull: float = 0.1, steps: int = 20
) -> Floats:
    """A reward model fitted on a log: `q = 0.005 + 0.99 · softmax(s·log prior + 5·Wx + b)`, all inputs at once.

    It takes it that one option is right and starts from what the logging router thought, whose probabilities stand in
    every logged decision. Binary cross-entropy of the logged rewards, a Gaussian prior on W and b, L-BFGS.

    Args:
        features: float32 [N, dim].
        prior: The logging router's probabilities, [N, a], all above 0.
        log: What to fit on.
        pull: Strength of the Gaussian prior.
        steps: Iterations at most.

    Returns:
        The expected reward of every option, [N, a].
    """
    x, start = torch.from_numpy(features), torch.from_numpy(prior).float().log()
    rewards, cells = torch.from_numpy(log.rewards).float(), torch.from_numpy(log.inputs * prior.shape[1] + log.actions)
    weights, offsets = torch.zeros(prior.shape[1], x.shape[1]), torch.zeros(prior.shape[1])
    parameters = [weights.requires_grad_(), offsets.requires_grad_(), (scale := torch.ones(1).requires_grad_())]
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def expected() -> torch.Tensor:
        return 0.005 + 0.99 * softmax(scale * start + 5 * x @ weights.T + offsets, dim=1)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        misfit = binary_cross_entropy(expected().view(-1)[cells], rewards, reduction="sum")
        value = misfit + pull / 2 * (weights.square().sum() + offsets.square().sum())
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return expected().detach().double().numpy()


def cross_fitted(trial: Trial, log: Log, *, seed: int) -> Floats:
    """Predictions for the rows of a log, [n, a], by a model that has seen none of the same half of the inputs."""
    half = np.random.default_rng(seed).permutation(len(trial.behaviour)) % 2
    predicted = np.empty((len(log.inputs), trial.behaviour.shape[1]))
    for side in (0, 1):
        here = half[log.inputs] == side
        predicted[here] = fit_rewards(trial.vectors, trial.behaviour, log.part(~here))[log.inputs[here]]
    return predicted


def value_all(trial: Trial, log: Log, *, seed: int) -> dict[tuple[str, str], Estimate]:
    """Every estimate of every policy from one log, by estimator and policy, and one paired difference."""
    model: dict[str, Any] = {"predicted": cross_fitted(trial, log, seed=seed), "level": LEVEL}
    target = {name: policy[log.inputs] for name, policy in trial.policies.items()}
    rows = log[1:]
    found = {}
    for name, probabilities in target.items():
        found[IPS, name] = ips(probabilities, *rows, level=LEVEL)
        found[SNIPS, name] = snips(probabilities, *rows, level=LEVEL)
        found[DR, name] = doubly_robust(probabilities, *rows, **model)
        found[PLAIN, name] = doubly_robust(probabilities, *rows, **model, recalibrate=False)
        found[DIRECT, name] = direct_method(probabilities, *rows, **model)
    found[PAIRED, ""] = difference(target[WHOLE], target[ZERO], *rows, level=LEVEL)
    return found


def fewest_hits(n: int, level: float, *, significance: float) -> int:
    """The fewest of n intervals that may hold the truth before a one-sided binomial test says they hold too rarely."""
    return int(binom.ppf(significance, n, level))


def _policies(setting: Setting, corpus: Corpus) -> tuple[Floats, dict[str, Floats]]:
    """The behaviour on the validation part, and the three to be valued there as the one option each takes."""
    texts = [example.text for example in corpus.val]

    def taught(shots: int, seed: int) -> Router:
        examples = few_shot(corpus.train, shots, seed=seed)
        return train(corpus, setting.encoder, setting.adapt(CONFIG), examples=examples).router

    def probabilities(router: Router) -> Floats:
        rows = router.probabilities(texts).double().numpy()
        return rows / rows.sum(axis=1, keepdims=True)

    routers = {
        ZERO: Router.from_tools(corpus.cards, encoder=setting.encoder),
        FEW: taught(FEW_SHOTS, setting.seed + 1),
        WHOLE: train(corpus, setting.encoder, setting.adapt(CONFIG)).router,
    }
    early = probabilities(taught(EARLY_SHOTS, setting.seed))
    behaviour = explore(early, temperature=TEMPERATURE, exploration=EXPLORATION)
    options = np.eye(behaviour.shape[1])
    return behaviour, {name: options[probabilities(router).argmax(axis=1)] for name, router in routers.items()}


def _figures(trial: Trial, metric: str, setting: Setting, corpus: Corpus) -> Iterator[Figure]:
    logs, rows = (3, 500) if setting.quick else (LOGS, ROWS)
    found: dict[tuple[str, str], list[Estimate]] = {}
    with bounded_threads(1):
        for number in range(logs):
            seed = 1000 * setting.seed + number
            for key, estimate in value_all(trial, draw_log(trial, rows, seed=seed), seed=seed).items():
                found.setdefault(key, []).append(estimate)
    truth = {name: trial.value(name) for name in trial.policies}
    where: dict[str, Any] = {"split": f"{logs} logs of {rows:,} rows from val", "data": corpus.name, "n": None}
    fewest = fewest_hits(logs, LEVEL, significance=SIGNIFICANCE)
    for estimator in (IPS, SNIPS, DR, PLAIN):
        hits = {name: _hits(found[estimator, name], truth[name]) for name in truth}
        yield Figure(
            f"{metric}, {estimator}: {LEVEL:.0%} intervals that hold the truth, the worst of {len(truth)} policies",
            min(hits.values()) / logs,
            target=fewest / logs,
            baselines={name: count / logs for name, count in hits.items()},
            note=f"fewer than {fewest} of {logs} would be too few by a binomial test at {SIGNIFICANCE:.0%}",
            **where,
        )
    hits = _hits(found[PAIRED, ""], truth[WHOLE] - truth[ZERO])
    yield Figure(f"{metric}, {PAIRED}: intervals that hold the truth", hits / logs, target=fewest / logs, **where)
    yield _error(found, truth, metric, where)


def _error(
    found: Mapping[tuple[str, str], Sequence[Estimate]], truth: Mapping[str, float], metric: str, where: dict[str, Any]
) -> Figure:
    """The root of DR's mean squared error beside the others', over all policies and logs."""
    error = {
        estimator: {name: _mean_square(found[estimator, name], truth[name]) for name in truth}
        for estimator in (DR, IPS, SNIPS, PLAIN, DIRECT)
    }
    overall = {estimator: (sum(each.values()) / len(each)) ** 0.5 for estimator, each in error.items()}
    shown = (DR, SNIPS, IPS)
    apart = (f"{name} {', '.join(f'{100 * error[each][name] ** 0.5:.2f}' for each in shown)}" for name in truth)
    return Figure(
        f"{metric}, {DR}: root mean squared error over {len(truth)} policies",
        overall.pop(DR),
        target=min(overall[IPS], overall[SNIPS]),
        bound="at most",
        baselines=overall,
        note=f"{', '.join(shown)} in points: {'; '.join(apart)}",
        **where,
    )


def _hits(estimates: Sequence[Estimate], truth: float) -> int:
    return sum(estimate.low <= truth <= estimate.high for estimate in estimates)


def _mean_square(estimates: Sequence[Estimate], truth: float) -> float:
    return sum((estimate.value - truth) ** 2 for estimate in estimates) / len(estimates)


BENCHMARK = Benchmark(
    "off_policy",
    run,
    target=f"{LEVEL:.0%} intervals of three policies' values hold in {LOGS} logs; DR errs no more than IPS and SNIPS",
    needs={"clinc150": LABELLED["clinc150"]},
)
