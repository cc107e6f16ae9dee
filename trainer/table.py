"""A CSV or Parquet file as typed feature columns, 0/1 labels and group codes, in the file's order.

Reading goes file -> Arrow table -> pandas frame. A column of such a frame is one of

    number    float64, NaN where missing; booleans are 0.0 and 1.0
    text      object: str, None where missing

and any other type (dates, lists, ...) stays as it came, for `read_table` to refuse where it would
be a feature. Sequence, group and id columns are always text, so that leading zeros survive.
"""

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv, parquet

from trainer.errors import TableError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BLOCK_BYTES = 8 << 20  # of CSV text behind one streamed frame
RARE_SHARE = 0.2  # a 0/1 column with fewer ones than this may be a label
MAX_LISTED = 8  # names or values in one message
MIN_IDENTIFIERS = 100  # more distinct texts than this, in most rows, name rows, not categories
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


def read_table(path: Path, roles: Roles) -> Table:
    """Read a .csv, .csv.gz or .parquet file whose columns have the given roles.

    Raises TableError when the file, a role, a label or a feature can't be used.
    """
    _check_roles(roles)
    read_as_text = [name for role, name in roles.named if role in ("group", "sequence", "id")]
    arrow = _read_arrow(path, read_as_text)
    _check_present(arrow, roles, path)
    labels = _to_frame(arrow.select(list(roles.labels)))
    label_columns = [_label(labels[name], path) for name in roles.labels]
    others = {name for role, name in roles.named if role != "sequence"}
    features = arrow.select([name for name in arrow.column_names if name not in others])
    for name in features.column_names:
        _check_feature(name, features[name], is_sequence=name == roles.sequence)
    columns = _to_frame(features)
    _check_variation(columns, path)
    text = [name for name in features.column_names if columns[name].dtype != np.float64]
    return Table(
        path=path,
        roles=roles,
        columns=columns,
        numeric=tuple(name for name in features.column_names if name not in text),
        categorical=tuple(name for name in text if name != roles.sequence),
        labels=np.stack(label_columns, axis=1),
        groups=None if roles.group is None else _group_codes(arrow[roles.group]),
        hash=_hash_file(path),
    )


