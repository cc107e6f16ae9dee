"""What a search maximises: a score that is the mean over the labels, or one label's F1.

Scores that need decisions are cross-fitted. Where a run stops, and which epoch is its best, follows
from its own early_stop_metric; the objective only compares the trials at these epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies.definition import LABEL_OBJECTIVE, OBJECTIVES
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from trainer.loop.fit import EpochReport, TrainResult
    from trainer.loop.history import Row
    from trainer.loop.validation import Validation


def in_words(objective: str) -> str:
    """Return an objective as a reader says it, as in "the best macro-F1"."""
    if objective.startswith(LABEL_OBJECTIVE):
        return f"F1 of {objective.removeprefix(LABEL_OBJECTIVE)}"
    return "macro-F1" if objective == "macro_f1" else objective.replace("_", " ")


def values_of(report: EpochReport, objective: str, labels: Sequence[str]) -> list[float]:
    """Return the objective of each of a report's K runs; `labels` are the table's, in order.

    Raises ConfigError if the objective names none of them.
    """
    if objective in OBJECTIVES:
        return list(report.scores[objective])
    return scores_of(report.validation, objective, labels)


def scores_of(validation: Validation, objective: str, labels: Sequence[str]) -> list[float]:
    """Return the objective of each of K runs that were validated; errors as `values_of`."""
    if objective in OBJECTIVES:
        scores: list[float] = validation.macro[objective].tolist()
        return scores
    label = objective.removeprefix(LABEL_OBJECTIVE)
    if label not in labels:
        raise ConfigError(
            f"objective {objective!r} names no label of the table; labels are {', '.join(labels)}"
        )
    values: list[float] = validation.f1[:, labels.index(label)].tolist()
    return values


def value_of(result: TrainResult, objective: str) -> float:
    """Return the objective at a result's best epoch; nan if it has none."""
    if not result.networks:
        return math.nan
    return value_in(result.history[result.best_epoch - 1], objective)


def value_in(row: Row, objective: str) -> float:
    """Return the objective in a history's row, nan if it is not there."""
    label = objective.removeprefix(LABEL_OBJECTIVE)
    return row.get(objective if objective in OBJECTIVES else f"f1_{label}", math.nan)
