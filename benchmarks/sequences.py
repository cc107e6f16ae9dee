"""What does a digit string add? Average precision with its features and without them.

    python benchmarks/sequences.py TABLE.csv --label A --label B ... --sequence S [--group G]

Both sides train the same network on the same splits, once a seed.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer.config import TrainConfig
from trainer.data.table import Roles
from trainer.experiment import (
    SplitSettings,
    make_checkpoint,
    prepare_experiment,
    with_test_scores,
)
from trainer.loop.fit import fit


def test_average_precision(path, roles, seed):
    settings = SplitSettings(val_size=0.2, test_size=0.2, seed=seed)
    experiment = prepare_experiment(path, roles, settings, torch.device("cpu"))
    config = TrainConfig.create(early_stop_metric="average_precision", seed=seed)
    result = fit(experiment.data, [config])[0]
    checkpoint = with_test_scores(make_checkpoint(experiment, result), experiment)
    return checkpoint.record.test["macro_average_precision"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--group")
    parser.add_argument("--sequence", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    labels, group, sequence = tuple(arguments.label), arguments.group, arguments.sequence
    sides = {
        "with": Roles(labels, group, sequence=sequence),
        "without": Roles(labels, group, drop=(sequence,)),
    }
    found = {
        side: [test_average_precision(arguments.csv, roles, s) for s in range(arguments.seeds)]
        for side, roles in sides.items()
    }
    if arguments.json:
        print(json.dumps(found))
        return
    for side, scores in found.items():
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(f"{side:8} test average precision {statistics.mean(scores):.4f} +- {spread:.4f}")


if __name__ == "__main__":
    main()
