"""Several sets of decisions on the same rows, held against the first by macro-F1.

Two scores on the same rows err together, so the interval of their difference comes from resamples
that both share: it is far narrower than the two intervals side by side suggest.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.scores.resampling import RESAMPLES, Interval, drawn_units, draws, intervals

_CHUNK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Compared:
    """Macro-F1 of one set of decisions, and that of the first set minus it, with 95 % intervals."""

    macro_f1: float
    interval: Interval
    difference: float
    difference_interval: Interval


def compare_macro_f1(
    decisions: Tensor,
    labels: Tensor,
    groups: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Compared]:
    """Score M sets of decisions by the paired bootstrap; the first is compared with itself too.

    Resamples are those of trainer.scores.evaluation.bootstrap for the same seed, and so are the
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
