"""Arrow tables written one after the other into one CSV or Parquet file."""

import gzip
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
from pyarrow import csv, parquet

from trainer.errors import TableError

Format = Literal["csv", "csv.gz", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "csv.gz", "parquet")


def format_of(path: Path) -> Format:
    """Return the format that a file's name asks for, CSV where it has no ending.

    Raises TableError for any other ending.
    """
    name = path.name.lower()
    for format_ in FORMATS:
        if name.endswith(f".{format_}"):
            return format_
    if path.suffix:
        endings = ", ".join(f".{format_}" for format_ in FORMATS)
        raise TableError(f"{path.name} is none of {endings}; name an output that ends so")
    return "csv"


def write_tables(file: BinaryIO, format_: Format, tables: Iterable[pa.Table]) -> int:
    """Write tables of one schema as one; return the number of rows."""
    n_rows, writer = 0, None
    kind = parquet.ParquetWriter if format_ == "parquet" else csv.CSVWriter
    sink: BinaryIO | gzip.GzipFile = file
    with ExitStack() as opened:
        if format_ == "csv.gz":
            packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0)
            sink = opened.enter_context(packed)
        for table in tables:
            writer = writer or opened.enter_context(kind(sink, table.schema))
            writer.write_table(table)
            n_rows += len(table)
    return n_rows
