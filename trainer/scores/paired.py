"""What one way of training is worth against another, on the same rows and with the same seeds.

A score differs from that of other rows, and from that of another seed. Rows are drawn anew for all
seeds of all ways together, so that what the rows do to all of them falls out of a difference. Of
seeds there are few, so that they are not drawn anew: how far they lie apart beyond what the rows
explain goes into the interval as Student's t, pooled over the ways, which are networks of one kind.

Source: Efron and Tibshirani 1993, ch. 13 (rows); Bouthillier et al. 2021, arXiv:2103.03098 (why
seeds as well).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.scores.bootstrap import Interval, intervals


@dataclass(frozen=True)
class Difference:
    """A mean score over seeds minus another one, with its 95 % interval."""

    value: float
    interval: Interval


def differences(scores: Tensor, drawn: Tensor, *, seed: int = 0) -> list[Difference]:
    """Return what the first of M ways of training is ahead of each of the others.

    Shapes (M ways, S seeds, at least 2, R resamples that all have in common):
        scores  (M, S)     float64, on the rows as they are
        drawn   (M, S, R)  float64, on rows drawn anew; a resample with a nan counts for nothing

    `seed` draws Student's t. An interval is nan where no resample is left.
    """
    ahead = (scores[0] - scores[1:]).mean(dim=1).tolist()
    drawn = drawn[..., drawn.isfinite().all(dim=0).all(dim=0)]
    if not drawn.shape[2]:
        return [Difference(value, (math.nan, math.nan)) for value in ahead]
    means = drawn.mean(dim=1)
    of_rows = means[0] - means[1:]
    spread, freedom = _beyond_rows(scores, drawn)
    tails = np.random.default_rng(seed).standard_t(freedom, size=tuple(of_rows.shape))
    of_both = of_rows + spread * torch.from_numpy(tails)
    return [Difference(*both) for both in zip(ahead, intervals(of_both), strict=True)]


def _beyond_rows(scores: Tensor, drawn: Tensor) -> tuple[float, int]:
    """Return the seeds' part in the standard error of a difference, and its degrees of freedom.

    Seeds err on different rows, so that they lie apart as their rows do, which the resamples have
    in them already. Only half of that is taken off: few seeds measure it badly, and with all of it
    taken off an interval covers too seldom where seeds do differ, with none of it too often.
    """
    ways, seeds = scores.shape
    apart = drawn - drawn.mean(dim=1, keepdim=True)
    by_rows = apart.var(dim=2).sum(dim=1) / (seeds - 1)
    beyond = (scores.var(dim=1) - by_rows / 2).mean().clamp(min=0.0)
    return float((2 * beyond / seeds).sqrt()), ways * (seeds - 1)
