"""The job of the speed comparisons: networks of two hidden layers of 128 on the NAFLD table."""

from collections.abc import Callable
from pathlib import Path

import torch

from search.space.space import GUIDE
from studies.definition import load_definition
from studies.examples import write_example
from trainer.config import LOSS_TYPES, TrainConfig
from trainer.experiment import Experiment, SplitSettings, prepare_experiment

AfterEpoch = Callable[[float], bool]  # gets validation average precision, says whether to go on
ENDLESS = {"epochs": 100_000, "early_stop_patience": 100_000}  # AfterEpoch ends a run


def write_table(folder: Path) -> Path:
    """Write the NAFLD table into a folder and return its path."""
    path = folder / "nafld.csv"
    write_example("nafld", path)
    return path


def prepare_table(path: Path, seed: int = 0, folds: int = 1) -> Experiment:
    """Split the NAFLD table as a study with this seed, on so many folds, does."""
    definition = load_definition("nafld", {})
    sizes = SplitSettings(definition.split.val_size, definition.split.test_size, seed, folds)
    return prepare_experiment(path, definition.table.roles, sizes, torch.device("cpu"))


def guide_config(batch_size: int) -> TrainConfig:
    """Return the guide's recipe: focal loss, weighted sampling, aggressive class weights."""
    return TrainConfig.create(**GUIDE | ENDLESS | {"batch_size": batch_size})


def mixed_configs(members: int, batch_size: int) -> list[TrainConfig]:
    """Return such members as a search has: all losses in turn, half of them with weighted rows."""
    return [
        TrainConfig.create(
            **GUIDE
            | ENDLESS
            | {
                "batch_size": batch_size,
                "loss_type": LOSS_TYPES[member // 2 % len(LOSS_TYPES)],
                "weight_method": "per_class" if member % 2 else "none",
                "class_weight_method": "balanced",
                "class_weight_multiplier": 1.0,
                "seed": member,
            }
        )
        for member in range(members)
    ]
