"""A run's history: a row an epoch, what an epoch's score is, and which epoch is the best."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainer.config import TrainConfig
from trainer.errors import CheckpointError

HistoryRow = dict[str, float]
Row = Mapping[str, float]  # one that is only read
OF_LABELS = ("f1_", "predicted_share_")  # what the keys of one label's scores begin with
OF_ALL = (
    *("epoch", "loss", "validation_loss", "tuned_macro_f1", "average_precision", "roc_auc"),
    *("macro_f1", "macro_recall", "macro_precision", "balanced_accuracy"),
)


def history_row(epoch: int, loss: float, scores: Mapping[str, float]) -> HistoryRow:
    """Return an epoch's row: mean training loss, then `scores`, whose "loss" is the validation's.

    `epoch` counts from 1.
    """
    others = {name: value for name, value in scores.items() if name != "loss"}
    return {"epoch": epoch, "loss": loss, "validation_loss": scores["loss"], **others}


def macro_scores(row: Row) -> dict[str, float]:
    """Return a row without the columns of single labels."""
    return {name: value for name, value in row.items() if not name.startswith(OF_LABELS)}


def is_finite(row: Row) -> bool:
    """Whether an epoch's losses are finite: others count as no epoch to keep."""
    return math.isfinite(row["loss"]) and math.isfinite(row["validation_loss"])


def epoch_score(row: Row, config: TrainConfig) -> float:
    """Return what early stopping compares, higher is better; a validation loss is negated."""
    metric = config.early_stop_metric
    return -row["validation_loss"] if metric == "loss" else row[metric]


def improves(row: Row, best: Row | None, config: TrainConfig) -> bool:
    """Whether an epoch is better than the best before by more than `min_delta`; None: no best yet.

    An epoch whose losses or score are not finite never is.
    """
    score = epoch_score(row, config)
    if not is_finite(row) or math.isnan(score):
        return False
    return best is None or score > epoch_score(best, config) + config.min_delta


def best_row(history: Sequence[Row], config: TrainConfig) -> Row | None:
    """Return the row of the epoch that training keeps; None if no epoch had finite losses."""
    best: Row | None = None
    for row in history:
        if improves(row, best, config):
            best = row
    return best


def columns(labels: Iterable[str]) -> set[str]:
    """Return the keys of the rows of a run on these labels."""
    return {*OF_ALL, *(f"{first}{label}" for label in labels for first in OF_LABELS)}


def write_history(path: Path, history: Sequence[HistoryRow]) -> None:
    """Write a CSV with a row an epoch; numbers keep every digit."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]) if history else ["epoch"])
        writer.writeheader()
        writer.writerows(history)


def read_history(path: Path) -> list[HistoryRow]:
    """Read what `write_history` wrote; raises CheckpointError, OSError or ValueError."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            names, *rows = csv.reader(file, strict=True)
        except csv.Error as error:
            raise CheckpointError(f"{path.name} is not CSV, {error}") from None
    if names[:1] != ["epoch"] or len(set(names)) < len(names):
        raise CheckpointError(f"{path.name} has other columns than epoch and scores, each once")
    history: list[HistoryRow] = []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names) or row[0] != str(number):
            raise CheckpointError(f"{path.name} has another row where epoch {number} belongs")
        scores = zip(names[1:], map(float, row[1:]), strict=True)
        history.append({"epoch": number, **dict(scores)})
    return history
