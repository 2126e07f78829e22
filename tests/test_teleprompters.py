"""Every DSPy optimizer compiles the agent, and none of them touches the router's weights."""

from __future__ import annotations

from typing import Any

import dspy
import numpy as np
import pytest
from scripted import scripted_lm
from toolbelt import TOOLS, examples, small_router

from dspy_router import RoutedAgent, TrainConfig, fit

ROUTER = small_router()
fit(ROUTER, examples(), config=TrainConfig(epochs=4, progress=False))
ANSWERED = [example for example in examples() if example.tool is not None][:6]


ADVICE = "Be precise."


def script(prompt: str) -> dict:
    """A model that answers well about roots, and about everything once it is advised or shown a good example."""
    told = ADVICE in prompt or "[[ ## answer ## ]]\nfine" in prompt
    question = prompt.rpartition("[[ ## question ## ]]")[2]
    return {
        "answer": "fine" if told or "root" in question else "poor",
        "proposed_instruction": ADVICE,
        "new_instruction": ADVICE,
        "module_advice": {"synthesis": ADVICE},
    }


def metric(example, prediction, trace=None):
    return prediction.answer == "fine"


def feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return dspy.Prediction(score=float(metric(gold, pred)), feedback="Be brief.")


def embed(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("e"), text.count("o")] for text in texts], dtype=np.float32)


def labelled_few_shot(student):
    return dspy.LabeledFewShot(k=2).compile(student, trainset=ANSWERED)


def bootstrap_few_shot(student):
    return dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=2).compile(student, trainset=ANSWERED)


def random_search(student):
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=1, num_candidate_programs=1, num_threads=1
    )
    return optimizer.compile(student, trainset=ANSWERED)


def copro(student):
    optimizer = dspy.COPRO(metric=metric, breadth=2, depth=1)
    return optimizer.compile(student, trainset=ANSWERED, eval_kwargs={"num_threads": 1, "display_progress": False})


def mipro(student):
    optimizer = dspy.MIPROv2(
        metric=metric, auto=None, num_candidates=2, max_bootstrapped_demos=1, max_labeled_demos=1, num_threads=1
    )
    return optimizer.compile(student, trainset=ANSWERED, valset=ANSWERED, num_trials=1, minibatch=False)


def simba(student):
    optimizer = dspy.SIMBA(metric=metric, bsize=3, num_candidates=2, max_steps=1, max_demos=1, num_threads=1)
    return optimizer.compile(student, trainset=ANSWERED)


def gepa(student):
    optimizer = dspy.GEPA(metric=feedback, max_metric_calls=24, reflection_lm=dspy.settings.lm, num_threads=1)
    return optimizer.compile(student, trainset=ANSWERED, valset=ANSWERED)


def knn_few_shot(student):
    vectorizer = dspy.Embedder(embed)
    bootstrap: dict[str, Any] = {"metric": metric}
    return dspy.KNNFewShot(k=2, trainset=ANSWERED, vectorizer=vectorizer, **bootstrap).compile(student)


def better_together(student):
    prompts = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1)
    optimizer = dspy.BetterTogether(metric=metric, prompts=prompts)
    compiled = optimizer.compile(student, trainset=ANSWERED, valset=ANSWERED, strategy="prompts", num_threads=1)
    assert not compiled.flag_compilation_error_occurred
    return compiled


def agent(synthesis="result"):
    return RoutedAgent("question -> answer", TOOLS, router=ROUTER, synthesis=synthesis)


@pytest.mark.parametrize("synthesis", ["result", "history"])
@pytest.mark.parametrize(
    "optimize",
    [
        labelled_few_shot,
        bootstrap_few_shot,
        random_search,
        copro,
        mipro,
        simba,
        gepa,
        knn_few_shot,
        better_together,
    ],
)
def test_it_improves_the_prompts_and_leaves_the_weights(optimize, synthesis):
    lm, student = scripted_lm(script=script), agent(synthesis)
    student.set_lm(lm)
    question = "when is the shop open"
    with dspy.context(lm=lm):
        assert student(question=question).answer == "poor"
        compiled = optimize(student)
        prediction = compiled(question=question)
    assert prediction.answer == ("poor" if optimize is labelled_few_shot else "fine")
    assert prediction.steps[0].result == "9 to 5"
    assert compiled.router.fingerprint == student.router.fingerprint == ROUTER.fingerprint
    assert compiled.router is not student.router


@pytest.mark.parametrize("optimize", [bootstrap_few_shot, mipro, simba, gepa])
def test_an_agent_that_hands_over_is_compiled_as_well(optimize):
    """The prompt that took over is in the traces, and none of the program's predictors."""

    def taking_over(prompt: str) -> dict:
        submit = {"name": "submit", "args": {"answer": "fine"}}
        call = submit if "tool_call_results" in prompt else {"name": "opening_hours", "args": {}}
        return {**script(prompt), "tool_calls": {"tool_calls": [call]}}

    lm, student = scripted_lm(script=taking_over), RoutedAgent("question -> answer", TOOLS, router=small_router())
    student.router.threshold = 1.0
    student.set_lm(lm)
    with dspy.context(lm=lm):
        prediction = optimize(student)(question="when is the shop open")
    assert (prediction.answer, prediction.decision.tool, prediction.decision.source) == ("fine", "opening_hours", "lm")


@pytest.mark.parametrize("synthesis", ["result", "history"])
def test_a_compiled_agent_is_saved_with_its_demos(synthesis, tmp_path):
    lm = scripted_lm({"answer": "fine"})
    with dspy.context(lm=lm):
        compiled = bootstrap_few_shot(agent(synthesis))
        compiled.save(tmp_path / "agent.json")
        loaded = agent(synthesis)
        loaded.load(tmp_path / "agent.json")
        for program in (compiled, loaded):
            program(question="when is the shop open")
    of_compiled, of_loaded = lm.engine.prompts[-2:]
    assert of_compiled.count("[[ ## answer ## ]]\nfine") == 2
    assert of_loaded.count("[[ ## answer ## ]]\nfine") == 2
    if synthesis == "result":
        assert of_compiled == of_loaded


def test_labels_read_as_the_tool_in_a_demo():
    """A labelled example names the tool in the very field that the prompt has for it."""
    lm = scripted_lm({"answer": "fine"})
    with dspy.context(lm=lm):
        labelled_few_shot(agent())(question="when is the shop open")
    assert lm.engine.prompts[-1].count("[[ ## tool ## ]]") == 4  # the pattern, two demos and the question