def read_columns(path: Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """All columns of a file as numbers and texts, in the file's order; those in `text` as text.

    Knows no roles, so that a file without labels or with further columns can be read for
    prediction. Raises TableError when the file can't be read.
    """
    return _to_frame(_read_arrow(path, text))


def stream_columns(
    path: Path, *, numbers: Sequence[str], text: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """The named columns of a file in frames of some ten thousand rows, in the file's order.

    Gives the values of `read_columns` in bounded memory. Names that the file lacks are left out.
    Raises TableError when the file can't be read or a column of `numbers` in a CSV holds text.
    """
    _check_file(path)
    with _reading(path):
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                names = _check_names(file.schema_arrow.names, path)
                wanted = [name for name in names if name in {*numbers, *text}]
                for batch in file.iter_batches(columns=wanted):
                    yield _to_frame(_plain(pa.Table.from_batches([batch]), text))
            return
        blocks = csv.ReadOptions(block_size=BLOCK_BYTES)
        with csv.open_csv(_open(path), blocks, _CSV_FORMAT) as reader:
            types = {field.name: field.type for field in reader.schema}
            names = _check_names(reader.schema.names, path)
    # A column of true and false keeps its type; any other number may turn out a fraction.
    types = {n: pa.bool_() if types.get(n) == pa.bool_() else pa.float64() for n in numbers}
    options = _csv_types(types | dict.fromkeys(text, pa.string()))
    options.include_columns = [name for name in names if name in {*numbers, *text}]
    with (
        _reading(path, names),
        csv.open_csv(_open(path), blocks, _CSV_FORMAT, options) as reader,
    ):
        for batch in reader:
            yield _to_frame(pa.Table.from_batches([batch]))


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


# The file


_CSV_FORMAT = csv.ParseOptions(newlines_in_values=True)


def _csv_types(types: dict[str, pa.DataType]) -> csv.ConvertOptions:
    return csv.ConvertOptions(column_types=types, strings_can_be_null=True)


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet")


def _open(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None)


def _read_arrow(path: Path, text: Sequence[str]) -> pa.Table:
    _check_file(path)
    with _reading(path):
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                _check_names(file.schema_arrow.names, path)
                table = _plain(file.read(), text)
        else:
            options = _csv_types(dict.fromkeys(text, pa.string()))
            try:
                table = csv.read_csv(_open(path), None, _CSV_FORMAT, options)
            except pa.ArrowInvalid:  # read again in one thread: its message says the row
                one_thread = csv.ReadOptions(use_threads=False)
                table = csv.read_csv(_open(path), one_thread, _CSV_FORMAT, options)
            _check_names(table.column_names, path)
    if not table.num_rows:
        raise TableError(f"{path.name} has a header but no rows; give a table with rows to --csv")
    return table


def _check_file(path: Path) -> None:
    if not path.exists():
        raise TableError(f"no file {path}; give the path of a table to --csv")
    if not path.is_file():
        raise TableError(f"{path} is a directory; give the path of a file in it to --csv")
    if not path.name.lower().endswith(SUFFIXES):
        raise TableError(f"{path.name} is not a {', '.join(SUFFIXES)} file; convert it to one")
    if not path.stat().st_size:
        raise TableError(f"{path.name} is empty; give a file with a header and rows to --csv")


@contextmanager
def _reading(path: Path, names: Sequence[str] = ()) -> Iterator[None]:
    """Turn what the readers raise into a TableError of one line; `names` are a CSV's columns."""

    def name(column: re.Match[str]) -> str:
        position = int(column[1])
        return f"column {names[position]!r}" if names else f"column {position + 1}"

    try:
        yield
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name} has a header that is not UTF-8; save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        reason = re.sub(r"CSV column #(\d+)", name, " ".join(str(error).split()))[:200]
        raise TableError(f"can't read {path.name}: {reason}; repair or export it anew") from error


def _check_names(names: list[str], path: Path) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{path.name} has columns of the same name: {_list(twice)}; rename them")
    for position, name in enumerate(names, start=1):
        if not name.strip() or name.startswith("__index_level_"):
            raise TableError(
                f"column {position} of {path.name} has no name and may be a row index; "
                "name it, or write the file without its index"
            )
    if len(names) == 1 and (separator := re.search("[;\t|]", names[0])):
        raise TableError(
            f"{path.name} looks separated by {separator[0]!r}; write it with commas instead"
        )
    return names


def _plain(table: pa.Table, text: Sequence[str]) -> pa.Table:
    """Decode dictionaries, and cast the columns of `text` to strings, as CSV columns come."""
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if field.name in text and not _is_text(column.type):
            column = column.cast(pa.string())
        table = table.set_column(position, field.name, column)
    return table


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_number(type_: pa.DataType) -> bool:
    kinds = ("boolean", "integer", "floating", "decimal", "null")
    return any(getattr(pa.types, f"is_{kind}")(type_) for kind in kinds)


def _to_frame(table: pa.Table) -> pd.DataFrame:
    frame = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _is_number(column.type):
            frame[name] = pd.Series(column.cast(pa.float64(), safe=False).to_numpy())
        elif _is_text(column.type):
            frame[name] = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object)
        else:
            frame[name] = column.to_pandas()
    return pd.DataFrame(frame, index=pd.RangeIndex(table.num_rows))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        listed = f"near names: {_list(near)}" if near else f"columns: {_list(table.column_names)}"
        if role == "label" and not near:
            rare = rare_binary_columns(_to_frame(table))
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
            f"values in {path.name} are others (first: {_list(others.unique().tolist())}); {remedy}"
        )
    zero_one = values.to_numpy().astype(np.float32)
    if zero_one.min() == zero_one.max():
        raise TableError(
            f"label column {label!r} is {zero_one[0]:.0f} in every row of {path.name}, so there is "
            "nothing to learn; name another column with --label"
        )
    return zero_one


def _group_codes(column: pa.ChunkedArray) -> np.ndarray:
    codes, values = pd.factorize(column.to_numpy(zero_copy_only=False))
    missing = codes < 0
    codes[missing] = len(values) + np.arange(missing.sum())
    return np.asarray(codes, dtype=np.int64)


# Features


def _check_feature(name: str, column: pa.ChunkedArray, *, is_sequence: bool) -> None:
    if _is_number(column.type):
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
    elif not _is_text(column.type):
        raise TableError(
            f"column {name!r} has type {column.type}, neither number nor text; convert it, "
            "or leave it out with --drop"
        )
    elif not is_sequence:
        _check_category(name, column)


def _check_category(name: str, column: pa.ChunkedArray) -> None:
    distinct = compute.drop_null(compute.unique(column))
    if len(distinct) and compute.all(compute.match_substring_regex(distinct, ISO_DATE)).as_py():
        raise _date_error(name)
    if len(distinct) > MIN_IDENTIFIERS and len(distinct) > 0.5 * len(column):
        digits = compute.all(compute.match_substring_regex(distinct, r"^\d*$")).as_py()
        raise TableError(
            f"column {name!r} has {len(distinct)} different texts in {len(column)} rows, too many "
            "for categories; keep it as a row name with --id, leave it out with --drop"
            + (", or name its digit strings with --sequence" if digits else "")
        )


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


def _list(values: Sequence[object]) -> str:
    listed = ", ".join(f"{value!r}" for value in values[:MAX_LISTED])
    return listed + (", ..." if len(values) > MAX_LISTED else "")
