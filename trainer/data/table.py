"""A table's columns in their roles: typed features, 0/1 labels and group codes, in file order.

The file is read by trainer.data.reading; here each column is checked for what its role asks of it.
Sequence, group, id and category columns are always text, so that leading zeros survive; a group NA
is one. What a text column holds is understood by trainer.data.cells, or refused.
"""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from trainer.data.cells.dates import Form, are_dates, date_parts, find_form
from trainer.data.cells.dialect import Dialect, check_dialect
from trainer.data.cells.kinds import (
    NUMBER_SHARE,
    as_number_column,
    code_sentences,
    different_texts,
    without_missing,
)
from trainer.data.labels import check_learnable, clashing, read_labels
from trainer.data.labels import rare_binary_columns as rare_binary_columns
from trainer.data.reading import (
    MAX_LISTED,
    MISSING_WORDS,
    PLAIN,
    few,
    hash_file,
    is_number,
    is_text,
    read_arrow,
    settled,
    to_frame,
)
from trainer.data.roles import AS_TEXT, check_roles
from trainer.data.roles import Roles as Roles
from trainer.errors import TableError

MIN_IDENTIFIERS = 100  # more distinct texts than this, in most rows, name rows, not categories
SEVERAL = 2  # with so many values beside it, NA is one of them; else it means missing


@dataclass(frozen=True)
class Table:
    """A table read and checked; N rows in the file's order, L labels.

    columns      (N, *) the feature columns, the sequence among them: numbers and texts; each date
                 column as the numbers made of it
    numeric      names of the number columns
    categorical  names of the text columns other than the sequence
    labels       (N, L) float32, 0.0 or 1.0
    groups       (N,) int64 codes from 0, or None; a row without a value is a group of its own
    hash         SHA-256 of the file's bytes, in hexadecimal
    dialect      how the file was written
    dates        the form of each date column
    converted    text columns that were taken for numbers, with the texts taken for missing
    notes        sentences about what was understood that its reader may want otherwise
    """

    path: Path
    roles: Roles
    columns: pd.DataFrame
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray | None
    hash: str
    dialect: Dialect = PLAIN
    dates: dict[str, Form] = field(default_factory=dict)
    converted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a checkpoint knows of a table's features: names of numbers and texts, forms of dates."""

    numbers: Sequence[str] = ()
    text: Sequence[str] = ()
    dates: Mapping[str, Form] = field(default_factory=dict)


def read_table(
    path: Path, roles: Roles, dialect: Dialect = PLAIN, known: Known | None = None
) -> Table:
    """Read a file whose columns have the given roles.

    With what a checkpoint has `known`, the table is one to be scored: no type of a feature is
    guessed, and neither labels nor features need hold anything to learn from.

    Raises TableError when the file, a role, a label or a feature can't be used, and ConfigError for
    a dialect that no file is written in.
    """
    check_dialect(dialect)
    check_roles(roles)
    before = path.stat() if path.exists() else None
    read_as_text = [name for role, name in roles.named if role in AS_TEXT]
    arrow = read_arrow(path, [*read_as_text, *(known.text if known else ())], dialect)
    _check_present(arrow, roles, path)
    label_columns = to_frame(arrow.select(list(roles.label_columns)))
    labels = read_labels(label_columns, roles, path, known=known is not None)
    roles = replace(roles, labels=labels.names)
    features = arrow.select([n for n in arrow.column_names if n not in roles.no_features])
    converted: dict[str, tuple[str, ...]] = {}
    if known is None:
        check_learnable(labels, path)
        clashing(labels.names, features.column_names)
        features, converted = _understood(features, roles, dialect, path)
        dates = _date_forms(features, roles, dialect)
    else:
        features, dates = settled(features, known.numbers, dialect), dict(known.dates)
    columns = with_date_parts(to_frame(features), dates, dialect)
    texts = [name for name in columns.columns if columns[name].dtype != np.float64]
    if known is None:
        _check_variation(columns, path)
        for name in texts:
            if name == roles.sequence or len(_values(features[name])) < SEVERAL:
                columns.loc[columns[name].isin(MISSING_WORDS), name] = None
    digest, after = hash_file(path), path.stat()
    if before is None or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TableError(f"{path.name} changed while it was read; run the same command again")
    return Table(
        path=path,
        roles=roles,
        columns=columns,
        numeric=tuple(name for name in columns.columns if name not in texts),
        categorical=tuple(name for name in texts if name != roles.sequence),
        labels=labels.values,
        groups=None if roles.group is None else _group_codes(arrow[roles.group]),
        hash=digest,
        dialect=dialect,
        dates=dates,
        converted=converted,
        notes=() if known else (*labels.notes, *_token_notes(converted), *code_sentences(columns)),
    )


# Roles, labels and groups


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


