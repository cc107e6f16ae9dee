"""What of a table looks like a leak: columns that give a label away, rows that are there again.

Each finding is a suspicion, told with the column and the flag that ends it. A column that knows a
label better than any measurement could was mostly written down after it.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from trainer.data.split import Split
from trainer.data.table import Table

GIVEN_AWAY = 0.99  # ROC AUC of one column alone, above which it gives a label away
MIN_POSITIVES = 5  # known in a column, for its ROC AUC to say something
MAX_ROWS = 50_000  # looked at for a ROC AUC, evenly drawn
MIN_IDENTIFIERS = 100  # rows, for different whole numbers in each to name rows
REPEATED = 0.01  # share of test rows that are there again, to be told
RARE = 5  # rows at most with a value that few rows have
AGREEMENTS = 3  # rare values that two rows share, for them to be of one person
ALIKE = 0.05  # share of rows with such another, to be told
PERSON = re.compile(r"(^|[^a-z])(id|patient|subject|person|family|household)s?([^a-z]|$)")


@dataclass(frozen=True)
class Leak:
    """A suspicion: its kind, the columns or labels it is about, and a sentence with what to do."""

    kind: str
    columns: tuple[str, ...]
    sentence: str


def find_leaks(table: Table, split: Split | None) -> list[Leak]:
    """Return what looks like a leak; without a split, what needs no parts."""
    found = [*_given_away(table), *_same_labels(table), *_identifiers(table)]
    if table.groups is None:
        found += _persons(table)
    if split is not None and len(split.test):
        found += [*_constant_in_train(table, split), *_repeated(table, split)]
    return found


def _given_away(table: Table) -> Iterator[Leak]:
    """Columns that equal a label, are missing where it is 1 or 0, or separate it alone."""
    columns, labels = table.columns, table.labels > 0
    step = -(-len(labels) // MAX_ROWS)
    for name in columns.columns:
        values = columns[name]
        scores = _scores(values, labels)
        aucs = _roc_aucs(scores[::step], labels[::step])
        missing = values.isna().to_numpy()
        for j, label in enumerate(table.roles.labels):
            y = labels[:, j]
            known = scores[~missing]
            copied = not missing.any() and len(np.unique(known)) == 2
            if copied and ((scores == scores.max()) == y).all():
                what = f"{name} is a copy of label {label}"
                kind = "copy"
            elif copied and ((scores == scores.min()) == y).all():
                what, kind = f"{name} is the opposite of label {label}", "copy"
            elif (missing == y).all() or (missing != y).all():
                side = "positive" if (missing == y).all() else "negative"
                what = f"{name} is missing exactly where label {label} is {side}"
                kind = "missing"
            elif max(aucs[j], 1 - aucs[j]) > GIVEN_AWAY:
                auc = max(aucs[j], 1 - aucs[j])
                what = f"{name} alone tells label {label} (ROC AUC {auc:.3f})"
                kind = "separates"
            else:
                continue
            yield Leak(
                kind,
                (str(name), label),
                f"{what}; if it is known only with or after it, leave it out with "
                f"--drop {_flag(name)}",
            )


def _scores(values: pd.Series, labels: np.ndarray) -> np.ndarray:
    """(N,) float64 of a column to rank rows by, nan where missing.

    A text is worth how many labels its rows have; one that few rows have is worth what all are.
    """
    if values.dtype == np.float64:
        return values.to_numpy()
    codes, texts = pd.factorize(values)
    if not len(texts):
        return np.full(len(values), np.nan)
    known, total = codes >= 0, labels.sum(axis=1).astype(float)
    counts = np.bincount(codes[known], minlength=len(texts))
    rates = np.bincount(codes[known], total[known], minlength=len(texts)) / np.maximum(counts, 1)
    rates = np.where(counts > RARE, rates, total.mean())
    return np.where(known, rates[codes], np.nan)


def _roc_aucs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(L,) ROC AUC of each label over the rows in which a score is known; 0.5 if these say little.

    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747: the share of pairs ranked
    rightly, from sums of ranks.
    """
    known = np.isfinite(scores)
    y = labels[known]
    n_positive = y.sum(axis=0)
    n_negative = len(y) - n_positive
    ranks = rankdata(scores[known]) if len(y) else np.zeros(0)
    pairs = ranks @ y - n_positive * (n_positive + 1) / 2
    said = (n_positive >= np.maximum(MIN_POSITIVES, labels.sum(axis=0) / 2)) & (n_negative > 0)
    return np.where(said, pairs / np.maximum(n_positive * n_negative, 1), 0.5)


def _same_labels(table: Table) -> Iterator[Leak]:
    names = table.roles.labels
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            if (table.labels[:, i] == table.labels[:, j]).all():
                sentence = f"label {first} is a copy of label {second}; name one of them"
                yield Leak("copy", (first, second), sentence)


