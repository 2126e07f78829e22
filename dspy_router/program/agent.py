"""An agent whose tool is chosen by a router, and whose answer is written by a language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from dspy_router.program import calls
from dspy_router.program.calls import Call, Plan
from dspy_router.program.escalation import Escalation, Fallback, OnError
from dspy_router.program.filling.argument_prompt import FillArguments
from dspy_router.program.freezing import is_being_saved
from dspy_router.program.inputs import check_routed, given_inputs, routed_episodes, routed_inputs, routed_text
from dspy_router.program.oversight import Explorer, Log, Logbook, Progress, is_rehearsal
from dspy_router.program.route import Route, is_forced
from dspy_router.program.steps import describe_error, take_step
from dspy_router.program.synthesis import Mode, as_answer, check_mode, read_signature, synthesis_call, synthesis_prompt
from dspy_router.program.toolbox import Toolbox
from dspy_router.records import Decision
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.router import Router
from dspy_router.routing.trust.report import CalibrationReport
from dspy_router.runtime.exported import ExportedRouter


class RoutedAgent(dspy.Module):
    """Stands where `dspy.ReAct(signature, tools)` stood: the router picks the tool, one prompt writes the answer.

    A call asks the router for a tool, fills the tool's arguments from the inputs, calls it, and has the outputs written
    from its result. Choosing costs no call of a language model, nor does filling where the inputs leave no doubt.

    The prediction has the signature's outputs, and `steps` and `decision` beside them. Whatever a tool does is an
    observation: an error, a timeout or an unprintable result stands in `steps[0].error`, and the synthesis is told.

    A decision that the router is not sure enough of (below its threshold, or outside its guarantee) is handed over to
    the `fallback`. By default that is a `dspy.ReActV2` over the same tools, made for the occasion, which goes on from
    the conversation as if it had led it so far. What it chose comes back as the `decision`, with the source `lm`, and
    what it called as `steps`. Its prompt is no parameter of the program: it is neither optimized nor saved, and a
    program that never hands over does not carry it along. Pass a ReActV2 of your own for one that is.

    If the router is sure that no tool fits, a module that was passed as `fallback` answers. Otherwise the synthesis
    does, from the inputs alone; with `synthesis="none"` the answer is None.

    With `explore` some choices are drawn, and the `propensity` of the decision tells how probably. With `shadow` the
    fallback acts on every decision, with `audit` on some, and the prediction's `shadow` is what the router would have
    done. With `log` each answer is logged, and a reward or a label is joined to it later by the decision's `id`.

    Attributes:
        signature: Inputs and outputs.
        tools: The tools by name.
        route: The router as a parameter of the program, so that every save and copy carries its weights.
        fill_arguments: The prompt that fills a call which the rules could not.
        synthesis: The prompt that writes the outputs; None with `synthesis="none"`.
        fallback: Who takes over from a router that is not sure enough.
        escalation: How it does.
        explorer: What draws other choices, and choices to be checked.
        shadow: Whether the fallback acts in place of the router.
    """

    # What a whole program that was pickled before there were these goes on with.
    escalation, explorer, shadow, _logbook = Escalation(), Explorer(), False, Logbook()

    def __init__(
        self,
        signature: str | type[dspy.Signature],
        tools: Iterable[Any],
        max_iters: int | None = None,
        *,
        router: Router | ExportedRouter | None = None,
        synthesis: str = "result",
        fallback: Fallback = "lm",
        fallback_tools: int | None = None,
        fallback_timeout: float | None = None,
        on_error: OnError = "raise",
        max_steps: int = 1,
        threshold: float | None = None,
        encoder: str | Encoder = "minilm",
        tool_timeout: float | None = None,
        explore: float = 0.0,
        audit: float = 0.0,
        seed: int | None = None,
        shadow: bool = False,
        log: Log | str | Path | None = None,
    ) -> None:
        """Make an agent.

        Args:
            signature: As for `dspy.ReAct`.
            tools: Functions, callable objects, `dspy.Tool`s (MCP tools through `dspy.Tool.from_mcp_tool`) or LangChain
                tools.
            max_iters: Accepted so that the call of `dspy.ReAct` may stay as it is, and without effect: it bounds how
                often a language model may choose, and here it never does.
            router: A router for exactly these tools, or an exported one; shared, not copied. By default an untrained
                one.
            synthesis: How the answer is made: `"result"` shows the tool's result to the language model in a field,
                `"history"` as if the model itself had called the tool, `"none"` takes the result for the answer.
            fallback: Who answers what the router is not sure enough of: `"lm"` for a `dspy.ReActV2` over the same
                tools, any DSPy module with the same inputs and outputs, which also answers what no tool fits, or None.
                Which tool a module chose is known where its prediction says so (see `choices.read_choice`); otherwise
                the decision remains the router's, not accepted.
            fallback_tools: How many of the router's most probable tools the `"lm"` sees; None shows all. How often the
                right one is among k, and at least how often, is `recall[k]` of the report of `calibrate`.
            fallback_timeout: Seconds that the fallback may take. When time is up it may call no further tool.
            on_error: What to do where the language model cannot take over: it is out of time, limited, fails, cannot be
                understood or is not configured. `"raise"` raises the error. `"best_effort"` acts on the router's choice
                after all, sure or not. `"none"` calls no tool, and the outputs are None. With these two
                `decision.error` tells what went wrong; tools that the language model had called before it failed
                remain the steps, and with `"best_effort"` the answer is made from them. A synthesis that asks the same
                language model may of course fail like it, and that is raised.
            max_steps: How many tools may be called in a row; only 1 for now.
            threshold: Least confidence with which a tool is called, in [0, 1]; for a given `router` set its own.
            encoder: The encoder of the default router.
            tool_timeout: Seconds that a tool may take. With a limit, tools that are no coroutines run in a thread of
                their own, which is left behind when time is up; without one they run where the agent runs.
            explore: Share of the decisions that are drawn from the router's probabilities, among the tools whose card
                says `read_only` and *none* (see `sampling.mixture`). What is handed over is not drawn, and for a drawn
                *none* nobody is asked but the synthesis. It leaves a guarantee on purpose: at most this share of the
                decisions is others than the certified ones.
            audit: Share of all decisions, sure or not, that are handed over for a check, as with `shadow`. They are
                `audited`: a random sample of what comes in, against which a guarantee can be watched.
            seed: For the same draws of both on every run; but several threads come to them in an order of their own.
            shadow: Whether the fallback acts on every decision, with all tools in sight, and the router runs beside it.
                Only with `on_error="best_effort"` does the router act, where the language model failed.
            log: A `DecisionLog`, or the path of one. The inputs that the router reads, decisions and steps are
                recorded, those of an answer that failed too. What goes wrong with the log does not hinder the answer.

        Raises:
            TypeError: If a tool cannot be called, or the router, fallback or log is none.
            ValueError: If two tools have one name, the router is for other tools, the signature does not fit, a setting
                is out of its range, there is nothing to explore, or there is no fallback to check by.
        """
        super().__init__()
        self.signature = read_signature(signature)
        self.mode: Mode = check_mode(synthesis, self.signature)
        check_routed(self.signature)
        _check_limits(max_iters, max_steps, tool_timeout)
        self.tools = Toolbox.of(tools)
        self.escalation = Escalation(fallback_tools, fallback_timeout, on_error)
        self.escalation.check(fallback, self.signature, self.tools)
        self.explorer = Explorer(explore, audit, seed)
        self.route = Route(_router_for(self.tools, router, threshold, encoder))
        self.explorer.check(self.router)
        # In this order: optimizers that take turns at the prompts begin with the one that every answer goes through.
        self.synthesis = synthesis_prompt(self.mode, self.signature)
        self.fill_arguments = dspy.Predict(FillArguments)
        self.fallback = fallback
        self.tool_timeout = tool_timeout
        self.shadow = bool(shadow)
        _check_shadow("shadow=True" if shadow else f"audit={audit}" if audit else "", fallback, self.signature)
        self._logbook = Logbook.of(log)

    @property
    def router(self) -> Router:
        """The router that chooses."""
        return self.route.router

    @property
    def log(self) -> Log | None:
        """Where answers are logged, if anywhere. Copies of the program share it; a pickled one has none."""
        return self._logbook.log

    def choose(self, **inputs: Any) -> Decision:
        """The router's decision on these inputs; nothing is called."""
        return self.route.consult(routed_text(self.signature, given_inputs(self.signature, inputs)))

    def calibrate(self, examples: Iterable[Any], *, label_field: str = "tool", **settings: Any) -> CalibrationReport:
        """Calibrate the router on labelled examples; `settings` and the report are those of `Router.calibrate`."""
        return self.router.calibrate(
            routed_episodes(examples, self.signature, label_field=label_field, source="examples"), **settings
        )

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Answer; called as `agent(question=…)`."""
        return calls.run(self._answer(inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Answer without blocking; called as `await agent.acall(question=…)`."""
        return await calls.arun(self._answer(inputs))

    def _answer(self, given: Mapping[str, Any]) -> Plan[dspy.Prediction]:
        inputs = given_inputs(self.signature, given)
        progress = yield from self._choose(inputs)
        with self._logbook.keeping(progress, routed_inputs(self.signature, inputs), self.router):
            outputs = yield from self._act(progress)
        shadow = {} if progress.shadow is None else {"shadow": progress.shadow}
        return dspy.Prediction(**{**outputs, "steps": progress.steps, "decision": progress.decision, **shadow})

    def _choose(self, inputs: dict[str, Any]) -> Plan[Progress]:
        text = routed_text(self.signature, inputs)
        decision: Decision = (yield Call(self.route, {"text": text})).decision
        forced = is_forced(text)
        live = not (forced or is_rehearsal())
        audited = live and self.explorer.is_audited()
        checked = audited or (self.shadow and live)
        unsure = not decision.accepted or (decision.tool is None and self.fallback != "lm")
        handed_over = self.fallback is not None and (checked or unsure)
        shadow = decision if checked else None
        if audited:
            decision = replace(decision, audited=True)
        if live and not handed_over:
            decision = self.explorer.draw(decision, self.router)
        return Progress(inputs, decision, handed_over, forced, shadow)

    def _act(self, progress: Progress) -> Plan[Mapping[str, Any]]:
        """The outputs; what was decided and done on the way is the progress's."""
        acts = progress.decision.accepted
        if progress.handed_over and self.fallback is not None:
            means = {"signature": self.signature, "tools": self.tools, "lm": self._lm()}
            answer = yield from self.escalation.hand_over(
                self.fallback, progress, **means, tool_timeout=self.tool_timeout
            )
            if answer is not None:
                return dict(answer.items())
            if self.escalation.on_error == "none":
                return dict.fromkeys(self.signature.output_fields)
            acts = not progress.steps  # what the fallback did before it failed is not done again
        if acts and (name := progress.decision.tool) is not None:
            self._require_lm()
            tool, card, timeout = self.tools.checked(name), self.tools.cards[name], self.tool_timeout
            step = yield from take_step(tool, card, progress.inputs, filler=self.fill_arguments, timeout=timeout)
            progress.steps = (step,)
        return (yield from self._synthesise(progress))

    def _synthesise(self, progress: Progress) -> Plan[Mapping[str, Any]]:
        """The outputs from the inputs and the steps; a step whose result is no answer is put down as failed."""
        steps = progress.steps
        if self.synthesis is not None:
            self._require_lm()
            return dict((yield synthesis_call(self.synthesis, self.mode, progress.inputs, steps, self.tools)).items())
        ((name, field),) = self.signature.output_fields.items()
        if not steps or steps[-1].failed:
            return {name: None}
        try:
            return {name: as_answer(steps[-1].result, field.annotation)}
        except Exception as error:
            # The tool's fault, not the caller's: what it returned is no value of the output field.
            progress.steps = (*steps[:-1], replace(steps[-1], result=None, error=describe_error(error)))
            return {name: None}

    def _lm(self) -> Any:
        """The program's own language model, else the configured one."""
        own = (self.fill_arguments, self.synthesis)
        return next((one.lm for one in own if one is not None and one.lm is not None), dspy.settings.lm)

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


