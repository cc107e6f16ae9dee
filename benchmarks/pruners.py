"""Which pruner finds the best trial for the same work? Studies in memory at equal model-epochs.

    python benchmarks/pruners.py TABLE.csv --label A --label B ... [--group G] [--sequence S]

Each pruner searches the default space, scored on one validation part, over several seeds until the
same number of model-epochs is spent. Printed per pruner: trials begun, and the best trial's
validated and test macro-F1.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from search.session import prepare
from search.space.strategy import make_pruner, make_sampler
from search.store.storage import open_storage, open_study
from search.waves.optimize import Search
from search.workspace import Workspace
from studies.definition import load_definition
from trainer.experiment import make_checkpoint, with_test_scores

PRUNERS = ("none", "median", "patient", "successive_halving", "hyperband")


def run(definition, experiment, model_epochs):
    study = open_study(open_storage("memory"), "s", {}, pruner=make_pruner(definition))
    study.sampler = make_sampler(definition, 0)
    best = {}

    def keep(number, value, result):
        if value > best.get("value", -1.0):
            best.update(number=number, value=value, result=result)

    search = Search(
        study,
        experiment.data,
        definition,
        should_stop=lambda: search.progress.model_epochs >= model_epochs,
        on_result=keep,
    )
    progress = search.run()
    checkpoint = with_test_scores(make_checkpoint(experiment, best["result"]), experiment)
    test = checkpoint.record.test["macro_f1"]
    return {"trials": progress.done, "validated": best["value"], "test": test}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--group")
    parser.add_argument("--sequence")
    parser.add_argument("--model_epochs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pruner", action="append", choices=PRUNERS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = {
        "csv": arguments.csv,
        "labels": arguments.label,
        "group": arguments.group,
        "sequence": arguments.sequence,
    }
    found = {}
    for pruner in arguments.pruner or PRUNERS:
        for seed in range(arguments.seeds):
            definition = load_definition(
                "default",
                {
                    "name": "s",
                    "table": table,
                    "seed": seed,
                    "split": {"folds": 1},
                    "pruner": pruner,
                    "budget": {"trials": 10_000},
                    "space": {"batch_size": [128, 256, 512]},
                },
            )
            session = prepare(definition, Workspace(Path("/tmp")), "memory", "cpu")
            row = run(definition, session.experiment, arguments.model_epochs)
            found.setdefault(pruner, []).append(row)
            if not arguments.json:
                print(f"{pruner:20} seed {seed}  {row}", flush=True)
    means = {
        pruner: {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
        for pruner, rows in found.items()
    }
    if arguments.json:
        print(json.dumps({"runs": found, "means": means}))
    else:
        for pruner, mean in means.items():
            print(f"{pruner:20} mean    " + "  ".join(f"{k} {v:.4f}" for k, v in mean.items()))


if __name__ == "__main__":
    main()