def _identifiers(table: Table) -> Iterator[Leak]:
    """Whole numbers or texts that are different in each row."""
    rows = len(table.columns)
    for name in (*table.numeric, *table.categorical):
        values = table.columns[name]
        if rows < MIN_IDENTIFIERS or values.nunique() < rows:
            continue
        if name in table.numeric and (values % 1 != 0).any():
            continue
        yield Leak(
            "identifier",
            (name,),
            f"{name} is different in each row, as a row's name is; copy it to the predictions with "
            f"--id {_flag(name)}, or leave it out with --drop {_flag(name)}",
        )


def _persons(table: Table) -> Iterator[Leak]:
    """Columns that seem to name persons, and else rows that seem to be of one person."""
    rows = len(table.columns)
    for name in (*table.numeric, *table.categorical):
        different = table.columns[name].nunique()
        if PERSON.search(name.lower()) and 0.05 * rows < different < rows:
            yield Leak(
                "group",
                (name,),
                f"{name} may name whom rows are of ({different} values in {rows} rows); keep its "
                f"rows together with --group {_flag(name)}, or leave it out with --drop "
                f"{_flag(name)}",
            )
            return
    looked_at = min(rows, MAX_ROWS)
    alike, example = _alike(table.columns.head(looked_at))
    if alike > ALIKE * looked_at:
        yield Leak(
            "group",
            example,
            f"{alike} of {looked_at} rows share several rare values with another row, such as "
            f"{', '.join(example)}, as rows of one person do; name the column that says whose "
            "they are with --group",
        )


def _alike(columns: pd.DataFrame) -> tuple[int, tuple[str, ...]]:
    """How many rows share rare values of several columns with another row; the columns of a pair.

    Values that are equal within a row count once: a first, last and mean value of one measurement.
    """
    rows = len(columns)
    pairs, ofs = [], []
    for j, name in enumerate(columns.columns):
        codes, _ = pd.factorize(columns[name])
        order = np.argsort(codes, kind="stable")
        order = order[codes[order] >= 0]
        counts = np.bincount(codes[order]) if len(order) else np.zeros(0, dtype=np.int64)
        starts = np.cumsum(counts) - counts
        for size in range(2, RARE + 1):
            first = starts[counts == size]
            for a in range(size):
                for b in range(a + 1, size):
                    pairs.append(order[first + a] * rows + order[first + b])
                    ofs.append(np.full(len(first), j))
    if not pairs:
        return 0, ()
    pair, of = np.concatenate(pairs), np.concatenate(ofs)
    found, place, count = np.unique(pair, return_inverse=True, return_counts=True)
    often = np.flatnonzero(count >= AGREEMENTS)
    alike: set[int] = set()
    example: tuple[str, ...] = ()
    frame = columns.to_numpy(dtype=object)
    members = np.argsort(place, kind="stable")
    starts = np.cumsum(count) - count
    for k in often:
        row, other = divmod(int(found[k]), rows)
        shared = of[members[starts[k] : starts[k] + count[k]]]
        if len({frame[row, j] for j in shared}) >= AGREEMENTS:
            alike.update((row, other))
            example = example or tuple(str(columns.columns[j]) for j in shared[:AGREEMENTS])
    return len(alike), example


def _constant_in_train(table: Table, split: Split) -> Iterator[Leak]:
    outside = np.concatenate([split.train, split.validation])
    for name, values in table.columns.items():
        if values.nunique(dropna=False) < 2 or str(name) == table.roles.sequence:
            continue
        if values.iloc[outside].nunique(dropna=False) == 1:
            yield Leak(
                "constant",
                (str(name),),
                f"{name} is the same in all rows outside test but not in test, so nothing can be "
                f"learned from it; leave it out with --drop {_flag(name)}",
            )


def _repeated(table: Table, split: Split) -> Iterator[Leak]:
    """Test rows with rare values whose features a row outside test has too."""
    digests = pd.util.hash_pandas_object(table.columns, index=False).to_numpy()
    outside = np.concatenate([split.train, split.validation])
    telling = _rare_values(table.columns)[split.test] >= max(1, min(AGREEMENTS, len(table.numeric)))
    repeated = int((np.isin(digests[split.test], digests[outside]) & telling).sum())
    if repeated > REPEATED * len(split.test):
        yield Leak(
            "repeated",
            (),
            f"{repeated} of {len(split.test)} test rows have the same features as a row outside "
            "test; if they are the same cases, remove them or keep them together with --group",
        )


def _rare_values(columns: pd.DataFrame) -> np.ndarray:
    """(N,) int64, how many values of each row few rows have."""
    few = max(RARE, len(columns) // 1000)
    rare = np.zeros(len(columns), dtype=np.int64)
    for name in columns.columns:
        codes, _ = pd.factorize(columns[name])
        known = codes >= 0
        rare[known] += np.bincount(codes[known])[codes[known]] <= few if known.any() else 0
    return rare


def _flag(name: object) -> str:
    """A column's name as a command line takes it."""
    return shlex.quote(str(name))
