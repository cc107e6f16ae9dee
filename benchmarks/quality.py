"""The exam: how good on new rows is what a search hands over, beside what one would take otherwise?

    python benchmarks/quality.py FOLDER [--seeds 5] [--seconds 120] [--tables nafld,storms]
                                 [--before CHECKOUT] [--output quality.jsonl]

FOLDER holds NAME.csv for each table of its manifest.json, which says the labels, group, sequence
and columns to drop. For each seed and table, one after the other, two processes each, with the same
fifth of the rows, or of the groups, locked as the test:

    raretune  raretune search with its defaults: its best trial and its ensemble; and, by the same
              command again with --compare, the baselines on the same folds
    LightGBM  benchmarks/tuned_lightgbm.py: an Optuna study for each label, for the same seconds
    before    the best trial of an older checkout on one validation part, if a checkout is given

Each run is appended to --output, a line of JSON, as soon as it is done; what is there already is
not run again, so that an interrupted exam goes on with the same command. Rows of other --seconds
are passed over; keep those of another version in another file.

It prints two tables in Markdown: means over the seeds, and what the ensemble is ahead by, paired by
table and seed, with 95 % intervals of Student's t. The splits of a table overlap, so the intervals
are somewhat too narrow. ECE is the expected calibration error, its mean over the labels; "validated
- test" is the validated macro-F1 that a program shows minus that on the test rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(ROOT)

from benchmarks.folds import raretune, search_flags
from benchmarks.paired import Key, Value, mean, paired

RARETUNE, TUNED, BEFORE = PROGRAMS = ("raretune", "LightGBM", "before")
BEST, ENSEMBLE, TUNED_RUN, BEFORE_RUN = "best", "ensemble", "LightGBM + Optuna", "before"


@dataclass(frozen=True)
class Scored:
    """What one thing that a program hands over is worth on the test rows; `took` is in seconds."""

    table: str
    seed: int
    program: str
    variant: str
    limit: float
    macro_f1: float
    average_precision: float
    roc_auc: float | None
    calibration_error: float
    validated: float | None
    took: float

    @property
    def key(self) -> Key:
        """What a run is known by among those of one time limit."""
        return self.table, self.seed, self.variant


COLUMNS: dict[str, Value] = {
    "macro-F1": lambda run: run.macro_f1,
    "AP": lambda run: run.average_precision,
    "ROC AUC": lambda run: run.roc_auc,
    "ECE": lambda run: run.calibration_error,
    "validated - test": lambda run: None if run.validated is None else run.validated - run.macro_f1,
    "seconds": lambda run: run.took,
}
DIGITS = {"seconds": 0}
PAIRED = {name: COLUMNS[name] for name in ("macro-F1", "AP", "ROC AUC", "ECE")}


class Job(NamedTuple):
    """One program on one table and seed."""

    table: str
    seed: int
    program: str


def scores_of(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a test as `search --json` has it."""
    errors = [label["calibration_error"] for label in test["labels"].values()]
    return {
        "macro_f1": test["macro_f1"],
        "average_precision": test["macro_average_precision"],
        "roc_auc": test["macro_roc_auc"],
        "calibration_error": sum(errors) / len(errors),
    }


def searched(found: Mapping[str, Any], best: str, **which: Any) -> list[Scored]:
    """Return what a search hands over, its best trial under the name `best`.

    A version that knows no ensemble, or no baselines, has none. Raises ChildProcessError if no
    trial was complete.
    """
    if found["test"] is None:
        raise ChildProcessError("no trial was complete in time; give it more --seconds")
    which |= {"took": found["seconds"]}
    validated = found["validation"]["macro_f1"]
    runs = [Scored(**which, variant=best, validated=validated, **scores_of(found["test"]))]
    if ensemble := found.get("ensemble"):
        validated = ensemble["validation"]["macro_f1"]
        scores = scores_of(ensemble["test"])
        runs.append(Scored(**which, variant=ENSEMBLE, validated=validated, **scores))
    for name, one in (found.get("baselines") or {}).items():
        if one["failed"]:
            print(f"{which['table']}: {name} failed: {one['failed']}", file=sys.stderr)
            continue
        test = one["test"]
        run = Scored(
            **which | {"took": one["seconds"]},
            variant=name,
            validated=one["validation"]["macro_f1"],
            macro_f1=test["macro_f1"],
            average_precision=test["macro_average_precision"],
            roc_auc=test["macro_roc_auc"],
            calibration_error=test["calibration_error"],
        )
        runs.append(run)
    return runs


def tuned(flags: Sequence[object], **which: Any) -> list[Scored]:
    """Return the run of LightGBM tuned; raises ChildProcessError with its last line."""
    command = [sys.executable, ROOT / "benchmarks" / "tuned_lightgbm.py", *flags]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if ended.returncode:
        raise ChildProcessError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
    found = json.loads(ended.stdout)
    validated, took = found["validation"]["macro_f1"], found["seconds"]
    scores = scores_of(found["test"])
    return [Scored(**which, variant=TUNED_RUN, validated=validated, took=took, **scores)]


def do(job: Job, entry: Mapping[str, Any], folder: Path, limit: float, before: Path | None) -> list:
    """Return a job's runs; raises ChildProcessError if a command fails."""
    which = {**job._asdict(), "limit": limit}
    flags = search_flags(job.table, entry, folder, job.seed, limit)
    if job.program == TUNED:
        return tuned(tuned_flags(job, entry, folder, limit), **which)
    with tempfile.TemporaryDirectory(prefix="raretune") as place:
        if job.program == RARETUNE:
            found = raretune(ROOT, Path(place), "search", *flags)
            again = raretune(ROOT, Path(place), "search", *no_more_trials(flags), "--compare")
            return searched({**found, "baselines": again["baselines"]}, BEST, **which)
        one_part = ["--folds", 1] if knows_folds(before) else []
        found = raretune(before, Path(place), "search", *flags, *one_part)
        return searched({**found, "ensemble": None, "baselines": None}, BEFORE_RUN, **which)


