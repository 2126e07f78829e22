"""What a rollout is remembered by: it changes with what the language model reads, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import dspy
import pytest
import torch
from rollout_programs import agent
from scripted import scripted_lm
from toolbelt import TOOLS, small_router

from dspy_router import RoutedAgent
from dspy_router.program.comparing.programs import react
from dspy_router.program.tuning.fingerprints import example_digest, program_fingerprint, prompt_fingerprint

DEMO = dspy.Example(question="a", answer="b")


def fingerprint(change: Any = None, **settings: Any) -> str:
    program = agent(synthesis="result")
    if change is not None:
        change(program)
    with dspy.context(**{"lm": scripted_lm(), **settings}):
        return prompt_fingerprint(program)


def rewrite(program):
    program.synthesis.signature = program.synthesis.signature.with_instructions("Be brief.")


def rename(program):
    program.synthesis.signature = program.synthesis.signature.with_updated_fields("answer", prefix="So:")


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        rename,
        lambda program: program.synthesis.demos.append(DEMO),
        lambda program: program.fill_arguments.demos.append(DEMO),
        lambda program: program.synthesis.update_config(temperature=1.0),
        lambda program: setattr(program, "fallback", dspy.Predict("question -> answer")),
        lambda program: program.set_lm(scripted_lm(model="scripted/other")),
    ],
)
def test_it_changes_with_the_prompts(change):
    assert fingerprint(change) != fingerprint()


@pytest.mark.parametrize(
    "settings",
    [
        {"lm": scripted_lm(model="scripted/other")},
        {"lm": scripted_lm(temperature=0.5)},
        {"lm": None},
        {"adapter": dspy.JSONAdapter()},
        {"adapter": dspy.ChatAdapter(use_native_function_calling=True)},
    ],
)
def test_it_changes_with_the_configured_model_and_adapter(settings):
    assert fingerprint(**settings) != fingerprint()


def shake_weights(program):
    with torch.no_grad():
        for parameter in program.router.policy.parameters():
            parameter.add_(1.0)


@pytest.mark.parametrize(
    "change",
    [
        shake_weights,
        lambda program: setattr(program.router, "threshold", 0.5),
        lambda program: setattr(program, "_compiled", True),
        lambda program: setattr(program, "candidate_programs", [{"program": agent(), "score": 1}]),
        lambda program: program.set_lm(scripted_lm()),  # the same as is configured
        lambda program: program(question="when do you open?"),
    ],
)
def test_it_changes_with_nothing_else(change):
    with dspy.context(lm=scripted_lm()):
        assert fingerprint(change) == fingerprint()


def test_neither_a_copy_nor_a_saved_program_is_another(tmp_path):
    program = agent(synthesis="result")
    rewrite(program)
    program.save(tmp_path / "program.json")
    loaded = agent(synthesis="result")
    loaded.load(tmp_path / "program.json")
    assert prompt_fingerprint(loaded) == prompt_fingerprint(program.deepcopy()) == prompt_fingerprint(program)


def test_keys_and_patience_do_not_matter():
    one = dspy.LM("openai/gpt-4o-mini", api_key="one", num_retries=1, cache=False)
    other = dspy.LM("openai/gpt-4o-mini", api_key="other")
    assert fingerprint(lm=one) == fingerprint(lm=other)


def test_a_model_that_cannot_be_saved_is_known_by_its_name_and_settings():
    class Engine:
        def complete(self, request):
            raise NotImplementedError

    one, other, hot = (
        dspy.LM("own/model", engine=Engine()),
        dspy.LM("own/model", engine=Engine()),
        dspy.LM("own/model", engine=Engine(), temperature=1.0),
    )
    assert fingerprint(lm=one) == fingerprint(lm=other) != fingerprint(lm=hot)


class TestExamples:
    def test_labels_and_the_choice_of_inputs_count(self):
        example = dspy.Example(question="a", place="b", answer="c")
        one = example.with_inputs("question", "place")
        others = [example.with_inputs("question"), one.copy(answer="d"), one.copy(extra=None)]
        digests = {example_digest(other) for other in others}
        assert len(digests | {example_digest(one)}) == 4
        assert example_digest(one.copy()) == example_digest(one)

    def test_the_order_of_fields_does_not(self):
        assert example_digest(dspy.Example(a=1, b={"x": 1, "y": 2}).with_inputs("a")) == example_digest(
            dspy.Example(b={"y": 2, "x": 1}, a=1).with_inputs("a")
        )

    def test_the_next_process_gets_the_same(self):
        code = """
import datetime
import dspy
from dspy_router import RoutedAgent
from dspy_router.program.comparing.programs import react
from dspy_router.program.tuning.fingerprints import example_digest, program_fingerprint, prompt_fingerprint
history = dspy.History(messages=[{"question": "a", "answer": "b"}])
fields = {"question": "é\\ud800", "tags": {"x", "y", "z"}, "blob": b"1", "day": datetime.date(2024, 1, 2)}
example = dspy.Example(past=history, **fields)
program = dspy.ChainOfThought("question, past: dspy.History -> answer: dict[str, int]")
program.predict.demos = [example]
print(example_digest(example.with_inputs("question", "past")), prompt_fingerprint(program))
"""
        outputs = {
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        }
        assert len(outputs) == 1


class TestProgram:
    def make(self, **settings: Any) -> RoutedAgent:
        given = {"router": small_router(), "synthesis": "none", "fallback": None, **settings}
        return RoutedAgent("question -> answer", settings.pop("tools", TOOLS), **given)

    def test_made_in_the_same_way_it_is_the_same(self):
        assert program_fingerprint(self.make()) == program_fingerprint(self.make())
        assert program_fingerprint(react("question -> answer", TOOLS)) == program_fingerprint(
            react("question -> answer", TOOLS)
        )

    @pytest.mark.parametrize(
        "settings",
        [{"synthesis": "result"}, {"fallback": "lm"}, {"tool_timeout": 3.0}, {"fallback": "lm", "fallback_tools": 2}],
    )
    def test_its_settings_count(self, settings):
        plain = self.make(fallback="lm") if "fallback_tools" in settings else self.make()
        assert program_fingerprint(self.make(**settings)) != program_fingerprint(plain)

    def test_so_do_its_router_and_its_tools(self):
        router = small_router()
        router.threshold = 0.5
        assert program_fingerprint(self.make(router=router)) != program_fingerprint(self.make())
        loop, shorter = react("question -> answer", TOOLS), react("question -> answer", TOOLS, max_iters=2)
        other = react("question -> answer", TOOLS[:2])
        assert len({program_fingerprint(one) for one in (loop, shorter, other)}) == 3
