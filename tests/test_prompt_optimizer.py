"""Prompt optimizers of DSPy by name: how the metric reaches each, and what is said of a wrong name or option."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspy_router.program.tuning.prompt_optimizer import prompt_optimizer

EXAMPLE, PREDICTION = dspy.Example(answer="4"), dspy.Prediction(answer="4")


def two(example, prediction):
    return prediction.answer == example.answer


def three(example, prediction, trace=None):
    return dspy.Prediction(score=0.5 if trace is None else 1.0, feedback="half of it")


def five(gold, pred, trace, pred_name, pred_trace):
    return dspy.Prediction(score=1.0, feedback=f"for {pred_name}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BootstrapFewShot", {"max_bootstrapped_demos": 2}),
        ("BootstrapFewShotWithRandomSearch", {}),
        ("COPRO", {"breadth": 2}),
        ("MIPROv2", {"auto": "light"}),
        ("SIMBA", {"bsize": 4}),
        ("InferRules", {"num_rules": 2}),
        ("LabeledFewShot", {"k": 4}),
    ],
)
def test_each_is_made_with_its_options_and_its_metric(name, options):
    with dspy.context(lm=dspy.LM("some/model")):  # MIPROv2 asks for one
        made: Any = prompt_optimizer(name, options, two)
    assert type(made).__name__ == name
    for option, value in options.items():
        assert getattr(made, option, value) == value
    if name != "LabeledFewShot":
        assert made.metric(EXAMPLE, PREDICTION, None) == 1.0


def test_a_metric_is_told_the_trace_if_it_takes_one_and_gives_a_number():
    made: Any = prompt_optimizer("BootstrapFewShot", {}, three)
    assert (made.metric(EXAMPLE, PREDICTION), made.metric(EXAMPLE, PREDICTION, [])) == (0.5, 1.0)


def test_gepa_gets_feedback_and_whom_it_is_for():
    options = {"auto": "light", "reflection_lm": "some/model"}
    made: Any = prompt_optimizer("GEPA", options, five)
    assert made.metric_fn(EXAMPLE, PREDICTION, None, "synthesis", None).feedback == "for synthesis"
    assert made.reflection_lm is not None
    plain: Any = prompt_optimizer("GEPA", options, two)
    assert plain.metric_fn(EXAMPLE, PREDICTION, None, "synthesis", None) == 1.0


def test_a_language_model_is_made_of_its_name():
    made: Any = prompt_optimizer("COPRO", {"prompt_model": "some/model"}, two)
    assert isinstance(made.prompt_model, dspy.LM)
    assert made.prompt_model.model == "some/model"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MIPRO", {}, "DSPy has no optimizer 'MIPRO'; did you mean 'MIPROv2'"),
        ("Predict", {}, "DSPy has no optimizer 'Predict'"),
        ("BootstrapFewShot", {"max_demos": 2}, r"BootstrapFewShot cannot be made with the options \['max_demos'\]: .*"),
        ("GEPA", {}, "GEPA cannot be made with the options"),
    ],
)
def test_what_is_wrong_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        prompt_optimizer(name, options, two)
