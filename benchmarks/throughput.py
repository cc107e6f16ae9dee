"""How many model-epochs a second? The guide's loop, skorch, Lightning, raretune, and the bound.

    python benchmarks/throughput.py [--batch_size 32 ...] [--seconds 10] [--rounds 3] [--json]

    loop       the guide's training script: DataLoader, autograd, scikit-learn (benchmarks/loops.py)
    skorch     the same recipe by skorch
    lightning  the same recipe by PyTorch Lightning
    alone      the same recipe by raretune's fit, a stack of one
    stacks     fit with K mixed members; K is --stack, or the fastest of some
    bound      only the matrix products that such a stack needs

Each runs as processes side by side, one thread each, and its rate is that of all together. A
model-epoch is one network trained once on all train rows and, but for the bound, scored on the
validation rows by macro-F1 at the best thresholds, average precision and ROC AUC. The programs take
turns; the median over the rounds is shown.
"""

import argparse
import json
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table as Grid

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.job import guide_config, mixed_configs, prepare_table, write_table
from benchmarks.side_by_side import Measure, processes
from trainer.commands.device import pick_device
from trainer.commands.terminal import result_console

PROGRAMS = {
    "loop": "benchmarks.loops:train",
    "skorch": "benchmarks.with_skorch:train",
    "lightning": "benchmarks.with_lightning:train",
    "alone": "benchmarks.with_stacks:train",
    "stacks": "benchmarks.with_stacks:train",
    "bound": "benchmarks.with_stacks:multiply",
}
OPTIONAL = ("skorch", "lightning")
STACKED = ("stacks", "bound")
STACKS = {"cpu": (4, 8, 16), "cuda": (64, 128, 256, 512)}
TRIAL_SECONDS = 1.0  # to choose among these
RATIOS = (("alone", "loop"), ("stacks", "loop"), ("stacks", "bound"))


def available() -> list[str]:
    """Return the programs whose packages are installed."""
    missing = [package for package in OPTIONAL if find_spec(package) is None]
    for package in missing:
        print(f"{package} is left out; pip install -e '.[benchmarks]' brings it", file=sys.stderr)
    return [name for name in PROGRAMS if name not in missing]


def fastest_stack(measure: Measure, batch_size: int, sizes: tuple[int, ...]) -> int:
    def rate(members: int) -> float:
        configs = mixed_configs(members, batch_size)
        return measure(PROGRAMS["stacks"], configs, TRIAL_SECONDS).per_second

    return max(sizes, key=rate)


def measure_all(
    measure: Measure, names: list[str], batch_size: int, members: int, seconds: float, rounds: int
) -> dict[str, object]:
    """Return the median rate of each program; K, each round's rates and the last scores beside."""
    found = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            stacked = name in STACKED
            configs = mixed_configs(members, batch_size) if stacked else [guide_config(batch_size)]
            rate = measure(PROGRAMS[name], configs, seconds)
            found[name].append(rate)
            print(
                f"batch {batch_size}, round {turn + 1}: {name} {rate.per_second:.2f}/s, "
                f"average precision {rate.average_precision:.3f} after {rate.epochs + 1} epochs",
                file=sys.stderr,
            )
    rates = {name: [rate.per_second for rate in turns] for name, turns in found.items()}
    return {
        **{name: statistics.median(turns) for name, turns in rates.items()},
        "stack": members,
        "rounds": rates,
        "average_precision": {
            name: turns[-1].average_precision for name, turns in found.items() if name != "bound"
        },
    }


def print_table(names: list[str], by_batch: dict[str, dict], device: str, count: int) -> None:
    grid = Grid(title=f"Model-epochs a second, {count} processes, {device}; lowest-highest round")
    for heading in ("batch", *names, "K", *(f"{over}\n/ {under}" for over, under in RATIOS)):
        grid.add_column(heading, justify="right")
    for batch_size, found in by_batch.items():
        rates = [
            f"{found[name]:.2f}\n{min(found['rounds'][name]):.3g}-{max(found['rounds'][name]):.3g}"
            for name in names
        ]
        ratios = [f"{found[over] / found[under]:.2f}" for over, under in RATIOS]
        grid.add_row(batch_size, *rates, str(found["stack"]), *ratios)
    result_console().print(grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, action="append", help="32, 128 and 512")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stack", type=int, help="K; by default the fastest of some")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", choices=STACKS, default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device, names = pick_device(arguments.device), available()
    sizes = (arguments.stack,) if arguments.stack else STACKS[arguments.device]
    with tempfile.TemporaryDirectory() as folder:
        data = prepare_table(write_table(Path(folder))).data
    by_batch = {}
    with processes(arguments.processes, data, device) as measure:
        for batch_size in arguments.batch_size or (32, 128, 512):
            members = sizes[0] if len(sizes) == 1 else fastest_stack(measure, batch_size, sizes)
            by_batch[str(batch_size)] = measure_all(
                measure, names, batch_size, members, arguments.seconds, arguments.rounds
            )
    if arguments.json:
        print(json.dumps(by_batch))
    else:
        print_table(names, by_batch, arguments.device, arguments.processes)


if __name__ == "__main__":
    main()
