"""What the best of many is worth on new rows: its score, corrected for having been chosen.

The best of many noisy scores flatters itself, the more so the more there are. Here the choice is
made again and again on rows drawn anew, and what it chose is scored on the rows that were left out,
which had no part in it.

Source: Tsamardinos et al. 2018, doi:10.1007/s10994-018-5714-4 (bootstrap bias corrected
cross-validation).
"""

from collections.abc import Callable, Iterator, Sequence
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
        drawn, left_out = (
            torch.cat([weights.T @ sums for weights in self._chunks(rows)])
            for rows in (self.times_drawn, self.times_drawn == 0)
        )
        return _scored(drawn, score), _scored(left_out, score)

    def average_precision(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Score a ranking (V, L) float32 by its average precision, ties included."""
        counts = [
            _CountsAtPositives.make(p, y, self.unit)
            for p, y in zip(probabilities.T, self.positive.T, strict=True)
        ]
        drawn, left_out = (
            torch.cat([_average_precisions(counts, of_chunk) for of_chunk in self._chunks(rows)])
            for rows in (self.times_drawn, self.times_drawn == 0)
        )
        return drawn, left_out

    def _chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield weights (units, C) float32 of the resamples (R, units), a few at a time."""
        chunk = max(1, _CHUNK_ELEMENTS // rows.shape[1])
        for weights in torch.split(rows, chunk):
            yield weights.T.float()


def _scored(sums: Tensor, score: LabelScore) -> Tensor:
    """Score (R, 4 L) sums of hits, decisions, positives and rows."""
    tp, decided, positives, rows = sums.double().chunk(4, dim=1)
    fp, fn = decided - tp, positives - tp
    counts = Counts(tp, fp, fn, rows - decided - fn)
    return torch.where(positives > 0, score(counts), torch.nan)


@dataclass(frozen=True)
class _CountsAtPositives:
    """One label's rows as sparse matrices (m + 1, units) that turn weights into sums.

    Of its m distinct probabilities of positives, entry s counts the rows, and in `hits` the
    positives, that reach s of them.
    """

    rows: Tensor
    hits: Tensor

    @classmethod
    def make(cls, p: Tensor, y: Tensor, unit: Tensor) -> "_CountsAtPositives":
        values = torch.unique(p[y])
        reached = torch.searchsorted(values, p.contiguous(), right=True)
        size = (len(values) + 1, int(unit.max()) + 1)

        def sparse(chosen: Tensor) -> Tensor:
            places = torch.stack([reached[chosen], unit[chosen]])
            ones = torch.ones(places.shape[1])
            return torch.sparse_coo_tensor(places, ones, size, check_invariants=True).coalesce()

        return cls(sparse(torch.ones_like(y)), sparse(y))

    def average_precision(self, weights: Tensor) -> Tensor:
        """Return the average precision (C,) under weights (units, C)."""
        rows, hits = (torch.sparse.mm(m, weights).double() for m in (self.rows, self.hits))
        # At a probability stand all that reach it: sums from the highest down.
        rows_there, hits_there = (part.flip(0).cumsum(0).flip(0)[1:] for part in (rows, hits))
        precision = (hits_there / rows_there).nan_to_num(nan=0.0)
        found: Tensor = (hits[1:] * precision).sum(0) / hits.sum(0)
        return found


def _average_precisions(counts: Sequence[_CountsAtPositives], weights: Tensor) -> Tensor:
    return torch.stack([of_label.average_precision(weights) for of_label in counts], dim=1)


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