def no_more_trials(flags: Sequence[str]) -> list[str]:
    """Return the flags of a search that has all its trials: then its seconds are its own alone."""
    place = flags.index("--trials") + 1
    return [*flags[:place], "1", *flags[place + 1 :]]


def tuned_flags(job: Job, entry: Mapping[str, Any], folder: Path, limit: float) -> list[object]:
    """Return the flags of LightGBM tuned, by a table's entry in the manifest."""
    flags = [folder / f"{job.table}.csv", "--seconds", limit, "--seed", job.seed]
    for name, values in (("label", entry["labels"]), ("drop", entry.get("drop", ()))):
        for value in values:
            flags += [f"--{name}", value]
    for name in ("group", "sequence"):
        flags += [f"--{name}", entry[name]] if entry.get(name) else []
    return flags


def knows_folds(checkout: Path) -> bool:
    """Return whether a version can be told to validate on one part; the earliest always did."""
    return "folds: Folds" in (checkout / "search" / "cli.py").read_text(encoding="utf-8")


def read_runs(path: Path, limit: float) -> list[Scored]:
    """Return the runs of a file that had so many seconds; none if it does not exist yet."""
    if not path.exists():
        return []
    runs = [Scored(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({run.key: run for run in runs if run.limit == limit}.values())


def left_to_do(jobs: Sequence[Job], done: Sequence[Scored]) -> list[Job]:
    """Return the jobs of which nothing is there."""
    there = {(run.table, run.seed, run.program) for run in done}
    return [job for job in jobs if job not in there]


def markdown(runs: Sequence[Scored]) -> str:
    """Return both tables."""
    variants = list(dict.fromkeys(run.variant for run in runs))
    tables = list(dict.fromkeys(run.table for run in runs))
    lines = _rows(["table", "", "seeds", *COLUMNS], texts=2)
    for table in (*tables, "all") if len(tables) > 1 else tables:
        for variant in variants:
            own = [run for run in runs if run.variant == variant and table in (run.table, "all")]
            if own:
                cells = [_shown(mean(own, v), DIGITS.get(n, 4)) for n, v in COLUMNS.items()]
                seeds = str(len({run.seed for run in own}))
                lines.append(_row([table, variant, seeds, *cells]))
    lines += ["", *_rows(["ensemble minus", *PAIRED, "tables ahead in macro-F1, AP"], texts=1)]
    for variant in variants:
        pairs = {n: paired(runs, ENSEMBLE, variant, value) for n, value in PAIRED.items()}
        if variant != ENSEMBLE and pairs["macro-F1"]:
            cells = ["" if one is None else _difference(one) for one in pairs.values()]
            ahead = [
                f"{sum(mean > 0 for mean in pairs[name].by_table.values())} of {len(tables)}"
                for name in ("macro-F1", "AP")
            ]
            lines.append(_row([variant, *cells, ", ".join(ahead)]))
    return "\n".join(lines)


def _difference(found: Any) -> str:
    limits = found.interval
    shown = "" if limits is None else f" ({limits[0]:+.4f} to {limits[1]:+.4f})"
    return f"{found.mean:+.4f}{shown}"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(headings: Sequence[str], texts: int) -> list[str]:
    rule = ["---"] * texts + ["---:"] * (len(headings) - texts)
    return [_row(headings), f"|{'|'.join(rule)}|"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="of each program")
    parser.add_argument("--tables", help="names, with commas between them; all by default")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="of an older version")
    parser.add_argument("--output", type=Path, default=Path("quality.jsonl"))
    given = parser.parse_args()
    folder, before = given.folder.resolve(), given.before and given.before.resolve()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    names = given.tables.split(",") if given.tables else list(manifest)
    if unknown := [name for name in names if name not in manifest]:
        parser.error(f"{unknown[0]!r} is not in {folder / 'manifest.json'}: {', '.join(manifest)}")
    if before and not (before / "search" / "cli.py").exists():
        parser.error(f"--before {before} is no checkout of raretune")
    programs = [
        RARETUNE,
        *([TUNED] if find_spec("lightgbm") else []),
        *([BEFORE] if before else []),
    ]
    if TUNED not in programs:
        print("LightGBM is left out: pip install 'raretune[baselines]'", file=sys.stderr)
    jobs = [Job(n, seed, p) for seed in range(given.seeds) for n in names for p in programs]
    for job in left_to_do(jobs, read_runs(given.output, given.seconds)):
        try:
            runs = do(job, manifest[job.table], folder, given.seconds, before)
        except ChildProcessError as error:
            print(f"{job.table}, seed {job.seed}, {job.program} failed: {error}", file=sys.stderr)
            continue
        with given.output.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)
        for run in runs:
            scores = f"macro-F1 {run.macro_f1:.4f}, AP {run.average_precision:.4f}"
            print(f"{run.table}, seed {run.seed}, {run.variant}: {scores}", file=sys.stderr)
    asked = set(jobs)
    done = read_runs(given.output, given.seconds)
    print(markdown([run for run in done if (run.table, run.seed, run.program) in asked]))


if __name__ == "__main__":
    main()
