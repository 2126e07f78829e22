"""What a student imitates: the loss against arithmetic, and that only what it reads is moved."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from routers import CARDS
from torch.nn import functional as F

from dspy_router import Router
from dspy_router.learning.distill_settings import DistillConfig
from dspy_router.learning.imitation import Imitation, Teaching, soft_cross_entropy
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.static import StaticEncoder
from dspy_router.routing.threads import bounded_threads

TEXTS = ["plus one", "plus two", "hour now", "hour here"] * 8
LOGITS = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 4.0, 0.0]] * 8)


class TestLoss:
    def test_by_hand(self):
        # p = (3/4, 1/4), q = (1/2, 1/2): 3/4 · ln(3/2) + 1/4 · ln(1/2).
        teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
        expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        torch.testing.assert_close(soft_cross_entropy(student, teacher), torch.tensor(expected))

    def test_a_temperature_halves_the_logits_and_keeps_the_size(self):
        # With τ = 2 the teacher's ln 9 becomes ln 3, so that p is as above; times τ².
        teacher, student = torch.tensor([[math.log(9.0), 0.0]]), torch.zeros(1, 2)
        expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
        torch.testing.assert_close(soft_cross_entropy(student, teacher, temperature=2.0), torch.tensor(expected))

    @given(st.lists(st.floats(-9, 9), min_size=3, max_size=3), st.floats(-5, 5), st.floats(0.5, 4))
    def test_it_is_zero_for_the_teachers_own_probabilities_and_never_below(self, row, shift, temperature):
        teacher = torch.tensor([row])
        same = soft_cross_entropy(teacher + shift, teacher, temperature=temperature)
        other = soft_cross_entropy(teacher.flip(1), teacher, temperature=temperature)
        assert float(same) == pytest.approx(0.0, abs=1e-4)
        assert float(other) >= -1e-5


def student() -> Router:
    encoder = StaticEncoder(dim=16)
    encoder.learn_vocabulary([*TEXTS, "elsewhere"])
    policy = ToolSpacePolicy(16, hidden=8, word_dim=8)
    router = Router(CARDS, encoder, policy=policy)
    policy.prepare(router.tools, len(router.vocabulary), generator=torch.Generator().manual_seed(0))
    return router


def teaching() -> Teaching:
    generator = torch.Generator().manual_seed(1)
    return Teaching(TEXTS, LOGITS, F.normalize(torch.randn(4, 16, generator=generator), dim=1).repeat(8, 1))


def views() -> torch.Tensor:
    return F.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(2)), dim=1)


def train(**settings) -> tuple[Router, list[float]]:
    router = student()
    config = DistillConfig(**{"epochs": 8, "progress": False, "encoder_learning_rate": 0.02, **settings})
    with bounded_threads(1):
        return router, Imitation(router, teaching(), views(), config).train()


def test_it_learns_the_teachers_choices_and_vectors():
    router, losses = train(token_dropout=0.0, epochs=12)
    assert losses[-1] < 0.5 * losses[0]
    assert router.logits(TEXTS).argmax(1).tolist() == LOGITS.argmax(1).tolist()
    with torch.no_grad():
        assert float((router.encoder(TEXTS) * teaching().vectors).sum(1).mean()) > 0.7


def test_without_the_vectors_weight_only_the_choices_are_learned():
    near, far = (train(vector_weight=weight)[0] for weight in (1.0, 0.0))
    with torch.no_grad():
        cosines = [float((one.encoder(TEXTS) * teaching().vectors).sum(1).mean()) for one in (near, far)]
    assert cosines[0] > cosines[1] + 0.2
    assert far.logits(TEXTS).argmax(1).tolist() == LOGITS.argmax(1).tolist()


def static(router: Router) -> StaticEncoder:
    assert isinstance(router.encoder, StaticEncoder)
    return router.encoder


def test_pieces_that_occur_nowhere_keep_their_vectors():
    before = static(student()).tokens.weight.detach().half().float()
    encoder = static(train()[0])
    unread = encoder.pieces.row("elsewhere")
    used = {i for text in [*TEXTS, *(v for card in CARDS for v in card.views)] for i in encoder.pieces.row(text)}
    assert not used & set(unread)
    after = encoder.tokens.weight.detach()
    torch.testing.assert_close(after[unread], before[unread])
    assert not torch.allclose(after[sorted(used)], before[sorted(used)])


def test_the_same_seed_gives_the_same_student_and_another_another():
    one, same, other = train(seed=3)[0], train(seed=3)[0], train(seed=4)[0]
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_loss_that_is_no_number_is_an_error():
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1: .* Try a smaller learning rate than 1e\+30"):
        train(learning_rate=1e30, encoder_learning_rate=1e30)
