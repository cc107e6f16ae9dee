"""Parquet, and Feather and other Arrow files: columns with types of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import ipc, parquet

from trainer.data.files.sources import Source


def names_in(source: Source) -> list[str]:
    """The names of a file's columns, in its order."""
    if source.kind == "parquet":
        with parquet.ParquetFile(source.path) as file:
            return list(file.schema_arrow.names)
    with _opened(source) as reader:
        return list(reader.schema.names)


def read_whole(source: Source) -> pa.Table:
    """All columns of a file."""
    if source.kind == "parquet":
        with parquet.ParquetFile(source.path) as file:
            return file.read()
    with _opened(source) as reader:
        return reader.read_all()


def batches_of(source: Source, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """The named columns of a file in batches of at most so many rows."""
    if source.kind == "parquet":
        with parquet.ParquetFile(source.path) as file:
            yield from file.iter_batches(rows, columns=list(names))
        return
    with _opened(source) as reader:
        several = (
            (reader.get_batch(i) for i in range(reader.num_record_batches))
            if isinstance(reader, ipc.RecordBatchFileReader)
            else reader
        )
        for batch in several:
            for start in range(0, len(batch), rows):
                yield batch.select(list(names)).slice(start, rows)


@contextmanager
def _opened(source: Source) -> Iterator[ipc.RecordBatchFileReader | ipc.RecordBatchStreamReader]:
    """Open an Arrow file, or a stream that was written to one."""
    with pa.memory_map(str(source.path)) as file:
        try:
            reader = ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = ipc.open_stream(file)
        with reader:
            yield reader
