"""A trainable local tool router for DSPy programs; names are resolved on demand, so importing this is cheap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy_router.data.log import DecisionLog
    from dspy_router.evaluation.comparison import Comparison
    from dspy_router.evaluation.drift import Monitor
    from dspy_router.evaluation.metrics import Evaluation, evaluate
    from dspy_router.learning.distill_settings import DistillConfig, DistillReport
    from dspy_router.learning.distillation import distill
    from dspy_router.learning.loop import LoopConfig, learn
    from dspy_router.learning.settings import RewardConfig, TrainConfig, TrainReport
    from dspy_router.learning.trainer import fit
    from dspy_router.learning.trials import ExploreConfig
    from dspy_router.program.agent import RoutedAgent
    from dspy_router.program.compare import compare
    from dspy_router.program.comparing.programs import NativeToolLoop, ToolChoiceChain
    from dspy_router.program.joint_optimizer import JointOptimizer
    from dspy_router.program.router_optimizer import RouterOptimizer
    from dspy_router.program.tuning.rollouts import Rollouts
    from dspy_router.records import Decision, Episode, Step, ToolCard
    from dspy_router.routing.encoders import HashEncoder
    from dspy_router.routing.exporting.encoders import ExportRefused
    from dspy_router.routing.exporting.export import ExportReport
    from dspy_router.routing.many.check import IndexReport
    from dspy_router.routing.many.settings import IndexConfig
    from dspy_router.routing.router import Router
    from dspy_router.routing.static import StaticEncoder
    from dspy_router.routing.trust.report import CalibrationReport
    from dspy_router.runtime.batcher import MicroBatcher
    from dspy_router.runtime.cache import DecisionCache
    from dspy_router.runtime.calibration import StaleCalibration
    from dspy_router.runtime.exported import ExportedRouter

__all__ = [
    "CalibrationReport",
    "Comparison",
    "Decision",
    "DecisionCache",
    "DecisionLog",
    "DistillConfig",
    "DistillReport",
    "Episode",
    "Evaluation",
    "ExploreConfig",
    "ExportRefused",
    "ExportReport",
    "ExportedRouter",
    "HashEncoder",
    "IndexConfig",
    "IndexReport",
    "JointOptimizer",
    "LoopConfig",
    "MicroBatcher",
    "Monitor",
    "NativeToolLoop",
    "RewardConfig",
    "Rollouts",
    "RoutedAgent",
    "Router",
    "RouterOptimizer",
    "StaleCalibration",
    "StaticEncoder",
    "Step",
    "ToolCard",
    "ToolChoiceChain",
    "TrainConfig",
    "TrainReport",
    "compare",
    "distill",
    "evaluate",
    "fit",
    "learn",
]

# torch and dspy take seconds to import; whoever needs only a record or a metric shall not pay for them.
_HOMES = {
    "CalibrationReport": "dspy_router.routing.trust.report",
    "Comparison": "dspy_router.evaluation.comparison",
    "Decision": "dspy_router.records",
    "DecisionCache": "dspy_router.runtime.cache",
    "DecisionLog": "dspy_router.data.log",
    "DistillConfig": "dspy_router.learning.distill_settings",
    "DistillReport": "dspy_router.learning.distill_settings",
    "Episode": "dspy_router.records",
    "Evaluation": "dspy_router.evaluation.metrics",
    "ExploreConfig": "dspy_router.learning.trials",
    "ExportRefused": "dspy_router.routing.exporting.encoders",
    "ExportReport": "dspy_router.routing.exporting.export",
    "ExportedRouter": "dspy_router.runtime.exported",
    "HashEncoder": "dspy_router.routing.encoders",
    "IndexConfig": "dspy_router.routing.many.settings",
    "IndexReport": "dspy_router.routing.many.check",
    "JointOptimizer": "dspy_router.program.joint_optimizer",
    "LoopConfig": "dspy_router.learning.loop",
    "MicroBatcher": "dspy_router.runtime.batcher",
    "Monitor": "dspy_router.evaluation.drift",
    "NativeToolLoop": "dspy_router.program.comparing.programs",
    "RewardConfig": "dspy_router.learning.settings",
    "Rollouts": "dspy_router.program.tuning.rollouts",
    "RoutedAgent": "dspy_router.program.agent",
    "Router": "dspy_router.routing.router",
    "RouterOptimizer": "dspy_router.program.router_optimizer",
    "StaleCalibration": "dspy_router.runtime.calibration",
    "StaticEncoder": "dspy_router.routing.static",
    "Step": "dspy_router.records",
    "ToolCard": "dspy_router.records",
    "ToolChoiceChain": "dspy_router.program.comparing.programs",
    "TrainConfig": "dspy_router.learning.settings",
    "TrainReport": "dspy_router.learning.settings",
    "compare": "dspy_router.program.compare",
    "distill": "dspy_router.learning.distillation",
    "evaluate": "dspy_router.evaluation.metrics",
    "fit": "dspy_router.learning.trainer",
    "learn": "dspy_router.learning.loop",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("dspy-router")
    if name not in _HOMES:
        raise AttributeError(f"module 'dspy_router' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
