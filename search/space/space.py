"""A definition's space -> Optuna distributions; a trial's parameters -> TrainConfig."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from studies.definition import StudyDefinition
from studies.space import Range
from trainer.config import TrainConfig

STRUCTURAL = ("batch_size", "hidden_dim", "num_layers")  # what TrainConfig.stack_key is made of

PLAIN: dict[str, Any] = {
    "loss_type": "bce",
    "weight_method": "none",
    "class_weight_method": "none",
    "class_weight_multiplier": 1.0,
    "focal_gamma": 2.0,
    "lr": 1e-3,
    "batch_size": 32,
    "dropout": 0.2,
    "weight_decay": 1e-4,
    "hidden_dim": 128,
    "num_layers": 2,
    "label_smoothing": 0.0,
}

GUIDE: dict[str, Any] = PLAIN | {
    "loss_type": "focal",
    "focal_gamma": 3.0,
    "weight_method": "per_class",
    "class_weight_method": "aggressive",
    "class_weight_multiplier": 2.0,
}

GUIDE_ESCALATED: dict[str, Any] = GUIDE | {
    "loss_type": "weighted_bce",
    "class_weight_method": "very_aggressive",
    "class_weight_multiplier": 5.0,
    "batch_size": 16,
    "lr": 5e-4,
}

REMEDIES = ("loss_type", "weight_method", "class_weight_method", "class_weight_multiplier")
BASELINE = "plain BCE"
KNOWN_RECIPES = {BASELINE: PLAIN, "the guide": GUIDE, "the guide, escalated": GUIDE_ESCALATED}


def distributions(definition: StudyDefinition) -> dict[str, BaseDistribution]:
    """Return an Optuna distribution for each searched parameter, in the definition's order."""
    return {key: _distribution(key, values) for key, values in definition.space.items()}


def _distribution(key: str, values: Any) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if TrainConfig.model_fields[key].annotation is int:
        step = int(values.step or 1)
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=step)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def known_recipes(definition: StudyDefinition) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the recipes every study begins with: name -> (searched values, other values).

    Plain BCE comes first, always, then the guide's two commands. Where the space does not hold a
    recipe's number, the nearest one it holds stands in. What plain BCE needs and the space's
    choices lack is among the other values, no parameter of its trial: a sampler never meets a
    choice that is not its to draw. A recipe of the guide whose remedy is none of the choices is
    left out, for it would not be what its name says. Of what is not searched, a recipe decides on
    the remedies and the study on the rest.
    """
    space = distributions(definition)
    recipes = {}
    for name, recipe in KNOWN_RECIPES.items():
        lacking = {key for key in REMEDIES if key in space and not _offers(space[key], recipe[key])}
        if lacking and name != BASELINE:
            continue
        searched = {key: _nearest(space[key], recipe[key]) for key in space if key not in lacking}
        fixed = {
            key: value
            for key, value in recipe.items()
            if key not in searched and (key in REMEDIES or key not in definition.training)
        }
        recipes[name] = (searched, fixed)
    if "the guide, escalated" in recipes:
        patience = int(definition.training.get("early_stop_patience", 15))
        recipes["the guide, escalated"][1].update(
            early_stop_metric="macro_recall", early_stop_patience=patience * 4 // 3
        )
    return recipes


def conditional_choices(definition: StudyDefinition) -> dict[str, tuple[str, ...]]:
    """Return the searched choices that not every trial has as parameters.

    Plain BCE needs another value than those that are searched, which is fixed in it.
    """
    _, fixed = known_recipes(definition)[BASELINE]
    return {
        key: tuple(map(str, distribution.choices))
        for key, distribution in distributions(definition).items()
        if key in fixed and isinstance(distribution, CategoricalDistribution)
    }


def is_active(parameter: str, config: Mapping[str, Any]) -> bool:
    """Whether a setting changes what a run with this config does; the space searches it anyway.

    Plain bce has no class weights, focal alone a gamma, and logistic regression no hidden layer.
    """
    match parameter:
        case "class_weight_method" | "class_weight_multiplier":
            return config.get("loss_type") != "bce"
        case "focal_gamma":
            return config.get("loss_type") == "focal"
        case "hidden_dim" | "dropout":
            return config.get("num_layers") != 0
    return True


def _offers(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution) and isinstance(value, str):
        return value in distribution.choices
    return True


def _nearest(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        if isinstance(value, str):
            return value
        numbers = [choice for choice in distribution.choices if isinstance(choice, int | float)]
        return min(numbers, key=lambda choice: abs(choice - value))
    if isinstance(distribution, FloatDistribution | IntDistribution):
        inside = min(max(value, distribution.low), distribution.high)
        if distribution.step is None or distribution.log:
            return inside
        steps = round((inside - distribution.low) / distribution.step)
        return distribution.low + steps * distribution.step
    raise TypeError(f"unknown distribution {distribution}")


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of a trial's own generator, fixed by the study's seed and its number."""
    drawn = np.random.SeedSequence([study_seed, number]).generate_state(1, np.uint64)[0]
    return int(drawn >> np.uint64(1))


def resolve_config(
    definition: StudyDefinition,
    params: Mapping[str, Any],
    fixed: Mapping[str, Any],
    number: int,
) -> TrainConfig:
    """Return the config of a trial: `fixed` and its params over the definition's training values.

    Needs only what a finished trial holds, so it replays one exactly.
    """
    values = {**definition.training, **fixed, **params}
    return TrainConfig.create(**values, seed=trial_seed(definition.seed, number))
