"""Remedies for a run: the fields of its TrainConfig to set, and the flags that set them.

Every function takes the config of a run and returns a remedy: fields with values that the config
does not have, empty if it already does all that is known.

Source: docs/aggressive-training.md, "If Model Still Predicts All Negatives" and "Troubleshooting".
"""

import math
import shlex
from collections.abc import Mapping
from typing import Any

from trainer.config import CLASS_WEIGHT_METHODS, TrainConfig

Remedy = Mapping[str, Any]  # fields of a TrainConfig, with the values to give them

MULTIPLIERS = (3.0, 5.0)  # the guide's escalation
USUAL = {"lr": (1e-4, 1e-2), "dropout": (0.0, 0.6), "weight_decay": (0.0, 0.1)}  # AdamW learns here
MILDER_SAMPLING = {
    "per_class": "balanced",
    "aggressive": "balanced",
    "inverse": "balanced",
    "balanced": "inverse_sqrt",
}
STRICTER_METRIC = {"f1": "f0.5", "f0.5": "precision>=0.5"}  # any other one gives way to f1


def flags(remedy: Remedy) -> str:
    """Return a remedy as command-line flags."""
    return " ".join(_flag(field, value) for field, value in remedy.items())


def tuned_thresholds(config: TrainConfig) -> Remedy:
    """Choose a threshold for each label."""
    return _differing(config, optimize_thresholds=True)


def higher_thresholds(config: TrainConfig) -> Remedy:
    """Choose thresholds for a metric that asks for more precision."""
    metric = "".join(config.threshold_metric.split()).lower()
    if not config.optimize_thresholds:
        return tuned_thresholds(config)
    if metric.startswith("precision"):
        return {}
    return {"threshold_metric": STRICTER_METRIC.get(metric, "f1")}


def heavier_weights(config: TrainConfig) -> Remedy:
    """Take the next multiplier of the guide; bce has no weights."""
    heavier = [m for m in MULTIPLIERS if m > config.class_weight_multiplier]
    return {"class_weight_multiplier": heavier[0]} if heavier and config.loss_type != "bce" else {}


def heaviest_weights(config: TrainConfig) -> Remedy:
    """Weight the loss by the guide's heaviest method."""
    return _differing(config, loss_type="weighted_bce", class_weight_method="very_aggressive")


def lighter_weights(config: TrainConfig) -> Remedy:
    """Halve the multiplier down to 1, then take the next lighter method; bce has no weights."""
    if config.loss_type == "bce":
        return {}
    if config.class_weight_multiplier > 1:
        return {"class_weight_multiplier": max(1.0, _short(config.class_weight_multiplier / 2))}
    lighter = max(0, CLASS_WEIGHT_METHODS.index(config.class_weight_method) - 1)
    return _differing(config, class_weight_method=CLASS_WEIGHT_METHODS[lighter])


def per_class_sampling(config: TrainConfig) -> Remedy:
    """Draw the rows of rare labels most often."""
    return _differing(config, weight_method="per_class")


def milder_sampling(config: TrainConfig) -> Remedy:
    """Draw positives less often."""
    milder = MILDER_SAMPLING.get(config.weight_method)
    return {"weight_method": milder} if milder else {}


def slower(config: TrainConfig) -> Remedy:
    """Halve the learning rate, or take the default if it is unusually high."""
    usual = _default("lr") if config.lr > USUAL["lr"][1] else math.inf
    return {"lr": _short(min(config.lr / 2, usual))}


def much_slower(config: TrainConfig) -> Remedy:
    """Take a tenth of the learning rate."""
    return {"lr": _short(config.lr / 10)}


def smaller_batches(config: TrainConfig) -> Remedy:
    """Take the guide's smaller batches, of 16 rows."""
    return {"batch_size": 16} if config.batch_size > 16 else {}


def more_dropout(config: TrainConfig) -> Remedy:
    """Add 0.2 of dropout."""
    more = min(USUAL["dropout"][1], round(config.dropout + 0.2, 2))
    return {"dropout": more} if config.num_layers and more > config.dropout else {}


def more_decay(config: TrainConfig) -> Remedy:
    """Multiply the weight decay by ten."""
    more = min(USUAL["weight_decay"][1], max(1e-3, _short(10 * config.weight_decay)))
    return {"weight_decay": more} if more > config.weight_decay else {}


def smaller_network(config: TrainConfig) -> Remedy:
    """Halve the width, in multiples of 16."""
    half = max(16, config.hidden_dim // 32 * 16)
    return {"hidden_dim": half} if config.num_layers and half < config.hidden_dim else {}


def usual_values(config: TrainConfig) -> tuple[Remedy, ...]:
    """Set what keeps a network from learning back to its default, each a remedy of its own."""
    return tuple(
        {field: _default(field)}
        for field, (low, high) in USUAL.items()
        if not low <= getattr(config, field) <= high
    )


def _differing(config: TrainConfig, **values: object) -> Remedy:
    return {field: value for field, value in values.items() if getattr(config, field) != value}


def _default(field: str) -> float:
    return float(TrainConfig.model_fields[field].default)


def _short(value: float) -> float:
    return float(f"{value:.2g}")


def _flag(field: str, value: object) -> str:
    if field == "optimize_thresholds":
        return "--optimize_thresholds"
    if field == "weight_method":
        return f"--use_weighted_sampling --weight_method {value}"
    return f"--{field} {shlex.quote(str(value))}"
