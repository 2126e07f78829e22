"""Exporting a router: graphs, check against the original, calibration, and the folder, whole or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dspy_router.routing.exporting.checks import Differences, compare, read_probe
from dspy_router.routing.exporting.encoders import ExportRefused
from dspy_router.routing.exporting.parts import Separable, export_parts
from dspy_router.routing.exporting.students import Quick, StudentReport, check_student, put_in_front
from dspy_router.routing.trust.calibrating import Request, calibrate
from dspy_router.routing.trust.report import CalibrationReport
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.certificate import Identity
from dspy_router.runtime.exported import FORMAT_VERSION, ExportedRouter
from dspy_router.runtime.folder import EXPORTED, check_place, signed, write_folder

logger = logging.getLogger(__name__)

Precision = Literal["int8"]
_LARGEST_ROUNDING = 1e-4  # of a probability, in float32


class Exportable(Separable, Protocol):
    """What an export asks of a router."""

    seen: SeenTexts

    @property
    def threshold(self) -> float: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def calibration(self) -> Calibration | None: ...

    @property
    def stale(self) -> str | None: ...

    def identity(self) -> Identity: ...


@dataclass(frozen=True)
class ExportReport:
    """What an export made, and what it changed.

    Attributes:
        folder: Where it is.
        precision: `"fp32"` or `"int8"`.
        seconds: How long it took, check and calibration included.
        bytes: Size of the folder.
        texts: How many texts both routers decided on.
        source: Where those are from.
        agreement: Share of them with the same choice.
        largest_difference: Largest difference of any probability.
        accuracy: Share of right choices of the router and of the exported one; None without labels.
        calibration: What calibrating the exported router found; None where that was not asked for.
        student: What the student in front of it decides; None without one.
    """

    folder: str
    precision: str
    seconds: float
    bytes: int
    texts: int
    source: str
    agreement: float
    largest_difference: float
    accuracy: tuple[float, float] | None
    calibration: CalibrationReport | None = None
    student: StudentReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        found = None if self.calibration is None else self.calibration.to_dict()
        return {**asdict(self), "calibration": found}


@dataclass
class _Sight:
    """An exported router as calibrating asks for one."""

    exported: ExportedRouter
    seen: SeenTexts

    @property
    def tools(self) -> tuple[str, ...]:
        return self.exported.tools

    def logits(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.exported.logits(texts))


def export_router(
    router: Exportable,
    folder: Path,
    *,
    quantize: Precision | None,
    tolerance: float,
    examples: Iterable[Any] | None,
    above: Literal["refuse", "warn"],
    calibrate_on: Iterable[Any] | None,
    calibration: Mapping[str, Any] | None,
    student: Quick | None,
    agreement: float,
) -> ExportReport:
    """Export a router to a folder; see `Router.export`."""
    started = time.perf_counter()
    _check_settings(quantize, tolerance, above)
    check_place(folder, EXPORTED)
    precision = "fp32" if quantize is None else quantize
    request = _read_request(router, precision, calibrate_on, calibration, fronted=student is not None)
    probe = read_probe(router, examples)
    if student is not None:
        check_student(student, router.tools, None if examples is None else probe.texts, agreement)
    parts = export_parts(router, int8=precision == "int8")
    contents = parts.files
    kept = router.calibration
    index: dict[str, Any] = {
        "format": 1 if student is None else FORMAT_VERSION,  # earlier releases know of no student
        "precision": precision,
        "source": router.fingerprint,
        "cards": [card.to_dict() for card in router.cards],
        "threshold": router.threshold,
        **parts.entry,
        "calibration": None if kept is None or request is not None else kept.to_dict(),
    }
    files = {EXPORTED: signed(index, contents), **contents}
    exported = ExportedRouter.from_files(files, source="the export")
    differences = compare(router, exported, probe)
    _judge(differences, precision, tolerance, above)
    front = found = None
    seen = router.seen
    if student is not None:
        front, seen = put_in_front(student, exported, probe.texts, agreement), seen | student.seen
        index["student"], contents = front.entry, {**contents, **front.files}
        files = {EXPORTED: signed(index, contents), **contents}
        exported = ExportedRouter.from_files(files, source="the export")
        differences = compare(router, exported, probe)
    if request is not None and calibrate_on is not None:
        # It belongs to the exported files: another export of the same router may have other weights.
        identity = router.identity()._replace(encoder=f"{precision} {exported.fingerprint}")
        fitted, found = calibrate(_Sight(exported, seen), identity, calibrate_on, request)
        index["calibration"] = fitted.to_dict()
        files = {EXPORTED: signed(index, contents), **contents}
    write_folder(files, folder)
    size = sum(map(len, files.values()))
    compared = (differences.texts, differences.source, differences.agreement, differences.largest, differences.accuracy)
    taken, fronted = time.perf_counter() - started, None if front is None else front.report
    return ExportReport(str(folder), precision, taken, size, *compared, calibration=found, student=fronted)


def _check_settings(quantize: Any, tolerance: Any, above: Any) -> None:
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize must be 'int8', or None for float32; got {quantize!r}.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0.0 <= tolerance <= 1.0:
        raise ValueError(f"tolerance must be a share of the decisions, from 0 to 1; got {tolerance!r}.")
    if above not in ("refuse", "warn"):
        raise ValueError(f"above must be 'refuse' or 'warn'; got {above!r}.")


def _read_request(
    router: Exportable,
    precision: str,
    calibrate_on: Iterable[Any] | None,
    settings: Mapping[str, Any] | None,
    *,
    fronted: bool,
) -> Request | None:
    """What calibrating the exported router is asked for; None where the router's own calibration goes along.

    A map from scores to probabilities stays as good as it was where scores move a little. What was certified was
    certified for the very scores of the router, and int8 has others. A student's scores are others altogether.
    """
    if (message := router.stale) is not None:
        raise ExportRefused(f"What is stale cannot be exported. {message}")
    own = router.calibration
    if calibrate_on is None:
        if settings:
            raise ValueError("`calibration` says how to calibrate on `calibrate_on`, which is missing.")
        if own is not None and fronted:
            raise ExportRefused(
                "The router's calibration is for its own scores, and a student in front of it has others. Calibrate "
                "what is exported: router.export(…, calibrate_on=examples) with labelled examples that neither was "
                "trained on; or drop the calibration with router.calibration = None."
            )
        if own is not None and own.binding and precision != "fp32":
            raise ExportRefused(
                "What the router may accept was certified for its own scores, and the int8 weights give slightly "
                "different ones, for which nothing is certified. Calibrate what is exported: "
                "router.export(…, calibrate_on=examples) with labelled examples it was not trained on; or export it "
                "with quantize=None, which keeps the scores."
            )
        return None
    return Request.read(**{**_DEFAULTS, **_as_asked(own, settings)})


_DEFAULTS: Mapping[str, Any] = {
    "max_risk": None,
    "confidence": 0.95,
    "per_tool": None,
    "costs": None,
    "seen": "refuse",
    "seed": 0,
}


def _as_asked(own: Calibration | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The given settings; without any, the bounds that the router's own calibration was asked for."""
    if settings is not None:
        if unknown := sorted(set(settings) - set(_DEFAULTS)):
            raise ValueError(
                f"`calibration` takes the settings of Router.calibrate, {', '.join(_DEFAULTS)}; got {unknown[0]!r}."
            )
        return dict(settings)
    if own is None:
        return {}
    if own.cost_bar is not None:
        raise ValueError(
            "The router accepts what costs least, and the costs are not kept with it: name them again, "
            "calibration={'costs': (…)}."
        )
    if not own.certificates:
        return {}
    share = 1.0 - own.certificates[0].confidence
    return {
        "max_risk": next((one.max_risk for one in own.certificates if one.tool is None), None),
        "per_tool": {one.tool: one.max_risk for one in own.certificates if one.tool is not None},
        "confidence": 1.0 - share * len(own.certificates),
    }


def _judge(found: Differences, precision: str, tolerance: float, above: str) -> None:
    """Refuse, or warn of, what lost more than it may.

    Raises:
        ExportRefused: If it did, or if float32 gives other probabilities than rounding explains.
    """
    if precision == "fp32" and found.largest > _LARGEST_ROUNDING:
        raise ExportRefused(
            f"The exported router's probabilities differ from the router's by up to {found.largest:.1e} on "
            f"{found.texts} texts ({found.source}), more than the {_LARGEST_ROUNDING:g} that rounding explains: its "
            "encoder or policy does something that the export misses, or a text is longer than its window."
        )
    if found.lost <= tolerance:
        return
    what = (
        f"{100 * found.lost:.2f} % of the decisions came out another"
        if found.accuracy is None
        else f"the share of right choices fell from {100 * found.accuracy[0]:.2f} % to {100 * found.accuracy[1]:.2f} %"
    )
    message = (
        f"With {precision} weights {what} on {found.texts} texts ({found.source}); at most {100 * tolerance:g} points "
        "were tolerated."
    )
    if above == "refuse":
        raise ExportRefused(
            f"{message} Export with quantize=None, allow more with tolerance=, or take it as it is with above='warn'."
        )
    logger.warning("%s", message)
