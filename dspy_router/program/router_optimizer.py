"""Trains the router of a DSPy program: on labels, on nothing but the program's own metric, or on both."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.evaluation.metrics import evaluate
from dspy_router.learning.exploration import ExploreReport, explore
from dspy_router.learning.trainer import TrainConfig, TrainReport, fit
from dspy_router.learning.trials import ExploreConfig, Trials
from dspy_router.program.oversight import rehearsing
from dspy_router.program.route import find_route
from dspy_router.program.tuning.rewards import Spent
from dspy_router.program.tuning.rollouts import Rollouts
from dspy_router.program.tuning.spending import Ledger
from dspy_router.program.tuning.teaching import read_examples, suggestions, warn_of_overlap
from dspy_router.records import Episode

logger = logging.getLogger(__name__)

LearnsFrom = Literal["labels", "rewards", "labels and rewards"]


@dataclass
class OptimizerReport:
    """What `RouterOptimizer` did.

    Attributes:
        learned_from: What the examples carried.
        judged_by: What `before` and `after` are: the program's metric in per cent, or the share of right tools.
        before: The score of the program as it was handed over.
        after: The score with the newly trained weights.
        kept: Whether the new weights were kept; False if the score fell, or there was nothing to learn.
        training: The last training's own report, learning curve included; None where there was nothing to learn.
        exploration: The rounds of tries; None where labels alone taught.
        spent: What the rollouts of this compilation cost; None where there were none.
        lm_calls: All calls of language models, those of the judging before and after among them.
        cost: Dollars for all of them; None if there were calls whose cost is not known.
        seconds: Wall-clock time of the whole.
        note: What a reader should know of the outcome.
    """

    learned_from: LearnsFrom
    judged_by: Literal["metric", "tool accuracy"]
    before: float
    after: float
    kept: bool
    training: TrainReport | None = None
    exploration: ExploreReport | None = None
    spent: Spent | None = None
    lm_calls: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


class RouterOptimizer(Teleprompter):
    """A DSPy optimizer for the weights of the program's router; prompts stay as they are.

    What it learns from is what the examples carry. Where every example names the right tool in its label field (a name,
    a list of names where several are right, or None where no tool fits), the labels teach. Where none does, the metric
    teaches: the program is run with one tool or another forced, and the router learns which earn most; see
    `learning.exploration.explore` for which are tried. Where some do, both.

    The program is not marked as compiled, so that optimizers of prompts can follow, on their own or in
    `dspy.BetterTogether`.

    Attributes:
        rollouts: What was rolled out so far, to be shared with another optimizer or set to one that is shared; by
            default every compilation has its own.
        report: What the last `compile` did; None before.
    """

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        *,
        config: TrainConfig | None = None,
        label_field: str = "tool",
        num_threads: int | None = None,
        max_rollouts: int | None = None,
        max_lm_calls: int | None = None,
        max_errors: int | None = None,
        allow_destructive: bool = False,
        costly: str | Sequence[str] = (),
        maximum: float = 1.0,
        exploration: ExploreConfig | None = None,
        rollouts: Rollouts | None = None,
        seed: int | None = None,
    ) -> None:
        """Set the optimizer up.

        Args:
            metric: Called as `metric(example, prediction)`, gives a number, a bool or a `dspy.Prediction` with `score`.
                It teaches where labels are missing, and judges the whole program before and after; running the program
                may call language models. Without one the router is judged by the share of right tools.
            config: How to train; `TrainConfig()` by default.
            label_field: The examples' field with the right tool.
            num_threads: Threads for running the program under the metric.
            max_rollouts: Most runs of the program that try a tool, beside the bound of `exploration.tries` an example.
                What the judging before and after takes is not held against the budgets.
            max_lm_calls: No such run starts once so many calls of language models were made by them.
            max_errors: How often the program or the metric may raise; None takes DSPy's setting.
            allow_destructive: Whether tools may be tried whose card says that they destroy something.
            costly: Tools to try on an example only when every other one was; a name or several.
            maximum: The metric's largest value; an example that has earned it is not tried again.
            exploration: How to spend rollouts; by default `ExploreConfig()`, at most three an example without a label.
            rollouts: Rollouts to share; budgets and errors are then its own.
            seed: Replaces the seed of `config`.

        Raises:
            ValueError: If a budget is no whole number of at least 1.
        """
        super().__init__()
        self.metric = metric
        config = TrainConfig() if config is None else config
        self.config = config if seed is None else replace(config, seed=seed)
        self.label_field = label_field
        self.num_threads = num_threads
        self.max_rollouts, self.max_lm_calls, self.max_errors = max_rollouts, max_lm_calls, max_errors
        self.allow_destructive = allow_destructive
        self.costly = (costly,) if isinstance(costly, str) else tuple(costly)
        self.maximum = maximum
        self.exploration = ExploreConfig() if exploration is None else exploration
        self.rollouts = rollouts
        self.report: OptimizerReport | None = None
        self.new_rollouts()  # so that a budget that is none is refused now

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
        teacher: dspy.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        """A copy of the student with a trained router; the student itself is left alone.

        A calibration is set aside meanwhile, and given back afterwards: stale, if the router was trained.

        Args:
            student: A program with exactly one router: a `RoutedAgent`, or a larger program with one inside.
            trainset: `dspy.Example`s, rows or episodes; what the metric judges must be `dspy.Example`s.
            valset: The same, to judge the outcome by and, with labels, to stop training early; by default it is judged
                on the training set.
            teacher: A program with one router of the same tools: where rewards teach, what it chooses is tried first.
            **kwargs: None is known; a misspelt argument is an error.

        Raises:
            RuntimeError: If the program or the metric raised more than `max_errors` times.
            TypeError: If there is an argument beyond these.
            ValueError: If the student has no router that may be trained, or several; an example has neither label nor
                metric; or no rollout gave a score.
        """
        if kwargs:
            raise TypeError(f"RouterOptimizer.compile takes no {', '.join(map(repr, kwargs))}; see its docstring.")
        started = time.perf_counter()
        with Ledger().watching() as ledger, rehearsing():
            work = _Compilation(self, student.deepcopy(), trainset, valset)
            # Choices are judged here, not which of them may be kept; and training makes a guarantee stale.
            calibration, work.route.router.calibration = work.route.router.calibration, None
            untrained, before = copy.deepcopy(work.route.router), work.score()
            judged_by = "tool accuracy" if work.rollouts is None else "metric"
            report = OptimizerReport(work.learns_from, judged_by, before, before, kept=False)
            work.learn(report, teacher)
            if report.training is not None:
                report.after = work.score()
                report.kept = report.after >= before
            if not report.kept:
                work.route.router = untrained
            work.route.router.calibration = calibration
        report.lm_calls, report.cost, report.seconds = ledger.lm_calls, ledger.cost, time.perf_counter() - started
        self.report = report
        outcome = "kept" if report.kept else "undone"
        logger.info("trained the router: %s %.4f -> %.4f, %s", judged_by, before, report.after, outcome)
        return work.program

    def new_rollouts(self) -> Rollouts | None:
        """Rollouts with the budgets of this optimizer; None without a metric."""
        if self.metric is None:
            return None
        return Rollouts(
            self.metric,
            num_threads=self.num_threads,
            max_rollouts=self.max_rollouts,
            max_lm_calls=self.max_lm_calls,
            max_errors=self.max_errors,
            allow_destructive=self.allow_destructive,
        )


class _Compilation:
    """One call of `compile`: the program at work, its examples, and what was rolled out."""

    def __init__(
        self, optimizer: RouterOptimizer, program: Any, trainset: Sequence[Any], valset: Sequence[Any] | None
    ) -> None:
        self.optimizer, self.program, self.route = optimizer, program, find_route(program)
        self.rollouts = optimizer.rollouts if optimizer.rollouts is not None else optimizer.new_rollouts()
        self.examples = list(trainset)
        self.train = self._read(trainset, "trainset")
        self.val = self._read(valset, "valset") if valset else None
        warn_of_overlap(self.train, self.val)
        self.judged = list(zip(valset or trainset, self.val or self.train, strict=True))

    def _read(self, examples: Sequence[Any], source: str) -> list[Episode]:
        label, needed = self.optimizer.label_field, self.rollouts is None
        return read_examples(examples, self.program, label_field=label, source=source, labelled=needed)

    @property
    def learns_from(self) -> LearnsFrom:
        labelled = sum(bool(episode.labels) for episode in self.train)
        if labelled == len(self.train):
            return "labels"
        return "labels and rewards" if labelled else "rewards"

    def score(self) -> float:
        """The metric's mean over the validation set, in per cent, or the share of right tools."""
        router, episodes = self.route.router, [episode for _, episode in self.judged]
        if self.rollouts is None:
            return evaluate(router, episodes, latency_sample=0).accuracy
        decisions = router.decide_batch([episode.text for episode in episodes])
        chosen = [decision.tool if decision.accepted else None for decision in decisions]
        pairs = [(example, tool) for (example, _), tool in zip(self.judged, chosen, strict=True)]
        done = self.rollouts.run(self.program, pairs, limited=False)
        failed = self.rollouts.failure_score
        scores = [failed if one is None or one.score is None else one.score for one in done]
        return 100.0 * sum(scores) / len(scores)

    def learn(self, report: OptimizerReport, teacher: dspy.Module | None) -> None:
        """Train the router from labels, or explore."""
        if self.rollouts is None or report.learned_from == "labels":
            val = self.val if self.val and all(episode.labels for episode in self.val) else None
            report.training = fit(self.route.router, self.train, val=val, config=self.optimizer.config)
            return
        already, trials = copy.copy(self.rollouts.spent), self._trials()
        missing = [row for row, episode in enumerate(self.train) if not episode.labels]
        if len(missing) < len(self.route.router.tools):
            logger.warning(
                "%d examples without a label for %d tools: a tool that is right for none of them is known by its card "
                "alone.", len(missing), len(self.route.router.tools),
            )  # fmt: skip
        for row, known in enumerate(self.rollouts.known_many(self.program, self.examples)):
            rewards = {tool: one.score for tool, one in known.items() if one.score is not None}
            self.train[row] = replace(self.train[row], rewards={**self.train[row].rewards, **rewards})
        settings = self.optimizer.exploration
        if (left := self.rollouts.spent.rollouts_left) is not None:
            settings = replace(settings, tries=min(settings.tries, max(left, 1) / len(missing)))
        suggested = None if teacher is None else suggestions(teacher, self.route.router, self.train)
        report.exploration = explore(
            self.route.router,
            self.train,
            self._roll,
            trials=trials,
            config=self.optimizer.config,
            settings=settings,
            suggested=suggested,
        )
        report.spent, report.training = self.rollouts.spent.since(already), report.exploration.training
        if report.training is None:
            report.note = _nothing_learned(trials, self.rollouts.first_error(self.program))
            logger.warning("%s", report.note)

    def _trials(self) -> Trials:
        router, optimizer = self.route.router, self.optimizer
        destructive = [] if optimizer.allow_destructive else [card.name for card in router.cards if card.destructive]
        return Trials(
            len(self.train),
            (*router.tools, None),
            maximum=optimizer.maximum,
            costly=optimizer.costly,
            forbidden=destructive,
        )

    def _roll(self, tries: Sequence[tuple[int, str | None]]) -> list[float | None]:
        assert self.rollouts is not None
        done = self.rollouts.run(self.program, [(self.examples[row], tool) for row, tool in tries])
        return [None if one is None else one.score for one in done]


def _nothing_learned(trials: Trials, error: str | None) -> str:
    """Why rewards taught nothing.

    Raises:
        ValueError: If there were none at all.
    """
    known = trials.rewards[trials.tried]
    if len(known) == 0:
        reason = f" The first error: {error}" if error else ""
        raise ValueError(f"No rollout gave a score, so that there is nothing to learn from.{reason}")
    return (
        f"The metric gave {float(known[0]):g} in all {len(known)} rollouts: it does not tell a good tool from a bad "
        "one, and the router was left as it was."
    )
