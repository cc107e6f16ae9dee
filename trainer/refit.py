"""One network on all rows but test: for as many steps as the best epoch took.

No rows are left to choose an epoch or a threshold on. The epoch is known from the run before; the
thresholds come from networks that were trained the same way without a fold, applied to that fold.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainer.checkpoint import Checkpoint
from trainer.config import TrainConfig
from trainer.data.features import Features
from trainer.data.split import Split, fold_splits
from trainer.errors import ConfigError
from trainer.experiment import Experiment, finished, make_checkpoint
from trainer.loop.fit import TrainResult, fit
from trainer.stack.tensors import (
    CROSS_FITTING_FOLDS,
    TrainingData,
    make_data,
    make_fold,
    one_fold,
)


def refit_all(experiment: Experiment, config: TrainConfig, best_epoch: int) -> Checkpoint:
    """Return the checkpoint of a network trained on all rows but test, with its test scores.

    Its thresholds, and the validation scores it shows, are those of a network for each fold on the
    rows that it was not trained on; the scores are cross-fitted.
    """
    steps = best_epoch * _steps_an_epoch(experiment.folds[0].train, config)
    folds = _folds(experiment)
    data = experiment.data
    if folds is not experiment.folds:
        _, data = make_data(experiment.table, folds, device=data.device)
    judged = _train(data, config, steps, folds[0].train)
    split = experiment.split
    rows = np.sort(np.concatenate([split.train, split.validation]))
    features, whole = _without_held_out(experiment, rows)
    result = _train(whole, config, steps, rows)
    fitted = replace(
        experiment, features=(features,), folds=(Split(rows, rows[:0], experiment.test_rows),)
    )
    kept = replace(judged, networks=result.networks, history=result.history)
    return finished(make_checkpoint(fitted, kept), replace(experiment, data=data), kept.held_out)


def _folds(experiment: Experiment) -> Sequence[Split]:
    """Return the experiment's folds; where it has a single part, its rows are dealt into five."""
    if len(experiment.folds) > 1:
        return experiment.folds
    table = experiment.table
    return fold_splits(
        experiment.split,
        table.labels,
        table.groups,
        label_names=table.roles.labels,
        folds=CROSS_FITTING_FOLDS,
        repeats=1,
        seed=experiment.settings.seed,
    )


def _without_held_out(experiment: Experiment, rows: np.ndarray) -> tuple[Features, TrainingData]:
    """Return features and tensors of the rows, none held out.

    The validation rows stand in where training wants some to score; nothing is chosen on them.
    """
    stand_in = experiment.split.validation
    device = experiment.data.device
    features, fold = make_fold(experiment.table, rows, stand_in, stand_in, device=device)
    return features, one_fold(replace(experiment.data, folds=(fold,)), 0)


def _steps_an_epoch(rows: np.ndarray, config: TrainConfig) -> int:
    return -(-len(rows) // config.batch_size)


def _train(data: TrainingData, config: TrainConfig, steps: int, rows: np.ndarray) -> TrainResult:
    """Train for a number of steps, in whole epochs of the given train rows."""
    epochs = max(1, round(steps / _steps_an_epoch(rows, config)))
    fixed = config.model_copy(update={"epochs": epochs, "early_stop_patience": epochs})
    result = fit(data, [fixed], keep_last=True)[0]
    if not result.networks:
        raise ConfigError("the loss was not finite when trained on more rows; lower --lr")
    return result
