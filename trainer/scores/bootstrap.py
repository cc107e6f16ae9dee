"""How sure a score is: 95 % intervals from rows, or whole groups of rows, drawn again many times.

Every score is a function of sums over rows: how many positives, and negatives, lie between one
probability and the next. How often a resample draws each row enters these sums linearly. So a label
is sorted once, and one sparse matrix product gives the sums of many resamples together.

Two sets of decisions on the same rows err together, so the interval of their difference comes from
resamples that both share: it is far narrower than the two intervals side by side suggest.

Source: Efron and Tibshirani 1993, ch. 13.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95
INTERVAL_SCORES = ("precision", "recall", "f1", "average_precision", "roc_auc")
MACRO_SCORES = INTERVAL_SCORES[2:]
_CHUNK_ELEMENTS = 2_000_000

Interval = tuple[float, float]


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
class Compared:
    """Macro-F1 of one set of decisions, and that of the first set minus it, with 95 % intervals."""

    macro_f1: float
    interval: Interval
    difference: float
    difference_interval: Interval


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
    """Return 95 % percentile intervals of all scores, drawing rows or whole groups many times.

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


def compare_macro_f1(
    decisions: Tensor,
    labels: Tensor,
    groups: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Compared]:
    """Score M sets of decisions by the paired bootstrap; the first is compared with itself too.

    Resamples are those of `bootstrap` for the same seed, and so are the
    intervals of macro-F1. Bounds are nan where all rows are one group.

    Shapes (N rows, L labels): decisions (M, N, L) bool, labels (N, L) 0 or 1, groups (N,) codes.
    Source: Efron and Tibshirani 1993, ch. 13.
    """
    unit = drawn_units(len(labels), groups)
    n_units = int(unit.max()) + 1
    positive = labels > 0
    parts = torch.cat([decisions & positive, decisions, positive[None]]).double()
    size = len(parts), labels.shape[1]
    sums = torch.zeros(n_units, *size, dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(unit), parts.transpose(0, 1))
    ever = positive.any(dim=0)
    whole = _macro_f1(sums.sum(dim=0, keepdim=True), ever)[:, 0]
    drawn = [
        _macro_f1((counts.T @ sums.flatten(1)).view(-1, *size), ever)
        for counts in draws(n_units, resamples, max(1, _CHUNK_ELEMENTS // n_units), seed)
    ]
    scores = torch.cat(drawn, dim=1)
    if n_units == 1:  # drawn again and again, it tells nothing of others
        scores = scores * torch.nan
    columns = zip(
        whole.tolist(),
        intervals(scores),
        (whole[0] - whole).tolist(),
        intervals(scores[0] - scores),
        strict=True,
    )
    return [Compared(*values) for values in columns]


def _macro_f1(sums: Tensor, ever: Tensor) -> Tensor:
    """Macro-F1 (M, R) from counts (R, 2 M + 1, L): hits and decisions of each set, then positives.

    A label that is never positive, as `ever` (L,) says, counts as 0; one that only a resample
    leaves without positives makes that resample's score nan.
    """
    n_sets = sums.shape[1] // 2
    hits, decided, positives = sums[:, :n_sets], sums[:, n_sets:-1], sums[:, -1:]
    f1 = torch.where(positives > 0, 2 * hits / (decided + positives), torch.nan)
    return torch.where(ever, f1, 0.0).mean(dim=-1).T


def drawn_units(n_rows: int, groups: np.ndarray | None) -> np.ndarray:
    """Return the unit 0 .. U-1 that each row is drawn with, (N,): itself, or its group."""
    return np.arange(n_rows) if groups is None else np.unique(groups, return_inverse=True)[1]


def draws(n_units: int, resamples: int, chunk: int, seed: int) -> Iterator[Tensor]:
    """Yield how often each unit is drawn, (U, C) float64 with C <= chunk, `resamples` in all.

    Resamples are drawn one by one, so that the chunk changes none.
    """
    random = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        counts = [
            np.bincount(random.integers(0, n_units, n_units), minlength=n_units)
            for _ in range(min(chunk, resamples - start))
        ]
        yield torch.from_numpy(np.stack(counts, axis=1, dtype=np.float64))


def intervals(scores: Tensor) -> list[Interval]:
    """Return the 95 % percentile interval of each row of (S, R), over what is not nan."""
    tail = (1 - CONFIDENCE) / 2
    bounds = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = scores.nanquantile(bounds, dim=-1).tolist()
    return list(zip(low, high, strict=True))
