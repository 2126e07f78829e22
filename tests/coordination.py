"""The coordination task: which group of tools is any good depends on the prompt, so that neither is learned alone.

Cities, rivers and mountains are asked about, and every second question says which of them it is. For each kind there
are two tools: one describes the place in prose, and leaves out two of five properties; the other returns its record,
which has them all. The language model is scripted, and a literal reader. What it does follows from the prompt it gets,
and from nothing else:

* As it comes it reads prose, and can make nothing of records.
* Told of records, by its instructions or by a demonstration that shows one, it takes the value of the field asked for,
  and finds none in prose (unless it is `lenient`).
* Asked to propose instructions, it appends a piece of advice to those it is shown. It has eight, one of them about
  records, and deals them in an order drawn by its seed; if it is shown examples, and a record among them, it gives the
  advice about records.

So with the prompt as it comes the best router picks the describing tools and is right on three of five questions, as is
any prompt with that router. The records under the advice about records are right on all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import dspy
from scripted import scripted_lm

from dspy_router import RoutedAgent, Router

PROPERTIES = {
    "city": ("population", "area", "founding year", "postcode", "elevation"),
    "river": ("length", "basin", "discharge", "gradient", "depth"),
    "mountain": ("height", "prominence", "isolation", "latitude", "rainfall"),
}
# The describing tools leave out the last two.
DESCRIBED = 3
NAMES = {
    "city": ("Oslo", "Lima", "Turin", "Quito", "Malmo", "Porto", "Tartu", "Basel"),
    "river": ("Elbe", "Tagus", "Drava", "Loire", "Volga", "Neman", "Rhone", "Sava"),
    "mountain": ("Etna", "Ararat", "Elbrus", "Galdhopiggen", "Triglav", "Olympus", "Teide", "Rysy"),
}
RECORD = r"\w=\d"
RECORD_ADVICE = "The tool result is a record of key=value fields; copy the value of the field that is asked for."
ADVICE = (
    RECORD_ADVICE,
    "Answer with the value alone.",
    "Think step by step.",
    "Be brief and to the point.",
    "Check the number twice before you answer.",
    "Do not add a unit.",
    "You are an experienced geographer.",
    "If you are not sure, say so politely.",
)


def value_of(kind: str, name: str, what: str) -> str:
    """A made-up value, the same in every process."""
    return str(random.Random(f"{kind} {name} {what}").randint(1000, 9_999_999))


def _tools(kind: str) -> list[dspy.Tool]:
    def describe(name: str) -> str:
        told = [f"Its {what} is {value_of(kind, name, what)}." for what in PROPERTIES[kind][:DESCRIBED]]
        return " ".join([f"{name} is a {kind}.", *told])

    def record(name: str) -> str:
        return "; ".join(f"{what}={value_of(kind, name, what)}" for what in PROPERTIES[kind])

    return [
        dspy.Tool(describe, name=f"describe_{kind}", desc=f"What is the {kind} like? It is told in plain words."),
        dspy.Tool(record, name=f"{kind}_record", desc="Entry in the geographical database, by its key."),
    ]


TOOLS = [tool for kind in PROPERTIES for tool in _tools(kind)]


def questions(seed: int, *, names: int = 2) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Questions to train and to validate on, about so many places of each kind, and no place in both."""
    rng = random.Random(seed)
    halves: tuple[list[dspy.Example], list[dspy.Example]] = ([], [])
    for kind, known in NAMES.items():
        drawn = rng.sample(known, 2 * names)
        for index, name in enumerate(drawn):
            for number, what in enumerate(PROPERTIES[kind]):
                said = f"the {kind} " if (index + number) % 2 else ""
                question = f"What is the {what} of {said}'{name}'?"
                example = dspy.Example(question=question, answer=value_of(kind, name, what))
                halves[index < names].append(example.with_inputs("question"))
    for half in halves:
        rng.shuffle(half)
    return halves[1], halves[0]


def student() -> Any:
    """The program as it is handed to every optimizer."""
    return RoutedAgent("question -> answer", TOOLS, router=Router.from_tools(TOOLS, encoder="hash"))


def metric(example: Any, prediction: Any, trace: Any = None) -> float:
    """Whether the value is right."""
    return float(prediction.answer == example.answer)


def literal_reader(seed: int, *, lenient: bool = False) -> Any:
    """The scripted language model of this task, as a real `dspy.LM`.

    Args:
        seed: In which order it deals its advice.
        lenient: Whether it still reads prose when told of records.
    """
    deck = list(ADVICE)
    random.Random(seed).shuffle(deck)
    dealt = 0

    def script(prompt: str) -> dict[str, Any]:
        nonlocal dealt
        if "proposed_instruction" in prompt or "new_instruction" in prompt:
            if any(re.search(RECORD, example) for example in _field(prompt, "examples_with_feedback")):
                advice = RECORD_ADVICE
            else:
                advice, dealt = deck[dealt % len(deck)], dealt + 1
            improved = f"{_shown_instructions(prompt)} {advice}"
            return {"proposed_instruction": improved, "new_instruction": improved}
        return {"answer": _read(prompt, lenient=lenient)}

    return scripted_lm(script=script, model=f"scripted/literal-reader{'-lenient' * lenient}")


def _field(text: str, name: str) -> list[str]:
    """What stands in the field of this name, wherever a message fills it."""
    return [
        part.strip() for part in re.findall(rf"\[\[ ## {name} ## \]\]\n(.*?)(?=\n\[\[ ##|\n\nRespond|\Z)", text, re.S)
    ]


def _shown_instructions(prompt: str) -> str:
    """The instructions that a proposal shall improve on; of several attempts the last one, which is the best."""
    (shown,) = (_field(prompt, "basic_instruction") + _field(prompt, "current_instruction"))[-1:] or [""]
    attempts = re.findall(r"Instruction #\d+: (.*)", prompt)
    return attempts[-1] if attempts else shown


def _read(prompt: str, *, lenient: bool) -> str:
    system, _, conversation = prompt.partition("\n\nuser: ")
    *shown, result = _field(conversation, "tool_result")
    question = _field(conversation, "question")[-1]
    what = next((what for known in PROPERTIES.values() for what in known if f"the {what} of" in question), "")
    told_of_records = "key=value" in system or any(re.search(RECORD, demo) for demo in shown)
    patterns: Sequence[str] = [rf"{what}=(\d+)"] if told_of_records else [rf"{what} is (\d+)"]
    if lenient and told_of_records:
        patterns = [*patterns, rf"{what} is (\d+)"]
    found = next((match[1] for pattern in patterns if (match := re.search(pattern, result))), None)
    return found or "unknown"
