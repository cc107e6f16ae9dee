"""A table's columns in their roles: typed features, 0/1 labels and group codes, in file order.

The file is read by trainer.data.reading; here each column is checked for what its role asks of it.
Sequence, group and id columns are always text, so that leading zeros survive; a group NA is one.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from trainer.data.reading import (
    MAX_LISTED,
    MISSING_WORDS,
    few,
    hash_file,
    is_number,
    is_text,
    read_arrow,
    to_frame,
)
from trainer.errors import TableError

RARE_SHARE = 0.2  # a 0/1 column with fewer ones than this may be a label
MIN_IDENTIFIERS = 100  # more distinct texts than this, in most rows, name rows, not categories
SEVERAL = 2  # with so many values beside it, NA is one of them; else it means missing
ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"


@dataclass(frozen=True)
class Roles:
    """What each named column is; every column not named is a feature.

    labels    0/1 columns to predict, at least one
    group     rows that share its value stay in one part of the split
    sequence  column of digit strings
    drop      columns to leave out
    id        columns that name a row: no features, but copied to predictions
    """

    labels: tuple[str, ...]
    group: str | None = None
    sequence: str | None = None
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()

    @property
    def named(self) -> list[tuple[str, str]]:
        """(role, column) of every named column; a role is its command-line flag without dashes."""
        return [
            *(("label", name) for name in self.labels),
            *((("group", self.group),) if self.group is not None else ()),
            *((("sequence", self.sequence),) if self.sequence is not None else ()),
            *(("drop", name) for name in self.drop),
            *(("id", name) for name in self.id),
        ]


@dataclass(frozen=True)
class Table:
    """A table read and checked; N rows in the file's order, L labels.

    columns      (N, *) the feature columns, the sequence among them: numbers and texts
    numeric      names of the number columns
    categorical  names of the text columns other than the sequence
    labels       (N, L) float32, 0.0 or 1.0
    groups       (N,) int64 codes from 0, or None; a row without a value is a group of its own
    hash         SHA-256 of the file's bytes, in hexadecimal
    """

    path: Path
    roles: Roles
    columns: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray | None
    hash: str


def read_table(path: Path, roles: Roles, text: Sequence[str] | None = None) -> Table:
    """Read a .csv, .csv.gz or .parquet file whose columns have the given roles.

    With `text`, the text features that a checkpoint knows, the table is one to be scored: no type
    of a feature is guessed, and neither labels nor features need hold anything to learn from.

    Raises TableError when the file, a role, a label or a feature can't be used.
    """
    _check_roles(roles)
    read_as_text = [name for role, name in roles.named if role in ("group", "sequence", "id")]
    arrow = read_arrow(path, [*read_as_text, *(text or ())])
    _check_present(arrow, roles, path)
    labels = to_frame(arrow.select(list(roles.labels)))
    label_columns = [_label(labels[name], path) for name in roles.labels]
    others = {name for role, name in roles.named if role != "sequence"}
    features = arrow.select([name for name in arrow.column_names if name not in others])
    if text is None:
        _check_learnable(label_columns, roles.labels, path)
        for name in features.column_names:
            _check_feature(name, features[name], is_sequence=name == roles.sequence)
    columns = to_frame(features)
    texts = [name for name in features.column_names if columns[name].dtype != np.float64]
    if text is None:
        _check_variation(columns, path)
        for name in texts:
            if name == roles.sequence or len(_values(features[name])) < SEVERAL:
                columns.loc[columns[name].isin(MISSING_WORDS), name] = None
    return Table(
        path=path,
        roles=roles,
        columns=columns,
        numeric=tuple(name for name in features.column_names if name not in texts),
        categorical=tuple(name for name in texts if name != roles.sequence),
        labels=np.stack(label_columns, axis=1),
        groups=None if roles.group is None else _group_codes(arrow[roles.group]),
        hash=hash_file(path),
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


# Roles, labels and groups


def _check_roles(roles: Roles) -> None:
    if not roles.labels:
        raise TableError("no label column is named; name at least one 0/1 column with --label")
    seen: dict[str, str] = {}
    for role, name in roles.named:
        if name in seen:
            raise TableError(
                f"column {name!r} is given to --{seen[name]} and to --{role}; give it to one, once"
            )
        seen[name] = role


def _check_present(table: pa.Table, roles: Roles, path: Path) -> None:
    for role, name in roles.named:
        if name in table.column_names:
            continue
        near = difflib.get_close_matches(name, table.column_names)
        listed = f"near names: {few(near)}" if near else f"columns: {few(table.column_names)}"
        if role == "label" and not near:
            rare = rare_binary_columns(to_frame(table))
            shares = [f"{column!r} {share:.1%}" for column, share in rare[:MAX_LISTED]]
            listed = "rare 0/1 columns: " + (", ".join(shares) or "none")
        raise TableError(
            f"{role} column {name!r} is not in {path.name} ({listed}); correct it at --{role}"
        )


def _label(values: pd.Series, path: Path) -> np.ndarray:
    """(N,) float32 of 0.0 and 1.0."""
    label, remedy = values.name, "map it to 0/1 or name another column with --label"
    missing = int(values.isna().sum())
    if missing:
        raise TableError(
            f"label column {label!r} must hold only 0 and 1, but {missing} of {len(values)} values "
            f"in {path.name} are missing; fill them or leave those rows out"
        )
    allowed = (0.0, 1.0) if values.dtype == np.float64 else ("0", "1")
    others = values[~values.isin(allowed)]
    if len(others):
        raise TableError(
            f"label column {label!r} must hold only 0 and 1, but {len(others)} of {len(values)} "
            f"values in {path.name} are others (first: {few(others.unique().tolist())}); {remedy}"
        )
    return values.to_numpy().astype(np.float32)


def _check_learnable(labels: Sequence[np.ndarray], names: Sequence[str], path: Path) -> None:
    for label, name in zip(labels, names, strict=True):
        if label.min() == label.max():
            raise TableError(
                f"label column {name!r} is {label[0]:.0f} in every row of {path.name}, so there is "
                "nothing to learn; name another column with --label"
            )


def _group_codes(column: pa.ChunkedArray) -> np.ndarray:
    codes, values = pd.factorize(column.to_numpy(zero_copy_only=False))
    missing = codes < 0
    codes[missing] = len(values) + np.arange(missing.sum())
    return np.asarray(codes, dtype=np.int64)


# Features


def _check_feature(name: str, column: pa.ChunkedArray, *, is_sequence: bool) -> None:
    if is_number(column.type):
        infinite = compute.sum(compute.is_inf(column.cast(pa.float64(), safe=False))).as_py()
        if infinite:
            raise TableError(
                f"column {name!r} has {infinite} infinite values; make them missing, leave the "
                "column out with --drop, or if it holds digit strings name it with --sequence"
            )
    elif pa.types.is_binary(column.type):
        raise TableError(
            f"column {name!r} has bytes that are not UTF-8; save the file as UTF-8, "
            "or leave the column out with --drop"
        )
    elif pa.types.is_temporal(column.type):
        raise _date_error(name)
    elif not is_text(column.type):
        raise TableError(
            f"column {name!r} has type {column.type}, neither number nor text; convert it, "
            "or leave it out with --drop"
        )
    elif not is_sequence:
        _check_category(name, column)


def _check_category(name: str, column: pa.ChunkedArray) -> None:
    distinct = _values(column)
    if len(distinct) and compute.all(compute.match_substring_regex(distinct, ISO_DATE)).as_py():
        raise _date_error(name)
    if len(distinct) > MIN_IDENTIFIERS and len(distinct) > 0.5 * len(column):
        digits = compute.all(compute.match_substring_regex(distinct, r"^\d*$")).as_py()
        raise TableError(
            f"column {name!r} has {len(distinct)} different texts in {len(column)} rows, too many "
            "for categories; keep it as a row name with --id, leave it out with --drop"
            + (", or name its digit strings with --sequence" if digits else "")
        )


def _values(column: pa.ChunkedArray) -> pa.Array:
    """The different texts of a column, without words for missing."""
    distinct = compute.drop_null(compute.unique(column))
    words = pa.array(sorted(MISSING_WORDS), distinct.type)
    return distinct.filter(compute.invert(compute.is_in(distinct, words)))


def _date_error(name: str) -> TableError:
    return TableError(
        f"column {name!r} holds dates or times; leave it out with --drop, or turn it into a number "
        "such as days since an event"
    )


def _check_variation(columns: pd.DataFrame, path: Path) -> None:
    if not len(columns.columns):
        raise TableError(f"no feature column is left in {path.name}; give fewer to --drop and --id")
    if all(values.nunique(dropna=False) == 1 for _, values in columns.items()):
        raise TableError(
            f"every feature of {path.name} is constant, so there is nothing to learn from; "
            "add columns that differ between rows"
        )
