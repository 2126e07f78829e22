"""A router as a DSPy module whose weights every save, copy and optimizer of DSPy carries along."""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import dspy
from dspy.predict.parameter import Parameter

from dspy_router.records import Decision, read_inputs
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter, check_trainable
from dspy_router.runtime.folder import EXPORTED
from dspy_router.runtime.names import check_names

STATE_VERSION = 1
# DSPy's executors, optimizers and async tasks carry every setting of a `dspy.context` along, unknown ones too.
_FORCED = "dspy_router_forced"


class Route(dspy.Module, Parameter):
    """Asks a `Router` which tool to call.

    DSPy saves the state of what is a `Parameter`, and of nothing else: weights on a bare module would be lost in
    `program.save("program.json")`. As it is no `dspy.Predict`, optimizers of prompts do not touch it.

    With an `ExportedRouter` it decides alike, and saves and copies carry that along; only training is refused.

    Attributes:
        router: The router that decides.
        lm: Unused; DSPy's `set_lm` and `get_lm` expect it on every parameter that is a module.
    """

    def __init__(self, router: Router | ExportedRouter) -> None:
        """Wrap a router; it is shared with the caller, not copied.

        Raises:
            TypeError: If `router` is neither a `Router` nor an `ExportedRouter`.
        """
        super().__init__()
        if not isinstance(router, Router | ExportedRouter):
            raise TypeError(f"A Route wraps a dspy_router.Router; got {type(router).__name__}: {router!r:.80}.")
        # An exported one has all that deciding asks for; whoever trains comes by `find_route`, which refuses it.
        self.router = cast(Router, router)
        self.lm: dspy.BaseLM | None = None

    def consult(self, inputs: str | Mapping[str, Any], allowed: Collection[str] | None = None) -> Decision:
        """Which tool to call for these inputs; costs no call of a language model.

        Args:
            inputs: A text, or input fields, which are read as one text.
            allowed: Names of the tools to choose from; all of them by default.

        Raises:
            ValueError: If the text is empty, or a name in `allowed` is no tool of the router.
        """
        text = inputs if isinstance(inputs, str) else read_inputs(inputs)
        return self(text=text, allowed=allowed).decision

    def forward(self, text: str, allowed: Collection[str] | None = None) -> dspy.Prediction:
        """The router's decision on a text, as the field `decision`; the forced one within `forced`."""
        return self._decide(text, allowed)

    async def aforward(self, text: str, allowed: Collection[str] | None = None) -> dspy.Prediction:
        """The same as `forward`: a decision takes milliseconds, too short to be worth a thread."""
        return self._decide(text, allowed)

    def _decide(self, text: str, allowed: Collection[str] | None) -> dspy.Prediction:
        router = self.router
        if is_forced(text) and router.stale:
            router = router.uncalibrated()  # what is forced needs no guarantee
        return dspy.Prediction(decision=_obey(router.decide(text, allowed=allowed), text, router.tools, allowed))

    def reset(self) -> None:
        """Leave the weights alone: DSPy resets a student's parameters before it optimizes its prompts."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The router's files as text, so that they fit into a JSON file."""
        files = {name: base64.b64encode(data).decode("ascii") for name, data in self.router.to_files().items()}
        return {
            "version": STATE_VERSION,
            "tools": list(self.router.tools),
            "encoder": None if isinstance(self.router, ExportedRouter) else self.router.encoder.fingerprint,
            "files": files,
        }

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        """Take over a saved router; nothing changes where that fails.

        Raises:
            ValueError: If the state is damaged, of a newer version, or of a router for other tools than this one's.
        """
        files = _read_state(state)
        self.router.check_tools(state.get("tools", ()))
        if EXPORTED in files:
            router = cast(Router, ExportedRouter.from_files(files, source="the saved program"))
        else:
            router = Router.from_files(files, source="the saved program", **self._own_parts(state.get("encoder")))
        router.check_tools(self.router.tools)
        router.cache = self.router.cache
        self.router = router

    def _own_parts(self, encoder_fingerprint: str | None) -> dict[str, Any]:
        """What a loaded router can or must take from this one: device, frozen encoder, a policy of the user's own."""
        if isinstance(self.router, ExportedRouter):
            return {}
        encoder, policy = self.router.encoder, self.router.policy
        parts: dict[str, Any] = {"device": str(self.router.device)}
        if encoder.fingerprint == encoder_fingerprint and not getattr(encoder, "trainable", False):
            parts["encoder"] = encoder
        if not type(policy).__module__.startswith("dspy_router."):
            parts["policy"] = copy.deepcopy(policy)
        return parts


