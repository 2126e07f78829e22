"""Programs to hold a router against: ReAct, a native tool-calling loop, the three-call chain of a language model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import dspy
from dspy.adapters.types.tool import ToolCallResults
from dspy.signatures.signature import make_signature

from dspy_router.program import calls
from dspy_router.program.calls import Call, Plan
from dspy_router.program.filling.argument_prompt import FillArguments, ask_arguments
from dspy_router.program.history import OwnCallHistory, history_field
from dspy_router.program.inputs import given_inputs
from dspy_router.program.steps import describe_error, show
from dspy_router.program.synthesis import NO_TOOL, check_mode, read_signature, synthesis_call, synthesis_prompt
from dspy_router.program.toolbox import Toolbox
from dspy_router.records import Step

_TOOLS, _CALLS = "tools", "tool_calls"


class NativeToolLoop(dspy.Module):
    """The loop that the providers of language models show: it calls tools until the model answers with a text.

    The model sees the schemas of all tools and the conversation so far, natively as tools and tool messages; whatever
    calls it makes are carried out and told back. There is no thought, and no call that submits the answer: the first
    reply without a call of a tool is the answer. After `max_iters` replies with calls it must answer without.

    The prediction has the signature's outputs, and `steps` beside them.

    Attributes:
        signature: Inputs and outputs.
        tools: The tools by name.
        loop: The prompt of every turn.
    """

    def __init__(self, signature: str | type[dspy.Signature], tools: Iterable[Any], max_iters: int = 20) -> None:
        """Make a loop.

        Args:
            signature: As for `dspy.ReAct`.
            tools: As for `RoutedAgent`.
            max_iters: Most replies with calls of tools.

        Raises:
            TypeError: If a tool cannot be called, or the signature is none.
            ValueError: If two tools have one name, `max_iters` is no whole number of at least 1, or the signature has a
                field of a name that the loop needs for itself.
        """
        super().__init__()
        self.signature = read_signature(signature)
        reserved = {_TOOLS, _CALLS, "steps"} & set(self.signature.fields)
        if reserved:
            raise ValueError(
                f"The signature has a field named {' and '.join(map(repr, sorted(reserved)))}, which a NativeToolLoop "
                "uses itself. Rename it."
            )
        if isinstance(max_iters, bool) or not isinstance(max_iters, int) or max_iters < 1:
            raise ValueError(f"max_iters must be a whole number of at least 1; got {max_iters!r}.")
        self.tools = Toolbox.of(tools)
        self.max_iters = max_iters
        turn = OwnCallHistory.extend(self.signature)
        turn = turn.append(_TOOLS, dspy.InputField(), list[dspy.Tool])
        self.loop = dspy.Predict(turn.append(_CALLS, dspy.OutputField(), dspy.ToolCalls))

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Answer; called as `loop(question=…)`."""
        return calls.run(self._answer(inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Answer without blocking; called as `await loop.acall(question=…)`."""
        return await calls.arun(self._answer(inputs))

    def _answer(self, given: Mapping[str, Any]) -> Plan[dspy.Prediction]:
        current = given_inputs(self.signature, given)
        field = history_field(self.signature)
        earlier = current.pop(field, None)
        messages = list(dspy.History.model_validate(earlier).messages) if earlier is not None else []
        adapter = _native_adapter(self.loop.lm or dspy.settings.lm)
        steps: list[Step] = []
        for turn in range(self.max_iters):
            reply = yield Call(self.loop, self._asked(field, messages, current), adapter=adapter)
            if not (reply.get(_CALLS) and reply[_CALLS].tool_calls):
                return self._prediction(reply, steps)
            told = yield from self._carry_out(reply[_CALLS], turn, steps)
            messages.append({**current, _CALLS: told})
            current = {}
        asked = {**self._asked(field, messages, current), "config": {"tool_choice": "none"}}
        return self._prediction((yield Call(self.loop, asked, adapter=adapter)), steps)

    def _asked(self, field: str, messages: list[dict[str, Any]], current: Mapping[str, Any]) -> dict[str, Any]:
        return {field: dspy.History(messages=list(messages)), _TOOLS: list(self.tools.values()), **current}

    def _carry_out(self, wanted: dspy.ToolCalls, turn: int, steps: list[Step]) -> Plan[dspy.ToolCalls]:
        """The calls with their results, which are appended to the steps."""
        made = [
            one if one.id else one.model_copy(update={"id": f"call_{turn}_{number}"})
            for number, one in enumerate(wanted.tool_calls)
        ]
        for one in made:
            steps.append((yield from _call_tool(self.tools, one.name, one.args or {})))  # noqa: PERF401 - it yields
        taken = steps[-len(made) :]
        results = ToolCallResults.from_tool_calls_and_values(
            made, [show(step.observation) for step in taken], [step.failed for step in taken]
        )
        return dspy.ToolCalls(tool_calls=made, tool_call_results=results)

    def _prediction(self, reply: dspy.Prediction, steps: list[Step]) -> dspy.Prediction:
        outputs = {name: reply.get(name) for name in self.signature.output_fields}
        return dspy.Prediction(**outputs, steps=tuple(steps))


class ToolChoiceChain(dspy.Module):
    """A chain of three calls of the language model: it picks the tool, fills its arguments, and writes the answer.

    This is what tool selection by a language model comes to where nothing loops: the model reads what all tools do and
    names one, a second prompt reads that tool's schema and fills the call, a third one sees inputs and result. The
    second is left out for a tool without parameters, and asked again once where its answer does not fit the schema;
    where no tool is picked the third one answers from the inputs alone. The last two are those of a `RoutedAgent` with
    `synthesis="result"` whose arguments no rule has filled, so that the two differ in who chooses.

    The prediction has the signature's outputs, and `steps` beside them.

    Attributes:
        signature: Inputs and outputs.
        tools: The tools by name.
        choose: The prompt that picks the tool.
        fill_arguments: The prompt that fills the call.
        write: The prompt that writes the outputs.
    """

    def __init__(self, signature: str | type[dspy.Signature], tools: Iterable[Any]) -> None:
        """Make a chain.

        Args:
            signature: As for `dspy.ReAct`.
            tools: As for `RoutedAgent`.

        Raises:
            TypeError: If a tool cannot be called, or the signature is none.
            ValueError: If two tools have one name, one is called `none`, or the signature has a field of a name that
                the chain needs for itself.
        """
        super().__init__()
        self.signature = read_signature(signature)
        check_mode("result", self.signature)
        if _TOOLS in self.signature.fields:
            raise ValueError(
                f"The signature has a field named '{_TOOLS}', which a ToolChoiceChain uses itself. Rename it."
            )
        self.tools = Toolbox.of(tools)
        if NO_TOOL in self.tools:
            raise ValueError(f"A tool is called '{NO_TOOL}', which stands for calling none. Rename it.")
        self.choose = dspy.Predict(_choice_signature(self.signature, list(self.tools)))
        self.fill_arguments = dspy.Predict(FillArguments)
        write = synthesis_prompt("result", self.signature)
        assert write is not None
        self.write = write

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Answer; called as `chain(question=…)`."""
        return calls.run(self._answer(inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Answer without blocking; called as `await chain.acall(question=…)`."""
        return await calls.arun(self._answer(inputs))

    def _answer(self, given: Mapping[str, Any]) -> Plan[dspy.Prediction]:
        inputs = given_inputs(self.signature, given)
        listed = "\n".join(f"{name}: {tool.desc or ''}".rstrip(": ") for name, tool in self.tools.items())
        name = (yield Call(self.choose, {**inputs, _TOOLS: listed})).tool
        steps: tuple[Step, ...] = ()
        if name != NO_TOOL:
            card = self.tools.cards[name]
            arguments: Mapping[str, Any] = {}
            if card.properties:
                try:
                    arguments = yield from ask_arguments(self.fill_arguments, card, inputs)
                except ValueError as error:  # an observation, as in a RoutedAgent
                    steps = (Step(name, error=describe_error(error), filled_by="lm"),)
            steps = steps or ((yield from _call_tool(self.tools, name, arguments)),)
        answer = yield synthesis_call(self.write, "result", inputs, steps, self.tools)
        return dspy.Prediction(**dict(answer.items()), steps=steps)


def react(signature: str | type[dspy.Signature], tools: Iterable[Any], max_iters: int = 20) -> dspy.Module:
    """A `dspy.ReAct` over whatever tools a `RoutedAgent` takes."""
    return dspy.ReAct(read_signature(signature), list(Toolbox.of(tools).values()), max_iters)


def react_v2(signature: str | type[dspy.Signature], tools: Iterable[Any], max_iters: int = 20) -> dspy.Module:
    """A `dspy.ReActV2` over whatever tools a `RoutedAgent` takes."""
    return dspy.ReActV2(read_signature(signature), list(Toolbox.of(tools).values()), max_iters)


def _call_tool(tools: Toolbox, name: str, arguments: Mapping[str, Any]) -> Plan[Step]:
    """One call; whatever comes of it is an observation."""
    if name not in tools:
        return Step(name, arguments, error=f"There is no tool '{name}'; there are {', '.join(tools)}.", filled_by="lm")
    try:
        result = yield Call(tools[name], arguments)
        show(result)  # what cannot be shown is no result to anybody
    except Exception as error:
        return Step(name, arguments, error=describe_error(error), filled_by="lm")
    return Step(name, arguments, result, filled_by="lm")


def _choice_signature(signature: type[dspy.Signature], names: list[str]) -> type[dspy.Signature]:
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in signature.input_fields.items()}
    fields[_TOOLS] = (str, dspy.InputField(desc="the tools there are, and what each of them does"))
    picked = dspy.OutputField(desc=f"the tool to call for the inputs; {NO_TOOL} if none of them helps")
    fields["tool"] = (Literal[(*names, NO_TOOL)], picked)
    outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
    wanted = f"Choose the one tool whose result is needed to produce {outputs}."
    return make_signature(fields, f"{signature.instructions}\n\n{wanted}")


def _native_adapter(lm: Any) -> dspy.Adapter:
    """The configured adapter with native calls of tools.

    Raises:
        ValueError: If the language model has none, or none is configured.
    """
    if lm is None:
        raise ValueError("No language model is configured. Configure one with dspy.configure(lm=dspy.LM(…)).")
    if not getattr(lm, "supports_function_calling", False):
        raise ValueError(
            f"A NativeToolLoop needs a language model with native calls of tools, and '{getattr(lm, 'model', lm)}' is "
            "not known to have them. Take dspy.ReAct or dspy.ReActV2, whose calls may also be text."
        )
    adapter = copy.copy(dspy.settings.adapter or dspy.ChatAdapter())
    adapter.use_native_function_calling = True
    return adapter
