"""Hands a decision to a language model, and brings its choice back as the same records."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError
from pydantic import PrivateAttr

from dspy_router.program import calls
from dspy_router.program.calls import Call, Plan
from dspy_router.program.choices import Choice, read_choice
from dspy_router.program.history import history_field, is_native, turn, turns
from dspy_router.program.oversight import Progress
from dspy_router.program.steps import describe_error, show
from dspy_router.program.toolbox import Toolbox
from dspy_router.records import Decision, Step

OnError = Literal["raise", "best_effort", "none"]
# "lm" is a `dspy.ReActV2` over the agent's own tools.
Fallback = dspy.Module | Literal["lm"] | None

logger = logging.getLogger(__name__)


class NoLanguageModelError(ValueError):
    """A language model was to take over, and none is configured."""


@dataclass(frozen=True)
class Escalation:
    """How decisions are handed over.

    Attributes:
        tools: How many of the router's most probable tools the language model sees; None shows all of them.
        timeout: Seconds that the fallback may take; None for as long as it likes.
        on_error: What to do where the language model cannot be asked or does not answer.
    """

    tools: int | None = None
    timeout: float | None = None
    on_error: OnError = "raise"

    def check(self, fallback: Any, signature: type[dspy.Signature], toolbox: Toolbox) -> None:
        """See that decisions can be handed over in this way.

        Raises:
            TypeError: If the fallback is none.
            ValueError: If a setting is out of its range, or the default fallback cannot have this signature or tools.
        """
        if self.on_error not in get_args(OnError):
            raise ValueError(f"on_error must be 'raise', 'best_effort' or 'none'; got {self.on_error!r}.")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(
                f"fallback_timeout must be a positive number of seconds, or None for no limit; got {self.timeout!r}."
            )
        if isinstance(fallback, str) and fallback != "lm":
            raise ValueError(f"The fallback must be 'lm', a dspy.Module or None; got {fallback!r}.")
        if fallback is not None and not isinstance(fallback, str | dspy.Module):
            raise TypeError(f"The fallback must be a dspy.Module, 'lm' or None; got {type(fallback).__name__}.")
        if self.tools is not None:
            whole = isinstance(self.tools, int) and not isinstance(self.tools, bool)
            if not whole or not 1 <= self.tools <= len(toolbox):
                raise ValueError(
                    f"fallback_tools must be a whole number from 1 to {len(toolbox)}, the number of tools; "
                    f"got {self.tools!r}."
                )
            if fallback != "lm":
                raise ValueError(
                    "fallback_tools is for the default fallback 'lm': a module of one's own has tools of its own. "
                    "Leave one of the two out."
                )
        if fallback == "lm":
            try:
                dspy.ReActV2(_without_history(signature), list(toolbox.values()))
            except ValueError as error:
                raise ValueError(
                    f"The default fallback, a dspy.ReActV2 over the same tools, cannot be made: {error} "
                    "Otherwise pass fallback=None, or a module of your own."
                ) from error

    def hand_over(
        self,
        fallback: dspy.Module | str,
        progress: Progress,
        *,
        signature: type[dspy.Signature],
        tools: Toolbox,
        lm: Any,
        tool_timeout: float | None = None,
    ) -> Plan[dspy.Prediction | None]:
        """Plan the fallback's answer; its choice and its calls are the progress's decision and steps from then on.

        Args:
            fallback: Who takes over; a string for the default one.
            progress: What was decided and done so far.
            signature: The program's signature.
            tools: The program's tools.
            lm: The language model of the default fallback; None if there is none.
            tool_timeout: Seconds that a tool may take in the default fallback's hands.

        Returns:
            The fallback's prediction; None where the language model failed and that is not to be raised. The decision
            tells the error then.

        Raises:
            TypeError: If the fallback answers with something else than a prediction.
            Exception: Whatever the fallback raises, trouble with the language model only with `on_error="raise"`.
        """
        taken: list[Step] = []
        try:
            if isinstance(fallback, str):
                hands = _Hands(tool_timeout, taken)
                answer = yield from self._ask_lm(progress, hands, signature, tools, lm)
                choice = _choice(answer, taken)
            else:
                earlier = progress.inputs.get("history")
                told = len(earlier.messages) if isinstance(earlier, dspy.History) else 0
                answer = yield Call(fallback, progress.inputs, timeout=self.timeout)
                if not isinstance(answer, dspy.Prediction):
                    raise TypeError(f"The fallback must return a dspy.Prediction; got {type(answer).__name__}.")
                choice = read_choice(answer, tools, earlier=told)
        except Exception as error:
            trouble = is_lm_trouble(error)
            if taken:
                progress.adopt(Choice(taken[0].tool, tuple(taken)))
            progress.fail(error, withdraw=trouble and self.on_error == "none")
            if self.on_error == "raise" or not trouble:
                raise
            logger.warning("The fallback did not answer: %s.", progress.decision.error)
            return None
        progress.adopt(choice)
        return answer

    def _ask_lm(
        self, progress: Progress, hands: _Hands, signature: type[dspy.Signature], tools: Toolbox, lm: Any
    ) -> Plan[dspy.Prediction]:
        """The answer of a ReActV2 that continues the transcript."""
        if lm is None:
            raise NoLanguageModelError(
                f"The decision for {progress.decision.tool or 'no tool'!r} is to be handed over (its probability is "
                f"{progress.decision.confidence:.2f}), and no language model is configured to take over. Configure one "
                "with dspy.configure(lm=dspy.LM(…)) or agent.set_lm(…), or say what to do without one: fallback=None, "
                "or on_error='best_effort' or 'none'."
            )
        # Beside the router, in its shadow, the language model shall choose for itself.
        limited = self.tools is not None and progress.shadow is None
        names = most_probable(progress.decision, self.tools or 0) if limited else list(tools)
        react = dspy.ReActV2(_without_history(signature), [_Observed.of(tools[name], hands) for name in names])
        react.set_lm(lm)
        inputs = transcript(signature, progress.inputs, progress.steps, lm)
        try:
            return (yield Call(react, inputs, timeout=self.timeout))
        finally:
            hands.open = False


def most_probable(decision: Decision, k: int) -> list[str]:
    """Names of the k most probable tools, most probable first."""
    return [name for name, _ in decision.top(len(decision.probabilities) + 1) if name is not None][:k]


def transcript(
    signature: type[dspy.Signature], inputs: Mapping[str, Any], steps: Sequence[Step], lm: Any
) -> dict[str, Any]:
    """What a ReActV2 is called with to continue from the steps as if its language model had taken them itself.

    Args:
        signature: The program's signature. A conversation among its inputs comes first, its answers as submitted ones.
        inputs: The program's input fields.
        steps: What was done about them.
        lm: The language model that will be asked.

    Returns:
        A `history`, and the inputs where the history does not tell them.
    """
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    field = history_field(signature)
    earlier = inputs.get(field) if isinstance(inputs.get(field), dspy.History) else None
    current = {name: value for name, value in inputs.items() if earlier is None or name != field}
    messages = [
        _as_submitted(signature, message, number) for number, message in enumerate(earlier.messages if earlier else ())
    ]
    messages += turns(current, steps)
    if not is_native(adapter, lm):  # a text says so where nothing was thought
        messages = [{"next_thought": "", **message} for message in messages]
    return {**({} if steps else current), "history": dspy.History(messages=messages)}


def is_lm_trouble(error: BaseException) -> bool:
    """Whether an error is the language model's, and not the program's.

    These are DSPy's errors of language models, answers that cannot be read, errors of the `openai` package and of
    LiteLLM, which are derived from those, time limits and lost connections.
    """
    if isinstance(error, LMError | AdapterParseError | TimeoutError | ConnectionError | NoLanguageModelError):
        return True
    openai = sys.modules.get("openai")  # whoever raises its errors has imported it
    if openai is not None and isinstance(error, openai.OpenAIError):
        return True
    return isinstance(error, ValueError) and str(error).startswith("ReActV2 failed to produce final outputs")


def _choice(answer: dspy.Prediction, taken: Sequence[Step]) -> Choice | None:
    if taken:
        return Choice(taken[0].tool, tuple(taken))
    # An answer that had to be forced out of it after the loop had broken off is no choice of calling nothing.
    return Choice(None) if answer.get("termination_reason") == "submit" else None


def _without_history(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """The signature without its conversation, for which ReActV2 has an input of its own."""
    field = history_field(signature)
    is_there = field in signature.input_fields and signature.input_fields[field].annotation is dspy.History
    return signature.delete(field) if is_there else signature


def _as_submitted(signature: type[dspy.Signature], message: Mapping[str, Any], number: int) -> dict[str, Any]:
    """An earlier question and answer as ReActV2 would have told them."""
    if any(isinstance(value, dspy.ToolCalls) for value in message.values()):
        return dict(message)
    answered = {name: value for name, value in message.items() if name in signature.output_fields}
    asked = {name: value for name, value in message.items() if name not in answered}
    return turn(asked, "submit", answered, answered, number=number)


@dataclass
class _Hands:
    """What the fallback may do with the agent's tools: for how long, until when, and where it is written down."""

    timeout: float | None
    steps: list[Step]
    open: bool = True


