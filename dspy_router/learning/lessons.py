"""Lessons: examples as tensors, and what is known of the right choice: labels, rewards of tried tools, logged draws."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dspy_router.records import Episode

_EXPECTED = (
    "expected a field 'tool' with a tool's name, a list of names, or None where no tool fits; or 'rewards', the reward "
    "of each tool that was tried; or 'action' and 'reward' of a logged choice"
)


@dataclass(frozen=True)
class Lessons:
    """n texts and what is known of the right choice for each; the columns are the k tools and, last, *none*.

    Attributes:
        texts: What a decision is made on.
        right: The labels, bool [n, k + 1]; no True in a row that has no label.
        rewards: Reward of each option that was tried, float [n, k + 1]; NaN where it was not.
        actions: The option that a logged policy drew, int64 [n]; −1 where nothing was logged.
        propensities: Probability in (0, 1] with which it was drawn, float [n]; NaN where nothing was logged.
    """

    texts: list[str]
    right: Tensor
    rewards: Tensor
    actions: Tensor
    propensities: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def read(
        cls, examples: Iterable[Any], tools: Sequence[str], *, what: str = "training set", bare: bool = False
    ) -> Lessons:
        """Read examples in any of the forms that `Episode.from_example` takes.

        Args:
            examples: Rows, episodes or `dspy.Example`s.
            tools: The names of the tools, in the order of the columns.
            what: What an error calls the examples.
            bare: Whether an example may come without label and reward.

        Raises:
            ValueError: If there are no examples, one has no text, nothing is known of its right choice, it names an
                unknown tool, or a reward or propensity is out of range.
        """
        episodes = [Episode.from_example(example) for example in examples]
        if not episodes:
            raise ValueError(f"The {what} is empty: expected at least one example with a 'query' and a 'tool'.")
        n, columns = len(episodes), {name: column for column, name in enumerate(tools)}
        right = torch.zeros(n, len(tools) + 1, dtype=torch.bool)
        rewards = torch.full((n, len(tools) + 1), math.nan)
        actions = torch.full((n,), -1)
        propensities = torch.full((n,), math.nan)
        for row, episode in enumerate(episodes):
            where = f"Example {row + 1} of the {what}"
            if not episode.text.strip():
                raise ValueError(f"{where} must not be empty: expected some text as its query.")
            for name, reward in _rewards(episode, where).items():
                rewards[row, _column(name, columns, where)] = reward
            if episode.decisions and episode.reward is not None:
                actions[row] = _column(episode.decisions[0].tool, columns, where)
                propensities[row] = _propensity(episode.decisions[0].propensity, where)
            if episode.labels:
                right[row, [_column(name, columns, where) for name in episode.labels[0] or (None,)]] = True
            elif rewards[row].isnan().all() and not bare:
                raise ValueError(f"{where} has no label, and no reward: {_EXPECTED}. Its text is {episode.text!r:.80}.")
        return cls([episode.text for episode in episodes], right, rewards, actions, propensities)

    def check_contrast(self, tools: Sequence[str]) -> None:
        """Refuse lessons that tell nothing apart.

        Raises:
            ValueError: If all have the same label, or every reward is the same.
        """
        if self.labelled.all() and (self.right == self.right[0]).all():
            label = ", ".join(self.names(tools)[0] or ("none",))
            raise ValueError(
                f"All {len(self)} training examples have the same label ({label}): there is nothing to tell "
                "apart. Expected examples of at least two tools, or of one tool and of none (tool: null)."
            )
        low, high = self.reward_range
        if not self.labelled.any() and low == high:
            raise ValueError(
                f"All {int(self.rewards.isfinite().sum())} rewards of the training set are {low:g}: there is nothing "
                "to learn from them. Expected a metric that tells a right tool from a wrong one."
            )

    @property
    def labelled(self) -> Tensor:
        """Which rows have a label, bool [n]."""
        return self.right.any(1)

    @property
    def rewarded(self) -> Tensor:
        """Which rows have the reward of at least one option, bool [n]."""
        return self.rewards.isfinite().any(1)

    @property
    def logged(self) -> Tensor:
        """Which rows are draws of a logged policy, bool [n]."""
        return self.actions >= 0

    @property
    def reward_range(self) -> tuple[float, float]:
        """The least and the largest reward that is known; (0, 1) where none is."""
        known = self.rewards[self.rewards.isfinite()]
        return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)

    @property
    def best(self) -> Tensor:
        """The right options as far as they are known, bool [n, k + 1]: the labels, else the best of the tried.

        A row whose tried options all earned less than the middle of the rewards' range has none.
        """
        low, high = self.reward_range
        known = self.rewards.nan_to_num(-math.inf)
        top = known.amax(1, keepdim=True)
        found = (known == top) & (top >= (low + high) / 2) & known.isfinite()
        return torch.where(self.labelled[:, None], self.right, found)

    def names(self, tools: Sequence[str]) -> list[tuple[str, ...] | None]:
        """`best` by name: an empty tuple for *none*, None where nothing is known to be right."""
        columns = [row.nonzero().flatten().tolist() for row in self.best]
        known = tuple(tools)
        return [tuple(known[i] for i in right if i < len(known)) if right else None for right in columns]

    def select(self, rows: Tensor) -> Lessons:
        """The lessons of these numbers, int64 [m]."""
        texts = [self.texts[row] for row in rows.tolist()]
        return Lessons(texts, self.right[rows], self.rewards[rows], self.actions[rows], self.propensities[rows])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict of all that is known, by row and column; where nothing was logged the propensity is 0."""
        known = self.rewards.isfinite()
        return {
            "texts": self.texts,
            "right": self.right.nonzero().tolist(),
            "rewards": [known.nonzero().tolist(), self.rewards[known].tolist()],
            "logged": [self.actions.tolist(), self.propensities.nan_to_num(0.0).tolist()],
        }


def _rewards(episode: Episode, where: str) -> Mapping[str | None, float]:
    rewards: dict[str | None, Any] = dict(episode.rewards)
    if episode.decisions and episode.reward is not None:
        rewards[episode.decisions[0].tool] = episode.reward
    for name, reward in rewards.items():
        if not math.isfinite(_number(reward)):
            raise ValueError(f"{where}: the reward of {name!r} must be a finite number, got {reward!r}.")
    return {name: _number(reward) for name, reward in rewards.items()}


def _propensity(value: Any, where: str) -> float:
    if not 0.0 < _number(value) <= 1.0:
        raise ValueError(f"{where}: the propensity must be a probability in (0, 1], got {value!r}.")
    return _number(value)


def _number(value: Any) -> float:
    """A number of whatever kind, NumPy's and torch's too, as a float; NaN for what is none."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _column(name: str | None, columns: Mapping[str, int], where: str) -> int:
    if name is None:
        return len(columns)
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"{where} names '{name}', which is none of the router's {len(columns)} tools.{hint}")
