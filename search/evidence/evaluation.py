"""A best trial's checkpoint, the known recipes' and their table -> evidence.

Everything along cuts, bins and columns is of the validation rows. Of the test rows, which choose
nothing here either, there are scores and comparisons only.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search.evidence.evidence import (
    ColumnImportance,
    Contender,
    Evidence,
    LabelCalibration,
    LabelEvidence,
    LabelTest,
    TableFacts,
)
from trainer.checkpoint import Checkpoint, Record, json_text
from trainer.data.table import Table
from trainer.experiment import Experiment, held_out_probabilities
from trainer.importance import (
    MOST_PRODUCTS,
    REPEATS,
    Importance,
    inputs_of_columns,
    mean_importance,
    permutation_importance,
)
from trainer.pages.calibration import CALIBRATED, RAW
from trainer.pages.curves import wilson_interval
from trainer.predict import predict_frame
from trainer.scores.bootstrap import Compared, compare_macro_f1
from trainer.scores.calibration import cross_fitted
from trainer.scores.evaluation import threshold_tensor
from trainer.scores.reliability import decision_curve, reliability
from trainer.stack.model import Shape

CUTS_AT_POSITIVES, CUTS_AT_ROWS = 200, 99  # of a label, besides its threshold
COLUMNS = 8  # of a label, the most important
CONSTANT = "every row positive"


def evaluate_best(
    experiment: Experiment, checkpoint: Checkpoint, rivals: Mapping[str, Checkpoint]
) -> Evidence:
    """Return the evidence of a trial's checkpoint, which has its test scores if there are any.

    `rivals` are other trials' checkpoints by name, to hold it against on the test rows; the answer
    that every row is positive is one more.
    """
    record = checkpoint.record
    own, contenders = _held_against(experiment, checkpoint, rivals)
    return Evidence(
        trial=_number(checkpoint),
        validated=record.validation["macro_f1"],
        macro_f1=None if record.test is None else record.test["macro_f1"],
        interval=None if own is None else own.interval,
        table=_facts(experiment, checkpoint),
        labels=_labels(experiment, checkpoint),
        contenders=contenders,
        doubts=record.doubts,
    )


def _labels(experiment: Experiment, checkpoint: Checkpoint) -> list[LabelEvidence]:
    record, y = checkpoint.record, experiment.data.y_validation.cpu()
    probabilities = held_out_probabilities(checkpoint, experiment)
    importance = _importance(experiment, checkpoint)
    unseen = None
    if record.calibration is not None:
        unseen = cross_fitted(probabilities, y, experiment.data.cross_fold.cpu())
    return [
        LabelEvidence(
            label=label,
            **counts_along_cuts(probabilities[:, i], y[:, i], record.thresholds[label]),
            **_bins(probabilities[:, i], y[:, i]),
            columns=_columns(importance, i),
            test=None if record.test is None else _label_test(record.test, label),
            calibration=None
            if unseen is None
            else _calibration(record, label, probabilities[:, i], unseen[:, i], y[:, i]),
        )
        for i, label in enumerate(record.labels)
    ]


def _importance(experiment: Experiment, checkpoint: Checkpoint) -> Importance:
    """Return what each column is worth on the rows held out from the networks, over all folds."""
    n_folds, table = len(experiment.folds), experiment.table
    found, n_pos = [], []
    for network, fold in zip(checkpoint.networks, experiment.folds, strict=True):
        columns = table.columns.iloc[fold.validation]
        x = Shape.pad_inputs(torch.from_numpy(network.features.transform(columns)))
        y = torch.from_numpy(table.labels[fold.validation])
        n_pos.append((y > 0).sum(dim=0))
        found.append(
            permutation_importance(
                network.flat(),
                network.shape,
                x,
                y,
                inputs_of_columns(network.features),
                repeats=max(2, REPEATS // n_folds),
                most_products=MOST_PRODUCTS // n_folds,
            )
        )
    return mean_importance(found, torch.stack(n_pos)) if n_folds > 1 else found[0]


def counts_along_cuts(probabilities: Tensor, labels: Tensor, threshold: float) -> dict[str, Any]:
    """Return a label's counts at its threshold and up to 299 other cuts, as LabelEvidence has them.

    Up to 200 cuts lie at probabilities of positives, where precision turns, and 99 evenly over the
    rows. Shapes (N rows): probabilities (N,) float32, labels (N,) 0 or 1.
    """
    p, positive = probabilities.numpy(), labels.numpy() > 0
    rows, hits = np.sort(p), np.sort(p[positive])
    chosen = np.array([threshold], dtype=np.float32)
    spread = _spread(hits, CUTS_AT_POSITIVES), _spread(rows, CUTS_AT_ROWS)
    cuts = np.unique(np.concatenate([chosen, *spread]))[::-1]
    true = len(hits) - np.searchsorted(hits, cuts)
    reached = len(rows) - np.searchsorted(rows, cuts)
    return {
        "threshold": float(chosen[0]),
        "rows": len(rows),
        "positives": len(hits),
        "cuts": cuts.tolist(),
        "true_positives": true.tolist(),
        "false_positives": (reached - true).tolist(),
    }


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of the sorted values, evenly spread over them, the ends among them."""
    places = np.linspace(0, len(values) - 1, min(most, len(values)))
    return values[places.round().astype(np.int64)]


