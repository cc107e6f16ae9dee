"""Searches over tables and seeds compared: means, and differences paired by table and seed."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table as Grid
from scipy import stats

from trainer.commands.terminal import result_console

ONE_PART, FOLDS, REFIT, BEFORE = "one part", "folds", "refit", "before"
VARIANTS = (ONE_PART, FOLDS, REFIT, BEFORE)
PAIRS = ((FOLDS, ONE_PART), (FOLDS, BEFORE), (REFIT, FOLDS))

Key = tuple[str, int, str]  # table, seed, variant


@dataclass(frozen=True)
class Run:
    """What one search, or a refit of what it found, is worth. `took` and `limit` are seconds."""

    table: str
    seed: int
    variant: str
    limit: float
    test_f1: float
    test_ap: float
    validated: float | None = None
    uncorrected: float | None = None
    folds: int | None = None
    trials: int | None = None
    took: float | None = None

    @property
    def key(self) -> Key:
        """What a run is known by among those of one time limit."""
        return self.table, self.seed, self.variant

    @property
    def sentence(self) -> str:
        scores = f"test macro-F1 {self.test_f1:.4f}, AP {self.test_ap:.4f}"
        shown = "" if self.validated is None else f", validated {self.validated:.4f}"
        return f"{self.table}, seed {self.seed}, {self.variant}: {scores}{shown}"


Value = Callable[[Run], float | None]


def above_test(name: str) -> Value:
    """Return how far a run's validated or uncorrected macro-F1 lies above that on test rows."""

    def value(run: Run) -> float | None:
        shown = getattr(run, name)
        return None if shown is None else shown - run.test_f1

    return value


SCORES: dict[str, Value] = {
    "test macro-F1": lambda run: run.test_f1,
    "test AP": lambda run: run.test_ap,
}
GAPS = {f"{name} - test": above_test(name) for name in ("validated", "uncorrected")}
COUNTS: dict[str, Value] = {"folds": lambda run: run.folds, "trials": lambda run: run.trials}


@dataclass(frozen=True)
class Differences:
    """Differences by table and seed, at least one."""

    by_pair: Mapping[tuple[str, int], float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.by_pair.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval by Student's t; None for a single pair."""
        n = len(self.by_pair)
        if n < 2:
            return None
        error = statistics.stdev(self.by_pair.values()) / n**0.5
        half = float(stats.t.ppf(0.975, n - 1)) * error
        return self.mean - half, self.mean + half

    @property
    def by_table(self) -> dict[str, float]:
        """The mean over the seeds of each table."""
        values: dict[str, list[float]] = {}
        for (table, _), value in self.by_pair.items():
            values.setdefault(table, []).append(value)
        return {table: statistics.fmean(of_table) for table, of_table in values.items()}

    @property
    def sentence(self) -> str:
        limits = self.interval
        shown = "" if limits is None else f" (95 %: {limits[0]:+.4f} to {limits[1]:+.4f})"
        above = sum(mean > 0 for mean in self.by_table.values())
        size = statistics.fmean(abs(value) for value in self.by_pair.values())
        return (
            f"{self.mean:+.4f}{shown}, n = {len(self.by_pair)}, mean of sizes {size:.4f}, "
            f"above 0 on {above} of {len(self.by_table)} tables"
        )


def mean(runs: Sequence[Run], value: Value) -> float | None:
    """Return the mean over the runs that have the value; None if none has."""
    values = [found for run in runs if (found := value(run)) is not None]
    return statistics.fmean(values) if values else None


def gaps(runs: Sequence[Run], variant: str, value: Value) -> Differences | None:
    """Return a variant's values that are differences themselves; None without any."""
    of_variant = [run for run in runs if run.variant == variant]
    found = {run.key[:2]: gap for run in of_variant if (gap := value(run)) is not None}
    return Differences(found) if found else None


def paired(runs: Sequence[Run], first: str, second: str, value: Value) -> Differences | None:
    """Return by how much the first variant is above the second where both ran, if anywhere."""
    of = {run.key: value(run) for run in runs}
    found = {
        (table, seed): score - of[table, seed, second]
        for (table, seed, variant), score in of.items()
        if variant == first and (table, seed, second) in of
    }
    return Differences(found) if found else None


def print_results(runs: Sequence[Run]) -> None:
    """Print a table of means over the seeds, then gaps and paired differences."""
    console = result_console()
    console.print(_grid(runs))
    for variant in VARIANTS:
        for name, value in GAPS.items():
            if found := gaps(runs, variant, value):
                console.print(f"{variant}, {name}: {found.sentence}", soft_wrap=True)
    for first, second in PAIRS:
        for name, value in SCORES.items():
            if found := paired(runs, first, second, value):
                console.print(f"{first} - {second}, {name}: {found.sentence}", soft_wrap=True)


def _grid(runs: Sequence[Run]) -> Grid:
    grid = Grid(title="Means over the seeds")
    for heading in ("table", "variant"):
        grid.add_column(heading)
    for heading in ("seeds", *SCORES, *GAPS, *COUNTS):
        grid.add_column(heading, justify="right")
    for table in (*dict.fromkeys(run.table for run in runs), "all"):
        for variant in VARIANTS:
            these = [run for run in runs if run.variant == variant and table in (run.table, "all")]
            if these:
                cells = [_shown(mean(these, value), 4) for value in (SCORES | GAPS).values()]
                cells += [_shown(mean(these, value), 1) for value in COUNTS.values()]
                grid.add_row(table, variant, str(len({run.seed for run in these})), *cells)
        grid.add_section()
    return grid


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
