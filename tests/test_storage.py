"""A router as a folder: what was saved is loaded bit for bit, and what was damaged is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from routers import CARDS, IDENTITY, CountingEncoder, hash_router

from dspy_router import HashEncoder, Router, TrainConfig, fit
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.storage import FORMAT_VERSION

TEXTS = [*(row["query"] for row in IDENTITY), "sing a song", "the current time"]
QUICK = TrainConfig(epochs=2, threads=1)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def router():
    router = hash_router()
    router.threshold = 0.123456789
    fit(router, IDENTITY, config=QUICK)
    return router


@pytest.fixture
def folder(router, tmp_path):
    router.save(tmp_path / "router")
    return tmp_path / "router"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_round_trip(router: Router, folder: Path) -> None:
    router.save(folder)
    again = Router.load(folder)
    assert again.fingerprint == router.fingerprint
    assert torch.equal(again.probabilities(TEXTS), router.probabilities(TEXTS))
    assert again.decide_batch(TEXTS) == router.decide_batch(TEXTS)
    assert (again.cards, again.threshold) == (router.cards, router.threshold)
    assert again.explain(TEXTS[0]) == router.explain(TEXTS[0])
    again.remove_tools(["clock"])  # and it is a whole router, not a picture of one
    fit(again, [{"query": "seven plus twelve", "tool": "add_numbers"}, {"query": "sing", "tool": None}], config=QUICK)


@pytest.mark.parametrize("encoder", ["hash", "minilm", "gru", "transformer"])
def test_round_trip(encoder, tmp_path):
    router = Router.from_tools(CARDS, encoder=encoder, threshold=0.5)
    check_round_trip(router, tmp_path / "untrained")
    fit(router, IDENTITY, config=QUICK)
    check_round_trip(router, tmp_path / "trained")


def test_round_trip_of_a_fine_tuned_encoder(tmp_path):
    router = Router.from_tools(CARDS, encoder="minilm")
    fit(router, IDENTITY[::4], config=TrainConfig(epochs=1, threads=1, train_encoder=True))
    router.save(tmp_path / "router")
    again = Router.load(tmp_path / "router")
    assert again.fingerprint == router.fingerprint
    assert torch.equal(again.probabilities(TEXTS), router.probabilities(TEXTS))


def test_in_memory_as_on_disk(router, folder):
    assert {name: bytes(data) for name, data in router.to_files().items()} == contents(folder)
    assert Router.from_files(router.to_files()).fingerprint == router.fingerprint


def test_saving_twice_replaces_and_leaves_nothing_behind(router, folder):
    router.remove_tools(["clock"])
    router.save(folder)
    assert Router.load(folder).tools == ("add_numbers",)
    assert [path.name for path in folder.parent.iterdir()] == ["router"]


def test_no_pickle_among_the_files(folder):
    assert {Path(name).suffix for name in contents(folder)} == {".json", ".safetensors"}


def test_odd_characters_survive(router, tmp_path):
    rows = [*IDENTITY, {"query": "naïve 東京 🙂 \ud83d half", "tool": None}]
    fit(router, rows, config=QUICK)
    router.save(tmp_path / "odd")
    memory = Router.load(tmp_path / "odd").memory
    assert memory is not None and memory.texts[-1] == rows[-1]["query"]


class TestDamage:
    @pytest.mark.parametrize("name", ["policy.safetensors", "tools.safetensors", "router.json"])
    @pytest.mark.parametrize("keep", [0, 0.5, 0.999])
    def test_truncated(self, folder, name, keep):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(ValueError, match=rf"(?s)router in '.*router' is damaged: {name} is"):
            Router.load(folder)

    @pytest.mark.parametrize("name", ["policy.safetensors", "tools.safetensors"])
    def test_edited_weights(self, folder, name):
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"damaged: {name} is not what was saved"):
            Router.load(folder)

    @pytest.mark.parametrize(
        ("key", "value"), [("threshold", 0.9), ("digests", {}), ("digest", None), ("cards", []), ("extra", 1)]
    )
    def test_edited_index(self, folder, key, value):
        index = json.loads((folder / "router.json").read_bytes())
        index[key] = value
        (folder / "router.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"damaged: router\.json is not what was saved"):
            Router.load(folder)

    @pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"format": 1', "\xff"])
    def test_no_index_at_all(self, folder, text):
        (folder / "router.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"damaged: router\.json is no valid JSON object"):
            Router.load(folder)

    def test_an_index_of_something_else(self, folder):
        (folder / "router.json").write_text('{"name": "express", "version": "4"}')
        with pytest.raises(ValueError, match="incomplete: format is missing"):
            Router.load(folder)

    def test_a_newer_format(self, folder):
        index = json.loads((folder / "router.json").read_bytes())
        index["format"] = FORMAT_VERSION + 1
        (folder / "router.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=rf"version {FORMAT_VERSION + 1}; .* up to {FORMAT_VERSION}\. Upgrade"):
            Router.load(folder)

    @pytest.mark.parametrize("name", ["policy.safetensors", "tools.safetensors"])
    def test_a_missing_file(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"incomplete: its file {name} is missing"):
            Router.load(folder)

    def test_no_router_there(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(FileNotFoundError, match=r"no router in '.*': expected a folder with a router\.json"):
                Router.load(folder)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers(self, router, tmp_path, value):
        with torch.no_grad():
            router.policy.biases[0] = value
        router.save(tmp_path / "nan")
        with pytest.raises(ValueError, match=r"'biases' in policy\.safetensors holds values that are not numbers"):
            Router.load(tmp_path / "nan")


class TestKilledWhileWriting:
    @pytest.fixture(params=[1, 2, 3])
    def dying_disk(self, request, monkeypatch):
        """The n-th file is cut in its middle by the end of the process."""
        write, calls = Path.write_bytes, []

        def half(path, data):
            calls.append(path)
            if len(calls) == request.param:
                write(path, data[: len(data) // 2])
                raise KeyboardInterrupt
            return write(path, data)

        monkeypatch.setattr(Path, "write_bytes", half)

    def test_nothing_appears(self, router, tmp_path, dying_disk):
        with pytest.raises(KeyboardInterrupt):
            router.save(tmp_path / "router")
        assert list(tmp_path.iterdir()) == []

    def test_the_old_router_stays(self, router, folder, dying_disk):
        before, old = contents(folder), Router.load(folder).fingerprint
        router.threshold = 0.9
        with pytest.raises(KeyboardInterrupt):
            router.save(folder)
        assert contents(folder) == before
        assert Router.load(folder).fingerprint == old != router.fingerprint

    def test_between_the_two_renamings_the_old_one_is_pointed_to(self, router, folder, monkeypatch):
        """Killed so hard that nothing could be put back; another router's remains beside it are not taken for its."""
        other = folder.with_name(".router2.abcd1234.old")
        folder.rename(folder.with_name(".router.abcd1234.old"))
        other.mkdir()
        with pytest.raises(
            FileNotFoundError, match=r"was killed .* is in '.*/\.router\.abcd1234\.old'\. Rename"
        ) as caught:
            Router.load(folder)
        folder.with_name(".router.abcd1234.old").rename(folder)  # as it says
        assert Router.load(folder).fingerprint == router.fingerprint
        assert other.name not in str(caught.value)

    def test_a_failed_renaming_brings_the_old_one_back(self, router, folder, monkeypatch):
        before, rename = contents(folder), Path.rename

        def refuse(path, target):
            if path.name.endswith(".new"):
                raise OSError("the disk is full")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
        router.threshold = 0.9
        with pytest.raises(OSError, match="disk is full"):
            router.save(folder)
        assert contents(folder) == before


