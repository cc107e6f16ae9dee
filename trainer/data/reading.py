"""A file of any format as an Arrow table and as a pandas frame, whole or in bounded memory.

Reading goes file -> Arrow table -> pandas frame. A column of such a frame is one of

    number    float64, NaN where missing; booleans are 0.0 and 1.0
    text      object: str, None where missing

and any other type (dates, lists, ...) stays as it came. Columns that a caller wants as text are
never guessed to be numbers, so that leading zeros survive. In a text file only an empty cell is
missing: NA may be Namibia. Among numbers each of MISSING_WORDS is missing, and where a column is
known to be numbers each of trainer.data.cells.numerals.USUAL too.
"""

import hashlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import compute

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.kinds import read_as_numbers, without_missing
from trainer.data.cells.numerals import MISSING_WORDS as MISSING_WORDS
from trainer.data.files.columnar import batches_of, names_in, read_whole
from trainer.data.files.objects import read_objects
from trainer.data.files.sources import Source, source_of
from trainer.data.files.text import (
    cell_types,
    decoding,
    known_cells,
    open_text,
    without_empty_texts,
)
from trainer.data.size import check_fits
from trainer.errors import TableError

BLOCK_BYTES = 1 << 20  # of text parsed at once: stays in the cache; Arrow reads 32 ahead
TABLE_ROWS = 1 << 14  # of a streamed table, about
MAX_LISTED = 8  # names or values in one message
PLAIN = Dialect()


def read_columns(path: Path, *, text: Sequence[str] = (), dialect: Dialect = PLAIN) -> pd.DataFrame:
    """All columns of a file as numbers and texts, in the file's order; those in `text` as text.

    Knows no roles, so that a file without labels or with further columns can be read for
    prediction. Raises TableError when the file can't be read.
    """
    return to_frame(read_arrow(path, text, dialect))


def read_names(path: Path, dialect: Dialect = PLAIN) -> list[str]:
    """The names of a file's columns, in its order; raises TableError when it can't be read."""
    source = source_of(path)
    with _reading(source):
        if source.kind in ("parquet", "arrow"):
            return _check_names(names_in(source), source)
        if source.kind != "text":
            return _check_names(read_objects(source, dialect).column_names, source)
        opened = open_text(source, dialect)
        with decoding(source, opened.encoding), opened.reader(BLOCK_BYTES) as reader:
            return _check_names(reader.schema.names, source)


def read_arrow(path: Path, text: Sequence[str], dialect: Dialect = PLAIN) -> pa.Table:
    """All columns of a file; those in `text` are strings, whatever they look like.

    Raises TableError when the file can't be read, has no rows or is too large for the memory.
    """
    source = source_of(path)
    with _reading(source):
        check_fits(path)
        if source.kind in ("parquet", "arrow"):
            _check_names(names_in(source), source)
            table = _plain(read_whole(source), text)
        elif source.kind != "text":
            table = read_objects(source, dialect)
            _check_names(table.column_names, source)
            table = _plain(table, text)
        else:
            opened = open_text(source, dialect)
            with decoding(source, opened.encoding):
                types = dict.fromkeys(text, pa.string())
                table = opened.table(cell_types(types, dialect))
            _check_names(table.column_names, source)
            table = without_empty_texts(table, source.name)
    if not table.num_rows:
        raise TableError(f"{path.name} has a header but no rows; give a table with rows to --csv")
    return table


def stream_arrow(
    path: Path,
    *,
    numbers: Sequence[str],
    text: Sequence[str],
    dialect: Dialect = PLAIN,
    copied: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """The named columns of a file in tables of some ten thousand rows, in the file's order.

    `to_frame` makes of them the values of `read_columns`, in bounded memory, though a workbook or a
    statistics program's file is read at once. Names that the file lacks are left out, and cells of
    texts in `copied` stay as they are. Raises TableError when the file can't be read or a column of
    `numbers` holds other text than numbers in the dialect and what stands for missing ones.
    """
    source = source_of(path)
    stream = _stream_text if source.kind == "text" else _stream_typed
    for table in stream(source, numbers, text, dialect):
        yield settled(table, numbers, dialect, copied)


def _stream_typed(
    source: Source, numbers: Sequence[str], text: Sequence[str], dialect: Dialect
) -> Iterator[pa.Table]:
    with _reading(source):
        columnar = source.kind in ("parquet", "arrow")
        table = None if columnar else read_objects(source, dialect)
        names = _check_names(names_in(source) if table is None else table.column_names, source)
        wanted = [name for name in names if name in {*numbers, *text}]
        if table is None:
            batches = batches_of(source, wanted, TABLE_ROWS)
        else:
            batches = table.select(wanted).to_batches(max_chunksize=TABLE_ROWS)
        for batch in batches:
            yield _plain(pa.Table.from_batches([batch]), text)


def _stream_text(
    source: Source, numbers: Sequence[str], text: Sequence[str], dialect: Dialect
) -> Iterator[pa.Table]:
    with _reading(source):
        opened = open_text(source, dialect)
        with decoding(source, opened.encoding), opened.reader(BLOCK_BYTES) as reader:
            types = {field.name: field.type for field in reader.schema}
            names = _check_names(reader.schema.names, source)
    cells = known_cells(types, numbers, text, dialect)
    with (
        _reading(source, names),
        decoding(source, opened.encoding),
        opened.reader(BLOCK_BYTES, cells) as reader,
    ):
        for table in _gather(reader):
            yield without_empty_texts(table, source.name)


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


@contextmanager
def _reading(source: Source, names: Sequence[str] = ()) -> Iterator[None]:
    """Turn what the readers raise into a TableError of one line; `names` are a text's columns."""

    def name(column: re.Match[str]) -> str:
        position = int(column[1])
        return f"column {names[position]!r}" if names else f"column {position + 1}"

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = re.sub(r"CSV column #(\d+)", name, " ".join(str(error).split()))[:200]
        remedy = "repair it or export it again"
        if "invalid UTF8" in reason:
            remedy = "name its encoding with --encoding, such as cp1252, or save it as UTF-8"
        raise TableError(f"can't read {source.name}: {reason}; {remedy}") from error


def _check_names(names: list[str], source: Source) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{source.name} has columns of the same name: {few(twice)}; rename them")
    for position, name in enumerate(names, start=1):
        if not name.strip() or name.startswith("__index_level_"):
            raise TableError(
                f"column {position} of {source.name} has no name and may be a row index; "
                "name it, or write the file without its index"
            )
    return names


def _plain(table: pa.Table, text: Sequence[str]) -> pa.Table:
    """Decode dictionaries and views, and cast the columns of `text` to strings."""
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
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
