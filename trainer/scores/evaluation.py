"""What decisions are worth, label by label, and how far probabilities can be trusted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.scores.metrics import Counts, average_precision, confusion, rank, roc_auc
from trainer.scores.reliability import reliability


@dataclass(frozen=True)
class LabelScores:
    """One label on N rows: its cut, the decisions' counts, and scores in [0, 1].

    `support` counts the positives and `prevalence` is their share of the rows; `predicted_share` is
    that of the rows decided positive. `brier` is the mean squared error of the probabilities that
    were scored, `calibration_error` their mean distance from the observed share over the bins of
    `trainer.scores.reliability`; a checkpoint keeps those of its networks' own, raw probabilities.
    ROC AUC is nan where the rows hold one value only; other undefined ratios are 0.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    roc_auc: float
    support: int
    prevalence: float
    predicted_share: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    brier: float
    calibration_error: float


@dataclass(frozen=True)
class Evaluation:
    """All labels on N rows; a macro score is the mean over the labels where it is not nan."""

    macro_f1: float
    macro_average_precision: float
    macro_roc_auc: float
    labels: dict[str, LabelScores]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; a score that is undefined is nan."""
        return asdict(self)


def evaluate(
    probabilities: Tensor,
    labels: Tensor,
    thresholds: Tensor,
    names: Sequence[str],
    *,
    counts: Counts | None = None,
) -> Evaluation:
    """Score decisions `probability >= threshold`, or those behind `counts` (1, L) instead.

    Shapes (N rows, L labels): probabilities (N, L) float32, labels (N, L) 0 or 1, thresholds (L,).
    """
    if counts is None:
        counts = confusion(probabilities[None], labels, thresholds[None])
    ranking = rank(probabilities[None], labels)
    f1, precision_area, roc_area = counts.f_beta(), average_precision(ranking), roc_auc(ranking)
    positive = (labels > 0).double()
    columns = zip(
        names,
        thresholds.tolist(),
        counts.precision()[0].tolist(),
        counts.recall()[0].tolist(),
        f1[0].tolist(),
        precision_area[0].tolist(),
        roc_area[0].tolist(),
        ranking.n_pos.tolist(),
        positive.mean(dim=0).tolist(),
        counts.predicted_share()[0].tolist(),
        counts.tp[0].tolist(),
        counts.fp[0].tolist(),
        counts.fn[0].tolist(),
        counts.tn[0].tolist(),
        (probabilities.double() - positive).square().mean(dim=0).tolist(),
        [reliability(p, y).error for p, y in zip(probabilities.T, labels.T, strict=True)],
        strict=True,
    )
    return Evaluation(
        macro_f1=float(f1.mean()),
        macro_average_precision=float(precision_area.mean()),
        macro_roc_auc=float(roc_area.nanmean()),
        labels={name: LabelScores(*values) for name, *values in columns},
    )


def threshold_tensor(thresholds: dict[str, float], names: Sequence[str]) -> Tensor:
    """Return thresholds in the order of `names`, (L,) float32."""
    return torch.tensor([thresholds[name] for name in names], dtype=torch.float32)
