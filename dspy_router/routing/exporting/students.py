"""A student in front of what is exported: what it may decide, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from dspy_router.routing.exporting.encoders import ExportRefused
from dspy_router.routing.exporting.parts import Separable, export_parts
from dspy_router.routing.trust.guarantee import certify
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.runtime.decisions import check_queries, choose_all
from dspy_router.runtime.exported import ExportedRouter
from dspy_router.runtime.maps import softmax
from dspy_router.runtime.student import FOLDER, log_odds, read_student

_CONFIDENCE = 0.95


class Quick(Separable, Protocol):
    """What is asked of a student: any router will do."""

    seen: SeenTexts


@dataclass(frozen=True)
class StudentReport:
    """What a student may decide in front of the router it was exported with.

    Attributes:
        texts: On how many texts both were compared.
        seen: How many more were left out, since the student was trained on them.
        decides: Share of them that the student is sure of and decides itself.
        agreement: Share of those for which the router would have chosen the same.
        least: Share that was asked for: that of all texts to come it holds with this confidence.
        confidence: How sure that is.
    """

    texts: int
    seen: int
    decides: float
    agreement: float
    least: float
    confidence: float


class Front(NamedTuple):
    """A student as the exported router has it: what its index says of it, its files, and what was found."""

    entry: dict[str, Any]
    files: dict[str, bytes]
    report: StudentReport


def check_student(student: Quick, tools: Sequence[str], texts: Sequence[str] | None, agreement: float) -> None:
    """Refuse a student that cannot stand in front of a router over these tools.

    Args:
        student: The student.
        tools: The router's.
        texts: What both are to be compared on; None where the user gave none.
        agreement: Share of the student's decisions that are to be the router's.

    Raises:
        TypeError: If it is no router.
        ValueError: If it has other tools, there are no texts that it was not trained on, or the share is none.
    """
    if not hasattr(student, "policy") or not hasattr(student, "encoder"):
        raise TypeError(f"The student must be a Router, as distill(router, texts) gives; got {type(student).__name__}.")
    if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0.0 < agreement < 1.0:
        raise ValueError(f"agreement must be a share, above 0 and below 1, such as 0.98; got {agreement!r}.")
    missing, unknown = sorted(set(tools) - set(student.tools)), sorted(set(student.tools) - set(tools))
    if missing or unknown:
        raise ValueError(
            f"The student is for other tools than the router: it lacks {missing or 'none'} and knows besides "
            f"{unknown or 'none'}. Distill the router anew, or use add_tools and remove_tools."
        )
    if tuple(student.tools) != tuple(tools):
        raise ValueError(
            "The student has the router's tools in another order: add and remove tools of both in the same order, or "
            "distill the router anew."
        )
    if texts is None:
        raise ValueError(
            "What the student may decide is found by comparing it with the router on texts that neither was trained "
            "on: give examples=… (--texts on the command line); they need no labels."
        )
    check_queries(texts)
    if len(student.seen.among(texts)) == len(texts):
        raise ValueError(
            f"The student was trained on all of the {len(texts)} examples, and is surer of them than of others. Give "
            "texts that are new to it."
        )


def put_in_front(student: Quick, router: ExportedRouter, texts: Sequence[str], agreement: float) -> Front:
    """Find the lowest bar above which a student decides as the router does, and pack both.

    With a confidence of 95 % over the draw of the texts, the router would choose the same tool for at least `agreement`
    of those that the student keeps; the theorem is that of `guarantee.certify`, with "wrong" for "not as the router".

    Args:
        student: One that `check_student` let pass.
        router: What stands behind it, as exported.
        texts: Texts that are new to both; those that the student was trained on are left out.
        agreement: Share of the student's decisions that are to be the router's.

    Raises:
        ExportRefused: If no bar can be certified, or the student is of a kind that cannot be exported.
    """
    parts = export_parts(student, int8=router.precision == "int8")
    entry = {**parts.entry, "bar": str(-np.inf)}
    files = {FOLDER + name: data for name, data in parts.files.items()}
    quick = read_student(entry, files, tools=router.tools)
    assert quick is not None
    seen = set(student.seen.among(texts))
    texts = [text for row, text in enumerate(texts) if row not in seen]
    logits, _ = quick(texts, np.zeros((1, len(router.tools) + 1), dtype=np.float32))
    own, wanted = (
        choose_all(softmax(rows.astype(np.float64)), router.tools) for rows in (logits, router.logits(texts))
    )
    other = np.array(own) != np.array(wanted)
    found = certify(log_odds(logits), other, max_risk=1.0 - agreement, confidence=_CONFIDENCE)
    if not found.kept:
        more = found.more_examples
        asked = (
            "Ask for less agreement=." if more is None else f"Give some {more} texts more, or ask for less agreement=."
        )
        raise ExportRefused(
            f"On {len(texts)} texts the student decides {100 * (1 - other.mean()):.1f} % as the router does. That it "
            f"would do so for {100 * agreement:g} % cannot be said of any part of them with {100 * _CONFIDENCE:g} % "
            f"confidence. {asked}"
        )
    entry["bar"] = str(found.bar)
    kept = found.kept / len(texts)
    report = StudentReport(len(texts), len(seen), kept, 1.0 - found.wrong / found.kept, agreement, _CONFIDENCE)
    return Front(entry, files, report)
