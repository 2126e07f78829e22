"""Every shipped configuration: read strictly, its settings too, and its first line is the command that runs it."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import dspy
import pytest
import yaml

from benchmarks.setting import ZeroShotConfig
from dspy_router.config import (
    ExamplesConfig,
    OptimizeConfig,
    PromptConfig,
    RouterConfig,
    RunConfig,
    load_config,
    load_optimization,
    parse,
    read_yaml,
)
from dspy_router.demo import comparing
from dspy_router.learning.settings import RewardConfig, TrainConfig
from dspy_router.learning.trials import ExploreConfig
from dspy_router.program.comparing.reporting import run_comparison
from dspy_router.program.comparing.settings import CompareConfig, DevsetConfig, ProgramConfig, load_comparison
from dspy_router.routing.catalogue import build_encoder

ROOT = Path(__file__).parent.parent
BFCL = ROOT / "configs" / "bfcl.yaml"
OPTIMIZE = ROOT / "configs" / "optimize.yaml"
COMPARE = ROOT / "configs" / "compare.yaml"
CONFIGS = sorted(set((ROOT / "configs").glob("*.yaml")) - {BFCL, COMPARE, OPTIMIZE})


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_one_for_the_demo_and_for_each_kind_of_run():
    assert {
        "demo",
        "clinc150",
        "clinc150_finetune",
        "clinc150_gru",
        "clinc150_transformer",
        "toole",
        "toole_finetune",
    } <= {path.stem for path in CONFIGS}


def test_bfcl_is_read_strictly_complete_and_names_its_command():
    """Its tools come with the questions: it is a benchmark's configuration, not a training run's."""
    first = BFCL.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# python -m benchmarks zeroshot --on bfcl --config configs/bfcl.yaml"
    settings = read_yaml(BFCL)
    assert list(settings) == list(ZeroShotConfig.__dataclass_fields__)
    assert parse(ZeroShotConfig, settings, where="bfcl") == ZeroShotConfig()
    with pytest.raises(ValueError, match=r"unknown key 'word_wait' \(did you mean 'word_weight'\?\)"):
        parse(ZeroShotConfig, {"word_wait": 1.0}, where="bfcl")


class TestOptimize:
    def test_the_first_line_is_the_command(self):
        assert OPTIMIZE.read_text(encoding="utf-8").splitlines()[0] == "# dspy-router optimize configs/optimize.yaml"

    def test_it_is_read_strictly_its_settings_too(self):
        config = load_optimization(OPTIMIZE)
        parse(TrainConfig, config.router.train, where="train")
        parse(ExploreConfig, config.router.exploration, where="exploration")
        with pytest.raises(ValueError, match=r"unknown key 'router.max_runs' \(did you mean 'router.max_rollouts'\?\)"):
            load_optimization(OPTIMIZE, ["router.max_runs=3"])

    def test_it_is_complete(self):
        """A reader sees every setting in the file, also those that keep their default."""
        settings = read_yaml(OPTIMIZE)
        router = settings["router"]
        for kind, section in (
            (OptimizeConfig, settings),
            (RouterConfig, router),
            (ExploreConfig, router["exploration"]),
            (TrainConfig, router["train"]),
            (RewardConfig, router["train"]["reward"]),
        ):
            assert list(section) == list(kind.__dataclass_fields__)
        assert set(settings["data"]) == set(ExamplesConfig.__dataclass_fields__)

    def test_what_it_says_of_prompts_in_a_comment_is_right(self):
        lines = OPTIMIZE.read_text(encoding="utf-8").splitlines()
        start = lines.index("# prompt:")
        shown = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines[start : start + 3]))
        config = load_optimization(OPTIMIZE, [f"prompt={json.dumps(shown['prompt'])}"])
        assert config.prompt == PromptConfig("MIPROv2", {"auto": "light"})

    def test_it_learns_from_the_metric_alone_without_a_language_model(self):
        config = load_optimization(OPTIMIZE)
        assert config.router.label_field in config.data.without
        assert (config.lm, config.prompt) == (None, None)
        assert all((ROOT / path).is_file() for path in (*config.data.train, *config.data.val))


class TestCompare:
    def test_the_first_line_is_the_command(self):
        assert COMPARE.read_text(encoding="utf-8").splitlines()[0] == "# dspy-router compare configs/compare.yaml"

    def test_it_is_read_strictly(self):
        config = load_comparison(COMPARE)
        assert config.lm is None and config.max_usd is None
        assert all((ROOT / path).is_file() for path in config.data.files)
        with pytest.raises(ValueError, match=r"unknown key 'max_dollars'"):
            load_comparison(COMPARE, ["max_dollars=3"])

    def test_it_is_complete(self):
        """A reader sees every setting in the file, also those that keep their default."""
        settings = read_yaml(COMPARE)
        assert list(settings) == list(CompareConfig.__dataclass_fields__)
        assert list(settings["data"]) == list(DevsetConfig.__dataclass_fields__)
        assert all(list(row) == list(ProgramConfig.__dataclass_fields__) for row in settings["programs"])

    def test_it_needs_no_language_model(self, tmp_path, monkeypatch):
        monkeypatch.chdir(ROOT)
        config = load_comparison(COMPARE, ["data.first=12", f"output={tmp_path}", "plots=null"])
        quick = [{**one.options, "encoder": "hash", "trained": False} for one in config.programs]
        makers = [partial(comparing.routed, **options) for options in quick]
        programs = tuple(ProgramConfig(one.name, one.make) for one in config.programs)
        with dspy.context(lm=None):
            done = run_comparison(replace(config, programs=programs), makers, comparing.says_it)
        assert [one.n for one in done.comparison.programs] == [12, 12]
        assert [one.lm_calls for one in done.comparison.programs] == [0, 0]

    def test_what_it_says_of_programs_with_a_language_model_in_comments_is_right(self):
        lines = COMPARE.read_text(encoding="utf-8").splitlines()
        rows = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines if line.startswith("# - {")))
        programs = [parse(ProgramConfig, row, where="comment") for row in rows]
        assert len({one.name for one in programs}) == len(programs) >= 7
        for one in programs:
            module, _, name = one.make.partition(":")
            assert module == comparing.__name__
            signature = inspect.signature(getattr(comparing, name))
            signature.bind(**one.options)


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
class TestEachConfig:
    def test_the_first_line_is_the_command(self, path):
        assert path.read_text(encoding="utf-8").splitlines()[0] == f"# dspy-router train {relative(path)}"

    def test_it_is_read_strictly(self, path):
        run = load_config(path)
        assert run.data.train
        parse(TrainConfig, run.train, where=relative(path))

    def test_a_misspelt_setting_is_found(self, path):
        run = load_config(path, ["train.epoch=3"])
        with pytest.raises(ValueError, match=r"unknown key 'epoch' \(did you mean 'epochs'\?\)"):
            parse(TrainConfig, run.train, where=relative(path))

    def test_it_is_complete(self, path):
        """A reader sees every setting in the file, also those that keep their default."""
        assert list(read_yaml(path)) == list(RunConfig.__dataclass_fields__)
        assert list(load_config(path).train) == list(TrainConfig.__dataclass_fields__)

    def test_its_encoder_takes_its_options(self, path):
        encoder = load_config(path).encoder
        if encoder.options:
            build_encoder(encoder.name, **encoder.options)

    def test_no_comment_became_a_value(self, path):
        """YAML starts a comment at a # only behind a space."""

        def values(node):
            children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            return [node, *(value for child in children for value in values(child))]

        assert not [value for value in values(read_yaml(path)) if isinstance(value, str) and "#" in value]

    def test_each_run_has_an_output_of_its_own(self, path):
        assert load_config(path).output == f"out/{path.stem}"
