"""One run of a program on one example: what it earned, which tools it called, what it asked for, how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Failure = Literal["program", "metric"]


@dataclass(frozen=True)
class LMCall:
    """One call of a language model, by its own report.

    Attributes:
        model: Name of the model.
        seconds: How long the call took; 0 if it never came back.
        input_tokens: Tokens of the prompt; None if the model did not report them. For an answer from DSPy's cache those
            that were reported when it was made.
        output_tokens: The same for the answer.
        dollars: What the answer cost when it was made; None where no price is known.
        cached: Whether DSPy's cache answered, so that nothing was spent this time.
        error: What went wrong, as `ErrorType: message`; None if the model answered.
    """

    model: str
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    dollars: float | None = None
    cached: bool = False
    error: str | None = None

    @property
    def spent(self) -> bool:
        """Whether the model itself answered, now: what it reported is on the bill."""
        return not self.cached and self.error is None


@dataclass(frozen=True)
class Run:
    """One run of a program on one example.

    Attributes:
        program: Name of the program.
        fingerprint: Digest of the program: prompts, language models, tools, weights of its router.
        example: Digest of the example, and which of several equal ones it is.
        score: What the metric gave; None if the program or the metric raised.
        tools: Names of the tools it called, in order.
        tools_known: Whether that is known; a program need not tell.
        tool_right: Whether the first tool was the right one, or none was called where none fits; None where the example
            has no label, or the tools are not known.
        calls: Its calls of language models, in the order in which they began.
        seconds: Wall-clock time.
        lm_seconds: Part of it during which a language model was asked.
        tool_seconds: Part during which a tool ran, and no language model was asked.
        router_seconds: Part during which a router decided, and neither of these.
        judge_dollars: What the metric's own calls of language models cost; None where no price is known.
        failure: Who raised, if anybody did.
        error: The error, as `ErrorType: message`.
        outputs: The prediction's output fields as text, long ones cut.
    """

    program: str
    fingerprint: str
    example: str
    score: float | None
    tools: tuple[str, ...] = ()
    tools_known: bool = False
    tool_right: bool | None = None
    calls: tuple[LMCall, ...] = ()
    seconds: float = 0.0
    lm_seconds: float = 0.0
    tool_seconds: float = 0.0
    router_seconds: float = 0.0
    judge_dollars: float | None = 0.0
    failure: Failure | None = None
    error: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is remembered by."""
        return (self.program, self.fingerprint, self.example)

    @property
    def answered(self) -> tuple[LMCall, ...]:
        """The calls that were answered, by the cache or by the model."""
        return tuple(call for call in self.calls if call.error is None)

    @property
    def dollars(self) -> float | None:
        """What the program's calls cost this time, nothing for those of the cache; None if a price is unknown."""
        return total(call.dollars for call in self.calls if call.spent)

    @property
    def price(self) -> float | None:
        """What they would have cost without the cache; None if a price is unknown."""
        return total(call.dollars for call in self.answered)

    @property
    def tokens(self) -> int | None:
        """Tokens of prompts and answers, those of the cache among them; None if a model did not report them."""
        return total(tokens for call in self.answered for tokens in (call.input_tokens, call.output_tokens))

    @property
    def bill(self) -> float | None:
        """What the run took out of a budget: the program's dollars and its judge's; None if a price is unknown."""
        return total([self.dollars, self.judge_dollars])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that pydantic reads back as a `Run`."""
        return asdict(self)


def total(amounts: Any) -> Any:
    """The sum; None as soon as one of the amounts is not known."""
    known = list(amounts)
    return None if any(one is None for one in known) else sum(known)
