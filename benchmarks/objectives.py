"""What should choose a trial, and its epoch? Random trials, every epoch scored on test rows too.

    python benchmarks/objectives.py TABLE.csv --label A --label B ... [--group G] [--sequence S]

Trials of the default space are trained once per seed (of split and trials) and scored on one
validation part; all criteria judge the same epochs. A criterion stops a trial by its patience and
picks an epoch; another, or the same, then picks one of n trials. Printed per pair: test macro-F1,
with thresholds from validation, and test average precision of what was picked, the mean over random
subsets of n trials.
"""

import argparse
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import optuna
import torch

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from search.session import prepare
from search.space.space import STRUCTURAL, distributions, resolve_config
from search.workspace import Workspace
from studies.definition import load_definition
from trainer.loop.validation import validate
from trainer.scores.metrics import average_precision, confusion, rank
from trainer.scores.thresholds import best_thresholds, parse_threshold_metric
from trainer.stack.model import Shape
from trainer.stack.stack import start_stack
from trainer.steps.epoch import train_epoch
from trainer.steps.inference import predict_probabilities

VALIDATED = ("tuned_macro_f1", "macro_f1", "average_precision")
TEST = ("test_macro_f1", "test_average_precision")
SMOOTHED = 3  # epochs
BASELINE = ("macro_f1", "macro_f1")


def draw_stacks(definition, trials):
    """Return stacks of random configs of the default space, each of one shape."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=definition.seed))
    space = distributions(definition)
    asked = [study.ask(space) for _ in range(trials)]
    for start in range(0, trials, definition.stack):
        wave = asked[start : start + definition.stack]
        shared = {key: wave[0].params[key] for key in STRUCTURAL}
        yield [resolve_config(definition, {**t.params, **shared}, {}, t.number) for t in wave]


def score(stack, data, x_test, y_test):
    """Return (K, 5): the validated scores, then the test scores."""
    (fold,) = data.folds
    of_fold = predict_probabilities(stack.parameters, stack.shape, fold.x_validation)
    on_validation = data.pool([of_fold])
    validated = validate(on_validation, torch.zeros(len(stack)), data, stack.configs[0]).macro
    thresholds = best_thresholds(
        rank(on_validation, data.y_validation), parse_threshold_metric("f1")
    )
    on_test = predict_probabilities(stack.parameters, stack.shape, x_test)
    f1 = confusion(on_test, y_test, thresholds).f_beta().mean(1)
    area = average_precision(rank(on_test, y_test)).mean(1)
    return torch.stack([*(validated[name] for name in VALIDATED), f1, area], dim=1).numpy()


def criteria_of(scores):
    """Return each criterion's (K, E) values from scores (K, E, 5); nan once a trial has ended."""
    criteria = {name: scores[..., i] for i, name in enumerate(VALIDATED)}
    for name in ("macro_f1", "average_precision"):
        values = criteria[name]
        ends = range(1, values.shape[1] + 1)
        recent = [values[:, max(0, end - SMOOTHED) : end].mean(1) for end in ends]
        criteria[f"{name}, mean of {SMOOTHED} epochs"] = np.stack(recent, axis=1)
    criteria["macro_f1 + average_precision"] = criteria["macro_f1"] + criteria["average_precision"]
    return criteria


def train(configs, data, x_test, y_test, epochs, patience):
    """Return scores (K, epochs, 5), nan from where no criterion has a use for more epochs."""
    scores = np.full((len(configs), epochs, len(VALIDATED) + len(TEST)), math.nan)
    (fold,) = data.folds
    stack, members = start_stack(fold, configs), list(range(len(configs)))
    for epoch in range(epochs):
        train_epoch(stack, fold)
        scores[members, epoch] = score(stack, data, x_test, y_test)
        seen = criteria_of(scores[members, : epoch + 1]).values()
        latest_best = np.max([values.argmax(1) for values in seen], axis=0)
        stay = np.flatnonzero(epoch - latest_best < patience).tolist()
        if not stay:
            break
        if len(stay) < len(members):
            stack, members = stack.select(stay), [members[k] for k in stay]
    return scores


def stopping_epochs(values, patience):
    """Return the best epoch (K,) of values (K, E) up to where patience runs out."""
    best = np.zeros(len(values), dtype=int)
    for epoch in range(values.shape[1]):
        better = values[:, epoch] > values[np.arange(len(values)), best]
        best = np.where(better & (epoch - best <= patience), epoch, best)
    return best


def judge(scores, patience, n_trials, draws, seed):
    """Return {(epoch criterion, trial criterion): (test macro-F1, test average precision)}."""
    random = np.random.default_rng(seed)
    subsets = np.stack([random.permutation(len(scores))[:n_trials] for _ in range(draws)])
    criteria, found = criteria_of(scores), {}
    for by_epoch, by_trial in itertools.product(criteria, criteria):
        epochs = stopping_epochs(criteria[by_epoch], patience)
        at_best = np.arange(len(scores)), epochs
        values, test = criteria[by_trial][at_best], scores[at_best][:, len(VALIDATED) :]
        chosen = subsets[np.arange(draws), values[subsets].argmax(1)]
        found[by_epoch, by_trial] = test[chosen].mean(0)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--group")
    parser.add_argument("--sequence")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40, help="trained for each seed")
    parser.add_argument("--of", type=int, default=20, help="trials that one is chosen from")
    parser.add_argument("--draws", type=int, default=2000, help="subsets of so many trials")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = {
        "csv": arguments.csv,
        "labels": arguments.label,
        "group": arguments.group,
        "sequence": arguments.sequence,
    }
    by_seed = []
    for seed in range(arguments.seeds):
        definition = load_definition(
            "default",
            {
                "name": "s",
                "table": table,
                "seed": seed,
                "split": {"folds": 1},
                "space": {"batch_size": [128, 256, 512]},
            },
        )
        experiment = prepare(definition, Workspace(Path("/tmp")), "memory", "cpu").experiment
        rows, read = experiment.test_rows, experiment.table
        inputs = torch.from_numpy(experiment.features[0].transform(read.columns.iloc[rows]))
        x_test, y_test = Shape.pad_inputs(inputs), torch.from_numpy(read.labels[rows])
        scores = np.concatenate(
            [
                train(stack, experiment.data, x_test, y_test, arguments.epochs, arguments.patience)
                for stack in draw_stacks(definition, arguments.trials)
            ]
        )
        by_seed.append(judge(scores, arguments.patience, arguments.of, arguments.draws, seed))
    rows = [
        {"epoch": pair[0], "trial": pair[1]}
        | {name: [float(found[pair][i]) for found in by_seed] for i, name in enumerate(TEST)}
        for pair in by_seed[0]
    ]
    if arguments.json:
        print(json.dumps({"seeds": arguments.seeds, "of": arguments.of, "pairs": rows}))
        return
    baseline = np.array([row[TEST[0]] for row in rows if (row["epoch"], row["trial"]) == BASELINE])
    for row in sorted(rows, key=lambda row: -np.mean(row[TEST[0]])):
        f1, area = np.array(row[TEST[0]]), np.array(row[TEST[1]])
        print(
            f"epoch by {row['epoch']:36} trial by {row['trial']:36} test macro-F1 {f1.mean():.4f} "
            f"({(f1 - baseline).mean():+.4f})  average precision {area.mean():.4f}"
        )


if __name__ == "__main__":
    main()
