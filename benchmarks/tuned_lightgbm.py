"""LightGBM tuned by Optuna, a study for each label, on a search's own split and folds.

    python benchmarks/tuned_lightgbm.py TABLE.csv --label COLUMN [--group COLUMN] [--seconds 120]

A trial is a configuration on all folds, scored by the average precision of the pooled held-out
rows; its first one is LightGBM as the baseline of `raretune search --compare` has it. Labels are
shared out to two processes of one thread; each has 2 x seconds / labels, so that all of them
together have the processor time of a search of so many seconds. Then thresholds are chosen as a
trial's are, and the mean of the folds' models is scored on the test rows, once. It prints JSON.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(ROOT)
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import optuna
import torch

from search.appraisal.estimators import ESTIMATORS, inputs_of
from search.folds import by_positives
from trainer.config import TrainConfig
from trainer.data.table import Roles, read_table
from trainer.experiment import Experiment, SplitSettings, place_experiment, split_again
from trainer.loop.validation import fit_thresholds
from trainer.scores.evaluation import Evaluation, evaluate, threshold_tensor

PROCESSES = 2
LIGHTGBM = next(one for one in ESTIMATORS if one.package == "lightgbm")
VAL_SIZE, TEST_SIZE = 0.2, 0.2


@dataclass(frozen=True)
class LabelRows:
    """One label on the folds: of each x_train, y_train, x_held_out and x_test; then the pool.

    `places` are the places of a fold's held-out rows in the pool, `y` (V,) the pool's labels.
    """

    folds: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    places: list[np.ndarray]
    y: np.ndarray


@dataclass(frozen=True)
class Tuned:
    """A label's best trial: probabilities of the pool (V,) and test rows (T,), and its trials."""

    held_out: np.ndarray
    test: np.ndarray
    trials: int


def settings(trial: optuna.Trial) -> dict[str, float]:
    """Return a trial's settings; ranges are the usual ones of tutorials."""
    return {
        "n_estimators": trial.suggest_int("n_estimators", 20, 500, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 2, 64, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 100, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 30.0, log=True),
        "reg_alpha": trial.suggest_float("reg_alpha", 1e-3, 10.0, log=True),
    }


FIRST = {
    **{"n_estimators": 100, "learning_rate": 0.05, "num_leaves": 8, "min_child_samples": 20},
    **{"colsample_bytree": 1.0, "subsample": 1.0, "reg_lambda": 1e-3, "reg_alpha": 1e-3},
}


def tune(rows: LabelRows, seconds: float, seed: int) -> Tuned:
    """Search one label's settings for so many seconds, at least one trial."""
    import warnings

    from sklearn.metrics import average_precision_score

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best: list = [-1.0, None, None]

    def objective(trial: optuna.Trial) -> float:
        held_out, times = np.zeros(len(rows.y)), np.zeros(len(rows.y))
        tests, chosen = [], settings(trial)
        for (x, y, x_held_out, x_test), places in zip(rows.folds, rows.places, strict=True):
            model = LIGHTGBM.make(seed).set_params(**chosen, subsample_freq=1).fit(x, y)
            np.add.at(held_out, places, model.predict_proba(x_held_out)[:, 1])
            np.add.at(times, places, 1)
            tests.append(model.predict_proba(x_test)[:, 1])
        held_out /= times
        score = float(average_precision_score(rows.y, held_out))
        if score > best[0]:
            best[:] = score, held_out, np.mean(tests, axis=0)
        return score

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True)
    )
    study.enqueue_trial(FIRST)
    started = time.monotonic()
    study.optimize(objective, n_trials=1)
    study.optimize(objective, timeout=started + seconds - time.monotonic())
    return Tuned(best[1].astype(np.float32), best[2].astype(np.float32), len(study.trials))


def label_rows(experiment: Experiment) -> list[LabelRows]:
    """Return the rows of each label, as the baselines have them."""
    columns = experiment.table.columns.iloc[experiment.test_rows]
    x, places = [], []
    for fold, features in zip(experiment.data.folds, experiment.features, strict=True):
        inputs = inputs_of(LIGHTGBM, features)
        parts = (fold.x_train, fold.x_validation, torch.from_numpy(features.transform(columns)))
        x.append([part.numpy()[:, inputs] for part in parts])
        places.append(fold.places.numpy())
    return [
        LabelRows(
            folds=[
                (train, fold.y_train[:, j].numpy(), held_out, test)
                for fold, (train, held_out, test) in zip(experiment.data.folds, x, strict=True)
            ],
            places=places,
            y=experiment.data.y_validation[:, j].numpy(),
        )
        for j in range(len(experiment.data.labels))
    ]


def scored(experiment: Experiment, tuned: list[Tuned]) -> tuple[Evaluation, Evaluation]:
    """Return the validated scores, with cross-fitted decisions, and those of the test rows."""
    data, rows = experiment.data, experiment.test_rows
    held_out = torch.from_numpy(np.stack([one.held_out for one in tuned], axis=1))
    chosen = fit_thresholds(held_out, data, TrainConfig())
    test = torch.from_numpy(np.stack([one.test for one in tuned], axis=1))
    labels = torch.from_numpy(experiment.table.labels[rows])
    cuts = threshold_tensor(chosen.thresholds, data.labels)
    return chosen.evaluation, evaluate(test, labels, cuts, data.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--group")
    parser.add_argument("--sequence")
    parser.add_argument("--drop", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not LIGHTGBM.installed:
        parser.error("LightGBM is not installed: pip install 'raretune[baselines]'")
    torch.set_num_threads(1)
    roles = Roles(tuple(given.label), given.group, given.sequence, tuple(given.drop))
    table = read_table(given.csv, roles)
    one_part = SplitSettings(VAL_SIZE, TEST_SIZE, given.seed)
    folds = by_positives(table, split_again(table, one_part)).folds
    whole = SplitSettings(VAL_SIZE, TEST_SIZE, given.seed, folds)
    experiment = place_experiment(table, whole, torch.device("cpu"))
    rows, started = label_rows(experiment), time.monotonic()
    each = given.seconds * PROCESSES / len(rows)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        tuned = list(pool.map(tune, rows, [each] * len(rows), [given.seed] * len(rows)))
    validation, test = scored(experiment, tuned)
    found = {
        "validation": validation.to_json(),
        "test": test.to_json(),
        "trials": sum(one.trials for one in tuned),
        "folds": folds,
        "seconds": time.monotonic() - started,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
