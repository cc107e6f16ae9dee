"""A checkpoint and a table -> probabilities and decisions, in the table's order, in flat memory."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from pyarrow import csv
from torch import Tensor

from trainer.checkpoint import Checkpoint
from trainer.data import pad_columns
from trainer.errors import RaretuneError, TableError
from trainer.evaluation import threshold_tensor
from trainer.model import predict_probabilities
from trainer.reading import stream_columns


def predict_frame(checkpoint: Checkpoint, columns: pd.DataFrame) -> Tensor:
    """Return probabilities (N, L) float32 of a frame as trainer.reading reads it.

    Raises TableError if a feature column is missing or of another kind.
    """
    x = torch.from_numpy(checkpoint.features.transform(columns))
    return predict_probabilities(checkpoint.flat(), checkpoint.shape, pad_columns(x, 16))[0]


def predict_file(
    checkpoint: Checkpoint, path: Path, output: Path, id_columns: Sequence[str] | None = None
) -> int:
    """Write a CSV with LABEL_probability and LABEL_positive of each row of `path`; return N.

    `id_columns` are copied in front; by default those of the training table that the file has.
    Columns unknown to the checkpoint are ignored. The output appears whole or not at all. Raises
    TableError if a column is missing or unusable, RaretuneError if the output can't be written.
    """
    wanted = checkpoint.record.roles.id if id_columns is None else id_columns
    scratch = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        n_rows, writer = 0, None
        try:
            for table in _predictions(checkpoint, path, wanted, required=id_columns is not None):
                writer = writer or csv.CSVWriter(scratch, table.schema)
                writer.write_table(table)
                n_rows += len(table)
        finally:
            if writer is not None:
                writer.close()
        if not n_rows:
            raise TableError(f"{path.name} has a header but no rows; there is nothing to predict")
        scratch.replace(output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RaretuneError(f"can't write {output}: {reason}; name another --output") from error
    finally:
        scratch.unlink(missing_ok=True)
    return n_rows


def _predictions(
    checkpoint: Checkpoint, path: Path, id_columns: Sequence[str], *, required: bool
) -> Iterator[pa.Table]:
    features, labels = checkpoint.features, checkpoint.record.labels
    thresholds = threshold_tensor(checkpoint.record.thresholds, labels)
    text = [*features.text_columns, *id_columns]
    for frame in stream_columns(path, numbers=features.number_columns, text=text):
        missing = [name for name in id_columns if name not in frame]
        if missing and required:
            raise TableError(
                f"id column {missing[0]!r} is missing from {path.name}; name another with --id"
            )
        probabilities = predict_frame(checkpoint, frame)
        decisions = (probabilities >= thresholds).to(torch.int8)
        columns = {name: pa.array(frame[name], pa.string()) for name in id_columns if name in frame}
        for i, label in enumerate(labels):
            columns[f"{label}_probability"] = pa.array(probabilities[:, i].numpy())
            columns[f"{label}_positive"] = pa.array(decisions[:, i].numpy())
        yield pa.table(columns)
