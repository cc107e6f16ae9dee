"""Label columns -> 0.0 and 1.0, in the ways that tables write them, or out of a column of lists.

A label is written as 0 and 1, false and true, no and yes, or n and y, in any case; where a positive
value is named, that value is 1 and any other 0. An empty list has no label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from trainer.data.reading import MAX_LISTED, few
from trainer.data.roles import Roles
from trainer.errors import TableError

WORDS = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"))
RARE_SHARE = 0.2  # a 0/1 column with fewer ones than this may be a label
MIN_POSITIVES = 10  # rows with an item of a list, for it to be a label


@dataclass(frozen=True)
class LabelColumns:
    """Names of L labels, their values (N, L) float32 of 0.0 and 1.0, and notes for the reader."""

    names: tuple[str, ...]
    values: np.ndarray
    notes: tuple[str, ...] = ()


def read_labels(columns: pd.DataFrame, roles: Roles, path: Path, *, known: bool) -> LabelColumns:
    """Read the labels of a frame that holds the label columns.

    Of a column of lists, `known` labels need not occur. Raises TableError for a value that is no
    label's, and where no label can be learned.
    """
    if roles.labels_from is not None:
        return _from_lists(columns[roles.labels_from], roles, path, known=known)
    _check_positive(columns, roles, path)
    values = [_label(columns[name], roles, path) for name in roles.labels]
    return LabelColumns(roles.labels, np.stack(values, axis=1))


def check_learnable(labels: LabelColumns, path: Path) -> None:
    """Raise TableError for a label that is the same in every row."""
    for label, name in zip(labels.values.T, labels.names, strict=True):
        if label.min() == label.max():
            raise TableError(
                f"label column {name!r} is {label[0]:.0f} in every row of {path.name}, so there is "
                "nothing to learn; name another column with --label"
            )


def rare_binary_columns(columns: pd.DataFrame) -> list[tuple[str, float]]:
    """(name, share of ones) of the complete 0/1 columns with ones in under a fifth of the rows.

    The most frequent comes first. Such columns may serve as labels.
    """
    found = []
    for name in columns.columns[columns.dtypes == np.float64]:
        values = columns[name].to_numpy()
        if np.isin(values, (0.0, 1.0)).all() and 0 < values.sum() < RARE_SHARE * len(values):
            found.append((str(name), float(values.mean())))
    return sorted(found, key=lambda pair: -pair[1])


def _label(values: pd.Series, roles: Roles, path: Path) -> np.ndarray:
    """(N,) float32 of 0.0 and 1.0."""
    label = values.name
    missing = int(values.isna().sum())
    if missing:
        raise TableError(
            f"label column {label!r} must hold only 0 and 1, but {missing} of {len(values)} values "
            f"in {path.name} are missing; fill them or leave those rows out"
        )
    if not roles.positive and values.dtype == np.float64 and values.isin((0.0, 1.0)).all():
        return values.to_numpy().astype(np.float32)
    texts = _texts(values)
    positive = texts.isin([_plain(value) for value in roles.positive])
    if positive.any():
        return positive.to_numpy().astype(np.float32)
    for no, yes in WORDS:
        if texts.isin((no, yes)).all():
            return (texts == yes).to_numpy().astype(np.float32)
    others = values[~texts.isin(WORDS[0])]
    raise TableError(
        f"label column {label!r} must hold only 0 and 1, but {len(others)} of {len(values)} "
        f"values in {path.name} are others (first: {few(others.unique().tolist())}); say which "
        "value is positive with --positive, or name another column with --label"
    )


def _check_positive(columns: pd.DataFrame, roles: Roles, path: Path) -> None:
    """Raise TableError for a positive value that no label has."""
    there = {text for name in roles.labels for text in _texts(columns[name]).unique()}
    for value in roles.positive:
        if _plain(value) not in there:
            raise TableError(
                f"--positive {value!r} is in no label column of {path.name}; they hold "
                f"{few(sorted(map(str, there)))}"
            )


def _texts(values: pd.Series) -> pd.Series:
    """A label's values in the one spelling that is compared: small letters, numbers as short."""
    if values.dtype == np.float64:
        return values.map(_short, na_action="ignore").astype(object)
    return values.map(lambda text: _plain(str(text)), na_action="ignore")


def _plain(text: str) -> str:
    text = text.strip().lower()
    try:
        return _short(float(text))
    except ValueError:
        return text


def _short(number: float) -> str:
    return f"{number:.17g}"


def _from_lists(lists: pd.Series, roles: Roles, path: Path, *, known: bool) -> LabelColumns:
    separator, column = roles.list_separator, roles.labels_from
    rows = [
        {item for part in str(cell).split(separator) if (item := part.strip())}
        if isinstance(cell, str)
        else set[str]()
        for cell in lists
    ]
    counts = Counter(item for items in rows for item in items)
    if not counts:
        raise TableError(f"column {column!r} of {path.name} holds no label; name another one")
    names, notes = roles.labels, []
    if absent := [name for name in names if name not in counts and not known]:
        raise TableError(
            f"label {absent[0]!r} is in no list of column {column!r} of {path.name}; its commonest "
            f"are {few([item for item, _ in counts.most_common(MAX_LISTED)])}"
        )
    if not names:
        commonest = sorted(counts, key=lambda item: (-counts[item], item))
        names = tuple(item for item in commonest if counts[item] >= MIN_POSITIVES)
        rare = [item for item in counts if item not in names]
        if not names:
            raise TableError(
                f"no label of column {column!r} of {path.name} is in {MIN_POSITIVES} rows or more; "
                "give more rows, or another --list_separator"
            )
        if rare:
            verb = "is" if len(rare) == 1 else "are"
            notes = [
                f"{few(sorted(rare))} of {column!r} {verb} in fewer than {MIN_POSITIVES} rows and "
                "left out of the labels"
            ]
    values = np.array([[name in items for name in names] for items in rows], dtype=np.float32)
    return LabelColumns(names, values, tuple(notes))


def clashing(names: Sequence[str], features: Sequence[str]) -> None:
    """Raise TableError if an item of a list has the name of a feature."""
    if both := sorted({*names} & {*features}):
        raise TableError(
            f"label {both[0]!r} has the name of a feature column; rename the column, or leave it "
            "out with --drop"
        )
