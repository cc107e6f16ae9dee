"""A run's history: a row an epoch, what an epoch's score is, and which epoch is the best."""

import math
from collections.abc import Mapping, Sequence

from trainer.config import TrainConfig

HistoryRow = dict[str, float]
Row = Mapping[str, float]  # one that is only read
OF_LABELS = ("f1_", "predicted_share_")  # what the keys of one label's scores begin with


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
