"""Flags that would change nothing: refused, so that no run is taken for another than it was."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import TrainConfig
from trainer.errors import ConfigError

UNLESS_GIVEN = {  # what a command line without the flag has too
    "val_size": 0.2,
    "test_size": 0.2,
    "folds": 1,
    "repeats": 1,
    "seed": 0,
    "optimize_thresholds": False,
    "use_weighted_sampling": False,
}


def check_effects(given: Mapping[str, Any], config: TrainConfig) -> None:
    """Raise ConfigError for the first flag given that a run of this config never looks at."""
    for name, what_it_needs in _without_effect(given, config):
        raise ConfigError(
            f"--{name} {given[name]} has no effect {what_it_needs}, or leave --{name} out"
        )


def check_resumed(given: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first flag given that differs from what a run was begun with.

    `kept` has the run's own values by the names of the flags.
    """
    for name, value in given.items():
        same = kept.get(name, value)
        if value != same and UNLESS_GIVEN.get(name) != value:
            flag = name.rstrip("_")
            raise ConfigError(
                f"--{flag} {_shown(value)} has no effect, since --resume goes on with the run as "
                f"it was begun ({_shown(same)}); run it without --{flag}, or start a new run"
            )


def _without_effect(given: Mapping[str, Any], config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield the name of each such flag, and where it would have an effect."""
    if config.loss_type == "bce":
        weighted = "with --loss_type bce; add --loss_type weighted_bce or --loss_type focal"
        for name, neutral in (("class_weight_method", "none"), ("class_weight_multiplier", 1.0)):
            if given.get(name, neutral) != neutral:
                yield name, weighted
    if "focal_gamma" in given and config.loss_type != "focal":
        yield "focal_gamma", f"with --loss_type {config.loss_type}; add --loss_type focal"
    if "threshold_metric" in given and not config.optimize_thresholds:
        yield "threshold_metric", "while thresholds stay 0.5; add --optimize_thresholds"
    if config.num_layers == 0:
        hidden = "with --num_layers 0, which has no hidden layer; add layers"
        for name in ("hidden_dim", "dropout"):
            if given.get(name, 0) > 0:
                yield name, hidden


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
