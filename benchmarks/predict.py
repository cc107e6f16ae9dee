"""How fast is `raretune predict`, and does its memory stay flat?

    python benchmarks/predict.py [--rows 250000 1000000] [--text 0] [--members 8] [--rounds 3]

Synthetic CSVs of 50 feature columns, some of them text if asked for, every tenth with missing
values; a network of two layers of 128 and three labels, trained for an epoch on 20,000 rows. Each
figure is the median over rounds of a whole process of the real command: its start, its reading and
its writing are in it. The bound is a process that does nothing but read the same file with
pyarrow, on all cores, whole. This process stays small, because Linux counts the size of a
parent at the time of the start into the peak of its child.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv
from rich.console import Console
from rich.table import Table

COLUMNS, LABELS, TRAIN_ROWS, CHUNK = 50, 3, 20_000, 20_000
WORDS = np.array(["none", "mild", "moderate", "severe", "unknown"])
RARETUNE = Path(sys.executable).with_name("raretune")
FOLDS = 5
ENSEMBLE = """
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from trainer.checkpoint import load_checkpoint, save_checkpoint

one, members, folds = load_checkpoint(Path(sys.argv[1])), int(sys.argv[3]), int(sys.argv[4])
member = {"weight": 1 / members, "config": one.record.config, "best_epoch": 1}
described = [{**member, "trial": {"study": "benchmark", "number": i}} for i in range(members)]
record = one.record.model_copy(
    update={"members": tuple(described), "features": one.record.features * folds}
)
networks = tuple(deepcopy(one.networks[0]) for _ in range(members * folds))
whole = replace(one, record=record, networks=networks)
save_checkpoint(Path(sys.argv[2]), whole)
"""
BOUND = "import sys; from pyarrow import csv; csv.read_csv(sys.argv[1])"


@dataclass(frozen=True)
class Process:
    """What a process took: seconds on the clock and of CPU, and its peak of resident memory."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(*command: object) -> Process:
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Process(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def draw(random: np.random.Generator, rows: int, n_text: int, *, labelled: bool) -> pa.Table:
    """Return columns of four decimals or words, and rare labels that depend on them."""
    x = random.normal(size=(COLUMNS - n_text, rows)).round(4)
    missing = random.random(x.shape) < 0.05
    missing[np.arange(len(x)) % 10 > 0] = False
    columns = {f"x{i}": pa.array(x[i], mask=missing[i]) for i in range(len(x))}
    for i in range(n_text):
        columns[f"t{i}"] = pa.array(WORDS[random.integers(0, len(WORDS), rows)])
    for i in range(LABELS if labelled else 0):
        score = x[i : i + 5].sum(axis=0) + random.normal(size=rows)
        columns[f"label{i}"] = pa.array((score > 4).astype(np.int8))
    return pa.table(columns)


def write(path: Path, rows: int, n_text: int, *, labelled: bool = False) -> Path:
    random = np.random.default_rng(rows)
    sizes = [min(CHUNK, rows - start) for start in range(0, rows, CHUNK)]
    first = draw(random, sizes[0], n_text, labelled=labelled)
    with csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for size in sizes[1:]:
            writer.write_table(draw(random, size, n_text, labelled=labelled))
    return path


def train(folder: Path, n_text: int) -> Path:
    table = write(folder / "train.csv", TRAIN_ROWS, n_text, labelled=True)
    labels = [part for i in range(LABELS) for part in ("--label", f"label{i}")]
    command = [RARETUNE, "train", "--csv_path", table, *labels, "--epochs", 1, "--batch_size", 256]
    checkpoint = folder / "checkpoint"
    ended = subprocess.run(
        [*map(str, command), "--output_dir", str(checkpoint)], capture_output=True, text=True
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return checkpoint


def ensemble_of(checkpoint: Path, members: int) -> Path:
    """Write an ensemble whose networks are all the checkpoint's own."""
    made = checkpoint.with_name("ensemble")
    command = [sys.executable, "-c", ENSEMBLE, checkpoint, made, members, FOLDS]
    subprocess.run([*map(str, command)], check=True)
    return made


def median(processes: list[Process]) -> Process:
    fields = zip(*map(astuple, processes), strict=True)
    return Process(*map(statistics.median, fields))


def compare(
    folder: Path, sizes: list[int], n_text: int, rounds: int, members: int = 8
) -> list[dict]:
    """Return for each size the command's figures, the ensemble's and the bound's, in turns."""
    checkpoint, output, points = train(folder, n_text), folder / "predictions.csv", []
    ensemble = ensemble_of(checkpoint, members)
    for rows in sizes:
        table = write(folder / "new.csv", rows, n_text)
        rest = ("--csv", table, "--output", output)
        turns = [
            (
                measure(RARETUNE, "predict", checkpoint, *rest),
                measure(RARETUNE, "predict", ensemble, *rest),
                measure(sys.executable, "-c", BOUND, table),
            )
            for _ in range(rounds)
        ]
        predict, together, bound = (median(list(side)) for side in zip(*turns, strict=True))
        points.append(
            {
                "rows": rows,
                "csv_mb": table.stat().st_size / 1e6,
                "rows_per_s": rows / predict.wall_s,
                "share_of_bound": bound.wall_s / predict.wall_s,
                "ensemble_share": predict.wall_s / together.wall_s,
                "ensemble_cpu_share": predict.cpu_s / together.cpu_s,
                "predict": asdict(predict),
                "ensemble": asdict(together),
                "bound": asdict(bound),
            }
        )
    return points


def show(points: list[dict]) -> None:
    grid = Table(
        "rows",
        "CSV MB",
        "rows/s",
        "s",
        "CPU s",
        "peak MB",
        "reading s",
        "of bound",
        "ensemble s",
        "its share",
    )
    for p in points:
        predict = p["predict"]
        grid.add_row(
            f"{p['rows']:,}",
            f"{p['csv_mb']:.0f}",
            f"{p['rows_per_s']:,.0f}",
            f"{predict['wall_s']:.2f}",
            f"{predict['cpu_s']:.2f}",
            f"{predict['peak_mb']:.0f}",
            f"{p['bound']['wall_s']:.2f}",
            f"{p['share_of_bound']:.0%}",
            f"{p['ensemble']['wall_s']:.2f}",
            f"{p['ensemble_share']:.0%}",
        )
    Console().print(grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--text", type=int, default=0)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = arguments.rows, arguments.text, arguments.rounds, arguments.members
        points = compare(Path(scratch), *chosen)
    if arguments.json:
        print(json.dumps(points))
    else:
        show(points)


if __name__ == "__main__":
    main()
