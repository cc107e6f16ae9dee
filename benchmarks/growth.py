"""What does an epoch cost as a table or a stack grows? Ten times the rows or labels, more members.

    python benchmarks/growth.py [--rounds 3] [--plot FILE.html] [--json]

Synthetic tables; an epoch trains a stack of mixed members (two hidden layers of 128, batch 128) and
scores it on a quarter as many validation rows. Cost is the process's CPU time for a whole stack on
one thread, the median over rounds in which all sizes take turns. A factor is a cost divided by that
of the size before it: 10 for ten times the rows is proportional, less is better.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.job import mixed_configs
from trainer.loop.fit import EpochReport, fit
from trainer.stack.model import Shape
from trainer.stack.tensors import FoldData, TrainingData

FEATURES, BATCH_SIZE, POSITIVE_SHARE = 64, 128, 0.05


@dataclass(frozen=True)
class Size:
    rows: int
    labels: int = 7
    members: int = 8


def series(rows: int) -> dict[str, list[Size]]:
    """Return the sizes that grow in one respect each, all from the same beginning."""
    base = Size(rows)
    return {
        "rows": [base, replace(base, rows=10 * rows)],
        "labels": [base, replace(base, labels=10 * base.labels)],
        "members": [replace(base, members=base.members * 2**i) for i in range(4)],
    }


def make_data(size: Size) -> TrainingData:
    """Draw a table whose labels, POSITIVE_SHARE of them positive, depend on its features."""
    generator = torch.Generator().manual_seed(0)
    n_validation = size.rows // 4
    x = torch.randn(size.rows + n_validation, FEATURES, generator=generator)
    score = x @ torch.randn(FEATURES, size.labels, generator=generator) / FEATURES**0.5
    score += torch.randn(score.shape, generator=generator)
    y = (score > score.quantile(1 - POSITIVE_SHARE, dim=0)).float()
    places = torch.arange(n_validation)
    fold = FoldData(
        x_train=Shape.pad_inputs(x[: size.rows]),
        y_train=Shape.pad_targets(y[: size.rows]),
        x_validation=Shape.pad_inputs(x[size.rows :]),
        y_validation=y[size.rows :].contiguous(),
        places=places,
        features=FEATURES,
    )
    return TrainingData(
        folds=(fold,),
        y_validation=fold.y_validation,
        cross_fold=places % 5,
        groups=None,
        labels=tuple(f"label_{i}" for i in range(size.labels)),
    )


def cost(size: Size) -> float:
    """Return the CPU seconds of a stack's second epoch; the first warms up."""
    ends = []

    def note(report: EpochReport) -> list[bool]:
        ends.append(time.process_time())
        return [len(ends) < 2] * size.members

    fit(make_data(size), mixed_configs(size.members, BATCH_SIZE), note)
    return ends[1] - ends[0]


def measure(sizes: dict[str, list[Size]], rounds: int) -> dict[str, list[dict]]:
    """Return for each series its points: the size, its cost, and the factor from the one before."""
    every = dict.fromkeys(size for points in sizes.values() for size in points)
    turns = [{size: cost(size) for size in every} for _ in range(rounds)]
    costs = {size: statistics.median(turn[size] for turn in turns) for size in every}
    return {
        name: [
            {
                "size": getattr(size, name),
                "seconds": costs[size],
                "factor": costs[size] / costs[before],
            }
            for before, size in zip([points[0], *points], points, strict=False)
        ]
        for name, points in sizes.items()
    }


def plot(found: dict[str, list[dict]], path: str) -> None:
    """Draw cost over size, both as multiples of the beginning, as a page of its own."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for name, points in found.items():
        first = points[0]
        figure.add_scatter(
            x=[point["size"] / first["size"] for point in points],
            y=[point["seconds"] / first["seconds"] for point in points],
            name=f"{name}, from {first['size']:,} on",
        )
    figure.add_scatter(
        x=[1, 10], y=[1, 10], name="proportional", line={"dash": "dot", "color": "grey"}
    )
    figure.update_xaxes(type="log", title="size, times the first", tickvals=[1, 2, 4, 8, 10])
    figure.update_yaxes(
        type="log", title="CPU time of an epoch, times the first", tickvals=[1, 2, 4, 8, 10]
    )
    figure.update_layout(
        template="simple_white", margin={"t": 20, "r": 20}, legend={"x": 0.02, "y": 0.98}
    )
    figure.write_html(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="train rows to begin with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", metavar="FILE.html")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(series(arguments.rows), arguments.rounds)
    if arguments.plot:
        plot(found, arguments.plot)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, points in found.items():
        for point in points:
            seconds, factor = point["seconds"], point["factor"]
            print(f"{name:8}{point['size']:>8}{seconds:>9.3f} s an epoch   x {factor:.2f}")


if __name__ == "__main__":
    main()