def _check_shadow(setting: str, fallback: Fallback, signature: type[dspy.Signature]) -> None:
    if setting and fallback is None:
        raise ValueError(f"With {setting} the fallback acts, so there must be one; got fallback=None.")
    if setting and "shadow" in signature.output_fields:
        raise ValueError(f"With {setting} the prediction has a field 'shadow' of its own. Rename the output field.")


def _check_limits(max_iters: int | None, max_steps: int, tool_timeout: float | None) -> None:
    if max_steps != 1:
        raise ValueError(f"max_steps must be 1, as an agent calls one tool for now; got {max_steps!r}.")
    if max_iters is not None and (isinstance(max_iters, bool) or not isinstance(max_iters, int) or max_iters < 1):
        raise ValueError(f"max_iters must be a whole number of at least 1; got {max_iters!r}.")
    if tool_timeout is not None and not tool_timeout > 0:
        raise ValueError(
            f"tool_timeout must be a positive number of seconds, or None for no limit; got {tool_timeout!r}."
        )


def _router_for(
    tools: Toolbox, router: Router | ExportedRouter | None, threshold: float | None, encoder: str | Encoder
) -> Router | ExportedRouter:
    if router is None:
        return Router.from_tools(tools.values(), encoder=encoder, threshold=0.0 if threshold is None else threshold)
    if not isinstance(router, Router | ExportedRouter):
        raise TypeError(f"The router must be a dspy_router.Router; got {type(router).__name__}: {router!r:.80}.")
    if threshold is not None:
        raise ValueError("A router that is handed over has a threshold of its own: set router.threshold instead.")
    router.check_tools(list(tools))
    return router