class _Observed(dspy.Tool):
    """A tool in the fallback's hands: it reads the same, its time limit holds, and every call becomes a step."""

    _tool: dspy.Tool = PrivateAttr()
    _hands: _Hands = PrivateAttr()

    @classmethod
    def of(cls, tool: dspy.Tool, hands: _Hands) -> _Observed:
        """Wrap a tool."""
        observed = cls.model_construct(**{name: getattr(tool, name) for name in dspy.Tool.model_fields})
        observed._tool, observed._hands = tool, hands
        return observed

    def __call__(self, **arguments: Any) -> Any:
        return calls.run(self._call(arguments))

    async def acall(self, **arguments: Any) -> Any:
        return await calls.arun(self._call(arguments))

    def _call(self, arguments: dict[str, Any]) -> Plan[Any]:
        if not self._hands.open:
            raise RuntimeError("The agent waited for this answer no longer; no further tool may be called for it.")
        name, started = self._tool.name or "", time.perf_counter()
        try:
            result = yield Call(self._tool, arguments, timeout=self._hands.timeout)
            show(result)  # what cannot be shown is no result to anybody
        except Exception as error:
            seconds = time.perf_counter() - started
            step = Step(name, arguments, error=describe_error(error), filled_by="lm", seconds=seconds)
            self._hands.steps.append(step)
            raise
        seconds = time.perf_counter() - started
        self._hands.steps.append(Step(name, arguments, result, filled_by="lm", seconds=seconds))
        return result
