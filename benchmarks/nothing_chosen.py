"""How far do held-out rows and test rows lie apart where nothing is chosen? Plain BCE on folds.

    python benchmarks/nothing_chosen.py FOLDER [--seeds 5] [--tables nafld,storms] [--json]

The search of benchmarks/folds.py shows a score that is to hold on test rows. Test rows may be
harder or easier than others by chance, and that is the same for everything on the same split. Here
three runs of plain BCE train for a fixed number of epochs on the same folds, so that nothing is
chosen but cross-fitted thresholds; the mean of validated - test is chance. Beside it is that of the
same runs with the epoch chosen, as every run does.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
from rich.table import Table as Grid

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer.commands.terminal import result_console
from trainer.config import TrainConfig
from trainer.data.table import Roles, read_table
from trainer.experiment import (
    Experiment,
    SplitSettings,
    finished,
    make_checkpoint,
    place_experiment,
)
from trainer.loop.fit import fit

EPOCHS, RUNS, FOLDS, SHARE = 12, 3, 5, 0.2


def gap(experiment: Experiment, *, keep_last: bool) -> float:
    """Return the mean of validated - test macro-F1 over the runs."""
    configs = [TrainConfig.create(epochs=EPOCHS, seed=seed) for seed in range(RUNS)]
    gaps = []
    for result in fit(experiment.data, configs, keep_last=keep_last):
        test = finished(make_checkpoint(experiment, result), experiment).record.test
        gaps.append(result.scores["macro_f1"] - test["macro_f1"])
    return statistics.mean(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", help="some of the manifest's, with commas between")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    manifest = json.loads((arguments.folder / "manifest.json").read_text(encoding="utf-8"))
    names = arguments.tables.split(",") if arguments.tables else list(manifest)
    found = []
    for name in names:
        entry = manifest[name]
        roles = Roles(
            tuple(entry["labels"]),
            group=entry.get("group"),
            sequence=entry.get("sequence"),
            drop=tuple(entry.get("drop", ())),
        )
        table = read_table(arguments.folder / f"{name}.csv", roles)
        for seed in range(arguments.seeds):
            settings = SplitSettings(SHARE, SHARE, seed, FOLDS)
            experiment = place_experiment(table, settings, torch.device("cpu"))
            row = {"table": name, "seed": seed}
            row |= {"fixed": gap(experiment, keep_last=True)}
            row |= {"chosen": gap(experiment, keep_last=False)}
            found.append(row)
            print(f"{name}, seed {seed}: {row['fixed']:+.4f}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(found))
        return
    grid = Grid(title="Validated - test macro-F1 of plain BCE, mean +- its standard error")
    for heading in ("epoch", "validated - test"):
        grid.add_column(heading, justify="right")
    for epoch in ("fixed", "chosen"):
        gaps = [row[epoch] for row in found]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
        grid.add_row(epoch, f"{statistics.mean(gaps):+.4f} +- {error:.4f}")
    result_console().print(grid)


if __name__ == "__main__":
    main()
