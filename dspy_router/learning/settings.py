"""How to train, and what training did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

RewardObjective = Literal[
    "soft_expected_reward",
    "expected_reward",
    "policy_gradient",
    "gumbel_softmax",
    "ips",
    "snips",
    "doubly_robust",
]


@dataclass(frozen=True)
class RewardConfig:
    """What to make of rewards, where examples have them; the formulas are in `learning/losses.py`.

    Attributes:
        objective: `"soft_expected_reward"` for any pattern of tried tools, `"expected_reward"` exactly, for whole rows;
            `"policy_gradient"` by draws; `"gumbel_softmax"` through differentiable tools; `"ips"`, `"snips"` and
            `"doubly_robust"` from logs with propensities. None takes what fits the examples.
        weight: Of the rewards' loss beside that of the labels.
        temperature: Of the soft expected reward, as a share of the rewards' range; lower trusts each reward more.
        level: The reward that speaks neither for a tool nor against it in the soft expected reward, as a share of the
            rewards' range, in (0, 1).
        smoothing: Label smoothing of the soft expected reward, in [0, 1), for rewards that may be wrong.
        robustness: How far the soft expected reward is bounded, in [0, 1], for the same: q of `soft_expected_reward`.
        bounds: The least and the largest reward there can be; None takes those of the examples.
        samples: Draws an example and step of the policy gradient.
        entropy: Weight of the entropy bonus of the policy gradient.
        kl: Weight of its divergence from the policy before training.
        clip: Largest importance weight of what is learned from logs.
        gumbel_temperature: Of the Gumbel-softmax.
    """

    objective: RewardObjective | None = None
    weight: float = 1.0
    temperature: float = 0.1
    level: float = 0.5
    smoothing: float = 0.0
    robustness: float = 0.0
    bounds: tuple[float, float] | None = None
    samples: int = 4
    entropy: float = 0.0
    kl: float = 0.0
    clip: float = 20.0
    gumbel_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.objective is not None and self.objective not in get_args(RewardObjective):
            expected = ", ".join(map(repr, get_args(RewardObjective)))
            raise ValueError(f"The reward objective must be one of {expected} or None, got {self.objective!r}.")
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 2:
            raise ValueError(f"samples must be a whole number of at least 2, got {self.samples!r}.")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie in (0, 1), got {self.level!r}.")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {self.smoothing!r}.")
        if not 0 <= self.robustness <= 1:
            raise ValueError(f"robustness must lie in [0, 1], got {self.robustness!r}.")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds must be a least and a larger reward, got {self.bounds!r}.")
        for name in ("temperature", "clip", "gumbel_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in ("weight", "entropy", "kl"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)!r}.")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        objective: What to make of labels: `"cross_entropy"`, or `"contrastive"` with hard negatives.
        reward: What to make of rewards.
        epochs: Most passes over the examples; of few examples an epoch makes up to ten.
        batch_size: Examples a step; None takes a fortieth of them, but at least 16 and at most 256 (64 when the encoder
            trains).
        learning_rate: Of the policy, at its peak; it rises over the first tenth of the steps and falls as a cosine.
        encoder_learning_rate: Of an encoder that trains; None takes 1e-4 for a pretrained one, 2e-3 from scratch.
        prior: Strength λ of a Gaussian prior around the zero-shot policy: `λ / 2n · Σ θ²` over n examples, so that it
            matters where examples are few.
        deep_from: Examples a label, on average, from which the policy gets its hidden layer; with fewer it overfits.
        members: How many hidden layers learn side by side, where the policy has none yet; decisions take their mean.
            None leaves it the number it was made with, one by default. With three, training takes over twice as long.
        neighbours: How many of the nearest training queries each later decision asks as well; 0 asks none. Better
            where users repeat each other's words, but slower and larger; see `NeighbourPolicy`.
        smoothing: Label smoothing of the cross-entropy, in [0, 1).
        balance: 0 leaves frequent tools their weight, 1 makes all tools count alike.
        hard_negatives: Wrong tools that the contrastive objective holds a query against.
        train_encoder: Whether the encoder trains too. A frozen sentence encoder is copied first, not changed.
        head_first: Whether a pretrained encoder that trains waits until the policy has learned on its frozen vectors: a
            policy that knows nothing yet would pull it out of shape (Kumar et al. 2022, "Fine-tuning can distort
            pretrained features"). The policy then goes on at a quarter of its learning rate.
        mixed_precision: Whether an encoder that trains computes in bfloat16: twice as fast or more where the processor
            has it, on CPUs too.
        patience: Epochs without a better validation accuracy before training stops.
        seed: Same seed, same weights.
        device: Where to train: `"cpu"`, `"cuda"`, `"mps"`; None stays where the router is.
        threads: CPU threads; None takes one for a frozen encoder's small tensors and leaves torch's setting otherwise.
        checkpoint: Folder for checkpoints; a run that was killed goes on from there and ends as if it had not been.
        remember: Training queries a tool that the router keeps to explain its decisions by; 0 keeps none.
        progress: Whether work of more than two seconds shows a progress bar.
    """

    objective: Literal["cross_entropy", "contrastive"] = "cross_entropy"
    reward: RewardConfig = RewardConfig()
    epochs: int = 10
    batch_size: int | None = None
    learning_rate: float = 2e-3
    encoder_learning_rate: float | None = None
    prior: float = 1.0
    deep_from: int = 30
    members: int | None = None
    neighbours: int = 0
    smoothing: float = 0.1
    balance: float = 0.0
    hard_negatives: int = 16
    train_encoder: bool = False
    head_first: bool = True
    mixed_precision: bool = False
    patience: int = 5
    seed: int = 0
    device: str | None = None
    threads: int | None = None
    checkpoint: str | None = None
    remember: int = 20
    progress: bool = True

    def __post_init__(self) -> None:
        if self.objective not in ("cross_entropy", "contrastive"):
            raise ValueError(f"The objective must be 'cross_entropy' or 'contrastive', got {self.objective!r}.")
        for name in ("epochs", "batch_size", "patience", "hard_negatives", "members", "threads"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name, low, high in (
            ("learning_rate", 0, 10),
            ("smoothing", 0, 0.999),
            ("balance", 0, 1),
            ("prior", 0, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}], got {getattr(self, name)!r}.")
        for name in ("neighbours", "remember", "deep_from"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)!r}.")


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the examples: mean loss, seconds and, with a validation set, accuracy and log-loss there."""

    epoch: int
    loss: float
    seconds: float
    val_accuracy: float | None = None
    val_loss: float | None = None


@dataclass
class TrainReport:
    """What training did.

    Attributes:
        examples: Number of training examples.
        epochs: One record a pass, in order.
        best_epoch: The pass whose weights were kept, from 1.
        accuracy_before: Share of right choices on the validation set before training, or their mean reward in rows
            without a label; None without a set.
        accuracy_after: The same with the kept weights.
        seconds: Wall-clock time of the whole.
        resumed_from: Passes that a checkpoint brought along.
    """

    examples: int
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    seconds: float = 0.0
    resumed_from: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)
