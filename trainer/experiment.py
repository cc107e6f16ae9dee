"""A table made ready to train on, and a result made ready to keep: what every run has in common.

file -> table -> split -> folds -> features and tensors -> fit -> checkpoint -> one look at test
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint, Network, Record, library_versions, shape_of
from trainer.data.cells.dialect import Dialect
from trainer.data.digests import KnownRows, row_digests, salt_of
from trainer.data.features import Features
from trainer.data.reading import PLAIN
from trainer.data.split import Split, fold_splits, split_rows
from trainer.data.table import Roles, Table, read_table
from trainer.errors import CheckpointError
from trainer.loop.fit import TrainResult
from trainer.predict import fold_probabilities, predict_frame
from trainer.scores.bootstrap import Intervals, bootstrap
from trainer.scores.calibration import calibrated, cross_fitted, fit_calibrations
from trainer.scores.doubts import doubts
from trainer.scores.evaluation import Evaluation, evaluate, threshold_tensor
from trainer.scores.reliability import before_and_after
from trainer.scores.thresholds import parse_threshold_metric
from trainer.stack.tensors import TrainingData, make_data, pooled_rows


@dataclass(frozen=True)
class SplitSettings:
    """What a split follows from: shares of all rows, a seed, and how train rows are held out.

    `folds` is 1 for a single validation part; else all rows but test are dealt into folds,
    `repeats` times over, and `val_size` only decides which rows are test rows.
    """

    val_size: float
    test_size: float
    seed: int
    folds: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Experiment:
    """One table, split, each fold with its own features and with tensors on a device.

    `split` has the train, validation and test rows that a single part has; `folds` has the rows of
    each fold, of which `data` are the tensors, and `features` what each fitted on its train rows.
    """

    table: Table
    settings: SplitSettings
    split: Split
    folds: tuple[Split, ...]
    features: tuple[Features, ...]
    data: TrainingData

    @property
    def test_rows(self) -> np.ndarray:
        """Indices of the locked test rows; empty if there are none."""
        return self.split.test

    @property
    def held_out_rows(self) -> np.ndarray:
        """Indices (V,) of the rows that some fold is scored on, in the order of the pool."""
        return pooled_rows(self.folds)

    @property
    def row_counts(self) -> dict[str, int]:
        """Numbers of rows: train (of the first fold), validation (the pool's) and test."""
        return {
            "train": len(self.folds[0].train),
            "validation": len(self.held_out_rows),
            "test": len(self.test_rows),
        }

    @cached_property
    def known_rows(self) -> KnownRows:
        """Digests of the table's rows, by the columns that its features read."""
        table, salt = self.table, salt_of(self.table.hash)
        numbers = {name for features in self.features for name in features.number_columns}
        texts = {name for features in self.features for name in features.text_columns}
        digests = row_digests(table.columns, list(numbers), list(texts), table.labels, salt)
        return KnownRows.of(digests, self.test_rows, salt)


@dataclass(frozen=True)
class ScoredRows:
    """N rows by a checkpoint: raw probabilities and labels (N, L), and scores at its thresholds.

    `calibrated` (N, L) float32 are the probabilities as they are handed out, None where that is as
    they are.
    """

    probabilities: Tensor
    labels: Tensor
    scores: Evaluation
    intervals: Intervals
    calibrated: Tensor | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the scores with their 95 % intervals as JSON types; what is undefined is nan."""
        found = {**self.scores.to_json(), "intervals": self.intervals.to_json()}
        if self.calibrated is not None:
            found["calibration"] = before_and_after(
                self.probabilities, self.calibrated, self.labels, list(self.scores.labels)
            )
        return found


def prepare_experiment(
    path: Path,
    roles: Roles,
    settings: SplitSettings,
    device: torch.device,
    dialect: Dialect = PLAIN,
) -> Experiment:
    """Read, split and place a table; raises TableError or ConfigError before anything trains."""
    return place_experiment(read_table(path, roles, dialect), settings, device)


def place_experiment(table: Table, settings: SplitSettings, device: torch.device) -> Experiment:
    """Split a table and place it; raises TableError or ConfigError before anything trains."""
    split = split_again(table, settings)
    folds = fold_splits(
        split,
        table.labels,
        table.groups,
        label_names=table.roles.labels,
        folds=settings.folds,
        repeats=settings.repeats,
        seed=settings.seed,
    )
    features, data = make_data(table, folds, device=device)
    return Experiment(table, settings, split, tuple(folds), features, data)


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
    if result.thresholds is None or result.evaluation is None:
        raise CheckpointError(
            "the loss was not finite from the first epoch, so there is nothing to keep; "
            "lower --lr or --class_weight_multiplier"
        )
    table, config = experiment.table, result.config
    networks = tuple(
        Network(features, shape_of(config, features, len(table.roles.labels)), parameters)
        for features, parameters in zip(experiment.features, result.networks, strict=True)
    )
    content = {
        "config": config,
        "labels": table.roles.labels,
        "roles": table.roles,
        "features": [features.description for features in experiment.features],
        "thresholds": result.thresholds,
        "best_epoch": result.best_epoch,
        "validation": {
            "scores": result.scores,
            "shrunk_thresholds": list(result.shrunk),
            **result.evaluation.to_json(),
        },
        "test": None,
        "split": {**asdict(experiment.settings), "rows": experiment.row_counts},
        "table": {"file": table.path.name, "rows": len(table.labels), "sha256": table.hash},
        "dialect": table.dialect,
        "dates": table.dates,
        "trial": trial,
        "versions": library_versions(),
    }
    record = Record.model_validate(content)
    return Checkpoint(record, networks, result.history, experiment.known_rows)


def finished(
    checkpoint: Checkpoint, experiment: Experiment, held_out: Tensor | None = None
) -> Checkpoint:
    """Return the checkpoint as it is handed over: doubtful labels, calibration, test scores.

    `held_out` (V, L) are the pool's probabilities, if they are known; else the networks are asked.
    """
    if held_out is None:
        held_out = held_out_probabilities(checkpoint, experiment)
    data, table = experiment.data, experiment.table
    outside = np.setdiff1d(np.arange(len(table.labels)), experiment.test_rows)
    found = doubts(
        held_out,
        data.y_validation.cpu(),
        data.groups,
        data.labels,
        (table.labels[outside] > 0).sum(axis=0).tolist(),
        parse_threshold_metric(checkpoint.record.config.threshold_metric),
    )
    curves, scores = _calibrated(held_out, data)
    validation = {**checkpoint.record.validation, "doubts": found, "calibration": scores}
    record = checkpoint.record.model_copy(update={"validation": validation, "calibration": curves})
    return with_test_scores(replace(checkpoint, record=record), experiment)


def _calibrated(held_out: Tensor, data: TrainingData) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return each label's curve, fitted on the pool (V, L), and what it is worth, cross-fitted."""
    y, names = data.y_validation.cpu(), data.labels
    curves = fit_calibrations(held_out, y)
    unseen = cross_fitted(held_out, y, data.cross_fold.cpu())
    of_labels = zip(names, map(asdict, curves), strict=True)
    return dict(of_labels), before_and_after(held_out, unseen, y, names)


def with_test_scores(checkpoint: Checkpoint, experiment: Experiment) -> Checkpoint:
    """Return the checkpoint with its scores on the locked test rows, if there are any."""
    if not len(experiment.test_rows):
        return checkpoint
    test = score_rows(checkpoint, experiment.table, experiment.test_rows).to_json()
    return replace(checkpoint, record=checkpoint.record.model_copy(update={"test": test}))


def held_out_probabilities(checkpoint: Checkpoint, experiment: Experiment) -> Tensor:
    """Return the probabilities (V, L) of the pool, each row from networks that did not train on it.

    `checkpoint` is one of a trial, or ensemble of trials, of this experiment.
    """
    columns = experiment.table.columns
    of_folds = [
        fold_probabilities(networks, checkpoint.weights, columns.iloc[fold.validation])
        for networks, fold in zip(checkpoint.folds, experiment.folds, strict=True)
    ]
    return experiment.data.pool(of_folds)


def score_rows(
    checkpoint: Checkpoint, table: Table, rows: np.ndarray, names: Sequence[str] = ()
) -> ScoredRows:
    """Score the given rows (N,) of a table, by index, at the checkpoint's thresholds.

    `names` are the labels to score, by default all L.
    """
    names = names or checkpoint.record.labels
    places = [checkpoint.record.labels.index(name) for name in names]
    probabilities = predict_frame(checkpoint, table.columns.iloc[rows])[:, places]
    labels = torch.from_numpy(table.labels[rows][:, places])
    cuts = threshold_tensor(checkpoint.record.thresholds, names)
    groups = None if table.groups is None else table.groups[rows]
    scores = evaluate(probabilities, labels, cuts, names)
    intervals = bootstrap(probabilities, labels, cuts, names, groups)
    handed_out = None
    if (curves := checkpoint.record.calibrations) is not None:
        curves = [curves[place] for place in places]
        handed_out = calibrated(probabilities, cuts, curves).probabilities
    return ScoredRows(probabilities, labels, scores, intervals, handed_out)
