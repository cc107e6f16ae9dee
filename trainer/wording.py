"""A config in a few words, the same wherever a user reads of one: tables, live views, reports.

Every function takes the fields of a TrainConfig by name. What does not act is not named: plain bce
has no class weights, and focal alone a gamma.
"""

from collections.abc import Mapping
from typing import Any


def loss(config: Mapping[str, Any]) -> str:
    """Return the loss: bce, weighted_bce or focal 3.0."""
    name = str(config["loss_type"])
    return f"{name} {config['focal_gamma']:.1f}" if name == "focal" else name


def class_weights(config: Mapping[str, Any]) -> str:
    """Return how labels are weighted in the loss: aggressive x 2, or nothing if they are not."""
    method, multiplier = _class_weights(config)
    return f"{method} {multiplier}" if method else ""


def sampling(config: Mapping[str, Any]) -> str:
    """Return how rows are drawn: per_class sampling, or nothing if each comes once an epoch."""
    method = str(config["weight_method"])
    return "" if method == "none" else f"{method} sampling"


def remedy(config: Mapping[str, Any]) -> str:
    """Return all against imbalance: focal 3.0, aggressive weights x 2, per_class sampling."""
    method, multiplier = _class_weights(config)
    weights = f"{method} weights {multiplier}" if method else ""
    return ", ".join(filter(None, (loss(config), weights, sampling(config))))


def network(config: Mapping[str, Any]) -> str:
    """Return the hidden layers: 2 x 128, or linear if there are none."""
    layers = config["num_layers"]
    return f"{layers} x {config['hidden_dim']}" if layers else "linear"


def threshold(value: float) -> str:
    """Return a threshold in three decimals; one below 0.1, as of a rare label, in two digits."""
    return f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def _class_weights(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return a method and its multiplier; two empty words where all weights are 1."""
    method, multiplier = str(config["class_weight_method"]), config["class_weight_multiplier"]
    if config["loss_type"] == "bce" or (method == "none" and multiplier == 1):
        return "", ""
    return method.replace("none", "equal"), f"x {multiplier:.2g}"


def doubt_sentences(doubts: Mapping[str, str]) -> list[str]:
    """Return a sentence for each label that should not be relied on."""
    return [f"Don't rely on {label}: {why}." for label, why in doubts.items()]
