"""A CSV or Parquet file as an Arrow table and as a pandas frame, whole or in bounded memory.

Reading goes file -> Arrow table -> pandas frame. A column of such a frame is one of

    number    float64, NaN where missing; booleans are 0.0 and 1.0
    text      object: str, None where missing

and any other type (dates, lists, ...) stays as it came. Columns that a caller wants as text are
never guessed to be numbers, so that leading zeros survive. In a CSV's text only an empty cell is
missing: NA may be Namibia. Among numbers each of MISSING_WORDS is missing, and where a column is
known to be numbers each of trainer.data.cells.numerals.USUAL too.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv, parquet

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.kinds import read_as_numbers, without_missing
from trainer.data.cells.numerals import MISSING_WORDS as MISSING_WORDS
from trainer.data.cells.numerals import null_texts
from trainer.data.size import check_fits
from trainer.errors import TableError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BLOCK_BYTES = 1 << 20  # of CSV text parsed at once: stays in the cache; Arrow reads 32 ahead
TABLE_ROWS = 1 << 14  # of a streamed table, about
MAX_LISTED = 8  # names or values in one message

PLAIN = Dialect()
_CSV_FORMAT = csv.ParseOptions(newlines_in_values=True)


def read_columns(path: Path, *, text: Sequence[str] = (), dialect: Dialect = PLAIN) -> pd.DataFrame:
    """All columns of a file as numbers and texts, in the file's order; those in `text` as text.

    Knows no roles, so that a file without labels or with further columns can be read for
    prediction. Raises TableError when the file can't be read.
    """
    return to_frame(read_arrow(path, text, dialect))


def read_names(path: Path) -> list[str]:
    """The names of a file's columns, in its order; raises TableError when it can't be read."""
    _check_file(path)
    with _reading(path):
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                return _check_names(file.schema_arrow.names, path)
        blocks = csv.ReadOptions(block_size=BLOCK_BYTES)
        with csv.open_csv(_open(path), blocks, _CSV_FORMAT) as reader:
            return _check_names(reader.schema.names, path)


def stream_arrow(
    path: Path,
    *,
    numbers: Sequence[str],
    text: Sequence[str],
    dialect: Dialect = PLAIN,
    copied: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """The named columns of a file in tables of some ten thousand rows, in the file's order.

    `to_frame` makes of them the values of `read_columns`, in bounded memory. Names that the file
    lacks are left out, and cells of texts in `copied` stay as they are. Raises TableError when the
    file can't be read or a column of `numbers` holds other text than numbers in the dialect and
    what stands for missing ones.
    """
    for table in _stream(path, numbers, text, dialect):
        yield settled(table, numbers, dialect, copied)


def settled(
    table: pa.Table, numbers: Sequence[str], dialect: Dialect, copied: Sequence[str] = ()
) -> pa.Table:
    """Make the columns that must be numbers so, and null what the dialect calls missing.

    Texts in `copied` stay as they are.
    """
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if field.name in numbers and is_text(field.type):
            column = read_as_numbers(field.name, column, dialect).values
        if dialect.missing and field.name not in copied:
            column, _ = without_missing(column, dialect)
        if column is not table.column(position):
            table = table.set_column(position, field.name, column)
    return table


def _stream(
    path: Path, numbers: Sequence[str], text: Sequence[str], dialect: Dialect
) -> Iterator[pa.Table]:
    _check_file(path)
    with _reading(path):
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                names = _check_names(file.schema_arrow.names, path)
                wanted = [name for name in names if name in {*numbers, *text}]
                for batch in file.iter_batches(TABLE_ROWS, columns=wanted):
                    yield _plain(pa.Table.from_batches([batch]), text)
            return
        blocks = csv.ReadOptions(block_size=BLOCK_BYTES)
        with csv.open_csv(_open(path), blocks, _CSV_FORMAT) as reader:
            types = {field.name: field.type for field in reader.schema}
            names = _check_names(reader.schema.names, path)
    # A column of true and false keeps its type; any other number may turn out a fraction.
    number = pa.float64() if dialect.thousands is None else pa.string()
    types = {n: pa.bool_() if types.get(n) == pa.bool_() else number for n in numbers}
    options = _csv_types(types | dict.fromkeys(text, pa.string()), dialect)
    options.null_values = null_texts(dialect.missing)
    options.include_columns = [name for name in names if name in {*numbers, *text}]
    with (
        _reading(path, names),
        csv.open_csv(_open(path), blocks, _CSV_FORMAT, options) as reader,
    ):
        yield from map(_without_empty_texts, _gather(reader))


def _gather(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join small batches to tables of at least TABLE_ROWS rows; the last may be shorter."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= TABLE_ROWS:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def read_arrow(path: Path, text: Sequence[str], dialect: Dialect = PLAIN) -> pa.Table:
    """All columns of a file; those in `text` are strings, whatever they look like.

    Raises TableError when the file can't be read, has no rows or is too large for the memory.
    """
    _check_file(path)
    with _reading(path):
        check_fits(path)
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                _check_names(file.schema_arrow.names, path)
                table = _plain(file.read(), text)
        else:
            options = _csv_types(dict.fromkeys(text, pa.string()), dialect)
            try:
                table = csv.read_csv(_open(path), None, _CSV_FORMAT, options)
            except pa.ArrowInvalid:  # read again in one thread: its message says the row
                one_thread = csv.ReadOptions(use_threads=False)
                table = csv.read_csv(_open(path), one_thread, _CSV_FORMAT, options)
            _check_names(table.column_names, path)
            table = _without_empty_texts(table)
    if not table.num_rows:
        raise TableError(f"{path.name} has a header but no rows; give a table with rows to --csv")
    return table


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The columns of an Arrow table as numbers and texts, in its order."""
    frame = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if is_number(column.type):
            frame[name] = pd.Series(column.cast(pa.float64(), safe=False).to_numpy())
        elif is_text(column.type):
            frame[name] = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object)
        else:
            frame[name] = column.to_pandas()
    return pd.DataFrame(frame, index=pd.RangeIndex(table.num_rows), copy=False)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of this type is text."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def is_number(type_: pa.DataType) -> bool:
    """Whether a column of this type is a number; booleans are, and nothing but missing."""
    kinds = ("boolean", "integer", "floating", "decimal", "null")
    return any(getattr(pa.types, f"is_{kind}")(type_) for kind in kinds)


