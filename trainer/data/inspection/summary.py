"""What was read of a table: kinds of columns, missing cells, labels, groups; as words and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from trainer.data.cells.dates import PARTS, part_name
from trainer.data.reading import MAX_LISTED
from trainer.data.table import Table

FEW_VALUES = 20  # different whole numbers at most, more than two, that may be codes
MUCH_MISSING = 0.2  # share of a column's cells, for it to be named


@dataclass(frozen=True)
class Labels:
    """Numbers of rows in which one label is 1 and 0."""

    positives: int
    negatives: int


@dataclass(frozen=True)
class Groups:
    """The column that rows share a value of, how many values there are, and rows of a value."""

    column: str
    groups: int
    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class Summary:
    """What was read; columns by name in the table's order.

    missing       share of all cells of the features, 0 to 1
    much_missing  share of each column of which many cells are missing
    constants     features that are the same in every row, which are left out
    few_values    numbers that may be codes: how many different whole numbers they are
    among_texts   numbers that other texts stood among, and which were taken for missing
    """

    file: str
    rows: int
    numbers: tuple[str, ...]
    categories: dict[str, int]
    dates: tuple[str, ...]
    sequence: str | None
    constants: tuple[str, ...]
    few_values: dict[str, int]
    among_texts: dict[str, tuple[str, ...]]
    missing: float
    much_missing: dict[str, float]
    labels: dict[str, Labels]
    groups: Groups | None

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield sentences for a reader."""
        kinds = [
            _counted(len(self.numbers), "number"),
            _counted(len(self.categories), "category column"),
            _counted(len(self.dates), "date"),
            *(["a sequence"] if self.sequence else []),
        ]
        kinds = [kind for kind in kinds if not kind.startswith("0 ")]
        yield (
            f"{self.file}: {self.rows} rows with {', '.join(kinds)}; {self.missing:.1%} of their "
            "cells are missing"
        )
        shares = {name: f"{share:.0%}" for name, share in self.much_missing.items()}
        yield from _named("often missing", shares)
        yield from _named("the same in every row, left out", dict.fromkeys(self.constants, ""))
        yield from _named("dates", dict.fromkeys(self.dates, ""))
        texts = {name: f"{n} texts" for name, n in self.categories.items()}
        yield from _named("categories", texts)
        tokens = {name: " ".join(found) for name, found in self.among_texts.items()}
        yield from _named("numbers among other texts", tokens, "missing")
        few = {name: f"{n} values" for name, n in self.few_values.items()}
        yield from _named("numbers of few values, which --category takes as codes", few)
        for name, label in self.labels.items():
            share = label.positives / max(1, self.rows)
            positives = f"{label.positives} positives ({share:.1%})"
            yield f"  label {name}: {positives}, {label.negatives} negatives"
        if self.groups:
            g = self.groups
            sizes = f"{g.smallest} to {g.largest} rows, {g.median:g} in the median"
            yield f"  groups by {g.column}: {g.groups}, of {sizes}"


def summarize(table: Table) -> Summary:
    """Return what was read of a table."""
    columns, roles = table.columns, table.roles
    parts = {part_name(name, part) for name in table.dates for part in PARTS}
    same = [str(n) for n, values in columns.items() if values.nunique(dropna=False) <= 1]
    shares = {str(name): float(share) for name, share in columns.isna().mean().items()}
    numbers = [name for name in table.numeric if name not in parts and name not in same]
    few = {name: n for name in numbers if (n := _few_values(columns[name]))}
    positives = table.labels.sum(axis=0).astype(int)
    return Summary(
        file=table.path.name,
        rows=len(columns),
        numbers=tuple(numbers),
        categories={n: columns[n].nunique() for n in table.categorical if n not in same},
        dates=tuple(table.dates),
        sequence=roles.sequence,
        constants=tuple(name for name in same if name not in parts),
        few_values=few,
        among_texts=dict(table.converted),
        missing=float(np.mean([*shares.values()])) if shares else 0.0,
        much_missing={n: s for n, s in shares.items() if s >= MUCH_MISSING and n not in same},
        labels={
            name: Labels(int(n), len(columns) - int(n))
            for name, n in zip(roles.labels, positives, strict=True)
        },
        groups=None if table.groups is None else _groups(str(roles.group), table.groups),
    )


def _few_values(values: pd.Series) -> int:
    """How many whole numbers a column holds, if they are few but more than two; else 0."""
    different = np.unique(values.dropna().to_numpy())
    few = 2 < len(different) <= FEW_VALUES and bool((different == np.round(different)).all())
    return len(different) if few else 0


def _groups(column: str, codes: np.ndarray) -> Groups:
    sizes = np.bincount(codes)
    return Groups(column, len(sizes), int(sizes.min()), float(np.median(sizes)), int(sizes.max()))


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _named(what: str, details: dict[str, str], after: str = "") -> Iterator[str]:
    """Yield a line that names columns, if there are any."""
    if not details:
        return
    names: Sequence[str] = [
        f"{name} ({detail}{f' {after}' if after else ''})" if detail else name
        for name, detail in list(details.items())[:MAX_LISTED]
    ]
    more = f" and {len(details) - MAX_LISTED} more" if len(details) > MAX_LISTED else ""
    yield f"  {what}: {', '.join(names)}{more}"
