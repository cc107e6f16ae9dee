"""What the best of many is worth on new rows: its score, corrected for having been chosen.

The best of many noisy scores flatters itself, the more so the more there are. Here the choice is
made again and again on rows drawn anew, and what it chose is scored on the rows that were left out,
which had no part in it.

Source: Tsamardinos et al. 2018, doi:10.1007/s10994-018-5714-4 (bootstrap bias corrected
cross-validation).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.scores.bootstrap import Interval, drawn_units, draws, intervals
from trainer.scores.metrics import Counts

RESAMPLES = 200
_CHUNK_ELEMENTS = 8_000_000

LabelScore = Callable[[Counts], Tensor]  # Counts of (R, L) to (R, L)


class Resamples:
    """R draws of V rows, or of whole groups of them: the same draws for all that is to be compared.

    Shapes: labels (V, L) 0 or 1, groups (V,) integer codes or None. Scores come in pairs, of the
    rows that were drawn, as often as they were, and of the rows left out; each is (R, L) float64,
    nan for a label that has no positive there.
    """

    def __init__(
        self,
        labels: Tensor,
        groups: np.ndarray | None,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.positive = labels > 0
        self.unit = torch.from_numpy(drawn_units(len(labels), groups))
        n_units = int(self.unit.max()) + 1
        chunk = max(1, _CHUNK_ELEMENTS // n_units)
        drawn = [d.clamp(max=255).byte().T for d in draws(n_units, resamples, chunk, seed)]
        self.times_drawn = torch.cat(drawn)  # (R, units)

    def decided(self, decisions: Tensor, score: LabelScore) -> tuple[Tensor, Tensor]:
        """Score decisions (V, L) bool by a function of their counts."""
        hits = decisions & self.positive
        parts = torch.cat([hits, decisions, self.positive, torch.ones_like(hits)], dim=1)
        sums = torch.zeros(self.times_drawn.shape[1], parts.shape[1])
        sums.index_add_(0, self.unit, parts.float())
        chunk = max(1, _CHUNK_ELEMENTS // len(sums))
        drawn, left_out = (
            torch.cat([weights.float() @ sums for weights in torch.split(rows, chunk)])
            for rows in (self.times_drawn, self.times_drawn == 0)
        )
        return _scored(drawn, score), _scored(left_out, score)

    def average_precision(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Score a ranking (V, L) float32 by its average precision, ties included."""
        pairs = [
            _weighted_precision(p, y, self.unit, self.times_drawn)
            for p, y in zip(probabilities.T, self.positive.T, strict=True)
        ]
        drawn, left_out = (torch.stack(of_labels, dim=1) for of_labels in zip(*pairs, strict=True))
        return drawn, left_out


def _scored(sums: Tensor, score: LabelScore) -> Tensor:
    """Score (R, 4 L) sums of hits, decisions, positives and rows."""
    tp, decided, positives, rows = sums.double().chunk(4, dim=1)
    fp, fn = decided - tp, positives - tp
    counts = Counts(tp, fp, fn, rows - decided - fn)
    return torch.where(positives > 0, score(counts), torch.nan)


def _weighted_precision(
    p: Tensor, y: Tensor, unit: Tensor, times_drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a label's average precision over the rows drawn and those left out, (R,) each."""
    order = torch.argsort(p, descending=True)
    falling, hit, row = p[order], y[order], unit[order]
    at = hit.nonzero().squeeze(1)
    # A positive's precision is that of the last row that is tied with it.
    last = torch.searchsorted(-falling, -falling[at], right=True) - 1
    found: tuple[list[Tensor], list[Tensor]] = [], []
    for weights in torch.split(times_drawn, max(1, _CHUNK_ELEMENTS // len(p))):
        for result, of_rows in zip(found, (weights, weights == 0), strict=True):
            w = of_rows[:, row].double()
            hits, reached = (w * hit).cumsum(1)[:, last], w.cumsum(1)[:, last]
            precision = (hits / reached).nan_to_num(nan=0.0)
            result.append((w[:, at] * precision).sum(1) / w[:, at].sum(1))
    return torch.cat(found[0]), torch.cat(found[1])


@dataclass(frozen=True)
class Corrected:
    """The score of the best of many on rows that had no part in choosing it; 95 % interval."""

    value: float
    interval: Interval


def corrected_best(drawn: Tensor, left_out: Tensor) -> Corrected:
    """Choose the best of T by its score on the rows drawn, score it on those left out; R times.

    Shapes: drawn and left_out (T, R), with nan where a score is undefined. Of equal ones the first
    is chosen. A resample without a defined score counts for nothing; without any, all is nan.
    """
    chosen = drawn.nan_to_num(nan=-torch.inf).argmax(dim=0)
    scores = left_out.gather(0, chosen[None])[0]
    return Corrected(float(scores.nanmean()), intervals(scores[None])[0])