def _group_codes(column: pa.ChunkedArray) -> np.ndarray:
    codes, values = pd.factorize(column.to_numpy(zero_copy_only=False))
    missing = codes < 0
    codes[missing] = len(values) + np.arange(missing.sum())
    return np.asarray(codes, dtype=np.int64)


# Features


def _understood(
    features: pa.Table, roles: Roles, dialect: Dialect, path: Path
) -> tuple[pa.Table, dict[str, tuple[str, ...]]]:
    """Read numbers among texts, and make null what the dialect calls missing.

    Returns the features, and the text columns that are numbers with the texts taken for missing.
    """
    converted, unused = {}, set(dialect.missing)
    for position, name in enumerate(features.column_names):
        column = features.column(position)
        if is_text(column.type) and not {name}.intersection((roles.sequence, *roles.as_written)):
            found = as_number_column(name, column, dialect)
            if found:
                column, converted[name] = found.values, found.tokens
                unused -= {*found.tokens}
        if dialect.missing and name != roles.sequence:
            column, were_there = without_missing(column, dialect)
            unused -= were_there
        _check_feature(name, column, roles, dialect)
        features = features.set_column(position, name, column)
    if unused:
        raise TableError(
            f"--missing {few(sorted(unused))} is in no feature of {path.name}; correct it, or "
            "leave it out"
        )
    return features, converted


def _date_forms(features: pa.Table, roles: Roles, dialect: Dialect) -> dict[str, Form]:
    """Return the form of each date column; one without any date has nothing to be read by."""
    forms = {}
    for name in roles.date:
        texts = different_texts(features[name], dialect)
        if not texts:
            raise TableError(f"date column {name!r} is empty; leave it out with --drop")
        forms[name] = find_form(texts, name)
    return forms


def with_date_parts(
    columns: pd.DataFrame, dates: Mapping[str, Form], dialect: Dialect
) -> pd.DataFrame:
    """Put the numbers made of a frame's date columns in their place, after all other columns.

    Raises TableError when a date column is missing, or holds what is no date of its form.
    """
    if not dates:
        return columns
    parts = date_parts(columns, dates, dialect)
    if clash := [name for name in parts if name in columns]:
        raise TableError(
            f"a number made of a date column would be named {clash[0]!r} as a column is; rename "
            "that column"
        )
    return columns.drop(columns=list(dates)).assign(**parts)


def _token_notes(converted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return a sentence about the texts that were taken for missing numbers, if there are any."""
    of_columns = {name: tokens for name, tokens in converted.items() if tokens}
    if not of_columns:
        return []
    tokens = sorted({token for tokens in of_columns.values() for token in tokens})
    verb = "is" if len(tokens) == 1 else "are"
    return [f"{few(tokens)} {verb} taken as missing among the numbers of {few(list(of_columns))}"]


def _check_feature(name: str, column: pa.ChunkedArray, roles: Roles, dialect: Dialect) -> None:
    if is_number(column.type):
        infinite = compute.sum(compute.is_inf(column.cast(pa.float64(), safe=False))).as_py()
        if infinite:
            raise TableError(
                f"column {name!r} has {infinite} infinite values; make them missing, leave the "
                "column out with --drop, or if it holds digit strings name it with --sequence"
            )
    elif pa.types.is_binary(column.type):
        raise TableError(
            f"column {name!r} has bytes that are not UTF-8; name the file's encoding with "
            "--encoding, such as cp1252, or leave the column out with --drop"
        )
    elif pa.types.is_time(column.type) or pa.types.is_duration(column.type):
        raise TableError(
            f"column {name!r} holds times; leave it out with --drop, or turn it into a number such "
            "as hours since an event"
        )
    elif pa.types.is_temporal(column.type):
        raise _date_error(name)
    elif not is_text(column.type):
        raise TableError(
            f"column {name!r} has type {column.type}, neither number nor text; convert it, "
            "or leave it out with --drop"
        )
    elif name != roles.sequence and name not in roles.date:
        if name not in roles.category and are_dates(different_texts(column, dialect), NUMBER_SHARE):
            raise _date_error(name)
        _check_category(name, column)


def _check_category(name: str, column: pa.ChunkedArray) -> None:
    distinct = _values(column)
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
        f"column {name!r} holds dates; make numbers of them with --date {shlex.quote(name)}, or "
        "leave it out with --drop"
    )


def _check_variation(columns: pd.DataFrame, path: Path) -> None:
    if not len(columns.columns):
        raise TableError(f"no feature column is left in {path.name}; give fewer to --drop and --id")
    if all(values.nunique(dropna=False) == 1 for _, values in columns.items()):
        raise TableError(
            f"every feature of {path.name} is constant, so there is nothing to learn from; "
            "add columns that differ between rows"
        )