def _bins(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    bins = reliability(probabilities, labels)
    low, high = wilson_interval(bins.observed, bins.rows)
    return {
        "predicted": bins.predicted.tolist(),
        "observed": bins.observed.tolist(),
        "bin_rows": bins.rows.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _calibration(
    record: Record, label: str, raw: Tensor, calibrated: Tensor, y: Tensor
) -> LabelCalibration:
    """Return what is told of a label's calibration; all of rows (V,), calibrated unseen."""
    bins = reliability(calibrated, y)
    content = {
        **(record.calibration or {})[label],
        "scores": record.validation["calibration"][label],
        "predicted": bins.predicted.tolist(),
        "observed": bins.observed.tolist(),
        "bin_rows": bins.rows.tolist(),
        "decisions": asdict(decision_curve({RAW: raw, CALIBRATED: calibrated}, y)),
    }
    return LabelCalibration.model_validate_json(json_text(content))


def _columns(importance: Importance, label: int) -> list[ColumnImportance]:
    drop, spread = importance.drop[:, label].tolist(), importance.spread[:, label].tolist()
    found = [
        ColumnImportance(column=column, drop=drop[i], spread=spread[i])
        for i, column in enumerate(importance.columns)
    ]
    return sorted(found, key=lambda one: -one.drop)[:COLUMNS]


def _label_test(test: Mapping[str, Any], label: str) -> LabelTest:
    scores, intervals = test["labels"][label], test["intervals"]["labels"][label]
    calibration = test.get("calibration", {}).get(label)
    content = {**scores, "intervals": intervals, "calibration": calibration}
    return LabelTest.model_validate_json(json_text(content))


def _facts(experiment: Experiment, checkpoint: Checkpoint) -> TableFacts:
    table, rows = experiment.table, experiment.row_counts
    prevalence = table.labels.mean(axis=0).tolist()
    return TableFacts(
        file=table.path.name,
        sha256=table.hash,
        rows=len(table.labels),
        features=len(checkpoint.number_columns) + len(checkpoint.text_columns),
        group=table.roles.group,
        **rows,
        folds=experiment.settings.folds,
        repeats=experiment.settings.repeats,
        split_seed=experiment.settings.seed,
        prevalence=dict(zip(table.roles.labels, prevalence, strict=True)),
    )


def _held_against(
    experiment: Experiment, checkpoint: Checkpoint, rivals: Mapping[str, Checkpoint]
) -> tuple[Compared | None, list[Contender]]:
    """Return the checkpoint's own macro-F1 with its interval, and those of its contenders.

    Where there are no test rows, or they have no interval, there is nothing to say.
    """
    table, rows = experiment.table, experiment.test_rows
    if not len(rows):
        return None, []
    labels = torch.from_numpy(table.labels[rows])
    decided = [_decisions(one, table, rows) for one in (checkpoint, *rivals.values())]
    decisions = torch.stack([*decided, torch.ones_like(labels, dtype=torch.bool)])
    groups = None if table.groups is None else table.groups[rows]
    own, *others = compare_macro_f1(decisions, labels, groups)
    if not np.isfinite(own.interval).all():
        return None, []
    names = [*rivals, CONSTANT]
    return own, [
        _contender(name, rivals.get(name), one) for name, one in zip(names, others, strict=True)
    ]


def _decisions(checkpoint: Checkpoint, table: Table, rows: np.ndarray) -> Tensor:
    """Decide the given rows of a table, (N, L) bool."""
    cuts = threshold_tensor(checkpoint.record.thresholds, checkpoint.record.labels)
    return predict_frame(checkpoint, table.columns.iloc[rows]) >= cuts


def _contender(name: str, checkpoint: Checkpoint | None, compared: Compared) -> Contender:
    validation = None if checkpoint is None else checkpoint.record.validation
    return Contender(
        name=name,
        trial=None if checkpoint is None else _number(checkpoint),
        validated=None if validation is None else validation["macro_f1"],
        **asdict(compared),
    )


def _number(checkpoint: Checkpoint) -> int:
    if checkpoint.record.trial is None:
        raise ValueError("a checkpoint of no trial has no evidence")
    return int(checkpoint.record.trial["number"])
