"""The search behind the joint optimizer: turns of router and prompts, and one judge of whatever comes of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.evaluation.credit import CreditSplit, split_credit
from dspy_router.program.route import find_route
from dspy_router.program.router_optimizer import RouterOptimizer
from dspy_router.program.steps import describe_error
from dspy_router.program.tuning.fingerprints import example_digest, input_digest, prompt_fingerprint
from dspy_router.program.tuning.forcing import Rule, Tool, tools_to_force
from dspy_router.program.tuning.joint_report import JointReport, JointTurn, Standing
from dspy_router.program.tuning.prompt_tuning import Explain, explain_credit, tune_prompts
from dspy_router.program.tuning.rewards import Rollout
from dspy_router.program.tuning.spending import Ledger
from dspy_router.program.tuning.teaching import read_examples
from dspy_router.routing.router import Router

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Candidate:
    """A program, and how good it is."""

    program: dspy.Module
    standing: Standing


class JointSearch:
    """Climbs from program to better program; see `JointOptimizer`."""

    def __init__(
        self,
        router: RouterOptimizer,
        prompts: Sequence[Teleprompter],
        *,
        train: Sequence[Any],
        val: Sequence[Any] | None,
        teacher: Any = None,
    ) -> None:
        """Take the optimizers and the examples; the rollouts are those of the router optimizer, which must have some.

        Raises:
            TypeError: If an example is no `dspy.Example` with inputs.
        """
        assert router.rollouts is not None
        self.router, self.rollouts, self.maximum = router, router.rollouts, router.maximum
        self.prompts = prompts
        self.train, self.val = list(train), list(val or ())
        asked = {input_digest(example) for example in self.train}
        self.overlap = sum(input_digest(example) in asked for example in self.val)
        self.teacher = teacher
        self.prior: Router | None = None
        self._scores: set[float] = set()

    def run(self, student: dspy.Module, *, max_turns: int) -> tuple[dspy.Module, JointReport]:
        """The best program found, and the report.

        Raises:
            RuntimeError: If the student as it is cannot be judged, for errors of the program or the metric.
            ValueError: If a score is above the maximum, or the examples are such that no router can be trained.
        """
        with self._spending() as spent:
            program = student.deepcopy()
            # Choices are judged here, not which of them may be kept; and training makes a guarantee stale.
            calibration, find_route(program).router.calibration = find_route(program).router.calibration, None
            best = self._judge(program, "start")
            self.prior = find_route(best.program).router
            report = JointReport(before=best.standing, after=best.standing, overlap=self.overlap)
            rule: Rule = "best"
            for number in range(1, max_turns + 1):
                turn, best, tuned = self._turn(best, number, rule)
                report.turns.append(turn)
                report.after = best.standing
                report.constant = self._constant()
                report.ended = self._why_stop(turn, report.constant)
                if report.ended:
                    break
                rule = "best" if tuned else "other"
            else:
                report.ended = f"{max_turns} turns were made"
        report.rollouts, report.lm_calls, report.cost, report.seconds = spent()
        logger.info("joint optimization: %.4f -> %.4f, %s", report.before.val, report.after.val, report.kept)
        find_route(best.program).router.calibration = calibration
        best.program._compiled = student._compiled
        return best.program, report

    def _why_stop(self, turn: JointTurn, constant: float | None) -> str:
        """Why there is nothing more to gain; empty if there may be."""
        if constant is not None and constant < self.maximum:
            logger.warning("The metric gave %g in every run: there is nothing to learn from it.", constant)
            return f"the metric gave {constant:g} in every run, so that there is nothing to learn from it"
        if self._solved(turn.after):
            return "every example has the maximum"
        if turn.rule == "other" and not turn.improved:
            return "neither router nor prompts improved it, whichever tools were forced"
        return ""

    def _turn(self, best: _Candidate, number: int, rule: Rule) -> tuple[JointTurn, _Candidate, bool]:
        """One turn: its record, the best program after it, and whether new prompts are part of that."""
        turn = JointTurn(number, rule, before=best.standing, after=best.standing)
        tuned = False
        with self._spending() as spent:
            best = _better(best, self._trained(best.program, f"turn {number}: router", turn))
            if best.standing is not turn.before:
                turn.rule = "best"  # the router has found better tools, with which the prompts may have more luck
            for optimizer in self.prompts:
                if self._solved(best.standing):
                    break
                before = best
                best = self._tune(optimizer, best, f"turn {number}: {type(optimizer).__name__}", turn)
                tuned = tuned or best is not before
        turn.after = best.standing
        turn.rollouts, turn.lm_calls, turn.cost, turn.seconds = spent()
        return turn, best, tuned

    def _tune(self, optimizer: Teleprompter, best: _Candidate, name: str, turn: JointTurn) -> _Candidate:
        """The better of the candidate and what becomes of it with prompts by this optimizer."""
        try:
            tools, explain = self._force(best.program, turn.rule)
            tuned = tune_prompts(
                optimizer, best.program, trainset=self.train, tools=tools, explain=explain, teacher=self.teacher
            )
            if prompt_fingerprint(tuned) == prompt_fingerprint(best.program):
                return best
            fresh = self._judge(tuned, name)
        except Exception as error:  # somebody else's optimizer, or prompts that the program cannot run with
            self._note(name, error, turn)
            return best
        turn.candidates.append(fresh.standing)
        return self._retrain(best, fresh, name, turn)

    def _retrain(self, best: _Candidate, fresh: _Candidate, name: str, turn: JointTurn) -> _Candidate:
        """The best of the candidate so far and the fresh one with its router trained under its prompts.

        A router that has to unlearn what other prompts taught it may not get there at once, so it is trained again for
        as long as it finds better tools and the candidate is not the best yet.
        """
        reach = -math.inf
        while (reached := fresh.standing.credit.score + fresh.standing.credit.routing_regret) > reach:
            best, reach = _better(best, fresh), reached
            trained = self._trained(fresh.program, f"{name}, router", turn)
            if trained is None:
                break
            if trained.standing.val > best.standing.val:
                return trained
            fresh = trained
        return best

    def _trained(self, program: dspy.Module, name: str, turn: JointTurn) -> _Candidate | None:
        """The program with its router trained under its prompts; None if that failed."""
        try:
            trained = self.router.compile(program, trainset=self.train, valset=self.val or None, teacher=self.teacher)
            candidate = self._judge(trained, name)
        except Exception as error:
            if not turn.candidates and turn.number == 1:
                raise  # nothing was gained yet that could be lost
            self._note(name, error, turn)
            return None
        turn.candidates.append(candidate.standing)
        return candidate

    def _note(self, name: str, error: Exception, turn: JointTurn) -> None:
        turn.errors.append(f"{name}: {describe_error(error)}")
        logger.warning("%s failed; the best program so far is kept.", name, exc_info=True)

    def _judge(self, program: dspy.Module, name: str) -> _Candidate:
        """Score a program on all examples, by rollouts of the tools that its router chooses."""
        rows = [*self.train, *self.val]
        choices = [
            decision.tool if decision.accepted else None
            for decision in find_route(program).router.decide_batch(self._texts(program, rows))
        ]
        outcomes = self.rollouts.run(program, list(zip(rows, choices, strict=True)), limited=False)
        if all(one is None or one.score is None for one in outcomes):
            raise RuntimeError(
                f"The program cannot be judged: none of {len(rows)} examples has a score. "
                f"{self.rollouts.first_error(program) or 'Only destructive tools were chosen, which are not run.'}"
            )
        if None in outcomes:
            logger.warning(
                "%s: for %d examples a destructive tool is chosen; they count %g, as it is not run without "
                "allow_destructive=True.", name, outcomes.count(None), self.rollouts.failure_score,
            )  # fmt: skip
        scores = [self.rollouts.failure_score if one is None or one.score is None else one.score for one in outcomes]
        train, val = scores[: len(self.train)], scores[len(self.train) :]
        credit = self._split(program, choices[: len(train)], train)
        standing = Standing(name, _mean(train), _mean(val or train), credit)
        return _Candidate(program, standing)

    def _split(self, program: dspy.Module, choices: Sequence[Tool], scores: Sequence[float]) -> CreditSplit:
        rewards, failed = [], []
        for tool, score, known in zip(choices, scores, self.rollouts.known_many(program, self.train), strict=True):
            row = {one: _score(rollout) for one, rollout in known.items()}
            self._scores.update(row.values())
            rewards.append({**row, tool: score})
            failed.append({one for one, rollout in known.items() if rollout.failure} | ({tool} - set(known)))
        return split_credit(choices, rewards, maximum=self.maximum, failed=failed)

    def _force(self, program: dspy.Module, rule: Rule) -> tuple[dict[str, Tool], Explain]:
        """The tool to force by the text that the router is asked about, and what to say about it."""
        texts = self._texts(program, self.train)
        known = [
            {tool: _score(rollout) for tool, rollout in row.items()}
            for row in self.rollouts.known_many(program, self.train)
        ]
        tools = tools_to_force(rule, known, self._options(find_route(program).router, texts), maximum=self.maximum)
        by_example = {example_digest(row): rewards for row, rewards in zip(self.train, known, strict=True)}

        def explain(example: Any, prediction: Any, predictor: str, score: float) -> str:
            rewards = by_example.get(example_digest(example), {})
            return explain_credit(rewards, prediction, predictor, score=score, maximum=self.maximum)

        return dict(zip(texts, tools, strict=True)), explain

    def _options(self, router: Router, texts: Sequence[str]) -> list[list[Tool]]:
        """The tools that may be forced: the router's favourite, then as the router ranked them that was handed over."""
        assert self.prior is not None
        barred = set() if self.rollouts.allow_destructive else {card.name for card in router.cards if card.destructive}
        costly, count = set(self.router.costly), len(router.tools) + 1
        options = []
        for now, before in zip(router.decide_batch(texts), self.prior.decide_batch(texts), strict=True):
            favourite = [tool for tool, _ in now.top(count) if tool not in barred][:1]
            others = [tool for tool, _ in before.top(count) if tool not in barred and tool not in favourite]
            options.append([*favourite, *sorted(others, key=lambda tool: tool in costly)])
        return options

    def _texts(self, program: dspy.Module, rows: Sequence[Any]) -> list[str]:
        """What the program's router will be asked about these examples."""
        episodes = read_examples(rows, program, label_field=self.router.label_field, labelled=False)
        return [episode.text for episode in episodes]

    def _solved(self, standing: Standing) -> bool:
        return min(standing.train, standing.val) >= self.maximum

    def _constant(self) -> float | None:
        return next(iter(self._scores)) if len(self._scores) == 1 else None

    @contextmanager
    def _spending(self) -> Iterator[Callable[[], tuple[int, int, float | None, float]]]:
        """What was spent within this: rollouts, calls, dollars, seconds."""
        runs, started = self.rollouts.spent.rollouts, time.perf_counter()
        with Ledger().watching() as ledger:
            yield lambda: (
                self.rollouts.spent.rollouts - runs,
                ledger.lm_calls,
                ledger.cost,
                time.perf_counter() - started,
            )


def _better(one: _Candidate, other: _Candidate | None) -> _Candidate:
    """The better by validation; of equals the first, which came earlier and cost less."""
    return other if other is not None and other.standing.val > one.standing.val else one


def _score(rollout: Rollout) -> float:
    assert rollout.score is not None
    return rollout.score


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