def few(values: Sequence[object]) -> str:
    """The first values, quoted for a message."""
    quoted = ", ".join(f"{value!r}" for value in values[:MAX_LISTED])
    return quoted + (", ..." if len(values) > MAX_LISTED else "")


def _csv_types(types: dict[str, pa.DataType], dialect: Dialect) -> csv.ConvertOptions:
    return csv.ConvertOptions(
        column_types=types, strings_can_be_null=False, decimal_point=dialect.decimal
    )


def _without_empty_texts(table: pa.Table) -> pa.Table:
    """Make the empty cells of a CSV's text columns missing."""
    for position, field in enumerate(table.schema):
        if is_text(field.type):
            column = table.column(position)
            empty = compute.equal(column, "")
            if compute.any(empty).as_py():
                column = compute.if_else(empty, pa.scalar(None, field.type), column)
                table = table.set_column(position, field.name, column)
    return table


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet")


def _open(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None)


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
        raise TableError(
            f"can't read {path.name}: {reason}; repair it or export it again"
        ) from error


def _check_names(names: list[str], path: Path) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{path.name} has columns of the same name: {few(twice)}; rename them")
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
        if field.name in text and not is_text(column.type):
            column = _whole(column).cast(pa.string())
        table = table.set_column(position, field.name, column)
    return table


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers without fractions as integers: a code 7 is 7, not 7.0, though others are missing."""
    if pa.types.is_floating(column.type):
        rounded = compute.all(compute.equal(column, compute.round(column))).as_py()
        if rounded and not compute.any(compute.greater(compute.abs(column), 2.0**53)).as_py():
            return column.cast(pa.int64())
    return column
