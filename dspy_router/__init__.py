"""A trainable local tool router for DSPy programs; names are resolved on demand, so importing this is cheap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy_router.data.log import DecisionLog
    from dspy_router.evaluation.drift import Monitor
    from dspy_router.evaluation.metrics import Evaluation, evaluate
    from dspy_router.learning.loop import LoopConfig, learn
    from dspy_router.learning.settings import RewardConfig, TrainConfig, TrainReport
    from dspy_router.learning.trainer import fit
    from dspy_router.learning.trials import ExploreConfig
    from dspy_router.program.agent import RoutedAgent
    from dspy_router.program.joint_optimizer import JointOptimizer
    from dspy_router.program.router_optimizer import RouterOptimizer
    from dspy_router.program.tuning.rollouts import Rollouts
    from dspy_router.records import Decision, Episode, Step, ToolCard
    from dspy_router.routing.calibration import StaleCalibration
    from dspy_router.routing.encoders import HashEncoder
    from dspy_router.routing.router import Router
    from dspy_router.routing.trust.report import CalibrationReport

__all__ = [
    "CalibrationReport",
    "Decision",
    "DecisionLog",
    "Episode",
    "Evaluation",
    "ExploreConfig",
    "HashEncoder",
    "JointOptimizer",
    "LoopConfig",
    "Monitor",
    "RewardConfig",
    "Rollouts",
    "RoutedAgent",
    "Router",
    "RouterOptimizer",
    "StaleCalibration",
    "Step",
    "ToolCard",
    "TrainConfig",
    "TrainReport",
    "evaluate",
    "fit",
    "learn",
]

# torch and dspy take seconds to import; whoever needs only a record or a metric shall not pay for them.
_HOMES = {
    "CalibrationReport": "dspy_router.routing.trust.report",
    "Decision": "dspy_router.records",
    "DecisionLog": "dspy_router.data.log",
    "Episode": "dspy_router.records",
    "Evaluation": "dspy_router.evaluation.metrics",
    "ExploreConfig": "dspy_router.learning.trials",
    "HashEncoder": "dspy_router.routing.encoders",
    "JointOptimizer": "dspy_router.program.joint_optimizer",
    "LoopConfig": "dspy_router.learning.loop",
    "Monitor": "dspy_router.evaluation.drift",
    "RewardConfig": "dspy_router.learning.settings",
    "Rollouts": "dspy_router.program.tuning.rollouts",
    "RoutedAgent": "dspy_router.program.agent",
    "Router": "dspy_router.routing.router",
    "RouterOptimizer": "dspy_router.program.router_optimizer",
    "StaleCalibration": "dspy_router.routing.calibration",
    "Step": "dspy_router.records",
    "ToolCard": "dspy_router.records",
    "TrainConfig": "dspy_router.learning.settings",
    "TrainReport": "dspy_router.learning.settings",
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
