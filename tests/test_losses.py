"""The losses, against arithmetic written out."""

from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dspy_router.learning.losses import contrastive, cross_entropy
from dspy_router.learning.objectives import balanced_weights

LOGITS = torch.tensor([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]).log()
FIRST = torch.tensor([[True, False, False], [False, True, False]])


def test_cross_entropy_by_hand():
    """Row 1: 1/8 of the mass is right, −ln(1/8) = ln 8. Row 2: 3/8, ln(8/3). The mean of both."""
    assert cross_entropy(LOGITS, FIRST) == pytest.approx((log(8) + log(8 / 3)) / 2)


def test_any_of_several_right_options_will_do():
    """Row 1: (1 + 2)/8 is right, ln(8/3). Row 2: all of it, ln 1 = 0."""
    right = torch.tensor([[True, True, False], [True, True, True]])
    assert cross_entropy(LOGITS, right) == pytest.approx(log(8 / 3) / 2, abs=1e-6)


def test_weights_of_rows_by_hand():
    """2 · ln 8 and 0 · ln(8/3), divided by two rows: ln 8."""
    assert cross_entropy(LOGITS, FIRST, weights=torch.tensor([2.0, 0.0])) == pytest.approx(log(8))


def test_smoothing_by_hand():
    """Row 1 alone with ε = 1/4: 3/4 · ln 8 + 1/4 · (ln 8 + ln 4 + ln(8/5)) / 3."""
    expected = 0.75 * log(8) + 0.25 * (log(8) + log(4) + log(8 / 5)) / 3
    assert cross_entropy(LOGITS[:1], FIRST[:1], smoothing=0.25) == pytest.approx(expected)


def test_a_forbidden_option_takes_no_part():
    """Odds 1 : forbidden : 5, so ln 6; smoothed by 1/4 over the two that are left, (ln 6 + ln(6/5)) / 2."""
    logits = torch.tensor([[0.0, -torch.inf, log(5)]], requires_grad=True)
    assert cross_entropy(logits, FIRST[:1]).item() == pytest.approx(log(6))
    loss = cross_entropy(logits, FIRST[:1], smoothing=0.25)
    assert loss.item() == pytest.approx(0.75 * log(6) + 0.25 * (log(6) + log(6 / 5)) / 2)
    loss.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_contrastive_by_hand():
    """Odds 4 : 2 : 1 with the first right, 1 : 3 : 1 with the second; one hard negative.

    Query to tools: −ln(4 / (4 + 2)) = ln 3/2 and −ln(3 / (3 + 1)) = ln 4/3, their mean.
    Tool to queries: the first tool's column holds 4 and 1, share 4/5; the second's 2 and 3, share 3/5; −the mean log.
    The loss is the mean of the two terms.
    """
    logits = torch.tensor([[4.0, 2.0, 1.0], [1.0, 3.0, 1.0]]).log()
    to_tools, to_queries = (log(3 / 2) + log(4 / 3)) / 2, (log(5 / 4) + log(5 / 3)) / 2
    assert contrastive(logits, FIRST, hard_negatives=1) == pytest.approx((to_tools + to_queries) / 2)


def test_contrastive_weights_rows_of_the_first_term_only():
    """As above with the weights 2 and 0: the first term becomes ln 3/2, the second stays."""
    logits = torch.tensor([[4.0, 2.0, 1.0], [1.0, 3.0, 1.0]]).log()
    expected = (log(3 / 2) + (log(5 / 4) + log(5 / 3)) / 2) / 2
    weights = torch.tensor([2.0, 0.0])
    assert contrastive(logits, FIRST, weights=weights, hard_negatives=1) == pytest.approx(expected)


def test_more_hard_negatives_are_a_harder_contrast():
    """Odds 1 : 2 : 5 with the first right: against 5 alone ln 6, against 5 and 2 ln 8."""
    assert contrastive(LOGITS[:1], FIRST[:1], hard_negatives=1) == pytest.approx(log(6))
    assert contrastive(LOGITS[:1], FIRST[:1], hard_negatives=2) == pytest.approx(log(8))


BATCHES = st.integers(1, 5).flatmap(
    lambda k: st.lists(
        st.tuples(st.lists(st.floats(-5, 5), min_size=k + 1, max_size=k + 1), st.integers(0, k)), min_size=1, max_size=6
    )
)


def tensors(batch):
    logits = torch.tensor([row for row, _ in batch], dtype=torch.float64)
    return logits, F.one_hot(torch.tensor([label for _, label in batch]), logits.shape[1]).bool()


@given(BATCHES)
def test_relation_to_the_ordinary_cross_entropy(batch):
    logits, right = tensors(batch)
    assert cross_entropy(logits, right).item() == pytest.approx(F.cross_entropy(logits, right.int().argmax(1)).item())
    smoothed = F.cross_entropy(logits, right.int().argmax(1), label_smoothing=0.1)
    assert cross_entropy(logits, right, smoothing=0.1).item() == pytest.approx(smoothed.item())


@given(BATCHES)
def test_relation_of_the_contrast_to_cross_entropy(batch):
    """With as many hard negatives as options, and no other query to contrast with, both are the same."""
    logits, right = tensors(batch[:1])
    result = contrastive(logits, right, hard_negatives=logits.shape[1])
    assert result.item() == pytest.approx(cross_entropy(logits, right).item(), abs=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits: cross_entropy(logits, RIGHT, smoothing=0.1, weights=WEIGHTS),
        lambda logits: contrastive(logits, RIGHT, weights=WEIGHTS, hard_negatives=2),
    ],
    ids=["cross_entropy", "contrastive"],
)
def test_gradients(loss):
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, logits)


RIGHT = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
WEIGHTS = torch.tensor([0.5, 1.5, 1.0, 1.0], dtype=torch.float64)


def test_balanced_weights_by_hand():
    """Three rows of one tool, one of another: 1/3, 1/3, 1/3 and 1 have the mean 1/2, so 2/3, 2/3, 2/3 and 2."""
    right = F.one_hot(torch.tensor([0, 0, 0, 1]), 3).bool()
    assert balanced_weights(right, 1.0).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert balanced_weights(right, 0.0).tolist() == [1, 1, 1, 1]


@given(st.lists(st.integers(0, 4), min_size=1), st.floats(0, 1))
def test_balanced_weights_have_mean_one_and_never_favour_the_frequent(labels, power):
    weights = balanced_weights(F.one_hot(torch.tensor(labels), 5).bool(), power)
    assert weights.mean().item() == pytest.approx(1, abs=1e-5)
    by_count = sorted((labels.count(label), -weight) for label, weight in zip(labels, weights.tolist(), strict=True))
    assert [w for _, w in by_count] == pytest.approx(sorted(w for _, w in by_count))
