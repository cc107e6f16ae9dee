"""Text files: their encoding and separator, found from their first lines, and their cells.

The separator is the one of `,` `;` tab and `|` under which most of the first rows have as many
cells as the header, and more than one; of several such the one that makes most columns.
"""

import codecs
import csv as plain_csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow import compute, csv

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.numerals import null_texts
from trainer.data.files.sources import Source
from trainer.errors import TableError

SEPARATORS = (",", ";", "\t", "|")
HEAD_BYTES = 1 << 17  # looked at for encoding and separator
MARKS = {  # that begin a file
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Opened:
    """A text file with how it is encoded and separated."""

    source: Source
    encoding: str
    separator: str

    def reader(
        self, block_bytes: int, convert: csv.ConvertOptions | None = None
    ) -> csv.CSVStreamingReader:
        """Return a reader of record batches."""
        read = csv.ReadOptions(block_size=block_bytes, encoding=self.encoding)
        return csv.open_csv(self.source.open(), read, self._parse(), convert)

    def table(self, convert: csv.ConvertOptions) -> pa.Table:
        """Return all of the file."""
        read = csv.ReadOptions(encoding=self.encoding)
        try:
            return csv.read_csv(self.source.open(), read, self._parse(), convert)
        except pa.ArrowInvalid:  # read again in one thread: its message says the row
            read.use_threads = False
            return csv.read_csv(self.source.open(), read, self._parse(), convert)

    def _parse(self) -> csv.ParseOptions:
        return csv.ParseOptions(delimiter=self.separator, newlines_in_values=True)


def open_text(source: Source, dialect: Dialect) -> Opened:
    """Find out how a text file is encoded and separated; raises TableError when nothing fits."""
    head = source.head(HEAD_BYTES)
    encoding = _encoding(head, dialect, source.name)
    text = _beginning(head, encoding)
    if dialect.separator is None:
        return Opened(source, encoding, _separator(text))
    if not _separates(text, dialect.separator):
        raise TableError(
            f"--separator {dialect.separator!r} is not in the header of {source.name}; leave it "
            "out to have it found from the file"
        )
    return Opened(source, encoding, dialect.separator)


def adapted(dialect: Dialect, source: Source) -> Dialect:
    """Return a dialect for another file than the one that it was named for.

    Its separator and encoding count where they fit the file, and are found from it elsewhere.
    """
    if source.kind != "text":
        return replace(dialect, separator=None, encoding=None)
    head = source.head(HEAD_BYTES)
    encoding = None if _marked(head) or _is_utf_8(head) else dialect.encoding
    separator = dialect.separator
    if separator and not _separates(
        _beginning(head, encoding or _marked(head) or "utf-8"), separator
    ):
        separator = None
    return replace(dialect, separator=separator, encoding=encoding)


@contextmanager
def decoding(source: Source, encoding: str) -> Iterator[None]:
    """Turn what an encoding can't read into a TableError."""
    try:
        yield
    except UnicodeError as error:
        raise TableError(
            f"{source.name} can't be read as {encoding} ({error.__class__.__name__}: "
            f"{str(error)[:100]}); name its encoding with --encoding, such as cp1252"
        ) from error


def cell_types(types: dict[str, pa.DataType], dialect: Dialect) -> csv.ConvertOptions:
    """Return how cells are converted: only an empty text is missing, a number by more words."""
    return csv.ConvertOptions(
        column_types=types, strings_can_be_null=False, decimal_point=dialect.decimal
    )


def known_cells(
    found: dict[str, pa.DataType], numbers: Sequence[str], text: Sequence[str], dialect: Dialect
) -> csv.ConvertOptions:
    """Return how the cells of known columns are converted, of a file whose columns look as found.

    A column of true and false keeps its type; any other number may turn out a fraction.
    """
    number = pa.float64() if dialect.thousands is None else pa.string()
    types = {n: pa.bool_() if found.get(n) == pa.bool_() else number for n in numbers}
    options = cell_types(types | dict.fromkeys(text, pa.string()), dialect)
    options.null_values = null_texts(dialect.missing)
    options.include_columns = [name for name in found if name in {*numbers, *text}]
    return options


def without_empty_texts(table: pa.Table, name: str) -> pa.Table:
    """Make the empty cells of text columns missing; raises TableError for a NUL character."""
    for position, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(position)
            if compute.any(compute.match_substring(column, "\0")).as_py():
                raise TableError(
                    f"column {field.name!r} of {name} holds NUL characters, so it is damaged or no "
                    "text file; export it again"
                )
            empty = compute.equal(column, "")
            if compute.any(empty).as_py():
                column = compute.if_else(empty, pa.scalar(None, field.type), column)
                table = table.set_column(position, field.name, column)
    return table


def _encoding(head: bytes, dialect: Dialect, name: str) -> str:
    """Return the encoding of a file that begins so; raises TableError."""
    if (marked := _marked(head)) is not None:
        return marked
    if dialect.encoding is not None:
        return dialect.encoding
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > len(head) // 5 and min(even, odd) == 0:  # Latin letters in two bytes
            return "utf-16-le" if odd else "utf-16-be"
        raise TableError(
            f"{name} holds NUL bytes, so it is damaged or no text file; export it again, or name "
            "its encoding with --encoding"
        )
    header = head.partition(b"\n")[0]
    if not _is_utf_8(header):
        raise TableError(
            f"{name} has a header that is not UTF-8; name its encoding with --encoding, such as "
            "cp1252, or save it as UTF-8"
        )
    return "utf-8"


def _marked(head: bytes) -> str | None:
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def _is_utf_8(head: bytes) -> bool:
    try:  # a character may be cut off at the end
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _beginning(head: bytes, encoding: str) -> str:
    """Return the text of a file that begins so, up to the end of a line."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    if len(head) == HEAD_BYTES and "\n" in text:
        text = text[: text.rfind("\n") + 1]
    return text.removeprefix("\ufeff")


def _separates(text: str, separator: str) -> bool:
    """Whether the header has more than one cell."""
    return any(len(row) > 1 for row in _rows(text, separator)[:1])


def _separator(text: str) -> str:
    best, found = (0.0, 0), SEPARATORS[0]
    for separator in SEPARATORS:
        counts = [len(row) for row in _rows(text, separator) if row]
        if counts and counts[0] > 1:
            share = Counter(counts)[counts[0]] / len(counts)
            if (share, counts[0]) > best:
                best, found = (share, counts[0]), separator
    return found


def _rows(text: str, separator: str) -> list[list[str]]:
    """The rows of a text as far as they can be told apart."""
    rows: list[list[str]] = []
    with suppress(plain_csv.Error):
        rows.extend(plain_csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    return rows
