"""What decisions are worth, label by label, and how sure that is.

Every score is a function of sums over rows: how many positives, and negatives, lie between one
probability and the next. How often a resample draws each row enters these sums linearly. So a label
is sorted once, and one sparse matrix product gives the sums of many resamples together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.scores.metrics import Counts, average_precision, confusion, rank, roc_auc
from trainer.scores.resampling import RESAMPLES, Interval, drawn_units, draws, intervals

INTERVAL_SCORES = ("precision", "recall", "f1", "average_precision", "roc_auc")
MACRO_SCORES = INTERVAL_SCORES[2:]
MAX_BINS = 10
POSITIVES_PER_BIN = 10
_CHUNK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class LabelScores:
    """One label on N rows: its cut, the decisions' counts, and scores in [0, 1].

    `support` counts the positives and `prevalence` is their share of the rows; `predicted_share` is
    that of the rows decided positive. `brier` is the mean squared error of the probabilities,
    `calibration_error` their mean distance from the observed share over the bins of `reliability`.
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


@dataclass(frozen=True)
class Intervals:
    """95 % bootstrap intervals (low, high); nan where a score is undefined.

    `macro` has the keys of MACRO_SCORES; `labels` maps each label to those of INTERVAL_SCORES.
    `unit` is what was drawn, rows or groups, `units` how many of them there are.
    """

    macro: dict[str, Interval]
    labels: dict[str, dict[str, Interval]]
    resamples: int
    unit: str
    units: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; a bound that is undefined is nan."""
        return asdict(self)


@dataclass(frozen=True)
class Reliability:
    """Probabilities against what was observed, in bins of about equally many rows, B of them.

    Shapes: predicted (B,) mean probability, observed (B,) share of positives, rows (B,) int64.
    """

    predicted: np.ndarray
    observed: np.ndarray
    rows: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error. Source: Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))


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


def reliability(probabilities: Tensor, labels: Tensor) -> Reliability:
    """Bin one label's rows by quantiles of its probabilities, about ten positives to a bin.

    Shapes (N rows): probabilities (N,), labels (N,) 0 or 1. There are 2 to 10 bins, fewer where
    ties leave one empty; bins are those of scikit-learn's calibration_curve(strategy="quantile").
    """
    p, y = probabilities.double().numpy(), labels.numpy() > 0
    n_bins = int(np.clip(y.sum() // POSITIVES_PER_BIN, 2, MAX_BINS))
    edges = np.quantile(p, np.linspace(0, 1, n_bins + 1))[1:-1]
    place = np.searchsorted(edges, p)
    rows = np.bincount(place, minlength=n_bins)
    filled = rows > 0
    totals = [np.bincount(place, weights=w, minlength=n_bins)[filled] for w in (p, y)]
    rows = rows[filled]
    return Reliability(totals[0] / rows, totals[1] / rows, rows)


def bootstrap(
    probabilities: Tensor,
    labels: Tensor,
    thresholds: Tensor,
    names: Sequence[str],
    groups: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Return 95 % percentile intervals of all scores, drawing rows, or whole groups, anew.

    One resampling serves all scores, in memory that does not grow with `resamples`. A resample in
    which a score is undefined, such as recall without a positive, is left out of that score's
    interval; precision counts as undefined where nothing is predicted. A label without any positive
    enters the macro scores as in `evaluate`.

    Shapes as in `evaluate`; groups (N,) integer codes. Source: Efron and Tibshirani 1993, ch. 13.
    """
    unit = drawn_units(len(labels), groups)
    n_units = int(unit.max()) + 1
    tables = [
        _SumTable.make(p, y, cut, unit)
        for p, y, cut in zip(
            probabilities.numpy().T, labels.numpy().T > 0, thresholds.numpy(), strict=True
        )
    ]
    height = n_units + max(table.sums.shape[0] for table in tables)
    chunks = draws(n_units, resamples, max(1, _CHUNK_ELEMENTS // height), seed)
    scores = torch.cat(
        [torch.stack([table.scores(drawn) for table in tables]) for drawn in chunks], dim=-1
    )
    macro = _macro(scores[:, -len(MACRO_SCORES) :])
    if n_units == 1:  # drawn again and again, it tells nothing of others
        scores, macro = scores * torch.nan, macro * torch.nan
    return Intervals(
        macro=dict(zip(MACRO_SCORES, intervals(macro), strict=True)),
        labels={
            name: dict(zip(INTERVAL_SCORES, intervals(of_label), strict=True))
            for name, of_label in zip(names, scores, strict=True)
        },
        resamples=resamples,
        unit="rows" if groups is None else "groups",
        units=n_units,
    )


@dataclass(frozen=True)
class _SumTable:
    """One label's rows as a sparse matrix (3 (m + 1) + 2, U) that turns U draws into sums.

    With m distinct probabilities of positives in rising order, it counts for each the negatives
    between the one before and it, the negatives tied with it, and its positives; slot m holds the
    negatives above all positives. The last two rows count true and false positives at the cut.
    """

    sums: Tensor
    slots: int

    @classmethod
    def make(cls, p: np.ndarray, y: np.ndarray, cut: np.float32, unit: np.ndarray) -> "_SumTable":
        """Sort N probabilities p of labels y (bool) that belong to units (N,) of 0 .. U-1."""
        values = np.unique(p[y])
        slots = len(values) + 1
        slot = np.searchsorted(values, p)
        tied = np.searchsorted(values, p, side="right") > slot
        decided = p >= cut
        row = slot + slots * (tied.astype(np.int64) + y)
        rows = np.concatenate([row, 3 * slots + ~y[decided]])
        places = torch.from_numpy(np.stack([rows, np.concatenate([unit, unit[decided]])]))
        ones = torch.ones(len(rows), dtype=torch.float64)
        size = (3 * slots + 2, int(unit.max()) + 1)
        sums = torch.sparse_coo_tensor(places, ones, size, check_invariants=True).coalesce()
        return cls(sums, slots)

    def scores(self, drawn: Tensor) -> Tensor:
        """INTERVAL_SCORES (5, C) of C resamples; drawn (U, C) float64 counts a unit's draws."""
        sums = torch.sparse.mm(self.sums, drawn)
        tp, fp = sums[-2:]
        between, tied, hits = sums[:-2].view(3, self.slots, -1)
        positives, negatives = hits.sum(dim=0), between.sum(dim=0) + tied.sum(dim=0)
        below = (between + tied).cumsum_(dim=0).sub_(tied)
        false, found = negatives - below, positives - hits.cumsum(dim=0) + hits
        precision_there = (found / (found + false)).nan_to_num_(nan=0.0)
        return torch.stack(
            [
                tp / (tp + fp),
                tp / positives,
                torch.where(positives > 0, 2 * tp / (tp + fp + positives), torch.nan),
                (hits * precision_there).sum(dim=0) / positives,
                (hits * (below + tied / 2)).sum(dim=0) / (positives * negatives),
            ]
        )


def _macro(scores: Tensor) -> Tensor:
    """Mean over the labels of MACRO_SCORES, (L, 3, R) to (3, R); averaged as `evaluate` does.

    A label that no resample defines counts as 0, or not at all in ROC AUC; one that only this
    resample leaves undefined makes the mean nan.
    """
    defined = ~scores.isnan().all(dim=-1, keepdim=True)
    total = torch.where(defined, scores, 0.0).sum(dim=0)
    n_labels = torch.full_like(total[:, :1], len(scores))
    n_labels[MACRO_SCORES.index("roc_auc")] = defined[:, MACRO_SCORES.index("roc_auc")].sum()
    return total / n_labels


def threshold_tensor(thresholds: dict[str, float], names: Sequence[str]) -> Tensor:
    """Return thresholds in the order of `names`, (L,) float32."""
    return torch.tensor([thresholds[name] for name in names], dtype=torch.float32)
