"""Do folds find what holds on new rows? Searches on one part and on folds, over tables and splits.

    python benchmarks/folds.py FOLDER [--seeds 5] [--seconds 60] [--tables nafld,storms]
                               [--before CHECKOUT] [--output rows.jsonl]

FOLDER holds NAME.csv for each table of its manifest.json, which says the labels, group, sequence
and columns to drop. For each split seed and table, one after the other, two processes each:

    one part  raretune search --folds 1; not run where an older checkout is given
    folds     raretune search, which chooses the number of folds itself
    refit     what `raretune retrain --refit all` makes of the best trial of the one above
    before    the search of an older checkout, if one is given

Each run is appended to --output, a line of JSON, as soon as it is done; what is there already is
not run again, so that an interrupted comparison goes on with the same command. Rows of other
--seconds are passed over; keep those of another version, or of another CHECKOUT, in another file.

"validated" is the macro-F1 that the search shows, corrected for the search where it does that;
"uncorrected" is the best trial's own. Differences are paired by table and seed, with 95 % intervals
of Student's t; the splits of a table overlap, so the intervals are somewhat too narrow.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(ROOT)

from benchmarks.paired import BEFORE, FOLDS, ONE_PART, REFIT, Key, Run, print_results

RARETUNE = "from search.cli import main; main()"  # of the checkout that PYTHONPATH names
WORKERS, ENDLESS_TRIALS = 2, 100_000


def search_flags(name: str, table: dict, folder: Path, seed: int, seconds: float) -> list[str]:
    """Return the flags of a table's search, by its entry in the manifest."""
    flags = ["--csv", folder / f"{name}.csv"]
    for label in table["labels"]:
        flags += ["--label", label]
    for flag in ("group", "sequence"):
        if table.get(flag):
            flags += [f"--{flag}", table[flag]]
    for column in table.get("drop", ()):
        flags += ["--drop", column]
    flags += ["--workers", WORKERS, "--timeout", seconds, "--trials", ENDLESS_TRIALS]
    return [str(flag) for flag in (*flags, "--seed", seed, "--name", name)]


def raretune(checkout: Path, workspace: Path, *arguments: object) -> dict:
    """Return what a command of a checkout prints; raises ChildProcessError with its last line.

    It runs in the workspace, as a checkout that lies in the current folder would come first.
    """
    command = [sys.executable, "-c", RARETUNE, *map(str, arguments)]
    ended = subprocess.run(
        [*command, "--workspace", str(workspace), "--json"],
        capture_output=True,
        text=True,
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
    )
    if ended.returncode:
        raise ChildProcessError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return json.loads(ended.stdout)


def searched(found: dict, **which: object) -> Run:
    """Return the run that a search's JSON tells of, that of an older version too."""
    validation, test = found["validation"], found["test"]
    if test is None:
        raise ChildProcessError("no trial was complete in time; give it more --seconds")
    return Run(
        **which,
        test_f1=test["macro_f1"],
        test_ap=test["macro_average_precision"],
        validated=validation["macro_f1"],
        uncorrected=validation.get("uncorrected_macro_f1", validation["macro_f1"]),
        folds=validation.get("folds", 1),
        trials=sum(found["trials"].values()),
        took=found["seconds"],
    )


def refitted(found: dict, took: float, **which: object) -> Run:
    """Return the run that a refit's JSON tells of."""
    test = found["test"]
    scores = {"test_f1": test["macro_f1"], "test_ap": test["macro_average_precision"]}
    return Run(**which, **scores, took=took)


class Job(NamedTuple):
    """A search of one table and seed by one of the variants; `folds` is then refitted too."""

    table: str
    seed: int
    variant: str

    @property
    def makes(self) -> list[Key]:
        """What its runs are known by."""
        variants = (FOLDS, REFIT) if self.variant == FOLDS else (self.variant,)
        return [(self.table, self.seed, variant) for variant in variants]


def left_to_do(jobs: Sequence[Job], done: Sequence[Run]) -> list[Job]:
    """Return the jobs of which some run is missing."""
    there = {run.key for run in done}
    return [job for job in jobs if not there.issuperset(job.makes)]


def do(job: Job, flags: Sequence[str], limit: float, before: Path | None) -> list[Run]:
    """Return a job's runs; raises ChildProcessError if a command fails."""
    which = {"table": job.table, "seed": job.seed, "limit": limit}
    checkout = before if before and job.variant == BEFORE else ROOT
    folds = ["--folds", 1] if job.variant == ONE_PART else []
    with tempfile.TemporaryDirectory(prefix="raretune") as folder:
        workspace = Path(folder)
        found = raretune(checkout, workspace, "search", *flags, *folds)
        runs = [searched(found, variant=job.variant, **which)]
        if job.variant == FOLDS:
            started = time.monotonic()
            given = (job.table, "--refit", "all", "--output", workspace / "refit")
            found = raretune(checkout, workspace, "retrain", *given)
            runs.append(refitted(found, time.monotonic() - started, variant=REFIT, **which))
    return runs


def read_runs(path: Path, limit: float) -> list[Run]:
    """Return the runs of a file that had so many seconds; none if it does not exist yet."""
    if not path.exists():
        return []
    runs = [Run(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({run.key: run for run in runs if run.limit == limit}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="of each search")
    parser.add_argument("--tables", help="names, with commas between them; all by default")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="of an older version")
    parser.add_argument("--output", type=Path, default=Path("rows.jsonl"))
    arguments = parser.parse_args()
    folder, before = arguments.folder.resolve(), arguments.before and arguments.before.resolve()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    names = arguments.tables.split(",") if arguments.tables else list(manifest)
    if unknown := [name for name in names if name not in manifest]:
        parser.error(f"{unknown[0]!r} is not in {folder / 'manifest.json'}: {', '.join(manifest)}")
    if before and not (before / "search" / "cli.py").exists():
        parser.error(f"--before {before} is no checkout of raretune")
    variants = (BEFORE if before else ONE_PART, FOLDS)
    jobs = [Job(n, seed, v) for seed in range(arguments.seeds) for n in names for v in variants]
    limit = arguments.seconds
    for job in left_to_do(jobs, read_runs(arguments.output, limit)):
        flags = search_flags(job.table, manifest[job.table], folder, job.seed, limit)
        try:
            runs = do(job, flags, limit, before)
        except ChildProcessError as error:
            print(f"{job.table}, seed {job.seed}, {job.variant} failed: {error}", file=sys.stderr)
            continue
        with arguments.output.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)
        for run in runs:
            print(run.sentence, file=sys.stderr)
    asked = {key for job in jobs for key in job.makes}
    print_results([run for run in read_runs(arguments.output, limit) if run.key in asked])


if __name__ == "__main__":
    main()
