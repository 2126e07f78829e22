"""An exported router: a folder that is whole or refused, a record like any other, and nothing that changes it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from exporting import TEXTS, exported, trained
from routers import CARDS, IDENTITY

from dspy_router import Decision, ExportedRouter, Router, fit, learn
from dspy_router.runtime.cache import DecisionCache


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "gru"
    router = trained("gru", dim=32)
    router.threshold = 0.25
    exported(router, folder)
    return folder


@pytest.fixture
def router(folder) -> ExportedRouter:
    return ExportedRouter.load(folder)


@pytest.fixture
def spoilt(folder, tmp_path) -> Path:
    """A copy to damage."""
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


class TestDeciding:
    def test_a_record_like_any_other(self, router):
        decision = router.decide(TEXTS[0], allowed=["clock"])
        assert isinstance(decision, Decision)
        assert set(decision.probabilities) == {"clock"}
        assert sum(decision.probabilities.values()) + decision.none_probability == pytest.approx(1)
        assert decision.accepted == (decision.confidence >= 0.25)

    def test_a_batch_is_as_many_single_ones(self, router):
        batch = router.decide_batch(TEXTS)
        for text, decision in zip(TEXTS, batch, strict=True):
            alone = router.decide(text)
            assert alone.tool == decision.tool
            assert alone.confidence == pytest.approx(decision.confidence, abs=1e-6)
        assert router.decide_batch([]) == []
        assert router.probabilities([]).shape == (0, 3)

    def test_on_64_threads(self, router):
        texts = TEXTS * 20
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(router.decide, texts)) == [router.decide(text) for text in texts]

    def test_probabilities_are_the_policys(self, router):
        rows = router.probabilities(TEXTS)
        assert rows.shape == (len(TEXTS), 3)
        assert rows.sum(1) == pytest.approx(np.ones(len(TEXTS)))

    def test_a_cache_serves_it_too(self, router):
        router.cache = DecisionCache(10)
        assert router.decide(TEXTS[0]) is router.decide(TEXTS[0])
        router.threshold = 1.0
        assert not router.decide(TEXTS[0]).accepted
        assert (router.cache.hits, router.cache.misses) == (1, 2)

    @pytest.mark.parametrize("text", ["", "  \n"])
    def test_no_text(self, router, text):
        with pytest.raises(ValueError, match="A query must not be empty"):
            router.decide(text)

    def test_what_is_no_text(self, router):
        with pytest.raises(TypeError, match="A query must be a string, got int"):
            router.decide(7)
        with pytest.raises(TypeError, match="for a single text use decide"):
            router.decide_batch("text")

    def test_an_unknown_tool(self, router):
        with pytest.raises(ValueError, match=r"knows no tool 'clok'.*Did you mean 'clock'"):
            router.decide("hour", allowed=["clok"])

    def test_a_threshold_out_of_range(self, router):
        with pytest.raises(ValueError, match=r"expected a number in \[0, 1\], got 2"):
            router.threshold = 2

    def test_long_texts_are_counted(self, router, caplog):
        for _ in range(3):
            router.decide("hour " * 100)
        assert router.vectoriser.truncated == 3
        assert caplog.text.count("longer than the encoder's window of 64 tokens") == 1
        router.decide("hour " * 10)
        assert router.vectoriser.truncated == 3

    def test_half_a_surrogate_pair(self, router):
        assert router.decide("hour \ud83d").tool == router.decide("hour ?").tool


class TestFiles:
    def test_each_missing_file_is_named(self, folder, spoilt):
        for path in sorted(folder.iterdir()):
            data = (spoilt / path.name).read_bytes()
            (spoilt / path.name).unlink()
            with pytest.raises((ValueError, FileNotFoundError), match=path.name):
                ExportedRouter.load(spoilt)
            (spoilt / path.name).write_bytes(data)

    @pytest.mark.parametrize("how", ["truncated", "turned"])
    def test_each_damaged_file_is_named(self, folder, spoilt, how):
        for path in sorted(folder.iterdir()):
            data = (spoilt / path.name).read_bytes()
            changed = data[:-1] if how == "truncated" else data[:50] + bytes([data[50] ^ 1]) + data[51:]
            (spoilt / path.name).write_bytes(changed)
            with pytest.raises(ValueError, match=f"(?s)is damaged.*{path.name}"):
                ExportedRouter.load(spoilt)
            (spoilt / path.name).write_bytes(data)

    def test_a_file_of_another_export(self, spoilt, tmp_path):
        exported(trained("gru", dim=32, seed=3), tmp_path / "other")
        (spoilt / "encoder.onnx").write_bytes((tmp_path / "other" / "encoder.onnx").read_bytes())
        with pytest.raises(ValueError, match=r"encoder.onnx is not what was saved"):
            ExportedRouter.load(spoilt)

    def test_a_newer_format(self, spoilt):
        index = json.loads((spoilt / "exported.json").read_bytes())
        (spoilt / "exported.json").write_text(json.dumps({**index, "format": 99}))
        with pytest.raises(ValueError, match=r"format version 99.*Upgrade"):
            ExportedRouter.load(spoilt)

    def test_each_kind_of_folder_names_the_right_call(self, folder, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"ExportedRouter\.load reads it"):
            Router.load(folder)
        trained().save(tmp_path / "plain")
        with pytest.raises(FileNotFoundError, match=r"Router\.load reads it, and its export makes this"):
            ExportedRouter.load(tmp_path / "plain")
        with pytest.raises(FileNotFoundError, match="There is no router"):
            ExportedRouter.load(tmp_path / "nothing")

    def test_router_load_reads_it_too(self, folder):
        one = Router.load(folder, runtime="onnx", tools=CARDS)
        assert isinstance(one, ExportedRouter)
        with pytest.raises(ValueError, match="decides on the CPU"):
            Router.load(folder, runtime="onnx", device="cuda")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="must be 'torch' or 'onnx'; got 'tf'"):
            Router.load(folder, runtime="tf")  # type: ignore[call-overload]

    def test_other_tools(self, folder):
        with pytest.raises(ValueError, match="saved for other tools"):
            ExportedRouter.load(folder, tools=CARDS[:1])

    def test_a_number_of_threads(self, folder):
        assert ExportedRouter.load(folder, threads=2).decide(TEXTS[0]).tool is not ...
        with pytest.raises(ValueError, match="threads must be a whole number of at least 1; got 0"):
            ExportedRouter.load(folder, threads=0)

    def test_an_export_replaces_another(self, folder, spoilt):
        trained().export(spoilt, quantize=None)
        assert not (spoilt / "encoder.onnx").exists()
        assert ExportedRouter.load(spoilt).fingerprint != ExportedRouter.load(folder).fingerprint


class TestCopies:
    def test_a_copy_has_a_threshold_of_its_own(self, router):
        copied = copy.deepcopy(router)
        copied.threshold = 0.9
        assert router.threshold == 0.25
        assert copied.fingerprint != router.fingerprint
        assert copied.probabilities(TEXTS) == pytest.approx(router.probabilities(TEXTS))

    def test_a_pickle(self, router):
        router.threshold = 0.5
        again = pickle.loads(pickle.dumps(router))
        assert again.fingerprint == router.fingerprint
        assert again.decide_batch(TEXTS) == router.decide_batch(TEXTS)

    def test_a_folder_that_was_replaced_is_noticed(self, spoilt):
        router = ExportedRouter.load(spoilt)
        trained().export(spoilt, quantize=None)
        with pytest.raises(ValueError, match="holds another router by now"):
            router.to_files()


class TestNothingChangesIt:
    @pytest.mark.parametrize("call", ["calibrate", "add_tools", "remove_tools"])
    def test_methods_of_a_router(self, router, call):
        with pytest.raises(TypeError, match=r"An exported router only decides; it cannot be .*Instead, "):
            getattr(router, call)([])

    def test_training(self, router):
        for train in (fit, learn):
            with pytest.raises(TypeError, match=r"cannot be trained. Instead, train the Router it came from"):
                train(router, IDENTITY)  # type: ignore[arg-type]


_ALONE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Blocked())
from dspy_router import ExportedRouter
router = ExportedRouter.load(sys.argv[1])
print([router.decide(text).tool for text in {texts!r}])
"""
_ABSENT = {
    *("torch", "transformers", "sentence_transformers", "huggingface_hub", "dspy", "litellm", "pydantic", "scipy"),
    *("sklearn", "tqdm", "typer", "rich", "yaml", "matplotlib", "onnx", "usearch", "jinja2", "requests"),
}


def test_it_decides_where_only_the_slim_packages_are(folder, router):
    """Everything heavy is barred from being imported, as though the package had been installed with --no-deps."""
    script = _ALONE.format(blocked=_ABSENT, texts=TEXTS)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([router.decide(text).tool for text in TEXTS])
