"""A search as a good user writes it in an afternoon: Optuna, the loop of loops.py, SQLite.

    python benchmarks/plain_optuna.py TABLE.csv URL --trials 100 [--folds 5] [--process 0]

benchmarks/search.py creates the study at the URL and starts this twice, as processes 0 and 1.
TABLE.csv is the NAFLD table, the space is that of studies/default.toml, and the three recipes that
every raretune study begins with come first here too. On folds, a trial trains a network in each,
epoch by epoch, and is scored on all their held-out rows together. Prints, as JSON, the best trial
of this process: its validated macro-F1, and the test macro-F1 of the mean of its networks, at the
thresholds from validation.
"""

import argparse
import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from sklearn.metrics import f1_score

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.job import prepare_table
from benchmarks.loops import (
    Rows,
    best_f1,
    make_loader,
    make_loss,
    make_network,
    predict,
    train_epoch,
    unpadded,
    validate,
)
from search.space.space import KNOWN_RECIPES
from trainer.config import TrainConfig
from trainer.experiment import Experiment

STUDY = "nafld"
PATIENCE = 15
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "loss_type": trial.suggest_categorical("loss_type", ["bce", "weighted_bce", "focal"]),
        "focal_gamma": trial.suggest_float("focal_gamma", 0.5, 5.0),
        "weight_method": trial.suggest_categorical(
            "weight_method", ["none", "balanced", "aggressive", "per_class"]
        ),
        "class_weight_method": trial.suggest_categorical(
            "class_weight_method",
            ["none", "balanced", "inverse", "aggressive", "very_aggressive"],
        ),
        "class_weight_multiplier": trial.suggest_float(
            "class_weight_multiplier", 0.1, 5.0, log=True
        ),
        "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64, 128, 256, 512]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        "hidden_dim": trial.suggest_categorical("hidden_dim", [32, 64, 128, 256]),
        "num_layers": trial.suggest_int("num_layers", 0, 3),
    }


class OfFold:
    """A fold's network and all that trains it."""

    def __init__(self, rows: Rows, config: TrainConfig) -> None:
        self.x_validation = rows.x_validation
        self.network, self.criterion = make_network(rows, config), make_loss(rows, config)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.loader = make_loader(rows, config)

    def train_epoch(self) -> None:
        device = torch.device("cpu")
        train_epoch(self.network, self.loader, self.criterion, self.optimizer, device)

    def held_out(self) -> np.ndarray:
        return predict(self.network, self.x_validation)


class Objective:
    """Trains trials on the CPU and keeps the best one's networks, a fold each, in memory."""

    def __init__(self, folds: Sequence[Rows], epochs: int) -> None:
        self.folds, self.epochs = folds, epochs
        self.y = np.concatenate([rows.y_validation.numpy() for rows in folds])
        self.best_value, self.best_networks, self.thresholds = -1.0, None, np.empty(0)

    def __call__(self, trial: optuna.Trial) -> float:
        config = TrainConfig(**suggest(trial))
        torch.manual_seed(trial.number)
        of_folds = [OfFold(rows, config) for rows in self.folds]
        best_value, best_epoch, best_networks, thresholds = -1.0, 0, None, None
        for epoch in range(1, self.epochs + 1):
            for of_fold in of_folds:
                of_fold.train_epoch()
            pooled = np.concatenate([of_fold.held_out() for of_fold in of_folds])
            scores = validate(self.y, pooled)
            trial.report(scores["macro_f1"], epoch)
            if scores["macro_f1"] > best_value:
                best_value, best_epoch = scores["macro_f1"], epoch
                best_networks = copy.deepcopy([of_fold.network for of_fold in of_folds])
                thresholds = best_f1(self.y, pooled)[1]
                trial.set_user_attr("scores", scores)
            if trial.should_prune():
                raise optuna.TrialPruned
            if epoch - best_epoch >= PATIENCE:
                break
        if best_value > self.best_value:
            self.best_value, self.best_networks = best_value, best_networks
            self.thresholds = thresholds
        return best_value

    def test(self, experiment: Experiment) -> float:
        """Return the macro-F1 on the test rows of the mean of the best trial's networks."""
        rows = experiment.test_rows
        columns = experiment.table.columns.iloc[rows]
        of_folds = [
            predict(network, torch.from_numpy(features.transform(columns)))
            for network, features in zip(self.best_networks, experiment.features, strict=True)
        ]
        decisions = np.mean(of_folds, axis=0) >= self.thresholds
        return float(f1_score(experiment.table.labels[rows], decisions, average="macro"))


def create_study(url: str) -> None:
    study = optuna.create_study(storage=url, study_name=STUDY, direction="maximize")
    for recipe in KNOWN_RECIPES.values():
        study.enqueue_trial({key: recipe[key] for key in recipe if key != "label_smoothing"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("url")
    parser.add_argument("--trials", type=int, default=100, help="of all processes")
    parser.add_argument("--epochs", type=int, default=100, help="of a trial, at most")
    parser.add_argument("--folds", type=int, default=1, help="that hold out rows to score on")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the sampler")
    parser.add_argument("--process", type=int, default=0, help="number of this process")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = prepare_table(arguments.csv, arguments.seed, arguments.folds)
    study = optuna.load_study(
        study_name=STUDY,
        storage=arguments.url,
        sampler=optuna.samplers.TPESampler(seed=1000 * arguments.seed + arguments.process),
        pruner=optuna.pruners.HyperbandPruner(
            min_resource=min(5, arguments.epochs), max_resource=arguments.epochs, reduction_factor=3
        ),
    )
    objective = Objective([unpadded(fold) for fold in experiment.data.folds], arguments.epochs)
    study.optimize(
        objective,
        callbacks=[MaxTrialsCallback(arguments.trials, states=ENDED)],
        catch=ValueError,  # scikit-learn's, where a network has diverged to nan
    )
    found = objective.best_networks is not None
    test = objective.test(experiment) if found else None
    print(json.dumps({"validated": objective.best_value if found else None, "test": test}))


if __name__ == "__main__":
    main()
