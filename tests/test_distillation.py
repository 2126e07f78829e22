"""Distilling a router: the student decides as its teacher, is a router like any other, and bad input is refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from crowds import crowded
from routers import CARDS, IDENTITY, BilinearPolicy, CountingEncoder, hash_router, quick
from safetensors.torch import load

from dspy_router import Episode, ExportedRouter, HashEncoder, Router, ToolCard, fit
from dspy_router.learning.distillation import DistillConfig, distill, principal_components
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.static import StaticEncoder

OPENINGS = [
    "seven plus",
    "please plus up",
    "how much is 1 plus",
    "what hour in",
    "hour of the day at",
    "which hour has",
]
ENDINGS = ["two", "three", "Oslo", "Rome", "Lima", "forty", "Bonn", "twelve"]
TEXTS = [f"{opening} {ending}" for opening, ending in product(OPENINGS, ENDINGS)]
QUICK = DistillConfig(
    dim=32, hidden=8, word_dim=8, epochs=4, vocabulary_size=400, held_out=0.0, variations=0, progress=False
)


class TwoIsThree(HashEncoder):
    """It takes two words for the same."""

    def __call__(self, texts):
        return super().__call__([text.replace("three", "two") for text in texts])


@pytest.fixture(scope="module")
def teacher() -> Router:
    router = hash_router()
    fit(router, IDENTITY, config=quick(epochs=20))
    return router


@pytest.fixture(scope="module")
def student(teacher) -> Router:
    return distill(teacher, TEXTS, config=QUICK)[0]


def agreement(one: Router, other: Router, texts) -> float:
    return float((one.logits(texts).argmax(1) == other.logits(texts).argmax(1)).float().mean())


class TestStudent:
    def test_it_decides_as_its_teacher_and_the_teacher_is_untouched(self, teacher):
        before = teacher.fingerprint
        made, report = distill(teacher, TEXTS, config=QUICK)
        assert agreement(made, teacher, TEXTS) > 0.95
        assert teacher.fingerprint == before
        assert isinstance(made.encoder, StaticEncoder)
        assert (report.texts, report.held_out, report.agreement) == (len(TEXTS), 0, None)
        assert report.bytes == sum(map(len, made.to_files().values()))
        assert len(report.losses) == QUICK.epochs

    def test_what_is_held_out_is_reported_and_not_trained_on(self, teacher):
        settings = {**vars(QUICK), "held_out": 0.25, "variations": 2}
        made, report = distill(teacher, TEXTS, config=DistillConfig(**settings))
        assert report.held_out == len(TEXTS) // 4
        assert report.texts <= 3 * (len(TEXTS) - report.held_out)
        assert report.agreement is not None and report.similarity is not None and report.divergence is not None
        held_out = report.agreement * report.held_out
        assert held_out == pytest.approx(round(held_out))
        assert report.agreement >= 0.5
        assert -1.0 <= report.similarity <= 1.0
        assert report.divergence >= 0.0
        assert agreement(made, teacher, TEXTS) > 0.8

    def test_it_is_saved_and_loaded_to_the_last_digit(self, student, tmp_path):
        student.save(tmp_path / "student")
        loaded = Router.load(tmp_path / "student")
        assert loaded.fingerprint == student.fingerprint
        torch.testing.assert_close(loaded.logits(TEXTS), student.logits(TEXTS), rtol=0, atol=0)

    def test_its_tables_take_half_the_bytes(self, student):
        weights = load(student.to_files()["policy.safetensors"])
        halved = {name for name, one in weights.items() if one.dtype == torch.float16}
        assert {"word_vectors", "word_weights"} <= halved
        assert not {"up_weights", "query_weights", "hidden_weights"} & halved

    def test_it_is_taught_with_swapped_words_too(self):
        router = Router.from_tools(CARDS, encoder=TwoIsThree(256))
        texts = [text for text in TEXTS if not text.endswith("three") or text in TEXTS[:16]]
        _, report = distill(router, texts, config=DistillConfig(**{**vars(QUICK), "variations": 2}))
        # To the four openings that "three" never followed, it does now.
        assert report.texts == len(texts) + 4

    def test_it_can_be_given_tools_explained_and_calibrated(self, student):
        rows = [Episode.from_example({**row, "query": f"{row['query']} now"}) for row in IDENTITY] * 4
        made = Router.from_files(student.to_files())
        assert made.explain("which hour has Rome").neighbours[0].tools == ("clock",)
        made.add_tools([ToolCard("weather_report", "Rain, wind and sun in the weather report.")])
        assert made.decide("weather report rain wind").tool == "weather_report"
        made.remove_tools(["weather_report"])
        made.calibrate(rows)
        assert made.decide("which hour has Rome").tool == "clock"

    def test_the_vectoriser_without_torch_reads_the_same(self, student):
        with torch.no_grad():
            np.testing.assert_allclose(student.encoder.vectoriser()(TEXTS), student.encoder(TEXTS), atol=1e-6)

    def test_threshold_is_the_teachers_and_its_calibration_is_not(self, teacher):
        strict = Router.from_files(teacher.to_files())
        strict.threshold = 0.3
        strict.calibrate([Episode.from_example({**row, "query": f"{row['query']} now"}) for row in IDENTITY * 4])
        made, _ = distill(strict, TEXTS, config=QUICK)
        assert (made.threshold, made.calibration) == (0.3, None)

    def test_without_hidden_layer(self, teacher):
        made, _ = distill(teacher, TEXTS, config=DistillConfig(**{**vars(QUICK), "hidden": 0}))
        assert isinstance(made.policy, ToolSpacePolicy)
        assert not made.policy.deep
        assert agreement(made, teacher, TEXTS) > 0.95

    def test_it_remembers_what_it_was_taught_with(self, student):
        assert student.seen.among(TEXTS) == list(range(len(TEXTS)))
        assert len(student.memory.texts) <= 3 * QUICK.remember


class TestTeachers:
    def test_a_users_own_encoder_and_policy(self):
        encoder = CountingEncoder()
        router = Router.from_tools(CARDS, encoder=encoder, policy=BilinearPolicy(encoder.dim))
        made, _ = distill(router, TEXTS, config=QUICK)
        assert agreement(made, router, TEXTS) > 0.9

    def test_a_single_tool(self):
        router = Router.from_tools(CARDS[:1], encoder="hash")
        made, _ = distill(router, TEXTS, config=QUICK)
        assert made.tools == ("add_numbers",)
        assert agreement(made, router, TEXTS) > 0.9

    def test_a_student_of_shorter_vectors_than_asked_for(self):
        router = Router.from_tools(CARDS, encoder=HashEncoder(16))
        assert distill(router, TEXTS, config=QUICK)[0].encoder.dim == 16


class TestBadInput:
    def test_a_teacher_that_was_exported(self, teacher, tmp_path):
        teacher.export(tmp_path / "fast", quantize=None)
        with pytest.raises(TypeError, match=r"must be a Router, .*; got ExportedRouter.* it came from"):
            distill(ExportedRouter.load(tmp_path / "fast"), TEXTS)  # pyright: ignore[reportArgumentType]

    def test_too_few_texts(self, teacher):
        with pytest.raises(ValueError, match="at least 16 different texts, got 1"):
            distill(teacher, ["what hour"] * 50)

    @pytest.mark.parametrize(
        ("texts", "kind", "message"),
        [
            ("what hour", TypeError, "many texts, got a single string"),
            ([*TEXTS, " "], ValueError, "must not be empty"),
            ([*TEXTS, None], TypeError, "must be a string, got NoneType"),
        ],
    )
    def test_what_is_no_text(self, teacher, texts, kind, message):
        with pytest.raises(kind, match=message):
            distill(teacher, texts)

    def test_a_teacher_that_finds_its_tools_by_an_index(self):
        with pytest.raises(ValueError, match=r"a few of its 300 tools by an index .* distill a router of fewer tools"):
            distill(crowded(), TEXTS, config=QUICK)

    def test_very_long_texts_are_cut(self, teacher):
        long = [f"{text} {'and so on ' * 2000}" for text in TEXTS[::3]]
        made, _ = distill(teacher, [*TEXTS, *long], config=DistillConfig(**{**vars(QUICK), "max_length": 8}))
        assert made.decide(long[0]).tool == made.decide(f"{TEXTS[0]} and so on and so on").tool


def test_principal_components_keep_what_varies():
    vectors = torch.tensor([[3.0, 0.0, 0.1], [0.0, 2.0, -0.1], [-3.0, 0.0, 0.1], [0.0, -2.0, -0.1]])
    kept = principal_components(vectors, 2)
    torch.testing.assert_close(kept.abs(), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), atol=1e-4, rtol=0)
    assert torch.equal(principal_components(vectors, 5), torch.eye(3))
