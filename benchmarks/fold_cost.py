"""What do folds cost? One epoch of the same runs on K folds and on one validation part, in turn.

    python benchmarks/fold_cost.py [--folds 5] [--rounds 5] [--json]

Eight runs of each kind train side by side, as in a search; an epoch is everything that `fit` does
for it: steps, scores of the held-out rows, keeping the best parameters. With 5 folds of all rows
but test, the networks train on 5.33 times as many rows as one that leaves 25 % of them for
validation, and 4 times as many are scored. CPU time of one process and one torch thread counts, so
that what else runs disturbs little; the two sides take turns.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.table import Table as Grid

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.job import ENDLESS, mixed_configs, prepare_table, write_table
from trainer.commands.terminal import result_console
from trainer.config import TrainConfig
from trainer.loop.fit import fit
from trainer.stack.tensors import TrainingData

RUNS, EPOCHS = 8, 2  # epochs that are timed, after one that warms the caches
SIZES = ((32, 128, 2), (128, 128, 2), (512, 128, 2), (128, 256, 1))  # batch, width, layers


def seconds_an_epoch(data: TrainingData, configs: list[TrainConfig]) -> float:
    """Return the CPU time that one epoch of one run takes."""
    ends: list[float] = []

    def on_epoch(report: object) -> list[bool]:
        ends.append(time.process_time())
        return [len(ends) <= EPOCHS] * len(configs)

    fit(data, configs, on_epoch)
    return (ends[-1] - ends[0]) / EPOCHS / len(configs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder))
        sides = [prepare_table(table, folds=folds).data for folds in (1, arguments.folds)]
    found = []
    for batch_size, hidden_dim, num_layers in SIZES:
        size = {"hidden_dim": hidden_dim, "num_layers": num_layers}
        configs = [
            TrainConfig.create(**config.model_dump() | ENDLESS | size)
            for config in mixed_configs(RUNS, batch_size)
        ]
        ratios = []
        for _ in range(arguments.rounds):
            one_part, on_folds = (seconds_an_epoch(data, configs) for data in sides)
            ratios.append(on_folds / one_part)
        ratio = statistics.median(ratios)
        found.append({"batch_size": batch_size, **size, "ratio": ratio, "rounds": ratios})
    if arguments.json:
        print(json.dumps(found))
        return
    grid = Grid(title=f"An epoch on {arguments.folds} folds / on one part; lowest-highest round")
    for heading in ("batch", "network", "ratio", "rounds"):
        grid.add_column(heading, justify="right")
    for row in found:
        network = f"{row['num_layers']} x {row['hidden_dim']}"
        spread = f"{min(row['rounds']):.2f}-{max(row['rounds']):.2f}"
        grid.add_row(str(row["batch_size"]), network, f"{row['ratio']:.2f}", spread)
    result_console().print(grid)


if __name__ == "__main__":
    main()