@contextmanager
def forced(tools: Mapping[str, str | None] | str | None) -> Iterator[None]:
    """Within this, every `Route` answers with the forced tool instead of its own choice, however unsure it is.

    It holds wherever DSPy's settings do: in the threads of `dspy.Parallel`, `dspy.Evaluate` and the optimizers, in
    async tasks, and in the threads of tools with a time limit. Probabilities and source remain the router's; the
    propensity is 1, as nothing was drawn. The innermost `forced` is the one that counts.

    Args:
        tools: A tool's name, or None for "no tool fits", for whatever is asked; or a mapping from the text that a route
            is asked about to either. A text that the mapping lacks is decided by the router as ever.

    Raises:
        TypeError: If a tool is neither a name nor None.
        ValueError: On the way, from a route whose router has no such tool, or which may not choose it.
    """
    by_text = dict(tools) if isinstance(tools, Mapping) else None
    for tool in [tools] if by_text is None else by_text.values():
        if tool is not None and not isinstance(tool, str):
            raise TypeError(f"A forced tool must be a tool's name, or None for no tool at all; got {tool!r:.80}.")
    with dspy.context(**{_FORCED: (tools,) if by_text is None else by_text}):
        yield


def is_forced(text: str) -> bool:
    """Whether the choice for this text is forced here."""
    return _order(text) is not None


def _order(text: str) -> tuple[str | None] | None:
    """The forced tool for a text; None if none is forced, not even that no tool fits."""
    order = dspy.settings.get(_FORCED)
    if isinstance(order, dict):
        return (order[text],) if text in order else None
    return order


def _obey(decision: Decision, text: str, tools: Sequence[str], allowed: Collection[str] | None) -> Decision:
    """The decision, or the forced one in its place."""
    if (order := _order(text)) is None:
        return decision
    (tool,) = order
    if tool is not None:
        check_names([tool], tools)
        unlisted = decision.tail_probability > 0 and (allowed is None or tool in allowed)
        if tool not in decision.probabilities and not unlisted:
            listing = ", ".join(decision.probabilities) or "none"
            raise ValueError(f"The tool '{tool}' is forced, but only these may be chosen here: {listing}.")
    return replace(decision, tool=tool, accepted=True, propensity=1.0)


def find_route(program: dspy.Module) -> Route:
    """The one router of a program that may be trained.

    Raises:
        TypeError: If it is an exported one.
        ValueError: If there is none, or more than one.
    """
    routes = [(name, one) for name, one in program.named_parameters() if isinstance(one, Route)]
    if len(routes) == 1:
        check_trainable(routes[0][1].router)
        return routes[0][1]
    if routes:
        names = ", ".join(name for name, _ in routes)
        raise ValueError(
            f"The student has {len(routes)} routers ({names}), and the examples' label could be meant for any of them. "
            "Compile each RoutedAgent on its own."
        )
    frozen = any(True for _ in program.named_sub_modules(Route))
    reason = "is inside a sub-module that was compiled already, which DSPy keeps frozen" if frozen else "is missing"
    raise ValueError(
        f"The student has no router to train: it {reason}. Expected a RoutedAgent, or a program with one "
        "RoutedAgent in an attribute."
    )


def _read_state(state: Mapping[str, Any]) -> dict[str, bytes]:
    try:
        version, files = state["version"], state["files"]
    except (KeyError, TypeError) as error:
        raise ValueError("The saved program holds no router where this program has one.") from error
    if version != STATE_VERSION:
        raise ValueError(
            f"The saved program holds a router in format {version!r}; this version of dspy-router reads format "
            f"{STATE_VERSION}. Install a newer dspy-router, or save the program again with this one."
        )
    decoded = {}
    for name, text in files.items():
        try:
            decoded[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError(f"The saved program is damaged: '{name}' of its router cannot be decoded.") from error
    return decoded
