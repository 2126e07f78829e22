"""Exporting: what decides without torch decides as torch does, and what cannot be promised is refused."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
import torch
from exporting import QUICK, TEXTS, exported, trained
from routers import CARD_POOL, CARDS, IDENTITY, BilinearPolicy, hash_router
from uncertain import rows
from uncertain import trained as unsure

from dspy_router import ExportedRouter, ExportRefused, HashEncoder, Router, ToolCard, fit
from dspy_router.learning.settings import TrainConfig
from dspy_router.routing.novelty import NoveltyPolicy


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def check_alike(router: Router, one: ExportedRouter, texts=TEXTS) -> None:
    """The same tools, and probabilities that differ by rounding alone; by whatever tools are allowed."""
    for allowed in (None, [], list(router.tools[:1])):
        before, after = (some.decide_batch(texts, allowed=allowed) for some in (router, one))
        assert [decision.tool for decision in after] == [decision.tool for decision in before]
        assert [decision.accepted for decision in after] == [decision.accepted for decision in before]
        for first, second in zip(before, after, strict=True):
            assert second.probabilities == pytest.approx(dict(first.probabilities), abs=1e-5)
            assert second.none_probability == pytest.approx(first.none_probability, abs=1e-5)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [("hash", {}), ("gru", {"dim": 32}), ("transformer", {"dim": 32}), ("static", {"dim": 32})],
)
def test_float32_decides_as_torch_does(encoder, options, tmp_path):
    router = trained(encoder, **options)
    check_alike(router, exported(router, tmp_path / "out"))


def test_all_hidden_layers_of_a_policy_go_along(tmp_path):
    router = hash_router(CARDS)
    fit(router, IDENTITY, config=TrainConfig(epochs=20, deep_from=1, members=3, progress=False))
    check_alike(router, exported(router, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True])
def test_a_sentence_encoder_frozen_or_fine_tuned(trainable, tmp_path):
    router = trained("minilm", trainable=trainable)
    check_alike(router, exported(router, tmp_path / "out"))
    graph = onnx.load(tmp_path / "out" / "encoder.onnx").graph
    assert [node.op_type for node in graph.node].count("Attention") == 6  # one a layer, and no products around it
    report = router.export(tmp_path / "small", quantize="int8", above="warn")
    small = ExportedRouter.load(tmp_path / "small")
    assert report.agreement >= 0.9
    assert small.decide_batch(TEXTS) == [small.decide(text) for text in TEXTS]


def test_an_untrained_router_with_tools_that_tie(tmp_path):
    router = hash_router(CARD_POOL)
    check_alike(router, exported(router, tmp_path / "out"), ["search the handbook", "zzz", *TEXTS])


def test_a_tool_added_after_training_is_reached(tmp_path):
    router = trained()
    router.add_tools([ToolCard("weather", "Will it rain or shine?")])
    one = exported(router, tmp_path / "out")
    check_alike(router, one, [*TEXTS, "will it rain"])
    assert one.tools == ("add_numbers", "clock", "weather")


def test_the_order_of_the_tools_changes_no_choice(tmp_path):
    first, second = hash_router(CARD_POOL), hash_router(CARD_POOL[::-1])
    one, other = exported(first, tmp_path / "one"), exported(second, tmp_path / "other")
    texts = ["search the handbook", *TEXTS]
    assert [one.decide(text).tool for text in texts] == [other.decide(text).tool for text in texts]


def test_a_single_tool(tmp_path):
    router = hash_router(CARDS[:1])
    check_alike(router, exported(router, tmp_path / "out"))


@pytest.mark.parametrize("neighbours", [0, 3])
def test_novelty_and_neighbours_go_along(neighbours, tmp_path):
    router = hash_router()
    config = TrainConfig(epochs=2, threads=1, progress=False, neighbours=neighbours, deep_from=0)
    fit(router, rows(120, seed=1), config=config)
    assert isinstance(router.policy, NoveltyPolicy)
    check_alike(router, exported(router, tmp_path / "out"), [row["query"] for row in rows(30, seed=3)])


def test_int8_decides_each_text_alike_in_any_batch(tmp_path):
    router = trained("transformer", dim=32)
    one = exported(router, tmp_path / "out", quantize="int8")
    assert one.precision == "int8"
    assert one.decide_batch(TEXTS) == [one.decide(text) for text in TEXTS]
    assert one.decide_batch(TEXTS) == one.decide_batch(TEXTS[::-1])[::-1]


class TestTheReport:
    def test_what_was_measured(self, tmp_path):
        report = trained().export(tmp_path / "out", quantize=None)
        assert (report.precision, report.agreement, report.source) == ("fp32", 1.0, "training queries")
        assert report.texts == len(IDENTITY)
        assert report.accuracy is None
        assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
        assert report.to_dict()["calibration"] is None

    def test_labels_give_accuracies(self, tmp_path):
        wrong = {"query": IDENTITY[0]["query"], "tool": None}
        router = trained()
        right = sum(router.decide(row["query"]).tool == row["tool"] for row in IDENTITY)
        report = router.export(tmp_path / "out", quantize=None, examples=[*IDENTITY, wrong])
        assert report.accuracy == (right / 9, right / 9)

    def test_texts_alone_do(self, tmp_path):
        report = hash_router().export(tmp_path / "out", quantize=None, examples=["what time is it"])
        assert (report.texts, report.source) == (1, "the given examples")

    def test_an_untrained_router_is_compared_on_its_cards(self, tmp_path):
        assert hash_router().export(tmp_path / "out", quantize=None).source == "tool cards"


class TestRefusals:
    def test_what_loses_more_than_tolerated_is_not_written(self, tmp_path, caplog, monkeypatch):
        router = trained()
        # The exported policy says the opposite of everything.
        monkeypatch.setattr(
            "dspy_router.routing.exporting.head.FoldedHead.forward",
            lambda self, vectors, words, weights, summands: (
                -10 * vectors @ self.a + (weights[:, None] @ self.table[words])[:, 0, : self.options] * 0 + summands
            ),
        )
        with pytest.raises(ExportRefused, match=r"decisions came out another on 8 texts .*tolerance="):
            router.export(tmp_path / "out", quantize="int8")
        with pytest.raises(ExportRefused, match=r"more than the 0.0001 that rounding explains"):
            router.export(tmp_path / "out", quantize=None)
        assert not list(tmp_path.iterdir())
        with caplog.at_level(logging.WARNING):
            assert router.export(tmp_path / "out", above="warn").agreement < 0.98
        assert "were tolerated" in caplog.text

    def test_an_encoder_of_ones_own(self, tmp_path):
        class Own(HashEncoder):
            """Not the class that it stems from: what it does is unknown."""

        with pytest.raises(ExportRefused, match=r"class Own cannot be exported: expected one of the shipped ones"):
            Router.from_tools(CARDS, encoder=Own()).export(tmp_path / "out")

    def test_a_policy_of_ones_own(self, tmp_path):
        router = Router.from_tools(CARDS, encoder="hash", policy=BilinearPolicy(512))
        with pytest.raises(ExportRefused, match="class BilinearPolicy cannot be exported: expected a ToolSpacePolicy"):
            router.export(tmp_path / "out")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"quantize": "int4"}, "quantize must be 'int8', or None for float32; got 'int4'"),
            ({"tolerance": 2}, "tolerance must be a share of the decisions, from 0 to 1; got 2"),
            ({"above": "ignore"}, "above must be 'refuse' or 'warn'; got 'ignore'"),
            ({"examples": []}, "There is nothing to compare on"),
            ({"calibration": {"max_risk": 0.1}}, "`calibrate_on`, which is missing"),
        ],
    )
    def test_settings_out_of_range(self, settings, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            hash_router().export(tmp_path / "out", **settings)

    def test_another_folder_is_not_overwritten(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"notes.txt"):
            hash_router().export(tmp_path, quantize=None)

    def test_the_router_that_can_be_trained_is_not_lost_to_its_export(self, tmp_path):
        router = hash_router()
        router.save(tmp_path / "one")
        with pytest.raises(
            FileExistsError, match="holds a router that can be trained, and an exported one would replace"
        ):
            router.export(tmp_path / "one")
        assert Router.load(tmp_path / "one").fingerprint == router.fingerprint
        router.export(tmp_path / "two")
        with pytest.raises(
            FileExistsError, match="holds an exported router, and one that can be trained would replace"
        ):
            router.save(tmp_path / "two")


class TestCalibration:
    def test_a_map_goes_along(self, tmp_path):
        router = unsure()
        router.calibrate(rows(200, seed=2))
        check_alike(router, exported(router, tmp_path / "out", quantize=None), [row["query"] for row in rows(30, 3)])

    def test_a_guarantee_goes_along_with_the_same_scores(self, tmp_path):
        router = unsure()
        router.calibrate(rows(300, seed=2), max_risk=0.1, confidence=0.9)
        one = exported(router, tmp_path / "out", quantize=None)
        texts = [row["query"] for row in rows(60, seed=3)]
        assert {decision.accepted for decision in router.decide_batch(texts)} == {True, False}
        check_alike(router, one, texts)

    def test_but_not_with_others(self, tmp_path):
        router = unsure()
        router.calibrate(rows(300, seed=2), max_risk=0.1, confidence=0.9)
        with pytest.raises(ExportRefused, match=r"calibrate_on=examples.*quantize=None, which keeps the scores"):
            router.export(tmp_path / "out", quantize="int8")

    def test_what_is_exported_can_be_calibrated_itself(self, tmp_path):
        router = unsure()
        router.calibrate(rows(300, seed=2), max_risk=0.1, per_tool={"clock": 0.05}, confidence=0.9)
        report = router.export(tmp_path / "out", quantize="int8", above="warn", calibrate_on=rows(300, seed=4))
        assert report.calibration is not None
        asked = {one.tool: (one.max_risk, one.confidence) for one in report.calibration.certificates}
        assert asked == {"clock": (0.05, pytest.approx(0.95)), None: (0.1, pytest.approx(0.95))}
        one = ExportedRouter.load(tmp_path / "out")
        assert one.calibration is not None and router.calibration is not None
        assert one.calibration.identity.encoder != router.calibration.identity.encoder
        # The bars are those of the exported scores: what is kept of these examples is what the report says.
        texts = [row["query"] for row in rows(300, seed=4)]
        kept = [decision.accepted for decision in one.decide_batch(texts)]
        assert np.mean(kept) == pytest.approx(report.calibration.coverage)

    def test_training_queries_do_not_calibrate(self, tmp_path):
        with pytest.raises(ValueError, match="was trained on 120 of the 120"):
            unsure().export(tmp_path / "out", above="warn", calibrate_on=rows(120, seed=1))
        assert not list(tmp_path.iterdir())

    def test_a_stale_one_is_refused(self, tmp_path):
        router = unsure()
        router.calibrate(rows(200, seed=2))
        router.add_tools([ToolCard("weather", "Will it rain?")])
        with pytest.raises(ExportRefused, match="What is stale cannot be exported"):
            router.export(tmp_path / "out")

    def test_a_misspelt_setting(self, tmp_path):
        with pytest.raises(ValueError, match=r"takes the settings of Router.calibrate.*got 'risk'"):
            unsure().export(tmp_path / "out", calibrate_on=rows(50, seed=4), calibration={"risk": 0.1})


def test_exporting_leaves_the_router_as_it_was(tmp_path):
    router = trained("gru", dim=32)
    before = router.fingerprint
    router.export(tmp_path / "out", above="warn")
    assert router.fingerprint == before
    fit(router, IDENTITY, config=QUICK)  # and it can still be trained
