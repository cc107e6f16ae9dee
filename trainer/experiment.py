"""A table made ready to train on, and a result made ready to keep: what every run has in common.

file -> table -> split -> features and tensors -> fit -> checkpoint -> one look at test
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint, Record, library_versions
from trainer.data.features import Features
from trainer.data.split import Split, split_rows
from trainer.data.table import Roles, Table, read_table
from trainer.errors import CheckpointError
from trainer.loop.fit import TrainResult
from trainer.predict import predict_frame
from trainer.scores.bootstrap import Intervals, bootstrap
from trainer.scores.evaluation import Evaluation, evaluate, threshold_tensor
from trainer.stack.tensors import TrainingData, make_data


@dataclass(frozen=True)
class SplitSettings:
    """What a split follows from: shares of all rows, and a seed."""

    val_size: float
    test_size: float
    seed: int


@dataclass(frozen=True)
class Experiment:
    """One table, split, with features fitted on its train rows and tensors on a device."""

    table: Table
    settings: SplitSettings
    split: Split
    features: Features
    data: TrainingData


@dataclass(frozen=True)
class ScoredRows:
    """N rows by a checkpoint: probabilities and labels (N, L), and scores at its thresholds."""

    probabilities: Tensor
    labels: Tensor
    scores: Evaluation
    intervals: Intervals

    def to_json(self) -> dict[str, Any]:
        """Return the scores with their 95 % intervals as JSON types; what is undefined is nan."""
        return {**self.scores.to_json(), "intervals": self.intervals.to_json()}


def prepare_experiment(
    path: Path, roles: Roles, settings: SplitSettings, device: torch.device
) -> Experiment:
    """Read, split and place a table; raises TableError or ConfigError before anything trains."""
    table = read_table(path, roles)
    split = split_again(table, settings)
    features, data = make_data(table, split, device=device)
    return Experiment(table, settings, split, features, data)


def split_again(table: Table, settings: SplitSettings) -> Split:
    """Return the split that follows from the settings, the same each time."""
    return split_rows(
        table.labels,
        table.groups,
        label_names=table.roles.labels,
        val_size=settings.val_size,
        test_size=settings.test_size,
        seed=settings.seed,
    )


def make_checkpoint(
    experiment: Experiment, result: TrainResult, trial: dict[str, Any] | None = None
) -> Checkpoint:
    """Return a result's checkpoint, its test scores yet unknown.

    Raises CheckpointError if no epoch had finite scores.
    """
    if result.parameters is None or result.thresholds is None or result.evaluation is None:
        raise CheckpointError(
            "the loss was not finite from the first epoch, so there is nothing to keep; "
            "lower --lr or --class_weight_multiplier"
        )
    table, split = experiment.table, experiment.split
    sizes = {part: len(rows) for part, rows in vars(split).items()}
    record = Record(
        config=result.config,
        labels=table.roles.labels,
        roles=table.roles,
        features=experiment.features.to_state()[1],
        thresholds=result.thresholds,
        best_epoch=result.best_epoch,
        validation={
            "scores": result.scores,
            "shrunk_thresholds": list(result.shrunk),
            **result.evaluation.to_json(),
        },
        test=None,
        split={**asdict(experiment.settings), "rows": sizes},
        table={"file": table.path.name, "rows": len(table.labels), "sha256": table.hash},
        trial=trial,
        versions=library_versions(),
    )
    return Checkpoint(record, experiment.features, result.parameters, result.history)


def with_test_scores(checkpoint: Checkpoint, experiment: Experiment) -> Checkpoint:
    """Return the checkpoint with its scores on the locked test rows, if there are any."""
    if not len(experiment.split.test):
        return checkpoint
    test = score_rows(checkpoint, experiment.table, experiment.split.test).to_json()
    return replace(checkpoint, record=checkpoint.record.model_copy(update={"test": test}))


def score_rows(checkpoint: Checkpoint, table: Table, rows: np.ndarray) -> ScoredRows:
    """Score the given rows (N,) of a table, by index, at the checkpoint's thresholds."""
    names = checkpoint.record.labels
    probabilities = predict_frame(checkpoint, table.columns.iloc[rows])
    labels = torch.from_numpy(table.labels[rows])
    cuts = threshold_tensor(checkpoint.record.thresholds, names)
    groups = None if table.groups is None else table.groups[rows]
    scores = evaluate(probabilities, labels, cuts, names)
    intervals = bootstrap(probabilities, labels, cuts, names, groups)
    return ScoredRows(probabilities, labels, scores, intervals)
