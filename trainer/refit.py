"""One network more on all rows but test: for as many steps as the best epoch took.

No rows are left to choose an epoch or a threshold on. The epoch is known from the run before; the
thresholds come from networks that were trained the same way without a fold, applied to that fold.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint
from trainer.config import TrainConfig
from trainer.data.features import Features
from trainer.data.split import Split, fold_rows
from trainer.errors import ConfigError
from trainer.experiment import Experiment, make_checkpoint
from trainer.loop.fit import TrainResult, fit
from trainer.loop.judgement import judge
from trainer.stack.model import Shape, flat_parameters
from trainer.stack.tensors import FOLDS, make_data
from trainer.steps.inference import predict_probabilities


def refit_all(experiment: Experiment, config: TrainConfig, best_epoch: int) -> Checkpoint:
    """Return the checkpoint of a network trained on train and validation rows.

    Its thresholds, and the validation scores it shows, are those of FOLDS networks on the rows that
    each was not trained on; the scores are cross-fitted besides.
    """
    table, split = experiment.table, experiment.split
    rows = np.sort(np.concatenate([split.train, split.validation]))
    groups = None if table.groups is None else table.groups[rows]
    folds = fold_rows(table.labels[rows], groups, n_folds=FOLDS, seed=experiment.settings.seed)
    steps = best_epoch * -(-len(split.train) // config.batch_size)

    held_out = torch.empty(len(rows), len(table.roles.labels))
    for fold in range(FOLDS):
        part = Split(rows[folds != fold], rows[folds == fold], split.test)
        _, _, held_out[folds == fold] = _train(experiment, part, config, steps)
    # Now no row is held out: validation rows stand in, and nothing is chosen or scored on them.
    whole = Split(rows, split.validation, split.test)
    features, result, _ = _train(experiment, whole, config, steps)
    labels = torch.from_numpy(table.labels[rows])
    judged = judge(held_out, labels, torch.from_numpy(folds), table.roles.labels, config)
    scores = {"macro_f1": judged.evaluation.macro_f1}
    fitted = replace(experiment, features=features, split=Split(rows, rows[:0], split.test))
    return make_checkpoint(fitted, replace(result, scores=scores, **vars(judged)))


def _train(
    experiment: Experiment, split: Split, config: TrainConfig, steps: int
) -> tuple[Features, TrainResult, Tensor]:
    """Train on a split for a number of steps; return also the validation probabilities (N, L)."""
    features, data = make_data(experiment.table, split, device=experiment.data.device)
    epochs = max(1, round(steps / -(-len(split.train) // config.batch_size)))
    fixed = config.model_copy(update={"epochs": epochs, "early_stop_patience": epochs})
    result = fit(data, [fixed], keep_last=True)[0]
    if result.parameters is None:
        raise ConfigError("the loss was not finite when trained on more rows; lower --lr")
    shape = Shape(data.features, len(data.labels), config.hidden_dim, config.num_layers)
    flat = flat_parameters(result.parameters, shape).to(data.device)
    return features, result, predict_probabilities(flat, shape, data.x_validation)[0].cpu()
