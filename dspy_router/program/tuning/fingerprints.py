"""What a run of a program depends on, as digests that the next process gets as well: example, prompts, the program."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import dspy
import pydantic

from dspy_router.program.agent import RoutedAgent
from dspy_router.program.route import Route

# How a language model is reached or how patiently, not what it answers.
_NOT_IDENTITY = frozenset({"api_key", "cache", "num_retries", "launch_kwargs", "train_kwargs", "finetuning_model"})
_DIGITS = 16


def example_digest(example: dspy.Example) -> str:
    """A digest of all that the program and the metric may look at: every field, and which of them are inputs.

    Raises:
        TypeError: If it is no `dspy.Example` that names its inputs.
    """
    if not isinstance(example, dspy.Example) or getattr(example, "_input_keys", None) is None:
        unmarked = isinstance(example, dspy.Example)
        got = "one without inputs" if unmarked else f"{type(example).__name__}: {example!r:.80}"
        raise TypeError(
            "To run the program on an example it must be a dspy.Example that says which fields are inputs, as in "
            f"dspy.Example(question=…, answer=…).with_inputs('question'); got {got}."
        )
    return _digest([dict(example.items()), sorted(example._input_keys or ())])


def input_digest(example: dspy.Example) -> str:
    """A digest of what the program is asked, whatever the answer should be.

    Raises:
        TypeError: If it is no `dspy.Example` that names its inputs.
    """
    example_digest(example)  # refuses what is none
    return example_digest(example.inputs())


def prompt_fingerprint(program: dspy.Module) -> str:
    """A digest of what the program's language models are asked and which they are: all but the router's weights.

    It covers the structure of the program, instructions, fields, demonstrations and settings of every predictor, the
    language model that each would ask right now, and the adapter. What it cannot see is the code of tools and of
    `forward`.
    """
    parts: list[Any] = [_describe_adapter(dspy.settings.adapter or dspy.ChatAdapter())]
    for name, module in _modules(program):
        parts.append([name, qualified_name(type(module))])
        if isinstance(module, dspy.Predict):
            lm = module.lm if module.lm is not None else dspy.settings.lm
            parts.append([_describe_signature(module.signature), module.demos, module.config, module.fields])
            parts.append(_describe_lm(lm))
        elif isinstance(module, RoutedAgent):
            parts.append([module.mode, _describe_signature(module.signature)])
    return _digest(parts)


def program_fingerprint(program: dspy.Module) -> str:
    """A digest of all that can be seen of a program: prompts and language models, tools, settings, routers' weights.

    What it cannot see is the code of tools and of `forward`.
    """
    parts: list[Any] = [prompt_fingerprint(program)]
    for name, module in _modules(program):
        settings = {key: one for key, one in vars(module).items() if _is_setting(key, one)}
        tools = getattr(module, "tools", None)
        named = tools if isinstance(tools, Mapping) else {}
        shown = {key: [one.desc, one.args] for key, one in named.items() if isinstance(one, dspy.Tool)}
        router = module.router.fingerprint if isinstance(module, Route) else None
        escalation = module.escalation if isinstance(module, RoutedAgent) else None
        parts.append([name, settings, shown, router, escalation])
    return _digest(parts)


def _is_setting(name: str, value: Any) -> bool:
    # `stage` is drawn anew for every predictor.
    return name != "stage" and not name.startswith("_") and isinstance(value, bool | int | float | str | None)


def _modules(program: dspy.Module) -> Iterator[tuple[str, dspy.Module]]:
    """All modules of a program, compiled ones too, where DSPy looks for parameters.

    Not by `named_sub_modules`, which also finds the candidates that optimizers leave in attributes of their result.
    """
    seen, waiting = set(), [("self", program)]
    while waiting:
        name, module = waiting.pop(0)
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        for key, value in vars(module).items():
            if isinstance(value, Mapping):
                parts = value.items()
            else:
                parts = enumerate(value if isinstance(value, list | tuple) else [value])
            waiting += [(f"{name}.{key}.{index}", one) for index, one in parts if isinstance(one, dspy.Module)]


def _describe_signature(signature: Any) -> list[Any]:
    fields = [
        [name, repr(field.annotation), field.json_schema_extra.get("prefix"), field.json_schema_extra.get("desc")]
        for name, field in signature.fields.items()
    ]
    return [signature.instructions, list(signature.input_fields), fields]


def _describe_lm(lm: Any) -> Any:
    if lm is None:
        return None
    try:
        state = lm.dump_state()
    except Exception:  # an engine of the user's own that cannot be saved; the model's name and settings must do
        state = {"model": getattr(lm, "model", None), "engine": qualified_name(type(getattr(lm, "engine", None)))}
        state |= getattr(lm, "kwargs", {})
    return [qualified_name(type(lm)), {key: value for key, value in state.items() if key not in _NOT_IDENTITY}]


def _describe_adapter(adapter: Any) -> list[Any]:
    simple = {key: value for key, value in vars(adapter).items() if isinstance(value, bool | int | str | None)}
    return [qualified_name(type(adapter)), simple]


def qualified_name(one: Any) -> str:
    """Module and name of a function or type; for any other object those of its type."""
    named = one if hasattr(one, "__qualname__") else type(one)
    return f"{named.__module__}.{named.__qualname__}"


def _digest(value: Any) -> str:
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _plain(value: Any) -> Any:
    """A value as JSON knows it, in an order that is the same everywhere."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dspy.Example):
        return _plain(dict(value.items()))
    if isinstance(value, pydantic.BaseModel):
        return [qualified_name(type(value)), _plain(dict(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return [qualified_name(type(value)), _plain({name: getattr(value, name) for name in names})]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_plain(one), sort_keys=True) for one in value)
    if isinstance(value, type):
        return qualified_name(value)
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # a lock, a connection: what it says of itself must do
        return repr(value)
