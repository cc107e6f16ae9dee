"""A checkpoint and a table -> probabilities and decisions, in the table's order, in flat memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint, Network
from trainer.data.cells.dialect import Dialect
from trainer.data.formats import format_of, write_tables
from trainer.data.reading import stream_arrow, to_frame
from trainer.data.table import with_date_parts
from trainer.data.unseen import Unseen, together, unseen_in
from trainer.errors import TableError
from trainer.scores.calibration import calibrated
from trainer.scores.ensemble import weighted_mean
from trainer.scores.evaluation import threshold_tensor
from trainer.stack.model import Shape
from trainer.steps.inference import predict_probabilities
from trainer.writing import written_whole

Result = TypeVar("Result")

ROWS_AT_ONCE = 1 << 15  # through features and network, in flat memory
ROWS_IN_CACHE = 1 << 11  # prepared, where several networks read them
WORKERS = 2  # as fast together as one thread reads


def predict_frame(checkpoint: Checkpoint, columns: pd.DataFrame) -> Tensor:
    """Return probabilities (N, L) float32 of a frame as trainer.data.reading reads it.

    They are the mean over the folds of the weighted mean over a fold's networks. Raises TableError
    if a feature column is missing or of another kind.
    """
    weights = checkpoint.weights
    first, *others = (fold_probabilities(one, weights, columns) for one in checkpoint.folds)
    for probabilities in others:
        first += probabilities
    return first / (len(others) + 1) if others else first


def network_probabilities(network: Network, columns: pd.DataFrame) -> Tensor:
    """Return one network's probabilities (N, L) float32 of a frame; errors as `predict_frame`."""
    return fold_probabilities([network], (1.0,), columns)


def fold_probabilities(
    networks: Sequence[Network], weights: Sequence[float], columns: pd.DataFrame
) -> Tensor:
    """Return the weighted mean (N, L) float32 of what networks with the same features say.

    The features are prepared once for all. Errors as in `predict_frame`.
    """
    features, first = networks[0].features, networks[0].shape
    flat = [(network.flat(), network.shape) for network in networks]
    probabilities = torch.empty(len(columns), first.labels)
    for start in range(0, len(columns), ROWS_AT_ONCE):
        block = columns.iloc[start : start + ROWS_AT_ONCE]
        x = first.room_for_rows(len(block))
        features.write(block, x.numpy())
        of_rows = [_mean(flat, weights, rows) for rows in torch.split(x, _rows_at_once(flat))]
        probabilities[start : start + len(block)] = torch.cat(of_rows)[: len(block)]
    return probabilities


def _rows_at_once(networks: Sequence[object]) -> int:
    """Return how many rows go through all networks before the next: few stay in the cache."""
    return ROWS_IN_CACHE if len(networks) > 1 else ROWS_AT_ONCE


def _mean(networks: Sequence[tuple[Tensor, Shape]], weights: Sequence[float], x: Tensor) -> Tensor:
    """Return the weighted mean of what networks say of prepared rows x (B, inputs), (B, L)."""
    found = [predict_probabilities(flat, shape, x)[0] for flat, shape in networks]
    return weighted_mean(found, weights)


def unseen_texts(checkpoint: Checkpoint, columns: pd.DataFrame) -> list[Unseen]:
    """Return what of each text column of a frame no network had among its train rows."""
    return unseen_in(columns, [c for n in checkpoint.networks for c in n.features.categories])


def predict_file(
    checkpoint: Checkpoint,
    path: Path,
    output: Path,
    id_columns: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    dialect: Dialect | None = None,
    *,
    raw: bool = False,
) -> int:
    """Write LABEL_probability and LABEL_positive of each row of `path`; return N.

    Probabilities are calibrated if the checkpoint says how, unless they are to be `raw`. Decisions
    are the same, and `probability >= threshold` with the record's `thresholds_in_use`, or the raw
    `thresholds`.

    The ending of `output` says whether as CSV or Parquet; it appears whole or not at all.
    `id_columns` are copied in front; by default those of the training table that the file has.
    Columns unknown to the checkpoint are ignored. `say` gets a sentence for each text column with
    values that were not seen in training. `dialect` says how the file is written, by default as the
    training table was. Raises TableError if a column is missing or unusable or
    the ending is another, RaretuneError if the output can't be written.
    """
    if path.resolve() == output.resolve():
        raise TableError(f"--output {output} is the table itself; name another file")
    wanted = checkpoint.record.roles.id if id_columns is None else id_columns
    _check_names(checkpoint.record.labels, wanted)
    unseen: list[Unseen] = []

    def predictions() -> Iterator[pa.Table]:
        for table, found in _predictions(
            checkpoint,
            path,
            dialect or checkpoint.record.dialect,
            wanted,
            required=id_columns is not None,
            raw=raw,
        ):
            unseen[:] = together(unseen, found) if unseen else found
            yield table

    format_ = format_of(output)
    with written_whole(output) as file:
        n_rows = write_tables(file, format_, predictions())
        if not n_rows:
            raise TableError(f"{path.name} has a header but no rows; there is nothing to predict")
    for found in unseen:
        if found.unseen:
            say(found.sentence)
    return n_rows


def _check_names(labels: Sequence[str], id_columns: Sequence[str]) -> None:
    """Refuse row names that would stand where predictions do."""
    outputs = {f"{label}_{kind}" for label in labels for kind in ("probability", "positive")}
    if taken := [name for name in id_columns if name in outputs]:
        raise TableError(
            f"id column {taken[0]!r} has the name of a column of predictions; rename it in the "
            "table, or name other columns with --id"
        )


def _predictions(
    checkpoint: Checkpoint,
    path: Path,
    dialect: Dialect,
    id_columns: Sequence[str],
    *,
    required: bool,
    raw: bool,
) -> Iterator[tuple[pa.Table, list[Unseen]]]:
    record, known = checkpoint.record, checkpoint.known
    labels, numbers = record.labels, known.numbers
    thresholds = threshold_tensor(record.thresholds, labels)
    calibrations = None if raw else record.calibrations
    text = [*known.text, *(name for name in id_columns if name not in numbers)]

    def predict(table: pa.Table) -> tuple[pa.Table, list[Unseen]]:
        missing = [name for name in id_columns if name not in table.column_names]
        if missing and required:
            raise TableError(
                f"id column {missing[0]!r} is missing from {path.name}; name another with --id"
            )
        frame = with_date_parts(to_frame(table), known.dates, dialect)
        probabilities = predict_frame(checkpoint, frame)
        decisions = (probabilities >= thresholds).to(torch.int8)
        if calibrations is not None:
            probabilities = calibrated(probabilities, thresholds, calibrations).probabilities
        columns = {name: table[name] for name in id_columns if name not in missing}
        for i, label in enumerate(labels):
            columns[f"{label}_probability"] = pa.array(probabilities[:, i].numpy())
            columns[f"{label}_positive"] = pa.array(decisions[:, i].numpy())
        return pa.table(columns), unseen_texts(checkpoint, frame)

    copied = [name for name in id_columns if name not in (*numbers, *known.text)]
    tables = stream_arrow(path, numbers=numbers, text=text, dialect=dialect, copied=copied)
    return _map_ahead(predict, tables)


def _map_ahead(
    function: Callable[[pa.Table], Result], tables: Iterable[pa.Table]
) -> Iterator[Result]:
    """Apply a function in WORKERS threads, while this one goes on reading; results keep order."""
    with ThreadPoolExecutor(WORKERS) as pool:
        ahead: deque[Future[Result]] = deque()
        for table in tables:
            ahead.append(pool.submit(function, table))
            if len(ahead) > WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
