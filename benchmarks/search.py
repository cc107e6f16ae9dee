"""How long does a whole study take? Optuna with a training loop, two processes, and raretune.

    python benchmarks/search.py [--trials 100] [--folds 5] [--plain_trials 20] [--json]

The same table, split, folds, space, first three recipes, TPE, halving from epoch 5 on and patience,
one after the other: benchmarks/plain_optuna.py, started twice on one SQLite file, and `raretune
search nafld --workers 2`. Each is timed as processes, from the start to the best trial's test
score.

The plain one takes an hour or so; --plain_trials lets it do fewer, and its time is then scaled by
the number of trials. Later trials are pruned more often than the first, so this makes raretune look
better. Validated scores can't be compared, as raretune's are cross-fitted and corrected for the
search; test scores can. An epoch is counted once for a trial, on however many folds it trains.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import optuna
from rich.table import Table as Grid

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.job import write_table
from benchmarks.plain_optuna import ENDED, STUDY, create_study
from trainer.commands.terminal import result_console

RARETUNE = Path(sys.executable).with_name("raretune")
PROCESSES = 2
HEADINGS = ("seconds", "trials", "pruned", "model_epochs", "validated", "test")


@dataclass(frozen=True)
class Settings:
    """What both programs are given alike."""

    epochs: int
    seed: int
    folds: int

    @property
    def flags(self) -> list[object]:
        return ["--seed", self.seed, "--folds", self.folds]


def search_plainly(folder: Path, trials: int, settings: Settings) -> dict[str, float]:
    """Return what a study of PROCESSES plain processes took and found."""
    table, url = write_table(folder), f"sqlite:///{folder}/plain.db"
    script = [sys.executable, Path(__file__).with_name("plain_optuna.py"), table, url]
    flags = ["--trials", trials, "--epochs", settings.epochs, *settings.flags]
    started = time.monotonic()
    create_study(url)
    running = []
    for i in range(PROCESSES):
        running.append(_start([*script, *flags, "--process", i]))
        _wait_for_trial(url, i, running[i])
    found = [_result(process) for process in running]
    seconds = time.monotonic() - started
    best = max(found, key=lambda one: one["validated"] or 0.0)
    return {"seconds": seconds, **count(url), **best}


def search_with_raretune(folder: Path, trials: int, settings: Settings) -> dict[str, float]:
    """Return what `raretune search` took and found, its table written before it starts."""
    write_table(folder / "tables")
    command = [RARETUNE, "search", "nafld", "--workers", PROCESSES, "--workspace", folder, "--json"]
    epochs = f"training.epochs={settings.epochs}"
    flags = ["--trials", trials, "--set", epochs, *settings.flags]
    started = time.monotonic()
    found = _result(_start([*command, *flags]))
    return {
        "seconds": time.monotonic() - started,
        **count(f"sqlite:///{folder}/studies.db"),
        "validated": found["validation"]["macro_f1"],
        "test": found["test"]["macro_f1"],
    }


def count(url: str) -> dict[str, int]:
    """Return how many trials ended, how many of them pruned, and all epochs that were reported."""
    trials = optuna.load_study(study_name=STUDY, storage=url).get_trials(deepcopy=False)
    return {
        "trials": sum(trial.state in ENDED for trial in trials),
        "pruned": sum(trial.state == optuna.trial.TrialState.PRUNED for trial in trials),
        "model_epochs": sum(len(trial.intermediate_values) for trial in trials),
    }


def _wait_for_trial(url: str, number: int, process: subprocess.Popen) -> None:
    """Wait until a process has taken a trial: in SQLite, two that ask at once may get the same."""
    study = optuna.load_study(study_name=STUDY, storage=url)
    taken = [state for state in optuna.trial.TrialState if state.name != "WAITING"]
    while len(study.get_trials(deepcopy=False, states=taken)) <= number and process.poll() is None:
        time.sleep(0.1)


def _start(command: list[object]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, env=environment)


def _result(process: subprocess.Popen) -> dict:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args[:3]} ended with {process.returncode}; see its last lines")
    return json.loads(out)


def print_table(found: dict) -> None:
    on = "one part" if found["folds"] == 1 else f"{found['folds']} folds"
    grid = Grid(title=f"A study of {found['trials']} trials on {on}, {PROCESSES} processes")
    grid.add_column("program")
    for heading in HEADINGS:
        grid.add_column(heading, justify="right")
    for name in ("plain", "raretune"):
        values = [found[name][key] for key in HEADINGS]
        shown = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in values[1:]]
        grid.add_row(name, f"{values[0]:.0f}", *shown)
    result_console().print(grid)
    done = found["plain"]["trials"]
    how = "" if done == found["trials"] else f", scaled from its {done} trials"
    result_console().print(
        f"For {found['trials']} trials the plain one takes {found['plain_seconds']:.0f} s{how}: "
        f"{found['ratio']:.2f} times as long as raretune."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--plain_trials", type=int, help="of the plain one; as many by default")
    parser.add_argument("--epochs", type=int, default=100, help="of a trial, at most")
    parser.add_argument("--folds", type=int, default=1, help="that hold out rows to score on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    trials = arguments.trials
    settings = Settings(arguments.epochs, arguments.seed, arguments.folds)
    with tempfile.TemporaryDirectory() as folder:
        own = search_with_raretune(Path(folder), trials, settings)
        print(f"raretune: {own}", file=sys.stderr)
        plain = search_plainly(Path(folder), arguments.plain_trials or trials, settings)
        print(f"plain: {plain}", file=sys.stderr)
    plain_seconds = plain["seconds"] * trials / plain["trials"]
    found = {
        "trials": trials,
        "folds": settings.folds,
        "plain": plain,
        "raretune": own,
        "plain_seconds": plain_seconds,
        "ratio": plain_seconds / (own["seconds"] * trials / own["trials"]),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        print_table(found)


if __name__ == "__main__":
    main()