class TestForeignFolders:
    def test_a_folder_of_something_else_is_not_overwritten(self, router, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(FileExistsError, match=r"holds other files than a router's \(thesis\.tex\).* a new folder"):
            router.save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize("stranger", ["thesis.tex", "notes/today.md", "other.safetensors"])
    def test_nor_one_where_somebody_keeps_more_beside_a_router(self, router, folder, stranger):
        (folder / stranger).parent.mkdir(exist_ok=True)
        (folder / stranger).write_text("years of work")
        before = contents(folder)
        router.threshold = 0.9
        with pytest.raises(FileExistsError, match=rf"other files than a router's \({stranger}\)"):
            router.save(folder)
        assert contents(folder) == before

    @pytest.mark.parametrize("index", ["{", "[]", '{"name": "express"}'])
    def test_nor_one_whose_index_is_somebody_else_s(self, router, folder, index):
        """A damaged router may be replaced; that a router.json lies there does not make it one."""
        (folder / "router.json").write_text(index)
        (folder / "thesis.tex").write_text("years of work")
        with pytest.raises(FileExistsError, match=r"\(thesis\.tex\)"):
            router.save(folder)
        (folder / "thesis.tex").unlink()
        router.save(folder)
        assert Router.load(folder).fingerprint == router.fingerprint

    def test_nor_is_a_file(self, router, tmp_path):
        (tmp_path / "router").write_text("a file")
        with pytest.raises(FileExistsError, match="is a file; give the name of a new folder"):
            router.save(tmp_path / "router")
        assert (tmp_path / "router").read_text() == "a file"

    def test_an_empty_folder_and_a_deep_one_will_do(self, router, tmp_path):
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
            router.save(folder)
            assert Router.load(folder).fingerprint == router.fingerprint


class TestOwnParts:
    def test_an_encoder_of_the_users_own_is_handed_over(self, tmp_path):
        router = Router.from_tools(CARDS, encoder=CountingEncoder())
        router.save(tmp_path / "router")
        again = Router.load(tmp_path / "router", encoder=CountingEncoder())
        assert torch.equal(again.probabilities(TEXTS), router.probabilities(TEXTS))
        with pytest.raises(ValueError, match="encoder of its user's own; hand it over as `encoder=`"):
            Router.load(tmp_path / "router")

    def test_another_encoder_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"not the one that the router .* was trained with: its fingerprint is"):
            Router.load(folder, encoder=HashEncoder(64))

    def test_a_variant_of_a_shipped_class_is_not_taken_for_it(self, tmp_path):
        class Louder(ToolSpacePolicy):
            def forward(self, states, tools, allowed=None):
                return 2 * super().forward(states, tools, allowed)

        router = Router.from_tools(CARDS, encoder="hash", policy=Louder(512))
        router.save(tmp_path / "router")
        with pytest.raises(ValueError, match=r"policy of its user's own \(.*Louder\)"):
            Router.load(tmp_path / "router")

    def test_other_weights_behind_an_encoder_s_name_are_refused(self, router, monkeypatch):
        """As if a model on the hub had changed since the router was saved."""
        files = router.to_files()
        monkeypatch.setattr(HashEncoder, "fingerprint", "f" * 64)
        with pytest.raises(ValueError, match=r"The encoder 'hash' is not the one .* fingerprint is ffffffffffff…"):
            Router.from_files(files)


def test_a_scratch_encoder_carries_its_tokenizer(tmp_path):
    router = Router.from_tools(CARDS, encoder=build_encoder("gru", dim=16))
    fit(router, IDENTITY, config=QUICK)
    router.save(tmp_path / "router")
    encoder = Router.load(tmp_path / "router").encoder
    assert encoder.tokenizer.encode("hour").tokens == ["hour"]  # pyright: ignore[reportAttributeAccessIssue]
