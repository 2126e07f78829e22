"""The rule of who answers: the router keeps what it is surer of than the language model is right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.candidates import Choices


class Sureness(NamedTuple):
    """How sure the router is of each of m questions once its odds are calibrated.

    Attributes:
        confidence: Probability that what it would do is right, [m], at least ½.
        right: Whether it is, [m].
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]


def sureness(
    choices: Choices, fixed: NDArray[np.int64], scored: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> Sureness:
    """Calibrate on some questions, and tell how sure the router is of others.

    The confidence is the logistic regression of "answerable" on one number, the log-odds of the best tool against
    *none*. With a model that is right with probability p, the router keeps a question if it is surer than p (Chow 1970,
    "On optimum recognition error and reject tradeoff": hand over where the other errs less).

    Args:
        choices: What the router would do.
        fixed: The questions to calibrate on, [f]; both kinds must be among them.
        scored: The questions to judge, [m].
        weights: How much each of the first counts, [f]; by default all alike.
    """
    answerable = ~choices.none_right[fixed]
    regression = LogisticRegression().fit(choices.odds[fixed, None], answerable, sample_weight=weights)
    margin = regression.decision_function(choices.odds[scored, None])
    right = np.where(margin >= 0, choices.tool_right[scored], choices.none_right[scored])
    return Sureness(1 / (1 + np.exp(-np.abs(margin))), right)
