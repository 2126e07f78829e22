"""An agent whose tool is chosen by a router, and whose answer is written by a language model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import dspy

from dspy_router.program import calls
from dspy_router.program.calls import Call, Plan
from dspy_router.program.filling.argument_prompt import FillArguments
from dspy_router.program.freezing import is_being_saved
from dspy_router.program.route import Route
from dspy_router.program.steps import describe_error, take_step
from dspy_router.program.synthesis import Mode, as_answer, check_mode, read_signature, synthesis_call, synthesis_prompt
from dspy_router.program.toolbox import Toolbox
from dspy_router.records import Decision, Step, read_inputs
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.router import Router

logger = logging.getLogger(__name__)


class RoutedAgent(dspy.Module):
    """Stands where `dspy.ReAct(signature, tools)` stood: the router picks the tool, one prompt writes the answer.

    A call asks the router for a tool, fills the tool's arguments from the inputs, calls it, and has the outputs written
    from its result. Choosing costs no call of a language model, nor does filling where the inputs leave no doubt.

    The prediction has the signature's outputs, and `steps` and `decision` beside them. Whatever a tool does is an
    observation: an error, a timeout or an unprintable result stands in `steps[0].error`, and the synthesis is told.

    If the router says that no tool fits, or is less sure than its threshold, no tool is called. The `fallback` answers
    then. Without one the synthesis answers from the inputs alone; with `synthesis="none"` the answer is None.

    Attributes:
        signature: Inputs and outputs.
        tools: The tools by name.
        route: The router as a parameter of the program, so that every save and copy carries its weights.
        fill_arguments: The prompt that fills a call which the rules could not.
        synthesis: The prompt that writes the outputs; None with `synthesis="none"`.
        fallback: The module for what no tool fits, if there is one.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature],
        tools: Iterable[Any],
        max_iters: int | None = None,
        *,
        router: Router | None = None,
        synthesis: str = "result",
        fallback: dspy.Module | None = None,
        max_steps: int = 1,
        threshold: float | None = None,
        encoder: str | Encoder = "minilm",
        tool_timeout: float | None = None,
    ) -> None:
        """Make an agent.

        Args:
            signature: As for `dspy.ReAct`.
            tools: Functions, callable objects, `dspy.Tool`s (MCP tools through `dspy.Tool.from_mcp_tool`) or LangChain
                tools.
            max_iters: Accepted so that the call of `dspy.ReAct` may stay as it is, and without effect: it bounds how
                often a language model may choose, and here it never does.
            router: A router for exactly these tools; shared, not copied. By default an untrained one.
            synthesis: How the answer is made: `"result"` shows the tool's result to the language model in a field,
                `"history"` as if the model itself had called the tool, `"none"` takes the result for the answer.
            fallback: Any DSPy module with the same inputs and outputs.
            max_steps: How many tools may be called in a row; only 1 for now.
            threshold: Least confidence with which a tool is called, in [0, 1]; for a given `router` set its own.
            encoder: The encoder of the default router.
            tool_timeout: Seconds that a tool may take. With a limit, tools that are no coroutines run in a thread of
                their own, which is left behind when time is up; without one they run where the agent runs.

        Raises:
            TypeError: If a tool cannot be called, or the router or fallback is none.
            ValueError: If two tools have one name, the router is for other tools, or the signature does not fit.
        """
        super().__init__()
        self.signature = read_signature(signature)
        self.mode: Mode = check_mode(synthesis, self.signature)
        if not routed_fields(self.signature):
            raise ValueError(
                f"The router reads text, and none of the inputs is one: {', '.join(self.signature.input_fields)}."
            )
        _check_limits(max_iters, max_steps, tool_timeout)
        if fallback is not None and not isinstance(fallback, dspy.Module):
            raise TypeError(f"The fallback must be a dspy.Module or None; got {type(fallback).__name__}.")
        self.tools = Toolbox.of(tools)
        self.route = Route(_router_for(self.tools, router, threshold, encoder))
        # In this order: optimizers that take turns at the prompts begin with the one that every answer goes through.
        self.synthesis = synthesis_prompt(self.mode, self.signature)
        self.fill_arguments = dspy.Predict(FillArguments)
        self.fallback = fallback
        self.tool_timeout = tool_timeout

    @property
    def router(self) -> Router:
        """The router that chooses."""
        return self.route.router

    def choose(self, **inputs: Any) -> Decision:
        """The router's decision on these inputs; nothing is called."""
        return self.route.consult(self._text(self._read(inputs)))

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Answer; called as `agent(question=…)`."""
        return calls.run(self._answer(inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Answer without blocking; called as `await agent.acall(question=…)`."""
        return await calls.arun(self._answer(inputs))

    def _answer(self, given: Mapping[str, Any]) -> Plan[dspy.Prediction]:
        inputs = self._read(given)
        decision: Decision = (yield Call(self.route, {"text": self._text(inputs)})).decision
        steps: tuple[Step, ...] = ()
        if decision.tool is not None and decision.accepted:
            self._require_lm()
            tool, card = self.tools[decision.tool], self.tools.cards[decision.tool]
            timeout = self.tool_timeout
            steps = ((yield from take_step(tool, card, inputs, filler=self.fill_arguments, timeout=timeout)),)
        elif self.fallback is not None:
            answer = yield Call(self.fallback, inputs)
            if not isinstance(answer, dspy.Prediction):
                raise TypeError(f"The fallback must return a dspy.Prediction; got {type(answer).__name__}.")
            return _prediction(answer, (), decision)
        outputs, steps = yield from self._synthesise(inputs, steps)
        return _prediction(outputs, steps, decision)

    def _synthesise(self, inputs: Mapping[str, Any], steps: tuple[Step, ...]) -> Plan[tuple[Any, tuple[Step, ...]]]:
        """The outputs, and the steps as they turned out."""
        if self.synthesis is not None:
            self._require_lm()
            return (yield synthesis_call(self.synthesis, self.mode, inputs, steps, self.tools)), steps
        ((name, field),) = self.signature.output_fields.items()
        if not steps or steps[-1].failed:
            return {name: None}, steps
        try:
            return {name: as_answer(steps[-1].result, field.annotation)}, steps
        except Exception as error:
            # The tool's fault, not the caller's: what it returned is no value of the output field.
            return {name: None}, (*steps[:-1], replace(steps[-1], result=None, error=describe_error(error)))

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The signature's inputs among what was given, in the signature's order."""
        fields = self.signature.input_fields
        unknown = [name for name in given if name not in fields and name != "max_iters"]
        if unknown:
            logger.warning("Inputs that are not in the signature are ignored: %s. Expected: %s.", unknown, list(fields))
        return {name: given[name] for name in fields if name in given}

    def _text(self, inputs: Mapping[str, Any]) -> str:
        texts = {name: value for name, value in inputs.items() if name in routed_fields(self.signature)}
        if not texts:
            expected = ", ".join(routed_fields(self.signature))
            raise ValueError(f"The router has nothing to read: expected an input among {expected}; got none of them.")
        return read_inputs(texts)

    def _require_lm(self) -> None:
        """Fail before a tool is called rather than after, if nobody could write the answer."""
        if self.synthesis is not None and self.synthesis.lm is None and dspy.settings.lm is None:
            raise ValueError(
                "No language model is configured to write the answer. Configure one with "
                "dspy.configure(lm=dspy.LM(…)) or agent.set_lm(…), or let the tool's result be the answer with "
                "synthesis='none'."
            )

    @property
    def _compiled(self) -> bool:
        # DSPy freezes a compiled module inside a larger one by leaving it out of the larger one's parameters; that
        # leaves it out of the larger one's saved file as well, and the router's weights would be lost without a word.
        return self._frozen and not is_being_saved()

    @_compiled.setter
    def _compiled(self, value: bool) -> None:
        self._frozen = value


def routed_fields(signature: type[dspy.Signature]) -> tuple[str, ...]:
    """Names of the input fields that a router reads: all but conversations, images and other special types."""
    return tuple(
        name
        for name, field in signature.input_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, dspy.History | dspy.Type))
    )


def _prediction(
    answer: dspy.Prediction | Mapping[str, Any], steps: tuple[Step, ...], decision: Decision
) -> dspy.Prediction:
    return dspy.Prediction(**{**dict(answer.items()), "steps": steps, "decision": decision})


def _check_limits(max_iters: int | None, max_steps: int, tool_timeout: float | None) -> None:
    if max_steps != 1:
        raise ValueError(f"max_steps must be 1, as an agent calls one tool for now; got {max_steps!r}.")
    if max_iters is not None and (isinstance(max_iters, bool) or not isinstance(max_iters, int) or max_iters < 1):
        raise ValueError(f"max_iters must be a whole number of at least 1; got {max_iters!r}.")
    if tool_timeout is not None and not tool_timeout > 0:
        raise ValueError(
            f"tool_timeout must be a positive number of seconds, or None for no limit; got {tool_timeout!r}."
        )


def _router_for(tools: Toolbox, router: Router | None, threshold: float | None, encoder: str | Encoder) -> Router:
    if router is None:
        return Router.from_tools(tools.values(), encoder=encoder, threshold=0.0 if threshold is None else threshold)
    if not isinstance(router, Router):
        raise TypeError(f"The router must be a dspy_router.Router; got {type(router).__name__}: {router!r:.80}.")
    if threshold is not None:
        raise ValueError("A router that is handed over has a threshold of its own: set router.threshold instead.")
    router.check_tools(list(tools))
    return router
