"""TrainConfig: everything that decides one training run, apart from its data.

Names are those of the guide's flags. A config is frozen, validated, and JSON both ways
(`model_dump_json`, `TrainConfig.from_json`); checkpoints and Optuna trials store it as it is.
"""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trainer.errors import ConfigError
from trainer.scores.thresholds import parse_threshold_metric

ClassWeightMethod = Literal["none", "balanced", "inverse", "aggressive", "very_aggressive"]


WeightMethod = Literal["none", "balanced", "inverse", "inverse_sqrt", "aggressive", "per_class"]


CLASS_WEIGHT_METHODS: tuple[ClassWeightMethod, ...] = get_args(ClassWeightMethod)
WEIGHT_METHODS: tuple[WeightMethod, ...] = get_args(WeightMethod)


LossType = Literal["bce", "weighted_bce", "focal"]
EarlyStopMetric = Literal["loss", "macro_f1", "macro_recall", "roc_auc", "average_precision"]

MANY_FINDINGS = 100

LOSS_TYPES: tuple[LossType, ...] = get_args(LossType)


class TrainConfig(BaseModel):
    """Hyperparameters of one run; every field's range is in its declaration.

    `batch_size` may be any size, but without a compiler only multiples of 16 train bit for bit
    alike alone and in a stack. `num_layers` counts hidden layers: 0 is logistic regression.
    `weight_method` none means that each row is drawn once an epoch, any other one that rows are
    drawn with replacement. Class weights apply to weighted_bce and, as its alpha, to focal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss_type: LossType = "bce"
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    weight_method: WeightMethod = "none"
    class_weight_method: ClassWeightMethod = "none"
    class_weight_multiplier: Annotated[float, Field(gt=0, le=1000)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    hidden_dim: Annotated[int, Field(ge=1, le=8192)] = 128
    num_layers: Annotated[int, Field(ge=0, le=16)] = 2

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    early_stop_metric: EarlyStopMetric = "macro_f1"
    early_stop_patience: Annotated[int, Field(ge=1)] = 15
    min_delta: Annotated[float, Field(ge=0)] = 0.0

    optimize_thresholds: bool = True
    threshold_metric: str = "f1"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("threshold_metric")
    @classmethod
    def _known_threshold_metric(cls, text: str) -> str:
        parse_threshold_metric(text)
        return text

    @classmethod
    def create(cls, **values: Any) -> "TrainConfig":
        """Validate values; raises ConfigError with one line that names the field and its range."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise invalid(error) from None

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """Read what `model_dump_json` wrote; raises ConfigError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise invalid(error) from None

    @property
    def stack_key(self) -> tuple[object, ...]:
        """What the members of one stack must have in common; all else is free within a stack."""
        return self.batch_size, self.num_layers, self.hidden_dim if self.num_layers else 0

    @property
    def decision_key(self) -> tuple[bool, str]:
        """What all that train side by side must have in common: how thresholds are chosen."""
        return self.optimize_thresholds, self.threshold_metric


def invalid(error: ValidationError, prefix: str = "") -> ConfigError:
    """Pydantic's findings as one line: the key, what was given, what is allowed."""
    if (count := error.error_count()) > MANY_FINDINGS:  # to list them takes their number squared
        return ConfigError(f"{prefix}{count} values are not of the form that they should have")
    findings = []
    for finding in error.errors(include_url=False):
        key = prefix + ".".join(str(part) for part in finding["loc"])
        given = finding["input"]
        shown = "" if isinstance(given, dict) else f", got {_short(given)}"
        message = finding["msg"].removeprefix("Value error, ").replace("Input should", "must")
        said = f"{message[:1].lower()}{message[1:]}{shown}"
        findings.append(f"{key}: {said}" if key else said)
    return ConfigError("; ".join(findings))


def _short(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
